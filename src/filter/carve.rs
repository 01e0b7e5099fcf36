//! Rules that carve mount points out of a tree, for a given choice.
//!
//! A left-out directory stays and is emptied: `- /run/*`. If a chosen one lies
//! deeper, everything on the way to it is let in first, and emptied but for
//! the way: `+ /run/media/`, `+ /run/media/usb`, `- /run/*`, `- /run/media/*`.
//! rsync never sees what is below an excluded directory, so one level of rules
//! is enough everywhere.

use super::Rule;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a mount point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is copied.
    In,
    /// It stays as an empty directory.
    Out,
    /// It must not be looked into: looking would mount something, or is
    /// forbidden even to root and would fail the transfer. So the directory
    /// itself is left out too.
    Closed,
}

/// The directory that an absolute path lies in; `None` for `/`.
pub(super) fn parent(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    if path.len() == 1 { None } else { Some(&path[..slash.max(1)]) }
}

/// The path of `path` from `base`, with its leading slash, if it lies below.
pub(super) fn inside<'a>(path: &'a [u8], base: &[u8]) -> Option<&'a [u8]> {
    let rest = if base == b"/" { path } else { path.strip_prefix(base)? };
    (rest.len() > 1 && rest.starts_with(b"/")).then_some(rest)
}

/// An absolute path without doubled or trailing slashes and without `.`.
pub(super) fn normalised(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let whole: Vec<u8> = parts.flat_map(|part| [b"/", part].concat()).collect();
    if whole.is_empty() { b"/".to_vec() } else { whole }
}

/// The rule that leaves out what is in the directory `path`, an absolute one;
/// `None` if it does not lie below `source`. The directory itself stays.
pub fn emptied(path: &[u8], source: &[u8]) -> Option<Rule> {
    let (path, source) = (normalised(path), normalised(source));
    rule(Rule::exclude, inside(&path, &source)?, "/*")
}

/// The rules for these mount points, each below `source` and there once.
/// `source` itself is in.
pub(super) fn rules(source: &[u8], points: &[(&[u8], State)]) -> Vec<Rule> {
    let states: BTreeMap<&[u8], State> =
        points.iter().filter_map(|(point, state)| Some((inside(point, source)?, *state))).collect();
    // What carries a path: the nearest mount point above it.
    let carrier = |path| {
        std::iter::successors(parent(path), |path| parent(path))
            .find_map(|path| states.get_key_value(path).map(|(point, state)| (*point, *state)))
    };

    // Mount points that are in, and all that carry them.
    let mut needed: BTreeSet<&[u8]> = BTreeSet::new();
    for (point, _) in states.iter().filter(|(_, state)| **state == State::In) {
        let mut next = Some(*point);
        while let Some(path) = next.filter(|path| needed.insert(path)) {
            next = carrier(path).map(|(point, _)| point);
        }
    }

    let mut let_in = BTreeSet::new();
    let mut emptied = BTreeSet::new();
    let mut shut = BTreeSet::new();
    for point in &needed {
        let Some((base, _)) = carrier(point).filter(|(_, state)| *state != State::In) else { continue };
        // Without a slash: a bind mount's point can be a file.
        let_in.insert((*point, ""));
        let way = std::iter::successors(parent(point), |path| parent(path)).take_while(|path| *path != base);
        for directory in way {
            let_in.insert((directory, "/"));
            emptied.insert(directory);
        }
    }
    for (point, state) in states.iter().filter(|(_, state)| **state != State::In) {
        let seen = needed.contains(point) || carrier(point).is_none_or(|(_, state)| state == State::In);
        if seen && *state == State::Closed && !needed.contains(point) {
            shut.insert(*point);
        } else if seen {
            emptied.insert(*point);
        }
    }

    // What is too long for a pattern is close to what is too long for a path,
    // where rsync gives up as well.
    let let_in = let_in.into_iter().filter_map(|(path, end)| rule(Rule::include, path, end));
    let shut = shut.into_iter().filter_map(|path| rule(Rule::exclude, path, "/"));
    let emptied = emptied.into_iter().filter_map(|path| rule(Rule::exclude, path, "/*"));
    let_in.chain(shut).chain(emptied).collect()
}

/// A rule for one path, and nothing else.
pub(super) fn rule<E>(make: impl Fn(Vec<u8>) -> Result<Rule, E>, path: &[u8], end: &str) -> Option<Rule> {
    make(pattern(path, end)).ok()
}

/// The pattern of one path, and nothing else.
pub(super) fn literal(path: &[u8]) -> Vec<u8> {
    pattern(path, "")
}

