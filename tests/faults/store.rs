//! Faults of the store: full, nearly full, read-only, missing, filled by
//! somebody else; and a clock that is wrong.

use crate::support::rig::*;
use crate::support::trees::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Everything in a place of the store but its root's own time.
fn contents(path: &Path) -> BTreeMap<PathBuf, String> {
    let mut listing = listing(path);
    listing.remove(Path::new(""));
    listing
}

#[test]
fn a_full_store_costs_nothing_that_was_there() {
    let mut rig = Rig::new();
    let store = rig.join("store");
    let mount = Mount::tmpfs(&store, "size=8m,mode=0700");
    let source = rig.host("Web");
    rig.backup(&["all"]).exits(0);
    let yesterday = date_back(&rig, "web", "1 day ago");
    made_up(&rig, "web", &name_at("10:00 40 days ago"), "good");
    made_up(&rig, "web", &name_at("11:00 40 days ago"), "good");
    let before = contents(&store.join("web/snapshots"));

    big_file(&source.join("srv/big"), 12);
    for again in ["first", "second"] {
        rig.backup(&["all"])
            .exits(1)
            .says("Web: CRITICAL: transfer failed: the store is full: ")
            .says(store.to_str().unwrap())
            .says("No space left on device")
            .says("remove snapshots")
            .says("; last good copy ");
        assert_same(&before, &contents(&store.join("web/snapshots")));
        assert_eq!(latest(&rig, "web"), yesterday, "{again}");
        assert_nothing_left(&rig);
    }

    mount.remount("size=64m");
    rig.backup(&["all"]).exits(0).says("Web: OK");
    assert_eq!(differences(&source, &rig.newest("web")), "");
    assert_eq!(rig.verdicts("web"), ["good", "good", "good"], "rotation goes on");
    for leftover in [".incomplete", ".interrupted", ".removing"] {
        assert!(!store.join("web").join(leftover).exists(), "{leftover} takes space for ever");
    }
}

#[test]
fn a_store_without_inodes_is_full_too() {
    let mut rig = Rig::new();
    let mount = Mount::tmpfs(&rig.join("store"), "size=8m,nr_inodes=60,mode=0700");
    let source = rig.host("Web");
    rig.backup(&["all"]).exits(0);
    let yesterday = date_back(&rig, "web", "1 day ago");
    let before = contents(&rig.snapshot("web", &yesterday));
    for number in 0..60 {
        rig.write(source.join(format!("srv/{number}")), "");
    }
    rig.backup(&["all"]).exits(1).says("Web: CRITICAL: transfer failed: the store is full: ");
    assert_eq!(rig.snapshots("web"), std::slice::from_ref(&yesterday));
    assert_same(&before, &contents(&rig.snapshot("web", &yesterday)));
    mount.remount("nr_inodes=1000");
    rig.backup(&["all"]).exits(0).says("Web: OK");
    assert_eq!(differences(&source, &rig.newest("web")), "");
}

#[test]
fn a_store_that_runs_out_at_any_moment_keeps_no_half_of_a_snapshot() {
    let mut rig = Rig::without_sshd();
    let mount = Mount::tmpfs(&rig.join("store"), "size=8m,nr_inodes=2,mode=0700");
    let source = rig.host("Web");
    for inodes in (3..18).step_by(3).chain(18..) {
        assert!(inodes < 100, "it never has enough");
        mount.remount(&format!("nr_inodes={inodes}"));
        let ran = rig.backup(&["all"]);
        assert_nothing_left(&rig);
        if ran.code == Some(0) {
            break;
        }
        ran.exits(1).says("Web: CRITICAL: ").says("(remove snapshots or add disks)");
        assert_eq!(rig.snapshots("web"), Vec::<String>::new(), "with {inodes} inodes");
    }
    assert_eq!(rig.verdicts("web"), ["good"]);
    assert_eq!(differences(&source, &rig.newest("web")), "");
}

