//! To what the store's filesystem keeps times. One that keeps whole seconds
//! (ext4 with inodes of 128 bytes, some network filesystems) shows it neither by
//! its type nor by its options: it is tried.

use super::super::{StoreError, shown};
use super::{failed, place::Place};
use crate::core::model::precision::{Precision, Time};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// The time that is tried: an odd second, for FAT keeps even ones alone.
const TRIED: Time = Time { seconds: 1_600_000_001, nanoseconds: 123_456_789 };

/// Tries it on a directory of ours, which has other times after that.
pub(super) fn tried_on(directory: &Path) -> Result<Precision, StoreError> {
    let time = Timespec { tv_sec: TRIED.seconds, tv_nsec: TRIED.nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, directory, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| failed("set the times of", directory)(error.into()))?;
    let meta = directory.symlink_metadata().map_err(failed("look at", directory))?;
    Precision::of(TRIED, modified(&meta)).ok_or_else(|| {
        StoreError::new(format!("the filesystem of `{}` does not keep times to the second", shown(directory)))
            .hint("unchanged files could not be told: use a disk with ext4, XFS, btrfs or ZFS")
    })
}

/// Tries it on a directory in `parent` that is made for it and goes away again;
/// `None` where none can be made.
pub(super) fn tried_in(parent: &Path) -> Option<Result<Precision, StoreError>> {
    let directory = parent.join(".times");
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
        _ => {}
    }
    let precision = tried_on(&directory);
    // Another `check` may have been faster.
    let _ = fs::remove_dir(&directory);
    Some(precision)
}

/// To what the times of a snapshot's files are kept, seen from the facts beside it:
/// the kernel dated that file, and a time in whole seconds is no accident.
pub(super) fn of_snapshot(place: &Place, name: &str) -> Precision {
    match place.facts(name).symlink_metadata() {
        Ok(facts) if modified(&facts).nanoseconds == 0 => Precision::Seconds,
        _ => Precision::Nanoseconds,
    }
}

fn modified(meta: &Metadata) -> Time {
    Time { seconds: meta.mtime(), nanoseconds: meta.mtime_nsec() }
}
