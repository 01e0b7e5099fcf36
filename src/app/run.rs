//! The story of one host, from its lock to its report: the one place that
//! knows the order of things.
//!
//! Each step either goes on or stops the story with an [`Outcome`]; whichever
//! it is, the connection is closed and the host is reported. A snapshot is
//! taken only after a transfer that ended in a documented way, and snapshots
//! are removed only after a run that was good in all its parts.

mod copy;
mod inplace;
mod keep;
mod mend;
mod mounts;
mod ready;

pub use ready::FRESH;
use ready::Reached;

use crate::app::admission::Turn;
use crate::app::clock::Newest;
use crate::core::filter::Rule;
use crate::core::format::text::printable;
pub use crate::core::format::timing::Step;
use crate::core::format::timing::Timings;
use crate::core::model::clock::{self, ClockSkew};
use crate::core::model::host::{Host, HostName};
use crate::core::model::outcome::{
    Allowed, Figures, HookEnd, HookResult, HostReport, Note, Outcome, Severity, Stage,
};
use crate::core::model::precision::{self, Precision};
use crate::core::model::problem::Problem;
use crate::core::model::settings::Settings;
use crate::core::model::snapshot::{HoldName, Snapshot, Verdict, baseline, latest_good};
use crate::core::policy::anomaly::Past;
use crate::core::policy::guard::Guard;
use crate::core::policy::namesake::{self, Name};
use crate::core::policy::rotation::{Rotation, WithheldFor};
use crate::edge::inventory;
use crate::edge::remote::{Hook, HookLimits, Probe, Remote};
use crate::edge::rsync::Progress;
use crate::edge::store::{Lockable, Store, StoreError, Survey, Workspace};
use crate::sys::clock::Clock;
use crate::sys::lock::{HostLock, LockError, Runtime};
use crate::sys::offload::{NotInTime, offload};
use chrono::{DateTime, Utc};
use mend::Mending;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What the store gets at least to keep a copy, and to remove old ones, of a
/// host whose transfer took almost all of its time.
const LAST_STORE_WORK: Duration = Duration::from_secs(15 * 60);
/// How long the disk gets to take in what a run has copied and not kept.
const LAST_FLUSH: Duration = Duration::from_secs(60);

/// What one run has for all its hosts.
pub struct Run<S> {
    /// What the operator wants.
    pub settings: Settings,
    /// Where copies live.
    pub store: S,
    /// What the store held when the run began, or why nobody knows.
    pub survey: Result<Survey, StoreError>,
    /// Locks and control sockets.
    pub runtime: Runtime,
    /// The time.
    pub clock: Clock,
    /// What the run calls itself on its snapshots.
    pub id: String,
    /// The rules of the operator's own files, for all hosts.
    pub configured: Vec<Rule>,
    /// Says when the run is to stop.
    pub cancel: CancellationToken,
    /// The operator waves this run past the guard.
    pub accept_deletions: bool,
    /// Hold each host's new snapshot under this name.
    pub keep: Option<HoldName>,
    /// What the hosts of the inventory are called, in small letters.
    pub names: BTreeSet<String>,
    /// The newest snapshot in the store, if the clock stands before it.
    pub clock_behind: Option<Newest>,
    /// Whether the clock of some other machine agrees with ours.
    pub clock_agreed: Cell<bool>,
    /// The hosts whose new snapshots are held as `keep` says, as they are spelled.
    pub held: RefCell<BTreeSet<String>>,
    /// What the hosts' last good runs were like.
    pub past: Past,
    /// What is known of a host that waits for its turn is at most so old.
    pub fresh: Duration,
    /// Hears how hosts get on.
    pub watch: Watch,
}

/// Hears how a host gets on.
pub type Watch = Box<dyn Fn(&HostName, Event)>;

/// How a host gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is at this step now.
    At(Step),
    /// It has been asked for a sign of life, so that its connection stays.
    AskedAgain,
    /// Its transfer is so far.
    Copied(Progress),
    /// It is done.
    Done,
}

