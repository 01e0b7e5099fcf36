//! What is different between two trees.
//!
//! Both are walked at once, directory by directory. What is the same inode, or
//! the same inode with the same time of change in another snapshot, is not
//! looked at any further; a directory is, for its own times say nothing of what
//! is below it.
//!
//! A tree that is removed while it is read looks as if its files had gone. So
//! nothing is told before both roots were seen in their places after it was
//! read.

use super::content::{Reader, attributes, is_acl};
use super::search::{Failures, warn_unread};
use super::walk::{Members, Walk};
use super::{Directory, Listed, Listing, Tree, is_absent, parent};
use crate::core::files::diff::{Aspect, Difference, aspects};
use crate::core::files::entry::{Entry, Kind};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::mem;

/// The numbers of the two trees.
const OLD: usize = 0;
const NEW: usize = 1;
/// How many differences are kept before they are told.
const MOST_UNTOLD: usize = 1024;

/// One of the two trees was removed while it was read; its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tree was removed while it was read")]
pub struct Gone(pub usize);

/// A difference that is told.
#[derive(Debug)]
pub struct Told {
    /// The path from the trees' root.
    pub path: Vec<u8>,
    /// What is different.
    pub difference: Difference,
    /// Where the path pointed to, and points to, if it is a symlink.
    pub targets: [Option<Vec<u8>>; 2],
}

/// What a comparison went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompareStats {
    /// How many directories and files could not be read, in either tree; it was
    /// said.
    pub unread: u64,
}

/// Compares two trees, the old one first, at a path and all that is below it,
/// and hands on what is different; a directory's entries by name, then what is
/// below each. With `bytes`, files of one size are read and compared.
///
/// # Errors
/// [`Gone`], and what `tell` answers. What cannot be read is said and counted.
pub fn compare<E: From<Gone>>(
    trees: &[Tree; 2],
    path: &[u8],
    bytes: bool,
    mut tell: impl FnMut(Told) -> Result<(), E>,
) -> Result<CompareStats, E> {
    let mut compare = Compare {
        trees,
        bytes,
        compared: CompareStats::default(),
        untold: Vec::new(),
        reader: Reader::default(),
        failures: Failures::default(),
    };
    let mut walk = Walk::new(trees, path, compare.start(path), ());
    let mut listings = [Listing::default(), Listing::default()];
    compare.tell(&mut tell)?;
    compare.say_failures(path)?;
    while let Some((members, ())) = walk.next() {
        listings.iter_mut().for_each(Listing::begin);
        if compare.open(&mut walk, &members) {
            while compare.read(&walk, &mut listings) {
                compare.merge(&mut walk, &listings, &mut tell)?;
                if !listings.iter_mut().all(Listing::go_on) {
                    break;
                }
            }
        }
        compare.tell(&mut tell)?;
        compare.say_failures(walk.path())?;
    }
    compare.check()?;
    Ok(compare.compared)
}

struct Compare<'a> {
    trees: &'a [Tree; 2],
    bytes: bool,
    compared: CompareStats,
    untold: Vec<Told>,
    reader: Reader,
    failures: Failures,
}

/// One tree's copy of a name: its directory, and what that tells of it.
type Copy<'a> = Option<(&'a Directory, &'a Listed)>;

