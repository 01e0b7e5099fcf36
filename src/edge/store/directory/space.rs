//! What a tree holds that nothing else does.
//!
//! Trees share files as hard links, so a file is a tree's own if as many of its
//! names are met in the tree as it has. Memory grows with the files of one tree
//! that have more names than were met so far; symlinks are not followed.

use super::super::shown;
use super::list;
use super::place::Place;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The bytes that each of a host's trees alone holds, until `stop` is set. A
/// tree that cannot be read to its end is left out, with a warning unless it
/// has gone meanwhile.
pub(super) fn of_each(place: &Place, stop: &AtomicBool) -> io::Result<BTreeMap<String, u64>> {
    let mut space = BTreeMap::new();
    for name in list::trees(place)? {
        let tree = place.tree(&name);
        match own(&tree, stop) {
            Ok(bytes) => {
                space.insert(name, bytes);
            }
            Err(Errno::NOENT) => {}
            Err(Errno::CANCELED) => break,
            Err(error) => {
                tracing::warn!("cannot say what `{}` alone holds: {error}", shown(&tree));
            }
        }
    }
    Ok(space)
}

/// The bytes of disk that would be free without this tree.
fn own(tree: &Path, stop: &AtomicBool) -> rustix::io::Result<u64> {
    let top = rustix::fs::openat(CWD, tree, DIRECTORY, Mode::empty())?;
    let mut sum = Sum { bytes: allocated(&rustix::fs::fstat(&top)?), met: HashMap::new() };
    // One descriptor a level.
    let mut open = vec![Dir::new(top)?];
    while let Some(dir) = open.last_mut() {
        if stop.load(Ordering::Relaxed) {
            return Err(Errno::CANCELED);
        }
        let Some(entry) = dir.next() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let fd = dir.fd()?;
        let stat = rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            sum.bytes += allocated(&stat);
            let below = below(dir, name)?;
            open.push(Dir::new(below)?);
        } else {
            sum.meet(&stat);
        }
    }
    Ok(sum.bytes)
}

fn below(dir: &Dir, name: &CStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(dir.fd()?, name, DIRECTORY, Mode::empty())
}

/// Bytes; the kernel counts blocks of 512, whatever the filesystem's are.
fn allocated(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default() * 512
}

struct Sum {
    bytes: u64,
    /// By inode, how many names of a file were met, while there are others.
    met: HashMap<u64, u64>,
}

impl Sum {
    fn meet(&mut self, stat: &Stat) {
        let names = stat.st_nlink;
        if names > 1 {
            let met = self.met.entry(stat.st_ino).or_default();
            *met += 1;
            if *met < names {
                return;
            }
            self.met.remove(&stat.st_ino);
        }
        self.bytes += allocated(stat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const MIB: u64 = 1 << 20;
    static GO_ON: AtomicBool = AtomicBool::new(false);

    /// Two trees of a host, and what each alone holds, in whole MiB.
    fn measured(fill: impl FnOnce(&Path, &Path)) -> (u64, u64) {
        let dir = tempfile::tempdir().unwrap();
        let host = "vpn".parse().unwrap();
        let place = Place::new(dir.path(), &host);
        let (a, b) = (place.tree("a"), place.tree("b"));
        fs::create_dir_all(a.join("sub")).unwrap();
        fs::create_dir_all(b.join("sub")).unwrap();
        fill(&a, &b);
        let space = of_each(&place, &GO_ON).unwrap();
        // Directories take a block or none, as the filesystem has it.
        (space["a"] / MIB, space["b"] / MIB)
    }

    fn file(path: &Path, mib: u8) {
        fs::write(path, vec![7; usize::from(mib) << 20]).unwrap();
    }

    #[test]
    fn a_file_is_a_trees_own_if_all_its_names_are_in_it() {
        let own = measured(|a, b| {
            file(&a.join("only"), 1);
            file(&a.join("sub/shared"), 2);
            fs::hard_link(a.join("sub/shared"), b.join("sub/shared")).unwrap();
            file(&b.join("twice"), 4);
            fs::hard_link(b.join("twice"), b.join("sub/again")).unwrap();
            file(&b.join("thrice"), 8);
            fs::hard_link(b.join("thrice"), b.join("sub/thrice")).unwrap();
            fs::hard_link(b.join("thrice"), a.join("moved")).unwrap();
        });
        assert_eq!(own, (1, 4));
    }

    #[test]
    fn a_name_outside_the_trees_counts_and_a_symlink_leads_nowhere() {
        let own = measured(|a, b| {
            file(&a.join("kept"), 1);
            fs::hard_link(a.join("kept"), a.join("../../elsewhere")).unwrap();
            symlink(b, a.join("link")).unwrap();
            symlink("/", a.join("sub/root")).unwrap();
            file(&b.join("x"), 1);
        });
        assert_eq!(own, (0, 1));
    }

    #[test]
    fn holes_take_no_space() {
        let own = measured(|a, _| {
            fs::File::create(a.join("sparse")).unwrap().set_len(1 << 40).unwrap();
            file(&a.join("data"), 1);
        });
        assert_eq!(own, (1, 0));
    }

    #[test]
    fn a_tree_that_goes_meanwhile_is_left_out_and_a_stop_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(own(&dir.path().join("gone"), &GO_ON), Err(Errno::NOENT));
        assert_eq!(own(dir.path(), &AtomicBool::new(true)), Err(Errno::CANCELED));
    }
}
