//! A copy is its source: nothing that a file system can hold is lost, and
//! nothing leaks from one snapshot into another.

use crate::support::on_every_store;
use crate::support::rig::*;
use crate::support::trees::*;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};
use std::path::Path;

on_every_store! {
    a_copy_has_all_that_its_source_has,
    changes_reach_the_next_copy_and_none_of_those_before,
    a_change_in_the_second_of_the_last_one_is_seen,
    files_that_were_one_and_are_still_alike_part_with_their_first_difference,
    what_is_excluded_is_not_copied,
    file_capabilities_stay_with_another_owner_group_mode_or_list,
}

/// Fails the test unless `copy` is `source`, by rsync's judgement and by
/// one that knows nothing of rsync.
#[track_caller]
fn assert_identical(source: &Path, copy: &Path) {
    assert_eq!(differences(source, copy), "");
    assert_same(&listing(source), &listing(copy));
}

fn a_copy_has_all_that_its_source_has(mut rig: Rig) {
    let source = rig.host("Web");
    one_of_each(&source);
    rig.backup(&["all"]).exits(0);
    let copy = rig.newest("web");
    assert_identical(&source, &copy);

    let same = |a: &str, b: &str| {
        copy.join(a).symlink_metadata().unwrap().ino() == copy.join(b).symlink_metadata().unwrap().ino()
    };
    for name in ["b", "deep/er/c", "deep/d"] {
        assert!(same("links/a", &format!("links/{name}")), "{name} is a file of its own");
    }
    assert!(same("links/symlink", "links/deep/symlink") && same("links/fifo", "links/deep/fifo"));
    assert!(!same("links/twin-1", "links/twin-2"), "two files have become one");
    assert!(space(&copy.join("sparse")) <= space(&source.join("sparse")), "holes were filled");
    assert!(space(&copy.join("sparse/is one")) <= 4096);
    assert_nothing_left(&rig);
}

fn changes_reach_the_next_copy_and_none_of_those_before(mut rig: Rig) {
    let source = rig.host("Web");
    let other = rig.host("Db");
    one_of_each(&source);
    if in_place(&rig) {
        // Hundreds of files, which take long in a virtual machine, and which
        // do not change.
        fs::remove_dir_all(source.join("names")).unwrap();
    }
    changing(&source);
    rig.backup(&["all"]).exits(0);
    let first = date_back(&rig, "web", "2 days ago");
    let first_other = date_back(&rig, "db", "2 days ago");
    let first_source = listing(&source);
    let first_remembered = remember(&rig, &source, "first");

    change(&source);
    fs::write(other.join("srv/data"), "other data\n").unwrap();
    let second_source = listing(&source);
    rig.backup(&["all"]).exits(0);
    assert_identical(&source, &rig.newest("web"));
    assert_same(&first_source, &listing(&rig.snapshot("web", &first)));
    assert_identical(&first_remembered, &rig.snapshot("web", &first));
    let second = date_back(&rig, "web", "1 day ago");
    assert_identical(&other, &rig.newest("db"));
    let was = rig.snapshot("db", &first_other).join("srv/data");
    assert_eq!(fs::read_to_string(was).unwrap(), "some data\n");

    if in_place(&rig) {
        // The way back has no other kinds of changes, and takes long in a
        // virtual machine.
        assert_same(&second_source, &listing(&rig.snapshot("web", &second)));
        return;
    }
    // All of it back again: what leaves the source leaves the copy alike.
    let (from, to) = (format!("{}/", first_remembered.display()), format!("{}/", source.display()));
    must("rsync", &["-aHAXXS", "--numeric-ids", "--checksum", "--delete", &from, &to]);
    rig.backup(&["web"]).exits(0);
    assert_eq!(rig.verdicts("web"), ["good", "good", "good"]);
    assert_identical(&source, &rig.newest("web"));
    assert_same(&first_source, &listing(&rig.newest("web")));
    assert_same(&first_source, &listing(&rig.snapshot("web", &first)));
    assert_same(&second_source, &listing(&rig.snapshot("web", &second)));
}

