//! What there is to show, and how it reads. Knows no terminal but its size.

use crate::core::format::text::{counted, human_bytes, shortened};
use std::time::{Duration, Instant};

/// How long a rate remembers, in seconds.
const MEMORY: f64 = 5.0;
/// Rates are not reckoned over less than this.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest that a host's name may be, in characters.
const LONGEST_NAME: usize = 24;

/// How many columns and rows a terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct Board {
    begun: Instant,
    doing: &'static str,
    expected: Option<usize>,
    done: usize,
    /// Bytes of hosts that are done.
    bytes: u64,
    /// Those under way, the first to begin first.
    hosts: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    name: String,
    begun: Instant,
    phase: &'static str,
    /// Whether this phase moves files.
    moves: bool,
    files: u64,
    meter: Meter,
}

impl Board {
    pub(super) fn new(now: Instant) -> Self {
        Board { begun: now, doing: "", expected: None, done: 0, bytes: 0, hosts: Vec::new() }
    }

    pub(super) fn doing(&mut self, what: &'static str) {
        self.doing = what;
    }

    pub(super) fn expect(&mut self, hosts: usize) {
        self.expected = Some(hosts);
    }

    pub(super) fn at(&mut self, host: &str, phase: &'static str, now: Instant) {
        let line = self.line(host, now);
        line.phase = phase;
        line.moves = false;
        line.meter.pause(now);
    }

    pub(super) fn moved(&mut self, host: &str, files: u64, bytes: u64, now: Instant) {
        let line = self.line(host, now);
        line.moves = true;
        line.files = files;
        line.meter.update(now, bytes);
    }

    /// There is nothing to show of a host for now.
    pub(super) fn rest(&mut self, host: &str) {
        self.hosts.retain(|line| line.name != host);
    }

    pub(super) fn done(&mut self, host: &str) {
        self.done += 1;
        if let Some(place) = self.hosts.iter().position(|line| line.name == host) {
            self.bytes += self.hosts.remove(place).meter.bytes;
        }
    }

    /// The lines for a terminal of this size: none is too wide, and there are
    /// not too many.
    pub(super) fn lines(&self, now: Instant, size: Size) -> Vec<String> {
        if self.expected.is_none() && self.doing.is_empty() {
            return Vec::new();
        }
        // The last row is the total's; what is below the cursor stays free.
        let room = size.rows.saturating_sub(2);
        let shown = &self.hosts[..self.hosts.len().min(room)];
        let names = shown.iter().map(|line| line.name.chars().count().min(LONGEST_NAME)).max().unwrap_or(0);
        let hosts = shown.iter().map(|line| line.text(now, names));
        let total = self.total(now, self.hosts.len() - shown.len());
        // In the last column some terminals break the line.
        let width = size.columns.saturating_sub(1);
        hosts.chain([total]).map(|line| shortened(&line, width)).collect()
    }

    fn total(&self, now: Instant, hidden: usize) -> String {
        let clock = clock(now.duration_since(self.begun));
        let Some(expected) = self.expected else { return format!("{clock}  {}", self.doing) };
        let mut text = format!("{clock}  {} of {} done", self.done, counted(expected, "host"));
        let bytes = self.bytes + self.hosts.iter().map(|line| line.meter.bytes).sum::<u64>();
        if bytes > 0 {
            text.push_str(&format!(", {}", human_bytes(bytes)));
        }
        let rate: u64 = self.hosts.iter().filter(|line| line.moves).map(|line| line.meter.rate(now)).sum();
        if rate > 0 {
            text.push_str(&format!(", {}/s", human_bytes(rate)));
        }
        if hidden > 0 {
            text.push_str(&format!(", {} more under way", counted(hidden, "host")));
        }
        text
    }

    fn line(&mut self, host: &str, now: Instant) -> &mut Line {
        let place = self.hosts.iter().position(|line| line.name == host).unwrap_or_else(|| {
            self.hosts.push(Line {
                name: host.to_owned(),
                begun: now,
                phase: "",
                moves: false,
                files: 0,
                meter: Meter::new(now),
            });
            self.hosts.len() - 1
        });
        &mut self.hosts[place]
    }
}

impl Line {
    fn text(&self, now: Instant, width: usize) -> String {
        let name = shortened(&self.name, LONGEST_NAME);
        let clock = clock(now.duration_since(self.begun));
        let mut text = format!("{name:<width$}  {clock:>7}  {}", self.phase);
        if self.moves {
            text.push_str(&format!(", {} files, {}", self.files, human_bytes(self.meter.bytes)));
            let rate = self.meter.rate(now);
            if rate > 0 {
                text.push_str(&format!(", {}/s", human_bytes(rate)));
            }
        }
        text
    }
}

/// How fast bytes move: an average in which what was long ago weighs little.
#[derive(Debug)]
struct Meter {
    bytes: u64,
    /// Bytes and time that the rate was last reckoned at.
    last: (Instant, u64),
    rate: Option<f64>,
}

