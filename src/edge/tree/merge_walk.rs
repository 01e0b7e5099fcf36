//! A tree that is to be written into another one: what stands in the way
//! before, and what differs afterwards.
//!
//! Both trees are walked in lockstep, along the first one: what only the second
//! one has is never looked at. Nothing is skipped for looking alike, unlike in
//! a comparison of two snapshots.

use super::content::{Reader, attributes, is_acl};
use super::links::{Files, Links};
use super::search::{Failures, warn_unread};
use super::walk::{Members, Walk};
use super::{Directory, Listing, Tree, is_absent, parent};
use crate::core::files::diff::Aspect;
use crate::core::files::entry::{Entry, Kind, Moment};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The numbers of the two trees.
const FROM: usize = 0;
const INTO: usize = 1;
/// How many paths of a kind are named; the others are counted.
const NAMED: usize = 10;
/// How many threads look at what was written.
const MOST_THREADS: usize = 4;
/// A file up to this size is counted as large as it says, in bytes. A larger
/// one may have holes.
const SMALL: u64 = 64 * 1024;

/// Paths of a kind: the first few, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Some10<T> {
    /// The first ones.
    pub first: Vec<T>,
    /// How many there are in all.
    pub count: u64,
}

impl<T> Default for Some10<T> {
    fn default() -> Self {
        Some10 { first: Vec::new(), count: 0 }
    }
}

impl<T> Some10<T> {
    /// Counts one more, and keeps it if it is among the first.
    pub fn add(&mut self, one: impl FnOnce() -> T) {
        if self.first.len() < NAMED {
            self.first.push(one());
        }
        self.count += 1;
    }

    /// These, and others.
    fn and(mut self, others: Self) -> Self {
        self.first.extend(others.first);
        self.first.truncate(NAMED);
        self.count += others.count;
        self
    }
}

/// What a walk over both trees is stopped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// The first tree was removed while it was read.
    #[error("the tree was removed while it was read")]
    Gone,
    /// Somebody said so.
    #[error("told to stop")]
    Told,
}

/// What there is to write, and what is in its place already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Entries of the first tree that are no directories.
    pub files: u64,
    /// Its directories.
    pub directories: u64,
    /// Bytes in regular files, each once, however many names it has.
    pub bytes: u64,
    /// What the entries take that are not as in the first tree, in bytes.
    pub needed: u64,
    /// What is no directory, in the place of which is something already.
    pub there: u64,
    /// Those of them that seem to be as in the first tree: of one kind, size
    /// and time.
    pub alike: u64,
    /// Paths that are directories in the first tree, and something else in the
    /// second; what they are there.
    pub obstacles: Some10<(Vec<u8>, Kind)>,
    /// What could not be read in the first tree; it was said.
    pub unread: u64,
}

/// What the comparison says of a tree that was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Afterwards {
    /// Entries that were compared and are no directories.
    pub files: u64,
    /// Bytes in regular files, each once.
    pub bytes: u64,
    /// What differs though it was written, or is missing.
    pub wrong: Some10<Unlike>,
    /// What differs and has not been touched since the writing began.
    pub left: Some10<Unlike>,
    /// What could not be read in either tree; it was said.
    pub unread: u64,
}

impl Afterwards {
    /// This, and what another thread saw.
    fn with(self, other: Self) -> Self {
        Afterwards {
            files: self.files + other.files,
            bytes: self.bytes + other.bytes,
            left: self.left.and(other.left),
            wrong: self.wrong.and(other.wrong),
            unread: self.unread + other.unread,
        }
    }

    /// Whether all of the first tree is in the second one.
    pub fn is_identical(&self) -> bool {
        self.wrong.count == 0 && self.left.count == 0 && self.unread == 0
    }
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlike {
    /// The path below the trees' roots.
    pub path: Vec<u8>,
    /// In what; empty if the second tree lacks it.
    pub aspects: Vec<Aspect>,
    /// Whether it is not one file with those with which it is in the first tree.
    pub links: bool,
}

/// The time that filesystems give to what is touched now.
pub fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Moment { seconds: time.tv_sec, nanoseconds: u32::try_from(time.tv_nsec).unwrap_or_default() }
}

