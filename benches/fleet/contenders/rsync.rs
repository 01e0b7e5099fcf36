//! Bare rsync under `xargs -P`: the floor.
//!
//! Its arguments are not written down here a second time: a run of `backup`
//! finds this program under rsync's name, which notes the arguments and the
//! filter rules and becomes rsync. Only the connection, the source, the new
//! tree and the tree that unchanged files are shared with are others.

use super::ours::Ours;
use super::{Contender, Scene, Target};
use crate::measure::{Order, program};
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

const MERGE: &[u8] = b"--filter=merge ";

/// rsync's arguments, but for those that differ from host to host.
#[derive(Debug, Clone, Default)]
pub struct Floor(Vec<OsString>);

impl Floor {
    /// The arguments.
    pub fn arguments(&self) -> impl Iterator<Item = OsString> {
        self.0.clone().into_iter()
    }
}

/// Runs `backup` twice over a small host and notes rsync's arguments.
pub fn record(mut ours: Ours) -> Result<Floor> {
    // Not below the copies, which go with each row.
    let dir = ours.scene().runtime.join("recorder");
    fs::create_dir_all(&dir)?;
    symlink(std::env::current_exe()?, dir.join("rsync"))?;
    ours.begin()?;
    for _ in 0..2 {
        ours.run_with_path(&dir)?;
        ours.settle(0.0)?;
    }
    ours.clear()?;
    let recorded =
        fs::read(dir.join("arguments")).context("backup did not start the recorder as its rsync")?;
    let mut arguments: Vec<OsString> = recorded
        .split(|byte| *byte == 0)
        .filter(|argument| !argument.is_empty())
        .map(|argument| OsString::from_vec(argument.to_vec()))
        .collect();
    // `--`, the source and the new tree.
    let Some(rest) = arguments.len().checked_sub(3) else { bail!("rsync had no arguments") };
    arguments.truncate(rest);
    arguments.retain(|argument| {
        let own = [&b"--link-dest="[..], b"--rsh=", b"--max-delete="];
        !own.iter().any(|prefix| argument.as_bytes().starts_with(prefix))
    });
    for argument in &mut arguments {
        if argument.as_bytes().starts_with(MERGE) {
            let mut merge = OsString::from_vec(MERGE.to_vec());
            merge.push(dir.join("rules"));
            *argument = merge;
        }
    }
    Ok(Floor(arguments))
}

/// What this program does under the name of rsync: notes what it is told, and
/// becomes the next rsync on the `PATH`.
pub fn recorder() -> Result<()> {
    let ourselves = std::env::current_exe()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all: Vec<PathBuf> = std::env::split_paths(&path).map(|dir| dir.join("rsync")).collect();
    let is_ours = |file: &&PathBuf| file.canonicalize().is_ok_and(|file| file == ourselves);
    let named = PathBuf::from(std::env::args_os().next().unwrap_or_default());
    let link = Some(&named).filter(|name| name.is_absolute()).or_else(|| all.iter().find(is_ours));
    let dir = link.and_then(|link| link.parent()).context("the recorder does not know where it is")?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut noted = Vec::new();
    for argument in &arguments {
        noted.extend_from_slice(argument.as_bytes());
        noted.push(0);
        if let Some(rules) = argument.as_bytes().strip_prefix(MERGE) {
            fs::copy(OsStr::from_bytes(rules), dir.join("rules"))?;
        }
    }
    fs::write(dir.join("arguments"), noted)?;
    let real = all.iter().find(|file| file.is_file() && !is_ours(file)).context("there is no rsync")?;
    Err(program(real).args(arguments).exec().into())
}

/// rsync under `xargs`.
pub struct Rsync {
    scene: Scene,
    floor: Floor,
    trees: Trees,
}

impl Rsync {
    /// Over these hosts.
    pub fn new(scene: Scene, floor: Floor) -> Self {
        let trees = Trees::new(&scene.dir);
        Rsync { scene, floor, trees }
    }
}

impl Contender for Rsync {
    fn begin(&mut self) -> Result<()> {
        self.scene.empty()?;
        self.trees.begin(&self.scene.targets)
    }

    fn order(&self) -> Result<Order> {
        let mut list = Vec::new();
        let mut words = 0;
        for target in &self.scene.targets {
            let arguments = self.trees.arguments(&self.scene, target);
            words = arguments.len();
            for argument in arguments {
                list.extend_from_slice(argument.as_bytes());
                list.push(0);
            }
        }
        let file = self.scene.dir.join("list");
        fs::write(&file, list)?;
        let bandwidth = self.scene.bandwidth.filter(|_| self.trees.round > 0);
        let bandwidth = bandwidth.map(|limit| OsString::from(format!("--bwlimit={limit}")));
        let line = std::iter::once("rsync".into()).chain(bandwidth).chain(self.floor.arguments());
        Ok(self.scene.under_xargs(&file, words, line))
    }

    fn settle(&mut self, _started: f64) -> Result<Option<f64>> {
        self.trees.settle(&self.scene.targets)?;
        Ok(None)
    }

    fn clear(&mut self) -> Result<()> {
        super::remove(&self.scene.dir)
    }
}

/// New trees beside the former ones, where rsync has to be told of both. They
/// are as deep below the root as those of the directory store: for each file
/// rsync opens every folder on the way to its `--link-dest` in turn.
pub struct Trees {
    dir: PathBuf,
    round: u32,
}

impl Trees {
    /// Below a contender's folder.
    pub fn new(dir: &Path) -> Self {
        Trees { dir: dir.join("store"), round: 0 }
    }

    fn new_tree(&self, target: &Target) -> PathBuf {
        self.dir.join(&target.name).join(".incomplete")
    }

    fn former(&self, target: &Target) -> PathBuf {
        self.dir.join(&target.name).join("snapshots").join("backup-now")
    }

    /// Makes a folder for each host.
    pub fn begin(&mut self, targets: &[Target]) -> Result<()> {
        self.round = 0;
        for target in targets {
            fs::create_dir_all(self.new_tree(target))?;
            fs::create_dir_all(self.dir.join(&target.name).join("snapshots"))?;
        }
        Ok(())
    }

    /// The arguments of rsync that are a host's own.
    pub fn arguments(&self, scene: &Scene, target: &Target) -> Vec<OsString> {
        let mut arguments = vec![OsString::from(format!("--rsh=ssh {}", scene.ssh_options().join(" ")))];
        if self.round > 0 {
            let mut former = OsString::from("--link-dest=");
            former.push(self.former(target));
            arguments.push(former);
        }
        let mut tree = self.new_tree(target).into_os_string();
        tree.push("/");
        let source = format!("root@{}:{}/", target.address, target.source.display());
        arguments.extend(["--".into(), source.into(), tree]);
        arguments
    }

    /// Makes the new trees the former ones.
    pub fn settle(&mut self, targets: &[Target]) -> Result<()> {
        for target in targets {
            let (new, former) = (self.new_tree(target), self.former(target));
            if self.round > 0 {
                fs::rename(&former, former.with_file_name(format!("backup-{}", self.round)))?;
            }
            fs::rename(&new, &former)?;
            fs::create_dir(&new)?;
        }
        self.round += 1;
        Ok(())
    }
}
