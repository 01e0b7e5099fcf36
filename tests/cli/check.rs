//! `backup check`: what it finds, what it says to do, that it changes nothing
//! and that it never hangs.

use crate::support::icinga::{self, Icinga};
use crate::support::icinga_daemon::Daemon;
use crate::support::netbox::{Fault, Machine, StandIn as NetBox, TOKEN};
use crate::support::rig::*;
use crate::support::standin::StandIn as Pool;
use backup::core::model::finding::{CheckFinding, Level, worst};
use backup::edge::store::{AnyStore, Inspection};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What a check found.
struct Found {
    ran: Ran,
    json: Value,
}

/// Runs `backup check --json` with more words.
#[track_caller]
fn check(rig: &Rig, words: &[&str]) -> Found {
    let ran = rig.backup(&[&["check", "--json"], words].concat());
    let json = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}:\n{}\n{}", ran.stdout, ran.stderr));
    Found { ran, json }
}

impl Found {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.ran.code, Some(code), "{:#}\n{}", self.json, self.ran.stderr);
        assert_eq!(self.json["ready"], code == 0, "{:#}", self.json);
        // Whatever is wrong comes with what to do.
        let hosts = self.json["hosts"].as_array().unwrap().iter();
        let all = hosts.chain(self.json["sections"].as_array().unwrap());
        for finding in all.flat_map(|part| part["findings"].as_array().unwrap()) {
            let level = finding["level"].as_str().unwrap();
            let remedy = finding["remedy"].as_str().unwrap_or_default();
            assert!(!matches!(level, "error" | "warning") || !remedy.is_empty(), "{finding}");
        }
        self
    }

    fn section(&self, name: &str) -> Vec<Value> {
        let sections = self.json["sections"].as_array().unwrap();
        let found = sections.iter().find(|section| section["name"] == name);
        found.map(|section| section["findings"].as_array().unwrap().clone()).unwrap_or_default()
    }

    fn host(&self, name: &str) -> &Value {
        let hosts = self.json["hosts"].as_array().unwrap();
        hosts.iter().find(|host| host["name"] == name).unwrap_or_else(|| panic!("{name}: {:#}", self.json))
    }

    /// Fails the test unless the section has a finding of this level, with this
    /// in its text and that in its remedy.
    #[track_caller]
    fn tells(&self, section: &str, level: &str, text: &str, remedy: &str) -> &Self {
        assert!(
            has(&self.section(section), level, text, remedy),
            "{text} / {remedy}: {:#?}",
            self.section(section)
        );
        self
    }

    /// The same of a host.
    #[track_caller]
    fn tells_of(&self, host: &str, level: &str, text: &str, remedy: &str) -> &Self {
        let findings = self.host(host)["findings"].as_array().unwrap();
        assert!(has(findings, level, text, remedy), "{text} / {remedy}: {findings:#?}");
        self
    }
}

fn has(findings: &[Value], level: &str, text: &str, remedy: &str) -> bool {
    findings.iter().any(|finding| {
        let said = format!("{}: {}", finding["subject"].as_str().unwrap(), finding["text"].as_str().unwrap());
        finding["level"] == level
            && said.contains(text)
            && finding["remedy"].as_str().unwrap_or_default().contains(remedy)
    })
}

