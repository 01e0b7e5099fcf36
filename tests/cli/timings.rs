//! Where the time of a run goes: what it prints, what the history keeps, and
//! the trace that it writes.

use crate::support::icinga::{Fault, Icinga, USER};
use crate::support::rig::*;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The table on stdout: the titles of its columns, and each row's cells by its
/// first.
#[track_caller]
fn table(stdout: &str) -> (Vec<String>, BTreeMap<String, Vec<String>>) {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut lines = stdout.lines();
    let titles = words(lines.next().unwrap_or_default());
    assert_eq!(titles[0], "HOST", "{stdout}");
    let rows = lines.map_while(|line| (!line.contains(": ")).then(|| words(line)));
    let rows: BTreeMap<String, Vec<String>> = rows.map(|row| (row[0].clone(), row)).collect();
    rows.values().for_each(|row| assert_eq!(row.len(), titles.len(), "{stdout}"));
    (titles, rows)
}

/// What `backup status --json` answers of one host.
#[track_caller]
fn status(rig: &Rig, host: &str) -> Value {
    serde_json::from_str(&rig.backup(&["status", host, "--json"]).stdout).unwrap()
}

/// The steps of a host that the history keeps for its last run, in seconds.
#[track_caller]
fn kept(rig: &Rig, host: &str) -> BTreeMap<String, f64> {
    let answer = status(rig, host);
    let timings = &answer["hosts"][0]["timings"];
    assert_eq!(*timings, answer["runs"][0]["timings"]);
    serde_json::from_value(timings.clone()).unwrap_or_else(|_| panic!("{answer:#}"))
}

/// A complete event of a trace.
#[derive(Debug, Clone)]
struct Span {
    lane: u64,
    category: String,
    name: String,
    begin: u64,
    end: u64,
    args: Value,
}

/// The lanes of a trace by their names, each with its events in their order.
/// Fails the test if events of a lane overlap without nesting.
#[track_caller]
fn lanes(path: &Path) -> BTreeMap<String, Vec<Span>> {
    let trace: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut lanes = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "M" && event["name"] == "thread_name") {
        let tid = event["tid"].as_u64().unwrap();
        let spans = events.iter().filter(|event| event["ph"] == "X" && event["tid"] == tid);
        let spans: Vec<Span> = spans
            .map(|event| Span {
                lane: tid,
                category: text(&event["cat"]),
                name: text(&event["name"]),
                begin: event["ts"].as_u64().unwrap(),
                end: event["ts"].as_u64().unwrap() + event["dur"].as_u64().unwrap(),
                args: event["args"].clone(),
            })
            .collect();
        let mut around: Vec<&Span> = Vec::new();
        for span in &spans {
            while around.last().is_some_and(|outer| outer.end <= span.begin && outer.begin < span.begin) {
                around.pop();
            }
            let outer = around.last();
            let nested = outer.is_none_or(|outer| outer.begin <= span.begin && span.end <= outer.end);
            let follows = outer.is_none_or(|outer| outer.end <= span.begin);
            assert!(nested || follows, "{span:?} overlaps {outer:?}");
            around.push(span);
        }
        assert!(lanes.insert(text(&event["args"]["name"]), spans).is_none(), "a lane a host");
    }
    let known =
        events.iter().all(|event| event["pid"] == 1 && matches!(event["ph"].as_str(), Some("X" | "M")));
    assert!(known, "{trace:#}");
    lanes
}

/// The names of a lane's events of a category.
fn names<'a>(lane: &'a [Span], category: &str) -> Vec<&'a str> {
    lane.iter().filter(|span| span.category == category).map(|span| span.name.as_str()).collect()
}

/// A port where nobody listens.
fn closed_port() -> String {
    format!("port = {}\n", free_port())
}

