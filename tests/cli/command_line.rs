//! What may be typed, and what is said to what may not: the command line and
//! the configuration, through the real binary.

use crate::support::rig::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

/// Runs the binary, and fails the test if anything is on stdout.
#[track_caller]
fn backup(rig: &Rig, arguments: &[&str]) -> Ran {
    let ran = rig.backup(arguments);
    assert_eq!(ran.stdout, "", "{arguments:?}");
    ran
}

/// A rig with one host that is this machine.
fn local() -> Rig {
    let mut rig = Rig::without_sshd();
    rig.host("Good");
    rig
}

#[test]
fn help_and_version_are_what_was_asked_for_and_need_no_configuration() {
    let rig = Rig::without_sshd();
    for (arguments, parts) in [
        (
            &["--help"][..],
            &["Usage: backup ", "--accept-deletions", "Exit status: 0 if", "/etc/backup/config.toml"][..],
        ),
        (&["-h"], &["Usage: backup ", "--force"]),
        (&["run", "--help"], &["Usage: backup run ", "--quiet"]),
        (&["help"], &["Usage: backup ", "Exit status: 0 if"]),
        (&["help", "find"], &["Usage: backup find ", "Exit status: 0 if something was found"]),
        (&["--version"], &[concat!("backup ", env!("CARGO_PKG_VERSION"))]),
    ] {
        let mut command = rig.command(arguments);
        command.env("BACKUP_CONFIG", "/nowhere/config.toml");
        let ran: Ran = finish(command.spawn().unwrap()).into();
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        for part in parts {
            assert!(ran.stdout.contains(part), "`{part}` is missing in:\n{}", ran.stdout);
        }
    }
}

#[test]
fn a_command_line_that_makes_no_sense_starts_nothing() {
    let rig = local();
    for (arguments, said, reason) in [
        (&[][..], "<HOST>", "no host"),
        (&["run"], "<HOST>", "no host either"),
        (&["--no-such-option", "all"], "'--no-such-option'", "an unknown option"),
        (&["-e", "sh"], "'-e'", "an unknown short option"),
        (&["all", "--config"], "--config <FILE>", "an option without its value"),
        (&["--jobs", "0", "all"], "a whole number of at least 1", "no job"),
        (&["--jobs", "-1", "all"], "'-1'", "less than none"),
        (&["--jobs", "many", "all"], "a whole number of at least 1", "no number"),
        (&["--force", "all"], "not `all`", "all that nobody lists"),
        (&["--force", "good", "ALL"], "not `all`", "in any case and place"),
        (&["--force", "../good"], "`../good` cannot be a host's name", "a path"),
        (&["nothing"], "no host `nothing`", "an unknown host"),
        (&["god"], "did you mean `Good`?", "a slip"),
        (&["x*"], "no host's name matches `x*`", "a glob for nothing"),
        (&["[x"], "`[x` is no pattern", "a broken glob"),
        (&["good", ""], "no host ``", "an empty word"),
    ] {
        let ran = backup(&rig, arguments).exits(2).says(said);
        assert!(ran.stderr.starts_with("error: "), "{reason}: {}", ran.stderr);
        assert!(rig.snapshots("good").is_empty(), "{reason}");
    }
}

#[test]
fn a_misspelt_command_is_answered_with_commands_and_not_with_force() {
    let mut rig = local();
    for (words, said) in [
        (&["snapshot", "good"][..], "there is no command `snapshot`; did you mean `backup snapshots`?"),
        (&["ls"], "did you mean `backup status` or `backup snapshots`?"),
        (&["list", "good"], "did you mean `backup status` or `backup snapshots`?"),
        (&["help", "stauts"], "there is no command `stauts`; did you mean `status`?"),
        (&["help", "xyz"], "there is no command `xyz`; `backup help` lists the commands"),
    ] {
        backup(&rig, words).exits(2).says(said).does_not_say("--force");
    }
    backup(&rig, &["unheard-of"]).exits(2).says("`--force` backs a host up without the inventory");
    rig.host("snapshot");
    backup(&rig, &["snapshot"]).exits(0).says("snapshot: OK: ");
}

