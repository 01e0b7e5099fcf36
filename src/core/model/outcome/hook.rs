//! How a host's hook ended, and how that is told.

use super::Severity;
use crate::core::format::text::human_duration;
use std::time::Duration;

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookEnd {
    /// By itself.
    Exited {
        /// Its exit status; above 128 a signal's number plus 128.
        status: i32,
        /// Whether it left processes behind, which were killed.
        left: bool,
    },
    /// It took too long and was killed with everything it had started.
    TimedOut,
    /// The run was to stop; likewise.
    Cancelled,
    /// The connection broke, or the hook could not be started.
    Lost(String),
}

/// How long a hook was allowed to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// So long.
    pub time: Duration,
    /// The setting that says so.
    pub setting: &'static str,
}

/// What a run says about one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookResult {
    /// The hook's name.
    pub name: String,
    /// How bad its end is.
    pub severity: Severity,
    /// How it ended, in words that follow its name: `took 12s`, `failed (exit 3)`.
    pub ended: String,
    /// How long it took.
    pub took: Duration,
}

impl HookResult {
    /// What is to be said of a hook that ended so.
    pub fn new(name: &str, end: &HookEnd, took: Duration, allowed: Allowed) -> Self {
        let (severity, ended) = match end {
            HookEnd::Exited { status: 0, left: false } => {
                (Severity::Ok, format!("took {}", human_duration(took)))
            }
            HookEnd::Exited { status: 0, left: true } => {
                (Severity::Warning, "left processes behind, which were killed".to_owned())
            }
            HookEnd::Exited { status, left } => {
                let how = match status.checked_sub(128) {
                    Some(signal @ 1..=64) => format!("was killed by signal {signal}"),
                    _ => format!("failed (exit {status})"),
                };
                let rest = if *left { " and left processes behind, which were killed" } else { "" };
                (Severity::Critical, how + rest)
            }
            HookEnd::TimedOut => {
                let what = format!(
                    "did not end within {} and was killed with everything it had started (see `{}`)",
                    human_duration(allowed.time),
                    allowed.setting
                );
                (Severity::Critical, what)
            }
            HookEnd::Cancelled => (
                Severity::Warning,
                "was killed with everything it had started: the run was told to stop".to_owned(),
            ),
            HookEnd::Lost(why) => (Severity::Critical, format!("was lost: {why}")),
        };
        HookResult { name: name.to_owned(), severity, ended, took }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_hook_has_its_severity_and_words() {
        let exited = |status, left| HookEnd::Exited { status, left };
        for (end, severity, ended, why) in [
            (exited(0, false), Severity::Ok, "took 12s", "it did its work"),
            (
                exited(0, true),
                Severity::Warning,
                "left processes behind, which were killed",
                "half its work?",
            ),
            (exited(3, false), Severity::Critical, "failed (exit 3)", "it said so itself"),
            (
                exited(137, true),
                Severity::Critical,
                "was killed by signal 9 and left processes behind, which were killed",
                "no memory, perhaps",
            ),
            (exited(255, false), Severity::Critical, "failed (exit 255)", "no signal has that number"),
            (
                HookEnd::TimedOut,
                Severity::Critical,
                "did not end within 1h00m and was killed with everything it had started (see `hooks.timeout`)",
                "what it should have done is not done",
            ),
            (HookEnd::Lost("gone".into()), Severity::Critical, "was lost: gone", "nobody knows"),
            (
                HookEnd::Cancelled,
                Severity::Warning,
                "was killed with everything it had started: the run was told to stop",
                "the run says how bad that is",
            ),
        ] {
            let allowed = Allowed { time: Duration::from_secs(3600), setting: "hooks.timeout" };
            let result = HookResult::new("dump", &end, Duration::from_secs(12), allowed);
            assert_eq!((result.severity, result.ended.as_str()), (severity, ended), "{why}");
        }
    }
}
