//! A host's copies, and why each of them is kept.

use crate::app::session::{Place, Session};
use crate::core::model::snapshot::{self, Snapshot};
use crate::core::policy::retention::{self, Decision};
use crate::edge::store::Store;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A host's copies.
pub struct SnapshotList {
    /// Whose they are.
    pub place: Place,
    /// Each snapshot, oldest first.
    pub entries: Vec<SnapshotEntry>,
    /// Whether it was determined what each of them alone holds.
    pub measured: bool,
    /// What an operator types to remove those that are dated in the future.
    pub removals: Vec<String>,
}

/// One of them.
#[derive(Debug)]
pub struct SnapshotEntry {
    /// The snapshot itself.
    pub snapshot: Snapshot,
    /// What a rotation at this moment would do with it.
    pub decision: Decision,
    /// Bytes that its removal alone would free, if that is known.
    pub bytes_used: Option<u64>,
    /// The names that it is held under.
    pub holds: Vec<String>,
    /// Where its files are.
    pub path: PathBuf,
    /// Whether it is dated in the future, by a clock that was ahead.
    pub future: bool,
}

/// The copies of the host that a word means. What each of them alone holds is
/// determined if that is cheap, or `measured` anyway.
///
/// # Errors
/// The store has no copies of such a host, or cannot be read.
pub async fn list(session: &Session, host: &str, measured: bool) -> anyhow::Result<SnapshotList> {
    let Session { settings, store, clock } = session;
    let place = session.place(host).await?;
    let measured = measured || store.space_is_known();
    let space = match measured {
        true => store.space(&place.host).await?,
        false => BTreeMap::new(),
    };
    // Nobody needs to be asked who holds nothing.
    let holds = match place.snapshots.iter().any(|snapshot| snapshot.held) {
        true => store.holds(&place.host).await?,
        false => BTreeMap::new(),
    };
    let mut plan = retention::plan(&settings.retention, settings.timezone, clock.now(), &place.snapshots);
    if let Some(found) = session.damage_found(&place.host) {
        plan.spare(found);
    }
    // The plan is sorted as the store's list is.
    let decided = place.snapshots.iter().zip(plan.decisions);
    let entries = decided.map(|(snapshot, decision)| SnapshotEntry {
        bytes_used: space.get(&snapshot.name).copied(),
        holds: holds.get(&snapshot.name).cloned().unwrap_or_default(),
        path: place.folder.join(&snapshot.name),
        future: snapshot.time > place.now,
        snapshot: snapshot.clone(),
        decision,
    });
    let entries = entries.collect();
    let future = snapshot::of_the_future(&place.snapshots, place.now);
    let removals = future.map(|snapshot| store.by_hand(&place.host, &snapshot.name)).collect();
    Ok(SnapshotList { place, entries, measured, removals })
}
