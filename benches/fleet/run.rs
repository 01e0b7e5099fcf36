//! One row from its beginning to its end: makes the trees, lets the contenders
//! run in turn, and writes down what each run cost.
//!
//! Contenders are interleaved, and who begins changes from run to run. Each
//! begins with all written data on the disk, so that nobody waits for
//! another's. One that fails is left out of the rest of its row.

use crate::contenders::{Contender, Floor, Scene, Target, before, contender, remove};
use crate::dead::{BlackHole, Frozen, HOLE};
use crate::delay::Delay;
use crate::measure::{count_programs, measure};
use crate::record::{Programs, Record, Records, Run};
use crate::rig::{Rig, address, far_address};
use crate::rows::{Part, Phase, Row, Who};
use crate::{machine, trees};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Somebody who takes part in a row.
struct Entry {
    who: Who,
    contender: Box<dyn Contender>,
    failed: bool,
}

/// A row that is being measured.
pub struct Course<'a> {
    rig: &'a mut Rig,
    floor: &'a Floor,
    row: &'a Row,
    records: &'a mut Records,
    sources: PathBuf,
    rounds: u32,
    failures: usize,
}

impl<'a> Course<'a> {
    /// Of a row.
    pub fn new(rig: &'a mut Rig, floor: &'a Floor, row: &'a Row, records: &'a mut Records) -> Self {
        let sources = rig.dir.join("source").join(row.name);
        Course { rig, floor, row, records, sources, rounds: 0, failures: 0 }
    }

    /// Measures the row; how often something failed.
    pub fn run(mut self) -> Result<usize> {
        let row = self.row;
        self.records.forget(row.name);
        let done = self.measure_all();
        // Whatever happened, the next row wants the disk's room.
        remove(&self.rig.dir.join("copies"))?;
        remove(&self.sources)?;
        done?;
        Ok(self.failures)
    }

    fn measure_all(&mut self) -> Result<()> {
        let row = self.row;
        let dead = row.who.contains(&Who::BackupAmongDead);
        self.rig.grow(row.hosts + usize::from(dead))?;
        for number in 0..row.hosts {
            trees::make(&self.source(number), row.files_of(number))?;
        }
        let mut entries = self.entries();
        let packages = self.scene("none", Vec::new()).packages;
        self.records.add(Record::Machine(machine::describe(row.name, &self.rig.dir, &packages)));

        // The hosts come closer while the copies are made that are there before
        // anything is measured.
        let mut delay = self.delay(0)?;
        if row.parts.first().is_none_or(|part| part.phase != Phase::First) {
            for entry in &mut entries {
                self.first_copy(entry);
            }
        }
        drop(delay.take());
        let _delay = self.delay(row.round_trip)?;
        let _hole = if dead { Some(BlackHole::open(self.rig.port)?) } else { None };
        for part in row.parts {
            self.part(part, &mut entries)?;
        }
        Ok(())
    }

    fn delay(&self, round_trip: u64) -> Result<Option<Delay>> {
        let far = self.row.round_trip > 0;
        far.then(|| Delay::start(self.row.hosts, self.rig.port, round_trip)).transpose()
    }

    fn source(&self, number: usize) -> PathBuf {
        self.sources.join(self.row.host(number))
    }

    fn scene(&self, name: &str, targets: Vec<Target>) -> Scene {
        let limit = Duration::from_secs(self.row.limit);
        let scene = Scene::new(self.rig, name, targets, self.row.jobs, limit);
        Scene { bandwidth: self.row.bandwidth, ..scene }
    }

    fn entries(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let with_before = [Who::Backup, Who::BackupBefore, Who::Rsync];
        let all = if before().is_some() { &with_before } else { self.row.who };
        for (number, who) in all.iter().enumerate() {
            let scene = self.scene(&format!("c{number}"), self.targets(*who));
            let begun = contender(*who, scene, self.floor).and_then(|mut contender| {
                contender.begin()?;
                Ok(contender)
            });
            match begun {
                Ok(contender) => entries.push(Entry { who: *who, contender, failed: false }),
                Err(error) => self.fail(*who, Phase::First, 0, &error),
            }
        }
        entries
    }

    /// The hosts that a contender copies.
    fn targets(&self, who: Who) -> Vec<Target> {
        let row = self.row;
        let first = if who == Who::BackupBigAlone { row.hosts - 1 } else { 0 };
        let far = row.round_trip > 0;
        let mut targets: Vec<Target> = (first..row.hosts)
            .map(|number| Target {
                name: row.host(number),
                address: if far { far_address(number) } else { address(number) },
                source: self.source(number),
                alive: true,
            })
            .collect();
        if who == Who::BackupAmongDead {
            for (name, address) in [("dead-frozen", address(row.hosts)), ("dead-hole", HOLE)] {
                let source = self.source(0);
                targets.push(Target { name: name.to_owned(), address, source, alive: false });
            }
        }
        targets
    }

