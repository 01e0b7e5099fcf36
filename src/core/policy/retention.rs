//! Which snapshots of a host to keep, and why.
//!
//! A pure function of the policy, the zone, the time and the snapshots: the
//! [`Plan`] says for every snapshot what becomes of it and why, so that a dry
//! run shows just what a run does. Invariants: the newest good snapshot, a
//! held one and a foreign one are never removed; a plan that was carried out
//! leaves nothing to remove; a more generous policy removes nothing more.
//!
//! Not known here: whether the run that asks was good (after one that was
//! not, the caller removes nothing), and how a snapshot is removed.

use crate::core::format::text::printable;
use crate::core::model::settings::Retention;
use crate::core::model::snapshot::{Snapshot, Verdict};
use chrono::{DateTime, Datelike, NaiveDate, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;

/// One of the four lengths of time that snapshots are kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Days.
    Daily,
    /// ISO weeks, which begin on Monday and belong to an ISO year.
    Weekly,
    /// Months.
    Monthly,
    /// Years.
    Yearly,
}

impl Tier {
    const ALL: [Tier; 4] = [Tier::Daily, Tier::Weekly, Tier::Monthly, Tier::Yearly];

    /// The calendar period of this tier that a day lies in.
    fn period(self, day: NaiveDate) -> Period {
        match self {
            Tier::Daily => Period::Day(day),
            Tier::Weekly => Period::Week(day.iso_week().year(), day.iso_week().week()),
            Tier::Monthly => Period::Month(day.year(), day.month()),
            Tier::Yearly => Period::Year(day.year()),
        }
    }

    /// For how many periods the policy keeps a snapshot.
    fn count(self, policy: &Retention) -> usize {
        let count = match self {
            Tier::Daily => policy.daily,
            Tier::Weekly => policy.weekly,
            Tier::Monthly => policy.monthly,
            Tier::Yearly => policy.yearly,
        };
        count.map_or(0, |count: NonZeroU32| usize::try_from(count.get()).unwrap_or(usize::MAX))
    }
}

/// A calendar period. Those of one tier sort by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Period {
    Day(NaiveDate),
    Week(i32, u32),
    Month(i32, u32),
    Year(i32),
}

/// A tier's reason to keep a snapshot: it is the newest good one of a calendar
/// period. Written like `weekly 2026-W47`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim(Period);

impl Claim {
    /// Whose claim it is.
    pub fn tier(&self) -> Tier {
        match self.0 {
            Period::Day(_) => Tier::Daily,
            Period::Week(..) => Tier::Weekly,
            Period::Month(..) => Tier::Monthly,
            Period::Year(_) => Tier::Yearly,
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            Period::Day(day) => format!("daily {}", day.format("%Y-%m-%d")),
            Period::Week(year, week) => format!("weekly {year:04}-W{week:02}"),
            Period::Month(year, month) => format!("monthly {year:04}-{month:02}"),
            Period::Year(year) => format!("yearly {year:04}"),
        };
        f.pad(&text)
    }
}

/// Why a snapshot stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A tier claims it.
    Claim(Claim),
    /// Somebody asked for it to be kept.
    Held,
    /// It is somebody else's.
    Foreign,
    /// It is the newest good one.
    NewestGood,
    /// It is the newest of those that are younger than every good one: what is
    /// known of the host's last days.
    NewestDoubtful,
    /// The host has no good snapshot, so nobody can say which of the others
    /// holds what the rest lack.
    NoGoodOne,
    /// The clock stands before the newest snapshot, so ages mean nothing.
    ClockBehind,
    /// It is older than damage that was found and is not mended, and may hold
    /// the only whole version.
    OpenFinding,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Claim(claim) => claim.fmt(f),
            Reason::Held => f.pad("held"),
            Reason::Foreign => f.pad("not ours"),
            Reason::NewestGood => f.pad("the newest good one"),
            Reason::NewestDoubtful => f.pad("the newest, though not good"),
            Reason::NoGoodOne => f.pad("the host has no good one"),
            Reason::ClockBehind => f.pad("the clock is behind the newest snapshot"),
            Reason::OpenFinding => f.pad("older than damage that is not mended"),
        }
    }
}

/// Why a snapshot goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obsolete {
    /// It is good, but no tier claims it.
    Unclaimed,
    /// It is worth less than good, and there is a newer or a better one.
    Superseded(Verdict),
}

