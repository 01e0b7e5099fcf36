//! The far side: a host reached over one ssh connection, or this machine.
//!
//! Everything that is done there goes through fixed scripts. They arrive encoded
//! with what they need to know (`words.rs`), so that no name or path is ever a
//! word of a shell's language. More data comes on their standard input, once they
//! have said that they are there: whatever else a login shell may start (another
//! shell, a menu) never gets it for commands.

pub mod client;
mod error;
mod hook;
mod inspect;
pub mod keys;
mod links;
mod mux;
mod probe;
mod refusal;
mod session;
mod ssh;
mod target;
mod words;

pub use error::{Refusal, RemoteError, SudoFault};
pub use hook::{Hook, HookLimits, HookRun};
pub use inspect::RemoteFile;
pub use links::{Links, each_limit};
pub use probe::{Hooks, Probe, Question, SourceState};
pub use refusal::by_hand;
pub use target::{Ground, Target};

use crate::core::model::host::{Host, Transport};
use crate::core::model::rsync_build;
use crate::core::model::settings;
use crate::sys::process::{After, Failure, Program};
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long rsync may take to say its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(30);
/// Says that a script is run.
const SIGN_OF_LIFE: &str = "printf \"%s\\n\" \"$1\"";
/// How long a login shell gets to start a script.
const FIRST_WORD: Duration = Duration::from_secs(60);
/// How long what has nothing to do gets to end.
const LAST_WORD: Duration = Duration::from_secs(10);
/// What every shell takes for nothing to do.
const NOTHING: &str = "true";
/// More than any login shell prints before it runs a command, in bytes.
const LONGEST_NOISE: usize = 256 * 1024;
/// More than rsync says of itself, in bytes.
const LONGEST_VERSION: usize = 64 * 1024;

/// A host that can be worked with. Dropping it ends its connection.
#[derive(Debug)]
pub struct Remote {
    connection: Option<ssh::Connection>,
    sudo: bool,
}

/// A script that reads data.
struct Asking<'a> {
    script: &'static str,
    /// Its words.
    words: &'a [&'a str],
    /// It says so on a line of its own that it is there.
    mark: &'a str,
    /// What it reads then.
    data: Vec<u8>,
    /// Whether its input ends with that.
    then: After,
    /// What errors call it.
    label: &'static str,
    /// It says no more than this, in bytes.
    most: usize,
    deadline: Duration,
}

impl Remote {
    /// Connects to the host, once; everything else goes through that
    /// connection. `dir` is a directory for its control socket, which is
    /// removed with it.
    pub async fn connect(host: &Host, settings: &settings::Ssh, dir: PathBuf) -> Result<Self, RemoteError> {
        let connection = match host.settings.transport {
            Transport::Ssh => Some(ssh::Connection::open(host, settings, dir).await?),
            Transport::Local => None,
        };
        // This machine's rsync runs as whoever runs us; so does the rest.
        let sudo = host.settings.sudo && connection.is_some();
        Ok(Remote { connection, sudo })
    }

    /// This machine.
    #[cfg(test)]
    fn local() -> Self {
        Remote { connection: None, sudo: false }
    }

    /// Whether the far side runs what it is told, for a connection over which no
    /// question will be asked.
    pub async fn answers(&self) -> Result<(), RemoteError> {
        let mark = random_mark();
        let asked = self.script(SIGN_OF_LIFE, &[&mark], "a sign of life".to_owned()).deadline(FIRST_WORD);
        let output = asked.most_output(LONGEST_NOISE).output().await?;
        if output.stdout.windows(mark.len()).any(|part| part == mark.as_bytes()) {
            return Ok(());
        }
        Err(RemoteError::no_answer(&output, self.sudo))
    }

    /// What comes back when the host's rsync is asked for its version as a copy
    /// would start it, and for its package (see [`rsync_build`]); text of a
    /// login shell before it is a fault.
    pub async fn rsync_version(&self) -> Result<String, RemoteError> {
        let asked = self.script(rsync_build::SCRIPT, &[], "`rsync --version` there".to_owned());
        let output = asked.deadline(VERSION_DEADLINE).most_output(LONGEST_VERSION).run().await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Uses the connection: a server may end one that nobody uses
    /// (`UnusedConnectionTimeout`). Whether the host has answered is not told.
    pub async fn touch(&self) {
        if let Some(connection) = &self.connection {
            let asked = connection.command(NOTHING.to_owned(), "a sign of life").output().await;
            tracing::debug!("a sign of life: {:?}", asked.map(|output| output.exit));
        }
    }

    /// rsync's `--rsh`, for a host that is not this machine.
    pub fn rsh(&self) -> Option<String> {
        self.connection.as_ref().map(ssh::Connection::rsh)
    }

    /// rsync's `--rsync-path`, if it is not simply `rsync`.
    pub fn rsync_path(&self) -> Option<&'static str> {
        self.sudo.then_some("sudo -n rsync")
    }

    /// A program that runs a fixed shell script on the host, with these words.
    fn script(&self, script: &'static str, words: &[&str], label: String) -> Program {
        match &self.connection {
            Some(connection) => connection.command(words::line(script, words, self.sudo), &label),
            None => Program::new("sh").args(words::arguments(script, words)).called(label),
        }
    }

    /// Runs a script that reads data, and gives what it said, from its mark on or
    /// from before.
    async fn ask(&self, asking: Asking<'_>) -> Result<Vec<u8>, RemoteError> {
        let Asking { script, words, mark, data, then, label, most, deadline } = asking;
        let mut running = self.script(script, words, label.to_owned()).input_pipe().start()?;
        let until = Instant::now() + deadline;
        let ready = format!("\n{mark}\n").into_bytes();
        let is_there = timeout(FIRST_WORD.min(deadline), running.says(&ready, LONGEST_NOISE)).await;
        if !is_there.unwrap_or(Ok(false))? {
            // A shell that waits for commands finds that there are none.
            running.close_input();
            let output = running.output(LAST_WORD, LONGEST_NOISE).await?;
            return Err(RemoteError::no_answer(&output, self.sudo));
        }
        running.feed(data, then);
        let output = running.output(until.duration_since(Instant::now()), most).await?;
        if output.exit.is_success() {
            return Ok(output.stdout);
        }
        let (command, exit, stderr) = (label.to_owned(), output.exit, output.stderr);
        Err(Failure::Failed { command, exit, stderr }.into())
    }
}

/// The most that is said, in bytes, of so many things, each told in so many.
fn most(things: usize, each: usize) -> usize {
    things.saturating_mul(each).saturating_add(LONGEST_NOISE)
}

/// A word that nobody can guess, to mark the ends of things that strangers
/// write. The standard library seeds its hashers from the system's randomness.
fn random_mark() -> String {
    let random = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_differ() {
        assert_ne!(random_mark(), random_mark());
    }
}
