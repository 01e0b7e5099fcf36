//! The services that `backup` speaks to: those that list hosts, `[inventory.netbox]`,
//! and those that are told of runs, `[icinga]`.

use super::environment::{ICINGA_PASSWORD, NETBOX_TOKEN};
use super::files::{file, secret};
use super::options::duration;
use super::section::Section;
use super::values::{self, LINE, ROOT_URL};
use crate::core::format::text::printable;
use crate::core::model::problem::Problem;
use crate::core::model::settings::{
    AddressFrom, IcingaSettings, InventorySettings, NetBox, NotifierSettings,
};
use std::path::PathBuf;
use url::Url;

/// Reads `[inventory]`; `None` if it names nobody who lists hosts.
pub(super) fn inventory(top: &mut Section<'_>) -> Option<InventorySettings> {
    let netbox = top.section("inventory", |inventory| inventory.optional("netbox", netbox));
    netbox.map(|netbox| InventorySettings { netbox })
}

/// Reads the sections of those who are told of runs. `server` is this server's
/// name, if it is known.
pub(super) fn notifiers(top: &mut Section<'_>, server: Option<&str>) -> NotifierSettings {
    NotifierSettings { icinga: top.optional("icinga", |section| icinga(section, server)).flatten() }
}

/// Reads `[inventory.netbox]`; `None` only together with a fault.
fn netbox(section: &mut Section<'_>) -> Option<NetBox> {
    let url = url(section, "the token");
    let token = secret(section, "token_file", NETBOX_TOKEN);
    let tag = section.take("tag", LINE, values::line);
    let statuses = section.take_list("statuses", LINE, values::line);
    if section.has_empty_list("statuses") {
        section.fault("statuses", "is empty", "no host would match: name at least one, such as `\"active\"`");
    }
    let address = section.take("address", "`\"name\"` or `\"primary_ip\"`", values::one_of);
    let domain = section.take("domain", "a domain such as `\"example.org\"`, or `\"\"`", values::domain);
    let want = "the name of a custom field: letters a to z, digits and `_`";
    let name_field = section.take("name_field", want, values::custom_field);
    let ca_file = ca_file(section);
    let timeout = duration(section, "timeout", 30);
    let max_age = duration(section, "max_age", 48 * 3600);
    let shrink = section.take("max_shrink_percent", "a whole number from 0 to 100", values::within(0..=100));
    Some(NetBox {
        url: url?,
        token: token?,
        tag: tag.unwrap_or_else(|| "Backup".to_owned()),
        statuses: statuses.unwrap_or_else(|| vec!["active".to_owned()]),
        address: address.unwrap_or(AddressFrom::Name),
        domain: domain.unwrap_or_default(),
        name_field: name_field.flatten(),
        ca_file,
        timeout,
        max_shrink_percent: shrink.unwrap_or(50),
        max_age,
    })
}

/// Reads `[icinga]`; `None` only together with a fault.
fn icinga(section: &mut Section<'_>, server: Option<&str>) -> Option<IcingaSettings> {
    let url = url(section, "the password");
    // HTTP's Basic scheme ends the user's name at a colon.
    let user = |text: String| values::line(text).filter(|text| !text.contains(':'));
    let user = section.require("user", "the name of an API user, without a colon", user);
    let password = secret(section, "password_file", ICINGA_PASSWORD);
    let ca_file = ca_file(section);
    let want = "the name of a service: one line, without `!`; `{server}` may stand in it, and no other brace";
    let own = section.take("service", want, service);
    let run_service = section.take("run_service", want, service);
    let want = "the name of a host in Icinga: one line, without `!`; `{server}` may stand in it";
    let run_host = section.take("run_host", want, service);
    let ttl = duration(section, "ttl", 36 * 3600);
    let server = server?;
    let named =
        |name: Option<String>, default: &str| name.as_deref().unwrap_or(default).replace("{server}", server);
    Some(IcingaSettings {
        url: url?,
        user: user?,
        password: password?,
        ca_file,
        service: named(own, "BACKUP-{server}"),
        run_host: named(run_host, "{server}"),
        run_service: named(run_service, "BACKUP-{server}"),
        ttl,
    })
}

fn url(section: &mut Section<'_>, secret: &str) -> Option<Url> {
    let url = section.require("url", ROOT_URL, values::root_url)?;
    if values::in_clear_text(&url) {
        let (name, url) = (section.name("url"), printable(url.as_str()));
        let what = format!("`{name}` is `{url}`: {secret} travels in clear text");
        section.warn(Problem::warning(what, "use https"));
    }
    Some(url)
}

fn ca_file(section: &mut Section<'_>) -> Option<PathBuf> {
    file(section, "ca_file", "correct the path, or put the CA's certificate there, in PEM format")
}

/// `!` separates a host's name from a service's in Icinga.
fn service(text: String) -> Option<String> {
    let other = text.replace("{server}", "");
    values::line(text).filter(|_| !other.contains(['!', '{', '}']))
}
