//! `backup status`: every host that should be there and every host that is.

use crate::support::netbox::{Machine, StandIn, TOKEN};
use crate::support::rig::*;
use crate::support::shelf::*;
use backup::core::format::timing::Timings;
use backup::core::model::outcome::{Figures, HostReport, Outcome, Stage};
use backup::core::model::snapshot::{SnapshotName, Verdict};
use backup::edge::history::History;
use chrono::{DateTime, TimeDelta};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

fn on_both(test: impl Fn(Shelf)) {
    test(Shelf::of_directories());
    test(Shelf::of_zfs());
}

/// One host of the answer.
#[track_caller]
fn host<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let hosts = answer["hosts"].as_array().unwrap();
    hosts.iter().find(|host| host["name"] == name).unwrap_or_else(|| panic!("{name} is not in {answer:#}"))
}

/// What a run so many hours ago had to say, in the history.
fn remember(shelf: &Shelf, host: &str, hours: i64, outcome: Outcome, figures: Option<Figures>) {
    let finished = now() - TimeDelta::hours(hours);
    let report = HostReport {
        host: host.to_owned(),
        outcome,
        notes: Vec::new(),
        started: finished - TimeDelta::seconds(12),
        finished,
        figures,
        transfers: Vec::new(),
        hooks: Vec::new(),
        timings: Timings::default(),
        snapshots: None,
        last_good: None,
    };
    let history = History::open(&shelf.rig.join("state"), finished).unwrap().history;
    history.record(&format!("run-{hours}"), &report).unwrap();
}

fn failed(why: &str) -> Outcome {
    Outcome::Failed { stage: Stage::Connect, why: why.to_owned() }
}

/// A NetBox that lists these hosts, in the shelf's configuration.
fn netbox(shelf: &mut Shelf, names: &[&str]) -> StandIn {
    let netbox = StandIn::start(names.iter().map(|name| Machine::vm(name)).collect());
    let token = shelf.rig.write("token", TOKEN);
    fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
    let url = netbox.url();
    shelf.rig.section("inventory.netbox", &format!("url = {url:?}\ntoken_file = {token:?}\n"));
    netbox
}

