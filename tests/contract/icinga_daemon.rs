//! What a real Icinga 2 makes of the real binary's reports, set up as README.md
//! says: results, figures and freshness read back through its API, what
//! becomes of a run that it does not listen to, and whether the stand-in of the
//! other tests answers as it does.

use crate::support::icinga::{Fault, Icinga as StandIn};
use crate::support::icinga_daemon::{Answer, Daemon, PASSWORD, Request, USER, ask};
use crate::support::rig::*;
use backup::core::format::timing::Timings;
use backup::core::model::outcome::{HostReport, Outcome};
use backup::edge::notify::icinga::{Icinga, ReportError};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Child;
use std::time::Duration;

const ACTION: &str = "v1/actions/process-check-result";

/// Names this Icinga in a rig's configuration.
fn tell(rig: &mut Rig, icinga: &Daemon) {
    let lines = format!(
        "url = {:?}\nuser = {USER:?}\npassword_file = {:?}\nca_file = {:?}\n",
        icinga.url(),
        icinga.password_file(),
        icinga.ca_file()
    );
    rig.section("icinga", &lines);
}

/// A rig with the one host `VPN`, and this Icinga, which knows it.
fn vpn_with(objects: &str) -> (Rig, Daemon) {
    let icinga = Daemon::start_with(&["VPN"], objects);
    let mut rig = Rig::new();
    rig.host("VPN");
    tell(&mut rig, &icinga);
    (rig, icinga)
}

/// Runs the binary, and fails the test if the password is in what it says.
#[track_caller]
fn backup(rig: &Rig, arguments: &[&str]) -> Ran {
    let ran = rig.backup(arguments);
    assert!(!ran.stderr.contains(PASSWORD), "{}", ran.stderr);
    ran
}

/// A service's last check result.
#[track_caller]
fn result(icinga: &Daemon, host: &str) -> Value {
    icinga.service(&format!("{host}!BACKUP-b32-1"))["last_check_result"].clone()
}

/// The state that a service has: 0 to 3 are OK, WARNING, CRITICAL, UNKNOWN.
#[track_caller]
fn state(icinga: &Daemon, host: &str) -> u64 {
    icinga.service(&format!("{host}!BACKUP-b32-1"))["state"].as_f64().unwrap() as u64
}

/// Starts a run whose hook waits for [`go_on`], and waits until it does.
fn start_waiting(rig: &Rig, arguments: &[&str]) -> Child {
    let (waits, go) = (rig.join("waits"), rig.join("go"));
    rig.hook(
        "wait",
        &format!("touch {}\nuntil [ -e {} ]; do sleep 0.05; done\n", waits.display(), go.display()),
    );
    let child = rig.start(arguments);
    rig.wait_until("the hook runs", || waits.exists());
    child
}

fn go_on(rig: &Rig) {
    rig.write("go", "");
}