#[test]
fn a_host_that_fills_the_store_leaves_room_for_the_others_and_for_its_next_try() {
    let mut rig = Rig::new();
    rig.top = "jobs = 1\n".to_owned();
    let store = rig.join("store");
    let _store = Mount::tmpfs(&store, "size=8m,mode=0700");
    let source = rig.host("Web");
    for number in 0..12 {
        big_file(&source.join(format!("srv/big-{number:02}")), 1);
    }
    for name in ["A", "B", "C"] {
        big_file(&rig.host(name).join("srv/big"), 1);
    }
    rig.backup(&["all"])
        .exits(1)
        .says("Web: CRITICAL: transfer failed: the store is full")
        .says("A: OK")
        .says("B: OK")
        .says("C: OK");
    assert!(space(&store) < 4 << 20, "it takes space for ever");
    for number in 4..12 {
        fs::remove_file(source.join(format!("srv/big-{number:02}"))).unwrap();
    }
    rig.backup(&["web"]).exits(0).says("Web: OK");
    assert_eq!(differences(&source, &rig.newest("web")), "");
}

#[test]
fn an_attribute_that_does_not_fit_leaves_a_whole_copy_that_rotates() {
    let mut rig = Rig::new();
    // ext4 has one block for all attributes of a file.
    let _store = Mount::disk(
        &rig.join("disk"),
        64,
        &["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024"],
        &rig.join("store"),
    );
    let source = rig.host("Web");
    let _source = Mount::tmpfs(&source, "size=1m");
    for name in ["heavy", "heavier", "other"] {
        rig.write(source.join("srv").join(name), name);
    }
    for name in ["heavy", "heavier"] {
        xattr(&source.join("srv").join(name), "user.note", &[b'x'; 20_000]);
        xattr(&source.join("srv").join(name), "user.small", b"fits");
    }
    rig.sshd().start_again();
    let removed = name_at("10:00 40 days ago");
    for night in ["2 days ago", "1 day ago", "now"] {
        made_up(&rig, "web", &removed, "good");
        made_up(&rig, "web", &name_at("11:00 40 days ago"), "good");
        rig.backup(&["all"])
            .exits(1)
            .says("Web: WARNING: ")
            .says("the extended attribute `user.note` of `/srv/heav")
            .says("` and 1 more could not be kept, all contents were: No space left on device (28)")
            .does_not_say("partial")
            .does_not_say("full");
        assert!(!rig.snapshots("web").contains(&removed), "it stops rotation for ever");
        if night != "now" {
            date_back(&rig, "web", night);
        }
    }
    assert_eq!(rig.verdicts("web"), ["good", "good", "good", "good"]);
    let copy = rig.newest("web");
    assert_eq!(fs::read_to_string(copy.join("srv/heavy")).unwrap(), "heavy");
    assert!(listing(&copy)[Path::new("srv/heavy")].contains("user.small"));
}

#[test]
fn a_store_that_keeps_whole_seconds_is_compared_by_seconds_and_told() {
    let mut rig = Rig::new();
    let _store = Mount::disk(
        &rig.join("disk"),
        64,
        &["mke2fs", "-q", "-F", "-t", "ext4", "-I", "128"],
        &rig.join("store"),
    );
    let source = rig.host("Web");
    set_times(&source.join("srv/data"), 1_600_000_000, 123_456_789);
    let told = "keeps times to the second only";
    let found = rig.backup(&["check", "web"]);
    assert!(found.stdout.contains(told) && found.stdout.contains("-I 256"), "{}", found.stdout);
    rig.backup(&["all"]).exits(0).says(told);
    let first = date_back(&rig, "web", "1 day ago");
    rig.backup(&["all"]).exits(0).says(told).says(" 0 changed");
    let inode = |tree: PathBuf| fs::metadata(tree.join("srv/data")).unwrap().ino();
    assert_eq!(inode(rig.snapshot("web", &first)), inode(rig.newest("web")), "nothing is shared");

    let verified = rig.backup(&["verify", "--json", "web"]).exits(0);
    let answer: serde_json::Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(answer["hosts"][0]["identical"], 3, "{answer:#}");
    assert_eq!(
        fs::read_dir(rig.join("store"))
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name() == ".times" })
            .count(),
        0,
        "check leaves nothing"
    );
}

