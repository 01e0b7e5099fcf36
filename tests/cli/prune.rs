//! `backup prune`: rotation without a run, and with all of its caution.

use crate::support::on_every_store;
use crate::support::rig::*;
use crate::support::trees::{Mount, assert_nothing_left, destroy, made_up, name_at, through};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

on_every_store! {
    what_no_tier_claims_goes_and_nothing_else,
    a_host_that_left_the_inventory_keeps_everything_unless_it_is_named,
    a_host_that_is_locked_is_passed_over,
    a_snapshot_that_is_dated_in_the_future_keeps_those_of_its_own_host_alone,
}

/// A rig with hosts of some past each: one snapshot of a run, and made-up ones
/// of which a policy of one each keeps none.
fn with_a_past(mut rig: Rig, hosts: &[&str]) -> Rig {
    rig.section("retention", "daily = 9\nweekly = 9\nmonthly = 9\nyearly = 9");
    for host in hosts {
        rig.near_host(host, "hooks = false\n");
    }
    rig.backup(&["all"]).exits(0);
    for host in hosts {
        for (age, verdict) in [("3 days ago", "good"), ("20 days ago", "partial"), ("400 days ago", "good")] {
            made_up(&rig, host, &name_at(age), verdict);
        }
    }
    rig.section("retention", "daily = 1\nweekly = 1\nmonthly = 1\nyearly = 1");
    rig
}

#[track_caller]
fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["snapshot"].as_str().unwrap()).collect()
}

fn what_no_tier_claims_goes_and_nothing_else(rig: Rig) {
    let rig = with_a_past(rig, &["web"]);
    let held = name_at("30 days ago");
    made_up(&rig, "web", &held, "good");
    rig.backup(&["hold", "web", &held, "trial"]).exits(0);
    match &rig.dataset {
        Some(dataset) => {
            drop(crate::support::pool::zfs(&["snapshot", &format!("{}@theirs", dataset.child("web"))]))
        }
        None => fs::create_dir(rig.snapshot("web", "theirs")).unwrap(),
    }
    let before = rig.snapshots("web");
    assert_eq!(before.len(), 6);

    let shown = rig
        .backup(&["prune", "--dry-run", "--json"])
        .exits(0)
        .says("1 host: 3 snapshots would be removed, 3 kept");
    let shown = json_of(&shown);
    assert_eq!(rig.snapshots("web"), before, "a look removed something");
    let table = rig.backup(&["prune", "-n"]).exits(0).stdout;
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(
        table.contains("removed  no tier claims it") && table.contains("removed  partial, and superseded"),
        "{table}"
    );

    let ran = rig
        .backup(&["prune", "--json"])
        .exits(0)
        .says("web: removed backup-")
        .says("1 host: 3 snapshots removed, 3 kept");
    assert_eq!(json_of(&ran), shown, "it did what it had shown");
    let gone = names(&shown["remove"]);
    let stay: Vec<&String> = before.iter().filter(|name| !gone.contains(&name.as_str())).collect();
    assert_eq!(rig.snapshots("web").iter().collect::<Vec<_>>(), stay);
    assert!(stay.contains(&&held) && stay.contains(&&"theirs".to_owned()), "{stay:?}");
    let reasons = |name: &str| {
        let keep = shown["keep"].as_array().unwrap();
        keep.iter().find(|kept| kept["snapshot"] == json!(name)).unwrap()["reasons"].clone()
    };
    assert_eq!((reasons(&held), reasons("theirs")), (json!(["held"]), json!(["not ours"])));

    let again = rig.backup(&["prune"]).exits(0).says("0 snapshots removed, 3 kept");
    assert_eq!(again.stdout, "");
    let quiet = rig.backup(&["prune", "--quiet"]).exits(0).does_not_say("kept");
    assert_eq!(quiet.stdout, "");
    assert_nothing_left(&rig);
}

