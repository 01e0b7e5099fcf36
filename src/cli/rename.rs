//! `backup rename OLD NEW`: a host's copies and history get another name; see
//! [`crate::app::rename`].

use super::output::{Format, Output, code_of, failed};
use super::progress::Bars;
use super::session::{self, Common};
use crate::app::attempt::Attempt;
use crate::app::rename::HostRenaming;
use crate::app::session::Session;
use crate::core::format::text::counted;
use crate::sys::clock::Clock;
use serde::Serialize;
use tracing::{info, warn};

const HELP: &str = "\
Examples:
  backup rename web7 web-berlin
      Rename the copies of web7, which has a new name in NetBox.
  backup rename --dry-run web7 web-berlin
      Show what would be renamed, and change nothing.

A host that was renamed in NetBox or in the configuration is still backed up
under its old name, with a warning, until its copies are renamed: under the new
name everything would be copied again. This command renames the dataset or
folder with its snapshots and holds, the history, the findings of `verify` and
the metrics. Rename the object in Icinga yourself. The store must have nothing
under the new name yet.

If the command was interrupted, run it again; until then the host is not backed
up.

JSON: {from, to, snapshots}; `snapshots` is how many snapshots the host has.

Exit status: 0 if the host was renamed, 1 if it could not be renamed or a run is
working on it, 2 if nothing was started.";

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// A host that has copies; upper and lower case are the same.
    #[arg(value_name = "HOST")]
    old: String,
    /// Its new name.
    #[arg(value_name = "NEW")]
    new: String,
    /// Show what would be renamed, and change nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

/// The JSON answer. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// The former name, in lower case.
    from: &'a str,
    /// The new name, in lower case.
    to: &'a str,
    /// How many snapshots there are, somebody else's too.
    snapshots: usize,
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    session::run(&arguments.common, &Bars::new(false), async || answer(arguments, clock).await)
}

async fn answer(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let session = Session::open(arguments.common.config(), clock)?;
    let renaming = HostRenaming::prepare(&session, &arguments.old, &arguments.new).await?;
    let (from, to, count) = (renaming.from(), renaming.to(), renaming.snapshots());
    if arguments.dry_run {
        info!("{from} would be renamed to {to}: {} and the history", counted(count, "snapshot"));
    } else {
        if let Attempt::Failed(whys) = renaming.execute().await? {
            return Ok(failed(&whys));
        }
        info!("{from} was renamed to {to}: {} and the history", counted(count, "snapshot"));
        if let Some(doubt) = renaming.doubt().await {
            warn!("{doubt}");
        }
    }
    let mut told = Ok(());
    if arguments.format.json {
        let mut out = Output::new();
        let answer = Answer { from: from.key(), to: to.key(), snapshots: count };
        told = out.json(&answer).and_then(|()| out.end());
    }
    Ok(code_of(0, told))
}
