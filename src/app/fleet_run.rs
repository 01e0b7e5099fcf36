//! A run over many hosts: from the configuration to what is written down and told
//! of it.
//!
//! Whatever happens to a host, the run goes on, and each host that it was about is
//! reported, also one that cannot be backed up. What is wrong beside the hosts is
//! a [`Problem`] and fails the exit code.
//!
//! Not known here: what happens with one host ([`crate::app::run`]), and how a run
//! is shown.

mod ending;
mod history_writer;
mod prepare;
mod stopwatch;

pub use crate::edge::inventory::{SelectError, Unknown};
pub use prepare::Preparation;

use crate::app::admission::Turn;
use crate::app::fleet;
use crate::app::run::{self, Event, Run};
use crate::core::format::text::printable;
use crate::core::format::timing::{Phase, Span};
use crate::core::model::event::FleetEvent;
use crate::core::model::host::{Host, HostName};
use crate::core::model::outcome::{self, HostReport, Note, Outcome, Severity, Stage};
use crate::core::model::problem::Problem;
use crate::core::model::snapshot::{HoldName, latest_good};
use crate::edge::inventory::UnfitHost;
use crate::edge::notify::Reporter;
use crate::edge::store::AnyStore;
use chrono::{DateTime, Utc};
use ending::Listed;
use history_writer::HistoryWriter;
pub use history_writer::LAST_WRITING;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use stopwatch::Stopwatch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};

/// What an operator wants of a run.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// Hosts of the inventory: names, globs, or `all`.
    pub hosts: Vec<String>,
    /// The configuration, or where it usually is.
    pub config: Option<PathBuf>,
    /// Hosts at once, instead of the configured number.
    pub jobs: Option<NonZeroUsize>,
    /// The hosts are backed up without the inventory, and are names.
    pub force: bool,
    /// Whatever was deleted on the hosts is accepted.
    pub accept_deletions: bool,
    /// New snapshots are held under this name.
    pub keep: Option<HoldName>,
}

impl RunRequest {
    /// Whether the run is about the whole fleet.
    pub fn means_all(&self) -> bool {
        self.hosts.iter().any(|word| word.eq_ignore_ascii_case("all"))
    }
}

/// Sees how a run gets on.
pub trait RunWatch {
    /// What is done before the first host.
    fn doing(&self, what: &'static str);
    /// How many hosts there will be.
    fn expect(&self, hosts: usize);
    /// What a host did.
    fn heard(&self, host: &HostName, event: Event);
}

/// A run that can begin.
pub struct FleetRun {
    request: RunRequest,
    run: Rc<Run<AnyStore>>,
    hosts: Vec<Host>,
    faults: Vec<UnfitHost>,
    history: HistoryWriter,
    reporter: Reporter,
    listed: Listed,
    problems: Vec<Problem>,
    stopwatch: Stopwatch,
}

/// A run whose hosts are done.
pub struct EndedRun {
    request: RunRequest,
    run: Rc<Run<AnyStore>>,
    reporter: Reporter,
    listed: Listed,
    /// What became of each host, in the order in which they were done.
    pub reports: Vec<HostReport>,
    /// What is wrong beside the hosts; it has been said.
    pub problems: Vec<Problem>,
    /// Where the time of the run itself went.
    pub phases: Vec<Span<Phase>>,
}

impl FleetRun {
    /// What stops it: no further host is begun, and those under way end without a
    /// snapshot.
    pub fn cancel(&self) -> CancellationToken {
        self.run.cancel.clone()
    }

