//! What there is to say of a directory store, and of the filesystem that it is
//! on. Whether hard links, ACLs and extended attributes work there is known by
//! its type and its mount options. To what it keeps times is tried, on a directory
//! that is made for it and removed; nothing else is written.

use super::super::closed::open_to_others;
use super::super::inspection::{Inspection, Room, closing, refused};
use super::super::{blocking, shown};
use super::{DirectoryStore, canonical, list, room, times};
use crate::core::format::text::printable_bytes;
use crate::core::model::finding::CheckFinding;
use crate::core::model::precision::{Precision, SECONDS};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The filesystem that a path is on, as `/proc/self/mountinfo` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Filesystem {
    point: Vec<u8>,
    kind: String,
    /// Those of the mount and those of the filesystem.
    options: Vec<String>,
}

impl DirectoryStore {
    /// What there is to say of the directory and its filesystem. Leaves nothing
    /// behind.
    pub(in super::super) async fn inspect(&self) -> Inspection {
        let (path, min_free_percent) = (self.path.clone(), self.min_free_percent);
        let subject = shown(&self.path);
        let looked = blocking(move || {
            let real = canonical(&path)?;
            Ok(look(&real, min_free_percent))
        });
        looked.await.unwrap_or_else(|error| Inspection {
            findings: vec![refused(&subject, error)],
            ..Inspection::default()
        })
    }
}

fn look(path: &Path, min_free_percent: u8) -> Inspection {
    let subject = shown(path);
    let mut findings = Vec::new();
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    match filesystem_of(&mounts, path) {
        Some(filesystem) => findings.extend(filesystem.judged(path)),
        None => findings.push(CheckFinding::skipped(&subject, "what filesystem it is on could not be told")),
    }
    if let Err(error) = room(path, min_free_percent) {
        findings.push(refused(&subject, error));
    }
    match times::tried_in(path) {
        Some(Ok(Precision::Seconds)) => {
            let remedy = "make the filesystem anew with larger inodes (`mke2fs -t ext4 -I 256`), or use XFS, btrfs or ZFS";
            findings.push(CheckFinding::warning(&subject, SECONDS, remedy));
        }
        Some(Err(error)) => findings.push(refused(&subject, error)),
        // What cannot be written to is told by its mount.
        Some(Ok(Precision::Nanoseconds)) | None => {}
    }
    if let Some(why) = others_may_write(path) {
        findings.push(CheckFinding::warning(
            &subject,
            format!("{why}: whoever may write there can plant folders in the place of copies"),
            format!("chown root {subject} && chmod go-w {subject}"),
        ));
    }
    let mut places = BTreeMap::new();
    match list::places(path) {
        Ok(found) => {
            for (host, folder) in found {
                places.insert(host.key().to_owned(), place(path, &folder));
            }
        }
        Err(error) => findings.push(refused(&subject, error)),
    }
    let stat = rustix::fs::statvfs(path).ok();
    let room = stat.map(|stat| Room {
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        min_free_percent,
        ratio: 1.0,
    });
    Inspection { findings, places, room }
}

/// Who else than root, or whoever runs this, may write to a file or folder, in
/// words that follow its name; `None` if nobody may, or it is not there.
pub fn others_may_write(path: &Path) -> Option<String> {
    let meta = path.metadata().ok()?;
    let ours = rustix::process::geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != ours {
        Some(format!("belongs to the user {}", meta.uid()))
    } else if meta.mode() & 0o022 != 0 {
        Some(format!("may be written to by others than its owner (mode {:o})", meta.mode() & 0o7777))
    } else {
        None
    }
}

/// What is wrong with a host's folder.
fn place(store: &Path, folder: &Path) -> Vec<CheckFinding> {
    let mut findings = wrong_place(store, folder);
    if folder.join("snapshots").is_dir() {
        findings.extend(open_to_others(folder).map(|why| closing(folder, why)));
    }
    findings
}

