//! Where copies live: the seam that every store stands behind.
//!
//! A store knows its hosts' snapshots and makes room for new copies. It does
//! not know retention, verdicts' meaning or rsync.

use crate::host::HostName;
use crate::snapshot::{Facts, Snapshot, SnapshotName};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a store holds, asked once a run.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// By host, its name in lower case: every snapshot, oldest first, foreign
    /// ones too.
    pub hosts: BTreeMap<String, Vec<Snapshot>>,
}

impl Survey {
    /// One host's snapshots, oldest first.
    pub fn of(&self, host: &HostName) -> &[Snapshot] {
        self.hosts.get(host.key()).map_or(&[], Vec::as_slice)
    }
}

/// A place for one host's new copy, checked and ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Where rsync writes.
    pub destination: PathBuf,
    /// Trees whose unchanged files the copy may share (`--link-dest`).
    pub link_dest: Vec<PathBuf>,
    /// Whether the destination is the former copy, in which rsync deletes,
    /// rather than a fresh tree.
    pub in_place: bool,
}

/// A store's refusal: what it did, to what, why not, and what to try.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub struct StoreError {
    /// What was being done, to what, and why it failed.
    pub what: String,
    /// What to try.
    pub hint: Option<String>,
}

impl StoreError {
    /// An error without advice.
    pub fn new(what: impl Into<String>) -> Self {
        StoreError { what: what.into(), hint: None }
    }

    /// The same error with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What became of snapshots that were to be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// Those that are gone.
    pub removed: Vec<String>,
    /// Those that stay, each with the reason: held, busy, cloned.
    pub kept: Vec<(String, String)>,
}

/// A place where copies live.
#[expect(
    async_fn_in_trait,
    reason = "used by generic code on a runtime of one thread; no Send bound is wanted"
)]
pub trait Store {
    /// Everything that the store holds. Called once a run.
    async fn survey(&self) -> Result<Survey, StoreError>;

    /// Makes the host's place if it is missing, verifies that it is what it
    /// should be (mounted, healthy, room enough) and touches nothing if not.
    /// `survey` is this run's. Called again before another try.
    async fn prepare(&self, host: &HostName, survey: &Survey) -> Result<Workspace, StoreError>;

    /// Keeps what was copied, with its facts, atomically: after a crash at any
    /// moment either the whole snapshot is there with its facts, or nothing.
    /// Fails if a snapshot of this name exists.
    async fn commit(&self, host: &HostName, name: SnapshotName, facts: &Facts) -> Result<(), StoreError>;

    /// Removes snapshots of a host by name. A held or busy one is kept, and
    /// the others still go; one that is gone already counts as removed.
    async fn remove(&self, host: &HostName, names: &[String]) -> Result<Removal, StoreError>;

    /// Where people look for a snapshot's files.
    fn browse(&self, host: &HostName, name: &str) -> PathBuf;
}
