//! Who is told how the fleet fares, beside the log.
//!
//! A [`Notifier`] tells somebody of [`FleetEvent`]s; [`configured`] lists those that
//! the configuration names. A [`Reporter`] delivers to all of them as events come,
//! a few at a time and apart from the run itself: a slow one holds no host up. What
//! could not be delivered is tried once more at the run's end, which mostly outlasts
//! a restart of Icinga. Whether an undelivered event matters is the caller's business.
//!
//! Not known here: what a notifier makes of an event.

pub mod icinga;

use crate::core::format::text::{printable, shortened};
use crate::core::model::event::{FleetEvent, RunReport};
use crate::core::model::outcome::Severity;
use crate::core::model::problem::Problem;
use crate::core::model::settings::Settings;
use futures_util::future::{BoxFuture, join_all};
use icinga::Icinga;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many events are on their way at once.
const AT_ONCE: usize = 8;
/// How many hosts a problem names before it only counts them.
const NAMED: usize = 5;
/// The longest that a host's name may be in a problem, in characters.
const LONGEST_NAME: usize = 60;

/// Somebody who is told of events.
pub trait Notifier: fmt::Debug + Send + Sync {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// Whether it tells of such an event at all.
    fn hears(&self, event: &FleetEvent) -> bool;

    /// Tells of an event, within a minute. `late` says that it is told of for the
    /// second time, some time after it happened: what was told since must stay.
    fn tell<'a>(&'a self, event: &'a FleetEvent, late: bool) -> BoxFuture<'a, Result<(), Undelivered>>;

    /// What to do where what is told of this host takes the place of what is told of
    /// the run, so that the run is not told of; `None` where it does not.
    fn takes_the_runs_place(&self, host: &str) -> Option<&'static str>;
}

/// Why an event was not delivered. It does not name the host, so that it is the same
/// for all hosts that fare alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// What is wrong, and what to do.
    pub problem: Problem,
    /// Whether another try may help.
    pub is_transient: bool,
    /// Whether there is nobody who could be told of this host, now or ever: what is
    /// wrong with the host itself is then said in the problem's place.
    pub is_hosts_own: bool,
}

/// Those whom the configuration names.
///
/// # Errors
/// One of them can never be told, as it is configured.
pub fn configured(settings: &Settings) -> Result<Vec<Arc<dyn Notifier>>, Problem> {
    let icinga =
        settings.notifiers.icinga.as_ref().map(|icinga| Icinga::new(icinga, &settings.server)).transpose();
    let icinga = icinga.map_err(icinga::ReportError::problem)?;
    Ok(icinga.into_iter().map(|icinga| Arc::new(icinga) as Arc<dyn Notifier>).collect())
}

/// Delivers events to notifiers, as they come.
#[derive(Debug)]
pub struct Reporter {
    notifiers: Vec<Arc<dyn Notifier>>,
    gate: Arc<Semaphore>,
    deliveries: Mutex<Deliveries>,
}

/// What was handed in, in order, and the tasks that deliver it.
#[derive(Debug, Default)]
struct Deliveries {
    events: Vec<Arc<FleetEvent>>,
    handed_in: Vec<HandedIn>,
    tasks: JoinSet<(usize, Fate)>,
}

/// An event that somebody is to be told of, since a moment.
#[derive(Debug)]
struct HandedIn {
    /// Its place among the events.
    event: usize,
    /// Who is to be told, by the place among the notifiers.
    notifier: usize,
    at: Instant,
}

/// What became of it, and when.
#[derive(Debug, Clone)]
struct Fate {
    result: Result<(), Undelivered>,
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
    /// Of each event, in the order in which they were submitted, from when to
    /// when somebody was told of it: until it had been, or it was given up. Twice
    /// where it was tried again at the end. Nothing where nobody hears of it.
    pub tries: Vec<Vec<(Instant, Instant)>>,
}

impl Reporter {
    /// A reporter to these.
    pub fn start(notifiers: Vec<Arc<dyn Notifier>>) -> Self {
        Reporter { notifiers, gate: Arc::new(Semaphore::new(AT_ONCE)), deliveries: Mutex::default() }
    }

    /// Sets one host's event on its way and returns at once. To be called
    /// within a tokio runtime.
    pub fn submit(&self, event: FleetEvent) {
        let event = Arc::new(event);
        let mut deliveries = self.deliveries();
        let number = deliveries.events.len();
        deliveries.events.push(event.clone());
        for (notifier, teller) in self.notifiers.iter().enumerate().filter(|(_, one)| one.hears(&event)) {
            let index = deliveries.handed_in.len();
            deliveries.handed_in.push(HandedIn { event: number, notifier, at: Instant::now() });
            let (gate, teller, event) = (self.gate.clone(), teller.clone(), event.clone());
            deliveries.tasks.spawn(async move {
                // Nobody closes the gate: the permit always comes.
                let _permit = gate.acquire().await;
                let result = teller.tell(&event, false).await;
                (index, Fate { result, at: Instant::now(), late: None })
            });
        }
    }

