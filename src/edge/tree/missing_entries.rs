//! What a second tree lacks of a first one, without what it has: so that what
//! stands there already is not even touched.

use super::content::attributes;
use super::walk::{Members, Walk};
use super::{Directory, Listing, Stopped, Tree, is_absent};
use crate::core::files::entry::{Entry, Kind};
use rustix::io::Errno;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// The numbers of the two trees.
const FROM: usize = 0;
const INTO: usize = 1;

/// Something that the second tree lacks, or that is affected by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap<'a> {
    /// This is missing, with all that is below it.
    Missing(&'a [u8]),
    /// A directory of both trees, of the same owner, mode and attributes, in
    /// which something is missing.
    Incomplete(&'a [u8]),
}

/// Why the gaps could not be found.
#[derive(Debug, thiserror::Error)]
pub enum NoGaps {
    /// The walk was stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Something could not be read.
    #[error("cannot look at `{0}`: {1}")]
    Unread(String, io::Error),
    /// What was found could not be handed on.
    #[error("cannot write the list of what is missing: {0}")]
    Unsaid(#[from] io::Error),
}

/// Hands on what the second tree lacks of what the first one has at these paths
/// and below them. Gives whether it has a directory there already that is not
/// empty, or is below the root: whether there is anything to be left alone.
///
/// # Errors
/// What cannot be read ends the walk, and so do `stop` and what `say` fails by.
pub fn gaps(
    trees: &[Tree; 2],
    paths: &[Vec<u8>],
    stop: &AtomicBool,
    mut say: impl FnMut(Gap<'_>) -> io::Result<()>,
) -> Result<bool, NoGaps> {
    let unread = |tree: usize, path: &[u8], error: Errno| {
        NoGaps::Unread(trees[tree].display(path), io::Error::from(error))
    };
    let look = |tree: usize, path: &[u8]| trees[tree].entry(path).map_err(|error| unread(tree, path, error));
    let mut any = false;
    for path in paths {
        let Some(from) = look(FROM, path)? else { continue };
        let Some(into) = look(INTO, path)? else {
            say(Gap::Missing(path))?;
            continue;
        };
        if !are_directories(&from, &into) {
            any = true;
            continue;
        }
        let mut walk = Walk::new(trees, path, Members::all_of(2), ());
        let mut listing = Listing::default();
        while let Some((_, ())) = walk.next() {
            if stop.load(Ordering::Relaxed) {
                return Err(Stopped::Told.into());
            }
            for tree in [FROM, INTO] {
                if let Err(error) = walk.open(tree) {
                    return Err(unread(tree, walk.path(), error));
                }
            }
            let (Some(from), Some(into)) = (walk.opened(FROM), walk.opened(INTO)) else { continue };
            any |= !walk.path().is_empty();
            let mut incomplete = false;
            let mut entered = Vec::new();
            listing.begin();
            loop {
                from.list(&mut listing, |_, _| true).map_err(|error| unread(FROM, walk.path(), error))?;
                for listed in listing.names() {
                    let name = listing.name(listed);
                    let other = match into.entry(name) {
                        Ok(other) => other,
                        Err(error) if is_absent(error) => {
                            incomplete = true;
                            say(Gap::Missing(&walk.path_of(name.to_bytes())))?;
                            continue;
                        }
                        Err(error) => return Err(unread(INTO, &walk.path_of(name.to_bytes()), error)),
                    };
                    any = true;
                    if other.kind != Kind::Directory {
                        continue;
                    }
                    let one = from
                        .entry(name)
                        .map_err(|error| unread(FROM, &walk.path_of(name.to_bytes()), error))?;
                    if are_directories(&one, &other) {
                        entered.push(name.to_owned());
                    }
                }
                if !listing.go_on() {
                    break;
                }
            }
            if incomplete && look_alike(from, into).map_err(|error| unread(INTO, walk.path(), error))? {
                say(Gap::Incomplete(walk.path()))?;
            }
            for name in entered {
                walk.enter(name.to_bytes(), Members::all_of(2), ());
            }
        }
    }
    Ok(any)
}

fn are_directories(from: &Entry, into: &Entry) -> bool {
    from.kind == Kind::Directory && into.kind == Kind::Directory
}

/// Whether two directories differ in their times at most.
fn look_alike(from: &Directory, into: &Directory) -> Result<bool, Errno> {
    let (one, other) = (from.entry(c".")?, into.entry(c".")?);
    Ok((one.mode, one.uid, one.gid) == (other.mode, other.uid, other.gid)
        && attributes(from, c".")? == attributes(into, c".")?)
}
