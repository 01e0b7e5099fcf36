//! What every command begins with, the log and the runtime, and how it ends.

use super::CANNOT_START;
use super::output::Closed;
use super::progress::Bars;
use crate::sys::logging;
use crate::sys::process;
use anyhow::anyhow;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::LocalSet;
use tracing::error;

/// How long a sync or a deletion that was given up may still take.
const LAST_DISK_WORK: Duration = Duration::from_secs(1);

/// What every command can be told.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Print only warnings and errors, so that cron mails only those.
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Verbose output.
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Common {
    /// The configuration file, if one is named.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

/// Does a command's work with the log and the runtime that it needs, and gives
/// its exit code; what could not even start is said, and exits with 2.
pub(super) fn run(common: &Common, bars: &Bars, work: impl AsyncFnOnce() -> anyhow::Result<u8>) -> u8 {
    begin(common, bars, true, work)
}

/// [`run`] for a command that only looks: what it says is for whoever asks, and
/// not for the system's log, where an operator's slip of the pen would be an
/// error of `backup`.
pub(super) fn look(common: &Common, work: impl AsyncFnOnce() -> anyhow::Result<u8>) -> u8 {
    begin(common, &Bars::new(false), false, work)
}

fn begin(common: &Common, bars: &Bars, syslog: bool, work: impl AsyncFnOnce() -> anyhow::Result<u8>) -> u8 {
    let printer = bars.clone();
    let _logging = logging::init(logging::Options {
        quiet: common.quiet,
        verbose: common.verbose,
        colour: logging::wants_colour(),
        syslog,
        printer: Box::new(move |text| printer.suspended(|| logging::print(text))),
    });
    process::raise_file_limit();
    // One thread: the kernel ends our children with the thread that started
    // them, and a command does nothing but wait for others.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = LocalSet::new().block_on(&runtime, work());
            // A disk that does not answer must not keep the command from ending.
            runtime.shutdown_timeout(LAST_DISK_WORK);
            result
        }
        Err(error) => Err(anyhow!(error).context("cannot start the runtime")),
    };
    // Also where the work broke off.
    bars.clear();
    result.unwrap_or_else(|error| {
        if error.is::<Closed>() {
            return 0;
        }
        error!("{error:#}");
        CANNOT_START
    })
}
