//! Copying single files anew, whatever the copy seems to have of them.
//!
//! rsync believes a file of the right size and time, and links it into the next
//! copy. One that is known to be damaged is taken out of the new copy, under
//! all its names, and then asked for by name: what is not there cannot be
//! believed, and rsync compares the checksum of a whole file that it has
//! received. No other file of the copy is touched, so that none that it shares
//! with a snapshot is changed.

use super::broken_links::found;
use super::{Statistics, Transfer, TransferError};
use crate::core::format::text::printable_bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, ReadDir};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tracing::debug;

/// What was taken out of a copy.
#[derive(Debug, Default)]
pub struct TakenOut {
    /// The names of files, from the copy's root on: those that were asked for,
    /// and others that were the same file.
    pub names: BTreeSet<Vec<u8>>,
    /// Those that were asked for where the copy holds no file, or a directory
    /// that can be listed: nothing of what was there is left.
    pub other: BTreeSet<Vec<u8>>,
    /// When the directories that names were taken out of were last changed.
    times: BTreeMap<PathBuf, SystemTime>,
}

impl TakenOut {
    /// The names as a list for [`What::Only`](super::What::Only).
    pub fn list(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for name in &self.names {
            // On this machine rsync takes a name that begins with `#` or `;` for
            // a comment.
            list.extend_from_slice(b"./");
            list.extend_from_slice(name);
            list.push(0);
        }
        list
    }

    /// Gives the directories back the times that the copy had given them.
    pub fn put_times_back(&self) {
        for (folder, time) in &self.times {
            if let Err(error) = File::open(folder).and_then(|folder| folder.set_modified(*time)) {
                debug!("cannot give `{}` its time back: {error}", folder.display());
            }
        }
    }
}

/// Takes files out of the copy at `destination`, given by their paths from its
/// root on. What cannot be taken out stays, and is in neither list.
///
/// The work goes on to its end even if nobody waits for it any more; `lock`,
/// the host's, is held until then.
///
/// # Errors
/// The work itself broke off.
pub async fn take_out(
    destination: PathBuf,
    paths: Vec<Vec<u8>>,
    lock: File,
) -> Result<TakenOut, TransferError> {
    let work = move || {
        let _locked = lock;
        taken_out(&destination, paths)
    };
    let worked = tokio::task::spawn_blocking(work).await;
    worked.map_err(|error| TransferError::NotAnew(error.to_string()))
}

fn taken_out(destination: &Path, paths: Vec<Vec<u8>>) -> TakenOut {
    let mut out = TakenOut::default();
    let mut files = BTreeSet::new();
    let mut linked = false;
    for path in paths {
        let at = match found(destination, &path) {
            Ok(Some(at)) => at,
            Ok(None) => {
                out.other.insert(path);
                continue;
            }
            Err(error) => {
                debug!("{error}");
                continue;
            }
        };
        match at.symlink_metadata() {
            Ok(meta) if meta.is_file() => {
                linked |= meta.nlink() > 1;
                files.insert((meta.dev(), meta.ino()));
                out.names.insert(path);
            }
            Ok(meta) if meta.is_dir() && at.read_dir().and_then(listed).is_err() => {
                debug!("`{}` still cannot be listed", printable_bytes(&path));
            }
            Ok(_) => drop(out.other.insert(path)),
            Err(error) => debug!("`{}`: {error}", printable_bytes(&path)),
        }
    }
    if linked {
        out.names.extend(names_of(&files, destination));
    }
    let names = std::mem::take(&mut out.names);
    out.names = names.into_iter().filter(|name| remove(destination, name, &mut out.times)).collect();
    out
}

fn listed(entries: ReadDir) -> io::Result<()> {
    entries.into_iter().try_for_each(|entry| entry.map(drop))
}

