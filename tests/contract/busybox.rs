//! The scripts that run on hosts, with nothing but busybox there.

use crate::support::rig::*;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// A folder with busybox under all its names, and nothing else.
fn tools(rig: &Rig) -> PathBuf {
    let tools = rig.join("tools");
    fs::create_dir(&tools).unwrap();
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    for tool in must(busybox.expect("busybox is missing"), &["--list"]).lines() {
        symlink(busybox.unwrap(), tools.join(tool)).unwrap();
    }
    tools
}

#[test]
fn a_hook_that_is_ended_leaves_no_daemon_where_all_is_busybox() {
    let rig = Rig::without_sshd();
    let tools = tools(&rig);
    let text = format!(
        "#!{}/sh\nsetsid sh -c 'echo $$ > {}; exec sleep 1000' & sleep 1000\n",
        tools.display(),
        rig.join("pid").display()
    );
    let hook = rig.write("hook", text);
    fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    let mut script = program(tools.join("sh").to_str().unwrap())
        .args(["-c", include_str!("../../src/edge/remote/hook.sh"), "sh"])
        .args([hook.to_str().unwrap(), "1000", "2", "MARK-OF-BUSYBOX"])
        .env("PATH", &tools)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let stdin = script.stdin.take().unwrap();
    let pid = || fs::read_to_string(rig.join("pid")).unwrap_or_default().trim().to_owned();
    rig.wait_until("the daemon runs", || !pid().is_empty());
    drop(stdin);
    // Not its output to the end: a daemon that is left keeps that open.
    script.wait().unwrap();
    let gone = || match fs::read_to_string(format!("/proc/{}/stat", pid())) {
        Err(_) => true,
        Ok(stat) => stat.contains(") Z "),
    };
    let alive = !gone();
    if alive {
        must("kill", &["-KILL", &pid()]);
    }
    assert!(!alive, "the daemon is still there");
}

const LINKS: &str = include_str!("../../src/edge/remote/links.sh");

/// The look for hard links, with these tools, in a process group of its own.
fn look(tools: &Path, script: &str, source: &Path, limit: &str) -> Child {
    program(tools.join("sh").to_str().unwrap())
        .args(["-c", script, "sh"])
        .args([source.to_str().unwrap(), limit, "MARK"])
        .env("PATH", tools)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap()
}

#[test]
fn a_look_for_linked_files_leaves_nothing_behind_when_its_caller_goes_or_kills_its_group() {
    for (all_is_busybox, caller_goes) in [(false, false), (false, true), (true, false), (true, true)] {
        let rig = Rig::without_sshd();
        let tools = tools(&rig);
        if !all_is_busybox {
            // The shell as well: there are busyboxes whose shell takes their own
            // `timeout`, whatever the PATH says.
            for (name, path) in [("timeout", "/usr/bin/timeout"), ("sh", "/bin/sh")] {
                fs::remove_file(tools.join(name)).unwrap();
                symlink(path, tools.join(name)).unwrap();
            }
        }
        // One that hangs, but for the first, which only tries the options.
        let text = format!(
            "#!{}/sh\ncase $* in *-prune*) exit ;; esac\necho $$ > {}\nexec sleep 1000\n",
            tools.display(),
            rig.join("pid").display()
        );
        // Those would take their own `find`, too; none has one of this name.
        let find = rig.write("tools/find-that-hangs", text);
        fs::set_permissions(&find, PermissionsExt::from_mode(0o755)).unwrap();
        let with_it = LINKS.replace(" find \"$@\"", " find-that-hangs \"$@\"");
        assert_ne!(with_it, LINKS);
        rig.write("source/file", "");
        let mut script = look(&tools, &with_it, &rig.join("source"), "1000");
        let mut stdin = script.stdin.take().unwrap();
        write!(stdin, "all ./file\n\n").unwrap();
        let pid = || fs::read_to_string(rig.join("pid")).unwrap_or_default().trim().to_owned();
        rig.wait_until("the look is under way", || !pid().is_empty());
        if caller_goes {
            drop(stdin);
        } else {
            must("kill", &["-KILL", "--", &format!("-{}", script.id())]);
        }
        script.wait().unwrap();
        let group = script.id().to_string();
        let is_left = |process: &Process| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", process.id)).unwrap_or_default();
            let words: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            let is_of_group = words.get(2) == Some(&group.as_str());
            words.first() != Some(&"Z") && (is_of_group || process.id.to_string() == pid())
        };
        rig.wait_until(
            &format!("nothing is left (all is busybox: {all_is_busybox}, the caller goes: {caller_goes})"),
            || !processes().iter().any(is_left),
        );
    }
}

#[test]
fn linked_files_are_found_or_the_look_fails_where_all_is_busybox() {
    let rig = Rig::without_sshd();
    let tools = tools(&rig);
    rig.write("source/plain/file", "");
    rig.write("source/linked/a", "");
    fs::hard_link(rig.join("source/linked/a"), rig.join("source/linked/b")).unwrap();
    let mut script = look(&tools, LINKS, &rig.join("source"), "60");
    let mut stdin = script.stdin.take().unwrap();
    write!(stdin, "all ./plain\none ./linked\nall ./gone\n\n").unwrap();
    let output = script.wait_with_output().unwrap();
    drop(stdin);
    // A busybox may have been made without what it takes; then it has to say so.
    if output.status.code() == Some(123) {
        return;
    }
    let said = String::from_utf8(output.stdout).unwrap();
    let expected = |file| format!("\nMARK\nlooked\0done 0\0looked\0./linked/{file}\0done 0\0missing\0MARK\n");
    assert!(said == expected("a") || said == expected("b"), "{said:?}");
}
