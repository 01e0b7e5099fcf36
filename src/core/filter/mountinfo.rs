//! `/proc/self/mountinfo` as the kernel writes it: proc_pid_mountinfo(5).

use super::mount_rules::normalised;
use super::nesting::Nesting;
use super::{Excess, LONGEST_PATTERN, Warning};
use crate::core::format::excerpt::Excerpt;
use crate::core::format::text::{short, unescaped};
use crate::core::model::problem::Problem;
use std::collections::{HashMap, HashSet};

/// No more mounts than this are looked through at one point.
const DEEPEST_STACK: usize = 100;
/// A host with more mounts than this is none.
pub(super) const MOST_MOUNTS: usize = 20_000;

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
///
/// # Errors
/// There are more mounts than any host has, or one is where no pattern reaches.
pub(super) fn parse(bytes: &[u8]) -> Result<(Vec<Mount>, Excerpt<Warning>), Excess> {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut warnings = Excerpt::default();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        match parse_line(line) {
            Some(mount) if mount.point.len().max(mount.root.len()) > LONGEST_PATTERN => {
                return Err(Excess::Path(short(&mount.point)));
            }
            Some(_) if mounts.len() == MOST_MOUNTS => return Err(Excess::Mounts),
            Some(mount) => mounts.push(mount),
            None if line.is_empty() => {}
            None => warnings.push(|| {
                Warning::of_line(
                    "/proc/self/mountinfo",
                    number,
                    line,
                    Problem::warning("it describes no mount", ""),
                )
            }),
        }
    }
    Ok((mounts, warnings))
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=…`:
/// between the sixth field and ` - ` there may be any number of others.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let is_device = |device: &&[u8]| device.contains(&b':') && !device.contains(&b'/');
    let device = fields.next().filter(is_device)?.to_owned();
    let root = unescaped(fields.next()?);
    let point = Some(unescaped(fields.next()?)).filter(|point| *point == normalised(point))?;
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
    /// Where something is mounted.
    points: Nesting<'a>,
    /// What is seen at each of the points, if anything is.
    visible: Vec<Option<&'a Mount>>,
    /// The nearest point above each at which something is seen.
    above: Vec<Option<usize>>,
}

impl<'a> Table<'a> {
    /// Finds what is visible. A mount is where its parent is: so it is visible
    /// if its parent is what the path above it leads to, and nothing is
    /// mounted on it at its own point. Where a parent is not listed (a chroot,
    /// a container), the mount is taken for visible.
    pub fn new(mounts: &'a [Mount]) -> Self {
        let points = Nesting::new(mounts.iter().map(|mount| mount.point.as_slice()));
        let places: Vec<Option<usize>> = mounts.iter().map(|mount| points.find(&mount.point)).collect();
        let by_id: HashMap<u64, usize> = mounts.iter().zip(0..).map(|(mount, at)| (mount.id, at)).collect();
        let parent_of = |mount: usize| {
            let parent = by_id.get(&mounts[mount].parent).copied();
            parent.filter(|parent| mounts[*parent].id != mounts[mount].id)
        };
        let covered_by = |mount: usize| parent_of(mount).filter(|parent| places[*parent] == places[mount]);
        let covered: HashSet<usize> = (0..mounts.len()).filter_map(covered_by).collect();

        let mut order: Vec<usize> = (0..mounts.len()).filter(|mount| !covered.contains(mount)).collect();
        order.sort_by_key(|mount| places[*mount]);
        let mut order = order.into_iter().peekable();
        let mut table = Table { visible: vec![None; points.len()], above: vec![None; points.len()], points };
        for place in 0..table.points.len() {
            table.above[place] = table.points.above(place).and_then(|above| table.seen(above));
            let above = table.above[place].and_then(|above| table.visible[above]).map(|mount| mount.id);
            while let Some(mount) = order.next_if(|mount| places[*mount] == Some(place)) {
                // Past what it covers. A list that leads in circles is wrong, but
                // must not lead us round for ever.
                let stack =
                    std::iter::successors(Some(mount), |mount| covered_by(*mount)).take(DEEPEST_STACK);
                let carrier = stack.last().and_then(parent_of).map(|parent| mounts[parent].id);
                if carrier.is_none() || above.is_none() || carrier == above {
                    table.visible[place] = Some(&mounts[mount]);
                }
            }
        }
        table
    }

    /// The place at which something is seen that holds what is at a place.
    fn seen(&self, place: usize) -> Option<usize> {
        if self.visible[place].is_some() { Some(place) } else { self.above[place] }
    }

    /// The mount that holds a path.
    pub fn nearest(&self, path: &[u8]) -> Option<&'a Mount> {
        self.points.nearest(path).and_then(|place| self.seen(place)).and_then(|place| self.visible[place])
    }

    /// What carries a mount that is seen; `None` for one that is not.
    pub fn carrier(&self, mount: &Mount) -> Option<Carrier<'a>> {
        let place = self.points.find(&mount.point)?;
        let is_seen = self.visible[place].is_some_and(|seen| std::ptr::eq(seen, mount));
        let carrier = self.above[place].and_then(|above| self.visible[above]);
        is_seen.then_some(carrier.map_or(Carrier::Nothing, Carrier::Mount))
    }
}

/// What carries a mount.
#[derive(Debug, Clone, Copy)]
pub(super) enum Carrier<'a> {
    /// No mount that is listed.
    Nothing,
    /// This mount.
    Mount(&'a Mount),
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
        )
        .unwrap();
        assert!(warnings.is_empty());
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
            (b"36 35 98:0 / /mnt//a/ rw - ext4 /dev/sda1 rw", "needless slashes, which no kernel writes"),
            (b"bash: warning: setlocale: cannot change locale", "a shell's chatter"),
            (b"\xff", "no text"),
        ] {
            let file = [b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n", line, b"\n"].concat();
            let (mounts, warnings) = parse(&file).unwrap();
            assert_eq!(mounts.len(), 1, "{why}");
            assert_eq!(warnings.count(), 1, "{why}");
            assert_eq!(warnings.first()[0].line, 2, "{why}");
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
            assert_eq!(parse(line.as_bytes()).unwrap().0[0].is_whole(), whole, "{why}");
        }
    }

    #[test]
    fn a_list_without_measure_is_refused() {
        let line = |point: &str| format!("2 1 9:1 / {point} rw - ext4 /dev/sdb rw\n");
        let many = |count| (0..count).map(|number| line(&format!("/m{number}"))).collect::<String>();
        assert_eq!(parse(many(MOST_MOUNTS).as_bytes()).unwrap().0.len(), MOST_MOUNTS);
        assert_eq!(parse(many(MOST_MOUNTS + 1).as_bytes()), Err(Excess::Mounts));
        let long = |length| line(&format!("/{}", "x".repeat(length - 1)));
        assert!(parse(long(LONGEST_PATTERN).as_bytes()).is_ok());
        assert!(matches!(parse(long(LONGEST_PATTERN + 1).as_bytes()), Err(Excess::Path(_))));
        let (_, warnings) = parse("rubbish\n".repeat(100_000).as_bytes()).unwrap();
        assert_eq!(
            (warnings.count(), warnings.first().len()),
            (100_000, crate::core::format::excerpt::SHOWN)
        );
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
            let (mounts, warnings) = parse(file.as_bytes()).unwrap();
            assert!(warnings.is_empty());
            let found = Table::new(&mounts).nearest(path.as_bytes()).map(|mount| mount.id);
            assert_eq!(found, Some(id), "{why}");
        }
    }
}
