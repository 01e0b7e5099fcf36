//! The snapshot's own side of a verification: which files are chosen, and
//! reading them.
//!
//! A tree of a million files is walked once and never held in memory: a sample
//! is kept as it is drawn, all files go on in batches. Disks are waited for on
//! other threads, which tell by their [`Pulse`] that they get on.

use super::Scope;
use crate::edge::rsync::found;
use rand::seq::SliceRandom;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions, ReadDir};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::mpsc;

/// The most files that are compared at once; rsync has them in memory.
const MOST_FILES: usize = 1000;
/// The most bytes that are compared at once, but for a single file.
const MOST_BYTES: u64 = 1 << 30;
/// The most bytes that a sample reads: one disk image among the files must not
/// take all night.
const SAMPLE_BYTES: u64 = 16 << 30;
/// How much of a file is read at once, in bytes.
const CHUNK: usize = 1 << 20;

/// A regular file of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path below the snapshot's root.
    pub(super) path: Vec<u8>,
    /// Its size in bytes.
    pub(super) size: u64,
}

impl Entry {
    /// Of what is no regular file.
    fn of_other(path: PathBuf) -> Self {
        Entry { path: path.into_os_string().into_vec(), size: 0 }
    }
}

/// Something of the snapshot that cannot be read.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) path: Vec<u8>,
    pub(super) error: io::Error,
}

/// What the walk comes across.
#[derive(Debug)]
pub(super) enum Found {
    /// Files to compare.
    Batch(Vec<Entry>),
    /// What else there is to compare: directories, symlinks, devices, …
    Others(Vec<Entry>),
    /// A part of the tree that cannot be read.
    Fault(Fault),
    /// The walk is done.
    End {
        /// How many regular files there are.
        files: u64,
        /// How many chosen ones were left out for their size.
        too_large: u64,
    },
}

/// Shows that work on another thread gets on, and ends it when dropped.
#[derive(Debug, Default)]
pub(super) struct Pulse(Arc<Beat>);

#[derive(Debug, Default)]
struct Beat {
    count: AtomicU64,
    over: AtomicBool,
}

impl Pulse {
    /// A number that grows while the work gets on.
    pub(super) fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl Beat {
    /// Gets on by so much; `false` if nobody waits any more.
    fn on(&self, amount: u64) -> bool {
        self.count.fetch_add(amount, Ordering::Relaxed);
        !self.over.load(Ordering::Relaxed)
    }
}

/// The real path of a snapshot's root that can be listed, asked for on a thread
/// of its own.
pub(super) fn open(root: PathBuf) -> (tokio::task::JoinHandle<io::Result<PathBuf>>, Pulse) {
    let work = move || root.canonicalize().and_then(|real| std::fs::read_dir(&real).map(|_| real));
    (tokio::task::spawn_blocking(work), Pulse::default())
}

/// Files that are looked at by name, whatever is drawn.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Those that are regular files, as many together as are compared at once.
    pub(super) batches: Vec<Vec<Entry>>,
    /// Those where no file is any more, or a directory that can be listed.
    pub(super) other: Vec<Vec<u8>>,
    /// Those that cannot be looked at.
    pub(super) faults: Vec<Fault>,
}

/// Looks at files of the snapshot by name, on a thread of its own.
pub(super) fn named(root: PathBuf, paths: Vec<Vec<u8>>) -> (tokio::task::JoinHandle<Named>, Pulse) {
    let pulse = Pulse::default();
    let beat = pulse.0.clone();
    let work = move || {
        let (mut named, mut batch) = (Named::default(), Batch::default());
        for path in paths {
            if !beat.on(1) {
                break;
            }
            match look(&root, &path) {
                Ok(Seen::File(size)) => named.batches.extend(batch.take(Entry { path, size })),
                Ok(Seen::Other) => named.other.push(path),
                // The walk comes across it as well.
                Ok(Seen::Unlisted) => {}
                Err(error) => named.faults.push(Fault { path, error }),
            }
        }
        named.batches.extend((!batch.entries.is_empty()).then_some(batch.entries));
        named
    };
    (tokio::task::spawn_blocking(work), pulse)
}

/// What is at a path of the snapshot.
enum Seen {
    /// A regular file of this size.
    File(u64),
    /// A directory that cannot be listed.
    Unlisted,
    /// Something else, or nothing.
    Other,
}

fn look(root: &Path, path: &[u8]) -> io::Result<Seen> {
    let Some(at) = found(root, path).map_err(|error| io::Error::other(error.to_string()))? else {
        return Ok(Seen::Other);
    };
    let meta = at.symlink_metadata()?;
    let listed = || at.read_dir()?.try_for_each(|entry| entry.map(drop));
    Ok(match meta.is_file() {
        true => Seen::File(meta.size()),
        false if meta.is_dir() && listed().is_err() => Seen::Unlisted,
        false => Seen::Other,
    })
}

