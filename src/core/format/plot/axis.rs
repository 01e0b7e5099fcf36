//! Axes: round numbers that people can read, and times in their zone.

use super::{Chart, Unit};
use crate::core::format::text::{human_bytes, human_duration};
use crate::core::model::clock;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use std::time::Duration;

/// Values that differ by less than this share of the greatest are shown without
/// the zero.
const CLOSE: f64 = 0.3;
/// Steps of an axis in seconds, up to which it is labelled in clock's units.
const CLOCK_STEPS: [f64; 19] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10800.0,
    21600.0, 43200.0, 86400.0, 172_800.0,
];

/// An axis of values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Lowest first.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// The axis of a chart's values, with about so many ticks.
    pub(super) fn of(chart: &Chart, ticks: usize) -> Self {
        let values = || chart.points.iter().map(|point| point.value);
        let greatest = values().fold(0.0, f64::max);
        let least = values().fold(greatest, f64::min);
        let from = if greatest - least < CLOSE * greatest { least } else { 0.0 };
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let step = step(chart.unit, (greatest - from) / ticks as f64, greatest);
        let low = (from / step).floor() * step;
        let mut high = (greatest / step).ceil() * step;
        if high <= low {
            high = low + step;
        }
        let mut at = low;
        let mut labelled = Vec::new();
        while at <= high + step / 2.0 && labelled.len() < 100 {
            labelled.push((at, label(chart.unit, at)));
            at += step;
        }
        Axis { low, high, ticks: labelled }
    }

    /// Where a value lies, from 0 at the bottom to 1 at the top.
    pub(super) fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// A round step of at least `wanted`, which labels can still tell apart.
fn step(unit: Unit, wanted: f64, greatest: f64) -> f64 {
    match unit {
        Unit::Bytes => {
            let mut scale = 1.0;
            while greatest / scale >= 1024.0 {
                scale *= 1024.0;
            }
            // Labels have one digit behind the point, and bytes none.
            let least = if scale > 1.0 { 0.1 } else { 1.0 };
            round_up((wanted / scale).max(least)) * scale
        }
        Unit::Seconds => {
            let wanted = wanted.max(1.0);
            let clock = CLOCK_STEPS.into_iter().find(|step| *step >= wanted);
            clock.unwrap_or_else(|| round_up(wanted / 86400.0) * 86400.0)
        }
    }
}

/// The next of 1, 2, 5, 10, 20, … and their tenths and so on.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let digits = value / power;
    // A little less than what floating point makes of a whole number.
    let digits = [1.0, 2.0, 5.0].into_iter().find(|round| *round + 1e-9 >= digits).unwrap_or(10.0);
    digits * power
}

fn label(unit: Unit, value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "values are not below zero")]
    let whole = value.round() as u64;
    match unit {
        Unit::Bytes => human_bytes(whole),
        Unit::Seconds => human_duration(Duration::from_secs(whole)),
    }
}

/// A value as labels show it.
pub(super) fn shown(unit: Unit, value: f64) -> String {
    label(unit, value)
}

/// The times to label between two, each as far along as the others, and their
/// labels.
pub(super) fn times(
    (first, last): (DateTime<Utc>, DateTime<Utc>),
    count: usize,
    zone: Tz,
) -> Vec<(f64, String)> {
    let span = last - first;
    if span <= TimeDelta::zero() {
        return vec![(0.5, clock::local(zone, first))];
    }
    let format = match span {
        _ if span < TimeDelta::days(3) => "%b %d %H:%M",
        _ if span < TimeDelta::days(300) => "%b %d",
        _ => "%Y-%m",
    };
    let gaps = count.max(2) - 1;
    (0..=gaps)
        .map(|index| {
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            let share = index as f64 / gaps as f64;
            let parts = i32::try_from(gaps).unwrap_or(i32::MAX);
            let time = first + span / parts * i32::try_from(index).unwrap_or_default();
            (share, clock::local_as(format, zone, time))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Point;
    use super::*;

    fn axis(unit: Unit, values: &[f64]) -> Vec<String> {
        let points =
            values.iter().map(|value| Point { time: DateTime::UNIX_EPOCH, value: *value, good: true });
        let chart = Chart { title: String::new(), unit, points: points.collect() };
        Axis::of(&chart, 4).ticks.into_iter().map(|(_, label)| label).collect()
    }

    const GIB: f64 = 1_073_741_824.0;

    #[test]
    fn labels_are_round_numbers_that_differ() {
        for (unit, values, labels, why) in [
            (
                Unit::Bytes,
                &[GIB, 4.0 * GIB][..],
                &["0 B", "1.0 GiB", "2.0 GiB", "3.0 GiB", "4.0 GiB"][..],
                "whole ones",
            ),
            (
                Unit::Bytes,
                &[100.0 * GIB, 110.0 * GIB],
                &["100.0 GiB", "105.0 GiB", "110.0 GiB"],
                "close to each other: without the zero",
            ),
            (Unit::Bytes, &[GIB, GIB], &["1.0 GiB", "1.1 GiB"], "all the same"),
            (Unit::Bytes, &[GIB, GIB + 1.0], &["1.0 GiB", "1.1 GiB"], "less apart than labels can say"),
            (Unit::Bytes, &[0.0, 0.0], &["0 B", "1 B"], "nothing at all"),
            (Unit::Bytes, &[3.0], &["3 B", "4 B"], "one"),
            (Unit::Bytes, &[0.0, 9.0], &["0 B", "5 B", "10 B"], "bytes are whole"),
            (
                Unit::Seconds,
                &[5.0, 100.0],
                &["0.0s", "30s", "1m00s", "1m30s", "2m00s"],
                "seconds go by the clock",
            ),
            (Unit::Seconds, &[10.0, 9000.0], &["0.0s", "1h00m", "2h00m", "3h00m"], "and hours"),
            (Unit::Seconds, &[7.0, 7.0], &["7.0s", "8.0s"], "the same"),
        ] {
            assert_eq!(axis(unit, values), labels, "{why}");
        }
        assert!(!axis(Unit::Bytes, &[u64::MAX as f64, 1.0]).is_empty());
        assert!(axis(Unit::Seconds, &[1e12, 1.0]).len() < 20);
    }

    #[test]
    fn times_are_labelled_by_how_far_they_are_apart() {
        let first: DateTime<Utc> = "2026-11-20T02:00:00Z".parse().unwrap();
        let labels = |days: i64| -> Vec<String> {
            let times = times((first, first + TimeDelta::days(days)), 3, Tz::Europe__Berlin);
            times.into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(0), ["2026-11-20 03:00"]);
        assert_eq!(labels(2), ["Nov 20 03:00", "Nov 21 03:00", "Nov 22 03:00"]);
        assert_eq!(labels(20), ["Nov 20", "Nov 30", "Dec 10"]);
        assert_eq!(labels(730), ["2026-11", "2027-11", "2028-11"]);
    }
}
