//! Reading a large pool and planning it stays quick and small. The figures that
//! are promised are those of `make bench`, of an optimized build on a machine
//! with nothing else to do; what is asserted here leaves room for a build that
//! is not and for other tests beside it, and none for work that grows faster
//! than the pool.

use backup::sys::process::Program;
use std::collections::BTreeMap;

/// What `examples/zfs_survey.rs` measures, by name.
async fn measured(hosts: &str, snapshots: &str) -> BTreeMap<String, f64> {
    let program = Program::new(crate::support::standin::example("zfs_survey")).args([hosts, snapshots, "3"]);
    let output = program.run().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let figures = text.lines().map(|line| {
        let (name, figure) = line.split_once(' ').expect(line);
        (name.to_owned(), figure.trim().parse().expect(line))
    });
    figures.collect()
}

#[tokio::test]
async fn a_pool_of_twenty_thousand_snapshots_is_read_and_planned_quickly_in_little_memory() {
    for (hosts, snapshots, why) in [
        ("200", "100", "a fleet of hosts with a policy's worth of snapshots each"),
        ("1", "20000", "one host whose snapshots were never removed"),
    ] {
        let figures = measured(hosts, snapshots).await;
        assert!(figures["printed-bytes"] > 10e6, "{why}: {figures:?}");
        assert!(figures["beside-seconds"] < 3.0, "{why}: {figures:?}");
        assert!(figures["peak-bytes"] < 100e6, "{why}: {figures:?}");
    }
}
