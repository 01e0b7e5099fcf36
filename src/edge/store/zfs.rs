//! Copies as ZFS datasets, their history as snapshots, through `zfs(8)` and
//! `zpool(8)`.
//!
//! ZFS is asked three times for a survey, and told at most twice a host: one
//! `zfs snapshot`, one `zfs destroy`. What must hold at the moment before
//! rsync writes is asked of the kernel instead, without starting a program.
//!
//! Invariants: nothing is written where the dataset is not mounted; only exact
//! names of snapshots that the survey found to be ours are destroyed, never
//! with `-r`, `-R` or `-f`; the parent dataset is never made here.

mod dataset;
mod holds;
mod inspect;
#[cfg(feature = "libzetta")]
mod library;
mod mount;
mod parse;
mod rename;
mod system;

pub use system::System;

use super::{
    HostSnapshots, Kept, Lockable, Removal, Store, StoreError, Survey, Workspace, blocking, enough_room,
    shown,
};
use crate::core::format::text::printable;
use crate::core::model::host::HostName;
use crate::core::model::precision::Precision;
use crate::core::model::snapshot::{Facts, HoldName, Snapshot, SnapshotName};
use crate::sys::process::Failure;
use mount::Refusal;
use parse::Filesystem;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use system::{explained, is_gone, pool_of, reason};

/// The longest name of a parent dataset, in bytes. With `/`, a host's 128, `@`
/// and a snapshot's 25 it fits into ZFS's 255.
const LONGEST_DATASET: usize = 100;
/// How many snapshots one `zfs destroy` names.
const MOST_AT_ONCE: usize = 1000;
/// How long the kernel may take to say what is mounted; on a suspended pool it
/// takes for ever.
const KERNEL_DEADLINE: Duration = Duration::from_secs(60);

/// A dataset that holds every host's copies, each host in a dataset of its own.
#[derive(Debug)]
pub struct ZfsStore {
    dataset: String,
    min_free_percent: u8,
    system: System,
}

/// The store's dataset, and those of the hosts.
#[derive(Debug, Clone)]
pub(super) struct Datasets {
    parent: Filesystem,
    /// By host.
    hosts: BTreeMap<String, Filesystem>,
}

impl Datasets {
    /// Where copies live. `none` and `legacy` are no places.
    fn roots(&self) -> Vec<PathBuf> {
        let all = std::iter::once(&self.parent).chain(self.hosts.values());
        all.map(|dataset| PathBuf::from(&dataset.mountpoint)).filter(|path| path.is_absolute()).collect()
    }
}

impl ZfsStore {
    /// A store below `dataset`, which is not looked at yet.
    pub fn new(dataset: &str, min_free_percent: u8) -> Result<Self, StoreError> {
        ZfsStore::on(System::default(), dataset, min_free_percent)
    }

    /// The same on another machine than this, for tests.
    pub fn on(system: System, dataset: &str, min_free_percent: u8) -> Result<Self, StoreError> {
        if !dataset::is_dataset(dataset) || dataset.len() > LONGEST_DATASET {
            return Err(StoreError::new(format!(
                "`{}` cannot be the dataset of a store: at most {LONGEST_DATASET} letters, digits, `-`, `_`, \
                 `.`, `:` and `/` are allowed",
                printable(dataset)
            ))
            .hint("write it as `zfs list` does: `data` or `tank/backup`"));
        }
        Ok(ZfsStore { dataset: dataset.to_owned(), min_free_percent, system })
    }

    fn dataset_of(&self, host: &HostName) -> String {
        format!("{}/{}", self.dataset, host.key())
    }

    /// Refuses a pool in a state in which writing would hang or lose data.
    fn check_pool(&self, state: &str) -> Result<(), StoreError> {
        let pool = pool_of(&self.dataset);
        match state {
            "ONLINE" | "DEGRADED" => Ok(()),
            _ => Err(StoreError::new(format!("the pool `{pool}` is {}", printable(state)))
                .hint(format!("zpool status {pool}"))),
        }
    }

