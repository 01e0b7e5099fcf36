//! `backup restore`: files come back as they were, to where they are wanted and
//! nowhere else.

use crate::support::on_every_store;
use crate::support::rig::*;
use crate::support::snare::{Snare, When};
use crate::support::trees::{
    Mount, assert_nothing_left, assert_same, date_back, listing, made_up, name_at, one_of_each, set_mode,
    set_times, xattr,
};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

on_every_store! {
    a_whole_tree_comes_back_with_everything_that_it_has,
    one_file_comes_back_in_its_place_and_the_directories_above_it_with_it,
    what_is_there_already_is_left_alone_replaced_or_kept,
    directories_that_are_there_stay_as_they_are,
    no_symlink_is_followed_out_of_the_target,
    a_path_that_is_not_there_is_told_what_is,
    the_snapshot_of_a_time_is_found,
    what_cannot_be_begun_writes_nothing,
    files_go_back_to_the_host_they_came_from,
}

/// A rig with one host, backed up once, and a directory to restore to.
fn with_a_copy(mut rig: Rig, prepare: impl FnOnce(&Path)) -> Rig {
    let source = rig.near_host("vpn", "hooks = false\n");
    prepare(&source);
    rig.backup(&["vpn"]).exits(0);
    fs::create_dir(rig.join("to")).unwrap();
    rig
}

fn restore(rig: &Rig, words: &[&str]) -> Ran {
    let to = rig.join("to");
    rig.backup(&[&["restore", "vpn", "--yes", "--to", to.to_str().unwrap()], words].concat())
}

