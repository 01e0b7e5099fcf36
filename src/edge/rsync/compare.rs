//! One rsync that compares files of a host with a copy of them and writes
//! nothing (`--dry-run`): what it is told, and what its lines say.
//!
//! rsync's sender computes the checksum of every file that it is asked about,
//! of whatever size that is by now, and one that it cannot read has no
//! checksum rather than an error. So ask first without `contents`, then with
//! it for the files that look alike, and look closely at those that differ.

use super::arguments::{Arguments, Heeding, Reached, with_slash};
use super::judge::never_began;
use super::{Limits, TransferError, reason, watched};
use crate::core::format::text::short;
use crate::core::model::precision::Precision;
use crate::sys::process::{Exit, Program};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// How many bytes of flags `%i` has; see `--itemize-changes` in rsync(1).
const FLAGS: usize = 11;
/// How many of rsync's complaints are told.
const COMPLAINTS: usize = 5;

/// What is told of a file beside its name, in bytes.
const LONGEST_REST: usize = 64;
/// How much more is taken from rsync, in bytes.
const MOST_OTHERS: usize = 1024 * 1024;

/// What to compare with what.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The host's directory, absolute.
    pub source: String,
    /// The copy of it.
    pub copy: PathBuf,
    /// To what the copy keeps times.
    pub precision: Precision,
    /// rsync's `--rsh`; `None` compares on this machine.
    pub rsh: Option<String>,
    /// rsync's `--rsync-path`.
    pub rsync_path: Option<&'static str>,
    /// Compare the contents too, not only sizes and times.
    pub contents: bool,
}

/// How a file of the host is like its copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// Nothing that was compared differs.
    Alike,
    /// Its time of modification, as far as the copy keeps it, differs.
    Changed,
    /// Its time is the same, its size is not: a change that left no trace, or a
    /// copy that was cut short.
    Resized,
    /// Size and time are the same, the contents are not.
    Different,
    /// The copy has no such file.
    Uncopied,
}

/// What of a file, or of what is none, is not as in its copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    /// What it is: a file, a directory, a symlink, …
    Kind,
    /// Where the symlink leads, or which device it is.
    Target,
    /// The time of modification of what is no regular file.
    Time,
    /// The permissions.
    Mode,
    /// The owner.
    Owner,
    /// The group.
    Group,
    /// The access control list.
    Acl,
    /// Extended attributes.
    Attributes,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mismatch::Kind => "kind",
            Mismatch::Target => "target",
            Mismatch::Time => "time",
            Mismatch::Mode => "mode",
            Mismatch::Owner => "owner",
            Mismatch::Group => "group",
            Mismatch::Acl => "access control list",
            Mismatch::Attributes => "extended attributes",
        })
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// In the order of the files; `None` where the host has no such file.
    pub likeness: Vec<Option<Likeness>>,
    /// In the order of the files, and of what else was asked for: what is not as
    /// in the copy, beside a file's contents, size and time. Nothing where the
    /// host has nothing.
    pub unlike: Vec<Vec<Mismatch>>,
    /// The first things that rsync complained of besides files that are not
    /// there, safe to print.
    pub complaints: Vec<String>,
}

impl Comparison {
    /// rsync's arguments; the files come on its standard input.
    fn arguments(&self) -> Vec<OsString> {
        let flags = [
            "--dry-run",
            "--times",
            "--links",
            "--devices",
            "--specials",
            "--perms",
            "--owner",
            "--group",
            "--acls",
            // Twice: files that are alike are told too.
            "-ii",
            "--out-format=%i %n",
            "--no-implied-dirs",
            "--from0",
            "--files-from=-",
        ];
        let mut args = Arguments::new(&flags, Heeding::Receiver);
        // As copies are made.
        args.times(self.precision);
        if self.contents {
            args.flags(&["--checksum"]);
        }
        let far = Reached {
            rsh: self.rsh.as_deref(),
            rsync_path: self.rsync_path,
            compress: false,
            bandwidth_limit: None,
        };
        args.between(far, [far.contents(self.source.as_ref())], with_slash(&self.copy))
    }

    /// Compares the files of these paths, which are relative to both sides.
    /// All of them are in the memory of both sides at once.
    pub async fn run(&self, paths: &[&[u8]], limits: Limits<'_>) -> Result<Compared, TransferError> {
        let mut list = Vec::new();
        for path in paths {
            // On this machine rsync takes a name that begins with `#` or `;` for
            // a comment.
            list.extend_from_slice(b"./");
            list.extend_from_slice(path);
            list.push(0);
        }
        let program = Program::new("rsync").args(self.arguments()).called("rsync").input(list);
        // A name is told with up to five bytes for each of its own; what the far
        // side says besides is nothing to us.
        let most = paths.iter().map(|path| path.len() * 5 + LONGEST_REST).sum::<usize>() + MOST_OTHERS;
        let mut said = Vec::new();
        let output = watched(program, limits, |chunk| {
            said.extend_from_slice(&chunk[..chunk.len().min(most - said.len())]);
        })
        .await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ended(output.exit, &stderr)?;
        let (likeness, unlike) = likeness(paths, &said);
        Ok(Compared { likeness, unlike, complaints: complaints(&stderr) })
    }
}

