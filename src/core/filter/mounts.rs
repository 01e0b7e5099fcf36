//! Which of a host's mounted filesystems are copied, and the rules that leave
//! out the others.
//!
//! A left-out mount's directory stays, as an empty one, so that a restored
//! system can mount there again. Where in doubt, a local disk is in: leaving
//! one out loses files, and an exclude is easily written.

use super::kinds;
use super::mount_rules::{self, State, inside};
use super::mountinfo::{self, Carrier, Mount, Table};
use super::nesting::Nesting;
use super::{Excess, Rule, Warning};
use crate::core::format::excerpt::Excerpt;
use crate::core::format::text::printable_bytes;
use crate::core::model::host::Filesystems;
use std::collections::{HashMap, HashSet};
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
    pub warnings: Excerpt<Warning>,
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
    /// What was mounted: `/dev/sda1`, `server:/export`.
    pub source: Vec<u8>,
    /// Why it is left out.
    pub reason: MountReason,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Filesystem { point, fstype } = &self.filesystem;
        write!(f, "{} ({}, {})", printable_bytes(point), printable_bytes(fstype), self.reason)
    }
}

/// Why a mounted filesystem is not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountReason {
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
}

impl MountReason {
    /// Whether what it leaves out is nowhere else in the copy, nor made up.
    pub fn is_a_loss(self) -> bool {
        use MountReason::{Automount, Fuse, Hidden, Network, OtherFilesystem};
        matches!(self, Automount | Fuse | Hidden | Network | OtherFilesystem)
    }

    /// Whether somebody may miss its files: all but what the kernel makes up.
    pub fn holds_data(self) -> bool {
        self != MountReason::Pseudo
    }
}

impl fmt::Display for MountReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            MountReason::Network => "network",
            MountReason::Pseudo => "pseudo",
            MountReason::Overlay => "overlay",
            MountReason::Fuse => "fuse",
            MountReason::Image => "image",
            MountReason::Loop => "loop",
            MountReason::Automount => "automount",
            MountReason::Bind => "bind",
            MountReason::Snapshot => "snapshot",
            MountReason::Hidden => "hidden",
            MountReason::OtherFilesystem => "other filesystem",
        })
    }
}

/// Decides by `/proc/self/mountinfo` what is copied below `source`, an
/// absolute path without symbolic links and without `..`. The work grows as the
/// list does, whatever is in it.
///
/// # Errors
/// The list is one that no host has, or that cannot be told to rsync.
pub fn select(mountinfo: &[u8], source: &str, filesystems: Filesystems) -> Result<Selection, Excess> {
    let (mounts, warnings) = mountinfo::parse(mountinfo)?;
    let source = mount_rules::normalised(source.as_bytes());
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
        if reason != Some(MountReason::Hidden) {
            visible.push((mount.point.as_slice(), state));
        }
        let filesystem = mount.filesystem();
        match reason {
            None => selection.included.push(filesystem),
            Some(reason) => {
                let source = mount.source.clone();
                selection.left_out.push(LeftOut { filesystem, source, reason });
            }
        }
    }
    selection.included.sort_by(|a, b| a.point.cmp(&b.point));
    selection.left_out.sort_by(|a, b| a.filesystem.point.cmp(&b.filesystem.point));
    selection.rules = mount_rules::rules(&source, &visible)?;
    Ok(selection)
}

/// Decides mount by mount.
struct Judge<'a> {
    source: &'a [u8],
    filesystems: Filesystems,
    /// The mount that holds the source.
    own: Option<&'a Mount>,
    /// The visible mounts below the source, in the list's order, and what each
    /// is mounted on.
    below: Vec<(&'a Mount, Option<&'a Mount>)>,
    /// The mounts below the source that no path leads to.
    hidden: Vec<&'a Mount>,
}

impl<'a> Judge<'a> {
    fn new(mounts: &'a [Mount], source: &'a [u8], filesystems: Filesystems) -> Self {
        let table = Table::new(mounts);
        let (mut below, mut hidden) = (Vec::new(), Vec::new());
        for mount in mounts.iter().filter(|mount| inside(&mount.point, source).is_some()) {
            match table.carrier(mount) {
                Some(Carrier::Mount(carrier)) => below.push((mount, Some(carrier))),
                Some(Carrier::Nothing) => below.push((mount, None)),
                None => hidden.push(mount),
            }
        }
        Judge { source, filesystems, own: table.nearest(source), below, hidden }
    }