    /// Those for whom this host takes the run's place, each with what to do about it:
    /// they are not told of the run.
    pub fn run_is_hidden_by(&self, host: &str) -> Vec<(&'static str, &'static str)> {
        let hidden = |one: &Arc<dyn Notifier>| Some((one.name(), one.takes_the_runs_place(host)?));
        self.notifiers.iter().filter_map(hidden).collect()
    }

    /// Tells of a run of these hosts; what is wrong where that could not be done
    /// within reason.
    pub async fn tell_of_run(
        &self,
        report: RunReport,
        hosts: &[&str],
        enough: impl Future<Output = ()>,
    ) -> Vec<Problem> {
        let event = FleetEvent::RunEnded(report);
        let is_told = |one: &&Arc<dyn Notifier>| {
            one.hears(&event) && !hosts.iter().any(|host| one.takes_the_runs_place(host).is_some())
        };
        let told: Vec<&Arc<dyn Notifier>> = self.notifiers.iter().filter(is_told).collect();
        let results = tokio::select! {
            results = join_all(told.iter().map(|one| one.tell(&event, false))) => results,
            () = enough => told.iter().map(|_| Err(given_up("the run ended before its result was delivered"))).collect(),
        };
        let severity = event.severity().max(Severity::Warning);
        let problem = |(one, result): (&&Arc<dyn Notifier>, Result<(), Undelivered>)| {
            let Problem { what, remedy, .. } = result.err()?.problem;
            let what = format!("{what}; could not report the run itself to {}", one.name());
            Some(Problem { severity, what, remedy })
        };
        told.iter().zip(results).filter_map(problem).collect()
    }

    /// Waits for what is under way until it is `enough`, then gives up the rest.
    pub async fn finish(&self, enough: impl Future<Output = ()>) -> Delivered {
        let Deliveries { events, handed_in, mut tasks } = std::mem::take(&mut *self.deliveries());
        let mut fates: Vec<Option<Fate>> = vec![None; handed_in.len()];
        // Past that, and after a panic, what has no fate is undelivered.
        let deliver = async {
            while let Some(done) = tasks.join_next().await {
                if let Ok((index, fate)) = done {
                    fates[index] = Some(fate);
                }
            }
            for (number, notifier) in self.notifiers.iter().enumerate() {
                catch_up(notifier.as_ref(), number, &events, &handed_in, &mut fates).await;
            }
        };
        tokio::select! {
            () = deliver => {}
            () = enough => {}
        }
        let mut tries = vec![Vec::new(); events.len()];
        for (handed_in, fate) in handed_in.iter().zip(&fates) {
            let first = fate.as_ref().map_or_else(Instant::now, |fate| fate.at);
            let late = fate.as_ref().and_then(|fate| fate.late);
            tries[handed_in.event].extend([(handed_in.at, first)].into_iter().chain(late));
        }
        let untold = |number: usize| {
            let own = handed_in.iter().zip(&fates).filter(move |(one, _)| one.notifier == number);
            own.filter_map(|(handed_in, fate)| undelivered(&events[handed_in.event], fate.as_ref()))
        };
        let all = self.notifiers.iter().enumerate();
        let problems = all.flat_map(|(number, one)| problems(one.name(), untold(number))).collect();
        Delivered { problems, tries }
    }

    fn deliveries(&self) -> MutexGuard<'_, Deliveries> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn given_up(what: &str) -> Undelivered {
    Undelivered { problem: Problem::warning(what, ""), is_transient: false, is_hosts_own: false }
}

/// The host of an event, and what is wrong if it was not delivered.
fn undelivered<'a>(event: &'a FleetEvent, fate: Option<&Fate>) -> Option<(&'a str, Problem)> {
    let why = match fate {
        Some(Fate { result: Ok(()), .. }) => return None,
        Some(Fate { result: Err(why), .. }) => why.clone(),
        None => given_up("the run ended before the result was delivered"),
    };
    // Nobody else says what is wrong with it.
    let problem = match why.is_hosts_own {
        true => Problem::warning(event.problem(), why.problem.what),
        false => why.problem,
    };
    // Nobody hears of it otherwise.
    let severity = event.severity().max(Severity::Warning);
    Some((event.host().unwrap_or_default(), Problem { severity, ..problem }))
}

