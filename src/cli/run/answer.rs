//! What became of a run, as JSON.

use crate::core::format::text::printable;
use crate::core::model::outcome::{Figures, HostReport, Outcome, Severity};
use crate::core::model::snapshot::Verdict;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use std::time::Duration;

/// The JSON answer of a run. Fields are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    /// What the run calls itself on its snapshots.
    run: &'a str,
    /// When it began, RFC 3339 in UTC.
    started: String,
    duration_seconds: f64,
    /// Those that need a look last.
    hosts: Vec<HostAnswer<'a>>,
    /// What is wrong beside the hosts.
    problems: &'a [String],
    /// The exit status.
    exit: u8,
}

/// What became of a host. Fields are only ever added.
#[derive(Debug, Serialize)]
struct HostAnswer<'a> {
    /// As the inventory spells it; empty for a nameless one.
    name: &'a str,
    /// `good`, `partial`, `suspect`, `failed`, `skipped` or `interrupted`.
    result: &'static str,
    /// `OK`, `WARNING` or `CRITICAL`.
    severity: String,
    /// What is said of it in one line.
    summary: String,
    /// What is worth a line of its own, each with its severity.
    notes: Vec<NoteAnswer<'a>>,
    /// The snapshot that was taken; null if none was.
    snapshot: Option<String>,
    /// What its copy is worth; null if there is none.
    verdict: Option<Verdict>,
    started: String,
    duration_seconds: f64,
    /// Entries of the copy; null if nothing was copied, as all that follow.
    files: Option<u64>,
    /// What its files hold together.
    bytes: Option<u64>,
    received_bytes: Option<u64>,
    /// Files that were new or changed.
    changed: Option<u64>,
    /// Files removed from the copy.
    deleted: Option<u64>,
    /// How many snapshots of ours the host has now; null if nobody knows.
    snapshots: Option<usize>,
    /// When its newest good snapshot was taken; null if there is none.
    last_good: Option<String>,
}

#[derive(Debug, Serialize)]
struct NoteAnswer<'a> {
    severity: String,
    text: &'a str,
}

impl<'a> Answer<'a> {
    pub(super) fn new(
        run: &'a str,
        (started, took): (DateTime<Utc>, Duration),
        reports: &'a [HostReport],
        problems: &'a [String],
        exit: u8,
    ) -> Self {
        let mut sorted: Vec<&HostReport> = reports.iter().collect();
        sorted.sort_by_cached_key(|report| report.rank());
        Answer {
            run,
            started: told(started),
            duration_seconds: seconds(took),
            hosts: sorted.into_iter().map(HostAnswer::new).collect(),
            problems,
            exit,
        }
    }
}

impl<'a> HostAnswer<'a> {
    fn new(report: &'a HostReport) -> Self {
        let (snapshot, verdict) = match &report.outcome {
            Outcome::Copied { snapshot, verdict, .. } => (Some(snapshot.to_string()), Some(*verdict)),
            _ => (None, None),
        };
        let figure = |which: fn(Figures) -> u64| report.figures.map(which);
        let note = |severity: Severity, text| NoteAnswer { severity: severity.to_string(), text };
        HostAnswer {
            name: &report.host,
            result: report.word(),
            severity: report.severity().to_string(),
            summary: printable(&report.summary()),
            notes: report.notes.iter().map(|one| note(one.severity, one.text.as_str())).collect(),
            snapshot,
            verdict,
            started: told(report.started),
            duration_seconds: seconds(report.duration()),
            files: figure(|figures| figures.files),
            bytes: figure(|figures| figures.bytes),
            received_bytes: figure(|figures| figures.received),
            changed: figure(|figures| figures.changed),
            deleted: figure(|figures| figures.deleted),
            snapshots: report.snapshots,
            last_good: report.last_good.map(told),
        }
    }
}

fn told(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
