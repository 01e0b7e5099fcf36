//! Before a host's turn: it is connected to and asked what it has while others
//! are copied (docs/decisions/0017-ready-before-their-turn.md).

use super::{Event, HostRun, failed};
use crate::core::format::text::printable;
use crate::core::format::timing::Step;
use crate::core::model::clock::{self, ClockSkew};
use crate::core::model::outcome::{Outcome, Stage};
use crate::edge::remote::{Probe, Question, Remote, SourceState};
use crate::edge::rsync::TransferError;
use crate::edge::store::Store;
use chrono::TimeDelta;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, warn};

/// For [`Run::fresh`](super::Run::fresh): less than the idle master of a
/// connection lives.
pub const FRESH: Duration = Duration::from_secs(60);
/// An answer that is older than this when the host's turn comes is asked for
/// once more: hooks must not be the first to find out that the host is gone.
const RECENT: Duration = Duration::from_secs(5);

/// Pauses before a lost connection is tried again: this long, then four times
/// as long, … A host that restarts takes a minute or two.
const FIRST_PAUSE: Duration = Duration::from_secs(4);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// A host that answers, and what it said.
pub(super) struct Reached {
    pub(super) remote: Remote,
    pub(super) probe: Probe,
    heard: Instant,
}

impl<S: Store> HostRun<'_, S> {
    /// Makes the host ready and waits for its turn. One that goes away while it
    /// waits is tried as often as after a lost connection, and lets the others
    /// go first meanwhile.
    pub(super) async fn ready(&mut self) -> Result<Reached, Outcome> {
        let retries = self.run.settings.transfer.retries;
        let mut reached = self.reach().await?;
        let mut lost = 0;
        loop {
            let why = match self.wait(&mut reached).await {
                Ok(()) => return Ok(reached),
                Err(Outcome::Failed { why, .. }) if lost < retries => why,
                Err(stop) => return Err(stop),
            };
            drop(reached);
            self.turn.put_off();
            let reach = async |run: &mut Self| run.reach().await;
            reached = self.try_again("it went away before its turn", why, &mut lost, reach).await?;
        }
    }

    /// Tries something again that needs a connection, after a pause, until it is
    /// done or as many tries have been lost as the operator allows. `happened` and
    /// `why` are what the first was lost by.
    pub(super) async fn try_again<T>(
        &mut self,
        happened: &str,
        mut why: String,
        lost: &mut u32,
        mut attempt: impl AsyncFnMut(&mut Self) -> Result<T, Outcome>,
    ) -> Result<T, Outcome> {
        let retries = self.run.settings.transfer.retries;
        loop {
            // The pause before it is no other step's.
            self.at(Step::Connect);
            *lost += 1;
            warn!("{happened} ({why}); trying again ({lost} of {retries})");
            tokio::select! {
                () = tokio::time::sleep(pause(*lost)) => {}
                () = self.run.cancel.cancelled() => return Err(Outcome::Interrupted),
            }
            why = match attempt(self).await {
                Err(Outcome::Failed { why, .. }) if *lost < retries => why,
                done => return done,
            };
        }
    }

    /// Connects, and asks what is there.
    async fn reach(&mut self) -> Result<Reached, Outcome> {
        let remote = self.connect().await?;
        let probe = self.probe(&remote).await?;
        Ok(Reached { remote, probe, heard: Instant::now() })
    }

    /// Waits for the host's turn. Meanwhile it is asked anew now and then, so
    /// that what is known of it stays true and its connection in use.
    async fn wait(&mut self, reached: &mut Reached) -> Result<(), Outcome> {
        self.at(Step::Wait);
        let begin = Instant::now();
        let turn = async {
            loop {
                let asked = async {
                    tokio::time::sleep(self.run.fresh).await;
                    self.ask(&reached.remote).await
                };
                reached.probe = tokio::select! {
                    biased;
                    () = self.run.cancel.cancelled() => return Err(Outcome::Interrupted),
                    () = self.turn.come() => return Ok(()),
                    probe = asked => probe?,
                };
                reached.heard = Instant::now();
                (self.run.watch)(&self.host.name, Event::AskedAgain);
            }
        };
        let turn = turn.await;
        self.leave_out(begin);
        turn?;
        if reached.heard.elapsed() > RECENT {
            reached.probe = self.probe(&reached.remote).await?;
            reached.heard = Instant::now();
        }
        Ok(())
    }

    /// Leaves the time since then out of how long the host took.
    fn leave_out(&mut self, begin: Instant) {
        self.started += TimeDelta::from_std(begin.elapsed()).unwrap_or_default();
    }

    pub(super) async fn connect(&mut self) -> Result<Remote, Outcome> {
        let begin = Instant::now();
        let is_before_its_turn = !self.turn.has_come();
        if is_before_its_turn {
            self.at(Step::Wait);
        }
        tokio::select! {
            () = self.turn.connection() => {}
            () = self.run.cancel.cancelled() => return Err(Outcome::Interrupted),
        }
        if is_before_its_turn {
            self.leave_out(begin);
        }
        self.at(Step::Connect);
        let dir = self.run.runtime.connection_dir().map_err(|error| failed(Stage::Connect, error))?;
        let connected = tokio::select! {
            connected = Remote::connect(self.host, &self.run.settings.ssh, dir) => connected,
            () = self.run.cancel.cancelled() => return Err(Outcome::Interrupted),
        };
        let remote = connected.map_err(|error| failed(Stage::Connect, error))?;
        debug!("connected to {}", self.host.address);
        Ok(remote)
    }

    async fn probe(&self, remote: &Remote) -> Result<Probe, Outcome> {
        self.at(Step::Probe);
        self.ask(remote).await
    }

    /// Asks the host what it has, and refuses what cannot be copied.
    async fn ask(&self, remote: &Remote) -> Result<Probe, Outcome> {
        let settings = &self.run.settings;
        let question = Question::of(self.host, settings, self.run.runtime.witness());
        let probe = tokio::select! {
            probe = remote.probe(question) => probe.map_err(|error| failed(Stage::Probe, error))?,
            () = self.run.cancel.cancelled() => return Err(Outcome::Interrupted),
        };
        let is_alike = |theirs| clock::compare(self.run.clock.now(), theirs) == ClockSkew::Alike;
        if !probe.is_this_machine && probe.time.is_some_and(is_alike) {
            self.run.clock_agreed.set(true);
        }
        if let SourceState::Unusable(state) = &probe.source {
            let why = format!(
                "the source `{}` is {} there (is `source` right, and its disk mounted?)",
                printable(&self.host.settings.source),
                printable(state)
            );
            return Err(failed(Stage::Probe, why));
        }
        if probe.rsync.is_none() {
            return Err(failed(Stage::Probe, TransferError::NoRemoteRsync));
        }
        Ok(probe)
    }
}

/// How long to wait before the try of this number, from 1.
fn pause(lost: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(4_u32.saturating_pow(lost.saturating_sub(1))).min(LONGEST_PAUSE)
}
