//! Trees of files on disk, read by strangers' rules: any name, any depth, any
//! number of files, and links that lead anywhere.
//!
//! Invariants: no symlink is followed below a tree's root; the call stack does
//! not grow with a tree's depth, nor does the number of open descriptors; names
//! are bytes. Nothing is written, and no time of access is set where the kernel
//! lets us.
//!
//! A tree is a snapshot, which may be removed while it is read. A store takes
//! it away by its root before it touches what is in it, so what was read is
//! whole if the root is still in its place afterwards:
//! [`Tree::is_in_place`] tells.
//!
//! Paths below a root are bytes, without a slash at either end; that of the root
//! is empty.
//!
//! Not known here: hosts, and what snapshots are worth.

mod compare;
mod content;
mod links;
mod merge_walk;
mod missing_entries;
mod search;
mod walk;

pub use compare::{CompareStats, Gone, Told, compare};
pub use merge_walk::{
    Afterwards, Ahead, Some10, Stopped, Strictness, Unlike, directories, look_ahead, look_back, now,
};
pub use missing_entries::{Gap, NoGaps, gaps};
pub use search::{Found, Searched, search};

use crate::core::files::LONGEST_PATH;
use crate::core::files::entry::{Entry, Kind, Moment};
use crate::core::format::text::printable_bytes;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, Stat};
use rustix::io::Errno;
use std::cell::Cell;
use std::ffi::CStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The room for what the kernel tells of a directory at once, in bytes.
const BLOCK: usize = 64 * 1024;

const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A tree by its root.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    root: Directory,
    inode: u64,
    /// Whether the kernel goes a whole path without following a symlink.
    goes_paths: Cell<bool>,
}

impl Tree {
    /// Opens the tree at this path, which must be a directory, not a symlink to
    /// one.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let fd = sparing_atime(READ | OFlags::DIRECTORY, |flags| {
            rustix::fs::openat(CWD, path, flags, Mode::empty())
        })?;
        let stat = rustix::fs::fstat(&fd)?;
        let root = Directory { fd, device: stat.st_dev };
        Ok(Tree { path: path.to_owned(), root, inode: stat.st_ino, goes_paths: Cell::new(true) })
    }

    /// The same tree, for another thread.
    fn twin(&self) -> Result<Self, Errno> {
        let root =
            Directory { fd: rustix::io::fcntl_dupfd_cloexec(&self.root.fd, 0)?, device: self.root.device };
        Ok(Tree { path: self.path.clone(), root, inode: self.inode, goes_paths: self.goes_paths.clone() })
    }

    /// Where its root is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path below its root as it is on disk, safe to print.
    pub fn display(&self, path: &[u8]) -> String {
        let root = printable_bytes(self.path.as_os_str().as_bytes());
        if path.is_empty() { root } else { format!("{root}/{}", printable_bytes(path)) }
    }

    /// Whether the root is still where it was when the tree was opened. If it
    /// is, nothing of the tree had been removed by then.
    pub fn is_in_place(&self) -> bool {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::statat(CWD, &self.path, flags)
            .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (self.root.device, self.inode))
    }

    /// Opens a directory by its path from the root.
    pub fn directory(&self, path: &[u8]) -> Result<Directory, Errno> {
        let mut at: Option<Directory> = None;
        let mut rest = path;
        while !rest.is_empty() {
            let base = at.as_ref().unwrap_or(&self.root);
            let (step, left) = split(rest, if self.goes_paths.get() { LONGEST_PATH } else { 0 });
            match base.below(step, self.goes_paths.get()) {
                // An old kernel, or one that may not be asked for it.
                Err(Errno::NOSYS | Errno::PERM) if self.goes_paths.get() => self.goes_paths.set(false),
                opened => {
                    at = Some(opened?);
                    rest = left;
                }
            }
        }
        match at {
            Some(directory) => Ok(directory),
            None => self.root.below(b".", false),
        }
    }

    /// What is at a path; `None` if nothing is.
    pub fn entry(&self, path: &[u8]) -> Result<Option<Entry>, Errno> {
        let (parent, name) = parent(path);
        match self.directory(parent).and_then(|parent| parent.entry(name)) {
            Err(error) if is_absent(error) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Where the symlink at a path points to.
    pub fn target(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let (parent, name) = parent(path);
        self.directory(parent)?.target(name)
    }

    /// The longest part of a path that exists, and what it is.
    pub fn nearest(&self, path: &[u8]) -> (Vec<u8>, Option<Kind>) {
        let mut path = path;
        loop {
            if let Ok(Some(entry)) = self.entry(path) {
                return (path.to_owned(), Some(entry.kind));
            }
            if path.is_empty() {
                return (Vec::new(), None);
            }
            path = parent(path).0;
        }
    }
}

/// The directory that a path lies in, and its name there; of the root, `.` in
/// itself.
fn parent(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None if path.is_empty() => (b"", b"."),
        None => (b"", path),
    }
}

