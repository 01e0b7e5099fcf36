//! The machine's ZFS: its programs, run, and what their failures mean.

use super::super::StoreError;
use crate::core::format::text::last_lines;
use crate::sys::process::{Failure, Output, Program};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The parts of this machine that the store talks to.
#[derive(Debug, Clone)]
pub struct System {
    /// `zfs(8)`: a name to look for, or a path. Only where it is `zfs` may
    /// libzfs_core, which knows this machine's kernel alone, take its place
    /// (feature `libzetta`).
    pub zfs: PathBuf,
    /// `zpool(8)`: a name to look for, or a path.
    pub zpool: PathBuf,
    /// The kernel's list of mounts.
    pub mountinfo: PathBuf,
    /// The folder with a folder a pool, in which `state` is its state.
    pub kstat: PathBuf,
    /// How long a listing may take.
    pub list_deadline: Duration,
    /// How long a change may take.
    pub change_deadline: Duration,
}

impl Default for System {
    fn default() -> Self {
        System {
            zfs: "zfs".into(),
            zpool: "zpool".into(),
            mountinfo: "/proc/self/mountinfo".into(),
            kstat: "/proc/spl/kstat/zfs".into(),
            list_deadline: Duration::from_secs(5 * 60),
            change_deadline: Duration::from_secs(10 * 60),
        }
    }
}

impl System {
    /// Lists something of `dataset`; what the program says beside it is not
    /// lost.
    pub(super) async fn list(
        &self,
        program: &Path,
        what: &str,
        dataset: &str,
        args: &[&str],
    ) -> Result<String, StoreError> {
        let run = Program::new(program).args(args).deadline(self.list_deadline).run();
        let output =
            run.await.map_err(|failure| explained(&format!("cannot read {what}"), dataset, &failure))?;
        for line in last_lines(&output.stderr, 3) {
            tracing::warn!("while reading {what}: {line}");
        }
        // Only a value that somebody set can be anything but ASCII.
        Ok(String::from_utf8(output.stdout)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Lists something with `zfs`, whose failure may be an answer.
    pub(super) async fn read(&self, args: &[&str]) -> Result<String, Failure> {
        let output = Program::new(&self.zfs).args(args).deadline(self.list_deadline).run().await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Changes something.
    pub(super) async fn change<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Output, Failure> {
        Program::new(&self.zfs).args(args).deadline(self.change_deadline).run().await
    }
}

/// A program's failure with what helps against it. `dataset` is the store's.
pub(super) fn explained(doing: &str, dataset: &str, failure: &Failure) -> StoreError {
    let error = StoreError::new(format!("{doing}: {failure}"));
    let said = String::from_utf8_lossy(failure.stderr());
    let pool = pool_of(dataset);
    if matches!(failure, Failure::NotInstalled(_)) {
        error.hint("install `zfsutils-linux`, or use `[store.directory]`")
    } else if said.contains("no such pool") {
        error.hint(format!("zpool import {pool}"))
    } else if said.contains("dataset does not exist") {
        error.hint(format!("zfs create {dataset}"))
    } else if said.contains("I/O is currently suspended") {
        error.hint(format!("zpool status {pool}"))
    } else if said.contains("ermission denied") {
        error.hint("run backup as root")
    } else if said.contains("/dev/zfs") || said.contains("modprobe") {
        error.hint("modprobe zfs")
    } else {
        error
    }
}

/// The pool that a dataset is in.
pub(super) fn pool_of(dataset: &str) -> &str {
    dataset.split('/').next().unwrap_or_default()
}

/// Whether `zfs destroy` failed because there was nothing to destroy.
pub(super) fn is_gone(failure: &Failure) -> bool {
    let said = String::from_utf8_lossy(failure.stderr());
    said.contains("could not find any snapshots to destroy") || is_missing(failure)
}

/// Whether a program failed because what it was to work on is not there.
pub(super) fn is_missing(failure: &Failure) -> bool {
    String::from_utf8_lossy(failure.stderr()).contains("dataset does not exist")
}

/// Why a snapshot stays, in ZFS's own words where it has some.
pub(super) fn reason(failure: &Failure) -> String {
    let said = last_lines(failure.stderr(), 2).join(" / ");
    if said.is_empty() {
        failure.to_string()
    } else if said.contains("dataset is busy") {
        format!("{said}: it is held or in use")
    } else {
        said
    }
}
