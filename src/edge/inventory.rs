//! Where hosts come from: a source such as NetBox, its last good list, and the static
//! hosts of the configuration.
//!
//! A host that should be backed up and is not must be heard of. So a host that
//! cannot be backed up is a [`UnfitHost`] and not a gap; an answer of the source that
//! is missing, empty or much shorter than the last good one is not believed,
//! and the last good list fills in; and all of that is a warning, which fails
//! the run's exit code. This module does not know how hosts are backed up.

mod departures;
mod file;
mod identities;
mod kept;
mod netbox;
mod resolve;
mod select;
mod source;

pub use departures::{Departure, Departures, departures, follow, rename_listed, retire};
pub use identities::{
    Identities, Rename, Renaming, begin_renaming, cancel_renaming, end_renaming, identities, remember,
};
pub use resolve::forced;
pub use select::{SelectError, SelectedHosts, Unknown, select};

use crate::core::format::text::{counted, human_duration};
use crate::core::model::host::{Host, HostName, Object};
use crate::core::model::outcome::Severity;
use crate::core::model::problem::Problem;
use crate::core::model::settings::Settings;
use chrono::{DateTime, TimeDelta, Utc};
use file::Saved;
use source::{About, Listed, Naming, Source};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

/// The hosts of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Every host that can be backed up, its settings resolved, sorted by
    /// name.
    pub hosts: Vec<Host>,
    /// Every host that should be and cannot be, sorted by name.
    pub faults: Vec<UnfitHost>,
    /// Why the last good list stands in for the source's answer, if it does; fails
    /// the run's exit code, and is critical once that list is older than
    /// `max_age`.
    pub stand_in: Option<Problem>,
    /// Hosts that are called otherwise than their copies, and are backed up as
    /// their copies are called.
    pub renames: Vec<Rename>,
    /// What the source's objects are called now, whatever the names of their copies.
    pub called: BTreeMap<Object, HostName>,
    /// What else makes the list doubtful; any of it fails the run's exit code.
    pub warnings: Vec<Problem>,
    /// What is worth a line in the log, and no more.
    pub notes: Vec<String>,
    /// Whether the source's hosts are missing, so that these are the
    /// configuration's alone. A host that is not here may be listed all the
    /// same; why is among the warnings.
    pub is_partial: bool,
    /// When the source gave the list that these hosts are of; `None` without one.
    pub listed_at: Option<DateTime<Utc>>,
}

impl Inventory {
    /// Everything that makes the list doubtful, whose hosts come from first.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.stand_in.iter().chain(&self.warnings)
    }

    /// What a host is called now, if its copies have a former name.
    pub fn rename_of(&self, name: &HostName) -> Option<&Rename> {
        self.renames.iter().find(|rename| rename.from == *name)
    }

    /// Whether a name that a host's copies are to get is another host's. Copies of
    /// whom nobody lists may be anybody's.
    pub fn is_anothers(&self, identities: &Identities, from: &HostName, to: &HostName) -> bool {
        // The hosts of the configuration are no objects, and differ by name alone.
        let fixed = self.hosts.iter().filter(|host| host.object.is_none()).map(|host| (None, &host.name));
        let objects = self.called.iter().map(|(object, name)| (Some(*object), name));
        let hosts: Vec<(Option<Object>, &HostName)> = objects.chain(fixed).collect();
        let of_copies = identities.object_of(from).filter(|object| self.called.contains_key(object));
        let listed = || hosts.iter().find(|(_, name)| *name == from).map(|(object, _)| *object);
        let Some(own) = of_copies.map(Some).or_else(listed) else { return false };
        hosts.iter().any(|(object, name)| *name == to && (object.is_none() || *object != own))
    }
}

/// A host that cannot be backed up; nobody else will notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfitHost {
    /// The name as the inventory spells it, which may hold anything; empty for
    /// a nameless host.
    pub name: String,
    /// Why not, and what to do. Printable.
    pub why: Problem,
}

/// There are no hosts at all to begin with: why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InventoryError(pub Problem);

/// The inventory, asked once a run. `saved_at` is the time of the run; a good
/// list is kept under it.
///
/// # Errors
/// No host can be known: the source gives no list, none was kept, and no static
/// host is configured.
pub async fn load(settings: &Settings, saved_at: DateTime<Utc>) -> Result<Inventory, InventoryError> {
    ask(settings, saved_at, true, None).await
}

