//! Mounts that hold data and are not copied, each told once.

use super::mount_rules::{above, inside, normalised};
use super::named::Named;
use super::{LeftOut, MountReason, Rule, Selection};
use crate::core::format::excerpt::Excerpt;
use std::collections::{BTreeSet, HashSet};

/// The most mounts that are remembered one by one.
const MOST_REMEMBERED: usize = 100;

/// What of a host's data is mounted below the source and not copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missed {
    mounts: Vec<(String, LeftOut)>,
}

/// What of these mounts holds data that is nowhere in the copy. One that a rule
/// of the operator or of the host leaves out by name is meant to be, and is not
/// among them.
pub fn missed(mounts: &Selection, source: &str, rules: &[Rule]) -> Missed {
    let source = normalised(source.as_bytes());
    let named = Named::by(rules);
    let is_named =
        |mount: &LeftOut| inside(&mount.filesystem.point, &source).is_some_and(|path| named.leave_out(path));
    let losses = mounts.left_out.iter().filter(|mount| mount.reason.is_a_loss() && !is_named(mount));
    let mut losses: Vec<&LeftOut> = losses.collect();
    let automounts = losses.iter().filter(|mount| mount.reason == MountReason::Automount);
    let automounts: HashSet<&[u8]> = automounts.map(|mount| mount.filesystem.point.as_slice()).collect();
    // What it shows of the day is told with it.
    losses.retain(|mount| !above(&mount.filesystem.point).any(|path| automounts.contains(path)));
    Missed { mounts: losses.into_iter().map(|mount| (key(mount), mount.clone())).collect() }
}

/// What a mount is remembered by: another machine's by what it is of, since
/// containers have it at ever new places; others by where they are.
fn key(mount: &LeftOut) -> String {
    let what = if mount.reason == MountReason::Network { &mount.source } else { &mount.filesystem.point };
    format!("{:08x}", hash(what))
}

/// FNV-1a, folded: the same in every release of this program.
fn hash(bytes: &[u8]) -> u32 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, step);
    u32::try_from((hash >> 32) ^ (hash & 0xffff_ffff)).unwrap_or_default()
}

impl Missed {
    /// Those that were not remembered when the last snapshot was taken.
    pub fn new_since(&self, remembered: Option<&str>) -> Excerpt<&LeftOut> {
        let before: BTreeSet<&str> = remembered.into_iter().flat_map(|keys| keys.split(',')).collect();
        if before.contains(self.all().as_str()) {
            return Excerpt::default();
        }
        self.mounts.iter().filter(|(key, _)| !before.contains(key.as_str())).map(|(_, mount)| mount).collect()
    }

    /// All of them.
    pub fn mounts(&self) -> impl Iterator<Item = &LeftOut> {
        self.mounts.iter().map(|(_, mount)| mount)
    }

    /// What is to be remembered of them, and of those that were before: one that is
    /// mounted now and then is told once.
    pub fn remembered(&self, before: Option<&str>) -> Option<String> {
        let keys: BTreeSet<&str> = self.mounts.iter().map(|(key, _)| key.as_str()).collect();
        if keys.len() > MOST_REMEMBERED {
            return Some(self.all());
        }
        // Those that have been away longest come last, and are the first to be forgotten.
        let before = before.into_iter().flat_map(|keys| keys.split(',')).filter(|key| !keys.contains(key));
        let keys: Vec<&str> = keys.iter().copied().chain(before).take(MOST_REMEMBERED).collect();
        (!keys.is_empty()).then(|| keys.join(","))
    }