fn wrong_place(store: &Path, folder: &Path) -> Vec<CheckFinding> {
    let subject = shown(folder);
    let device = |path: &Path| path.metadata().map(|meta| meta.dev());
    let snapshots = folder.join("snapshots");
    match (device(folder), device(&snapshots), device(store)) {
        (Ok(_), Err(error), _) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        (Ok(own), Ok(inner), _) if own != inner => vec![CheckFinding::error(
            &subject,
            "is not on the same filesystem as its `snapshots`, and hard links cannot join them",
            "keep a host's whole folder on one filesystem",
        )],
        (Ok(_), Ok(_), Ok(_)) => Vec::new(),
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
            vec![CheckFinding::error(
                &subject,
                format!("cannot be looked at: {error}"),
                "see `dmesg` for its disk",
            )]
        }
    }
}

/// The filesystem that holds `path`, a path without symlinks.
fn filesystem_of(mountinfo: &[u8], path: &Path) -> Option<Filesystem> {
    let lines = mountinfo.split(|&b| b == b'\n');
    let mounts = lines.filter_map(parsed).filter(|mount| path.starts_with(as_path(&mount.point)));
    // Of two at one place the later one hides the other.
    mounts.max_by_key(|mount| mount.point.len())
}

fn as_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn parsed(line: &[u8]) -> Option<Filesystem> {
    let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let hyphen = 6 + fields.get(6..)?.iter().position(|field| *field == b"-")?;
    let text = |at: usize| fields.get(at).map(|field| printable_bytes(field));
    let options = [text(5)?, text(hyphen + 3).unwrap_or_default()];
    Some(Filesystem {
        point: crate::core::format::text::unescaped(fields.get(4)?),
        kind: text(hyphen + 1)?,
        options: options.iter().flat_map(|options| options.split(',')).map(str::to_owned).collect(),
    })
}

