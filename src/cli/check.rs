//! `backup check`: everything that a run needs, looked at before it is needed;
//! see [`crate::app::check`].

mod answer;
mod trust;

use super::output::Format;
use super::progress::Bars;
use super::session::{self, Common};
use super::signals::Signals;
use crate::app::check::{self, CheckRequest, Stranger};
use crate::sys::clock::Clock;
use anyhow::bail;
use std::num::NonZeroUsize;

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backup check                             before the first night, and whenever something is wrong
  backup check --offline                   only this machine and its store
  backup check vpn 'web*'                  only these hosts
  backup check --trust-host-keys           show the keys of new hosts, and ask whether to trust them

No hook is run, nothing is copied, and nothing is reported to Icinga. A line with an arrow says what
to do. With --quiet, only errors and warnings are printed.

Exit status: 0 if there are no errors and no warnings, 1 if there are some, 2 if nothing could be
checked, for example because the configuration has errors (which are all listed).")]
pub(super) struct Arguments {
    /// Hosts of the inventory: a name in any case, a glob such as 'web*', or
    /// `all`, the default.
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,
    /// Show the keys of hosts that are not known yet and, if you answer yes,
    /// add them to the known hosts. A key that changed is never replaced.
    #[arg(long, conflicts_with = "offline")]
    trust_host_keys: bool,
    /// Do not ask; trust all keys that are shown.
    #[arg(long, requires = "trust_host_keys")]
    yes: bool,
    /// Check only this machine and its store; contact neither NetBox, nor
    /// Icinga, nor hosts.
    #[arg(long)]
    offline: bool,
    /// Number of hosts to check at once, instead of the configured one.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    format: Format,
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    session::run(&arguments.common, &Bars::new(false), async || {
        // A connection that is given up ends with us, and in order.
        let mut signals = Signals::listen()?;
        tokio::select! {
            code = answer(arguments, clock) => code,
            () = signals.next() => bail!("told to stop"),
        }
    })
}

/// Looks at everything, answers, and gives the exit code.
async fn answer(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let Arguments { hosts, offline, jobs, .. } = arguments;
    let request = CheckRequest { config: arguments.common.config(), hosts, offline: *offline, jobs: *jobs };
    let trusted = async |strangers: &[Stranger]| trust::trusted(strangers, arguments.yes).await;
    let report = check::check(request, clock, arguments.trust_host_keys.then_some(trusted)).await?;
    answer::give(&report, arguments)
}
