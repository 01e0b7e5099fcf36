//! `backup prune`: rotation alone, over what is there now.
//!
//! What goes is decided as after a run, with no snapshot of a run's counted in.
//! Each host is locked and asked for its snapshots anew before anything of it
//! is removed: what a run took meanwhile is not missed, and no run is met.

use super::output::{Format, Output, code_of};
use super::progress::Bars;
use super::rotation_report::{Fates, Problem, counted};
use super::session::{self, Common};
use super::signals::Signals;
use crate::app::run::{newest_to_come, removal};
use crate::app::session::{Session, survey};
use crate::core::format::similar::nearest;
use crate::core::format::text::printable;
use crate::core::model::host::HostName;
use crate::core::model::outcome::Severity;
use crate::core::model::settings::Settings;
use crate::core::model::snapshot::Snapshot;
use crate::core::policy::retention::{Fate, Plan};
use crate::core::policy::rotation::Rotation;
use crate::edge::history::{Findings, History, HistoryError, HostRecord};
use crate::edge::inventory::{self, Inventory};
use crate::edge::store::{Removal, Store, StoreError, Survey};
use crate::sys::clock::Clock;
use crate::sys::lock::{HostLock, Runtime};
use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use tracing::{debug, info, warn};

const HELP: &str = "\
Examples:
  backup prune --dry-run
      Show what no retention tier needs any more, and remove nothing.
  backup prune vpn
      Remove it, after a change of `retention` or the release of holds.

A run rotates the snapshots of each host itself, but only if the run was good: as
long as a hook fails, the last copy with a good dump must not be displaced by
copies without one. A host whose last run was not good is therefore skipped,
unless --force is given.

`all`, the default, is every host of the inventory. A host that has left it
keeps everything, unless it is named. A host that is locked by a run is skipped.
The newest good snapshot, held snapshots, and those that `backup` did not take
are never removed.

JSON: {keep: [{host, snapshot, reasons}], remove: [{host, snapshot, reason}]}:
what was done, or would be with --dry-run; and `problems`, a list of
{host, problem}.

Exit status: 0 if everything was removed that should be, 1 if not (a host is
locked by a run, its last run was not good, or the clock is behind), 2 if the
command could not start.";

/// How many runs are looked at for one that had the host.
const PASSED_OVER: usize = 10;

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Hosts: a name in any case, a glob such as 'web*', or `all`.
    #[arg(value_name = "HOST", default_value = "all")]
    hosts: Vec<String>,
    /// Show what would be removed, and remove nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Include hosts whose last run was not good.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    session::run(&arguments.common, &Bars::new(false), async || prune(arguments, clock).await)
}

/// The JSON answer. Fields are only ever added.
#[derive(Debug, Default, Serialize)]
struct Answer {
    #[serde(flatten)]
    fates: Fates,
    /// What stood in the way.
    problems: Vec<Problem>,
}

async fn prune(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let mut signals = Signals::listen()?;
    let session = Session::open(arguments.common.config(), clock)?;
    let ready = async {
        let survey = survey(&session.store).await?;
        let hosts = chosen(&arguments.hosts, &session, &survey).await?;
        anyhow::Ok((survey, hosts))
    };
    let (survey, hosts) = tokio::select! {
        ready = ready => ready?,
        () = signals.next() => bail!("told to stop before anything was removed"),
    };
    let mut pruning = Pruning::new(&session, &survey, arguments)?;
    for host in &hosts {
        tokio::select! {
            () = pruning.host(host) => {}
            () = signals.next() => {
                let why = "told to stop: some of its snapshots may be gone, all others stay until the next rotation";
                pruning.problem(Some(host), why);
                break;
            }
        }
    }
    let answer = pruning.answer;
    let code = code_of(u8::from(!answer.problems.is_empty()), tell(&answer, arguments));
    let (keep, remove) = (answer.fates.keep.len(), answer.fates.remove.len());
    let done = if arguments.dry_run { "would be removed" } else { "removed" };
    info!("{}: {} {done}, {keep} kept", counted(hosts.len(), "host"), counted(remove, "snapshot"));
    Ok(code)
}

fn tell(answer: &Answer, arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = Output::new();
    if arguments.format.json {
        out.json(answer)?;
    } else if arguments.dry_run && !answer.fates.remove.is_empty() {
        out.table(answer.fates.table(arguments.common.verbose))?;
    }
    out.end()
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

/// A rotation under way.
struct Pruning<'a> {
    session: &'a Session,
    survey: &'a Survey,
    /// Where hosts are locked; nowhere for a look.
    runtime: Option<Runtime>,
    /// What is known of the last runs; not asked for where it is of no account.
    history: Result<Option<History>, HistoryError>,
    /// Hosts whose last run was not good are rotated as well.
    force: bool,
    answer: Answer,
}

impl<'a> Pruning<'a> {
    fn new(session: &'a Session, survey: &'a Survey, arguments: &Arguments) -> anyhow::Result<Self> {
        let runtime = match arguments.dry_run {
            true => None,
            false => Some(enter(&session.settings)?),
        };
        let history = History::read(&session.settings.state_dir);
        let force = arguments.force;
        Ok(Pruning { session, survey, runtime, history, force, answer: Answer::default() })
    }

    fn problem(&mut self, host: Option<&HostName>, why: impl Into<String>) {
        let (host, problem) = (host.map(|host| host.spelled().to_owned()), why.into());
        match &host {
            Some(host) => warn!("{host}: {problem}"),
            None => warn!("{problem}"),
        }
        self.answer.problems.push(Problem { host, problem });
    }

    /// Rotates one host.
    async fn host(&mut self, host: &HostName) {
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
        let rotation = Rotation {
            policy: &settings.retention,
            timezone: settings.timezone,
            now: self.session.clock.now(),
            clock_behind: false,
            damage_found,
        };
        let plan = rotation.plan(&snapshots, None);
        plan.decisions.iter().for_each(|decision| debug!("{host}: {decision}"));
        if let Some(newest) = newest_to_come(&snapshots, self.session.clock.now()) {
            let why = format!(
                "nothing was removed: the clock is behind its newest snapshot, `{}` (correct the clock; if it is \
                 right, it was ahead when that snapshot was taken: {})",
                printable(&newest.name),
                removal(&self.session.store, host, &newest.name)
            );
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
            kept = self.remove(host, &plan).await;
        }
        self.tell(host, &plan, &kept);
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
    async fn remove(&mut self, host: &HostName, plan: &Plan) -> BTreeMap<String, String> {
        let names = plan.removals();
        if names.is_empty() {
            return BTreeMap::new();
        }
        let deadline = self.session.settings.transfer.deadline;
        let removing = tokio::time::timeout(deadline, self.session.store.remove(host, &names)).await;
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

    /// Keeps for the answer what became of a host's snapshots.
    fn tell(&mut self, host: &HostName, plan: &Plan, kept: &BTreeMap<String, String>) {
        let fates = &mut self.answer.fates;
        for decision in &plan.decisions {
            if let Some(why) = kept.get(&decision.name) {
                let why = format!("it could not be removed: {}", printable(why));
                fates.stays(host.spelled(), &decision.name, vec![why], false);
                continue;
            }
            fates.add(host.spelled(), decision, None);
            if let (Some(_), Fate::Remove(why)) = (&self.runtime, &decision.fate) {
                info!("{host}: removed {}: {why}", printable(&decision.name));
            }
        }
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
