//! What an operator types to name files of a host: a glob, matched against
//! paths a component at a time.
//!
//! - Without a `/` it is a file's name, wherever that is: `named.conf`.
//! - With a `/` at its beginning it is the whole path from the host's root:
//!   `/etc/**/*.conf`.
//! - With a `/` elsewhere it is the end of a path: `ssh/*.conf`.
//! - With a `/` at its end only directories match.
//!
//! `*` stands for any characters of one name, also for a dot at its beginning,
//! `?` for one, `[…]` for one of some, `**` for any number of directories.
//! Names need not be UTF-8: what is not is matched by `*` and `?`, and by the
//! same bytes in a component without wildcards.
//!
//! A walk carries [`States`] from directory to directory, so that it goes only
//! where something may match.

use crate::core::format::text::printable_bytes;

/// The most components of a pattern after those that name one directory.
const MOST_PARTS: usize = 127;

/// A pattern, understood.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// The components that lead to the directory where the search begins.
    beginning: Vec<Vec<u8>>,
    parts: Vec<Part>,
    directories_only: bool,
    any_case: bool,
}

#[derive(Debug, Clone)]
enum Part {
    /// Any number of directories: `**`.
    Directories,
    /// Any name: `*`.
    Any,
    /// This name.
    Name(Vec<u8>),
    Glob(glob::Pattern),
}

/// How far a path has come through a pattern: a bit for each part that the next
/// component may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct States(u128);

/// What is no pattern, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no pattern: {why}")]
pub struct NoPattern {
    pattern: String,
    why: String,
}

impl Pattern {
    /// Understands a pattern. With `any_case`, small and capital letters are
    /// the same.
    pub fn new(text: &[u8], any_case: bool) -> Result<Self, NoPattern> {
        let refused = |why: &str| NoPattern { pattern: printable_bytes(text), why: why.to_owned() };
        if text.is_empty() {
            return Err(refused("it is empty"));
        }
        let mut parts = Vec::new();
        if !text.starts_with(b"/") {
            parts.push(Part::Directories);
        }
        for word in text.split(|byte| *byte == b'/') {
            match word {
                b"" | b"." => {}
                b".." => return Err(refused("`..` leads nowhere in a snapshot")),
                b"**" => {
                    if !matches!(parts.last(), Some(Part::Directories)) {
                        parts.push(Part::Directories);
                    }
                }
                word => parts.push(Part::new(word, any_case).map_err(|why| refused(&why))?),
            }
        }
        // What is below a directory is not the directory itself.
        if matches!(parts.last(), Some(Part::Directories)) {
            parts.push(Part::Any);
        }
        let named = parts.iter().take_while(|part| matches!(part, Part::Name(_)) && !any_case).count();
        let rest = parts.split_off(named.min(parts.len().saturating_sub(1)));
        if rest.len() > MOST_PARTS {
            return Err(refused("it has too many components"));
        }
        let beginning = parts.into_iter().filter_map(|part| match part {
            Part::Name(name) => Some(name),
            _ => None,
        });
        Ok(Pattern {
            beginning: beginning.collect(),
            parts: rest,
            directories_only: text.ends_with(b"/") && text != b"/",
            any_case,
        })
    }

    /// The directory below which everything lies that can match, as the
    /// components of its path from the root.
    pub fn beginning(&self) -> &[Vec<u8>] {
        &self.beginning
    }

