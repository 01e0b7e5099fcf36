//! A backup server and its hosts in a folder: the real binary, a real sshd on
//! a free port, real rsync, a directory store.
//!
//! sshd lives in a process namespace of its own, so that everything it ever
//! started ends with it. When a rig is dropped it checks that `backup` left no
//! process behind.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a support of tests fails by panicking"
)]

use super::pool::{self, Dataset};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest that any one run in a test may take, and that anything is waited for:
/// no test passes because of it.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A folder with everything that one test needs.
pub struct Rig {
    dir: TempDir,
    sshd: Option<Sshd>,
    /// Where copies live, if not in the rig's folder.
    pub dataset: Option<Dataset>,
    /// Where programs are looked for before all other places.
    pub path_first: Option<PathBuf>,
    /// More lines for the configuration's top, before any section.
    pub top: String,
    /// More sections for the configuration, or more lines for `[transfer]`
    /// and so on: see [`Rig::section`].
    sections: Vec<(String, String)>,
}

/// What a run of the binary left.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it said.
    pub stderr: String,
    /// What was asked for.
    pub stdout: String,
}

impl Ran {
    /// Fails the test unless the run exited with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stderr:\n{}", self.stderr);
        self
    }

    /// Fails the test unless the run said this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{text}` is missing in:\n{}", self.stderr);
        self
    }

    /// Fails the test if the run said this.
    /// Fails the test unless a line on stderr says this of each host, of it alone or
    /// of several that fare alike.
    #[track_caller]
    pub fn says_of(self, hosts: &[&str], text: &str) -> Self {
        let is_name = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        for host in hosts {
            let names = |line: &str| line.split(|c| !is_name(c)).any(|word| word == *host);
            let told = self.stderr.lines().any(|line| line.contains(text) && names(line));
            assert!(told, "`{text}` is not said of {host} in:\n{}", self.stderr);
        }
        self
    }

    #[track_caller]
    pub fn does_not_say(self, text: &str) -> Self {
        assert!(!self.stderr.contains(text), "`{text}` is in:\n{}", self.stderr);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Ran {
            code: output.status.code(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        }
    }
}

impl Rig {
    /// A rig with an sshd whose key is known.
    pub fn new() -> Self {
        let mut rig = Rig::without_sshd();
        let sshd = Sshd::start(rig.path());
        rig.write("known_hosts", sshd.known_hosts_line());
        rig.sshd = Some(sshd);
        rig
    }

    /// [`Rig::new`] with a dataset of a real pool for its store.
    pub fn on_zfs() -> Self {
        let mut rig = Rig::new();
        rig.dataset = Some(Dataset::new());
        rig
    }