/// Files, one for each kind of change.
fn changing(source: &Path) {
    let dir = source.join("changing");
    fs::create_dir(&dir).unwrap();
    for name in [
        "contents",
        "longer",
        "mode",
        "owner",
        "group",
        "time",
        "attribute",
        "attribute off",
        "attribute on",
        "list",
        "deleted",
        "renamed",
        "to directory",
        "to symlink",
        "capability",
    ] {
        fs::write(dir.join(name), name).unwrap();
        chown(dir.join(name), Some(4242), Some(4343)).unwrap();
        set_times(&dir.join(name), 1_500_000_000, 0);
    }
    xattr(&dir.join("attribute"), "user.note", b"old");
    xattr(&dir.join("attribute off"), "user.note", b"old");
    for name in ["d mode", "d owner", "d attribute", "d list", "d time", "d to file", "d deleted"] {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("inside"), name).unwrap();
    }
    for name in ["l target", "l owner", "l time", "l to file"] {
        symlink(name, dir.join(name)).unwrap();
    }
    for name in ["linked-1", "broken-1", "mode-1", "emptied-1"] {
        fs::write(dir.join(name), "one file\n").unwrap();
        fs::hard_link(dir.join(name), dir.join(name.replace('1', "2"))).unwrap();
    }
    for name in ["two-1", "two-two"] {
        fs::write(dir.join(name), name).unwrap();
    }
    must("mknod", &[dir.join("device").to_str().unwrap(), "c", "1", "3"]);
    must("mkfifo", &[dir.join("fifo").to_str().unwrap(), dir.join("fifo to file").to_str().unwrap()]);
}

/// Changes each of those, and some of the others.
fn change(source: &Path) {
    let dir = source.join("changing");
    let replace = |name: &str, contents: &str| {
        fs::write(dir.join("new"), contents).unwrap();
        fs::rename(dir.join("new"), dir.join(name)).unwrap();
    };
    // The same size, written into the same file.
    fs::write(dir.join("contents"), "CONTENTS").unwrap();
    fs::write(dir.join("longer"), "longer and longer").unwrap();
    for name in ["mode", "mode-1", "d mode", "device", "fifo"] {
        set_mode(&dir.join(name), 0o700);
    }
    for name in ["owner", "d owner", "l owner", "device", "fifo"] {
        lchown(dir.join(name), Some(4343), None).unwrap();
    }
    chown(dir.join("group"), None, Some(4444)).unwrap();
    for name in ["time", "d time", "l time"] {
        set_times(&dir.join(name), 1_400_000_000, 0);
    }
    for name in ["attribute", "attribute on", "d attribute"] {
        xattr(&dir.join(name), "user.note", b"new");
    }
    rustix::fs::removexattr(dir.join("attribute off"), "user.note").unwrap();
    xattr(&dir.join("capability"), "security.capability", &CAPABILITY);
    for name in ["list", "d list"] {
        xattr(&dir.join(name), "system.posix_acl_access", &some_acl());
    }
    xattr(&dir.join("d list"), "system.posix_acl_default", &some_acl());
    fs::remove_file(dir.join("deleted")).unwrap();
    fs::remove_dir_all(dir.join("d deleted")).unwrap();
    fs::rename(dir.join("renamed"), dir.join("renamed then")).unwrap();
    fs::remove_file(dir.join("to directory")).unwrap();
    fs::create_dir(dir.join("to directory")).unwrap();
    fs::remove_file(dir.join("to symlink")).unwrap();
    symlink("contents", dir.join("to symlink")).unwrap();
    fs::remove_dir_all(dir.join("d to file")).unwrap();
    for name in ["d to file", "l to file", "fifo to file"] {
        replace(name, "a file now");
    }
    fs::remove_file(dir.join("l target")).unwrap();
    symlink("another", dir.join("l target")).unwrap();
    // What were one file are two, the old one under the first name: a copy
    // that writes into files would give the first one the other's bytes.
    replace("broken-2", "replaced");
    fs::write(dir.join("linked-1"), "both of us").unwrap();
    replace("emptied-1", "");
    // What were two files are one.
    fs::remove_file(dir.join("two-two")).unwrap();
    fs::hard_link(dir.join("two-1"), dir.join("two-two")).unwrap();
    // Across directories.
    fs::write(source.join("links/deep/d"), "all of us\n").unwrap();
    set_mode(&source.join("links/fifo"), 0o600);
    // A hole where there was none, and the other way round.
    File::options().write(true).open(source.join("sparse/is one")).unwrap().write_all(&[b'x'; 9000]).unwrap();
    File::create(source.join("sparse/is zeros")).unwrap().set_len(100_000).unwrap();
    set_mode(source, 0o700);
}

#[test]
fn what_does_not_change_takes_no_space_again() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    one_of_each(&source);
    rig.backup(&["all"]).exits(0);
    let first = date_back(&rig, "web", "1 day ago");
    fs::write(source.join("new"), "").unwrap();
    rig.backup(&["all"]).exits(0).says(" 1 changed");

    let (old, new) = (rig.snapshot("web", &first), rig.newest("web"));
    for name in listing(&source).keys() {
        let (Ok(before), Ok(after)) = (old.join(name).symlink_metadata(), new.join(name).symlink_metadata())
        else {
            assert_eq!(name, Path::new("new"));
            continue;
        };
        if !after.is_dir() {
            assert_eq!(before.ino(), after.ino(), "{} is there twice", name.display());
        }
    }
    assert_identical(&source, &new);
}

