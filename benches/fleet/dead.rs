//! Hosts that are dead: one that drops every packet, and one whose sshd is
//! frozen while the kernel below it still accepts.

use crate::rig::Rig;
use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The black hole's address.
pub const HOLE: Ipv4Addr = Ipv4Addr::new(127, 12, 0, 1);

/// A port that answers nobody: its queue of connections that nobody accepts
/// is full, so that Linux drops whoever knocks.
pub struct BlackHole {
    _listener: OwnedFd,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    /// One on this port.
    pub fn open(port: u16) -> Result<BlackHole> {
        let address = SocketAddrV4::new(HOLE, port);
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&listener, &address).context("cannot open the black hole")?;
        listen(&listener, 0)?;
        let mut queued = Vec::new();
        for _ in 0..16 {
            match TcpStream::connect_timeout(&address.into(), Duration::from_millis(300)) {
                Ok(stream) => queued.push(stream),
                Err(_) => return Ok(BlackHole { _listener: listener, _queued: queued }),
            }
        }
        anyhow::bail!("the black hole does not fill")
    }
}

/// A host whose sshd does nothing for as long as this lives.
pub struct Frozen(Pid);

impl Frozen {
    /// Freezes the sshd of a host.
    pub fn freeze(rig: &Rig, number: usize) -> Result<Frozen> {
        let pid = rig.sshd(number).and_then(Pid::from_raw).context("there is no such host")?;
        ensure!(kill_process(pid, Signal::STOP).is_ok(), "cannot freeze a host's sshd");
        Ok(Frozen(pid))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}
