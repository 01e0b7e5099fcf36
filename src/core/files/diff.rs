//! What is different between two copies of one path: what came, went and
//! changed, and how much of it.
//!
//! Pure: `crate::edge::tree` reads the copies, and tells of their contents,
//! attributes and targets.

use crate::core::files::entry::{Entry, Kind};
use serde::Serialize;

/// Something in which two copies of a path differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Aspect {
    /// One is a file, the other something else, or so.
    Kind,
    /// The size of a file.
    Size,
    /// When a file was modified.
    Mtime,
    /// The bytes of a file, where they were compared.
    Content,
    /// Where a symlink points to.
    Target,
    /// Which device a device file stands for.
    Device,
    /// Permissions.
    Mode,
    /// The owner.
    Owner,
    /// The group.
    Group,
    /// Access control lists.
    Acl,
    /// Extended attributes.
    Xattrs,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It came.
    Added,
    /// It went.
    Removed,
    /// It became another kind of thing.
    Kind,
    /// What is in it changed, as far as can be told.
    Content,
    /// Only what is said about it changed.
    Metadata,
}

impl Change {
    /// The letter before a path.
    pub fn letter(self) -> char {
        match self {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Kind => 'T',
            Change::Content => 'M',
            Change::Metadata => 'm',
        }
    }
}

/// One path's difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only the new copy has it.
    Added(Entry),
    /// Only the old copy has it.
    Removed(Entry),
    /// Both have it.
    Changed {
        /// As the old copy has it.
        old: Entry,
        /// As the new copy has it.
        new: Entry,
        /// In what they differ; not empty.
        aspects: Vec<Aspect>,
        /// The bytes were compared, and are the same.
        same_bytes: bool,
    },
}

impl Difference {
    /// What became of the path.
    pub fn change(&self) -> Change {
        use Aspect::{Content, Device, Mtime, Size, Target};
        match self {
            Difference::Added(_) => Change::Added,
            Difference::Removed(_) => Change::Removed,
            Difference::Changed { aspects, .. } if aspects.contains(&Aspect::Kind) => Change::Kind,
            Difference::Changed { aspects, same_bytes, .. } => {
                let content = |aspect: &Aspect| match aspect {
                    Size | Content | Target | Device => true,
                    Mtime => !same_bytes,
                    _ => false,
                };
                if aspects.iter().any(content) { Change::Content } else { Change::Metadata }
            }
        }
    }

    /// The old and the new copy.
    pub fn sides(&self) -> (Option<&Entry>, Option<&Entry>) {
        match self {
            Difference::Added(new) => (None, Some(new)),
            Difference::Removed(old) => (Some(old), None),
            Difference::Changed { old, new, .. } => (Some(old), Some(new)),
        }
    }
}

/// In what two copies of a path differ, as far as their entries tell: not what
/// takes a look at the bytes, at a target or at attributes. Times of what is no
/// file say nothing that its content does not.
pub fn aspects(old: &Entry, new: &Entry) -> Vec<Aspect> {
    if old.kind != new.kind {
        return vec![Aspect::Kind];
    }
    let file = old.kind == Kind::File;
    let device = matches!(old.kind, Kind::Block | Kind::Character);
    // A symlink has no permissions of its own.
    let mode = old.kind != Kind::Symlink;
    [
        (Aspect::Size, file && old.size != new.size),
        (Aspect::Mtime, file && old.mtime != new.mtime),
        (Aspect::Device, device && old.special != new.special),
        (Aspect::Mode, mode && old.mode != new.mode),
        (Aspect::Owner, old.uid != new.uid),
        (Aspect::Group, old.gid != new.gid),
    ]
    .into_iter()
    .filter_map(|(aspect, differs)| differs.then_some(aspect))
    .collect()
}

/// How much there is of one sort of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Amount {
    /// How many files, links and so on.
    pub files: u64,
    /// How many directories.
    pub directories: u64,
    /// What the files hold, in bytes, each name counted by itself; of what
    /// changed, the new copy.
    pub bytes: u64,
}

/// How much came, went and changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// What came.
    pub added: Amount,
    /// What went.
    pub removed: Amount,
    /// What changed in content, or became another kind of thing.
    pub changed: Amount,
    /// What changed in what is said about it alone.
    pub metadata: Amount,
}

