//! One rsync: its arguments, its progress, and what its end means.
//!
//! Never `--inplace` together with `--hard-links`: the two give one file's bytes
//! to another, with exit 0. [`Writing`] is either, and what writes in place
//! must show that no file in its way has a second name. The exit's number is
//! looked at here and nowhere else.

mod anew;
mod arguments;
mod broken_links;
mod capabilities;
mod compare;
mod confined;
mod error;
mod judge;
mod lines;
mod reason;
mod restore;
mod stats;
mod unkept;

pub use anew::{TakenOut, take_out};
pub use broken_links::{Parted, found, parted};
pub use compare::{Compared, Comparison, Likeness, Mismatch};
pub use confined::Confinement;
pub use error::TransferError;
pub use restore::{Existing, Restore, RestorePreview};
pub use stats::{Progress, Statistics};
pub use unkept::Unkept;

use arguments::{Arguments, Heeding, Reached, with_slash};
use judge::judge;

use crate::core::model::precision::Precision;
use crate::sys::process::{Output, Piece, Program, Running};
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between asking rsync to end and killing it.
const GRACE: Duration = Duration::from_secs(3);
/// How many of rsync's complaints are told.
const COMPLAINTS: usize = 5;

/// What to copy, from where, to where.
#[derive(Debug)]
pub struct Job {
    /// The directory to copy, absolute.
    pub source: String,
    /// Where the copy goes.
    pub destination: PathBuf,
    /// Trees whose unchanged files the copy may share.
    pub link_dest: Vec<PathBuf>,
    /// Which of it.
    pub what: What,
    /// To what times are compared.
    pub precision: Precision,
    /// rsync's `--rsh`; `None` copies on this machine.
    pub rsh: Option<String>,
    /// rsync's `--rsync-path`.
    pub rsync_path: Option<&'static str>,
    /// At most so many files may be deleted.
    pub max_delete: Option<u64>,
    /// How files get their new contents.
    pub writing: Writing,
    /// Compress on the wire.
    pub compress: bool,
    /// rsync's `--bwlimit`.
    pub bandwidth_limit: Option<String>,
    /// The host's lock, which rsync holds as its standard input, so that a
    /// host stays locked for as long as anything writes its copy.
    pub lock: File,
}

/// Which of a directory is copied.
#[derive(Debug)]
pub enum What {
    /// All that the filter rules in this file let in, each ended by a NUL; what
    /// they do not is deleted in the copy.
    Tree(PathBuf),
    /// The files alone that this file names, each ended by a NUL. Nothing is
    /// deleted, and directories stay as they are.
    Only(PathBuf),
}

/// How the files of a copy get their new contents.
#[derive(Debug)]
pub enum Writing {
    /// A changed file is written anew and takes the old one's place. Files that
    /// are one on the host are one in the copy.
    Anew,
    /// What has changed in a file is written into it, so that a snapshot before
    /// it shares the rest. Each name is a file of its own. A file is torn while
    /// it is written; its time is set last, so that the next run sees it.
    InPlace(Parted),
}

/// What rsync compares at a time in files that are written in place, in bytes:
/// the most that it takes, and the size of ZFS's records unless told otherwise.
/// So a change rewrites the records that it lies in and none beside them
/// (docs/decisions/0018-in-place.md).
const BLOCK: &str = "--block-size=131072";

/// When a transfer is given up.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// No byte moved for so long.
    pub stall_timeout: Duration,
    /// At this moment.
    pub deadline: Instant,
    /// When the run is to stop.
    pub cancel: &'a CancellationToken,
}

/// A copy that was made, and how whole it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// How rsync ended.
    pub ending: Ending,
    /// Its figures.
    pub statistics: Statistics,
    /// Whether it stopped deleting because there was too much to delete.
    pub stopped_deleting: bool,
    /// How many files vanished while they were copied.
    pub vanished: usize,
    /// The first things that rsync complained of besides, safe to print.
    pub complaints: Vec<String>,
    /// How many more there were.
    pub further_complaints: usize,
    /// What helps, where our side's filesystem is not made for what it got.
    pub advice: Option<&'static str>,
    /// The extended attributes that it lacks.
    pub unkept: Option<Unkept>,
}