    /// All of them as one.
    fn all(&self) -> String {
        let keys: BTreeSet<&str> = self.mounts.iter().map(|(key, _)| key.as_str()).collect();
        let keys: Vec<&str> = keys.into_iter().collect();
        format!("all-{:08x}", hash(keys.join(",").as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::filter::select;
    use crate::core::model::host::Filesystems;

    fn mounts(points: &[String]) -> Selection {
        let mut list = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / /run rw - tmpfs tmpfs rw\n".to_owned();
        for (point, number) in points.iter().zip(3..) {
            list.push_str(&format!("{number} 1 0:{number} / {point} rw - nfs4 server:{point} rw\n"));
        }
        select(list.as_bytes(), "/", Filesystems::Local).unwrap()
    }

    fn points(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let before = missed(&mounts(&points(&["/srv/a", "/srv/b"])), "/", &[]);
        assert_eq!(before.new_since(None).to_string(), "/srv/a (nfs4, network), /srv/b (nfs4, network)");
        let remembered = before.remembered(None);
        assert_eq!(before.new_since(remembered.as_deref()).to_string(), "");
        let now = missed(&mounts(&points(&["/srv/b", "/srv/c"])), "/", &[]);
        assert_eq!(now.new_since(remembered.as_deref()).to_string(), "/srv/c (nfs4, network)");
        let later = now.remembered(remembered.as_deref());
        assert_eq!(before.new_since(later.as_deref()).to_string(), "", "it was away, and is back");
        assert_eq!(missed(&mounts(&[]), "/", &[]).remembered(None), None, "/run is nobody's data");
    }

    #[test]
    fn so_are_more_than_are_remembered_one_by_one() {
        let many: Vec<String> = (0..=MOST_REMEMBERED).map(|number| format!("/srv/{number}")).collect();
        let before = missed(&mounts(&many), "/", &[]);
        let remembered = before.remembered(None).unwrap();
        assert!(remembered.len() < 100, "{remembered}");
        assert!(before.new_since(Some(&remembered)).is_empty());
        let now = missed(&mounts(&many[1..]), "/", &[]);
        assert_eq!(now.new_since(Some(&remembered)).count(), MOST_REMEMBERED);
    }

    #[test]
    fn what_has_been_away_longest_is_forgotten_first() {
        let at = |number: usize| missed(&mounts(&[format!("/srv/{number}")]), "/", &[]);
        let remembered = (0..=MOST_REMEMBERED)
            .fold(None, |before: Option<String>, number| at(number).remembered(before.as_deref()));
        for (number, is_new) in [(0, true), (1, false), (MOST_REMEMBERED, false)] {
            assert_eq!(at(number).new_since(remembered.as_deref()).count() == 1, is_new, "{number}");
        }
    }

    #[test]
    fn what_an_automount_shows_is_told_with_it() {
        let list = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:2 / /home rw - autofs auto.home rw\n\
            3 2 0:3 / /home/alice rw - nfs4 nas:/alice rw\n4 1 0:4 / /homes rw - nfs4 nas:/homes rw\n";
        let mounts = select(list, "/", Filesystems::Local).unwrap();
        let told = missed(&mounts, "/", &[]).new_since(None).to_string();
        assert_eq!(told, "/home (autofs, automount), /homes (nfs4, network)");
    }

    #[test]
    fn another_machines_is_known_at_any_place() {
        let at = |point: &str| {
            let mut mounts = mounts(&points(&[point]));
            mounts.left_out.iter_mut().for_each(|mount| mount.source = b"server:/volume".to_vec());
            missed(&mounts, "/", &[])
        };
        assert!(at("/pods/2").new_since(at("/pods/1").remembered(None).as_deref()).is_empty());
    }

    #[test]
    fn who_excludes_it_by_name_knows() {
        for (pattern, is_told, why) in [
            ("/srv/a", false, "the directory"),
            ("/srv/a/", false, "the directory, as one"),
            ("/srv/a/*", false, "what is in it"),
            ("/srv/a/***", false, "both"),
            ("/srv/", false, "what it lies in"),
            ("/srv/ab", true, "another"),
            ("a", true, "a name that is anywhere"),
            ("/s*", true, "a pattern that it happens to match"),
        ] {
            let rules = [Rule::exclude(pattern).unwrap()];
            let missed = missed(&mounts(&points(&["/srv/a"])), "/", &rules);
            assert_eq!(missed.mounts().count() == 1, is_told, "{pattern}: {why}");
        }
        let rules = [Rule::include("/srv/a").unwrap()];
        assert_eq!(missed(&mounts(&points(&["/srv/a"])), "/", &rules).mounts().count(), 1, "the opposite");
    }
}