/// Delivers what somebody was not there for, until it is away again.
async fn catch_up(
    notifier: &dyn Notifier,
    number: usize,
    events: &[Arc<FleetEvent>],
    handed_in: &[HandedIn],
    fates: &mut [Option<Fate>],
) {
    for (handed_in, fate) in handed_in.iter().zip(fates).filter(|(one, _)| one.notifier == number) {
        let Some(fate) = fate else { continue };
        if fate.result.as_ref().is_err_and(|why| why.is_transient) {
            let begin = Instant::now();
            let late = notifier.tell(&events[handed_in.event], true).await;
            fate.late = Some((begin, Instant::now()));
            if late.as_ref().is_err_and(|why| why.is_transient) {
                break;
            }
            fate.result = late;
        }
    }
}

/// One for each reason: 200 hosts that failed alike are one problem, as bad as
/// the worst of them.
fn problems<'a>(to: &str, undelivered: impl Iterator<Item = (&'a str, Problem)>) -> Vec<Problem> {
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
            let what = format!("{what}; could not report {} to {to}", listed(&hosts));
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
    use crate::core::model::outcome::HostReport;

    #[test]
    fn hosts_that_failed_alike_are_one_problem() {
        let names: Vec<String> = (0..200).map(|n| format!("web{n:03}")).collect();
        let down = names.iter().map(|name| (name.as_str(), Problem::warning("it is down", "start it")));
        let odd = [
            ("", Problem::warning("the name is empty", "")),
            ("a\nb", Problem::warning("the name is odd", "")),
            ("web7", Problem::critical("it is down", "start it")),
        ];
        let told = problems("Icinga", down.chain(odd));
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
        let reporter = Reporter::start(Vec::new());
        let told = reporter.finish(std::future::pending()).await;
        assert!(told.problems.is_empty() && told.tries.is_empty());
    }

    /// Somebody who takes some time, and nothing of hosts that are called `bad`.
    #[derive(Debug)]
    struct Mail(Mutex<Vec<String>>);

    impl Notifier for Mail {
        fn name(&self) -> &'static str {
            "the postmaster"
        }

        fn hears(&self, event: &FleetEvent) -> bool {
            event.severity() > Severity::Ok
        }

        fn tell<'a>(&'a self, event: &'a FleetEvent, _: bool) -> BoxFuture<'a, Result<(), Undelivered>> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                match event.host() {
                    Some("bad") => Err(given_up("the box is full")),
                    host => {
                        let mut told = self.0.lock().unwrap();
                        told.push(host.unwrap_or("the run").to_owned());
                        Ok(())
                    }
                }
            })
        }

        fn takes_the_runs_place(&self, host: &str) -> Option<&'static str> {
            (host == "server").then_some("call it otherwise")
        }
    }

    fn failed(host: &str) -> FleetEvent {
        let outcome = crate::core::model::outcome::Outcome::Interrupted;
        let (begin, end) = (chrono::DateTime::UNIX_EPOCH, chrono::DateTime::UNIX_EPOCH);
        FleetEvent::HostDone(HostReport::bare(host, outcome, begin, end))
    }

    #[tokio::test]
    async fn each_notifier_hears_of_each_event_and_a_problem_names_who_did_not() {
        let (one, other) = (Arc::new(Mail(Mutex::default())), Arc::new(Mail(Mutex::default())));
        let reporter = Reporter::start(vec![one.clone(), other.clone()]);
        ["web", "bad", "db"].map(failed).into_iter().for_each(|event| reporter.submit(event));
        let told = reporter.finish(std::future::pending()).await;
        for mail in [&one, &other] {
            let mut heard = mail.0.lock().unwrap().clone();
            heard.sort();
            assert_eq!(heard, ["db", "web"]);
        }
        assert_eq!(told.tries.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
        let problems: Vec<String> = told.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, ["the box is full; could not report bad to the postmaster"; 2]);
    }

    #[tokio::test]
    async fn a_run_is_told_of_where_no_host_takes_its_place() {
        let mail = Arc::new(Mail(Mutex::default()));
        let reporter = Reporter::start(vec![mail.clone()]);
        let run = || RunReport {
            problems: vec![Problem::warning("x", "")],
            hosts: 1,
            not_good: 0,
            duration: std::time::Duration::ZERO,
            summary: String::new(),
        };
        assert!(reporter.tell_of_run(run(), &["web", "server"], std::future::pending()).await.is_empty());
        assert!(mail.0.lock().unwrap().is_empty());
        assert_eq!(reporter.run_is_hidden_by("server"), [("the postmaster", "call it otherwise")]);
        assert!(reporter.tell_of_run(run(), &["web"], std::future::pending()).await.is_empty());
        assert_eq!(*mail.0.lock().unwrap(), ["the run"]);
        let late = reporter.tell_of_run(run(), &[], std::future::ready(())).await;
        assert!(late.len() <= 1, "{late:?}");
    }
}
