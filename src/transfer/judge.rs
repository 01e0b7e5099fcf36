//! What rsync's end means, from its exit and from what it said on stderr.

use super::unkept;
use super::{COMPLAINTS, Ending, Transfer, TransferError, stats};
use crate::process::{Exit, Output};
use crate::text::{last_lines, short};

/// How rsync begins to tell that something vanished.
pub(super) const VANISHED: [&str; 2] = ["file has vanished: ", "directory has vanished: "];

/// What rsync's end means; see EXIT VALUES in rsync(1).
pub(super) fn judge(output: &Output, figures: &stats::Reader) -> Result<Transfer, TransferError> {
    let said = || {
        let lines = last_lines(&output.stderr, 2);
        if lines.is_empty() { output.exit.to_string() } else { lines.join(" / ") }
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if let Some(line) = stderr.lines().find(|line| is_full_store(line)) {
        return Err(TransferError::StoreFull(short(line.as_bytes())));
    }
    if let Some(line) = stderr.lines().find(|line| is_one_link_too_many(line)) {
        return Err(TransferError::TooManyLinks(short(line.as_bytes())));
    }
    if output.exit == Exit::Code(12) && stderr.lines().any(is_missing_rsync) {
        return Err(TransferError::NoRemoteRsync);
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
        Exit::Code(127) => return Err(TransferError::NoRemoteRsync),
        exit => return Err(TransferError::Failed { exit, said: said() }),
    };
    let statistics = figures.statistics().map_err(TransferError::NoStatistics)?;
    if ending == Ending::Incomplete && statistics.files == 0 {
        return Err(TransferError::NoSource(said()));
    }
    let vanished = |line: &&str| VANISHED.iter().any(|prefix| line.starts_with(prefix));
    let mut complaints = stderr.lines().filter(|line| line.starts_with("rsync: "));
    let advice = stderr.lines().find_map(advice);
    Ok(Transfer {
        ending,
        statistics,
        stopped_deleting: ending == Ending::TooManyDeletions
            || stderr.lines().any(|line| line.starts_with("Deletions stopped due to --max-delete limit")),
        vanished: stderr.lines().filter(vanished).count(),
        complaints: complaints.by_ref().take(COMPLAINTS).map(|line| short(line.as_bytes())).collect(),
        further_complaints: complaints.count(),
        advice,
        unkept: None,
    })
}

/// Whether a far side's shell says with this line that there is no rsync. Its
/// exit 127 is lost if rsync sees the connection's end before the shell's.
fn is_missing_rsync(line: &str) -> bool {
    ["rsync: not found", "rsync: command not found", "command not found: rsync"]
        .iter()
        .any(|said| line.ends_with(said))
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
