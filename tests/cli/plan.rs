//! `backup plan`: what it says is what a run then does, and it does nothing.

use crate::support::netbox::{Machine, StandIn, TOKEN};
use crate::support::on_every_store;
use crate::support::rig::*;
use crate::support::trees::{in_place, made_up, name_at};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

on_every_store! {
    what_a_plan_foretells_a_run_does,
    a_plan_says_what_the_guard_will_go_by,
    a_clock_that_is_behind_anywhere_is_told_and_nothing_would_go,
}

#[track_caller]
fn plan(rig: &Rig, hosts: &[&str], code: i32) -> Value {
    let ran = rig.backup(&[&["plan", "--json"], hosts].concat()).exits(code);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

/// Pairs of host and snapshot.
fn pairs(list: &Value) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["host"]).to_lowercase(), text(&one["snapshot"])))
        .collect()
}

fn there(rig: &Rig, hosts: &[&str]) -> BTreeSet<(String, String)> {
    let of = |host: &&str| {
        let host = (*host).to_owned();
        rig.snapshots(&host).into_iter().map(move |name| (host.clone(), name))
    };
    hosts.iter().flat_map(of).collect()
}

/// A zone in which no day begins while the test runs.
fn by_day() -> String {
    let hour = must("date", &["--utc", "+%H"]);
    format!("timezone = {:?}", if hour.trim() == "23" { "Asia/Tokyo" } else { "UTC" })
}

fn what_a_plan_foretells_a_run_does(mut rig: Rig) {
    rig.top = by_day();
    for host in ["VPN", "Web"] {
        rig.near_host(host, "hooks = false\n");
    }
    let hosts = ["vpn", "web"];
    rig.section("retention", "daily = 3\nweekly = 2\nmonthly = 2\nyearly = 1");
    rig.backup(&["all"]).exits(0);
    // Ages in hours, odd enough that days, weeks and months have some, one or
    // none.
    let past: [&[(u32, &str)]; 2] = [
        &[
            (3, "good"),
            (7, "partial"),
            (25, "good"),
            (30, "good"),
            (170, "good"),
            (400, "suspect"),
            (800, "good"),
        ],
        &[
            (2, "suspect"),
            (26, "good"),
            (50, "good"),
            (51, "partial"),
            (1500, "good"),
            (9000, "good"),
            (20000, "good"),
        ],
    ];
    let mut removed = 0;
    for round in 0..2 {
        for (host, past) in hosts.iter().zip(&past) {
            for (hours, verdict) in *past {
                made_up(&rig, host, &name_at(&format!("{} hours ago", hours + round * 5)), verdict);
            }
        }
        let oldest = rig.snapshots("web").into_iter().min().unwrap();
        rig.backup(&["hold", "web", &oldest]);
        let before = there(&rig, &hosts);
        let foretold = plan(&rig, &[], 0);
        assert_eq!(plan(&rig, &["all"], 0)["remove"], foretold["remove"]);
        assert_eq!(there(&rig, &hosts), before, "a plan touched something");
        let (keep, remove) = (pairs(&foretold["keep"]), pairs(&foretold["remove"]));
        assert!(remove.is_subset(&before) && keep.is_disjoint(&remove), "{foretold:#}");
        let held = &foretold["keep"]
            .as_array()
            .unwrap()
            .iter()
            .find(|kept| kept["snapshot"] == json!(oldest))
            .unwrap();
        assert!(held["reasons"].as_array().unwrap().contains(&json!("held")), "{held}");

        rig.backup(&["all"]).exits(0);
        let after = there(&rig, &hosts);
        let gone: BTreeSet<_> = before.difference(&after).cloned().collect();
        assert_eq!(gone, remove, "{foretold:#}");
        let all = foretold["keep"].as_array().unwrap();
        let (new, old): (Vec<Value>, Vec<Value>) =
            all.iter().cloned().partition(|kept| kept["new"] == json!(true));
        assert_eq!(new.len(), hosts.len(), "{foretold:#}");
        assert!(new.iter().all(|new| new["reasons"].to_string().contains("the newest good one")), "{new:?}");
        let stayed: BTreeSet<_> = before.intersection(&after).cloned().collect();
        assert_eq!(pairs(&json!(old)), stayed, "{foretold:#}");
        assert_eq!(after.len(), all.len(), "one more a host");
        removed += remove.len();
    }
    assert!(removed > 10, "only {removed} went: the test shows little");
}

fn a_plan_says_what_the_guard_will_go_by(mut rig: Rig) {
    rig.near_host("VPN", "hooks = false\n");
    let fresh = &plan(&rig, &["vpn"], 0)["hosts"][0];
    assert_eq!(
        (&fresh["files"], &fresh["last_good"], &fresh["fewest_files"]),
        (&json!(null), &json!(null), &json!(null))
    );
    rig.backup(&["all"]).exits(0);
    let newest = rig.snapshots("vpn").pop().unwrap();
    let files = rig.facts("vpn", &newest)["files"].as_u64().unwrap();
    let planned = plan(&rig, &["vpn"], 0);
    let host = &planned["hosts"][0];
    assert_eq!((&host["files"], &host["last_good"]), (&json!(files), &json!(newest)));
    assert_eq!(host["fewest_files"], json!(files.div_ceil(2)));
    let deletions = in_place(&rig).then_some(files / 2);
    assert_eq!(host["max_deletions"], json!(deletions), "a fresh tree has nothing to delete");
}

