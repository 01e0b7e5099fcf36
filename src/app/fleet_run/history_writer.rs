//! A run's hand in the history: what it reads of it at the beginning, and what
//! it writes as hosts are done.
//!
//! Nothing here holds the run up or fails it. The database is worked with away
//! from the thread that serves all hosts, and what cannot be written now is
//! tried again with the next host and at the end; only what is lost in the end
//! is trouble.

use crate::core::format::timing::{Step, Sums};
use crate::core::model::host::HostName;
use crate::core::model::outcome::HostReport;
use crate::core::policy::anomaly::{self, Past, Sample};
use crate::edge::history::{History, HistoryError, Opened};
use crate::edge::store::Survey;
use crate::sys::clock::Clock;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};
use tokio::time::timeout;
use tracing::{debug, warn};

/// How long the history may take to be opened: a disk that does not answer must
/// not keep the run from beginning.
const LONGEST_OPENING: Duration = Duration::from_secs(60);
/// How long what is not yet written may take when the run ends.
pub const LAST_WRITING: Duration = Duration::from_secs(15);

/// How many lines are written in one go.
const AT_ONCE: usize = 64;

/// Records hosts as they are done.
pub(super) struct HistoryWriter {
    lines: mpsc::UnboundedSender<Line>,
    writer: JoinHandle<Vec<String>>,
    count: usize,
}

/// What is to be written down.
#[derive(Debug)]
enum Line {
    /// What became of a host.
    Host(Box<HostReport>),
    /// How long the steps of hosts took that are written down already, by
    /// their names as the inventory spells them: more of them took some.
    Timings(Vec<(String, Sums)>),
}

/// Opens the history, and gives with it what the last good runs of these hosts
/// were like. What is wrong with it is said, and there is a writer all the
/// same: what it could not write it says at the end.
///
/// Must be called inside a [`tokio::task::LocalSet`].
pub(super) async fn open(
    state_dir: PathBuf,
    clock: Clock,
    run: String,
    survey: Survey,
    hosts: Vec<HostName>,
) -> (HistoryWriter, Past) {
    let carried = hosts.iter().map(|host| (host.key().to_owned(), Sample::of_snapshots(survey.of(host))));
    let carried: Past = carried.collect();
    let path = History::path(&state_dir);
    let opening = spawn_blocking(move || {
        let mut book = Book { state_dir, clock, run, survey, history: None, waiting: Vec::new() };
        let failed = book.open().err();
        let past = book.past(&hosts);
        (book, past, failed)
    });
    let (lines, queue) = mpsc::unbounded_channel();
    let (book, past) = match timeout(LONGEST_OPENING, opening).await {
        Ok(Ok((book, past, failed))) => {
            if let Some(error) = failed {
                warn!("{error}");
            }
            (Some(book), past)
        }
        Ok(Err(_)) | Err(_) => {
            warn!("the history `{}` does not open: is its disk hanging?", path.display());
            (None, carried)
        }
    };
    (HistoryWriter { lines, writer: spawn_local(write(book, queue)), count: 0 }, past)
}

impl HistoryWriter {
    /// Has what became of a host written down, and returns at once.
    pub(super) fn record(&mut self, report: HostReport) {
        self.count += 1;
        // Nobody listens if there is no history: that is said at the end.
        let _ = self.lines.send(Line::Host(Box::new(report)));
    }

    /// Waits until everything is written, within reason. Returns what is lost.
    /// `reports` are all that were recorded, with how long it took to tell of
    /// them: until then nobody waited with what was known.
    pub(super) async fn finish(self, reports: &[HostReport]) -> Vec<String> {
        let HistoryWriter { lines, writer, count } = self;
        let told = reports.iter().map(|report| (report.host.clone(), report.timings.sums()));
        let told: Vec<_> = told.filter(|(_, sums)| sums.contains_key(&Step::Report)).collect();
        if !told.is_empty() {
            let _ = lines.send(Line::Timings(told));
        }
        drop(lines);
        match timeout(LAST_WRITING, writer).await {
            Ok(Ok(problems)) => problems,
            Ok(Err(_)) | Err(_) => vec![format!(
                "some of the {count} hosts' results are not in the history: its disk does not answer"
            )],
        }
    }
}

