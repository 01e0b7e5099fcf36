//! Where copies live: the seam that every store stands behind.
//!
//! A store knows its hosts' snapshots and makes room for new copies. It does
//! not know retention, what verdicts mean, or rsync. Two stand behind the
//! seam: [`ZfsStore`], and [`DirectoryStore`] for machines without ZFS; one contract
//! suite, `tests/contract/store_contract.rs`, holds both to what [`Store`] promises.

mod closed;
pub mod directory;
mod inspection;
pub mod zfs;

pub use directory::{DirectoryStore, others_may_write};
pub use inspection::{Inspection, Room};
pub use zfs::ZfsStore;

use crate::core::format::text::{human_bytes, printable};
use crate::core::model::host::HostName;
use crate::core::model::precision::Precision;
use crate::core::model::settings;
use crate::core::model::snapshot::{Facts, HoldName, Overview, Snapshot, SnapshotName};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What a store holds, asked once a run.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// By host, its name in lower case: every snapshot, oldest first, foreign
    /// ones too. A host whose place has no snapshot yet has an empty list.
    pub hosts: BTreeMap<String, Vec<Snapshot>>,
    /// The folders that copies live in, which a copy of this machine must leave
    /// out: it would copy itself.
    pub roots: Vec<PathBuf>,
    /// What ZFS knows of the datasets.
    datasets: Option<zfs::Datasets>,
}

impl HostSnapshots {
    /// Where people look for a snapshot's files.
    pub fn browse(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Survey {
    /// One host's snapshots, oldest first.
    pub fn of(&self, host: &HostName) -> &[Snapshot] {
        self.hosts.get(host.key()).map_or(&[], Vec::as_slice)
    }
}

/// One host's snapshots as they are now, and where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSnapshots {
    /// Oldest first, foreign ones too.
    pub snapshots: Vec<Snapshot>,
    /// The folder in which people look for a snapshot's files, under its name.
    pub folder: PathBuf,
    /// As those of a [`Survey`].
    pub roots: Vec<PathBuf>,
}

/// A place for one host's new copy, checked and ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Where rsync writes.
    pub destination: PathBuf,
    /// Trees whose unchanged files the copy may share (`--link-dest`), best
    /// first, fewer than rsync's limit of 20.
    pub link_dest: Vec<PathBuf>,
    /// To what the destination keeps times.
    pub precision: Precision,
    /// Whether the destination is the former copy, in which rsync deletes,
    /// rather than a fresh tree.
    pub in_place: bool,
    /// What is amiss with the place, and no reason not to use it.
    pub warnings: Vec<String>,
}

/// What a run locks before it changes anything of a host in the store. It is
/// the same for every run that reaches the store, whatever its runtime
/// directory.
#[derive(Debug)]
pub struct Lockable {
    /// A file or directory, open and not locked yet.
    pub file: File,
    /// Where it is.
    pub path: PathBuf,
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
    /// Those that stay, each with the reason.
    pub kept: Vec<(String, Kept)>,
    /// What could not be deleted of those that are gone, and why.
    pub remains: Option<String>,
}

/// Why a snapshot that was to be removed stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Somebody holds it.
    Held,
    /// It is somebody else's.
    Foreign,
    /// It could not be removed: busy, cloned, immutable.
    Refused(String),
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kept::Held => f.write_str("it is held"),
            Kept::Foreign => f.write_str("it is not ours"),
            Kept::Refused(why) => f.write_str(why),
        }
    }
}

/// Every host's snapshots at a glance, or why they cannot be read.
pub type Overviews = BTreeMap<String, Result<Overview, StoreError>>;

/// A place where copies live.
#[expect(
    async_fn_in_trait,
    reason = "used by generic code on a runtime of one thread; no Send bound is wanted"
)]
pub trait Store {
    /// Everything that the store holds.
    async fn survey(&self) -> Result<Survey, StoreError>;

