//! Holds: what an operator keeps before something dangerous stays until it is
//! released, and says so.

use crate::support::on_every_store;
use crate::support::rig::*;
use crate::support::trees::{made_up, name_at};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A rig with one host, which keeps one snapshot of it and no more.
fn sparing(mut rig: Rig) -> Rig {
    rig.near_host("VPN", "hooks = false\n");
    rig.section("retention", "daily = 1\nweekly = 1\nmonthly = 1\nyearly = 1");
    rig
}

/// Somebody else takes a snapshot.
fn foreign(rig: &Rig, host: &str, name: &str) {
    match &rig.dataset {
        Some(dataset) => {
            crate::support::pool::zfs(&["snapshot", &format!("{}@{name}", dataset.child(host))]);
        }
        None => fs::create_dir(rig.snapshot(host, name)).unwrap(),
    }
}

#[track_caller]
fn answer(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

fn a_run_holds_what_it_took_until_it_is_released(rig: Rig) {
    let rig = sparing(rig);
    rig.backup(&["vpn", "--keep", "before-upgrade"])
        .exits(0)
        .says("held as `before-upgrade`; ")
        .says("\nheld as `before-upgrade`: VPN backup-");
    let kept = rig.snapshots("vpn").pop().unwrap();
    for _ in 0..2 {
        rig.backup(&["all"]).exits(0).does_not_say("could not be removed");
    }
    let names = rig.snapshots("vpn");
    assert_eq!((names.len(), &names[0]), (2, &kept), "the held one and the newest");

    let released = rig
        .backup(&["release", "vpn", &kept, "before-upgrade", "--json"])
        .exits(0)
        .says("no longer held as `before-upgrade`")
        .says("the next rotation removes it: no tier claims it");
    assert_eq!(
        answer(&released),
        json!({"host": "vpn", "snapshot": kept, "name": "before-upgrade", "holds": [], "keep": false,
               "reasons": ["no tier claims it"]})
    );
    rig.backup(&["all"]).exits(0);
    assert_eq!(rig.snapshots("vpn").len(), 1);
    assert_ne!(rig.snapshots("vpn")[0], kept);
}

fn every_host_of_a_run_is_held_whatever_its_copy_is_worth(rig: Rig) {
    let mut rig = sparing(rig);
    let web = rig.near_host("Web", "hooks = false\n");
    rig.near_host("Away", "source = \"/nowhere\"\nhooks = false\n");
    rig.backup(&["vpn", "web"]).exits(0);
    for folder in ["etc", "srv"] {
        fs::remove_dir_all(web.join(folder)).unwrap();
    }
    let ran = rig
        .backup(&["all", "--keep", "ticket:4711"])
        .exits(1)
        .says("VPN: OK: held as `ticket:4711`")
        .says("Web: CRITICAL: suspect copy: ")
        .says("there is no new snapshot, so none is held as `ticket:4711`");
    for (host, is_held) in [("VPN", true), ("Web", true), ("Away", false)] {
        assert_eq!(ran.stderr.contains(&format!("\nheld as `ticket:4711`: {host} ")), is_held, "{host}");
    }
    for host in ["vpn", "web"] {
        let newest = rig.snapshots(host).pop().unwrap();
        rig.backup(&["release", host, &newest]).exits(0).says("no longer held as `ticket:4711`");
        rig.backup(&["release", host, &newest]).exits(1).says("is not held");
    }
}

fn any_snapshot_can_be_held_by_its_name_or_its_time(rig: Rig) {
    let rig = sparing(rig);
    rig.backup(&["vpn"]).exits(0);
    let newest = rig.snapshots("vpn").pop().unwrap();
    let old = name_at("3 days ago");
    made_up(&rig, "vpn", &old, "good");
    foreign(&rig, "vpn", "before-upgrade");

    let held = answer(&rig.backup(&["hold", "VPN", "latest", "--json"]).exits(0));
    assert_eq!(
        (&held["snapshot"], &held["name"], &held["new"]),
        (&json!(newest), &json!("kept"), &json!(true))
    );
    assert!(Path::new(held["path"].as_str().unwrap()).join("etc/fstab").exists(), "{held}");
    let again = rig.backup(&["hold", "vpn", &newest, "kept", "--json"]).exits(0).says("(it was already)");
    assert_eq!(answer(&again)["new"], json!(false));
    let quiet = rig.backup(&["hold", "vpn", "2 days ago", "trial", "--quiet"]).exits(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.contains("is held")), ("", false));
    rig.backup(&["hold", "vpn", "before-upgrade", "trial"]).exits(0).says("is held as `trial`");
    rig.backup(&["hold", "vpn", &old, "other"]).exits(0);

    rig.backup(&["all"]).exits(0);
    let names = rig.snapshots("vpn");
    assert!([&newest, &old].iter().all(|name| names.contains(name)) && names.len() == 4, "{names:?}");

    for (arguments, said) in [
        (&["release", "vpn", &old][..], "is held as `other`, as `trial`: name the one to release"),
        (&["release", "vpn", &old, "kept"], "is not held as `kept`: it is held as `other`, as `trial`"),
        (
            &["release", "vpn", "latest", "kept"],
            "is not held as `kept`: nothing holds it; held of this host: ",
        ),
    ] {
        rig.backup(arguments).exits(1).says(said);
    }
    rig.backup(&["release", "vpn", &old, "other"]).exits(0).says("it is still held as `trial`");
    rig.backup(&["release", "vpn", "before-upgrade"]).exits(0).says("the next rotation keeps it: not ours");
    rig.backup(&["release", "vpn", &newest]).exits(0).says("the next rotation removes it: no tier claims it");
    rig.backup(&["all"]).exits(0);
    let names = rig.snapshots("vpn");
    assert!(names.contains(&old) && !names.contains(&newest) && names.len() == 3, "{names:?}");
}

