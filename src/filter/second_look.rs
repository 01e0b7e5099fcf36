//! What has become of a host's mounts while it was copied.

use super::{Filesystem, LeftOut, Reason, Selection};
use crate::excerpt::Excerpt;
use std::collections::BTreeSet;

/// How the mounts differ from those that the rules were made for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Filesystems that were to be copied, and are not there any more.
    pub gone: Excerpt<Filesystem>,
    /// Filesystems that no rule left out, and that would be left out now.
    pub come: Excerpt<LeftOut>,
}

/// Compares the mounts after a copy with those before it.
pub fn changed(before: &Selection, after: &Selection) -> Changed {
    fn points<'a>(mounts: impl Iterator<Item = &'a Filesystem>) -> BTreeSet<&'a [u8]> {
        mounts.map(|mount| mount.point.as_slice()).collect()
    }
    let seen = |mount: &&LeftOut| mount.reason != Reason::Hidden;
    let still = points(after.own.iter().chain(&after.included));
    let known = points(before.left_out.iter().filter(seen).map(|mount| &mount.filesystem));
    // What an automount has let go when nobody used it was there when it was.
    let automounts = after.left_out.iter().filter(|mount| mount.reason == Reason::Automount);
    let waiting = points(automounts.map(|mount| &mount.filesystem));
    let is_there = |point: &[u8]| still.contains(point) || waiting.contains(point);
    let gone = before.included.iter().filter(|mount| !is_there(&mount.point));
    // Containers come and go; what is of them lies in the copy anyway.
    let is_large =
        |mount: &&LeftOut| matches!(mount.reason, Reason::Network | Reason::Fuse | Reason::OtherFilesystem);
    let come = after.left_out.iter().filter(is_large);
    let come = come.filter(|mount| !known.contains(mount.filesystem.point.as_slice()));
    Changed { gone: gone.cloned().collect(), come: come.cloned().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::select;
    use crate::host::Filesystems;

    fn selection(more: &[&str]) -> Selection {
        let mut list = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n".to_owned();
        for (mount, number) in more.iter().zip(2..) {
            let (point, rest) = mount.split_once(' ').unwrap();
            list.push_str(&format!("{number} 1 8:{number} / {point} rw - {rest} rw\n"));
        }
        select(list.as_bytes(), "/", Filesystems::Local).unwrap()
    }

    #[test]
    fn what_came_and_what_went_is_told() {
        let (disk, nfs, overlay) = ("/home ext4 /dev/sdb1", "/srv nfs4 server:/x", "/c overlay overlay");
        for (before, after, gone, come, why) in [
            (&[disk, nfs][..], &[disk, nfs][..], "", "", "nothing has changed"),
            (&[disk], &[], "/home (ext4)", "", "a disk has gone"),
            (&[disk], &[disk, nfs], "", "/srv (nfs4, network)", "another machine's came"),
            (&[disk], &["/home nfs4 server:/h"], "/home (ext4)", "/home (nfs4, network)", "in its place"),
            (&[nfs], &[], "", "", "what was left out may go"),
            (&[disk], &["/home autofs systemd-1"], "", "", "an automount has let it go"),
            (&[], &[disk], "", "", "a disk that came would be copied"),
            (&[], &[overlay], "", "", "a container came"),
        ] {
            let changed = changed(&selection(before), &selection(after));
            assert_eq!(
                (changed.gone.to_string(), changed.come.to_string()),
                (gone.into(), come.into()),
                "{why}"
            );
        }
    }
}