/// Walks the tree on a thread of its own, which ends when nobody receives any
/// more. The files in `named` are counted and not chosen.
pub(super) fn choose(
    root: PathBuf,
    scope: Scope,
    named: BTreeSet<Vec<u8>>,
) -> (mpsc::Receiver<Found>, Pulse) {
    let (sender, receiver) = mpsc::channel(2);
    let pulse = Pulse::default();
    let beat = pulse.0.clone();
    tokio::task::spawn_blocking(move || {
        let walk = Walk { root: &root, beat: &beat, sender: &sender, named: &named };
        // Nobody hears that nobody listens any more.
        let _ = match scope {
            Scope::Sample(count) => walk.sample(count.get()),
            Scope::All => walk.all(),
        };
    });
    (receiver, pulse)
}

/// Nobody waits for the answer any more.
struct Unheard;

struct Walk<'a> {
    root: &'a Path,
    beat: &'a Beat,
    sender: &'a mpsc::Sender<Found>,
    named: &'a BTreeSet<Vec<u8>>,
}

impl Walk<'_> {
    fn send(&self, found: Found) -> Result<(), Unheard> {
        self.sender.blocking_send(found).map_err(|_| Unheard)
    }

    fn fault(&self, path: &Path, error: io::Error) -> Result<(), Unheard> {
        self.send(Found::Fault(Fault { path: path.as_os_str().as_bytes().to_vec(), error }))
    }

    /// Gives each path, relative to the root, and whether it is a regular file.
    fn each(&self, mut take: impl FnMut(PathBuf, bool) -> Result<(), Unheard>) -> Result<(), Unheard> {
        // Open directories rather than lists of their entries: one may hold a
        // million.
        let mut open: Vec<(ReadDir, PathBuf)> = Vec::new();
        match std::fs::read_dir(self.root) {
            Ok(entries) => open.push((entries, PathBuf::new())),
            Err(error) => self.fault(Path::new("."), error)?,
        }
        while let Some((entries, folder)) = open.last_mut() {
            if !self.beat.on(1) {
                return Err(Unheard);
            }
            let Some(entry) = entries.next() else {
                open.pop();
                continue;
            };
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let folder = folder.clone();
                    self.fault(&folder, error)?;
                    continue;
                }
            };
            // A dataset may show its snapshots here; a host has nothing there.
            if folder.as_os_str().is_empty() && entry.file_name() == ".zfs" {
                continue;
            }
            let path = folder.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => match std::fs::read_dir(self.root.join(&path)) {
                    Ok(entries) => {
                        take(path.clone(), false)?;
                        open.push((entries, path));
                    }
                    Err(error) => self.fault(&path, error)?,
                },
                Ok(kind) => take(path, kind.is_file())?,
                Err(error) => self.fault(&path, error)?,
            }
        }
        Ok(())
    }

    fn is_named(&self, path: &Path) -> bool {
        self.named.contains(path.as_os_str().as_bytes())
    }

    /// A file with its size; `None` if that cannot be told, which is.
    fn entry(&self, path: PathBuf) -> Result<Option<Entry>, Unheard> {
        match self.root.join(&path).symlink_metadata() {
            Ok(meta) => Ok(Some(Entry { path: path.into_os_string().into_vec(), size: meta.size() })),
            Err(error) => self.fault(&path, error).map(|()| None),
        }
    }

    fn all(&self) -> Result<(), Unheard> {
        let mut files = 0;
        let (mut batch, mut others) = (Batch::default(), Batch::default());
        self.each(|path, is_file| {
            if !is_file {
                let full = others.take(Entry::of_other(path));
                return full.map_or(Ok(()), |full| self.send(Found::Others(full)));
            }
            files += 1;
            if self.is_named(&path) {
                return Ok(());
            }
            match self.entry(path)? {
                Some(entry) => batch.take(entry).map_or(Ok(()), |full| self.send(Found::Batch(full))),
                None => Ok(()),
            }
        })?;
        self.rest(batch, Found::Batch)?;
        self.rest(others, Found::Others)?;
        self.send(Found::End { files, too_large: 0 })
    }

    fn sample(&self, count: usize) -> Result<(), Unheard> {
        let mut reservoir = Reservoir::new(count);
        let mut others = Reservoir::new(count);
        let mut named = 0;
        self.each(|path, is_file| {
            if !is_file {
                others.offer(path, |all| rand::random_range(0..all));
                return Ok(());
            }
            if self.is_named(&path) {
                named += 1;
                return Ok(());
            }
            reservoir.offer(path, |files| rand::random_range(0..files));
            Ok(())
        })?;
        let files = reservoir.offered + named;
        // Whatever is left out is left out by chance, not by its place.
        let mut chosen = reservoir.kept;
        chosen.shuffle(&mut rand::rng());
        let mut entries = Vec::new();
        for path in chosen {
            entries.extend(self.entry(path)?);
        }
        let (mut entries, too_large) = within(entries, SAMPLE_BYTES);
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let mut batch = Batch::default();
        for entry in entries {
            if let Some(full) = batch.take(entry) {
                self.send(Found::Batch(full))?;
            }
        }
        self.rest(batch, Found::Batch)?;
        let mut batch = Batch::default();
        for path in others.kept {
            if let Some(full) = batch.take(Entry::of_other(path)) {
                self.send(Found::Others(full))?;
            }
        }
        self.rest(batch, Found::Others)?;
        self.send(Found::End { files, too_large })
    }

    fn rest(&self, batch: Batch, found: fn(Vec<Entry>) -> Found) -> Result<(), Unheard> {
        if batch.entries.is_empty() { Ok(()) } else { self.send(found(batch.entries)) }
    }
}

