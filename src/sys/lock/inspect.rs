//! Which hosts are locked, found out without touching a lock.
//!
//! To try a lock is to take it for a moment, in which a run that starts would
//! find its host taken. The kernel lists all locks in `/proc/locks`
//! (proc_locks(5)), by the file's device and inode, so a look at the files'
//! own is enough.
//!
//! Some filesystems (btrfs, overlayfs) show files another device than they are
//! listed under. So a lock counts as a file's also if the process that it is
//! listed with is the one that the file names.

use super::{holder, is_there};
use crate::core::model::host::HostName;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A lock that somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    process: u32,
    major: u32,
    minor: u32,
    inode: u64,
}

/// The hosts that runs have locked at this moment, by name in lower case, each
/// with the time since which. A runtime directory that is not there has none.
///
/// # Errors
/// The kernel's list, or the directory, cannot be read.
pub fn running(runtime_dir: &Path) -> io::Result<BTreeMap<String, DateTime<Utc>>> {
    let mut running = BTreeMap::new();
    let entries = match std::fs::read_dir(runtime_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(running),
        entries => entries?,
    };
    let locks = listed()?;
    if locks.is_empty() {
        return Ok(running);
    }
    for entry in entries {
        let path = entry?.path();
        let name =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".lock"));
        let Some(host) = name.and_then(|name| name.parse::<HostName>().ok()) else { continue };
        if let Some(since) = held_since(&path, &locks) {
            running.insert(host.key().to_owned(), since);
        }
    }
    Ok(running)
}

/// Whether the process that the file names is there and holds its lock at this
/// moment; no, where that cannot be found out. What a killed run left behind may
/// hold it, too, and is not asked for: whoever looks at the kernel's list waits
/// 10 ms, and all who lock anything wait with him.
pub(super) fn is_held(path: &Path) -> bool {
    noted(path).is_some_and(is_there) && listed().is_ok_and(|locks| held_since(path, &locks).is_some())
}

/// The process that has locked an open file, if it can be seen from here.
pub(super) fn holder_of(file: &File) -> Option<u32> {
    let meta = file.metadata().ok()?;
    let device = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let locks = listed().ok()?;
    let on_inode = || locks.iter().filter(|lock| lock.inode == meta.ino());
    let lock = on_inode().find(|lock| (lock.major, lock.minor) == device).or_else(|| on_inode().next());
    lock.map(|lock| lock.process).filter(|process| *process > 0)
}

/// Since when a lock's file has been locked, if it is.
fn held_since(path: &Path, locks: &BTreeSet<Held>) -> Option<DateTime<Utc>> {
    let meta = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
    let device = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let mut on_inode = locks.iter().filter(|lock| lock.inode == meta.ino());
    let held = on_inode.any(|lock| (lock.major, lock.minor) == device || noted(path) == Some(lock.process));
    // Whoever takes the lock writes its process into the file.
    held.then(|| meta.modified().ok().map(DateTime::from))?
}

/// The process that a lock's file names.
fn noted(path: &Path) -> Option<u32> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    holder(&mut File::options().read(true).custom_flags(no_follow).open(path).ok()?)
}

/// How often the kernel's list is read at most, where it comes in pieces.
const MOST_READINGS: usize = 20;
/// A first piece that is shorter is the whole list, in bytes: pieces are about as
/// long as a page, and a line is much shorter than the rest.
const ONE_PIECE: usize = 3500;

/// The `flock`s that are held.
///
/// The kernel gives its list in pieces of a page and goes on by number: if a lock
/// before was given back in between, it passes over another. So a list of more than
/// one piece is read until it is twice the same, and whoever was seen once counts.
fn listed() -> io::Result<BTreeSet<Held>> {
    let (mut all, mut last) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..MOST_READINGS {
        let mut list = File::open("/proc/locks")?;
        let mut text = vec![0; 1 << 16];
        let first = list.read(&mut text)?;
        text.truncate(first);
        if first >= ONE_PIECE {
            list.read_to_end(&mut text)?;
        }
        let now: BTreeSet<Held> = locks(&String::from_utf8_lossy(&text)).into_iter().collect();
        all.extend(now.iter().copied());
        if first < ONE_PIECE || now == last {
            break;
        }
        last = now;
    }
    Ok(all)
}

