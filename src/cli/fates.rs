//! What becomes of snapshots, as `backup plan` and `backup prune` tell it.

use crate::retention::{Decision, Fate, Reason};
use crate::table::{Column, Table};
use serde::Serialize;

/// What becomes of the snapshots of many hosts, each list in the order of the
/// hosts, oldest first.
#[derive(Debug, Default, Serialize)]
pub(super) struct Fates {
    /// Those that stay.
    pub(super) keep: Vec<Kept>,
    /// Those that go.
    pub(super) remove: Vec<Removed>,
}

/// A snapshot that stays. Fields are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Kept {
    /// Its host, as the inventory spells it.
    pub(super) host: String,
    /// Its name.
    pub(super) snapshot: String,
    /// Why it stays: `daily 2026-11-20`, `held`, `not ours`, …
    pub(super) reasons: Vec<String>,
    /// Whether it is not there yet: the one that the run will take, under a
    /// name of its own time.
    pub(super) new: bool,
}

/// A snapshot that goes. Fields are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Removed {
    /// Its host, as the inventory spells it.
    pub(super) host: String,
    /// Its name.
    pub(super) snapshot: String,
    /// Why it goes.
    pub(super) reason: String,
}

impl Fates {
    /// Adds what was decided of one host's snapshot. `new` is the name of the
    /// one that is not there yet.
    pub(super) fn add(&mut self, host: &str, decision: &Decision, new: Option<&str>) {
        let (host, snapshot) = (host.to_owned(), decision.name.clone());
        match &decision.fate {
            Fate::Keep(reasons) => {
                let reasons = reasons.iter().map(Reason::to_string).collect();
                let new = new == Some(snapshot.as_str());
                self.keep.push(Kept { host, snapshot, reasons, new });
            }
            Fate::Remove(why) => self.remove.push(Removed { host, snapshot, reason: why.to_string() }),
        }
    }

    /// A row a snapshot: those that go, and before them the others, if they are
    /// wanted.
    pub(super) fn table(&self, kept_too: bool) -> Table {
        let words = ["HOST", "SNAPSHOT", "BECOMES", "WHY"].map(Column::Words);
        let mut table = Table::new(&words);
        for kept in self.keep.iter().filter(|_| kept_too) {
            let becomes = if kept.new { "new" } else { "kept" };
            table.row([&kept.host, &kept.snapshot, becomes, &kept.reasons.join(", ")]);
        }
        for gone in &self.remove {
            table.row([&gone.host, &gone.snapshot, "removed", &gone.reason]);
        }
        table
    }
}

/// Something that is wrong now. Fields are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    /// The host that it concerns; null if it concerns all.
    pub(super) host: Option<String>,
    /// What is wrong, and what to try.
    pub(super) problem: String,
}

/// `1 snapshot`, `2 snapshots`.
pub(super) fn counted(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}