/// A uniform sample of things whose number is not known before the last one
/// (Vitter's algorithm R).
#[derive(Debug)]
struct Reservoir<T> {
    size: usize,
    offered: u64,
    kept: Vec<T>,
}

impl<T> Reservoir<T> {
    fn new(size: usize) -> Self {
        Reservoir { size, offered: 0, kept: Vec::new() }
    }

    /// Takes one more, or not. `random` gives a number below the one it gets.
    fn offer(&mut self, item: T, random: impl FnOnce(u64) -> u64) {
        self.offered += 1;
        if self.kept.len() < self.size {
            self.kept.push(item);
        } else if let Ok(place) = usize::try_from(random(self.offered)) {
            if let Some(kept) = self.kept.get_mut(place) {
                *kept = item;
            }
        }
    }
}

/// The entries that fit into so many bytes together, and how many do not.
fn within(entries: Vec<Entry>, bytes: u64) -> (Vec<Entry>, u64) {
    let all = entries.len();
    let mut left = bytes;
    let fits = |entry: &Entry| match left.checked_sub(entry.size) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let kept: Vec<Entry> = entries.into_iter().filter(fits).collect();
    let out = all - kept.len();
    (kept, out as u64)
}

/// Files that are compared at once.
#[derive(Debug, Default)]
struct Batch {
    entries: Vec<Entry>,
    bytes: u64,
}

impl Batch {
    /// Takes one more; the batch, where it is full.
    fn take(&mut self, entry: Entry) -> Option<Vec<Entry>> {
        self.bytes = self.bytes.saturating_add(entry.size);
        self.entries.push(entry);
        if self.entries.len() < MOST_FILES && self.bytes < MOST_BYTES {
            return None;
        }
        self.bytes = 0;
        Some(std::mem::take(&mut self.entries))
    }
}

/// What came of reading files.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Bytes that were read.
    pub(super) bytes: u64,
    /// The files that cannot be read.
    pub(super) faults: Vec<Fault>,
}

/// Reads files of the snapshot to their ends, on a thread of its own.
pub(super) fn read(root: PathBuf, entries: Vec<Entry>) -> (tokio::task::JoinHandle<Reading>, Pulse) {
    let pulse = Pulse::default();
    let beat = pulse.0.clone();
    let work = move || {
        let mut reading = Reading::default();
        let mut buffer = vec![0; CHUNK];
        for entry in entries {
            if !beat.on(1) {
                break;
            }
            match read_one(&root, &entry, &mut buffer, &beat) {
                Ok(bytes) => reading.bytes += bytes,
                Err(error) => reading.faults.push(Fault { path: entry.path, error }),
            }
        }
        reading
    };
    (tokio::task::spawn_blocking(work), pulse)
}

