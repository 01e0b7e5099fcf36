//! One line for a monitoring system, as its plugins write it: the state, the
//! worst problems, and figures behind a bar.
//!
//! The format is that of the Monitoring Plugins' guidelines: 0 OK, 1 WARNING,
//! 2 CRITICAL, 3 UNKNOWN; `label=value[unit]` in the figures.

use super::{State, Status, state_word};
use crate::core::format::text::{counted, printable, shortened};
use crate::core::model::outcome::Severity;
use crate::core::model::problem::Problem;
use std::fmt::Write as _;

/// The longest text before the figures, in characters. Old monitoring systems
/// read 1024 bytes of a plugin, and the figures want some of them.
const LONGEST: usize = 700;
/// How long one host's problem may be, in characters, so that the others are
/// heard of too.
const LONGEST_PROBLEM: usize = 160;
/// The plugin's exit status where it cannot say how things are.
const UNKNOWN: u8 = 3;

/// The states whose hosts are counted in the figures, in the order in which they
/// came to be.
const FIGURES: [State; 7] =
    [State::Good, State::Warning, State::Failed, State::Never, State::Running, State::Retired, State::Left];

/// What a plugin says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The line, without a line break.
    pub text: String,
    /// The exit status.
    pub exit: u8,
}

impl Line {
    /// What a plugin says that could not find out how things are.
    pub fn unknown(why: &str) -> Self {
        Line { text: format!("BACKUP UNKNOWN - {}", shortened(&harmless(why), LONGEST)), exit: UNKNOWN }
    }
}

/// The line about these hosts. `unlisted` is why nobody knows which hosts there
/// should be; `doubts` are what makes that list doubtful, which counts where it
/// is critical: a NetBox that is slow for once is no warning.
pub fn plugin(statuses: &[Status], unlisted: Option<&str>, doubts: &[Problem]) -> Line {
    let expected = statuses.iter().filter(|status| status.is_expected()).count();
    let is_critical = |doubt: &&Problem| doubt.severity == Severity::Critical;
    let severities = statuses.iter().map(|status| status.severity);
    let severities = severities.chain(doubts.iter().filter(is_critical).map(|doubt| doubt.severity));
    let worst = severities.max().unwrap_or(Severity::Ok);
    let (word, exit) = match (worst, unlisted) {
        (Severity::Critical, _) | (_, None) => (worst.to_string(), worst.state()),
        (_, Some(_)) => ("UNKNOWN".to_owned(), UNKNOWN),
    };
    let mut parts = vec![summary(statuses, expected)];
    let short = |text: &str| shortened(&harmless(text), LONGEST_PROBLEM);
    parts.extend(doubts.iter().filter(is_critical).map(|doubt| short(&doubt.what)));
    let mut bad: Vec<&Status> = statuses.iter().filter(|status| status.severity > Severity::Ok).collect();
    bad.sort_by_cached_key(|status| (std::cmp::Reverse(status.severity), status.name.to_lowercase()));
    parts.extend(bad.iter().map(|status| {
        let name = if status.name.is_empty() { "(no name)" } else { &status.name };
        let problem = status.problem.as_deref().unwrap_or("no reason known");
        short(&format!("{name}: {problem}"))
    }));
    let others = doubts.iter().filter(|doubt| !is_critical(doubt)).map(|doubt| doubt.what.as_str());
    parts.extend(unlisted.into_iter().chain(others).map(short));
    let text = shortened(&format!("BACKUP {word} - {}", parts.join("; ")), LONGEST);
    Line { text: format!("{text} | {}", figures(statuses, expected)), exit }
}

/// `1 of 42 hosts failed, 2 with a warning`.
fn summary(statuses: &[Status], expected: usize) -> String {
    let of = |state| statuses.iter().filter(|status| status.state == state).count();
    let hosts = counted(expected, "host");
    if of(State::Good) == expected {
        return format!("{hosts} good");
    }
    let counts: Vec<String> = State::ALL
        .into_iter()
        .rev()
        .filter(|state| *state != State::Retired && of(*state) > 0)
        .map(|state| format!("{} {}", of(state), state_word(state)))
        .collect();
    format!("{hosts}: {}", counts.join(", "))
}

fn figures(statuses: &[Status], expected: usize) -> String {
    let mut text = format!("hosts={expected}");
    // Writing to a `String` does not fail.
    for state in FIGURES {
        let count = statuses.iter().filter(|status| status.state == state).count();
        let _ = write!(text, " {state}={count}");
    }
    let here = || statuses.iter().filter(|status| status.is_expected());
    if let Some(oldest) = here().filter_map(|status| status.age).max() {
        let _ = write!(text, " oldest_good={}s", oldest.num_seconds());
    }
    let snapshots: usize = here().map(|status| status.copies.ours).sum();
    let bytes = here().filter_map(Status::bytes).fold(0, u64::saturating_add);
    let _ = write!(text, " snapshots={snapshots} bytes={bytes}B");
    text
}

/// Text that stays on the line and before the figures.
fn harmless(text: &str) -> String {
    printable(text).replace('|', "/")
}
