//! A store as runs of many nights left it, without the runs: snapshots with
//! facts and a file or two, in a directory store or behind the ZFS stand-in,
//! and the binary that looks at them.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a support of tests fails by panicking"
)]

use super::rig::{Ran, Rig, finish, must, program};
use super::standin::StandIn;
use chrono::{DateTime, SecondsFormat, Utc};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A rig whose store holds what is put on it.
pub struct Shelf {
    pub rig: Rig,
    zfs: Option<StandIn>,
}

/// A snapshot to put there: whose host it is, its name, and its facts; `None`
/// makes it somebody else's.
pub struct Copy<'a> {
    pub host: &'a str,
    pub name: &'a str,
    pub facts: Option<serde_json::Value>,
}

/// The facts of a run's snapshot.
pub fn facts(verdict: &str, files: u64, bytes: u64, seconds: u64) -> serde_json::Value {
    serde_json::json!({"run": "r1", "verdict": verdict, "files": files, "bytes": bytes, "duration": seconds})
}

/// The name of a snapshot that a run took so long ago.
pub fn name_ago(hours: i64) -> String {
    (now() - chrono::TimeDelta::hours(hours)).format("backup-%Y-%m-%dT%H%M%SZ").to_string()
}

#[expect(clippy::disallowed_methods, reason = "the binary reads the clock too")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The time that is in a snapshot's name, as JSON has it.
pub fn time_of(name: &str) -> String {
    let time = chrono::NaiveDateTime::parse_from_str(name, "backup-%Y-%m-%dT%H%M%SZ").unwrap().and_utc();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl Shelf {
    /// A directory store.
    pub fn of_directories() -> Self {
        Shelf { rig: Rig::without_sshd(), zfs: None }
    }

    /// A pool `data` behind the stand-in.
    pub fn of_zfs() -> Self {
        let shelf = Shelf { rig: Rig::without_sshd(), zfs: Some(StandIn::without_pool()) };
        shelf.tell_zfs(&["create", "data"]);
        shelf
    }

    /// The stand-in, if there is one.
    pub fn zfs(&self) -> Option<&StandIn> {
        self.zfs.as_ref()
    }

    fn tell_zfs(&self, arguments: &[&str]) {
        let zfs = self.standin().root().join("bin/zfs");
        let output = program(zfs.to_str().unwrap()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The stand-in.
    pub fn standin(&self) -> &StandIn {
        self.zfs.as_ref().expect("this shelf has no ZFS")
    }

    /// Where a snapshot is.
    pub fn tree(&self, host: &str, name: &str) -> PathBuf {
        match &self.zfs {
            None => self.rig.join("store").join(host).join("snapshots").join(name),
            Some(zfs) => zfs.mountpoint(&format!("data/{host}")).join(".zfs/snapshot").join(name),
        }
    }

    /// Makes a host's place, with nothing in it.
    pub fn place(&self, host: &str) {
        match &self.zfs {
            None => fs::create_dir_all(self.rig.join("store").join(host).join("snapshots")).unwrap(),
            Some(zfs) if zfs.mountpoint(&format!("data/{host}")).exists() => {}
            Some(_) => self.tell_zfs(&["create", &format!("data/{host}")]),
        }
    }

    /// Puts a snapshot there.
    pub fn put(&self, copy: &Copy<'_>) {
        let Copy { host, name, facts } = copy;
        self.place(host);
        if self.zfs.is_none() {
            let tree = self.tree(host, name);
            self.rig.write(tree.join("etc/hostname"), format!("{host}\n"));
            if let Some(facts) = facts {
                self.rig.write(tree.with_file_name(format!("{name}.json")), facts.to_string());
            }
            return;
        }
        self.rig.write(self.standin().mountpoint(&format!("data/{host}")).join("etc/hostname"), "x\n");
        let mut arguments = vec!["snapshot".to_owned()];
        for (key, value) in facts.iter().flat_map(|facts| facts.as_object().unwrap()) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            arguments.extend(["-o".to_owned(), format!("backup:{key}={value}")]);
        }
        arguments.push(format!("data/{host}@{name}"));
        self.tell_zfs(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Puts a good snapshot there that is so many hours old, and gives its name.
    pub fn good(&self, host: &str, hours: i64) -> String {
        self.with(host, hours, facts("good", 10, 4096, 12))
    }

    /// Puts a snapshot with these facts there that is so many hours old.
    pub fn with(&self, host: &str, hours: i64, facts: serde_json::Value) -> String {
        let name = name_ago(hours);
        self.put(&Copy { host, name: &name, facts: Some(facts) });
        name
    }

    /// Holds a snapshot.
    pub fn hold(&self, host: &str, name: &str) {
        match &self.zfs {
            None => {
                self.rig.write(self.tree(host, name).with_file_name(format!("{name}.hold")), "keep\n");
            }
            Some(_) => self.tell_zfs(&["hold", "keep", &format!("data/{host}@{name}")]),
        }
    }

    /// The binary, ready to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.rig.command(arguments);
        if let Some(zfs) = &self.zfs {
            let path = self.rig.join("config.toml");
            let text = fs::read_to_string(&path).unwrap();
            let sections = text.split("\n\n").filter(|section| !section.starts_with("[store.directory]"));
            let text = sections.collect::<Vec<_>>().join("\n\n") + "\n\n[store.zfs]\ndataset = \"data\"\n";
            command.env("BACKUP_CONFIG", self.rig.write("config-zfs.toml", text));
            let bin = zfs.root().join("bin");
            command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        }
        command
    }

    /// Runs the binary to its end.
    pub fn backup(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments).spawn().unwrap()).into()
    }

    /// Its answer as JSON.
    #[track_caller]
    pub fn json(&self, code: i32, arguments: &[&str]) -> serde_json::Value {
        let ran = self.backup(arguments).exits(code);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
    }

    /// Every file below the store and the state, with its times: what a look
    /// must not change.
    pub fn fingerprint(&self) -> String {
        let mut folders = vec![self.rig.join("store"), self.rig.join("state"), self.rig.join("run")];
        folders.retain(|folder| folder.exists());
        let mut arguments: Vec<&str> = folders.iter().map(|folder| folder.to_str().unwrap()).collect();
        if arguments.is_empty() {
            return String::new();
        }
        arguments.extend(["-printf", "%p %y %i %C@ %s %m\n"]);
        must("find", &arguments)
    }
}

/// A terminal of 100 columns in which a command runs to its end: all that it
/// writes, escapes and all, with plain line breaks.
pub fn on_terminal(command: &Command) -> String {
    let mut line = "stty cols 100 rows 50; exec".to_owned();
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        line.push_str(&format!(" '{}'", word.to_str().unwrap()));
    }
    let mut script = program("script");
    script.args(["-qefc", &line, "/dev/null"]);
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => script.env(key, value),
            None => script.env_remove(key),
        };
    }
    let output = script.stdin(std::process::Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).replace('\r', "")
}
