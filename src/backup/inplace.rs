//! Which paths of a host are written in place in this run: those that the
//! operator names, that are there, and in which no file has a second name.

use super::Story;
use crate::filter::{self, Apart, Selection};
use crate::outcome::{Outcome, Severity};
use crate::remote::{Links, Probe, Remote};
use crate::store::Store;
use crate::text::{human_duration, printable, printable_bytes};
use std::collections::BTreeSet;
use std::path::Path;
use tracing::{debug, warn};

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
        let limit = self.run.settings.transfer.stall_timeout;
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
                self.note(Severity::Warning, text);
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
                    self.note(Severity::Warning, text);
                }
                Links::Unknown => {
                    let text = format!(
                        "`{shown}` was not written in place: it could not be looked through for hard links in {} \
                         (`stall_timeout`)",
                        human_duration(limit)
                    );
                    self.note(Severity::Warning, text);
                }
            }
            refused.insert(named);
        }
        Ok(Apart::new(wanted.into_iter().filter(|(_, named)| !refused.contains(named)).map(|(path, _)| path)))
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
    use std::os::unix::ffi::OsStrExt;
    let is_there = |directory: &&&[u8]| {
        let below = directory.strip_prefix(b"/").unwrap_or(directory);
        let path = destination.join(std::ffi::OsStr::from_bytes(below));
        path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
    };
    u64::try_from(apart.way().iter().filter(is_there).count()).unwrap_or(u64::MAX)
}
