//! One host's folder: where its parts are, and how a tree enters and leaves
//! the snapshots.

use super::super::closed::close;
use super::super::{Kept, Lockable, Removal, StoreError, shown};
use super::{delete, failed, list};
use crate::core::model::host::HostName;
use crate::core::model::snapshot::{Facts, SnapshotName};
use rustix::fs::Mode;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
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

    /// The facts of a tree that does not count yet.
    pub(super) fn facts_to_be(&self, name: &str) -> PathBuf {
        self.snapshots().join(format!(".{name}.json"))
    }

    pub(super) fn boot(&self) -> PathBuf {
        self.root.join(".boot")
    }

    fn removing(&self) -> PathBuf {
        self.root.join(".removing")
    }

    pub(super) fn latest(&self) -> PathBuf {
        self.root.join("latest")
    }

    /// Makes the folder and its `snapshots` where they are missing, refuses what
    /// only looks like them, and closes the folder to other users.
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
            if dir == self.root {
                if let Some(mode) = close(&dir)? {
                    tracing::warn!(
                        "`{}` was open to other users of this server (mode {mode:o}) and is closed now: the copies in \
                     it hold what only root may read",
                        shown(&dir)
                    );
                }
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

    /// What keeps all other runs from this host, made if it is missing: a file,
    /// since a network's filesystem locks no directories for other machines.
    pub(super) fn lockable(&self) -> Result<Lockable, StoreError> {
        let path = self.boot();
        let file = private().read(true).open(&path).map_err(failed("open the lock", &path))?;
        Ok(Lockable { file, path })
    }

    /// Gives the folder another name, which nothing has.
    pub(super) fn rename(&self, to: &Place) -> Result<(), StoreError> {
        let renamed =
            rename_to_new(&self.root, &to.root).and_then(|()| sync_dir(to.root.parent().unwrap_or(&to.root)));
        renamed.map_err(|error| {
            let refusal = StoreError::new(format!(
                "cannot rename `{}` to `{}`: {error}",
                shown(&self.root),
                shown(&to.root)
            ));
            match error.kind() {
                io::ErrorKind::AlreadyExists => refusal.hint("move away what is there"),
                io::ErrorKind::ResourceBusy => {
                    refusal.hint("is it a mount point? Mount that disk under the new name instead")
                }
                _ => refusal,
            }
        })
    }

    /// Keeps the tree in `.incomplete/` under a name, with its facts. `attempt`
    /// is that tree, open since before its first byte.
    pub(super) fn commit(
        &self,
        name: SnapshotName,
        facts: &Facts,
        attempt: &File,
        stop: &AtomicBool,
    ) -> Result<(), StoreError> {
        let (tree, incomplete) = (self.tree(&name.to_string()), self.incomplete());
        if exists(&tree) {
            return Err(StoreError::new(format!("there is a snapshot `{}` already", shown(&tree))));
        }
        is_at(attempt, &incomplete).map_err(failed("keep", &incomplete))?;
        let published = self
            .write_facts(name, facts)
            .and_then(|()| flush(attempt))
            .map_err(failed("flush to disk", &incomplete))
            .and_then(|()| go_on(stop))
            .and_then(|()| self.publish(name, attempt).map_err(failed("keep", &tree)));
        if published.is_err() && go_on(stop).is_ok() {
            // Nobody knows whether it is whole: the next run does not go on with it.
            let _ = fs::remove_file(self.facts_to_be(&name.to_string()));
            if let Err(error) = self.discard_attempts(stop).and_then(|()| self.empty_trash(stop)) {
                tracing::warn!("cannot delete what was copied to `{}`: {error}", shown(&incomplete));
            }
        }
        published?;
        // The snapshot is safe from here on; what remains is convenience.
        if facts.verdict == crate::core::model::snapshot::Verdict::Good {
            if let Err(error) = self.point_latest_to(name) {
                tracing::warn!("cannot point `{}` to `{name}`: {error}", shown(&self.latest()));
            }
        }
        if let Err(error) = self.discard_attempts(stop).and_then(|()| self.empty_trash(stop)) {
            tracing::warn!("cannot delete earlier attempts in `{}`: {error}", shown(&self.root));
        }
        Ok(())
    }

    /// First step of a commit: facts that do not count yet.
    pub(super) fn write_facts(&self, name: SnapshotName, facts: &Facts) -> io::Result<()> {
        let mut file = private().truncate(true).open(self.facts_to_be(&name.to_string()))?;
        file.write_all(&serde_json::to_vec(facts)?)?;
        file.write_all(b"\n")
    }

    /// Third step of a commit, after [`flush`]: the tree is in its place, and
    /// then its facts, from where on the snapshot is there. Undone if anything
    /// goes wrong before the disk has both.
    pub(super) fn publish(&self, name: SnapshotName, attempt: &File) -> io::Result<()> {
        let name = name.to_string();
        let tree = self.tree(&name);
        move_tree(&self.incomplete(), &tree)?;
        let kept = is_at(attempt, &tree)
            .and_then(|()| sync_dir(&self.snapshots()))
            .and_then(|()| sync_dir(&self.root))
            .and_then(|()| fs::rename(self.facts_to_be(&name), self.facts(&name)))
            .and_then(|()| sync_dir(&self.snapshots()));
        if kept.is_err() {
            if let Err(error) = self.withdraw(&name) {
                tracing::warn!("`{}` is no snapshot, and cannot be moved away: {error}", shown(&tree));
            }
        }
        kept
    }

    /// Takes back what has been published of a snapshot, its facts first.
    pub(super) fn withdraw(&self, name: &str) -> io::Result<()> {
        fs::rename(self.facts(name), self.facts_to_be(name)).or_else(unless_missing)?;
        if exists(&self.tree(name)) {
            self.move_out(&self.tree(name))?;
        }
        fs::remove_file(self.facts_to_be(name)).or_else(unless_missing)
    }

    /// Last step of a commit. What was just made is the latest; one that has a
    /// later date got it from a clock that was wrong.
    pub(super) fn point_latest_to(&self, name: SnapshotName) -> io::Result<()> {
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
            match self.retire(name, stop) {
                Ok(()) => removal.removed.push(name.clone()),
                Err(why) => removal.kept.push((name.clone(), why)),
            }
        }
        // A power cut must not bring back a tree that is half deleted.
        sync_dir(&self.snapshots()).or_else(unless_missing).map_err(failed("flush", &self.snapshots()))?;
        removal.remains = self.empty_trash(stop).err().map(|error| self.stuck(&error));
        Ok(removal)
    }

    /// What there is to say of trash that cannot be deleted.
    pub(super) fn stuck(&self, error: &io::Error) -> String {
        let trash = shown(&self.removing());
        format!(
            "what was removed still takes space: `{trash}` cannot be deleted: {error} (`lsattr -R {trash}` shows \
             what is immutable, `chattr -R -i` lets go of it)"
        )
    }

    /// Takes one snapshot out of sight, or says why not.
    fn retire(&self, name: &str, stop: &AtomicBool) -> Result<(), Kept> {
        let refused = |why: String| Kept::Refused(why);
        if !is_name(name) {
            return Err(refused("it is not the name of a snapshot".to_owned()));
        }
        let (tree, facts) = (self.tree(name), self.facts(name));
        if !exists(&tree) {
            return Ok(());
        }
        let _nobody_else =
            self.alone().map_err(|error| refused(format!("its holds cannot be looked at: {error}")))?;
        if self.is_held(name) {
            return Err(Kept::Held);
        }
        if list::facts(&facts).map_err(refused)?.is_none() {
            return Err(Kept::Foreign);
        }
        self.take_away(name, stop).unwrap_or_else(|error| Err(refused(error.to_string())))
    }

    /// Last step of a removal. Who holds a snapshot by hand takes no lock, so
    /// it is looked at again when nobody can see the tree any more.
    pub(super) fn take_away(&self, name: &str, stop: &AtomicBool) -> io::Result<Result<(), Kept>> {
        let tree = self.tree(name);
        let at = match self.move_out(&tree) {
            // A quota may forbid even that. Facts go first: a half of a tree must
            // not count.
            Err(error) if is_full(&error) => {
                fs::remove_file(self.facts(name)).or_else(unless_missing)?;
                delete::empty(&tree, stop)?;
                return fs::remove_dir(&tree).map(Ok);
            }
            moved => moved?,
        };
        if self.is_held(name) {
            move_tree(&at, &tree)?;
            return Ok(Err(Kept::Held));
        }
        fs::remove_file(self.facts(name)).or_else(unless_missing).map(Ok)
    }

    /// Gives up a tree that is no snapshot, if it is there. On a full disk, where
    /// nothing may be moved, it is deleted where it is.
    pub(super) fn discard(&self, tree: &Path, stop: &AtomicBool) -> io::Result<()> {
        if !exists(tree) {
            return Ok(());
        }
        match self.move_out(tree) {
            Err(error) if is_full(&error) => {
                delete::empty(tree, stop)?;
                fs::remove_dir(tree)
            }
            moved => moved.map(drop),
        }
    }

    /// Moves a tree to what is being deleted, and says where it is now. Where no
    /// directory can be made for such trees, this one becomes it.
    fn move_out(&self, tree: &Path) -> io::Result<PathBuf> {
        // No other tree of this filesystem has the same number.
        let number = tree.symlink_metadata()?.ino().to_string();
        let at = match make_dir(&self.removing()) {
            Err(error) if is_full(&error) => self.removing(),
            made => made.map(|()| self.removing().join(number))?,
        };
        move_tree(tree, &at)?;
        Ok(at)
    }

    /// Gives up everything that unfinished attempts left.
    pub(super) fn discard_attempts(&self, stop: &AtomicBool) -> io::Result<()> {
        self.discard(&self.incomplete(), stop)?;
        self.discard(&self.interrupted(), stop)
    }

    /// Deletes what is being deleted.
    pub(super) fn empty_trash(&self, stop: &AtomicBool) -> io::Result<()> {
        delete::empty(&self.removing(), stop)?;
        fs::remove_dir(self.removing()).or_else(unless_missing)
    }
}

