//! What every store promises, whichever it is.
//!
//! Each promise is one function over a [`Harness`]; the macro at the end runs
//! all of them against each store. Those that need a real pool are ignored
//! unless `make vm` runs them.

use crate::support::pool::Dataset;
use crate::support::standin::StandIn;
use crate::support::store::{browse, remove};
use backup::core::model::host::HostName;
use backup::core::model::precision::Precision;
use backup::core::model::snapshot::{
    Facts, HoldName, Origin, Overview, Snapshot, SnapshotName, Verdict, newest_good,
};
use backup::edge::store::zfs::System;
use backup::edge::store::{DirectoryStore, Store, Survey, Workspace, ZfsStore};
use backup::sys::process::Program;
use std::fs;
use std::path::PathBuf;

/// A world with one store in it.
trait Harness {
    type Store: Store;
    /// The store as a new process opens it.
    fn store(&self, min_free_percent: u8) -> Self::Store;
    /// Somebody takes a snapshot.
    async fn take_foreign(&self, host: &str, name: &str);
    /// Somebody holds a snapshot.
    async fn hold(&self, host: &str, name: &str);
    /// Somebody destroys a snapshot.
    async fn destroy(&self, host: &str, name: &str);
}

struct DirectoryHarness(tempfile::TempDir);

impl DirectoryHarness {
    fn new() -> Self {
        DirectoryHarness(tempfile::tempdir().unwrap())
    }

    fn snapshots(&self, host: &str) -> PathBuf {
        self.0.path().join(host).join("snapshots")
    }
}

impl Harness for DirectoryHarness {
    type Store = DirectoryStore;

    fn store(&self, min_free_percent: u8) -> DirectoryStore {
        DirectoryStore::new(self.0.path(), min_free_percent).unwrap()
    }

    async fn take_foreign(&self, host: &str, name: &str) {
        fs::create_dir(self.snapshots(host).join(name)).unwrap();
    }

    async fn hold(&self, host: &str, name: &str) {
        fs::write(self.snapshots(host).join(format!("{name}.hold")), "").unwrap();
    }

    async fn destroy(&self, host: &str, name: &str) {
        fs::remove_dir_all(self.snapshots(host).join(name)).unwrap();
    }
}

/// ZFS, the stand-in or a real one.
struct ZfsHarness {
    system: System,
    dataset: String,
    /// They go with it.
    _world: (Option<StandIn>, Option<Dataset>),
}

impl ZfsHarness {
    async fn new() -> Self {
        let standin = StandIn::new().await;
        ZfsHarness { system: standin.system(), dataset: "data".to_owned(), _world: (Some(standin), None) }
    }

    fn real() -> Self {
        let dataset = Dataset::new();
        ZfsHarness { system: System::default(), dataset: dataset.name.clone(), _world: (None, Some(dataset)) }
    }

    async fn zfs(&self, args: &[&str]) {
        Program::new(&self.system.zfs).args(args).run().await.unwrap();
    }

    fn snapshot(&self, host: &str, name: &str) -> String {
        format!("{}/{host}@{name}", self.dataset)
    }
}

impl Harness for ZfsHarness {
    type Store = ZfsStore;

    fn store(&self, min_free_percent: u8) -> ZfsStore {
        ZfsStore::on(self.system.clone(), &self.dataset, min_free_percent).unwrap()
    }

    async fn take_foreign(&self, host: &str, name: &str) {
        self.zfs(&["snapshot", &self.snapshot(host, name)]).await;
    }

    async fn hold(&self, host: &str, name: &str) {
        self.zfs(&["hold", "keep", &self.snapshot(host, name)]).await;
    }

    async fn destroy(&self, host: &str, name: &str) {
        self.zfs(&["destroy", &self.snapshot(host, name)]).await;
    }
}

fn vpn() -> HostName {
    "VPN".parse().unwrap()
}

fn mail() -> HostName {
    "mail".parse().unwrap()
}

/// The snapshot of a day of November 2026.
fn day(day: u32) -> SnapshotName {
    format!("backup-2026-11-{day:02}T020005Z").parse().unwrap()
}

