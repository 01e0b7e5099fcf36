//! `backup hold` and `backup release`: a snapshot that no rotation removes, and
//! one that it may have again.

use super::output::{Format, Output, code_of};
use super::progress::Bars;
use super::session::{self, Common};
use crate::app::session::{Place, Session};
use crate::core::format::text::printable;
use crate::core::model::snapshot::HoldName;
use crate::core::policy::retention::{Decision, Fate, Reason};
use crate::core::policy::rotation::{self, Rotation};
use crate::edge::store::Store;
use crate::sys::clock::Clock;
use serde::Serialize;
use std::collections::BTreeMap;
use tracing::{error, info};

/// How many of a host's other holds are named beside a refusal.
const MOST_OTHERS: usize = 5;

const HELP: &str = "\
Examples:
  backup hold vpn latest before-upgrade
      Keep the newest good copy of vpn until it is released.
  backup hold vpn 'yesterday 14:30' ticket:4711
      Keep the copy that shows vpn as it was at that time.
  backup vpn --keep before-upgrade
      Take a new copy of vpn and hold it, in one step.

One snapshot may be held under several names; it stays until all of them are
released. On ZFS this is `zfs hold`, so `zfs destroy` refuses it too.

JSON: {host, snapshot, time, name, new, path}; `new` is false if the snapshot
was already held under that name.

Exit status: 0 if the snapshot is held, 1 if it could not be held, 2 if there is
no such host or snapshot.";

const HELP_OF_RELEASE: &str = "\
Examples:
  backup release vpn backup-2026-11-20T020005Z before-upgrade
      Release what `backup vpn --keep before-upgrade` held.
  backup release vpn latest
      Release the newest good copy, which has one hold.

It prints what the next rotation will do with the snapshot.

JSON: {host, snapshot, name, holds, keep, reasons}; `holds` are the names that
still hold it, `keep` says whether the next rotation keeps it, and `reasons`
why, or why not.

Exit status: 0 if the hold was released, 1 if there is no such hold, 2 if there
is no such host or snapshot.";

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Hold {
    #[command(flatten)]
    target: Target,
    /// Name of the hold: letters, digits, `-`, `_`, `.` and `:`.
    #[arg(value_name = "NAME", default_value = "kept")]
    name: HoldName,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP_OF_RELEASE)]
pub(super) struct Release {
    #[command(flatten)]
    target: Target,
    /// Name of the hold, as `backup snapshots` shows it; required if there are
    /// several.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

/// A snapshot, in an operator's words.
#[derive(Debug, clap::Args)]
struct Target {
    /// A host that the store has copies of, in any case; also one that has left
    /// the inventory.
    #[arg(value_name = "HOST")]
    host: String,
    /// The name of a snapshot, whoever took it; `latest`, the newest good one; or
    /// a time such as 'yesterday' or '2026-11-20 14:30'.
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
}

pub(super) fn hold(arguments: &Hold, clock: Clock) -> u8 {
    session::run(&arguments.common, &Bars::new(false), async || place_hold(arguments, clock).await)
}

pub(super) fn release(arguments: &Release, clock: Clock) -> u8 {
    session::run(&arguments.common, &Bars::new(false), async || lift_hold(arguments, clock).await)
}

/// The JSON answer of `backup hold`. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Held<'a> {
    /// The host, in lower case.
    host: &'a str,
    /// The snapshot.
    snapshot: &'a str,
    /// When it was taken, RFC 3339 in UTC.
    time: String,
    /// What the hold is called.
    name: &'a str,
    /// Whether it was not held under that name before.
    new: bool,
    /// Where its files are.
    path: String,
}

