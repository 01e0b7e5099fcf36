//! `backup status [HOST...]`: how every host is doing.

mod chart;
mod show;

use super::output::{self, Format, Output, code_of};
use super::session::{self, Common};
use crate::app::overview::status::{self, FleetOverview};
use crate::app::session::Session;
use crate::core::model::outcome::Severity;
use crate::core::model::problem::Problem;
use crate::core::policy::health::{self, Line, State, Status};
use crate::sys::clock::Clock;
use crate::sys::logging;
use anyhow::bail;
use std::path::PathBuf;
use tracing::{error, warn};

const HELP: &str = "\
Examples:
  backup status
      Show the state of every host; those that need attention come last.
  backup status 'web*' --json | jq -r '.hosts[] | select(.state != \"good\") | .name'
      List the web servers that are not good.
  backup status --nagios
      Print one line for a monitoring system, with its exit status.
  backup status vpn
      Show also where the time of its last run went.
  backup status vpn --plot
      Show also how the sizes and durations of its copies developed.

A host is
  good     if its last good copy is recent and its last run had no problems;
  warning  if that copy is older than `icinga.ttl` (36 hours without Icinga), or
           the last run had a warning;
  failed   if the copy is twice as old or there is none, if the last run failed,
           or if damage that `backup verify` found is not repaired;
  never    if no run has tried it yet;
  running  if a run is working on it; only its last good copy is judged;
  left     if it has left the inventory without being retired (`backup retire`);
  retired  if it was retired, or its departure was never recorded. Its snapshots
           stay; the table lists it with --retired, or if it is named.

AGE is the age of the last good copy, SIZE the total size of its files, and
GROWTH/DAY the growth of that size per day, over the good copies of 30 days. If
NetBox does not answer within `inventory.netbox.timeout`, its last good list is
used, with a warning. The exit status becomes 1 when that list is older than
`inventory.netbox.max_age` (48 hours). Without a list, the hosts of the store are
shown and the exit status is 1.

JSON: {hosts: [{name, state, last_run, last_good, age_seconds, snapshots, bytes,
problem}], warnings}; each host also has {last_result, growth_bytes_per_day,
files, held, foreign, running_since, open_findings, timings}; timings are the
seconds that each step of the last run took, as in {transfer: 12.3}. If a single
host is named, there is also `runs`, its newest 30 runs: [{run, started, finished,
result, files, bytes, received, timings}]. Times are RFC 3339 in UTC; what is not
known is null.

Exit status: 0 if all hosts are good, retired, or running with a recent good
copy; 1 if one is not; 2 if the state cannot be determined. With --nagios: 0 OK,
1 WARNING (a warning, or a host that was never backed up), 2 CRITICAL, 3
UNKNOWN.";

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Hosts of the inventory or of the store: a name in any case, a glob such
    /// as 'web*', or `all`, the default.
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,
    /// Print one line, as a plugin for Nagios, Icinga and the like.
    #[arg(long, conflicts_with_all = ["json", "plot", "svg"])]
    nagios: bool,
    /// List retired hosts as well.
    #[arg(long)]
    retired: bool,
    /// Plot the sizes and durations of the copies of one host.
    #[arg(long, conflicts_with = "json")]
    plot: bool,
    /// Write that plot to FILE as an SVG image.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    session::look(&arguments.common, async || {
        let answered = answer(arguments, clock).await;
        match answered {
            Err(error) if arguments.nagios && !error.is::<output::Closed>() => {
                say(&Line::unknown(&format!("{error:#}")))
            }
            answered => answered,
        }
    })
}

async fn answer(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let draws = arguments.plot || arguments.svg.is_some();
    let session = Session::open(arguments.common.config(), clock)?;
    let overview = status::query(&session, &arguments.hosts).await?;
    let FleetOverview { statuses, unlisted, .. } = &overview;
    if arguments.nagios && !rustix::process::geteuid().is_root() {
        if let Some(why) = &overview.unreadable {
            // Of a store that is closed to whoever asks nothing is known, good or bad.
            bail!("{why} (the store is root's: run this as root, say with `sudo`)");
        }
    }
    if draws && statuses.len() != 1 {
        bail!("`--plot` and `--svg` draw one host, and these are {}: name one", statuses.len());
    }
    let now = clock.now();
    if arguments.nagios {
        return say(&health::plugin(statuses, unlisted.as_deref(), &overview.doubts));
    }
    let mut doubts = overview.doubts.clone();
    let critical = doubts.iter().any(|doubt| doubt.severity == Severity::Critical);
    doubts.extend(unlisted.iter().map(|why| Problem::warning(why, "")));
    doubts.iter().for_each(|doubt| match doubt.severity {
        Severity::Critical => error!("{doubt}"),
        _ => warn!("{doubt}"),
    });
    let good = statuses.iter().all(|status| status.severity == Severity::Ok);
    let code = u8::from(!good || critical || unlisted.is_some());
    let said: Vec<String> = doubts.iter().map(ToString::to_string).collect();
    // Of one host that is asked for by itself there is more to say.
    let only = !arguments.hosts.is_empty() && statuses.len() == 1;
    let is_shown =
        |status: &&Status| status.state != State::Retired || arguments.retired || !arguments.hosts.is_empty();
    let shown: Vec<&Status> = statuses.iter().filter(is_shown).collect();
    let mut out = Output::new();
    let told = if arguments.format.json {
        let runs = statuses.first().filter(|_| only).and_then(|status| overview.runs(status));
        out.json(&show::answer(statuses, &said, |status| overview.last_run(status), runs.as_deref()))
    } else {
        show::tables(&mut out, &shown, now, session.settings.timezone).and_then(|()| {
            let last = statuses.first().filter(|_| only).and_then(|status| overview.last_run(status));
            let sums = last.map(|entry| &entry.timings).filter(|sums| !sums.is_empty());
            sums.map_or(Ok(()), |sums| show::timings(&mut out, sums))
        })
    };
    if told.is_err() {
        // A check that reads only the first lines still gets its answer.
        return Ok(code_of(code, told));
    }
    let mut drawn = true;
    if draws {
        let name = statuses.first().map(|status| status.name.clone()).unwrap_or_default();
        let charts = chart::of(&name, &overview.copies(&session, &name).await?);
        if arguments.plot {
            chart::draw(&mut out, &charts, session.settings.timezone)?;
        }
        if let Some(file) = &arguments.svg {
            drawn = chart::write(file, &name, &charts, session.settings.timezone)?;
        }
    }
    let told = out.end();
    if !arguments.format.json && !arguments.common.quiet {
        let hidden = if shown.len() < statuses.len() { " (`--retired` lists those too)" } else { "" };
        logging::print(&format!("{}{hidden}", health::counts(statuses)));
    }
    Ok(code_of(code.max(u8::from(!drawn)), told))
}

/// Says a plugin's line.
fn say(line: &Line) -> anyhow::Result<u8> {
    let mut out = Output::new();
    let told = out.line(&line.text).and_then(|()| out.end());
    Ok(code_of(line.exit, told))
}