/// Whether rsync came to its end, and why not.
fn ended(exit: Exit, stderr: &str) -> Result<(), TransferError> {
    if let Some(refused) = never_began(stderr, exit) {
        return Err(refused);
    }
    let said = || reason::of(stderr, exit);
    match exit {
        // 23 and 24: some files are not there, or cannot be looked at.
        Exit::Code(0 | 23 | 24) => Ok(()),
        Exit::Code(10 | 12 | 20 | 30 | 35 | 255) => Err(TransferError::ConnectionLost(said())),
        exit => Err(TransferError::Failed { exit, said: said() }),
    }
}

/// What rsync's lines say of each file, and of what is none. Other lines
/// (`skipping non-regular file …`) name nothing of the list.
fn likeness(paths: &[&[u8]], said: &[u8]) -> (Vec<Option<Likeness>>, Vec<Vec<Mismatch>>) {
    let places: HashMap<&[u8], usize> =
        paths.iter().enumerate().map(|(place, path)| (*path, place)).collect();
    let (mut found, mut unlike) = (vec![None; paths.len()], vec![Vec::new(); paths.len()]);
    for line in said.split(|&byte| byte == b'\n') {
        let Some((flags, rest)) = line.split_at_checked(FLAGS) else { continue };
        let Some(name) = rest.strip_prefix(b" ") else { continue };
        // In the other places are letters, `.`, `+` or blanks.
        if !b"fdLDS".contains(&flags[1]) {
            continue;
        }
        let name = if flags[1] == b'd' { name.strip_suffix(b"/").unwrap_or(name) } else { name };
        let Some(&place) = places.get(unescaped(name).as_slice()) else { continue };
        unlike[place] = differences(flags);
        if flags[1] == b'f' {
            found[place] = Some(match (flags[2], flags[3], flags[4]) {
                (b'+', ..) => Likeness::Uncopied,
                (_, _, b't' | b'T') => Likeness::Changed,
                (_, b's', _) => Likeness::Resized,
                (b'c', ..) => Likeness::Different,
                _ => Likeness::Alike,
            });
        }
    }
    (found, unlike)
}

/// What rsync's flags say beside a file's contents, size and time.
fn differences(flags: &[u8]) -> Vec<Mismatch> {
    if flags[2] == b'+' {
        return vec![Mismatch::Kind];
    }
    let is_file = flags[1] == b'f';
    let all = [
        (2, b"cC", Mismatch::Target),
        (4, b"tT", Mismatch::Time),
        (5, b"pp", Mismatch::Mode),
        (6, b"oo", Mismatch::Owner),
        (7, b"gg", Mismatch::Group),
        (9, b"aa", Mismatch::Acl),
        (10, b"xx", Mismatch::Attributes),
    ];
    let differs =
        all.iter().filter(|(at, letters, _)| letters.contains(&flags[*at]) && !(is_file && *at < 5));
    differs.map(|(_, _, what)| *what).collect()
}

/// A name as rsync prints it in the C locale, where every byte that is no
/// printable ASCII is `\#` and three octal digits; a backslash that would be
/// taken for the begin of that is written so itself.
pub(super) fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, after)) = rest.split_first() {
        let byte = rest.strip_prefix(b"\\#").and_then(|code| code.get(..3)).and_then(octal);
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &rest[5..] } else { after };
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    u8::from_str_radix(text, 8).ok()
}

