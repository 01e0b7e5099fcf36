//! From what NetBox lists and what the configuration says to hosts with every
//! setting resolved, and to faults: hosts that cannot be backed up. Pure.

use super::UnfitHost;
use super::identities::{Identities, Rename};
use super::source::{Listed, Naming};
use crate::core::format::text::printable;
use crate::core::model::host::{Host, HostName, LONGEST_NAME, Object};
use crate::core::model::problem::Problem;
use crate::core::model::settings::{AddressFrom, HostOverride, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What the run is about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Sorted by name.
    pub hosts: Vec<Host>,
    /// Sorted by name.
    pub faults: Vec<UnfitHost>,
    /// Names, as the configuration spells them, of `[hosts.NAME]` tables that
    /// only give settings, and for a host that nobody lists.
    pub unused: Vec<String>,
    /// Objects that the configuration gives a name, and that NetBox does not
    /// list.
    pub unlisted: Vec<(Object, HostName)>,
    /// Hosts that are called otherwise than their copies.
    pub renames: Vec<Rename>,
    /// What NetBox's objects are called now.
    pub called: BTreeMap<Object, HostName>,
}

/// Resolves every listed host and every static one. `identities` knows what
/// they were called.
pub(super) fn resolve(
    settings: &Settings,
    naming: Naming<'_>,
    listed: Vec<Listed>,
    identities: &Identities,
) -> Resolved {
    let claims = Claims::of(settings, &listed);
    let objects: BTreeSet<Object> = listed.iter().map(Listed::object).collect();
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for machine in listed {
        match called(settings, naming, machine) {
            Ok(called) => all.push(called),
            Err(fault) => faults.push(fault),
        }
    }
    let names = all.iter().map(|called| (called.machine.object(), called.name.clone())).collect();
    let (all, renames, others) = identities.follow(all, &objects);
    faults.extend(others.into_iter().map(|(name, why)| UnfitHost { name: name.spelled().to_owned(), why }));
    let mut named: BTreeMap<HostName, Vec<Called>> = BTreeMap::new();
    for called in all {
        named.entry(called.name.clone()).or_default().push(called);
    }
    let mut hosts = Vec::new();
    // Neither of a host's two names is a host beside it.
    let taken = named.keys().chain(renames.iter().map(|rename| &rename.to));
    let mut taken: BTreeSet<String> = taken.map(|name| name.key().to_owned()).collect();
    taken.extend(faults.iter().map(|fault| fault.name.to_ascii_lowercase()));
    for (_, mut machines) in named {
        if machines.len() > 1 {
            faults.extend(collision(&machines, naming.source));
        } else if let Some(called) = machines.pop() {
            let name = called.name.spelled().to_owned();
            match listed_host(settings, naming, called, &claims) {
                Ok(host) => hosts.push(host),
                Err(why) => faults.push(UnfitHost { name, why }),
            }
        }
    }
    let (mut unused, mut unlisted) = (Vec::new(), Vec::new());
    for own in settings.hosts.values() {
        match own.object {
            Some(object) if objects.contains(&object) => {}
            Some(object) => unlisted.push((object, own.name.clone())),
            None if taken.contains(own.name.key()) => {}
            None if own.listed => hosts.push(unlisted_host(settings, naming, own.name.clone())),
            None => unused.push(own.name.spelled().to_owned()),
        }
    }
    hosts.retain(|host| match identities.half_renamed(&host.name) {
        Some(why) => {
            faults.push(UnfitHost { name: host.name.spelled().to_owned(), why });
            false
        }
        None => true,
    });
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    faults.sort_by(|a, b| a.name.cmp(&b.name));
    Resolved { hosts, faults, unused, unlisted, renames, called: names }
}

/// A host of this name, whether the inventory knows it or not: its settings
/// are the defaults and `[hosts.NAME]`, its address is from there or made of
/// the name and the source's `domain`. `[hosts.NAME]` knows the better spelling.
pub fn forced(settings: &Settings, name: HostName) -> Host {
    unlisted_host(settings, Naming::of(settings), name)
}

fn unlisted_host(settings: &Settings, naming: Naming<'_>, name: HostName) -> Host {
    let own = settings.hosts.get(name.key());
    let name = own.map_or(name, |own| own.name.clone());
    let address = own.and_then(|own| own.address.clone()).unwrap_or_else(|| by_name(naming, &name));
    host(settings, name, own.and_then(|own| own.object), own, address)
}

/// Who gave a host its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The source: it is the object's own.
    Source,
    /// A custom field of the object.
    Field,
    /// `[hosts."vm:12"]`.
    Configuration,
    /// Its copies, which have a former name.
    Copies,
}

/// A host of NetBox's, and what it is called here.
#[derive(Debug)]
pub(super) struct Called {
    pub machine: Listed,
    pub name: HostName,
    by: By,
    /// What else it is called, for its settings.
    also: Option<HostName>,
}

