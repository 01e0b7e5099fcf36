//! One measurement: a process of its own that starts a contender, adopts
//! whatever that leaves behind, and says what all of it cost.
//!
//! The processor time is that of everything that was started and has ended,
//! which is what the kernel keeps for a process's children. An ssh master that
//! made itself a daemon counts as well: it becomes this process's child. What
//! has not ended some seconds after the contender is killed and counted.
//!
//! Not known here: what is measured.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{Pid, Signal, WaitOptions};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How this program is told to be a measuring process.
pub const WORD: &str = "internal-measure";
/// How long what a contender left may take to end by itself.
const LEAVE: Duration = Duration::from_secs(5);
/// How often the memory of the process that was started is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How much of what a failed contender said is told.
const TAIL: usize = 1500;

/// What a contender cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds from its start to its end.
    pub wall: f64,
    /// Seconds of processor time of all of it.
    pub cpu: f64,
    /// Bytes of its largest process.
    pub peak: u64,
    /// Bytes of the process that was started.
    pub own_peak: u64,
    /// Processes that had to be killed.
    pub left: usize,
    /// When it was started, in seconds since 1970.
    pub started: f64,
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Whether it was killed because its time was up.
    pub late: bool,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Order {
    /// The program and its arguments.
    pub line: Vec<OsString>,
    /// Exit codes that are as good as 0.
    pub good: &'static [i32],
    /// The longest that it may take.
    pub limit: Duration,
}

/// Runs a contender in a measuring process. Its output goes to a file in
/// `dir`, whose end is told if it fails.
pub fn measure(dir: &Path, order: &Order) -> Result<Cost> {
    let (result, output) = (dir.join("cost.json"), dir.join("output"));
    let _ = fs::remove_file(&result);
    let ourselves = std::env::current_exe().context("cannot find this program itself")?;
    let mut measuring = program(&ourselves);
    measuring.arg(WORD).arg(&result).arg(&output).arg(order.limit.as_secs().to_string()).args(&order.line);
    let status = measuring.stdin(Stdio::null()).status().context("cannot start a measuring process")?;
    ensure!(status.success(), "the measuring process failed ({status}): {}", tail(&output));
    let cost: Cost =
        serde_json::from_slice(&fs::read(&result)?).context("the measuring process said nonsense")?;
    if cost.late {
        bail!("not done after {} s: {}", order.limit.as_secs(), tail(&output));
    }
    match cost.code {
        Some(code) if code == 0 || order.good.contains(&code) => Ok(cost),
        Some(code) => bail!("exit {code}: {}", tail(&output)),
        None => bail!("ended by a signal: {}", tail(&output)),
    }
}

/// How many programs a contender starts, its own among them: a run under
/// strace.
pub fn count_programs(dir: &Path, order: &Order) -> Result<u64> {
    let trace = dir.join("trace");
    let mut line: Vec<OsString> =
        ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=execve,execveat", "-e", "signal=none", "-o"]
            .map(Into::into)
            .into();
    line.push(trace.clone().into());
    line.extend(order.line.iter().cloned());
    measure(dir, &Order { line, good: order.good, limit: order.limit * 3 })?;
    let text = fs::read(&trace)?;
    let _ = fs::remove_file(&trace);
    Ok(programs_in(&String::from_utf8_lossy(&text)))
}

/// How many programs were started, as strace tells it: each line that ends
/// well. One that was interrupted by another's is told in two, of which the
/// first has no end.
fn programs_in(trace: &str) -> u64 {
    trace.lines().filter(|line| line.contains("execve") && line.trim_end().ends_with("= 0")).count() as u64
}

/// The end of what a file holds.
pub fn tail(file: &Path) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL)..]).replace('\r', "\n");
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// A program, to be started by the bench.
#[expect(clippy::disallowed_methods, reason = "the programs that are measured are not the library's")]
pub fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command.env("LC_ALL", "C");
    command
}

