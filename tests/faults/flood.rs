//! A host that says more than any host has to say: it fails alone, soon, with a
//! reason, and costs the others neither time nor memory.

use crate::support::rig::*;
use rustix::process::Signal;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

/// How much memory a run with a host that floods it may take, in KiB.
const MOST_MEMORY: u64 = 300 * 1024;
/// How much it may say, in bytes.
const MOST_SAID: usize = 64 * 1024;

/// A rig with a good host, `Web`, and a hostile one, `Db`, whose sessions see
/// other files than those of `Web`.
struct Pair {
    rig: Rig,
    web: PathBuf,
    _sshd: Sshd,
}

impl Pair {
    fn new(seen: &[(PathBuf, &str)], mut rig: Rig) -> Self {
        let web = rig.host("Web");
        let mut sshd = Sshd::start(&rig.join("sshd"));
        sshd.start_again_with(&Setup { mounts: seen, ..Setup::default() });
        let known = fs::read_to_string(rig.join("known_hosts")).unwrap();
        rig.write("known_hosts", known + &sshd.known_hosts_line());
        rig.host_with("Db", &format!("port = {}", sshd.port));
        Pair { rig, web, _sshd: sshd }
    }

    /// One whose `Db` has this list of mounts, made for the source of `Db`: where
    /// it reads its own, it gets this one.
    fn mounted(list: impl FnOnce(&str) -> String) -> Self {
        let rig = Rig::new();
        let source = rig.join("hosts/db");
        let list = rig.write("mountinfo", list(source.to_str().unwrap()));
        let cat = format!("#!/bin/sh\nexec head -c 999999999 \"{}\"\n", list.display());
        let cat = rig.write("cat", cat);
        fs::set_permissions(&cat, PermissionsExt::from_mode(0o755)).unwrap();
        Pair::new(&[(cat, "/usr/bin/cat")], rig)
    }

    /// Runs both; `Web` must not notice anything.
    #[track_caller]
    fn run(&self) -> Ran {
        let begin = Instant::now();
        let child = self.rig.start(&["all"]);
        let memory = std::thread::spawn({
            let id = child.id();
            move || most_memory(id)
        });
        let ran: Ran = finish(child).into();
        let memory = memory.join().unwrap();
        assert!(memory < MOST_MEMORY, "{memory} KiB:\n{}", ran.stderr.get(..2000).unwrap_or(&ran.stderr));
        assert!(ran.stderr.len() < MOST_SAID, "it said {} bytes", ran.stderr.len());
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
        assert_eq!(differences(&self.web, &self.rig.newest("web")), "");
        ran.says("Web: OK: ")
    }
}

/// The most memory that a process has had when it ends, in KiB.
fn most_memory(id: u32) -> u64 {
    let mut most = 0;
    while let Ok(status) = fs::read_to_string(format!("/proc/{id}/status")) {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let Some(now) = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()) else { break };
        most = now;
        std::thread::sleep(Duration::from_millis(5));
    }
    most
}

/// A list of mounts with a disk at `/` and what else there is.
fn list(more: impl Iterator<Item = String>) -> String {
    let mut list = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n".to_owned();
    for (line, number) in more.zip(2..) {
        let _ = writeln!(list, "{number} {line}");
    }
    list
}

/// Directories of one disk, each shown by bind mounts within the one before it,
/// so deep.
fn nested(source: &str, deep: usize) -> String {
    list((1..4000).map(|number| {
        let deep = "/r".repeat(number % deep + 1);
        format!("1 8:2 {deep} {source}{deep}/{number} rw - ext4 /dev/sdb rw")
    }))
}

#[test]
fn disks_deep_in_a_filesystem_that_is_left_out_cost_their_host_alone() {
    let deep = "/d".repeat(1900);
    let pair = Pair::mounted(|source| {
        let left_out = format!("1 0:9 / {source}/t rw - tmpfs tmpfs rw");
        let disk = |number| format!("2 9:{number} / {source}/t/{number}{deep} rw - ext4 /dev/sdb{number} rw");
        list(std::iter::once(left_out).chain((0..100).map(disk)))
    });
    pair.run().exits(1).says(
        "Db: CRITICAL: probe failed: filesystems are mounted there so deep in others that no list of rules",
    );
    assert_eq!(pair.rig.snapshots("db"), [""; 0]);
}