fn a_clock_that_is_behind_anywhere_is_told_and_nothing_would_go(mut rig: Rig) {
    for host in ["VPN", "Web"] {
        rig.near_host(host, "hooks = false\n");
    }
    rig.section("retention", "daily = 1\nweekly = 1\nmonthly = 1\nyearly = 1");
    rig.backup(&["all"]).exits(0);
    made_up(&rig, "vpn", &name_at("3 days ago"), "good");
    assert_eq!(pairs(&plan(&rig, &["vpn"], 0)["remove"]).len(), 2, "the old one, and the one of before");
    made_up(&rig, "web", &name_at("tomorrow"), "good");
    let planned = plan(&rig, &["vpn"], 1);
    assert_eq!(planned["remove"], json!([]));
    assert!(
        planned["problems"].to_string().contains("the clock is behind the newest snapshot"),
        "{planned:#}"
    );
    let kept = planned["keep"].as_array().unwrap();
    assert_eq!(kept[0]["reasons"], json!(["the clock is behind the newest snapshot"]), "{planned:#}");
    rig.backup(&["vpn"]).exits(1);
    assert_eq!(rig.snapshots("vpn").len(), 3);
}

#[test]
fn a_plan_touches_nothing_and_connects_to_nobody() {
    let mut rig = Rig::new();
    rig.host_with("VPN", "exclude = [\"/srv/cache\", \"+ /srv/keep\"]\n");
    rig.host_with("Web", "user = \"backup\"\n");
    rig.host_with("Own", "transport = \"local\"\n");
    let patterns = rig.write("patterns", "*.iso\n");
    rig.section("excludes", &format!("files = [{patterns:?}]"));
    rig.sshd().accepted();
    let ran = rig.backup(&["plan", "--json"]).exits(0);
    assert_eq!(rig.sshd().accepted(), 0);
    assert!(!rig.join("run").exists() && !rig.join("state").exists());
    assert_eq!(fs::read_dir(rig.join("store")).unwrap().count(), 0);

    let planned: Value = serde_json::from_str(&ran.stdout).unwrap();
    let of = |name: &str| {
        planned["hosts"].as_array().unwrap().iter().find(|host| host["name"] == json!(name)).unwrap()
    };
    assert_eq!((&of("VPN")["address"], &of("VPN")["transport"]), (&json!("127.0.0.1"), &json!("ssh")));
    assert_eq!((&of("Web")["user"], &of("Own")["transport"]), (&json!("backup"), &json!("local")));
    let filters = |name: &str| -> Vec<String> {
        of(name)["filters"].as_array().unwrap().iter().map(|rule| rule.as_str().unwrap().to_owned()).collect()
    };
    assert!(filters("Web").contains(&"- lost+found/".to_owned()), "{:?}", filters("Web"));
    assert!(filters("Web").contains(&"- *.iso".to_owned()));
    let own = filters("VPN");
    assert_eq!(own[own.len() - 3..], ["- *.iso", "- /srv/cache", "+ /srv/keep"]);
    // What a run takes is foretold, though nothing is there.
    assert_eq!((pairs(&planned["keep"]).len(), &planned["remove"]), (3, &json!([])));

    let text = rig.backup(&["plan"]).exits(0).says("3 hosts; of 0 snapshots, 0 would go").stdout;
    for line in ["Filters of every host; the first match decides:", "After them, of VPN:", "  + /srv/keep"] {
        assert!(text.lines().any(|own| own == line), "`{line}` is missing in:\n{text}");
    }
    assert!(!text.contains("of Web:") && text.contains("this machine"), "{text}");
    assert!(text.contains("backup@127.0.0.1, port "), "{text}");
}

#[test]
fn what_stands_in_the_way_of_a_run_is_told() {
    let mut rig = Rig::without_sshd();
    rig.host_with("VPN", "exclude = [\"merge /etc/passwd\"]\n");
    let netbox = StandIn::start(["VPN", "-e sh"].map(Machine::vm).into());
    let token = rig.write("token", TOKEN);
    fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
    rig.section("inventory.netbox", &format!("url = {:?}\ntoken_file = {token:?}\n", netbox.url()));
    let planned = plan(&rig, &[], 1);
    let problems = planned["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{planned:#}");
    assert_eq!(problems[0]["host"], json!("-e sh"));
    assert!(
        problems[1]["problem"].as_str().unwrap().starts_with("the configured exclude `merge"),
        "{planned:#}"
    );
    assert_eq!(planned["hosts"].as_array().unwrap().len(), 1);
    assert!(!rig.join("state").exists(), "the list of hosts was kept");

    fs::remove_dir(rig.join("store")).unwrap();
    let planned = plan(&rig, &["vpn"], 1);
    assert!(planned["problems"].to_string().contains("cannot open the store's directory"), "{planned:#}");
    assert_eq!((planned["hosts"].as_array().unwrap().len(), &planned["keep"]), (1, &json!([])));
    rig.backup(&["plan", "vpn"]).exits(1).says("cannot open the store's directory");
}

#[test]
fn there_is_no_plan_for_what_is_unknown() {
    let mut rig = Rig::without_sshd();
    rig.host("VPN");
    rig.backup(&["plan", "vpm"]).exits(2).says("did you mean `VPN`?");
    rig.backup(&["plan", "x*"]).exits(2).says("no host's name matches");
    rig.section("excludes", "files = [\"/nowhere\"]");
    rig.backup(&["plan"]).exits(2).says("there is no such file");
}
