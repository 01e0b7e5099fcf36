//! What a verification of one host found, how bad that is, and how it is said.
//!
//! A file that has the time of its copy and other contents is the one thing that
//! must not be: one of the two is damaged, or the copy never got a change. What
//! differs in its time was changed since, as files are.

mod open;

pub use open::{Damage, MOST_OPEN, OpenFinding, OpenFindings};

use crate::core::format::text::{counted, human_bytes, human_duration, printable_bytes};
use crate::core::model::outcome::Severity;
use chrono::{DateTime, Utc};
use std::fmt;
use std::time::Duration;

/// How many single files are told of a host.
pub const MOST_FINDINGS: usize = 20;
/// Of so many files that are looked at, one at least must be as it was copied,
/// or the verification says nothing.
const ENOUGH: u64 = 10;

/// How many files fared how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Regular files that the snapshot holds, by name; where a verification
    /// broke off, those that it had come across.
    pub files: u64,
    /// Files that were chosen and looked at.
    pub sampled: u64,
    /// The host's contents are those of the snapshot.
    pub identical: u64,
    /// Changed on the host since, as its time shows, or its size where the
    /// host's file system knows of a change.
    pub changed: u64,
    /// Changed on the host since, with size and time as they were: runs will
    /// not see the change.
    pub overlooked: u64,
    /// No regular file of that name is on the host any more.
    pub gone: u64,
    /// Of the same time, with other contents.
    pub different: u64,
    /// Cannot be read from the snapshot, be it chosen files, which may count as
    /// changed or gone too, or folders.
    pub unreadable: u64,
    /// Cannot be read on the host.
    pub unreadable_there: u64,
    /// Directories, symlinks and so on that were looked at as well.
    pub others: u64,
    /// Files and others whose owner, mode, attributes and so on are not as on
    /// the host, which has not changed them since.
    pub attributes: u64,
    /// Chosen and left out, because together they are too big for a sample.
    pub too_large: u64,
    /// Bytes that were read from the snapshot.
    pub bytes: u64,
}

/// What is the matter with a single file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matter {
    /// See [`Tally::different`]; when the host last changed it, if known.
    Different(Option<DateTime<Utc>>),
    /// The same of a file that has another size as well.
    Resized(Option<DateTime<Utc>>),
    /// See [`Tally::unreadable`].
    Unreadable,
    /// See [`Tally::unreadable_there`].
    UnreadableThere,
    /// See [`Tally::overlooked`]; when the host changed it.
    Overlooked(DateTime<Utc>),
    /// See [`Tally::attributes`]; when the host last changed it, if known.
    Attributes(Option<DateTime<Utc>>),
}

impl Matter {
    /// One word for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Matter::Different(_) | Matter::Resized(_) => "different",
            Matter::Unreadable => "unreadable",
            Matter::UnreadableThere => "unreadable_there",
            Matter::Overlooked(_) => "overlooked",
            Matter::Attributes(_) => "attributes",
        }
    }
}

/// A single file that something is the matter with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its path below the host's source, which may hold any byte.
    pub path: Vec<u8>,
    /// What is the matter.
    pub matter: Matter,
    /// The system's reason, where it gave one.
    pub reason: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M UTC").to_string();
        write!(f, "`{}`: ", printable_bytes(&self.path))?;
        match self.matter {
            Matter::Different(_) => f.write_str("same size and time, other contents")?,
            Matter::Resized(_) => f.write_str("same time, other size")?,
            Matter::Attributes(changed) => {
                let what = self.reason.as_deref().unwrap_or("attributes");
                write!(f, "not as on the host in {what}")?;
                return changed
                    .map_or(Ok(()), |changed| write!(f, "; unchanged there since {}", time(changed)));
            }
            Matter::Unreadable => f.write_str("cannot be read from the snapshot")?,
            Matter::UnreadableThere => f.write_str("cannot be read on the host")?,
            Matter::Overlooked(changed) => {
                write!(f, "changed there on {}, with size and time as they were", time(changed))?;
            }
        }
        if let Matter::Different(Some(changed)) | Matter::Resized(Some(changed)) = self.matter {
            write!(f, "; unchanged there since {}", time(changed))?;
        }
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

/// Why a verification broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Something failed: what, why, and what to try.
    Failed(String),
    /// It was told to stop.
    Interrupted,
}

