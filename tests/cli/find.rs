//! `backup find`, through the real binary.

use crate::support::on_every_store;
use crate::support::rig::*;
use crate::support::trees::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

on_every_store! {
    every_version_is_told_once_with_its_span,
    contents_decide_where_they_are_read,
}

/// A snapshot: its name, its verdict, its files with their contents.
type MadeUp<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// A rig whose store holds made-up snapshots of `web`, with these paths and
/// contents; a snapshot without a verdict is another's.
fn made(snapshots: &[MadeUp<'_>]) -> Rig {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    for (name, verdict, files) in snapshots {
        made_up(&rig, "web", name, verdict);
        let tree = rig.snapshot("web", name);
        if verdict.is_empty() {
            fs::remove_file(rig.snapshot("web", &format!("{name}.json"))).unwrap();
        }
        fs::remove_file(tree.join("file")).unwrap();
        for (path, content) in *files {
            rig.write(tree.join(path), content);
            set_times(&tree.join(path), 1_790_000_000, 0);
        }
    }
    rig
}

#[track_caller]
fn json(ran: &Ran) -> Vec<Value> {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", ran.stdout))
}

fn paths(ran: &Ran) -> Vec<String> {
    json(ran).iter().map(|found| found["path"].as_str().unwrap().to_owned()).collect()
}

fn every_version_is_told_once_with_its_span(mut rig: Rig) {
    let source = rig.near_host("Web", "");
    let config = rig.write(source.join("etc/bind/named.conf"), "old");
    set_times(&config, 1_790_000_000, 123);
    let mut names = Vec::new();
    for day in ["4 days ago", "3 days ago", "2 days ago", "yesterday"] {
        if day == "2 days ago" {
            fs::write(&config, "newer").unwrap();
            set_times(&config, 1_790_000_060, 0);
        }
        rig.backup(&["web"]).exits(0);
        names.push(date_back(&rig, "web", day));
    }
    let ran = rig.backup(&["find", "WEB", "named.*", "--json"]).exits(0);
    let found = json(&ran);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["path"], "/etc/bind/named.conf");
    let versions = found[0]["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 2, "{versions:#?}");
    let time = |name: &str| {
        let (day, clock) = name.strip_prefix("backup-").unwrap().split_once('T').unwrap();
        format!("{day}T{}:{}:{}", &clock[..2], &clock[2..4], &clock[4..])
    };
    for (version, first, last, size, mtime) in
        [(&versions[0], 2, 3, 5, "2026-09-21T14:14:20Z"), (&versions[1], 0, 1, 3, "2026-09-21T14:13:20Z")]
    {
        assert_eq!(version["first_snapshot"], names[first]);
        assert_eq!(version["last_snapshot"], names[last]);
        assert_eq!(
            (version["first"].as_str(), version["last"].as_str()),
            (Some(&*time(&names[first])), Some(&*time(&names[last])))
        );
        assert_eq!((&version["size"], &version["mtime"]), (&size.into(), &mtime.into()));
        assert_eq!((&version["kind"], &version["snapshots"]), (&"file".into(), &2.into()));
        assert_eq!(version.get("hash"), None, "nothing was read");
        let browse = PathBuf::from(version["browse"].as_str().unwrap());
        assert_eq!(fs::read(browse).unwrap().len(), if size == 5 { 5 } else { 3 });
    }

    // In a pipe a version is a line; times are those of the configured zone.
    rig.top = "timezone = \"Europe/London\"".to_owned();
    let ran = rig.backup(&["find", "web", "/etc/**/named.conf"]).exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ran.stdout);
    assert!(lines[0].trim_start().starts_with("SIZE  MODIFIED"), "{}", lines[0]);
    assert!(lines[1].trim_start().starts_with("5  2026-09-21 15:14:20  "), "{}", lines[1]);
    assert!(lines[1].ends_with(&format!("  {}  /etc/bind/named.conf", names[3])), "{}", lines[1]);
    let hint = format!("backup restore Web /etc/bind/named.conf --snapshot {} --to DIR", names[3]);
    ran.says("2 versions in 4 snapshots").says(&hint.replace("Web", "web"));

    let by_time = rig.backup(&["find", "web", "named.conf", "--snapshot", "3 days ago", "--json"]).exits(0);
    let one = rig.backup(&["find", "web", "named.conf", "--snapshot", &names[1], "--json"]).exits(0);
    assert_eq!(by_time.stdout, one.stdout);
    assert_eq!(json(&one)[0]["versions"].as_array().unwrap().len(), 1);
}