on_every_store! {
    a_run_holds_what_it_took_until_it_is_released,
    every_host_of_a_run_is_held_whatever_its_copy_is_worth,
    any_snapshot_can_be_held_by_its_name_or_its_time,
}

#[test]
fn what_is_not_there_or_no_name_is_refused_before_anything_is_done() {
    let mut rig = Rig::without_sshd();
    rig.host("VPN");
    rig.backup(&["all"]).exits(0);
    let newest = rig.snapshots("vpn").pop().unwrap();
    let slip = newest.replace("backup-", "backup_");
    for (arguments, said, reason) in [
        (&["vpn", "--keep", ".hidden"][..], "neither `-` nor `.`", "a name that ZFS keeps for itself"),
        (&["vpn", "--keep", "-r"], "'-r'", "an option"),
        (&["vpn", "--keep", ""], "it is empty", "no name"),
        (&["hold", "vpn", "latest", "two words"], "only the letters a to z", "not one word"),
        (&["hold", "vpn"], "<SNAPSHOT>", "no snapshot"),
        (&["hold", "vpm", "latest"], "did you mean `vpn`?", "a slip in the host"),
        (&["hold", "vpn", &slip], &format!("did you mean `{newest}`?"), "a slip in the snapshot"),
        (&["hold", "vpn", "tomorrow"], "`VPN` has no snapshot `tomorrow`", "no time, and no name"),
        (&["hold", "vpn", "1 year ago"], "or before; its oldest is", "before all that there is"),
        (&["hold", "vpn", "../latest"], "has no snapshot `../latest`", "a path"),
        (&["release", "vpn", &slip], &format!("did you mean `{newest}`?"), "the same to release"),
        (&["release", "web", "latest"], "the store has no copies of `web`", "an unknown host"),
    ] {
        let ran = rig.backup(arguments).exits(2);
        assert!(ran.stderr.to_lowercase().contains(&said.to_lowercase()), "{reason}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{reason}");
    }
    assert_eq!(rig.snapshots("vpn"), std::slice::from_ref(&newest));
    assert!(!rig.snapshot("vpn", &format!("{newest}.hold")).exists());
}

