//! `backup diff`, through the real binary.

use crate::support::on_every_store;
use crate::support::rig::*;
use crate::support::trees::*;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

on_every_store! {
    what_came_went_and_changed_is_told,
    copies_of_the_same_are_the_same,
}

/// The names of two made-up snapshots.
const OLD: &str = "backup-2026-11-18T020000Z";
const NEW: &str = "backup-2026-11-19T020000Z";

/// A rig whose store holds two made-up snapshots of `web`.
fn made(old: &[(&str, &str)], new: &[(&str, &str)]) -> Rig {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    for (name, files) in [(OLD, old), (NEW, new)] {
        made_up(&rig, "web", name, "good");
        let tree = rig.snapshot("web", name);
        fs::remove_file(tree.join("file")).unwrap();
        for (path, content) in files {
            rig.write(tree.join(path), content);
            set_times(&tree.join(path), 1_790_000_000, 0);
        }
    }
    rig
}

fn lines(ran: &Ran) -> Vec<&str> {
    ran.stdout.lines().collect()
}

/// A tree of every kind of thing.
fn before(source: &Path) {
    one_of_each(source);
    for name in ["gone", "changed", "touched", "moded", "owned", "acled", "attributed", "becomes-link"] {
        let path = source.join(name);
        fs::write(&path, name).unwrap();
        set_times(&path, 1_790_000_000, 0);
    }
    chown(source.join("owned"), Some(0), Some(0)).unwrap();
    fs::create_dir_all(source.join("gone-too/sub")).unwrap();
    fs::create_dir(source.join("becomes-file")).unwrap();
    fs::write(source.join("becomes-file/below"), "").unwrap();
    symlink("one", source.join("link")).unwrap();
}

fn after(source: &Path) {
    fs::remove_file(source.join("gone")).unwrap();
    fs::remove_dir_all(source.join("gone-too")).unwrap();
    fs::write(source.join("changed"), "changed much").unwrap();
    set_times(&source.join("touched"), 1_790_000_060, 0);
    set_mode(&source.join("moded"), 0o600);
    chown(source.join("owned"), Some(4242), None).unwrap();
    xattr(&source.join("acled"), "system.posix_acl_access", &some_acl());
    xattr(&source.join("attributed"), "user.colour", b"red");
    fs::remove_file(source.join("becomes-link")).unwrap();
    symlink("changed", source.join("becomes-link")).unwrap();
    fs::remove_dir_all(source.join("becomes-file")).unwrap();
    fs::write(source.join("becomes-file"), "").unwrap();
    fs::remove_file(source.join("link")).unwrap();
    symlink("other", source.join("link")).unwrap();
    fs::create_dir(source.join("came")).unwrap();
    fs::write(source.join("came/file"), "12345").unwrap();
    symlink("../changed", source.join("came/link")).unwrap();
}

fn what_came_went_and_changed_is_told(mut rig: Rig) {
    let source = rig.near_host("Web", "");
    before(&source);
    if in_place(&rig) {
        fs::remove_dir_all(source.join("names")).unwrap();
    }
    rig.backup(&["web"]).exits(0);
    let old = date_back(&rig, "web", "yesterday");
    after(&source);
    rig.backup(&["web"]).exits(0);
    let ran = rig.backup(&["diff", "web", &old]).exits(1);
    let expected = [
        "m  /acled  (ACL)",
        "m  /attributed  (attributes)",
        "T  /becomes-file  (directory → file)",
        "T  /becomes-link  (file → symlink)",
        "+  /came/",
        "M  /changed  (7 → 12 bytes)",
        "-  /gone  (4 bytes)",
        "-  /gone-too/",
        "M  /link  (-> one → -> other)",
        "m  /moded  (mode 0644 → 0600)",
        "m  /owned  (owner 0:0 → 4242:0)",
        "M  /touched  (modified 2026-09-21 14:13:20 → 2026-09-21 14:14:20)",
        "-  /becomes-file/below  (0 bytes)",
        "+  /came/file  (5 bytes)",
        "+  /came/link -> ../changed",
        "-  /gone-too/sub/",
    ];
    // An ACL may show in the mode as well.
    let told: Vec<String> = ran
        .stdout
        .lines()
        .map(
            |line| {
                if line.starts_with("m  /acled  (mode") { expected[0].to_owned() } else { line.to_owned() }
            },
        )
        .collect();
    assert_eq!(told, expected);
    ran.says("added 2 files and 1 directory of 5 B; removed 2 files and 2 directories of 4 B; changed 5 files of 19 B; mode, owner or attributes of 4 files");

    let ran = rig.backup(&["diff", "web", &old, "latest", "/came", "--json"]).exits(1);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&answer["host"], &answer["old"], &answer["path"]),
        (&"web".into(), &old.into(), &"/came".into())
    );
    let changes = answer["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 3);
    assert_eq!((&changes[1]["change"], &changes[1]["path"]), (&"added".into(), &"/came/file".into()));
    assert_eq!(changes[1]["old"], Value::Null);
    let new = &changes[1]["new"];
    assert_eq!((&new["kind"], &new["size"], &new["mode"]), (&"file".into(), &5.into(), &"0644".into()));
    assert_eq!(changes[2]["new"]["target"], "../changed");
    assert_eq!(answer["totals"]["added"], serde_json::json!({"files": 2, "directories": 1, "bytes": 5}));
    assert_eq!(answer["totals"]["removed"], serde_json::json!({"files": 0, "directories": 0, "bytes": 0}));

    let ran = rig.backup(&["diff", "web", "yesterday", "/moded", "--json"]).exits(1);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    let change = &answer["changes"][0];
    assert_eq!((&change["change"], &change["what"]), (&"metadata".into(), &serde_json::json!(["mode"])));
    assert_eq!((&change["old"]["mode"], &change["new"]["mode"]), (&"0644".into(), &"0600".into()));
}

