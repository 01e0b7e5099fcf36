//! Where programs are, what ties their lives to ours, and what the system lets
//! us have.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where system programs are, for a caller whose `PATH` lacks them.
pub(super) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// More open files than any run needs.
const MOST_FILES: u64 = 65_536;
/// Open files that a host under way takes at most: its connection, a command or
/// rsync, its locks, its place in the store.
const FILES_OF_A_HOST: u64 = 16;
/// Open files of what is there once: the history, the log, Icinga, trees that are
/// being removed.
const FILES_BESIDE: u64 = 64;

/// Our own `PATH` with the system's directories after it.
pub(super) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(SYSTEM_PATH);
    path
}

/// Allows this process as many open files as the system lets it have; the usual
/// limit is 1024.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(MOST_FILES, |maximum| maximum.min(MOST_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        // Refused, fewer hosts are under way at once.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

/// How many open files this process may have.
pub fn file_limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(MOST_FILES)
}

/// With how many hosts at once a process stays below a limit of open files.
pub fn most_hosts(file_limit: u64) -> NonZeroUsize {
    let hosts = file_limit.saturating_sub(FILES_BESIDE) / FILES_OF_A_HOST;
    usize::try_from(hosts).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN)
}

/// A program's path, if it is there and executable. A name with a slash is a
/// path already.
pub(super) fn find(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
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

/// Where a program is that would be started by this name, if it is installed.
pub fn locate(name: &str) -> Option<PathBuf> {
    find(OsStr::new(name), &search_path())
}

/// `setpriv`, which ties a program's life to ours; part of util-linux.
pub(super) fn guardian(path: &OsStr) -> Option<&'static PathBuf> {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    SETPRIV.get_or_init(|| find(OsStr::new("setpriv"), path)).as_ref()
}

/// The variable that marks what is started for a run, and all that this starts.
const MARK: &str = "BACKUP_RUN";

/// The variable, as programs that belong to a run have it.
pub(super) fn mark(run: &Path) -> (&'static str, OsString) {
    (MARK, run.as_os_str().to_owned())
}

/// Ends every process that was marked as a run's ([`super::Program::of_run`]) or was
/// started by one, and says how many there were. One that has made itself a daemon
/// is left alone: ssh does so where its configuration shares the connection to
/// a bastion with others (`ControlPersist`).
pub fn end_marked(run: &Path) -> usize {
    let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
    let (key, value) = mark(run);
    let mark = [key.as_bytes(), b"=", value.as_bytes()].concat();
    let marked = |pid: i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == mark)
    };
    let all = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let left = all.filter(|pid| marked(*pid) && !session(*pid).is_some_and(marked));
    // Not SIGTERM: one that comes just before ssh's poll(2) is heard only at
    // the next keepalive. Nothing is under way that could be cut short.
    left.filter_map(Pid::from_raw).filter(|pid| kill_process(*pid, Signal::KILL).is_ok()).count()
}

/// The process that leads a process's session, proc(5).
fn session(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_the_name) = stat.rsplit_once(')')?;
    after_the_name.split_ascii_whitespace().nth(3)?.parse().ok()
}