/// Second step of a commit: flushes the whole filesystem, facts and all, so
/// that a power cut cannot leave files empty in a snapshot that counts as good.
/// The kernel tells each open file of an error once: one that is open since
/// before the first byte hears of all that were lost since.
pub(super) fn flush(attempt: &File) -> io::Result<()> {
    rustix::fs::syncfs(attempt).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(
            error.kind(),
            format!("the disk lost some of what was written to it, see `dmesg`: {error}"),
        )
    })
}

/// Refuses a path that does not lead to this tree, which is open.
pub(super) fn is_at(tree: &File, path: &Path) -> io::Result<()> {
    let (own, found) = (tree.metadata()?, path.symlink_metadata()?);
    if (own.dev(), own.ino()) == (found.dev(), found.ino()) {
        return Ok(());
    }
    Err(io::Error::other("it is not what this run has filled; is another run at work on this host?"))
}

/// How files of the store are opened to be written: nobody else may read them,
/// and no symlink is followed.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(no_follow);
    options
}

/// Whether there was no room left, for bytes or for inodes.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
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

/// Renames what is there to a name that nothing has.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags};
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A filesystem that cannot promise that; nobody but us makes names there.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !exists(to) => fs::rename(from, to),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            Err(io::Error::from(io::ErrorKind::AlreadyExists))
        }
        renamed => renamed.map_err(io::Error::from),
    }
}

pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::{DirectoryStore, Store};
    use super::*;
    use crate::core::model::snapshot::{Origin, Verdict};

    fn day(day: u32) -> SnapshotName {
        format!("backup-2026-11-{day:02}T020005Z").parse().unwrap()
    }

    fn facts(verdict: Verdict) -> Facts {
        Facts {
            run: "r1".to_owned(),
            verdict,
            files: Some(1),
            bytes: None,
            duration: None,
            machine: None,
            hostname: None,
            left_out: None,
            clock_agreed: false,
        }
    }

    /// A crash after each step of a commit, and the run after it.
    #[tokio::test]
    async fn after_a_crash_a_snapshot_is_there_whole_or_not_at_all() {
        type Step = fn(&Place, &File) -> io::Result<()>;
        let steps: [(Step, &str); 5] = [
            (|place, _| place.write_facts(day(2), &facts(Verdict::Good)), "facts written"),
            (|_, attempt| flush(attempt), "flushed"),
            (|place, _| move_tree(&place.incomplete(), &place.tree(&day(2).to_string())), "tree renamed"),
            (
                |place, _| {
                    let name = day(2).to_string();
                    fs::rename(place.facts_to_be(&name), place.facts(&name))
                },
                "facts renamed",
            ),
            (|place, _| place.point_latest_to(day(2)), "latest swapped"),
        ];
        for done in 0..=steps.len() {
            let dir = tempfile::tempdir().unwrap();
            let host: HostName = "vpn".parse().unwrap();
            let place = Place::new(dir.path(), &host);
            let name = steps[..done].last().map_or("nothing done", |(_, name)| name);
            // Each as a new process.
            let copy = async |text: &str| {
                let store = DirectoryStore::new(dir.path(), 0).unwrap();
                let survey = store.survey().await.unwrap();
                let workspace = store.prepare(&host, &survey).await.unwrap();
                fs::write(workspace.destination.join("file"), text).unwrap();
                (store, workspace)
            };
            let (store, workspace) = copy("old").await;
            store.commit(&host, &workspace, day(1), &facts(Verdict::Good)).await.unwrap();
            copy("new").await;
            let attempt = File::open(place.incomplete()).unwrap();
            for (step, _) in &steps[..done] {
                step(&place, &attempt).unwrap();
            }

            let survey = store.survey().await.unwrap();
            let taken = usize::from(done >= 4);
            assert_eq!(survey.of(&host).len(), 1 + taken, "{name}");
            assert!(survey.of(&host).iter().all(|s| s.origin == Origin::Run(facts(Verdict::Good))), "{name}");
            let overview = store
                .overview(chrono::DateTime::<chrono::Utc>::MAX_UTC)
                .await
                .unwrap()
                .remove("vpn")
                .unwrap()
                .unwrap();
            assert_eq!((overview.ours, overview.foreign), (1 + taken, 0), "{name}");
            let file = |number| fs::read_to_string(place.tree(&day(number).to_string()).join("file"));
            assert_eq!(file(1).unwrap(), "old", "{name}");
            let latest = fs::read_to_string(place.latest().join("file")).unwrap();
            assert_eq!(latest, if done == 5 { "new" } else { "old" }, "{name}");

            let (store, workspace) = copy("newer").await;
            assert_eq!(file(2).ok(), (taken == 1).then(|| "new".to_owned()), "{name}");
            let interrupted = workspace.link_dest.iter().any(|tree| tree.starts_with(place.interrupted()));
            assert!(!interrupted, "{name}: what was not seen to reach the disk is not linked with");
            assert_eq!(exists(&place.facts(&day(2).to_string())), taken == 1, "{name}: no orphan is left");
            assert!(!exists(&place.facts_to_be(&day(2).to_string())), "{name}");
            store.commit(&host, &workspace, day(3), &facts(Verdict::Good)).await.unwrap();
            assert_eq!(store.survey().await.unwrap().of(&host).len(), 2 + taken, "{name}");
            assert!(!exists(&place.interrupted()), "{name}");
        }
    }

    #[test]
    fn what_fails_after_the_tree_was_renamed_leaves_nothing_that_counts() {
        for facts_renamed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let place = Place::new(dir.path(), &"vpn".parse().unwrap());
            place.make().unwrap();
            fs::create_dir(place.incomplete()).unwrap();
            place.write_facts(day(1), &facts(Verdict::Good)).unwrap();
            let name = day(1).to_string();
            move_tree(&place.incomplete(), &place.tree(&name)).unwrap();
            if facts_renamed {
                fs::rename(place.facts_to_be(&name), place.facts(&name)).unwrap();
            }
            place.withdraw(&name).unwrap();
            assert_eq!(fs::read_dir(place.snapshots()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_tree_that_was_exchanged_is_not_published() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path(), &"vpn".parse().unwrap());
        place.make().unwrap();
        fs::create_dir(place.incomplete()).unwrap();
        let own = File::open(place.incomplete()).unwrap();
        fs::rename(place.incomplete(), dir.path().join("elsewhere")).unwrap();
        fs::create_dir(place.incomplete()).unwrap();
        let go_on = AtomicBool::new(false);
        let refusal = place.commit(day(1), &facts(Verdict::Good), &own, &go_on).unwrap_err().to_string();
        assert!(refusal.contains("not what this run has filled"), "{refusal}");
        // Nor in the moment of its renaming.
        place.write_facts(day(1), &facts(Verdict::Good)).unwrap();
        place.publish(day(1), &own).unwrap_err();
        assert_eq!(fs::read_dir(place.snapshots()).unwrap().count(), 0);
    }

    /// A crash after each step of a removal, and the run after it.
    #[tokio::test]
    async fn after_a_crash_a_removed_snapshot_stays_removed() {
        for facts_too in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let host: HostName = "vpn".parse().unwrap();
            let (store, place) = (DirectoryStore::new(dir.path(), 0).unwrap(), Place::new(dir.path(), &host));
            for number in 1..=2 {
                let survey = store.survey().await.unwrap();
                let workspace = store.prepare(&host, &survey).await.unwrap();
                store.commit(&host, &workspace, day(number), &facts(Verdict::Good)).await.unwrap();
            }
            let first = day(1).to_string();
            place.discard(&place.tree(&first), &AtomicBool::new(false)).unwrap();
            if facts_too {
                fs::remove_file(place.facts(&first)).unwrap();
            }
            let survey = store.survey().await.unwrap();
            assert_eq!(survey.of(&host).len(), 1);
            let names = [first];
            assert_eq!(store.remove(&host, survey.of(&host), &names).await.unwrap().removed, names);
            store.prepare(&host, &survey).await.unwrap();
            assert!(!exists(&place.facts(&names[0])) && !exists(&place.removing()));
        }
    }

    #[tokio::test]
    async fn a_run_that_was_told_to_stop_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let host: HostName = "vpn".parse().unwrap();
        let (store, place) = (DirectoryStore::new(dir.path(), 0).unwrap(), Place::new(dir.path(), &host));
        store.prepare(&host, &store.survey().await.unwrap()).await.unwrap();
        let stop = AtomicBool::new(true);
        let attempt = File::open(place.incomplete()).unwrap();
        place.commit(day(1), &facts(Verdict::Good), &attempt, &stop).unwrap_err();
        place.prepare(&|_| Ok(()), 0, &[], None, &stop).map(drop).unwrap_err();
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
