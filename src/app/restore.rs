//! Files of a snapshot, given back.
//!
//! The order of things: what is wanted is found in the snapshot, what is in its
//! place is looked at, the plan is shown and agreed to, rsync writes, and what
//! was written is compared with the snapshot. Nothing is written before all
//! that can be refused was refused; no symlink is followed; nothing is deleted.
//!
//! Not known here: how the plan is shown, and who agrees to it.

mod comparison;
mod destination;
mod lists;
mod paths;
mod reach;

pub use crate::edge::rsync::Existing;
pub use comparison::{RestoreComparison, Unequal};
pub use destination::StopSwitch;

use crate::app::session::{Place, Session};
use crate::app::snapshot_view::Seen;
use crate::core::files::entry::Moment;
use crate::core::format::similar::nearest;
use crate::core::format::text::printable;
use crate::core::format::time_spec;
use crate::core::model::host::{Host, HostName};
use crate::core::model::settings::Settings;
use crate::core::model::snapshot::Snapshot;
use crate::edge::inventory;
use crate::edge::remote::{Remote, RemoteError};
use crate::edge::rsync::{Ending, TransferError};
use crate::edge::tree::{self, Tree};
use crate::sys::clock::Clock;
use crate::sys::lock::{HostLock, Runtime};
use anyhow::{Context, bail};
use chrono_tz::Tz;
use destination::{Destination, Plan, Wanted};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tracing::{error, warn};

/// What an operator wants to have back.
#[derive(Debug)]
pub struct RestoreRequest<'a> {
    /// The configuration, or where it usually is.
    pub config: Option<&'a Path>,
    /// A host that the store has copies of.
    pub host: &'a str,
    /// From its root.
    pub paths: &'a [OsString],
    /// Of what time; the newest snapshot without it.
    pub at: Option<&'a str>,
    /// Of which snapshot.
    pub snapshot: Option<&'a str>,
    /// Where it goes.
    pub to: RestoreTo<'a>,
    /// What becomes of files that are there already.
    pub replaces: Replaces,
    /// Whether it may go where others can interfere.
    pub into_shared: bool,
    /// Whether it is to be written, not only planned.
    pub writes: bool,
}

/// Where restored files go.
#[derive(Debug, Clone, Copy)]
pub enum RestoreTo<'a> {
    /// A directory of this server.
    Directory(&'a Path),
    /// A host; without a name the one whose files they are.
    Host(Option<&'a str>),
}

/// What becomes of files that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaces {
    /// They are left alone.
    Nothing,
    /// They are replaced where they differ.
    Files,
    /// The same, and what was there is kept.
    FilesAndKeepsThem,
}

/// A restoration that is planned, and may be begun.
pub struct Restoration {
    settings: Settings,
    seen: Seen,
    wanted: Wanted,
    destination: Destination,
    plan: Plan,
    /// A snapshot of ZFS that nobody has open is unmounted after a while.
    _open: Tree,
    /// Whose files they are.
    pub host: HostName,
    /// Where they come from.
    pub snapshot: Snapshot,
    /// The zone in which times are told.
    pub zone: Tz,
    /// What is to be written, and what is there.
    pub amount: RestoreAmount,
    /// When writing began.
    begun: Moment,
}

/// How much is to be written, and how much is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreAmount {
    /// Everything that is no directory.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes in files, each once.
    pub bytes: u64,
    /// How many of the files are there already.
    pub existing: u64,
    /// How many of those seem to be as in the snapshot: by size and time.
    pub alike: u64,
}

impl Restoration {
    /// Finds what is wanted, and looks what is in its place. A host that is written
    /// to is locked and connected to, and stays so.
    ///
    /// # Errors
    /// Something is not there, or must not be written; or `stop` was thrown.
    pub async fn planned(
        request: &RestoreRequest<'_>,
        clock: Clock,
        stop: &StopSwitch,
    ) -> anyhow::Result<Self> {
        let session = Session::open(request.config, clock)?;
        let place = session.place(request.host).await?;
        let snapshot = chosen(request, &place, &session)?.clone();
        let seen = Seen::new(&place, &snapshot);
        let root = seen.open()?;
        let zone = session.settings.timezone;
        let search = paths::Search { place: &place, seen: &seen, tree: &root, zone };
        let paths = search.all(request.paths)?;
        let existing = match request.replaces {
            Replaces::Nothing => Existing::Leave,
            Replaces::Files => Existing::Replace,
            Replaces::FilesAndKeepsThem => {
                Existing::Keep(clock.start().format(".before-restore-%Y-%m-%dT%H%M%SZ").to_string())
            }
        };
        let from = seen.path.components().collect();
        let wanted = Wanted { from, paths, existing, into_shared: request.into_shared };
        let open = seen.open()?;
        if !rustix::process::geteuid().is_root() {
            warn!("not running as root: owners and some attributes of files cannot be restored");
        }
        let destination = destination(request, &session, &place, stop).await?;
        let plan = tokio::select! {
            plan = destination.plan(&wanted, root, &session.settings, stop) => plan?,
            () = stop.token.cancelled() => bail!("told to stop; nothing was written"),
        };
        let Plan { files, directories, bytes, there, alike, .. } = plan;
        Ok(Restoration {
            settings: session.settings,
            seen,
            wanted,
            destination,
            plan,
            _open: open,
            host: place.host,
            snapshot,
            zone,
            amount: RestoreAmount { files, directories, bytes, existing: there, alike },
            begun: tree::now(),
        })
    }

    /// What people call the place that files go to.
    pub fn to(&self) -> String {
        self.destination.display()
    }