    /// The one name below [`Pattern::beginning`] that can match, if there is
    /// but one.
    pub fn only_name(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [Part::Name(name)] if !self.any_case => Some(name),
            _ => None,
        }
    }

    /// Whether only directories are meant.
    pub fn directories_only(&self) -> bool {
        self.directories_only
    }

    /// The states at [`Pattern::beginning`].
    pub fn start(&self) -> States {
        self.closed(1)
    }

    /// The states at an entry of this name in a directory of these states.
    pub fn step(&self, at: States, name: &[u8]) -> States {
        let mut next = 0;
        for (number, part) in self.parts.iter().enumerate() {
            if at.0 & (1 << number) == 0 {
                continue;
            }
            if matches!(part, Part::Directories) {
                next |= 1 << number;
            } else if part.matches(name, self.any_case) {
                next |= 1 << (number + 1);
            }
        }
        self.closed(next)
    }

    /// Whether an entry of these states is meant.
    pub fn accepts(&self, at: States) -> bool {
        at.0 & (1 << self.parts.len()) != 0
    }

    /// Whether something below a directory of these states may be meant.
    pub fn goes_on(&self, at: States) -> bool {
        at.0 & !(1 << self.parts.len()) != 0
    }

    /// Any number of directories may be none.
    fn closed(&self, mut states: u128) -> States {
        for (number, part) in self.parts.iter().enumerate() {
            if matches!(part, Part::Directories) && states & (1 << number) != 0 {
                states |= 1 << (number + 1);
            }
        }
        States(states)
    }
}

impl Part {
    fn new(word: &[u8], any_case: bool) -> Result<Self, String> {
        if word == b"*" {
            return Ok(Part::Any);
        }
        if !word.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
            let name = if any_case { small(word).into_bytes() } else { word.to_owned() };
            return Ok(Part::Name(name));
        }
        let text = if any_case { small(word) } else { String::from_utf8_lossy(word).into_owned() };
        glob::Pattern::new(&text).map(Part::Glob).map_err(|error| error.msg.to_owned())
    }

    fn matches(&self, name: &[u8], any_case: bool) -> bool {
        match self {
            Part::Directories | Part::Any => true,
            Part::Name(own) if any_case => *own == small(name).into_bytes(),
            Part::Name(own) => own == name,
            Part::Glob(glob) if any_case => glob.matches(&small(name)),
            Part::Glob(glob) => glob.matches(&String::from_utf8_lossy(name)),
        }
    }
}

