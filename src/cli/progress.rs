//! Progress on a terminal: a line for each host that is under way. Nothing of
//! it in a pipe or with `--quiet`.

use crate::backup::{Event, Step};
use crate::host::HostName;
use crate::text::human_bytes;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a line is drawn anew while its host does nothing that is told.
const TICK: Duration = Duration::from_millis(250);

/// The lines on the terminal; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Bars {
    screen: MultiProgress,
    shown: bool,
    lines: Arc<Mutex<HashMap<String, ProgressBar>>>,
    total: Arc<Mutex<Option<ProgressBar>>>,
}

impl Bars {
    /// Lines on stderr, if it is a terminal and they are wanted.
    pub(super) fn new(wanted: bool) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
        Bars {
            screen: MultiProgress::with_draw_target(target),
            shown,
            lines: Arc::default(),
            total: Arc::default(),
        }
    }

    /// Says how many hosts there will be.
    pub(super) fn expect(&self, hosts: usize) {
        if self.shown {
            let bar = self.screen.add(ProgressBar::new(hosts as u64));
            bar.set_style(style("{pos} of {len} hosts done, {elapsed}"));
            bar.enable_steady_tick(TICK);
            *lock(&self.total) = Some(bar);
        }
    }

    /// A line of its own for work on so many bytes; a hidden one where there is
    /// no terminal.
    pub(super) fn bytes(&self, what: &'static str, total: u64) -> ProgressBar {
        if !self.shown {
            return ProgressBar::hidden();
        }
        let bar = self.screen.add(ProgressBar::new(total));
        bar.set_style(style(
            "{prefix} {wide_bar} {bytes}/{total_bytes}, {binary_bytes_per_sec}, {msg} {elapsed}",
        ));
        bar.set_prefix(what);
        bar.enable_steady_tick(TICK);
        bar
    }

    /// Prints while the lines are out of the way.
    pub(super) fn suspended(&self, print: impl FnOnce()) {
        if self.shown { self.screen.suspend(print) } else { print() }
    }

    /// Takes what a host did.
    pub(super) fn heard(&self, host: &HostName, event: Event) {
        if !self.shown {
            return;
        }
        let mut lines = lock(&self.lines);
        match event {
            Event::Done => {
                if let Some(line) = lines.remove(host.key()) {
                    line.finish_and_clear();
                }
                if let Some(total) = lock(&self.total).as_ref() {
                    total.inc(1);
                }
            }
            Event::At(step) => self.line(&mut lines, host).set_message(word(step)),
            Event::Copied(progress) => {
                let text = format!("copying, {} files, {}", progress.files, human_bytes(progress.bytes));
                self.line(&mut lines, host).set_message(text);
            }
        }
    }

    /// Takes everything off the terminal.
    pub(super) fn clear(&self) {
        // A host whose work broke off has not said that it is done.
        for (_, line) in lock(&self.lines).drain() {
            line.finish_and_clear();
        }
        if let Some(total) = lock(&self.total).take() {
            total.finish_and_clear();
        }
    }

    fn line<'a>(&self, lines: &'a mut HashMap<String, ProgressBar>, host: &HostName) -> &'a ProgressBar {
        lines.entry(host.key().to_owned()).or_insert_with(|| {
            let line = ProgressBar::new_spinner();
            let line = match lock(&self.total).as_ref() {
                Some(total) => self.screen.insert_before(total, line),
                None => self.screen.add(line),
            };
            line.set_style(style("{spinner} {prefix}: {msg} {elapsed}"));
            line.set_prefix(host.spelled().to_owned());
            line.enable_steady_tick(TICK);
            line
        })
    }
}

fn word(step: Step) -> &'static str {
    match step {
        Step::Connect => "connecting",
        Step::Hooks => "running hooks",
        Step::Transfer => "copying",
        Step::Snapshot => "taking the snapshot",
        Step::Rotate => "removing old snapshots",
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
