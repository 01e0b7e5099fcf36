//! rsync where the kernel lets it write to one directory alone, whatever becomes
//! a symlink in there (docs/decisions/0028-a-restoration-is-confined.md).

use crate::sys::process::{Failure, Program, locate};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const SCRIPT: &str = include_str!("confined.sh");

/// That rsync can be confined to a directory, and to which: who holds it open
/// sees to it that no other has its device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    device: u64,
    inode: u64,
}

impl Confinement {
    /// Tries whether rsync can be confined to this directory, to read this one.
    pub async fn tried(to: &Path, facts: &Metadata, from: &Path) -> Result<Self, Failure> {
        let confinement = Confinement { device: facts.dev(), inode: facts.ino() };
        confinement.rsync(to, &[from])?.arg("--version").run().await?;
        Ok(confinement)
    }

    /// rsync, to read these directories and write below this one.
    pub(super) fn rsync(self, to: &Path, reads: &[&Path]) -> Result<Program, Failure> {
        let rsync = locate("rsync").ok_or_else(|| Failure::NotInstalled("rsync".to_owned()))?;
        // As `pwd` says it.
        let plain = |path: &Path| path.components().collect::<PathBuf>();
        // Mounts that the machine takes away go from here as well: a snapshot that
        // ends meanwhile is not kept busy.
        Ok(Program::new("unshare")
            .args(["--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child"])
            .args(["--", "sh", "-c", SCRIPT, "confined"])
            .arg(plain(to))
            .arg(format!("{}:{}", self.device, self.inode))
            .arg(rsync)
            .args(reads.iter().map(|path| plain(path)))
            .arg("--")
            .called("rsync, confined"))
    }
}
