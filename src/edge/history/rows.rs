//! Entries as rows, and back.
//!
//! What is read may have been written by anybody: a value that makes no sense
//! is left out rather than made an error, so that one odd row does not hide
//! the others.

use crate::core::format::timing::{self, Step, Sums};
use crate::core::model::outcome::{HookResult, HostReport, Outcome, Severity};
use crate::core::model::run_record::{HostRecord, VerificationRecord};
use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::types::ValueRef;
use rusqlite::{Row, ToSql};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest that the details of one run may be, in bytes: enough for the
/// last lines of a few hooks.
const LONGEST_DETAILS: usize = 16 * 1024;

/// The columns of an entry, in the order of [`entry`] and [`values`].
macro_rules! columns {
    () => {
        "host, spelled, run, started, finished, word, verdict, severity, summary, details, transfers, hooks, \
         files, bytes, received, changed, changed_bytes, deleted, snapshot, snapshots, from_snapshot, timings"
    };
}
pub(super) use columns;
/// The same as a constant.
pub(super) const COLUMNS: &str = columns!();
/// A place for the value of each of them.
pub(super) const PLACES: &str =
    "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22";
/// The end of [`COLUMNS`] and what stands there for a file that is older than
/// timings.
pub(super) const WITHOUT_TIMINGS: (&str, &str) = ("from_snapshot, timings", "from_snapshot, NULL");

/// The columns of a verification, in the order of [`verification`].
pub(super) const VERIFICATION: &str =
    "host, time, snapshot, sampled, identical, changed, different, unreadable, problem";

/// A hook's result, as JSON in a row.
#[derive(Serialize, Deserialize)]
struct Hook {
    name: String,
    ended: String,
    severity: u8,
    seconds: f64,
}

/// What a run is remembered as.
pub(super) fn remembered(run: &str, report: &HostReport) -> HostRecord {
    let (verdict, snapshot) = match &report.outcome {
        Outcome::Copied { verdict, snapshot, .. } => (Some(*verdict), Some(snapshot.to_string())),
        Outcome::Failed { .. } | Outcome::Skipped { .. } | Outcome::Interrupted => (None, None),
    };
    let figures = report.figures;
    HostRecord {
        run: run.to_owned(),
        host: report.host.to_ascii_lowercase(),
        spelled: report.host.clone(),
        started: report.started,
        finished: report.finished,
        word: report.word().to_owned(),
        verdict,
        severity: report.severity(),
        summary: report.summary(),
        details: report.details().into_iter().map(str::to_owned).collect(),
        transfers: report.transfers.clone(),
        hooks: report.hooks.clone(),
        timings: report.timings.sums(),
        files: figures.map(|figures| figures.files),
        bytes: figures.map(|figures| figures.bytes),
        received: figures.map(|figures| figures.received),
        changed: figures.map(|figures| figures.changed),
        changed_bytes: figures.map(|figures| figures.changed_bytes),
        deleted: figures.map(|figures| figures.deleted),
        snapshot,
        snapshots: report.snapshots.and_then(|count| u64::try_from(count).ok()),
        from_snapshot: false,
    }
}

/// The values of an entry's columns.
pub(super) fn values(entry: &HostRecord) -> Vec<Box<dyn ToSql>> {
    let hooks: Vec<Hook> = entry
        .hooks
        .iter()
        .map(|hook| Hook {
            name: hook.name.clone(),
            ended: hook.ended.clone(),
            severity: hook.severity.state(),
            // To the millisecond; more would only look precise.
            seconds: Duration::from_millis(hook.took.as_millis().try_into().unwrap_or(u64::MAX))
                .as_secs_f64(),
        })
        .collect();
    vec![
        Box::new(entry.host.clone()),
        Box::new(entry.spelled.clone()),
        Box::new(entry.run.clone()),
        Box::new(time(entry.started)),
        Box::new(time(entry.finished)),
        Box::new(entry.word.clone()),
        Box::new(entry.verdict.map(|verdict| verdict.to_string())),
        Box::new(entry.severity.state()),
        Box::new(entry.summary.clone()),
        Box::new(cut(&entry.details)),
        Box::new(json(&entry.transfers)),
        Box::new(json(&hooks)),
        Box::new(entry.files.map(whole)),
        Box::new(entry.bytes.map(whole)),
        Box::new(entry.received.map(whole)),
        Box::new(entry.changed.map(whole)),
        Box::new(entry.changed_bytes.map(whole)),
        Box::new(entry.deleted.map(whole)),
        Box::new(entry.snapshot.clone()),
        Box::new(entry.snapshots.map(whole)),
        Box::new(entry.from_snapshot),
        Box::new(timings(&entry.timings)),
    ]
}

