//! `/proc/self/mountinfo` as the kernel writes it: proc_pid_mountinfo(5).

use super::Warning;
use super::carve::parent;
use crate::text::unescaped;
use std::collections::{HashMap, HashSet};

/// No more mounts than this are looked through at one point.
const DEEPEST_STACK: usize = 100;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The kernel's number for it.
    pub id: u64,
    /// The mount that it is mounted on, listed or not.
    pub parent: u64,
    /// Major and minor number of the device, as text: `8:1`.
    pub device: Vec<u8>,
    /// Which directory of the filesystem is mounted: `/` for all of it.
    pub root: Vec<u8>,
    /// Where, absolute.
    pub point: Vec<u8>,
    /// The filesystem's type.
    pub fstype: Vec<u8>,
    /// What was mounted: `/dev/sda1`, `server:/export`, `tmpfs`.
    pub source: Vec<u8>,
    /// The filesystem's own options.
    pub options: Vec<u8>,
}

/// Reads all lines, in their order. What is no mount is warned of: it might be
/// one that must not be copied.
pub(super) fn parse(bytes: &[u8]) -> (Vec<Mount>, Vec<Warning>) {
    let mut mounts = Vec::new();
    let mut warnings = Vec::new();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        match parse_line(line) {
            Some(mount) => mounts.push(mount),
            None if line.is_empty() => {}
            None => {
                warnings.push(Warning::of_line("/proc/self/mountinfo", number, line, "it describes no mount"))
            }
        }
    }
    (mounts, warnings)
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=…`:
/// between the sixth field and ` - ` there may be any number of others.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = fields.next().filter(|device| device.contains(&b':'))?.to_owned();
    let root = unescaped(fields.next()?);
    let point = Some(unescaped(fields.next()?)).filter(|point| point.starts_with(b"/"))?;
    fields.next().filter(|options| !options.is_empty())?;
    fields.find(|field| *field == b"-")?;
    let fstype = Some(unescaped(fields.next()?)).filter(|fstype| !fstype.is_empty())?;
    let source = unescaped(fields.next()?);
    let options = unescaped(&fields.collect::<Vec<_>>().join(&b' '));
    Some(Mount { id, parent, device, root, point, fstype, source, options })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

impl Mount {
    /// Whether all of a filesystem is mounted, or of a btrfs the subvolume
    /// that was asked for, rather than a directory that a bind mount shows.
    pub fn is_whole(&self) -> bool {
        let subvolume = [b"subvol=", self.root.as_slice()].concat();
        // btrfs writes this option last, and commas in it as they are.
        let ends = self.options.strip_suffix(subvolume.as_slice());
        self.root == b"/"
            || self.fstype == b"btrfs"
                && ends.is_some_and(|before| before.is_empty() || before.ends_with(b","))
    }
}

/// The mounts that paths lead to. None leads to one that another is mounted
/// over, nor to what is mounted on that one.
pub(super) struct Table<'a> {
    visible: HashMap<&'a [u8], &'a Mount>,
}

impl<'a> Table<'a> {
    /// Finds what is visible. A mount is where its parent is: so it is visible
    /// if its parent is what the path above it leads to, and nothing is
    /// mounted on it at its own point. Where a parent is not listed (a chroot,
    /// a container), the mount is taken for visible.
    pub fn new(mounts: &'a [Mount]) -> Self {
        let by_id: HashMap<u64, &Mount> = mounts.iter().map(|mount| (mount.id, mount)).collect();
        let parent_of =
            |mount: &Mount| by_id.get(&mount.parent).copied().filter(|parent| parent.id != mount.id);
        let covered_by = |mount: &Mount| parent_of(mount).filter(|parent| parent.point == mount.point);
        let covered: HashSet<u64> = mounts.iter().filter_map(covered_by).map(|mount| mount.id).collect();

        let mut order: Vec<&Mount> = mounts.iter().filter(|mount| !covered.contains(&mount.id)).collect();
        order.sort_by_key(|mount| mount.point.len());
        let mut table = Table { visible: HashMap::new() };
        for mount in order {
            // Past what it covers. A list that leads in circles is wrong, but
            // must not lead us round for ever.
            let stack = std::iter::successors(Some(mount), |mount| covered_by(mount)).take(DEEPEST_STACK);
            let carrier = stack.last().and_then(parent_of).map(|mount| mount.id);
            let above = parent(&mount.point).and_then(|path| table.nearest(path)).map(|mount| mount.id);
            if carrier.is_none() || above.is_none() || carrier == above {
                table.visible.insert(&mount.point, mount);
            }
        }
        table
    }

    /// The mount that holds a path.
    pub fn nearest(&self, path: &[u8]) -> Option<&'a Mount> {
        std::iter::successors(Some(path), |path| parent(path))
            .find_map(|path| self.visible.get(path))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_the_manual_says() {
        let (mounts, warnings) = parse(
            b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
              37 36 0:44 / /a\\040b\\011\\012\\134\\043 rw shared:1 propagate_from:2 unbindable - fuse.sshfs me@host: rw\n\
              38 36 0:45 / /\xff\xfe\\08 rw - tmpfs  rw\n",
        );
        assert_eq!(warnings, []);
        let expected = Mount {
            id: 36,
            parent: 35,
            device: b"98:0".into(),
            root: b"/mnt1".into(),
            point: b"/mnt2".into(),
            fstype: b"ext3".into(),
            source: b"/dev/root".into(),
            options: b"rw,errors=continue".into(),
        };
        assert_eq!(mounts[0], expected);
        assert_eq!(mounts[1].point, b"/a b\t\n\\#", "the kernel's five escapes");
        assert_eq!(mounts[1].fstype, b"fuse.sshfs", "after three optional fields");
        assert_eq!(mounts[2].point, b"/\xff\xfe\\08", "bytes as they are, and no escape");
        assert_eq!(mounts[2].source, b"", "an empty source is one");
        assert_eq!(mounts[2].options, b"rw");
    }

    #[test]
    fn a_line_that_is_no_mount_is_told_not_dropped() {
        for (line, why) in [
            (&b"36 35 98:0 / /mnt rw"[..], "cut off"),
            (b"36 35 98:0 / /mnt rw -", "cut off after the separator"),
            (b"36 35 98:0 / /mnt rw - ext4", "no source"),
            (b"36 35 98:0 / /mnt rw shared:1 ext4 /dev/sda1 rw", "no separator"),
            (b"x 35 98:0 / /mnt rw - ext4 /dev/sda1 rw", "no id"),
            (b"36 35 980 / /mnt rw - ext4 /dev/sda1 rw", "no device"),
            (b"36 35 98:0 / mnt rw - ext4 /dev/sda1 rw", "a relative mount point"),
            (b"bash: warning: setlocale: cannot change locale", "a shell's chatter"),
            (b"\xff", "no text"),
        ] {
            let file = [b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n", line, b"\n"].concat();
            let (mounts, warnings) = parse(&file);
            assert_eq!(mounts.len(), 1, "{why}");
            assert_eq!(warnings.len(), 1, "{why}");
            assert_eq!(warnings[0].line, 2, "{why}");
        }
    }

    #[test]
    fn a_mount_is_whole_or_a_directory_of_something() {
        for (line, whole, why) in [
            ("1 0 8:1 / /m rw - ext4 /dev/sda1 rw", true, "all of it"),
            ("1 0 8:1 /d /m rw - ext4 /dev/sda1 rw", false, "a bind mount"),
            ("1 0 0:9 /@home /m rw - btrfs /dev/sda1 rw,subvolid=7,subvol=/@home", true, "a subvolume"),
            (
                "1 0 0:9 /@home/me /m rw - btrfs /dev/sda1 rw,subvolid=7,subvol=/@home",
                false,
                "a bind mount in one",
            ),
            ("1 0 0:9 /me /m rw - btrfs /dev/sda1 rw,subvol=/home/me", false, "a subvolume's directory"),
            ("1 0 0:9 /a,b /m rw - btrfs /dev/sda1 rw,subvol=/a,b", true, "a comma in the name"),
            (r"1 0 0:9 /a\040b /m rw - btrfs /dev/sda1 rw,subvol=/a\040b", true, "a blank in the name"),
            ("1 0 8:1 /d /m rw - ext4 /dev/sda1 rw,subvol=/d", false, "only btrfs has subvolumes"),
        ] {
            assert_eq!(parse(line.as_bytes()).0[0].is_whole(), whole, "{why}");
        }
    }

    #[test]
    fn paths_lead_to_what_is_on_top() {
        for (file, path, id, why) in [
            ("1 0 0:1 / /\n2 1 0:2 / /a\n", "/a/x", 2, "below a mount"),
            ("1 0 0:1 / /\n2 1 0:2 / /a\n", "/ab", 1, "a longer name is another directory"),
            ("1 0 0:1 / /\n2 1 0:2 / /a\n", "/", 1, "the root"),
            ("1 0 0:1 / /\n2 1 0:2 / /a\n3 2 0:3 / /a\n", "/a", 3, "stacked"),
            ("3 2 0:3 / /a\n2 1 0:2 / /a\n1 0 0:1 / /\n", "/a", 3, "stacked, in whatever order"),
            ("1 1 0:1 / /\n2 1 0:2 / /\n3 2 0:3 / /a\n", "/a", 3, "on the root that covers the first root"),
            (
                "1 0 0:1 / /\n2 1 0:2 / /a\n3 2 0:3 / /a/b\n4 2 0:4 / /a\n",
                "/a/b",
                4,
                "mounted on what was covered later",
            ),
            ("1 0 0:1 / /\n2 1 0:2 / /a/b\n3 1 0:3 / /a\n", "/a/b", 3, "hidden by what was mounted above it"),
            (
                "1 0 0:1 / /\n2 1 0:2 / /a/b\n3 1 0:3 / /a\n4 3 0:4 / /a/b\n",
                "/a/b",
                4,
                "hidden and mounted anew",
            ),
            ("7 99 0:1 / /\n8 98 0:2 / /a\n", "/a", 8, "parents that are not listed"),
            ("1 2 0:1 / /a\n2 1 0:2 / /a\n3 1 0:3 / /b\n", "/b", 3, "a list that leads in circles"),
        ] {
            let file: String = file.lines().map(|line| format!("{line} rw - ext4 /dev/x rw\n")).collect();
            let (mounts, warnings) = parse(file.as_bytes());
            assert_eq!(warnings, []);
            let found = Table::new(&mounts).nearest(path.as_bytes()).map(|mount| mount.id);
            assert_eq!(found, Some(id), "{why}");
        }
    }
}
