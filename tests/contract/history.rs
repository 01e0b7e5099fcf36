//! The history: what runs leave in it, whatever is wrong with it no copy is
//! the worse for it, and what they make of the sizes in it.

use crate::support::rig::*;
use crate::support::trees::*;
use backup::core::format::timing::Timings;
use backup::core::model::host::HostName;
use backup::core::model::outcome::{Figures, HostReport, Outcome, Severity};
use backup::core::model::snapshot::{SnapshotName, Verdict};
use backup::edge::history::{History, HostRecord};
use chrono::{DateTime, TimeDelta, Utc};
use rustix::process::Signal;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

fn state(rig: &Rig) -> PathBuf {
    rig.join("state")
}

fn database(rig: &Rig) -> PathBuf {
    History::path(&state(rig))
}

/// A host's entries, newest first.
#[track_caller]
fn entries(rig: &Rig, host: &str) -> Vec<HostRecord> {
    let history = History::read(&state(rig)).unwrap().unwrap();
    history.runs(&host.parse::<HostName>().unwrap(), 100).unwrap()
}

/// What became of a host, newest first.
#[track_caller]
fn words(rig: &Rig, host: &str) -> Vec<String> {
    entries(rig, host).into_iter().map(|entry| entry.word).collect()
}

/// Everything about the files of a directory that somebody could change.
fn files(dir: &Path) -> Vec<(PathBuf, i64, i64, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| {
            let meta = fs::metadata(&path).unwrap();
            let bytes = fs::read(&path).unwrap();
            (path, meta.mtime(), meta.mtime_nsec(), bytes)
        })
        .collect();
    files.sort();
    files
}

/// A hook that says that it runs, and waits for leave to end.
fn waiting_hook(rig: &Rig) -> (PathBuf, PathBuf) {
    let (there, go) = (rig.join("there"), rig.join("go"));
    rig.hook("wait", &format!("touch {there:?}\nuntil [ -e {go:?} ]; do sleep 0.02; done\n"));
    (there, go)
}

#[test]
fn a_run_leaves_an_entry_of_every_host() {
    let mut rig = Rig::new();
    rig.section("host_defaults", "hooks = false\n");
    rig.host("VPN");
    rig.host_with("Hooked", "hooks = true\n");
    rig.host_with("Missing", "source = \"/nowhere/at/all\"\n");
    rig.host_with("Away", &format!("port = {}\n", free_port()));
    rig.hook("dump", "echo 'no such database'\nexit 3\n");
    rig.hook("fine", "true\n");
    rig.backup(&["all"]).exits(1).does_not_say("history");

    let [vpn] = &entries(&rig, "vpn")[..] else { panic!() };
    assert_eq!((vpn.word.as_str(), vpn.spelled.as_str(), vpn.severity), ("good", "VPN", Severity::Ok));
    assert_eq!(vpn.snapshot.as_deref(), rig.newest("vpn").file_name().unwrap().to_str());
    let facts = rig.facts("vpn", vpn.snapshot.as_deref().unwrap());
    assert_eq!((Some(vpn.run.as_str()), vpn.files), (facts["run"].as_str(), facts["files"].as_u64()));
    assert_eq!(vpn.changed_bytes, Some(vpn.bytes.unwrap()), "all of a first copy is new");
    assert_eq!(
        (vpn.snapshots, &vpn.transfers[..]),
        (Some(1), &["everything was copied (exit 0)".to_owned()][..])
    );
    assert!(vpn.hooks.is_empty());

    let [hooked] = &entries(&rig, "hooked")[..] else { panic!() };
    assert_eq!((hooked.verdict, hooked.severity), (Some(Verdict::Good), Severity::Critical));
    assert_eq!(hooked.details, ["  no such database"]);
    let hooks: Vec<_> = hooked.hooks.iter().map(|hook| (hook.name.as_str(), hook.severity)).collect();
    assert_eq!(hooks, [("dump", Severity::Critical), ("fine", Severity::Ok)]);
    assert_eq!(hooked.hooks[0].ended, "failed (exit 3)");

    for (host, stage) in [("missing", "probe failed: "), ("away", "connect failed: ")] {
        let [entry] = &entries(&rig, host)[..] else { panic!() };
        assert_eq!((entry.word.as_str(), entry.verdict, entry.bytes), ("failed", None, None));
        assert!(entry.summary.starts_with(stage), "{}", entry.summary);
    }
    assert_eq!(fs::metadata(database(&rig)).unwrap().permissions().mode() & 0o777, 0o600);

    File::create(rig.source("VPN").join("srv/more")).unwrap().set_len(12_345).unwrap();
    rig.backup(&["vpn"]).exits(0);
    let [second, _] = &entries(&rig, "vpn")[..] else { panic!() };
    assert_eq!(second.changed_bytes, Some(12_345), "what was there before is not");
}

