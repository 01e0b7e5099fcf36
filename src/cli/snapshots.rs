//! `backup snapshots HOST`: a host's copies, and why each of them is kept.

use super::output::{self, Format, Output};
use super::session::{self, Common};
use crate::app::overview::snapshots::{self, SnapshotEntry, SnapshotList};
use crate::app::session::Session;
use crate::core::format::excerpt::Excerpt;
use crate::core::format::table::{Column, Table};
use crate::core::format::text::{human_bytes, printable};
use crate::core::model::clock;
use crate::core::model::snapshot::Verdict;
use crate::core::policy::retention::{Fate, Reason};
use crate::sys::clock::Clock;
use crate::sys::logging;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

const HELP: &str = "\
Examples:
  backup snapshots vpn
      List the snapshots of vpn, oldest first, and why each is kept.
  ls $(backup snapshots vpn --json | jq -r '.[-1].path')/etc
      Look into the newest one.
  backup snapshots vpn --space
      Show also what each one uses alone, even if all trees have to be read.

KEPT FOR says why a rotation at this moment would keep the snapshot: as the
newest good one of a day, week, month or year, because it is held, or because
`backup` did not take it. One that nothing keeps is removed by the next rotation.

JSON: a list of {name, time, verdict, claims, held, ours, bytes_used, files,
path}, and also {bytes, duration_seconds, run, holds, reasons, goes, future}. `time` is
RFC 3339 in UTC; `verdict` is null if `backup` did not take the snapshot;
`bytes_used` is what removing it alone would free, or null if not determined.

Exit status: 0 if the list could be read, 2 if not, or if the store has no copies
of the host.";

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// A host that the store has copies of, in any case; also one that has left
    /// the inventory.
    #[arg(value_name = "HOST")]
    host: String,
    /// Determine the space that each snapshot uses alone, even if every tree of
    /// the host must be read (in a directory store; ZFS always knows).
    #[arg(long)]
    space: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    session::look(&arguments.common, async || answer(arguments, clock).await)
}

async fn answer(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let session = Session::open(arguments.common.config(), clock)?;
    let list = snapshots::list(&session, &arguments.host, arguments.space).await?;
    let rows: Vec<Row> = list.entries.iter().map(row).collect();
    let mut out = Output::new();
    if arguments.format.json {
        out.json(&rows)?;
        out.end()?;
        return Ok(0);
    }
    if !rows.is_empty() {
        out.table(table(&session, &rows, output::width().is_none()))?;
    }
    out.end()?;
    if !arguments.common.quiet {
        logging::print(&footer(&session, &list));
    }
    Ok(0)
}

/// One snapshot in the JSON answer. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Row {
    /// Its name, without the dataset or path.
    name: String,
    /// When it was taken, RFC 3339 in UTC.
    time: String,
    /// What it is worth; null of one that is not ours.
    verdict: Option<Verdict>,
    /// The tiers' claims on it, like `daily 2026-11-20`.
    claims: Vec<String>,
    /// Whether somebody holds it.
    held: bool,
    /// Whether it is ours to rotate.
    ours: bool,
    /// Whether it is dated in the future, by a clock that was ahead.
    future: bool,
    /// Bytes that its removal alone would free; null where not known.
    bytes_used: Option<u64>,
    /// Files that it holds; null where its run did not say.
    files: Option<u64>,
    /// Where its files are.
    path: String,
    /// Bytes that its files hold together.
    bytes: Option<u64>,
    /// How long its run took.
    duration_seconds: Option<u64>,
    /// The run that took it.
    run: Option<String>,
    /// The names that it is held under.
    holds: Vec<String>,
    /// All that keeps it, the claims too.
    reasons: Vec<String>,
    /// Why the next rotation removes it; null if it does not.
    goes: Option<String>,
    #[serde(skip)]
    taken: DateTime<Utc>,
}

