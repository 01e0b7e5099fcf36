//! The answer, as JSON and as tables.

use crate::cli::output::{self, Output};
use crate::core::format::table::{Column, Table};
use crate::core::format::text::{human_bytes, precise_duration};
use crate::core::format::timing::{self, Step, Sums};
use crate::core::model::clock;
use crate::core::model::run_record::HostRecord;
use crate::core::policy::health::{State, Status, human_age};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs before this are shown with their year, and not with their hour.
const RECENT: TimeDelta = TimeDelta::days(300);

/// The JSON answer. Fields are only ever added, here and in [`Row`].
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    /// Every host, by name.
    hosts: Vec<Row<'a>>,
    /// What makes the answer doubtful: an inventory that could not be asked, a
    /// history that cannot be read.
    warnings: &'a [String],
    /// The runs of the only host that was asked for, newest first. Not there
    /// where more were.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Vec<RunRow<'a>>>,
}

/// One host in it.
#[derive(Debug, Serialize)]
struct Row<'a> {
    /// As the inventory spells it; of a retired one, as the store does.
    name: &'a str,
    /// How it is doing, in a word.
    state: State,
    /// When its last run ended.
    last_run: Option<String>,
    /// When its newest good snapshot was taken.
    last_good: Option<String>,
    /// How old that is.
    age_seconds: Option<i64>,
    /// How many snapshots of ours it has.
    snapshots: usize,
    /// Bytes that the files of the newest good one hold together.
    bytes: Option<u64>,
    /// What is wrong.
    problem: Option<&'a str>,
    /// What became of its last run, in a word.
    last_result: Option<&'a str>,
    /// How many bytes its good copies become more by in a day, or fewer.
    growth_bytes_per_day: Option<i64>,
    /// Files in the newest good one.
    files: Option<u64>,
    /// How many snapshots are held.
    held: usize,
    /// How many snapshots are somebody else's.
    foreign: usize,
    /// Since when a run has been working on it.
    running_since: Option<String>,
    /// How many findings of `backup verify` are not mended.
    open_findings: Option<usize>,
    /// How long each step of its last run took, in seconds.
    timings: Option<Seconds>,
}

/// Seconds of each step.
type Seconds = BTreeMap<Step, f64>;

/// One run of a host. What is not known is null.
#[derive(Debug, Serialize)]
struct RunRow<'a> {
    /// What the run called itself.
    run: &'a str,
    /// When the host's part of it began.
    started: String,
    /// When that ended.
    finished: String,
    /// What became of the host, in a word.
    result: &'a str,
    /// Files that the copy held.
    files: Option<u64>,
    /// Bytes that they held together.
    bytes: Option<u64>,
    /// Bytes that came over the wire.
    received: Option<u64>,
    /// How long each step took, in seconds.
    timings: Option<Seconds>,
}

/// The answer about these hosts, with what the history has of their last runs,
/// and all runs that it has of the only one.
pub(super) fn answer<'a>(
    statuses: &'a [Status],
    warnings: &'a [String],
    last: impl Fn(&Status) -> Option<&'a HostRecord>,
    runs: Option<&'a [HostRecord]>,
) -> Answer<'a> {
    let rows = statuses.iter().map(|status| {
        let timings = last(status).and_then(|entry| seconds(&entry.timings));
        Row { timings, ..row(status) }
    });
    Answer { hosts: rows.collect(), warnings, runs: runs.map(|runs| runs.iter().map(run).collect()) }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn run(entry: &HostRecord) -> RunRow<'_> {
    RunRow {
        run: &entry.run,
        started: time(entry.started),
        finished: time(entry.finished),
        result: &entry.word,
        files: entry.files,
        bytes: entry.bytes,
        received: entry.received,
        timings: seconds(&entry.timings),
    }
}

fn seconds(sums: &Sums) -> Option<Seconds> {
    (!sums.is_empty()).then(|| sums.iter().map(|(step, took)| (*step, timing::seconds(*took))).collect())
}

fn row(status: &Status) -> Row<'_> {
    Row {
        name: &status.name,
        state: status.state,
        last_run: status.last_run.as_ref().map(|run| time(run.time)),
        last_good: status.last_good.map(time),
        age_seconds: status.age.map(|age| age.num_seconds()),
        snapshots: status.copies.ours,
        bytes: status.bytes(),
        problem: status.problem.as_deref(),
        last_result: status.last_run.as_ref().map(|run| run.word.as_str()),
        growth_bytes_per_day: status.growth().map(|growth| growth.per_day()),
        files: status.copies.newest_good.and_then(|taken| taken.files),
        held: status.copies.held,
        foreign: status.copies.foreign,
        running_since: status.running.map(time),
        open_findings: status.open,
        timings: None,
    }
}

