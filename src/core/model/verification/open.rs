//! Findings that are not mended yet: what is remembered of them, and what they
//! come to until then.
//!
//! A finding is closed by what is known of that very file, never by time or by
//! a sample that missed it.

use super::{Finding, Matter};
use crate::core::format::text::printable_bytes;
use crate::core::model::outcome::Severity;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;

/// How many findings of a host are remembered one by one.
pub const MOST_OPEN: usize = 10_000;
/// How many of them are named in one line.
const NAMED: usize = 3;

/// What is the matter with a file of the copy, without the times of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Damage {
    /// It has the time of the host's file and other contents.
    Different,
    /// It cannot be read.
    Unreadable,
    /// The host changed it and put size and time back, so that runs do not see
    /// the change.
    Overlooked,
}

impl Damage {
    /// What a finding leaves open until the copy is mended; `None` if that is
    /// nothing.
    fn of(matter: Matter) -> Option<Self> {
        match matter {
            Matter::Different(_) | Matter::Resized(_) => Some(Damage::Different),
            Matter::Unreadable => Some(Damage::Unreadable),
            Matter::Overlooked(_) => Some(Damage::Overlooked),
            // The next run says so itself, or compares it itself.
            Matter::UnreadableThere | Matter::Attributes(_) => None,
        }
    }

    fn severity(self) -> Severity {
        match self {
            Damage::Different | Damage::Unreadable => Severity::Critical,
            // The copy is what the host had then.
            Damage::Overlooked => Severity::Warning,
        }
    }
}

/// A finding that is not mended yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFinding {
    /// The path below the host's source, which may hold any byte.
    #[serde(serialize_with = "write_path", deserialize_with = "read_path")]
    pub path: Vec<u8>,
    /// What is the matter.
    pub damage: Damage,
    /// When it was found first.
    #[serde(serialize_with = "write_time")]
    pub found: DateTime<Utc>,
    /// The newest snapshot in which it was found.
    pub snapshot: String,
}

/// The findings of one host that are not mended yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFindings {
    findings: Vec<OpenFinding>,
    /// Since when there are more than are remembered one by one.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "write_some_time")]
    more_since: Option<DateTime<Utc>>,
}

impl OpenFindings {
    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty() && self.more_since.is_none()
    }

    /// Those that are remembered one by one.
    pub fn each(&self) -> &[OpenFinding] {
        &self.findings
    }

    /// The paths of those.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.findings.iter().map(|finding| finding.path.as_slice())
    }

    /// Since when something is open. Copies of that time and before may hold
    /// the only whole version of a file.
    pub fn since(&self) -> Option<DateTime<Utc>> {
        self.findings.iter().map(|finding| finding.found).chain(self.more_since).min()
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        let more = if self.more_since.is_some() { Severity::Critical } else { Severity::Ok };
        self.findings.iter().map(|finding| finding.damage.severity()).fold(more, Severity::max)
    }

    /// Takes what a verification of a snapshot found. One that is open already
    /// keeps the time when it was found first.
    pub fn open(&mut self, findings: &[Finding], snapshot: &str, now: DateTime<Utc>) {
        for finding in findings {
            let Some(damage) = Damage::of(finding.matter) else { continue };
            if let Some(known) = self.findings.iter_mut().find(|known| known.path == finding.path) {
                (known.damage, known.snapshot) = (damage, snapshot.to_owned());
            } else if self.findings.len() < MOST_OPEN {
                let (path, snapshot) = (finding.path.clone(), snapshot.to_owned());
                self.findings.push(OpenFinding { path, damage, found: now, snapshot });
            } else {
                self.open_more(now);
            }
        }
    }

    /// Takes that there are findings which are not remembered one by one.
    pub fn open_more(&mut self, now: DateTime<Utc>) {
        self.more_since = self.more_since.or(Some(now));
    }

    /// Closes the findings of these paths; those that were found in `but` stay.
    pub fn close(&mut self, paths: &BTreeSet<Vec<u8>>, but: Option<&str>) {
        self.findings
            .retain(|finding| Some(finding.snapshot.as_str()) == but || !paths.contains(&finding.path));
    }

    /// Closes those that are not remembered one by one: every file was compared.
    pub fn close_more(&mut self) {
        self.more_since = None;
    }

    /// What to say of them in one line; empty if nothing is open.
    pub fn summary(&self) -> String {
        let Some(since) = self.since() else { return String::new() };
        let names: Vec<String> =
            self.paths().take(NAMED).map(|path| format!("`{}`", printable_bytes(path))).collect();
        let count = self.findings.len();
        let what = match (count, self.more_since.is_some()) {
            (1, false) => "1 file of the copy that `verify` found wrong is".to_owned(),
            (count, false) => format!("{count} files of the copy that `verify` found wrong are"),
            (count, true) => format!("more than {count} files of the copy that `verify` found wrong are"),
        };
        let others = if count > names.len() || self.more_since.is_some() { ", …" } else { "" };
        let since = since.format("%Y-%m-%d %H:%M UTC");
        format!("{what} not mended, since {since}: {}{others}", names.join(", "))
    }

    /// What mends them.
    pub fn remedy(&self) -> &'static str {
        match self.more_since {
            None => {
                "a good run copies them anew; a `backup verify` that finds them whole closes them as well"
            }
            Some(_) => {
                "a good run copies anew those that are known one by one; after it, `backup verify --all` must find \
                 nothing more"
            }
        }
    }
}

fn write_time<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn write_some_time<S: Serializer>(time: &Option<DateTime<Utc>>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => write_time(time, to),
        None => to.serialize_none(),
    }
}

