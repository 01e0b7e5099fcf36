//! The words of an ssh master's protocol that a session needs: `PROTOCOL.mux` of
//! OpenSSH, version 4. Packets of a length and numbers of 32 bits, most significant
//! byte first, and texts with their length before them.
//!
//! No library, for the one there is leaves before all that the far side said has
//! been written (docs/decisions/0021-connections.md).

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// More than a master says at once, in bytes.
const LONGEST_PACKET: usize = 64 * 1024;

const VERSION: u32 = 4;
const HELLO: u32 = 0x0000_0001;
const NEW_SESSION: u32 = 0x1000_0002;
const PERMISSION_DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
/// The reason with which a master passes on that the server opens no session
/// (`mux_session_confirm` of OpenSSH's `mux.c`).
const REFUSED: &[u8] = b"Session open refused by peer";
const EXIT_MESSAGE: u32 = 0x8000_0004;
const SESSION_OPENED: u32 = 0x8000_0006;
/// No terminal, no display, no agent, no subsystem.
const NO: u32 = 0;
/// No character ends the session.
const NO_ESCAPE: u32 = u32::MAX;

/// What a client says first.
pub(super) fn hello() -> io::Result<Vec<u8>> {
    text(&[number(HELLO), number(VERSION)].concat())
}

/// Asks for a session that runs a command line of the far side's shell. The
/// session's three streams are to be handed over next.
pub(super) fn new_session(command: &[u8]) -> io::Result<Vec<u8>> {
    let id = number(0);
    let (reserved, terminal) = (text(b"")?, text(b"")?);
    let flags = [NO, NO, NO, NO, NO_ESCAPE].map(number).concat();
    text(&[&number(NEW_SESSION)[..], &id, &reserved, &flags, &terminal, &text(command)?].concat())
}

/// Hands a stream to the master, with a byte for it to come with.
pub(super) fn hand_over(master: impl AsFd, stream: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let streams = [stream];
    rights.push(SendAncillaryMessage::ScmRights(&streams));
    sendmsg(master, &[IoSlice::new(&[0])], &mut rights, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// How many bytes follow these four.
pub(super) fn length(bytes: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(bytes) as usize;
    if length > LONGEST_PACKET {
        return Err(io::Error::other("its master says more than can be right"));
    }
    Ok(length)
}

/// What a master says to a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It speaks our version.
    Hello,
    /// The session is open.
    Opened,
    /// The server opens no session, and nothing was run.
    Refused,
    /// The command has ended, with this exit code. The master closes the
    /// connection when all that the far side said has been written; who leaves
    /// before cuts it off.
    Ended(u32),
}

/// Takes a packet of a master apart.
pub(super) fn said(packet: &[u8]) -> io::Result<Said> {
    match (word(packet, 0), word(packet, 1), word(packet, 2)) {
        (Some(HELLO), Some(VERSION), _) => Ok(Said::Hello),
        (Some(HELLO), ..) => Err(io::Error::other("its master speaks another version of the protocol")),
        (Some(SESSION_OPENED), ..) => Ok(Said::Opened),
        (Some(EXIT_MESSAGE), _, Some(code)) => Ok(Said::Ended(code)),
        (Some(FAILURE), ..) if reason(packet) == REFUSED => Ok(Said::Refused),
        (Some(PERMISSION_DENIED | FAILURE), ..) => {
            let why = String::from_utf8_lossy(reason(packet)).into_owned();
            Err(io::Error::other(why))
        }
        (other, ..) => {
            let other = other.unwrap_or_default();
            Err(io::Error::other(format!("its master said {other:#x}, of which nothing is known")))
        }
    }
}

/// How long to wait before a session that the server has refused is asked for
/// again, each time; five seconds altogether. A server that allows one session at
/// a time (`MaxSessions 1`) frees its place only some time after it has told us
/// that the session before has ended.
pub(super) fn waits() -> impl Iterator<Item = Duration> {
    (0..9).map(|exponent| Duration::from_millis(10 << exponent))
}

/// What is said when it is refused to the end.
pub(super) fn refused() -> io::Error {
    io::Error::other("the server opens no further session (see `MaxSessions` in its `sshd_config`)")
}

/// A master that answers what was not asked.
pub(super) fn out_of_turn() -> io::Error {
    io::Error::other("its master does not keep to the protocol")
}

/// Why something was refused, as the master says.
fn reason(packet: &[u8]) -> &[u8] {
    packet.get(12..).unwrap_or_default()
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
