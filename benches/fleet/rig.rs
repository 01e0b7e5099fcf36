//! The hosts: each an sshd of its own with a host key of its own on a loopback
//! address of its own, all on one port.
//!
//! They are started when a row first asks for so many. What ends them is the
//! end of the process namespace that the bench lives in.

use crate::measure::{children_of, program, tail};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long sshd may take to start, and sessions to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// A clock tick of /proc, in seconds: 100 Hz on every Linux that Debian builds.
const TICK: f64 = 0.01;

/// A folder with the hosts' sshd.
pub struct Rig {
    /// The folder that everything is in.
    pub dir: PathBuf,
    /// A folder with a short name, for control sockets.
    pub runtime: PathBuf,
    /// The port that every sshd listens on.
    pub port: u16,
    hosts: Vec<Child>,
}

/// The address of a host, counted from 0.
pub fn address(number: usize) -> Ipv4Addr {
    in_net(10, number)
}

/// The address at which a host seems further away.
pub fn far_address(number: usize) -> Ipv4Addr {
    in_net(11, number)
}

fn in_net(net: u8, number: usize) -> Ipv4Addr {
    let part = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, net, part(number / 250), part(number % 250 + 1))
}

impl Rig {
    /// Makes keys and what sshd reads, and finds a port.
    pub fn new(dir: &Path, runtime: &Path) -> Result<Rig> {
        fs::create_dir_all("/run/sshd")?;
        for folder in ["home", "host-keys", "source"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        let login = dir.join("login");
        generate_key(&login)?;
        File::create(dir.join("known_hosts"))?;
        let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
        // sshd without PAM lets nobody into a locked account, key or not.
        let pam = if shadow.lines().any(|line| line.starts_with("root:!")) { "yes" } else { "no" };
        // MaxStartups: by default sshd drops logins of which too many come at
        // once. HOME: a shell may read start-up files for each command, and
        // root's here may be slow.
        let config = format!(
            "AuthorizedKeysFile {0}/login.pub\nAllowUsers root\nPermitRootLogin prohibit-password\n\
             PasswordAuthentication no\nPermitUserRC no\nStrictModes no\nUsePAM {pam}\nPidFile none\n\
             LogLevel VERBOSE\nMaxStartups 1000\nSetEnv HOME={0}/home\n",
            dir.display()
        );
        fs::write(dir.join("sshd_config"), config)?;
        Ok(Rig { dir: dir.to_owned(), runtime: runtime.to_owned(), port: free_port()?, hosts: Vec::new() })
    }

    /// The key that opens every host.
    pub fn login(&self) -> PathBuf {
        self.dir.join("login")
    }

    /// The keys of all hosts that were started.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("sshd.log")
    }

    /// Sees to it that there are so many hosts.
    pub fn grow(&mut self, count: usize) -> Result<()> {
        let first = self.hosts.len();
        let mut known = File::options().append(true).open(self.known_hosts())?;
        for number in first..count {
            let key = self.dir.join(format!("host-keys/{number}"));
            generate_key(&key)?;
            let public = fs::read_to_string(key.with_extension("pub"))?;
            let (near, far, port) = (address(number), far_address(number), self.port);
            write!(known, "[{near}]:{port},[{far}]:{port} {public}")?;
            let listen = format!("ListenAddress={near}:{port}");
            let sshd = program("/usr/sbin/sshd")
                .arg("-D")
                .arg("-E")
                .arg(self.log())
                .arg("-f")
                .arg(self.dir.join("sshd_config"))
                .arg("-h")
                .arg(&key)
                .args(["-o", &listen])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("cannot start sshd")?;
            self.hosts.push(sshd);
        }
        let begin = Instant::now();
        for number in first..count {
            let listening = format!("Server listening on {} port {}.", address(number), self.port);
            while !fs::read_to_string(self.log()).unwrap_or_default().contains(&listening) {
                ensure!(
                    begin.elapsed() < PATIENCE && self.hosts[number].try_wait()?.is_none(),
                    "sshd does not start: {}",
                    tail(&self.log())
                );
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// A host's sshd, by its process number.
    pub fn sshd(&self, number: usize) -> Option<i32> {
        self.hosts.get(number).and_then(|child| i32::try_from(child.id()).ok())
    }

    /// Waits until no host has a session any more, except these.
    pub fn quiet(&self, except: &[usize]) -> Result<()> {
        let begin = Instant::now();
        for number in (0..self.hosts.len()).filter(|number| !except.contains(number)) {
            let Some(id) = self.sshd(number) else { continue };
            while !children_of(id).is_empty() {
                if begin.elapsed() > PATIENCE {
                    bail!("a session on host {number} does not end");
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    /// How many connections there have been, all in all.
    pub fn connections(&self) -> u64 {
        let log = fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&log).lines().filter(|line| line.starts_with("Connection from ")).count()
            as u64
    }

    /// Seconds of processor time that the hosts have used, all in all: of
    /// sshd and of all that has ended below it.
    pub fn processor_time(&self) -> f64 {
        self.hosts.iter().map(|sshd| ticks(sshd.id()).unwrap_or_default()).sum::<f64>() * TICK
    }
}

/// The clock ticks of a process and its children: fields 14 to 17 of its line,
/// of which the second, its name, may hold anything but is in parentheses.
fn ticks(id: u32) -> Option<f64> {
    let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, after) = line.rsplit_once(')')?;
    let fields = after.split_ascii_whitespace().skip(11).take(4);
    Some(fields.filter_map(|field| field.parse::<f64>().ok()).sum())
}

fn generate_key(path: &Path) -> Result<()> {
    let output = program("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .context("cannot start ssh-keygen")?;
    ensure!(output.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A port that is free on every address, and that Linux gives to no outgoing
/// connection.
fn free_port() -> Result<u16> {
    let start = 10_000 + u16::try_from(std::process::id() % 10_000)?;
    // As the first process of a namespace this is always the same one; those
    // outside may have it.
    (start..32_000)
        .find(|port| TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, *port)).is_ok())
        .context("no free port")
}
