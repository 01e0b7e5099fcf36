//! The last good list: what NetBox listed when it was last believed, kept as
//! `inventory.json` in the state directory for the nights when it is not.
//!
//! The file holds hosts just as NetBox listed them, unfit ones too, so that
//! the same faults are found in it; it holds no secret. It is replaced as a
//! whole or not at all. This module does not know what a good list is.

use super::netbox::Listed;
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

/// The last good list, if there is one. A file that cannot be used is set
/// aside; then the error is a whole sentence about that.
pub(super) fn read(state_dir: &Path) -> Result<Option<Saved>, String> {
    let path = path(state_dir);
    let why = match fs::read(&path) {
        Ok(bytes) => match parsed(&bytes) {
            Ok(saved) => return Ok(Some(saved)),
            Err(why) => why,
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => e.to_string(),
    };
    let aside = path.with_extension("json.corrupt");
    let fate = match fs::rename(&path, &aside) {
        Ok(()) => format!("it was set aside as `{}`", aside.display()),
        Err(e) => format!("nor can it be set aside: {e}"),
    };
    Err(format!("the last good inventory `{}` cannot be used: {why}; {fate}", path.display()))
}

/// The last good list, if one can be read; the file stays as it is.
pub(super) fn peek(state_dir: &Path) -> Option<Saved> {
    parsed(&fs::read(path(state_dir)).ok()?).ok()
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
    let mut file = tempfile::Builder::new().prefix(".inventory.json.").tempfile_in(state_dir)?;
    {
        let mut buffered = io::BufWriter::new(&mut file);
        serde_json::to_writer_pretty(&mut buffered, &Format { version: VERSION, saved_at: at, hosts })?;
        buffered.write_all(b"\n")?;
        buffered.flush()?;
    }
    file.as_file().sync_all()?;
    file.persist(path(state_dir)).map_err(|e| e.error)?;
    File::open(state_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::netbox::Kind;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn hosts() -> Vec<Listed> {
        vec![
            Listed { kind: Kind::Device, id: 62, name: None, primary_ip: None },
            Listed {
                kind: Kind::VirtualMachine,
                id: 1,
                name: Some("-e sh\n\"$(id)\"".to_owned()),
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
