//! `backup hold` and `backup release`: a snapshot that no rotation removes, and
//! one that it may have again.

use super::output::{Format, Output, code_of, failed};
use super::progress::Bars;
use super::session::{self, Common};
use crate::app::attempt::Attempt;
use crate::app::hold::{self, HeldSnapshot, ReleasedSnapshot, called, list};
use crate::app::session::Session;
use crate::core::format::text::printable;
use crate::core::model::snapshot::HoldName;
use crate::core::policy::retention::{Decision, Fate, Reason};
use crate::sys::clock::Clock;
use serde::Serialize;
use tracing::info;

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
    let (target, name) = (&arguments.target, &arguments.name);
    let held = match hold::hold(&session, &target.host, &target.snapshot, name).await? {
        Attempt::Done(held) => held,
        Attempt::Failed(whys) => return Ok(failed(&whys)),
    };
    let HeldSnapshot { host, snapshot, time, new, path } = held;
    let (shown, path) = (printable(&snapshot), path.to_string_lossy().into_owned());
    let already = if new { "" } else { " (it was already)" };
    let local = time.with_timezone(&session.settings.timezone).format("%Y-%m-%d %H:%M %Z");
    info!("`{shown}` of {host}, of {local}, is held as `{name}`{already}: {}", printable(&path));
    if arguments.format.json {
        let time = time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let answer = Held { host: host.key(), snapshot: &snapshot, time, name: name.as_str(), new, path };
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
    let Target { host, snapshot } = &arguments.target;
    let released = match hold::release(&session, host, snapshot, arguments.name.as_deref()).await? {
        Attempt::Done(released) => released,
        Attempt::Failed(whys) => return Ok(failed(&whys)),
    };
    let ReleasedSnapshot { host, snapshot, name, holds, decision } = released;
    info!("`{}` of {host} is no longer held {}", printable(&snapshot), called(&name));
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
        let answer =
            Released { host: host.key(), snapshot: &snapshot, name: &name, holds: &holds, keep, reasons };
        return Ok(code_of(0, print(&answer)));
    }
    Ok(0)
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
