//! What is not copied: excludes and mounts in, rsync filter rules out.
//!
//! Patterns come from files shipped with this program, from the configuration
//! and from the hosts themselves, who may write anything there. A [`Rule`] is
//! a real pattern and nothing else: a line that rsync would take for an order
//! (forget all rules, read another file) cannot become one. Bytes go in and
//! out, because a host's file names need not be UTF-8.
//!
//! Not known here: where the bytes come from, and how rsync is started.

mod candidates;
mod inplace_paths;
mod kinds;
mod lines;
mod mount_rules;
mod mountinfo;
mod mounts;
mod named;
mod nesting;
mod second_look;
mod standard;
mod told;

pub use candidates::{SearchRoot, Wanted, wanted};
pub use inplace_paths::{Apart, LONGEST_APART, below, from_source, is_of_the_snapshots};
pub use lines::parse_lines;
pub use mount_rules::emptied;
pub use mounts::{Filesystem, LeftOut, MountReason, Selection, select};
pub use second_look::{Changed, changed};
pub use standard::standard;
pub use told::{Missed, missed};

use crate::core::format::text::{printable, printable_bytes, shortened};
use crate::core::model::problem::Problem;
use std::fmt;

/// Why a path of [`Wanted::mixed`] is not written in place.
pub const MIXED: &str = "something that is not copied is mounted below it, and a search for hard links that skips it would miss subvolumes";

/// The longest pattern that rsync takes, in bytes (its `MAXPATHLEN` less one):
/// it drops a longer one with a message that nobody reads.
pub const LONGEST_PATTERN: usize = 4095;

/// One rsync pattern, and whether what matches it is left out or let in. The
/// first rule that matches a file decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    include: bool,
    pattern: Vec<u8>,
}

/// Why some text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAPattern {
    /// There is nothing.
    Empty,
    /// rsync's texts end at a NUL byte.
    Nul,
    /// See [`LONGEST_PATTERN`].
    TooLong,
    /// It is an order of rsync's filter language.
    Directive,
}

impl NotAPattern {
    /// The same as a problem of who wrote it.
    pub fn problem(self) -> Problem {
        match self {
            NotAPattern::Empty => Problem::warning("the pattern is empty", ""),
            NotAPattern::Nul => Problem::warning("a NUL byte cannot be part of a pattern", ""),
            NotAPattern::TooLong => {
                Problem::warning(format!("the pattern is longer than {LONGEST_PATTERN} bytes"), "")
            }
            NotAPattern::Directive => Problem::warning(
                "this is a rule of rsync's filter language, and only patterns are taken here",
                "write `- ` before a pattern that looks like one",
            ),
        }
    }
}

impl fmt::Display for NotAPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem().fmt(f)
    }
}

impl std::error::Error for NotAPattern {}

impl Rule {
    /// Leaves out what matches `pattern`.
    pub fn exclude(pattern: impl Into<Vec<u8>>) -> Result<Rule, NotAPattern> {
        Rule::new(false, pattern.into())
    }

    /// Lets in what matches `pattern`, whatever later rules say.
    pub fn include(pattern: impl Into<Vec<u8>>) -> Result<Rule, NotAPattern> {
        Rule::new(true, pattern.into())
    }

    fn new(include: bool, pattern: Vec<u8>) -> Result<Rule, NotAPattern> {
        match pattern.len() {
            0 => Err(NotAPattern::Empty),
            _ if pattern.contains(&0) => Err(NotAPattern::Nul),
            length if length > LONGEST_PATTERN => Err(NotAPattern::TooLong),
            _ => Ok(Rule { include, pattern }),
        }
    }

    /// Reads a pattern as rsync's `--exclude` does: `- P` leaves out, `+ P`
    /// lets in, and a bare `P` leaves out. What would be an order to rsync is
    /// an error, also where `--exclude` would take it for an odd name.
    pub fn parse(text: &[u8]) -> Result<Rule, NotAPattern> {
        if let Some(pattern) = text.strip_prefix(b"- ") {
            Rule::exclude(pattern)
        } else if let Some(pattern) = text.strip_prefix(b"+ ") {
            Rule::include(pattern)
        } else if lines::is_directive(text) {
            Err(NotAPattern::Directive)
        } else {
            Rule::exclude(text)
        }
    }

    /// Whether it lets in rather than leaves out.
    pub fn is_include(&self) -> bool {
        self.include
    }

    /// The pattern's bytes.
    pub fn pattern(&self) -> &[u8] {
        &self.pattern
    }
}

/// For people; not for rsync.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.include { '+' } else { '-' }, printable_bytes(&self.pattern))
    }
}

/// Why a host's list of mounts cannot be worked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Excess {
    /// There are more than any host has.
    Mounts,
    /// What is mounted there cannot be left out.
    Path(String),
    /// So many filesystems lie in one another that the rules would be too long.
    Rules,
}

impl Excess {
    /// The same as a problem of the host.
    pub fn problem(&self) -> Problem {
        match self {
            Excess::Mounts => Problem::critical(
                format!("more than {} filesystems are mounted there", mountinfo::MOST_MOUNTS),
                "unmount what is not needed",
            ),
            Excess::Path(path) => Problem::critical(
                format!(
                    "a filesystem is mounted there at a path that is too long for a pattern of rsync, so that it could \
                     not be left out: `{path}`"
                ),
                "unmount it",
            ),
            Excess::Rules => Problem::critical(
                "filesystems are mounted there so deep in others that no list of rules could tell them apart",
                "unmount them",
            ),
        }
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem().fmt(f)
    }
}