impl Totals {
    /// Counts a difference.
    pub fn add(&mut self, difference: &Difference) {
        let amount = match difference.change() {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Kind | Change::Content => &mut self.changed,
            Change::Metadata => &mut self.metadata,
        };
        let entry = match difference {
            Difference::Added(entry) | Difference::Removed(entry) => entry,
            Difference::Changed { new, .. } => new,
        };
        match entry.kind {
            Kind::Directory => amount.directories += 1,
            _ => amount.files += 1,
        }
        if entry.kind == Kind::File {
            amount.bytes = amount.bytes.saturating_add(entry.size);
        }
    }

    /// Whether there are no differences.
    pub fn is_empty(&self) -> bool {
        *self == Totals::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::files::entry::{Moment, a_file};

    #[test]
    fn each_aspect_is_told_and_makes_its_change() {
        let file = a_file(1, 10, 100);
        let directory = Entry { kind: Kind::Directory, ..file };
        let link = Entry { kind: Kind::Symlink, ..file };
        let device = Entry { kind: Kind::Block, ..file };
        let mtime = Moment { seconds: 100, nanoseconds: 1 };
        for (old, new, expected, letter, reason) in [
            (file, Entry { size: 11, ..file }, &[Aspect::Size][..], 'M', "another size"),
            (file, Entry { mtime, ..file }, &[Aspect::Mtime], 'M', "a nanosecond later"),
            (file, Entry { mode: 0o600, ..file }, &[Aspect::Mode], 'm', "chmod"),
            (file, Entry { uid: 1, gid: 2, ..file }, &[Aspect::Owner, Aspect::Group], 'm', "chown"),
            (file, Entry { size: 11, mode: 0, ..file }, &[Aspect::Size, Aspect::Mode], 'M', "both"),
            (file, directory, &[Aspect::Kind], 'T', "all else follows from that"),
            (device, Entry { special: 1, ..device }, &[Aspect::Device], 'M', "another device"),
            (file, Entry { inode: 2, links: 2, ctime: mtime, ..file }, &[], ' ', "of no interest"),
            (directory, Entry { mtime, size: 8192, ..directory }, &[], ' ', "what is in it is told"),
            (link, Entry { mtime, mode: 0, size: 3, ..link }, &[], ' ', "its target is told"),
        ] {
            let aspects = aspects(&old, &new);
            assert_eq!(aspects, expected, "{reason}");
            if letter != ' ' {
                let difference = Difference::Changed { old, new, aspects, same_bytes: false };
                assert_eq!(difference.change().letter(), letter, "{reason}");
            }
        }
    }

    #[test]
    fn a_file_that_was_only_touched_has_not_changed_in_content() {
        let (old, new) = (a_file(1, 10, 100), a_file(2, 10, 200));
        let changed = |aspects: &[Aspect], same_bytes| {
            Difference::Changed { old, new, aspects: aspects.to_vec(), same_bytes }.change()
        };
        assert_eq!(changed(&[Aspect::Mtime], false), Change::Content, "nobody knows");
        assert_eq!(changed(&[Aspect::Mtime], true), Change::Metadata);
        assert_eq!(changed(&[Aspect::Content], false), Change::Content);
    }

    #[test]
    fn totals_count_files_directories_and_bytes() {
        let (small, big) = (a_file(1, 10, 100), a_file(2, 30, 200));
        let directory = Entry { kind: Kind::Directory, size: 4096, ..small };
        let mut totals = Totals::default();
        assert!(totals.is_empty());
        for difference in [
            Difference::Added(small),
            Difference::Added(directory),
            Difference::Removed(big),
            Difference::Changed { old: big, new: small, aspects: vec![Aspect::Size], same_bytes: false },
            Difference::Changed { old: big, new: big, aspects: vec![Aspect::Mode], same_bytes: false },
        ] {
            totals.add(&difference);
        }
        let amount = |files, directories, bytes| Amount { files, directories, bytes };
        assert_eq!(totals.added, amount(1, 1, 10));
        assert_eq!(totals.removed, amount(1, 0, 30));
        assert_eq!(totals.changed, amount(1, 0, 10));
        assert_eq!(totals.metadata, amount(1, 0, 30));
    }
}