fn contents_decide_where_they_are_read(mut rig: Rig) {
    let source = rig.near_host("Web", "");
    let (touched, sly) = (rig.write(source.join("touched"), "same"), rig.write(source.join("sly"), "one"));
    for (day, seconds) in [("3 days ago", 1_790_000_000), ("2 days ago", 1_790_000_060)] {
        set_times(&touched, seconds, 0);
        set_times(&sly, 1_790_000_000, 0);
        rig.backup(&["web"]).exits(0);
        date_back(&rig, "web", day);
        // Of one size and time: rsync does not see it, somebody's bad disk does.
        let copy = rig.newest("web").join("sly");
        if rig.dataset.is_none() && seconds == 1_790_000_060 {
            fs::remove_file(&copy).unwrap();
            fs::write(&copy, "two").unwrap();
            set_times(&copy, 1_790_000_000, 0);
        }
    }
    let versions = |arguments: &[&str]| {
        let found = json(&rig.backup(arguments).exits(0));
        assert_eq!(found.len(), 1);
        found[0]["versions"].as_array().unwrap().clone()
    };
    assert_eq!(versions(&["find", "web", "touched", "--json"]).len(), 2);
    let same = versions(&["find", "web", "touched", "--json", "--hash"]);
    assert_eq!(same.len(), 1);
    assert_eq!(same[0]["mtime"], "2026-09-21T14:14:20Z", "the newest");
    assert_eq!(same[0]["hash"], "0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5");
    if rig.dataset.is_none() {
        assert_eq!(versions(&["find", "web", "sly", "--json"]).len(), 1);
        assert_eq!(versions(&["find", "web", "sly", "--json", "--hash"]).len(), 2);
    }
}

#[test]
fn snapshots_of_every_kind_are_searched() {
    let file: &[(&str, &str)] = &[("x", "1")];
    let rig = made(&[
        ("backup-2026-11-17T020000Z", "partial", file),
        ("backup-2026-11-18T020000Z", "good", &[]),
        ("backup-2026-11-19T020000Z", "suspect", file),
        ("before upgrade", "", &[("x", "22"), ("y", "")]),
    ]);
    let ran = rig.backup(&["find", "web", "x", "--json"]).exits(0);
    let found = json(&ran);
    let spans: Vec<(&str, &str, u64)> = found[0]["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| {
            let text = |key: &str| version[key].as_str().unwrap();
            (text("first_snapshot"), text("last_snapshot"), version["snapshots"].as_u64().unwrap())
        })
        .collect();
    assert!(spans.contains(&("backup-2026-11-17T020000Z", "backup-2026-11-19T020000Z", 2)), "{spans:?}");
    assert!(spans.contains(&("before upgrade", "before upgrade", 1)), "{spans:?}");
}

#[test]
fn patterns_name_files_as_people_expect() {
    let files: &[(&str, &str)] =
        &[("etc/ssh/sshd_config", ""), ("etc/Ssh", ""), ("home/a/.ssh/id", ""), ("srv/ssh/x", "")];
    let rig = made(&[("backup-2026-11-17T020000Z", "good", files)]);
    for (arguments, expected) in [
        (&["ssh"][..], &["/etc/ssh", "/srv/ssh"][..]),
        (&["-i", "SSH"], &["/etc/Ssh", "/etc/ssh", "/srv/ssh"]),
        (&["/etc/*"], &["/etc/Ssh", "/etc/ssh"]),
        (&["/etc/*/"], &["/etc/ssh"]),
        (&["/etc/**"], &["/etc/Ssh", "/etc/ssh", "/etc/ssh/sshd_config"]),
        (&["ssh/*"], &["/etc/ssh/sshd_config", "/srv/ssh/x"]),
        (&[".ssh"], &["/home/a/.ssh"]),
        (&["/"], &["/"]),
    ] {
        let ran = rig.backup(&[&["find", "web", "--json"], arguments].concat()).exits(0);
        assert_eq!(paths(&ran), expected, "{arguments:?}");
    }
}

