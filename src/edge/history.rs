//! What ran, when, and how it went: `history.db` in the state directory, an
//! SQLite database with one row a host and run, and one a verification.
//!
//! The history is a convenience and no backup depends on it. What can be wrong
//! with the file is therefore told apart by what is to be done: one that is
//! damaged, or somebody else's, is set aside and another begun; one that a
//! newer version wrote is left as it is; one that another process keeps locked
//! is worth another try; and one that cannot be used (a full disk, missing
//! rights) is the operator's. Whoever only reads neither makes nor changes a
//! file, and sees a whole state whatever is being written at that moment.
//!
//! Entries come in the order in which runs ended, which is that of their rows:
//! a clock that once was wrong does not hide what came after.
//!
//! Not known here: what a good run is, and whether a problem matters.

mod findings;
mod place;
mod reader;
mod rows;
mod schema;

use crate::core::format::timing::Sums;
use crate::core::model::host::HostName;
use crate::core::model::outcome::HostReport;
use crate::core::model::problem::Problem;
pub use crate::core::model::run_record::{HostRecord, VerificationRecord};
use crate::core::model::snapshot::Snapshot;
use chrono::{DateTime, TimeDelta, Utc};
pub use findings::{Findings, FindingsError};
use reader::View;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params_from_iter};
use schema::Kind;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long another process may keep the database locked.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rows are kept for so long …
const KEPT: TimeDelta = TimeDelta::days(400);
/// … and at least so many of each host.
const KEPT_AT_LEAST: u32 = 60;

/// Each host's newest entry: from one host to the next by the index, since a
/// year of a fleet has 70,000 rows. A run that skipped the host, because another
/// had it, hides nothing.
const LAST: &str = concat!(
    "WITH RECURSIVE hosts (host) AS (
        SELECT min(host) FROM runs WHERE host > ''
        UNION ALL
        SELECT (SELECT min(host) FROM runs WHERE host > hosts.host) FROM hosts WHERE host IS NOT NULL
    )
    SELECT ",
    rows::columns!(),
    " FROM runs WHERE id IN (SELECT coalesce(
        (SELECT id FROM runs WHERE host = hosts.host AND word <> 'skipped' ORDER BY id DESC LIMIT 1),
        (SELECT max(id) FROM runs WHERE host = hosts.host)
    ) FROM hosts)"
);
/// A host's newest entries.
const RUNS: &str =
    concat!("SELECT ", rows::columns!(), " FROM runs WHERE host = ?1 ORDER BY id DESC LIMIT ?2");
/// The same, of good runs; there is an index of them.
const GOOD: &str = concat!(
    "SELECT ",
    rows::columns!(),
    " FROM runs WHERE host = ?1 AND verdict = 'good' ORDER BY id DESC LIMIT ?2"
);

/// Why the history could not be used: what was being done, to what, why it
/// failed, and what to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryError {
    /// A newer version of this program wrote it.
    Newer {
        /// The file.
        path: PathBuf,
        /// The format that it has.
        found: i64,
        /// The newest format that this program knows.
        known: usize,
    },
    /// Another process keeps it locked.
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It is damaged, or not a history.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be used where it is.
    Unusable {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: String,
        /// What to try.
        hint: &'static str,
    },
}

impl HistoryError {
    /// The same as a problem of whoever needed it.
    pub fn problem(&self) -> Problem {
        match self {
            HistoryError::Newer { path, found, known } => Problem::warning(
                format!(
                    "the history `{}` has format {found}, and this program knows formats up to {known}; it is left as \
                     it is",
                    path.display()
                ),
                "use the newer version again, or move the file away",
            ),
            HistoryError::Locked { path } => Problem::warning(
                format!("the history `{}` is locked by another process", path.display()),
                format!("`fuser -v {}` shows which", path.display()),
            ),
            HistoryError::Damaged { path, why } => Problem::warning(
                format!("the history `{}` cannot be read: {why}", path.display()),
                "the next run sets it aside and begins another",
            ),
            HistoryError::Unusable { doing, path, why, hint } => {
                Problem::warning(format!("cannot {doing} the history `{}`: {why}", path.display()), *hint)
            }
        }
    }
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem().fmt(f)
    }
}

impl std::error::Error for HistoryError {}

impl HistoryError {
    fn of(doing: &'static str, path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        if let rusqlite::Error::SqlInputError { msg, .. } = error {
            // A table or a column that should be there is not.
            return HistoryError::Damaged { path, why: msg.clone() };
        }
        let why = error.to_string();
        let unusable = |hint| HistoryError::Unusable { doing, path: path.clone(), why: why.clone(), hint };
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => HistoryError::Locked { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => HistoryError::Damaged { path, why },
            Some(ErrorCode::DiskFull) => unusable("make room where `state_dir` is"),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                unusable("is this root, and `state_dir` right, writable and local?")
            }
            Some(ErrorCode::SystemIoFailure) => unusable("is its disk well, and has it room?"),
            Some(ErrorCode::Unknown) => HistoryError::Damaged { path, why },
            _ => unusable(""),
        }
    }
}

