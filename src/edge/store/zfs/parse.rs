//! Reading what `zfs` and `zpool` print with `-Hp`.
//!
//! Nothing is dropped silently: a line that is not understood is an error that
//! shows it, and a snapshot whose facts are not understood is somebody else's.

use super::super::sort;
use crate::core::format::text::{printable, shortened};
use crate::core::model::host::HostName;
use crate::core::model::snapshot::{Facts, Origin, Snapshot, SnapshotName, is_ancestors};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

/// What is asked of filesystems. A mount point may hold any byte, so it comes
/// last.
pub(super) const FILESYSTEM_COLUMNS: &str =
    "name,canmount,readonly,keystatus,encryptionroot,compression,used,available,mountpoint";
/// What is asked of snapshots.
pub(super) const PROPERTIES: &str = "creation,userrefs,backup:run,backup:verdict,backup:files,backup:bytes,\
                                     backup:duration,backup:machine,backup:hostname,backup:left_out,\
                                     backup:clock_agreed";

/// What is asked of snapshots about the space that they alone use.
pub(super) const SPACE_COLUMNS: &str = "name,used";

/// The properties of datasets, each with its value and its source, by dataset.
pub(super) type Datasets = BTreeMap<String, BTreeMap<String, (String, String)>>;

/// Output that is not what `zfs` prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {why}", shortened(&printable(.line), 200))]
pub(super) struct Unparsable {
    line: String,
    why: &'static str,
}

fn unparsable<T>(line: &str, why: &'static str) -> Result<T, Unparsable> {
    Err(Unparsable { line: line.to_owned(), why })
}

/// What there is to know of a filesystem before it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filesystem {
    pub(super) name: String,
    /// `on`, `off` or `noauto`.
    pub(super) canmount: String,
    pub(super) readonly: bool,
    /// It is encrypted, and its key is not there: the dataset that the key is
    /// of, itself or one above.
    pub(super) locked: Option<String>,
    pub(super) compression: String,
    /// Bytes, those of its snapshots and children too.
    pub(super) used: u64,
    /// Bytes.
    pub(super) available: u64,
    /// A path, `legacy` or `none`.
    pub(super) mountpoint: String,
}

/// The answer of `zfs list -o` [`FILESYSTEM_COLUMNS`].
pub(super) fn filesystems(text: &str) -> Result<Vec<Filesystem>, Unparsable> {
    text.lines().map(filesystem).collect()
}

fn filesystem(line: &str) -> Result<Filesystem, Unparsable> {
    let fields: Vec<&str> = line.splitn(9, '\t').collect();
    let [name, canmount, readonly, keystatus, encryption_root, compression, used, available, mountpoint] =
        fields[..]
    else {
        return unparsable(line, "has not the columns of a filesystem");
    };
    let (Ok(used), Ok(available)) = (used.parse(), available.parse()) else {
        return unparsable(line, "has no numbers where its sizes should be");
    };
    Ok(Filesystem {
        name: name.to_owned(),
        canmount: canmount.to_owned(),
        readonly: readonly == "on",
        locked: (keystatus == "unavailable").then(|| encryption_root.to_owned()),
        compression: compression.to_owned(),
        used,
        available,
        mountpoint: mountpoint.to_owned(),
    })
}

/// The answer of `zfs list -o name,userrefs`: the snapshots that are held, each
/// with its dataset.
pub(super) fn held(text: &str) -> Result<Vec<&str>, Unparsable> {
    let mut held = Vec::new();
    for line in text.lines() {
        match line.split_once('\t').map(|(name, count)| (name, count.parse::<u64>())) {
            Some((_, Ok(0))) => {}
            Some((name, Ok(_))) => held.push(name),
            _ => return unparsable(line, "says no number of holds"),
        }
    }
    Ok(held)
}

