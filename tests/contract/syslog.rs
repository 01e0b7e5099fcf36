//! The record that a run leaves in the system's log, through the real binary
//! and a daemon of the test's own at `/dev/log`.

use crate::support::rig::*;
use crate::support::syslog::{Daemon, without_daemon};

/// What syslog got, each as its severity (3 error, 4 warning, 6 notice of the
/// ordinary) and its text; fails the test if a line is not of `backup` and of
/// one process.
fn texts(received: &[String]) -> Vec<(u8, String)> {
    let mut pids = std::collections::BTreeSet::new();
    let parsed = received.iter().map(|line| {
        let (priority, rest) = line.strip_prefix('<').unwrap().split_once('>').unwrap();
        let priority: u8 = priority.parse().unwrap();
        assert_eq!(priority / 8, 3, "not of the facility `daemon`: {line}");
        let (_time, tagged) = rest.split_at("Nov 20 02:00:05 ".len());
        let (pid, text) = tagged.strip_prefix("backup[").expect(line).split_once("]: ").expect(line);
        pids.insert(pid.parse::<u32>().unwrap());
        (priority % 8, text.to_owned())
    });
    let texts: Vec<_> = parsed.collect();
    assert_eq!(pids.len(), 1, "{received:?}");
    texts
}

/// The lines that are not of the run as a whole.
fn of_hosts(texts: Vec<(u8, String)>) -> Vec<(u8, String)> {
    texts.into_iter().filter(|(_, text)| !text.starts_with("run b32-1/")).collect()
}

/// A rig with a good host, one whose hook fails, and one that is not there.
fn mixed() -> Rig {
    let mut rig = Rig::new();
    rig.host("Good");
    rig.host_with("Gone", &format!("port = {}\n", free_port()));
    rig.hook("dump", "echo 'no such database'\nexit 3\n");
    rig.section("hosts.\"Good\"", "hooks = false\n");
    rig.host("Hooked");
    rig
}

#[test]
fn every_line_of_a_run_reaches_syslog_and_names_its_host_loud_or_quiet() {
    for arguments in [&["all"][..], &["--quiet", "all"]] {
        let rig = mixed();
        let daemon = Daemon::start(&rig);
        let ran: Ran = finish(daemon.behind(&rig, rig.command(arguments)).spawn().unwrap()).into();
        let ran = ran.exits(1).does_not_say("syslog");
        let texts = texts(&daemon.received());
        let of_run: Vec<&str> = texts
            .iter()
            .map(|(_, text)| text.as_str())
            .filter(|text| text.starts_with("run b32-1/"))
            .collect();
        let [begin, end] = of_run.as_slice() else { panic!("{of_run:?}") };
        assert!(begin.ends_with(" begins: 3 hosts, 8 at once"), "{begin}");
        assert!(end.contains(" ended with 1: 3 hosts: 1 good, 1 good with trouble, 1 failed, in "), "{end}");
        assert!(!ran.stderr.contains("begins: "), "{}", ran.stderr);
        let texts = of_hosts(texts);
        for (severity, text) in &texts {
            let named = ["Good: ", "Gone: ", "Hooked: "].iter().any(|name| text.starts_with(name));
            assert!(named, "{arguments:?}: no host is named in <{severity}> `{text}`");
            assert!(!text.contains(['\n', '\u{1b}']), "{text:?}");
        }
        for (severity, begin, part) in [
            (6, "Good: OK: ", "6 files"),
            (3, "Gone: CRITICAL: ", "refuses connections"),
            (3, "Hooked: CRITICAL: ", "hook dump failed (exit 3)"),
            (3, "Hooked: ", "no such database"),
        ] {
            assert!(
                texts.iter().any(|(s, t)| *s == severity && t.starts_with(begin) && t.contains(part)),
                "{arguments:?}: <{severity}> {begin}…{part} is missing in {texts:#?}"
            );
        }
        assert_eq!(ran.stderr.contains("Good"), arguments.len() == 1, "{}", ran.stderr);
    }
}

#[test]
fn what_stops_a_run_before_its_first_host_is_in_syslog_too() {
    let rig = Rig::without_sshd();
    let daemon = Daemon::start(&rig);
    let mut command = rig.command(&["all"]);
    command.env("BACKUP_CONFIG", rig.write("broken.toml", "jobs = 0\n"));
    let ran: Ran = finish(daemon.behind(&rig, command).spawn().unwrap()).into();
    ran.exits(2).says("`jobs` is 0");
    let texts = texts(&daemon.received());
    assert!(texts.iter().any(|(severity, text)| *severity == 3 && text.contains("`jobs` is 0")), "{texts:?}");
}

