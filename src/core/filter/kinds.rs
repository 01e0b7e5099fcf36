//! Types of filesystems that are no local disk, each with why. Whatever is not
//! here is one: to leave out a disk loses files, an exclude is easily written.

use super::MountReason;

/// Types of the kernel, as `/proc/self/mountinfo` names them.
const KINDS: &[(MountReason, &[&str])] = &[
    // What the kernel makes up as it is read.
    (
        MountReason::Pseudo,
        &[
            "proc",
            "sysfs",
            "cgroup",
            "cgroup2",
            "cpuset",
            "debugfs",
            "tracefs",
            "securityfs",
            "apparmorfs",
            "aafs",
            "selinuxfs",
            "smackfs",
            "configfs",
            "fusectl",
            "binfmt_misc",
            "bpf",
            "mqueue",
            "devpts",
            "pstore",
            "efivarfs",
            "nsfs",
            "pidfs",
            "rpc_pipefs",
            "sunrpc",
            "nfsd",
            "resctrl",
            "binder",
            "functionfs",
            "gadgetfs",
            "usbfs",
            "usbdevfs",
            "xenfs",
            "openpromfs",
            "spufs",
            "s390_hypfs",
            "oprofilefs",
            "ibmasmfs",
            "qibfs",
            "ipathfs",
            "ocfs2_dlmfs",
            "dlmfs",
            "bdev",
            "dax",
            "drm",
            "sockfs",
            "pipefs",
            "anon_inodefs",
            "secretmem",
            "nullfs",
        ],
    ),
    // In memory: gone with the next boot.
    (MountReason::Pseudo, &["tmpfs", "ramfs", "rootfs", "devtmpfs", "hugetlbfs", "devfs"]),
    // Another machine's, which is backed up there.
    (
        MountReason::Network,
        &[
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "smbfs",
            "ceph",
            "glusterfs",
            "afs",
            "kafs",
            "coda",
            "ncp",
            "ncpfs",
            "lustre",
            "gpfs",
            "beegfs",
            "fhgfs",
            "orangefs",
            "pvfs2",
            "panfs",
            "wekafs",
            "quobyte",
            "mfs",
        ],
    ),
    // The hypervisor's, or of the system that this one runs in.
    (
        MountReason::Network,
        &["9p", "virtiofs", "vboxsf", "prl_fs", "hgfs", "vmhgfs", "hostfs", "drvfs", "wslfs"],
    ),
    // Shows directories that are elsewhere too: of containers, or deciphered.
    (
        MountReason::Overlay,
        &["overlay", "overlayfs", "aufs", "unionfs", "shiftfs", "ecryptfs", "sdcardfs", "esdfs"],
    ),
    // An image that cannot be written to: its file, if anything, is copied.
    (MountReason::Image, &["squashfs", "iso9660", "erofs", "cramfs", "romfs"]),
    // Mounts something once it is looked into.
    (MountReason::Automount, &["autofs"]),
];

/// Programs in user space: what follows `fuse.`. One that is not here is a
/// [`MountReason::Fuse`]: most of them show another machine's files, or a cloud's.
const PROGRAMS: &[(Option<MountReason>, &[&str])] = &[
    // A disk of this machine, whose filesystem is a program. Mounted by a helper
    // of mount(8), most call themselves `fuseblk`.
    (
        None,
        &[
            "zfs",
            "bcachefs",
            "ntfs",
            "ntfs-3g",
            "exfat",
            "exfat-fuse",
            "ext2",
            "ext3",
            "ext4",
            "fuse-ext2",
            "fuse2fs",
            "apfs",
            "apfs-fuse",
            "hfs",
            "hfsfuse",
            "fusefat",
            "ufs",
            "ufs2",
            "jfs",
            "xfs",
            "btrfs",
            "lklfuse",
            "vmfs",
            "vmfs6",
        ],
    ),
    // Another machine's, or a cloud's.
    (
        Some(MountReason::Network),
        &[
            "sshfs",
            "glusterfs",
            "ceph",
            "ceph-fuse",
            "rclone",
            "s3fs",
            "goofys",
            "gcsfuse",
            "blobfuse",
            "blobfuse2",
            "mount-s3",
            "mountpoint-s3",
            "curlftpfs",
            "davfs",
            "davfs2",
            "mfs",
            "moosefs",
            "lizardfs",
            "seaweedfs",
            "juicefs",
            "JuiceFS",
            "vmhgfs-fuse",
            "smbnetfs",
            "gvfsd-fuse",
            "gvfs-fuse-daemon",
            "google-drive-ocamlfuse",
            "onedriver",
            "jmtpfs",
            "simple-mtpfs",
            "cvmfs2",
            "hdfs",
        ],
    ),
    // Shows directories that are elsewhere too.
    (
        Some(MountReason::Overlay),
        &[
            "fuse-overlayfs",
            "mergerfs",
            "mhddfs",
            "unionfs",
            "unionfs-fuse",
            "bindfs",
            "encfs",
            "gocryptfs",
            "cryfs",
            "securefs",
        ],
    ),
    // An image, or an archive, whose file is copied.
    (
        Some(MountReason::Image),
        &["squashfuse", "snapfuse", "squashfuse_ll", "archivemount", "fuse-archive", "ratarmount", "fuseiso"],
    ),
    // Made up by a program as it is read.
    (Some(MountReason::Pseudo), &["lxcfs", "portal", "rofiles-fuse"]),
];

