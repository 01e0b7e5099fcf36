//! What is wrong, how bad that is, and what to do about it.
//!
//! What is wrong begins with the reason, so that a line that is cut short still
//! says it. The two texts are told together by one function, and never taken
//! apart again.

use crate::core::model::outcome::Severity;
use serde::Serialize;
use std::fmt;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: one line, the reason first.
    pub what: String,
    /// What to do about it; may be empty.
    pub remedy: String,
}

impl Problem {
    /// Someone should look in the morning.
    pub fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Problem { severity: Severity::Warning, what: what.into(), remedy: remedy.into() }
    }

    /// Someone should look now.
    pub fn critical(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Problem { severity: Severity::Critical, ..Problem::warning(what, remedy) }
    }
}

/// Written like `it is full (make room)`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, " ({})", self.remedy) }
    }
}

/// Something that is wrong now, with a host or with all of them. Fields are only
/// ever added: it is part of answers in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostProblem {
    /// The host that it concerns, as the inventory spells it; null if it concerns
    /// all.
    pub host: Option<String>,
    /// What is wrong, and what to try.
    pub problem: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_stands_before_what_to_do() {
        assert_eq!(Problem::warning("it is full", "make room").to_string(), "it is full (make room)");
        assert_eq!(Problem::critical("it is gone", "").to_string(), "it is gone");
    }
}
