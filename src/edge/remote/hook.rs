//! Runs one hook of a host, to its end or ours.

use super::{Remote, random_mark};
use crate::core::format::text::{gist, last_lines, printable_bytes, shortened};
use crate::core::model::outcome::HookEnd;
use crate::sys::process::{Failure, Running, Tail};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub(super) const SCRIPT: &str = include_str!("hook.sh");
/// How much of a hook's output is kept, in bytes.
const OUTPUT_TAIL: usize = 64 * 1024;
/// How many lines of it are reported.
const OUTPUT_LINES: usize = 20;
/// How much of each is reported, in characters.
const LONGEST_LINE: usize = 500;
/// Between asking a hook to end and killing it.
const GRACE: Duration = Duration::from_secs(3);
/// How long the far side may take to say that a hook has been ended.
const LAST_WORD: Duration = Duration::from_secs(8);
/// The longest line that can follow the mark, in bytes. The hook knows the
/// mark, so what follows it may be the hook's.
const LONGEST_END: usize = 64;

/// A hook to run.
#[derive(Debug, Clone, Copy)]
pub struct Hook<'a> {
    /// The directory that it is in.
    pub directory: &'a str,
    /// Its name, one of the probe's.
    pub name: &'a str,
}

/// When a hook is ended.
#[derive(Debug)]
pub struct HookLimits<'a> {
    /// After so long.
    pub timeout: Duration,
    /// When the run is to stop.
    pub cancel: &'a CancellationToken,
}

/// One hook's run.
#[derive(Debug, Clone)]
pub struct HookRun {
    /// How it ended.
    pub end: HookEnd,
    /// The last lines of its output, safe to print.
    pub output: Vec<String>,
    /// How many bytes it printed in all.
    pub printed: u64,
    /// How long it took.
    pub took: Duration,
}

impl Remote {
    /// Runs one hook. Whatever happens, none of its processes stays, but for
    /// daemons of a hook that ended by itself.
    pub async fn hook(&self, hook: Hook<'_>, limits: HookLimits<'_>) -> HookRun {
        let begin = Instant::now();
        let mark = random_mark();
        let mut said = Tail::new(OUTPUT_TAIL);
        let end = self.run_hook(hook, &limits, &mark, &mut said).await;
        let printed = said.total();
        let output = last_lines(&said.take(), OUTPUT_LINES);
        let output = output.iter().map(|line| shortened(line, LONGEST_LINE)).collect();
        HookRun { end, output, printed, took: begin.elapsed() }
    }

    async fn run_hook(
        &self,
        hook: Hook<'_>,
        limits: &HookLimits<'_>,
        mark: &str,
        said: &mut Tail,
    ) -> HookEnd {
        // The far side's own limit is for a connection that dies unnoticed.
        let far_limit = limits.timeout + Duration::from_secs(60);
        let path = format!("{}/{}", hook.directory.trim_end_matches('/'), hook.name);
        let (limit, grace) = (far_limit.as_secs().to_string(), GRACE.as_secs().to_string());
        let script = self.script(SCRIPT, &[&path, &limit, &grace, mark], format!("hook {}", hook.name));
        let mut running = match script.input_pipe().start() {
            Ok(running) => running,
            Err(failure) => return HookEnd::Lost(failure.to_string()),
        };
        let mut output = MarkedOutput::new(mark);
        let ended = tokio::select! {
            end = output.read(&mut running, said) => Some(end),
            () = tokio::time::sleep(limits.timeout) => None,
            () = limits.cancel.cancelled() => None,
        };
        match ended {
            Some(Ok(Some((status, left)))) => HookEnd::Exited { status, left },
            Some(Err(lost)) => HookEnd::Lost(lost.to_string()),
            Some(Ok(None)) => {
                // It may be there still: what looked like its end was none. Then
                // the far side ends it, as long as nobody ends that first.
                running.close_input();
                let rest = async { while let Ok(Some(_)) = running.next().await {} };
                let _ = timeout(LAST_WORD, rest).await;
                let ended = running.stop(Duration::ZERO).await;
                HookEnd::Lost(format!("{}: {}", ended.exit, gist(&ended.stderr)))
            }
            None => {
                running.close_input();
                if timeout(LAST_WORD, output.read(&mut running, said)).await.is_err() {
                    tracing::warn!("hook {}: the host does not say whether it has ended", hook.name);
                }
                if limits.cancel.is_cancelled() { HookEnd::Cancelled } else { HookEnd::TimedOut }
            }
        }
    }
}

/// Output up to the line that the script ends with.
struct MarkedOutput {
    mark: Vec<u8>,
    held: Vec<u8>,
}

impl MarkedOutput {
    fn new(mark: &str) -> Self {
        MarkedOutput { mark: format!("\n{mark} ").into_bytes(), held: Vec::new() }
    }

