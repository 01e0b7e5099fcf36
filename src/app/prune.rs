//! Rotation alone, over what is there now.
//!
//! What goes is decided as after a run, with no snapshot of a run's counted in.
//! Each host is locked and asked for its snapshots anew before anything of it
//! is removed: what a run took meanwhile is not missed, and no run is met.

use crate::app::clock::{kept_all_of, newest_to_come};
use crate::app::session::{Session, survey};
use crate::core::format::similar::nearest;
use crate::core::format::text::printable;
use crate::core::model::host::HostName;
use crate::core::model::outcome::Severity;
use crate::core::model::problem::HostProblem;
use crate::core::model::settings::Settings;
use crate::core::model::snapshot::Snapshot;
use crate::core::policy::retention::{Decision, Fate, Plan};
use crate::core::policy::rotation::RotationPolicy;
use crate::edge::history::{Findings, History, HistoryError, HostRecord};
use crate::edge::inventory::{self, Inventory};
use crate::edge::store::{Removal, Store, StoreError, Survey};
use crate::sys::lock::{HostLock, Runtime};
use anyhow::{Context, anyhow};
use std::collections::BTreeMap;
use tracing::{debug, info, warn};

/// How many runs are looked at for one that had the host.
const PASSED_OVER: usize = 10;

/// How a rotation is to be done.
#[derive(Debug, Clone, Copy)]
pub struct PruneOptions {
    /// Only look, and remove nothing.
    pub dry_run: bool,
    /// Hosts whose last run was not good are rotated as well.
    pub force: bool,
}

/// What the store holds, and the hosts that the words mean, each once, sorted.
///
/// # Errors
/// The store or the inventory cannot be read, or a word means no host.
pub async fn prepare(session: &Session, words: &[String]) -> anyhow::Result<(Survey, Vec<HostName>)> {
    let survey = survey(&session.store).await?;
    let hosts = chosen(words, session, &survey).await?;
    Ok((survey, hosts))
}

/// The hosts that the words mean, each once, sorted. A name that the store
/// knows needs no inventory: so a host that has left it can be named too, and a
/// NetBox that is down keeps nobody from it.
async fn chosen(words: &[String], session: &Session, survey: &Survey) -> anyhow::Result<Vec<HostName>> {
    let (mut hosts, mut others) = (BTreeMap::new(), Vec::new());
    for word in words {
        match word.parse::<HostName>() {
            Ok(name) if survey.hosts.contains_key(name.key()) => {
                hosts.insert(name.key().to_owned(), name);
            }
            _ => others.push(word.clone()),
        }
    }
    if !others.is_empty() {
        let inventory = inventory::look(&session.settings, session.clock.now(), None).await?;
        inventory.problems().for_each(|warning| warn!("{warning}"));
        let selection = inventory::select(&inventory, &others)
            .map_err(|error| anyhow!("{error}{}", retired(&others, &inventory, survey)))?;
        for host in selection.hosts {
            hosts.insert(host.name.key().to_owned(), host.name.clone());
        }
    }
    Ok(hosts.into_values().collect())
}

/// The host that has left the inventory and may have been meant.
fn retired(words: &[String], inventory: &Inventory, survey: &Survey) -> String {
    let left = || {
        let is_listed = |key: &str| inventory.hosts.iter().any(|host| host.name.key() == key);
        survey.hosts.keys().map(String::as_str).filter(move |key| !is_listed(key))
    };
    let near = words.iter().find_map(|word| nearest(&word.to_lowercase(), left()));
    near.map_or_else(String::new, |near| format!("; the store still holds snapshots of `{near}`"))
}

/// What a rotation did, or would do.
#[derive(Debug, Default)]
pub struct PruneReport {
    /// Each host whose snapshots were decided about, in the order of the hosts.
    pub hosts: Vec<HostRotation>,
    /// What stood in the way.
    pub problems: Vec<HostProblem>,
}

