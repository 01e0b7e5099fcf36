//! Everything before the first host of a run: the configuration, the inventory,
//! what the store holds, the history.
//!
//! What is known is kept as it becomes known, so that a run that cannot begin is
//! told of by whatever can be told.

use super::{FleetRun, RunRequest, RunWatch, ending, ending::Listed, history_writer, stopwatch::Stopwatch};
use crate::app::clock::{Newest, clock_behind};
use crate::app::fleet;
use crate::app::run::{self, Run};
use crate::app::session::{pattern_files, set_jobs, settings, survey};
use crate::core::format::text::counted;
use crate::core::format::timing::Phase;
use crate::core::model::host::{Host, HostName};
use crate::core::model::problem::Problem;
use crate::core::model::settings::Settings;
use crate::edge::inventory::{self, UnfitHost};
use crate::edge::notify::{self, Reporter};
use crate::edge::store::AnyStore;
use crate::sys::clock::Clock;
use crate::sys::lock::Runtime;
use anyhow::Context;
use std::collections::BTreeSet;
use std::rc::Rc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// A run on its way to its first host.
pub struct Preparation {
    request: RunRequest,
    clock: Clock,
    stopwatch: Stopwatch,
    reporter: Reporter,
    listed: Listed,
    /// What is wrong beside the hosts; it has been said.
    problems: Vec<Problem>,
}

/// Whom a run is about.
struct Chosen {
    /// The hosts to back up.
    hosts: Vec<Host>,
    /// Those that should be and cannot be.
    faults: Vec<UnfitHost>,
    /// What all hosts of the inventory are called, in small letters.
    names: BTreeSet<String>,
}

impl Preparation {
    /// Of a run of which nothing is known but what is wanted.
    pub fn new(request: RunRequest, clock: Clock) -> Self {
        Preparation {
            request,
            clock,
            stopwatch: Stopwatch::new(clock),
            reporter: Reporter::start(Vec::new()),
            listed: Listed::default(),
            problems: Vec::new(),
        }
    }

    /// Tells of a run of all hosts that could not begin.
    pub async fn not_begun(&self, why: &anyhow::Error) {
        if self.request.means_all() {
            ending::not_begun(&self.reporter, why).await;
        }
    }

    /// Does it. What makes the run doubtful is said.
    ///
    /// # Errors
    /// The run cannot begin: [`Preparation::not_begun`] tells of it. Where words
    /// mean no host, it is a [`super::SelectError`].
    pub async fn execute(&mut self, watch: impl RunWatch + 'static) -> anyhow::Result<FleetRun> {
        self.stopwatch.at(Phase::Configuration);
        let mut settings = settings(self.request.config.as_deref())?;
        set_jobs(&mut settings, self.request.jobs);
        self.reporter = Reporter::start(notify::configured(&settings).map_err(anyhow::Error::msg)?);
        let configured = pattern_files(&settings.excludes.files)?;
        let runtime = runtime(&settings)?;
        watch.doing("asking for the list of hosts");
        self.stopwatch.at(Phase::Inventory);
        let Chosen { hosts, faults, names } = self.choose(&settings).await?;
        let store = AnyStore::open(&settings.store)?;
        watch.doing("reading the store");
        self.stopwatch.at(Phase::Survey);
        let survey = survey(&store).await;
        // Not the run's start: another run may have taken snapshots since.
        let clock_behind = survey.as_ref().ok().and_then(|survey| clock_behind(survey, self.clock.now()));
        self.problem(clock_behind.as_ref().map(|newest| behind(newest, &store)));
        let hosts = fleet::in_order(hosts, self.clock, survey.as_ref().ok());
        watch.expect(hosts.len());
        let start = self.clock.start().format("%Y-%m-%dT%H%M%SZ");
        let id = format!("{}/{start}/{}", settings.server, std::process::id());
        let number = counted(hosts.len() + faults.len(), "host");
        info!(syslog_only = true, "run {id} begins: {number}, {} at once", settings.jobs);
        self.stopwatch.at(Phase::History);
        let (history, past) = history_writer::open(
            settings.state_dir.clone(),
            self.clock,
            id.clone(),
            survey.as_ref().cloned().unwrap_or_default(),
            hosts.iter().map(|host| host.name.clone()).collect(),
        )
        .await;
        let timed = self.stopwatch.clone();
        let run = Rc::new(Run {
            store,
            survey,
            runtime,
            clock: self.clock,
            id,
            configured,
            cancel: CancellationToken::new(),
            accept_deletions: self.request.accept_deletions,
            keep: self.request.keep.clone(),
            clock_behind,
            clock_agreed: std::cell::Cell::default(),
            held: std::cell::RefCell::default(),
            names,
            past,
            fresh: run::FRESH,
            watch: Box::new(move |host, event| {
                timed.heard(host, event);
                watch.heard(host, event);
            }),
            settings,
        });
        Ok(FleetRun {
            request: self.request.clone(),
            run,
            hosts,
            faults,
            history,
            reporter: std::mem::replace(&mut self.reporter, Reporter::start(Vec::new())),
            listed: std::mem::take(&mut self.listed),
            problems: std::mem::take(&mut self.problems),
            stopwatch: self.stopwatch.clone(),
        })
    }

