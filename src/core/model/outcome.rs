//! What became of a host: how bad it is, one line that says it, and the exit
//! code of a run.

mod hook;

pub use hook::{Allowed, HookEnd, HookResult};

use crate::core::format::text::{human_bytes, human_duration, shortened};
use crate::core::format::timing::Timings;
use crate::core::model::snapshot::{SnapshotName, Verdict};
use chrono::{DateTime, Utc};
use std::fmt;
use std::time::Duration;

/// How bad something is; also a monitoring plugin's states 0, 1 and 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Someone should look in the morning.
    Warning,
    /// Someone should look now.
    Critical,
}

impl Severity {
    /// The state that a monitoring plugin would exit with.
    pub fn state(self) -> u8 {
        match self {
            Severity::Ok => 0,
            Severity::Warning => 1,
            Severity::Critical => 2,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Ok => "OK",
            Severity::Warning => "WARNING",
            Severity::Critical => "CRITICAL",
        })
    }
}

/// What a run was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Learning about the host.
    Inventory,
    /// Taking its lock.
    Lock,
    /// Readying its place in the store.
    Store,
    /// Reaching it.
    Connect,
    /// Asking what is there.
    Probe,
    /// Copying.
    Transfer,
    /// Keeping what was copied.
    Snapshot,
    /// A fault of this program.
    Internal,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stage::Inventory => "inventory",
            Stage::Lock => "lock",
            Stage::Store => "store",
            Stage::Connect => "connect",
            Stage::Probe => "probe",
            Stage::Transfer => "transfer",
            Stage::Snapshot => "snapshot",
            Stage::Internal => "internal",
        })
    }
}

/// What became of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Copied, and a snapshot taken.
    Copied {
        /// What the snapshot is worth.
        verdict: Verdict,
        /// Why it is worth less than good; empty where it is good.
        why: String,
        /// The snapshot.
        snapshot: SnapshotName,
    },
    /// Nothing was kept.
    Failed {
        /// What was being done.
        stage: Stage,
        /// What went wrong and what to try.
        why: String,
    },
    /// Another run has the host.
    Skipped {
        /// Who has it.
        why: String,
    },
    /// The run was told to stop before the host was done, or begun.
    Interrupted,
}

/// Something that a report says beside the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How bad it is.
    pub severity: Severity,
    /// What it is; the first line says it, further lines are its details.
    pub text: String,
}

/// The longest text of a note, and of an outcome's reason, in characters: what a
/// host said may be in it.
const LONGEST_TEXT: usize = 16 * 1024;

impl Note {
    /// The note, cut to what somebody may still read.
    #[must_use]
    pub fn cut(self) -> Self {
        Note { text: shortened(&self.text, LONGEST_TEXT), ..self }
    }
}

impl Outcome {
    /// The outcome, its reason cut to what somebody may still read.
    #[must_use]
    pub fn cut(self) -> Self {
        let cut = |why: String| shortened(&why, LONGEST_TEXT);
        match self {
            Outcome::Copied { verdict, why, snapshot } => {
                Outcome::Copied { verdict, why: cut(why), snapshot }
            }
            Outcome::Failed { stage, why } => Outcome::Failed { stage, why: cut(why) },
            Outcome::Skipped { why } => Outcome::Skipped { why: cut(why) },
            Outcome::Interrupted => Outcome::Interrupted,
        }
    }
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Files, directories, links and so on that the copy holds.
    pub files: u64,
    /// Bytes that the copied files hold together.
    pub bytes: u64,
    /// Bytes that came over the wire.
    pub received: u64,
    /// Regular files that were new or changed.
    pub changed: u64,
    /// Bytes that those hold together.
    pub changed_bytes: u64,
    /// Files removed from the copy.
    pub deleted: u64,
}

/// All that a run says about one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReport {
    /// The host's name as its inventory spells it; also one that is unfit to
    /// be backed up. Empty for a nameless one.
    pub host: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What else is to be said.
    pub notes: Vec<Note>,
    /// When its run began.
    pub started: DateTime<Utc>,
    /// When its run ended.
    pub finished: DateTime<Utc>,
    /// What was copied, where something was.
    pub figures: Option<Figures>,
    /// What the end of each try to copy meant, in order: more than one where the
    /// connection was lost.
    pub transfers: Vec<String>,
    /// How the host's hooks went, in order.
    pub hooks: Vec<HookResult>,
    /// Where the time went.
    pub timings: Timings,
    /// How many snapshots of ours the host has now, if known.
    pub snapshots: Option<usize>,
    /// When its newest good snapshot was taken, if it has one and it is known.
    pub last_good: Option<DateTime<Utc>>,
}