impl fmt::Display for Obsolete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obsolete::Unclaimed => f.pad("no tier claims it"),
            Obsolete::Superseded(verdict) => f.pad(&format!("{verdict}, and superseded")),
        }
    }
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stays, for at least one reason; in order, each once.
    Keep(Vec<Reason>),
    /// It goes.
    Remove(Obsolete),
}

/// What becomes of one snapshot, and why. Written as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot's name.
    pub name: String,
    /// When it was taken.
    pub time: DateTime<Utc>,
    /// What becomes of it.
    pub fate: Fate,
}

impl Decision {
    /// Whether the snapshot stays.
    pub fn keeps(&self) -> bool {
        matches!(self.fate, Fate::Keep(_))
    }

    /// The tiers' claims on the snapshot, shortest periods first.
    pub fn claims(&self) -> impl Iterator<Item = Claim> {
        let reasons = match &self.fate {
            Fate::Keep(reasons) => reasons.as_slice(),
            Fate::Remove(_) => &[],
        };
        reasons.iter().filter_map(|reason| match reason {
            Reason::Claim(claim) => Some(*claim),
            _ => None,
        })
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = printable(&self.name);
        match &self.fate {
            Fate::Keep(reasons) => {
                let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
                write!(f, "keep    {name}  {}", reasons.join(", "))
            }
            Fate::Remove(why) => write!(f, "remove  {name}  {why}"),
        }
    }
}

/// What becomes of every snapshot of a host. Written as one line a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// One for each snapshot, oldest first.
    pub decisions: Vec<Decision>,
    /// When the newest snapshot of ours was taken, if the clock stands before
    /// that. Nothing is removed then.
    pub clock_behind: Option<DateTime<Utc>>,
}

impl Plan {
    /// Keeps all that was taken up to when damage was `found` that is not mended.
    pub fn spare(&mut self, found: DateTime<Utc>) {
        let spared = |decision: &&mut Decision| !decision.keeps() && decision.time <= found;
        for decision in self.decisions.iter_mut().filter(spared) {
            decision.fate = Fate::Keep(vec![Reason::OpenFinding]);
        }
    }

    /// The names of the snapshots to remove, oldest first.
    pub fn removals(&self) -> Vec<String> {
        self.decisions.iter().filter(|d| !d.keeps()).map(|d| d.name.clone()).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decisions.iter().try_for_each(|decision| writeln!(f, "{decision}"))
    }
}

/// Decides what becomes of each of one host's snapshots. Their order in the
/// list is of no account; of two that were taken at one time, the one whose
/// name sorts last counts as the newer.
pub fn plan(policy: &Retention, timezone: Tz, now: DateTime<Utc>, snapshots: &[Snapshot]) -> Plan {
    let mut sorted: Vec<&Snapshot> = snapshots.iter().collect();
    sorted.sort_by(|a, b| (a.time, &a.name).cmp(&(b.time, &b.name)));

    // A suspect one may have its date from a clock that was wrong.
    let newest_ours = sorted.iter().rfind(|s| s.tells_the_time()).map(|s| s.time);
    let clock_behind = newest_ours.filter(|newest| *newest > now);
    let newest_good = sorted.iter().rposition(|s| s.is_good());
    let newest_doubtful = |until: DateTime<Utc>| {
        let doubtful = sorted.iter().rposition(|s| s.is_ours() && !s.is_good() && s.time <= until);
        doubtful.filter(|doubtful| Some(*doubtful) > newest_good)
    };
    // One that is dated in the future takes no other's place.
    let newest_doubtful = [newest_doubtful(now), newest_doubtful(DateTime::<Utc>::MAX_UTC)];
    let mut claims = claims(policy, timezone, &sorted);

    let decide = |(index, snapshot): (usize, &&Snapshot)| {
        let mut reasons: BTreeSet<Reason> =
            claims.remove(&index).unwrap_or_default().into_iter().map(Reason::Claim).collect();
        let others = [
            (snapshot.held, Reason::Held),
            (!snapshot.is_ours(), Reason::Foreign),
            (newest_good == Some(index), Reason::NewestGood),
            (newest_doubtful.contains(&Some(index)), Reason::NewestDoubtful),
            (snapshot.is_ours() && newest_good.is_none(), Reason::NoGoodOne),
        ];
        reasons.extend(others.into_iter().filter(|(applies, _)| *applies).map(|(_, reason)| reason));
        if reasons.is_empty() && clock_behind.is_some() {
            reasons.insert(Reason::ClockBehind);
        }
        let fate = match snapshot.verdict() {
            _ if !reasons.is_empty() => Fate::Keep(reasons.into_iter().collect()),
            Some(verdict @ (Verdict::Partial | Verdict::Suspect)) => {
                Fate::Remove(Obsolete::Superseded(verdict))
            }
            Some(Verdict::Good) | None => Fate::Remove(Obsolete::Unclaimed),
        };
        Decision { name: snapshot.name.clone(), time: snapshot.time, fate }
    };
    Plan { decisions: sorted.iter().enumerate().map(decide).collect(), clock_behind }
}

