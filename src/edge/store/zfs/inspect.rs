//! What there is to say of a pool, and of the datasets in it: their state, and
//! properties that would hurt.

use super::super::closed::open_to_others;
use super::super::inspection::{Inspection, Room, closing, refused};
use super::super::{enough_room, shown};
use super::mount::is_closed_above;
use super::{ZfsStore, pool_of};
use crate::core::format::text::{human_bytes, printable};
use crate::core::model::finding::{CheckFinding, named};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use std::collections::BTreeMap;
use std::path::Path;

/// What is asked of datasets.
const PROPERTIES: &str = "mounted,mountpoint,canmount,readonly,keystatus,encryptionroot,acltype,xattr,atime,\
                          normalization,utf8only,casesensitivity,snapdir,compression,dedup,quota,refquota,\
                          reservation,refreservation,used,referenced,available,setuid,devices,exec,sync,copies,\
                          compressratio";
/// A pool that is fuller than this, in percent, is slow.
const SLOW: u64 = 80;
/// Debian scrubs its pools on the second Sunday of each month.
const SCRUB: TimeDelta = TimeDelta::days(40);
/// Less than this share of a quota left, in percent, is too little.
const QUOTA: u64 = 10;

/// A value, and where it comes from.
type Value = (String, String);
/// A dataset's properties.
type Properties = BTreeMap<String, Value>;

/// A value that would hurt.
struct Rule {
    property: &'static str,
    bad: fn(&str) -> bool,
    /// Makes the finding of its level.
    finding: fn(String, String, String) -> CheckFinding,
    why: &'static str,
    /// The value to set; none for what was settled when the dataset was made.
    better: Option<&'static str>,
}

const RULES: [Rule; 16] = [
    Rule {
        property: "acltype",
        bad: |value| !matches!(value, "posix" | "posixacl"),
        finding: CheckFinding::warning,
        why: "ACLs of hosts cannot be kept: a host that has any is never more than partly copied",
        better: Some("posixacl"),
    },
    Rule {
        property: "xattr",
        bad: |value| value == "off",
        finding: CheckFinding::warning,
        why: "extended attributes of hosts cannot be kept, and a host that has any is a warning every night",
        better: Some("sa"),
    },
    Rule {
        property: "xattr",
        bad: |value| matches!(value, "on" | "dir"),
        finding: CheckFinding::note,
        why: "before ZFS 2.3 each extended attribute is a file of its own, which is slow",
        better: Some("sa"),
    },
    Rule {
        property: "casesensitivity",
        bad: |value| value != "sensitive",
        finding: CheckFinding::error,
        why: "files whose names differ only in case would overwrite one another",
        better: None,
    },
    Rule {
        property: "normalization",
        bad: |value| value != "none",
        finding: CheckFinding::warning,
        why: "names that are different on a host may be one here, and names that are not UTF-8 cannot be kept",
        better: None,
    },
    Rule {
        property: "utf8only",
        bad: |value| value == "on",
        finding: CheckFinding::warning,
        why: "names that are not UTF-8 cannot be kept: a host that has any is never more than partly copied",
        better: None,
    },
    Rule {
        property: "dedup",
        bad: |value| value != "off",
        finding: CheckFinding::warning,
        why: "its table outgrows the memory, and then everything is slow",
        better: Some("off"),
    },
    Rule {
        property: "setuid",
        bad: |value| value == "on",
        finding: CheckFinding::warning,
        why: "a setuid program in a copy runs as root on this server, for anybody who can reach it",
        better: Some("off"),
    },
    Rule {
        property: "devices",
        bad: |value| value == "on",
        finding: CheckFinding::warning,
        why: "a device node in a copy opens this server's own device",
        better: Some("off"),
    },
    Rule {
        property: "exec",
        bad: |value| value == "on",
        finding: CheckFinding::note,
        why: "programs in copies can be run on this server",
        better: Some("off"),
    },
    Rule {
        property: "atime",
        bad: |value| value == "on",
        finding: CheckFinding::note,
        why: "reading a copy writes to it, and snapshots grow",
        better: Some("off"),
    },
    Rule {
        property: "snapdir",
        bad: |value| value == "visible",
        finding: CheckFinding::note,
        why: "whatever walks through the copies walks through every snapshot as well",
        better: Some("hidden"),
    },
    Rule {
        property: "compression",
        bad: |value| value == "off",
        finding: CheckFinding::note,
        why: "copies take more room and more time than they need",
        better: Some("zstd"),
    },
    Rule {
        property: "sync",
        bad: |value| value == "always",
        finding: CheckFinding::note,
        why: "every write waits for the disk, which is slow",
        better: Some("standard"),
    },
    Rule {
        property: "sync",
        bad: |value| value == "disabled",
        finding: CheckFinding::note,
        why: "what was written in the seconds before a power cut is lost",
        better: Some("standard"),
    },
    Rule {
        property: "copies",
        bad: |value| value != "1",
        finding: CheckFinding::note,
        why: "everything is written so many times, and takes so much room",
        better: Some("1"),
    },
];

