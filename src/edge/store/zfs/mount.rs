//! Whether a dataset is mounted where ZFS says, asked of the kernel without
//! starting a program.

use super::super::closed::{close, open_to_others};
use super::super::{StoreError, shown};
use super::System;
use crate::core::format::text::{printable, printable_bytes, unescaped};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// One line of `/proc/self/mountinfo`; proc(5) describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    device: (u32, u32),
    /// What part of the filesystem is mounted: `/` unless it is a bind mount.
    root: Vec<u8>,
    point: PathBuf,
    read_only: bool,
    kind: Vec<u8>,
    source: Vec<u8>,
}

/// Why nothing may be written at a mount point.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nothing is mounted there. It may be mounted.
    NotMounted,
    /// Something else is wrong.
    Other(StoreError),
}

/// Verifies that what is reached at `mountpoint` is the whole of `dataset`,
/// writable, with nothing else mounted inside.
pub(super) fn verify(system: &System, dataset: &str, mountpoint: &Path) -> Result<(), Refusal> {
    let mounts = read(system).map_err(Refusal::Other)?;
    let at = resolved(mountpoint);
    is_mounted(&mounts, dataset, &at)?;
    is_alone(&mounts, &at).map_err(Refusal::Other)
}

/// Verifies the same of a dataset inside of which others are mounted.
pub(super) fn verify_parent(system: &System, dataset: &str, mountpoint: &Path) -> Result<(), Refusal> {
    is_mounted(&read(system).map_err(Refusal::Other)?, dataset, &resolved(mountpoint))
}

/// The kernel shows mount points with every symlink resolved.
fn resolved(mountpoint: &Path) -> PathBuf {
    mountpoint.canonicalize().unwrap_or_else(|_| mountpoint.to_owned())
}

fn is_mounted(mounts: &[Mount], dataset: &str, at: &Path) -> Result<(), Refusal> {
    let refuse = |what: String, hint: String| Err(Refusal::Other(StoreError::new(what).hint(hint)));
    let at_shown = shown(at);
    let Some(mount) = mounts.iter().rfind(|mount| mount.point == at) else {
        return Err(Refusal::NotMounted);
    };
    if mount.kind != b"zfs" || mount.source != dataset.as_bytes() || mount.root != b"/" {
        return refuse(
            format!(
                "`{at_shown}` is where `{dataset}` belongs, and `{}` is mounted there",
                printable_bytes(&mount.source)
            ),
            format!("umount {at_shown}"),
        );
    }
    let device = at.metadata().map(|meta| (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev())));
    if device.ok() != Some(mount.device) {
        return refuse(
            format!("`{dataset}` is mounted at `{at_shown}`, and another mount hides it"),
            format!("findmnt --target {at_shown}"),
        );
    }
    if mount.read_only {
        return refuse(
            format!("`{dataset}` is mounted read-only"),
            format!("zfs get readonly {dataset}; was the pool imported read-only?"),
        );
    }
    Ok(())
}

fn is_alone(mounts: &[Mount], at: &Path) -> Result<(), StoreError> {
    // ZFS itself mounts snapshots there when somebody looks at them.
    let snapshots = at.join(".zfs");
    let inside = |mount: &&Mount| {
        mount.point != at && mount.point.starts_with(at) && !mount.point.starts_with(&snapshots)
    };
    match mounts.iter().find(inside) {
        None => Ok(()),
        Some(inner) => Err(StoreError::new(format!(
            "`{}` is mounted at `{}`, inside the copy: rsync would write to it, and no snapshot would hold it",
            printable_bytes(&inner.source),
            shown(&inner.point)
        ))
        .hint(format!("umount {}", shown(&inner.point)))),
    }
}

fn read(system: &System) -> Result<Vec<Mount>, StoreError> {
    let file = &system.mountinfo;
    let text =
        fs::read(file).map_err(|error| StoreError::new(format!("cannot read `{}`: {error}", shown(file))))?;
    parse(&text).ok_or_else(|| StoreError::new(format!("cannot understand `{}`", shown(file))))
}

