//! Files that are written in place: whole runs of a host with real rsync, into a
//! dataset of the ZFS stand-in. `tests/pool/inplace.rs` has what only a real
//! pool can show.

use crate::support::rig::*;
use crate::support::standin::StandIn;
use backup::app::admission::{Pace, Turns};
use backup::app::clock::clock_behind;
use backup::app::run::{Event, FRESH, Run, Step, Watch, host};
use backup::core::model::outcome::{HostReport, Outcome, Severity};
use backup::core::model::snapshot::Verdict;
use backup::core::policy::anomaly::Past;
use backup::edge::config::{self, Environment};
use backup::edge::inventory;
use backup::edge::store::Store;
use backup::sys::clock::Clock;
use backup::sys::lock::Runtime;
use backup::sys::process;
use chrono::{DateTime, TimeDelta, Utc};
use rustix::process::Signal;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A server with a pool, and a host `web`.
struct World {
    rig: RefCell<Rig>,
    standin: StandIn,
    source: PathBuf,
    began: DateTime<Utc>,
    runs: Cell<i64>,
    fresh: Cell<Duration>,
}

impl World {
    /// The host is this machine itself.
    async fn new() -> Rc<Self> {
        World::with(Rig::without_sshd()).await
    }

    async fn with(mut rig: Rig) -> Rc<Self> {
        let source = rig.host("web");
        let standin = StandIn::new().await;
        Rc::new(World {
            rig: RefCell::new(rig),
            standin,
            source,
            began: now(),
            runs: Cell::new(0),
            fresh: Cell::new(FRESH),
        })
    }

    /// Other settings of the host from now on.
    fn set(&self, lines: &str) {
        self.rig.borrow_mut().section("hosts.\"web\"", lines);
    }

    /// These paths of the host are written in place from now on.
    fn in_place(&self, paths: &[&str]) {
        let paths: Vec<PathBuf> = paths.iter().map(|path| self.at(path)).collect();
        self.set(&format!("inplace = {paths:?}"));
    }

    /// A path on the host.
    fn at(&self, path: &str) -> PathBuf {
        self.source.join(path)
    }

    /// Writes a file of the host.
    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        self.rig.borrow().write(self.at(path), bytes);
    }

    /// A path in the live copy.
    fn copy(&self, path: &str) -> PathBuf {
        self.standin.mountpoint("data/web").join(path)
    }

    fn inode(&self, path: &str) -> u64 {
        self.copy(path).metadata().unwrap().ino()
    }

    /// The names of the snapshots, oldest first.
    fn snapshots(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.copy(".zfs/snapshot")) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn snapshot(&self, name: &str) -> PathBuf {
        self.copy(".zfs/snapshot").join(name)
    }

    fn run(&self) -> impl Future<Output = HostReport> {
        self.run_with(CancellationToken::new(), |_| {})
    }

    /// A run of which `watch` hears how it gets on.
    fn run_with(
        &self,
        cancel: CancellationToken,
        watch: impl Fn(Event) + 'static,
    ) -> Pin<Box<dyn Future<Output = HostReport> + '_>> {
        // Not as large as a run is: a test has less stack than the program.
        Box::pin(self.whole_run(cancel, Box::new(move |_, event| watch(event))))
    }

    async fn whole_run(&self, cancel: CancellationToken, watch: Watch) -> HostReport {
        // It is named once a process, and other tests share this one.
        process::call_this_program(env!("CARGO_BIN_EXE_backup"));
        assert_eq!(process::this_program(), env!("CARGO_BIN_EXE_backup"));
        let config = self.rig.borrow().configure();
        let settings = config::load(&config, &Environment::of_this_machine()).unwrap().settings;
        self.runs.set(self.runs.get() + 1);
        // Later than the end of the run before.
        let now = self.began + TimeDelta::minutes(self.runs.get());
        let store = self.standin.store();
        let survey = store.survey().await;
        let run = Run {
            runtime: Runtime::enter(&settings.runtime_dir).unwrap().0,
            settings,
            names: Default::default(),
            clock_behind: clock_behind(survey.as_ref().unwrap(), now),
            clock_agreed: std::cell::Cell::default(),
            held: Default::default(),
            store,
            survey,
            clock: Clock::starting_at(now),
            id: "test".to_owned(),
            configured: Vec::new(),
            cancel,
            accept_deletions: false,
            keep: Some("test".parse().unwrap()),
            past: Past::new(),
            fresh: self.fresh.get(),
            watch,
        };
        let web = inventory::forced(&run.settings, "web".parse().unwrap());
        let pace = Pace {
            jobs: NonZeroUsize::MIN,
            most: NonZeroUsize::MIN,
            connections_per_second: NonZeroU32::MIN,
        };
        let report = host(&run, &web, Turns::new(pace).begin()).await;
        // A connection that was dropped ends when the runtime gets to it, which
        // otherwise is after the rig has looked for what is left.
        tokio::task::yield_now().await;
        report
    }

    /// A run that is good and has nothing to say.
    #[track_caller]
    fn is_good(&self, report: &HostReport) {
        assert!(
            matches!(report.outcome, Outcome::Copied { verdict: Verdict::Good, .. })
                && report.notes.iter().all(|note| note.severity == Severity::Ok),
            "{report:#?}"
        );
        self.is_copied();
    }

    /// Fails the test unless the copy and its newest snapshot are what the
    /// source is.
    #[track_caller]
    fn is_copied(&self) {
        let (source, copy) = (listing(&self.source), listing(&self.copy("")));
        let differs: Vec<_> = source
            .iter()
            .filter(|(path, entry)| copy.get(*path) != Some(entry))
            .map(|(path, _)| path)
            .chain(copy.keys().filter(|path| !source.contains_key(*path)))
            .collect();
        assert!(differs.is_empty(), "different in the copy: {differs:?}");
        let contents = |tree: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
            listing(tree).into_iter().filter_map(|(path, entry)| Some((path, entry.contents?))).collect()
        };
        let newest = self.snapshot(self.snapshots().last().unwrap());
        assert!(contents(&newest) == contents(&self.source), "the newest snapshot is not the source");
    }
}

