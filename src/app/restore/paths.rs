//! The paths that an operator wants back: where they are in a snapshot, or what
//! to say instead.

use crate::app::session::Place;
use crate::app::snapshot_view::{Seen, below_root, shown, taken};
use crate::core::files::entry::Kind;
use crate::core::format::similar::nearest;
use crate::core::format::text::printable;
use crate::edge::tree::Tree;
use anyhow::{Context, anyhow, bail};
use chrono_tz::Tz;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Where a path is looked for.
pub(super) struct Search<'a> {
    pub(super) place: &'a Place,
    pub(super) seen: &'a Seen,
    pub(super) tree: &'a Tree,
    pub(super) zone: Tz,
}

impl Search<'_> {
    /// The paths below the snapshot's root, without those that others hold.
    pub(super) fn all(&self, words: &[OsString]) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut paths = words.iter().map(|word| self.one(word)).collect::<anyhow::Result<Vec<_>>>()?;
        paths.sort();
        paths.dedup();
        Ok(without_nested(paths))
    }

    fn one(&self, word: &OsStr) -> anyhow::Result<Vec<u8>> {
        let mut absolute = OsString::from("/");
        absolute.push(word);
        if word.is_empty() {
            bail!("an empty path names nothing: `/` is all of the host");
        }
        let path = below_root(&absolute)?;
        for end in ends(&path) {
            let kind = match self.tree.entry(&path[..end]) {
                Ok(Some(entry)) => entry.kind,
                Ok(None) => bail!(self.missing(&path, end)),
                Err(error) => {
                    return Err(std::io::Error::from(error)).with_context(|| {
                        format!("cannot look at `{}` in the snapshot", shown(&path[..end], None, None))
                    });
                }
            };
            if end < path.len() && kind != Kind::Directory {
                bail!(self.no_way(&path, end, kind));
            }
        }
        Ok(path)
    }

    /// Says that what a path leads through is no directory.
    fn no_way(&self, path: &[u8], end: usize, kind: Kind) -> anyhow::Error {
        let (through, rest) = (&path[..end], &path[end..]);
        let at = shown(through, None, None);
        let Some(target) = (kind == Kind::Symlink).then(|| self.tree.target(through).ok()).flatten() else {
            return anyhow!(
                "`{}` leads through `{at}`, which is a {} in the snapshot",
                shown(path, None, None),
                kind.word()
            );
        };
        let above = through.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &path[..slash]);
        let meant = resolved(above, &[&target[..], rest].concat());
        anyhow!(
            "`{}` leads through `{at}`, a symlink to `{}`: use `{}`",
            shown(path, None, None),
            crate::core::format::text::printable_bytes(&target),
            shown(&meant, None, None)
        )
    }

    /// Says that a path is not there from here on, and what is.
    fn missing(&self, path: &[u8], end: usize) -> anyhow::Error {
        let slash = path[..end].iter().rposition(|byte| *byte == b'/');
        let (above, name) = slash.map_or((&b""[..], &path[..end]), |at| (&path[..at], &path[at + 1..end]));
        let names = std::fs::read_dir(self.tree.path().join(OsStr::from_bytes(above)))
            .map(|entries| {
                let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
                names.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned()).collect::<Vec<_>>()
            })
            .unwrap_or_default();
        let near = nearest(&String::from_utf8_lossy(name), names.iter().map(String::as_str));
        let slash = if above.is_empty() { "" } else { "/" };
        let near = near
            .map(|near| format!("; did you mean `{}{slash}{}`?", shown(above, None, None), printable(near)));
        anyhow!(
            "`{}` is not in `{}` of {}{}{}",
            shown(&path[..end], None, None),
            printable(&self.seen.name),
            self.place.host,
            near.unwrap_or_default(),
            self.elsewhere(path)
        )
    }

    /// Which other snapshot has the path.
    fn elsewhere(&self, path: &[u8]) -> String {
        let others = self.place.snapshots.iter().rev().filter(|snapshot| snapshot.name != self.seen.name);
        for snapshot in others {
            let seen = Seen::new(self.place, snapshot);
            if seen.open().is_ok_and(|tree| matches!(tree.entry(path), Ok(Some(_)))) {
                return format!(
                    "; the newest snapshot that has `{}` is `{}` of {} (`--snapshot {1}`)",
                    shown(path, None, None),
                    printable(&seen.name),
                    taken(seen.time, self.zone)
                );
            }
        }
        let whole = shown(path, None, None);
        format!("; no other snapshot has `{whole}` (`backup find {} NAME` searches all)", self.place.host)
    }
}

/// Where each component of a path ends.
fn ends(path: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    slashes.chain((!path.is_empty()).then_some(path.len()))
}

/// The directories that lead to a path, the outermost first.
pub(super) fn parents(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    ends(path).filter(|end| *end < path.len()).map(|end| path[..end].to_vec())
}

/// Where a symlink in a directory leads, both below the host's root.
fn resolved(directory: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = match target.first() {
        Some(b'/') => Vec::new(),
        _ => directory.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect(),
    };
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Sorted paths without those that lie below others.
fn without_nested(paths: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let all = paths.clone();
    let inside = |path: &[u8]| {
        let above = ends(path).filter(|end| *end < path.len()).map(|end| &path[..end]);
        let mut above = above.chain((!path.is_empty()).then_some(&b""[..]));
        above.any(|above| all.binary_search_by(|other| other.as_slice().cmp(above)).is_ok())
    };
    paths.into_iter().filter(|path| !inside(path)).collect()
}

/// A path below a directory of this machine, safe to print.
pub(super) fn below(root: &Path, path: &[u8]) -> String {
    printable(&root.join(OsString::from_vec(path.to_vec())).to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_asked_for_once() {
        let paths = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        for (given, left) in [
            (&["etc", "etc-old", "etc/ssh", "etc/ssh/key"][..], &["etc", "etc-old"][..]),
            (&["a/b", "a/c"], &["a/b", "a/c"]),
            (&["", "etc"], &[""]),
        ] {
            assert_eq!(without_nested(paths(given)), paths(left));
        }
    }

    #[test]
    fn the_directories_that_lead_to_a_path_come_from_the_root_down() {
        assert_eq!(parents(b"a/b/c").collect::<Vec<_>>(), [b"a".to_vec(), b"a/b".to_vec()]);
        assert_eq!(parents(b"a").count() + parents(b"").count(), 0);
    }

    #[test]
    fn a_symlink_leads_to_a_path_of_the_host() {
        for (directory, target, meant) in [
            ("var", "/run/lock/x", "run/lock/x"),
            ("var/log", "../cache/./x", "var/cache/x"),
            ("", "usr/bin/x", "usr/bin/x"),
            ("a", "../../../b", "b"),
        ] {
            assert_eq!(resolved(directory.as_bytes(), target.as_bytes()), meant.as_bytes());
        }
    }
}
