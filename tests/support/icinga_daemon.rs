//! A real Icinga 2 of Debian's package: its daemon in the foreground, on a free
//! port of the loopback interface, with a folder and a process namespace of its
//! own, so that everything it ever started ends with it.
//!
//! Its API user and its services are those that README.md tells an operator to
//! make, word for word.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a support of tests fails by panicking"
)]

use super::rig::{Process, descendants, free_port, processes, program};
use backup::sys::https;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// README.md's API user, and so the one of the tests' configurations.
pub const USER: &str = "backup";
/// That user's password.
pub const PASSWORD: &str = "hunter2";
/// The tests' own user, who may do everything.
const READER: &str = "reader";
/// The longest that Icinga may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running Icinga 2, or one that was stopped and may run again.
pub struct Daemon {
    dir: TempDir,
    port: u16,
    process: Option<Running>,
}

struct Running {
    child: Child,
    log: Receiver<String>,
    /// What it has logged so far.
    seen: RefCell<Vec<String>>,
}

/// What Icinga answered to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub media_type: String,
    /// The body, if it is JSON; else its text.
    pub body: Value,
}

impl Daemon {
    /// An Icinga that knows these hosts, each with README.md's service.
    pub fn start(hosts: &[&str]) -> Self {
        Daemon::start_with(hosts, "")
    }