#[test]
fn who_only_looks_writes_nothing_to_syslog_and_does_not_miss_it() {
    let mut rig = Rig::without_sshd();
    rig.host("good");
    rig.backup(&["good"]).exits(0);
    rig.write("state/history.db", "no database ".repeat(100));
    let daemon = Daemon::start(&rig);
    for (arguments, code) in [
        (&["status"][..], 0),
        (&["status", "god"], 2),
        (&["snapshots", "god"], 2),
        (&["find", "god", "x"], 2),
        (&["diff", "god", "latest"], 2),
        (&["plan", "god"], 2),
    ] {
        let ran: Ran = finish(daemon.behind(&rig, rig.command(arguments)).spawn().unwrap()).into();
        let ran = ran.exits(code);
        assert!(ran.stderr.contains("good"), "it is told all the same: {}", ran.stderr);
        let ran: Ran = finish(without_daemon(&rig, rig.command(arguments)).spawn().unwrap()).into();
        ran.exits(code).does_not_say("syslog");
    }
    assert_eq!(daemon.received(), [""; 0]);
}

#[test]
fn a_host_with_a_hostile_name_forges_no_line_in_syslog() {
    let mut rig = Rig::without_sshd();
    rig.host("good");
    rig.source("good");
    rig.write("hosts/good/x\n<0>kernel: forged", "");
    rig.hook("evil", "printf 'a\\n<0>kernel: forged\\n\\033[2Jb\\r'\nexit 1\n");
    let daemon = Daemon::start(&rig);
    let ran: Ran = finish(daemon.behind(&rig, rig.command(&["all"])).spawn().unwrap()).into();
    let ran = ran.exits(1);
    assert!(!ran.stderr.contains('\u{1b}'), "{:?}", ran.stderr);
    for (_, text) in of_hosts(texts(&daemon.received())) {
        assert!(text.starts_with("good: "), "{text:?}");
    }
}

#[test]
fn what_the_store_warns_of_names_its_host() {
    let mut rig = Rig::without_sshd();
    rig.host("Good");
    // Something else where the symlink to the newest good copy belongs.
    rig.write("store/good/latest/file", "");
    let daemon = Daemon::start(&rig);
    let ran: Ran = finish(daemon.behind(&rig, rig.command(&["--quiet", "all"])).spawn().unwrap()).into();
    ran.exits(0).says("warning: Good: cannot point `");
    let texts = of_hosts(texts(&daemon.received()));
    assert!(texts.iter().all(|(_, text)| text.starts_with("Good: ")), "{texts:?}");
}

#[test]
fn a_machine_without_syslog_is_backed_up_and_told_so_once_a_day() {
    let mut rig = Rig::without_sshd();
    rig.host("good");
    let run = |arguments: &[&str]| -> Ran {
        let ran: Ran = finish(without_daemon(&rig, rig.command(arguments)).spawn().unwrap()).into();
        ran.exits(0)
    };
    let ran = run(&["all"]).says("warning: cannot write to syslog at `/dev/log`");
    assert_eq!(ran.stderr.matches("syslog at").count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("systemd-journald"), "it does not say what to do: {}", ran.stderr);
    let ran = run(&["--quiet", "all"]);
    assert_eq!(ran.stderr, "", "cron mails only what is new");
    let stamp = std::fs::File::open(rig.join("state/syslog-missing")).unwrap();
    let before = stamp.metadata().unwrap().modified().unwrap() - std::time::Duration::from_secs(24 * 3600);
    stamp.set_modified(before).unwrap();
    run(&["--quiet", "all"]).says("warning: cannot write to syslog at `/dev/log`");
    run(&["--quiet", "all"]).does_not_say("syslog");
    assert_eq!(rig.verdicts("good"), ["good"], "runs of one day leave one snapshot");
}

#[test]
fn what_many_hosts_warn_of_alike_is_said_once_with_their_number() {
    let mut rig = Rig::without_sshd();
    for name in ["a", "b", "c", "d"] {
        rig.host_with(name, "source = \"/nonexistent\"\n");
    }
    let daemon = Daemon::start(&rig);
    let ran: Ran = finish(daemon.behind(&rig, rig.command(&["--quiet", "all"])).spawn().unwrap()).into();
    let ran = ran.exits(1);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.stderr);
    assert!(
        lines[0].contains("CRITICAL: probe failed: ") && lines[0].contains("/nonexistent"),
        "{}",
        lines[0]
    );
    assert!(lines[1].starts_with("error: the same of 3 more hosts ("), "{}", lines[1]);
    assert!(lines[1].contains("; no good copy of "), "{}", lines[1]);
    let texts = of_hosts(texts(&daemon.received()));
    assert_eq!(texts.iter().filter(|(_, text)| text.contains("CRITICAL: ")).count(), 4, "{texts:?}");
}
