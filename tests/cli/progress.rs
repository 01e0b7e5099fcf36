//! What a run draws on a terminal while it is under way, and what it leaves
//! there: nothing.

use crate::support::rig::*;
use crate::support::terminal::Terminal;
use std::fs;
use std::path::PathBuf;

/// Hosts whose hooks wait for leave to end.
fn waiting(hosts: usize, jobs: usize) -> (Rig, PathBuf) {
    let mut rig = Rig::without_sshd();
    rig.top = format!("jobs = {jobs}");
    for number in 0..hosts {
        rig.host(&format!("host{number:02}"));
    }
    let go = rig.join("go");
    rig.hook("wait", &format!("until [ -e {go:?} ]; do sleep 0.02; done\n"));
    (rig, go)
}

/// Whether a line is one of those that come and go.
fn passing(line: &str) -> bool {
    ["hosts done", "running hooks", "copying", "connecting", "probing the"]
        .iter()
        .any(|part| line.contains(part))
}

#[test]
fn a_terminal_shows_a_line_for_each_running_host_and_a_total_and_keeps_none() {
    let (rig, go) = waiting(3, 2);
    let mut terminal = Terminal::start(&rig.command(&["all"]), 100, 24, false);
    let lines = terminal.shows("two hosts and the total", |lines| {
        lines.iter().filter(|line| line.ends_with("  running hooks")).count() == 2
            && lines.last().is_some_and(|line| line.ends_with("  0 of 3 hosts done"))
    });
    assert_eq!(lines.iter().filter(|line| line.starts_with("host0")).count(), 2, "{lines:#?}");
    fs::write(go, "").unwrap();
    assert_eq!(terminal.ends(), Some(0));
    let everything = terminal.everything();
    assert!(!everything.iter().any(|line| passing(line)), "{everything:#?}");
    for part in ["host00: OK: ", "host01: OK: ", "host02: OK: ", "3 hosts: 3 good"] {
        assert!(everything.iter().any(|line| line.contains(part)), "`{part}` is missing in {everything:#?}");
    }
}

#[test]
fn figures_of_a_copy_are_shown_with_their_rate() {
    let mut rig = Rig::without_sshd();
    let source = rig.host("web");
    big_file(&source.join("big"), 12);
    rig.section("transfer", "bandwidth_limit = \"4m\"");
    let mut terminal = Terminal::start(&rig.command(&["all"]), 100, 24, false);
    let is_copying = |line: &String| {
        line.starts_with("web  ")
            && line.contains("  copying, ")
            && line.contains(" MiB, ")
            && line.ends_with("iB/s")
    };
    let lines = terminal.shows("figures", |lines| lines.iter().any(is_copying));
    assert!(lines.last().unwrap().contains("0 of 1 host done, "), "{lines:#?}");
    assert_eq!(terminal.ends(), Some(0));
    assert!(!terminal.everything().iter().any(|line| passing(line)));
}

#[test]
fn more_hosts_than_rows_leave_no_garbage_above() {
    let (rig, go) = waiting(12, 12);
    let mut terminal = Terminal::start(&rig.command(&["all"]), 60, 8, false);
    let lines = terminal.shows("what does not fit is counted", |lines| {
        lines.last().is_some_and(|line| line.ends_with("0 of 12 hosts done, 6 hosts more under way"))
            && lines.iter().filter(|line| line.ends_with("running hooks")).count() == 6
    });
    assert!(lines.len() <= 8);
    fs::write(go, "").unwrap();
    assert_eq!(terminal.ends(), Some(0));
    let everything = terminal.everything();
    assert!(!everything.iter().any(|line| passing(line)), "{everything:#?}");
}

