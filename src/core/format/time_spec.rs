//! What a person says of a time: `2026-11-20`, `14:30`, `yesterday`,
//! `2 days ago`.
//!
//! A word means the end of what it names: a date the last second of that day, a
//! time to the minute the last second of that minute. So whoever asks for the
//! newest copy at that time gets the one that was taken in it, and the time that
//! a table shows may be typed back. Days begin and end as the clocks of a zone
//! say: a time that they show twice is the later one, one that they skip is the
//! moment after the gap.
//!
//! Not known here: what is looked for at that time.

use crate::core::format::text::printable;
use chrono::{DateTime, Days, MappedLocalTime, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use chrono::{Datelike, TimeZone, Timelike, Utc, Weekday};
use chrono_tz::Tz;

/// What [`parse`] understands, for help texts.
pub const ACCEPTED: &str = "`2026-11-20` (the end of that day), `2026-11-20 14:30`, `14:30`, \
     `2026-11-20T14:30:00Z`, `now`, `today`, `yesterday`, `yesterday 14:30`, `monday`, `3h ago`, \
     `2 days ago` or `1 week ago`";

/// The longest gap that a zone's clocks have jumped over, and an hour more: in
/// 2011 Samoa had no 30th of December.
const LONGEST_GAP: TimeDelta = TimeDelta::hours(25);

/// Why a text is no time to look at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// It is not understood.
    #[error("`{}` is not a time that is understood: use {ACCEPTED}", printable(.0))]
    Unknown(String),
    /// It is yet to come.
    #[error("`{}` is in the future: give a time in the past, such as `now` or `yesterday`", printable(.0))]
    Ahead(String),
    /// There is no such day or hour.
    #[error("`{}` is not a time: there is no such day or hour", printable(.0))]
    Impossible(String),
}

/// The moment that a text means in a zone, `now` being the present one.
///
/// # Errors
/// The text is not understood, or means a time that has not begun.
pub fn parse(text: &str, now: DateTime<Utc>, zone: Tz) -> Result<DateTime<Utc>, WhenError> {
    let here = Here { now, zone };
    let lower = text.trim().to_ascii_lowercase();
    let words: Vec<&str> = lower.split_ascii_whitespace().collect();
    let found = match here.meant(&words) {
        Some(Meant::Moment(moment)) => Some((moment, moment)),
        Some(Meant::Span(from, to)) => here.span(from, to),
        Some(Meant::Impossible) => None,
        None => return Err(WhenError::Unknown(text.to_owned())),
    };
    let (from, to) = found.ok_or_else(|| WhenError::Impossible(text.to_owned()))?;
    if from > now { Err(WhenError::Ahead(text.to_owned())) } else { Ok(to) }
}

/// What words mean.
enum Meant {
    Moment(DateTime<Utc>),
    /// In local time, from the first to before the second.
    Span(NaiveDateTime, NaiveDateTime),
    /// Something with the shape of a time that is none.
    Impossible,
}

/// Where and when the words are said.
#[derive(Clone, Copy)]
struct Here {
    now: DateTime<Utc>,
    zone: Tz,
}

impl Here {
    fn meant(self, words: &[&str]) -> Option<Meant> {
        match *words {
            ["now"] => Some(Meant::Moment(self.now)),
            [day] => self.instant(day).or_else(|| self.one_word(day)),
            [count, unit, "ago"] => self.ago(count, unit),
            [both, "ago"] => {
                let digits = both.find(|c: char| !c.is_ascii_digit())?;
                self.ago(&both[..digits], &both[digits..])
            }
            ["last", day] => self.weekday(day).map(|day| whole(Some(day))),
            ["last", day, time] => self.weekday(day).and_then(|day| at(day, time)),
            [day, time] => match self.instant(&format!("{day}T{time}")) {
                None => match self.day(day)? {
                    Some(day) => at(day, time),
                    None => Some(Meant::Impossible),
                },
                instant => instant,
            },
            _ => None,
        }
    }

