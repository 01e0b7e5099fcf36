//! A command of the far side over the connection that the master holds.

use super::mux::{self, Said};
use crate::sys::process::Exit;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// Runs a command line of the far side's shell with these as its stdin, stdout and
/// stderr. Its exit code is known when all that it said has been written; `None`
/// if the master closes the session without one. Should this be dropped, the master
/// ends the session.
pub(super) async fn run(socket: &Path, command: &str, streams: [OwnedFd; 3]) -> io::Result<Option<Exit>> {
    let mut waits = mux::waits();
    let mut master = loop {
        match open(socket, command, &streams).await? {
            Opening::Opened(master) => break master,
            Opening::Gone => return Ok(None),
            Opening::Refused => tokio::time::sleep(waits.next().ok_or_else(mux::refused)?).await,
        }
    };
    // The master's copies alone are to keep them open.
    drop(streams);
    let mut code = None;
    loop {
        match (receive(&mut master).await, code) {
            (Ok(Some(Said::Ended(ended))), _) => code = Some(Exit::Code(i32::try_from(ended).unwrap_or(255))),
            (Ok(Some(_)), _) => {}
            (_, Some(code)) => return Ok(Some(code)),
            (Ok(None), None) => return Ok(None),
            (Err(error), None) => return Err(error),
        }
    }
}

/// What becomes of the question for a session.
enum Opening {
    Opened(UnixStream),
    Refused,
    /// The master has ended.
    Gone,
}

/// Asks for a session once.
async fn open(socket: &Path, command: &str, streams: &[OwnedFd; 3]) -> io::Result<Opening> {
    let mut master = UnixStream::connect(socket).await?;
    master.write_all(&mux::hello()?).await?;
    master.write_all(&mux::new_session(command.as_bytes())?).await?;
    for stream in streams {
        master.async_io(Interest::WRITABLE, || mux::hand_over(&master, stream.as_fd())).await?;
    }
    loop {
        match receive(&mut master).await? {
            Some(Said::Hello) => {}
            Some(Said::Opened) => return Ok(Opening::Opened(master)),
            Some(Said::Refused) => return Ok(Opening::Refused),
            Some(Said::Ended(_)) => return Err(mux::out_of_turn()),
            None => return Ok(Opening::Gone),
        }
    }
}

/// The next packet; none if the master has ended.
async fn receive(master: &mut UnixStream) -> io::Result<Option<Said>> {
    let mut length = [0; 4];
    match master.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let mut packet = vec![0; mux::length(length)?];
    master.read_exact(&mut packet).await?;
    mux::said(&packet).map(Some)
}
