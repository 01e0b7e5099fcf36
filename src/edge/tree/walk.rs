//! A walk through several trees at once, directory by directory.
//!
//! A directory is entered once, in all the trees that have it; what is below it
//! comes after it, in the order in which it was asked for. What is in memory
//! are the directories that are still to be entered; what is open, besides the
//! root, are two directories a tree.

use super::{Directory, Tree};
use rustix::io::Errno;

/// Some of the trees, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Members(Box<[u64]>);

impl Members {
    pub(super) fn none_of(trees: usize) -> Self {
        Members(vec![0; trees.div_ceil(64)].into())
    }

    pub(super) fn all_of(trees: usize) -> Self {
        let mut members = Members::none_of(trees);
        (0..trees).for_each(|tree| members.add(tree));
        members
    }

    pub(super) fn add(&mut self, tree: usize) {
        self.0[tree / 64] |= 1 << (tree % 64);
    }

    pub(super) fn has(&self, tree: usize) -> bool {
        self.0[tree / 64] & (1 << (tree % 64)) != 0
    }
}

/// A walk under way; `T` is what its user says of each directory to come.
pub(super) struct Walk<'t, T> {
    trees: &'t [Tree],
    /// The next one last.
    pending: Vec<Pending<T>>,
    /// How many were pending when the directory of now was entered.
    older: usize,
    path: Vec<u8>,
    /// Where the path of each depth ends, up to the directory of now.
    ends: Vec<usize>,
    /// How deep the directory of now is.
    depth: usize,
    /// The directory of now in each tree, as far as it was opened there.
    open: Vec<Option<Directory>>,
    /// Its parent, in the trees in which it may still be opened by it.
    parents: Vec<Option<Directory>>,
}

struct Pending<T> {
    name: Box<[u8]>,
    depth: usize,
    members: Members,
    about: T,
}

impl<'t, T> Walk<'t, T> {
    /// A walk that begins with the directory at this path, in these trees.
    pub(super) fn new(trees: &'t [Tree], path: &[u8], members: Members, about: T) -> Self {
        Walk {
            trees,
            pending: vec![Pending { name: path.into(), depth: 0, members, about }],
            older: 0,
            path: Vec::new(),
            ends: Vec::new(),
            depth: 0,
            open: trees.iter().map(|_| None).collect(),
            parents: trees.iter().map(|_| None).collect(),
        }
    }

    /// Goes to the next directory, and gives the trees that have it.
    pub(super) fn next(&mut self) -> Option<(Members, T)> {
        self.pending[self.older..].reverse();
        let Pending { name, depth, members, about } = self.pending.pop()?;
        self.older = self.pending.len();
        // What was entered last is its parent, or lies elsewhere.
        let in_parent = depth == self.depth + 1;
        self.depth = depth;
        for (tree, (open, parent)) in self.open.iter_mut().zip(&mut self.parents).enumerate() {
            *parent = open.take().filter(|_| in_parent && members.has(tree));
        }
        self.ends.truncate(depth);
        self.path.truncate(self.ends.last().copied().unwrap_or_default());
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&name);
        self.ends.push(self.path.len());
        Some((members, about))
    }

    /// The path of the directory of now.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The path of something in the directory of now.
    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    /// Whether the directory of now is the one that the walk began with.
    pub(super) fn is_at_start(&self) -> bool {
        self.depth == 0
    }

    /// Opens the directory of now in one of the trees that have it.
    pub(super) fn open(&mut self, tree: usize) -> Result<&Directory, Errno> {
        let before = self.ends.len().checked_sub(2).map_or(0, |depth| self.ends[depth]);
        let opened = match self.parents[tree].take() {
            Some(parent) => {
                let name = &self.path[before..];
                parent.directory(name.strip_prefix(b"/").unwrap_or(name))?
            }
            None => self.trees[tree].directory(&self.path)?,
        };
        Ok(self.open[tree].insert(opened))
    }

    /// The directory of now in one of the trees, if it was opened there.
    pub(super) fn opened(&self, tree: usize) -> Option<&Directory> {
        self.open[tree].as_ref()
    }

    /// Asks for a directory in the directory of now to be entered.
    pub(super) fn enter(&mut self, name: &[u8], members: Members, about: T) {
        self.pending.push(Pending { name: name.into(), depth: self.depth + 1, members, about });
    }
}
