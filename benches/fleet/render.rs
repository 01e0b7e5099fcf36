//! Figures as Markdown: one row for the terminal, and all of them as
//! `docs/benchmarks.md` with its pictures. Pure.

use super::bars::{bars, ratio};
use super::figures::{Spread, grouped, megabytes, seconds};
use super::picture::{self, svg};
use super::record::{Records, Run};
use super::rows::{Phase, Row, Who};
use std::fmt::Write as _;

/// The file that is written.
pub const DOCUMENT: &str = "benchmarks.md";
/// Where the pictures are, beside it.
pub const PICTURES: &str = "benchmarks";

/// Everything that is known of a row: a heading, its command, and a table.
/// Writing to a `String` does not fail.
pub fn row(records: &Records, row: &Row) -> String {
    let mut text = format!("### {}\n\n    cargo bench --bench fleet -- {}\n", row.title(), row.name);
    if let Some(machine) = records.machine(row.name) {
        let _ = write!(text, "\nMeasured on {}; the load was {:.2} before.", machine.day, machine.load);
        if !row.once.is_empty() {
            let slow: Vec<&str> = row.once.iter().map(|who| who.name()).collect();
            let _ =
                write!(text, " Measured once, without a warm-up, because it is slow: {}.", slow.join(", "));
        }
        text.push('\n');
    }
    for part in row.parts {
        let lines: Vec<String> =
            row.who.iter().filter_map(|who| line(records, row, part.phase, *who)).collect();
        if lines.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "\n| {} | wall time | of rsync's | processor | hosts' processors | largest process | `backup` itself \
             | connections | programs |\n|---|---|---|---|---|---|---|---|---|\n{}",
            part.phase.title(),
            lines.concat()
        );
    }
    for run in records.failures(row.name) {
        let why = run.failed.as_deref().unwrap_or_default();
        let _ = write!(text, "\n{} took no (further) part, because it failed", run.contender);
        let _ = write!(text, " ({}):\n\n", run.phase);
        for line in why.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// How much longer `backup` takes than the one before, in each phase of a row, and
/// both beside rsync.
pub fn before(records: &Records, row: &Row) -> String {
    let mut text = format!("### {}\n\n", row.title());
    for part in row.parts {
        for (ours, theirs) in
            [(Who::Backup, Who::BackupBefore), (Who::Backup, Who::Rsync), (Who::BackupBefore, Who::Rsync)]
        {
            if let Some(ratio) = ratio(records, row, part.phase, ours, theirs) {
                let Spread { median, least, most, count } = ratio;
                let _ = writeln!(
                    text,
                    "{}: {} takes {median:.3} ({least:.3} to {most:.3}, {count} runs) times as long as {}",
                    part.phase.title(),
                    ours.name(),
                    theirs.name()
                );
            }
        }
    }
    text
}

/// A contender's line of a table, if it was measured.
fn line(records: &Records, row: &Row, phase: Phase, who: Who) -> Option<String> {
    let runs = records.runs(row.name, phase.name(), who.name());
    let of = |figure: fn(&Run) -> f64| Spread::of(runs.clone().map(figure));
    let wall = of(|run| run.wall)?;
    let spread = if wall.count > 1 {
        format!(" ({} to {}, {} runs)", seconds(wall.least), seconds(wall.most), wall.count)
    } else {
        " (1 run)".to_owned()
    };
    let ratio = match ratio(records, row, phase, who, Who::Rsync) {
        Some(ratio) => format!("{:.2}", ratio.median),
        None => "–".to_owned(),
    };
    let most = |figure: fn(&Run) -> u64| runs.clone().map(figure).max().unwrap_or(0);
    let own = if who.is_ours() { megabytes(most(|run| run.own_peak)) } else { "–".to_owned() };
    let programs = records.programs(row.name, phase.name(), who.name());
    let median = |figure: fn(&Run) -> f64| of(figure).map_or(0.0, |spread| spread.median);
    let left = most(|run| u64::try_from(run.left).unwrap_or(u64::MAX));
    let left = if left > 0 { format!(", which leaves {left} processes behind") } else { String::new() };
    Some(format!(
        "| {}{left} | {}{spread} | {ratio} | {} | {} | {} | {own} | {} | {} |\n",
        who.name(),
        seconds(wall.median),
        seconds(median(|run| run.cpu)),
        seconds(median(|run| run.hosts_cpu)),
        megabytes(most(|run| run.peak)),
        grouped(most(|run| run.connections)),
        programs.map_or_else(|| "–".to_owned(), grouped),
    ))
}

/// A row's wall times as a picture, if there are any.
pub fn drawn(records: &Records, row: &Row) -> Option<String> {
    let mut groups = Vec::new();
    for part in row.parts {
        let bar = |who: &Who| {
            let walls = records.values(row.name, part.phase.name(), who.name(), |run| run.wall);
            let value = Spread::of(walls.into_iter().map(|(_, wall)| wall))?;
            let floor = ratio(records, row, part.phase, *who, Who::Rsync).filter(|_| *who != Who::Rsync);
            let beside = floor.map_or_else(String::new, |ratio| format!(", {:.2} of rsync's", ratio.median));
            let text = format!("{}{beside}", seconds(value.median));
            Some(picture::Bar { label: who.name().to_owned(), value, text, ours: who.is_ours() })
        };
        let bars: Vec<picture::Bar> = row.who.iter().filter_map(bar).collect();
        if !bars.is_empty() {
            groups.push(picture::Group { title: part.phase.title().to_owned(), bars });
        }
    }
    (!groups.is_empty()).then(|| svg(&row.title(), &groups))
}

/// The whole document and its pictures: names below the folder of documents,
/// and texts. `command` is what measures all of it; `notes` are what people
/// wrote to it.
pub fn document(
    records: &Records,
    rows: &[&'static Row],
    command: &str,
    notes: &str,
) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut text = format!(
        "# Benchmarks\n\n\
         `backup` beside what an operator would use instead: the same trees, the same hosts, equal flags of rsync \
         and as many hosts at once. `{command}` writes this file, from its figures and from \
         `docs/{PICTURES}/notes.md`; do not edit it.\n"
    );
    if let Some(machine) = rows.iter().rev().find_map(|row| records.machine(row.name)) {
        text.push_str("\n## The machine\n\n");
        for (word, value) in &machine.facts {
            let _ = writeln!(text, "- {word}: {value}");
        }
    }
    text.push_str("\n## What must be reached\n\n| | goal | found | command |\n|---|---|---|---|\n");
    for bar in bars(records, rows) {
        let verdict = if bar.reached { "reached" } else { "**missed**" };
        let how = match bar.row {
            Some(row) => format!("`cargo bench --bench fleet -- {row}`"),
            None => format!("`{command}`"),
        };
        let _ = writeln!(text, "| {verdict} | {} | {} | {how} |", bar.goal, bar.found);
    }
    if !notes.trim().is_empty() {
        let _ = write!(text, "\n{}\n", notes.trim());
    }
    let _ = write!(text, "\n## The figures\n\n{LEGEND}\n");
    for measured in rows {
        let Some(picture) = drawn(records, measured) else { continue };
        let name = format!("{PICTURES}/{}.svg", measured.name);
        let _ = write!(text, "\n{}\n![{}]({name})\n", row(records, measured), measured.title());
        files.push((name, picture));
    }
    files.push((DOCUMENT.to_owned(), text));
    files
}

/// What the columns are.
const LEGEND: &str = "\
Wall times and processor times are medians; in parentheses, and as whiskers, the least and the most. `of rsync's` \
is the median of the ratios to bare rsync, run by run. `processor` is the time of everything that the contender \
started on the backup server's side, `hosts' processors` that of the hosts' sshd and rsync. Memory is the most that \
was resident in any run, in MB of 10^6 bytes: of the largest process (a small one shows as the measuring process \
that started it, some MB), and of `backup` itself. Connections are what the hosts' sshd logged; programs were \
counted in a run of their own under strace.";