#[expect(clippy::disallowed_methods, reason = "the host reads its clock too")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// An entry of a tree, without what says which of its names are one file.
#[derive(PartialEq, Eq)]
struct Entry {
    mode: u32,
    time: (i64, i64),
    /// A file's; where a symlink leads.
    contents: Option<Vec<u8>>,
}

/// What is in a tree, but for the snapshots that a dataset shows.
fn listing(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let meta = path.symlink_metadata().unwrap();
        let contents = if meta.is_dir() {
            let entries = path.read_dir().unwrap().map(|entry| entry.unwrap().path());
            left.extend(entries.filter(|entry| *entry != root.join(".zfs")));
            None
        } else if meta.is_symlink() {
            Some(path.read_link().unwrap().into_os_string().into_encoded_bytes())
        } else {
            Some(fs::read(&path).unwrap())
        };
        let own = path.strip_prefix(root).unwrap().to_owned();
        // The time of the root is that of the snapshots' folder in it, too.
        let time = if path == root { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
        found.insert(own, Entry { mode: meta.mode(), time, contents });
    }
    found
}

/// Random numbers, the same for a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes()).flatten().take(length).collect()
    }
}

fn said(report: &HostReport) -> String {
    report.notes.iter().map(|note| format!("{}\n", note.text)).collect()
}

