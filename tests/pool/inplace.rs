//! Files that are written in place, on a real pool: what they cost, and that
//! nobody ever sees one that is torn. `make vm` runs these.

use crate::support::pool::{Dataset, property};
use crate::support::rig::*;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

const MEGABYTE: u64 = 1024 * 1024;
/// The size of a record of ZFS, unless it is told otherwise.
const RECORD: u64 = 128 * 1024;

/// A file that does not compress, made fast.
fn random_file(path: &Path, megabytes: u64) {
    let (of, count) = (format!("of={}", path.display()), format!("count={megabytes}"));
    must("dd", &["if=/dev/urandom", &of, "bs=1M", &count, "status=none"]);
}

/// Overwrites bytes at these offsets, each with `length` other random ones.
fn change(path: &Path, offsets: impl Iterator<Item = u64>, length: usize) {
    let mut random = File::open("/dev/urandom").unwrap();
    let mut bytes = vec![0; length];
    let file = File::options().write(true).open(path).unwrap();
    for offset in offsets {
        random.read_exact(&mut bytes).unwrap();
        file.write_all_at(&bytes, offset).unwrap();
    }
}

/// Says something though the test may pass: the figures are to be seen.
fn tell(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Runs the binary, however long that takes here.
#[track_caller]
fn backup(rig: &Rig, arguments: &[&str], code: i32) -> Ran {
    let begin = Instant::now();
    let ran = Ran::from(rig.command(arguments).output().unwrap()).exits(code);
    tell(&format!("backup {} took {:.0?}", arguments.join(" "), begin.elapsed()));
    ran
}

/// A figure of ZFS in bytes, after all that was written has been counted.
#[track_caller]
fn figure(rig: &Rig, of: &str, name: &str) -> u64 {
    let dataset = &rig.dataset.as_ref().unwrap().name;
    must("zpool", &["sync", dataset.split('/').next().unwrap()]);
    property(&format!("{dataset}/{of}"), name).parse().unwrap()
}

#[track_caller]
fn assert_alike(source: &Path, copy: &Path) {
    must("cmp", &[source.to_str().unwrap(), copy.to_str().unwrap()]);
}

fn percent(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let percent = part as f64 * 100.0 / whole as f64;
    percent
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn a_big_file_that_changes_by_a_hundredth_costs_its_snapshots_a_fiftieth_at_most() {
    const SIZE: u64 = 512 * MEGABYTE;
    let mut rig = Rig::without_sshd();
    rig.dataset = Some(Dataset::new());
    // There is no room for it but in the pool.
    let hosts = Dataset::new();
    let images = hosts.mountpoint().join("srv/images");
    fs::create_dir_all(&images).unwrap();
    let image = images.join("vm.img");
    let source = format!("source = {:?}\n", hosts.mountpoint());
    rig.near_host("Anew", &source);
    rig.near_host("Inplace", &format!("{source}inplace = [{images:?}]\n"));
    random_file(&image, SIZE / MEGABYTE);
    for host in ["inplace", "anew"] {
        // Else the second run of a day removes what the first one has left.
        backup(&rig, &["run", "--keep", "figures", host], 0);
        assert_eq!(figure(&rig, host, "usedbysnapshots"), 0, "all that the snapshot has is in use");
    }
    let inode = |host: &str| {
        let dataset = Dataset::lasting(&rig.dataset.as_ref().unwrap().child(host));
        dataset.mountpoint().join("srv/images/vm.img").metadata().unwrap().ino()
    };
    let before = inode("inplace");

    // 41 of its 4,096 blocks, all over the file.
    let changed = (0..SIZE / RECORD).filter(|block| block % 100 == 7).map(|block| block * RECORD);
    assert_eq!(changed.clone().count(), 41);
    change(&image, changed, usize::try_from(RECORD).unwrap());
    for (host, written_in_place) in [("inplace", true), ("anew", false)] {
        backup(&rig, &["run", "--keep", "figures", host], 0);
        let newest = rig.snapshots(host).pop().unwrap();
        let written = figure(&rig, &format!("{host}@{newest}"), "written");
        let held = figure(&rig, host, "usedbysnapshots");
        tell(&format!(
            "{host}: of a file of {SIZE} bytes 1 % changed; written {written} bytes ({:.2} %), \
             the snapshots hold {held} bytes more than before ({:.2} %)",
            percent(written, SIZE),
            percent(held, SIZE)
        ));
        for bytes in [written, held] {
            if written_in_place {
                assert!((SIZE / 100..=SIZE / 50).contains(&bytes), "{host}: {bytes}");
            } else {
                assert!(bytes >= SIZE, "{host}: {bytes}");
            }
        }
        assert_alike(&image, &rig.newest(host).join("srv/images/vm.img"));
        assert_eq!(rig.verdicts(host), ["good", "good"]);
    }
    assert_eq!(inode("inplace"), before);
    let files = |host: &str| rig.facts(host, rig.snapshots(host).last().unwrap())["files"].clone();
    assert_eq!(files("inplace"), files("anew"), "both rsyncs together count what one counts");
}

/// Why rsync is told to compare blocks of 128 KiB: with those that it takes for
/// a file of 512 MB if not told, what it sends for a changed record reaches into
/// the records beside it.
#[test]
#[ignore = "needs a pool: `make vm`"]
fn blocks_of_a_records_size_rewrite_no_more_records_than_have_changed() {
    const SIZE: u64 = 96 * MEGABYTE;
    let dataset = Dataset::new();
    let sources = tempfile::tempdir().unwrap();
    let image = sources.path().join("vm.img");
    random_file(&image, SIZE / MEGABYTE);
    let copy = |block: u32| {
        let (from, to) =
            (format!("{}/", sources.path().display()), format!("{}/", dataset.mountpoint().display()));
        let block = format!("--block-size={block}");
        must(
            "rsync",
            &[
                "-a",
                "--inplace",
                "--no-whole-file",
                "--modify-window=-1",
                "--stats",
                "--no-h",
                &block,
                &from,
                &to,
            ],
        )
    };
    let mut written = Vec::new();
    copy(131_072);
    for (number, (block, length, kind)) in [
        (131_072, RECORD, "whole records"),
        (23_168, RECORD, "whole records"),
        (131_072, 4096, "4 KiB in each"),
        (23_168, 4096, "4 KiB in each"),
    ]
    .into_iter()
    .enumerate()
    {
        must("zfs", &["snapshot", &format!("{}@{number}", dataset.name)]);
        let changed = (0..SIZE / RECORD).filter(|record| record % 10 == 3);
        let inside = if length == RECORD { 0 } else { 60 * 1024 };
        let records = changed.clone().count();
        change(&image, changed.map(|record| record * RECORD + inside), usize::try_from(length).unwrap());
        let said = copy(block);
        must("zpool", &["sync", dataset.name.split('/').next().unwrap()]);
        let bytes: u64 = property(&dataset.name, "written").parse().unwrap();
        let sent = said.lines().find(|line| line.starts_with("Total bytes sent")).unwrap_or_default();
        tell(&format!(
            "{kind} of {records} records changed, blocks of {block}: written {bytes} bytes; {sent}"
        ));
        assert_alike(&image, &dataset.mountpoint().join("vm.img"));
        written.push(bytes);
    }
    assert!(written[0] * 2 < written[1] * 3 / 2, "{written:?}");
    assert!(written[2] <= written[3] * 11 / 10, "{written:?}");
}

/// A host with an image of 24 MB that is written in place, and a copy of it.
fn host_with_image() -> (Rig, PathBuf) {
    let mut rig = Rig::without_sshd();
    rig.dataset = Some(Dataset::new());
    let source = rig.near_host("Web", "");
    rig.section("hosts.\"Web\"", &format!("inplace = [{:?}]\n", source.join("srv/images")));
    fs::create_dir(source.join("srv/images")).unwrap();
    random_file(&source.join("srv/images/vm.img"), 24);
    backup(&rig, &["run", "--keep", "first", "web"], 0);
    (rig, source)
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn a_run_that_ends_in_the_middle_of_a_file_leaves_no_snapshot_and_the_next_one_mends_it() {
    let (mut rig, source) = host_with_image();
    let image = source.join("srv/images/vm.img");
    let former = source.join("srv/former.img");
    fs::copy(&image, &former).unwrap();
    change(&image, (0..24).map(|number| number * MEGABYTE), 512 * 1024);
    let copy = Dataset::lasting(&rig.dataset.as_ref().unwrap().child("web")).mountpoint();
    let torn = copy.join("srv/images/vm.img");
    let written = torn.metadata().unwrap().mtime_nsec();
    rig.section("transfer", "bandwidth_limit = \"1m\"");
    let child = rig.start(&["web"]);
    rig.wait_until("the file is written to", || torn.metadata().unwrap().mtime_nsec() != written);
    signal(&child, rustix::process::Signal::KILL);
    finish(child);
    // What it had started ends with it.
    rig.wait_until("nothing writes any more", || rig.left_behind().is_empty());
    let same = |a: &Path, b: &Path| fs::read(a).unwrap() == fs::read(b).unwrap();
    assert!(!same(&torn, &image) && !same(&torn, &former), "the copy is not torn: the test shows nothing");
    assert_eq!(rig.verdicts("web"), ["good"]);
    assert_alike(&former, &rig.newest("web").join("srv/images/vm.img"));

    rig.section("transfer", "bandwidth_limit = \"\"");
    backup(&rig, &["web"], 0);
    assert_eq!(rig.verdicts("web"), ["good", "good"]);
    assert_eq!(differences(&source, &rig.newest("web")), "");
    assert_alike(&former, &rig.snapshot("web", &rig.snapshots("web")[0]).join("srv/images/vm.img"));
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn a_path_with_a_linked_file_is_written_anew_and_zeros_take_no_room_in_place() {
    let (rig, source) = host_with_image();
    let images = source.join("srv/images");
    let second = images.join("second.img");
    fs::hard_link(images.join("vm.img"), &second).unwrap();
    backup(&rig, &["web"], 1).says("has more than one hard link");
    let newest = rig.newest("web");
    let inode = |name: &str| newest.join("srv/images").join(name).metadata().unwrap().ino();
    assert_eq!(inode("vm.img"), inode("second.img"), "they are one, as on the host");
    assert_eq!(differences(&source, &newest), "");

    // Parted on the host, and different: in place, the two must not meet.
    fs::remove_file(&second).unwrap();
    fs::write(&second, vec![0; 8 << 20]).unwrap();
    change(&images.join("vm.img"), [3 * MEGABYTE].into_iter(), 4096);
    File::options()
        .write(true)
        .open(images.join("vm.img"))
        .unwrap()
        .write_all_at(&[0; 300_000], 100_000)
        .unwrap();
    backup(&rig, &["web"], 0);
    let newest = rig.newest("web");
    assert_eq!(differences(&source, &newest), "");
    let zeros = newest.join("srv/images/second.img").metadata().unwrap();
    assert!(zeros.blocks() < 2048, "zeros take {} blocks", zeros.blocks());
}
