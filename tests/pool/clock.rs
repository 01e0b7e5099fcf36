//! Runs on a real pool under a clock that is set: by an operator's mistake, and
//! to make a pool as years of another program's nights have left it. `make vm`
//! runs these, in a machine whose clock is theirs.

#![expect(clippy::disallowed_methods, reason = "the test sets the clock that it reads")]

use crate::support::pool::{must_be_disposable, property, zfs};
use crate::support::rig::*;
use crate::support::trees::{assert_same, listing, name_at};
use chrono::{TimeDelta, Utc};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

/// The machine's clock; right again when this is dropped.
struct WallClock {
    right: chrono::DateTime<Utc>,
    since: Instant,
    /// By how many seconds it is ahead, for the far side to know.
    ahead: PathBuf,
}

impl WallClock {
    fn new(rig: &Rig) -> Self {
        must_be_disposable();
        WallClock { right: Utc::now(), since: Instant::now(), ahead: rig.write("ahead", "0\n") }
    }

    fn set(&self, ahead: TimeDelta) {
        let time = self.right + TimeDelta::from_std(self.since.elapsed()).unwrap() + ahead;
        must("date", &["--set", &format!("@{}", time.timestamp())]);
        fs::write(&self.ahead, format!("{}\n", ahead.num_seconds())).unwrap();
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        self.set(TimeDelta::zero());
    }
}

/// A rig whose host keeps the right time, whatever is done to the server's.
fn with_a_clock_of_its_own() -> (Rig, WallClock) {
    let mut rig = Rig::on_zfs();
    let clock = WallClock::new(&rig);
    let script = format!(
        "#!/bin/bash\nread -r ahead <{:?}\nprintf -v now '%(%s)T' -1\necho $((now - ahead))\n",
        clock.ahead
    );
    let date = rig.write("date", script);
    fs::set_permissions(&date, PermissionsExt::from_mode(0o755)).unwrap();
    rig.sshd().start_again_with(&Setup { mounts: &[(date, "/usr/bin/date")], ..Setup::default() });
    (rig, clock)
}

/// Snapshots as runs of other days left them, some of which no tier claims.
fn past(rig: &Rig) -> Vec<String> {
    let dataset = rig.dataset.as_ref().unwrap().child("web");
    let days = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597];
    let mut names: Vec<String> = days.iter().map(|day| name_at(&format!("{day} days ago"))).collect();
    names.extend(["13 hours ago", "14 hours ago"].map(name_at));
    for name in &names {
        let name = format!("{dataset}@{name}");
        zfs(&["snapshot", "-o", "backup:run=r1", "-o", "backup:verdict=good", "-o", "backup:files=6", &name]);
    }
    names
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn a_clock_that_is_a_year_off_removes_nothing_that_the_right_one_keeps() {
    let (mut rig, clock) = with_a_clock_of_its_own();
    rig.section("retention", "daily = 3\nweekly = 2\nmonthly = 2\nyearly = 2\n");
    let source = rig.host("Web");
    rig.backup(&["all"]).exits(0);
    let before = listing(&source);
    past(&rig);
    rig.write(source.join("etc/new"), "new\n");
    let all = rig.snapshots("web");
    let mut misdated = None;
    for (days, said) in [
        (-365, "suspect copy: its date is wrong: this server's clock is 365 days behind the host's"),
        (365, "suspect copy: its date is wrong: this server's clock is 365 days ahead of the host's"),
    ] {
        clock.set(TimeDelta::days(days));
        let ran = rig.backup(&["all"]).exits(1).says(said);
        let now: Vec<String> =
            rig.snapshots("web").into_iter().filter(|name| Some(name) != misdated.as_ref()).collect();
        clock.set(TimeDelta::zero());
        assert!(all.iter().all(|name| now.contains(name)), "{days}: {now:#?}\n{}", ran.stderr);
        // The copy is made all the same.
        let new: Vec<&String> = now.iter().filter(|name| !all.contains(name)).collect();
        assert_eq!(new.len(), 1, "{days}");
        assert_same(&listing(&source), &listing(&rig.snapshot("web", new[0])));
        if days < 0 {
            misdated = Some(new[0].clone());
        } else {
            // As the run says from now on: no removals until this has gone.
            zfs(&["destroy", &format!("{}@{}", rig.dataset.as_ref().unwrap().child("web"), new[0])]);
        }
    }

    // Under the right one all is well, and what no tier claims goes.
    rig.backup(&["all"]).exits(0).does_not_say("clock");
    let mut kept = rig.snapshots("web");
    kept.sort();
    assert!(kept.len() < all.len() && kept.len() <= 3 + 2 + 2 + 2, "{kept:#?}");
    // What the right clock alone would have kept: the one with a wrong date has
    // taken no other's place.
    let expected = kept_by_the_right_clock(&all, kept.last().unwrap());
    assert_eq!(kept, expected, "of {all:#?} with {misdated:?}");
    assert_same(&listing(&source), &listing(&rig.newest("web")));
    assert!(!before.contains_key(std::path::Path::new("etc/new")));
}