#[tokio::test]
async fn what_is_written_in_place_keeps_its_file_and_all_else_is_copied_as_ever() {
    let world = World::new().await;
    let mut random = Random(1);
    world.write("srv/images/a.img", random.bytes(700_000));
    world.write("srv/images/deep/b.img", random.bytes(300_000));
    world.write("srv/images/left out.iso", "not copied");
    world.write("srv/odd [1]*?\\ \u{fc}.img", random.bytes(200_000));
    world.write("srv/odd [1]", "not the odd one");
    world.write("srv/imagesque", "");
    world.write("srv/image", "");
    fs::hard_link(world.at("srv/data"), world.at("etc/linked")).unwrap();
    world.set("exclude = [\"*.iso\"]");
    world.rig.borrow_mut().section("transfer", "max_delete_percent = 100");
    let plain = world.run().await;
    world.in_place(&["srv/images/", "srv/odd [1]*?\\ \u{fc}.img", "srv/not there"]);
    fs::remove_file(world.at("srv/images/left out.iso")).unwrap();
    let report = world.run().await;
    world.is_good(&report);
    let (plain, figures) = (plain.figures.unwrap(), report.figures.unwrap());
    assert_eq!(
        (figures.files, figures.bytes),
        (plain.files, plain.bytes),
        "two rsyncs count what one counts"
    );
    assert_eq!((figures.changed, figures.deleted), (0, 0), "nothing is sent twice, nothing is removed");

    let in_place = ["srv/images/a.img", "srv/images/deep/b.img", "srv/odd [1]*?\\ \u{fc}.img"];
    let inodes = in_place.map(|path| world.inode(path));
    for path in in_place {
        fs::File::options()
            .write(true)
            .open(world.at(path))
            .unwrap()
            .write_all_at(&random.bytes(5000), 150_000)
            .unwrap();
    }
    world.write("etc/hostname", "another\n");
    let anew = world.inode("etc/hostname");
    let report = world.run().await;
    world.is_good(&report);
    assert_eq!(in_place.map(|path| world.inode(path)), inodes, "they are the same files as before");
    assert_ne!(world.inode("etc/hostname"), anew);
    assert_eq!(world.inode("etc/linked"), world.inode("srv/data"), "hard links elsewhere are kept");
    let figures = report.figures.unwrap();
    assert_eq!((figures.changed, figures.deleted, figures.files), (4, 0, plain.files));

    // Zeros, shorter, longer, gone, come.
    fs::File::options()
        .write(true)
        .open(world.at(in_place[0]))
        .unwrap()
        .write_all_at(&[0; 400_000], 1000)
        .unwrap();
    fs::File::options().write(true).open(world.at(in_place[2])).unwrap().set_len(500_000).unwrap();
    fs::remove_file(world.at(in_place[1])).unwrap();
    world.write("srv/images/new/c.img", random.bytes(10));
    world.write("srv/images/left out.iso", "not copied");
    let report = world.run().await;
    fs::remove_file(world.at("srv/images/left out.iso")).unwrap();
    assert_eq!(report.figures.unwrap().deleted, 1, "{report:#?}");
    assert!(!world.copy("srv/images/left out.iso").exists());
    world.is_good(&world.run().await);

    // Left out, it leaves the copy; so does what is no more there.
    world.write("srv/images/deep/gone soon", "");
    world.is_good(&world.run().await);
    world.set("exclude = [\"/srv/images/deep\"]");
    world.run().await;
    assert!(!world.copy("srv/images/deep").exists() && world.copy("srv/images/a.img").exists());
    world.set("exclude = [\"/srv/images\"]");
    world.run().await;
    assert!(!world.copy("srv/images").exists() && world.copy("srv/image").exists());
    world.set("exclude = [\"/srv\"]");
    world.run().await;
    assert!(!world.copy("srv").exists(), "the way to the paths is left out with all that it leads to");
    world.set("exclude = []");
    fs::remove_dir_all(world.at("srv/images")).unwrap();
    world.is_good(&world.run().await);
    world.write("srv/images", "a file now");
    world.is_good(&world.run().await);
}

#[tokio::test]
async fn a_path_behind_a_symlink_is_copied_as_ever_and_nothing_beside_the_copy_is_touched() {
    let world = World::new().await;
    let outside = world.rig.borrow().write("outside/images/a", "the server's own");
    fs::hard_link(&outside, outside.with_file_name("b")).unwrap();
    world.write("srv/store/images/a.img", "an image");
    world.in_place(&["srv/store/images"]);
    world.is_good(&world.run().await);
    // The host turns a directory on the way into a link that leads out of the copy.
    fs::remove_dir_all(world.at("srv/store")).unwrap();
    symlink(outside.parent().unwrap().parent().unwrap(), world.at("srv/store")).unwrap();
    world.is_good(&world.run().await);
    world.is_good(&world.run().await);
    assert_eq!(fs::read_dir(outside.parent().unwrap()).unwrap().count(), 2);
    // And the path itself.
    fs::remove_file(world.at("srv/store")).unwrap();
    fs::create_dir(world.at("srv/store")).unwrap();
    symlink(outside.parent().unwrap(), world.at("srv/store/images")).unwrap();
    world.is_good(&world.run().await);
    assert_eq!(fs::read_to_string(outside).unwrap(), "the server's own");
}

