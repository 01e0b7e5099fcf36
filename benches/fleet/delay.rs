//! A process that makes hosts seem further away: it stands in front of each,
//! and hands on every byte after half a round trip, as many a second as come.
//!
//! A connection costs a round trip before its first byte, as it does where the
//! distance is real.

use crate::measure::program;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

/// How this program is told to be the delay.
pub const WORD: &str = "internal-delay";
/// The most that is read at once.
const CHUNK: usize = 128 * 1024;
/// How many chunks may be under way in one direction: more than any link
/// that this stands for holds.
const UNDER_WAY: usize = 1024;
/// How many connections the kernel keeps for us.
const BACKLOG: u32 = 1024;

/// The delay, which ends with this.
pub struct Delay(Child);

impl Delay {
    /// Stands in front of so many hosts.
    pub fn start(hosts: usize, port: u16, round_trip: u64) -> Result<Delay> {
        let mut child = program(std::env::current_exe()?)
            .args([WORD, &hosts.to_string(), &port.to_string(), &round_trip.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the delay")?;
        let mut line = String::new();
        if let Some(said) = child.stdout.take() {
            BufReader::new(said).read_line(&mut line)?;
        }
        let delay = Delay(child);
        ensure!(line == "ready\n", "the delay did not start");
        Ok(delay)
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process itself: `HOSTS PORT MILLISECONDS`.
pub fn main(words: impl Iterator<Item = OsString>) -> Result<()> {
    let numbers: Vec<u64> = words.filter_map(|word| word.to_str()?.parse().ok()).collect();
    let &[hosts, port, round_trip] = &numbers[..] else { anyhow::bail!("usage: HOSTS PORT MILLISECONDS") };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let (port, round_trip) = (u16::try_from(port)?, Duration::from_millis(round_trip));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        for number in 0..usize::try_from(hosts)? {
            let near = SocketAddrV4::new(crate::rig::address(number), port);
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            let far: Ipv4Addr = crate::rig::far_address(number);
            socket.bind(SocketAddrV4::new(far, port).into())?;
            tokio::spawn(stand_before(socket.listen(BACKLOG)?, near, round_trip));
        }
        println!("ready");
        std::future::pending::<()>().await;
        Ok(())
    })
}

async fn stand_before(listener: TcpListener, host: SocketAddrV4, round_trip: Duration) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(async move {
            sleep(round_trip).await;
            let Ok(server) = TcpStream::connect(host).await else { return };
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::join!(
                hand_on(from_client, to_server, round_trip / 2),
                hand_on(from_server, to_client, round_trip / 2)
            );
        });
    }
}

/// Hands on what comes, and its end, each after so long.
async fn hand_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let reading = async move {
        let mut buffer = vec![0; CHUNK];
        loop {
            match from.read(&mut buffer).await {
                Ok(count) if count > 0 => {
                    let chunk = buffer[..count].to_vec();
                    if sender.send((Instant::now() + delay, chunk)).await.is_err() {
                        return;
                    }
                }
                _ => {
                    let _ = sender.send((Instant::now() + delay, Vec::new())).await;
                    return;
                }
            }
        }
    };
    let writing = async move {
        while let Some((due, chunk)) = receiver.recv().await {
            sleep_until(due).await;
            if chunk.is_empty() {
                let _ = to.shutdown().await;
                return;
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}
