//! A verification of many hosts: from the configuration to what is remembered
//! and told of it.
//!
//! Not known here: how a host is compared, and how results are shown.

use super::{Scope, VerifyRun, VerifyWatch, host};
use crate::app::fleet::{self, FleetResult, Unfinished};
use crate::app::fleet_run::LAST_WRITING;
use crate::core::model::event::FleetEvent;
use crate::core::model::host::{Host, HostName};
use crate::core::model::problem::Problem;
use crate::core::model::run_record::VerificationRecord;
use crate::core::model::verification::{Stop, Verification, VerificationState};
use crate::edge::history::{History, HistoryError, Opened};
use crate::edge::inventory::{self, UnfitHost};
use crate::edge::metrics;
use crate::edge::notify::{self, Reporter};
use crate::edge::store::AnyStore;
use crate::sys::clock::Clock;
use crate::sys::lock::Runtime;
use anyhow::Context;
use chrono::{DateTime, Utc};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span, warn};

/// How long notifiers get for what is still to be told at the end.
const LAST_REPORTS: Duration = Duration::from_secs(60);

/// What is to be verified.
#[derive(Debug)]
pub struct VerifyRequest<'a> {
    /// Words that select hosts of the inventory; none for all of them.
    pub hosts: &'a [String],
    /// Which files of each host are compared.
    pub scope: Scope,
    /// The configuration, or where it usually is.
    pub config: Option<&'a Path>,
}

/// A verification that can begin.
pub struct Verifications {
    run: Rc<VerifyRun<AnyStore>>,
    hosts: Vec<Host>,
    faults: Vec<UnfitHost>,
    reporter: Reporter,
}

/// What a verification of many hosts came to.
#[derive(Debug)]
pub struct Verified {
    /// Of each host, by name.
    pub results: Vec<Verification>,
    /// What is wrong beside the hosts.
    pub problems: Vec<Problem>,
}

impl Verifications {
    /// Everything before the first host; `doing` hears what takes time.
    ///
    /// # Errors
    /// Something is wrong with the configuration, the runtime directory, the
    /// inventory or the words.
    pub async fn prepare(
        request: &VerifyRequest<'_>,
        clock: Clock,
        doing: impl Fn(&'static str),
        watch: VerifyWatch,
    ) -> anyhow::Result<Self> {
        let mut settings = crate::app::session::settings(request.config)?;
        crate::app::session::set_jobs(&mut settings, None);
        let reporter = Reporter::start(notify::configured(&settings).map_err(anyhow::Error::msg)?);
        let (runtime, _) = Runtime::enter(&settings.runtime_dir)
            .context("the runtime directory is not usable (run as root, and check `runtime_dir`)")?;
        doing("reading the inventory");
        let inventory = inventory::look(&settings, clock.now(), None).await?;
        inventory.problems().for_each(|warning| warn!("{warning}"));
        let all = ["all".to_owned()];
        let words = if request.hosts.is_empty() { &all[..] } else { request.hosts };
        let selection = inventory::select(&inventory, words)?;
        let hosts = selection.hosts.into_iter().cloned().collect();
        let faults = selection.faults.into_iter().cloned().collect();
        let store = AnyStore::open(&settings.store)?;
        let cancel = CancellationToken::new();
        let run = Rc::new(VerifyRun { store, runtime, clock, scope: request.scope, cancel, watch, settings });
        Ok(Verifications { run, hosts, faults, reporter })
    }

    /// How many hosts will be connected to.
    pub fn count(&self) -> usize {
        self.hosts.len()
    }

    /// What stops it: no further host is begun, those under way end as they are.
    pub fn cancel(&self) -> CancellationToken {
        self.run.cancel.clone()
    }

    /// Verifies the hosts and gives each one's result to `done` as it comes, then
    /// tells of them, and remembers them.
    ///
    /// Must be called inside a [`tokio::task::LocalSet`].
    pub async fn execute(self, mut done: impl FnMut(&Verification)) -> Verified {
        let Verifications { run, hosts, faults, reporter } = self;
        let mut results: Vec<Verification> =
            faults.into_iter().map(|fault| unfit(fault, run.clock.now())).collect();
        results.iter().for_each(&mut done);
        let work = |member: Host, turn| {
            let run = run.clone();
            let span = info_span!("host", host = %member.name);
            async move { host(&run, &member, turn).await }.instrument(span)
        };
        fleet::run(hosts, fleet::pace(&run.settings), run.clock, &run.cancel, work, |result| {
            done(&result);
            reporter.submit(FleetEvent::Verified(result.clone()));
            results.push(result);
        })
        .await;
        let mut problems = reporter.finish(tokio::time::sleep(LAST_REPORTS)).await.problems;
        problems.extend(write_metrics(&run, &results));
        problems.extend(remember(&run, &results).await);
        results.sort_by_key(|result| result.host.to_lowercase());
        Verified { results, problems }
    }
}

impl FleetResult for Verification {
    fn unfinished(host: &HostName, why: Unfinished, began: DateTime<Utc>, ended: DateTime<Utc>) -> Self {
        let stop = match why {
            Unfinished::Panicked(panic) => {
                Stop::Failed(format!("a fault in this program: {panic} (please report it)"))
            }
            Unfinished::Interrupted => Stop::Interrupted,
        };
        Verification { stop: Some(stop), finished: ended, ..Verification::of(host.spelled(), began) }
    }
}

/// The result of a host that should be backed up and cannot be.
fn unfit(fault: UnfitHost, now: DateTime<Utc>) -> Verification {
    Verification { stop: Some(Stop::Failed(fault.why.to_string())), ..Verification::of(fault.name, now) }
}

/// What is wrong if the textfile that is wanted cannot be written.
fn write_metrics(run: &VerifyRun<AnyStore>, results: &[Verification]) -> Option<Problem> {
    let path = run.settings.metrics_textfile.as_ref()?;
    let written = metrics::write_verifications(path, &run.settings.server, results);
    written.err().map(|error| error.problem())
}

/// Writes the results into the history, away from this thread; what is lost,
/// if anything is.
async fn remember(run: &VerifyRun<AnyStore>, results: &[Verification]) -> Option<Problem> {
    let ended = results.iter().filter(|result| result.state() != VerificationState::Interrupted);
    let records: Vec<VerificationRecord> = ended.map(record).collect();
    let (state_dir, now) = (run.settings.state_dir.clone(), run.clock.now());
    let writing = tokio::task::spawn_blocking(move || -> Result<Vec<String>, HistoryError> {
        let Opened { history, warnings, .. } = History::open(&state_dir, now)?;
        records.iter().try_for_each(|record| history.record_verification(record))?;
        Ok(warnings)
    });
    let lost = match tokio::time::timeout(LAST_WRITING, writing).await {
        Ok(Ok(Ok(warnings))) => {
            warnings.iter().for_each(|warning| warn!("{warning}"));
            return None;
        }
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its disk does not answer".to_owned(),
    };
    Some(Problem::warning(format!("the results are not in the history: {lost}"), ""))
}

/// A result as the history keeps it.
fn record(result: &Verification) -> VerificationRecord {
    let tally = &result.tally;
    VerificationRecord {
        host: result.host.to_lowercase(),
        time: result.finished,
        snapshot: result.snapshot.as_ref().map(|(name, _)| name.clone()),
        sampled: tally.sampled,
        identical: tally.identical,
        changed: tally.changed + tally.overlooked,
        different: tally.different,
        unreadable: tally.unreadable + tally.unreadable_there,
        problem: (result.state() != VerificationState::Good).then(|| result.summary()),
    }
}
