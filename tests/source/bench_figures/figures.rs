use crate::bench_figures::figures::*;

#[test]
fn the_median_is_the_middle_or_between_the_two_middle_ones() {
    let of = |values: &[f64]| Spread::of(values.iter().copied());
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[3.0]), Some(Spread { median: 3.0, least: 3.0, most: 3.0, count: 1 }));
    assert_eq!(of(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 9.0, count: 3 }));
    assert_eq!(of(&[4.0, 1.0, 2.0, 9.0]).map(|spread| spread.median), Some(3.0));
}

#[test]
fn ratios_are_of_pairs_and_not_of_medians() {
    // A machine that grew slower and slower: each pair still says 2.
    let ours = [(1, 2.0), (2, 4.0), (3, 40.0)];
    let theirs = [(3, 20.0), (2, 2.0), (1, 1.0)];
    let spread = ratios(&ours, &theirs).unwrap();
    assert_eq!((spread.median, spread.least, spread.most, spread.count), (2.0, 2.0, 2.0, 3));
    let uneven = ratios(&[(1, 1.0), (2, 100.0), (3, 3.0)], &[(1, 1.0), (2, 1.0), (3, 3.0)]).unwrap();
    assert_eq!(uneven.median, 1.0, "one disturbed run decides nothing");
}

#[test]
fn a_run_that_one_of_them_lacks_is_no_pair() {
    assert_eq!(ratios(&[(1, 1.0), (2, 3.0)], &[(2, 1.5), (4, 1.0)]).unwrap().count, 1);
    assert_eq!(ratios(&[(1, 1.0)], &[(2, 1.0)]), None);
    assert_eq!(ratios(&[(1, 1.0)], &[(1, 0.0)]), None, "nothing is so many times nothing");
}

#[test]
fn figures_have_the_digits_that_they_deserve() {
    assert_eq!([0.12345, 9.9991, 10.0, 123.456].map(seconds), ["0.123 s", "9.999 s", "10.00 s", "123.5 s"]);
    assert_eq!(megabytes(12_345_678), "12.3 MB");
    assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
}