impl Compare<'_> {
    /// Compares what is at the path itself, and gives the trees in which it is
    /// a directory.
    fn start(&mut self, path: &[u8]) -> Members {
        let (above, name) = parent(path);
        let name = CString::new(name).unwrap_or_default();
        let mut listing = Listing::default();
        listing.only(&name);
        let parents = [OLD, NEW].map(|tree| match self.trees[tree].directory(above) {
            Ok(directory) => directory.entry(name.as_c_str()).map(|_| directory),
            Err(error) => Err(error),
        });

        for (tree, parent) in parents.iter().enumerate() {
            if let Err(error) = parent {
                if !is_absent(*error) {
                    self.failures.add(tree, b"", *error);
                }
            }
        }
        let copy = |tree: usize| parents[tree].as_ref().ok().zip(listing.names().first());
        if self.failures.count > 0 {
            return Members::none_of(2);
        }
        self.name(path.to_owned(), &name, copy(OLD), copy(NEW))
    }

    /// Opens a directory in the trees that have it. `false` if that could not be
    /// done: of what is in it nothing can be said then.
    fn open(&mut self, walk: &mut Walk<'_, ()>, members: &Members) -> bool {
        for tree in [OLD, NEW] {
            if members.has(tree) {
                if let Err(error) = walk.open(tree) {
                    self.failures.add(tree, b"", error);
                    return false;
                }
            }
        }
        true
    }

    /// Lists the same part of the directory of now in both trees. `false` if that
    /// could not be done.
    fn read(&mut self, walk: &Walk<'_, ()>, listings: &mut [Listing; 2]) -> bool {
        for tree in [OLD, NEW] {
            let listing = &mut listings[tree];
            listing.clear();
            if let Some(directory) = walk.opened(tree) {
                if let Err(error) = directory.list(listing, |_, _| true) {
                    self.failures.add(tree, b"", error);
                    return false;
                }
                listing.sort();
            }
            // The new one may have more names, and end before the old one.
            if let Some(until) = listings[tree].until().map(<[u8]>::to_vec) {
                listings[1 - tree].stop_at(&until);
            }
        }
        true
    }

    /// Compares a directory's entries, by name.
    fn merge<E: From<Gone>>(
        &mut self,
        walk: &mut Walk<'_, ()>,
        listings: &[Listing; 2],
        tell: &mut impl FnMut(Told) -> Result<(), E>,
    ) -> Result<(), E> {
        let [old, new] = listings;
        let (mut old_names, mut new_names) = (old.names().iter().peekable(), new.names().iter().peekable());
        loop {
            let (one, other) = (old_names.peek().map(|n| old.name(n)), new_names.peek().map(|n| new.name(n)));
            let Some(name) = one.into_iter().chain(other).min() else { return Ok(()) };
            if old.until().is_some_and(|until| name.to_bytes() > until) {
                return Ok(());
            }
            let one = old_names.next_if(|_| one == Some(name));
            let other = new_names.next_if(|_| other == Some(name));
            let copy = |tree, listed: Option<_>| walk.opened(tree).zip(listed);
            let (one, other) = (copy(OLD, one), copy(NEW, other));
            if Self::is_linked(one, other, name) {
                continue;
            }
            let members = self.name(walk.path_of(name.to_bytes()), name, one, other);
            if members.has(OLD) || members.has(NEW) {
                walk.enter(name.to_bytes(), members, ());
            }
            if self.untold.len() >= MOST_UNTOLD {
                self.tell(tell)?;
            }
        }
    }

    /// Whether both names are surely one inode, by what the directories tell. One
    /// look makes sure that this is what the filesystem's own numbers mean.
    fn is_linked(old: Copy<'_>, new: Copy<'_>, name: &CStr) -> bool {
        let (Some((old, old_listed)), Some((new, new_listed))) = (old, new) else { return false };
        old_listed.inode == new_listed.inode
            && old_listed.kind == new_listed.kind
            && old.device() == new.device()
            && old_listed.kind != Some(Kind::Directory)
            && new.entry(name).is_ok_and(|entry| {
                (entry.inode, entry.device) == (new_listed.inode, new.device())
                    && entry.kind != Kind::Directory
            })
    }

    /// Compares the copies of one path, and gives the trees in which it is a
    /// directory to be entered.
    fn name(&mut self, path: Vec<u8>, name: &CStr, old: Copy<'_>, new: Copy<'_>) -> Members {
        let mut members = Members::none_of(2);
        let mut entries = [None, None];
        for (tree, copy) in [old, new].into_iter().enumerate() {
            let Some((directory, _)) = copy else { continue };
            match directory.entry(name) {
                Ok(entry) => entries[tree] = Some(entry),
                Err(error) => {
                    self.failures.add(tree, name.to_bytes(), error);
                    return members;
                }
            }
        }
        for (tree, entry) in entries.iter().enumerate() {
            if entry.is_some_and(|entry| entry.kind == Kind::Directory) {
                members.add(tree);
            }
        }
        let directories = [old, new].map(|copy| copy.map(|(directory, _)| directory));
        match self.difference(name, directories, entries) {
            Ok(Some((difference, targets))) => self.untold.push(Told { path, difference, targets }),
            Ok(None) => {}
            Err((tree, error)) => self.failures.add(tree, name.to_bytes(), error),
        }
        members
    }

    /// What is different about one name, with its targets.
    #[expect(clippy::type_complexity, reason = "of use here alone")]
    fn difference(
        &mut self,
        name: &CStr,
        directories: [Option<&Directory>; 2],
        entries: [Option<Entry>; 2],
    ) -> Result<Option<(Difference, [Option<Vec<u8>>; 2])>, (usize, Errno)> {
        let mut targets = [None, None];
        if let [Some(old), Some(new)] = &entries {
            if old.is_same_file(new) {
                return Ok(None);
            }
        }
        for (tree, target) in targets.iter_mut().enumerate() {
            if let (Some(directory), Some(entry)) = (directories[tree], &entries[tree]) {
                if entry.kind == Kind::Symlink {
                    *target = Some(directory.target(name).map_err(|error| (tree, error))?);
                }
            }
        }
        let difference = match (entries, directories) {
            ([Some(old), Some(new)], [Some(old_in), Some(new_in)]) => {
                let mut aspects = aspects(&old, &new);
                let mut same_bytes = false;
                if old.kind == new.kind {
                    if targets[OLD] != targets[NEW] {
                        aspects.push(Aspect::Target);
                    }
                    if self.bytes && old.kind == Kind::File && old.size == new.size {
                        same_bytes = self.reader.same(old_in, new_in, name).map_err(|error| (NEW, error))?;
                        if !same_bytes {
                            aspects.push(Aspect::Content);
                        }
                    }
                    attribute_aspects(old_in, new_in, name, &mut aspects)?;
                }
                if aspects.is_empty() {
                    return Ok(None);
                }
                aspects.sort_unstable();
                Difference::Changed { old, new, aspects, same_bytes }
            }
            ([Some(old), None], _) => Difference::Removed(old),
            ([None, Some(new)], _) => Difference::Added(new),
            _ => return Ok(None),
        };
        Ok(Some((difference, targets)))
    }

    /// Tells what has been found, once it is certain.
    fn tell<E: From<Gone>>(&mut self, tell: &mut impl FnMut(Told) -> Result<(), E>) -> Result<(), E> {
        if !self.untold.is_empty() {
            self.check()?;
        }
        self.untold.drain(..).try_for_each(tell)
    }

    /// Whether both trees are still there.
    fn check(&self) -> Result<(), Gone> {
        match self.trees.iter().position(|tree| !tree.is_in_place()) {
            Some(tree) => Err(Gone(tree)),
            None => Ok(()),
        }
    }

    /// Says what could not be read of a directory: once, however much it is.
    fn say_failures(&mut self, path: &[u8]) -> Result<(), Gone> {
        let failures = mem::take(&mut self.failures);
        if let Some((tree, name, error)) = failures.first {
            // It may have become unreadable by being removed.
            self.check()?;
            self.compared.unread += failures.count;
            warn_unread(&self.trees[tree], path, &name, error, failures.count - 1);
        }
        Ok(())
    }
}

/// Adds what is different in the extended attributes.
fn attribute_aspects(
    old: &Directory,
    new: &Directory,
    name: &CStr,
    aspects: &mut Vec<Aspect>,
) -> Result<(), (usize, Errno)> {
    let old = attributes(old, name).map_err(|error| (OLD, error))?;
    let new = attributes(new, name).map_err(|error| (NEW, error))?;
    let differing = |key: &&Vec<u8>| old.get(*key) != new.get(*key);
    for key in old.keys().chain(new.keys()).filter(differing) {
        let aspect = if is_acl(key) { Aspect::Acl } else { Aspect::Xattrs };
        if !aspects.contains(&aspect) {
            aspects.push(aspect);
        }
    }
    Ok(())
}