/// What the tiers of the test above keep of these good snapshots and a new one,
/// oldest first.
fn kept_by_the_right_clock(all: &[String], new: &str) -> Vec<String> {
    use backup::core::model::settings;
    use backup::core::model::snapshot;
    use backup::core::policy::retention;
    let policy = settings::Retention {
        daily: std::num::NonZeroU32::new(3),
        weekly: std::num::NonZeroU32::new(2),
        monthly: std::num::NonZeroU32::new(2),
        yearly: std::num::NonZeroU32::new(2),
    };
    let facts = snapshot::Facts::new("r1".to_owned(), snapshot::Verdict::Good);
    let good = |name: &str| snapshot::Snapshot {
        name: name.to_owned(),
        time: name.parse::<snapshot::SnapshotName>().unwrap().time(),
        held: false,
        origin: snapshot::Origin::Run(facts.clone()),
    };
    let all: Vec<_> = all.iter().map(String::as_str).chain([new]).map(good).collect();
    let plan = retention::plan(&policy, chrono_tz::UTC, Utc::now(), &all);
    plan.decisions.iter().filter(|decision| decision.keeps()).map(|decision| decision.name.clone()).collect()
}

/// What the ancestor leaves of a night: a snapshot for each tier whose day it is.
fn ancestors_night(rig: &Rig, date: &str, tiers: &[&str]) {
    must("date", &["--utc", "--set", &format!("{date} 04:30:00")]);
    let dataset = rig.dataset.as_ref().unwrap().child("web");
    for tier in tiers {
        zfs(&["snapshot", &format!("{dataset}@backup-{tier}-{date}")]);
    }
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn a_pool_that_the_ancestor_filled_is_taken_over_as_it_is() {
    let (mut rig, clock) = with_a_clock_of_its_own();
    rig.section("retention", "daily = 7\nweekly = 4\nmonthly = 24\nyearly = 5\n");
    let source = rig.host("Web");
    // A plain dataset, with the host's files at its root.
    let dataset = rig.dataset.as_ref().unwrap().child("web");
    zfs(&["create", &dataset]);
    let (from, to) = (format!("{}/", source.display()), crate::support::pool::mountpoint(&dataset));
    must("rsync", &["-aH", &from, to.to_str().unwrap()]);
    rig.write(to.join("etc/old"), "of the ancestor\n");
    let all = ["daily", "weekly", "monthly", "yearly"];
    ancestors_night(&rig, "2019-05-14", &all);
    zfs(&["snapshot", &format!("{dataset}@tds-before-18.04-upgrade")]);
    for year in 2020..=2024 {
        ancestors_night(&rig, &format!("{year}-01-01"), &["daily", "monthly", "yearly"]);
    }
    for month in 2..=6 {
        ancestors_night(&rig, &format!("2024-{month:02}-01"), &["daily", "monthly"]);
    }
    ancestors_night(&rig, "2024-07-07", &["daily", "weekly"]);
    for day in 8..=13 {
        ancestors_night(&rig, &format!("2024-07-{day:02}"), &["daily"]);
    }
    ancestors_night(&rig, "2024-07-14", &["daily", "weekly"]);
    drop(clock);
    let before = rig.snapshots("web");
    rig.write(source.join("etc/new"), "ours\n");

    rig.backup(&["all"]).exits(0).says("Web: OK: ");
    let after = rig.snapshots("web");
    let gone: Vec<&String> = before.iter().filter(|name| !after.contains(name)).collect();
    // One snapshot a night serves all tiers, and of the nights the oldest year
    // and the oldest of eight days have no tier any more that claims them.
    for name in [
        "backup-weekly-2024-07-14",
        "backup-yearly-2024-01-01",
        "backup-yearly-2021-01-01",
        "backup-monthly-2024-06-01",
        "backup-weekly-2024-07-07",
        "tds-before-18.04-upgrade",
    ] {
        assert!(after.iter().any(|kept| kept == name), "{name} is gone, with {gone:#?}");
    }
    for name in ["backup-daily-2024-07-14", "backup-daily-2024-01-01", "backup-monthly-2024-01-01"] {
        assert!(gone.iter().any(|gone| *gone == name), "{name} stays: {after:#?}");
    }
    assert!(gone.iter().all(|name| name.starts_with("backup-")), "{gone:#?}");
    let old = rig.snapshot("web", "tds-before-18.04-upgrade");
    assert_eq!(fs::read_to_string(old.join("etc/old")).unwrap(), "of the ancestor\n");
    assert!(!rig.newest("web").join("etc/old").exists());
    assert_eq!(differences(&source, &rig.newest("web")), "");
    // It stays what it was.
    assert_eq!(property(&dataset, "acltype"), "off");

    // And a second night removes nothing more than its own tiers ask for.
    rig.wait_until("the next second", || rig.snapshots("web").iter().all(|name| *name != name_at("now")));
    rig.backup(&["all"]).exits(0);
    let later = rig.snapshots("web");
    assert_eq!(later.len(), after.len(), "today's newer one stands for today: {later:#?}");
}
