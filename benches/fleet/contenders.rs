//! Those that are measured. Each keeps its copies in a folder of its own, and
//! shares unchanged files with its former tree; none removes old trees while
//! it is measured.

mod ancestor;
mod backuppc;
mod ours;
mod rsnapshot;
mod rsync;

pub use ancestor::{WORD as ANCESTOR_WORD, main as ancestor_main};
pub use rsync::{Floor, recorder};

use crate::measure::Order;
use crate::rig::Rig;
use crate::rows::Who;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A host to copy.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Where ssh finds it.
    pub address: Ipv4Addr,
    /// The directory to copy.
    pub source: PathBuf,
    /// Whether it can be copied at all.
    pub alive: bool,
}

/// What a contender works with.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Its folder.
    pub dir: PathBuf,
    /// A folder with a short name, for control sockets.
    pub runtime: PathBuf,
    /// The hosts.
    pub targets: Vec<Target>,
    /// How many are copied at once.
    pub jobs: usize,
    /// How fast a host may send, as rsync's `--bwlimit` has it.
    pub bandwidth: Option<&'static str>,
    /// The longest that it may take.
    pub limit: Duration,
    /// The port of every host's sshd.
    pub port: u16,
    /// The key that opens every host.
    pub login: PathBuf,
    /// The hosts' keys.
    pub known_hosts: PathBuf,
    /// The `backup` that is measured.
    pub backup: PathBuf,
    /// Where the files of downloaded packages are kept.
    pub packages: PathBuf,
}

impl Scene {
    /// One in a folder of the rig.
    pub fn new(rig: &Rig, name: &str, targets: Vec<Target>, jobs: usize, limit: Duration) -> Scene {
        Scene {
            dir: rig.dir.join("copies").join(name),
            runtime: rig.runtime.clone(),
            targets,
            jobs,
            bandwidth: None,
            limit,
            port: rig.port,
            login: rig.login(),
            known_hosts: rig.known_hosts(),
            backup: PathBuf::from(env!("CARGO_BIN_EXE_backup")),
            packages: Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-packages"),
        }
    }

    /// What ssh is told by all but `backup`, which tells it the same in its
    /// own way.
    fn ssh_options(&self) -> Vec<String> {
        let mut options: Vec<String> =
            ["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
                .map(str::to_owned)
                .into();
        options.extend(["-p".to_owned(), self.port.to_string()]);
        options.extend(["-i".to_owned(), self.login.display().to_string()]);
        options.extend(["-o".to_owned(), format!("UserKnownHostsFile={}", self.known_hosts.display())]);
        options
    }

    /// An order to run a program for each host under `xargs`, with the words
    /// that a list gives for each, so many.
    fn under_xargs(&self, list: &Path, words: usize, line: impl IntoIterator<Item = OsString>) -> Order {
        let mut all: Vec<OsString> =
            ["xargs", "-0", "-n", &words.to_string(), "-P", &self.jobs.to_string(), "-a"]
                .map(Into::into)
                .into();
        all.push(list.into());
        all.extend(line);
        self.order(all)
    }

    fn order(&self, line: Vec<OsString>) -> Order {
        Order { line, good: &[], limit: self.limit }
    }

    /// Empties the contender's folder.
    fn empty(&self) -> Result<()> {
        remove(&self.dir)?;
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))
    }
}

/// Removes a folder with everything in it, if it is there.
pub fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// One that is measured.
pub trait Contender {
    /// Begins anew: there is no copy of anything.
    fn begin(&mut self) -> Result<()>;

    /// What is to be run now.
    fn order(&self) -> Result<Order>;

    /// After a run that was good: makes ready for the next one. What it took
    /// from its start, in seconds since 1970, to the last host's copy, where
    /// that can be said.
    fn settle(&mut self, started: f64) -> Result<Option<f64>>;

    /// Removes all copies.
    fn clear(&mut self) -> Result<()>;
}

/// The variable that names the `backup` of `--before`.
pub const BEFORE: &str = "BACKUP_BENCH_BEFORE";

/// The other `backup` that takes part, if one does.
pub fn before() -> Option<PathBuf> {
    std::env::var_os(BEFORE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// A contender of a kind. Fails if it cannot take part on this machine.
pub fn contender(who: Who, scene: Scene, floor: &Floor) -> Result<Box<dyn Contender>> {
    Ok(match who {
        Who::Backup | Who::BackupBigAlone => Box::new(ours::Ours::new(scene)),
        Who::BackupAmongDead => Box::new(ours::Ours::among_dead(scene)),
        Who::BackupBefore => {
            let backup = before().context("no other `backup` is named")?;
            Box::new(ours::Ours::new(Scene { backup, ..scene }))
        }
        Who::Rsync => Box::new(rsync::Rsync::new(scene, floor.clone())),
        Who::Rsnapshot => Box::new(rsnapshot::Rsnapshot::new(scene, floor.clone())),
        Who::Ancestor => Box::new(ancestor::Ancestor::new(scene, floor.clone())),
        Who::BackupPc => Box::new(backuppc::BackupPc::new(scene, floor)?),
    })
}

/// Finds out with which arguments `backup` runs rsync.
pub fn floor(scene: Scene) -> Result<Floor> {
    rsync::record(ours::Ours::new(scene))
}
