//! `backup status [HOST...]`: how every host is doing.

mod chart;
mod inspect;
mod show;

use super::output::{self, Format, Output, code_of};
use super::session::{self, Common};
use crate::app::session::Session;
use crate::core::model::host::HostName;
use crate::core::model::outcome::Severity;
use crate::core::model::problem::Problem;
use crate::core::model::run_record::HostRecord;
use crate::core::policy::health::{self, Known, LastRun, Line, Patience, State, Status};
use crate::edge::history::{Findings, History, HistoryError};
use crate::sys::clock::Clock;
use crate::sys::lock;
use crate::sys::logging;
use anyhow::bail;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tracing::{error, warn};

/// How many runs of a host are told at most.
const MOST_RUNS: usize = 30;

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
    let found = inspect::at(&session, &arguments.hosts).await?;
    if arguments.nagios && !rustix::process::geteuid().is_root() {
        if let Some(why) = found.hosts.iter().find_map(|host| host.copies.as_ref().err()) {
            // Of a store that is closed to whoever asks nothing is known, good or bad.
            bail!("{why} (the store is root's: run this as root, say with `sudo`)");
        }
    }
    if draws && found.hosts.len() != 1 {
        bail!("`--plot` and `--svg` draw one host, and these are {}: name one", found.hosts.len());
    }
    let mut doubts = found.doubts;
    let past = past(&session.settings.state_dir).unwrap_or_else(|error| {
        doubts.push(Problem::warning(
            format!("{error}; runs are shown as far as the snapshots record them"),
            "",
        ));
        Past::default()
    });
    let running = lock::running(&session.settings.runtime_dir).unwrap_or_else(|error| {
        doubts.push(Problem::warning(format!("{error}: cannot tell which hosts are being backed up"), ""));
        BTreeMap::new()
    });
    let findings = Findings::at(&session.settings.state_dir);
    let patience = Patience::of(session.settings.icinga.as_ref().map(|icinga| icinga.ttl));
    let now = clock.now();
    let judged = found.hosts.into_iter().map(|host| {
        let key = host.name.to_lowercase();
        let known = Known {
            listing: host.listing,
            copies: host.copies,
            last_run: past.last_runs.get(&key).map(last_run),
            running: running.get(&key).copied(),
            open: findings.of(&key).map_err(|error| error.to_string()),
            name: host.name,
        };
        health::judge(known, now, patience)
    });
    let statuses: Vec<Status> = judged.collect();
    if arguments.nagios {
        return say(&health::plugin(&statuses, found.unlisted.as_deref(), &doubts));
    }
    let critical = doubts.iter().any(|doubt| doubt.severity == Severity::Critical);
    doubts.extend(found.unlisted.iter().map(|why| Problem::warning(why, "")));
    doubts.iter().for_each(|doubt| match doubt.severity {
        Severity::Critical => error!("{doubt}"),
        _ => warn!("{doubt}"),
    });
    let good = statuses.iter().all(|status| status.severity == Severity::Ok);
    let code = u8::from(!good || critical || found.unlisted.is_some());
    let said: Vec<String> = doubts.iter().map(ToString::to_string).collect();
    // Of one host that is asked for by itself there is more to say.
    let only = !arguments.hosts.is_empty() && statuses.len() == 1;
    let is_shown =
        |status: &&Status| status.state != State::Retired || arguments.retired || !arguments.hosts.is_empty();
    let shown: Vec<&Status> = statuses.iter().filter(is_shown).collect();
    let mut out = Output::new();
    let told = if arguments.format.json {
        let runs = if only { past.runs(&statuses) } else { None };
        out.json(&show::answer(&statuses, &said, |status| past.last_run(status), runs.as_deref()))
    } else {
        show::tables(&mut out, &shown, now, session.settings.timezone).and_then(|()| {
            let last = statuses.first().filter(|_| only).and_then(|status| past.last_run(status));
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
        let charts = chart::of(&session, &name, past.history.as_ref()).await?;
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
        logging::print(&format!("{}{hidden}", health::counts(&statuses)));
    }
    Ok(code_of(code.max(u8::from(!drawn)), told))
}

/// What the history says.
#[derive(Default)]
struct Past {
    history: Option<History>,
    last_runs: BTreeMap<String, HostRecord>,
}

impl Past {
    /// What is remembered of the run that is a host's last one; nothing if only
    /// its snapshot tells of that.
    fn last_run(&self, status: &Status) -> Option<&HostRecord> {
        let entry = self.last_runs.get(&status.name.to_lowercase())?;
        status.last_run.as_ref().filter(|run| run.time == entry.finished).map(|_| entry)
    }

    /// What is remembered of the only host's runs, newest first.
    fn runs(&self, statuses: &[Status]) -> Option<Vec<HostRecord>> {
        let host: HostName = statuses.first()?.name.parse().ok()?;
        match self.history.as_ref()?.runs(&host, MOST_RUNS) {
            Ok(runs) => Some(runs),
            Err(error) => {
                warn!("{error}");
                None
            }
        }
    }
}

fn past(state_dir: &Path) -> Result<Past, HistoryError> {
    let history = History::read(state_dir)?;
    let last_runs = history.as_ref().map(History::last_runs).transpose()?.unwrap_or_default();
    Ok(Past { history, last_runs })
}

/// What the history says of a host's last run.
fn last_run(entry: &HostRecord) -> LastRun {
    let problem = match entry.severity {
        Severity::Ok => String::new(),
        // What a snapshot knows, it says itself.
        _ if entry.from_snapshot => String::new(),
        _ => without_last_good(&entry.summary).to_owned(),
    };
    LastRun { time: entry.finished, word: entry.word.clone(), severity: entry.severity, problem }
}

/// A run's summary without what it says at its end of the last good copy,
/// which is known better by now.
fn without_last_good(summary: &str) -> &str {
    match summary.rsplit_once("; ") {
        Some((rest, last)) if last.starts_with("last good copy ") || last == "no good copy known" => rest,
        _ => summary,
    }
}

/// Says a plugin's line.
fn say(line: &Line) -> anyhow::Result<u8> {
    let mut out = Output::new();
    let told = out.line(&line.text).and_then(|()| out.end());
    Ok(code_of(line.exit, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_better_by_now_is_not_repeated() {
        for (summary, kept) in [
            ("connect failed: no route; no good copy known", "connect failed: no route"),
            ("connect failed: no route; last good copy 2026-11-20 02:00 UTC", "connect failed: no route"),
            ("hook mysql failed (exit 1); 10 files", "hook mysql failed (exit 1); 10 files"),
            ("no good copy known", "no good copy known"),
            ("", ""),
        ] {
            assert_eq!(without_last_good(summary), kept);
        }
    }
}
