//! What root's ssh configuration may do. Hosts that are reached through others:
//! what holds for a host next door holds for them, and nothing of the way there
//! outlives the run. Settings that would hurt: none does.

use crate::support::rig::*;
use rustix::process::Signal;
use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
    let checked = map.rig.backup(&["check", "--json"]);
    let checked: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    let hosts = checked["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), all.len(), "{checked:#}");
    for host in hosts {
        assert_eq!(host["level"], "ok", "{host:#}");
    }
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
        assert!(begin.elapsed() < PATIENCE, "waited in vain for this: {what}");
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
        assert!(begin.elapsed() < PATIENCE, "killed when {what}, this is left: {left:#?}");
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

/// A host behind a bastion that is reached as ssh is told by these lines.
fn behind(gate: &str) -> Map {
    let mut map = Map::new();
    map.stanza("gate", &format!("HostName 127.0.0.1\n{gate}"));
    map.host("far", "ProxyJump gate\n");
    map.draw();
    map
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

#[test]
fn twelve_hosts_behind_one_bastion_are_hosts_like_any_other_and_killed_runs_leave_nothing() {
    let mut map = Map::new();
    map.gate("gate", "");
    for number in 1..=12 {
        map.host(&format!("far-{number}"), "ProxyJump gate\n");
    }
    map.draw();
    // sshd drops some of those that knock at once, by its own default.
    for sshd in map.gates.iter_mut().chain([map.rig.sshd()]) {
        sshd.start_again_with(&Setup { lines: "MaxStartups 100", ..Setup::default() });
    }
    everything_works(&mut map);
    map.rig.hook("10-hook", "sleep 0.2");
    for number in 0..20 {
        // From before the first connection to where the last hosts are copied.
        let moment = Instant::now() + Duration::from_millis(60 * number);
        killed_when(&mut map, &format!("{number} times 60 ms have passed"), |_| Instant::now() >= moment);
    }
    map.rig.backup(&["all"]).exits(0);
}

#[test]
fn a_bastion_that_refuses_is_named_with_the_way_to_try_it() {
    let port = free_port();
    let map = behind(&format!("Port {port}\n"));
    map.rig.backup(&["all"]).exits(1).says(&format!(
        "far: CRITICAL: connect failed: cannot reach `far` through the bastion `gate`: ssh: connect to host \
         127.0.0.1 port {port}: Connection refused (try `ssh gate`)"
    ));
}

#[test]
fn a_bastion_with_an_unknown_key_is_refused_and_named() {
    let mut stranger = Sshd::start(tempfile::tempdir().unwrap().path());
    let map = behind(&format!("Port {}\nUserKnownHostsFile /dev/null\n", stranger.port));
    map.rig
        .backup(&["all"])
        .exits(1)
        .says("far: CRITICAL: connect failed: cannot reach `far` through the bastion `gate`: Host key verification failed")
        .says("(try `ssh gate`)");
    assert!(!stranger.logs_now("Accepted publickey"), "our key was shown to a stranger");
}

#[test]
fn a_bastion_whose_key_has_changed_is_named_with_the_entry_to_remove() {
    let mut gate = Sshd::start(tempfile::tempdir().unwrap().path());
    let mut map = Map::new();
    let known = map.rig.join("known of the gate");
    let entry = format!("[127.0.0.1]:{}", gate.port);
    fs::write(&known, format!("# none\n{}", gate.known_hosts_line())).unwrap();
    gate.change_key();
    map.stanza(
        "gate",
        &format!("HostName 127.0.0.1\nPort {}\nUserKnownHostsFile \"{}\"\n", gate.port, known.display()),
    );
    // The first value counts, and a stanza has one already.
    let of_all = format!("UserKnownHostsFile {}\n", map.rig.join("known_hosts").display());
    map.config = map.config.replace(&of_all, "");
    map.host("far", "ProxyJump gate\n");
    map.draw();
    let ran = map
        .rig
        .backup(&["all"])
        .exits(1)
        .says(&format!(
            "far: CRITICAL: connect failed: the host key of `{entry}`, on the way to `far`, is not the one in `{}`",
            known.display()
        ))
        .says(&format!("`ssh-keygen -f '{}' -R '{entry}'`", known.display()));
    assert!(!ran.stderr.contains("@@@"), "{}", ran.stderr);
    assert!(!gate.logs_now("Accepted publickey"), "our key was shown to a stranger");
}

#[test]
fn a_host_whose_key_has_changed_is_named_as_ssh_knows_it() {
    let mut map = Map::new();
    map.host("far", "");
    map.draw();
    map.rig.sshd().change_key();
    map.rig
        .backup(&["all"])
        .exits(1)
        .says("the host key of `far` is not the one in")
        .says(&format!("`ssh-keygen -f {} -R 'there'`", map.rig.join("known_hosts").display()));
}

#[test]
fn a_bastion_that_rejects_us_is_heard_over_its_banner() {
    let mut map = Map::new();
    let banner = map.rig.write("banner", "Authorised use only.\nAll is logged.\n");
    let gate = map.gate("gate", "");
    let lines = format!("Banner {}", banner.display());
    gate.start_again_with(&Setup { lines: &lines, ..Setup::default() });
    gate.forget_keys();
    map.host("far", "ProxyJump gate\n");
    map.draw();
    let ran = map
        .rig
        .backup(&["all"])
        .exits(1)
        .says("far: CRITICAL: connect failed: cannot reach `far` through the bastion `gate`: ")
        .says("Permission denied (publickey")
        .says("(try `ssh gate`)");
    assert!(!ran.stderr.contains("Authorised use only"), "{}", ran.stderr);
}

#[test]
fn the_second_of_two_bastions_is_tried_through_the_first() {
    let mut map = Map::new();
    map.gate("first", "");
    let port = free_port();
    map.stanza("second", &format!("HostName 127.0.0.1\nPort {port}\n"));
    map.host("far", CHAIN);
    map.draw();
    map.rig
        .backup(&["all"])
        .exits(1)
        .says("far: CRITICAL: connect failed: cannot reach `far` through the bastion `first,second`: ")
        .says("Connection refused")
        .says("(try `ssh -J first second`)");
}

#[test]
fn a_program_on_the_way_that_hangs_is_given_up_and_named() {
    let mut map = Map::new();
    let tunnel = map.script("tunnel", "#!/bin/sh\nexec sleep 1000\n");
    map.host("far", &format!("ProxyCommand {}\n", tunnel.display()));
    map.draw();
    let port = map.rig.sshd().port;
    map.rig.section("ssh", "connect_timeout = \"2s\"");
    map.rig
        .backup(&["all"])
        .exits(1)
        .says(&format!("through the proxy `{}`", tunnel.display()))
        .says(&format!("(try `ssh -v -p {port} root@far`)"));
    gone(&mut map, "it was given up");
}

#[test]
fn a_bastion_that_hangs_is_given_up_and_named_and_a_killed_run_does_not_leave_its_ssh() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut map = behind(&format!("Port {}\n", silent.local_addr().unwrap().port()));
    map.rig.section("ssh", "connect_timeout = \"2s\"");
    map.rig.backup(&["all"]).exits(1).says(
        "far: CRITICAL: connect failed: cannot reach `far` through the bastion `gate`: Connection timed out during \
         banner exchange (try `ssh gate`)",
    );
    gone(&mut map, "it was given up");
    killed_when(&mut map, "the bastion hangs", |map| proxies(map).iter().any(|line| line.contains(" -W ")));
}

#[test]
fn a_program_on_the_way_that_fails_is_named_with_its_reason() {
    let mut map = Map::new();
    let tunnel = map.script("tunnel", "#!/bin/sh\necho no ticket for %h >&2\nexit 3\n");
    map.host("far", &format!("ProxyCommand {}\n", tunnel.display()));
    map.draw();
    let port = map.rig.sshd().port;
    map.rig
        .backup(&["all"])
        .exits(1)
        .says(&format!(
            "far: CRITICAL: connect failed: cannot reach `far` through the proxy `{}`: no ticket for",
            tunnel.display()
        ))
        .says(&format!("(try `ssh -v -p {port} root@far`)"));
}

/// Everything in a configuration of ssh that could break a connection of ours,
/// blind us, or have it do what nobody asked for.
fn hostile(map: &Map) -> String {
    let file = |name: &str| map.rig.join(name).display().to_string();
    format!(
        "Host *\n\
         IgnoreUnknown UseKeychain\n\
         UseKeychain yes\n\
         LogLevel QUIET\n\
         LogVerbose kex.c:*\n\
         StdinNull yes\n\
         ForkAfterAuthentication yes\n\
         SessionType subsystem\n\
         RemoteCommand echo instead\n\
         RequestTTY force\n\
         EscapeChar x\n\
         PermitLocalCommand yes\n\
         LocalCommand touch {}\n\
         LocalForward 127.0.0.1:{port} 127.0.0.1:1\n\
         RemoteForward 127.0.0.1:{port} 127.0.0.1:1\n\
         DynamicForward 127.0.0.1:{other}\n\
         ExitOnForwardFailure yes\n\
         Tunnel yes\n\
         ControlMaster auto\n\
         ControlPath {}\n\
         ControlPersist yes\n\
         ForwardAgent yes\n\
         ForwardX11 yes\n\
         ForwardX11Trusted yes\n\
         VisualHostKey yes\n\
         BatchMode no\n\
         NumberOfPasswordPrompts 9\n\
         PreferredAuthentications password,keyboard-interactive\n\
         PubkeyAuthentication no\n\
         StrictHostKeyChecking no\n\
         NoHostAuthenticationForLocalhost yes\n\
         CheckHostIP yes\n\
         HashKnownHosts yes\n\
         UpdateHostKeys yes\n\
         CanonicalizeHostname yes\n\
         ConnectionAttempts 9\n\
         ServerAliveInterval 0\n\
         ServerAliveCountMax 0\n\
         TCPKeepAlive no\n\
         RekeyLimit 64K\n\
         IPQoS none\n\
         Compression yes\n\
         AddKeysToAgent yes\n\
         SendEnv *\n\
         SetEnv LC_ALL=de_DE.UTF-8 ENV=/nonexistent\n\
         Match exec true\n\
         EnableSSHKeysign no\n",
        file("local-command"),
        file("shared-%C"),
        port = free_port(),
        other = free_port(),
    )
}

#[test]
fn nothing_in_the_configuration_of_ssh_breaks_a_connection_or_has_it_do_something_else() {
    let mut map = Map::new();
    for name in ["one", "two", "three"] {
        map.host(name, "");
    }
    // The first value of a kind is what counts.
    let stanzas = std::mem::take(&mut map.config);
    map.config = format!("{}{stanzas}", hostile(&map));
    map.draw();
    everything_works(&mut map);
    assert!(!map.rig.join("local-command").exists());
    let shared = |name: &fs::DirEntry| name.file_name().to_string_lossy().starts_with("shared-");
    assert!(!fs::read_dir(map.rig.path()).unwrap().flatten().any(|entry| shared(&entry)));

    // Nor does it blind us, or let a stranger in.
    let stranger = Sshd::start(&map.rig.join("stranger"));
    map.rig.host_with("stranger", &format!("port = {}\naddress = \"127.0.0.1\"\n", stranger.port));
    map.rig.sshd().forget_keys();
    map.rig
        .backup(&["all"])
        .exits(1)
        .says("CRITICAL, 3 hosts: connect failed: `root@HOST` rejected the login")
        .says("stranger: CRITICAL: connect failed: the host key of `127.0.0.1` is not known");
}
