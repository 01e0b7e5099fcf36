//! What the ZFS store promises beyond the contract: it writes nowhere but into
//! its dataset, says what mends a fault, and asks ZFS little.

use crate::support::standin::StandIn;
use crate::support::store::remove;
use backup::core::model::host::HostName;
use backup::core::model::snapshot::{Facts, Origin, SnapshotName, Verdict};
use backup::edge::store::zfs::System;
use backup::edge::store::{Removal, Store, StoreError, Workspace, ZfsStore};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn vpn() -> HostName {
    "vpn".parse().unwrap()
}

/// The snapshot of a day of November 2026.
fn day(day: u32) -> SnapshotName {
    format!("backup-2026-11-{day:02}T020005Z").parse().unwrap()
}

fn facts() -> Facts {
    Facts {
        run: "r1".to_owned(),
        verdict: Verdict::Good,
        files: Some(1),
        bytes: Some(4),
        duration: Some(1),
        machine: None,
        hostname: None,
        left_out: None,
        clock_agreed: false,
    }
}

async fn prepared(store: &ZfsStore) -> Result<Workspace, StoreError> {
    let survey = store.survey().await?;
    store.prepare(&vpn(), &survey).await
}

async fn take(store: &ZfsStore, days: std::ops::RangeInclusive<u32>) {
    let workspace = prepared(store).await.unwrap();
    for number in days {
        fs::write(workspace.destination.join("file"), "text").unwrap();
        store.commit(&vpn(), &workspace, day(number), &facts()).await.unwrap();
    }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[tokio::test]
async fn a_run_of_many_hosts_starts_three_programs_and_two_a_host() {
    const HOSTS: usize = 5;
    let world = StandIn::new().await;
    let hosts: Vec<HostName> = (0..HOSTS).map(|n| format!("host{n}").parse().unwrap()).collect();
    for name in [day(1), day(2)] {
        let store = world.store();
        let survey = store.survey().await.unwrap();
        for host in &hosts {
            let workspace = store.prepare(host, &survey).await.unwrap();
            store.commit(host, &workspace, name, &facts()).await.unwrap();
        }
    }
    world.forget_calls();
    let store = world.store();
    let survey = store.survey().await.unwrap();
    for host in &hosts {
        store.prepare(host, &survey).await.unwrap();
        let workspace = store.prepare(host, &survey).await.unwrap();
        store.commit(host, &workspace, day(3), &facts()).await.unwrap();
        let removal =
            store.remove(host, survey.of(host), &[day(1).to_string(), day(2).to_string()]).await.unwrap();
        assert_eq!(removal.removed.len(), 2);
    }
    let calls = world.calls();
    assert!(calls.len() <= 3 + 2 * HOSTS, "{calls:#?}");
}

#[tokio::test]
async fn a_new_host_gets_a_dataset_that_suits_a_copy() {
    let world = StandIn::new().await;
    let workspace = prepared(&world.store()).await.unwrap();
    assert_eq!(workspace.destination, world.mountpoint("data/vpn"));
    assert!(workspace.in_place && workspace.link_dest.is_empty());
    let created = world.calls().into_iter().rfind(|call| call.starts_with("zfs create")).unwrap();
    assert_eq!(
        created,
        "zfs create -o acltype=posixacl -o xattr=sa -o atime=off -o setuid=off -o devices=off -o exec=off \
         -o snapdir=hidden -o compression=zstd data/vpn"
    );
}

#[tokio::test]
async fn a_zfs_without_zstd_compresses_with_lz4() {
    let world = StandIn::new().await;
    world.faults(json!([{
        "call": ["create", "compression=zstd"], "times": 1, "exit": 1,
        "stderr": "cannot create 'data/vpn': 'compression' must be one of 'on | off | lzjb | gzip | lz4'"
    }]));
    prepared(&world.store()).await.unwrap();
    assert!(world.calls().iter().any(|call| call.contains("compression=lz4 data/vpn")));
}

#[tokio::test]
async fn a_dataset_that_is_not_mounted_is_mounted_once() {
    let world = StandIn::new().await;
    take(&world.store(), 1..=1).await;
    world.zfs(&["unmount", "data/vpn"]).await;
    world.forget_calls();
    let workspace = prepared(&world.store()).await.unwrap();
    assert!(workspace.destination.join("file").exists(), "the dataset's own files are back");
    assert_eq!(world.calls().iter().filter(|call| call.starts_with("zfs mount")).count(), 1);
}

#[tokio::test]
async fn where_the_dataset_cannot_be_mounted_nothing_is_touched() {
    for (setting, fault, hint) in [
        ("canmount=noauto", None, "zfs mount data/vpn"),
        ("canmount=off", None, "zfs mount data/vpn"),
        ("readonly=on", None, "zfs set readonly=off data/vpn"),
        ("keystatus=unavailable", None, "zfs load-key data/vpn"),
        ("mountpoint=none", None, "zfs set mountpoint=/data/vpn data/vpn"),
        ("mountpoint=legacy", None, "zfs set mountpoint=/data/vpn data/vpn"),
        ("x:y=z", Some("cannot mount 'data/vpn': pool I/O is currently suspended"), "zpool status data"),
    ] {
        let world = StandIn::new().await;
        take(&world.store(), 1..=1).await;
        world.zfs(&["unmount", "data/vpn"]).await;
        world.zfs(&["set", setting, "data/vpn"]).await;
        if let Some(stderr) = fault {
            world.faults(json!([{ "call": ["zfs mount"], "times": 9, "exit": 1, "stderr": stderr }]));
        }
        let refusal = prepared(&world.store()).await.unwrap_err();
        assert_eq!(refusal.hint.as_deref(), Some(hint), "{setting}: {refusal}");
        assert!(refusal.what.contains("`data/vpn`"), "{refusal}");
        assert!(is_empty(&world.mountpoint("data/vpn")), "{setting}");
    }
}

#[tokio::test]
async fn below_a_parent_that_cannot_be_used_no_dataset_is_made() {
    for (change, hint) in [
        (&["unmount", "data"][..], "zfs mount data"),
        (&["set", "readonly=on", "data"], "zfs set readonly=off data"),
        (&["set", "keystatus=unavailable", "data"], "zfs load-key data"),
        (&["set", "mountpoint=none", "data"], "zfs set mountpoint=/data data"),
    ] {
        let world = StandIn::new().await;
        world.zfs(change).await;
        world.forget_calls();
        let refusal = prepared(&world.store()).await.unwrap_err();
        assert_eq!(refusal.hint.as_deref(), Some(hint), "{refusal}");
        assert!(!world.calls().iter().any(|call| call.starts_with("zfs create")), "{change:?}");
    }
}

#[tokio::test]
async fn a_parent_that_only_holds_others_need_not_be_mounted() {
    let world = StandIn::new().await;
    world.zfs(&["create", "-o", "canmount=off", "-o", "compression=lz4", "data/hosts"]).await;
    let store = ZfsStore::on(world.system(), "data/hosts", 0).unwrap();
    let workspace = prepared(&store).await.unwrap();
    assert_eq!(workspace.destination, world.mountpoint("data/hosts/vpn"));
    assert!(!world.calls().iter().any(|call| call.contains("zstd")), "the operator's lz4 is inherited");
}

#[tokio::test]
async fn what_is_missing_is_named_with_what_makes_it() {
    let world = StandIn::without_pool();
    let refusal = world.store().survey().await.unwrap_err().to_string();
    assert!(refusal.contains("no such pool") && refusal.ends_with("(zpool import data)"), "{refusal}");

    world.zfs(&["create", "data"]).await;
    let store = ZfsStore::on(world.system(), "data/backup", 0).unwrap();
    let refusal = store.survey().await.unwrap_err().to_string();
    assert!(refusal.contains("dataset does not exist"), "{refusal}");
    assert!(refusal.ends_with("(zfs create data/backup)"), "{refusal}");

    let system = System { zpool: "/nowhere/zpool".into(), ..world.system() };
    let refusal = ZfsStore::on(system, "data", 0).unwrap().survey().await.unwrap_err().to_string();
    assert!(refusal.contains("not installed") && refusal.contains("zfsutils-linux"), "{refusal}");
}

#[tokio::test]
async fn only_a_pool_that_takes_writes_is_used() {
    for (health, fit) in [
        ("ONLINE", true),
        ("DEGRADED", true),
        ("SUSPENDED", false),
        ("FAULTED", false),
        ("UNAVAIL", false),
        ("OFFLINE", false),
        ("", false),
    ] {
        let world = StandIn::new().await;
        world.health(health);
        world.forget_calls();
        assert_eq!(world.store().survey().await.is_ok(), fit, "{health}");
        assert!(fit || world.calls().len() == 1, "a pool in trouble is asked nothing more");
    }
}

#[tokio::test]
async fn a_pool_that_fails_after_the_survey_is_noticed() {
    let world = StandIn::new().await;
    let store = world.store();
    take(&store, 1..=1).await;
    let survey = store.survey().await.unwrap();
    let workspace = store.prepare(&vpn(), &survey).await.unwrap();
    world.write("kstat/data/state", "SUSPENDED\n");
    world.forget_calls();
    let refusal = store.prepare(&vpn(), &survey).await.unwrap_err().to_string();
    assert_eq!(refusal, "the pool `data` is SUSPENDED (zpool status data)");
    store.commit(&vpn(), &workspace, day(2), &facts()).await.unwrap_err();
    assert!(world.calls().is_empty(), "nothing was asked of ZFS");
    world.write("kstat/data/state", "DEGRADED\n");
    store.prepare(&vpn(), &survey).await.unwrap();
}

#[tokio::test]
async fn a_dataset_that_was_unmounted_while_it_was_copied_to_is_not_snapshotted() {
    let world = StandIn::new().await;
    let store = world.store();
    let workspace = prepared(&store).await.unwrap();
    world.zfs(&["unmount", "data/vpn"]).await;
    let refusal = store.commit(&vpn(), &workspace, day(1), &facts()).await.unwrap_err().to_string();
    assert!(refusal.contains("`data/vpn` is not mounted"), "{refusal}");
    assert!(world.store().survey().await.unwrap().of(&vpn()).is_empty());
}

#[tokio::test]
async fn a_mount_inside_the_copy_is_refused() {
    let world = StandIn::new().await;
    take(&world.store(), 1..=1).await;
    world.zfs(&["create", "data/vpn/sub"]).await;
    let refusal = prepared(&world.store()).await.unwrap_err().to_string();
    assert!(refusal.contains("`data/vpn/sub` is mounted at"), "{refusal}");
}

#[tokio::test]
async fn a_full_pool_is_refused_for_new_hosts_and_for_old_ones() {
    let world = StandIn::new().await;
    let system = world.system();
    let store = || ZfsStore::on(system.clone(), "data", 5).unwrap();
    prepared(&store()).await.unwrap();
    world.space(u64::MAX / 2, 1000);
    let refusal = prepared(&store()).await.unwrap_err().to_string();
    assert!(refusal.contains("`min_free_percent` asks for 5%"), "{refusal}");
    let store = store();
    let survey = store.survey().await.unwrap();
    store.prepare(&"mail".parse().unwrap(), &survey).await.unwrap_err();
    assert!(!world.calls().iter().any(|call| call.starts_with("zfs create") && call.contains("mail")));
}

#[tokio::test]
async fn a_program_that_hangs_is_given_up_and_not_asked_again() {
    let world = StandIn::new().await;
    let system = System { change_deadline: Duration::from_millis(300), ..world.system() };
    let store = ZfsStore::on(system, "data", 0).unwrap();
    take(&world.store(), 1..=3).await;
    let survey = store.survey().await.unwrap();
    world.faults(json!([{ "call": ["zfs destroy"], "times": 9, "hang": true }]));
    world.forget_calls();
    let removal =
        store.remove(&vpn(), survey.of(&vpn()), &[day(1).to_string(), day(2).to_string()]).await.unwrap();
    assert!(removal.removed.is_empty());
    assert!(
        removal.kept.iter().all(|(_, why)| why.to_string().contains("did not end within")),
        "{removal:?}"
    );
    assert_eq!(world.calls().len(), 1);

    world.faults(json!([{ "call": ["zpool list"], "times": 1, "hang": true }]));
    let system = System { list_deadline: Duration::from_millis(300), ..world.system() };
    let refusal = ZfsStore::on(system, "data", 0).unwrap().survey().await.unwrap_err().to_string();
    assert!(refusal.contains("did not end within"), "{refusal}");
}

#[tokio::test]
async fn a_snapshot_whose_taking_was_cut_off_is_there_whole_or_not_at_all() {
    for (late, taken) in [(true, 1), (false, 0)] {
        let world = StandIn::new().await;
        let store = world.store();
        let workspace = prepared(&store).await.unwrap();
        world.faults(json!([{
            "call": ["zfs snapshot"], "times": 1, "late": late, "exit": 137, "stderr": "Killed"
        }]));
        store.commit(&vpn(), &workspace, day(1), &facts()).await.unwrap_err();
        let survey = world.store().survey().await.unwrap();
        assert_eq!(survey.of(&vpn()).len(), taken);
        assert!(survey.of(&vpn()).iter().all(|snapshot| snapshot.origin == Origin::Run(facts())));
        take(&world.store(), 2..=2).await;
    }
}

#[tokio::test]
async fn one_that_is_cloned_or_held_stays_and_says_why() {
    let world = StandIn::new().await;
    let store = world.store();
    take(&store, 1..=4).await;
    let survey = store.survey().await.unwrap();
    world.zfs(&["clone", "data/vpn@backup-2026-11-01T020005Z", "data/clone"]).await;
    world.zfs(&["hold", "keep", "data/vpn@backup-2026-11-03T020005Z"]).await;
    let names: Vec<String> = (1..=3).map(|number| day(number).to_string()).collect();
    let Removal { removed, kept, .. } = store.remove(&vpn(), survey.of(&vpn()), &names).await.unwrap();
    assert_eq!(removed, [day(2).to_string()]);
    assert!(kept[0].1.to_string().contains("data/clone"), "{kept:?}");
    assert!(kept[1].1.to_string().contains("dataset is busy: it is held or in use"), "{kept:?}");
    let destroys: Vec<String> =
        world.calls().into_iter().filter(|call| call.starts_with("zfs destroy")).collect();
    assert!(destroys.iter().all(|call| !call.contains(" -")), "never recursive, never forced: {destroys:?}");
}

#[tokio::test]
async fn a_survey_shows_what_it_does_not_understand_and_claims_nothing() {
    for (call, stdout, shown) in [
        ("zfs list", "internal error: out of cheese\n", "out of cheese"),
        ("zfs get", "data/vpn@x\tcreation\n", "data/vpn@x\\tcreation"),
        ("zfs list", "", "left it out"),
    ] {
        let world = StandIn::new().await;
        world.faults(json!([{ "call": [call], "times": 1, "stdout": stdout }]));
        let refusal = world.store().survey().await.unwrap_err().to_string();
        assert!(refusal.contains(shown), "{refusal}");
    }
}

#[tokio::test]
async fn snapshots_inherit_the_datasets_properties_and_are_not_ours_for_it() {
    let world = StandIn::new().await;
    let store = world.store();
    take(&store, 1..=1).await;
    for setting in ["backup:run=r9", "backup:verdict=good"] {
        world.zfs(&["set", setting, "data"]).await;
    }
    world.zfs(&["snapshot", "data/vpn@backup-2026-11-02T020005Z"]).await;
    world.zfs(&["snapshot", "data/vpn@backup-weekly-2024-07-14"]).await;
    let survey = store.survey().await.unwrap();
    let origin = |name: &str| {
        survey
            .of(&vpn())
            .iter()
            .find(|snapshot| snapshot.name == name)
            .map(|snapshot| snapshot.origin.clone())
    };
    assert_eq!(origin("backup-2026-11-01T020005Z"), Some(Origin::Run(facts())));
    assert_eq!(origin("backup-2026-11-02T020005Z"), Some(Origin::Foreign));
    assert_eq!(origin("backup-weekly-2024-07-14"), Some(Origin::Ancestor));
    let removal = remove(&store, &vpn(), &["backup-weekly-2024-07-14".to_owned()]).await;
    assert_eq!(removal.removed.len(), 1, "the ancestor's are ours to remove");
}

#[tokio::test]
async fn datasets_that_are_no_hosts_are_left_alone() {
    let world = StandIn::new().await;
    for dataset in ["data/VPN", "data/vpn", "data/vpn/sub", "data/my files"] {
        world.zfs(&["create", dataset]).await;
        world.zfs(&["snapshot", &format!("{dataset}@x")]).await;
    }
    world.zfs(&["snapshot", "data@x"]).await;
    let survey = world.store().survey().await.unwrap();
    assert_eq!(survey.hosts.keys().collect::<Vec<_>>(), ["vpn"]);
    assert_eq!(survey.of(&vpn()).len(), 1);
}

#[test]
fn a_dataset_that_zfs_would_not_take_is_refused_at_once() {
    for dataset in ["", "-r", "/data", "data/", "data@x", &"d".repeat(101)] {
        let refusal = ZfsStore::new(dataset, 5).unwrap_err().to_string();
        assert!(refusal.contains("cannot be the dataset"), "{refusal}");
    }
}
