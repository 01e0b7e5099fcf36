//! Copies as plain directories whose unchanged files are hard links, for
//! machines without ZFS.
//!
//! ```text
//! {path}/{host}/snapshots/{name}/       one whole tree a snapshot
//! {path}/{host}/snapshots/{name}.json   its facts; without them it is foreign
//! {path}/{host}/snapshots/.{name}.json  the facts of a tree that is no snapshot
//!                                       yet: it is listed nowhere
//! {path}/{host}/snapshots/{name}.hold   it is held: a line a hold, its name;
//!                                       empty, it is held without a name
//! {path}/{host}/latest                  a symlink to the newest good one
//! {path}/{host}/.incomplete/            the tree that rsync fills
//! {path}/{host}/.interrupted/{n}/       what earlier attempts left
//! {path}/{host}/.removing/              trees on their way out
//! {path}/{host}/.boot                   the boot whose attempts those are; what
//!                                       a run locks
//! ```
//!
//! Invariants: rsync writes into a fresh tree alone, never into one that
//! shares files with a snapshot, because a file's mode, owner and times are
//! shared with it. A tree appears under `snapshots/` whole, flushed to disk,
//! by one rename, and counts as a snapshot by another, that of its facts, once
//! the disk has it; it disappears by one rename. What becomes a snapshot is the
//! very directory that was prepared, and nothing written to it was lost. A
//! host's folder is open to nobody but its owner.
//!
//! Not known here: who holds a host's lock. Callers see to it that one run
//! works on a host.

mod attempt;
mod delete;
mod holds;
mod inspect;
mod list;
mod place;
mod space;
mod times;

use super::{
    HostSnapshots, Lockable, Overviews, Removal, Store, StoreError, Survey, Workspace, blocking, enough_room,
    shown,
};
use crate::core::model::host::HostName;
use crate::core::model::precision::Precision;
use crate::core::model::snapshot::{Facts, HoldName, Snapshot, SnapshotName};
use chrono::{DateTime, Utc};
use place::Place;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use inspect::others_may_write;

/// A directory that holds every host's copies.
#[derive(Debug)]
pub struct DirectoryStore {
    path: PathBuf,
    min_free_percent: u8,
    /// By host: the tree that is being filled, open since before its first byte.
    attempts: Mutex<BTreeMap<String, Arc<File>>>,
}

impl DirectoryStore {
    /// A store in `path`, which must be absolute and is not looked at yet.
    pub fn new(path: &Path, min_free_percent: u8) -> Result<Self, StoreError> {
        if !path.is_absolute() {
            return Err(StoreError::new(format!("the store's path `{}` is not absolute", shown(path)))
                .hint("begin it with `/`"));
        }
        Ok(DirectoryStore { path: path.to_owned(), min_free_percent, attempts: Mutex::default() })
    }