impl HostReport {
    /// Of a host of which nothing is known but what became of it.
    pub fn bare(
        host: impl Into<String>,
        outcome: Outcome,
        started: DateTime<Utc>,
        finished: DateTime<Utc>,
    ) -> Self {
        HostReport {
            host: host.into(),
            outcome,
            notes: Vec::new(),
            started,
            finished,
            figures: None,
            transfers: Vec::new(),
            hooks: Vec::new(),
            timings: Timings::default(),
            snapshots: None,
            last_good: None,
        }
    }

    /// The worst of the outcome and the notes.
    pub fn severity(&self) -> Severity {
        let outcome = match &self.outcome {
            Outcome::Copied { verdict: Verdict::Good, .. } => Severity::Ok,
            Outcome::Copied { verdict: Verdict::Partial, .. } | Outcome::Skipped { .. } => Severity::Warning,
            Outcome::Copied { verdict: Verdict::Suspect, .. }
            | Outcome::Failed { .. }
            | Outcome::Interrupted => Severity::Critical,
        };
        self.notes.iter().map(|note| note.severity).fold(outcome, Severity::max)
    }

    /// The order in which reports are shown: those that need a look last, where
    /// one sees them.
    pub fn rank(&self) -> (Severity, String) {
        (self.severity(), self.host.to_lowercase())
    }

    /// How long the host's run took.
    pub fn duration(&self) -> Duration {
        (self.finished - self.started).to_std().unwrap_or_default()
    }

