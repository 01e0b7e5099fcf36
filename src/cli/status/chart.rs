//! One host's sizes and durations over time.

use crate::app::overview::status::CopyFigures;
use crate::cli::output::{self, Output};
use crate::core::format::plot::{self, Chart, Glyphs, Point, Unit};
use crate::core::format::table::WIDEST;
use anyhow::Context;
use chrono_tz::Tz;
use std::path::Path;
use tracing::warn;

/// The charts of a host.
pub(super) fn of(name: &str, copies: &[CopyFigures]) -> [Chart; 2] {
    let chart = |title: &str, unit, value: fn(&CopyFigures) -> Option<u64>| {
        let points = copies.iter().filter_map(|copy| {
            #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
            let value = value(copy)? as f64;
            Some(Point { time: copy.time, value, good: copy.good })
        });
        Chart { title: format!("{title} of {name}"), unit, points: points.collect() }
    };
    [
        chart("Size of the copies", Unit::Bytes, |copy| copy.bytes),
        chart("Duration of the runs", Unit::Seconds, |copy| copy.seconds),
    ]
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
