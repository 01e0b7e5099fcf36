//! Whether a run believes its clock.

#![expect(clippy::disallowed_methods, reason = "the test has its own watch")]

use crate::support::on_every_store;
use crate::support::rig::*;
use crate::support::trees::*;
use chrono::Utc;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

on_every_store! {
    a_snapshot_that_another_run_took_while_this_one_began_is_not_from_the_future,
}

fn a_snapshot_that_another_run_took_while_this_one_began_is_not_from_the_future(mut rig: Rig) {
    rig.host_with("web", "transport = \"local\"");
    rig.backup(&["web"]).exits(0);
    let old = rig.snapshots("web").remove(0);
    // Keeps the next run waiting, its clock already read.
    let door = File::open(rig.join("run/.door.lock")).unwrap();
    flock(&door, FlockOperation::LockExclusive).unwrap();
    let begun = Utc::now().timestamp();
    let child = rig.start(&["web"]);
    let files = format!("/proc/{}/fd", child.id());
    rig.wait_until("the run is at the door", || {
        let Ok(files) = fs::read_dir(&files) else { return false };
        files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|file| file.ends_with(".door.lock")))
    });
    let at_the_door = Utc::now().timestamp().max(begun);
    rig.wait_until("two seconds have gone by", || Utc::now().timestamp() > at_the_door + 1);
    let taken = Utc::now().format("backup-%Y-%m-%dT%H%M%SZ").to_string();
    rename(&rig, "web", &old, &taken);
    drop(door);
    let ran: Ran = finish(child).into();
    ran.exits(0).does_not_say("the clock stands before");
}

#[test]
fn another_host_of_the_same_run_speaks_for_the_clock_though_no_snapshot_does() {
    let mut rig = Rig::new();
    rig.hosts_are_elsewhere();
    rig.host("Right");
    let wrong = rig.host("Wrong");
    let date = rig.write("date", format!("#!/bin/sh\necho {}\n", Utc::now().timestamp() - 365 * 24 * 3600));
    fs::set_permissions(&date, PermissionsExt::from_mode(0o755)).unwrap();
    let mut sshd = Sshd::start(&rig.join("another-sshd"));
    sshd.start_again_with(&Setup { mounts: &[(date, "/usr/bin/date")], ..Setup::default() });
    let known = fs::read_to_string(rig.join("known_hosts")).unwrap();
    rig.write("known_hosts", known + &sshd.known_hosts_line());
    rig.section("hosts.\"Wrong\"", &format!("port = {}\nsource = {wrong:?}", sshd.port));
    // Alone it is one word against another.
    rig.backup(&["wrong"]).exits(1).says("Wrong: CRITICAL: suspect copy: its date is wrong: ");
    // Its copy is judged when the other one has been asked.
    let asked = rig.join("asked");
    rig.hook("wait", &format!(
        "if [ $(($(date +%s) + 86400)) -gt {} ]; then touch '{asked}'; else until [ -e '{asked}' ]; do sleep 0.1; done; fi\n",
        Utc::now().timestamp(), asked = asked.display()
    ));
    rig.backup(&["all"])
        .exits(1)
        .says("Right: OK: ")
        .says("Wrong: WARNING: nothing was removed: this server's clock is 365 days ahead of the host's");
}
