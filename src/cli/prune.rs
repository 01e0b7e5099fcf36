//! `backup prune`: rotation alone, over what is there now; see [`crate::app::prune`].

use super::output::{Format, Output, code_of};
use super::progress::Bars;
use super::rotation_report::Fates;
use super::session::{self, Common};
use super::signals::Signals;
use crate::app::prune::{self, HostRotation, PruneOptions, PruneReport, Pruning};
use crate::app::session::Session;
use crate::core::format::text::{counted, printable};
use crate::core::model::problem::HostProblem;
use crate::sys::clock::Clock;
use anyhow::bail;
use serde::Serialize;
use tracing::info;

const HELP: &str = "\
Examples:
  backup prune --dry-run
      Show what no retention tier needs any more, and remove nothing.
  backup prune vpn
      Remove it, after a change of `retention` or the release of holds.

A run rotates the snapshots of each host itself, but only if the run was good: as
long as a hook fails, the last copy with a good dump must not be displaced by
copies without one. A host whose last run was not good is therefore skipped,
unless --force is given.

`all`, the default, is every host of the inventory. A host that has left it
keeps everything, unless it is named. A host that is locked by a run is skipped.
The newest good snapshot, held snapshots, and those that `backup` did not take
are never removed.

JSON: {keep: [{host, snapshot, reasons}], remove: [{host, snapshot, reason}]}:
what was done, or would be with --dry-run; and `problems`, a list of
{host, problem}.

Exit status: 0 if everything was removed that should be, 1 if not (a host is
locked by a run, its last run was not good, or the clock is behind), 2 if the
command could not start.";

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Hosts: a name in any case, a glob such as 'web*', or `all`.
    #[arg(value_name = "HOST", default_value = "all")]
    hosts: Vec<String>,
    /// Show what would be removed, and remove nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Include hosts whose last run was not good.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    session::run(&arguments.common, &Bars::new(false), async || answer(arguments, clock).await)
}

/// The JSON answer. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    fates: Fates,
    /// What stood in the way.
    problems: Vec<HostProblem>,
}

async fn answer(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let mut signals = Signals::listen()?;
    let session = Session::open(arguments.common.config(), clock)?;
    let (survey, hosts) = tokio::select! {
        ready = prune::prepare(&session, &arguments.hosts) => ready?,
        () = signals.next() => bail!("told to stop before anything was removed"),
    };
    let options = PruneOptions { dry_run: arguments.dry_run, force: arguments.force };
    let mut pruning = Pruning::new(&session, &survey, options)?;
    for host in &hosts {
        tokio::select! {
            () = pruning.host(host) => {}
            () = signals.next() => {
                pruning.stopped_at(host);
                break;
            }
        }
    }
    let PruneReport { hosts: rotations, problems } = pruning.report();
    let answer = Answer { fates: fates(&rotations), problems };
    let code = code_of(u8::from(!answer.problems.is_empty()), tell(&answer, arguments));
    let (keep, remove) = (answer.fates.keep.len(), answer.fates.remove.len());
    let done = if arguments.dry_run { "would be removed" } else { "removed" };
    info!("{}: {} {done}, {keep} kept", counted(hosts.len(), "host"), counted(remove, "snapshot"));
    Ok(code)
}

fn tell(answer: &Answer, arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = Output::new();
    if arguments.format.json {
        out.json(answer)?;
    } else if arguments.dry_run && !answer.fates.remove.is_empty() {
        out.table(answer.fates.table(arguments.common.verbose))?;
    }
    out.end()
}

/// What became of the hosts' snapshots.
fn fates(rotations: &[HostRotation]) -> Fates {
    let mut fates = Fates::default();
    for HostRotation { host, decisions, kept } in rotations {
        for decision in decisions {
            match kept.get(&decision.name) {
                Some(why) => {
                    let why = format!("it could not be removed: {}", printable(why));
                    fates.stays(host.spelled(), &decision.name, vec![why], false);
                }
                None => fates.add(host.spelled(), decision, None),
            }
        }
    }
    fates
}
