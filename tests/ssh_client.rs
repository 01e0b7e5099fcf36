//! `backup` as rsync's client of an ssh master. Every copy from a host goes
//! through a real one; here a stand-in says what a real one seldom does.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test starts programs, and fails if it cannot go on"
)]

use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};

const HELLO: [u32; 2] = [1, 4];

fn client(socket: &Path) -> Output {
    let program = env!("CARGO_BIN_EXE_backup");
    let words = ["client", "rsync", "--server", "."];
    Command::new(program).arg("--ssh-client").arg(socket).args(words).output().unwrap()
}

/// The client beside a master that takes a session's question, says this, and
/// ends. What the client was asked to run comes with how it ended.
fn beside(hello: &[u32], answer: &[Vec<u8>]) -> (Output, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("master");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::scope(|scope| {
        let master = scope.spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            say(&mut stream, &numbers(hello));
            assert_eq!(hear(&mut stream), numbers(&HELLO));
            if hello != HELLO {
                return Vec::new();
            }
            let asked = hear(&mut stream);
            // As a host's command would write.
            let streams: Vec<OwnedFd> = (0..3).map(|_| take(&stream)).collect();
            std::fs::File::from(streams[1].try_clone().unwrap()).write_all(b"out").unwrap();
            std::fs::File::from(streams[2].try_clone().unwrap()).write_all(b"err\n").unwrap();
            answer.iter().for_each(|packet| say(&mut stream, packet));
            asked
        });
        let output = client(&socket);
        (output, master.join().unwrap())
    })
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn refusal(kind: u32, why: &str) -> Vec<u8> {
    let length = u32::try_from(why.len()).unwrap();
    [numbers(&[kind, 0, length]), why.as_bytes().to_vec()].concat()
}

fn say(stream: &mut UnixStream, packet: &[u8]) {
    stream.write_all(&numbers(&[u32::try_from(packet.len()).unwrap()])).unwrap();
    stream.write_all(packet).unwrap();
}

fn hear(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut packet = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut packet).unwrap();
    packet
}

/// A descriptor that was handed over.
fn take(stream: &UnixStream) -> OwnedFd {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut rights, RecvFlags::empty()).unwrap();
    let mut taken = rights.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    taken.next().unwrap().next().unwrap()
}

#[test]
fn a_session_has_the_clients_streams_and_gives_its_exit_code() {
    let (output, asked) = beside(&HELLO, &[numbers(&[0x8000_0006, 0, 7]), numbers(&[0x8000_0004, 7, 23])]);
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out"[..], &b"err\n"[..]));
    assert_eq!(output.status.code(), Some(23));
    // PROTOCOL.mux: request 0, a reserved text, no terminal, display, agent or
    // subsystem, no escape character, no terminal's name, the command.
    let begin = numbers(&[0x1000_0002, 0, 0, 0, 0, 0, 0, u32::MAX, 0, 16]);
    assert_eq!(asked, [begin, b"rsync --server .".to_vec()].concat());
}

#[test]
fn whatever_goes_wrong_is_said_with_the_exit_code_of_ssh() {
    let opened = numbers(&[0x8000_0006, 0, 7]);
    for (hello, answer, why) in [
        (
            &HELLO[..],
            vec![refusal(0x8000_0003, "Session open refused by peer")],
            "Session open refused by peer",
        ),
        (&HELLO, vec![refusal(0x8000_0002, "Permission denied")], "Permission denied"),
        (&HELLO, vec![], "its master has ended"),
        (&HELLO, vec![opened.clone()], "its master has ended"),
        (
            &HELLO,
            vec![opened, numbers(&[0x8000_0009])],
            "its master said 0x80000009, of which nothing is known",
        ),
        (&[1, 5], vec![], "its master speaks another version of the protocol"),
    ] {
        let (output, _) = beside(hello, &answer);
        let said = String::from_utf8(output.stderr).unwrap();
        let said = said.strip_prefix("err\n").unwrap_or(&said);
        assert_eq!(said, format!("cannot use the connection of ssh: {why}\n"));
        assert_eq!(output.status.code(), Some(255), "{why}");
    }
}

#[test]
fn without_a_master_nothing_is_connected_to() {
    let output = client(Path::new("/nonexistent/master"));
    assert_eq!(output.status.code(), Some(255));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("cannot use the connection of ssh: No such file")
    );
}