/// Why a filesystem of this type, mounted from this source, is no local disk;
/// `None` if it is one.
pub(super) fn not_a_disk(fstype: &[u8], source: &[u8]) -> Option<MountReason> {
    let is = |name: &&str| name.as_bytes() == fstype;
    if let Some((reason, _)) = KINDS.iter().find(|(_, names)| names.iter().any(is)) {
        return Some(*reason);
    }
    if fstype == b"zfs" {
        return source.contains(&b'@').then_some(MountReason::Snapshot);
    }
    if let Some(program) = fstype.strip_prefix(b"fuse.") {
        let row = PROGRAMS.iter().find(|(_, names)| names.iter().any(|name| name.as_bytes() == program));
        return row.map_or(Some(MountReason::Fuse), |(reason, _)| *reason);
    }
    if fstype == b"fuse" {
        return Some(if is_elsewhere(source) { MountReason::Network } else { MountReason::Fuse });
    }
    if source.starts_with(b"/dev/loop") {
        // The image lies in a file, which is copied where it is.
        return Some(MountReason::Loop);
    }
    is_elsewhere(source).then_some(MountReason::Network)
}

/// Whether a source is another machine's: `server:/path`, `//server/share`,
/// `https://server/path`.
fn is_elsewhere(source: &[u8]) -> bool {
    let here = source.starts_with(b"/") && !source.starts_with(b"//");
    !here && (source.starts_with(b"//") || source.windows(2).any(|pair| pair == b":/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_filesystem_is_what_its_type_says() {
        for (fstype, source, expected, why) in [
            ("ext4", "/dev/sda1", None, "a disk"),
            ("ext4", "/dev/loop3", Some(MountReason::Loop), "a disk's image in a file"),
            ("ubifs", "ubi0:data", None, "raw flash, which is no block device"),
            ("ubifs", "/dev/ubi0_1", None, "the same, named otherwise"),
            ("jffs2", "mtd:data", None, "older raw flash"),
            ("bcachefs", "/dev/sda:/dev/sdb", None, "several disks"),
            ("bcachefs", "UUID=7b3c", None, "several disks, by name"),
            ("ext4", "LABEL=data", None, "as a container was told"),
            ("xfs", "data", None, "a name of no meaning"),
            ("zfs", "tank/home", None, "a dataset"),
            ("zfs", "tank/home@monday", Some(MountReason::Snapshot), "a former state of one"),
            ("fuse.zfs", "tank/home", None, "a dataset, by a program"),
            ("fuseblk", "/dev/sdb1", None, "a disk, by a program"),
            ("udf", "/dev/sdb1", None, "a disk that other systems read too"),
            ("iso9660", "/dev/sr0", Some(MountReason::Image), "what cannot be written to"),
            ("fuse.sshfs", "me@host:/x", Some(MountReason::Network), "another machine's"),
            ("fuse.gvfsd-fuse", "gvfsd-fuse", Some(MountReason::Network), "a desktop's connections"),
            ("fuse.mergerfs", "a:b", Some(MountReason::Overlay), "its branches are copied"),
            ("fuse.lxcfs", "lxcfs", Some(MountReason::Pseudo), "a container's /proc"),
            ("fuse.whatever", "whatever", Some(MountReason::Fuse), "nobody knows what it shows"),
            ("fuse", "https://cloud.example.org/dav", Some(MountReason::Network), "WebDAV"),
            ("fuse", "/dev/fuse", Some(MountReason::Fuse), "a program that has no name"),
            ("newfs", "something", None, "a type that nobody has written down"),
            ("newfs", "server:/export", Some(MountReason::Network), "one whose source is a server"),
            ("newfs", "//server/share", Some(MountReason::Network), "one whose source is a share"),
            ("newfs", "/mnt/a:/b", None, "a path with a colon"),
            ("ecryptfs", "/home/.secret", Some(MountReason::Overlay), "what it deciphers is copied"),
            ("tmpfs", "/dev/sda1", Some(MountReason::Pseudo), "the source is whatever mount was told"),
        ] {
            assert_eq!(
                not_a_disk(fstype.as_bytes(), source.as_bytes()),
                expected,
                "{fstype} {source}: {why}"
            );
        }
    }

    #[test]
    fn no_type_is_written_down_twice() {
        let kinds = KINDS.iter().flat_map(|(_, names)| names.iter());
        let programs = PROGRAMS.iter().flat_map(|(_, names)| names.iter());
        for names in [kinds.collect::<Vec<_>>(), programs.collect()] {
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        }
    }

    /// What this machine's kernel has of filesystems that are on no disk: each
    /// but those on disks of another kind must be written down.
    #[test]
    fn what_this_kernel_makes_up_is_written_down() {
        let known = ["zfs", "ubifs", "jffs2", "btrfs", "bcachefs", "fuse"];
        let list = std::fs::read_to_string("/proc/filesystems").unwrap();
        for fstype in list.lines().filter_map(|line| line.strip_prefix("nodev\t")) {
            let is_known = known.contains(&fstype) || not_a_disk(fstype.as_bytes(), b"none").is_some();
            assert!(is_known, "`{fstype}`");
        }
    }
}
