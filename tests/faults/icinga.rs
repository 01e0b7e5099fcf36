//! Icinga's good and bad days, through the real binary: what it is told of
//! each host, and what becomes of a run that cannot tell it.

use crate::support::icinga::{Fault, Icinga, PASSWORD, USER};
use crate::support::netbox::{Machine, StandIn, TOKEN};
use crate::support::rig::*;
use crate::support::syslog::Daemon;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// Names this Icinga in a rig's configuration.
fn tell(rig: &mut Rig, icinga: &Icinga) {
    let (password, ca) = (icinga.password_file(), icinga.ca_file());
    fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
    let lines = format!(
        "url = {:?}\nuser = {USER:?}\npassword_file = {password:?}\nca_file = {ca:?}\n",
        icinga.url()
    );
    rig.section("icinga", &lines);
}

/// A rig with the one host `VPN`, and an Icinga that knows it.
fn vpn() -> (Rig, Icinga) {
    let mut rig = Rig::new();
    rig.host("VPN");
    let icinga = Icinga::start(&["VPN!BACKUP-b32-1"]);
    tell(&mut rig, &icinga);
    (rig, icinga)
}

/// Runs the binary, and fails the test if the password is in what it says.
#[track_caller]
fn backup(rig: &Rig, arguments: &[&str]) -> Ran {
    let ran = rig.backup(arguments);
    assert!(!ran.stderr.contains(PASSWORD), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    ran
}

/// Puts an rsync before the real one that copies all of the host `Partial`
/// but says that it could not.
fn make_partial(rig: &Rig) -> String {
    let script = "#!/bin/sh\n\
        case $* in\n\
        */store/partial/*) ;;\n\
        *) exec /usr/bin/rsync \"$@\" ;;\n\
        esac\n\
        /usr/bin/rsync \"$@\"\n\
        echo 'rsync: [sender] send_files failed to open \"/srv/data\": Permission denied (13)' >&2\n\
        exit 23\n";
    let path = rig.write("bin/rsync", script);
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", rig.join("bin").display())
}

#[test]
fn icinga_is_told_of_every_host_whatever_became_of_it() {
    let names = ["Good", "Partial", "Held", "Hooked", "Emptied", "Gone", "-e sh", "Twin", "twin"];
    let services = names.map(|name| format!("{name}!BACKUP-b32-1"));
    let icinga = Icinga::start(&services.each_ref().map(String::as_str));
    let netbox = StandIn::start(["Good", "Partial", "Held", "Hooked", "Emptied"].map(Machine::vm).into());
    let mut rig = Rig::new();
    tell(&mut rig, &icinga);
    let token = rig.write("token", TOKEN);
    rig.section("inventory.netbox", &format!("url = {:?}\ntoken_file = {token:?}\n", netbox.url()));
    rig.section("host_defaults", "hooks = false\n");
    for name in ["good", "partial", "held", "emptied"] {
        rig.host_with(name, "listed = false\n");
    }
    rig.host_with("hooked", "listed = false\nhooks = true\n");
    backup(&rig, &["all"]).exits(0);
    for name in &names[..5] {
        let result = icinga.result(&format!("{name}!BACKUP-b32-1")).unwrap();
        assert_eq!(result["exit_status"], 0, "{name}");
    }

    rig.host_with("gone", &format!("listed = false\nport = {}\n", free_port()));
    netbox.set_machines(names.map(Machine::vm).into());
    rig.hook("dump", "echo 'no such database'\nexit 3\n");
    for folder in ["etc", "srv"] {
        fs::remove_dir_all(rig.join("hosts/emptied").join(folder)).unwrap();
    }
    let held = fs::File::open(rig.join("run/held.lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    // Held by this process, which lives.
    fs::write(rig.join("run/held.lock"), std::process::id().to_string()).unwrap();
    let mut command = rig.command(&["all"]);
    command.env("PATH", make_partial(&rig));
    let ran: Ran = finish(command.spawn().unwrap()).into();
    ran.exits(1).does_not_say("Icinga");

    for (name, state, said, reason) in [
        ("Good", 0, "OK: 6 files", "a good copy"),
        ("Partial", 1, "Permission denied", "most of it is there"),
        ("Hooked", 2, "hook dump failed (exit 3)", "the copy is good, what is in it may not be"),
        ("Emptied", 2, "suspect copy: ", "perhaps nothing is there"),
        ("Gone", 2, "connect failed: ", "never reached"),
        ("-e sh", 2, "cannot be a host's name", "a fault of the inventory"),
        ("Twin", 2, "have one name", "two hosts of one name"),
        ("twin", 2, "have one name", "two hosts of one name"),
    ] {
        let result = icinga.result(&format!("{name}!BACKUP-b32-1")).unwrap();
        assert_eq!(result["exit_status"], state, "{name}, {reason}: {result}");
        let output = result["plugin_output"].as_str().unwrap();
        assert!(output.contains(said), "{name}, {reason}: {output}");
        let shown = ["OK: ", "WARNING: ", "CRITICAL: "][state];
        assert!(output.starts_with(shown), "{name}: {output}");
    }
    let hooked = icinga.result("Hooked!BACKUP-b32-1").unwrap();
    assert!(hooked["plugin_output"].as_str().unwrap().contains("\n  no such database"), "{hooked}");
    assert_eq!(icinga.results().len(), 5 + names.len() - 1, "one result a host and run");
    let held = icinga.result("Held!BACKUP-b32-1").unwrap();
    assert_eq!(held["exit_status"], 0, "the run that has the host tells of it: {held}");
    assert_eq!(rig.verdicts("partial").last().unwrap(), "partial");
}

#[test]
fn a_result_says_who_looked_and_how_long_it_holds() {
    let (mut rig, icinga) = vpn();
    rig.section("icinga", "ttl = \"25h\"\n");
    backup(&rig, &["vpn"]).exits(0);
    let result = icinga.result("VPN!BACKUP-b32-1").unwrap();
    assert_eq!(result["type"], "Service");
    assert_eq!(result["check_source"], "b32-1");
    assert_eq!(result["ttl"], 25 * 3600);
    let data: Vec<&str> =
        result["performance_data"].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
    let labels: Vec<&str> = data.iter().map(|datum| datum.split('=').next().unwrap()).collect();
    assert_eq!(labels, ["duration", "bytes", "files", "received", "snapshots"], "{data:?}");
    assert!(data.contains(&"files=6;;;0") && data.contains(&"snapshots=1;;;0"), "{data:?}");
}

#[test]
fn a_result_that_icinga_does_not_take_costs_the_exit_code_and_not_the_copy() {
    let cases = [
        (Fault::EmptyResults, "create the service there", "a service that is missing"),
        (Fault::Ignoring, "Icinga dropped the result", "200, and the result is dropped"),
        (Fault::PassiveDisabled, "Passive checks are disabled", "the service takes no results"),
        (Fault::NoPermission, "`actions/process-check-result`", "a permission that is missing"),
        (Fault::Html, "does `icinga.url` point to Icinga 2's API?", "another server"),
        (Fault::Unavailable, "Icinga answered 503: an HTML page", "a proxy before an Icinga that is down"),
    ];
    let (rig, icinga) = vpn();
    for (fault, said, reason) in cases {
        icinga.set_fault(fault);
        let ran = backup(&rig, &["--quiet", "all"]).exits(1).says(said);
        let lines: Vec<&str> = ran.stderr.lines().filter(|line| !line.contains("syslog at")).collect();
        assert_eq!(lines.len(), 2, "{reason}: {}", ran.stderr);
        assert!(lines[0].contains("; could not report VPN to Icinga ("), "{reason}: {}", lines[0]);
        assert!(lines[1].contains("; could not report the run itself to Icinga ("), "{reason}: {}", lines[1]);
        assert!(!ran.stderr.contains('<'), "a page for people is shown: {}", ran.stderr);
        assert_eq!(rig.verdicts("vpn"), ["good"], "{reason}");
    }
    assert!(icinga.results().is_empty());
    icinga.set_fault(Fault::None);
    icinga.next_faults(&[Fault::Unavailable]);
    backup(&rig, &["all"]).exits(0).does_not_say("Icinga");
    assert_eq!(icinga.results().len(), 1, "a short trouble is waited out");
}

#[test]
fn a_host_that_icinga_lacks_is_told_with_the_service_to_create() {
    let (mut rig, icinga) = vpn();
    rig.host("Web");
    rig.host("Db");
    let ran = backup(&rig, &["all"]).exits(1).says("could not report 2 hosts (Db, Web) to Icinga");
    assert!(
        ran.stderr.contains("no service `BACKUP-b32-1` on a host of exactly that name"),
        "{}",
        ran.stderr
    );
    assert_eq!(icinga.results().len(), 1, "the one that it knows is told of");
    let last = ran.stderr.lines().rfind(|line| !line.contains("syslog at")).unwrap();
    assert!(last.starts_with("WARNING: Icinga knows no service"), "{last}");
}

#[test]
fn an_icinga_that_is_not_the_one_is_told_nothing() {
    let (mut rig, icinga) = vpn();
    rig.replace("icinga", &format!("ca_file = {:?}\n", icinga.stranger_ca_file()));
    backup(&rig, &["all"]).exits(1).says("TLS failed").says("`ca_file`");
    assert_eq!(icinga.requests(), 0, "the password was sent to a stranger");
    assert_eq!(rig.verdicts("vpn"), ["good"]);
}

#[test]
fn an_icinga_whose_certificate_is_its_own_authority_is_told_if_that_is_named() {
    let mut rig = Rig::new();
    rig.host("VPN");
    let icinga = Icinga::self_signed(&["VPN!BACKUP-b32-1"]);
    tell(&mut rig, &icinga);
    backup(&rig, &["vpn"]).exits(0);
    assert_eq!(icinga.results().len(), 1);
}

#[test]
fn a_wrong_password_is_told_and_none_is_shown() {
    let (mut rig, icinga) = vpn();
    let wrong = rig.write("wrong", "not-the-password\n");
    rig.replace("icinga", &format!("password_file = {wrong:?}\n"));
    let ran = backup(&rig, &["-v", "all"]).exits(1).says("does not accept the user and the password (401)");
    assert!(!ran.stderr.contains("not-the-password"), "{}", ran.stderr);
    let mut command = rig.command(&["-v", "all"]);
    command.env("BACKUP_ICINGA_PASSWORD", PASSWORD);
    let ran: Ran = finish(command.spawn().unwrap()).into();
    ran.exits(0).does_not_say(PASSWORD).does_not_say("401");
    assert_eq!(icinga.results().len(), 1, "the variable goes before the file");
}

#[test]
fn an_icinga_that_is_down_is_one_warning_for_all_hosts() {
    let mut rig = Rig::new();
    for name in ["a", "b", "c"] {
        rig.host(name);
    }
    let icinga = Icinga::start(&[]);
    tell(&mut rig, &icinga);
    rig.replace("icinga", &format!("url = \"https://127.0.0.1:{}/\"\n", free_port()));
    let ran = backup(&rig, &["--quiet", "all"]).exits(1).says("could not report 3 hosts (a, b, c) to Icinga");
    assert!(ran.stderr.contains("Connection refused"), "{}", ran.stderr);
    assert!(ran.stderr.contains("is Icinga 2 running there"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("to Icinga").count(), 2, "the hosts, and the run: {}", ran.stderr);
    for name in ["a", "b", "c"] {
        assert_eq!(rig.verdicts(name), ["good"]);
    }
}

/// Its three tries of ten seconds, and a last one, are what a run waits for at
/// the end.
#[test]
fn an_icinga_that_hangs_delays_a_run_and_does_not_hold_it() {
    let (mut rig, icinga) = vpn();
    rig.host("Web");
    icinga.set_fault(Fault::Silence);
    let begin = Instant::now();
    backup(&rig, &["all"]).exits(1).says("2 hosts (VPN, Web) to Icinga").says("no complete answer within 1");
    assert!(begin.elapsed() < Duration::from_secs(90), "{:?}", begin.elapsed());
    assert_eq!(rig.verdicts("vpn"), ["good"]);
}

#[test]
fn a_run_that_waits_for_icinga_can_be_stopped() {
    let (rig, icinga) = vpn();
    icinga.set_fault(Fault::Silence);
    let child = rig.start(&["all"]);
    rig.wait_until("the copy is there and Icinga is asked", || icinga.requests() > 0);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ran: Ran = finish(child).into();
    ran.exits(1).says("the run ended before the result was delivered; could not report VPN to Icinga");
    assert_eq!(rig.verdicts("vpn"), ["good"], "the copy was done before");
}

#[test]
fn a_quiet_run_in_which_all_is_well_says_nothing_at_all() {
    let icinga = Icinga::start(&["VPN!BACKUP-b32-1", "Web!BACKUP-b32-1"]);
    let mut rig = Rig::new();
    tell(&mut rig, &icinga);
    rig.host("VPN");
    rig.hook("dump", "echo dumped\n");
    let netbox = StandIn::start(vec![Machine::vm("Web")]);
    let token = rig.write("token", TOKEN);
    fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
    rig.section("inventory.netbox", &format!("url = {:?}\ntoken_file = {token:?}\n", netbox.url()));
    rig.host_with("web", "listed = false\n");
    let daemon = Daemon::start(&rig);
    let ran: Ran = finish(daemon.behind(&rig, rig.command(&["--quiet", "all"])).spawn().unwrap()).into();
    let ran = ran.exits(0);
    assert_eq!((ran.stderr.as_str(), ran.stdout.as_str()), ("", ""));
    assert_eq!(icinga.results().len(), 2);
}

/// A rig whose host `VPN` comes from a NetBox, and an Icinga that knows it.
fn listed() -> (Rig, StandIn, Icinga) {
    let (mut rig, icinga) = vpn();
    let netbox = StandIn::start(vec![Machine::vm("VPN")]);
    let token = rig.write("token", TOKEN);
    fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
    let lines = format!("url = {:?}\ntoken_file = {token:?}\ntimeout = \"1s\"\n", netbox.url());
    rig.section("inventory.netbox", &lines);
    rig.section("hosts.\"VPN\"", "listed = false\n");
    rig.section("metrics", &format!("textfile = {:?}\n", rig.join("backup.prom")));
    (rig, netbox, icinga)
}

/// The last result of a whole run: its state, and what it says.
#[track_caller]
fn last_run(icinga: &Icinga) -> (u64, String) {
    let result = icinga.runs().pop().unwrap();
    (result["exit_status"].as_u64().unwrap(), result["plugin_output"].as_str().unwrap().to_owned())
}

#[test]
fn a_netbox_that_no_longer_answers_is_heard_of_everywhere_and_critical_after_two_days() {
    let (mut rig, netbox, icinga) = listed();
    backup(&rig, &["all"]).exits(0);
    let (state, said) = last_run(&icinga);
    assert_eq!(state, 0);
    assert!(said.starts_with("OK: 1 host: 1 good, in "), "{said}");

    netbox.misbehave(crate::support::netbox::Fault::Status(500));
    backup(&rig, &["all"]).exits(1);
    let (state, said) = last_run(&icinga);
    assert_eq!(state, 1, "{said}");
    assert!(said.starts_with("WARNING: NetBox answered 500"), "{said}");
    assert!(said.contains("is used (1 host); 1 host: 1 good, in "), "{said}");
    let line = rig.backup(&["status", "--nagios"]).exits(0).stdout;
    assert!(line.starts_with("BACKUP OK - 1 host good; NetBox answered 500"), "{line}");
    assert_eq!(icinga.result("VPN!BACKUP-b32-1").unwrap()["exit_status"], 0, "its copy is good");

    // The list is of another month by now.
    let path = rig.join("state/inventory.json");
    let mut saved: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let at: chrono::DateTime<chrono::Utc> = saved["saved_at"].as_str().unwrap().parse().unwrap();
    let at = at - chrono::TimeDelta::days(30);
    let told = at.format("%Y-%m-%d %H:%M UTC");
    saved["saved_at"] = at.to_rfc3339().into();
    fs::write(&path, saved.to_string()).unwrap();
    backup(&rig, &["--quiet", "all"]).exits(1).says("older than `inventory.netbox.max_age`");
    let (state, said) = last_run(&icinga);
    assert_eq!(state, 2, "{said}");
    assert!(said.contains(&format!("its list of {told} is used (1 host), which is older than")), "{said}");
    let line = rig.backup(&["status", "--nagios"]).exits(2).stdout;
    assert!(line.starts_with("BACKUP CRITICAL - 1 host good; NetBox answered 500"), "{line}");
    rig.backup(&["status"]).exits(1).says("error: NetBox answered 500");
    let checked = rig.backup(&["check"]).exits(1).stdout;
    assert!(
        checked.contains(&format!("error    hosts: its list of {told} is used, which is older")),
        "{checked}"
    );
    let metrics = fs::read_to_string(rig.join("backup.prom")).unwrap();
    for line in [
        "backup_run_state{server=\"b32-1\",scope=\"all\"} 2".to_owned(),
        format!(
            "backup_run_inventory_timestamp_seconds{{server=\"b32-1\",scope=\"all\"}} {}",
            at.timestamp()
        ),
    ] {
        assert!(metrics.contains(&line), "{line} is missing in {metrics}");
    }
    rig.replace("inventory.netbox", "max_age = \"1000h\"\n");
    backup(&rig, &["all"]).exits(1);
    assert_eq!(last_run(&icinga).0, 1, "the operator says how old is too old");
    rig.backup(&["status"]).exits(0);
}

#[test]
fn what_belongs_to_no_host_in_icinga_is_told_of_the_run() {
    let (mut rig, netbox, icinga) = listed();
    netbox.set_machines(vec![
        Machine::vm("VPN"),
        Machine::vm("Web"),
        Machine::new(crate::support::netbox::Kind::Device, None),
    ]);
    rig.host_with("web", "listed = false\n");
    backup(&rig, &["all"]).exits(1);
    let (state, said) = last_run(&icinga);
    assert_eq!(state, 2, "{said}");
    let nameless = "inventory failed: device 3 has no name in NetBox (give it one there, or write `[hosts.\"device:3\"]` and below it `name = \"device-3\"` into the configuration); could not report (no name) to Icinga";
    assert!(said.starts_with(&format!("CRITICAL: {nameless}; ")), "{said}");
    assert!(said.contains("\nWARNING: Icinga knows no service `BACKUP-b32-1`"), "{said}");
    assert!(said.contains("could not report Web to Icinga"), "{said}");

    backup(&rig, &["vpn"]).exits(0);
    assert_eq!(icinga.runs().len(), 1, "a run of one host says nothing of the night's");

    icinga.forget("b32-1!BACKUP-b32-1");
    let ran = backup(&rig, &["all"]).exits(1);
    let said = "Icinga knows no service `BACKUP-b32-1` on the host `b32-1` (404); could not report the run itself to Icinga";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    rig.replace("icinga", "run_host = \"Copies\"\nrun_service = \"RUN-{server}\"\n");
    let ran = backup(&rig, &["all"]).exits(1);
    assert!(ran.stderr.contains("no service `RUN-b32-1` on the host `Copies`"), "{}", ran.stderr);
    let checked = rig.backup(&["check"]).exits(1).stdout;
    assert!(checked.contains("service RUN-b32-1: is missing"), "{checked}");
}

#[test]
fn a_run_that_cannot_begin_is_critical_in_icinga() {
    let (rig, netbox, icinga) = listed();
    netbox.misbehave(crate::support::netbox::Fault::Status(403));
    backup(&rig, &["all"]).exits(2);
    let (state, said) = last_run(&icinga);
    assert_eq!(state, 2);
    assert!(said.starts_with("CRITICAL: NetBox answered 403"), "{said}");
    assert!(said.contains("no earlier list of its hosts was kept"), "{said}");
}

#[test]
fn a_server_that_is_a_host_of_its_own_needs_another_service_for_the_run() {
    let (mut rig, icinga) = vpn();
    rig.host("b32-1");
    backup(&rig, &["all"]).exits(1).says("the run itself is not reported to Icinga");
    let result = icinga.runs().pop().unwrap();
    assert_eq!(result["exit_status"], 1, "{result}");
    let said = result["plugin_output"].as_str().unwrap();
    assert!(
        said.contains("6 files") && said.contains("`icinga.run_service`"),
        "the host's own result: {said}"
    );
    assert_eq!(icinga.runs().len(), 1, "no run overwrites what is said of the host");
    let checked = rig.backup(&["check"]).exits(1).stdout;
    assert!(checked.contains("is the run's own and that of the host `b32-1` as well"), "{checked}");
}

/// A test holds the host as another run would.
#[test]
fn a_skipped_host_hides_nothing_of_what_its_last_run_was() {
    let (mut rig, icinga) = vpn();
    rig.section("metrics", &format!("textfile = {:?}\n", rig.join("backup.prom")));
    backup(&rig, &["all"]).exits(0);
    rig.section("hosts.\"VPN\"", &format!("port = {}\n", free_port()));
    backup(&rig, &["all"]).exits(1);
    let told = icinga.result("VPN!BACKUP-b32-1").unwrap();
    assert_eq!(told["exit_status"], 2);
    let held = fs::File::open(rig.join("run/vpn.lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fs::write(rig.join("run/vpn.lock"), std::process::id().to_string()).unwrap();
    let port = rig.sshd().port;
    rig.replace("hosts.\"VPN\"", &format!("port = {port}\n"));
    backup(&rig, &["all"]).exits(1).says("VPN: WARNING: skipped: locked by another run");
    assert_eq!(icinga.result("VPN!BACKUP-b32-1").unwrap(), told, "its failure stays");
    let (state, said) = last_run(&icinga);
    assert_eq!((state, said.contains("skipped, locked by another run: VPN")), (1, true), "{said}");
    let metrics = fs::read_to_string(rig.join("backup.prom")).unwrap();
    assert!(metrics.contains("backup_host_state{server=\"b32-1\",host=\"VPN\"} 2"), "{metrics}");
    drop(held);
    let status = rig.backup(&["status", "--json"]).exits(1).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["hosts"][0]["state"], "failed", "{status}");
    backup(&rig, &["all"]).exits(0);
    assert_eq!(icinga.result("VPN!BACKUP-b32-1").unwrap()["exit_status"], 0, "the next run is heard");
}
