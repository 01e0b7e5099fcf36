//! `backup retire HOST...`: it is meant that these hosts left the inventory.

use super::output::{Format, Output, code_of};
use super::progress::Bars;
use super::session::{self, Common, Session, nearest};
use crate::clock::Clock;
use crate::finding::counted;
use crate::host::HostName;
use crate::inventory;
use crate::store::Store;
use anyhow::{anyhow, bail};
use serde::Serialize;
use tracing::{error, info, warn};

const HELP: &str = "\
Examples:
  backup retire web7
      Say that web7 has left the inventory for good.
  backup retire web7 web8 db3
      The same of several hosts, or of none of them if one is still listed.

A host that leaves the inventory is a warning of each night's run, in Icinga and
in `backup status`, until it is listed again or retired. Nothing of it is
removed: its snapshots stay, and `backup snapshots`, `find` and `restore` have
them. Its metrics end with the next run. Once it is listed again it is backed up
as before, and retired no more.

JSON: [{host, snapshots}], with how many snapshots of it stay.

Exit status: 0 if they are retired, 1 if one is still listed or it could not be
written down, 2 if nobody knows such a host.";

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Hosts that have left the inventory, by their names in any case.
    #[arg(value_name = "HOST", required = true)]
    hosts: Vec<String>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

/// One retired host. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Retired<'a> {
    /// In lower case.
    host: &'a str,
    /// How many snapshots of ours it has.
    snapshots: usize,
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    session::run(&arguments.common, &Bars::new(false), async || retire(arguments, clock).await)
}

async fn retire(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let session = Session::open(&arguments.common, clock)?;
    let settings = &session.settings;
    let mut names: Vec<HostName> = Vec::new();
    for word in &arguments.hosts {
        names.push(word.parse()?);
    }
    names.sort();
    names.dedup();
    let inventory = inventory::look(settings, clock.now(), None).await?;
    inventory.problems().for_each(|problem| warn!("{problem}"));
    if inventory.is_partial {
        bail!("whether a host is still listed is not known; make NetBox answer, and try again");
    }
    let is_fault =
        |name: &HostName| inventory.faults.iter().any(|fault| fault.name.to_lowercase() == name.key());
    let is_listed =
        |name: &&HostName| inventory.hosts.iter().any(|host| host.name == **name) || is_fault(name);
    let listed: Vec<&HostName> = names.iter().filter(is_listed).collect();
    if !listed.is_empty() {
        for name in listed {
            error!("{name} is still in the inventory; take it out first (remove its tag, or its section)");
        }
        return Ok(1);
    }
    let departures = inventory::departures(&settings.state_dir).unwrap_or_default();
    let mut retired = Vec::new();
    for name in &names {
        let snapshots = session.store.snapshots(name).await?;
        if snapshots.is_none() && !departures.left.contains_key(name.key()) {
            let held = session.store.hosts().await?;
            let known = held.iter().map(String::as_str).chain(departures.left.keys().map(String::as_str));
            let near = nearest(name.key(), known).map(|near| format!("; is `{near}` meant?"));
            return Err(anyhow!("nobody knows a host `{name}`{}", near.unwrap_or_default()));
        }
        let ours = snapshots.unwrap_or_default().iter().filter(|snapshot| snapshot.is_ours()).count();
        retired.push(Retired { host: name.key(), snapshots: ours });
    }
    if let Err(problem) = inventory::retire(&settings.state_dir, &names, clock.now()) {
        error!("{problem}");
        return Ok(1);
    }
    for Retired { host, snapshots } in &retired {
        let are = if *snapshots == 1 { "is" } else { "are" };
        info!("{host} is retired; {} {are} kept", counted(*snapshots, "snapshot"));
    }
    if arguments.format.json {
        let mut out = Output::new();
        let told = out.json(&retired).and_then(|()| out.end());
        return Ok(code_of(0, told));
    }
    Ok(0)
}
