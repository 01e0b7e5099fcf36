//! `backup restore`: files of a snapshot, given back: the plan is shown and agreed
//! to, and what became of it is said.

use super::output::{Format, Output};
use super::progress::Bars;
use super::session::{self, Common};
use super::signals::Signals;
use crate::app::restore::{Existing, Replaces, Restoration, RestoreComparison, RestoreRequest, RestoreTo};
use crate::app::restore::{StopSwitch, Unequal};
use crate::app::snapshot_view::rfc3339;
use crate::core::format::text::{counted, counted_as, human_bytes, printable};
use crate::sys::clock::Clock;
use crate::sys::logging;
use anyhow::{Context, bail};
use serde::Serialize;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use tracing::{error, info, warn};

const HELP: &str = "\
Each PATH keeps its place below DIR: /etc/fstab is restored to DIR/etc/fstab. Directories are
restored with their contents; owners, times, access control lists, extended attributes and hard
links are preserved.

Existing files are left alone unless --overwrite is given. So are existing directories, except for
the time of those that something is written into; DIR itself gets the owner and mode of the host's
root if it is empty and PATH is `/`. With --to-host, existing directories at or below a PATH get the
owner, mode and time that they have in the snapshot. Nothing is ever deleted. At the end everything
is compared with the snapshot. To continue an interrupted restore, run the same command again.

With --to, nothing outside DIR is ever written, even if other users create symlinks there at that
moment: rsync runs where only DIR is writable. This needs root, and a machine that allows it to
mount. Otherwise, as in most containers, DIR must be closed to other users (mode 0700) or be below a
directory that is. A DIR that other users may write to is refused without --into-shared.

With --to-host, no symlink is followed that exists when you are asked or right before rsync writes.
A user of that host who creates one while rsync writes may redirect it elsewhere on that host:
restore into the directories of such users with --to, or while they are locked out. The same holds
for --to /.

Examples:
  backup restore vpn /etc/fstab --to /tmp/vpn
      Restore from the newest good snapshot into a directory on this server.
  backup restore vpn /srv/www /etc/nginx --at 'yesterday 14:30' --to /tmp/vpn --dry-run
      Show what would be written, and from which snapshot.
  backup restore vpn /etc/nginx --to-host --overwrite --keep-replaced
      Restore to the original place, over the connection that backups use.

JSON: {host, snapshot, time, verdict, to, paths, dry_run, files, directories, bytes, existing,
alike, identical, left, different, differences}; `existing` counts files that were there already,
`alike` those of them that seem equal to the snapshot; `identical` is null if nothing was written.

Exit status: 0 if everything is there and equal to the snapshot, 1 if something is not, 2 if the
restore could not start.";

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, group = clap::ArgGroup::new("destination").required(true))]
pub(super) struct Arguments {
    /// A host that the store has copies of, in any case; also one that has left
    /// the inventory.
    #[arg(value_name = "HOST")]
    host: String,
    /// Paths to restore, from the host's root.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<OsString>,
    /// Restore from the newest good snapshot at that time, such as 'yesterday',
    /// '2 days ago' or '2026-11-20 14:30'.
    #[arg(long, value_name = "TIME", conflicts_with = "snapshot")]
    at: Option<String>,
    /// Restore from this snapshot: its name, `latest` (the newest good one, and the
    /// default), or a time such as 'yesterday'.
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Restore below this directory on this server, which must exist.
    #[arg(long, value_name = "DIR", group = "destination")]
    to: Option<PathBuf>,
    /// Restore to the host itself, or to another one.
    #[arg(long, value_name = "HOST", num_args = 0..=1, group = "destination")]
    to_host: Option<Option<String>>,
    /// Replace existing files.
    #[arg(long)]
    overwrite: bool,
    /// Keep replaced files in a directory `.before-restore-TIME` at the top of
    /// the destination, each at its path.
    #[arg(long, requires = "overwrite")]
    keep_replaced: bool,
    /// Show what would be written, and write nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Allow a DIR that other users may write to.
    #[arg(long)]
    into_shared: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

impl Arguments {
    fn request(&self) -> RestoreRequest<'_> {
        RestoreRequest {
            config: self.common.config(),
            host: &self.host,
            paths: &self.paths,
            at: self.at.as_deref(),
            snapshot: self.snapshot.as_deref(),
            to: match &self.to {
                Some(directory) => RestoreTo::Directory(directory),
                None => RestoreTo::Host(self.to_host.as_ref().and_then(Option::as_deref)),
            },
            replaces: match (self.overwrite, self.keep_replaced) {
                (false, _) => Replaces::Nothing,
                (true, false) => Replaces::Files,
                (true, true) => Replaces::FilesAndKeepsThem,
            },
            into_shared: self.into_shared,
            writes: !self.dry_run,
        }
    }
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    let bars = Bars::new(!arguments.common.quiet);
    session::run(&arguments.common, &bars, async || {
        let stop = StopSwitch::default();
        stop_on(Signals::listen()?, stop.clone());
        restore(arguments, clock, &bars, &stop).await
    })
}