/// Whether the store speaks for our clock: see [`clock::is_vouched_for`].
fn clock_is_vouched_for(survey: &Survey, clock: Clock) -> bool {
    // A copy of this machine itself, or of one that does not tell its time, knows no
    // more than our clock did.
    let agreed = |snapshot: &&Snapshot| snapshot.facts().is_some_and(|facts| facts.clock_agreed);
    let mut good = survey.hosts.values().flatten().filter(|snapshot| snapshot.is_good()).filter(agreed);
    // Another run may have taken one since this one began; and a host may have
    // waited for hours.
    let times = [clock.start(), clock.now()];
    good.any(|snapshot| times.iter().any(|now| clock::is_vouched_for(*now, snapshot.time)))
}

/// Backs one host up and says how it went. It is connected to before its turn.
pub async fn host<S: Store>(run: &Run<S>, host: &Host, turn: Turn) -> HostReport {
    let mut host_run = HostRun {
        run,
        host,
        turn,
        started: run.clock.now(),
        deadline: Instant::now() + run.settings.transfer.deadline,
        notes: Vec::new(),
        rotation: Rotation::Allowed,
        refusals: Vec::new(),
        afterwards: Vec::new(),
        figures: None,
        transfers: Vec::new(),
        hooks: Vec::new(),
        removed: Vec::new(),
        misdated: None,
        ahead: None,
        mending: Mending::default(),
        renamed: None,
        clocks_agree: false,
        left_out: None,
    };
    host_run.recall().await;
    let outcome = host_run.execute().await.unwrap_or_else(|stop| stop);
    let report = host_run.report(outcome);
    (run.watch)(&host.name, Event::Done);
    report
}

struct HostRun<'a, S> {
    run: &'a Run<S>,
    host: &'a Host,
    turn: Turn,
    /// When it began, put off by the time that it waited for its turn.
    started: DateTime<Utc>,
    deadline: Instant,
    notes: Vec<Note>,
    /// Whether anything may be removed once the copy is kept.
    rotation: Rotation,
    /// Why paths were not written in place. They are no reason to keep old
    /// snapshots: those make the room that the refusal costs.
    refusals: Vec<String>,
    /// Other warnings that are no reason to keep old snapshots.
    afterwards: Vec<String>,
    figures: Option<Figures>,
    transfers: Vec<String>,
    hooks: Vec<HookResult>,
    /// The snapshots that rotation has removed.
    removed: Vec<String>,
    /// Why the time of the copy is wrong, if it is.
    misdated: Option<String>,
    /// How far our clock is ahead of the host's, if it is.
    ahead: Option<String>,
    /// What verifications found wrong, and what has become of that.
    mending: Mending,
    /// What there is to say of its own name, if that is another than it was.
    renamed: Option<String>,
    /// Whether the host's clock says the same as ours.
    clocks_agree: bool,
    /// What the snapshot is to remember of mounts that are not copied.
    left_out: Option<String>,
}

fn not_locked(error: LockError) -> Outcome {
    match error {
        LockError::Held { .. } | LockError::Orphaned { .. } | LockError::HeldInStore { .. } => {
            Outcome::Skipped { why: error.to_string() }
        }
        LockError::Replaced { .. } | LockError::Keeper(_) | LockError::Unusable { .. } => {
            failed(Stage::Lock, error)
        }
    }
}

fn failed(stage: Stage, why: impl ToString) -> Outcome {
    Outcome::Failed { stage, why: why.to_string() }
}

