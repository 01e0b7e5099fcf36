//! NetBox's good and bad days, through the real binary: which hosts are backed
//! up, what the operator is told, and where the token goes.

use crate::support::netbox::{Fault, Kind, Machine, StandIn, TOKEN};
use crate::support::rig::*;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A rig whose hosts come from a NetBox.
struct Scene {
    rig: Rig,
    netbox: StandIn,
    /// The sources of the rig's hosts, in the order of their names.
    sources: Vec<PathBuf>,
}

impl Scene {
    /// NetBox lists these virtual machines; behind each name is a host of the
    /// rig, whose settings stand under the name in lower case.
    fn of(names: &[&str]) -> Self {
        let mut rig = Rig::new();
        let settings = "listed = false\n";
        let sources = names.iter().map(|name| rig.host_with(&name.to_lowercase(), settings)).collect();
        Scene { sources, ..Scene::with(rig, names.iter().map(|name| Machine::vm(name)).collect()) }
    }

    /// NetBox lists these, whatever is behind them.
    fn with(mut rig: Rig, machines: Vec<Machine>) -> Self {
        let netbox = StandIn::start(machines);
        let token = secret(&rig, "token", TOKEN);
        let lines = format!("url = {:?}\ntoken_file = {token:?}\ntimeout = \"20s\"\n", netbox.url());
        rig.section("inventory.netbox", &lines);
        Scene { rig, netbox, sources: Vec::new() }
    }

    /// [`Scene::of`] after a first good run, and with a NetBox whose patience
    /// is short.
    fn settled(names: &[&str]) -> Self {
        let mut scene = Self::of(names);
        scene.backup(&["all"]).exits(0);
        scene.netbox_patience("1s");
        scene
    }

    fn netbox_patience(&mut self, timeout: &str) {
        self.rig.replace("inventory.netbox", &format!("timeout = {timeout:?}\n"));
    }

