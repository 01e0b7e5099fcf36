//! Taking over a pool that the ancestor, a Python program, filled: its
//! snapshots are recognised and counted, and rotated by the new policy from
//! the first night on. `docs/migration.md` promises what is tested here.
//!
//! What the ancestor leaves behind is played, night by night, by the rules that
//! it follows: a tier takes a snapshot when its last one is 1, 7, 30 or 365
//! days old or older, by the date in the name, in local time; and of each tier
//! the last 7, 4, 24 and 5 stay. So one night can leave up to four.

use crate::support::recorded_pool::Recorded;
use backup::app::clock::clock_behind;
use backup::core::model::settings::Retention;
use backup::core::model::snapshot::{
    Facts, Origin, Snapshot, SnapshotName, Verdict, is_ancestors, newest_good,
};
use backup::core::policy::retention::{self, Plan, Reason, Tier};
use backup::edge::store::{Store, Survey, ZfsStore};
use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

const ZONE: Tz = Tz::Europe__London;
/// By tier of the ancestor, in the order in which it takes snapshots: its
/// name, the days between two, and how many stay.
const TIERS: [(&str, i64, usize); 4] =
    [("daily", 1, 7), ("weekly", 7, 4), ("monthly", 30, 24), ("yearly", 365, 5)];
const MANUAL: &str = "tds-before-18.04-upgrade";