impl<S: Store> HostRun<'_, S> {
    /// All of it; `Err` where it stopped before its end.
    async fn execute(&mut self) -> Result<Outcome, Outcome> {
        self.stop_if_told()?;
        let survey = self.run.survey.as_ref().map_err(|error| failed(Stage::Store, error))?;
        // Whom another run has is not connected to.
        if self.run.runtime.is_locked(&self.host.name) {
            self.lock().await?;
        }
        let Reached { mut remote, probe, .. } = self.ready().await?;
        self.deadline = Instant::now() + self.run.settings.transfer.deadline;
        // Not before its turn: who waits for hours must not keep others from the
        // host, and whether its dataset is mounted is asked when rsync is about
        // to write there.
        let mut lock = self.lock().await?;
        self.lock_in_store(&mut lock, survey).await?;
        let kept = self.copied(&mut remote, &probe, survey, &lock).await;
        match &kept {
            Ok(outcome) => self.remember(outcome).await,
            Err(_) => self.leave().await,
        }
        kept
    }

    /// Remembers what NetBox's object was backed up as, if the copy may be
    /// believed. That is done under the lock: once it is gone, an operator may
    /// rename the host while the run goes on with others.
    async fn remember(&mut self, outcome: &Outcome) {
        let Outcome::Copied { verdict: Verdict::Good | Verdict::Partial, .. } = outcome else { return };
        let Some(object) = self.host.object else { return };
        let (state_dir, name) = (self.run.settings.state_dir.clone(), self.host.name.clone());
        let work = move || inventory::remember(&state_dir, object, &name);
        let problems = offload(LAST_FLUSH, work).await.unwrap_or_else(|NotInTime| {
            let what = "cannot remember what NetBox's object was backed up as: its disk does not answer";
            Some(Problem::warning(what, "check `state_dir`"))
        });
        if let Some(problem) = problems {
            self.note(Severity::Warning, problem.to_string());
        }
    }

    /// What there is to do with a host that is locked.
    async fn copied(
        &mut self,
        remote: &mut Remote,
        probe: &Probe,
        survey: &Survey,
        lock: &HostLock,
    ) -> Result<Outcome, Outcome> {
        self.consider_name(probe, survey)?;
        let mut workspace = self.prepare(survey).await?;
        if workspace.precision == Precision::Seconds {
            self.note(Severity::Ok, format!("the store {}", precision::SECONDS));
        }
        self.consider(probe);
        self.hooks(remote, probe).await?;
        let transfer = self.transfer(remote, probe, &mut workspace, survey, lock).await?;
        self.stop_if_told()?;
        self.keep(&transfer, &workspace, probe, survey, lock).await
    }

    fn at(&self, step: Step) {
        (self.run.watch)(&self.host.name, Event::At(step));
    }

    /// Says something that is a reason to remove nothing.
    fn withhold(&mut self, why: WithheldFor, severity: Severity, text: impl Into<String>) {
        self.rotation.withhold(why);
        self.note(severity, text);
    }

    /// Says something. What is to follow from it is decided elsewhere.
    fn note(&mut self, severity: Severity, text: impl Into<String>) {
        let text = text.into();
        // Told here for its time; the report tells it with its weight.
        info!("{}", text.lines().next().unwrap_or_default());
        self.notes.push(Note { severity, text });
    }

    fn stop_if_told(&self) -> Result<(), Outcome> {
        if self.run.cancel.is_cancelled() { Err(Outcome::Interrupted) } else { Ok(()) }
    }

    async fn lock(&self) -> Result<HostLock, Outcome> {
        self.stop_if_told()?;
        self.at(Step::Lock);
        self.run.runtime.lock_host(&self.host.name).await.map_err(not_locked)
    }

    /// Locks the host for those as well who do not share our runtime directory.
    async fn lock_in_store(&self, lock: &mut HostLock, survey: &Survey) -> Result<(), Outcome> {
        self.stop_if_told()?;
        let lockable = self.in_time(self.run.store.lockable(&self.host.name, survey)).await;
        let Lockable { file, path } = lockable.map_err(|error| failed(Stage::Store, error))?;
        lock.lock_in_store(file, path).await.map_err(not_locked)
    }

    /// Lets the next run go on with what is no snapshot.
    async fn leave(&self) {
        let left = tokio::time::timeout(LAST_FLUSH, self.run.store.leave(&self.host.name)).await;
        if let Ok(Err(error)) = left {
            warn!("{error}");
        }
    }

    async fn prepare(&mut self, survey: &Survey) -> Result<Workspace, Outcome> {
        self.stop_if_told()?;
        self.at(Step::Prepare);
        let prepared = self.in_time(self.run.store.prepare(&self.host.name, survey)).await;
        let workspace = prepared.map_err(|error| failed(Stage::Store, error))?;
        for warning in &workspace.warnings {
            if !self.afterwards.contains(warning) {
                self.afterwards.push(warning.clone());
            }
        }
        Ok(workspace)
    }

    /// Gives the store's work an end: a disk that does not answer must not
    /// hold the host, and with it the run, for ever.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let until = self.deadline.max(Instant::now() + LAST_STORE_WORK);
        tokio::time::timeout_at(until, work).await.unwrap_or_else(|_| {
            Err(StoreError::new("the store did not finish within the host's `deadline`")
                .hint("does its disk hang, or is it too slow for so many files?"))
        })
    }

    /// Refuses a host that calls itself as another does, before anything of its
    /// former copy is written over.
    fn consider_name(&mut self, probe: &Probe, survey: &Survey) -> Result<(), Outcome> {
        let (own, now) = (self.host.name.key(), self.run.clock.now());
        let called = |snapshots| baseline(snapshots, now)?.facts()?.hostname.as_deref();
        let listed = survey.hosts.keys().chain(&self.run.names).map(String::as_str);
        let mut others: BTreeSet<&str> = listed.filter(|name| *name != own).collect();
        // What they call themselves need not be what they are listed as.
        let remembered = survey.hosts.iter().filter(|(name, _)| *name != own);
        others.extend(remembered.filter_map(|(_, snapshots)| called(snapshots.as_slice())));
        let before = called(survey.of(&self.host.name));
        match namesake::compare(before, probe.hostname.as_deref(), own, &others) {
            Name::Same => {}
            Name::AnotherHosts(what) if !self.run.accept_deletions => {
                let why = format!(
                    "this looks like another host: {what}; nothing was copied (check its address; if it was renamed, \
                     run `backup {} --accept-deletions` once)",
                    self.host.name
                );
                return Err(failed(Stage::Probe, why));
            }
            Name::AnotherHosts(what) | Name::Changed(what) => self.renamed = Some(what),
        }
        Ok(())
    }

    /// Says what is odd about a host.
    fn consider(&mut self, probe: &Probe) {
        let settings = &self.run.settings;
        if !probe.is_root {
            let user = &self.host.settings.user;
            self.withhold(
                WithheldFor::Reader,
                Severity::Warning,
                format!(
                    "`{user}` is not root there: files that it may not read are missing (set `sudo = true`)"
                ),
            );
        }
        self.compare_clocks(probe);
        if let Some(fault) = probe.excludes_fault {
            let file = printable(&settings.excludes.remote_file);
            let text = format!("the host's `{file}` is not used: {fault}");
            self.withhold(WithheldFor::Rules, Severity::Warning, text);
        }
        if self.host.settings.hooks && !probe.hooks.odd.is_empty() {
            warn!(
                "not run as hooks: {} (only letters, digits, `-` and `_` may be in a hook's name: rename them)",
                probe.hooks.odd
            );
        }
    }

    /// Two clocks that agree are what rotation relies on: ours alone may be a
    /// year ahead, and would age every snapshot by that year. One that is behind
    /// both the host's and the store's is wrong for certain, and would date the
    /// copy into a past where it takes the place of a true one. One that is ahead
    /// of the host's, and that nobody speaks for, would date it into a
    /// future where it is the newest for as long
    /// (docs/decisions/0033-what-a-clock-and-a-name-tell.md).
    fn compare_clocks(&mut self, probe: &Probe) {
        let Some(theirs) = probe.time else {
            self.note(Severity::Ok, "the host did not report its time (`date +%s`)");
            return;
        };
        let what = |days: i64, how: &str| {
            let days = if days == 1 { "a day".to_owned() } else { format!("{days} days") };
            format!(
                "this server's clock is {days} {how} the host's (set the one that is wrong; `date` shows it)"
            )
        };
        match clock::compare(self.run.clock.now(), theirs) {
            // Of this machine itself it is one clock, asked twice.
            ClockSkew::Alike => self.clocks_agree = !probe.is_this_machine,
            ClockSkew::Ahead(days) => self.ahead = Some(what(days, "ahead of")),
            ClockSkew::Behind(days) => self.tell_clock(what(days, "behind"), self.run.clock_behind.is_some()),
        }
    }

    /// Decides whose clock is wrong where ours is ahead of the host's. Not before the
    /// copy is made: by then others may have told their time.
    fn settle_clock(&mut self) {
        let Some(what) = self.ahead.take() else { return };
        let is_vouched_for = match &self.run.survey {
            Ok(survey) => self.run.clock_agreed.get() || clock_is_vouched_for(survey, self.run.clock),
            Err(_) => true,
        };
        self.tell_clock(what, !is_vouched_for);
    }

    fn tell_clock(&mut self, what: String, ours_is_wrong: bool) {
        if ours_is_wrong {
            self.misdated = Some(format!("its date is wrong: {what}"));
        } else {
            let text = format!("nothing was removed: {what}");
            self.withhold(WithheldFor::Clock, Severity::Warning, text);
        }
    }

    /// Runs the host's hooks one after the other. One that fails does not stop
    /// the others, nor the copy.
    async fn hooks(&mut self, remote: &Remote, probe: &Probe) -> Result<(), Outcome> {
        if !self.host.settings.hooks || probe.hooks.run.is_empty() {
            return Ok(());
        }
        self.at(Step::Hooks);
        let directory = &self.run.settings.hooks.directory;
        let limit = self.run.settings.hooks.timeout;
        for name in &probe.hooks.run {
            self.stop_if_told()?;
            let left = self.deadline.saturating_duration_since(Instant::now());
            let limits = HookLimits { timeout: limit.min(left), cancel: &self.run.cancel };
            let hook = remote.hook(Hook { directory, name }, limits).await;
            let setting = if limit <= left { "hooks.timeout" } else { "transfer.deadline" };
            let allowed = Allowed { time: limit.min(left), setting };
            let result = HookResult::new(name, &hook.end, hook.took, allowed);
            self.hooks.push(result.clone());
            if hook.end == HookEnd::Cancelled {
                return Err(Outcome::Interrupted);
            }
            let HookResult { severity, ended, .. } = result;
            if severity == Severity::Ok {
                hook.output.iter().for_each(|line| info!("hook {name}: {line}"));
                info!("hook {name} {ended}");
            } else {
                let output: String = hook.output.iter().map(|line| format!("\n  {line}")).collect();
                self.withhold(WithheldFor::Hook, severity, format!("hook {name} {ended}{output}"));
            }
        }
        Ok(())
    }

    fn guard(&self) -> Guard {
        Guard {
            max_delete_percent: self.run.settings.transfer.max_delete_percent,
            accept_deletions: self.run.accept_deletions,
        }
    }

    /// What the run says about the host.
    fn report(mut self, outcome: Outcome) -> HostReport {
        if let Some(keep) = self.run.keep.as_ref().filter(|_| !matches!(outcome, Outcome::Copied { .. })) {
            self.notes.push(Note {
                severity: Severity::Critical,
                text: format!("there is no new snapshot, so none is held as `{keep}`"),
            });
        }
        self.tell_open();
        let later = self.refusals.into_iter().chain(self.afterwards);
        self.notes.extend(later.map(|text| Note { severity: Severity::Warning, text }));
        // Another run, or an operator, may have come and gone meanwhile; what
        // this run saw and did is what it answers for.
        let before = self.run.survey.as_ref().map(|survey| survey.of(&self.host.name)).unwrap_or_default();
        let ours = before.iter().filter(|snapshot| snapshot.is_ours()).count();
        let last_good = match &outcome {
            Outcome::Copied { verdict: Verdict::Good, snapshot, .. } => Some(snapshot.time()),
            _ => latest_good(before, self.run.clock.now()).map(|snapshot| snapshot.time),
        };
        let taken = usize::from(matches!(outcome, Outcome::Copied { .. }));
        HostReport {
            host: self.host.name.spelled().to_owned(),
            outcome: outcome.cut(),
            notes: self.notes.into_iter().map(Note::cut).collect(),
            started: self.started,
            finished: self.run.clock.now(),
            figures: self.figures,
            transfers: self.transfers,
            hooks: self.hooks,
            // Known to who watches.
            timings: Timings::default(),
            snapshots: self.run.survey.is_ok().then_some(ours + taken - self.removed.len()),
            last_good,
        }
    }
}
