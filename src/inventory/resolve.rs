//! From what NetBox lists and what the configuration says to hosts with every
//! setting resolved, and to faults: hosts that cannot be backed up. Pure.

use super::Fault;
use super::netbox::Listed;
use crate::host::{Host, HostName, HostSettings, Transport};
use crate::settings::{AddressFrom, HostOverride, Settings};
use crate::text::printable;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What the run is about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Sorted by name.
    pub hosts: Vec<Host>,
    /// Sorted by name.
    pub faults: Vec<Fault>,
    /// Names, as the configuration spells them, of `[hosts.NAME]` tables that
    /// only give settings, and for a host that nobody lists.
    pub unused: Vec<String>,
}

/// Resolves every listed host and every static one.
pub(super) fn resolve(settings: &Settings, listed: Vec<Listed>) -> Resolved {
    let mut faults = Vec::new();
    let mut named: BTreeMap<HostName, Vec<Listed>> = BTreeMap::new();
    for machine in listed {
        match machine.name.as_deref().map(str::parse::<HostName>) {
            Some(Ok(name)) => named.entry(name).or_default().push(machine),
            Some(Err(unfit)) if !unfit.name.is_empty() => {
                let why = format!("{unfit}; rename {} {} in NetBox", machine.kind, machine.id);
                faults.push(Fault { name: unfit.name, why });
            }
            None | Some(Err(_)) => {
                let why = format!("{} {} has no name in NetBox; give it one", machine.kind, machine.id);
                faults.push(Fault { name: String::new(), why });
            }
        }
    }
    let mut hosts = Vec::new();
    let taken: BTreeSet<String> = named.keys().map(|name| name.key().to_owned()).collect();
    for (name, mut machines) in named {
        if machines.len() > 1 {
            faults.extend(collision(&machines));
        } else if let Some(machine) = machines.pop() {
            match listed_host(settings, name.clone(), machine) {
                Ok(host) => hosts.push(host),
                Err(why) => faults.push(Fault { name: name.spelled().to_owned(), why }),
            }
        }
    }
    let mut unused = Vec::new();
    for own in settings.hosts.values().filter(|own| !taken.contains(own.name.key())) {
        if own.listed {
            hosts.push(forced(settings, own.name.clone()));
        } else {
            unused.push(own.name.spelled().to_owned());
        }
    }
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    faults.sort_by(|a, b| a.name.cmp(&b.name));
    Resolved { hosts, faults, unused }
}

/// A host of this name, whether the inventory knows it or not: its settings
/// are the defaults and `[hosts.NAME]`, its address is from there or made of
/// the name and NetBox's `domain`. `[hosts.NAME]` knows the better spelling.
pub fn forced(settings: &Settings, name: HostName) -> Host {
    let own = settings.hosts.get(name.key());
    let name = own.map_or(name, |own| own.name.clone());
    let address = own.and_then(|own| own.address.clone()).unwrap_or_else(|| by_name(settings, &name));
    host(settings, name, own, address)
}

/// One fault for each spelling of a name that several hosts bear.
fn collision(machines: &[Listed]) -> Vec<Fault> {
    let who: Vec<String> = machines
        .iter()
        .map(|m| format!("{} {} `{}`", m.kind, m.id, printable(m.name.as_deref().unwrap_or_default())))
        .collect();
    let why = format!(
        "{} in NetBox have one name, as names compare without case; rename all but one",
        who.join(" and ")
    );
    let spellings: BTreeSet<&str> = machines.iter().filter_map(|m| m.name.as_deref()).collect();
    spellings.into_iter().map(|name| Fault { name: name.to_owned(), why: why.clone() }).collect()
}

fn listed_host(settings: &Settings, name: HostName, machine: Listed) -> Result<Host, String> {
    let own = settings.hosts.get(name.key());
    let transport = own.and_then(|own| own.transport).unwrap_or(settings.host_defaults.transport);
    let by_ip = settings.netbox.as_ref().is_some_and(|netbox| netbox.address == AddressFrom::PrimaryIp);
    let address = match own.and_then(|own| own.address.clone()) {
        Some(address) => address,
        None if by_ip && transport == Transport::Ssh => primary_ip(&machine)?,
        None => by_name(settings, &name),
    };
    Ok(host(settings, name, own, address))
}

fn primary_ip(machine: &Listed) -> Result<String, String> {
    let advice = "or set `address` of its `[hosts.NAME]`";
    let Some(given) = &machine.primary_ip else {
        return Err(format!(
            "{} {} has no primary IP in NetBox; assign one, {advice}",
            machine.kind, machine.id
        ));
    };
    let bare = given.split_once('/').map_or(given.as_str(), |(ip, _)| ip);
    bare.parse::<IpAddr>().map(|ip| ip.to_string()).map_err(|_| {
        let given = printable(given);
        format!(
            "the primary IP `{given}` of {} {} is no IP address; correct it, {advice}",
            machine.kind, machine.id
        )
    })
}

/// The name with NetBox's `domain`, unless it ends with that already.
fn by_name(settings: &Settings, name: &HostName) -> String {
    let domain = settings.netbox.as_ref().map_or("", |netbox| netbox.domain.trim_matches('.'));
    let suffix = format!(".{}", domain.to_ascii_lowercase());
    if domain.is_empty() || name.key() == &suffix[1..] || name.key().ends_with(&suffix) {
        name.spelled().to_owned()
    } else {
        format!("{}.{domain}", name.spelled())
    }
}

fn host(settings: &Settings, name: HostName, own: Option<&HostOverride>, address: String) -> Host {
    let defaults = &settings.host_defaults;
    let settings = HostSettings {
        transport: own.and_then(|own| own.transport).unwrap_or(defaults.transport),
        user: own.and_then(|own| own.user.as_ref()).unwrap_or(&defaults.user).clone(),
        port: own.and_then(|own| own.port).unwrap_or(defaults.port),
        sudo: own.and_then(|own| own.sudo).unwrap_or(defaults.sudo),
        source: own.and_then(|own| own.source.as_ref()).unwrap_or(&defaults.source).clone(),
        filesystems: own.and_then(|own| own.filesystems).unwrap_or(defaults.filesystems),
        exclude: own.and_then(|own| own.exclude.as_ref()).unwrap_or(&defaults.exclude).clone(),
        inplace: own.and_then(|own| own.inplace.as_ref()).unwrap_or(&defaults.inplace).clone(),
        hooks: own.and_then(|own| own.hooks).unwrap_or(defaults.hooks),
    };
    Host { name, address, settings }
}
