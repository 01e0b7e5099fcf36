//! The bench proper, as the first process of a namespace of its own: when it
//! ends, the kernel ends every sshd and whatever a contender left.

use crate::contenders::{self, Scene, Target, floor};
use crate::record::Records;
use crate::rig::{Rig, address};
use crate::rows::{Row, row};
use crate::run::{Course, read, write};
use crate::{render, trees};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How this program is told to be the bench proper.
pub const WORD: &str = "internal-inside";

/// `DIR RUNTIME RECORDS ROW…`: measures rows in a folder, and keeps their
/// figures in a file.
pub fn main(mut words: impl Iterator<Item = OsString>) -> Result<u8> {
    let (Some(dir), Some(runtime), Some(file)) = (words.next(), words.next(), words.next()) else {
        bail!("usage: DIR RUNTIME RECORDS ROW…");
    };
    let (dir, runtime, file) = (PathBuf::from(dir), PathBuf::from(runtime), PathBuf::from(file));
    let rows: Vec<&Row> =
        words.map(|name| name.to_str().and_then(row).context("no such row")).collect::<Result<_>>()?;
    let mut rig = Rig::new(&dir, &runtime)?;
    let floor = recorded(&mut rig, &dir)?;
    let mut failures = 0;
    for row in rows {
        let begin = Instant::now();
        eprintln!("{}: {}", row.name, row.title());
        let mut records: Records = read(&file);
        match Course::new(&mut rig, &floor, row, &mut records).run() {
            Ok(count) => failures += count,
            Err(error) => {
                eprintln!("    the row failed: {error:#}");
                failures += 1;
            }
        }
        if contenders::before().is_some() {
            println!("{}", render::before(&records, row));
        } else {
            write(&file, &records)?;
            println!("{}", render::row(&records, row));
        }
        eprintln!("    took {} s\n", begin.elapsed().as_secs());
    }
    Ok(u8::from(failures > 0))
}

/// What `backup` tells rsync, found out with a small host.
fn recorded(rig: &mut Rig, dir: &Path) -> Result<crate::contenders::Floor> {
    rig.grow(1)?;
    let source = dir.join("source/recorded");
    trees::make(&source, 10)?;
    let target = Target { name: "recorded".to_owned(), address: address(0), source, alive: true };
    floor(Scene::new(rig, "recorded", vec![target], 1, Duration::from_secs(60)))
}
