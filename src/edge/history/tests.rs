mod faults;

use super::*;
use crate::core::format::timing::{Span, Step, Timings};
use crate::core::model::outcome::{Figures, HookResult, Note, Outcome, Severity, Stage};
use crate::core::model::snapshot::{Facts, Origin, SnapshotName, Verdict};
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
        timings: Timings::default(),
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

/// Everything about the files of a directory that somebody could change.
fn state(dir: &Path) -> Vec<(String, i64, i64, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let (entry, meta) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
            let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
            (name, meta.mtime(), meta.mtime_nsec(), fs::read(entry).unwrap_or_default())
        })
        .collect();
    files.sort();
    files
}

fn names(dir: &Path) -> Vec<String> {
    state(dir).into_iter().map(|(name, ..)| name).collect()
}

fn raw(dir: &Path) -> Connection {
    Connection::open(History::path(dir)).unwrap()
}

/// The runs of a host, newest first.
fn runs_of(history: &History, host: &str) -> Vec<String> {
    history.runs(&name(host), 1000).unwrap().into_iter().map(|entry| entry.run).collect()
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

/// Timings of steps that came one after the other, in milliseconds.
fn timings(steps: &[(Step, u64)]) -> Timings {
    let mut timings = Timings::default();
    for (step, ms) in steps {
        let begin = timings.spans().last().map_or(Duration::ZERO, Span::end);
        timings.add(Span { what: *step, begin, took: Duration::from_millis(*ms) });
    }
    timings
}

#[test]
fn how_long_each_step_took_is_kept_and_can_be_said_anew() {
    let (dir, history) = opened();
    let steps = [(Step::Connect, 240), (Step::Transfer, 1500), (Step::Connect, 60), (Step::Transfer, 0)];
    let mut vpn = HostReport { timings: timings(&steps), ..report("VPN", Verdict::Good, night(0)) };
    history.record("run", &vpn).unwrap();
    history.record("run", &report("web", Verdict::Good, night(0))).unwrap();
    let of = |host: &str| history.runs(&name(host), 1).unwrap().remove(0).timings;
    let sums = Sums::from([
        (Step::Connect, Duration::from_millis(300)),
        (Step::Transfer, Duration::from_millis(1500)),
    ]);
    assert_eq!((of("vpn"), of("web")), (sums.clone(), Sums::new()));
    let text =
        || raw(dir.path()).query_row("SELECT timings FROM runs WHERE host = 'vpn'", [], |row| row.get(0));
    assert_eq!(text(), Ok(r#"{"connect":0.3,"transfer":1.5}"#.to_owned()));

    vpn.timings.add(Span { what: Step::Report, begin: Duration::ZERO, took: Duration::from_millis(80) });
    let anew = [("VPN".to_owned(), vpn.timings.sums()), ("gone".to_owned(), sums)];
    history.record_timings("another run", &anew).unwrap();
    assert!(!of("vpn").contains_key(&Step::Report), "that is not this run");
    history.record_timings("run", &anew).unwrap();
    assert_eq!((of("vpn"), of("web")), (vpn.timings.sums(), Sums::new()));

    for (odd, left) in [
        ("nonsense", 0),
        (r#"{"connect":-1,"probe":1e300,"lock":0.5}"#, 1),
        (r#"{"teleport":1,"lock":0.5}"#, 1),
        (r#"{"lock":"soon"}"#, 0),
    ] {
        raw(dir.path()).execute("UPDATE runs SET timings = ?1", [odd]).unwrap();
        assert_eq!(of("vpn").len(), left, "{odd}");
    }
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
    let runs = |entries: Vec<HostRecord>| entries.into_iter().map(|entry| entry.run).collect::<Vec<_>>();
    assert_eq!(runs(history.runs(&name("a"), 3).unwrap()), ["run4", "run3", "run2"]);
    assert_eq!(runs(history.good_runs(&name("b"), 3).unwrap()), ["run4", "run2", "run1"]);
    assert!(history.runs(&name("nobody"), 3).unwrap().is_empty());
    let last: Vec<(String, String)> =
        history.last_runs().unwrap().into_iter().map(|(host, entry)| (host, entry.run)).collect();
    let expected = [("a", "run4"), ("b", "run5"), ("c.d", "run4")];
    assert_eq!(last, expected.map(|(host, run)| (host.to_owned(), run.to_owned())), "none without a name");
}

#[test]
fn a_run_that_skipped_a_host_hides_nothing() {
    let (_dir, history) = opened();
    let skipped = |host: &str, number| HostReport {
        outcome: Outcome::Skipped { why: "locked by another run".into() },
        ..failed(host, night(number))
    };
    history.record("run0", &failed("a", night(0))).unwrap();
    for (host, number) in [("a", 1), ("a", 2), ("b", 2)] {
        history.record(&format!("run{number}"), &skipped(host, number)).unwrap();
    }
    let last = history.last_runs().unwrap();
    assert_eq!((last["a"].run.as_str(), last["a"].severity), ("run0", Severity::Critical));
    assert_eq!(last["b"].run, "run2", "there is no other");
}

#[test]
fn what_is_known_of_each_host_is_found_without_looking_through_the_whole_history() {
    let (dir, history) = opened();
    history.record("run", &report("a", Verdict::Good, night(0))).unwrap();
    let connection = raw(dir.path());
    let plan = |sql: &str| {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        steps.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
    };
    for sql in [
        LAST.to_owned(),
        GOOD.replace("?1", "'a'").replace("?2", "30"),
        RUNS.replace("?1", "'a'").replace("?2", "30"),
        "DELETE FROM runs WHERE finished < '2025'".to_owned(),
    ] {
        let plan = plan(&sql);
        assert!(plan.contains("SEARCH runs") && !plan.contains("SCAN runs"), "{sql}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
}

#[test]
fn an_order_that_a_wrong_clock_gave_does_not_hide_what_came_after() {
    let (_dir, history) = opened();
    history.record("first", &report("a", Verdict::Good, night(0))).unwrap();
    history.record("a year ahead", &report("a", Verdict::Good, night(365))).unwrap();
    history.record("right again", &report("a", Verdict::Good, night(1))).unwrap();
    assert_eq!(runs_of(&history, "a"), ["right again", "a year ahead", "first"]);
    assert_eq!(history.last_runs().unwrap()["a"].run, "right again");
}

fn verification(number: u64) -> VerificationRecord {
    VerificationRecord {
        host: "VPN".to_owned(),
        time: night(0) + TimeDelta::minutes(i64::try_from(number).unwrap()),
        snapshot: Some("backup-2026-11-20T020005Z".to_owned()),
        sampled: 200,
        identical: 197,
        changed: number,
        different: 1,
        unreadable: 0,
        problem: (number == 2).then(|| "etc/fstab differs".to_owned()),
    }
}

#[test]
fn verifications_are_remembered_newest_first() {
    let (_dir, history) = opened();
    (0..3).for_each(|number| history.record_verification(&verification(number)).unwrap());
    let found = history.verifications(&name("vpn"), 2).unwrap();
    let expected = [2, 1].map(|number| VerificationRecord { host: "vpn".to_owned(), ..verification(number) });
    assert_eq!(found, expected);
    assert!(history.verifications(&name("web"), 2).unwrap().is_empty());
}

#[test]
fn what_is_old_is_forgotten_but_for_the_last_of_each_host() {
    let (_dir, history) = opened();
    for number in 0..70 {
        history.record(&format!("{number}"), &report("retired", Verdict::Good, night(number))).unwrap();
    }
    for number in 0..500 {
        history.record(&format!("{number}"), &report("daily", Verdict::Good, night(number))).unwrap();
        history.record_verification(&VerificationRecord { time: night(number), ..verification(0) }).unwrap();
    }
    history.prune(night(500)).unwrap();
    let retired = runs_of(&history, "retired");
    assert_eq!((retired.len(), retired[0].as_str(), retired[59].as_str()), (60, "69", "10"));
    let daily = runs_of(&history, "daily");
    assert_eq!((daily.len(), daily[0].as_str(), daily[399].as_str()), (400, "499", "100"));
    assert_eq!(history.verifications(&name("vpn"), 1000).unwrap().len(), 400);
    history.prune(night(500)).unwrap();
    assert_eq!(runs_of(&history, "daily").len(), 400);
    history.prune(DateTime::<Utc>::MIN_UTC).unwrap();
}

fn snapshot(time: DateTime<Utc>, run: &str, verdict: Verdict) -> Snapshot {
    let facts = Facts {
        run: run.to_owned(),
        verdict,
        files: Some(10),
        bytes: Some(4096),
        duration: Some(60),
        machine: None,
        hostname: None,
        left_out: None,
        clock_agreed: false,
    };
    let name = SnapshotName::at(time);
    Snapshot { name: name.to_string(), time, held: false, origin: Origin::Run(facts) }
}

#[test]
fn a_lost_history_is_put_together_from_snapshots_as_far_as_they_go() {
    let (dir, history) = opened();
    let ancestor = Snapshot { origin: Origin::Ancestor, ..snapshot(night(0), "", Verdict::Good) };
    let foreign = Snapshot { origin: Origin::Foreign, ..snapshot(night(9), "", Verdict::Good) };
    let web = [
        ancestor,
        snapshot(night(1), "one", Verdict::Good),
        snapshot(night(3), "three", Verdict::Partial),
        foreign,
    ];
    let db = [snapshot(night(2), "two", Verdict::Good)];
    let all = || web.iter().map(|one| ("web", one)).chain(db.iter().map(|one| ("db", one)));
    assert_eq!(history.rebuild(all()).unwrap(), 3);
    history.record("four", &report("web", Verdict::Good, night(4))).unwrap();
    assert_eq!(history.rebuild(all()).unwrap(), 0, "what is known is left as it is");
    assert_eq!(runs_of(&history, "web"), ["four", "three", "one"]);
    let entry = &history.runs(&name("web"), 9).unwrap()[2];
    assert_eq!(*entry, HostRecord::from_snapshot("web", &web[1]).unwrap());
    assert!(entry.from_snapshot && entry.received.is_none());
    assert_eq!(history.good_runs(&name("web"), 9).unwrap().len(), 2);
    drop(history);
    assert!(!History::open(dir.path(), night(5)).unwrap().is_new);
}

#[test]
fn who_reads_leaves_no_trace() {
    let (dir, history) = opened();
    (0..20).for_each(|number| history.record("run", &report("a", Verdict::Good, night(number))).unwrap());
    let look = |dir: &Path| {
        let before = state(dir);
        let reader = History::read(dir).unwrap().unwrap();
        let count = reader.runs(&name("a"), 100).unwrap().len();
        assert!(reader.record("x", &report("a", Verdict::Good, night(0))).is_err());
        drop(reader);
        let after = state(dir);
        assert_eq!(after.len(), before.len());
        for (after, before) in after.iter().zip(&before) {
            assert_eq!((&after.0, after.1, after.2), (&before.0, before.1, before.2));
            assert!(after.3 == before.3, "{} was changed", after.0);
        }
        count
    };
    assert_eq!(names(dir.path()), ["history.db", "history.db-shm", "history.db-wal"]);
    // Within one process the log's index is shared, and is the writer's to change.
    assert_eq!(
        runs_of(&History::read(dir.path()).unwrap().unwrap(), "a").len(),
        20,
        "while a run has it open"
    );
    let killed = tempfile::tempdir().unwrap();
    for name in names(dir.path()) {
        fs::copy(dir.path().join(&name), killed.path().join(&name)).unwrap();
    }
    assert_eq!(look(killed.path()), 20, "as a killed run leaves it");
    drop(history);
    assert_eq!(names(dir.path()), ["history.db"]);
    assert_eq!(look(dir.path()), 20, "at rest");
    assert_eq!(runs_of(&open_well(killed.path()), "a").len(), 20, "and the next run finds everything");
}

#[test]
fn what_hooks_said_is_kept_within_reason() {
    let (_dir, history) = opened();
    let mut long = report("a", Verdict::Good, night(0));
    let text = format!("hook x failed\n{}", "é".repeat(990) + "\n");
    long.notes.push(Note { severity: Severity::Critical, text: text.clone() + &"line\n".repeat(100_000) });
    history.record("run", &long).unwrap();
    let details = &history.runs(&name("a"), 1).unwrap()[0].details;
    assert_eq!(details.last().unwrap(), "…");
    assert!(details.len() > 1000 && details.iter().map(String::len).sum::<usize>() < 20_000);
}
