//! What rsync's end means, from its exit and from what it said on stderr.

use super::{COMPLAINTS, Ending, Transfer, TransferError, reason, stats, unkept};
use crate::core::format::text::short;
use crate::sys::process::{Exit, Output};

/// What rsync's end means; see EXIT VALUES in rsync(1).
pub(super) fn judge(output: &Output, figures: &stats::Reader) -> Result<Transfer, TransferError> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = || reason::of(&stderr, output.exit);
    if let Some(line) = stderr.lines().find(|line| is_full_store(line)) {
        return Err(TransferError::StoreFull(short(line.as_bytes())));
    }
    if let Some(line) = stderr.lines().find(|line| is_one_link_too_many(line)) {
        return Err(TransferError::TooManyLinks(short(line.as_bytes())));
    }
    if let Some(refused) = never_began(&stderr, output.exit) {
        return Err(refused);
    }
    let ending = match output.exit {
        Exit::Code(0) => Ending::Complete,
        Exit::Code(24) => Ending::SourceChanged,
        Exit::Code(23) => Ending::Incomplete,
        Exit::Code(25) => Ending::TooManyDeletions,
        // Socket I/O, protocol stream, a far side that was told to end (as in a
        // shutdown), timeouts; ssh's own failure.
        Exit::Code(10 | 12 | 20 | 30 | 35 | 255) if !figures.is_complete() => {
            return Err(TransferError::ConnectionLost(said()));
        }
        Exit::Code(2) if stderr.contains("is your shell clean?") => return Err(TransferError::NoisyShell),
        exit => return Err(TransferError::Failed { exit, said: said() }),
    };
    let statistics = figures.statistics().map_err(TransferError::NoStatistics)?;
    if ending == Ending::Incomplete && statistics.files == 0 {
        return Err(TransferError::NoSource(said()));
    }
    let mut complaints = reason::faults(&stderr);
    let advice = stderr.lines().find_map(advice);
    Ok(Transfer {
        ending,
        statistics,
        stopped_deleting: ending == Ending::TooManyDeletions
            || stderr.lines().any(|line| line.starts_with("Deletions stopped due to --max-delete limit")),
        vanished: reason::vanished(&stderr),
        complaints: complaints.by_ref().take(COMPLAINTS).map(|line| short(line.as_bytes())).collect(),
        further_complaints: complaints.count(),
        advice,
        unkept: None,
    })
}

/// Why the far side's rsync did not begin, where another try will not help.
pub(super) fn never_began(stderr: &str, exit: Exit) -> Option<TransferError> {
    match exit {
        Exit::Code(0 | 23 | 24 | 25) => None,
        _ if reason::is_missing(stderr) => Some(TransferError::NoRemoteRsync),
        _ if reason::is_refused_there(stderr) => Some(TransferError::RemoteTooOld(reason::of(stderr, exit))),
        // What a shell exits with if it cannot start a program; it is lost if
        // rsync sees the connection's end first.
        _ if matches!(exit, Exit::Code(126 | 127)) || reason::is_broken(stderr) => {
            Some(TransferError::Failed { exit, said: reason::of(stderr, exit) })
        }
        _ => None,
    }
}

/// Whether a line says that our side ran out of room; the sender's files may
/// be called what they like. An attribute that does not fit (ext4 has one block
/// for all of a file's) is no full store, though the kernel says so.
fn is_full_store(line: &str) -> bool {
    let Some(what) = said_here(line) else { return false };
    !what.starts_with(unkept::SETTING)
        && (line.ends_with("No space left on device (28)") || line.ends_with("Disk quota exceeded (122)"))
}

/// Whether a line says that our side's filesystem gives a file no more names.
fn is_one_link_too_many(line: &str) -> bool {
    said_here(line).is_some_and(|what| what.starts_with("link \"")) && line.ends_with("Too many links (31)")
}

/// What helps against a line of our side that its filesystem has no place for
/// what a file has. ZFS on Linux keeps no ACLs unless told to.
fn advice(line: &str) -> Option<&'static str> {
    let what = said_here(line).filter(|_| line.ends_with("Operation not supported (95)"))?;
    if what.starts_with("set_acl: ") {
        Some("where the copies live, ACLs cannot be kept: for a dataset, `zfs set acltype=posixacl`")
    } else if what.starts_with("rsync_xal_set: ") {
        Some("where the copies live, extended attributes cannot be kept: for a dataset, `zfs set xattr=sa`")
    } else {
        None
    }
}

/// What a line says that comes from our side, not from the sender.
pub(super) fn said_here(line: &str) -> Option<&str> {
    let ours = ["rsync: [receiver] ", "rsync: [generator] ", "rsync: [Receiver] "];
    ours.iter().find_map(|prefix| line.strip_prefix(prefix))
}
