//! Makes a store as years of nights left it, to measure what looking at it
//! costs: `old_store DIR HOSTS SNAPSHOTS`, with so many snapshots a host.
//!
//! | in DIR | what it is |
//! |---|---|
//! | `directory.toml` | the configuration of a directory store |
//! | `zfs.toml` | the same, of a pool `data`; put `DIR/bin` first in `PATH` |
//! | `state/history.db` | a year of nights, a row a host and night |
//!
//! The last night was a few hours ago, all was good, and the hosts are called
//! `host-0000.example.org` and on; of the first the pool can also tell what it
//! has alone. `DIR/bin/zfs` prints files: what is measured is `backup`, not ZFS.

use backup::core::format::timing::Timings;
use backup::core::model::outcome::{Figures, HostReport, Outcome};
use backup::core::model::snapshot::{SnapshotName, Verdict};
use backup::edge::history::History;
use chrono::{DateTime, TimeDelta, Utc};
use std::error::Error;
use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A `zfs` and a `zpool` that print the file that has their question's name,
/// with `%` for `/`.
const PROGRAM: &str = r#"#!/bin/sh
question=$*
while case $question in */*) ;; *) false ;; esac; do
    question=${question%%/*}%${question#*/}
done
[ -e "$0.answers/$question" ] || { printf 'nobody knows: %s\n' "$*" >&2; exit 2; }
exec cat "$0.answers/$question"
"#;
const PROPERTIES: &str = "creation,userrefs,backup:run,backup:verdict,backup:files,backup:bytes,\
                          backup:duration,backup:machine";
const COLUMNS: &str = "name,canmount,readonly,keystatus,encryptionroot,compression,used,available,mountpoint";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, hosts, snapshots] = arguments.as_slice() else {
        return Err("usage: old_store DIR HOSTS SNAPSHOTS".into());
    };
    let (dir, hosts, snapshots) = (Path::new(dir), hosts.parse::<u32>()?, snapshots.parse::<u32>()?);
    fs::create_dir_all(dir)?;
    let dir = &dir.canonicalize()?;
    let last = now() - TimeDelta::hours(5);
    let names: Vec<String> = (0..hosts).map(|number| format!("host-{number:04}.example.org")).collect();
    directory(dir, &names, last, snapshots)?;
    pool(dir, &names, last, snapshots)?;
    history(dir, &names, last)?;
    configure(dir, &names, "directory", &format!("[store.directory]\npath = {:?}\n", dir.join("store")))?;
    configure(dir, &names, "zfs", "[store.zfs]\ndataset = \"data\"\n")
}

#[expect(clippy::disallowed_methods, reason = "`backup` reads the clock too")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// When the snapshots were taken, oldest first: of every night for a quarter,
/// and of every month before.
fn times(last: DateTime<Utc>, count: u32) -> impl Iterator<Item = DateTime<Utc>> {
    (0..count).rev().map(move |back| {
        let days = if back < 90 { back } else { 90 + (back - 90) * 30 };
        last - TimeDelta::days(days.into())
    })
}

/// What a snapshot says of itself: run, verdict, files, bytes, duration.
fn facts(time: DateTime<Utc>) -> [String; 5] {
    let day = u64::try_from(time.timestamp() / 86_400).unwrap_or_default();
    let run = format!("b32-1/{}/4711", time.format("%Y-%m-%dT%H%M%SZ"));
    [run, "good".to_owned(), (400_000 + day).to_string(), (day * 1_000_000_000).to_string(), "600".to_owned()]
}

fn directory(dir: &Path, names: &[String], last: DateTime<Utc>, snapshots: u32) -> Result<()> {
    for name in names {
        let folder = dir.join("store").join(name).join("snapshots");
        fs::create_dir_all(&folder)?;
        for time in times(last, snapshots) {
            let snapshot = SnapshotName::at(time);
            fs::create_dir(folder.join(snapshot.to_string()))?;
            let [run, verdict, files, bytes, duration] = facts(time);
            let facts = format!(
                "{{\"run\":\"{run}\",\"verdict\":\"{verdict}\",\"files\":{files},\"bytes\":{bytes},\"duration\":{duration}}}\n"
            );
            fs::write(folder.join(format!("{snapshot}.json")), facts)?;
        }
    }
    Ok(())
}