/// How strictly the trees are compared.
#[derive(Debug, Clone, Copy)]
pub struct Strictness {
    /// What was not changed since counts as left alone.
    pub begun: Moment,
    /// Whether directories have the times of the first tree. If not, those
    /// that differ otherwise count as left alone.
    pub directory_times: bool,
}

/// One name of the first tree, and what the second one has under it.
struct Pair<'a> {
    name: &'a CStr,
    from: (&'a Directory, Entry),
    into: Option<(&'a Directory, Entry)>,
}

/// Walks along the first tree from these paths on.
struct Lockstep<'t> {
    trees: &'t [Tree],
    stop: &'t AtomicBool,
    failures: Failures,
    unread: u64,
    /// Which of a path's trees a directory is entered in: in both, or in the
    /// first one alone where the second has none.
    lone: bool,
    /// Another walk over the same trees says what it could not look at.
    quiet: bool,
}

impl<'t> Lockstep<'t> {
    fn over(trees: &'t [Tree], stop: &'t AtomicBool, lone: bool) -> Self {
        Lockstep { trees, stop, failures: Failures::default(), unread: 0, lone, quiet: false }
    }

    /// Hands every pair on, with a function that gives its path.
    fn each(
        &mut self,
        paths: &[Vec<u8>],
        mut see: impl FnMut(&Pair<'_>, &dyn Fn() -> Vec<u8>) -> Result<(), (usize, Errno)>,
    ) -> Result<u64, Stopped> {
        for path in paths {
            self.start(path, &mut see)?;
        }
        if self.trees[FROM].is_in_place() { Ok(self.unread) } else { Err(Stopped::Gone) }
    }

    /// All that one path names.
    fn start(
        &mut self,
        path: &[u8],
        see: &mut impl FnMut(&Pair<'_>, &dyn Fn() -> Vec<u8>) -> Result<(), (usize, Errno)>,
    ) -> Result<(), Stopped> {
        let (above, name) = parent(path);
        let name = CString::new(name).unwrap_or_default();
        let directories = match self.trees[FROM].directory(above) {
            Ok(from) => (from, self.trees.get(INTO).map(|tree| tree.directory(above))),
            Err(error) => {
                self.lost(FROM, name.as_bytes(), error);
                self.say_failures(above);
                return Ok(());
            }
        };
        let (from, into) = directories;
        let into = into.and_then(Result::ok);
        let members = self.pair(&name, &from, into.as_ref(), &|| path.to_owned(), see);
        self.say_failures(above);
        let Some(members) = members else { return Ok(()) };
        let mut walk = Walk::new(self.trees, path, members, ());
        let mut listing = Listing::default();
        while let Some((members, ())) = walk.next() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Stopped::Told);
            }
            listing.begin();
            if let Err((tree, error)) = open(&mut walk, &members) {
                self.lost(tree, b"", error);
                self.say_failures(walk.path());
                continue;
            }
            while let Some(from) = walk.opened(FROM) {
                if let Err(error) = from.list(&mut listing, |_, _| true) {
                    self.lost(FROM, b"", error);
                    break;
                }
                let into = self.trees.get(INTO).and_then(|_| walk.opened(INTO));
                let mut entered = Vec::new();
                for listed in listing.names() {
                    let name = listing.name(listed);
                    let path = || walk.path_of(name.to_bytes());
                    if let Some(members) = self.pair(name, from, into, &path, see) {
                        entered.push((name, members));
                    }
                }
                for (name, members) in entered {
                    walk.enter(name.to_bytes(), members, ());
                }
                if !listing.go_on() {
                    break;
                }
            }
            self.say_failures(walk.path());
        }
        Ok(())
    }

    /// Looks at one name in both trees, and gives those in which it is a
    /// directory to be entered.
    fn pair(
        &mut self,
        name: &CStr,
        from: &Directory,
        into: Option<&Directory>,
        path: &dyn Fn() -> Vec<u8>,
        see: &mut impl FnMut(&Pair<'_>, &dyn Fn() -> Vec<u8>) -> Result<(), (usize, Errno)>,
    ) -> Option<Members> {
        let entry = match from.entry(name) {
            Ok(entry) => entry,
            Err(error) => {
                self.lost(FROM, name.to_bytes(), error);
                return None;
            }
        };
        let other = match into.map(|into| (into, into.entry(name))) {
            Some((into, Ok(entry))) => Some((into, entry)),
            Some((_, Err(error))) if !is_absent(error) => {
                self.lost(INTO, name.to_bytes(), error);
                return None;
            }
            _ => None,
        };
        let pair = Pair { name, from: (from, entry), into: other };
        if let Err((tree, error)) = see(&pair, path) {
            self.failures.add(tree, name.to_bytes(), error);
            return None;
        }
        let is_directory = |entry: &Entry| entry.kind == Kind::Directory;
        let both = other.is_some_and(|(_, other)| is_directory(&other));
        if !is_directory(&entry) || !(both || self.lone) {
            return None;
        }
        let mut members = Members::none_of(self.trees.len());
        members.add(FROM);
        if both {
            members.add(INTO);
        }
        Some(members)
    }

    /// Takes what could not be looked at.
    fn lost(&mut self, tree: usize, name: &[u8], error: Errno) {
        if !self.quiet {
            self.failures.add(tree, name, error);
        }
    }

    /// Says what could not be read in a directory.
    fn say_failures(&mut self, path: &[u8]) {
        let failures = std::mem::take(&mut self.failures);
        self.unread += failures.count;
        if let Some((tree, name, error)) = failures.first {
            warn_unread(&self.trees[tree], path, &name, error, failures.count - 1);
        }
    }
}

