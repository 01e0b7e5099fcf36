//! The only place that starts programs.
//!
//! Every program gets an absolute path (cron's `PATH` lacks `/usr/sbin`), a
//! clean environment in the C locale, a process group of its own and a
//! deadline, and the kernel kills it should this process die (`setpriv
//! --pdeathsig`). Of what it says on stderr the tail is kept. A program whose
//! [`Running`] is dropped is killed with its group.
//!
//! Not known here: what any program's exit status means.

use crate::text::{human_duration, last_lines, printable_bytes};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, timeout, timeout_at};

/// How much of a program's stderr is kept, in bytes.
const STDERR_TAIL: usize = 64 * 1024;
/// How much stdout [`Program::output`] takes unless told, in bytes.
const STDOUT_LIMIT: usize = 1024 * 1024 * 1024;
/// How long output is still read after a program has ended, should a process
/// that it left behind keep its stdout open.
const DRAIN: Duration = Duration::from_secs(2);
/// How long a killed process gets to die. One that the kernel cannot end
/// (a suspended pool, a dead disk) must not hold up the run.
const BURIAL: Duration = Duration::from_secs(5);
/// More open files than any run needs.
const MOST_FILES: u64 = 65_536;
/// What of our own environment a program may see.
const ENVIRONMENT: [&str; 6] = ["HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "TMPDIR", "TZ"];
/// Where system programs are, for a caller whose `PATH` lacks them.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to run, with its arguments.
#[derive(Debug)]
pub struct Program {
    name: OsString,
    args: Vec<OsString>,
    deadline: Duration,
    input: Input,
    label: Option<String>,
}

#[derive(Debug)]
enum Input {
    Null,
    Bytes(Vec<u8>),
    File(File),
    Pipe,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl Exit {
    /// Whether it exited with 0.
    pub fn is_success(self) -> bool {
        self == Exit::Code(0)
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or_default()),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit {code}"),
            Exit::Signal(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// What a program left.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Everything it wrote to stdout that was not taken with [`Running::next`].
    pub stdout: Vec<u8>,
    /// The last 64 KiB of what it wrote to stderr.
    pub stderr: Vec<u8>,
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no such program.
    #[error("`{0}` is not installed (looked for it in PATH and in {SYSTEM_PATH})")]
    NotInstalled(String),
    /// It could not be started.
    #[error("cannot start `{command}`: {error}")]
    NotStarted {
        /// The command line.
        command: String,
        /// The system's reason.
        error: std::io::Error,
    },
    /// It ended with something else than 0.
    #[error("`{command}` failed ({exit}){}", said(.stderr))]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        exit: Exit,
        /// The end of what it wrote to stderr.
        stderr: Vec<u8>,
    },
    /// It was killed because it took too long.
    #[error("`{command}` did not end within {} and was killed{}", human_duration(*.deadline), said(.stderr))]
    Deadline {
        /// The command line.
        command: String,
        /// How long it was given.
        deadline: Duration,
        /// The end of what it wrote to stderr.
        stderr: Vec<u8>,
    },
    /// It wrote more than anyone would read.
    #[error("`{0}` wrote more than can be right and was killed")]
    TooMuch(String),
    /// Its output could not be read.
    #[error("cannot read what `{command}` says: {error}")]
    Unreadable {
        /// The command line.
        command: String,
        /// The system's reason.
        error: std::io::Error,
    },
}

impl Failure {
    /// The end of what the program wrote to stderr, if it ran.
    pub fn stderr(&self) -> &[u8] {
        match self {
            Failure::Failed { stderr, .. } | Failure::Deadline { stderr, .. } => stderr,
            _ => &[],
        }
    }
}

fn said(stderr: &[u8]) -> String {
    let lines = last_lines(stderr, 3);
    if lines.is_empty() { String::new() } else { format!(": {}", lines.join(" / ")) }
}

impl Program {
    /// A program by its name, to be found in `PATH` or where system programs
    /// are, with nothing on stdin and a minute to end.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        Program {
            name: name.as_ref().to_owned(),
            args: Vec::new(),
            deadline: Duration::from_secs(60),
            input: Input::Null,
            label: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// How long [`Program::output`] waits before it kills the program.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// What errors call it, where the command line says little to people.
    #[must_use]
    pub fn called(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// What the program reads from stdin, and then the end of it.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// A file for the program's stdin, inherited by all that it starts.
    #[must_use]
    pub fn input_file(mut self, file: File) -> Self {
        self.input = Input::File(file);
        self
    }

    /// A pipe for the program's stdin, open until [`Running::close_input`].
    #[must_use]
    pub fn input_pipe(mut self) -> Self {
        self.input = Input::Pipe;
        self
    }

    /// Runs it to its end, however it ends.
    pub async fn output(self) -> Result<Output, Failure> {
        let deadline = self.deadline;
        let mut running = self.start()?;
        let mut stdout = Vec::new();
        let until = Instant::now() + deadline;
        loop {
            match timeout_at(until, running.next()).await {
                Ok(Ok(Some(chunk))) => stdout.extend_from_slice(&chunk),
                Ok(Ok(None)) => break,
                Ok(Err(failure)) => return Err(failure),
                Err(_) => {
                    let command = running.command.clone();
                    let stderr = running.stop(Duration::ZERO).await.stderr;
                    return Err(Failure::Deadline { command, deadline, stderr });
                }
            }
            if stdout.len() > STDOUT_LIMIT {
                let command = running.command.clone();
                running.stop(Duration::ZERO).await;
                return Err(Failure::TooMuch(command));
            }
        }
        let output = running.end().await;
        Ok(Output { stdout, ..output })
    }

    /// Runs it to its end; anything but exit 0 is an error.
    pub async fn run(self) -> Result<Output, Failure> {
        let command = self.to_string();
        let output = self.output().await?;
        if output.exit.is_success() {
            Ok(output)
        } else {
            Err(Failure::Failed { command, exit: output.exit, stderr: output.stderr })
        }
    }

    /// Starts it, for a caller that wants its output as it comes. The caller
    /// keeps the deadline.
    pub fn start(self) -> Result<Running, Failure> {
        let command = self.to_string();
        let path = search_path();
        let program = find(&self.name, &path)
            .ok_or_else(|| Failure::NotInstalled(printable_bytes(self.name.as_bytes())))?;
        let mut start = match guardian(&path) {
            Some(setpriv) => {
                let mut start = new_command(setpriv);
                start.args(["--pdeathsig", "KILL", "--"]).arg(&program);
                start
            }
            None => new_command(&program),
        };
        let (stdin, bytes) = match self.input {
            Input::Null => (Stdio::null(), None),
            Input::File(file) => (Stdio::from(file), None),
            Input::Bytes(bytes) => (Stdio::piped(), Some(bytes)),
            Input::Pipe => (Stdio::piped(), None),
        };
        start
            .args(&self.args)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", &path)
            .envs(ENVIRONMENT.iter().filter_map(|key| Some((key, std::env::var_os(key)?))))
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child =
            start.spawn().map_err(|error| Failure::NotStarted { command: command.clone(), error })?;
        let mut input = child.stdin.take();
        if let Some(bytes) = bytes
            && let Some(mut pipe) = input.take()
        {
            // A program that does not read its input must not hold up the run.
            tokio::spawn(async move {
                let _ = pipe.write_all(&bytes).await;
            });
        }
        Ok(Running {
            command,
            group: child.id(),
            stdin: input,
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            said: Tail::new(STDERR_TAIL),
            child,
            exit: None,
            drain_until: None,
        })
    }
}

/// The command line, for people.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = &self.label {
            return f.write_str(label);
        }
        f.write_str(&word(&self.name))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", word(arg)))
    }
}

