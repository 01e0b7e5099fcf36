//! `backup snapshots`.

use super::progress::Bars;
use super::session::{self, Common};
use crate::clock::Clock;

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
}

pub(super) fn execute(arguments: &Arguments, _clock: Clock) -> u8 {
    session::run(&arguments.common, &Bars::new(false), async || anyhow::bail!("unfinished"))
}