#[test]
fn a_host_that_left_the_inventory_can_be_held() {
    let mut rig = Rig::without_sshd();
    rig.host("VPN");
    rig.backup(&["all"]).exits(0);
    fs::rename(rig.join("store/vpn"), rig.join("store/gone")).unwrap();
    rig.backup(&["hold", "gone", "latest"]).exits(0).says("is held as `kept`");
}

#[test]
fn a_hold_by_hand_is_seen_and_released() {
    let mut rig = Rig::without_sshd();
    rig.host("VPN");
    rig.section("retention", "daily = 1\nweekly = 1\nmonthly = 1\nyearly = 1");
    rig.backup(&["all"]).exits(0);
    let first = rig.snapshots("vpn").pop().unwrap();
    rig.write(rig.snapshot("vpn", &format!("{first}.hold")), "");
    rig.backup(&["all"]).exits(0);
    assert_eq!(rig.snapshots("vpn").len(), 2);
    rig.backup(&["hold", "vpn", &first]).exits(0);
    rig.backup(&["release", "vpn", &first])
        .exits(1)
        .says("is held without a name (`''` means that one), as `kept`: name the one");
    rig.backup(&["release", "vpn", &first, "kept"]).exits(0).says("it is still held without a name");
    rig.backup(&["release", "vpn", &first, ""]).exits(0).says("the next rotation removes it");
}

#[tokio::test]
async fn holds_cost_one_program_where_there_are_none_and_two_where_there_are() {
    use backup::core::model::snapshot::{Facts, SnapshotName, Verdict};
    use backup::edge::store::Store;
    let world = crate::support::standin::StandIn::new().await;
    let (store, vpn) = (world.store(), "vpn".parse().unwrap());
    let survey = store.survey().await.unwrap();
    let workspace = store.prepare(&vpn, &survey).await.unwrap();
    let names: Vec<SnapshotName> =
        (1..=3).map(|day| format!("backup-2026-11-{day:02}T020005Z").parse().unwrap()).collect();
    let facts = Facts::new("r".into(), Verdict::Good);
    for name in &names {
        store.commit(&vpn, &workspace, *name, &facts).await.unwrap();
    }
    world.forget_calls();
    assert!(store.holds(&vpn).await.unwrap().is_empty());
    assert_eq!(world.calls().len(), 1, "{:?}", world.calls());
    for name in &names {
        store.hold(&vpn, &name.to_string(), &"kept".parse().unwrap()).await.unwrap();
    }
    world.forget_calls();
    assert_eq!(store.holds(&vpn).await.unwrap().len(), 3);
    assert_eq!(world.calls().len(), 2, "{:?}", world.calls());

    // One goes between the two.
    let gone = format!("cannot open 'data/vpn@{}': dataset does not exist\n", names[0]);
    world.faults(json!([{"call": ["zfs holds"], "times": 1, "stderr": gone, "exit": 1}]));
    assert_eq!(store.holds(&vpn).await.unwrap().len(), 3, "it was asked again");
    // What is held is not tried, and what ZFS refuses is told.
    let listed = store.snapshots(&vpn).await.unwrap().unwrap();
    world.forget_calls();
    let names_of_all: Vec<String> = names.iter().map(ToString::to_string).collect();
    let removal = store.remove(&vpn, &listed, &names_of_all).await.unwrap();
    assert_eq!((removal.kept.len(), world.calls().len()), (3, 0), "{:?}", world.calls());
    let full = "cannot hold snapshot 'data/vpn@x': out of space\n";
    world.faults(json!([{"call": ["zfs hold"], "times": 1, "stderr": full, "exit": 1}]));
    let refusal = store.hold(&vpn, &names[0].to_string(), &"other".parse().unwrap()).await.unwrap_err();
    assert!(refusal.to_string().contains("out of space"), "{refusal}");
}
