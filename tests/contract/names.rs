//! Hosts by other names than NetBox has for them, and hosts that get another
//! name: through the real binary, with a stand-in for NetBox.

use crate::support::netbox::{Machine, StandIn, TOKEN};
use crate::support::rig::*;
use crate::support::shelf::{Copy, Shelf, facts, name_ago};
use backup::core::model::host::HostName;
use backup::edge::history::{Findings, History};
use backup::edge::inventory;
use backup::edge::metrics;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

/// A rig whose hosts come from a NetBox.
struct Scene {
    rig: Rig,
    netbox: StandIn,
}

impl Scene {
    fn of(machines: Vec<Machine>) -> Self {
        let mut rig = Rig::new();
        let netbox = StandIn::start(machines);
        let token = rig.write("token", TOKEN);
        fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
        let lines = format!("url = {:?}\ntoken_file = {token:?}\ntimeout = \"20s\"\n", netbox.url());
        rig.section("inventory.netbox", &lines);
        rig.section("metrics", &format!("textfile = {:?}\n", rig.join("backup.prom")));
        Scene { rig, netbox }
    }

    /// What the configuration says of an object of NetBox's, behind which is a
    /// host of the rig.
    fn object(&mut self, object: &str, name: &str) -> PathBuf {
        let source = self.rig.source(name);
        let lines = format!("name = {name:?}\naddress = \"127.0.0.1\"\nsource = {source:?}\n");
        self.rig.section(&format!("hosts.{object:?}"), &lines);
        source
    }

    /// A host of the rig that NetBox is to list.
    fn host(&mut self, name: &str) -> PathBuf {
        self.rig.host_with(name, "listed = false\n")
    }

    #[track_caller]
    fn backup(&self, arguments: &[&str]) -> Ran {
        self.rig.backup(arguments)
    }

    /// What a host's newest copy says that its source is called.
    #[track_caller]
    fn copied(&self, host: &str) -> String {
        fs::read_to_string(self.rig.newest(host).join("etc/hostname")).unwrap()
    }

