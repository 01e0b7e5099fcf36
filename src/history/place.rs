//! The file: made, looked over, taken to the newest version, or set aside.

use super::schema::{self, Kind};
use super::{HistoryError, PATIENCE};
use chrono::{DateTime, Utc};
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
        Look::Usable(connection) => return Ok(Ready { connection, is_new: false, warnings }),
        Look::Empty(connection) => return Ok(Ready { connection, is_new: true, warnings }),
        Look::Useless(why) => why,
    };
    let aside = set_aside(path, now)?;
    warnings.push(format!(
        "the history `{}` cannot be used: {why}; it was set aside as `{}`, and another was begun",
        path.display(),
        aside.display()
    ));
    match look(path, &mut warnings)? {
        Look::Usable(connection) | Look::Empty(connection) => {
            Ok(Ready { connection, is_new: true, warnings })
        }
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
    /// A history.
    Usable(Connection),
    /// A history without anything in it.
    Empty(Connection),
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
        Ok(Some((connection, Kind::Empty))) => Ok(Look::Empty(connection)),
        Ok(Some((connection, Kind::Ours(_)))) => Ok(Look::Usable(connection)),
        Ok(Some((_, Kind::Newer(found)))) => {
            Err(HistoryError::Newer { path: path.to_owned(), found, known: schema::NEWEST })
        }
        Ok(Some((_, Kind::Foreign))) => Ok(Look::Useless("it is not a history of this program".to_owned())),
        Ok(None) => Ok(Look::Useless("it is damaged".to_owned())),
        Err(error) => match HistoryError::of("open", path, &error) {
            HistoryError::Damaged { why, .. } => Ok(Look::Useless(why)),
            error => Err(error),
        },
    }
}

/// The database and what it was; `None` if it is damaged within.
fn opened(path: &Path) -> rusqlite::Result<Option<(Connection, Kind)>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    let kind = schema::kind(&connection)?;
    if matches!(kind, Kind::Foreign | Kind::Newer(_)) {
        return Ok(Some((connection, kind)));
    }
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Ok(None);
    }
    // Readers and the one writer do not wait for each other. What the last
    // moments before a power failure wrote may be lost, nothing else.
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    schema::migrate(&mut connection)?;
    schema::complete(&connection)?;
    Ok(Some((connection, kind)))
}

/// Gives the database another name, with what belongs to it.
fn set_aside(path: &Path, now: DateTime<Utc>) -> Result<PathBuf, HistoryError> {
    let stem = beside(path, &format!(".corrupt-{}", now.format("%Y-%m-%dT%H%M%SZ")));
    let free = |name: &PathBuf| fs::symlink_metadata(name).is_err();
    let later = (2..).map(|number: u64| beside(&stem, &format!("-{number}")));
    let aside = std::iter::once(stem.clone()).chain(later).find(free).unwrap_or(stem.clone());
    let failed = |e: io::Error| unusable("set aside", path, &e);
    fs::rename(path, &aside).map_err(failed)?;
    for what in ["-wal", "-shm"] {
        match fs::rename(beside(path, what), beside(&aside, what)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(aside)
}
