//! Runs on a real pool that lose a part of themselves to kill -9, at every
//! step: no snapshot is wrong, none is lost, nothing stays behind, and the next
//! run is good. `make vm` runs these.

use crate::support::icinga::Icinga;
use crate::support::pool::zfs;
use crate::support::rig::*;
use crate::support::snare::{Snare, When};
use crate::support::trees::{assert_nothing_left, name_at, remember};
use When::{After, Before};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Child;

/// A host whose every state is remembered.
struct Scene {
    rig: Rig,
    snare: Snare,
    source: PathBuf,
    round: u32,
    /// What the source was when each snapshot was taken.
    taken: BTreeMap<String, PathBuf>,
}

/// The oldest snapshot is from so many days ago.
const PAST: u32 = 60;

impl Scene {
    fn new() -> Self {
        Scene::with("")
    }

    /// One whose host is this machine itself, where the connection plays no
    /// part: in a virtual machine a login takes seconds.
    fn near() -> Self {
        Scene::with("transport = \"local\"\n")
    }

    fn with(lines: &str) -> Self {
        let mut rig = Rig::on_zfs();
        // Each snapshot is of a day of its own, and all of them stay but those
        // that a test puts there to go.
        rig.section("retention", &format!("daily = {PAST}\nweekly = 1\nmonthly = 1\nyearly = 1\n"));
        let source = rig.host_with("Web", lines);
        rig.hook("dump", "echo dumped");
        let snare = Snare::new(&rig);
        if lines.is_empty() {
            snare.watch_sessions(&mut rig);
        }
        let mut scene = Scene { rig, snare, source, round: 0, taken: BTreeMap::new() };
        scene.change();
        scene.rig.backup(&["all"]).exits(0);
        scene.check();
        scene
    }

    /// New contents for every file, each in a file of its own, and some files
    /// more and some fewer.
    fn change(&mut self) {
        self.round += 1;
        let round = self.round;
        let replace = |name: String, text: String| {
            let new = self.rig.write("new", text);
            fs::create_dir_all(self.source.join("srv/many")).unwrap();
            fs::rename(new, self.source.join(name)).unwrap();
        };
        for number in 0..8 {
            replace(format!("srv/many/{number}"), format!("file {number} in round {round}\n"));
        }
        replace(format!("srv/only-in-{round}"), "here today".to_owned());
        if let Ok(gone) = self.source.join(format!("srv/only-in-{}", round - 1)).canonicalize() {
            fs::remove_file(gone).unwrap();
        }
        big_file(&self.rig.join("new"), 1);
        fs::rename(self.rig.join("new"), self.source.join("srv/zz-big")).unwrap();
        remember(&self.rig, &self.source, &format!("state-{round}"));
    }

    fn dataset(&self) -> String {
        self.rig.dataset.as_ref().unwrap().child("web")
    }

    /// Every snapshot is the source of its time, and none has gone. New ones
    /// are of the newest state, and become those of earlier days.
    #[track_caller]
    fn check(&mut self) {
        let names = self.rig.snapshots("web");
        for name in self.taken.keys() {
            assert!(names.contains(name), "{name} is lost: {names:?}");
        }
        let mut new = Vec::new();
        for name in names {
            let state = self.rig.join(format!("state-{}", self.round));
            let state = self.taken.get(&name).cloned().unwrap_or_else(|| {
                new.push(name.clone());
                state
            });
            assert_eq!(self.rig.facts("web", &name)["verdict"], "good", "{name}");
            assert_eq!(differences(&state, &self.rig.snapshot("web", &name)), "", "{name}");
        }
        assert!(new.len() <= 1, "{new:?}");
        for name in new {
            let day = u32::try_from(self.taken.len()).unwrap();
            let earlier = name_at(&format!("{} days ago", PAST - day));
            zfs(&["rename", &format!("{}@{name}", self.dataset()), &format!("{}@{earlier}", self.dataset())]);
            self.taken.insert(earlier, self.rig.join(format!("state-{}", self.round)));
        }
    }

    /// The next run is good, its snapshot the source, nothing is left over.
    #[track_caller]
    fn recovers(&mut self, after: &str) {
        let known = self.taken.len();
        self.rig.backup(&["all"]).exits(0).says("Web: OK: ");
        self.check();
        assert_eq!(self.taken.len(), known + 1, "after {after}");
        assert_nothing_left(&self.rig);
    }

    #[track_caller]
    fn start(&self, when: When, skip: usize, pattern: &str) -> Child {
        self.snare.start(&self.rig, &["all"], when, skip, pattern)
    }

    /// Kills the run itself where it is now.
    #[track_caller]
    fn kill(&mut self, mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
        self.snare.go();
        self.check();
    }

