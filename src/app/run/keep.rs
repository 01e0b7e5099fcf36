//! After the copy: what it is worth, its snapshot, and which old ones go.

use super::{HostRun, Step, failed};
use crate::app::clock::{kept_all_of, newest_to_come};
use crate::core::format::text::{human_bytes, printable};
use crate::core::model::outcome::{Figures, Outcome, Severity, Stage};
use crate::core::model::snapshot::{Facts, Origin, Snapshot, SnapshotName, Verdict, baseline};
use crate::core::policy::anomaly::{self, Deviation, Sample};
use crate::core::policy::guard::Observed;
use crate::core::policy::namesake;
use crate::core::policy::rotation::{Rotation, RotationPolicy, WithheldFor};
use crate::edge::remote::Probe;
use crate::edge::rsync::{Ending, Transfer, Unkept};
use crate::edge::store::{Kept, Store, Survey, Workspace};
use crate::sys::lock::HostLock;
use std::time::Duration;
use tracing::{debug, info};

/// What there is to say of a whole copy that lacks attributes.
fn without(unkept: &Unkept) -> String {
    let Unkept { name, path, why, remedy, further } = unkept;
    let more = match further {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    format!(
        "the extended attribute `{name}` of `{path}`{more} could not be kept, all contents were: {why} ({remedy})"
    )
}

/// Whether a copy since the last good one was suspect, of a host that called itself
/// as it does now.
fn is_doubted(snapshots: &[Snapshot], last_good: Option<&Snapshot>, probe: &Probe) -> bool {
    let since = snapshots.iter().filter(|one| last_good.is_none_or(|good| one.time > good.time));
    let mut facts = since.filter_map(Snapshot::facts).filter(|facts| facts.verdict == Verdict::Suspect);
    let is_of_now = |name: &str| probe.hostname.as_deref().is_some_and(|now| namesake::is_same(now, name));
    facts.any(|facts| facts.hostname.as_deref().is_some_and(is_of_now))
}

impl<S: Store> HostRun<'_, S> {
    /// Takes the snapshot with its verdict; rotates if the run was good.
    pub(super) async fn keep(
        &mut self,
        transfer: &Transfer,
        workspace: &Workspace,
        probe: &Probe,
        survey: &Survey,
        lock: &HostLock,
    ) -> Result<Outcome, Outcome> {
        let statistics = transfer.statistics;
        self.figures = Some(Figures {
            files: statistics.files,
            bytes: statistics.bytes,
            received: statistics.received,
            changed: statistics.changed,
            changed_bytes: statistics.changed_bytes,
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
            hostname: probe.hostname.clone(),
            left_out: self.left_out.clone(),
            clock_agreed: self.clocks_agree,
        };
        lock.verify().map_err(|error| failed(Stage::Lock, error))?;
        let committed = self.in_time(self.run.store.commit(&self.host.name, workspace, name, &facts)).await;
        committed.map_err(|error| failed(Stage::Snapshot, error))?;
        info!(
            "{name} is {verdict}: {} files, {}, {} changed",
            statistics.files,
            human_bytes(statistics.bytes),
            statistics.changed
        );
        // Before anything is removed, whatever the copy is worth.
        let held = self.hold(name).await;
        let taken = Snapshot { name: name.to_string(), time: name.time(), held, origin: Origin::Run(facts) };
        if verdict == Verdict::Good {
            self.close_findings(name).await;
        }
        self.tell_open();
        let deviations = if verdict == Verdict::Good { self.deviations(&taken) } else { Vec::new() };
        let (falls, rises): (Vec<Deviation>, Vec<Deviation>) =
            deviations.into_iter().partition(Deviation::is_fall);
        if !falls.is_empty() {
            self.rotation.withhold(WithheldFor::Fall);
        }
        self.note_jumps(&falls, name, survey);
        if verdict != Verdict::Good {
            self.rotation.withhold(WithheldFor::Verdict);
        }
        match self.rotation {
            Rotation::Allowed => self.rotate(taken, survey).await,
            Rotation::Withheld(why) => debug!("nothing is removed: {why:?}"),
        }
        // What is larger than usual has lost nothing: that holds up no rotation,
        // which makes the room that it needs (docs/decisions/0014-sizes-that-jump.md).
        self.note_jumps(&rises, name, survey);
        // Not a reason to keep old snapshots either: they would be kept for ever.
        self.afterwards.extend(transfer.unkept.as_ref().map(without));
        Ok(Outcome::Copied { verdict, why, snapshot: name })
    }

    /// What the copy is worth, and why if it is worth less than good.
    fn judge(&mut self, transfer: &Transfer, probe: &Probe, survey: &Survey) -> (Verdict, String) {
        self.settle_clock();
        let last_good = baseline(survey.of(&self.host.name), self.run.clock.now());
        let observed = Observed {
            files: transfer.statistics.files,
            directories: transfer.statistics.directories,
            stopped_deleting: transfer.stopped_deleting,
            machine: probe.machine.clone(),
            renamed: self.renamed.clone(),
            regular: transfer.statistics.files.saturating_sub(transfer.statistics.directories),
            changed: transfer.statistics.changed,
            changed_before: self.transfers.len() > 1
                || is_doubted(survey.of(&self.host.name), last_good, probe),
        };
        if let Some(why) = self.guard().judge(last_good.and_then(Snapshot::facts), &observed) {
            return (Verdict::Suspect, why);
        }
        if let Some(why) = self.misdated.take() {
            return (Verdict::Suspect, why);
        }
        if let Some(what) = self.renamed.take() {
            self.note(Severity::Ok, what);
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
            Ending::Complete | Ending::SourceChanged | Ending::WithoutAttributes => {
                (Verdict::Good, String::new())
            }
            Ending::Incomplete | Ending::TooManyDeletions => {
                let first = transfer.complaints.first().map_or("rsync gave no reason", String::as_str);
                let more = match transfer.complaints.len().saturating_sub(1) + transfer.further_complaints {
                    0 => String::new(),
                    1 => " (and 1 more error)".to_owned(),
                    count => format!(" (and {count} more errors)"),
                };
                let advice = transfer.advice.map_or_else(String::new, |advice| format!("; {advice}"));
                (Verdict::Partial, format!("some files could not be copied: {first}{more}{advice}"))
            }
        }
    }

    /// What of a good copy is not as it usually is.
    fn deviations(&self, taken: &Snapshot) -> Vec<Deviation> {
        let past = self.run.past.get(self.host.name.key()).map_or(&[][..], Vec::as_slice);
        let now = Sample::of_snapshots(std::slice::from_ref(taken));
        let deviations = now.first().map(|now| anomaly::deviations(past, now)).unwrap_or_default();
        // What the operator has accepted is not held against the copy.
        deviations.into_iter().filter(|jump| !(self.run.accept_deletions && jump.is_fall())).collect()
    }

    fn note_jumps(&mut self, deviations: &[Deviation], taken: SnapshotName, survey: &Survey) {
        if deviations.is_empty() {
            return;
        }
        let what: Vec<String> = deviations.iter().map(Deviation::to_string).collect();
        let host = &self.host.name;
        let now = self.run.clock.now();
        let is_left = |snapshot: &&Snapshot| {
            snapshot.is_good() && snapshot.time <= now && !self.removed.contains(&snapshot.name)
        };
        let former = survey.of(host).iter().rfind(is_left);
        let former = former.filter(|_| deviations.iter().any(Deviation::is_of_the_copy));
        let diff = former.map_or_else(String::new, |former| {
            format!("`backup diff {host} {} {}` shows what changed, ", printable(&former.name), taken)
        });
        let text = format!(
            "{}\n  {diff}`backup status {host} --plot` shows how it was before; if that is intended, there is \
             nothing to do: it is not reported again while it stays so",
            what.join("; ")
        );
        self.note(Severity::Warning, text);
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

    /// Holds the snapshot, if the operator wants that, and says whether it is
    /// held. Who asked for that is about to do something dangerous: it must not
    /// go unheard that there is nothing to come back to.
    async fn hold(&mut self, name: SnapshotName) -> bool {
        let Some(keep) = &self.run.keep else { return false };
        let held = self.in_time(self.run.store.hold(&self.host.name, &name.to_string(), keep)).await;
        let (severity, text) = match &held {
            Ok(_) => (Severity::Ok, format!("held as `{keep}`")),
            Err(error) => (
                Severity::Critical,
                format!(
                    "the snapshot could not be held as `{keep}`: {error} (`backup hold {} {name} {keep}` tries again)",
                    self.host.name
                ),
            ),
        };
        self.note(severity, text);
        if held.is_err() {
            self.rotation.withhold(WithheldFor::Hold);
        } else {
            self.run.held.borrow_mut().insert(self.host.name.spelled().to_owned());
        }
        held.is_ok()
    }

    /// Removes what no tier claims any more. What goes wrong here costs space,
    /// not copies: it is a note, not a failure.
    async fn rotate(&mut self, taken: Snapshot, survey: &Survey) {
        // Where the host's own clock agrees with ours, ours is right, and it is the
        // snapshot's date that is wrong. A host of whose own snapshots one lies in
        // the future keeps all: the plan sees to that.
        let own = self.run.clock_behind.as_ref().filter(|newest| newest.host() == self.host.name.key());
        if let Some(newest) = own.or(self.run.clock_behind.as_ref().filter(|_| !self.clocks_agree)) {
            let text = newest.kept_all(&self.run.store);
            self.note(Severity::Warning, text);
            return;
        }
        self.at(Step::Rotate);
        let settings = &self.run.settings;
        let rotation = RotationPolicy {
            policy: &settings.retention,
            timezone: settings.timezone,
            now: self.run.clock.now(),
            clock_behind: false,
            // With anything open rotation is withheld.
            damage_found: None,
        };
        let plan = rotation.plan(survey.of(&self.host.name), Some(taken));
        for decision in &plan.decisions {
            debug!("{decision}");
        }
        if let Some(newest) = newest_to_come(survey.of(&self.host.name), self.run.clock.now()) {
            let text = kept_all_of(&self.run.store, &self.host.name, newest);
            self.note(Severity::Warning, text);
        }
        let names = plan.removals();
        if names.is_empty() {
            return;
        }
        let removal = tokio::select! {
            removal = self.in_time(self.run.store.remove(&self.host.name, survey.of(&self.host.name), &names)) => removal,
            // The copy is kept and good, and is to be reported as such: what
            // was not removed goes next time.
            () = self.run.cancel.cancelled() => {
                self.note(Severity::Ok, "old snapshots may remain: the run was told to stop");
                return;
            }
        };
        match removal {
            Ok(removal) => {
                for name in &removal.removed {
                    info!("removed {}", printable(name));
                }
                self.removed = removal.removed;
                for (name, why) in &removal.kept {
                    let severity = match why {
                        Kept::Refused(_) => Severity::Warning,
                        Kept::Held | Kept::Foreign => Severity::Ok,
                    };
                    let why = printable(&why.to_string());
                    self.note(severity, format!("{} could not be removed: {why}", printable(name)));
                }
                self.afterwards.extend(removal.remains.filter(|_| self.afterwards.is_empty()));
            }
            Err(error) => {
                self.note(Severity::Warning, format!("old snapshots could not be removed: {error}"))
            }
        }
    }
}
