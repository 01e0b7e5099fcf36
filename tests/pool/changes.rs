//! What becomes of a snapshot when ZFS has other things to do in that very
//! moment, and what snapshots and their removal cost. True of `zfs(8)`, and of
//! libzfs_core with the feature `libzetta`. `make vm` runs these.

use crate::support::pool::{Dataset, Pool};
use crate::support::rig::{big_file, must};
use backup::core::model::host::HostName;
use backup::core::model::snapshot::{Facts, Origin, SnapshotName, Verdict};
use backup::edge::store::zfs::System;
use backup::edge::store::{Store, Workspace, ZfsStore};
use futures_util::future::join_all;
use std::time::Duration;

fn vpn() -> HostName {
    "VPN".parse().unwrap()
}

/// The snapshot of a minute.
fn minute(number: u32) -> SnapshotName {
    format!("backup-2026-11-20T{:02}{:02}05Z", number / 60, number % 60).parse().unwrap()
}

/// All that a snapshot can have.
fn facts() -> Facts {
    Facts {
        run: "b32-1/2026-11-20T020000Z/4711".to_owned(),
        verdict: Verdict::Good,
        files: Some(123_456),
        bytes: Some(7_890_123_456),
        duration: Some(612),
        machine: Some("0123456789abcdef0123456789abcdef".to_owned()),
        hostname: None,
        left_out: None,
        clock_agreed: false,
    }
}

async fn prepare(store: &ZfsStore) -> Workspace {
    let survey = store.survey().await.unwrap();
    store.prepare(&vpn(), &survey).await.unwrap()
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn snapshots_in_the_same_moment_do_not_spoil_each_other() {
    const MANY: u32 = 16;
    let below = Dataset::new();
    let store = ZfsStore::new(&below.name, 0).unwrap();
    let workspace = prepare(&store).await;
    // ZFS takes one of a dataset in each of its transactions: of two that come
    // together, one has to try again.
    let facts = facts();
    let all = (0..MANY).map(|number| {
        let (store, workspace, vpn, facts) = (&store, &workspace, vpn(), &facts);
        async move { store.commit(&vpn, workspace, minute(number), facts).await }
    });
    for taken in join_all(all).await {
        taken.unwrap();
    }
    let survey = store.survey().await.unwrap();
    assert_eq!(survey.of(&vpn()).len(), MANY as usize);
    assert!(survey.of(&vpn()).iter().all(|snapshot| snapshot.origin == Origin::Run(facts.clone())));
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn a_pool_that_stops_while_a_snapshot_is_taken_does_not_stop_the_run() {
    let pool = Pool::new(1, 512, 60);
    let system = System { change_deadline: Duration::from_secs(3), ..System::default() };
    let store = ZfsStore::on(system, &pool.name, 0).unwrap();
    let workspace = prepare(&store).await;
    store.commit(&vpn(), &workspace, minute(1), &facts()).await.unwrap();
    // No room is left for what the next transaction writes, with the snapshot.
    pool.fill();
    big_file(&pool.mountpoint().join("vpn/big"), 8);
    // ZFS itself does not answer before the pool has room again.
    let refusal = store.commit(&vpn(), &workspace, minute(2), &facts()).await.unwrap_err().to_string();
    assert!(refusal.contains(" within 3.0s"), "{refusal}");
    assert_eq!(
        store.commit(&vpn(), &workspace, minute(3), &facts()).await.unwrap_err().what,
        format!("the pool `{}` is SUSPENDED", pool.name)
    );

    pool.grow();
    must("zpool", &["clear", &pool.name]);
    // What was begun is finished now, or never was.
    must("zpool", &["sync", &pool.name]);
    let workspace = prepare(&store).await;
    store.commit(&vpn(), &workspace, minute(4), &facts()).await.unwrap();
    let survey = store.survey().await.unwrap();
    for snapshot in survey.of(&vpn()) {
        assert_eq!(snapshot.origin, Origin::Run(facts()), "{}", snapshot.name);
    }
    let left = [1, 2, 4].map(|number| minute(number).to_string());
    assert!(survey.of(&vpn()).iter().all(|snapshot| left.contains(&snapshot.name)), "{survey:?}");
}

/// The library against the program, as the store uses them.
#[cfg(feature = "libzetta")]
#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn the_library_is_no_slower_than_the_program() {
    let below = Dataset::new();
    // libzfs_core takes the place of no `zfs` that has a path.
    let program = must("sh", &["-c", "command -v zfs"]);
    let by_program = System { zfs: program.trim().into(), ..System::default() };
    let stores = [ZfsStore::new(&below.name, 0).unwrap(), ZfsStore::on(by_program, &below.name, 0).unwrap()];
    let workspace = prepare(&stores[0]).await;
    let (mut taking, mut destroying) = ([vec![], vec![]], [vec![], vec![]]);
    for number in 0..21 {
        for (way, store) in (0..).zip(&stores) {
            let begin = std::time::Instant::now();
            store.commit(&vpn(), &workspace, minute(2 * number + way), &facts()).await.unwrap();
            taking[way as usize].push(begin.elapsed());
        }
    }
    for round in 1..=5 {
        for (way, store) in stores.iter().enumerate() {
            let names: Vec<SnapshotName> = (0..100).map(|number| minute(100 * round + number)).collect();
            for name in &names {
                stores[0].commit(&vpn(), &workspace, *name, &facts()).await.unwrap();
            }
            let survey = store.survey().await.unwrap();
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let begin = std::time::Instant::now();
            let removal = store.remove(&vpn(), survey.of(&vpn()), &names).await.unwrap();
            destroying[way].push(begin.elapsed());
            assert_eq!(removal.removed.len(), names.len(), "{removal:?}");
        }
    }
    for (what, mut times) in [("one snapshot with six properties", taking), ("destroying 100", destroying)] {
        times.iter_mut().for_each(|times| times.sort());
        let [library, program] =
            times.map(|times| (times[0], times[times.len() / 2], times[times.len() - 1]));
        // Past the harness, which shows nothing of a test that passes.
        let text =
            format!("{what}: library {library:.3?}, program {program:.3?} (shortest, median, longest)\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        assert!(library.1 <= program.1, "{text}");
    }
}
