//! Everything that a run needs, looked at before it is needed.
//!
//! Each section is a list of findings, and each finding says what to do. No
//! hook is run, nothing is copied, nobody is told of a result. Where somebody is
//! there to say which host keys to trust, files of known hosts are added to; and
//! nothing else is written but what a connection needs in the runtime directory.

mod hosts;
mod local;
mod services;
mod trust;

pub use hosts::{HostLooked, NotCopied};
pub use trust::Stranger;

use crate::app::admission::Turn;
use crate::app::clock::clock_behind;
use crate::app::fleet::{self, Unfinished};
use crate::app::session::set_jobs;
use crate::core::format::text::counted;
use crate::core::model::finding::{CheckFinding, CheckTally, Section};
use crate::core::model::host::{Host, HostName, Transport};
use crate::core::model::outcome::Severity;
use crate::core::model::problem::Problem;
use crate::core::model::settings::Settings;
use crate::core::policy::growth;
use crate::edge::config;
use crate::edge::inventory::{self, Inventory};
use crate::edge::store::{AnyStore, Inspection, Store, StoreError};
use crate::sys::clock::Clock;
use crate::sys::logging;
use crate::sys::tools::{self, Needs};
use std::future::Future;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long a store may take to be looked at.
const STORE_LIMIT: Duration = Duration::from_secs(5 * 60);

/// What is to be looked at.
#[derive(Debug, Clone, Copy)]
pub struct CheckRequest<'a> {
    /// The configuration file, if one is named.
    pub config: Option<&'a Path>,
    /// Words that mean hosts of the inventory; without any, all of them.
    pub hosts: &'a [String],
    /// Only this machine and its store.
    pub offline: bool,
    /// How many hosts at once, instead of the configured number.
    pub jobs: Option<NonZeroUsize>,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// The configuration could not be used: nothing else was looked at.
    pub is_broken_off: bool,
    /// By what they are about, each with something in it.
    pub sections: Vec<Section>,
    /// Every host that was looked at, sorted by name.
    pub hosts: Vec<HostLooked>,
}

impl CheckReport {
    /// Adds a section, unless there is nothing in it.
    pub fn section(&mut self, name: &'static str, findings: Vec<CheckFinding>) {
        if !findings.is_empty() {
            self.sections.push(Section { name, findings });
        }
    }

    /// How many findings of each kind there are, those of hosts too.
    pub fn tally(&self) -> CheckTally {
        let mut tally = CheckTally::default();
        self.sections.iter().for_each(|section| tally.count(&section.findings));
        self.hosts.iter().for_each(|host| tally.count(&host.findings));
        tally
    }
}

/// Looks at everything. Where `trusted` is given, it is asked before that which
/// of the hosts whose keys are not known yet are to be trusted from now on, in
/// their order.
///
/// # Errors
/// A word means no host; or host keys are to be trusted, and nobody can say
/// which, or they cannot be written down.
pub async fn check(
    request: CheckRequest<'_>,
    clock: Clock,
    trusted: Option<impl AsyncFn(&[Stranger]) -> anyhow::Result<Vec<bool>>>,
) -> anyhow::Result<CheckReport> {
    let path = config::find(request.config)?;
    let mut report = CheckReport::default();
    let loaded = match config::load(&path, &config::Environment::of_this_machine()) {
        Ok(loaded) => loaded,
        Err(error) => {
            report.is_broken_off = true;
            report.section("configuration", local::faults(&error));
            return Ok(report);
        }
    };
    let mut settings = loaded.settings;
    set_jobs(&mut settings, request.jobs);
    let settings = settings;
    logging::keep_state_in(&settings.state_dir);
    let configuration = local::configuration(&path, &settings, &loaded.warnings, clock);
    let (tools, examined, (store, inspection)) = tokio::join!(
        tools::inspect(needs(&settings)),
        async {
            match request.offline {
                true => None,
                false => Some(services::inventory(&settings, clock).await),
            }
        },
        store(&settings, clock),
    );
    report.section("configuration", configuration);
    report.section("tools", tools);
    let Some((inventory, findings)) = examined else {
        let skipped = || vec![CheckFinding::skipped("--offline", "not looked at")];
        report.section("inventory", skipped());
        report.section("icinga", if settings.notifiers.icinga.is_some() { skipped() } else { Vec::new() });
        report.section("store", store);
        report.section("hosts", skipped());
        return Ok(report);
    };
    // Before anything is said: a host that is not there is a slip of the pen.
    let hosts = choose(request.hosts, &settings, inventory)?;
    if let Some(trusted) = trusted {
        trust::run(&hosts, &settings, trusted).await?;
    }
    info!("checking {}, {} at once", counted(hosts.len(), "host"), settings.jobs);
    let names = hosts.iter().map(|host| host.name.spelled().to_owned()).collect();
    let (icinga, looked) = tokio::join!(
        services::icinga(&settings, names),
        hosts::look(&hosts, &settings, inspection.as_ref(), clock)
    );
    report.section("inventory", findings);
    report.section("icinga", icinga);
    report.section("store", store);
    match looked {
        Ok(hosts) => report.hosts = hosts,
        Err(finding) => report.section("hosts", vec![finding]),
    }
    Ok(report)
}