fn open(walk: &mut Walk<'_, ()>, members: &Members) -> Result<(), (usize, Errno)> {
    for tree in [FROM, INTO] {
        if members.has(tree) {
            walk.open(tree).map_err(|error| (tree, error))?;
        }
    }
    Ok(())
}

/// Looks what the first tree has at these paths and below them, and what is in
/// its place in the second one. `stop` ends the walk when it is set.
///
/// # Errors
/// The first tree was removed meanwhile, or the walk was stopped. What cannot
/// be read is said and counted.
pub fn look_ahead(trees: &[Tree; 2], paths: &[Vec<u8>], stop: &AtomicBool) -> Result<Ahead, Stopped> {
    let mut ahead = Ahead::default();
    let mut many = HashMap::new();
    let mut walk = Lockstep::over(trees, stop, true);
    let unread = walk.each(paths, |pair, path| {
        let (directory, from) = &pair.from;
        if from.kind == Kind::Directory {
            ahead.directories += 1;
        } else {
            ahead.files += 1;
        }
        let mut size = 0;
        if from.kind == Kind::File && (from.links < 2 || many.insert((from.device, from.inode), ()).is_none())
        {
            ahead.bytes += from.size;
            size = space(directory, pair.name, from).map_err(|error| (FROM, error))?;
        }
        match &pair.into {
            None => ahead.needed += size,
            Some((_, into)) if from.kind == Kind::Directory => {
                if into.kind != Kind::Directory {
                    ahead.obstacles.add(|| (path(), into.kind));
                }
            }
            Some((_, into)) => {
                ahead.there += 1;
                if seems_alike(from, into) {
                    ahead.alike += 1;
                } else {
                    ahead.needed += size;
                }
            }
        }
        Ok(())
    })?;
    ahead.unread = unread;
    Ok(ahead)
}

