//! One ssh connection a host, held by a master process of the `openssh`
//! crate; commands and rsync ride on its control socket.
//!
//! The crate's own commands are not used, because `process.rs` gives ours a
//! deadline, a process group and an end with our own (see
//! `docs/decisions/0002-openssh-for-the-master-only.md`).

use super::{Refusal, RemoteError};
use crate::host::Host;
use crate::process::{self, Program};
use crate::settings;
use crate::text::printable;
use openssh::{ControlPersist, KnownHosts, SessionBuilder};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// How often ssh asks a silent server whether it is there; three silences end
/// the connection.
const ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// A master without its run ends by itself after so many idle seconds.
const PERSIST: NonZeroUsize = NonZeroUsize::new(120).unwrap();
/// Stands for the host on the command lines of clients of the master, which
/// never look at it: no name from outside can become an option there.
const STAND_IN: &str = "client";

/// An open connection; dropping it ends its master.
#[derive(Debug)]
pub(super) struct Connection {
    socket: PathBuf,
    _dir: Dir,
}

/// A connection's directory. When it is dropped, what was started with a
/// control socket in it ends: a master, or an ssh that is still connecting.
#[derive(Debug)]
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        process::end_own_ssh_below(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Connection {
    /// Connects, with strict host keys and without ever asking anybody.
    pub(super) async fn open(
        host: &Host,
        settings: &settings::Ssh,
        dir: PathBuf,
    ) -> Result<Self, RemoteError> {
        let mut builder = SessionBuilder::default();
        builder
            .known_hosts_check(KnownHosts::Strict)
            .user(host.settings.user.clone())
            .port(host.settings.port)
            .connect_timeout(settings.connect_timeout)
            .server_alive_interval(ALIVE_INTERVAL)
            .control_persist(ControlPersist::IdleFor(PERSIST))
            .control_directory(&dir);
        if let Some(key) = &settings.identity_file {
            builder.keyfile(key);
        }
        if let Some(file) = &settings.known_hosts_file {
            builder.user_known_hosts_file(file);
        }
        // ssh's own timeout covers the handshake, not the login: a server
        // that falls silent there would hold us for ever.
        let whole = settings.connect_timeout * 2 + Duration::from_secs(5);
        let dir = Dir(dir);
        let sockets = match timeout(whole, builder.launch_master(&host.address)).await {
            Ok(Ok(sockets)) => sockets,
            Ok(Err(error)) => return Err(explain(host, settings, &error)),
            Err(_) => {
                return Err(RemoteError::Connect {
                    refusal: Refusal::Other,
                    why: format!("`{}` accepted the connection and then said nothing", host.address),
                    hint: Some(format!(
                        "try `ssh -v -p {} {}@{}`",
                        host.settings.port, host.settings.user, host.address
                    )),
                });
            }
        };
        // The directory goes as a whole.
        Ok(Connection { socket: sockets.keep().join("master"), _dir: dir })
    }

    /// What a client of the master is started with. Without its master it
    /// must fail, not connect by itself: hence the proxy that is none.
    fn options(&self) -> Vec<String> {
        let socket = self.socket.to_string_lossy().into_owned();
        ["-F", "/dev/null", "-T", "-S", &socket, "-o", "ControlMaster=no", "-o", "BatchMode=yes", "-o"]
            .into_iter()
            .chain(["ProxyCommand=false"])
            .map(str::to_owned)
            .collect()
    }

    /// rsync's `--rsh`. The runtime directory's name has no white space, so
    /// that rsync splits this as it was joined.
    ///
    /// Should we be killed, the kernel kills the rsync that we started, but not
    /// the one that this forked to write the files: that one ends when its ssh
    /// does, so ssh is tied to the first.
    pub(super) fn rsh(&self) -> String {
        process::guarded(&format!("ssh {}", self.options().join(" ")))
    }

    /// A program that runs one command line of the far side's shell.
    pub(super) fn command(&self, line: &str) -> Program {
        Program::new("ssh").args(self.options()).args(["--", STAND_IN, line])
    }
}

/// What ssh said, and what to do about it.
fn explain(host: &Host, settings: &settings::Ssh, error: &openssh::Error) -> RemoteError {
    use std::error::Error;
    let said = match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    };
    let (address, user) = (&host.address, &host.settings.user);
    let file = settings.known_hosts_file.as_deref().unwrap_or(Path::new("/root/.ssh/known_hosts")).display();
    let entry = if host.settings.port == 22 {
        address.clone()
    } else {
        format!("[{address}]:{}", host.settings.port)
    };
    let (refusal, why, hint) = if said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        (
            Refusal::ChangedKey,
            format!("the host key of `{address}` is not the one in `{file}`"),
            Some(format!(
                "somebody may stand in between; if the host was reinstalled, remove the old key with \
                 `ssh-keygen -f {file} -R '{entry}'` and add the new one"
            )),
        )
    } else if said.contains("host key is known for") || said.contains("Host key verification failed") {
        (
            Refusal::UnknownKey,
            format!("the host key of `{address}` is not known"),
            Some(format!(
                "`backup check --trust-host-keys {}` shows it and, after a yes, keeps it",
                host.name
            )),
        )
    } else if said.contains("Permission denied (") {
        (
            Refusal::Login,
            format!("`{user}@{address}` refuses our key"),
            Some(format!("put this server's public key into `{user}`'s authorized_keys there")),
        )
    } else if said.contains("Connection refused") {
        (
            Refusal::Unreachable,
            format!("`{address}` refuses connections to port {}", host.settings.port),
            Some("is sshd running there?".to_owned()),
        )
    } else if said.contains("Connection timed out")
        || said.contains("Operation timed out")
        || said.contains("timed out during banner")
    {
        let limit = crate::text::human_duration(settings.connect_timeout);
        (
            Refusal::Unreachable,
            format!("`{address}` did not answer within {limit}"),
            Some("is it up, and its address right?".to_owned()),
        )
    } else if said.contains("Could not resolve hostname") {
        (
            Refusal::Unreachable,
            format!("no address is known for `{address}`"),
            Some("is it in DNS, or is `domain` missing?".to_owned()),
        )
    } else {
        (Refusal::Other, format!("cannot connect to `{address}`: {}", last_line(&said)), None)
    };
    RemoteError::Connect { refusal, why, hint }
}

fn last_line(text: &str) -> String {
    printable(text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("ssh gave no reason").trim())
}
