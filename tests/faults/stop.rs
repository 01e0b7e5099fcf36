//! Runs that are told to stop, that are killed, and that meet: whatever the
//! moment, no copy of half counts as good, nothing stays behind, and the next
//! run succeeds.

use crate::support::icinga::{self, Icinga};
use crate::support::on_every_store;
use crate::support::rig::*;
use crate::support::snare::{Snare, When};
use crate::support::trees::*;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

on_every_store! {
    a_run_told_to_stop_while_it_copies_ends_and_reports_every_host,
    a_second_run_leaves_a_host_to_the_first_and_goes_on_with_the_others,
    a_host_stays_locked_while_a_killed_run_s_rsync_lives,
    a_run_killed_at_any_moment_leaves_no_wrong_snapshot_and_the_next_one_succeeds,
}

/// How long an orderly end may take.
const SOON: Duration = Duration::from_secs(20);

/// Gives a host a source with a few small files and, last in rsync's order, a
/// big one, which takes long over a slow connection.
fn big_source(rig: &mut Rig, host: &str, megabytes: usize) -> PathBuf {
    let former = rig.source(host);
    // To lose what the host had would be suspect.
    let source = remember(rig, &former, &format!("hosts/{}-big", host.to_lowercase()));
    for number in 0..5 {
        rig.write(source.join(format!("etc/{number}")), format!("{number}\n"));
    }
    fs::create_dir(source.join("zz")).unwrap();
    big_file(&source.join("zz/big"), megabytes);
    rig.section(&format!("hosts.{host:?}"), &format!("source = {source:?}"));
    source
}

/// Waits until the big file of one of these hosts is being copied.
#[track_caller]
fn wait_for_the_big_file(rig: &Rig, hosts: &[&str]) {
    let places: Vec<PathBuf> =
        hosts.iter().map(|host| being_written(rig, &host.to_lowercase()).join("zz")).collect();
    rig.wait_until("a host is being copied", || places.iter().any(|place| holds_something(place)));
}

/// Whether a directory has a file that is not empty.
fn holds_something(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| entry.metadata().is_ok_and(|meta| meta.len() > 0))
}

/// Sends a signal to a run and waits for its orderly end, which comes soon.
#[track_caller]
fn stop(child: Child, with: Signal) -> Ran {
    let begin = Instant::now();
    signal(&child, with);
    let ran: Ran = finish(child).into();
    assert!(begin.elapsed() < SOON, "took {:?}:\n{}", begin.elapsed(), ran.stderr);
    ran.exits(1).says("told to stop: no further host is begun, those under way end without a snapshot")
}

