//! `backup find`: which snapshots have which version of a file.

use super::output::{Array, Format, Output, width};
use super::session::{self, Common};
use crate::app::find::{FindRequest, Found, OpenSearch, Searched, SnapshotSearch};
use crate::app::snapshot_view::{self, Seen, lossy, rfc3339, shown};
use crate::core::files::entry::{Kind, Moment};
use crate::core::files::versions::{Sum, Version};
use crate::core::format::text::{counted, printable};
use crate::sys::clock::Clock;
use anyhow::Context;
use serde::Serialize;
use std::ffi::OsString;
use tracing::{info, warn};

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each version of each file that PATTERN matches is listed once: its size, its time of
modification, and the oldest and the newest snapshot that has it. All snapshots are searched,
including partial and suspect ones and those that `backup` did not take. Contents are not read:
files of equal size and time are the same version. All of a directory is one version.

PATTERN:
  named.conf         files of this name in any directory
  'named.*'          with wildcards: * any characters, ? any one, [abc] one of these
  'bind/*.conf'      the end of a path
  '/etc/**/*.conf'   a whole path from the host's root; ** is any number of directories
  '/etc/ssh/'        with / at its end: only directories
If a pattern begins with a directory, only that directory is read.

Examples:
  backup find vpn named.conf
  backup find vpn '/home/*/.ssh/authorized_keys' --hash
  backup find vpn -i '*.DOC' --json | jq -r '.[].path'
To restore one of the versions found:
  backup restore vpn /etc/bind/named.conf --snapshot backup-2026-11-20T020005Z --to /tmp/old

Exit status: 0 if something was found, 1 if nothing was found or something could not be
read, 2 if the search could not start.")]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    format: Format,
    /// The host.
    #[arg(value_name = "HOST")]
    host: String,
    /// A file name or path to look for, with wildcards.
    #[arg(value_name = "PATTERN")]
    pattern: OsString,
    /// Ignore case.
    #[arg(short, long)]
    ignore_case: bool,
    /// Read the files and tell versions apart by content (SHA-256), not by size
    /// and time.
    #[arg(long)]
    hash: bool,
    /// Search only this snapshot: its name, `latest`, or a time such as
    /// 'yesterday'. May be given more than once.
    #[arg(long = "snapshot", value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    session::look(&arguments.common, async || find(arguments, clock).await)
}

async fn find(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let request = FindRequest {
        config: arguments.common.config(),
        host: &arguments.host,
        pattern: &arguments.pattern,
        ignore_case: arguments.ignore_case,
        hash: arguments.hash,
        snapshots: &arguments.snapshots,
    };
    let search = SnapshotSearch::new(&request, clock).await?;
    let query = Query { typed: arguments.pattern.clone(), json: arguments.format.json };
    tokio::task::spawn_blocking(move || query.answer(&search.open()?))
        .await
        .context("the search broke off")?
}

/// What was typed, and how it is answered.
struct Query {
    typed: OsString,
    json: bool,
}

impl Query {
    /// Searches, tells, and gives the exit code.
    fn answer(&self, open: &OpenSearch) -> anyhow::Result<u8> {
        let teller = Teller { open };
        let mut output = Output::new();
        let mut example = None;
        let mut keep = |found: &Found| {
            if example.is_none() {
                example = found.versions.first().map(|newest| (found.path.clone(), newest.last));
            }
        };
        let searched = if self.json {
            let mut array = Array::default();
            let searched = open.run(|found| {
                keep(&found);
                array.element(&mut output, &teller.json(&found))
            })?;
            array.end(&mut output)?;
            output.line("")?;
            searched
        } else {
            let mut text = Text { grouped: width().is_some(), begun: false };
            open.run(|found| {
                keep(&found);
                text.tell(&mut output, &teller, &found)
            })?
        };
        output.end()?;
        let snapshots = &open.search.snapshots;
        for tree in &searched.gone {
            warn!(
                "the snapshot `{}` was removed while it was read: what it had is shown only in part",
                printable(&snapshots[*tree].name)
            );
        }
        match example {
            Some((path, newest)) => say_found(open, &searched, &path, newest),
            None => self.say_nothing(open, &searched),
        }
        let whole = !open.lost && searched.gone.is_empty() && searched.unread == 0;
        Ok(u8::from(searched.paths == 0 || !whole))
    }

    fn say_nothing(&self, open: &OpenSearch, searched: &Searched) {
        let hint = open.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        warn!(
            "no file of `{}` matches `{}`: searched {} in {}{hint}",
            open.search.host,
            printable(&self.typed.to_string_lossy()),
            counted(searched.entries, "file"),
            counted(open.search.snapshots.len() as u64, "snapshot"),
        );
    }
}