/// Writes a file that only its owner may read.
fn secret(rig: &Rig, name: &str, text: &str) -> PathBuf {
    let path = rig.write(name, text);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// A port at which connections are accepted by the kernel and by nobody else.
fn black_hole() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn a_server_that_is_ready_says_so_and_nothing_is_done() {
    let mut rig = Rig::new();
    rig.host("Web");
    rig.host("db");
    rig.hook("10-dump", &format!("touch {}", rig.join("hook-ran").display()));
    let ran = rig.backup(&["check"]).exits(0);
    assert!(ran.stdout.ends_with("\nready: 2 hosts\n"), "{}", ran.stdout);
    let port = rig.sshd().port;
    let web = format!("  ok       Web  root@127.0.0.1:{port}, 1 filesystem, 1 hook, rsync ");
    assert!(ran.stdout.contains(&web), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}'), "no colours in a pipe");
    assert_eq!(rig.sshd().accepted(), 2, "one connection a host");
    assert!(!rig.join("hook-ran").exists(), "a hook was run");
    assert_eq!(fs::read_dir(rig.join("store")).unwrap().count(), 0, "something was made in the store");
    assert!(!rig.join("state").exists(), "the state directory was made");

    let found = check(&rig, &["web"]).exits(0);
    assert_eq!(found.json["hosts"].as_array().unwrap().len(), 1);
    let web = found.host("Web");
    assert_eq!((&web["level"], &web["place"], &web["answered"]), (&json!("ok"), &json!("new"), &json!(true)));
    assert_eq!(web["hooks"], json!(["10-dump"]));
    rig.backup(&["web"]).exits(0);
    assert_eq!(check(&rig, &["web"]).exits(0).host("Web")["place"], "there");
    assert_eq!(rig.backup(&["check", "--quiet"]).exits(0).stdout, "", "cron has nothing to mail");
    rig.hook("odd.sh", "exit 0");
    let quiet = rig.backup(&["check", "--quiet", "web"]).exits(1).stdout;
    assert!(quiet.starts_with("hosts\n  warning  Web") && quiet.ends_with("not ready\n"), "{quiet}");
}

crate::support::on_every_store! { a_store_with_copies_has_nothing_worse_than_a_note }

fn a_store_with_copies_has_nothing_worse_than_a_note(mut rig: Rig) {
    rig.near_host("web", "");
    rig.near_host("new", "");
    rig.backup(&["web"]).exits(0);
    let found = check(&rig, &[]);
    let bad = |finding: &&Value| finding["level"] == "warning" || finding["level"] == "error";
    let store = found.section("store");
    assert!(!store.is_empty() && !store.iter().any(|finding| bad(&finding)), "{store:#?}");
    assert_eq!((&found.host("web")["place"], &found.host("new")["place"]), (&json!("there"), &json!("new")));
    assert_eq!(found.host("web")["findings"], json!([]));
}

#[test]
fn an_unknown_key_is_shown_and_once_trusted_a_run_works() {
    let mut rig = Rig::new();
    rig.host("Web");
    rig.write("known_hosts", "# mine\n");
    fs::set_permissions(rig.join("known_hosts"), PermissionsExt::from_mode(0o644)).unwrap();
    let port = rig.sshd().port;
    let found = check(&rig, &[]).exits(1);
    found.tells_of(
        "Web",
        "error",
        "is not known: it shows ssh-ed25519 SHA256:",
        "backup check --trust-host-keys Web",
    );

    let refused = rig.backup(&["check", "--trust-host-keys"]).exits(2);
    let refused = refused.says("ssh-ed25519          SHA256:").says("not a terminal");
    assert_eq!(refused.stdout, "");
    assert_eq!(fs::read_to_string(rig.join("known_hosts")).unwrap(), "# mine\n");

    let trusted = rig.backup(&["check", "--trust-host-keys", "--yes", "web"]).exits(0);
    trusted.says(&format!("Web ([127.0.0.1]:{port})")).says("1 key added to");
    let known = fs::read_to_string(rig.join("known_hosts")).unwrap();
    assert!(known.starts_with(&format!("# mine\n[127.0.0.1]:{port} ssh-ed25519 AAAA")), "{known}");
    assert_eq!(fs::metadata(rig.join("known_hosts")).unwrap().mode() & 0o777, 0o644);
    rig.backup(&["check", "--trust-host-keys"]).exits(0).says("there is no new key to trust");
    assert_eq!(fs::read_to_string(rig.join("known_hosts")).unwrap(), known);
    rig.backup(&["all"]).exits(0);
}

#[test]
fn on_a_terminal_keys_are_kept_only_after_a_yes() {
    let mut rig = Rig::new();
    rig.host("Web");
    rig.write("known_hosts", "");
    let answer = |line: &str| {
        use std::io::Write;
        let config = rig.configure();
        let command =
            format!("{} check --trust-host-keys --config {}", env!("CARGO_BIN_EXE_backup"), config.display());
        let mut script = program("script");
        script.args(["-qec", &command, "/dev/null"]).env("TERM", "dumb");
        script.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = script.spawn().unwrap();
        child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        finish(child)
    };
    for (line, kept) in [("\n", false), ("no\n", false), ("y\n", true)] {
        let said = String::from_utf8_lossy(&answer(line).stdout).into_owned();
        assert!(said.contains("Trust this host from now on? [y/N]"), "{said}");
        assert_eq!(
            fs::read_to_string(rig.join("known_hosts")).unwrap().contains("ssh-ed25519"),
            kept,
            "{said}"
        );
    }
}

#[test]
fn a_key_that_changed_is_never_replaced() {
    let mut rig = Rig::new();
    rig.host("Web");
    let known = fs::read(rig.join("known_hosts")).unwrap();
    rig.sshd().change_key();
    let found = check(&rig, &["--trust-host-keys", "--yes"]).exits(1);
    found.tells_of("Web", "error", "is not the one in", "ssh-keygen -f");
    assert_eq!(fs::read(rig.join("known_hosts")).unwrap(), known);
}

#[test]
fn without_a_file_in_the_configuration_roots_own_is_meant_and_not_touched_unasked() {
    let target = Path::new("/root/.ssh");
    let mut rig = Rig::new();
    rig.host("Web");
    // ssh knows its user's home from the accounts, not from the environment;
    // so this looks only at what would be asked for.
    let config = rig.configure();
    let text = fs::read_to_string(&config).unwrap();
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("known_hosts_file"))
        .map(|line| format!("{line}\n"))
        .collect();
    let other = rig.write("other.toml", text);
    let before = fs::read(target.join("known_hosts")).ok();
    let ran = rig.backup(&["check", "--trust-host-keys", "--config", other.to_str().unwrap()]).exits(2);
    ran.says("SHA256:").says("not a terminal");
    assert_eq!(fs::read(target.join("known_hosts")).ok(), before);
}