fn word(text: &OsStr) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_./:=@,+%".contains(b);
    let shown = printable_bytes(text.as_bytes());
    if !text.is_empty() && text.as_bytes().iter().all(plain) { shown } else { format!("'{shown}'") }
}

#[expect(clippy::disallowed_methods, reason = "this is the one door for programs")]
fn new_command(program: &Path) -> tokio::process::Command {
    tokio::process::Command::new(program)
}

/// Our own `PATH` with the system's directories after it.
fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(SYSTEM_PATH);
    path
}

/// Allows this process as many open files as the system lets it have: each
/// host under way takes half a dozen, and the usual limit is 1024.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(MOST_FILES, |maximum| maximum.min(MOST_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        // Refused, the old limit still does for a hundred hosts at once.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

fn find(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let executable = |file: &Path| {
        use std::os::unix::fs::PermissionsExt;
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(|file| executable(file));
    }
    std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|file| executable(file))
}

/// A command line for a program that starts another one: what it starts then
/// dies with it, as what we start dies with us.
pub fn guarded(line: &str) -> String {
    match guardian(&search_path()).and_then(|setpriv| setpriv.to_str()) {
        Some(setpriv) if !setpriv.contains(char::is_whitespace) => {
            format!("{setpriv} --pdeathsig KILL -- {line}")
        }
        _ => line.to_owned(),
    }
}