#[track_caller]
fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// Everything below a directory, by name.
fn names(root: &Path) -> Vec<String> {
    listing(root)
        .keys()
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

fn a_whole_tree_comes_back_with_everything_that_it_has(rig: Rig) {
    let rig = with_a_copy(rig, one_of_each);
    let ran = restore(&rig, &["/", "--json"]).exits(0).says("identical with the snapshot");
    assert_same(&listing(&rig.newest("vpn")), &listing(&rig.join("to")));
    let answer = json_of(&ran);
    assert_eq!(
        (&answer["identical"], &answer["existing"], &answer["paths"], &answer["verdict"]),
        (&json!(true), &json!(0), &json!(["/"]), &json!("good"))
    );
    assert!(answer["files"].as_u64().unwrap() > 50, "{answer}");

    // Once more: all of it is there, and nothing is amiss.
    // The directory has the root's owner now, who is another.
    let again = restore(&rig, &["/", "--json", "--into-shared"]).exits(0).says("left alone");
    assert_eq!(json_of(&again)["existing"], answer["files"]);
    assert_nothing_left(&rig);
}

fn one_file_comes_back_in_its_place_and_the_directories_above_it_with_it(rig: Rig) {
    let rig = with_a_copy(rig, |source| {
        let odd = source.join(OsStr::from_bytes(b"home/bob/od\xffd * [x]"));
        fs::create_dir_all(&odd).unwrap();
        fs::write(odd.join("-file\nof 2 lines"), "kept").unwrap();
        fs::write(odd.join("other"), "").unwrap();
        set_mode(&source.join("home/bob"), 0o700);
        xattr(&source.join("home/bob"), "user.a", b"b");
        set_times(&source.join("home/bob"), 1_000_000_000, 5);
    });
    // What is there already is not touched for being on the way.
    fs::create_dir(rig.join("to/home")).unwrap();
    set_mode(&rig.join("to/home"), 0o711);
    let before = fs::metadata(rig.join("to/home")).unwrap();

    let path = OsStr::from_bytes(b"/home/bob/od\xffd * [x]/-file\nof 2 lines");
    let mut command = rig.command(&["restore", "vpn", "--yes", "--to", rig.join("to").to_str().unwrap()]);
    command.arg(path).arg("etc/fstab");
    let ran: Ran = finish(command.spawn().unwrap()).into();
    ran.exits(0).says("2 files, ").says("identical");
    let snapshot = listing(&rig.newest("vpn"));
    let restored = listing(&rig.join("to"));
    assert_eq!(restored.len(), 7, "{restored:#?}");
    for (name, line) in &restored {
        if !matches!(name.to_str(), Some("" | "home")) {
            let links = |line: &str| line.split(", link").next().unwrap().to_owned();
            assert_eq!(links(line), links(&snapshot[name]), "{}", name.display());
        }
    }
    assert_eq!(fs::metadata(rig.join("to/home")).unwrap().mode(), before.mode());
    assert_eq!(names(&rig.join("to/etc")), ["fstab"]);
}

fn what_is_there_already_is_left_alone_replaced_or_kept(rig: Rig) {
    let rig = with_a_copy(rig, |_| {});
    fs::create_dir_all(rig.join("to/etc")).unwrap();
    rig.write("to/etc/fstab", "mine\n");
    rig.write("to/etc/mine", "mine\n");

    let looked = restore(&rig, &["/etc", "/srv", "--dry-run"]).exits(0);
    assert!(looked.stdout.contains("1 file is already there: left alone"), "{}", looked.stdout);
    assert_eq!(names(&rig.join("to")), ["etc", "etc/fstab", "etc/mine"]);

    let left = restore(&rig, &["/etc", "/srv", "--json"])
        .exits(1)
        .says("/etc/fstab was there already and was left alone (differs: ")
        .says("1 left alone");
    let answer = json_of(&left);
    assert_eq!((&answer["left"], &answer["different"]), (&json!(1), &json!(0)), "{answer}");
    assert_eq!(answer["differences"][0]["path"], "/etc/fstab");
    assert_eq!(answer["differences"][0]["state"], "left");
    assert_eq!(read(rig.join("to/etc/fstab")), "mine\n");
    assert_eq!(read(rig.join("to/srv/data")), "some data\n");

    restore(&rig, &["/etc", "--overwrite", "--keep-replaced"])
        .exits(0)
        .says("kept below `.before-restore-")
        .says("identical");
    let kept: Vec<String> = names(&rig.join("to"))
        .into_iter()
        .filter(|name| name.starts_with(".before-restore-") && name.ends_with("/etc/fstab"))
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(read(rig.join("to").join(&kept[0])), "mine\n");
    let snapshot = rig.newest("vpn");
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(time(&rig.join("to/etc")), time(&snapshot.join("etc")), "the directory has its time");
    // A symlink is kept as one, and the top has its time as well.
    fs::remove_dir_all(rig.join("to/srv")).unwrap();
    symlink("/nowhere", rig.join("to/srv")).unwrap();
    restore(&rig, &["/", "--overwrite", "--keep-replaced"]).exits(0).says("identical");
    let is_kept = |name: &String| name.starts_with(".before-restore-") && name.ends_with("/srv");
    let kept = names(&rig.join("to")).into_iter().find(is_kept).unwrap();
    assert_eq!(fs::read_link(rig.join("to").join(kept)).unwrap(), Path::new("/nowhere"));
    assert_eq!(read(rig.join("to/etc/fstab")), "# nothing\n");

    rig.write("to/etc/fstab", "mine again\n");
    restore(&rig, &["/etc", "--overwrite"]).exits(0).says("identical");
    assert_eq!(read(rig.join("to/etc/fstab")), "# nothing\n");
    assert_eq!(read(rig.join("to/etc/mine")), "mine\n", "nothing is ever deleted");

    // Of the same size and time, and not the same.
    let meta = fs::metadata(rig.join("to/etc/fstab")).unwrap();
    rig.write("to/etc/fstab", "# NOTHING\n");
    set_times(&rig.join("to/etc/fstab"), meta.mtime(), meta.mtime_nsec());
    restore(&rig, &["/etc/fstab"]).exits(1).says("left alone (differs: content)");
    restore(&rig, &["/etc", "--overwrite"]).exits(0).says("identical");
    assert_eq!(read(rig.join("to/etc/fstab")), "# nothing\n");
}

fn directories_that_are_there_stay_as_they_are(rig: Rig) {
    let rig = with_a_copy(rig, |source| {
        for name in ["etc/kept/full", "etc/kept/in/new/deep", "etc/same"] {
            fs::create_dir_all(source.join(name)).unwrap();
            fs::write(source.join(name).join("#file"), name).unwrap();
        }
        fs::write(source.join("etc/same/;more"), "").unwrap();
        set_times(&source.join("etc/same"), 1_000_000_000, 5);
        set_times(&source.join("etc/kept/in/new"), 1_000_000_000, 6);
    });
    let to = rig.join("to");
    fs::create_dir_all(to.join("etc/kept/full")).unwrap();
    fs::create_dir_all(to.join("etc/kept/in")).unwrap();
    fs::create_dir_all(to.join("etc/same")).unwrap();
    rig.write("to/etc/kept/full/#file", "mine");
    rig.write("to/etc/same/#file", "mine");
    for name in ["etc/kept", "etc/kept/full", "etc/kept/in"] {
        set_mode(&to.join(name), 0o2711);
        rustix::fs::chown(to.join(name), Some(rustix::fs::Uid::from_raw(4242)), None).unwrap();
        xattr(&to.join(name), "user.mine", b"yes");
        set_times(&to.join(name), 1_111_111_111, 1);
    }
    set_mode(&to, 0o751);
    let before = listing(&to);
    let of_root = fs::metadata(&to).unwrap();
    restore(&rig, &["/", "--json"]).exits(1).says("left alone").does_not_say("is missing");
    let after = listing(&to);
    for name in ["etc/kept", "etc/kept/full", "etc/kept/full/#file", "etc/same/#file"] {
        assert_eq!(before[Path::new(name)], after[Path::new(name)], "{name}");
    }
    let now = fs::metadata(&to).unwrap();
    assert_eq!((now.mode(), now.uid()), (of_root.mode(), of_root.uid()));
    // Something came into this one.
    let into = fs::metadata(to.join("etc/kept/in")).unwrap();
    assert_eq!((into.mode() & 0o7777, into.uid()), (0o2711, 4242));
    // New, and as if nothing had come into it.
    let snapshot = listing(&rig.newest("vpn"));
    for name in ["etc/kept/in/new", "etc/kept/in/new/deep/#file", "etc/same", "etc/same/;more", "srv/data"] {
        assert_eq!(snapshot[Path::new(name)], after[Path::new(name)], "{name}");
    }
    // With nothing missing, nothing is touched.
    restore(&rig, &["/etc"]).exits(1).says("left alone");
    assert_same(&after, &listing(&to));
}

fn no_symlink_is_followed_out_of_the_target(rig: Rig) {
    let rig = with_a_copy(rig, |source| {
        fs::create_dir_all(source.join("etc/ssh/deep")).unwrap();
        fs::write(source.join("etc/ssh/deep/key"), "secret").unwrap();
        symlink("/etc/fstab", source.join("etc/link")).unwrap();
    });
    let outside = rig.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("fstab"), "theirs").unwrap();
    let before = listing(&outside);
    let to = rig.join("to");
    let trap = |place: &str, target: &Path| {
        fs::remove_dir_all(&to).unwrap();
        fs::create_dir_all(to.join(place).parent().unwrap()).unwrap();
        symlink(target, to.join(place)).unwrap();
    };
    for (place, path, words, refusal, why) in [
        ("etc", "/etc/fstab", &[][..], Some("is a symlink, which is never followed"), "a parent"),
        (
            "etc",
            "/etc/fstab",
            &["--overwrite"],
            Some("is a symlink, which is never followed"),
            "whatever is said",
        ),
        ("etc", "/etc", &["--overwrite"], Some("is a symlink, which is never followed"), "the target itself"),
        ("etc/ssh", "/etc", &[], Some("is a symlink, which is never followed"), "deeper"),
        ("etc/ssh", "/", &[], Some("is a symlink, which is never followed"), "deeper than all"),
        ("etc/ssh", "/etc", &["--overwrite"], None, "replaced"),
        ("etc/ssh", "/etc", &["--overwrite", "--keep-replaced"], None, "kept, and replaced"),
        ("etc/fstab", "/etc/fstab", &["--overwrite"], None, "a file replaces it"),
    ] {
        trap(place, if place == "etc/fstab" { Path::new("/nowhere") } else { &outside });
        let ran = restore(&rig, &[&[path], words].concat());
        match refusal {
            Some(refusal) => {
                ran.exits(2).says(refusal).says(to.join(place).to_str().unwrap());
                assert!(to.join(place).is_symlink(), "{why}");
            }
            None => {
                ran.exits(0).says("identical");
                assert!(!to.join(place).is_symlink(), "{why}");
            }
        }
        assert_same(&before, &listing(&outside));
    }
    // One that the file is, leads where it likes.
    trap("etc/fstab", &outside.join("fstab"));
    restore(&rig, &["/etc/fstab"]).exits(1).says("was left alone (differs: kind)");
    restore(&rig, &["/etc/fstab", "--overwrite"]).exits(0);
    assert_same(&before, &listing(&outside));
    // A symlink is restored as one, and again.
    restore(&rig, &["/etc/link"]).exits(0);
    restore(&rig, &["/etc/link", "--overwrite"]).exits(0);
    assert_eq!(fs::read_link(to.join("etc/link")).unwrap(), Path::new("/etc/fstab"));
    // In the place of a directory there may be a file, too.
    fs::remove_dir_all(&to).unwrap();
    rig.write("to/etc/ssh", "a file");
    restore(&rig, &["/etc"]).exits(2).says("etc/ssh` is no directory and in the snapshot it is a directory");
    restore(&rig, &["/etc/ssh/deep"]).exits(2).says("etc/ssh` is no directory");
    restore(&rig, &["/etc", "--overwrite"]).exits(0);
}

