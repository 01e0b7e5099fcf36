//! What nobody may do to the copies in a store: write where another run does,
//! lose what was written, read what is root's, or wedge it for good.

use crate::support::on_every_store;
use crate::support::rig::*;
use crate::support::trees::*;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Child;

on_every_store! {
    a_run_with_another_runtime_directory_leaves_a_host_to_the_first,
    a_run_whose_lock_was_cleared_away_keeps_its_host,
    the_way_to_the_copies_is_closed_and_that_is_told_once,
}

/// A run that waits in a hook until `go` is there, after it has locked and
/// prepared the host.
fn start_waiting(rig: &Rig) -> (Child, PathBuf) {
    let (begun, go) = (rig.join("begun"), rig.join("go"));
    let script = format!("touch {}\nuntil [ -e {} ]; do sleep 0.05; done", begun.display(), go.display());
    rig.hook("wait", &script);
    let run = rig.start(&["web"]);
    rig.wait_until("the run is in its hook", || begun.exists());
    fs::remove_file(rig.join("hooks/wait")).unwrap();
    (run, go)
}

/// The same configuration with another runtime directory, as on a second
/// server or in a second container.
fn backup_elsewhere(rig: &Rig, arguments: &[&str]) -> Ran {
    let text = fs::read_to_string(rig.configure()).unwrap();
    let run = rig.join("run");
    let other =
        rig.write("elsewhere.toml", text.replace(&format!("{run:?}"), &format!("{:?}", rig.join("run2"))));
    finish(rig.command(arguments).env("BACKUP_CONFIG", other).spawn().unwrap()).into()
}

fn a_run_with_another_runtime_directory_leaves_a_host_to_the_first(mut rig: Rig) {
    let source = rig.near_host("Web", "");
    let (first, go) = start_waiting(&rig);
    let place = being_written(&rig, "web");
    let before = fs::metadata(&place).unwrap().ino();
    backup_elsewhere(&rig, &["web"])
        .exits(1)
        .says("Web: WARNING: skipped: locked in the store (`")
        .says(&format!("by another run (process {})", first.id()));
    assert_eq!(fs::metadata(&place).unwrap().ino(), before, "the copy was touched");
    assert_eq!(rig.snapshots("web"), [""; 0]);
    fs::write(go, "").unwrap();
    let ran: Ran = finish(first).into();
    ran.exits(0).says("Web: OK: ");
    assert_eq!(differences(&source, &rig.newest("web")), "");
    rig.wait_until("the next second", || name_at("now") > rig.snapshots("web")[0]);
    backup_elsewhere(&rig, &["web"]).exits(0).says("Web: OK: ");
}

fn a_run_whose_lock_was_cleared_away_keeps_its_host(mut rig: Rig) {
    let source = rig.near_host("Web", "");
    let (first, go) = start_waiting(&rig);
    fs::remove_file(rig.join("run/web.lock")).unwrap();
    rig.backup(&["web"]).exits(1).says("Web: WARNING: skipped: locked in the store (`");
    assert_eq!(rig.snapshots("web"), [""; 0]);
    fs::write(go, "").unwrap();
    let ran: Ran = finish(first).into();
    ran.exits(0).says("Web: OK: ");
    assert_eq!(differences(&source, &rig.newest("web")), "");
}

#[test]
fn what_is_published_is_what_the_run_made() {
    for (what, said) in [
        ("the tree", "it is not what this run has filled; is another run at work on this host?"),
        ("the lock", "was replaced while this run had the host"),
    ] {
        let mut rig = Rig::without_sshd();
        let source = rig.host("Web");
        rig.backup(&["web"]).exits(0);
        let before = rig.snapshots("web");
        let (run, go) = start_waiting(&rig);
        let place = rig.join("store/web");
        if what == "the tree" {
            // rsync has not begun, and fills what it finds.
            fs::rename(place.join(".incomplete"), rig.join("away")).unwrap();
            fs::create_dir(place.join(".incomplete")).unwrap();
        } else {
            fs::copy(place.join(".boot"), place.join("boot")).unwrap();
            fs::rename(place.join("boot"), place.join(".boot")).unwrap();
        }
        fs::write(go, "").unwrap();
        let ran: Ran = finish(run).into();
        ran.exits(1).says("Web: CRITICAL: ").says(said);
        assert_eq!(rig.snapshots("web"), before, "{what}");
        rig.backup(&["web"]).exits(0);
        assert_eq!(differences(&source, &rig.newest("web")), "");
    }
}

