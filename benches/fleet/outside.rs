//! The command line, and the life of the bench: the folders that it works in
//! and the process namespace that ends everything that it started.

use crate::contenders::BEFORE;
use crate::measure::program;
use crate::render::{DOCUMENT, PICTURES, document};
use crate::rows::{ROWS, Row, row};
use crate::{inside, run};
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How long what was killed may still write into its folder.
const DYING: Duration = Duration::from_secs(20);

/// Measures `backup` beside what an operator would use instead.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench fleet --")]
struct Arguments {
    /// Rows to measure, by name; see --list
    rows: Vec<String>,
    /// Measure every row but the quick ones
    #[arg(long, conflicts_with_all = ["rows", "quick"])]
    all: bool,
    /// With --all: leave out the host of a million files
    #[arg(long, requires = "all")]
    without_million: bool,
    /// Measure the quick rows
    #[arg(long, conflicts_with = "rows")]
    quick: bool,
    /// Write docs/benchmarks.md from all full rows that were ever measured here
    #[arg(long)]
    docs: bool,
    /// Measure `backup` in turn with another one and with rsync alone, and say how
    /// much longer it takes; nothing is kept
    #[arg(long, value_name = "PATH", conflicts_with_all = ["all", "quick", "docs"])]
    before: Option<PathBuf>,
    /// Show the rows
    #[arg(long)]
    list: bool,
    /// What cargo says; means nothing
    #[arg(long, hide = true)]
    bench: bool,
}

/// Does what the command line says; gives the exit code.
pub fn main() -> Result<u8> {
    let arguments = Arguments::parse();
    let rows: Vec<&'static Row> = if arguments.quick {
        ROWS.iter().filter(|row| row.quick).collect()
    } else if arguments.all {
        let million = |row: &Row| arguments.without_million && row.files >= 1_000_000;
        ROWS.iter().filter(|row| !row.quick && !million(row)).collect()
    } else {
        let found = arguments.rows.iter().map(|name| {
            row(name)
                .with_context(|| format!("there is no row `{name}`; `--list` shows those that there are"))
        });
        found.collect::<Result<_>>()?
    };
    if arguments.list || (rows.is_empty() && !arguments.docs) {
        for row in ROWS {
            println!("{:18} {}", row.name, row.title());
        }
        return Ok(0);
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("there is no target folder")?;
    let records = target.join("bench").join("fleet.jsonl");
    let code = if rows.is_empty() { 0 } else { measured(&rows, &records, arguments.before.as_deref())? };
    if code > 1 {
        // Ended before its time: what is known is as it was.
        return Ok(code);
    }
    let known = run::read(&records);
    let quick: Vec<&Row> = ROWS.iter().filter(|row| row.quick).collect();
    let full: Vec<&Row> = ROWS.iter().filter(|row| !row.quick).collect();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let notes = fs::read_to_string(docs.join(PICTURES).join("notes.md")).unwrap_or_default();
    if arguments.docs {
        put(&docs, &document(&known, &full, "make bench", &notes))?;
    }
    if arguments.quick {
        put(&target.join("bench"), &document(&known, &quick, "make bench-quick", ""))?;
    }
    eprintln!("Every single measurement is in {}.", records.display());
    Ok(code)
}

/// Writes documents into a folder.
fn put(folder: &Path, files: &[(String, String)]) -> Result<()> {
    fs::create_dir_all(folder.join(PICTURES))?;
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    eprintln!("{} is written.", folder.join(DOCUMENT).display());
    Ok(())
}

/// Measures rows in folders and a process namespace of their own, which are
/// gone afterwards, whatever happened.
fn measured(rows: &[&Row], records: &Path, before: Option<&Path>) -> Result<u8> {
    ensure!(rustix::process::geteuid().is_root(), "the bench starts sshd and keeps owners: run it as root");
    let folder = |parent: &Path, prefix: &str| -> Result<PathBuf> {
        let dir = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
        Ok(dir.with_context(|| format!("cannot make a folder in {}", parent.display()))?.keep())
    };
    let dir = folder(&std::env::temp_dir(), "backup-bench-")?;
    // Short and without blanks: ssh's control sockets live below it.
    let runtime = folder(Path::new("/tmp"), "bb-")?;
    let ended = inside(&dir, &runtime, records, rows, before);
    let begin = Instant::now();
    for folder in [&dir, &runtime] {
        while folder.exists() && fs::remove_dir_all(folder).is_err() {
            if begin.elapsed() > DYING {
                bail!("cannot remove {}; please do", folder.display());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    ended
}

/// Runs the bench proper, and ends it when this is told to end. Should this
/// be killed, the kernel ends it.
fn inside(dir: &Path, runtime: &Path, records: &Path, rows: &[&Row], before: Option<&Path>) -> Result<u8> {
    let before = before.map(fs::canonicalize).transpose().context("there is no other `backup`")?;
    let mut command = program("setpriv");
    command
        .args([
            "--pdeathsig",
            "KILL",
            "--",
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ])
        .arg(std::env::current_exe()?)
        .arg(inside::WORD)
        .args([dir, runtime, records])
        .args(rows.iter().map(|row| row.name))
        .env(BEFORE, before.unwrap_or_default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut asked: Vec<_> = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
            .into_iter()
            .map(signal)
            .collect::<Result<_, _>>()?;
        let [interrupt, terminate, hangup] = &mut asked[..] else { bail!("three signals are three") };
        let mut child = tokio::process::Command::from(command)
            .stdin(std::process::Stdio::null())
            .spawn()
            .context("cannot start the bench; it needs setpriv and unshare of util-linux")?;
        let code = tokio::select! {
            status = child.wait() => match status?.code() {
                Some(code) => return Ok(u8::try_from(code).unwrap_or(1)),
                None => 1,
            },
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
            _ = hangup.recv() => 129,
        };
        child.kill().await?;
        Ok(code)
    })
}
