//! One host's folder: where its parts are, and how a tree enters and leaves
//! the snapshots.

use super::super::{Removal, StoreError, shown};
use super::{delete, failed, list};
use crate::host::HostName;
use crate::snapshot::{Facts, SnapshotName};
use rustix::fs::Mode;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// One host's folder.
#[derive(Debug, Clone)]
pub(super) struct Place {
    root: PathBuf,
}

impl Place {
    pub(super) fn new(store: &Path, host: &HostName) -> Self {
        Place { root: store.join(host.key()) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(super) fn tree(&self, name: &str) -> PathBuf {
        self.snapshots().join(name)
    }

    pub(super) fn facts(&self, name: &str) -> PathBuf {
        self.snapshots().join(format!("{name}.json"))
    }

    pub(super) fn incomplete(&self) -> PathBuf {
        self.root.join(".incomplete")
    }

    pub(super) fn interrupted(&self) -> PathBuf {
        self.root.join(".interrupted")
    }

    fn removing(&self) -> PathBuf {
        self.root.join(".removing")
    }

    fn latest(&self) -> PathBuf {
        self.root.join("latest")
    }

    /// Makes the folder and its `snapshots` where they are missing, and
    /// refuses what only looks like them.
    pub(super) fn make(&self) -> Result<(), StoreError> {
        let mut devices = Vec::new();
        for dir in [self.root.clone(), self.snapshots()] {
            make_dir(&dir).map_err(failed("create", &dir))?;
            let meta = dir.symlink_metadata().map_err(failed("look at", &dir))?;
            if !meta.is_dir() {
                return Err(StoreError::new(format!(
                    "`{}` is not a directory of the store but something else, perhaps a symlink",
                    shown(&dir)
                ))
                .hint("move it away"));
            }
            devices.push(meta.dev());
        }
        if devices[0] != devices[1] {
            return Err(StoreError::new(format!(
                "`{}` is on another filesystem than `{}`, and hard links cannot join them",
                shown(&self.snapshots()),
                shown(&self.root)
            ))
            .hint("keep a host's whole folder on one filesystem"));
        }
        Ok(())
    }

    /// Keeps the tree in `.incomplete/` under a name, with its facts.
    pub(super) fn commit(
        &self,
        name: SnapshotName,
        facts: &Facts,
        stop: &AtomicBool,
    ) -> Result<(), StoreError> {
        let (tree, incomplete) = (self.tree(&name.to_string()), self.incomplete());
        if exists(&tree) {
            return Err(StoreError::new(format!("there is a snapshot `{}` already", shown(&tree))));
        }
        if !incomplete.symlink_metadata().map_err(failed("keep", &incomplete))?.is_dir() {
            return Err(StoreError::new(format!("`{}` is not a directory", shown(&incomplete))));
        }
        self.write_facts(name, facts).map_err(failed("write the facts of", &tree))?;
        self.flush().map_err(failed("flush to disk", &incomplete))?;
        go_on(stop)?;
        self.publish(name).map_err(failed("keep", &tree))?;
        // The snapshot is safe from here on; what remains is convenience.
        if facts.verdict == crate::snapshot::Verdict::Good
            && let Err(error) = self.point_latest_to(name)
        {
            tracing::warn!("cannot point `{}` to `{name}`: {error}", shown(&self.latest()));
        }
        if let Err(error) = self.discard_attempts().and_then(|()| self.empty_trash(stop)) {
            tracing::warn!("cannot delete earlier attempts in `{}`: {error}", shown(&self.root));
        }
        Ok(())
    }

    /// Second step of a commit: flushes the whole filesystem, facts and all, so
    /// that a power cut cannot leave files empty in a snapshot that counts as
    /// good.
    pub(super) fn flush(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(&self.root)?)?)
    }

