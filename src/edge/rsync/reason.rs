//! Why rsync failed: what it, or something in its place, said on stderr.
//!
//! rsync tells a fault once, and then what follows from it, for each of its
//! processes; the last lines are about the code that it exits with. A login shell
//! over there may have written before all of them.

use crate::core::format::text::{printable, shortened};
use crate::sys::process::Exit;

/// The longest reason that is told, in characters.
const LONGEST: usize = 400;
/// How rsync begins to tell that something vanished.
pub(super) const VANISHED: [&str; 2] = ["file has vanished: ", "directory has vanished: "];
/// How lines begin that are rsync's own, beside those that say which part it plays.
const OWN: [&str; 4] = ["rsync: ", "rsync[", "filename overflows max-path", "ERROR: "];
/// How lines begin that tell what follows from a fault told before.
const FOLLOWS: [&str; 8] = [
    "rsync: connection unexpectedly closed",
    "rsync: read error: Connection reset by peer",
    "rsync: writefd_unbuffered failed",
    "rsync: safe_read failed",
    "rsync: safe_write failed",
    "Deletions stopped due to --max-delete limit",
    "IO error encountered",
    "rsync warning: ",
];
/// How the far side's rsync says that it does not know an option that it got.
const USAGE: &str = "rsync error: syntax or usage error (code 1)";

/// What a line of rsync's stderr is about; the best reason is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    /// A fault, in rsync's words.
    Fault,
    /// Whatever else: a shell, sudo, the dynamic linker, a connection.
    Other,
    /// What follows from a fault.
    Follows,
    /// The code that it exits with.
    End,
    /// A file that vanished while it was copied.
    Vanished,
}

fn about(line: &str) -> About {
    let is_own = OWN.iter().any(|begin| line.starts_with(begin)) || has_role(line);
    if VANISHED.iter().any(|begin| line.starts_with(begin)) {
        About::Vanished
    } else if line.starts_with("rsync error: ") {
        About::End
    } else if FOLLOWS.iter().any(|begin| line.starts_with(begin))
        || line.contains("] write error: Broken pipe")
    {
        About::Follows
    } else if is_own {
        About::Fault
    } else {
        About::Other
    }
}

/// Whether a line begins with the part that rsync plays: `[sender] …`.
fn has_role(line: &str) -> bool {
    let role = line.strip_prefix('[').and_then(|line| line.split_once("] "));
    role.is_some_and(|(role, _)| ["sender", "receiver", "generator"].contains(&role.to_lowercase().as_str()))
}

/// The reason for such an end, safe to print: the first line that is one.
pub(super) fn of(stderr: &str, exit: Exit) -> String {
    let lines = stderr.lines().map(str::trim_end).filter(|line| !line.is_empty());
    // Of equals, the first.
    let best = lines.filter(|line| about(line) < About::Vanished).min_by_key(|line| about(line));
    best.map_or_else(|| exit.to_string(), |line| shortened(&printable(line), LONGEST))
}

/// The faults that rsync told of, in its words; what else was said, if it told of
/// none.
pub(super) fn faults(stderr: &str) -> impl Iterator<Item = &str> {
    let has_faults = stderr.lines().any(|line| about(line) == About::Fault);
    let wanted = if has_faults { About::Fault } else { About::Other };
    stderr.lines().filter(move |line| about(line) == wanted && !line.trim().is_empty())
}

/// How many files and directories vanished.
pub(super) fn vanished(stderr: &str) -> usize {
    stderr.lines().filter(|line| about(line) == About::Vanished).count()
}

/// Whether the far side's rsync did not take its command line. Ours says so of
/// its own with the exit 1, and is its `client`.
pub(super) fn is_refused_there(stderr: &str) -> bool {
    stderr.lines().any(|line| line.starts_with(USAGE) && !line.contains("[client="))
}

/// Whether the far side's rsync was installed but cannot be started.
pub(super) fn is_broken(stderr: &str) -> bool {
    stderr.contains("rsync: error while loading shared libraries: ")
}

