//! The versions of what a pattern matches, in many trees at once.
//!
//! One directory is read in all trees before the next, so that every version of
//! what is in it is known, and can be told, when it is left. In memory are the
//! wanted names of one directory, each once, with their versions; of a huge
//! directory a part of them at a time.

use super::content::Reader;
use super::walk::{Members, Walk};
use super::{Directory, Listed, Listing, MOST_NAMES, Tree, is_absent};
use crate::core::files::entry::{Entry, Kind};
use crate::core::files::path_glob::{Pattern, States};
use crate::core::files::versions::{Version, Versions};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::mem;

/// Something that was found.
#[derive(Debug)]
pub struct Found {
    /// Its path from the trees' root.
    pub path: Vec<u8>,
    /// Its versions, newest first; snapshots are numbered as the trees are.
    pub versions: Vec<Version>,
}

/// What a search went through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Searched {
    /// How many entries were seen, each in each tree.
    pub entries: u64,
    /// How many paths were found.
    pub paths: u64,
    /// How many versions they have.
    pub versions: u64,
    /// How many directories and files could not be read, each in each tree; it
    /// was said.
    pub unread: u64,
    /// The numbers of the trees that were removed meanwhile. Of these a part was
    /// read.
    pub gone: Vec<usize>,
}

/// Finds what a pattern matches and hands on each path, with its versions; a
/// directory's entries by name, then what is below each. `trees` are in the
/// order of their age, oldest first. With `sums` every version's content is
/// read.
///
/// # Errors
/// Only what `found` answers. What cannot be read is said and counted.
pub fn search<E>(
    trees: &[Tree],
    pattern: &Pattern,
    sums: bool,
    mut found: impl FnMut(Found) -> Result<(), E>,
) -> Result<Searched, E> {
    let mut search = Search {
        trees,
        pattern,
        sums,
        searched: Searched::default(),
        listing: Listing::default(),
        rows: Vec::new(),
        reader: Reader::default(),
        failures: Failures::default(),
    };
    let start = pattern.start();
    if pattern.accepts(start) {
        search.root(&mut found)?;
    }
    let beginning = pattern.beginning().join(&b'/');
    let mut walk = Walk::new(trees, &beginning, Members::all_of(trees.len()), start);
    while let Some((members, states)) = walk.next() {
        if pattern.goes_on(states) {
            search.listing.begin();
            search.open(&mut walk, &members);
            search.part(&walk, states, true);
            search.tell(&mut walk, states, &mut found)?;
            while search.listing.go_on() {
                search.part(&walk, states, false);
                search.tell(&mut walk, states, &mut found)?;
            }
            search.say_failures(walk.path());
        }
    }
    for (number, tree) in trees.iter().enumerate() {
        if !search.searched.gone.contains(&number) && !tree.is_in_place() {
            search.searched.gone.push(number);
        }
    }
    Ok(search.searched)
}

struct Search<'a> {
    trees: &'a [Tree],
    pattern: &'a Pattern,
    sums: bool,
    searched: Searched,
    listing: Listing,
    /// The names of the directory of now, sorted.
    rows: Vec<Row>,
    reader: Reader,
    failures: Failures,
}

/// A name of the directory of now.
struct Row {
    name: Box<[u8]>,
    wanted: bool,
    goes_on: bool,
    versions: Versions,
    /// The trees in which it is a directory to be entered.
    directories: Option<Members>,
}

