//! The time of a run.
//!
//! The wall clock is read once, in `main.rs`; from there a run counts on with
//! the monotonic clock. A clock that is set while a run is under way can so
//! neither reorder its snapshots nor make two decisions disagree.

use chrono::{DateTime, TimeDelta, Utc};
use std::time::Instant;

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
}