/// Whether a far side's shell says that there is no rsync. Its exit 127 is lost
/// if rsync sees the connection's end before the shell's, and csh has another.
pub(super) fn is_missing(stderr: &str) -> bool {
    let says_so = |line: &str| {
        let line = line.to_lowercase();
        let ends = [
            "rsync: not found",
            "rsync: command not found",
            "rsync: command not found.",
            "command not found: rsync",
            "unknown command: rsync",
            "rsync: inaccessible or not found",
        ];
        ends.iter().any(|end| line.ends_with(end)) || line.contains("rsync: not found [no such file")
    };
    stderr.lines().map(str::trim_end).any(says_so)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_is_a_reason_is_told() {
        for (stderr, reason, why) in [
            (
                "rsync: [generator] link \"/s/a\" => etc/a failed: Too many links (31)\n\
                 rsync: [receiver] write error: Broken pipe (32)\n\
                 rsync error: error in file IO (code 11) at generator.c(1) [generator=3.2.7]\n",
                "rsync: [generator] link \"/s/a\" => etc/a failed: Too many links (31)",
                "a fault comes first",
            ),
            (
                "complaint of a .bashrc\nrsync: -slogDtpr: unknown option\n\
                 rsync error: syntax or usage error (code 1) at main.c(1098) [server=2.6.9]\n\
                 rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]\n\
                 rsync error: error in rsync protocol data stream (code 12) at io.c(231) [Receiver=3.5.0]\n",
                "rsync: -slogDtpr: unknown option",
                "what a login shell complains of is no reason where rsync gives one",
            ),
            (
                "a complaint\nfilename overflows max-path len by 12: aaa/bbb\n\
                 rsync error: some files/attrs were not transferred (see previous errors) (code 23)\n",
                "filename overflows max-path len by 12: aaa/bbb",
                "not every fault begins with `rsync: `",
            ),
            (
                "[sender] cannot do it\nrsync error: some files/attrs were not transferred (code 23)\n",
                "[sender] cannot do it",
                "or says who it is of",
            ),
            (
                "sudo: a password is required\n\
                 rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]\n\
                 rsync error: error in rsync protocol data stream (code 12) at io.c(231) [Receiver=3.5.0]\n",
                "sudo: a password is required",
                "something in rsync's place",
            ),
            (
                "file has vanished: \"/etc/a\"\n\
                 rsync: connection unexpectedly closed (12 bytes received so far) [receiver]\n\
                 rsync error: error in rsync protocol data stream (code 12) at io.c(231) [receiver=3.5.0]\n",
                "rsync: connection unexpectedly closed (12 bytes received so far) [receiver]",
                "a file that vanished is no reason",
            ),
            ("rsync error: timeout (code 30)\n\n", "rsync error: timeout (code 30)", "nothing better"),
            ("\n", "exit 12", "not a word"),
            ("file has vanished: \"/etc/a\"\n", "exit 12", "not a word of it"),
        ] {
            assert_eq!(of(stderr, Exit::Code(12)), reason, "{why}");
        }
    }

    #[test]
    fn what_shells_say_of_a_missing_rsync_is_known() {
        for said in [
            "sh: 1: rsync: not found",
            "bash: line 1: rsync: command not found",
            "zsh:1: command not found: rsync",
            "fish: Unknown command: rsync",
            "rsync: Command not found.",
            "ksh93: rsync: not found [No such file or directory]",
            "mksh: rsync: inaccessible or not found",
            "sudo: rsync: command not found",
        ] {
            assert!(is_missing(&format!("noise\n{said}\n")), "{said}");
        }
        assert!(!is_missing("rsync: error while loading shared libraries: libacl.so.1\n"));
    }

    #[test]
    fn an_rsync_that_does_not_take_its_command_line_is_told_from_ours() {
        let said = |who| format!("rsync error: syntax or usage error (code 1) at main.c(1) [{who}]\n");
        assert!(is_refused_there(&said("server=2.6.9")));
        assert!(!is_refused_there(&said("client=3.5.0")));
    }
}