impl Filesystem {
    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }

    fn judged(&self, path: &Path) -> Vec<CheckFinding> {
        let (subject, point) = (shown(path), printable_bytes(&self.point));
        let mut findings = vec![self.kind_judged(&subject)];
        if self.has("ro") {
            let remedy = format!("mount -o remount,rw {point}; see `dmesg` for why it is");
            findings.push(CheckFinding::error(&subject, "is mounted read-only", remedy));
        }
        for (option, what) in [
            (
                "noacl",
                "ACLs of hosts cannot be kept, and a host that has any is never more than partly copied",
            ),
            (
                "nouser_xattr",
                "extended attributes of hosts cannot be kept, and a host that has any is a warning every night",
            ),
        ] {
            if self.has(option) {
                findings.push(CheckFinding::warning(
                    &subject,
                    format!("is mounted with `{option}`: {what}"),
                    format!("remove `{option}` from its line in /etc/fstab, and mount it anew"),
                ));
            }
        }
        if self.point == b"/" {
            findings.push(CheckFinding::note(
                &subject,
                "is on this server's root filesystem: a full store stops the server",
                "give the copies a disk or a filesystem of their own",
            ));
        } else if !self.has("nosuid") || !self.has("nodev") {
            findings.push(CheckFinding::note(
                &subject,
                "is mounted without `nosuid,nodev`: setuid programs and device nodes in copies work on this server",
                format!("add `nosuid,nodev` to the options of `{point}` in /etc/fstab"),
            ));
        }
        findings
    }

    /// Whether copies can be kept on a filesystem of this kind.
    fn kind_judged(&self, subject: &str) -> CheckFinding {
        let (kind, point) = (&self.kind, printable_bytes(&self.point));
        let disk = "use a local disk with ext4, XFS or btrfs, or `[store.zfs]`";
        match kind.as_str() {
            "vfat" | "msdos" | "exfat" | "ntfs" | "ntfs3" | "fuseblk" | "hfs" | "hfsplus" | "udf" => {
                CheckFinding::error(
                    subject,
                    format!("is on {kind}, which has no hard links, owners or ACLs as Linux hosts need them"),
                    disk,
                )
            }
            "tmpfs" | "ramfs" => CheckFinding::warning(
                subject,
                format!("is on {kind}: every copy is gone with the next boot"),
                disk,
            ),
            "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "virtiofs" | "ceph" | "glusterfs" => {
                CheckFinding::warning(
                    subject,
                    format!(
                        "is on {kind}, a network's filesystem: owners, ACLs or attributes may be lost, and it may hang"
                    ),
                    disk,
                )
            }
            kind if kind.starts_with("fuse") => CheckFinding::warning(
                subject,
                format!("is on {kind}, a program's filesystem: owners, ACLs or attributes may be lost"),
                disk,
            ),
            "overlay" | "aufs" => CheckFinding::note(
                subject,
                format!("is on {kind}: in a container, what is not on a volume of its own goes with it"),
                disk,
            ),
            "zfs" => CheckFinding::note(
                subject,
                "is on ZFS, whose own snapshots are cheaper than trees of hard links",
                "use `[store.zfs]`",
            ),
            _ => CheckFinding::ok(subject, format!("is on {kind}, mounted at `{point}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::finding::Level;

    const MOUNTS: &[u8] = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n\
        30 22 8:17 / /srv/back\\040up rw,nosuid,nodev shared:2 - xfs /dev/sdb1 rw,attr2\n\
        31 22 0:40 / /srv/nfs rw,nosuid,nodev - nfs4 server:/x rw\n\
        32 22 8:33 / /srv/old ro,nosuid,nodev - ext4 /dev/sdc1 ro,noacl\n\
        33 22 8:49 / /srv/stick rw,nosuid,nodev - vfat /dev/sdd1 rw\n";

    #[test]
    fn a_filesystem_that_would_hurt_is_told_by_its_mount() {
        for (path, kind, levels) in [
            ("/srv/backup", "ext4", &[Level::Ok, Level::Note][..]),
            ("/srv/back up/hosts", "xfs", &[Level::Ok]),
            ("/srv/nfs", "nfs4", &[Level::Warning]),
            ("/srv/old/x", "ext4", &[Level::Ok, Level::Error, Level::Warning]),
            ("/srv/stick", "vfat", &[Level::Error]),
        ] {
            let filesystem = filesystem_of(MOUNTS, Path::new(path)).unwrap();
            let found: Vec<Level> =
                filesystem.judged(Path::new(path)).iter().map(|finding| finding.level).collect();
            assert_eq!((filesystem.kind.as_str(), found.as_slice()), (kind, levels), "{path}");
        }
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_an_error_with_advice() {
        let store = DirectoryStore::new(Path::new("/no/such/store"), 5).unwrap();
        let inspection = store.inspect().await;
        assert_eq!(inspection.findings[0].level, Level::Error);
        assert!(inspection.findings[0].remedy.as_ref().unwrap().starts_with("mount it or create it"));
    }

    #[tokio::test]
    async fn nothing_is_left_in_the_store_by_looking_at_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        std::fs::create_dir_all(dir.path().join("vpn/snapshots")).unwrap();
        std::fs::create_dir_all(dir.path().join("web/snapshots")).unwrap();
        std::fs::set_permissions(dir.path().join("vpn"), PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::set_permissions(dir.path().join("web"), PermissionsExt::from_mode(0o755)).unwrap();
        let inspection = DirectoryStore::new(dir.path(), 0).unwrap().inspect().await;
        assert!(
            inspection.places.contains_key("vpn") && inspection.places["vpn"].is_empty(),
            "{inspection:?}"
        );
        let open = inspection.findings.iter().find(|finding| finding.text.contains("mode 777")).unwrap();
        assert_eq!(open.level, Level::Warning);
        assert_eq!(inspection.places["web"][0].level, Level::Warning);
        assert!(inspection.places["web"][0].text.contains("mode 755"), "{inspection:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