fn a_path_that_is_not_there_is_told_what_is(rig: Rig) {
    let rig = with_a_copy(rig, |source| {
        fs::write(source.join("etc/gone"), "").unwrap();
        fs::create_dir_all(source.join("run/lock")).unwrap();
        fs::create_dir_all(source.join("opt/app-2/etc")).unwrap();
        symlink("../opt/app-2", source.join("srv/app")).unwrap();
    });
    let old = date_back(&rig, "vpn", "yesterday");
    fs::remove_file(rig.source("vpn").join("etc/gone")).unwrap();
    rig.backup(&["vpn"]).exits(0);
    for (path, advice, why) in [
        ("/etc/fstb", "`/etc/fstb` is not in `backup-", "named"),
        ("/etc/fstb", "did you mean `/etc/fstab`?", "the nearest name"),
        ("/ect/fstab", "`/ect` is not in", "the first that is not there"),
        ("/ect/fstab", "did you mean `/etc`?", "in the root"),
        ("/etc/gone", old.as_str(), "the newest snapshot that has it"),
        ("/etc/fstb", "no other snapshot has `/etc/fstb`", "none has it"),
        ("/etc/fstab/x", "leads through `/etc/fstab`, which is a file", "no directory"),
        (
            "/srv/app/etc",
            "leads through `/srv/app`, a symlink to `../opt/app-2`: use `/opt/app-2/etc`",
            "a symlink",
        ),
        ("/etc/../srv", "`..` in the path", "dots"),
        ("", "an empty path", "nothing"),
    ] {
        let said = restore(&rig, &[path]).exits(2).stderr;
        assert!(said.contains(advice), "{why}: {said}");
    }
    restore(&rig, &["/etc/gone", "--snapshot", &old]).exits(0);
    assert_eq!(names(&rig.join("to")), ["etc", "etc/gone"]);
    let nothing = rig.backup(&["restore", "vnp", "/", "--to", "/tmp"]).exits(2);
    assert!(nothing.stderr.contains("did you mean `vpn`?"));
}