/// The history.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    view: View,
}

/// A history that runs can be recorded in.
#[derive(Debug)]
pub struct Opened {
    /// The history.
    pub history: History,
    /// Whether it knows of no run: it is new, or took the place of one that
    /// could not be used. See [`History::rebuild`].
    pub is_new: bool,
    /// What had to be done to open it, as whole sentences.
    pub warnings: Vec<String>,
}

impl History {
    /// Where the history is.
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("history.db")
    }

    /// Opens the history to record runs in it, making it and the state
    /// directory if they are missing. What is damaged or somebody else's is
    /// set aside, named after `now`, and a new history begun. Reads the whole
    /// file, and waits for other processes for a moment: not for the thread
    /// that serves all hosts.
    pub fn open(state_dir: &Path, now: DateTime<Utc>) -> Result<Opened, HistoryError> {
        let path = History::path(state_dir);
        let place::Ready { connection, is_new, warnings } = place::open(state_dir, &path, now)?;
        Ok(Opened { history: History { path, view: View::Writing(connection) }, is_new, warnings })
    }

    /// Opens the history to look at it; `None` if there is none. Neither makes
    /// nor changes a file. Works while other processes record; within one
    /// process, what [`History::open`] opens is not to be read through this at
    /// the same time, since SQLite shares the log's index within a process and
    /// would take it for read-only there too.
    pub fn read(state_dir: &Path) -> Result<Option<Self>, HistoryError> {
        let path = History::path(state_dir);
        let Some(view) = reader::open(&path)? else { return Ok(None) };
        Ok(Some(History { path, view }))
    }

    /// Remembers what became of a host in a run.
    pub fn record(&self, run: &str, report: &HostReport) -> Result<(), HistoryError> {
        self.change("record a run in", |connection| insert(connection, &rows::remembered(run, report)))
    }

    /// Says anew how long the steps of runs took that are remembered already:
    /// of each the host's name as its inventory spells it. One that is not
    /// remembered is passed over.
    pub fn record_timings(&self, run: &str, timings: &[(String, Sums)]) -> Result<(), HistoryError> {
        self.change("record timings in", |connection| {
            let mut update = connection
                .prepare("UPDATE runs SET timings = ?1 WHERE host = ?2 AND run = ?3 AND spelled = ?4")?;
            for (spelled, sums) in timings {
                update.execute((rows::timings(sums), spelled.to_ascii_lowercase(), run, spelled))?;
            }
            Ok(())
        })
    }

    /// Remembers how a verification went.
    pub fn record_verification(&self, verification: &VerificationRecord) -> Result<(), HistoryError> {
        self.change("record a verification in", |connection| {
            let sql = format!(
                "INSERT INTO verifications ({}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                rows::VERIFICATION
            );
            connection.execute(&sql, params_from_iter(rows::verification_values(verification)))?;
            Ok(())
        })
    }

    /// Remembers the runs that snapshots tell of, each with its host's name in
    /// lower case, and says how many there were. Runs that are remembered
    /// already are left as they are.
    pub fn rebuild<'a>(
        &self,
        snapshots: impl Iterator<Item = (&'a str, &'a Snapshot)>,
    ) -> Result<usize, HistoryError> {
        let mut entries: Vec<HostRecord> =
            snapshots.filter_map(|(host, snapshot)| HostRecord::from_snapshot(host, snapshot)).collect();
        entries.sort_by_key(|entry| entry.finished);
        self.change("rebuild", |connection| {
            let mut known = connection.prepare("SELECT 1 FROM runs WHERE host = ?1 AND run = ?2")?;
            let mut added = 0;
            for entry in &entries {
                if !known.exists([&entry.host, &entry.run])? {
                    insert(connection, entry)?;
                    added += 1;
                }
            }
            Ok(added)
        })
    }

    /// Gives a host another name, also where that has been done before. What is
    /// remembered under the new name stays beside it.
    pub fn rename(&self, from: &HostName, to: &HostName) -> Result<(), HistoryError> {
        self.change("rename a host in", |connection| {
            connection.execute(
                "UPDATE runs SET host = ?1, spelled = ?2 WHERE host = ?3",
                (to.key(), to.spelled(), from.key()),
            )?;
            connection
                .execute("UPDATE verifications SET host = ?1 WHERE host = ?2", (to.key(), from.key()))?;
            Ok(())
        })
    }

    /// Forgets what is older than 400 days, but keeps 60 rows a host.
    pub fn prune(&self, now: DateTime<Utc>) -> Result<(), HistoryError> {
        let Some(before) = now.checked_sub_signed(KEPT) else { return Ok(()) };
        let before = rows::time(before);
        self.change("forget old runs in", |connection| {
            for (table, column) in [("runs", "finished"), ("verifications", "time")] {
                let sql = format!(
                    "DELETE FROM {table} WHERE {column} < ?1 AND id < (SELECT newer.id FROM {table} AS newer \
                     WHERE newer.host = {table}.host ORDER BY newer.id DESC LIMIT 1 OFFSET ?2)"
                );
                connection.execute(&sql, (&before, KEPT_AT_LEAST - 1))?;
            }
            Ok(())
        })
    }

    /// Each host's newest entry, by the host's name in lower case; of a run that
    /// skipped it only if there is no other.
    pub fn last_runs(&self) -> Result<BTreeMap<String, HostRecord>, HistoryError> {
        let entries = self.ask(|connection| {
            connection
                .prepare(&readable(connection, LAST)?)?
                .query_map([], rows::entry)?
                .collect::<rusqlite::Result<Vec<HostRecord>>>()
        })?;
        Ok(entries.into_iter().map(|entry| (entry.host.clone(), entry)).collect())
    }

    /// A host's newest entries, the newest first.
    pub fn runs(&self, host: &HostName, most: usize) -> Result<Vec<HostRecord>, HistoryError> {
        self.entries(RUNS, host, most)
    }

    /// A host's newest entries of runs that made a good copy, the newest first.
    pub fn good_runs(&self, host: &HostName, most: usize) -> Result<Vec<HostRecord>, HistoryError> {
        self.entries(GOOD, host, most)
    }

    fn entries(&self, sql: &str, host: &HostName, most: usize) -> Result<Vec<HostRecord>, HistoryError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.ask(|connection| {
            let sql = readable(connection, sql)?;
            connection.prepare_cached(&sql)?.query_map((host.key(), most), rows::entry)?.collect()
        })
    }

    /// A host's newest verifications, the newest first.
    pub fn verifications(
        &self,
        host: &HostName,
        most: usize,
    ) -> Result<Vec<VerificationRecord>, HistoryError> {
        let sql = format!(
            "SELECT {} FROM verifications WHERE host = ?1 ORDER BY id DESC LIMIT ?2",
            rows::VERIFICATION
        );
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.ask(|connection| {
            if !has_verifications(connection)? {
                return Ok(Vec::new());
            }
            connection.prepare_cached(&sql)?.query_map((host.key(), most), rows::verification)?.collect()
        })
    }

    fn ask<T>(&self, question: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, HistoryError> {
        match &self.view {
            View::Writing(connection) => {
                question(connection).map_err(|error| HistoryError::of("read", &self.path, &error))
            }
            View::Reading(reader) => reader.ask(question),
        }
    }

    /// Does all of a change or nothing.
    fn change<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, HistoryError> {
        let changed = match &self.view {
            View::Reading(_) => {
                let (path, why, hint) = (self.path.clone(), "it was opened to be read".to_owned(), "");
                return Err(HistoryError::Unusable { doing, path, why, hint });
            }
            View::Writing(connection) => {
                rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate).and_then(
                    |transaction| {
                        let result = work(&transaction)?;
                        transaction.commit()?;
                        Ok(result)
                    },
                )
            }
        };
        changed.map_err(|error| HistoryError::of(doing, &self.path, &error))
    }
}

fn insert(connection: &Connection, entry: &HostRecord) -> rusqlite::Result<()> {
    let sql = format!("INSERT INTO runs ({}) VALUES ({})", rows::COLUMNS, rows::PLACES);
    connection.prepare_cached(&sql)?.execute(params_from_iter(rows::values(entry)))?;
    Ok(())
}

/// A question for entries as the file can answer it: an older one that is only
/// read has no timings.
fn readable<'a>(connection: &Connection, sql: &'a str) -> rusqlite::Result<Cow<'a, str>> {
    Ok(match schema::kind(connection)? {
        Kind::Ours(version) if version < schema::WITH_TIMINGS => {
            let (columns, without) = rows::WITHOUT_TIMINGS;
            sql.replace(columns, without).into()
        }
        _ => sql.into(),
    })
}

/// Whether the file knows verifications: an older one that is only read does
/// not.
fn has_verifications(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(matches!(schema::kind(connection)?, Kind::Ours(version) if version >= schema::WITH_VERIFICATIONS))
}

#[cfg(test)]
mod tests;