    fn one_word(self, word: &str) -> Option<Meant> {
        if let Some((day, time)) = word.split_once('t') {
            if let Some(day) = date(day) {
                return day.map_or(Some(Meant::Impossible), |day| at(day, time));
            }
        }
        if let Some(day) = self.day(word) {
            return Some(whole(day));
        }
        let today = self.now.with_timezone(&self.zone).date_naive();
        // One that is yet to come today was yesterday.
        match at(today, word)? {
            Meant::Span(from, to) if self.span(from, to).is_some_and(|(from, _)| from > self.now) => {
                at(today.pred_opt()?, word)
            }
            meant => Some(meant),
        }
    }

    /// A moment with its own offset, RFC 3339.
    fn instant(self, word: &str) -> Option<Meant> {
        let moment = DateTime::parse_from_rfc3339(&word.to_ascii_uppercase()).ok()?;
        Some(Meant::Moment(moment.to_utc()))
    }

    /// A day by its date or name; `Some(None)` for a date that no calendar has.
    fn day(self, word: &str) -> Option<Option<NaiveDate>> {
        let today = self.now.with_timezone(&self.zone).date_naive();
        match word {
            "today" => Some(Some(today)),
            "yesterday" => Some(today.pred_opt()),
            _ => match self.weekday(word) {
                Some(day) => Some(Some(day)),
                None => date(word),
            },
        }
    }

    /// The last day of this name, before today.
    fn weekday(self, word: &str) -> Option<NaiveDate> {
        let wanted: Weekday = word.parse().ok()?;
        let today = self.now.with_timezone(&self.zone).date_naive();
        let back = (today.weekday().num_days_from_monday() + 7 - wanted.num_days_from_monday()) % 7;
        today.checked_sub_days(Days::new(if back == 0 { 7 } else { u64::from(back) }))
    }

    /// Hours and less are so much time; days and more are so many leaves of the
    /// calendar, at the same hour.
    fn ago(self, count: &str, unit: &str) -> Option<Meant> {
        let count: u32 = match count {
            "a" | "an" | "one" => 1,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
            _ => return None,
        };
        let here = self.now.with_timezone(&self.zone).naive_local();
        let time = |seconds: i64| {
            self.now.checked_sub_signed(TimeDelta::try_seconds(i64::from(count).checked_mul(seconds)?)?)
        };
        let local = |there: Option<NaiveDateTime>| self.local(there?, false);
        let months = |months: u32| local(here.checked_sub_months(Months::new(count.checked_mul(months)?)));
        let days = |days: u64| local(here.checked_sub_days(Days::new(u64::from(count) * days)));
        let moment = match unit {
            "s" | "sec" | "secs" | "second" | "seconds" => time(1),
            "m" | "min" | "mins" | "minute" | "minutes" => time(60),
            "h" | "hour" | "hours" => time(3600),
            "d" | "day" | "days" => days(1),
            "w" | "week" | "weeks" => days(7),
            "month" | "months" => months(1),
            "y" | "year" | "years" => months(12),
            _ => return None,
        };
        Some(moment.map_or(Meant::Impossible, Meant::Moment))
    }

    /// The first moment of a span, and the last second of it.
    fn span(self, from: NaiveDateTime, to: NaiveDateTime) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        // A day ends where the next one first begins. A shorter span that the
        // clocks show twice is meant where they show it last.
        let whole_day = from.date() != to.date() && from.time() == to.time();
        let end = self.local(to.checked_sub_signed(TimeDelta::seconds(1))?, false)?;
        let end = if whole_day { self.local(to, true)? - TimeDelta::seconds(1) } else { end };
        let begin = self.local(from, whole_day)?;
        Some((begin, end.max(begin)))
    }

    /// The moment at which the zone's clocks show this: the earlier or the later
    /// of two, or the one after the gap that it falls into.
    fn local(self, shown: NaiveDateTime, earlier: bool) -> Option<DateTime<Utc>> {
        match self.zone.from_local_datetime(&shown) {
            MappedLocalTime::Single(moment) => return Some(moment.to_utc()),
            MappedLocalTime::Ambiguous(first, second) => {
                return Some(if earlier { first } else { second }.to_utc());
            }
            MappedLocalTime::None => {}
        }
        let minute = shown.with_second(0)?.with_nanosecond(0)?;
        let later = (1..=LONGEST_GAP.num_minutes())
            .filter_map(|minutes| minute.checked_add_signed(TimeDelta::minutes(minutes)));
        later.filter_map(|shown| self.zone.from_local_datetime(&shown).earliest()).next().map(|m| m.to_utc())
    }
}