#[test]
fn hosts_that_cannot_be_reached_are_told_apart_and_hold_nobody_up() {
    let mut rig = Rig::new();
    rig.section("ssh", "connect_timeout = \"2s\"\n");
    rig.host("good");
    let (_listener, hole) = black_hole();
    rig.host_with("hole", &format!("address = \"127.0.0.1\"\nport = {hole}\n"));
    rig.host_with("closed", &format!("address = \"127.0.0.1\"\nport = {}\n", free_port()));
    rig.host_with("nowhere", "address = \"no-such-host.invalid\"\n");
    let known = format!("{}[127.0.0.1]:{hole} ssh-ed25519 AAAA\n", rig.sshd().known_hosts_line());
    rig.write("known_hosts", known);
    // It ends, though the hole never answers.
    let found = check(&rig, &[]).exits(1);
    assert_eq!(found.host("good")["level"], "ok");
    found
        .tells_of("hole", "error", "127.0.0.1", "is it up")
        .tells_of("closed", "error", "refuses connections", "is sshd running there?")
        .tells_of("nowhere", "error", "no address is known", "is it in DNS");
    assert_eq!(found.json["errors"], 3);
}

#[test]
fn a_host_that_shows_no_key_does_not_hold_up_those_that_do() {
    let mut rig = Rig::new();
    rig.section("ssh", "connect_timeout = \"2s\"\n");
    rig.host("good");
    let (_listener, hole) = black_hole();
    rig.host_with("hole", &format!("address = \"127.0.0.1\"\nport = {hole}\n"));
    rig.write("known_hosts", "");
    // It ends, though the hole never answers.
    let ran = rig.backup(&["check", "--trust-host-keys", "--yes"]).exits(1);
    ran.says("hole: it shows no host key").says("1 key added");
}

#[test]
fn a_check_that_is_told_to_stop_leaves_nothing_behind() {
    let mut rig = Rig::new();
    rig.section("ssh", "connect_timeout = \"10m\"\n");
    let (listener, hole) = black_hole();
    rig.host_with("hole", &format!("address = \"127.0.0.1\"\nport = {hole}\n"));
    let child = rig.start(&["check"]);
    let (_connection, _) = listener.accept().unwrap();
    signal(&child, rustix::process::Signal::TERM);
    let ran: Ran = finish(child).into();
    ran.exits(2).says("told to stop");
    let left = fs::read_dir(rig.join("run")).unwrap().flatten().filter(|entry| entry.path().is_dir());
    assert_eq!(left.count(), 0, "its folder is left");
}

#[test]
fn a_login_that_is_refused_is_an_error() {
    let mut rig = Rig::new();
    rig.host("Web");
    rig.sshd().forget_keys();
    check(&rig, &[]).exits(1).tells_of("Web", "error", "rejected the login", "authorized_keys");
}

#[test]
fn what_is_missing_on_a_host_is_told() {
    let mut rig = Rig::new();
    rig.host_with("gone", "source = \"/no/such/folder\"\n");
    rig.host("Web");
    rig.hook("10-good", "exit 0");
    rig.hook("odd.sh", "exit 0");
    rig.write("backup-exclude.conf", "/srv/cache/\n!\nmerge /etc/other\n");
    let bin = programs_without(&rig, &["rsync"]);
    let lines = format!("SetEnv PATH={}", bin.display());
    rig.sshd().start_again_with(&Setup { lines: &lines, ..Setup::default() });
    let found = check(&rig, &[]).exits(1);
    found
        .tells_of("gone", "error", "the source `/no/such/folder` is missing", "is `source` right")
        .tells_of("Web", "error", "the host has no rsync", "install the package rsync there")
        .tells_of("Web", "warning", "odd.sh` is not run", "rename it there")
        .tells_of("Web", "warning", "backup-exclude.conf line 3", "");
}

/// A folder with all programs of this machine but these.
fn programs_without(rig: &Rig, names: &[&str]) -> PathBuf {
    let bin = rig.join("bin");
    fs::create_dir(&bin).unwrap();
    for entry in fs::read_dir("/usr/bin").unwrap().flatten() {
        if !names.iter().any(|name| entry.file_name() == *name) {
            symlink(entry.path(), bin.join(entry.file_name())).unwrap();
        }
    }
    bin
}

