//! `backup`, with a directory store.
//!
//! A day keeps one snapshot, and what it does not keep is removed in a run; so
//! that nothing is removed while it is measured, each snapshot is dated back to
//! a day of its own between the measurements.

use super::{Contender, Scene};
use crate::measure::Order;
use crate::rows::CONNECT_TIMEOUT;
use anyhow::{Context, Result, ensure};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// How many days there are to date back to.
const DAYS: i64 = 900;
/// How a snapshot's name tells its time.
const NAME: &str = "backup-%Y-%m-%dT%H%M%SZ";

/// `backup`.
pub struct Ours {
    scene: Scene,
    runs: i64,
    connect_timeout: Option<u32>,
}

impl Ours {
    /// Over these hosts.
    pub fn new(scene: Scene) -> Self {
        Ours { scene, runs: 0, connect_timeout: None }
    }

    /// Over these hosts, of which some are dead.
    pub fn among_dead(scene: Scene) -> Self {
        Ours { scene, runs: 0, connect_timeout: Some(CONNECT_TIMEOUT) }
    }

    /// What it works with.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    fn configuration(&self) -> String {
        let scene = &self.scene;
        let dir = scene.dir.display();
        let connect_timeout =
            self.connect_timeout.map(|limit| format!("connect_timeout = \"{limit}s\"\n")).unwrap_or_default();
        let mut text = format!(
            "server = \"bench\"\njobs = {jobs}\nstate_dir = \"{dir}/state\"\nruntime_dir = \"{runtime}/{name}\"\n\
             [host_defaults]\nport = {port}\n\
             [ssh]\nidentity_file = \"{login}\"\nknown_hosts_file = \"{known}\"\n{connect_timeout}\
             [hooks]\ndirectory = \"{dir}/no-hooks\"\n[excludes]\nremote_file = \"{dir}/no-excludes\"\n\
             [store.directory]\npath = \"{dir}/store\"\nmin_free_percent = 0\n[retention]\ndaily = 1000\n",
            jobs = scene.jobs,
            runtime = scene.runtime.display(),
            name = scene.dir.file_name().unwrap_or_default().to_string_lossy(),
            port = scene.port,
            login = scene.login.display(),
            known = scene.known_hosts.display(),
        );
        // The first copy is as fast as it can be.
        if let Some(bandwidth) = scene.bandwidth.filter(|_| self.runs > 0) {
            text.push_str(&format!("[transfer]\nbandwidth_limit = \"{bandwidth}\"\n"));
        }
        for target in &scene.targets {
            text.push_str(&format!(
                "[hosts.{}]\naddress = \"{}\"\nsource = \"{}\"\n",
                target.name,
                target.address,
                target.source.display()
            ));
        }
        text
    }

    fn configure(&self) -> Result<()> {
        fs::write(self.scene.dir.join("config.toml"), self.configuration())
            .context("cannot write config.toml")
    }

    /// The rsync that a program finds which is started with this `PATH`
    /// before the usual one. For one run, which is not measured.
    pub fn run_with_path(&self, first: &Path) -> Result<()> {
        let order = self.order()?;
        let mut path = OsString::from(first);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let output = crate::measure::program(&order.line[0])
            .args(&order.line[1..])
            .env("PATH", path)
            .stdin(std::process::Stdio::null())
            .output()?;
        ensure!(output.status.success(), "backup failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Contender for Ours {
    fn begin(&mut self) -> Result<()> {
        self.scene.empty()?;
        for folder in ["store", "state", "no-hooks"] {
            fs::create_dir(self.scene.dir.join(folder))?;
        }
        self.runs = 0;
        self.configure()
    }

    fn order(&self) -> Result<Order> {
        let mut line: Vec<OsString> =
            vec![self.scene.backup.clone().into(), "--quiet".into(), "--config".into()];
        line.push(self.scene.dir.join("config.toml").into());
        line.push(match &self.scene.targets[..] {
            [only] => only.name.clone().into(),
            _ => "all".into(),
        });
        // A run with hosts that could not be copied says so with its exit; that
        // all others were copied is looked at afterwards.
        let dead = self.scene.targets.iter().any(|target| !target.alive);
        Ok(Order { good: if dead { &[1, 2] } else { &[] }, ..self.scene.order(line) })
    }

    fn settle(&mut self, started: f64) -> Result<Option<f64>> {
        self.runs += 1;
        let mut copied: f64 = 0.0;
        for target in self.scene.targets.iter().filter(|target| target.alive) {
            let place = self.scene.dir.join("store").join(&target.name);
            let latest = place.join("latest");
            // Written when the copy has become a snapshot.
            let written =
                latest.symlink_metadata().with_context(|| format!("{} was not copied", target.name))?;
            #[expect(clippy::cast_precision_loss, reason = "a microsecond will do")]
            let after = written.mtime() as f64 + written.mtime_nsec() as f64 / 1e9 - started;
            // The kernel's clock for files goes by ticks.
            ensure!(after > -0.02, "{} was not copied in this run", target.name);
            copied = copied.max(after);
            date_back(&place, &latest, DAYS - self.runs)?;
        }
        self.configure()?;
        Ok(Some(copied))
    }

    fn clear(&mut self) -> Result<()> {
        super::remove(&self.scene.dir)
    }
}

/// Gives the newest snapshot of a host a name that is so many days older.
fn date_back(place: &Path, latest: &Path, days: i64) -> Result<()> {
    let newest = fs::read_link(latest)?;
    let name = newest.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let time: DateTime<Utc> = NaiveDateTime::parse_from_str(&name, NAME)
        .with_context(|| format!("`{name}` is no snapshot"))?
        .and_utc();
    let older = (time - TimeDelta::days(days)).format(NAME).to_string();
    let snapshots: PathBuf = place.join("snapshots");
    fs::rename(snapshots.join(&name), snapshots.join(&older))?;
    fs::rename(snapshots.join(format!("{name}.json")), snapshots.join(format!("{older}.json")))?;
    fs::remove_file(latest)?;
    symlink(Path::new("snapshots").join(older), latest)?;
    Ok(())
}
