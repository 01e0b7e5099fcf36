//! From what the operator typed to the hosts that it means. Pure.

use super::{Inventory, UnfitHost};
use crate::core::format::similar;
use crate::core::format::text::printable;
use crate::core::model::host::Host;
use glob::Pattern;
use std::collections::BTreeSet;
use std::fmt;

/// What was selected, each once, in the inventory's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SelectedHosts<'a> {
    /// To be backed up.
    pub hosts: Vec<&'a Host>,
    /// Cannot be backed up, and to be reported.
    pub faults: Vec<&'a UnfitHost>,
}

/// One word of the operator's that selects nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// The inventory has no such host.
    Name {
        /// As it was typed.
        name: String,
        /// The inventory's name that is most like it, if one is like it.
        nearest: Option<String>,
    },
    /// No host's name matches.
    Glob(String),
    /// It is no glob.
    Malformed {
        /// As it was typed.
        glob: String,
        /// What is wrong with it.
        why: String,
    },
}

/// All words that select nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SelectError(pub Vec<Unknown>);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unknown::Name { name, nearest: Some(nearest) } => {
                write!(
                    f,
                    "the inventory has no host `{}`; did you mean `{}`?",
                    printable(name),
                    printable(nearest)
                )
            }
            Unknown::Name { name, nearest: None } => {
                write!(f, "the inventory has no host `{}`", printable(name))
            }
            Unknown::Glob(glob) => write!(f, "no host's name matches `{}`", printable(glob)),
            Unknown::Malformed { glob, why } => write!(f, "`{}` is no pattern: {why}", printable(glob)),
        }
    }
}

/// The hosts and faults that the patterns mean: `all`, a name in any case, or
/// a glob. Every word has to select something.
pub fn select<'a>(inventory: &'a Inventory, patterns: &[String]) -> Result<SelectedHosts<'a>, SelectError> {
    let faults: Vec<String> = inventory.faults.iter().map(|fault| fault.name.to_lowercase()).collect();
    let mut chosen = (BTreeSet::new(), BTreeSet::new());
    let mut unknown = Vec::new();
    for pattern in patterns {
        let lower = pattern.to_lowercase();
        let all = lower == "all";
        // A fault's name may look like a glob; it is a name first.
        let named = faults.contains(&lower) || !lower.contains(['*', '?', '[']);
        let glob = match Pattern::new(&lower) {
            _ if all || named => None,
            Ok(glob) => Some(glob),
            Err(e) => {
                unknown.push(Unknown::Malformed { glob: pattern.clone(), why: e.msg.to_owned() });
                continue;
            }
        };
        let means = |name: &str| all || glob.as_ref().map_or(name == lower, |glob| glob.matches(name));
        // One that is called otherwise than its copies is known by both names.
        let is_meant = |host: &Host| {
            means(host.name.key())
                || inventory.rename_of(&host.name).is_some_and(|rename| means(rename.to.key()))
        };
        let of_hosts: Vec<usize> =
            (0..inventory.hosts.len()).filter(|&index| is_meant(&inventory.hosts[index])).collect();
        let of_faults: Vec<usize> = (0..faults.len()).filter(|&index| means(&faults[index])).collect();
        let found = all || !of_hosts.is_empty() || !of_faults.is_empty();
        chosen.0.extend(of_hosts);
        chosen.1.extend(of_faults);
        if !found && glob.is_some() {
            unknown.push(Unknown::Glob(pattern.clone()));
        } else if !found {
            unknown.push(Unknown::Name { name: pattern.clone(), nearest: nearest(inventory, &lower) });
        }
    }
    if !unknown.is_empty() {
        return Err(SelectError(unknown));
    }
    Ok(SelectedHosts {
        hosts: chosen.0.into_iter().map(|index| &inventory.hosts[index]).collect(),
        faults: chosen.1.into_iter().map(|index| &inventory.faults[index]).collect(),
    })
}

/// The name that is most like the typed one; the same with a domain counts as
/// the same.
fn nearest(inventory: &Inventory, lower: &str) -> Option<String> {
    let label = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let alike = |name: &str| match label(name) == label(lower) {
        true => 1.0,
        false => similar::likeness(name, lower),
    };
    let hosts = inventory.hosts.iter().map(|host| host.name.spelled());
    let names = hosts.chain(inventory.faults.iter().map(|fault| fault.name.as_str()));
    similar::nearest_by(names, |name| alike(&name.to_lowercase())).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    fn inventory() -> Inventory {
        let host = |name: &str| super::super::forced(&settings(None, &[]), name.parse().unwrap());
        let fault = |name: &str| UnfitHost {
            name: name.to_owned(),
            why: crate::core::model::problem::Problem::critical("why", ""),
        };
        Inventory {
            hosts: ["db", "VPN", "web1", "web2"].map(host).into(),
            faults: ["", "-e sh", "WEB3", "web[x]"].map(fault).into(),
            ..Inventory::default()
        }
    }

    fn selected(patterns: &[&str]) -> Result<Vec<String>, String> {
        let inventory = inventory();
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        let selection = select(&inventory, &patterns).map_err(|e| e.to_string())?;
        let hosts = selection.hosts.iter().map(|host| host.name.to_string());
        Ok(hosts.chain(selection.faults.iter().map(|fault| format!("!{}", fault.name))).collect())
    }

    #[test]
    fn words_mean_hosts_and_faults() {
        for (patterns, expected, reason) in [
            (&["vpn"][..], &["VPN"][..], "a name in any case"),
            (&["Vpn", "VPN", "v*"], &["VPN"], "each host once"),
            (&["web2", "db"], &["db", "web2"], "in the inventory's order"),
            (
                &["WEB*"],
                &["web1", "web2", "!WEB3", "!web[x]"],
                "a glob matches lower-case names, of faults too",
            ),
            (&["web[12]"], &["web1", "web2"], "a character class"),
            (&["-E sh"], &["!-e sh"], "a fault is known by its name"),
            (&["web[x]"], &["!web[x]"], "a name that looks like a glob is a name first"),
            (&["all"], &["db", "VPN", "web1", "web2", "!", "!-e sh", "!WEB3", "!web[x]"], "everything"),
            (
                &["ALL", "db"],
                &["db", "VPN", "web1", "web2", "!", "!-e sh", "!WEB3", "!web[x]"],
                "and more of it",
            ),
            (&[], &[], "nothing is nothing"),
        ] {
            assert_eq!(selected(patterns).unwrap(), expected, "{reason}");
        }
    }

    #[test]
    fn a_word_that_selects_nothing_is_an_error_that_helps() {
        for (patterns, expected) in [
            (&["vnp"][..], "the inventory has no host `vnp`; did you mean `VPN`?"),
            (&["vpn.example.org"], "the inventory has no host `vpn.example.org`; did you mean `VPN`?"),
            (&["webb2"], "the inventory has no host `webb2`; did you mean `web2`?"),
            (&["zzz\n"], "the inventory has no host `zzz\\n`"),
            (&["db", "x*", "zzz"], "no host's name matches `x*`; the inventory has no host `zzz`"),
        ] {
            assert_eq!(selected(patterns).unwrap_err(), expected);
        }
        assert!(selected(&["web[1"]).unwrap_err().starts_with("`web[1` is no pattern: "));
    }

    #[test]
    fn all_of_an_empty_inventory_is_nothing() {
        let inventory = Inventory::default();
        assert_eq!(select(&inventory, &["all".to_owned()]), Ok(SelectedHosts::default()));
    }
}