fn say_found(open: &OpenSearch, searched: &Searched, path: &[u8], newest: u32) {
    let path = lossy(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=@:,".contains(c);
    let path = if path.chars().all(plain) { path.as_str() } else { "PATH" };
    let snapshots = &open.search.snapshots;
    info!(
        "{} in {}; to restore one: backup restore {} {path} --snapshot {} --to DIR",
        counted(searched.versions, "version"),
        counted(snapshots.len() as u64, "snapshot"),
        open.search.host,
        printable(&snapshots[newest as usize].name)
    );
}

/// Knows what the numbers of versions mean.
struct Teller<'a> {
    open: &'a OpenSearch,
}

/// A file that was found.
#[derive(Serialize)]
struct FoundJson<'a> {
    /// Its path on the host.
    path: String,
    /// Newest first.
    versions: Vec<VersionJson<'a>>,
}

/// One version of it.
#[derive(Serialize)]
struct VersionJson<'a> {
    /// When the oldest snapshot was taken that has it.
    first: String,
    /// When the newest was.
    last: String,
    first_snapshot: &'a str,
    last_snapshot: &'a str,
    /// How many snapshots have it.
    snapshots: u32,
    kind: Kind,
    /// In bytes; null for what is neither a file nor a symlink.
    size: Option<u64>,
    mtime: Moment,
    /// Where a symlink points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// The SHA-256 of a file's content, with `--hash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    /// Where its newest copy is on this server.
    browse: String,
}

impl Teller<'_> {
    fn snapshot(&self, number: u32) -> &Seen {
        &self.open.search.snapshots[number as usize]
    }

    fn json(&self, found: &Found) -> FoundJson<'_> {
        let version = |version: &Version| {
            let (first, last) = (self.snapshot(version.first), self.snapshot(version.last));
            VersionJson {
                first: rfc3339(first.time),
                last: rfc3339(last.time),
                first_snapshot: &first.name,
                last_snapshot: &last.name,
                snapshots: version.count,
                kind: version.kind,
                size: version.kind.has_size().then_some(version.size),
                mtime: version.mtime,
                target: version.target.as_deref().map(|target| String::from_utf8_lossy(target).into_owned()),
                hash: version.sum.as_deref().map(hex),
                browse: self.open.browse(version.last, &found.path),
            }
        };
        FoundJson { path: lossy(&found.path), versions: found.versions.iter().map(version).collect() }
    }

    /// What stands on a version's line before its path.
    fn columns(&self, version: &Version) -> String {
        let size = if version.kind.has_size() { version.size.to_string() } else { "-".to_owned() };
        format!(
            "{size:>12}  {:19}  {:16}  {:16}  {:25}",
            snapshot_view::modified(version.mtime, self.open.search.zone),
            snapshot_view::taken(self.snapshot(version.first).time, self.open.search.zone),
            snapshot_view::taken(self.snapshot(version.last).time, self.open.search.zone),
            printable(&self.snapshot(version.last).name)
        )
    }
}

fn hex(sum: &Sum) -> String {
    use std::fmt::Write;
    sum.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The answer as text. On a terminal, whose lines are short, a path stands above
/// its versions; in a pipe a version is one line, so that `grep` finds it whole.
struct Text {
    grouped: bool,
    begun: bool,
}

impl Text {
    fn tell(&mut self, output: &mut Output, teller: &Teller<'_>, found: &Found) -> anyhow::Result<()> {
        if !self.begun {
            self.begun = true;
            let head = format!(
                "{:>12}  {:19}  {:16}  {:16}  {:25}",
                "SIZE", "MODIFIED", "FIRST", "LAST", "NEWEST COPY"
            );
            let head = if self.grouped { format!("  {}", head.trim_end()) } else { format!("{head}  PATH") };
            output.line(&head)?;
        }
        let path = |version: &Version| shown(&found.path, Some(version.kind), version.target.as_deref());
        if self.grouped {
            let newest = found.versions.first().map(path).unwrap_or_default();
            output.line(&newest)?;
        }
        for version in &found.versions {
            let columns = teller.columns(version);
            let sum = version.sum.as_deref().map(hex);
            if self.grouped {
                output.line(&format!("  {}", columns.trim_end()))?;
                if let Some(sum) = sum {
                    output.line(&format!("  {:12}  sha256 {sum}", ""))?;
                }
            } else {
                let sum = sum.map(|sum| format!("{sum}  ")).unwrap_or_default();
                output.line(&format!("{columns}  {sum}{}", path(version)))?;
            }
        }
        Ok(())
    }
}
