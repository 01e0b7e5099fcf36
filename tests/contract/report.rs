//! Reports to a stand-in for Icinga, over TLS.

use crate::support::icinga::{Fault, Icinga as StandIn, PASSWORD, USER};
use backup::core::format::timing::Timings;
use backup::core::model::event::FleetEvent;
use backup::core::model::outcome::{HostReport, Outcome, Severity, Stage};
use backup::core::model::settings;
use backup::edge::notify::Reporter;
use backup::edge::notify::icinga::{Icinga, ReportError};
use chrono::{DateTime, TimeDelta, Utc};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than anything here takes.
const GRACE: Duration = Duration::from_secs(60);

fn settings(stand_in: &StandIn) -> settings::IcingaSettings {
    settings::IcingaSettings {
        url: stand_in.url().parse().unwrap(),
        user: USER.into(),
        password: PASSWORD.to_owned().into(),
        ca_file: Some(stand_in.ca_file()),
        service: "BACKUP-b32-1".into(),
        run_host: "b32-1".into(),
        run_service: "BACKUP-b32-1".into(),
        ttl: Duration::from_secs(90_000),
    }
}

fn icinga(stand_in: &StandIn) -> Icinga {
    Icinga::new(&settings(stand_in), "b32-1").unwrap()
}

fn report(host: &str) -> HostReport {
    let started: DateTime<Utc> = "2026-11-20T02:00:05.5Z".parse().unwrap();
    HostReport {
        host: host.into(),
        outcome: Outcome::Failed { stage: Stage::Connect, why: "no route to host\nssh: port 22".into() },
        notes: Vec::new(),
        started,
        finished: started + TimeDelta::seconds(3),
        figures: None,
        transfers: Vec::new(),
        hooks: Vec::new(),
        timings: Timings::default(),
        snapshots: Some(7),
        last_good: None,
    }
}

fn knows_vpn() -> StandIn {
    StandIn::start(&["vpn!BACKUP-b32-1"])
}

#[tokio::test]
async fn icinga_gets_the_result_of_a_host() {
    let stand_in = knows_vpn();
    icinga(&stand_in).send(&report("vpn")).await.unwrap();
    assert_eq!(
        stand_in.results(),
        [serde_json::json!({
            "type": "Service",
            "service": "vpn!BACKUP-b32-1",
            "exit_status": 2,
            "plugin_output": "CRITICAL: connect failed: no route to host; no good copy known\nssh: port 22",
            "performance_data": ["duration=3s;;;0", "snapshots=7;;;0"],
            "check_source": "b32-1",
            "ttl": 90_000,
        })]
    );
}

