//! How every host is doing: the inventory, the store, the history, the findings of
//! verifications and the runs under way, judged together.

use super::hosts;
use crate::app::session::Session;
use crate::core::model::host::HostName;
use crate::core::model::outcome::Severity;
use crate::core::model::problem::Problem;
use crate::core::model::run_record::HostRecord;
use crate::core::model::snapshot::{Snapshot, Taken, Verdict};
use crate::core::policy::health::{self, Known, LastRun, Patience, Status};
use crate::edge::history::{Findings, History, HistoryError};
use crate::edge::store::Store;
use crate::sys::lock;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tracing::warn;

/// How many runs of a host are told at most.
const MOST_RUNS: usize = 30;

/// How many runs of a host its sizes and durations are taken from at most.
const MOST_COPIES: usize = 500;

/// How the hosts are doing that were asked for.
pub struct FleetOverview {
    /// Each host, sorted by name.
    pub statuses: Vec<Status>,
    /// Why nobody knows which hosts there should be.
    pub unlisted: Option<String>,
    /// What makes the rest doubtful.
    pub doubts: Vec<Problem>,
    /// Why the copies of a host cannot be read, of the first where that is so.
    pub unreadable: Option<String>,
    past: PastRuns,
}

/// What the history says.
#[derive(Default)]
struct PastRuns {
    history: Option<History>,
    last_runs: BTreeMap<String, HostRecord>,
}

/// What a run or a snapshot says of the size and the duration of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFigures {
    /// When it was taken.
    pub time: DateTime<Utc>,
    /// Whether it is good.
    pub good: bool,
    /// Bytes that its files hold together.
    pub bytes: Option<u64>,
    /// How long it took.
    pub seconds: Option<u64>,
}

/// How the hosts are doing that these words mean; without words, all hosts.
///
/// # Errors
/// The store cannot be read, or a word means no host.
pub async fn query(session: &Session, words: &[String]) -> anyhow::Result<FleetOverview> {
    let found = hosts::find(session, words).await?;
    let unreadable = found.hosts.iter().find_map(|host| host.copies.as_ref().err()).cloned();
    let mut doubts = found.doubts;
    let past = past(&session.settings.state_dir).unwrap_or_else(|error| {
        doubts.push(Problem::warning(
            format!("{error}; runs are shown as far as the snapshots record them"),
            "",
        ));
        PastRuns::default()
    });
    let running = lock::running(&session.settings.runtime_dir).unwrap_or_else(|error| {
        doubts.push(Problem::warning(format!("{error}: cannot tell which hosts are being backed up"), ""));
        BTreeMap::new()
    });
    let findings = Findings::at(&session.settings.state_dir);
    let patience = Patience::of(session.settings.notifiers.icinga.as_ref().map(|icinga| icinga.ttl));
    let now = session.clock.now();
    let judged = found.hosts.into_iter().map(|host| {
        let key = host.name.to_lowercase();
        let known = Known {
            listing: host.listing,
            copies: host.copies,
            last_run: past.last_runs.get(&key).map(last_run),
            running: running.get(&key).copied(),
            open: findings.of(&key).map_err(|error| error.to_string()),
            name: host.name,
        };
        health::judge(known, now, patience)
    });
    let statuses = judged.collect();
    Ok(FleetOverview { statuses, unlisted: found.unlisted, doubts, unreadable, past })
}

impl FleetOverview {
    /// What is remembered of the run that is a host's last one; nothing if only
    /// its snapshot tells of that.
    pub fn last_run(&self, status: &Status) -> Option<&HostRecord> {
        let entry = self.past.last_runs.get(&status.name.to_lowercase())?;
        status.last_run.as_ref().filter(|run| run.time == entry.finished).map(|_| entry)
    }

    /// What is remembered of a host's newest runs, newest first.
    pub fn runs(&self, status: &Status) -> Option<Vec<HostRecord>> {
        let host: HostName = status.name.parse().ok()?;
        match self.past.history.as_ref()?.runs(&host, MOST_RUNS) {
            Ok(runs) => Some(runs),
            Err(error) => {
                warn!("{error}");
                None
            }
        }
    }

    /// A host's sizes and durations, oldest first: from its history, and from its
    /// snapshots for the time before that.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn copies(&self, session: &Session, name: &str) -> anyhow::Result<Vec<CopyFigures>> {
        let host: HostName = name.parse()?;
        let entries = match self.past.history.as_ref().map(|history| history.runs(&host, MOST_COPIES)) {
            Some(Ok(entries)) => entries,
            None => Vec::new(),
            Some(Err(error)) => {
                warn!("{error}; the plot shows what the snapshots record");
                Vec::new()
            }
        };
        let snapshots = session.store.snapshots(&host).await?.unwrap_or_default();
        Ok(copies(&entries, &snapshots))
    }
}

/// What can be told, oldest first. The entries are newest first.
fn copies(entries: &[HostRecord], snapshots: &[Snapshot]) -> Vec<CopyFigures> {
    let from_history =
        entries.iter().rev().filter(|entry| entry.snapshot.is_some()).map(|entry| CopyFigures {
            time: entry.finished,
            good: entry.is_good(),
            bytes: entry.bytes,
            // Snapshots' names are to the second, and runs began within one.
            seconds: entry.copied_in().map(|took| (took + Duration::from_millis(500)).as_secs()),
        });
    let begin = entries.iter().map(|entry| entry.started).min();
    let before =
        snapshots.iter().filter_map(Taken::of).filter(|taken| begin.is_none_or(|begin| taken.time < begin));
    let before = before.map(|taken| CopyFigures {
        time: taken.time,
        good: taken.verdict == Verdict::Good,
        bytes: taken.bytes,
        seconds: taken.duration,
    });
    let mut copies: Vec<CopyFigures> = before.chain(from_history).collect();
    copies.sort_by_key(|copy| copy.time);
    copies
}

fn past(state_dir: &Path) -> Result<PastRuns, HistoryError> {
    let history = History::read(state_dir)?;
    let last_runs = history.as_ref().map(History::last_runs).transpose()?.unwrap_or_default();
    Ok(PastRuns { history, last_runs })
}

/// What the history says of a host's last run.
fn last_run(entry: &HostRecord) -> LastRun {
    let problem = match entry.severity {
        Severity::Ok => String::new(),
        // What a snapshot knows, it says itself.
        _ if entry.from_snapshot => String::new(),
        _ => without_last_good(&entry.summary).to_owned(),
    };
    LastRun { time: entry.finished, word: entry.word.clone(), severity: entry.severity, problem }
}

/// A run's summary without what it says at its end of the last good copy,
/// which is known better by now.
fn without_last_good(summary: &str) -> &str {
    match summary.rsplit_once("; ") {
        Some((rest, last)) if last.starts_with("last good copy ") || last == "no good copy known" => rest,
        _ => summary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_better_by_now_is_not_repeated() {
        for (summary, kept) in [
            ("connect failed: no route; no good copy known", "connect failed: no route"),
            ("connect failed: no route; last good copy 2026-11-20 02:00 UTC", "connect failed: no route"),
            ("hook mysql failed (exit 1); 10 files", "hook mysql failed (exit 1); 10 files"),
            ("no good copy known", "no good copy known"),
            ("", ""),
        ] {
            assert_eq!(without_last_good(summary), kept);
        }
    }
}