/// The inventory at a moment, for a look at it: nothing is kept, and nothing set
/// aside. The source gets `patience` to answer, if that is shorter than its own
/// timeout; then the last good list has to do.
///
/// # Errors
/// As those of [`load`].
pub async fn look(
    settings: &Settings,
    now: DateTime<Utc>,
    patience: Option<Duration>,
) -> Result<Inventory, InventoryError> {
    ask(settings, now, false, patience).await
}

/// How long the configured source may take for one request; `None` without one.
pub fn patience(settings: &Settings) -> Option<Duration> {
    source::configured(settings).map(|source| source.about().timeout)
}

/// What became of a question to the inventory.
#[derive(Debug)]
pub struct Examination {
    /// As [`look`] gives it.
    pub inventory: Result<Inventory, InventoryError>,
    /// What the source itself said, or why it said nothing; `None` if there is
    /// none.
    pub source: Option<Examined>,
}

/// A source, and what it said.
#[derive(Debug)]
pub struct Examined {
    /// What people call it.
    pub name: &'static str,
    /// Its section in the configuration.
    pub section: &'static str,
    /// Where it is.
    pub place: String,
    /// Its answer, or why there is none.
    pub answer: Result<Answered, Problem>,
}

/// What a source said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// What it accepted, and how many hosts it listed: a sentence without its
    /// subject.
    pub what: String,
    /// What cannot be known of the answer, each with what to do about it.
    pub doubts: Vec<(String, &'static str)>,
    /// The last good list, if there is one.
    pub last: Option<Drift>,
}

/// How a list differs from the last good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drift {
    /// When the last good list was given.
    pub at: DateTime<Utc>,
    /// How many hosts are new.
    pub new: usize,
    /// How many have left.
    pub gone: usize,
}

/// [`look`], with what the source said in detail.
pub async fn examine(settings: &Settings, now: DateTime<Utc>, patience: Duration) -> Examination {
    let mut examined = None;
    let source = source::configured(settings);
    let inventory = question(source, settings, now, false, Some(patience), &mut examined).await;
    Examination { inventory, source: examined }
}

/// The names of hosts as far as they are known without asking anybody: those
/// of the last good list, and those that the configuration lists. Nothing is
/// touched; what cannot be read is not known.
pub fn remembered(settings: &Settings) -> Vec<String> {
    let saved = file::peek(&settings.state_dir).ok().flatten().map(|saved| saved.hosts).unwrap_or_default();
    let identities = identities::identities(&settings.state_dir).unwrap_or_default();
    let resolved = resolve::resolve(settings, Naming::of(settings), saved, &identities);
    let faults = resolved.faults.into_iter().filter_map(|fault| fault.name.parse::<HostName>().ok());
    let hosts = resolved.hosts.into_iter().map(|host| host.name);
    let names = hosts.chain(faults).collect::<std::collections::BTreeSet<HostName>>();
    names.into_iter().map(|name| name.spelled().to_owned()).collect()
}

async fn ask(
    settings: &Settings,
    now: DateTime<Utc>,
    keep: bool,
    patience: Option<Duration>,
) -> Result<Inventory, InventoryError> {
    question(source::configured(settings), settings, now, keep, patience, &mut None).await
}

