//! The configuration section by section: every option with its default.

use super::document::nearest;
use super::files::{file, files, private_key};
use super::section::Section;
use super::values::{self, BANDWIDTH, DATASET, DURATION, PATH, PATH_ON_HOST, RUNTIME_DIR};
use super::{hosts, services};
use crate::core::model::host::HostName;
use crate::core::model::settings::{
    Excludes, HookSettings, Retention, Settings, Ssh, StoreSettings, TransferSettings,
};
use chrono_tz::{TZ_VARIANTS, Tz};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

const JOBS: NonZeroUsize = NonZeroUsize::new(8).unwrap();
/// Connections a second.
const CONNECTIONS: NonZeroU32 = NonZeroU32::new(20).unwrap();
const MINUTES: u64 = 60;
const HOURS: u64 = 60 * MINUTES;

/// Reads the whole configuration; `None` only together with a fault.
pub(super) fn settings(top: &mut Section<'_>) -> Option<Settings> {
    // Every section is read before any is missed: all faults at once.
    let server = server(top);
    let timezone = timezone(top);
    let jobs = top.take("jobs", "a whole number of at least 1", Some);
    let state_dir = top.take("state_dir", PATH, values::path);
    let runtime_dir = top.take("runtime_dir", RUNTIME_DIR, values::runtime_dir);
    let inventory = services::inventory(top);
    let host_defaults = top.section("host_defaults", hosts::defaults);
    let hosts = top.section("hosts", |section| hosts::overrides(section, &host_defaults));
    let ssh = top.section("ssh", ssh);
    let hooks = top.section("hooks", hooks);
    let transfer = top.section("transfer", transfer);
    let excludes = top.section("excludes", excludes);
    let store = top.section("store", store);
    let retention = top.section("retention", retention);
    let notifiers = services::notifiers(top, server.as_deref());
    let metrics_textfile = top.section("metrics", |metrics| {
        metrics.take("textfile", "an absolute path that ends in `.prom`", values::textfile)
    });

    if !top.has("inventory") {
        for (own, object) in hosts.values().filter_map(|own| Some((own, own.object?))) {
            let seen = format!("names `{object}` `{}`, and there is no `[inventory.netbox]`", own.name);
            let want =
                format!("say where your NetBox is, or make it `[hosts.{}]`, with an `address`", own.name);
            top.fault("hosts", seen, want);
        }
    }
    let understood = !hosts.is_empty() || !top.has("hosts");
    if inventory.is_none() && understood && !hosts.values().any(|host| host.listed) {
        let seen = "lists no host, and there is no `[inventory.netbox]`";
        let want = "there is nothing to back up: set the address of your \
                    NetBox, or add a section such as `[hosts.vpn]`";
        top.fault("hosts", seen, want);
    }
    Some(Settings {
        server: server?,
        timezone,
        jobs: jobs.unwrap_or(JOBS),
        state_dir: state_dir.unwrap_or_else(|| PathBuf::from("/var/lib/backup")),
        runtime_dir: runtime_dir.unwrap_or_else(|| PathBuf::from("/run/backup")),
        inventory: inventory.unwrap_or_default(),
        host_defaults,
        hosts,
        ssh,
        hooks,
        transfer,
        excludes,
        store: store?,
        retention,
        notifiers,
        metrics_textfile,
    })
}

/// The server's name becomes a part of an Icinga service's name, which takes
/// what a host's name takes.
fn server(top: &mut Section<'_>) -> Option<String> {
    if let Some(name) = top.take::<String, _>("server", "this server's short name", Some) {
        let parsed = name.parse::<HostName>();
        return parsed.map_err(|unfit| top.refuse("server", unfit.why)).map(|_| name).ok();
    }
    if top.has("server") {
        return None;
    }
    let hostname = &top.environment().hostname;
    let short = hostname.split('.').next().unwrap_or_default();
    let complain = |_| {
        let seen = format!("is missing, and this machine's host name will not do: {short:?}");
        top.fault("server", seen, "give the server a short name, such as `server = \"backup-1\"`");
    };
    short.parse::<HostName>().map_err(complain).map(|_| short.to_owned()).ok()
}

fn timezone(top: &mut Section<'_>) -> Tz {
    let want = "the name of a time zone, such as `\"Europe/London\"`";
    let Some(name) = top.take::<String, _>("timezone", want, Some) else { return Tz::UTC };
    name.parse().unwrap_or_else(|_| {
        let want = match nearest(&name, TZ_VARIANTS.iter().map(|zone| zone.name())) {
            Some(near) => format!("did you mean `\"{near}\"`?"),
            None => format!("it must be {want}"),
        };
        top.refuse("timezone", want);
        Tz::UTC
    })
}

