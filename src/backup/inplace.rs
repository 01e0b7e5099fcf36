//! Which paths of a host are written in place in this run: those that the
//! operator names, that are there, and in which no file has a second name.

use super::Story;
use crate::filter::{self, Apart, Selection};
use crate::outcome::Outcome;
use crate::remote::{Links, Probe, Remote};
use crate::store::Store;
use crate::text::{human_duration, printable, printable_bytes};
use crate::timing::Step;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tokio::time::Instant;
use tracing::{debug, info, warn};

impl<S: Store> Story<'_, S> {
    /// The paths that a second rsync copies in place. All others, those too that
    /// cannot be looked at, are copied like the rest, which is always right and
    /// only costs space.
    pub(super) async fn apart(
        &mut self,
        remote: &Remote,
        probe: &Probe,
        mounts: &Selection,
    ) -> Result<Apart, Outcome> {
        let source = self.host.settings.source.as_str();
        let real_source = probe.real_source.as_bytes();
        let from_source = |path: &String| {
            filter::from_source(path, source).or_else(|| filter::from_source(path, &probe.real_source))
        };
        let named = self.host.settings.inplace.iter();
        let mut wanted: BTreeSet<(Vec<u8>, &String)> =
            named.filter_map(|path| Some((from_source(path)?, path))).collect();
        wanted.retain(|(path, _)| !is_left_out(path, real_source, mounts));
        if wanted.is_empty() {
            return Ok(Apart::default());
        }
        self.at(Step::Probe);
        // A look does not go into what is mounted below, so each mount that is
        // copied has a look of its own.
        let looked_at: Vec<(Vec<u8>, &String)> = wanted
            .iter()
            .flat_map(|(path, named)| {
                let within = mounts.included.iter().filter_map(|mount| {
                    let point = filter::below(&mount.point, real_source)?;
                    filter::below(&point, path).map(|_| point)
                });
                std::iter::once(path.clone()).chain(within).map(move |path| (path, *named))
            })
            .collect();
        let paths: Vec<Vec<u8>> = looked_at.iter().map(|(path, _)| path.clone()).collect();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = self.run.settings.transfer.stall_timeout.min(left);
        let answer = tokio::select! {
            answer = remote.links(source, &paths, limit) => answer,
            () = self.run.cancel.cancelled() => return Err(Outcome::Interrupted),
        };
        let found = match answer {
            Ok(found) => found,
            Err(error) => {
                let text = format!(
                    "nothing was written in place: whether files of `inplace` have more than one link is not \
                     known: {error}"
                );
                self.refuse(text);
                return Ok(Apart::default());
            }
        };
        let mut refused: BTreeSet<&String> = BTreeSet::new();
        for ((_, named), links) in looked_at.iter().zip(found) {
            let shown = printable(named);
            match links {
                Links::Single => continue,
                Links::Missing => debug!("`{shown}` is not there"),
                Links::Symlink(link) => warn!(
                    "`{shown}` is not written in place: `{}` is a symbolic link there (name the path that it leads to)",
                    printable_bytes(&link)
                ),
                Links::Several(file) => {
                    let file = printable_bytes(&file);
                    let text = format!(
                        "`{shown}` was not written in place: `{file}` has more than one hard link \
                         (`find -samefile` shows the others; remove them, or take the path out of `inplace`)"
                    );
                    self.refuse(text);
                }
                Links::Unknown => {
                    let text = format!(
                        "`{shown}` was not written in place: it could not be looked through for hard links in {} \
                         (raise `stall_timeout`, or name fewer files)",
                        human_duration(limit)
                    );
                    self.refuse(text);
                }
            }
            refused.insert(named);
        }
        Ok(Apart::new(wanted.into_iter().filter(|(_, named)| !refused.contains(named)).map(|(path, _)| path)))
    }

    fn refuse(&mut self, why: String) {
        info!("{why}");
        self.refusals.push(why);
    }
}

/// Whether a path, given from the source on, lies on a filesystem that is not
/// copied. Such a one is not to be looked at: it may be another machine's.
fn is_left_out(path: &[u8], source: &[u8], mounts: &Selection) -> bool {
    let holds = |point: &[u8]| {
        filter::below(point, source)
            .is_some_and(|point| point == path || filter::below(path, &point).is_some())
    };
    let nearest = |points: Vec<&Vec<u8>>| points.into_iter().filter(|point| holds(point)).map(Vec::len).max();
    let out = nearest(mounts.left_out.iter().map(|mount| &mount.filesystem.point).collect());
    let included = nearest(mounts.included.iter().map(|mount| &mount.point).collect());
    // A mount that hides another at its point is the one of the two that counts.
    out.is_some_and(|out| included.is_none_or(|included| included < out))
}

/// How many of the directories on the way to the paths are in the copy: both
/// rsyncs have counted those.
pub(super) fn shared(apart: &Apart, destination: &Path) -> u64 {
    let mut found: BTreeSet<&[u8]> = BTreeSet::new();
    // In their order, in which each comes after those that it lies in.
    for directory in apart.way() {
        let above = directory.iter().rposition(|byte| *byte == b'/').map(|slash| &directory[..slash.max(1)]);
        let path = destination.join(OsStr::from_bytes(directory.strip_prefix(b"/").unwrap_or(directory)));
        let is_led_to = directory == b"/" || above.is_some_and(|above| found.contains(above));
        if is_led_to && path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            found.insert(directory);
        }
    }
    u64::try_from(found.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Filesystems;

    #[test]
    fn what_lies_on_a_filesystem_that_is_not_copied_is_not_looked_at() {
        let mounts = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
            2 1 8:2 / /srv rw - ext4 /dev/sda2 rw\n\
            3 2 0:9 / /srv/nfs rw - nfs4 nas:/x rw\n\
            4 3 8:3 / /srv/nfs/disk rw - ext4 /dev/sda3 rw\n";
        for (source, path, expected, why) in [
            ("/", "/srv/images", false, "on a disk"),
            ("/", "/srv/nfs/images", true, "on another machine"),
            ("/", "/srv/nfs", true, "another machine's itself"),
            ("/", "/srv/nfs/disk/images", false, "on a disk that is mounted below"),
            ("/", "/srv/nfs2", false, "a name that only begins alike"),
            ("/srv", "/nfs/images", true, "seen from the source"),
            ("/srv", "/srv/nfs", false, "seen from the source, too"),
        ] {
            let mounts = filter::select(mounts, source, Filesystems::Local);
            assert_eq!(is_left_out(path.as_bytes(), source.as_bytes(), &mounts), expected, "{why}");
        }
    }

    #[test]
    fn only_directories_that_both_rsyncs_have_copied_are_shared() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b/images")).unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        let apart = |paths: &[&str]| Apart::new(paths.iter().map(|path| path.as_bytes().to_vec()));
        // The root, a, a/b.
        assert_eq!(shared(&apart(&["/a/b/images", "/a/b/c", "/gone/images"]), dir.path()), 3);
        assert_eq!(shared(&apart(&["/link/b/images"]), dir.path()), 1, "the root, and no link");
    }
}
