//! Many hosts: in which order, how many at once, and how to stop.
//!
//! One host never stops another: each yields a result, also one whose work
//! panics, one that never ends when told to, and one that was never begun.
//!
//! Not known here: what is done with a host, be it a backup, a verification or a
//! check.

use crate::app::admission::{Pace, Turn, Turns};
use crate::core::model::host::{Host, HostName};
use crate::core::model::outcome::{HostReport, Outcome, Stage};
use crate::core::model::settings::Settings;
use crate::core::model::snapshot::Facts;
use crate::edge::store::Survey;
use crate::sys::clock::Clock;
use crate::sys::process;
use chrono::{DateTime, NaiveDate, Utc};
use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long hosts get to end in order once the run is to stop.
const ORDERLY_END: Duration = Duration::from_secs(6);

/// The order in which hosts are begun on a day. A host whose duration nobody
/// knows may be a first copy, the longest of all: those come first, shuffled
/// anew each day, so that no name is always last, and a plan of that day is what
/// is done. Then the longest of last time, so that the run does not end with one
/// long host and idle slots.
pub fn order(
    mut hosts: Vec<Host>,
    day: NaiveDate,
    last_duration: impl Fn(&HostName) -> Option<u64>,
) -> Vec<Host> {
    let shuffle = BuildHasherDefault::<DefaultHasher>::default();
    hosts.sort_by_cached_key(|host| match last_duration(&host.name) {
        None => (0, shuffle.hash_one((day, host.name.key()))),
        Some(seconds) => (1, u64::MAX - seconds),
    });
    hosts
}

/// The hosts as a run begins them, one after the other.
pub fn in_order(hosts: Vec<Host>, clock: Clock, survey: Option<&Survey>) -> Vec<Host> {
    order(hosts, clock.start().date_naive(), |name| {
        let last = survey?.of(name).iter().rev().find_map(|snapshot| snapshot.facts());
        last.and_then(|facts: &Facts| facts.duration)
    })
}

/// What becomes of one member of a fleet that is worked on.
pub trait FleetResult: Sized + 'static {
    /// The result of a host whose work gave none. It was begun and dropped at these
    /// times; at the same time if it never was.
    fn unfinished(host: &HostName, why: Unfinished, began: DateTime<Utc>, ended: DateTime<Utc>) -> Self;
}

/// Why a host's work gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfinished {
    /// It panicked: what it said.
    Panicked(String),
    /// The work was told to stop before it.
    Interrupted,
}

impl FleetResult for HostReport {
    fn unfinished(host: &HostName, why: Unfinished, began: DateTime<Utc>, ended: DateTime<Utc>) -> Self {
        let outcome = match why {
            Unfinished::Panicked(panic) => Outcome::Failed {
                stage: Stage::Internal,
                why: format!("a fault in this program: {panic}\nplease report it, with the log of this run"),
            },
            Unfinished::Interrupted => Outcome::Interrupted,
        };
        HostReport::bare(host.spelled(), outcome, began, ended)
    }
}

/// How many hosts at once, and how fast they are connected to, as the
/// configuration says and this process can.
pub fn pace(settings: &Settings) -> Pace {
    Pace {
        jobs: settings.jobs,
        most: process::most_hosts(process::file_limit()),
        connections_per_second: settings.ssh.connections_per_second,
    }
}

/// Works on hosts as [`each`] does, and gives each one's result to `done` as it
/// comes, also of those whose work gives none.
///
/// Must be called inside a [`tokio::task::LocalSet`].
pub async fn run<R, W, F>(
    hosts: Vec<Host>,
    pace: Pace,
    clock: Clock,
    cancel: &CancellationToken,
    work: W,
    mut done: impl FnMut(R),
) where
    R: FleetResult,
    W: Fn(Host, Turn) -> F,
    F: Future<Output = R> + 'static,
{
    let names: Vec<HostName> = hosts.iter().map(|host| host.name.clone()).collect();
    let begun: Vec<Cell<Option<DateTime<Utc>>>> = names.iter().map(|_| Cell::default()).collect();
    let work = |(index, host): (usize, Host), turn| {
        begun[index].set(Some(clock.now()));
        work(host, turn)
    };
    each(hosts.into_iter().enumerate().collect(), pace, cancel, work, |index, result| {
        let now = clock.now();
        let began = begun[index].get().unwrap_or(now);
        done(result.unwrap_or_else(|why| R::unfinished(&names[index], why, began, now)));
    })
    .await;
}

