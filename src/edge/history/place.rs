//! The file: made, looked over, taken to the newest version, or set aside.

use super::schema::{self, Kind};
use super::{HistoryError, PATIENCE};
use chrono::{DateTime, Utc};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two looks whether another process is done.
const PAUSE: Duration = Duration::from_millis(20);

/// A database that can be written.
pub(super) struct Ready {
    pub(super) connection: Connection,
    pub(super) is_new: bool,
    pub(super) warnings: Vec<String>,
}

/// What is beside a database while it is used, or was left by a process that
/// was killed.
pub(super) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(what);
    PathBuf::from(name)
}

/// Opens the database, whatever it takes.
pub(super) fn open(state_dir: &Path, path: &Path, now: DateTime<Utc>) -> Result<Ready, HistoryError> {
    // Of two runs that find the same damage the second must not set aside what
    // the first has just begun.
    let _door = enter(state_dir, path)?;
    let mut warnings = Vec::new();
    let why = match look(path, &mut warnings)? {
        Look::Usable(connection, is_new) => return Ok(Ready { connection, is_new, warnings }),
        Look::Useless(why) => why,
    };
    let aside = set_aside(path, now)?;
    warnings.push(format!(
        "the history `{}` cannot be used: {why}; it was set aside as `{}`, and another was begun",
        path.display(),
        aside.display()
    ));
    match look(path, &mut warnings)? {
        Look::Usable(connection, is_new) => Ok(Ready { connection, is_new, warnings }),
        Look::Useless(why) => Err(HistoryError::Damaged { path: path.to_owned(), why }),
    }
}

fn unusable(doing: &'static str, path: &Path, error: &io::Error) -> HistoryError {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "make room where `state_dir` is",
        _ => "is this root, and `state_dir` right and writable?",
    };
    HistoryError::Unusable { doing, path: path.to_owned(), why: error.to_string(), hint }
}

/// Makes the state directory and keeps other runs from opening the history,
/// until the file that it gives is dropped.
fn enter(state_dir: &Path, path: &Path) -> Result<File, HistoryError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(state_dir);
    let door =
        made.and_then(|()| File::open(state_dir)).map_err(|e| unusable("make a place for", path, &e))?;
    let begin = Instant::now();
    while let Err(error) = flock(&door, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            // A filesystem without locks has no other process to wait for.
            break;
        }
        if begin.elapsed() > PATIENCE {
            return Err(HistoryError::Locked { path: path.to_owned() });
        }
        std::thread::sleep(PAUSE);
    }
    Ok(door)
}

enum Look {
    /// A history, and whether it knows of no run.
    Usable(Connection, bool),
    /// Damaged, or somebody else's.
    Useless(String),
}

/// Opens what is there, or makes it, and takes it to the newest version.
fn look(path: &Path, warnings: &mut Vec<String>) -> Result<Look, HistoryError> {
    match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return Ok(Look::Useless("it is not a file".to_owned())),
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
            // What hooks print is nobody else's business.
            fs::set_permissions(path, PermissionsExt::from_mode(0o600))
                .map_err(|e| unusable("make nobody else read", path, &e))?;
            warnings.push(format!("the history `{}` was not its owner's alone: now it is", path.display()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // SQLite would let everybody read it.
            let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
            made.map_err(|e| unusable("make", path, &e))?;
        }
        Err(error) => return Err(unusable("look at", path, &error)),
    }
    match opened(path) {
        Ok(Found::History { connection, is_new }) => Ok(Look::Usable(connection, is_new)),
        Ok(Found::Newer(found)) => {
            Err(HistoryError::Newer { path: path.to_owned(), found, known: schema::NEWEST })
        }
        Ok(Found::Foreign) => Ok(Look::Useless("it is not a history of this program".to_owned())),
        Ok(Found::Damaged(why)) => Ok(Look::Useless(why)),
        Err(error) => match HistoryError::of("open", path, &error) {
            HistoryError::Damaged { why, .. } => Ok(Look::Useless(why)),
            error => Err(error),
        },
    }
}

/// What a database turns out to be.
enum Found {
    /// A history of the newest version.
    History { connection: Connection, is_new: bool },
    /// A history of this version, which is not known yet.
    Newer(i64),
    /// Somebody else's.
    Foreign,
    /// Damaged within; so, for example.
    Damaged(String),
}

fn opened(path: &Path) -> rusqlite::Result<Found> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    // What is not ours to write is not to be tidied up either.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let kind = schema::kind(&connection)?;
    match kind {
        Kind::Empty | Kind::Ours(_) => {}
        Kind::Newer(version) => return Ok(Found::Newer(version)),
        Kind::Foreign => return Ok(Found::Foreign),
    }
    let fault: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if fault != "ok" {
        return Ok(Found::Damaged(fault.lines().map(str::trim).collect::<Vec<_>>().join(" ")));
    }
    // Readers and the one writer do not wait for each other. What the last
    // moments before a power failure wrote may be lost, nothing else.
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    if kind != Kind::Ours(schema::NEWEST) {
        schema::migrate(&mut connection)?;
    }
    schema::complete(&connection)?;
    let is_new: bool =
        connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM runs)", [], |row| row.get(0))?;
    Ok(Found::History { connection, is_new })
}

/// Gives the database another name, with what belongs to it.
fn set_aside(path: &Path, now: DateTime<Utc>) -> Result<PathBuf, HistoryError> {
    let stem = beside(path, &format!(".corrupt-{}", now.format("%Y-%m-%dT%H%M%SZ")));
    let free = |name: &PathBuf| fs::symlink_metadata(name).is_err();
    let later = (2..).map(|number: u64| beside(&stem, &format!("-{number}")));
    let aside = std::iter::once(stem.clone()).chain(later).find(free).unwrap_or(stem.clone());
    let failed = |e: io::Error| unusable("set aside", path, &e);
    fs::rename(path, &aside).map_err(failed)?;
    // Its log goes with it, if anything is in it. The log's index can be made
    // again from the log.
    let (log, index) = (beside(path, "-wal"), beside(path, "-shm"));
    let moved = match fs::metadata(&log) {
        Ok(meta) if meta.len() > 0 => fs::rename(&log, beside(&aside, "-wal")),
        Ok(_) => fs::remove_file(&log),
        Err(_) => Ok(()),
    };
    moved.map_err(failed)?;
    match fs::remove_file(&index) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(aside),
    }
}