fn a_change_in_the_second_of_the_last_one_is_seen(mut rig: Rig) {
    let source = rig.near_host("Web", "");
    let file = source.join("srv/state");
    fs::write(&file, "one").unwrap();
    set_times(&file, 1_600_000_000, 300_000_000);
    rig.backup(&["all"]).exits(0);
    let first = date_back(&rig, "web", "1 day ago");
    fs::write(&file, "two").unwrap();
    set_times(&file, 1_600_000_000, 600_000_000);
    rig.backup(&["all"]).exits(0);
    assert_eq!(fs::read_to_string(rig.newest("web").join("srv/state")).unwrap(), "two");
    assert_eq!(fs::read_to_string(rig.snapshot("web", &first).join("srv/state")).unwrap(), "one");
}

/// A limit of rsync's `--link-dest`: names of one file in the former copy
/// become names of one file again where both still fit, although they are two
/// files now. That costs nobody a byte, and ends with the first difference.
fn files_that_were_one_and_are_still_alike_part_with_their_first_difference(mut rig: Rig) {
    let source = rig.near_host("Web", "");
    let (a, b) = (source.join("a"), source.join("b"));
    fs::write(&a, "both").unwrap();
    fs::hard_link(&a, &b).unwrap();
    rig.backup(&["all"]).exits(0);
    let first = date_back(&rig, "web", "2 days ago");
    fs::remove_file(&b).unwrap();
    must("cp", &["--archive", a.to_str().unwrap(), b.to_str().unwrap()]);
    rig.backup(&["all"]).exits(0);
    assert_eq!(differences(&source, &rig.newest("web")), "");
    date_back(&rig, "web", "1 day ago");
    fs::write(&b, "second").unwrap();
    rig.backup(&["all"]).exits(0);
    assert_identical(&source, &rig.newest("web"));
    for name in ["a", "b"] {
        assert_eq!(fs::read_to_string(rig.snapshot("web", &first).join(name)).unwrap(), "both");
    }
}

fn what_is_excluded_is_not_copied(mut rig: Rig) {
    let source = rig.near_host("Web", "exclude = [\"/srv/cache/\", \"*.tmp\", \"- /srv/a b\"]\n");
    let other = rig.near_host("Other", "");
    let file = rig.write("patterns", "# for all\n/srv/all\n+ /srv/let-in/*.log\n*.log\n");
    rig.section("excludes", &format!("files = [{file:?}]\n"));
    rig.write(
        "backup-exclude.conf",
        "/srv/own/*\r\n+ /srv/own-two/keep\n/srv/own-two/*\n+ /srv/all\n+ *.tmp\n",
    );
    let kept = [
        "srv/let-in/in.log",
        "srv/own-two/keep",
        "srv/all-of-it",
        "etc/srv/all",
        "srv/a",
        "srv/snapshot/lost",
    ];
    let left_out = [
        ("srv/cache/deep/file", "the host's section, a directory"),
        ("etc/x.tmp", "the host's section, anywhere"),
        ("srv/a b", "the host's section, with the prefix of an exclude"),
        ("srv/all", "a file of the configuration, which no client's `+` undoes"),
        ("srv/x.log", "a file of the configuration"),
        ("srv/own/file", "the client's file, with the line ends of Windows"),
        ("srv/own-two/file", "the client's file, after what is let in"),
        ("srv/lost+found/#1", "every host"),
        ("srv/.zfs/snapshot/x/file", "every host"),
    ];
    for name in kept.iter().chain(left_out.iter().map(|(name, _)| name)) {
        rig.write(source.join(name), *name);
        rig.write(other.join(name), *name);
    }
    rig.backup(&["all"]).exits(0);
    let copy = rig.newest("web");
    for name in kept {
        assert!(copy.join(name).exists(), "{name} is not copied");
    }
    for (name, why) in left_out {
        assert!(!copy.join(name).exists(), "{name}: {why}");
    }
    assert!(copy.join("srv/own").is_dir(), "the directory of excluded files stays");
    let copy = rig.newest("other");
    assert!(
        copy.join("etc/x.tmp").exists() && copy.join("srv/a b").exists(),
        "another host's section counts"
    );
    assert!(!copy.join("srv/own/file").exists() && !copy.join("srv/x.log").exists());

    // What is excluded later leaves the next copy, and only that. In place, it
    // is deleted there.
    let first = date_back(&rig, "web", "1 day ago");
    rig.write("backup-exclude.conf", "/srv/own-two/\n");
    rig.backup(&["web"]).exits(0);
    assert!(!rig.newest("web").join("srv/own-two").exists());
    assert!(rig.snapshot("web", &first).join("srv/own-two/keep").exists());
}

