//! The runtime directory: one run a host, and nothing left of dead runs.
//!
//! ```text
//! /run/backup/vpn.lock     the kernel's lock on it says: somebody backs up vpn
//! /run/backup/rAbC123/     what one run needs while it lives, its lock among it
//! ```
//!
//! Both locks are `flock`s, which the kernel gives back when the last process
//! that has the file open is gone; the files' contents are for people. A run
//! that finds another's directory unlocked knows that run to be dead, ends what
//! is left of it and removes the directory.
//!
//! Runs that do not share a runtime directory (two servers or two containers on
//! one store, or a directory that was cleaned in mid-run) are kept apart by a
//! lock in the store as well, which whatever writes the copy holds too
//! (docs/decisions/0024-what-a-run-publishes-is-its-own.md).

mod inspect;

pub use inspect::running;

use crate::core::model::host::HostName;
use crate::sys::process::{self, Keeper};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// How long the children of a run that was killed get to notice and let go of
/// a host.
const LAST_BREATH: Duration = Duration::from_secs(10);
/// How long to wait before such a host is tried again.
const AGAIN: Duration = Duration::from_millis(100);
const RUN_PREFIX: &str = "r";
/// The lock at the door; no host's name begins with a dot.
const DOOR: &str = ".door.lock";

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run backs up this host.
    #[error("locked by another run{}", .by.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Held {
        /// The process that took the lock.
        by: Option<u32>,
    },
    /// A run that had this host was killed, and what it had started is still
    /// at work.
    #[error("locked by a program that a killed run (process {by}) started; `fuser -v {path}` shows it")]
    Orphaned {
        /// The process that took the lock and is no more.
        by: u32,
        /// The lock.
        path: PathBuf,
    },
    /// Nobody would clear up after the run.
    #[error(transparent)]
    Keeper(#[from] process::Failure),
    /// A run with another runtime directory has locked the host in the store.
    #[error(
        "locked in the store (`{path}`) by another run{}",
        .by.map_or_else(
            || ", on another server or in another container".to_owned(),
            |pid| format!(" (process {pid}), which has another `runtime_dir` or whose `runtime_dir` was cleaned")
        )
    )]
    HeldInStore {
        /// The process that took the lock, if it is one of this machine.
        by: Option<u32>,
        /// The lock.
        path: PathBuf,
    },
    /// The lock in the store is not the one that was taken.
    #[error(
        "`{path}` was replaced while this run had the host: what was copied may be another run's, and is not kept \
         (leave the store to `backup` alone, and do not unmount it during a run)"
    )]
    Replaced {
        /// Where the lock was.
        path: PathBuf,
    },
    /// The runtime directory, or the lock in the store, is not usable.
    #[error("cannot {doing} `{path}`: {error}")]
    Unusable {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
}

fn unusable(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LockError {
    move |error| LockError::Unusable { doing, path: path.to_owned(), error }
}

/// One run's place in the runtime directory; removed when dropped.
#[derive(Debug)]
pub struct Runtime {
    dir: PathBuf,
    own: TempDir,
    connections: AtomicU32,
    keeper: OnceLock<Keeper>,
    _alive: File,
}

impl Runtime {
    /// Enters the runtime directory, making it if it is missing, and clears
    /// away what dead runs left. Returns how many of those there were.
    pub fn enter(dir: &Path) -> Result<(Self, usize), LockError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(unusable("create the runtime directory", dir))?;
        // Nobody may take a directory for a dead run's between its making and
        // its locking.
        let door_path = dir.join(DOOR);
        let door = open_lock(&door_path)?;
        flock(&door, FlockOperation::LockExclusive).map_err(|e| unusable("lock", &door_path)(e.into()))?;
        let swept = sweep(dir);
        let own = tempfile::Builder::new()
            .prefix(RUN_PREFIX)
            .tempdir_in(dir)
            .map_err(unusable("create a directory in", dir))?;
        let alive_path = own.path().join("lock");
        let alive = open_lock(&alive_path)?;
        flock(&alive, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| unusable("lock", &alive_path)(e.into()))?;
        let runtime = Runtime {
            dir: dir.to_owned(),
            own,
            connections: AtomicU32::new(0),
            keeper: OnceLock::new(),
            _alive: alive,
        };
        Ok((runtime, swept))
    }

    /// A new directory for one ssh connection; its path is short, because a
    /// control socket's path must be. From the first one on somebody sees to it
    /// that no connection outlives this process.
    pub fn connection_dir(&self) -> Result<PathBuf, LockError> {
        if self.keeper.get().is_none() {
            let keeper = Keeper::start(self.own.path())?;
            let _ = self.keeper.set(keeper);
        }
        let path = self.own.path().join(short(self.connections.fetch_add(1, Ordering::Relaxed)));
        DirBuilder::new().mode(0o700).create(&path).map_err(unusable("create", &path))?;
        Ok(path)
    }

    /// A directory with a random name that lasts as long as the run: where it
    /// exists, that is this machine.
    pub fn witness(&self) -> &Path {
        self.own.path()
    }

    /// A file of this run's for a host.
    pub fn file_for(&self, host: &HostName, what: &str) -> PathBuf {
        self.own.path().join(format!("{}.{what}", host.key()))
    }

    /// Whether a process that is there has locked a host, seen without touching its
    /// lock.
    pub fn is_locked(&self, host: &HostName) -> bool {
        inspect::is_held(&self.lock_of(host))
    }

    fn lock_of(&self, host: &HostName) -> PathBuf {
        self.dir.join(format!("{}.lock", host.key()))
    }

    /// Locks a host for this run. Waits a moment if the holder is a run that
    /// was killed and whose children are still dying.
    pub async fn lock_host(&self, host: &HostName) -> Result<HostLock, LockError> {
        let path = self.lock_of(host);
        let until = tokio::time::Instant::now() + LAST_BREATH;
        let mut file = open_lock(&path)?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Whoever cleaned the directory meanwhile let others make another.
                Ok(()) if is_at(&file, &path) => break,
                Ok(()) => file = open_lock(&path)?,
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let by = holder(&mut file);
                    match by.filter(|pid| !is_there(*pid)) {
                        None => return Err(LockError::Held { by }),
                        Some(by) if tokio::time::Instant::now() >= until => {
                            return Err(LockError::Orphaned { by, path });
                        }
                        Some(_) => tokio::time::sleep(AGAIN).await,
                    }
                }
                Err(error) => return Err(unusable("lock", &path)(error.into())),
            }
        }
        let note = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(note.as_bytes()))
            .map_err(unusable("write", &path))?;
        Ok(HostLock { file, path, store: None })
    }
}