/// As many whole components of a path as `longest` bytes hold, at least one;
/// and the rest.
fn split(path: &[u8], longest: usize) -> (&[u8], &[u8]) {
    if path.len() <= longest {
        return (path, b"");
    }
    let within = path[..=longest].iter().rposition(|byte| *byte == b'/');
    match within.or_else(|| path.iter().position(|byte| *byte == b'/')) {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (path, b""),
    }
}

/// Whether an error says that there is no such path, or that it leads through
/// something that is no directory.
fn is_absent(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG)
}

/// Opens something without a mark that it was read; only its owner may.
fn sparing_atime(flags: OFlags, open: impl Fn(OFlags) -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        opened => opened,
    }
}

/// An open directory of a tree.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    device: u64,
}

impl Directory {
    /// The number of the filesystem that it is on.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Opens a directory in this one.
    pub fn directory(&self, name: &[u8]) -> Result<Self, Errno> {
        self.below(name, false)
    }

    fn below(&self, path: &[u8], is_path: bool) -> Result<Self, Errno> {
        let no_way_out = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = sparing_atime(READ | OFlags::DIRECTORY, |flags| {
            if is_path {
                rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), no_way_out)
            } else {
                rustix::fs::openat(&self.fd, path, flags, Mode::empty())
            }
        })?;
        let device = rustix::fs::fstat(&fd)?.st_dev;
        Ok(Directory { fd, device })
    }

    /// Looks at an entry, not at what a symlink points to.
    pub fn entry<N: rustix::path::Arg>(&self, name: N) -> Result<Entry, Errno> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| entry(&stat))
    }

    /// Where a symlink points to.
    pub fn target<N: rustix::path::Arg>(&self, name: N) -> Result<Vec<u8>, Errno> {
        rustix::fs::readlinkat(&self.fd, name, Vec::new()).map(std::ffi::CString::into_bytes)
    }

    /// Opens a regular file; `INVAL` if it is none.
    pub fn file(&self, name: &CStr) -> Result<File, Errno> {
        // Not to be kept by a pipe that was put there this moment.
        let fd = sparing_atime(READ | OFlags::NONBLOCK, |flags| {
            rustix::fs::openat(&self.fd, name, flags, Mode::empty())
        })?;
        match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
            FileType::RegularFile => Ok(File::from(fd)),
            _ => Err(Errno::INVAL),
        }
    }

    /// Reads the names that are wanted into a listing, in the place of what is
    /// there, as far as its part goes. What is wanted is said by name, and by
    /// kind where the filesystem tells it; every name is asked for. What an error
    /// leaves in the listing is not all.
    pub fn list(
        &self,
        listing: &mut Listing,
        mut wanted: impl FnMut(&[u8], Option<Kind>) -> bool,
    ) -> Result<(), Errno> {
        listing.clear();
        // From the beginning, though it was read before.
        rustix::fs::seek(&self.fd, SeekFrom::Start(0))?;
        let mut block = std::mem::take(&mut listing.block);
        block.reserve(BLOCK);
        let mut entries = RawDir::new(&self.fd, block.spare_capacity_mut());
        let result = loop {
            let entry = match entries.next() {
                None => break Ok(()),
                Some(Err(error)) => break Err(error),
                Some(Ok(entry)) => entry,
            };
            let name = entry.file_name();
            let kind = kind(entry.file_type());
            if !matches!(name.to_bytes(), b"." | b"..") && wanted(name.to_bytes(), kind) {
                listing.push(name, kind, entry.ino());
            }
        };
        listing.block = block;
        result
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn kind(kind: FileType) -> Option<Kind> {
    Some(match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::BlockDevice => Kind::Block,
        FileType::CharacterDevice => Kind::Character,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::Unknown => return None,
    })
}