#[tokio::test]
async fn a_refusal_says_what_to_do_and_is_not_tried_again() {
    for (fault, said) in [
        (Fault::NoPermission, "give that `ApiUser` the permission `actions/process-check-result`"),
        (Fault::EmptyResults, "create the service there"),
        (Fault::Ignoring, "Icinga dropped the result: Ignoring passive check result"),
        (Fault::PassiveDisabled, "(403): Passive checks are disabled"),
        (Fault::Html, "does `icinga.url` point to Icinga 2's API?"),
    ] {
        let stand_in = knows_vpn();
        stand_in.set_fault(fault);
        let error = icinga(&stand_in).send(&report("vpn")).await.unwrap_err();
        assert!(matches!(error, ReportError::Refused(_)), "{fault:?}: {error:?}");
        assert!(error.to_string().contains(said), "{fault:?}: {error}");
        assert_eq!((stand_in.requests(), stand_in.results().len()), (1, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let stand_in = knows_vpn();
    let wrong =
        settings::IcingaSettings { password: "correct horse".to_owned().into(), ..settings(&stand_in) };
    let error = Icinga::new(&wrong, "b32-1").unwrap().send(&report("vpn")).await.unwrap_err();
    assert!(error.to_string().contains("the user and the password (401)"), "{error}");
    assert!(!format!("{error} {error:?}").contains("correct horse"));
    assert_eq!(stand_in.requests(), 1);
}

#[tokio::test]
async fn a_host_that_icinga_lacks_is_told_with_the_service_to_create() {
    let stand_in = knows_vpn();
    // Icinga tells names of another case apart.
    let error = icinga(&stand_in).send(&report("VPN")).await.unwrap_err();
    assert!(error.to_string().contains("knows no service `BACKUP-b32-1`"), "{error}");
    assert_eq!(stand_in.requests(), 1);
}

#[tokio::test]
async fn a_certificate_of_a_strange_ca_is_refused_before_anything_is_sent() {
    let stand_in = knows_vpn();
    let strange =
        settings::IcingaSettings { ca_file: Some(stand_in.stranger_ca_file()), ..settings(&stand_in) };
    let error = Icinga::new(&strange, "b32-1").unwrap().send(&report("vpn")).await.unwrap_err();
    assert!(matches!(error, ReportError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("TLS failed") && error.to_string().contains("`ca_file`"), "{error}");
    assert_eq!(stand_in.requests(), 0);
}

#[tokio::test]
async fn a_missing_ca_file_is_told_at_the_start() {
    let stand_in = knows_vpn();
    let missing =
        settings::IcingaSettings { ca_file: Some(PathBuf::from("/missing/ca.crt")), ..settings(&stand_in) };
    let error = Icinga::new(&missing, "b32-1").unwrap_err();
    assert!(error.to_string().contains("`/missing/ca.crt`: No such file"), "{error}");
}

#[tokio::test]
async fn an_icinga_that_restarts_is_tried_again() {
    let stand_in = knows_vpn();
    stand_in.next_faults(&[Fault::Unavailable]);
    icinga(&stand_in).send(&report("vpn")).await.unwrap();
    assert_eq!((stand_in.requests(), stand_in.results().len()), (2, 1));
}

#[tokio::test]
async fn an_icinga_that_is_down_gets_one_try_a_host_until_it_is_back() {
    let stand_in = knows_vpn();
    let icinga = icinga(&stand_in);
    stand_in.set_fault(Fault::Unavailable);
    for (requests, why) in [(3, "the first host is tried thrice"), (4, "then it is known"), (5, "still down")]
    {
        let error = icinga.send(&report("vpn")).await.unwrap_err();
        assert!(matches!(error, ReportError::Unavailable(_)), "{error:?}");
        assert_eq!(stand_in.requests(), requests, "{why}");
    }
    stand_in.set_fault(Fault::None);
    icinga.send(&report("vpn")).await.unwrap();
    stand_in.next_faults(&[Fault::Unavailable]);
    icinga.send(&report("vpn")).await.unwrap();
    assert_eq!(stand_in.requests(), 8, "it is back: a fault is worth another try");
}

#[tokio::test]
async fn what_icinga_was_away_for_is_sent_once_more_in_the_end_with_its_time() {
    let stand_in = StandIn::start(&["vpn!BACKUP-b32-1", "web!BACKUP-b32-1"]);
    let reporter = Reporter::start(vec![Arc::new(icinga(&stand_in))]);
    // Three tries of each host.
    stand_in.next_faults(&[Fault::Unavailable; 6]);
    reporter.submit(FleetEvent::HostDone(report("vpn")));
    reporter.submit(FleetEvent::HostDone(report("web")));
    let problems = reporter.finish(tokio::time::sleep(GRACE)).await.problems;
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!((stand_in.requests(), stand_in.results().len()), (8, 2));
    for result in stand_in.results() {
        assert_eq!(result["execution_start"], 1_795_140_008.5, "when the host was done");
        assert_eq!(result["execution_end"], 1_795_140_008.5);
    }
}

#[tokio::test]
async fn a_late_result_gives_way_to_a_newer_one() {
    let stand_in = knows_vpn();
    stand_in.set_fault(Fault::Newer);
    let icinga = icinga(&stand_in);
    // Whatever is newer, nobody has heard of this result.
    for late in [icinga.send_late(&report("vpn")).await, icinga.send(&report("vpn")).await] {
        let error = late.unwrap_err().to_string();
        assert!(error.contains("did not take the result (409): Newer check result"), "{error}");
    }
}

#[tokio::test]
async fn a_whole_fleet_is_told_and_each_problem_once() {
    let names: Vec<String> = (0..40).map(|n| format!("web{n:02}")).collect();
    let services: Vec<String> = names.iter().map(|name| format!("{name}!BACKUP-b32-1")).collect();
    let stand_in = StandIn::start(&services.iter().map(String::as_str).collect::<Vec<_>>());
    let reporter = Reporter::start(vec![Arc::new(icinga(&stand_in))]);
    for name in names.iter().map(String::as_str).chain(["new1", "new2", "", "a!b"]) {
        reporter.submit(FleetEvent::HostDone(report(name)));
    }
    let problems = reporter.finish(tokio::time::sleep(GRACE)).await.problems;
    assert_eq!(stand_in.results().len(), 40);
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(problems[0].what.starts_with("Icinga knows no service `BACKUP-b32-1` on a host of exactly"));
    assert!(problems[0].what.ends_with("; could not report 2 hosts (new1, new2) to Icinga"));
    assert!(problems[1].what.starts_with("connect failed: no route to host; "), "{problems:#?}");
    assert!(problems[1].remedy.starts_with("no host can have such a name in Icinga"), "{problems:#?}");
    assert!(problems[1].what.ends_with("; could not report 2 hosts ((no name), a!b) to Icinga"));
    assert_eq!(problems[0].severity, Severity::Critical, "these hosts have failed, and nobody else says so");
}

#[tokio::test]
async fn a_port_where_nobody_listens_costs_a_fleet_seconds_and_is_one_problem() {
    let stand_in = knows_vpn();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = settings::IcingaSettings {
        url: format!("https://{nobody}/").parse().unwrap(),
        ..settings(&stand_in)
    };
    let reporter = Reporter::start(vec![Arc::new(Icinga::new(&down, "b32-1").unwrap())]);
    for n in 0..200 {
        reporter.submit(FleetEvent::HostDone(report(&format!("web{n:03}"))));
    }
    let begun = Instant::now();
    let problems = reporter.finish(tokio::time::sleep(GRACE)).await.problems;
    // Three tries of every host, eight at a time, would be 100 s.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(
        problems[0]
            .what
            .contains("200 hosts (web000, web001, web002, web003, web004 and 195 more) to Icinga")
    );
    assert!(
        problems[0].what.starts_with("cannot connect: Connection refused (os error 111) (Icinga at `127."),
        "{problems:?}"
    );
}

#[tokio::test]
async fn what_is_not_delivered_in_time_is_named() {
    let stand_in = knows_vpn();
    stand_in.set_fault(Fault::Silence);
    let reporter = Reporter::start(vec![Arc::new(icinga(&stand_in))]);
    for n in 0..20 {
        reporter.submit(FleetEvent::HostDone(report(&format!("web{n:02}"))));
    }
    let problems = reporter.finish(tokio::time::sleep(Duration::from_secs(1))).await.problems;
    assert_eq!(
        problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "the run ended before the result was delivered; could not report 20 hosts (web00, web01, web02, web03, \
             web04 and 15 more) to Icinga"
        ]
    );
    assert!(stand_in.requests() <= 8, "{} at once", stand_in.requests());
}