async fn place_hold(arguments: &Hold, clock: Clock) -> anyhow::Result<u8> {
    let session = Session::open(arguments.common.config(), clock)?;
    let place = session.place(&arguments.target.host).await?;
    let snapshot = place.meant(&arguments.target.snapshot, &session)?;
    let (host, name, shown) = (&place.host, &arguments.name, printable(&snapshot.name));
    let new = match session.store.hold(host, &snapshot.name, name).await {
        Ok(new) => new,
        Err(error) => {
            error!("{error}");
            return Ok(1);
        }
    };
    let path = session.store.browse(host, &snapshot.name).to_string_lossy().into_owned();
    let already = if new { "" } else { " (it was already)" };
    let time = snapshot.time.with_timezone(&session.settings.timezone).format("%Y-%m-%d %H:%M %Z");
    info!("`{shown}` of {host}, of {time}, is held as `{name}`{already}: {}", printable(&path));
    if arguments.format.json {
        let time = snapshot.time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let answer =
            Held { host: host.key(), snapshot: &snapshot.name, time, name: name.as_str(), new, path };
        return Ok(code_of(0, print(&answer)));
    }
    Ok(0)
}

/// The JSON answer of `backup release`. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Released<'a> {
    /// The host, in lower case.
    host: &'a str,
    /// The snapshot.
    snapshot: &'a str,
    /// The hold that is gone.
    name: &'a str,
    /// Those that are left.
    holds: &'a [String],
    /// Whether the next rotation leaves the snapshot.
    keep: bool,
    /// Why it does, or why not.
    reasons: Vec<String>,
}

async fn lift_hold(arguments: &Release, clock: Clock) -> anyhow::Result<u8> {
    let session = Session::open(arguments.common.config(), clock)?;
    let mut place = session.place(&arguments.target.host).await?;
    let snapshot = place.meant(&arguments.target.snapshot, &session)?.name.clone();
    let mut others = session.store.holds(&place.host).await?;
    let mut holds = others.remove(&snapshot).unwrap_or_default();
    let shown = printable(&snapshot);
    let name = match chosen(&holds, arguments.name.as_deref()) {
        Ok(name) => name.to_owned(),
        Err(why) => {
            error!("`{shown}` of {} {why}{}", place.host, told(&others));
            return Ok(1);
        }
    };
    if let Err(error) = session.store.release(&place.host, &snapshot, &name).await {
        error!("{error}");
        return Ok(1);
    }
    holds.retain(|hold| *hold != name);
    place
        .snapshots
        .iter_mut()
        .filter(|one| one.name == snapshot)
        .for_each(|one| one.held = !holds.is_empty());
    let decision = next_rotation(&session, &place, &snapshot);
    info!("`{shown}` of {} is no longer held {}", place.host, called(&name));
    match &holds[..] {
        [] => info!("the next rotation {}", foretold(decision.as_ref())),
        holds => info!("it is still held {}", list(holds)),
    }
    if arguments.format.json {
        let (keep, reasons) = match decision.map(|decision| decision.fate) {
            Some(Fate::Remove(why)) => (false, vec![why.to_string()]),
            Some(Fate::Keep(reasons)) => (true, reasons.iter().map(Reason::to_string).collect()),
            None => (true, Vec::new()),
        };
        let host = place.host.key();
        let answer = Released { host, snapshot: &snapshot, name: &name, holds: &holds, keep, reasons };
        return Ok(code_of(0, print(&answer)));
    }
    Ok(0)
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

fn list(holds: &[String]) -> String {
    holds.iter().map(|hold| called(hold)).collect::<Vec<_>>().join(", ")
}

fn called(hold: &str) -> String {
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
    let rotation = Rotation {
        policy: &settings.retention,
        timezone: settings.timezone,
        now,
        clock_behind: false,
        damage_found: session.damage_found(&place.host),
    };
    let plan = rotation.plan(&place.snapshots, Some(rotation::expected(now, &place.snapshots)));
    plan.decisions.into_iter().find(|decision| decision.name == snapshot)
}

fn foretold(decision: Option<&Decision>) -> String {
    match decision.map(|decision| &decision.fate) {
        Some(Fate::Keep(reasons)) => {
            let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
            format!("keeps it: {}", reasons.join(", "))
        }
        Some(Fate::Remove(why)) => format!("removes it: {why}"),
        None => "knows nothing of it".to_owned(),
    }
}

fn print(answer: &impl Serialize) -> anyhow::Result<()> {
    let mut out = Output::new();
    out.json(answer)?;
    out.end()
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