impl Transfer {
    /// What there is to say where there was nothing to copy.
    pub fn nothing() -> Self {
        Transfer {
            ending: Ending::Complete,
            statistics: Statistics::default(),
            stopped_deleting: false,
            vanished: 0,
            complaints: Vec::new(),
            further_complaints: 0,
            advice: None,
            unkept: None,
        }
    }

    /// This copy and another of the same host's as one; `shared` directories
    /// are in both.
    #[must_use]
    pub fn and(mut self, other: Transfer, shared: u64) -> Self {
        self.ending = self.ending.max(other.ending);
        self.statistics = self.statistics.and(other.statistics, shared);
        self.stopped_deleting |= other.stopped_deleting;
        self.vanished += other.vanished;
        self.complaints.extend(other.complaints);
        self.further_complaints +=
            other.further_complaints + self.complaints.len().saturating_sub(COMPLAINTS);
        self.complaints.truncate(COMPLAINTS);
        self.advice = self.advice.or(other.advice);
        self.unkept = match (self.unkept, other.unkept) {
            (Some(one), Some(other)) => Some(Unkept { further: one.further + other.further + 1, ..one }),
            (one, other) => one.or(other),
        };
        self
    }

    /// This copy and the same once more, right after it, as one.
    #[must_use]
    pub fn then(self, again: Transfer) -> Self {
        let statistics = self.statistics.then(again.statistics);
        Transfer { statistics, ..self.and(again, 0) }
    }

    /// This copy, of which rsync complained for nothing but these attributes.
    fn without(mut self, unkept: Option<Unkept>) -> Self {
        if self.ending == Ending::Incomplete && unkept.is_some() {
            self.ending = Ending::WithoutAttributes;
            self.unkept = unkept;
        }
        self
    }

    /// Whether all was copied but for files that vanished meanwhile.
    pub fn source_changed(&self) -> bool {
        match self.ending {
            Ending::SourceChanged => true,
            Ending::WithoutAttributes => self.vanished > 0,
            _ => false,
        }
    }

    /// This copy, which is not whole for a reason that rsync does not know of.
    #[must_use]
    pub fn incomplete(mut self, why: &str) -> Self {
        self.ending = Ending::Incomplete;
        self.complaints.insert(0, why.to_owned());
        self
    }
}

/// How a copy ended that is worth a snapshot; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// All of it is there.
    Complete,
    /// Files vanished while they were copied, as they do on a living host.
    SourceChanged,
    /// All contents are there, and not all extended attributes.
    WithoutAttributes,
    /// The limit on deletions was reached.
    TooManyDeletions,
    /// Some files could not be read, or not be written in all their attributes.
    Incomplete,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Ending::Complete => "everything was copied (exit 0)",
            Ending::SourceChanged => "everything was copied that did not vanish meanwhile (exit 24)",
            Ending::WithoutAttributes => "everything was copied but for some extended attributes (exit 23)",
            Ending::Incomplete => "some files could not be copied (exit 23)",
            Ending::TooManyDeletions => "the limit on deletions was reached (exit 25)",
        })
    }
}