#[test]
fn a_file_with_more_names_than_the_store_allows_is_kept_once_more_in_the_same_run() {
    let mut rig = Rig::without_sshd();
    let store = rig.join("store");
    // A file has 65,000 names there at most.
    let _store =
        Mount::disk(&rig.join("disk"), 64, &["mke2fs", "-q", "-F", "-t", "ext4", "-N", "2000"], &store);
    let source = rig.host("Web");
    let names = 100;
    for group in ["one", "two"] {
        let folder = source.join("srv").join(group);
        rig.write(folder.join("a"), group);
        for number in 1..names {
            fs::hard_link(folder.join("a"), folder.join(format!("{number}"))).unwrap();
        }
    }
    rig.backup(&["all"]).exits(0);
    let first = date_back(&rig, "web", "1 day ago");
    // As if it had had many more names.
    for group in ["one", "two"] {
        let file = rig.snapshot("web", &first).join("srv").join(group).join("a");
        let folder = store.join(group);
        fs::create_dir(&folder).unwrap();
        for number in fs::metadata(&file).unwrap().nlink()..65_000 - names / 2 {
            fs::hard_link(&file, folder.join(number.to_string())).unwrap();
        }
    }
    let before = listing(&rig.snapshot("web", &first));
    rig.backup(&["all"]).exits(0).says("Web: OK").says("more names, with those in former copies, than");
    assert_eq!(rig.verdicts("web"), ["good", "good"]);
    assert_eq!(differences(&source, &rig.newest("web")), "");
    assert_same(&before, &listing(&rig.snapshot("web", &first)));
    let linked = |name: &str| fs::metadata(rig.newest("web").join(name)).unwrap().nlink();
    assert_eq!((linked("srv/one/a"), linked("srv/two/7")), (names, names));
    assert_eq!(linked("etc/fstab"), 2, "all else is shared");
    assert_nothing_left(&rig);
}

#[test]
fn a_store_with_less_room_than_asked_for_is_not_touched() {
    let mut rig = Rig::new();
    let store = rig.join("store");
    let mount = Mount::tmpfs(&store, "size=8m,mode=0700");
    rig.section("store.directory", "min_free_percent = 50\n");
    rig.host("Web");
    rig.host("New");
    rig.backup(&["web"]).exits(0);
    date_back(&rig, "web", "1 day ago");
    big_file(&store.join("somebody else's"), 5);
    let before = contents(&store);
    rig.backup(&["all"])
        .exits(1)
        .says_of(&["Web", "New"], "CRITICAL: store failed: ")
        .says(&format!("`{}` has ", store.display()))
        .says("`min_free_percent` asks for 50%")
        .says("(remove snapshots, add disks or lower `min_free_percent`)");
    assert_same(&before, &contents(&store));
    assert_nothing_left(&rig);
    mount.remount("size=64m");
    rig.backup(&["all"]).exits(0);
}

#[test]
fn a_missing_store_is_not_made() {
    let mut rig = Rig::new();
    rig.host("Web");
    rig.host("Other");
    for path in ["not mounted", "not mounted/below", "a file"] {
        let store = rig.join(path);
        if path == "a file" {
            rig.write(path, "");
        }
        rig.section("store.directory", &format!("path = {store:?}\n"));
        let ran = rig.backup(&["all"]).exits(1).says("mount it or create it");
        let told = format!("CRITICAL: store failed: cannot open the store's directory `{}`", store.display());
        ran.says_of(&["Web", "Other"], &told);
        assert!(!store.is_dir());
        assert_nothing_left(&rig);
        rig.section("store.directory", &format!("path = {:?}\n", rig.join("store")));
    }
    rig.backup(&["all"]).exits(0);
}

#[test]
fn a_read_only_store_is_told_and_nothing_is_copied() {
    let mut rig = Rig::new();
    let mount = Mount::tmpfs(&rig.join("store"), "size=8m,mode=0700");
    rig.host("Web");
    rig.host("New");
    rig.backup(&["web"]).exits(0);
    let yesterday = date_back(&rig, "web", "1 day ago");
    let before = contents(&rig.join("store"));
    mount.remount("ro");
    rig.backup(&["all"])
        .exits(1)
        .says("Web: CRITICAL: store failed: cannot ")
        .says("New: CRITICAL: store failed: cannot create ")
        .says("Read-only file system (os error 30) (mount it for writing; ")
        .says("last good copy ");
    assert_same(&before, &contents(&rig.join("store")));
    assert_eq!(latest(&rig, "web"), yesterday);
    mount.remount("rw");
    rig.backup(&["all"]).exits(0);
}