#[test]
fn on_a_terminal_a_path_stands_above_its_versions() {
    let long = "l".repeat(120);
    let rig = made(&[
        ("backup-2026-11-17T020000Z", "good", &[("etc/x", "1"), (&long, "")]),
        ("backup-monthly-2026-11-01", "good", &[("etc/x", "22")]),
    ]);
    let mut terminal = program("script");
    let find = format!("stty cols 100; exec {} find web x --hash", env!("CARGO_BIN_EXE_backup"));
    terminal.args(["-qec", &find, "/dev/null"]).env("BACKUP_CONFIG", rig.configure());
    let output = terminal.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().take_while(|line| !line.contains("to restore one")).collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert_eq!(lines[1], "/etc/x");
    assert!(lines[2].starts_with("             ") && lines[3].trim().starts_with("sha256 "), "{text}");
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn what_is_not_there_is_told_with_what_was_searched() {
    let rig = made(&[
        ("backup-2026-11-17T020000Z", "good", &[("usr/bin/ls", ""), ("etc/fstab", "")]),
        ("backup-2026-11-18T020000Z", "good", &[("usr/bin/ls", ""), ("etc/fstab", "")]),
    ]);
    symlink("usr/bin", rig.newest("web").join("bin")).unwrap();
    let ran = rig.backup(&["find", "web", "nothing"]).exits(1);
    assert_eq!(ran.stdout, "");
    ran.says("no file of `web` matches `nothing`: searched 11 files in 2 snapshots");
    let ran = rig.backup(&["find", "web", "nothing", "--json", "--quiet"]).exits(1);
    assert_eq!(ran.stdout, "[]\n");
    rig.backup(&["find", "web", "/bin/l*"])
        .exits(1)
        .says("of `/bin` the newest has `/bin`, a symlink to `usr/bin`");
    rig.backup(&["find", "web", "/etc/fstap"])
        .exits(1)
        .says("of `/etc/fstap` the newest has `/etc`, which has `/etc/fstab`");
    rig.backup(&["find", "web", "/etc/ssh/*"]).exits(1).says("of `/etc/ssh` the newest has `/etc`");
}

#[test]
fn what_cannot_be_meant_starts_nothing() {
    let rig = made(&[("backup-2026-11-17T020000Z", "good", &[("x", "")])]);
    fs::create_dir_all(rig.join("store/empty/snapshots")).unwrap();
    for (arguments, said) in [
        (&["find", "wbe", "x"][..], "the store has no copies of `wbe`; did you mean `web`?"),
        (&["find", "web", "[x"], "`[x` is no pattern"),
        (&["find", "web", ""], "`` is no pattern: it is empty"),
        (&["find", "web", "/etc/../x"], "`..` leads nowhere in a snapshot"),
        (
            &["find", "web", "x", "--snapshot", "backup-2026-11-17T020001Z"],
            "did you mean `backup-2026-11-17T020000Z`?",
        ),
        (&["find", "empty", "x"], "`empty` has no snapshots yet"),
        (&["find", "web"], "<PATTERN>"),
    ] {
        let ran = rig.backup(arguments).exits(2).says(said);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[test]
fn names_of_any_bytes_are_found_and_cannot_steer_a_terminal() {
    let mut rig = Rig::without_sshd();
    let source = rig.host("Web");
    names(&source);
    rig.backup(&["web"]).exits(0);
    let count = listing(&rig.newest("web")).len();
    let ran = rig.backup(&["find", "web", "*", "--json"]).exits(0);
    let told = json(&ran).len();
    assert!(told == count || told + 1 == count, "{told} of {count}: the root has no name");
    let ran = rig.backup(&["find", "web", "*"]).exits(0);
    assert_eq!(ran.stdout.lines().count(), told + 1, "a name has broken a line");
    assert!(!ran.stdout.contains('\u{1b}'));
    assert!(ran.stdout.contains("/\\u{1b}[2Jcleared"), "{}", ran.stdout);
    let ran = rig.backup(&["find", "web", "--json", "--", "-e sh"]).exits(0);
    assert_eq!(paths(&ran), ["/-e sh"]);
}

#[test]
fn symlinks_lead_nowhere() {
    let rig = made(&[("backup-2026-11-17T020000Z", "good", &[("real/secret", "")])]);
    let tree = rig.newest("web");
    rig.write("outside/secret", "");
    for (target, name) in [("..", "up"), (".", "self"), ("real", "real/loop"), ("/", "root")] {
        symlink(target, tree.join(name)).unwrap();
    }
    symlink(rig.join("outside"), tree.join("out")).unwrap();
    let ran = rig.backup(&["find", "web", "secret", "--json"]).exits(0);
    assert_eq!(paths(&ran), ["/real/secret"]);
    for pattern in ["/out/secret", "/out/*", "/self/real/secret"] {
        rig.backup(&["find", "web", pattern]).exits(1);
    }
    let ran = rig.backup(&["find", "web", "up", "--json"]).exits(0);
    assert_eq!(json(&ran)[0]["versions"][0]["target"], "..");
    let ran = rig.backup(&["find", "web", "up"]).exits(0);
    assert!(ran.stdout.ends_with("  /up -> ..\n"), "{}", ran.stdout);
}

#[test]
fn deep_trees_take_few_descriptors() {
    let rig = made(&[("backup-2026-11-17T020000Z", "good", &[]), ("backup-2026-11-18T020000Z", "good", &[])]);
    for name in rig.snapshots("web") {
        chain(&rig.snapshot("web", &name), 3000);
    }
    let command = rig.command(&["find", "web", "end", "--json"]);
    let limited = through(&["prlimit", "--nofile=32", "--stack=1000000"], &command).spawn().unwrap();
    let ran = Ran::from(finish(limited)).exits(0);
    assert_eq!(paths(&ran), [format!("/{}end", "d/".repeat(3000))]);
}

/// A chain of directories `d`, with a file `end` in the last.
fn chain(root: &Path, depth: usize) {
    let script = "import os,sys\nos.chdir(sys.argv[1])\nfor _ in range(int(sys.argv[2])): os.mkdir('d'); os.chdir('d')\nopen('end','w')";
    must("python3", &["-c", script, root.to_str().unwrap(), &depth.to_string()]);
}

#[test]
fn what_cannot_be_read_is_said_once_and_counted() {
    let files: &[(&str, &str)] = &[("closed/x", ""), ("open/x", ""), ("open/y", "")];
    let rig =
        made(&[("backup-2026-11-17T020000Z", "good", files), ("backup-2026-11-18T020000Z", "good", files)]);
    for name in rig.snapshots("web") {
        set_mode(&rig.snapshot("web", &name).join("closed"), 0);
        set_mode(&rig.snapshot("web", &name).join("open/y"), 0);
    }
    let unprivileged = |arguments: &[&str]| {
        let weak = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
        Ran::from(finish(through(&weak, &rig.command(arguments)).spawn().unwrap()))
    };
    let ran = unprivileged(&["find", "web", "x", "--json"]).exits(1);
    assert_eq!(paths(&ran), ["/open/x"]);
    assert_eq!(ran.stderr.matches("cannot read").count(), 1, "{}", ran.stderr);
    ran.says("snapshots/backup-2026-11-17T020000Z/closed`; nor 1 more like it: Permission denied")
        .says("(run `backup` as root)");
    unprivileged(&["find", "web", "y"]).exits(1);
    unprivileged(&["find", "web", "/open/y"]).exits(0).does_not_say("cannot read");
    let ran =
        unprivileged(&["find", "web", "/open/y", "--hash", "--json"]).exits(1).says("open/y`; nor 1 more");
    assert_eq!(json(&ran)[0]["versions"][0].get("hash"), None);
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let rig = made(&[("backup-2026-11-17T020000Z", "good", &[])]);
    let tree = rig.newest("web");
    for number in 0..5000 {
        fs::write(tree.join(format!("{number:0100}")), "").unwrap();
    }
    let mut child = rig.command(&["find", "web", "*"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ran = Ran::from(finish(child)).exits(0);
    assert_eq!(ran.stderr, "");
}

#[test]
fn memory_does_not_grow_with_the_number_of_files() {
    let rig = made(&[("backup-2026-11-17T020000Z", "good", &[])]);
    let tree = rig.newest("web");
    for directory in 0..100 {
        let directory = tree.join(directory.to_string());
        fs::create_dir(&directory).unwrap();
        for file in 0..1000 {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                directory.join(format!("file-{file}")),
                rustix::fs::FileType::RegularFile,
                0o644.into(),
                0,
            )
            .unwrap();
        }
    }
    let copy = rig.snapshot("web", "backup-2026-11-18T020000Z");
    must("cp", &["-al", tree.to_str().unwrap(), copy.to_str().unwrap()]);
    let command = rig.command(&["find", "web", "file-*", "--json"]);
    let limited = through(&["prlimit", "--data=40000000"], &command).spawn().unwrap();
    let ran = Ran::from(finish(limited)).exits(0);
    let found = ran.stdout.lines().filter(|line| line.contains("\"snapshots\":2")).count();
    assert_eq!(found, 100_000);
    let distinct: BTreeSet<String> = paths(&ran).into_iter().collect();
    assert_eq!(distinct.len(), 100_000);
}

#[test]
fn names_in_json_cannot_steer_a_terminal() {
    let name = "x\u{1b}]0;y\u{7}\u{9b}31m\u{202e}gpj.exe\u{2066}\u{feff}";
    let path = format!("/etc/{name}");
    let rig = made(&[
        ("backup-2026-11-01T000000Z", "good", &[(&path[1..], "a")]),
        ("backup-2026-11-02T000000Z", "good", &[]),
    ]);
    let found = rig.backup(&["find", "web", "x*", "--json"]).exits(0);
    assert_eq!(json(&found)[0]["path"], path.as_str());
    let days = ["backup-2026-11-01T000000Z", "backup-2026-11-02T000000Z"];
    let differs = rig.backup(&["diff", "web", days[0], days[1], "--json"]).exits(1);
    let answer: Value = serde_json::from_str(&differs.stdout).unwrap();
    assert!(
        answer["changes"].as_array().unwrap().iter().any(|change| change["path"] == path.as_str()),
        "{answer}"
    );
    for stdout in [found.stdout, differs.stdout] {
        let steers = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2066}\u{feff}".contains(c));
        assert!(!stdout.contains(steers), "{stdout:?}");
        assert!(stdout.contains("\\u202e"), "{stdout:?}");
    }
}
