//! The versions of one file over a host's snapshots.
//!
//! Two copies are one version if they are of one kind, size and time of
//! modification: what rsync, too, takes to be unchanged. Where contents were
//! hashed they alone decide, and a file that was only touched is one version.
//! A directory is one version, whatever is in it. Modes and owners make no
//! versions: `backup diff` shows those.
//!
//! Snapshots are told apart by their numbers, oldest first; who they are is not
//! known here.

use crate::core::files::entry::{Entry, Kind, Moment};

/// A SHA-256 sum.
pub type Sum = [u8; 32];

/// One version of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes; see [`Kind::has_size`].
    pub size: u64,
    /// When it was modified; of copies that differ in that alone, the newest.
    pub mtime: Moment,
    /// The number of the oldest snapshot that has it.
    pub first: u32,
    /// The number of the newest snapshot that has it.
    pub last: u32,
    /// How many snapshots have it: fewer than lie between the two where another
    /// version lies between.
    pub count: u32,
    /// What its content is, where that was asked for.
    pub sum: Option<Box<Sum>>,
    /// Where a symlink points to.
    pub target: Option<Box<[u8]>>,
    special: u64,
    /// The newest copy: its inode, filesystem and time of change.
    inode: u64,
    device: u64,
    ctime: Moment,
    /// The directory tells this inode's number too, so that the number alone is
    /// enough to know the file again.
    listed: bool,
}

/// All versions of one file, in the order in which they were first seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions(Vec<Version>);

impl Versions {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Newest first: by the newest snapshot that has each.
    pub fn newest_first(mut self) -> Vec<Version> {
        self.0.sort_by_key(|version| std::cmp::Reverse((version.last, version.first)));
        self.0
    }

    /// Takes another snapshot's copy by what its directory tells, the number of
    /// an inode on a filesystem, if that is a file that is known by its number.
    /// `false` if it must be looked at.
    pub fn saw_again(&mut self, snapshot: u32, inode: u64, device: u64) -> bool {
        let known =
            |version: &&mut Version| version.listed && version.inode == inode && version.device == device;
        match self.0.iter_mut().rev().find(known) {
            Some(version) => {
                version.saw(snapshot);
                true
            }
            None => false,
        }
    }

    /// The version that surely has the content of this entry, without a look at
    /// it.
    pub fn same_file(&mut self, entry: &Entry) -> Option<&mut Version> {
        self.0.iter_mut().rev().find(|version| version.is_same_file(entry))
    }

    /// The version that this entry is of, if one is known. `sum` is that of its
    /// content, where contents decide.
    pub fn like(&mut self, entry: &Entry, sum: Option<&Sum>) -> Option<&mut Version> {
        self.0.iter_mut().rev().find(|version| match (&version.sum, sum) {
            (Some(own), Some(sum)) => **own == *sum && version.kind == entry.kind,
            (None, None) => version.is_like(entry),
            _ => false,
        })
    }

    /// Adds a version that a snapshot is the first to have. `listed`: the
    /// directory gave the entry's inode and filesystem as they are.
    pub fn add(&mut self, snapshot: u32, entry: &Entry, listed: bool, sum: Option<Sum>) -> &mut Version {
        // Most files have one version, and there may be millions of them.
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(self.0.len().max(1));
        }
        let at = self.0.len();
        self.0.push(Version {
            kind: entry.kind,
            size: entry.size,
            mtime: entry.mtime,
            first: snapshot,
            last: snapshot,
            count: 1,
            sum: sum.map(Box::new),
            target: None,
            special: entry.special,
            inode: entry.inode,
            device: entry.device,
            ctime: entry.ctime,
            listed,
        });
        &mut self.0[at]
    }
}

impl Version {
    /// Another snapshot has it, in this shape.
    pub fn saw_as(&mut self, snapshot: u32, entry: &Entry, listed: bool) {
        self.saw(snapshot);
        self.mtime = self.mtime.max(entry.mtime);
        (self.inode, self.device, self.ctime) = (entry.inode, entry.device, entry.ctime);
        self.listed = listed;
    }

    fn saw(&mut self, snapshot: u32) {
        self.first = self.first.min(snapshot);
        self.last = self.last.max(snapshot);
        self.count += 1;
    }