/// The runtime directories of runs, living and dead.
fn runtime_directories(rig: &Rig) -> Vec<PathBuf> {
    let entries = fs::read_dir(rig.join("run")).unwrap().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

const INTERRUPTED: &str = "CRITICAL: interrupted before it was done; no snapshot was taken";

fn a_run_told_to_stop_while_it_copies_ends_and_reports_every_host(mut rig: Rig) {
    let hosts = ["Db", "Web"];
    let old: Vec<PathBuf> = hosts.map(|host| rig.host(host)).into();
    rig.backup(&["all"]).exits(0);
    let before = hosts.map(|host| rig.snapshots(&host.to_lowercase()));
    let new = hosts.map(|host| big_source(&mut rig, host, 3));
    rig.section("transfer", "bandwidth_limit = \"300k\"");

    // One is under way, the other is not begun.
    rig.top = "jobs = 1\n".to_owned();
    let child = rig.start(&["all"]);
    wait_for_the_big_file(&rig, &hosts);
    let ran = stop(child, Signal::TERM).says_of(&hosts, INTERRUPTED).says("; last good copy 20");

    for (host, old) in hosts.iter().zip(&old) {
        assert_eq!(differences(old, &rig.newest(&host.to_lowercase())), "");
    }
    ran.says("2 hosts: 2 interrupted");
    assert_eq!(hosts.map(|host| rig.snapshots(&host.to_lowercase())), before);
    assert_eq!(runtime_directories(&rig), [""; 0].map(PathBuf::from));

    rig.section("transfer", "bandwidth_limit = \"\"");
    rig.top.clear();
    rig.backup(&["all"]).exits(0).does_not_say("killed");
    for (host, new) in hosts.iter().zip(&new) {
        assert_eq!(differences(new, &rig.newest(&host.to_lowercase())), "");
    }
}

#[test]
fn a_run_told_to_stop_in_a_hook_ends_the_hook_on_the_far_side() {
    for (with, script) in [
        (Signal::INT, "sleep 1000 &\nsetsid sleep 1001 &\necho $$ > BEGUN; sleep 1002"),
        (Signal::TERM, "trap '' TERM INT HUP\nsleep 1000 &\necho $$ > BEGUN\nwhile :; do sleep 1; done"),
    ] {
        let mut rig = Rig::new();
        let source = rig.host("Web");
        rig.backup(&["all"]).exits(0);
        let before = rig.snapshots("web");
        let begun = rig.join("begun");
        rig.hook("slow", &script.replace("BEGUN", begun.to_str().unwrap()));
        let child = rig.start(&["all"]);
        rig.wait_until("the hook has begun", || begun.exists());
        stop(child, with).says(&format!("Web: {INTERRUPTED}"));
        let sshd = rig.sshd();
        until("nothing is left on the far side", SOON, || sshd.sessions().is_empty());
        assert_eq!(rig.snapshots("web"), before);
        assert_eq!(differences(&source, &rig.newest("web")), "");
    }
}

#[test]
fn what_a_run_started_there_through_sudo_ends_too() {
    for what in ["a hook", "a transfer"] {
        let mut rig = Rig::new();
        rig.sudoer("Defaults use_pty\nbackup ALL=(root) NOPASSWD: ALL\n");
        rig.host_with("Web", "user = \"backup\"\nsudo = true");
        big_source(&mut rig, "Web", 60);
        rig.section("transfer", "bandwidth_limit = \"1m\"");
        let begun = rig.join("begun");
        if what == "a hook" {
            rig.hook("slow", &format!("sleep 1000 &\ntouch {}\nsleep 1001", begun.display()));
        }
        let child = rig.start(&["all"]);
        let copied = being_written(&rig, "web").join("zz");
        rig.wait_until(what, || begun.exists() || holds_something(&copied));
        stop(child, Signal::TERM).says(&format!("Web: {INTERRUPTED}"));
        let sshd = rig.sshd();
        until(&format!("nothing is left of {what} on the far side"), SOON, || sshd.sessions().is_empty());
    }
}

#[test]
fn a_run_told_to_stop_while_it_connects_ends() {
    let mut rig = Rig::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    rig.host_with("Web", &format!("port = {}", silent.local_addr().unwrap().port()));
    rig.section("ssh", "connect_timeout = \"10m\"");
    let child = rig.start(&["all"]);
    let (_stream, _) = silent.accept().unwrap();
    stop(child, Signal::TERM).says(&format!("Web: {INTERRUPTED}; no good copy known"));
    assert_eq!(rig.snapshots("web"), [""; 0]);
}

#[test]
fn a_run_told_twice_to_stop_ends_at_once() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    let (begun, asked) = (rig.join("begun"), rig.join("asked"));
    let script = format!(
        "trap 'touch {}' TERM\ntouch {}\nwhile :; do sleep 0.1; done",
        asked.display(),
        begun.display()
    );
    rig.hook("stubborn", &script);
    let child = rig.start(&["all"]);
    rig.wait_until("the hook has begun", || begun.exists());
    signal(&child, Signal::TERM);
    rig.wait_until("the hook is asked to end", || asked.exists());
    signal(&child, Signal::TERM);
    let ran: Ran = finish(child).into();
    // It waits for nothing: what has become of the host is not told any more.
    ran.exits(1).says("told to stop twice: ending at once").does_not_say(INTERRUPTED);
    assert_eq!(rig.snapshots("web"), [""; 0]);
    until("nothing of ours is left", SOON, || rig.left_behind().is_empty());
    let sshd = rig.sshd();
    until("nothing is left on the far side", SOON, || sshd.sessions().is_empty());

    fs::remove_file(rig.join("hooks/stubborn")).unwrap();
    rig.backup(&["all"]).exits(0);
    assert_eq!(differences(&source, &rig.newest("web")), "");
    assert_eq!(runtime_directories(&rig), [""; 0].map(PathBuf::from));
}

