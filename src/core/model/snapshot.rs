//! Snapshots: their names, the facts that ride on them, and what they are worth.

mod overview;

pub use overview::{Growth, Overview, Taken};

use chrono::{DateTime, NaiveDateTime, Timelike, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How a snapshot's time is written in its name: UTC, sorts by time, no colon.
const FORMAT: &str = "backup-%Y-%m-%dT%H%M%SZ";

/// The name of a snapshot that a run takes: `backup-2026-11-20T020005Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName(DateTime<Utc>);

impl SnapshotName {
    /// The name of a snapshot taken at `time`, to the second.
    pub fn at(time: DateTime<Utc>) -> Self {
        SnapshotName(time.with_nanosecond(0).unwrap_or(time))
    }

    /// When the snapshot was taken, to the second.
    pub fn time(&self) -> DateTime<Utc> {
        self.0
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.format(FORMAT).to_string())
    }
}

/// A name that no run gave to a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a snapshot of ours")]
pub struct NotOurs(pub String);

impl FromStr for SnapshotName {
    type Err = NotOurs;

    fn from_str(name: &str) -> Result<Self, NotOurs> {
        let parsed = NaiveDateTime::parse_from_str(name, FORMAT)
            .map(|time| SnapshotName(time.and_utc()))
            .map_err(|_| NotOurs(name.to_owned()))?;
        // chrono also reads `2026-1-2`: only the one spelling is a name.
        if parsed.to_string() == name { Ok(parsed) } else { Err(NotOurs(name.to_owned())) }
    }
}

/// Whether a name is one that the ancestor, a Python program, gave:
/// `backup-daily-2024-07-14`, likewise `weekly`, `monthly` and `yearly`.
pub fn is_ancestors(name: &str) -> bool {
    ["backup-daily-", "backup-weekly-", "backup-monthly-", "backup-yearly-"]
        .iter()
        .filter_map(|prefix| name.strip_prefix(prefix))
        .any(|date| date.len() == 10 && chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok())
}

/// The longest name of a hold, in bytes.
pub const LONGEST_HOLD: usize = 100;

/// The name that a snapshot is held under, so that whoever holds it can be told
/// from others and release just that. Fit to be a word of `zfs hold`, and a line
/// of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldName(String);

/// A name that a hold cannot have, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be the name of a hold: {why}", crate::core::format::text::printable(.name))]
pub struct UnfitHoldName {
    /// The name as it was given.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl HoldName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HoldName {
    type Err = UnfitHoldName;

    fn from_str(name: &str) -> Result<Self, UnfitHoldName> {
        let unfit = |why| Err(UnfitHoldName { name: name.to_owned(), why });
        if name.is_empty() {
            return unfit("it is empty");
        }
        if name.len() > LONGEST_HOLD {
            return unfit("it is longer than 100 bytes");
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b)) {
            return unfit("only the letters a to z, digits, `-`, `_`, `.` and `:` are allowed");
        }
        // ZFS keeps the names with a dot for itself.
        if name.starts_with(['-', '.']) {
            return unfit("it must begin with neither `-` nor `.`");
        }
        Ok(HoldName(name.to_owned()))
    }
}

impl fmt::Display for HoldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a snapshot is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A whole copy.
    Good,
    /// Some files could not be read.
    Partial,
    /// Implausible: the guard refused to believe it.
    Suspect,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Good => "good",
            Verdict::Partial => "partial",
            Verdict::Suspect => "suspect",
        })
    }
}

impl FromStr for Verdict {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "good" => Ok(Verdict::Good),
            "partial" => Ok(Verdict::Partial),
            "suspect" => Ok(Verdict::Suspect),
            other => Err(format!("`{other}` is no verdict; good, partial and suspect are")),
        }
    }
}

/// The facts that ride on a snapshot: as ZFS user properties under
/// `backup:`, or as the members of `{name}.json` in the directory store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The run that took it.
    pub run: String,
    /// What it is worth.
    pub verdict: Verdict,
    /// How many files, directories, links and so on the copy holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// How many bytes the copied files hold together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How long the host's run took up to its snapshot, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// The copied machine's `/etc/machine-id`, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// What the copied machine calls itself (`uname -n`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// What was told of mounts that hold data and are not copied; see
    /// [`crate::core::filter::Missed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// Whether the clock of the copied machine agreed with this server's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clock_agreed: bool,
}

impl Facts {
    /// The facts of a run of which nothing but its verdict is known.
    pub fn new(run: String, verdict: Verdict) -> Self {
        Facts {
            run,
            verdict,
            files: None,
            bytes: None,
            duration: None,
            machine: None,
            hostname: None,
            left_out: None,
            clock_agreed: false,
        }
    }
}

/// Whose a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A run of ours took it, and says so on the snapshot itself.
    Run(Facts),
    /// The ancestor took it; it counts as good.
    Ancestor,
    /// Somebody else's: never listed for removal, whatever its name looks like.
    Foreign,
}

