//! Where programs are, what ties their lives to ours, and what the system lets
//! us have.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where system programs are, for a caller whose `PATH` lacks them.
pub(super) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// More open files than any run needs.
const MOST_FILES: u64 = 65_536;

/// Our own `PATH` with the system's directories after it.
pub(super) fn search_path() -> OsString {
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

/// How often a connection's processes are looked for while one of them ends.
const MOST_LOOKS: usize = 10;

/// Makes this process the parent of what its children leave behind: an ssh
/// master makes itself a daemon, and is then found among our few children
/// rather than among all processes.
pub fn adopt_orphans() {
    // Refused, they are looked for everywhere.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Ends every `ssh` process whose command line names a path below `dir`, and
/// says how many there were. An ssh master that outlived its run, or that was
/// still connecting when its caller gave up, is known by its control socket's
/// path and by nothing else.
pub fn end_ssh_below(dir: &Path) -> usize {
    let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
    let all = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    kill(ssh_among(all, dir)).len()
}

/// [`end_ssh_below`] for what this run started: looks among its children first
/// (see [`adopt_orphans`]), and takes leave of those that it ended. A master
/// whose first client has not ended yet is that client's child.
pub fn end_own_ssh_below(dir: &Path) -> usize {
    /// What was ended and not yet collected.
    static ENDED: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
    let mut ended = Vec::new();
    for _ in 0..MOST_LOOKS {
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let children: Vec<i32> = threads.flat_map(|thread| children_of(&thread.path())).collect();
        let mut found = ssh_among(children.into_iter(), dir);
        let parents: Vec<i32> = found.iter().copied().filter(|pid| !is_master(*pid)).collect();
        let below = parents.iter().flat_map(|pid| children_of(Path::new(&format!("/proc/{pid}/task/{pid}"))));
        found.extend(ssh_among(below, dir));
        ended.extend(kill(found));
        // Whoever ended meanwhile has left its child to us.
        if parents.is_empty() {
            break;
        }
    }
    let count = if ended.is_empty() { end_ssh_below(dir) } else { ended.len() };
    let mut dying = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    dying.extend(ended);
    dying.retain(|pid| matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None)));
    count
}

fn children_of(thread: &Path) -> Vec<i32> {
    let pids = std::fs::read_to_string(thread.join("children")).unwrap_or_default();
    pids.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The processes that are an ssh whose command line names a path below `dir`.
fn ssh_among(pids: impl Iterator<Item = i32>, dir: &Path) -> Vec<i32> {
    let mut below = dir.as_os_str().as_bytes().to_vec();
    below.push(b'/');
    let ssh_of_ours = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"ssh\n")
            && command_line(*pid).windows(below.len()).any(|part| part == below)
    };
    pids.filter(ssh_of_ours).collect()
}

/// Whether an ssh is a master, which calls itself `ssh: SOCKET [mux]`.
fn is_master(pid: i32) -> bool {
    command_line(pid).windows(5).any(|part| part == b"[mux]")
}

/// Empty for a process that has ended.
fn command_line(pid: i32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Kills these, and says which were there.
fn kill(pids: Vec<i32>) -> Vec<Pid> {
    let pids = pids.into_iter().filter_map(Pid::from_raw);
    // Not SIGTERM: one that comes just before ssh's poll(2) is heard only at
    // the next keepalive. Nothing is under way that could be cut short.
    pids.filter(|pid| kill_process(*pid, Signal::KILL).is_ok()).collect()
}
