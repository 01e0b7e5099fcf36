//! `backup plan`: what a run would do, and nothing done.
//!
//! What it shows is what a run builds too: the hosts and their order, the rules
//! that need no host, the guard's figures, and the rotation with the run's own
//! snapshot counted in. It takes no lock, makes no dataset, keeps no list of
//! hosts and connects to none.

use super::output::{Format, Output, code_of};
use super::rotation_report::{Fates, counted};
use super::session::{self, Common};
use crate::app::fleet::in_order;
use crate::app::run::clock_behind;
use crate::app::session::{Session, pattern_files, survey};
use crate::core::filter::{self, Rule};
use crate::core::format::table::{Column, Table};
use crate::core::format::text::printable;
use crate::core::model::host::{Host, Transport};
use crate::core::model::problem::HostProblem;
use crate::core::model::settings::{self, Settings};
use crate::core::model::snapshot::{Snapshot, baseline};
use crate::core::policy::guard::Guard;
use crate::core::policy::rotation::{self, Rotation};
use crate::edge::history::Findings;
use crate::edge::inventory;
use crate::edge::store::{AnyStore, Store, Survey};
use crate::sys::clock::Clock;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::os::unix::ffi::OsStrExt;
use tracing::{error, info, warn};

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
    hosts: Vec<Planned>,
    #[serde(flatten)]
    fates: Fates,
    /// What stands in the way.
    problems: Vec<HostProblem>,
}

/// What a run would do with a host. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Planned {
    /// As the inventory spells it.
    name: String,
    /// What ssh connects to.
    address: String,
    /// `ssh` or `local`.
    transport: Transport,
    /// The rules that need no host, the first that matches deciding: `- ` before
    /// a pattern leaves out, `+ ` lets in.
    filters: Vec<String>,
    /// The user to log in as.
    user: String,
    /// The TCP port of its sshd; null if that is for ssh's configuration to say.
    port: Option<u16>,
    /// The directory that is copied.
    source: String,
    /// The paths whose files are written in place, if they are there and hold no
    /// hard links; none in a store that does not write in place.
    inplace: Vec<String>,
    /// Whether its hooks are run.
    hooks: bool,
    /// The snapshot that the guard compares with; null if there is none.
    last_good: Option<String>,
    /// How many files that one holds; null where its run did not say.
    files: Option<u64>,
    /// How many files may be deleted in the copy. Null if there is no limit, or
    /// nothing to reckon it from: then the files are counted first.
    max_deletions: Option<u64>,
    /// With fewer files than this a copy is suspect; null if there is no limit.
    fewest_files: Option<u64>,
}

