//! What is in files: sums of their bytes, comparisons, extended attributes.

use super::Directory;
use crate::core::files::versions::Sum;
use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

/// How much of a file is read at once, in bytes.
const PIECE: usize = 256 * 1024;

/// Room to read in, used again from file to file.
#[derive(Default)]
pub(super) struct Reader {
    one: Vec<u8>,
    other: Vec<u8>,
}

impl Reader {
    /// The sum of a file's bytes.
    pub(super) fn sum(&mut self, directory: &Directory, name: &CStr) -> Result<Sum, Errno> {
        self.one.resize(PIECE, 0);
        let mut file = directory.file(name)?;
        let mut sum = Sha256::new();
        loop {
            match filled(&mut file, &mut self.one)? {
                0 => return Ok(sum.finalize().into()),
                length => sum.update(&self.one[..length]),
            }
        }
    }

    /// How alike two files of a size are. Small ones, of which there are many,
    /// are read in one call.
    pub(super) fn alike(
        &mut self,
        old: &Directory,
        new: &Directory,
        name: &CStr,
        size: u64,
    ) -> Result<Alike, Errno> {
        self.one.resize(PIECE, 0);
        self.other.resize(PIECE, 0);
        let (mut old, mut new) = (old.file(name)?, new.file(name)?);
        let mut left = size;
        let mut same = true;
        while same && left > 0 {
            let piece = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let (one, other) = (&mut self.one[..piece], &mut self.other[..piece]);
            same = filled(&mut old, one)? == piece && filled(&mut new, other)? == piece && one == other;
            left -= piece as u64;
        }
        let bare = |file: &File| matches!(rustix::fs::flistxattr(file, &mut [0_u8; 0][..]), Ok(0));
        Ok(Alike { same, plain: bare(&old) && bare(&new) })
    }

    /// Whether a file's bytes are the same in two directories.
    pub(super) fn same(&mut self, old: &Directory, new: &Directory, name: &CStr) -> Result<bool, Errno> {
        self.one.resize(PIECE, 0);
        self.other.resize(PIECE, 0);
        let (mut old, mut new) = (old.file(name)?, new.file(name)?);
        loop {
            let length = filled(&mut old, &mut self.one)?;
            if length != filled(&mut new, &mut self.other)? || self.one[..length] != self.other[..length] {
                return Ok(false);
            }
            if length == 0 {
                return Ok(true);
            }
        }
    }
}

/// How alike two files are.
pub(super) struct Alike {
    /// Whether their bytes are the same.
    pub(super) same: bool,
    /// Whether neither has extended attributes.
    pub(super) plain: bool,
}

/// Reads until the room is filled or the file ends.
fn filled(file: &mut File, room: &mut [u8]) -> Result<usize, Errno> {
    let mut length = 0;
    while length < room.len() {
        match file.read(&mut room[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
    Ok(length)
}

/// The extended attributes of an entry, access control lists among them. A
/// filesystem that has none gives none.
pub(super) fn attributes(directory: &Directory, name: &CStr) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    // No call takes a directory and a name, and an entry that is no file cannot
    // be opened.
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let path = std::ffi::OsStr::from_bytes(&path);
    match rustix::fs::llistxattr_query(path) {
        Ok(0) => return Ok(BTreeMap::new()),
        Ok(_) => {}
        Err(error) => return none_where_unknown(error),
    }
    let mut names = vec![0; 1024];
    let length = loop {
        match rustix::fs::llistxattr(path, &mut names[..]) {
            Ok(length) => break length,
            Err(Errno::RANGE) if names.len() < 1 << 20 => names.resize(names.len() * 4, 0),
            Err(error) => return none_where_unknown(error),
        }
    };
    let mut attributes = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 256];
        loop {
            match rustix::fs::lgetxattr(path, name, &mut value[..]) {
                Ok(length) => {
                    value.truncate(length);
                    attributes.insert(name.to_owned(), value);
                    break;
                }
                Err(Errno::RANGE) if value.len() < 1 << 20 => value.resize(value.len() * 4, 0),
                Err(Errno::NODATA) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(attributes)
}

fn none_where_unknown<T: Default>(error: Errno) -> Result<T, Errno> {
    match error {
        Errno::OPNOTSUPP | Errno::NOSYS => Ok(T::default()),
        error => Err(error),
    }
}

/// Whether an attribute of this name is an access control list.
pub(super) fn is_acl(name: &[u8]) -> bool {
    name.starts_with(b"system.") && name.windows(3).any(|part| part == b"acl")
}
