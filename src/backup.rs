//! The story of one host, from its lock to its report: the one place that
//! knows the order of things.
//!
//! Each step either goes on or stops the story with an [`Outcome`]; whichever
//! it is, the connection is closed and the host is reported. A snapshot is
//! taken only after a transfer that ended in a documented way, and snapshots
//! are removed only after a run that was good in all its parts.

use crate::clock::Clock;
use crate::filter::{self, Rule};
use crate::guard::{Guard, Observed};
use crate::host::{Filesystems, Host, HostName};
use crate::lock::{HostLock, LockError, Runtime};
use crate::outcome::{Figures, HostReport, Note, Outcome, Severity, Stage};
use crate::remote::{Hook, HookEnd, HookLimits, Probe, Question, Remote, SourceState};
use crate::retention;
use crate::settings::Settings;
use crate::snapshot::{Facts, Origin, Snapshot, SnapshotName, Verdict, newest_good};
use crate::store::{Store, StoreError, Survey, Workspace};
use crate::text::{human_bytes, human_duration, printable};
use crate::transfer::{Ending, Job, Limits, Progress, Transfer, TransferError};
use chrono::{DateTime, Utc};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Pauses before a lost connection is tried again: this long, then twice, …
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// What the store gets at least to keep a copy, and to remove old ones, of a
/// host whose transfer took almost all of its time.
const LAST_STORE_WORK: Duration = Duration::from_secs(15 * 60);

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
    /// The newest snapshot in the store, if the clock stands before it.
    pub clock_behind: Option<DateTime<Utc>>,
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
    /// Its transfer is so far.
    Copied(Progress),
    /// It is done.
    Done,
}

/// The steps that take time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Connecting and probing.
    Connect,
    /// Running hooks.
    Hooks,
    /// Copying.
    Transfer,
    /// Taking the snapshot.
    Snapshot,
    /// Removing old snapshots.
    Rotate,
}

/// When the newest snapshot of ours in the store was taken, if `now` stands
/// before that.
pub fn clock_behind(survey: &Survey, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let ours = survey.hosts.values().flatten().filter(|snapshot| snapshot.is_ours());
    ours.map(|snapshot| snapshot.time).max().filter(|newest| *newest > now)
}

/// Backs one host up and says how it went.
pub async fn host<S: Store>(run: &Run<S>, host: &Host) -> HostReport {
    let mut story = Story {
        run,
        host,
        started: run.clock.now(),
        deadline: Instant::now() + run.settings.transfer.deadline,
        notes: Vec::new(),
        figures: None,
        removed: 0,
    };
    let outcome = story.whole().await.unwrap_or_else(|stop| stop);
    let report = story.report(outcome);
    (run.watch)(&host.name, Event::Done);
    report
}

struct Story<'a, S> {
    run: &'a Run<S>,
    host: &'a Host,
    started: DateTime<Utc>,
    deadline: Instant,
    notes: Vec<Note>,
    figures: Option<Figures>,
    removed: usize,
}

fn failed(stage: Stage, why: impl ToString) -> Outcome {
    Outcome::Failed { stage, why: why.to_string() }
}