#[test]
fn a_symlink_in_place_of_a_hosts_folder_is_refused() {
    let mut rig = Rig::new();
    rig.host("Web");
    rig.host("Snapshots");
    rig.host("Other");
    let elsewhere = rig.join("elsewhere");
    rig.write(elsewhere.join("precious"), "");
    symlink(&elsewhere, rig.join("store/web")).unwrap();
    fs::create_dir(rig.join("store/snapshots")).unwrap();
    symlink(&elsewhere, rig.join("store/snapshots/snapshots")).unwrap();
    let before = listing(&elsewhere);
    rig.backup(&["all"])
        .exits(1)
        .says("Web: CRITICAL: store failed: ")
        .says("Snapshots: CRITICAL: store failed: ")
        .says("is not a directory of the store but something else, perhaps a symlink (move it away)")
        .says("Other: OK");
    assert_same(&before, &listing(&elsewhere));
    assert_nothing_left(&rig);
}

#[test]
fn a_snapshot_whose_facts_cannot_be_read_is_told_and_left_alone() {
    let mut rig = Rig::new();
    rig.host("Web");
    let broken = [
        ("10:00 40 days ago", "{\"run\":\"x\",\"verdict\":"),
        ("11:00 40 days ago", ""),
        ("12:00 40 days ago", "{\"run\":\"x\",\"verdict\":\"excellent\"}"),
        ("13:00 40 days ago", "\0\0\0\0"),
        ("14:00 40 days ago", "[]"),
    ];
    for (time, text) in broken {
        let name = name_at(time);
        made_up(&rig, "web", &name, "good");
        rig.write(rig.snapshot("web", &format!("{name}.json")), text);
    }
    let before = contents(&rig.join("store/web/snapshots"));
    let ran = rig.backup(&["all"]).exits(0).says("Web: OK");
    for (time, _) in broken {
        let told = format!("{}` is left alone: its facts cannot be read: ", name_at(time));
        assert!(ran.stderr.contains(&told), "{told}\n{}", ran.stderr);
    }
    assert!(ran.stderr.contains("repair or remove `"), "{}", ran.stderr);
    let mut now = contents(&rig.join("store/web/snapshots"));
    now.retain(|name, _| before.contains_key(name));
    assert_same(&before, &now);
    assert_eq!(rig.snapshots("web").len(), 6);
}

/// Years of snapshots of a host that was copied every night, the newest of
/// them yesterday: their names, oldest first.
fn years(rig: &Rig, host: &str, nights: u32) -> Vec<String> {
    let lines: String = (1..=nights).rev().map(|night| format!("02:00 {night} days ago\n")).collect();
    let dates = rig.write("dates", lines);
    let names = must("date", &["--utc", "--file", dates.to_str().unwrap(), "+backup-%Y-%m-%dT%H%M%SZ"]);
    let names: Vec<String> = names.lines().map(str::to_owned).collect();
    names.iter().for_each(|name| made_up(rig, host, name, "good"));
    names
}

/// The newest of each of the last so many periods, told apart by date(1).
fn newest_of_each(names: &[String], format: &str, count: usize, rig: &Rig) -> Vec<String> {
    let times: String = names
        .iter()
        .map(|name| format!("{} {}:{}:{} UTC\n", &name[7..17], &name[18..20], &name[20..22], &name[22..24]))
        .collect();
    let dates = rig.write("dates", times);
    let periods = must("date", &["--utc", "--file", dates.to_str().unwrap(), format]);
    let newest: BTreeMap<&str, &String> = periods.lines().zip(names).collect();
    newest.into_iter().rev().take(count).map(|(_, name)| name.clone()).collect()
}