#[tokio::test]
async fn a_path_with_a_linked_file_is_refused_with_its_name_until_the_link_has_gone() {
    let world = World::new().await;
    let mut random = Random(2);
    world.write("srv/images/a", random.bytes(200_000));
    world.write("srv/db/data", random.bytes(200_000));
    world.in_place(&["srv/images", "srv/db"]);
    world.is_good(&world.run().await);
    let (a, data) = (world.inode("srv/images/a"), world.inode("srv/db/data"));
    fs::hard_link(world.at("srv/images/a"), world.at("etc/it's\n\"second\"")).unwrap();
    for path in ["srv/images/a", "srv/db/data"] {
        fs::File::options().write(true).open(world.at(path)).unwrap().write_all_at(b"new", 100).unwrap();
    }
    let rotated = Rc::new(Cell::new(false));
    let heard = rotated.clone();
    let watch = move |event| heard.set(heard.get() || event == Event::At(Step::Rotate));
    let report = world.run_with(CancellationToken::new(), watch).await;
    assert!(rotated.get(), "what a refusal costs is made room for");
    assert!(
        said(&report).contains(&format!(
            "srv/images` was not written in place: `{}` has more than one hard link",
            world.at("srv/images/a").display()
        )),
        "{report:#?}"
    );
    assert_eq!(report.severity(), Severity::Warning);
    world.is_copied();
    assert_ne!(world.inode("srv/images/a"), a);
    assert_eq!(world.inode("srv/images/a"), world.inode("etc/it's\n\"second\""), "one file, as on the host");
    assert_eq!(world.inode("srv/db/data"), data, "the other path is none the worse");
    fs::remove_file(world.at("etc/it's\n\"second\"")).unwrap();
    world.write("etc/it's\n\"second\"", "another file");
    world.is_good(&world.run().await);
}

/// Names inside the path and outside are written, linked, parted and removed
/// at random, also between the look for links and the copy, while the path comes
/// and goes from the configuration. No file may ever have another's bytes.
#[tokio::test]
async fn no_order_of_links_and_writes_gives_a_file_anothers_bytes() {
    const NAMES: [&str; 5] = ["srv/in/a", "srv/in/b", "srv/in/deep/c", "srv/out/x", "srv/y"];
    for seed in [3, 0x1234_5678_9abc] {
        let world = World::new().await;
        for folder in ["srv/in/deep", "srv/out"] {
            fs::create_dir_all(world.at(folder)).unwrap();
        }
        let random = Rc::new(RefCell::new(Random(seed)));
        let act = {
            let (world, random) = (world.clone(), random.clone());
            move || {
                let random = &mut *random.borrow_mut();
                let (one, other) = (world.at(NAMES[random.below(5)]), world.at(NAMES[random.below(5)]));
                match random.below(6) {
                    // A new file.
                    0 | 1 => {
                        let _ = fs::remove_file(&one);
                        let length = [0, 10, 140_000, 300_000][random.below(4)];
                        fs::write(&one, random.bytes(length)).unwrap();
                    }
                    // Into the old one, and so into all that are one with it.
                    2 | 3 if one.exists() => {
                        let file = fs::File::options().write(true).open(&one).unwrap();
                        file.write_all_at(&random.bytes(4000), u64::try_from(random.below(200_000)).unwrap())
                            .unwrap();
                    }
                    4 if one.exists() && one != other => {
                        let _ = fs::remove_file(&other);
                        fs::hard_link(&one, &other).unwrap();
                    }
                    5 => {
                        let _ = fs::remove_file(&one);
                    }
                    _ => {}
                }
            }
        };
        for round in 0..25 {
            let acts = 1 + random.borrow_mut().below(4);
            for _ in 0..acts {
                act();
            }
            let paths: &[&str] = if random.borrow_mut().below(4) == 0 { &[] } else { &["srv/in"] };
            world.in_place(paths);
            let (race, act) = (random.borrow_mut().below(3) == 0, act.clone());
            let report = world
                .run_with(CancellationToken::new(), move |event| {
                    if race && event == Event::At(Step::Transfer) {
                        act();
                        act();
                    }
                })
                .await;
            assert!(
                matches!(report.outcome, Outcome::Copied { verdict: Verdict::Good, .. }),
                "seed {seed}, round {round}: {report:#?}"
            );
            world.is_copied();
        }
        // Without the path, what is one file on the host is one in the copy.
        world.in_place(&[]);
        world.is_good(&world.run().await);
        let alike = |tree: &dyn Fn(&str) -> PathBuf| -> Vec<Vec<bool>> {
            let inode = |name: &str| tree(name).metadata().map(|meta| meta.ino()).ok();
            NAMES.iter().map(|one| NAMES.iter().map(|other| inode(one) == inode(other)).collect()).collect()
        };
        assert_eq!(alike(&|name| world.copy(name)), alike(&|name| world.at(name)), "seed {seed}");
    }
}

