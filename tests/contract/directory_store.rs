//! What the directory store promises beyond the contract: its names on disk,
//! trees that share files with no tree that rsync writes to, and patience with
//! whatever lies about.

use crate::support::store::{browse, remove};
use backup::core::model::host::HostName;
use backup::core::model::snapshot::{Facts, Origin, Snapshot, SnapshotName, Verdict};
use backup::edge::store::{DirectoryStore, Store, Workspace};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

fn vpn() -> HostName {
    "VPN".parse().unwrap()
}

/// The snapshot of a day of November 2026.
fn day(day: u32) -> SnapshotName {
    format!("backup-2026-11-{day:02}T020005Z").parse().unwrap()
}

fn facts(verdict: Verdict) -> Facts {
    Facts {
        run: "r1".to_owned(),
        verdict,
        files: Some(10),
        bytes: Some(4096),
        duration: Some(12),
        machine: None,
        hostname: None,
        left_out: None,
        clock_agreed: false,
    }
}

struct World {
    dir: tempfile::TempDir,
    store: DirectoryStore,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(dir.path(), 0).unwrap();
        World { dir, store }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("vpn").join(below)
    }

    fn tree(&self, number: u32) -> PathBuf {
        self.path("snapshots").join(day(number).to_string())
    }

    fn facts_file(&self, name: &str) -> PathBuf {
        self.path("snapshots").join(format!("{name}.json"))
    }

    async fn prepare(&self) -> Workspace {
        let survey = self.store.survey().await.unwrap();
        self.store.prepare(&vpn(), &survey).await.unwrap()
    }

    /// An attempt that copies one file and goes no further.
    async fn attempt(&self) -> Workspace {
        let workspace = self.prepare().await;
        fs::write(workspace.destination.join("file"), "text").unwrap();
        workspace
    }

    async fn take(&self, number: u32, verdict: Verdict) -> Workspace {
        let workspace = self.attempt().await;
        self.store.commit(&vpn(), &workspace, day(number), &facts(verdict)).await.unwrap();
        workspace
    }

    async fn list(&self) -> Vec<Snapshot> {
        self.store.survey().await.unwrap().of(&vpn()).to_vec()
    }
}

