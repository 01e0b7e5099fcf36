//! Work that may take long, off the thread that serves all hosts.
//!
//! One thread serves all hosts, deadlines and signals. What is computed from a
//! host's own words goes through here, so that no host holds up the others.
//! Work that is given up goes on until it ends: it needs bounds of its own.

use std::time::Duration;

/// The work was not done in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotInTime;

/// Does `work` on another thread and waits for it at most so long. A panic
/// there is one here.
pub async fn offload<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotInTime> {
    match tokio::time::timeout(limit, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Its thread went away with the runtime.
        Ok(Err(_)) | Err(_) => Err(NotInTime),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[tokio::test]
    async fn what_takes_long_holds_nobody_up() {
        let (go_on, waits) = channel::<()>();
        let work = offload(Duration::from_secs(60), move || waits.recv().is_ok());
        let other = async { go_on.send(()) };
        assert_eq!(tokio::join!(work, other), (Ok(true), Ok(())));
    }

    #[tokio::test]
    async fn what_takes_too_long_is_given_up() {
        let (_go_on, waits) = channel::<()>();
        // Dropped first, the sender ends the work.
        let given_up = offload(Duration::from_millis(20), move || waits.recv().is_ok()).await;
        assert_eq!(given_up, Err(NotInTime));
    }
}
