//! Where programs are, what ties their lives to ours, and what the system lets
//! us have.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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
pub(super) fn guardian(path: &OsStr) -> Option<&'static PathBuf> {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    SETPRIV.get_or_init(|| find(OsStr::new("setpriv"), path)).as_ref()
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