fn parse(text: &[u8]) -> Option<Vec<Mount>> {
    text.split(|&b| b == b'\n').filter(|line| !line.is_empty()).map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    // Between the sixth field and the hyphen there are any number of tags.
    let hyphen = 6 + fields.get(6..)?.iter().position(|field| *field == b"-")?;
    let (major, minor) = std::str::from_utf8(fields[2]).ok()?.split_once(':')?;
    let read_only = |options: &[u8]| options.split(|&b| b == b',').any(|option| option == b"ro");
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        root: unescaped(fields[3]),
        point: PathBuf::from(OsString::from_vec(unescaped(fields[4]))),
        read_only: read_only(fields[5]) || fields.get(hyphen + 3).is_some_and(|options| read_only(options)),
        kind: fields.get(hyphen + 1)?.to_vec(),
        source: unescaped(fields.get(hyphen + 2)?),
    })
}

/// Closes the way to a host's copies to other users: the directory of all
/// hosts, `top`, where the mount point is in it. The mount point itself gets
/// the mode of the host's root directory. Where `top` holds more than the
/// places of hosts, others may need the way, and it is refused.
pub(super) fn close_above(top: &Path, mountpoint: &Path, hosts: &BTreeSet<String>) -> Result<(), StoreError> {
    if is_closed_above(mountpoint).is_ok() {
        return Ok(());
    }
    if mountpoint.parent() != Some(top) || top.parent().is_none() {
        return is_closed_above(mountpoint);
    }
    let at = shown(top);
    if !top.exists() {
        // Nothing is mounted there, and what `zfs` makes would be open.
        return DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(top)
            .map_err(|error| StoreError::new(format!("cannot create `{at}`: {error}")));
    }
    let names = fs::read_dir(top).map_err(|error| StoreError::new(format!("cannot read `{at}`: {error}")))?;
    let names = names.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    // An empty place is one that nobody needs.
    let is_empty =
        |name: &str| fs::read_dir(top.join(name)).is_ok_and(|mut entries| entries.next().is_none());
    let is_others = |name: &String| !name.starts_with('.') && !hosts.contains(name) && !is_empty(name);
    if let Some(other) = names.into_iter().find(is_others) {
        return Err(StoreError::new(format!(
            "`{at}` is open to other users of this server, who could read the copies in it, and it is not closed \
             because it holds more than copies (`{}`)",
            printable(&other)
        ))
        .hint(format!("`chmod 700 {at}` if nobody else needs it, or give the copies a dataset of their own")));
    }
    if let Some(mode) = close(&resolved(top))? {
        tracing::warn!(
            "`{at}` was open to other users of this server (mode {mode:o}) and is closed now: the copies in it hold \
             what only root may read"
        );
    }
    Ok(())
}

/// Refuses a mount point that every user can reach.
pub(super) fn is_closed_above(mountpoint: &Path) -> Result<(), StoreError> {
    let at = resolved(mountpoint);
    let mut above = at.ancestors().skip(1);
    if above.any(|directory| directory.is_dir() && open_to_others(directory).is_none()) {
        return Ok(());
    }
    Err(StoreError::new(format!(
        "every user of this server could read the copies at `{}`: no directory above it is closed",
        shown(mountpoint)
    ))
    .hint("mount it in a directory that only root may enter (`zfs set mountpoint=…`, `chmod 700 …`)"))
}

/// Bytes that an ordinary write can still fill at a mount point, quotas heeded.
pub(super) fn available(mountpoint: &Path) -> Result<u64, StoreError> {
    rustix::fs::statvfs(mountpoint).map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)).map_err(|error| {
        StoreError::new(format!("cannot ask for the free space at `{}`: {error}", shown(mountpoint)))
    })
}

