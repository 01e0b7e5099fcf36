//! Whether a run believes its clock.

#![expect(clippy::disallowed_methods, reason = "the test has its own watch")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use chrono::Utc;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use support::on_every_store;
use support::rig::*;
use support::trees::*;

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