/// How a verification went, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerificationState {
    /// Files differ where nothing should.
    Different,
    /// The snapshot cannot be read in all its parts.
    Unreadable,
    /// What an earlier one found is not mended, and could not be compared now.
    Open,
    /// It broke off, or could not begin.
    Failed,
    /// It was told to stop.
    Interrupted,
    /// Files cannot be read on the host.
    UnreadableThere,
    /// Runs do not see a change of files.
    Overlooked,
    /// Owners, modes, attributes and the like are not as on the host.
    Attributes,
    /// Almost nothing could be compared.
    Incomparable,
    /// All is as it should be.
    Good,
}

impl VerificationState {
    /// One word for scripts and tables.
    pub fn word(self) -> &'static str {
        match self {
            VerificationState::Different => "different",
            VerificationState::Unreadable => "unreadable",
            VerificationState::Open => "open",
            VerificationState::Failed => "failed",
            VerificationState::Interrupted => "interrupted",
            VerificationState::UnreadableThere => "unreadable_there",
            VerificationState::Overlooked => "overlooked",
            VerificationState::Attributes => "attributes",
            VerificationState::Incomparable => "incomparable",
            VerificationState::Good => "good",
        }
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            VerificationState::Different
            | VerificationState::Unreadable
            | VerificationState::Open
            | VerificationState::Failed
            | VerificationState::Interrupted => Severity::Critical,
            VerificationState::UnreadableThere
            | VerificationState::Overlooked
            | VerificationState::Attributes
            | VerificationState::Incomparable => Severity::Warning,
            VerificationState::Good => Severity::Ok,
        }
    }

    /// What to do about it.
    fn advice(self) -> Option<&'static str> {
        match self {
            VerificationState::Different => Some(
                "one of the two is damaged (see `zpool status -v`, `dmesg`, and the host's disks), or a program changed \
                 the file before the copy and set its time back",
            ),
            VerificationState::Unreadable => Some("the store is failing: see `zpool status -v` and `dmesg`"),
            VerificationState::UnreadableThere => {
                Some("is its disk failing, or may the user that logs in not read it (`sudo = true`)?")
            }
            VerificationState::Overlooked => Some("runs would not see this by themselves"),
            VerificationState::Attributes => Some(
                "the next run compares these itself and corrects what the store can keep; if they still differ \
                 from the host after it, see its warnings about attributes",
            ),
            VerificationState::Incomparable => Some(
                "back the host up and verify at once; if files still count as changed, the store's filesystem does \
                 not keep their times: see `backup check`",
            ),
            _ => None,
        }
    }
}

/// The verification of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The host's name as its inventory spells it; also one that is unfit to
    /// be a host's.
    pub host: String,
    /// The snapshot that was compared, and when it was taken.
    pub snapshot: Option<(String, DateTime<Utc>)>,
    /// The figures.
    pub tally: Tally,
    /// The first files that something is the matter with, at most [`MOST_OPEN`].
    pub findings: Vec<Finding>,
    /// What is open after it, of this verification and of earlier ones.
    pub open: OpenFindings,
    /// Why what it found is not remembered, if it is not.
    pub unrecorded: Option<String>,
    /// Why it broke off, if it did.
    pub stop: Option<Stop>,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub finished: DateTime<Utc>,
}

impl Verification {
    /// A verification that begins.
    pub fn of(host: impl Into<String>, now: DateTime<Utc>) -> Self {
        Verification {
            host: host.into(),
            snapshot: None,
            tally: Tally::default(),
            findings: Vec::new(),
            open: OpenFindings::default(),
            unrecorded: None,
            stop: None,
            started: now,
            finished: now,
        }
    }

    /// Counts a file that something is the matter with.
    pub fn find(&mut self, path: Vec<u8>, matter: Matter, reason: Option<String>) {
        let tally = &mut self.tally;
        *match matter {
            Matter::Different(_) | Matter::Resized(_) => &mut tally.different,
            Matter::Unreadable => &mut tally.unreadable,
            Matter::UnreadableThere => &mut tally.unreadable_there,
            Matter::Overlooked(_) => &mut tally.overlooked,
            Matter::Attributes(_) => &mut tally.attributes,
        } += 1;
        if self.findings.len() < MOST_OPEN {
            self.findings.push(Finding { path, matter, reason });
        }
    }

