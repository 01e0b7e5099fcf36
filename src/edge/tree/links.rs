//! Which names are one file, in a tree and in its copy.

use crate::core::files::entry::Entry;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Files of one tree, by device and inode, and what they are in another.
pub(super) type Files = HashMap<(u64, u64), (u64, u64)>;

/// Which files of the first tree are which of the second.
pub(super) struct Links<'a> {
    of: Files,
    back: &'a Mutex<Files>,
    /// Whether the last file had not been seen by another name.
    pub(super) first: bool,
}

impl<'a> Links<'a> {
    pub(super) fn new(back: &'a Mutex<Files>) -> Self {
        Links { of: Files::new(), back, first: false }
    }

    /// Whether the names that were one file so far are one, and no others.
    pub(super) fn agree(&mut self, from: &Entry, into: &Entry) -> bool {
        let one = (from.device, from.inode);
        let other = (into.device, into.inode);
        let mut agree = true;
        self.first = true;
        // With one name each, there is nothing to be mistaken for.
        if from.links > 1 {
            match self.of.entry(one) {
                std::collections::hash_map::Entry::Occupied(known) => {
                    self.first = false;
                    agree = *known.get() == other;
                }
                std::collections::hash_map::Entry::Vacant(new) => drop(new.insert(other)),
            }
        }
        if into.links > 1 {
            let mut back = self.back.lock().unwrap_or_else(PoisonError::into_inner);
            agree &= *back.entry(other).or_insert(one) == one;
        }
        agree
    }
}
