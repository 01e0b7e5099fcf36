//! Rules that part a tree between two rsyncs: one copies all but a few paths,
//! the other those paths alone.
//!
//! A path is what the operator wrote, byte for byte, and no pattern. For the
//! first rsync it is hidden on the host, and protected in the copy. For the
//! second everything else is: in each directory on the way to a path, all names
//! but those that lead on. rsync knows no rule for "all names but these", so
//! it is spelt out letter by letter: for `lib` that is `[!l]*`, `l`, `l[!i]*`,
//! `li`, `li[!b]*` and `lib?*`. These rules stand before the host's own and let
//! nothing in, so that what the host's rules leave out stays out in both.
//!
//! Not known here: how the two write.

use super::mount_rules::{above, inside, literal, normalised, parent};
use super::{NotAPattern, Rule, to_rsync};
use std::collections::{BTreeMap, BTreeSet};

/// The longest path that can be copied apart, in bytes: the rules for one are
/// a few times as long, and rsync drops a rule that is longer than
/// [`super::LONGEST_PATTERN`].
pub const LONGEST_APART: usize = 1000;

/// Where a dataset shows its snapshots, from its root on.
const SNAPSHOTS: &[u8] = b"/.zfs";

/// The paths that one rsync copies and the other does not, each from the
/// source on, with its leading slash. None lies inside another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Apart {
    paths: BTreeSet<Vec<u8>>,
}

/// Where an absolute path of the host lies from `source` on, with its leading
/// slash; `None` if it does not lie below.
pub fn from_source(path: &str, source: &str) -> Option<Vec<u8>> {
    below(path.as_bytes(), source.as_bytes())
}

/// [`from_source`], for paths of any bytes.
pub fn below(path: &[u8], directory: &[u8]) -> Option<Vec<u8>> {
    inside(&normalised(path), &normalised(directory)).map(<[u8]>::to_vec)
}

/// Whether a path of the host would be copied to where a dataset shows its
/// snapshots, which is never done.
pub fn is_of_the_snapshots(path: &str, source: &str) -> bool {
    from_source(path, source).is_some_and(|path| begins_with_snapshots(&path))
}

fn begins_with_snapshots(path: &[u8]) -> bool {
    path == SNAPSHOTS || inside(path, SNAPSHOTS).is_some()
}

impl Apart {
    /// Of these paths, as [`from_source`] gives them. One that lies inside
    /// another goes with it. One that is too long stays with all the rest, and
    /// so does one at or below `/.zfs`, where a copy may show its own snapshots,
    /// none of which may be touched.
    pub fn new(paths: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let fits = |path: &Vec<u8>| {
            path.len() <= LONGEST_APART
                && path.len() > 1
                && !begins_with_snapshots(path)
                && !path.contains(&0)
        };
        let all: BTreeSet<Vec<u8>> = paths.into_iter().filter(fits).collect();
        let outermost = |path: &&Vec<u8>| !above(path).any(|directory| all.contains(directory));
        Apart { paths: all.iter().filter(outermost).cloned().collect() }
    }

    /// Whether there is no such path.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.paths.iter().map(Vec::as_slice)
    }

    /// The directories that lead to the paths, which both rsyncs copy, without
    /// what else is in them: `/`, the source itself, is among them.
    pub fn way(&self) -> BTreeSet<&[u8]> {
        self.paths().flat_map(above).collect()
    }

    /// The rules of the rsync that copies all but these paths; see
    /// [`to_rsync`].
    ///
    /// # Errors
    /// A rule does not fit: without it both would copy a path.
    pub fn for_the_others(&self, rules: &[Rule]) -> Result<Vec<u8>, NotAPattern> {
        let paths: Result<Vec<_>, _> = self.paths().map(|path| Rule::exclude(literal(path))).collect();
        Ok(before(&paths?, rules))
    }

    /// The rules of the rsync that copies these paths alone.
    ///
    /// # Errors
    /// A rule does not fit: without it others would be written in place too.
    pub fn for_these(&self, rules: &[Rule]) -> Result<Vec<u8>, NotAPattern> {
        let mut names: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
        for path in self.paths() {
            let steps = std::iter::once(path).chain(above(path));
            for (step, directory) in steps.filter_map(|step| Some((step, parent(step)?))) {
                let name = &step[directory.len()..];
                names.entry(directory).or_default().insert(name.strip_prefix(b"/").unwrap_or(name));
            }
        }
        let mut others = Vec::new();
        for (directory, names) in &names {
            others.extend(all_but(directory, names)?);
        }
        Ok(before(&others, rules))
    }
}

/// The rules, after those that hide and protect all that `kept_out` matches.
/// With `--delete-excluded` a plain exclude does not protect.
fn before(kept_out: &[Rule], rules: &[Rule]) -> Vec<u8> {
    let mut file = Vec::new();
    for kind in [b"H ", b"P "] {
        for rule in kept_out {
            file.extend_from_slice(kind);
            file.extend_from_slice(rule.pattern());
            file.push(0);
        }
    }
    file.extend_from_slice(&to_rsync(rules));
    file
}

