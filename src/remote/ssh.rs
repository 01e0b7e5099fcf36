//! One ssh connection a host, held by a master process; commands and rsync
//! ride on its control socket.
//!
//! The master stays in the foreground, a child of ours like every program, so
//! that it and whatever ssh starts to reach the host (`ProxyJump`,
//! `ProxyCommand`) are one process group, which lives as long as the
//! connection.

use super::refusal::{self, Said};
use super::{Refusal, RemoteError, client};
use crate::host::Host;
use crate::process::{Output, Program};
use crate::settings;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How often ssh asks a silent server whether it is there; three silences end
/// the connection.
const ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Stands for the host on the command lines of clients of the master, which
/// never look at it: no name from outside can become an option there.
const STAND_IN: &str = "client";
/// The shortest and the longest pause between two looks for the socket.
const LOOKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// An open connection; dropping it ends its master.
#[derive(Debug)]
pub(super) struct Connection {
    socket: PathBuf,
    _master: Master,
    _dir: Dir,
}

/// A connection's directory, removed when it is dropped.
#[derive(Debug)]
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A master whose words are heard, so that it never waits for a reader. When
/// this is dropped, it ends with all that it has started.
#[derive(Debug)]
struct Master(JoinHandle<Output>);

impl Drop for Master {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Connects, with strict host keys and without ever asking anybody.
    pub(super) async fn open(
        host: &Host,
        settings: &settings::Ssh,
        dir: PathBuf,
    ) -> Result<Self, RemoteError> {
        let dir = Dir(dir);
        let socket = dir.0.join("master");
        let run = dir.0.parent().unwrap_or(&dir.0);
        let mut running = master(host, settings, &socket).of_run(run).start()?;
        // ssh's own timeout covers the handshake, not the login: a server
        // that falls silent there would hold us for ever.
        let whole = settings.connect_timeout * 2 + Duration::from_secs(5);
        let connected = tokio::select! {
            () = appears(&socket) => true,
            () = async { while let Ok(Some(_)) = running.next().await {} } => false,
            () = tokio::time::sleep(whole) => {
                return Err(RemoteError::Connect {
                    refusal: Refusal::Other,
                    why: format!("`{}` accepted the connection and then said nothing", host.address),
                    hint: Some(format!("try `{}`", refusal::by_hand(host))),
                });
            }
        };
        if connected {
            let master = Master(tokio::spawn(running.end()));
            return Ok(Connection { socket, _master: master, _dir: dir });
        }
        let said = Said::of(&running.end().await.stderr);
        Err(refusal::explain(host, settings, said.with_the_key(settings).await))
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

/// Waits for a control socket, which ssh makes as soon as it is logged in. It is
/// looked for more and more seldom, so that a host that answers costs next to no
/// delay, and one that does not, next to no work.
async fn appears(socket: &Path) {
    let begin = Instant::now();
    while !socket.exists() {
        tokio::time::sleep((begin.elapsed() / 32).clamp(LOOKS.0, LOOKS.1)).await;
    }
}

/// What of ssh's configuration a connection must not depend on. The rest is
/// the operator's: where a host is, how it is reached, which keys are known.
const OPTIONS: [&str; 24] = [
    // Options that this ssh does not know, on our command line or in a
    // configuration that other machines share.
    "IgnoreUnknown=*",
    // Nobody is asked, and no unknown host trusted.
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "NoHostAuthenticationForLocalhost=no",
    "VisualHostKey=no",
    "PreferredAuthentications=gssapi-with-mic,hostbased,publickey",
    // Every reason is told, and nothing else.
    "LogLevel=ERROR",
    "LogVerbose=none",
    // A connection of our own, which ends with us and not before.
    "ControlPersist=no",
    "ForkAfterAuthentication=no",
    "ConnectionAttempts=1",
    "ServerAliveCountMax=3",
    "ChannelTimeout=none",
    // It carries our sessions alone, whatever else it is used for.
    "ClearAllForwardings=yes",
    "ExitOnForwardFailure=no",
    "Tunnel=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "GSSAPIDelegateCredentials=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "SessionType=none",
    "EnableEscapeCommandline=no",
];

/// The ssh that connects and then does nothing but serve its clients.
fn master(host: &Host, settings: &settings::Ssh, socket: &Path) -> Program {
    let option = |name: &str, value: &dyn Display| ["-o".to_owned(), format!("{name}={value}")];
    let mut program = Program::new("ssh")
        // A bastion's ssh has no such options from us. It must not ask at the
        // terminal of whoever runs us, but fail.
        .environment("SSH_ASKPASS", "/bin/false")
        .environment("SSH_ASKPASS_REQUIRE", "force")
        .args(OPTIONS.iter().flat_map(|option| ["-o", option]))
        .args(["-N", "-M", "-S"])
        .arg(socket)
        .args(option("ConnectTimeout", &settings.connect_timeout.as_secs()))
        .args(option("ServerAliveInterval", &ALIVE_INTERVAL.as_secs()))
        .args(option("Port", &host.settings.port));
    if let Some(key) = &settings.identity_file {
        program = program.args(["-o", "IdentitiesOnly=yes", "-o", "PubkeyAuthentication=yes", "-i"]).arg(key);
    }
    if let Some(file) = &settings.known_hosts_file {
        let mut option = OsString::from("UserKnownHostsFile=");
        option.push(file);
        program = program.arg("-o").arg(option);
    }
    program.arg("-l").arg(&host.settings.user).args(["--", &host.address])
}
