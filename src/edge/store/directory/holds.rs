//! Who holds which snapshot: `{name}.hold` beside the tree, a line a hold.
//!
//! Such a file holds its snapshot whatever is in it: empty, or not to be read,
//! it is a hold without a name, as `touch` makes one. The kernel's lock on
//! `snapshots/` keeps apart those who change holds and those who take trees
//! away, so that nobody is told that a snapshot is held which goes in the same
//! moment, and no hold is lost between two who come at once.

use super::super::{StoreError, no_such_snapshot, not_held, shown};
use super::failed;
use super::place::{Place, exists, is_name, private, sync_dir, unless_missing};
use crate::core::model::snapshot::HoldName;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The most that a file of holds is read for, in bytes.
const LONGEST_HOLDS: u64 = 64 * 1024;
/// What such files end in.
const SUFFIX: &str = ".hold";

impl Place {
    /// Waits until nobody else changes holds or takes trees away, and keeps it
    /// so for as long as the file lives. A directory is locked, for on a full
    /// disk no file could be made.
    pub(super) fn alone(&self) -> io::Result<File> {
        let snapshots = File::open(self.snapshots())?;
        flock(&snapshots, FlockOperation::LockExclusive)?;
        Ok(snapshots)
    }

    pub(super) fn is_held(&self, snapshot: &str) -> bool {
        exists(&self.hold_file(snapshot))
    }

    /// Holds a snapshot; `false` if it was held under that name already.
    pub(super) fn hold(&self, snapshot: &str, name: &HoldName) -> Result<bool, StoreError> {
        let _nobody_else = self.alone_with(snapshot)?;
        let file = self.hold_file(snapshot);
        let mut names = readable(&file)?.unwrap_or_default();
        if names.iter().any(|own| own == name.as_str()) {
            return Ok(false);
        }
        names.push(name.to_string());
        self.write_holds(&file, &names).map_err(failed("write", &file))?;
        Ok(true)
    }

    /// Releases one hold.
    pub(super) fn release(&self, snapshot: &str, name: &str) -> Result<(), StoreError> {
        let _nobody_else = self.alone_with(snapshot)?;
        let file = self.hold_file(snapshot);
        let mut names = readable(&file)?.unwrap_or_default();
        let before = names.len();
        names.retain(|own| own != name);
        if names.len() == before {
            names.sort_unstable();
            return Err(not_held(snapshot, name, &names));
        }
        let changed = match names.is_empty() {
            true => fs::remove_file(&file).and_then(|()| sync_dir(&self.snapshots())),
            false => self.write_holds(&file, &names),
        };
        changed.map_err(failed("release a hold in", &file))
    }

    /// The holds of every snapshot that is held.
    pub(super) fn holds(&self) -> io::Result<BTreeMap<String, Vec<String>>> {
        let mut holds = BTreeMap::new();
        for entry in fs::read_dir(self.snapshots())? {
            let file = entry?.file_name();
            let Some(snapshot) = file.to_str().and_then(|file| file.strip_suffix(SUFFIX)) else { continue };
            if !is_name(snapshot) || !self.tree(snapshot).symlink_metadata().is_ok_and(|tree| tree.is_dir()) {
                continue;
            }
            let mut names = match names_in(&self.hold_file(snapshot)) {
                Ok(Some(names)) => names,
                // Released in this moment.
                Ok(None) => continue,
                Err(_) => vec![String::new()],
            };
            names.sort_unstable();
            holds.insert(snapshot.to_owned(), names);
        }
        Ok(holds)
    }

    fn hold_file(&self, snapshot: &str) -> PathBuf {
        self.snapshots().join(format!("{snapshot}{SUFFIX}"))
    }