    /// Every host's snapshots at a glance, by host as in a survey. It may cost
    /// less than a survey, for which it may count a snapshot as ours that
    /// nobody has had to look at and whose facts cannot be read. A host whose
    /// place cannot be read has the reason instead. What is dated after `now` is
    /// dated in the future.
    async fn overview(&self, now: DateTime<Utc>) -> Result<Overviews, StoreError> {
        let hosts = self.survey().await?.hosts;
        Ok(hosts.into_iter().map(|(host, snapshots)| (host, Ok(Overview::of(&snapshots, now)))).collect())
    }

    /// The hosts that have a place in the store, in lower case, sorted; also
    /// those that no inventory lists any more.
    async fn hosts(&self) -> Result<Vec<String>, StoreError>;

    /// One host's snapshots as they are now, and where they are; `None` if the
    /// store has no place for the host. Costs no more than that one host's share
    /// of a [`Store::survey`].
    async fn host(&self, host: &HostName) -> Result<Option<HostSnapshots>, StoreError>;

    /// [`Store::host`] for who does not look for the files.
    async fn snapshots(&self, host: &HostName) -> Result<Option<Vec<Snapshot>>, StoreError> {
        Ok(self.host(host).await?.map(|host| host.snapshots))
    }

    /// What a run locks before it prepares the host's place, which is made if it
    /// is missing. `survey` is this run's.
    async fn lockable(&self, host: &HostName, survey: &Survey) -> Result<Lockable, StoreError>;

    /// Makes the host's place if it is missing, closes it to other users of this
    /// machine, verifies that it is what it should be (mounted, healthy, room
    /// enough) and touches nothing if not. `survey` is this run's. Called again
    /// before another try.
    async fn prepare(&self, host: &HostName, survey: &Survey) -> Result<Workspace, StoreError>;

    /// Keeps what was copied into the workspace of the last `prepare`, with
    /// its facts, atomically: after a crash at any moment either the whole
    /// snapshot is there with its facts, or nothing. Fails if a snapshot of
    /// this name exists, if the workspace is not the one that was prepared, or if
    /// anything that was written to it may be lost.
    async fn commit(
        &self,
        host: &HostName,
        workspace: &Workspace,
        name: SnapshotName,
        facts: &Facts,
    ) -> Result<(), StoreError>;

    /// Leaves what was copied into the workspace of the last `prepare` for the
    /// next run to go on with. Not to be told of a workspace that was kept or
    /// given up does no harm.
    async fn leave(&self, host: &HostName) -> Result<(), StoreError>;

    /// Gives up what was copied into the workspace of the last `prepare`,
    /// because it leaves no room for other hosts. Where the workspace is the
    /// former copy, nothing can be given up, and the next try goes on there.
    async fn give_up(&self, host: &HostName) -> Result<(), StoreError>;

    /// Removes snapshots of a host by name. `listed` is what the caller decided
    /// upon: the host's snapshots as this store has listed them. A held or busy
    /// one is kept, and the others still go; one that is gone already counts as
    /// removed; one that is not ours is kept, whatever the caller thinks.
    async fn remove(
        &self,
        host: &HostName,
        listed: &[Snapshot],
        names: &[String],
    ) -> Result<Removal, StoreError>;

    /// How many bytes of disk each of a host's snapshots holds that nothing else
    /// does, by name: what its removal alone would free. Left out is a snapshot
    /// of which that cannot be known, say because it has just gone; foreign
    /// ones are in it.
    async fn space(&self, host: &HostName) -> Result<BTreeMap<String, u64>, StoreError>;

    /// Whether [`Store::space`] costs no more than a listing; else it reads
    /// every tree of the host.
    fn space_is_known(&self) -> bool;

    /// Holds a snapshot, a foreign one too, under a name: nobody removes it
    /// until all of its holds are released. `false` if it was held under that
    /// name already. Needs no lock of the host: of a hold and a removal in one
    /// moment, one fails.
    ///
    /// # Errors
    /// The snapshot is not there (any more), or the hold cannot be kept.
    async fn hold(&self, host: &HostName, snapshot: &str, name: &HoldName) -> Result<bool, StoreError>;

