//! Hooks, over ssh: which run, in which order, and what becomes of a host
//! whose hooks fail, hang, flood, fork or are not there.

use crate::support::rig::*;
use crate::support::trees::*;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A rig with a host that runs the rig's hooks, and one that runs none.
fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.host("Web");
    rig.host_with("Other", "hooks = false\n");
    // A program by whose name a hook's processes are known: their numbers are
    // those of sshd's namespace.
    fs::copy("/bin/sleep", rig.join("sleeper")).unwrap();
    rig
}

/// The processes of the rig's hooks.
fn sleepers(rig: &Rig) -> Vec<String> {
    let name = rig.join("sleeper").to_str().unwrap().to_owned();
    command_lines().into_iter().filter(|line| line.starts_with(&name)).collect()
}

/// Fails the test unless the copy was made, and the newest one is the latest.
#[track_caller]
fn assert_copied(rig: &Rig) {
    assert_eq!(differences(&rig.join("hosts/web"), &rig.newest("web")), "");
    assert_eq!(rig.snapshot("web", &latest(rig, "web")), rig.newest("web"));
    assert_eq!(rig.verdicts("web").last().unwrap(), "good");
    assert_nothing_left(rig);
}

#[test]
fn hooks_run_before_the_copy_in_the_order_of_their_names() {
    let rig = rig();
    let dump = rig.join("hosts/web/srv/dump");
    for name in ["a", "B", "20-second", "10-first", "9", "_", "--help", "-e"] {
        rig.hook(name, &format!("echo {name} >> {}\nprintf '%s says hello\\n' {name}\n", dump.display()));
    }
    let ran = rig.backup(&["all"]).exits(0).says("Web: hook 10-first: 10-first says hello\n");
    assert_eq!(fs::read_to_string(&dump).unwrap(), "--help\n-e\n10-first\n20-second\n9\nB\n_\na\n");
    assert_eq!(ran.stderr.matches("says hello").count(), 8, "{}", ran.stderr);
    // Nothing is said that no hook has said.
    assert_eq!(ran.stderr.matches("Web: hook ").count(), 16, "{}", ran.stderr);
    ran.does_not_say("Other: hook").says("Web: OK").says("Other: OK");
    assert_copied(&rig);
}

#[test]
fn only_what_run_parts_would_run_is_run_and_odd_names_are_told() {
    let rig = rig();
    let dump = rig.join("ran");
    let script = |name: &str| format!("printf '%s\\n' '{name}' >> {}\n", dump.display());
    rig.hook("good", &script("good"));
    for name in ["mysql.sh", "10-dump~", ".hidden", "a b", "-e sh", "it's", "$(touch PWNED)", "new\nline"] {
        rig.hook(name, "touch \"$(dirname \"$0\")/../PWNED\"\n");
    }
    let script_path = rig.join("hooks/good");
    let long = "x".repeat(255);
    fs::copy(&script_path, rig.join("hooks").join(&long)).unwrap();
    fs::copy(&script_path, rig.join("hooks").join(OsStr::from_bytes(b"not-\xff-UTF-8"))).unwrap();
    rig.write("hooks/not-executable", "#!/bin/sh\n");
    fs::create_dir(rig.join("hooks/directory")).unwrap();
    symlink("good", rig.join("hooks/symlink")).unwrap();
    symlink("nowhere", rig.join("hooks/dangling")).unwrap();

    let ran = rig.backup(&["web"]).exits(0).says("Web: OK");
    for told in ["mysql.sh", "10-dump?", "a?b", "-e?sh", "it?s", "??touch?PWNED?", "new?line", "not-?-UTF-8"]
    {
        let lines: Vec<&str> = ran.stderr.lines().filter(|line| line.contains(told)).collect();
        assert!(matches!(lines[..], [line] if line.contains("not run as hooks: ")), "{told}\n{}", ran.stderr);
    }
    assert_eq!(fs::read_to_string(&dump).unwrap(), "good\n".repeat(3), "good, the symlink, the long name");
    for place in [rig.path(), Path::new("/"), Path::new("/root")] {
        assert!(!place.join("PWNED").exists());
    }
    assert_copied(&rig);
}

