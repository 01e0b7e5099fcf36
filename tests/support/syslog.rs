//! A syslog daemon of a test's own, and programs that find it, or none, at
//! `/dev/log`: they run in a mount namespace with a `/dev` of its own.

#![allow(missing_docs, clippy::unwrap_used, reason = "a support of tests fails by panicking")]

use super::rig::{Rig, program};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

/// Makes a small `/dev`: `$1` is an empty folder that holds the old one, `$2`
/// the daemon's socket or nothing; the rest is the program.
const SCRIPT: &str = r#"
set -e
old=$1 socket=$2
shift 2
mount --rbind /dev "$old"
mount -t tmpfs tmpfs /dev
for device in null zero random urandom tty; do
    : >"/dev/$device"
    mount --bind "$old/$device" "/dev/$device"
done
ln -s /proc/self/fd /dev/fd
[ -z "$socket" ] || ln -s "$socket" /dev/log
exec "$@"
"#;

/// Ends the daemon; no log line looks so.
const END: &[u8] = b"end";

/// Listens at a socket in a rig's folder.
pub struct Daemon {
    socket: PathBuf,
    lines: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub fn start(rig: &Rig) -> Self {
        let socket = rig.join("devlog");
        let listener = UnixDatagram::bind(&socket).unwrap();
        let (sender, lines) = channel();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length) = listener.recv(&mut buffer) {
                if &buffer[..length] == END {
                    break;
                }
                sender.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).unwrap();
            }
        });
        Daemon { socket, lines, thread: Some(thread) }
    }

    /// The program, with this daemon at `/dev/log`.
    pub fn behind(&self, rig: &Rig, command: Command) -> Command {
        in_small_dev(rig, command, self.socket.to_str().unwrap())
    }

    /// Ends the daemon and gives everything that it received, in order.
    pub fn received(mut self) -> Vec<String> {
        self.end();
        self.lines.try_iter().collect()
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            UnixDatagram::unbound().unwrap().send_to(END, &self.socket).unwrap();
            thread.join().unwrap();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// The program on a machine without a syslog daemon.
pub fn without_daemon(rig: &Rig, command: Command) -> Command {
    in_small_dev(rig, command, "")
}

fn in_small_dev(rig: &Rig, command: Command, socket: &str) -> Command {
    let old = rig.join("olddev");
    std::fs::create_dir_all(&old).unwrap();
    let mut small = program("unshare");
    small.args(["--mount", "--", "sh", "-c", SCRIPT, "sh"]).arg(old).arg(socket);
    small.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => small.env(name, value),
            None => small.env_remove(name),
        };
    }
    small.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    small
}
