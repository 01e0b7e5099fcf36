//! Where the time of a run goes: what each host was at, since when and for how
//! long.
//!
//! A [`Recorder`] is told what begins and closes what was under way before, so
//! that the spans of one lane, be it a host's or the run's own, neither overlap
//! nor leave gaps. A step may come more than once: a lost connection is made
//! again. All times are offsets from the run's start, by a clock that only goes
//! forward ([`Clock::offset`](crate::sys::clock::Clock::offset)).
//!
//! Not known here: which step follows which, and what a step does.

mod table;

pub use table::{closing, table};

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The steps of one host that take time, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Connecting, and connecting again.
    Connect,
    /// Asking what is there.
    Probe,
    /// Waiting for its turn, or until a connection may be made.
    Wait,
    /// Waiting for its lock.
    Lock,
    /// Readying its place in the store.
    Prepare,
    /// Running hooks.
    Hooks,
    /// Copying.
    Transfer,
    /// Taking the snapshot.
    Snapshot,
    /// Removing old snapshots.
    Rotate,
    /// Telling Icinga, after all the others and while further hosts are worked
    /// on.
    Report,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Step; 10] = [
        Step::Connect,
        Step::Probe,
        Step::Wait,
        Step::Lock,
        Step::Prepare,
        Step::Hooks,
        Step::Transfer,
        Step::Snapshot,
        Step::Rotate,
        Step::Report,
    ];

    /// Its name, in a word; the same in tables, in JSON and in the history.
    pub fn word(self) -> &'static str {
        match self {
            Step::Lock => "lock",
            Step::Connect => "connect",
            Step::Probe => "probe",
            Step::Wait => "wait",
            Step::Prepare => "prepare",
            Step::Hooks => "hooks",
            Step::Transfer => "transfer",
            Step::Snapshot => "snapshot",
            Step::Rotate => "rotate",
            Step::Report => "report",
        }
    }

    /// The step of this name; none of a name that only another version knows.
    pub fn named(word: &str) -> Option<Step> {
        Step::ALL.into_iter().find(|step| step.word() == word)
    }

    /// Whether something is done in it: who waits for its turn costs nothing.
    pub fn is_work(self) -> bool {
        self != Step::Wait
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What the run itself is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reading the configuration and making the runtime directory.
    Configuration,
    /// Asking which hosts there are.
    Inventory,
    /// Asking what the store holds.
    Survey,
    /// Opening the history.
    History,
    /// Backing hosts up.
    Hosts,
    /// Delivering the last reports, and writing them down.
    LastReports,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::Configuration => "configuration",
            Phase::Inventory => "inventory",
            Phase::Survey => "survey",
            Phase::History => "history",
            Phase::Hosts => "hosts",
            Phase::LastReports => "last reports",
        })
    }
}

/// A stretch of time in which one thing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span<S> {
    /// What was done.
    pub what: S,
    /// When it began, since the run's start.
    pub begin: Duration,
    /// How long it took.
    pub took: Duration,
}

impl<S> Span<S> {
    /// From one moment of the run to another.
    pub fn between(what: S, begin: Duration, end: Duration) -> Self {
        Span { what, begin, took: end.saturating_sub(begin) }
    }

    /// When it ended, since the run's start.
    pub fn end(&self) -> Duration {
        self.begin.saturating_add(self.took)
    }
}

/// Makes spans of what is told to begin.
#[derive(Debug, Clone)]
pub struct Recorder<S> {
    closed: Vec<Span<S>>,
    open: Option<(S, Duration)>,
}

// Derived, it would ask for a default of what is recorded.
impl<S> Default for Recorder<S> {
    fn default() -> Self {
        Recorder { closed: Vec::new(), open: None }
    }
}

impl<S: Copy> Recorder<S> {
    /// Something begins, and what was under way has ended.
    pub fn at(&mut self, what: S, now: Duration) {
        self.close(now);
        self.open = Some((what, now));
    }

    /// What was under way has ended.
    pub fn close(&mut self, now: Duration) {
        if let Some((what, begin)) = self.open.take() {
            self.closed.push(Span::between(what, begin, now));
        }
    }

    /// All that was done until now.
    pub fn spans(mut self, now: Duration) -> Vec<Span<S>> {
        self.close(now);
        self.closed
    }
}

/// How long each step took, all in all.
pub type Sums = BTreeMap<Step, Duration>;

/// Where the time of one host went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timings {
    spans: Vec<Span<Step>>,
}

impl Timings {
    /// Of spans in the order in which they began.
    pub fn new(spans: Vec<Span<Step>>) -> Self {
        Timings { spans }
    }

    /// Adds what came after all others.
    pub fn add(&mut self, span: Span<Step>) {
        self.spans.push(span);
    }

    /// In the order in which they began.
    pub fn spans(&self) -> &[Span<Step>] {
        &self.spans
    }

    /// How long each step took; those that did not occur are not there.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::new();
        for span in &self.spans {
            let sum = sums.entry(span.what).or_default();
            *sum = sum.saturating_add(span.took);
        }
        sums
    }
}