/// What rsync takes for unchanged.
fn seems_alike(from: &Entry, into: &Entry) -> bool {
    let times = from.kind != Kind::File || (from.mtime, from.size) == (into.mtime, into.size);
    from.kind == into.kind && times
}

/// How much room a copy of a file takes at least, without its holes.
fn space(directory: &Directory, name: &CStr, entry: &Entry) -> Result<u64, Errno> {
    if entry.size <= SMALL {
        return Ok(entry.size);
    }
    let stat = rustix::fs::statat(&directory.fd, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(entry.size.min(u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512)))
}

/// The directories of a tree at these paths and below them, each before what is
/// in it; with what there is to write.
///
/// # Errors
/// As those of [`look_ahead`].
pub fn directories(
    tree: &Tree,
    paths: &[Vec<u8>],
    stop: &AtomicBool,
) -> Result<(Vec<Vec<u8>>, Ahead), Stopped> {
    let mut found = Vec::new();
    let mut ahead = Ahead::default();
    let mut many = HashMap::new();
    let trees = std::slice::from_ref(tree);
    let mut walk = Lockstep::over(trees, stop, true);
    let unread = walk.each(paths, |pair, path| {
        let from = &pair.from.1;
        if from.kind == Kind::Directory {
            ahead.directories += 1;
            found.push(path());
        } else {
            ahead.files += 1;
        }
        if from.kind == Kind::File && (from.links < 2 || many.insert((from.device, from.inode), ()).is_none())
        {
            ahead.bytes += from.size;
        }
        Ok(())
    })?;
    ahead.unread = unread;
    Ok((found, ahead))
}

/// Compares all that the first tree has at these paths and below them with the
/// second one: kinds, contents, times, modes, owners, targets, devices,
/// attributes, and which names are one file. To look at many small files takes
/// a processor longer than to find them, so each of a few threads walks both
/// trees and looks at its share.
///
/// # Errors
/// The first tree was removed meanwhile, or the walk was stopped. What cannot
/// be read is said and counted.
pub fn look_back(
    trees: &[Tree; 2],
    paths: &[Vec<u8>],
    how: Strictness,
    stop: &AtomicBool,
) -> Result<Afterwards, Stopped> {
    let back = Mutex::new(HashMap::new());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let twins = |_| Ok([trees[FROM].twin()?, trees[INTO].twin()?]);
    let twins: Vec<[Tree; 2]> = (1..processors.min(MOST_THREADS))
        .map(twins)
        .filter_map(|twins: Result<_, Errno>| twins.ok())
        .collect();
    let of = twins.len() as u64 + 1;
    let back = &back;
    let parts = std::thread::scope(|scope| {
        let others: Vec<_> = (1..)
            .zip(twins)
            .map(|(number, twins)| {
                scope.spawn(move || compared(&twins, paths, how, stop, Share { number, of, back }))
            })
            .collect();
        let own = compared(trees, paths, how, stop, Share { number: 0, of, back });
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        std::iter::once(own).chain(others.into_iter().map(join)).collect::<Result<Vec<Afterwards>, Stopped>>()
    })?;
    let mut after = parts.into_iter().reduce(Afterwards::with).unwrap_or_default();
    for named in [&mut after.wrong.first, &mut after.left.first] {
        named.sort_by(|one, other| one.path.cmp(&other.path));
    }
    Ok(after)
}

/// What one of several threads looks at: every name of a file is one thread's.
#[derive(Clone, Copy)]
struct Share<'a> {
    number: u64,
    of: u64,
    /// Which files of the first tree the second's are.
    back: &'a Mutex<Files>,
}

impl Share<'_> {
    fn has(&self, entry: &Entry) -> bool {
        // Inodes of one directory often follow each other, or skip by twos.
        (entry.inode.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % self.of == self.number
    }
}