#[test]
fn rotation_of_years_of_snapshots_keeps_what_the_tiers_say_and_all_that_is_not_ours() {
    let mut rig = Rig::new();
    rig.host("Web");
    rig.host("Other");
    rig.section("retention", "daily = 7\nweekly = 4\nmonthly = 24\nyearly = 5\n");
    let mut names = years(&rig, "web", 2500);
    // Held, somebody else's, and worth less than good.
    let held = [names[17].clone(), names[1800].clone()];
    for name in &held {
        rig.write(rig.snapshot("web", &format!("{name}.hold")), "");
    }
    let foreign = [names[30].clone(), names[2000].clone()];
    for name in &foreign {
        fs::remove_file(rig.snapshot("web", &format!("{name}.json"))).unwrap();
    }
    for name in ["before-upgrade", "backup-daily-2024-07-14"] {
        rig.write(rig.snapshot("web", name).join("file"), "");
    }
    let (suspect, partial) = (names[40].clone(), names[2498].clone());
    made_up(&rig, "web", &suspect, "suspect");
    made_up(&rig, "web", &partial, "partial");
    let other = years(&rig, "other", 30);

    rig.backup(&["web"]).exits(0).says("Web: OK");
    let taken = rig.snapshots("web").into_iter().rfind(|name| name.starts_with("backup-2")).unwrap();
    names.push(taken.clone());
    let good: Vec<String> = names
        .iter()
        .filter(|name| !foreign.contains(name) && **name != suspect && **name != partial)
        .cloned()
        .collect();
    let mut kept: Vec<String> = [("+%Y-%m-%d", 7), ("+%G-%V", 4), ("+%Y-%m", 24), ("+%Y", 5)]
        .iter()
        .flat_map(|(format, count)| newest_of_each(&good, format, *count, &rig))
        .chain(held.clone())
        .chain(foreign.clone())
        .chain(["before-upgrade".to_owned(), "backup-daily-2024-07-14".to_owned()])
        .collect();
    kept.sort();
    kept.dedup();
    assert_eq!(rig.snapshots("web"), kept);
    assert_eq!(latest(&rig, "web"), taken);
    assert_eq!(rig.snapshots("other"), other, "a host that was not copied is not rotated");
    // No tree without facts is left, and no facts without a tree.
    let facts = fs::read_dir(rig.join("store/web/snapshots")).unwrap();
    let facts: Vec<String> = facts.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for name in facts.iter().filter_map(|name| name.strip_suffix(".json")) {
        assert!(kept.iter().any(|kept| kept == name), "the facts of {name} stay");
    }
    assert!(!rig.join("store/web/.removing").exists());
    // A second run has nothing more to remove but the first one's snapshot.
    rig.wait_until("the next second", || name_at("now") > taken);
    rig.backup(&["web"]).exits(0);
    assert_eq!(rig.snapshots("web").len(), kept.len());
}

/// The binary under a clock that is off by so much.
fn backup_at(rig: &Rig, offset: &str, arguments: &[&str]) -> Ran {
    let mut command = through(&["faketime", "-f", offset], &rig.command(arguments));
    finish(command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").spawn().unwrap()).into()
}

#[test]
fn a_clock_that_was_set_back_removes_nothing_anywhere() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    rig.host("New");
    years(&rig, "web", 40);
    rig.backup(&["web"]).exits(0);
    let kept = rig.snapshots("web");
    let newest = latest(&rig, "web");
    let superfluous = name_at("01:00 3 days ago");
    made_up(&rig, "web", &superfluous, "good");

    let ran = backup_at(&rig, "-365d", &["all"])
        .exits(1)
        .says("the clock is behind the newest snapshot")
        .says(&format!("`{newest}` of web"))
        .says("nothing is removed of that host, nor of any whose own clock does not agree")
        .says("correct the clock")
        .says("CRITICAL: suspect copy: its date is wrong: this server's clock is 365 days behind the host's")
        .says_of(&["Web", "New"], "CRITICAL: suspect copy: its date is wrong: ");
    let now = rig.snapshots("web");
    assert!(now.contains(&superfluous), "{}", ran.stderr);
    assert!(kept.iter().all(|name| now.contains(name)), "{now:#?}");
    // The copy is made all the same, and does not pass for the latest.
    assert_eq!(now.len(), kept.len() + 2);
    assert_eq!(differences(&source, &rig.snapshot("web", &now[0])), "");
    assert_eq!(latest(&rig, "web"), newest);

    // The clock is right again: so is the rest.
    rig.wait_until("the next second", || name_at("now") > newest);
    rig.backup(&["all"]).exits(0).does_not_say("clock");
    let last = rig.snapshots("web");
    assert!(!last.contains(&superfluous));
    // The copy with the wrong date has taken nothing's place.
    assert!(!last.contains(&now[0]));
    assert!(kept.iter().all(|name| last.contains(name) || *name == newest), "{kept:#?} are {last:#?}");
    assert_nothing_left(&rig);
}