    /// Releases the hold of this name, as [`Store::holds`] gives it.
    ///
    /// # Errors
    /// The snapshot is not there, or not held under that name: what does hold
    /// it is named.
    async fn release(&self, host: &HostName, snapshot: &str, name: &str) -> Result<(), StoreError>;

    /// The names of the holds on each of a host's snapshots that is held,
    /// sorted. Holds of other programs' are among them, under any name; one
    /// without a name has the empty one. A host without a place has none.
    async fn holds(&self, host: &HostName) -> Result<BTreeMap<String, Vec<String>>, StoreError>;

    /// What a run locks in a host's place that is to get another name; `None`
    /// where the store itself does not rename what is in use.
    async fn lockable_to_rename(&self, host: &HostName) -> Result<Option<Lockable>, StoreError>;

    /// Gives a host's place another name, with all that is in it: at once, or not
    /// at all.
    ///
    /// # Errors
    /// There is no such place, it is in use, or something has the new name; or the
    /// place was renamed, and the store cannot promise that it stays so.
    async fn rename(&self, from: &HostName, to: &HostName) -> Result<(), StoreError>;

    /// To what the times of a snapshot's files are kept.
    async fn precision(&self, _host: &HostName, _snapshot: &str) -> Result<Precision, StoreError> {
        Ok(Precision::Nanoseconds)
    }

    /// How an operator removes a snapshot by hand: what to type.
    fn by_hand(&self, host: &HostName, name: &str) -> String;
}

/// What a store's settings say of it, also of one that cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDescription {
    /// What people know it by: its dataset, or its folder.
    pub place: String,
    /// Whether it needs the programs of ZFS.
    pub needs_zfs: bool,
    /// Whether rsync writes into the former copy, and deletes there, rather than
    /// into a fresh tree: see [`Workspace::in_place`].
    pub writes_in_place: bool,
}

/// The store that the configuration names.
#[derive(Debug)]
pub enum AnyStore {
    /// Datasets and snapshots.
    Zfs(ZfsStore),
    /// Directories and hard links.
    Directory(DirectoryStore),
}

impl AnyStore {
    /// The store of these settings. Touches nothing yet; the error is one of
    /// the settings.
    pub fn open(settings: &settings::StoreSettings) -> Result<Self, StoreError> {
        Ok(match settings {
            settings::StoreSettings::Zfs { dataset, min_free_percent } => {
                AnyStore::Zfs(ZfsStore::new(dataset, *min_free_percent)?)
            }
            settings::StoreSettings::Directory { path, min_free_percent } => {
                AnyStore::Directory(DirectoryStore::new(path, *min_free_percent)?)
            }
        })
    }
}

impl AnyStore {
    /// What the settings say of the store. Touches nothing.
    pub fn describe(settings: &settings::StoreSettings) -> StoreDescription {
        match settings {
            settings::StoreSettings::Zfs { dataset, .. } => {
                StoreDescription { place: dataset.clone(), needs_zfs: true, writes_in_place: true }
            }
            settings::StoreSettings::Directory { path, .. } => StoreDescription {
                place: path.display().to_string(),
                needs_zfs: false,
                writes_in_place: false,
            },
        }
    }

    /// What there is to say of the store before anybody relies on it. Changes
    /// nothing, and mounts nothing.
    pub async fn inspect(&self, now: DateTime<Utc>) -> Inspection {
        match self {
            AnyStore::Zfs(store) => store.inspect(now).await,
            AnyStore::Directory(store) => store.inspect().await,
        }
    }
}

impl Store for AnyStore {
    async fn survey(&self) -> Result<Survey, StoreError> {
        match self {
            AnyStore::Zfs(store) => store.survey().await,
            AnyStore::Directory(store) => store.survey().await,
        }
    }

    async fn overview(&self, now: DateTime<Utc>) -> Result<Overviews, StoreError> {
        match self {
            AnyStore::Zfs(store) => store.overview(now).await,
            AnyStore::Directory(store) => store.overview(now).await,
        }
    }

    async fn hosts(&self) -> Result<Vec<String>, StoreError> {
        match self {
            AnyStore::Zfs(store) => store.hosts().await,
            AnyStore::Directory(store) => store.hosts().await,
        }
    }