impl Search<'_> {
    /// Tells of the root itself, which is in no directory.
    fn root<E>(&mut self, found: &mut impl FnMut(Found) -> Result<(), E>) -> Result<(), E> {
        let mut versions = Versions::default();
        for (snapshot, tree) in (0..).zip(self.trees) {
            if let Ok(Some(entry)) = tree.entry(b"") {
                note(&mut versions, snapshot, &entry, false, None);
            }
        }
        let versions = versions.newest_first();
        self.searched.paths += 1;
        self.searched.versions += versions.len() as u64;
        found(Found { path: Vec::new(), versions })
    }

    /// Opens one directory in all trees that have it.
    fn open(&mut self, walk: &mut Walk<'_, States>, members: &Members) {
        let at_start = walk.is_at_start();
        for tree in 0..self.trees.len() {
            if !members.has(tree) || self.searched.gone.contains(&tree) {
                continue;
            }
            match walk.open(tree) {
                Ok(_) => {}
                Err(error) if at_start && is_absent(error) => {}
                Err(error) => self.failures.add(tree, b"", error),
            }
        }
    }

    /// Reads the directory of now in all trees, as far as a part of it goes.
    fn part(&mut self, walk: &Walk<'_, States>, states: States, first: bool) {
        let only = if walk.is_at_start() { self.pattern.only_name() } else { None };
        let only = only.and_then(|name| CString::new(name).ok());
        for tree in 0..self.trees.len() {
            let Some(directory) = walk.opened(tree) else { continue };
            let Search { pattern, searched, listing, failures, .. } = self;
            match &only {
                Some(name) => {
                    listing.only(name);
                    searched.entries += 1;
                }
                None => {
                    let listed = directory.list(listing, |name, kind| {
                        searched.entries += u64::from(first);
                        is_wanted(pattern, states, name, kind)
                    });
                    if let Err(error) = listed {
                        failures.add(tree, b"", error);
                    }
                    listing.sort();
                }
            }
            self.merge(tree, directory, states, only.is_some());
            self.forget_next_part();
        }
    }

    /// Forgets what the older trees have of the next part.
    fn forget_next_part(&mut self) {
        if self.rows.len() > 2 * MOST_NAMES {
            self.listing.stop_at(&self.rows[MOST_NAMES - 1].name);
        }
        if let Some(until) = self.listing.until() {
            let count = self.rows.partition_point(|row| &*row.name <= until);
            self.rows.truncate(count);
        }
    }

    /// Takes a directory's names of one tree to those of the older ones.
    fn merge(&mut self, tree: usize, directory: &Directory, states: States, probing: bool) {
        let listing = mem::take(&mut self.listing);
        let mut rows = mem::take(&mut self.rows);
        let known = rows.len();
        let mut at = 0;
        for listed in listing.names() {
            let name = listing.name(listed);
            let bytes = name.to_bytes();
            while at < known && *rows[at].name < *bytes {
                at += 1;
            }
            let row = if at < known && *rows[at].name == *bytes {
                &mut rows[at]
            } else {
                let next = self.pattern.step(states, bytes);
                let (wanted, goes_on) = (self.pattern.accepts(next), self.pattern.goes_on(next));
                let versions = Versions::default();
                rows.push(Row { name: bytes.into(), wanted, goes_on, versions, directories: None });
                let last = rows.len() - 1;
                &mut rows[last]
            };
            match self.take(row, tree, directory, listed, name) {
                Err(Errno::NOENT | Errno::NOTDIR) if probing => {}
                Err(error) => self.failures.add(tree, bytes, error),
                Ok(()) => {}
            }
        }
        if rows.len() > known {
            // Two sorted runs.
            rows.sort_by(|a, b| a.name.cmp(&b.name));
        }
        (self.listing, self.rows) = (listing, rows);
    }

    /// Takes one tree's copy of a name.
    fn take(
        &mut self,
        row: &mut Row,
        tree: usize,
        directory: &Directory,
        listed: &Listed,
        name: &CStr,
    ) -> Result<(), Errno> {
        let snapshot = u32::try_from(tree).unwrap_or(u32::MAX);
        if row.wanted && row.versions.saw_again(snapshot, listed.inode, directory.device()) {
            return Ok(());
        }
        let to_be_entered = |row: &mut Row| {
            if row.goes_on {
                row.directories.get_or_insert_with(|| Members::none_of(self.trees.len())).add(tree);
            }
        };
        if !row.wanted && listed.kind == Some(Kind::Directory) {
            to_be_entered(row);
            return Ok(());
        }
        let entry = directory.entry(name)?;
        if entry.kind == Kind::Directory {
            to_be_entered(row);
        }
        if !row.wanted || (self.pattern.directories_only() && entry.kind != Kind::Directory) {
            return Ok(());
        }
        // A filesystem may number its files one way in directories and another
        // way elsewhere, or not at all.
        let is_listed = entry.kind != Kind::Directory
            && (entry.inode, entry.device) == (listed.inode, directory.device());
        let mut sum = None;
        if self.sums && entry.kind == Kind::File {
            if let Some(version) = row.versions.same_file(&entry) {
                version.saw_as(snapshot, &entry, is_listed);
                return Ok(());
            }
            match self.reader.sum(directory, name) {
                Ok(found) => sum = Some(found),
                Err(error) => self.failures.add(tree, name.to_bytes(), error),
            }
        }
        if let Some(version) = note(&mut row.versions, snapshot, &entry, is_listed, sum) {
            if entry.kind == Kind::Symlink {
                version.target = Some(directory.target(name)?.into());
            }
        }
        Ok(())
    }

    /// Tells what was found in the directory of now, and asks for those in it to
    /// be entered.
    fn tell<E>(
        &mut self,
        walk: &mut Walk<'_, States>,
        states: States,
        found: &mut impl FnMut(Found) -> Result<(), E>,
    ) -> Result<(), E> {
        for row in self.rows.drain(..) {
            if let Some(directories) = row.directories {
                walk.enter(&row.name, directories, self.pattern.step(states, &row.name));
            }
            if !row.versions.is_empty() {
                let versions = row.versions.newest_first();
                self.searched.paths += 1;
                self.searched.versions += versions.len() as u64;
                found(Found { path: walk.path_of(&row.name), versions })?;
            }
        }
        Ok(())
    }

    /// Says what could not be read of a directory: once, however often.
    fn say_failures(&mut self, path: &[u8]) {
        let failures = mem::take(&mut self.failures);
        let Some((tree, name, error)) = failures.first else { return };
        for tree in failures.trees {
            if !self.searched.gone.contains(&tree) && !self.trees[tree].is_in_place() {
                self.searched.gone.push(tree);
            }
        }
        if self.searched.gone.contains(&tree) {
            return;
        }
        self.searched.unread += failures.count;
        warn_unread(&self.trees[tree], path, &name, error, failures.count - 1);
    }
}