#[test]
fn an_exclude_file_cannot_do_more_than_exclude() {
    let mut rig = Rig::new();
    let source = rig.host_with("Web", "exclude = [\"/secret\"]\n");
    rig.write(source.join("secret"), "");
    rig.write(source.join("srv/shown"), "");
    let canary = rig.join("PWNED");
    let lines: Vec<Vec<u8>> = vec![
        b"!".to_vec(),
        b"clear".to_vec(),
        format!(". {}", rig.join("rules").display()).into_bytes(),
        b"merge /etc/passwd".to_vec(),
        b"dir-merge .rsync-filter".to_vec(),
        b": .rsync-filter".to_vec(),
        b"-e sh".to_vec(),
        format!("$(touch {})", canary.display()).into_bytes(),
        format!("`touch {}`", canary.display()).into_bytes(),
        b"it's \"quoted\"".to_vec(),
        b"not \xff\xfe UTF-8".to_vec(),
        [b'x'; 255].to_vec(),
        [b'y'; 5000].to_vec(),
        b"trailing ".to_vec(),
        b"nul\0/srv/shown".to_vec(),
        b"[unclosed".to_vec(),
    ];
    rig.write("rules", "- *\n");
    rig.write(source.join(".rsync-filter"), "- *\n");
    rig.write("backup-exclude.conf", lines.join(&b'\n'));
    for name in ["-e sh", "it's \"quoted\"", "trailing ", "trailing"] {
        rig.write(source.join("srv").join(name), "");
    }
    let ran = rig.backup(&["all"]).exits(0);
    for (number, what) in [(1, "`!`"), (2, "`clear`"), (4, "`merge /etc/passwd`"), (6, "`: .rsync-filter`")] {
        let told = format!("backup-exclude.conf line {number}: {what} was passed over");
        assert!(ran.stderr.contains(&told), "{told}\n{}", ran.stderr);
    }
    let copy = rig.newest("web");
    assert!(!copy.join("secret").exists(), "the operator's excludes were undone");
    assert!(copy.join("srv/shown").exists() && copy.join("srv/data").exists(), "too much was left out");
    assert!(copy.join("srv/trailing").exists() && !copy.join("srv/trailing ").exists());
    assert!(!copy.join("srv/-e sh").exists() && !copy.join("srv/it's \"quoted\"").exists());
    assert!(!canary.exists());
}

#[test]
fn mounts_below_the_source_are_judged_by_what_they_are() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    let outside = rig.join("outside");
    rig.write(outside.join("disk/file"), "on a disk");
    for name in ["lower", "upper", "work"] {
        fs::create_dir_all(outside.join(name)).unwrap();
    }
    rig.write(outside.join("lower/layer"), "in a layer");
    let tmpfs = source.join("srv/in memory");
    let _tmpfs = Mount::tmpfs(&tmpfs, "size=1m,mode=0700");
    rig.write(tmpfs.join("file"), "gone at the next boot");
    let _disk = Mount::bind(&outside.join("disk"), &source.join("srv/disk"));
    let _again = Mount::bind(&source.join("etc"), &source.join("srv/etc again"));
    let layers = ["lower", "upper", "work"].map(|name| format!("{name}dir={}", outside.join(name).display()));
    let _overlay = Mount::of("overlay", &source.join("srv/container"), &layers.join(","));
    assert!(source.join("srv/container/layer").exists());

    // sshd has seen none of this: it lives in a namespace of its own.
    rig.sshd().start_again();
    rig.backup(&["-v", "all"]).exits(0).says("srv/in memory").says("srv/etc again").says("srv/container");
    let copy = rig.newest("web");
    for empty in ["srv/in memory", "srv/etc again", "srv/container"] {
        assert_eq!(fs::read_dir(copy.join(empty)).unwrap().count(), 0, "{empty}");
    }
    assert_eq!(fs::read_to_string(copy.join("srv/disk/file")).unwrap(), "on a disk");
    assert!(copy.join("etc/hostname").exists());
}