fn the_snapshot_of_a_time_is_found(rig: Rig) {
    let rig = with_a_copy(rig, |source| fs::write(source.join("etc/fstab"), "old\n").unwrap());
    let old = date_back(&rig, "vpn", "3 days ago");
    fs::write(rig.source("vpn").join("etc/fstab"), "new\n").unwrap();
    rig.backup(&["vpn"]).exits(0);
    let shown = restore(&rig, &["/etc/fstab", "--snapshot", "yesterday", "--dry-run", "--json"]).exits(0);
    assert_eq!(json_of(&shown)["snapshot"], json!(old));
    let ran = restore(&rig, &["/etc/fstab", "--at", "yesterday", "--json"]).exits(0);
    assert_eq!(json_of(&ran)["snapshot"], json!(old));
    assert_eq!(read(rig.join("to/etc/fstab")), "old\n");
    restore(&rig, &["/etc/fstab", "--overwrite"]).exits(0);
    assert_eq!(read(rig.join("to/etc/fstab")), "new\n");
    restore(&rig, &["/etc/fstab", "--at", "10 days ago"]).exits(2).says("or before; its oldest is");
    restore(&rig, &["/etc/fstab", "--at", "soon"]).exits(2).says("not a time that is understood");
    restore(&rig, &["/etc/fstab", "--snapshot", "nope"]).exits(2).says("has no snapshot `nope`");
    made_up(&rig, "vpn", &name_at("2 days ago"), "suspect");
    restore(&rig, &["/etc", "--at", "yesterday", "--dry-run"])
        .exits(0)
        .says("is nearer to that time, but suspect");
}

fn what_cannot_be_begun_writes_nothing(rig: Rig) {
    let rig = with_a_copy(rig, |source| big_file(&source.join("srv/big"), 3));
    let small = rig.join("small");
    let mount = Mount::tmpfs(&small, "size=2m,mode=755");
    let at = |to: &Path, words: &[&str]| {
        rig.backup(&[&["restore", "vpn", "/srv", "--to", to.to_str().unwrap()], words].concat())
    };
    at(&rig.join("to"), &[]).exits(2).says("not a terminal: use `--yes`");
    at(&rig.join("missing"), &["--yes"]).exits(2).says("No such file").says("mkdir -p");
    at(&rig.join("config.toml"), &["--yes"]).exits(2).says("it is no directory");
    at(&small, &["--yes"]).exits(2).says("has no room: 3.0 MiB are needed, and 2.0 MiB are free");
    mount.remount("ro");
    at(&small, &["--yes"]).exits(2).says("mounted read-only");
    let within = rig.newest("vpn");
    at(&within, &["--yes"]).exits(2).says("is in the store");
    for words in [
        &["restore", "vpn", "/srv"][..],
        &["restore", "vpn", "--to", "/tmp"],
        &["restore", "vpn", "/srv", "--to", "/tmp", "--to-host", "vpn"],
        &["restore", "vpn", "/srv", "--to", "/tmp", "--keep-replaced"],
        &["restore", "vpn", "/srv", "--to", "/tmp", "--at", "now", "--snapshot", "latest"],
    ] {
        rig.backup(words).exits(2);
    }
    rig.backup(&["restore", "vpn", "/srv"]).exits(2).says("<--to <DIR>|--to-host [<HOST>]>");
    assert_eq!(names(&rig.join("to")), [""; 0]);
    assert_eq!(names(&small), [""; 0]);
}

