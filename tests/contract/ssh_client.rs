//! `backup` as rsync's client of an ssh master. Every copy from a host goes
//! through a real one; here a stand-in says what a real one seldom does.

#![expect(clippy::disallowed_methods, reason = "a test starts programs, and fails if it cannot go on")]

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const HELLO: [u32; 2] = [1, 4];

fn start(socket: &Path) -> Child {
    let program = env!("CARGO_BIN_EXE_backup");
    let mut client = Command::new(program);
    client.arg("--ssh-client").arg(socket).args(["client", "rsync", "--server", "."]);
    client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The client beside a master that takes a session's question, says this, and
/// closes the connection. What the client asked for comes with how it ended.
fn beside(hello: &[u32], answer: &[Vec<u8>]) -> (Output, Vec<u8>) {
    beside_one_that(hello, answer, |_| {})
}

/// The same, with something to be done before the connection is closed.
fn beside_one_that(
    hello: &[u32],
    answer: &[Vec<u8>],
    before_the_end: impl FnOnce(&mut Child) + Send,
) -> (Output, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("master");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut client = start(&socket);
    let mut stream = accept(&listener, &mut client);
    say(&mut stream, &numbers(hello));
    assert_eq!(hear(&mut stream), numbers(&HELLO));
    let mut asked = Vec::new();
    if hello == HELLO {
        asked = hear(&mut stream);
        // As a host's command would write.
        let streams: Vec<File> = (0..3).map(|_| File::from(take(&stream))).collect();
        (&streams[1]).write_all(b"out").unwrap();
        (&streams[2]).write_all(b"err\n").unwrap();
        answer.iter().for_each(|packet| say(&mut stream, packet));
        before_the_end(&mut client);
    }
    drop(stream);
    (client.wait_with_output().unwrap(), asked)
}

/// The client's connection; a client that makes none ends, and the test with it.
fn accept(listener: &UnixListener, client: &mut Child) -> UnixStream {
    listener.set_nonblocking(true).unwrap();
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            return stream;
        }
        assert!(client.try_wait().unwrap().is_none(), "the client has ended without a connection");
        std::thread::sleep(Duration::from_millis(2));
    }
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
fn the_client_stays_until_all_is_written() {
    let answer = [numbers(&[0x8000_0006, 0, 7]), numbers(&[0x8000_0004, 7, 0])];
    let (output, _) = beside_one_that(&HELLO, &answer, |client| {
        // Long enough for one that does not wait to be gone.
        std::thread::sleep(Duration::from_millis(300));
        assert!(client.try_wait().unwrap().is_none(), "it ended at the exit code");
    });
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn whatever_goes_wrong_is_said_with_the_exit_code_of_ssh() {
    let opened = numbers(&[0x8000_0006, 0, 7]);
    for (hello, answer, why) in [
        (
            &HELLO[..],
            vec![refusal(0x8000_0003, "did not receive file descriptors")],
            "did not receive file descriptors",
        ),
        (&HELLO, vec![refusal(0x8000_0002, "Permission denied")], "Permission denied"),
        (&HELLO, vec![], "its master has ended"),
        (
            &HELLO,
            vec![opened.clone()],
            "the session ended without an exit code (the connection was lost, or the command there was killed)",
        ),
        (
            &HELLO,
            vec![opened, numbers(&[0x8000_0009])],
            "its master said 0x80000009, of which nothing is known",
        ),
        (&[1, 5], vec![], "its master speaks another version of the protocol"),
    ] {
        let (output, _) = beside(hello, &answer);
        let said = String::from_utf8(output.stderr).unwrap();
        let before = if hello == HELLO { "err\n" } else { "" };
        assert_eq!(said, format!("{before}cannot use the connection of ssh: {why}\n"));
        assert_eq!(output.status.code(), Some(255), "{why}");
    }
}

/// Takes a question for a session, and refuses it as OpenSSH's master does when
/// the server opens none.
fn refuse(listener: &UnixListener, client: &mut Child) {
    let mut stream = accept(listener, client);
    say(&mut stream, &numbers(&HELLO));
    hear(&mut stream);
    hear(&mut stream);
    (0..3).for_each(|_| drop(take(&stream)));
    say(&mut stream, &refusal(0x8000_0003, "Session open refused by peer"));
}

#[test]
fn a_session_that_the_server_refuses_at_first_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("master");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut client = start(&socket);
    refuse(&listener, &mut client);
    refuse(&listener, &mut client);
    let mut stream = accept(&listener, &mut client);
    say(&mut stream, &numbers(&HELLO));
    hear(&mut stream);
    hear(&mut stream);
    let streams: Vec<File> = (0..3).map(|_| File::from(take(&stream))).collect();
    (&streams[1]).write_all(b"out").unwrap();
    say(&mut stream, &numbers(&[0x8000_0006, 0, 7]));
    say(&mut stream, &numbers(&[0x8000_0004, 7, 0]));
    drop((stream, streams));
    let output = client.wait_with_output().unwrap();
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out"[..], &b""[..]));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_session_that_the_server_always_refuses_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("master");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut client = start(&socket);
    (0..10).for_each(|_| refuse(&listener, &mut client));
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "cannot use the connection of ssh: the server opens no further session (see `MaxSessions` in its `sshd_config`)\n"
    );
}

#[test]
fn without_a_master_nothing_is_connected_to() {
    let output = start(Path::new("/nonexistent/master")).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("cannot use the connection of ssh: No such file")
    );
}