/// What could not be read in one directory.
#[derive(Default)]
pub(super) struct Failures {
    /// The tree, the name in the directory (empty for itself) and why not.
    pub(super) first: Option<(usize, Vec<u8>, Errno)>,
    pub(super) count: u64,
    pub(super) trees: Vec<usize>,
}

impl Failures {
    pub(super) fn add(&mut self, tree: usize, name: &[u8], error: Errno) {
        self.first.get_or_insert_with(|| (tree, name.to_owned(), error));
        self.count += 1;
        if self.trees.last() != Some(&tree) {
            self.trees.push(tree);
        }
    }
}

/// Says that something cannot be read, and how much more there is of the kind.
pub(super) fn warn_unread(tree: &Tree, path: &[u8], name: &[u8], error: Errno, more: u64) {
    let slash: &[u8] = if path.is_empty() || name.is_empty() { b"" } else { b"/" };
    let place = tree.display(&[path, slash, name].concat());
    let more = match more {
        0 => String::new(),
        more => format!("; nor {more} more like it"),
    };
    let hint = if error == Errno::ACCESS { " (run `backup` as root)" } else { "" };
    let error = std::io::Error::from(error);
    tracing::warn!("cannot read `{place}`{more}: {error}{hint}");
}

/// Whether a name is of interest: it matches, or what is below it may.
fn is_wanted(pattern: &Pattern, states: States, name: &[u8], kind: Option<Kind>) -> bool {
    let next = pattern.step(states, name);
    match kind {
        Some(Kind::Directory) | None => pattern.accepts(next) || pattern.goes_on(next),
        Some(_) => pattern.accepts(next) && !pattern.directories_only(),
    }
}

/// Notes a copy; the version, if it is a new one.
fn note<'v>(
    versions: &'v mut Versions,
    snapshot: u32,
    entry: &Entry,
    listed: bool,
    sum: Option<crate::core::files::versions::Sum>,
) -> Option<&'v mut Version> {
    if let Some(version) = versions.like(entry, sum.as_ref()) {
        version.saw_as(snapshot, entry, listed);
        return None;
    }
    Some(versions.add(snapshot, entry, listed, sum))
}
