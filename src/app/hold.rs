//! Holds: a snapshot that no rotation removes, and one that it may have again.

use crate::app::attempt::Attempt;
use crate::app::session::{Place, Session};
use crate::core::format::text::printable;
use crate::core::model::host::HostName;
use crate::core::model::snapshot::HoldName;
use crate::core::policy::retention::Decision;
use crate::core::policy::rotation::{self, RotationPolicy};
use crate::edge::store::Store;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How many of a host's other holds are named beside a refusal.
const MOST_OTHERS: usize = 5;

/// A snapshot that is held.
#[derive(Debug)]
pub struct HeldSnapshot {
    /// Whose it is.
    pub host: HostName,
    /// What it is called.
    pub snapshot: String,
    /// When it was taken.
    pub time: DateTime<Utc>,
    /// Whether it was not held under that name before.
    pub new: bool,
    /// Where its files are.
    pub path: PathBuf,
}

/// Holds the snapshot that these words mean.
///
/// # Errors
/// There is no such host or snapshot.
pub async fn hold(
    session: &Session,
    host: &str,
    snapshot: &str,
    name: &HoldName,
) -> anyhow::Result<Attempt<HeldSnapshot>> {
    let place = session.place(host).await?;
    let meant = place.meant(snapshot, session)?;
    let (snapshot, time) = (meant.name.clone(), meant.time);
    let new = match session.store.hold(&place.host, &snapshot, name).await {
        Ok(new) => new,
        Err(error) => return Ok(Attempt::failed(error)),
    };
    let path = place.folder.join(&snapshot);
    Ok(Attempt::Done(HeldSnapshot { host: place.host, snapshot, time, new, path }))
}

/// A snapshot that has a hold less.
#[derive(Debug)]
pub struct ReleasedSnapshot {
    /// Whose it is.
    pub host: HostName,
    /// What it is called.
    pub snapshot: String,
    /// The hold that is gone.
    pub name: String,
    /// Those that are left.
    pub holds: Vec<String>,
    /// What becomes of it when a good run of the host rotates.
    pub decision: Option<Decision>,
}

/// Releases a hold of the snapshot that these words mean: the one of this name, or
/// the only one.
///
/// # Errors
/// There is no such host or snapshot, or its holds cannot be read.
pub async fn release(
    session: &Session,
    host: &str,
    snapshot: &str,
    name: Option<&str>,
) -> anyhow::Result<Attempt<ReleasedSnapshot>> {
    let mut place = session.place(host).await?;
    let snapshot = place.meant(snapshot, session)?.name.clone();
    let mut others = session.store.holds(&place.host).await?;
    let mut holds = others.remove(&snapshot).unwrap_or_default();
    let name = match chosen(&holds, name) {
        Ok(name) => name.to_owned(),
        Err(why) => {
            let shown = printable(&snapshot);
            return Ok(Attempt::failed(format!("`{shown}` of {} {why}{}", place.host, told(&others))));
        }
    };
    if let Err(error) = session.store.release(&place.host, &snapshot, &name).await {
        return Ok(Attempt::failed(error));
    }
    holds.retain(|hold| *hold != name);
    place
        .snapshots
        .iter_mut()
        .filter(|one| one.name == snapshot)
        .for_each(|one| one.held = !holds.is_empty());
    let decision = next_rotation(session, &place, &snapshot);
    Ok(Attempt::Done(ReleasedSnapshot { host: place.host, snapshot, name, holds, decision }))
}

/// Which of a snapshot's holds is meant, or why none is.
fn chosen<'a>(holds: &'a [String], wanted: Option<&str>) -> Result<&'a str, String> {
    match (wanted, holds) {
        (Some(wanted), holds) => match holds.iter().find(|hold| *hold == wanted) {
            Some(hold) => Ok(hold),
            None if holds.is_empty() => Err(format!("is not held {}: nothing holds it", called(wanted))),
            None => Err(format!("is not held {}: it is held {}", called(wanted), list(holds))),
        },
        (None, []) => Err("is not held".to_owned()),
        (None, [only]) => Ok(only),
        (None, several) => Err(format!("is held {}: name the one to release", list(several))),
    }
}

/// Holds in a sentence, after the word held.
pub fn list(holds: &[String]) -> String {
    holds.iter().map(|hold| called(hold)).collect::<Vec<_>>().join(", ")
}

/// A hold in a sentence, after the word held.
pub fn called(hold: &str) -> String {
    match hold {
        "" => "without a name (`''` means that one)".to_owned(),
        hold => format!("as `{}`", printable(hold)),
    }
}

/// What else is held of the host: that may be what was meant.
fn told(others: &BTreeMap<String, Vec<String>>) -> String {
    if others.is_empty() {
        return String::new();
    }
    let newest = others.iter().rev().take(MOST_OTHERS);
    let shown: Vec<String> =
        newest.map(|(snapshot, holds)| format!("`{}` {}", printable(snapshot), list(holds))).collect();
    let more = if others.len() > MOST_OTHERS { ", …" } else { "" };
    format!("; held of this host: {}{more}", shown.join("; "))
}

/// What becomes of a snapshot when a good run of the host rotates.
fn next_rotation(session: &Session, place: &Place, snapshot: &str) -> Option<Decision> {
    let (settings, now) = (&session.settings, session.clock.now());
    let rotation = RotationPolicy {
        policy: &settings.retention,
        timezone: settings.timezone,
        now,
        clock_behind: false,
        damage_found: session.damage_found(&place.host),
    };
    let plan = rotation.plan(&place.snapshots, Some(rotation::expected(now, &place.snapshots)));
    plan.decisions.into_iter().find(|decision| decision.name == snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_chosen_by_its_name_or_because_it_is_the_only_one() {
        let holds = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (names, wanted, expected, why) in [
            (&["a"][..], None, Ok("a"), "the only one"),
            (&["a", "b"], Some("b"), Ok("b"), "named"),
            (&[""], None, Ok(""), "the only one has no name"),
            (&["", "a"], Some(""), Ok(""), "no name is a name"),
            (&["-r x"], Some("-r x"), Ok("-r x"), "another program's"),
            (&[], None, Err("is not held"), "none"),
            (&[], Some("a"), Err("is not held as `a`: nothing holds it"), "none"),
            (&["b", "c"], Some("a"), Err("is not held as `a`: it is held as `b`, as `c`"), "others"),
            (&["a", "b"], None, Err("is held as `a`, as `b`: name the one to release"), "unclear"),
        ] {
            let names = holds(names);
            assert_eq!(
                chosen(&names, wanted).map_err(|why| why.clone()),
                expected.map_err(str::to_owned),
                "{why}"
            );
        }
    }

    #[test]
    fn what_else_is_held_is_named_newest_first() {
        let held = |count: usize| (0..count).map(|n| (format!("s{n}"), vec!["kept".to_owned()])).collect();
        assert_eq!(told(&held(0)), "");
        assert_eq!(told(&held(2)), "; held of this host: `s1` as `kept`; `s0` as `kept`");
        assert!(told(&held(9)).ends_with("`s4` as `kept`, …"));
    }
}
