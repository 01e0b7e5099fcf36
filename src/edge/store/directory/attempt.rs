//! A fresh tree for an attempt, and what becomes of the attempts before it.
//!
//! What an interrupted attempt copied need not be sent again: its tree is
//! offered to rsync as one more to link with. Only trees of this boot are, for
//! after a power cut a file can have its right size and time and none of its
//! bytes; and only those that were flushed without an error since before their
//! first byte. A run that was killed could not do that: what it copied is given
//! up.
//!
//! Nothing here needs a new inode or a new byte to come back from a full disk.

use super::super::{StoreError, Workspace};
use super::place::{
    Place, exists, flush, go_on, is_at, is_full, make_dir, move_tree, private, unless_missing,
};
use super::{failed, list, times};
use crate::core::model::snapshot::{Snapshot, SnapshotName, newest_good};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// How many interrupted attempts are kept; rsync takes 20 `--link-dest`.
const MOST_ATTEMPTS: usize = 5;
/// Where the kernel tells one boot from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl Place {
    /// Readies a fresh, empty tree, and opens it. `room` says whether so many
    /// percent of the space are free, `min_percent` how many must be, `listed` are
    /// the host's snapshots, `former` is the tree of this run's last attempt.
    pub(super) fn prepare(
        &self,
        room: &dyn Fn(u8) -> Result<(), StoreError>,
        min_percent: u8,
        listed: &[Snapshot],
        former: Option<&File>,
        stop: &AtomicBool,
    ) -> Result<(Workspace, File), StoreError> {
        if exists(self.root()) {
            self.make()?;
        }
        // Attempts that filled the disk must not stop all further ones, also
        // where nothing need be free.
        let attempts = exists(&self.incomplete()) || exists(&self.interrupted());
        if attempts && room(min_percent.max(1)).is_err() {
            self.give_up(stop)?;
        }
        room(min_percent)?;
        self.make()?;
        match self.set_aside(boot().as_deref(), former, stop) {
            // A quota, of which the room says nothing.
            Err(error) if is_full(&error) => self.give_up(stop)?,
            done => done.map_err(failed("set earlier attempts aside in", self.root()))?,
        }
        self.drop_unfinished(stop).map_err(failed("read", &self.snapshots()))?;
        let stuck = self.empty_trash(stop).err().map(|error| self.stuck(&error));
        go_on(stop)?;
        let destination = self.incomplete();
        DirBuilder::new().mode(0o700).create(&destination).map_err(failed("create", &destination))?;
        let tree = File::open(&destination).map_err(failed("open", &destination))?;
        let link_dest = self.link_dest(listed).map_err(failed("read", &self.interrupted()))?;
        // rsync sets its times at the end anyway.
        let precision = times::tried_on(&destination)?;
        let warnings = stuck.into_iter().collect();
        Ok((Workspace { destination, link_dest, precision, in_place: false, warnings }, tree))
    }

    /// Deletes all that unfinished attempts left.
    pub(super) fn give_up(&self, stop: &AtomicBool) -> Result<(), StoreError> {
        self.discard_attempts(stop)
            .and_then(|()| self.empty_trash(stop))
            .map_err(failed("delete earlier attempts in", self.root()))
    }

    /// Leaves an attempt for the next run, if it is still there.
    pub(super) fn leave(&self, attempt: &File) -> Result<(), StoreError> {
        let incomplete = self.incomplete();
        if is_at(attempt, &incomplete).is_err() || fs::remove_dir(&incomplete).is_ok() {
            return Ok(());
        }
        let left = flush(attempt).and_then(|()| is_at(attempt, &incomplete)).and_then(|()| self.interrupt());
        left.map_err(failed("keep for the next run", &incomplete))
    }

    /// Moves an unfinished tree to the interrupted ones, and gives up those
    /// that are too many, of another boot, or perhaps not whole.
    fn set_aside(&self, boot: Option<&str>, former: Option<&File>, stop: &AtomicBool) -> io::Result<()> {
        if boot.is_none() || fs::read_to_string(self.boot()).ok().as_deref() != boot {
            self.discard_attempts(stop)?;
            let text = boot.unwrap_or_default().as_bytes();
            // In its place: what is cut short first may find no room any more.
            let marker = private().open(self.boot())?;
            marker.write_all_at(text, 0)?;
            marker.set_len(text.len() as u64)?;
        }
        let incomplete = self.incomplete();
        if exists(&incomplete) && fs::remove_dir(&incomplete).is_err() {
            match former.filter(|own| is_at(own, &incomplete).and_then(|()| flush(own)).is_ok()) {
                Some(_) => self.interrupt()?,
                None => self.discard(&incomplete, stop)?,
            }
        }
        self.attempts()?.iter().skip(MOST_ATTEMPTS).try_for_each(|(_, tree)| self.discard(tree, stop))
    }

    /// Moves the unfinished tree, which is flushed, to the interrupted ones.
    fn interrupt(&self) -> io::Result<()> {
        make_dir(&self.interrupted())?;
        let next = self.attempts()?.first().map_or(1, |(number, _)| number.saturating_add(1));
        move_tree(&self.incomplete(), &self.interrupted().join(next.to_string()))
    }

    /// The interrupted attempts, newest first.
    fn attempts(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let entries = match fs::read_dir(self.interrupted()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut attempts = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            attempts.extend(number.map(|number| (number, path)));
        }
        attempts.sort_unstable_by(|a, b| b.cmp(a));
        Ok(attempts)
    }

    /// What a crash left between the steps of a commit, or of a removal: trees
    /// whose facts do not count yet, and facts without a tree.
    fn drop_unfinished(&self, stop: &AtomicBool) -> io::Result<()> {
        for entry in fs::read_dir(self.snapshots())? {
            let file = entry?.path();
            let name = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".json"));
            let Some(name) = name else { continue };
            if let Some(name) = name.strip_prefix('.').filter(|name| name.parse::<SnapshotName>().is_ok()) {
                if !exists(&self.facts(name)) {
                    self.discard(&self.tree(name), stop)?;
                }
                fs::remove_file(&file).or_else(unless_missing)?;
                continue;
            }
            if name.parse::<SnapshotName>().is_err() {
                continue;
            }
            let is_empty = || file.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() == 0);
            let is_ours = || list::facts(&file).is_ok_and(|facts| facts.is_some()) || is_empty();
            if !exists(&self.tree(name)) && is_ours() {
                fs::remove_file(&file).or_else(unless_missing)?;
            }
        }
        Ok(())
    }

    /// The newest good tree, the latest and the newest one if they are others, and
    /// what interrupted attempts left.
    fn link_dest(&self, listed: &[Snapshot]) -> io::Result<Vec<PathBuf>> {
        let newest = listed.iter().filter(|snapshot| snapshot.is_ours()).max_by_key(|snapshot| snapshot.time);
        // The newest good one may be dated in the future, and be old.
        let latest = fs::read_link(self.latest()).ok();
        let latest = latest.as_deref().and_then(Path::file_name).and_then(OsStr::to_str);
        let latest =
            listed.iter().find(|snapshot| snapshot.is_good() && Some(snapshot.name.as_str()) == latest);
        let wanted = latest.into_iter().chain(newest_good(listed)).chain(newest);
        let mut trees: Vec<PathBuf> = Vec::new();
        for tree in wanted.map(|snapshot| self.tree(&snapshot.name)) {
            if !trees.contains(&tree) {
                trees.push(tree);
            }
        }
        trees.extend(self.attempts()?.into_iter().map(|(_, tree)| tree));
        trees.retain(|tree| tree.is_dir());
        Ok(trees)
    }
}

fn boot() -> Option<String> {
    fs::read_to_string(BOOT_ID).ok()
}
