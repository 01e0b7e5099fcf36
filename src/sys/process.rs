//! The only place that starts programs.
//!
//! Every program gets an absolute path (cron's `PATH` lacks `/usr/sbin`), a
//! clean environment in the C locale, a process group of its own and a
//! deadline, and the kernel kills it should this process die (`setpriv
//! --pdeathsig`); what it has started then ends by [`Keeper`]. Of what it says on stderr the tail is kept. A program whose
//! [`Running`] is dropped is killed with its group.
//!
//! Not known here: what any program's exit status means.

mod keeper;
mod running;
mod streams;
mod system;

pub use keeper::{Keeper, call_this_program, keep, this_program};
pub use running::{After, Piece, Running, Tail};
pub use system::{end_marked, file_limit, locate, most_hosts, raise_file_limit};

use crate::core::format::text::{gist, human_duration, printable_bytes};
use running::Work;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use streams::{Stdin, streams};
use system::{SYSTEM_PATH, find, guardian, mark, search_path};

/// How much stdout [`Program::output`] takes unless told, in bytes.
const STDOUT_LIMIT: usize = 1024 * 1024 * 1024;
/// What of our own environment a program may see.
const ENVIRONMENT: [&str; 6] = ["HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "TMPDIR", "TZ"];

/// A program that is under way elsewhere, until it is known how it ended, or why
/// that cannot be known. It ends when this is dropped.
pub type Elsewhere = dyn Future<Output = Result<Exit, String>> + Send;

/// What starts a program elsewhere, with these as its stdin, stdout and stderr.
type Start = dyn FnOnce([OwnedFd; 3]) -> Pin<Box<Elsewhere>> + Send;

/// A program to run, with its arguments.
pub struct Program {
    name: OsString,
    elsewhere: Option<Box<Start>>,
    args: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    outlives_us: bool,
    deadline: Duration,
    input: Input,
    label: Option<String>,
    most_output: usize,
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
    #[error("`{command}` {}", ended(*.exit, .stderr))]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        exit: Exit,
        /// The end of what it wrote to stderr.
        stderr: Vec<u8>,
    },
    /// Nobody knows how it ended.
    #[error("`{command}` was cut off: {why}{}", said(.stderr))]
    Lost {
        /// The command line.
        command: String,
        /// What happened.
        why: String,
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
            Failure::Failed { stderr, .. }
            | Failure::Lost { stderr, .. }
            | Failure::Deadline { stderr, .. } => stderr,
            _ => &[],
        }
    }
}

fn said(stderr: &[u8]) -> String {
    let said = gist(stderr);
    if said.is_empty() { said } else { format!(": {said}") }
}

fn ended(exit: Exit, stderr: &[u8]) -> String {
    let said = gist(stderr);
    if said.is_empty() {
        format!("failed without a word: {exit}")
    } else {
        format!("failed ({exit}): {said}")
    }
}

impl Program {
    /// A program by its name, to be found in `PATH` or where system programs
    /// are, with nothing on stdin and a minute to end.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        Program {
            name: name.as_ref().to_owned(),
            elsewhere: None,
            args: Vec::new(),
            environment: Vec::new(),
            outlives_us: false,
            deadline: Duration::from_secs(60),
            input: Input::Null,
            label: None,
            most_output: STDOUT_LIMIT,
        }
    }

    /// A program that another runs for us, by a name for people, started by a
    /// function that is given its stdin, stdout and stderr.
    pub fn elsewhere<F>(name: &str, start: impl FnOnce([OwnedFd; 3]) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Exit, String>> + Send + 'static,
    {
        let start = Box::new(move |streams| Box::pin(start(streams)) as Pin<Box<Elsewhere>>);
        Program { elsewhere: Some(start), ..Program::new("").called(name) }
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

    /// One more variable of its environment.
    #[must_use]
    pub fn environment(mut self, key: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((key, value.as_ref().to_owned()));
        self
    }

    /// Marks the program, and all that it will start, as belonging to the run that
    /// has this directory: a [`Keeper`] ends them with the run.
    #[must_use]
    pub fn of_run(mut self, run: &Path) -> Self {
        self.environment.push(mark(run));
        self
    }

    /// The kernel does not kill it when this process dies.
    #[must_use]
    fn outliving_us(mut self) -> Self {
        self.outlives_us = true;
        self
    }

    /// How long [`Program::output`] waits before it kills the program.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many bytes of stdout [`Program::output`] takes before it kills a
    /// program that can mean no good.
    #[must_use]
    pub fn most_output(mut self, bytes: usize) -> Self {
        self.most_output = bytes;
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
        let (deadline, most_output) = (self.deadline, self.most_output);
        self.start()?.output(deadline, most_output).await
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
        let failed = |error| Failure::NotStarted { command: command.clone(), error };
        let (stdin, bytes) = match self.input {
            Input::Null => (Stdin::Nothing, None),
            Input::File(file) => (Stdin::File(file), None),
            Input::Bytes(bytes) => (Stdin::Pipe, Some(bytes)),
            Input::Pipe => (Stdin::Pipe, None),
        };
        let (ours, own) = streams(stdin).map_err(failed)?;
        let work = match self.elsewhere {
            Some(start) => Work::There(start(own)),
            None => {
                let child = here(&self.name, &self.args, self.environment, !self.outlives_us, own)?;
                let child = child.map_err(failed)?;
                Work::Here { group: child.id(), child }
            }
        };
        let mut running = Running::new(command, work, ours);
        if let Some(bytes) = bytes {
            running.feed(bytes, After::Ends);
        }
        Ok(running)
    }
}

/// Starts a program of this machine with these streams.
fn here(
    name: &OsStr,
    args: &[OsString],
    environment: Vec<(&'static str, OsString)>,
    dies_with_us: bool,
    [stdin, stdout, stderr]: [OwnedFd; 3],
) -> Result<std::io::Result<tokio::process::Child>, Failure> {
    let path = search_path();
    let program = find(name, &path).ok_or_else(|| Failure::NotInstalled(printable_bytes(name.as_bytes())))?;
    let mut start = match guardian(&path).filter(|_| dies_with_us) {
        Some(setpriv) => {
            let mut start = new_command(setpriv);
            start.args(["--pdeathsig", "KILL", "--"]).arg(&program);
            start
        }
        None => new_command(&program),
    };
    start
        .args(args)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", &path)
        .envs(ENVIRONMENT.iter().filter_map(|key| Some((key, std::env::var_os(key)?))))
        .envs(environment)
        .current_dir("/")
        .process_group(0)
        .kill_on_drop(true)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr));
    Ok(start.spawn())
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

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
            // The kernel ends a killed process in its own time.
            let ended = async {
                while !has_ended(pid) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            assert!(
                tokio::time::timeout(Duration::from_secs(60), ended).await.is_ok(),
                "{pid} is still there"
            );
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
        assert_eq!(output.stderr.len(), 64 * 1024);
        assert!(output.stderr.ends_with(b"end\n"));
    }

    #[tokio::test]
    async fn a_flood_on_stdout_is_stopped_at_its_limit() {
        let flood = Program::new("yes").most_output(1_000_000).output().await;
        assert!(matches!(flood, Err(Failure::TooMuch(_))), "{flood:?}");
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
