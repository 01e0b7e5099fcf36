//! `backup plan`: what a run would do, and nothing done; see [`crate::app::plan`].

use super::output::{Format, Output, code_of};
use super::rotation_report::Fates;
use super::session::{self, Common};
use crate::app::plan::{self, PlannedHost, PlannedRotation, RunPlan};
use crate::app::session::Session;
use crate::core::format::table::{Column, Table};
use crate::core::format::text::{counted, printable};
use crate::core::model::problem::HostProblem;
use crate::core::model::settings::Settings;
use crate::sys::clock::Clock;
use serde::Serialize;
use tracing::{error, info};

const HELP: &str = "\
Examples:
  backup plan
      Show everything that `backup all` would do.
  backup plan vpn --json | jq -r '.remove[].snapshot'
      List what a good run of vpn would remove.

The plan assumes that every run is good; a host whose run is not good loses no
snapshots. The snapshots that the run would take are included, as `new`. Filters
for mounts and those of a host's own exclude file are not shown: they are known
only once the host is connected to. A directory store deletes nothing in a copy,
so there is no limit on deletions.

JSON: {hosts: [{name, address, transport, filters}], keep: [{host, snapshot,
reasons}], remove: [{host, snapshot, reason}]}; a host also has {user, port,
source, inplace, hooks, last_good, files, max_deletions, fewest_files}, what is
kept also has {new}; and `problems`, a list of {host, problem}.

Exit status: 0 if there are no problems, 1 if there are some (a host that cannot
be backed up, a clock that is behind, an unusable store), 2 if no plan could be
made.";

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Hosts of the inventory: a name in any case, a glob such as 'web*', or
    /// `all`.
    #[arg(value_name = "HOST", default_value = "all")]
    pub(super) hosts: Vec<String>,
    #[command(flatten)]
    pub(super) format: Format,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    session::look(&arguments.common, async || answer(arguments, clock).await)
}

/// The JSON answer. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Answer {
    /// In the order in which a run would begin them; hosts that were never
    /// copied come first, in an order that changes with the day (in UTC).
    hosts: Vec<PlannedHost>,
    #[serde(flatten)]
    fates: Fates,
    /// What stands in the way.
    problems: Vec<HostProblem>,
}

async fn answer(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let session = Session::open(arguments.common.config(), clock)?;
    let RunPlan { hosts, problems, is_store_known } = plan::plan(&session, &arguments.hosts).await?;
    let mut fates = Fates::default();
    for host in &hosts {
        if let Some(PlannedRotation { decisions, new }) = &host.rotation {
            decisions.iter().for_each(|decision| fates.add(&host.name, decision, Some(new)));
        }
    }
    let answer = Answer { hosts, fates, problems };
    let code = code_of(u8::from(!answer.problems.is_empty()), tell(&answer, arguments, &session.settings));
    say(&answer, is_store_known);
    Ok(code)
}

fn tell(answer: &Answer, arguments: &Arguments, settings: &Settings) -> anyhow::Result<()> {
    let mut out = Output::new();
    match arguments.format.json {
        true => out.json(answer)?,
        false => show(&mut out, answer, settings)?,
    }
    out.end()
}

