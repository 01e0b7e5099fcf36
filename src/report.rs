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

use crate::outcome::HostReport;
use crate::text::{printable, shortened};
use icinga::{Icinga, ReportError};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
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
    /// One line for each reason for which hosts went unreported, fit to be
    /// shown; none if all were told of.
    pub problems: Vec<String>,
    /// Of each report, in the order in which they were submitted, from when to
    /// when Icinga was told of it: until it had been, or it was given up. Twice
    /// where it was tried again at the end. Nothing without an Icinga.
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
        deliveries.handed_in.push(HandedIn { report: report.clone(), at: Instant::now() });
        deliveries.tasks.spawn(async move {
            // Nobody closes the gate: the permit always comes.
            let _permit = gate.acquire().await;
            let result = icinga.send(&report).await;
            (index, Fate { result, at: Instant::now(), late: None })
        });
    }

    /// Waits for what is under way until it is `enough`, then gives up the rest.
    pub async fn finish(self, enough: impl Future<Output = ()>) -> Delivered {
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
            let first = fate.as_ref().map_or_else(Instant::now, |fate| fate.at);
            let late = fate.as_ref().and_then(|fate| fate.late);
            [(handed_in.at, first)].into_iter().chain(late).collect()
        });
        let tries = tries.collect();
        let untold = handed_in.iter().zip(fates).filter_map(|(HandedIn { report, .. }, fate)| {
            let why = match fate {
                Some(Fate { result: Ok(()), .. }) => return None,
                Some(Fate { result: Err(error), .. }) => error.to_string(),
                None => "the run ended before the result was delivered".to_owned(),
            };
            Some((report.host.as_str(), why))
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

/// One line for each reason: 200 hosts that failed alike are one problem.
fn problems<'a>(undelivered: impl Iterator<Item = (&'a str, String)>) -> Vec<String> {
    let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (host, reason) in undelivered {
        by_reason.entry(reason).or_default().push(host);
    }
    by_reason
        .into_iter()
        .map(|(reason, mut hosts)| {
            hosts.sort_unstable();
            format!("Icinga was not told of {}: {reason}", listed(&hosts))
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
        let down = names.iter().map(|name| (name.as_str(), "it is down".to_owned()));
        let odd = [("", "the name is empty".to_owned()), ("a\nb", "the name is odd".to_owned())];
        assert_eq!(
            problems(down.chain(odd)),
            [
                "Icinga was not told of 200 hosts (web000, web001, web002, web003, web004 and 195 more): it is down",
                "Icinga was not told of (no name): the name is empty",
                "Icinga was not told of a\\nb: the name is odd",
            ]
        );
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
