//! Who hears how each host fared, beside the log.
//!
//! A [`Reporter`] tells Icinga of hosts as they finish, a few at a time and
//! apart from the run itself: a slow Icinga holds no host up. What could not be
//! delivered is tried once more at the run's end, which mostly outlasts a
//! restart of Icinga. [`metrics`]
//! writes the textfile for Prometheus, [`summary`] the table that ends a run.
//! Whether an undelivered report matters is the caller's business.

pub mod icinga;
pub mod metrics;
pub mod summary;

use crate::core::format::text::{printable, shortened};
use crate::core::model::outcome::{HostReport, Outcome, Severity};
use crate::core::model::problem::Problem;
use icinga::{Icinga, ReportError};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many reports are on their way at once.
const AT_ONCE: usize = 8;
/// How many hosts a problem names before it only counts them.
const NAMED: usize = 5;
/// The longest that a host's name may be in a problem, in characters.
const LONGEST_NAME: usize = 60;

/// Tells Icinga of hosts, as they finish.
#[derive(Debug)]
pub struct Reporter {
    icinga: Option<Arc<Icinga>>,
    gate: Arc<Semaphore>,
    deliveries: Mutex<Deliveries>,
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

/// What was handed in, in order, and the tasks that deliver it.
#[derive(Debug, Default)]
struct Deliveries {
    handed_in: Vec<HandedIn>,
    tasks: JoinSet<(usize, Fate)>,
}

/// A report that somebody is to be told, since a moment.
#[derive(Debug)]
struct HandedIn {
    report: Arc<HostReport>,
    at: Instant,
    /// Another run has the host, and tells of it.
    is_others: bool,
}

/// What became of it, and when.
#[derive(Debug, Clone)]
struct Fate {
    result: Result<(), ReportError>,
    at: Instant,
    /// From when to when it was tried once more, if it was.
    late: Option<(Instant, Instant)>,
}

/// How the telling went.
#[derive(Debug)]
pub struct Delivered {
    /// One for each reason for which hosts went unreported; none if all were
    /// told of.
    pub problems: Vec<Problem>,
    /// Of each report, in the order in which they were submitted, from when to
    /// when Icinga was told of it: until it had been, or it was given up. Twice
    /// where it was tried again at the end. Nothing without an Icinga, and of a
    /// host of which another run tells.
    pub tries: Vec<Vec<(Instant, Instant)>>,
}

impl Reporter {
    /// A reporter to this Icinga, or to nobody.
    pub fn start(icinga: Option<Icinga>) -> Self {
        Reporter {
            icinga: icinga.map(Arc::new),
            gate: Arc::new(Semaphore::new(AT_ONCE)),
            deliveries: Mutex::default(),
        }
    }

    /// Sets one host's report on its way and returns at once. To be called
    /// within a tokio runtime.
    pub fn submit(&self, report: HostReport) {
        let Some(icinga) = self.icinga.clone() else { return };
        let gate = self.gate.clone();
        let mut deliveries = self.deliveries();
        let index = deliveries.handed_in.len();
        let report = Arc::new(report);
        // Whoever has the host tells of it: a result that says only that would
        // hide how the host's last run went, or how this very one has gone.
        let is_others = matches!(report.outcome, Outcome::Skipped { .. });
        deliveries.handed_in.push(HandedIn { report: report.clone(), at: Instant::now(), is_others });
        if is_others {
            return;
        }
        deliveries.tasks.spawn(async move {
            // Nobody closes the gate: the permit always comes.
            let _permit = gate.acquire().await;
            let result = icinga.send(&report).await;
            (index, Fate { result, at: Instant::now(), late: None })
        });
    }

    /// Whether this host's service is the one that was meant for the run: then
    /// the run is not told of.
    pub fn is_of_run(&self, host: &str) -> bool {
        self.icinga.as_ref().is_some_and(|icinga| icinga.is_of_run(host))
    }

    /// Tells of the run itself; what is wrong if that could not be done within
    /// reason.
    pub async fn tell_of_run(&self, report: &RunReport, enough: impl Future<Output = ()>) -> Option<Problem> {
        let icinga = self.icinga.as_ref()?;
        let told = tokio::select! {
            told = icinga.send_run(report) => told.map_err(icinga::ReportError::problem),
            () = enough => Err(Problem::warning("the run ended before its result was delivered", "")),
        };
        let Problem { what, remedy, .. } = told.err()?;
        let severity = report.severity().max(Severity::Warning);
        Some(Problem { severity, what: format!("{what}; could not report the run itself to Icinga"), remedy })
    }