fn read_one(root: &Path, entry: &Entry, buffer: &mut [u8], beat: &Beat) -> io::Result<u64> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let path = root.join(OsStr::from_bytes(&entry.path));
    let mut file: File = OpenOptions::new().read(true).custom_flags(no_follow).open(path)?;
    let mut bytes = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => bytes += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if !beat.on(CHUNK as u64) {
            return Ok(bytes);
        }
    }
    if bytes == entry.size {
        Ok(bytes)
    } else {
        Err(io::Error::other(format!("it ends after {bytes} of its {} bytes", entry.size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    fn entry(number: usize, size: u64) -> Entry {
        Entry { path: number.to_string().into_bytes(), size }
    }

    #[test]
    fn every_file_is_as_likely_to_be_sampled_as_any_other() {
        let (files, size, rounds) = (50_usize, 5, 4000);
        let mut chosen = vec![0_u32; files];
        for _ in 0..rounds {
            let mut reservoir = Reservoir::new(size);
            (0..files).for_each(|file| reservoir.offer(file, |below| rand::random_range(0..below)));
            assert_eq!((reservoir.kept.len(), reservoir.offered), (size, files as u64));
            reservoir.kept.iter().for_each(|file| chosen[*file] += 1);
        }
        // 400 each are to be expected; 6 deviations are 114.
        assert!(chosen.iter().all(|count| (286..=514).contains(count)), "{chosen:?}");
    }

    #[test]
    fn fewer_files_than_a_sample_are_all_of_them() {
        let mut reservoir = Reservoir::new(5);
        (0..3).for_each(|file| reservoir.offer(file, |_| panic!("nothing is to be drawn")));
        assert_eq!(reservoir.kept, [0, 1, 2]);
    }

    #[test]
    fn what_is_too_big_for_a_sample_is_left_out_and_the_rest_stays() {
        let (kept, out) =
            within(vec![entry(0, 60), entry(1, 1000), entry(2, 40), entry(3, 1), entry(4, 0)], 100);
        assert_eq!((kept, out), (vec![entry(0, 60), entry(2, 40), entry(4, 0)], 2));
    }

    #[test]
    fn a_batch_is_full_by_files_or_by_bytes() {
        let mut batch = Batch::default();
        let full = (0..MOST_FILES).find_map(|number| batch.take(entry(number, 1))).unwrap();
        assert_eq!(full.len(), MOST_FILES);
        assert!(batch.take(entry(0, MOST_BYTES - 1)).is_none());
        assert_eq!(batch.take(entry(1, 2 * MOST_BYTES)).unwrap().len(), 2);
        assert!(batch.entries.is_empty() && batch.bytes == 0);
    }

    async fn chosen(root: &Path, scope: Scope) -> (BTreeSet<Vec<u8>>, Vec<Fault>, u64) {
        let (mut receiver, _pulse) = choose(root.to_owned(), scope, BTreeSet::new());
        let (mut paths, mut faults, mut count) = (BTreeSet::new(), Vec::new(), 0);
        while let Some(found) = receiver.recv().await {
            match found {
                Found::Batch(entries) => paths.extend(entries.into_iter().map(|entry| entry.path)),
                Found::Others(_) => {}
                Found::Fault(fault) => faults.push(fault),
                Found::End { files, .. } => count = files,
            }
        }
        (paths, faults, count)
    }

    #[tokio::test]
    async fn the_walk_gives_regular_files_and_nothing_behind_links() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a/b", "empty", ".zfs/snapshot/x", "srv/.zfs"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["top", "a/one", "a/b/two", ".zfs/snapshot/x/no", "srv/.zfs/yes"] {
            std::fs::write(dir.path().join(file), "text").unwrap();
        }
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("file-link")).unwrap();
        let expected = ["a/b/two", "a/one", "srv/.zfs/yes", "top"].map(|path| path.as_bytes().to_vec());
        let sample = |count| Scope::Sample(NonZeroUsize::new(count).unwrap());
        for scope in [Scope::All, sample(100)] {
            let (paths, faults, count) = chosen(dir.path(), scope).await;
            assert_eq!(paths, BTreeSet::from(expected.clone()));
            assert!(faults.is_empty() && count == 4);
        }
        let (paths, _, count) = chosen(dir.path(), sample(2)).await;
        assert_eq!((paths.len(), count), (2, 4));
        assert!(paths.iter().all(|path| expected.contains(path)));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (_, faults, count) = chosen(&dir.path().join("gone"), Scope::All).await;
        assert_eq!((faults.len(), count, faults[0].path.as_slice()), (1, 0, &b"."[..]));
        std::fs::write(dir.path().join("short"), "text").unwrap();
        std::fs::write(dir.path().join("whole"), "text").unwrap();
        let named = |name: &str, size| Entry { path: name.into(), size };
        let entries = vec![named("short", 5), named("missing", 1), named("whole", 4)];
        let (task, pulse) = read(dir.path().to_owned(), entries);
        let reading = task.await.unwrap();
        assert_eq!(reading.bytes, 4);
        let why: Vec<String> = reading.faults.iter().map(|fault| fault.error.to_string()).collect();
        assert_eq!(why[0], "it ends after 4 of its 5 bytes");
        assert!(why[1].contains("No such file"), "{why:?}");
        assert!(pulse.count() > 0);
    }
}