async fn answer(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let session = Session::open(arguments.common.config(), clock)?;
    let settings = &session.settings;
    let for_all = pattern_files(&settings.excludes.files)?;
    let inventory = inventory::look(settings, clock.now(), None).await?;
    inventory.notes.iter().for_each(|note| warn!("{note}"));
    let selection = inventory::select(&inventory, &arguments.hosts)?;
    let problem =
        |host: Option<&str>, problem: String| HostProblem { host: host.map(str::to_owned), problem };
    let mut problems: Vec<HostProblem> =
        inventory.problems().map(|why| problem(None, why.to_string())).collect();
    problems.extend(selection.faults.iter().map(|fault| problem(Some(&fault.name), fault.why.clone())));
    let renamed = selection.hosts.iter().filter_map(|host| inventory.rename_of(&host.name));
    problems.extend(renamed.map(|rename| problem(Some(rename.from.spelled()), rename.problem().to_string())));
    let survey = match survey(&session.store).await {
        Ok(survey) => Some(survey),
        Err(error) => {
            problems.push(problem(None, error.to_string()));
            None
        }
    };
    let behind = survey.as_ref().and_then(|survey| clock_behind(survey, clock.now()));
    if let Some(newest) = &behind {
        let why = format!(
            "the clock is behind the newest snapshot, {newest}: nothing would be removed of that host, nor of any whose own clock does not agree with this one"
        );
        problems.push(problem(None, why));
    }

    let findings = Findings::at(&settings.state_dir);
    let hosts = in_order(selection.hosts.into_iter().cloned().collect(), clock, survey.as_ref());
    let mut fates = Fates::default();
    let mut planned = Vec::with_capacity(hosts.len());
    for host in &hosts {
        let before = survey.as_ref().map_or(&[][..], |survey| survey.of(&host.name));
        let (filters, unfit) = rules(host, &for_all, &session.store);
        problems.extend(unfit.into_iter().map(|why| problem(Some(host.name.spelled()), why)));
        planned.push(plan(host, filters, before, settings, clock.now()));
        let damage_found = findings.of(host.name.key()).map(|open| open.since());
        let damage_found = damage_found.unwrap_or_else(|error| {
            problems.push(problem(Some(host.name.spelled()), error.to_string()));
            Some(clock.now())
        });
        if survey.is_some() {
            let rotation = Rotation {
                policy: &settings.retention,
                timezone: settings.timezone,
                now: clock.now(),
                clock_behind: behind.is_some(),
                damage_found,
            };
            let taken = rotation::expected(rotation.now, before);
            let new = taken.name.clone();
            for decision in &rotation.plan(before, Some(taken)).decisions {
                fates.add(host.name.spelled(), decision, Some(&new));
            }
        }
    }
    let answer = Answer { hosts: planned, fates, problems };
    let code = code_of(u8::from(!answer.problems.is_empty()), tell(&answer, arguments, settings));
    say(&answer, survey.as_ref());
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

/// The rules that need no host, and the patterns that are none.
fn rules(host: &Host, for_all: &[Rule], store: &AnyStore) -> (Vec<String>, Vec<String>) {
    let (mut configured, unfit) = filter::configured(for_all, &host.settings.exclude);
    let source = host.settings.source.as_str();
    if host.settings.transport == Transport::Local {
        let roots = store.roots();
        let own =
            roots.iter().filter_map(|root| filter::emptied(root.as_os_str().as_bytes(), source.as_bytes()));
        configured.splice(0..0, own);
    }
    let rules = filter::assemble(&filter::standard(source), &configured, &filter::Selection::default(), &[]);
    let unfit = unfit.into_iter().map(|(pattern, why)| {
        format!("the configured exclude `{}` would not be used: {why}", printable(pattern))
    });
    (rules.iter().map(Rule::to_string).collect(), unfit.collect())
}

fn plan(
    host: &Host,
    filters: Vec<String>,
    before: &[Snapshot],
    settings: &Settings,
    now: DateTime<Utc>,
) -> Planned {
    let guard = Guard { max_delete_percent: settings.transfer.max_delete_percent, accept_deletions: false };
    let last_good = baseline(before, now);
    let files = last_good.and_then(Snapshot::facts).and_then(|facts| facts.files);
    let in_place = matches!(settings.store, settings::StoreSettings::Zfs { .. });
    let own = &host.settings;
    let is_below = |path: &&String| in_place && filter::from_source(path, &own.source).is_some();
    Planned {
        name: host.name.spelled().to_owned(),
        address: host.address.clone(),
        transport: own.transport,
        filters,
        user: own.user.clone(),
        port: own.port,
        source: own.source.clone(),
        inplace: own.inplace.iter().filter(is_below).cloned().collect(),
        hooks: own.hooks,
        last_good: last_good.map(|snapshot| snapshot.name.clone()),
        files,
        max_deletions: guard.delete_budget(files).filter(|_| in_place),
        fewest_files: guard.fewest_files(files),
    }
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

fn reached(host: &Planned) -> String {
    match host.transport {
        Transport::Local => "this machine".to_owned(),
        Transport::Ssh => {
            let port = host.port.filter(|port| *port != 22);
            let port = port.map(|port| format!(", port {port}")).unwrap_or_default();
            format!("{}@{}{port}", host.user, host.address)
        }
    }
}

/// How many rules all hosts begin with.
fn in_common(hosts: &[Planned]) -> usize {
    let Some((first, others)) = hosts.split_first() else { return 0 };
    let same = |other: &Planned| {
        first.filters.iter().zip(&other.filters).take_while(|(one, other)| one == other).count()
    };
    others.iter().map(same).min().unwrap_or(first.filters.len())
}

/// What is to be heard beside the plan.
fn say(answer: &Answer, survey: Option<&Survey>) {
    for problem in &answer.problems {
        match &problem.host {
            Some(host) if host.is_empty() => error!("(no name): {}", problem.problem),
            Some(host) => error!("{}: {}", printable(host), problem.problem),
            None => error!("{}", problem.problem),
        }
    }
    let (hosts, fates) = (counted(answer.hosts.len(), "host"), &answer.fates);
    let new = fates.keep.iter().filter(|kept| kept.new).count();
    if survey.is_some() {
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

    fn planned(filters: &[&str]) -> Planned {
        Planned {
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
            let hosts: Vec<Planned> = lists.iter().map(|filters| planned(filters)).collect();
            assert_eq!(in_common(&hosts), expected, "{why}");
        }
    }

    #[test]
    fn a_host_is_reached_where_ssh_connects_to() {
        assert_eq!(reached(&planned(&[])), "root@10.0.0.7");
        assert_eq!(reached(&Planned { port: Some(2222), ..planned(&[]) }), "root@10.0.0.7, port 2222");
        assert_eq!(reached(&Planned { transport: Transport::Local, ..planned(&[]) }), "this machine");
    }
}