fn pattern(path: &[u8], end: &str) -> Vec<u8> {
    let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[');
    // A backslash means itself to rsync where a pattern has no wildcard.
    let wild = end.contains('*') || path.iter().any(special);
    let escaped = path.iter().flat_map(|byte| {
        let escape = wild && (special(byte) || *byte == b'\\');
        escape.then_some(b'\\').into_iter().chain([*byte])
    });
    escaped.chain(end.bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::State::{Closed, In, Out};
    use super::*;

    fn shown(source: &str, points: &[(&str, State)]) -> Vec<String> {
        let points: Vec<(&[u8], State)> =
            points.iter().map(|(point, state)| (point.as_bytes(), *state)).collect();
        rules(source.as_bytes(), &points).iter().map(Rule::to_string).collect()
    }

    #[test]
    fn worked_cases() {
        type Case = (&'static str, &'static [(&'static str, State)], &'static [&'static str], &'static str);
        let cases: [Case; 11] = [
            ("/", &[("/home", In)], &[], "what is in needs no rule"),
            ("/", &[("/proc", Out), ("/sys", Out)], &["- /proc/*", "- /sys/*"], "empty directories stay"),
            ("/srv", &[("/srv/nfs", Out)], &["- /nfs/*"], "anchored at the source"),
            ("/srv", &[("/srvx", Out), ("/proc", Out)], &[], "what is not below the source plays no part"),
            ("/", &[("/sys", Out), ("/sys/fs/cgroup", Out)], &["- /sys/*"], "gone with what carries it"),
            (
                "/",
                &[("/run", Out), ("/run/lock", Out), ("/run/media/usb", In)],
                &["+ /run/media/", "+ /run/media/usb", "- /run/*", "- /run/media/*"],
                "a disk below a left-out mount, and the way to it",
            ),
            (
                "/",
                &[("/a", Out), ("/a/b", Out), ("/a/b/c", In), ("/a/b/c/d", Out)],
                &["+ /a/b", "+ /a/b/c", "- /a/*", "- /a/b/*", "- /a/b/c/d/*"],
                "in and out by turns",
            ),
            (
                "/",
                &[("/a", Out), ("/a/x", In), ("/a/y", In)],
                &["+ /a/x", "+ /a/y", "- /a/*"],
                "two disks in one directory",
            ),
            ("/", &[("/mnt/nas", Closed)], &["- /mnt/nas/"], "not even looked into"),
            (
                "/",
                &[("/net", Closed), ("/net/disk", In), ("/net/nfs", Closed)],
                &["+ /net/disk", "- /net/*"],
                "a closed one on the way to a disk has to be looked into",
            ),
            ("/", &[("/", Out)], &[], "the source itself is in"),
        ];
        for (source, points, expected, why) in cases {
            assert_eq!(shown(source, points), expected, "{why}");
        }
    }

    #[test]
    fn what_is_in_a_folder_can_be_left_out() {
        let shown = |path: &str, source: &str| {
            emptied(path.as_bytes(), source.as_bytes()).map(|rule| rule.to_string())
        };
        assert_eq!(shown("/srv/backup/", "/").as_deref(), Some("- /srv/backup/*"));
        assert_eq!(shown("/srv/backup", "/srv").as_deref(), Some("- /backup/*"));
        assert_eq!(shown("/data", "/srv"), None);
    }

    #[test]
    fn wildcards_in_names_are_escaped_where_rsync_reads_escapes() {
        assert_eq!(shown("/", &[(r"/a*?[\b]", Out)]), [r"- /a\*\?\[\\b]/*"]);
        assert_eq!(shown("/", &[(r"/a\b", Closed)]), [r"- /a\b/"], "no wildcard: a backslash is one");
        assert_eq!(shown("/", &[(r"/a\*b", Closed)]), [r"- /a\\\*b/"]);
    }

    #[test]
    fn paths_are_compared_by_their_parts() {
        assert_eq!(normalised(b"//srv/./x//"), b"/srv/x");
        assert_eq!(normalised(b"/"), b"/");
        assert_eq!(normalised(b""), b"/");
        assert_eq!(inside(b"/srv/x", b"/srv"), Some(&b"/x"[..]));
        assert_eq!(inside(b"/srv", b"/"), Some(&b"/srv"[..]));
        for (path, base) in [("/srv", "/srv"), ("/srvx", "/srv"), ("/", "/"), ("/a", "/srv")] {
            assert_eq!(inside(path.as_bytes(), base.as_bytes()), None, "{path} in {base}");
        }
        assert_eq!(parent(b"/a/b"), Some(&b"/a"[..]));
        assert_eq!(parent(b"/a"), Some(&b"/"[..]));
        assert_eq!(parent(b"/"), None);
    }
}
