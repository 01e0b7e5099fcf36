//! Rules that carve mount points out of a tree, for a given choice.
//!
//! A left-out directory stays and is emptied: `- /run/*`. If a chosen one lies
//! deeper, everything on the way to it is let in first, and emptied but for
//! the way: `+ /run/media/`, `+ /run/media/usb`, `- /run/*`, `- /run/media/*`.
//! rsync never sees what is below an excluded directory, so one level of rules
//! is enough everywhere.

use super::nesting::Nesting;
use super::{Excess, Rule};
use crate::core::format::text::short;
use std::collections::{BTreeSet, HashMap};

/// How much the paths of all rules together may be, in bytes: what lies deep
/// below a left-out mount takes two for each directory on the way.
const MOST_RULES: usize = 4 * 1024 * 1024;

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
///
/// # Errors
/// They would be more than rsync can be bothered with, or one does not fit: what
/// it is to leave out would be copied.
pub(super) fn rules(source: &[u8], points: &[(&[u8], State)]) -> Result<Vec<Rule>, Excess> {
    let below: HashMap<&[u8], State> =
        points.iter().filter_map(|(point, state)| Some((inside(point, source)?, *state))).collect();
    let mounts = Nesting::new(below.keys().copied());
    let state = |place: usize| below.get(mounts.path(place)).copied().unwrap_or(State::In);

    // Mount points that are in, and all that carry them.
    let mut needed = vec![false; mounts.len()];
    for point in (0..mounts.len()).filter(|place| state(*place) == State::In) {
        let mut next = Some(point);
        while let Some(place) = next.filter(|place| !needed[*place]) {
            needed[place] = true;
            next = mounts.above(place);
        }
    }

    let mut rules = Rules::default();
    for (place, is_needed) in needed.iter().copied().enumerate() {
        let (point, carrier) = (mounts.path(place), mounts.above(place));
        let way_is_out = carrier.filter(|carrier| is_needed && state(*carrier) != State::In);
        if let Some(carrier) = way_is_out {
            // Without a slash: a bind mount's point can be a file.
            rules.let_in(point, "")?;
            let base = mounts.path(carrier);
            for directory in above(point).take_while(|path| *path != base) {
                // Then so are those above it.
                if !rules.let_in(directory, "/")? {
                    break;
                }
                rules.empty(directory)?;
            }
        }
        if state(place) != State::In {
            let seen = is_needed || carrier.is_none_or(|carrier| state(carrier) == State::In);
            if seen && state(place) == State::Closed && !is_needed {
                rules.shut(point)?;
            } else if seen {
                rules.empty(point)?;
            }
        }
    }
    rules.all()
}

/// Rules in the making, each kind in the order of its paths.
#[derive(Default)]
struct Rules<'a> {
    let_in: BTreeSet<(&'a [u8], &'static str)>,
    shut: BTreeSet<&'a [u8]>,
    emptied: BTreeSet<&'a [u8]>,
    bytes: usize,
}

impl<'a> Rules<'a> {
    /// Whether it was not let in yet.
    fn let_in(&mut self, path: &'a [u8], end: &'static str) -> Result<bool, Excess> {
        self.count(path)?;
        Ok(self.let_in.insert((path, end)))
    }

    fn shut(&mut self, path: &'a [u8]) -> Result<(), Excess> {
        self.shut.insert(path);
        self.count(path)
    }

    fn empty(&mut self, path: &'a [u8]) -> Result<(), Excess> {
        self.emptied.insert(path);
        self.count(path)
    }

    fn count(&mut self, path: &[u8]) -> Result<(), Excess> {
        self.bytes += path.len();
        if self.bytes > MOST_RULES { Err(Excess::Rules) } else { Ok(()) }
    }

    fn all(self) -> Result<Vec<Rule>, Excess> {
        let fit = |rule: Option<Rule>, path: &[u8]| rule.ok_or_else(|| Excess::Path(short(path)));
        let let_in = self.let_in.into_iter().map(|(path, end)| fit(rule(Rule::include, path, end), path));
        let shut = self.shut.into_iter().map(|path| fit(rule(Rule::exclude, path, "/"), path));
        let emptied = self.emptied.into_iter().map(|path| fit(rule(Rule::exclude, path, "/*"), path));
        let_in.chain(shut).chain(emptied).collect()
    }
}

/// What a path lies in, from its own directory up to `/`.
pub(super) fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(parent(path), |path| parent(path))
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
        rules(source.as_bytes(), &points).unwrap().iter().map(Rule::to_string).collect()
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
