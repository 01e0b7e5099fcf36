//! Whole runs: many hosts of many fates, what the operator sees at the end,
//! and what Prometheus is left.

use crate::support::netbox::{Machine, StandIn, TOKEN};
use crate::support::rig::*;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The table that ends a run, with the lines below it.
#[track_caller]
fn summary(ran: &Ran) -> Vec<&str> {
    let (_, table) = ran.stderr.rsplit_once("\n\n").unwrap_or_else(|| panic!("no summary:\n{}", ran.stderr));
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("HOST "), "{}", ran.stderr);
    lines
}

/// The result that the table names for a host.
#[track_caller]
fn result<'a>(summary: &[&'a str], host: &str) -> &'a str {
    let row = summary.iter().find(|line| line.starts_with(&format!("{host} ")));
    let row = row.unwrap_or_else(|| panic!("{host} is missing in {summary:#?}"));
    let words = row[host.len()..].trim_start();
    words.split("  ").next().unwrap()
}

/// Has the run write a textfile, and gives its path.
fn textfile(rig: &mut Rig) -> PathBuf {
    let path = rig.join("metrics/backup.prom");
    fs::create_dir(rig.join("metrics")).unwrap();
    rig.section("metrics", &format!("textfile = {path:?}\n"));
    path
}

/// The value of one sample of the textfile.
#[track_caller]
fn sample(path: &Path, metric: &str, label: &str, value: &str) -> Option<f64> {
    let text = fs::read_to_string(path).unwrap();
    let begin = format!("{metric}{{server=\"b32-1\",{label}=\"{value}\"}} ");
    let found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(&begin)).collect();
    assert!(found.len() <= 1, "{begin} is there twice: {text}");
    found.first().map(|value| value.parse().unwrap())
}

fn state(path: &Path, host: &str) -> Option<f64> {
    sample(path, "backup_host_state", "host", host)
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A hook that says that it runs, and waits for leave to end.
fn waiting_hook(rig: &Rig) -> (PathBuf, PathBuf) {
    let (there, go) = (rig.join("there"), rig.join("go"));
    rig.hook("wait", &format!("touch {there:?}\nuntil [ -e {go:?} ]; do sleep 0.02; done\n"));
    (there, go)
}

#[test]
fn each_host_of_a_run_has_its_own_fate() {
    let mut rig = Rig::new();
    rig.top = "jobs = 2".to_owned();
    let netbox = StandIn::start(["VPN", "Hooked", "Emptied", "Later"].map(Machine::vm).into());
    let token = rig.write("token", TOKEN);
    fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
    rig.section("inventory.netbox", &format!("url = {:?}\ntoken_file = {token:?}\n", netbox.url()));
    rig.section("host_defaults", "hooks = false\n");
    let vpn = rig.host_with("vpn", "listed = false\n");
    let emptied = rig.host_with("emptied", "listed = false\n");
    let hooked = rig.host_with("hooked", "listed = false\nhooks = true\n");
    let router = rig.host("Router");
    rig.host_with("later", "listed = false\n");
    let metrics = textfile(&mut rig);

    let first = rig.backup(&["all"]).exits(0).says("5 hosts: 5 good");
    assert!(first.stdout.is_empty());
    let run_of = |scope| sample(&metrics, "backup_run_success", "scope", scope);
    assert_eq!(run_of("all"), Some(1.0));
    let good_before = sample(&metrics, "backup_host_last_good_timestamp_seconds", "host", "Emptied");
    let old = rig.newest("emptied");
    must("cp", &["-a", emptied.to_str().unwrap(), rig.join("emptied.before").to_str().unwrap()]);

    rig.hook("dump", "echo 'no such database'\nexit 3\n");
    for folder in ["etc", "srv"] {
        fs::remove_dir_all(emptied.join(folder)).unwrap();
    }
    rig.write(vpn.join("etc/new"), "new\n");
    rig.replace("hosts.\"later\"", &format!("port = {}\n", free_port()));

    // Whoever reads the textfile meanwhile sees a whole one.
    let done = AtomicBool::new(false);
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            let begin = Instant::now();
            while !done.load(Ordering::Relaxed) && begin.elapsed() < Duration::from_secs(60) {
                let text = fs::read_to_string(&metrics).unwrap();
                assert!(text.contains("backup_run_success{") && text.ends_with('\n'), "half a file: {text}");
                std::thread::yield_now();
            }
        });
        let ran = rig.backup(&["all"]);
        done.store(true, Ordering::Relaxed);
        ran
    });
    let ran = ran.exits(1);
    assert!(ran.stdout.is_empty());
    let table = summary(&ran);
    for (host, word, metric) in [
        ("VPN", "good", 0.0),
        ("Router", "good", 0.0),
        ("Hooked", "good, but", 2.0),
        ("Emptied", "suspect", 2.0),
        ("Later", "failed", 2.0),
    ] {
        assert_eq!(result(&table, host), word, "{table:#?}");
        assert_eq!(state(&metrics, host), Some(metric), "{host}");
    }
    assert_eq!(table.iter().filter(|line| line.starts_with("  CRITICAL: ")).count(), 3, "{table:#?}");
    let last = table.last().unwrap();
    assert!(last.starts_with("5 hosts: 2 good, 1 good with trouble, 1 suspect, 1 failed, in "), "{last}");

    for (host, source) in [("vpn", &vpn), ("router", &router), ("hooked", &hooked)] {
        assert_eq!(differences(source, &rig.newest(host)), "", "{host}");
    }
    assert_eq!(rig.verdicts("emptied"), ["good", "suspect"]);
    assert_eq!(differences(&rig.join("emptied.before"), &old), "", "the last good copy was touched");
    assert_eq!(rig.verdicts("later"), ["good"]);
    assert_eq!(rig.verdicts("hooked"), ["good", "good"], "nothing is removed after trouble");

    assert_eq!(run_of("all"), Some(0.0));
    let run = |metric| sample(&metrics, metric, "scope", "all");
    assert_eq!(run("backup_run_hosts"), Some(5.0));
    assert_eq!(run("backup_run_hosts_not_good"), Some(3.0));
    let good_after = sample(&metrics, "backup_host_last_good_timestamp_seconds", "host", "Emptied");
    assert!(good_before.is_some() && good_before == good_after, "{good_before:?}, {good_after:?}");
    assert_eq!(fs::metadata(&metrics).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(rig.join("metrics")).unwrap().count(), 1, "a temporary file was left");
}