    fn place(&self, host: &HostName) -> Place {
        Place::new(&self.path, host)
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<String, Arc<File>>> {
        // A host that panicked must not take the others with it.
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for DirectoryStore {
    async fn survey(&self) -> Result<Survey, StoreError> {
        let path = self.path.clone();
        blocking(move || list::survey(&canonical(&path)?)).await
    }

    async fn overview(&self, now: DateTime<Utc>) -> Result<Overviews, StoreError> {
        let path = self.path.clone();
        blocking(move || list::overview(&canonical(&path)?, now)).await
    }

    async fn hosts(&self) -> Result<Vec<String>, StoreError> {
        let path = self.path.clone();
        blocking(move || {
            let path = canonical(&path)?;
            // A folder that no run has been in is nobody's, as in a survey.
            let is_host = |host: &HostName| {
                let snapshots = Place::new(&path, host).snapshots().symlink_metadata();
                !snapshots.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            };
            let hosts = list::places(&path)?.into_iter().filter(|(host, _)| is_host(host));
            Ok(hosts.map(|(host, _)| host.key().to_owned()).collect())
        })
        .await
    }

    async fn host(&self, host: &HostName) -> Result<Option<HostSnapshots>, StoreError> {
        let (path, host) = (self.path.clone(), host.clone());
        blocking(move || {
            let root = canonical(&path)?;
            let place = Place::new(&root, &host);
            match list::snapshots(&place) {
                Ok(snapshots) => {
                    // As the configuration has it, not as its symlinks lead.
                    let folder = Place::new(&path, &host).snapshots();
                    Ok(Some(HostSnapshots { snapshots, folder, roots: vec![root] }))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed("read the snapshots in", &place.snapshots())(error)),
            }
        })
        .await
    }

    async fn lockable(&self, host: &HostName, survey: &Survey) -> Result<Lockable, StoreError> {
        let (path, min_percent, host) = (self.path.clone(), self.min_free_percent, host.clone());
        let had_some = !survey.of(&host).is_empty();
        blocking(move || {
            let path = canonical(&path)?;
            let place = Place::new(&path, &host);
            if !place::exists(place.root()) {
                if had_some {
                    let at = shown(place.root());
                    let gone = format!("`{at}` disappeared during the run");
                    return Err(StoreError::new(gone)
                        .hint("was it unmounted, moved, or renamed with `backup rename`?"));
                }
                room(&path, min_percent)?;
            }
            place.make()?;
            place.lockable()
        })
        .await
    }

    async fn lockable_to_rename(&self, host: &HostName) -> Result<Option<Lockable>, StoreError> {
        let (path, host) = (self.path.clone(), host.clone());
        blocking(move || Place::new(&canonical(&path)?, &host).lockable().map(Some)).await
    }

    async fn rename(&self, from: &HostName, to: &HostName) -> Result<(), StoreError> {
        let (path, from, to) = (self.path.clone(), from.clone(), to.clone());
        blocking(move || {
            let path = canonical(&path)?;
            Place::new(&path, &from).rename(&Place::new(&path, &to))
        })
        .await
    }

    async fn prepare(&self, host: &HostName, survey: &Survey) -> Result<Workspace, StoreError> {
        let (path, min_percent, name) = (self.path.clone(), self.min_free_percent, host.clone());
        let listed = survey.of(host).to_vec();
        let former = self.attempts().remove(host.key());
        let stop = Stop::default();
        let flag = stop.flag();
        let (workspace, tree) = blocking(move || {
            // rsync may refuse a destination behind a symlink of another user.
            let path = canonical(&path)?;
            let room = |min_percent| room(&path, min_percent);
            Place::new(&path, &name).prepare(&room, min_percent, &listed, former.as_deref(), &flag)
        })
        .await?;
        self.attempts().insert(host.key().to_owned(), Arc::new(tree));
        Ok(workspace)
    }

    async fn commit(
        &self,
        host: &HostName,
        _workspace: &Workspace,
        name: SnapshotName,
        facts: &Facts,
    ) -> Result<(), StoreError> {
        let (place, facts) = (self.place(host), facts.clone());
        // Whatever comes of it: what could not be kept is not gone on with.
        let attempt = self
            .attempts()
            .remove(host.key())
            .ok_or_else(|| StoreError::new(format!("nothing was prepared for {host} to be kept")))?;
        let stop = Stop::default();
        let flag = stop.flag();
        blocking(move || place.commit(name, &facts, &attempt, &flag)).await
    }

    async fn leave(&self, host: &HostName) -> Result<(), StoreError> {
        let Some(attempt) = self.attempts().remove(host.key()) else { return Ok(()) };
        let place = self.place(host);
        blocking(move || place.leave(&attempt)).await
    }

    async fn give_up(&self, host: &HostName) -> Result<(), StoreError> {
        let place = self.place(host);
        self.attempts().remove(host.key());
        let stop = Stop::default();
        let flag = stop.flag();
        blocking(move || place.give_up(&flag)).await
    }

    async fn remove(
        &self,
        host: &HostName,
        _listed: &[Snapshot],
        names: &[String],
    ) -> Result<Removal, StoreError> {
        let (place, names) = (self.place(host), names.to_vec());
        let stop = Stop::default();
        let flag = stop.flag();
        blocking(move || place.remove(&names, &flag)).await
    }

    async fn space(&self, host: &HostName) -> Result<BTreeMap<String, u64>, StoreError> {
        let (path, host) = (self.path.clone(), host.clone());
        let stop = Stop::default();
        let flag = stop.flag();
        blocking(move || {
            let place = Place::new(&canonical(&path)?, &host);
            space::of_each(&place, &flag).map_err(failed("read the snapshots in", &place.snapshots()))
        })
        .await
    }

    async fn hold(&self, host: &HostName, snapshot: &str, name: &HoldName) -> Result<bool, StoreError> {
        let (place, snapshot, name) = (self.place(host), snapshot.to_owned(), name.clone());
        blocking(move || place.hold(&snapshot, &name)).await
    }

    async fn release(&self, host: &HostName, snapshot: &str, name: &str) -> Result<(), StoreError> {
        let (place, snapshot, name) = (self.place(host), snapshot.to_owned(), name.to_owned());
        blocking(move || place.release(&snapshot, &name)).await
    }

    async fn holds(&self, host: &HostName) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        let (path, host) = (self.path.clone(), host.clone());
        blocking(move || {
            let place = Place::new(&canonical(&path)?, &host);
            match place.holds() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
                holds => holds.map_err(failed("read the holds in", &place.snapshots())),
            }
        })
        .await
    }

    fn space_is_known(&self) -> bool {
        false
    }

    async fn precision(&self, host: &HostName, snapshot: &str) -> Result<Precision, StoreError> {
        let (place, snapshot) = (self.place(host), snapshot.to_owned());
        blocking(move || Ok(times::of_snapshot(&place, &snapshot))).await
    }

    fn by_hand(&self, host: &HostName, name: &str) -> String {
        let tree = self.place(host).tree(name);
        format!("rm -r {0} {0}.json", crate::core::format::text::printable(&tree.to_string_lossy()))
    }
}

/// Ends a deletion when whoever waits for it goes away. What is left over is
/// deleted by the next run.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The store's directory, with every symlink on the way resolved.
fn canonical(path: &Path) -> Result<PathBuf, StoreError> {
    let found = path.canonicalize().and_then(|real| {
        if real.is_dir() { Ok(real) } else { Err(io::Error::from(io::ErrorKind::NotADirectory)) }
    });
    found.map_err(|error| {
        let refusal = failed("open the store's directory", path)(error);
        refusal.hint(
            "mount it or create it: backup does not, because an unmounted disk would look just like \
             a missing directory",
        )
    })
}

/// Refuses a filesystem that is nearly full of bytes or of inodes.
fn room(path: &Path, min_percent: u8) -> Result<(), StoreError> {
    let stat =
        rustix::fs::statvfs(path).map_err(|error| failed("ask for the free space of", path)(error.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    enough_room(&shown(path), bytes(stat.f_bavail), bytes(stat.f_blocks), min_percent)?;
    // btrfs and others that make inodes as needed say that there are none.
    if u128::from(stat.f_favail) * 100 < u128::from(stat.f_files) * u128::from(min_percent) {
        return Err(StoreError::new(format!(
            "`{}` has {} of {} inodes free, and `min_free_percent` asks for {min_percent}%",
            shown(path),
            stat.f_favail,
            stat.f_files
        ))
        .hint("remove snapshots, or use a filesystem that makes inodes as they are needed"));
    }
    Ok(())
}

/// An error of the system, with what was being done to what, and what to try
/// where that is known.
fn failed<'a>(doing: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |error| {
        let refusal = StoreError::new(format!("cannot {doing} `{}`: {error}", shown(path)));
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => refusal.hint(
                "mount it for writing; the kernel makes a filesystem read-only when its disk fails, see `dmesg`",
            ),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                refusal.hint("remove snapshots or add disks")
            }
            io::ErrorKind::PermissionDenied => refusal.hint("run `backup` as root"),
            _ => refusal,
        }
    }
}
