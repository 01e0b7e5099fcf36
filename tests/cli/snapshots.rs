//! `backup snapshots`: what there is of a host, and why it is kept.

use crate::support::shelf::*;
use serde_json::{Value, json};
use std::fs;

/// A host with one snapshot of each kind, oldest first.
fn vpn(shelf: &Shelf) {
    let put = |name: &str, facts| shelf.put(&Copy { host: "vpn", name, facts });
    put("backup-2025-12-31T020005Z", Some(facts("good", 9, 3000, 10)));
    put("backup-2026-11-18T020005Z", Some(facts("partial", 8, 2000, 10)));
    put("backup-2026-11-19T020005Z", Some(facts("good", 10, 4000, 11)));
    put("backup-2026-11-20T010005Z", Some(facts("good", 10, 4000, 11)));
    put("backup-2026-11-20T020005Z", Some(facts("good", 11, 4096, 12)));
    shelf.hold("vpn", "backup-2026-11-18T020005Z");
    put("backup-2026-11-20T030005Z", None);
}

fn directories() -> Shelf {
    inventoried(Shelf::of_directories())
}

fn zfs() -> Shelf {
    inventoried(Shelf::of_zfs())
}

/// A configuration needs a host; the store need not know it.
fn inventoried(mut shelf: Shelf) -> Shelf {
    shelf.rig.host("other");
    shelf
}

fn on_both(test: impl Fn(Shelf)) {
    test(directories());
    test(zfs());
}

fn listed<'a>(answer: &'a Value, name: &str) -> &'a Value {
    answer.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn each_snapshot_is_listed_with_its_worth_and_why_it_is_kept() {
    on_both(|shelf| {
        vpn(&shelf);
        let answer = shelf.json(0, &["snapshots", "VPN", "--json"]);
        let rows = answer.as_array().unwrap();
        let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
        let newest = "backup-2026-11-20T020005Z";
        let path = shelf.tree("vpn", newest);
        let row = listed(&answer, newest);
        for (field, value) in [
            ("time", json!("2026-11-20T02:00:05Z")),
            ("verdict", json!("good")),
            ("claims", json!(["daily 2026-11-20", "weekly 2026-W47", "monthly 2026-11", "yearly 2026"])),
            ("held", json!(false)),
            ("ours", json!(true)),
            ("files", json!(11)),
            ("path", json!(path)),
            ("bytes", json!(4096)),
            ("duration_seconds", json!(12)),
            ("run", json!("r1")),
            ("goes", Value::Null),
        ] {
            assert_eq!(row[field], value, "{field}");
        }
        assert!(path.join("etc/hostname").exists(), "the path leads to the files");
        let held = listed(&answer, "backup-2026-11-18T020005Z");
        assert_eq!(
            (&held["held"], &held["claims"], &held["reasons"]),
            (&json!(true), &json!([]), &json!(["held"]))
        );
        assert_eq!(held["holds"], json!(["keep"]));
        let goes = listed(&answer, "backup-2026-11-20T010005Z");
        assert_eq!((&goes["goes"], &goes["reasons"]), (&json!("no tier claims it"), &json!([])));
        let last_year = listed(&answer, "backup-2025-12-31T020005Z");
        assert!(last_year["claims"].as_array().unwrap().contains(&json!("yearly 2025")), "{last_year}");
        let foreign = listed(&answer, "backup-2026-11-20T030005Z");
        for field in ["verdict", "files", "bytes", "run", "duration_seconds"] {
            assert_eq!(foreign[field], Value::Null, "{field}");
        }
        assert_eq!((&foreign["ours"], &foreign["reasons"]), (&json!(false), &json!(["not ours"])));
        assert_eq!(names.len(), 6);
        assert_eq!(names[0], "backup-2025-12-31T020005Z", "oldest first");
    });
}

#[test]
fn in_a_pipe_each_snapshot_is_one_whole_line() {
    on_both(|mut shelf| {
        shelf.rig.top = "timezone = \"America/New_York\"\n".to_owned();
        vpn(&shelf);
        let ran = shelf.backup(&["snapshots", "vpn"]).exits(0).says("times in America/New_York");
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines.len(), 7, "{}", ran.stdout);
        let line = lines.iter().find(|line| line.starts_with("backup-2026-11-20T020005Z")).unwrap();
        assert!(line.contains("  2026-11-19 21:00  good "), "local time: {line}");
        let claims = "daily 2026-11-19, weekly 2026-W47, monthly 2026-11, yearly 2026, the newest good one";
        assert!(line.contains(claims), "{line}");
        assert!(line.ends_with(shelf.tree("vpn", "backup-2026-11-20T020005Z").to_str().unwrap()), "{line}");
        assert!(ran.stdout.contains("  nothing: no tier claims it  "), "{}", ran.stdout);
        assert!(ran.stdout.contains("  held as keep  "), "{}", ran.stdout);
        assert!(ran.stdout.contains("  foreign "), "{}", ran.stdout);
        let quiet = shelf.backup(&["snapshots", "vpn", "--quiet"]).exits(0);
        assert_eq!((quiet.stdout, quiet.stderr), (ran.stdout, String::new()));
    });
}

