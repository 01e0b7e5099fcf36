//! What becomes of a history that is old, new, damaged, locked or in the wrong
//! place.

use super::*;

#[test]
fn a_history_of_an_older_version_is_taken_to_this_one() {
    let dir = tempfile::tempdir().unwrap();
    {
        let connection = raw(dir.path());
        schema::of_version(&connection, 1);
        let entry = rows::remembered("old", &report("a", Verdict::Good, night(0)));
        let columns = rows::COLUMNS.strip_suffix(", timings").unwrap();
        let places = rows::PLACES.strip_suffix(", ?22").unwrap();
        let values = rows::values(&entry).into_iter().take(21);
        let sql = format!("INSERT INTO runs ({columns}) VALUES ({places})");
        connection.execute(&sql, params_from_iter(values)).unwrap();
    }
    fs::set_permissions(History::path(dir.path()), fs::Permissions::from_mode(0o644)).unwrap();
    let before = state(dir.path());
    let reader = History::read(dir.path()).unwrap().unwrap();
    assert_eq!(runs_of(&reader, "a"), ["old"]);
    assert_eq!(reader.good_runs(&name("a"), 9).unwrap()[0].timings, Sums::new());
    assert_eq!(reader.last_runs().unwrap()["a"].run, "old");
    assert!(reader.verifications(&name("a"), 9).unwrap().is_empty(), "it has no table for them");
    drop(reader);
    assert_eq!(state(dir.path()), before, "who only reads takes nothing anywhere");

    let opened = History::open(dir.path(), night(1));
    let Opened { history, is_new, warnings } = opened.unwrap();
    assert!(!is_new);
    assert_eq!(warnings.len(), 1, "it was everybody's to read: {warnings:?}");
    history.record_verification(&verification(1)).unwrap();
    history.record("new", &report("a", Verdict::Good, night(1))).unwrap();
    drop(history);
    let history = open_well(dir.path());
    assert_eq!(runs_of(&history, "a"), ["new", "old"]);
    assert_eq!(history.verifications(&name("vpn"), 9).unwrap().len(), 1);
}

#[test]
fn every_step_leads_from_the_version_before_to_the_newest() {
    for version in 0..=schema::NEWEST {
        let mut connection = Connection::open_in_memory().unwrap();
        if version > 0 {
            schema::of_version(&connection, version);
        }
        schema::migrate(&mut connection).unwrap();
        assert_eq!(schema::kind(&connection).unwrap(), Kind::Ours(schema::NEWEST), "from {version}");
        schema::complete(&connection).unwrap();
    }
}

#[test]
fn a_history_of_a_newer_version_is_left_as_it_is() {
    let (dir, history) = opened();
    history.record("run", &report("a", Verdict::Good, night(0))).unwrap();
    drop(history);
    let newer = i64::try_from(schema::NEWEST).unwrap() + 1;
    raw(dir.path()).pragma_update(None, "user_version", newer).unwrap();
    let before = state(dir.path());
    for error in [
        History::open(dir.path(), night(1)).map(|_| ()).unwrap_err(),
        History::read(dir.path()).map(|_| ()).unwrap_err(),
    ] {
        assert!(matches!(&error, HistoryError::Newer { found, .. } if *found == newer), "{error}");
        assert!(
            error.to_string().contains("has format 4, and this program knows formats up to 3"),
            "{error}"
        );
    }
    let after = state(dir.path());
    assert_eq!(after[0], before[0]);
}

/// Breaks the history in a directory.
type Break = fn(&Path);

#[test]
fn what_is_no_history_is_set_aside_and_another_begun() {
    for (what, break_it, why) in [
        (
            "text",
            (|path| fs::write(path, "host = vpn\n".repeat(500)).unwrap()) as Break,
            "file is not a database",
        ),
        ("a few bytes", |path| fs::write(path, "SQLite").unwrap(), "file is not a database"),
        (
            "half of it",
            |path| {
                let bytes = fs::read(path).unwrap();
                fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            },
            "malformed",
        ),
        (
            "a page of nonsense",
            |path| {
                let mut bytes = fs::read(path).unwrap();
                bytes[3 * 4096..4 * 4096].fill(0xa5);
                fs::write(path, bytes).unwrap();
            },
            "",
        ),
        (
            "a scheme of nonsense",
            |path| {
                let mut bytes = fs::read(path).unwrap();
                bytes[100..4096].fill(0xa5);
                fs::write(path, bytes).unwrap();
            },
            "malformed",
        ),
        (
            "somebody's database",
            |path| {
                fs::remove_file(path).unwrap();
                Connection::open(path).unwrap().execute_batch("CREATE TABLE runs (id)").unwrap();
            },
            "it is not a history of this program",
        ),
        (
            "a table less",
            |path| Connection::open(path).unwrap().execute_batch("DROP TABLE runs").unwrap(),
            "no such table: runs",
        ),
        (
            "a column less",
            |path| {
                Connection::open(path).unwrap().execute_batch("ALTER TABLE runs DROP COLUMN deleted").unwrap()
            },
            "no such column: deleted",
        ),
        (
            "a directory",
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            "it is not a file",
        ),
    ] {
        let (dir, history) = opened();
        for number in 0..100 {
            history.record(&format!("{number}"), &report("a", Verdict::Good, night(number))).unwrap();
        }
        drop(history);
        let path = History::path(dir.path());
        break_it(&path);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let broken = fs::read(&path).unwrap_or_default();
        let read = History::read(dir.path()).and_then(|history| history.unwrap().runs(&name("a"), 1000));
        if !matches!(what, "a page of nonsense" | "half of it") {
            assert!(matches!(read, Err(HistoryError::Damaged { .. })), "{what}: {read:?}");
        }

        let Opened { history, is_new, warnings } = History::open(dir.path(), at(NIGHT)).unwrap();
        assert!(is_new, "{what}");
        let [warning] = &warnings[..] else { panic!("{what}: {warnings:?}") };
        assert!(
            warning.contains(why) && warning.contains("history.db.corrupt-2026-11-20T020005Z"),
            "{warning}"
        );
        assert_eq!(fs::read(place::beside(&path, ".corrupt-2026-11-20T020005Z")).unwrap_or_default(), broken);
        history.record("after", &report("a", Verdict::Good, night(1))).unwrap();
        assert_eq!(runs_of(&history, "a"), ["after"], "{what}");
        drop(history);
        assert_eq!(names(dir.path()), ["history.db", "history.db.corrupt-2026-11-20T020005Z"], "{what}");
        open_well(dir.path());
    }
}