/// What is settled when a dataset is made, and what its children begin with.
const SETTLED: [&str; 3] = ["casesensitivity", "normalization", "utf8only"];

impl ZfsStore {
    /// What there is to say of the pool and of the hosts' datasets. Changes
    /// nothing, and mounts nothing.
    pub(in super::super) async fn inspect(&self, now: DateTime<Utc>) -> Inspection {
        let pool = pool_of(&self.dataset);
        let mut inspection = Inspection::default();
        // First, for on a suspended pool all else would hang.
        match self.pool_state(pool).await {
            Ok(findings) => inspection.findings.extend(findings),
            Err(finding) => {
                inspection.findings.push(finding);
                return inspection;
            }
        }
        inspection.findings.extend(self.scrub(pool, now).await);
        let datasets = match self.properties().await {
            Ok(datasets) => datasets,
            Err(error) => {
                inspection.findings.push(refused(&self.dataset, error));
                return inspection;
            }
        };
        self.judge(&datasets, &mut inspection);
        inspection
    }

    /// The pool's health and how full it is; an error if nothing else can be
    /// asked of it.
    async fn pool_state(&self, pool: &str) -> Result<Vec<CheckFinding>, CheckFinding> {
        let (system, subject) = (&self.system, format!("pool {pool}"));
        let what = format!("the state of the pool `{pool}`");
        let args = ["list", "-Hp", "-o", "health,capacity", pool];
        let text = system
            .list(&system.zpool, &what, &self.dataset, &args)
            .await
            .map_err(|error| refused(&subject, error))?;
        let (health, capacity) = text.trim().split_once('\t').unwrap_or((text.trim(), ""));
        self.check_pool(health).map_err(|error| refused(&subject, error))?;
        let mut findings = vec![match health {
            "ONLINE" => CheckFinding::ok(&subject, "is healthy"),
            other => CheckFinding::warning(
                &subject,
                format!("is {}: another failure may lose everything", printable(other)),
                format!("see `zpool status {pool}`, and replace what failed"),
            ),
        }];
        if let Ok(full) = capacity.trim_end_matches('%').parse::<u64>() {
            if full > SLOW {
                findings.push(CheckFinding::warning(
                    &subject,
                    format!("is {full}% full, and ZFS slows down above {SLOW}%"),
                    "add disks, keep fewer periods in `[retention]`, or exclude what need not be kept",
                ));
            }
        }
        Ok(findings)
    }

    /// When the pool was last read through, and whether it has errors.
    async fn scrub(&self, pool: &str, now: DateTime<Utc>) -> Vec<CheckFinding> {
        let (system, subject) = (&self.system, format!("pool {pool}"));
        let what = format!("the status of the pool `{pool}`");
        match system.list(&system.zpool, &what, &self.dataset, &["status", pool]).await {
            Ok(status) => scrubbed(&status, pool, now),
            Err(error) => vec![refused(&subject, error)],
        }
    }