fn ssh(section: &mut Section<'_>) -> Ssh {
    let fill =
        "correct the path, or make an empty one with `touch`, and `backup check --trust-host-keys` fills it";
    let per_second = section.take("connections_per_second", "a whole number of at least 1", Some);
    Ssh {
        identity_file: private_key(section, "identity_file"),
        known_hosts_file: file(section, "known_hosts_file", fill),
        connect_timeout: duration(section, "connect_timeout", 20),
        connections_per_second: per_second.unwrap_or(CONNECTIONS),
    }
}

fn hooks(section: &mut Section<'_>) -> HookSettings {
    let directory = section.take("directory", PATH_ON_HOST, values::path_on_host);
    HookSettings {
        directory: directory.unwrap_or_else(|| "/etc/backup-scripts".to_owned()),
        timeout: duration(section, "timeout", HOURS),
    }
}

fn transfer(section: &mut Section<'_>) -> TransferSettings {
    let retries = section.take("retries", "a whole number from 0 to 20", values::within(0..=20));
    let delete = section.take("max_delete_percent", "a whole number from 1 to 100", values::within(1..=100));
    TransferSettings {
        compress: section.take("compress", "`true` or `false`", Some).unwrap_or(true),
        bandwidth_limit: section.take("bandwidth_limit", BANDWIDTH, values::bandwidth).flatten(),
        stall_timeout: duration(section, "stall_timeout", 10 * MINUTES),
        deadline: duration(section, "deadline", 12 * HOURS),
        retries: retries.unwrap_or(2),
        max_delete_percent: delete.unwrap_or(50),
    }
}

fn excludes(section: &mut Section<'_>) -> Excludes {
    let remote_file = section.take("remote_file", PATH_ON_HOST, values::path_on_host);
    Excludes {
        files: files(section, "files", "correct the path, or write the patterns there"),
        remote_file: remote_file.unwrap_or_else(|| "/etc/backup-exclude.conf".to_owned()),
    }
}

fn store(section: &mut Section<'_>) -> Option<StoreSettings> {
    let zfs = section.optional("zfs", |zfs| {
        let min_free_percent = min_free_percent(zfs);
        let dataset = zfs.require("dataset", DATASET, values::dataset)?;
        Some(StoreSettings::Zfs { dataset, min_free_percent })
    });
    let directory = section.optional("directory", |directory| {
        let min_free_percent = min_free_percent(directory);
        let path = directory.require("path", PATH, values::path)?;
        Some(StoreSettings::Directory { path, min_free_percent })
    });
    match (zfs, directory) {
        (Some(store), None) | (None, Some(store)) => store,
        (Some(_), Some(_)) => {
            section.fault_of_section(
                "has both `zfs` and `directory`",
                "a server has one store: remove the other",
            );
            None
        }
        (None, None) => {
            let want = "choose where copies are stored: `[store.zfs]` with `dataset = \"data\"`, \
                        or `[store.directory]` with `path = \"/srv/backup\"`";
            section.fault_of_section("is missing", want);
            None
        }
    }
}

fn min_free_percent(section: &mut Section<'_>) -> u8 {
    let want = "a whole number from 0 to 99";
    section.take("min_free_percent", want, values::within(0..=99)).unwrap_or(5)
}

fn retention(section: &mut Section<'_>) -> Retention {
    let mut tier = |key| -> Option<NonZeroU32> {
        section.take(key, "a whole number of at least 1; leave the tier out to keep nothing", Some)
    };
    let retention = Retention {
        daily: tier("daily"),
        weekly: tier("weekly"),
        monthly: tier("monthly"),
        yearly: tier("yearly"),
    };
    if !["daily", "weekly", "monthly", "yearly"].iter().any(|tier| section.has(tier)) {
        let want = "no snapshot would be kept: write `[retention]` and below it, each on its line, \
                    `daily = 7`, `weekly = 4`, `monthly = 24`, `yearly = 5`";
        section.fault_of_section("has no tier", want);
    }
    retention
}

/// Takes a duration, with its default in seconds.
pub(super) fn duration(section: &mut Section<'_>, key: &'static str, default: u64) -> Duration {
    section.take(key, DURATION, values::duration).unwrap_or(Duration::from_secs(default))
}