#[tokio::test]
async fn names_on_disk_are_those_that_people_know() {
    let world = World::new();
    let workspace = world.take(20, Verdict::Good).await;
    assert_eq!(workspace.destination, world.path(".incomplete"));
    assert!(!workspace.in_place);
    let mut names: Vec<String> = fs::read_dir(world.path("snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["backup-2026-11-20T020005Z", "backup-2026-11-20T020005Z.json"]);
    assert_eq!(
        fs::read_to_string(world.facts_file("backup-2026-11-20T020005Z")).unwrap(),
        "{\"run\":\"r1\",\"verdict\":\"good\",\"files\":10,\"bytes\":4096,\"duration\":12}\n"
    );
    assert_eq!(
        fs::read_link(world.path("latest")).unwrap(),
        Path::new("snapshots/backup-2026-11-20T020005Z"),
        "relative, so that the store can be mounted elsewhere"
    );
    assert_eq!(world.path("").metadata().unwrap().mode() & 0o777, 0o700, "copies hold shadow files");
    assert!(!world.path(".incomplete").exists());
}

#[tokio::test]
async fn latest_is_the_newest_good_one() {
    let world = World::new();
    for (number, verdict, latest) in [
        (10, Verdict::Partial, None),
        (11, Verdict::Good, Some(11)),
        (12, Verdict::Suspect, Some(11)),
        (13, Verdict::Partial, Some(11)),
        (14, Verdict::Good, Some(14)),
        // Made last: the other has its date from a clock that was ahead.
        (9, Verdict::Good, Some(9)),
    ] {
        world.take(number, verdict).await;
        let shown = fs::read_link(world.path("latest")).ok();
        assert_eq!(shown, latest.map(|number| Path::new("snapshots").join(day(number).to_string())));
    }
    fs::remove_dir_all(world.tree(9)).unwrap();
    world.take(12 - 4, Verdict::Good).await;
    assert!(world.path("latest").is_dir(), "one that points nowhere is replaced");
}

#[tokio::test]
async fn every_attempt_gets_a_fresh_tree_and_the_best_ones_to_link_with() {
    let world = World::new();
    assert!(world.take(1, Verdict::Good).await.link_dest.is_empty());
    assert_eq!(world.take(2, Verdict::Good).await.link_dest, [world.tree(1)]);
    assert_eq!(world.take(3, Verdict::Partial).await.link_dest, [world.tree(2)]);
    assert_eq!(world.attempt().await.link_dest, [world.tree(2), world.tree(3)], "the newest good one first");
    let again = world.attempt().await;
    assert_eq!(again.link_dest, [world.tree(2), world.tree(3), world.path(".interrupted/1")]);
    assert_eq!(fs::read_dir(&again.destination).unwrap().count(), 1, "only what this attempt wrote");
    for _ in 0..7 {
        world.attempt().await;
    }
    let last = world.prepare().await;
    let interrupted: Vec<PathBuf> =
        (5..=9).rev().map(|number| world.path(".interrupted").join(number.to_string())).collect();
    assert_eq!(last.link_dest[2..], interrupted, "the newest five");
    assert_eq!(fs::read_dir(world.path(".interrupted")).unwrap().count(), 5);
    world.store.commit(&vpn(), &last, day(4), &facts(Verdict::Good)).await.unwrap();
    assert!(!world.path(".interrupted").exists() && !world.path(".removing").exists());
}

#[tokio::test]
async fn an_attempt_that_copied_nothing_leaves_nothing() {
    let world = World::new();
    world.prepare().await;
    assert!(world.prepare().await.link_dest.is_empty());
    assert!(!world.path(".interrupted").exists());
}

#[tokio::test]
async fn what_a_run_left_in_order_is_linked_with_and_what_a_killed_one_left_is_not() {
    let world = World::new();
    world.attempt().await;
    let survey = world.store.survey().await.unwrap();
    let next_run = || DirectoryStore::new(world.dir.path(), 0).unwrap();
    let killed = next_run().prepare(&vpn(), &survey).await.unwrap();
    assert!(killed.link_dest.is_empty(), "what was lost on its way to the disk nobody knows");
    world.attempt().await;
    world.store.leave(&vpn()).await.unwrap();
    assert!(!world.path(".incomplete").exists());
    assert_eq!(next_run().prepare(&vpn(), &survey).await.unwrap().link_dest, [world.path(".interrupted/1")]);
}

#[tokio::test]
async fn files_of_the_store_are_open_to_nobody_else() {
    let world = World::new();
    world.take(1, Verdict::Good).await;
    world.store.hold(&vpn(), &day(1).to_string(), &"keep".parse().unwrap()).await.unwrap();
    let hold = world.path("snapshots").join(format!("{}.hold", day(1)));
    for file in [world.facts_file(&day(1).to_string()), world.path(".boot"), hold] {
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_tree_that_no_run_prepared_is_not_kept() {
    let world = World::new();
    let workspace = world.attempt().await;
    let other = DirectoryStore::new(world.dir.path(), 0).unwrap();
    let survey = other.survey().await.unwrap();
    let its_own = other.prepare(&vpn(), &survey).await.unwrap();
    let refusal =
        world.store.commit(&vpn(), &workspace, day(1), &facts(Verdict::Good)).await.unwrap_err().to_string();
    assert!(refusal.contains("not what this run has filled"), "{refusal}");
    world.store.commit(&vpn(), &workspace, day(1), &facts(Verdict::Good)).await.unwrap_err();
    assert!(world.list().await.is_empty());
    other.commit(&vpn(), &its_own, day(1), &facts(Verdict::Good)).await.unwrap();
}

#[tokio::test]
async fn attempts_of_another_boot_are_not_trusted() {
    let world = World::new();
    world.attempt().await;
    world.attempt().await;
    fs::write(world.path(".boot"), "another boot\n").unwrap();
    assert!(world.prepare().await.link_dest.is_empty());
    assert!(!world.path(".interrupted").exists() && !world.path(".removing").exists());
}

#[tokio::test]
async fn attempts_that_fill_the_disk_are_given_up() {
    let world = World::new();
    world.attempt().await;
    world.attempt().await;
    let store = DirectoryStore::new(world.dir.path(), 100).unwrap();
    let survey = store.survey().await.unwrap();
    let refusal = store.prepare(&vpn(), &survey).await.unwrap_err().to_string();
    assert!(refusal.contains("free"), "{refusal}");
    assert!(!world.path(".interrupted").exists() && !world.path(".incomplete").exists());
}

#[tokio::test]
async fn what_is_not_understood_is_somebody_elses_and_stays() {
    let world = World::new();
    for number in 1..=6 {
        world.take(number, Verdict::Good).await;
    }
    let file = |number: u32| world.facts_file(&day(number).to_string());
    fs::write(file(1), "{\"run\":\"r1\"").unwrap();
    fs::write(file(2), "{\"run\":\"r1\",\"verdict\":\"splendid\"}").unwrap();
    fs::write(file(3), "{\"run\":\"r1\",\"verdict\":\"good\",\"files\":-1}").unwrap();
    fs::remove_file(file(4)).unwrap();
    fs::create_dir(file(4)).unwrap();
    fs::write(file(5), "x".repeat(100_000)).unwrap();
    let listed = world.list().await;
    let ours: Vec<&str> = listed.iter().filter(|s| s.is_ours()).map(|s| s.name.as_str()).collect();
    assert_eq!(ours, [day(6).to_string()]);
    let foreign: Vec<String> = (1..=5).map(|number| day(number).to_string()).collect();
    let removal = remove(&world.store, &vpn(), &foreign).await;
    assert_eq!((removal.removed.len(), removal.kept.len()), (0, 5), "{removal:?}");
    assert!((1..=5).all(|number| world.tree(number).join("file").exists()));
}

#[tokio::test]
async fn junk_is_passed_over() {
    let world = World::new();
    world.take(1, Verdict::Good).await;
    let store = world.dir.path();
    for dir in ["lost+found", "MAIL", "not-a-host", ".hidden"] {
        fs::create_dir(store.join(dir)).unwrap();
    }
    fs::write(store.join("file"), "").unwrap();
    symlink("vpn", store.join("link")).unwrap();
    let snapshots = world.path("snapshots");
    fs::write(snapshots.join("file"), "").unwrap();
    fs::write(snapshots.join("orphan.json"), "{}").unwrap();
    fs::write(snapshots.join(".facts"), "half").unwrap();
    symlink(day(1).to_string(), snapshots.join(day(2).to_string())).unwrap();
    fs::create_dir(snapshots.join("before upgrade")).unwrap();
    let survey = world.store.survey().await.unwrap();
    assert_eq!(survey.hosts.keys().collect::<Vec<_>>(), ["vpn"]);
    let mut names: Vec<&str> = survey.of(&vpn()).iter().map(|s| s.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["backup-2026-11-01T020005Z", "before upgrade"]);
    world.take(3, Verdict::Good).await;
    assert!(snapshots.join("orphan.json").exists(), "not ours to clean up");
}

#[tokio::test]
async fn a_foreign_tree_is_dated_by_its_name_or_else_by_itself() {
    let world = World::new();
    world.prepare().await;
    fs::create_dir(world.tree(3)).unwrap();
    let other = world.path("snapshots/other");
    fs::create_dir(&other).unwrap();
    let listed = world.list().await;
    assert!(listed.iter().all(|snapshot| snapshot.origin == Origin::Foreign));
    let time = |name: &str| listed.iter().find(|snapshot| snapshot.name == name).unwrap().time;
    assert_eq!(time(&day(3).to_string()), day(3).time());
    assert_eq!(time("other").timestamp(), other.metadata().unwrap().mtime());
}

#[tokio::test]
async fn a_store_that_may_be_an_unmounted_disk_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    symlink("/nowhere/at/all", dir.path().join("dangling")).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    for name in ["missing", "dangling", "file"] {
        let store = DirectoryStore::new(&dir.path().join(name), 0).unwrap();
        let refusal = store.survey().await.unwrap_err().to_string();
        assert!(refusal.contains("an unmounted disk would look just like"), "{refusal}");
        store.prepare(&vpn(), &Default::default()).await.unwrap_err();
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    assert!(DirectoryStore::new(Path::new("srv/backup"), 0).is_err(), "relative to what?");
}

#[tokio::test]
async fn a_store_behind_a_symlink_is_used_by_its_real_path() {
    let world = World::new();
    let beside = tempfile::tempdir().unwrap();
    let link = beside.path().join("link");
    symlink(world.dir.path(), &link).unwrap();
    let store = DirectoryStore::new(&link, 0).unwrap();
    let survey = store.survey().await.unwrap();
    let workspace = store.prepare(&vpn(), &survey).await.unwrap();
    assert_eq!(workspace.destination, world.path(".incomplete"));
    store.commit(&vpn(), &workspace, day(1), &facts(Verdict::Good)).await.unwrap();
    assert_eq!(browse(&store, &vpn(), "x").await, link.join("vpn/snapshots/x"), "as the operator knows it");
}

#[tokio::test]
async fn a_hosts_folder_that_leads_elsewhere_is_refused() {
    for part in ["vpn", "vpn/snapshots"] {
        let world = World::new();
        let elsewhere = tempfile::tempdir().unwrap();
        let place = world.dir.path().join(part);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink(elsewhere.path(), place).unwrap();
        let survey = world.store.survey().await.unwrap();
        let refusal = world.store.prepare(&vpn(), &survey).await.unwrap_err().to_string();
        assert!(refusal.contains("not a directory of the store"), "{refusal}");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn the_sources_root_may_forbid_everything() {
    let world = World::new();
    for (number, mode) in [(1, 0o000), (2, 0o555), (3, 0o711)] {
        for keep in [false, true] {
            let workspace = world.attempt().await;
            fs::set_permissions(&workspace.destination, fs::Permissions::from_mode(mode)).unwrap();
            if keep {
                world.store.commit(&vpn(), &workspace, day(number), &facts(Verdict::Good)).await.unwrap();
            }
        }
        assert_eq!(world.tree(number).metadata().unwrap().mode() & 0o777, mode);
    }
    let names: Vec<String> = (1..=3).map(|number| day(number).to_string()).collect();
    assert_eq!(remove(&world.store, &vpn(), &names).await.removed, names);
    assert!(!world.path(".removing").exists());
}

#[tokio::test]
async fn a_snapshot_shares_nothing_with_what_is_written_next() {
    let world = World::new();
    world.take(1, Verdict::Good).await;
    let workspace = world.prepare().await;
    fs::hard_link(world.tree(1).join("file"), workspace.destination.join("file")).unwrap();
    let again = world.prepare().await;
    fs::write(again.destination.join("file"), "changed").unwrap();
    world.store.commit(&vpn(), &again, day(2), &facts(Verdict::Good)).await.unwrap();
    assert_eq!(fs::read_to_string(world.tree(1).join("file")).unwrap(), "text");
    assert_eq!(world.tree(1).join("file").metadata().unwrap().nlink(), 1);
}
