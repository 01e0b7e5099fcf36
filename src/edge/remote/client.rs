//! rsync's way to a host: a client of the ssh master that holds the host's
//! connection, played by this program itself.
//!
//! rsync starts a program for its connection. That program could be `ssh -S`,
//! but most of what a small host's copy costs beyond rsync is then that ssh
//! loads its libraries and its configuration, to hand three descriptors to the
//! master and wait (docs/decisions/0021-connections.md).

use super::mux::{self, Said};
use crate::sys::process::this_program;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The first argument of this program as a client; no host is named so.
const OPTION: &str = "--ssh-client";
/// The exit code for what is not the far side's fault, as ssh's.
const NO_SESSION: u8 = 255;

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

/// rsync's `--rsh` for a master.
pub(super) fn rsh(socket: &Path) -> String {
    format!("{} {OPTION} {}", this_program(), socket.display())
}

/// Runs a command line of the far side's shell with our stdin, stdout and
/// stderr, and says how it ended. Dies with its parent: should the run be
/// killed, the kernel kills the rsync that the run started, but not the one that
/// this forked to write the files. That one ends when its connection does.
fn session(socket: &Path, command: &[u8]) -> io::Result<u8> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut waits = mux::waits();
    let mut master = loop {
        match open(socket, command)? {
            Some(master) => break master,
            None => std::thread::sleep(waits.next().ok_or_else(mux::refused)?),
        }
    };
    let mut code = None;
    loop {
        match (receive(&mut master), code) {
            (Ok(Some(Said::Ended(ended))), _) => code = Some(u8::try_from(ended).unwrap_or(NO_SESSION)),
            (Ok(Some(_)), _) => {}
            (_, Some(code)) => return Ok(code),
            (Ok(None), None) => {
                return Err(io::Error::other(
                    "the session ended without an exit code (the connection was lost, or the command there was killed)",
                ));
            }
            (Err(error), None) => return Err(error),
        }
    }
}

/// Asks for a session once; none if the server refuses it.
fn open(socket: &Path, command: &[u8]) -> io::Result<Option<UnixStream>> {
    let mut master = UnixStream::connect(socket)?;
    master.write_all(&mux::hello()?)?;
    if receive(&mut master)?.ok_or_else(gone)? != Said::Hello {
        return Err(mux::out_of_turn());
    }
    master.write_all(&mux::new_session(command)?)?;
    for stream in [io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()] {
        mux::hand_over(&master, stream)?;
    }
    match receive(&mut master)?.ok_or_else(gone)? {
        Said::Opened => Ok(Some(master)),
        Said::Refused => Ok(None),
        Said::Hello | Said::Ended(_) => Err(mux::out_of_turn()),
    }
}

fn gone() -> io::Error {
    io::Error::other("its master has ended")
}

/// The next packet; none if the master has ended.
fn receive(master: &mut UnixStream) -> io::Result<Option<Said>> {
    let mut length = [0; 4];
    match master.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let mut packet = vec![0; mux::length(length)?];
    master.read_exact(&mut packet)?;
    mux::said(&packet).map(Some)
}