fn entry(stat: &Stat) -> Entry {
    // The kernel keeps nanoseconds below 1,000,000,000.
    let moment = |seconds, nanoseconds| Moment { seconds, nanoseconds };
    let nanoseconds = |value: u64| u32::try_from(value).unwrap_or_default();
    #[allow(clippy::useless_conversion, reason = "not every machine has as wide a count")]
    let links = u64::from(stat.st_nlink);
    Entry {
        kind: kind(FileType::from_raw_mode(stat.st_mode)).unwrap_or(Kind::Socket),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        links,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime: moment(stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
        ctime: moment(stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        inode: stat.st_ino,
        device: stat.st_dev,
        special: stat.st_rdev,
    }
}

/// Names of one directory; used again for the next, so that nothing is
/// allocated a file.
///
/// A directory with more names than it takes is listed a part at a time: the
/// names that sort first, and after [`Listing::go_on`] those that follow.
#[derive(Debug)]
pub struct Listing {
    bytes: Vec<u8>,
    names: Vec<Listed>,
    block: Vec<u8>,
    /// How many names it takes, of a directory that has twice as many.
    most: usize,
    /// Names up to this one have been there.
    after: Option<Box<[u8]>>,
    /// Names after this one are for the next part.
    until: Option<Box<[u8]>>,
}

/// As many names of a directory as are in memory at once, and half of those that
/// may be. Tests have huge directories that are small.
const MOST_NAMES: usize = if cfg!(test) { 8 } else { 100_000 };

impl Default for Listing {
    fn default() -> Self {
        Listing::of_most(MOST_NAMES)
    }
}

/// One name in a [`Listing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    start: usize,
    /// With the NUL at its end.
    length: usize,
    /// What it is, if the filesystem tells.
    pub kind: Option<Kind>,
    /// The inode's number as the directory tells it. On most filesystems, and
    /// not on all, it is the one that the entry tells.
    pub inode: u64,
}

impl Listing {
    fn of_most(most: usize) -> Self {
        let (bytes, names, block) = (Vec::new(), Vec::new(), Vec::new());
        Listing { bytes, names, block, most, after: None, until: None }
    }

    /// A listing of this one name, of which nothing is known.
    pub fn only(&mut self, name: &CStr) {
        self.clear();
        self.push(name, None, 0);
    }

    /// Begins with the first part of another directory.
    pub fn begin(&mut self) {
        (self.after, self.until) = (None, None);
    }

    /// Whether names up to this one alone are listed, those of all listings of
    /// the directory since its part was begun; `None` if all are.
    pub fn until(&self) -> Option<&[u8]> {
        self.until.as_deref()
    }

    /// Leaves names after this one for the next part.
    pub fn stop_at(&mut self, name: &[u8]) {
        self.until = Some(name.into());
    }

    /// Goes on with the next part of the directory, if there is one.
    pub fn go_on(&mut self) -> bool {
        self.after = self.until.take();
        self.after.is_some()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.names.clear();
    }

    fn push(&mut self, name: &CStr, kind: Option<Kind>, inode: u64) {
        if self.after.as_deref().is_some_and(|after| name.to_bytes() <= after)
            || self.until.as_deref().is_some_and(|until| name.to_bytes() > until)
        {
            return;
        }
        let name = name.to_bytes_with_nul();
        self.names.push(Listed { start: self.bytes.len(), length: name.len(), kind, inode });
        self.bytes.extend_from_slice(name);
        if self.names.len() >= self.most.saturating_mul(2) {
            self.shorten();
        }
    }

    /// Keeps the names that sort first, and leaves the others for the next part.
    fn shorten(&mut self) {
        let Listing { bytes, names, .. } = self;
        let name = |listed: &Listed| &bytes[listed.start..listed.start + listed.length];
        names.select_nth_unstable_by(self.most - 1, |a, b| name(a).cmp(name(b)));
        names.truncate(self.most);
        let mut kept = Vec::with_capacity(bytes.len());
        for listed in names.iter_mut() {
            let start = kept.len();
            kept.extend_from_slice(name(listed));
            listed.start = start;
        }
        self.bytes = kept;
        self.until = self.names.last().map(|last| self.name(last).to_bytes().into());
    }

    /// Sorts the names by their bytes.
    pub fn sort(&mut self) {
        let Listing { bytes, names, .. } = self;
        let name = |listed: &Listed| &bytes[listed.start..listed.start + listed.length];
        names.sort_unstable_by(|a, b| name(a).cmp(name(b)));
    }

    /// What was listed.
    pub fn names(&self) -> &[Listed] {
        &self.names
    }

    /// The name of one that was listed.
    pub fn name(&self, listed: &Listed) -> &CStr {
        CStr::from_bytes_with_nul(&self.bytes[listed.start..listed.start + listed.length]).unwrap_or(c"")
    }
}

#[cfg(test)]
mod tests;
