//! How a host is doing, judged from what is known of it: its place in the
//! inventory, its snapshots, its last run, and the time.
//!
//! The judgement is about copies: a host is well if it has a good copy that is
//! fresh and its last run had nothing to say. How old is too old follows from
//! how long a result stays fresh in the monitoring ([`Patience::of`]).
//!
//! Not known here: where any of that is read, and how it is shown.

mod plugin;

pub use plugin::{Line, plugin};

use crate::core::format::text::{counted, printable};
use crate::core::model::outcome::Severity;
use crate::core::model::snapshot::{Growth, Overview, Taken, Verdict};
use crate::core::model::verification::OpenFindings;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// How long a result is fresh where no monitoring says otherwise: a night's,
/// and half of the next.
const FRESH: Duration = Duration::from_secs(36 * 3600);
/// A snapshot may be dated so far after the moment of a look: its run is under
/// way.
pub const AT_ONCE: TimeDelta = TimeDelta::minutes(5);

/// How a host is doing, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has left the inventory, as is meant; what it has stays.
    Retired,
    /// It has a fresh good copy, and its last run had nothing to say.
    Good,
    /// A run works on it at this moment.
    Running,
    /// No run has tried it yet.
    Never,
    /// It has left the inventory, and nobody has said that it is meant.
    Left,
    /// Someone should look in the morning.
    Warning,
    /// Someone should look now.
    Failed,
}

impl State {
    /// All of them, those that need a look last.
    pub const ALL: [State; 7] = [
        State::Retired,
        State::Good,
        State::Running,
        State::Never,
        State::Left,
        State::Warning,
        State::Failed,
    ];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Retired => "retired",
            State::Good => "good",
            State::Running => "running",
            State::Never => "never",
            State::Left => "left",
            State::Warning => "warning",
            State::Failed => "failed",
        })
    }
}

/// How old the last good copy may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// An older one is a warning.
    pub warning: TimeDelta,
    /// An older one is a failure.
    pub failed: TimeDelta,
}

impl Patience {
    /// The limits that go with the monitoring's `icinga.ttl`: when a result is
    /// stale a copy is a warning, and twice as old a failure. Without it, 36
    /// and 72 hours.
    pub fn of(ttl: Option<Duration>) -> Self {
        let warning = TimeDelta::from_std(ttl.unwrap_or(FRESH)).unwrap_or(TimeDelta::MAX);
        Patience { warning, failed: warning.checked_mul(2).unwrap_or(TimeDelta::MAX).min(TimeDelta::MAX) }
    }
}

/// What the inventory says of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InventoryState {
    /// It is to be backed up.
    Listed,
    /// It should be and cannot be: why.
    Unfit(String),
    /// It is not to be backed up any more.
    Gone,
    /// It was listed, and is no more since this time; nobody has said that it is
    /// meant.
    Left(DateTime<Utc>),
    /// There is no inventory to ask.
    Unknown,
}

/// A host's last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    /// When it ended; or when its snapshot was taken, if that is all there is.
    pub time: DateTime<Utc>,
    /// What became of it, in a word.
    pub word: String,
    /// How bad that is.
    pub severity: Severity,
    /// What it had to say; empty if that is nothing.
    pub problem: String,
}

impl LastRun {
    /// The word for people: a good copy beside which something went wrong is not
    /// called good and no more.
    pub fn display(&self) -> String {
        match (self.severity, Verdict::Good.to_string() == self.word) {
            (Severity::Warning | Severity::Critical, true) => format!("{}, but", self.word),
            _ => self.word.clone(),
        }
    }

    /// What a snapshot says of the run that took it.
    fn of(taken: &Taken) -> Self {
        let (severity, problem) = match taken.verdict {
            Verdict::Good => (Severity::Ok, String::new()),
            Verdict::Partial => (Severity::Warning, "partial copy: some files could not be read".to_owned()),
            Verdict::Suspect => (Severity::Critical, "suspect copy: it is not plausible".to_owned()),
        };
        LastRun { time: taken.time, word: taken.verdict.to_string(), severity, problem }
    }
}

