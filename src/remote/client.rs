//! rsync's way to a host: a client of the ssh master that holds the host's
//! connection, played by this program itself.
//!
//! rsync starts a program for its connection. That program could be `ssh -S`,
//! but most of what a small host's copy costs beyond rsync is then that ssh
//! loads its libraries and its configuration, to hand three descriptors to the
//! master and wait (docs/decisions/0020-rsyncs-ssh-is-ourselves.md).
//!
//! The protocol is `PROTOCOL.mux` of OpenSSH, version 4: packets of a length
//! and numbers of 32 bits, most significant byte first, and texts with their
//! length before them.

use crate::process::this_program;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The first argument of this program as a client; no host is named so.
const OPTION: &str = "--ssh-client";
/// The exit code for what is not the far side's fault, as ssh's.
const NO_SESSION: u8 = 255;
/// More than a master says at once, in bytes.
const LONGEST_PACKET: usize = 64 * 1024;

const VERSION: u32 = 4;
const HELLO: u32 = 0x0000_0001;
const NEW_SESSION: u32 = 0x1000_0002;
const PERMISSION_DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
const EXIT_MESSAGE: u32 = 0x8000_0004;
const SESSION_OPENED: u32 = 0x8000_0006;
/// No terminal, no display, no agent, no subsystem.
const NO: u32 = 0;
/// No character ends the session.
const NO_ESCAPE: u32 = u32::MAX;

/// Does a client's work if these arguments of the program ask for it, and says
/// with which code to exit.
pub fn play(arguments: impl IntoIterator<Item = OsString>) -> Option<u8> {
    let mut arguments = arguments.into_iter().skip(1);
    arguments.next().filter(|first| first == OPTION)?;
    let ended = match arguments.next() {
        Some(socket) => {
            // rsync names a host, which the master knows better.
            let words: Vec<OsString> = arguments.skip(1).collect();
            session(Path::new(&socket), words.join(OsStr::new(" ")).as_bytes())
        }
        None => Err(io::Error::other("it is not said which (rsync starts this, nobody else needs it)")),
    };
    Some(ended.unwrap_or_else(|error| {
        // A master makes the streams that it gets non-blocking; what cannot be
        // written is not worth another exit code.
        let _ = writeln!(io::stderr(), "cannot use the connection of ssh: {error}");
        NO_SESSION
    }))
}

/// rsync's `--rsh` for a master: this process's program, by a path that has no
/// white space and is right also when another version was installed meanwhile.
pub(super) fn rsh(socket: &Path) -> String {
    format!("{} {OPTION} {}", this_program(), socket.display())
}

/// Runs a command line of the far side's shell with our stdin, stdout and
/// stderr, and says how it ended. Dies with its parent: should the run be
/// killed, the kernel kills the rsync that the run started, but not the one that
/// this forked to write the files. That one ends when its connection does.
fn session(socket: &Path, command: &[u8]) -> io::Result<u8> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut master = UnixStream::connect(socket)?;
    send(&mut master, &[number(HELLO), number(VERSION)].concat())?;
    let hello = receive(&mut master)?.ok_or_else(gone)?;
    if (word(&hello, 0), word(&hello, 1)) != (Some(HELLO), Some(VERSION)) {
        return Err(io::Error::other("its master speaks another version of the protocol"));
    }
    let id = number(0);
    let (reserved, terminal) = (text(b"")?, text(b"")?);
    let flags = [NO, NO, NO, NO, NO_ESCAPE].map(number).concat();
    let asked = [&number(NEW_SESSION)[..], &id, &reserved, &flags, &terminal, &text(command)?].concat();
    send(&mut master, &asked)?;
    for stream in [io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()] {
        hand_over(&master, stream)?;
    }
    let mut opened = false;
    let mut code = None;
    loop {
        let said = match (receive(&mut master), code) {
            (Ok(Some(said)), _) => said,
            (_, Some(code)) => return Ok(code),
            (Ok(None), None) if opened => {
                return Err(io::Error::other(
                    "the session ended without an exit code (the connection was lost, or the command there was killed)",
                ));
            }
            (Ok(None), None) => return Err(gone()),
            (Err(error), None) => return Err(error),
        };
        match (word(&said, 0), word(&said, 2)) {
            (Some(SESSION_OPENED), _) => opened = true,
            // The master closes the connection when all that the far side said
            // has been written; who leaves before cuts it off.
            (Some(EXIT_MESSAGE), Some(ended)) => code = Some(u8::try_from(ended).unwrap_or(NO_SESSION)),
            (Some(PERMISSION_DENIED | FAILURE), _) => {
                let why = String::from_utf8_lossy(said.get(12..).unwrap_or_default()).into_owned();
                return Err(io::Error::other(why));
            }
            (other, _) => {
                let other = other.unwrap_or_default();
                return Err(io::Error::other(format!(
                    "its master said {other:#x}, of which nothing is known"
                )));
            }
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("its master has ended")
}

fn number(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// A text or a packet with its length before it.
fn text(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok([&number(length), bytes].concat())
}

/// The number at a place in a packet, counted in numbers.
fn word(packet: &[u8], at: usize) -> Option<u32> {
    packet.chunks_exact(4).nth(at)?.try_into().ok().map(u32::from_be_bytes)
}

fn send(master: &mut UnixStream, packet: &[u8]) -> io::Result<()> {
    master.write_all(&text(packet)?)
}

/// The next packet; none if the master has ended.
fn receive(master: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match master.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST_PACKET {
        return Err(io::Error::other("its master says more than can be right"));
    }
    let mut packet = vec![0; length];
    master.read_exact(&mut packet)?;
    Ok(Some(packet))
}

/// Hands a descriptor to the master, with a byte for it to come with.
fn hand_over(master: &UnixStream, stream: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let streams = [stream];
    rights.push(SendAncillaryMessage::ScmRights(&streams));
    sendmsg(master, &[IoSlice::new(&[0])], &mut rights, SendFlags::NOSIGNAL)?;
    Ok(())
}
