//! A host gets another name on a real pool. `make vm` runs these.

use crate::support::pool::{property, snapshots, zfs};
use crate::support::rig::*;
use std::fs::{self, File};

#[test]
#[ignore = "needs a pool: `make vm`"]
fn a_dataset_is_renamed_with_its_snapshots_and_holds_mounted_or_not() {
    let mut rig = Rig::on_zfs();
    let source = rig.near_host("old", "");
    rig.backup(&["all", "--keep", "safe"]).exits(0);
    let dataset = rig.dataset.as_ref().unwrap().child("old");
    let new = rig.dataset.as_ref().unwrap().child("new");
    let before = snapshots(&dataset);
    zfs(&["create", &format!("{dataset}/below")]);

    // Somebody who looks at it is in the way, and nothing is forced.
    let busy = File::open(rig.dataset.as_ref().unwrap().mountpoint().join("old")).unwrap();
    rig.backup(&["rename", "old", "new"]).exits(1).says("cannot rename old").says("fuser -vm");
    assert_eq!(snapshots(&dataset), before);
    drop(busy);

    rig.backup(&["rename", "old", "new"]).exits(0).says("old was renamed to new: 1 snapshot");
    assert_eq!((snapshots(&new), snapshots(&dataset).len()), (before.clone(), 0));
    assert_eq!(property(&new, "mounted"), "yes");
    assert_eq!(property(&format!("{new}/below"), "type"), "filesystem");
    assert!(rig.backup(&["snapshots", "new"]).exits(0).stdout.contains("safe"));
    assert_eq!(fs::read_to_string(rig.newest("new").join("etc/hostname")).unwrap(), "old\n");

    // Back again, without a mount; then the next run goes on there.
    zfs(&["unmount", &new]);
    rig.backup(&["rename", "new", "old"]).exits(0);
    assert_eq!(snapshots(&dataset), before);
    fs::write(source.join("etc/motd"), "hello\n").unwrap();
    rig.backup(&["all"]).exits(0).says("old: OK");
    assert_eq!(snapshots(&dataset).len(), 2);
}
