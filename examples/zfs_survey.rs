//! Measures what `backup` needs to read a pool and to plan what goes, beside
//! the listing itself: `zfs` and `zpool` are programs that print files.
//!
//! Usage: `zfs_survey HOSTS SNAPSHOTS [ROUNDS]`, with so many snapshots a host.
//! It prints one figure a line, the time of the middle one of the rounds: bytes
//! that `zfs` printed; seconds for printing alone; for reading all of it
//! (printing included) and for planning all hosts; for both without the
//! printing; and the most memory that this process ever had after the first
//! round, in bytes. `scripts/bench` runs it for `make bench`.

#[path = "../tests/support/recorded_pool.rs"]
mod recorded_pool;

use backup::core::model::settings::Retention;
use backup::core::model::snapshot::SnapshotName;
use backup::core::policy::retention;
use backup::edge::store::{Store, ZfsStore, zfs::System};
use backup::sys::process::Program;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use recorded_pool::Recorded;
use std::error::Error;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Over how long a host's snapshots are spread.
const SPAN: TimeDelta = TimeDelta::days(5 * 365);

fn main() -> Result<()> {
    let arguments: std::result::Result<Vec<u32>, _> =
        std::env::args().skip(1).map(|word| word.parse()).collect();
    let (hosts, snapshots, rounds) = match arguments.as_deref() {
        Ok([hosts, snapshots]) => (*hosts, *snapshots, 5),
        Ok([hosts, snapshots, rounds]) if *rounds > 0 => (*hosts, *snapshots, *rounds),
        _ => return Err("usage: zfs_survey HOSTS SNAPSHOTS [ROUNDS]".into()),
    };
    let dir = tempfile::tempdir()?;
    let now: DateTime<Utc> = "2026-11-20T03:00:00Z".parse()?;
    let names = (0..hosts).map(|host| (format!("host-{host:04}.example.org"), of_host(now, snapshots)));
    let system = recorded_pool::record(dir.path(), names)?;
    // As `backup` itself runs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&system, now, hosts * snapshots, rounds))?;
    println!("printed-bytes    {}", Path::new(&dir.path().join("zfs-get")).metadata()?.len());
    Ok(())
}

/// A host's snapshots: the ancestor's where there is a day or more between
/// them, and then those of our runs.
fn of_host(now: DateTime<Utc>, count: u32) -> impl Iterator<Item = Recorded> {
    let step = SPAN / i32::try_from(count.max(1)).unwrap_or(i32::MAX);
    (1..=count).rev().map(move |back| {
        let time = now - step * i32::try_from(back).unwrap_or(i32::MAX);
        let ancestors = step >= TimeDelta::days(1) && back > count / 2;
        let text = |number: u32| number.to_string();
        Recorded {
            name: match ancestors {
                true => format!("backup-monthly-{}", time.format("%Y-%m-%d")),
                false => SnapshotName::at(time).to_string(),
            },
            creation: time.timestamp(),
            facts: (!ancestors).then(|| {
                let run = time.format("%Y%m%dT%H%M%SZ-4711").to_string();
                let machine = format!("{:032x}", u128::from(back) * 0x9e37_79b9_7f4a_7c15);
                [run, "good".to_owned(), text(500_000 + back), text(4_000_000_000), text(600), machine]
            }),
        }
    })
}

async fn measure(system: &System, now: DateTime<Utc>, expected: u32, rounds: u32) -> Result<()> {
    let count = |count| NonZeroU32::new(count);
    let policy = Retention { daily: count(7), weekly: count(4), monthly: count(24), yearly: count(5) };
    let (mut surveys, mut plans, mut peak) = (Vec::new(), Vec::new(), None);
    for _ in 0..rounds {
        let begin = Instant::now();
        let survey = ZfsStore::on(system.clone(), "data", 0)?.survey().await?;
        surveys.push(begin.elapsed());
        let begin = Instant::now();
        let planned: Vec<_> = survey
            .hosts
            .values()
            .map(|snapshots| retention::plan(&policy, Tz::Europe__London, now, snapshots))
            .collect();
        plans.push(begin.elapsed());
        let decisions: usize = planned.iter().map(|plan| plan.decisions.len()).sum();
        if decisions != usize::try_from(expected)? {
            return Err(format!("{decisions} snapshots were planned, not {expected}").into());
        }
        // A run asks once, so what later rounds add is none of its.
        if peak.is_none() {
            peak = Some(most_memory()?);
        }
    }
    let mut printing = Vec::new();
    for _ in 0..rounds {
        let begin = Instant::now();
        for (zfs, question) in recorded_pool::questions() {
            let program = Program::new(if zfs { &system.zfs } else { &system.zpool });
            program.args(question.split(' ')).run().await?;
        }
        printing.push(begin.elapsed());
    }
    let (printing, survey, plan) = (middle(printing), middle(surveys), middle(plans));
    let beside = (survey + plan).saturating_sub(printing);
    for (name, time) in [("printing", printing), ("survey", survey), ("plan", plan), ("beside", beside)] {
        println!("{:16} {:.3}", format!("{name}-seconds"), time.as_secs_f64());
    }
    println!("peak-bytes       {}", peak.unwrap_or_default());
    Ok(())
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The most resident memory that this process ever had, in bytes; proc(5)
/// calls it `VmHWM`.
fn most_memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024)
}