#[test]
fn a_filesystem_that_no_rule_can_leave_out_is_not_copied_unasked() {
    let deep = "/d".repeat(2048);
    let pair = Pair::mounted(|source| {
        list(std::iter::once(format!("1 0:50 / {source}{deep} rw - nfs4 server:/x rw")))
    });
    pair.run()
        .exits(1)
        .says("Db: CRITICAL: probe failed: a filesystem is mounted there at a path that is too long");
    assert_eq!(pair.rig.snapshots("db"), [""; 0]);
}

#[test]
fn thousands_of_nested_bind_mounts_are_judged_at_once() {
    let pair = Pair::mounted(|source| nested(source, 500));
    pair.run().exits(0).says("Db: OK: ");
}

#[test]
fn more_mounts_than_any_host_has_are_refused() {
    let pair = Pair::mounted(|source| {
        list((0..20_000).map(|number| format!("1 0:9 / {source}/t/{number} rw - tmpfs t rw")))
    });
    pair.run()
        .exits(1)
        .says("Db: CRITICAL: probe failed: more than 20000 filesystems are mounted there (unmount");
    let pair = Pair::mounted(|_| "x".repeat(40 * 1024 * 1024));
    pair.run().exits(1).says("Db: CRITICAL: probe failed: `the probe` wrote more than can be right");
}

#[test]
fn fifteen_thousand_lines_that_are_none_are_told_once() {
    let pair = Pair::mounted(|_| list(std::iter::empty()) + &"what is this\n".repeat(15_000));
    let ran = pair
        .run()
        .exits(1)
        .says("Db: WARNING: lines in the host's list of mounts that could not be parsed: 15000");
    assert!(ran.stderr.contains("and 14990 more"), "{}", ran.stderr);
    assert!(ran.stderr.matches("what is this").count() < 30, "{}", ran.stderr);

    let rig = Rig::new();
    rig.write("backup-exclude.conf", "");
    let excludes = rig.write("excludes of db", "merge /etc/shadow\n".repeat(15_000));
    let place = rig.join("backup-exclude.conf");
    let pair = Pair::new(&[(excludes, place.to_str().unwrap())], rig);
    let ran = pair.run().exits(0).says("Db: OK: ").says("and 14990 more");
    assert_eq!(ran.stderr.matches("warning: Db: ").count(), 1, "{}", ran.stderr);
}

#[test]
fn a_thousand_files_that_are_no_hooks_are_told_once_and_more_are_refused() {
    for (count, says) in [
        (300, " and 290 more (only letters"),
        (
            1001,
            "Db: CRITICAL: probe failed: there are more than 1000 executables in the host's directory of hooks (remove",
        ),
    ] {
        let rig = Rig::new();
        for number in 0..count {
            let hook = rig.write(format!("hooks of db/h.{number}"), "#!/bin/sh\n");
            fs::set_permissions(hook, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let (hooks, place) = (rig.join("hooks of db"), rig.join("hooks"));
        let pair = Pair::new(&[(hooks, place.to_str().unwrap())], rig);
        let ran = pair.run().says(says);
        assert!(ran.stderr.matches("h.1").count() < 20, "{}", ran.stderr);
    }
}

#[test]
fn a_run_that_is_told_to_stop_heeds_it_whatever_a_host_says() {
    let mut pair = Pair::mounted(|source| nested(source, 1800));
    let begun = pair.rig.join("begun");
    pair.rig.section("hosts.\"Db\"", "hooks = false");
    pair.rig.hook("slow", &format!("echo > '{}'\nexec sleep 1000\n", begun.display()));
    let child: Child = pair.rig.start(&["all"]);
    pair.rig.wait_until("the good host's hook runs", || begun.exists());
    signal(&child, Signal::TERM);
    let ran: Ran = finish(child).into();
    ran.exits(1).says("CRITICAL, 2 hosts: interrupted before it was done");
}