async fn question(
    source: Option<&impl Source>,
    settings: &Settings,
    now: DateTime<Utc>,
    keep: bool,
    patience: Option<Duration>,
    examined: &mut Option<Examined>,
) -> Result<Inventory, InventoryError> {
    let has_static = settings.hosts.values().any(|own| own.listed);
    let Some(source) = source else {
        if !has_static {
            let remedy = "set `[inventory.netbox]`, or list hosts as `[hosts.NAME]`";
            return Err(InventoryError(Problem::critical("no host is configured", remedy)));
        }
        return Ok(assemble(
            settings,
            Naming::of(settings),
            Decision::default(),
            Vec::new(),
            &Identities::default(),
        ));
    };
    let state_dir = &settings.state_dir;
    let mut warnings = Vec::new();
    let identities = identities::identities(state_dir).unwrap_or_else(|problem| {
        warnings.push(problem);
        Identities::default()
    });
    let about = source.about();
    let (answer, doubts) = asked(source, patience.unwrap_or(Duration::MAX), &mut warnings).await;
    // Who only looks leaves a file that cannot be used where it is.
    let read = if keep { file::read } else { file::peek };
    let saved = read(state_dir).unwrap_or_else(|why| {
        warnings.push(Problem::warning(why, ""));
        None
    });
    let answered = answer.as_ref().map_err(Clone::clone).map(|hosts| Answered {
        what: about.answered.replace("{hosts}", &counted(hosts.len(), "host")),
        doubts,
        last: saved.as_ref().map(|saved| drift(hosts, saved, &identities)),
    });
    *examined = Some(Examined {
        name: about.naming.source,
        section: about.section,
        place: about.place.clone(),
        answer: answered,
    });
    let mut decision = decide(answer, saved, &about, now, &file::path(state_dir), &identities);
    let is_partial = decision.nothing.is_some();
    if let Some(why) = decision.nothing.take() {
        if !has_static {
            let what = warnings.iter().map(|warning| &warning.what).chain([&why.what]);
            let what: Vec<&str> = what.map(String::as_str).collect();
            return Err(InventoryError(Problem { what: what.join("; "), ..why }));
        }
        let what = format!("{}; only the hosts of the configuration are backed up", why.what);
        decision.stand_in = Some(Problem { what, ..why });
    }
    if decision.keep && keep {
        if let Err(e) = file::write(state_dir, now, &decision.hosts) {
            let path = file::path(state_dir);
            warnings.push(Problem::warning(
                format!(
                    "{e}: cannot keep {0}'s list as `{1}`; it will be missing when {0} is down",
                    about.naming.source,
                    path.display()
                ),
                "check `state_dir`",
            ));
        }
    }
    Ok(Inventory { is_partial, ..assemble(settings, about.naming, decision, warnings, &identities) })
}

/// Asks a source for its hosts, and what cannot be known of the answer.
async fn asked(
    source: &impl Source,
    patience: Duration,
    warnings: &mut Vec<Problem>,
) -> (Result<Vec<Listed>, Problem>, Vec<(String, &'static str)>) {
    match tokio::time::timeout(patience, source.list()).await {
        Ok(Ok(listing)) => {
            warnings.extend(listing.warnings.into_iter().map(|what| Problem::warning(what, "")));
            (Ok(listing.hosts), listing.doubts)
        }
        Ok(Err(problem)) => (Err(problem), Vec::new()),
        Err(_) => {
            let (name, limit) = (source.about().naming.source, human_duration(patience));
            let what = format!("{name} did not list its hosts within {limit}");
            (Err(Problem::warning(what, "look at its load, and at the network between")), Vec::new())
        }
    }
}

/// What to make of a source's answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Decision {
    /// The source's hosts for this run.
    hosts: Vec<Listed>,
    /// Whether the hosts are the new good list.
    keep: bool,
    /// When the source gave the list.
    listed_at: Option<DateTime<Utc>>,
    /// Why they are those of the last good list.
    stand_in: Option<Problem>,
    warnings: Vec<Problem>,
    /// Why none of the source's hosts are known, and what to do.
    nothing: Option<Problem>,
}

/// Weighs a source's answer against the last good list.
fn decide(
    answer: Result<Vec<Listed>, Problem>,
    saved: Option<Saved>,
    about: &About<'_>,
    now: DateTime<Utc>,
    path: &Path,
    identities: &Identities,
) -> Decision {
    let source = about.naming.source;
    let saved = saved.filter(|saved| !saved.hosts.is_empty());
    let (fresh, saved) = match (answer, saved) {
        (Err(why), None) => {
            let first = match why.remedy.as_str() {
                "" => format!("get {source} to answer"),
                remedy => remedy.to_owned(),
            };
            let remedy = format!("{first}; or name hosts as `[hosts.NAME]`");
            let what = format!("{}; no earlier list of its hosts was kept", why.what);
            return Decision { nothing: Some(Problem::critical(what, remedy)), ..Decision::default() };
        }
        (Err(why), Some(saved)) => {
            let (severity, age) = age(saved.at, now, about);
            let what = format!(
                "{}; its list of {} is used ({}){age}",
                why.what,
                when(saved.at),
                counted(saved.hosts.len(), "host")
            );
            let stand_in = Some(Problem { severity, what, ..why });
            let listed_at = Some(saved.at);
            return Decision { hosts: saved.hosts, stand_in, listed_at, ..Decision::default() };
        }
        (Ok(fresh), None) if fresh.is_empty() => {
            return Decision { nothing: Some(about.nothing.clone()), ..Decision::default() };
        }
        (Ok(fresh), None) => {
            return Decision { hosts: fresh, keep: true, listed_at: Some(now), ..Decision::default() };
        }
        (Ok(fresh), Some(saved)) => (fresh, saved),
    };
    let roll = Roll::of(&fresh, identities);
    let before = saved.hosts.len();
    let (at, kept_at) = (saved.at, when(saved.at));
    let missing: Vec<Listed> = saved.hosts.into_iter().filter(|machine| !roll.has(machine)).collect();
    let still = before - missing.len();
    let share = usize::from(about.max_shrink_percent);
    if !fresh.is_empty() && still * 100 >= before * share {
        return Decision { hosts: fresh, keep: true, listed_at: Some(now), ..Decision::default() };
    }
    let (severity, age) = age(at, now, about);
    let what = format!(
        "{source} lists only {} of the {} that it listed on {}, which is not believed (`max_shrink_percent` is {share}): \
         the {} missing are backed up as before{age}",
        still,
        counted(before, "host"),
        kept_at,
        missing.len(),
    );
    let remedy = format!(
        "if they are meant to be gone, remove `{}`; if not, look at the token, since one without the right to view \
         a host does not get it",
        path.display()
    );
    let warnings = vec![Problem { severity, what, remedy }];
    // Nor is it believed that one of those has another name now.
    let objects: HashSet<Object> = missing.iter().map(Listed::object).collect();
    let hosts =
        fresh.into_iter().filter(|machine| !objects.contains(&machine.object())).chain(missing).collect();
    Decision { hosts, warnings, listed_at: Some(at), ..Decision::default() }
}