    /// [`Place::alone`] with a snapshot that is there.
    fn alone_with(&self, snapshot: &str) -> Result<File, StoreError> {
        if !is_name(snapshot) {
            return Err(no_such_snapshot(snapshot));
        }
        let lock = match self.alone() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_such_snapshot(snapshot)),
            lock => lock.map_err(failed("lock", &self.snapshots()))?,
        };
        match self.tree(snapshot).symlink_metadata().is_ok_and(|tree| tree.is_dir()) {
            true => Ok(lock),
            false => Err(no_such_snapshot(snapshot)),
        }
    }

    fn write_holds(&self, file: &Path, names: &[String]) -> io::Result<()> {
        let unfinished = self.snapshots().join(".hold");
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        let written = private().truncate(true).open(&unfinished).and_then(|mut new| {
            new.write_all(text.as_bytes())?;
            new.sync_all()
        });
        let swapped = written.and_then(|()| fs::rename(&unfinished, file));
        if swapped.is_err() {
            fs::remove_file(unfinished).or_else(unless_missing)?;
        }
        swapped.and_then(|()| sync_dir(&self.snapshots()))
    }
}

/// [`names_in`] a file that is to be changed.
fn readable(file: &Path) -> Result<Option<Vec<String>>, StoreError> {
    names_in(file).map_err(|error| {
        StoreError::new(format!("`{}` holds the snapshot, and cannot be changed: {error}", shown(file)))
            .hint("repair it, or remove it by hand")
    })
}

