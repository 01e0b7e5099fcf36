//! Reads the database without a trace.
//!
//! SQLite's readers of a database in WAL mode make the log and its index if
//! they are missing, and note in the index how far they read. Here a reader of
//! a database that is in use (its log is there) maps the index read-only,
//! which costs nothing but one of SQLite's own locks; and one of a database at
//! rest reads the plain file as one that nobody changes, and afterwards looks
//! whether that held.

use super::schema::{self, Kind};
use super::{HistoryError, PATIENCE};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{Access, access};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How often a question is asked again because the database was changed under
/// it.
const TRIES: usize = 20;

/// How a history is looked at.
#[derive(Debug)]
pub(super) enum View {
    /// It may be changed.
    Writing(Connection),
    /// It is only read.
    Reading(Reader),
}

/// A connection that only reads.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    open: RefCell<Open>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// What the files were before, if they are read as if nobody changed them.
    frozen: Option<Stamp>,
}

/// Changes when a file, or the log beside it, does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([Option<(u64, u64, i64, i64)>; 2]);

impl Stamp {
    fn of(path: &Path) -> Self {
        let stamp = |path: &Path| {
            let meta = fs::metadata(path).ok()?;
            Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
        };
        Stamp([stamp(path), stamp(&super::place::beside(path, "-wal"))])
    }
}

/// A reader of the database; `None` if there is none, or nothing in it.
pub(super) fn open(path: &Path) -> Result<Option<View>, HistoryError> {
    let unusable = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "is this root?",
            io::ErrorKind::NotADirectory => "is `state_dir` right?",
            _ => "is its disk well?",
        };
        HistoryError::Unusable { doing: "read", path: path.to_owned(), why: error.to_string(), hint }
    };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(error)),
        Ok(meta) if !meta.is_file() => {
            let (path, why) = (path.to_owned(), "it is not a file".to_owned());
            return Err(HistoryError::Damaged { path, why });
        }
        Ok(_) => {}
    }
    // SQLite would only say that it cannot open the file.
    access(path, Access::READ_OK).map_err(|error| unusable(error.into()))?;
    let connected = connect(path).map_err(|error| HistoryError::of("read", path, &error))?;
    let reader = Reader { path: path.to_owned(), open: RefCell::new(connected) };
    match reader.ask(schema::kind)? {
        Kind::Empty => Ok(None),
        Kind::Ours(_) => Ok(Some(View::Reading(reader))),
        Kind::Newer(found) => {
            Err(HistoryError::Newer { path: path.to_owned(), found, known: schema::NEWEST })
        }
        Kind::Foreign => {
            let (path, why) = (path.to_owned(), "it is not a history of this program".to_owned());
            Err(HistoryError::Damaged { path, why })
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Open> {
    let stamp = Stamp::of(path);
    let in_use = ["-wal", "-shm"].iter().all(|what| super::place::beside(path, what).exists());
    let (how, frozen) = if in_use { ("readonly_shm=1", None) } else { ("immutable=1", Some(stamp)) };
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("file:{}?mode=ro&{how}", escaped(path)), flags)?;
    connection.busy_timeout(PATIENCE)?;
    // Else the last one out clears the log away.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(Open { connection, frozen })
}

/// A path as part of a URI.
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            text.push(byte.into());
        } else {
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}

impl Reader {
    /// The answer to a question, from one state of the database.
    pub(super) fn ask<T>(
        &self,
        question: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, HistoryError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let open = self.open.borrow();
            let answer = question(&open.connection);
            let again = match &open.frozen {
                Some(stamp) => Stamp::of(&self.path) != *stamp,
                None => answer.as_ref().is_err_and(is_of_the_moment),
            };
            drop(open);
            if again && tries < TRIES {
                let fresh =
                    connect(&self.path).map_err(|error| HistoryError::of("read", &self.path, &error))?;
                *self.open.borrow_mut() = fresh;
                continue;
            }
            return answer.map_err(|error| HistoryError::of("read", &self.path, &error));
        }
    }
}

/// Whether an error may come of the log's being made or cleared away in that
/// very moment.
fn is_of_the_moment(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_can_be_part_of_a_uri() {
        assert_eq!(
            escaped(Path::new("/var/lib/back up/a?b#c%d\u{e9}.db")),
            "/var/lib/back%20up/a%3fb%23c%25d%c3%a9.db"
        );
    }
}
