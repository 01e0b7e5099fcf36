//! `backup retire HOST...`: it is meant that these hosts left the inventory.

use super::output::{Format, Output, code_of};
use super::progress::Bars;
use super::session::{self, Common};
use crate::app::session::Session;
use crate::core::format::similar::nearest;
use crate::core::model::finding::counted;
use crate::core::model::host::HostName;
use crate::edge::inventory;
use crate::edge::store::Store;
use crate::sys::clock::Clock;
use anyhow::{anyhow, bail};
use serde::Serialize;
use tracing::{error, info, warn};

const HELP: &str = "\
Examples:
  backup retire web7
      Acknowledge that web7 has left the inventory for good.
  backup retire web7 web8 db3
      Retire several hosts, or none of them if one is still listed.

A host that has left the inventory is a warning in every run, in Icinga and in
`backup status`, until it is listed again or retired. Retiring removes nothing:
its snapshots stay, for `backup snapshots`, `find` and `restore`. Its metrics end
with the next run. If it is listed again, it is backed up as before and is no
longer retired. A host that has a new name in the inventory can be retired under
the name of its copies; it then starts afresh under the new one.

JSON: [{host, snapshots}]; `snapshots` is how many snapshots of the host stay.

Exit status: 0 if the hosts are retired, 1 if one is still listed or this could
not be recorded, 2 if there is no such host.";

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Hosts that have left the inventory; names in any case.
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
    let session = Session::open(arguments.common.config(), clock)?;
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
        bail!("cannot tell whether a host is still listed: NetBox does not answer; try again when it does");
    }
    let is_fault =
        |name: &HostName| inventory.faults.iter().any(|fault| fault.name.to_lowercase() == name.key());
    let has = |name: &HostName| inventory.hosts.iter().any(|host| host.name == *name);
    // One that has another name now may begin anew under that.
    let is_listed = |name: &&HostName| (has(name) && inventory.rename_of(name).is_none()) || is_fault(name);
    let listed: Vec<&HostName> = names.iter().filter(is_listed).collect();
    if !listed.is_empty() {
        for name in listed {
            error!("{name} is still in the inventory; remove it there first (its tag, or its section)");
        }
        return Ok(1);
    }
    let departures = inventory::departures(&settings.state_dir).unwrap_or_default();
    let mut retired = Vec::new();
    for name in &names {
        let snapshots = session.store.snapshots(name).await?;
        let is_known = departures.left.contains_key(name.key()) || inventory.rename_of(name).is_some();
        if snapshots.is_none() && !is_known {
            let held = session.store.hosts().await?;
            let known = held.iter().map(String::as_str).chain(departures.left.keys().map(String::as_str));
            let near = nearest(name.key(), known).map(|near| format!("; did you mean `{near}`?"));
            return Err(anyhow!("there is no host `{name}`{}", near.unwrap_or_default()));
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
        if let Some(rename) = inventory.renames.iter().find(|rename| rename.from.key() == *host) {
            info!("{} starts afresh as {} with the next run", rename.object, rename.to);
        }
    }
    if arguments.format.json {
        let mut out = Output::new();
        let told = out.json(&retired).and_then(|()| out.end());
        return Ok(code_of(0, told));
    }
    Ok(0)
}