/// What rsync complained of, other than that files are not there.
fn complaints(stderr: &str) -> Vec<String> {
    let expected = ["No such file or directory (2)", "Not a directory (20)"];
    reason::faults(stderr)
        .filter(|line| !expected.iter().any(|end| line.ends_with(end)))
        .take(COMPLAINTS)
        .map(|line| short(line.as_bytes()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::path::Path;
    use std::time::{Duration, SystemTime};
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    async fn compared(source: &Path, copy: &Path, contents: bool, paths: &[&[u8]]) -> Compared {
        let comparison = Comparison {
            source: source.to_str().unwrap().to_owned(),
            copy: copy.to_owned(),
            precision: Precision::Nanoseconds,
            rsh: None,
            rsync_path: None,
            contents,
        };
        let cancel = CancellationToken::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        let limits = Limits { stall_timeout: Duration::from_secs(60), deadline, cancel: &cancel };
        comparison.run(paths, limits).await.unwrap()
    }

    fn put(path: &Path, text: &str, nanoseconds: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, nanoseconds);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[tokio::test]
    async fn each_file_has_its_likeness_whatever_it_is_called() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        let (source, copy) = (dir.path().join("source"), dir.path().join("copy"));
        let odd: [&[u8]; 9] = [
            b"#hash",
            b";semi",
            b"-dash",
            b" blank ",
            b"new\nline",
            b"\xff\xfe",
            b"a\\#012b",
            b"tab\t",
            b"a\\b",
        ];
        for name in odd {
            for side in [&source, &copy] {
                put(&side.join("x").join(std::ffi::OsStr::from_bytes(name)), "text", 5);
                put(&side.join(std::ffi::OsStr::from_bytes(name)), "text", 5);
            }
        }
        let at = |side: &Path, name: &str, text: &str, nanoseconds| put(&side.join(name), text, nanoseconds);
        for (name, there, here) in [
            ("size", ("longer", 5), ("long", 5)),
            ("time", ("text", 6), ("text", 5)),
            ("silent", ("text", 5), ("tezt", 5)),
            ("both", ("text", 6), ("tezt", 5)),
            ("uncopied", ("text", 5), ("text", 5)),
        ] {
            at(&source, name, there.0, there.1);
            at(&copy, name, here.0, here.1);
        }
        for name in ["gone", "below/gone", "folder", "link"] {
            at(&copy, name, "text", 5);
        }
        fs::remove_file(copy.join("uncopied")).unwrap();
        fs::create_dir(source.join("folder")).unwrap();
        std::os::unix::fs::symlink("size", source.join("link")).unwrap();
        let nested: Vec<Vec<u8>> = odd.iter().map(|name| [b"x/".as_slice(), name].concat()).collect();
        let mut paths: Vec<&[u8]> = vec![
            b"size",
            b"time",
            b"silent",
            b"both",
            b"uncopied",
            b"gone",
            b"below/gone",
            b"folder",
            b"link",
        ];
        paths.extend(odd);
        paths.extend(nested.iter().map(Vec::as_slice));
        use Likeness::{Alike, Changed, Different, Resized, Uncopied};
        for (contents, silent) in [(false, Alike), (true, Different)] {
            let found = compared(&source, &copy, contents, &paths).await;
            let (first, others) = found.likeness.split_at(9);
            assert_eq!(
                first,
                [
                    Some(Resized),
                    Some(Changed),
                    Some(silent),
                    Some(Changed),
                    Some(Uncopied),
                    None,
                    None,
                    None,
                    None
                ],
                "contents: {contents}"
            );
            assert!(others.iter().all(|likeness| *likeness == Some(Alike)), "{others:?}");
            assert!(found.complaints.is_empty(), "{:?}", found.complaints);
        }
        assert_eq!(fs::read(copy.join("silent")).unwrap(), b"tezt", "nothing is written");
    }

    #[tokio::test]
    async fn attributes_and_what_is_no_file_are_compared_too() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (source, copy) = (dir.path().join("source"), dir.path().join("copy"));
        for side in [&source, &copy] {
            put(&side.join("file"), "text", 5);
            put(&side.join("same"), "text", 5);
            fs::create_dir(side.join("folder")).unwrap();
            fs::create_dir(side.join("like")).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            for name in ["folder", "like"] {
                File::open(side.join(name)).unwrap().set_modified(time).unwrap();
            }
        }
        for (side, file, folder) in [(&source, 0o644, 0o755), (&copy, 0o600, 0o700)] {
            fs::set_permissions(side.join("file"), PermissionsExt::from_mode(file)).unwrap();
            fs::set_permissions(side.join("folder"), PermissionsExt::from_mode(folder)).unwrap();
        }
        symlink("one", source.join("link")).unwrap();
        symlink("two", copy.join("link")).unwrap();
        symlink("x", source.join("kind")).unwrap();
        put(&copy.join("kind"), "text", 5);
        put(&source.join("was a link"), "text", 5);
        symlink("x", copy.join("was a link")).unwrap();
        let paths: [&[u8]; 8] =
            [b"file", b"same", b"folder", b"like", b"link", b"kind", b"was a link", b"gone"];
        let found = compared(&source, &copy, false, &paths).await;
        assert_eq!(found.unlike[..4], [vec![Mismatch::Mode], vec![], vec![Mismatch::Mode], vec![]]);
        assert!(found.unlike[4].starts_with(&[Mismatch::Target]), "{:?}", found.unlike[4]);
        assert_eq!(found.unlike[5..], [vec![Mismatch::Kind], vec![Mismatch::Kind], vec![]]);
        assert_eq!(found.likeness[..2], [Some(Likeness::Alike); 2]);
    }

    #[test]
    fn names_are_read_as_rsync_escapes_them() {
        for (shown, name) in [
            (&b"plain"[..], &b"plain"[..]),
            (b"\\#012", b"\n"),
            (b"\\#134#012", b"\\#012"),
            (b"a\\#b", b"a\\#b"),
            (b"\\#01", b"\\#01"),
            (b"\\#777", b"\\#777"),
            (b"\\#+12", b"\\#+12"),
        ] {
            assert_eq!(unescaped(shown), name, "{}", String::from_utf8_lossy(shown));
        }
    }

    #[test]
    fn an_end_before_the_end_is_no_comparison() {
        for (exit, good) in [(0, true), (23, true), (24, true), (12, false), (255, false), (1, false)] {
            assert_eq!(ended(Exit::Code(exit), "").is_ok(), good, "exit {exit}");
        }
        assert!(ended(Exit::Signal(9), "").is_err());
    }
}