#[test]
fn of_an_rsync_its_version_and_package_are_told_and_only_what_it_says_itself_is_a_fault() {
    let mut rig = Rig::new();
    rig.host("Web");
    let bin = programs_without(&rig, &["rsync", "dpkg-query", "rpm", "apk", "pacman"]);
    let lines = format!("SetEnv PATH={}", bin.display());
    rig.sshd().start_again_with(&Setup { lines: &lines, ..Setup::default() });
    let owned = "case $1 in -S) echo \"rsync: $2\" ;; *) printf 3.2.7-1+deb12u5 ;; esac";
    let disowned = "exit 1";
    let broken = "exit 2";
    for (version, lacks, dpkg, shown, fault) in [
        ("3.2.7", "", owned, "3.2.7, package 3.2.7-1+deb12u5", None),
        ("3.4.0", "", disowned, "3.4.0, not from a package", None),
        ("3.3.0", "", broken, "3.3.0)", None),
        (
            "3.3.0",
            "",
            disowned,
            "3.3.0, not from a package",
            Some(("warning", "older than 3.4.0 and not from a package", "or with 3.4.0 or later")),
        ),
        (
            "3.2.7",
            "no ACLs",
            owned,
            "3.2.7, package",
            Some(("error", "without ACLs", "distribution's rsync")),
        ),
        (
            "3.2.7",
            "no xattrs",
            owned,
            "3.2.7, package",
            Some(("error", "without extended attributes", "distribution's rsync")),
        ),
    ] {
        let says =
            format!("rsync  version {version}  protocol version 31\nCapabilities:\n    append, {lacks}\n");
        executable(&bin.join("rsync"), &format!("printf {says:?}"));
        executable(&bin.join("dpkg-query"), dpkg);
        let ran: Ran = finish(rig.command(&["check", "--json"]).env("PATH", &bin).spawn().unwrap()).into();
        let found = Found { json: serde_json::from_str(&ran.stdout).unwrap(), ran };
        let found = found.exits(i32::from(fault.is_some()));
        found.tells("tools", "ok", shown, "");
        let package = if dpkg == owned { json!("3.2.7-1+deb12u5") } else { Value::Null };
        let web = found.host("Web");
        assert_eq!((&web["rsync"], &web["rsync_package"]), (&json!(version), &package));
        if let Some((level, text, remedy)) = fault {
            found.tells("tools", level, text, remedy).tells_of("Web", level, text, remedy);
        }
    }
    let text: Ran = finish(rig.command(&["check"]).env("PATH", &bin).spawn().unwrap()).into();
    assert!(text.stdout.contains("rsync 3.2.7 (3.2.7-1+deb12u5)"), "{}", text.stdout);

    // A host whose rsync is too old for what is asked of it.
    executable(&bin.join("rsync"), "echo 'rsync  version 3.0.9  protocol version 30'");
    check(&rig, &[]).exits(1).tells_of("Web", "error", "its rsync 3.0.9 is too old", "3.1.0 or later");
}