/// Patterns that together match all names in a directory but these.
fn all_but(directory: &[u8], names: &BTreeSet<&[u8]>) -> Result<Vec<Rule>, NotAPattern> {
    // What may follow on each beginning of a name.
    let mut beginnings: BTreeMap<&[u8], BTreeSet<u8>> = BTreeMap::new();
    for name in names {
        for (at, byte) in name.iter().enumerate() {
            beginnings.entry(&name[..at]).or_default().insert(*byte);
        }
        beginnings.entry(name).or_default();
    }
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    let mut rules = Vec::new();
    for (beginning, next) in &beginnings {
        let path = [directory, b"/", beginning].concat();
        let longer = if next.is_empty() { b"?*".to_vec() } else { [&none_of(next)[..], b"*"].concat() };
        rules.push(Rule::exclude([escaped(&path), longer].concat())?);
        if !beginning.is_empty() && !names.contains(beginning) {
            rules.push(Rule::exclude(literal(&path))?);
        }
    }
    Ok(rules)
}

/// `[!…]`, in which a backslash takes every sign's meaning.
fn none_of(bytes: &BTreeSet<u8>) -> Vec<u8> {
    let members = bytes.iter().flat_map(|byte| {
        let sign = byte.is_ascii_punctuation();
        sign.then_some(b'\\').into_iter().chain([*byte])
    });
    b"[!".iter().copied().chain(members).chain([b']']).collect()
}

/// The bytes in a pattern that has wildcards of its own.
fn escaped(path: &[u8]) -> Vec<u8> {
    let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    path.iter().flat_map(|byte| special(byte).then_some(b'\\').into_iter().chain([*byte])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(paths: &[&str]) -> Apart {
        Apart::new(paths.iter().map(|path| path.as_bytes().to_vec()))
    }

    fn lines(file: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(file);
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn paths_are_seen_from_the_source() {
        for (path, source, expected, why) in [
            ("/var/lib/images/", "/", Some("/var/lib/images"), "the whole machine"),
            ("/srv//images/./a", "/srv/", Some("/images/a"), "needless slashes"),
            ("/srv", "/srv", None, "the source itself"),
            ("/srv2/images", "/srv", None, "a name that only begins alike"),
            ("/etc", "/srv", None, "elsewhere"),
        ] {
            assert_eq!(from_source(path, source).as_deref(), expected.map(str::as_bytes), "{why}");
        }
    }

    #[test]
    fn a_path_inside_another_goes_with_it() {
        let paths = apart(&["/a/b", "/a", "/ab", "/c/d/e", "/c/d"]);
        assert_eq!(paths.paths().collect::<Vec<_>>(), [&b"/a"[..], b"/ab", b"/c/d"]);
        assert_eq!(paths.way().into_iter().collect::<Vec<_>>(), [&b"/"[..], b"/c"]);
        assert!(apart(&[]).is_empty() && apart(&["/"]).is_empty());
        assert_eq!(apart(&["/.zfs", "/.zfs/snapshot", "/.zfs2"]), apart(&["/.zfs2"]));
        assert!(apart(&[&format!("/{}", "x".repeat(LONGEST_APART))]).is_empty());
    }

    #[test]
    fn the_others_are_copied_without_these() {
        let rules = [Rule::exclude("*.iso").unwrap()];
        assert_eq!(
            lines(&apart(&["/a", "/b [x]/*"]).for_the_others(&rules).unwrap()),
            ["H /a", "H /b \\[x]/\\*", "P /a", "P /b \\[x]/\\*", "- *.iso"]
        );
        assert_eq!(lines(&apart(&[]).for_the_others(&rules).unwrap()), ["- *.iso"]);
    }

    #[test]
    fn these_are_copied_without_the_others() {
        let rules = [Rule::include("*.iso").unwrap()];
        assert_eq!(
            lines(&apart(&["/a", "/ab", "/c/]*"]).for_these(&rules).unwrap()),
            [
                "H /[!ac]*",
                "H /a[!b]*",
                "H /ab?*",
                "H /c?*",
                "H /c/[!\\]]*",
                "H /c/][!\\*]*",
                "H /c/]",
                "H /c/]\\*?*",
                "P /[!ac]*",
                "P /a[!b]*",
                "P /ab?*",
                "P /c?*",
                "P /c/[!\\]]*",
                "P /c/][!\\*]*",
                "P /c/]",
                "P /c/]\\*?*",
                "+ *.iso",
            ]
        );
    }

    /// [`LONGEST_APART`] is what makes it so.
    #[test]
    fn the_longest_path_fits_into_rules_whatever_its_bytes() {
        for byte in [b'*', b'\\', b'?', b'x', 0xff] {
            let long = [&b"/"[..], &[byte; LONGEST_APART - 1]].concat();
            let deep: Vec<u8> = [b'/', byte].into_iter().cycle().take(LONGEST_APART).collect();
            for path in [long, deep] {
                let apart = Apart::new([path]);
                assert!(!apart.is_empty());
                assert!(apart.for_the_others(&[]).is_ok() && apart.for_these(&[]).is_ok());
            }
        }
        assert!(apart(&["/a\0b"]).is_empty());
    }

    #[test]
    fn a_rule_that_does_not_fit_is_a_fault() {
        let apart = Apart { paths: BTreeSet::from([[&b"/"[..], &[b'*'; 4000]].concat()]) };
        assert_eq!(apart.for_the_others(&[]), Err(NotAPattern::TooLong));
        assert_eq!(apart.for_these(&[]), Err(NotAPattern::TooLong));
    }
}