    /// Runs the binary, and fails the test if the token is in what it says.
    #[track_caller]
    fn backup(&self, arguments: &[&str]) -> Ran {
        let ran = self.rig.backup(arguments);
        assert!(!ran.stderr.contains(TOKEN) && !ran.stdout.contains(TOKEN), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
        ran
    }

    /// The list of NetBox's hosts that was kept.
    fn saved(&self) -> String {
        fs::read_to_string(self.rig.join("state/inventory.json")).unwrap_or_default()
    }
}

/// Writes a file that only its owner may read.
fn secret(rig: &Rig, name: &str, text: &str) -> PathBuf {
    let path = rig.write(name, text);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_fleet_from_netbox_is_backed_up_under_the_names_that_netbox_spells() {
    let scene = Scene::of(&["VPN", "Web-1", "db"]);
    let ran = scene.backup(&["all"]).exits(0).says("3 hosts: 3 good");
    for (name, source) in ["VPN", "Web-1", "db"].iter().zip(&scene.sources) {
        assert!(ran.stderr.contains(&format!("{name}: OK: ")), "{}", ran.stderr);
        let key = name.to_lowercase();
        assert_eq!(differences(source, &scene.rig.newest(&key)), "");
        assert_eq!(scene.rig.verdicts(&key), ["good"]);
    }
    assert!(!scene.rig.join("store/VPN").exists(), "folders are in lower case");
    assert!(scene.saved().contains("\"VPN\"") && !scene.saved().contains(TOKEN), "{}", scene.saved());
    let bearer = Some(format!("Token {TOKEN}"));
    assert!(scene.netbox.seen().iter().all(|request| request.authorization == bearer));
}

#[test]
fn hosts_are_selected_in_any_case_by_glob_and_without_the_inventory() {
    let scene = Scene::of(&["VPN", "Web-1", "web-2"]);
    scene.backup(&["vpn"]).exits(0).says("1 host: 1 good").says("VPN: OK: ");
    scene.backup(&["WEB*"]).exits(0).says("2 hosts: 2 good").does_not_say("VPN");
    scene.backup(&["Vpn", "v*", "VPN"]).exits(0).says("1 host: 1 good");

    scene.backup(&["vnp"]).exits(2).says("no host `vnp`").says("did you mean `VPN`?").says("--force");
    scene.backup(&["vpn", "nothing*"]).exits(2).says("no host's name matches `nothing*`").does_not_say("OK");
    scene.backup(&["$(touch x)\n"]).exits(2).says("no host `$(touch x)\\n`");
    scene.backup(&["--force", "all"]).exits(2).says("`--force`").says("not `all`");
    scene.backup(&["--force", "-q", "web*"]).exits(2).says("`web*` cannot be a host's name");
}

#[test]
fn force_backs_up_a_host_that_nobody_lists_and_asks_nobody() {
    let mut scene = Scene::of(&["VPN"]);
    let source = scene.rig.host_with("stray", "listed = false\n");
    scene.netbox.misbehave(Fault::Status(500));
    scene.backup(&["--force", "STRAY"]).exits(0).says("stray: OK: ");
    assert_eq!(differences(&source, &scene.rig.newest("stray")), "");
    assert!(scene.netbox.seen().is_empty(), "NetBox was asked");
}

#[test]
fn static_hosts_stand_beside_netboxs_and_instead_of_them() {
    let mut scene = Scene::of(&["VPN"]);
    let source = scene.rig.host("Router");
    scene.backup(&["all"]).exits(0).says("2 hosts: 2 good").says("Router: OK: ").says("VPN: OK: ");
    assert_eq!(differences(&source, &scene.rig.newest("router")), "");

    let mut rig = Rig::new();
    rig.host("Router");
    rig.backup(&["all"]).exits(0).says("1 host: 1 good");
    assert!(!rig.join("state/inventory.json").exists(), "nothing was listed, and nothing is kept");
}

/// Each refusal in turn, first without an earlier list, then with one.
#[test]
fn a_netbox_that_refuses_stops_the_first_run_and_only_taints_later_ones() {
    let refusals = [
        (Fault::Status(403), "403", "token", "the token may see nothing"),
        (Fault::Status(500), "500", "3 times in a row", "a lasting fault of NetBox"),
        (Fault::Html, "an HTML page, not with JSON", "`inventory.netbox.url`", "a login page, a proxy"),
        (Fault::HalfJson, "not the JSON that NetBox gives", "", "an answer that breaks off"),
        (Fault::NextLoop, "has no end", "`next`", "a list that leads back to its beginning"),
        (Fault::NextForever, "has no end", "`next`", "a list that leads ever on"),
        (Fault::SlowDrip, "no complete answer within 1.", "", "a byte at a time, for ever"),
    ];
    let mut scene = Scene::of(&["VPN", "db"]);
    scene.netbox_patience("1s");
    for (fault, why, advice, reason) in &refusals {
        scene.netbox.misbehave(fault.clone());
        let ran = scene.backup(&["all"]).exits(2).says("(NetBox at `").says(why).says(advice);
        assert!(ran.stderr.contains("no earlier list"), "{reason}: {}", ran.stderr);
        assert!(ran.stderr.contains("`[hosts.NAME]`"), "{reason}: {}", ran.stderr);
        assert_eq!(scene.rig.snapshots("vpn").len(), 0, "{reason}");
    }
    scene.netbox.misbehave(Fault::None);
    scene.backup(&["all"]).exits(0);
    let saved = scene.saved();
    for (fault, why, _, reason) in &refusals {
        scene.netbox.misbehave(fault.clone());
        let ran = scene.backup(&["--quiet", "all"]).exits(1).says(why);
        assert!(
            ran.stderr.contains("its list of 20") && ran.stderr.contains("is used (2 hosts)"),
            "{reason}"
        );
        assert!(!ran.stderr.contains("CRITICAL"), "{reason}: {}", ran.stderr);
        assert_eq!(scene.saved(), saved, "{reason}: the list was touched");
        assert_eq!(scene.rig.verdicts("vpn"), ["good"], "{reason}");
    }
}

#[test]
fn a_tag_that_netbox_does_not_have_is_named_with_what_to_do() {
    let mut scene = Scene::of(&["VPN"]);
    scene.rig.section("inventory.netbox", "tag = \"Back up\"\n");
    let ran = scene.backup(&["all"]).exits(2).says("400").says("`Back up`");
    assert!(ran.stderr.contains("create it in NetBox, or fix `inventory.netbox.tag`"), "{}", ran.stderr);
}

#[test]
fn a_short_trouble_of_netbox_is_waited_out_and_not_mailed() {
    let mut scene = Scene::of(&["VPN"]);
    scene.netbox_patience("2s");
    scene.netbox.misbehave(Fault::FirstRequestsFail(1));
    scene.backup(&["--quiet", "all"]).exits(0).does_not_say("NetBox");
    scene.netbox.misbehave(Fault::FirstAnswersDrop(1));
    scene.backup(&["--quiet", "all"]).exits(0).does_not_say("NetBox");
}

#[test]
fn the_token_never_goes_where_next_points() {
    let elsewhere = StandIn::start(Vec::new());
    let mut machines: Vec<Machine> = (0..1100).map(|n| Machine::vm(&format!("filler{n:04}"))).collect();
    machines.push(Machine::vm("VPN"));
    let mut rig = Rig::new();
    rig.host_with("vpn", "listed = false\n");
    let scene = Scene::with(rig, machines);
    scene.netbox.misbehave(Fault::NextOrigin(elsewhere.url()));
    scene.backup(&["VPN"]).exits(0).says("VPN: OK: ");
    let pages = scene.netbox.seen().iter().filter(|seen| seen.query.contains("offset=1000")).count();
    assert_eq!(pages, 1, "the second page comes from where the first did");
    assert_eq!(elsewhere.seen(), [], "another origin was asked");

    scene.netbox.misbehave(Fault::Redirect(elsewhere.url()));
    scene.backup(&["VPN"]).exits(1).says("redirects are not followed");
    assert_eq!(elsewhere.seen(), [], "a redirect was followed");
}

#[test]
fn an_empty_list_is_not_believed() {
    let scene = Scene::of(&["VPN", "db"]);
    scene.netbox.misbehave(Fault::SeesNothing);
    scene.backup(&["all"]).exits(2).says("no host with the tag `Backup`").says("look at the token");
    scene.netbox.misbehave(Fault::None);
    scene.backup(&["all"]).exits(0);
    scene.netbox.misbehave(Fault::SeesNothing);
    let ran = scene.backup(&["all"]).exits(1).says("2 hosts: 2 good").says("lists only 0 of the 2 hosts");
    assert!(ran.stderr.contains("inventory.json`; if not, look at the token"), "{}", ran.stderr);
}

#[test]
fn a_list_that_shrank_below_half_is_filled_up_until_the_operator_says_it_is_right() {
    let scene = Scene::of(&["a", "b", "c"]);
    scene.backup(&["all"]).exits(0);
    scene.netbox.set_machines(vec![Machine::vm("c"), Machine::vm("New")]);
    // The new one is not there, and is heard of; the missing ones are backed up.
    for _ in 0..2 {
        let ran = scene.backup(&["all"]).exits(1).says("lists only 1 of the 3 hosts").says("CRITICAL");
        for name in ["a: OK: ", "b: OK: ", "c: OK: ", "New: CRITICAL: "] {
            assert!(ran.stderr.contains(name), "{name}: {}", ran.stderr);
        }
    }
    fs::remove_file(scene.rig.join("state/inventory.json")).unwrap();
    scene.backup(&["c"]).exits(0);
    assert!(!scene.saved().contains("\"a\""), "{}", scene.saved());
    assert_eq!(scene.rig.verdicts("a"), ["good"], "the snapshots of a host that left are kept");
}

#[test]
fn a_host_that_left_is_told_of_until_it_is_retired_and_its_snapshots_are_kept() {
    let mut scene = Scene::of(&["a", "b", "C"]);
    scene.rig.section("metrics", &format!("textfile = {:?}\n", scene.rig.join("backup.prom")));
    let metric = "backup_host_state{server=\"b32-1\",host=\"C\"} 0";
    let metrics = |scene: &Scene| fs::read_to_string(scene.rig.join("backup.prom")).unwrap();
    scene.backup(&["all"]).exits(0);
    scene.netbox.set_machines(vec![Machine::vm("a"), Machine::vm("b")]);
    scene.backup(&["a"]).exits(0).does_not_say("left the inventory");
    for _ in 0..2 {
        scene.backup(&["--quiet", "all"]).exits(1).says("C left the inventory").says("`backup retire C`");
        assert!(metrics(&scene).contains(metric), "its metrics stay");
        let status = scene.rig.backup(&["status"]).exits(1).stdout;
        assert!(status.lines().any(|line| line.starts_with("c ") && line.contains(" left ")), "{status}");
        let line = scene.rig.backup(&["status", "--nagios"]).exits(1).stdout;
        assert!(line.starts_with("BACKUP WARNING - 2 hosts good; c: left the inventory on "), "{line}");
    }
    let checked = scene.rig.backup(&["check", "a"]).exits(1).stdout;
    assert!(checked.contains("warning  hosts: C left the inventory"), "{checked}");

    scene.backup(&["retire", "a", "c"]).exits(1).says("a is still in the inventory");
    scene.backup(&["retire", "cc"]).exits(2).says("there is no host `cc`");
    scene.backup(&["--quiet", "all"]).exits(1).says("C left the inventory");
    scene.backup(&["retire", "C"]).exits(0).says("c is retired; 1 snapshot is kept");
    scene.backup(&["--quiet", "all"]).exits(0).does_not_say("left the inventory");
    assert!(!metrics(&scene).contains("host=\"C\""), "{}", metrics(&scene));
    assert_eq!(scene.rig.verdicts("c"), ["good"]);
    let status = scene.rig.backup(&["status"]).exits(0).says("1 retired");
    assert!(!status.stdout.contains("retired"), "{}", status.stdout);
    let status = scene.rig.backup(&["status", "--retired"]).exits(0).stdout;
    assert!(status.lines().any(|line| line.starts_with("c ") && line.contains(" retired ")), "{status}");

    scene.backup(&["c"]).exits(2).says("no host `c`");
    scene.backup(&["--force", "c"]).exits(0);
    scene.netbox.set_machines(["a", "b", "C"].map(Machine::vm).into());
    scene.backup(&["all"]).exits(0).says("3 hosts: 3 good");
    scene.netbox.set_machines(vec![Machine::vm("a"), Machine::vm("b")]);
    scene.backup(&["--quiet", "all"]).exits(1).says("C left the inventory");
}

#[test]
fn a_plan_has_the_same_order_each_time() {
    let names: Vec<String> = (0..12).map(|n| format!("vm{n:02}")).collect();
    let scene = Scene::with(Rig::without_sshd(), names.iter().map(|name| Machine::vm(name)).collect());
    let plan = || scene.rig.backup(&["plan"]).exits(0).stdout;
    assert_eq!(plan(), plan());
}

#[test]
fn a_netbox_that_is_down_stops_only_a_first_run() {
    let mut scene = Scene::settled(&["VPN", "db"]);
    let url = scene.netbox.url();
    scene.netbox = StandIn::start(Vec::new());
    // The old address, where nobody listens any more.
    assert_ne!(scene.netbox.url(), url);
    let ran = scene.backup(&["all"]).exits(1).says("Connection refused").says("2 hosts: 2 good");
    let last = ran.stderr.trim_end().lines().last().unwrap();
    assert!(
        last.starts_with("WARNING: cannot connect: Connection refused"),
        "the end does not say why the run exits with 1: {last}"
    );
    scene.backup(&["vnp"]).exits(2).says("Connection refused").says("did you mean `VPN`?");

    fs::remove_file(scene.rig.join("state/inventory.json")).unwrap();
    scene.backup(&["all"]).exits(2).says("Connection refused").says("no earlier list");
    scene.rig.host("Router");
    let ran = scene.backup(&["all"]).exits(1).says("Router: OK: ");
    assert!(ran.stderr.contains("only the hosts of the configuration are backed up"), "{}", ran.stderr);
}

#[test]
fn every_host_that_cannot_be_one_is_reported_and_the_rest_are_backed_up() {
    let mut scene = Scene::of(&["db", "VPN"]);
    scene.backup(&["all"]).exits(0);
    let long = "x".repeat(255);
    let mut machines: Vec<Machine> =
        ["db", "VPN", "vpn", "-e sh", "$(touch x)", "a\nb", &long, "blank ", "../db"].map(Machine::vm).into();
    machines.push(Machine::new(Kind::Device, None));
    scene.netbox.set_machines(machines);
    scene.rig.section("metrics", &format!("textfile = {:?}\n", scene.rig.join("backup.prom")));
    let ran = scene.backup(&["all"]).exits(1).says("10 hosts: 1 good, 9 failed");
    for (name, why) in [
        ("(no name)", "device 10 has no name in NetBox (give it one there, or write `[hosts.\"device:10\"]`"),
        ("-e sh", "rename virtual machine 4 in NetBox"),
        ("$(touch x)", "rename virtual machine 5 in NetBox"),
        ("a\\nb", "rename virtual machine 6 in NetBox"),
        (&long, "it is longer than 128 bytes (rename virtual machine 7"),
        ("blank ", "rename virtual machine 8 in NetBox"),
        ("../db", "rename virtual machine 9 in NetBox"),
        (
            "VPN",
            "have one name, as names compare without case (rename all but one there, or write into the configuration",
        ),
        ("the same of vpn as of VPN", "`[hosts.\"vm:3\"]` and below it `name = \"vpn-vm3\"`"),
    ] {
        let begin = format!("error: {name}: CRITICAL: ");
        let line = ran.stderr.lines().find(|line| line.starts_with(&begin));
        let line = line.unwrap_or_else(|| panic!("{begin}… is missing in:\n{}", ran.stderr));
        assert!(line.contains(why), "`{why}` is missing in: {line}");
    }
    assert_eq!(ran.stderr.matches("error: ").count(), 9, "{}", ran.stderr);
    assert!(ran.stderr.contains("db: OK: "), "{}", ran.stderr);
    assert!(ran.stderr.lines().all(|line| line.chars().count() < 700), "a name fills the screen");
    let folders: BTreeSet<_> =
        fs::read_dir(scene.rig.join("store")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(folders, ["db", "vpn"].map(Into::into).into(), "a place was made for a host that is none");
    assert_eq!(scene.rig.snapshots("vpn").len(), 1, "nobody knows whose files would come");
    let metrics = fs::read_to_string(scene.rig.join("backup.prom")).unwrap();
    assert!(metrics.contains("backup_host_state{server=\"b32-1\",host=\"-e sh\"} 2"), "{metrics}");

    // One of them by its name, and a good one: each is only itself.
    scene.backup(&["--", "-e sh"]).exits(1).says("-e sh: CRITICAL: ").says("1 host: 1 failed");
    scene.backup(&["db"]).exits(0).says("1 host: 1 good").does_not_say("CRITICAL");
}

#[test]
fn of_ten_thousand_hosts_one_is_backed_up_in_little_memory() {
    let mut machines: Vec<Machine> =
        (0..9_999).map(|n| Machine::vm(&format!("vm{n:05}.example.org"))).collect();
    machines.push(Machine::vm("VPN"));
    let mut rig = Rig::new();
    let source = rig.host_with("vpn", "listed = false\n");
    let mut scene = Scene::with(rig, machines);
    scene.netbox_patience("60s");
    for (list, reason) in [("new", "NetBox lists them"), ("old", "NetBox and an earlier list")] {
        let begin = Instant::now();
        let mut child = scene.rig.start(&["VPN"]);
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            peak = peak.max(kib.unwrap_or_default());
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = begin.elapsed();
        let ran: Ran = finish(child).into();
        ran.exits(0).says("1 host: 1 good");
        println!("one of 10,000 hosts, {list} list: {} MB at most, {:.1} s", peak / 1024, took.as_secs_f64());
        assert!(peak > 1024, "the peak was not seen");
        assert!(peak < 50 * 1024, "{peak} KiB, {reason}");
    }
    assert_eq!(differences(&source, &scene.rig.newest("vpn")), "");
}

/// The processes that belong to this rig's runs: by their home, which no other
/// process has, or by a path of the rig in their arguments.
fn processes_of(rig: &Rig) -> Vec<(u32, String, String)> {
    let home = format!("HOME={}\0", rig.path().display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let read = |name: &str| {
            let bytes = fs::read(entry.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (line, environment) = (read("cmdline"), read("environ"));
        if environment.contains(&home) || line.contains(rig.path().to_str().unwrap()) {
            found.push((pid, line.replace('\0', " "), environment));
        }
    }
    found
}

#[test]
fn the_token_is_in_no_childs_arguments_or_environment_nor_in_what_verbose_says() {
    for by_variable in [false, true] {
        let scene = Scene::of(&["VPN"]);
        // The hook waits until the processes have been looked at.
        let (there, go) = (scene.rig.join("there"), scene.rig.join("go"));
        scene.rig.hook("wait", &format!("touch {there:?}; until [ -e {go:?} ]; do sleep 0.05; done; env\n"));
        let mut command = scene.rig.command(&["-v", "all"]);
        if by_variable {
            fs::write(scene.rig.join("token"), "no such token\n").unwrap();
            command.env("BACKUP_NETBOX_TOKEN", TOKEN);
        }
        let child = command.spawn().unwrap();
        scene.rig.wait_until("the hook runs", || there.exists());
        let processes = processes_of(&scene.rig);
        fs::write(&go, "").unwrap();
        let pid = child.id();
        let ran: Ran = finish(child).into();
        let ran = ran.exits(0);
        assert!(!ran.stderr.contains(TOKEN), "{}", ran.stderr);

        assert!(processes.iter().any(|(_, line, _)| line.contains("ssh")), "{processes:?}");
        for (process, line, environment) in processes {
            assert!(!line.contains(TOKEN), "in the arguments of {process}: {line}");
            // The ssh crate starts its master with the whole environment; only
            // root can read that, as it can read the variable of `backup`.
            let may = by_variable && (process == pid || line.starts_with("ssh"));
            assert!(may || !environment.contains(TOKEN), "in the environment of {process}: {line}");
        }
        for folder in ["store", "state", "run"] {
            let found = program("grep").args(["-rlF", TOKEN]).arg(scene.rig.join(folder)).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the token was written down");
        }
    }
}
