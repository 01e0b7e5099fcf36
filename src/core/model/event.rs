//! What those hear who are told how the fleet fares, whoever they are.
//!
//! Not known here: who listens, and what they make of it.

use crate::core::model::outcome::{HostReport, Severity};
use crate::core::model::problem::Problem;
use crate::core::model::verification::Verification;
use std::time::Duration;

/// Something that somebody may want to hear of.
#[derive(Debug, Clone)]
pub enum FleetEvent {
    /// A run is done with a host.
    HostDone(HostReport),
    /// A host's newest copy was compared with the host.
    Verified(Verification),
    /// A run of all hosts has ended, or could not begin.
    RunEnded(RunReport),
}

impl FleetEvent {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            FleetEvent::HostDone(report) => report.severity(),
            FleetEvent::Verified(verification) => verification.state().severity(),
            FleetEvent::RunEnded(report) => report.severity(),
        }
    }

    /// Whose it is, as the inventory spells it; `None` if it is no host's.
    pub fn host(&self) -> Option<&str> {
        match self {
            FleetEvent::HostDone(report) => Some(&report.host),
            FleetEvent::Verified(verification) => Some(&verification.host),
            FleetEvent::RunEnded(_) => None,
        }
    }

    /// What is wrong with it, in a line.
    pub fn problem(&self) -> String {
        match self {
            FleetEvent::HostDone(report) => report.problem(),
            FleetEvent::Verified(verification) => verification.summary(),
            FleetEvent::RunEnded(report) => report.summary.clone(),
        }
    }
}

/// What a run of all hosts says beside what it says of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// What is wrong and belongs to no host that is told of by itself.
    pub problems: Vec<Problem>,
    /// How many hosts it had.
    pub hosts: usize,
    /// How many of them were not good.
    pub not_good: usize,
    /// How long it took.
    pub duration: Duration,
    /// What became of it, in a line.
    pub summary: String,
}

impl RunReport {
    /// The worst of its problems.
    pub fn severity(&self) -> Severity {
        self.problems.iter().map(|problem| problem.severity).max().unwrap_or(Severity::Ok)
    }
}