    /// Waits for what is under way until it is `enough`, then gives up the rest.
    pub async fn finish(&self, enough: impl Future<Output = ()>) -> Delivered {
        let Deliveries { handed_in, mut tasks } = std::mem::take(&mut *self.deliveries());
        let mut fates: Vec<Option<Fate>> = vec![None; handed_in.len()];
        // Past that, and after a panic, what has no fate is undelivered.
        let deliver = async {
            while let Some(done) = tasks.join_next().await {
                if let Ok((index, fate)) = done {
                    fates[index] = Some(fate);
                }
            }
            if let Some(icinga) = &self.icinga {
                catch_up(icinga, &handed_in, &mut fates).await;
            }
        };
        tokio::select! {
            () = deliver => {}
            () = enough => {}
        }
        let tries = handed_in.iter().zip(&fates).map(|(handed_in, fate)| {
            if handed_in.is_others {
                return Vec::new();
            }
            let first = fate.as_ref().map_or_else(Instant::now, |fate| fate.at);
            let late = fate.as_ref().and_then(|fate| fate.late);
            [(handed_in.at, first)].into_iter().chain(late).collect()
        });
        let tries = tries.collect();
        let untold = handed_in.iter().zip(fates).filter(|(handed_in, _)| !handed_in.is_others);
        let untold = untold.filter_map(|(HandedIn { report, .. }, fate)| {
            let why = match fate {
                Some(Fate { result: Ok(()), .. }) => return None,
                // Nobody else says what is wrong with it.
                Some(Fate { result: Err(error @ ReportError::UnfitName), .. }) => {
                    Problem::warning(report.problem(), error.problem().what)
                }
                Some(Fate { result: Err(error), .. }) => error.problem(),
                None => Problem::warning("the run ended before the result was delivered", ""),
            };
            // Nobody hears of it otherwise.
            let severity = report.severity().max(Severity::Warning);
            Some((report.host.as_str(), Problem { severity, ..why }))
        });
        Delivered { problems: problems(untold), tries }
    }

    fn deliveries(&self) -> MutexGuard<'_, Deliveries> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivers what Icinga was not there for, until it is away again.
async fn catch_up(icinga: &Icinga, handed_in: &[HandedIn], fates: &mut [Option<Fate>]) {
    for (HandedIn { report, .. }, fate) in handed_in.iter().zip(fates) {
        let Some(fate) = fate else { continue };
        if matches!(fate.result, Err(ReportError::Unavailable(_))) {
            let begin = Instant::now();
            let late = icinga.send_late(report).await;
            fate.late = Some((begin, Instant::now()));
            if matches!(late, Err(ReportError::Unavailable(_))) {
                break;
            }
            fate.result = late;
        }
    }
}

/// One for each reason: 200 hosts that failed alike are one problem, as bad as
/// the worst of them.
fn problems<'a>(undelivered: impl Iterator<Item = (&'a str, Problem)>) -> Vec<Problem> {
    let mut by_reason: BTreeMap<(String, String), (Severity, Vec<&str>)> = BTreeMap::new();
    for (host, Problem { severity, what, remedy }) in undelivered {
        let (worst, hosts) = by_reason.entry((what, remedy)).or_insert((severity, Vec::new()));
        *worst = severity.max(*worst);
        hosts.push(host);
    }
    by_reason
        .into_iter()
        .map(|((what, remedy), (severity, mut hosts))| {
            hosts.sort_unstable();
            let what = format!("{what}; could not report {} to Icinga", listed(&hosts));
            Problem { severity, what, remedy }
        })
        .collect()
}

/// `vpn`; or `200 hosts (a, b, c, d, e and 195 more)`.
fn listed(hosts: &[&str]) -> String {
    let named: Vec<String> = hosts.iter().take(NAMED).map(|host| shown_name(host, LONGEST_NAME)).collect();
    let named = named.join(", ");
    match hosts.len() {
        1 => named,
        count @ 2..=NAMED => format!("{count} hosts ({named})"),
        count => format!("{count} hosts ({named} and {} more)", count - NAMED),
    }
}

/// A host's name for a person, of at most `limit` characters.
fn shown_name(host: &str, limit: usize) -> String {
    if host.is_empty() { "(no name)".to_owned() } else { shortened(&printable(host), limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_failed_alike_are_one_problem() {
        let names: Vec<String> = (0..200).map(|n| format!("web{n:03}")).collect();
        let down = names.iter().map(|name| (name.as_str(), Problem::warning("it is down", "start it")));
        let odd = [
            ("", Problem::warning("the name is empty", "")),
            ("a\nb", Problem::warning("the name is odd", "")),
            ("web7", Problem::critical("it is down", "start it")),
        ];
        let told = problems(down.chain(odd));
        assert_eq!(
            told.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "it is down; could not report 201 hosts (web000, web001, web002, web003, web004 and 196 more) to Icinga (start it)",
                "the name is empty; could not report (no name) to Icinga",
                "the name is odd; could not report a\\nb to Icinga",
            ]
        );
        assert_eq!(told[0].severity, Severity::Critical, "the worst of them");
    }

    #[test]
    fn a_few_hosts_are_all_named() {
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b", "c", "d", "e"]), "5 hosts (a, b, c, d, e)");
        assert_eq!(listed(&["a", "b", "c", "d", "e", "f"]), "6 hosts (a, b, c, d, e and 1 more)");
    }

    #[tokio::test]
    async fn without_an_icinga_there_is_nobody_to_tell() {
        let reporter = Reporter::start(None);
        let told = reporter.finish(std::future::pending()).await;
        assert!(told.problems.is_empty() && told.tries.is_empty());
    }
}