#[test]
fn every_expected_host_is_there_with_how_it_is_doing() {
    on_both(|mut shelf| {
        for name in ["VPN", "Mail", "Stale", "New", "Tried"] {
            shelf.rig.host(name);
        }
        shelf.with("vpn", 24 * 10 + 13, facts("good", 9, 1000, 11));
        let newest = shelf.with("vpn", 13, facts("good", 10, 11_000, 12));
        let held = shelf.good("mail", 30);
        shelf.hold("mail", &held);
        shelf.with("mail", 6, facts("suspect", 1, 2, 3));
        shelf.put(&Copy { host: "mail", name: "before-upgrade", facts: None });
        shelf.good("stale", 24 * 3 + 1);
        remember(&shelf, "Tried", 6, failed("no route to host"), None);
        let answer = shelf.json(1, &["status", "--json"]);
        let names: Vec<&str> =
            answer["hosts"].as_array().unwrap().iter().map(|host| host["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["Mail", "New", "Stale", "Tried", "VPN"], "by name, as the inventory spells them");
        let vpn = host(&answer, "VPN");
        for (field, value) in [
            ("state", json!("good")),
            ("last_run", json!(time_of(&newest))),
            ("last_good", json!(time_of(&newest))),
            ("snapshots", json!(2)),
            ("bytes", json!(11_000)),
            ("problem", Value::Null),
            ("last_result", json!("good")),
            ("growth_bytes_per_day", json!(1000)),
            ("files", json!(10)),
            ("held", json!(0)),
            ("foreign", json!(0)),
            ("running_since", Value::Null),
            ("open_findings", json!(0)),
        ] {
            assert_eq!(vpn[field], value, "{field}");
        }
        let age = vpn["age_seconds"].as_i64().unwrap() - 13 * 3600;
        assert!((0..120).contains(&age), "{age}");
        let mail = host(&answer, "Mail");
        assert_eq!((&mail["state"], &mail["last_good"]), (&json!("failed"), &json!(time_of(&held))));
        assert_eq!((&mail["snapshots"], &mail["held"], &mail["foreign"]), (&json!(2), &json!(1), &json!(1)));
        assert_eq!(mail["problem"], "suspect copy: it is not plausible");
        let stale = host(&answer, "Stale");
        assert_eq!(
            (&stale["state"], &stale["problem"]),
            (&json!("failed"), &json!("last good copy is 3 days old"))
        );
        let new = host(&answer, "New");
        assert_eq!((&new["state"], &new["problem"]), (&json!("never"), &json!("never backed up")));
        for field in ["last_run", "last_good", "age_seconds", "bytes", "last_result", "growth_bytes_per_day"]
        {
            assert_eq!(new[field], Value::Null, "{field}");
        }
        let tried = host(&answer, "Tried");
        assert_eq!(tried["state"], "failed", "it was tried");
        assert_eq!(tried["problem"], "no good copy; connect failed: no route to host");
        assert_eq!(answer["warnings"], json!([]));
        let mut alone = shelf.json(0, &["status", "vpn", "--json"])["hosts"][0].clone();
        alone["age_seconds"] = vpn["age_seconds"].clone();
        assert_eq!(alone, *vpn, "one that is looked at alone looks the same");
    });
}

#[test]
fn the_last_run_and_its_problem_come_from_the_history() {
    let mut shelf = Shelf::of_directories();
    shelf.rig.host("vpn");
    shelf.rig.host("web");
    shelf.good("vpn", 30);
    shelf.good("web", 6);
    remember(&shelf, "VPN", 6, failed("no route to host; is it switched on?\nssh said so"), None);
    remember(&shelf, "web", 30, failed("that was long ago"), None);
    let answer = shelf.json(1, &["status", "--json"]);
    let vpn = host(&answer, "vpn");
    assert_eq!(vpn["state"], "failed");
    assert_eq!(vpn["problem"], "connect failed: no route to host; is it switched on?");
    assert_eq!(vpn["last_result"], "failed");
    let at = DateTime::parse_from_rfc3339(vpn["last_run"].as_str().unwrap()).unwrap().to_utc();
    assert!((now() - at - TimeDelta::hours(6)).abs() < TimeDelta::minutes(2), "{at}");
    assert_eq!(host(&answer, "web")["state"], "good", "its snapshot is newer than the history");
}

#[test]
fn a_history_that_cannot_be_read_is_said_once_and_the_snapshots_answer() {
    let path = |shelf: &Shelf| shelf.rig.join("state/history.db");
    let damaged = |shelf: &Shelf| fs::write(path(shelf), "no database at all ".repeat(100)).unwrap();
    let newer = |shelf: &Shelf| {
        let database = rusqlite::Connection::open(path(shelf)).unwrap();
        database.pragma_update(None, "user_version", 99).unwrap();
    };
    let folder = |shelf: &Shelf| {
        fs::remove_file(path(shelf)).unwrap();
        fs::create_dir(path(shelf)).unwrap();
    };
    for (spoil, said) in [
        (&damaged as &dyn Fn(&Shelf), "cannot be read"),
        (&newer, "has format 99"),
        (&folder, "it is not a file"),
    ] {
        let mut shelf = Shelf::of_directories();
        shelf.rig.host("vpn");
        shelf.good("vpn", 30);
        remember(&shelf, "vpn", 6, failed("no route to host"), None);
        spoil(&shelf);
        let before = shelf.fingerprint();
        let ran = shelf.backup(&["status", "--json"]).exits(0).says(said);
        assert_eq!(ran.stderr.matches("as far as the snapshots record them").count(), 1, "{}", ran.stderr);
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(host(&answer, "vpn")["state"], "good", "nothing is known against it");
        assert_eq!(answer["warnings"].as_array().unwrap().len(), 1);
        assert_eq!(shelf.fingerprint(), before, "{said}");
    }
}

#[test]
fn an_ordinary_user_is_told_what_is_in_the_way() {
    let mut shelf = Shelf::of_directories();
    shelf.rig.host("vpn");
    shelf.good("vpn", 13);
    remember(&shelf, "vpn", 13, failed("no route to host"), None);
    let mut command = shelf.command(&["status"]);
    // The key to log in with is root's, too.
    let config = shelf.rig.configure();
    let text = fs::read_to_string(&config).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("identity_file")).collect();
    fs::write(&config, lines.join("\n")).unwrap();
    for folder in ["", "state", "store"] {
        fs::set_permissions(shelf.rig.join(folder), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let ran = Ran::from(finish(command.uid(65_534).gid(65_534).spawn().unwrap())).exits(0);
    ran.says("history.db`: Permission denied (os error 13) (is this root?)").does_not_say("file:/");
}

#[test]
fn hosts_that_left_the_inventory_are_retired_and_keep_what_they_have() {
    on_both(|mut shelf| {
        shelf.rig.host("vpn");
        shelf.good("vpn", 13);
        let old = shelf.good("old", 5000);
        shelf.put(&Copy { host: "old", name: "before-upgrade", facts: None });
        let answer = shelf.json(0, &["status", "--json"]);
        let gone = host(&answer, "old");
        assert_eq!(
            (&gone["state"], &gone["snapshots"], &gone["foreign"]),
            (&json!("retired"), &json!(1), &json!(1))
        );
        assert_eq!(gone["last_good"], time_of(&old));
        assert_eq!(gone["problem"], "not in the inventory; its snapshots stay");
        assert!(shelf.tree("old", &old).join("etc/hostname").exists());
        assert_eq!(shelf.json(0, &["status", "OLD", "--json"])["hosts"].as_array().unwrap().len(), 1);
        assert_eq!(shelf.json(0, &["status", "ol*", "v*", "--json"])["hosts"].as_array().unwrap().len(), 2);
        shelf.backup(&["status", "--quiet"]).exits(0);
    });
}

#[test]
fn a_host_that_nobody_knows_is_an_error_that_names_the_nearest() {
    on_both(|mut shelf| {
        shelf.rig.host("vpn");
        shelf.good("vpn", 13);
        shelf.good("archive", 5000);
        for (words, said) in [
            (&["vnp"][..], "neither the inventory nor the store has a host `vnp`; did you mean `vpn`?"),
            (&["archiv"], "did you mean `archive`?"),
            (&["vpn", "archiv"], "did you mean `archive`?"),
            (&["x*"], "no host's name matches `x*`"),
            (&["[x"], "`[x` is no pattern"),
            (&["zzzzzz"], "neither the inventory nor the store has a host `zzzzzz`"),
        ] {
            let ran = shelf.backup(&[&["status"], words].concat()).exits(2).says(said);
            assert_eq!(ran.stdout, "", "{words:?}");
        }
        let ran = shelf.backup(&["status", "--nagios", "vnp"]).exits(3);
        assert!(ran.stdout.starts_with("BACKUP UNKNOWN - neither the inventory"), "{}", ran.stdout);
    });
}

#[test]
fn a_plugin_gets_one_line_and_an_exit_status() {
    let mut shelf = Shelf::of_directories();
    shelf.rig.host("vpn");
    shelf.good("vpn", 13);
    shelf.good("old", 5000);
    let line = |code: i32, shelf: &Shelf| {
        let ran = shelf.backup(&["status", "--nagios"]).exits(code);
        assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
        assert_eq!(ran.stderr, "");
        ran.stdout
    };
    let ok = line(0, &shelf);
    assert!(ok.starts_with("BACKUP OK - 1 host good | hosts=1 good=1 warning=0 failed=0 "), "{ok}");
    shelf.rig.host("stale");
    shelf.good("stale", 40);
    let warning = line(1, &shelf);
    assert!(
        warning.starts_with(
            "BACKUP WARNING - 2 hosts: 1 with a warning, 1 good; stale: last good copy is 40 hours old | "
        ),
        "{warning}"
    );
    shelf.rig.host("web");
    shelf.good("web", 13);
    remember(&shelf, "web", 6, failed("no | route\n…"), None);
    let critical = line(2, &shelf);
    assert!(
        critical.starts_with("BACKUP CRITICAL - 3 hosts: 1 failed, 1 with a warning, 1 good; web: connect failed: no / route; stale: "),
        "{critical}"
    );
    shelf.rig.section("store.directory", "path = \"/nowhere\"\n");
    let unknown = line(3, &shelf);
    assert!(
        unknown.starts_with("BACKUP UNKNOWN - cannot open the store's directory `/nowhere`"),
        "{unknown}"
    );
}

#[test]
fn the_configured_ttl_says_how_old_is_too_old() {
    let mut shelf = Shelf::of_directories();
    shelf.rig.host("vpn");
    shelf.good("vpn", 100);
    assert_eq!(shelf.json(1, &["status", "--json"])["hosts"][0]["state"], "failed");
    let password = shelf.rig.write("password", "secret");
    fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
    let icinga = format!(
        "url = \"https://127.0.0.1:9/\"\nuser = \"backup\"\npassword_file = {password:?}\nttl = \"170h\"\n"
    );
    shelf.rig.section("icinga", &icinga);
    assert_eq!(shelf.json(0, &["status", "--json"])["hosts"][0]["state"], "good");
}

#[test]
fn a_netbox_that_is_away_or_slow_is_answered_for_by_its_last_list() {
    let mut shelf = Shelf::of_directories();
    let netbox = netbox(&mut shelf, &["VPN", "New"]);
    shelf.rig.section("inventory.netbox", "timeout = \"20s\"\n");
    shelf.good("vpn", 13);
    shelf.good("old", 13);
    shelf.rig.backup(&["run", "nobody"]).exits(2);
    assert!(shelf.rig.join("state/inventory.json").exists(), "a run keeps the list");
    let answer = shelf.json(1, &["status", "--json"]);
    assert_eq!(host(&answer, "New")["state"], "never");
    assert_eq!(host(&answer, "old")["state"], "retired");
    drop(netbox);
    let before = shelf.fingerprint();
    let ran = shelf.backup(&["status", "vpn", "old", "--json"]).exits(0).says("its list of ");
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&host(&answer, "VPN")["state"], &host(&answer, "old")["state"]),
        (&json!("good"), &json!("retired"))
    );
    assert!(answer["warnings"][0].as_str().unwrap().contains("its list of "), "{answer}");
    let line = shelf.backup(&["status", "vpn", "--nagios"]).exits(0).stdout;
    assert!(line.starts_with("BACKUP OK - 1 host good; ") && line.contains(" | hosts=1 "), "{line}");
    assert_eq!(shelf.fingerprint(), before, "a look changes nothing");

    // One that takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    shelf.rig.section("inventory.netbox", &format!("url = {url:?}\ntimeout = \"2s\"\n"));
    shelf.backup(&["status", "vpn"]).exits(0).says("did not list its hosts within 2.0s");
}

#[test]
fn without_any_list_the_store_still_answers_and_that_is_not_good() {
    let mut shelf = Shelf::of_directories();
    drop(netbox(&mut shelf, &["VPN"]));
    shelf.good("vpn", 13);
    let ran = shelf.backup(&["status", "--json"]).exits(1).says("the inventory is not available");
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(host(&answer, "vpn")["state"], "good", "of itself");
    assert!(answer["warnings"][0].as_str().unwrap().contains("is not available"), "{answer}");
    let line = shelf.backup(&["status", "--nagios"]).exits(3).stdout;
    assert!(line.starts_with("BACKUP UNKNOWN - 1 host good; the inventory is not available"), "{line}");
}

#[test]
fn without_netboxs_list_no_host_is_called_retired() {
    let mut shelf = Shelf::of_directories();
    drop(netbox(&mut shelf, &["VPN"]));
    shelf.rig.host("own");
    shelf.good("vpn", 13);
    shelf.good("own", 13);
    shelf.good("stale", 24 * 3 + 1);
    let known = "the inventory is not available; shown are the hosts of the configuration";
    let ran = shelf.backup(&["status", "--json"]).exits(1).says(known).says("no earlier list");
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    let states = ["vpn", "own", "stale"].map(|name| host(&answer, name)["state"].clone());
    assert_eq!(states, ["good", "good", "failed"]);
    let line = shelf.backup(&["status", "vpn", "--nagios"]).exits(3).stdout;
    assert!(line.starts_with(&format!("BACKUP UNKNOWN - 1 host good; {known}")), "{line}");
    let line = shelf.backup(&["status", "own", "--nagios"]).exits(0).stdout;
    assert!(line.starts_with("BACKUP OK - 1 host good; "), "it is the configuration's: {line}");
}

#[test]
fn a_spoilt_list_of_hosts_is_left_for_the_next_run_to_set_aside() {
    let mut shelf = Shelf::of_directories();
    drop(netbox(&mut shelf, &["VPN"]));
    shelf.rig.write("state/inventory.json", "{\"version\": 1, ");
    let before = shelf.fingerprint();
    shelf.backup(&["status"]).exits(1).says("the next run sets it aside");
    assert_eq!(shelf.fingerprint(), before);
}

#[test]
fn a_host_that_cannot_be_backed_up_has_failed() {
    let mut shelf = Shelf::of_directories();
    let _netbox = netbox(&mut shelf, &["VPN", "-e sh"]);
    shelf.good("vpn", 13);
    let answer = shelf.json(1, &["status", "--json"]);
    let unfit = host(&answer, "-e sh");
    assert_eq!(unfit["state"], "failed");
    assert!(unfit["problem"].as_str().unwrap().starts_with("cannot be backed up: "), "{unfit}");
}

#[test]
fn a_host_that_is_being_backed_up_is_running_and_its_run_notices_nothing() {
    let mut rig = Rig::new();
    rig.host("vpn");
    rig.host("web");
    rig.backup(&["all"]).exits(0);
    let (there, go) = (rig.join("there"), rig.join("go"));
    rig.hook("wait", &format!("touch {there:?}\nuntil [ -e {go:?} ]; do sleep 0.02; done\n"));
    let child = rig.start(&["vpn"]);
    rig.wait_until("the hook runs", || there.exists());
    for _ in 0..5 {
        let ran = rig.backup(&["status", "--json"]).exits(0);
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(host(&answer, "vpn")["state"], "running");
        assert!(host(&answer, "vpn")["running_since"].is_string());
        assert_eq!(host(&answer, "web")["state"], "good");
    }
    fs::write(&go, "").unwrap();
    Ran::from(finish(child)).exits(0);
    let answer: Value = serde_json::from_str(&rig.backup(&["status", "--json"]).exits(0).stdout).unwrap();
    assert_eq!(host(&answer, "vpn")["state"], "good");
}

#[test]
fn in_a_pipe_each_host_is_one_whole_line_those_that_need_a_look_last() {
    let mut shelf = Shelf::of_directories();
    for name in ["bad", "vpn", "new"] {
        shelf.rig.host(name);
    }
    shelf.with("vpn", 24 * 20, facts("good", 9, 1 << 20, 11));
    shelf.with("vpn", 13, facts("good", 10, 21 << 20, 12));
    shelf.good("bad", 13);
    let why = format!("no route to {}", "a very long name ".repeat(20));
    remember(&shelf, "bad", 6, failed(&why), None);
    let ran = shelf.backup(&["status"]).exits(1).says("3 hosts: 1 good, 1 never backed up, 1 failed");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", ran.stdout);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        words(lines[0]),
        ["HOST", "STATE", "AGE", "LAST", "RUN", "SIZE", "GROWTH/DAY", "SNAPSHOTS", "PROBLEM"]
    );
    assert!(lines[1].starts_with("vpn   good    13 hours  "), "{}", lines[1]);
    assert!(lines[1].ends_with(" good    21.0 MiB    +1.0 MiB          2"), "{}", lines[1]);
    assert_eq!(words(lines[2]), ["new", "never", "-", "-", "-", "-", "0", "never", "backed", "up"]);
    assert!(
        lines[3].starts_with("bad   failed  13 hours  ") && lines[3].ends_with(why.trim_end()),
        "{}",
        lines[3]
    );
    let quiet = shelf.backup(&["status", "-q"]).exits(1);
    assert_eq!((quiet.stdout, quiet.stderr), (ran.stdout, String::new()));
}