    /// Each mount below the source, and why it is left out; `None` is in.
    fn verdicts(&self) -> Vec<(&'a Mount, Option<MountReason>)> {
        let mut verdicts = Vec::new();
        // Directories of a disk, shown by bind mounts, are in if nothing that
        // is in shows them: so they wait until the rest is known.
        let mut directories = Vec::new();
        let mut wholes: Vec<&Mount> = Vec::new();
        let mut trees: HashSet<(&[u8], &[u8])> = self.own.into_iter().map(Mount::tree).collect();
        for (mount, carrier) in &self.below {
            // The source's own filesystem is in whatever it is, wherever it shows.
            let verdict = match not_a_disk(mount).filter(|_| !self.is_of_own(mount)) {
                Some(MountReason::Automount) if carrier.is_some_and(Mount::is_of_the_kernel) => {
                    Some(MountReason::Pseudo)
                }
                Some(reason) => Some(reason),
                None if !mount.is_whole() => {
                    directories.push(*mount);
                    continue;
                }
                None if trees.contains(&mount.tree()) => Some(MountReason::Bind),
                None if self.filesystems == Filesystems::Root => Some(MountReason::OtherFilesystem),
                None => None,
            };
            if verdict.is_none() {
                trees.insert(mount.tree());
                wholes.push(mount);
            }
            verdicts.push((*mount, verdict));
        }
        let places = self.places();
        let mut shown = Shown::new(&places, self);
        wholes.into_iter().for_each(|mount| shown.add(mount));
        directories.sort_by_key(|mount| mount.root.len());
        for mount in directories {
            let verdict = if shown.reaches(mount) {
                Some(MountReason::Bind)
            } else if self.filesystems == Filesystems::Root && !self.is_of_own(mount) {
                Some(MountReason::OtherFilesystem)
            } else {
                shown.add(mount);
                None
            };
            verdicts.push((mount, verdict));
        }
        let lost = |mount: &&&Mount| not_a_disk(mount).is_none() && !shown.holds(mount);
        verdicts.extend(self.hidden.iter().filter(lost).map(|mount| (*mount, Some(MountReason::Hidden))));
        verdicts
    }

    /// Whether a mount shows the filesystem that holds the source.
    fn is_of_own(&self, mount: &Mount) -> bool {
        self.own.is_some_and(|own| own.device == mount.device)
    }

    /// All directories of filesystems that [`Shown`] speaks of.
    fn places(&self) -> Vec<Vec<u8>> {
        let mounts = self.own.into_iter().chain(self.below.iter().map(|(mount, _)| *mount));
        let roots = mounts.chain(self.hidden.iter().copied()).map(|mount| mount.place(b""));
        let covered = self.below.iter().filter_map(|(mount, carrier)| mount.place_on((*carrier)?));
        roots.chain(covered).chain(self.own.map(|own| self.source_on(own))).collect()
    }

    /// The source as a directory of the filesystem that holds it.
    fn source_on(&self, own: &Mount) -> Vec<u8> {
        own.place(inside(self.source, &own.point).unwrap_or_default())
    }
}

/// Which directories of filesystems are in the copy, through the mounts that
/// are in it.
///
/// Such a mount shows all that lies in its root, but what another mount covers.
/// So it counts one for its root, and one less for each place in it that is
/// covered: what a path down to a directory adds up to is the number of mounts
/// that show it.
struct Shown<'a> {
    places: Nesting<'a>,
    /// What each place adds.
    adds: Vec<i64>,
    /// Whether a mount that is in the copy has its root there.
    roots: Vec<bool>,
    /// The places that are covered on each mount.
    covered: HashMap<*const Mount, Vec<usize>>,
}

impl<'a> Shown<'a> {
    /// What the source's own filesystem shows.
    fn new(places: &'a [Vec<u8>], judge: &Judge<'_>) -> Self {
        let places = Nesting::new(places.iter().map(Vec::as_slice));
        let mut covered: HashMap<*const Mount, Vec<usize>> = HashMap::new();
        for (mount, carrier) in &judge.below {
            let Some(carrier) = *carrier else { continue };
            let place = mount.place_on(carrier).and_then(|place| places.find(&place));
            covered.entry(std::ptr::from_ref(carrier)).or_default().extend(place);
        }
        let (adds, roots) = (vec![0; places.len()], vec![false; places.len()]);
        let mut shown = Shown { places, adds, roots, covered };
        if let Some(own) = judge.own {
            shown.add_from(own, &judge.source_on(own));
        }
        shown
    }

