//! The story of one host's verification: its newest good snapshot, compared
//! with what the host has now, and read.
//!
//! Nothing is written, on either side, and no lock is taken: a run may go on
//! meanwhile. What is found is remembered until it is mended, and looked at
//! again each time. A snapshot that goes away while it is read stops the
//! verification with an error; it is no sign of a sick store.

mod files;
mod hosts;
mod sides;

pub use hosts::{Verifications, Verified, VerifyRequest};

use crate::app::admission::Turn;
use crate::core::format::text::{human_duration, printable};
use crate::core::model::host::{Host, HostName};
use crate::core::model::settings::Settings;
use crate::core::model::verification::{Matter, Stop, Verification};
use crate::edge::history::Findings;
use crate::edge::remote::RemoteFile;
use crate::edge::rsync::{Compared, Comparison, Likeness, Limits, Mismatch, TransferError};
use crate::edge::store::Store;
use crate::sys::clock::Clock;
use crate::sys::lock::Runtime;
use chrono::TimeDelta;
use files::{Entry, Fault, Found, Named, Pulse};
use sides::Sides;
use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long to wait before files that differ are compared again: one may just
/// have been written.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// The slowest disk whose checksums are waited for, in bytes a second: while
/// the host computes that of a large file, nothing comes from it.
const SLOWEST: u64 = 10 << 20;
/// How much later than the copy began a file's change time may be before it
/// counts as later.
const SLACK: TimeDelta = TimeDelta::seconds(5);
/// Which files are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// So many, chosen at random.
    Sample(NonZeroUsize),
    /// All of them.
    All,
}

/// What a verification has for all its hosts.
pub struct VerifyRun<S> {
    /// What the operator wants.
    pub settings: Settings,
    /// Where copies live.
    pub store: S,
    /// Control sockets.
    pub runtime: Runtime,
    /// The time.
    pub clock: Clock,
    /// Which files are compared.
    pub scope: Scope,
    /// Says when to stop.
    pub cancel: CancellationToken,
    /// Hears how hosts get on.
    pub watch: VerifyWatch,
}

/// Hears how a host gets on.
pub type VerifyWatch = Box<dyn Fn(&HostName, VerifyEvent)>;

/// How a host gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyEvent {
    /// It is at this step now.
    At(VerifyStep),
    /// So many files were looked at, and so many bytes read.
    Checked {
        /// Files of the snapshot.
        files: u64,
        /// Bytes of the snapshot.
        bytes: u64,
    },
    /// It is done.
    Done,
}

/// The steps that take time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyStep {
    /// Looking for the snapshot.
    Snapshot,
    /// Connecting and probing.
    Connect,
    /// Choosing files and comparing them.
    Compare,
    /// Looking again at those that differ.
    LookAgain,
}

/// Verifies one host, when its turn comes, and says what was found.
pub async fn host<S: Store>(run: &VerifyRun<S>, host: &Host, turn: Turn) -> Verification {
    let is_stopped = tokio::select! {
        biased;
        () = run.cancel.cancelled() => true,
        () = turn.come() => false,
    };
    let result = Verification::of(host.name.spelled(), run.clock.now());
    if is_stopped {
        return Verification { stop: Some(Stop::Interrupted), ..result };
    }
    let mut verification =
        HostVerification { run, host, turn, result, named: BTreeSet::new(), settled: BTreeSet::new() };
    verification.recall().await;
    let limit = run.settings.transfer.deadline;
    // All files of a large host may take longer than any run; there, what
    // stalls is noticed, and nothing else has an end.
    let too_late = async {
        match run.scope {
            Scope::Sample(_) => tokio::time::sleep(limit).await,
            Scope::All => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        biased;
        () = run.cancel.cancelled() => Err(Stop::Interrupted),
        end = verification.execute() => end,
        () = too_late => Err(Stop::Failed(format!(
            "it was not done within {} (`transfer.deadline`); choose fewer files with `--sample`",
            human_duration(limit)
        ))),
    };
    verification.result.stop = end.err();
    verification.remember().await;
    verification.result.finished = run.clock.now();
    (run.watch)(&host.name, VerifyEvent::Done);
    verification.result
}

struct HostVerification<'a, S> {
    run: &'a VerifyRun<S>,
    host: &'a Host,
    turn: Turn,
    result: Verification,
    /// The paths of open findings.
    named: BTreeSet<Vec<u8>>,
    /// Those of them that nothing is the matter with any more.
    settled: BTreeSet<Vec<u8>>,
}

fn failed(why: impl ToString) -> Stop {
    Stop::Failed(why.to_string())
}

