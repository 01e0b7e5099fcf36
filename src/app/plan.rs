//! What a run would do, and nothing done.
//!
//! It is what a run builds too: the hosts and their order, the rules that need no
//! host, the guard's figures, and the rotation with the run's own snapshot counted
//! in. It takes no lock, makes no dataset, keeps no list of hosts and connects to
//! none.

use crate::app::clock::clock_behind;
use crate::app::fleet;
use crate::app::session::{self, Session};
use crate::core::filter::{self, Rule};
use crate::core::format::text::printable;
use crate::core::model::host::{Host, Transport};
use crate::core::model::problem::HostProblem;
use crate::core::model::settings::Settings;
use crate::core::model::snapshot::{Snapshot, baseline};
use crate::core::policy::guard::Guard;
use crate::core::policy::retention::Decision;
use crate::core::policy::rotation::{self, RotationPolicy};
use crate::edge::history::Findings;
use crate::edge::inventory;
use crate::edge::store::AnyStore;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use tracing::warn;

/// What a run would do.
#[derive(Debug)]
pub struct RunPlan {
    /// In the order in which a run would begin them.
    pub hosts: Vec<PlannedHost>,
    /// What stands in the way.
    pub problems: Vec<HostProblem>,
    /// Whether the store could be read.
    pub is_store_known: bool,
}

/// What a run would do with a host. Fields are only ever added.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedHost {
    /// As the inventory spells it.
    pub name: String,
    /// What ssh connects to.
    pub address: String,
    /// `ssh` or `local`.
    pub transport: Transport,
    /// The rules that need no host, the first that matches deciding: `- ` before
    /// a pattern leaves out, `+ ` lets in.
    pub filters: Vec<String>,
    /// The user to log in as.
    pub user: String,
    /// The TCP port of its sshd; null if that is for ssh's configuration to say.
    pub port: Option<u16>,
    /// The directory that is copied.
    pub source: String,
    /// The paths whose files are written in place, if they are there and hold no
    /// hard links; none in a store that does not write in place.
    pub inplace: Vec<String>,
    /// Whether its hooks are run.
    pub hooks: bool,
    /// The snapshot that the guard compares with; null if there is none.
    pub last_good: Option<String>,
    /// How many files that one holds; null where its run did not say.
    pub files: Option<u64>,
    /// How many files may be deleted in the copy. Null if there is no limit, or
    /// nothing to reckon it from: then the files are counted first.
    pub max_deletions: Option<u64>,
    /// With fewer files than this a copy is suspect; null if there is no limit.
    pub fewest_files: Option<u64>,
    /// What a good run would do with its snapshots; `None` if the store cannot say
    /// which there are.
    #[serde(skip)]
    pub rotation: Option<PlannedRotation>,
}

/// What a good run of a host would do with its snapshots.
#[derive(Debug, Clone)]
pub struct PlannedRotation {
    /// What would become of each, oldest first.
    pub decisions: Vec<Decision>,
    /// The one among them that is not there yet.
    pub new: String,
}