    async fn host(&self, host: &HostName) -> Result<Option<HostSnapshots>, StoreError> {
        match self {
            AnyStore::Zfs(store) => store.host(host).await,
            AnyStore::Directory(store) => store.host(host).await,
        }
    }

    async fn lockable(&self, host: &HostName, survey: &Survey) -> Result<Lockable, StoreError> {
        match self {
            AnyStore::Zfs(store) => store.lockable(host, survey).await,
            AnyStore::Directory(store) => store.lockable(host, survey).await,
        }
    }

    async fn prepare(&self, host: &HostName, survey: &Survey) -> Result<Workspace, StoreError> {
        match self {
            AnyStore::Zfs(store) => store.prepare(host, survey).await,
            AnyStore::Directory(store) => store.prepare(host, survey).await,
        }
    }

    async fn commit(
        &self,
        host: &HostName,
        workspace: &Workspace,
        name: SnapshotName,
        facts: &Facts,
    ) -> Result<(), StoreError> {
        match self {
            AnyStore::Zfs(store) => store.commit(host, workspace, name, facts).await,
            AnyStore::Directory(store) => store.commit(host, workspace, name, facts).await,
        }
    }

    async fn leave(&self, host: &HostName) -> Result<(), StoreError> {
        match self {
            AnyStore::Zfs(store) => store.leave(host).await,
            AnyStore::Directory(store) => store.leave(host).await,
        }
    }

    async fn give_up(&self, host: &HostName) -> Result<(), StoreError> {
        match self {
            AnyStore::Zfs(store) => store.give_up(host).await,
            AnyStore::Directory(store) => store.give_up(host).await,
        }
    }

    async fn remove(
        &self,
        host: &HostName,
        listed: &[Snapshot],
        names: &[String],
    ) -> Result<Removal, StoreError> {
        match self {
            AnyStore::Zfs(store) => store.remove(host, listed, names).await,
            AnyStore::Directory(store) => store.remove(host, listed, names).await,
        }
    }

    async fn space(&self, host: &HostName) -> Result<BTreeMap<String, u64>, StoreError> {
        match self {
            AnyStore::Zfs(store) => store.space(host).await,
            AnyStore::Directory(store) => store.space(host).await,
        }
    }

    fn space_is_known(&self) -> bool {
        match self {
            AnyStore::Zfs(store) => store.space_is_known(),
            AnyStore::Directory(store) => store.space_is_known(),
        }
    }

    async fn hold(&self, host: &HostName, snapshot: &str, name: &HoldName) -> Result<bool, StoreError> {
        match self {
            AnyStore::Zfs(store) => store.hold(host, snapshot, name).await,
            AnyStore::Directory(store) => store.hold(host, snapshot, name).await,
        }
    }

    async fn release(&self, host: &HostName, snapshot: &str, name: &str) -> Result<(), StoreError> {
        match self {
            AnyStore::Zfs(store) => store.release(host, snapshot, name).await,
            AnyStore::Directory(store) => store.release(host, snapshot, name).await,
        }
    }

    async fn holds(&self, host: &HostName) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        match self {
            AnyStore::Zfs(store) => store.holds(host).await,
            AnyStore::Directory(store) => store.holds(host).await,
        }
    }

    async fn lockable_to_rename(&self, host: &HostName) -> Result<Option<Lockable>, StoreError> {
        match self {
            AnyStore::Zfs(store) => store.lockable_to_rename(host).await,
            AnyStore::Directory(store) => store.lockable_to_rename(host).await,
        }
    }

    async fn rename(&self, from: &HostName, to: &HostName) -> Result<(), StoreError> {
        match self {
            AnyStore::Zfs(store) => store.rename(from, to).await,
            AnyStore::Directory(store) => store.rename(from, to).await,
        }
    }

    async fn precision(&self, host: &HostName, snapshot: &str) -> Result<Precision, StoreError> {
        match self {
            AnyStore::Zfs(store) => store.precision(host, snapshot).await,
            AnyStore::Directory(store) => store.precision(host, snapshot).await,
        }
    }

    fn by_hand(&self, host: &HostName, name: &str) -> String {
        match self {
            AnyStore::Zfs(store) => store.by_hand(host, name),
            AnyStore::Directory(store) => store.by_hand(host, name),
        }
    }
}