impl Called {
    fn new(machine: Listed, name: HostName, by: By) -> Self {
        Called { machine, name, by, also: None }
    }

    /// The same under the name of its copies.
    pub fn before(self, name: HostName) -> Self {
        Called { name, by: By::Copies, also: Some(self.name), ..self }
    }

    /// Which it is, for people.
    fn display(&self) -> String {
        let Listed { kind, id, name, .. } = &self.machine;
        let own = printable(name.as_deref().unwrap_or_default());
        match self.by {
            By::Source => format!("{kind} {id} `{own}`"),
            By::Field => format!("{kind} {id} `{own}` (`{}` by its custom field)", self.name),
            By::Copies => format!("{kind} {id} `{own}` (`{}` by its copies)", self.name),
            By::Configuration => {
                format!("{kind} {id} `{own}` (`{}` by `[hosts.\"{}\"]`)", self.name, self.machine.object())
            }
        }
    }
}

/// What a host of NetBox's is called here. The configuration goes before the
/// custom field, and that before NetBox's own name.
fn called(settings: &Settings, naming: Naming<'_>, machine: Listed) -> Result<Called, UnfitHost> {
    let (kind, id, object, source) = (machine.kind, machine.id, machine.object(), naming.source);
    if let Some(own) = settings.hosts.values().find(|own| own.object == Some(object)) {
        return Ok(Called::new(machine, own.name.clone(), By::Configuration));
    }
    if let Some(alias) = &machine.alias {
        return match alias.parse() {
            Ok(name) => Ok(Called::new(machine, name, By::Field)),
            Err(unfit) => {
                let field = naming.alias_field;
                let remedy = format!("correct the custom field `{field}` of {kind} {id} in {source}");
                Err(UnfitHost { name: alias.clone(), why: Problem::critical(unfit.to_string(), remedy) })
            }
        };
    }
    match machine.name.as_deref().map(str::parse::<HostName>) {
        Some(Ok(name)) => Ok(Called::new(machine, name, By::Source)),
        Some(Err(unfit)) if !unfit.name.is_empty() => {
            let lines = lines(object, &fit(&unfit.name, object));
            let remedy = format!("rename {kind} {id} in {source}, or write {lines} into the configuration");
            Err(UnfitHost { why: Problem::critical(unfit.to_string(), remedy), name: unfit.name })
        }
        None | Some(Err(_)) => {
            let lines = lines(object, &fit("", object));
            let what = format!("{kind} {id} has no name in {source}");
            let remedy = format!("give it one there, or write {lines} into the configuration");
            Err(UnfitHost { name: String::new(), why: Problem::critical(what, remedy) })
        }
    }
}

/// The lines that give an object of NetBox's a name.
fn lines(object: Object, name: &str) -> String {
    format!("`[hosts.\"{object}\"]` and below it `name = \"{name}\"`")
}

/// As much as is proposed of a name, in characters.
const LONGEST_FIT: usize = 40;

/// A name that a host could have instead of one that it cannot have.
fn fit(name: &str, object: Object) -> String {
    let mut fit = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => fit.push(c),
            'ä' | 'æ' => fit.push_str("ae"),
            'ö' | 'ø' | 'œ' => fit.push_str("oe"),
            'ü' => fit.push_str("ue"),
            'ß' => fit.push_str("ss"),
            'à' | 'á' | 'â' | 'å' => fit.push('a'),
            'è' | 'é' | 'ê' | 'ë' => fit.push('e'),
            'ç' => fit.push('c'),
            'ñ' => fit.push('n'),
            _ if fit.is_empty() || fit.ends_with(['-', '.']) => {}
            '.' => fit.push('.'),
            _ => fit.push('-'),
        }
        if fit.len() >= LONGEST_FIT {
            break;
        }
    }
    let fit = fit.trim_end_matches(['-', '.']);
    if fit.parse::<HostName>().is_ok() { fit.to_owned() } else { object.to_string().replace(':', "-") }
}

/// One fault for each spelling of a name that several hosts bear.
fn collision(machines: &[Called], source: &str) -> Vec<UnfitHost> {
    let who: Vec<String> = machines.iter().map(Called::display).collect();
    let remedies: Vec<String> = machines
        .iter()
        .filter(|called| called.by == By::Source)
        .map(|Called { name, machine, .. }| {
            let object = machine.object();
            // The name may be as long as a name can be.
            let short: String = name.spelled().chars().take(LONGEST_NAME - 32).collect();
            lines(object, &format!("{short}-{}", object.to_string().replace(':', "")))
        })
        .collect();
    let remedies = match remedies.as_slice() {
        [] => "correct their custom fields, or the names in the configuration".to_owned(),
        all => format!("rename all but one there, or write into the configuration: {}", all.join(", or ")),
    };
    let what = format!("{} in {source} have one name, as names compare without case", who.join(" and "));
    let why = Problem::critical(what, remedies);
    let spellings: BTreeSet<&str> = machines.iter().map(|called| called.name.spelled()).collect();
    spellings.into_iter().map(|name| UnfitHost { name: name.to_owned(), why: why.clone() }).collect()
}

