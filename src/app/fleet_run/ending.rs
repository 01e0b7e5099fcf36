//! The end of a run: who is told of it as a whole, what is written down, and the
//! exit code.

use super::EndedRun;
use crate::core::format::summary;
use crate::core::model::event::RunReport;
use crate::core::model::outcome::{HostReport, Outcome, Severity};
use crate::core::model::problem::Problem;
use crate::core::model::settings::Settings;
use crate::core::model::snapshot::HoldName;
use crate::edge::history::Findings;
use crate::edge::inventory::Rename;
use crate::edge::metrics;
use crate::edge::notify::Reporter;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long notifiers get for what is still to be told when the run ends.
const LAST_REPORTS: Duration = Duration::from_secs(120);
/// The same, when the run was told to stop.
const LAST_REPORTS_STOPPED: Duration = Duration::from_secs(2);

/// What is known of a run's inventory when it ends.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// When NetBox gave the list of hosts.
    pub(super) at: Option<DateTime<Utc>>,
    /// Hosts that left the inventory, by their names in lower case.
    pub(super) left: BTreeSet<String>,
    /// Hosts that are called otherwise than their copies.
    pub(super) renames: Vec<Rename>,
}

/// Resolves when the end of a run has been waited for long enough: soon, once it
/// was told to stop.
pub(super) async fn long_enough(cancel: &CancellationToken) {
    let stopped = async {
        cancel.cancelled().await;
        tokio::time::sleep(LAST_REPORTS_STOPPED).await;
    };
    tokio::select! {
        () = tokio::time::sleep(LAST_REPORTS) => {}
        () = stopped => {}
    }
}

/// Tells of a run that could not begin.
pub(super) async fn not_begun(reporter: &Reporter, why: &anyhow::Error) {
    let report = RunReport {
        problems: vec![Problem::critical(format!("{why:#}"), "")],
        hosts: 0,
        not_good: 0,
        duration: Duration::ZERO,
        summary: "no host was backed up".to_owned(),
    };
    let enough = tokio::time::sleep(LAST_REPORTS);
    for problem in reporter.tell_of_run(report, &[], enough).await {
        warn!("{problem}");
    }
}

impl EndedRun {
    /// Tells of the run, writes its figures, and gives the exit code.
    pub async fn close(&mut self) -> u8 {
        let took = self.took();
        if let Some(problem) = self.write_metrics(took) {
            self.add(problem);
        }
        if self.request.means_all() {
            let report = run_report(&self.reports, &self.problems, took);
            // Where a host has the service that was meant for it, the host's result stays.
            let hosts: Vec<&str> = self.reports.iter().map(|report| report.host.as_str()).collect();
            let untold = self.reporter.tell_of_run(report, &hosts, long_enough(&self.run.cancel)).await;
            if !untold.is_empty() {
                untold.into_iter().for_each(|problem| self.add(problem));
                // Which says by now that everybody was told.
                let _ = self.write_metrics(took);
            }
        }
        let code = self.exit_code();
        let closing = summary::closing(&self.reports, took);
        info!(syslog_only = true, "run {} ended with {code}: {closing}", self.run.id);
        code
    }

    /// What is wrong if the textfile that is wanted cannot be written.
    fn write_metrics(&self, took: Duration) -> Option<Problem> {
        let settings = &self.run.settings;
        let path = settings.metrics_textfile.as_ref()?;
        let figures = metrics::RunFigures {
            finished: self.run.clock.now(),
            duration: took,
            success: self.exit_code() == 0,
            state: self.problems.iter().map(|problem| problem.severity).max().unwrap_or(Severity::Ok),
            listed: self.listed.at,
        };
        let kept = self.request.means_all().then_some(&self.listed.left);
        let written = metrics::write(path, &settings.server, &self.reports, &figures, kept)
            .and_then(|()| metrics::write_open_findings(path, &settings.server, &open_findings(settings)));
        written.err().map(|error| error.problem())
    }

    /// The run as a table, no wider than `width`, and which snapshots are held now.
    pub fn summary(&self, width: Option<u16>) -> String {
        let table = summary::table(&self.reports, &self.problems, self.took(), width);
        let held = self.request.keep.as_ref().map(|name| self.held(name)).unwrap_or_default();
        format!("{table}{held}")
    }

    /// Which snapshots an operator can come back to, a line each.
    fn held(&self, name: &HoldName) -> String {
        let held = self.run.held.borrow();
        let held = self.reports.iter().filter(|report| held.contains(&report.host));
        held.filter_map(|report| match &report.outcome {
            Outcome::Copied { snapshot, .. } => {
                Some(format!("\nheld as `{name}`: {} {snapshot}", report.host))
            }
            _ => None,
        })
        .collect()
    }
}

/// The run as a whole, as it is told of.
fn run_report(reports: &[HostReport], problems: &[Problem], took: Duration) -> RunReport {
    let mut problems = problems.to_vec();
    let skipped: Vec<&str> = reports
        .iter()
        .filter(|report| matches!(report.outcome, Outcome::Skipped { .. }))
        .map(|report| report.host.as_str())
        .collect();
    if !skipped.is_empty() {
        let what =
            format!("skipped, locked by another run: {}", crate::core::model::finding::named(&skipped));
        problems.push(Problem::warning(what, "that run reports them; if it hangs, stop it"));
    }
    RunReport {
        problems,
        hosts: reports.len(),
        not_good: reports.iter().filter(|report| report.severity() != Severity::Ok).count(),
        duration: took,
        summary: summary::closing(reports, took),
    }
}

/// How many findings of verifications are open, of each host that has any. Those
/// that cannot be read are one at least.
fn open_findings(settings: &Settings) -> BTreeMap<String, usize> {
    let all = Findings::at(&settings.state_dir).all().unwrap_or_default();
    all.into_iter().map(|(host, open)| (host, open.map_or(1, |open| open.each().len().max(1)))).collect()
}
