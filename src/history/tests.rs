use super::*;
use crate::outcome::{Figures, HookResult, Note, Outcome, Severity, Stage};
use crate::snapshot::{Facts, Origin, SnapshotName, Verdict};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use tempfile::TempDir;

const NIGHT: &str = "2026-11-20T02:00:05Z";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The night of this number, counted from [`NIGHT`].
fn night(number: i64) -> DateTime<Utc> {
    at(NIGHT) + TimeDelta::days(number)
}

fn name(host: &str) -> HostName {
    host.parse().unwrap()
}

fn report(host: &str, verdict: Verdict, time: DateTime<Utc>) -> HostReport {
    let snapshot = SnapshotName::at(time);
    HostReport {
        host: host.to_owned(),
        outcome: Outcome::Copied { verdict, why: String::new(), snapshot },
        notes: Vec::new(),
        started: time - TimeDelta::seconds(60),
        finished: time + TimeDelta::milliseconds(1500),
        figures: Some(Figures {
            files: 10,
            bytes: 4096,
            received: 100,
            changed: 2,
            changed_bytes: 50,
            deleted: 1,
        }),
        transfers: vec!["everything was copied (exit 0)".to_owned()],
        hooks: Vec::new(),
        snapshots: Some(7),
        last_good: None,
    }
}

fn failed(host: &str, time: DateTime<Utc>) -> HostReport {
    let why = "no route to host\nis it up?".to_owned();
    HostReport {
        outcome: Outcome::Failed { stage: Stage::Connect, why },
        figures: None,
        transfers: Vec::new(),
        snapshots: None,
        ..report(host, Verdict::Good, time)
    }
}

/// A state directory, and the history in it, which must be fine.
fn opened() -> (TempDir, History) {
    let dir = tempfile::tempdir().unwrap();
    let history = open_well(dir.path());
    (dir, history)
}

#[track_caller]
fn open_well(dir: &Path) -> History {
    let opened = History::open(dir, at(NIGHT)).unwrap();
    assert!(opened.warnings.is_empty(), "{:?}", opened.warnings);
    opened.history
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_recorded_comes_back() {
    let (dir, history) = opened();
    let mut hooked = report("VPN", Verdict::Good, night(0));
    hooked.hooks.push(HookResult {
        name: "dump".to_owned(),
        severity: Severity::Critical,
        ended: "failed (exit 3)".to_owned(),
        took: Duration::from_millis(1234),
    });
    hooked.notes.push(Note {
        severity: Severity::Critical,
        text: "hook dump failed (exit 3)\n  no such database\n  (\u{1b}[2J)".to_owned(),
    });
    history.record("first", &hooked).unwrap();
    history.record("second", &failed("vpn", night(1))).unwrap();
    let runs = history.runs(&name("Vpn"), 10).unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[1], rows::remembered("first", &hooked));
    let entry = &runs[1];
    assert_eq!((entry.host.as_str(), entry.spelled.as_str(), entry.word.as_str()), ("vpn", "VPN", "good"));
    assert_eq!((entry.verdict, entry.severity), (Some(Verdict::Good), Severity::Critical));
    assert_eq!(entry.details, ["  no such database", "  (\u{1b}[2J)"]);
    assert_eq!(entry.hooks, hooked.hooks);
    assert_eq!((entry.changed_bytes, entry.snapshots), (Some(50), Some(7)));
    assert_eq!(
        (entry.duration(), entry.copied_in()),
        (Duration::from_millis(61_500), Some(Duration::from_secs(60)))
    );
    assert_eq!((runs[0].word.as_str(), runs[0].files, &runs[0].snapshot), ("failed", None, &None));
    assert_eq!(runs[0].details, ["is it up?"]);
    drop(history);
    assert_eq!(open_well(dir.path()).runs(&name("vpn"), 10).unwrap(), runs, "after it was opened again");
    assert_eq!(fs::metadata(History::path(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn each_host_has_its_own_entries_newest_first() {
    let (_dir, history) = opened();
    for number in 0..5 {
        for host in ["a", "B", "c.d"] {
            let verdict = if number == 3 { Verdict::Partial } else { Verdict::Good };
            history.record(&format!("run{number}"), &report(host, verdict, night(number))).unwrap();
        }
    }
    history.record("run5", &failed("b", night(5))).unwrap();
    history.record("run5", &HostReport { host: String::new(), ..failed("x", night(5)) }).unwrap();
    let runs = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.run).collect::<Vec<_>>();
    assert_eq!(runs(history.runs(&name("a"), 3).unwrap()), ["run4", "run3", "run2"]);
    assert_eq!(runs(history.good_runs(&name("b"), 3).unwrap()), ["run4", "run2", "run1"]);
    assert!(history.runs(&name("nobody"), 3).unwrap().is_empty());
    let last: Vec<(String, String)> =
        history.last_runs().unwrap().into_iter().map(|(host, entry)| (host, entry.run)).collect();
    let expected = [("a", "run4"), ("b", "run5"), ("c.d", "run4")];
    assert_eq!(last, expected.map(|(host, run)| (host.to_owned(), run.to_owned())), "none without a name");
}
