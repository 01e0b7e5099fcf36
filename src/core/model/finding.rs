//! What a look at something found: how bad it is, of what, and what to do.
//!
//! Everything that `backup check` says is a [`CheckFinding`]. One that is worse than
//! a note cannot be made without a remedy.

use crate::core::format::text::counted;
use serde::Serialize;
use std::fmt;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is as it should be.
    Ok,
    /// Worth knowing; backups are as good as without it.
    Note,
    /// Backups are made, and are worse or less safe for it.
    Warning,
    /// Backups will fail, or cannot be relied on.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        })
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckFinding {
    /// How much it matters.
    pub level: Level,
    /// What it is about: a file, an option, a dataset, a program.
    pub subject: String,
    /// What was found.
    pub text: String,
    /// What to do about it; always there from a warning on.
    pub remedy: Option<String>,
}

impl CheckFinding {
    /// Something that is as it should be.
    pub fn ok(subject: impl Into<String>, text: impl Into<String>) -> Self {
        CheckFinding { level: Level::Ok, subject: subject.into(), text: text.into(), remedy: None }
    }

    /// Something that is worth knowing, with what might be done.
    pub fn note(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        CheckFinding::ok(subject, text).with(Level::Note, remedy)
    }

    /// Something that makes backups worse or less safe.
    pub fn warning(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        CheckFinding::ok(subject, text).with(Level::Warning, remedy)
    }

    /// Something that makes backups fail.
    pub fn error(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        CheckFinding::ok(subject, text).with(Level::Error, remedy)
    }

    fn with(self, level: Level, remedy: impl Into<String>) -> Self {
        CheckFinding { level, remedy: Some(remedy.into()), ..self }
    }

    /// Something that was not looked at, and why.
    pub fn skipped(subject: impl Into<String>, why: impl Into<String>) -> Self {
        CheckFinding { level: Level::Note, ..CheckFinding::ok(subject, why) }
    }
}

/// Findings that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    /// What they are about, in one word.
    pub name: &'static str,
    /// In the order in which they are told.
    pub findings: Vec<CheckFinding>,
}

/// The worst level among findings; [`Level::Ok`] if there are none.
pub fn worst<'a>(findings: impl IntoIterator<Item = &'a CheckFinding>) -> Level {
    findings.into_iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// How many findings of each kind there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckTally {
    /// Findings that make backups fail.
    pub errors: usize,
    /// Findings that make them worse.
    pub warnings: usize,
}

impl CheckTally {
    /// Counts these as well.
    pub fn count<'a>(&mut self, findings: impl IntoIterator<Item = &'a CheckFinding>) {
        for finding in findings {
            match finding.level {
                Level::Error => self.errors += 1,
                Level::Warning => self.warnings += 1,
                Level::Ok | Level::Note => {}
            }
        }
    }

    /// Whether nothing stands in the way of backups that can be relied on.
    pub fn is_ready(self) -> bool {
        self == CheckTally::default()
    }
}

/// Written like `2 errors, 1 warning`.
impl fmt::Display for CheckTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.errors, "error"), (self.warnings, "warning")];
        let parts = parts.iter().filter(|(number, _)| *number > 0);
        let parts: Vec<String> = parts.map(|(number, what)| counted(*number, what)).collect();
        f.pad(&parts.join(", "))
    }
}

/// Names in a sentence, the first few of many: `a, b, c and 12 more`.
pub fn named<S: AsRef<str>>(names: &[S]) -> String {
    const NAMED: usize = 5;
    let shown: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_counts() {
        let (ok, note) = (CheckFinding::ok("a", "fine"), CheckFinding::note("b", "odd", "look"));
        let (warning, error) =
            (CheckFinding::warning("c", "bad", "mend"), CheckFinding::error("d", "worse", "mend"));
        assert_eq!(worst(&[]), Level::Ok);
        assert_eq!(worst([&ok, &note]), Level::Note);
        assert_eq!(worst([&error, &warning, &ok]), Level::Error);
        let mut tally = CheckTally::default();
        tally.count([&ok, &note]);
        assert!(tally.is_ready(), "notes stand in nobody's way");
        tally.count([&warning, &error, &error]);
        assert_eq!((tally.is_ready(), tally.to_string().as_str()), (false, "2 errors, 1 warning"));
    }

    #[test]
    fn of_many_names_the_first_are_told() {
        assert_eq!(named(&["a", "b"]), "a, b");
        assert_eq!(named(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
    }
}