    /// Has the big file take a while, and starts a run that copies it.
    fn start_copying(&mut self) -> Child {
        self.rig.section("transfer", "bandwidth_limit = \"300k\"");
        let child = self.rig.start(&["all"]);
        let place = crate::support::pool::mountpoint(&self.dataset()).join("srv");
        self.rig.wait_until("the big file is under way", || {
            let entries = fs::read_dir(&place).into_iter().flatten().flatten();
            entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".zz-big."))
        });
        self.rig.section("transfer", "bandwidth_limit = \"\"");
        child
    }

    /// A run's processes of one kind: other tests run rsync at the same time.
    fn processes(&mut self, name: &str, run: &Child) -> Vec<Process> {
        let (far, all) = (self.rig.sshd().sessions(), processes());
        match name {
            "rsync there" => far.into_iter().filter(|process| process.runs("rsync")).collect(),
            "sshd" => far.into_iter().filter(|process| process.line.starts_with("sshd")).collect(),
            _ => {
                let ours = descendants(&all, run.id());
                let is_ours = |process: &Process| {
                    process.runs("rsync") && far.iter().all(|there| there.id != process.id)
                };
                ours.into_iter().filter(is_ours).collect()
            }
        }
    }
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn backup_killed_at_any_program_that_it_starts() {
    let near = [(After, 0, "zfs get*"), (Before, 0, "rsync*"), (After, 0, "rsync*")];
    let far = [(Before, 0, "ssh*"), (After, 0, "session*"), (Before, 1, "session*")];
    for (mut scene, steps) in [(Scene::near(), &near[..]), (Scene::new(), &far)] {
        for (when, skip, pattern) in steps {
            scene.change();
            let child = scene.start(*when, *skip, pattern);
            let known = scene.taken.len();
            scene.kill(child);
            assert_eq!(scene.taken.len(), known, "killed {when:?} {pattern}: no snapshot yet");
            scene.recovers(pattern);
        }
    }
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn backup_killed_when_it_makes_keeps_or_removes_something() {
    let mut scene = Scene::near();
    // Killed while it makes the dataset of a new host.
    let new = scene.dataset().replace("/web", "/new");
    scene.rig.near_host("New", "");
    for when in [Before, After] {
        println!("killed {when:?} zfs create");
        let child = scene.snare.start(&scene.rig, &["new"], when, 0, "zfs create*");
        scene.kill(child);
        scene.rig.backup(&["new"]).exits(0).says("New: OK: ");
        zfs(&["destroy", "-r", &new]);
    }
    scene.rig.section("hosts.\"New\"", "listed = false");
    // What no tier claims any more.
    let old = format!("{}@{}", scene.dataset(), name_at("10:00 400 days ago"));
    let older = format!("{}@{}", scene.dataset(), name_at("10:00 410 days ago"));
    for (when, pattern, kept) in [
        (Before, "zfs snapshot*", 0),
        (After, "zfs snapshot*", 1),
        (Before, "zfs destroy*", 1),
        (After, "zfs destroy*", 1),
    ] {
        scene.change();
        for name in [&old, &older] {
            zfs(&["snapshot", "-o", "backup:run=r1", "-o", "backup:verdict=partial", name]);
        }
        println!("killed {when:?} {pattern}");
        let known = scene.taken.len();
        let mut child = scene.snare.start(&scene.rig, &["web"], when, 0, pattern);
        child.kill().unwrap();
        child.wait().unwrap();
        scene.snare.go();
        let there = scene.rig.snapshots("web");
        let rotated = !there.iter().any(|name| old.ends_with(name.as_str()));
        assert_eq!(rotated, (when, pattern) == (After, "zfs destroy*"), "{when:?} {pattern}: {there:?}");
        // They are of no state that is remembered.
        for name in [&old, &older] {
            let _ = crate::support::pool::try_zfs(&["destroy", name]);
        }
        scene.check();
        assert_eq!(scene.taken.len() - known, kept, "{when:?} {pattern}");
        let known = scene.taken.len();
        scene.rig.backup(&["web"]).exits(0).says("Web: OK: ");
        scene.check();
        assert_eq!(scene.taken.len(), known + 1, "{when:?} {pattern}");
        assert_nothing_left(&scene.rig);
    }
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn backup_killed_while_files_arrive_or_a_hook_runs() {
    let mut scene = Scene::new();
    scene.change();
    let child = scene.start_copying();
    scene.kill(child);
    scene.recovers("the transfer");

    scene.change();
    let (begun, go) = (scene.rig.join("begun"), scene.rig.join("go"));
    let script = format!("touch {}\nuntil [ -e {} ]; do sleep 0.05; done", begun.display(), go.display());
    scene.rig.hook("dump", &script);
    let child = scene.rig.start(&["all"]);
    scene.rig.wait_until("the hook runs", || begun.exists());
    scene.kill(child);
    fs::write(go, "").unwrap();
    scene.recovers("the hook");
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn backup_killed_while_it_reports() {
    let mut scene = Scene::near();
    // An Icinga that accepts and says nothing, with the papers of one that
    // would.
    let papers = Icinga::start(&[]);
    let icinga = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let section = format!(
        "url = \"https://{}/\"\nuser = {:?}\npassword_file = {:?}\nca_file = {:?}\n",
        icinga.local_addr().unwrap(),
        crate::support::icinga::USER,
        papers.password_file(),
        papers.ca_file()
    );
    scene.rig.section("icinga", &section);
    scene.change();
    let mut child = scene.rig.start(&["all"]);
    icinga.set_nonblocking(true).unwrap();
    scene.rig.wait_until("the run reports", || {
        assert_eq!(child.try_wait().unwrap(), None, "the run has ended");
        icinga.accept().is_ok()
    });
    scene.kill(child);
    assert_eq!(scene.taken.len(), 2, "the copy was kept before it was reported");
    drop(icinga);
    scene.change();
    let known = scene.taken.len();
    // Icinga is away: the copy is made all the same.
    scene.rig.backup(&["all"]).exits(1).says("Web: OK: ");
    scene.check();
    assert_eq!(scene.taken.len(), known + 1);
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn rsync_killed_on_either_side() {
    let mut scene = Scene::new();
    scene.rig.section("transfer", "retries = 0");
    for victim in ["rsync there", "rsync here"] {
        scene.change();
        let child = scene.start_copying();
        let doomed = scene.processes(victim, &child);
        assert_ne!(doomed.len(), 0, "{victim}");
        doomed.iter().for_each(|process| process.signal(Signal::KILL));
        let known = scene.taken.len();
        let ran: Ran = finish(child).into();
        ran.exits(1).says("Web: CRITICAL: transfer failed: ");
        scene.check();
        assert_eq!(scene.taken.len(), known, "{victim}: half a copy is no snapshot");
        scene.recovers(victim);
    }
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn rsync_killed_before_its_first_byte_and_before_it_says_that_it_is_done() {
    let mut scene = Scene::near();
    scene.rig.section("transfer", "retries = 0");
    for when in [Before, After] {
        scene.change();
        let child = scene.start(when, 0, "rsync*");
        let program = scene.rig.join("snare/bin/rsync");
        let is_it = |process: &Process| process.line.contains(program.to_str().unwrap());
        processes().into_iter().find(is_it).unwrap().signal(Signal::KILL);
        let known = scene.taken.len();
        let ran: Ran = finish(child).into();
        ran.exits(1).says("Web: CRITICAL: transfer failed: ");
        scene.check();
        assert_eq!(scene.taken.len(), known, "{when:?}: nobody knows whether the copy is whole");
        scene.recovers("rsync");
    }
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn sshd_killed_at_every_step() {
    let mut scene = Scene::new();
    // The connection's sshd dies, the one that listens lives.
    for (when, skip, pattern, what, is_good) in [
        (After, 0, "session*", "when it has said what there is", false),
        // The hook is lost, which is CRITICAL; the copy is made all the same.
        (Before, 1, "session*", "before a hook", false),
        (Before, 0, "rsync*", "before the transfer", true),
        (After, 0, "rsync*", "after the transfer", true),
    ] {
        scene.change();
        let child = scene.start(when, skip, pattern);
        let victims = scene.processes("sshd", &child);
        assert_ne!(victims.len(), 0, "{what}: there is no connection");
        victims.iter().for_each(|process| process.signal(Signal::KILL));
        scene.snare.go();
        let known = scene.taken.len();
        let ran: Ran = finish(child).into();
        scene.check();
        let good = ran.stderr.contains("Web: OK: ");
        assert_eq!(good, is_good, "{what}: {}", ran.stderr);
        assert_eq!(ran.code, Some(i32::from(!good)), "{what}: {}", ran.stderr);
        if good {
            assert_eq!(scene.taken.len(), known + 1, "{what}: {}", ran.stderr);
        } else {
            assert!(ran.stderr.contains("Web: CRITICAL: "), "{what}: {}", ran.stderr);
        }
        if !good {
            scene.recovers(what);
        }
    }
    // In mid-transfer it is tried again, and done.
    scene.change();
    let child = scene.start_copying();
    let known = scene.taken.len();
    scene.rig.sshd().start_again();
    let ran: Ran = finish(child).into();
    ran.exits(0).says("trying again (1 of 2)").says("Web: OK: ");
    scene.check();
    assert_eq!(scene.taken.len(), known + 1);
    assert_nothing_left(&scene.rig);
}
