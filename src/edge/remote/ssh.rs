//! One ssh connection a host, held by a master process; commands and rsync
//! ride on its control socket.
//!
//! The master stays in the foreground, a child of ours like every program, so
//! that it and whatever ssh starts to reach the host (`ProxyJump`,
//! `ProxyCommand`) are one process group, which lives as long as the
//! connection.

use super::keys::{self, Bastion, known_hosts_file};
use super::refusal::{self, Cause, Said};
use super::{Refusal, RemoteError, client, session};
use crate::core::format::text::{last_lines, printable};
use crate::core::model::host::Host;
use crate::core::model::settings;
use crate::sys::process::{Program, Running};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// How often ssh asks a silent server whether it is there; three silences end
/// the connection.
const ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long a master that has lost its connection may take to end.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The shortest and the longest pause between two looks for the socket.
const LOOKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// An open connection; dropping it ends its master.
#[derive(Debug)]
pub(super) struct Connection {
    socket: PathBuf,
    master: Master,
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
struct Master {
    task: JoinHandle<()>,
    /// The last line that it said, once it has ended.
    last_words: watch::Receiver<Option<String>>,
}

impl Master {
    fn of(running: Running) -> Self {
        let (sender, last_words) = watch::channel(None);
        let task = tokio::spawn(async move {
            let said = running.end().await.stderr;
            let _ = sender.send(Some(last_lines(&said, 1).join("")));
        });
        Master { task, last_words }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.task.abort();
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
                drop(running);
                return Err(silent(host, settings, whole).await);
            }
        };
        if connected {
            return Ok(Connection { socket, master: Master::of(running), _dir: dir });
        }
        let stderr = running.end().await.stderr;
        let (said, text) = (Said::of(&stderr), String::from_utf8_lossy(&stderr));
        // A key that is said not to be known has a remedy of its own, whosever it is.
        // Of a program on the way that ends at once, ssh mostly says that it is gone, but
        // not always.
        let is_cut_off = (text.lines().any(is_cut_off) || said.is_of_another)
            && !matches!(said.cause, Cause::UnknownKey(Some(_)) | Cause::ChangedKey(Some(_)));
        let bastion = if is_cut_off { Bastion::of(host, settings).await } else { None };
        Err(match bastion {
            Some(bastion) => cut_off(host, &bastion, &text),
            None => {
                let own = match said.cause {
                    Cause::ChangedKey(_) => keys::known_as(host, settings).await,
                    _ => None,
                };
                let said = said.of_whom(own.as_deref()).with_the_key(settings).await;
                refusal::explain(host, settings, said)
            }
        })
    }

    /// rsync's `--rsh`. The runtime directory's name has no white space, so
    /// that rsync splits this as it was joined.
    pub(super) fn rsh(&self) -> String {
        client::rsh(&self.socket)
    }

    /// A program that runs one command line of the far side's shell, called so for
    /// people. Without its master it fails, and connects to nothing by itself.
    pub(super) fn command(&self, line: String, label: &str) -> Program {
        let (socket, mut last_words) = (self.socket.clone(), self.master.last_words.clone());
        Program::elsewhere(label, async move |streams| {
            let ended = session::run(&socket, &line, streams).await;
            if let Ok(Some(exit)) = ended {
                return Ok(exit);
            }
            // A master that has lost its connection ends at once.
            let gone = timeout(LAST_WORDS, last_words.wait_for(Option::is_some)).await;
            match (gone, ended) {
                (Ok(Ok(said)), _) => {
                    let said = said.as_deref().filter(|said| !said.is_empty());
                    Err(format!(
                        "the connection was lost{}",
                        said.map_or(String::new(), |said| format!(": {said}"))
                    ))
                }
                (_, Err(error)) => Err(error.to_string()),
                _ => Err("it was killed there".to_owned()),
            }
        })
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
        .args(option("ServerAliveInterval", &ALIVE_INTERVAL.as_secs()));
    if let Some(port) = &host.settings.port {
        program = program.args(option("Port", port));
    }
    if let Some(key) = &settings.identity_file {
        program = program.args(["-o", "IdentitiesOnly=yes", "-o", "PubkeyAuthentication=yes", "-i"]).arg(key);
    }
    if let Some(file) = &settings.known_hosts_file {
        program = program.arg("-o").arg(known_hosts_file(file));
    }
    program.arg("-l").arg(&host.settings.user).args(["--", &host.address])
}

/// Whether ssh says so that it did not get as far as a host's greeting: what it was
/// to go through has ended or says nothing, if there is something.
fn is_cut_off(line: &str) -> bool {
    ["kex_exchange_identification:", "banner exchange", "UNKNOWN port 65535", "stdio forwarding failed"]
        .iter()
        .any(|words| line.contains(words))
}

/// A host that is not reached through its bastion, which mostly has said why.
fn cut_off(host: &Host, bastion: &Bastion, said: &str) -> RemoteError {
    // What only follows from the bastion's end says nothing where that has said more.
    let is_silent = said.lines().all(|line| line.trim().is_empty() || is_cut_off(line));
    let reason = printable(refusal::reason_among(said.lines().filter(|line| is_silent || !is_cut_off(line))));
    RemoteError::Connect {
        refusal: Refusal::OnTheWay,
        why: format!("cannot reach `{}` through {bastion}: {reason}", host.address),
        hint: Some(bastion.trial(host)),
    }
}

/// A host that neither answers nor refuses.
async fn silent(host: &Host, settings: &settings::Ssh, waited: Duration) -> RemoteError {
    let (why, hint) = match Bastion::of(host, settings).await {
        Some(bastion) => {
            let waited = crate::core::format::text::human_duration(waited);
            let why = format!("no answer from `{}` through {bastion} within {waited}", host.address);
            (why, bastion.trial(host))
        }
        None => (
            format!("`{}` accepted the connection and then said nothing", host.address),
            format!("try `{}`", refusal::by_hand(host)),
        ),
    };
    RemoteError::Connect { refusal: Refusal::Other, why, hint: Some(hint) }
}
