use super::*;
use chrono::TimeDelta;
use proptest::prelude::*;

const GIB: u64 = 1 << 30;

fn night(number: i64) -> DateTime<Utc> {
    let first: DateTime<Utc> = "2026-01-01T02:00:05Z".parse().unwrap();
    first + TimeDelta::days(number)
}

fn sized(number: i64, bytes: u64) -> Sample {
    Sample { time: night(number), bytes: Some(bytes), files: None, seconds: None }
}

fn nightly(sizes: impl IntoIterator<Item = u64>) -> Vec<Sample> {
    (0..).zip(sizes).map(|(number, bytes)| sized(number, bytes)).collect()
}

/// The nights on which something was told, of hosts that go on whatever it is.
fn told(samples: &[Sample]) -> Vec<usize> {
    (0..samples.len())
        .filter(|&number| !deviations(&samples[..number], &samples[number]).is_empty())
        .collect()
}

#[test]
fn what_is_ordinary_is_not_told_and_what_is_not_is() {
    let calm = || nightly([100 * GIB; 30]);
    let last = |samples: Vec<Sample>, bytes| {
        let number = i64::try_from(samples.len()).unwrap();
        deviations(&samples, &sized(number, bytes)).first().map(Deviation::is_fall)
    };
    let wavy = nightly((0..30).map(|n| 100 * GIB + (n * 7919 % 11) * 4 * GIB));
    for (samples, bytes, expected, why) in [
        (calm(), 100 * GIB, None, "as ever"),
        (calm(), 109 * GIB, None, "a release of the system"),
        (calm(), 91 * GIB, None, "its logs were cleared"),
        (calm(), 120 * GIB, Some(false), "a fifth more in one night, of a host that never changed"),
        (calm(), 70 * GIB, Some(true), "a third less; the guard would let half of the files go"),
        (calm(), 0, Some(true), "nothing"),
        (nightly([100 * GIB; 6]), 900 * GIB, None, "six runs say too little"),
        (nightly([100 * GIB; 7]), 900 * GIB, Some(false), "seven say enough"),
        (nightly([GIB / 1024; 30]), 20 * GIB / 1024, None, "20 times more, but 20 MiB"),
        (wavy.clone(), 155 * GIB, None, "a host that goes up and down by 40 GiB anyway"),
        (wavy, 400 * GIB, Some(false), "but not by 300"),
        (nightly((0..30).map(|n| n * 10 * GIB)), 310 * GIB, None, "it grows like that every night"),
        (nightly((0..30).map(|n| n * 10 * GIB)), 600 * GIB, Some(false), "twice what it came to by growing"),
        (nightly((0..30).map(|n| n * 10 * GIB)), 290 * GIB, None, "that it stops growing is nothing"),
        (nightly((0..30).map(|n| (40 - n) * 10 * GIB)), 90 * GIB, None, "it shrinks every night"),
    ] {
        assert_eq!(last(samples, bytes), expected, "{why}");
    }
}

#[test]
fn a_level_that_stays_is_told_once() {
    let import = |night: i64| if night < 40 { 10 * GIB } else { 800 * GIB };
    assert_eq!(told(&nightly((0..120).map(import))), [40]);
    let loss = |night: i64| if night < 40 { 800 * GIB } else { 500 * GIB };
    assert_eq!(told(&nightly((0..120).map(loss))), [40]);
    let excursion = |night: i64| if (40..45).contains(&night) { 800 * GIB } else { 10 * GIB };
    assert_eq!(told(&nightly((0..120).map(excursion))), [40], "nor that it is as before again");
}

#[test]
fn an_import_of_many_nights_is_told_only_when_it_has_doubled() {
    let import = |night: u64| 10 * GIB + 100 * GIB * night.saturating_sub(39).min(30);
    let told = told(&nightly((0..120).map(import)));
    assert!(told[0] == 40 && told.len() <= 4, "{told:?}");
}

#[test]
fn a_weekly_peak_is_told_the_first_two_times() {
    let weekly = |night: u64| if night % 7 == 6 { 50 * GIB } else { 10 * GIB + night % 3 * GIB / 8 };
    assert_eq!(told(&nightly((0..200).map(weekly))), [13], "the first week has too few runs before it");
    let later = |night: u64| if night >= 30 { weekly(night) } else { 10 * GIB };
    assert_eq!(told(&nightly((0..200).map(later))), [34, 41]);
}

#[test]
fn one_run_that_was_far_off_hides_no_second_one() {
    let first_copy = |night: u64| match night {
        0 => 36_000,
        20 => 30_000,
        _ => 300,
    };
    let samples: Vec<Sample> = (0..25_u32)
        .map(|night_of| Sample {
            time: night(night_of.into()),
            bytes: None,
            files: None,
            seconds: Some(first_copy(night_of.into())),
        })
        .collect();
    assert_eq!(told(&samples), [20]);
}

#[test]
fn every_figure_is_judged_by_itself_and_says_what_is_usual() {
    let sample = |number, bytes, files, seconds| Sample {
        time: night(number),
        bytes: Some(bytes),
        files: Some(files),
        seconds: Some(seconds),
    };
    let mut past: Vec<Sample> = (0..40).map(|number| sample(number, 100 * GIB, 20_000, 1200)).collect();
    let said = |now: Sample, past: &[Sample]| -> Vec<String> {
        deviations(past, &now).iter().map(Deviation::to_string).collect()
    };
    let now = sample(40, 812 * GIB, 13_000, 12_000);
    assert_eq!(
        said(now, &past),
        [
            "its size jumped to 812.0 GiB, where 90.0 GiB to 110.0 GiB is usual (30 good runs)",
            "its number of files fell to 13000, where 18000 to 22000 is usual (30 good runs)",
            "it took 3h20m, where up to 30m00s is usual (30 good runs)",
        ]
    );
    assert!(said(sample(40, 100 * GIB, 20_000, 0), &past).is_empty(), "to be done early is good news");
    past.iter_mut().for_each(|sample| sample.files = None);
    assert_eq!(said(now, &past).len(), 2, "what nobody knows is not judged");
}

