//! The copy itself: what rsync is told, and what happens when the connection is
//! lost.

use super::inplace::shared;
use super::{Event, HostRun, Step, failed};
use crate::core::filter::{Apart, NotAPattern, Rule};
use crate::core::model::outcome::{Outcome, Severity, Stage};
use crate::core::model::snapshot::{Snapshot, baseline};
use crate::edge::remote::{Probe, Remote};
use crate::edge::rsync::{
    Job, Limits, Parted, Progress, Statistics, Transfer, TransferError, What, Writing, parted,
};
use crate::edge::store::{Store, Survey, Workspace};
use crate::sys::lock::HostLock;
use std::convert::Infallible;
use std::fs::File;
use std::path::{Path, PathBuf};
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// What a copy lacks in which a file may be torn.
const VANISHED_TWICE: &str = "files that are written in place vanished twice while they were copied, and what \
    was there of them may be torn";

/// How often a copy is tried again because a file has too many names. An attempt
/// for each is set aside meanwhile, fewer than the directory store keeps.
const LINKED_TRIES: u32 = 4;

/// What is copied, by which rsync.
struct Tree {
    /// What is written in place.
    apart: Apart,
    /// The rules of the rsync that copies all else.
    rules_of_others: PathBuf,
    /// The rules of the one that writes in place, if there is anything for it.
    rules_of_these: Option<PathBuf>,
}

/// What one try to copy has at hand.
pub(super) struct Try<'a> {
    pub(super) remote: &'a Remote,
    pub(super) workspace: &'a Workspace,
    max_delete: Option<u64>,
    /// The host's lock, which all that writes its copy holds too.
    lock: &'a HostLock,
}

impl Try<'_> {
    pub(super) fn share_lock(&self) -> Result<File, TransferError> {
        self.lock.share().map_err(|error| TransferError::NotLocked(error.to_string()))
    }
}