/// Writes a program of one line of shell.
fn executable(path: &Path, line: &str) {
    let _ = fs::remove_file(path);
    fs::write(path, format!("#!/bin/sh\n{line}\n")).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn a_shell_that_prints_text_would_spoil_every_copy() {
    let mut rig = Rig::new();
    rig.host("Web");
    let lines = "ForceCommand echo Welcome to this host; eval \"$SSH_ORIGINAL_COMMAND\"";
    rig.sshd().start_again_with(&Setup { lines, ..Setup::default() });
    check(&rig, &[]).exits(1).tells_of("Web", "error", "the host's shell prints text", ".bashrc");
}

#[test]
fn who_is_not_root_there_is_told_and_so_is_sudo_that_does_not_work() {
    let mut rig = Rig::new();
    rig.sudoer("backup ALL=(root) ALL\n");
    rig.host_with("plain", "user = \"backup\"\n");
    rig.host_with("asks", "user = \"backup\"\nsudo = true\n");
    let found = check(&rig, &[]).exits(1);
    found.tells_of("plain", "warning", "`backup` is not root there", "sudo = true").tells_of(
        "asks",
        "error",
        "sudo does not work there",
        "NOPASSWD: ALL",
    );
}

#[test]
fn a_faulty_configuration_is_reported_in_full() {
    let mut rig = Rig::new();
    rig.host("Web");
    rig.section("transfer", "compres = true\nretries = 99\n");
    let found = check(&rig, &[]);
    assert_eq!(found.ran.code, Some(2));
    found.tells("configuration", "error", "`transfer.compres`", "").tells(
        "configuration",
        "error",
        "`transfer.retries` is 99",
        "from 0 to 20",
    );
    let ran = rig.backup(&["check"]).exits(2);
    assert!(ran.stdout.ends_with("\n2 errors: not ready\n"), "{}", ran.stdout);
}

#[test]
fn files_that_others_can_use_are_told_with_the_command_that_closes_them() {
    let mut rig = Rig::new();
    rig.host("Web");
    let netbox = NetBox::start(vec![Machine::vm("Web")]);
    let token = rig.write("token", TOKEN);
    rig.section("inventory.netbox", &format!("url = {:?}\ntoken_file = {token:?}\n", netbox.url()));
    fs::set_permissions(&token, PermissionsExt::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(&token, Some(1234), None).unwrap();
    let excludes = rig.write("excludes", "/srv/cache/\n!\nmerge other\n");
    rig.section("excludes", &format!("files = [{excludes:?}]\n"));
    fs::set_permissions(&excludes, PermissionsExt::from_mode(0o666)).unwrap();
    fs::set_permissions(rig.configure(), PermissionsExt::from_mode(0o664)).unwrap();
    fs::create_dir(rig.join("state")).unwrap();
    fs::set_permissions(rig.join("state"), PermissionsExt::from_mode(0o777)).unwrap();
    fs::set_permissions(rig.join("store"), PermissionsExt::from_mode(0o775)).unwrap();
    rig.section("metrics", &format!("textfile = {:?}\n", rig.join("no/such/backup.prom")));
    // `configure` writes the file anew, and its mode stays.
    let found = check(&rig, &[]).exits(1);
    let token = token.display();
    found
        .tells("configuration", "error", "config.toml: may be written to by others", "chmod go-w")
        .tells(
            "configuration",
            "warning",
            "is open to users other than its owner",
            &format!("chmod 600 {token}"),
        )
        .tells("configuration", "warning", "belongs to the user 1234", &format!("chown root {token}"))
        .tells("configuration", "warning", "excludes.files", "chmod go-w")
        .tells("configuration", "warning", "excludes:3", "")
        .tells("configuration", "error", "state_dir", "chmod go-w")
        .tells("configuration", "error", "metrics.textfile: the folder", "node exporter")
        .tells("store", "warning", "may be written to by others", "chmod go-w");
}

#[test]
fn a_netbox_is_asked_and_its_list_is_not_kept() {
    let mut rig = Rig::new();
    rig.host_with("web", "listed = false\n");
    let netbox = NetBox::start(vec![Machine::vm("Web"), Machine::vm("bad name")]);
    let token = secret(&rig, "token", TOKEN);
    rig.section("inventory.netbox", &format!("url = {:?}\ntoken_file = {token:?}\n", netbox.url()));
    let found = check(&rig, &[]).exits(1);
    found
        .tells("inventory", "ok", "accepts the token and lists 2 hosts with the tag `Backup`", "")
        .tells("inventory", "ok", "no earlier list was kept", "")
        .tells("inventory", "error", "bad name", "rename virtual machine");
    assert_eq!(found.host("Web")["level"], "ok");
    assert!(!rig.join("state").exists(), "the list was kept");
    rig.backup(&["all"]);
    check(&rig, &[]).tells("inventory", "ok", ": 0 new, 0 gone", "");

    netbox.misbehave(Fault::TagsForbidden);
    check(&rig, &[]).tells("inventory", "note", "cannot be seen", "view tags");
    netbox.misbehave(Fault::Status(502));
    rig.section("inventory.netbox", "timeout = \"1s\"\n");
    let found = check(&rig, &[]).exits(1);
    found.tells("inventory", "error", "NetBox answered 502", "").tells(
        "inventory",
        "note",
        "its list of",
        "",
    );
    assert_eq!(found.host("Web")["level"], "ok", "the last good list fills in");
}

#[test]
fn a_token_that_netbox_does_not_take_is_an_error_and_named_hosts_are_still_looked_at() {
    let mut rig = Rig::new();
    rig.host_with("web", "listed = false\n");
    let netbox = NetBox::start(vec![Machine::vm("web")]);
    let token = secret(&rig, "token", "ffffffffffffffffffffffffffffffffffffffff");
    rig.section("inventory.netbox", &format!("url = {:?}\ntoken_file = {token:?}\n", netbox.url()));
    let found = check(&rig, &["web"]).exits(1);
    found.tells("inventory", "error", "NetBox answered 403", "inventory.netbox.token_file");
    assert!(!found.ran.stdout.contains("ffffffff"), "the token is shown");
    assert_eq!(found.host("web")["level"], "ok");
}

#[test]
fn a_history_that_cannot_be_used_is_told_before_a_run_meets_it() {
    let mut rig = Rig::without_sshd();
    rig.host("vpn");
    check(&rig, &["--offline"]).exits(0);
    rig.write("state/history.db", "no database ".repeat(100));
    let found = check(&rig, &["--offline"]).exits(1);
    found.tells("configuration", "warning", "file is not a database", "the next run sets it aside");
    assert!(rig.join("state/history.db").exists(), "a check touches nothing");
}

#[test]
fn offline_nobody_is_asked() {
    let mut rig = Rig::new();
    rig.host("web");
    let netbox = NetBox::start(Vec::new());
    let token = secret(&rig, "token", TOKEN);
    rig.section("inventory.netbox", &format!("url = {:?}\ntoken_file = {token:?}\n", netbox.url()));
    let found = check(&rig, &["--offline"]).exits(0);
    assert!(found.json["hosts"].as_array().unwrap().is_empty());
    assert_eq!(rig.sshd().accepted(), 0);
    assert!(netbox.seen().is_empty());
}

#[test]
fn a_host_that_is_not_there_is_answered_with_the_nearest() {
    let mut rig = Rig::new();
    rig.host("web");
    rig.backup(&["check", "wbe"]).exits(2).says("the inventory has no host `wbe`; did you mean `web`?");
    rig.backup(&["check", "--yes"]).exits(2);
    rig.backup(&["check", "--offline", "--trust-host-keys"]).exits(2);
}

fn tell(rig: &mut Rig, url: &str, user: &str, password: &Path, ca: &Path) {
    let lines = format!("url = {url:?}\nuser = {user:?}\npassword_file = {password:?}\nca_file = {ca:?}\n");
    rig.section("icinga", &lines);
}

#[test]
fn icinga_is_asked_what_it_would_take_and_told_nothing() {
    let mut rig = Rig::new();
    for name in ["VPN", "web"] {
        rig.host(name);
    }
    let icinga = Icinga::start(&["VPN!BACKUP-b32-1"]);
    let password = icinga.password_file();
    fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
    tell(&mut rig, &icinga.url(), icinga::USER, &password, &icinga.ca_file());
    let found = check(&rig, &[]).exits(1);
    found.tells("icinga", "error", "is missing on hosts of exactly these names: web", "create the hosts");
    check(&rig, &["vpn"]).exits(0).tells("icinga", "ok", "is there for the host", "");
    for (fault, text, remedy) in [
        (icinga::Fault::NoPermission, "may not report results", "actions/process-check-result"),
        (icinga::Fault::PassiveDisabled, "takes no passive results on VPN", "enable_passive_checks"),
        (icinga::Fault::Html, "something else than Icinga 2's API", "is `icinga.url` the root"),
        (icinga::Fault::Unavailable, "Icinga answered 503: an HTML page", "Icinga's log"),
    ] {
        icinga.set_fault(fault);
        check(&rig, &["vpn"]).exits(1).tells("icinga", "error", text, remedy);
    }
    icinga.set_fault(icinga::Fault::None);
    tell(&mut rig, &icinga.url(), icinga::USER, &password, &icinga.stranger_ca_file());
    check(&rig, &["vpn"]).exits(1).tells("icinga", "error", "TLS failed", "ca_file");
    tell(&mut rig, &icinga.url(), "somebody", &password, &icinga.ca_file());
    check(&rig, &["vpn"]).exits(1).tells("icinga", "error", "(401)", "ApiUser");
    assert!(icinga.results().is_empty(), "a result was sent");
}

#[test]
fn a_real_icinga_says_who_may_do_what() {
    let mut rig = Rig::new();
    for name in ["VPN", "web"] {
        rig.host(name);
    }
    let objects = "object ApiUser \"reads\" { password = \"hunter2\"; permissions = [ \"actions/*\", \
                   \"objects/query/Service\" ] }\n\
                   object ApiUser \"none\" { password = \"hunter2\"; permissions = [ \"status/query\" ] }\n";
    let daemon = Daemon::start_with(&["VPN"], objects);
    let password = daemon.password_file();
    tell(&mut rig, &daemon.url(), crate::support::icinga_daemon::USER, &password, &daemon.ca_file());
    let found = check(&rig, &[]).exits(0);
    found.tells("icinga", "ok", "accepts the password of `backup`", "").tells(
        "icinga",
        "note",
        "which hosts lack the service `BACKUP-b32-1`",
        "objects/query/Service",
    );
    tell(&mut rig, &daemon.url(), "reads", &password, &daemon.ca_file());
    check(&rig, &[]).exits(1).tells("icinga", "error", "is missing on hosts of exactly these names: web", "");
    check(&rig, &["vpn"]).exits(0).tells("icinga", "ok", "is there for the host", "");
    tell(&mut rig, &daemon.url(), "none", &password, &daemon.ca_file());
    check(&rig, &["vpn"]).exits(1).tells("icinga", "error", "may not report results", "permissions");
    assert_eq!(daemon.service("VPN!BACKUP-b32-1")["last_check_result"], Value::Null, "a result was sent");
}

#[test]
fn a_store_that_is_not_there_is_an_error_and_the_hosts_are_looked_at() {
    let mut rig = Rig::new();
    rig.host("Web");
    fs::remove_dir(rig.join("store")).unwrap();
    let found = check(&rig, &[]).exits(1);
    found.tells("store", "error", "cannot open the store's directory", "mount it or create it");
    assert_eq!((&found.host("Web")["level"], &found.host("Web")["place"]), (&json!("ok"), &json!("unknown")));
    assert!(!rig.join("store").exists());
}

#[test]
fn the_days_that_a_store_lasts_are_told() {
    let mut rig = Rig::new();
    rig.host("web");
    rig.backup(&["all"]).exits(0);
    let facts = fs::read_dir(rig.join("store/web/snapshots"))
        .unwrap()
        .flatten()
        .find(|entry| entry.path().extension().is_some_and(|extension| extension == "json"));
    let facts = facts.unwrap().path();
    let mut last: Value = serde_json::from_slice(&fs::read(&facts).unwrap()).unwrap();
    last["bytes"] = json!(1_u64 << 60);
    fs::write(&facts, last.to_string()).unwrap();
    // Ten days before, it was nearly nothing.
    let name = facts.file_stem().unwrap().to_str().unwrap();
    let date = name.strip_prefix("backup-").unwrap();
    let before = chrono::NaiveDateTime::parse_from_str(date, "%Y-%m-%dT%H%M%SZ").unwrap()
        - chrono::TimeDelta::days(10);
    let before = format!("backup-{}", before.format("%Y-%m-%dT%H%M%SZ"));
    fs::create_dir(rig.join("store/web/snapshots").join(&before)).unwrap();
    rig.write(format!("store/web/snapshots/{before}.json"), r#"{"run": "r", "verdict": "good", "bytes": 1}"#);
    check(&rig, &[]).exits(1).tells("store", "warning", "it is full in about 0 days", "[retention]");
}

fn tells(inspection: &Inspection, level: Level, text: &str, remedy: &str) -> bool {
    let all = inspection.findings.iter().chain(inspection.places.values().flatten());
    let said = |finding: &CheckFinding| format!("{}: {}", finding.subject, finding.text);
    all.into_iter().any(|finding| {
        finding.level == level
            && said(finding).contains(text)
            && finding.remedy.as_deref().unwrap_or_default().contains(remedy)
    })
}

async fn inspected(pool: &Pool) -> Inspection {
    AnyStore::Zfs(pool.store()).inspect("2026-11-20T02:00:05Z".parse().unwrap()).await
}

#[tokio::test]
async fn a_pool_that_is_as_it_should_be_has_nothing_worse_than_a_note() {
    let pool = Pool::new().await;
    create(&pool, "data/vpn").await;
    let top = pool.mountpoint("data");
    // Whatever the umask, nothing above it is closed.
    let temporary = std::env::temp_dir();
    for place in top.ancestors().take_while(|place| *place != temporary && place.starts_with(&temporary)) {
        fs::set_permissions(place, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let inspection = inspected(&pool).await;
    assert!(tells(
        &inspection,
        Level::Warning,
        "is open to other users of this server (mode 755)",
        "chmod 700"
    ));
    fs::set_permissions(&top, PermissionsExt::from_mode(0o700)).unwrap();
    pool.forget_calls();
    let inspection = inspected(&pool).await;
    assert_eq!(worst(&inspection.findings), Level::Note, "{:#?}", inspection.findings);
    assert!(tells(&inspection, Level::Note, "was never scrubbed", "zpool scrub data"));
    assert_eq!(inspection.places.keys().collect::<Vec<_>>(), ["vpn"]);
    assert!(inspection.places["vpn"].is_empty());
    assert_eq!(inspection.room.unwrap().total, 10_000_000);
    let calls = pool.calls();
    assert!(calls.len() <= 3, "{calls:#?}");
    assert!(
        calls
            .iter()
            .all(|call| ["zfs get", "zpool list", "zpool status"].iter().any(|read| call.starts_with(read))),
        "{calls:#?}"
    );
}

/// Makes a dataset as the store itself would.
async fn create(pool: &Pool, name: &str) {
    let options = [
        "acltype=posixacl",
        "xattr=sa",
        "atime=off",
        "setuid=off",
        "devices=off",
        "exec=off",
        "compression=zstd",
    ];
    let options: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
    pool.zfs(&[&["create"], &options[..], &[name]].concat()).await;
}

#[tokio::test]
async fn what_would_hurt_in_a_pool_is_told_with_the_command_that_mends_it() {
    for (setting, level, text, remedy) in [
        ("acltype=off", Level::Warning, "acltype=off: ACLs of hosts", "zfs set acltype=posixacl data/vpn"),
        ("xattr=on", Level::Note, "xattr=on", "zfs set xattr=sa data/vpn"),
        ("utf8only=on", Level::Warning, "utf8only=on", "make a new one"),
        ("casesensitivity=insensitive", Level::Error, "differ only in case", "make a new one"),
        ("dedup=on", Level::Warning, "dedup=on", "zfs set dedup=off data/vpn"),
        ("setuid=on", Level::Warning, "runs as root on this server", "zfs set setuid=off data/vpn"),
        ("readonly=on", Level::Error, "is read-only", "zfs set readonly=off data/vpn"),
        ("keystatus=unavailable", Level::Error, "its key is not loaded", "zfs load-key data/vpn"),
        ("mountpoint=none", Level::Error, "has no mount point", "zfs set mountpoint=/data/vpn data/vpn"),
        ("quota=1000100", Level::Warning, "left of its quota", "zfs set quota=none data/vpn"),
        ("sync=always", Level::Note, "sync=always", "zfs set sync=standard data/vpn"),
    ] {
        let pool = Pool::new().await;
        create(&pool, "data/vpn").await;
        pool.zfs(&["set", setting, "data/vpn"]).await;
        let inspection = inspected(&pool).await;
        assert!(tells(&inspection, level, text, remedy), "{setting}: {inspection:#?}");
    }
}

#[tokio::test]
async fn a_pool_in_trouble_is_told_before_anything_is_asked_that_would_hang() {
    let pool = Pool::new().await;
    create(&pool, "data/vpn").await;
    pool.write("status", "  scan: scrub repaired 0B in 00:00:01 with 0 errors on Sun Nov  8 00:24:03 2026\nerrors: 2 data errors, use '-v' for a list\n");
    pool.write("capacity", "93");
    pool.health("DEGRADED");
    let inspection = inspected(&pool).await;
    assert!(tells(&inspection, Level::Warning, "is DEGRADED", "zpool status data"), "{inspection:#?}");
    assert!(tells(&inspection, Level::Warning, "is 93% full", "[retention]"));
    assert!(tells(&inspection, Level::Error, "2 data errors", "zpool status -v data"));
    pool.health("SUSPENDED");
    pool.forget_calls();
    let inspection = inspected(&pool).await;
    assert!(tells(&inspection, Level::Error, "the pool `data` is SUSPENDED", "zpool status data"));
    assert_eq!(pool.calls().len(), 1, "{:#?}", pool.calls());
    let inspection = inspected(&Pool::without_pool()).await;
    assert!(tells(&inspection, Level::Error, "no such pool", "zpool import data"), "{inspection:#?}");
}

#[tokio::test]
async fn datasets_that_are_not_mounted_are_told() {
    let pool = Pool::new().await;
    create(&pool, "data/vpn").await;
    pool.zfs(&["unmount", "data/vpn"]).await;
    assert!(tells(&inspected(&pool).await, Level::Note, "data/vpn: is not mounted", "zfs mount data/vpn"));
    pool.zfs(&["set", "canmount=noauto", "data/vpn"]).await;
    assert!(tells(&inspected(&pool).await, Level::Error, "canmount=noauto", "zfs set canmount=on data/vpn"));
    pool.zfs(&["unmount", "data"]).await;
    assert!(tells(
        &inspected(&pool).await,
        Level::Error,
        "no dataset can be made below it",
        "zfs mount data"
    ));
}

/// An ssh stands in its place that answers once it was asked of every host, as if
/// their name server were not there: one after the other they would wait for good.
#[test]
fn hosts_that_do_not_answer_hold_no_other_up() {
    let mut rig = Rig::new();
    for number in 0..12 {
        rig.host(&format!("dead{number:02}"));
    }
    let asked = rig.join("asked");
    fs::create_dir(&asked).unwrap();
    let script = format!(
        "#!/bin/sh\ncase $* in -V*|-G*) exec /usr/bin/ssh \"$@\" ;; esac\n\
         touch {asked}/$$\nuntil [ $(ls {asked} | wc -l) -ge 12 ]; do sleep 0.1; done\n\
         echo 'ssh: Could not resolve hostname dead: Name or service not known' >&2\nexit 255\n",
        asked = asked.display()
    );
    let path = rig.write("bin/ssh", script);
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    rig.top = "jobs = 1\n".to_owned();
    rig.section("ssh", "connect_timeout = \"10m\"\n");
    let mut command = rig.command(&["check"]);
    command.env("PATH", format!("{}:/usr/bin:/bin", rig.join("bin").display()));
    let ran: Ran = finish(command.spawn().unwrap()).into();
    let ran = ran.exits(1);
    assert!(ran.stdout.matches("dead").count() >= 12, "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("no address is known").count(), 12, "{}", ran.stdout);
}
