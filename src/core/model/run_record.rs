//! What is remembered of runs and of verifications, as values.
//!
//! A store of the past may have been written by another version of this
//! program, or have been put together from snapshots, which say less than a
//! run: what is not known is `None` or empty. Nothing here is trusted: a text
//! is to be made printable before it is shown.

use crate::core::format::timing::Sums;
use crate::core::model::outcome::{HookResult, Severity};
use crate::core::model::snapshot::{Facts, Origin, Snapshot, SnapshotName, Verdict};
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// What became of one host in one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRecord {
    /// What the run called itself.
    pub run: String,
    /// The host's name in lower case. It may be unfit for a
    /// [`HostName`](crate::core::model::host::HostName): such hosts are reported as well.
    pub host: String,
    /// The host's name as its inventory spelled it.
    pub spelled: String,
    /// When the host's run began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub finished: DateTime<Utc>,
    /// What became of the host, in a word: [`HostReport::word`](crate::core::model::outcome::HostReport::word).
    pub word: String,
    /// What its snapshot was worth, where one was taken.
    pub verdict: Option<Verdict>,
    /// How bad it was, all in all.
    pub severity: Severity,
    /// What there was to say, in one line, without name and severity.
    pub summary: String,
    /// The lines behind the summary.
    pub details: Vec<String>,
    /// What the end of each rsync meant, in order.
    pub transfers: Vec<String>,
    /// How the hooks went, in order.
    pub hooks: Vec<HookResult>,
    /// How long each step took; empty of runs of which that is not known.
    pub timings: Sums,
    /// Files, directories, links and so on that the copy held.
    pub files: Option<u64>,
    /// Bytes that the copied files held together.
    pub bytes: Option<u64>,
    /// Bytes that came over the wire.
    pub received: Option<u64>,
    /// Regular files that were new or changed.
    pub changed: Option<u64>,
    /// Bytes that those held together.
    pub changed_bytes: Option<u64>,
    /// Files removed from the copy.
    pub deleted: Option<u64>,
    /// The snapshot's name, where one was taken.
    pub snapshot: Option<String>,
    /// How many snapshots of ours the host had then.
    pub snapshots: Option<u64>,
    /// All of this comes from a snapshot's facts: the run itself is forgotten.
    pub from_snapshot: bool,
}

impl HostRecord {
    /// What a snapshot still tells of the run that took it; `None` if none of
    /// ours did, or the ancestor, which left no facts.
    pub fn from_snapshot(host: &str, snapshot: &Snapshot) -> Option<Self> {
        let Origin::Run(facts) = &snapshot.origin else { return None };
        let Facts { run, verdict, files, bytes, duration, .. } = facts;
        let took = duration.and_then(|seconds| TimeDelta::try_seconds(i64::try_from(seconds).ok()?));
        let started = took.and_then(|took| snapshot.time.checked_sub_signed(took)).unwrap_or(snapshot.time);
        Some(HostRecord {
            run: run.clone(),
            host: host.to_owned(),
            spelled: host.to_owned(),
            started,
            finished: snapshot.time,
            word: verdict.to_string(),
            verdict: Some(*verdict),
            severity: match verdict {
                Verdict::Good => Severity::Ok,
                Verdict::Partial => Severity::Warning,
                Verdict::Suspect => Severity::Critical,
            },
            summary: "known from its snapshot alone".to_owned(),
            details: Vec::new(),
            transfers: Vec::new(),
            hooks: Vec::new(),
            timings: Sums::new(),
            files: *files,
            bytes: *bytes,
            received: None,
            changed: None,
            changed_bytes: None,
            deleted: None,
            snapshot: Some(snapshot.name.clone()),
            snapshots: None,
            from_snapshot: true,
        })
    }

    /// Whether its copy was good.
    pub fn is_good(&self) -> bool {
        self.verdict == Some(Verdict::Good)
    }

    /// How long the host's run took.
    pub fn duration(&self) -> Duration {
        (self.finished - self.started).to_std().unwrap_or_default()
    }

    /// How long it took up to its snapshot: what a snapshot's facts call its
    /// duration. `None` without a snapshot.
    pub fn copied_in(&self) -> Option<Duration> {
        let name: SnapshotName = self.snapshot.as_deref()?.parse().ok()?;
        Some((name.time() - self.started).to_std().unwrap_or_default())
    }
}

/// How one `backup verify` of a host went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationRecord {
    /// The host's name in lower case.
    pub host: String,
    /// When it ended.
    pub time: DateTime<Utc>,
    /// The snapshot that was compared with the host, where there was one.
    pub snapshot: Option<String>,
    /// How many files were looked at.
    pub sampled: u64,
    /// How many of them are the same in both.
    pub identical: u64,
    /// How many have changed on the host since.
    pub changed: u64,
    /// How many differ though they should not.
    pub different: u64,
    /// How many could not be read.
    pub unreadable: u64,
    /// What was wrong, if anything was.
    pub problem: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_tells_what_it_knows_of_its_run() {
        let name: SnapshotName = "backup-2026-11-20T020005Z".parse().unwrap();
        let facts = Facts {
            run: "b32-1/2026-11-20T020000Z/7".into(),
            verdict: Verdict::Partial,
            files: Some(10),
            bytes: None,
            duration: Some(5),
            machine: None,
            hostname: None,
            left_out: None,
            clock_agreed: false,
        };
        let mut snapshot =
            Snapshot { name: name.to_string(), time: name.time(), held: false, origin: Origin::Run(facts) };
        let entry = HostRecord::from_snapshot("vpn", &snapshot).unwrap();
        assert_eq!(
            (entry.word.as_str(), entry.severity, entry.is_good()),
            ("partial", Severity::Warning, false)
        );
        assert_eq!((entry.files, entry.bytes, entry.received), (Some(10), None, None));
        assert_eq!(entry.duration(), Duration::from_secs(5));
        assert_eq!(entry.copied_in(), Some(Duration::from_secs(5)));
        let Origin::Run(facts) = &mut snapshot.origin else { panic!() };
        facts.duration = Some(u64::MAX);
        assert_eq!(
            HostRecord::from_snapshot("vpn", &snapshot).unwrap().duration(),
            Duration::ZERO,
            "nonsense"
        );
        snapshot.origin = Origin::Ancestor;
        assert_eq!(HostRecord::from_snapshot("vpn", &snapshot), None);
        snapshot.origin = Origin::Foreign;
        assert_eq!(HostRecord::from_snapshot("vpn", &snapshot), None);
    }
}