/// A path as text: bytes that are no plain ASCII, and `%`, as `%` and two
/// hexadecimal digits.
fn write_path<S: Serializer>(path: &[u8], to: S) -> Result<S::Ok, S::Error> {
    let mut text = String::with_capacity(path.len());
    for &byte in path {
        if (byte.is_ascii_graphic() || byte == b' ') && byte != b'%' {
            text.push(byte.into());
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    to.serialize_str(&text)
}

/// The path that [`write_path`] wrote, if it leads to something below a copy.
fn read_path<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    use serde::de::Error;
    let text = String::deserialize(from)?;
    let path = plain(text.as_bytes()).ok_or_else(|| D::Error::custom(format!("`{text}` is no path")))?;
    let leads_astray = path.starts_with(b"/") || path.split(|byte| *byte == b'/').any(|name| name == b"..");
    if path.is_empty() || path.contains(&0) || leads_astray {
        return Err(D::Error::custom(format!("`{text}` does not lie below a copy")));
    }
    Ok(path)
}

fn plain(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        if first != b'%' {
            path.push(first);
            text = rest;
            continue;
        }
        let (digits, rest) = rest.split_at_checked(2)?;
        path.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        text = rest;
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeDelta, TimeZone};

    fn time(day: u32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, day, 2, 0, 5).unwrap()
    }

    fn found(path: &[u8], matter: Matter) -> Finding {
        Finding { path: path.to_vec(), matter, reason: None }
    }

    fn paths(paths: &[&[u8]]) -> BTreeSet<Vec<u8>> {
        paths.iter().map(|path| path.to_vec()).collect()
    }

    #[test]
    fn a_finding_stays_until_its_own_file_is_settled() {
        let mut open = OpenFindings::default();
        assert!(open.is_empty() && open.severity() == Severity::Ok && open.since().is_none());
        assert_eq!(open.summary(), "");
        open.open(&[found(b"etc/passwd", Matter::Different(None))], "one", time(20));
        open.open(
            &[found(b"srv/image", Matter::Unreadable), found(b"home/key", Matter::UnreadableThere)],
            "one",
            time(21),
        );
        assert_eq!(open.each().len(), 2, "what the host cannot read is told by the next run");
        assert_eq!((open.severity(), open.since()), (Severity::Critical, Some(time(20))));
        open.open(&[found(b"etc/passwd", Matter::Different(None))], "two", time(22));
        assert_eq!(
            (open.each().len(), open.since()),
            (2, Some(time(20))),
            "found twice, open since the first"
        );
        assert_eq!(
            open.summary(),
            "2 files of the copy that `verify` found wrong are not mended, since 2026-11-20 02:00 UTC: `etc/passwd`, \
             `srv/image`"
        );
        open.close(&paths(&[b"etc"]), None);
        open.close(&paths(&[b"etc/passwd"]), Some("two"));
        assert_eq!(open.each().len(), 2, "another path, and one that was found in that very snapshot");
        open.close(&paths(&[b"etc/passwd"]), Some("three"));
        assert_eq!(open.since(), Some(time(21)));
        open.close(&paths(&[b"srv/image"]), None);
        assert!(open.is_empty());
    }

    #[test]
    fn what_runs_did_not_see_is_open_as_a_warning() {
        let mut open = OpenFindings::default();
        open.open(&[found(b"a", Matter::Overlooked(time(20)))], "one", time(20));
        assert_eq!(open.severity(), Severity::Warning);
        open.open(&[found(b"a", Matter::Unreadable)], "one", time(20));
        assert_eq!(open.severity(), Severity::Critical, "worse by now");
    }

    #[test]
    fn more_than_are_remembered_are_not_forgotten() {
        let mut open = OpenFindings::default();
        let many: Vec<Finding> =
            (0..=MOST_OPEN).map(|n| found(n.to_string().as_bytes(), Matter::Unreadable)).collect();
        open.open(&many, "one", time(20));
        assert_eq!(open.each().len(), MOST_OPEN);
        let all: BTreeSet<Vec<u8>> = open.paths().map(<[u8]>::to_vec).collect();
        open.close(&all, None);
        assert!(!open.is_empty() && open.severity() == Severity::Critical && open.since() == Some(time(20)));
        assert!(open.summary().starts_with("more than 0 files "), "{}", open.summary());
        open.close_more();
        assert!(open.is_empty());
    }

    #[test]
    fn any_path_comes_back_as_it_was_and_none_leads_elsewhere() {
        let mut open = OpenFindings::default();
        let odd: [&[u8]; 7] =
            [b"two\nlines", b"-rf *", b"\xff\xfe", b"100%", b"a/[b]?", b".", "\u{202e}x".as_bytes()];
        for (number, path) in odd.iter().enumerate() {
            let at = time(20) + TimeDelta::seconds(i64::try_from(number).unwrap());
            open.open(&[found(path, Matter::Unreadable)], "one", at);
        }
        open.open_more(time(21));
        let text = serde_json::to_string(&open).unwrap();
        assert!(text.is_ascii() && text.contains("\"100%25\"") && text.contains("\"two%0alines\""), "{text}");
        assert_eq!(serde_json::from_str::<OpenFindings>(&text).unwrap(), open);
        for bad in ["/etc/passwd", "../x", "a/../../x", "", "%00", "%zz", "%1"] {
            let text = text.replace("100%25", bad);
            assert!(serde_json::from_str::<OpenFindings>(&text).is_err(), "{bad}");
        }
    }
}