    /// Asks `zpool` for the pool's state, and refuses one that is not usable.
    async fn check_state(&self) -> Result<(), StoreError> {
        let (system, pool) = (&self.system, pool_of(&self.dataset));
        let what = format!("the state of the pool `{pool}`");
        let args = ["list", "-Hp", "-o", "health", pool];
        let state = system.list(&system.zpool, &what, &self.dataset, &args).await?;
        self.check_pool(state.trim())?;
        if state.trim() != "ONLINE" {
            tracing::warn!("the pool `{pool}` is {}: see `zpool status {pool}`", printable(state.trim()));
        }
        Ok(())
    }

    /// Refuses a pool of which the kernel says without a program that it is not
    /// usable.
    fn check_known_state(&self) -> Result<(), StoreError> {
        let state = mount::pool_state(&self.system, pool_of(&self.dataset));
        state.map_or(Ok(()), |state| self.check_pool(&state))
    }

    /// The parent's dataset and the hosts', by host.
    async fn datasets(&self) -> Result<Datasets, StoreError> {
        let (system, dataset) = (&self.system, self.dataset.as_str());
        let args = ["list", "-Hp", "-t", "filesystem", "-d", "1", "-o", parse::FILESYSTEM_COLUMNS, dataset];
        let text = system.list(&system.zfs, &format!("the datasets of `{dataset}`"), dataset, &args).await?;
        let mut parent = None;
        let mut hosts = BTreeMap::new();
        for filesystem in parse::filesystems(&text).map_err(|error| self.unclear("the datasets", error))? {
            if filesystem.name == dataset {
                parent = Some(filesystem);
            } else if let Some(host) = parse::host_of(&filesystem.name, dataset) {
                hosts.insert(host.to_owned(), filesystem);
            } else if parse::host_of(&filesystem.name.to_ascii_lowercase(), &dataset.to_ascii_lowercase())
                .is_some()
            {
                tracing::warn!(
                    "`{}` is no host's dataset: those are in lower case, see `zfs rename`",
                    printable(&filesystem.name)
                );
            }
        }
        let parent = parent.ok_or_else(|| StoreError::new(format!("`zfs list {dataset}` left it out")))?;
        Ok(Datasets { parent, hosts })
    }

    /// The snapshots of the datasets that are so far below one, by host.
    async fn snapshots_below(
        &self,
        dataset: &str,
        depth: &str,
    ) -> Result<BTreeMap<String, Vec<Snapshot>>, StoreError> {
        let system = &self.system;
        let args = ["get", "-Hp", "-t", "snapshot", "-d", depth, "-o", "name,property,value,source"];
        let args = [&args[..], &[parse::PROPERTIES, dataset]].concat();
        let what = format!("the snapshots of `{dataset}`");
        let text = system.list(&system.zfs, &what, &self.dataset, &args).await?;
        parse::snapshots(&text, &self.dataset).map_err(|error| self.unclear("the snapshots", error))
    }

    fn unclear(&self, what: &str, error: parse::Unparsable) -> StoreError {
        StoreError::new(format!("cannot understand {what} of `{}`: {error}", self.dataset))
    }