    /// How it went: the worst of all.
    pub fn state(&self) -> VerificationState {
        let tally = &self.tally;
        let states = [
            (tally.different > 0, VerificationState::Different),
            (tally.unreadable > 0, VerificationState::Unreadable),
            (self.open.severity() == Severity::Critical, VerificationState::Open),
            (self.unrecorded.is_some(), VerificationState::Failed),
            (matches!(self.stop, Some(Stop::Failed(_))), VerificationState::Failed),
            (self.stop == Some(Stop::Interrupted), VerificationState::Interrupted),
            (tally.unreadable_there > 0, VerificationState::UnreadableThere),
            (tally.overlooked > 0 || !self.open.is_empty(), VerificationState::Overlooked),
            (tally.attributes > 0, VerificationState::Attributes),
            // A copy without files is compared at once; the guard has judged it.
            (
                tally.files > 0 && tally.identical * ENOUGH < tally.sampled.max(1),
                VerificationState::Incomparable,
            ),
        ];
        states.iter().find(|(holds, _)| *holds).map_or(VerificationState::Good, |(_, state)| *state)
    }

    /// How long it took.
    pub fn duration(&self) -> Duration {
        (self.finished - self.started).to_std().unwrap_or_default()
    }

    /// What to say of it in one line, without the host's name: the worst first.
    pub fn summary(&self) -> String {
        let tally = &self.tally;
        let mut parts = Vec::new();
        let mut count = |count: u64, what: &str| {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        };
        count(tally.different, "different with the same time");
        count(tally.unreadable, "unreadable in the snapshot");
        count(tally.unreadable_there, "unreadable on the host");
        count(tally.overlooked, "changed since with the same size and time");
        count(tally.identical, "identical");
        count(tally.changed, "changed since");
        count(tally.gone, "gone since");
        count(tally.attributes, "not as on the host beside contents");
        count(tally.too_large, "left out for their size");
        let mut said = Vec::new();
        match &self.stop {
            Some(Stop::Failed(why)) => said.push(why.clone()),
            Some(Stop::Interrupted) => said.push("interrupted before it was done".to_owned()),
            None if self.state() == VerificationState::Incomparable => said.push(match tally.identical {
                0 => "nothing could be compared".to_owned(),
                count => {
                    format!("almost nothing could be compared: {count} of {}", counted(tally.sampled, "file"))
                }
            }),
            None => {}
        }
        if self.state() == VerificationState::Open {
            said.push(self.open.summary());
        }
        said.extend(self.unrecorded.iter().map(|why| format!("the findings could not be recorded: {why}")));
        if let Some((name, _)) = &self.snapshot {
            if self.stop.is_none() || tally.sampled > 0 {
                let counts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
                said.push(format!(
                    "{} of {} compared with {name}{counts}; {} read in {}",
                    tally.sampled,
                    counted(tally.files, "file"),
                    human_bytes(tally.bytes),
                    human_duration(self.duration())
                ));
            }
        }
        said.join("; ")
    }

    /// The lines behind the summary: files that something is the matter with,
    /// and what to do.
    pub fn details(&self) -> Vec<String> {
        let tally = &self.tally;
        let mut lines: Vec<String> =
            self.findings.iter().take(MOST_FINDINGS).map(ToString::to_string).collect();
        let all =
            tally.different + tally.unreadable + tally.unreadable_there + tally.overlooked + tally.attributes;
        let more = all.saturating_sub(lines.len() as u64);
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        if tally.too_large > 0 {
            lines.push("a sample reads a limited number of bytes; `--all` reads everything".to_owned());
        }
        lines.extend(self.state().advice().map(str::to_owned));
        if !self.open.is_empty() {
            lines.push(self.open.remedy().to_owned());
        }
        lines
    }

    /// What wakes somebody where a copy is worth less than its verdict says. Anything
    /// else is the business of runs.
    pub fn alarm(&self) -> Option<Alarm> {
        let alarming = [VerificationState::Different, VerificationState::Unreadable, VerificationState::Open];
        (self.snapshot.is_some() && alarming.contains(&self.state())).then(|| Alarm {
            summary: format!("verification failed: {}", self.summary()),
            details: self.details(),
        })
    }
}

