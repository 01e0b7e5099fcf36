//! Makes what `scripts/bench-tools` measures the operator's commands on: a
//! directory store that has the names of snapshots and their facts, but
//! nothing in its trees; the same as `zfs` would print it; and a history with
//! a run a night.
//!
//! Usage: `a_year STORE STATE ANSWERS HOSTS SNAPSHOTS NIGHTS`. The newest
//! snapshot of every host is of now; hosts are `host-000` and so on.

use backup::core::model::snapshot::{Facts, Origin, Snapshot, SnapshotName, Verdict};
use backup::edge::history::History;
use chrono::{DateTime, TimeDelta, Utc};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [store, state, answers, hosts, snapshots, nights] = words.as_slice() else {
        return Err("usage: a_year STORE STATE ANSWERS HOSTS SNAPSHOTS NIGHTS".into());
    };
    let (hosts, snapshots, nights) = (hosts.parse()?, snapshots.parse()?, nights.parse()?);
    #[expect(clippy::disallowed_methods, reason = "the commands that are measured read the clock as well")]
    let now = Utc::now();
    fill_store(Path::new(store), hosts, snapshots, now)?;
    fill_answers(&PathBuf::from(answers), hosts, snapshots, now)?;
    fill_history(Path::new(state), hosts, nights, now)
}

fn host(number: u32) -> String {
    format!("host-{number:03}")
}

/// A host's snapshots, one a night, oldest first.
fn of_host(number: u32, count: u32, now: DateTime<Utc>) -> impl Iterator<Item = Snapshot> {
    (0..count).rev().map(move |back| {
        let name = SnapshotName::at(now - TimeDelta::days(back.into()) - TimeDelta::minutes(number.into()));
        let facts = Facts {
            run: format!("bench/{back}/1"),
            verdict: Verdict::Good,
            files: Some(100_000 + u64::from(count - back)),
            bytes: Some(10_000_000_000 + 20_000_000 * u64::from(count - back)),
            duration: Some(60 + u64::from(number)),
            machine: Some("0123456789abcdef0123456789abcdef".to_owned()),
            hostname: None,
            left_out: None,
            clock_agreed: false,
        };
        Snapshot { name: name.to_string(), time: name.time(), held: back == 50, origin: Origin::Run(facts) }
    })
}

fn fill_store(store: &Path, hosts: u32, snapshots: u32, now: DateTime<Utc>) -> Result<()> {
    for number in 0..hosts {
        let place = store.join(host(number)).join("snapshots");
        for snapshot in of_host(number, snapshots, now) {
            fs::create_dir_all(place.join(&snapshot.name))?;
            fs::write(place.join(format!("{}.json", snapshot.name)), serde_json::to_vec(&snapshot.facts())?)?;
            if snapshot.held {
                fs::write(place.join(format!("{}.hold", snapshot.name)), "before-upgrade\n")?;
            }
        }
    }
    Ok(())
}

/// What `zfs` prints of a pool that holds the same.
fn fill_answers(answers: &Path, hosts: u32, snapshots: u32, now: DateTime<Utc>) -> Result<()> {
    fs::create_dir_all(answers)?;
    let answer = |name: &str| File::create(answers.join(name)).map(BufWriter::new);
    let (mut filesystems, mut all) = (answer("filesystems")?, answer("snapshots")?);
    let (mut first, mut space) = (answer("snapshots-of-host-000")?, answer("space-of-host-000")?);
    writeln!(filesystems, "data\ton\toff\t-\t-\tlz4\t1099511627776\t3298534883328\t/data")?;
    for number in 0..hosts {
        let host = host(number);
        writeln!(filesystems, "data/{host}\ton\toff\t-\t-\tlz4\t5497558138\t3298534883328\t/data/{host}")?;
        for snapshot in of_host(number, snapshots, now) {
            let name = format!("data/{host}@{}", snapshot.name);
            let facts = snapshot.facts().ok_or("a snapshot without facts")?;
            let text = format!(
                "{name}\tcreation\t{}\t-\n{name}\tuserrefs\t{}\t-\n{name}\tbackup:run\t{}\tlocal\n\
                 {name}\tbackup:verdict\tgood\tlocal\n{name}\tbackup:files\t{}\tlocal\n\
                 {name}\tbackup:bytes\t{}\tlocal\n{name}\tbackup:duration\t{}\tlocal\n\
                 {name}\tbackup:machine\t{}\tlocal\n",
                snapshot.time.timestamp(),
                u8::from(snapshot.held),
                facts.run,
                facts.files.unwrap_or_default(),
                facts.bytes.unwrap_or_default(),
                facts.duration.unwrap_or_default(),
                facts.machine.as_deref().unwrap_or_default(),
            );
            all.write_all(text.as_bytes())?;
            if number == 0 {
                first.write_all(text.as_bytes())?;
                writeln!(space, "{name}\t20000000")?;
            }
        }
    }
    for mut file in [filesystems, all, first, space] {
        file.flush()?;
    }
    Ok(())
}

fn fill_history(state: &Path, hosts: u32, nights: u32, now: DateTime<Utc>) -> Result<()> {
    let opened = History::open(state, now)?;
    for number in 0..hosts {
        let nights: Vec<Snapshot> = of_host(number, nights, now).collect();
        let host = host(number);
        opened.history.rebuild(nights.iter().map(|snapshot| (host.as_str(), snapshot)))?;
    }
    Ok(())
}