    /// One word for a table.
    pub fn word(&self) -> &'static str {
        match &self.outcome {
            Outcome::Copied { verdict: Verdict::Good, .. } => "good",
            Outcome::Copied { verdict: Verdict::Partial, .. } => "partial",
            Outcome::Copied { verdict: Verdict::Suspect, .. } => "suspect",
            Outcome::Failed { .. } => "failed",
            Outcome::Skipped { .. } => "skipped",
            Outcome::Interrupted => "interrupted",
        }
    }

    /// What is to be said of the host beside its figures, in one line: the worst
    /// first. The same for hosts that fared alike: their own names stand there
    /// as `HOST`.
    pub fn problem(&self) -> String {
        without_name(&self.problems().join("; "), &self.host)
    }

    fn problems(&self) -> Vec<String> {
        let mut parts = Vec::new();
        match &self.outcome {
            Outcome::Copied { verdict, why, .. } => {
                if !why.is_empty() {
                    parts.push(format!("{verdict} copy: {why}"));
                }
            }
            Outcome::Failed { stage, why } => parts.push(format!("{stage} failed: {}", first_line(why))),
            Outcome::Skipped { why } => parts.push(format!("skipped: {why}")),
            Outcome::Interrupted => {
                parts.push("interrupted before it was done; no snapshot was taken".to_owned())
            }
        }
        let mut notes: Vec<&Note> = self.notes.iter().collect();
        notes.sort_by_key(|note| std::cmp::Reverse(note.severity));
        parts.extend(notes.iter().map(|note| first_line(&note.text).to_owned()));
        parts
    }

    /// What to say of the host in one line, without its name and severity:
    /// the worst first.
    pub fn summary(&self) -> String {
        let mut parts = self.problems();
        if let Some(figures) = self.figures {
            parts.push(format!(
                "{} files, {}, {} received in {}",
                figures.files,
                human_bytes(figures.bytes),
                human_bytes(figures.received),
                human_duration(self.duration()),
            ));
        }
        match self.past_good() {
            Some(time) if time.is_empty() => parts.push("no good copy known".to_owned()),
            Some(time) => parts.push(format!("last good copy {time}")),
            None => {}
        }
        parts.join("; ")
    }

    /// Of when the last good copy is, where this run has made none and that is no
    /// good news; empty if there is no such copy.
    pub fn past_good(&self) -> Option<String> {
        let is_good = matches!(self.outcome, Outcome::Copied { verdict: Verdict::Good, .. });
        if is_good || self.severity() == Severity::Ok {
            return None;
        }
        Some(self.last_good.map(|time| time.format("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default())
    }

    /// The lines behind the summary: all of what went wrong, with details.
    pub fn details(&self) -> Vec<&str> {
        let whole = match &self.outcome {
            Outcome::Failed { why, .. } => Some(why.as_str()),
            _ => None,
        };
        whole
            .into_iter()
            .chain(self.notes.iter().map(|note| note.text.as_str()))
            .filter(|text| text.lines().nth(1).is_some())
            .flat_map(|text| text.lines().skip(1))
            .collect()
    }
}

/// The text with `HOST` for a host's name, in any case, wherever it stands by
/// itself.
fn without_name(text: &str, name: &str) -> String {
    if name.is_empty() {
        return text.to_owned();
    }
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let mut said = String::new();
    let mut done = 0;
    // ASCII letters alone: so places are the same in both texts.
    for (at, _) in text.to_ascii_lowercase().match_indices(&name.to_ascii_lowercase()) {
        let end = at + name.len();
        let (before, after) = (text[..at].chars().next_back(), text[end..].chars().next());
        if !before.is_some_and(is_part) && !after.is_some_and(is_part) {
            said.push_str(&text[done..at]);
            said.push_str("HOST");
            done = end;
        }
    }
    said + &text[done..]
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The exit code of a run that started: 0 if every host is good and everyone
/// who is told of it was told, else 1. (2 is for a run that could not start.)
pub fn exit_code(reports: &[HostReport], problems: bool) -> u8 {
    let all_good = reports.iter().all(|report| report.severity() == Severity::Ok);
    u8::from(!all_good || problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    fn report(outcome: Outcome) -> HostReport {
        let time = Utc.with_ymd_and_hms(2026, 11, 20, 2, 0, 0).unwrap();
        HostReport {
            host: "vpn".into(),
            outcome,
            notes: Vec::new(),
            started: time,
            finished: time + chrono::TimeDelta::seconds(12),
            figures: None,
            transfers: Vec::new(),
            hooks: Vec::new(),
            timings: Timings::default(),
            snapshots: None,
            last_good: None,
        }
    }

    fn copied(verdict: Verdict) -> Outcome {
        let snapshot = SnapshotName::at(Utc.with_ymd_and_hms(2026, 11, 20, 2, 0, 5).unwrap());
        Outcome::Copied { verdict, why: String::new(), snapshot }
    }

    #[test]
    fn every_outcome_has_its_severity() {
        let failed = Outcome::Failed { stage: Stage::Connect, why: "no route".into() };
        for (outcome, severity, why) in [
            (copied(Verdict::Good), Severity::Ok, "a whole copy"),
            (copied(Verdict::Partial), Severity::Warning, "most of it is there"),
            (copied(Verdict::Suspect), Severity::Critical, "perhaps nothing is there"),
            (Outcome::Skipped { why: "busy".into() }, Severity::Warning, "the other run reports"),
            (failed, Severity::Critical, "nothing was kept"),
            (Outcome::Interrupted, Severity::Critical, "nothing was kept"),
        ] {
            assert_eq!(report(outcome).severity(), severity, "{why}");
        }
    }

    #[test]
    fn a_failed_hook_makes_a_good_copy_critical_and_comes_first() {
        let mut report = report(copied(Verdict::Good));
        report.notes.push(Note { severity: Severity::Ok, text: "3 files vanished".into() });
        report.notes.push(Note {
            severity: Severity::Critical,
            text: "hook mysql failed (exit 1)\nno such database".into(),
        });
        report.figures = Some(Figures {
            files: 10,
            bytes: 4096,
            received: 100,
            changed: 1,
            changed_bytes: 50,
            deleted: 0,
        });
        assert_eq!(report.severity(), Severity::Critical);
        assert_eq!(
            report.summary(),
            "hook mysql failed (exit 1); 3 files vanished; 10 files, 4.0 KiB, 100 B received in 12s"
        );
        assert_eq!(report.details(), ["no such database"]);
        assert_eq!(exit_code(&[report], false), 1);
    }

    #[test]
    fn hosts_that_fared_alike_have_one_problem_whatever_they_are_called() {
        let of = |host: &str, address: &str| {
            let why = format!("no address is known for `{address}`; is a web-1a there?\nssh: {address}");
            let outcome = Outcome::Failed { stage: Stage::Connect, why };
            HostReport { host: host.into(), ..report(outcome) }
        };
        let said = "connect failed: no address is known for `HOST.example.org`; is a web-1a there?";
        assert_eq!(of("Web-1", "web-1.example.org").problem(), said);
        assert_eq!(of("db", "db.example.org").problem(), said);
        assert_eq!(of("", "x").problem(), "connect failed: no address is known for `x`; is a web-1a there?");
        assert!(of("db", "db.example.org").summary().contains("`db.example.org`"), "of one the name is said");
    }

    #[test]
    fn trouble_beside_the_hosts_fails_the_exit_code() {
        let good = [report(copied(Verdict::Good))];
        assert_eq!(exit_code(&good, false), 0);
        assert_eq!(exit_code(&good, true), 1);
    }
}
