//! Parting names of the copy that are one file, before files are written in
//! place: what is written through one name would be read through the other.

use super::TransferError;
use crate::core::format::text::printable;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Says that below some paths of a copy no file had a second name when it was
/// made. Nothing but [`parted`] makes one, and nothing but this lets rsync
/// write in place.
#[derive(Debug)]
pub struct Parted {
    removed: u64,
}

impl Parted {
    /// How many names were removed; rsync sends those files anew.
    pub fn removed(&self) -> u64 {
        self.removed
    }
}

/// Removes names below `paths`, each from the root of the copy at
/// `destination` on, until no file there has a second name, there or elsewhere.
///
/// No symbolic link is followed, not even one on the way: where it leads is not
/// the copy, and rsync would not follow it either.
///
/// The work goes on to its end even if nobody waits for it any more; `lock`,
/// the host's, is held until then.
///
/// # Errors
/// A directory cannot be read, or a name not be removed.
pub async fn parted(destination: PathBuf, paths: Vec<Vec<u8>>, lock: File) -> Result<Parted, TransferError> {
    let work = move || {
        let _locked = lock;
        let mut parted = Parted { removed: 0 };
        for path in &paths {
            if let Some(path) = found(&destination, path)? {
                part(path, &mut parted)?;
            }
        }
        Ok(parted)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(TransferError::Linked(error.to_string())),
    }
}

/// The path in the copy, if it is there and real directories lead to it.
///
/// # Errors
/// A directory on the way, or what is there, cannot be looked at.
pub fn found(destination: &Path, path: &[u8]) -> Result<Option<PathBuf>, TransferError> {
    let mut at = destination.to_owned();
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        match at.symlink_metadata() {
            Ok(meta) if meta.is_dir() => at.push(OsStr::from_bytes(name)),
            Ok(_) => return Ok(None),
            Err(error) => return if_missing(&at, &error),
        }
    }
    match at.symlink_metadata() {
        Ok(_) => Ok(Some(at)),
        Err(error) => if_missing(&at, &error),
    }
}

/// Only what is not there has no names.
fn if_missing(path: &Path, error: &io::Error) -> Result<Option<PathBuf>, TransferError> {
    if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(fault(path, error)) }
}

fn part(path: PathBuf, parted: &mut Parted) -> Result<(), TransferError> {
    let mut left = vec![path];
    while let Some(path) = left.pop() {
        let meta = path.symlink_metadata().map_err(|error| fault(&path, &error))?;
        if meta.is_dir() {
            for entry in path.read_dir().map_err(|error| fault(&path, &error))? {
                let entry = entry.map_err(|error| fault(&path, &error))?;
                // Not by way of `left`: a directory may hold a million.
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => left.push(entry.path()),
                    _ => {
                        let meta = entry.metadata().map_err(|error| fault(&entry.path(), &error))?;
                        remove_if_linked(&entry.path(), meta.nlink(), parted)?;
                    }
                }
            }
        } else {
            remove_if_linked(&path, meta.nlink(), parted)?;
        }
    }
    Ok(())
}

/// Not only regular files: owner, mode and time of a FIFO are one for all its
/// names as well.
fn remove_if_linked(path: &Path, links: u64, parted: &mut Parted) -> Result<(), TransferError> {
    if links > 1 {
        std::fs::remove_file(path).map_err(|error| fault(path, &error))?;
        parted.removed += 1;
    }
    Ok(())
}

fn fault(path: &Path, error: &io::Error) -> TransferError {
    TransferError::Linked(format!("`{}`: {error}", printable(&path.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    async fn part_all(copy: &Path, paths: &[&str]) -> u64 {
        let paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        let lock = File::open("/dev/null").unwrap();
        parted(copy.to_owned(), paths, lock).await.unwrap().removed()
    }

    #[tokio::test]
    async fn names_of_one_file_are_removed_until_each_file_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("images/deep")).unwrap();
        for name in ["images/alone", "images/a", "outside", "single"] {
            fs::write(at(name), name).unwrap();
        }
        fs::hard_link(at("images/a"), at("images/b")).unwrap();
        fs::hard_link(at("images/a"), at("images/deep/c")).unwrap();
        fs::hard_link(at("outside"), at("images/deep/d")).unwrap();
        fs::hard_link(at("outside"), at("elsewhere")).unwrap();
        symlink("alone", at("images/link")).unwrap();
        fs::hard_link(at("images/link"), at("link")).unwrap();
        // Two of a, b and c; d; link.
        assert_eq!(part_all(dir.path(), &["/images", "/single", "/missing/path"]).await, 4);
        let left = ["images/a", "images/b", "images/deep/c"].into_iter().filter(|name| at(name).exists());
        assert_eq!(left.map(|name| at(name).metadata().unwrap().nlink()).collect::<Vec<_>>(), [1]);
        assert_eq!(fs::read_to_string(at("outside")).unwrap(), "outside");
        assert_eq!(at("outside").metadata().unwrap().nlink(), 2, "outside the path nothing is parted");
        assert!(at("images/alone").exists() && at("single").exists() && at("link").is_symlink());
        assert_eq!(part_all(dir.path(), &["/images"]).await, 0, "once is enough");
        fs::hard_link(at("single"), at("second")).unwrap();
        assert_eq!(part_all(dir.path(), &["/single"]).await, 1, "a path may be a file");
    }

    #[tokio::test]
    async fn what_cannot_be_looked_at_is_not_taken_for_missing() {
        let dir = tempfile::tempdir().unwrap();
        // No name is so long (ENAMETOOLONG), neither at the end nor on the way.
        let long = "x".repeat(300);
        for path in [format!("/{long}"), format!("/{long}/images")] {
            let lock = File::open("/dev/null").unwrap();
            let found = parted(dir.path().to_owned(), vec![path.into_bytes()], lock).await;
            assert!(matches!(found, Err(TransferError::Linked(_))), "{found:?}");
        }
    }

    #[tokio::test]
    async fn nothing_behind_a_symlink_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("server/images")).unwrap();
        fs::create_dir_all(at("copy/images")).unwrap();
        fs::write(at("server/images/a"), "").unwrap();
        fs::hard_link(at("server/images/a"), at("server/images/b")).unwrap();
        symlink(at("server"), at("copy/way")).unwrap();
        symlink(at("server/images"), at("copy/path")).unwrap();
        symlink(at("server/images"), at("copy/images/inner")).unwrap();
        assert_eq!(part_all(&at("copy"), &["/way/images", "/path", "/images"]).await, 0);
        assert!(at("server/images/a").exists() && at("server/images/b").exists());
    }
}
