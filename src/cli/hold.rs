//! `backup hold` and `backup release`.

use super::progress::Bars;
use super::session::{self, Common};
use crate::clock::Clock;

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
pub(super) struct Hold {
    #[command(flatten)]
    common: Common,
}

pub(super) fn hold(arguments: &Hold, _clock: Clock) -> u8 {
    session::run(&arguments.common, &Bars::new(false), async || anyhow::bail!("unfinished"))
}
/// What may be said on its command line.
#[derive(Debug, clap::Args)]
pub(super) struct Release {
    #[command(flatten)]
    common: Common,
}

pub(super) fn release(arguments: &Release, _clock: Clock) -> u8 {
    session::run(&arguments.common, &Bars::new(false), async || anyhow::bail!("unfinished"))
}