impl<S: Store> HostRun<'_, S> {
    /// How many files may be deleted in the copy. Where no good run says how
    /// many there were, they are counted.
    async fn max_delete(&self, workspace: &Workspace, survey: &Survey) -> Option<u64> {
        if !workspace.in_place {
            return None;
        }
        let facts = baseline(survey.of(&self.host.name), self.run.clock.now()).and_then(Snapshot::facts);
        let baseline = match facts.and_then(|facts| facts.files) {
            Some(files) => Some(files),
            None => {
                let counted = async { Ok(count_entries(workspace.destination.clone()).await) };
                Some(self.in_time(counted).await.unwrap_or(0))
            }
        };
        self.guard().delete_budget(baseline)
    }

    /// Copies; a lost connection is made again and the copy tried again, as
    /// often as the operator wants.
    pub(super) async fn transfer(
        &mut self,
        remote: &mut Remote,
        probe: &Probe,
        workspace: &mut Workspace,
        survey: &Survey,
        lock: &HostLock,
    ) -> Result<Transfer, Outcome> {
        let read = Instant::now();
        let (rules, mounts) = self.rules(probe).await?;
        let apart = match workspace.in_place {
            true => self.apart(remote, probe, &mounts).await?,
            // A fresh tree has nothing to write into.
            false => Apart::default(),
        };
        let tree = self.tree(apart, &rules)?;
        let settings = &self.run.settings.transfer;
        let mut first = None;
        let (mut lost, mut linked) = (0, 0);
        loop {
            // To count what is there may take as long as to copy what changed.
            self.at(Step::Transfer);
            let max_delete = self.max_delete(workspace, survey).await;
            let try_ = Try { remote: &*remote, workspace: &*workspace, max_delete, lock };
            let copied = match self.both(&try_, &tree, &mut first).await {
                Ok(copied) => self.copy_anew(&try_, copied).await,
                Err(error) => Err(error),
            };
            let error = match copied {
                Ok(transfer) => {
                    self.transfers.push(transfer.ending.to_string());
                    return self.looked_again(transfer, remote, probe, (&mounts, &rules), read).await;
                }
                Err(error) => error,
            };
            if let TransferError::NotLocked(why) = error {
                return Err(failed(Stage::Lock, why));
            }
            self.transfers.push(error.to_string());
            match error {
                TransferError::Cancelled => return Err(Outcome::Interrupted),
                TransferError::ConnectionLost(why) if lost < settings.retries => {
                    *remote = self.reconnect(why, &mut lost).await?;
                    *workspace = self.prepare(survey).await?;
                }
                TransferError::TooManyLinks(why) if linked < LINKED_TRIES => {
                    linked += 1;
                    *workspace = self.without_links(why, linked, survey).await?;
                }
                TransferError::StoreFull(_) => {
                    // What was copied would leave no room for the other hosts.
                    if let Err(refusal) = self.in_time(self.run.store.give_up(&self.host.name)).await {
                        warn!("{refusal}");
                    }
                    return Err(failed(Stage::Transfer, error));
                }
                error => return Err(failed(Stage::Transfer, error)),
            }
        }
    }

    /// Readies the next try after one in which a file got as many names as the
    /// store's filesystem allows. They stay with the attempt that is set aside: in
    /// the next, rsync finds that there can be no more, copies that file from there
    /// and gives the names to the copy. Each try may meet one more such file, so the
    /// last does without former copies.
    async fn without_links(
        &mut self,
        why: String,
        linked: u32,
        survey: &Survey,
    ) -> Result<Workspace, Outcome> {
        if linked == 1 {
            let text = "a file has more names, with those in former copies, than the store's filesystem allows \
                        for one file; it is kept once more";
            self.note(Severity::Ok, text);
        }
        debug!("{why}");
        let mut workspace = self.prepare(survey).await?;
        if linked == LINKED_TRIES {
            info!("copied whole, without `--link-dest`: too many files have more names than are allowed");
            workspace.link_dest.clear();
        }
        Ok(workspace)
    }

    /// Writes down what each of the two rsyncs is to copy.
    fn tree(&self, apart: Apart, rules: &[Rule]) -> Result<Tree, Outcome> {
        let write = |kind: &str, rules: Result<Vec<u8>, NotAPattern>| {
            let unfit =
                |error| failed(Stage::Transfer, format!("cannot pass a path of `inplace` to rsync: {error}"));
            let rules = rules.map_err(unfit)?;
            let file = self.run.runtime.file_for(&self.host.name, kind);
            let written = std::fs::write(&file, rules);
            let why = |error| format!("cannot write `{}`: {error}", file.display());
            written.map_err(|error| failed(Stage::Transfer, why(error)))?;
            Ok(file)
        };
        let rules_of_others = write("rules", apart.for_the_others(rules))?;
        let rules_of_these = match apart.is_empty() {
            true => None,
            false => Some(write("rules-inplace", apart.for_these(rules))?),
        };
        Ok(Tree { apart, rules_of_others, rules_of_these })
    }

    /// One try: all that is written anew, then, if there is any, what is
    /// written in place. `first` is the outcome of the former as soon as it has
    /// one, and is then not done again.
    ///
    /// A file that is written in place is torn until it is done. So a try that
    /// ends in between is an error, after which no snapshot is taken. If the next
    /// one lists a torn file, which goes from the host before it is read, the
    /// file has vanished, no more, and rsync leaves it in the copy as it is. The
    /// same once more lists it no longer, and deletes it.
    async fn both(
        &self,
        try_: &Try<'_>,
        tree: &Tree,
        first: &mut Option<Transfer>,
    ) -> Result<Transfer, TransferError> {
        let Try { workspace, max_delete, .. } = *try_;
        let settings = &self.run.settings.transfer;
        let pass = async |rules: &Path, writing, before: Statistics| {
            let max_delete = max_delete.map(|limit| limit.saturating_sub(before.deleted));
            let job = Job { max_delete, ..self.job(try_, What::Tree(rules.to_owned()), writing)? };
            let limits = Limits {
                stall_timeout: settings.stall_timeout,
                deadline: self.deadline,
                cancel: &self.run.cancel,
            };
            let before = Progress { bytes: before.changed_bytes, files: before.changed };
            job.run(limits, |progress| {
                (self.run.watch)(&self.host.name, Event::Copied(before + progress));
            })
            .await
        };
        let others = match first {
            Some(done) => done.clone(),
            None => {
                let (rules, none) = (&tree.rules_of_others, Statistics::default());
                let once = pass(rules, Writing::Anew, none).await?;
                if once.source_changed() && !self.refusals.is_empty() {
                    // It may have been written in place, and torn, in a run
                    // before.
                    let again = pass(rules, Writing::Anew, once.statistics).await?;
                    once.then(again)
                } else {
                    once
                }
            }
        };
        let Some(rules) = &tree.rules_of_these else { return Ok(others) };
        *first = Some(others.clone());
        let done = others.statistics;
        let parted = self.parted(try_, tree).await?;
        let once = pass(rules, Writing::InPlace(parted), done).await?;
        let these = if once.source_changed() {
            debug!("in place: {}; once more, since what vanished may be torn", once.ending);
            let done = done.and(once.statistics, 0);
            let parted = self.parted(try_, tree).await?;
            let again = pass(rules, Writing::InPlace(parted), done).await?;
            let is_whole = !again.source_changed();
            let both = once.then(again);
            if is_whole { both } else { both.incomplete(VANISHED_TWICE) }
        } else {
            once
        };
        debug!("in place: {}, {} files", these.ending, these.statistics.files);
        Ok(others.and(these, shared(&tree.apart, &workspace.destination)))
    }

    /// One rsync of a try.
    pub(super) fn job(&self, try_: &Try<'_>, what: What, writing: Writing) -> Result<Job, TransferError> {
        let settings = &self.run.settings.transfer;
        Ok(Job {
            source: self.host.settings.source.clone(),
            destination: try_.workspace.destination.clone(),
            link_dest: try_.workspace.link_dest.clone(),
            precision: try_.workspace.precision,
            what,
            rsh: try_.remote.rsh(),
            rsync_path: try_.remote.rsync_path(),
            max_delete: None,
            writing,
            compress: settings.compress,
            bandwidth_limit: settings.bandwidth_limit.clone(),
            lock: try_.share_lock()?,
        })
    }

    /// Parts the names in the copy of what is to be written in place.
    async fn parted(&self, try_: &Try<'_>, tree: &Tree) -> Result<Parted, TransferError> {
        let paths = tree.apart.paths().map(<[u8]>::to_vec).collect();
        let lock = try_.share_lock()?;
        let parted = tokio::select! {
            parted = parted(try_.workspace.destination.clone(), paths, lock) => parted?,
            never = self.stay_connected(try_.remote) => match never {},
            () = tokio::time::sleep_until(self.deadline) => return Err(TransferError::Deadline),
            () = self.run.cancel.cancelled() => return Err(TransferError::Cancelled),
        };
        if parted.removed() > 0 {
            debug!("{} names of linked files were removed, to be written in place", parted.removed());
        }
        Ok(parted)
    }

    /// Keeps the connection in use while the host has nothing to do. One that
    /// is lost meanwhile is no fault yet: the next to use it will tell.
    pub(super) async fn stay_connected(&self, remote: &Remote) -> Infallible {
        loop {
            tokio::time::sleep(self.run.fresh).await;
            (self.run.watch)(&self.host.name, Event::AskedAgain);
            remote.touch().await;
        }
    }

    /// Makes a lost connection again. What took it away may still be there: a try
    /// that does not get as far as a connection is one of those that the operator
    /// wants, not the last.
    async fn reconnect(&mut self, why: String, lost: &mut u32) -> Result<Remote, Outcome> {
        let connect = async |run: &mut Self| run.connect().await;
        match self.try_again("the connection was lost", why, lost, connect).await {
            Err(Outcome::Failed { stage, why }) => {
                let why = format!("the connection was lost and could not be restored: {why}");
                Err(failed(stage, why))
            }
            other => other,
        }
    }
}

