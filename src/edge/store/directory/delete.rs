//! Deleting trees that strangers filled.
//!
//! Never follows a symlink, needs one file descriptor a level and a bounded
//! number of levels however deep a host nested its directories, and gets
//! through directories that their owner may not write. One file that cannot be
//! deleted keeps no other.

use crate::core::format::text::printable_bytes;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// How deep a walk goes. What lies deeper is moved up and deleted from there,
/// so that neither descriptors nor the stack run out.
const DEEPEST: usize = 30;
/// How deep it goes where there is no room to move anything up.
const DEEPEST_OF_ALL: usize = 400;
/// How many names of a directory are held in memory at once.
const BATCH: usize = 1024;

/// Deletes everything in a directory that can be deleted, until `stop` is set.
/// Fails with the first reason if something is left.
pub(super) fn empty(trash: &Path, stop: &AtomicBool) -> io::Result<()> {
    let top = match rustix::fs::openat(CWD, trash, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let walk = Walk { top: top.as_fd(), stop, stuck: RefCell::default() };
    walk.empty(top.as_fd(), 0)?;
    let Stuck { first: Some((name, error)), count } = walk.stuck.into_inner() else { return Ok(()) };
    let reason = io::Error::from(error);
    let more = if count > 1 { format!(", and {} more", count - 1) } else { String::new() };
    let name = printable_bytes(name.as_bytes());
    Err(io::Error::new(reason.kind(), format!("{reason}: `{name}`{more}")))
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Walk<'a> {
    /// Where what lies too deep is moved.
    top: BorrowedFd<'a>,
    stop: &'a AtomicBool,
    stuck: RefCell<Stuck>,
}

/// What could not be deleted.
#[derive(Default)]
struct Stuck {
    first: Option<(CString, Errno)>,
    count: usize,
}

impl Walk<'_> {
    /// Whether nothing is left in the directory.
    fn empty(&self, dir: BorrowedFd<'_>, depth: usize) -> rustix::io::Result<bool> {
        let mut left = HashSet::new();
        loop {
            let names = some_names(dir, &left)?;
            if names.is_empty() {
                return Ok(left.is_empty());
            }
            for name in names {
                let removed = self.remove(dir, &name, depth).or_else(|error| match error {
                    Errno::CANCELED | Errno::ROFS => Err(error),
                    error => {
                        let mut stuck = self.stuck.borrow_mut();
                        stuck.count += 1;
                        stuck.first.get_or_insert_with(|| (name.clone(), error));
                        Ok(false)
                    }
                })?;
                if !removed {
                    left.insert(name);
                }
            }
        }
    }

    /// Whether it is gone; if not, what is in it is stuck.
    fn remove(&self, parent: BorrowedFd<'_>, name: &CString, depth: usize) -> rustix::io::Result<bool> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Errno::CANCELED);
        }
        let refusal = match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            // Linux says EISDIR of a directory, POSIX allows EPERM.
            Err(refusal @ (Errno::ISDIR | Errno::PERM)) => refusal,
            Err(error) => return Err(error),
        };
        let dir = match open_writable(parent, name) {
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(refusal),
            opened => opened?,
        };
        if depth >= DEEPEST {
            let up = format!("deep-{}", rustix::fs::fstat(&dir)?.st_ino);
            match rustix::fs::renameat(parent, name, self.top, up) {
                Err(Errno::NOSPC | Errno::DQUOT) if depth < DEEPEST_OF_ALL => {}
                moved => return moved.map(|()| true),
            }
        }
        if !self.empty(dir.as_fd(), depth + 1)? {
            return Ok(false);
        }
        rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map(|()| true)
    }
}