fn needs(settings: &Settings) -> Needs {
    let local = |transport: Option<Transport>| transport.is_some_and(Transport::is_this_machine);
    let ssh = !settings.inventory.is_none()
        || settings.host_defaults.transport.is_ssh()
        || settings.hosts.values().any(|host| !local(host.options.transport));
    Needs { zfs: AnyStore::describe(&settings.store).needs_zfs, ssh }
}

/// The hosts to look at. Where the inventory cannot be had, those that are
/// named are taken as `--force` would take them.
fn choose(words: &[String], settings: &Settings, inventory: Option<Inventory>) -> anyhow::Result<Vec<Host>> {
    let words = match words {
        [] => vec!["all".to_owned()],
        words => words.to_vec(),
    };
    match inventory {
        Some(inventory) => Ok(inventory::select(&inventory, &words)?.hosts.into_iter().cloned().collect()),
        None => {
            let mut names: Vec<HostName> = words.iter().filter_map(|word| word.parse().ok()).collect();
            names.sort();
            names.dedup();
            Ok(names.into_iter().map(|name| inventory::forced(settings, name)).collect())
        }
    }
}

/// The store's findings, and what it holds, if that is known.
async fn store(settings: &Settings, clock: Clock) -> (Vec<CheckFinding>, Option<Inspection>) {
    let subject = AnyStore::describe(&settings.store).place;
    let refused = |error: StoreError| {
        let remedy = error.hint.unwrap_or_else(|| "correct `[store]`".to_owned());
        CheckFinding::error(&subject, error.what, remedy)
    };
    let store = match AnyStore::open(&settings.store) {
        Ok(store) => store,
        Err(error) => return (vec![refused(error)], None),
    };
    let silent = || {
        let limit = crate::core::format::text::human_duration(STORE_LIMIT);
        let remedy = "does its disk hang, or the network filesystem that it is on? see `dmesg`";
        CheckFinding::error(&subject, format!("did not answer within {limit}"), remedy)
    };
    let Ok(mut inspection) = timeout(STORE_LIMIT, store.inspect(clock.now())).await else {
        return (vec![silent()], None);
    };
    let mut findings = std::mem::take(&mut inspection.findings);
    let Some(room) = inspection.room else { return (findings, None) };
    match timeout(STORE_LIMIT, store.survey()).await {
        Ok(Ok(survey)) => {
            let growth = growth::of(survey.hosts.values().map(Vec::as_slice), clock.now());
            findings.push(room.outlook(&subject, growth));
            let behind = clock_behind(&survey, clock.now());
            findings.extend(
                behind.map(|newest| {
                    CheckFinding::error("clock", newest.consequence("is"), newest.remedy(&store))
                }),
            );
        }
        Ok(Err(error)) => findings.push(refused(error)),
        Err(_) => findings.push(silent()),
    }
    (findings, Some(inspection))
}

/// Does the same for each host, as fast as a run would, and gives the results in
/// the hosts' order: one that does not answer holds no other up. Dropped, it gives
/// up what is under way.
async fn each<H: Clone, T: 'static, F: Future<Output = T> + 'static>(
    hosts: &[H],
    settings: &Settings,
    work: impl Fn(H, Turn) -> F,
) -> Vec<(H, Option<T>)> {
    let mut results: Vec<(H, Option<T>)> = hosts.iter().map(|host| (host.clone(), None)).collect();
    let (pace, never) = (fleet::pace(settings), CancellationToken::new());
    fleet::each(hosts.to_vec(), pace, &never, work, |index, result| match result {
        Ok(result) => results[index].1 = Some(result),
        // That host has no result.
        Err(Unfinished::Panicked(panic)) => warn!("a host could not be checked: {panic}"),
        Err(Unfinished::Interrupted) => {}
    })
    .await;
    results
}

/// A problem as a finding; `unless` is what to do where it does not say.
fn found(subject: &str, problem: Problem, unless: &str) -> CheckFinding {
    let Problem { severity, what, remedy } = problem;
    let remedy = if remedy.is_empty() { unless.to_owned() } else { remedy };
    match severity {
        Severity::Critical => CheckFinding::error(subject, what, remedy),
        Severity::Warning | Severity::Ok => CheckFinding::warning(subject, what, remedy),
    }
}