/// The `flock`s in the kernel's list that are held. Those who wait for one are
/// listed with an arrow, and passed over.
fn locks(text: &str) -> Vec<Held> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let ("FLOCK", Some(_), Some(_)) = (words.next()?, words.next(), words.next()) else {
                return None;
            };
            let process = words.next()?.parse().unwrap_or_default();
            let mut file = words.next()?.split(':');
            Some(Held {
                process,
                major: u32::from_str_radix(file.next()?, 16).ok()?,
                minor: u32::from_str_radix(file.next()?, 16).ok()?,
                inode: file.next()?.parse().ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Runtime;
    use super::*;

    #[test]
    fn the_kernels_list_is_read_and_what_is_no_held_flock_is_passed_over() {
        let text = "1: POSIX  ADVISORY  WRITE 501 fd:02:1234 0 EOF\n\
                    2: FLOCK  ADVISORY  WRITE 1211 fe:00:10010641 0 EOF\n\
                    2: -> FLOCK  ADVISORY  WRITE 1212 fe:00:10010641 0 EOF\n\
                    3: FLOCK  ADVISORY  READ  -1 00:1b:7 0 EOF\n\
                    4: LEASE  ACTIVE    READ 9 fe:00:8 0 EOF\n\
                    nonsense\n\n5: FLOCK\n";
        let held = |process, major, minor, inode| Held { process, major, minor, inode };
        assert_eq!(locks(text), [held(1211, 0xfe, 0, 10_010_641), held(0, 0, 0x1b, 7)]);
    }

    #[tokio::test]
    async fn a_look_sees_who_is_locked_and_nobody_sees_the_look() {
        let dir = tempfile::tempdir().unwrap();
        assert!(running(&dir.path().join("missing")).unwrap().is_empty());
        let (runtime, _) = Runtime::enter(dir.path()).unwrap();
        let (vpn, mail) = ("VPN".parse().unwrap(), "mail".parse().unwrap());
        let lock = runtime.lock_host(&vpn).await.unwrap();
        drop(runtime.lock_host(&mail).await.unwrap());
        let seen = running(dir.path()).unwrap();
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["vpn"], "mail's lock was given back");
        let child = lock.share().unwrap();
        drop(lock);
        assert_eq!(running(dir.path()).unwrap(), seen, "a child of a dead run has it still");
        drop(child);
        assert!(running(dir.path()).unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_lock_is_seen_while_others_come_and_go() {
        use rustix::fs::{FlockOperation, flock};
        use std::sync::atomic::{AtomicBool, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let (runtime, _) = Runtime::enter(dir.path()).unwrap();
        let lock = runtime.lock_host(&"VPN".parse().unwrap()).await.unwrap();
        let beside = tempfile::tempdir().unwrap();
        let files: Vec<File> =
            (0..200).map(|n| File::create(beside.path().join(n.to_string())).unwrap()).collect();
        let done = AtomicBool::new(false);
        let missed = std::thread::scope(|scope| {
            for half in files.chunks(100) {
                let done = &done;
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        half.iter().for_each(|file| flock(file, FlockOperation::LockExclusive).unwrap());
                        half.iter().for_each(|file| flock(file, FlockOperation::Unlock).unwrap());
                    }
                });
            }
            let missed = (0..100).filter(|_| running(dir.path()).unwrap().is_empty()).count();
            done.store(true, Ordering::Relaxed);
            missed
        });
        drop(lock);
        assert_eq!(missed, 0);
    }

    #[tokio::test]
    async fn a_file_that_is_listed_under_another_device_is_known_by_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vpn.lock");
        std::fs::write(&path, "4711\n").unwrap();
        let inode = path.metadata().unwrap().ino();
        let by = |process| BTreeSet::from([Held { process, major: 0xfff, minor: 0xfff, inode }]);
        assert!(held_since(&path, &by(4711)).is_some());
        assert_eq!(held_since(&path, &by(4712)), None, "a file of another filesystem");
        let link = dir.path().join("mail.lock");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(held_since(&link, &by(4711)), None, "a symlink is no lock");
    }
}