/// Where the time of a host's last run went, the most of it first.
pub(super) fn timings(out: &mut Output, sums: &Sums) -> anyhow::Result<()> {
    let shares: BTreeMap<Step, u32> = timing::shares(sums).into_iter().collect();
    let mut steps: Vec<(&Step, &Duration)> = sums.iter().collect();
    steps.sort_by_key(|(_, took)| Reverse(**took));
    let columns = [Column::Words("LAST RUN"), Column::Figures("TIME"), Column::Figures("SHARE")];
    let mut table = Table::new(&columns);
    for (step, took) in steps {
        let share = match shares.get(step) {
            // Who waits does no work.
            _ if !step.is_work() => "-".to_owned(),
            Some(share) => format!("{share}%"),
            None => "0%".to_owned(),
        };
        table.row([step.word(), &precise_duration(*took), &share]);
    }
    table.row(["(sum)", &precise_duration(timing::total(sums)), ""]);
    out.line("")?;
    out.table(table)
}

/// The hosts for people, those that need a look last. On a terminal what is
/// wrong with them stands below, where there is room for it; in a pipe each
/// host is one whole line.
pub(super) fn tables(
    out: &mut Output,
    statuses: &[&Status],
    now: DateTime<Utc>,
    zone: Tz,
) -> anyhow::Result<()> {
    let mut sorted: Vec<&Status> = statuses.to_vec();
    sorted.sort_by_key(|status| status.state);
    if sorted.is_empty() {
        return Ok(());
    }
    let on_terminal = output::width().is_some();
    let mut columns = vec![
        Column::Words("HOST"),
        Column::Words("STATE"),
        Column::Words("AGE"),
        Column::Words("LAST RUN"),
        Column::Figures("SIZE"),
        Column::Figures("GROWTH/DAY"),
        Column::Figures("SNAPSHOTS"),
    ];
    if !on_terminal {
        columns.push(Column::Words("PROBLEM"));
    }
    let mut hosts = Table::new(&columns);
    let mut problems = Table::new(&[Column::Words("HOST"), Column::Words("PROBLEM")]);
    for status in sorted {
        let mut cells = cells(status, now, zone);
        if let Some(problem) = status.problem.as_deref().filter(|_| on_terminal) {
            problems.row([cells[0].as_str(), problem]);
        } else if !on_terminal {
            cells.push(status.problem.clone().unwrap_or_default());
        }
        hosts.row(cells);
    }
    out.table(hosts)?;
    if !problems.is_empty() {
        out.line("")?;
        out.table(problems)?;
    }
    Ok(())
}

fn cells(status: &Status, now: DateTime<Utc>, zone: Tz) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let name = if status.name.is_empty() { "(no name)" } else { &status.name };
    vec![
        name.to_owned(),
        status.state.to_string(),
        or_dash(status.age.map(human_age)),
        or_dash(
            status.last_run.as_ref().map(|run| format!("{} {}", short(run.time, now, zone), run.display())),
        ),
        or_dash(status.bytes().map(human_bytes)),
        or_dash(status.growth().map(|growth| signed(growth.per_day()))),
        status.copies.ours.to_string(),
    ]
}

/// A recent time as `Nov 20 02:00`, another as `2025-11-20`.
fn short(time: DateTime<Utc>, now: DateTime<Utc>, zone: Tz) -> String {
    let format = if (now - time).abs() < RECENT { "%b %d %H:%M" } else { "%Y-%m-%d" };
    clock::local_as(format, zone, time)
}

/// A change of bytes: `+1.5 MiB`, `-20 B`, `0 B`.
fn signed(bytes: i64) -> String {
    let size = human_bytes(bytes.unsigned_abs());
    match bytes {
        0 => size,
        1.. => format!("+{size}"),
        _ => format!("-{size}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_runs_are_short_and_local() {
        let now: DateTime<Utc> = "2026-11-20T12:00:00Z".parse().unwrap();
        let shown = |time: &str| short(time.parse().unwrap(), now, Tz::Europe__Berlin);
        assert_eq!(shown("2026-11-20T02:00:05Z"), "Nov 20 03:00");
        assert_eq!(shown("2025-11-20T02:00:05Z"), "2025-11-20");
        assert_eq!((signed(-2048), signed(0), signed(1)), ("-2.0 KiB".into(), "0 B".into(), "+1 B".into()));
    }
}