#[test]
fn on_a_terminal_nothing_is_wider_than_100_columns() {
    let mut shelf = Shelf::of_directories();
    let long = format!("{}.example.org", "x".repeat(100));
    for name in ["host-0001.example.org", "web", &long] {
        shelf.rig.host(name);
        shelf.with(name, 24 * 20, facts("good", 9, 1 << 40, 11));
        shelf.with(name, 13, facts("good", 10, 2 << 40, 12));
    }
    let text = on_terminal(&shelf.command(&["status", "web", "host-0001.example.org"]));
    assert!(text.contains("\nhost-0001.example.org  good   13 hours  "), "nothing is broken: {text}");
    remember(&shelf, "web", 6, failed(&format!("no route to {}", "a very long name ".repeat(20))), None);
    let text = on_terminal(&shelf.command(&["status"]));
    assert!(text.contains("\nHOST  PROBLEM\nweb   connect failed: no route"), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}\n{text}");
    }
}

/// Good copies of 40 nights, one of them suspect, in the history for the last
/// 20.
fn nights(shelf: &Shelf) {
    for night in (0..40).rev() {
        let (hours, bytes) = (night * 24 + 6, (100 - u64::try_from(night).unwrap()) << 30);
        let verdict = if night == 7 { "suspect" } else { "good" };
        shelf.with("vpn", hours, facts(verdict, 10, bytes, 600));
        if night < 20 {
            let verdict = if night == 7 { Verdict::Suspect } else { Verdict::Good };
            let snapshot = SnapshotName::at(now() - TimeDelta::hours(hours));
            let figures =
                Figures { files: 10, bytes, received: 1, changed: 1, deleted: 0, ..Figures::default() };
            let outcome = Outcome::Copied { verdict, why: String::new(), snapshot };
            remember(shelf, "vpn", hours, outcome, Some(figures));
        }
    }
}