fn pool(dir: &Path, names: &[String], last: DateTime<Utc>, snapshots: u32) -> Result<()> {
    let bin = dir.join("bin");
    for program in ["zfs", "zpool"] {
        fs::create_dir_all(bin.join(format!("{program}.answers")))?;
    }
    fs::write(bin.join("zfs"), PROGRAM)?;
    fs::set_permissions(bin.join("zfs"), Permissions::from_mode(0o755))?;
    symlink("zfs", bin.join("zpool"))?;
    let answer = |program: &str, question: &str| -> Result<BufWriter<File>> {
        let file = bin.join(format!("{program}.answers")).join(question.replace('/', "%"));
        Ok(BufWriter::new(File::create(file)?))
    };
    answer("zpool", "list -Hp -o health data")?.write_all(b"ONLINE\n")?;
    let mut datasets = answer("zfs", &format!("list -Hp -t filesystem -d 1 -o {COLUMNS} data"))?;
    writeln!(datasets, "data\ton\toff\t-\t-\tlz4\t1099511627776\t3298534883328\t/data")?;
    let get = |depth: u32, dataset: &str| {
        format!("get -Hp -t snapshot -d {depth} -o name,property,value,source {PROPERTIES} {dataset}")
    };
    let mut all = answer("zfs", &get(2, "data"))?;
    for (number, name) in names.iter().enumerate() {
        let dataset = format!("data/{name}");
        writeln!(datasets, "{dataset}\ton\toff\t-\t-\tlz4\t5497558138\t3298534883328\t/{dataset}")?;
        let mut text = String::new();
        let (mut used, mut held) = (String::new(), String::new());
        for time in times(last, snapshots) {
            let snapshot = format!("{dataset}@{}", SnapshotName::at(time));
            text += &format!("{snapshot}\tcreation\t{}\t-\n{snapshot}\tuserrefs\t0\t-\n", time.timestamp());
            for (key, value) in ["run", "verdict", "files", "bytes", "duration"].iter().zip(facts(time)) {
                text += &format!("{snapshot}\tbackup:{key}\t{value}\tlocal\n");
            }
            text += &format!("{snapshot}\tbackup:machine\t{:032x}\tlocal\n", number);
            used += &format!("{snapshot}\t{}\n", time.timestamp());
            held += &format!("{snapshot}\t0\n");
        }
        all.write_all(text.as_bytes())?;
        if number == 0 {
            answer("zfs", &get(1, &dataset))?.write_all(text.as_bytes())?;
            let list = |order: &str, columns: &str| format!("list -Hp {order} -o {columns} {dataset}");
            answer("zfs", &list("-t snapshot -d 1", "name,used"))?.write_all(used.as_bytes())?;
            answer("zfs", &list("-d 1 -t snapshot", "name,userrefs"))?.write_all(held.as_bytes())?;
        }
    }
    Ok(())
}

fn history(dir: &Path, names: &[String], last: DateTime<Utc>) -> Result<()> {
    let history = History::open(&dir.join("state"), last)?.history;
    for back in (0..365).rev() {
        let time = last - TimeDelta::days(back);
        for name in names {
            history.record(&facts(time)[0], &report(name, time))?;
        }
    }
    Ok(())
}

fn report(name: &str, time: DateTime<Utc>) -> HostReport {
    HostReport {
        host: name.to_owned(),
        outcome: Outcome::Copied {
            verdict: Verdict::Good,
            why: String::new(),
            snapshot: SnapshotName::at(time),
        },
        notes: Vec::new(),
        started: time - TimeDelta::seconds(600),
        finished: time + TimeDelta::seconds(5),
        figures: Some(Figures { files: 400_000, bytes: 1 << 40, received: 1 << 28, ..Figures::default() }),
        transfers: vec!["good".to_owned()],
        hooks: Vec::new(),
        timings: Timings::default(),
        snapshots: Some(100),
        last_good: Some(time),
    }
}

fn configure(dir: &Path, names: &[String], kind: &str, store: &str) -> Result<()> {
    let mut text = format!(
        "server = \"b32-1\"\ntimezone = \"Europe/London\"\nstate_dir = {:?}\nruntime_dir = {:?}\n\n{store}\n\
         [retention]\ndaily = 7\nweekly = 4\nmonthly = 24\nyearly = 5\n",
        dir.join("state"),
        dir.join("run")
    );
    for name in names {
        text += &format!("\n[hosts.{name:?}]\n");
    }
    Ok(fs::write(dir.join(format!("{kind}.toml")), text)?)
}