impl Job {
    fn reached(&self) -> Reached<'_> {
        Reached {
            rsh: self.rsh.as_deref(),
            rsync_path: self.rsync_path,
            compress: self.compress,
            bandwidth_limit: self.bandwidth_limit.as_deref(),
        }
    }

    /// rsync's arguments.
    fn arguments(&self) -> Vec<OsString> {
        let flags = ["-aA", "--stats", "--no-h", "--info=progress2", "--from0"];
        let mut args = Arguments::new(&flags, Heeding::Receiver);
        args.times(self.precision);
        match self.writing {
            Writing::Anew => args.flags(&["--hard-links", "--sparse"]),
            // Without --sparse: with it, rsync 3.2.7 leaves bytes of the old
            // file where zeros belong, with exit 0. ZFS keeps no zeros of a
            // dataset with compression.
            Writing::InPlace(_) => args.flags(&["--inplace", "--no-whole-file", BLOCK]),
        }
        match &self.what {
            What::Tree(rules) => {
                args.flags(&["--delete", "--delete-excluded"]);
                // In the root of a dataset this name is taken by its snapshots, shown
                // (`snapdir=visible`) or not: whatever a host calls so is not to be
                // written there, nor anything there to be removed.
                args.flags(&["--filter=hide /.zfs", "--filter=protect /.zfs"]);
                args.valued("--filter=merge ", rules);
            }
            What::Only(list) => {
                args.valued("--files-from=", list);
                // One that has just gone has gone, no more.
                args.flags(&["--no-implied-dirs", "--ignore-missing-args"]);
            }
        }
        for tree in &self.link_dest {
            args.valued("--link-dest=", tree);
        }
        if !self.link_dest.is_empty() {
            args.flags(&[capabilities::FORMAT]);
        }
        if let Some(limit) = self.max_delete {
            args.valued("--max-delete=", limit.to_string());
        }
        let far = self.reached();
        args.between(far, [far.contents(self.source.as_ref())], with_slash(&self.destination))
    }

    /// Copies, telling `progress` now and then how far it is.
    pub async fn run(
        self,
        limits: Limits<'_>,
        mut progress: impl FnMut(Progress),
    ) -> Result<Transfer, TransferError> {
        let lock = self.lock.try_clone().map_err(|error| TransferError::NotLocked(error.to_string()))?;
        let program = Program::new("rsync").args(self.arguments()).called("rsync").input_file(lock);
        let mut figures = stats::Reader::default();
        let mut copied_here = capabilities::Reader::default();
        let mut unkept = unkept::Reader::new(&self.destination);
        let output = watched_whole(program, limits, |piece| match piece {
            Piece::Stderr(chunk) => unkept.take(&chunk),
            Piece::Stdout(chunk) => {
                copied_here.take(&chunk);
                if let Some(now) = figures.take(&chunk) {
                    progress(now);
                }
            }
        })
        .await?;
        let transfer = judge(&output, &figures)?.without(unkept.all_there_is());
        let paths = copied_here.paths();
        if paths.is_empty() { Ok(transfer) } else { self.put_back(paths, transfer, limits).await }
    }

    /// Gives files the capabilities that they lost on the way.
    async fn put_back(
        self,
        paths: Vec<Vec<u8>>,
        transfer: Transfer,
        limits: Limits<'_>,
    ) -> Result<Transfer, TransferError> {
        let Job { destination, link_dest, precision, lock, .. } = self;
        let work = tokio::task::spawn_blocking(move || {
            // The host stays locked for as long as its copy is written to.
            let _locked = lock;
            capabilities::put_back(&destination, &link_dest, &paths, precision)
        });
        let done = tokio::select! {
            done = work => done.unwrap_or_else(|error| Err(error.to_string())),
            () = tokio::time::sleep_until(limits.deadline) => return Err(TransferError::Deadline),
            () = limits.cancel.cancelled() => return Err(TransferError::Cancelled),
        };
        Ok(match done {
            Ok(count) => {
                if count > 0 {
                    tracing::debug!(
                        "{count} files got back the capabilities that they lost with their former owner"
                    );
                }
                transfer
            }
            Err(why) => transfer.incomplete(&why),
        })
    }
}

/// Runs rsync to its end, handing on what it says on stdout, or until a limit
/// is reached.
async fn watched(
    program: Program,
    limits: Limits<'_>,
    mut heard: impl FnMut(&[u8]),
) -> Result<Output, TransferError> {
    watched_whole(program, limits, |piece| match piece {
        Piece::Stdout(chunk) => heard(&chunk),
        Piece::Stderr(_) => {}
    })
    .await
}

