//! Which of the paths that are to be written in place a host can have, and
//! where to look for hard links in them.

use super::mount_rules::{inside, normalised};
use super::nesting::Nesting;
use super::{LeftOut, MountReason, Selection, from_source};
use crate::core::model::host::HostSettings;
use std::collections::{BTreeMap, HashMap};

/// Where to look for files with more than one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchRoot {
    /// From the source on, with its leading slash.
    pub path: Vec<u8>,
    /// Whether to stay out of filesystems that are mounted below. What is a
    /// filesystem of its own to `find` may be a mere directory to rsync, as
    /// subvolumes of btrfs are: where all is copied, all is looked at.
    pub stays: bool,
}

/// The paths of `inplace` that lie on filesystems that are copied.
#[derive(Debug, Default, PartialEq)]
pub struct Wanted<'a> {
    /// From the source on, and as the operator names it.
    pub paths: BTreeMap<Vec<u8>, &'a str>,
    /// Where to look, each with the path as the operator names it.
    pub looks: Vec<(SearchRoot, &'a str)>,
    /// Paths that lie on filesystems that are not copied, as the operator names
    /// them, and what they lie on.
    pub left_out: Vec<(&'a str, &'a LeftOut)>,
    /// Paths that cannot be looked through, as the operator names them: what is
    /// below is neither all copied, nor would a look that stays on one device see
    /// all of it, for their filesystem has subvolumes.
    pub mixed: Vec<&'a str>,
}

/// What of the paths that `settings` names is to be looked at, on a host that
/// has these mounts. `real_source` is the source without symbolic links.
pub fn wanted<'a>(settings: &'a HostSettings, real_source: &str, mounts: &'a Selection) -> Wanted<'a> {
    let mut wanted = Wanted::default();
    let named = |path: &str| from_source(path, &settings.source).or_else(|| from_source(path, real_source));
    let real_source = normalised(real_source.as_bytes());
    let points = Points::new(mounts, &real_source);
    for name in &settings.inplace {
        let Some(path) = named(name) else { continue };
        match points.holder(&path) {
            // Not to be looked at: it may be another machine's.
            Some(mount) => wanted.left_out.push((name, mount)),
            None if points.has_subvolumes(&path) && points.any_left_out_in(&path) => wanted.mixed.push(name),
            None => {
                wanted.paths.insert(path, name);
            }
        }
    }
    for (path, name) in &wanted.paths {
        let look = |path: Vec<u8>| SearchRoot { stays: points.any_left_out_in(&path), path };
        let own = look(path.clone());
        // It goes into all that is mounted below; one that does not leaves the
        // others to looks of their own.
        let within = points.included.iter().filter(|point| own.stays && inside(point, path).is_some());
        let within: Vec<SearchRoot> = within.map(|point| look(point.to_vec())).collect();
        wanted.looks.extend(std::iter::once(own).chain(within).map(|look| (look, *name)));
    }
    wanted
}

/// The mount points below the source that can be seen, from the source on.
struct Points<'a> {
    all: Nesting<'a>,
    /// The types of those that are copied, and of the source's own.
    types: HashMap<&'a [u8], &'a [u8]>,
    own: &'a [u8],
    included: Vec<&'a [u8]>,
    left_out: Nesting<'a>,
    mounts: HashMap<&'a [u8], &'a LeftOut>,
}

impl<'a> Points<'a> {
    fn new(selection: &'a Selection, source: &[u8]) -> Self {
        let included: Vec<&[u8]> =
            selection.included.iter().filter_map(|mount| inside(&mount.point, source)).collect();
        let visible = selection.left_out.iter().filter(|mount| mount.reason != MountReason::Hidden);
        let mounts: HashMap<&[u8], &LeftOut> =
            visible.filter_map(|mount| Some((inside(&mount.filesystem.point, source)?, mount))).collect();
        let all = Nesting::new(included.iter().copied().chain(mounts.keys().copied()));
        let types = selection
            .included
            .iter()
            .filter_map(|mount| Some((inside(&mount.point, source)?, &mount.fstype[..])));
        let own = selection.own.as_ref().map_or(&b""[..], |own| own.fstype.as_slice());
        Points {
            all,
            types: types.collect(),
            own,
            included,
            left_out: Nesting::new(mounts.keys().copied()),
            mounts,
        }
    }

