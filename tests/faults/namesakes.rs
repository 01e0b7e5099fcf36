//! Hosts that are mixed up: all that tells them apart is what they are called.

use crate::support::on_every_store;
use crate::support::rig::*;
use std::fs;
use std::path::PathBuf;

/// Two clones of one image, `Web` and `Db`, each with an sshd of its own.
struct Clones {
    rig: Rig,
    sources: [PathBuf; 2],
    sshds: [Sshd; 2],
}

const HOSTS: [&str; 2] = ["Web", "Db"];

impl Clones {
    fn on(mut rig: Rig) -> Self {
        let sources = HOSTS.map(|host| rig.host(host));
        let sshds = HOSTS.map(|host| {
            let name = rig.write(format!("hostname of {host}"), format!("{}\n", host.to_lowercase()));
            let mut sshd = Sshd::start(&rig.join(format!("sshd of {host}").replace(' ', "-")));
            sshd.start_again_with(&Setup {
                mounts: &[(name, "/proc/sys/kernel/hostname")],
                ..Setup::default()
            });
            let known = fs::read_to_string(rig.join("known_hosts")).unwrap();
            rig.write("known_hosts", known + &sshd.known_hosts_line());
            sshd
        });
        let mut clones = Clones { rig, sources, sshds };
        clones.at([0, 1]);
        clones
    }

    /// At which of the two each host is looked for.
    fn at(&mut self, places: [usize; 2]) {
        for (host, place) in HOSTS.iter().zip(places) {
            let lines = format!("port = {}\nsource = {:?}", self.sshds[place].port, self.sources[place]);
            self.rig.section(&format!("hosts.{host:?}"), &lines);
        }
    }

    fn is_called(&self, host: &str, name: &str) {
        self.rig.write(format!("hostname of {host}"), format!("{name}\n"));
    }
}

on_every_store! {
    two_hosts_that_swapped_addresses_are_not_copied_over_each_other,
}

fn two_hosts_that_swapped_addresses_are_not_copied_over_each_other(rig: Rig) {
    let mut clones = Clones::on(rig);
    clones.rig.backup(&["all"]).exits(0);
    let before = HOSTS.map(|host| clones.rig.snapshots(&host.to_lowercase()));
    clones.at([1, 0]);
    clones
        .rig
        .backup(&["all"])
        .exits(1)
        .says("Web: CRITICAL: probe failed: this looks like another host: its host name is `db`, in the last good copy it was `web`")
        .says("Db: CRITICAL: probe failed: this looks like another host: its host name is `web`")
        .says("`backup Web --accept-deletions` once");
    assert_eq!(HOSTS.map(|host| clones.rig.snapshots(&host.to_lowercase())), before, "something was copied");
    // Who means it says so, once.
    clones.rig.backup(&["web", "--accept-deletions"]).exits(0);
    clones.rig.backup(&["web"]).exits(0).does_not_say("its host name is");
}

#[test]
fn a_host_that_was_renamed_is_copied_unless_its_files_are_others_too() {
    let clones = Clones::on(Rig::new());
    clones.rig.backup(&["all"]).exits(0);
    clones.is_called("Web", "www.example.org");
    clones.rig.backup(&["web"]).exits(0).says("its host name is `www`, in the last good copy it was `web`");
    clones.rig.backup(&["web"]).exits(0).does_not_say("its host name is");

    clones.is_called("Web", "other");
    for file in ["etc/hostname", "etc/fstab", "srv/data"] {
        clones.rig.write(clones.sources[0].join(file), "of another machine\n");
    }
    clones
        .rig
        .backup(&["web"])
        .exits(1)
        .says("Web: CRITICAL: suspect copy: this looks like another machine: its host name is `other`")
        .says("3 of 3 files are new or changed");
    // Of what that night has brought nothing is new in the next.
    clones
        .rig
        .backup(&["web"])
        .exits(1)
        .says("Web: CRITICAL: suspect copy: this looks like another machine: its host name is `other`");
    assert_eq!(clones.rig.verdicts("web"), ["good", "suspect", "suspect"]);
    clones.rig.backup(&["web", "--accept-deletions"]).exits(0);
    clones.rig.backup(&["web"]).exits(0);
}

#[test]
fn hosts_that_the_inventory_calls_otherwise_are_told_apart_too() {
    let mut clones = Clones::on(Rig::new());
    clones.is_called("Web", "vm-17");
    clones.is_called("Db", "vm-18");
    clones.rig.backup(&["all"]).exits(0);
    clones.at([1, 0]);
    clones
        .rig
        .backup(&["all"])
        .exits(1)
        .says("Web: CRITICAL: probe failed: this looks like another host: its host name is `vm-18`")
        .says("Db: CRITICAL: probe failed: this looks like another host: its host name is `vm-17`");
    clones.at([0, 1]);
    clones.rig.backup(&["all"]).exits(0);
    // The name that the inventory has for it is nobody else's.
    clones.is_called("Web", "web");
    clones.rig.backup(&["web"]).exits(0).says("its host name is `web`, in the last good copy it was `vm-17`");
}