    /// Backs the hosts up, and reports each of them, also those that cannot be.
    ///
    /// Must be called inside a [`tokio::task::LocalSet`].
    pub async fn back_up(self) -> EndedRun {
        let FleetRun { request, run, hosts, faults, mut history, reporter, listed, mut problems, stopwatch } =
            self;
        let mut reports: Vec<HostReport> = Vec::with_capacity(hosts.len() + faults.len());
        stopwatch.at(Phase::Hosts);
        let mut done = |report: HostReport| {
            let timings = stopwatch.host(&report.host);
            let mut report = with_history(HostReport { timings, ..report }, &run);
            report.notes.extend(of_the_inventory(&report.host, &reporter, &listed));
            say(&report);
            reporter.submit(FleetEvent::HostDone(report.clone()));
            history.record(report.clone());
            reports.push(report);
        };
        for fault in faults {
            let now = run.clock.now();
            let outcome = Outcome::Failed { stage: Stage::Inventory, why: fault.why.to_string() };
            done(HostReport::bare(fault.name, outcome, now, now));
        }
        let work = |host: Host, turn: Turn| {
            let run = run.clone();
            let span = info_span!("host", host = %host.name);
            async move { run::host(&run, &host, turn).await }.instrument(span)
        };
        fleet::run(hosts, fleet::pace(&run.settings), run.clock, &run.cancel, work, &mut done).await;
        stopwatch.at(Phase::LastReports);
        let delivered = reporter.finish(ending::long_enough(&run.cancel)).await;
        for (report, tries) in reports.iter_mut().zip(delivered.tries) {
            tries.into_iter().for_each(|tried| report.timings.add(stopwatch.told(tried)));
        }
        let unwritten = history.finish(&reports).await.into_iter().map(|what| Problem::warning(what, ""));
        for problem in delivered.problems.into_iter().chain(unwritten) {
            warn!("{problem}");
            problems.push(problem);
        }
        let phases = stopwatch.run();
        EndedRun { request, run, reporter, listed, reports, problems, phases }
    }
}

impl EndedRun {
    /// What the run calls itself on its snapshots.
    pub fn id(&self) -> &str {
        &self.run.id
    }

    /// When it began.
    pub fn started(&self) -> DateTime<Utc> {
        self.run.clock.start()
    }

    /// How long it took until now.
    pub fn took(&self) -> Duration {
        (self.run.clock.now() - self.run.clock.start()).to_std().unwrap_or_default()
    }

    /// Its exit code, as far as it goes by now.
    fn exit_code(&self) -> u8 {
        outcome::exit_code(&self.reports, !self.problems.is_empty())
    }

    /// Adds what else is wrong, and says it.
    pub fn add(&mut self, problem: Problem) {
        warn!("{problem}");
        self.problems.push(problem);
    }
}

/// What there is to say of a host because of what the inventory, or a notifier, calls it.
fn of_the_inventory(host: &str, reporter: &Reporter, listed: &Listed) -> Vec<Note> {
    let warning = |text: String| Note { severity: Severity::Warning, text };
    let hidden = reporter.run_is_hidden_by(host).into_iter();
    let hidden =
        hidden.map(|(name, remedy)| warning(format!("the run itself is not reported to {name}: {remedy}")));
    let rename = listed.renames.iter().find(|rename| rename.from.spelled() == host);
    hidden.chain(rename.map(|rename| warning(rename.problem().to_string()))).collect()
}

/// The report with what the store knows of the host's past, where its story
/// could not tell: it was never begun, or broke off.
fn with_history(mut report: HostReport, run: &Run<AnyStore>) -> HostReport {
    if report.snapshots.is_none() {
        if let (Ok(name), Ok(survey)) = (report.host.parse::<HostName>(), &run.survey) {
            let past = survey.of(&name);
            report.snapshots = Some(past.iter().filter(|snapshot| snapshot.is_ours()).count());
            report.last_good = latest_good(past, run.clock.now()).map(|snapshot| snapshot.time);
        }
    }
    report
}

/// One host's result: a line, and its details below.
fn say(report: &HostReport) {
    let name = if report.host.is_empty() { "(no name)" } else { &report.host };
    let span = info_span!("host", host = %printable(name));
    let _entered = span.enter();
    let severity = report.severity();
    let summary = printable(&report.summary());
    let text = [vec![summary.as_str()], report.details()].concat().join("\n");
    // Of hosts that fared alike people are told once.
    let same =
        format!("{severity}: {}", [vec![report.problem().as_str()], report.details()].concat().join("\n"));
    let last_good = report.past_good();
    match severity {
        Severity::Ok => info!("{severity}: {text}"),
        Severity::Warning => warn!(same, last_good, "{severity}: {text}"),
        Severity::Critical => error!(same, last_good, "{severity}: {text}"),
    }
}