#[test]
fn a_clock_a_year_ahead_loses_no_history_and_is_told_once_it_is_right_again() {
    let mut rig = Rig::new();
    rig.host("Web");
    let names = years(&rig, "web", 100);
    rig.backup(&["web"]).exits(0);
    let kept = rig.snapshots("web");
    assert!(kept.len() < names.len());

    // The clock of the host, which is right, is what tells.
    backup_at(&rig, "+365d", &["all"]).exits(1).says(
        "Web: CRITICAL: suspect copy: its date is wrong: this server's clock is 365 days ahead of the host's (set the",
    );
    let ahead = rig.snapshots("web").pop().unwrap();
    assert!(ahead > name_at("300 days"), "{ahead}");
    assert!(kept.iter().all(|name| rig.snapshots("web").contains(name)), "history is lost");
    assert_eq!(latest(&rig, "web"), *kept.last().unwrap());

    // The clock is right again: the copy that was dated wrongly holds up nothing.
    let superfluous = name_at("01:00 3 days ago");
    made_up(&rig, "web", &superfluous, "good");
    rig.wait_until("the next second", || kept.iter().all(|name| *name < name_at("now")));
    rig.backup(&["all"]).exits(0).says("Web: OK").does_not_say("clock");
    assert!(!rig.snapshots("web").contains(&superfluous), "nothing was removed");
    assert!(rig.snapshots("web").contains(&ahead), "what is known of the host's last days");
    let last = latest(&rig, "web");
    assert!(last < ahead && last > *kept.last().unwrap());
    rig.backup(&["status", "--nagios"]).exits(0);
    made_up(&rig, "web", &superfluous, "good");
    rig.backup(&["prune", "web"]).exits(0);
    assert!(
        !rig.snapshots("web").contains(&superfluous),
        "what is dated in the future is not the last run's"
    );
    rig.backup(&["verify", "web"]).exits(0).says(&last);
}

#[test]
fn only_a_copy_of_a_host_whose_clock_agreed_speaks_for_a_clock_that_is_ahead_of_anothers() {
    let mut rig = Rig::new();
    rig.hosts_are_elsewhere();
    rig.host("Web");
    let facts = |host: &str, name: &str| -> serde_json::Value {
        let file = rig.join("store").join(host).join("snapshots").join(format!("{name}.json"));
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    };
    rig.backup(&["web"]).exits(0);
    assert_eq!(facts("web", &rig.snapshots("web")[0])["clock_agreed"], true);
    // As last night's of this server itself, under the same clock.
    let last_night = name_at("364 days 12 hours");
    made_up(&rig, "own", &last_night, "good");
    backup_at(&rig, "+365d", &["web"]).exits(1).says("Web: CRITICAL: suspect copy: its date is wrong: ");
    // As that of a host whose own clock agreed: then it is Web's that is wrong.
    let mut told = facts("own", &last_night);
    told["clock_agreed"] = true.into();
    rig.write(rig.join("store/own/snapshots").join(format!("{last_night}.json")), told.to_string());
    backup_at(&rig, "+365d", &["web"])
        .exits(1)
        .says("Web: WARNING: nothing was removed: this server's clock is 365 days ahead of the host's");
}