/// Two hosts, of which the first is recorded while the second waits in its
/// hook: hosts of which no copy tells how long they take come first.
fn one_recorded_and_one_waiting(rig: &mut Rig) -> (std::process::Child, PathBuf) {
    rig.top = "jobs = 1".to_owned();
    rig.section("host_defaults", "hooks = false\n");
    rig.host_with("Slow", "");
    rig.backup(&["all"]).exits(0);
    rig.replace("hosts.\"Slow\"", "hooks = true\n");
    rig.host_with("First", "source = \"/nowhere/at/all\"\n");
    let (there, go) = waiting_hook(rig);
    let child = rig.start(&["all"]);
    rig.wait_until("the second host's hook runs", || there.exists());
    rig.wait_until("the first host is recorded", || words(rig, "first") == ["failed"]);
    (child, go)
}

#[test]
fn the_history_is_read_without_a_trace_while_a_run_records() {
    let mut rig = Rig::new();
    let (child, go) = one_recorded_and_one_waiting(&mut rig);
    assert!(rig.join("state/history.db-wal").exists(), "the run has it open");
    let before = files(&state(&rig));
    assert_eq!((words(&rig, "first").len(), words(&rig, "slow").len()), (1, 1));
    assert!(files(&state(&rig)) == before, "who reads has changed something");
    fs::write(go, "").unwrap();
    let ran: Ran = finish(child).into();
    ran.exits(1);
    assert_eq!((words(&rig, "first").len(), words(&rig, "slow").len()), (1, 2));
    let is_of_it = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("history");
    let names: Vec<PathBuf> =
        files(&state(&rig)).into_iter().map(|(path, ..)| path).filter(is_of_it).collect();
    assert_eq!(names, [database(&rig)], "what is beside it while it is open is gone");
}

/// Where [`a_writer_in_a_process_of_its_own`] writes.
const WRITES: &str = "HISTORY_TEST_WRITES";
const ROUNDS: i64 = 40;

#[test]
fn a_writer_in_a_process_of_its_own() {
    let Some(dir) = std::env::var_os(WRITES) else { return };
    for round in 0..ROUNDS {
        let history = History::open(Path::new(&dir), DateTime::UNIX_EPOCH).unwrap().history;
        for number in 0..10 {
            let report = good("a", DateTime::UNIX_EPOCH, Figures::default());
            history.record(&format!("{}", round * 10 + number), &report).unwrap();
        }
    }
}

#[test]
fn who_reads_while_runs_are_recorded_sees_whole_states() {
    let dir = tempfile::tempdir().unwrap();
    drop(History::open(dir.path(), DateTime::UNIX_EPOCH).unwrap());
    let own = std::env::current_exe().unwrap();
    let (_program, module) = module_path!().split_once("::").unwrap();
    let mut writer = program(own.to_str().unwrap());
    writer.args(["--exact", &format!("{module}::a_writer_in_a_process_of_its_own")]).env(WRITES, dir.path());
    let mut writer = writer.stdout(Stdio::null()).spawn().unwrap();
    let host: HostName = "a".parse().unwrap();
    let (mut seen, mut looks) = (0, 0);
    while writer.try_wait().unwrap().is_none() {
        let reader = History::read(dir.path()).unwrap().unwrap();
        for _ in 0..3 {
            let runs = reader.runs(&host, 1000).unwrap();
            assert!(runs.len() >= seen, "{} after {seen}", runs.len());
            seen = runs.len();
            assert!(
                runs.iter()
                    .map(|entry| &entry.run)
                    .eq(&(0..seen).rev().map(|n| n.to_string()).collect::<Vec<_>>())
            );
            looks += 1;
        }
    }
    assert!(writer.wait().unwrap().success());
    assert!(looks > 3, "{looks} looks, of which the last saw {seen}");
    let all = History::read(dir.path()).unwrap().unwrap().runs(&host, 1000).unwrap();
    assert_eq!(i64::try_from(all.len()).unwrap(), ROUNDS * 10);
}