/// The answer of `zfs holds -H`: the names of the holds by snapshot of this
/// dataset, sorted. Such a name may hold a tab, the date after it does not.
pub(super) fn holds(text: &str, dataset: &str) -> Result<BTreeMap<String, Vec<String>>, Unparsable> {
    let mut holds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let hold = line.strip_prefix(dataset).and_then(|rest| rest.strip_prefix('@')).and_then(|rest| {
            let (snapshot, rest) = rest.split_once('\t')?;
            Some((snapshot, rest.rsplit_once('\t')?.0))
        });
        let Some((snapshot, name)) = hold else { return unparsable(line, "is no snapshot's hold") };
        holds.entry(snapshot.to_owned()).or_default().push(name.to_owned());
    }
    holds.values_mut().for_each(|names| names.sort_unstable());
    Ok(holds)
}

/// The host whose copies a dataset holds; `None` for any other dataset.
pub(super) fn host_of<'a>(name: &'a str, parent: &str) -> Option<&'a str> {
    let child = name.strip_prefix(parent)?.strip_prefix('/')?;
    child.parse::<HostName>().is_ok_and(|host| host.key() == child).then_some(child)
}

/// The answer of `zfs get -o name,property,value,source` [`PROPERTIES`]: the
/// hosts' snapshots, oldest first.
pub(super) fn snapshots(text: &str, parent: &str) -> Result<BTreeMap<String, Vec<Snapshot>>, Unparsable> {
    let mut hosts: BTreeMap<String, Vec<Snapshot>> = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut found = Found::default();
        let (name, _) = rest.split_once('\t').unwrap_or((rest, ""));
        let begin = rest;
        while let Some(record) = Record::next(&mut rest, name)? {
            found.take(&record)?;
        }
        let Some((dataset, snapshot)) = name.split_once('@') else {
            return unparsable(first_line(begin), "is no snapshot's property");
        };
        let snapshot = found.snapshot(snapshot, begin)?;
        if let Some(host) = host_of(dataset, parent) {
            if let Some(list) = hosts.get_mut(host) {
                list.push(snapshot);
            } else {
                hosts.insert(host.to_owned(), vec![snapshot]);
            }
        }
    }
    hosts.values_mut().for_each(|snapshots| sort(snapshots));
    Ok(hosts)
}

/// The answer of `zfs list -o` [`SPACE_COLUMNS`]: bytes by the snapshot's own
/// name.
pub(super) fn space(text: &str) -> Result<BTreeMap<String, u64>, Unparsable> {
    let used = |line: &str| {
        let (name, used) = line.rsplit_once('\t')?;
        let (_, snapshot) = name.split_once('@')?;
        Some((snapshot.to_owned(), used.parse().ok()?))
    };
    text.lines()
        .map(|line| used(line).map_or_else(|| unparsable(line, "does not say what a snapshot uses"), Ok))
        .collect()
}

/// The answer of `zfs get -o name,property,value,source` for datasets: each
/// one's properties, with their values and sources.
pub(super) fn properties(text: &str) -> Result<Datasets, Unparsable> {
    let mut datasets = Datasets::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, _) = rest.split_once('\t').unwrap_or((rest, ""));
        let begin = rest;
        while let Some(record) = Record::next(&mut rest, name)? {
            let properties = datasets.entry(name.to_owned()).or_default();
            properties
                .insert(record.property.to_owned(), (record.value.to_owned(), record.source.to_owned()));
        }
        if begin.len() == rest.len() {
            return unparsable(first_line(begin), "is no dataset's property");
        }
    }
    Ok(datasets)
}

fn first_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

/// One property of one snapshot.
struct Record<'a> {
    line: &'a str,
    property: &'a str,
    value: &'a str,
    source: &'a str,
}