#[test]
fn a_run_of_one_host_keeps_what_the_textfile_says_of_the_others() {
    let mut rig = Rig::without_sshd();
    for name in ["VPN", "Web"] {
        rig.host(name);
    }
    let metrics = textfile(&mut rig);
    rig.backup(&["all"]).exits(0);
    rig.replace("hosts.\"VPN\"", "source = \"/nowhere/at/all\"\n");
    rig.backup(&["vpn"]).exits(1);
    assert_eq!((state(&metrics, "VPN"), state(&metrics, "Web")), (Some(2.0), Some(0.0)));
    let success = |scope| sample(&metrics, "backup_run_success", "scope", scope);
    assert_eq!((success("all"), success("some")), (Some(1.0), Some(0.0)), "of different runs");

    rig.host("New");
    rig.replace("hosts.\"Web\"", "listed = false\n");
    rig.backup(&["all"]).exits(1);
    assert_eq!(state(&metrics, "Web"), Some(0.0), "a host that is no more stays until it is retired");
    rig.backup(&["retire", "web"]).exits(0);
    rig.backup(&["all"]).exits(1);
    assert_eq!(state(&metrics, "Web"), None, "a run of all forgets a host that is retired");
    assert_eq!(state(&metrics, "New"), Some(0.0));
}

#[test]
fn a_textfile_that_cannot_be_written_costs_the_exit_code_and_not_the_copy() {
    let mut rig = Rig::without_sshd();
    rig.host("Good");
    rig.section("metrics", "textfile = \"/nowhere/at/all/backup.prom\"\n");
    let ran = rig
        .backup(&["--quiet", "all"])
        .exits(1)
        .says("cannot write the metrics to `/nowhere/at/all/backup.prom`");
    assert!(ran.stderr.contains("names a file in a folder that exists"), "{}", ran.stderr);
    assert_eq!(rig.verdicts("good"), ["good"]);
    let ran = rig.backup(&["all"]).exits(1);
    assert!(summary(&ran).last().unwrap().starts_with("WARNING: cannot write the metrics"), "{}", ran.stderr);
}

#[test]
fn the_summary_steers_no_terminal_whatever_names_and_hooks_say() {
    let mut rig = Rig::without_sshd();
    let long = "x".repeat(128);
    rig.host_with(&long, "hooks = false\n");
    rig.host("Hooked");
    rig.host_with("Missing", &format!("source = \"/nowhere/{}\"\n", "at/".repeat(60)));
    rig.hook("wide", "printf '%0300d\\033[2J\\r\\n' 7; printf '\\342\\200\\256\\377\\n'\nexit 1\n");
    let ran = rig.backup(&["all"]).exits(1);
    let table = summary(&ran);
    assert!(table.iter().any(|line| line.starts_with(&format!("{long}  good"))), "{table:#?}");
    assert_eq!(result(&table, "Hooked"), "good, but");
    assert!(!ran.stderr.contains(|c: char| c != '\n' && c.is_control()), "{:?}", ran.stderr);
    assert!(!ran.stderr.contains('\u{202e}'), "a line can be turned around");
}

#[test]
fn a_stopped_run_reports_every_host_with_its_last_good_copy() {
    let mut rig = Rig::new();
    rig.top = "jobs = 1".to_owned();
    for name in ["a", "b", "c"] {
        rig.host(name);
    }
    rig.backup(&["all"]).exits(0);
    let (there, _) = waiting_hook(&rig);
    let child = rig.start(&["all"]);
    rig.wait_until("the first host's hook runs", || there.exists());
    send(&child, Signal::TERM);
    let ran: Ran = finish(child).into();
    let hosts = ["a", "b", "c"];
    let ran = ran.exits(1).says("told to stop").says("; last good copy 20");
    let ran = ran.says_of(&hosts, "CRITICAL: interrupted before it was done");
    let table = summary(&ran);
    for host in hosts {
        assert_eq!(result(&table, host), "interrupted");
        assert_eq!(rig.verdicts(host), ["good"]);
    }
}

#[test]
fn a_run_outlives_its_terminal_only_under_nohup() {
    for nohup in [true, false] {
        let mut rig = Rig::without_sshd();
        rig.host("a");
        let (there, go) = waiting_hook(&rig);
        let own = rig.command(&["all"]);
        // The tests themselves may run under nohup.
        let mut command = program("env");
        let how = if nohup { "--ignore-signal=HUP" } else { "--default-signal=HUP" };
        command.arg(how).arg(own.get_program()).args(own.get_args());
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stderr(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        rig.wait_until("the hook runs", || there.exists());
        send(&child, Signal::HUP);
        if nohup {
            fs::write(go, "").unwrap();
        }
        let ran: Ran = finish(child).into();
        if nohup {
            ran.exits(0).does_not_say("told to stop");
            assert_eq!(rig.verdicts("a"), ["good"]);
        } else {
            ran.exits(1).says("told to stop");
            assert!(rig.snapshots("a").is_empty());
        }
    }
}