/// What a run of the hosts that these words mean would do.
///
/// # Errors
/// A pattern file or the inventory cannot be read, or a word means no host.
pub async fn plan(session: &Session, words: &[String]) -> anyhow::Result<RunPlan> {
    let Session { settings, store, clock } = session;
    let for_all = session::pattern_files(&settings.excludes.files)?;
    let inventory = inventory::look(settings, clock.now(), None).await?;
    inventory.notes.iter().for_each(|note| warn!("{note}"));
    let selection = inventory::select(&inventory, words)?;
    let mut problems: Vec<HostProblem> =
        inventory.problems().map(|why| problem(None, why.to_string())).collect();
    problems.extend(selection.faults.iter().map(|fault| problem(Some(&fault.name), fault.why.to_string())));
    let renamed = selection.hosts.iter().filter_map(|host| inventory.rename_of(&host.name));
    problems.extend(renamed.map(|rename| problem(Some(rename.from.spelled()), rename.problem().to_string())));
    let survey = match session::survey(store).await {
        Ok(survey) => Some(survey),
        Err(error) => {
            problems.push(problem(None, error.to_string()));
            None
        }
    };
    let behind = survey.as_ref().and_then(|survey| clock_behind(survey, clock.now()));
    if let Some(newest) = &behind {
        problems.push(problem(None, newest.consequence("would be")));
    }
    let hosts = fleet::in_order(selection.hosts.into_iter().cloned().collect(), *clock, survey.as_ref());
    let mut planned_hosts = Vec::with_capacity(hosts.len());
    for host in &hosts {
        let before = survey.as_ref().map_or(&[][..], |survey| survey.of(&host.name));
        let roots = survey.as_ref().map_or(&[][..], |survey| &survey.roots);
        let (filters, unfit) = rules(host, &for_all, roots);
        problems.extend(unfit.into_iter().map(|why| problem(Some(host.name.spelled()), why)));
        let mut planned = planned(host, filters, before, settings, clock.now());
        let damage_found = damage_found(session, host, &mut problems);
        if survey.is_some() {
            let rotation = RotationPolicy {
                policy: &settings.retention,
                timezone: settings.timezone,
                now: clock.now(),
                clock_behind: behind.is_some(),
                damage_found,
            };
            let taken = rotation::expected(rotation.now, before);
            let new = taken.name.clone();
            let decisions = rotation.plan(before, Some(taken)).decisions;
            planned.rotation = Some(PlannedRotation { decisions, new });
        }
        planned_hosts.push(planned);
    }
    Ok(RunPlan { hosts: planned_hosts, problems, is_store_known: survey.is_some() })
}

fn problem(host: Option<&str>, problem: String) -> HostProblem {
    HostProblem { host: host.map(str::to_owned), problem }
}

/// Since when a host's copies have damage that is not mended. Where nobody knows,
/// that is a problem, and counts as found now.
fn damage_found(session: &Session, host: &Host, problems: &mut Vec<HostProblem>) -> Option<DateTime<Utc>> {
    let open = Findings::at(&session.settings.state_dir).of(host.name.key());
    open.map(|open| open.since()).unwrap_or_else(|error| {
        problems.push(problem(Some(host.name.spelled()), error.to_string()));
        Some(session.clock.now())
    })
}

/// The rules that need no host, and the patterns that are none.
fn rules(host: &Host, for_all: &[Rule], roots: &[PathBuf]) -> (Vec<String>, Vec<String>) {
    let (mut configured, unfit) = filter::configured(for_all, &host.settings.exclude);
    let source = host.settings.source.as_str();
    if host.settings.transport.is_this_machine() {
        let own =
            roots.iter().filter_map(|root| filter::emptied(root.as_os_str().as_bytes(), source.as_bytes()));
        configured.splice(0..0, own);
    }
    let rules = filter::assemble(&filter::standard(source), &configured, &filter::Selection::default(), &[]);
    let unfit = unfit.into_iter().map(|(pattern, why)| {
        format!("the configured exclude `{}` would not be used: {why}", printable(pattern))
    });
    (rules.iter().map(Rule::to_string).collect(), unfit.collect())
}

fn planned(
    host: &Host,
    filters: Vec<String>,
    before: &[Snapshot],
    settings: &Settings,
    now: DateTime<Utc>,
) -> PlannedHost {
    let guard = Guard { max_delete_percent: settings.transfer.max_delete_percent, accept_deletions: false };
    let last_good = baseline(before, now);
    let files = last_good.and_then(Snapshot::facts).and_then(|facts| facts.files);
    let in_place = AnyStore::describe(&settings.store).writes_in_place;
    let own = &host.settings;
    let is_below = |path: &&String| in_place && filter::from_source(path, &own.source).is_some();
    PlannedHost {
        name: host.name.spelled().to_owned(),
        address: host.address.clone(),
        transport: own.transport,
        filters,
        user: own.user.clone(),
        port: own.port,
        source: own.source.clone(),
        inplace: own.inplace.iter().filter(is_below).cloned().collect(),
        hooks: own.hooks,
        last_good: last_good.map(|snapshot| snapshot.name.clone()),
        files,
        max_deletions: guard.delete_budget(files).filter(|_| in_place),
        fewest_files: guard.fewest_files(files),
        rotation: None,
    }
}