#[test]
fn a_good_copy_of_the_future_is_never_the_latest_and_holds_up_its_own_host_alone() {
    let mut rig = Rig::new();
    rig.hosts_are_elsewhere();
    let source = rig.host("Web");
    rig.host("Other");
    rig.backup(&["all"]).exits(0);
    // As an older version of this program took it under a clock that was ahead.
    let future = name_at("300 days");
    made_up(&rig, "web", &future, "good");
    let superfluous = name_at("01:00 3 days ago");
    for host in ["web", "other"] {
        made_up(&rig, host, &superfluous, "good");
        made_up(&rig, host, &name_at("02:00 3 days ago"), "good");
    }
    rig.write(source.join("etc/new"), "new\n");
    let newest = |host: &str| rig.snapshots(host).into_iter().rfind(|name| *name != future).unwrap();
    let before = newest("web");
    rig.wait_until("the next second", || name_at("now") > before);
    rig.backup(&["all"])
        .exits(1)
        .says(&format!("the clock is behind the newest snapshot, `{future}` of web"))
        .says("Web: WARNING: nothing was removed: ")
        .says(&format!("/web/snapshots/{future}.json`"))
        .says("Other: OK: ");
    assert!(rig.snapshots("web").contains(&superfluous), "what is before a wrong date is kept");
    assert!(!rig.snapshots("other").contains(&superfluous), "a host of which nothing is wrong is rotated");
    assert_eq!(latest(&rig, "web"), newest("web"));

    let to = rig.join("restored");
    fs::create_dir(&to).unwrap();
    let said = format!("dated in the future, under a clock that was ahead: {future}");
    rig.backup(&["restore", "web", "/etc/new", "--to", to.to_str().unwrap(), "--yes"]).exits(0).says(&said);
    assert_eq!(fs::read_to_string(to.join("etc/new")).unwrap(), "new\n");
    for command in [&["find", "web", "/etc/new"][..], &["diff", "web", &before], &["snapshots", "web"]] {
        let ran = rig.backup(command);
        assert!(ran.stderr.contains(&said), "{command:?}: {}", ran.stderr);
    }
    let ran = rig.backup(&["diff", "web", &before]);
    assert!(ran.stdout.contains("etc/new"), "{}{}", ran.stdout, ran.stderr);
    let ran = rig.backup(&["status"]);
    assert!(
        ran.stdout.contains(
            "in the future: correct this machine's clock, or remove that snapshot (`backup snapshots Web` says how)"
        ),
        "{}",
        ran.stdout
    );
    rig.backup(&["snapshots", "web"]).says(&format!("/web/snapshots/{future}.json`"));
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&rig.backup(arguments).stdout).unwrap()
    };
    let taken = newest("web");
    let known = json(&["status", "web", "--json"]);
    let last_good = known["hosts"][0]["last_good"].as_str().unwrap().replace(['-', ':'], "");
    assert_eq!(last_good, taken["backup-".len()..].replace('-', ""), "{known:#}");
    let planned = json(&["plan", "web", "--json"]);
    assert_eq!(planned["hosts"][0]["last_good"], taken, "{planned:#}");
    // A run that comes to nothing says since when there is no good copy.
    rig.sshd().forget_keys();
    let told = format!("last good copy {}-{}-{}", &taken[7..11], &taken[12..14], &taken[15..17]);
    rig.backup(&["web"]).exits(1).says(&told);
}

#[test]
fn a_store_that_keeps_no_acls_says_what_makes_it_keep_them() {
    let mut rig = Rig::new();
    // As a dataset with ZFS's own defaults is in this, ramfs knows no ACLs.
    let _store = Mount::of("ramfs", &rig.join("store"), "mode=0700");
    let source = rig.host("Web");
    rig.backup(&["all"]).exits(0);
    rig.write(source.join("listed"), "text");
    xattr(&source.join("listed"), "system.posix_acl_access", &some_acl());
    rig.backup(&["all"])
        .exits(1)
        .says("Web: WARNING: partial copy: some files could not be copied: ")
        .says("; where the copies live, ACLs cannot be kept: for a dataset, `zfs set acltype=posixacl`");
    assert_eq!(rig.verdicts("web"), ["good", "partial"]);
    assert_eq!(fs::read_to_string(rig.newest("web").join("listed")).unwrap(), "text");
}
