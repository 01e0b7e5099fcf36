//! `[host_defaults]`, `[hosts.NAME]` and `[hosts."vm:12"]`.

use super::section::Section;
use super::values::{self, ADDRESS, IN_PLACE, PATH_ON_HOST, PATTERN, USER};
use crate::core::filter;
use crate::core::model::host::{HostName, HostOptions, HostSettings, Object};
use crate::core::model::settings::HostOverride;
use std::collections::BTreeMap;

/// What both kinds of sections can say of a host.
fn options(section: &mut Section<'_>) -> HostOptions {
    HostOptions {
        transport: section.take("transport", "`\"ssh\"` or `\"local\"`", values::one_of),
        user: section.take("user", USER, values::user),
        port: section.take("port", "a TCP port, 1 to 65535", values::within(1..=u16::MAX)),
        sudo: section.take("sudo", "`true` or `false`", Some),
        source: section.take("source", PATH_ON_HOST, values::path_on_host),
        filesystems: section.take("filesystems", "`\"local\"` or `\"root\"`", values::one_of),
        exclude: section.take_list("exclude", PATTERN, values::pattern),
        inplace: section.take_list("inplace", IN_PLACE, values::in_place),
        hooks: section.take("hooks", "`true` or `false`", Some),
    }
}

/// Complains of paths that no second rsync could be told to copy in place.
fn check_inplace(section: &Section<'_>, paths: &[String], source: &str) {
    let complain = |path: &str, seen: String, want: &str| {
        section.fault("inplace", format!("has the element {path:?}, which {seen}"), want);
    };
    let is_below = |path: &str| filter::from_source(path, source).is_some();
    for (number, path) in paths.iter().enumerate() {
        let other = |other: &&String| is_below(other) && filter::from_source(path, other).is_some();
        if !is_below(path) {
            let want = "it must lie below `source`, which rsync copies, and not be all of it";
            complain(path, format!("does not lie below {source:?}"), want);
        } else if filter::is_of_the_snapshots(path, source) {
            let want = "nothing is ever copied there: a dataset shows its snapshots at that name";
            complain(path, "lies in `.zfs`".to_owned(), want);
        } else if let Some(other) = paths.iter().find(other) {
            complain(path, format!("lies inside {other:?}"), "remove it: it goes with the other");
        } else if paths[..number].contains(path) {
            complain(path, "is there twice".to_owned(), "write it once");
        }
    }
}

/// Reads `[host_defaults]`.
pub(super) fn defaults(section: &mut Section<'_>) -> HostSettings {
    let defaults = options(section).over(&HostSettings::default());
    check_inplace(section, &defaults.inplace, &defaults.source);
    defaults
}

/// Reads every `[hosts.NAME]`, by name in lower case.
pub(super) fn overrides(hosts: &mut Section<'_>, defaults: &HostSettings) -> BTreeMap<String, HostOverride> {
    let mut read: BTreeMap<String, HostOverride> = BTreeMap::new();
    hosts.each(|name, section| {
        let Some(host) = host(name, section, defaults) else { return };
        if let Some(other) = read.get(host.name.key()) {
            let seen = match (other.object, host.object) {
                (None, None) => {
                    format!("is the same host as `{}`, since names compare without case", other.name)
                }
                (Some(object), _) => {
                    format!("is the same host as `[hosts.\"{object}\"]`, which has its name")
                }
                (None, Some(_)) => {
                    format!("is the same host as `[hosts.{}]`, which has its name", other.name)
                }
            };
            section.fault_of_section(seen, "make it one section");
        }
        read.insert(host.name.key().to_owned(), host);
    });
    read
}

fn host(name: &str, section: &mut Section<'_>, defaults: &HostSettings) -> Option<HostOverride> {
    let address = section.take("address", ADDRESS, values::address);
    let named = if name.contains(':') { object(name, section) } else { by_name(name, section) };
    let options = options(section);
    let source = options.source.as_ref().unwrap_or(&defaults.source);
    check_inplace(section, options.inplace.as_deref().unwrap_or_default(), source);
    if section.take_subsections() {
        // TOML takes `[hosts.mail.example.org]` for four sections.
        let want = "a name with dots needs quotes, as in `[hosts.\"mail.example.org\"]`";
        section.fault_of_section("has a section below it", want);
    }
    let Named { name, object, listed } = named?;
    Some(HostOverride { name, object, address, listed, options })
}

/// Whom a section is about.
struct Named {
    name: HostName,
    object: Option<Object>,
    listed: bool,
}

/// `[hosts.NAME]`.
fn by_name(name: &str, section: &mut Section<'_>) -> Option<Named> {
    let listed = section.take("listed", "`true` or `false`", Some).unwrap_or(true);
    match name.parse::<HostName>() {
        Ok(name) => Some(Named { name, object: None, listed }),
        Err(unfit) => {
            section.fault_of_section("is no host's name", unfit.why);
            None
        }
    }
}

/// `[hosts."vm:12"]`: the name here of an object of NetBox's. Nothing is backed
/// up that NetBox does not list.
fn object(key: &str, section: &mut Section<'_>) -> Option<Named> {
    let want =
        "the host's name here: letters a to z, digits, `-`, `_` and `.`, with a letter or a digit first";
    let name = section.require::<String, HostName>("name", want, |name| name.parse().ok());
    match key.parse::<Object>() {
        Ok(object) => Some(Named { name: name?, object: Some(object), listed: false }),
        Err(error) => {
            let want = format!("{error}, as in `[hosts.\"vm:12\"]`; a host's name has no colon");
            section.fault_of_section("is neither a host's name nor an object of NetBox", want);
            None
        }
    }
}