#[test]
fn a_copy_of_which_the_disk_lost_something_is_not_good() {
    let mut rig = Rig::without_sshd();
    // What is written to the store fits into no more than this, which only the
    // disk behind it finds out.
    let disk = Mount::tmpfs(&rig.join("disk"), "size=12m");
    let image = rig.join("disk/image");
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    must(
        "/usr/sbin/mke2fs",
        &["-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=0", image.to_str().unwrap()],
    );
    let store = rig.join("store");
    let Some(mounted) = Mount::image(&image, &store, "errors=continue") else { return };
    fs::set_permissions(&store, PermissionsExt::from_mode(0o700)).unwrap();
    let source = rig.host("Web");
    for number in 10..34 {
        big_file(&source.join(format!("srv/{number}")), 1);
    }
    rig.section("transfer", "bandwidth_limit = \"6m\"");
    // Somebody else's sync is told of the loss, and nobody after it.
    let run = rig.start(&["web"]);
    let copied = store.join("web/.incomplete/srv");
    let sync = || rustix::fs::syncfs(File::open(&store).unwrap());
    let mut lost = false;
    rig.wait_until("most of it is copied", || {
        lost |= sync().is_err();
        copied.join("30").exists()
    });
    assert!(lost, "the disk has lost nothing");
    disk.remount("size=100m");
    let _ = sync();
    let ran: Ran = finish(run).into();
    ran.exits(1)
        .says("Web: CRITICAL: snapshot failed: ")
        .says("the disk lost some of what was written to it");
    assert_eq!(rig.snapshots("web"), [""; 0]);

    // Nor is what was lost linked into the next copy.
    rig.section("transfer", "bandwidth_limit = \"\"");
    rig.backup(&["web"]).exits(0);
    drop(mounted);
    let _mounted = Mount::image(&image, &store, "errors=continue").expect("it was there before");
    assert_eq!(differences(&source, &rig.newest("web")), "");
}

/// A store that holds little, of one kind.
struct Small {
    what: &'static str,
    _mounts: Vec<Mount>,
}

fn small_stores() -> Vec<fn(&Rig) -> Option<Small>> {
    vec![
        |rig| {
            let mount = Mount::tmpfs(&rig.join("store"), "size=40m,nr_inodes=90,mode=0700");
            Some(Small { what: "inodes of tmpfs", _mounts: vec![mount] })
        },
        |rig| {
            let mount = Mount::tmpfs(&rig.join("store"), "size=1m,mode=0700");
            Some(Small { what: "bytes of tmpfs", _mounts: vec![mount] })
        },
        |rig| ext4(rig, "inodes of ext4", 30, &["-N", "112"]),
        |rig| ext4(rig, "bytes of ext4", 2, &["-N", "1000", "-O", "^has_journal", "-m", "0"]),
        |rig| {
            // A quota of btrfs binds root as well.
            let image = rig.join("image");
            File::create(&image).unwrap().set_len(200 << 20).unwrap();
            let made = program("/usr/sbin/mkfs.btrfs").arg("-q").arg(&image).output();
            if !made.is_ok_and(|made| made.status.success()) {
                println!("not tried: a quota of btrfs needs btrfs-progs");
                return None;
            }
            let store = rig.join("store");
            let mount = Mount::image(&image, &store, "max_inline=0")?;
            fs::set_permissions(&store, PermissionsExt::from_mode(0o700)).unwrap();
            let path = store.to_str().unwrap();
            must("btrfs", &["quota", "enable", path]);
            must("btrfs", &["qgroup", "limit", "2M", path]);
            Some(Small { what: "quota of btrfs", _mounts: vec![mount] })
        },
    ]
}