/// What the tiers claim, by place in `sorted`, which is oldest first.
fn claims(policy: &Retention, timezone: Tz, sorted: &[&Snapshot]) -> BTreeMap<usize, Vec<Claim>> {
    let mut claims: BTreeMap<usize, Vec<Claim>> = BTreeMap::new();
    for tier in Tier::ALL {
        // Where clocks go back over midnight, a later snapshot can lie in an
        // earlier day: so periods are sorted, not met in order.
        let mut newest: BTreeMap<Period, usize> = BTreeMap::new();
        for (index, snapshot) in sorted.iter().enumerate().filter(|(_, s)| s.is_good()) {
            newest.insert(tier.period(local_day(timezone, snapshot.time)), index);
        }
        for (period, index) in newest.into_iter().rev().take(tier.count(policy)) {
            claims.entry(index).or_default().push(Claim(period));
        }
    }
    claims
}

/// The day that a calendar on the wall shows there at `time`.
fn local_day(timezone: Tz, time: DateTime<Utc>) -> NaiveDate {
    let utc = time.naive_utc();
    let offset = timezone.offset_from_utc_datetime(&utc).fix();
    // Only a year beyond 262000 has no local time: no reason to panic.
    utc.checked_add_offset(offset).unwrap_or(utc).date()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::snapshot::{Facts, Origin};
    use chrono::{NaiveDateTime, TimeDelta};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn time(text: &str) -> DateTime<Utc> {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M").unwrap().and_utc()
    }

    /// A policy from text like `7d 4w 24m 5y`.
    fn policy(text: &str) -> Retention {
        let mut policy = Retention::default();
        for part in text.split_whitespace() {
            let (count, tier) = part.split_at(part.len() - 1);
            let count = Some(count.parse().unwrap());
            match tier {
                "d" => policy.daily = count,
                "w" => policy.weekly = count,
                "m" => policy.monthly = count,
                "y" => policy.yearly = count,
                other => panic!("{other}"),
            }
        }
        policy
    }

    /// A snapshot from text like `2026-11-20T02:00 good held`, named by its
    /// time; of the ancestor's, the name comes last.
    fn snapshot(text: &str) -> Snapshot {
        let words: Vec<&str> = text.split(' ').collect();
        let origin = |verdict| {
            let facts = Facts::new("r".into(), verdict);
            Origin::Run(facts)
        };
        Snapshot {
            name: (if words[1] == "ancestor" { words[2] } else { words[0] }).to_owned(),
            time: time(words[0]),
            held: words.contains(&"held"),
            origin: match words[1] {
                "ancestor" => Origin::Ancestor,
                "foreign" => Origin::Foreign,
                verdict => origin(verdict.parse().unwrap()),
            },
        }
    }

    struct Case {
        why: &'static str,
        policy: &'static str,
        zone: Tz,
        now: &'static str,
        /// Oldest first: the snapshot, and the reasons for its fate.
        rows: &'static [(&'static str, &'static str)],
    }

    const GONE: &str = "no tier claims it";

    const CASES: &[Case] = &[
        Case {
            why: "a week of days, then weeks: each day's newest, and each week's newest",
            policy: "2d 2w",
            zone: Tz::UTC,
            now: "2026-11-20T03:00",
            rows: &[
                ("2026-11-14T02:00 good", GONE),
                ("2026-11-15T02:00 good", "weekly 2026-W46"),
                ("2026-11-18T02:00 good", GONE),
                ("2026-11-19T02:00 good", "daily 2026-11-19"),
                ("2026-11-20T01:00 good", GONE),
                ("2026-11-20T02:00 good", "daily 2026-11-20, weekly 2026-W47, the newest good one"),
            ],
        },
        Case {
            why: "New Year's days belong to the old ISO year's week: one week, two years",
            policy: "2w 2y",
            zone: Tz::UTC,
            now: "2027-01-05T00:00",
            rows: &[
                ("2026-12-27T02:00 good", GONE),
                ("2026-12-31T02:00 good", "yearly 2026"),
                ("2027-01-01T02:00 good", GONE),
                ("2027-01-03T02:00 good", "weekly 2026-W53"),
                ("2027-01-04T02:00 good", "weekly 2027-W01, yearly 2027, the newest good one"),
            ],
        },
        Case {
            why: "the last days of December can lie in week 1 of the next ISO year",
            policy: "3w",
            zone: Tz::UTC,
            now: "2025-01-07T00:00",
            rows: &[
                ("2024-12-29T02:00 good", "weekly 2024-W52"),
                ("2024-12-30T02:00 good", GONE),
                ("2025-01-05T02:00 good", "weekly 2025-W01"),
                ("2025-01-06T02:00 good", "weekly 2025-W02, the newest good one"),
            ],
        },
        Case {
            why: "week 53 is older than week 1, though its number is greater",
            policy: "1w",
            zone: Tz::UTC,
            now: "2021-01-05T00:00",
            rows: &[
                ("2021-01-03T02:00 good", GONE),
                ("2021-01-04T02:00 good", "weekly 2021-W01, the newest good one"),
            ],
        },
        Case {
            why: "a host that was away for a year keeps the days that it has",
            policy: "3d 1m",
            zone: Tz::UTC,
            now: "2026-11-20T03:00",
            rows: &[
                ("2025-10-30T02:00 good", GONE),
                ("2025-10-31T02:00 good", "daily 2025-10-31"),
                ("2025-11-01T02:00 good", "daily 2025-11-01"),
                ("2026-11-20T02:00 good", "daily 2026-11-20, monthly 2026-11, the newest good one"),
            ],
        },
        Case {
            why: "a host that is away still keeps what it had, however late it is",
            policy: "1d 1w",
            zone: Tz::UTC,
            now: "2036-01-01T00:00",
            rows: &[("2025-11-01T02:00 good", "daily 2025-11-01, weekly 2025-W44, the newest good one")],
        },
        Case {
            why: "23:30 in Berlin is the evening before the UTC day that follows it",
            policy: "2d",
            zone: Tz::Europe__Berlin,
            now: "2026-07-03T00:00",
            rows: &[
                ("2026-07-01T21:30 good", "daily 2026-07-01"),
                ("2026-07-01T22:30 good", GONE),
                ("2026-07-02T21:30 good", "daily 2026-07-02, the newest good one"),
            ],
        },
        Case {
            why: "23:30 in New York is the next day already in UTC: one local day, not two",
            policy: "2d",
            zone: Tz::America__New_York,
            now: "2026-01-04T00:00",
            rows: &[
                ("2026-01-01T20:00 good", GONE),
                ("2026-01-02T04:30 good", "daily 2026-01-01"),
                ("2026-01-02T12:00 good", "daily 2026-01-02, the newest good one"),
            ],
        },
        Case {
            why: "the day of 23 hours, 29 March 2026, is one day from 00:00 to 23:59",
            policy: "3d",
            zone: Tz::Europe__London,
            now: "2026-03-31T00:00",
            rows: &[
                ("2026-03-28T23:59 good", "daily 2026-03-28"),
                ("2026-03-29T00:00 good", GONE),
                ("2026-03-29T22:59 good", "daily 2026-03-29"),
                ("2026-03-29T23:00 good", "daily 2026-03-30, the newest good one"),
            ],
        },
        Case {
            why: "the day of 25 hours, 25 October 2026, has 01:30 twice: the later one is newer",
            policy: "2d",
            zone: Tz::Europe__London,
            now: "2026-10-27T00:00",
            rows: &[
                ("2026-10-24T22:59 good", "daily 2026-10-24"),
                ("2026-10-25T00:30 good", GONE),
                ("2026-10-25T01:30 good", "daily 2026-10-25, the newest good one"),
            ],
        },
        Case {
            why: "Apia had no 30 December 2011: the 29th and the 31st are neighbours",
            policy: "2d",
            zone: Tz::Pacific__Apia,
            now: "2012-01-01T00:00",
            rows: &[
                ("2011-12-29T09:59 good", GONE),
                ("2011-12-30T09:59 good", "daily 2011-12-29"),
                ("2011-12-30T10:01 good", "daily 2011-12-31, the newest good one"),
            ],
        },
        Case {
            why: "St John's set its clocks back over midnight: the 7th came, went, and came again",
            policy: "2d",
            zone: Tz::America__St_Johns,
            now: "2010-11-08T00:00",
            rows: &[
                ("2010-11-07T02:25 good", GONE),
                ("2010-11-07T02:30 good", "daily 2010-11-07"),
                ("2010-11-07T03:00 good", "daily 2010-11-06, the newest good one"),
            ],
        },
        Case {
            why: "a tier that is left out keeps nothing, but the newest good one stays all the same",
            policy: "1y",
            zone: Tz::UTC,
            now: "2026-11-20T03:00",
            rows: &[
                ("2026-11-19T02:00 good", GONE),
                ("2026-11-20T02:00 good", "yearly 2026, the newest good one"),
            ],
        },
        Case {
            why: "only partial ones: any of them may hold what the others lack",
            policy: "1d",
            zone: Tz::UTC,
            now: "2026-11-20T03:00",
            rows: &[
                ("2026-11-18T02:00 partial", "the host has no good one"),
                ("2026-11-19T02:00 suspect", "the host has no good one"),
                ("2026-11-20T02:00 partial", "the newest, though not good, the host has no good one"),
            ],
        },
        Case {
            why: "of the doubtful ones after the newest good one, the newest stays",
            policy: "5d",
            zone: Tz::UTC,
            now: "2026-11-20T03:00",
            rows: &[
                ("2026-11-16T02:00 partial", "partial, and superseded"),
                ("2026-11-17T02:00 good", "daily 2026-11-17, the newest good one"),
                ("2026-11-18T02:00 partial", "partial, and superseded"),
                ("2026-11-19T02:00 suspect", "the newest, though not good"),
            ],
        },
        Case {
            why: "a good copy supersedes the doubtful ones before it, and no tier counts them",
            policy: "2d",
            zone: Tz::UTC,
            now: "2026-11-20T03:00",
            rows: &[
                ("2026-11-17T02:00 good", "daily 2026-11-17"),
                ("2026-11-18T02:00 suspect", "suspect, and superseded"),
                ("2026-11-19T02:00 good", "daily 2026-11-19, the newest good one"),
            ],
        },
        Case {
            why: "a later doubtful copy of one day does not take the good one's place in it",
            policy: "1d",
            zone: Tz::UTC,
            now: "2026-11-20T12:00",
            rows: &[
                ("2026-11-20T02:00 good", "daily 2026-11-20, the newest good one"),
                ("2026-11-20T09:00 suspect", "the newest, though not good"),
            ],
        },
        Case {
            why: "held and foreign ones stay; a foreign one counts for no tier",
            policy: "1d",
            zone: Tz::UTC,
            now: "2026-11-20T12:00",
            rows: &[
                ("2026-11-17T02:00 good held", "held"),
                ("2026-11-18T02:00 partial held", "held"),
                ("2026-11-19T02:00 foreign", "not ours"),
                ("2026-11-19T03:00 good", GONE),
                ("2026-11-20T02:00 good", "daily 2026-11-20, the newest good one"),
                ("2026-11-20T03:00 foreign", "not ours"),
            ],
        },
        Case {
            why: "a held one still fills its period: holding it costs no other day",
            policy: "2d",
            zone: Tz::UTC,
            now: "2026-11-20T12:00",
            rows: &[
                ("2026-11-18T02:00 good", GONE),
                ("2026-11-19T02:00 good held", "daily 2026-11-19, held"),
                ("2026-11-20T02:00 good", "daily 2026-11-20, the newest good one"),
            ],
        },
        Case {
            why: "a clock set back: what would go stays, until the time is right again",
            policy: "1d",
            zone: Tz::UTC,
            now: "2026-11-20T01:59",
            rows: &[
                ("2026-11-18T02:00 partial", "the clock is behind the newest snapshot"),
                ("2026-11-19T02:00 good", "the clock is behind the newest snapshot"),
                ("2026-11-20T02:00 good", "daily 2026-11-20, the newest good one"),
            ],
        },
        Case {
            why: "a partial one from the future is a sign of a wrong clock as well",
            policy: "1d",
            zone: Tz::UTC,
            now: "2026-11-20T01:59",
            rows: &[
                ("2026-11-18T02:00 good", "the clock is behind the newest snapshot"),
                ("2026-11-19T02:00 good", "daily 2026-11-19, the newest good one"),
                ("2026-11-20T02:00 partial", "the newest, though not good"),
            ],
        },
        Case {
            why: "a suspect one from the future has a wrong date itself, and holds up nothing",
            policy: "1d",
            zone: Tz::UTC,
            now: "2026-11-20T01:59",
            rows: &[
                ("2026-11-18T02:00 good", GONE),
                ("2026-11-19T02:00 good", "daily 2026-11-19, the newest good one"),
                ("2027-11-19T02:00 suspect", "the newest, though not good"),
            ],
        },
        Case {
            why: "nor does it take the place of what is known of today",
            policy: "1d",
            zone: Tz::UTC,
            now: "2026-11-20T03:00",
            rows: &[
                ("2026-11-19T02:00 good", "daily 2026-11-19, the newest good one"),
                ("2026-11-20T01:00 partial", "partial, and superseded"),
                ("2026-11-20T02:00 partial", "the newest, though not good"),
                ("2027-11-19T02:00 suspect", "the newest, though not good"),
            ],
        },
        Case {
            why: "a foreign one from the future says nothing of our clock",
            policy: "1d",
            zone: Tz::UTC,
            now: "2026-11-20T03:00",
            rows: &[
                ("2026-11-18T02:00 good", GONE),
                ("2026-11-19T02:00 good", "daily 2026-11-19, the newest good one"),
                ("2030-11-20T02:00 foreign", "not ours"),
            ],
        },
        Case {
            why: "the clock may show the very second of the newest snapshot",
            policy: "1d",
            zone: Tz::UTC,
            now: "2026-11-20T02:00",
            rows: &[
                ("2026-11-19T02:00 good", GONE),
                ("2026-11-20T02:00 good", "daily 2026-11-20, the newest good one"),
            ],
        },
        Case {
            why: "the ancestor took four of one first day: the last by name serves every tier",
            policy: "7d 4w 24m 5y",
            zone: Tz::UTC,
            now: "2024-07-15T03:00",
            rows: &[
                ("2024-07-14T02:00 ancestor backup-daily-2024-07-14", GONE),
                ("2024-07-14T02:00 ancestor backup-monthly-2024-07-14", GONE),
                ("2024-07-14T02:00 ancestor backup-weekly-2024-07-14", GONE),
                (
                    "2024-07-14T02:00 ancestor backup-yearly-2024-07-14",
                    "daily 2024-07-14, weekly 2024-W28, monthly 2024-07, yearly 2024, the newest good one",
                ),
            ],
        },
        Case {
            why: "a pool taken over from the ancestor goes on where it stood",
            policy: "1d 1m",
            zone: Tz::UTC,
            now: "2026-11-20T03:00",
            rows: &[
                ("2026-10-31T02:00 ancestor backup-monthly-2026-10-31", GONE),
                ("2026-11-19T02:00 ancestor backup-daily-2026-11-19", GONE),
                ("2026-11-20T02:00 good", "daily 2026-11-20, monthly 2026-11, the newest good one"),
            ],
        },
    ];

    #[test]
    fn worked_cases() {
        for case in CASES {
            let snapshots: Vec<Snapshot> = case.rows.iter().map(|(text, _)| snapshot(text)).collect();
            let plan = plan(&policy(case.policy), case.zone, time(case.now), &snapshots);
            let expected: String = snapshots
                .iter()
                .zip(case.rows)
                .map(|(snapshot, (_, why))| {
                    let goes = *why == GONE || why.ends_with("superseded");
                    format!("{}  {}  {why}\n", if goes { "remove" } else { "keep  " }, snapshot.name)
                })
                .collect();
            assert_eq!(plan.to_string(), expected, "{}", case.why);
        }
    }

    #[test]
    fn a_plan_says_what_the_clock_stands_before() {
        let snapshots = [snapshot("2026-11-19T02:00 good"), snapshot("2026-11-20T02:00 good")];
        let behind = plan(&policy("1d"), Tz::UTC, time("2026-11-19T12:00"), &snapshots);
        assert_eq!(behind.clock_behind, Some(time("2026-11-20T02:00")));
        assert!(behind.removals().is_empty());
        let right = plan(&policy("1d"), Tz::UTC, time("2026-11-20T12:00"), &snapshots);
        assert_eq!(right.clock_behind, None);
        assert_eq!(right.removals(), ["2026-11-19T02:00"]);
    }

    #[test]
    fn a_host_without_snapshots_has_an_empty_plan() {
        assert_eq!(plan(&policy("1d"), Tz::UTC, time("2026-11-20T02:00"), &[]), Plan::default());
    }

    #[test]
    fn claims_of_early_years_keep_their_width() {
        assert_eq!(Claim(Period::Week(2026, 3)).to_string(), "weekly 2026-W03");
        assert_eq!(Claim(Period::Month(987, 3)).to_string(), "monthly 0987-03");
        assert_eq!(Claim(Period::Year(987)).tier(), Tier::Yearly);
    }

    #[test]
    fn a_time_at_the_end_of_all_calendars_is_no_reason_to_panic() {
        for edge in [DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC] {
            for zone in [Tz::Pacific__Apia, Tz::America__Los_Angeles] {
                let mut odd = snapshot("2026-11-19T02:00 good");
                odd.time = edge;
                assert!(plan(&policy("1d 1w 1m 1y"), zone, edge, &[odd]).removals().is_empty());
            }
        }
    }

    const ZONES: [Tz; 8] = [
        Tz::UTC,
        Tz::Europe__London,
        Tz::America__New_York,
        Tz::America__St_Johns,
        Tz::Pacific__Apia,
        Tz::Australia__Lord_Howe,
        Tz::Asia__Kathmandu,
        Tz::Africa__Casablanca,
    ];

    /// Moments around which something is odd: daylight-saving changes, a day
    /// left out, years' ends. Histories begin near one of them.
    const ODD_DAYS: [&str; 6] = [
        "2011-12-28T00:00",
        "2010-11-05T00:00",
        "2026-03-27T00:00",
        "2026-10-23T00:00",
        "2020-12-29T00:00",
        "2024-02-27T00:00",
    ];

    fn history() -> impl Strategy<Value = Vec<Snapshot>> {
        let gap = prop_oneof![
            1 => Just(0_i64),
            4 => 600..40_000_i64,
            6 => 80_000..93_000_i64,
            2 => 86_400 * 5..86_400 * 40_i64,
            1 => 86_400 * 200..86_400 * 500_i64,
        ];
        let one = (gap, 0..12_u8, proptest::bool::weighted(0.1));
        (0..ODD_DAYS.len(), vec(one, 0..40)).prop_map(|(start, gaps)| {
            let mut at = time(ODD_DAYS[start]);
            let snapshots = gaps.into_iter().enumerate().map(|(index, (gap, kind, held))| {
                at += TimeDelta::seconds(gap);
                let kind = ["good", "partial", "suspect", "foreign", "ancestor x"][match kind {
                    0..=7 => 0,
                    other => usize::from(other) - 7,
                }];
                let mut one = snapshot(&format!("{} {kind}", at.format("%Y-%m-%dT%H:%M")));
                (one.time, one.name, one.held) = (at, format!("s{}", (index * 37) % 100), held);
                one
            });
            snapshots.collect()
        })
    }

    fn any_policy() -> impl Strategy<Value = Retention> {
        let count = || proptest::option::of((1..6_u32).prop_map(|n| n.try_into().unwrap()));
        (count(), count(), count(), count()).prop_map(|(daily, weekly, monthly, yearly)| Retention {
            daily,
            weekly,
            monthly,
            yearly,
        })
    }

    fn any_zone() -> impl Strategy<Value = Tz> {
        proptest::sample::select(ZONES.to_vec())
    }

    fn after(snapshots: &[Snapshot]) -> DateTime<Utc> {
        snapshots.iter().map(|s| s.time).max().unwrap_or_default() + TimeDelta::seconds(1)
    }

    fn without(snapshots: &[Snapshot], gone: &[String]) -> Vec<Snapshot> {
        snapshots.iter().filter(|s| !gone.contains(&s.name)).cloned().collect()
    }

    /// The text of the period that a moment lies in, by chrono's formatting
    /// rather than by this module's arithmetic.
    fn period_text(tier: Tier, zone: Tz, time: DateTime<Utc>) -> String {
        let format = match tier {
            Tier::Daily => "daily %Y-%m-%d",
            Tier::Weekly => "weekly %G-W%V",
            Tier::Monthly => "monthly %Y-%m",
            Tier::Yearly => "yearly %Y",
        };
        time.with_timezone(&zone).format(format).to_string()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn the_newest_good_one_and_what_is_not_ours_to_remove_survive(
            snapshots in history(), policy in any_policy(), zone in any_zone(),
        ) {
            let removals = plan(&policy, zone, after(&snapshots), &snapshots).removals();
            let left = without(&snapshots, &removals);
            let newest_good = |list: &[Snapshot]| list.iter().filter(|s| s.is_good()).map(|s| s.time).max();
            prop_assert_eq!(newest_good(&left), newest_good(&snapshots));
            for safe in snapshots.iter().filter(|s| s.held || !s.is_ours()) {
                prop_assert!(left.contains(safe));
            }
        }

        #[test]
        fn a_plan_that_was_carried_out_leaves_nothing_to_remove(
            snapshots in history(), policy in any_policy(), zone in any_zone(),
        ) {
            let now = after(&snapshots);
            let removals = plan(&policy, zone, now, &snapshots).removals();
            let again = plan(&policy, zone, now, &without(&snapshots, &removals)).removals();
            prop_assert_eq!(again, Vec::<String>::new());
        }

        #[test]
        fn removing_one_after_the_other_with_a_plan_each_time_ends_where_one_plan_ends(
            snapshots in history(), policy in any_policy(), zone in any_zone(),
        ) {
            let now = after(&snapshots);
            let at_once = without(&snapshots, &plan(&policy, zone, now, &snapshots).removals());
            let mut left = snapshots;
            while let Some(first) = plan(&policy, zone, now, &left).removals().first() {
                left = without(&left, std::slice::from_ref(first));
            }
            prop_assert_eq!(left, at_once);
        }

        #[test]
        fn a_more_generous_policy_removes_nothing_more(
            snapshots in history(), policy in any_policy(), more in any_policy(), zone in any_zone(),
        ) {
            let sum = |a: Option<NonZeroU32>, b: Option<NonZeroU32>| match (a, b) {
                (Some(a), Some(b)) => Some(a.saturating_add(b.get())),
                (one, None) | (None, one) => one,
            };
            let generous = Retention {
                daily: sum(policy.daily, more.daily),
                weekly: sum(policy.weekly, more.weekly),
                monthly: sum(policy.monthly, more.monthly),
                yearly: sum(policy.yearly, more.yearly),
            };
            let now = after(&snapshots);
            let strict = plan(&policy, zone, now, &snapshots).removals();
            for name in plan(&generous, zone, now, &snapshots).removals() {
                prop_assert!(strict.contains(&name), "{} goes only by the generous policy", name);
            }
        }

        #[test]
        fn every_tier_keeps_the_newest_good_one_of_each_of_its_last_periods(
            snapshots in history(), policy in any_policy(), zone in any_zone(),
        ) {
            let plan = plan(&policy, zone, after(&snapshots), &snapshots);
            for tier in Tier::ALL {
                let mut newest: BTreeMap<String, (DateTime<Utc>, &str)> = BTreeMap::new();
                for good in snapshots.iter().filter(|s| s.is_good()) {
                    let best = newest.entry(period_text(tier, zone, good.time)).or_default();
                    *best = (*best).max((good.time, &good.name));
                }
                let expected: BTreeSet<(String, &str)> = newest
                    .into_iter()
                    .rev()
                    .take(tier.count(&policy))
                    .map(|(period, (_, name))| (period, name))
                    .collect();
                let claimed: BTreeSet<(String, &str)> = plan
                    .decisions
                    .iter()
                    .flat_map(|d| d.claims().map(|claim| (claim, d.name.as_str())))
                    .filter(|(claim, _)| claim.tier() == tier)
                    .map(|(claim, name)| (claim.to_string(), name))
                    .collect();
                prop_assert_eq!(claimed, expected);
            }
        }

        #[test]
        fn the_order_of_the_list_is_of_no_account(
            (snapshots, shuffled) in history().prop_flat_map(|h| (Just(h.clone()), Just(h).prop_shuffle())),
            policy in any_policy(), zone in any_zone(),
        ) {
            let now = after(&snapshots);
            let plan_of = |list: &[Snapshot]| plan(&policy, zone, now, list);
            prop_assert_eq!(plan_of(&snapshots), plan_of(&shuffled));
        }

        #[test]
        fn a_clock_that_stands_before_the_newest_removes_nothing(
            snapshots in history(), policy in any_policy(), zone in any_zone(), back in 0..100_000_000_i64,
        ) {
            let newest = snapshots.iter().filter(|s| s.tells_the_time()).map(|s| s.time).max();
            prop_assume!(newest.is_some());
            let now = newest.unwrap() - TimeDelta::seconds(1 + back);
            let plan = plan(&policy, zone, now, &snapshots);
            prop_assert_eq!(plan.clock_behind, newest);
            prop_assert_eq!(plan.removals(), Vec::<String>::new());
        }
    }
}
