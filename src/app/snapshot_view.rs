//! What the commands that look into snapshots share: opening them, the paths
//! that an operator types, and how files are told.

use crate::app::session::Place;
use crate::core::files::entry::{Entry, Kind, Moment};
use crate::core::format::similar;
use crate::core::format::text::{printable, printable_bytes};
use crate::core::model::snapshot::Snapshot;
use crate::edge::tree::{Listing, Tree};
use anyhow::{anyhow, bail};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A snapshot that is looked into.
#[derive(Debug)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// When it was taken.
    pub time: DateTime<Utc>,
    /// Where its files are.
    pub path: PathBuf,
}

impl Seen {
    /// A snapshot of a host, and where the store has its files.
    pub fn new(place: &Place, snapshot: &Snapshot) -> Self {
        let path = place.folder.join(&snapshot.name);
        Seen { name: snapshot.name.clone(), time: snapshot.time, path }
    }

    /// Opens its tree.
    pub fn open(&self) -> anyhow::Result<Tree> {
        Tree::open(&self.path).map_err(|error| {
            let hint = match error {
                rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => "run `backup` as root",
                _ => "it may have been removed a moment ago, or its dataset is not mounted",
            };
            anyhow!(
                "cannot open the snapshot `{}` at `{}`: {} ({hint})",
                printable(&self.name),
                printable(&self.path.to_string_lossy()),
                std::io::Error::from(error)
            )
        })
    }
}

/// The snapshots, or the complaint that there are none.
pub fn some(place: &Place) -> anyhow::Result<&[Snapshot]> {
    match place.snapshots.as_slice() {
        [] => bail!("`{}` has no snapshots yet", place.host),
        snapshots => Ok(snapshots),
    }
}

/// A path of a host as an operator types it, as the path below a tree's root.
pub fn below_root(path: &OsStr) -> anyhow::Result<Vec<u8>> {
    let bytes = path.as_bytes();
    if !bytes.starts_with(b"/") {
        bail!("the path `{}` is not absolute: begin it with `/`, the host's root", printable_bytes(bytes));
    }
    let parts = bytes.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<&[u8]> = parts.collect();
    if parts.contains(&b"..".as_slice()) {
        bail!(
            "`..` in the path `{}` leads nowhere in a snapshot: give the whole path",
            printable_bytes(bytes)
        );
    }
    Ok(parts.join(&b'/'))
}

/// A path below a tree's root as the host knows it, safe to print; a directory's
/// with a slash at its end, a symlink's with where it points to.
pub fn shown(path: &[u8], kind: Option<Kind>, target: Option<&[u8]>) -> String {
    let mut text = format!("/{}", printable_bytes(path));
    match (kind, target) {
        (Some(Kind::Directory), _) if !path.is_empty() => text.push('/'),
        (_, Some(target)) => {
            text.push_str(" -> ");
            text.push_str(&printable_bytes(target));
        }
        _ => {}
    }
    text
}

/// A path below a tree's root as the host knows it, for JSON.
pub fn lossy(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// A file's time to the second, in the configured zone.
pub fn modified(moment: Moment, zone: Tz) -> String {
    match moment.time() {
        Some(time) => time.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("@{}", moment.seconds),
    }
}

/// A snapshot's time to the minute, in the configured zone.
pub fn taken(time: DateTime<Utc>, zone: Tz) -> String {
    time.with_timezone(&zone).format("%Y-%m-%d %H:%M").to_string()
}

/// A time as JSON has it.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The size of an entry, of a kind that has one.
pub fn size(entry: &Entry) -> Option<u64> {
    entry.kind.has_size().then_some(entry.size)
}

/// What exists of a path in a tree, and what it may have been meant for; of a
/// path of which nothing exists and that is like nothing, nothing.
pub fn nearest(tree: &Tree, path: &[u8]) -> Option<String> {
    let (near, kind) = tree.nearest(path);
    if let Some(alike) = alike(tree, &near, path) {
        return Some(format!("`{}`, which has `{}`", shown(&near, None, None), shown(&alike, None, None)));
    }
    if near.is_empty() {
        return None;
    }
    let what = match (kind, tree.target(&near)) {
        (Some(Kind::Directory) | None, _) => String::new(),
        (Some(Kind::Symlink), Ok(target)) => format!(", a symlink to `{}`", printable_bytes(&target)),
        (Some(kind), _) => format!(", a {}", kind.word()),
    };
    Some(format!("`{}`{what}", shown(&near, None, None)))
}

/// What lies in the directory `near` and is called much like the next part of
/// a path below it.
fn alike(tree: &Tree, near: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let below = path.strip_prefix(near)?.split(|byte| *byte == b'/').find(|part| !part.is_empty())?;
    let wanted = String::from_utf8_lossy(below);
    let mut best: (f64, Vec<u8>) = (similar::ALIKE, Vec::new());
    let judge = |name: &[u8], _| {
        let how = similar::likeness(&String::from_utf8_lossy(name), &wanted);
        if how > best.0 || (how == best.0 && (best.1.is_empty() || *name < *best.1)) {
            best = (how, name.to_owned());
        }
        // Nothing is kept, however much is there.
        false
    };
    tree.directory(near).and_then(|directory| directory.list(&mut Listing::default(), judge)).ok()?;
    let slash: &[u8] = if near.is_empty() { b"" } else { b"/" };
    (!best.1.is_empty()).then(|| [near, slash, &best.1].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_at_the_hosts_root() {
        let below = |path: &str| below_root(OsStr::new(path));
        assert_eq!(below("/").unwrap(), b"");
        assert_eq!(below("/etc//ssh/./").unwrap(), b"etc/ssh");
        assert_eq!(below("/..a/b").unwrap(), b"..a/b");
        assert_eq!(below_root(OsStr::from_bytes(b"/\xff")).unwrap(), b"\xff");
        for path in ["etc", "", "./etc", "/etc/../srv", "/.."] {
            assert!(below(path).is_err(), "{path}");
        }
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(shown(b"etc", Some(Kind::Directory), None), "/etc/");
        assert_eq!(shown(b"", Some(Kind::Directory), None), "/");
        assert_eq!(shown(b"a\x1b[2J\xff", Some(Kind::File), None), "/a\\u{1b}[2J\u{fffd}");
        assert_eq!(shown(b"l", Some(Kind::Symlink), Some(b"a\nb")), "/l -> a\\nb");
    }

    #[test]
    fn times_are_told_in_the_configured_zone() {
        let moment = Moment { seconds: 1_790_000_000, nanoseconds: 1 };
        assert_eq!(modified(moment, Tz::UTC), "2026-09-21 14:13:20");
        assert_eq!(modified(moment, Tz::Europe__London), "2026-09-21 15:13:20");
        assert_eq!(modified(Moment { seconds: i64::MIN, nanoseconds: 0 }, Tz::UTC), format!("@{}", i64::MIN));
        assert_eq!(taken(moment.time().unwrap(), Tz::UTC), "2026-09-21 14:13");
        assert_eq!(rfc3339(moment.time().unwrap()), "2026-09-21T14:13:20Z");
    }
}