fn facts(verdict: Verdict) -> Facts {
    Facts {
        run: "20261120T020000Z-4711".to_owned(),
        verdict,
        files: Some(1),
        bytes: Some(6),
        duration: Some(12),
        machine: None,
        hostname: None,
        left_out: None,
        clock_agreed: false,
    }
}

/// Copies one file and keeps it, as a run would.
async fn take(
    store: &impl Store,
    host: &HostName,
    name: SnapshotName,
    verdict: Verdict,
    text: &str,
) -> Workspace {
    let survey = store.survey().await.unwrap();
    let workspace = store.prepare(host, &survey).await.unwrap();
    fs::write(workspace.destination.join("file"), text).unwrap();
    store.commit(host, &workspace, name, &facts(verdict)).await.unwrap();
    workspace
}

fn names(survey: &Survey, host: &HostName) -> Vec<String> {
    survey.of(host).iter().map(|snapshot| snapshot.name.clone()).collect()
}

fn text_of(names: &[SnapshotName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

async fn a_new_store_holds_nothing<H: Harness>(world: H) {
    let survey = world.store(0).survey().await.unwrap();
    assert!(survey.hosts.is_empty(), "{survey:?}");
}

async fn prepare_makes_the_place_and_may_be_called_again<H: Harness>(world: H) {
    let store = world.store(0);
    let survey = store.survey().await.unwrap();
    let first = store.prepare(&vpn(), &survey).await.unwrap();
    assert!(first.destination.is_dir());
    assert_eq!(fs::read_dir(&first.destination).unwrap().count(), 0);
    fs::write(first.destination.join("file"), "half").unwrap();
    let second = store.prepare(&vpn(), &survey).await.unwrap();
    assert_eq!(second.destination, first.destination);
    assert_eq!(second.destination.join("file").exists(), second.in_place, "a fresh tree is empty");
    let later = world.store(0);
    let survey = later.survey().await.unwrap();
    assert!(survey.of(&vpn()).is_empty(), "an attempt is no snapshot");
    assert_eq!(later.prepare(&vpn(), &survey).await.unwrap().destination, first.destination);
}

async fn a_snapshot_is_listed_with_all_its_facts<H: Harness>(world: H) {
    let store = world.store(0);
    let all = [
        facts(Verdict::Good),
        facts(Verdict::Partial),
        facts(Verdict::Suspect),
        Facts { files: None, bytes: None, duration: None, ..facts(Verdict::Good) },
        Facts {
            machine: Some("0123456789abcdef0123456789abcdef".to_owned()),
            hostname: Some("web.example.org".to_owned()),
            left_out: Some("0123abcd,89ef0123".to_owned()),
            clock_agreed: true,
            ..facts(Verdict::Good)
        },
        Facts {
            run: "-o a=b 'c' \"d\" $(e) %s ü".to_owned(),
            files: Some(u64::MAX),
            bytes: Some(0),
            ..facts(Verdict::Good)
        },
    ];
    for (number, facts) in (1..).zip(&all) {
        let survey = store.survey().await.unwrap();
        let workspace = store.prepare(&vpn(), &survey).await.unwrap();
        store.commit(&vpn(), &workspace, day(number), facts).await.unwrap();
    }
    let survey = world.store(0).survey().await.unwrap();
    let expected: Vec<Snapshot> = (1..)
        .zip(all)
        .map(|(number, facts)| Snapshot {
            name: day(number).to_string(),
            time: day(number).time(),
            held: false,
            origin: Origin::Run(facts),
        })
        .collect();
    assert_eq!(survey.of(&vpn()), expected);
    assert_eq!(newest_good(survey.of(&vpn())).unwrap().name, day(6).to_string());
}

async fn a_name_is_given_once<H: Harness>(world: H) {
    let store = world.store(0);
    take(&store, &vpn(), day(1), Verdict::Good, "first").await;
    let survey = store.survey().await.unwrap();
    let workspace = store.prepare(&vpn(), &survey).await.unwrap();
    fs::write(workspace.destination.join("file"), "second").unwrap();
    store.commit(&vpn(), &workspace, day(1), &facts(Verdict::Suspect)).await.unwrap_err();
    let survey = store.survey().await.unwrap();
    assert_eq!(survey.of(&vpn()).len(), 1);
    assert_eq!(survey.of(&vpn())[0].facts(), Some(&facts(Verdict::Good)));
    let file = browse(&store, &vpn(), &day(1).to_string()).await.join("file");
    assert_eq!(fs::read_to_string(file).unwrap(), "first");
}

async fn what_is_given_up_costs_no_snapshot_and_no_later_try<H: Harness>(world: H) {
    let store = world.store(0);
    store.give_up(&vpn()).await.unwrap();
    take(&store, &vpn(), day(1), Verdict::Good, "first").await;
    let survey = store.survey().await.unwrap();
    let workspace = store.prepare(&vpn(), &survey).await.unwrap();
    fs::write(workspace.destination.join("much"), "too much").unwrap();
    store.give_up(&vpn()).await.unwrap();
    assert_eq!(workspace.destination.join("much").exists(), workspace.in_place, "it takes space");
    assert_eq!(names(&store.survey().await.unwrap(), &vpn()), text_of(&[day(1)]));
    let again = take(&store, &vpn(), day(2), Verdict::Good, "second").await;
    assert_eq!(again.in_place, workspace.in_place);
    for (number, text) in [(1, "first"), (2, "second")] {
        let file = browse(&store, &vpn(), &day(number).to_string()).await.join("file");
        assert_eq!(fs::read_to_string(file).unwrap(), text);
    }
}

async fn a_foreign_snapshot_is_listed_and_never_removed<H: Harness>(world: H) {
    let store = world.store(0);
    take(&store, &vpn(), day(1), Verdict::Good, "ours").await;
    let foreign = ["before-upgrade".to_owned(), day(2).to_string()];
    for name in &foreign {
        world.take_foreign("vpn", name).await;
    }
    let survey = store.survey().await.unwrap();
    for name in &foreign {
        let listed = survey.of(&vpn()).iter().find(|snapshot| snapshot.name == *name).unwrap();
        assert_eq!(listed.origin, Origin::Foreign, "{name}");
    }
    let removal = remove(&store, &vpn(), &foreign).await;
    assert!(removal.removed.is_empty(), "{removal:?}");
    assert_eq!(removal.kept.len(), 2, "{removal:?}");
    let survey = store.survey().await.unwrap();
    assert_eq!(survey.of(&vpn()).len(), 3);
}

async fn what_is_held_stays_and_the_others_go<H: Harness>(world: H) {
    let store = world.store(0);
    for number in 1..=5 {
        take(&store, &vpn(), day(number), Verdict::Good, "text").await;
    }
    world.hold("vpn", &day(1).to_string()).await;
    let survey = store.survey().await.unwrap();
    let held: Vec<bool> = survey.of(&vpn()).iter().map(|snapshot| snapshot.held).collect();
    assert_eq!(held, [true, false, false, false, false]);
    world.hold("vpn", &day(3).to_string()).await;
    // That is not in the list that is decided upon.
    let doomed = text_of(&[day(1), day(2), day(3), day(4)]);
    let removal = store.remove(&vpn(), survey.of(&vpn()), &doomed).await.unwrap();
    assert_eq!(removal.removed, text_of(&[day(2), day(4)]));
    let kept: Vec<String> = removal.kept.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(kept, text_of(&[day(1), day(3)]));
    assert!(removal.kept.iter().all(|(_, why)| why.to_string().contains("held")), "{removal:?}");
    let survey = world.store(0).survey().await.unwrap();
    assert_eq!(names(&survey, &vpn()), text_of(&[day(1), day(3), day(5)]));
}

fn hold_name(name: &str) -> HoldName {
    name.parse().unwrap()
}

async fn a_hold_lasts_until_it_is_released<H: Harness>(world: H) {
    let store = world.store(0);
    assert!(store.holds(&vpn()).await.unwrap().is_empty(), "no place, no holds");
    for number in 1..=3 {
        take(&store, &vpn(), day(number), Verdict::Good, "text").await;
    }
    world.take_foreign("vpn", "before-upgrade").await;
    assert!(store.holds(&vpn()).await.unwrap().is_empty(), "nobody holds any");
    // As another process would, which has surveyed nothing.
    let other = world.store(0);
    let (kept, longest) = (hold_name("kept"), hold_name(&"x:-_.".repeat(20)));
    let first = day(1).to_string();
    assert!(other.hold(&vpn(), &first, &kept).await.unwrap());
    assert!(!other.hold(&vpn(), &first, &kept).await.unwrap(), "it was held already");
    assert!(other.hold(&vpn(), &first, &longest).await.unwrap());
    assert!(other.hold(&vpn(), "before-upgrade", &kept).await.unwrap(), "somebody else's");
    // This one has surveyed and knows nothing of it.
    assert!(store.hold(&vpn(), &day(2).to_string(), &kept).await.unwrap());
    let holds = store.holds(&vpn()).await.unwrap();
    let held: Vec<(&str, Vec<&str>)> = holds
        .iter()
        .map(|(snapshot, names)| (snapshot.as_str(), names.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(
        held,
        [
            (first.as_str(), vec!["kept", longest.as_str()]),
            (&day(2).to_string(), vec!["kept"]),
            ("before-upgrade", vec!["kept"]),
        ]
    );
    let snapshots = store.snapshots(&vpn()).await.unwrap().unwrap();
    assert!(snapshots.iter().all(|snapshot| snapshot.held == holds.contains_key(&snapshot.name)));
    let removal = remove(&store, &vpn(), &text_of(&[day(1), day(2)])).await;
    assert_eq!((removal.removed, removal.kept.len()), (vec![], 2));

    store.release(&vpn(), &first, "kept").await.unwrap();
    let refusal = store.release(&vpn(), &first, "kept").await.unwrap_err().to_string();
    assert!(refusal.ends_with(&format!("is not held as `kept`: it is held as `{longest}`")), "{refusal}");
    let removal = remove(&store, &vpn(), &text_of(&[day(1)])).await;
    assert_eq!((removal.removed, removal.kept.len()), (vec![], 1), "one hold is left");
    store.release(&vpn(), &first, longest.as_str()).await.unwrap();
    let refusal = store.release(&vpn(), &first, "kept").await.unwrap_err().to_string();
    assert!(refusal.ends_with("is not held as `kept`: nothing holds it"), "{refusal}");
    let removal = remove(&store, &vpn(), &text_of(&[day(1), day(2)])).await;
    assert_eq!(removal.removed, text_of(&[day(1)]));
    other.release(&vpn(), &day(2).to_string(), "kept").await.unwrap();
    other.release(&vpn(), "before-upgrade", "kept").await.unwrap();
    assert!(store.holds(&vpn()).await.unwrap().is_empty());
}

async fn what_is_not_there_is_neither_held_nor_released<H: Harness>(world: H) {
    let store = world.store(0);
    let kept = hold_name("kept");
    for (host, why) in [(vpn(), "it has snapshots"), (mail(), "it has no place")] {
        if host == vpn() {
            take(&store, &host, day(1), Verdict::Good, "text").await;
        }
        for snapshot in [&day(2).to_string(), "", "..", "x,y", "%", "x@y"] {
            let refusal = store.hold(&host, snapshot, &kept).await.unwrap_err().to_string();
            assert!(refusal.starts_with("there is no snapshot `"), "{why}: {refusal}");
            let refusal = store.release(&host, snapshot, "kept").await.unwrap_err().to_string();
            assert!(refusal.starts_with("there is no snapshot `"), "{why}: {refusal}");
        }
    }
    assert!(store.holds(&vpn()).await.unwrap().is_empty());
    for odd in ["", "-r", "a b", "é"] {
        store.release(&vpn(), &day(1).to_string(), odd).await.unwrap_err();
    }
}

async fn a_host_is_asked_by_itself<H: Harness>(world: H) {
    let store = world.store(0);
    take(&store, &vpn(), day(1), Verdict::Good, "vpn").await;
    take(&store, &mail(), day(2), Verdict::Good, "mail").await;
    world.hold("vpn", &day(1).to_string()).await;
    let later = world.store(0);
    assert_eq!(later.hosts().await.unwrap(), ["mail", "vpn"]);
    let survey = store.survey().await.unwrap();
    for host in [vpn(), mail()] {
        assert_eq!(later.snapshots(&host).await.unwrap().unwrap(), survey.of(&host));
    }
    assert_eq!(later.snapshots(&"web".parse().unwrap()).await.unwrap(), None);
    assert_eq!(later.holds(&mail()).await.unwrap(), Default::default());
}

async fn what_is_gone_already_counts_as_removed<H: Harness>(world: H) {
    let store = world.store(0);
    for number in 1..=4 {
        take(&store, &vpn(), day(number), Verdict::Good, "text").await;
    }
    let listed = store.snapshots(&vpn()).await.unwrap().unwrap();
    world.destroy("vpn", &day(1).to_string()).await;
    world.destroy("vpn", &day(3).to_string()).await;
    for (doomed, why) in [(vec![day(1), day(2)], "one is there"), (vec![day(3)], "none is there")] {
        let removal = store.remove(&vpn(), &listed, &text_of(&doomed)).await.unwrap();
        assert_eq!((removal.removed, removal.kept), (text_of(&doomed), vec![]), "{why}");
    }
    assert_eq!(names(&store.survey().await.unwrap(), &vpn()), text_of(&[day(4)]));
    assert_eq!(remove(&store, &vpn(), &[]).await, Default::default());
}

async fn no_name_is_a_list_a_range_or_a_path<H: Harness>(world: H) {
    let store = world.store(0);
    for number in 1..=3 {
        take(&store, &vpn(), day(number), Verdict::Good, "text").await;
    }
    take(&store, &mail(), day(1), Verdict::Good, "text").await;
    let hostile: Vec<String> = [
        "".to_owned(),
        "%".to_owned(),
        format!("{}%{}", day(1), day(2)),
        format!("{},{}", day(1), day(2)),
        format!("../../mail/snapshots/{}", day(1)),
        format!("x,data/mail@{}", day(1)),
        ".".to_owned(),
        "..".to_owned(),
        "-r".to_owned(),
        "\n".to_owned(),
    ]
    .into();
    let removal = remove(&store, &vpn(), &hostile).await;
    for name in &hostile {
        let gone = browse(&store, &vpn(), name).await;
        assert!(!removal.removed.contains(name) || !gone.exists(), "{name:?} was removed");
    }
    let survey = store.survey().await.unwrap();
    assert_eq!(names(&survey, &vpn()), text_of(&[day(1), day(2), day(3)]));
    assert_eq!(names(&survey, &mail()), text_of(&[day(1)]));
}

async fn hosts_do_not_see_each_other<H: Harness>(world: H) {
    let store = world.store(0);
    take(&store, &vpn(), day(1), Verdict::Good, "vpn").await;
    take(&store, &mail(), day(1), Verdict::Partial, "mail").await;
    take(&store, &mail(), day(2), Verdict::Good, "mail").await;
    let survey = store.survey().await.unwrap();
    assert_eq!(survey.hosts.keys().collect::<Vec<_>>(), ["mail", "vpn"]);
    assert_eq!(names(&survey, &vpn()), text_of(&[day(1)]));
    assert_eq!(names(&survey, &mail()), text_of(&[day(1), day(2)]));
    remove(&store, &mail(), &text_of(&[day(1)])).await;
    let file = browse(&store, &vpn(), &day(1).to_string()).await.join("file");
    assert_eq!(fs::read_to_string(file).unwrap(), "vpn");
}

async fn a_hosts_name_has_one_place_in_any_case<H: Harness>(world: H) {
    let store = world.store(0);
    let upper = take(&store, &vpn(), day(1), Verdict::Good, "text").await;
    let lower = take(&store, &"vpn".parse().unwrap(), day(2), Verdict::Good, "text").await;
    assert_eq!(upper.destination, lower.destination);
    assert_eq!(names(&store.survey().await.unwrap(), &vpn()), text_of(&[day(1), day(2)]));
}

async fn people_find_each_version_where_it_is_said_to_be<H: Harness>(world: H) {
    let store = world.store(0);
    take(&store, &vpn(), day(1), Verdict::Good, "old").await;
    take(&store, &vpn(), day(2), Verdict::Suspect, "new").await;
    for (number, text) in [(1, "old"), (2, "new")] {
        let file = browse(&store, &vpn(), &day(number).to_string()).await.join("file");
        assert_eq!(fs::read_to_string(file).unwrap(), text);
    }
}

async fn what_each_snapshot_alone_holds_is_said_of_all<H: Harness>(world: H) {
    let store = world.store(0);
    take(&store, &vpn(), day(1), Verdict::Good, "old").await;
    take(&store, &vpn(), day(2), Verdict::Suspect, "new").await;
    world.take_foreign("vpn", "before-upgrade").await;
    take(&store, &mail(), day(3), Verdict::Good, "mail").await;
    let space = world.store(0).space(&vpn()).await.unwrap();
    assert_eq!(space.keys().cloned().collect::<Vec<_>>(), {
        let mut names = text_of(&[day(1), day(2)]);
        names.push("before-upgrade".to_owned());
        names
    });
    world.store(0).space(&"nobody".parse().unwrap()).await.unwrap_err();
}

async fn an_overview_says_what_a_survey_would<H: Harness>(world: H) {
    let store = world.store(0);
    assert!(store.overview(day(9).time()).await.unwrap().is_empty());
    for (number, verdict) in [(1, Verdict::Good), (2, Verdict::Good), (3, Verdict::Suspect)] {
        take(&store, &vpn(), day(number), verdict, "text").await;
    }
    take(&store, &mail(), day(4), Verdict::Partial, "text").await;
    world.take_foreign("vpn", "before-upgrade").await;
    world.hold("vpn", &day(1).to_string()).await;
    let survey = world.store(0).survey().await.unwrap();
    let overview = world.store(0).overview(day(9).time()).await.unwrap();
    let expected: Vec<_> = survey
        .hosts
        .iter()
        .map(|(host, list)| (host.clone(), Ok(Overview::of(list, day(9).time()))))
        .collect();
    assert_eq!(overview.clone().into_iter().collect::<Vec<_>>(), expected);
    let vpn = overview["vpn"].as_ref().unwrap();
    assert_eq!((vpn.ours, vpn.foreign, vpn.held), (3, 1, 1));
    assert_eq!(vpn.newest_good.unwrap().time, day(2).time());
}

async fn without_room_nothing_is_touched<H: Harness>(world: H) {
    let store = world.store(100);
    let survey = store.survey().await.unwrap();
    let refusal = store.prepare(&vpn(), &survey).await.unwrap_err().to_string();
    assert!(refusal.contains("`min_free_percent` asks for 100%"), "{refusal}");
    let survey = world.store(0).survey().await.unwrap();
    assert!(survey.hosts.is_empty(), "{survey:?}");
}

async fn nothing_can_be_kept_that_was_not_prepared<H: Harness>(world: H) {
    let store = world.store(0);
    let others = tempfile::tempdir().unwrap();
    let workspace = Workspace {
        destination: others.path().to_owned(),
        link_dest: Vec::new(),
        precision: Precision::Nanoseconds,
        in_place: true,
        warnings: Vec::new(),
    };
    store.commit(&vpn(), &workspace, day(1), &facts(Verdict::Good)).await.unwrap_err();
    let survey = store.survey().await.unwrap();
    assert!(survey.of(&vpn()).is_empty(), "{survey:?}");
}

macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod directory {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::DirectoryHarness::new()).await;
            })*
        }

        mod zfs {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::ZfsHarness::new().await).await;
            })*
        }

        mod pool {
            $(#[tokio::test]
            #[ignore = "needs a pool: `make vm`"]
            async fn $promise() {
                super::$promise(super::ZfsHarness::real()).await;
            })*
        }
    };
}

contract![
    a_new_store_holds_nothing,
    prepare_makes_the_place_and_may_be_called_again,
    a_snapshot_is_listed_with_all_its_facts,
    a_name_is_given_once,
    what_is_given_up_costs_no_snapshot_and_no_later_try,
    a_foreign_snapshot_is_listed_and_never_removed,
    what_is_held_stays_and_the_others_go,
    a_hold_lasts_until_it_is_released,
    what_is_not_there_is_neither_held_nor_released,
    a_host_is_asked_by_itself,
    what_is_gone_already_counts_as_removed,
    no_name_is_a_list_a_range_or_a_path,
    hosts_do_not_see_each_other,
    a_hosts_name_has_one_place_in_any_case,
    people_find_each_version_where_it_is_said_to_be,
    what_each_snapshot_alone_holds_is_said_of_all,
    an_overview_says_what_a_survey_would,
    without_room_nothing_is_touched,
    nothing_can_be_kept_that_was_not_prepared,
];
