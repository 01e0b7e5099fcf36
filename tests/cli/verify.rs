//! `backup verify` through the real binary: what changes on a host is
//! expected, what differs without having changed is told, and whatever is
//! sick, away or stopped is an answer too.

use crate::support::icinga::{Icinga, USER};
use crate::support::rig::*;
use crate::support::snare::{Snare, When};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What `--json` says of the hosts.
#[track_caller]
fn json(ran: &Ran) -> Vec<Value> {
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    answer["hosts"].as_array().unwrap().clone()
}

/// What `verify --json` says of the one host that there is.
#[track_caller]
fn verified(rig: &Rig, arguments: &[&str], code: i32) -> Value {
    let ran = rig.backup(&[&["verify", "--json"], arguments].concat()).exits(code);
    let mut hosts = json(&ran);
    assert_eq!(hosts.len(), 1, "{hosts:#?}");
    hosts.remove(0)
}

/// Checks some of a host's figures; the others are not looked at.
#[track_caller]
fn figures(host: &Value, expected: &[(&str, u64)]) {
    for (name, count) in expected {
        assert_eq!(host[name], *count, "{name} in {host:#}");
    }
}

/// Gives a file other contents of the same length, and its time back.
fn change_silently(path: &Path) {
    let before = fs::metadata(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(before.modified().unwrap()).unwrap();
}

/// Moves the only snapshot of a host back by a day.
fn a_day_ago(rig: &Rig, host: &str) {
    move_by(rig, host, -chrono::TimeDelta::days(1));
}

/// Moves the time of the only snapshot of a host.
fn move_by(rig: &Rig, host: &str, by: chrono::TimeDelta) {
    let name = rig.snapshots(host).remove(0);
    let date = chrono::NaiveDateTime::parse_from_str(&name, "backup-%Y-%m-%dT%H%M%SZ").unwrap();
    let moved = (date + by).format("backup-%Y-%m-%dT%H%M%SZ").to_string();
    let folder = rig.join("store").join(host).join("snapshots");
    for end in ["", ".json"] {
        fs::rename(folder.join(format!("{name}{end}")), folder.join(format!("{moved}{end}"))).unwrap();
    }
}

/// Waits until what was just written was there before a copy that begins now, for
/// all that clocks may differ: five seconds, and one for times that are whole
/// seconds. Nobody can set the time at which a file was changed.
fn seconds_pass(rig: &Rig) {
    let written = std::time::Instant::now();
    rig.wait_until("what was written is of the past", || written.elapsed().as_millis() >= 6500);
}

/// Every file of a tree with its contents, its time and its inode.
fn state(root: &Path) -> Vec<(PathBuf, Vec<u8>, SystemTime, u64)> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let meta = entry.path().symlink_metadata().unwrap();
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.is_file() {
                let bytes = fs::read(entry.path()).unwrap();
                files.push((entry.path(), bytes, meta.modified().unwrap(), meta.ino()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn what_has_changed_since_is_told_from_what_has_not_and_nothing_is_written() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    let odd: [&[u8]; 5] = [b"two\nlines", b"#hash", b"-rf *", b"\xff\xfe", b"\\#012"];
    for name in odd {
        fs::write(source.join(std::ffi::OsStr::from_bytes(name)), "odd\n").unwrap();
    }
    for name in ["grown", "touched", "gone", "replaced", "a folder now"] {
        rig.write(source.join("var").join(name), "text\n");
    }
    rig.backup(&["all"]).exits(0);
    fs::write(source.join("var/grown"), "longer text\n").unwrap();
    File::options()
        .write(true)
        .open(source.join("var/touched"))
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    for name in ["gone", "replaced", "a folder now"] {
        fs::remove_file(source.join("var").join(name)).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", source.join("var/replaced")).unwrap();
    fs::create_dir(source.join("var/a folder now")).unwrap();
    rig.write(source.join("new"), "not in the copy");
    let (before_there, before_here) = (state(&source), state(&rig.newest("web")));
    rig.sshd().accepted();
    for arguments in [&[][..], &["--all"], &["web"], &["all", "--sample", "1000"]] {
        let host = verified(&rig, arguments, 0);
        assert_eq!((&host["name"], &host["state"]), (&"Web".into(), &"good".into()), "{host:#}");
        figures(&host, &[("files", 13), ("sampled", 13), ("identical", 8), ("changed", 2), ("gone", 3)]);
        figures(&host, &[("different", 0), ("unreadable", 0), ("overlooked", 0), ("too_large", 0)]);
        assert_eq!(host["snapshot"], rig.snapshots("web")[0].as_str());
        assert!(host["problem"].is_null() && host["findings"].as_array().unwrap().is_empty());
        let read: u64 = before_here.iter().map(|(_, bytes, ..)| bytes.len() as u64).sum();
        figures(&host, &[("bytes_read", read)]);
        assert_eq!(rig.sshd().accepted(), 1, "one connection for everything");
    }
    assert_eq!((state(&source), state(&rig.newest("web"))), (before_there, before_here));
    let ran = rig.backup(&["verify"]).exits(0).says("Web: verified: 13 of 13 files compared with backup-");
    let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..6], ["HOST", "RESULT", "FILES", "IDENTICAL", "CHANGED", "GONE"]);
    assert_eq!(lines[1][..8], ["Web", "good", "13", "8", "2", "3", "0", "0"]);
    let quiet = rig.backup(&["verify", "--quiet"]).exits(0);
    // Of a machine without a syslog that alone is said.
    let said: Vec<&str> =
        quiet.stderr.lines().filter(|line| !line.contains("cannot write to syslog")).collect();
    assert!(quiet.stdout.is_empty() && said.is_empty(), "{quiet:?}");
}

#[test]
fn a_damaged_copy_is_critical_for_icinga_too_and_a_good_one_leaves_the_runs_result() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    rig.host("Db");
    let icinga = Icinga::start(&["Web!BACKUP-b32-1", "Db!BACKUP-b32-1"]);
    let lines = format!(
        "url = {:?}\nuser = {USER:?}\npassword_file = {:?}\nca_file = {:?}\n",
        icinga.url(),
        icinga.password_file(),
        icinga.ca_file()
    );
    rig.section("icinga", &lines);
    fs::create_dir(rig.join("metrics")).unwrap();
    let metrics = rig.join("metrics/backup.prom");
    rig.section("metrics", &format!("textfile = {metrics:?}\n"));
    rig.backup(&["all"]).exits(0);
    assert_eq!(icinga.results().len(), 2);
    rig.backup(&["verify"]).exits(0);
    assert_eq!(icinga.results().len(), 2, "a good verification says nothing");
    let damaged = rig.newest("web").join("etc/fstab");
    change_silently(&damaged);
    let ran = rig.backup(&["verify", "--quiet"]).exits(1);
    let ran = ran.says("error: Web: not verified: 3 of 3 files compared with backup-");
    let ran = ran.says("1 different with the same time, 2 identical");
    ran.says("`etc/fstab`: same size and time, other contents; unchanged there since 20")
        .says("zpool status -v");
    assert_eq!(icinga.results().len(), 3, "of the good host nothing is told");
    let result = icinga.result("Web!BACKUP-b32-1").unwrap();
    assert_eq!(result["exit_status"], 2);
    let output = result["plugin_output"].as_str().unwrap();
    assert!(output.starts_with("CRITICAL: verification failed: "), "{output}");
    assert!(output.contains("`etc/fstab`: same size and time, other contents"), "{output}");
    let text = fs::read_to_string(&metrics).unwrap();
    for line in [
        "backup_verify_state{server=\"b32-1\",host=\"Web\"} 2",
        "backup_verify_state{server=\"b32-1\",host=\"Db\"} 0",
        "backup_verify_bad_files{server=\"b32-1\",host=\"Web\"} 1",
        "backup_host_state{server=\"b32-1\",host=\"Web\"} 0",
    ] {
        assert!(text.contains(line), "`{line}` is missing in:\n{text}");
    }
    let hosts = json(&rig.backup(&["verify", "--json", "WEB"]).exits(1));
    assert_eq!((hosts.len(), &hosts[0]["state"]), (1, &"different".into()));
    let finding = &hosts[0]["findings"][0];
    assert_eq!((&finding["path"], &finding["matter"]), (&"etc/fstab".into(), &"different".into()));
    assert_eq!(fs::read(source.join("etc/fstab")).unwrap(), b"# nothing\n");
    // All three are in the history.
    let history = backup::edge::history::History::read(&rig.join("state")).unwrap().unwrap();
    let rows = history.verifications(&"web".parse().unwrap(), 10).unwrap();
    let different: Vec<u64> = rows.iter().map(|row| row.different).collect();
    assert_eq!(different, [1, 1, 0]);
    assert_eq!((rows[0].sampled, rows[0].identical), (3, 2));
    assert!(rows[0].problem.as_ref().unwrap().contains("1 different"), "{rows:#?}");
    assert_eq!((&rows[2].problem, rows[2].snapshot.as_ref()), (&None, rig.snapshots("web").first()));
}

/// `| head` must not make a bad copy a good one.
#[test]
fn a_reader_that_goes_away_changes_no_result() {
    let mut rig = Rig::without_sshd();
    rig.host("web");
    for arguments in [&["verify", "--json"][..], &["verify"]] {
        let child = rig.command(arguments).stdout(nobody_reads()).spawn().unwrap();
        Ran::from(finish(child)).exits(1).says("there is no good snapshot to compare it with");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let child = rig.command(arguments).stdout(full).spawn().unwrap();
        Ran::from(finish(child)).exits(1).says("cannot write the answer to stdout");
    }
}

/// What was cut short has another size, as what has changed since does; its
/// time tells them apart.
#[test]
fn a_copy_that_was_cut_short_is_no_change_of_the_host() {
    let mut rig = Rig::new();
    let source = rig.host("web");
    seconds_pass(&rig);
    rig.backup(&["web"]).exits(0);
    let cut = |path: &Path| {
        let before = fs::metadata(path).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(before.len() - 1).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
    };
    cut(&rig.newest("web").join("etc/fstab"));
    let host = verified(&rig, &["--all"], 1);
    assert_eq!(host["state"], "different", "{host:#}");
    figures(&host, &[("sampled", 3), ("identical", 2), ("changed", 0), ("different", 1)]);
    let text = host["findings"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("`etc/fstab`: same time, other size; unchanged there since 20"), "{text}");

    // The host's own doing, as its file system knows.
    fs::remove_dir_all(rig.join("state/findings")).unwrap();
    move_by(&rig, "web", chrono::TimeDelta::days(-1));
    let host = verified(&rig, &["--all"], 0);
    figures(&host, &[("sampled", 3), ("identical", 2), ("changed", 1), ("different", 0)]);
    cut(&source.join("srv/data"));
    let host = verified(&rig, &["--all"], 0);
    figures(&host, &[("sampled", 3), ("identical", 1), ("changed", 2), ("different", 0)]);
}

/// A copy is more than contents: what a restoration needs is compared too.
#[test]
fn owners_modes_attributes_link_targets_and_kinds_are_compared() {
    use rustix::fs::{XattrFlags, removexattr, setxattr};
    let capability: Vec<u8> =
        [0x0200_0001_u32, 1 << 13, 0, 0, 0].iter().flat_map(|part| part.to_le_bytes()).collect();
    for mut rig in [Rig::new(), Rig::without_sshd()] {
        let source = rig.host("Web");
        for name in ["ping", "mode", "owner", "note", "kind", "same"] {
            rig.write(source.join("bin").join(name), name);
        }
        rig.write(source.join("private/key"), "key");
        std::os::unix::fs::symlink("ping", source.join("bin/link")).unwrap();
        setxattr(source.join("bin/ping"), "security.capability", &capability, XattrFlags::empty()).unwrap();
        setxattr(source.join("bin/note"), "user.rsync.%stat", b"100644 0,0 1:1", XattrFlags::empty())
            .unwrap();
        seconds_pass(&rig);
        rig.backup(&["all"]).exits(0);
        let host = verified(&rig, &["--all"], 0);
        figures(&host, &[("attributes", 0), ("others", 5), ("identical", 10)]);
        let copy = rig.newest("web");
        removexattr(copy.join("bin/ping"), "security.capability").unwrap();
        removexattr(copy.join("bin/note"), "user.rsync.%stat").unwrap();
        fs::set_permissions(copy.join("bin/mode"), PermissionsExt::from_mode(0o666)).unwrap();
        fs::set_permissions(copy.join("private"), PermissionsExt::from_mode(0o777)).unwrap();
        std::os::unix::fs::chown(copy.join("bin/owner"), Some(1), Some(2)).unwrap();
        for (name, target) in [("link", "mode"), ("kind", "same")] {
            fs::remove_file(copy.join("bin").join(name)).unwrap();
            std::os::unix::fs::symlink(target, copy.join("bin").join(name)).unwrap();
        }
        for arguments in [&["--all"][..], &["--sample", "100"]] {
            let host = verified(&rig, arguments, 1);
            assert_eq!(host["state"], "attributes", "{host:#}");
            figures(&host, &[("identical", 9), ("different", 0)]);
            let findings = host["findings"].as_array().unwrap();
            for (path, what) in [
                ("bin/ping", "extended attributes"),
                ("bin/note", "extended attributes"),
                ("bin/mode", "mode"),
                ("bin/owner", "owner, group"),
                ("bin/link", "target"),
                ("bin/kind", "kind"),
                ("private", "mode"),
            ] {
                let finding = findings.iter().find(|finding| finding["path"] == path);
                let finding = finding.unwrap_or_else(|| panic!("{path} is missing in {host:#}"));
                let text = finding["text"].as_str().unwrap();
                assert!(text.contains(&format!("not as on the host in {what}")), "{text}");
                assert_eq!(finding["matter"], "attributes");
            }
        }
        assert!(!rig.join("state/findings/web.json").exists(), "each run compares these itself");
        // The next run does, and mends them.
        move_by(&rig, "web", -chrono::TimeDelta::minutes(2));
        rig.backup(&["all"]).exits(0);
        verified(&rig, &["--all"], 0);
        // What the host has changed since is no fault of the copy.
        fs::set_permissions(source.join("bin/mode"), PermissionsExt::from_mode(0o600)).unwrap();
        verified(&rig, &["--all"], 0);
    }
}

#[test]
fn a_history_that_cannot_be_written_costs_the_exit_code_and_not_the_answer() {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    rig.backup(&["all"]).exits(0);
    fs::remove_dir_all(rig.join("state")).unwrap();
    fs::write(rig.join("state"), "no folder").unwrap();
    let ran = rig.backup(&["verify", "--json"]).exits(1).says("the results are not in the history: ");
    let host = json(&ran).remove(0);
    figures(&host, &[("identical", 3)]);
    // What earlier ones found is not known.
    assert_eq!(host["state"], "failed");
}

#[test]
fn a_change_that_no_run_will_see_is_told_and_wakes_nobody() {
    for mut rig in [Rig::new(), Rig::without_sshd()] {
        let source = rig.host("Web");
        rig.backup(&["all"]).exits(0);
        a_day_ago(&rig, "web");
        change_silently(&source.join("srv/data"));
        let host = verified(&rig, &[], 1);
        assert_eq!(host["state"], "overlooked", "{host:#}");
        figures(&host, &[("overlooked", 1), ("different", 0), ("identical", 2), ("sampled", 3)]);
        let text = host["findings"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("`srv/data`: changed there on 20"), "{text}");
        rig.backup(&["verify"])
            .exits(1)
            .says("warning: Web: not verified: ")
            .says("runs would not see this by themselves");
    }
}

#[test]
fn a_sample_is_as_large_as_was_asked_for_and_differs_each_time() {
    let mut rig = Rig::without_sshd();
    let source = rig.host("Web");
    for number in 0..40 {
        rig.write(source.join(format!("many/{number}")), "x");
    }
    rig.backup(&["all"]).exits(0);
    // A damaged file of 43 is found by some samples of 10 and not by others.
    change_silently(&rig.newest("web").join("many/7"));
    let mut states = std::collections::BTreeSet::new();
    let mut rounds = 0;
    while states.len() < 2 {
        rounds += 1;
        assert!(rounds < 200, "always {states:?}");
        let ran = rig.backup(&["verify", "--sample", "10", "--json"]);
        let host = json(&ran).remove(0);
        figures(&host, &[("files", 43), ("sampled", 10)]);
        states.insert(host["state"].as_str().unwrap().to_owned());
        // Else it would be looked at each time from now on.
        let _ = fs::remove_dir_all(rig.join("state/findings"));
    }
    assert_eq!(states.into_iter().collect::<Vec<_>>(), ["different", "good"]);
}

#[test]
fn a_snapshot_that_cannot_be_read_is_the_stores_sickness() {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    rig.backup(&["all"]).exits(0);
    // A file whose first byte is an error, seen by this verification alone.
    let sick = rig.newest("web").join("etc/fstab");
    let own = rig.command(&["verify", "--json"]);
    let mut command = program("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind /proc/$$/mem \"$1\" && shift && exec \"$@\"", "sh"]);
    command.arg(&sick).arg(own.get_program()).args(own.get_args());
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let ran: Ran = finish(command.spawn().unwrap()).into();
    let ran = ran.exits(1).says("the store is failing: see `zpool status -v`");
    let host = json(&ran).remove(0);
    assert_eq!(host["state"], "unreadable", "{host:#}");
    figures(&host, &[("unreadable", 1), ("identical", 2)]);
    let text = host["findings"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("`etc/fstab`: cannot be read from the snapshot: "), "{text}");
}