    /// The parent's properties and the hosts', by dataset.
    async fn properties(&self) -> Result<BTreeMap<String, Properties>, super::StoreError> {
        let (system, dataset) = (&self.system, self.dataset.as_str());
        let args = ["get", "-Hp", "-t", "filesystem", "-d", "1", "-o", "name,property,value,source"];
        let args = [&args[..], &[PROPERTIES, dataset]].concat();
        let what = format!("the properties of `{dataset}`");
        let text = system.list(&system.zfs, &what, dataset, &args).await?;
        super::parse::properties(&text).map_err(|error| self.unclear("the properties", error))
    }

    fn judge(&self, datasets: &BTreeMap<String, Properties>, inspection: &mut Inspection) {
        let Some(parent) = datasets.get(&self.dataset) else {
            let why = super::StoreError::new(format!("`zfs get` left `{}` out", self.dataset));
            inspection.findings.push(refused(&self.dataset, why));
            return;
        };
        inspection.findings.extend(self.parent(parent));
        if let (Some(used), Some(available)) = (number(parent, "used"), number(parent, "available")) {
            let total = used.saturating_add(available);
            if let Err(error) = enough_room(&self.dataset, available, total, self.min_free_percent) {
                inspection.findings.push(refused(&self.dataset, error));
            }
            let ratio = value(parent, "compressratio").trim_end_matches('x').parse().unwrap_or(1.0);
            let min_free_percent = self.min_free_percent;
            inspection.room = Some(Room { free: available, total, min_free_percent, ratio });
        }
        let mut hosts = BTreeMap::new();
        for (name, properties) in datasets {
            if let Some(host) = super::parse::host_of(name, &self.dataset) {
                let mut findings = place(name, properties);
                let (top, at) = (value(parent, "mountpoint"), Path::new(value(properties, "mountpoint")));
                // Closed with all the others, where it is one of them.
                if at.parent() != Some(Path::new(top)) && at.is_absolute() {
                    findings.extend(is_closed_above(at).err().map(|error| refused(name, error)));
                }
                inspection.places.insert(host.to_owned(), findings);
                hosts.insert(name.as_str(), properties);
            }
        }
        inspection
            .findings
            .extend(RULES.iter().filter_map(|rule| rule.broken(&self.dataset, parent, &hosts)));
    }

    /// Whether new hosts' datasets can be made below the parent.
    fn parent(&self, properties: &Properties) -> Vec<CheckFinding> {
        let mut findings = unusable(&self.dataset, properties);
        let mountpoint = value(properties, "mountpoint");
        if findings.is_empty()
            && value(properties, "canmount") == "on"
            && value(properties, "mounted") != "yes"
        {
            findings.push(CheckFinding::error(
                &self.dataset,
                "is not mounted, so no dataset can be made below it for a new host",
                format!("zfs mount {}", self.dataset),
            ));
        }
        if findings.is_empty() {
            findings.push(CheckFinding::ok(&self.dataset, format!("is at `{}`", printable(mountpoint))));
            findings.extend(owned(Path::new(mountpoint)));
            let top = Path::new(mountpoint);
            let open = open_to_others(top).filter(|_| is_closed_above(top).is_err());
            findings.extend(open.map(|why| closing(top, why)));
        }
        findings.extend(quota(&self.dataset, properties));
        findings
    }
}

/// Whether the folder with all copies is root's own.
fn owned(path: &Path) -> Option<CheckFinding> {
    super::super::directory::others_may_write(path).map(|why| {
        CheckFinding::warning(
            shown(path),
            format!("{why}: whoever may write there can plant folders in the place of copies"),
            format!("chown root {0} && chmod go-w {0}", shown(path)),
        )
    })
}