#[test]
fn the_better_of_two_sources_is_taken() {
    use crate::core::model::snapshot::{Facts, Origin, SnapshotName, Verdict};
    let snapshot = |number| {
        let name = SnapshotName::at(night(number));
        let facts = Facts {
            run: format!("run{number}"),
            verdict: if number == 3 { Verdict::Partial } else { Verdict::Good },
            files: Some(1),
            bytes: Some(2),
            duration: Some(3),
            machine: None,
            hostname: None,
            left_out: None,
            clock_agreed: false,
        };
        Snapshot { name: name.to_string(), time: name.time(), held: false, origin: Origin::Run(facts) }
    };
    let snapshots: Vec<Snapshot> = (0..10).map(snapshot).collect();
    let entry = |snapshot: &Snapshot| HostRecord::from_snapshot("vpn", snapshot).unwrap();
    let entries: Vec<HostRecord> = snapshots.iter().map(entry).collect();
    for (remembered, carried, expected, why) in [
        (&entries[..], &snapshots[..4], 9, "enough is remembered"),
        (&entries[..8], &snapshots[..], 7, "just enough, whatever else there is"),
        (&entries[..5], &snapshots[..], 9, "too little is remembered"),
        (&entries[..5], &snapshots[..2], 4, "the snapshots tell even less"),
        (&[], &snapshots[..], 9, "there is no history"),
    ] {
        let samples = Sample::of_either(remembered, carried);
        assert_eq!(samples.len(), expected, "{why}");
        assert_eq!((samples[0].bytes, samples[0].seconds), (Some(2), Some(3)));
    }
}

/// Any samples at all.
fn anything() -> impl Strategy<Value = Vec<Sample>> {
    let figure = || proptest::option::of(prop_oneof![0..2000_u64, any::<u64>()]);
    let sample = (-400_000_i64..400_000, figure(), figure(), figure());
    let sample = sample.prop_map(|(minutes, bytes, files, seconds)| Sample {
        time: night(0) + TimeDelta::minutes(minutes),
        bytes,
        files,
        seconds,
    });
    proptest::collection::vec(sample, 0..60)
}

proptest! {
    #[test]
    fn what_the_newest_run_had_is_never_a_jump(past in anything(), later in 0..100_000_i64) {
        for measure in [Measure::Bytes, Measure::Files, Measure::Duration] {
            let known = past.iter().filter(|sample| sample.of(measure).is_some());
            // Of two at one time either may count as the newest.
            if let Some(newest) = known.max_by_key(|sample| (sample.time, sample.of(measure))) {
                let now = Sample { time: newest.time + TimeDelta::minutes(later), ..*newest };
                prop_assert_eq!(jump(measure, &past, &now), None);
            }
        }
    }

    #[test]
    fn a_jump_is_outside_of_what_it_says_is_usual(past in anything(), now in anything()) {
        for now in &now {
            for jump in deviations(&past, now) {
                prop_assert!(jump.low <= jump.high);
                prop_assert!(jump.value < jump.low || jump.value > jump.high);
                prop_assert!(jump.runs >= ENOUGH && jump.runs <= WINDOW);
                prop_assert!(jump.measure != Measure::Duration || !jump.is_fall());
            }
        }
    }

    #[test]
    fn the_order_of_the_past_plays_no_part(past in anything(), now in anything()) {
        let mut turned = past.clone();
        turned.reverse();
        for now in &now {
            prop_assert_eq!(deviations(&past, now), deviations(&turned, now));
        }
    }

    #[test]
    fn steady_growth_is_never_told(
        begin in 0..1_000 * GIB,
        growth in 0..100 * GIB,
        gaps in proptest::collection::vec(1..90_i64, 1..60),
    ) {
        let mut day = 0;
        let samples: Vec<Sample> = gaps.iter().map(|gap| {
            day += gap;
            sized(day, begin + growth * u64::try_from(day).unwrap())
        }).collect();
        prop_assert_eq!(told(&samples), Vec::<usize>::new());
    }

    #[test]
    fn growth_that_wavers_a_little_is_never_told(
        begin in 10 * GIB..1_000 * GIB,
        growth in 0..GIB,
        noise in proptest::collection::vec(-20_i64..=20, 100),
    ) {
        let sizes = (0_u64..).zip(&noise).map(|(number, noise)| {
            let level = begin + growth * number;
            level.saturating_add_signed(i64::try_from(level / 1000).unwrap() * noise)
        });
        prop_assert_eq!(told(&nightly(sizes)), Vec::<usize>::new());
    }

    #[test]
    fn what_is_ten_times_as_much_is_told_once_whatever_wavers(
        begin in GIB..1_000 * GIB,
        noise in proptest::collection::vec(-20_i64..=20, 100),
        at in 7_usize..90,
    ) {
        let sizes = (0..).zip(&noise).map(|(number, noise)| {
            let level = if number < at { begin } else { 10 * begin };
            level.saturating_add_signed(i64::try_from(begin / 1000).unwrap() * noise)
        });
        prop_assert_eq!(told(&nightly(sizes)), [at]);
    }
}