    /// The filesystem that holds a path, if it is not copied.
    fn holder(&self, path: &[u8]) -> Option<&'a LeftOut> {
        let point = self.all.path(self.all.nearest(path)?);
        self.mounts.get(point).copied()
    }

    /// Whether what holds a path can have subvolumes, each a device of its own.
    fn has_subvolumes(&self, path: &[u8]) -> bool {
        let point = self.all.nearest(path).map(|place| self.all.path(place));
        let fstype = point.and_then(|point| self.types.get(point).copied()).unwrap_or(self.own);
        matches!(fstype, b"btrfs" | b"bcachefs")
    }

    fn any_left_out_in(&self, path: &[u8]) -> bool {
        self.left_out.any_inside(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::filter::select;
    use crate::core::model::host::{Filesystems, Transport};

    fn settings(source: &str, inplace: &[&str], filesystems: Filesystems) -> HostSettings {
        HostSettings {
            transport: Transport::Local,
            user: "root".to_owned(),
            port: None,
            sudo: false,
            source: source.to_owned(),
            filesystems,
            exclude: Vec::new(),
            inplace: inplace.iter().map(|path| (*path).to_owned()).collect(),
            hooks: false,
        }
    }

    /// The looks, as `path` or, of those that stay, `path|`.
    fn looks(wanted: &Wanted<'_>) -> Vec<String> {
        let look = |look: &SearchRoot| {
            format!("{}{}", String::from_utf8_lossy(&look.path), if look.stays { "|" } else { "" })
        };
        wanted.looks.iter().map(|(found, _)| look(found)).collect()
    }

    const MOUNTS: &[u8] = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
        2 1 8:2 / /srv rw - ext4 /dev/sda2 rw\n\
        3 2 0:9 / /srv/nfs rw - nfs4 nas:/x rw\n\
        4 3 8:3 / /srv/nfs/disk rw - ext4 /dev/sda3 rw\n\
        5 1 8:4 / /data rw - ext4 /dev/sda4 rw\n\
        6 1 8:4 /images /mnt/bind rw - ext4 /dev/sda4 rw\n";

    #[test]
    fn what_lies_on_a_filesystem_that_is_not_copied_is_not_looked_at() {
        for (source, path, left_out, why) in [
            ("/", "/srv/images", None, "on a disk"),
            ("/", "/srv/nfs/images", Some(MountReason::Network), "on another machine"),
            ("/", "/srv/nfs", Some(MountReason::Network), "another machine's itself"),
            ("/", "/srv/nfs/disk/images", None, "on a disk that is mounted below"),
            ("/", "/srv/nfs2", None, "a name that only begins alike"),
            ("/srv", "/srv/nfs/images", Some(MountReason::Network), "seen from the source"),
            ("/", "/mnt/bind/a", Some(MountReason::Bind), "in the copy elsewhere"),
        ] {
            let settings = settings(source, &[path], Filesystems::Local);
            let mounts = select(MOUNTS, source, Filesystems::Local).unwrap();
            let wanted = wanted(&settings, source, &mounts);
            assert_eq!(wanted.left_out.first().map(|(_, mount)| mount.reason), left_out, "{why}");
            assert_eq!(wanted.paths.is_empty(), left_out.is_some(), "{why}");
            assert_eq!(wanted.looks.is_empty(), left_out.is_some(), "{why}");
        }
    }

    #[test]
    fn what_another_mount_hides_keeps_no_path_from_being_written_in_place() {
        // Mounted over what was mounted below: the disk at /srv is what is seen.
        let mounts = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
            2 1 8:2 / /srv/images rw - ext4 /dev/sda2 rw\n\
            3 1 8:3 / /srv rw - ext4 /dev/sda3 rw\n";
        let mounts = select(mounts, "/", Filesystems::Local).unwrap();
        assert!(mounts.left_out.iter().any(|mount| mount.reason == MountReason::Hidden), "{mounts:?}");
        let settings = settings("/", &["/srv/images"], Filesystems::Local);
        assert_eq!(looks(&wanted(&settings, "/", &mounts)), ["/srv/images"]);
    }

    #[test]
    fn where_subvolumes_may_be_missed_nothing_is_written_in_place() {
        let list = |fstype| {
            format!(
                "1 0 0:1 / / rw - {fstype} /dev/sda1 rw,subvol=/\n2 1 0:9 / /srv/nfs rw - nfs4 nas:/x rw\n"
            )
        };
        for (fstype, path, mixed) in
            [("btrfs", "/srv", true), ("btrfs", "/data", false), ("ext4", "/srv", false)]
        {
            let mounts = select(list(fstype).as_bytes(), "/", Filesystems::Local).unwrap();
            let settings = settings("/", &[path], Filesystems::Local);
            let wanted = wanted(&settings, "/", &mounts);
            assert_eq!((wanted.mixed.len() == 1, wanted.looks.is_empty()), (mixed, mixed), "{fstype} {path}");
        }
    }

    #[test]
    fn a_look_stays_out_of_other_filesystems_only_where_one_is_not_copied() {
        for (source, paths, filesystems, expected, why) in [
            ("/", &["/data"][..], Filesystems::Local, &["/data"][..], "so subvolumes are looked through"),
            ("/", &["/srv"], Filesystems::Local, &["/srv|", "/srv/nfs/disk"], "one is another machine's"),
            ("/srv", &["/srv/nfs/disk"], Filesystems::Local, &["/nfs/disk"], "seen from the source"),
            ("/", &["/var/images"], Filesystems::Root, &["/var/images"], "nothing is mounted there"),
            ("/", &["/srv"], Filesystems::Root, &[], "what is another filesystem is not copied"),
        ] {
            let settings = settings(source, paths, filesystems);
            let mounts = select(MOUNTS, source, filesystems).unwrap();
            assert_eq!(looks(&wanted(&settings, source, &mounts)), expected, "{why}");
        }
    }
}
