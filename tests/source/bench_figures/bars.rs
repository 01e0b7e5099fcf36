use crate::bench_figures::bars::*;
use crate::bench_figures::record::Record;
use crate::bench_figures::record::{Records, Run};
use crate::bench_figures::rows::Who;
use crate::bench_figures::rows::row;

/// A run of nothing changed: its number, its seconds, its megabytes.
fn add(records: &mut Records, row: &str, who: Who, (number, wall, megabytes): (u32, f64, u64)) {
    records.add(Record::Run(Run {
        row: row.into(),
        phase: "unchanged".into(),
        contender: who.name().into(),
        run: number,
        wall,
        own_peak: megabytes * 1_000_000,
        connections: if who == Who::Ancestor { 400 } else { 200 },
        copied: Some(wall - 1.0),
        ..Run::default()
    }));
}

fn found(records: &Records, name: &str) -> Vec<(String, bool)> {
    let bars = bars(records, &[row(name).unwrap()]);
    bars.into_iter().map(|bar| (bar.found, bar.reached)).collect()
}

#[test]
fn nothing_is_said_of_what_was_not_measured() {
    for row in crate::bench_figures::rows::ROWS {
        assert_eq!(bars(&Records::default(), &[row]), []);
    }
}

#[test]
fn the_delayed_fleet_has_all_its_bars() {
    let mut records = Records::default();
    for number in [1, 2] {
        add(&mut records, "200x1000-delayed", Who::Backup, (number, 10.5, 20));
        add(&mut records, "200x1000-delayed", Who::Rsync, (number, 10.0, 5));
        add(&mut records, "200x1000-delayed", Who::Rsnapshot, (number, 10.4, 5));
    }
    add(&mut records, "200x1000-delayed", Who::Ancestor, (1, 105.0, 5));
    let found = found(&records, "200x1000-delayed");
    let verdicts: Vec<bool> = found.iter().map(|(_, reached)| *reached).collect();
    assert_eq!(verdicts, [true, true, false, true, true], "{found:?}");
    assert_eq!(found[0].0, "1.05 (1.05 to 1.05)");
    assert_eq!(found[2].0, "slower in 1 of 1: `200x1000-delayed`, nothing changed: 1.01");
}

#[test]
fn dead_hosts_are_judged_by_the_others_and_by_the_runs_end() {
    let mut records = Records::default();
    add(&mut records, "dead-hosts", Who::Backup, (1, 11.0, 20));
    add(&mut records, "dead-hosts", Who::BackupAmongDead, (1, 11.2, 20));
    let found = found(&records, "dead-hosts");
    assert_eq!(found[0], ("1.02 (1.02 to 1.02)".to_owned(), true));
    assert_eq!(found[1], ("1.000 s after (at most 1.000 s)".to_owned(), true));
}

#[test]
fn memory_that_grows_with_files_is_seen() {
    let mut records = Records::default();
    add(&mut records, "1x10000", Who::Backup, (1, 1.0, 20));
    add(&mut records, "1x1000000", Who::Backup, (1, 9.0, 30));
    let bars = bars(&records, &[row("1x10000").unwrap(), row("1x1000000").unwrap()]);
    assert_eq!((bars[0].found.as_str(), bars[0].reached), ("1.50: 20.0 MB and 30.0 MB", false));
}