/// Does `act` once, when the file of the copy has been written to and is torn.
fn when_torn(
    world: &Rc<World>,
    path: &'static str,
    act: impl Fn(&World) + 'static,
) -> impl Fn(Event) + 'static {
    let time = |world: &World| world.copy(path).metadata().map(|meta| (meta.mtime(), meta.mtime_nsec())).ok();
    let (world, before, done) = (world.clone(), time(world), Cell::new(false));
    move |event| {
        if matches!(event, Event::Copied(_)) && !done.get() && time(&world) != before {
            done.set(true);
            act(&world);
        }
    }
}

/// The host's image, 8 MB, of which 4 MB, all over it, have just changed. What
/// it was before.
fn change_image(world: &World, random: &mut Random) -> Vec<u8> {
    let image = fs::read(world.at("srv/images/vm.img")).unwrap();
    let file = fs::File::options().write(true).open(world.at("srv/images/vm.img")).unwrap();
    for megabyte in 0..8 {
        file.write_all_at(&random.bytes(1 << 19), megabyte << 20).unwrap();
    }
    image
}

/// Ends every rsync that writes this copy.
fn end_rsync(world: &World, with: Signal) {
    let copy = world.copy("");
    for process in processes() {
        if process.runs("rsync") && process.line.contains(copy.to_str().unwrap()) {
            process.signal(with);
        }
    }
}

#[tokio::test]
async fn a_torn_file_is_in_no_snapshot_however_its_run_ends_and_the_next_run_mends_it() {
    type End = fn(&World, &CancellationToken);
    let ends: [(End, &str); 3] = [
        (|_, cancel| cancel.cancel(), "the run is told to stop"),
        (|world, _| end_rsync(world, Signal::TERM), "rsync is ended, and tidies up"),
        (|world, _| end_rsync(world, Signal::KILL), "rsync is killed, as when the power goes"),
    ];
    let world = World::new().await;
    let mut random = Random(4);
    world.write("srv/images/vm.img", random.bytes(8 << 20));
    world.in_place(&["srv/images"]);
    world.is_good(&world.run().await);
    for (end, why) in ends {
        let before = world.snapshots();
        let former = change_image(&world, &mut random);
        world.rig.borrow_mut().section("transfer", "bandwidth_limit = \"2m\"\nretries = 0");
        let cancel = CancellationToken::new();
        let token = cancel.clone();
        let watch = when_torn(&world, "srv/images/vm.img", move |world| end(world, &token));
        let report = world.run_with(cancel, watch).await;
        assert!(!matches!(report.outcome, Outcome::Copied { .. }), "{why}: {report:#?}");
        assert_eq!(world.snapshots(), before, "{why}");
        let (torn, image) = (world.copy("srv/images/vm.img"), world.at("srv/images/vm.img"));
        let bytes = fs::read(&torn).unwrap();
        assert!(bytes != former && bytes != fs::read(&image).unwrap(), "{why}: nothing is torn");
        let time = |path: &Path| path.metadata().map(|meta| (meta.mtime(), meta.mtime_nsec())).unwrap();
        assert_ne!(time(&torn), time(&image), "{why}: the next run would take it for whole");
        world.rig.borrow_mut().section("transfer", "bandwidth_limit = \"\"");
        world.is_good(&world.run().await);
        let last = world.snapshot(before.last().unwrap()).join("srv/images/vm.img");
        assert!(fs::read(last).unwrap() == former, "{why}: the snapshot before has changed");
    }
    // Taken out of the configuration meanwhile, or linked, it is mended as well.
    for lines in ["inplace = []", "hooks = true"] {
        change_image(&world, &mut random);
        world.rig.borrow_mut().section("transfer", "bandwidth_limit = \"2m\"");
        let watch = when_torn(&world, "srv/images/vm.img", |world| end_rsync(world, Signal::KILL));
        world.run_with(CancellationToken::new(), watch).await;
        world.rig.borrow_mut().section("transfer", "bandwidth_limit = \"\"");
        if lines == "hooks = true" {
            fs::hard_link(world.at("srv/images/vm.img"), world.at("srv/second")).unwrap();
        }
        world.set(lines);
        world.run().await;
        world.is_copied();
        world.in_place(&["srv/images"]);
    }
}

