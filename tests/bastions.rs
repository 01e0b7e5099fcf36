//! Hosts that are reached through others: what holds for a host next door holds
//! for them, and nothing of the way there outlives the run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;
use rustix::process::Signal;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::rig::*;

/// A rig with hosts, and ways to them.
struct Map {
    rig: Rig,
    gates: Vec<Sshd>,
    /// What is on the way, in ssh's words.
    config: String,
    copied: Vec<(String, PathBuf)>,
}

impl Map {
    fn new() -> Self {
        Map { rig: Rig::new(), gates: Vec::new(), config: String::new(), copied: Vec::new() }
    }

    /// A bastion, reached as ssh is told by these lines.
    fn gate(&mut self, name: &str, lines: &str) -> &mut Sshd {
        let gate = Sshd::start(&self.rig.join(name));
        let known = fs::read_to_string(self.rig.join("known_hosts")).unwrap() + &gate.known_hosts_line();
        fs::write(self.rig.join("known_hosts"), known).unwrap();
        self.stanza(name, &format!("HostName 127.0.0.1\nPort {}\n{lines}", gate.port));
        self.gates.push(gate);
        self.gates.last_mut().unwrap()
    }

    fn stanza(&mut self, name: &str, lines: &str) {
        let (known, key) = (self.rig.join("known_hosts"), client_key());
        let _ = writeln!(
            self.config,
            "Host {name}\nUserKnownHostsFile {}\nIdentityFile {}\nIdentitiesOnly yes\nUser root\n{lines}",
            known.display(),
            key.display()
        );
    }

    /// A host, reached as ssh is told by these lines.
    fn host(&mut self, name: &str, lines: &str) {
        let source = self.rig.host_with(name, &format!("address = {name:?}\n"));
        self.stanza(name, &format!("HostName 127.0.0.1\nHostKeyAlias there\n{lines}"));
        self.copied.push((name.to_owned(), source));
    }

    /// Puts a program of this name and text among those of the rig.
    fn script(&self, name: &str, text: &str) -> PathBuf {
        let script = self.rig.write(Path::new("bin").join(name), text);
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        script
    }