    /// Adds a mount that is in the copy.
    fn add(&mut self, mount: &Mount) {
        self.add_from(mount, &mount.place(b""));
    }

    /// Adds a mount of which the copy has what lies in a place.
    fn add_from(&mut self, mount: &Mount, place: &[u8]) {
        if let Some(place) = self.places.find(place) {
            self.adds[place] += 1;
        }
        if let Some(root) = self.places.find(&mount.place(b"")) {
            self.roots[root] = true;
        }
        for place in self.covered.get(&std::ptr::from_ref(mount)).into_iter().flatten() {
            self.adds[*place] -= 1;
        }
    }

    /// Whether what a mount shows is also seen through one that is in the copy.
    fn reaches(&self, mount: &Mount) -> bool {
        let place = self.places.find(&mount.place(b""));
        place.is_some_and(|place| self.places.outwards(place).map(|place| self.adds[place]).sum::<i64>() > 0)
    }

    /// Whether what a mount shows lies in the root of one that is in the copy.
    fn holds(&self, mount: &Mount) -> bool {
        let place = self.places.find(&mount.place(b""));
        place.is_some_and(|place| self.places.outwards(place).any(|place| self.roots[place]))
    }
}

impl Mount {
    fn filesystem(&self) -> Filesystem {
        Filesystem { point: self.point.clone(), fstype: self.fstype.clone() }
    }

    /// Whether the kernel makes its files up, and its mount points.
    fn is_of_the_kernel(&self) -> bool {
        matches!(self.fstype.as_slice(), b"proc" | b"sysfs")
    }

    /// Which directory of which filesystem it shows.
    fn tree(&self) -> (&[u8], &[u8]) {
        (&self.device, &self.root)
    }

    /// A directory below its root as a path below its device: `/8:1/srv/www`.
    fn place(&self, below: &[u8]) -> Vec<u8> {
        let root = if self.root == b"/" { b"" } else { self.root.as_slice() };
        [b"/", self.device.as_slice(), root, below].concat()
    }