/// Writes what comes as it comes, as many at once as there are, and in the end
/// gives what is lost.
async fn write(book: Option<Book>, mut queue: mpsc::UnboundedReceiver<Line>) -> Vec<String> {
    let mut lost = 0;
    let mut book = book;
    loop {
        let mut lines = Vec::new();
        let last = queue.recv_many(&mut lines, AT_ONCE).await == 0;
        let Some(mut own) = book.take() else {
            lost += hosts(&lines);
            if last {
                break;
            }
            continue;
        };
        let count = hosts(&own.waiting) + hosts(&lines);
        let worked = spawn_blocking(move || {
            own.waiting.extend(lines);
            let problem = if last { own.close() } else { own.write().err().map(|error| error.to_string()) };
            (own, problem)
        });
        match worked.await {
            Ok((_, problem)) if last => return problem.into_iter().collect(),
            Ok((own, problem)) => {
                if let Some(error) = problem {
                    debug!("{error}: trying again later");
                }
                book = Some(own);
            }
            Err(_) => lost += count,
        }
    }
    if lost == 0 {
        return Vec::new();
    }
    vec![format!("the results of {lost} host(s) are not in the history, which could not be read or written")]
}

/// What of how many hosts is lost with these.
fn hosts(lines: &[Line]) -> usize {
    lines.iter().filter(|line| matches!(line, Line::Host(_))).count()
}

/// The history, and what is needed to work with it.
struct Book {
    state_dir: PathBuf,
    clock: Clock,
    /// What the run calls itself.
    run: String,
    /// What the store held when the run began: what a lost history is put
    /// together from again.
    survey: Survey,
    /// `None` as long as it could not be opened.
    history: Option<History>,
    /// What is not written yet, oldest first.
    waiting: Vec<Line>,
}

impl Book {
    /// Opens the history; a new one is given what the snapshots tell.
    fn open(&mut self) -> Result<(), HistoryError> {
        let Opened { history, is_new, warnings } = History::open(&self.state_dir, self.clock.now())?;
        for warning in &warnings {
            warn!("{warning}");
        }
        if is_new {
            let hosts = self.survey.hosts.iter();
            let snapshots = hosts.flat_map(|(host, list)| list.iter().map(move |one| (host.as_str(), one)));
            let runs = history.rebuild(snapshots)?;
            if runs > 0 {
                let path = History::path(&self.state_dir);
                warn!(
                    "the history `{}` was lost or is new: {runs} runs were reconstructed from the snapshots, \
                     without hooks and failures",
                    path.display()
                );
            }
        }
        self.history = Some(history);
        Ok(())
    }

    /// What the last good runs of these hosts were like.
    fn past(&self, hosts: &[HostName]) -> Past {
        let samples = |host: &HostName| {
            let entries = self.history.as_ref().map(|history| history.good_runs(host, anomaly::WINDOW));
            let entries = entries.and_then(Result::ok).unwrap_or_default();
            (host.key().to_owned(), Sample::of_either(&entries, self.survey.of(host)))
        };
        hosts.iter().map(samples).collect()
    }

    /// Writes what waits to be written; what is not written goes on waiting.
    fn write(&mut self) -> Result<(), HistoryError> {
        // Damage shows while one writes, too; then another history is begun, once.
        for again in [true, false] {
            match self.try_to_write() {
                Err(HistoryError::Damaged { .. }) if again => self.history = None,
                result => return result,
            }
        }
        Ok(())
    }

    fn try_to_write(&mut self) -> Result<(), HistoryError> {
        if self.history.is_none() {
            self.open()?;
        }
        let Some(history) = &self.history else { return Ok(()) };
        while let Some(line) = self.waiting.first() {
            match line {
                Line::Host(report) => history.record(&self.run, report)?,
                Line::Timings(timings) => history.record_timings(&self.run, timings)?,
            }
            self.waiting.remove(0);
        }
        Ok(())
    }

    /// Writes what is left and forgets what is old; says what is lost.
    fn close(&mut self) -> Option<String> {
        if let Err(error) = self.write() {
            let lost = hosts(&self.waiting);
            if lost == 0 {
                debug!("{error}");
                return None;
            }
            return Some(format!("the results of {lost} host(s) are not in the history: {error}"));
        }
        let pruned = self.history.take().map(|history| history.prune(self.clock.now()));
        if let Some(Err(error)) = pruned {
            debug!("{error}");
        }
        None
    }
}