impl Meter {
    fn new(now: Instant) -> Self {
        Meter { bytes: 0, last: (now, 0), rate: None }
    }

    /// Time up to now was spent on other things.
    fn pause(&mut self, now: Instant) {
        self.last = (now, self.bytes);
    }

    fn update(&mut self, now: Instant, bytes: u64) {
        if bytes < self.bytes {
            // It began anew.
            *self = Meter { bytes, last: (now, bytes), rate: None };
            return;
        }
        self.bytes = bytes;
        if now.duration_since(self.last.0) >= SHORTEST {
            self.rate = Some(self.reckoned(now));
            self.last = (now, bytes);
        }
    }

    /// Bytes a second.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded for a person")]
    fn rate(&self, now: Instant) -> u64 {
        let silent = now.duration_since(self.last.0) >= Duration::from_secs(1);
        let rate = if silent { self.reckoned(now) } else { self.rate.unwrap_or(0.0) };
        rate as u64
    }

    fn reckoned(&self, now: Instant) -> f64 {
        let seconds = now.duration_since(self.last.0).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "rounded for a person")]
        let latest = (self.bytes - self.last.1) as f64 / seconds.max(SHORTEST.as_secs_f64());
        match self.rate {
            None => latest,
            Some(before) => {
                let weight = (-seconds / MEMORY).exp();
                before * weight + latest * (1.0 - weight)
            }
        }
    }
}

/// `0:12`, `3:05`, `2:07:00`.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 { format!("{minutes}:{seconds:02}") } else { format!("{hours}:{minutes:02}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Size = Size { columns: 100, rows: 24 };
    const MIB: u64 = 1 << 20;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_host_under_way_has_a_line_and_the_total_stands_below() {
        let begin = Instant::now();
        let mut board = Board::new(begin);
        assert!(board.lines(begin, WIDE).is_empty());
        board.doing("asking NetBox");
        assert_eq!(board.lines(begin + seconds(1), WIDE), ["0:01  asking NetBox"]);
        board.expect(3);
        board.at("vpn", "connecting", begin + seconds(2));
        board.at("web-server", "connecting", begin + seconds(2));
        board.at("web-server", "copying", begin + seconds(4));
        board.moved("web-server", 12, 20 * MIB, begin + seconds(6));
        assert_eq!(
            board.lines(begin + seconds(6), WIDE),
            [
                "vpn            0:04  connecting",
                "web-server     0:04  copying, 12 files, 20.0 MiB, 10.0 MiB/s",
                "0:06  0 of 3 hosts done, 20.0 MiB, 10.0 MiB/s",
            ]
        );
        board.at("web-server", "taking the snapshot", begin + seconds(7));
        board.done("vpn");
        assert_eq!(
            board.lines(begin + seconds(3700), WIDE),
            ["web-server  1:01:38  taking the snapshot", "1:01:40  1 of 3 hosts done, 20.0 MiB"]
        );
        board.done("web-server");
        board.done("never begun");
        assert_eq!(board.lines(begin + seconds(8), WIDE), ["0:08  3 of 3 hosts done, 20.0 MiB"]);
    }

    #[test]
    fn no_line_is_too_wide_and_there_are_not_too_many() {
        let begin = Instant::now();
        let mut board = Board::new(begin);
        board.expect(50);
        for host in 0..30 {
            board.at(&format!("{host}{}", "x".repeat(60)), "removing old snapshots", begin);
            board.moved(&format!("{host}{}", "x".repeat(60)), 1_000_000, u64::MAX / 100, begin + seconds(9));
        }
        for (columns, rows) in [(2, 1), (2, 2), (3, 80), (20, 10), (40, 24), (100, 33), (300, 100)] {
            let lines = board.lines(begin + seconds(10), Size { columns, rows });
            assert!(lines.len() < rows.max(2), "{} lines in {rows} rows", lines.len());
            assert!(lines.iter().all(|line| line.chars().count() < columns), "{columns}: {lines:#?}");
        }
        let lines = board.lines(begin, Size { columns: 200, rows: 12 });
        assert_eq!(lines.len(), 11);
        assert!(lines[10].contains("20 hosts more under way"), "{}", lines[10]);
    }

    #[test]
    fn a_rate_follows_what_happens_and_does_not_jump() {
        let begin = Instant::now();
        let mut meter = Meter::new(begin);
        let mut bytes = 0;
        for second in 1..=20 {
            bytes += 10 * MIB;
            meter.update(begin + seconds(second), bytes);
        }
        assert_eq!(meter.rate(begin + seconds(20)), 10 * MIB);
        meter.update(begin + seconds(21), bytes + 110 * MIB);
        let rate = meter.rate(begin + seconds(21));
        assert!((11 * MIB..40 * MIB).contains(&rate), "one second weighs a little: {rate}");
        let silent = meter.rate(begin + seconds(41));
        assert!(silent < MIB, "nothing for long is no rate: {silent}");
        meter.update(begin + seconds(50), 5);
        assert_eq!((meter.bytes, meter.rate(begin + seconds(50))), (5, 0));
    }
}
