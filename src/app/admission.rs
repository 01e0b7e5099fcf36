//! Whose turn it is. A host is begun before its turn: it is connected to and
//! asked what it has while others are copied, so that these waits hide behind
//! their copying, and then waits for its turn. A host that does not answer
//! waits for nobody and is waited for by nobody.
//!
//! Not known here: what a host does before its turn, and in it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::num::{NonZeroU32, NonZeroUsize};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// So many hosts are made ready ahead of their turn also where there are fewer
/// jobs: some of them may be dead.
const LEAST_AHEAD: usize = 4;
/// At most so many hosts are made ready ahead of their turn: each keeps its
/// connection, and has itself asked anew now and then.
const MOST_AHEAD: usize = 32;
/// So many connections may be begun at once after a pause: fewer than an sshd
/// takes without turning any away (MaxStartups, sshd_config(5): 10).
const AT_ONCE: u32 = 7;
/// A host that has not answered for so long gives its place among those that
/// are made ready to the next.
const PATIENCE: Duration = Duration::from_secs(3);
/// At most so many hosts that do not answer are waited for at once: should it be
/// this server that is slow, more of them would make it slower.
const MOST_SILENT: usize = 64;

/// How many hosts at once, and how fast they are connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Hosts at once.
    pub jobs: NonZeroUsize,
    /// No more hosts than this are begun, whatever they do: dead ones and those
    /// that are made ready are among them.
    pub most: NonZeroUsize,
    /// Connections a second, but for a few that are made at once after a pause.
    pub connections_per_second: NonZeroU32,
}

/// All hosts that have been begun.
#[derive(Debug)]
pub struct Turns {
    pace: Pace,
    hosts: RefCell<BTreeMap<usize, State>>,
    begun: Cell<usize>,
    /// When the next connection may be made.
    next_connection: Cell<Option<Instant>>,
    changed: Notify,
}

/// How far a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is made ready; since when it has been connected to, if it has.
    Reaching(Option<Instant>),
    /// It is ready and waits for its turn.
    Waiting,
    /// It is its turn.
    Working,
}

/// A host's place in the order of turns; dropping it gives the turn on.
#[derive(Debug)]
pub struct Turn {
    turns: Rc<Turns>,
    /// The lower, the sooner.
    rank: usize,
}

impl Turns {
    /// No host has been begun yet.
    pub fn new(pace: Pace) -> Rc<Self> {
        Rc::new(Turns {
            pace,
            hosts: RefCell::default(),
            begun: Cell::new(0),
            next_connection: Cell::new(None),
            changed: Notify::new(),
        })
    }

    /// Begins the next host.
    pub fn begin(self: &Rc<Self>) -> Turn {
        let rank = self.begun.replace(self.begun.get() + 1);
        self.hosts.borrow_mut().insert(rank, State::Reaching(None));
        Turn { turns: Rc::clone(self), rank }
    }

    /// Whether another host may be begun now.
    pub fn may_begin(&self) -> bool {
        let now = Instant::now();
        let jobs = self.pace.jobs.get();
        let count = |is: fn(&State, Instant) -> bool| {
            self.hosts.borrow().values().filter(|state| is(state, now)).count()
        };
        let working = count(|state, _| *state == State::Working);
        let silent = count(State::is_silent);
        if self.hosts.borrow().len() >= self.pace.most.get() {
            return false;
        }
        let ready_soon = self.hosts.borrow().len() - working - silent;
        let near = jobs - working.min(jobs) + jobs.clamp(LEAST_AHEAD, MOST_AHEAD);
        ready_soon < near && (silent < MOST_SILENT || working + ready_soon == 0)
    }

    /// Waits until another host may be begun, perhaps.
    ///
    /// Wakes for each change that comes after the call, not after the first
    /// poll: so whoever calls it before [`Turns::may_begin`] misses none.
    pub fn change(&self) -> impl Future<Output = ()> {
        let now = Instant::now();
        let patience_ends = self
            .hosts
            .borrow()
            .values()
            .filter_map(|state| state.patience_ends())
            .filter(|end| *end > now)
            .min();
        let changed = self.changed.notified();
        async move {
            match patience_ends {
                Some(end) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(end) => {}
                },
                None => changed.await,
            }
        }
    }

    fn set(&self, rank: usize, state: State) {
        self.hosts.borrow_mut().insert(rank, state);
        self.give();
    }

    /// Gives turns to those that wait, in their order.
    fn give(&self) {
        let mut hosts = self.hosts.borrow_mut();
        let working = hosts.values().filter(|state| **state == State::Working).count();
        let free = self.pace.jobs.get().saturating_sub(working);
        hosts
            .values_mut()
            .filter(|state| **state == State::Waiting)
            .take(free)
            .for_each(|state| *state = State::Working);
        self.changed.notify_waiters();
    }
}

impl State {
    fn patience_ends(&self) -> Option<Instant> {
        match self {
            State::Reaching(since) => since.map(|since| since + PATIENCE),
            State::Waiting | State::Working => None,
        }
    }

    /// Whether it lets others wait no more.
    fn is_silent(&self, now: Instant) -> bool {
        self.patience_ends().is_some_and(|end| end <= now)
    }
}

impl Turn {
    /// Waits until a connection may be made; it is to be made then.
    pub async fn connection(&self) {
        let turns = &self.turns;
        let every = Duration::from_secs(1) / turns.pace.connections_per_second.get();
        let now = Instant::now();
        // What was not used of the rate in the last moments may be used now.
        let earliest = now.checked_sub(every * AT_ONCE).unwrap_or(now);
        let at = turns.next_connection.get().unwrap_or(earliest).max(earliest);
        turns.next_connection.set(Some(at + every));
        sleep_until(at).await;
        if !self.has_come() {
            turns.set(self.rank, State::Reaching(Some(Instant::now())));
        }
    }

    /// Whether it is the host's turn.
    pub fn has_come(&self) -> bool {
        self.turns.hosts.borrow().get(&self.rank) == Some(&State::Working)
    }

    /// Lets others go first: the host has gone away. [`Turn::come`] waits for
    /// another turn.
    pub fn put_off(&self) {
        self.turns.set(self.rank, State::Reaching(Some(Instant::now())));
    }

    /// Waits for the host's turn, which then lasts until this is dropped.
    pub async fn come(&self) {
        loop {
            let changed = self.turns.changed.notified();
            let state = self.turns.hosts.borrow().get(&self.rank).copied();
            match state {
                Some(State::Working) => return,
                Some(State::Waiting) => changed.await,
                Some(State::Reaching(_)) | None => self.turns.set(self.rank, State::Waiting),
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.hosts.borrow_mut().remove(&self.rank);
        self.turns.give();
    }
}