impl<S: Store> HostVerification<'_, S> {
    async fn execute(&mut self) -> Result<(), Stop> {
        let sides = self.sides().await?;
        self.at(VerifyStep::Compare);
        self.compare_all(&sides).await.map_err(|stop| match stop {
            // Whatever it was that failed, this is why.
            Stop::Failed(_) if is_gone(&sides.root) => failed(
                "the snapshot was removed while it was read, as happens when a newer one takes its place: \
                 verify again",
            ),
            stop => stop,
        })
    }

    /// What earlier verifications found that is not mended.
    async fn recall(&mut self) {
        let host = self.host.name.key().to_owned();
        let asked = Findings::ask(&self.run.settings.state_dir, move |findings| findings.of(&host));
        match asked.await {
            Ok(open) => self.result.open = open,
            Err(error) => self.result.unrecorded = Some(error.to_string()),
        }
    }

    /// Remembers what was found, and forgets what is well by now.
    async fn remember(&mut self) {
        let tally = &self.result.tally;
        let bad =
            tally.different + tally.unreadable + tally.overlooked + tally.unreadable_there + tally.attributes;
        let all = self.run.scope == Scope::All && self.result.stop.is_none() && bad == 0;
        let told = u64::try_from(self.result.findings.len()).unwrap_or(u64::MAX);
        if self.result.unrecorded.is_some() || (bad == 0 && self.result.open.is_empty()) {
            return;
        }
        let (host, now, settled) =
            (self.host.name.key().to_owned(), self.run.clock.now(), self.settled.clone());
        let snapshot = self.result.snapshot.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
        let findings = self.result.findings.clone();
        let changing = Findings::ask(&self.run.settings.state_dir, move |register| {
            register.change(&host, |open| {
                open.close(&settled, None);
                open.open(&findings, &snapshot, now);
                if bad > told {
                    open.open_more(now);
                } else if all {
                    open.close_more();
                }
            })
        });
        match changing.await {
            Ok(open) => self.result.open = open,
            Err(error) => self.result.unrecorded = Some(error.to_string()),
        }
    }

    /// Compares what is open, whatever is drawn beside it.
    async fn compare_open(&mut self, sides: &Sides) -> Result<(), Stop> {
        self.named = self.result.open.paths().map(<[u8]>::to_vec).collect();
        if self.named.is_empty() {
            return Ok(());
        }
        let (task, pulse) = files::named(sides.root.clone(), self.named.iter().cloned().collect());
        let named = self.in_time(task, &pulse).await?;
        let Named { batches, other, faults } = named.map_err(failed)?;
        self.settled.extend(other);
        for fault in faults {
            self.fault(sides, fault)?;
        }
        for batch in batches {
            self.compare(sides, batch).await?;
        }
        Ok(())
    }

    /// Compares batch after batch, as the walk of the snapshot gives them.
    async fn compare_all(&mut self, sides: &Sides) -> Result<(), Stop> {
        self.compare_open(sides).await?;
        let (mut walk, pulse) = files::choose(sides.root.clone(), self.run.scope, self.named.clone());
        loop {
            match self.in_time(walk.recv(), &pulse).await? {
                Some(Found::Batch(entries)) => self.compare(sides, entries).await?,
                Some(Found::Others(entries)) => self.compare_others(sides, entries).await?,
                Some(Found::Fault(fault)) => self.fault(sides, fault)?,
                Some(Found::End { files, too_large }) => {
                    (self.result.tally.files, self.result.tally.too_large) = (files, too_large);
                    return Ok(());
                }
                None => return Err(failed("the walk of the snapshot broke off (a fault in this program)")),
            }
        }
    }

    /// Compares some files.
    async fn compare(&mut self, sides: &Sides, entries: Vec<Entry>) -> Result<(), Stop> {
        self.result.tally.files += entries.len() as u64;
        let quick = self.rsync(sides, &entries, false).await?;
        let unlike = entries.iter().zip(&quick.likeness).zip(quick.unlike);
        let unlike = unlike
            .filter(|((_, likeness), unlike)| **likeness == Some(Likeness::Alike) && !unlike.is_empty());
        let unlike: Vec<_> = unlike.map(|((entry, _), unlike)| (entry.clone(), unlike)).collect();
        self.judge_unlike(sides, unlike).await;
        let (mut alike, mut others, mut suspects) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, likeness) in entries.into_iter().zip(quick.likeness) {
            match likeness {
                Some(Likeness::Alike) => alike.push(entry),
                Some(Likeness::Resized) => suspects.push(entry),
                Some(Likeness::Uncopied) => self.count(sides, &entry, likeness)?,
                likeness => {
                    self.count(sides, &entry, likeness)?;
                    others.push(entry);
                }
            }
        }
        self.tell();
        // rsync reads the snapshot's side of those that it compares.
        let (contents, read) =
            tokio::join!(self.rsync(sides, &alike, true), self.read(sides.root.clone(), others));
        for (entry, likeness) in alike.into_iter().zip(contents?.likeness) {
            match likeness {
                Some(Likeness::Different | Likeness::Resized) => suspects.push(entry),
                likeness => self.count(sides, &entry, likeness)?,
            }
        }
        let read = read?;
        self.result.tally.bytes += read.bytes;
        // Such a file was counted as changed or gone; that its copy cannot be
        // read is worse, but no less true.
        for fault in read.faults {
            self.fault(sides, fault)?;
        }
        self.tell();
        if suspects.is_empty() { Ok(()) } else { self.look_again(sides, suspects).await }
    }

    /// Compares what is no regular file.
    async fn compare_others(&mut self, sides: &Sides, entries: Vec<Entry>) -> Result<(), Stop> {
        let found = self.rsync(sides, &entries, false).await?;
        self.result.tally.others += entries.len() as u64;
        let unlike = entries.into_iter().zip(found.unlike).filter(|(_, unlike)| !unlike.is_empty());
        self.judge_unlike(sides, unlike.collect()).await;
        self.tell();
        Ok(())
    }

    /// Takes what is not as on the host beside contents, unless the host has
    /// changed it since.
    async fn judge_unlike(&mut self, sides: &Sides, unlike: Vec<(Entry, Vec<Mismatch>)>) {
        if unlike.is_empty() {
            return;
        }
        let paths: Vec<&[u8]> = unlike.iter().map(|(entry, _)| entry.path.as_slice()).collect();
        let limit = self.run.settings.transfer.stall_timeout;
        let looks = sides.remote.changes(&self.host.settings.source, &paths, limit).await;
        let looks = looks.unwrap_or_else(|error| {
            warn!("cannot look closely at what differs: {error}");
            vec![RemoteFile::File { changed: None }; paths.len()]
        });
        for ((entry, unlike), look) in unlike.into_iter().zip(looks) {
            let RemoteFile::File { changed } = look else { continue };
            if changed.is_none_or(|changed| changed <= sides.begun - SLACK) {
                let unlike: Vec<String> = unlike.iter().map(Mismatch::to_string).collect();
                self.result.find(entry.path, Matter::Attributes(changed), Some(unlike.join(", ")));
            }
        }
    }

    /// Finds out what is behind files that have their copies' time and other
    /// contents.
    async fn look_again(&mut self, sides: &Sides, suspects: Vec<Entry>) -> Result<(), Stop> {
        self.at(VerifyStep::LookAgain);
        // rsync takes a copy that cannot be read for one with other contents.
        let read = self.read(sides.root.clone(), suspects.clone()).await?;
        self.result.tally.bytes += read.bytes;
        let mut suspects = suspects;
        for fault in read.faults {
            suspects.retain(|entry| entry.path != fault.path);
            self.result.tally.sampled += 1;
            self.fault(sides, fault)?;
        }
        tokio::time::sleep(SECOND_LOOK).await;
        let again = self.rsync(sides, &suspects, true).await?;
        let (mut different, mut resized) = (Vec::new(), Vec::new());
        for (entry, likeness) in suspects.into_iter().zip(again.likeness) {
            match likeness {
                Some(Likeness::Different) => different.push(entry),
                Some(Likeness::Resized) => resized.push(entry),
                likeness => self.count(sides, &entry, likeness)?,
            }
        }
        let same_size = different.len();
        different.append(&mut resized);
        let looks = self.look(sides, &different).await;
        for (place, (entry, look)) in different.into_iter().zip(looks).enumerate() {
            let matter = match look {
                RemoteFile::Gone => {
                    self.count(sides, &entry, None)?;
                    continue;
                }
                RemoteFile::Unreadable => Matter::UnreadableThere,
                // Runs see such a change, so that it may have been during the copy.
                RemoteFile::File { changed: Some(changed) }
                    if place >= same_size && changed > sides.begun - SLACK =>
                {
                    self.count(sides, &entry, Some(Likeness::Changed))?;
                    continue;
                }
                RemoteFile::File { changed } if place >= same_size => Matter::Resized(changed),
                RemoteFile::File { changed: Some(changed) } if changed > sides.begun + SLACK => {
                    Matter::Overlooked(changed)
                }
                RemoteFile::File { changed } => Matter::Different(changed),
            };
            self.result.tally.sampled += 1;
            self.result.find(entry.path, matter, None);
        }
        self.at(VerifyStep::Compare);
        self.tell();
        Ok(())
    }

    /// One comparison by rsync, in the order of the entries.
    async fn rsync(&self, sides: &Sides, entries: &[Entry], contents: bool) -> Result<Compared, Stop> {
        if entries.is_empty() {
            return Ok(Compared::default());
        }
        let comparison = Comparison {
            source: self.host.settings.source.clone(),
            copy: sides.root.clone(),
            precision: sides.precision,
            rsh: sides.remote.rsh(),
            rsync_path: sides.remote.rsync_path(),
            contents,
        };
        let transfer = &self.run.settings.transfer;
        let bytes = if contents { entries.iter().map(|entry| entry.size).sum() } else { 0 };
        let limits = Limits {
            stall_timeout: transfer.stall_timeout + Duration::from_secs(bytes / SLOWEST),
            deadline: Instant::now() + transfer.deadline + Duration::from_secs(bytes / SLOWEST),
            cancel: &self.run.cancel,
        };
        let paths: Vec<&[u8]> = entries.iter().map(|entry| entry.path.as_slice()).collect();
        match comparison.run(&paths, limits).await {
            Ok(compared) => {
                compared.complaints.iter().for_each(|complaint| warn!("{complaint}"));
                Ok(compared)
            }
            Err(TransferError::Cancelled) => Err(Stop::Interrupted),
            Err(TransferError::Deadline) => {
                Err(failed("rsync was not done when `transfer.deadline` had passed"))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Looks closely at files of the host. Where that cannot be done, they are
    /// what rsync takes them for.
    async fn look(&self, sides: &Sides, entries: &[Entry]) -> Vec<RemoteFile> {
        let unknown = || vec![RemoteFile::File { changed: None }; entries.len()];
        if entries.is_empty() {
            return Vec::new();
        }
        let paths: Vec<&[u8]> = entries.iter().map(|entry| entry.path.as_slice()).collect();
        let bytes: u64 = entries.iter().map(|entry| entry.size).sum();
        let limit = self.run.settings.transfer.stall_timeout + Duration::from_secs(bytes / SLOWEST);
        let looks = sides.remote.look(&self.host.settings.source, &paths, limit).await;
        looks.unwrap_or_else(|error| {
            warn!("cannot look closely at the files that differ: {error}");
            unknown()
        })
    }

    /// Reads files of the snapshot to their ends.
    async fn read(&self, root: PathBuf, entries: Vec<Entry>) -> Result<files::Reading, Stop> {
        let (task, pulse) = files::read(root, entries);
        let reading = self.in_time(task, &pulse).await?;
        reading.map_err(|error| failed(format!("reading the snapshot broke off: {error}")))
    }

    /// Waits for work on another thread for as long as it gets on.
    async fn in_time<T>(&self, work: impl Future<Output = T>, pulse: &Pulse) -> Result<T, Stop> {
        let limit = self.run.settings.transfer.stall_timeout;
        let mut work = std::pin::pin!(work);
        let (mut last, mut since) = (pulse.count(), Instant::now());
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep(limit / 8) => {
                    let now = pulse.count();
                    if now != last {
                        (last, since) = (now, Instant::now());
                    } else if since.elapsed() >= limit {
                        return Err(failed(format!(
                            "nothing could be read from the snapshot for {} (`stall_timeout`); does the store's \
                             disk hang?",
                            human_duration(limit)
                        )));
                    }
                }
            }
        }
    }

    /// Counts a file that nothing is the matter with.
    fn count(&mut self, sides: &Sides, entry: &Entry, likeness: Option<Likeness>) -> Result<(), Stop> {
        let tally = &mut self.result.tally;
        tally.sampled += 1;
        match likeness {
            None => tally.gone += 1,
            Some(Likeness::Alike) => {
                tally.identical += 1;
                tally.bytes += entry.size;
                if self.named.contains(&entry.path) {
                    self.settled.insert(entry.path.clone());
                }
            }
            Some(Likeness::Changed | Likeness::Different | Likeness::Resized) => tally.changed += 1,
            // The walk has seen it there.
            Some(Likeness::Uncopied) => {
                return self
                    .fault(sides, Fault { path: entry.path.clone(), error: io::ErrorKind::NotFound.into() });
            }
        }
        Ok(())
    }

    /// Takes something that cannot be read, unless it is the whole snapshot
    /// that is gone.
    fn fault(&mut self, sides: &Sides, fault: Fault) -> Result<(), Stop> {
        let left =
            matches!(fault.error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle);
        if left && is_gone(&sides.root) {
            return Err(failed("the snapshot is gone"));
        }
        debug!("{}: {}", printable(&String::from_utf8_lossy(&fault.path)), fault.error);
        self.result.find(fault.path, Matter::Unreadable, Some(fault.error.to_string()));
        Ok(())
    }

    fn at(&self, step: VerifyStep) {
        (self.run.watch)(&self.host.name, VerifyEvent::At(step));
    }

    fn tell(&self) {
        let tally = &self.result.tally;
        (self.run.watch)(&self.host.name, VerifyEvent::Checked { files: tally.sampled, bytes: tally.bytes });
    }
}

/// Whether a tree is not there any more.
fn is_gone(root: &Path) -> bool {
    matches!(
        root.symlink_metadata().map_err(|error| error.kind()),
        Err(io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle)
    )
}