/// What became of one host's snapshots, or would become.
#[derive(Debug)]
pub struct HostRotation {
    /// Whose they are.
    pub host: HostName,
    /// What was decided of each, oldest first.
    pub decisions: Vec<Decision>,
    /// Those that were to go and stay all the same, each with the reason.
    pub kept: BTreeMap<String, String>,
}

/// A rotation under way.
pub struct Pruning<'a> {
    session: &'a Session,
    survey: &'a Survey,
    /// Where hosts are locked; nowhere for a look.
    runtime: Option<Runtime>,
    /// What is known of the last runs; not asked for where it is of no account.
    history: Result<Option<History>, HistoryError>,
    /// Hosts whose last run was not good are rotated as well.
    force: bool,
    report: PruneReport,
}

impl<'a> Pruning<'a> {
    /// A rotation over what `survey` found.
    ///
    /// # Errors
    /// Hosts cannot be locked.
    pub fn new(session: &'a Session, survey: &'a Survey, how: PruneOptions) -> anyhow::Result<Self> {
        let runtime = match how.dry_run {
            true => None,
            false => Some(enter(&session.settings)?),
        };
        let history = History::read(&session.settings.state_dir);
        Ok(Pruning { session, survey, runtime, history, force: how.force, report: PruneReport::default() })
    }

    /// What was done, or would be.
    pub fn report(self) -> PruneReport {
        self.report
    }

    /// Notes that the rotation was told to stop while it worked on a host.
    pub fn stopped_at(&mut self, host: &HostName) {
        let why = "told to stop: some of its snapshots may be gone, all others stay until the next rotation";
        self.problem(Some(host), why);
    }

    fn problem(&mut self, host: Option<&HostName>, why: impl Into<String>) {
        let (host, problem) = (host.map(|host| host.spelled().to_owned()), why.into());
        match &host {
            Some(host) => warn!("{host}: {problem}"),
            None => warn!("{problem}"),
        }
        self.report.problems.push(HostProblem { host, problem });
    }

    /// Rotates one host.
    pub async fn host(&mut self, host: &HostName) {
        let lock = match self.lock(host).await {
            Ok(lock) => lock,
            Err(why) => return self.problem(Some(host), why),
        };
        let snapshots = match self.snapshots(host).await {
            Ok(snapshots) => snapshots,
            Err(error) => return self.problem(Some(host), format!("nothing was removed: {error}")),
        };
        let settings = &self.session.settings;
        let damage_found = match Findings::at(&settings.state_dir).of(host.key()) {
            Ok(open) => open.since(),
            Err(error) => return self.problem(Some(host), format!("nothing was removed: {error}")),
        };
        let rotation = RotationPolicy {
            policy: &settings.retention,
            timezone: settings.timezone,
            now: self.session.clock.now(),
            clock_behind: false,
            damage_found,
        };
        let plan = rotation.plan(&snapshots, None);
        plan.decisions.iter().for_each(|decision| debug!("{host}: {decision}"));
        if let Some(newest) = newest_to_come(&snapshots, self.session.clock.now()) {
            let why = kept_all_of(&self.session.store, host, newest);
            self.problem(Some(host), why);
        }
        let why = if plan.removals().is_empty() { None } else { self.not_good(host, &snapshots) };
        if let Some(why) = why {
            let why = format!(
                "nothing was removed: {why} (a good run removes what no tier needs; \
                 `--force` removes it now)"
            );
            return self.problem(Some(host), why);
        }
        let mut kept = BTreeMap::new();
        if lock.is_some() {
            kept = self.remove(host, &snapshots, &plan).await;
        }
        self.conclude(host, plan, kept);
    }

