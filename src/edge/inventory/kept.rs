//! Small files of the state directory that are read, changed and written as a
//! whole, by one process at a time.

use super::file::{self, Aside};
use crate::core::model::problem::Problem;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What is kept in such a file.
pub(super) trait Kept: Clone + Default + PartialEq + Serialize + DeserializeOwned {
    /// What the file is called.
    const FILE: &'static str;
    /// What is in it, for people.
    const WHAT: &'static str;
    /// The version of its format that is written and read.
    const VERSION: u32;
    /// The version that it has.
    fn version(&self) -> u32;
}

/// Where it is.
pub(super) fn path<T: Kept>(state_dir: &Path) -> PathBuf {
    state_dir.join(T::FILE)
}

/// What is in the file, if it is there; a file that cannot be used is left or
/// set aside.
pub(super) fn read<T: Kept>(state_dir: &Path, aside: Aside) -> Result<T, Problem> {
    let path = path::<T>(state_dir);
    let parsed = |bytes: &[u8]| match serde_json::from_slice::<T>(bytes) {
        Ok(kept) if kept.version() == T::VERSION => Ok(kept),
        Ok(kept) => Err(format!("it has version {}, and {} is known", kept.version(), T::VERSION)),
        Err(error) => Err(error.to_string()),
    };
    let read = file::understood(&path, parsed).map_err(|why| {
        let fate = file::fate(&path, aside);
        Problem::warning(format!("{why}: {}, `{}`, cannot be used; {fate}", T::WHAT, path.display()), "")
    })?;
    Ok(read.unwrap_or_default())
}

/// Changes the file, which nobody else does meanwhile. One that cannot be used is
/// set aside and begun anew; that is `trouble`.
pub(super) fn change<T: Kept>(
    state_dir: &Path,
    work: impl FnOnce(&mut T),
    problems: &mut Option<Problem>,
) -> io::Result<T> {
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    let folder = File::open(state_dir)?;
    flock(&folder, FlockOperation::LockExclusive)?;
    let before = read::<T>(state_dir, Aside::Move).unwrap_or_else(|problem| {
        *problems = Some(problem);
        T::default()
    });
    let mut after = before.clone();
    work(&mut after);
    if after != before {
        file::keep(&path::<T>(state_dir), &after)?;
    }
    Ok(after)
}

/// [`change`] for a command that is nothing without it.
pub(super) fn must_change<T: Kept>(state_dir: &Path, work: impl FnOnce(&mut T)) -> Result<(), Problem> {
    let mut problems = None;
    change(state_dir, work, &mut problems).map_err(|error| {
        Problem::critical(
            format!("{error}: cannot write `{}`", path::<T>(state_dir).display()),
            "is this root?",
        )
    })?;
    problems.map_or(Ok(()), Err)
}