/// All names below a copy that are one of these files. A folder that cannot be
/// read has none: rsync has not got into it either.
fn names_of(files: &BTreeSet<(u64, u64)>, destination: &Path) -> Vec<Vec<u8>> {
    let inodes: BTreeSet<u64> = files.iter().map(|(_, inode)| *inode).collect();
    // Where a dataset shows its snapshots.
    let snapshots = destination.join(".zfs");
    let mut names = Vec::new();
    let mut left = vec![destination.to_owned()];
    while let Some(folder) = left.pop() {
        let entries = folder.read_dir().into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.path() != snapshots) {
            let is_one =
                |meta: std::fs::Metadata| meta.is_file() && files.contains(&(meta.dev(), meta.ino()));
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(entry.path());
            } else if inodes.contains(&entry.ino()) && entry.metadata().is_ok_and(is_one) {
                if let Ok(name) = entry.path().strip_prefix(destination) {
                    names.push(name.as_os_str().as_bytes().to_vec());
                }
            }
        }
    }
    names
}

/// Removes a name, and remembers when its folder was changed before that.
fn remove(destination: &Path, name: &[u8], times: &mut BTreeMap<PathBuf, SystemTime>) -> bool {
    let path = destination.join(std::ffi::OsStr::from_bytes(name));
    let folder = path.parent().unwrap_or(destination).to_owned();
    let time = folder.symlink_metadata().and_then(|meta| meta.modified());
    match std::fs::remove_file(&path) {
        Ok(()) => {
            if let Ok(time) = time {
                times.entry(folder).or_insert(time);
            }
            true
        }
        Err(error) => {
            debug!("cannot take `{}` out of the copy: {error}", printable_bytes(name));
            false
        }
    }
}

impl Transfer {
    /// This copy, of which some files were copied anew by another.
    #[must_use]
    pub fn with_anew(self, anew: Transfer) -> Self {
        let Statistics { files, directories, bytes, .. } = self.statistics;
        let statistics = Statistics { files, directories, bytes, ..self.statistics.and(anew.statistics, 0) };
        Transfer { statistics, ..self.and(anew, 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    #[tokio::test]
    async fn a_file_goes_under_all_its_names_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join("copy").join(name);
        fs::create_dir_all(at("etc/deep")).unwrap();
        fs::create_dir_all(at(".zfs/snapshot/x")).unwrap();
        for name in ["etc/a", "etc/alone", "etc/stays", "-n\n*"] {
            fs::write(at(name), name).unwrap();
        }
        fs::hard_link(at("etc/a"), at("etc/deep/b")).unwrap();
        fs::hard_link(at("etc/a"), at(".zfs/snapshot/x/a")).unwrap();
        // An older snapshot shares it.
        fs::hard_link(at("etc/a"), dir.path().join("older")).unwrap();
        symlink("etc", at("link")).unwrap();
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        File::open(at("etc")).unwrap().set_modified(time).unwrap();
        let paths = ["etc/a", "etc/alone", "-n\n*", "gone", "link/stays", "link", "etc/deep"].map(path);
        let lock = File::open("/dev/null").unwrap();
        let out = take_out(dir.path().join("copy"), paths.into(), lock).await.unwrap();
        assert_eq!(out.names, ["etc/a", "etc/alone", "-n\n*", "etc/deep/b"].map(path).into());
        assert_eq!(out.other, ["gone", "link/stays", "link", "etc/deep"].map(path).into());
        assert_eq!(out.list(), b"./-n\n*\0./etc/a\0./etc/alone\0./etc/deep/b\0");
        assert!(!at("etc/a").exists() && !at("etc/deep/b").exists() && !at("-n\n*").exists());
        assert!(at("etc/stays").exists() && at("link").is_symlink() && at(".zfs/snapshot/x/a").exists());
        assert_eq!(fs::read_to_string(dir.path().join("older")).unwrap(), "etc/a");
        out.put_times_back();
        assert_eq!(at("etc").metadata().unwrap().modified().unwrap(), time);
    }
}
