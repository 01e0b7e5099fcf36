//! The findings of verifications that are not mended yet: a file a host in
//! `state_dir/findings`.
//!
//! They are no part of the database, which is a convenience: it is begun anew
//! when it is damaged, and forgets what is old. A file here is written as a
//! whole or not at all, and flushed to disk before anybody counts on it; one
//! that cannot be read is an error that stays until somebody has looked, never
//! an empty list (docs/decisions/0022-open-findings.md).

use crate::core::format::text::printable;
use crate::core::model::verification::OpenFindings;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long another process may be changing findings.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the disk may take.
const LONGEST: Duration = Duration::from_secs(60);
/// Between two looks whether it is done.
const PAUSE: Duration = Duration::from_millis(20);
/// What a host's file is called after its name.
const ENDING: &str = ".json";

/// Why findings could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} ({remedy})")]
pub struct FindingsError {
    /// What was being done, to what, and why it failed.
    pub what: String,
    /// What to try.
    pub remedy: String,
}

/// Where the findings are.
#[derive(Debug, Clone)]
pub struct Findings {
    folder: PathBuf,
}

impl Findings {
    /// Those of the state directory, which is not looked at yet.
    pub fn at(state_dir: &Path) -> Self {
        Findings { folder: state_dir.join("findings") }
    }

    /// The open findings of a host, by its name in lower case.
    pub fn of(&self, host: &str) -> Result<OpenFindings, FindingsError> {
        let path = self.file(host);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| FindingsError {
                what: format!(
                    "the open findings in `{}` cannot be read: {}",
                    shown(&path),
                    printable(&error.to_string())
                ),
                remedy: format!(
                    "look what is in it; when `backup verify --all {host}` finds nothing wrong, remove it"
                ),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(OpenFindings::default()),
            Err(error) => Err(failed("read", &path, &error)),
        }
    }

