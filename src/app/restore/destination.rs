//! Where files go: a directory of this machine, or a host.

use super::comparison::{RestoreComparison, far};
use super::lists::Lists;
use super::paths::{below, parents};
use super::reach;
use crate::core::files::entry::{Kind, Moment};
use crate::core::format::text::{human_bytes, printable, printable_bytes};
use crate::core::model::host::Host;
use crate::core::model::settings::Settings;
use crate::edge::remote::{Ground, Remote};
use crate::edge::rsync::{Confinement, Existing, Limits, Progress, Restore, Transfer, TransferError};
use crate::edge::tree::{Ahead, Stopped, Strictness, Tree};
use crate::edge::tree::{directories, look_ahead, look_back};
use crate::sys::lock::{HostLock, Runtime};
use anyhow::{Context, anyhow, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A restoration takes as long as it takes.
const NO_DEADLINE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How many of the things in the way are named.
const NAMED: usize = 10;

/// Says when to stop, to whoever can wait and to whoever cannot.
#[derive(Debug, Clone, Default)]
pub struct StopSwitch {
    /// Cancelled once it was thrown.
    pub token: CancellationToken,
    flag: Arc<AtomicBool>,
}

impl StopSwitch {
    /// Throws it.
    pub fn now(&self) {
        self.flag.store(true, Ordering::Relaxed);
        self.token.cancel();
    }
}

/// What is written, and how.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The snapshot's root.
    pub(super) from: PathBuf,
    pub(super) paths: Vec<Vec<u8>>,
    pub(super) existing: Existing,
    /// Whether it may go where others can interfere.
    pub(super) into_shared: bool,
}

/// Where it goes.
#[derive(Debug)]
pub(super) enum Destination {
    /// A directory of this machine, held open; with a lock if it is a host's source.
    Here { root: PathBuf, held: File, lock: Option<(Runtime, HostLock)> },
    /// A host; its connection ends with this.
    There { host: Box<Host>, remote: Remote, lock: (Runtime, HostLock) },
}

/// What is to be written, and what is there.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) bytes: u64,
    /// How many of the files are there already.
    pub(super) there: u64,
    /// How many of those seem to be as in the snapshot.
    pub(super) alike: u64,
    /// How rsync is confined to the directory, if it is one of this machine.
    confined: Option<Confinement>,
    /// Directories of a host that were looked at, and what was there.
    looked_at: Vec<(Vec<u8>, Option<Ground>)>,
    /// Directories above the paths that are not there yet, outermost first.
    missing: Vec<Vec<u8>>,
    /// What is missing, if something is there that is left alone.
    lists: Option<Lists>,
}

impl Destination {
    /// A directory of this machine, which must exist. If it is to be written
    /// to, no other restoration may write to it meanwhile.
    pub(super) fn directory(path: &Path, stores: &[PathBuf], writes: bool) -> anyhow::Result<Self> {
        let shown = printable(&path.to_string_lossy());
        let root = path
            .canonicalize()
            .with_context(|| format!("cannot restore to `{shown}` (make it with `mkdir -p {shown}`)"))?;
        if !root.is_dir() {
            bail!("cannot restore to `{shown}`: it is no directory");
        }
        if stores.iter().filter_map(|store| store.canonicalize().ok()).any(|store| root.starts_with(store)) {
            bail!("`{shown}` is in the store: a restoration would change what is kept there");
        }
        let held = hold(&root, writes)?;
        Ok(Destination::Here { root, held, lock: None })
    }

    /// The source of this very machine.
    pub(super) fn this_machine(
        source: &str,
        lock: (Runtime, HostLock),
        writes: bool,
    ) -> anyhow::Result<Self> {
        match Destination::directory(Path::new(source), &[], writes)? {
            Destination::Here { root, held, .. } => Ok(Destination::Here { root, held, lock: Some(lock) }),
            other => Ok(other),
        }
    }