#[test]
fn every_state_arrives_with_its_output_and_its_figures() {
    let hosts = ["VPN", "Web-01.Example.org", "Held", "Hooked", "Gone"];
    let icinga = Daemon::start(&hosts);
    let mut rig = Rig::new();
    tell(&mut rig, &icinga);
    rig.section("host_defaults", "hooks = false\n");
    for name in ["VPN", "Web-01.Example.org", "Held"] {
        rig.host(name);
    }
    rig.host_with("Hooked", "hooks = true\n");
    rig.host_with("Gone", &format!("address = \"127.0.0.1\"\nport = {}\n", free_port()));
    let odd = "naïve 日本 🦀 | a=1;2 \"q\" \\ $host.name$ <b>%</b>";
    rig.hook("a-odd", &format!("cat <<'END'\n{odd}\nEND\nprintf '\\033[31mred\\ttab\\377\\n'\nexit 3\n"));
    let long = "é".repeat(600);
    rig.hook("b-long", &format!("for n in $(seq 30); do echo \"$n {long}\"; done\nexit 4\n"));
    fs::create_dir_all(rig.join("run")).unwrap();
    let held = fs::File::create(rig.join("run/held.lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fs::write(rig.join("run/held.lock"), std::process::id().to_string()).unwrap();
    backup(&rig, &["all"]).exits(1).does_not_say("Icinga");

    for (host, expected, said, why) in [
        ("VPN", 0, "OK: 6 files, ", "spelled as the inventory does"),
        ("Web-01.Example.org", 0, "OK: 6 files, ", "a name with dots"),
        (
            "Hooked",
            2,
            "CRITICAL: hook a-odd failed (exit 3); hook b-long failed (exit 4); 6 files, ",
            "hooks",
        ),
        ("Gone", 2, "CRITICAL: connect failed: ", "a host that is not there"),
    ] {
        let service = icinga.service(&format!("{host}!BACKUP-b32-1"));
        let result = &service["last_check_result"];
        assert_eq!(state(&icinga, host), expected, "{host}: {why}");
        assert_eq!(
            service["state_type"].as_f64(),
            Some(1.0),
            "{host}: a hard state, of which people are told"
        );
        let output = result["output"].as_str().unwrap();
        assert!(output.starts_with(said), "{host}, {why}: {output}");
        assert_eq!(result["active"], false, "{host}");
        assert_eq!(result["check_source"], "b32-1", "{host}");
        assert_eq!(result["ttl"].as_f64(), Some(36.0 * 3600.0), "{host}");
        let due = service["next_check"].as_f64().unwrap() - result["schedule_end"].as_f64().unwrap();
        assert!((due - 36.0 * 3600.0).abs() < 1.0, "{host}: Icinga looks itself after {due} s");
    }

    let output = result(&icinga, "Hooked")["output"].as_str().unwrap().to_owned();
    assert!(output.contains(&format!("\n  {odd}\n  \\u{{1b}}[31mred\\ttab\u{fffd}\n")), "{output}");
    assert!((7 * 1024..=8 * 1024 + 4).contains(&output.len()) && output.ends_with("é…\n…"), "{output}");

    // Icinga's own reading of the figures, as it hands them on to graphs.
    let snapshot = rig.snapshots("vpn").pop().unwrap();
    let facts = rig.facts("vpn", &snapshot);
    let data = result(&icinga, "VPN")["performance_data"].clone();
    let figures: Vec<Value> = data.as_array().unwrap().iter().map(|datum| perfdata(&icinga, datum)).collect();
    let labels: Vec<&str> = figures.iter().map(|figure| figure["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["duration", "bytes", "files", "received", "snapshots"]);
    for (label, unit, value) in [
        ("bytes", "bytes", facts["bytes"].as_f64()),
        ("files", "", facts["files"].as_f64()),
        ("snapshots", "", Some(1.0)),
        ("duration", "seconds", None),
        ("received", "bytes", None),
    ] {
        let figure = figures.iter().find(|figure| figure["label"] == label).unwrap();
        assert_eq!(figure["unit"], unit, "{figure}");
        assert_eq!(figure["min"].as_f64(), Some(0.0), "{figure}");
        assert!(figure["value"].as_f64().unwrap() > 0.0, "{figure}");
        if value.is_some() {
            assert_eq!(figure["value"].as_f64(), value, "{figure}");
        }
    }
    assert_eq!(result(&icinga, "Held"), Value::Null, "the run that has it tells of it");
    let run = icinga.service("b32-1!BACKUP-b32-1");
    assert_eq!(run["state"].as_f64(), Some(1.0), "{run}");
    let output = run["last_check_result"]["output"].as_str().unwrap();
    assert!(output.starts_with("WARNING: skipped, locked by another run: Held; 5 hosts: "), "{output}");
    let data = run["last_check_result"]["performance_data"].clone();
    let figures: Vec<Value> = data.as_array().unwrap().iter().map(|datum| perfdata(&icinga, datum)).collect();
    let labels: Vec<&str> = figures.iter().map(|figure| figure["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["duration", "hosts", "hosts_not_good", "problems"]);
}

/// A figure, as Icinga reads it.
fn perfdata(icinga: &Daemon, datum: &Value) -> Value {
    icinga.evaluate(&format!("parse_performance_data({datum})"))
}

#[test]
fn icinga_turns_a_silent_host_stale_when_its_ttl_is_over() {
    let (mut rig, icinga) = vpn_with("");
    rig.section("icinga", "ttl = \"3s\"\n");
    backup(&rig, &["vpn"]).exits(0);
    let fresh = result(&icinga, "VPN");
    assert_eq!(fresh["ttl"].as_f64(), Some(3.0));
    icinga.wait_until("the result is stale", || state(&icinga, "VPN") != 0);
    let service = icinga.service("VPN!BACKUP-b32-1");
    assert_eq!(service["state"].as_f64(), Some(3.0), "UNKNOWN");
    assert_eq!(service["state_type"].as_f64(), Some(1.0), "hard, so that people are told");
    assert_eq!(service["problem"], true);
    let stale = &service["last_check_result"];
    assert_eq!(stale["active"], true, "Icinga's own");
    assert_eq!(stale["output"], "The backup has sent no result in time.");
    let age = stale["execution_end"].as_f64().unwrap() - fresh["execution_end"].as_f64().unwrap();
    assert!((3.0..8.0).contains(&age), "{age}");

    rig.replace("icinga", "ttl = \"36h\"\n");
    backup(&rig, &["vpn"]).exits(0);
    assert_eq!(state(&icinga, "VPN"), 0, "the next result heals it");
}

/// Which Icinga before 2.14 answers with 200, and which it drops if the result
/// says when its run began.
#[test]
fn a_result_counts_although_icinga_looked_itself_while_the_run_was_on() {
    let (rig, icinga) = vpn_with("");
    let child = start_waiting(&rig, &["all"]);
    icinga.check_now("Service", "VPN!BACKUP-b32-1");
    assert_eq!(state(&icinga, "VPN"), 3, "a host without any result is UNKNOWN");
    let run: Ran = {
        let busy = backup(&rig, &["vpn"]).exits(1);
        assert!(busy.stderr.contains("locked by another run"), "{}", busy.stderr);
        assert_eq!(state(&icinga, "VPN"), 3, "the run that has the host tells of it, and nobody else");
        go_on(&rig);
        finish(child).into()
    };
    run.exits(0);
    assert_eq!(state(&icinga, "VPN"), 0, "{}", result(&icinga, "VPN"));
}

#[test]
fn an_icinga_that_is_not_rightly_named_is_told_with_what_to_correct() {
    let (mut rig, icinga) = vpn_with("");
    let wrong = rig.write("wrong", "not-the-password\n");
    fs::set_permissions(&wrong, PermissionsExt::from_mode(0o600)).unwrap();
    let port = icinga.port();
    let stranger = icinga.stranger_ca_file();
    for (lines, said, hint) in [
        (
            format!("password_file = {wrong:?}\n"),
            "Icinga does not accept the user and the password (401)",
            "compare `icinga.user` and the password with its `ApiUser` object",
        ),
        (
            "user = \"bakcup\"\n".into(),
            "Icinga does not accept the user and the password (401)",
            "`icinga.user`",
        ),
        (format!("ca_file = {stranger:?}\n"), "TLS failed: ", "it is not the CA that signed it"),
        (
            format!("url = \"https://127.0.0.1:{port}/\"\n"),
            "TLS failed: ",
            "use a name in `url` that the server's certificate is for",
        ),
        (
            format!("url = \"https://localhost:{port}/v1\"\n"),
            "Icinga answered 404: The requested path",
            "is `icinga.url` the root of Icinga 2's API",
        ),
        (
            format!("url = \"http://localhost:{port}/\"\n"),
            "(Icinga at `localhost:",
            "Icinga 2 itself speaks https alone",
        ),
    ] {
        tell(&mut rig, &icinga);
        rig.replace("icinga", &lines);
        let ran = backup(&rig, &["--quiet", "all"]).exits(1).says("could not report VPN to Icinga");
        let ran = ran.says(said).says(hint).does_not_say("not-the-password");
        assert_eq!(rig.verdicts("vpn"), ["good"], "{lines}: {}", ran.stderr);
    }
    assert_eq!(icinga.service("VPN!BACKUP-b32-1")["last_check_result"], Value::Null);
    tell(&mut rig, &icinga);
    backup(&rig, &["all"]).exits(0).does_not_say("Icinga");
}

#[test]
fn a_result_that_icinga_does_not_take_is_told_with_its_reason() {
    let objects = "object Host \"Plain\" { check_command = \"dummy\" }\n\
        object Host \"Deaf\" { check_command = \"dummy\" }\n\
        object Service \"BACKUP-b32-1\" { host_name = \"Deaf\"; check_command = \"passive\"; enable_passive_checks = false }\n\
        object Host \"Router\" { check_command = \"dummy\"; max_check_attempts = 1; vars.dummy_state = 2 }\n\
        object Host \"Behind\" { check_command = \"dummy\"; vars.backup = true }\n\
        object Dependency \"router\" {\n\
          parent_host_name = \"Router\"\n\
          child_host_name = \"Behind\"\n\
          child_service_name = \"BACKUP-b32-1\"\n\
          disable_checks = true\n\
        }\n";
    let (mut rig, icinga) = vpn_with(objects);
    for name in ["Plain", "vpn2", "Deaf", "Behind"] {
        rig.host(name);
    }
    icinga.check_now("Host", "Router");
    let ran = backup(&rig, &["all"]).exits(1);
    for said in [
        "Icinga knows no service `BACKUP-b32-1` on a host of exactly that name (404); could not report 2 hosts (Plain, vpn2) to Icinga (create the service there, with passive checks",
        "Icinga did not take the result (403): Passive checks are disabled for object 'HOST!BACKUP-b32-1'.; could not report Deaf to Icinga",
        "Icinga dropped the result: Ignoring passive check result for unreachable object 'HOST!BACKUP-b32-1'.; could not report Behind to Icinga",
    ] {
        assert!(ran.stderr.contains(said), "`{said}` is missing in:\n{}", ran.stderr);
    }
    assert_eq!(state(&icinga, "VPN"), 0, "the others are told of");
    for name in ["vpn", "plain", "vpn2", "deaf", "behind"] {
        assert_eq!(rig.verdicts(name), ["good"]);
    }
}

/// API users who may do less than they should.
const USERS: &str = "object ApiUser \"none\" { password = \"hunter2\" }\n\
    object ApiUser \"other\" { password = \"hunter2\"; permissions = [ \"objects/query/Service\" ] }\n\
    object ApiUser \"elsewhere\" {\n\
      password = \"hunter2\"\n\
      permissions = [ { permission = \"actions/process-check-result\"; filter = {{ host.name == \"Web\" }} } ]\n\
    }\n\
    object ApiUser \"narrow\" {\n\
      password = \"hunter2\"\n\
      permissions = [ { permission = \"actions/process-check-result\"; filter = {{ match(\"BACKUP-*\", service.name) }} } ]\n\
    }\n";

#[test]
fn an_api_user_who_may_too_little_is_told_with_the_permission_to_grant() {
    let (mut rig, icinga) = vpn_with(USERS);
    for (user, why) in [
        ("none", "no permission at all"),
        ("other", "only permissions for something else"),
        ("elsewhere", "the permission, with a filter that leaves the service out"),
    ] {
        rig.replace("icinga", &format!("user = {user:?}\n"));
        let ran = backup(&rig, &["all"]).exits(1).says("could not report VPN to Icinga");
        assert!(
            ran.stderr.contains("the permission `actions/process-check-result`"),
            "{why}: {}",
            ran.stderr
        );
        assert_eq!(rig.verdicts("vpn"), ["good"], "{why}");
    }
    assert_eq!(icinga.service("VPN!BACKUP-b32-1")["last_check_result"], Value::Null);
    rig.replace("icinga", "user = \"narrow\"\n");
    backup(&rig, &["all"]).exits(0).does_not_say("Icinga");
    assert_eq!(state(&icinga, "VPN"), 0);
}

#[test]
fn a_stopped_icinga_costs_a_run_its_exit_code_and_not_its_copies() {
    let icinga = &mut Daemon::start(&["VPN", "Web"]);
    let mut rig = Rig::new();
    tell(&mut rig, icinga);
    rig.host("VPN");
    rig.host("Web");
    backup(&rig, &["all"]).exits(0);
    let told = icinga.service("VPN!BACKUP-b32-1");
    icinga.stop();
    let ran =
        backup(&rig, &["--quiet", "all"]).exits(1).says("could not report 2 hosts (VPN, Web) to Icinga");
    let ran = ran.says("Connection refused").says("is Icinga 2 running there");
    assert_eq!(ran.stderr.matches("to Icinga").count(), 2, "the hosts, and the run: {}", ran.stderr);
    for name in ["vpn", "web"] {
        assert_eq!(rig.verdicts(name), ["good"]);
    }

    icinga.start_again();
    let again = icinga.service("VPN!BACKUP-b32-1");
    for kept in ["last_check_result", "next_check", "state"] {
        assert_eq!(again[kept], told[kept], "`{kept}` survives a restart, and with it the ttl");
    }
    backup(&rig, &["all"]).exits(0).does_not_say("Icinga");
}

#[test]
fn an_icinga_that_is_restarted_during_a_run_is_told_of_every_host_in_the_end() {
    let icinga = &mut Daemon::start(&["VPN", "Web"]);
    let mut rig = Rig::new();
    tell(&mut rig, icinga);
    rig.host_with("VPN", "hooks = false\n");
    rig.host("Web");
    icinga.stop();
    // It is in Icinga's place for as long as Icinga is away, so that each try
    // is seen to fail.
    let away = TcpListener::bind(("127.0.0.1", icinga.port())).unwrap();
    let child = start_waiting(&rig, &["all"]);
    for _ in 0..3 {
        drop(away.accept().unwrap());
    }
    drop(away);
    icinga.start_again();
    go_on(&rig);
    let ran: Ran = finish(child).into();
    ran.exits(0).does_not_say("to Icinga");
    for host in ["VPN", "Web"] {
        assert_eq!(state(icinga, host), 0, "{host}");
    }
    assert_eq!(icinga.requests_of(USER), 3, "one result a host, and the run's");
}

#[test]
fn a_late_result_does_not_hide_a_newer_one() {
    let (rig, icinga) = vpn_with("");
    backup(&rig, &["vpn"]).exits(0);
    let newest = result(&icinga, "VPN");
    let arrived = newest["execution_end"].as_f64().unwrap();
    let settings = backup::core::model::settings::IcingaSettings {
        url: icinga.url().parse().unwrap(),
        user: USER.into(),
        password: PASSWORD.to_owned().into(),
        ca_file: Some(icinga.ca_file()),
        service: "BACKUP-b32-1".into(),
        run_host: "b32-1".into(),
        run_service: "BACKUP-b32-1".into(),
        ttl: Duration::from_secs(60),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let send_late = |finished: f64| {
        let finished = chrono::DateTime::from_timestamp(finished as i64, 0).unwrap();
        let report = HostReport {
            host: "VPN".into(),
            outcome: Outcome::Interrupted,
            notes: Vec::new(),
            started: finished,
            finished,
            figures: None,
            transfers: Vec::new(),
            hooks: Vec::new(),
            timings: Timings::default(),
            snapshots: None,
            last_good: None,
        };
        // From 2.14 on Icinga says that it drops a result.
        let late = runtime.block_on(Icinga::new(&settings, "b32-1").unwrap().send_late(&report));
        assert!(matches!(late, Ok(()) | Err(ReportError::Outdated(_))), "{late:?}");
    };
    send_late(arrived - 3600.0);
    assert_eq!(result(&icinga, "VPN"), newest);
    send_late(arrived + 1.0);
    assert_eq!(state(&icinga, "VPN"), 2);
}

#[test]
fn a_service_that_is_created_while_the_run_is_on_gets_its_result() {
    let (mut rig, icinga) = vpn_with("");
    rig.host("New");
    let child = start_waiting(&rig, &["all"]);
    icinga.reload_with(&["VPN", "New"]);
    go_on(&rig);
    let ran: Ran = finish(child).into();
    ran.exits(0).does_not_say("Icinga");
    assert_eq!((state(&icinga, "VPN"), state(&icinga, "New")), (0, 0));
}

#[test]
fn the_stand_in_answers_as_icinga_does() {
    let objects = format!(
        "{USERS}\
        object Host \"Deaf\" {{ check_command = \"dummy\" }}\n\
        object Service \"BACKUP-b32-1\" {{ host_name = \"Deaf\"; check_command = \"passive\"; enable_passive_checks = false }}\n\
        object Host \"Router\" {{ check_command = \"dummy\"; max_check_attempts = 1; vars.dummy_state = 2 }}\n\
        object Host \"Behind\" {{ check_command = \"dummy\"; vars.backup = true }}\n\
        object Dependency \"router\" {{\n\
          parent_host_name = \"Router\"\n\
          child_host_name = \"Behind\"\n\
          child_service_name = \"BACKUP-b32-1\"\n\
          disable_checks = true\n\
        }}\n"
    );
    let icinga = Daemon::start_with(&["VPN"], &objects);
    icinga.check_now("Host", "Router");
    let stand_in = StandIn::start(&["VPN!BACKUP-b32-1", "Deaf!BACKUP-b32-1", "Behind!BACKUP-b32-1"]);

    let send = |host: &str| {
        json!({"type": "Service", "service": format!("{host}!BACKUP-b32-1"), "exit_status": 0, "plugin_output": "ok", "ttl": 60})
            .to_string()
    };
    let without_status =
        json!({"type": "Service", "service": "VPN!BACKUP-b32-1", "plugin_output": "ok"}).to_string();
    let by_filter = json!({"type": "Service", "filter": "host.name == h", "filter_vars": {"h": "nope"}, "exit_status": 0, "plugin_output": "ok"})
        .to_string();
    let json = Some("application/json");
    let (get, post) = (Method::GET, Method::POST);
    // The user as the real one knows him; the stand-in has but one.
    for (user, password, method, path, body, accept, fault, why) in [
        (USER, PASSWORD, &post, ACTION, send("VPN"), json, Fault::None, "a result"),
        (USER, PASSWORD, &post, ACTION, send("vpn"), json, Fault::None, "a host in another case"),
        (USER, PASSWORD, &post, ACTION, send("nope"), json, Fault::None, "an unknown host"),
        (USER, "wrong", &post, ACTION, send("VPN"), json, Fault::None, "a wrong password"),
        ("nobody", PASSWORD, &post, ACTION, send("VPN"), json, Fault::None, "an unknown user"),
        (USER, PASSWORD, &post, ACTION, send("VPN"), None, Fault::None, "no Accept header"),
        (USER, "wrong", &post, ACTION, send("VPN"), None, Fault::None, "nor a right password"),
        (USER, PASSWORD, &post, "v1/x/y/z", send("VPN"), json, Fault::None, "an unknown path"),
        (
            USER,
            PASSWORD,
            &post,
            "v1/v1/actions/process-check-result",
            send("VPN"),
            json,
            Fault::None,
            "a path too many",
        ),
        (USER, PASSWORD, &get, ACTION, String::new(), json, Fault::None, "another method"),
        (USER, PASSWORD, &post, ACTION, "no json".into(), json, Fault::None, "another body"),
        (USER, PASSWORD, &post, ACTION, without_status, json, Fault::None, "a result without a state"),
        (USER, PASSWORD, &post, ACTION, send("Deaf"), json, Fault::PassiveDisabled, "no passive checks"),
        (USER, PASSWORD, &post, ACTION, send("Behind"), json, Fault::Ignoring, "an unreachable parent"),
        (
            USER,
            PASSWORD,
            &post,
            ACTION,
            by_filter,
            json,
            Fault::EmptyResults,
            "a filter that matches nothing",
        ),
        ("none", PASSWORD, &post, ACTION, send("VPN"), json, Fault::NoPermission, "no permission"),
        (
            "elsewhere",
            PASSWORD,
            &post,
            ACTION,
            send("VPN"),
            json,
            Fault::FilteredOut,
            "a filter of the permission",
        ),
    ] {
        let request = Request { user, password, method, path, body: &body, accept };
        let real = ask(&icinga.url(), &icinga.ca_file(), request);
        let fault = match (fault, real.status) {
            (Fault::NoPermission, 404) => Fault::NoPermissionUnsaid,
            (fault, _) => fault,
        };
        stand_in.set_fault(fault);
        let user = if fault == Fault::None { user } else { USER };
        let played = ask(&stand_in.url(), &stand_in.ca_file(), Request { user, ..request });
        assert_eq!(comparable(played), comparable(real), "{why}");
    }
}

/// What an answer says beside its parser's own words.
fn comparable(mut answer: Answer) -> Answer {
    let said = answer.body["status"].as_str().unwrap_or_default();
    if let Some((general, _)) = said.split_once(": Error: ") {
        answer.body["status"] = general.into();
    }
    answer
}

#[test]
fn an_icinga_ends_with_its_test() {
    let icinga = Daemon::start(&[]);
    let processes = icinga.processes();
    assert!(processes.len() >= 3, "the daemon, its worker and its starter of checks: {processes:?}");
    drop(icinga);
    for id in processes {
        assert!(!fs::exists(format!("/proc/{id}")).unwrap(), "{id} is left");
    }
}
