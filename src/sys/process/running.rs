//! A program under way: its output as it comes, and its end.

use super::streams::Ours;
use super::{Elsewhere, Exit, Failure, Output};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

/// How much of a program's stderr is kept, in bytes.
const STDERR_TAIL: usize = 64 * 1024;
/// How long output is still read after a program has ended, should a process
/// that it left behind keep its stdout open.
const DRAIN: Duration = Duration::from_secs(2);
/// How long a killed process gets to die. One that the kernel cannot end
/// (a suspended pool, a dead disk) must not hold up the run.
const BURIAL: Duration = Duration::from_secs(5);

/// Some of what a program says.
#[derive(Debug)]
pub enum Piece {
    /// What was asked for.
    Stdout(Vec<u8>),
    /// What it has to say about it.
    Stderr(Vec<u8>),
}

/// What becomes of a program's stdin when all was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It ends.
    Ends,
    /// It ends when the program has, or nobody waits for it any more.
    StaysOpen,
}

/// A program under way. Dropping it kills it and its process group.
#[derive(Debug)]
pub struct Running {
    command: String,
    work: Work,
    stdin: Option<pipe::Sender>,
    /// What is told when it is dropped that a stdin need stay open no longer.
    kept_open: Option<oneshot::Sender<()>>,
    stdout: Option<pipe::Receiver>,
    /// What was read of stdout and not handed on yet.
    unread: Vec<u8>,
    stderr: Option<pipe::Receiver>,
    said: Tail,
    exit: Option<Exit>,
    drain_until: Option<Instant>,
}

/// What runs.
pub(super) enum Work {
    /// A process of this machine, in a process group of its own.
    Here {
        /// The process.
        child: Child,
        /// Its group, as long as something may be left of it.
        group: Option<u32>,
    },
    /// Something that another runs for us; it ends when this is dropped.
    There(Pin<Box<Elsewhere>>),
    /// What ran there has ended.
    Over,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Here { child, .. } => write!(f, "{child:?}"),
            Work::There(_) => f.write_str("There"),
            Work::Over => f.write_str("Over"),
        }
    }
}

impl Work {
    /// Waits for the end. Can be dropped and called again.
    async fn end(&mut self) -> Result<Exit, End> {
        match self {
            Work::Here { child, .. } => child.wait().await.map(Exit::from).map_err(End::Unknown),
            Work::There(work) => work.as_mut().await.map_err(End::Lost),
            Work::Over => std::future::pending().await,
        }
    }

