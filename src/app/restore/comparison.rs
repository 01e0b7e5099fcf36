//! How what was written compares with the snapshot.

use super::destination::Wanted;
use crate::core::files::diff::Aspect;
use crate::edge::rsync::{Existing, RestorePreview};
use crate::edge::tree::{Afterwards, Unlike};
use serde::Serialize;

/// How many of the paths that differ are named.
const NAMED: usize = 10;

/// How what was written compares with the snapshot.
#[derive(Debug, Default)]
pub struct RestoreComparison {
    /// Everything that is no directory.
    pub files: u64,
    /// Bytes in files, each once.
    pub bytes: u64,
    /// How many differ because they were there already and were left alone.
    pub left: u64,
    /// How many differ or are missing for other reasons.
    pub wrong: u64,
    /// What could not be read.
    pub unread: u64,
    /// The first of those that differ.
    pub first: Vec<Unequal>,
}

/// A path that is not as in the snapshot.
#[derive(Debug, Serialize)]
pub struct Unequal {
    /// The path on the host.
    pub path: String,
    /// `left` if it was there already and was left alone, `missing`, `different`,
    /// or `symlink` if it is a directory that was replaced by one meanwhile.
    pub state: &'static str,
    /// In what it differs, as far as known.
    pub differs: Vec<String>,
}

impl RestoreComparison {
    /// Whether all of it is as in the snapshot.
    pub fn is_identical(&self) -> bool {
        self.left == 0 && self.wrong == 0 && self.unread == 0
    }

    /// A directory that was to be written has become a symlink: what went there is
    /// somewhere else.
    pub(super) fn led_astray(&mut self, path: &[u8]) {
        self.wrong += 1;
        let (path, differs) = (crate::app::snapshot_view::lossy(path), vec!["kind".to_owned()]);
        self.first.insert(0, Unequal { path, state: "symlink", differs });
        self.first.truncate(NAMED);
    }
}

/// What rsync's last look says.
pub(super) fn far(overview: RestorePreview, wanted: &Wanted, directory_times: bool) -> RestoreComparison {
    let leaves = wanted.existing == Existing::Leave;
    let left = if leaves { overview.different } else { 0 };
    let folders = if directory_times { overview.unlike_directories } else { 0 };
    let wrong = overview.new + overview.different - left + folders;
    let state = if leaves && overview.new == 0 { "left" } else { "different" };
    let unequal = |path| Unequal { path, state, differs: Vec::new() };
    RestoreComparison {
        files: overview.entries.saturating_sub(overview.directories),
        bytes: overview.total_bytes,
        left,
        wrong,
        unread: overview.complaints.len() as u64,
        first: if left + wrong > 0 { overview.first.into_iter().map(unequal).collect() } else { Vec::new() },
    }
}

impl From<Afterwards> for RestoreComparison {
    fn from(after: Afterwards) -> Self {
        let wrong = after.wrong.first.iter().map(|unlike| {
            unequal(unlike, if unlike.aspects.is_empty() && !unlike.links { "missing" } else { "different" })
        });
        let left = after.left.first.iter().map(|unlike| unequal(unlike, "left"));
        RestoreComparison {
            files: after.files,
            bytes: after.bytes,
            left: after.left.count,
            wrong: after.wrong.count,
            unread: after.unread,
            first: wrong.chain(left).take(NAMED).collect(),
        }
    }
}

fn unequal(unlike: &Unlike, state: &'static str) -> Unequal {
    let word = |aspect: &Aspect| format!("{aspect:?}").to_ascii_lowercase();
    let links = unlike.links.then(|| "links".to_owned());
    let differs = unlike.aspects.iter().map(word).chain(links).collect();
    Unequal { path: crate::app::snapshot_view::lossy(&unlike.path), state, differs }
}
