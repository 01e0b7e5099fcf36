//! Hosts by other names than NetBox has for them, and hosts that get another
//! name: through the real binary, with a stand-in for NetBox.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use support::netbox::{Machine, StandIn, TOKEN};
use support::rig::*;

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
    told.says("virtual machine 2 `b` (`x` by `[hosts.\"vm:2\"]`) and virtual machine 3 `X`").says("a: OK");
    assert_eq!(scene.rig.verdicts("x"), ["good"], "neither goes into it");
    scene.rig.replace("hosts.\"vm:2\"", "name = \"a b\"\n");
    scene.backup(&["all"]).exits(2).says("`hosts.\"vm:2\".name` is \"a b\"; it must be the host's name here");
}