/// What keeps a dataset from being written to, whatever is mounted.
fn unusable(name: &str, properties: &Properties) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    if value(properties, "keystatus") == "unavailable" {
        let root = value(properties, "encryptionroot");
        findings.push(CheckFinding::error(
            name,
            "is encrypted, and its key is not loaded",
            format!("zfs load-key {root} && zfs mount -a"),
        ));
    }
    if value(properties, "readonly") == "on" {
        findings.push(CheckFinding::error(name, "is read-only", format!("zfs set readonly=off {name}")));
    }
    let mountpoint = value(properties, "mountpoint");
    if !mountpoint.starts_with('/') {
        let text = format!("has no mount point of its own (`{}`)", printable(mountpoint));
        findings.push(CheckFinding::error(name, text, format!("zfs set mountpoint=/{name} {name}")));
    }
    findings
}

/// What is wrong with a host's dataset.
fn place(name: &str, properties: &Properties) -> Vec<CheckFinding> {
    let mut findings = unusable(name, properties);
    if findings.is_empty() && value(properties, "mounted") != "yes" {
        let mount = format!("zfs mount {name}");
        findings.push(match value(properties, "canmount") {
            "on" => CheckFinding::note(name, "is not mounted; the next run mounts it", mount),
            "noauto" => {
                let remedy = format!("{mount}; and `zfs set canmount=on {name}`, to have it mounted at boot");
                CheckFinding::error(name, "is not mounted, and `canmount=noauto` keeps a run from it", remedy)
            }
            _ => CheckFinding::error(
                name,
                "is not mounted, and `canmount=off` forbids it",
                format!("zfs set canmount=on {name} && {mount}"),
            ),
        });
    }
    findings.extend(quota(name, properties));
    findings
}

/// Quotas that are nearly used up.
fn quota(name: &str, properties: &Properties) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    for (property, counted) in [("quota", "used"), ("refquota", "referenced")] {
        let (Some(limit), Some(used)) = (number(properties, property), number(properties, counted)) else {
            continue;
        };
        let left = limit.saturating_sub(used);
        if limit > 0 && u128::from(left) * 100 < u128::from(limit) * u128::from(QUOTA) {
            let text = format!("has {} left of its {property} of {}", human_bytes(left), human_bytes(limit));
            let remedy = format!("raise it, or `zfs set {property}=none {name}`");
            findings.push(CheckFinding::warning(name, text, remedy));
        }
    }
    for property in ["reservation", "refreservation"] {
        if let Some(kept) = number(properties, property).filter(|kept| *kept > 0) {
            let text = format!("keeps {} from all others (its {property})", human_bytes(kept));
            findings.push(CheckFinding::note(name, text, format!("zfs set {property}=none {name}")));
        }
    }
    findings
}

impl Rule {
    /// The finding about the hosts' datasets that break the rule, if any do;
    /// or about the parent, whose new datasets will.
    fn broken(
        &self,
        dataset: &str,
        parent: &Properties,
        hosts: &BTreeMap<&str, &Properties>,
    ) -> Option<CheckFinding> {
        let property = self.property;
        let is_broken =
            |properties: &Properties| properties.get(property).is_some_and(|(value, _)| (self.bad)(value));
        let broken: Vec<&str> =
            hosts.iter().filter(|(_, properties)| is_broken(properties)).map(|(name, _)| *name).collect();
        let settled = SETTLED.contains(&property);
        let first = match broken.first() {
            Some(first) => hosts.get(first)?,
            None if settled && is_broken(parent) => parent,
            None => return None,
        };
        let text = format!("{property}={}: {}", printable(value(first, property)), self.why);
        let Some(better) = self.better else {
            let remedy =
                "it is settled when a dataset is made: make a new one with the default, and move the copies";
            return Some((self.finding)(
                if broken.is_empty() { dataset.to_owned() } else { named(&broken) },
                text,
                remedy.to_owned(),
            ));
        };
        let own = |name: &&str| {
            let source = hosts.get(name).and_then(|all| all.get(property)).map(|(_, source)| source.as_str());
            matches!(source, Some("local" | "received" | "temporary"))
        };
        let own: Vec<&str> = broken.iter().filter(|name| own(name)).copied().collect();
        let remedy = match (own.len() == broken.len(), own.as_slice()) {
            (_, []) => format!("zfs set {property}={better} {dataset}"),
            (true, few @ [_] | few @ [_, _] | few @ [_, _, _]) => {
                format!("zfs set {property}={better} {}", few.join(" "))
            }
            (true, [one, ..]) => format!("zfs set {property}={better} {one}, and so on for each of them"),
            (false, [one, ..]) => {
                format!("zfs set {property}={better} {dataset}, and the same for {one} and its like")
            }
        };
        Some((self.finding)(named(&broken), text, remedy))
    }
}

