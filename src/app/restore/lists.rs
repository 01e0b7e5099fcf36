//! What is to be written where something is there already that is left alone.

use crate::edge::tree::{Gap, Tree, gaps};
use anyhow::Context;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// Lists of paths for rsync, each with a NUL after it. They are files, for a
/// million names are normal.
#[derive(Debug)]
pub(super) struct Lists {
    /// What is missing, a directory for all that is in it.
    pub(super) missing: Option<PathBuf>,
    /// Directories that are there and get their times again, for something
    /// comes into them.
    pub(super) incomplete: Option<PathBuf>,
    /// Where the lists are: a directory of their own, which goes with this.
    _directory: TempDir,
}

impl Lists {
    /// `None` if nothing is there that could be left alone.
    pub(super) fn of(
        trees: &[Tree; 2],
        paths: &[Vec<u8>],
        stop: &AtomicBool,
    ) -> anyhow::Result<Option<Self>> {
        let directory =
            TempDir::with_prefix("backup-restore-").context("cannot make a temporary directory")?;
        let places = ["missing", "incomplete"].map(|name| directory.path().join(name));
        let [mut missing, mut incomplete] = [new(&places[0])?, new(&places[1])?];
        let any = gaps(trees, paths, stop, |gap| {
            let (list, path) = match gap {
                Gap::Missing(path) => (&mut missing, path),
                Gap::Incomplete(path) => (&mut incomplete, path),
            };
            list.write_all(if path.is_empty() { b"." } else { path })?;
            list.write_all(b"\0")
        })?;
        let [missing, incomplete] = [(missing, &places[0]), (incomplete, &places[1])].map(|(list, place)| {
            let file = list.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            Ok((file.metadata()?.len() > 0).then(|| place.clone()))
        });
        let written = |list: std::io::Result<_>| list.context("cannot write the list of what is missing");
        let (missing, incomplete) = (written(missing)?, written(incomplete)?);
        Ok(any.then_some(Lists { missing, incomplete, _directory: directory }))
    }
}

fn new(place: &PathBuf) -> anyhow::Result<BufWriter<File>> {
    let file = File::create_new(place).context("cannot make a temporary file")?;
    Ok(BufWriter::new(file))
}