#[test]
fn on_a_terminal_no_line_is_wider_than_100_columns() {
    let shelf = directories();
    vpn(&shelf);
    let long = format!("before-{}", "upgrade-".repeat(20));
    shelf.put(&Copy { host: "vpn", name: &long, facts: None });
    let text = on_terminal(&shelf.command(&["snapshots", "vpn"]));
    assert!(text.contains("backup-2026-11-20T020005Z   2026-11-20 02:00  good"), "{text}");
    for line in text.lines().filter(|line| !line.contains("snapshots in ")) {
        assert!(line.chars().count() <= 100, "{line}\n{text}");
    }
    let folder = shelf.tree("vpn", "x").parent().unwrap().to_owned();
    assert!(text.contains(folder.to_str().unwrap()), "where to browse: {text}");
}

#[test]
fn zfs_says_what_each_snapshot_alone_holds_and_directories_if_asked() {
    let zfs = zfs();
    vpn(&zfs);
    let answer = zfs.json(0, &["snapshots", "vpn", "--json"]);
    assert!(answer.as_array().unwrap().iter().all(|row| row["bytes_used"] == 2), "{answer}");

    let shelf = directories();
    vpn(&shelf);
    let (old, new) = ("backup-2026-11-19T020005Z", "backup-2026-11-20T020005Z");
    shelf.rig.write(shelf.tree("vpn", old).join("shared"), vec![7; 3 << 20]);
    fs::hard_link(shelf.tree("vpn", old).join("shared"), shelf.tree("vpn", new).join("shared")).unwrap();
    shelf.rig.write(shelf.tree("vpn", new).join("own"), vec![7; 2 << 20]);
    let ran = shelf.backup(&["snapshots", "vpn"]).exits(0).says("`--space`");
    assert!(ran.stdout.lines().skip(1).all(|line| line.contains("  -  ")), "{}", ran.stdout);
    let unasked = shelf.json(0, &["snapshots", "vpn", "--json"]);
    assert!(unasked.as_array().unwrap().iter().all(|row| row["bytes_used"].is_null()));
    let asked = shelf.json(0, &["snapshots", "vpn", "--json", "--space"]);
    let mib = |name: &str| listed(&asked, name)["bytes_used"].as_u64().unwrap() >> 20;
    assert_eq!((mib(old), mib(new)), (0, 2));
    shelf.backup(&["snapshots", "vpn", "--space"]).exits(0).does_not_say("`--space`");
}

#[test]
fn a_host_that_the_store_lacks_is_an_error_that_names_the_nearest() {
    on_both(|shelf| {
        vpn(&shelf);
        shelf.place("mail");
        for (host, said) in [
            ("vpm", "the store has no copies of `vpm`; did you mean `vpn`?"),
            ("zzz", "`backup status` lists what it holds"),
            ("../vpn", "`../vpn` cannot be a host's name"),
            ("-x", "unexpected argument"),
        ] {
            let ran = shelf.backup(&["snapshots", host, "--json"]).exits(2).says(said);
            assert_eq!(ran.stdout, "", "{host}");
        }
        assert_eq!(shelf.json(0, &["snapshots", "mail", "--json"]), json!([]));
        let ran = shelf.backup(&["snapshots", "mail"]).exits(0).says("no snapshot yet");
        assert_eq!(ran.stdout, "");
    });
}

#[test]
fn a_folder_that_no_run_has_been_in_is_not_offered_as_a_host() {
    let shelf = directories();
    std::fs::create_dir(shelf.rig.join("store/incoming")).unwrap();
    shelf
        .backup(&["snapshots", "incoming"])
        .exits(2)
        .says("the store has no copies of `incoming` (`backup status`");
}

#[test]
fn a_look_changes_nothing_and_needs_no_inventory() {
    let shelf = directories();
    vpn(&shelf);
    let before = shelf.fingerprint();
    shelf.backup(&["snapshots", "vpn", "--space"]).exits(0);
    assert_eq!(shelf.fingerprint(), before);
    let zfs = zfs();
    vpn(&zfs);
    zfs.standin().forget_calls();
    zfs.backup(&["snapshots", "vpn"]).exits(0);
    let calls = zfs.standin().calls();
    assert!(calls.len() <= 8, "{calls:#?}");
    for call in calls {
        let words: Vec<&str> = call.split(' ').collect();
        assert!(matches!(words[1], "list" | "get" | "holds"), "{call}");
    }
}

#[test]
fn a_store_that_does_not_answer_is_said() {
    let zfs = zfs();
    vpn(&zfs);
    zfs.standin().health("SUSPENDED");
    zfs.backup(&["snapshots", "vpn"]).exits(2).says("the pool `data` is SUSPENDED");
    let mut shelf = directories();
    shelf.rig.section("store.directory", "path = \"/nowhere\"\n");
    shelf.backup(&["snapshots", "vpn"]).exits(2).says("an unmounted disk would look just like");
}