#[tokio::test]
async fn a_file_that_is_cut_short_while_it_is_copied_makes_no_good_copy() {
    let world = World::new().await;
    let mut random = Random(6);
    world.write("srv/images/vm.img", random.bytes(8 << 20));
    world.in_place(&["srv/images"]);
    world.is_good(&world.run().await);
    change_image(&world, &mut random);
    world.rig.borrow_mut().section("transfer", "bandwidth_limit = \"2m\"");
    let watch = when_torn(&world, "srv/images/vm.img", |world| {
        fs::File::options().write(true).open(world.at("srv/images/vm.img")).unwrap().set_len(100).unwrap();
    });
    let report = world.run_with(CancellationToken::new(), watch).await;
    assert!(matches!(report.outcome, Outcome::Copied { verdict: Verdict::Partial, .. }), "{report:#?}");
    world.rig.borrow_mut().section("transfer", "bandwidth_limit = \"\"");
    world.is_good(&world.run().await);
}

/// Leaves `srv/images/vm.img` torn in the copy, as when the power goes.
async fn tear_image(world: &Rc<World>, random: &mut Random) {
    change_image(world, random);
    world.rig.borrow_mut().section("transfer", "bandwidth_limit = \"2m\"");
    let watch = when_torn(world, "srv/images/vm.img", |world| end_rsync(world, Signal::KILL));
    let report = world.run_with(CancellationToken::new(), watch).await;
    assert!(!matches!(report.outcome, Outcome::Copied { .. }), "{report:#?}");
}

#[tokio::test]
async fn a_torn_file_that_goes_before_it_is_mended_is_in_no_good_copy() {
    let world = World::new().await;
    let mut random = Random(7);
    world.write("srv/images/a.img", random.bytes(3 << 20));
    world.write("srv/images/vm.img", random.bytes(8 << 20));
    world.in_place(&["srv/images"]);
    world.is_good(&world.run().await);
    tear_image(&world, &mut random).await;
    // It is listed, and goes while the one before it is copied.
    world.write("srv/images/a.img", random.bytes(3 << 20));
    let watch = when_torn(&world, "srv/images/a.img", |world| {
        fs::remove_file(world.at("srv/images/vm.img")).unwrap();
    });
    let report = world.run_with(CancellationToken::new(), watch).await;
    assert!(said(&report).contains("1 file vanished"), "{report:#?}");
    world.is_good(&report);
    assert_eq!(report.figures.unwrap().deleted, 1, "both passes count as one");

    // The same where the path is refused.
    world.write("srv/images/vm.img", random.bytes(8 << 20));
    world.is_good(&world.run().await);
    tear_image(&world, &mut random).await;
    world.write("srv/images/a.img", random.bytes(8 << 20));
    world.write("srv/images/x", "");
    fs::hard_link(world.at("srv/images/x"), world.at("srv/images/y")).unwrap();
    let gone = world.at("srv/images/vm.img");
    let report = world
        .run_with(CancellationToken::new(), move |event| {
            if matches!(event, Event::Copied(progress) if progress.bytes > 1 << 20) {
                let _ = fs::remove_file(&gone);
            }
        })
        .await;
    assert!(said(&report).contains("1 file vanished"), "{report:#?}");
    assert!(said(&report).contains("was not written in place"), "{report:#?}");
    assert!(matches!(report.outcome, Outcome::Copied { verdict: Verdict::Good, .. }), "{report:#?}");
    world.is_copied();
}

