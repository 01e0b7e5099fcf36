//! `backup [run] HOST...|all`: from the configuration to the exit code.

mod answer;
mod trace;

use super::output::{self, Format, Output, code_of};
use super::plan;
use super::session::{self, Common};
use super::{progress::Bars, signals::Signals};
use crate::app::fleet_run::{EndedRun, Preparation, RunRequest, RunWatch, SelectError, Unknown};
use crate::app::run::Event;
use crate::core::format::text::printable;
use crate::core::format::timing::{self, Sums};
use crate::core::format::trace::of as trace_of;
use crate::core::model::host::HostName;
use crate::core::model::problem::Problem;
use crate::core::model::snapshot::HoldName;
use crate::sys::clock::Clock;
use crate::sys::logging;
use answer::Answer;
use anyhow::{anyhow, bail};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use trace::TraceFile;

pub(super) const HELP: &str = "\
Examples:
  backup vpn
      Back up one host now.
  backup 'web*' db1 --keep before-upgrade
      Back up some hosts, and hold their new snapshots until they are released.
  backup all --dry-run
      Show what a run would do, as `backup plan` does.
  backup --quiet all --json | jq -r '.hosts[] | select(.severity != \"OK\") | .name'
      List the hosts that need attention.

JSON, once the run has ended: {run, started, duration_seconds, hosts, problems, exit}; each
of `hosts` is {name, result, severity, summary, notes, snapshot, verdict, started,
duration_seconds, files, bytes, received_bytes, changed, deleted, snapshots, last_good},
`result` is good, partial, suspect, failed, skipped or interrupted; `problems` lists what is
wrong with the run itself.

Exit status: 0 if every host is good and every result was reported, 1 if not, 2 if the run
could not start.";

/// What may be said on the command line of a run.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Hosts of the inventory: a name in any case, a glob such as 'web*', or
    /// `all`.
    #[arg(value_name = "HOST", required = true)]
    pub(super) hosts: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    format: Format,
    /// Show what would be done, without doing it, as `backup plan` does.
    #[arg(
        short = 'n',
        long,
        conflicts_with_all = ["force", "accept_deletions", "keep", "timings", "trace", "jobs"]
    )]
    dry_run: bool,
    /// Number of hosts to back up at once, instead of the configured one.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    jobs: Option<NonZeroUsize>,
    /// Back up these hosts without consulting the inventory.
    #[arg(long)]
    force: bool,
    /// Accept this run as good even if most files are gone or the host looks
    /// like another machine.
    #[arg(long)]
    accept_deletions: bool,
    /// Hold each new snapshot under this name, until `backup release`: no
    /// rotation removes it. Use it before something dangerous.
    #[arg(long, value_name = "NAME")]
    keep: Option<HoldName>,
    /// Print how long each step of each host took; `*` marks the longest.
    #[arg(long)]
    timings: bool,
    /// Write a trace of what was done when to FILE, for chrome://tracing or
    /// Perfetto (ui.perfetto.dev).
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

impl Arguments {
    /// Refuses what clap cannot see is wrong.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.force && self.request().means_all() {
            bail!("`--force` backs up hosts that the inventory lacks, so it needs their names, not `all`");
        }
        Ok(())
    }

    fn request(&self) -> RunRequest {
        RunRequest {
            hosts: self.hosts.clone(),
            config: self.common.config().map(Path::to_owned),
            jobs: self.jobs,
            force: self.force,
            accept_deletions: self.accept_deletions,
            keep: self.keep.clone(),
        }
    }
}

fn at_least_one(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "it must be a whole number of at least 1")
}

/// Runs, and says how it went as an exit code.
pub(super) fn execute(arguments: Arguments, clock: Clock) -> u8 {
    if arguments.dry_run {
        let Arguments { hosts, format, common, .. } = arguments;
        return plan::execute(&plan::Arguments { hosts, format, common }, clock);
    }
    let bars = Bars::new(!arguments.common.quiet);
    session::run(&arguments.common, &bars, async || start(&arguments, clock, bars.clone()).await)
}

