//! Whether a run's size, number of files or duration leaves what the host's
//! last good runs make plausible.
//!
//! The past is taken as a straight line over time, as Theil and Sen draw it:
//! its slope is the median of the slopes between any two runs. A host that
//! grows steadily so stays on its line, and up to a quarter of the runs may
//! have been anything without bending it. Beside the line there is room for
//! what the host does anyway: several times the median deviation from it, and
//! at least a share of the whole, because a host that never changed has none.
//!
//! A departure is told once. As far as the newest run was off the line, or any
//! two runs were, the next may be off twice: so a level that stays is not told
//! again, a weekly peak only the first two times, and an import of many nights
//! only when it has doubled. It follows that what the newest run had is never a
//! jump. One run that was far off, as a first copy is in its duration, widens
//! the room for the next run alone.
//!
//! Not known here: that half of the files are gone ([`crate::core::policy::guard`] stops
//! that), and what is to be done about a jump.

use crate::core::format::text::{human_bytes, human_duration};
use crate::core::model::run_record::HostRecord;
use crate::core::model::snapshot::Snapshot;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How many of the last good runs are looked at.
pub const WINDOW: usize = 30;
/// With fewer good runs nothing is judged: a week.
pub const ENOUGH: usize = 7;
/// How many standard deviations from its line a run may be.
const DEVIATIONS: f64 = 5.0;
/// How many standard deviations a median deviation is, where values vary
/// normally.
const PER_MEDIAN: f64 = 1.4826;
/// How many times farther off than the newest run, or than any two, a run may be.
const FARTHER: f64 = 2.0;

/// The figures of a good run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it was.
    pub time: DateTime<Utc>,
    /// Bytes that the copied files held together.
    pub bytes: Option<u64>,
    /// Files, directories, links and so on.
    pub files: Option<u64>,
    /// How long it took up to its snapshot, in seconds.
    pub seconds: Option<u64>,
}

/// The samples of hosts, by their names in lower case.
pub type Past = BTreeMap<String, Vec<Sample>>;

/// A figure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Bytes that the copied files hold together.
    Bytes,
    /// Files, directories, links and so on.
    Files,
    /// Seconds.
    Duration,
}

/// A figure that leaves what is plausible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deviation {
    /// Which.
    pub measure: Measure,
    /// What it is.
    pub value: u64,
    /// The least that is plausible.
    pub low: u64,
    /// The most.
    pub high: u64,
    /// How many runs say so.
    pub runs: usize,
}

impl Sample {
    /// The figures of remembered runs that were good.
    pub fn of_entries(entries: &[HostRecord]) -> Vec<Self> {
        let good = entries.iter().filter(|entry| entry.is_good());
        good.map(|entry| Sample {
            time: entry.finished,
            bytes: entry.bytes,
            files: entry.files,
            seconds: entry.copied_in().map(|took| took.as_secs()),
        })
        .collect()
    }

    /// The figures that good snapshots carry.
    pub fn of_snapshots(snapshots: &[Snapshot]) -> Vec<Self> {
        let good = snapshots.iter().filter(|snapshot| snapshot.is_good());
        good.filter_map(|snapshot| {
            let facts = snapshot.facts()?;
            Some(Sample {
                time: snapshot.time,
                bytes: facts.bytes,
                files: facts.files,
                seconds: facts.duration,
            })
        })
        .collect()
    }

    /// A host's figures from the better of two sources: what is remembered of
    /// its runs, or, where that is too little, what its snapshots carry.
    pub fn of_either(entries: &[HostRecord], snapshots: &[Snapshot]) -> Vec<Self> {
        let remembered = Sample::of_entries(entries);
        if remembered.len() >= ENOUGH {
            return remembered;
        }
        let carried = Sample::of_snapshots(snapshots);
        if carried.len() > remembered.len() { carried } else { remembered }
    }

    fn of(&self, measure: Measure) -> Option<u64> {
        match measure {
            Measure::Bytes => self.bytes,
            Measure::Files => self.files,
            Measure::Duration => self.seconds,
        }
    }
}

impl Measure {
    /// What is never a jump, as a share of the whole and as an amount: a fresh
    /// release of the system, a log that was rotated, a slow night.
    fn leeway(self) -> (f64, f64) {
        match self {
            Measure::Bytes => (0.10, 32.0 * 1024.0 * 1024.0),
            Measure::Files => (0.10, 500.0),
            Measure::Duration => (0.50, 600.0),
        }
    }

    fn display(self, value: u64) -> String {
        match self {
            Measure::Bytes => human_bytes(value),
            Measure::Files => value.to_string(),
            Measure::Duration => human_duration(Duration::from_secs(value)),
        }
    }
}