    /// The hosts that the store has a folder of.
    fn stored(&self) -> Vec<String> {
        let entries = fs::read_dir(self.rig.join("store")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn two_objects_of_one_name_are_backed_up_under_names_of_their_own() {
    let mut scene = Scene::of(vec![Machine::vm("twin"), Machine::device("twin"), Machine::vm("other")]);
    scene.host("twin");
    scene.host("other");
    let told = scene.backup(&["all"]).exits(1).says("`[hosts.\"vm:1\"]` and below it `name = \"twin-vm1\"`");
    told.says("`[hosts.\"device:2\"]` and below it `name = \"twin-device2\"`");
    assert_eq!(scene.stored(), ["other"], "which of them is meant is not known");

    scene.object("vm:1", "twin-vm1");
    scene.object("device:2", "twin-device2");
    scene.backup(&["all"]).exits(0).says("`[hosts.twin]` has `listed = false`");
    assert_eq!(scene.stored(), ["other", "twin-device2", "twin-vm1"]);
    assert_eq!(scene.copied("twin-vm1"), "twin-vm1\n");
    assert_eq!(scene.copied("twin-device2"), "twin-device2\n");
    scene.backup(&["TWIN-vm1"]).exits(0);
    let status = scene.backup(&["status", "twin-vm1"]).exits(0).stdout;
    assert!(status.contains("twin-vm1"), "{status}");
    let metrics = fs::read_to_string(scene.rig.join("backup.prom")).unwrap();
    assert!(metrics.contains("host=\"twin-device2\"} 0"), "{metrics}");
}

#[test]
fn names_with_a_blank_or_an_umlaut_are_backed_up_under_others() {
    let mut scene = Scene::of(vec![Machine::vm("Web Server"), Machine::device("Büro")]);
    let told = scene.backup(&["all"]).exits(1);
    told.says("`[hosts.\"vm:1\"]` and below it `name = \"web-server\"`")
        .says("`[hosts.\"device:2\"]` and below it `name = \"buero\"`");
    scene.object("vm:1", "web-server");
    scene.object("device:2", "buero");
    scene.backup(&["all"]).exits(0);
    assert_eq!(scene.stored(), ["buero", "web-server"]);
    assert_eq!(
        (scene.copied("web-server"), scene.copied("buero")),
        ("web-server\n".into(), "buero\n".into())
    );
}

#[test]
fn a_custom_field_names_a_host_where_it_has_a_value() {
    let named = |name, value| Machine::vm(name).field("backup_name", value);
    let mut scene = Scene::of(vec![
        named("web 1", json!("Web-Berlin")),
        named("plain", json!(null)),
        named("empty", json!(" ")),
        named("bad", json!("a/b")),
        Machine::device("without"),
    ]);
    scene.rig.section("inventory.netbox", "name_field = \"backup_name\"\n");
    for name in ["web-berlin", "plain", "empty", "without"] {
        scene.host(name);
    }
    let told = scene.backup(&["all"]).exits(1);
    told.says("a/b: CRITICAL").says("correct the custom field `backup_name` of virtual machine 4 in NetBox");
    assert_eq!(scene.stored(), ["empty", "plain", "web-berlin", "without"]);
    assert_eq!(scene.copied("web-berlin"), "web-berlin\n");
    let metrics = fs::read_to_string(scene.rig.join("backup.prom")).unwrap();
    assert!(metrics.contains("host=\"Web-Berlin\"} 0"), "it is spelled as in NetBox: {metrics}");
    let asked = scene.netbox.seen().iter().filter(|seen| seen.query.contains("custom_fields")).count();
    assert_eq!(asked, 2, "of devices and of virtual machines");

    scene.rig.replace("inventory.netbox", "name_field = \"backup_nam\"\n");
    scene.backup(&["plain"]).exits(1).says("no host in NetBox has the custom field `backup_nam`");
}

#[test]
fn an_alias_that_leads_nowhere_or_to_two_costs_nobody_else_a_copy() {
    let mut scene = Scene::of(vec![Machine::vm("a"), Machine::vm("b"), Machine::vm("c")]);
    for name in ["a", "c"] {
        scene.host(name);
    }
    scene.object("vm:2", "x");
    scene.object("device:99", "nobody");
    let told = scene.backup(&["all"]).exits(0);
    told.says("`[hosts.\"device:99\"]` names an object `nobody` that NetBox does not list");
    assert_eq!(scene.stored(), ["a", "c", "x"]);
    // The name that b has here is given to another.
    scene.netbox.set_machines(vec![Machine::vm("a"), Machine::vm("b"), Machine::vm("X")]);
    let told = scene.backup(&["a", "x"]).exits(1);
    told.says("virtual machine 2 `b` (`x` by `[hosts.\"vm:2\"]`) and virtual machine 4 `X`").says("a: OK");
    assert_eq!(scene.rig.verdicts("x"), ["good"], "neither goes into it");
    scene.rig.replace("hosts.\"vm:2\"", "name = \"a b\"\n");
    scene.backup(&["all"]).exits(2).says("`hosts.\"vm:2\".name` is \"a b\"; it must be the host's name here");
}

/// What became of a host, newest first.
fn words(scene: &Scene, host: &str) -> Vec<String> {
    let history = History::read(&scene.rig.join("state")).unwrap().unwrap();
    history.runs(&host.parse().unwrap(), 100).unwrap().into_iter().map(|entry| entry.word).collect()
}

/// A scene in which `old`, with a good copy, is called `new` in NetBox now.
fn renamed() -> Scene {
    let mut scene = Scene::of(vec![Machine::vm("Old"), Machine::vm("other")]);
    scene.host("old");
    scene.host("other");
    scene.backup(&["all"]).exits(0);
    scene.netbox.set_machines(vec![Machine::vm("New").id(1), Machine::vm("other")]);
    scene
}

/// Which file on disk a file of a host's newest copy is: copies share those that
/// have not changed.
#[track_caller]
fn file_of(scene: &Scene, host: &str) -> u64 {
    fs::metadata(scene.rig.newest(host).join("srv/data")).unwrap().ino()
}

/// The former host, by its new name from now on.
fn is_new_now(scene: &mut Scene) {
    let source = scene.rig.source("old");
    scene.rig.host_with("new", &format!("listed = false\nsource = {source:?}\n"));
}

/// Fails the test unless all that there was of `old`, of so many runs, is `new`,
/// and goes on.
#[track_caller]
fn is_renamed(scene: &mut Scene, runs: usize) {
    assert_eq!(scene.stored(), ["new", "other"]);
    assert!(words(scene, "old").is_empty(), "{:?}", words(scene, "old"));
    assert_eq!(words(scene, "new").len(), runs);
    let metrics = fs::read_to_string(scene.rig.join("backup.prom")).unwrap();
    assert!(metrics.contains("host=\"New\"") && !metrics.contains("host=\"Old\""), "{metrics}");
    let file = file_of(scene, "new");
    is_new_now(scene);
    scene.backup(&["all"]).exits(0).says("New: OK").does_not_say("Old").does_not_say("left the inventory");
    assert_eq!(file_of(scene, "new"), file, "it was not copied anew");
    assert_eq!(scene.stored(), ["new", "other"]);
}

#[test]
fn a_host_with_another_name_in_netbox_goes_on_under_its_old_one_until_it_is_renamed() {
    let mut scene = renamed();
    let warning = "vm:1 is now called `New`, but is still backed up as `Old`";
    scene.backup(&["all"]).exits(1).says("Old: WARNING").says(warning).says("`backup rename Old New`");
    assert_eq!(scene.stored(), ["old", "other"], "nothing is copied anew");
    scene.backup(&["new"]).exits(1).says(warning);
    assert_eq!(words(&scene, "old"), ["good"; 3]);
    assert!(scene.backup(&["check", "new"]).stdout.contains(warning));
    assert!(scene.backup(&["plan", "all"]).stderr.contains(warning));
    let mode = fs::metadata(scene.rig.join("state/objects.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    scene
        .backup(&["rename", "--dry-run", "old", "New"])
        .exits(0)
        .says("old would be renamed to New: 1 snapshot and the history");
    assert_eq!(scene.stored(), ["old", "other"]);
    scene.backup(&["hold", "old", "latest", "safe"]).exits(0);
    scene.backup(&["rename", "old", "New"]).exits(0).says("old was renamed to New: 1 snapshot");
    let held = scene.backup(&["snapshots", "new"]).exits(0).stdout;
    assert!(held.contains("safe"), "holds go with it: {held}");
    let latest = fs::read_link(scene.rig.join("store/new/latest")).unwrap();
    assert!(scene.rig.join("store/new").join(latest).exists());
    is_renamed(&mut scene, 3);
}

#[test]
fn a_machine_that_only_has_an_old_one_s_number_begins_anew_once_that_is_retired() {
    let mut scene = renamed();
    scene.host("new");
    scene.backup(&["retire", "old"]).exits(0).says("vm:1 starts afresh as New");
    scene.backup(&["all"]).exits(0).says("New: OK");
    assert_eq!(scene.stored(), ["new", "old", "other"]);
    assert_eq!(scene.copied("new"), "new\n");
    scene.backup(&["all"]).exits(0);
}

#[test]
fn copies_of_one_host_are_never_another_s_that_gets_its_name() {
    let mut scene = renamed();
    // Another has the former name now.
    scene.netbox.set_machines(vec![Machine::vm("New").id(1), Machine::vm("other"), Machine::device("Old")]);
    let told = scene.backup(&["all"]).exits(1).says("New: CRITICAL").says("Old: CRITICAL").says("other: OK");
    told.says("the copies named `Old` belong to vm:1").says("`backup rename Old New`");
    assert_eq!(scene.stored(), ["old", "other"]);
    scene.backup(&["rename", "Old", "New"]).exits(0).says("the inventory still has a host `Old`");
    let file = file_of(&scene, "new");
    is_new_now(&mut scene);
    scene.backup(&["all"]).exits(0);
    assert_eq!(scene.stored(), ["new", "old", "other"]);
    assert_eq!(file_of(&scene, "new"), file);
    assert_ne!(file_of(&scene, "old"), file);
    // Two that swap their names.
    let before = (scene.rig.snapshots("new"), scene.rig.snapshots("other"));
    scene.netbox.set_machines(vec![
        Machine::vm("other").id(1),
        Machine::vm("new").id(2),
        Machine::device("Old"),
    ]);
    let told = scene.backup(&["all"]).exits(1).says("Old: OK");
    let commands =
        "`backup rename new new-tmp`, then `backup rename other new`, then `backup rename new-tmp other`";
    told.says(&format!(
        "vm:1 is now called `other`, and another host has `New`, the name of its copies (run {commands})"
    ))
    .says(&format!(
        "vm:2 is now called `new`, and another host has `other`, the name of its copies (run {commands})"
    ));
    assert_eq!((scene.rig.snapshots("new"), scene.rig.snapshots("other")), before);
    let (first, second) = (file_of(&scene, "new"), file_of(&scene, "other"));
    scene.backup(&["rename", "new", "third"]).exits(0);
    scene.backup(&["rename", "third", "old"]).exits(2).says("the store already has `old`");
    scene.backup(&["rename", "third", "new"]).exits(2).says("`new` is another host's name in the inventory");
    scene.backup(&["rename", "other", "new"]).exits(0);
    scene.backup(&["rename", "third", "other"]).exits(0);
    let sources = [scene.rig.source("other"), scene.rig.source("old")];
    for (name, source) in ["new", "other"].into_iter().zip(sources) {
        scene.rig.replace(&format!("hosts.{name:?}"), &format!("listed = false\nsource = {source:?}\n"));
    }
    scene.backup(&["all"]).exits(0);
    assert_eq!((file_of(&scene, "new"), file_of(&scene, "other")), (second, first));
    assert_eq!(scene.stored(), ["new", "old", "other"]);
}

#[test]
fn an_alias_for_a_host_with_copies_is_a_rename_too() {
    let mut scene = Scene::of(vec![Machine::vm("old")]);
    scene.host("old");
    scene.backup(&["all"]).exits(0);
    let source = scene.rig.source("old");
    let lines = format!("name = \"web\"\naddress = \"127.0.0.1\"\nsource = {source:?}\n");
    scene.rig.section("hosts.\"vm:1\"", &lines);
    scene.backup(&["all"]).exits(1).says("`backup rename old web`");
    assert_eq!(scene.stored(), ["old"]);
    scene.backup(&["rename", "old", "web"]).exits(0);
    scene.backup(&["all"]).exits(0).says("web: OK");
    assert_eq!(scene.stored(), ["web"]);
}

#[test]
fn what_cannot_be_renamed_is_refused_and_left_alone() {
    let scene = renamed();
    for (arguments, why) in [
        (&["rename", "old", "a b"][..], "`a b` cannot be a host's name"),
        (&["rename", "old", "OLD"], "are the same name"),
        (&["rename", "odl", "new"], "`odl`; did you mean `old`?"),
        (&["rename", "old", "other"], "the store already has `other`, with 1 snapshot"),
    ] {
        scene.backup(arguments).exits(2).says(why);
        assert_eq!(scene.stored(), ["old", "other"], "{arguments:?}");
    }
    fs::create_dir(scene.rig.join("store/new")).unwrap();
    scene
        .backup(&["rename", "old", "new"])
        .exits(1)
        .says("cannot rename old")
        .says("move away what is there");
    fs::remove_dir(scene.rig.join("store/new")).unwrap();
    scene.backup(&["all"]).exits(1).says("`backup rename Old New`");
    assert_eq!(words(&scene, "old"), ["good"; 2], "what was not begun is no half of anything");
}

#[test]
fn a_host_that_a_run_has_is_not_renamed() {
    let mut scene = renamed();
    let (there, go) = (scene.rig.join("there"), scene.rig.join("go"));
    scene.rig.hook("wait", &format!("touch {there:?}\nuntil [ -e {go:?} ]; do sleep 0.02; done\n"));
    let run = scene.rig.start(&["old"]);
    scene.rig.wait_until("the host's hook runs", || there.exists());
    scene.backup(&["rename", "old", "New"]).exits(1).says("cannot rename old").says("cannot lock `old`");
    fs::write(&go, "").unwrap();
    assert_eq!(finish(run).status.code(), Some(1));
    fs::remove_file(scene.rig.join("hooks/wait")).unwrap();
    scene.backup(&["rename", "old", "New"]).exits(0);
    is_renamed(&mut scene, 2);
}

#[test]
fn a_renaming_that_was_interrupted_anywhere_goes_on_by_the_same_command() {
    let (from, to): (HostName, HostName) = ("old".parse().unwrap(), "New".parse().unwrap());
    for steps in 1..=7 {
        let mut scene = renamed();
        let state = scene.rig.join("state");
        let finding = r#"{"findings":[]}"#;
        let folder = state.join("findings");
        let findings = Findings::at(&state);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("old.json"), finding).unwrap();
        // As the command does it, up to some step.
        let done: [&dyn Fn(); 7] = [
            &|| inventory::begin_renaming(&state, &from, &to).unwrap(),
            &|| findings.copy("old", "new").unwrap(),
            &|| fs::rename(scene.rig.join("store/old"), scene.rig.join("store/new")).unwrap(),
            &|| {
                let now = "2026-11-20T02:00:00Z".parse().unwrap();
                History::open(&state, now).unwrap().history.rename(&from, &to).unwrap();
            },
            &|| inventory::rename_listed(&state, &from, &to).unwrap(),
            &|| metrics::rename(&scene.rig.join("backup.prom"), "b32-1", "old", "New").unwrap(),
            &|| findings.remove("old").unwrap(),
        ];
        done.iter().take(steps).for_each(|step| step());
        let told =
            scene.backup(&["all"]).exits(1).says("renaming `old` to `New` was interrupted").says("other: OK");
        told.says("run `backup rename old New` again");
        let stored = if steps < 3 { "old" } else { "new" };
        assert_eq!(scene.stored(), [stored, "other"], "after {steps} steps: nothing is copied anew");
        scene
            .backup(&["rename", "other", "third"])
            .exits(2)
            .says("the rename of another host was interrupted");
        scene.backup(&["rename", "old", "New"]).exits(0);
        assert!(folder.join("new.json").exists() && !folder.join("old.json").exists());
        fs::remove_file(folder.join("new.json")).unwrap();
        // The run in between left an entry, of either name.
        assert_eq!(words(&scene, "new"), ["failed", "good"], "after {steps} steps");
        assert!(words(&scene, "old").is_empty());
        let file = file_of(&scene, "new");
        is_new_now(&mut scene);
        scene.backup(&["all"]).exits(0).says("New: OK");
        assert_eq!(scene.stored(), ["new", "other"]);
        assert_eq!(file_of(&scene, "new"), file, "after {steps} steps");
    }
}

#[test]
fn a_renaming_that_is_killed_is_whole_after_the_same_command() {
    let mut scene = renamed();
    let mut from = ["old", "new"];
    for delay in 0..24 {
        let arguments = ["rename", from[0], from[1]];
        let mut child = scene.rig.start(&arguments);
        std::thread::sleep(Duration::from_millis(delay * 5));
        let _ = child.kill();
        let _ = child.wait();
        let stored = scene.stored();
        assert!(stored.len() == 2 && stored.contains(&"other".to_owned()), "{stored:?}");
        // It may have been whole.
        let again = scene.backup(&arguments);
        assert!(
            again.code == Some(0) || again.stderr.contains("the store has no copies"),
            "{}",
            again.stderr
        );
        assert_eq!(scene.stored().iter().filter(|name| *name == from[1]).count(), 1);
        assert!(words(&scene, from[0]).is_empty(), "{delay}");
        from.reverse();
    }
    if from[0] == "new" {
        scene.backup(&["rename", "new", "old"]).exits(0);
    }
    scene.backup(&["rename", "old", "New"]).exits(0);
    is_renamed(&mut scene, 1);
}

#[test]
fn a_host_that_is_renamed_while_it_waits_in_a_run_is_not_copied_anew() {
    let mut scene = Scene::of(vec![Machine::vm("a"), Machine::vm("c")]);
    scene.rig.top = "jobs = 1".to_owned();
    scene.host("a");
    scene.host("c");
    scene.backup(&["all"]).exits(0);
    let (there, go) = (scene.rig.join("there"), scene.rig.join("go"));
    scene.rig.hook("wait", &format!("touch {there:?}\nuntil [ -e {go:?} ]; do sleep 0.02; done\n"));
    let run = scene.rig.start(&["all"]);
    scene.rig.wait_until("a host's hook runs", || there.exists());
    // The one that is under way cannot be renamed, and the other can.
    let is_a = scene.backup(&["rename", "a", "b"]).code == Some(0);
    let (waiting, other) = if is_a { ("a", "c") } else { ("c", "a") };
    if !is_a {
        scene.backup(&["rename", "c", "b"]).exits(0);
    }
    fs::write(&go, "").unwrap();
    let ran = Ran::from(finish(run)).exits(1).says(&format!("{waiting}: CRITICAL"));
    ran.says("disappeared during the run").says("renamed with `backup rename`").says(&format!("{other}: OK"));
    let mut stored = ["b", other];
    stored.sort_unstable();
    assert_eq!(scene.stored(), stored, "nothing is copied anew");
    let said = scene.backup(&["all"]).exits(1).says("b: WARNING");
    said.says(&format!("`backup rename b {waiting}`"));
    assert_eq!(words(&scene, "b")[0], "good");
}

#[test]
fn a_copied_host_that_is_renamed_before_its_run_ends_keeps_its_new_name() {
    for earlier in [0, 1] {
        let mut scene = Scene::of(vec![Machine::vm("a"), Machine::vm("c")]);
        scene.rig.top = "jobs = 1".to_owned();
        scene.host("a");
        scene.host("c");
        (0..earlier).for_each(|_| drop(scene.backup(&["all"]).exits(0)));
        let before = ["a", "c"].map(|host| (host, scene.rig.snapshots(host)));
        let (first, there, go) = (scene.rig.join("first"), scene.rig.join("there"), scene.rig.join("go"));
        let lines = format!(
            "mkdir {first:?} 2>/dev/null && exit 0\ntouch {there:?}\nuntil [ -e {go:?} ]; do sleep 0.02; done\n"
        );
        scene.rig.hook("wait", &lines);
        let run = scene.rig.start(&["all"]);
        scene.rig.wait_until("the second host's hook runs", || there.exists());
        let copied = || before.iter().position(|(host, names)| scene.rig.snapshots(host) != *names);
        scene.rig.wait_until("the first host is copied", || copied().is_some());
        let (copied, other, id) = if copied() == Some(0) { ("a", "c", 1) } else { ("c", "a", 2) };
        // Its lock goes a moment after its copy is there.
        scene.rig.wait_until("it is renamed", || scene.backup(&["rename", copied, "b"]).code == Some(0));
        fs::write(&go, "").unwrap();
        Ran::from(finish(run)).exits(0);
        scene.netbox.set_machines(vec![Machine::vm("b").id(id), Machine::vm(other).id(3 - id)]);
        let source = scene.rig.source(copied);
        scene.rig.host_with("b", &format!("listed = false\nsource = {source:?}\n"));
        let file = file_of(&scene, "b");
        scene.backup(&["all"]).exits(0).says("b: OK");
        let mut stored = ["b", other];
        stored.sort_unstable();
        assert_eq!(scene.stored(), stored, "nothing is copied anew");
        assert_eq!(file_of(&scene, "b"), file);
    }
}

#[test]
fn what_the_store_has_renamed_is_not_undone_in_the_books() {
    // The listing after the rename fails; and `zfs rename` itself may say that it failed.
    for (code, said) in [(0, "old was renamed to new"), (1, "run `backup rename old new` again")] {
        let mut shelf = Shelf::of_zfs();
        shelf.rig.host("old");
        shelf.put(&Copy { host: "old", name: &name_ago(24), facts: Some(facts("good", 1, 1, 1)) });
        let finding = shelf.rig.write("state/findings/old.json", r#"{"findings":[]}"#);
        let root = shelf.standin().root();
        let (real, zfs, faults) = (root.join("real/zfs"), root.join("bin/zfs"), root.join("faults.json"));
        fs::create_dir(root.join("real")).unwrap();
        fs::rename(&zfs, &real).unwrap();
        let fault =
            json!([{ "call": ["zfs list -Hp -t filesystem"], "times": 1, "exit": 1, "stderr": "no memory" }]);
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = rename ] || exec {real:?} \"$@\"\n\
             {real:?} \"$@\" || exit\necho '{fault}' >{faults:?}\nexit {code}\n"
        );
        fs::write(&zfs, script).unwrap();
        fs::set_permissions(&zfs, PermissionsExt::from_mode(0o755)).unwrap();
        shelf.backup(&["rename", "old", "new"]).exits(code).says(said);
        if code != 0 {
            shelf.backup(&["rename", "old", "new"]).exits(0).says("old was renamed to new: 1 snapshot");
        }
        assert!(finding.with_file_name("new.json").exists() && !finding.exists());
        shelf.backup(&["rename", "old", "new"]).exits(2).says("the store has no copies of `old`");
    }
}

#[test]
fn a_domain_that_is_added_to_all_names_is_told_as_renames() {
    let mut scene = Scene::of(vec![Machine::vm("a"), Machine::vm("c")]);
    scene.host("a");
    scene.host("c");
    scene.backup(&["all"]).exits(0);
    scene.netbox.set_machines(vec![Machine::vm("a.example.org").id(1), Machine::vm("c.example.org").id(2)]);
    let told = scene.backup(&["all"]).exits(1).does_not_say("not believed");
    told.says("`backup rename a a.example.org`").says("`backup rename c c.example.org`");
    assert_eq!(scene.stored(), ["a", "c"]);
}