#[test]
fn a_killed_run_leaves_a_history_that_is_whole() {
    let mut rig = Rig::new();
    let (mut child, go) = one_recorded_and_one_waiting(&mut rig);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    let before = files(&state(&rig));
    assert_eq!((words(&rig, "first").len(), words(&rig, "slow").len()), (1, 1));
    assert!(files(&state(&rig)) == before, "who reads has changed something");
    fs::write(go, "").unwrap();
    rig.backup(&["all"]).exits(1).does_not_say("the history");
    assert_eq!((words(&rig, "first").len(), words(&rig, "slow").len()), (2, 2));
}

#[test]
fn a_damaged_history_is_set_aside_and_put_together_from_the_snapshots() {
    let mut rig = Rig::without_sshd();
    rig.host("VPN");
    for days in [3, 2] {
        rig.backup(&["all"]).exits(0).does_not_say("history");
        date_back(&rig, "vpn", &format!("{days} days ago"));
    }
    fs::write(database(&rig), "not a database\n".repeat(1000)).unwrap();
    fs::set_permissions(database(&rig), PermissionsExt::from_mode(0o600)).unwrap();
    rig.backup(&["all"])
        .exits(0)
        .says("history.db` cannot be used: file is not a database; it was set aside as `")
        .says("2 runs were reconstructed from the snapshots");
    let entries = entries(&rig, "vpn");
    let from: Vec<bool> = entries.iter().map(|entry| entry.from_snapshot).collect();
    assert_eq!(from, [false, true, true]);
    for entry in &entries {
        let facts = rig.facts("vpn", entry.snapshot.as_deref().unwrap());
        assert_eq!((entry.files, entry.bytes), (facts["files"].as_u64(), facts["bytes"].as_u64()));
        assert_eq!(entry.run, facts["run"].as_str().unwrap());
    }
    let aside = files(&state(&rig)).into_iter().find(|(path, ..)| path.to_str().unwrap().contains("corrupt"));
    assert!(aside.unwrap().3.starts_with(b"not a database\n"));
    rig.backup(&["--quiet", "all"]).exits(0).does_not_say("history");
}

#[test]
fn a_history_that_cannot_be_written_costs_the_exit_code_and_not_the_copy() {
    let mut rig = Rig::without_sshd();
    rig.host("VPN");
    rig.backup(&["all"]).exits(0);
    rusqlite::Connection::open(database(&rig)).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let newer = fs::read(database(&rig)).unwrap();
    rig.backup(&["--quiet", "all"])
        .exits(1)
        .says("has format 99, and this program knows formats up to 3; it is left as it is")
        .says("the results of 1 host(s) are not in the history");
    assert_eq!(fs::read(database(&rig)).unwrap(), newer);

    fs::remove_file(database(&rig)).unwrap();
    let mount = Mount::tmpfs(&state(&rig), "size=1m,mode=0700");
    mount.remount("ro");
    rig.backup(&["all"]).exits(1).says("cannot make the history `").says("`state_dir` right and writable");
    mount.remount("rw");
    fs::write(state(&rig).join("full"), vec![0; 2 << 20]).unwrap_err();
    rig.backup(&["all"]).exits(1).says("history.db`").says("make room where `state_dir` is");
    fs::remove_file(state(&rig).join("full")).unwrap();
    rig.backup(&["all"]).exits(0);
    assert_eq!(rig.verdicts("vpn"), ["good"], "the runs of one day leave the newest");
    assert_eq!(words(&rig, "vpn")[0], "good");
}