#[tokio::test]
async fn a_copy_whose_files_vanish_again_and_again_is_not_good() {
    let world = World::new().await;
    let mut random = Random(8);
    for name in ["a.img", "b.img", "c.img"] {
        world.write(&format!("srv/images/{name}"), random.bytes(3 << 20));
    }
    world.in_place(&["srv/images"]);
    world.is_good(&world.run().await);
    world.rig.borrow_mut().section("transfer", "bandwidth_limit = \"2m\"");
    for name in ["a.img", "b.img", "c.img"] {
        world.write(&format!("srv/images/{name}"), random.bytes(3 << 20));
    }
    let copied = |world: &World, name: &str| {
        world
            .copy(&format!("srv/images/{name}"))
            .metadata()
            .map(|meta| (meta.mtime(), meta.mtime_nsec()))
            .ok()
    };
    let (watched, random) = (world.clone(), RefCell::new(random));
    let (step, a, c) = (Cell::new(0), Cell::new(copied(&world, "a.img")), copied(&world, "c.img"));
    let report = world
        .run_with(CancellationToken::new(), move |event| {
            let world = &watched;
            let is_next = match (event, step.get()) {
                (Event::Copied(_), 0 | 2) => copied(world, "a.img") != a.get(),
                (Event::Copied(_), 1) => copied(world, "c.img") != c,
                _ => false,
            };
            if !is_next {
                return;
            }
            match step.get() {
                0 => fs::remove_file(world.at("srv/images/b.img")).unwrap(),
                1 => {
                    a.set(copied(world, "a.img"));
                    // One of them is being read: it must not be shorter in between.
                    for name in ["a.img", "c.img"] {
                        world.write("srv/new.img", random.borrow_mut().bytes(3 << 20));
                        fs::rename(world.at("srv/new.img"), world.at(&format!("srv/images/{name}"))).unwrap();
                    }
                }
                _ => fs::remove_file(world.at("srv/images/c.img")).unwrap(),
            }
            step.set(step.get() + 1);
        })
        .await;
    let Outcome::Copied { verdict: Verdict::Partial, why, .. } = &report.outcome else {
        panic!("{report:#?}")
    };
    assert!(why.contains("vanished twice"), "{why}");
    world.rig.borrow_mut().section("transfer", "bandwidth_limit = \"\"");
    world.is_good(&world.run().await);
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_of_a_file_is_made_again_and_the_file_mended() {
    let world = World::with(Rig::new()).await;
    let mut random = Random(5);
    world.write("srv/images/vm.img", random.bytes(8 << 20));
    world.in_place(&["srv/images"]);
    world.is_good(&world.run().await);
    change_image(&world, &mut random);
    world.write("srv/data", "new data");
    world.rig.borrow_mut().section("transfer", "bandwidth_limit = \"2m\"");
    let watch = when_torn(&world, "srv/images/vm.img", |world| {
        let sessions = world.rig.borrow_mut().sshd().sessions();
        sessions.iter().for_each(|process| process.signal(Signal::KILL));
    });
    let report = world.run_with(CancellationToken::new(), watch).await;
    world.is_good(&report);
    assert_eq!(report.transfers.len(), 2, "{report:#?}");
    assert!(report.transfers[0].contains("the connection was lost"), "{report:#?}");
    let figures = report.figures.unwrap();
    assert_eq!(figures.changed, 2, "also what was copied before the connection was lost is counted");
}

#[tokio::test]
async fn the_connection_is_kept_in_use_while_names_are_parted() {
    let world = World::with(Rig::new()).await;
    for number in 0..5000 {
        world.write(&format!("srv/images/{number}"), "");
    }
    world.in_place(&["srv/images"]);
    world.is_good(&world.run().await);
    world.fresh.set(Duration::from_millis(1));
    let (copies, asked) = (Cell::new(false), Rc::new(Cell::new(false)));
    let heard = asked.clone();
    let watch = move |event| match event {
        Event::At(step) => copies.set(step == Step::Transfer),
        Event::AskedAgain if copies.get() => heard.set(true),
        _ => {}
    };
    let report = world.run_with(CancellationToken::new(), watch).await;
    assert!(asked.get());
    world.is_good(&report);
}

#[test]
fn a_directory_store_writes_nothing_in_place() {
    let mut rig = Rig::without_sshd();
    let source = rig.host("web");
    let image = rig.write(source.join("srv/images/a"), "one");
    rig.section("hosts.\"web\"", &format!("inplace = [{:?}]", source.join("srv/images")));
    rig.backup(&["run", "--keep", "first", "web"]).exits(0);
    fs::write(&image, "two").unwrap();
    // Hard links are kept there, and none is asked for.
    fs::hard_link(&image, source.join("second")).unwrap();
    rig.backup(&["web"]).exits(0).does_not_say("hard link");
    let names = rig.snapshots("web");
    let text = |name: &str| fs::read_to_string(rig.snapshot("web", name).join("srv/images/a")).unwrap();
    assert_eq!((text(&names[0]), text(&names[1])), ("one".to_owned(), "two".to_owned()));
    assert_eq!(differences(&source, &rig.newest("web")), "");
}

#[test]
fn a_check_and_a_plan_tell_what_a_run_would_write_in_place() {
    let mut shelf = crate::support::shelf::Shelf::of_zfs();
    let source = shelf.rig.host("web");
    shelf.rig.write(source.join("srv/images/a"), "");
    fs::hard_link(source.join("srv/images/a"), source.join("second")).unwrap();
    shelf.rig.write(source.join("srv/plain/b"), "");
    symlink("plain", source.join("srv/link")).unwrap();
    let paths = ["images", "plain", "link/below", "gone"].map(|path| source.join("srv").join(path));
    shelf.rig.section("hosts.\"web\"", &format!("inplace = {paths:?}"));
    let stdout = shelf.backup(&["check", "--json"]).stdout;
    let answer: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let findings: Vec<&str> = answer["hosts"][0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|found| found["text"].as_str())
        .collect();
    let told: Vec<&&str> = findings.iter().filter(|text| text.contains("in place")).collect();
    assert_eq!(told.len(), 2, "{findings:#?}");
    let source = source.display();
    for (told, expected) in told.into_iter().zip([
        format!(
            "srv/images` would not be written in place: `{source}/srv/images/a` has more than one hard link"
        ),
        format!("srv/link/below` would not be written in place: `{source}/srv/link` is a symbolic link"),
    ]) {
        assert!(told.ends_with(&expected), "{told}");
    }

    let plan = shelf.json(0, &["plan", "--json"]);
    assert_eq!(plan["hosts"][0]["inplace"], serde_json::json!(paths), "{plan:#}");

    // What the defaults name and a host's source does not hold plays no part.
    let plain = shelf.rig.host("db").join("srv/plain");
    shelf
        .rig
        .section("host_defaults", &format!("inplace = {:?}", [plain.as_path(), Path::new("/elsewhere")]));
    let plan = shelf.json(0, &["plan", "--json", "db"]);
    assert_eq!(plan["hosts"][0]["inplace"], serde_json::json!([plain]), "{plan:#}");
}

#[tokio::test]
async fn deletions_of_both_rsyncs_share_one_budget() {
    let world = World::new().await;
    for number in 0..10 {
        world.write(&format!("srv/images/{number}"), "");
        world.write(&format!("srv/plain/{number}"), "");
    }
    world.in_place(&["srv/images"]);
    world.is_good(&world.run().await);
    // 29 entries, of which half may go: all of one kind, and some of the other.
    for number in 0..10 {
        fs::remove_file(world.at(&format!("srv/plain/{number}"))).unwrap();
    }
    for number in 0..8 {
        fs::remove_file(world.at(&format!("srv/images/{number}"))).unwrap();
    }
    let report = world.run().await;
    assert!(matches!(report.outcome, Outcome::Copied { verdict: Verdict::Suspect, .. }), "{report:#?}");
    assert!((11..=14).contains(&report.figures.unwrap().deleted), "{report:#?}");
}