#[test]
fn a_file_that_cannot_be_read_on_the_host_is_no_damage() {
    let mut rig = Rig::new();
    rig.sudoer("");
    let source = rig.host_with("Web", "user = \"backup\"\n");
    rig.backup(&["all"]).exits(1);
    assert_eq!(rig.verdicts("web"), ["good"]);
    fs::set_permissions(source.join("srv/data"), PermissionsExt::from_mode(0o600)).unwrap();
    let host = verified(&rig, &[], 1);
    assert_eq!(host["state"], "unreadable_there", "{host:#}");
    figures(&host, &[("unreadable_there", 1), ("different", 0), ("identical", 2)]);
}

#[test]
fn several_hosts_have_their_own_fates() {
    let mut rig = Rig::new();
    rig.top = "jobs = 2".to_owned();
    rig.host("Good");
    rig.host("Emptied");
    rig.host("Away");
    rig.backup(&["all"]).exits(0);
    rig.host("Never");
    fs::remove_dir_all(rig.source("emptied")).unwrap();
    fs::create_dir(rig.join("hosts/emptied")).unwrap();
    rig.replace("hosts.\"Away\"", &format!("port = {}\n", free_port()));
    let ran = rig.backup(&["verify", "--json"]).exits(1);
    let hosts = json(&ran);
    let found: Vec<(&str, &str)> =
        hosts.iter().map(|host| (host["name"].as_str().unwrap(), host["state"].as_str().unwrap())).collect();
    assert_eq!(
        found,
        [("Away", "failed"), ("Emptied", "incomparable"), ("Good", "good"), ("Never", "failed")],
        "{}",
        ran.stderr
    );
    let ran = ran.says("Away: not verified: `127.0.0.1` refuses connections");
    let ran = ran.says("Emptied: not verified: nothing could be compared; 3 of 3 files");
    ran.says(
        "Never: not verified: there is no good snapshot to compare it with (see `backup snapshots Never`)",
    );
}

