//! What the figures must reach, and whether they do. Pure.

use super::figures::{Spread, megabytes, ratios, seconds};
use super::record::{Records, Run};
use super::rows::{CONNECT_TIMEOUT, Phase, Row, Who};

/// One thing that must be reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// The row whose figures tell, for its command; several have none.
    pub row: Option<&'static str>,
    /// What is to be.
    pub goal: String,
    /// What is.
    pub found: String,
    /// Whether that is enough.
    pub reached: bool,
}

/// How many times as much memory counts as no more.
const FLAT: f64 = 1.10;
/// How many times as long counts as no longer.
const SAME: f64 = 1.05;

/// All bars that these rows' figures can tell of.
pub fn bars(records: &Records, rows: &[&'static Row]) -> Vec<Bar> {
    let mut bars = Vec::new();
    for row in rows {
        let floor = match row.name {
            "1x100000" => Some((1.05, "one rsync".to_owned())),
            "50x10000" => Some((1.08, format!("rsync under `xargs -P{}`", row.jobs))),
            "200x1000-delayed" => Some((1.10, format!("rsync under `xargs -P{}`", row.jobs))),
            _ => None,
        };
        if let Some((most, what)) = floor {
            if let Some(ratio) = ratio(records, row, Phase::Unchanged, Who::Backup, Who::Rsync) {
                bars.push(Bar {
                    row: Some(row.name),
                    goal: format!(
                        "{}, nothing changed: at most {most:.2} times as long as {what}",
                        row.title()
                    ),
                    found: times(&ratio),
                    reached: ratio.median <= most,
                });
            }
        }
        if row.name == "200x1000-delayed" {
            if let Some(ratio) = ratio(records, row, Phase::Unchanged, Who::Ancestor, Who::Backup) {
                bars.push(Bar {
                    row: Some(row.name),
                    goal: "at least 8 times faster there than the ancestor's way".to_owned(),
                    found: times(&ratio),
                    reached: ratio.median >= 8.0,
                });
            }
        }
        if row.has_big_host() {
            if let Some(ratio) = ratio(records, row, Phase::Unchanged, Who::Backup, Who::BackupBigAlone) {
                bars.push(Bar {
                    row: Some(row.name),
                    goal: format!("{}: at most {SAME:.2} times as long as that host alone", row.title()),
                    found: format!("{}{}", times(&ratio), processors_need(records, row).unwrap_or_default()),
                    reached: ratio.median <= SAME,
                });
            }
        }
        bars.extend(dead(records, row).into_iter().flatten());
    }
    bars.extend(against_rsnapshot(records, rows));
    bars.extend(connections(records, rows));
    bars.extend(memory(records, rows));
    bars
}

/// How many times as long one contender takes as another.
pub fn ratio(records: &Records, row: &Row, phase: Phase, ours: Who, theirs: Who) -> Option<Spread> {
    let walls = |who: Who| records.values(row.name, phase.name(), who.name(), |run| run.wall);
    ratios(&walls(ours), &walls(theirs))
}

/// How long the processors would need for all hosts if they did nothing else,
/// beside the big host's time: no order of hosts is faster than that.
fn processors_need(records: &Records, row: &Row) -> Option<String> {
    let of = |who: Who, figure: fn(&Run) -> f64| {
        records.values(row.name, Phase::Unchanged.name(), who.name(), figure)
    };
    let work = of(Who::Backup, |run| run.cpu + run.hosts_cpu);
    let least = ratios(&work, &of(Who::BackupBigAlone, |run| run.wall))?.median;
    let processors = u32::try_from(records.machine(row.name)?.processors).ok().filter(|count| *count > 0)?;
    Some(format!("; the processors alone need {:.2} times as long", least / f64::from(processors)))
}

fn times(ratio: &Spread) -> String {
    format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.least, ratio.most)
}

