//! The time of a run.
//!
//! The wall clock is read once, in `main.rs`; from there a run counts on with
//! the monotonic clock. A clock that is set while a run is under way can so
//! neither reorder its snapshots nor make two decisions disagree.

use chrono::{DateTime, TimeDelta, Utc};
use std::time::{Duration, Instant};

/// The time of a run: one reading of the wall clock, counted on from there.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: DateTime<Utc>,
    since: Instant,
}

impl Clock {
    /// A clock that shows `start` now.
    pub fn starting_at(start: DateTime<Utc>) -> Self {
        Clock { start, since: Instant::now() }
    }

    /// What the clock showed when the run began.
    pub fn start(&self) -> DateTime<Utc> {
        self.start
    }

    /// What the clock shows now; never before an earlier answer.
    pub fn now(&self) -> DateTime<Utc> {
        let elapsed = TimeDelta::from_std(self.since.elapsed()).unwrap_or(TimeDelta::MAX);
        self.start.checked_add_signed(elapsed).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// How long after the run's start a moment was; zero of one before it.
    pub fn offset(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.since)
    }

    /// How long the run has been going on.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}
