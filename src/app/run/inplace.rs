//! Which paths of a host are written in place in this run: those that the
//! operator names, that are there, and in which no file has a second name.

use super::HostRun;
use crate::core::filter::{self, Apart, MountReason, SearchRoot, Selection};
use crate::core::format::text::{human_duration, printable, printable_bytes};
use crate::core::format::timing::Step;
use crate::core::model::outcome::Outcome;
use crate::edge::remote::{Links, Probe, Remote, each_limit};
use crate::edge::store::Store;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// At most so many places of a host are looked through for hard links.
const MOST_LOOKS: usize = 1000;

impl<S: Store> HostRun<'_, S> {
    /// The paths that a second rsync copies in place. All others, those too that
    /// cannot be looked at, are copied like the rest, which is always right and
    /// only costs space.
    pub(super) async fn apart(
        &mut self,
        remote: &Remote,
        probe: &Probe,
        mounts: &Selection,
    ) -> Result<Apart, Outcome> {
        let wanted = filter::wanted(&self.host.settings, &probe.real_source, mounts);
        for (named, mount) in &wanted.left_out {
            let text = format!(
                "`{}` is not written in place: it lies on {mount}, which is not copied",
                printable(named)
            );
            match mount.reason {
                MountReason::Bind => warn!("{text} (name the path where it is copied)"),
                _ => info!("{text}"),
            }
        }
        for named in &wanted.mixed {
            let text = format!(
                "`{}` was not written in place: {} (name paths without them)",
                printable(named),
                filter::MIXED
            );
            self.refuse(text);
        }
        if wanted.paths.is_empty() {
            return Ok(Apart::default());
        }
        if wanted.looks.len() > MOST_LOOKS {
            let text = format!(
                "nothing was written in place: more than {MOST_LOOKS} filesystems are mounted below the paths of \
                 `inplace` (name paths with fewer)"
            );
            self.refuse(text);
            return Ok(Apart::default());
        }
        self.at(Step::Probe);
        let looks: Vec<SearchRoot> = wanted.looks.iter().map(|(look, _)| look.clone()).collect();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = self.run.settings.transfer.stall_timeout.min(left);
        let answer = tokio::select! {
            answer = remote.links(&self.host.settings.source, &looks, limit) => answer,
            () = self.run.cancel.cancelled() => return Err(Outcome::Interrupted),
        };
        let found = match answer {
            Ok(found) => found,
            Err(error) => {
                let unless = "raise `stall_timeout`, or take paths out of `inplace`";
                let text = format!(
                    "nothing was written in place: cannot tell whether files of `inplace` have more than one \
                     link: {} ({})",
                    error.what(),
                    error.remedy().unwrap_or_else(|| unless.to_owned())
                );
                self.refuse(text);
                return Ok(Apart::default());
            }
        };
        let each = each_limit(limit, looks.len());
        let mut refused: BTreeSet<&str> = BTreeSet::new();
        for ((_, named), links) in wanted.looks.iter().zip(found) {
            if !self.is_alone(named, links, each) {
                refused.insert(named);
            }
        }
        Ok(Apart::new(
            wanted.paths.into_iter().filter(|(_, named)| !refused.contains(named)).map(|(path, _)| path),
        ))
    }

    /// Whether files can be written in place below a path where these links were
    /// found; if not, says why. The search was given `each` for every path.
    fn is_alone(&mut self, named: &str, links: Links, each: Duration) -> bool {
        let shown = printable(named);
        match links {
            Links::Single => return true,
            Links::Missing => debug!("`{shown}` is not there"),
            Links::Symlink(link) => warn!(
                "`{shown}` is not written in place: `{}` is a symbolic link there (name the path that it leads to)",
                printable_bytes(&link)
            ),
            Links::Several(file) => self.refuse(format!(
                "`{shown}` was not written in place: `{}` has more than one hard link (`find -samefile` shows the \
                 others; remove them, or take the path out of `inplace`)",
                printable_bytes(&file)
            )),
            Links::Unknown => self.refuse(format!(
                "`{shown}` was not written in place: it could not be searched for hard links within {} (raise \
                 `stall_timeout`, or name fewer files)",
                human_duration(each)
            )),
        }
        false
    }

    fn refuse(&mut self, why: String) {
        info!("{why}");
        self.refusals.push(why);
    }
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
