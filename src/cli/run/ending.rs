//! The end of a run: who is told of it as a whole, what is written down, and the
//! exit code.

use super::{Arguments, LAST_REPORTS, LAST_REPORTS_STOPPED, open_findings};
use crate::app::run::{self, Run};
use crate::cli::output;
use crate::core::model::outcome::{self, HostReport, Outcome, Severity};
use crate::core::model::problem::Problem;
use crate::core::model::snapshot::HoldName;
use crate::edge::inventory::Rename;
use crate::edge::report::{Reporter, RunReport, metrics, summary};
use crate::edge::store::AnyStore;
use crate::sys::logging;
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

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

/// Tells of the run, writes its figures, says how it went, and gives the exit
/// code.
pub(super) async fn close(
    run: &Run<AnyStore>,
    arguments: &Arguments,
    reporter: &Reporter,
    listed: &Listed,
    reports: &[HostReport],
    problems: &mut Vec<Problem>,
) -> u8 {
    let took = super::took(run);
    let unwritten = write_metrics(run, arguments, listed, reports, problems, took);
    problems.extend(unwritten);
    // Where a host has the service that was meant for it, the host's result stays.
    let has_service = !reports.iter().any(|report| reporter.is_of_run(&report.host));
    if arguments.means_all() && has_service {
        let report = run_report(reports, problems, took);
        let untold = reporter.tell_of_run(&report, long_enough(&run.cancel)).await;
        if let Some(problem) = untold {
            warn!("{problem}");
            problems.push(problem);
            // Which says by now that everybody was told.
            let _ = write_metrics(run, arguments, listed, reports, problems, took);
        }
    }
    if !arguments.common.quiet {
        let held = arguments.keep.as_ref().map(|name| held(name, reports)).unwrap_or_default();
        let table = summary::table(reports, problems, took, output::width_of(&std::io::stderr()));
        logging::print(&format!("\n{table}{held}"));
    }
    let code = outcome::exit_code(reports, !problems.is_empty());
    info!(syslog_only = true, "run {} ended with {code}: {}", run.id, summary::closing(reports, took));
    code
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
    if let Some(problem) = reporter.tell_of_run(&report, enough).await {
        warn!("{problem}");
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

fn write_metrics(
    run: &Run<AnyStore>,
    arguments: &Arguments,
    listed: &Listed,
    reports: &[HostReport],
    problems: &[Problem],
    took: Duration,
) -> Option<Problem> {
    let path = run.settings.metrics_textfile.as_ref()?;
    let figures = metrics::RunFigures {
        finished: run.clock.now(),
        duration: took,
        success: outcome::exit_code(reports, !problems.is_empty()) == 0,
        state: problems.iter().map(|problem| problem.severity).max().unwrap_or(Severity::Ok),
        listed: listed.at,
    };
    let server = &run.settings.server;
    let kept = arguments.means_all().then_some(&listed.left);
    let written = metrics::write(path, server, reports, &figures, kept);
    let written =
        written.and_then(|()| metrics::write_open_findings(path, server, &open_findings(&run.settings)));
    let problem = written.err()?.problem();
    warn!("{problem}");
    Some(problem)
}

/// Which snapshots an operator can come back to, a line each.
fn held(name: &HoldName, reports: &[HostReport]) -> String {
    let said = run::held_as(name);
    let held = reports.iter().filter(|report| report.notes.iter().any(|note| note.text == said));
    held.filter_map(|report| match &report.outcome {
        Outcome::Copied { snapshot, .. } => Some(format!("\nheld as `{name}`: {} {snapshot}", report.host)),
        _ => None,
    })
    .collect()
}
