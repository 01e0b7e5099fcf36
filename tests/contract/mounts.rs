//! What is copied of a host's mounts, by a list of them that the test writes:
//! where the host reads its own, it gets this one.

use crate::support::rig::*;
use crate::support::trees::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const ROOT: &str = "1 0 8:1 / / rw - ext4 /dev/sda1 rw";

/// A rig with a host, `Web`, that has these mounts beside a disk at `/`; each is
/// given by its place below the source and what follows the options.
struct Host {
    rig: Rig,
    source: PathBuf,
}

impl Host {
    fn new(lines: &str, mounts: &[(&str, &str)]) -> Self {
        let mut rig = Rig::new();
        let source = rig.host_with("Web", lines);
        for number in 0..9 {
            rig.write(source.join(format!("home/{number}")), "what there is besides\n");
        }
        let mut host = Host { rig, source };
        host.has(mounts);
        host.start();
        host
    }

    /// Starts its sshd, which sees what is mounted at this moment.
    fn start(&mut self) {
        let list = self.rig.join("mountinfo");
        let cat = format!(
            "#!/bin/sh\n[ $# = 0 ] && exec head -c 999999999\nexec head -c 999999999 '{}'\n",
            list.display()
        );
        let cat = self.rig.write("cat", cat);
        fs::set_permissions(&cat, PermissionsExt::from_mode(0o755)).unwrap();
        self.rig.sshd().start_again_with(&Setup { mounts: &[(cat, "/usr/bin/cat")], ..Setup::default() });
    }

    fn list(&self, mounts: &[(&str, &str)]) -> String {
        let mut list = format!("{ROOT}\n");
        for ((place, rest), number) in mounts.iter().zip(2..) {
            list.push_str(&format!(
                "{number} 1 9:{number} / {}{place} rw - {rest} rw\n",
                self.source.display()
            ));
        }
        list
    }

    /// Gives it other mounts.
    fn has(&self, mounts: &[(&str, &str)]) {
        self.rig.write("mountinfo", self.list(mounts));
    }

    /// Gives it other mounts as soon as its hooks run.
    fn will_have(&self, mounts: &[(&str, &str)]) {
        let later = self.rig.write("later", self.list(mounts));
        let list = self.rig.join("mountinfo");
        self.rig.hook("mounts", &format!("cp '{}' '{}'\n", later.display(), list.display()));
    }
}

#[test]
fn a_part_of_the_sources_filesystem_with_a_device_of_its_own_is_copied() {
    for lines in ["filesystems = \"root\"\n", ""] {
        let mut host = Host::new(lines, &[]);
        // As a subvolume of btrfs is: another device, and no line in the list.
        let subvolume = host.source.join("srv/subvolume");
        let _mount = Mount::tmpfs(&subvolume, "size=1m");
        host.rig.write(subvolume.join("file"), "in a subvolume");
        host.start();
        host.rig.backup(&["web"]).exits(0);
        let copied = host.rig.newest("web").join("srv/subvolume/file");
        assert_eq!(fs::read_to_string(copied).unwrap(), "in a subvolume", "{lines}");
    }
}

#[test]
fn a_disk_is_copied_whatever_its_source_is_called() {
    for mounted in
        ["ubifs ubi0:data", "jffs2 mtd:data", "bcachefs LABEL=data", "fuse.zfs tank/data", "newfs x"]
    {
        let host = Host::new("", &[("/srv", mounted)]);
        host.rig.backup(&["web"]).exits(0).says("Web: OK");
        assert!(host.rig.newest("web").join("srv/data").exists(), "{mounted}");
    }
}

#[test]
fn with_root_alone_another_filesystem_is_left_out_by_the_list() {
    let host = Host::new("filesystems = \"root\"\n", &[("/srv", "ext4 /dev/sdb1")]);
    host.rig.backup(&["web"]).exits(1).says("/srv (ext4, other filesystem)");
    let copy = host.rig.newest("web");
    assert!(copy.join("etc/fstab").exists() && copy.join("srv").is_dir() && !copy.join("srv/data").exists());
}

#[test]
fn what_holds_data_and_is_not_copied_is_told_once_and_in_check_always() {
    let mut host = Host::new("", &[("/srv", "nfs4 nas:/srv"), ("/run", "tmpfs tmpfs")]);
    let nas = format!("not copied: {}/srv (nfs4, network)", host.source.display());
    host.rig.backup(&["web"]).exits(1).says(&format!("Web: WARNING: {nas}"));
    for _ in 0..2 {
        host.rig.backup(&["web"]).exits(0).says("Web: OK").does_not_say("not copied: ");
        let check = host.rig.backup(&["check"]).exits(1);
        assert!(check.stdout.contains(&nas) && !check.stdout.contains("/run (tmpfs"), "{}", check.stdout);
    }
    // Another one is told, and it alone.
    host.has(&[("/srv", "nfs4 nas:/srv"), ("/etc", "fuse.whatever what")]);
    let other = format!("not copied: {}/etc (fuse.whatever, fuse)", host.source.display());
    host.rig.backup(&["web"]).exits(1).says(&other).does_not_say(&nas);
    // One that was away and is back is known.
    for mounts in [&[][..], &[("/srv", "nfs4 nas:/srv"), ("/etc", "fuse.whatever what")]] {
        host.has(mounts);
        host.rig.backup(&["web"]).exits(0).does_not_say("not copied: ");
    }
    // It is no reason to keep old snapshots, and who excludes it means it.
    host.rig.section("hosts.\"Web\"", "exclude = [\"/srv/*\", \"/etc/\"]");
    host.rig.backup(&["web"]).exits(0);
    let check = host.rig.backup(&["check"]);
    assert!(!check.stdout.contains("not copied: "), "{}", check.stdout);
}

#[test]
fn what_is_mounted_or_unmounted_meanwhile_is_told() {
    let host = Host::new("", &[("/srv", "ext4 /dev/sdb1")]);
    host.will_have(&[("/srv", "ext4 /dev/sdb1"), ("/etc", "nfs4 nas:/etc")]);
    host.rig
        .backup(&["web"])
        .exits(1)
        .says("Web: WARNING: mounted while the host was copied, and perhaps copied as well: ")
        .says("/etc (nfs4, network)");
    assert_eq!(host.rig.verdicts("web"), ["good"]);
    host.has(&[("/srv", "ext4 /dev/sdb1")]);
    host.will_have(&[]);
    host.rig.backup(&["web"]).exits(1).says("partial copy: ").says("unmounted while the host was copied: ");
    assert_eq!(host.rig.verdicts("web"), ["good", "partial"]);
}
