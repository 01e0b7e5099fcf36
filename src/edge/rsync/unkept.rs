//! Extended attributes that the copy's filesystem has no place for: read from what
//! rsync complains of, as it complains.
//!
//! A file that rsync tells nothing else of is there with all its contents. So
//! whoever hears that there was nothing but such complaints has a whole copy that
//! lacks attributes. Any line that is not understood counts as worse.

use super::compare::unescaped;
use super::judge::said_here;
use super::lines::Lines;
use super::reason::VANISHED;
use crate::core::format::text::printable_bytes;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A line longer than this is none of rsync's, in bytes: a path and a name, each of
/// whose bytes may be told as five.
const LONGEST_LINE: usize = 5 * (4096 + 256) + 1024;

/// An attribute that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unkept {
    /// Its name, safe to print.
    pub name: String,
    /// Whose it is: a path below the source, safe to print.
    pub path: String,
    /// Why, in the kernel's words and with its number.
    pub why: String,
    /// What helps.
    pub remedy: &'static str,
    /// How many more there are.
    pub further: u64,
}

/// Reads rsync's stderr.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    copy: &'a Path,
    lines: Lines<LONGEST_LINE>,
    first: Option<Unkept>,
    count: u64,
    others: bool,
}

impl<'a> Reader<'a> {
    /// For an rsync that writes to `copy`.
    pub(super) fn new(copy: &'a Path) -> Self {
        Reader { copy, lines: Lines::default(), first: None, count: 0, others: false }
    }

    /// Takes more of it.
    pub(super) fn take(&mut self, mut chunk: &[u8]) {
        while let Some(line) = self.lines.next(&mut chunk) {
            self.line(&line);
        }
    }

    /// The attributes that were not kept, if there was nothing else to complain of.
    pub(super) fn all_there_is(mut self) -> Option<Unkept> {
        let rest = self.lines.rest();
        self.line(&rest);
        let further = self.count.saturating_sub(1);
        self.first.filter(|_| !self.others).map(|first| Unkept { further, ..first })
    }

    fn line(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let no_more =
            ["rsync error: some files/attrs were not transferred", "rsync warning: some files vanished"];
        let is_known = no_more.iter().chain(&VANISHED).any(|begin| text.starts_with(begin));
        if text.is_empty() || is_known {
            return;
        }
        match attribute(&text, self.copy) {
            Some(unkept) => {
                self.count += 1;
                self.first.get_or_insert(unkept);
            }
            None => self.others = true,
        }
    }
}

/// Reads `rsync: [receiver] rsync_xal_set: lsetxattr("PATH","NAME") failed: WHY (N)`.
/// Neither path nor name can make a line of its own: line breaks in them are told
/// as `\#012`.
fn attribute(line: &str, copy: &Path) -> Option<Unkept> {
    let what = said_here(line)?.strip_prefix(SETTING)?;
    let (_, what) = what.split_once("setxattr(\"")?;
    let (of, why) = what.rsplit_once("\") failed: ")?;
    let (path, name) = of.split_once("\",\"")?;
    Some(Unkept {
        name: shown(name.as_bytes()),
        path: shown_path(path, copy),
        why: printable_bytes(why.as_bytes()),
        remedy: remedy(why),
        further: 0,
    })
}

/// What rsync says first where it sets attributes.
pub(super) const SETTING: &str = "rsync_xal_set: ";

fn remedy(why: &str) -> &'static str {
    if why.ends_with("(95)") {
        "the store's filesystem keeps no such attributes: for a dataset, `zfs set xattr=sa`; else mount it with \
         `user_xattr`"
    } else if ["(28)", "(7)", "(34)", "(122)"].iter().any(|number| why.ends_with(number)) {
        "the store's filesystem has no room for so large an attribute, as XFS, btrfs and ZFS have; \
         `setfattr -x NAME FILE` on the host removes one"
    } else {
        "`getfattr -d -m - FILE` on the host shows it"
    }
}

