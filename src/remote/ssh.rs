//! One ssh connection a host, held by a master process; commands and rsync
//! ride on its control socket.
//!
//! The ssh that connects takes the first command along: when it has logged in,
//! it makes its master a process of its own and becomes a client of it. That
//! spares a program a host (see
//! `docs/decisions/0019-one-ssh-connects-and-asks.md`).

use super::{Refusal, RemoteError, client};
use crate::host::Host;
use crate::process::{self, Program, Running};
use crate::settings;
use crate::text::printable;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// How often ssh asks a silent server whether it is there; three silences end
/// the connection.
const ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// A master without its run ends by itself after so many idle seconds.
const PERSIST: u32 = 120;
/// Stands for the host on the command lines of clients of the master, which
/// never look at it: no name from outside can become an option there.
const STAND_IN: &str = "client";

/// An open connection; dropping it ends its master.
#[derive(Debug)]
pub(super) struct Connection {
    socket: PathBuf,
    /// The command that came with the connection, until it is asked for.
    first: Mutex<Option<Box<Running>>>,
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
    /// Connects, with strict host keys and without ever asking anybody, and
    /// runs a command line of the far side's shell there, with a pipe for its
    /// input. The command says something at once.
    pub(super) async fn open(
        host: &Host,
        settings: &settings::Ssh,
        dir: PathBuf,
        line: &str,
    ) -> Result<Self, RemoteError> {
        let dir = Dir(dir);
        let socket = dir.0.join("master");
        let mut running = master(host, settings, &socket, line).start()?;
        // ssh's own timeout covers the handshake, not the login: a server
        // that falls silent there would hold us for ever.
        let whole = settings.connect_timeout * 2 + Duration::from_secs(5);
        let answered = timeout(whole, running.next()).await;
        // The socket is there as soon as we are logged in. What becomes of the
        // command is told to whoever asks for it.
        if socket.exists() {
            return Ok(Connection { socket, first: Mutex::new(Some(Box::new(running))), _dir: dir });
        }
        match answered {
            Ok(_) => {
                let said = running.stop(Duration::ZERO).await.stderr;
                Err(explain(host, settings, &String::from_utf8_lossy(&said)))
            }
            Err(_) => Err(RemoteError::Connect {
                refusal: Refusal::Other,
                why: format!("`{}` accepted the connection and then said nothing", host.address),
                hint: Some(format!(
                    "try `ssh -v -p {} {}@{}`",
                    host.settings.port, host.settings.user, host.address
                )),
            }),
        }
    }

    /// The command that came with the connection, once, if it runs yet.
    pub(super) fn first(&self) -> Option<Running> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take().map(|running| *running)
    }

    /// rsync's `--rsh`. The runtime directory's name has no white space, so
    /// that rsync splits this as it was joined.
    pub(super) fn rsh(&self) -> String {
        client::rsh(&self.socket)
    }

    /// A program that runs one command line of the far side's shell. Without its
    /// master it must fail, not connect by itself: hence the proxy that is none.
    pub(super) fn command(&self, line: &str) -> Program {
        Program::new("ssh")
            .args(["-F", "/dev/null", "-T", "-S"])
            .arg(&self.socket)
            .args(["-o", "ControlMaster=no", "-o", "BatchMode=yes", "-o", "ProxyCommand=false"])
            .args(["--", STAND_IN, line])
    }
}

/// The ssh that connects, becomes a client of the master that it leaves
/// behind, and runs a command line.
fn master(host: &Host, settings: &settings::Ssh, socket: &Path, line: &str) -> Program {
    let option = |name: &str, value: &dyn Display| ["-o".to_owned(), format!("{name}={value}")];
    let mut program = Program::new("ssh")
        .input_pipe()
        // Whatever the configuration of ssh says: no terminal, no display, no
        // agent there, and no other command. OpenSSH before 8.7 has not got all
        // of these options.
        .args(["-T", "-x", "-a", "-o", "IgnoreUnknown=SessionType,ForkAfterAuthentication"])
        .args(["-o", "SessionType=default", "-o", "ForkAfterAuthentication=no", "-o", "RemoteCommand=none"])
        .args(["-M", "-S"])
        .arg(socket)
        .args(option("ControlPersist", &format_args!("{PERSIST}s")))
        .args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
        .args(option("ConnectTimeout", &settings.connect_timeout.as_secs()))
        .args(option("ServerAliveInterval", &ALIVE_INTERVAL.as_secs()))
        .args(option("Port", &host.settings.port));
    if let Some(key) = &settings.identity_file {
        program = program.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(key);
    }
    if let Some(file) = &settings.known_hosts_file {
        let mut option = OsString::from("UserKnownHostsFile=");
        option.push(file);
        program = program.arg("-o").arg(option);
    }
    program.arg("-l").arg(&host.settings.user).args(["--", &host.address, line])
}

/// What ssh said, and what to do about it.
fn explain(host: &Host, settings: &settings::Ssh, said: &str) -> RemoteError {
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
        (Refusal::Other, format!("cannot connect to `{address}`: {}", last_line(said)), None)
    };
    RemoteError::Connect { refusal, why, hint }
}

fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("ssh gave no reason").trim();
    printable(line.strip_prefix("ssh: ").unwrap_or(line))
}
