//! Why there is no copy worth a snapshot: what failed, and what to try.

use crate::core::format::text::human_duration;
use crate::sys::process::{Exit, Failure};
use std::fmt;
use std::time::Duration;

/// Why there is no copy worth a snapshot.
#[derive(Debug)]
pub enum TransferError {
    /// The connection broke; another try may do.
    ConnectionLost(String),
    /// The store has no room.
    StoreFull(String),
    /// A file has more names than the store's filesystem gives to one; those that it
    /// has in former copies count.
    TooManyLinks(String),
    /// Nothing moved any more.
    Stalled(Duration),
    /// It took too long in all.
    Deadline,
    /// The run was to stop.
    Cancelled,
    /// The host has no rsync.
    NoRemoteRsync,
    /// The host's rsync does not know what ours asks of it.
    RemoteTooOld(String),
    /// A login shell there prints text into rsync's protocol.
    NoisyShell,
    /// The source was gone.
    NoSource(String),
    /// A file that is to be written in place may have a second name.
    Linked(String),
    /// Files that are known to be damaged cannot be copied anew.
    NotAnew(String),
    /// What writes the copy cannot hold the host's lock.
    NotLocked(String),
    /// rsync could not be run here.
    Program(Failure),
    /// rsync gave up.
    Failed {
        /// Its exit.
        exit: Exit,
        /// The reason that it gave.
        said: String,
    },
    /// rsync's figures are not to be understood.
    NoStatistics(String),
}

impl TransferError {
    /// What failed, and why.
    pub fn what(&self) -> String {
        match self {
            TransferError::ConnectionLost(said) => format!("the connection was lost ({said})"),
            TransferError::StoreFull(said) => format!("the store is full: {said}"),
            TransferError::TooManyLinks(said) => format!(
                "a file has more names (hard links) than the store's filesystem allows, 65,000 on ext4: {said}"
            ),
            TransferError::Stalled(limit) => {
                format!("nothing moved for {} (`stall_timeout`)", human_duration(*limit))
            }
            TransferError::Deadline => "it was not done when the host's `deadline` passed".to_owned(),
            TransferError::Cancelled => "the run was stopped".to_owned(),
            TransferError::NoRemoteRsync => "the host has no rsync".to_owned(),
            TransferError::RemoteTooOld(said) => format!("the host's rsync is too old for ours: {said}"),
            TransferError::NoisyShell => "the host's shell prints text before rsync can speak".to_owned(),
            TransferError::NoSource(said) => format!("nothing could be read below the source: {said}"),
            TransferError::Linked(why) => format!(
                "hard links in the copy cannot be parted, and in place they must not be written to: {why}"
            ),
            TransferError::NotAnew(why) => format!("files that are to be copied anew cannot be: {why}"),
            TransferError::NotLocked(why) => why.clone(),
            TransferError::Program(failure) => failure.to_string(),
            TransferError::Failed { exit, said } => format!("rsync failed ({exit}): {said}"),
            TransferError::NoStatistics(said) => {
                format!("rsync ended well, but its statistics are not to be understood: {said}")
            }
        }
    }

    /// What to try.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            TransferError::StoreFull(_) => Some("remove snapshots or add disks"),
            TransferError::TooManyLinks(_) => {
                Some("keep the copies on XFS or ZFS, or exclude some of its names")
            }
            TransferError::Stalled(_) => Some("does the host or one of its disks hang?"),
            TransferError::Deadline => {
                Some("run it again: files that came whole are not sent twice; or raise `deadline`")
            }
            TransferError::NoRemoteRsync => Some("install the package rsync there"),
            TransferError::RemoteTooOld(_) => Some("install rsync 3.1.0 or later there"),
            TransferError::NoisyShell => {
                Some("logging in to run `true` must print nothing: look into `.bashrc` and the like there")
            }
            _ => None,
        }
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        self.remedy().map_or(Ok(()), |remedy| write!(f, " ({remedy})"))
    }
}

impl std::error::Error for TransferError {}

impl From<Failure> for TransferError {
    fn from(failure: Failure) -> Self {
        TransferError::Program(failure)
    }
}