/// A plan without the second at which its snapshots would be taken.
fn undated(plan: &str) -> String {
    let word = |word: &str| match word.starts_with("backup-2") {
        true => "SNAPSHOT".to_owned(),
        false => word.to_owned(),
    };
    plan.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_run_that_is_only_to_be_shown_is_a_plan() {
    let rig = local();
    for (run, plan) in
        [(&["all", "--dry-run"][..], &["plan"][..]), (&["run", "-n", "good"], &["plan", "good"])]
    {
        let (run, plan) = (rig.backup(run).exits(0), rig.backup(plan).exits(0));
        assert_eq!(undated(&run.stdout), undated(&plan.stdout));
        assert!(run.stdout.contains("this machine"), "{}", run.stdout);
    }
    assert!(rig.backup(&["good", "-n", "--json"]).exits(0).stdout.starts_with("{\n  \"hosts\": ["));
    assert!(rig.snapshots("good").is_empty(), "something was copied");
    for option in [&["--force"][..], &["--keep", "x"], &["--accept-deletions"]] {
        backup(&rig, &[&["good", "-n"], option].concat()).exits(2).says("cannot be used with");
    }
}

#[test]
fn a_run_answers_as_json() {
    let mut rig = local();
    rig.host("Bad");
    fs::remove_dir_all(rig.source("Bad")).unwrap();
    let ran = rig.backup(&["--quiet", "all", "--json"]).exits(1);
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let names: Vec<&str> =
        answer["hosts"].as_array().unwrap().iter().map(|host| host["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Good", "Bad"], "those that need a look come last: {answer}");
    let (good, bad) = (&answer["hosts"][0], &answer["hosts"][1]);
    assert_eq!((&good["result"], &good["severity"]), (&"good".into(), &"OK".into()), "{good}");
    assert_eq!(good["snapshot"], rig.snapshots("good")[0].as_str(), "{good}");
    assert!(good["files"].as_u64().unwrap() > 0 && good["duration_seconds"].is_number(), "{good}");
    assert_eq!((&bad["result"], &bad["severity"]), (&"failed".into(), &"CRITICAL".into()), "{bad}");
    assert_eq!((&bad["snapshot"], &bad["files"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert!(bad["summary"].as_str().unwrap().contains("probe"), "{bad}");
    assert_eq!(answer["exit"], 1);
    assert!(answer["run"].as_str().unwrap().contains('/'), "{answer}");
}

#[test]
fn a_word_that_is_a_command_reaches_a_host_after_run() {
    let mut rig = local();
    for word in [
        "plan",
        "status",
        "snapshots",
        "find",
        "diff",
        "restore",
        "hold",
        "release",
        "retire",
        "rename",
        "prune",
        "verify",
    ] {
        let hint = format!("to back up a host of that name: backup run {word}");
        backup(&rig, &["--jobs", "3", word, "all"]).exits(2).says(&hint);
    }
    // After options that every command has, it is the command.
    let ran = rig.backup(&["--quiet", "plan", "--json"]).exits(0);
    assert!(ran.stdout.starts_with('{'), "{}", ran.stdout);
    rig.host("plan");
    backup(&rig, &["run", "plan"]).exits(0).says("plan: OK: ").says("1 host: 1 good");
    backup(&rig, &["--verbose", "run", "PLAN"]).exits(0).says("plan: OK: ").says("1 host: 1 good");
}

#[test]
fn every_fault_of_a_configuration_is_told_at_once_with_its_line() {
    let rig = Rig::without_sshd();
    let path = format!("{}/tests/configs/invalid/ten-faults.toml", env!("CARGO_MANIFEST_DIR"));
    let mut command = rig.command(&["--quiet", "--config", &path, "all"]);
    // The file of the token is there only in that file's own tests.
    command.env("BACKUP_NETBOX_TOKEN", "a-secret-token");
    let ran: Ran = finish(command.spawn().unwrap()).into();
    let ran = ran.exits(2).says("the configuration has 10 faults").does_not_say("a-secret-token");
    let told = ran.stderr.lines().filter(|line| line.contains("ten-faults.toml:")).count();
    assert_eq!(told, 10, "{}", ran.stderr);
    ran.says("ten-faults.toml:18: `transfer.retires` is unknown; did you mean `retries`?");
    assert!(!rig.join("run").exists(), "something was begun");
}

#[test]
fn the_configuration_is_the_named_one_and_no_other() {
    let rig = local();
    let good = rig.configure();
    let missing = rig.join("missing.toml");
    let run = |arguments: &[&str], variable: Option<&str>| -> Ran {
        let mut command = rig.command(arguments);
        match variable {
            Some(path) => command.env("BACKUP_CONFIG", path),
            None => command.env_remove("BACKUP_CONFIG"),
        };
        finish(command.spawn().unwrap()).into()
    };
    let (good, missing) = (good.to_str().unwrap(), missing.to_str().unwrap());
    run(&["--config", good, "all"], Some(missing)).exits(0);
    run(&["all"], Some(good)).exits(0);
    run(&["--config", missing, "all"], Some(good)).exits(2).says(missing).says("(`--config` names it)");
    run(&["all"], Some(missing)).exits(2).says(missing).says("(`$BACKUP_CONFIG` names it)");
    run(&["--config", "/", "all"], None)
        .exits(2)
        .says("cannot read the configuration `/`: it is a directory");
    if !std::path::Path::new("/etc/backup/config.toml").exists() {
        let ran = run(&["all"], None).exits(2).says("`/etc/backup/config.toml`");
        assert!(ran.stderr.contains("copy `config.example.toml` there and edit it"), "{}", ran.stderr);
    }
}

#[test]
fn a_runtime_directory_that_cannot_be_made_stops_the_run_before_it_begins() {
    let mut rig = local();
    let file = rig.write("file", "");
    let folder = file.join("run");
    rig.top = format!("runtime_dir = {folder:?}");
    let text = fs::read_to_string(rig.configure()).unwrap();
    let own = format!("runtime_dir = {:?}\n", rig.join("run").to_str().unwrap());
    let config = rig.write("other.toml", text.replacen(&own, "", 1));
    let ran = backup(&rig, &["--config", config.to_str().unwrap(), "all"]).exits(2);
    let ran = ran.says("the runtime directory is not usable").says("Not a directory");
    assert!(ran.stderr.contains(folder.to_str().unwrap()), "{}", ran.stderr);
    assert!(rig.snapshots("good").is_empty());
}

#[test]
fn verbose_tells_what_is_kept_and_why_and_no_secret() {
    let mut rig = local();
    let write = |name: &str, text: &str| {
        let path = rig.write(name, text);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    let (token, password) = (write("token", "secret-token\n"), write("password", "secret-password\n"));
    // Nobody is there to be asked or told.
    let port = free_port();
    let lines = format!("url = \"http://127.0.0.1:{port}/\"\ntoken_file = {token:?}\ntimeout = \"1s\"\n");
    rig.section("inventory.netbox", &lines);
    let lines =
        format!("url = \"https://127.0.0.1:{port}/\"\nuser = \"backup\"\npassword_file = {password:?}\n");
    rig.section("icinga", &lines);
    let ran = backup(&rig, &["--verbose", "all"]).exits(1).says("Good: OK: ");
    let ran = ran.says("debug: Good: keep    backup-").says("the newest good one");
    ran.does_not_say("secret-token").does_not_say("secret-password");
}

#[test]
fn quiet_leaves_warnings_and_errors_and_is_stronger_than_verbose() {
    let mut rig = local();
    rig.host_with("Missing", "source = \"/nowhere/at/all\"\n");
    for arguments in [&["-q", "all"][..], &["--quiet", "--verbose", "all"], &["run", "-qv", "all"]] {
        let ran = backup(&rig, arguments).exits(1).says("error: Missing: CRITICAL: ").does_not_say("HOST");
        for line in ran.stderr.lines() {
            assert!(
                ["error: ", "warning: "].iter().any(|level| line.starts_with(level)),
                "{arguments:?}: {line}"
            );
        }
    }
}

#[test]
fn jobs_on_the_command_line_go_before_the_configured_ones() {
    let mut rig = Rig::without_sshd();
    rig.top = "jobs = 4".to_owned();
    for name in ["a", "b", "c"] {
        rig.host(name);
    }
    // Each hook leaves a mark while it runs; the most marks at once are noted.
    let marks = rig.join("marks");
    fs::create_dir(&marks).unwrap();
    let hook = format!(
        "touch {marks:?}/$$\nls {marks:?} | wc -l >>{log:?}\nsleep 0.3\nls {marks:?} | wc -l >>{log:?}\nrm {marks:?}/$$\n",
        log = rig.join("log")
    );
    rig.hook("mark", &hook);
    let most = |arguments: &[&str]| -> u32 {
        let _ = fs::remove_file(rig.join("log"));
        backup(&rig, arguments).exits(0).says("3 hosts: 3 good");
        let log = fs::read_to_string(rig.join("log")).unwrap();
        log.lines().map(|line| line.trim().parse().unwrap()).max().unwrap()
    };
    assert_eq!(most(&["--jobs", "1", "all"]), 1);
    assert!(most(&["all"]) > 1);
}

#[test]
fn a_closed_stderr_stops_nothing() {
    let rig = local();
    let mut command = rig.command(&["all"]);
    let status = command.stderr(nobody_reads()).stdout(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(rig.verdicts("good"), ["good"]);
}

#[test]
fn a_run_that_is_stopped_before_its_first_host_leaves_nothing() {
    let mut rig = local();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let token = rig.write("token", "a-secret-token");
    fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    rig.section("inventory.netbox", &format!("url = {url:?}\ntoken_file = {token:?}\n"));
    let child = rig.start(&["all"]);
    let (_connection, _) = silent.accept().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran: Ran = finish(child).into();
    ran.exits(2).says("told to stop before the first host was begun");
    let left = fs::read_dir(rig.join("run")).unwrap().map(|entry| entry.unwrap());
    let left: Vec<_> = left.filter(|entry| entry.file_type().unwrap().is_dir()).collect();
    assert!(left.is_empty(), "the next run would warn of {left:?}");
}
