//! Icinga's good and bad days, through the real binary: what it is told of
//! each host, and what becomes of a run that cannot tell it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use support::icinga::{Fault, Icinga, PASSWORD, USER};
use support::netbox::{Machine, StandIn, TOKEN};
use support::rig::*;
use support::syslog::Daemon;

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
        ("Held", 1, "another run has it (process ", "the other run will report it"),
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
    assert_eq!(icinga.results().len(), 5 + names.len(), "one result a host and run");
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
        (Fault::Ignoring, "it dropped the result", "200, and the result is dropped"),
        (Fault::PassiveDisabled, "Passive checks are disabled", "the service takes no results"),
        (Fault::NoPermission, "`actions/process-check-result`", "a permission that is missing"),
        (Fault::Html, "does `icinga.url` point to Icinga 2's API?", "another server"),
        (Fault::Unavailable, "it answered 503", "a proxy before an Icinga that is down"),
    ];
    let (rig, icinga) = vpn();
    for (fault, said, reason) in cases {
        icinga.set_fault(fault);
        let ran = backup(&rig, &["--quiet", "all"]).exits(1).says(said);
        let lines: Vec<&str> = ran.stderr.lines().filter(|line| !line.contains("syslog at")).collect();
        assert_eq!(lines.len(), 1, "{reason}: {}", ran.stderr);
        assert!(lines[0].starts_with("warning: Icinga was not told of VPN: "), "{reason}: {}", lines[0]);
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
    let ran = backup(&rig, &["all"]).exits(1).says("Icinga was not told of 2 hosts (Db, Web): ");
    assert!(
        ran.stderr.contains("no service `BACKUP-b32-1` on a host of exactly that name"),
        "{}",
        ran.stderr
    );
    assert_eq!(icinga.results().len(), 1, "the one that it knows is told of");
    let last = ran.stderr.trim_end().lines().last().unwrap();
    assert!(last.starts_with("WARNING: Icinga was not told"), "{last}");
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
    let begin = Instant::now();
    let ran = backup(&rig, &["--quiet", "all"]).exits(1).says("Icinga was not told of 3 hosts (a, b, c): ");
    assert!(ran.stderr.contains("Connection refused"), "{}", ran.stderr);
    assert!(ran.stderr.contains("is Icinga 2 running there"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("Icinga was").count(), 1, "{}", ran.stderr);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
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
    backup(&rig, &["all"]).exits(1).says("2 hosts (VPN, Web): ").says("no complete answer within 1");
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    assert_eq!(rig.verdicts("vpn"), ["good"]);
}

#[test]
fn a_run_that_waits_for_icinga_can_be_stopped() {
    let (rig, icinga) = vpn();
    icinga.set_fault(Fault::Silence);
    let child = rig.start(&["all"]);
    rig.wait_until("the copy is there and Icinga is asked", || icinga.requests() > 0);
    let begin = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ran: Ran = finish(child).into();
    ran.exits(1).says("Icinga was not told of VPN: the run ended before the result was delivered");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
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