/// [`look_back`] at one share.
fn compared(
    trees: &[Tree; 2],
    paths: &[Vec<u8>],
    how: Strictness,
    stop: &AtomicBool,
    share: Share<'_>,
) -> Result<Afterwards, Stopped> {
    let mut after = Afterwards::default();
    let mut links = Links::new(share.back);
    let mut reader = Reader::default();
    let mut walk = Lockstep { quiet: share.number > 0, ..Lockstep::over(trees, stop, false) };
    let unread = walk.each(paths, |pair, path| {
        let (from_directory, from) = &pair.from;
        if !share.has(from) {
            return Ok(());
        }
        after.files += u64::from(from.kind != Kind::Directory);
        let Some((into_directory, into)) = &pair.into else {
            after.wrong.add(|| Unlike { path: path(), aspects: Vec::new(), links: false });
            return Ok(());
        };
        let linked = from.kind == Kind::Directory || links.agree(from, into);
        if from.kind == Kind::File && links.first {
            after.bytes += from.size;
        }
        let mut aspects = told(from, into, how);
        let mut plain = false;
        if from.kind == into.kind {
            match from.kind {
                Kind::File if from.size == into.size => {
                    let alike = reader.alike(from_directory, into_directory, pair.name, from.size);
                    let alike = alike.map_err(|error| (INTO, error))?;
                    plain = alike.plain;
                    if !alike.same {
                        aspects.push(Aspect::Content);
                    }
                }
                Kind::Symlink => {
                    let one = from_directory.target(pair.name).map_err(|error| (FROM, error))?;
                    if one != into_directory.target(pair.name).map_err(|error| (INTO, error))? {
                        aspects.push(Aspect::Target);
                    }
                }
                _ => {}
            }
            if !plain {
                aspects.extend(attributes_apart(pair.name, from_directory, into_directory)?);
            }
        }
        if aspects.is_empty() && linked {
            return Ok(());
        }
        let unlike = || Unlike { path: path(), aspects, links: !linked };
        let left_alone = from.kind == Kind::Directory && !how.directory_times;
        if into.ctime <= how.begun || left_alone {
            after.left.add(unlike);
        } else {
            after.wrong.add(unlike);
        }
        Ok(())
    })?;
    after.unread = unread;
    Ok(after)
}

/// In which attributes two entries of a name differ.
fn attributes_apart(
    name: &CStr,
    from: &Directory,
    into: &Directory,
) -> Result<impl Iterator<Item = Aspect>, (usize, Errno)> {
    let one = attributes(from, name).map_err(|error| (FROM, error))?;
    let other = attributes(into, name).map_err(|error| (INTO, error))?;
    let differ = move |acl: bool| {
        let of = |all: &BTreeMap<Vec<u8>, Vec<u8>>| {
            let wanted = all.iter().filter(|(name, _)| is_acl(name) == acl);
            wanted.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
        };
        one != other && of(&one) != of(&other)
    };
    let parts = [(true, Aspect::Acl), (false, Aspect::Xattrs)];
    Ok(parts.into_iter().filter(move |(acl, _)| differ(*acl)).map(|(_, aspect)| aspect))
}

/// In what two entries differ, as far as they tell themselves.
fn told(from: &Entry, into: &Entry, how: Strictness) -> Vec<Aspect> {
    if from.kind != into.kind {
        return vec![Aspect::Kind];
    }
    let kind = from.kind;
    let device = matches!(kind, Kind::Block | Kind::Character);
    [
        (kind == Kind::File && from.size != into.size, Aspect::Size),
        ((kind != Kind::Directory || how.directory_times) && from.mtime != into.mtime, Aspect::Mtime),
        (device && from.special != into.special, Aspect::Device),
        (kind != Kind::Symlink && from.mode != into.mode, Aspect::Mode),
        (from.uid != into.uid, Aspect::Owner),
        (from.gid != into.gid, Aspect::Group),
    ]
    .into_iter()
    .filter_map(|(differs, aspect)| differs.then_some(aspect))
    .collect()
}