/// Works on as many members of a fleet at once as `pace` says, and gives what became
/// of each, with its place among `members`, to `done` as it comes. More of them than
/// that are begun, see [`crate::app::admission`]: work that must not be done on more
/// at once comes after [`Turn::come`]. When `cancel` says so, no further one is begun;
/// those under way are expected to notice it themselves, and are dropped if they do
/// not. Dropped, it gives up all that is under way.
///
/// Must be called inside a [`tokio::task::LocalSet`].
pub async fn each<M, T, W, F>(
    members: Vec<M>,
    pace: Pace,
    cancel: &CancellationToken,
    work: W,
    mut done: impl FnMut(usize, Result<T, Unfinished>),
) where
    T: 'static,
    W: Fn(M, Turn) -> F,
    F: Future<Output = T> + 'static,
{
    let mut waiting = members.into_iter().enumerate();
    let turns = Turns::new(pace);
    let (mut tasks, mut begun) = (JoinSet::new(), HashMap::new());
    let mut too_late = std::pin::pin!(cancelled_for(cancel, ORDERLY_END));
    let mut aborted = false;
    loop {
        let change = turns.change();
        while turns.may_begin() && !cancel.is_cancelled() {
            let Some((index, member)) = waiting.next() else { break };
            let task = tasks.spawn_local(work(member, turns.begin()));
            begun.insert(task.id(), index);
        }
        let joined = tokio::select! {
            joined = tasks.join_next_with_id() => joined,
            () = change, if waiting.len() > 0 && !cancel.is_cancelled() => continue,
            () = &mut too_late, if !aborted => {
                aborted = true;
                tasks.abort_all();
                continue;
            }
        };
        let (id, result) = match joined {
            None => break,
            Some(Ok((id, result))) => (id, Ok(result)),
            Some(Err(error)) if error.is_panic() => {
                (error.id(), Err(Unfinished::Panicked(error.to_string())))
            }
            Some(Err(error)) => (error.id(), Err(Unfinished::Interrupted)),
        };
        if let Some(index) = begun.remove(&id) {
            done(index, result);
        }
    }
    for (index, _) in waiting {
        done(index, Err(Unfinished::Interrupted));
    }
}