    /// A rig whose hosts are this machine itself, or are not there.
    pub fn without_sshd() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests keep owners and start sshd: run them as root"
        );
        let dir = tempfile::Builder::new().prefix("rig").tempdir().unwrap();
        let rig = Rig {
            dir,
            sshd: None,
            dataset: None,
            path_first: None,
            top: String::new(),
            sections: Vec::new(),
        };
        for folder in ["hosts", "store", "hooks"] {
            fs::create_dir(rig.path().join(folder)).unwrap();
        }
        rig.write("known_hosts", "");
        rig
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file or folder in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file in the folder, with its parents.
    pub fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Adds a static host with a few files, reached through the rig's sshd,
    /// and gives its source.
    pub fn host(&mut self, name: &str) -> PathBuf {
        self.host_with(name, "")
    }

    /// Has its hosts not see what the server knows itself by: they are other
    /// machines, with clocks of their own.
    pub fn hosts_are_elsewhere(&mut self) {
        let (empty, root) = (self.join("empty"), self.join("."));
        fs::create_dir(&empty).unwrap();
        fs::create_dir_all(self.join("run")).unwrap();
        // Not spelled as what must not be left behind is.
        let run = root.join("run");
        let mounts = &[(empty, run.to_str().unwrap())];
        self.sshd().start_again_with(&Setup { mounts, ..Setup::default() });
    }

    /// [`Rig::host`] with more lines for its section, which go before the rig's.
    pub fn host_with(&mut self, name: &str, lines: &str) -> PathBuf {
        let source = self.source(name);
        let says = |key: &str| lines.lines().any(|line| line.trim_start().starts_with(key));
        let mut section = String::new();
        if !says("source") {
            let _ = writeln!(section, "source = {:?}", source.to_str().unwrap());
        }
        if self.sshd.is_some() && !says("transport") && !says("address") {
            section.push_str("address = \"127.0.0.1\"\n");
        }
        section.push_str(lines);
        self.section(&format!("hosts.{name:?}"), &section);
        source
    }

    /// [`Rig::host_with`], where the connection plays no part: on ZFS the host
    /// is this machine itself, for in a virtual machine a login takes seconds.
    pub fn near_host(&mut self, name: &str, lines: &str) -> PathBuf {
        let transport = if self.dataset.is_some() { "transport = \"local\"\n" } else { "" };
        self.host_with(name, &format!("{transport}{lines}"))
    }

    /// The folder that stands for a host's root, made with a few files.
    pub fn source(&self, name: &str) -> PathBuf {
        let source = self.join("hosts").join(name.to_lowercase());
        if !source.exists() {
            self.write(source.join("etc/hostname"), format!("{name}\n"));
            self.write(source.join("etc/fstab"), "# nothing\n");
            self.write(source.join("srv/data"), "some data\n");
        }
        source
    }

    /// Adds lines to a section of the configuration; a key that is there
    /// already gets its new value.
    pub fn section(&mut self, name: &str, lines: &str) {
        match self.sections.iter_mut().find(|(known, _)| known == name) {
            Some((_, text)) => *text = overridden(text, lines),
            None => self.sections.push((name.to_owned(), format!("{}\n", lines.trim_end()))),
        }
    }

    /// [`Rig::section`], for keys that may be there already: the new ones stay.
    pub fn replace(&mut self, name: &str, lines: &str) {
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let new: Vec<String> = lines.lines().map(key).collect();
        if let Some((_, text)) = self.sections.iter_mut().find(|(known, _)| known == name) {
            *text =
                text.lines().filter(|own| !new.contains(&key(own))).map(|own| format!("{own}\n")).collect();
        }
        self.section(name, lines);
    }

    /// Puts an executable hook script into the hosts' hook directory.
    pub fn hook(&self, name: &str, script: &str) {
        let path = self.write(Path::new("hooks").join(name), format!("#!/bin/sh\n{script}"));
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// The rig's sshd.
    pub fn sshd(&mut self) -> &mut Sshd {
        self.sshd.as_mut().expect("this rig has no sshd")
    }

    /// Lets `backup`, a user of the far side who is not root, log in there, with
    /// these rules of sudo. The accounts of this machine are hidden from the
    /// sessions of the rig's sshd, not changed.
    pub fn sudoer(&mut self, sudoers: &str) {
        let accounts = self.accounts_with("backup", None, Path::new("/bin/sh"));
        let sudoers = self.write("sudoers", sudoers);
        fs::set_permissions(&sudoers, PermissionsExt::from_mode(0o440)).unwrap();
        // sshd reads the user's keys as that user.
        fs::set_permissions(self.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let mounts = [(accounts, "/etc/passwd"), (sudoers, "/etc/sudoers")];
        self.sshd().start_again_with(&Setup { mounts: &mounts, ..Setup::default() });
    }

    /// Lets root of the far side have this home and login shell. The accounts of
    /// this machine are hidden from the sessions of the rig's sshd, not changed.
    pub fn log_in_with(&mut self, home: &Path, shell: &Path) {
        let accounts = self.accounts_with("root", Some(home), shell);
        let mounts = [(accounts, "/etc/passwd")];
        self.sshd().start_again_with(&Setup { mounts: &mounts, ..Setup::default() });
    }

    /// Writes the accounts of this machine, of which one has another shell, and
    /// perhaps another home.
    fn accounts_with(&self, user: &str, home: Option<&Path>, shell: &Path) -> PathBuf {
        let accounts = fs::read_to_string("/etc/passwd").unwrap();
        let accounts = accounts.lines().map(|line| {
            let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
            if let [name, _, _, _, _, own_home, own_shell] = &mut fields[..] {
                if name == user {
                    shell.to_str().unwrap().clone_into(own_shell);
                    home.iter().for_each(|home| home.to_str().unwrap().clone_into(own_home));
                }
            }
            fields.join(":") + "\n"
        });
        self.write("passwd", accounts.collect::<String>())
    }

    /// Writes the configuration and gives its path.
    pub fn configure(&self) -> PathBuf {
        let path = |name: &str| self.join(name).to_str().unwrap().to_owned();
        let mut text = format!(
            "server = \"b32-1\"\nstate_dir = {:?}\nruntime_dir = {:?}\n{}\n",
            path("state"),
            path("run"),
            self.top
        );
        let mut sections = vec![
            (
                "host_defaults".to_owned(),
                match &self.sshd {
                    Some(sshd) => format!("port = {}\n", sshd.port),
                    None => "transport = \"local\"\n".to_owned(),
                },
            ),
            (
                "ssh".to_owned(),
                format!(
                    "identity_file = {:?}\nknown_hosts_file = {:?}\n",
                    keys().client,
                    path("known_hosts")
                ),
            ),
            ("hooks".to_owned(), format!("directory = {:?}\n", path("hooks"))),
            ("excludes".to_owned(), format!("remote_file = {:?}\n", path("backup-exclude.conf"))),
            match &self.dataset {
                None => (
                    "store.directory".to_owned(),
                    format!("path = {:?}\nmin_free_percent = 0\n", path("store")),
                ),
                Some(dataset) => {
                    ("store.zfs".to_owned(), format!("dataset = {:?}\nmin_free_percent = 0\n", dataset.name))
                }
            },
            ("retention".to_owned(), "daily = 7\nweekly = 4\nmonthly = 24\nyearly = 5\n".to_owned()),
        ];
        for (name, lines) in &self.sections {
            match sections.iter_mut().find(|(known, _)| known == name) {
                Some((_, text)) => *text = overridden(text, lines),
                None => sections.push((name.clone(), lines.clone())),
            }
        }
        for (name, lines) in sections {
            let _ = write!(text, "\n[{name}]\n{lines}");
        }
        self.write("config.toml", text)
    }

    /// The binary with this configuration, ready to be run. It runs in a
    /// process group of its own, as from cron.
    pub fn command(&self, arguments: &[&str]) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = program(env!("CARGO_BIN_EXE_backup"));
        let first = self.path_first.iter().map(|path| format!("{}:", path.display()));
        command
            .args(arguments)
            .env("BACKUP_CONFIG", self.configure())
            .env("HOME", self.path())
            .env("PATH", format!("{}/usr/bin:/bin", first.collect::<String>()))
            .env_remove("BACKUP_NETBOX_TOKEN")
            .env_remove("BACKUP_ICINGA_PASSWORD")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the binary to its end.
    pub fn backup(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments).spawn().unwrap()).into()
    }

    /// Starts the binary.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// The names of a host's snapshots, oldest first.
    pub fn snapshots(&self, host: &str) -> Vec<String> {
        if let Some(dataset) = &self.dataset {
            return pool::snapshots(&dataset.child(host));
        }
        let folder = self.join("store").join(host).join("snapshots");
        let Ok(entries) = fs::read_dir(&folder) else {
            return Vec::new();
        };
        // A tree whose facts do not count yet is no snapshot.
        let is_begun = |name: &String| {
            folder.join(format!(".{name}.json")).exists() && !folder.join(format!("{name}.json")).exists()
        };
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| !is_begun(name))
            .collect();
        names.sort();
        names
    }

    /// Where one of a host's snapshots is.
    pub fn snapshot(&self, host: &str, name: &str) -> PathBuf {
        match &self.dataset {
            Some(dataset) => pool::mountpoint(&dataset.child(host)).join(".zfs/snapshot").join(name),
            None => self.join("store").join(host).join("snapshots").join(name),
        }
    }

    /// The newest snapshot of a host.
    #[track_caller]
    pub fn newest(&self, host: &str) -> PathBuf {
        let names = self.snapshots(host);
        self.snapshot(host, names.last().expect("the host has no snapshot"))
    }

    /// The facts of one of a host's snapshots.
    pub fn facts(&self, host: &str, name: &str) -> serde_json::Value {
        if let Some(dataset) = &self.dataset {
            return pool::facts(&format!("{}@{name}", dataset.child(host)));
        }
        let path = self.join("store").join(host).join("snapshots").join(format!("{name}.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// The verdicts of a host's snapshots, oldest first.
    pub fn verdicts(&self, host: &str) -> Vec<String> {
        let verdict = |name: &String| self.facts(host, name)["verdict"].as_str().unwrap().to_owned();
        self.snapshots(host).iter().map(verdict).collect()
    }

    /// Waits until `condition` holds, looking again and again.
    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) {
        until(what, condition);
    }

    /// Command lines of processes, of ours or of anybody's, that name the
    /// rig's runtime directory or store: what `backup` must not leave.
    pub fn left_behind(&self) -> Vec<String> {
        let mut marks = vec![self.join("run"), self.join("store")];
        marks.extend(self.dataset.iter().map(Dataset::mountpoint));
        let marks: Vec<&str> = marks.iter().map(|path| path.to_str().unwrap()).collect();
        command_lines().into_iter().filter(|line| marks.iter().any(|mark| line.contains(mark))).collect()
    }
}

/// Waits until `condition` holds, looking again and again.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for this: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A section's lines, in which the keys of `lines` have their values of there.
fn overridden(text: &str, lines: &str) -> String {
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let kept = text.lines().filter(|own| lines.lines().all(|line| key(line) != key(own)));
    kept.chain(lines.lines()).map(|line| format!("{line}\n")).collect()
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let begin = Instant::now();
            while !self.left_behind().is_empty() {
                assert!(begin.elapsed() < PATIENCE, "left behind: {:#?}", self.left_behind());
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// A process of this machine.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// Its parent's number.
    pub parent: u32,
    /// Its command line.
    pub line: String,
}

impl Process {
    /// Sends it a signal; one that has ended meanwhile does not mind.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.id.try_into().unwrap()).unwrap();
        let _ = rustix::process::kill_process(id, signal);
    }

    /// Whether its program has this name.
    pub fn runs(&self, name: &str) -> bool {
        self.line.split(' ').next().is_some_and(|word| word.rsplit('/').next() == Some(name))
    }
}

/// All processes that are not zombies.
pub fn processes() -> Vec<Process> {
    let process = |entry: fs::DirEntry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok().filter(|line| !line.is_empty())?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
        Some(Process { id, parent, line })
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(process).collect()
}

/// Everything that a process has started and that still knows it.
pub fn descendants(all: &[Process], ancestor: u32) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut ancestors = vec![ancestor];
    while let Some(parent) = ancestors.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            ancestors.push(child.id);
            found.push(child.clone());
        }
    }
    found
}

