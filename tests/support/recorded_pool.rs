//! A pool `data` as `zfs(8)` and `zpool(8)` print it, in files, and programs
//! that print those files: what a store reads can so be chosen line by line, and
//! costs no more than printing it.

use backup::edge::store::zfs::System;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What the store asks; each answer is good for its question alone.
const HEALTH: &str = "list -Hp -o health data";
const DATASETS: &str = "list -Hp -t filesystem -d 1 -o \
                        name,canmount,readonly,keystatus,encryptionroot,compression,used,available,mountpoint data";
const SNAPSHOTS: &str = "get -Hp -t snapshot -d 2 -o name,property,value,source \
                         creation,userrefs,backup:run,backup:verdict,backup:files,backup:bytes,\
                         backup:duration,backup:machine,backup:hostname,backup:left_out,backup:clock_agreed data";

/// A snapshot as ZFS has it.
pub struct Recorded {
    /// Its name, without the dataset's.
    pub name: String,
    /// When it was taken, in seconds since 1970.
    pub creation: i64,
    /// The run, verdict, files, bytes, duration and machine that it says of
    /// itself; `None` where no run of ours took it.
    pub facts: Option<[String; 6]>,
}

/// Writes into the empty folder `dir` what a pool with these hosts and
/// snapshots prints. Nothing is kept in memory.
pub fn record<I: IntoIterator<Item = Recorded>>(
    dir: &Path,
    hosts: impl IntoIterator<Item = (String, I)>,
) -> io::Result<System> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/recorded-zfs");
    for name in ["zfs", "zpool"] {
        symlink(&program, dir.join(name))?;
    }
    answer(dir, "zpool-list", HEALTH)?.write_all(b"ONLINE\n")?;
    let mut datasets = answer(dir, "zfs-list", DATASETS)?;
    let mut snapshots = answer(dir, "zfs-get", SNAPSHOTS)?;
    writeln!(datasets, "data\ton\toff\t-\t-\tlz4\t1099511627776\t3298534883328\t/data")?;
    for (host, list) in hosts {
        writeln!(datasets, "data/{host}\ton\toff\t-\t-\tlz4\t5497558138\t3298534883328\t/data/{host}")?;
        for snapshot in list {
            let name = format!("data/{host}@{}", snapshot.name);
            writeln!(snapshots, "{name}\tcreation\t{}\t-\n{name}\tuserrefs\t0\t-", snapshot.creation)?;
            for (place, key) in
                ["run", "verdict", "files", "bytes", "duration", "machine"].into_iter().enumerate()
            {
                match &snapshot.facts {
                    Some(facts) => writeln!(snapshots, "{name}\tbackup:{key}\t{}\tlocal", facts[place])?,
                    None => writeln!(snapshots, "{name}\tbackup:{key}\t-\t-")?,
                }
            }
            // Of runs that remembered no more.
            for key in ["hostname", "left_out", "clock_agreed"] {
                writeln!(snapshots, "{name}\tbackup:{key}\t-\t-")?;
            }
        }
    }
    datasets.flush()?;
    snapshots.flush()?;
    Ok(System {
        zfs: dir.join("zfs"),
        zpool: dir.join("zpool"),
        mountinfo: PathBuf::from("/dev/null"),
        kstat: PathBuf::from("/dev/null"),
        ..System::default()
    })
}

/// The questions of a store's survey: `true` for those to `zfs`.
pub fn questions() -> [(bool, &'static str); 3] {
    [(false, HEALTH), (true, DATASETS), (true, SNAPSHOTS)]
}

fn answer(dir: &Path, name: &str, asked: &str) -> io::Result<BufWriter<File>> {
    fs::write(dir.join(format!("{name}.asked")), format!("{asked}\n"))?;
    Ok(BufWriter::new(File::create(dir.join(name))?))
}