/// Something in a file from elsewhere that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Which file.
    pub origin: String,
    /// Which line, counted from 1.
    pub line: usize,
    /// What is wrong there, and what to do about it.
    pub problem: Problem,
}

impl Warning {
    /// A warning about one line, which it shows.
    fn of_line(origin: &str, line: usize, text: &[u8], why: Problem) -> Self {
        let shown = shortened(&printable_bytes(text), 60);
        let what = format!("`{shown}` was passed over: {}", why.what);
        Warning { origin: origin.to_owned(), line, problem: Problem { what, ..why } }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}: {}", printable(&self.origin), self.line, self.problem)
    }
}

/// The rules as a file for `rsync --from0 --filter='merge FILE'`: each ends
/// with a NUL byte. Every rule bears its prefix, after which rsync (from
/// 3.2.7 to 3.5.0, `parse_rule_tok` in its `exclude.c`) takes all bytes as
/// they are.
pub fn to_rsync(rules: &[Rule]) -> Vec<u8> {
    let mut file = Vec::new();
    for rule in rules {
        file.extend_from_slice(if rule.include { b"+ " } else { b"- " });
        file.extend_from_slice(&rule.pattern);
        file.push(0);
    }
    file
}

/// The operator's rules for a host: those for all hosts, and the host's own. A
/// pattern that is none is given back, with the reason.
pub fn configured<'a>(for_all: &[Rule], own: &'a [String]) -> (Vec<Rule>, Vec<(&'a str, NotAPattern)>) {
    let mut rules = for_all.to_vec();
    let mut unfit = Vec::new();
    for pattern in own {
        match Rule::parse(pattern.as_bytes()) {
            Ok(rule) => rules.push(rule),
            Err(why) => unfit.push((pattern.as_str(), why)),
        }
    }
    (rules, unfit)
}

/// All rules in the order in which they count: the standard ones, the
/// configuration's, the mounts', the client's. So a client's `+` can neither
/// undo what the operator leaves out nor pull in a network filesystem.
///
/// To let in a disk that is mounted below a left-out filesystem, the mounts
/// have `+` rules too. A client's excludes are to work there as well, so those
/// before its first `+` come before the mounts' rules; they can only leave out
/// more.
pub fn assemble(standard: &[Rule], configured: &[Rule], mounts: &Selection, client: &[Rule]) -> Vec<Rule> {
    let leading = client.iter().take_while(|rule| !rule.include).count();
    let (client_excludes, client_rest) = client.split_at(leading);
    [standard, configured, client_excludes, &mounts.rules, client_rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclude(pattern: &str) -> Rule {
        Rule::exclude(pattern).unwrap()
    }

    fn include(pattern: &str) -> Rule {
        Rule::include(pattern).unwrap()
    }

    #[test]
    fn only_a_real_pattern_becomes_a_rule() {
        assert_eq!(Rule::exclude(""), Err(NotAPattern::Empty));
        assert_eq!(Rule::include("a\0b"), Err(NotAPattern::Nul));
        assert_eq!(Rule::exclude(vec![b'x'; LONGEST_PATTERN + 1]), Err(NotAPattern::TooLong));
        assert!(Rule::exclude(vec![b'x'; LONGEST_PATTERN]).is_ok());
        assert_eq!(Rule::parse(b"merge /etc/shadow"), Err(NotAPattern::Directive));
        assert_eq!(Rule::parse(b"- merge /etc/shadow"), Ok(exclude("merge /etc/shadow")));
        assert_eq!(Rule::parse(b"+ !"), Ok(include("!")));
        assert_eq!(Rule::parse(b"#*#"), Ok(exclude("#*#")), "only a file has comments");
        assert_eq!(Rule::parse(b"- "), Err(NotAPattern::Empty));
    }

    #[test]
    fn rules_for_rsync_bear_their_prefix_and_end_with_nul() {
        assert_eq!(to_rsync(&[exclude("- a"), include("!"), exclude("b\nc")]), b"- - a\0+ !\0- b\nc\0");
        assert_eq!(to_rsync(&[]), b"");
    }

    #[test]
    fn rules_for_people_stay_on_one_line() {
        assert_eq!(Rule::exclude(b"a\n\xff").unwrap().to_string(), "- a\\n\u{fffd}");
    }

    #[test]
    fn the_operator_speaks_before_the_mounts_and_the_mounts_before_a_clients_includes() {
        let mounts =
            Selection { rules: vec![include("/run/usb"), exclude("/run/*")], ..Selection::default() };
        let client = [exclude("/run/usb"), include("/c"), exclude("/d")];
        let expected = ["- /a", "+ /b", "- /run/usb", "+ /run/usb", "- /run/*", "+ /c", "- /d"];
        let all = assemble(&[exclude("/a")], &[include("/b")], &mounts, &client);
        assert_eq!(all.iter().map(Rule::to_string).collect::<Vec<_>>(), expected);
    }
}
