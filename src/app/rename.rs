//! A host's copies and history get another name.
//!
//! The intention is recorded first and deleted last. If the work is killed in
//! between, the same renaming finishes it: each step can be repeated. Until then
//! no run uses either name. The findings of verifications are always there under
//! the name that the copies have.

use crate::app::attempt::Attempt;
use crate::app::session::Session;
use crate::core::format::text::counted;
use crate::core::model::host::HostName;
use crate::core::model::problem::Problem;
use crate::edge::history::{Findings, History, Opened};
use crate::edge::inventory::{self, Identities};
use crate::edge::metrics;
use crate::edge::store::{Lockable, Store};
use crate::sys::lock::{HostLock, LockError, Runtime};
use anyhow::{Context, anyhow, bail};
use std::time::Duration;
use tracing::warn;

/// How long NetBox gets to say which hosts there are then.
const PATIENCE: Duration = Duration::from_secs(10);

/// A renaming that nothing speaks against.
pub struct HostRenaming<'a> {
    session: &'a Session,
    from: HostName,
    to: HostName,
    /// It goes on where it was interrupted.
    begun: bool,
    /// How many snapshots there are.
    snapshots: usize,
    /// The copies have the new name already.
    moved: bool,
}

impl<'a> HostRenaming<'a> {
    /// The renaming of the host of one name to another. Nothing is changed yet.
    ///
    /// # Errors
    /// There is no such host, or the copies of two hosts would be mixed.
    pub async fn prepare(session: &'a Session, old: &str, new: &str) -> anyhow::Result<Self> {
        let (from, to): (HostName, HostName) = (old.parse()?, new.parse()?);
        if from == to {
            bail!("`{from}` and `{to}` are the same name, since names compare without case");
        }
        let identities =
            inventory::identities(&session.settings.state_dir).map_err(|problem| anyhow!("{problem}"))?;
        let begun = is_begun(&identities, &from, &to)?;
        let mut renaming = HostRenaming { session, from, to, begun, snapshots: 0, moved: false };
        (renaming.snapshots, renaming.moved) = renaming.look().await?;
        if !begun {
            renaming.check_owner(&identities).await?;
        }
        Ok(renaming)
    }

    /// The name that the copies have had.
    pub fn from(&self) -> &HostName {
        &self.from
    }

    /// The name that they get.
    pub fn to(&self) -> &HostName {
        &self.to
    }

    /// How many snapshots there are, somebody else's too.
    pub fn snapshots(&self) -> usize {
        self.snapshots
    }

    /// Renames the host.
    ///
    /// # Errors
    /// Nothing can be locked.
    pub async fn execute(&self) -> anyhow::Result<Attempt<()>> {
        let HostRenaming { session, from, to, .. } = self;
        let (runtime, _) = Runtime::enter(&session.settings.runtime_dir)
            .context("the runtime directory is not usable (is this root, and `runtime_dir` right?)")?;
        let _locks = match self.lock(&runtime).await {
            Ok(locks) => locks,
            Err(error) => return Ok(Attempt::failed(format!("cannot rename {from}: {error:#}"))),
        };
        let begun = self.begin().await;
        if let Err(error) = &begun {
            if self.undo().await {
                return Ok(Attempt::failed(format!("cannot rename {from}: {error:#}")));
            }
        }
        if let Err(error) = begun.and_then(|()| self.finish()) {
            return Ok(Attempt::failed(format!(
                "renaming {from} did not finish: {error:#}; run `backup rename {from} {to}` again"
            )));
        }
        Ok(Attempt::Done(()))
    }
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

impl HostRenaming<'_> {
    /// How many snapshots there are, and whether they have the new name already.
    /// Refuses what would mix two hosts.
    async fn look(&self) -> anyhow::Result<(usize, bool)> {
        let HostRenaming { session, from, to, .. } = self;
        let of_new = session.store.snapshots(to).await?;
        if self.begun {
            return match (session.store.snapshots(from).await?, of_new) {
                (Some(snapshots), None) => Ok((snapshots.len(), false)),
                (None, Some(snapshots)) => Ok((snapshots.len(), true)),
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
            Ok(open) if open.is_empty() => Ok((place.snapshots.len(), false)),
            Ok(_) => bail!("`{to}` has open findings of `backup verify`; choose another name"),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses a name that is another host's. An inventory that cannot be had
    /// forbids nothing.
    async fn check_owner(&self, identities: &Identities) -> anyhow::Result<()> {
        let HostRenaming { session, from, to, .. } = self;
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
    async fn lock(&self, runtime: &Runtime) -> anyhow::Result<[HostLock; 2]> {
        let new = runtime.lock_host(&self.to).await.map_err(|error| self.held(&self.to, error))?;
        let mut old = runtime.lock_host(&self.from).await.map_err(|error| self.held(&self.from, error))?;
        let place = if self.moved { &self.to } else { &self.from };
        if let Some(Lockable { file, path }) = self.session.store.lockable_to_rename(place).await? {
            old.lock_in_store(file, path).await.map_err(|error| self.held(place, error))?;
        }
        Ok([old, new])
    }

    fn held(&self, name: &HostName, error: LockError) -> anyhow::Error {
        anyhow::Error::from(error).context(format!("cannot lock `{name}`: wait until the other has ended"))
    }

    /// Everything up to the new name in the store.
    async fn begin(&self) -> anyhow::Result<()> {
        let HostRenaming { session, from, to, .. } = self;
        let state_dir = &session.settings.state_dir;
        inventory::begin_renaming(state_dir, from, to).map_err(|problem| anyhow!("{problem}"))?;
        if self.moved {
            return Ok(());
        }
        Findings::at(state_dir).copy(from.key(), to.key())?;
        Ok(session.store.rename(from, to).await?)
    }

    /// Undoes what was begun, and says whether that is so: not where the copies may
    /// have the new name, whatever the store said.
    async fn undo(&self) -> bool {
        let HostRenaming { session, from, to, .. } = self;
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
        let HostRenaming { session, from, to, .. } = self;
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

    /// What there is to say if the next run would make the former name's copies
    /// anew, or if nobody knows.
    pub async fn doubt(&self) -> Option<String> {
        let HostRenaming { session, from, to, .. } = self;
        let inventory = match inventory::look(&session.settings, session.clock.now(), Some(PATIENCE)).await {
            Ok(inventory) => inventory,
            Err(error) => {
                return Some(format!("{error}: cannot check whether the inventory has it as `{to}`"));
            }
        };
        if let Some(rename) = inventory.renames.iter().find(|rename| rename.from == *to) {
            return Some(rename.problem().to_string());
        }
        let is_listed = inventory.hosts.iter().any(|host| host.name == *from);
        is_listed.then(|| {
            format!(
                "the inventory still has a host `{from}`, and the next run makes a new copy of it; if it is the same \
                 machine, rename it in NetBox or in the configuration first"
            )
        })
    }
}
