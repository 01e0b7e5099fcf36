//! What times tell: how they are shown, and what two clocks say of each other.

use chrono::{DateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// A time as clocks on the wall show it in `zone`: `2026-11-20 02:00`.
pub fn local(zone: Tz, time: DateTime<Utc>) -> String {
    local_as("%Y-%m-%d %H:%M", zone, time)
}

/// The same in another format, one of chrono's without an offset.
pub fn local_as(format: &str, zone: Tz, time: DateTime<Utc>) -> String {
    // Only a year beyond 262000 has no local time: no reason to panic.
    let offset = zone.offset_from_utc_datetime(&time.naive_utc()).fix();
    let local = time.naive_utc().checked_add_offset(offset).unwrap_or(time.naive_utc());
    local.format(format).to_string()
}

/// How far a host's clock may be from ours before one of the two must be wrong:
/// more than any time zone, should somebody have set one to local time.
const APART: TimeDelta = TimeDelta::hours(26);

/// Whether a good snapshot speaks for our clock that was taken at this time, when
/// its host's clock agreed with ours: if ours were so far ahead of the right time
/// that hosts contradict it, no snapshot that the right clock has dated could be so
/// young.
pub fn is_vouched_for(now: DateTime<Utc>, taken: DateTime<Utc>) -> bool {
    (TimeDelta::zero()..=APART).contains(&(now - taken))
}

/// What a host's clock says of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockSkew {
    /// They agree.
    Alike,
    /// Ours is ahead of the host's by so many days.
    Ahead(i64),
    /// Ours is behind the host's by so many days.
    Behind(i64),
}

/// Compares our clock with a host's.
pub fn compare(ours: DateTime<Utc>, theirs: DateTime<Utc>) -> ClockSkew {
    let ahead = ours - theirs;
    // To the nearest day: the host's clock was read a moment ago.
    let days = (ahead.num_hours().abs() + 12) / 24;
    if ahead.abs() <= APART {
        ClockSkew::Alike
    } else if ahead > TimeDelta::zero() {
        ClockSkew::Ahead(days)
    } else {
        ClockSkew::Behind(days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_shows_its_own_time_in_summer_and_winter() {
        for (time, zone, shown) in [
            ("2026-11-20T02:00:05Z", Tz::Europe__London, "2026-11-20 02:00"),
            ("2026-07-20T23:30:05Z", Tz::Europe__London, "2026-07-21 00:30"),
            ("2026-11-20T02:00:05Z", Tz::America__New_York, "2026-11-19 21:00"),
        ] {
            assert_eq!(local(zone, time.parse().unwrap()), shown, "{time}");
        }
        assert!(local(Tz::Pacific__Auckland, DateTime::<Utc>::MAX_UTC).starts_with('+'));
    }

    #[test]
    fn no_snapshot_of_the_right_clock_speaks_for_one_that_is_ahead() {
        let right = DateTime::from_timestamp(1_795_140_000, 0).unwrap();
        for ahead in [27, 30, 24 * 365] {
            let wrong = right + TimeDelta::hours(ahead);
            assert!(matches!(compare(wrong, right), ClockSkew::Ahead(_)));
            for hours in [0, 1, 24, 24 * 30] {
                assert!(!is_vouched_for(wrong, right - TimeDelta::hours(hours)), "{ahead}, {hours}");
            }
        }
        assert!(is_vouched_for(right, right) && is_vouched_for(right, right - TimeDelta::hours(24)));
        assert!(!is_vouched_for(right, right - TimeDelta::hours(27)));
        assert!(!is_vouched_for(right, right + TimeDelta::seconds(1)), "one of the future says the opposite");
    }

    #[test]
    fn clocks_are_alike_within_any_time_zone() {
        let now = DateTime::from_timestamp(1_795_140_000, 0).unwrap();
        for (hours, expected) in [
            (0, ClockSkew::Alike),
            (25, ClockSkew::Alike),
            (-26, ClockSkew::Alike),
            (27, ClockSkew::Ahead(1)),
            (-27, ClockSkew::Behind(1)),
            (24 * 365, ClockSkew::Ahead(365)),
            (-24 * 365, ClockSkew::Behind(365)),
        ] {
            assert_eq!(compare(now + TimeDelta::hours(hours), now), expected, "{hours} hours ahead");
        }
    }
}