fn ext4(rig: &Rig, what: &'static str, megabytes: u64, options: &[&str]) -> Option<Small> {
    let image = rig.join("image");
    File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
    must("/usr/sbin/mke2fs", &[&["-q", "-t", "ext4"], options, &[image.to_str().unwrap()]].concat());
    let store = rig.join("store");
    let mount = Mount::image(&image, &store, "noatime")?;
    fs::set_permissions(&store, PermissionsExt::from_mode(0o700)).unwrap();
    fs::remove_dir(store.join("lost+found")).unwrap();
    Some(Small { what, _mounts: vec![mount] })
}

#[test]
fn a_host_that_eats_a_whole_store_wedges_it_for_no_night_longer_than_it_has_to() {
    for number in 0..5 {
        let mut rig = Rig::without_sshd();
        let Some(small) = small_stores()[number](&rig) else { continue };
        let what = small.what;
        println!("{what}");
        let source = rig.host("Web");
        rig.section("retention", "daily = 1\nweekly = 1\nmonthly = 1\nyearly = 1\n");
        rig.backup(&["web"]).exits(0);
        let good = date_back(&rig, "web", "1 day ago");
        let old: Vec<String> = ["2020-01-01", "2020-01-02"].map(name_at).into();
        old.iter().for_each(|name| made_up(&rig, "web", name, "good"));
        rig.host("Other");
        for number in 0..120 {
            let text = if what.starts_with("inodes") { String::new() } else { "x".repeat(32 << 10) };
            rig.write(source.join(format!("srv/many/{number:03}")), text);
        }
        for night in ["first", "second"] {
            rig.backup(&["web"]).exits(1).says("Web: CRITICAL: transfer failed: the store is full: ");
            println!("{what}, {night} night");
        }
        // Killed where it is full, it cleans up after itself the next time.
        let place = rig.join("store/web");
        fs::create_dir(place.join(".incomplete")).unwrap();
        let last = fill(&place.join(".incomplete"));
        rig.backup(&["other"]).exits(1);
        rig.backup(&["web"]).exits(1).says("Web: CRITICAL: transfer failed: the store is full: ");
        assert!(!last.exists(), "{what}: what a killed run left is there for ever");
        rig.backup(&["other"]).exits(0);

        // What was good all the time can be removed when nothing else is left.
        let filling = rig.join("store/filling");
        fs::create_dir(&filling).unwrap();
        fill(&filling);
        let ran = rig.backup(&["prune", "--force", "web"]).exits(0);
        assert_eq!(rig.snapshots("web"), [good.as_str()], "{what}: {}", ran.stderr);
        assert!(!place.join(".removing").exists());
        fs::remove_dir_all(filling).unwrap();

        fs::remove_dir_all(source.join("srv/many")).unwrap();
        rig.backup(&["web"]).exits(0).says("Web: OK: ");
        assert_eq!(rig.snapshots("web").len(), 1, "rotation goes on");
        assert_eq!(differences(&source, &rig.newest("web")), "");
    }
}

/// Fills a place to the last inode or byte, and gives what was made last.
fn fill(place: &Path) -> PathBuf {
    let mut last = place.to_owned();
    for number in 0.. {
        let path = place.join(format!("filling-{number}"));
        let size = if number < 1000 { 64 << 10 } else { 512 };
        let Ok(file) = File::create(&path) else { break };
        drop(file);
        last.clone_from(&path);
        if fs::write(&path, vec![7; size]).is_err() && number > 1000 {
            break;
        }
        assert!(number < 20_000, "it is never full");
    }
    let _ = rustix::fs::syncfs(File::open(place).unwrap());
    last
}