fn copies_of_the_same_are_the_same(mut rig: Rig) {
    let source = rig.near_host("Web", "");
    one_of_each(&source);
    if in_place(&rig) {
        fs::remove_dir_all(source.join("names")).unwrap();
    }
    rig.backup(&["web"]).exits(0);
    let old = date_back(&rig, "web", "yesterday");
    rig.backup(&["web"]).exits(0);
    for arguments in [&["diff", "web", &old][..], &["diff", "web", "latest", &old, "--content"]] {
        let ran = rig.backup(arguments).exits(0).says("there are no differences");
        assert_eq!(ran.stdout, "");
    }
    let ran = rig.backup(&["diff", "web", &old, "--json"]).exits(0);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["changes"], serde_json::json!([]));
}

#[test]
fn snapshots_are_meant_by_name_and_by_time() {
    let rig = made(&[("a", ""), ("d/x", "")], &[("b", ""), ("d/x", "")]);
    made_up(&rig, "web", "backup-2026-11-20T020000Z", "partial");
    for (words, first, reason) in [
        (&[OLD, NEW][..], "-  /a  (0 bytes)", "by name"),
        (&[NEW, OLD], "+  /a  (0 bytes)", "the other way round"),
        (&["2026-11-18", "2026-11-19"], "-  /a  (0 bytes)", "the last of a day"),
        (&["2026-11-18 02:00", "latest"], "-  /a  (0 bytes)", "the newest good one"),
        (&[OLD], "-  /a  (0 bytes)", "the newest there is, whatever it is worth"),
        (&[OLD, "/b"], "", "a path, not a snapshot"),
        (&[OLD, "latest", "/a"], "-  /a  (0 bytes)", "and a path behind one"),
    ] {
        let words: Vec<&str> = ["diff", "web"].iter().chain(words).copied().collect();
        if first.is_empty() {
            rig.backup(&words)
                .exits(2)
                .says("neither `backup-2026-11-18T020000Z` nor `backup-2026-11-20T020000Z`");
            continue;
        }
        let ran = rig.backup(&words).exits(1);
        assert_eq!(lines(&ran)[0], first, "{reason}");
    }
}