    /// The directory that it covers of what carries it.
    fn place_on(&self, carrier: &Mount) -> Option<Vec<u8>> {
        inside(&self.point, &carrier.point).map(|below| carrier.place(below))
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
fn not_a_disk(mount: &Mount) -> Option<MountReason> {
    kinds::not_a_disk(&mount.fstype, &mount.source)
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
                "0:63 / /srv/flash ubifs ubi0:data",
                "0:64 / /srv/many bcachefs LABEL=many",
                "0:65 / /srv/unknown newfs server:/x",
            ],
            included: &[
                "/boot/efi (vfat)",
                "/media/ntfs (fuseblk)",
                "/mnt/odd (newfs)",
                "/srv/flash (ubifs)",
                "/srv/many (bcachefs)",
                "/srv/md (ext4)",
                "/var (xfs)",
            ],
            left_out: &[
                "/dev (devtmpfs, pseudo)",
                "/etc/pve (fuse, fuse)",
                "/mnt/cd (iso9660, image)",
                "/mnt/image (ext4, loop)",
                "/proc (proc, pseudo)",
                "/run (tmpfs, pseudo)",
                "/snap/core/1 (squashfs, image)",
                "/srv/9p (9p, network)",
                "/srv/cifs (cifs, network)",
                "/srv/nfs (nfs4, network)",
                "/srv/sshfs (fuse.sshfs, network)",
                "/srv/unknown (newfs, network)",
                "/sys (sysfs, pseudo)",
                "/var/lib/docker/overlay2/x/merged (overlay, overlay)",
            ],
        },
        Case {
            why: "what every systemd mounts in /proc when it is looked at is nobody's data",
            source: "/",
            mounts: &[
                "8:1 / / ext4 /dev/sda1",
                "0:21 / /proc proc proc",
                "0:40 / /proc/sys/fs/binfmt_misc autofs systemd-1",
                "0:41 / /net autofs systemd-1",
            ],
            included: &[],
            left_out: &[
                "/net (autofs, automount)",
                "/proc (proc, pseudo)",
                "/proc/sys/fs/binfmt_misc (autofs, pseudo)",
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
            let selection = select(&list(case.mounts), case.source, Filesystems::Local).unwrap();
            assert!(selection.warnings.is_empty(), "{}", case.why);
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
        )
        .unwrap();
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
            let selection =
                select(&list(&["8:1 / / ext4 /dev/sda1", mount]), "/", Filesystems::Local).unwrap();
            assert_eq!(shown(&selection.rules), [rule], "{why}");
        }
        let mounted = list(&["8:1 / / ext4 /dev/sda1", "0:9 / /m autofs systemd-1", "0:10 / /m nfs4 x:/"]);
        let selection = select(&mounted, "/", Filesystems::Local).unwrap();
        assert_eq!(shown(&selection.rules), ["- /m/"], "an automount stays one while it is in use");
        let disk = list(&["8:1 / / ext4 /dev/sda1", "0:9 / /m autofs systemd-1", "8:2 / /m ext4 /dev/sda2"]);
        let selection = select(&disk, "/", Filesystems::Local).unwrap();
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
            assert_eq!(select(text, "/", Filesystems::Local).unwrap().own, None, "{why}");
        }
        let selection =
            select(b"rubbish\n5 1 8:2 / /data rw - nfs x:/ rw\n", "/", Filesystems::Local).unwrap();
        assert_eq!(shown(&selection.rules), ["- /data/*"], "what can be read counts all the same");
        assert_eq!(
            shown(selection.warnings.first()),
            ["/proc/self/mountinfo line 1: `rubbish` was passed over: it describes no mount"]
        );
    }

    #[test]
    fn names_from_a_host_cannot_steer_a_terminal() {
        let mountinfo = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / /a\x1b[2J\\012b rw - nfs4 x:/ rw\n";
        let selection = select(mountinfo, "/", Filesystems::Local).unwrap();
        assert_eq!(shown(&selection.left_out), ["/a\\u{1b}[2J\\nb (nfs4, network)"]);
        assert_eq!(selection.left_out[0].filesystem.point, b"/a\x1b[2J\nb");
    }

    #[test]
    fn only_what_the_kernel_makes_up_is_nobodys_loss() {
        assert!(!MountReason::Pseudo.holds_data());
        assert!(MountReason::Network.holds_data() && MountReason::Hidden.holds_data());
    }

    /// What a list of mounts amounts to if every mount is compared with every
    /// other, and each directory above each path is looked at.
    fn slowly<'a>(mounts: &'a [Mount], source: &[u8]) -> Vec<(&'a [u8], Option<MountReason>)> {
        let table = Table::new(mounts);
        let own = table.nearest(source);
        let is_own = |mount: &Mount| own.is_some_and(|own| own.device == mount.device);
        let top =
            |path: &[u8], mount: &Mount| table.nearest(path).is_some_and(|top| std::ptr::eq(top, mount));
        let rest = |shown: &Mount, mount: &Mount| {
            let below =
                mount.root.strip_prefix(if shown.root == b"/" { &b""[..] } else { &shown.root[..] })?;
            let holds = shown.device == mount.device && (below.is_empty() || below.starts_with(b"/"));
            holds.then(|| mount_rules::normalised(&[&shown.point[..], b"/", below].concat()))
        };
        let reaches = |shown: &Mount, mount: &Mount| {
            let path = rest(shown, mount);
            path.is_some_and(|path| (path == source || inside(&path, source).is_some()) && top(&path, shown))
        };
        let mut shown: Vec<&Mount> = own.into_iter().collect();
        let mut verdicts = Vec::new();
        let below = mounts.iter().filter(|mount| inside(&mount.point, source).is_some());
        let (below, hidden): (Vec<&Mount>, Vec<&Mount>) = below.partition(|mount| top(&mount.point, mount));
        let (wholes, mut parts): (Vec<&Mount>, Vec<&Mount>) = below.into_iter().partition(|m| m.is_whole());
        for mount in wholes {
            let verdict = match not_a_disk(mount).filter(|_| !is_own(mount)) {
                None if shown.iter().any(|shown| shown.tree() == mount.tree()) => Some(MountReason::Bind),
                verdict => verdict,
            };
            shown.extend(Some(mount).filter(|_| verdict.is_none()));
            verdicts.push((&mount.point[..], verdict));
        }
        parts.sort_by_key(|mount| mount.root.len());
        for mount in parts {
            let verdict = match not_a_disk(mount).filter(|_| !is_own(mount)) {
                None if shown.iter().any(|shown| reaches(shown, mount)) => Some(MountReason::Bind),
                verdict => verdict,
            };
            shown.extend(Some(mount).filter(|_| verdict.is_none()));
            verdicts.push((&mount.point[..], verdict));
        }
        let lost = |mount: &&Mount| {
            not_a_disk(mount).is_none() && !shown.iter().any(|shown| rest(shown, mount).is_some())
        };
        verdicts.extend(
            hidden.into_iter().filter(lost).map(|mount| (&mount.point[..], Some(MountReason::Hidden))),
        );
        verdicts.sort_by_key(|(point, verdict)| (*point, verdict.is_some()));
        verdicts
    }

    proptest::proptest! {
        #[test]
        fn what_is_found_in_one_pass_is_what_every_pair_of_mounts_would_tell(
            mounts in proptest::collection::vec(
                ((1..3_u8), "(/[ab]){0,3}", "(/[ab]){1,4}", proptest::bool::weighted(0.2)), 0..12),
            source in "(/[ab]){0,2}",
        ) {
            let mut lines = vec!["8:1 / / ext4 /dev/sda1".to_owned()];
            lines.extend(mounts.iter().map(|(device, root, point, network)| {
                let fstype = if *network { "nfs4 x:/" } else { "ext4 /dev/sda" };
                format!("8:{device} {} {point} {fstype}", if root.is_empty() { "/" } else { root })
            }));
            let list = list(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            let (mounts, _) = mountinfo::parse(&list).unwrap();
            let source = mount_rules::normalised(source.as_bytes());
            let judge = Judge::new(&mounts, &source, Filesystems::Local);
            let verdicts = judge.verdicts();
            let mut quickly: Vec<(&[u8], Option<MountReason>)> =
                verdicts.iter().map(|(mount, verdict)| (&mount.point[..], *verdict)).collect();
            quickly.sort_by_key(|(point, verdict)| (*point, verdict.is_some()));
            proptest::prop_assert_eq!(quickly, slowly(&mounts, &source));
        }
    }

    #[test]
    fn a_list_made_to_cost_time_and_memory_costs_little() {
        let path = |depth: usize, name: &str| "/d".repeat(depth) + name;
        // Disks deep below a left-out mount: two rules for each directory on the
        // way, which no two of them share.
        let mut deep = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / /t rw - tmpfs tmpfs rw\n".to_owned();
        for number in 0..500 {
            let line =
                format!("{} 2 8:2 / /t/{number}{} rw - ext4 /dev/sdb rw\n", number + 3, path(2000, ""));
            deep.push_str(&line.replace("8:2", &format!("9:{number}")));
        }
        // Directories of one disk, each shown within the one before it.
        let mut nested = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n".to_owned();
        for number in 1..4000 {
            let (root, point) =
                (path(number % 1000 + 1, "/r"), path(number % 1000 + 1, &format!("/{number}")));
            nested.push_str(&format!("{} 1 8:2 {root} {point} rw - ext4 /dev/sdb rw\n", number + 1));
        }
        for (list, is_refused, why) in [(deep, true, "deep"), (nested, false, "nested")] {
            let begin = std::time::Instant::now();
            let selection = select(list.as_bytes(), "/", Filesystems::Local);
            assert_eq!(selection == Err(Excess::Rules), is_refused, "{why}");
            assert_eq!(selection.is_err(), is_refused, "{why}");
            let took = begin.elapsed();
            assert!(took < std::time::Duration::from_secs(30), "{why}: {took:?} for {} bytes", list.len());
        }
    }

    #[test]
    fn this_machines_own_mounts_can_be_read() {
        let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap();
        let selection = select(&mountinfo, "/", Filesystems::Local).unwrap();
        assert!(selection.warnings.is_empty());
        assert!(selection.own.is_some());
        assert!(selection.rules.iter().any(|rule| rule.pattern() == b"/proc/*"), "{:?}", selection.rules);
    }
}