/// How bad it is to go on with a list, and what there is to say of its age.
fn age(at: DateTime<Utc>, now: DateTime<Utc>, about: &About<'_>) -> (Severity, String) {
    match TimeDelta::from_std(about.max_age) {
        Ok(most) if now - at > most => (
            Severity::Critical,
            format!(", which is older than `{}.max_age` ({})", about.section, human_duration(about.max_age)),
        ),
        _ => (Severity::Warning, String::new()),
    }
}

fn drift(hosts: &[Listed], last: &Saved, identities: &Identities) -> Drift {
    let lacks = |list: &[Listed], others: &[Listed]| {
        let roll = Roll::of(list, identities);
        others.iter().filter(|machine| !roll.has(machine)).map(identity).collect::<HashSet<String>>().len()
    };
    Drift { at: last.at, new: lacks(&last.hosts, hosts), gone: lacks(hosts, &last.hosts) }
}

/// Who is in a list. An object that has copies is the same under another name: it
/// was renamed, and goes on as its copies are called. All others are known by name.
struct Roll {
    names: HashSet<String>,
    objects: HashSet<Object>,
}

impl Roll {
    fn of(list: &[Listed], identities: &Identities) -> Self {
        let objects = list.iter().map(Listed::object).filter(|object| identities.has_copies(*object));
        Roll { names: list.iter().map(identity).collect(), objects: objects.collect() }
    }

    fn has(&self, machine: &Listed) -> bool {
        self.objects.contains(&machine.object()) || self.names.contains(&identity(machine))
    }
}

/// What a host is known by from one list to the next.
fn identity(machine: &Listed) -> String {
    match &machine.name {
        Some(name) => name.to_lowercase(),
        // No name has a blank before it that parses; unfit ones may collide
        // with this only to be reported once.
        None => format!(" {} {}", machine.kind, machine.id),
    }
}

fn when(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

fn assemble(
    settings: &Settings,
    naming: Naming<'_>,
    decision: Decision,
    mut warnings: Vec<Problem>,
    identities: &Identities,
) -> Inventory {
    warnings.extend(decision.warnings);
    let resolved = resolve::resolve(settings, naming, decision.hosts, identities);
    let source = naming.source;
    let unused = resolved.unused.iter().map(|name| {
        format!(
            "`[hosts.{name}]` has `listed = false`, and {source} does not list that host: it is not backed up"
        )
    });
    let unlisted = resolved.unlisted.iter().map(|(object, name)| {
        format!(
            "`[hosts.\"{object}\"]` names an object `{name}` that {source} does not list: it is not backed up (correct \
             the number, which is the last part of the object's page in {source}, tag it, or remove the section)"
        )
    });
    let notes = unused.chain(unlisted).collect();
    Inventory {
        hosts: resolved.hosts,
        faults: resolved.faults,
        stand_in: decision.stand_in,
        renames: resolved.renames,
        called: resolved.called,
        warnings,
        notes,
        is_partial: false,
        listed_at: decision.listed_at,
    }
}

#[cfg(test)]
mod tests;