#[test]
fn a_failing_hook_costs_no_copy_and_no_older_one() {
    let rig = rig();
    let superfluous = name_at("10:00 40 days ago");
    made_up(&rig, "web", &superfluous, "good");
    made_up(&rig, "web", &name_at("11:00 40 days ago"), "good");
    let dump = rig.join("hosts/web/srv/dump");
    rig.hook("10-mysql", "echo 'dumping shop'\necho 'no such database: shop' >&2\nexit 3\n");
    rig.hook("20-next", &format!("echo next > {}\n", dump.display()));
    let ran = rig
        .backup(&["all"])
        .exits(1)
        .says("Web: CRITICAL: hook 10-mysql failed (exit 3); ")
        .says("\n    dumping shop\n")
        .says("\n    no such database: shop\n")
        .says("Other: OK");
    let told: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("no such database")).collect();
    assert_eq!(told.len(), 1, "once, with the result: {told:#?}");
    assert!(dump.exists(), "the hook after it was not run");
    assert_copied(&rig);
    assert_eq!(rig.snapshots("web").len(), 3, "something was removed");
    assert!(rig.snapshots("web").contains(&superfluous));

    rig.hook("10-mysql", "exit 0\n");
    rig.backup(&["web"]).exits(0);
    assert!(!rig.snapshots("web").contains(&superfluous));
}

#[test]
fn a_hanging_hook_is_ended_with_all_that_it_started() {
    let mut rig = rig();
    rig.section("hooks", "timeout = \"1s\"\n");
    let sleeper = rig.join("sleeper");
    let sleeper = sleeper.display();
    rig.hook(
        "10-hang",
        &format!(
            "trap '' TERM\necho begun\nsetsid {sleeper} 1001 &\n(trap '' TERM; setsid {sleeper} 1002) &\n\
             {sleeper} 1003 &\n{sleeper} 1004\n"
        ),
    );
    rig.hook("20-next", "echo still here\n");
    rig.backup(&["all"])
        .exits(1)
        .says(
            "Web: CRITICAL: hook 10-hang did not end within 1.0s and was killed with everything it had started",
        )
        .says("\n    begun\n")
        .says("Web: hook 20-next: still here")
        .says("Other: OK");
    rig.wait_until("all of it ends", || sleepers(&rig).is_empty());
    assert_copied(&rig);
}

#[test]
fn what_a_hook_leaves_in_the_background_is_ended_and_told() {
    let rig = rig();
    rig.hook("10-fork", &format!("{} 1000 &\n", rig.join("sleeper").display()));
    rig.backup(&["all"])
        .exits(1)
        .says("Web: WARNING: hook 10-fork left processes behind, which were killed")
        .says("Other: OK");
    rig.wait_until("it ends", || sleepers(&rig).is_empty());
    assert_copied(&rig);
}

#[test]
fn a_failing_hook_that_forks_has_failed_first_of_all() {
    let rig = rig();
    rig.hook("10-fork", &format!("{} 1000 &\nexit 4\n", rig.join("sleeper").display()));
    rig.backup(&["web"])
        .exits(1)
        .says("Web: CRITICAL: hook 10-fork failed (exit 4) and left processes behind, which were killed");
    rig.wait_until("it ends", || sleepers(&rig).is_empty());
    assert_copied(&rig);
}

#[test]
fn a_service_that_a_hook_restarts_lives_on_and_holds_nobody_up() {
    let rig = rig();
    // It keeps the hook's output open, as careless services do. The hook ends
    // once the service has left its session.
    let ready = rig.join("ready");
    let (ready, sleeper) = (ready.display(), rig.join("sleeper"));
    rig.hook(
        "10-restart",
        &format!(
            "mkfifo {ready}\nsetsid sh -c 'echo > {ready}; exec {} 1000' &\ncat {ready}\n",
            sleeper.display()
        ),
    );
    rig.backup(&["all"]).exits(0).says("Web: OK").says("Other: OK");
    assert_eq!(sleepers(&rig).len(), 1, "the run has waited for the service, or ended it");
    assert_copied(&rig);
}

