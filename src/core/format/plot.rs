//! Figures over time as a picture: of characters for a terminal ([`text`]), or
//! as SVG ([`svg`]).
//!
//! Points come in, text goes out. A chart begins at zero unless its values are
//! close to each other, when what matters is how they differ; the axis says so.
//! Points that are not good are marked.
//!
//! Not known here: whose figures they are, and what the terminal can show.

mod axis;
mod svg;
mod terminal;

pub use svg::svg;
pub use terminal::{Glyphs, text};

use chrono::{DateTime, Utc};

/// What the values of a chart are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When it was measured.
    pub time: DateTime<Utc>,
    /// In the chart's unit, not below zero.
    pub value: f64,
    /// Whether it counts; others are marked.
    pub good: bool,
}

/// Values over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What they are, in a few words.
    pub title: String,
    /// Their unit.
    pub unit: Unit,
    /// Oldest first.
    pub points: Vec<Point>,
}

impl Chart {
    /// The first and the last time; `None` without points.
    fn times(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        Some((self.points.first()?.time, self.points.last()?.time))
    }

    /// Whether some points are marked.
    fn has_marks(&self) -> bool {
        self.points.iter().any(|point| !point.good)
    }
}

/// Where a time lies between two others, from 0 to 1; in the middle if they
/// are one.
fn share(time: DateTime<Utc>, (first, last): (DateTime<Utc>, DateTime<Utc>)) -> f64 {
    let seconds = |from: DateTime<Utc>, to: DateTime<Utc>| {
        #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
        let seconds = (to - from).num_seconds() as f64;
        seconds
    };
    let whole = seconds(first, last);
    if whole <= 0.0 { 0.5 } else { (seconds(first, time) / whole).clamp(0.0, 1.0) }
}