impl Row {
    /// What keeps it, with the names of its holds.
    fn kept_for(&self) -> String {
        // One that is held without a name is held all the same.
        let names: Vec<&str> =
            self.holds.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
        let held = Reason::Held.to_string();
        let told = self.reasons.iter().map(|reason| match *reason == held && !names.is_empty() {
            true => format!("held as {}", names.join(" and ")),
            false => reason.clone(),
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

/// What there is to say of a snapshot.
fn row(entry: &SnapshotEntry) -> Row {
    let SnapshotEntry { snapshot, decision, .. } = entry;
    let facts = snapshot.facts();
    let (reasons, goes) = match &decision.fate {
        Fate::Keep(reasons) => (reasons.iter().map(ToString::to_string).collect(), None),
        Fate::Remove(why) => (Vec::new(), Some(why.to_string())),
    };
    Row {
        name: snapshot.name.clone(),
        time: snapshot.time.to_rfc3339_opts(SecondsFormat::Secs, true),
        verdict: snapshot.verdict(),
        claims: decision.claims().map(|claim| claim.to_string()).collect(),
        held: snapshot.held,
        ours: snapshot.is_ours(),
        future: entry.future,
        bytes_used: entry.bytes_used,
        holds: entry.holds.clone(),
        files: facts.and_then(|facts| facts.files),
        path: entry.path.to_string_lossy().into_owned(),
        bytes: facts.and_then(|facts| facts.bytes),
        duration_seconds: facts.and_then(|facts| facts.duration),
        run: facts.map(|facts| facts.run.clone()),
        reasons,
        goes,
        taken: snapshot.time,
    }
}

/// The rows for people. In a pipe each has its whole path; on a terminal there
/// is no room for it.
fn table(session: &Session, rows: &[Row], with_paths: bool) -> Table {
    let mut columns = vec![
        Column::Words("SNAPSHOT"),
        Column::Words("TIME"),
        Column::Words("VERDICT"),
        Column::Figures("FILES"),
        Column::Figures("ONLY HERE"),
        Column::Words("KEPT FOR"),
    ];
    if with_paths {
        columns.push(Column::Words("PATH"));
    }
    let mut table = Table::new(&columns);
    let or_dash = |figure: Option<String>| figure.unwrap_or_else(|| "-".to_owned());
    for row in rows {
        let mut cells = vec![
            row.name.clone(),
            clock::local(session.settings.timezone, row.taken),
            row.verdict.map_or_else(|| "foreign".to_owned(), |verdict| verdict.to_string()),
            or_dash(row.files.map(|files| files.to_string())),
            or_dash(row.bytes_used.map(human_bytes)),
            match &row.goes {
                Some(why) => format!("nothing: {why}"),
                None => row.kept_for(),
            },
        ];
        if with_paths {
            cells.push(row.path.clone());
        }
        table.row(cells);
    }
    table
}

/// What stands below the table, on stderr: where the snapshots are, whose times
/// those are, and how to learn what is not in it.
fn footer(session: &Session, list: &SnapshotList) -> String {
    let SnapshotList { place, entries, measured, removals } = list;
    let Some(last) = entries.last() else {
        return format!("{} has a place in the store, and no snapshot yet", place.host);
    };
    let folder = last.path.parent().unwrap_or(&last.path);
    let mut text = format!(
        "{} in {}, times in {}",
        match entries.len() {
            1 => "1 snapshot".to_owned(),
            count => format!("{count} snapshots"),
        },
        printable(&folder.to_string_lossy()),
        session.settings.timezone
    );
    if let Some(future) = place.of_the_future() {
        let removals: Excerpt<String> = removals.iter().map(|command| format!("`{command}`")).collect();
        text.push_str(&format!(
            "\n{future}; not counted as the latest. If this machine's clock is right, remove with {removals}"
        ));
    }
    if !*measured {
        text.push_str("\nwhat each one alone holds takes a walk over all of them: `--space`");
    }
    text
}