/// [`Rig::wait_until`] with a limit of its own.
#[track_caller]
fn until(what: &str, limit: Duration, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < limit, "waited in vain for this: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nothing_outlives_a_run_that_is_killed_and_the_next_run_says_that_it_was() {
    let mut rig = Rig::new();
    rig.host("Web");
    let source = big_source(&mut rig, "Web", 60);
    rig.section("transfer", "bandwidth_limit = \"1m\"");
    let mut child = rig.start(&["all"]);
    wait_for_the_big_file(&rig, &["web"]);
    let dead = runtime_directories(&rig);
    assert_eq!(dead.len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    until("nothing of ours is left", SOON, || rig.left_behind().is_empty());
    let sshd = rig.sshd();
    until("nothing is left on the far side", SOON, || sshd.sessions().is_empty());
    assert!(
        fs::read_dir(&dead[0]).unwrap().flatten().all(|entry| !entry.path().is_dir()),
        "a control socket"
    );
    rig.section("transfer", "bandwidth_limit = \"\"");
    rig.backup(&["all"]).exits(0).says("cleaned up after 1 killed run(s)");
    assert_eq!(runtime_directories(&rig), [""; 0].map(PathBuf::from));
    assert!(!rig.left_behind().iter().any(|line| line.contains(dead[0].to_str().unwrap())));
    assert_eq!(differences(&source, &rig.newest("web")), "");
}

fn icinga_section(server: &Icinga) -> String {
    format!(
        "url = {:?}\nuser = {:?}\npassword_file = {:?}\nca_file = {:?}\n",
        server.url(),
        icinga::USER,
        server.password_file(),
        server.ca_file()
    )
}

#[test]
fn a_run_told_to_stop_still_tells_icinga_of_every_host() {
    let mut rig = Rig::new();
    rig.top = "jobs = 1\n".to_owned();
    rig.host("Vpn");
    rig.host("Web");
    let icinga = Icinga::start(&["Vpn!BACKUP-b32-1", "Web!BACKUP-b32-1"]);
    rig.section("icinga", &icinga_section(&icinga));
    let begun = rig.join("begun");
    rig.hook("slow", &format!("touch {}\nsleep 1000", begun.display()));
    let child = rig.start(&["all"]);
    rig.wait_until("a hook has begun", || begun.exists());
    stop(child, Signal::TERM);
    for service in ["Vpn!BACKUP-b32-1", "Web!BACKUP-b32-1"] {
        let result = icinga.result(service).unwrap();
        assert_eq!(result["exit_status"], 2, "{result}");
        assert!(result["plugin_output"].as_str().unwrap().contains("interrupted"), "{result}");
    }
}

fn a_second_run_leaves_a_host_to_the_first_and_goes_on_with_the_others(mut rig: Rig) {
    let web = rig.host("Web");
    let db = rig.host_with("Db", "hooks = false");
    let (begun, go) = (rig.join("begun"), rig.join("go"));
    let script = format!("touch {}\nwhile [ ! -e {} ]; do sleep 0.05; done", begun.display(), go.display());
    rig.hook("wait", &script);
    let first = rig.start(&["web"]);
    rig.wait_until("the first run is in the hook", || begun.exists());
    let connections = rig.sshd().accepted();

    let place = being_written(&rig, "web");
    let before = fs::metadata(&place).unwrap();
    rig.backup(&["all"])
        .exits(1)
        .says(&format!("Web: WARNING: skipped: locked by another run (process {})", first.id()))
        .says("Db: OK: ");
    let after = fs::metadata(&place).unwrap();
    assert_eq!(
        (after.ino(), after.ctime(), after.ctime_nsec()),
        (before.ino(), before.ctime(), before.ctime_nsec())
    );
    assert_eq!(rig.snapshots("web"), [""; 0]);
    assert_eq!((connections, rig.sshd().accepted()), (1, 1), "a host that is skipped is not asked");

    fs::write(go, "").unwrap();
    let ran: Ran = finish(first).into();
    ran.exits(0).says("Web: OK: ");
    for (host, source) in [("web", web), ("db", db)] {
        assert_eq!(rig.verdicts(host), ["good"]);
        assert_eq!(differences(&source, &rig.newest(host)), "");
    }
}

fn a_host_stays_locked_while_a_killed_run_s_rsync_lives(mut rig: Rig) {
    rig.host("Web");
    rig.near_host("Db", "");
    let source = big_source(&mut rig, "Web", 6);
    rig.section("transfer", "bandwidth_limit = \"200k\"");
    // As on a machine where nothing ties rsync's life to ours.
    let stand_in = rig.write("bin/setpriv", "#!/bin/sh\nshift 3\nexec \"$@\"\n");
    fs::set_permissions(stand_in, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", rig.join("bin").display());
    let mut child = rig.command(&["web"]).env("PATH", path).spawn().unwrap();
    wait_for_the_big_file(&rig, &["web"]);
    let rsyncs = descendants(&processes(), child.id()).into_iter().filter(|process| process.runs("rsync"));
    let rsyncs: Vec<Process> = rsyncs.collect();
    child.kill().unwrap();
    child.wait().unwrap();
    rsyncs.iter().for_each(|rsync| rsync.signal(Signal::STOP));

    let place = being_written(&rig, "web");
    let inode = fs::metadata(&place).unwrap().ino();
    rig.section("transfer", "bandwidth_limit = \"\"");
    let lock = if in_place(&rig) { place.clone() } else { rig.join("store/web/.boot") };
    rig.backup(&["all"])
        .exits(1)
        .says(&format!(
            "Web: WARNING: skipped: locked by a program that a killed run (process {}) started; \
             `fuser -v {}` shows it",
            child.id(),
            lock.display()
        ))
        .says("Db: OK: ");
    assert_eq!(fs::metadata(&place).unwrap().ino(), inode, "the copy was touched");
    assert_eq!(rig.snapshots("web"), [""; 0]);

    rsyncs.iter().for_each(|rsync| rsync.signal(Signal::CONT));
    rig.backup(&["web"]).exits(0);
    assert_eq!(differences(&source, &rig.newest("web")), "");
}

/// Numbers that come again with their seed.
struct Random(u64);

impl Random {
    /// `BACKUP_TEST_SEED` repeats a run of the test.
    fn new() -> Self {
        let given = std::env::var("BACKUP_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one("seed"));
        println!("BACKUP_TEST_SEED={seed}");
        Random(seed | 1)
    }

    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn a_run_killed_at_any_moment_leaves_no_wrong_snapshot_and_the_next_one_succeeds(mut rig: Rig) {
    // In a virtual machine a run takes ten times as long.
    let (moments, files, megabytes) = if in_place(&rig) { (3, 20, 1) } else { (10, 200, 4) };
    let mut random = Random::new();
    rig.near_host("Web", "");
    rig.hook("dump", "sleep 0.2; echo dumped");
    let source = rig.source("Web");
    // What the source was when each snapshot was taken.
    let mut taken: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut whole = Duration::ZERO;
    for moment in 0..=moments {
        change(&rig, &source, moment, files, megabytes);
        let state = rig.join(format!("state-{moment}"));
        must("cp", &["-al", source.to_str().unwrap(), state.to_str().unwrap()]);
        if moment > 0 {
            let delay = whole.mul_f64((f64::from(moment - 1) + random.next()) / f64::from(moments));
            let mut child = rig.start(&["all"]);
            std::thread::sleep(delay);
            child.kill().unwrap();
            let status = child.wait().unwrap();
            zfs_has_ended(&rig);
            println!("killed after {delay:?}: {status}, {:?}", rig.snapshots("web"));
            check(&rig, &mut taken, &state);
        }
        let begin = Instant::now();
        rig.backup(&["all"]).exits(0);
        whole = begin.elapsed();
        check(&rig, &mut taken, &state);
        assert_eq!(differences(&state, &rig.newest("web")), "");
    }
    assert_eq!(runtime_directories(&rig), [""; 0].map(PathBuf::from));
    if !in_place(&rig) {
        let mut left: Vec<_> =
            fs::read_dir(rig.join("store/web")).unwrap().map(|it| it.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".boot", "latest", "snapshots"]);
    }
}

/// Waits for what a killed run's `zfs` still does: the kernel ends what it has
/// begun before the process goes.
fn zfs_has_ended(rig: &Rig) {
    let Some(dataset) = &rig.dataset else { return };
    let ours = dataset.child("web");
    let is_ours = |line: &String| line.starts_with("zfs ") && line.contains(&ours);
    rig.wait_until("no zfs is at work", || !command_lines().iter().any(is_ours));
}

/// Where a run is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// Some time after its start.
    AnyTime,
    /// When it is about to start a program, or that has just ended.
    Program(When, &'static str),
    /// As soon as something is there in the host's folder in the store.
    There(fn(&Path) -> bool),
}

const MOMENTS: [Moment; 17] = [
    Moment::AnyTime,
    Moment::Program(When::Before, "ssh*"),
    // A command on the host, by the connection that is there.
    Moment::Program(When::Before, "session*"),
    Moment::Program(When::After, "session*"),
    Moment::AnyTime,
    Moment::There(|place| place.join(".incomplete").exists()),
    Moment::Program(When::Before, "rsync*"),
    Moment::There(|place| place.join(".incomplete/srv/1").exists()),
    Moment::There(|place| any(&place.join(".incomplete/srv"), |name| name.starts_with(".big."))),
    Moment::AnyTime,
    Moment::Program(When::After, "rsync*"),
    // Facts that do not count yet, and then the tree that they are of.
    Moment::There(|place| any(&place.join("snapshots"), |name| name.starts_with(".backup-"))),
    Moment::There(|place| {
        !place.join(".incomplete").exists()
            && any(&place.join("snapshots"), |name| name.starts_with(".backup-"))
    }),
    Moment::AnyTime,
    // Facts that count.
    Moment::There(|place| {
        !place.join(".incomplete").exists()
            && !any(&place.join("snapshots"), |name| name.starts_with(".backup-"))
    }),
    Moment::There(|place| place.join(".removing").exists()),
    Moment::AnyTime,
];

/// Whether a folder has something of such a name.
fn any(folder: &Path, fits: fn(&str) -> bool) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| fits(&entry.file_name().to_string_lossy()))
}

/// `BACKUP_TEST_KILLS=200` kills so many runs, where one of each moment does for every day.
#[test]
fn however_many_runs_are_killed_wherever_they_are_no_snapshot_is_wrong() {
    let kills: usize =
        std::env::var("BACKUP_TEST_KILLS").map_or(MOMENTS.len(), |kills| kills.parse().unwrap());
    let (files, megabytes) = (60, 2);
    let mut random = Random::new();
    let mut rig = Rig::new();
    let source = rig.host("Web");
    rig.hook("dump", "echo dumped");
    let snare = Snare::new(&rig);
    snare.watch_sessions(&mut rig);
    let place = rig.join("store/web");
    let mut taken: BTreeMap<String, PathBuf> = BTreeMap::new();
    let begin = Instant::now();
    rig.backup(&["all"]).exits(0);
    let whole = begin.elapsed();
    let first = remember(&rig, &source, "state-0");
    check(&rig, &mut taken, &first);
    let (mut killed, mut round, mut kept) = (0, 0, 0);
    let mut states: Vec<PathBuf> = Vec::new();
    while killed < kills {
        round += 1;
        let moment = MOMENTS[round as usize % MOMENTS.len()];
        if matches!(moment, Moment::There(..)) {
            // From a place where nothing of a killed run is left.
            rig.backup(&["all"]).exits(0);
            let state = states.last().unwrap_or(&first);
            check(&rig, &mut taken, state);
            assert_eq!(differences(state, &rig.newest("web")), "");
        }
        change(&rig, &source, round, files, megabytes);
        let state = rig.join(format!("state-{round}"));
        must("cp", &["-al", source.to_str().unwrap(), state.to_str().unwrap()]);
        states.push(state.clone());
        let before = rig.snapshots("web").pop();
        let mut child = match moment {
            Moment::Program(when, pattern) => snare.start(&rig, &["all"], when, 0, pattern),
            _ => rig.start(&["all"]),
        };
        match moment {
            Moment::AnyTime => std::thread::sleep(whole.mul_f64(random.next())),
            Moment::Program(..) => {}
            Moment::There(is_there) => {
                let mut begun = false;
                while child.try_wait().unwrap().is_none() {
                    begun |= place.join(".incomplete").exists();
                    if begun && is_there(&place) {
                        break;
                    }
                }
            }
        }
        child.kill().unwrap();
        let was_killed = child.wait().unwrap().signal() == Some(9);
        snare.go();
        killed += usize::from(was_killed);
        let newest = rig.snapshots("web").pop();
        kept += usize::from(was_killed && newest != before);
        check(&rig, &mut taken, &state);
        taken.retain(|name, _| rig.snapshot("web", name).exists());
        states.retain(|old| {
            let is_needed = *old == state || taken.values().any(|state| state == old);
            assert!(is_needed || fs::remove_dir_all(old).is_ok());
            is_needed
        });
    }
    println!("{killed} runs killed in {round} rounds, {kept} of them after their snapshot was taken");
    rig.backup(&["all"]).exits(0);
    assert_nothing_left(&rig);
}

/// Gives every file of the source new contents, in a file of its own.
fn change(rig: &Rig, source: &Path, round: u32, files: u32, megabytes: usize) {
    let replace = |path: PathBuf| fs::rename(rig.join("new"), path).unwrap();
    for number in 0..files {
        let path = source.join(format!("srv/{}/{number}", number % 10));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        rig.write("new", format!("file {number} in round {round}\n"));
        replace(path);
    }
    big_file(&rig.join("new"), megabytes);
    replace(source.join("srv/big"));
}

/// Every snapshot that counts is what the source was; new ones are `state`.
#[track_caller]
fn check(rig: &Rig, taken: &mut BTreeMap<String, PathBuf>, state: &Path) {
    for name in rig.snapshots("web") {
        let source = taken.entry(name.clone()).or_insert_with(|| state.to_owned());
        assert_eq!(rig.facts("web", &name)["verdict"], "good");
        assert_eq!(differences(source, &rig.snapshot("web", &name)), "", "{name}");
    }
}

#[test]
fn a_run_under_nohup_outlives_its_terminal() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    let (begun, go) = (rig.join("begun"), rig.join("go"));
    let script = format!("touch {}\nwhile [ ! -e {} ]; do sleep 0.05; done", begun.display(), go.display());
    rig.hook("wait", &script);
    let child = program("nohup")
        .args([env!("CARGO_BIN_EXE_backup"), "all"])
        .env("BACKUP_CONFIG", rig.configure())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    rig.wait_until("the hook has begun", || begun.exists());
    signal(&child, Signal::HUP);
    fs::write(go, "").unwrap();
    let ran: Ran = finish(child).into();
    ran.exits(0).says("Web: OK: ").does_not_say("told to stop");
    assert_eq!(differences(&source, &rig.newest("web")), "");
}