/// [`watched`], handing on stderr as well.
async fn watched_whole(
    program: Program,
    limits: Limits<'_>,
    mut heard: impl FnMut(Piece),
) -> Result<Output, TransferError> {
    let mut running = program.start()?;
    let mut watchdog = Watchdog::new(&running, limits.stall_timeout);
    let end = loop {
        tokio::select! {
            biased;
            () = limits.cancel.cancelled() => break Err(TransferError::Cancelled),
            () = tokio::time::sleep_until(limits.deadline) => break Err(TransferError::Deadline),
            () = tokio::time::sleep_until(watchdog.next_look) => if watchdog.barks(&running) {
                break Err(TransferError::Stalled(limits.stall_timeout));
            },
            piece = running.next_piece() => match piece? {
                Some(piece) => heard(piece),
                None => break Ok(()),
            },
        }
    };
    match end {
        Err(error) => {
            running.stop(GRACE).await;
            Err(error)
        }
        Ok(()) => Ok(running.end().await),
    }
}

/// Watches that anything happens: files, pipes, the connection and the
/// processor together, so that a long look at unchanged files is no stall.
struct Watchdog {
    limit: Duration,
    last: u64,
    since: Instant,
    next_look: Instant,
}

impl Watchdog {
    fn new(running: &Running, limit: Duration) -> Self {
        let now = Instant::now();
        Watchdog { limit, last: running.activity(), since: now, next_look: now + limit / 8 }
    }

    /// Looks, and says whether nothing has moved for too long.
    fn barks(&mut self, running: &Running) -> bool {
        let now = Instant::now();
        let moved = running.activity();
        if moved != self.last {
            (self.last, self.since) = (moved, now);
        }
        self.next_look = now + self.limit / 8;
        now.duration_since(self.since) >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::Exit;
    use std::os::unix::fs::PermissionsExt;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in ["source", "copy"] {
                std::fs::create_dir(dir.path().join(name)).unwrap();
            }
            std::fs::write(dir.path().join("rules"), "").unwrap();
            Place { dir }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn job(&self) -> Job {
            Job {
                source: self.path("source").to_str().unwrap().to_owned(),
                destination: self.path("copy"),
                link_dest: Vec::new(),
                what: What::Tree(self.path("rules")),
                precision: Precision::Nanoseconds,
                rsh: None,
                rsync_path: None,
                max_delete: None,
                writing: Writing::Anew,
                compress: true,
                bandwidth_limit: None,
                lock: File::create(self.path("lock")).unwrap(),
            }
        }
    }