/// One snapshot of one host, as its store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name, without the dataset or path.
    pub name: String,
    /// When it was taken: as our own name says, else as the store says.
    pub time: DateTime<Utc>,
    /// Somebody asked for it to be kept (`zfs hold`).
    pub held: bool,
    /// Whose it is.
    pub origin: Origin,
}

impl Snapshot {
    /// What it is worth; `None` for a foreign one.
    pub fn verdict(&self) -> Option<Verdict> {
        match &self.origin {
            Origin::Run(facts) => Some(facts.verdict),
            Origin::Ancestor => Some(Verdict::Good),
            Origin::Foreign => None,
        }
    }

    /// Whether it is ours to rotate.
    pub fn is_ours(&self) -> bool {
        self.origin != Origin::Foreign
    }

    /// Whether its date says something of the time: it is ours, and believed.
    pub fn tells_the_time(&self) -> bool {
        self.verdict().is_some_and(|verdict| verdict != Verdict::Suspect)
    }

    /// Whether it is ours and a whole copy.
    pub fn is_good(&self) -> bool {
        self.verdict() == Some(Verdict::Good)
    }

    /// The facts that its run left on it.
    pub fn facts(&self) -> Option<&Facts> {
        match &self.origin {
            Origin::Run(facts) => Some(facts),
            Origin::Ancestor | Origin::Foreign => None,
        }
    }
}

/// The newest good one among a host's snapshots, whatever time it is.
pub fn newest_good(snapshots: &[Snapshot]) -> Option<&Snapshot> {
    snapshots.iter().filter(|s| s.is_good()).max_by_key(|s| s.time)
}

/// The latest good one among a host's snapshots: the newest that is not dated in
/// the future. A wrong clock dated such a one, and what it holds is old by the
/// time that its date has come.
pub fn latest_good(snapshots: &[Snapshot], now: DateTime<Utc>) -> Option<&Snapshot> {
    snapshots.iter().filter(|s| s.is_good() && s.time <= now).max_by_key(|s| s.time)
}

/// What a new copy is measured by: the latest good one, or where a clock that is
/// wrong leaves none, the newest.
pub fn baseline(snapshots: &[Snapshot], now: DateTime<Utc>) -> Option<&Snapshot> {
    latest_good(snapshots, now).or_else(|| newest_good(snapshots))
}

/// Those of ours that are dated in the future.
pub fn of_the_future(snapshots: &[Snapshot], now: DateTime<Utc>) -> impl Iterator<Item = &Snapshot> {
    snapshots.iter().filter(move |snapshot| snapshot.is_ours() && snapshot.time > now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    #[test]
    fn a_name_is_utc_and_has_no_colon() {
        let time = Utc.with_ymd_and_hms(2026, 11, 20, 2, 0, 5).unwrap();
        let name = SnapshotName::at(time + chrono::TimeDelta::milliseconds(999));
        assert_eq!(name.to_string(), "backup-2026-11-20T020005Z");
        assert_eq!("backup-2026-11-20T020005Z".parse(), Ok(name));
        assert_eq!(name.time(), time);
    }

    #[test]
    fn other_spellings_are_somebody_elses() {
        for name in [
            "backup-2026-11-20T02:00:05Z",
            "backup-2026-11-20T020005",
            "backup-2026-1-2T020005Z",
            "xbackup-2026-11-20T020005Z",
            "backup-2026-13-20T020005Z",
            "backup-2026-11-20T020005Zx",
            "",
            "latest",
        ] {
            assert!(name.parse::<SnapshotName>().is_err(), "{name}");
        }
    }

    #[test]
    fn no_name_of_a_hold_is_an_option_a_line_or_one_of_zfs_own() {
        let (fits, long) = ("x".repeat(LONGEST_HOLD), "x".repeat(LONGEST_HOLD + 1));
        for name in ["kept", "before-18.04_upgrade", "ticket:4711", "7", "_", ":", &fits] {
            assert_eq!(name.parse::<HoldName>().unwrap().to_string(), name);
        }
        for name in ["", "-r", ".send-17-1", "a b", "a\tb", "a\n", "a/b", "a@b", "é", "a,b", "a%", &long] {
            assert!(name.parse::<HoldName>().is_err(), "{name:?}");
        }
        assert_eq!(
            "a b".parse::<HoldName>().unwrap_err().to_string(),
            "`a b` cannot be the name of a hold: only the letters a to z, digits, `-`, `_`, `.` and `:` are allowed"
        );
    }

    #[test]
    fn the_ancestors_names_are_known() {
        for name in [
            "backup-daily-2024-07-14",
            "backup-weekly-2024-07-14",
            "backup-monthly-2020-02-29",
            "backup-yearly-2019-01-01",
        ] {
            assert!(is_ancestors(name), "{name}");
        }
        for name in [
            "backup-daily-2024-7-14",
            "backup-hourly-2024-07-14",
            "backup-daily-2024-07-14-x",
            "backup-daily-2023-02-29",
            "tds-before-18.04-upgrade",
        ] {
            assert!(!is_ancestors(name), "{name}");
        }
    }
}
