//! A host's snapshots at a glance: how many, the newest, the newest good one,
//! and how fast the copies grow.
//!
//! Facts are looked up only of the few snapshots that this needs, because
//! reading those of all can be most of the work.

use super::{Snapshot, Verdict};
use chrono::{DateTime, TimeDelta, Utc};

/// How far back growth is measured.
const MONTH: TimeDelta = TimeDelta::days(30);
/// Two copies that are closer to each other say nothing of growth.
const DAY: TimeDelta = TimeDelta::days(1);

/// A snapshot of ours, in brief.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// When it was taken.
    pub time: DateTime<Utc>,
    /// What it is worth.
    pub verdict: Verdict,
    /// Files that the copy holds.
    pub files: Option<u64>,
    /// Bytes that the copied files hold together.
    pub bytes: Option<u64>,
    /// Seconds that the host's run took.
    pub duration: Option<u64>,
}

impl Taken {
    /// The brief of a snapshot; `None` of a foreign one.
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        let facts = snapshot.facts();
        Some(Taken {
            time: snapshot.time,
            verdict: snapshot.verdict()?,
            files: facts.and_then(|facts| facts.files),
            bytes: facts.and_then(|facts| facts.bytes),
            duration: facts.and_then(|facts| facts.duration),
        })
    }
}

/// How fast a host's copies grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// What the copy's bytes became more by, or fewer.
    pub bytes: i64,
    /// Over how long.
    pub over: TimeDelta,
}

impl Growth {
    /// Bytes a day.
    pub fn per_day(&self) -> i64 {
        let seconds = i128::from(self.over.num_seconds().max(1));
        i64::try_from(i128::from(self.bytes) * 86_400 / seconds).unwrap_or_default()
    }
}

/// A host's snapshots at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    /// How many are ours, whatever they are worth.
    pub ours: usize,
    /// How many are somebody else's.
    pub foreign: usize,
    /// How many of all are held.
    pub held: usize,
    /// The newest of ours that is not dated in the future.
    pub newest: Option<Taken>,
    /// The newest good one that is not dated in the future.
    pub newest_good: Option<Taken>,
    /// The latest date in the future of one that is not suspect.
    pub future: Option<DateTime<Utc>>,
    /// The oldest good one of known size of the 30 days before that, which
    /// growth is measured from.
    pub earlier: Option<Taken>,
}

impl Overview {
    /// The overview of a list that is oldest first. What is dated after `now` is
    /// dated in the future.
    pub fn of(snapshots: &[Snapshot], now: DateTime<Utc>) -> Self {
        let ours: Vec<Taken> = snapshots.iter().filter_map(Taken::of).collect();
        let times: Vec<DateTime<Utc>> = ours.iter().map(|taken| taken.time).collect();
        Overview {
            ours: ours.len(),
            foreign: snapshots.len() - ours.len(),
            held: snapshots.iter().filter(|snapshot| snapshot.held).count(),
            ..Overview::looked_up(&times, now, |index| Some(ours[index]))
        }
    }

    /// The parts that are about single snapshots of ours, from their times,
    /// oldest first. `look` gives one of them by its place, if it can be read,
    /// and is asked for as few as will do.
    pub fn looked_up(
        times: &[DateTime<Utc>],
        now: DateTime<Utc>,
        mut look: impl FnMut(usize) -> Option<Taken>,
    ) -> Self {
        let mut overview = Overview::default();
        for index in (0..times.len()).rev() {
            let Some(taken) = look(index) else { continue };
            if taken.time > now {
                if taken.verdict != Verdict::Suspect {
                    overview.future.get_or_insert(taken.time);
                }
                continue;
            }
            overview.newest.get_or_insert(taken);
            if taken.verdict == Verdict::Good {
                overview.newest_good = Some(taken);
                let since = taken.time.checked_sub_signed(MONTH).unwrap_or(DateTime::<Utc>::MIN_UTC);
                let first = times.partition_point(|time| *time < since);
                overview.earlier = (first..index)
                    .filter_map(look)
                    .find(|earlier| earlier.verdict == Verdict::Good && earlier.bytes.is_some());
                break;
            }
        }
        overview
    }