fn a_host_that_left_the_inventory_keeps_everything_unless_it_is_named(rig: Rig) {
    let mut rig = with_a_past(rig, &["web", "old"]);
    // It is gone from NetBox, which does not answer either.
    let token = rig.write("token", "0123456789abcdef0123456789abcdef01234567");
    fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
    let url = format!("http://127.0.0.1:{}/", free_port());
    rig.replace("hosts.\"old\"", "listed = false");
    rig.section("inventory.netbox", &format!("url = {url:?}\ntoken_file = {token:?}\ntimeout = \"5s\"\n"));
    rig.backup(&["prune", "all"]).exits(0).says("1 host: 3 snapshots removed");
    assert_eq!((rig.snapshots("web").len(), rig.snapshots("old").len()), (1, 4));
    rig.backup(&["prune", "ol"]).exits(2).says("the store still holds snapshots of `old`");
    rig.backup(&["prune", "o*"]).exits(2).says("no host's name matches");
    let named = rig.backup(&["prune", "OLD"]).exits(0).says("1 host: 3 snapshots removed, 1 kept");
    assert!(!named.stderr.contains("NetBox"), "nobody need be asked: {}", named.stderr);
    assert_eq!(rig.snapshots("old").len(), 1);
}

fn a_host_that_is_locked_is_passed_over(rig: Rig) {
    let rig = with_a_past(rig, &["web", "vpn"]);
    let lock = File::open(rig.join("run/vpn.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    fs::write(rig.join("run/vpn.lock"), format!("{}\n", std::process::id())).unwrap();
    // Who only looks needs no lock.
    rig.backup(&["prune", "--dry-run"]).exits(0).says("2 hosts: 6 snapshots would be removed");
    let ran = rig
        .backup(&["prune", "--json"])
        .exits(1)
        .says(&format!("vpn: nothing was removed: locked by another run (process {})", std::process::id()));
    assert_eq!((rig.snapshots("web").len(), rig.snapshots("vpn").len()), (1, 4));
    let answer = json_of(&ran);
    assert_eq!(answer["problems"][0]["host"], json!("vpn"));
    assert!(
        answer["remove"].as_array().unwrap().iter().all(|gone| gone["host"] == json!("web")),
        "{answer:#}"
    );
}

fn a_snapshot_that_is_dated_in_the_future_keeps_those_of_its_own_host_alone(rig: Rig) {
    let rig = with_a_past(rig, &["web", "vpn"]);
    let future = name_at("tomorrow");
    made_up(&rig, "vpn", &future, "partial");
    let remedy = match &rig.dataset {
        Some(dataset) => format!("`zfs destroy {}@{future}`", dataset.child("vpn")),
        None => format!("/vpn/snapshots/{future}.json`"),
    };
    for options in [&["prune", "--json", "--dry-run"][..], &["prune", "--json"]] {
        let ran = rig
            .backup(options)
            .exits(1)
            .says(&format!("vpn: nothing was removed: the clock is behind its newest snapshot, `{future}`"))
            .says(&remedy)
            .does_not_say("web: nothing");
        let answer = json_of(&ran);
        let removed = answer["remove"].as_array().unwrap();
        assert!(!removed.is_empty() && removed.iter().all(|gone| gone["host"] == json!("web")), "{answer:#}");
    }
    assert_eq!((rig.snapshots("web").len(), rig.snapshots("vpn").len()), (1, 5));
}

#[test]
fn a_host_whose_last_run_was_not_good_is_passed_over() {
    let mut rig = with_a_past(Rig::new(), &["web"]);
    rig.replace("hosts.\"web\"", "hooks = true\n");
    rig.hook("dump", "exit 3\n");
    rig.backup(&["web"]).exits(1).says("hook dump failed (exit 3)");
    let before = rig.snapshots("web");
    for words in [&["prune"][..], &["prune", "--dry-run"], &["prune", "web"]] {
        let ran =
            rig.backup(words).exits(1).says("its last run was not good").says("hook dump failed (exit 3)");
        assert_eq!(ran.stdout, "", "{words:?}");
        assert_eq!(rig.snapshots("web"), before, "{words:?}");
    }
    rig.backup(&["prune", "--force"]).exits(0);
    assert!(rig.snapshots("web").len() < before.len());
    // A history that cannot be read is no reason to believe the best.
    made_up(&rig, "web", &name_at("510 days ago"), "partial");
    rig.write("state/history.db", "no database ".repeat(100));
    rig.backup(&["prune"]).exits(1).says("cannot tell how its last run went").says("history.db");
    rig.backup(&["prune", "--force"]).exits(0);
    // Without a history the snapshots know of verdicts, not of hooks.
    fs::remove_file(rig.join("state/history.db")).unwrap();
    for name in rig.snapshots("web") {
        destroy(&rig, "web", &name);
    }
    for (age, verdict) in [("2 hours ago", "good"), ("1 hour ago", "suspect")] {
        made_up(&rig, "web", &name_at(age), verdict);
    }
    rig.backup(&["prune"]).exits(0);
    made_up(&rig, "web", &name_at("500 days ago"), "partial");
    rig.backup(&["prune"]).exits(1).says(" is suspect (a good run removes");
}

/// As after a night on which the history could not be written.
#[test]
fn a_snapshot_that_is_not_good_and_newer_than_the_history_is_the_last_run() {
    let mut rig = Rig::without_sshd();
    rig.host("web");
    let mut run = through(&["faketime", "-f", "-1d"], &rig.command(&["web"]));
    Ran::from(finish(run.spawn().unwrap())).exits(0);
    for (age, verdict) in [("9 days ago", "good"), ("1 hour ago", "partial")] {
        made_up(&rig, "web", &name_at(age), verdict);
    }
    rig.section("retention", "daily = 1\nweekly = 1\nmonthly = 1\nyearly = 1");
    rig.backup(&["prune"]).exits(1).says("its last run was not good: backup-").says(" is partial (");
    assert_eq!(rig.snapshots("web").len(), 3);
    // One that was not good before the last run is of no account.
    destroy(&rig, "web", rig.snapshots("web").last().unwrap());
    made_up(&rig, "web", &name_at("2 days ago"), "partial");
    rig.backup(&["prune"]).exits(0);
}

#[test]
fn a_clock_that_is_a_year_ahead_removes_nothing_more() {
    let rig = alone();
    let right = json_of(&rig.backup(&["prune", "--dry-run", "--json"]).exits(0));
    let mut ahead = through(&["faketime", "-f", "+400d"], &rig.command(&["prune", "--json"]));
    let ahead: Ran = finish(ahead.spawn().unwrap()).into();
    assert_eq!(json_of(&ahead.exits(0)), right);
    assert_eq!(rig.snapshots("web").len(), 1);
}

/// A rig without sshd, with one such host.
fn alone() -> Rig {
    with_a_past(Rig::without_sshd(), &["web"])
}

#[test]
fn what_cannot_be_removed_is_told_and_the_rest_goes() {
    let rig = alone();
    let stuck = name_at("3 days ago");
    let stuck = rig.snapshots("web").into_iter().rev().find(|name| name[..17] == stuck[..17]).unwrap();
    // The kernel does not rename what is mounted.
    let mount = Mount::tmpfs(&rig.snapshot("web", &stuck), "size=1m");
    let ran = rig.backup(&["prune", "--json"]).exits(1).says(&format!("web: {stuck} could not be removed: "));
    drop(mount);
    let answer = json_of(&ran);
    assert_eq!(names(&answer["remove"]).len(), 2, "{answer:#}");
    let kept =
        &answer["keep"].as_array().unwrap().iter().find(|kept| kept["snapshot"] == json!(stuck)).unwrap();
    assert!(kept["reasons"][0].as_str().unwrap().starts_with("it could not be removed: "), "{kept}");
    assert_eq!(rig.snapshots("web").len(), 2);
    rig.backup(&["prune"]).exits(0).says("1 snapshot removed, 1 kept");
}

#[test]
fn who_is_told_to_stop_ends_soon_and_says_what_is_left() {
    let rig = alone();
    // Somebody changes holds, and takes long.
    let snapshots: PathBuf = rig.join("store/web/snapshots");
    let lock = File::open(&snapshots).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let child = rig.start(&["prune", "--json"]);
    let waits = format!("/proc/{}/task", child.id());
    rig.wait_until("the removal waits", || {
        let Ok(tasks) = fs::read_dir(&waits) else { return false };
        let stack = |task: fs::DirEntry| fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
        // flock(2) on x86-64, and on 64-bit ARM.
        tasks.flatten().map(stack).any(|call| call.starts_with("73 ") || call.starts_with("32 "))
    });
    signal(&child, rustix::process::Signal::TERM);
    let ran: Ran = finish(child).into();
    let ran = ran.exits(1).says("web: told to stop: ");
    assert_eq!(json_of(&ran)["problems"].as_array().unwrap().len(), 1);
    drop(lock);
    assert_eq!(rig.snapshots("web").len(), 4);
    rig.backup(&["prune"]).exits(0).says("3 snapshots removed");
    assert_nothing_left(&rig);
}

#[test]
fn a_store_that_is_not_there_is_no_store_without_snapshots() {
    let rig = alone();
    fs::rename(rig.join("store"), rig.join("away")).unwrap();
    rig.backup(&["prune"]).exits(2).says("cannot open the store's directory");
    rig.backup(&["prune", "--dry-run"]).exits(2).says("cannot open the store's directory");
}