/// The measuring process: `RESULT OUTPUT SECONDS PROGRAM ARGUMENT…`.
pub fn main(mut words: impl Iterator<Item = OsString>) -> Result<()> {
    let (Some(result), Some(output), Some(limit), Some(name)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        bail!("a measuring process needs a result, an output, a limit and a program");
    };
    let limit = limit.to_str().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let limit = limit.context("the limit is no number of seconds")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let output = File::create(&output)?;

    #[expect(
        clippy::disallowed_methods,
        reason = "compared with the times of files that the contender wrote"
    )]
    let now = std::time::SystemTime::now();
    let started = now.duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    let begin = Instant::now();
    let child = program(&name)
        .args(words)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("cannot start {}", PathBuf::from(&name).display()))?;
    let mut watched = Watched::start(child, limit);
    let status = watched.child.wait()?;
    let wall = begin.elapsed().as_secs_f64();
    let (own_peak, late) = watched.end();
    let left = take_leave();

    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| {
        use nix::sys::time::TimeValLike;
        #[expect(clippy::cast_precision_loss, reason = "far below what a float holds")]
        let seconds = time.num_microseconds() as f64 / 1e6;
        seconds
    };
    let cost = Cost {
        wall,
        cpu: seconds(usage.user_time()) + seconds(usage.system_time()),
        peak: u64::try_from(usage.max_rss()).unwrap_or_default() * 1024,
        own_peak,
        left,
        started,
        code: status.code(),
        late,
    };
    fs::write(PathBuf::from(result), serde_json::to_vec(&cost)?)?;
    Ok(())
}

/// A contender that runs, and the thread that looks at it.
struct Watched {
    child: Child,
    ended: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    late: Arc<AtomicBool>,
    watcher: std::thread::JoinHandle<()>,
}

impl Watched {
    fn start(child: Child, limit: Duration) -> Self {
        let (ended, late) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let peak = Arc::new(AtomicU64::new(0));
        let id = child.id();
        let shared = (ended.clone(), late.clone(), peak.clone());
        let begin = Instant::now();
        let watcher = std::thread::spawn(move || {
            let (ended, late, peak) = shared;
            while !ended.load(Ordering::Acquire) {
                // The kernel's own high-water mark, so that a look now and then
                // misses no peak but one in the last moment.
                if let Some(bytes) = high_water(id) {
                    peak.fetch_max(bytes, Ordering::Relaxed);
                }
                if begin.elapsed() > limit && !late.swap(true, Ordering::AcqRel) {
                    for child in children() {
                        kill_all_below(child);
                    }
                }
                std::thread::sleep(LOOK);
            }
        });
        Watched { child, ended, peak, late, watcher }
    }

    fn end(self) -> (u64, bool) {
        self.ended.store(true, Ordering::Release);
        let _ = self.watcher.join();
        (self.peak.load(Ordering::Relaxed), self.late.load(Ordering::Acquire))
    }
}

/// Waits for all that is left, so that its cost is counted, and kills what
/// does not end. Says how many that were.
fn take_leave() -> usize {
    let begin = Instant::now();
    let mut killed = 0;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) if begin.elapsed() < LEAVE => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) if begin.elapsed() < LEAVE * 3 => {
                for child in children() {
                    killed += kill_all_below(child);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            _ => return killed,
        }
    }
}

/// The process that there is of a number, and its high-water mark in bytes.
pub fn high_water(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// The children of this process.
fn children() -> Vec<i32> {
    children_of(rustix::process::getpid().as_raw_nonzero().get())
}

/// The children of a process.
pub fn children_of(id: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|text| {
            text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<i32>>()
        })
        .collect()
}

/// Kills a process and what it started; says how many that were.
fn kill_all_below(id: i32) -> usize {
    let below: usize = children_of(id).into_iter().map(kill_all_below).sum();
    let killed =
        Pid::from_raw(id).is_some_and(|pid| rustix::process::kill_process(pid, Signal::KILL).is_ok());
    below + usize::from(killed)
}