/// `2026-11-20`; `Some(None)` if it looks like that and is no day.
fn date(word: &str) -> Option<Option<NaiveDate>> {
    let shape: Vec<u8> = word.bytes().map(|b| if b.is_ascii_digit() { b'9' } else { b }).collect();
    (shape == b"9999-99-99").then(|| NaiveDate::parse_from_str(word, "%Y-%m-%d").ok())
}

fn whole(day: Option<NaiveDate>) -> Meant {
    let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN);
    match day.and_then(|day| Some((day, day.succ_opt()?))) {
        Some((day, next)) => Meant::Span(midnight(day), midnight(next)),
        None => Meant::Impossible,
    }
}

/// `14:30` or `14:30:05` on a day.
fn at(day: NaiveDate, time: &str) -> Option<Meant> {
    let numbers: Option<Vec<u32>> = time
        .split(':')
        .map(|part| {
            let digits = matches!(part.len(), 1..=2) && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        })
        .collect();
    let (from, length) = match numbers?.as_slice() {
        [hour, minute] => (day.and_hms_opt(*hour, *minute, 0), 60),
        [hour, minute, second] => (day.and_hms_opt(*hour, *minute, *second), 1),
        _ => return None,
    };
    let to = from.and_then(|from| from.checked_add_signed(TimeDelta::seconds(length)));
    Some(match (from, to) {
        (Some(from), Some(to)) => Meant::Span(from, to),
        _ => Meant::Impossible,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// Friday, 11:00 in London.
    fn parsed(text: &str) -> Result<String, WhenError> {
        let zone = "Europe/London".parse().unwrap();
        parse(text, utc("2026-11-20T11:00:00Z"), zone).map(|time| time.to_rfc3339().replace("+00:00", "Z"))
    }

    #[test]
    fn what_people_say_is_understood() {
        for (text, expected, why) in [
            ("2026-11-20", "2026-11-20T23:59:59Z", "a date is the end of that day, today's too"),
            ("2026-07-01", "2026-07-01T22:59:59Z", "in summer the day ends an hour earlier"),
            ("2026-11-19 14:30", "2026-11-19T14:30:59Z", "the end of that minute"),
            ("2026-11-19T14:30", "2026-11-19T14:30:59Z", "as computers write it"),
            ("2026-11-19 14:30:05", "2026-11-19T14:30:05Z", "that second"),
            ("2026-11-19T14:30:05", "2026-11-19T14:30:05Z", "that second"),
            ("2026-07-19T14:30:05Z", "2026-07-19T14:30:05Z", "UTC if it says so"),
            ("2026-07-19 14:30:05+02:00", "2026-07-19T12:30:05Z", "any offset"),
            ("10:59", "2026-11-20T10:59:59Z", "today"),
            ("11:00", "2026-11-20T11:00:59Z", "this very minute has begun"),
            ("11:01", "2026-11-19T11:01:59Z", "yet to come, so yesterday"),
            ("9:05", "2026-11-20T09:05:59Z", "without a leading zero"),
            ("23:59", "2026-11-19T23:59:59Z", "the last minute of a day"),
            ("now", "2026-11-20T11:00:00Z", ""),
            ("today", "2026-11-20T23:59:59Z", ""),
            ("Yesterday", "2026-11-19T23:59:59Z", "in any case"),
            (" yesterday  02:00 ", "2026-11-19T02:00:59Z", "blanks do not matter"),
            ("today 02:00", "2026-11-20T02:00:59Z", ""),
            ("monday", "2026-11-16T23:59:59Z", "this week's"),
            ("last mon", "2026-11-16T23:59:59Z", ""),
            ("friday", "2026-11-13T23:59:59Z", "today is one; the one before is meant"),
            ("saturday", "2026-11-14T23:59:59Z", "last week's"),
            ("last monday 02:00", "2026-11-16T02:00:59Z", ""),
            ("90 s ago", "2026-11-20T10:58:30Z", ""),
            ("5 min ago", "2026-11-20T10:55:00Z", ""),
            ("3h ago", "2026-11-20T08:00:00Z", ""),
            ("an hour ago", "2026-11-20T10:00:00Z", ""),
            ("2 days ago", "2026-11-18T11:00:00Z", "at this hour"),
            ("1 week ago", "2026-11-13T11:00:00Z", ""),
            ("4 weeks ago", "2026-10-23T10:00:00Z", "the same hour of local time, which was in summer"),
            ("9 months ago", "2026-02-20T11:00:00Z", ""),
            ("2 years ago", "2024-11-20T11:00:00Z", ""),
            ("0 days ago", "2026-11-20T11:00:00Z", ""),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(expected), "{text}: {why}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_is_one() {
        for text in [
            "",
            "x",
            "tomorrow",
            "2 days",
            "days ago",
            "ago",
            "2 moons ago",
            "-2 days ago",
            "+2 days ago",
            "20.11.2026",
            "11/20/2026",
            "2026-11",
            "2026",
            "20261120",
            "99999999999 days ago",
            "14",
            "14:",
            ":30",
            "14:30:05:06",
            "1430",
            "14:030",
            "last",
            "last 2026-11-19",
            "2026-11-19 x",
            "backup-2026-11-20T020005Z",
            "\u{1b}[2J",
            "日本",
            "日ago",
            "日 ago",
        ] {
            let error = parsed(text).unwrap_err();
            assert!(matches!(error, WhenError::Unknown(_)), "{text}: {error}");
            let said = error.to_string();
            assert!(said.contains("`yesterday`") && !said.contains('\u{1b}'), "{said}");
        }
        for text in ["2026-02-30", "2026-13-01 10:00", "25:00", "2026-11-19 10:60", "yesterday 24:00"] {
            assert_eq!(parsed(text), Err(WhenError::Impossible(text.to_owned())));
        }
        for text in ["4000000000 years ago", "4000000000 days ago", "2000000000 weeks ago"] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_yet_to_come_is_refused() {
        for text in ["2026-11-21", "2027-11-20", "2026-11-20 11:01", "2026-11-20T11:00:01Z", "today 12:00"] {
            assert_eq!(parsed(text), Err(WhenError::Ahead(text.to_owned())));
        }
    }

    #[test]
    fn clocks_that_are_set_twice_a_year_are_followed() {
        for (zone, text, expected, why) in [
            ("Europe/London", "2026-03-29 01:30", "2026-03-29T01:00:00Z", "skipped: the moment after"),
            ("Europe/London", "2026-03-29 01:59", "2026-03-29T01:00:00Z", "skipped, to the last minute"),
            ("Europe/London", "2026-03-29 02:00", "2026-03-29T01:00:59Z", "the first that is shown again"),
            ("Europe/London", "2026-10-25 01:30", "2026-10-25T01:30:59Z", "shown twice: the later"),
            ("Europe/London", "2026-10-25", "2026-10-25T23:59:59Z", "a day of 25 hours"),
            ("America/Sao_Paulo", "2018-11-03", "2018-11-04T02:59:59Z", "the next day begins at 01:00"),
            ("America/Sao_Paulo", "2018-11-04", "2018-11-05T01:59:59Z", "a day of 23 hours"),
            ("America/Sao_Paulo", "2018-02-17", "2018-02-18T02:59:59Z", "its last hour comes twice"),
            ("America/Havana", "2025-11-01", "2025-11-02T03:59:59Z", "the next day's first hour comes twice"),
            ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z", "a day that was left out"),
        ] {
            let parsed = parse(text, utc("2026-11-20T11:00:00Z"), zone.parse().unwrap()).unwrap();
            assert_eq!(parsed, utc(expected), "{zone} {text}: {why}");
        }
        let in_gap = parse("1 day ago", utc("2026-03-30T00:30:00Z"), "Europe/London".parse().unwrap());
        assert_eq!(in_gap, Ok(utc("2026-03-29T01:00:00Z")), "01:30 was not there a day ago");
    }

    #[test]
    fn an_evening_abroad_is_another_day_than_in_utc() {
        let zone = "America/New_York".parse().unwrap();
        let yesterday = parse("yesterday", utc("2026-11-20T03:00:00Z"), zone).unwrap();
        assert_eq!(yesterday, utc("2026-11-19T04:59:59Z"), "there it is the 19th");
    }
}