    fn is_like(&self, entry: &Entry) -> bool {
        self.kind == entry.kind
            && match entry.kind {
                Kind::File | Kind::Symlink => (self.size, self.mtime) == (entry.size, entry.mtime),
                Kind::Block | Kind::Character => self.special == entry.special,
                Kind::Directory | Kind::Fifo | Kind::Socket => true,
            }
    }

    fn is_same_file(&self, entry: &Entry) -> bool {
        self.kind == entry.kind
            && self.inode == entry.inode
            && (self.device == entry.device || (self.ctime == entry.ctime && self.is_like(entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::files::entry::a_file;

    /// What a search does with each copy.
    fn take(versions: &mut Versions, snapshot: u32, entry: &Entry, sum: Option<Sum>) {
        match versions.like(entry, sum.as_ref()) {
            Some(version) => version.saw_as(snapshot, entry, true),
            None => {
                versions.add(snapshot, entry, true, sum);
            }
        }
    }

    fn spans(versions: Versions) -> Vec<(u64, u32, u32, u32)> {
        versions.newest_first().iter().map(|v| (v.size, v.first, v.last, v.count)).collect()
    }

    #[test]
    fn copies_of_one_size_and_time_are_one_version() {
        let mut versions = Versions::default();
        let (old, new) = (a_file(1, 10, 100), a_file(2, 20, 200));
        for (snapshot, entry) in [old, old, new, a_file(3, 10, 100), a_file(4, 20, 201)].iter().enumerate() {
            take(&mut versions, snapshot.try_into().unwrap(), entry, None);
        }
        assert_eq!(
            spans(versions),
            [(20, 4, 4, 1), (10, 0, 3, 3), (20, 2, 2, 1)],
            "the old one came back, and a time alone makes a version"
        );
    }

    #[test]
    fn where_contents_are_known_they_decide() {
        let mut versions = Versions::default();
        for (snapshot, entry, sum) in
            [(0, a_file(1, 10, 100), 1), (1, a_file(2, 10, 100), 2), (2, a_file(3, 10, 300), 1)]
        {
            take(&mut versions, snapshot, &entry, Some([sum; 32]));
        }
        let versions = versions.newest_first();
        assert_eq!(versions.len(), 2, "one size and time, and two contents");
        assert_eq!((versions[0].first, versions[0].last, versions[0].mtime.seconds), (0, 2, 300));
    }

    #[test]
    fn a_file_is_known_again_by_its_inode_where_that_is_enough() {
        let mut versions = Versions::default();
        let entry = a_file(7, 10, 100);
        versions.add(0, &entry, true, None);
        assert!(versions.saw_again(1, 7, 1));
        assert!(!versions.saw_again(2, 8, 1), "another inode");
        assert!(!versions.saw_again(2, 7, 2), "another filesystem");
        assert_eq!(spans(versions), [(10, 0, 1, 2)]);
        let mut versions = Versions::default();
        versions.add(0, &entry, false, None);
        assert!(!versions.saw_again(1, 7, 1), "a directory whose numbers are not those of the files");
    }

    #[test]
    fn a_file_is_the_same_in_another_snapshot_if_nobody_touched_it() {
        let mut versions = Versions::default();
        let entry = a_file(7, 10, 100);
        versions.add(0, &entry, true, None);
        assert!(versions.same_file(&Entry { device: 2, ..entry }).is_some());
        let touched = Moment { seconds: 101, nanoseconds: 0 };
        assert!(versions.same_file(&Entry { device: 2, ctime: touched, ..entry }).is_none());
        assert!(versions.same_file(&Entry { kind: Kind::Directory, ..entry }).is_none());
    }

    #[test]
    fn a_directory_is_one_version_whatever_becomes_of_it() {
        let mut versions = Versions::default();
        for (snapshot, seconds) in [(0, 100), (1, 300), (2, 200)] {
            let entry = Entry { kind: Kind::Directory, ..a_file(u64::from(snapshot), 4096, seconds) };
            take(&mut versions, snapshot, &entry, None);
        }
        let versions = versions.newest_first();
        assert_eq!((versions.len(), versions[0].count, versions[0].mtime.seconds), (1, 3, 300));
    }
}