fn policy() -> Retention {
    let count = |tier: usize| NonZeroU32::new(u32::try_from(TIERS[tier].2).unwrap());
    Retention { daily: count(0), weekly: count(1), monthly: count(2), yearly: count(3) }
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// Half past midnight there: `@daily`, and then some time for the copy.
fn night(day: NaiveDate) -> DateTime<Utc> {
    let local = day.and_time(NaiveTime::from_hms_opt(0, 30, 0).unwrap());
    ZONE.from_local_datetime(&local).earliest().unwrap().with_timezone(&Utc)
}

/// The ancestor's snapshots of one host: by tier, the dates in their names and
/// when they were taken, oldest first.
#[derive(Default)]
struct Ancestor([Vec<(NaiveDate, DateTime<Utc>)>; 4]);

impl Ancestor {
    /// What it leaves after good runs on all nights of `first..=last` but those
    /// of which `missed` says so.
    fn after(first: NaiveDate, last: NaiveDate, missed: impl Fn(NaiveDate) -> bool) -> Self {
        let mut left = Ancestor::default();
        for day in first.iter_days().take_while(|day| *day <= last).filter(|day| !missed(*day)) {
            left.run(day, TimeDelta::seconds(1));
        }
        left
    }

    /// One good run; its snapshots are taken `apart` from each other.
    fn run(&mut self, day: NaiveDate, apart: TimeDelta) {
        let mut time = night(day);
        for (taken, (_, days, count)) in self.0.iter_mut().zip(TIERS) {
            if taken.last().is_none_or(|(last, _)| (day - *last).num_days() >= days) {
                taken.push((day, time));
                time += apart;
            }
            let excess = taken.len().saturating_sub(count);
            taken.drain(..excess);
        }
    }

    fn recorded(&self) -> Vec<Recorded> {
        let tiers = self.0.iter().zip(TIERS);
        tiers
            .flat_map(|(taken, (tier, ..))| {
                taken.iter().map(move |(day, time)| Recorded {
                    name: format!("backup-{tier}-{day}"),
                    creation: time.timestamp(),
                    facts: None,
                })
            })
            .collect()
    }
}

/// Somebody's own snapshot.
fn manual(day: &str) -> Recorded {
    Recorded { name: MANUAL.to_owned(), creation: night(date(day)).timestamp(), facts: None }
}

/// What the store makes of a pool with these snapshots of the host `vpn`.
fn surveyed(snapshots: Vec<Recorded>) -> Survey {
    let dir = tempfile::tempdir().unwrap();
    let system = crate::support::recorded_pool::record(dir.path(), [("vpn".to_owned(), snapshots)]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = ZfsStore::on(system, "data", 0).unwrap();
    runtime.block_on(store.survey()).unwrap()
}

fn read(snapshots: Vec<Recorded>) -> Vec<Snapshot> {
    surveyed(snapshots).hosts.remove("vpn").unwrap()
}

/// The snapshot of a good run of ours.
fn ours(time: DateTime<Utc>) -> Snapshot {
    let name = SnapshotName::at(time);
    let facts = Facts::new("r".to_owned(), Verdict::Good);
    Snapshot { name: name.to_string(), time: name.time(), held: false, origin: Origin::Run(facts) }
}

/// A good run of ours in the night of a day: its snapshot, and the rotation.
fn run(snapshots: &mut Vec<Snapshot>, day: NaiveDate) -> Plan {
    let time = night(day) + TimeDelta::hours(2);
    snapshots.push(ours(time));
    let plan = retention::plan(&policy(), ZONE, time + TimeDelta::minutes(1), snapshots);
    let gone: BTreeSet<String> = plan.removals().into_iter().collect();
    snapshots.retain(|snapshot| !gone.contains(&snapshot.name));
    plan
}

/// How many periods of each tier have a snapshot that is kept for them.
fn claimed(plan: &Plan) -> BTreeMap<Tier, usize> {
    let mut counts = BTreeMap::new();
    for claim in plan.decisions.iter().flat_map(|decision| decision.claims()) {
        *counts.entry(claim.tier()).or_default() += 1;
    }
    counts
}

/// A host since 2021, never missed, with a snapshot that somebody took.
fn mature() -> Vec<Recorded> {
    let mut pool = Ancestor::after(date("2021-03-14"), date("2026-11-19"), |_| false).recorded();
    pool.push(manual("2022-05-02"));
    pool
}

#[test]
fn the_ancestors_snapshots_are_known_by_name_and_dated_by_their_creation() {
    let pool = mature();
    assert_eq!(pool.len(), 7 + 4 + 24 + 5 + 1);
    let creations: BTreeMap<String, i64> =
        pool.iter().map(|snapshot| (snapshot.name.clone(), snapshot.creation)).collect();
    let snapshots = read(pool);
    assert_eq!(snapshots.len(), creations.len());
    for snapshot in &snapshots {
        let (origin, good) = match snapshot.name.as_str() {
            MANUAL => (Origin::Foreign, false),
            _ => (Origin::Ancestor, true),
        };
        assert_eq!((&snapshot.origin, snapshot.is_good()), (&origin, good), "{}", snapshot.name);
        assert_eq!(snapshot.time.timestamp(), creations[&snapshot.name], "{}", snapshot.name);
    }
    assert_eq!(newest_good(&snapshots).unwrap().name, "backup-daily-2026-11-19");
}

#[test]
fn the_first_good_run_on_an_old_pool_keeps_one_of_each_period() {
    let mut snapshots = read(mature());
    let plan = run(&mut snapshots, date("2026-11-20"));
    insta::assert_snapshot!(plan, @r"
    keep    backup-yearly-2022-03-14  yearly 2022
    keep    tds-before-18.04-upgrade  not ours
    keep    backup-yearly-2023-03-14  yearly 2023
    remove  backup-yearly-2024-03-13  no tier claims it
    keep    backup-monthly-2024-12-23  monthly 2024-12, yearly 2024
    keep    backup-monthly-2025-01-22  monthly 2025-01
    keep    backup-monthly-2025-02-21  monthly 2025-02
    remove  backup-yearly-2025-03-13  no tier claims it
    keep    backup-monthly-2025-03-23  monthly 2025-03
    keep    backup-monthly-2025-04-22  monthly 2025-04
    keep    backup-monthly-2025-05-22  monthly 2025-05
    keep    backup-monthly-2025-06-21  monthly 2025-06
    keep    backup-monthly-2025-07-21  monthly 2025-07
    keep    backup-monthly-2025-08-20  monthly 2025-08
    keep    backup-monthly-2025-09-19  monthly 2025-09
    keep    backup-monthly-2025-10-19  monthly 2025-10
    keep    backup-monthly-2025-11-18  monthly 2025-11
    keep    backup-monthly-2025-12-18  monthly 2025-12, yearly 2025
    keep    backup-monthly-2026-01-17  monthly 2026-01
    keep    backup-monthly-2026-02-16  monthly 2026-02
    remove  backup-yearly-2026-03-13  no tier claims it
    keep    backup-monthly-2026-03-18  monthly 2026-03
    keep    backup-monthly-2026-04-17  monthly 2026-04
    keep    backup-monthly-2026-05-17  monthly 2026-05
    keep    backup-monthly-2026-06-16  monthly 2026-06
    keep    backup-monthly-2026-07-16  monthly 2026-07
    keep    backup-monthly-2026-08-15  monthly 2026-08
    keep    backup-monthly-2026-09-14  monthly 2026-09
    remove  backup-monthly-2026-10-14  no tier claims it
    keep    backup-weekly-2026-10-25  monthly 2026-10
    keep    backup-weekly-2026-11-01  weekly 2026-W44
    keep    backup-weekly-2026-11-08  weekly 2026-W45
    remove  backup-daily-2026-11-13  no tier claims it
    remove  backup-monthly-2026-11-13  no tier claims it
    keep    backup-daily-2026-11-14  daily 2026-11-14
    remove  backup-daily-2026-11-15  no tier claims it
    keep    backup-weekly-2026-11-15  daily 2026-11-15, weekly 2026-W46
    keep    backup-daily-2026-11-16  daily 2026-11-16
    keep    backup-daily-2026-11-17  daily 2026-11-17
    keep    backup-daily-2026-11-18  daily 2026-11-18
    keep    backup-daily-2026-11-19  daily 2026-11-19
    keep    backup-2026-11-20T023000Z  daily 2026-11-20, weekly 2026-W47, monthly 2026-11, yearly 2026, the newest good one
    ");
    assert_eq!(
        claimed(&plan),
        [(Tier::Daily, 7), (Tier::Weekly, 4), (Tier::Monthly, 24), (Tier::Yearly, 5)].into()
    );
}

#[test]
fn of_the_four_of_a_first_day_one_stays_for_all_of_its_tiers() {
    for (apart, why) in
        [(TimeDelta::seconds(1), "a second between them"), (TimeDelta::zero(), "all within one second")]
    {
        let mut ancestor = Ancestor::default();
        ancestor.run(date("2026-11-15"), apart);
        let mut snapshots = read(ancestor.recorded());
        assert_eq!(snapshots.len(), 4, "{why}");
        let plan = run(&mut snapshots, date("2026-11-16"));
        let mut gone = plan.removals();
        gone.sort();
        assert_eq!(
            gone,
            ["backup-daily-2026-11-15", "backup-monthly-2026-11-15", "backup-weekly-2026-11-15"],
            "{why}"
        );
        let left: Vec<String> =
            plan.decisions.iter().filter(|decision| decision.keeps()).map(ToString::to_string).collect();
        assert_eq!(
            left,
            [
                "keep    backup-yearly-2026-11-15  daily 2026-11-15, weekly 2026-W46",
                "keep    backup-2026-11-16T023000Z  daily 2026-11-16, weekly 2026-W47, monthly 2026-11, \
                 yearly 2026, the newest good one"
            ],
            "{why}"
        );
    }
}

#[test]
fn a_pool_of_one_day_loses_its_copies_of_that_day_to_a_newer_one() {
    let mut ancestor = Ancestor::default();
    ancestor.run(date("2026-11-20"), TimeDelta::seconds(1));
    let mut snapshots = read(ancestor.recorded());
    run(&mut snapshots, date("2026-11-20"));
    let names: Vec<&str> = snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect();
    assert_eq!(names, ["backup-2026-11-20T023000Z"], "one of a day stays, and all are of one day");
}

#[test]
fn the_four_are_all_that_there_is_as_long_as_no_run_is_good() {
    let mut ancestor = Ancestor::default();
    ancestor.run(date("2026-11-15"), TimeDelta::zero());
    let snapshots = read(ancestor.recorded());
    let plan = retention::plan(&policy(), ZONE, night(date("2026-11-16")), &snapshots);
    assert_eq!(newest_good(&snapshots).unwrap().name, "backup-yearly-2026-11-15");
    assert!(plan.decisions.iter().any(|decision| decision.name == "backup-yearly-2026-11-15"
        && matches!(&decision.fate, retention::Fate::Keep(why) if why.contains(&Reason::NewestGood))));
}

#[test]
fn a_held_one_of_the_ancestors_stays_and_says_what_it_would_stay_for_anyway() {
    // How an operator looks before the first rotation: hold all, then run.
    let mut snapshots = read(mature());
    for snapshot in &mut snapshots {
        snapshot.held = true;
    }
    let held = run(&mut snapshots.clone(), date("2026-11-20"));
    assert_eq!(held.removals(), Vec::<String>::new());
    for snapshot in &mut snapshots {
        snapshot.held = false;
    }
    let free = run(&mut snapshots, date("2026-11-20"));
    let only_held: Vec<String> = held
        .decisions
        .iter()
        .filter(|decision| decision.to_string().ends_with("  held"))
        .map(|decision| decision.name.clone())
        .collect();
    assert_eq!(only_held, free.removals(), "those held and nothing else are those that would go");
}

#[test]
fn a_snapshot_from_a_night_when_the_clock_was_ahead_stops_all_removals() {
    let mut pool = mature();
    let ahead = date("2027-11-19");
    pool.push(Recorded {
        name: format!("backup-daily-{ahead}"),
        creation: night(ahead).timestamp(),
        facts: None,
    });
    let now = night(date("2026-11-20"));
    let survey = surveyed(pool);
    assert_eq!(
        clock_behind(&survey, now).unwrap().to_string(),
        "`backup-daily-2027-11-19` of vpn",
        "it is named, so that somebody can destroy it"
    );
    let plan = retention::plan(&policy(), ZONE, now, &survey.hosts["vpn"]);
    assert_eq!(plan.removals(), Vec::<String>::new());
    assert!(plan.clock_behind.is_some());
}

#[test]
fn the_ancestor_takes_no_snapshot_of_ours_for_its_own() {
    let mut snapshots = Vec::new();
    run(&mut snapshots, date("2026-11-20"));
    assert!(!is_ancestors(&snapshots[0].name), "it would rotate {} away", snapshots[0].name);
}

/// The names of the calendar periods that a time lies in, by tier, made from
/// the calendar once more than in the product.
fn periods(time: DateTime<Utc>) -> [String; 4] {
    let day = time.with_timezone(&ZONE).date_naive();
    let monday = day - Days::new(u64::from(day.weekday().num_days_from_monday()));
    [day.to_string(), monday.to_string(), day.format("%Y-%m").to_string(), day.year().to_string()]
}

/// Holds a rotation to what is promised of it, whatever decided it: what goes
/// has, for each tier, a younger one that stays in its own period, or as many
/// younger periods as the tier counts with one that stays.
fn nothing_is_lost(before: &[Snapshot], after: &[Snapshot]) -> Result<(), TestCaseError> {
    let kept: Vec<(DateTime<Utc>, [String; 4])> =
        after.iter().filter(|s| s.is_good()).map(|s| (s.time, periods(s.time))).collect();
    for gone in before.iter().filter(|snapshot| !after.contains(snapshot)) {
        prop_assert!(gone.is_ours(), "{} is not ours", gone.name);
        let own = periods(gone.time);
        for (tier, (name, _, count)) in TIERS.into_iter().enumerate() {
            let replaced = kept.iter().any(|(time, its)| *time >= gone.time && its[tier] == own[tier]);
            let younger: BTreeSet<&String> =
                kept.iter().map(|(_, its)| &its[tier]).filter(|period| **period > own[tier]).collect();
            prop_assert!(
                replaced || younger.len() >= count,
                "{} went, and {name} has neither another of {} nor {count} younger ones, but {younger:?}",
                gone.name,
                own[tier],
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Over the seam and for a while behind it, whenever the ancestor began and
    /// whatever it missed: nothing that a tier should have is lost in any night,
    /// and no tier ever counts fewer periods than in the night before.
    #[test]
    fn no_tier_loses_anything_over_the_seam(
        first in 0_u64..2200,
        share_missed in 0_u32..60,
        seed in any::<u32>(),
        nights in 1_usize..80,
    ) {
        // A night is missed or not by a hash of its date.
        let missed = |day: NaiveDate| {
            let mixed = (day.num_days_from_ce().unsigned_abs() ^ seed).wrapping_mul(0x9e37_79b9);
            (mixed >> 16) % 100 < share_missed
        };
        let last = date("2026-11-19");
        let begin = date("2020-11-11") + Days::new(first);
        let mut pool = Ancestor::after(begin, last, missed).recorded();
        pool.push(manual("2024-05-02"));
        let mut snapshots = read(pool);
        let mut counted: BTreeMap<Tier, usize> = BTreeMap::new();
        for day in last.iter_days().skip(1).take(nights) {
            let mut before = snapshots.clone();
            before.push(ours(night(day) + TimeDelta::hours(2)));
            let newest = newest_good(&before).unwrap().name.clone();
            let plan = run(&mut snapshots, day);
            nothing_is_lost(&before, &snapshots)?;
            prop_assert!(snapshots.iter().any(|snapshot| snapshot.name == MANUAL));
            prop_assert!(snapshots.iter().any(|snapshot| snapshot.name == newest));
            for (tier, count) in claimed(&plan) {
                let former = counted.insert(tier, count).unwrap_or(0);
                prop_assert!(count >= former, "{tier:?} of {day}: {former} periods, and now {count}");
            }
        }
    }
}