/// Opens a directory, taking every right in it that its owner can give.
fn open_writable(parent: BorrowedFd<'_>, name: &CString) -> rustix::io::Result<OwnedFd> {
    let open = || rustix::fs::openat(parent, name, DIRECTORY, Mode::empty());
    let dir = match open() {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open()?
        }
        opened => opened?,
    };
    if !Mode::from_raw_mode(rustix::fs::fstat(&dir)?.st_mode).contains(Mode::RWXU) {
        rustix::fs::fchmod(&dir, Mode::RWXU)?;
    }
    Ok(dir)
}

/// Some names of a directory, without those that are known to stay.
fn some_names(dir: BorrowedFd<'_>, left: &HashSet<CString>) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") && !left.contains(name) {
            names.push(name.to_owned());
            if names.len() == BATCH {
                break;
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    static GO_ON: AtomicBool = AtomicBool::new(false);

    fn is_empty(dir: &Path) -> bool {
        fs::read_dir(dir).unwrap().next().is_none()
    }

    #[test]
    fn what_a_symlink_points_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, trash) = (dir.path().join("outside"), dir.path().join("trash"));
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(trash.join("tree/sub")).unwrap();
        fs::write(outside.join("precious"), "").unwrap();
        symlink(&outside, trash.join("tree/link")).unwrap();
        symlink(&outside, trash.join("link")).unwrap();
        symlink("/nowhere", trash.join("tree/sub/dangling")).unwrap();
        empty(&trash, &GO_ON).unwrap();
        assert!(is_empty(&trash));
        assert!(outside.join("precious").exists());
    }

    #[test]
    fn directories_without_rights_are_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("closed", 0o000), ("listed", 0o444), ("entered", 0o111), ("read", 0o555)] {
            let tree = dir.path().join("trash").join(name);
            fs::create_dir_all(tree.join("sub")).unwrap();
            fs::write(tree.join("sub/file"), "").unwrap();
            for part in ["sub", ""] {
                fs::set_permissions(tree.join(part), fs::Permissions::from_mode(mode)).unwrap();
            }
        }
        empty(&dir.path().join("trash"), &GO_ON).unwrap();
        assert!(is_empty(&dir.path().join("trash")));
    }

    #[test]
    fn a_tree_deeper_than_there_are_descriptors_goes_too() {
        let dir = tempfile::tempdir().unwrap();
        let mut at = rustix::fs::openat(CWD, dir.path(), DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        empty(dir.path(), &GO_ON).unwrap();
        assert!(is_empty(dir.path()));
    }

    #[test]
    fn more_names_than_a_batch_holds_all_go() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..(2 * BATCH + 7) {
            fs::write(dir.path().join(n.to_string()), "").unwrap();
        }
        empty(dir.path(), &GO_ON).unwrap();
        assert!(is_empty(dir.path()));
    }

    #[test]
    fn what_cannot_be_deleted_keeps_nothing_else() {
        use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join("trash").join(name);
        fs::create_dir_all(at("tree/sub")).unwrap();
        for name in ["tree/sub/stuck", "tree/sub/file", "tree/file", "other"] {
            fs::write(at(name), "").unwrap();
        }
        let stuck = fs::File::open(at("tree/sub/stuck")).unwrap();
        let flags = ioctl_getflags(&stuck).unwrap();
        ioctl_setflags(&stuck, flags | IFlags::IMMUTABLE).unwrap();
        let told = empty(&dir.path().join("trash"), &GO_ON).map_err(|error| error.to_string());
        ioctl_setflags(&stuck, flags).unwrap();
        assert_eq!(told, Err("Operation not permitted (os error 1): `stuck`".to_owned()));
        assert!(!at("other").exists() && !at("tree/file").exists() && !at("tree/sub/file").exists());
        empty(&dir.path().join("trash"), &GO_ON).unwrap();
        assert!(is_empty(&dir.path().join("trash")));
    }

    #[test]
    fn it_ends_when_told_to_and_a_missing_place_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(empty(dir.path(), &AtomicBool::new(true)).is_err());
        assert!(dir.path().join("file").exists());
        empty(&dir.path().join("missing"), &GO_ON).unwrap();
    }
}