/// A host that no other run may touch. The lock lasts until the last process
/// that was given it is gone.
#[derive(Debug)]
pub struct HostLock {
    file: File,
    path: PathBuf,
    /// What of the store is locked for the host, and where that is.
    store: Option<(File, PathBuf)>,
}

impl HostLock {
    /// Locks the host in the store as well: `file`, which is at `path`. Waits as
    /// [`Runtime::lock_host`] does.
    pub async fn lock_in_store(&mut self, file: File, path: PathBuf) -> Result<(), LockError> {
        let until = tokio::time::Instant::now() + LAST_BREATH;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => match inspect::holder_of(&file) {
                    Some(by) if !is_there(by) => {
                        if tokio::time::Instant::now() >= until {
                            return Err(LockError::Orphaned { by, path });
                        }
                        tokio::time::sleep(AGAIN).await;
                    }
                    by => return Err(LockError::HeldInStore { by, path }),
                },
                Err(error) => return Err(unusable("lock", &path)(error.into())),
            }
        }
        self.store = Some((file, path));
        self.verify()
    }

    /// Verifies that what is locked in the store is still what others would
    /// have to lock.
    pub fn verify(&self) -> Result<(), LockError> {
        match &self.store {
            Some((file, path)) if !is_at(file, path) => Err(LockError::Replaced { path: path.clone() }),
            _ => Ok(()),
        }
    }

    /// The lock for a child process to hold too: should this process be
    /// killed, the host stays locked until that child has ended. It is the one
    /// in the store, if there is one: that keeps every run out.
    pub fn share(&self) -> Result<File, LockError> {
        let (file, path) = self.store.as_ref().map_or((&self.file, &self.path), |(file, path)| (file, path));
        file.try_clone().map_err(unusable("share", path))
    }
}

/// Whether a path leads to this very file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(own), Ok(found)) = (file.metadata(), path.symlink_metadata()) else { return false };
    (own.dev(), own.ino()) == (found.dev(), found.ino())
}

fn is_there(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

fn open_lock(path: &Path) -> Result<File, LockError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default())
        .open(path)
        .map_err(unusable("open the lock", path))
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Removes the directories of runs that are dead.
fn sweep(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let dead = |path: &PathBuf| {
        let Ok(lock) = File::open(path.join("lock")) else { return true };
        flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
    };
    let runs = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(RUN_PREFIX))
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path());
    runs.filter(dead)
        .filter(|path| {
            process::end_marked(path);
            std::fs::remove_dir_all(path).is_ok()
        })
        .count()
}