/// The command lines of all processes that are not zombies.
pub fn command_lines() -> Vec<String> {
    processes().into_iter().map(|process| process.line).collect()
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// Waits for a child and takes its output, however much it is; kills it and
/// fails the test if it takes too long.
pub fn finish(mut child: Child) -> Output {
    let stdout = child.stdout.take().map(reader);
    let stderr = child.stderr.take().map(reader);
    let begin = Instant::now();
    let status: Option<ExitStatus> = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if begin.elapsed() > PATIENCE => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let take = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| {
        reader.map(|reader| reader.join().unwrap()).unwrap_or_default()
    };
    let (stdout, stderr) = (take(stdout), take(stderr));
    match status {
        Some(status) => Output { status, stdout, stderr },
        None => panic!("the run did not end; it said:\n{}", String::from_utf8_lossy(&stderr)),
    }
}

fn reader(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

/// A program, for tests; the product's own go through its `process` module.
#[expect(clippy::disallowed_methods, reason = "tests start programs themselves")]
pub fn program(name: &str) -> Command {
    Command::new(name)
}

/// A pipe to write to that nobody reads any more.
pub fn nobody_reads() -> std::os::fd::OwnedFd {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    drop(reader);
    writer
}

/// Runs a program that must succeed, and gives its stdout.
#[track_caller]
pub fn must(name: &str, arguments: &[&str]) -> String {
    let output = program(name).args(arguments).output().unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What is different between a source and its copy, as rsync itemizes it.
pub fn differences(source: &Path, copy: &Path) -> String {
    let source = format!("{}/", source.display());
    let copy = format!("{}/", copy.display());
    must("rsync", &["-naHAXXSi", "--numeric-ids", "--checksum", "--delete", &source, &copy])
}

/// Throwaway keys, made once for all tests.
struct Keys {
    client: PathBuf,
    server: PathBuf,
    other_server: PathBuf,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let kept = target.join("rig-keys");
        if !kept.exists() {
            let made = tempfile::Builder::new().prefix("rig-keys-").tempdir_in(target).unwrap();
            for name in ["client", "server", "other"] {
                let path = made.path().join(name);
                must(
                    "ssh-keygen",
                    &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path.to_str().unwrap()],
                );
            }
            let made = made.keep();
            // Another test program may have been faster; its keys do as well.
            if fs::rename(&made, &kept).is_err() {
                fs::remove_dir_all(made).unwrap();
            }
        }
        Keys { client: kept.join("client"), server: kept.join("server"), other_server: kept.join("other") }
    })
}

