//! Lines to the system's log, which may be away or come back at any moment.
//!
//! A line that cannot be written waits with those after it, in order, until a
//! daemon is there again or the run ends. Nothing here blocks for long, and
//! nothing that goes wrong here is an error of the run.

use super::Lines;
use crate::core::format::text::printable;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use syslog::{Facility, Formatter3164, Logger, LoggerBackend};
use tracing::Level;

/// The longest line, in bytes: RFC 3164 gives a packet 1024, of which the
/// priority, the time and `backup[…]: ` take up to 45.
const LONGEST_LINE: usize = 975;
/// How many lines wait at most; the oldest go first.
const MOST_WAITING: usize = 1000;
/// How long a daemon may take to make room for a line.
const PATIENCE: Duration = Duration::from_millis(250);

/// The system's log.
pub(super) struct Syslog {
    path: PathBuf,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    logger: Option<Logger<LoggerBackend, Formatter3164>>,
    /// When a connection was last tried.
    tried: Option<Instant>,
    waiting: VecDeque<(Level, String)>,
    complained: bool,
}

impl Syslog {
    /// The log behind this socket. A lost one is looked for again only after
    /// each `pause`.
    pub(super) fn new(path: &Path, pause: Duration) -> Self {
        Syslog { path: path.to_owned(), pause, state: Mutex::default() }
    }

    /// Writes an event's lines, or keeps them. Returns what to tell the
    /// operator the first time that this fails.
    pub(super) fn write(&self, level: Level, lines: &Lines) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for line in lines.for_machines() {
            if state.waiting.len() == MOST_WAITING {
                state.waiting.pop_front();
            }
            state.waiting.push_back((level, shortened(line)));
        }
        let result = self.flush(&mut state);
        self.complaint(&mut state, result)
    }

    /// Writes what waits, as far as it can still be done.
    pub(super) fn finish(&self) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tried = None;
        let result = self.flush(&mut state);
        self.complaint(&mut state, result)
    }

    fn complaint(&self, state: &mut State, result: Result<(), syslog::Error>) -> Option<String> {
        let error = result.err().filter(|_| !state.complained)?;
        state.complained = true;
        let path = self.path.to_string_lossy();
        Some(printable(&format!(
            "cannot write to syslog at `{path}`, the run goes on without it: {} \
             (is systemd-journald or another syslog daemon running?)",
            why(&error)
        )))
    }

    fn flush(&self, state: &mut State) -> Result<(), syslog::Error> {
        let mut fresh = false;
        while let Some((level, line)) = state.waiting.front() {
            let Some(logger) = &mut state.logger else {
                if state.tried.is_some_and(|tried| tried.elapsed() < self.pause) {
                    return Ok(());
                }
                state.tried = Some(Instant::now());
                state.logger = Some(connect(&self.path)?);
                fresh = true;
                continue;
            };
            let written = match *level {
                Level::ERROR => logger.err(line),
                Level::WARN => logger.warning(line),
                Level::INFO => logger.info(line),
                _ => logger.debug(line),
            };
            match written {
                Ok(()) => drop(state.waiting.pop_front()),
                Err(error) => {
                    state.logger = None;
                    // A daemon that was started anew has a new socket, and
                    // is there at once; one that is slow, or refuses the
                    // line, is left alone for a while.
                    if fresh || !is_gone(&error) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Syslog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syslog").field("path", &self.path).finish_non_exhaustive()
    }
}

fn connect(path: &Path) -> Result<Logger<LoggerBackend, Formatter3164>, syslog::Error> {
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: "backup".to_owned(),
        pid: std::process::id(),
    };
    let logger = syslog::unix_custom(formatter, path)?;
    match &logger.backend {
        LoggerBackend::Unix(socket) => socket.set_write_timeout(Some(PATIENCE))?,
        LoggerBackend::UnixStream(stream) => stream.get_ref().set_write_timeout(Some(PATIENCE))?,
        LoggerBackend::Udp(..) | LoggerBackend::Tcp(..) => {}
    }
    Ok(logger)
}

/// Whether the socket's other end is no more, rather than slow.
fn is_gone(error: &syslog::Error) -> bool {
    match error {
        syslog::Error::Write(error) | syslog::Error::Io(error) => error.kind() != io::ErrorKind::WouldBlock,
        syslog::Error::Initialization(_) => true,
    }
}

/// The system's reason alone; the crate wraps it in words of its own.
fn why(error: &syslog::Error) -> String {
    match error {
        syslog::Error::Write(error) | syslog::Error::Io(error) => match error.kind() {
            io::ErrorKind::WouldBlock => "it takes nothing more".to_owned(),
            _ => error.to_string(),
        },
        syslog::Error::Initialization(error) => match error.downcast_ref::<syslog::Error>() {
            Some(inner) => why(inner),
            None => error.to_string(),
        },
    }
}

/// The line cut to what fits, with an ellipsis where something went.
fn shortened(mut line: String) -> String {
    if line.len() > LONGEST_LINE {
        let room = LONGEST_LINE - "…".len();
        let end =
            line.char_indices().map(|(index, c)| index + c.len_utf8()).take_while(|end| *end <= room).last();
        line.truncate(end.unwrap_or_default());
        line.push('…');
    }
    line
}