/// Counts the entries of a tree. One that cannot be read counts as empty, so
/// that nothing may be deleted in it. A dataset may show its snapshots in
/// `.zfs` (`snapdir=visible`), every former state of the tree: they are not
/// rsync's to delete, and to look at one mounts it.
async fn count_entries(root: PathBuf) -> u64 {
    let count = move || {
        let snapshots = root.join(".zfs");
        let mut directories = vec![root];
        let mut entries = 1;
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).ok()? {
                let entry = entry.ok()?;
                if entry.path() == snapshots {
                    continue;
                }
                entries += 1;
                if entry.file_type().ok()?.is_dir() {
                    directories.push(entry.path());
                }
            }
        }
        Some(entries)
    };
    tokio::task::spawn_blocking(count).await.ok().flatten().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn the_snapshots_that_a_dataset_shows_are_not_counted_as_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path| dir.path().join(path);
        for folder in ["etc", "srv/.zfs", ".zfs/snapshot/backup-daily-2024-07-14/etc"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["etc/fstab", "srv/.zfs/file", ".zfs/snapshot/backup-daily-2024-07-14/etc/fstab"] {
            fs::write(at(file), "").unwrap();
        }
        // The tree itself, etc, fstab, srv, and what only has that name.
        assert_eq!(count_entries(dir.path().to_owned()).await, 6);
    }

    #[tokio::test]
    async fn a_tree_that_cannot_be_read_counts_as_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(count_entries(dir.path().join("gone")).await, 0);
    }
}