/// An entry of a row with [`COLUMNS`].
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<HostRecord> {
    let hooks: Vec<Hook> = serde_json::from_str(&text(row, 11)?).unwrap_or_default();
    let hook = |hook: Hook| HookResult {
        name: hook.name,
        severity: severity(hook.severity.into()),
        ended: hook.ended,
        took: Duration::try_from_secs_f64(hook.seconds).unwrap_or_default(),
    };
    let details = text(row, 9)?;
    Ok(HostRecord {
        host: text(row, 0)?,
        spelled: text(row, 1)?,
        run: text(row, 2)?,
        started: instant(row, 3)?,
        finished: instant(row, 4)?,
        word: text(row, 5)?,
        verdict: some_text(row, 6)?.and_then(|word| word.parse().ok()),
        severity: severity(number(row, 7)?.unwrap_or(u64::MAX)),
        summary: text(row, 8)?,
        details: details.lines().map(str::to_owned).collect(),
        transfers: serde_json::from_str(&text(row, 10)?).unwrap_or_default(),
        hooks: hooks.into_iter().map(hook).collect(),
        files: number(row, 12)?,
        bytes: number(row, 13)?,
        received: number(row, 14)?,
        changed: number(row, 15)?,
        changed_bytes: number(row, 16)?,
        deleted: number(row, 17)?,
        snapshot: some_text(row, 18)?,
        snapshots: number(row, 19)?,
        from_snapshot: number(row, 20)? == Some(1),
        timings: some_text(row, 21)?.map(|text| sums(&text)).unwrap_or_default(),
    })
}

/// Timings as they are written; nothing where nothing is known.
pub(super) fn timings(sums: &Sums) -> Option<String> {
    let seconds: BTreeMap<Step, f64> =
        sums.iter().map(|(step, took)| (*step, timing::seconds(*took))).collect();
    (!sums.is_empty()).then(|| json(&seconds))
}

/// Timings as they were written; what makes no sense is left out.
fn sums(text: &str) -> Sums {
    let seconds: BTreeMap<String, f64> = serde_json::from_str(text).unwrap_or_default();
    let known = seconds.into_iter().filter_map(|(word, seconds)| {
        Some((Step::named(&word)?, Duration::try_from_secs_f64(seconds).ok()?))
    });
    known.collect()
}

/// The values of a verification's columns.
pub(super) fn verification_values(verification: &VerificationRecord) -> Vec<Box<dyn ToSql>> {
    vec![
        Box::new(verification.host.to_ascii_lowercase()),
        Box::new(time(verification.time)),
        Box::new(verification.snapshot.clone()),
        Box::new(whole(verification.sampled)),
        Box::new(whole(verification.identical)),
        Box::new(whole(verification.changed)),
        Box::new(whole(verification.different)),
        Box::new(whole(verification.unreadable)),
        Box::new(verification.problem.clone()),
    ]
}

/// A verification of a row with [`VERIFICATION`].
pub(super) fn verification(row: &Row<'_>) -> rusqlite::Result<VerificationRecord> {
    let count = |index| Ok::<_, rusqlite::Error>(number(row, index)?.unwrap_or(0));
    Ok(VerificationRecord {
        host: text(row, 0)?,
        time: instant(row, 1)?,
        snapshot: some_text(row, 2)?,
        sampled: count(3)?,
        identical: count(4)?,
        changed: count(5)?,
        different: count(6)?,
        unreadable: count(7)?,
        problem: some_text(row, 8)?,
    })
}

/// A time as it is written.
pub(super) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// SQLite's integers have a sign.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "[]".to_owned())
}

/// Lines as one text, as many as there is room for.
fn cut(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        if text.len() + line.len() >= LONGEST_DETAILS {
            text.push_str("…\n");
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn severity(state: u64) -> Severity {
    match state {
        0 => Severity::Ok,
        1 => Severity::Warning,
        _ => Severity::Critical,
    }
}

fn some_text(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    })
}

fn text(row: &Row<'_>, index: usize) -> rusqlite::Result<String> {
    Ok(some_text(row, index)?.unwrap_or_default())
}

fn number(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<u64>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Integer(number) => u64::try_from(number).ok(),
        _ => None,
    })
}

fn instant(row: &Row<'_>, index: usize) -> rusqlite::Result<DateTime<Utc>> {
    let read = DateTime::parse_from_rfc3339(&text(row, index)?);
    Ok(read.map_or(DateTime::UNIX_EPOCH, |time| time.with_timezone(&Utc)))
}