    /// Has ssh read what is to be on the way, as if it were root's configuration.
    fn draw(&mut self) {
        let line = self.rig.sshd().known_hosts_line();
        let (_, key) = line.split_once(' ').unwrap();
        let known = fs::read_to_string(self.rig.join("known_hosts")).unwrap();
        fs::write(self.rig.join("known_hosts"), format!("{known}there {key}")).unwrap();
        let config = self.rig.write("ssh_config", &self.config);
        // Another `-F` after it is what counts then.
        self.script("ssh", &format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", config.display()));
        self.rig.path_first = Some(self.rig.join("bin"));
    }
}

const CHAIN: &str = "ProxyJump first,second\n";

/// Two bastions, one behind the other, and a host behind both.
fn chain() -> Map {
    let mut map = Map::new();
    map.gate("first", "");
    map.gate("second", "");
    map.host("far", CHAIN);
    map.draw();
    map
}

/// A host behind a program of the operator's own, which is a shell that waits for
/// an ssh.
fn program() -> Map {
    let mut map = Map::new();
    map.gate("gate", "");
    let tunnel = map.script("tunnel", "#!/bin/sh\nssh -W \"$1:$2\" gate\n");
    map.host("far", &format!("ProxyCommand {} %h %p\n", tunnel.display()));
    map.draw();
    map
}

/// What every command has to do with every host of a map.
fn everything_works(map: &mut Map) {
    map.rig.hook("10-hook", "echo hooked");
    let all: Vec<String> = map.copied.iter().map(|(name, _)| name.clone()).collect();
    let ran = map.rig.backup(&["run", "all"]).exits(0);
    for (name, source) in &map.copied {
        assert!(ran.stderr.contains(&format!("{name}: hook 10-hook: hooked")), "{}", ran.stderr);
        assert_eq!(differences(source, &map.rig.newest(name)), "");
    }
    // One connection a host, whatever is done over it.
    assert_eq!(map.rig.sshd().accepted(), all.len());
    map.rig.backup(&["plan", "all"]).exits(0);
    map.rig.backup(&["check"]).does_not_say("lost").does_not_say("CRITICAL");
    map.rig.backup(&["verify", "all"]).exits(0);
    for (name, source) in map.copied.clone() {
        fs::remove_dir_all(source.join("etc")).unwrap();
        map.rig.backup(&["restore", &name, "/etc", "--to-host", "--yes"]).exits(0);
        assert_eq!(differences(&source.join("etc"), &map.rig.newest(&name).join("etc")), "");
    }
    assert!(map.rig.left_behind().is_empty(), "{:?}", map.rig.left_behind());
    assert_eq!(proxies(map), [""; 0]);
}

/// Command lines of what stands between us and a host at this moment.
fn proxies(map: &Map) -> Vec<String> {
    let rig = map.rig.path().to_str().unwrap();
    let on_the_way =
        |line: &String| line.contains(rig) && (line.contains("ssh_config") || line.contains("/bin/"));
    command_lines().into_iter().filter(on_the_way).collect()
}

/// Kills a run when this is so, and sees to it that nothing is left, here or there.
fn killed_when(map: &mut Map, what: &str, mut moment: impl FnMut(&mut Map) -> bool) {
    let mut child = map.rig.start(&["all"]);
    let begin = Instant::now();
    while !moment(map) {
        assert!(begin.elapsed() < Duration::from_secs(60), "waited in vain for this: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    gone(map, what);
}

fn gone(map: &mut Map, what: &str) {
    let begin = Instant::now();
    loop {
        let mut left = map.rig.left_behind();
        left.extend(proxies(map));
        left.extend(map.rig.sshd().sessions().into_iter().map(|process| process.line));
        left.extend(connections(map).iter().map(|path| path.display().to_string()));
        if left.is_empty() {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "killed when {what}, this is left: {left:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The directories of connections, where their control sockets are.
fn connections(map: &Map) -> Vec<PathBuf> {
    let below = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    below(map.rig.join("run")).flat_map(below).filter(|path| path.is_dir()).collect()
}

/// Kills runs at three moments: while they connect, in a hook, while they copy.
fn killed_runs_leave_nothing(mut map: Map) {
    let begun = map.rig.join("begun");
    killed_when(&mut map, "it connects", |map| !proxies(map).is_empty());
    map.rig.hook("10-hook", &format!("touch {}\nexec sleep 1000", begun.display()));
    killed_when(&mut map, "a hook runs", |_| begun.exists());
    map.rig.hook("10-hook", "");
    let source = map.copied[0].1.clone();
    big_file(&source.join("zz"), 8);
    map.rig.section("transfer", "bandwidth_limit = \"500k\"");
    let copy = map.rig.join("store/far/.incomplete");
    killed_when(&mut map, "it copies", |_| holds_something(&copy));
    map.rig.section("transfer", "bandwidth_limit = \"\"");
    map.rig.backup(&["all"]).exits(0);
    assert_eq!(differences(&source, &map.rig.newest("far")), "");
}

/// Whether some file below is being written that rsync has not named yet.
fn holds_something(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            holds_something(&entry.path())
        } else {
            entry.file_name().to_string_lossy().starts_with(".zz.")
        }
    })
}

#[test]
fn a_host_behind_a_chain_of_two_jumps_is_a_host_like_any_other() {
    everything_works(&mut chain());
}

#[test]
fn a_host_behind_a_program_of_the_operators_is_a_host_like_any_other() {
    everything_works(&mut program());
}

#[test]
fn a_killed_run_leaves_nothing_of_a_chain_of_jumps() {
    killed_runs_leave_nothing(chain());
}

#[test]
fn a_killed_run_leaves_nothing_of_a_program_on_the_way() {
    killed_runs_leave_nothing(program());
}