fn value<'a>(properties: &'a Properties, property: &str) -> &'a str {
    properties.get(property).map_or("", |(value, _)| value.as_str())
}

fn number(properties: &Properties, property: &str) -> Option<u64> {
    value(properties, property).parse().ok()
}

/// What `zpool status` says of scrubs and of errors.
fn scrubbed(status: &str, pool: &str, now: DateTime<Utc>) -> Vec<CheckFinding> {
    let subject = format!("pool {pool}");
    let line = |key: &str| {
        status.lines().find_map(|line| line.trim_start().strip_prefix(key)).map(str::trim).unwrap_or_default()
    };
    let mut findings = Vec::new();
    let errors = line("errors:");
    if !errors.is_empty() && !errors.starts_with("No known data errors") {
        findings.push(CheckFinding::error(
            &subject,
            format!("has errors in its data: {}", printable(errors)),
            format!("see `zpool status -v {pool}` for the files, and restore or remove them"),
        ));
    }
    let scan = line("scan:");
    let scrub = format!("zpool scrub {pool}, and once a month from cron or a systemd timer");
    let ended = scan.rsplit_once(" on ").and_then(|(_, time)| {
        // In local time, which is near enough.
        NaiveDateTime::parse_from_str(time.trim(), "%a %b %e %H:%M:%S %Y").ok()
    });
    if scan.is_empty() || scan.starts_with("none requested") {
        let text = "was never scrubbed: what its disks have lost since is not known";
        findings.push(CheckFinding::note(&subject, text, scrub));
    } else if scan.starts_with("scrub canceled") {
        findings.push(CheckFinding::note(&subject, "had its last scrub cancelled", scrub));
    } else if let Some(ended) = ended.filter(|_| scan.starts_with("scrub")) {
        let age = now - ended.and_utc();
        let text = format!("was last scrubbed on {}", ended.format("%Y-%m-%d"));
        findings.push(match age > SCRUB {
            true => CheckFinding::note(&subject, format!("{text}, {} days ago", age.num_days()), scrub),
            false => CheckFinding::ok(&subject, text),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::finding::Level;

    fn now() -> DateTime<Utc> {
        "2026-11-20T02:00:05Z".parse().unwrap()
    }

    fn said(status: &str) -> Vec<(Level, String)> {
        scrubbed(status, "data", now()).into_iter().map(|finding| (finding.level, finding.text)).collect()
    }

    #[test]
    fn the_last_scrub_is_read_as_zpool_writes_it() {
        let status = |scan: &str, errors: &str| {
            format!(
                "  pool: data\n state: ONLINE\n  scan: {scan}\nconfig:\n\n\tdata  ONLINE\n\nerrors: {errors}\n"
            )
        };
        let fine = "No known data errors";
        for (scan, errors, level, text) in [
            (
                "scrub repaired 0B in 03:12:45 with 0 errors on Sun Nov  8 03:36:48 2026",
                fine,
                Level::Ok,
                "was last scrubbed on 2026-11-08",
            ),
            (
                "scrub repaired 0B in 1 days 03:12:45 with 0 errors on Sun Aug 16 03:36:48 2026",
                fine,
                Level::Note,
                "was last scrubbed on 2026-08-16, 95 days ago",
            ),
            (
                "none requested",
                fine,
                Level::Note,
                "was never scrubbed: what its disks have lost since is not known",
            ),
            ("scrub canceled on Sun Nov  8 03:36:48 2026", fine, Level::Note, "had its last scrub cancelled"),
            (
                "scrub repaired 0B in 03:12:45 with 2 errors on Sun Nov  8 03:36:48 2026",
                "2 data errors, use '-v' for a list",
                Level::Error,
                "has errors in its data: 2 data errors, use '-v' for a list",
            ),
        ] {
            assert_eq!(said(&status(scan, errors))[0], (level, text.to_owned()), "{scan}");
        }
        let resilvered = "resilvered 1.2G in 00:01:02 with 0 errors on Sun Nov  8 03:36:48 2026";
        assert!(said(&status(resilvered, fine)).is_empty(), "it says nothing of scrubs");
        assert!(said(&status("scrub in progress since Sun Nov  8 03:36:48 2026", fine)).is_empty());
    }

    #[test]
    fn what_would_hurt_is_said_once_for_all_datasets_with_one_remedy() {
        let dataset = |acltype: &str, source: &str| {
            Properties::from([("acltype".to_owned(), (acltype.to_owned(), source.to_owned()))])
        };
        let parent = dataset("off", "default");
        let rule = &RULES[0];
        let remedy = |children: &[(&str, Properties)]| {
            let hosts = children.iter().map(|(name, properties)| (*name, properties)).collect();
            rule.broken("data", &parent, &hosts).map(|finding| (finding.subject, finding.remedy.unwrap()))
        };
        assert_eq!(remedy(&[]), None, "a new host's dataset gets its own");
        assert_eq!(remedy(&[("data/vpn", dataset("posix", "local"))]), None);
        let inherited = [
            ("data/vpn", dataset("off", "default")),
            ("data/web", dataset("off", "inherited from data")),
            ("data/x", dataset("posixacl", "local")),
        ];
        assert_eq!(
            remedy(&inherited),
            Some(("data/vpn, data/web".to_owned(), "zfs set acltype=posixacl data".to_owned()))
        );
        let own = [("data/vpn", dataset("off", "local")), ("data/web", dataset("off", "received"))];
        assert_eq!(
            remedy(&own),
            Some(("data/vpn, data/web".to_owned(), "zfs set acltype=posixacl data/vpn data/web".to_owned()))
        );
    }

    #[test]
    fn what_a_dataset_is_made_with_is_said_before_the_first_host() {
        let parent = Properties::from([("utf8only".to_owned(), ("on".to_owned(), "-".to_owned()))]);
        let rule = RULES.iter().find(|rule| rule.property == "utf8only").unwrap();
        let finding = rule.broken("data", &parent, &BTreeMap::new()).unwrap();
        assert_eq!((finding.level, finding.subject.as_str()), (Level::Warning, "data"));
    }

    #[test]
    fn a_quota_that_is_nearly_used_up_is_a_warning() {
        let properties = |used: &str| {
            let all = [
                ("quota", "1000"),
                ("used", used),
                ("refquota", "0"),
                ("referenced", "999"),
                ("reservation", "0"),
            ];
            all.iter()
                .map(|(key, value)| ((*key).to_owned(), ((*value).to_owned(), "-".to_owned())))
                .collect()
        };
        assert!(quota("data/vpn", &properties("900")).is_empty());
        let finding = quota("data/vpn", &properties("901")).remove(0);
        assert_eq!(finding.text, "has 99 B left of its quota of 1000 B");
    }
}