#[test]
fn only_the_sources_own_file_system_if_that_is_wanted() {
    let mut rig = Rig::new();
    let source = rig.host_with("Web", "filesystems = \"root\"\n");
    let _mount = Mount::tmpfs(&source.join("srv/mounted"), "size=1m");
    rig.write(source.join("srv/mounted/file"), "elsewhere");
    rig.sshd().start_again();
    rig.backup(&["-v", "all"]).exits(0).says("srv/mounted");
    let copy = rig.newest("web");
    assert_eq!(fs::read_dir(copy.join("srv/mounted")).unwrap().count(), 0);
    assert!(copy.join("srv/data").exists());
}

#[test]
fn a_source_on_a_mounted_file_system_is_copied_whatever_that_is() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    let _mount = Mount::tmpfs(&source, "size=1m");
    rig.write(source.join("file"), "in memory");
    rig.sshd().start_again();
    rig.backup(&["all"]).exits(0);
    assert_identical(&source, &rig.newest("web"));
}

/// Whether this machine can make and mount such a filesystem.
fn has_btrfs() -> bool {
    let made = program("mkfs.btrfs").arg("--version").output().is_ok_and(|ran| ran.status.success());
    made && fs::read_to_string("/proc/filesystems").unwrap().contains("\tbtrfs\n")
}

#[test]
fn a_property_of_the_hosts_filesystem_is_not_taken_for_a_files_attribute() {
    if !has_btrfs() {
        eprintln!("skipped: there is no mkfs.btrfs, or no btrfs in this kernel");
        return;
    }
    let mut rig = Rig::new();
    let source = rig.host("Web");
    let _disk = Mount::disk(&rig.join("disk"), 128, &["mkfs.btrfs", "--quiet"], &source);
    rig.write(source.join("etc/hostname"), "web\n");
    for name in ["etc", "etc/hostname"] {
        xattr(&source.join(name), "btrfs.compression", b"zstd");
        xattr(&source.join(name), "user.btrfs.compression", b"a note");
        xattr(&source.join(name), "trusted.note", b"another");
    }
    rig.sshd().start_again();
    rig.backup(&["all"]).exits(0).says("Web: OK");
    date_back(&rig, "web", "1 day ago");
    rig.backup(&["all"]).exits(0).says("Web: OK");
    let copied = listing(&rig.newest("web")).remove(Path::new("etc/hostname")).unwrap();
    assert!(copied.contains("user.btrfs.compression") && copied.contains("trusted.note"), "{copied}");
    assert!(!copied.contains("\"btrfs.compression"), "{copied}");
    assert_eq!(rig.verdicts("web"), ["good", "good"]);
    let newest = rig.newest("web").join("etc/hostname");
    assert_eq!(newest.metadata().unwrap().nlink(), 2, "an unchanged file takes no space again");
}

/// The kernel takes them from a file that gets another owner, as each new file of a
/// copy does.
fn file_capabilities_stay_with_another_owner_group_mode_or_list(mut rig: Rig) {
    let source = rig.near_host("Web", "");
    let bin = source.join("bin");
    fs::create_dir(&bin).unwrap();
    let names = ["owner", "group", "mode", "list", "none", "taken away", "odd \n\\#012 name"];
    for name in names {
        fs::write(bin.join(name), name).unwrap();
        chown(bin.join(name), Some(4242), Some(4343)).unwrap();
        set_mode(&bin.join(name), 0o755);
        xattr(&bin.join(name), "security.capability", &CAPABILITY);
    }
    fs::hard_link(bin.join("owner"), bin.join("owner too")).unwrap();
    rig.backup(&["all"]).exits(0);
    let first = date_back(&rig, "web", "2 days ago");
    let before = listing(&rig.snapshot("web", &first));

    chown(bin.join("owner"), Some(4444), None).unwrap();
    chown(bin.join("group"), None, Some(4444)).unwrap();
    for name in ["mode", "odd \n\\#012 name", "taken away"] {
        set_mode(&bin.join(name), 0o700);
    }
    xattr(&bin.join("list"), "system.posix_acl_access", &some_acl());
    for name in ["owner", "group"] {
        xattr(&bin.join(name), "security.capability", &CAPABILITY);
    }
    rustix::fs::removexattr(bin.join("taken away"), "security.capability").unwrap();
    rig.backup(&["all"]).exits(0);
    assert_identical(&source, &rig.newest("web"));
    let copied = listing(&rig.newest("web"));
    for name in names.into_iter().filter(|name| *name != "taken away") {
        assert!(copied[&Path::new("bin").join(name)].contains("security.capability"), "{name}");
    }
    assert_same(&before, &listing(&rig.snapshot("web", &first)));
}