    /// What people call it.
    pub(super) fn display(&self) -> String {
        match self {
            Destination::Here { root, .. } => printable(&root.to_string_lossy()),
            Destination::There { host, .. } => format!("{}:{}", host.name, printable(&host.settings.source)),
        }
    }

    fn root(&self) -> PathBuf {
        match self {
            Destination::Here { root, .. } => root.clone(),
            Destination::There { host, .. } => PathBuf::from(&host.settings.source),
        }
    }

    /// A path below it, safe to print.
    fn below(&self, path: &[u8]) -> String {
        match self {
            Destination::Here { root, .. } => below(root, path),
            Destination::There { host, .. } => {
                format!("{}:{}", host.name, below(Path::new(&host.settings.source), path))
            }
        }
    }

    /// Looks what there is to write and what is there, and refuses what must
    /// not be written. Writes nothing.
    pub(super) async fn plan(
        &self,
        wanted: &Wanted,
        tree: Tree,
        settings: &Settings,
        stop: &StopSwitch,
    ) -> anyhow::Result<Plan> {
        let above = above(&wanted.paths);
        let (mut lists, mut confined, mut looked_at) = (None, None, Vec::new());
        let (ahead, missing, free) = match self {
            Destination::Here { root, held, .. } => {
                let facts =
                    held.metadata().with_context(|| format!("cannot look at `{}`", self.display()))?;
                if !wanted.into_shared {
                    reach::refuse_shared(root, &facts)?;
                }
                let gets_mode = wanted.paths.iter().any(Vec::is_empty);
                confined = reach::confinement(root, &facts, &wanted.from, gets_mode).await?;
                let (ahead, missing) = self.look_here(root, wanted, tree, &above, stop).await?;
                if wanted.existing == Existing::Leave {
                    let trees = [open(&wanted.from)?, open(root)?];
                    let (paths, flag) = (wanted.paths.clone(), stop.flag.clone());
                    lists = blocking(move || Lists::of(&trees, &paths, &flag)).await??;
                }
                (ahead, missing, Some(room(root)?))
            }
            Destination::There { host, remote, .. } => {
                let (paths, flag) = (wanted.paths.clone(), stop.flag.clone());
                let found = blocking(move || directories(&tree, &paths, &flag)).await?;
                let (mut asked, mut ahead) = found.map_err(|stopped| broken_off(stopped, wanted))?;
                asked.splice(0..0, above.iter().cloned());
                if let Some(path) = asked.iter().find(|path| path.contains(&b'\n')) {
                    bail!(
                        "`/{}` has a line break in its name, which cannot be handled on a host: restore it \
                         with `--to DIR`, and copy it",
                        printable_bytes(path)
                    );
                }
                let source = &host.settings.source;
                let target = tokio::select! {
                    target = remote.target(source, &asked) => target?,
                    () = stop.token.cancelled() => bail!("told to stop; nothing was written"),
                };
                let Some(target) = target else {
                    bail!("`{}` is no directory that can be entered (is `source` right?)", self.display());
                };
                let (before, within) = target.grounds.split_at(above.len());
                let mut grounds = before.iter();
                let missing = self.missing(&above, |_| Ok(grounds.next().copied().flatten()))?;
                let in_the_way = asked[above.len()..].iter().zip(within).filter_map(|(path, ground)| {
                    let ground = ground.filter(|ground| *ground != Ground::Directory)?;
                    Some((&path[..], ground == Ground::Link))
                });
                let count = in_the_way.clone().count() as u64;
                self.refuse(wanted, in_the_way, count)?;
                let job = self.job(wanted, settings)?;
                let overview = job.look_ahead(limits(settings, &stop.token)).await?;
                ahead.needed = overview.bytes;
                looked_at = asked.into_iter().zip(target.grounds).collect();
                ahead.there = ahead.files.saturating_sub(overview.new);
                ahead.alike = ahead.there.saturating_sub(overview.different);
                (ahead, missing, target.free)
            }
        };
        self.refuse_if_short(&ahead, free)?;
        let Ahead { files, directories, bytes, there, alike, .. } = ahead;
        Ok(Plan { files, directories, bytes, there, alike, confined, looked_at, missing, lists })
    }

