//! `backup rename OLD NEW`: a host's copies and history get another name.
//!
//! The intention is recorded first and deleted last. If the command is killed in
//! between, the same command finishes it: each step can be repeated. Until then
//! no run uses either name. The findings of verifications are always there under
//! the name that the copies have.

use super::output::{Format, Output, code_of};
use super::progress::Bars;
use super::session::{self, Common};
use crate::app::session::Session;
use crate::core::model::finding::counted;
use crate::core::model::host::HostName;
use crate::core::model::problem::Problem;
use crate::core::model::snapshot::Snapshot;
use crate::edge::history::{Findings, History, Opened};
use crate::edge::inventory::{self, Identities};
use crate::edge::report::metrics;
use crate::edge::store::{Lockable, Store};
use crate::sys::clock::Clock;
use crate::sys::lock::{HostLock, LockError, Runtime};
use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use std::time::Duration;
use tracing::{error, info, warn};

/// How long NetBox gets to say which hosts there are then.
const PATIENCE: Duration = Duration::from_secs(10);

const HELP: &str = "\
Examples:
  backup rename web7 web-berlin
      Rename the copies of web7, which has a new name in NetBox.
  backup rename --dry-run web7 web-berlin
      Show what would be renamed, and change nothing.

A host that was renamed in NetBox or in the configuration is still backed up
under its old name, with a warning, until its copies are renamed: under the new
name everything would be copied again. This command renames the dataset or
folder with its snapshots and holds, the history, the findings of `verify` and
the metrics. Rename the object in Icinga yourself. The store must have nothing
under the new name yet.

If the command was interrupted, run it again; until then the host is not backed
up.

JSON: {from, to, snapshots}; `snapshots` is how many snapshots the host has.

Exit status: 0 if the host was renamed, 1 if it could not be renamed or a run is
working on it, 2 if nothing was started.";

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// A host that has copies; upper and lower case are the same.
    #[arg(value_name = "HOST")]
    old: String,
    /// Its new name.
    #[arg(value_name = "NEW")]
    new: String,
    /// Show what would be renamed, and change nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

/// The JSON answer. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// The former name, in lower case.
    from: &'a str,
    /// The new name, in lower case.
    to: &'a str,
    /// How many snapshots there are, somebody else's too.
    snapshots: usize,
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    session::run(&arguments.common, &Bars::new(false), async || rename(arguments, clock).await)
}

async fn rename(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let session = Session::open(arguments.common.config(), clock)?;
    let (from, to): (HostName, HostName) = (arguments.old.parse()?, arguments.new.parse()?);
    if from == to {
        bail!("`{from}` and `{to}` are the same name, since names compare without case");
    }
    let identities =
        inventory::identities(&session.settings.state_dir).map_err(|problem| anyhow!("{problem}"))?;
    let begun = is_begun(&identities, &from, &to)?;
    let renaming = Renaming { session: &session, from: &from, to: &to, begun };
    let (snapshots, moved) = renaming.look().await?;
    if !begun {
        renaming.check_owner(&identities).await?;
    }
    let count = snapshots.len();
    if arguments.dry_run {
        info!("{from} would be renamed to {to}: {} and the history", counted(count, "snapshot"));
    } else {
        let (runtime, _) = Runtime::enter(&session.settings.runtime_dir)
            .context("the runtime directory is not usable (is this root, and `runtime_dir` right?)")?;
        let locks = match renaming.lock(&runtime, moved).await {
            Ok(locks) => locks,
            Err(error) => {
                error!("cannot rename {from}: {error:#}");
                return Ok(1);
            }
        };
        let begun = renaming.begin(moved).await;
        if let Err(error) = &begun {
            if renaming.undo().await {
                error!("cannot rename {from}: {error:#}");
                return Ok(1);
            }
        }
        if let Err(error) = begun.and_then(|()| renaming.finish()) {
            error!("renaming {from} did not finish: {error:#}; run `backup rename {from} {to}` again");
            return Ok(1);
        }
        drop(locks);
        info!("{from} was renamed to {to}: {} and the history", counted(count, "snapshot"));
        renaming.is_listed().await;
    }
    let mut told = Ok(());
    if arguments.format.json {
        let mut out = Output::new();
        let answer = Answer { from: from.key(), to: to.key(), snapshots: count };
        told = out.json(&answer).and_then(|()| out.end());
    }
    Ok(code_of(0, told))
}

/// Whether this very renaming has begun and not ended.
fn is_begun(identities: &Identities, from: &HostName, to: &HostName) -> anyhow::Result<bool> {
    match identities.renaming() {
        None => Ok(false),
        Some(begun) if begun.from == *from && begun.to == *to => Ok(true),
        Some(begun) => bail!(
            "the rename of another host was interrupted; first run `backup rename {} {}` again",
            begun.from,
            begun.to
        ),
    }
}

struct Renaming<'a> {
    session: &'a Session,
    from: &'a HostName,
    to: &'a HostName,
    /// It goes on where it was interrupted.
    begun: bool,
}