    /// [`Daemon::start`] with more objects.
    pub fn start_with(hosts: &[&str], objects: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("icinga").tempdir().unwrap();
        let certificates = dir.path().join("data/certs");
        fs::create_dir_all(&certificates).unwrap();
        for folder in ["log", "cache", "spool", "run"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for (from, to) in
            [("ca/ca.crt", "ca.crt"), ("localhost.crt", "localhost.crt"), ("localhost.key", "localhost.key")]
        {
            fs::copy(pki().join(from), certificates.join(to)).unwrap();
        }
        let mut daemon = Daemon { dir, port: free_port(), process: None };
        // Another process may have been given the port meanwhile.
        for _ in 0..5 {
            daemon.configure(hosts, objects);
            match daemon.try_start() {
                Ok(()) => return daemon,
                Err(log) if log.iter().any(|line| line.contains("Address already in use")) => {
                    daemon.port = free_port();
                }
                Err(log) => panic!("Icinga 2 does not start:\n{}", log.join("\n")),
            }
        }
        panic!("Icinga 2 finds no free port");
    }

    fn configure(&self, hosts: &[&str], objects: &str) {
        let mut text = format!(
            "const NodeName = \"localhost\"\n\
             const ZoneName = NodeName\n\
             include <itl>\n\
             object Endpoint NodeName {{ }}\n\
             object Zone ZoneName {{ endpoints = [ NodeName ] }}\n\
             object CheckerComponent \"checker\" {{ }}\n\
             object ApiListener \"api\" {{ bind_host = \"127.0.0.1\"; bind_port = {} }}\n\
             object ApiUser \"{READER}\" {{ password = \"{PASSWORD}\"; permissions = [ \"*\" ] }}\n",
            self.port
        );
        text.push_str(&readme());
        text.push_str("object Host \"b32-1\" { check_command = \"dummy\" }\n");
        for host in hosts {
            let _ =
                writeln!(text, "object Host {host:?} {{ check_command = \"dummy\"; vars.backup = true }}");
        }
        text.push_str(objects);
        fs::write(self.dir.path().join("icinga2.conf"), text).unwrap();
    }

    /// Starts it, and waits until its API answers; else gives what it logged.
    fn try_start(&mut self) -> Result<(), Vec<String>> {
        let path = |name: &str| self.dir.path().join(name).to_str().unwrap().to_owned();
        // Whoever ends the test ends this as well: the kernel kills `unshare`
        // with the test's thread, and all of the namespace with `unshare`.
        let mut start = program("setpriv");
        start.args(["--pdeathsig", "KILL", "--"]);
        start.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
        start.arg(icinga2()).args(["daemon", "-c", &path("icinga2.conf")]);
        for (name, folder) in [
            ("ConfigDir", "etc"),
            ("ZonesDir", "zones.d"),
            ("DataDir", "data"),
            ("LogDir", "log"),
            ("CacheDir", "cache"),
            ("SpoolDir", "spool"),
            ("InitRunDir", "run"),
        ] {
            start.arg(format!("-D{name}={}", path(folder)));
        }
        // Else it becomes the package's user, who cannot see the folder.
        let mut child = as_root(&mut start)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv is missing");
        let (sender, log) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line).ok()));
        self.process = Some(Running { child, log, seen: RefCell::default() });
        if self.process().logs("Activated all objects.") {
            return Ok(());
        }
        let log = self.log();
        self.kill();
        Err(log)
    }

    /// `https://localhost:PORT/`: Icinga makes its certificate for its node's
    /// name alone.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Icinga's own CA.
    pub fn ca_file(&self) -> PathBuf {
        pki().join("ca/ca.crt")
    }

    /// The CA of another Icinga, which has the same name.
    pub fn stranger_ca_file(&self) -> PathBuf {
        pki().join("stranger/ca/ca.crt")
    }

    /// A file with [`PASSWORD`], made on demand.
    pub fn password_file(&self) -> PathBuf {
        let path = self.dir.path().join("password");
        fs::write(&path, format!("{PASSWORD}\n")).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// What it has logged since it was started.
    pub fn log(&self) -> Vec<String> {
        let running = self.process();
        running.seen.borrow_mut().extend(running.log.try_iter());
        running.seen.borrow().clone()
    }

    /// Waits until it has logged a line with this text.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        assert!(self.process().logs(text), "`{text}` is missing in:\n{}", self.log().join("\n"));
    }

    /// The requests of this user that it has logged.
    pub fn requests_of(&self, user: &str) -> usize {
        let user = format!(", user: {user}, ");
        self.log().iter().filter(|line| line.contains("Request: POST ") && line.contains(&user)).count()
    }

    /// What it answers to a request of a user.
    pub fn ask(&self, user: &str, password: &str, method: &Method, path: &str, body: &str) -> Answer {
        let accept = Some("application/json");
        ask(&self.url(), &self.ca_file(), Request { user, password, method, path, body, accept })
    }

    /// What it does for the tests' own user.
    #[track_caller]
    fn order(&self, method: &Method, path: &str, body: &Value) -> Value {
        let answer = self.ask(READER, PASSWORD, method, path, &body.to_string());
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    /// A service's attributes, by its name `host!service`.
    #[track_caller]
    pub fn service(&self, name: &str) -> Value {
        let path = format!("v1/objects/services/{}", name.replace(' ', "%20"));
        self.order(&Method::GET, &path, &json!({}))["results"][0]["attrs"].clone()
    }

    /// What Icinga's own check makes of a service now, as it does by itself
    /// when a result has outlived its `ttl`.
    #[track_caller]
    pub fn check_now(&self, kind: &str, name: &str) {
        let body = json!({"type": kind, kind.to_lowercase(): name, "force": true});
        let before = self.checked(kind, name);
        self.order(&Method::POST, "v1/actions/reschedule-check", &body);
        self.wait_until("Icinga's own check", || self.checked(kind, name) != before);
    }

    fn checked(&self, kind: &str, name: &str) -> Value {
        let path = format!("v1/objects/{}s/{name}?attrs=last_check", kind.to_lowercase());
        self.order(&Method::GET, &path, &json!({}))["results"][0]["attrs"]["last_check"].clone()
    }

    /// What an expression of Icinga's own language has for its value.
    #[track_caller]
    pub fn evaluate(&self, expression: &str) -> Value {
        let mut url: url::Url = "https://x/v1/console/execute-script".parse().unwrap();
        url.query_pairs_mut().append_pair("command", expression);
        let path = format!("v1/console/execute-script?{}", url.query().unwrap());
        self.order(&Method::POST, &path, &json!({}))["results"][0]["result"].clone()
    }

    /// Waits until `condition` holds, looking again and again.
    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let begin = Instant::now();
        while !condition() {
            assert!(begin.elapsed() < PATIENCE, "waited in vain for this: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it as the system does, so that it can write down what it knows.
    pub fn stop(&mut self) {
        self.daemon().signal(Signal::TERM);
        let mut running = self.process.take().expect("this Icinga is stopped");
        let begin = Instant::now();
        while running.child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < PATIENCE, "Icinga does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again, on its port and with what it has written down.
    #[track_caller]
    pub fn start_again(&mut self) {
        if let Err(log) = self.try_start() {
            panic!("Icinga 2 does not start again:\n{}", log.join("\n"));
        }
    }

    /// Lets it know these hosts instead, without a stop, as `systemctl reload`
    /// does, and waits until it does.
    #[track_caller]
    pub fn reload_with(&self, hosts: &[&str]) {
        self.configure(hosts, "");
        self.daemon().signal(Signal::HUP);
        let known = |host: &&str| self.knows(host);
        self.wait_until("the new configuration", || hosts.iter().all(known));
    }

    fn knows(&self, host: &str) -> bool {
        let path = format!("v1/objects/hosts/{host}");
        let (method, accept) = (&Method::GET, Some("application/json"));
        let request = Request { user: READER, password: PASSWORD, method, path: &path, body: "", accept };
        // What the old one has begun to answer breaks when the new one takes over.
        try_ask(&self.url(), &self.ca_file(), request).is_ok_and(|answer| answer.status == 200)
    }

    /// Its first process.
    fn daemon(&self) -> Process {
        child_of(self.process().child.id()).expect("Icinga is gone")
    }

    /// All of its processes at this moment.
    pub fn processes(&self) -> Vec<u32> {
        descendants(&processes(), self.process().child.id()).into_iter().map(|process| process.id).collect()
    }

    fn process(&self) -> &Running {
        self.process.as_ref().expect("this Icinga is stopped")
    }

    /// Ends it, and returns when nothing of it is left.
    fn kill(&mut self) {
        let Some(mut running) = self.process.take() else { return };
        // The namespace's first process ends after all others; `unshare` waits
        // for it, and is killed itself only where it has started nothing.
        match child_of(running.child.id()) {
            Some(daemon) => daemon.signal(Signal::KILL),
            None => drop(running.child.kill()),
        }
        let _ = running.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Running {
    /// Waits for a line with this text; `false` if Icinga ends first.
    fn logs(&self, text: &str) -> bool {
        if self.seen.borrow().iter().any(|line| line.contains(text)) {
            return true;
        }
        let begin = Instant::now();
        loop {
            match self.log.recv_timeout(PATIENCE.saturating_sub(begin.elapsed())) {
                Ok(line) => {
                    let found = line.contains(text);
                    self.seen.borrow_mut().push(line);
                    if found {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }
}

/// A request to an Icinga, real or not.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub user: &'a str,
    pub password: &'a str,
    pub method: &'a Method,
    pub path: &'a str,
    pub body: &'a str,
    pub accept: Option<&'a str>,
}

/// Asks an Icinga at this root.
#[track_caller]
pub fn ask(root: &str, ca_file: &Path, request: Request<'_>) -> Answer {
    try_ask(root, ca_file, request).unwrap()
}

fn try_ask(root: &str, ca_file: &Path, request: Request<'_>) -> Result<Answer, https::HttpFailure> {
    let url = url::Url::parse(root).unwrap().join(request.path).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let client = https::client(&url, Some(ca_file), PATIENCE).unwrap();
        let mut asked = client
            .request(request.method.clone(), url)
            .basic_auth(request.user, Some(request.password))
            .body(request.body.to_owned());
        if let Some(accept) = request.accept {
            asked = asked.header(reqwest::header::ACCEPT, accept);
        }
        https::ask(asked, 1024 * 1024).await
    })?;
    let body = serde_json::from_slice(&answer.body)
        .unwrap_or_else(|_| String::from_utf8_lossy(&answer.body).into_owned().into());
    Ok(Answer { status: answer.status.as_u16(), media_type: answer.media_type, body })
}

fn child_of(id: u32) -> Option<Process> {
    processes().into_iter().find(|process| process.parent == id)
}

/// The program, for which there is no substitute.
fn icinga2() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join("icinga2"))
        .find(|path| path.exists())
        .expect("icinga2 is missing: `make test` installs it, or `apt-get install --no-install-recommends icinga2-bin`")
}

/// README.md's objects for Icinga, with the tests' password.
fn readme() -> String {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("\n```").skip(1).step_by(2);
    let block = blocks
        .map(|block| block.split_once('\n').unwrap().1)
        .find(|block| block.contains("object ApiUser "))
        .expect("README.md has no example of an ApiUser");
    assert!(block.contains("password = \"…\""), "{block}");
    format!("{}\n", block.replace("password = \"…\"", &format!("password = \"{PASSWORD}\"")))
}

/// Lets Icinga stay root, who the tests are.
fn as_root(command: &mut Command) -> &mut Command {
    command.env("ICINGA2_USER", "root").env("ICINGA2_GROUP", "root")
}

/// Icinga's own CA, its node's certificate, and another Icinga's CA, made by
/// Icinga's own tools; once for all tests, since each key takes seconds.
fn pki() -> &'static Path {
    static PKI: OnceLock<PathBuf> = OnceLock::new();
    PKI.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // The certificate is good for 397 days.
        #[expect(clippy::disallowed_methods, reason = "how old the certificate may be")]
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let kept = target.join(format!("icinga-pki-{}", now.as_secs() / (100 * 24 * 3600)));
        if !kept.exists() {
            let made = tempfile::Builder::new().prefix("icinga-pki-").tempdir_in(target).unwrap();
            let path = |name: &str| made.path().join(name).to_str().unwrap().to_owned();
            pki_tool(made.path(), &["new-ca"]);
            let (key, request, certificate) =
                (path("localhost.key"), path("localhost.csr"), path("localhost.crt"));
            pki_tool(made.path(), &["new-cert", "--cn", "localhost", "--key", &key, "--csr", &request]);
            pki_tool(made.path(), &["sign-csr", "--csr", &request, "--cert", &certificate]);
            pki_tool(&made.path().join("stranger"), &["new-ca"]);
            let made = made.keep();
            // Another test program may have been faster; its files do as well.
            if fs::rename(&made, &kept).is_err() {
                fs::remove_dir_all(made).unwrap();
            }
        }
        kept
    })
}

/// Runs `icinga2 pki` on the CA of a folder.
fn pki_tool(data: &Path, arguments: &[&str]) {
    fs::create_dir_all(data).unwrap();
    let mut command = program(icinga2().to_str().unwrap());
    command.arg("pki").args(arguments).arg(format!("-DDataDir={}", data.display()));
    let output = as_root(&mut command).output().unwrap();
    assert!(
        output.status.success(),
        "icinga2 pki {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