/// A pool's state as the kernel has it now; `None` where it does not say.
pub(super) fn pool_state(system: &System, pool: &str) -> Option<String> {
    let state = fs::read_to_string(system.kstat.join(pool).join("state")).ok()?;
    Some(state.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        dir: tempfile::TempDir,
        system: System,
    }

    impl World {
        /// A folder that stands for the mount point of `data/vpn`, and the
        /// kernel's list, in which `@` is that folder and `#` its device.
        fn new(lines: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let at = dir.path().canonicalize().unwrap();
            let device = at.metadata().unwrap().dev();
            let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
            let text: String = lines
                .iter()
                .map(|line| line.replace('@', at.to_str().unwrap()).replace('#', &device) + "\n")
                .collect();
            let mountinfo = dir.path().join("mountinfo");
            fs::write(&mountinfo, text).unwrap();
            let system = System { mountinfo, ..System::default() };
            World { dir, system }
        }

        fn verify(&self) -> Result<(), String> {
            verify(&self.system, "data/vpn", self.dir.path()).map_err(|refusal| match refusal {
                Refusal::NotMounted => "not mounted".to_owned(),
                Refusal::Other(error) => error.what,
            })
        }
    }

    const ROOT: &str = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw";
    const VPN: &str = "40 22 # / @ rw,noatime shared:20 master:2 - zfs data/vpn rw,xattr,posixacl";

    #[test]
    fn a_dataset_that_is_there_may_be_written() {
        World::new(&[ROOT, VPN]).verify().unwrap();
        World::new(&[ROOT, VPN, "41 40 0:99 / @/.zfs/snapshot/x ro - zfs data/vpn@x ro"]).verify().unwrap();
        World::new(&[ROOT, "39 22 # / @ rw - zfs data/vpn rw", "40 22 # / /mnt rw - zfs data/vpn rw"])
            .verify()
            .unwrap();
    }

    #[test]
    fn a_directory_that_is_only_a_directory_is_refused() {
        for (lines, why) in [
            (&[ROOT][..], "not mounted"),
            (&[ROOT, "40 22 # / @x rw - zfs data/vpn rw"], "not mounted"),
            (&[ROOT, "40 22 # / @ rw - zfs data/mail rw"], "`data/mail` is mounted there"),
            (&[ROOT, "40 22 # / @ rw - ext4 data/vpn rw"], "`data/vpn` is mounted there"),
            (&[ROOT, "40 22 # /sub @ rw - zfs data/vpn rw"], "`data/vpn` is mounted there"),
            (&[ROOT, VPN, "41 40 # / @ rw - tmpfs tmpfs rw"], "`tmpfs` is mounted there"),
            (&[ROOT, "40 22 0:9999 / @ rw - zfs data/vpn rw"], "another mount hides it"),
            (&[ROOT, "40 22 # / @ ro,noatime - zfs data/vpn rw"], "mounted read-only"),
            (&[ROOT, "40 22 # / @ rw - zfs data/vpn ro,xattr"], "mounted read-only"),
            (&[ROOT, VPN, "41 40 8:17 / @/srv/my\\040disk rw - ext4 /dev/sdb1 rw"], "inside the copy"),
            (&[ROOT, "what is this"], "cannot understand"),
        ] {
            let refusal = World::new(lines).verify().unwrap_err();
            assert!(refusal.contains(why), "{lines:?}: {refusal}");
        }
    }

    #[test]
    fn the_way_to_copies_is_closed_and_nobody_elses_is() {
        use std::os::unix::fs::PermissionsExt;
        // A place without a closed directory above it.
        let dir = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (top, hosts) = (dir.path().join("data"), BTreeSet::from(["vpn".to_owned()]));
        fs::create_dir_all(top.join("vpn")).unwrap();
        let open = || fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
        let mode = || top.metadata().unwrap().permissions().mode() & 0o777;
        open();
        close_above(&top, &top.join("vpn"), &hosts).unwrap();
        assert_eq!(mode(), 0o700);
        open();
        fs::create_dir(top.join("home")).unwrap();
        close_above(&top, &top.join("vpn"), &hosts).unwrap();
        assert_eq!(mode(), 0o700, "an empty place is nobody's");
        open();
        fs::create_dir(top.join("home/somebody")).unwrap();
        let refusal = close_above(&top, &top.join("vpn"), &hosts).unwrap_err().to_string();
        assert!(refusal.contains("more than copies (`home`)") && refusal.contains("chmod 700"), "{refusal}");
        assert_eq!(mode(), 0o755);
        let refusal =
            close_above(&dir.path().join("other"), &top.join("vpn"), &hosts).unwrap_err().to_string();
        assert!(refusal.contains("no directory above it is closed"), "{refusal}");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        close_above(&top, &top.join("vpn"), &hosts).unwrap();
        assert_eq!(mode(), 0o755, "it is closed further up");
    }

    #[test]
    fn octal_escapes_are_read() {
        assert_eq!(unescaped(b"/my\\040disk\\134x\\"), b"/my disk\\x\\");
        assert_eq!(unescaped(b"\\9zz"), b"\\9zz");
    }
}
