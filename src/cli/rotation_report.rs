//! What becomes of snapshots, as `backup plan` and `backup prune` tell it.

use crate::core::format::table::{Column, Table};
use crate::core::policy::retention::{Decision, Fate, Reason};
use serde::Serialize;

/// What becomes of the snapshots of many hosts, each list in the order of the
/// hosts, oldest first.
#[derive(Debug, Default, Serialize)]
pub(super) struct Fates {
    /// Those that stay.
    pub(super) keep: Vec<Kept>,
    /// Those that go.
    pub(super) remove: Vec<Removed>,
    /// All of them in one order, for people.
    #[serde(skip)]
    rows: Vec<Row>,
}

/// A snapshot of a host, what becomes of it, and why.
#[derive(Debug)]
struct Row {
    cells: [String; 4],
    goes: bool,
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
        match &decision.fate {
            Fate::Keep(reasons) => {
                let reasons = reasons.iter().map(Reason::to_string).collect();
                self.stays(host, &decision.name, reasons, new == Some(&decision.name));
            }
            Fate::Remove(why) => {
                self.row(host, &decision.name, "removed", &why.to_string());
                let (host, snapshot) = (host.to_owned(), decision.name.clone());
                self.remove.push(Removed { host, snapshot, reason: why.to_string() });
            }
        }
    }

    /// Adds a snapshot that stays, or is `new`.
    pub(super) fn stays(&mut self, host: &str, snapshot: &str, reasons: Vec<String>, new: bool) {
        self.row(host, snapshot, if new { "new" } else { "kept" }, &reasons.join(", "));
        self.keep.push(Kept { host: host.to_owned(), snapshot: snapshot.to_owned(), reasons, new });
    }

    fn row(&mut self, host: &str, snapshot: &str, becomes: &str, why: &str) {
        let cells = [host, snapshot, becomes, why].map(str::to_owned);
        self.rows.push(Row { cells, goes: becomes == "removed" });
    }

    /// A row a snapshot: those that go, and among them the others, if they are
    /// wanted.
    pub(super) fn table(&self, kept_too: bool) -> Table {
        let mut table = Table::new(&["HOST", "SNAPSHOT", "BECOMES", "WHY"].map(Column::Words));
        self.rows.iter().filter(|row| row.goes || kept_too).for_each(|row| table.row(&row.cells));
        table
    }
}