/// The first signal ends the restoration in order, the second at once.
fn stop_on(mut signals: Signals, stop: StopSwitch) {
    tokio::task::spawn_local(async move {
        loop {
            signals.next().await;
            if stop.token.is_cancelled() {
                error!("told to stop twice: ending at once");
                std::process::exit(1);
            }
            stop.now();
        }
    });
}

async fn restore(arguments: &Arguments, clock: Clock, bars: &Bars, stop: &StopSwitch) -> anyhow::Result<u8> {
    let mut restoration = Restoration::planned(&arguments.request(), clock, stop).await?;
    let mut answer = Answer::new(&restoration);
    let lines = told(&answer, &restoration);
    if arguments.dry_run {
        answer.dry_run = true;
        answer.give(arguments, &lines)?;
        return Ok(0);
    }
    if !arguments.yes {
        if !agreed(&lines, stop).await? {
            warn!("nothing was written");
            return Ok(1);
        }
    } else if !arguments.common.quiet {
        lines.iter().for_each(|line| logging::print(line));
    }
    let host = restoration.host.clone();
    bars.at(&host, "restoring");
    let written = restoration.write(|files, bytes| bars.moved(&host, files, bytes), stop).await;
    if !written.inspect_err(|_| bars.done(&host))? {
        bars.done(&host);
        return Ok(1);
    }
    bars.at(&host, "comparing");
    let compared = restoration.compare(stop).await;
    bars.done(&host);
    let compared = match compared {
        Ok(compared) => compared,
        Err(error) => {
            error!("what was written could not be compared with the snapshot: {error:#}");
            return Ok(1);
        }
    };
    say(&compared, &answer.to);
    answer.compared(compared);
    if arguments.format.json {
        answer.give(arguments, &lines)?;
    }
    Ok(u8::from(answer.identical != Some(true)))
}

/// The plan, for people.
fn told(answer: &Answer, restoration: &Restoration) -> Vec<String> {
    let Answer { host, snapshot, verdict, to, files, directories, bytes, existing, alike, .. } = answer;
    let time = restoration.snapshot.time.with_timezone(&restoration.zone).format("%Y-%m-%d %H:%M %Z");
    let verdict = verdict.as_deref().unwrap_or("nobody's verdict");
    let mut lines = vec![format!("From `{}` of {host}, taken {time} ({verdict}):", printable(snapshot))];
    lines.extend(answer.paths.iter().map(|path| format!("  {}", printable(path))));
    lines.push(format!(
        "To {to}: {}, {}, {}",
        counted(*files, "file"),
        counted_as(*directories, "directory", "directories"),
        human_bytes(*bytes)
    ));
    if *existing > 0 {
        let fate = match restoration.existing() {
            Existing::Leave => "left alone (`--overwrite` replaces what differs)".to_owned(),
            Existing::Replace => "replaced where they differ".to_owned(),
            Existing::Keep(name) => format!("replaced where they differ, and kept below `{name}` in {to}"),
        };
        let alike =
            if *alike > 0 { format!(" ({alike} of them seem to be the same)") } else { String::new() };
        lines.push(format!(
            "  {} already there{alike}: {fate}",
            counted_as(*existing, "file is", "files are")
        ));
    }
    lines
}

