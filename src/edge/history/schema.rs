//! The tables, and how those of older versions become those of this one.
//!
//! `user_version` counts the steps that a file has been through;
//! `application_id` says that it is ours at all. A step, once released, is
//! never changed: what comes later is another step.

use super::rows;
use rusqlite::{Connection, TransactionBehavior};

/// Says that a database is a history of this program: `bkhi`.
const APPLICATION: i64 = 0x626b_6869;

/// What makes each version of the one before it.
const STEPS: [&str; 3] = [
    // Times are RFC 3339 in UTC with milliseconds, so that they sort as text.
    // `id` grows with every row and is never used again: it is the order in
    // which runs ended, whatever the clock showed.
    "CREATE TABLE runs (
        id            INTEGER PRIMARY KEY AUTOINCREMENT,
        host          TEXT NOT NULL,
        spelled       TEXT NOT NULL,
        run           TEXT NOT NULL,
        started       TEXT NOT NULL,
        finished      TEXT NOT NULL,
        word          TEXT NOT NULL,
        verdict       TEXT,
        severity      INTEGER NOT NULL,
        summary       TEXT NOT NULL,
        details       TEXT NOT NULL,
        transfers     TEXT NOT NULL,
        hooks         TEXT NOT NULL,
        files         INTEGER,
        bytes         INTEGER,
        received      INTEGER,
        changed       INTEGER,
        changed_bytes INTEGER,
        deleted       INTEGER,
        snapshot      TEXT,
        snapshots     INTEGER,
        from_snapshot INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX runs_of_host ON runs (host, id);
    CREATE INDEX good_runs_of_host ON runs (host, id) WHERE verdict = 'good';
    CREATE INDEX runs_by_time ON runs (finished);",
    "CREATE TABLE verifications (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        host       TEXT NOT NULL,
        time       TEXT NOT NULL,
        snapshot   TEXT,
        sampled    INTEGER NOT NULL,
        identical  INTEGER NOT NULL,
        changed    INTEGER NOT NULL,
        different  INTEGER NOT NULL,
        unreadable INTEGER NOT NULL,
        problem    TEXT
    ) STRICT;
    CREATE INDEX verifications_of_host ON verifications (host, id);
    CREATE INDEX verifications_by_time ON verifications (time);",
    // How long each step took, in seconds: {"connect": 0.24, …}.
    "ALTER TABLE runs ADD COLUMN timings TEXT;",
];

/// The version that this program writes.
pub(super) const NEWEST: usize = STEPS.len();
/// The version that brought verifications.
pub(super) const WITH_VERIFICATIONS: usize = 2;
/// The version that brought timings.
pub(super) const WITH_TIMINGS: usize = 3;

/// What a database is to this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing is in it yet.
    Empty,
    /// A history, of this version.
    Ours(usize),
    /// A history of a version that this program does not know yet.
    Newer(i64),
    /// Somebody else's.
    Foreign,
}

/// Looks what a database is; fails if it is none.
pub(super) fn kind(connection: &Connection) -> rusqlite::Result<Kind> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (version, application) = (number("user_version")?, number("application_id")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application, usize::try_from(version)) {
        (0, Ok(0)) if tables == 0 => Kind::Empty,
        (APPLICATION, Ok(0)) => Kind::Foreign,
        (APPLICATION, Ok(version)) if version <= NEWEST => Kind::Ours(version),
        (APPLICATION, Ok(_)) => Kind::Newer(version),
        _ => Kind::Foreign,
    })
}

/// Takes a database from its version to the newest, in one step or not at all.
/// Another process may have done so since it was looked at.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = match kind(&transaction)? {
        Kind::Empty => 0,
        Kind::Ours(version) => version,
        Kind::Newer(_) | Kind::Foreign => return Ok(()),
    };
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", i64::try_from(NEWEST).unwrap_or(i64::MAX))?;
    transaction.commit()
}

/// Fails if a table or a column of the newest version is missing.
pub(super) fn complete(connection: &Connection) -> rusqlite::Result<()> {
    for (table, columns) in [("runs", rows::COLUMNS), ("verifications", rows::VERIFICATION)] {
        connection.prepare(&format!("SELECT id, {columns} FROM {table}"))?;
    }
    Ok(())
}

/// A database as an older version of this program left it.
#[cfg(test)]
pub(super) fn of_version(connection: &Connection, version: usize) {
    connection.pragma_update(None, "application_id", APPLICATION).unwrap();
    for step in &STEPS[..version] {
        connection.execute_batch(step).unwrap();
    }
    connection.pragma_update(None, "user_version", i64::try_from(version).unwrap()).unwrap();
}