    /// How fast the host's good copies grow, by the last 30 days.
    pub fn growth(&self) -> Option<Growth> {
        let (now, then) = (self.newest_good?, self.earlier?);
        let over = now.time - then.time;
        let bytes = i128::from(now.bytes?) - i128::from(then.bytes?);
        (over >= DAY).then_some(Growth { bytes: i64::try_from(bytes).ok()?, over })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Facts, Origin};
    use super::*;
    use std::cell::RefCell;

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_140_000, 0).unwrap() + TimeDelta::days(day)
    }

    fn ours(day: i64, verdict: Verdict, bytes: Option<u64>) -> Snapshot {
        let facts = Facts {
            run: "r".into(),
            verdict,
            files: Some(7),
            bytes,
            duration: None,
            machine: None,
            hostname: None,
            left_out: None,
            clock_agreed: false,
        };
        Snapshot { name: day.to_string(), time: at(day), held: false, origin: Origin::Run(facts) }
    }

    fn foreign(day: i64) -> Snapshot {
        Snapshot { name: day.to_string(), time: at(day), held: true, origin: Origin::Foreign }
    }

    #[test]
    fn the_newest_and_the_newest_good_one_are_found() {
        use Verdict::{Good, Partial, Suspect};
        for (snapshots, newest, good, why) in [
            (vec![], None, None, "none"),
            (vec![foreign(1)], None, None, "nothing of ours"),
            (vec![ours(1, Good, None), foreign(2)], Some(1), Some(1), "somebody else's is newer"),
            (
                vec![ours(1, Good, None), ours(2, Suspect, None), ours(3, Partial, None)],
                Some(3),
                Some(1),
                "doubtful ones since",
            ),
            (vec![ours(1, Partial, None)], Some(1), None, "no good one"),
            (vec![ours(1, Good, None), ours(1001, Good, None)], Some(1), Some(1), "one of the future"),
            (vec![ours(1001, Good, None)], None, None, "only one of the future"),
        ] {
            let overview = Overview::of(&snapshots, at(1000));
            let time = |taken: Option<Taken>| taken.map(|taken| taken.time);
            assert_eq!(time(overview.newest), newest.map(at), "{why}");
            assert_eq!(time(overview.newest_good), good.map(at), "{why}");
            let count = snapshots.iter().filter(|s| s.is_ours()).count();
            assert_eq!((overview.ours, overview.foreign), (count, snapshots.len() - count), "{why}");
            assert_eq!(overview.held, snapshots.iter().filter(|s| s.held).count(), "{why}");
        }
    }

    #[test]
    fn growth_is_measured_between_good_copies_of_the_last_30_days() {
        use Verdict::{Good, Suspect};
        for (snapshots, per_day, why) in [
            (vec![ours(0, Good, Some(100))], None, "one copy does not grow"),
            (vec![ours(0, Good, Some(100)), ours(10, Good, Some(200))], Some(10), "100 in 10 days"),
            (vec![ours(0, Good, Some(200)), ours(10, Good, Some(100))], Some(-10), "it shrank"),
            (
                vec![ours(-50, Good, Some(9)), ours(0, Good, Some(100)), ours(30, Good, Some(400))],
                Some(10),
                "what is older does not count",
            ),
            (vec![ours(-50, Good, Some(9)), ours(0, Good, Some(100))], None, "nothing within 30 days"),
            (
                vec![
                    ours(0, Suspect, Some(1)),
                    ours(5, Good, None),
                    ours(8, Good, Some(100)),
                    ours(10, Good, Some(300)),
                ],
                Some(100),
                "the first that can be compared",
            ),
            (vec![ours(0, Good, Some(100)), ours(10, Good, None)], None, "the size is not known"),
            (vec![ours(0, Good, Some(100)), ours(10, Good, Some(100))], Some(0), "it stayed"),
            (vec![ours(0, Good, Some(0)), ours(30, Good, Some(u64::MAX))], None, "more than can be counted"),
        ] {
            let growth = Overview::of(&snapshots, at(1000)).growth();
            assert_eq!(growth.map(|growth| growth.per_day()), per_day, "{why}");
        }
        let mut close = [ours(0, Good, Some(100)), ours(0, Good, Some(200))];
        close[1].time += TimeDelta::hours(23);
        assert_eq!(Overview::of(&close, at(1000)).growth(), None, "less than a day says nothing");
    }

    #[test]
    fn few_snapshots_are_looked_at_and_those_that_cannot_be_read_are_passed_over() {
        let times: Vec<DateTime<Utc>> = (0..100).map(at).collect();
        let looked = RefCell::new(Vec::new());
        let overview = Overview::looked_up(&times, at(1000), |index| {
            looked.borrow_mut().push(index);
            (index != 99).then(|| Taken::of(&ours(i64::try_from(index).unwrap(), Verdict::Good, Some(1))))?
        });
        assert_eq!(*looked.borrow(), [99, 98, 68]);
        assert_eq!(overview.newest.unwrap().time, at(98));
        assert_eq!(overview.earlier.unwrap().time, at(68));
    }
}