fn the_way_to_the_copies_is_closed_and_that_is_told_once(mut rig: Rig) {
    rig.near_host("Web", "");
    fs::set_permissions(rig.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let top = match &rig.dataset {
        Some(dataset) => dataset.mountpoint(),
        None => rig.join("store/web"),
    };
    rig.backup(&["all"]).exits(0);
    for open in [0o755, 0o750, 0o701] {
        fs::set_permissions(&top, PermissionsExt::from_mode(open)).unwrap();
        let checked = rig.backup(&["check"]).stdout;
        assert!(checked.contains("is open to other users of this server"), "{checked}");
        rig.backup(&["--quiet", "all"])
            .exits(0)
            .says(&format!("was open to other users of this server (mode {open:o}) and is closed now"));
        assert_eq!(top.metadata().unwrap().mode() & 0o077, 0);
        let copied = rig.newest("web").join("etc/fstab");
        let nobody =
            ["--reuid", "65534", "--regid", "65534", "--clear-groups", "cat", copied.to_str().unwrap()];
        assert!(!program("setpriv").args(nobody).output().unwrap().status.success(), "nobody may read it");
        rig.backup(&["--quiet", "all"]).exits(0).does_not_say("other users");
    }
}

#[test]
fn a_folder_of_another_user_is_refused() {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    fs::create_dir(rig.join("store/web")).unwrap();
    chown(rig.join("store/web"), Some(4242), None).unwrap();
    rig.backup(&["all"]).exits(1).says("Web: CRITICAL: store failed: ").says("belongs to the user 4242");
    assert_eq!(fs::read_dir(rig.join("store/web")).unwrap().count(), 0);
}

#[test]
fn what_a_run_writes_down_is_open_to_nobody_else_whatever_the_umask() {
    for umask in ["000", "077"] {
        let mut rig = Rig::without_sshd();
        rig.host("Web");
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let command = through(&["sh", "-c", &script], &rig.command(&["all", "--keep", "it"]));
        let ran: Ran = { command }.spawn().map(finish).unwrap().into();
        ran.exits(0);
        let name = rig.snapshots("web").pop().unwrap();
        let mut files = vec![rig.join("store/web/.boot"), rig.join("run/web.lock")];
        for end in ["json", "hold"] {
            files.push(rig.snapshot("web", &format!("{name}.{end}")));
        }
        for entry in fs::read_dir(rig.join("state")).unwrap() {
            files.push(entry.unwrap().path());
        }
        assert!(files.len() > 4, "{files:?}");
        for file in files {
            let mode = file.metadata().unwrap().mode() & 0o7777;
            assert_eq!(mode, 0o600, "{} under umask {umask}", file.display());
        }
        for folder in ["store/web", "store/web/snapshots", "run", "state"] {
            assert_eq!(rig.join(folder).metadata().unwrap().mode() & 0o7777, 0o700, "{folder}");
        }
    }
}

/// Makes a file or folder that nobody can remove; put right when dropped.
struct Immutable(File, IFlags);

impl Immutable {
    fn new(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let flags = ioctl_getflags(&file).unwrap();
        ioctl_setflags(&file, flags | IFlags::IMMUTABLE).unwrap();
        Immutable(file, flags)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let _ = ioctl_setflags(&self.0, self.1);
    }
}

#[test]
fn a_snapshot_that_cannot_be_removed_is_a_warning_every_night_and_holds_up_no_other() {
    for stuck in ["", "file"] {
        let mut rig = Rig::without_sshd();
        rig.host("Web");
        rig.section("retention", "daily = 1\nweekly = 1\nmonthly = 1\nyearly = 1\n");
        let [old, older] = ["2020-01-01", "2020-01-02"].map(name_at);
        made_up(&rig, "web", &old, "good");
        made_up(&rig, "web", &older, "good");
        let path = rig.snapshot("web", &old).join(stuck);
        let immutable = Immutable::new(&path);
        for night in ["first", "second"] {
            let ran = rig.backup(&["--quiet", "all"]).exits(1).says("warning: Web: WARNING: ");
            let told = match stuck {
                "" => format!("{old} could not be removed: Operation not permitted"),
                _ => "what was removed still takes space: `".to_owned(),
            };
            assert!(ran.stderr.contains(&told), "{night}: {told}\n{}", ran.stderr);
            assert_eq!(ran.stderr.matches(&told).count(), 1, "{night}: {}", ran.stderr);
            assert!(!rig.snapshots("web").contains(&older), "{night}: the other one stays");
            let newest = rig.snapshots("web").pop().unwrap();
            rig.wait_until("the next second", || name_at("now") > newest);
        }
        drop(immutable);
        rig.backup(&["--quiet", "all"]).exits(0);
        assert!(!rig.snapshots("web").contains(&old) && !rig.join("store/web/.removing").exists());
    }
}