/// A number in as few characters as a file name allows.
fn short(mut number: u32) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut text = String::new();
    loop {
        text.insert(0, char::from(DIGITS[(number % 36) as usize]));
        number /= 36;
        if number == 0 {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vpn() -> HostName {
        "VPN".parse().unwrap()
    }

    #[tokio::test]
    async fn a_host_is_locked_once_and_the_holder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, _) = Runtime::enter(dir.path()).unwrap();
        assert!(!runtime.is_locked(&vpn()));
        let lock = runtime.lock_host(&vpn()).await.unwrap();
        assert!(runtime.is_locked(&vpn()));
        let error = runtime.lock_host(&"vpn".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("locked by another run (process {})", std::process::id()));
        drop(lock);
        runtime.lock_host(&vpn()).await.unwrap();
    }

    #[tokio::test]
    async fn a_shared_lock_outlives_its_owner_and_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, _) = Runtime::enter(dir.path()).unwrap();
        let lock = runtime.lock_host(&vpn()).await.unwrap();
        let shared = lock.share().unwrap();
        drop(lock);
        assert!(matches!(runtime.lock_host(&vpn()).await, Err(LockError::Held { .. })));
        // The lock of a process that is no more: its last child is dying.
        std::fs::write(dir.path().join("vpn.lock"), "4194303\n").unwrap();
        let host = vpn();
        let (locked, ()) = tokio::join!(runtime.lock_host(&host), async move { drop(shared) });
        locked.unwrap();
    }

    #[tokio::test]
    async fn a_lock_that_was_replaced_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, _) = Runtime::enter(dir.path()).unwrap();
        let path = dir.path().join("vpn.lock");
        // A killed run's child has the one that somebody then clears away.
        std::fs::write(&path, "4194303\n").unwrap();
        let old = File::open(&path).unwrap();
        flock(&old, FlockOperation::LockExclusive).unwrap();
        let host = vpn();
        let clear = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            std::fs::remove_file(&path).unwrap();
            let new = open_lock(&path).unwrap();
            flock(&new, FlockOperation::LockExclusive).unwrap();
            drop(old);
            new
        };
        let (locked, new) = tokio::join!(runtime.lock_host(&host), clear);
        assert!(matches!(locked, Err(LockError::Held { .. })), "{locked:?}");
        drop(new);
        runtime.lock_host(&host).await.unwrap();
    }

    #[tokio::test]
    async fn runs_that_share_no_runtime_directory_meet_in_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("place");
        std::fs::create_dir(&path).unwrap();
        let locked = async |run: &str| {
            let (runtime, _) = Runtime::enter(&dir.path().join(run)).unwrap();
            let mut lock = loop {
                match runtime.lock_host(&vpn()).await {
                    // A program that another test starts has our locks until it runs.
                    Err(LockError::Held { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                    lock => break lock.unwrap(),
                }
            };
            lock.lock_in_store(File::open(&path).unwrap(), path.clone()).await.map(|()| lock)
        };
        let first = locked("first").await.unwrap();
        let refusal = locked("second").await.unwrap_err();
        assert!(matches!(refusal, LockError::HeldInStore { by: Some(_), .. }), "{refusal}");
        let child = first.share().unwrap();
        drop(first);
        locked("second").await.unwrap_err();
        drop(child);
        let second = loop {
            match locked("second").await {
                Err(LockError::HeldInStore { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                second => break second.unwrap(),
            }
        };
        second.verify().unwrap();
        std::fs::rename(&path, dir.path().join("away")).unwrap();
        assert!(matches!(second.verify(), Err(LockError::Replaced { .. })));
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(second.verify(), Err(LockError::Replaced { .. })));
    }

    #[tokio::test]
    async fn no_hosts_lock_keeps_other_runs_out() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, _) = Runtime::enter(dir.path()).unwrap();
        let mut locks = Vec::new();
        for name in ["door", "lock", "r"] {
            locks.push(runtime.lock_host(&name.parse().unwrap()).await.unwrap());
        }
        let free =
            flock(open_lock(&dir.path().join(DOOR)).unwrap(), FlockOperation::NonBlockingLockExclusive);
        assert!(free.is_ok(), "another run would wait for as long as a host takes");
    }

    #[tokio::test]
    async fn what_dead_runs_left_is_cleared_away_and_what_living_ones_need_stays() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("rDEAD00/0")).unwrap();
        std::fs::write(dir.path().join("rDEAD00/lock"), "").unwrap();
        let (living, swept) = Runtime::enter(dir.path()).unwrap();
        assert_eq!(swept, 1);
        let connection = living.connection_dir().unwrap();
        let (_second, swept) = Runtime::enter(dir.path()).unwrap();
        assert_eq!(swept, 0);
        assert!(connection.exists());
    }

    #[test]
    fn a_symlink_is_not_followed_to_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join(DOOR)).unwrap();
        assert!(matches!(Runtime::enter(dir.path()), Err(LockError::Unusable { .. })));
    }

    #[test]
    fn short_names_stay_short_and_differ() {
        assert_eq!(
            (short(0), short(35), short(36), short(46655)),
            ("0".into(), "z".into(), "10".into(), "zzz".into())
        );
    }
}