/// Everything that is known of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name as the inventory spells it; of one that has left it, as the
    /// store does. Empty for a nameless one.
    pub name: String,
    /// What the inventory says.
    pub listing: InventoryState,
    /// Its snapshots; or why they cannot be read.
    pub copies: Result<Overview, String>,
    /// Its last run, if a history knows it.
    pub last_run: Option<LastRun>,
    /// Since when a run has been working on it.
    pub running: Option<DateTime<Utc>>,
    /// What verifications found wrong that is not mended; or why that cannot be
    /// read.
    pub open: Result<OpenFindings, String>,
}

/// How a host is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its name; see [`Known::name`].
    pub name: String,
    /// In a word.
    pub state: State,
    /// How bad that is. A retired host, and a running one with a fresh good
    /// copy, are as they should be.
    pub severity: Severity,
    /// What is wrong, the worst first; or what else there is to say.
    pub problem: Option<String>,
    /// Its last run, by the history or by its newest snapshot.
    pub last_run: Option<LastRun>,
    /// When its newest good snapshot was taken.
    pub last_good: Option<DateTime<Utc>>,
    /// How old that is; not below zero.
    pub age: Option<TimeDelta>,
    /// Since when a run has been working on it.
    pub running: Option<DateTime<Utc>>,
    /// What the store has of it.
    pub copies: Overview,
    /// How many findings of verifications are not mended; `None` if that is not
    /// known.
    pub open: Option<usize>,
}

impl Status {
    /// Bytes that the files of the newest good copy hold together.
    pub fn bytes(&self) -> Option<u64> {
        self.copies.newest_good.and_then(|taken| taken.bytes)
    }

    /// How fast its good copies grow.
    pub fn growth(&self) -> Option<Growth> {
        self.copies.growth()
    }

    /// Whether it is one that the inventory wants to be backed up.
    pub fn is_expected(&self) -> bool {
        !matches!(self.state, State::Retired | State::Left)
    }
}

