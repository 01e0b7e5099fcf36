//! Which of a host's mounted filesystems are copied, and the rules that leave
//! out the others.
//!
//! A left-out mount's directory stays, as an empty one, so that a restored
//! system can mount there again. Where in doubt, a local disk is in: leaving
//! one out loses files, and an exclude is easily written.

use super::carve::{self, State, inside};
use super::mountinfo::{self, Mount, Table};
use super::{Rule, Warning};
use crate::host::Filesystems;
use crate::text::printable_bytes;
use std::collections::HashSet;
use std::fmt;

/// What a host's mounts mean for its copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Leave out what is to be left out.
    pub rules: Vec<Rule>,
    /// The source's own filesystem. `None`: the list does not say what holds
    /// the source, so it cannot be trusted to name what is mounted below.
    pub own: Option<Filesystem>,
    /// Further filesystems in the copy, by mount point.
    pub included: Vec<Filesystem>,
    /// What is mounted below the source and not in the copy, by mount point.
    pub left_out: Vec<LeftOut>,
    /// Lines of the list that describe no mount.
    pub warnings: Vec<Warning>,
}

/// A mounted filesystem. Written like `/home (ext4)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// Where it is mounted on the host.
    pub point: Vec<u8>,
    /// Its type.
    pub fstype: Vec<u8>,
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", printable_bytes(&self.point), printable_bytes(&self.fstype))
    }
}

/// A mounted filesystem that is not copied. Written like
/// `/srv/nfs (nfs4, network)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// What.
    pub filesystem: Filesystem,
    /// Why it is left out.
    pub reason: Reason,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Filesystem { point, fstype } = &self.filesystem;
        write!(f, "{} ({}, {})", printable_bytes(point), printable_bytes(fstype), self.reason)
    }
}

/// Why a mounted filesystem is not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Another machine's, or the hypervisor's.
    Network,
    /// Made up by the kernel, or gone with the next boot.
    Pseudo,
    /// Shows directories that are elsewhere too.
    Overlay,
    /// A program's in user space.
    Fuse,
    /// An image that cannot be written to.
    Image,
    /// An image in a file, which is copied where it lies.
    Loop,
    /// Mounts something once it is looked into.
    Automount,
    /// Shows what is in the copy elsewhere.
    Bind,
    /// A filesystem's former state.
    Snapshot,
    /// Another mount hides it.
    Hidden,
    /// Not the source's own, where only that is wanted.
    OtherFilesystem,
    /// None of the above, and not on a local disk that is known as one.
    NotADisk,
}

impl Reason {
    /// Whether somebody may miss its files: all but what the kernel makes up.
    pub fn holds_data(self) -> bool {
        self != Reason::Pseudo
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Reason::Network => "network",
            Reason::Pseudo => "pseudo",
            Reason::Overlay => "overlay",
            Reason::Fuse => "fuse",
            Reason::Image => "image",
            Reason::Loop => "loop",
            Reason::Automount => "automount",
            Reason::Bind => "bind",
            Reason::Snapshot => "snapshot",
            Reason::Hidden => "hidden",
            Reason::OtherFilesystem => "other filesystem",
            Reason::NotADisk => "not a disk",
        })
    }
}

/// Decides by `/proc/self/mountinfo` what is copied below `source`, an
/// absolute path without symbolic links and without `..`.
pub fn select(mountinfo: &[u8], source: &str, filesystems: Filesystems) -> Selection {
    let (mounts, warnings) = mountinfo::parse(mountinfo);
    let source = carve::normalised(source.as_bytes());
    let judge = Judge::new(&mounts, &source, filesystems);
    let mut selection = Selection { own: judge.own.map(Mount::filesystem), warnings, ..Selection::default() };

    let automounts: HashSet<&[u8]> =
        mounts.iter().filter(|mount| mount.fstype == b"autofs").map(|mount| mount.point.as_slice()).collect();
    let mut visible = Vec::new();
    for (mount, reason) in judge.verdicts() {
        let closed = mount.is_private() || automounts.contains(mount.point.as_slice());
        let state = match reason {
            None => State::In,
            Some(_) if closed => State::Closed,
            Some(_) => State::Out,
        };
        if reason != Some(Reason::Hidden) {
            visible.push((mount.point.as_slice(), state));
        }
        let filesystem = mount.filesystem();
        match reason {
            None => selection.included.push(filesystem),
            Some(reason) => selection.left_out.push(LeftOut { filesystem, reason }),
        }
    }
    selection.included.sort_by(|a, b| a.point.cmp(&b.point));
    selection.left_out.sort_by(|a, b| a.filesystem.point.cmp(&b.filesystem.point));
    selection.rules = carve::rules(&source, &visible);
    selection
}