#[test]
fn another_machine_is_not_compared() {
    let mut rig = Rig::new();
    rig.host("Web");
    rig.backup(&["all"]).exits(0);
    let name = rig.snapshots("web").remove(0);
    let path = rig.join("store/web/snapshots").join(format!("{name}.json"));
    let mut facts = rig.facts("web", &name);
    if facts["machine"].is_null() {
        eprintln!("this machine has no /etc/machine-id");
        return;
    }
    facts["machine"] = "0123456789abcdef0123456789abcdef".into();
    fs::write(path, facts.to_string()).unwrap();
    rig.backup(&["verify"]).exits(1).says("the host is not the machine that was copied");
}

#[test]
fn a_snapshot_that_is_removed_meanwhile_is_no_sickness() {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    rig.backup(&["all"]).exits(0);
    let snare = Snare::new(&rig);
    for skip in [0, 1] {
        let snapshot = rig.newest("web");
        let child = snare.start(&rig, &["verify", "--json"], When::Before, skip, "rsync *");
        let aside = rig.join("aside");
        fs::rename(&snapshot, &aside).unwrap();
        snare.go();
        let ran: Ran = finish(child).into();
        let ran = ran.exits(1).says("the snapshot was removed while it was read");
        let host = json(&ran).remove(0);
        assert_eq!((&host["state"], &host["unreadable"]), (&"failed".into(), &0.into()), "{host:#}");
        fs::rename(&aside, &snapshot).unwrap();
    }
}