#[test]
fn what_each_step_of_each_host_took_is_printed_kept_and_drawn() {
    let mut rig = Rig::new();
    rig.section("host_defaults", "hooks = false\n");
    rig.host_with("Hooked", "hooks = true\n");
    rig.host("VPN");
    rig.host_with("Away", &closed_port());
    rig.hook("10-nap", "sleep 0.3\n");
    rig.hook("20-fine", "true\n");
    let file = rig.join("trace.json");
    let ran = rig.backup(&["--quiet", "all", "--timings", "--trace", file.to_str().unwrap()]).exits(1);
    let ran = ran.says("Away: CRITICAL").does_not_say("RESULT");

    let (titles, rows) = table(&ran.stdout);
    let (first, last) = (titles.first().unwrap(), titles.last().unwrap());
    assert_eq!((first.as_str(), last.as_str()), ("HOST", "TOTAL"));
    for title in ["LOCK", "PREPARE", "CONNECT", "PROBE", "HOOKS", "TRANSFER", "SNAPSHOT", "ROTATE"] {
        assert!(titles.iter().any(|known| known == title), "{title}: {}", ran.stdout);
    }
    assert!(!titles.iter().any(|title| title == "REPORT"), "nobody is told: {}", ran.stdout);
    let hosts: Vec<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(hosts, ["(median)", "(sum)", "Away", "Hooked", "VPN"]);
    let cell =
        |host: &str, title: &str| rows[host][titles.iter().position(|known| known == title).unwrap()].clone();
    assert_eq!((cell("VPN", "HOOKS").as_str(), cell("Away", "TRANSFER").as_str()), ("-", "-"));
    for host in ["Away", "Hooked", "VPN"] {
        let marked = rows[host].iter().filter(|cell| cell.starts_with('*'));
        assert_eq!(marked.count(), 1, "what took longest is marked: {}", ran.stdout);
    }
    let closing: Vec<&str> = ran.stdout.lines().rev().take(2).collect();
    assert!(closing[1].starts_with("work of the hosts: "), "{}", ran.stdout);
    assert!(closing[0].starts_with("the run: configuration 0."), "{}", ran.stdout);
    assert!(closing[0].contains(", hosts "), "{}", ran.stdout);

    let hooked = kept(&rig, "hooked");
    let all = ["connect", "hooks", "lock", "prepare", "probe", "rotate", "snapshot", "transfer"];
    assert!(all.iter().all(|step| hooked.contains_key(*step)), "{hooked:?}");
    assert!(hooked["hooks"] >= 0.3, "{hooked:?}");
    assert!(!kept(&rig, "vpn").contains_key("hooks"));
    let away = kept(&rig, "away");
    assert!(away.contains_key("connect") && !away.contains_key("probe"), "{away:?}");

    let lanes = lanes(&file);
    assert_eq!(lanes.keys().map(String::as_str).collect::<Vec<_>>(), ["Away", "Hooked", "VPN", "run"]);
    assert_eq!(lanes["run"][0].lane, 1);
    let phases = ["configuration", "inventory", "survey", "history", "hosts", "last reports"];
    assert_eq!(names(&lanes["run"], "phase"), phases);
    for (name, outcome) in [("Away", "failed"), ("Hooked", "good"), ("VPN", "good")] {
        let lane = &lanes[name];
        assert_eq!((names(lane, "host"), &lane[0].args["outcome"]), (vec![name], &Value::from(outcome)));
        let whole = lane[0].end - lane[0].begin;
        let steps = lane.iter().filter(|span| span.category == "step");
        let sum: u64 = steps.map(|span| span.end - span.begin).sum();
        assert_eq!(sum, whole, "{name}: its steps are all that it did");
        let kept: f64 = kept(&rig, name).values().sum();
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let whole = whole as f64 / 1e6;
        assert!((kept - whole).abs() < 0.01, "{name}: the history has {kept}, the trace {whole}");
        let answer = status(&rig, name);
        assert_eq!(answer["runs"].as_array().unwrap().len(), 1);
        assert_eq!(answer["runs"][0]["result"], *outcome);
    }
    assert_eq!((&lanes["VPN"][0].args["files"], &lanes["VPN"][0].args["host"]), (&6.into(), &"VPN".into()));
    assert_eq!(names(&lanes["Hooked"], "hook"), ["10-nap", "20-fine"]);
    let nap = lanes["Hooked"].iter().find(|span| span.name == "10-nap").unwrap();
    assert!(nap.end - nap.begin >= 300_000, "{nap:?}");
    let copied = lanes["VPN"].iter().find(|span| span.name == "transfer").unwrap();
    assert_eq!(copied.args["ended"], "everything was copied (exit 0)");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let left = fs::read_dir(rig.path()).unwrap().flatten().map(|entry| entry.file_name());
    assert!(!left.into_iter().any(|name| name.to_str().unwrap().starts_with(".backup-trace")));
}