/// Decides mount by mount.
struct Judge<'a> {
    table: Table<'a>,
    source: &'a [u8],
    filesystems: Filesystems,
    /// The mount that holds the source.
    own: Option<&'a Mount>,
    /// The visible mounts below the source, in the list's order.
    below: Vec<&'a Mount>,
    /// The mounts below the source that no path leads to.
    hidden: Vec<&'a Mount>,
}

impl<'a> Judge<'a> {
    fn new(mounts: &'a [Mount], source: &'a [u8], filesystems: Filesystems) -> Self {
        let table = Table::new(mounts);
        let (below, hidden) = mounts
            .iter()
            .filter(|mount| inside(&mount.point, source).is_some())
            .partition(|mount| table.nearest(&mount.point).is_some_and(|top| std::ptr::eq(top, *mount)));
        let own = table.nearest(source);
        Judge { table, source, filesystems, own, below, hidden }
    }

    /// Each mount below the source, and why it is left out; `None` is in.
    fn verdicts(&self) -> Vec<(&'a Mount, Option<Reason>)> {
        let mut verdicts = Vec::new();
        // Directories of a disk, shown by bind mounts, are in if nothing that
        // is in shows them: so they wait until the rest is known.
        let mut directories = Vec::new();
        let mut in_copy: Vec<&Mount> = self.own.into_iter().collect();
        for mount in &self.below {
            // The source's own filesystem is in whatever it is, wherever it shows.
            let verdict = match not_a_disk(mount).filter(|_| !self.is_of_own(mount)) {
                Some(reason) => Some(reason),
                None if !mount.is_whole() => {
                    directories.push(*mount);
                    continue;
                }
                None if in_copy.iter().any(|shown| shown.same_tree(mount)) => Some(Reason::Bind),
                None if self.filesystems == Filesystems::Root => Some(Reason::OtherFilesystem),
                None => None,
            };
            if verdict.is_none() {
                in_copy.push(mount);
            }
            verdicts.push((*mount, verdict));
        }
        directories.sort_by_key(|mount| mount.root.len());
        for mount in directories {
            let verdict = if in_copy.iter().any(|shown| self.reaches(shown, mount)) {
                Some(Reason::Bind)
            } else if self.filesystems == Filesystems::Root && !self.is_of_own(mount) {
                Some(Reason::OtherFilesystem)
            } else {
                in_copy.push(mount);
                None
            };
            verdicts.push((mount, verdict));
        }
        let lost = |mount: &&&Mount| {
            not_a_disk(mount).is_none()
                && !in_copy
                    .iter()
                    .any(|shown| shown.device == mount.device && shown.holds(&mount.root).is_some())
        };
        verdicts.extend(self.hidden.iter().filter(lost).map(|mount| (*mount, Some(Reason::Hidden))));
        verdicts
    }

    /// Whether a mount shows the filesystem that holds the source.
    fn is_of_own(&self, mount: &Mount) -> bool {
        self.own.is_some_and(|own| own.device == mount.device)
    }

    /// Whether what `mount` shows is also seen through `shown`, which is in
    /// the copy: the same directory, at a path below the source that nothing
    /// else is mounted over.
    fn reaches(&self, shown: &Mount, mount: &Mount) -> bool {
        let Some(rest) = shown.holds(&mount.root).filter(|_| shown.device == mount.device) else {
            return false;
        };
        let path = carve::normalised(&[shown.point.as_slice(), rest].concat());
        let in_source = path == self.source || inside(&path, self.source).is_some();
        in_source && self.table.nearest(&path).is_some_and(|top| std::ptr::eq(top, shown))
    }
}

impl Mount {
    fn filesystem(&self) -> Filesystem {
        Filesystem { point: self.point.clone(), fstype: self.fstype.clone() }
    }

    /// Whether both show the same directory of the same filesystem.
    fn same_tree(&self, other: &Mount) -> bool {
        self.device == other.device && self.root == other.root
    }

