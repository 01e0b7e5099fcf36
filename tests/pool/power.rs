//! Runs on a real pool whose machine loses its power, and what the next boot
//! finds. `make vm` runs one of these a boot, in their order.

use crate::support::pool::{Dataset, must_be_disposable, snapshots, zfs};
use crate::support::rig::*;
use crate::support::snare::{Snare, When};
use crate::support::trees::{name_at, set_times};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Child;

/// What lasts over all boots; the pool is imported by whoever boots.
const STORE: &str = "cut/hosts";
const DATASET: &str = "cut/hosts/web";

/// The same of a host whose only big file is written in place.
const IN_PLACE: &str = "cut/hosts/kvm";
const IMAGE: &str = "srv/images/vm.img";

/// What this boot begins with: the hosts in the state of a round.
fn boot(round: u32) -> (Rig, PathBuf) {
    must_be_disposable();
    let mut rig = Rig::new();
    rig.dataset = Some(Dataset::lasting(STORE));
    rig.section("retention", "daily = 30\n");
    let source = rig.host("Web");
    fill(&rig, &source, round);
    let other = rig.near_host("Kvm", "");
    rig.section("hosts.\"Kvm\"", &format!("inplace = [{:?}]", other.join("srv/images")));
    fill_image(&rig, round);
    (rig, source)
}

/// The image of the other host in a round: each has other bytes all over it.
fn fill_image(rig: &Rig, round: u32) {
    let image = rig.source("Kvm").join(IMAGE);
    fs::create_dir_all(image.parent().unwrap()).unwrap();
    other_big_file(&image, 8, 100 + u64::from(round));
    set_times(&image, 1_600_000_000 + i64::from(round), 0);
}

/// Whether a copy of the image is that of a round.
fn is_image(rig: &Rig, copy: &Path, round: u32) -> bool {
    let expected = rig.join("expected.img");
    other_big_file(&expected, 8, 100 + u64::from(round));
    fs::read(copy.join(IMAGE)).unwrap() == fs::read(expected).unwrap()
}

/// The state of the host in a round, the same in every boot.
fn fill(rig: &Rig, source: &Path, round: u32) {
    fs::remove_dir_all(source).unwrap();
    for number in 0..20 {
        rig.write(source.join(format!("srv/{number}")), format!("file {number} in round {round}\n"));
    }
    // All of it has to be sent, so that its transfer lasts.
    other_big_file(&source.join("srv/zz-big"), 8, u64::from(round));
    let all = ["srv", "srv/zz-big", ""].map(str::to_owned);
    for name in (0..20).map(|number| format!("srv/{number}")).chain(all) {
        set_times(&source.join(name), 1_600_000_000 + i64::from(round), 0);
    }
}

/// What a snapshot has to be.
#[track_caller]
fn assert_is(rig: &Rig, snapshot: &str, round: u32) {
    let expected = rig.join(format!("round-{round}"));
    fs::create_dir_all(&expected).unwrap();
    fill(rig, &expected, round);
    assert_eq!(differences(&expected, &rig.snapshot("web", snapshot)), "", "{snapshot} in round {round}");
    assert_eq!(rig.facts("web", snapshot)["verdict"], "good");
}

/// Gives the newest snapshot the name of an earlier day.
fn date_back(days: u32) -> String {
    let newest = snapshots(DATASET).pop().unwrap();
    let earlier = name_at(&format!("{days} days ago"));
    zfs(&["rename", &format!("{DATASET}@{newest}"), &format!("{DATASET}@{earlier}")]);
    earlier
}

/// No flush, no unmount, no goodbye.
fn cut_the_power(mut run: Child, when: &str) -> ! {
    assert_eq!(run.try_wait().unwrap(), None, "the run had ended before its power went");
    let mut port = fs::OpenOptions::new().write(true).open("/dev/ttyS1").unwrap();
    writeln!(port, "@cut {when}").unwrap();
    // The words have to be out before the machine is gone.
    rustix::termios::tcdrain(&port).unwrap();
    fs::write("/proc/sysrq-trigger", "b").unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn power_1_goes_in_mid_transfer() {
    let (mut rig, source) = boot(1);
    rig.backup(&["all"]).exits(0);
    date_back(20);
    fill(&rig, &source, 2);
    fill_image(&rig, 2);
    let image = Path::new("/cut/hosts/kvm").join(IMAGE);
    let time = || image.metadata().map(|meta| (meta.mtime(), meta.mtime_nsec())).unwrap();
    let before = time();
    rig.section("transfer", "bandwidth_limit = \"300k\"");
    let run = rig.start(&["all"]);
    rig.wait_until("the big file is under way", || {
        let entries = fs::read_dir("/cut/hosts/web/srv").unwrap().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".zz-big."))
    });
    rig.wait_until("the image is written to", || time() != before);
    // Half of the round is on the disks.
    must("zpool", &["sync", "cut"]);
    cut_the_power(run, "in mid-transfer");
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn power_2_goes_between_snapshot_and_rotation() {
    let (rig, source) = boot(2);
    let there = snapshots(DATASET);
    assert_eq!(there.len(), 1, "half a copy became a snapshot: {there:?}");
    assert_is(&rig, &there[0], 1);
    let images = snapshots(IN_PLACE);
    assert_eq!(images.len(), 1, "a torn file became a snapshot: {images:?}");
    assert!(is_image(&rig, &rig.snapshot("kvm", &images[0]), 1), "the snapshot was written to");
    let live = Path::new("/cut/hosts/kvm");
    assert!(!is_image(&rig, live, 1) && !is_image(&rig, live, 2), "nothing is torn: the test shows nothing");
    rig.backup(&["all"]).exits(0).says("Web: OK: ").says("Kvm: OK: ");
    assert!(is_image(&rig, &rig.newest("kvm"), 2), "the torn file was not mended");
    assert_eq!(differences(&source, &rig.newest("web")), "");
    date_back(10);
    assert_is(&rig, &there[0], 1);

    for day in [400, 410] {
        let name = format!("{DATASET}@{}", name_at(&format!("{day} days ago")));
        zfs(&["snapshot", "-o", "backup:run=r1", "-o", "backup:verdict=partial", &name]);
    }
    must("zpool", &["sync", "cut"]);
    fill(&rig, &source, 3);
    let snare = Snare::new(&rig);
    let run = snare.start(&rig, &["web"], When::Before, 0, "zfs destroy*");
    cut_the_power(run, "between snapshot and rotation");
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn power_3_is_back() {
    let (rig, source) = boot(3);
    let there = snapshots(DATASET);
    assert_eq!(there.len(), 5, "{there:?}");
    for (name, round) in [(&there[0], 1), (&there[1], 2), (&there[4], 3)] {
        assert_is(&rig, name, round);
    }
    // What was about to be rotated goes now.
    rig.wait_until("the next second", || there.iter().all(|name| *name != name_at("now")));
    date_back(5);
    rig.backup(&["all"]).exits(0).says("Web: OK: ");
    let there = snapshots(DATASET);
    assert_eq!(there.len(), 4, "{there:?}");
    assert_eq!(differences(&source, &rig.newest("web")), "");
    for (name, round) in there.iter().zip([1, 2, 3, 3]) {
        assert_is(&rig, name, round);
    }
}
