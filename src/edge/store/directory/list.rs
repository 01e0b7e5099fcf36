//! Reading what a directory store holds.
//!
//! Junk is passed over, and what cannot be understood is somebody else's: a
//! survey fails only where the store itself cannot be read.

use super::super::{Overviews, StoreError, Survey, shown, sort};
use super::failed;
use super::place::{Place, exists};
use crate::core::format::text::printable;
use crate::core::model::host::HostName;
use crate::core::model::snapshot::{Facts, Origin, Overview, Snapshot, SnapshotName, Taken};
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most that a file of facts can hold, in bytes.
const LONGEST_FACTS: u64 = 64 * 1024;

/// Every host's snapshots.
pub(super) fn survey(path: &Path) -> Result<Survey, StoreError> {
    let mut survey = Survey { roots: vec![path.to_owned()], ..Survey::default() };
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

/// Every host's snapshots at a glance: by their names, and the facts of a few.
pub(super) fn overview(path: &Path, now: DateTime<Utc>) -> Result<Overviews, StoreError> {
    let mut hosts = BTreeMap::new();
    for (host, _) in places(path)? {
        let place = Place::new(path, &host);
        let overview = match glance(&place, now) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            glance => glance.map_err(failed("read the snapshots in", &place.snapshots())),
        };
        hosts.insert(host.key().to_owned(), overview);
    }
    Ok(hosts)
}

/// One host's snapshots at a glance.
fn glance(place: &Place, now: DateTime<Utc>) -> io::Result<Overview> {
    let (mut trees, mut facts_of, mut held_of) = (Vec::new(), HashSet::new(), HashSet::new());
    let mut unfinished = HashSet::new();
    for entry in fs::read_dir(place.snapshots())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_prefix('.') {
            unfinished.extend(name.strip_suffix(".json").map(str::to_owned));
        } else if entry.file_type()?.is_dir() {
            trees.push(name);
        } else if let Some(name) = name.strip_suffix(".json") {
            facts_of.insert(name.to_owned());
        } else if let Some(name) = name.strip_suffix(".hold") {
            held_of.insert(name.to_owned());
        }
    }
    trees.retain(|name| facts_of.contains(name) || !unfinished.contains(name));
    let all = trees.len();
    let held = trees.iter().filter(|name| held_of.contains(*name)).count();
    let mut ours: Vec<(DateTime<Utc>, String)> = trees
        .into_iter()
        .filter(|name| facts_of.contains(name))
        .map(|name| (time(&name, &place.facts(&name)), name))
        .collect();
    ours.sort();
    let times: Vec<DateTime<Utc>> = ours.iter().map(|(time, _)| *time).collect();
    let look = |index: usize| {
        let (time, name) = &ours[index];
        let facts = facts(&place.facts(name)).ok().flatten()?;
        let snapshot = Snapshot { name: name.clone(), time: *time, held: false, origin: Origin::Run(facts) };
        Taken::of(&snapshot)
    };
    let parts = Overview::looked_up(&times, now, look);
    Ok(Overview { ours: ours.len(), foreign: all - ours.len(), held, ..parts })
}

/// When a tree was taken: as its name says, else as the file does that dates
/// it.
fn time(name: &str, dated_by: &Path) -> DateTime<Utc> {
    match name.parse::<SnapshotName>() {
        Ok(name) => name.time(),
        Err(_) => dated_by
            .symlink_metadata()
            .and_then(|meta| meta.modified())
            .map_or(DateTime::UNIX_EPOCH, DateTime::<Utc>::from),
    }
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

/// The names of one host's trees, in no order.
pub(super) fn trees(place: &Place) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(place.snapshots())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.file_type()?.is_dir() {
            names.push(name);
        }
    }
    Ok(names)
}

/// One host's snapshots, oldest first.
pub(super) fn snapshots(place: &Place) -> io::Result<Vec<Snapshot>> {
    let mut snapshots: Vec<Snapshot> =
        trees(place)?.into_iter().filter_map(|name| snapshot(place, name)).collect();
    sort(&mut snapshots);
    Ok(snapshots)
}

/// The snapshot of a tree; `None` if it has gone since it was listed.
fn snapshot(place: &Place, name: String) -> Option<Snapshot> {
    let (tree, facts_file) = (place.tree(&name), place.facts(&name));
    let (origin, dated_by) = match facts(&facts_file) {
        // A copied tree carries the time of its source.
        Ok(Some(facts)) => (Origin::Run(facts), facts_file),
        // A tree goes before its facts do, and comes before they count.
        Ok(None) if !exists(&tree) || exists(&place.facts_to_be(&name)) => return None,
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
    let time = time(&name, &dated_by);
    let held = place.is_held(&name);
    Some(Snapshot { name, time, held, origin })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_is_removed_while_it_is_listed_is_nobodys_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path(), &"vpn".parse().unwrap());
        fs::create_dir_all(place.tree("foreign")).unwrap();
        assert_eq!(snapshot(&place, "gone".to_owned()), None);
        assert_eq!(snapshot(&place, "foreign".to_owned()).unwrap().origin, Origin::Foreign);
    }
}