impl Renaming<'_> {
    /// The snapshots, and whether they have the new name already. Refuses what
    /// would mix two hosts.
    async fn look(&self) -> anyhow::Result<(Vec<Snapshot>, bool)> {
        let (session, from, to) = (self.session, self.from, self.to);
        let of_new = session.store.snapshots(to).await?;
        if self.begun {
            return match (session.store.snapshots(from).await?, of_new) {
                (Some(snapshots), None) => Ok((snapshots, false)),
                (None, Some(snapshots)) => Ok((snapshots, true)),
                (Some(_), Some(_)) => bail!(
                    "the store has both `{from}` and `{to}`, although a rename was interrupted; move the newer one \
                     away"
                ),
                (None, None) => {
                    bail!("the store has neither `{from}` nor `{to}`; is the right one mounted?")
                }
            };
        }
        let place = session.place(from.spelled()).await?;
        if let Some(snapshots) = of_new {
            bail!(
                "the store already has `{to}`, with {}; choose another name or rename that host first (to continue \
                 those copies instead, run `backup retire {from}`)",
                counted(snapshots.len(), "snapshot")
            );
        }
        match Findings::at(&session.settings.state_dir).of(to.key()) {
            Ok(open) if open.is_empty() => Ok((place.snapshots, false)),
            Ok(_) => bail!("`{to}` has open findings of `backup verify`; choose another name"),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses a name that is another host's. An inventory that cannot be had
    /// forbids nothing.
    async fn check_owner(&self, identities: &Identities) -> anyhow::Result<()> {
        let Renaming { session, from, to, .. } = self;
        let inventory = inventory::look(&session.settings, session.clock.now(), Some(PATIENCE)).await;
        if inventory.is_ok_and(|inventory| inventory.is_anothers(identities, from, to)) {
            bail!(
                "`{to}` is another host's name in the inventory; choose another name, or rename that host first, in \
                 NetBox or in the configuration"
            );
        }
        Ok(())
    }

    /// Locks both names, and the copies.
    async fn lock(&self, runtime: &Runtime, moved: bool) -> anyhow::Result<[HostLock; 2]> {
        let new = runtime.lock_host(self.to).await.map_err(|error| self.held(self.to, error))?;
        let mut old = runtime.lock_host(self.from).await.map_err(|error| self.held(self.from, error))?;
        let place = if moved { self.to } else { self.from };
        if let Some(Lockable { file, path }) = self.session.store.lockable_to_rename(place).await? {
            old.lock_in_store(file, path).await.map_err(|error| self.held(place, error))?;
        }
        Ok([old, new])
    }

    fn held(&self, name: &HostName, error: LockError) -> anyhow::Error {
        anyhow::Error::from(error).context(format!("cannot lock `{name}`: wait until the other has ended"))
    }

    /// Everything up to the new name in the store.
    async fn begin(&self, moved: bool) -> anyhow::Result<()> {
        let Renaming { session, from, to, .. } = self;
        let state_dir = &session.settings.state_dir;
        inventory::begin_renaming(state_dir, from, to).map_err(|problem| anyhow!("{problem}"))?;
        if moved {
            return Ok(());
        }
        Findings::at(state_dir).copy(from.key(), to.key())?;
        Ok(session.store.rename(from, to).await?)
    }

    /// Undoes what was begun, and says whether that is so: not where the copies may
    /// have the new name, whatever the store said.
    async fn undo(&self) -> bool {
        let Renaming { session, from, to, .. } = self;
        let (old, new) = (session.store.snapshots(from).await, session.store.snapshots(to).await);
        if !matches!((old, new), (Ok(Some(_)), Ok(None))) {
            return false;
        }
        let state_dir = &session.settings.state_dir;
        let undone = Findings::at(state_dir).remove(to.key()).map_err(anyhow::Error::from);
        let undone = undone
            .and_then(|()| inventory::cancel_renaming(state_dir).map_err(|problem| anyhow!("{problem}")));
        if let Err(error) = &undone {
            warn!("{error:#}: what was begun cannot be undone");
        }
        undone.is_ok()
    }

    /// What is left to do once the copies have the new name.
    fn finish(&self) -> anyhow::Result<()> {
        let Renaming { session, from, to, .. } = self;
        let (settings, state_dir) = (&session.settings, &session.settings.state_dir);
        let failed = |problem: Problem| anyhow!("{problem}");
        if History::path(state_dir).exists() {
            let Opened { history, warnings, .. } = History::open(state_dir, session.clock.now())?;
            warnings.iter().for_each(|warning| warn!("{warning}"));
            history.rename(from, to)?;
        }
        inventory::rename_listed(state_dir, from, to).map_err(failed)?;
        if let Some(textfile) = &settings.metrics_textfile {
            metrics::rename(textfile, &settings.server, from.key(), to.spelled())?;
        }
        Findings::at(state_dir).remove(from.key())?;
        inventory::end_renaming(state_dir, from, to).map_err(failed)
    }

    /// Says if the next run would make the former name's copies anew.
    async fn is_listed(&self) {
        let Renaming { session, from, to, .. } = self;
        let inventory = match inventory::look(&session.settings, session.clock.now(), Some(PATIENCE)).await {
            Ok(inventory) => inventory,
            Err(error) => return warn!("{error}: cannot check whether the inventory has it as `{to}`"),
        };
        if let Some(rename) = inventory.renames.iter().find(|rename| rename.from == **to) {
            warn!("{}", rename.problem());
        } else if inventory.hosts.iter().any(|host| host.name == **from) {
            warn!(
                "the inventory still has a host `{from}`, and the next run makes a new copy of it; if it is the same \
                 machine, rename it in NetBox or in the configuration first"
            );
        }
    }
}