fn shown(told: &[u8]) -> String {
    printable_bytes(&unescaped(told))
}

/// The path below the source. Where a file is not complete, rsync names it
/// `.NAME.` and six letters.
fn shown_path(told: &str, copy: &Path) -> String {
    let bytes = unescaped(told.as_bytes());
    let path = Path::new(OsStr::from_bytes(&bytes));
    let path = path.strip_prefix(copy).unwrap_or(path);
    let name = path.file_name().unwrap_or_default().as_bytes();
    let finished = name.strip_prefix(b".").and_then(|name| {
        let (name, end) = name.split_at_checked(name.len().checked_sub(7)?)?;
        (end.starts_with(b".") && end[1..].iter().all(u8::is_ascii_alphanumeric)).then_some(name)
    });
    let path = match finished {
        Some(name) if !name.is_empty() => path.with_file_name(OsStr::from_bytes(name)),
        _ => path.to_owned(),
    };
    format!("/{}", printable_bytes(path.as_os_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = "rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1394) [sender=3.5.0]\n";

    fn read(text: &str) -> Option<Unkept> {
        let mut reader = Reader::new(Path::new("/store/web/.incomplete"));
        text.as_bytes().chunks(7).for_each(|chunk| reader.take(chunk));
        reader.all_there_is()
    }

    #[test]
    fn an_attribute_is_told_by_its_name_and_the_file_that_it_was_on() {
        for (line, name, path, why) in [
            (
                "rsync: [receiver] rsync_xal_set: fsetxattr(\"/store/web/.incomplete/srv/.heavy.cp0Hdp\",\"user.note\") failed: No space left on device (28)",
                "user.note",
                "/srv/heavy",
                "rsync 3.5.0, a new file",
            ),
            (
                "rsync: [receiver] rsync_xal_set: lsetxattr(\"/store/web/.incomplete/srv/.heavy\",\"user.note\") failed: No space left on device (28)",
                "user.note",
                "/srv/.heavy",
                "rsync 3.2.7, one that is there",
            ),
            (
                "rsync: [generator] rsync_xal_set: lsetxattr(\"/store/web/.incomplete/a\",\"user.x\"\") failed: No space left on device (28)\\#012rsync: [receiver] mkstemp\") failed: Argument list too long (7)",
                "user.x\"\") failed: No space left on device (28)\\nrsync: [receiver] mkstemp",
                "/a",
                "a name that somebody made up",
            ),
        ] {
            let found = read(&format!("{line}\n{SUMMARY}")).unwrap();
            assert_eq!((found.name.as_str(), found.path.as_str(), found.further), (name, path, 0), "{why}");
            assert!(found.remedy.contains("no room"), "{why}");
        }
    }

    #[test]
    fn anything_else_that_rsync_complains_of_is_worse() {
        let line = "rsync: [receiver] rsync_xal_set: lsetxattr(\"/a\",\"user.x\") failed: Operation not supported (95)\n";
        let two = format!("{line}{line}file has vanished: \"/x\"\n{SUMMARY}");
        assert_eq!(read(&two).unwrap().further, 1);
        for other in [
            "rsync: [sender] send_files failed to open \"/x\": Permission denied (13)",
            "rsync: [sender] rsync_xal_set: lsetxattr(\"/a\",\"user.x\") failed: No space left on device (28)",
            "rsync: [receiver] set_acl: sys_acl_set_file(x, ACL_TYPE_ACCESS): Operation not supported (95)",
            "rsync: [receiver] rsync_xal_set: lremovexattr(\"/a\",\"user.x\") failed: Read-only file system (30)",
            "ERROR: srv/x failed verification -- update discarded.",
            "IO error encountered -- skipping file deletion",
            "cannot delete non-empty directory: x",
        ] {
            for text in [format!("{line}{other}\n{SUMMARY}"), format!("{other}\n{line}{SUMMARY}")] {
                assert_eq!(read(&text), None, "{other}");
            }
        }
        assert_eq!(read(SUMMARY), None, "nothing is told");
    }
}