#[test]
fn without_being_asked_a_run_prints_nothing_and_still_remembers() {
    let mut rig = Rig::without_sshd();
    rig.host("web");
    assert_eq!(rig.backup(&["all"]).exits(0).stdout, "");
    rig.backup(&["all"]).exits(0);
    let first = status(&rig, "web");
    assert_eq!(first["runs"].as_array().unwrap().len(), 2);
    assert!(first["runs"].as_array().unwrap().iter().all(|run| run["timings"]["transfer"].is_number()));
    let all: Value = serde_json::from_str(&rig.backup(&["status", "--json"]).exits(0).stdout).unwrap();
    assert!(all["hosts"][0]["timings"]["transfer"].is_number(), "{all:#}");
    assert_eq!(all.get("runs"), None, "of one host that is asked for by itself");

    let shown = rig.backup(&["status", "web"]).exits(0).stdout;
    let (_, table) = shown.split_once("\n\n").unwrap_or_else(|| panic!("{shown}"));
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("LAST RUN ") && lines[0].ends_with("SHARE"), "{shown}");
    assert!(lines[1].ends_with('%') && lines.last().unwrap().starts_with("(sum) "), "{shown}");
    let all = rig.backup(&["status"]).exits(0).stdout;
    assert!(!all.contains("LAST RUN  TIME"), "{all}");
}

/// A rig with one host, and an Icinga that knows it.
fn vpn() -> (Rig, Icinga) {
    let mut rig = Rig::without_sshd();
    rig.host("VPN");
    let icinga = Icinga::start(&["VPN!BACKUP-b32-1"]);
    let (password, ca) = (icinga.password_file(), icinga.ca_file());
    fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
    let url = icinga.url();
    let lines = format!("url = {url:?}\nuser = {USER:?}\npassword_file = {password:?}\nca_file = {ca:?}\n");
    rig.section("icinga", &lines);
    (rig, icinga)
}

#[test]
fn to_tell_icinga_is_a_step_after_all_others() {
    let (rig, icinga) = vpn();
    let file = rig.join("trace.json");
    let words = ["vpn", "--timings", "--trace", file.to_str().unwrap()];
    let (titles, _) = table(&rig.backup(&words).exits(0).stdout);
    assert_eq!(titles[titles.len() - 2..], ["REPORT", "TOTAL"]);
    assert!(kept(&rig, "vpn").contains_key("report"));
    let vpn = &lanes(&file)["VPN"];
    let report = vpn.last().unwrap();
    assert_eq!((report.name.as_str(), report.begin >= vpn[0].end), ("report", true), "{vpn:?}");

    // Three tries with pauses of a second and of three, and one more at the end.
    icinga.next_faults(&[Fault::Unavailable; 3]);
    rig.backup(&words).exits(0);
    let vpn = &lanes(&file)["VPN"];
    assert_eq!(vpn.iter().filter(|span| span.name == "report").count(), 2, "{vpn:?}");
    assert!(kept(&rig, "vpn")["report"] >= 4.0);
}

#[test]
fn what_is_killed_while_icinga_is_told_is_in_the_history_without_that() {
    let (rig, icinga) = vpn();
    icinga.set_fault(Fault::Silence);
    let mut child = rig.start(&["vpn"]);
    rig.wait_until("the host's row", || {
        let answer = rig.backup(&["status", "vpn", "--json"]).stdout;
        serde_json::from_str::<Value>(&answer).is_ok_and(|answer| answer["runs"][0].is_object())
    });
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    let kept = kept(&rig, "vpn");
    assert!(kept.contains_key("transfer") && !kept.contains_key("report"), "{kept:?}");
}

