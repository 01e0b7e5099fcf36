//! What a program reads and writes: our ends of it, and its own.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use tokio::net::unix::pipe;

/// Our ends.
pub(super) struct Ours {
    pub(super) stdin: Option<pipe::Sender>,
    pub(super) stdout: pipe::Receiver,
    pub(super) stderr: pipe::Receiver,
}

/// What a program has for its stdin.
pub(super) enum Stdin {
    Nothing,
    File(File),
    Pipe,
}

/// Both ends: ours, and the program's stdin, stdout and stderr.
pub(super) fn streams(stdin: Stdin) -> io::Result<(Ours, [OwnedFd; 3])> {
    let (own_stdin, stdin) = match stdin {
        Stdin::Nothing => (File::open("/dev/null")?.into(), None),
        Stdin::File(file) => (file.into(), None),
        Stdin::Pipe => {
            let (end, ours) = pipe()?;
            (end, Some(pipe::Sender::from_owned_fd(ours)?))
        }
    };
    let (stdout, own_stdout) = pipe()?;
    let (stderr, own_stderr) = pipe()?;
    let (stdout, stderr) = (pipe::Receiver::from_owned_fd(stdout)?, pipe::Receiver::from_owned_fd(stderr)?);
    Ok((Ours { stdin, stdout, stderr }, [own_stdin, own_stdout, own_stderr]))
}

/// A pipe that no program inherits but by intent: the end to read, and the one to
/// write to.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}