#[test]
fn a_plot_shows_sizes_and_durations_and_fits_any_terminal() {
    let mut shelf = Shelf::of_directories();
    shelf.rig.host("vpn");
    nights(&shelf);
    let drawn = |set: &[(&str, &str)]| {
        let mut command = shelf.command(&["status", "vpn", "--plot"]);
        for name in ["TERM", "LC_ALL", "LC_CTYPE", "LANG"] {
            command.env_remove(name);
        }
        command.envs(set.iter().copied());
        Ran::from(finish(command.spawn().unwrap())).exits(0).stdout
    };
    let unicode = drawn(&[("TERM", "xterm"), ("LANG", "en_GB.UTF-8")]);
    for part in [
        "\nSize of the copies of vpn (× not good)\n",
        "\nDuration of the runs of vpn (× not good)\n",
        "100.0 GiB ┤",
    ] {
        assert!(unicode.contains(part), "`{part}` is missing in {unicode}");
    }
    assert!(unicode.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "{unicode}");
    for set in [
        &[("TERM", "dumb"), ("LANG", "en_GB.UTF-8")][..],
        &[("TERM", "xterm"), ("LC_ALL", "C"), ("LANG", "C.UTF-8")],
        &[],
    ] {
        let ascii = drawn(set);
        assert!(ascii.is_ascii() && ascii.contains("100.0 GiB +"), "{set:?}: {ascii}");
    }
    for line in unicode.lines().skip(2) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn a_picture_is_written_where_it_was_asked_for() {
    let mut shelf = Shelf::of_zfs();
    shelf.rig.host("vpn");
    shelf.rig.host("new");
    nights(&shelf);
    let file = shelf.rig.join("vpn.svg");
    let ran = shelf.backup(&["status", "VPN", "--svg", file.to_str().unwrap()]).exits(0);
    assert!(!ran.stdout.contains("<svg"), "{}", ran.stdout);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("<?xml ") && text.ends_with("</svg>\n"), "{text}");
    assert_eq!(text.matches("<circle").count(), 80, "40 nights of sizes and of durations");
    assert_eq!(text.matches("class=\"bad\"").count(), 2);
    let other = shelf.rig.join("new.svg");
    shelf.backup(&["status", "new", "--svg", other.to_str().unwrap()]).exits(1).says("was not written");
    assert!(!other.exists());
    shelf
        .backup(&["status", "vpn", "--svg", "/nowhere/x.svg"])
        .exits(2)
        .says("cannot write the picture `/nowhere/x.svg`");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut shelf = Shelf::of_directories();
    shelf.rig.host("vpn");
    shelf.rig.host("web");
    for (arguments, said) in [
        (&["--plot"][..], "draw one host, and these are 2"),
        (&["--plot", "vpn", "web"], "draw one host, and these are 2"),
        (&["--svg", "x.svg", "*"], "draw one host, and these are 2"),
        (&["--nagios", "--json"], "cannot be used with"),
        (&["--nagios", "--plot", "vpn"], "cannot be used with"),
        (&["--json", "--plot", "vpn"], "cannot be used with"),
        (&["--svg"], "--svg <FILE>"),
    ] {
        let ran = shelf.backup(&[&["status"], arguments].concat()).exits(2).says(said);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_look_changes_nothing_and_a_pool_is_only_listed() {
    on_both(|mut shelf| {
        shelf.rig.host("vpn");
        nights(&shelf);
        let before = shelf.fingerprint();
        if let Some(standin) = shelf.zfs() {
            standin.forget_calls();
        }
        shelf.backup(&["status", "--nagios"]).exits(0);
        assert_eq!(shelf.fingerprint(), before);
        let calls = shelf.zfs().map(crate::support::standin::StandIn::calls).unwrap_or_default();
        assert!(
            calls.len() <= 3 && calls.iter().all(|call| call.contains(" list ") || call.contains(" get ")),
            "{calls:#?}"
        );
    });
}
