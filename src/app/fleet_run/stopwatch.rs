//! Where the time of a run goes, taken as it goes.
//!
//! Hosts are heard through the run's watch, which tells of each step: so what a
//! host did is also known if its story broke off.

use crate::app::run::Event;
use crate::core::format::timing::{Phase, Recorder, Span, Step, Timings};
use crate::core::model::host::HostName;
use crate::sys::clock::Clock;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

/// Records what is done; clones share what they know.
#[derive(Debug, Clone)]
pub(super) struct Stopwatch {
    clock: Clock,
    run: Rc<RefCell<Recorder<Phase>>>,
    /// By the host's name in lower case.
    hosts: Rc<RefCell<HashMap<String, Recorder<Step>>>>,
}

impl Stopwatch {
    pub(super) fn new(clock: Clock) -> Self {
        Stopwatch { clock, run: Rc::default(), hosts: Rc::default() }
    }

    /// The run itself is at this now.
    pub(super) fn at(&self, phase: Phase) {
        self.run.borrow_mut().at(phase, self.clock.elapsed());
    }

    /// Takes what a host did.
    pub(super) fn heard(&self, host: &HostName, event: Event) {
        let mut hosts = self.hosts.borrow_mut();
        let now = self.clock.elapsed();
        match event {
            Event::At(step) => hosts.entry(host.key().to_owned()).or_default().at(step, now),
            Event::Done => {
                if let Some(recorder) = hosts.get_mut(host.key()) {
                    recorder.close(now);
                }
            }
            Event::AskedAgain | Event::Copied(_) => {}
        }
    }

    /// What a host did until now; nothing of one that was never begun.
    pub(super) fn host(&self, name: &str) -> Timings {
        let recorder = self.hosts.borrow_mut().remove(&name.to_ascii_lowercase());
        Timings::new(recorder.unwrap_or_default().spans(self.clock.elapsed()))
    }

    /// From when to when a host's report was under way.
    pub(super) fn told(&self, (begin, end): (Instant, Instant)) -> Span<Step> {
        Span::between(Step::Report, self.clock.offset(begin), self.clock.offset(end))
    }

    /// What the run itself did until now.
    pub(super) fn run(&self) -> Vec<Span<Phase>> {
        self.run.borrow().clone().spans(self.clock.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn steps(timings: &Timings) -> Vec<Step> {
        timings.spans().iter().map(|span| span.what).collect()
    }

    #[test]
    fn each_host_has_its_own_steps_also_one_whose_story_broke_off() {
        let watch = Stopwatch::new(Clock::starting_at(DateTime::UNIX_EPOCH));
        let (vpn, web): (HostName, HostName) = ("VPN".parse().unwrap(), "web".parse().unwrap());
        watch.heard(&vpn, Event::At(Step::Lock));
        watch.heard(&web, Event::At(Step::Lock));
        watch.heard(&vpn, Event::At(Step::Transfer));
        watch.heard(&vpn, Event::Done);
        watch.heard(&web, Event::At(Step::Connect));
        assert_eq!(steps(&watch.host("VPN")), [Step::Lock, Step::Transfer]);
        assert_eq!(steps(&watch.host("Web")), [Step::Lock, Step::Connect]);
        assert_eq!(watch.host("never begun"), Timings::default());
    }

    #[test]
    fn a_look_at_the_phases_ends_none_of_them() {
        let watch = Stopwatch::new(Clock::starting_at(DateTime::UNIX_EPOCH));
        watch.at(Phase::Inventory);
        assert_eq!(watch.run().len(), 1);
        watch.at(Phase::Hosts);
        let phases: Vec<Phase> = watch.run().iter().map(|span| span.what).collect();
        assert_eq!(phases, [Phase::Inventory, Phase::Hosts]);
    }
}