impl Deviation {
    /// Whether it is less than it should be.
    pub fn is_fall(&self) -> bool {
        self.value < self.low
    }

    /// Whether it is one of what was copied, rather than of the copying.
    pub fn is_of_the_copy(&self) -> bool {
        self.measure != Measure::Duration
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [value, low, high] = [self.value, self.low, self.high].map(|value| self.measure.display(value));
        let how = if self.is_fall() { "fell" } else { "jumped" };
        match self.measure {
            Measure::Bytes => write!(f, "its size {how} to {value}")?,
            Measure::Files => write!(f, "its number of files {how} to {value}")?,
            Measure::Duration => {
                return write!(f, "it took {value}, where up to {high} is usual ({} good runs)", self.runs);
            }
        }
        write!(f, ", where {low} to {high} is usual ({} good runs)", self.runs)
    }
}

/// What of a run's figures leaves what the good runs before it make plausible.
/// They may come in any order; the newest [`WINDOW`] are looked at.
pub fn deviations(past: &[Sample], now: &Sample) -> Vec<Deviation> {
    [Measure::Bytes, Measure::Files, Measure::Duration]
        .into_iter()
        .filter_map(|measure| jump(measure, past, now))
        .collect()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "estimates: of 2^53 bytes the last few do not matter, and what is too much becomes the most there is"
)]
fn jump(measure: Measure, past: &[Sample], now: &Sample) -> Option<Deviation> {
    let value = now.of(measure)?;
    let mut points: Vec<(DateTime<Utc>, u64)> =
        // What is dated in the future is older than that.
        past.iter()
            .filter(|sample| sample.time <= now.time)
            .filter_map(|sample| Some((sample.time, sample.of(measure)?)))
            .collect();
    points.sort_unstable();
    let points = &points[points.len().saturating_sub(WINDOW)..];
    if points.len() < ENOUGH {
        return None;
    }
    let newest = points.last()?.0;
    // From the newest on, in seconds: then the line's height is the level now.
    let since = |time: DateTime<Utc>| (time - newest).num_milliseconds() as f64 / 1000.0;
    let points: Vec<(f64, f64)> = points.iter().map(|(time, value)| (since(*time), *value as f64)).collect();
    let line = Line::through(&points)?;
    let off: Vec<f64> = points.iter().map(|(x, y)| y - line.at(*x)).collect();
    let deviation = PER_MEDIAN * median(off.iter().map(|off| off.abs()).collect())?;
    let (share, amount) = measure.leeway();
    let room = (line.level.max(0.0) * share).max(amount).max(deviation * DEVIATIONS);
    // A line that goes on may have come further; that it did is never demanded.
    let next = line.at(since(now.time).max(0.0));
    let above = reached(off.iter().copied());
    let below = reached(off.iter().map(|off| -off));
    let high = line.level.max(next) + room.max(above * FARTHER);
    let low = match measure {
        // To be done early is good news.
        Measure::Duration => 0.0,
        Measure::Bytes | Measure::Files => line.level.min(next) - room.max(below * FARTHER),
    };
    let (low, high) = (low.max(0.0).ceil() as u64, high.floor() as u64);
    let jump = Deviation { measure, value, low, high, runs: points.len() };
    (value < low || value > high).then_some(jump)
}

/// How far to one side runs have been already, the oldest first: the newest,
/// or any two.
fn reached(off: impl DoubleEndedIterator<Item = f64> + Clone) -> f64 {
    let newest = off.clone().next_back().unwrap_or(0.0);
    let mut farthest: Vec<f64> = off.collect();
    farthest.sort_unstable_by(|a, b| b.total_cmp(a));
    farthest.get(1).copied().unwrap_or(0.0).max(newest).max(0.0)
}

/// The line that Theil and Sen draw through points.
struct Line {
    /// Per second.
    slope: f64,
    /// At 0, the newest point.
    level: f64,
}

impl Line {
    fn through(points: &[(f64, f64)]) -> Option<Self> {
        let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
        for (index, (x, y)) in points.iter().enumerate() {
            let later = points[index + 1..].iter().filter(|(later, _)| later > x);
            slopes.extend(later.map(|(later, then)| (then - y) / (later - x)));
        }
        let slope = median(slopes).unwrap_or(0.0);
        let level = median(points.iter().map(|(x, y)| y - slope * x).collect())?;
        Some(Line { slope, level })
    }

    fn at(&self, x: f64) -> f64 {
        self.level + self.slope * x
    }
}

/// The value in the middle; `None` if there are no values.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle)?;
    Some(if values.len() % 2 == 1 { *upper } else { f64::midpoint(values[middle - 1], *upper) })
}

#[cfg(test)]
mod tests;