impl<'a> Record<'a> {
    /// The next property of the snapshot `name`; `None` where another begins.
    /// A value that somebody set may hold tabs and line breaks, so a record
    /// ends with the first line that ends in a source.
    fn next(rest: &mut &'a str, name: &str) -> Result<Option<Self>, Unparsable> {
        let Some(fields) = rest.strip_prefix(name).and_then(|fields| fields.strip_prefix('\t')) else {
            return Ok(None);
        };
        let mut end = 0;
        loop {
            end += match fields[end..].find('\n') {
                Some(length) => length,
                None => return unparsable(first_line(rest), "does not end as a property does"),
            };
            let split = fields[..end].split_once('\t').and_then(|(property, value)| {
                let (value, source) = value.rsplit_once('\t')?;
                is_source(source).then_some((property, value, source))
            });
            if let Some((property, value, source)) = split {
                let line = &rest[..name.len() + 1 + end];
                *rest = &fields[end + 1..];
                return Ok(Some(Record { line, property, value, source }));
            }
            end += 1;
        }
    }

    /// The value, if the snapshot itself has it: it inherits its dataset's.
    fn own(&self) -> Option<String> {
        matches!(self.source, "local" | "received").then(|| self.value.to_owned())
    }
}

fn is_source(text: &str) -> bool {
    matches!(text, "-" | "local" | "received" | "default" | "none" | "temporary")
        || text.starts_with("inherited from ")
}

/// What has been said of one snapshot.
#[derive(Default)]
struct Found {
    creation: Option<DateTime<Utc>>,
    held: Option<bool>,
    facts: [Option<Option<String>>; 9],
}

impl Found {
    fn take(&mut self, record: &Record<'_>) -> Result<(), Unparsable> {
        let line = record.line;
        let slot = match record.property {
            "creation" => {
                let time = record.value.parse().ok().and_then(|time| DateTime::from_timestamp(time, 0));
                if time.is_none() || self.creation.is_some() {
                    return unparsable(line, "says no time, or says it twice");
                }
                self.creation = time;
                return Ok(());
            }
            "userrefs" => {
                let count: Option<u64> = record.value.parse().ok();
                if count.is_none() || self.held.is_some() {
                    return unparsable(line, "says no number of holds, or says it twice");
                }
                self.held = count.map(|count| count > 0);
                return Ok(());
            }
            "backup:run" => 0,
            "backup:verdict" => 1,
            "backup:files" => 2,
            "backup:bytes" => 3,
            "backup:duration" => 4,
            "backup:machine" => 5,
            "backup:hostname" => 6,
            "backup:left_out" => 7,
            "backup:clock_agreed" => 8,
            _ => return unparsable(line, "is no property that was asked for"),
        };
        match self.facts[slot].replace(record.own()) {
            None => Ok(()),
            Some(_) => unparsable(line, "says it twice"),
        }
    }