/// Judges a host at a moment.
pub fn judge(known: Known, now: DateTime<Utc>, patience: Patience) -> Status {
    let Known { name, listing, copies, last_run, running, open } = known;
    let mut problems: Vec<(Severity, String)> = Vec::new();
    if let InventoryState::Unfit(why) = &listing {
        problems.push((Severity::Critical, format!("cannot be backed up: {why}")));
    }
    let unreadable = copies.as_ref().err().cloned();
    let copies = copies.unwrap_or_default();
    let last_run = later(last_run, copies.newest.as_ref().map(LastRun::of));
    let last_good = copies.newest_good.map(|taken| taken.time);
    let age = last_good.map(|time| (now - time).max(TimeDelta::zero()));
    let nothing = last_run.is_none() && copies.ours == 0;
    let untried = nothing && unreadable.is_none() && listing_allows(&listing);
    match (&unreadable, age) {
        (Some(why), _) => problems.push((Severity::Critical, why.clone())),
        (None, Some(age)) => problems.extend(too_old(age, patience)),
        (None, None) if untried => problems.push((Severity::Warning, "never backed up".to_owned())),
        (None, None) => problems.push((Severity::Critical, "no good copy".to_owned())),
    }
    if let Some(future) = copies.future {
        let text = format!(
            "its newest copy is dated {}, in the future: correct this machine's clock, or remove that snapshot \
             (`backup snapshots {name}` says how)",
            future.format("%Y-%m-%d %H:%M UTC")
        );
        problems.push((Severity::Warning, text));
    }
    match &open {
        Ok(open) if open.is_empty() => {}
        Ok(open) => problems.push((open.severity(), open.summary())),
        Err(why) => problems.push((Severity::Critical, why.clone())),
    }
    // A run that is under way will say itself how it went.
    if let Some(run) = last_run.as_ref().filter(|run| running.is_none() && run.severity > Severity::Ok) {
        let text =
            if run.problem.is_empty() { format!("the last run: {}", run.word) } else { run.problem.clone() };
        problems.push((run.severity, text));
    }
    problems.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
    let worst = problems.first().map_or(Severity::Ok, |(severity, _)| *severity);
    let (state, severity) = match (&listing, running) {
        (InventoryState::Gone, _) => (State::Retired, Severity::Ok),
        (InventoryState::Left(_), _) => (State::Left, Severity::Warning),
        (_, Some(_)) => (State::Running, worst),
        _ if untried => (State::Never, worst),
        _ => match worst {
            Severity::Ok => (State::Good, worst),
            Severity::Warning => (State::Warning, worst),
            Severity::Critical => (State::Failed, worst),
        },
    };
    let what_stays = || what_stays(&copies, unreadable.as_deref(), running.is_some());
    let problem = match (state, &listing) {
        (State::Retired, _) => Some(format!("not in the inventory; {}", what_stays())),
        (State::Left, InventoryState::Left(at)) => Some(format!(
            "left the inventory on {}; list it again, or acknowledge it with `backup retire {}`; {}",
            at.format("%Y-%m-%d"),
            printable(&name),
            what_stays()
        )),
        _ if problems.is_empty() => None,
        _ => Some(problems.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ")),
    };
    let open = open.ok().map(|open| open.each().len());
    Status { name, state, severity, problem, last_run, last_good, age, running, copies, open }
}

/// Whether no run has tried a host only because none was asked to.
fn listing_allows(listing: &InventoryState) -> bool {
    !matches!(listing, InventoryState::Unfit(_))
}

/// The later of what the history says and what the newest snapshot does: a
/// history may have been lost, or be of another machine.
fn later(history: Option<LastRun>, snapshot: Option<LastRun>) -> Option<LastRun> {
    match (history, snapshot) {
        (Some(history), Some(snapshot)) if snapshot.time > history.time => Some(snapshot),
        (history, snapshot) => history.or(snapshot),
    }
}

fn too_old(age: TimeDelta, patience: Patience) -> Option<(Severity, String)> {
    let severity = match age {
        _ if age > patience.failed => Severity::Critical,
        _ if age > patience.warning => Severity::Warning,
        _ => return None,
    };
    Some((severity, format!("last good copy is {} old", human_age(age))))
}

/// What there is of a host that is not backed up any more.
fn what_stays(copies: &Overview, unreadable: Option<&str>, running: bool) -> String {
    let what = match (unreadable, copies.ours + copies.foreign) {
        (Some(why), _) => why,
        (None, 0) => "it has no snapshots",
        (None, 1) => "its snapshot stays",
        (None, _) => "its snapshots stay",
    };
    let running = if running { "; a run works on it at this moment" } else { "" };
    format!("{what}{running}")
}

/// How long ago something was, for a person: `12 minutes`, `3 days`.
pub fn human_age(age: TimeDelta) -> String {
    let (count, unit) = match age.num_minutes() {
        // Short, for a column of its own.
        ..1 => return "seconds".to_owned(),
        minutes @ ..60 => (minutes, "minute"),
        minutes @ ..2880 => (minutes / 60, "hour"),
        minutes => (minutes / 1440, "day"),
    };
    counted(count, unit)
}

/// How many hosts there are of each state, in words: `42 hosts: 40 good, 2
/// failed`.
pub fn counts(statuses: &[Status]) -> String {
    let of = |state: State| statuses.iter().filter(|status| status.state == state).count();
    let words: Vec<String> = State::ALL
        .into_iter()
        .map(|state| (state, of(state)))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {}", state_word(state)))
        .collect();
    match statuses.len() {
        0 => "no hosts".to_owned(),
        count => format!("{}: {}", counted(count, "host"), words.join(", ")),
    }
}

/// A state's name where hosts are counted.
fn state_word(state: State) -> String {
    match state {
        State::Warning => "with a warning".to_owned(),
        State::Never => "never backed up".to_owned(),
        State::Left => "left the inventory".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