/// What is critical about a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// In one line.
    pub summary: String,
    /// The lines behind it.
    pub details: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeDelta, TimeZone};

    fn time() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 20, 2, 0, 5).unwrap()
    }

    fn verified(change: impl FnOnce(&mut Verification)) -> Verification {
        let mut verification = Verification::of("VPN", time());
        verification.snapshot = Some(("backup-2026-11-20T020005Z".to_owned(), time()));
        verification.tally =
            Tally { files: 1000, sampled: 200, identical: 190, changed: 8, gone: 2, ..Tally::default() };
        verification.tally.bytes = 4096;
        verification.finished = time() + TimeDelta::seconds(12);
        change(&mut verification);
        verification
    }

    #[test]
    fn the_worst_is_what_a_verification_comes_to() {
        let different = |v: &mut Verification| v.find(b"etc/passwd".to_vec(), Matter::Different(None), None);
        let unreadable = |v: &mut Verification| v.find(b"x".to_vec(), Matter::Unreadable, None);
        let lost = |v: &mut Verification| v.stop = Some(Stop::Failed("lost".to_owned()));
        for (verification, state, alarm, reason) in [
            (verified(|_| ()), VerificationState::Good, false, "files change and go"),
            (verified(different), VerificationState::Different, true, "one of the two is damaged"),
            (verified(unreadable), VerificationState::Unreadable, true, "the store is sick"),
            (
                verified(|v| {
                    unreadable(v);
                    different(v);
                }),
                VerificationState::Different,
                true,
                "the worse of both",
            ),
            (
                verified(|v| {
                    lost(v);
                    different(v);
                }),
                VerificationState::Different,
                true,
                "what was found stays found",
            ),
            (verified(lost), VerificationState::Failed, false, "the next run will say it"),
            (
                verified(|v| v.stop = Some(Stop::Interrupted)),
                VerificationState::Interrupted,
                false,
                "somebody wanted it",
            ),
            (
                verified(|v| v.find(Vec::new(), Matter::UnreadableThere, None)),
                VerificationState::UnreadableThere,
                false,
                "the next run will say it",
            ),
            (
                verified(|v| v.find(Vec::new(), Matter::Overlooked(time()), None)),
                VerificationState::Overlooked,
                false,
                "the copy is what it was then",
            ),
            (
                verified(|v| v.tally.identical = 0),
                VerificationState::Incomparable,
                false,
                "nothing is known now",
            ),
            (
                verified(|v| v.tally.identical = 19),
                VerificationState::Incomparable,
                false,
                "less than a tenth says nothing",
            ),
            (verified(|v| v.tally.identical = 20), VerificationState::Good, false, "a tenth says something"),
            (
                verified(|v| {
                    let found = Finding { path: b"x".to_vec(), matter: Matter::Unreadable, reason: None };
                    v.open.open(&[found], "one", time());
                }),
                VerificationState::Open,
                true,
                "an earlier one found it, and it is not mended",
            ),
            (
                verified(|v| v.tally = Tally::default()),
                VerificationState::Good,
                false,
                "a copy without files",
            ),
        ] {
            assert_eq!(verification.state(), state, "{reason}");
            assert_eq!(verification.alarm().is_some(), alarm, "{reason}");
            assert_eq!(state.severity() == Severity::Ok, state == VerificationState::Good, "{reason}");
        }
    }

    #[test]
    fn an_alarm_is_critical_and_names_the_files() {
        let mut verification = verified(|v| v.tally.identical = 165);
        for number in 0..25 {
            verification.find(format!("file\n{number}").into_bytes(), Matter::Different(Some(time())), None);
        }
        let alarm = verification.alarm().unwrap();
        assert_eq!(verification.state().severity(), Severity::Critical);
        assert_eq!(
            alarm.summary,
            "verification failed: 200 of 1000 files compared with backup-2026-11-20T020005Z: \
             25 different with the same time, 165 identical, 8 changed since, 2 gone since; \
             4.0 KiB read in 12s"
        );
        let details = alarm.details;
        assert_eq!(details.len(), MOST_FINDINGS + 2);
        assert_eq!(
            details[0],
            "`file\\n0`: same size and time, other contents; unchanged there since 2026-11-20 02:00 UTC"
        );
        assert_eq!(details[MOST_FINDINGS], "and 5 more");
    }

    #[test]
    fn a_verification_that_breaks_off_says_why_first() {
        let broken = verified(|v| v.stop = Some(Stop::Failed("the connection was lost".to_owned())));
        assert!(broken.summary().starts_with("the connection was lost; 200 of 1000 files compared with "));
        let never = verified(|v| {
            v.tally = Tally::default();
            v.stop = Some(Stop::Failed("no route".to_owned()));
        });
        assert_eq!(never.summary(), "no route");
    }
}