/// `setpriv`, which ties a program's life to ours; part of util-linux.
fn guardian(path: &OsStr) -> Option<&'static PathBuf> {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    SETPRIV.get_or_init(|| find(OsStr::new("setpriv"), path)).as_ref()
}

/// A program under way. Dropping it kills it and its process group.
#[derive(Debug)]
pub struct Running {
    command: String,
    group: Option<u32>,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    said: Tail,
    exit: Option<Exit>,
    drain_until: Option<Instant>,
}

impl Running {
    /// The command line, for people.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Writes to a stdin opened with [`Program::input_pipe`]. A program that
    /// closed it is no error here: its exit will tell.
    pub async fn write(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(bytes).await;
            let _ = stdin.flush().await;
        }
    }

    /// Ends the program's stdin.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// The next piece of stdout, gathering stderr meanwhile; `None` at the
    /// end. Can be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut out = [0; 16 * 1024];
        let mut err = [0; 4 * 1024];
        loop {
            if self.stdout.is_none() && self.stderr.is_none() && self.exit.is_some() {
                return Ok(None);
            }
            let drain_until = self.drain_until;
            tokio::select! {
                biased;
                read = read_some(&mut self.stdout, &mut out) => match self.received(read)? {
                    0 => self.stdout = None,
                    count => return Ok(Some(out[..count].to_vec())),
                },
                read = read_some(&mut self.stderr, &mut err) => match self.received(read)? {
                    0 => self.stderr = None,
                    count => self.said.push(&err[..count]),
                },
                status = self.child.wait(), if self.exit.is_none() => {
                    let status = status.map_err(|error| self.unreadable(error))?;
                    self.exit = Some(status.into());
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
        self.signal(rustix::process::Signal::KILL);
        self.group = None;
        self.left()
    }

    /// Asks the process group to end (SIGTERM), and after `grace` makes it
    /// (SIGKILL).
    pub async fn stop(mut self, grace: Duration) -> Output {
        self.stdin = None;
        if !grace.is_zero() {
            self.signal(rustix::process::Signal::TERM);
            let _ = timeout(grace, async { while let Ok(Some(_)) = self.next().await {} }).await;
        }
        self.signal(rustix::process::Signal::KILL);
        let _ = timeout(BURIAL, async { while let Ok(Some(_)) = self.next().await {} }).await;
        self.left()
    }

    /// How many bytes the program and its children have read and written so
    /// far, files, pipes and network together, as the kernel counts them
    /// (`/proc/PID/io`). It grows as long as anything moves.
    pub fn bytes_moved(&self) -> u64 {
        fn tree(pid: u32, depth: u8) -> u64 {
            let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
            let own: u64 = io
                .lines()
                .filter_map(|line| line.strip_prefix("rchar: ").or_else(|| line.strip_prefix("wchar: ")))
                .filter_map(|count| count.parse::<u64>().ok())
                .sum();
            let children =
                std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            let below: u64 = children
                .split_ascii_whitespace()
                .filter_map(|child| child.parse().ok())
                .filter(|_| depth > 0)
                .map(|child| tree(child, depth - 1))
                .sum();
            own + below
        }
        self.group.map_or(0, |pid| tree(pid, 4))
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

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.group.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // ESRCH only says that nobody is left.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(rustix::process::Signal::KILL);
    }
}

/// Ends every `ssh` process whose command line names a path below `dir`, and
/// says how many there were. An ssh master that outlived its run, or that was
/// still connecting when its caller gave up, is known by its control socket's
/// path and by nothing else.
pub fn end_ssh_below(dir: &Path) -> usize {
    let mut below = dir.as_os_str().as_bytes().to_vec();
    below.push(b'/');
    let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
    let ssh_of_ours = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"ssh\n")
            && std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.windows(below.len()).any(|part| part == below))
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(ssh_of_ours)
        .filter_map(rustix::process::Pid::from_raw)
        .filter(|pid| rustix::process::kill_process(*pid, rustix::process::Signal::TERM).is_ok())
        .count()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::new("sh").args(["-c", script])
    }

    #[tokio::test]
    async fn an_error_shows_the_command_the_status_and_what_was_said() {
        let error = shell("echo first >&2; echo last >&2; exit 3").run().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'echo first >&2; echo last >&2; exit 3'` failed (exit 3): first / last"
        );
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = Program::new("no-such-program-here").run().await.unwrap_err();
        assert!(error.to_string().starts_with("`no-such-program-here` is not installed"), "{error}");
    }

    #[tokio::test]
    async fn a_program_past_its_deadline_is_killed_with_all_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script = format!("sleep 1000 & echo $! $$ > {}; wait", pids.display());
        let error = shell(&script).deadline(Duration::from_millis(500)).output().await.unwrap_err();
        assert!(matches!(error, Failure::Deadline { .. }), "{error}");
        for pid in std::fs::read_to_string(pids).unwrap().split_whitespace() {
            assert!(has_ended(pid), "{pid} is still there");
        }
    }

    /// A killed orphan may be a zombie until init collects it.
    fn has_ended(pid: &str) -> bool {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(_) => true,
            Ok(stat) => stat.contains(") Z "),
        }
    }

    #[tokio::test]
    async fn a_process_left_behind_does_not_hold_up_the_end() {
        let begin = Instant::now();
        let output = shell("sleep 1000 & echo done").output().await.unwrap();
        assert_eq!(output.stdout, b"done\n");
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn input_is_given_whole_and_then_ends() {
        let bytes = vec![b'x'; 1_000_000];
        let output = Program::new("cat").input(bytes.clone()).run().await.unwrap();
        assert_eq!(output.stdout, bytes);
    }

    #[tokio::test]
    async fn only_the_tail_of_a_flood_on_stderr_is_kept() {
        let output = shell("head -c 10000000 /dev/zero >&2; echo end >&2").output().await.unwrap();
        assert_eq!(output.stderr.len(), STDERR_TAIL);
        assert!(output.stderr.ends_with(b"end\n"));
    }

    #[tokio::test]
    async fn programs_see_a_clean_environment_in_the_c_locale() {
        let output = Program::new("env").run().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("LC_ALL=C\n"));
        assert!(text.contains("/usr/sbin"));
        assert!(!text.contains("CARGO"), "{text}");
    }

    #[tokio::test]
    async fn a_polite_program_may_end_by_itself() {
        let mut running = shell("trap 'echo bye >&2; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
            .start()
            .unwrap();
        assert_eq!(running.next().await.unwrap().as_deref(), Some(&b"ready\n"[..]));
        let output = running.stop(Duration::from_secs(20)).await;
        assert_eq!(output.exit, Exit::Code(7));
        assert!(output.stderr.ends_with(b"bye\n"));
    }
}