#[test]
fn what_is_set_aside_takes_nothing_else_s_place() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        fs::write(History::path(dir.path()), "nonsense").unwrap();
        fs::write(place::beside(&History::path(dir.path()), "-wal"), "more of it").unwrap();
        fs::set_permissions(History::path(dir.path()), PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(History::open(dir.path(), at(NIGHT)).unwrap().warnings.len(), 1);
    }
    let aside = "history.db.corrupt-2026-11-20T020005Z";
    let expected = ["", "-2", "-2-wal", "-3", "-3-wal", "-wal"].map(|end| format!("{aside}{end}"));
    assert_eq!(names(dir.path())[1..], expected);
}

#[test]
fn an_empty_file_is_a_new_history_and_no_history_to_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    assert!(History::read(dir.path()).unwrap().is_none());
    assert!(History::read(&dir.path().join("missing")).unwrap().is_none());
    fs::write(History::path(dir.path()), "").unwrap();
    assert!(History::read(dir.path()).unwrap().is_none());
    assert_eq!(names(dir.path()), ["history.db"]);
    assert!(History::open(dir.path(), at(NIGHT)).unwrap().is_new);
    let missing = dir.path().join("missing/state");
    assert!(History::open(&missing, at(NIGHT)).unwrap().is_new);
    assert_eq!(fs::metadata(&missing).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_place_where_no_file_can_be_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    for place in [dir.path().join("file/state"), "/proc/self".into()] {
        let error = History::open(&place, at(NIGHT)).unwrap_err();
        assert!(matches!(error, HistoryError::Unusable { .. }), "{error:?}");
        assert!(
            error.to_string().contains("history.db") && error.to_string().contains("state_dir"),
            "{error}"
        );
    }
}

#[test]
fn a_history_that_another_process_locks_is_given_up_after_a_moment() {
    let (dir, history) = opened();
    history.record("first", &report("a", Verdict::Good, night(0))).unwrap();
    let other = raw(dir.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begin = std::time::Instant::now();
    let error = history.record("second", &report("a", Verdict::Good, night(1))).unwrap_err();
    assert!(matches!(error, HistoryError::Locked { .. }), "{error:?}");
    assert!(begin.elapsed() < 3 * PATIENCE, "{:?}", begin.elapsed());
    assert_eq!(runs_of(&history, "a"), ["first"], "to read it is no trouble");
    assert_eq!(runs_of(&open_well(dir.path()), "a"), ["first"], "nor to open it");
    other.execute_batch("ROLLBACK").unwrap();
    history.record("second", &report("a", Verdict::Good, night(1))).unwrap();
}

#[test]
fn runs_that_begin_at_once_begin_one_history() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(History::path(dir.path()), "nonsense").unwrap();
    fs::set_permissions(History::path(dir.path()), PermissionsExt::from_mode(0o600)).unwrap();
    let warnings: usize = std::thread::scope(|scope| {
        let open = |number| {
            let dir = dir.path();
            move || {
                let opened = History::open(dir, at(NIGHT)).unwrap();
                opened
                    .history
                    .record(&format!("{number}"), &report("a", Verdict::Good, night(number)))
                    .unwrap();
                opened.warnings.len()
            }
        };
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(open(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(warnings, 1, "one of them found the damage");
    assert_eq!(runs_of(&open_well(dir.path()), "a").len(), 8);
}

#[test]
fn an_odd_row_does_not_hide_the_others() {
    let (dir, history) = opened();
    for number in 0..3 {
        history.record(&format!("{number}"), &report("a", Verdict::Good, night(number))).unwrap();
    }
    raw(dir.path())
        .execute_batch(
            "UPDATE runs SET started = 'noon', verdict = 'great', severity = -7, hooks = '{', files = -1,
             transfers = CAST(x'ff' AS TEXT), summary = CAST(x'fe' AS TEXT) WHERE run = '1'",
        )
        .unwrap();
    let runs = history.runs(&name("a"), 9).unwrap();
    assert_eq!(runs.len(), 3);
    let odd = &runs[1];
    assert_eq!((odd.started, odd.verdict, odd.severity), (DateTime::UNIX_EPOCH, None, Severity::Critical));
    assert_eq!((odd.files, odd.bytes, odd.hooks.len(), odd.transfers.len()), (None, Some(4096), 0, 0));
    assert_eq!(odd.summary, "\u{fffd}");
}
