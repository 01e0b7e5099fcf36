//! Who clears up after a run that is killed.
//!
//! The kernel kills our programs when we die, but not what these have started:
//! the ssh of a bastion, a tunnel, the shell of a `ProxyCommand`. So a run
//! that starts such programs has a keeper beside it, which is this program again.
//! It waits for the end of a pipe that the run alone holds open, then ends whatever
//! is left of the run, and removes its connections' directories. The run's own is
//! left: by it the next run knows that this one was killed, and says so.

use super::streams::pipe;
use super::{Failure, Program, Running, end_marked};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, stdin};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// The first argument of this program as a keeper; no host is named so.
const OPTION: &str = "--clear-up-after";
/// How often a keeper looks for what is left; a program may start another while
/// it is being ended.
const MOST_LOOKS: usize = 100;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Which program is ours.
static PROGRAM: OnceLock<String> = OnceLock::new();

/// A path of this process's program that is right also when another version was
/// installed meanwhile, and that has no white space.
pub fn this_program() -> &'static str {
    PROGRAM.get_or_init(|| format!("/proc/{}/exe", std::process::id()))
}

/// Names this program by a path without white space, once: for processes that do
/// not do its work when they are started again, such as tests.
pub fn call_this_program(path: &str) {
    let _ = PROGRAM.set(path.to_owned());
}

/// A keeper at work. When this is dropped it is let go: a run that ends in order
/// ends its programs itself.
#[derive(Debug)]
pub struct Keeper {
    _process: Running,
    _held_open: OwnedFd,
}

impl Keeper {
    /// Starts one for the run that has this directory.
    pub fn start(run: &Path) -> Result<Self, Failure> {
        let program = Program::new(this_program()).arg(OPTION).arg(run).outliving_us();
        let failed = |error| Failure::NotStarted { command: program.to_string(), error };
        let (end, held_open) = pipe().map_err(failed)?;
        let process = program.input_file(File::from(end)).start()?;
        Ok(Keeper { _process: process, _held_open: held_open })
    }
}

/// Does a keeper's work if these arguments of the program ask for it, and says
/// with which code to exit.
pub fn keep(arguments: impl IntoIterator<Item = OsString>) -> Option<u8> {
    let mut arguments = arguments.into_iter().skip(1);
    arguments.next().filter(|first| first == OPTION)?;
    let Some(run) = arguments.next() else { return Some(1) };
    let run = Path::new(&run);
    // Nothing is ever written to it.
    let _ = stdin().read_to_end(&mut Vec::new());
    for _ in 0..MOST_LOOKS {
        if end_marked(run) == 0 {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    for entry in std::fs::read_dir(run).into_iter().flatten().flatten() {
        // A file is no directory, and stays.
        let _ = std::fs::remove_dir_all(entry.path());
    }
    Some(0)
}