/// How many objects of NetBox bear each name, in lower case, and which hosts
/// have it without NetBox: a name that one alone bears is where that one is.
struct Claims {
    objects: BTreeMap<String, usize>,
    others: BTreeSet<String>,
}

impl Claims {
    fn of(settings: &Settings, listed: &[Listed]) -> Self {
        let mut objects = BTreeMap::new();
        for name in listed.iter().filter_map(own_name) {
            *objects.entry(name.key().to_owned()).or_insert(0) += 1;
        }
        let others = settings.hosts.values().filter(|own| own.listed && own.address.is_none());
        Claims { objects, others: others.map(|own| own.name.key().to_owned()).collect() }
    }

    /// Whether nobody else is where NetBox's name of an object leads.
    fn is_alone(&self, name: &HostName) -> bool {
        self.objects.get(name.key()) == Some(&1) && !self.others.contains(name.key())
    }
}

/// NetBox's own name of an object, if a host can have it.
fn own_name(machine: &Listed) -> Option<HostName> {
    machine.name.as_deref()?.parse().ok()
}

fn listed_host(
    settings: &Settings,
    naming: Naming<'_>,
    called: Called,
    claims: &Claims,
) -> Result<Host, Problem> {
    let Called { machine, name, by, also } = called;
    let object = machine.object();
    // A section of that name may be another object's.
    let section = |name: &HostName| {
        settings.hosts.get(name.key()).filter(|own| own.object.is_none_or(|other| other == object))
    };
    let own = also.as_ref().and_then(section).or_else(|| section(&name));
    let transport = own.and_then(|own| own.options.transport).unwrap_or(settings.host_defaults.transport);
    let by_ip = naming.address == AddressFrom::PrimaryIp;
    let address = match own.and_then(|own| own.address.clone()) {
        Some(address) => address,
        None if transport.is_this_machine() => by_name(naming, &name),
        None if by_ip => primary_ip(&machine, naming.source)?,
        None if by == By::Source => by_name(naming, &name),
        None => renamed(naming, &name, &machine, claims)?,
    };
    Ok(host(settings, name, Some(object), own, address))
}

/// Where a host is that has another name here than in NetBox: at the name that
/// it has there, if that can be an address and is its alone; else at its own.
fn renamed(
    naming: Naming<'_>,
    name: &HostName,
    machine: &Listed,
    claims: &Claims,
) -> Result<String, Problem> {
    match own_name(machine) {
        Some(own) if own == *name || claims.is_alone(&own) => Ok(by_name(naming, &own)),
        _ if claims.is_alone(name) => Err(Problem::critical(
            format!(
                "its address is not known: {0}'s name for {1} {2} is none or not its alone, and `{name}` is what {0} \
                 calls another",
                naming.source, machine.kind, machine.id,
            ),
            format!(
                "write `[hosts.\"{}\"]` with `name = \"{name}\"` and an `address` into the configuration",
                machine.object()
            ),
        )),
        _ => Ok(by_name(naming, name)),
    }
}

fn primary_ip(machine: &Listed, source: &str) -> Result<String, Problem> {
    let (kind, id) = (machine.kind, machine.id);
    let wrong = |what: String, first: &str| {
        Problem::critical(what, format!("{first}, or set `address` of its `[hosts.NAME]`"))
    };
    let Some(given) = &machine.primary_ip else {
        return Err(wrong(format!("{kind} {id} has no primary IP in {source}"), "assign one"));
    };
    let bare = given.split_once('/').map_or(given.as_str(), |(ip, _)| ip);
    bare.parse::<IpAddr>().map(|ip| ip.to_string()).map_err(|_| {
        let given = printable(given);
        wrong(format!("the primary IP `{given}` of {kind} {id} is no IP address"), "correct it")
    })
}

/// The name with the source's `domain`, unless it ends with that already.
fn by_name(naming: Naming<'_>, name: &HostName) -> String {
    let domain = naming.domain;
    let suffix = format!(".{}", domain.to_ascii_lowercase());
    if domain.is_empty() || name.key() == &suffix[1..] || name.key().ends_with(&suffix) {
        name.spelled().to_owned()
    } else {
        format!("{}.{domain}", name.spelled())
    }
}

fn host(
    settings: &Settings,
    name: HostName,
    object: Option<Object>,
    own: Option<&HostOverride>,
    address: String,
) -> Host {
    let defaults = &settings.host_defaults;
    let settings = own.map_or_else(|| defaults.clone(), |own| own.options.over(defaults));
    Host { name, object, address, settings }
}