#[test]
fn a_verification_that_is_stopped_ends_and_leaves_nothing() {
    let mut rig = Rig::new();
    rig.top = "jobs = 1".to_owned();
    rig.host("a");
    rig.host("b");
    rig.backup(&["all"]).exits(0);
    let snare = Snare::new(&rig);
    let child = snare.start(&rig, &["verify", "--json"], When::Before, 0, "rsync *");
    signal(&child, Signal::TERM);
    let ran: Ran = finish(child).into();
    let ran = ran.exits(1).says("told to stop");
    let states: Vec<Value> = json(&ran).iter().map(|host| host["state"].clone()).collect();
    assert_eq!(states, ["interrupted", "interrupted"]);
    assert!(rig.left_behind().is_empty(), "{:?}", rig.left_behind());
}

#[test]
fn a_host_that_hangs_is_given_up() {
    let mut rig = Rig::new();
    rig.section("transfer", "stall_timeout = \"2s\"");
    rig.host("Web");
    rig.backup(&["all"]).exits(0);
    let snare = Snare::new(&rig);
    let child = snare.start(&rig, &["verify"], When::Before, 1, "rsync *");
    // Asleep it moves no byte; the shell that waits in its place hardly does.
    for process in
        descendants(&processes(), child.id()).iter().filter(|process| process.line.contains("rsync"))
    {
        process.signal(Signal::STOP);
    }
    // Nobody wakes them, and it ends.
    let ran: Ran = finish(child).into();
    ran.exits(1).says("nothing moved for 2.0s (`stall_timeout`)");
}

#[test]
fn what_makes_no_sense_starts_nothing() {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    for (arguments, said) in [
        (&["--sample", "0"][..], "it must be a whole number of at least 1"),
        (&["--sample", "-1"], "'-1'"),
        (&["--sample", "many"], "it must be a whole number of at least 1"),
        (&["--sample", "5", "--all"], "cannot be used with"),
        (&["wbe"], "did you mean `Web`?"),
        (&["x*"], "no host's name matches `x*`"),
    ] {
        let ran = rig.backup(&[&["verify"], arguments].concat()).exits(2).says(said);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn a_snapshot_of_a_pool_is_verified() {
    let mut rig = Rig::on_zfs();
    let source = rig.near_host("Web", "");
    rig.backup(&["all"]).exits(0);
    fs::write(source.join("etc/hostname"), "another name\n").unwrap();
    let host = verified(&rig, &["--all"], 0);
    assert_eq!(host["state"], "good", "{host:#}");
    figures(&host, &[("files", 3), ("identical", 2), ("changed", 1)]);
    change_silently(&source.join("srv/data"));
    let host = verified(&rig, &[], 1);
    assert!(["different", "overlooked"].contains(&host["state"].as_str().unwrap()), "{host:#}");
}
