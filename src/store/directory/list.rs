//! Reading what a directory store holds.
//!
//! Junk is passed over, and what cannot be understood is somebody else's: a
//! survey fails only where the store itself cannot be read.

use super::super::{StoreError, Survey, shown, sort};
use super::failed;
use super::place::Place;
use crate::host::HostName;
use crate::snapshot::{Facts, Origin, Snapshot, SnapshotName};
use crate::text::printable;
use chrono::{DateTime, Utc};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most that a file of facts can hold, in bytes.
const LONGEST_FACTS: u64 = 64 * 1024;

/// Every host's snapshots.
pub(super) fn survey(path: &Path) -> Result<Survey, StoreError> {
    let mut survey = Survey::default();
    for (host, folder) in places(path)? {
        match snapshots(&Place::new(path, &host)) {
            Ok(snapshots) => {
                survey.hosts.insert(host.key().to_owned(), snapshots);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // `prepare` will refuse this host; the others go on.
            Err(error) => {
                tracing::warn!("{host}: cannot read the snapshots in `{}`: {error}", shown(&folder));
            }
        }
    }
    Ok(survey)
}

/// The hosts that have a folder, sorted, each with it.
pub(super) fn places(path: &Path) -> Result<Vec<(HostName, PathBuf)>, StoreError> {
    let mut places = Vec::new();
    for entry in fs::read_dir(path).map_err(failed("read", path))? {
        let entry = entry.map_err(failed("read", path))?;
        let name = entry.file_name();
        let Some(host) = name.to_str().and_then(|name| name.parse::<HostName>().ok()) else { continue };
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if Some(host.key()) != name.to_str() {
            tracing::warn!("`{}` is no host's folder: those are in lower case", shown(&entry.path()));
            continue;
        }
        places.push((host, entry.path()));
    }
    places.sort();
    Ok(places)
}

/// One host's snapshots, oldest first.
pub(super) fn snapshots(place: &Place) -> io::Result<Vec<Snapshot>> {
    let mut snapshots = Vec::new();
    for entry in fs::read_dir(place.snapshots())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || !entry.file_type()?.is_dir() {
            continue;
        }
        let (tree, facts_file) = (entry.path(), place.facts(&name));
        let (origin, dated_by) = match facts(&facts_file) {
            // A copied tree carries the time of its source.
            Ok(Some(facts)) => (Origin::Run(facts), facts_file),
            Ok(None) => (Origin::Foreign, tree),
            Err(why) => {
                tracing::warn!(
                    "`{}` is left alone: its facts cannot be read: {why} (repair or remove `{}`)",
                    shown(&tree),
                    shown(&facts_file)
                );
                (Origin::Foreign, tree)
            }
        };
        let time = match name.parse::<SnapshotName>() {
            Ok(name) => name.time(),
            Err(_) => dated_by
                .symlink_metadata()
                .and_then(|meta| meta.modified())
                .map_or(DateTime::UNIX_EPOCH, DateTime::<Utc>::from),
        };
        let held = place.is_held(&name);
        snapshots.push(Snapshot { name, time, held, origin });
    }
    sort(&mut snapshots);
    Ok(snapshots)
}

/// The facts in a file; `None` if there is none.
pub(super) fn facts(file: &Path) -> Result<Option<Facts>, String> {
    match file.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(meta) if !meta.is_file() => return Err("it is not a regular file".to_owned()),
        Ok(_) => {}
    }
    let mut text = Vec::new();
    File::open(file)
        .and_then(|file| file.take(LONGEST_FACTS).read_to_end(&mut text))
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map(Some).map_err(|error| printable(&error.to_string()))
}