    /// Refuses what cannot be read in full, and what has no room.
    fn refuse_if_short(&self, ahead: &Ahead, free: Option<u64>) -> anyhow::Result<()> {
        if ahead.unread > 0 {
            bail!("the snapshot cannot be read in full; nothing was written");
        }
        if let Some(free) = free.filter(|free| ahead.needed > *free) {
            bail!(
                "`{}` has no room: {} are needed, and {} are free",
                self.display(),
                human_bytes(ahead.needed),
                human_bytes(free)
            );
        }
        Ok(())
    }

    /// Looks what there is to write to a directory of this machine, and which
    /// directories above it are missing; refuses what is in the way.
    async fn look_here(
        &self,
        root: &Path,
        wanted: &Wanted,
        tree: Tree,
        above: &[Vec<u8>],
        stop: &StopSwitch,
    ) -> anyhow::Result<(Ahead, Vec<Vec<u8>>)> {
        let into = open(root)?;
        let missing = self.missing(above, |path| kind_here(&into, path))?;
        let (paths, flag) = (wanted.paths.clone(), stop.flag.clone());
        let ahead = blocking(move || look_ahead(&[tree, into], &paths, &flag)).await?;
        let ahead = ahead.map_err(|stopped| broken_off(stopped, wanted))?;
        let obstacles = ahead.obstacles.first.iter().map(|(path, kind)| (&path[..], *kind == Kind::Symlink));
        self.refuse(wanted, obstacles, ahead.obstacles.count)?;
        Ok((ahead, missing))
    }

    /// Looks once more right before anything is written: somebody may have been
    /// asked in between, and what has become a symlink would lead elsewhere.
    async fn look_again(&self, wanted: &Wanted, plan: &Plan, stop: &StopSwitch) -> anyhow::Result<()> {
        let (host, remote) = match self {
            Destination::Here { root, .. } => {
                let tree = open(&wanted.from)?;
                self.look_here(root, wanted, tree, &above(&wanted.paths), stop).await?;
                return Ok(());
            }
            Destination::There { host, remote, .. } => (host, remote),
        };
        let paths: Vec<Vec<u8>> = plan.looked_at.iter().map(|(path, _)| path.clone()).collect();
        let Some(target) = remote.target(&host.settings.source, &paths).await? else {
            bail!("`{}` is not there any more", self.display());
        };
        let link = Some(Ground::Link);
        for ((path, before), now) in plan.looked_at.iter().zip(target.grounds) {
            if now == link && *before != link {
                bail!(
                    "`{}` has become a symlink, which is never followed (move it away, and find out who made it)",
                    self.below(path)
                );
            }
        }
        Ok(())
    }

    /// Which of the directories above the paths are not there; refuses symlinks
    /// and files in their places, for those would lead elsewhere.
    fn missing(
        &self,
        above: &[Vec<u8>],
        mut ground: impl FnMut(&[u8]) -> anyhow::Result<Option<Ground>>,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut missing = Vec::new();
        for path in above {
            let what = match ground(path)? {
                None => {
                    missing.push(path.clone());
                    continue;
                }
                Some(Ground::Directory) => continue,
                Some(Ground::Link) => "a symlink, which is never followed",
                Some(Ground::Other) => "no directory",
            };
            bail!("`{}` is {what}: move it away, or restore to another place", self.below(path));
        }
        Ok(missing)
    }