/// Oldest first; two of one time by name.
fn sort(snapshots: &mut [Snapshot]) {
    snapshots.sort_by(|a, b| (a.time, &a.name).cmp(&(b.time, &b.name)));
}

/// The refusal to hold or release a snapshot that is not there.
fn no_such_snapshot(snapshot: &str) -> StoreError {
    StoreError::new(format!("there is no snapshot `{}`", printable(snapshot)))
        .hint("it may have just been removed")
}

/// The refusal to release a hold that is not there. `holds` are those that are.
fn not_held(snapshot: &str, name: &str, holds: &[String]) -> StoreError {
    let what = format!("`{}` is not held {}", printable(snapshot), under(name));
    let holds: Vec<String> = holds.iter().map(|name| under(name)).collect();
    StoreError::new(match holds.is_empty() {
        true => format!("{what}: nothing holds it"),
        false => format!("{what}: it is held {}", holds.join(", ")),
    })
}

/// How a hold's name reads after the word held.
fn under(name: &str) -> String {
    match name {
        "" => "without a name".to_owned(),
        name => format!("as `{}`", printable(name)),
    }
}

/// A path, safe to print.
fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// Refuses a place where less than `min_percent` of `total` is free.
fn enough_room(place: &str, free: u64, total: u64, min_percent: u8) -> Result<(), StoreError> {
    if u128::from(free) * 100 >= u128::from(total) * u128::from(min_percent) {
        return Ok(());
    }
    Err(StoreError::new(format!(
        "`{}` has {} of {} free ({}%), and `min_free_percent` asks for {min_percent}%",
        printable(place),
        human_bytes(free),
        human_bytes(total),
        u128::from(free) * 100 / u128::from(total.max(1)),
    ))
    .hint("remove snapshots, add disks or lower `min_free_percent`"))
}

/// Does work that waits for disks away from the thread that serves all hosts.
/// It goes on to its end even if the caller is dropped.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    // What is logged over there names its host as well.
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::new(format!("the store's own work broke off: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_name_the_store() {
        let zfs =
            |dataset: &str| settings::StoreSettings::Zfs { dataset: dataset.to_owned(), min_free_percent: 5 };
        let directory =
            |path: &str| settings::StoreSettings::Directory { path: path.into(), min_free_percent: 5 };
        assert!(matches!(AnyStore::open(&zfs("data")), Ok(AnyStore::Zfs(_))));
        assert!(matches!(AnyStore::open(&directory("/srv/backup")), Ok(AnyStore::Directory(_))));
        assert!(AnyStore::open(&zfs("-r")).is_err());
        assert!(AnyStore::open(&directory("srv")).is_err());
        let vpn = "VPN".parse().unwrap();
        let by_hand = |settings| AnyStore::open(&settings).unwrap().by_hand(&vpn, "x");
        assert_eq!(by_hand(zfs("data")), "zfs destroy data/vpn@x");
        assert_eq!(
            by_hand(directory("/srv/backup")),
            "rm -r /srv/backup/vpn/snapshots/x /srv/backup/vpn/snapshots/x.json"
        );
    }

    #[test]
    fn room_is_measured_in_percent_of_the_whole() {
        assert!(enough_room("data", 50, 1000, 5).is_ok(), "exactly enough");
        assert!(enough_room("data", 0, 1000, 0).is_ok(), "0 asks for nothing");
        assert!(enough_room("data", u64::MAX, u64::MAX, 99).is_ok(), "no overflow");
        let refusal = enough_room("data", 49 << 30, 1000 << 30, 5).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "`data` has 49.0 GiB of 1000.0 GiB free (4%), and `min_free_percent` asks for 5% \
             (remove snapshots, add disks or lower `min_free_percent`)"
        );
    }
}
