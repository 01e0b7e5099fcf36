//! `backup retire HOST...`: it is meant that these hosts left the inventory.

use super::output::{Format, Output, code_of, failed};
use super::progress::Bars;
use super::session::{self, Common};
use crate::app::attempt::Attempt;
use crate::app::retire::{self, RetiredHost};
use crate::app::session::Session;
use crate::core::format::text::counted;
use crate::sys::clock::Clock;
use serde::Serialize;
use tracing::info;

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
    session::run(&arguments.common, &Bars::new(false), async || answer(arguments, clock).await)
}

async fn answer(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let session = Session::open(arguments.common.config(), clock)?;
    let retired = match retire::retire(&session, &arguments.hosts).await? {
        Attempt::Done(retired) => retired,
        Attempt::Failed(whys) => return Ok(failed(&whys)),
    };
    for RetiredHost { host, snapshots, afresh } in &retired {
        let are = if *snapshots == 1 { "is" } else { "are" };
        info!("{} is retired; {} {are} kept", host.key(), counted(*snapshots, "snapshot"));
        if let Some((object, to)) = afresh {
            info!("{object} starts afresh as {to} with the next run");
        }
    }
    if arguments.format.json {
        let rows = retired.iter().map(|one| Retired { host: one.host.key(), snapshots: one.snapshots });
        let mut out = Output::new();
        let told = out.json(&rows.collect::<Vec<_>>()).and_then(|()| out.end());
        return Ok(code_of(0, told));
    }
    Ok(0)
}