/// The names of the holds in a file, each once, in its order; `None` if there
/// is no file.
fn names_in(file: &Path) -> io::Result<Option<Vec<String>>> {
    let meta = match file.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta?,
    };
    if !meta.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if meta.len() > LONGEST_HOLDS {
        return Err(io::Error::other("it is longer than any list of holds"));
    }
    let mut bytes = Vec::new();
    match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?.take(LONGEST_HOLDS).read_to_end(&mut bytes)?,
    };
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))?;
    let mut names: Vec<String> = Vec::new();
    // What has no line is a hold all the same.
    for name in text.lines().chain(text.is_empty().then_some("")).map(str::trim) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use super::super::super::Kept;
    use super::*;
    use crate::core::model::host::HostName;
    use crate::core::model::snapshot::{Facts, SnapshotName, Verdict};
    use std::os::unix::fs::symlink;
    use std::sync::atomic::AtomicBool;

    fn world() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().unwrap();
        let host: HostName = "vpn".parse().unwrap();
        let place = Place::new(dir.path(), &host);
        place.make().unwrap();
        (dir, place)
    }

    fn name(text: &str) -> HoldName {
        text.parse().unwrap()
    }

    /// A snapshot of ours.
    fn take(place: &Place, number: u32) -> String {
        let name: SnapshotName =
            format!("backup-2026-11-20T02{:02}{:02}Z", number / 60, number % 60).parse().unwrap();
        let facts = Facts::new("r1".to_owned(), Verdict::Good);
        fs::create_dir(place.incomplete()).unwrap();
        place.write_facts(name, &facts).unwrap();
        place.publish(name, &File::open(place.incomplete()).unwrap()).unwrap();
        name.to_string()
    }

    #[test]
    fn whatever_is_in_the_file_the_snapshot_is_held() {
        let (_dir, place) = world();
        let snapshot = take(&place, 0);
        let file = place.hold_file(&snapshot);
        for (bytes, expected, why) in [
            (&b""[..], &[""][..], "as `touch` makes it"),
            (b"\n", &[""], "as `echo` makes it"),
            (b"\n\n", &[""], "one hold, however often"),
            (b"kept", &["kept"], "without a line break"),
            (b"b\r\n a \nb\n", &["a", "b"], "each once, sorted, without blanks"),
            (b"a\n\n", &["", "a"], "one with a name, one without"),
            (b"ask Bob (\xe2\x82\xac)\n", &["ask Bob (\u{20ac})"], "words by hand"),
            (b"\xff\n", &[""], "no text at all"),
        ] {
            fs::write(&file, bytes).unwrap();
            assert!(place.is_held(&snapshot), "{why}");
            assert_eq!(place.holds().unwrap()[&snapshot], expected, "{why}");
            let removal = place.remove(std::slice::from_ref(&snapshot), &AtomicBool::new(false)).unwrap();
            assert_eq!(removal.removed, Vec::<String>::new(), "{why}");
        }
        fs::remove_file(&file).unwrap();
        symlink("nowhere", &file).unwrap();
        assert_eq!(place.holds().unwrap()[&snapshot], [""], "a dangling symlink");
        let refusal = place.hold(&snapshot, &name("kept")).unwrap_err().to_string();
        assert!(refusal.ends_with("it is not a regular file (repair it, or remove it by hand)"), "{refusal}");
    }

    #[test]
    fn a_hold_without_a_name_survives_those_with_one() {
        let (_dir, place) = world();
        let snapshot = take(&place, 0);
        fs::write(place.hold_file(&snapshot), "").unwrap();
        assert!(place.hold(&snapshot, &name("kept")).unwrap());
        place.release(&snapshot, "kept").unwrap();
        assert_eq!(place.holds().unwrap()[&snapshot], [""]);
        place.release(&snapshot, "").unwrap();
        assert!(!place.is_held(&snapshot));
    }

    #[test]
    fn only_snapshots_have_holds() {
        let (_dir, place) = world();
        let snapshot = take(&place, 0);
        for other in ["", ".", "..", "x", "../vpn", ".hold", &format!("{snapshot}.json")] {
            let refusal = place.hold(other, &name("kept")).unwrap_err().to_string();
            assert!(refusal.starts_with("there is no snapshot `"), "{other:?}: {refusal}");
            place.release(other, "kept").unwrap_err();
        }
        fs::write(place.hold_file("gone"), "kept\n").unwrap();
        assert!(place.holds().unwrap().is_empty());
    }

    #[test]
    fn a_hold_by_hand_in_the_moment_of_the_removal_brings_the_tree_back() {
        let (_dir, place) = world();
        let snapshot = take(&place, 0);
        // As if it had come after the first look.
        fs::write(place.hold_file(&snapshot), "").unwrap();
        assert_eq!(place.take_away(&snapshot, &AtomicBool::new(false)).unwrap(), Err(Kept::Held));
        assert!(place.tree(&snapshot).is_dir() && exists(&place.facts(&snapshot)));
    }

    /// Of a hold and a removal in one moment one fails, whichever comes first.
    #[test]
    fn nobody_is_told_that_a_snapshot_is_held_which_is_then_gone() {
        let (_dir, place) = world();
        let (mut won, mut lost) = (0, 0);
        for number in 0..300 {
            let snapshot = take(&place, number);
            let barrier = std::sync::Barrier::new(3);
            let (held, also, removal) = std::thread::scope(|scope| {
                let holding = |text| {
                    let (place, snapshot, barrier) = (&place, &snapshot, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        place.hold(snapshot, &name(text)).is_ok()
                    })
                };
                let (one, two) = (holding("one"), holding("two"));
                barrier.wait();
                let removal = place.remove(std::slice::from_ref(&snapshot), &AtomicBool::new(false));
                (one.join().unwrap(), two.join().unwrap(), removal.unwrap())
            });
            let there = place.tree(&snapshot).is_dir();
            assert_eq!(there, held || also, "{removal:?}");
            assert_eq!(removal.removed.is_empty(), there, "{removal:?}");
            assert_eq!(exists(&place.facts(&snapshot)), there);
            let holds = place.holds().unwrap().remove(&snapshot).unwrap_or_default();
            let expected: Vec<&str> =
                [("one", held), ("two", also)].iter().filter(|(_, ok)| *ok).map(|(n, _)| *n).collect();
            assert_eq!(holds, expected, "a hold was lost");
            if there { won += 1 } else { lost += 1 }
        }
        println!("held {won} times, removed {lost} times");
    }
}
