//! The far side: a host reached over one ssh connection, or this machine.
//!
//! Everything that is done there goes through fixed scripts, whose data comes
//! on their standard input, so that no name or path is ever a shell word.

pub mod client;
mod hook;
pub mod keys;
mod links;
mod look;
mod mux;
mod probe;
mod session;
mod ssh;
mod target;

pub use hook::{Hook, HookLimits, HookRun};
pub use links::{Links, each_limit};
pub use look::Look;
pub use probe::{Hooks, Probe, Question, SourceState};
pub use target::{Ground, Target};

use crate::host::{Host, Transport};
use crate::process::{Failure, Program};
use crate::rsync_build;
use crate::settings;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::time::Duration;

/// How long rsync may take to say its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(30);
/// More than rsync says of itself, in bytes; and more than a login shell says
/// before a script does.
const LONGEST_VERSION: usize = 64 * 1024;

/// Why the far side could not be worked with: what was being done, why it
/// failed, and on further lines what to try.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No connection.
    #[error("{why}{}", .hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
    Connect {
        /// What kind of refusal it is.
        refusal: Refusal,
        /// What ssh said.
        why: String,
        /// What to try.
        hint: Option<String>,
    },
    /// The user may not become root there.
    #[error(
        "sudo does not work there: {0} (install it, and let the user run everything without a \
         password: `NOPASSWD: ALL` in `/etc/sudoers.d`)"
    )]
    Sudo(String),
    /// A program did not do its work.
    #[error(transparent)]
    Program(#[from] Failure),
    /// The far side's answer makes no sense.
    #[error("cannot understand the host's answer: {0}")]
    Nonsense(String),
    /// What is no directory of hooks is configured, or was made there, as one.
    #[error("there are more than {0} executables in the host's directory of hooks (remove what is no hook)")]
    TooManyHooks(usize),
}

/// What kept a connection from being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No key of the host is known.
    UnknownKey,
    /// The host's key is not the one that is known.
    ChangedKey,
    /// The host does not let us in.
    Login,
    /// Nobody is there.
    Unreachable,
    /// Something else.
    Other,
}

/// A host that can be worked with. Dropping it ends its connection.
#[derive(Debug)]
pub struct Remote {
    connection: Option<ssh::Connection>,
    sudo: bool,
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

    /// What comes back when the host's rsync is asked for its version as a copy
    /// would start it, and for its package (see [`rsync_build`]); text of a
    /// login shell before it is a fault.
    pub async fn rsync_version(&self) -> Result<String, RemoteError> {
        let asked = self.script(rsync_build::SCRIPT, "`rsync --version` there".to_owned());
        let output = asked.deadline(VERSION_DEADLINE).most_output(LONGEST_VERSION).run().await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Uses the connection: a server may end one that nobody uses
    /// (`UnusedConnectionTimeout`). Whether the host has answered is not told.
    pub async fn touch(&self) {
        if let Some(connection) = &self.connection {
            let asked = connection.command("exec true".to_owned(), "a sign of life").output().await;
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

    /// A program that runs a fixed shell script on the host, and takes no more from
    /// it than that it is asked about so many things, each told in so many bytes.
    fn asked(&self, script: &'static str, label: String, things: usize, each: usize) -> Program {
        let most = things.saturating_mul(each).saturating_add(LONGEST_VERSION);
        self.script(script, label).most_output(most)
    }

    /// A program that runs a fixed shell script on the host.
    fn script(&self, script: &'static str, label: String) -> Program {
        match &self.connection {
            Some(connection) => connection.command(shell_line(script, self.sudo), &label),
            None => Program::new("sh").args(["-c", script, "sh"]).called(label),
        }
    }
}

/// What the far side's login shell is told, to run a fixed shell script.
fn shell_line(script: &'static str, sudo: bool) -> String {
    let sudo = if sudo { "sudo -n " } else { "" };
    format!("exec {sudo}sh -c '{script}' sh")
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
    fn scripts_can_travel_as_one_shell_word() {
        for script in
            [probe::SCRIPT, hook::SCRIPT, links::SCRIPT, look::SCRIPT, target::SCRIPT, rsync_build::SCRIPT]
        {
            assert!(!script.contains('\''));
        }
    }

    #[test]
    fn marks_differ() {
        assert_ne!(random_mark(), random_mark());
    }
}
