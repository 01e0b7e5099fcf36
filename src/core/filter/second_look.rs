//! What has become of a host's mounts while it was copied.

use super::mount_rules::{inside, normalised};
use super::named::Named;
use super::{Filesystem, LeftOut, MountReason, Rule, Selection};
use crate::core::format::excerpt::Excerpt;
use std::collections::BTreeSet;

/// How the mounts differ from those that the rules were made for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Filesystems that were to be copied, and are not there any more.
    pub gone: Excerpt<Filesystem>,
    /// Filesystems that no rule left out, and that would be left out now.
    pub come: Excerpt<LeftOut>,
}

/// Compares the mounts after a copy of `source` with those before it. What comes
/// and goes where the rules of that copy leave everything out is of no account.
pub fn changed(before: &Selection, after: &Selection, source: &str, rules: &[Rule]) -> Changed {
    fn points<'a>(mounts: impl Iterator<Item = &'a Filesystem>) -> BTreeSet<&'a [u8]> {
        mounts.map(|mount| mount.point.as_slice()).collect()
    }
    let seen = |mount: &&LeftOut| mount.reason != MountReason::Hidden;
    let still = points(after.own.iter().chain(&after.included));
    let known = points(before.left_out.iter().filter(seen).map(|mount| &mount.filesystem));
    // What an automount has let go when nobody used it was there when it was.
    let automounts = after.left_out.iter().filter(|mount| mount.reason == MountReason::Automount);
    let waiting = points(automounts.map(|mount| &mount.filesystem));
    let is_there = |point: &[u8]| still.contains(point) || waiting.contains(point);
    let (source, rules) = (normalised(source.as_bytes()), Named::by(rules));
    let is_copied =
        |mount: &Filesystem| !inside(&mount.point, &source).is_some_and(|path| rules.leave_out(path));
    let gone = before.included.iter().filter(|mount| !is_there(&mount.point) && is_copied(mount));
    // Containers come and go; what is of them lies in the copy anyway.
    let is_large = |mount: &&LeftOut| {
        matches!(mount.reason, MountReason::Network | MountReason::Fuse | MountReason::OtherFilesystem)
    };
    let come = after.left_out.iter().filter(is_large);
    let come = come
        .filter(|mount| !known.contains(mount.filesystem.point.as_slice()) && is_copied(&mount.filesystem));
    Changed { gone: gone.cloned().collect(), come: come.cloned().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::filter::select;
    use crate::core::model::host::Filesystems;

    fn selection(more: &[&str]) -> Selection {
        let mut list = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n".to_owned();
        for (mount, number) in more.iter().zip(2..) {
            let (point, rest) = mount.split_once(' ').unwrap();
            let carries = |other: &&str| point.starts_with(&format!("{}/", other.split(' ').next().unwrap()));
            let carrier = more.iter().rposition(carries).map_or(1, |place| place + 2);
            list.push_str(&format!("{number} {carrier} 8:{number} / {point} rw - {rest} rw\n"));
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
            let before = selection(before);
            let changed = changed(&before, &selection(after), "/", &before.rules);
            assert_eq!(
                (changed.gone.to_string(), changed.come.to_string()),
                (gone.into(), come.into()),
                "{why}"
            );
        }
    }

    #[test]
    fn nothing_is_told_of_what_no_rule_lets_in() {
        let (usb, nfs) = ("/run/usb ext4 /dev/sdb1", "/srv/pods/1 nfs4 server:/x");
        let (home, alice) = ("/home autofs auto.home", "/home/alice nfs4 server:/home/alice");
        let run = "/run tmpfs tmpfs";
        for (exclude, before, after, expected, why) in [
            ("/none", &[][..], &[nfs][..], "/srv/pods/1 (nfs4, network)", "it may be copied"),
            ("/srv/pods/*", &[], &[nfs], "", "excluded, with all that comes there"),
            ("/srv/pods/", &[], &[nfs], "", "the directory itself"),
            ("/none", &["/srv/x zfs tank/x"], &[], "/srv/x (zfs)", "it was to be copied"),
            ("/srv/x", &["/srv/x zfs tank/x"], &[], "", "it was not to be copied"),
            ("/srv", &["/srv/x/y zfs tank/y"], &[], "", "nor was what lies above it"),
            ("/none", &[home], &[home, alice], "", "what an automount shows"),
            (
                "/none",
                &[run, usb],
                &[run, usb, "/run/nfs nfs4 server:/x"],
                "",
                "beside the way that is let in",
            ),
            (
                "/none",
                &[run, usb],
                &[run, usb, "/run/usb/n nfs4 server:/x"],
                "/run/usb/n (nfs4, network)",
                "let in",
            ),
            ("/none", &[run, usb], &[run], "/run/usb (ext4)", "let in, and gone"),
        ] {
            let before = selection(before);
            let rules = [&[Rule::exclude(exclude).unwrap()], before.rules.as_slice()].concat();
            let Changed { gone, come } = changed(&before, &selection(after), "/", &rules);
            assert_eq!(format!("{gone}{come}"), expected, "{why}");
        }
    }
}