    /// A first copy that is not measured.
    fn first_copy(&mut self, entry: &mut Entry) {
        // The dead are not dead yet; with those that are, this would fail.
        let done = entry.contender.order().and_then(|mut order| {
            order.limit *= 4;
            let cost = measure(&self.rig.dir, &order)?;
            entry.contender.settle(cost.started)
        });
        if let Err(error) = done {
            self.fail(entry.who, Phase::First, 0, &error);
            entry.failed = true;
        }
    }

    fn part(&mut self, part: &Part, entries: &mut [Entry]) -> Result<()> {
        eprintln!("    {}", part.phase.title());
        // Two that hardly differ have to be told apart.
        let runs = if before().is_some() { part.runs * 2 } else { part.runs };
        for run in 0..=runs {
            if part.phase == Phase::Changed {
                for number in 0..self.row.hosts {
                    trees::change(&self.source(number), self.row.files_of(number), self.rounds)?;
                }
                self.rounds += 1;
            }
            // Who begins changes from run to run.
            let count = entries.len().max(1);
            for place in 0..entries.len() {
                let entry = &mut entries[(place + run as usize) % count];
                let once = self.row.once.contains(&entry.who);
                if entry.failed || (once && run != 1) {
                    continue;
                }
                match self.one(part.phase, run, entry) {
                    Ok(run) => {
                        eprintln!("    {:>3}  {:24} {:8.3} s", run.run, run.contender, run.wall);
                        self.records.add(Record::Run(run));
                    }
                    Err(error) => {
                        self.fail(entry.who, part.phase, run, &error);
                        entry.failed = true;
                    }
                }
            }
        }
        if self.row.programs && part.phase == Phase::Unchanged {
            for entry in entries.iter_mut().filter(|entry| !self.row.once.contains(&entry.who)) {
                if !entry.failed {
                    if let Err(error) = self.programs(part.phase, entry) {
                        self.fail(entry.who, part.phase, 0, &error.context("under strace"));
                        entry.failed = true;
                    }
                }
            }
        }
        Ok(())
    }

    /// One run of a contender.
    fn one(&mut self, phase: Phase, number: u32, entry: &mut Entry) -> Result<Run> {
        if phase == Phase::First {
            entry.contender.begin()?;
        }
        let order = entry.contender.order()?;
        let among_dead = entry.who == Who::BackupAmongDead;
        let frozen = if among_dead { Some(Frozen::freeze(self.rig, self.row.hosts)?) } else { None };
        let except: &[usize] = if among_dead { &[self.row.hosts] } else { &[] };
        self.rig.quiet(except)?;
        flush(&self.rig.dir)?;
        let (connections, hosts_cpu) = (self.rig.connections(), self.rig.processor_time());
        let cost = measure(&self.rig.dir, &order)?;
        self.rig.quiet(except)?;
        let connections = self.rig.connections() - connections;
        let hosts_cpu = (self.rig.processor_time() - hosts_cpu).max(0.0);
        drop(frozen);
        let copied = entry.contender.settle(cost.started)?;
        self.rig.quiet(&[])?;
        Ok(Run {
            row: self.row.name.to_owned(),
            phase: phase.name().to_owned(),
            contender: entry.who.name().to_owned(),
            run: number,
            wall: cost.wall,
            cpu: cost.cpu,
            hosts_cpu,
            peak: cost.peak,
            own_peak: cost.own_peak,
            connections,
            left: cost.left,
            copied,
            failed: None,
        })
    }

    /// Counts the programs of a contender, in a run that is not measured.
    fn programs(&mut self, phase: Phase, entry: &mut Entry) -> Result<()> {
        let order = entry.contender.order()?;
        let programs = count_programs(&self.rig.dir, &order)?;
        entry.contender.settle(0.0)?;
        self.records.add(Record::Programs(Programs {
            row: self.row.name.to_owned(),
            phase: phase.name().to_owned(),
            contender: entry.who.name().to_owned(),
            programs,
        }));
        Ok(())
    }

    fn fail(&mut self, who: Who, phase: Phase, number: u32, error: &anyhow::Error) {
        self.failures += 1;
        eprintln!("    {} failed: {error:#}", who.name());
        self.records.add(Record::Run(Run {
            row: self.row.name.to_owned(),
            phase: phase.name().to_owned(),
            contender: who.name().to_owned(),
            run: number,
            failed: Some(self.without_paths(&format!("{error:#}"))),
            ..Run::default()
        }));
    }

    /// What failed, without the folders of this machine.
    fn without_paths(&self, text: &str) -> String {
        let here = self.rig.dir.display().to_string();
        let project = env!("CARGO_MANIFEST_DIR");
        text.replace(&here, "…").replace(project, "…")
    }
}

/// Waits until all that was written is on the disk.
fn flush(dir: &Path) -> Result<()> {
    rustix::fs::syncfs(File::open(dir)?).context("cannot flush the disk")
}

/// Reads what is known, if anything is.
pub fn read(file: &Path) -> Records {
    Records::parse(&fs::read_to_string(file).unwrap_or_default())
}

/// Writes what is known, whole or not at all.
pub fn write(file: &Path, records: &Records) -> Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = file.with_extension("new");
    fs::write(&new, records.text()?)?;
    fs::rename(&new, file).with_context(|| format!("cannot write {}", file.display()))
}