    /// Refuses what is in the way of directories. Given are the first paths,
    /// and whether each is a symlink.
    fn refuse<'a>(
        &self,
        wanted: &Wanted,
        obstacles: impl Iterator<Item = (&'a [u8], bool)>,
        count: u64,
    ) -> anyhow::Result<()> {
        let replaces = wanted.existing != Existing::Leave;
        let named = |path: &[u8]| wanted.paths.iter().any(|named| named == path);
        let bad: Vec<_> = obstacles.filter(|(path, link)| !replaces || (*link && named(path))).collect();
        let Some((path, link)) = bad.first() else { return Ok(()) };
        let what = if *link { "a symlink, which is never followed," } else { "no directory" };
        let more = match count {
            0 | 1 => String::new(),
            more => format!(" (and {} more like it)", more - 1),
        };
        let others: String =
            bad.iter().skip(1).take(NAMED - 1).map(|(path, _)| format!("\n  {}", self.below(path))).collect();
        let advice = if replaces || named(path) {
            "move it away, or restore to another place"
        } else {
            "move it away, restore to another place, or replace it with `--overwrite`"
        };
        bail!(
            "`{}` is {what} and in the snapshot it is a directory{more}: {advice}{others}",
            self.below(path)
        )
    }

    fn job(&self, wanted: &Wanted, settings: &Settings) -> anyhow::Result<Restore> {
        let (rsh, rsync_path, lock) = match self {
            // Should this process be killed, rsync holds it to its own end.
            Destination::Here { lock: None, held, .. } => (None, None, held.try_clone()?),
            Destination::Here { lock: Some((_, lock)), .. } => (None, None, lock.share()?),
            Destination::There { remote, lock: (_, lock), .. } => {
                (remote.rsh(), remote.rsync_path(), lock.share()?)
            }
        };
        Ok(Restore {
            from: wanted.from.clone(),
            paths: wanted.paths.clone(),
            list: None,
            whole: true,
            to: self.root(),
            existing: wanted.existing.clone(),
            compress: settings.transfer.compress && rsh.is_some(),
            bandwidth_limit: settings.transfer.bandwidth_limit.clone().filter(|_| rsh.is_some()),
            rsh,
            rsync_path,
            lock: Some(lock),
            confined: None,
        })
    }

    /// Writes. Directories above the paths that are missing come first, as in
    /// the snapshot, and get their times when all is written.
    pub(super) async fn write(
        &self,
        wanted: &Wanted,
        plan: &Plan,
        settings: &Settings,
        stop: &StopSwitch,
        progress: impl FnMut(Progress),
    ) -> anyhow::Result<Result<Transfer, TransferError>> {
        let again = self.look_again(wanted, plan, stop).await;
        again.map_err(|error| anyhow!("{error:#}; nothing was written"))?;
        let new = || anyhow::Ok(Restore { confined: plan.confined, ..self.job(wanted, settings)? });
        let mut job = new()?;
        let mut nothing = false;
        if let Some(lists) = &plan.lists {
            job.list.clone_from(&lists.missing);
            nothing = job.list.is_none();
        }
        let mut frame = new()?;
        (frame.paths, frame.whole, frame.existing) = (plan.missing.clone(), false, Existing::Replace);
        let limits = || limits(settings, &stop.token);
        if !plan.missing.is_empty() {
            if let Err(error) = frame.run(limits(), |_| {}).await {
                return Ok(Err(error));
            }
        }
        if nothing {
            return Ok(Ok(Transfer::nothing()));
        }
        let written = job.run(limits(), progress).await;
        if written.is_ok() {
            if let Some(list) = plan.lists.as_ref().and_then(|lists| lists.incomplete.clone()) {
                let mut times = new()?;
                (times.whole, times.existing, times.list) = (false, Existing::Replace, Some(list));
                if let Err(error) = times.run(limits(), |_| {}).await {
                    return Ok(Err(error));
                }
            }
        }
        if written.is_ok() && !plan.missing.is_empty() {
            if let Err(error) = frame.run(limits(), |_| {}).await {
                return Ok(Err(error));
            }
        }
        Ok(written)
    }