    /// Asks what can change at any moment: the pool's state, and what is
    /// mounted.
    async fn ask_kernel(
        &self,
        question: impl FnOnce(&System) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<(), Refusal> {
        let pool = pool_of(&self.dataset);
        self.check_known_state().map_err(Refusal::Other)?;
        let system = self.system.clone();
        let answer = blocking(move || Ok(question(&system)));
        match tokio::time::timeout(KERNEL_DEADLINE, answer).await {
            Ok(answer) => answer.map_err(Refusal::Other)?,
            Err(_) => Err(Refusal::Other(
                StoreError::new(format!("the pool `{pool}` does not answer"))
                    .hint(format!("zpool status {pool}")),
            )),
        }
    }

    async fn verify(&self, dataset: &str, mountpoint: &Path) -> Result<(), Refusal> {
        let (dataset, mountpoint) = (dataset.to_owned(), mountpoint.to_owned());
        self.ask_kernel(move |system| mount::verify(system, &dataset, &mountpoint)).await
    }

    /// Whether a new dataset may be made below the parent.
    async fn check_parent(&self, parent: &Filesystem) -> Result<(), StoreError> {
        let mountpoint = dataset::usable(parent)?;
        let total = parent.used.saturating_add(parent.available);
        enough_room(&self.dataset, parent.available, total, self.min_free_percent)?;
        if parent.canmount != "on" {
            // Nobody will mount it over the hosts' datasets.
            return Ok(());
        }
        let (name, at) = (parent.name.clone(), mountpoint.clone());
        self.ask_kernel(move |system| mount::verify_parent(system, &name, &at))
            .await
            .map_err(|refusal| refusal.of(&parent.name, &mountpoint))
    }

    /// Makes a host's dataset; `false` if it is there, which somebody else made, or
    /// an earlier call in this run.
    async fn create(&self, dataset: &str, parent: &Filesystem) -> Result<bool, StoreError> {
        let mut refusal = None;
        for creation in dataset::creations(dataset, parent) {
            let Err(failure) = self.system.change(&creation).await else { return Ok(true) };
            let said = String::from_utf8_lossy(failure.stderr());
            if said.contains("dataset already exists") {
                return Ok(false);
            }
            refusal = Some(explained(&format!("cannot create `{dataset}`"), &self.dataset, &failure));
            if !said.contains("compress") && !said.contains("zstd") {
                break;
            }
        }
        refusal.map_or(Ok(true), Err)
    }

    /// Closes the way to a host's copies to other users.
    async fn close(&self, host: &HostName, survey: &Survey, top: &str, at: &Path) -> Result<(), StoreError> {
        let taken = survey.hosts.iter().filter(|(_, snapshots)| snapshots.iter().any(Snapshot::is_ours));
        let hosts = taken.map(|(host, _)| host.clone()).chain([host.key().to_owned()]).collect();
        let (top, at) = (PathBuf::from(top), at.to_owned());
        blocking(move || mount::close_above(&top, &at, &hosts)).await
    }

    /// A host's dataset, made if it is missing, mounted, and closed to other
    /// users; with its mount point.
    async fn mounted(&self, host: &HostName, survey: &Survey) -> Result<(Filesystem, PathBuf), StoreError> {
        let name = self.dataset_of(host);
        let Datasets { parent, hosts } = surveyed(survey)?;
        let known = hosts.get(host.key()).cloned();
        let is_new = known.is_none();
        if is_new {
            self.check_parent(parent).await?;
        }
        let filesystem = known.unwrap_or_else(|| dataset::child(parent, host));
        let destination = dataset::usable(&filesystem)?;
        // Before anything is made there that could be taken for somebody else's.
        self.close(host, survey, &parent.mountpoint, &destination).await?;
        let mut mounted = self.verify(&name, &destination).await;
        if let Err(Refusal::NotMounted) = mounted {
            let is_made = is_new && self.create(&name, parent).await?;
            if !is_made && filesystem.canmount == "on" {
                // What should have mounted it at boot may have been too early.
                let mounting = self.system.change(["mount", &name]).await;
                mounting.map_err(|failure| {
                    explained(&format!("cannot mount `{name}`"), &self.dataset, &failure)
                })?;
            }
            mounted = self.verify(&name, &destination).await;
        }
        mounted.map_err(|refusal| refusal.of(&name, &destination))?;
        Ok((filesystem, destination))
    }

    /// Destroys snapshots, all of them or none.
    async fn destroy(&self, host: &HostName, names: &[String]) -> Result<(), Failure> {
        let target = format!("{}@{}", self.dataset_of(host), names.join(","));
        match self.system.change(["destroy", &target]).await {
            Ok(_) => Ok(()),
            // What is gone already counts as destroyed.
            Err(failure) if is_gone(&failure) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Destroys what can go without a program, and gives back what is left for
    /// `zfs` to destroy or to say why not.
    #[cfg(feature = "libzetta")]
    async fn destroy_by_library(
        &self,
        host: &HostName,
        names: &[String],
        removal: &mut Removal,
    ) -> Vec<String> {
        match library::destroy(&self.system, &self.dataset_of(host), names).await {
            Ok(left) => {
                removal.removed.extend(names.iter().filter(|name| !left.contains(name)).cloned());
                left
            }
            // A ZFS that hangs is not asked again.
            Err(error) => {
                let why = error.to_string();
                removal.kept.extend(names.iter().map(|name| (name.clone(), Kept::Refused(why.clone()))));
                Vec::new()
            }
        }
    }

    /// [`ZfsStore::destroy`], and one by one if that fails: one snapshot that is
    /// held, busy or cloned must not keep the others.
    async fn destroy_each(&self, host: &HostName, names: &[String], removal: &mut Removal) {
        #[cfg(feature = "libzetta")]
        let names = &self.destroy_by_library(host, names, removal).await;
        if names.is_empty() {
            return;
        }
        let Err(together) = self.destroy(host, names).await else {
            removal.removed.extend_from_slice(names);
            return;
        };
        // A ZFS that hangs is not asked again.
        let again = names.len() > 1 && matches!(together, Failure::Failed { .. });
        for name in names {
            let refusal = match again {
                true => {
                    self.destroy(host, std::slice::from_ref(name)).await.err().map(|alone| reason(&alone))
                }
                false => Some(reason(&together)),
            };
            match refusal {
                None => removal.removed.push(name.clone()),
                Some(why) => removal.kept.push((name.clone(), Kept::Refused(why))),
            }
        }
    }
}

impl Store for ZfsStore {
    async fn survey(&self) -> Result<Survey, StoreError> {
        // First, for on a suspended pool the others would hang.
        self.check_state().await?;
        let datasets = self.datasets().await?;
        // Depth 2 is the snapshots of the datasets right below.
        let mut hosts = self.snapshots_below(&self.dataset, "2").await?;
        for host in datasets.hosts.keys() {
            hosts.entry(host.clone()).or_default();
        }
        Ok(Survey { hosts, roots: datasets.roots(), datasets: Some(datasets) })
    }

    async fn hosts(&self) -> Result<Vec<String>, StoreError> {
        self.check_state().await?;
        Ok(self.datasets().await?.hosts.into_keys().collect())
    }

    async fn host(&self, host: &HostName) -> Result<Option<HostSnapshots>, StoreError> {
        self.check_state().await?;
        let datasets = self.datasets().await?;
        let Some(own) = datasets.hosts.get(host.key()) else { return Ok(None) };
        let folder = Path::new(&own.mountpoint).join(".zfs/snapshot");
        let snapshots = self.snapshots_below(&own.name, "1").await?.remove(host.key());
        let snapshots = snapshots.unwrap_or_default();
        Ok(Some(HostSnapshots { snapshots, folder, roots: datasets.roots() }))
    }

    async fn lockable(&self, host: &HostName, survey: &Survey) -> Result<Lockable, StoreError> {
        let (_, path) = self.mounted(host, survey).await?;
        // The directory itself: a file in it would be in the copy.
        blocking(move || {
            let at = shown(&path);
            let failed = |error| StoreError::new(format!("cannot open `{at}`: {error}"));
            let path = path.canonicalize().map_err(failed)?;
            let file = File::open(&path).map_err(failed)?;
            Ok(Lockable { file, path })
        })
        .await
    }

    /// A run has its directory open, so ZFS cannot unmount it, and so not rename
    /// it: to open it here would be in the way as well.
    async fn lockable_to_rename(&self, _host: &HostName) -> Result<Option<Lockable>, StoreError> {
        Ok(None)
    }

    async fn rename(&self, from: &HostName, to: &HostName) -> Result<(), StoreError> {
        self.rename_dataset(from, to).await
    }

    async fn leave(&self, _host: &HostName) -> Result<(), StoreError> {
        Ok(())
    }

    async fn prepare(&self, host: &HostName, survey: &Survey) -> Result<Workspace, StoreError> {
        let (filesystem, destination) = self.mounted(host, survey).await?;
        let parent = &surveyed(survey)?.parent;
        let at = destination.clone();
        let available = blocking(move || mount::available(&at)).await?;
        // The parent's, for a dataset's own size says nothing of the pool's.
        let total = parent.used.saturating_add(parent.available).max(available);
        enough_room(&filesystem.name, available, total, self.min_free_percent)?;
        Ok(Workspace {
            destination,
            link_dest: Vec::new(),
            precision: Precision::Nanoseconds,
            in_place: true,
            warnings: Vec::new(),
        })
    }

    async fn commit(
        &self,
        host: &HostName,
        workspace: &Workspace,
        name: SnapshotName,
        facts: &Facts,
    ) -> Result<(), StoreError> {
        let (dataset, mountpoint) = (self.dataset_of(host), &workspace.destination);
        // Had it been unmounted meanwhile, it would not hold what rsync wrote.
        self.verify(&dataset, mountpoint).await.map_err(|refusal| refusal.of(&dataset, mountpoint))?;
        let (target, properties) = (format!("{dataset}@{name}"), dataset::properties(facts)?);
        #[cfg(feature = "libzetta")]
        let taken = library::snapshot(&self.system, &target, &properties).await?;
        #[cfg(not(feature = "libzetta"))]
        let taken = false;
        if !taken {
            self.system.change(dataset::snapshot(&target, &properties)).await.map_err(|failure| {
                explained(&format!("cannot take the snapshot `{target}`"), &self.dataset, &failure)
            })?;
        }
        Ok(())
    }

    async fn give_up(&self, _host: &HostName) -> Result<(), StoreError> {
        Ok(())
    }

    async fn remove(
        &self,
        host: &HostName,
        listed: &[Snapshot],
        names: &[String],
    ) -> Result<Removal, StoreError> {
        let mut removal = Removal::default();
        let ours = ours(listed);
        let mut doomed = Vec::new();
        for name in names {
            let why = match ours.get(name.as_str()) {
                _ if !dataset::is_snapshot(name) => {
                    Kept::Refused("it is not the name of a snapshot".to_owned())
                }
                None => Kept::Foreign,
                Some(true) => Kept::Held,
                Some(false) => {
                    doomed.push(name.clone());
                    continue;
                }
            };
            removal.kept.push((name.clone(), why));
        }
        for names in doomed.chunks(MOST_AT_ONCE) {
            self.destroy_each(host, names, &mut removal).await;
        }
        Ok(removal)
    }

    async fn space(&self, host: &HostName) -> Result<BTreeMap<String, u64>, StoreError> {
        self.check_state().await?;
        let (system, dataset) = (&self.system, self.dataset_of(host));
        let args = ["list", "-Hp", "-t", "snapshot", "-d", "1", "-o", parse::SPACE_COLUMNS, &dataset];
        let what = format!("the space that the snapshots of `{dataset}` use");
        let text = system.list(&system.zfs, &what, &self.dataset, &args).await?;
        parse::space(&text).map_err(|error| self.unclear("the space that snapshots use", error))
    }

    fn space_is_known(&self) -> bool {
        true
    }

    async fn hold(&self, host: &HostName, snapshot: &str, name: &HoldName) -> Result<bool, StoreError> {
        self.place_hold(host, snapshot, name).await
    }

    async fn release(&self, host: &HostName, snapshot: &str, name: &str) -> Result<(), StoreError> {
        self.lift_hold(host, snapshot, name).await
    }

    async fn holds(&self, host: &HostName) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        self.list_holds(host).await
    }

    fn by_hand(&self, host: &HostName, name: &str) -> String {
        format!("zfs destroy {}@{}", self.dataset_of(host), printable(name))
    }
}

/// What a survey of this store saw of its datasets.
fn surveyed(survey: &Survey) -> Result<&Datasets, StoreError> {
    survey.datasets.as_ref().ok_or_else(|| StoreError::new("the store was not surveyed"))
}

/// The names of the snapshots that are ours, and whether they are held.
fn ours(snapshots: &[Snapshot]) -> BTreeMap<&str, bool> {
    let ours = snapshots.iter().filter(|snapshot| snapshot.is_ours());
    ours.map(|snapshot| (snapshot.name.as_str(), snapshot.held)).collect()
}

impl Refusal {
    fn of(self, dataset: &str, mountpoint: &Path) -> StoreError {
        match self {
            Refusal::Other(error) => error,
            Refusal::NotMounted => {
                StoreError::new(format!("`{dataset}` is not mounted at `{}`", shown(mountpoint)))
                    .hint(format!("zfs mount {dataset}"))
            }
        }
    }
}
