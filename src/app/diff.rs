//! What is different between two snapshots.
//!
//! Not known here: how differences are shown. They are given out as they are found,
//! for there may be millions.

pub use crate::edge::tree::{CompareStats, Told as DiffLine};

use crate::app::session::Session;
use crate::app::snapshot_view::{self, Seen, shown};
use crate::core::format::text::printable;
use crate::core::model::host::HostName;
use crate::edge::tree::{Gone, Tree, compare};
use crate::sys::clock::Clock;
use anyhow::{Context, anyhow};
use chrono_tz::Tz;
use std::path::Path;
use tracing::warn;

/// What is to be compared.
#[derive(Debug)]
pub struct DiffRequest<'a> {
    /// The configuration, or where it usually is.
    pub config: Option<&'a Path>,
    /// A host that the store has copies of.
    pub host: &'a str,
    /// The older snapshot: a name or a time.
    pub old: &'a str,
    /// The newer one; the newest without it.
    pub new: Option<&'a str>,
    /// What is compared of them, below their roots.
    pub path: Vec<u8>,
    /// Whether files are read.
    pub content: bool,
}

/// Two snapshots that are about to be compared.
#[derive(Debug)]
pub struct SnapshotDiff {
    /// Whose they are.
    pub host: HostName,
    /// The older one.
    pub old: Seen,
    /// The newer one.
    pub new: Seen,
    /// What is compared of them.
    pub path: Vec<u8>,
    /// The zone in which times are told.
    pub zone: Tz,
    content: bool,
}

impl SnapshotDiff {
    /// Finds the snapshots.
    ///
    /// # Errors
    /// There is no such host or snapshot.
    pub async fn new(request: DiffRequest<'_>, clock: Clock) -> anyhow::Result<Self> {
        let session = Session::open(request.config, clock)?;
        let place = session.place(request.host).await?;
        let newest = snapshot_view::some(&place)?.iter().rfind(|snapshot| snapshot.time <= place.now);
        if let Some(future) = place.of_the_future() {
            warn!("{future}");
        }
        let old = place.meant(request.old, &session)?;
        let new = match request.new {
            Some(word) => place.meant(word, &session)?,
            None => newest.context("there is no newest snapshot")?,
        };
        let seen = |snapshot| Seen::new(&place, snapshot);
        let (old, new, zone) = (seen(old), seen(new), session.settings.timezone);
        Ok(SnapshotDiff { old, new, path: request.path, zone, content: request.content, host: place.host })
    }

    /// Opens both.
    ///
    /// # Errors
    /// One cannot be opened, or neither has the path.
    pub fn open(&self) -> anyhow::Result<[Tree; 2]> {
        let trees = [self.old.open()?, self.new.open()?];
        let exists = |tree: &Tree| !matches!(tree.entry(&self.path), Ok(None));
        if !trees.iter().any(exists) {
            return Err(self.no_such_path(&trees));
        }
        Ok(trees)
    }

    /// Compares, and gives each difference to `tell`.
    ///
    /// # Errors
    /// Those of `tell`, or a snapshot was removed meanwhile.
    pub fn compare(
        &self,
        trees: &[Tree; 2],
        tell: impl FnMut(DiffLine) -> anyhow::Result<()>,
    ) -> anyhow::Result<CompareStats> {
        compare(trees, &self.path, self.content, tell).map_err(|error: anyhow::Error| {
            let Some(Gone(tree)) = error.downcast_ref() else { return error };
            let gone = if *tree == 0 { &self.old } else { &self.new };
            anyhow!(
                "the snapshot `{}` was removed while it was read (`backup snapshots {}` lists those there are)",
                printable(&gone.name),
                self.host
            )
        })
    }

    fn no_such_path(&self, trees: &[Tree; 2]) -> anyhow::Error {
        let near = trees.iter().rev().find_map(|tree| snapshot_view::nearest(tree, &self.path));
        let near = near.map(|near| format!("; what exists of it is {near}")).unwrap_or_default();
        anyhow!(
            "neither `{}` nor `{}` has `{}`{near}",
            printable(&self.old.name),
            printable(&self.new.name),
            shown(&self.path, None, None)
        )
    }
}
