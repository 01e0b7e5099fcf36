//! Both sides of a verification: the host's newest good snapshot, and the host,
//! asked whether it is what was copied.

use super::{HostVerification, VerifyStep, failed, files};
use crate::core::format::text::printable;
use crate::core::model::precision::Precision;
use crate::core::model::snapshot::{Snapshot, latest_good};
use crate::core::model::verification::Stop;
use crate::edge::remote::{Probe, Question, Remote, SourceState};
use crate::edge::rsync::TransferError;
use crate::edge::store::{HostSnapshots, Store};
use chrono::{DateTime, TimeDelta, Utc};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// How long the store may take to say which snapshots a host has.
const LONGEST_LIST: Duration = Duration::from_secs(15 * 60);
/// How long before its snapshot a copy may have begun, where nobody wrote down
/// how long it took.
const LONGEST_COPY: TimeDelta = TimeDelta::hours(12);

/// Both sides of a comparison.
pub(super) struct Sides {
    pub(super) remote: Remote,
    /// The snapshot's root.
    pub(super) root: PathBuf,
    /// To what the times of its files are kept.
    pub(super) precision: Precision,
    /// What the host's clock showed when the copy began, or somewhat earlier.
    pub(super) begun: DateTime<Utc>,
}

impl<S: Store> HostVerification<'_, S> {
    /// Finds the snapshot, connects to the host, and asks it.
    pub(super) async fn sides(&mut self) -> Result<Sides, Stop> {
        self.at(VerifyStep::Snapshot);
        let (snapshot, root) = self.snapshot().await?;
        self.result.snapshot = Some((snapshot.name.clone(), snapshot.time));
        self.at(VerifyStep::Connect);
        let dir = self.run.runtime.connection_dir().map_err(failed)?;
        self.turn.connection().await;
        let remote = Remote::connect(self.host, &self.run.settings.ssh, dir).await.map_err(failed)?;
        let asked = self.run.clock.now();
        let probe = self.probe(&remote, &snapshot).await?;
        // Where both clocks go as they should, they went as far apart then.
        let apart = probe.time.map_or(TimeDelta::zero(), |time| ahead(time, asked, self.run.clock.now()));
        let precision = self.run.store.precision(&self.host.name, &snapshot.name).await.map_err(failed)?;
        Ok(Sides { remote, root, precision, begun: copy_begun(&snapshot) + apart })
    }

    /// The newest good snapshot, and where its files are.
    async fn snapshot(&self) -> Result<(Snapshot, PathBuf), Stop> {
        let name = &self.host.name;
        let listed = tokio::time::timeout(LONGEST_LIST, self.run.store.host(name)).await;
        let listed = listed.map_err(|_| {
            failed("the store did not list its snapshots within 15 minutes (does its disk hang?)")
        })?;
        let listed = listed.map_err(failed)?;
        let newest = |host: &HostSnapshots| {
            let newest = latest_good(&host.snapshots, self.run.clock.now())?;
            Some((newest.clone(), host.browse(&newest.name)))
        };
        let Some((newest, path)) = listed.as_ref().and_then(newest) else {
            return Err(failed(format!(
                "there is no good snapshot to compare it with (see `backup snapshots {name}`)"
            )));
        };
        // rsync may refuse a way that leads over a symlink of another user.
        let (task, pulse) = files::open(path.clone());
        let opened = self.in_time(task, &pulse).await?.map_err(io::Error::from).and_then(|opened| opened);
        let root = opened.map_err(|error| {
            let shown = printable(&path.to_string_lossy());
            failed(format!("cannot open the snapshot `{shown}`: {error} (is its dataset mounted?)"))
        })?;
        Ok((newest, root))
    }

    /// Asks the host whether it is what was copied.
    async fn probe(&self, remote: &Remote, snapshot: &Snapshot) -> Result<Probe, Stop> {
        let settings = &self.run.settings;
        let question = Question::of(self.host, settings, self.run.runtime.witness());
        let probe = remote.probe(question).await.map_err(failed)?;
        if let SourceState::Unusable(state) = &probe.source {
            let source = printable(&self.host.settings.source);
            return Err(failed(format!("the source `{source}` is {} there", printable(state))));
        }
        if probe.rsync.is_none() {
            return Err(failed(TransferError::NoRemoteRsync));
        }
        let copied = snapshot.facts().and_then(|facts| facts.machine.as_ref());
        if let (Some(copied), Some(found)) = (copied, &probe.machine) {
            if copied != found {
                return Err(failed(format!(
                    "the host is not the machine that was copied: its `/etc/machine-id` is {found}, and {copied} in \
                 the copy (if it was reinstalled, back it up first)"
                )));
            }
        }
        Ok(probe)
    }
}

/// How far a host's clock is ahead of ours that showed `theirs`, to the second, at some
/// moment between these two; nothing if the two may agree. The least that it can be,
/// so that a change is rather taken for the host's own.
fn ahead(theirs: DateTime<Utc>, asked: DateTime<Utc>, answered: DateTime<Utc>) -> TimeDelta {
    let least = theirs - answered;
    let most = theirs + TimeDelta::seconds(1) - asked;
    if (least..=most).contains(&TimeDelta::zero()) { TimeDelta::zero() } else { least }
}

/// When the copy in a snapshot was begun, or somewhat earlier.
fn copy_begun(snapshot: &Snapshot) -> DateTime<Utc> {
    let took = snapshot.facts().and_then(|facts| facts.duration);
    let took = took.and_then(|seconds| TimeDelta::try_seconds(i64::try_from(seconds).ok()?));
    snapshot.time.checked_sub_signed(took.unwrap_or(LONGEST_COPY)).unwrap_or(snapshot.time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_answers_late_is_not_behind() {
        let at = |milliseconds: i64| DateTime::from_timestamp_millis(milliseconds).unwrap();
        for (theirs, asked, answered, expected, why) in [
            (10_000, 10_400, 10_500, 0, "its clock shows whole seconds"),
            (10_000, 10_400, 40_000, 0, "it took long to answer, after it had looked"),
            (39_000, 10_400, 40_000, 0, "it took long to look"),
            (50_000, 10_400, 10_500, 39_500, "it is ahead"),
            (5_000, 10_400, 10_500, -5_500, "it is behind"),
        ] {
            assert_eq!(ahead(at(theirs), at(asked), at(answered)).num_milliseconds(), expected, "{why}");
        }
    }
}