    /// Why the host's last run was not good, if it was not. What the history
    /// does not know, the snapshots tell.
    fn not_good(&self, host: &HostName, snapshots: &[Snapshot]) -> Option<String> {
        if self.force {
            return None;
        }
        let last = match self.last_run(host) {
            Ok(last) => last,
            // Its hooks may have failed for weeks.
            Err(error) => return Some(format!("cannot tell how its last run went: {error}")),
        };
        // One that is dated in the future is not of the last run.
        let now = self.session.clock.now();
        let newest = snapshots.iter().rev().find(|snapshot| snapshot.is_ours() && snapshot.time <= now);
        match (last, newest) {
            // Also one that could not be written into the history.
            (last, Some(newest))
                if !newest.is_good() && last.as_ref().is_none_or(|run| run.finished < newest.time) =>
            {
                Some(format!(
                    "its last run was not good: {} is {}",
                    printable(&newest.name),
                    newest.verdict()?
                ))
            }
            (Some(run), _) if run.severity != Severity::Ok => {
                Some(format!("its last run was not good: {}", printable(&run.summary)))
            }
            _ => None,
        }
    }

    /// The host's last run that the history knows of.
    fn last_run(&self, host: &HostName) -> Result<Option<HostRecord>, HistoryError> {
        let history = self.history.as_ref().map_err(HistoryError::clone)?;
        let runs = history.as_ref().map_or(Ok(Vec::new()), |history| history.runs(host, PASSED_OVER))?;
        // One that found the host taken says nothing of it.
        Ok(runs.into_iter().find(|run| run.word != "skipped"))
    }

    /// The host's lock; `None` for a look.
    async fn lock(&self, host: &HostName) -> Result<Option<HostLock>, String> {
        let Some(runtime) = &self.runtime else { return Ok(None) };
        let lock = runtime.lock_host(host).await;
        lock.map(Some).map_err(|error| format!("nothing was removed: {error}"))
    }

    /// What is there now; for a look, what was there a moment ago.
    async fn snapshots(&self, host: &HostName) -> Result<Vec<Snapshot>, StoreError> {
        match self.runtime {
            None => Ok(self.survey.of(host).to_vec()),
            Some(_) => Ok(self.session.store.snapshots(host).await?.unwrap_or_default()),
        }
    }

    /// Removes what the plan says, and gives what stays all the same, each with
    /// the reason.
    async fn remove(
        &mut self,
        host: &HostName,
        listed: &[Snapshot],
        plan: &Plan,
    ) -> BTreeMap<String, String> {
        let names = plan.removals();
        if names.is_empty() {
            return BTreeMap::new();
        }
        let deadline = self.session.settings.transfer.deadline;
        let removing = tokio::time::timeout(deadline, self.session.store.remove(host, listed, &names)).await;
        let removed = removing.unwrap_or_else(|_| {
            Err(StoreError::new("the store was not done within `transfer.deadline`")
                .hint("does its disk hang, or is it too slow for so many files?"))
        });
        let kept: BTreeMap<String, String> = match removed {
            Ok(Removal { kept, remains, .. }) => {
                if let Some(remains) = remains {
                    self.problem(Some(host), remains);
                }
                kept.into_iter().map(|(name, why)| (name, why.to_string())).collect()
            }
            Err(error) => {
                let all = names.iter().map(|name| (name.clone(), error.to_string()));
                self.problem(Some(host), format!("old snapshots could not be removed: {error}"));
                return all.collect();
            }
        };
        for (name, why) in &kept {
            let (name, why) = (printable(name), printable(why));
            self.problem(Some(host), format!("{name} could not be removed: {why}"));
        }
        kept
    }

    /// Keeps for the report what became of a host's snapshots.
    fn conclude(&mut self, host: &HostName, plan: Plan, kept: BTreeMap<String, String>) {
        let gone = plan.decisions.iter().filter(|decision| !kept.contains_key(&decision.name));
        for decision in gone.filter(|_| self.runtime.is_some()) {
            if let Fate::Remove(why) = &decision.fate {
                info!("{host}: removed {}: {why}", printable(&decision.name));
            }
        }
        self.report.hosts.push(HostRotation { host: host.clone(), decisions: plan.decisions, kept });
    }
}

fn enter(settings: &Settings) -> anyhow::Result<Runtime> {
    let (runtime, swept) = Runtime::enter(&settings.runtime_dir)
        .context("the runtime directory is not usable (run as root, and check `runtime_dir`)")?;
    if swept > 0 {
        warn!("cleaned up after {swept} killed run(s)");
    }
    Ok(runtime)
}
