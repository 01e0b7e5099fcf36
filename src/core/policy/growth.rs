//! How fast a store fills: an estimate, from the sizes that good copies had.
//!
//! What a copy's files hold together is known of every good snapshot; what the
//! snapshots between hold beside it is not. So this is the growth of the hosts,
//! not of their history, and is told as an estimate.

use crate::core::model::snapshot::Snapshot;
use chrono::{DateTime, TimeDelta, Utc};

/// How far back one looks: long enough for a weekly rhythm to even out.
const WINDOW: TimeDelta = TimeDelta::days(30);
/// Copies that are closer together than this say nothing of a day.
const SHORTEST: TimeDelta = TimeDelta::hours(20);

/// How fast hosts grow together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FleetGrowth {
    /// Bytes a day, before any compression; less than zero where hosts shrink.
    pub per_day: f64,
    /// How many hosts are known well enough.
    pub hosts: usize,
}

/// The growth of hosts, each given by its snapshots; `None` if no host has two
/// good copies of known size within the last 30 days.
pub fn of<'a>(hosts: impl IntoIterator<Item = &'a [Snapshot]>, now: DateTime<Utc>) -> Option<FleetGrowth> {
    let slopes: Vec<f64> = hosts.into_iter().filter_map(|snapshots| slope(snapshots, now)).collect();
    (!slopes.is_empty()).then(|| FleetGrowth { per_day: slopes.iter().sum(), hosts: slopes.len() })
}

/// Bytes a day, from a host's oldest good copy within the window to its newest.
fn slope(snapshots: &[Snapshot], now: DateTime<Utc>) -> Option<f64> {
    let window = TimeDelta::zero()..=WINDOW;
    let is_of_it = |snapshot: &&Snapshot| snapshot.is_good() && window.contains(&(now - snapshot.time));
    let known = snapshots.iter().filter(is_of_it);
    let known = known.filter_map(|snapshot| Some((snapshot.time, snapshot.facts()?.bytes?)));
    let (mut first, mut last) = (None, None);
    for point in known {
        if first.is_none_or(|(time, _)| point.0 < time) {
            first = Some(point);
        }
        if last.is_none_or(|(time, _)| point.0 >= time) {
            last = Some(point);
        }
    }
    let ((begin, before), (end, after)) = (first?, last?);
    let apart = end - begin;
    #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
    let per_day = (after as f64 - before as f64) / (apart.num_seconds() as f64 / 86_400.0);
    (apart >= SHORTEST).then_some(per_day)
}

/// How many whole days of this growth, in bytes a day, fit into so many bytes;
/// `None` without growth, or if it is more than anybody plans for.
pub fn days(room: u64, per_day: f64) -> Option<u64> {
    const LONGEST: f64 = 36_500.0;
    #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
    let days = room as f64 / per_day;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 36,500")]
    let whole = days as u64;
    (per_day > 0.0 && days <= LONGEST).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::snapshot::{Facts, Origin, SnapshotName, Verdict};

    const GIB: u64 = 1 << 30;

    fn now() -> DateTime<Utc> {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    fn snapshot(days_ago: i64, bytes: Option<u64>, verdict: Verdict) -> Snapshot {
        let time = now() - TimeDelta::days(days_ago);
        let facts = Facts {
            run: "r".into(),
            verdict,
            files: None,
            bytes,
            duration: None,
            machine: None,
            hostname: None,
            left_out: None,
            clock_agreed: false,
        };
        let name = SnapshotName::at(time).to_string();
        Snapshot { name, time, held: false, origin: Origin::Run(facts) }
    }

    fn good(days_ago: i64, gib: u64) -> Snapshot {
        snapshot(days_ago, Some(gib * GIB), Verdict::Good)
    }

    #[test]
    fn growth_goes_by_the_good_copies_of_the_last_month() {
        for (snapshots, expected, reason) in [
            (vec![], None, "nothing"),
            (vec![good(3, 10)], None, "one copy"),
            (vec![good(0, 10), good(0, 20)], None, "two of one day"),
            (vec![good(90, 1), good(10, 10), good(0, 20)], Some(1), "what is older is another story"),
            (vec![good(10, 20), good(0, 10)], Some(-1), "it shrinks"),
            (
                vec![good(10, 10), snapshot(5, Some(900 * GIB), Verdict::Suspect), good(0, 20)],
                Some(1),
                "an implausible copy does not count",
            ),
            (
                vec![snapshot(20, None, Verdict::Good), good(10, 10), good(0, 20)],
                Some(1),
                "a copy of unknown size does not count",
            ),
        ] {
            let growth = of([snapshots.as_slice()], now());
            assert_eq!(
                growth.map(|growth| (growth.per_day / GIB as f64).round() as i64),
                expected,
                "{reason}"
            );
        }
        let (one, other) = (vec![good(10, 10), good(0, 20)], vec![good(10, 0), good(0, 10)]);
        let growth = of([one.as_slice(), &other, &[]], now()).unwrap();
        assert_eq!((growth.hosts, growth.per_day), (2, 2.0 * GIB as f64));
    }

    #[test]
    fn days_are_told_where_they_mean_something() {
        for (room, per_day, expected) in [
            (100, 10.0, Some(10)),
            (99, 10.0, Some(9)),
            (0, 10.0, Some(0)),
            (100, 0.0, None),
            (100, -3.0, None),
            (u64::MAX, 1.0, None),
            (0, 0.0, None),
        ] {
            assert_eq!(days(room, per_day), expected, "{room} / {per_day}");
        }
    }
}