fn dead(records: &Records, row: &Row) -> Option<[Bar; 2]> {
    let runs = |who: Who| records.runs(row.name, Phase::Unchanged.name(), who.name());
    let copied =
        |who: Who| -> Vec<(u32, f64)> { runs(who).filter_map(|run| Some((run.run, run.copied?))).collect() };
    let ratio = ratios(&copied(Who::BackupAmongDead), &copied(Who::Backup))?;
    let after = Spread::of(runs(Who::BackupAmongDead).filter_map(|run| Some(run.wall - run.copied?)))?;
    Some([
        Bar {
            row: Some(row.name),
            goal: format!(
                "two more hosts, which are dead: the last of the other {} is copied at most {SAME:.2} times as late",
                row.hosts
            ),
            found: times(&ratio),
            reached: ratio.median <= SAME,
        },
        Bar {
            row: Some(row.name),
            goal: format!("and the run ends at most the connect timeout ({CONNECT_TIMEOUT} s) after that"),
            found: format!(
                "{} after (at most {})",
                seconds(after.median.max(0.0)),
                seconds(after.most.max(0.0))
            ),
            reached: after.most <= f64::from(CONNECT_TIMEOUT),
        },
    ])
}

fn against_rsnapshot(records: &Records, rows: &[&'static Row]) -> Option<Bar> {
    let mut all = Vec::new();
    for row in rows {
        for part in row.parts {
            if let Some(ratio) = ratio(records, row, part.phase, Who::Backup, Who::Rsnapshot) {
                all.push((ratio.median, format!("`{}`, {}", row.name, part.phase.title())));
            }
        }
    }
    let slower: Vec<String> = all
        .iter()
        .filter(|(ratio, _)| *ratio > 1.0)
        .map(|(ratio, what)| format!("{what}: {ratio:.2}"))
        .collect();
    let (worst, what) = all.iter().max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    Some(Bar {
        row: None,
        goal: "at least as fast as rsnapshot in every row".to_owned(),
        found: if slower.is_empty() {
            format!("at worst {worst:.2} times as long ({what})")
        } else {
            format!("slower in {} of {}: {}", slower.len(), all.len(), slower.join("; "))
        },
        reached: slower.is_empty(),
    })
}

fn connections(records: &Records, rows: &[&'static Row]) -> Option<Bar> {
    let of = |who: Who| {
        let a_host = rows.iter().flat_map(|row| {
            let runs =
                row.parts.iter().flat_map(|part| records.runs(row.name, part.phase.name(), who.name()));
            #[expect(clippy::cast_precision_loss, reason = "some hundred hosts")]
            runs.map(|run| run.connections as f64 / row.hosts as f64).collect::<Vec<_>>()
        });
        Spread::of(a_host)
    };
    let (ours, theirs) = (of(Who::Backup)?, of(Who::Ancestor)?);
    Some(Bar {
        row: None,
        goal: "one connection a host, where peers that run hooks and read the host's own excludes need two"
            .to_owned(),
        found: format!("{:.2} a host at most; the ancestor's way {:.2} at least", ours.most, theirs.least),
        reached: ours.most <= 1.0 && ours.most < theirs.least,
    })
}

fn memory(records: &Records, rows: &[&'static Row]) -> Vec<Bar> {
    let peak = |row: &Row| {
        let runs = records.runs(row.name, Phase::Unchanged.name(), Who::Backup.name());
        runs.map(|run: &Run| run.own_peak).max()
    };
    let mut bars = Vec::new();
    let many = rows.iter().filter(|row| row.hosts >= 198 && row.hosts <= 200);
    if let Some((row, most)) = many.filter_map(|row| Some((row, peak(row)?))).max_by_key(|(_, most)| *most) {
        bars.push(Bar {
            row: Some(row.name),
            goal: "`backup` itself with 200 hosts: under 50 MB".to_owned(),
            found: megabytes(most),
            reached: most < 50_000_000,
        });
    }
    let named = |name: &str| rows.iter().find(|row| row.name == name).and_then(|row| peak(row));
    if let (Some(few), Some(many)) = (named("1x10000"), named("1x1000000")) {
        #[expect(clippy::cast_precision_loss, reason = "a ratio with two digits")]
        let ratio = many as f64 / few as f64;
        bars.push(Bar {
            row: Some("1x1000000"),
            goal: format!("flat from 10,000 to 1,000,000 files: at most {FLAT:.2} times as much"),
            found: format!("{ratio:.2}: {} and {}", megabytes(few), megabytes(many)),
            reached: ratio <= FLAT,
        });
    }
    bars
}