    fn group(&self) -> Option<u32> {
        match self {
            Work::Here { group, .. } => *group,
            Work::There(_) | Work::Over => None,
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.group().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // ESRCH only says that nobody is left.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }

    /// Kills it, with all of its group.
    fn kill(&mut self) {
        match self {
            Work::Here { .. } => self.signal(rustix::process::Signal::KILL),
            Work::There(_) | Work::Over => *self = Work::Over,
        }
    }
}

/// Why it is not known how something ended.
enum End {
    Unknown(std::io::Error),
    Lost(String),
}

impl Running {
    /// The command line, for people.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Writes to a stdin opened with [`super::Program::input_pipe`], while its output
    /// is read. Its end comes after that, or when nobody waits for the program any
    /// more. A program that closed it is no error here: its exit will tell.
    pub fn feed(&mut self, bytes: Vec<u8>, then: After) {
        let Some(mut pipe) = self.stdin.take() else { return };
        let (holder, let_go) = oneshot::channel();
        if then == After::StaysOpen {
            self.kept_open = Some(holder);
        }
        // A program that does not read its input must not hold up the run.
        tokio::spawn(async move {
            let _ = pipe.write_all(&bytes).await;
            let _: Result<(), _> = let_go.await;
        });
    }

    /// Ends the program's stdin.
    pub fn close_input(&mut self) {
        self.stdin = None;
        self.kept_open = None;
    }

    /// Waits until the program has said this on stdout, or anything, if this is
    /// empty; `false` if it ended without, or said `most` bytes. All that it said
    /// can still be had. Can be dropped and called again without losing anything.
    pub async fn says(&mut self, what: &[u8], most: usize) -> Result<bool, Failure> {
        let mut searched = 0;
        loop {
            let unread = &self.unread[searched..];
            if !unread.is_empty() && (what.is_empty() || unread.windows(what.len()).any(|part| part == what))
            {
                return Ok(true);
            }
            searched = self.unread.len().saturating_sub(what.len());
            if self.unread.len() > most {
                return Ok(false);
            }
            match self.read().await? {
                Some(more) => self.unread.extend(more),
                None => return Ok(false),
            }
        }
    }

    /// The next piece of stdout, gathering stderr meanwhile; `None` at the
    /// end. Can be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        if self.unread.is_empty() { self.read().await } else { Ok(Some(std::mem::take(&mut self.unread))) }
    }

    async fn read(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            match self.piece().await? {
                Some(Piece::Stdout(chunk)) => return Ok(Some(chunk)),
                Some(Piece::Stderr(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next piece of either, in the order in which they came; of stderr the
    /// tail is kept as well. `None` at the end. Can be dropped and called again
    /// without losing anything.
    pub async fn next_piece(&mut self) -> Result<Option<Piece>, Failure> {
        if self.unread.is_empty() {
            return self.piece().await;
        }
        Ok(Some(Piece::Stdout(std::mem::take(&mut self.unread))))
    }

    async fn piece(&mut self) -> Result<Option<Piece>, Failure> {
        // Not in the future itself, which all that waits for programs consists of.
        let mut out = vec![0; 16 * 1024];
        let mut err = vec![0; 4 * 1024];
        loop {
            let has_ended = self.exit.is_some() || matches!(self.work, Work::Over);
            if self.stdout.is_none() && self.stderr.is_none() && has_ended {
                return Ok(None);
            }
            let drain_until = self.drain_until;
            tokio::select! {
                biased;
                read = read_some(&mut self.stdout, &mut out) => match self.received(read)? {
                    0 => self.stdout = None,
                    count => return Ok(Some(Piece::Stdout(out[..count].to_vec()))),
                },
                read = read_some(&mut self.stderr, &mut err) => match self.received(read)? {
                    0 => self.stderr = None,
                    count => {
                        self.said.push(&err[..count]);
                        return Ok(Some(Piece::Stderr(err[..count].to_vec())));
                    }
                },
                end = self.work.end(), if self.exit.is_none() => {
                    self.exit = Some(end.map_err(|end| self.ended_by(end))?);
                    self.drain_until = Some(Instant::now() + DRAIN);
                }
                () = tokio::time::sleep_until(drain_until.unwrap_or_else(Instant::now)), if drain_until.is_some() => {
                    self.stdout = None;
                    self.stderr = None;
                }
            }
        }
    }

    /// Waits for the end, discarding further stdout, and ends whatever is left
    /// of the process group. Call it after [`Running::next`] said `None`.
    pub async fn end(mut self) -> Output {
        while let Ok(Some(_)) = self.next().await {}
        self.work.kill();
        if let Work::Here { group, .. } = &mut self.work {
            *group = None;
        }
        self.left()
    }

    /// Waits for the end, keeping what is left of stdout. Kills it after
    /// `deadline`, and if it writes more than `most_output` bytes.
    pub async fn output(mut self, deadline: Duration, most_output: usize) -> Result<Output, Failure> {
        let mut stdout = Vec::new();
        let until = Instant::now() + deadline;
        loop {
            match timeout_at(until, self.next()).await {
                Ok(Ok(Some(chunk))) => stdout.extend_from_slice(&chunk),
                Ok(Ok(None)) => break,
                Ok(Err(failure)) => return Err(failure),
                Err(_) => {
                    let command = self.command.clone();
                    let stderr = self.stop(Duration::ZERO).await.stderr;
                    return Err(Failure::Deadline { command, deadline, stderr });
                }
            }
            if stdout.len() > most_output {
                let command = self.command.clone();
                self.stop(Duration::ZERO).await;
                return Err(Failure::TooMuch(command));
            }
        }
        let output = self.end().await;
        Ok(Output { stdout, ..output })
    }

    /// Asks the process group to end (SIGTERM), and after `grace` makes it
    /// (SIGKILL).
    pub async fn stop(mut self, grace: Duration) -> Output {
        self.close_input();
        if !grace.is_zero() {
            self.work.signal(rustix::process::Signal::TERM);
            let _ = timeout(grace, async { while let Ok(Some(_)) = self.next().await {} }).await;
        }
        self.work.kill();
        let _ = timeout(BURIAL, async { while let Ok(Some(_)) = self.next().await {} }).await;
        self.left()
    }

    /// A number that changes as long as the program or its children do
    /// anything: bytes that they have read and written (`/proc/PID/io`) and
    /// processor time that they have used (`/proc/PID/stat`), added up. The
    /// time is for work that moves no bytes, such as deleting a million files.
    pub fn activity(&self) -> u64 {
        fn tree(pid: u32, depth: u8) -> u64 {
            let read =
                |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let bytes: u64 = read("io")
                .lines()
                .filter_map(|line| line.strip_prefix("rchar: ").or_else(|| line.strip_prefix("wchar: ")))
                .filter_map(|count| count.parse::<u64>().ok())
                .sum();
            // utime and stime are the 12th and 13th after the name, proc(5).
            let ticks: u64 = read("stat")
                .rsplit_once(')')
                .map_or("", |(_, rest)| rest)
                .split_ascii_whitespace()
                .skip(11)
                .take(2)
                .filter_map(|ticks| ticks.parse::<u64>().ok())
                .sum();
            let below: u64 = read(&format!("task/{pid}/children"))
                .split_ascii_whitespace()
                .filter_map(|child| child.parse().ok())
                .filter(|_| depth > 0)
                .map(|child| tree(child, depth - 1))
                .sum();
            bytes + ticks + below
        }
        self.work.group().map_or(0, |pid| tree(pid, 4))
    }

    /// A program that was just started.
    pub(super) fn new(command: String, work: Work, ours: Ours) -> Self {
        Running {
            command,
            kept_open: None,
            unread: Vec::new(),
            work,
            stdin: ours.stdin,
            stdout: Some(ours.stdout),
            stderr: Some(ours.stderr),
            said: Tail::new(STDERR_TAIL),
            exit: None,
            drain_until: None,
        }
    }

    fn left(&mut self) -> Output {
        Output { exit: self.exit.unwrap_or(Exit::Signal(9)), stdout: Vec::new(), stderr: self.said.take() }
    }

    fn received(&self, read: std::io::Result<usize>) -> Result<usize, Failure> {
        read.map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: std::io::Error) -> Failure {
        Failure::Unreadable { command: self.command.clone(), error }
    }

    /// What ended so that nobody knows how will not end again.
    fn ended_by(&mut self, end: End) -> Failure {
        match end {
            End::Unknown(error) => self.unreadable(error),
            End::Lost(why) => {
                self.work = Work::Over;
                Failure::Lost { command: self.command.clone(), why, stderr: self.said.take() }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.work.kill();
    }
}

/// Reads some bytes; waits for ever on a stream that has ended.
async fn read_some<R: AsyncRead + Unpin>(
    stream: &mut Option<R>,
    buffer: &mut [u8],
) -> std::io::Result<usize> {
    match stream {
        Some(stream) => stream.read(buffer).await,
        None => std::future::pending().await,
    }
}

/// The last bytes of a stream.
#[derive(Debug)]
pub struct Tail {
    bytes: VecDeque<u8>,
    limit: usize,
    total: u64,
}

impl Tail {
    /// A tail of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Tail { bytes: VecDeque::new(), limit, total: 0 }
    }

    /// Takes more of the stream.
    pub fn push(&mut self, more: &[u8]) {
        self.total += more.len() as u64;
        self.bytes.extend(&more[more.len().saturating_sub(self.limit)..]);
        let surplus = self.bytes.len().saturating_sub(self.limit);
        self.bytes.drain(..surplus);
    }

    /// How many bytes came in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The tail, leaving nothing.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes).into()
    }
}