    /// Those of every host that has any, by its name in lower case.
    pub fn all(&self) -> Result<BTreeMap<String, Result<OpenFindings, FindingsError>>, FindingsError> {
        let mut all = BTreeMap::new();
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
            entries => entries.map_err(|error| failed("list", &self.folder, &error))?,
        };
        for entry in entries {
            let name = entry.map_err(|error| failed("list", &self.folder, &error))?.file_name();
            let host = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            if let Some(host) = host.filter(|host| !host.starts_with('.')) {
                all.insert(host.to_owned(), self.of(host));
            }
        }
        Ok(all)
    }

    /// Changes a host's findings, and gives them as they are then. Nobody else
    /// changes them meanwhile; where nothing is to be written, nothing is made.
    pub fn change(
        &self,
        host: &str,
        change: impl FnOnce(&mut OpenFindings),
    ) -> Result<OpenFindings, FindingsError> {
        let _door = self.enter()?;
        let before = self.of(host)?;
        let mut after = before.clone();
        change(&mut after);
        if after != before {
            self.write(host, &after)?;
        }
        Ok(after)
    }

    /// Lets a host's findings be those of another name as well, also where that
    /// has been done before.
    pub fn copy(&self, from: &str, to: &str) -> Result<(), FindingsError> {
        let (old, new) = (self.file(from), self.file(to));
        if !old.exists() {
            return Ok(());
        }
        let _door = self.enter()?;
        match fs::hard_link(&old, &new) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("write", &new, &error)),
            _ => self.flush(&new),
        }
    }

    /// Forgets the findings of a name, also where that has been done before.
    pub fn remove(&self, host: &str) -> Result<(), FindingsError> {
        let path = self.file(host);
        if !path.exists() {
            return Ok(());
        }
        let _door = self.enter()?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, &error)),
            _ => self.flush(&path),
        }
    }

    fn flush(&self, path: &Path) -> Result<(), FindingsError> {
        let flushed = File::open(&self.folder).and_then(|folder| folder.sync_all());
        flushed.map_err(|error| failed("flush", path, &error))
    }

    /// Does work with the findings away from this thread, and waits for it for a
    /// minute: the disk may hang that they are on.
    pub async fn ask(
        state_dir: &Path,
        work: impl FnOnce(&Findings) -> Result<OpenFindings, FindingsError> + Send + 'static,
    ) -> Result<OpenFindings, FindingsError> {
        let findings = Findings::at(state_dir);
        let folder = shown(&findings.folder);
        let worked = tokio::task::spawn_blocking(move || work(&findings));
        let lost = |why: String, remedy: &str| FindingsError {
            what: format!("the findings in `{folder}` could not be read or written: {why}"),
            remedy: remedy.to_owned(),
        };
        match tokio::time::timeout(LONGEST, worked).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(lost(error.to_string(), "please report it")),
            Err(_) => Err(lost("there is no answer".to_owned(), "is their disk hanging?")),
        }
    }

    fn file(&self, host: &str) -> PathBuf {
        self.folder.join(format!("{host}{ENDING}"))
    }

    /// Makes the folder, and keeps others from changing what is in it until the
    /// file that it gives is dropped.
    fn enter(&self) -> Result<File, FindingsError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        let door = made.and_then(|()| File::open(&self.folder));
        let door = door.map_err(|error| failed("use", &self.folder, &error))?;
        let begin = Instant::now();
        while let Err(error) = flock(&door, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                // A filesystem without locks has no other process to wait for.
                break;
            }
            if begin.elapsed() > PATIENCE {
                return Err(FindingsError {
                    what: format!("the findings in `{}` are locked by another process", shown(&self.folder)),
                    remedy: format!("`fuser -v {}` shows which", shown(&self.folder)),
                });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(door)
    }

    fn write(&self, host: &str, findings: &OpenFindings) -> Result<(), FindingsError> {
        let path = self.file(host);
        let written = || -> io::Result<()> {
            if findings.is_empty() {
                fs::remove_file(&path)?;
            } else {
                // Only its owner may read it.
                let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.folder)?;
                serde_json::to_writer_pretty(&mut file, findings)?;
                file.write_all(b"\n")?;
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|error| error.error)?;
            }
            File::open(&self.folder)?.sync_all()
        };
        written().map_err(|error| failed("write", &path, &error))
    }
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> FindingsError {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room where `state_dir` is",
        io::ErrorKind::PermissionDenied => "is this root?",
        _ => "is `state_dir` right, and its disk well?",
    };
    FindingsError {
        what: format!("cannot {doing} the open findings `{}`: {error}", shown(path)),
        remedy: remedy.to_owned(),
    }
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::verification::{Finding, Matter};
    use chrono::{TimeZone, Utc};
    use std::os::unix::fs::PermissionsExt;

    fn find(open: &mut OpenFindings, path: &str) {
        let finding = Finding { path: path.into(), matter: Matter::Unreadable, reason: None };
        open.open(&[finding], "one", Utc.with_ymd_and_hms(2026, 11, 20, 2, 0, 5).unwrap());
    }

    #[test]
    fn findings_are_there_until_they_are_closed_and_then_nothing_is() {
        let dir = tempfile::tempdir().unwrap();
        let findings = Findings::at(dir.path());
        assert!(findings.of("web").unwrap().is_empty() && findings.all().unwrap().is_empty());
        findings.change("web", |open| find(open, "etc/fstab")).unwrap();
        findings.change("web", |open| find(open, "etc/passwd")).unwrap();
        findings.change("db", |_| ()).unwrap();
        let all = findings.all().unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["web"]);
        assert_eq!(all["web"].as_ref().unwrap().each().len(), 2);
        let file = dir.path().join("findings/web.json");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let paths = all["web"].as_ref().unwrap().paths().map(<[u8]>::to_vec).collect();
        assert!(findings.change("web", |open| open.close(&paths, None)).unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path().join("findings")).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let findings = Findings::at(dir.path());
        findings.change("web", |open| find(open, "etc/fstab")).unwrap();
        let file = dir.path().join("findings/web.json");
        fs::write(&file, "{\"findings\": [").unwrap();
        assert!(findings.of("web").is_err() && findings.all().unwrap()["web"].is_err());
        let error = findings.change("web", |open| find(open, "x")).unwrap_err();
        assert!(error.to_string().contains("findings/web.json` cannot be read: EOF"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "{\"findings\": [");
        fs::remove_dir_all(dir.path().join("findings")).unwrap();
        fs::write(dir.path().join("findings"), "no folder").unwrap();
        assert!(findings.of("web").is_err() && findings.all().is_err());
    }

    #[test]
    fn two_that_write_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let write = |number: usize| {
            let findings = Findings::at(dir.path());
            findings.change("web", |open| find(open, &number.to_string())).unwrap();
        };
        std::thread::scope(|scope| (0..16).for_each(|number| drop(scope.spawn(move || write(number)))));
        assert_eq!(Findings::at(dir.path()).of("web").unwrap().each().len(), 16);
    }
}
