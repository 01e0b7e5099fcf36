use crate::bench_figures::record::*;

fn run(row: &str, number: u32, failed: Option<&str>) -> Record {
    Record::Run(Run {
        row: row.into(),
        phase: "unchanged".into(),
        contender: "backup".into(),
        run: number,
        wall: 1.5,
        failed: failed.map(str::to_owned),
        ..Run::default()
    })
}

#[test]
fn what_is_written_is_read_again() {
    let mut records = Records::default();
    records.add(Record::Machine(Machine {
        row: "a".into(),
        facts: vec![("kernel".into(), "6".into())],
        ..Machine::default()
    }));
    records.add(run("a", 1, None));
    records.add(Record::Programs(Programs {
        row: "a".into(),
        phase: "unchanged".into(),
        contender: "backup".into(),
        programs: 7,
    }));
    let text = records.text().unwrap();
    assert_eq!(text.lines().count(), 3);
    assert_eq!(Records::parse(&text), records);
    assert_eq!(Records::parse(&format!("{{\"kind\": \"later\"}}\nnonsense\n{text}")), records);
    assert_eq!(records.programs("a", "unchanged", "backup"), Some(7));
    assert_eq!(records.machine("a").unwrap().facts[0].1, "6");
}

#[test]
fn neither_the_warm_up_nor_a_failure_counts() {
    let mut records = Records::default();
    for (number, failed) in [(0, None), (1, None), (2, Some("no space")), (3, None)] {
        records.add(run("a", number, failed));
    }
    assert_eq!(records.values("a", "unchanged", "backup", |run| run.wall), [(1, 1.5), (3, 1.5)]);
    assert_eq!(records.failures("a").count(), 1);
}

#[test]
fn a_row_that_is_measured_again_is_replaced_and_no_other() {
    let mut records = Records::default();
    records.add(run("a", 1, None));
    records.add(run("b", 1, None));
    records.forget("a");
    assert_eq!(records.runs("a", "unchanged", "backup").count(), 0);
    assert_eq!(records.runs("b", "unchanged", "backup").count(), 1);
}