/// Shows the plan and asks.
async fn agreed(lines: &[String], stop: &StopSwitch) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("not a terminal: use `--yes`, or look first with `--dry-run`");
    }
    lines.iter().for_each(|line| logging::print(line));
    let asked = tokio::task::spawn_blocking(|| {
        let mut stderr = std::io::stderr().lock();
        write!(stderr, "Restore? [y/N] ")?;
        stderr.flush()?;
        drop(stderr);
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        Ok::<_, std::io::Error>(line)
    });
    let line = tokio::select! {
        line = asked => line.context("the question broke off")?.context("cannot read the answer")?,
        () = stop.token.cancelled() => return Ok(false),
    };
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Says how what was written compares with the snapshot.
fn say(compared: &RestoreComparison, to: &str) {
    let what = format!("{}, {}", counted(compared.files, "file"), human_bytes(compared.bytes));
    if compared.is_identical() {
        info!("{what} restored to {to}, identical with the snapshot");
        return;
    }
    for Unequal { path, state, differs } in &compared.first {
        let what = match *state {
            "left" => "was there already and was left alone",
            "missing" => "is missing",
            "symlink" => {
                "has become a symlink while it was written: what belongs there may be where that leads (find out \
                 who made it)"
            }
            _ => "is not as in the snapshot",
        };
        let differs =
            if differs.is_empty() { String::new() } else { format!(" (differs: {})", differs.join(", ")) };
        warn!("{} {what}{differs}", printable(path));
    }
    let (left, wrong, unread) = (compared.left, compared.wrong, compared.unread);
    let parts = [
        (left, "left alone and not as in the snapshot (`--overwrite` replaces them)"),
        (wrong, "missing or not as in the snapshot"),
        (unread, "not to be read"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    error!("of {what}, restored to {to}: {}", parts.join("; "));
}

/// The JSON answer. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Answer {
    /// The host, in lower case.
    host: String,
    /// The snapshot.
    snapshot: String,
    /// When it was taken, RFC 3339 in UTC.
    time: String,
    /// What it is worth; null if it is nobody's.
    verdict: Option<String>,
    /// The directory, or `HOST:DIRECTORY`.
    to: String,
    /// What was wanted, from the host's root.
    paths: Vec<String>,
    /// Whether nothing was to be written.
    dry_run: bool,
    /// Everything that is no directory.
    files: u64,
    /// Directories.
    directories: u64,
    /// Bytes in files, each once.
    bytes: u64,
    /// Files that were there already.
    existing: u64,
    /// Those of them that seemed to be as in the snapshot: by size and time.
    alike: u64,
    /// Whether all of it is as in the snapshot; null if nothing was written.
    identical: Option<bool>,
    /// What is not, because it was there already.
    left: u64,
    /// What is not for other reasons.
    different: u64,
    /// The first of both.
    differences: Vec<Unequal>,
}

impl Answer {
    fn new(restoration: &Restoration) -> Self {
        let Restoration { host, snapshot, amount, .. } = restoration;
        Answer {
            host: host.key().to_owned(),
            snapshot: snapshot.name.clone(),
            time: rfc3339(snapshot.time),
            verdict: snapshot.verdict().map(|verdict| verdict.to_string()),
            to: restoration.to(),
            paths: restoration.paths(),
            dry_run: false,
            files: amount.files,
            directories: amount.directories,
            bytes: amount.bytes,
            existing: amount.existing,
            alike: amount.alike,
            identical: None,
            left: 0,
            different: 0,
            differences: Vec::new(),
        }
    }

    fn compared(&mut self, compared: RestoreComparison) {
        self.identical = Some(compared.is_identical());
        (self.left, self.different) = (compared.left, compared.wrong + compared.unread);
        self.differences = compared.first;
    }

    fn give(&self, arguments: &Arguments, lines: &[String]) -> anyhow::Result<()> {
        let mut output = Output::new();
        if arguments.format.json {
            output.json(self)?;
        } else {
            lines.iter().try_for_each(|line| output.line(line))?;
        }
        output.end()
    }
}