impl<S: Store> Story<'_, S> {
    /// All of it; `Err` where it stopped before its end.
    async fn whole(&mut self) -> Result<Outcome, Outcome> {
        let lock = self.lock().await?;
        let survey = self.run.survey.as_ref().map_err(|error| failed(Stage::Store, error))?;
        let workspace = self.prepare(survey).await?;
        let mut remote = self.connect().await?;
        let outcome = self.with_connection(&mut remote, workspace, survey, &lock).await;
        remote.close().await;
        outcome
    }

    /// Everything that needs the host. `remote` is replaced when a lost
    /// connection is made again.
    async fn with_connection(
        &mut self,
        remote: &mut Remote,
        workspace: Workspace,
        survey: &Survey,
        lock: &HostLock,
    ) -> Result<Outcome, Outcome> {
        let probe = self.probe(remote).await?;
        self.hooks(remote, &probe).await?;
        let transfer = self.transfer(remote, &probe, workspace, survey, lock).await?;
        self.stop_if_told()?;
        self.keep(&transfer, &probe, survey).await
    }

    fn at(&self, step: Step) {
        (self.run.watch)(&self.host.name, Event::At(step));
    }

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
        self.run.runtime.lock_host(&self.host.name).await.map_err(|error| match error {
            LockError::Held { .. } | LockError::Orphaned { .. } => {
                Outcome::Skipped { why: error.to_string() }
            }
            LockError::Unusable { .. } => failed(Stage::Lock, error),
        })
    }

    async fn prepare(&self, survey: &Survey) -> Result<Workspace, Outcome> {
        self.stop_if_told()?;
        let prepared = self.in_time(self.run.store.prepare(&self.host.name, survey)).await;
        prepared.and_then(|prepared| prepared).map_err(|error| failed(Stage::Store, error))
    }

    /// Gives the store's work an end: a disk that does not answer must not
    /// hold the host, and with it the run, for ever.
    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, StoreError> {
        let until = self.deadline.max(Instant::now() + LAST_STORE_WORK);
        tokio::time::timeout_at(until, work).await.map_err(|_| {
            StoreError::new("the store was not done when the host's `deadline` had passed")
                .hint("does its disk hang, or is it too slow for so many files?")
        })
    }

    async fn connect(&self) -> Result<Remote, Outcome> {
        self.at(Step::Connect);
        let dir = self.run.runtime.connection_dir().map_err(|error| failed(Stage::Connect, error))?;
        let connected = tokio::select! {
            connected = Remote::connect(self.host, &self.run.settings.ssh, dir) => connected,
            () = self.run.cancel.cancelled() => return Err(Outcome::Interrupted),
        };
        let remote = connected.map_err(|error| failed(Stage::Connect, error))?;
        debug!("connected to {}", self.host.address);
        Ok(remote)
    }

    async fn probe(&mut self, remote: &Remote) -> Result<Probe, Outcome> {
        let settings = &self.run.settings;
        let question = Question {
            source: &self.host.source,
            exclude_file: &settings.excludes.remote_file,
            hook_directory: &settings.hooks.directory,
            witness: self.run.runtime.witness(),
        };
        let probe = tokio::select! {
            probe = remote.probe(question) => probe.map_err(|error| failed(Stage::Probe, error))?,
            () = self.run.cancel.cancelled() => return Err(Outcome::Interrupted),
        };
        if let SourceState::Unusable(state) = &probe.source {
            let why = format!(
                "the source `{}` is {} there (is `source` right, and its disk mounted?)",
                printable(&self.host.source),
                printable(state)
            );
            return Err(failed(Stage::Probe, why));
        }
        if probe.rsync.is_none() {
            return Err(failed(Stage::Probe, TransferError::NoRemoteRsync));
        }
        if !probe.is_root {
            let user = &self.host.user;
            self.note(
                Severity::Warning,
                format!("`{user}` is not root there: what it may not read is missing (set `sudo = true`)"),
            );
        }
        if let Some(fault) = probe.excludes_fault {
            let file = printable(&settings.excludes.remote_file);
            self.note(Severity::Warning, format!("the host's `{file}` is not used: {fault}"));
        }
        if self.host.hooks {
            for name in &probe.hooks.odd {
                warn!(
                    "hook {name} is not run: only letters, digits, `-` and `_` may be in its name (rename it)"
                );
            }
        }
        Ok(probe)
    }

    /// Runs the host's hooks one after the other. One that fails does not stop
    /// the others, nor the copy.
    async fn hooks(&mut self, remote: &Remote, probe: &Probe) -> Result<(), Outcome> {
        if !self.host.hooks || probe.hooks.run.is_empty() {
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
            let (severity, what) = match hook.end {
                HookEnd::Exited { status: 0, left: false } => {
                    (Severity::Ok, format!("took {}", human_duration(hook.took)))
                }
                HookEnd::Exited { status: 0, left: true } => {
                    (Severity::Warning, "left processes behind, which were ended".to_owned())
                }
                HookEnd::Exited { status, left } => {
                    let how = match status.checked_sub(128) {
                        Some(signal @ 1..=64) => format!("was killed by signal {signal}"),
                        _ => format!("failed (exit {status})"),
                    };
                    let rest = if left { " and left processes behind, which were ended" } else { "" };
                    (Severity::Critical, how + rest)
                }
                HookEnd::TimedOut => {
                    let setting = if limit <= left { "hooks.timeout" } else { "transfer.deadline" };
                    let what = format!(
                        "did not end within {} and was ended with all that it had started (see `{setting}`)",
                        human_duration(limit.min(left))
                    );
                    (Severity::Critical, what)
                }
                HookEnd::Lost(why) => (Severity::Critical, format!("was lost: {why}")),
                HookEnd::Cancelled => return Err(Outcome::Interrupted),
            };
            if severity == Severity::Ok {
                hook.output.iter().for_each(|line| info!("hook {name}: {line}"));
                info!("hook {name} {what}");
            } else {
                let output: String = hook.output.iter().map(|line| format!("\n  {line}")).collect();
                self.note(severity, format!("hook {name} {what}{output}"));
            }
        }
        Ok(())
    }

    /// The filter rules of this host, in rsync's order: the first that matches
    /// decides.
    fn rules(&mut self, probe: &Probe) -> Result<Vec<Rule>, Outcome> {
        let mounts = filter::select(&probe.mounts, &probe.real_source, self.host.filesystems);
        for warning in &mounts.warnings {
            warn!("{warning}");
        }
        if mounts.own.is_none() {
            let why =
                "the host's list of mounts does not name the source's filesystem (is `/proc` mounted there?)";
            return Err(failed(Stage::Probe, why));
        }
        for mount in &mounts.left_out {
            if mount.reason.holds_data() {
                info!("left out: {mount}");
            } else {
                debug!("left out: {mount}");
            }
        }
        let mut configured = self.run.configured.clone();
        for pattern in &self.host.exclude {
            match Rule::parse(pattern.as_bytes()) {
                Ok(rule) => configured.push(rule),
                Err(error) => warn!("the configured exclude `{}` is not used: {error}", printable(pattern)),
            }
        }
        if probe.is_this_machine {
            // A copy of the store into the store would grow for ever.
            let source = probe.real_source.as_bytes();
            let roots = self.run.store.roots();
            let own = roots.iter().filter_map(|root| filter::emptied(root.as_os_str().as_bytes(), source));
            configured.splice(0..0, own);
        }
        let (client, warnings) =
            filter::parse_lines(&probe.excludes, &self.run.settings.excludes.remote_file);
        for warning in warnings {
            warn!("{warning}");
        }
        Ok(filter::assemble(&filter::standard(&probe.real_source), &configured, &mounts, &client))
    }

    fn guard(&self) -> Guard {
        Guard {
            max_delete_percent: self.run.settings.transfer.max_delete_percent,
            accept_deletions: self.run.accept_deletions,
        }
    }

    /// How many files may be deleted in the copy. Where no good run says how
    /// many there were, they are counted.
    async fn max_delete(&self, workspace: &Workspace, survey: &Survey) -> Option<u64> {
        if !workspace.in_place {
            return None;
        }
        let facts = newest_good(survey.of(&self.host.name)).and_then(Snapshot::facts);
        let baseline = match facts.and_then(|facts| facts.files) {
            Some(files) => Some(files),
            None => Some(count_entries(workspace.destination.clone()).await),
        };
        self.guard().delete_budget(baseline)
    }

    /// Copies; a lost connection is made again and the copy tried again, as
    /// often as the operator wants.
    async fn transfer(
        &mut self,
        remote: &mut Remote,
        probe: &Probe,
        mut workspace: Workspace,
        survey: &Survey,
        lock: &HostLock,
    ) -> Result<Transfer, Outcome> {
        let rules = self.rules(probe)?;
        let rules_file = self.run.runtime.file_for(&self.host.name, "rules");
        std::fs::write(&rules_file, filter::to_rsync(&rules)).map_err(|error| {
            failed(Stage::Transfer, format!("cannot write `{}`: {error}", rules_file.display()))
        })?;
        let settings = &self.run.settings.transfer;
        let mut lost = 0;
        loop {
            let max_delete = self.max_delete(&workspace, survey).await;
            self.at(Step::Transfer);
            let job = Job {
                source: self.host.source.clone(),
                destination: workspace.destination.clone(),
                link_dest: workspace.link_dest.clone(),
                rules: rules_file.clone(),
                rsh: remote.rsh(),
                rsync_path: remote.rsync_path(),
                max_delete,
                one_file_system: self.host.filesystems == Filesystems::Root,
                compress: settings.compress,
                bandwidth_limit: settings.bandwidth_limit.clone(),
                lock: lock.share().map_err(|error| failed(Stage::Lock, error))?,
            };
            let limits = Limits {
                stall_timeout: settings.stall_timeout,
                deadline: self.deadline,
                cancel: &self.run.cancel,
            };
            let tell = |progress| (self.run.watch)(&self.host.name, Event::Copied(progress));
            let error = match job.run(limits, tell).await {
                Ok(transfer) => return Ok(transfer),
                Err(error) => error,
            };
            match error {
                TransferError::Cancelled => return Err(Outcome::Interrupted),
                TransferError::ConnectionLost(why) if lost < settings.retries => {
                    lost = self.reconnect(remote, why, lost).await?;
                    workspace = self.prepare(survey).await?;
                }
                error => return Err(failed(Stage::Transfer, error)),
            }
        }
    }

    /// Makes a lost connection again and says how many tries have been used up.
    /// What took it away may still be there: a try that does not get as far as
    /// a connection is one of those that the operator wants, not the last.
    async fn reconnect(
        &mut self,
        remote: &mut Remote,
        mut why: String,
        mut lost: u32,
    ) -> Result<u32, Outcome> {
        let retries = self.run.settings.transfer.retries;
        loop {
            lost += 1;
            warn!("the connection was lost ({why}); trying again ({lost} of {retries})");
            tokio::select! {
                () = tokio::time::sleep(FIRST_PAUSE * 2_u32.saturating_pow(lost - 1).min(60)) => {}
                () = self.run.cancel.cancelled() => return Err(Outcome::Interrupted),
            }
            why = match self.connect().await {
                Ok(fresh) => {
                    std::mem::replace(remote, fresh).close().await;
                    return Ok(lost);
                }
                Err(Outcome::Failed { why, .. }) if lost < retries => why,
                Err(Outcome::Failed { stage, why }) => {
                    let why = format!("the connection was lost and could not be made again: {why}");
                    return Err(failed(stage, why));
                }
                Err(other) => return Err(other),
            };
        }
    }

    /// Takes the snapshot with its verdict; rotates if the run was good.
    async fn keep(
        &mut self,
        transfer: &Transfer,
        probe: &Probe,
        survey: &Survey,
    ) -> Result<Outcome, Outcome> {
        let statistics = transfer.statistics;
        self.figures = Some(Figures {
            files: statistics.files,
            bytes: statistics.bytes,
            received: statistics.received,
            changed: statistics.changed,
            deleted: statistics.deleted,
        });
        let (verdict, why) = self.judge(transfer, probe, survey);
        self.at(Step::Snapshot);
        let name = self.snapshot_name(survey).await;
        let facts = Facts {
            run: self.run.id.clone(),
            verdict,
            files: Some(statistics.files),
            bytes: Some(statistics.bytes),
            duration: Some((self.run.clock.now() - self.started).num_seconds().unsigned_abs()),
            machine: probe.machine.clone(),
        };
        let committed = self.in_time(self.run.store.commit(&self.host.name, name, &facts)).await;
        committed.and_then(|committed| committed).map_err(|error| failed(Stage::Snapshot, error))?;
        info!(
            "{name} is {verdict}: {} files, {}, {} changed",
            statistics.files,
            human_bytes(statistics.bytes),
            statistics.changed
        );
        let taken =
            Snapshot { name: name.to_string(), time: name.time(), held: false, origin: Origin::Run(facts) };
        let good = verdict == Verdict::Good && self.notes.iter().all(|note| note.severity == Severity::Ok);
        if good {
            self.rotate(taken, survey).await;
        }
        Ok(Outcome::Copied { verdict, why, snapshot: name })
    }

    /// What the copy is worth, and why if it is worth less than good.
    fn judge(&mut self, transfer: &Transfer, probe: &Probe, survey: &Survey) -> (Verdict, String) {
        let observed = Observed {
            files: transfer.statistics.files,
            directories: transfer.statistics.directories,
            stopped_deleting: transfer.stopped_deleting,
            machine: probe.machine.clone(),
        };
        let last_good = newest_good(survey.of(&self.host.name)).and_then(Snapshot::facts);
        if let Some(why) = self.guard().judge(last_good, &observed) {
            return (Verdict::Suspect, why);
        }
        if transfer.vanished > 0 {
            let text = match transfer.vanished {
                1 => "1 file vanished while it was copied".to_owned(),
                count => format!("{count} files vanished while they were copied"),
            };
            self.note(Severity::Ok, text);
        }
        for complaint in &transfer.complaints {
            info!("{complaint}");
        }
        match transfer.ending {
            Ending::Complete | Ending::SourceChanged => (Verdict::Good, String::new()),
            Ending::Incomplete | Ending::TooManyDeletions => {
                let first = transfer.complaints.first().map_or("rsync gave no reason", String::as_str);
                let more = match transfer.complaints.len().saturating_sub(1) + transfer.further_complaints {
                    0 => String::new(),
                    1 => " (and 1 more complaint)".to_owned(),
                    count => format!(" (and {count} more complaints)"),
                };
                (Verdict::Partial, format!("some files could not be copied: {first}{more}"))
            }
        }
    }

    /// A name that no snapshot of the host has: two runs within one second get
    /// two seconds.
    async fn snapshot_name(&self, survey: &Survey) -> SnapshotName {
        loop {
            let name = SnapshotName::at(self.run.clock.now());
            let text = name.to_string();
            if survey.of(&self.host.name).iter().all(|snapshot| snapshot.name != text) {
                return name;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Removes what no tier claims any more. What goes wrong here costs space,
    /// not copies: it is a note, not a failure.
    async fn rotate(&mut self, taken: Snapshot, survey: &Survey) {
        if let Some(newest) = self.run.clock_behind {
            let newest = newest.format("%Y-%m-%d %H:%M:%S UTC");
            let text = format!("nothing was removed: the clock stands before the newest snapshot, {newest}");
            self.note(Severity::Warning, text);
            return;
        }
        self.at(Step::Rotate);
        let settings = &self.run.settings;
        let snapshots: Vec<Snapshot> = survey.of(&self.host.name).iter().cloned().chain([taken]).collect();
        let plan = retention::plan(&settings.retention, settings.timezone, self.run.clock.now(), &snapshots);
        for decision in &plan.decisions {
            debug!("{decision}");
        }
        let names = plan.removals();
        if names.is_empty() {
            return;
        }
        let removal = tokio::select! {
            removal = self.in_time(self.run.store.remove(&self.host.name, &names)) => removal,
            // The copy is kept and good, and is to be reported as such: what
            // was not removed goes next time.
            () = self.run.cancel.cancelled() => {
                self.note(Severity::Ok, "old snapshots may be left: the run was told to stop");
                return;
            }
        };
        match removal.and_then(|removal| removal) {
            Ok(removal) => {
                self.removed = removal.removed.len();
                for name in &removal.removed {
                    info!("removed {}", printable(name));
                }
                for (name, why) in &removal.kept {
                    self.note(
                        Severity::Ok,
                        format!("{} could not be removed: {}", printable(name), printable(why)),
                    );
                }
            }
            Err(error) => {
                self.note(Severity::Warning, format!("old snapshots could not be removed: {error}"))
            }
        }
    }

    /// What the run says about the host.
    fn report(self, outcome: Outcome) -> HostReport {
        // Another run, or an operator, may have come and gone meanwhile; what
        // this run saw and did is what it answers for.
        let before = self.run.survey.as_ref().map(|survey| survey.of(&self.host.name)).unwrap_or_default();
        let ours = before.iter().filter(|snapshot| snapshot.is_ours()).count();
        let last_good = match &outcome {
            Outcome::Copied { verdict: Verdict::Good, snapshot, .. } => Some(snapshot.time()),
            _ => newest_good(before).map(|snapshot| snapshot.time),
        };
        let taken = usize::from(matches!(outcome, Outcome::Copied { .. }));
        HostReport {
            host: self.host.name.spelled().to_owned(),
            outcome,
            notes: self.notes,
            started: self.started,
            finished: self.run.clock.now(),
            figures: self.figures,
            snapshots: self.run.survey.is_ok().then_some(ours + taken - self.removed),
            last_good,
        }
    }
}

/// Counts the entries of a tree. One that cannot be read counts as empty, so
/// that nothing may be deleted in it.
async fn count_entries(root: PathBuf) -> u64 {
    let count = move || {
        let mut directories = vec![root];
        let mut entries = 1;
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).ok()? {
                let entry = entry.ok()?;
                entries += 1;
                if entry.file_type().ok()?.is_dir() {
                    directories.push(entry.path());
                }
            }
        }
        Some(entries)
    };
    tokio::task::spawn_blocking(count).await.ok().flatten().unwrap_or(0)
}
