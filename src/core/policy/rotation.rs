//! What rotation does with a host's snapshots: the one decision that a run
//! carries out after its copy, that `backup plan` foretells, and that `backup
//! prune` carries out without a copy.
//!
//! [`crate::core::policy::retention`] knows one host. What this adds is what
//! concerns all: while a clock stands before a host's newest snapshot, or damage is
//! not mended, snapshots stay that would go; and whether a run may remove anything of
//! a host at all is a [`Rotation`], set where the reason arises.

use crate::core::model::settings::Retention;
use crate::core::model::snapshot::{Facts, Origin, Snapshot, SnapshotName, Verdict};
use crate::core::policy::retention::{self, Fate, Plan, Reason};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

/// Whether a run may remove snapshots of a host, once its copy is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// It may: the copy is good in all its parts.
    #[default]
    Allowed,
    /// Nothing is removed: an older snapshot may be needed yet. The first reason.
    Withheld(WithheldFor),
}

/// Why nothing is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithheldFor {
    /// The copy is less than good.
    Verdict,
    /// Whoever logs in there may not read all files.
    Reader,
    /// The host's own rules are not used.
    Rules,
    /// A hook failed: what it was to write may be missing in the copy.
    Hook,
    /// Its clock and ours disagree.
    Clock,
    /// Damage that was found is not mended, has just been, or nobody knows of it.
    Damage,
    /// The operator's hold could not be placed.
    Hold,
    /// The copy is smaller than it used to be.
    Fall,
}

impl Rotation {
    /// Withholds it; an earlier reason stays.
    pub fn withhold(&mut self, why: WithheldFor) {
        if *self == Rotation::Allowed {
            *self = Rotation::Withheld(why);
        }
    }
}

/// What decides, beside a host's snapshots.
#[derive(Debug, Clone, Copy)]
pub struct RotationPolicy<'a> {
    /// How many periods of each tier keep a snapshot.
    pub policy: &'a Retention,
    /// Whose days, weeks, months and years the tiers follow.
    pub timezone: Tz,
    /// The time.
    pub now: DateTime<Utc>,
    /// The clock stands before the newest snapshot of some host.
    pub clock_behind: bool,
    /// When damage of the host's copies was found that is not mended.
    pub damage_found: Option<DateTime<Utc>>,
}

impl RotationPolicy<'_> {
    /// Decides what becomes of a host's snapshots, and of the one that a good
    /// run of it has just `taken`, or would take.
    pub fn plan(&self, before: &[Snapshot], taken: Option<Snapshot>) -> Plan {
        // Who waits a second for a name that is free decides that much later.
        let now = taken.as_ref().map_or(self.now, |taken| taken.time.max(self.now));
        let snapshots: Vec<Snapshot> = before.iter().cloned().chain(taken).collect();
        let mut plan = retention::plan(self.policy, self.timezone, now, &snapshots);
        if let Some(found) = self.damage_found {
            plan.spare(found);
        }
        if self.clock_behind {
            for decision in plan.decisions.iter_mut().filter(|decision| !decision.keeps()) {
                decision.fate = Fate::Keep(vec![Reason::ClockBehind]);
            }
        }
        plan
    }
}