    #[tokio::test]
    async fn what_writes_in_place_keeps_no_hard_links_and_what_keeps_hard_links_does_not() {
        let place = Place::new();
        let arguments = |writing| {
            let arguments = Job { writing, ..place.job() }.arguments();
            arguments.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>()
        };
        let lock = File::open("/dev/null").unwrap();
        let parted = parted(place.path("copy"), Vec::new(), lock).await.unwrap();
        let (anew, in_place) = (arguments(Writing::Anew), arguments(Writing::InPlace(parted)));
        let of_in_place = ["--inplace", "--no-whole-file", "--block-size=131072"];
        let of_anew = ["--hard-links", "--sparse"];
        for (option, alone) in of_in_place.map(|o| (o, true)).into_iter().chain(of_anew.map(|o| (o, false))) {
            assert_eq!(in_place.iter().any(|word| word == option), alone, "{option}: {in_place:?}");
            assert_eq!(anew.iter().any(|word| word == option), !alone, "{option}: {anew:?}");
        }
        let short = |words: &[String]| {
            words.iter().filter(|word| !word.starts_with("--")).cloned().collect::<String>()
        };
        for words in [&anew, &in_place] {
            assert!(short(words).starts_with("-aA-XX-s"), "no short option for either: {words:?}");
        }
        let rest = |words: &[String]| {
            words
                .iter()
                .filter(|word| !of_anew.contains(&&***word) && !of_in_place.contains(&&***word))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(rest(&anew), rest(&in_place), "in all else they are alike");
    }

    #[test]
    fn two_transfers_of_one_host_are_added_up_and_the_worse_end_counts() {
        let one = Transfer {
            statistics: Statistics {
                files: 10,
                directories: 4,
                changed: 2,
                bytes: 100,
                ..Statistics::default()
            },
            complaints: vec!["a".into(); COMPLAINTS - 1],
            vanished: 1,
            ..Transfer::nothing()
        };
        let other = Transfer {
            ending: Ending::SourceChanged,
            statistics: Statistics {
                files: 5,
                directories: 4,
                deleted: 3,
                bytes: 7,
                ..Statistics::default()
            },
            complaints: vec!["b".into(), "c".into(), "d".into()],
            further_complaints: 4,
            stopped_deleting: true,
            vanished: 2,
            advice: Some("x"),
            unkept: None,
        };
        let both = one.and(other, 3);
        assert_eq!((both.ending, both.stopped_deleting, both.vanished), (Ending::SourceChanged, true, 3));
        let figures = both.statistics;
        assert_eq!((figures.files, figures.directories, figures.bytes), (12, 5, 107));
        assert_eq!((figures.changed, figures.deleted), (2, 3));
        assert_eq!((both.complaints.len(), both.complaints[COMPLAINTS - 1].as_str()), (COMPLAINTS, "b"));
        assert_eq!((both.further_complaints, both.advice), (6, Some("x")));
        for (worse, better) in [
            (Ending::Incomplete, Ending::TooManyDeletions),
            (Ending::TooManyDeletions, Ending::WithoutAttributes),
            (Ending::WithoutAttributes, Ending::SourceChanged),
            (Ending::SourceChanged, Ending::Complete),
        ] {
            assert_eq!(worse.max(better), worse);
        }
    }

    async fn run(job: Job) -> Result<Transfer, TransferError> {
        let cancel = CancellationToken::new();
        let limits = Limits {
            stall_timeout: Duration::from_secs(60),
            deadline: Instant::now() + Duration::from_secs(60),
            cancel: &cancel,
        };
        job.run(limits, |_| {}).await
    }

    #[tokio::test]
    async fn a_copy_has_its_figures() {
        let place = Place::new();
        std::fs::write(place.path("source/a"), "12345").unwrap();
        let transfer = run(place.job()).await.unwrap();
        assert_eq!(transfer.ending, Ending::Complete);
        assert_eq!((transfer.statistics.files, transfer.statistics.directories), (2, 1));
        assert_eq!((transfer.statistics.bytes, transfer.statistics.changed), (5, 1));
        assert_eq!(std::fs::read(place.path("copy/a")).unwrap(), b"12345");
    }

    #[tokio::test]
    async fn what_a_host_calls_dot_zfs_never_meets_the_stores_own() {
        let place = Place::new();
        std::fs::write(place.path("source/a"), "").unwrap();
        std::fs::write(place.path("source/.zfs"), "a file, which cannot replace a directory").unwrap();
        std::fs::create_dir_all(place.path("copy/.zfs/snapshot/precious")).unwrap();
        let transfer = run(place.job()).await.unwrap();
        assert_eq!((transfer.ending, transfer.statistics.deleted), (Ending::Complete, 0));
        assert!(place.path("copy/.zfs/snapshot/precious").is_dir());
    }

    #[tokio::test]
    async fn deletions_stop_at_their_limit_and_say_so() {
        let place = Place::new();
        for number in 0..10 {
            std::fs::write(place.path(&format!("copy/{number}")), "").unwrap();
        }
        std::fs::write(place.path("source/a"), "").unwrap();
        let transfer = run(Job { max_delete: Some(3), ..place.job() }).await.unwrap();
        assert_eq!(transfer.ending, Ending::TooManyDeletions);
        assert!(transfer.stopped_deleting);
        assert_eq!(transfer.statistics.deleted, 3);
    }

    #[tokio::test]
    async fn a_source_that_is_gone_is_no_copy() {
        let place = Place::new();
        std::fs::write(place.path("copy/precious"), "").unwrap();
        std::fs::remove_dir(place.path("source")).unwrap();
        let error = run(place.job()).await.unwrap_err();
        assert!(matches!(error, TransferError::NoSource(_)), "{error}");
        assert!(place.path("copy/precious").exists());
    }

    #[tokio::test]
    async fn a_host_without_rsync_is_told_apart() {
        let place = Place::new();
        let rsh = place.path("rsh");
        std::fs::write(&rsh, "#!/bin/sh\necho 'sh: 1: rsync: not found' >&2\nexit 127\n").unwrap();
        std::fs::set_permissions(&rsh, PermissionsExt::from_mode(0o755)).unwrap();
        let job = Job { rsh: Some(rsh.to_str().unwrap().to_owned()), ..place.job() };
        let error = run(job).await.unwrap_err();
        assert!(matches!(error, TransferError::NoRemoteRsync), "{error}");
    }

    #[tokio::test]
    async fn a_silent_far_side_is_given_up_with_all_its_processes() {
        let place = Place::new();
        let rsh = place.path("rsh");
        let pid = place.path("pid");
        std::fs::write(&rsh, format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", pid.display())).unwrap();
        std::fs::set_permissions(&rsh, PermissionsExt::from_mode(0o755)).unwrap();
        let job = Job { rsh: Some(rsh.to_str().unwrap().to_owned()), ..place.job() };
        let cancel = CancellationToken::new();
        let limits = Limits {
            stall_timeout: Duration::from_secs(1),
            deadline: Instant::now() + Duration::from_secs(600),
            cancel: &cancel,
        };
        let error = job.run(limits, |_| {}).await.unwrap_err();
        assert!(matches!(error, TransferError::Stalled(_)), "{error}");
        let pid = std::fs::read_to_string(pid).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        assert!(stat.is_err() || stat.unwrap().contains(") Z "));
    }

    #[tokio::test]
    async fn a_source_may_be_called_anything() {
        let place = Place::new();
        let odd = place.path("source/a [b] *?\\ $(c) 'd'");
        std::fs::create_dir(&odd).unwrap();
        std::fs::write(odd.join("file"), "").unwrap();
        // The far side is a plain rsync server on this machine.
        let rsh = place.path("rsh");
        std::fs::write(&rsh, "#!/bin/sh\nshift\nexec \"$@\"\n").unwrap();
        std::fs::set_permissions(&rsh, PermissionsExt::from_mode(0o755)).unwrap();
        let source = odd.to_str().unwrap().to_owned();
        let job = Job { source, rsh: Some(rsh.to_str().unwrap().to_owned()), ..place.job() };
        assert_eq!(run(job).await.unwrap().ending, Ending::Complete);
        assert!(place.path("copy/file").exists());
    }

    #[test]
    fn every_exit_has_its_meaning() {
        let mut whole = stats::Reader::default();
        whole.take(stats::SAMPLE.as_bytes());
        let exit = |code, stderr: &str| {
            judge(&Output { exit: Exit::Code(code), stdout: Vec::new(), stderr: stderr.into() }, &whole)
        };
        for (code, ending) in [
            (0, Ending::Complete),
            (23, Ending::Incomplete),
            (24, Ending::SourceChanged),
            (25, Ending::TooManyDeletions),
        ] {
            assert_eq!(exit(code, "").unwrap().ending, ending, "exit {code}");
        }
        let none = stats::Reader::default();
        for code in [10, 12, 20, 30, 35, 255] {
            let output = Output { exit: Exit::Code(code), stdout: Vec::new(), stderr: Vec::new() };
            assert!(matches!(judge(&output, &none), Err(TransferError::ConnectionLost(_))), "exit {code}");
        }
        for code in [1, 2, 3, 11, 14, 22] {
            assert!(matches!(exit(code, ""), Err(TransferError::Failed { .. })), "exit {code}");
        }
        let full = "rsync: [receiver] mkstemp \"/x\" failed: No space left on device (28)";
        assert!(matches!(exit(23, full), Err(TransferError::StoreFull(_))));
        assert!(matches!(exit(11, full), Err(TransferError::StoreFull(_))));
        let attribute = "rsync: [generator] rsync_xal_set: lsetxattr(\"/x\",\"user.x\") failed: No space left on device (28)";
        assert_eq!(exit(23, attribute).unwrap().ending, Ending::Incomplete, "one file, not the store");
        let link = "rsync: [generator] link \"/store/m/31999\" => a failed: Too many links (31)";
        for code in [13, 23] {
            assert!(matches!(exit(code, link), Err(TransferError::TooManyLinks(_))), "exit {code}");
        }
        let theirs = "rsync: [sender] read errors mapping \"/No space left on device (28)";
        assert_eq!(exit(23, theirs).unwrap().ending, Ending::Incomplete);
        let both =
            "Deletions stopped due to --max-delete limit (7 skipped)\nrsync: [sender] send_files failed";
        assert!(exit(23, both).unwrap().stopped_deleting, "23 must not hide 25");
        assert_eq!(exit(23, theirs).unwrap().advice, None);
        let noise =
            "protocol version mismatch -- is your shell clean?\nrsync error: protocol incompatibility";
        assert!(matches!(exit(2, noise), Err(TransferError::NoisyShell)));
        let killed = Output { exit: Exit::Signal(9), stdout: Vec::new(), stderr: Vec::new() };
        assert!(matches!(judge(&killed, &whole), Err(TransferError::Failed { .. })));
    }

    #[test]
    fn a_filesystem_that_keeps_no_acls_or_attributes_is_named_with_what_mends_it() {
        let mut whole = stats::Reader::default();
        whole.take(stats::SAMPLE.as_bytes());
        let unreadable = "rsync: [sender] send_files failed to open \"/x\": Permission denied (13)\n";
        for (line, setting, why) in [
            (
                "rsync: [generator] set_acl: xacl_set(dd, ACL_TYPE_DEFAULT): Operation not supported (95)",
                Some("acltype=posixacl"),
                "rsync 3.5, a directory",
            ),
            (
                "rsync: [receiver] set_acl: sys_acl_set_file(.a.RUX5TJ, ACL_TYPE_ACCESS): Operation not supported (95)",
                Some("acltype=posixacl"),
                "rsync 3.2, a file",
            ),
            (
                "rsync: [receiver] rsync_xal_set: fsetxattr(\"/data/vpn/.x.0kynDY\",\"user.x\") failed: Operation not supported (95)",
                Some("xattr=sa"),
                "an extended attribute",
            ),
            (
                "rsync: [receiver] set_acl: sys_acl_set_file(x, ACL_TYPE_ACCESS): Invalid argument (22)",
                None,
                "one odd ACL",
            ),
            (
                "rsync: [sender] set_acl: Operation not supported (95)",
                None,
                "the host's filesystem is not ours to set",
            ),
        ] {
            // Behind more complaints than are told.
            let stderr = unreadable.repeat(COMPLAINTS + 1) + line;
            let output = Output { exit: Exit::Code(23), stdout: Vec::new(), stderr: stderr.into() };
            let transfer = judge(&output, &whole).unwrap();
            assert_eq!(transfer.ending, Ending::Incomplete, "{why}");
            let advised = transfer.advice.and_then(|advice| advice.split('`').nth(1));
            assert_eq!(advised, setting.map(|setting| format!("zfs set {setting}")).as_deref(), "{why}");
        }
    }
}
