//! File capabilities that rsync loses on the way into a fresh tree.
//!
//! A file whose contents are those of a former copy (`--link-dest`), and whose
//! owner, group, mode or ACL are not, is copied from there by rsync, with its
//! extended attributes, and only then given to its owner. The kernel takes
//! `security.capability` from a file that gets another owner, and rsync, for
//! which the attributes were the host's, does not look again. They are put back
//! from that former copy (docs/decisions/0023-attributes-of-a-copy.md).
//!
//! Invariants: nothing outside of the trees is read or written, whatever is
//! called how (no symlink is followed); no file that a snapshot shares is
//! touched, for rsync has just made those that it told of.

use super::compare::unescaped;
use super::lines::Lines;
use crate::core::format::text::printable_bytes;
use crate::core::model::precision::{Precision, Time};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The attribute.
const CAPABILITY: &str = "security.capability";
/// More than the kernel lets it have, in bytes: `struct vfs_ns_cap_data` has 24.
const LONGEST: usize = 256;
/// What rsync is to tell, and how many bytes of flags begin its lines; see
/// `--itemize-changes` in rsync(1).
pub(super) const FORMAT: &str = "--out-format=%i %n";
const FLAGS: usize = 11;
/// A line longer than this is none of rsync's, in bytes: each byte of a path may
/// be told as five.
const LONGEST_LINE: usize = 5 * 4096 + 64;

/// Reads from what rsync tells ([`FORMAT`]) which files it copied from a former
/// copy.
#[derive(Debug, Default)]
pub(super) struct Reader {
    lines: Lines<LONGEST_LINE>,
    paths: Vec<Vec<u8>>,
}

impl Reader {
    /// Takes more output.
    pub(super) fn take(&mut self, mut chunk: &[u8]) {
        while let Some(line) = self.lines.next(&mut chunk) {
            self.paths.extend(copied_here(&line));
        }
    }

    /// The paths below the source, and below the copy.
    pub(super) fn paths(self) -> Vec<Vec<u8>> {
        self.paths
    }
}

/// The path of a regular file that was copied on this side and whose attributes
/// were found to be the host's: `cf....o.... usr/bin/ping`. Where they were not
/// (`x`), rsync sets them once more, at the very end.
fn copied_here(line: &[u8]) -> Option<Vec<u8>> {
    let (flags, name) = line.split_at_checked(FLAGS)?;
    (flags.starts_with(b"cf") && !flags.ends_with(b"x")).then(|| name.strip_prefix(b" ").map(unescaped))?
}

/// Gives files of the copy the capabilities that they have in a former one.
/// Blocks.
///
/// # Errors
/// The first path that cannot be looked at, or given what it lacks, in words.
pub(super) fn put_back(
    copy: &Path,
    former: &[PathBuf],
    paths: &[Vec<u8>],
    precision: Precision,
) -> Result<u64, String> {
    let tree = |path: &Path| {
        let opened = File::open(path);
        opened.map_err(|error| {
            format!("cannot open `{}`: {error}", printable_bytes(path.as_os_str().as_bytes()))
        })
    };
    let copy = tree(copy)?;
    let former = former.iter().map(|path| tree(path)).collect::<Result<Vec<_>, _>>()?;
    let mut changed = 0;
    for path in paths {
        let given = give(&copy, &former, OsStr::from_bytes(path), precision);
        changed += u64::from(given.map_err(|error| {
            let path = printable_bytes(path);
            format!("the file capabilities of `{path}` cannot be kept: {error}")
        })?);
    }
    Ok(changed)
}

/// Whether a file had to be given its capabilities.
fn give(copy: &File, former: &[File], path: &OsStr, precision: Precision) -> io::Result<bool> {
    let (file, own) = regular(copy, path)?.ok_or(io::ErrorKind::NotFound)?;
    for tree in former {
        let Some((before, its)) = regular(tree, path)? else { continue };
        // The first of the same size and time is the one that rsync took.
        if own.st_size != its.st_size || !precision.is_same(time(&own), time(&its)) {
            continue;
        }
        let wanted = capability(&before)?;
        if wanted.is_none() || wanted == capability(&file)? {
            return Ok(false);
        }
        rustix::fs::fsetxattr(&file, CAPABILITY, &wanted.unwrap_or_default(), XattrFlags::empty())?;
        return Ok(true);
    }
    Ok(false)
}

/// A regular file below a tree, if there is one.
fn regular(tree: &File, path: &OsStr) -> io::Result<Option<(OwnedFd, Stat)>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(tree, path, flags, Mode::empty(), within) {
        // ENXIO: a socket, or a device that is not there.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
        opened => opened?,
    };
    let stat = rustix::fs::fstat(&file)?;
    Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some((file, stat)))
}

fn time(stat: &Stat) -> Time {
    Time { seconds: stat.st_mtime, nanoseconds: i64::try_from(stat.st_mtime_nsec).unwrap_or_default() }
}

fn capability(file: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    let mut value = [0; LONGEST];
    match rustix::fs::fgetxattr(file, CAPABILITY, &mut value[..]) {
        Ok(length) => Ok(Some(value[..length].to_vec())),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_copied_from_a_former_copy_with_its_attributes_is_looked_at() {
        for (line, path, why) in [
            ("cf....o.... usr/bin/ping", Some("usr/bin/ping"), "another owner"),
            ("cf.......a. a b\\#012c", Some("a b\nc"), "another ACL, and an odd name"),
            ("cf          many", Some("many"), "the file had as many links as it may have"),
            ("cf....o...x usr/bin/ping", None, "rsync sets its attributes at the end"),
            (">f.st...... etc/fstab", None, "sent"),
            ("hf+++++++++ etc/link => etc/fstab", None, "a name of another"),
            ("cd....o.... usr/", None, "a directory"),
            ("cL+++++++++ link -> x", None, "a symlink"),
            ("Number of files: 5", None, "a figure"),
            ("cf", None, "nothing"),
        ] {
            let mut reader = Reader::default();
            reader.take(format!("\r     12 0%\n{line}\n").as_bytes());
            let expected: Vec<Vec<u8>> = path.iter().map(|path| path.as_bytes().to_vec()).collect();
            assert_eq!(reader.paths(), expected, "{why}");
        }
    }
}