#[test]
fn what_cannot_be_meant_starts_nothing() {
    let rig = made(&[("etc/ssh/config", "")], &[("etc/ssh/config", "")]);
    symlink("etc", rig.newest("web").join("link")).unwrap();
    for (words, said) in [
        (&["wbe", OLD][..], "the store has no copies of `wbe`; did you mean `web`?"),
        (&["web", "backup-2026-11-18T020001Z"], "did you mean `backup-2026-11-18T020000Z`?"),
        (&["web", OLD, "lates"], "no snapshot `lates`"),
        (&["web", "2020-01-01"], "no snapshot of 2020-01-01"),
        (&["web", "2026-02-31"], "there is no such day"),
        (&["web", "/etc"], "`/etc` is a path: first give the snapshots to compare"),
        (&["web", OLD, "/etc", "/srv"], "`/etc` is a path and must come last"),
        (&["web", OLD, NEW, "etc"], "`etc` is not absolute"),
        (&["web", OLD, "/etc/../srv"], "`..` in the path `/etc/../srv` leads nowhere"),
        (
            &["web", OLD, "/etc/ssh/keys/x"],
            "nor `backup-2026-11-19T020000Z` has `/etc/ssh/keys/x`; what exists of it is `/etc/ssh`",
        ),
        (&["web", OLD, "/link/ssh"], "what exists of it is `/link`, a symlink"),
        (&["web", OLD, "/etc/shs/keys"], "what exists of it is `/etc`, which has `/etc/ssh`"),
        (&["web", OLD, "/etx"], "what exists of it is `/`, which has `/etc`"),
        (&["web", OLD, "/x"], "has `/x`"),
        (&["web"], "<OLD>"),
    ] {
        let ran = rig.backup(&[&["diff"], words].concat()).exits(2).says(said);
        assert_eq!(ran.stdout, "", "{words:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_not_told_that_nothing_changed() {
    let rig = made(&[("a", "x")], &[("b", "x")]);
    for format in [&[][..], &["--json"]] {
        let arguments = [&["diff", "web", OLD], format].concat();
        let child = rig.command(&arguments).stdout(nobody_reads()).spawn().unwrap();
        Ran::from(finish(child)).exits(1).does_not_say("error");
    }
}

#[test]
fn contents_are_compared_only_where_asked() {
    let rig = made(&[("sly", "one"), ("touched", "x")], &[("sly", "two"), ("touched", "x")]);
    set_times(&rig.newest("web").join("touched"), 1_790_000_060, 0);
    let ran = rig.backup(&["diff", "web", OLD]).exits(1);
    assert_eq!(lines(&ran), ["M  /touched  (modified 2026-09-21 14:13:20 → 2026-09-21 14:14:20)"]);
    let ran = rig.backup(&["diff", "web", OLD, "--content"]).exits(1);
    assert_eq!(
        lines(&ran),
        ["M  /sly  (other bytes)", "m  /touched  (modified 2026-09-21 14:13:20 → 2026-09-21 14:14:20)"]
    );
}

#[test]
fn names_of_any_bytes_break_no_line() {
    let rig = made(&[], &[]);
    names(&rig.newest("web"));
    let ran = rig.backup(&["diff", "web", OLD]).exits(1);
    let told = ran.stdout.lines().count();
    assert_eq!(
        told,
        listing(&rig.newest("web")).len()
            - usize::from(listing(&rig.newest("web")).contains_key(Path::new("")))
    );
    assert!(ran.stdout.lines().all(|line| line.starts_with("+  /")) && !ran.stdout.contains('\u{1b}'));
    let ran = rig.backup(&["diff", "web", OLD, "--json"]).exits(1);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["changes"].as_array().unwrap().len(), told);
}

#[test]
fn symlinks_lead_nowhere() {
    let rig = made(&[("real/x", "")], &[("real/x", ""), ("real/y", "")]);
    for name in [OLD, NEW] {
        let tree = rig.snapshot("web", name);
        for (target, link) in [(".", "self"), ("..", "real/up"), ("real", "link"), ("/", "root")] {
            symlink(target, tree.join(link)).unwrap();
        }
    }
    let ran = rig.backup(&["diff", "web", OLD]).exits(1);
    assert_eq!(lines(&ran), ["+  /real/y  (0 bytes)"]);
}

#[test]
fn deep_trees_take_few_descriptors() {
    let rig = made(&[], &[]);
    let script = "import os,sys\nos.chdir(sys.argv[1])\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')\nopen(sys.argv[2],'w')";
    for (name, end) in [(OLD, "old"), (NEW, "new")] {
        must("python3", &["-c", script, rig.snapshot("web", name).to_str().unwrap(), end]);
    }
    let command = rig.command(&["diff", "web", OLD]);
    let limited = through(&["prlimit", "--nofile=32", "--stack=1000000"], &command).spawn().unwrap();
    let ran = Ran::from(finish(limited)).exits(1);
    let deep = "d/".repeat(3000);
    assert_eq!(lines(&ran), [format!("+  /{deep}new  (0 bytes)"), format!("-  /{deep}old  (0 bytes)")]);
}

#[test]
fn what_cannot_be_read_is_not_taken_for_gone() {
    let files: &[(&str, &str)] = &[("closed/x", ""), ("closed/y", ""), ("open/x", "")];
    let rig = made(files, files);
    set_mode(&rig.newest("web").join("closed"), 0);
    let weak = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let command = through(&weak, &rig.command(&["diff", "web", OLD])).spawn().unwrap();
    let ran = Ran::from(finish(command)).exits(1);
    assert_eq!(lines(&ran), ["m  /closed/  (mode 0755 → 0000)"]);
    assert_eq!(ran.stderr.matches("cannot read").count(), 1, "{}", ran.stderr);
    ran.says("closed`: Permission denied").says("1 could not be read: differences there are not shown");
    let command = through(&weak, &rig.command(&["diff", "web", OLD, "--json"])).spawn().unwrap();
    let answer: Value = serde_json::from_str(&Ran::from(finish(command)).exits(1).stdout).unwrap();
    assert_eq!((&answer["unread"], &answer["totals"]["removed"]["files"]), (&1.into(), &0.into()));
}