#[test]
fn a_flood_of_output_is_cut_to_its_end() {
    for (what, flood) in [
        ("lines", "yes 'another line of a hundred million bytes'"),
        ("one line", "cat /dev/zero | tr '\\0' x"),
    ] {
        let rig = rig();
        rig.hook(
            "10-flood",
            &format!("{flood} | head -c 100000000\necho\necho 'and then it failed'\nexit 1\n"),
        );
        let ran = rig
            .backup(&["all"])
            .exits(1)
            .says("Web: CRITICAL: hook 10-flood failed (exit 1)")
            .says("Other: OK");
        assert!(ran.stderr.contains("\n    and then it failed\n"), "{what}: {}", ran.stderr.len());
        assert!(ran.stderr.len() < 16 * 1024, "{what}: {} bytes are printed", ran.stderr.len());
        assert_copied(&rig);
    }
}

#[test]
fn a_hook_that_is_killed_has_failed_and_says_by_what() {
    for (end, told) in [
        ("kill -KILL $$", "was killed by signal 9"),
        ("kill -TERM $$", "was killed by signal 15"),
        ("kill -SEGV $$", "was killed by signal 11"),
        ("exit 255", "failed (exit 255)"),
    ] {
        let rig = rig();
        rig.hook("10-killed", &format!("echo begun\n{end}\nexit 0\n"));
        rig.backup(&["all"])
            .exits(1)
            .says(&format!("Web: CRITICAL: hook 10-killed {told}"))
            .says("\n    begun\n")
            .says("Other: OK");
        assert_copied(&rig);
    }
}

#[test]
fn a_hook_may_delete_itself_but_one_that_was_deleted_has_failed() {
    let rig = rig();
    rig.hook("10-once", "rm -- \"$0\" \"$(dirname \"$0\")/20-gone\"\necho done\n");
    rig.hook("20-gone", "echo never\n");
    rig.backup(&["web"])
        .exits(1)
        .says("Web: hook 10-once: done")
        .says("Web: CRITICAL: hook 20-gone failed (exit 127)")
        .says("No such file or directory")
        .does_not_say("never");
    assert_copied(&rig);
    rig.backup(&["web"]).exits(0).does_not_say("hook ");
}

#[test]
fn a_hook_without_an_interpreter_has_failed() {
    let rig = rig();
    let hook = rig.write("hooks/10-lost", "#!/no/such/interpreter\n");
    set_mode(&hook, 0o755);
    rig.backup(&["web"]).exits(1).says("Web: CRITICAL: hook 10-lost failed (exit 127)").says("10-lost");
    assert_copied(&rig);
}

#[test]
fn a_hook_reads_nothing_and_its_output_cannot_steer_a_terminal() {
    let rig = rig();
    rig.hook("10-odd", "cat\nprintf 'a\\033[2Jb\\rc\\tnot \\377 UTF-8\\n'\n");
    let ran = rig.backup(&["web"]).exits(0).says("Web: hook 10-odd: a\\u{1b}[2Jb");
    let odd: Vec<char> = ran.stderr.chars().filter(|c| c.is_control() && *c != '\n').collect();
    assert!(odd.is_empty(), "{odd:?}");
    assert_copied(&rig);
}

#[test]
fn hosts_need_no_hooks() {
    let mut rig = rig();
    rig.section("hooks", &format!("directory = {:?}\n", rig.join("no such directory")));
    rig.backup(&["all"]).exits(0).says("Web: OK").does_not_say("hook");
    assert_copied(&rig);
}

#[test]
fn a_host_whose_hooks_are_turned_off_runs_none_and_is_told_of_none() {
    let rig = rig();
    rig.hook("10-x", "touch \"$(dirname \"$0\")/../ran\"\n");
    rig.hook("odd.name", "");
    rig.backup(&["other"]).exits(0).says("Other: OK").does_not_say("hook");
    assert!(!rig.join("ran").exists());
}
