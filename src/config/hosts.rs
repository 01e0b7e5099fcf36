//! `[host_defaults]` and `[hosts.NAME]`.

use super::section::Section;
use super::values::{self, ADDRESS, PATH_ON_HOST, PATTERN, USER};
use crate::host::{Filesystems, HostName, HostSettings, Transport};
use crate::settings::HostOverride;
use std::collections::BTreeMap;

/// What both kinds of sections can say of a host.
struct Said {
    transport: Option<Transport>,
    user: Option<String>,
    port: Option<u16>,
    sudo: Option<bool>,
    source: Option<String>,
    filesystems: Option<Filesystems>,
    exclude: Option<Vec<String>>,
    hooks: Option<bool>,
}

fn said(section: &mut Section<'_>) -> Said {
    Said {
        transport: section.take("transport", "`\"ssh\"` or `\"local\"`", values::one_of),
        user: section.take("user", USER, values::user),
        port: section.take("port", "a TCP port, 1 to 65535", values::within(1..=u16::MAX)),
        sudo: section.take("sudo", "`true` or `false`", Some),
        source: section.take("source", PATH_ON_HOST, values::path_on_host),
        filesystems: section.take("filesystems", "`\"local\"` or `\"root\"`", values::one_of),
        exclude: section.take_list("exclude", PATTERN, values::pattern),
        hooks: section.take("hooks", "`true` or `false`", Some),
    }
}

/// Reads `[host_defaults]`.
pub(super) fn defaults(section: &mut Section<'_>) -> HostSettings {
    let said = said(section);
    HostSettings {
        transport: said.transport.unwrap_or(Transport::Ssh),
        user: said.user.unwrap_or_else(|| "root".to_owned()),
        port: said.port.unwrap_or(22),
        sudo: said.sudo.unwrap_or(false),
        source: said.source.unwrap_or_else(|| "/".to_owned()),
        filesystems: said.filesystems.unwrap_or(Filesystems::Local),
        exclude: said.exclude.unwrap_or_default(),
        hooks: said.hooks.unwrap_or(true),
    }
}

/// Reads every `[hosts.NAME]`, by name in lower case.
pub(super) fn overrides(hosts: &mut Section<'_>) -> BTreeMap<String, HostOverride> {
    let mut read: BTreeMap<String, HostOverride> = BTreeMap::new();
    hosts.each(|name, section| {
        let Some(host) = host(name, section) else { return };
        if let Some(other) = read.get(host.name.key()) {
            let seen = format!("is the same host as `{}`, since names compare without case", other.name);
            section.fault_of_section(seen, "make it one section");
        }
        read.insert(host.name.key().to_owned(), host);
    });
    read
}

fn host(name: &str, section: &mut Section<'_>) -> Option<HostOverride> {
    let address = section.take("address", ADDRESS, values::address);
    let listed = section.take("listed", "`true` or `false`", Some).unwrap_or(true);
    let said = said(section);
    if section.take_subsections() {
        // TOML takes `[hosts.mail.example.org]` for four sections.
        let want = "a name with dots needs quotes, as in `[hosts.\"mail.example.org\"]`";
        section.fault_of_section("has a section below it", want);
    }
    let name = match name.parse::<HostName>() {
        Ok(name) => name,
        Err(unfit) => {
            section.fault_of_section("is no host's name", unfit.why);
            return None;
        }
    };
    Some(HostOverride {
        name,
        address,
        listed,
        transport: said.transport,
        user: said.user,
        port: said.port,
        sudo: said.sudo,
        source: said.source,
        filesystems: said.filesystems,
        exclude: said.exclude,
        hooks: said.hooks,
    })
}
