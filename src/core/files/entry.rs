//! What an entry of a directory is: its kind, size, times and owner; and
//! whether two of them, from two trees, are one and the same file.
//!
//! Not known here: where entries come from. `crate::edge::tree` reads them.

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

/// What kind of thing a name in a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink.
    Symlink,
    /// A block device.
    Block,
    /// A character device.
    Character,
    /// A named pipe.
    Fifo,
    /// A socket, or what no kernel knew when this was written.
    Socket,
}

impl Kind {
    /// The kind as JSON has it, for people.
    pub fn word(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Symlink => "symlink",
            Kind::Block => "block device",
            Kind::Character => "character device",
            Kind::Fifo => "fifo",
            Kind::Socket => "socket",
        }
    }

    /// Whether its size is that of its contents; that of a directory is the
    /// filesystem's own business.
    pub fn has_size(self) -> bool {
        matches!(self, Kind::File | Kind::Symlink)
    }
}

/// A time of a file, as exact as filesystems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment {
    /// Seconds since 1970, before it negative.
    pub seconds: i64,
    /// Nanoseconds after that second.
    pub nanoseconds: u32,
}

impl Moment {
    /// The same as a date; `None` if no calendar goes so far.
    pub fn time(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(self.seconds, self.nanoseconds)
    }
}

/// In JSON a time to the second, in UTC; null where no calendar goes so far.
impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.time() {
            Some(time) => serializer.serialize_str(&time.format("%Y-%m-%dT%H:%M:%SZ").to_string()),
            None => serializer.serialize_none(),
        }
    }
}

/// One entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its permissions with the set-id and sticky bits: `0o7777` at most.
    pub mode: u32,
    /// Its owner's number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
    /// How many names it has.
    pub links: u64,
    /// Its size in bytes; see [`Kind::has_size`].
    pub size: u64,
    /// When its contents were last changed.
    pub mtime: Moment,
    /// When anything of it was last changed, as its filesystem saw it.
    pub ctime: Moment,
    /// Its inode's number.
    pub inode: u64,
    /// The number of the filesystem that it is on.
    pub device: u64,
    /// Of a device file, the device that it stands for.
    pub special: u64,
}

impl Entry {
    /// Whether two entries, of the same path in two snapshots, are surely one
    /// file that nobody has touched in between: a hard link to the same inode,
    /// or, on two snapshots of one dataset, the same inode with the same time
    /// of change. `false` says nothing.
    pub fn is_same_file(&self, other: &Entry) -> bool {
        self.inode == other.inode
            && self.kind == other.kind
            && (self.device == other.device
                || (self.ctime, self.mtime, self.size) == (other.ctime, other.mtime, other.size))
    }
}

/// Entries for the tests of this module and of those that build on it.
#[cfg(test)]
pub(crate) fn a_file(inode: u64, size: u64, seconds: i64) -> Entry {
    let mtime = Moment { seconds, nanoseconds: 0 };
    Entry {
        kind: Kind::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
        links: 1,
        size,
        mtime,
        ctime: mtime,
        inode,
        device: 1,
        special: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_told_from_another() {
        let file = a_file(7, 100, 1000);
        let later = Moment { seconds: 2000, nanoseconds: 0 };
        for (other, same, reason) in [
            (file, true, "a hard link"),
            (Entry { inode: 8, ..file }, false, "another inode of the same filesystem"),
            (Entry { device: 2, ..file }, true, "the same inode in another snapshot"),
            (Entry { device: 2, inode: 8, ..file }, false, "another inode in another snapshot"),
            (Entry { device: 2, ctime: later, ..file }, false, "touched between two snapshots"),
            (Entry { device: 2, size: 1, ..file }, false, "an inode's number that was used again"),
            (Entry { kind: Kind::Fifo, ..file }, false, "a filesystem whose numbers mean nothing"),
        ] {
            assert_eq!(file.is_same_file(&other), same, "{reason}");
        }
    }

    #[test]
    fn times_are_told_to_the_second_and_impossible_ones_are_null() {
        let json = |seconds| serde_json::to_string(&Moment { seconds, nanoseconds: 999 }).unwrap();
        assert_eq!(json(0), "\"1970-01-01T00:00:00Z\"");
        assert_eq!(json(-1), "\"1969-12-31T23:59:59Z\"");
        assert_eq!(json(i64::MAX), "null");
    }
}
