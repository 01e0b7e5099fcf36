//! rsnapshot, with a configuration for each host, because one run of it copies
//! one host after another; as many runs at once as `backup` has jobs. It runs
//! no hooks here, and reads no host's own excludes.

use super::rsync::Floor;
use super::{Contender, Scene};
use crate::measure::Order;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// How many snapshots it keeps: more than there are runs.
const KEPT: u32 = 60;

/// rsnapshot.
pub struct Rsnapshot {
    scene: Scene,
    floor: Floor,
}

impl Rsnapshot {
    /// Over these hosts.
    pub fn new(scene: Scene, floor: Floor) -> Self {
        Rsnapshot { scene, floor }
    }
}

impl Contender for Rsnapshot {
    fn begin(&mut self) -> Result<()> {
        self.scene.empty()?;
        // It splits arguments at white space, for which rsync takes a `_` in
        // rules; so one argument of them has to lose its blanks.
        let mut arguments = Vec::new();
        for argument in self.floor.arguments() {
            let text = argument.to_str().context("an argument of rsync is no text")?;
            arguments.push(match text.strip_prefix("--filter=").and_then(|rule| rule.split_once(' ')) {
                Some((rule, pattern)) => format!("--filter={rule}_{pattern}"),
                None => text.to_owned(),
            });
        }
        let (short, long): (Vec<String>, Vec<String>) =
            arguments.into_iter().partition(|argument| !argument.starts_with("--"));
        let mut list = Vec::new();
        for target in &self.scene.targets {
            let place = self.scene.dir.join(&target.name);
            fs::create_dir(&place)?;
            let config = place.join("rsnapshot.conf");
            let lines = [
                "config_version\t1.2".to_owned(),
                format!("snapshot_root\t{}/snapshots/", place.display()),
                "cmd_rsync\t/usr/bin/rsync".to_owned(),
                "cmd_ssh\t/usr/bin/ssh".to_owned(),
                "cmd_rm\t/bin/rm".to_owned(),
                format!("ssh_args\t{}", self.scene.ssh_options().join(" ")),
                format!("rsync_short_args\t{}", short.first().map_or("-a", String::as_str)),
                format!(
                    "rsync_long_args\t{} {}",
                    short.get(1..).unwrap_or_default().join(" "),
                    long.join(" ")
                ),
                "link_dest\t1".to_owned(),
                "verbose\t1".to_owned(),
                "loglevel\t1".to_owned(),
                format!("lockfile\t{}/lock", place.display()),
                format!("retain\tnight\t{KEPT}"),
                // As its manual has it, the copy is in a folder of the host's name.
                format!("backup\troot@{}:{}/\t{}/", target.address, target.source.display(), target.name),
            ];
            fs::write(&config, lines.join("\n") + "\n")?;
            for word in ["-c".as_bytes(), config.as_os_str().as_bytes(), b"night"] {
                list.extend_from_slice(word);
                list.push(0);
            }
        }
        fs::write(self.scene.dir.join("list"), list)?;
        Ok(())
    }

    fn order(&self) -> Result<Order> {
        Ok(self.scene.under_xargs(&self.scene.dir.join("list"), 3, ["rsnapshot".into()]))
    }

    fn settle(&mut self, _started: f64) -> Result<Option<f64>> {
        for target in &self.scene.targets {
            let copy = self.scene.dir.join(&target.name).join("snapshots/night.0").join(&target.name);
            anyhow::ensure!(copy.is_dir(), "rsnapshot made no copy of {}", target.name);
        }
        Ok(None)
    }

    fn clear(&mut self) -> Result<()> {
        super::remove(&self.scene.dir)
    }
}