    /// Reads on, into `said`, until the mark's line is whole; `None` if the
    /// output ends without it.
    async fn read(&mut self, running: &mut Running, said: &mut Tail) -> Result<Option<(i32, bool)>, Failure> {
        loop {
            if let Some(at) = self.held.windows(self.mark.len()).position(|part| part == self.mark) {
                let rest = &self.held[at + self.mark.len()..];
                if let Some(end) = rest.iter().position(|&b| b == b'\n') {
                    let line = printable_bytes(&rest[..end]);
                    said.push(&self.held[..at]);
                    let mut words = line.split(' ');
                    let status = words.next().and_then(|word| word.parse().ok());
                    let left = words.next() == Some("left");
                    return Ok(status.map(|status| (status, left)));
                }
                if rest.len() > LONGEST_END {
                    said.push(&self.held);
                    self.held.clear();
                    return Ok(None);
                }
            } else {
                // What cannot be the mark's beginning need not be held back.
                let safe = self.held.len().saturating_sub(self.mark.len());
                said.push(&self.held[..safe]);
                self.held.drain(..safe);
            }
            match running.next().await {
                Ok(Some(chunk)) => self.held.extend_from_slice(&chunk),
                ended => {
                    said.push(&self.held);
                    self.held.clear();
                    return ended.map(|_| None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    async fn run(script: &str, limit: Duration, cancel: &CancellationToken) -> (HookRun, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hook");
        std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{script}", dir.path().display())).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let remote = Remote::local();
        let hook = Hook { directory: dir.path().to_str().unwrap(), name: "hook" };
        (remote.hook(hook, HookLimits { timeout: limit, cancel }).await, dir)
    }

    fn pids(dir: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(dir.join("pids")).unwrap();
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Waits until a process is gone or a zombie that nobody has collected.
    fn assert_ends(pid: &str) {
        let gone = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(_) => true,
            Ok(stat) => stat.contains(") Z "),
        };
        let begin = Instant::now();
        while !gone() {
            assert!(begin.elapsed() < Duration::from_secs(10), "{pid} is still there");
            std::thread::yield_now();
        }
    }

    const LONG: Duration = Duration::from_secs(100);

    #[tokio::test]
    async fn a_hook_says_how_it_went() {
        let (run, _dir) = run("echo out; echo err >&2; exit 3", LONG, &CancellationToken::new()).await;
        assert_eq!(run.end, HookEnd::Exited { status: 3, left: false });
        assert_eq!(run.output, ["out", "err"]);
    }

    #[tokio::test]
    async fn a_flood_is_cut_to_its_tail() {
        let script = "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo last";
        let (run, _dir) = run(script, LONG, &CancellationToken::new()).await;
        assert_eq!(run.end, HookEnd::Exited { status: 0, left: false });
        assert_eq!(run.output.last().unwrap(), "last");
        assert!(run.printed > 100_000_000, "{}", run.printed);
    }

    #[tokio::test]
    async fn a_hook_that_abuses_the_mark_neither_fills_the_memory_nor_holds_up_the_run() {
        for (script, why) in [
            (
                r#"echo $$ > pids; printf '\n%s ' "$BACKUP_HOOK"; yes | tr -d '\n'"#,
                "an end that does not end",
            ),
            (
                r#"echo $$ > pids; printf '\n%s x\n' "$BACKUP_HOOK"; exec sleep 1000"#,
                "an end without a status",
            ),
        ] {
            let (run, dir) = run(script, LONG, &CancellationToken::new()).await;
            assert!(matches!(run.end, HookEnd::Lost(_)), "{why}: {:?}", run.end);
            pids(dir.path()).iter().for_each(|pid| assert_ends(pid));
            assert!(run.took < LONG / 2, "{why}: {:?}", run.took);
        }
    }

    #[tokio::test]
    async fn what_a_hook_leaves_in_the_background_is_ended_and_said() {
        let (run, dir) = run("sleep 1000 & echo $! > pids", LONG, &CancellationToken::new()).await;
        assert_eq!(run.end, HookEnd::Exited { status: 0, left: true });
        pids(dir.path()).iter().for_each(|pid| assert_ends(pid));
    }

    #[tokio::test]
    async fn a_service_that_a_hook_started_lives_on() {
        // The daemon tells that it has left the session before the hook ends.
        let script = "mkfifo f\nsetsid sh -c 'echo $$ > pids; echo > f; exec sleep 1000' & cat f";
        let (run, dir) = run(script, LONG, &CancellationToken::new()).await;
        assert!(matches!(run.end, HookEnd::Exited { status: 0, .. }), "{:?}", run.end);
        for pid in pids(dir.path()) {
            let id = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
            rustix::process::kill_process(id, rustix::process::Signal::KILL).expect("the daemon is gone");
        }
    }

    #[tokio::test]
    async fn a_hook_past_its_time_is_ended_with_its_whole_tree() {
        let script = "trap '' TERM\necho begun\nsetsid sh -c 'echo $$ >> pids; exec sleep 1000' &\nsleep 1000 & echo $$ $! >> pids\nwait";
        let (run, dir) = run(script, Duration::from_secs(1), &CancellationToken::new()).await;
        assert_eq!(run.end, HookEnd::TimedOut);
        assert_eq!(run.output[0], "begun");
        let pids = pids(dir.path());
        assert_eq!(pids.len(), 3);
        pids.iter().for_each(|pid| assert_ends(pid));
    }

    #[tokio::test]
    async fn a_hook_that_kills_itself_has_failed() {
        let (run, _dir) = run("kill -KILL $$", LONG, &CancellationToken::new()).await;
        assert_eq!(run.end, HookEnd::Exited { status: 137, left: false });
    }

    #[tokio::test]
    async fn a_run_that_stops_ends_its_hook() {
        let cancel = CancellationToken::new();
        let stop = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cancel.cancel();
        };
        let ((run, dir), ()) = tokio::join!(run("echo $$ > pids; sleep 1000", LONG, &cancel), stop);
        assert_eq!(run.end, HookEnd::Cancelled);
        pids(dir.path()).iter().for_each(|pid| assert_ends(pid));
    }

    #[tokio::test]
    async fn a_hook_that_cannot_be_started_has_failed() {
        let remote = Remote::local();
        let limits = HookLimits { timeout: LONG, cancel: &CancellationToken::new() };
        let run = remote.hook(Hook { directory: "/no/such", name: "hook" }, limits).await;
        assert!(matches!(run.end, HookEnd::Exited { status: 127, .. }), "{:?}", run.end);
    }
}