    fn snapshot(self, name: &str, lines: &str) -> Result<Snapshot, Unparsable> {
        let (
            Some(creation),
            Some(held),
            [
                Some(run),
                Some(verdict),
                Some(files),
                Some(bytes),
                Some(duration),
                Some(machine),
                Some(hostname),
                Some(left_out),
                Some(clock_agreed),
            ],
        ) = (self.creation, self.held, self.facts)
        else {
            return unparsable(
                first_line(lines),
                "begins a snapshot that lacks properties that were asked for",
            );
        };
        let number = |fact: Option<String>| fact.and_then(|fact| fact.parse().ok());
        let origin = match (run, verdict.as_deref().map(str::parse)) {
            (Some(run), Some(Ok(verdict))) => Origin::Run(Facts {
                run,
                verdict,
                files: number(files),
                bytes: number(bytes),
                duration: number(duration),
                machine,
                hostname,
                left_out,
                clock_agreed: clock_agreed.as_deref() == Some("true"),
            }),
            (Some(_), _) => {
                tracing::warn!(
                    "the snapshot `{}` is left alone: its `backup:verdict` is missing or unknown",
                    printable(first_line(lines).split('\t').next().unwrap_or_default())
                );
                Origin::Foreign
            }
            (None, _) if is_ancestors(name) => Origin::Ancestor,
            (None, _) => Origin::Foreign,
        };
        let time = name.parse::<SnapshotName>().map_or(creation, |name| name.time());
        Ok(Snapshot { name: name.to_owned(), time, held, origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;
    use std::time::{Duration, Instant};

    /// Lines as `zfs get` prints them, for one snapshot: what is not given is
    /// not set.
    fn get(name: &str, creation: u64, userrefs: u64, set: &[(&str, &str, &str)]) -> String {
        let mut text = format!("{name}\tcreation\t{creation}\t-\n{name}\tuserrefs\t{userrefs}\t-\n");
        let facts = [
            "run",
            "verdict",
            "files",
            "bytes",
            "duration",
            "machine",
            "hostname",
            "left_out",
            "clock_agreed",
        ];
        for property in facts {
            let (_, value, source) =
                set.iter().find(|(key, ..)| *key == property).copied().unwrap_or((property, "-", "-"));
            writeln!(text, "{name}\tbackup:{property}\t{value}\t{source}").unwrap();
        }
        text
    }

    fn one(text: &str) -> Snapshot {
        let mut hosts = snapshots(text, "data").unwrap();
        assert_eq!(hosts.len(), 1, "{hosts:?}");
        let mut list = hosts.remove("vpn").unwrap();
        assert_eq!(list.len(), 1, "{list:?}");
        list.remove(0)
    }

    const OURS: &str = "data/vpn@backup-2026-11-20T020005Z";

    #[test]
    fn a_snapshot_of_ours_has_its_facts_and_the_time_of_its_name() {
        let set = [
            ("run", "r1", "local"),
            ("verdict", "partial", "local"),
            ("files", "10", "local"),
            ("bytes", "4096", "local"),
            ("duration", "12", "local"),
            ("machine", "0123", "local"),
        ];
        let snapshot = one(&get(OURS, 1, 0, &set));
        assert_eq!(snapshot.name, "backup-2026-11-20T020005Z");
        assert_eq!(snapshot.time.to_rfc3339(), "2026-11-20T02:00:05+00:00");
        assert!(!snapshot.held);
        let facts = Facts {
            run: "r1".to_owned(),
            verdict: crate::core::model::snapshot::Verdict::Partial,
            files: Some(10),
            bytes: Some(4096),
            duration: Some(12),
            machine: Some("0123".to_owned()),
            hostname: None,
            left_out: None,
            clock_agreed: false,
        };
        assert_eq!(snapshot.origin, Origin::Run(facts));
    }

    #[test]
    fn only_what_a_snapshot_says_itself_makes_it_ours() {
        let with = |run, verdict| get(OURS, 1, 0, &[("run", "r1", run), ("verdict", "good", verdict)]);
        for (run, verdict, ours, why) in [
            ("local", "local", true, "its own"),
            ("received", "received", true, "sent from another pool together with it"),
            ("inherited from data/vpn", "inherited from data/vpn", false, "the dataset's"),
            ("local", "inherited from data", false, "a verdict that is not its own"),
            ("-", "-", false, "a value that is a hyphen by accident"),
            ("default", "local", false, "nobody set it"),
        ] {
            assert_eq!(one(&with(run, verdict)).is_ours(), ours, "{why}");
        }
        let unknown = get(OURS, 1, 0, &[("run", "r1", "local"), ("verdict", "splendid", "local")]);
        assert_eq!(one(&unknown).origin, Origin::Foreign);
        let figures = get(
            OURS,
            1,
            0,
            &[("run", "r1", "local"), ("verdict", "good", "local"), ("files", "many", "local")],
        );
        assert_eq!(one(&figures).facts().unwrap().files, None);
    }

    #[test]
    fn the_ancestors_snapshots_are_ours_and_dated_by_zfs() {
        let snapshot = one(&get("data/vpn@backup-daily-2024-07-14", 1_721_000_000, 0, &[]));
        assert_eq!(snapshot.origin, Origin::Ancestor);
        assert_eq!(snapshot.time.timestamp(), 1_721_000_000);
    }

    #[test]
    fn every_spelling_of_a_foreign_snapshot_survives() {
        for name in [
            "before 18.04 upgrade",
            "2026-11-20T10:00:00Z",
            "zfs-auto-snap_daily-2026-11-20-0625",
            "-r",
            ".",
            "backup-2026-11-20T02:00:05Z",
        ] {
            let snapshot = one(&get(&format!("data/vpn@{name}"), 7, 1, &[]));
            assert_eq!((snapshot.name.as_str(), snapshot.held), (name, true));
            assert_eq!(snapshot.origin, Origin::Foreign);
            assert_eq!(snapshot.time.timestamp(), 7);
        }
    }

    #[test]
    fn a_value_may_hold_tabs_and_line_breaks() {
        let set = [("run", "a\tb\n\nc\td", "local"), ("verdict", "good", "local")];
        let text = get("data/vpn@x", 1, 0, &[]) + &get(OURS, 2, 0, &set) + &get("data/vpn@y", 3, 0, &[]);
        let hosts = snapshots(&text, "data").unwrap();
        assert_eq!(hosts["vpn"].len(), 3);
        assert_eq!(hosts["vpn"][2].facts().unwrap().run, "a\tb\n\nc\td");
    }

    #[test]
    fn only_the_hosts_own_datasets_count() {
        let text: String = ["data@x", "data/vpn@x", "data/vpn/sub@x", "data/VPN@x", "data/my host@x"]
            .iter()
            .map(|name| get(name, 1, 0, &[]))
            .collect();
        assert_eq!(snapshots(&text, "data").unwrap().into_keys().collect::<Vec<_>>(), ["vpn"]);
        assert!(snapshots("", "data").unwrap().is_empty());
    }

    #[test]
    fn snapshots_are_listed_oldest_first() {
        let text: String = [("b", 3), ("backup-2026-11-20T020005Z", 1), ("a", 3), ("c", 2)]
            .iter()
            .map(|(name, creation)| get(&format!("data/vpn@{name}"), *creation, 0, &[]))
            .collect();
        let names: Vec<String> =
            snapshots(&text, "data").unwrap().remove("vpn").unwrap().into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["c", "a", "b", "backup-2026-11-20T020005Z"]);
    }

    #[test]
    fn what_is_not_understood_is_shown() {
        let good = get(OURS, 1, 0, &[]);
        for (text, shown, why) in [
            ("what?\n".to_owned(), "what?", "no property at all"),
            (good.clone() + "WARNING: x@y\n", "WARNING: x@y", "noise after the last one"),
            (format!("noise\n{good}"), "noise", "noise before the first one"),
            (good.replace("userrefs\t0", "userrefs\tnone"), "userrefs\\tnone", "no number"),
            (good.replace("creation\t1", "creation\tyesterday"), "creation\\tyesterday", "no time"),
            (good.clone() + &good, "creation", "one snapshot twice"),
            (good.replace("backup:machine", "backup:other"), "backup:other", "a property nobody asked for"),
            (good[..good.len() - 4].to_owned(), "backup:clock_agreed", "cut off in mid-line"),
            (good.lines().skip(1).map(|line| format!("{line}\n")).collect(), "userrefs", "one is missing"),
            ("data/vpn\tcreation\t1\t-\n".to_owned(), "data/vpn", "no snapshot"),
        ] {
            let error = snapshots(&text, "data").expect_err(why).to_string();
            assert!(error.contains(shown), "{why}: {error}");
        }
    }

    #[test]
    fn filesystems_are_read_and_what_is_not_one_is_shown() {
        let text = "data\ton\toff\t-\t-\toff\t10\t90\t/data\n\
                    data/vpn\tnoauto\ton\tunavailable\tdata\tzstd\t1\t90\t/mnt/a\tb\n";
        let list = filesystems(text).unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].used, list[0].available, list[0].readonly), (10, 90, false));
        assert_eq!((list[0].locked.as_deref(), list[1].locked.as_deref()), (None, Some("data")));
        assert_eq!(list[1].mountpoint, "/mnt/a\tb");
        assert!(list[1].readonly);
        assert_eq!(list[1].canmount, "noauto");
        for bad in ["data\ton\n", "data\ton\toff\t-\t-\toff\t10G\t90\t/data\n", "\n"] {
            assert!(filesystems(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_space_of_snapshots_is_read_and_what_is_not_one_is_shown() {
        let text = "data/vpn@backup-2026-11-20T020005Z\t4096\ndata/vpn@before 18.04 upgrade\t0\n";
        let space = space(text).unwrap();
        assert_eq!(space["backup-2026-11-20T020005Z"], 4096);
        assert_eq!(space["before 18.04 upgrade"], 0);
        assert_eq!(super::space("").unwrap().len(), 0);
        for bad in ["data/vpn\t1\n", "data/vpn@x\n", "data/vpn@x\t-\n", "data/vpn@x\t4K\n", "\n"] {
            assert!(super::space(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn holds_are_read_and_what_is_not_one_is_shown() {
        let text = "data/vpn@a\tkeep\tFri Nov 20  2:00 2026\ndata/vpn@b c\tz y\tFri Nov 20  2:00 2026\n\
                    data/vpn@b c\t.send-17-1\tFri Nov 20  2:00 2026\ndata/vpn@d\tx\ty\tFri Nov 20  2:00 2026\n";
        let holds = holds(text, "data/vpn").unwrap();
        let expected = [("a", &["keep"][..]), ("b c", &[".send-17-1", "z y"]), ("d", &["x\ty"])];
        assert_eq!(
            holds,
            expected
                .map(|(name, tags)| (name.to_owned(), tags.iter().map(|tag| (*tag).to_owned()).collect()))
                .into()
        );
        for bad in ["data/vpn@a\tkeep\n", "data/mail@a\tkeep\tFri\n", "no holds\n"] {
            assert!(super::holds(bad, "data/vpn").is_err(), "{bad:?}");
        }
        assert_eq!(held("data/vpn@a\t0\ndata/vpn@b c\t2\n").unwrap(), ["data/vpn@b c"]);
        assert!(held("data/vpn@a\tnone\n").is_err());
    }

    #[test]
    fn four_times_as_many_snapshots_take_about_four_times_as_long_to_read() {
        let set = [("run", "20261120T020000Z-4711", "local"), ("verdict", "good", "local")];
        let text = |hosts: u32, days: u64| {
            let mut text = String::new();
            for host in 0..hosts {
                for day in 0..days {
                    text += &get(&format!("data/host{host:03}@snapshot-{day:03}"), day, 0, &set);
                }
            }
            text
        };
        let (few, many) = (text(100, 50), text(200, 100));
        let time = |text: &str, count: usize| {
            let begin = Instant::now();
            let hosts = snapshots(text, "data").unwrap();
            let elapsed = begin.elapsed();
            assert_eq!(hosts.values().map(Vec::len).sum::<usize>(), count);
            elapsed
        };
        // The best of many, in turn: a machine that does something else as well is
        // slow now and then, and not each time.
        let turns: Vec<_> = (0..10).map(|_| (time(&few, 5_000), time(&many, 20_000))).collect();
        let best = |of: fn(&(Duration, Duration)) -> Duration| turns.iter().map(of).min().unwrap();
        let (few, many) = (best(|turn| turn.0), best(|turn| turn.1));
        // As the square of their number, it would be sixteen times.
        assert!(many < few * 9, "{few:?} for 5,000, {many:?} for 20,000");
    }
}