fn files_go_back_to_the_host_they_came_from(mut rig: Rig) {
    let source = rig.host_with("vpn", "hooks = false\n");
    one_of_each(&source.join("srv"));
    // Names with a line break travel to no script.
    for entry in fs::read_dir(source.join("srv/names")).unwrap().map(Result::unwrap) {
        if entry.file_name().as_bytes().contains(&b'\n') && entry.path().is_dir() {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    rig.backup(&["vpn"]).exits(0);
    let before = listing(&source);
    fs::remove_dir_all(source.join("srv")).unwrap();
    fs::write(source.join("etc/fstab"), "broken").unwrap();

    let back = |words: &[&str]| {
        rig.backup(&[&["restore", "vpn", "/srv", "/etc/fstab", "--to-host", "--json"], words].concat())
    };
    back(&[]).exits(2).says("not a terminal");
    let plan = json_of(&back(&["--dry-run"]).exits(0));
    assert_eq!((&plan["existing"], &plan["alike"]), (&json!(1), &json!(0)), "{plan}");
    assert!(!source.join("srv").exists());
    let left = json_of(&back(&["--yes"]).exits(1).says("1 left alone"));
    assert_eq!((&left["left"], &left["different"]), (&json!(1), &json!(0)), "{left}");
    assert_eq!(read(source.join("etc/fstab")), "broken");
    back(&["--yes", "--overwrite", "--keep-replaced"]).exits(0).says("identical with the snapshot");
    let mut after = listing(&source);
    let kept = names(&source).into_iter().find(|name| name.ends_with("/etc/fstab")).unwrap();
    assert!(kept.starts_with(".before-restore-") && read(source.join(&kept)) == "broken", "{kept}");
    after.retain(|name, _| !name.to_string_lossy().contains(".before-restore-"));
    for directory in ["", "etc"] {
        // Something was made in it.
        after.insert(directory.into(), before[Path::new(directory)].clone());
    }
    assert_same(&before, &after);

    // All of it is there, and as large as where nothing is.
    fs::create_dir(rig.join("to")).unwrap();
    let looked = |to: &[&str]| {
        json_of(
            &rig.backup(&[&["restore", "vpn", "/srv", "/etc/fstab", "-n", "--json"], to].concat()).exits(0),
        )
    };
    let (host, here) = (looked(&["--to-host"]), looked(&["--to", rig.join("to").to_str().unwrap()]));
    for field in ["bytes", "files", "directories"] {
        assert_eq!(host[field], here[field], "{field}");
    }
    assert!(host["bytes"].as_u64().unwrap() > 0);
    assert_nothing_left(&rig);
}

/// The command on a terminal, that of script(1). Something is done when it has
/// asked, and then this answer typed.
fn on_a_terminal(rig: &Rig, words: &[&str], answer: &str, meanwhile: impl FnOnce()) -> Ran {
    let command = rig.command(words);
    let quoted = |word: &OsStr| format!("'{}'", word.to_str().unwrap());
    let line: Vec<String> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
    let mut terminal = program("script");
    terminal.args(["-qec", &line.join(" "), "/dev/null"]).env("BACKUP_CONFIG", rig.configure());
    let pipes = || Stdio::piped();
    let mut child = terminal.stdin(pipes()).stdout(pipes()).stderr(pipes()).spawn().unwrap();
    let (mut said, mut byte) = (Vec::new(), [0]);
    let stdout = child.stdout.as_mut().unwrap();
    while !said.ends_with(b"[y/N] ") {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    meanwhile();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    finish(child).into()
}

#[test]
fn on_a_terminal_a_yes_is_asked_for() {
    let rig = with_a_copy(Rig::new(), |_| {});
    let to = rig.join("to");
    let words = ["restore", "vpn", "/etc/fstab", "--to", to.to_str().unwrap()];
    for answer in ["n\n", "\n", "yesterday\n"] {
        let ran = on_a_terminal(&rig, &words, answer, || {}).exits(1);
        assert!(ran.stdout.contains("nothing was written"), "{ran:?}");
        assert_eq!(names(&to), [""; 0]);
    }
    let ran = on_a_terminal(&rig, &words, "y\n", || {}).exits(0);
    assert!(ran.stdout.contains("identical"), "{ran:?}");
    assert_eq!(read(to.join("etc/fstab")), "# nothing\n");
}

#[test]
fn what_is_put_in_the_way_while_the_question_waits_leads_nowhere() {
    let mut rig = Rig::new();
    let source = rig.host_with("vpn", "hooks = false\n");
    rig.backup(&["vpn"]).exits(0);
    let (to, outside) = (rig.join("parent/to"), rig.join("outside"));
    fs::remove_file(source.join("etc/fstab")).unwrap();
    let here = ["--to", to.to_str().unwrap()];
    let below = "has become a symlink, which is never followed";
    let moved = "somebody has put something else into its place";
    for (root, place, link, words, why) in [
        (&to, "etc", true, &here[..], "etc` is a symlink, which is never followed"),
        (&to, "", true, &here, "cannot open"),
        (&to, "..", true, &here, moved),
        (&to, "", false, &here, moved),
        (&source, "etc", true, &["--to-host"], below),
    ] {
        for directory in [&to.join("etc"), &source.join("etc"), &outside.join("to"), &outside.join("etc")] {
            fs::create_dir_all(directory).unwrap();
        }
        let before = listing(&outside);
        let place = match place {
            ".." => root.parent().unwrap().to_owned(),
            place => root.components().chain(Path::new(place).components()).collect(),
        };
        let words = [&["restore", "vpn", "/etc/fstab"], words].concat();
        let ran = on_a_terminal(&rig, &words, "y\n", || {
            fs::rename(&place, rig.join("aside")).unwrap();
            if link {
                symlink(&outside, &place).unwrap();
            } else {
                fs::create_dir(&place).unwrap();
            }
        });
        assert_ne!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(why), "{ran:?}");
        assert!(!ran.stdout.contains("identical"), "{ran:?}");
        assert_same(&before, &listing(&outside));
        for there in [&place, &rig.join("aside")] {
            assert!(!there.join("to/etc/fstab").exists() && !there.join("etc/fstab").exists());
        }
        let _ = fs::remove_file(&place);
        let _ = fs::remove_dir(&place);
        fs::remove_dir_all(rig.join("aside")).unwrap();
    }
}

/// Nothing keeps a user of the host from this; that it is not called good is what
/// can be done.
#[test]
fn a_symlink_that_came_while_rsync_wrote_on_the_host_is_told() {
    let mut rig = Rig::new();
    let source = rig.host_with("vpn", "hooks = false\n");
    rig.write(source.join("srv/a/b/file"), "contents\n");
    rig.backup(&["vpn"]).exits(0);
    let snare = Snare::new(&rig);
    snare.watch_sessions(&mut rig);
    let words = ["restore", "vpn", "/srv/a/b", "--to-host", "--overwrite", "--yes", "--json"];
    // rsync has looked ahead, and has written.
    let child = snare.start(&rig, &words, When::After, 1, "session*rsync*--server*");
    fs::rename(source.join("srv/a"), rig.join("elsewhere")).unwrap();
    symlink(rig.join("elsewhere"), source.join("srv/a")).unwrap();
    snare.go();
    let ran: Ran = finish(child).into();
    let ran =
        ran.exits(1).says("/srv/a has become a symlink while it was written").does_not_say("identical with");
    let answer = json_of(&ran);
    assert_eq!(answer["identical"], false);
    assert_eq!(answer["differences"], json!([{ "path": "/srv/a", "state": "symlink", "differs": ["kind"] }]));
}

/// Runs a restoration with stand-ins for programs.
fn restore_with(rig: &Rig, programs: &[(&str, &str)], words: &[&str]) -> Ran {
    for (name, script) in programs {
        set_mode(&rig.write(format!("bin/{name}"), format!("#!/bin/sh\n{script}")), 0o755);
    }
    let to = rig.join("to");
    let mut command =
        rig.command(&[&["restore", "vpn", "--yes", "--to", to.to_str().unwrap()], words].concat());
    command.env("PATH", format!("{}:/usr/bin:/bin", rig.join("bin").display()));
    finish(command.spawn().unwrap()).into()
}

#[test]
fn an_rsync_that_is_led_out_of_the_directory_writes_nothing_there() {
    let rig = with_a_copy(Rig::new(), |_| {});
    let outside = rig.join("outside");
    rig.write("outside/fstab", "theirs\n");
    let before = listing(&outside);
    // Some rsyncs notice; this one is as blind as one can be.
    let led = format!(
        "[ \"$1\" != --version ] || exit 0\n\
         for to; do :; done\n\
         for way in /proc/*/root /proc/*/cwd/../.. /proc/*/fd/*/..; do\n\
         (echo led >\"$way{0}/fstab\") 2>>\"${{to}}said\"; done\n\
         rm -rf \"${{to}}etc\" && ln -s '{0}' \"${{to}}etc\" || exit 1\n\
         echo led >\"${{to}}etc/fstab\"; echo led >\"${{to}}etc/new\"\n\
         chmod 777 \"${{to}}etc/.\"; touch \"${{to}}etc/fstab\"; rm -f \"${{to}}etc/fstab\"\n\
         exit 23\n",
        outside.display()
    );
    restore_with(&rig, &[("rsync", &led)], &["/etc"]).exits(1);
    assert!(read(rig.join("to/said")).contains("/root/"), "it has tried");
    assert_eq!(fs::read_link(rig.join("to/etc")).unwrap(), outside, "it was led");
    assert_same(&before, &listing(&outside));
}

#[test]
fn nothing_outside_is_written_while_others_swap_directories() {
    let rig = with_a_copy(Rig::new(), |source| {
        fs::create_dir_all(source.join("srv/many")).unwrap();
        for number in 0..2000 {
            fs::write(source.join(format!("srv/many/{number}")), "x").unwrap();
        }
    });
    let (to, outside) = (rig.join("to"), rig.join("outside"));
    fs::create_dir_all(to.join("srv/many")).unwrap();
    fs::create_dir(&outside).unwrap();
    let before = listing(&outside);
    let (many, aside, ended) = (to.join("srv/many"), to.join("srv/aside"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                // The restoration may have made another in its place.
                if fs::rename(&many, &aside).is_ok() && symlink(&outside, &many).is_ok() {
                    let _ = fs::remove_file(&many);
                }
                if fs::rename(&aside, &many).is_err() {
                    let _ = fs::remove_dir_all(&aside);
                }
            }
        });
        for _ in 0..5 {
            restore(&rig, &["/srv", "--overwrite"]);
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert_same(&before, &listing(&outside));
}

#[test]
fn a_directory_that_others_may_write_to_is_written_to_when_told() {
    let rig = with_a_copy(Rig::new(), |_| {});
    for mode in [0o1777, 0o775] {
        set_mode(&rig.join("to"), mode);
        restore(&rig, &["/etc"]).exits(2).says("other users may write to it").says("--into-shared");
        assert_eq!(names(&rig.join("to")), [""; 0]);
    }
    restore(&rig, &["/etc", "--into-shared"]).exits(0).says("identical");
}

/// A restoration by a root that may not mount, as in most containers.
fn restore_without_mounts(rig: &Rig, to: &Path, words: &[&str]) -> Ran {
    let all = [&["restore", "vpn", "--yes", "--to", to.to_str().unwrap()], words].concat();
    let mut command = program("setpriv");
    command
        .args(["--bounding-set", "-sys_admin", "--", env!("CARGO_BIN_EXE_backup")])
        .args(all)
        .env("BACKUP_CONFIG", rig.configure())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    finish(command.spawn().unwrap()).into()
}

#[test]
fn where_rsync_cannot_be_confined_nobody_else_may_reach_the_directory_or_move_it() {
    let rig = with_a_copy(Rig::new(), |_| {});
    let to = rig.join("to");
    set_mode(rig.path(), 0o755);
    for words in [&["/etc"][..], &["/etc", "--into-shared"]] {
        restore_without_mounts(&rig, &to, words)
            .exits(2)
            .says("other users can reach it")
            .says("Operation not permitted")
            .says("chmod 700");
        assert_eq!(names(&to), [""; 0]);
    }
    set_mode(&to, 0o700);
    // It would get the mode of the host's root.
    restore_without_mounts(&rig, &to, &["/"]).exits(2).says("other users can reach it");
    // Others could put a symlink into its place.
    set_mode(rig.path(), 0o777);
    restore_without_mounts(&rig, &to, &["/etc"]).exits(2).says("other users can reach it");
    assert_eq!(names(&to), [""; 0]);
    set_mode(rig.path(), 0o755);
    restore_without_mounts(&rig, &to, &["/etc"]).exits(0).says("identical");
    fs::create_dir(to.join("within")).unwrap();
    restore_without_mounts(&rig, &to.join("within"), &["/"]).exits(0).says("identical");
}

#[test]
fn lists_of_what_is_missing_may_be_on_another_filesystem() {
    let rig = with_a_copy(Rig::new(), |_| {});
    rig.write("to/srv/mine", "mine\n");
    let (to, temporary) = (rig.join("to"), rig.join("temporary"));
    let _mount = Mount::tmpfs(&temporary, "size=2m");
    let mut command = rig.command(&["restore", "vpn", "/", "--yes", "--to", to.to_str().unwrap()]);
    let ran: Ran = finish(command.env("TMPDIR", &temporary).spawn().unwrap()).into();
    ran.exits(0).says("identical");
    assert_eq!(names(&temporary), [""; 0]);
}

/// A rig with a copy of a file so large that its way back can be watched.
fn with_a_large_copy() -> Rig {
    with_a_copy(Rig::new(), |source| {
        fs::create_dir_all(source.join("srv/many")).unwrap();
        for number in 0..2000 {
            fs::write(source.join(format!("srv/many/{number}")), "x").unwrap();
        }
        big_file(&source.join("srv/big"), 300);
    })
}

/// Whether something is being written below a directory: what is in it comes after
/// the directory has its mode.
fn is_written_to(to: &Path) -> bool {
    fs::read_dir(to.join("srv")).is_ok_and(|mut entries| entries.next().is_some())
}

#[test]
fn what_was_interrupted_goes_on_where_it_stopped() {
    let rig = with_a_large_copy();
    let to = rig.join("to");
    let words = ["restore", "vpn", "/srv", "--yes", "--to", to.to_str().unwrap()];
    let child = rig.start(&words);
    rig.wait_until("it writes", || is_written_to(&to));
    signal(&child, rustix::process::Signal::INT);
    let stopped: Ran = finish(child).into();
    stopped.exits(1).says("run the same command again to continue where it stopped");
    rig.wait_until("nobody writes", || rig.left_behind().is_empty());

    let child = rig.start(&words);
    rig.wait_until("it writes", || is_written_to(&to));
    signal(&child, rustix::process::Signal::KILL);
    finish(child);
    rig.wait_until("nobody writes", || rig.left_behind().is_empty());

    rig.backup(&words).exits(0).says("identical with the snapshot");
    let left: Vec<String> =
        names(&to).into_iter().filter(|name| name.rsplit('/').next().unwrap().starts_with('.')).collect();
    // What rsync was writing when it was killed is nobody's to remove.
    assert!(left.len() <= 1, "{left:?}");
}

#[test]
fn a_directory_that_is_restored_to_is_not_restored_to_by_another() {
    let rig = with_a_copy(Rig::new(), |_| {});
    let held = fs::File::open(rig.join("to")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    restore(&rig, &["/etc"]).exits(2).says("another restoration writes to it (wait until it has ended");
    assert_eq!(names(&rig.join("to")), [""; 0]);
    restore(&rig, &["/etc", "--dry-run"]).exits(0);
    drop(held);
    restore(&rig, &["/etc"]).exits(0).says("identical");
}

#[test]
fn of_two_into_one_directory_one_writes_all_and_the_other_is_refused_or_comes_later() {
    let rig = with_a_large_copy();
    let to = rig.join("to");
    let words = ["restore", "vpn", "/srv", "--yes", "--overwrite", "--to", to.to_str().unwrap()];
    let both = [rig.start(&words), rig.start(&words)];
    let codes = both.map(|child| Ran::from(finish(child)).code);
    assert!(codes.contains(&Some(0)), "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 2))), "{codes:?}");
    rig.backup(&words).exits(0);
    assert_same(&listing(&rig.newest("vpn").join("srv")), &listing(&to.join("srv")));
}

#[test]
fn a_disk_that_fills_meanwhile_is_said_to_be_full() {
    let rig = with_a_copy(Rig::new(), |source| {
        for number in 0..64 {
            fs::write(source.join(format!("srv/{number}")), "x").unwrap();
        }
    });
    // Room enough for the bytes, and not for the files.
    let small = rig.join("small");
    let _mount = Mount::tmpfs(&small, "size=1m,nr_inodes=20,mode=755");
    rig.backup(&["restore", "vpn", "/srv", "--yes", "--to", small.to_str().unwrap()])
        .exits(1)
        .says("small` is full: ")
        .says("run the same command again to continue where it stopped");
}

#[test]
fn a_snapshot_that_goes_meanwhile_is_missed() {
    let rig = with_a_large_copy();
    let to = rig.join("to");
    let snapshot = rig.newest("vpn");
    let child = rig.start(&["restore", "vpn", "/srv", "--yes", "--to", to.to_str().unwrap()]);
    rig.wait_until("it writes", || is_written_to(&to));
    fs::rename(&snapshot, snapshot.with_file_name("gone")).unwrap();
    let ran: Ran = finish(child).into();
    assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    let told = [
        "was it removed",
        "may have been removed",
        "some of it could not be written",
        "could not be compared",
    ];
    assert!(told.iter().any(|told| ran.stderr.contains(told)), "{}", ran.stderr);
}

#[test]
fn another_host_is_written_to_over_a_connection_that_is_verified() {
    let mut rig = Rig::new();
    let source = rig.host_with("vpn", "hooks = false\n");
    let other = rig.host_with("web", "hooks = false\n");
    fs::create_dir_all(source.join("opt/odd 'name' *")).unwrap();
    fs::write(source.join("opt/odd 'name' */file"), "odd").unwrap();
    rig.backup(&["vpn"]).exits(0);
    let to = |words: &[&str]| {
        rig.backup(&[&["restore", "vpn", "/opt", "--yes", "--to-host", "web"], words].concat())
    };

    let outside = rig.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, other.join("opt")).unwrap();
    to(&["--overwrite"]).exits(2).says("web:").says("opt` is a symlink, which is never followed");
    fs::remove_file(other.join("opt")).unwrap();
    fs::create_dir(other.join("opt")).unwrap();
    symlink(&outside, other.join("opt/odd 'name' *")).unwrap();
    to(&[]).exits(2).says("is a symlink, which is never followed");
    assert_eq!(names(&outside), [""; 0]);
    to(&["--overwrite"]).exits(0).says("identical with the snapshot");
    assert_eq!(names(&outside), [""; 0]);
    assert_eq!(read(other.join("opt/odd 'name' */file")), "odd");

    rig.backup(&["restore", "vpn", "/opt", "--yes", "--to-host", "wbe"]).exits(2).says("did you mean `web`?");
    rig.write("known_hosts", "");
    to(&[]).exits(2).says("the host key of `127.0.0.1` is not known");
    assert_nothing_left(&rig);
}

#[test]
fn a_host_that_is_being_backed_up_is_not_written_to() {
    let rig = with_a_copy(Rig::new(), |_| {});
    let lock = fs::File::options().write(true).open(rig.join("run/vpn.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fs::write(rig.join("run/vpn.lock"), format!("{}\n", std::process::id())).unwrap();
    rig.backup(&["restore", "vpn", "/etc", "--yes", "--to-host"]).exits(2).says("cannot lock `vpn`");
}

#[test]
fn this_machine_itself_gets_its_files_back() {
    let mut rig = Rig::without_sshd();
    let source = rig.host_with("here", "hooks = false\n");
    rig.backup(&["here"]).exits(0);
    fs::remove_dir_all(source.join("srv")).unwrap();
    rig.backup(&["restore", "here", "/srv", "--yes", "--to-host"]).exits(0).says("identical");
    assert_eq!(read(source.join("srv/data")), "some data\n");
}
