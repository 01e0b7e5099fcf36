//! Who was listed, who has left since, and of whom somebody has said that it is
//! meant: `hosts.json` in the state directory.
//!
//! A host that leaves the inventory by a slip of the pen is not backed up any
//! more, and no service of its own goes stale for long enough to be missed. So
//! it is told of until it is listed again, or retired. Whoever was never listed
//! while this file was there is none of its business.

use super::Inventory;
use super::file::Aside;
use super::identities;
use super::kept::{self, Kept};
use crate::core::model::host::HostName;
use crate::core::model::problem::Problem;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The version of the file's format that is written and read.
const VERSION: u32 = 1;

/// A host that is listed no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// Its name as the inventory spelled it.
    pub name: String,
    /// When that was noticed, or when it was retired.
    pub at: DateTime<Utc>,
}

/// Hosts by their names in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departures {
    version: u32,
    /// Those that were listed last.
    listed: BTreeMap<String, String>,
    /// Those that left, and of whom nobody has said anything yet.
    pub left: BTreeMap<String, Departure>,
    /// Those of whom somebody has said that they are meant to be gone.
    pub retired: BTreeMap<String, Departure>,
}

impl Kept for Departures {
    const FILE: &'static str = "hosts.json";
    const WHAT: &'static str = "the list of hosts that left";
    const VERSION: u32 = VERSION;

    fn version(&self) -> u32 {
        self.version
    }
}

impl Default for Departures {
    fn default() -> Self {
        let (listed, left, retired) = Default::default();
        Departures { version: VERSION, listed, left, retired }
    }
}

impl Departures {
    /// Takes note of whom a complete inventory lists at a moment. One that is
    /// listed again has neither left nor retired.
    pub fn see(&mut self, inventory: &Inventory, now: DateTime<Utc>) {
        if inventory.is_partial {
            return;
        }
        let hosts = inventory.hosts.iter().map(|host| host.name.clone());
        // Of those that cannot be backed up some have names that others may have.
        // One that never could be does not leave when it gets another name.
        let is_known = |key: &str| {
            self.listed.contains_key(key) || self.left.contains_key(key) || self.retired.contains_key(key)
        };
        let faults = inventory.faults.iter().filter_map(|fault| fault.name.parse::<HostName>().ok());
        let faults = faults.filter(|name| is_known(name.key()));
        let listed: BTreeMap<String, String> =
            hosts.chain(faults).map(|name| (name.key().to_owned(), name.spelled().to_owned())).collect();
        for (key, name) in std::mem::take(&mut self.listed) {
            if !listed.contains_key(&key) && !self.retired.contains_key(&key) {
                self.left.entry(key).or_insert(Departure { name, at: now });
            }
        }
        self.left.retain(|key, _| !listed.contains_key(key));
        self.retired.retain(|key, _| !listed.contains_key(key));
        self.listed = listed;
    }

    /// What there is to say of those that left.
    pub fn problem(&self) -> Option<Problem> {
        let names: Vec<&str> = self.left.values().map(|departure| departure.name.as_str()).collect();
        let (what, which) = match names.as_slice() {
            [] => return None,
            [name] => (format!("{name} left the inventory"), (*name).to_owned()),
            names if names.len() <= 5 => {
                (format!("{} hosts left the inventory: {}", names.len(), names.join(", ")), names.join(" "))
            }
            names => (
                format!(
                    "{} hosts left the inventory: {}",
                    names.len(),
                    crate::core::model::finding::named(names)
                ),
                "HOST…".to_owned(),
            ),
        };
        let remedy = format!(
            "if that is intended, acknowledge it with `backup retire {which}`; if not, list it again; until then it is \
             not backed up, and its snapshots are kept"
        );
        Some(Problem::warning(what, remedy))
    }
}

/// What is known of hosts that left. Nothing is touched.
pub fn departures(state_dir: &Path) -> Result<Departures, Problem> {
    kept::read(state_dir, Aside::Leave)
}

/// [`Departures::see`], kept for the next run. What is wrong with that is no
/// reason not to go on.
pub fn follow(state_dir: &Path, inventory: &Inventory, now: DateTime<Utc>) -> (Departures, Option<Problem>) {
    let mut problems = None;
    let changed =
        kept::change(state_dir, |departures: &mut Departures| departures.see(inventory, now), &mut problems);
    let departures = changed.unwrap_or_else(|error| {
        problems = Some(Problem::warning(
            format!(
                "{error}: cannot keep `{}`, which says who has left the inventory",
                kept::path::<Departures>(state_dir).display()
            ),
            "check `state_dir`",
        ));
        Departures::default()
    });
    (departures, problems)
}