    /// What is wanted, from the host's root.
    pub fn paths(&self) -> Vec<String> {
        self.wanted.paths.iter().map(|path| crate::app::snapshot_view::lossy(path)).collect()
    }

    /// What becomes of files that are there already.
    pub fn existing(&self) -> &Existing {
        &self.wanted.existing
    }

    /// Writes, and says what went wrong; `false` if there is nothing to compare.
    /// `progress` hears of files and bytes.
    ///
    /// # Errors
    /// What is there now must not be written to; nothing was.
    pub async fn write(
        &mut self,
        mut progress: impl FnMut(u64, u64),
        stop: &StopSwitch,
    ) -> anyhow::Result<bool> {
        self.begun = tree::now();
        let told = |now: crate::edge::rsync::Progress| progress(now.files, now.bytes);
        let written = self.destination.write(&self.wanted, &self.plan, &self.settings, stop, told).await?;
        let goes_on = "run the same command again to continue where it stopped";
        match written {
            Ok(transfer) => {
                transfer.complaints.iter().for_each(|complaint| warn!("{complaint}"));
                if transfer.further_complaints > 0 {
                    warn!("rsync reported {} more errors", transfer.further_complaints);
                }
                if transfer.ending != Ending::Complete {
                    warn!("some of it could not be written");
                }
                return Ok(true);
            }
            Err(TransferError::Cancelled) => warn!("told to stop: {goes_on}"),
            Err(TransferError::StoreFull(said)) => {
                error!("`{}` is full: {said} (make room; {goes_on})", self.destination.display());
            }
            Err(TransferError::ConnectionLost(said)) => error!("the connection was lost ({said}): {goes_on}"),
            Err(TransferError::NoSource(said)) => {
                error!("the snapshot cannot be read any more: {said} (was it removed? choose another one)");
            }
            Err(error) => error!("{error} ({goes_on})"),
        }
        Ok(false)
    }

    /// Compares what was written with the snapshot.
    ///
    /// # Errors
    /// One of both is not there any more, or cannot be read.
    pub async fn compare(&self, stop: &StopSwitch) -> anyhow::Result<RestoreComparison> {
        let tree = self.seen.open()?;
        self.destination.compare(&self.wanted, &self.plan, tree, self.begun, &self.settings, stop).await
    }
}

fn chosen<'a>(
    request: &RestoreRequest<'_>,
    place: &'a Place,
    session: &Session,
) -> anyhow::Result<&'a Snapshot> {
    match request.at {
        Some(time) => {
            let zone = session.settings.timezone;
            place.at(time_spec::parse(time, session.clock.now(), zone)?, zone)
        }
        None => place.meant(request.snapshot.unwrap_or("latest"), session),
    }
}

/// Where to write. A host is locked, and connected to.
async fn destination(
    request: &RestoreRequest<'_>,
    session: &Session,
    place: &Place,
    stop: &StopSwitch,
) -> anyhow::Result<Destination> {
    let word = match request.to {
        RestoreTo::Directory(directory) => {
            return Destination::directory(directory, &place.roots, request.writes);
        }
        RestoreTo::Host(word) => word,
    };
    let own = &place.host;
    let name: HostName = word.unwrap_or(own.key()).parse()?;
    let settings = &session.settings;
    let host = find_host(session, name, own).await?;
    let (runtime, _) = Runtime::enter(&settings.runtime_dir)
        .context("the runtime directory is not usable (is this root, and `runtime_dir` right?)")?;
    let lock: HostLock = runtime
        .lock_host(&host.name)
        .await
        .with_context(|| format!("cannot lock `{}`: wait until the other has ended", host.name))?;
    if host.settings.transport.is_this_machine() {
        return Destination::this_machine(&host.settings.source, (runtime, lock), request.writes);
    }
    let dir = runtime.connection_dir()?;
    let remote = tokio::select! {
        remote = connected(&host, settings, dir) => remote?,
        () = stop.token.cancelled() => bail!("told to stop; nothing was written"),
    };
    Ok(Destination::There { host: Box::new(host), remote, lock: (runtime, lock) })
}

/// A connection to a host that runs what it is told.
async fn connected(host: &Host, settings: &Settings, dir: PathBuf) -> Result<Remote, RemoteError> {
    let remote = Remote::connect(host, &settings.ssh, dir).await?;
    remote.answers().await?;
    Ok(remote)
}

/// The host to write to: of the inventory, or as the configuration has it.
async fn find_host(session: &Session, name: HostName, own: &HostName) -> anyhow::Result<Host> {
    let Session { settings, clock, .. } = session;
    let patience = inventory::patience(settings);
    let known = match inventory::look(settings, clock.now(), patience).await {
        Ok(inventory) => {
            inventory.problems().for_each(|warning| warn!("{warning}"));
            if let Some(host) = inventory.hosts.iter().find(|host| host.name == name) {
                return Ok(host.clone());
            }
            inventory.hosts.into_iter().map(|host| host.name).collect()
        }
        Err(error) => {
            warn!("{error}");
            Vec::new()
        }
    };
    if name != *own && !settings.hosts.contains_key(name.key()) {
        match nearest(name.key(), known.iter().map(HostName::key)) {
            Some(near) => bail!("the inventory has no host `{name}`; did you mean `{near}`?"),
            None => bail!("the inventory has no host `{name}`"),
        }
    }
    let host = inventory::forced(settings, name);
    warn!("`{}` is not in the inventory: it is taken to be at `{}`", host.name, printable(&host.address));
    Ok(host)
}
