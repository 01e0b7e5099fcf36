use crate::bench_figures::record::{Machine, Programs, Record};
use crate::bench_figures::record::{Records, Run};
use crate::bench_figures::render::*;
use crate::bench_figures::rows;
use crate::bench_figures::rows::{Row, Who};

fn records() -> Records {
    let mut records = Records::default();
    records.add(Record::Machine(Machine {
        row: "quick-one".into(),
        day: "2026-11-20".into(),
        facts: vec![("kernel".into(), "Linux 6".into())],
        processors: 2,
        load: 0.25,
    }));
    for (who, walls) in [(Who::Backup, [1.1, 1.2, 1.3]), (Who::Rsync, [1.0, 1.0, 1.0])] {
        for (run, wall) in (0..).zip(walls) {
            records.add(Record::Run(Run {
                row: "quick-one".into(),
                phase: "unchanged".into(),
                contender: who.name().into(),
                run,
                wall,
                cpu: 0.5,
                own_peak: 12_000_000,
                peak: 20_000_000,
                connections: 1,
                ..Run::default()
            }));
        }
    }
    records.add(Record::Run(Run {
        row: "quick-one".into(),
        phase: "first".into(),
        contender: "BackupPC".into(),
        failed: Some("no network\nno packages".into()),
        ..Run::default()
    }));
    records.add(Record::Programs(Programs {
        row: "quick-one".into(),
        phase: "unchanged".into(),
        contender: "backup".into(),
        programs: 1234,
    }));
    records
}

#[test]
fn a_row_shows_every_figure_with_its_command_and_who_failed() {
    let text = row(&records(), rows::row("quick-one").unwrap());
    for part in [
        "    cargo bench --bench fleet -- quick-one\n",
        "Measured on 2026-11-20; the load was 0.25 before.\n",
        "| backup | 1.250 s (1.200 s to 1.300 s, 2 runs) | 1.25 | 0.500 s | 0.000 s | 20.0 MB | 12.0 MB | 1 | 1,234 |\n",
        "| rsync | 1.000 s (1.000 s to 1.000 s, 2 runs) | 1.00 |",
        "BackupPC took no (further) part, because it failed (first):\n\n    no network\n    no packages\n",
    ] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    assert!(!text.contains("rsnapshot"), "who was not measured is not shown:\n{text}");
}

#[test]
fn the_document_has_the_machine_the_notes_and_a_picture_of_each_row_measured() {
    let rows: Vec<&'static Row> = rows::ROWS.iter().collect();
    let files = document(&records(), &rows, "make bench", "## Why\n\nBecause.\n");
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["benchmarks/quick-one.svg", "benchmarks.md"]);
    let text = &files[1].1;
    for part in
        ["- kernel: Linux 6\n", "\n## Why\n\nBecause.\n\n## The figures\n", "](benchmarks/quick-one.svg)"]
    {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    assert!(files[0].1.contains("1.250 s, 1.25 of rsync&apos;s") || files[0].1.contains("1.25 of rsync's"));
}