/// How long all of them took together.
pub fn total(sums: &Sums) -> Duration {
    sums.values().fold(Duration::ZERO, |total, took| total.saturating_add(*took))
}

/// The work that took longest; none if nothing took any time.
pub fn longest(sums: &Sums) -> Option<Step> {
    let work = sums.iter().filter(|(step, took)| step.is_work() && !took.is_zero());
    // The first of equals.
    work.rev().max_by_key(|(_, took)| **took).map(|(step, _)| *step)
}

/// Each step's share of the work in percent, the largest first; those that
/// took less than one percent are left out.
pub fn shares(sums: &Sums) -> Vec<(Step, u32)> {
    let work: Vec<(Step, u128)> = sums
        .iter()
        .filter(|(step, _)| step.is_work())
        .map(|(step, took)| (*step, took.as_micros()))
        .collect();
    let all: u128 = work.iter().map(|(_, took)| took).sum();
    let share = |took: u128| took.saturating_mul(100).saturating_add(all / 2).checked_div(all);
    let mut shares: Vec<(Step, u32)> = work
        .into_iter()
        .filter_map(|(step, took)| Some((step, u32::try_from(share(took)?).ok()?)))
        .filter(|(_, share)| *share > 0)
        .collect();
    shares.sort_by_key(|(_, share)| std::cmp::Reverse(*share));
    shares
}

/// Seconds for a program to read: to the millisecond, more would only look
/// precise.
pub fn seconds(took: Duration) -> f64 {
    let rounded = took.saturating_add(Duration::from_micros(500)).as_millis();
    Duration::from_millis(u64::try_from(rounded).unwrap_or(u64::MAX)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn span(what: Step, begin: u64, took: u64) -> Span<Step> {
        Span { what, begin: ms(begin), took: ms(took) }
    }

    #[test]
    fn what_begins_ends_what_was_under_way() {
        let mut recorder = Recorder::default();
        recorder.at(Step::Lock, ms(10));
        recorder.at(Step::Connect, ms(12));
        recorder.at(Step::Transfer, ms(300));
        recorder.at(Step::Connect, ms(400));
        recorder.close(ms(450));
        recorder.close(ms(900));
        recorder.at(Step::Transfer, ms(500));
        let spans = recorder.spans(ms(700));
        assert_eq!(
            spans,
            [
                span(Step::Lock, 10, 2),
                span(Step::Connect, 12, 288),
                span(Step::Transfer, 300, 100),
                span(Step::Connect, 400, 50),
                span(Step::Transfer, 500, 200),
            ],
            "a second end of the same is none, and a gap is left as it is"
        );
        let sums = Timings::new(spans).sums();
        assert_eq!(
            sums.into_iter().collect::<Vec<_>>(),
            [(Step::Connect, ms(338)), (Step::Lock, ms(2)), (Step::Transfer, ms(300))]
        );
    }

    #[test]
    fn nothing_recorded_is_nothing_spent() {
        assert!(Recorder::<Step>::default().spans(ms(5)).is_empty());
        let sums = Timings::default().sums();
        assert_eq!((total(&sums), longest(&sums), shares(&sums)), (Duration::ZERO, None, Vec::new()));
        let idle = Sums::from([(Step::Lock, Duration::ZERO)]);
        assert_eq!((longest(&idle), shares(&idle)), (None, Vec::new()));
    }

    #[test]
    fn a_clock_that_stands_still_makes_no_span_negative() {
        let mut recorder = Recorder::default();
        recorder.at(Step::Lock, ms(10));
        assert_eq!(recorder.spans(ms(9)), [span(Step::Lock, 10, 0)]);
    }

    #[test]
    fn who_waits_for_its_turn_is_not_at_work() {
        let sums = Sums::from([
            (Step::Wait, ms(100_000)),
            (Step::Connect, ms(249)),
            (Step::Transfer, ms(750)),
            (Step::Rotate, ms(1)),
        ]);
        assert_eq!(longest(&sums), Some(Step::Transfer));
        assert_eq!(shares(&sums), [(Step::Transfer, 75), (Step::Connect, 25)], "without what rounds to 0");
        assert_eq!(total(&sums), ms(101_000));
        let equals = Sums::from([(Step::Lock, ms(1)), (Step::Probe, ms(1))]);
        assert_eq!(longest(&equals), Some(Step::Probe));
    }

    #[test]
    fn every_step_is_found_by_its_word_and_has_it_in_json() {
        for step in Step::ALL {
            assert_eq!(Step::named(step.word()), Some(step));
            assert_eq!(serde_json::to_value(step).unwrap(), step.word());
        }
        assert!(Step::ALL.is_sorted());
        assert_eq!(Step::named("teleport"), None);
    }

    #[test]
    fn seconds_are_rounded_to_the_millisecond() {
        assert_eq!(seconds(Duration::from_micros(240_499)).to_string(), "0.24");
        assert_eq!(seconds(Duration::from_micros(240_500)).to_string(), "0.241");
        assert!(seconds(Duration::MAX).is_finite());
    }
}
