//! The signals that ask a run to stop.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// SIGHUP's place in the masks of `/proc/self/status`.
const HANG_UP: u64 = 1;

/// SIGINT, SIGTERM, and SIGHUP unless it is ignored: `nohup` means that a run
/// outlives its terminal.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
}

impl Signals {
    /// From now on these signals end nothing by themselves.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hang_up =
            if ignored(&status) & HANG_UP == 0 { Some(listen(SignalKind::hangup())?) } else { None };
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hang_up => {}
        }
    }

    /// From now on the first signal cancels, saying `told`, and the second ends
    /// the program after `at_once`. Must be called inside a
    /// [`tokio::task::LocalSet`].
    pub(super) fn stop(
        mut self,
        cancel: CancellationToken,
        told: &'static str,
        at_once: impl FnOnce() + 'static,
    ) {
        tokio::task::spawn_local(async move {
            self.next().await;
            warn!("told to stop: {told}");
            cancel.cancel();
            self.next().await;
            error!("told to stop twice: ending at once");
            at_once();
            std::process::exit(1);
        });
    }
}

/// The mask of ignored signals in a process's status.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_kernels_mask() {
        let status = "Name:\tbackup\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored(status), 0x1001);
        assert_eq!(ignored(""), 0);
    }
}
