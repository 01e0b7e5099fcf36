//! The arguments that rsync gets, whatever it is to do: which attributes are
//! kept, how times are compared, how the far side is reached and named.

use crate::core::model::precision::Precision;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// What the far side is called on rsync's command line: its real name plays no
/// part, since the connection is there.
const STAND_IN: &str = "client";

/// Extended attributes, twice: with one `X`, rsync leaves out those of another
/// rsync's `--fake-super` (`user.rsync.%stat`), without which a backup that is
/// kept on the host is worth nothing.
const ATTRIBUTES: &str = "-XX";

/// Which extended attributes are a file's own: rsync's rules for their names,
/// of which the first that matches counts. Any filesystem may keep these three
/// kinds; ACLs, of the fourth (`system.`), are copied as such. All others are
/// one filesystem's own properties, shown as attributes (`btrfs.compression`),
/// which another refuses (docs/decisions/0023-attributes-of-a-copy.md).
///
/// `**` matches a slash as well: attributes may have one in their names.
const KEPT_ATTRIBUTES: [(char, &str); 4] =
    [('+', "user.**"), ('+', "trusted.**"), ('+', "security.**"), ('-', "*")];

/// The sides that heed the rules for attributes. The host's rsync may be too old
/// for such rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heeding {
    /// Ours, which receives: `--delete-excluded` makes others rules of the sender.
    Receiver,
    /// Ours, which sends.
    Sender,
    /// Both are of this machine.
    Both,
}

/// How the far side is reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached<'a> {
    /// rsync's `--rsh`; `None` for this machine.
    pub rsh: Option<&'a str>,
    /// rsync's `--rsync-path`.
    pub rsync_path: Option<&'static str>,
    /// Compress on the wire.
    pub compress: bool,
    /// rsync's `--bwlimit`.
    pub bandwidth_limit: Option<&'a str>,
}

impl Reached<'_> {
    /// A path of the far side as rsync is to be told it.
    fn path(self, path: &OsStr) -> OsString {
        match self.rsh {
            // The far rsync expands wildcards; a backslash takes their power.
            Some(_) => format!("{STAND_IN}:{}", without_wildcards(&path.to_string_lossy())).into(),
            None => path.to_owned(),
        }
    }

    /// A directory's contents as rsync is to be told them.
    pub fn contents(self, directory: &OsStr) -> OsString {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let bytes = directory.as_bytes();
        let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
        self.path(&OsString::from_vec([bytes, b"/"].concat()))
    }
}

/// rsync's arguments, as far as they are known.
#[derive(Debug)]
pub(super) struct Arguments(Vec<OsString>);

impl Arguments {
    /// These flags, and those without which nothing is run.
    pub fn new(flags: &[&str], heeding: Heeding) -> Self {
        let mut args = Arguments(flags.iter().map(OsString::from).collect());
        // `-s`: --secluded-args, which rsync before 3.2.4 calls --protect-args.
        args.flags(&[ATTRIBUTES, "--numeric-ids", "-s"]);
        let side = match heeding {
            Heeding::Receiver => "r",
            Heeding::Sender => "s",
            Heeding::Both => "",
        };
        for (sign, name) in KEPT_ATTRIBUTES {
            args.valued("--filter=", format!("{sign}x{side} {name}"));
        }
        args
    }

    /// Adds flags.
    pub fn flags(&mut self, flags: &[&str]) {
        self.0.extend(flags.iter().map(OsString::from));
    }

    /// Adds an option with its value; the option ends with what parts the two.
    pub fn valued(&mut self, option: &str, value: impl AsRef<OsStr>) {
        let mut arg = OsString::from(option);
        arg.push(value);
        self.0.push(arg);
    }

    /// Adds how times are compared.
    ///
    /// In whole: by the second, as rsync compares if not told otherwise, a file
    /// that changes twice in the second of its copy and keeps its size would stay
    /// as it was then for ever. Where the copy keeps no more than seconds, all
    /// files would differ, and none be shared.
    pub fn times(&mut self, precision: Precision) {
        self.flags(&[match precision {
            Precision::Nanoseconds => "--modify-window=-1",
            Precision::Seconds => "--modify-window=0",
        }]);
    }

    /// All arguments, with how the far side is reached, what is to be sent, and
    /// where to.
    pub fn between(
        mut self,
        far: Reached<'_>,
        sources: impl IntoIterator<Item = OsString>,
        destination: OsString,
    ) -> Vec<OsString> {
        for (option, value) in
            [("--rsh=", far.rsh), ("--rsync-path=", far.rsync_path), ("--bwlimit=", far.bandwidth_limit)]
        {
            value.into_iter().for_each(|value| self.valued(option, value));
        }
        if far.compress && far.rsh.is_some() {
            self.flags(&["--compress"]);
        }
        self.flags(&["--"]);
        self.0.extend(sources);
        self.0.push(destination);
        self.0
    }
}

fn without_wildcards(path: &str) -> String {
    let mut safe = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}

/// A directory's contents on this machine.
pub(super) fn with_slash(path: &Path) -> OsString {
    let mut path = path.as_os_str().to_owned();
    path.push("/");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_far_side_s_paths_are_kept_from_being_patterns() {
        let here = Reached { rsh: None, rsync_path: None, compress: true, bandwidth_limit: None };
        assert_eq!(here.contents("/a*b".as_ref()), "/a*b/");
        let there = Reached { rsh: Some("x"), ..here };
        assert_eq!(there.contents(r"/a*b\[c]?".as_ref()), r"client:/a\*b\\\[c]\?/");
        assert_eq!(there.contents("/".as_ref()), "client:/");
        let sent = |far| {
            Arguments::new(&[], Heeding::Both).between(far, ["/from/".into()], far.contents("/to".as_ref()))
        };
        assert!(!sent(here).contains(&"--compress".into()), "nothing goes over a wire");
        assert!(sent(there).ends_with(&[
            "--compress".into(),
            "--".into(),
            "/from/".into(),
            "client:/to/".into()
        ]));
    }
}