/// Everything up to the exit code; an error if nothing could start.
async fn start(arguments: &Arguments, clock: Clock, bars: Bars) -> anyhow::Result<u8> {
    arguments.check()?;
    let trace_file = arguments.trace.as_deref().map(TraceFile::at).transpose()?;
    // Before there is anything that would have to be cleared away.
    let mut signals = Signals::listen()?;
    let mut preparation = Preparation::new(arguments.request(), clock);
    let ready = tokio::select! {
        ready = preparation.execute(bars.clone()) => ready,
        () = signals.next() => bail!("told to stop before the first host was begun"),
    };
    let run = match ready {
        Ok(run) => run,
        Err(error) => {
            let error = explained(error, &arguments.hosts);
            preparation.not_begun(&error).await;
            return Err(error);
        }
    };
    let lines = bars.clone();
    signals.stop(
        run.cancel(),
        "no further host is begun, those under way end without a snapshot",
        move || lines.clear(),
    );
    let mut run = run.back_up().await;
    bars.clear();
    if let Some(file) = trace_file {
        if let Err(error) = file.write(&trace_of(run.id(), &run.phases, &run.reports)) {
            run.add(Problem::warning(format!("{error:#}"), ""));
        }
    }
    let code = run.close().await;
    if !arguments.common.quiet {
        logging::print(&format!("\n{}", run.summary(output::width_of(&std::io::stderr()))));
    }
    let told = if arguments.timings { print_timings(&run) } else { Ok(()) };
    let code = code_of(code, told);
    let told = if arguments.format.json { print_json(&run, code) } else { Ok(()) };
    Ok(code_of(code, told))
}

impl RunWatch for Bars {
    fn doing(&self, what: &'static str) {
        self.doing(what);
    }

    fn expect(&self, hosts: usize) {
        self.expect(hosts);
    }

    fn heard(&self, host: &HostName, event: Event) {
        self.heard(host, event);
    }
}

/// An error of the preparation. Where a word selects nothing, the first one may be
/// a command with a slip, for which a run without the inventory is no remedy.
fn explained(error: anyhow::Error, words: &[String]) -> anyhow::Error {
    let error = match error.downcast::<SelectError>() {
        Ok(error) => error,
        Err(other) => return other,
    };
    let first =
        |unknown: &&Unknown| matches!(unknown, Unknown::Name { name, .. } if words.first() == Some(name));
    let commands = error.0.iter().find(first).zip(words.first()).map(|(_, word)| super::commands_like(word));
    match (commands.unwrap_or_default().as_slice(), words.first()) {
        ([], _) | (_, None) => anyhow!("{error} (`--force` backs a host up without the inventory)"),
        (commands, Some(word)) => {
            let commands: Vec<String> =
                commands.iter().map(|command| format!("`backup {command}`")).collect();
            anyhow!(
                "there is no command `{0}`; did you mean {1}? ({error})",
                printable(word),
                commands.join(" or ")
            )
        }
    }
}

fn print_json(run: &EndedRun, code: u8) -> anyhow::Result<()> {
    let problems: Vec<String> = run.problems.iter().map(ToString::to_string).collect();
    let mut out = Output::new();
    out.json(&Answer::new(run.id(), (run.started(), run.took()), &run.reports, &problems, code))?;
    out.end()
}

/// Prints where the time went, whatever else is said.
fn print_timings(run: &EndedRun) -> anyhow::Result<()> {
    let hosts: Vec<(&str, Sums)> =
        run.reports.iter().map(|report| (report.host.as_str(), report.timings.sums())).collect();
    let mut out = Output::new();
    out.table(timing::table(&hosts, output::width().is_none()))?;
    out.line(&timing::closing(&hosts, &run.phases))?;
    out.end()
}
