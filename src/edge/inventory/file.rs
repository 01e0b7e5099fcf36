//! The last good list: what NetBox listed when it was last believed, kept as
//! `inventory.json` in the state directory for the nights when it is not.
//!
//! The file holds hosts just as NetBox listed them, unfit ones too, so that
//! the same faults are found in it; it holds no secret. It is replaced as a
//! whole or not at all. This module does not know what a good list is.

use super::source::Listed;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The version of the file's format that is written and read.
const VERSION: u32 = 1;

/// A list that was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saved {
    /// When NetBox gave it.
    pub at: DateTime<Utc>,
    /// What it listed.
    pub hosts: Vec<Listed>,
}

#[derive(Serialize, Deserialize)]
struct Format<H> {
    version: u32,
    saved_at: DateTime<Utc>,
    hosts: H,
}

/// Where the list is kept.
pub(super) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("inventory.json")
}

/// What to do with a file that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aside {
    /// Whoever only looks leaves it where it is.
    Leave,
    /// It is set aside.
    Move,
}

/// What becomes of a file that cannot be used, in words.
pub(super) fn fate(path: &Path, aside: Aside) -> String {
    if aside == Aside::Leave {
        return "the next run sets it aside".to_owned();
    }
    let to = path.with_extension("json.corrupt");
    match fs::rename(path, &to) {
        Ok(()) => format!("it was set aside as `{}`", to.display()),
        Err(e) => format!("nor can it be set aside: {e}"),
    }
}

/// The last good list, if there is one. A file that cannot be used is left as
/// it is; then the error is a whole sentence about that.
pub(super) fn peek(state_dir: &Path) -> Result<Option<Saved>, String> {
    usable(state_dir, Aside::Leave)
}

/// [`peek`], but a file that cannot be used is set aside.
pub(super) fn read(state_dir: &Path) -> Result<Option<Saved>, String> {
    usable(state_dir, Aside::Move)
}

fn usable(state_dir: &Path, aside: Aside) -> Result<Option<Saved>, String> {
    let path = path(state_dir);
    understood(&path, parsed).map_err(|why| {
        let fate = fate(&path, aside);
        format!("the last good inventory `{}` cannot be used: {why}; {fate}", path.display())
    })
}

/// What is in a file of the state directory, if it is there.
pub(super) fn understood<T>(
    path: &Path,
    parsed: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<Option<T>, String> {
    match fs::read(path) {
        Ok(bytes) => parsed(&bytes).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.to_string()),
    }
}

fn parsed(bytes: &[u8]) -> Result<Saved, String> {
    let version =
        serde_json::from_slice::<Format<serde::de::IgnoredAny>>(bytes).map_err(|e| e.to_string())?.version;
    if version != VERSION {
        return Err(format!("its format has version {version}, this program knows {VERSION}"));
    }
    let Format { saved_at, hosts, .. } = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    Ok(Saved { at: saved_at, hosts })
}

/// Keeps the list. The state directory is made if it is missing.
pub(super) fn write(state_dir: &Path, at: DateTime<Utc>, hosts: &[Listed]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    keep(&path(state_dir), &Format { version: VERSION, saved_at: at, hosts })
}

/// Puts a value in a file's place, as a whole or not at all.
pub(super) fn keep(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".hosts.").tempfile_in(folder)?;
    {
        let mut buffered = io::BufWriter::new(&mut file);
        serde_json::to_writer_pretty(&mut buffered, value)?;
        buffered.write_all(b"\n")?;
        buffered.flush()?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::host::ObjectKind;
    use std::os::unix::fs::PermissionsExt;

    fn hosts() -> Vec<Listed> {
        vec![
            Listed { kind: ObjectKind::Device, id: 62, name: None, alias: None, primary_ip: None },
            Listed {
                kind: ObjectKind::VirtualMachine,
                id: 1,
                name: Some("-e sh\n\"$(id)\"".to_owned()),
                alias: Some("sh".to_owned()),
                primary_ip: Some("10.0.0.7/24".to_owned()),
            },
        ]
    }

    fn at() -> DateTime<Utc> {
        "2026-11-20T02:00:05Z".parse().unwrap()
    }

    #[test]
    fn a_list_comes_back_as_it_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("new/state");
        assert_eq!(read(&state), Ok(None));
        write(&state, at(), &hosts()).unwrap();
        write(&state, at(), &hosts()).unwrap();
        assert_eq!(read(&state), Ok(Some(Saved { at: at(), hosts: hosts() })));
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(path(&state)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "a temporary file was left behind");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_set_aside_not_lost() {
        for (content, why) in [
            (&b"{\"version\": 1, \"saved_at\": "[..], "EOF"),
            (b"", "EOF"),
            (b"\xff\xfe", "expected value"),
            (b"{\"version\": 2, \"saved_at\": \"2026-11-20T02:00:05Z\", \"hosts\": {}}", "version 2"),
            (b"{\"version\": 1, \"saved_at\": \"2026-11-20T02:00:05Z\", \"hosts\": [{}]}", "missing field"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(path(folder.path()), content).unwrap();
            let error = peek(folder.path()).unwrap_err();
            assert!(error.contains(why) && path(folder.path()).exists(), "{error}");
            let error = read(folder.path()).unwrap_err();
            assert!(error.contains(why) && error.contains("inventory.json.corrupt"), "{error}");
            assert_eq!(fs::read(folder.path().join("inventory.json.corrupt")).unwrap(), content);
            assert_eq!(read(folder.path()), Ok(None));
        }
    }

    #[test]
    fn something_else_in_its_place_is_set_aside_too() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(path(folder.path())).unwrap();
        assert!(read(folder.path()).unwrap_err().contains("set aside as"));
        write(folder.path(), at(), &hosts()).unwrap();
    }

    #[test]
    fn a_state_directory_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(write(&folder.path().join("file/state"), at(), &hosts()).is_err());
    }
}
