//! What is written down of a bench: one JSON document a line, one line a
//! measurement. Pure.
//!
//! The figures of a row are taken all from one go: who measures a row again
//! replaces what was known of it, and nothing else.

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// What was measured on.
    Machine(Machine),
    /// One run of a contender.
    Run(Run),
    /// What a contender starts.
    Programs(Programs),
}

/// What was measured on, and with which programs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The row that was measured then.
    pub row: String,
    /// The day, in UTC.
    pub day: String,
    /// What there is to say: a word and its value.
    pub facts: Vec<(String, String)>,
    /// How many processors there are.
    #[serde(default)]
    pub processors: usize,
    /// The load average of a minute when the row began.
    pub load: f64,
}

/// One run of a contender.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The row's name.
    pub row: String,
    /// What was to be done: `first`, `unchanged` or `changed`.
    pub phase: String,
    /// Who did it.
    pub contender: String,
    /// Which run; those of one number are pairs. The warm-up is 0.
    pub run: u32,
    /// Seconds from its start to its end.
    pub wall: f64,
    /// Seconds of processor time of it and of all that it started.
    pub cpu: f64,
    /// Seconds of processor time of the hosts' sshd and of what that started.
    pub hosts_cpu: f64,
    /// Bytes that the largest of its processes had in memory at once.
    pub peak: u64,
    /// The same of the process that was started itself.
    pub own_peak: u64,
    /// ssh connections that the hosts' sshd saw.
    pub connections: u64,
    /// Processes that outlived it and had to be killed.
    pub left: usize,
    /// Seconds from its start until the last host that could be copied was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<f64>,
    /// Why it counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What a contender starts, counted in a run that is not measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Programs {
    /// The row's name.
    pub row: String,
    /// What was to be done.
    pub phase: String,
    /// Who did it.
    pub contender: String,
    /// How many programs were started, its own among them.
    pub programs: u64,
}

impl Record {
    fn row(&self) -> &str {
        match self {
            Record::Machine(machine) => &machine.row,
            Record::Run(run) => &run.row,
            Record::Programs(programs) => &programs.row,
        }
    }
}

/// All that is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Records(Vec<Record>);

impl Records {
    /// Reads lines, leaving out those that an older or newer bench wrote.
    pub fn parse(text: &str) -> Records {
        Records(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// The lines.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        let mut text = String::new();
        for record in &self.0 {
            text.push_str(&serde_json::to_string(record)?);
            text.push('\n');
        }
        Ok(text)
    }

    /// Forgets what is known of a row.
    pub fn forget(&mut self, row: &str) {
        self.0.retain(|record| record.row() != row);
    }

    /// One more.
    pub fn add(&mut self, record: Record) {
        self.0.push(record);
    }

    /// What a row was measured on.
    pub fn machine(&self, row: &str) -> Option<&Machine> {
        self.0.iter().rev().find_map(|record| match record {
            Record::Machine(machine) if machine.row == row => Some(machine),
            _ => None,
        })
    }

    /// A contender's runs that count: neither the warm-up nor those that failed.
    pub fn runs<'a>(
        &'a self,
        row: &'a str,
        phase: &'a str,
        contender: &'a str,
    ) -> impl Iterator<Item = &'a Run> + Clone {
        self.all(row).filter(move |run| {
            run.phase == phase && run.contender == contender && run.run > 0 && run.failed.is_none()
        })
    }

    /// Runs of a row that failed.
    pub fn failures<'a>(&'a self, row: &'a str) -> impl Iterator<Item = &'a Run> {
        self.all(row).filter(|run| run.failed.is_some())
    }

    fn all<'a>(&'a self, row: &'a str) -> impl Iterator<Item = &'a Run> + Clone {
        self.0.iter().filter_map(move |record| match record {
            Record::Run(run) if run.row == row => Some(run),
            _ => None,
        })
    }

    /// How many programs a contender starts.
    pub fn programs(&self, row: &str, phase: &str, contender: &str) -> Option<u64> {
        self.0.iter().find_map(|record| match record {
            Record::Programs(it) if it.row == row && it.phase == phase && it.contender == contender => {
                Some(it.programs)
            }
            _ => None,
        })
    }

    /// What there is of one figure: each run, and its value.
    pub fn values(
        &self,
        row: &str,
        phase: &str,
        contender: &str,
        figure: impl Fn(&Run) -> f64,
    ) -> Vec<(u32, f64)> {
        self.runs(row, phase, contender).map(|run| (run.run, figure(run))).collect()
    }
}