/// Remembers that these hosts are meant to be gone.
pub fn retire(state_dir: &Path, names: &[HostName], now: DateTime<Utc>) -> Result<(), Problem> {
    let acknowledge = |departures: &mut Departures| {
        for name in names {
            let left = departures.left.remove(name.key());
            let known = left.map_or_else(|| name.spelled().to_owned(), |left| left.name);
            departures.retired.entry(name.key().to_owned()).or_insert(Departure { name: known, at: now });
            departures.listed.remove(name.key());
        }
    };
    // Whoever comes back may be another machine.
    identities::forget(state_dir, names)?;
    kept::must_change(state_dir, acknowledge)
}

/// Gives a host another name, also where that has been done before.
pub fn rename_listed(state_dir: &Path, from: &HostName, to: &HostName) -> Result<(), Problem> {
    let rename = |departures: &mut Departures| {
        if departures.listed.remove(from.key()).is_some() {
            departures.listed.insert(to.key().to_owned(), to.spelled().to_owned());
        }
        for list in [&mut departures.left, &mut departures.retired] {
            if let Some(departure) = list.remove(from.key()) {
                let name = to.spelled().to_owned();
                list.insert(to.key().to_owned(), Departure { name, ..departure });
            }
        }
    };
    kept::must_change(state_dir, rename)
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    fn at(day: u32) -> DateTime<Utc> {
        format!("2026-11-{day:02}T02:00:00Z").parse().unwrap()
    }

    fn inventory(names: &[&str]) -> Inventory {
        let host = |name: &&str| super::super::forced(&settings(None, &[]), name.parse().unwrap());
        Inventory { hosts: names.iter().map(host).collect(), ..Inventory::default() }
    }

    fn names(list: &BTreeMap<String, Departure>) -> Vec<(&str, DateTime<Utc>)> {
        list.values().map(|departure| (departure.name.as_str(), departure.at)).collect()
    }

    #[test]
    fn a_host_that_left_is_told_of_until_it_is_retired_or_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let seen = |list: &[&str], day| follow(&state, &inventory(list), at(day)).0;
        assert_eq!(seen(&["VPN", "web", "db"], 1).problem(), None, "nobody was listed before");
        assert_eq!(names(&seen(&["db"], 2).left), [("VPN", at(2)), ("web", at(2))]);
        let told = seen(&["db"], 3);
        assert_eq!(names(&told.left), [("VPN", at(2)), ("web", at(2))], "told again, and of the first day");
        let problem = told.problem().unwrap();
        assert_eq!(problem.what, "2 hosts left the inventory: VPN, web");
        assert!(problem.remedy.contains("`backup retire VPN web`"), "{problem}");
        retire(&state, &["vpn".parse().unwrap()], at(4)).unwrap();
        let told = seen(&["db"], 5);
        assert_eq!((names(&told.left), names(&told.retired)), (vec![("web", at(2))], vec![("VPN", at(4))]));
        let told = seen(&["db", "vpn", "Web"], 6);
        assert!(told.left.is_empty() && told.retired.is_empty(), "they are back: {told:?}");
        assert_eq!(names(&seen(&["db", "web"], 7).left), [("vpn", at(7))], "and gone again");
        assert_eq!(departures(&state).unwrap(), seen(&["db", "web"], 8));
    }

    #[test]
    fn a_list_that_lacks_netboxs_hosts_says_nothing_of_who_left() {
        let folder = tempfile::tempdir().unwrap();
        follow(folder.path(), &inventory(&["a", "b"]), at(1));
        let partial = Inventory { is_partial: true, ..inventory(&["b"]) };
        assert!(follow(folder.path(), &partial, at(2)).0.left.is_empty());
        let fault =
            super::super::UnfitHost { name: "A".to_owned(), why: Problem::critical("two of one name", "") };
        let unfit = Inventory { faults: vec![fault], ..inventory(&["b"]) };
        assert!(
            follow(folder.path(), &unfit, at(3)).0.left.is_empty(),
            "who cannot be backed up has not left"
        );
    }

    #[test]
    fn a_file_that_cannot_be_used_is_set_aside_and_told_of() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(kept::path::<Departures>(folder.path()), "{").unwrap();
        assert!(departures(folder.path()).unwrap_err().what.contains("the next run sets it aside"));
        let (departures, problems) = follow(folder.path(), &inventory(&["a"]), at(1));
        assert!(departures.left.is_empty());
        assert!(problems.unwrap().what.contains("hosts.json.corrupt"));
        assert_eq!(follow(folder.path(), &inventory(&["a"]), at(2)).1, None);
    }

    #[test]
    fn many_that_left_are_counted() {
        let mut departures = Departures::default();
        let many: Vec<String> = (0..9).map(|n| format!("web{n}")).collect();
        departures.see(&inventory(&many.iter().map(String::as_str).collect::<Vec<_>>()), at(1));
        departures.see(&inventory(&[]), at(2));
        let problem = departures.problem().unwrap();
        assert_eq!(problem.what, "9 hosts left the inventory: web0, web1, web2, web3, web4 and 4 more");
        assert!(problem.remedy.contains("`backup retire HOST…`"));
    }
}