    /// Finds out whom the run is about.
    async fn choose(&mut self, settings: &Settings) -> anyhow::Result<Chosen> {
        let words = &self.request.hosts;
        if self.request.force {
            let names: Result<BTreeSet<HostName>, _> = words.iter().map(|name| name.parse()).collect();
            let hosts = names?.into_iter().map(|name| inventory::forced(settings, name)).collect();
            return Ok(self.checked(Chosen { hosts, faults: Vec::new(), names: BTreeSet::new() }));
        }
        let inventory = inventory::load(settings, self.clock.start()).await?;
        // Said before a name is looked for: an old list may be why it is not there.
        self.problem(inventory.problems().cloned());
        let (departures, unkept) = inventory::follow(&settings.state_dir, &inventory, self.clock.start());
        let left = departures.problem().filter(|_| self.request.means_all());
        self.problem(unkept.into_iter().chain(left));
        let (at, renames) = (inventory.listed_at, inventory.renames.clone());
        self.listed = Listed { at, left: departures.left.into_keys().collect(), renames };
        inventory.notes.iter().for_each(|note| warn!("{note}"));
        let selection = inventory::select(&inventory, &self.request.hosts)?;
        let hosts = selection.hosts.into_iter().cloned().collect();
        let faults = selection.faults.into_iter().cloned().collect();
        let names = inventory.hosts.iter().map(|host| host.name.key().to_owned()).collect();
        Ok(self.checked(Chosen { hosts, faults, names }))
    }

    /// Says what is accepted of many hosts at once.
    fn checked(&self, chosen: Chosen) -> Chosen {
        let count = chosen.hosts.len();
        if self.request.accept_deletions && count > 1 {
            warn!("`--accept-deletions`: all {count} hosts are accepted as they are, whatever was deleted");
        }
        chosen
    }

    /// Says what is wrong, and keeps it.
    fn problem(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            warn!("{problem}");
            self.problems.push(problem);
        }
    }
}

/// The runtime directory, cleaned up after runs that were killed.
fn runtime(settings: &Settings) -> anyhow::Result<Runtime> {
    let (runtime, swept) = Runtime::enter(&settings.runtime_dir)
        .context("the runtime directory is not usable (run as root, and check `runtime_dir`)")?;
    if swept > 0 {
        warn!("cleaned up after {swept} killed run(s)");
    }
    if !rustix::process::geteuid().is_root() {
        warn!(
            "not running as root: owners, devices and some attributes of files cannot be kept in the copies"
        );
    }
    Ok(runtime)
}

/// What there is to say of a clock that stands before the newest snapshot.
fn behind(newest: &Newest, store: &AnyStore) -> Problem {
    Problem::warning(newest.consequence("is"), newest.remedy(store))
}