#[test]
fn lines_fit_a_terminal_that_changes_its_size() {
    let (rig, go) = waiting(4, 4);
    let mut terminal = Terminal::start(&rig.command(&["all"]), 100, 24, false);
    let hooks = |lines: &[String]| lines.iter().filter(|line| line.contains("runni")).count();
    terminal.shows("four hosts", |lines| hooks(lines) == 4);
    for (columns, rows) in [(24, 12), (120, 40), (30, 10)] {
        terminal.resize(columns, rows);
        terminal.shows("the same in the new size", |lines| {
            let shown: Vec<&String> = lines.iter().filter(|line| line.starts_with("host0")).collect();
            let last = lines.last().is_some_and(|line| line.contains("0 of 4"));
            shown.len() == 4
                && last
                && hooks(lines) == 4
                && lines.iter().all(|line| line.chars().count() < columns)
        });
    }
    fs::write(go, "").unwrap();
    assert_eq!(terminal.ends(), Some(0));
}

#[test]
fn nothing_is_drawn_where_nobody_looks() {
    let mut rig = Rig::without_sshd();
    rig.host("web");
    for arguments in [&["all"][..], &["verify"]] {
        let piped = rig.backup(arguments).exits(0);
        let said = format!("{}{}", piped.stdout, piped.stderr);
        assert!(!said.contains(['\x1b', '\r', '\x08']), "{said:?}");
    }
    let mut quiet = Terminal::start(&rig.command(&["--quiet", "all"]), 100, 24, false);
    assert_eq!(quiet.ends(), Some(0));
    // A warning may have its colour; lines that are drawn are erased.
    assert!(!String::from_utf8_lossy(&quiet.bytes()).contains("\x1b[K"), "{:?}", quiet.lines());
    let mut command = rig.command(&["all"]);
    command.env("TERM", "dumb").env("NO_COLOR", "1");
    let mut dumb = Terminal::start(&command, 100, 24, false);
    assert_eq!(dumb.ends(), Some(0));
    assert!(!String::from_utf8_lossy(&dumb.bytes()).contains('\x1b'), "{:?}", dumb.lines());
}

#[test]
fn without_colours_lines_are_drawn_all_the_same() {
    let (rig, go) = waiting(1, 1);
    let mut command = rig.command(&["all"]);
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::start(&command, 100, 24, false);
    terminal.shows("the host", |lines| lines.iter().any(|line| line.ends_with("running hooks")));
    fs::write(go, "").unwrap();
    assert_eq!(terminal.ends(), Some(0));
    let text = String::from_utf8_lossy(&terminal.bytes()).into_owned();
    let colours = text
        .split("\x1b[")
        .skip(1)
        .filter(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'));
    assert_eq!(colours.count(), 0, "{text:?}");
}

#[test]
fn an_end_by_ctrl_c_leaves_nothing_either() {
    let (rig, _go) = waiting(2, 2);
    let mut terminal = Terminal::start(&rig.command(&["all"]), 100, 24, false);
    terminal
        .shows("two hosts", |lines| lines.iter().filter(|line| line.ends_with("running hooks")).count() == 2);
    terminal.types("\x03");
    assert_eq!(terminal.ends(), Some(1));
    let everything = terminal.everything();
    assert!(everything.iter().any(|line| line.contains("told to stop")), "{everything:#?}");
    assert!(!everything.iter().any(|line| line.contains("hosts done")), "{everything:#?}");
}

#[test]
fn a_verification_shows_how_far_it_is_and_its_table_alone() {
    let mut rig = Rig::without_sshd();
    rig.host("web");
    rig.backup(&["all"]).exits(0);
    let snare = crate::support::snare::Snare::new(&rig);
    let dir = rig.join("snare");
    // It stops before its first rsync.
    fs::write(dir.join("set"), "Before\n0\nrsync *\n").unwrap();
    let mut terminal = Terminal::start(&snare.command(&rig, &["verify"]), 100, 24, true);
    terminal.shows("the host", |lines| {
        lines.iter().any(|line| line.starts_with("web  ") && line.ends_with("comparing"))
    });
    snare.go();
    assert_eq!(terminal.ends(), Some(0));
    let everything = terminal.everything();
    assert!(everything.iter().any(|line| line.starts_with("web   good ")), "{everything:#?}");
    assert!(!everything.iter().any(|line| line.contains("comparing") || passing(line)), "{everything:#?}");
}
