//! Whole runs on a real pool: how much they ask of ZFS, and what becomes of them
//! when the pool is in trouble. `make vm` runs these.

use crate::support::pool::{Dataset, Pool, snapshots, zfs};
use crate::support::rig::*;
use crate::support::snare::Snare;
use crate::support::trees::name_at;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
#[ignore = "needs a pool: `make vm`"]
fn a_run_over_unchanged_hosts_starts_three_programs_of_zfs_and_two_a_host() {
    const HOSTS: usize = 3;
    let mut rig = Rig::on_zfs();
    let hosts: Vec<String> = (1..=HOSTS).map(|number| format!("web{number}")).collect();
    for host in &hosts {
        rig.near_host(host, "");
    }
    rig.backup(&["all"]).exits(0);
    // Something to rotate, one of it held.
    for host in &hosts {
        let dataset = rig.dataset.as_ref().unwrap().child(host);
        for hour in [1, 2, 3] {
            let name = format!("{dataset}@{}", name_at(&format!("{hour}:00 40 days ago")));
            zfs(&["snapshot", "-o", "backup:run=r1", "-o", "backup:verdict=good", &name]);
            if hour == 1 {
                zfs(&["hold", "keep", &name]);
            }
        }
    }
    let snare = Snare::new(&rig);
    let ran: Ran = finish(snare.command(&rig, &["all"]).spawn().unwrap()).into();
    ran.exits(0);
    let calls = snare.calls();
    let of_zfs = calls.iter().filter(|call| call.starts_with("zfs ") || call.starts_with("zpool ")).count();
    assert!(of_zfs <= 3 + 2 * HOSTS, "{of_zfs} for {HOSTS} hosts: {calls:#?}");
    let destroys = calls.iter().filter(|call| call.starts_with("zfs destroy")).count();
    assert_eq!(destroys, HOSTS, "one a host: {calls:#?}");
    for host in &hosts {
        // The held one, the last one of its month, and the new one.
        assert_eq!(rig.snapshots(host).len(), 3, "{:#?}", rig.snapshots(host));
    }
}

/// A rig whose copies live on a pool of its own, with a host.
fn host_on(pool: &Pool) -> (Rig, PathBuf) {
    let mut rig = Rig::new();
    rig.dataset = Some(Dataset::lasting(&pool.name));
    let source = rig.near_host("Web", "");
    (rig, source)
}

/// The next run is good, and a scrub finds nothing.
#[track_caller]
fn is_well_again(pool: &Pool, rig: &Rig, source: &Path) {
    rig.backup(&["all"]).exits(0).says("Web: OK: ");
    assert_eq!(differences(source, &rig.newest("web")), "");
    pool.scrub();
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn a_pool_that_is_suspended_while_files_arrive_fails_the_host_and_never_hangs_the_run() {
    let pool = Pool::new(1, 512, 40);
    let (mut rig, source) = host_on(&pool);
    rig.backup(&["all"]).exits(0);
    let before = snapshots(&format!("{}/web", pool.name));
    // Whatever is written now finds no room, however little of it comes in time.
    must("zpool", &["sync", &pool.name]);
    pool.fill();
    let big = source.join("srv/big");
    big_file(&big, 60);
    rig.section("transfer", "stall_timeout = \"5s\"\nretries = 0");
    // It ends, though the pool does nothing before it has room again.
    let ran = rig.backup(&["all"]).exits(1).says("Web: CRITICAL: ");
    println!("{}", ran.stderr);
    pool.wait_until_suspended();

    // Meanwhile nothing is begun.
    let ran = rig.backup(&["all"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let said = format!("the pool `{}` is SUSPENDED (zpool status {})", pool.name, pool.name);
    assert!(ran.stderr.contains(&said) || ran.stderr.contains("skipped"), "{}", ran.stderr);

    // Mended, as the message says: what hung goes on and ends.
    pool.grow();
    must("zpool", &["clear", &pool.name]);
    rig.wait_until("what hung has ended", || rig.left_behind().is_empty());
    assert_eq!(snapshots(&format!("{}/web", pool.name)), before);
    fs::remove_file(&big).unwrap();
    is_well_again(&pool, &rig, &source);
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn a_pool_that_runs_full_fails_the_host_and_keeps_every_snapshot() {
    let pool = Pool::new(1, 128, 200);
    let (rig, source) = host_on(&pool);
    rig.backup(&["all"]).exits(0);
    let before = snapshots(&format!("{}/web", pool.name));
    let big = source.join("srv/big");
    big_file(&big, 150);
    rig.backup(&["all"]).exits(1).says("Web: CRITICAL: ").says("No space left on device");
    let after = snapshots(&format!("{}/web", pool.name));
    assert!(before.iter().all(|name| after.contains(name)), "{after:?}");
    fs::remove_file(&big).unwrap();
    // ZFS gives the space back seconds after a file has gone.
    must("zpool", &["sync", &pool.name]);
    is_well_again(&pool, &rig, &source);
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn a_degraded_pool_is_told_of_and_used() {
    let pool = Pool::new(2, 128, 300);
    let (rig, source) = host_on(&pool);
    must("zpool", &["offline", &pool.name, &pool.disk(1)]);
    rig.backup(&["all", "--quiet"])
        .exits(0)
        .says(&format!("the pool `{}` is DEGRADED: see `zpool status {}`", pool.name, pool.name));
    assert_eq!(differences(&source, &rig.newest("web")), "");
    pool.scrub();
}
