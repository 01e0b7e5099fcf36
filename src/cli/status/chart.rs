//! One host's sizes and durations over time.

use crate::app::session::Session;
use crate::cli::output::{self, Output};
use crate::core::format::plot::{self, Chart, Glyphs, Point, Unit};
use crate::core::format::table::WIDEST;
use crate::core::model::host::HostName;
use crate::core::model::run_record::HostRecord;
use crate::core::model::snapshot::{Snapshot, Taken, Verdict};
use crate::edge::history::History;
use crate::edge::store::Store;
use anyhow::Context;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use std::path::Path;
use std::time::Duration;
use tracing::warn;

/// How many runs are drawn at most.
const MOST: usize = 500;

/// What a run or a snapshot says that is drawn.
struct Copy {
    time: DateTime<Utc>,
    good: bool,
    bytes: Option<u64>,
    seconds: Option<u64>,
}

/// The charts of a host: from its history, and from its snapshots for the time
/// before that.
pub(super) async fn of(
    session: &Session,
    name: &str,
    history: Option<&History>,
) -> anyhow::Result<[Chart; 2]> {
    let host: HostName = name.parse()?;
    let entries = match history.map(|history| history.runs(&host, MOST)) {
        Some(Ok(entries)) => entries,
        None => Vec::new(),
        Some(Err(error)) => {
            warn!("{error}; the plot shows what the snapshots record");
            Vec::new()
        }
    };
    let snapshots = session.store.snapshots(&host).await?.unwrap_or_default();
    let copies = copies(&entries, &snapshots);
    let chart = |title: &str, unit, value: fn(&Copy) -> Option<u64>| {
        let points = copies.iter().filter_map(|copy| {
            #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
            let value = value(copy)? as f64;
            Some(Point { time: copy.time, value, good: copy.good })
        });
        Chart { title: format!("{title} of {name}"), unit, points: points.collect() }
    };
    Ok([
        chart("Size of the copies", Unit::Bytes, |copy| copy.bytes),
        chart("Duration of the runs", Unit::Seconds, |copy| copy.seconds),
    ])
}

/// All that can be drawn, oldest first. The entries are newest first.
fn copies(entries: &[HostRecord], snapshots: &[Snapshot]) -> Vec<Copy> {
    let from_history = entries.iter().rev().filter(|entry| entry.snapshot.is_some()).map(|entry| Copy {
        time: entry.finished,
        good: entry.is_good(),
        bytes: entry.bytes,
        // Snapshots' names are to the second, and runs began within one.
        seconds: entry.copied_in().map(|took| (took + Duration::from_millis(500)).as_secs()),
    });
    let begin = entries.iter().map(|entry| entry.started).min();
    let before =
        snapshots.iter().filter_map(Taken::of).filter(|taken| begin.is_none_or(|begin| taken.time < begin));
    let before = before.map(|taken| Copy {
        time: taken.time,
        good: taken.verdict == Verdict::Good,
        bytes: taken.bytes,
        seconds: taken.duration,
    });
    let mut copies: Vec<Copy> = before.chain(from_history).collect();
    copies.sort_by_key(|copy| copy.time);
    copies
}

fn is_empty(charts: &[Chart]) -> bool {
    charts.iter().all(|chart| chart.points.is_empty())
}

/// Draws the charts for people.
pub(super) fn draw(out: &mut Output, charts: &[Chart], zone: Tz) -> anyhow::Result<()> {
    if is_empty(charts) {
        out.line("\nno sizes or durations are known yet")?;
    }
    let width = usize::from(output::width().unwrap_or(WIDEST).min(WIDEST));
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    let glyphs = Glyphs::of(set("TERM").as_deref(), locale.as_deref());
    for chart in charts.iter().filter(|chart| !chart.points.is_empty()) {
        out.line("")?;
        out.write(plot::text(chart, zone, width, glyphs).as_bytes())?;
    }
    Ok(())
}

/// Writes the charts as a picture; whether there was anything to draw.
pub(super) fn write(file: &Path, name: &str, charts: &[Chart], zone: Tz) -> anyhow::Result<bool> {
    if is_empty(charts) {
        warn!("no sizes or durations of `{name}` are known yet: `{}` was not written", file.display());
        return Ok(false);
    }
    let picture = plot::svg(&format!("Backups of {name}"), charts, zone);
    std::fs::write(file, picture)
        .with_context(|| format!("cannot write the picture `{}`", file.display()))?;
    Ok(true)
}