/// Waits until the run has been cancelled for so long.
async fn cancelled_for(cancel: &CancellationToken, long: Duration) {
    cancel.cancelled().await;
    tokio::time::sleep(long).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::host::{Filesystems, HostSettings, Transport};
    use std::cell::RefCell;
    use std::num::{NonZeroU32, NonZeroUsize};
    use std::rc::Rc;
    use tokio::task::LocalSet;

    fn host(name: &str) -> Host {
        let settings = HostSettings {
            transport: Transport::Local,
            user: "root".into(),
            port: None,
            sudo: false,
            source: "/".into(),
            filesystems: Filesystems::Local,
            exclude: Vec::new(),
            inplace: Vec::new(),
            hooks: true,
        };
        Host { name: name.parse().unwrap(), object: None, address: name.to_owned(), settings }
    }

    fn hosts(count: usize) -> Vec<Host> {
        (0..count).map(|number| host(&format!("h{number}"))).collect()
    }

    fn clock() -> Clock {
        Clock::starting_at(DateTime::<Utc>::UNIX_EPOCH)
    }

    fn skipped(host: &Host) -> HostReport {
        HostReport::bare(
            host.name.spelled(),
            Outcome::Skipped { why: String::new() },
            clock().now(),
            clock().now(),
        )
    }

    const FOUR: Pace = Pace {
        jobs: NonZeroUsize::new(4).unwrap(),
        most: NonZeroUsize::new(1000).unwrap(),
        connections_per_second: NonZeroU32::new(20).unwrap(),
    };

    #[test]
    fn unknown_hosts_come_first_then_the_longest() {
        let known = |name: &HostName| match name.key() {
            "short" => Some(1),
            "long" => Some(1000),
            _ => None,
        };
        let day = NaiveDate::from_ymd_opt(2026, 11, 20).unwrap();
        let ordered = order(vec![host("short"), host("new"), host("long"), host("newer")], day, known);
        let names: Vec<&str> = ordered.iter().map(|host| host.name.key()).collect();
        assert_eq!(names[2..], ["long", "short"]);
    }

    #[test]
    fn hosts_that_nobody_knows_have_the_same_order_all_day_and_another_on_the_next() {
        let of = |day: NaiveDate| {
            let ordered = order(hosts(50), day, |_| None);
            ordered.iter().map(|host| host.name.key().to_owned()).collect::<Vec<_>>()
        };
        let day = NaiveDate::from_ymd_opt(2026, 11, 20).unwrap();
        assert_eq!(of(day), of(day));
        assert_ne!(of(day), of(day.succ_opt().unwrap()));
    }

    #[tokio::test]
    async fn jobs_hosts_run_at_once_and_no_more() {
        let (now, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let work = |host: Host, turn: Turn| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                turn.come().await;
                now.set(now.get() + 1);
                most.set(now.get().max(most.get()));
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                now.set(now.get() - 1);
                skipped(&host)
            }
        };
        let mut count = 0;
        let cancel = CancellationToken::new();
        LocalSet::new().run_until(run(hosts(50), FOUR, clock(), &cancel, work, |_| count += 1)).await;
        assert_eq!((count, most.get()), (50, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_hosts_are_begun_than_fit_however_silent_they_are() {
        let (now, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let six = Pace { most: NonZeroUsize::new(6).unwrap(), ..FOUR };
        let work = |_, turn: Turn| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                now.set(now.get() + 1);
                most.set(now.get().max(most.get()));
                turn.connection().await;
                pass(20_000).await;
                now.set(now.get() - 1);
            }
        };
        assert_eq!(timeline(30, six, work).await.len(), 30);
        assert_eq!(most.get(), 6);
    }

    #[tokio::test]
    async fn a_panic_is_that_hosts_failure_alone() {
        let work = |host: Host, turn: Turn| async move {
            turn.come().await;
            assert!(host.name.key() != "h3", "a fault for the test");
            skipped(&host)
        };
        let reports = RefCell::new(Vec::new());
        let cancel = CancellationToken::new();
        let all = run(hosts(8), FOUR, clock(), &cancel, work, |report| reports.borrow_mut().push(report));
        LocalSet::new().run_until(all).await;
        let reports = reports.into_inner();
        assert_eq!(reports.len(), 8);
        let failed: Vec<_> = reports.iter().filter(|r| matches!(r.outcome, Outcome::Failed { .. })).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].host, "h3");
        assert!(failed[0].summary().contains("a fault for the test"), "{}", failed[0].summary());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_run_begins_nothing_waits_a_while_and_reports_everyone() {
        let cancel = CancellationToken::new();
        let work = |host: Host, turn: Turn| {
            let cancel = cancel.clone();
            async move {
                let _turn = turn;
                if host.name.key() == "h1" {
                    std::future::pending::<()>().await; // hears nothing
                }
                cancel.cancelled().await;
                HostReport::bare(host.name.spelled(), Outcome::Interrupted, clock().now(), clock().now())
            }
        };
        let mut reports = Vec::new();
        let all = run(hosts(10), FOUR, clock(), &cancel, work, |report| reports.push(report));
        let stop = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            cancel.cancel();
        };
        let begin = tokio::time::Instant::now();
        LocalSet::new().run_until(async { tokio::join!(all, stop) }).await;
        assert!(begin.elapsed() < Duration::from_secs(15));
        assert_eq!(reports.len(), 10);
        assert!(reports.iter().all(|report| report.outcome == Outcome::Interrupted));
    }

    /// Runs hosts, each with what it does, and says which were done when, in
    /// milliseconds.
    async fn timeline<W, F>(count: usize, pace: Pace, work: W) -> Vec<(String, u128)>
    where
        W: Fn(Host, Turn) -> F,
        F: Future<Output = ()> + 'static,
    {
        let begin = tokio::time::Instant::now();
        let mut ends = Vec::new();
        let whole = |host: Host, turn: Turn| {
            let report = skipped(&host);
            let work = work(host, turn);
            async move {
                work.await;
                report
            }
        };
        let cancel = CancellationToken::new();
        let done = |report: HostReport| ends.push((report.host, begin.elapsed().as_millis()));
        LocalSet::new().run_until(run(hosts(count), pace, clock(), &cancel, whole, done)).await;
        ends
    }

    async fn pass(milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_hosts_are_connected_to_while_others_are_copied() {
        let ends = timeline(40, FOUR, |_, turn| async move {
            turn.connection().await;
            pass(300).await;
            turn.come().await;
            pass(1000).await;
        })
        .await;
        // Ten rounds of a second, and what only the first of them waits for.
        let (_, last) = ends.last().unwrap();
        assert!((10_300..10_600).contains(last), "{last}");
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_that_do_not_answer_cost_the_others_nothing() {
        let work = |host: Host, turn: Turn| async move {
            turn.connection().await;
            if ["h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7", "h30"].contains(&host.name.key()) {
                return pass(20_000).await;
            }
            pass(300).await;
            turn.come().await;
            pass(1000).await;
        };
        let ends = timeline(40, FOUR, work).await;
        let living: Vec<u128> = ends.iter().map(|(_, end)| *end).filter(|end| *end < 20_000).collect();
        assert_eq!(living.len(), 31);
        // Those at the front, twice as many as there are jobs, are waited for
        // until patience ends; the others take eight rounds.
        let last = living.last().unwrap();
        assert!(*last < 12_000, "{last}");
        assert!(ends.last().unwrap().1 < last + 20_000);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_made_at_the_configured_rate() {
        let times = Rc::new(RefCell::new(Vec::new()));
        let pace = Pace { jobs: NonZeroUsize::new(32).unwrap(), ..FOUR };
        let work = |_, turn: Turn| {
            let times = times.clone();
            async move {
                turn.connection().await;
                times.borrow_mut().push(tokio::time::Instant::now());
            }
        };
        timeline(100, pace, work).await;
        let times = times.borrow();
        for window in times.windows(28) {
            assert!(window[27] - window[0] >= Duration::from_millis(990), "28 connections in a second");
        }
        let all = *times.last().unwrap() - times[0];
        assert!((4500..4700).contains(&all.as_millis()), "7 at once, then 20 a second: {all:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn of_those_that_wait_the_first_in_order_has_its_turn_first() {
        let two = Pace { jobs: NonZeroUsize::new(2).unwrap(), ..FOUR };
        let work = |host: Host, turn: Turn| async move {
            // h2 is ready later than h3, and still before there is a free place.
            pass(if host.name.key() == "h2" { 300 } else { 100 }).await;
            turn.come().await;
            pass(if host.name.key() == "h1" { 1500 } else { 1000 }).await;
        };
        let ends = timeline(4, two, work).await;
        let order: Vec<&str> = ends.iter().map(|(host, _)| host.as_str()).collect();
        assert_eq!(order, ["h0", "h1", "h2", "h3"]);
    }
}