    /// Where a directory of the same filesystem is below this mount's root,
    /// with its slash; empty for that root itself.
    fn holds<'p>(&self, directory: &'p [u8]) -> Option<&'p [u8]> {
        if directory == self.root { Some(b"") } else { inside(directory, &self.root) }
    }

    /// Whether root may not even look at the mount point: of a filesystem in
    /// user space, unless its user allows it (mount.fuse3(8)).
    fn is_private(&self) -> bool {
        let options = || self.options.split(|byte| *byte == b',');
        self.fstype.starts_with(b"fuse")
            && options().any(|option| option.starts_with(b"user_id=") && option != b"user_id=0")
            && !options().any(|option| option == b"allow_other")
    }
}

/// Why a mount is not of a local disk; `None` if it is.
fn not_a_disk(mount: &Mount) -> Option<Reason> {
    let fstype = String::from_utf8_lossy(&mount.fstype);
    let reason = match fstype.as_ref() {
        "autofs" => Reason::Automount,
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "ceph" | "glusterfs" | "9p" | "virtiofs" | "afs"
        | "coda" | "ncpfs" | "lustre" | "gpfs" | "beegfs" | "orangefs" | "vboxsf" | "fuse.sshfs"
        | "fuse.glusterfs" | "fuse.ceph" | "fuse.ceph-fuse" | "fuse.rclone" | "fuse.s3fs"
        | "fuse.curlftpfs" | "fuse.davfs2" | "fuse.mfs" | "fuse.moosefs" | "fuse.seaweedfs"
        | "fuse.juicefs" | "fuse.vmhgfs-fuse" => Reason::Network,
        "proc" | "sysfs" | "tmpfs" | "ramfs" | "rootfs" | "devtmpfs" | "devpts" | "cgroup" | "cgroup2"
        | "mqueue" | "hugetlbfs" | "debugfs" | "tracefs" | "securityfs" | "pstore" | "bpf" | "configfs"
        | "fusectl" | "efivarfs" | "selinuxfs" | "smackfs" | "binfmt_misc" | "nsfs" | "rpc_pipefs"
        | "nfsd" | "resctrl" | "binder" | "functionfs" | "xenfs" | "openpromfs" | "spufs" => Reason::Pseudo,
        "overlay"
        | "overlayfs"
        | "aufs"
        | "unionfs"
        | "fuse.fuse-overlayfs"
        | "fuse.mergerfs"
        | "fuse.unionfs" => Reason::Overlay,
        "squashfs" | "iso9660" | "udf" | "erofs" | "cramfs" | "romfs" => Reason::Image,
        "fuse" => Reason::Fuse,
        other if other.starts_with("fuse.") => Reason::Fuse,
        "zfs" if mount.source.contains(&b'@') => Reason::Snapshot,
        "zfs" => return None,
        _ if mount.source.starts_with(b"/dev/loop") => Reason::Loop,
        _ if mount.source.starts_with(b"/dev/") => return None,
        _ => Reason::NotADisk,
    };
    Some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list from lines like `8:1 / /home ext4 /dev/sda1 rw`, mounted one
    /// after the other.
    fn list(lines: &[&str]) -> Vec<u8> {
        let mut text = String::new();
        let mut points: Vec<&str> = Vec::new();
        for line in lines {
            let words: Vec<&str> = line.splitn(6, ' ').collect();
            let [device, root, point, fstype, source] = words[..5] else { panic!("{line}") };
            let holds =
                |above: &&str| point == *above || inside(point.as_bytes(), above.as_bytes()).is_some();
            let parent = (1..=points.len())
                .rev()
                .filter(|id| holds(&points[id - 1]))
                .max_by_key(|id| points[id - 1].len());
            let (id, parent) = (points.len() + 1, parent.unwrap_or(0));
            let options = words.get(5).unwrap_or(&"rw");
            text.push_str(&format!(
                "{id} {parent} {device} {root} {point} rw shared:1 - {fstype} {source} {options}\n"
            ));
            points.push(point);
        }
        text.into_bytes()
    }

    fn shown<T: ToString>(items: &[T]) -> Vec<String> {
        items.iter().map(T::to_string).collect()
    }

    struct Case {
        why: &'static str,
        source: &'static str,
        mounts: &'static [&'static str],
        included: &'static [&'static str],
        left_out: &'static [&'static str],
    }

    const LOCAL: &[Case] = &[
        Case {
            why: "a small server: disks are in, all else is out",
            source: "/",
            mounts: &[
                "0:21 / /proc proc proc",
                "254:0 / / ext4 /dev/vda1",
                "0:22 / /sys sysfs sysfs",
                "0:6 / /dev devtmpfs udev",
                "0:25 / /run tmpfs tmpfs",
                "254:1 / /boot/efi vfat /dev/vda2",
                "253:3 / /var xfs /dev/mapper/vg-var",
                "9:0 / /srv/md ext4 /dev/md0",
                "8:17 / /media/ntfs fuseblk /dev/sdb1 rw,user_id=0,allow_other",
                "0:50 / /srv/nfs nfs4 server:/export",
                "0:51 / /srv/cifs cifs //server/share",
                "0:52 / /srv/9p 9p share",
                "0:53 / /srv/sshfs fuse.sshfs me@host: rw,user_id=0",
                "7:1 / /snap/core/1 squashfs /dev/loop1",
                "7:2 / /mnt/image ext4 /dev/loop2",
                "11:0 / /mnt/cd iso9660 /dev/sr0",
                "0:60 / /var/lib/docker/overlay2/x/merged overlay overlay",
                "0:61 / /etc/pve fuse /dev/fuse rw,user_id=0,allow_other",
                "0:62 / /mnt/odd newfs something",
            ],
            included: &["/boot/efi (vfat)", "/media/ntfs (fuseblk)", "/srv/md (ext4)", "/var (xfs)"],
            left_out: &[
                "/dev (devtmpfs, pseudo)",
                "/etc/pve (fuse, fuse)",
                "/mnt/cd (iso9660, image)",
                "/mnt/image (ext4, loop)",
                "/mnt/odd (newfs, not a disk)",
                "/proc (proc, pseudo)",
                "/run (tmpfs, pseudo)",
                "/snap/core/1 (squashfs, image)",
                "/srv/9p (9p, network)",
                "/srv/cifs (cifs, network)",
                "/srv/nfs (nfs4, network)",
                "/srv/sshfs (fuse.sshfs, network)",
                "/sys (sysfs, pseudo)",
                "/var/lib/docker/overlay2/x/merged (overlay, overlay)",
            ],
        },
        Case {
            why: "the source's own filesystem is in whatever it is: a container's root",
            source: "/",
            mounts: &[
                "0:70 / / overlay overlay",
                "0:71 / /proc proc proc",
                "254:0 /var/x/hosts /etc/hosts ext4 /dev/vda1",
            ],
            included: &["/etc/hosts (ext4)"],
            left_out: &["/proc (proc, pseudo)"],
        },
        Case {
            why: "a source on a network filesystem is what the operator asked for",
            source: "/srv/nfs/share",
            mounts: &[
                "8:1 / / ext4 /dev/sda1",
                "0:50 / /srv/nfs nfs4 server:/x",
                "0:51 / /srv/nfs/share/y nfs4 server:/y",
            ],
            included: &[],
            left_out: &["/srv/nfs/share/y (nfs4, network)"],
        },
        Case {
            why: "mounts above and beside the source play no part",
            source: "/srv/",
            mounts: &[
                "8:1 / / ext4 /dev/sda1",
                "0:50 / /home nfs4 server:/x",
                "8:2 / /srv ext4 /dev/sda2",
                "8:3 / /srv2 ext4 /dev/sda3",
            ],
            included: &[],
            left_out: &[],
        },
        Case {
            why: "a bind mount of what is in the copy is out; so is a second mount of one disk",
            source: "/",
            mounts: &[
                "8:1 / / ext4 /dev/sda1",
                "8:2 / /data ext4 /dev/sda2",
                "8:1 /srv/www /var/jail/www ext4 /dev/sda1",
                "8:2 /ftp /srv/ftp ext4 /dev/sda2",
                "8:2 / /var/jail/data ext4 /dev/sda2",
                "8:1 / /mnt/root ext4 /dev/sda1",
            ],
            included: &["/data (ext4)"],
            left_out: &[
                "/mnt/root (ext4, bind)",
                "/srv/ftp (ext4, bind)",
                "/var/jail/data (ext4, bind)",
                "/var/jail/www (ext4, bind)",
            ],
        },
        Case {
            why: "a directory mounted on itself is seen nowhere else: leaving it out would lose it",
            source: "/",
            mounts: &["8:1 / / ext4 /dev/sda1", "8:1 /var/lib/kubelet /var/lib/kubelet ext4 /dev/sda1"],
            included: &["/var/lib/kubelet (ext4)"],
            left_out: &[],
        },
        Case {
            why: "that holds for the source's own filesystem, whatever it is",
            source: "/",
            mounts: &[
                "0:70 / / overlay overlay",
                "0:70 /data /data overlay overlay",
                "0:70 /data/x /x overlay overlay",
                "0:72 / /y overlay overlay",
            ],
            included: &["/data (overlay)"],
            left_out: &["/x (overlay, bind)", "/y (overlay, overlay)"],
        },
        Case {
            why: "a bind mount of what lies outside the source is in, once",
            source: "/srv",
            mounts: &[
                "8:1 / / ext4 /dev/sda1",
                "8:1 /data/www/html /srv/html ext4 /dev/sda1",
                "8:1 /data/www /srv/www ext4 /dev/sda1",
                "8:1 /data/www /srv/again ext4 /dev/sda1",
                "8:1 /srv/x /srv/y ext4 /dev/sda1",
            ],
            included: &["/srv/www (ext4)"],
            left_out: &["/srv/again (ext4, bind)", "/srv/html (ext4, bind)", "/srv/y (ext4, bind)"],
        },
        Case {
            why: "a bind mount of what another mount hides at its own place is in",
            source: "/",
            mounts: &[
                "8:1 / / ext4 /dev/sda1",
                "8:1 /data/db /db ext4 /dev/sda1",
                "0:50 / /data nfs4 server:/x",
            ],
            included: &["/db (ext4)"],
            left_out: &["/data (nfs4, network)"],
        },
        Case {
            why: "btrfs subvolumes are mounts of their own; a directory of one is a bind mount",
            source: "/",
            mounts: &[
                "0:30 /@ / btrfs /dev/sda2 rw,subvolid=256,subvol=/@",
                "0:30 /@home /home btrfs /dev/sda2 rw,subvolid=257,subvol=/@home",
                "0:30 /@home/me /srv/me btrfs /dev/sda2 rw,subvolid=257,subvol=/@home",
                "0:30 /@home /mnt/home btrfs /dev/sda2 rw,subvolid=257,subvol=/@home",
            ],
            included: &["/home (btrfs)"],
            left_out: &["/mnt/home (btrfs, bind)", "/srv/me (btrfs, bind)"],
        },
        Case {
            why: "ZFS datasets are in, its snapshots and another pool's bind mounts are not",
            source: "/",
            mounts: &[
                "0:30 / / zfs rpool/ROOT/debian",
                "0:31 / /home zfs rpool/home",
                "0:32 / /home/.zfs/snapshot/monday zfs rpool/home@monday",
                "0:31 /me /srv/me zfs rpool/home",
            ],
            included: &["/home (zfs)"],
            left_out: &["/home/.zfs/snapshot/monday (zfs, snapshot)", "/srv/me (zfs, bind)"],
        },
        Case {
            why: "of mounts at one point the last is seen; a disk below it is told of",
            source: "/",
            mounts: &[
                "8:1 / / ext4 /dev/sda1",
                "0:40 / /mnt/nas autofs systemd-1",
                "0:50 / /mnt/nas nfs4 server:/x",
                "8:2 / /data ext4 /dev/sda2",
                "8:2 / /data ext4 /dev/sda2",
                "8:3 / /var ext4 /dev/sda3",
                "8:4 / /var/db ext4 /dev/sda4",
                "0:51 / /var tmpfs tmpfs",
            ],
            included: &["/data (ext4)"],
            left_out: &[
                "/mnt/nas (nfs4, network)",
                "/var (tmpfs, pseudo)",
                "/var (ext4, hidden)",
                "/var/db (ext4, hidden)",
            ],
        },
    ];

    #[test]
    fn local_disks_are_in_and_all_else_is_out() {
        for case in LOCAL {
            let selection = select(&list(case.mounts), case.source, Filesystems::Local);
            assert_eq!(selection.warnings, [], "{}", case.why);
            assert!(selection.own.is_some(), "{}", case.why);
            assert_eq!(shown(&selection.included), case.included, "{}", case.why);
            assert_eq!(shown(&selection.left_out), case.left_out, "{}", case.why);
        }
    }

    #[test]
    fn with_root_only_the_sources_own_filesystem_is_in() {
        let selection = select(
            &list(&[
                "8:1 / / ext4 /dev/sda1",
                "0:21 / /proc proc proc",
                "8:2 / /home ext4 /dev/sda2",
                "8:2 /me /srv/me ext4 /dev/sda2",
                "8:3 /x /srv/x ext4 /dev/sda3",
                "8:1 /srv/www /var/www ext4 /dev/sda1",
                "8:1 /var/lib/kubelet /var/lib/kubelet ext4 /dev/sda1",
            ]),
            "/",
            Filesystems::Root,
        );
        assert_eq!(selection.own.unwrap().to_string(), "/ (ext4)");
        // A directory mounted on itself is a part of the source's own.
        assert_eq!(shown(&selection.included), ["/var/lib/kubelet (ext4)"]);
        assert_eq!(
            shown(&selection.left_out),
            [
                "/home (ext4, other filesystem)",
                "/proc (proc, pseudo)",
                "/srv/me (ext4, other filesystem)",
                "/srv/x (ext4, other filesystem)",
                "/var/www (ext4, bind)",
            ]
        );
        assert_eq!(
            shown(&selection.rules),
            ["- /home/*", "- /proc/*", "- /srv/me/*", "- /srv/x/*", "- /var/www/*"]
        );
    }

    #[test]
    fn what_must_not_be_looked_into_is_left_out_with_its_directory() {
        for (mount, rule, why) in [
            ("0:9 / /m autofs systemd-1", "- /m/", "looking would mount what is behind it"),
            ("0:9 / /m fuse.sshfs x rw,user_id=1000,group_id=1000", "- /m/", "forbidden even to root"),
            ("0:9 / /m fuse.sshfs x rw,user_id=1000,allow_other", "- /m/*", "allowed"),
            ("0:9 / /m fuse.sshfs x rw,user_id=0", "- /m/*", "root's own"),
            ("0:9 / /m nfs4 x:/", "- /m/*", "an empty directory stays"),
        ] {
            let selection = select(&list(&["8:1 / / ext4 /dev/sda1", mount]), "/", Filesystems::Local);
            assert_eq!(shown(&selection.rules), [rule], "{why}");
        }
        let mounted = list(&["8:1 / / ext4 /dev/sda1", "0:9 / /m autofs systemd-1", "0:10 / /m nfs4 x:/"]);
        let selection = select(&mounted, "/", Filesystems::Local);
        assert_eq!(shown(&selection.rules), ["- /m/"], "an automount stays one while it is in use");
        let disk = list(&["8:1 / / ext4 /dev/sda1", "0:9 / /m autofs systemd-1", "8:2 / /m ext4 /dev/sda2"]);
        let selection = select(&disk, "/", Filesystems::Local);
        assert_eq!(shown(&selection.included), ["/m (ext4)"], "a disk that an automount has mounted");
        assert_eq!(selection.rules, []);
    }

    #[test]
    fn a_list_that_does_not_hold_the_source_says_so() {
        for (text, why) in [
            (&b""[..], "nothing was read"),
            (b"/bin/sh: cat: not found\n", "something else was read"),
            (b"5 1 8:2 / /data rw - ext4 /dev/sda2 rw\n", "a chroot"),
        ] {
            assert_eq!(select(text, "/", Filesystems::Local).own, None, "{why}");
        }
        let selection = select(b"rubbish\n5 1 8:2 / /data rw - nfs x:/ rw\n", "/", Filesystems::Local);
        assert_eq!(shown(&selection.rules), ["- /data/*"], "what can be read counts all the same");
        assert_eq!(
            shown(&selection.warnings),
            ["/proc/self/mountinfo line 1: `rubbish` was passed over: it describes no mount"]
        );
    }

    #[test]
    fn names_from_a_host_cannot_steer_a_terminal() {
        let mountinfo = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / /a\x1b[2J\\012b rw - nfs4 x:/ rw\n";
        let selection = select(mountinfo, "/", Filesystems::Local);
        assert_eq!(shown(&selection.left_out), ["/a\\u{1b}[2J\\nb (nfs4, network)"]);
        assert_eq!(selection.left_out[0].filesystem.point, b"/a\x1b[2J\nb");
    }

    #[test]
    fn only_what_the_kernel_makes_up_is_nobodys_loss() {
        assert!(!Reason::Pseudo.holds_data());
        assert!(Reason::Network.holds_data() && Reason::Hidden.holds_data());
    }

    #[test]
    fn this_machines_own_mounts_can_be_read() {
        let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap();
        let selection = select(&mountinfo, "/", Filesystems::Local);
        assert_eq!(selection.warnings, []);
        assert!(selection.own.is_some());
        assert!(selection.rules.iter().any(|rule| rule.pattern() == b"/proc/*"), "{:?}", selection.rules);
    }
}