/// The private key of the tests, which every sshd of theirs lets in.
pub fn client_key() -> &'static Path {
    &keys().client
}

/// A real sshd on a free loopback port.
pub struct Sshd {
    /// Its port.
    pub port: u16,
    dir: PathBuf,
    child: Child,
    log: std::sync::mpsc::Receiver<String>,
}

/// What is special about an sshd.
#[derive(Default)]
pub struct Setup<'a> {
    /// More lines for its configuration, of which sshd believes the first of a
    /// kind.
    pub lines: &'a str,
    /// What its sessions see in the place of files of this machine: the file
    /// to see, and where. Nobody else sees it there.
    pub mounts: &'a [(PathBuf, &'a str)],
}

impl Sshd {
    /// Starts one that lets the tests' key in as root.
    pub fn start(dir: &Path) -> Self {
        Sshd::start_on(dir, None, &keys().server, &Setup::default())
    }

    fn start_on(dir: &Path, port: Option<u16>, key: &Path, setup: &Setup<'_>) -> Self {
        fs::create_dir_all("/run/sshd").unwrap();
        fs::create_dir_all(dir).unwrap();
        let authorized = dir.join("authorized_keys");
        fs::copy(keys().client.with_extension("pub"), &authorized).unwrap();
        // sshd reads them as the user who logs in, whatever the umask here.
        fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
        fs::set_permissions(&authorized, PermissionsExt::from_mode(0o644)).unwrap();
        for _ in 0..20 {
            let port = port.unwrap_or_else(free_port);
            let config = dir.join("sshd_config");
            let text = format!(
                "{}\nPort {port}\nListenAddress 127.0.0.1\nHostKey \"{}\"\nAuthorizedKeysFile {}\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nLogLevel VERBOSE\n",
                setup.lines,
                key.display(),
                authorized.display()
            );
            fs::write(&config, text).unwrap();
            let mut start = program("unshare");
            start.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
            // What is unmounted outside is unmounted there too: else it would
            // keep the snapshots that other tests look at.
            start.args(["--propagation", "slave", "--", "sh", "-ec"]);
            // Without the start-up files of this machine's root, which some
            // machines' shells take long to read, and which may print.
            start.arg("config=$1; shift; mount -t tmpfs none /root; while [ $# -gt 0 ]; do mount --bind \"$1\" \"$2\"; shift 2; done; exec /usr/sbin/sshd -D -e -f \"$config\"");
            start.arg("sh").arg(&config);
            for (seen, place) in setup.mounts {
                start.arg(seen).arg(place);
            }
            let mut child = start
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("unshare is missing");
            let (sender, log) = std::sync::mpsc::channel();
            let lines = BufReader::new(child.stderr.take().unwrap()).lines();
            std::thread::spawn(move || {
                lines.map_while(Result::ok).try_for_each(|line| sender.send(line).ok())
            });
            let mut sshd = Sshd { port, dir: dir.to_owned(), child, log };
            if sshd.logs("Server listening on") {
                return sshd;
            }
            // The one before it may still hold the port.
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("sshd does not start");
    }

    /// Waits until sshd logs a line with this text; `false` if it ends first.
    pub fn logs(&mut self, text: &str) -> bool {
        while let Ok(line) = self.log.recv_timeout(Duration::from_secs(20)) {
            if line.contains(text) {
                return true;
            }
        }
        false
    }

    /// Whether it has logged a line with this text since it was last asked
    /// anything.
    pub fn logs_now(&mut self, text: &str) -> bool {
        self.log.try_iter().any(|line| line.contains(text))
    }

    /// How many connections it has accepted since this was last asked.
    pub fn accepted(&mut self) -> usize {
        self.log.try_iter().filter(|line| line.contains("Connection from")).count()
    }

    /// Its line for a known hosts file.
    pub fn known_hosts_line(&self) -> String {
        let key = fs::read_to_string(keys().server.with_extension("pub")).unwrap();
        format!("[127.0.0.1]:{} {key}", self.port)
    }

    /// Puts another sshd, with another host key, in its place.
    pub fn change_key(&mut self) {
        self.stop();
        let setup = Setup::default();
        *self = Sshd::start_on(&self.dir.clone(), Some(self.port), &keys().other_server, &setup);
    }

    /// Starts it again on its port, with its key.
    pub fn start_again(&mut self) {
        self.start_again_with(&Setup::default());
    }

    /// Starts it again on its port, with its key, and something special.
    pub fn start_again_with(&mut self, setup: &Setup<'_>) {
        self.stop();
        *self = Sshd::start_on(&self.dir.clone(), Some(self.port), &keys().server, setup);
    }

    /// Lets nobody in any more.
    pub fn forget_keys(&self) {
        fs::write(self.dir.join("authorized_keys"), "").unwrap();
    }

    /// What runs in its sessions at this moment: all that it has started.
    pub fn sessions(&self) -> Vec<Process> {
        let all = processes();
        let sshd = all.iter().find(|process| process.parent == self.child.id());
        sshd.map(|sshd| descendants(&all, sshd.id)).unwrap_or_default()
    }

    /// Ends it and every connection that it has.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that was free a moment ago, and that stays free while its server is
/// away: it is none of those that Linux gives to outgoing connections.
pub fn free_port() -> u16 {
    loop {
        let random = RandomState::new().hash_one("port");
        let port = u16::try_from(10_000 + random % 22_000).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A file of some size, not sparse, not compressible, the same every time.
pub fn big_file(path: &Path, megabytes: usize) {
    other_big_file(path, megabytes, 0);
}

/// A big file that shares nothing with one of another number.
pub fn other_big_file(path: &Path, megabytes: usize, number: u64) {
    use std::io::Write;
    let mut file = File::create(path).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ number;
    let mut block = vec![0; 1024 * 1024];
    for _ in 0..megabytes {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block).unwrap();
    }
}