fn small(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a path, walked a component at a time, matches.
    fn matches(pattern: &Pattern, path: &[u8]) -> bool {
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        for own in pattern.beginning() {
            if names.next() != Some(own) {
                return false;
            }
        }
        let mut at = pattern.start();
        for name in names {
            if !pattern.goes_on(at) {
                return false;
            }
            at = pattern.step(at, name);
        }
        pattern.accepts(at)
    }

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text.as_bytes(), false).unwrap()
    }

    #[test]
    fn patterns_mean_what_people_expect() {
        for (text, path, expected, reason) in [
            ("named.conf", "/etc/bind/named.conf", true, "a name, anywhere"),
            ("named.conf", "/named.conf", true, "at the root too"),
            ("named.conf", "/etc/named.conf/x", false, "a name is the last component"),
            ("named", "/etc/named.conf", false, "a whole name"),
            ("*.conf", "/etc/bind/named.conf", true, "a glob, anywhere"),
            ("*", "/a/.hidden", true, "hidden files are files"),
            ("*", "/", false, "the root has no name"),
            ("/", "/", true, "unless it is asked for"),
            ("/etc/*.conf", "/etc/a.conf", true, "a whole path"),
            ("/etc/*.conf", "/etc/bind/a.conf", false, "`*` stays in its directory"),
            ("/etc/*.conf", "/srv/etc/a.conf", false, "from the root"),
            ("/etc/**/*.conf", "/etc/a.conf", true, "no directory is any number too"),
            ("/etc/**/*.conf", "/etc/a/b/c.conf", true, "nor are two"),
            ("/etc/**", "/etc/a/b", true, "everything below"),
            ("/etc/**", "/etc", false, "and not the directory itself"),
            ("**", "/a/b", true, "everything"),
            ("ssh/*.conf", "/etc/ssh/a.conf", true, "the end of a path"),
            ("ssh/*.conf", "/ssh/a.conf", true, "of a short one too"),
            ("ssh/*.conf", "/etc/xssh/a.conf", false, "whole components"),
            ("./a", "/b/a", true, "a dot is nothing"),
            ("//etc///fstab", "/etc/fstab", true, "nor are more slashes"),
            ("/etc/fst?b", "/etc/fstab", true, "one character"),
            ("[a-c]x", "/bx", true, "one of some"),
            ("[!a-c]x", "/bx", false, "none of some"),
            ("a[*]b", "/a*b", true, "a star itself"),
            ("a[*]b", "/axb", false, "and nothing else"),
            ("/**/etc/**/x", "/a/etc/b/etc/c/x", true, "more ways than one"),
            ("*.CONF", "/a.conf", false, "capitals are other letters"),
            ("ä*", "/ärger", true, "letters of all languages"),
            ("a?c", "/aäc", true, "characters, not bytes"),
        ] {
            assert_eq!(matches(&pattern(text), path.as_bytes()), expected, "{text} and {path}: {reason}");
        }
    }

    #[test]
    fn small_and_capital_letters_can_be_the_same() {
        for (text, path) in
            [("NAMED.conf", "/Named.CONF"), ("/ETC/*.Conf", "/etc/A.cONF"), ("ÄRGER", "/ärger")]
        {
            let pattern = Pattern::new(text.as_bytes(), true).unwrap();
            assert!(matches(&pattern, path.as_bytes()), "{text} and {path}");
        }
        assert!(Pattern::new(b"/ETC/x", true).unwrap().beginning().is_empty(), "any spelling of it");
    }

    #[test]
    fn names_that_are_not_utf8_are_found() {
        assert!(matches(&pattern("*"), b"/\xff\xfe"));
        assert!(matches(&pattern("a*b"), b"/a\xffb"));
        assert!(matches(&pattern("a?b"), b"/a\xffb"));
        let exact = Pattern::new(b"a\xffb", false).unwrap();
        assert!(matches(&exact, b"/x/a\xffb") && !matches(&exact, b"/x/a\xfeb"));
    }

    #[test]
    fn a_walk_begins_where_the_pattern_does() {
        for (text, beginning, only) in [
            ("/etc/ssh/*", &["etc", "ssh"][..], None),
            ("/etc/fstab", &["etc"], Some("fstab")),
            ("/etc", &[], Some("etc")),
            ("/", &[], None),
            ("fstab", &[], None),
            ("/etc/*/x", &["etc"], None),
        ] {
            let pattern = pattern(text);
            let own: Vec<&[u8]> = pattern.beginning().iter().map(Vec::as_slice).collect();
            assert_eq!(own, beginning.iter().map(|name| name.as_bytes()).collect::<Vec<_>>(), "{text}");
            assert_eq!(pattern.only_name(), only.map(str::as_bytes), "{text}");
        }
        let pattern = pattern("/etc/*/x");
        let at = pattern.step(pattern.start(), b"ssh");
        assert!(pattern.goes_on(at));
        let at = pattern.step(at, b"y");
        assert!(!pattern.goes_on(at) && !pattern.accepts(at), "nothing is below");
    }

    #[test]
    fn a_slash_at_the_end_asks_for_directories() {
        assert!(pattern("ssh/").directories_only() && matches(&pattern("ssh/"), b"/etc/ssh"));
        assert!(!pattern("/").directories_only() && !pattern("a/b").directories_only());
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, why) in [
            ("", "`` is no pattern: it is empty"),
            ("[x", "`[x` is no pattern: invalid range pattern"),
            ("a**", "`a**` is no pattern: recursive wildcards must form a single path component"),
            ("../etc", "`../etc` is no pattern: `..` leads nowhere in a snapshot"),
        ] {
            assert_eq!(Pattern::new(text.as_bytes(), false).unwrap_err().to_string(), why);
        }
        assert!(Pattern::new("*/".repeat(200).as_bytes(), false).is_err());
        assert!(Pattern::new("/x".repeat(200).as_bytes(), false).is_ok(), "names are no wildcards");
    }
}