    /// First step of a commit: facts without a tree are no snapshot yet. Until
    /// they are flushed, a power cut may leave them empty.
    pub(super) fn write_facts(&self, name: SnapshotName, facts: &Facts) -> io::Result<()> {
        let unfinished = self.snapshots().join(".facts");
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(facts)?)?;
        file.write_all(b"\n")?;
        fs::rename(unfinished, self.facts(&name.to_string()))
    }

    /// Third step of a commit: the snapshot is there from here on.
    pub(super) fn publish(&self, name: SnapshotName) -> io::Result<()> {
        move_tree(&self.incomplete(), &self.tree(&name.to_string()))?;
        sync_dir(&self.snapshots())?;
        sync_dir(&self.root)
    }

    /// Last step of a commit. A newer one that is there stays the latest.
    pub(super) fn point_latest_to(&self, name: SnapshotName) -> io::Result<()> {
        let shown = fs::read_link(self.latest()).ok().filter(|_| self.latest().is_dir());
        let newest = shown.as_deref().and_then(Path::file_name).and_then(OsStr::to_str);
        if newest.and_then(|newest| newest.parse().ok()).is_some_and(|newest: SnapshotName| newest > name) {
            return Ok(());
        }
        let unfinished = self.root.join(".latest");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(Path::new("snapshots").join(name.to_string()), &unfinished)?;
        fs::rename(unfinished, self.latest())
    }

    /// Removes snapshots by name.
    pub(super) fn remove(&self, names: &[String], stop: &AtomicBool) -> Result<Removal, StoreError> {
        let mut removal = Removal::default();
        for name in names {
            match self.retire(name) {
                Ok(()) => removal.removed.push(name.clone()),
                Err(why) => removal.kept.push((name.clone(), why)),
            }
        }
        // A power cut must not bring back a tree that is half deleted.
        sync_dir(&self.snapshots()).or_else(unless_missing).map_err(failed("flush", &self.snapshots()))?;
        if let Err(error) = self.empty_trash(stop) {
            tracing::warn!("cannot delete all of `{}`: {error}", shown(&self.removing()));
        }
        Ok(removal)
    }

    /// Takes one snapshot out of sight, or says why not.
    fn retire(&self, name: &str) -> Result<(), String> {
        if !is_name(name) {
            return Err("it is not the name of a snapshot".to_owned());
        }
        let (tree, facts) = (self.tree(name), self.facts(name));
        if !exists(&tree) {
            return Ok(());
        }
        let _nobody_else = self.alone().map_err(|error| format!("its holds cannot be looked at: {error}"))?;
        if self.is_held(name) {
            return Err("it is held".to_owned());
        }
        if list::facts(&facts)?.is_none() {
            return Err("it is not ours".to_owned());
        }
        self.take_away(name).unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Last step of a removal. Who holds a snapshot by hand takes no lock, so
    /// it is looked at again when nobody can see the tree any more.
    pub(super) fn take_away(&self, name: &str) -> io::Result<Result<(), String>> {
        let tree = self.tree(name);
        let at = self.move_out(&tree)?;
        if self.is_held(name) {
            move_tree(&at, &tree)?;
            return Ok(Err("it is held".to_owned()));
        }
        fs::remove_file(self.facts(name)).or_else(unless_missing).map(Ok)
    }

    /// Moves a tree, if it is there, to what is being deleted.
    pub(super) fn discard(&self, tree: &Path) -> io::Result<()> {
        if exists(tree) { self.move_out(tree).map(drop) } else { Ok(()) }
    }

    /// Moves a tree to what is being deleted, and says where it is now.
    fn move_out(&self, tree: &Path) -> io::Result<PathBuf> {
        make_dir(&self.removing())?;
        // No other tree of this filesystem has the same number.
        let at = self.removing().join(tree.symlink_metadata()?.ino().to_string());
        move_tree(tree, &at)?;
        Ok(at)
    }

    /// Gives up everything that unfinished attempts left.
    pub(super) fn discard_attempts(&self) -> io::Result<()> {
        self.discard(&self.incomplete())?;
        self.discard(&self.interrupted())
    }

    /// Deletes what is being deleted.
    pub(super) fn empty_trash(&self, stop: &AtomicBool) -> io::Result<()> {
        delete::empty(&self.removing(), stop)?;
        fs::remove_dir(self.removing()).or_else(unless_missing)
    }
}

/// Refuses to go on with a host whose run has been told to stop: its lock may
/// be another run's by now.
pub(super) fn go_on(stop: &AtomicBool) -> Result<(), StoreError> {
    match stop.load(Ordering::Relaxed) {
        false => Ok(()),
        true => Err(StoreError::new("the run was told to stop")),
    }
}

/// Whether this can be the name of a tree among the snapshots.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

/// Whether there is anything of that name; a dangling symlink counts.
pub(super) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

pub(super) fn unless_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Makes a directory for its owner alone, unless something of that name is
/// there.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Renames a tree whose top directory carries its source's mode: without the
/// right to write in it, an ordinary user may not give it another parent.
pub(super) fn move_tree(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let mode = from.symlink_metadata()?.permissions();
            let open = fs::Permissions::from_mode(mode.mode() | Mode::RWXU.as_raw_mode());
            fs::set_permissions(from, open)?;
            fs::rename(from, to)?;
            fs::set_permissions(to, mode)
        }
        other => other,
    }
}

pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::{Directory, Store};
    use super::*;
    use crate::snapshot::{Origin, Verdict};

    fn day(day: u32) -> SnapshotName {
        format!("backup-2026-11-{day:02}T020005Z").parse().unwrap()
    }

    fn facts(verdict: Verdict) -> Facts {
        Facts { run: "r1".to_owned(), verdict, files: Some(1), bytes: None, duration: None, machine: None }
    }

    /// A crash after each step of a commit, and the run after it.
    #[tokio::test]
    async fn after_a_crash_a_snapshot_is_there_whole_or_not_at_all() {
        type Step = fn(&Place) -> io::Result<()>;
        let steps: [(Step, &str); 4] = [
            (|place| place.write_facts(day(2), &facts(Verdict::Good)), "facts written"),
            (|place| place.flush(), "flushed"),
            (|place| place.publish(day(2)), "tree renamed"),
            (|place| place.point_latest_to(day(2)), "latest swapped"),
        ];
        for done in 0..=steps.len() {
            let dir = tempfile::tempdir().unwrap();
            let host: HostName = "vpn".parse().unwrap();
            let (store, place) = (Directory::new(dir.path(), 0).unwrap(), Place::new(dir.path(), &host));
            let name = steps[..done].last().map_or("nothing done", |(_, name)| name);
            let copy = async |text: &str| {
                let survey = store.survey().await.unwrap();
                let workspace = store.prepare(&host, &survey).await.unwrap();
                fs::write(workspace.destination.join("file"), text).unwrap();
                workspace
            };
            copy("old").await;
            store.commit(&host, day(1), &facts(Verdict::Good)).await.unwrap();
            copy("new").await;
            for (step, _) in &steps[..done] {
                step(&place).unwrap();
            }

            let survey = store.survey().await.unwrap();
            let taken = usize::from(done >= 3);
            assert_eq!(survey.of(&host).len(), 1 + taken, "{name}");
            assert!(survey.of(&host).iter().all(|s| s.origin == Origin::Run(facts(Verdict::Good))), "{name}");
            let file = |number| fs::read_to_string(place.tree(&day(number).to_string()).join("file"));
            assert_eq!(file(1).unwrap(), "old", "{name}");
            assert_eq!(file(2).ok(), (taken == 1).then(|| "new".to_owned()), "{name}");
            let latest = fs::read_to_string(place.latest().join("file")).unwrap();
            assert_eq!(latest, if done == 4 { "new" } else { "old" }, "{name}");

            let workspace = copy("newer").await;
            let interrupted = workspace.link_dest.iter().any(|tree| tree.starts_with(place.interrupted()));
            assert_eq!(interrupted, taken == 0, "{name}: what was copied is not sent again");
            assert_eq!(exists(&place.facts(&day(2).to_string())), taken == 1, "{name}: no orphan is left");
            store.commit(&host, day(3), &facts(Verdict::Good)).await.unwrap();
            assert_eq!(store.survey().await.unwrap().of(&host).len(), 2 + taken, "{name}");
            assert!(!exists(&place.interrupted()), "{name}");
        }
    }

    /// A crash after each step of a removal, and the run after it.
    #[tokio::test]
    async fn after_a_crash_a_removed_snapshot_stays_removed() {
        for facts_too in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let host: HostName = "vpn".parse().unwrap();
            let (store, place) = (Directory::new(dir.path(), 0).unwrap(), Place::new(dir.path(), &host));
            for number in 1..=2 {
                let survey = store.survey().await.unwrap();
                store.prepare(&host, &survey).await.unwrap();
                store.commit(&host, day(number), &facts(Verdict::Good)).await.unwrap();
            }
            let first = day(1).to_string();
            place.discard(&place.tree(&first)).unwrap();
            if facts_too {
                fs::remove_file(place.facts(&first)).unwrap();
            }
            let survey = store.survey().await.unwrap();
            assert_eq!(survey.of(&host).len(), 1);
            let names = [first];
            assert_eq!(store.remove(&host, &names).await.unwrap().removed, names);
            store.prepare(&host, &survey).await.unwrap();
            assert!(!exists(&place.facts(&names[0])) && !exists(&place.removing()));
        }
    }

    #[tokio::test]
    async fn a_run_that_was_told_to_stop_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let host: HostName = "vpn".parse().unwrap();
        let (store, place) = (Directory::new(dir.path(), 0).unwrap(), Place::new(dir.path(), &host));
        store.prepare(&host, &store.survey().await.unwrap()).await.unwrap();
        let stop = AtomicBool::new(true);
        place.commit(day(1), &facts(Verdict::Good), &stop).unwrap_err();
        place.prepare(&|_| Ok(()), 0, &[], &stop).unwrap_err();
        assert!(store.survey().await.unwrap().of(&host).is_empty());
        assert!(!exists(&place.incomplete()));
    }

    #[test]
    fn the_sources_own_mode_stops_no_rename_and_is_kept() {
        for mode in [0o000, 0o111, 0o555, 0o755] {
            let dir = tempfile::tempdir().unwrap();
            let (from, to) = (dir.path().join("from"), dir.path().join("sub/to"));
            fs::create_dir_all(from.join("inner")).unwrap();
            fs::create_dir(dir.path().join("sub")).unwrap();
            fs::set_permissions(&from, fs::Permissions::from_mode(mode)).unwrap();
            move_tree(&from, &to).unwrap();
            assert_eq!(to.symlink_metadata().unwrap().mode() & 0o7777, mode);
        }
    }
}
