//! What the ZFS store does on a real pool with what only ZFS has. `make vm`
//! runs these; `tests/contract/zfs_store.rs` shows the same of its decisions against a
//! stand-in.

use crate::support::pool::{Dataset, Pool, property, snapshots, try_zfs, zfs};
use crate::support::rig::{must, program};
use crate::support::store::{browse, remove};
use backup::core::model::finding::Level;
use backup::core::model::host::HostName;
use backup::core::model::snapshot::{Facts, Origin, SnapshotName, Verdict};
use backup::edge::store::zfs::System;
use backup::edge::store::{AnyStore, Removal, Store, StoreError, Workspace, ZfsStore};
use std::fs::{self, File};
use std::path::Path;

fn vpn() -> HostName {
    "VPN".parse().unwrap()
}

/// The snapshot of a day of November 2026.
fn day(day: u32) -> SnapshotName {
    format!("backup-2026-11-{day:02}T020005Z").parse().unwrap()
}

fn facts() -> Facts {
    Facts {
        run: "20261120T020000Z-4711".to_owned(),
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

fn store(dataset: &str) -> ZfsStore {
    ZfsStore::new(dataset, 0).unwrap()
}

async fn prepared(store: &ZfsStore) -> Result<Workspace, StoreError> {
    let survey = store.survey().await?;
    store.prepare(&vpn(), &survey).await
}

/// Makes the host's dataset with these days' snapshots in it.
async fn take(store: &ZfsStore, days: std::ops::RangeInclusive<u32>) {
    let workspace = prepared(store).await.unwrap();
    for number in days {
        fs::write(workspace.destination.join("file"), format!("day {number}")).unwrap();
        store.commit(&vpn(), &workspace, day(number), &facts()).await.unwrap();
    }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

fn names(days: impl IntoIterator<Item = u32>) -> Vec<String> {
    days.into_iter().map(|number| day(number).to_string()).collect()
}

/// The commands of README.md that make a pool, run as they stand, but for the
/// pool's name and its disks.
#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn the_readmes_commands_make_a_pool_for_copies() {
    let pool = Pool::made_by(3, 64, 220, |pool, files| {
        let mut commands =
            include_str!("../../README.md").lines().filter_map(|line| line.strip_prefix("# z"));
        for program in ["pool create", "fs set"] {
            let command = commands.next().filter(|command| command.starts_with(program)).unwrap();
            let command = command.replace(" data", &format!(" {}", pool.name));
            let command = command.replace("/dev/disk/by-id/…", &files.join(" "));
            let (program, arguments) = command.split_once(' ').unwrap();
            must(&format!("z{program}"), &arguments.split(' ').collect::<Vec<_>>());
        }
        assert_eq!(commands.next(), None);
    });
    take(&store(&pool.name), 20..=20).await;
    let now = "2026-11-20T02:00:05Z".parse().unwrap();
    let found = AnyStore::Zfs(store(&pool.name)).inspect(now).await;
    let all: Vec<_> = found.findings.iter().chain(found.places.values().flatten()).collect();
    assert!(!all.is_empty() && all.iter().all(|finding| finding.level <= Level::Note), "{all:#?}");
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn a_new_dataset_suits_a_copy_and_its_parent_stays_as_it_is() {
    let below = Dataset::new();
    let before = zfs(&["get", "-Hp", "-s", "local", "-o", "property,value", "all", &below.name]);
    let workspace = prepared(&store(&below.name)).await.unwrap();
    let dataset = below.child("vpn");
    assert_eq!(workspace.destination, below.mountpoint().join("vpn"));
    for (key, value) in [
        ("acltype", "posix"),
        ("atime", "off"),
        ("setuid", "off"),
        ("devices", "off"),
        ("exec", "off"),
        ("snapdir", "hidden"),
        ("compression", "zstd"),
        ("normalization", "none"),
        ("utf8only", "off"),
        ("casesensitivity", "sensitive"),
        ("mounted", "yes"),
    ] {
        assert_eq!(property(&dataset, key), value, "{key}");
    }
    // `on` means `sa` in 2.3, and `dir` before.
    assert!(["sa", "on"].contains(&property(&dataset, "xattr").as_str()));
    let after = zfs(&["get", "-Hp", "-s", "local", "-o", "property,value", "all", &below.name]);
    assert_eq!(before, after);

    // What the operator chose for the parent is inherited.
    let slow = below.child("slow");
    zfs(&["create", "-o", "compression=lz4", &slow]);
    prepared(&store(&slow)).await.unwrap();
    assert_eq!(property(&format!("{slow}/vpn"), "compression"), "lz4");
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn a_parent_or_a_pool_that_is_not_there_is_never_made() {
    let below = Dataset::new();
    let missing = below.child("backup");
    let refusal = store(&missing).survey().await.unwrap_err();
    assert!(refusal.what.contains("dataset does not exist"), "{refusal}");
    assert_eq!(refusal.hint, Some(format!("zfs create {missing}")));
    assert!(!try_zfs(&["list", &missing]).status.success());

    let refusal = store("nosuchpool").survey().await.unwrap_err();
    assert!(refusal.what.contains("no such pool"), "{refusal}");
    assert_eq!(refusal.hint.as_deref(), Some("zpool import nosuchpool"));
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn a_dataset_is_mounted_where_zfs_says_and_written_nowhere_else() {
    let below = Dataset::new();
    let store = store(&below.name);
    take(&store, 1..=1).await;
    let (dataset, place) = (below.child("vpn"), below.mountpoint().join("vpn"));

    // Forgotten at boot.
    zfs(&["unmount", &dataset]);
    assert!(is_empty(&place));
    let workspace = prepared(&store).await.unwrap();
    assert_eq!(fs::read_to_string(workspace.destination.join("file")).unwrap(), "day 1");

    // Moved by the operator.
    let elsewhere = below.mountpoint().join("elsewhere");
    zfs(&["set", &format!("mountpoint={}", elsewhere.display()), &dataset]);
    assert_eq!(prepared(&store).await.unwrap().destination, elsewhere);
    let browsed = browse(&store, &vpn(), &day(1).to_string()).await.join("file");
    assert_eq!(fs::read_to_string(browsed).unwrap(), "day 1");
    zfs(&["inherit", "mountpoint", &dataset]);

    // Mounted by hand at another place than ZFS knows.
    zfs(&["unmount", &dataset]);
    let by_hand = tempfile::tempdir().unwrap();
    let at = by_hand.path().to_str().unwrap();
    must("mount", &["-t", "zfs", "-o", "zfsutil", &dataset, at]);
    let refusal = prepared(&store).await.unwrap_err();
    must("umount", &[at]);
    assert!(refusal.what.contains(&dataset), "{refusal}");
    assert!(is_empty(&place));
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn a_dataset_that_may_not_be_written_is_left_alone_and_what_mends_it_is_named() {
    let below = Dataset::new();
    let store = store(&below.name);
    take(&store, 1..=1).await;
    let (dataset, place) = (below.child("vpn"), below.mountpoint().join("vpn"));
    for (setting, mended, hint) in [
        ("canmount=off", "canmount=on", "zfs mount"),
        ("canmount=noauto", "canmount=on", "zfs mount"),
        ("readonly=on", "readonly=off", "zfs set readonly=off"),
        ("mountpoint=legacy", "mountpoint=", "zfs set mountpoint"),
        ("mountpoint=none", "mountpoint=", "zfs set mountpoint"),
    ] {
        zfs(&["unmount", &dataset]);
        zfs(&["set", setting, &dataset]);
        let refusal = prepared(&store).await.unwrap_err();
        let said = refusal.hint.clone().unwrap_or_default();
        assert!(said.starts_with(hint) && said.ends_with(&dataset), "{setting}: {refusal}");
        // ZFS removes the folder when it has unmounted what was there.
        assert!(!place.exists() || is_empty(&place), "{setting}");
        let mended = mended.replace("mountpoint=", &format!("mountpoint={}", place.display()));
        zfs(&["set", &mended, &dataset]);
        // Some of these settings mount it, some do not: the store does.
        prepared(&store).await.unwrap();
        assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "day 1");
    }
    assert_eq!(snapshots(&dataset), names([1]));
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn what_is_encrypted_waits_for_its_key() {
    let below = Dataset::new();
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, [7; 32]).unwrap();
    let safe = below.child("safe");
    let location = format!("keylocation=file://{}", key.display());
    zfs(&["create", "-o", "encryption=on", "-o", "keyformat=raw", "-o", &location, &safe]);
    let store = store(&safe);
    take(&store, 1..=1).await;
    zfs(&["unmount", &safe]);
    zfs(&["unload-key", &safe]);

    let dataset = format!("{safe}/vpn");
    let refusal = prepared(&store).await.unwrap_err();
    assert!(refusal.what.contains("its key is not loaded"), "{refusal}");
    // The key is that of the dataset that it was made for: the parent.
    assert_eq!(refusal.hint, Some(format!("zfs load-key {safe}")), "{dataset}");
    let survey = store.survey().await.unwrap();
    assert_eq!(survey.of(&vpn()).len(), 1, "what is there can still be seen");
    store.prepare(&"new".parse().unwrap(), &survey).await.unwrap_err();

    zfs(&["load-key", &safe]);
    zfs(&["mount", &safe]);
    take(&store, 2..=2).await;
    assert_eq!(snapshots(&dataset), names([1, 2]));
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn nothing_is_written_below_a_mount_that_hides_the_dataset() {
    let below = Dataset::new();
    let store = store(&below.name);
    take(&store, 1..=1).await;
    let place = below.mountpoint().join("vpn");
    let at = place.to_str().unwrap();
    must("mount", &["-t", "tmpfs", "over", at]);
    let refusal = prepared(&store).await.unwrap_err();
    let left = is_empty(&place);
    must("umount", &[at]);
    assert!(refusal.what.contains("`over` is mounted there"), "{refusal}");
    assert!(left);

    // A mount over the parent hides the host's dataset too.
    let parent = below.mountpoint();
    must("mount", &["-t", "tmpfs", "over", parent.to_str().unwrap()]);
    let refusal = prepared(&store).await.unwrap_err();
    let left = is_empty(&parent);
    must("umount", &[parent.to_str().unwrap()]);
    assert!(refusal.what.contains("another mount hides it"), "{refusal}");
    assert!(left);

    // And one inside would be written to and kept by no snapshot.
    zfs(&["create", &below.child("vpn/inside")]);
    let refusal = prepared(&store).await.unwrap_err();
    assert!(refusal.what.contains("inside the copy"), "{refusal}");
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn the_place_of_a_new_dataset_is_never_a_folder_with_files() {
    let below = Dataset::new();
    let place = below.mountpoint().join("vpn");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("somebody's"), "file").unwrap();
    let store = store(&below.name);
    // OpenZFS mounts over what is there, others refuse. Either way the copy
    // goes into the dataset.
    if prepared(&store).await.is_ok() {
        assert_eq!(property(&below.child("vpn"), "mounted"), "yes");
        assert!(is_empty(&place));
        zfs(&["unmount", &below.child("vpn")]);
    }
    assert_eq!(fs::read_to_string(place.join("somebody's")).unwrap(), "file");
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn a_degraded_pool_is_used() {
    let pool = Pool::new(2, 128, 300);
    must("zpool", &["offline", &pool.name, &pool.disk(1)]);
    assert_eq!(must("zpool", &["list", "-Ho", "health", &pool.name]).trim(), "DEGRADED");
    let store = store(&pool.name);
    take(&store, 1..=2).await;
    let removal = remove(&store, &vpn(), &names([1])).await;
    assert_eq!(removal.removed, names([1]));
    pool.scrub();
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn a_full_pool_is_refused_before_anything_is_written() {
    let pool = Pool::new(1, 128, 200);
    let store = ZfsStore::new(&pool.name, 5).unwrap();
    take(&store, 1..=1).await;
    let big = pool.mountpoint().join("vpn/big");
    let said = program("cp").args(["/dev/urandom", big.to_str().unwrap()]).output().unwrap().stderr;
    assert!(String::from_utf8_lossy(&said).contains("No space left"));
    must("zpool", &["sync", &pool.name]);
    for host in ["vpn", "new"] {
        let survey = store.survey().await.unwrap();
        let refusal = store.prepare(&host.parse().unwrap(), &survey).await.unwrap_err();
        assert!(refusal.what.contains("`min_free_percent` asks for 5%"), "{refusal}");
    }
    // Snapshots can still be removed, which is how an operator gets out.
    let removal = remove(&store, &vpn(), &names([1])).await;
    assert_eq!(removal.removed, names([1]));
    assert!(!try_zfs(&["list", &format!("{}/new", pool.name)]).status.success());
    pool.scrub();
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn a_suspended_pool_is_refused_at_once_and_works_when_it_is_back() {
    let pool = Pool::new(1, 512, 40);
    let store = store(&pool.name);
    take(&store, 1..=1).await;
    let survey = store.survey().await.unwrap();
    let workspace = store.prepare(&vpn(), &survey).await.unwrap();
    // The filesystem below the pool has no room for what the pool has.
    let (big, name) = (pool.mountpoint().join("vpn/big"), pool.name.clone());
    let writer = std::thread::spawn(move || {
        crate::support::rig::big_file(&big, 60);
        must("zpool", &["sync", &name]);
    });
    pool.wait_until_suspended();

    let late = store.prepare(&vpn(), &survey).await.unwrap_err();
    let kept = store.commit(&vpn(), &workspace, day(2), &facts()).await.unwrap_err();
    let early = store.survey().await.unwrap_err();
    for refusal in [late, kept, early] {
        assert_eq!(refusal.what, format!("the pool `{}` is SUSPENDED", pool.name));
        assert_eq!(refusal.hint, Some(format!("zpool status {}", pool.name)));
    }

    pool.grow();
    must("zpool", &["clear", &pool.name]);
    writer.join().unwrap();
    take(&store, 2..=2).await;
    assert_eq!(snapshots(&format!("{}/vpn", pool.name)), names([1, 2]));
    pool.scrub();
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn one_that_is_held_cloned_or_gone_does_not_keep_the_others() {
    let below = Dataset::new();
    let store = store(&below.name);
    take(&store, 1..=6).await;
    let survey = store.survey().await.unwrap();
    let snapshot = |number: u32| format!("{}@{}", below.child("vpn"), day(number));
    zfs(&["hold", "keep", &snapshot(1)]);
    zfs(&["clone", &snapshot(3), &below.child("clone")]);
    zfs(&["destroy", &snapshot(4)]);
    let Removal { removed, kept, .. } = store.remove(&vpn(), survey.of(&vpn()), &names(1..=5)).await.unwrap();
    assert_eq!(removed, names([2, 4, 5]));
    let kept_names: Vec<_> = kept.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(kept_names, names([1, 3]));
    assert!(kept[0].1.to_string().contains("held"), "{kept:?}");
    assert!(kept[1].1.to_string().contains(&below.child("clone")), "{kept:?}");
    assert_eq!(snapshots(&below.child("vpn")), names([1, 3, 6]));
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn a_snapshot_that_somebody_looks_at_goes_when_nobody_looks_any_more() {
    let below = Dataset::new();
    let store = store(&below.name);
    take(&store, 1..=4).await;
    // Looking mounts it; the mount stays for minutes after the look.
    let folder = store.host(&vpn()).await.unwrap().unwrap();
    let look = |number: u32| File::open(folder.browse(&day(number).to_string()).join("file")).unwrap();
    drop(look(1));
    let open = look(2);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(mounts.contains(&format!("@{}", day(1))) && mounts.contains(&format!("@{}", day(2))));

    // A mount below the copy is no reason to refuse it.
    let survey = store.survey().await.unwrap();
    store.prepare(&vpn(), &survey).await.unwrap();
    let Removal { removed, kept, .. } = remove(&store, &vpn(), &names(1..=3)).await;
    assert_eq!(removed, names([1, 3]), "{kept:?}");
    assert_eq!(kept.len(), 1);
    assert!(kept[0].1.to_string().contains("busy"), "{kept:?}");
    drop(open);
    let Removal { removed, .. } = remove(&store, &vpn(), &names([2])).await;
    assert_eq!(removed, names([2]));
    assert_eq!(snapshots(&below.child("vpn")), names([4]));
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn thousands_of_snapshots_are_listed_in_one_call() {
    const HOSTS: usize = 100;
    const SNAPSHOTS: usize = 20;
    let own = Dataset::new();
    let below = own.child("hosts");
    zfs(&["create", "-o", "canmount=noauto", &below]);
    for host in 0..HOSTS {
        zfs(&["create", "-u", &format!("{below}/host{host}")]);
    }
    // ZFS takes one snapshot of a dataset in a transaction, but those of many
    // datasets together.
    let names = (1..SNAPSHOTS).map(|number| format!("auto-{number}"));
    for name in names.chain(["backup-daily-2024-07-14".to_owned()]) {
        take_of_all(&below, &name);
    }
    let dir = tempfile::tempdir().unwrap();
    let counting = System { zfs: counted(dir.path()), ..System::default() };
    let store = ZfsStore::on(counting, &below, 0).unwrap();
    let survey = store.survey().await.unwrap();
    assert_eq!(calls(dir.path()), 2, "one for the datasets, one for the snapshots");
    assert_eq!(survey.hosts.len(), HOSTS);
    for (host, listed) in &survey.hosts {
        let ours = listed.iter().filter(|snapshot| snapshot.is_ours()).count();
        assert_eq!((listed.len(), ours), (SNAPSHOTS, 1), "{host}");
    }
}

/// Takes a snapshot of every dataset right below, faster than `zfs snapshot -r`
/// does.
fn take_of_all(below: &str, name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("take.lua");
    let program = "args = ...\n\
        for child in zfs.list.children(args.argv[1]) do\n\
        assert(zfs.sync.snapshot(child .. '@' .. args.argv[2]) == 0)\n\
        end\n";
    fs::write(&file, program).unwrap();
    let pool = below.split('/').next().unwrap();
    let (limits, file) = (["-t", "100000000", "-m", "100000000"], file.to_str().unwrap());
    zfs(&[&["program"], &limits[..], &[pool, file, below, name]].concat());
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn foreign_snapshots_in_any_spelling_are_seen_and_left_alone() {
    let below = Dataset::new();
    let store = store(&below.name);
    take(&store, 1..=1).await;
    let foreign = [
        "tds-before-18.04-upgrade",
        "2026-11-20T10:00:00Z",
        "before the upgrade",
        "zfs-auto-snap_daily-2026-11-20-0625",
        "backup-2026-11-20T020005Z",
        "backup-daily-2024-07",
        "BACKUP-daily-2024-07-14",
        "backup-hourly-2024-07-14",
        "-r",
        ":",
    ];
    for name in foreign {
        zfs(&["snapshot", &format!("{}@{name}", below.child("vpn"))]);
    }
    // One that says that it is ours, and does not say what it is worth.
    zfs(&["snapshot", "-o", "backup:run=r1", &format!("{}@odd", below.child("vpn"))]);
    let survey = store.survey().await.unwrap();
    assert_eq!(survey.of(&vpn()).len(), foreign.len() + 2);
    for snapshot in survey.of(&vpn()) {
        assert_eq!(snapshot.is_ours(), snapshot.name == day(1).to_string(), "{}", snapshot.name);
    }
    let all: Vec<String> = foreign.iter().map(|name| (*name).to_owned()).collect();
    let removal = remove(&store, &vpn(), &all).await;
    assert_eq!(removal.removed, [""; 0]);
    assert_eq!(snapshots(&below.child("vpn")).len(), foreign.len() + 2);
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn what_a_snapshot_inherits_does_not_make_it_ours() {
    let below = Dataset::new();
    let store = store(&below.name);
    take(&store, 1..=1).await;
    zfs(&["set", "backup:run=r9", &below.name]);
    zfs(&["set", "backup:verdict=suspect", &below.child("vpn")]);
    let take_own = |name: &str| zfs(&["snapshot", &format!("{}@{name}", below.child("vpn"))]);
    take_own(&day(2).to_string());
    take_own("backup-weekly-2024-07-14");
    let survey = store.survey().await.unwrap();
    let origin = |name: &str| {
        let found = survey.of(&vpn()).iter().find(|snapshot| snapshot.name == name);
        found.map(|snapshot| snapshot.origin.clone())
    };
    assert_eq!(origin(&day(1).to_string()), Some(Origin::Run(facts())));
    assert_eq!(origin(&day(2).to_string()), Some(Origin::Foreign));
    assert_eq!(origin("backup-weekly-2024-07-14"), Some(Origin::Ancestor));

    // What came with `zfs receive` is the snapshot's own.
    let (from, to) = (below.child("vpn"), below.child("copy"));
    let pipe = "zfs send -p \"$1\" | zfs receive -u \"$2\"";
    must("sh", &["-ec", pipe, "sh", &format!("{from}@{}", day(1)), &to]);
    let survey = store.survey().await.unwrap();
    assert_eq!(survey.of(&"copy".parse().unwrap())[0].origin, Origin::Run(facts()));
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn all_that_a_host_has_too_much_goes_with_one_program() {
    let below = Dataset::new();
    take(&store(&below.name), 1..=1).await;
    let old: Vec<String> =
        (1..=60).map(|day| format!("backup-daily-2015-{:02}-{:02}", day % 12 + 1, day % 28 + 1)).collect();
    for name in &old {
        zfs(&["snapshot", &format!("{}@{name}", below.child("vpn"))]);
    }
    let dir = tempfile::tempdir().unwrap();
    let counting = System { zfs: counted(dir.path()), ..System::default() };
    let store = ZfsStore::on(counting, &below.name, 0).unwrap();
    let survey = store.survey().await.unwrap();
    let before = calls(dir.path());
    let removal = store.remove(&vpn(), survey.of(&vpn()), &old).await.unwrap();
    assert_eq!(removal.removed, old);
    assert_eq!(calls(dir.path()) - before, 1);
    assert_eq!(snapshots(&below.child("vpn")), names([1]));
}

/// A `zfs` that counts its calls.
fn counted(dir: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("zfs");
    let script = format!("#!/bin/sh\necho >>{}/calls\nexec zfs \"$@\"\n", dir.display());
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

fn calls(dir: &Path) -> usize {
    fs::read_to_string(dir.join("calls")).unwrap_or_default().lines().count()
}

#[tokio::test]
#[ignore = "needs a pool: `make vm`"]
async fn a_dataset_that_goes_away_under_a_run_is_an_error_and_no_folder_is_filled() {
    let below = Dataset::new();
    let store = store(&below.name);
    take(&store, 1..=1).await;
    let survey = store.survey().await.unwrap();
    let workspace = store.prepare(&vpn(), &survey).await.unwrap();
    zfs(&["unmount", &below.child("vpn")]);
    let refusal = store.commit(&vpn(), &workspace, day(2), &facts()).await.unwrap_err();
    assert!(refusal.what.contains("is not mounted"), "{refusal}");
    zfs(&["destroy", "-r", &below.child("vpn")]);
    let refusal = store.commit(&vpn(), &workspace, day(2), &facts()).await.unwrap_err();
    assert!(refusal.what.contains("is not mounted"), "{refusal}");
    // The survey is from before.
    let refusal = store.prepare(&vpn(), &survey).await.unwrap_err();
    assert!(refusal.what.contains("dataset does not exist"), "{refusal}");
    let removal = store.remove(&vpn(), survey.of(&vpn()), &names([1])).await.unwrap();
    assert_eq!(removal.removed, names([1]), "it is gone");
    assert_eq!(store.survey().await.unwrap().hosts.len(), 0);
}