    /// Compares what was written since `begun` with the snapshot.
    pub(super) async fn compare(
        &self,
        wanted: &Wanted,
        plan: &Plan,
        tree: Tree,
        begun: Moment,
        settings: &Settings,
        stop: &StopSwitch,
    ) -> anyhow::Result<RestoreComparison> {
        // Directories that are left alone have their own.
        let directory_times = plan.lists.is_none();
        match self {
            Destination::Here { root, .. } => {
                let into = open(root)?;
                let (paths, flag) = (wanted.paths.clone(), stop.flag.clone());
                let how = Strictness { begun, directory_times };
                let after = blocking(move || look_back(&[tree, into], &paths, how, &flag)).await?;
                Ok(after.map_err(|stopped| broken_off(stopped, wanted))?.into())
            }
            Destination::There { host, remote, .. } => {
                let overview = self.job(wanted, settings)?.look_back(limits(settings, &stop.token)).await?;
                for complaint in &overview.complaints {
                    tracing::warn!("{complaint}");
                }
                if !tree.is_in_place() {
                    return Err(broken_off(Stopped::Gone, wanted));
                }
                let mut compared = far(overview, wanted, directory_times);
                // rsync follows a symlink that leads to a path, and has compared
                // what is behind it.
                let paths: Vec<Vec<u8>> = plan.looked_at.iter().map(|(path, _)| path.clone()).collect();
                let Some(target) = remote.target(&host.settings.source, &paths).await? else {
                    bail!("`{}` is not there any more", self.display());
                };
                for (path, _) in
                    paths.iter().zip(target.grounds).filter(|(_, now)| *now == Some(Ground::Link))
                {
                    compared.led_astray(path);
                }
                Ok(compared)
            }
        }
    }
}

/// The directories that lead to all the paths, outermost first, each once.
fn above(paths: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut above: Vec<Vec<u8>> = paths.iter().flat_map(|path| parents(path)).collect();
    above.sort();
    above.dedup();
    above
}

/// Holds a directory open; if it is to be written to, against other restorations,
/// where the filesystem has locks.
fn hold(root: &Path, writes: bool) -> anyhow::Result<File> {
    let shown = printable(&root.to_string_lossy());
    let file = File::open(root).with_context(|| format!("cannot open `{shown}`"))?;
    if !writes {
        return Ok(file);
    }
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => bail!(
            "cannot restore to `{shown}`: another restoration writes to it (wait until it has ended, or \
             restore to another directory; `fuser -v {shown}` shows who has it)"
        ),
        Err(error) => {
            tracing::warn!(
                "`{shown}` cannot be locked ({}): see that nobody else restores to it",
                std::io::Error::from(error)
            );
            Ok(file)
        }
    }
}

fn open(root: &Path) -> anyhow::Result<Tree> {
    Tree::open(root).map_err(|error| {
        anyhow!("cannot open `{}`: {}", printable(&root.to_string_lossy()), std::io::Error::from(error))
    })
}

fn kind_here(tree: &Tree, path: &[u8]) -> anyhow::Result<Option<Ground>> {
    let entry = tree.entry(path).map_err(|error| {
        anyhow!("cannot look at `{}`: {}", tree.display(path), std::io::Error::from(error))
    })?;
    Ok(entry.map(|entry| match entry.kind {
        Kind::Directory => Ground::Directory,
        Kind::Symlink => Ground::Link,
        _ => Ground::Other,
    }))
}

/// How many bytes are free; an error if nothing can be written there at all.
fn room(root: &Path) -> anyhow::Result<u64> {
    let shown = printable(&root.to_string_lossy());
    let stat = rustix::fs::statvfs(root)
        .map_err(std::io::Error::from)
        .with_context(|| format!("cannot see how much room `{shown}` has"))?;
    if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        bail!("`{shown}` is on a filesystem that is mounted read-only");
    }
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn limits<'a>(settings: &Settings, cancel: &'a CancellationToken) -> Limits<'a> {
    let stall_timeout = settings.transfer.stall_timeout;
    Limits { stall_timeout, deadline: Instant::now() + NO_DEADLINE, cancel }
}

fn broken_off(stopped: Stopped, wanted: &Wanted) -> anyhow::Error {
    match stopped {
        Stopped::Gone => anyhow!(
            "the snapshot at `{}` was removed while it was read: choose another",
            printable(&wanted.from.to_string_lossy())
        ),
        Stopped::Told => anyhow!("told to stop"),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("the work broke off")
}
