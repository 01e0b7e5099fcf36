//! Progress on a terminal: a line for each host that is under way, and a total
//! below. Nothing of it in a pipe, with `--quiet`, or while the command is in
//! the background of its terminal.
//!
//! What there is to show is kept apart from the terminal, which may be stopped
//! (Ctrl-S) for as long as somebody likes: only whoever prints waits for it.

mod board;
mod screen;

use crate::app::run::{Event, Step};
use crate::core::model::host::HostName;
use board::Board;
use screen::Screen;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How often the lines are drawn anew.
const TICK: Duration = Duration::from_millis(200);

/// The lines on the terminal; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Bars {
    shown: Option<Arc<Shown>>,
}

#[derive(Debug)]
struct Shown {
    /// Held for moments only, never while anything is written.
    board: Mutex<Board>,
    /// Locked before the board.
    screen: Mutex<Screen>,
}

impl Bars {
    /// Lines on stderr, if it is a terminal and they are wanted.
    pub(super) fn new(wanted: bool) -> Self {
        // A terminal that cannot move its cursor would be flooded.
        let moves = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        if !(wanted && moves && std::io::stderr().is_terminal()) {
            return Bars { shown: None };
        }
        let board = Mutex::new(Board::new(Instant::now()));
        let shown = Arc::new(Shown { board, screen: Mutex::default() });
        let watched = Arc::downgrade(&shown);
        // Without the thread, the lines are drawn when something is printed.
        let _ = std::thread::Builder::new().name("progress".to_owned()).spawn(move || keep_drawing(&watched));
        Bars { shown: Some(shown) }
    }

    /// Says what is done before the first host.
    pub(super) fn doing(&self, what: &'static str) {
        self.board(|board, _| board.doing(what));
    }

    /// Says how many hosts there will be.
    pub(super) fn expect(&self, hosts: usize) {
        self.board(|board, _| board.expect(hosts));
    }

    /// A host is at this phase now.
    pub(super) fn at(&self, host: &HostName, phase: &'static str) {
        self.board(|board, now| board.at(host.spelled(), phase, now));
    }

    /// A host has dealt with so many files and bytes in all.
    pub(super) fn moved(&self, host: &HostName, files: u64, bytes: u64) {
        self.board(|board, now| board.moved(host.spelled(), files, bytes, now));
    }

    /// A host is done.
    pub(super) fn done(&self, host: &HostName) {
        self.board(|board, _| board.done(host.spelled()));
    }

    /// Takes what a host did in a run.
    pub(super) fn heard(&self, host: &HostName, event: Event) {
        match event {
            Event::Done => self.done(host),
            // Its turn is when there is something to see.
            Event::At(Step::Wait) => self.board(|board, _| board.rest(host.spelled())),
            Event::At(step) => self.at(host, word(step)),
            Event::AskedAgain => {}
            Event::Copied(progress) => self.moved(host, progress.files, progress.bytes),
        }
    }

    /// Prints while the lines are out of the way.
    pub(super) fn suspended(&self, print: impl FnOnce()) {
        match &self.shown {
            None => print(),
            Some(shown) => {
                let mut screen = lock(&shown.screen);
                screen.erase();
                print();
                shown.draw(&mut screen);
            }
        }
    }

    /// Takes everything off the terminal, for good.
    pub(super) fn clear(&self) {
        if let Some(shown) = &self.shown {
            lock(&shown.screen).end();
        }
    }

    fn board(&self, change: impl FnOnce(&mut Board, Instant)) {
        if let Some(shown) = &self.shown {
            change(&mut lock(&shown.board), Instant::now());
        }
    }
}

impl Shown {
    fn draw(&self, screen: &mut Screen) {
        let Some(size) = screen.size() else { return };
        let lines = lock(&self.board).lines(Instant::now(), size);
        screen.draw(&lines, size);
    }
}

/// Draws until nobody shows anything any more.
fn keep_drawing(watched: &Weak<Shown>) {
    while let Some(shown) = watched.upgrade() {
        shown.draw(&mut lock(&shown.screen));
        drop(shown);
        std::thread::sleep(TICK);
    }
}

fn word(step: Step) -> &'static str {
    match step {
        Step::Lock => "locking",
        Step::Prepare => "preparing the store",
        Step::Connect => "connecting",
        Step::Probe => "probing the host",
        Step::Wait => "waiting for its turn",
        Step::Hooks => "running hooks",
        Step::Transfer => "copying",
        Step::Snapshot => "taking the snapshot",
        Step::Rotate => "removing old snapshots",
        Step::Report => "reporting to Icinga",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
