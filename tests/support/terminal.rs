//! A terminal: a program runs on it, and the screen is looked at.
//!
//! It knows the few control sequences that the product and shells use to draw
//! lines, and fails on none: what it does not know it passes over.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A terminal and the program on it.
pub struct Terminal {
    master: File,
    screen: Arc<Mutex<Screen>>,
    reader: Option<JoinHandle<()>>,
    /// The program, which leads a session of its own.
    pub child: Child,
}

impl Terminal {
    /// Starts a program on a terminal of this size; it is in the foreground,
    /// and stdout is the terminal too if `whole`.
    pub fn start(command: &Command, columns: usize, rows: usize, whole: bool) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = || {
            use std::os::unix::fs::OpenOptionsExt;
            let no_control = rustix::fs::OFlags::NOCTTY.bits().try_into().unwrap();
            let opened = File::options().read(true).write(true).custom_flags(no_control).open(&name).unwrap();
            Stdio::from(OwnedFd::from(opened))
        };
        resize(&master, columns, rows);
        // Only a new session gets a terminal of its own.
        let mut session = super::rig::program("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        session.env("TERM", "xterm");
        session.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        session.stdin(slave()).stderr(slave());
        if whole {
            session.stdout(slave());
        } else {
            session.stdout(Stdio::piped());
        }
        let child = session.spawn().unwrap();
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(Screen::new(columns, rows)));
        let (mut output, watched) = (master.try_clone().unwrap(), screen.clone());
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // At the program's end there is nobody to read from: an error.
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                watched.lock().unwrap().take(&buffer[..count]);
            }
        });
        drop(session);
        Terminal { master, screen, reader: Some(reader), child }
    }

    /// Types something.
    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Gives the terminal another size, as if its window were drawn so.
    pub fn resize(&self, columns: usize, rows: usize) {
        let mut screen = self.screen.lock().unwrap();
        resize(&self.master, columns, rows);
        screen.resize(columns, rows);
    }

    /// The screen's lines, without blanks at their ends and without the empty
    /// ones at the bottom.
    pub fn lines(&self) -> Vec<String> {
        self.screen.lock().unwrap().lines()
    }

    /// What has left the screen at its top, and the screen.
    pub fn everything(&self) -> Vec<String> {
        let screen = self.screen.lock().unwrap();
        screen.gone.iter().cloned().chain(screen.lines()).collect()
    }

    /// Every byte that was written to the terminal.
    pub fn bytes(&self) -> Vec<u8> {
        self.screen.lock().unwrap().bytes.clone()
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    pub fn shows(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let last = std::cell::RefCell::new(Vec::new());
        let begin = std::time::Instant::now();
        loop {
            *last.borrow_mut() = self.lines();
            if wanted(&last.borrow()) {
                return last.into_inner();
            }
            let shown = last.borrow().join("\n");
            assert!(begin.elapsed() < super::rig::PATIENCE, "not shown: {what}\nbut:\n{shown}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits for the program's end, and gives its exit code.
    pub fn ends(&mut self) -> Option<i32> {
        let mut code = None;
        super::rig::until("the program ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        self.reader.take().map(JoinHandle::join);
        code.unwrap().code()
    }
}

fn resize(master: &impl std::os::fd::AsFd, columns: usize, rows: usize) {
    let size = rustix::termios::Winsize {
        ws_row: rows.try_into().unwrap(),
        ws_col: columns.try_into().unwrap(),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(master, size).unwrap();
}

/// What stands on a terminal.
struct Screen {
    columns: usize,
    rows: usize,
    grid: Vec<Vec<char>>,
    at: (usize, usize),
    gone: Vec<String>,
    bytes: Vec<u8>,
    pending: Vec<u8>,
}

impl Screen {
    fn new(columns: usize, rows: usize) -> Self {
        let grid = vec![vec![' '; columns]; rows];
        Screen { columns, rows, grid, at: (0, 0), gone: Vec::new(), bytes: Vec::new(), pending: Vec::new() }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.grid.iter().map(|line| text(line)).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    /// Breaks the lines anew, as terminals do.
    fn resize(&mut self, columns: usize, rows: usize) {
        let mut grid: Vec<Vec<char>> = Vec::new();
        let mut at = (0, self.at.1);
        for (number, line) in self.grid.iter().enumerate().take(self.at.0 + 1) {
            let mut line: Vec<char> = text(line).chars().collect();
            at.0 = grid.len();
            if number == self.at.0 {
                at = (grid.len() + self.at.1 / columns, self.at.1 % columns);
                line.resize(line.len().max(self.at.1), ' ');
            }
            let parts: Vec<Vec<char>> = line.chunks(columns).map(<[char]>::to_vec).collect();
            grid.extend(if parts.is_empty() { vec![Vec::new()] } else { parts });
        }
        while grid.len() > rows {
            self.gone.push(text(&grid.remove(0)));
            at.0 = at.0.saturating_sub(1);
        }
        grid.resize(rows, Vec::new());
        grid.iter_mut().for_each(|line| line.resize(columns, ' '));
        (self.columns, self.rows, self.grid, self.at) = (columns, rows, grid, at);
    }

    fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pending.extend_from_slice(bytes);
        while let Some(length) = self.step() {
            self.pending.drain(..length);
        }
    }

    /// Takes one character or sequence; how many bytes it has, if it is whole.
    fn step(&mut self) -> Option<usize> {
        let first = *self.pending.first()?;
        match first {
            0x1b => return self.escape(),
            b'\r' => self.at.1 = 0,
            b'\n' => self.down(),
            0x08 => self.at.1 = self.at.1.saturating_sub(1),
            0..0x20 => {}
            _ => {
                let length = match first {
                    0..0x80 => 1,
                    0x80..0xe0 => 2,
                    0xe0..0xf0 => 3,
                    _ => 4,
                };
                let character = String::from_utf8_lossy(self.pending.get(..length)?).chars().next()?;
                if self.at.1 == self.columns {
                    self.at.1 = 0;
                    self.down();
                }
                self.grid[self.at.0][self.at.1] = character;
                self.at.1 += 1;
                return Some(length);
            }
        }
        Some(1)
    }

    fn escape(&mut self) -> Option<usize> {
        if *self.pending.get(1)? != b'[' {
            return Some(2);
        }
        let end = 2 + self.pending[2..].iter().position(|byte| (0x40..=0x7e).contains(byte))?;
        let count = std::str::from_utf8(&self.pending[2..end]).ok().and_then(|digits| digits.parse().ok());
        let count: usize = count.unwrap_or(1);
        let (row, column) = self.at;
        match self.pending[end] {
            b'A' => self.at.0 = row.saturating_sub(count),
            b'C' => self.at.1 = (column + count).min(self.columns - 1),
            b'D' => self.at.1 = column.saturating_sub(count),
            b'K' => self.grid[row][column.min(self.columns)..].fill(' '),
            b'J' => {
                self.grid[row][column.min(self.columns)..].fill(' ');
                self.grid[row + 1..].iter_mut().for_each(|line| line.fill(' '));
            }
            _ => {}
        }
        Some(end + 1)
    }

    fn down(&mut self) {
        if self.at.0 + 1 < self.rows {
            self.at.0 += 1;
        } else {
            self.gone.push(text(&self.grid.remove(0)));
            self.grid.push(vec![' '; self.columns]);
        }
    }
}

fn text(line: &[char]) -> String {
    line.iter().collect::<String>().trim_end().to_owned()
}