/// The snapshot that a good run of a host would leave now, under a name that
/// none of the host's has.
pub fn expected(now: DateTime<Utc>, before: &[Snapshot]) -> Snapshot {
    let mut name = SnapshotName::at(now);
    while before.iter().any(|snapshot| snapshot.name == name.to_string()) {
        name = SnapshotName::at(name.time() + TimeDelta::seconds(1));
    }
    let facts = Facts::new(String::new(), Verdict::Good);
    Snapshot { name: name.to_string(), time: name.time(), held: false, origin: Origin::Run(facts) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    const ONE_DAY: Retention =
        Retention { daily: std::num::NonZeroU32::new(1), weekly: None, monthly: None, yearly: None };

    fn rotation(now: &str, clock_behind: bool) -> RotationPolicy<'static> {
        RotationPolicy {
            policy: &ONE_DAY,
            timezone: Tz::UTC,
            now: time(now),
            clock_behind,
            damage_found: None,
        }
    }

    #[test]
    fn what_is_withheld_stays_so_for_the_first_reason() {
        let mut rotation = Rotation::default();
        assert_eq!(rotation, Rotation::Allowed);
        rotation.withhold(WithheldFor::Hook);
        rotation.withhold(WithheldFor::Damage);
        assert_eq!(rotation, Rotation::Withheld(WithheldFor::Hook));
    }

    #[test]
    fn the_runs_own_snapshot_is_counted_in() {
        let before = [expected(time("2026-11-19T02:00:05Z"), &[])];
        let now = "2026-11-20T02:00:05Z";
        let taken = expected(time(now), &before);
        assert_eq!(taken.name, "backup-2026-11-20T020005Z");
        assert_eq!(rotation(now, false).plan(&before, None).removals(), Vec::<String>::new());
        assert_eq!(rotation(now, false).plan(&before, Some(taken)).removals(), ["backup-2026-11-19T020005Z"]);
    }

    #[test]
    fn a_clock_that_is_behind_anywhere_removes_nothing_here() {
        let before = ["2026-11-18T02:00:05Z", "2026-11-19T02:00:05Z"].map(|at| expected(time(at), &[]));
        assert_eq!(rotation("2026-11-20T02:00:05Z", false).plan(&before, None).removals().len(), 1);
        let plan = rotation("2026-11-20T02:00:05Z", true).plan(&before, None);
        assert_eq!(
            plan.to_string(),
            "keep    backup-2026-11-18T020005Z  the clock is behind the newest snapshot\n\
             keep    backup-2026-11-19T020005Z  daily 2026-11-19, the newest good one\n"
        );
    }

    #[test]
    fn nothing_that_is_older_than_damage_goes_before_it_is_mended() {
        let before =
            ["2026-11-16T02:00:05Z", "2026-11-17T02:00:05Z", "2026-11-18T02:00:05Z", "2026-11-19T02:00:05Z"]
                .map(|at| expected(time(at), &[]));
        let found = Some(time("2026-11-17T12:00:00Z"));
        let plan = RotationPolicy { damage_found: found, ..rotation("2026-11-20T02:00:05Z", false) }
            .plan(&before, None);
        assert_eq!(
            plan.to_string(),
            "keep    backup-2026-11-16T020005Z  older than damage that is not mended\n\
             keep    backup-2026-11-17T020005Z  older than damage that is not mended\n\
             remove  backup-2026-11-18T020005Z  no tier claims it\n\
             keep    backup-2026-11-19T020005Z  daily 2026-11-19, the newest good one\n"
        );
    }

    #[test]
    fn what_is_expected_has_a_name_of_its_own() {
        let now = time("2026-11-20T02:00:05.9Z");
        let first = expected(now, &[]);
        let second = expected(now, std::slice::from_ref(&first));
        assert_eq!(second.name, "backup-2026-11-20T020006Z");
        let before = [first, second];
        let third = expected(now, &before);
        assert_eq!(third.name, "backup-2026-11-20T020007Z");
        let plan = rotation("2026-11-20T02:00:05Z", false).plan(&before, Some(third));
        assert_eq!((plan.removals().len(), plan.clock_behind), (2, None), "no clock is behind for that");
    }

    proptest! {
        /// Periods that have a snapshot count, and time that passes without one
        /// does not: so without a new snapshot no clock, however far ahead,
        /// removes more than the right one.
        #[test]
        fn without_a_snapshot_of_its_own_a_clock_that_is_ahead_removes_nothing_more(
            gaps in proptest::collection::vec((60..5_000_000_i64, any::<bool>()), 1..30),
            counts in (1..4_u32, 1..4_u32, 1..4_u32, 1..4_u32),
            ahead in 0..4_000_000_000_i64,
        ) {
            let mut at = time("2020-01-01T00:00:00Z");
            let snapshots: Vec<Snapshot> = gaps.into_iter().map(|(gap, good)| {
                at += TimeDelta::seconds(gap);
                let mut one = expected(at, &[]);
                if let (false, Origin::Run(facts)) = (good, &mut one.origin) {
                    facts.verdict = Verdict::Partial;
                }
                one
            }).collect();
            let count = |count: u32| count.try_into().ok();
            let policy = Retention {
                daily: count(counts.0),
                weekly: count(counts.1),
                monthly: count(counts.2),
                yearly: count(counts.3),
            };
            let plan_at = |now| {
                let (timezone, clock_behind, damage_found) = (Tz::Europe__London, false, None);
                RotationPolicy { policy: &policy, timezone, now, clock_behind, damage_found }.plan(&snapshots, None)
            };
            prop_assert_eq!(plan_at(at), plan_at(at + TimeDelta::seconds(ahead)));
        }
    }
}