#[test]
fn a_history_that_is_locked_for_a_while_gets_everything_in_the_end() {
    let mut rig = Rig::new();
    rig.host("VPN");
    rig.backup(&["all"]).exits(0);
    let (there, go) = waiting_hook(&rig);
    let other = rusqlite::Connection::open(database(&rig)).unwrap();
    other
        .execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE; DELETE FROM runs WHERE 0;")
        .unwrap();
    let child = rig.start(&["all"]);
    rig.wait_until("the hook runs", || there.exists());
    drop(other);
    fs::write(&go, "").unwrap();
    let ran: Ran = finish(child).into();
    ran.exits(0).says("is locked by another process");
    assert_eq!(words(&rig, "vpn"), ["good", "good"]);

    let other = rusqlite::Connection::open(database(&rig)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    rig.backup(&["all"])
        .exits(1)
        .says("the results of 1 host(s) are not in the history: ")
        .says("is locked by");
    assert_eq!(rig.verdicts("vpn").last().unwrap(), "good");
}

/// A run that made a good copy.
fn good(host: &str, time: DateTime<Utc>, figures: Figures) -> HostReport {
    let snapshot = SnapshotName::at(time);
    HostReport {
        host: host.to_owned(),
        outcome: Outcome::Copied { verdict: Verdict::Good, why: String::new(), snapshot },
        notes: Vec::new(),
        started: time - TimeDelta::seconds(5),
        finished: time,
        figures: Some(figures),
        transfers: Vec::new(),
        hooks: Vec::new(),
        timings: Timings::default(),
        snapshots: Some(1),
        last_good: None,
    }
}

/// Has the history say that a host's good runs of the last nights were like this.
fn remember(rig: &Rig, host: &str, nights: i64, figures: Figures) {
    let history = History::open(&state(rig), DateTime::UNIX_EPOCH).unwrap().history;
    let now: DateTime<Utc> = name_at("now").parse::<SnapshotName>().unwrap().time();
    for night in (1..=nights).rev() {
        let report = good(host, now - TimeDelta::days(night), figures);
        history.record(&format!("night {night}"), &report).unwrap();
    }
}

#[test]
fn a_size_that_jumps_is_told_once_and_holds_up_no_rotation() {
    let mut rig = Rig::without_sshd();
    let source = rig.host("VPN");
    rig.replace("retention", "daily = 2\nweekly = 1\nmonthly = 1\nyearly = 1\n");
    rig.backup(&["all"]).exits(0);
    let kept = date_back(&rig, "vpn", "1 day ago");
    rig.backup(&["all"]).exits(0);
    let usual = entries(&rig, "vpn")[0].clone();
    let figures = Figures { files: usual.files.unwrap(), bytes: usual.bytes.unwrap(), ..Figures::default() };
    remember(&rig, "VPN", 20, figures);
    File::create(source.join("srv/import")).unwrap().set_len(100 << 20).unwrap();

    let ran = rig.backup(&["all"]).exits(1);
    let after = rig.snapshots("vpn");
    let line = ran.stderr.lines().find(|line| {
        line.contains("WARNING: its size jumped to 100.0 MiB, where 0 B to 32.0 MiB is usual (22 good runs)")
    });
    assert!(line.is_some(), "{}", ran.stderr);
    let diff =
        format!("`backup diff VPN {} {}` shows what changed, `backup status VPN --plot`", kept, after[1]);
    assert!(ran.stderr.contains(&diff), "{diff}\n{}", ran.stderr);
    // Of this day, the copy before it is gone: what is advised is to be there.
    assert_eq!((&after[0], after.len()), (&kept, 2));
    assert_eq!(entries(&rig, "vpn")[0].severity, Severity::Warning);

    rig.backup(&["all"]).exits(0).does_not_say("jumped");
    fs::remove_file(source.join("srv/import")).unwrap();
    rig.backup(&["all"]).exits(0).does_not_say("fell");
}

#[test]
fn a_copy_that_holds_much_less_is_told_and_nothing_is_removed_that_night() {
    let mut rig = Rig::without_sshd();
    let source = rig.host("VPN");
    for number in 0..3000 {
        rig.write(source.join(format!("many/{number}")), "");
    }
    rig.replace("retention", "daily = 1\nweekly = 1\nmonthly = 1\nyearly = 1\n");
    rig.backup(&["all"]).exits(0);
    let usual = entries(&rig, "vpn")[0].clone();
    let figures = Figures { files: usual.files.unwrap(), bytes: usual.bytes.unwrap(), ..Figures::default() };
    remember(&rig, "VPN", 6, figures);
    for number in 0..1200 {
        fs::remove_file(source.join(format!("many/{number}"))).unwrap();
    }
    let accepted = rig.join("accepted");
    must("cp", &["-a", state(&rig).to_str().unwrap(), accepted.to_str().unwrap()]);
    rig.backup(&["all"]).exits(1).says("WARNING: its number of files fell to 18").says("(7 good runs)");
    assert_eq!(rig.verdicts("vpn"), ["good", "good"]);
    rig.backup(&["all"]).exits(0).does_not_say("fell");
    assert_eq!(rig.verdicts("vpn"), ["good"], "the next run goes on");

    fs::remove_dir_all(state(&rig)).unwrap();
    fs::rename(&accepted, state(&rig)).unwrap();
    rig.backup(&["--accept-deletions", "all"]).exits(0).does_not_say("fell");
}