#[test]
fn a_run_that_is_told_to_stop_writes_its_trace() {
    let mut rig = Rig::without_sshd();
    rig.top = "jobs = 1".to_owned();
    let hosts = ["a", "b", "c", "d", "e", "f", "g"];
    for name in hosts {
        rig.host(name);
    }
    let (there, go) = (rig.join("there"), rig.join("go"));
    rig.hook("wait", &format!("touch {there:?}\nuntil [ -e {go:?} ]; do sleep 0.02; done\n"));
    let file = rig.join("trace.json");
    let child = rig.start(&["all", "--timings", "--trace", file.to_str().unwrap()]);
    rig.wait_until("the hook runs", || there.exists());
    signal(&child, Signal::TERM);
    let ran = Ran::from(finish(child)).exits(1);
    let lanes = lanes(&file);
    // One is worked on, four wait for their turn, and two are not begun.
    assert_eq!(lanes.len(), 6, "{lanes:?}");
    let (_, rows) = table(&ran.stdout);
    let last_step =
        |name: &str| Some(lanes.get(name)?.iter().rfind(|span| span.category == "step")?.name.as_str());
    let last_steps = hosts.map(|name| {
        let step = last_step(name);
        assert_eq!(rows[name][1..].iter().all(|cell| cell == "-"), step.is_none(), "{}", ran.stdout);
        if step.is_some() {
            assert_eq!(lanes[name][0].args["outcome"], "interrupted");
        }
        step
    });
    // One that is still being made ready when the run is stopped waits for nothing yet.
    let is_ready_soon = |step: &Option<&str>| matches!(step, Some("connect" | "probe" | "wait"));
    let count = |of: &dyn Fn(&Option<&str>) -> bool| last_steps.iter().filter(|step| of(step)).count();
    let counts =
        (count(&|step| step.is_none()), count(&|step| *step == Some("hooks")), count(&is_ready_soon));
    assert_eq!(counts, (2, 1, 4), "{last_steps:?}");
}

#[test]
fn a_connection_that_is_made_again_is_seen_as_one() {
    let mut rig = Rig::new();
    rig.host("Web");
    let begun = rig.join("begun");
    rig.hook("slow", &format!("touch {begun:?}\nsleep 1000\n"));
    let file = rig.join("trace.json");
    let child = rig.start(&["all", "--trace", file.to_str().unwrap()]);
    rig.wait_until("the hook has begun", || begun.exists());
    rig.sshd().start_again();
    Ran::from(finish(child)).exits(1).says("trying again (1 of 2)");
    let web = &lanes(&file)["Web"];
    let transfers: Vec<&Span> = web.iter().filter(|span| span.name == "transfer").collect();
    let [lost, whole] = transfers[..] else { panic!("{web:#?}") };
    assert!(lost.args["ended"].as_str().unwrap().contains("connection"), "{lost:?}");
    assert_eq!(whole.args["ended"], "everything was copied (exit 0)");
    let again = web.iter().filter(|span| span.name == "connect" && span.begin >= lost.end);
    let again: u64 = again.map(|span| span.end - span.begin).sum();
    assert!(again >= 4_000_000, "with the pause before it: {web:#?}");
    assert!(kept(&rig, "web")["transfer"] < 4.0, "the pause is no copying");
}

#[test]
fn a_trace_that_cannot_be_written_is_found_before_the_run() {
    let mut rig = Rig::without_sshd();
    rig.host("web");
    rig.write("file", "precious");
    for (path, why) in [
        (rig.join("missing/trace.json"), "is its directory there, and writable?"),
        (rig.join("file/trace.json"), "Not a directory"),
        (rig.join("store"), "what is there is no file"),
        ("/dev/null".into(), "what is there is no file"),
    ] {
        let ran = rig.backup(&["all", "--trace", path.to_str().unwrap()]).exits(2);
        ran.says(&format!("cannot write a trace to `{}`", path.display())).says(why);
    }
    assert!(rig.snapshots("web").is_empty() && !rig.join("state").exists(), "nothing was begun");
}

#[test]
fn a_trace_that_cannot_be_written_in_the_end_costs_the_exit_code_alone() {
    let mut rig = Rig::without_sshd();
    rig.host("web");
    fs::create_dir(rig.join("traces")).unwrap();
    rig.hook("sweep", &format!("rmdir {:?}\n", rig.join("traces")));
    let file = rig.join("traces/trace.json");
    let ran = rig.backup(&["all", "--trace", file.to_str().unwrap()]).exits(1);
    ran.says("warning: the trace `").says("1 host: 1 good").says("WARNING: the trace `");
    assert_eq!(rig.verdicts("web"), ["good"]);
    assert!(kept(&rig, "web").contains_key("rotate"));
}

#[test]
fn a_reader_that_goes_away_costs_the_run_nothing() {
    let mut rig = Rig::without_sshd();
    rig.host("web");
    let mut command = rig.command(&["all", "--timings"]);
    command.stdout(nobody_reads());
    Ran::from(finish(command.spawn().unwrap())).exits(0);
    assert_eq!(rig.verdicts("web"), ["good"]);
    assert!(kept(&rig, "web").contains_key("snapshot"));
}