/// The plan as text.
fn show(out: &mut Output, answer: &Answer, settings: &Settings) -> anyhow::Result<()> {
    if answer.hosts.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        Column::Words("HOST"),
        Column::Words("REACHED AT"),
        Column::Words("SOURCE"),
        Column::Figures("FILES"),
        Column::Figures("MAY DELETE"),
        Column::Figures("SUSPECT BELOW"),
    ]);
    let figure = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    for host in &answer.hosts {
        table.row([
            host.name.clone(),
            reached(host),
            host.source.clone(),
            figure(host.files),
            figure(host.max_deletions),
            figure(host.fewest_files),
        ]);
    }
    out.table(table)?;
    let common = in_common(&answer.hosts);
    let of_whom = if answer.hosts.len() == 1 { "the host" } else { "every host" };
    if common > 0 {
        out.line(&format!("\nFilters of {of_whom}; the first match decides:"))?;
        for rule in &answer.hosts[0].filters[..common] {
            out.line(&format!("  {rule}"))?;
        }
    }
    for host in answer.hosts.iter().filter(|host| host.filters.len() > common) {
        out.line(&format!("\nAfter them, of {}:", printable(&host.name)))?;
        for rule in &host.filters[common..] {
            out.line(&format!("  {rule}"))?;
        }
    }
    out.line(&format!(
        "\nA host's mounts and its `{}` add more filters once it is connected to.",
        printable(&settings.excludes.remote_file)
    ))?;
    let fates = answer.fates.table(true);
    if !fates.is_empty() {
        out.line("")?;
        out.table(fates)?;
    }
    Ok(())
}

fn reached(host: &PlannedHost) -> String {
    if host.transport.is_this_machine() {
        return "this machine".to_owned();
    }
    let port = host.port.filter(|port| *port != 22);
    let port = port.map(|port| format!(", port {port}")).unwrap_or_default();
    format!("{}@{}{port}", host.user, host.address)
}

/// How many rules all hosts begin with.
fn in_common(hosts: &[PlannedHost]) -> usize {
    let Some((first, others)) = hosts.split_first() else { return 0 };
    let same = |other: &PlannedHost| {
        first.filters.iter().zip(&other.filters).take_while(|(one, other)| one == other).count()
    };
    others.iter().map(same).min().unwrap_or(first.filters.len())
}

/// What is to be heard beside the plan.
fn say(answer: &Answer, is_store_known: bool) {
    for problem in &answer.problems {
        match &problem.host {
            Some(host) if host.is_empty() => error!("(no name): {}", problem.problem),
            Some(host) => error!("{}: {}", printable(host), problem.problem),
            None => error!("{}", problem.problem),
        }
    }
    let (hosts, fates) = (counted(answer.hosts.len(), "host"), &answer.fates);
    let new = fates.keep.iter().filter(|kept| kept.new).count();
    if is_store_known {
        info!(
            "{hosts}; of {}, {} would go if every run is good",
            counted(fates.keep.len() + fates.remove.len() - new, "snapshot"),
            fates.remove.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::host::Transport;

    fn planned(filters: &[&str]) -> PlannedHost {
        PlannedHost {
            name: "VPN".to_owned(),
            address: "10.0.0.7".to_owned(),
            transport: Transport::Ssh,
            filters: filters.iter().map(|rule| (*rule).to_owned()).collect(),
            user: "root".to_owned(),
            port: None,
            source: "/".to_owned(),
            inplace: Vec::new(),
            hooks: true,
            last_good: None,
            files: None,
            max_deletions: None,
            fewest_files: None,
            rotation: None,
        }
    }

    #[test]
    fn what_all_hosts_begin_with_is_told_once() {
        for (lists, expected, why) in [
            (&[&["a", "b"][..]][..], 2, "one host has all of its own in common"),
            (&[&["a", "b"], &["a", "b", "c"], &["a", "b"]], 2, "one has more"),
            (&[&["a", "b"], &["a", "c"]], 1, "they part"),
            (&[&["x", "b"], &["a", "b"]], 0, "the order counts"),
            (&[], 0, "no hosts"),
        ] {
            let hosts: Vec<PlannedHost> = lists.iter().map(|filters| planned(filters)).collect();
            assert_eq!(in_common(&hosts), expected, "{why}");
        }
    }

    #[test]
    fn a_host_is_reached_where_ssh_connects_to() {
        assert_eq!(reached(&planned(&[])), "root@10.0.0.7");
        assert_eq!(reached(&PlannedHost { port: Some(2222), ..planned(&[]) }), "root@10.0.0.7, port 2222");
        assert_eq!(reached(&PlannedHost { transport: Transport::Local, ..planned(&[]) }), "this machine");
    }
}
