//! The way of the Python program that `backup` follows: one host after
//! another, and for each one ssh that runs its hooks and prints its excludes,
//! then an rsync with another ssh.
//!
//! A process of this program stands in for the Python, which was slower.

use super::rsync::{Floor, Trees};
use super::{Contender, Scene};
use crate::measure::{Order, program};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;

/// How this program is told to copy in this way.
pub const WORD: &str = "internal-ancestor";

/// What runs on a host. The bench's hosts have neither hooks nor excludes.
const REMOTE: &str = "test ! -d \"$HOME/backup-scripts\" || run-parts \"$HOME/backup-scripts\" >&2; \
                      test ! -e \"$HOME/backup-exclude.conf\" || cat \"$HOME/backup-exclude.conf\"";

/// What is to be run for a host.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    ssh: Vec<OsString>,
    excludes: PathBuf,
    rsync: Vec<OsString>,
}

/// The ancestor's way.
pub struct Ancestor {
    scene: Scene,
    floor: Floor,
    trees: Trees,
}

impl Ancestor {
    /// Over these hosts.
    pub fn new(scene: Scene, floor: Floor) -> Self {
        let trees = Trees::new(&scene.dir);
        Ancestor { scene, floor, trees }
    }
}

impl Contender for Ancestor {
    fn begin(&mut self) -> Result<()> {
        self.scene.empty()?;
        self.trees.begin(&self.scene.targets)
    }

    fn order(&self) -> Result<Order> {
        let steps = self.scene.targets.iter().map(|target| {
            let mut ssh: Vec<OsString> = self.scene.ssh_options().into_iter().map(Into::into).collect();
            ssh.extend([format!("root@{}", target.address).into(), REMOTE.into()]);
            let excludes = self.scene.dir.join("excludes");
            let mut exclude_from = OsString::from("--exclude-from=");
            exclude_from.push(&excludes);
            let mut rsync: Vec<OsString> = self.floor.arguments().collect();
            rsync.push(exclude_from);
            rsync.extend(self.trees.arguments(&self.scene, target));
            Step { ssh, excludes, rsync }
        });
        let list = self.scene.dir.join("list");
        fs::write(&list, serde_json::to_vec(&steps.collect::<Vec<_>>())?)?;
        let line = vec![std::env::current_exe()?.into(), WORD.into(), list.into()];
        Ok(self.scene.order(line))
    }

    fn settle(&mut self, _started: f64) -> Result<Option<f64>> {
        self.trees.settle(&self.scene.targets)?;
        Ok(None)
    }

    fn clear(&mut self) -> Result<()> {
        super::remove(&self.scene.dir)
    }
}

/// Copies one host after another, as a list says.
pub fn main(mut words: impl Iterator<Item = OsString>) -> Result<()> {
    let list = words.next().context("the list is missing")?;
    let steps: Vec<Step> = serde_json::from_slice(&fs::read(PathBuf::from(list))?)?;
    for step in steps {
        let mut ssh = program("ssh");
        let status =
            ssh.args(step.ssh).stdin(Stdio::null()).stdout(File::create(&step.excludes)?).status()?;
        ensure!(status.success(), "ssh failed ({status})");
        let status = program("rsync").args(step.rsync).stdin(Stdio::null()).status()?;
        ensure!(status.success(), "rsync failed ({status})");
    }
    Ok(())
}
