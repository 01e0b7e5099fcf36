//! What a command says while it works: human text on stderr, and syslog.
//!
//! An event inside a span `host` with a field `host` names that host on every
//! line. Text of events may come from anywhere: control characters are
//! escaped here, so that nobody else needs to. Other crates are heard from
//! `WARN` on, whatever the options: what an HTTP client has to tell of each
//! request drowns everything else.
//!
//! What many hosts have to warn of alike is said on stderr once, and in the end
//! with their number; a field `same` says what two events have in common where
//! their texts differ. An event with the field `syslog_only` is of record and
//! not for whoever watches.
//!
//! Not known here: what is worth saying.

mod repeated;
mod syslog;

use crate::core::format::text::{printable, shortened};
use repeated::Repeated;
use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use syslog::Syslog;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Where the syslog daemon listens.
const SYSLOG: &str = "/dev/log";
/// How long to wait before a lost syslog daemon is looked for again.
const SYSLOG_PAUSE: Duration = Duration::from_secs(3);
/// The most lines of one event.
const MOST_LINES: usize = 200;
/// The longest of them, in characters.
const LONGEST_LINE: usize = 4000;
/// The span, and its field, that name the host.
const HOST: &str = "host";
/// The file in the state directory whose age says when a missing syslog was told
/// of.
const STAMP: &str = "syslog-missing";

/// The log of this program, once there is one.
static LOG: OnceLock<Arc<Sinks>> = OnceLock::new();

/// Prints text on stderr, with a line break after it. It may come from any
/// thread.
pub type Printer = Box<dyn Fn(&str) + Send + Sync>;

/// How much is said on stderr, and how, and whether it is of record.
pub struct Options {
    /// Only warnings and errors; stronger than `verbose`.
    pub quiet: bool,
    /// Debugging as well.
    pub verbose: bool,
    /// Whether warnings are yellow and errors red; see [`wants_colour`].
    pub colour: bool,
    /// Whether syslog gets `INFO` and above. What somebody only looks at is not
    /// of record.
    pub syslog: bool,
    /// What prints; [`print()`], or with progress bars on the terminal
    /// `move |text| bars.suspend(|| print(text))`.
    pub printer: Printer,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("quiet", &self.quiet)
            .field("verbose", &self.verbose)
            .field("colour", &self.colour)
            .field("syslog", &self.syslog)
            .finish_non_exhaustive()
    }
}

/// Keeps the log going; when it is dropped, at the end of a run, syslog gets
/// what it could not take before, and people hear how many hosts were alike.
#[must_use = "dropped at once, it hands the last lines to syslog too early"]
#[derive(Debug)]
pub struct Logging {
    sinks: Arc<Sinks>,
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.sinks.complain(self.sinks.syslog.as_ref().and_then(Syslog::finish));
        self.sinks.conclude();
    }
}

/// Sends all events of the program to stderr and syslog from now on. To be
/// called once; a later call changes nothing.
pub fn init(options: Options) -> Logging {
    let (layer, logging) = layer(options, Path::new(SYSLOG), SYSLOG_PAUSE);
    let _ = LOG.set(logging.sinks.clone());
    // Fails only where a subscriber has been set, which then stays.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(layer));
    logging
}

/// Says where the log may keep what it remembers from one run to the next: when
/// it told of a missing syslog, which is not to be in each mail of cron.
pub fn keep_state_in(state_dir: &Path) {
    if let Some(sinks) = LOG.get() {
        sinks.remember_in(state_dir);
    }
}

/// Whether stderr shows colours: it is a terminal, and nobody said otherwise
/// (<https://no-color.org>).
pub fn wants_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes text to stderr at once, with a line break after it. A closed stderr
/// stops nothing.
pub fn print(text: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// The layer behind [`init`], with the path of syslog's socket and how long a
/// lost one is left alone.
fn layer(options: Options, socket: &Path, pause: Duration) -> (Shared, Logging) {
    let stderr_level = match (options.quiet, options.verbose) {
        (true, _) => LevelFilter::WARN,
        (false, true) => LevelFilter::DEBUG,
        (false, false) => LevelFilter::INFO,
    };
    let syslog = options.syslog.then(|| Syslog::new(socket, pause));
    let sinks = Arc::new(Sinks {
        options,
        stderr_level,
        syslog,
        repeated: Mutex::default(),
        missing: Mutex::default(),
        stamp: Mutex::default(),
    });
    (Shared(sinks.clone()), Logging { sinks })
}

#[derive(Debug)]
struct Sinks {
    options: Options,
    stderr_level: LevelFilter,
    syslog: Option<Syslog>,
    /// What hosts have warned of.
    repeated: Mutex<Repeated>,
    /// What is wrong with syslog, which is told in the end.
    missing: Mutex<Option<String>>,
    /// The file whose age says when that was told last.
    stamp: Mutex<Option<PathBuf>>,
}

/// The sinks, as a layer.
struct Shared(Arc<Sinks>);

/// The host of a span, kept with the span.
struct HostOf(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Shared {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        if metadata.is_span() {
            return metadata.name() == HOST && is_ours(metadata);
        }
        let limit =
            if is_ours(metadata) { self.0.stderr_level.max(LevelFilter::INFO) } else { LevelFilter::WARN };
        *metadata.level() <= limit
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut said = Said::default();
        attributes.record(&mut said);
        if let (Some(host), Some(span)) = (said.host, context.span(id)) {
            span.extensions_mut().insert(HostOf(host));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let host = said.host.take().or_else(|| {
            context
                .event_scope(event)?
                .find_map(|span| span.extensions().get::<HostOf>().map(|HostOf(host)| host.clone()))
        });
        let level = *event.metadata().level();
        let lines = said.lines(host.as_deref());
        let is_for_people = !said.syslog_only || self.0.options.verbose;
        let is_shown = is_for_people && level <= self.0.stderr_level;
        if is_shown && !self.0.was_said(level, &said, &lines) {
            self.0.print(level, &lines);
        }
        if level <= Level::INFO {
            self.0.complain(self.0.syslog.as_ref().and_then(|syslog| syslog.write(level, &lines)));
        }
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target == env!("CARGO_CRATE_NAME") || target.starts_with(concat!(env!("CARGO_CRATE_NAME"), "::"))
}

impl Sinks {
    fn print(&self, level: Level, lines: &Lines) {
        let (label, colour) = match level {
            Level::ERROR => ("error:", "\u{1b}[31m"),
            Level::WARN => ("warning:", "\u{1b}[33m"),
            Level::INFO => ("", ""),
            _ => ("debug:", ""),
        };
        let label = match (label, self.options.colour && !colour.is_empty()) {
            ("", _) => String::new(),
            (label, true) => format!("{colour}{label}\u{1b}[0m "),
            (label, false) => format!("{label} "),
        };
        (self.options.printer)(&format!("{label}{}", lines.for_people()));
    }

    /// Whether another host has said the same already.
    fn was_said(&self, level: Level, said: &Said, lines: &Lines) -> bool {
        let Some(host) = lines.host.as_deref().filter(|_| level <= Level::WARN && !self.options.verbose)
        else {
            return false;
        };
        let text = said.same.clone().unwrap_or_else(|| lines.lines.join("\n"));
        self.repeated.lock().unwrap_or_else(PoisonError::into_inner).hear(
            level,
            text,
            host,
            said.last_good.as_deref(),
        )
    }

    /// Syslog's own trouble can only be told to stderr.
    fn complain(&self, complaint: Option<String>) {
        if complaint.is_some() {
            *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = complaint;
        }
    }

    fn remember_in(&self, state_dir: &Path) {
        *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) = Some(state_dir.join(STAMP));
    }

    /// Tells what there is to tell in the end.
    fn conclude(&self) {
        let repeated = std::mem::take(&mut *self.repeated.lock().unwrap_or_else(PoisonError::into_inner));
        for (level, line) in repeated.told() {
            self.print(level, &Lines { host: None, lines: vec![line] });
        }
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stamp = self.stamp.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(complaint) = missing.filter(|_| !stamp.is_some_and(|stamp| repeated::is_young(&stamp))) {
            self.print(Level::WARN, &Lines { host: None, lines: vec![complaint] });
        }
    }
}

/// What an event says, as lines that are safe to show.
#[derive(Debug)]
struct Lines {
    host: Option<String>,
    lines: Vec<String>,
}

impl Lines {
    /// One text: the host's name once, further lines indented.
    fn for_people(&self) -> String {
        self.prefix() + &self.lines.join("\n  ")
    }

    /// Lines that stand alone, each with the host's name.
    fn for_machines(&self) -> impl Iterator<Item = String> {
        self.lines.iter().map(|line| self.prefix() + line)
    }

    fn prefix(&self) -> String {
        self.host.as_ref().map(|host| format!("{host}: ")).unwrap_or_default()
    }
}

/// The fields of an event or a span, as they were recorded.
#[derive(Debug, Default)]
struct Said {
    host: Option<String>,
    message: String,
    /// What it has in common with other events that are told once.
    same: Option<String>,
    /// Of when its host's last good copy is, if that belongs to it.
    last_good: Option<String>,
    /// It is not for whoever watches.
    syslog_only: bool,
    /// ` key=value`, for each further one.
    fields: String,
}

impl Said {
    fn record(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            HOST => self.host = Some(printable(value)),
            "same" => self.same = Some(value.to_owned()),
            "last_good" => self.last_good = Some(printable(value)),
            "syslog_only" => self.syslog_only = value == "true",
            // Writing to a `String` does not fail.
            name => drop(write!(self.fields, " {name}={}", printable(value))),
        }
    }

    /// The fields go with the first line, which says what they belong to. Whoever
    /// wrote the text, it is cut to what somebody may still read.
    fn lines(&self, host: Option<&str>) -> Lines {
        let said = || self.message.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let mut lines: Vec<String> = said()
            .take(MOST_LINES)
            .map(|line| shortened(&printable(&shortened(line, LONGEST_LINE)), LONGEST_LINE))
            .collect();
        let more = said().skip(MOST_LINES).count();
        lines.extend(Some(more).filter(|more| *more > 0).map(|more| format!("and {more} more lines")));
        match lines.first_mut() {
            Some(first) => first.push_str(&self.fields),
            None => lines.push(self.fields.trim_start().to_owned()),
        }
        Lines { host: host.map(str::to_owned), lines }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::path::PathBuf;
    use std::sync::Mutex;
    use tracing::{debug, error, info, info_span, trace, warn};

    /// A syslog daemon and a stderr that are read by the test.
    struct Bench {
        folder: tempfile::TempDir,
        daemon: Option<UnixDatagram>,
        printed: Arc<Mutex<Vec<String>>>,
    }

    impl Bench {
        fn without_daemon() -> Self {
            Bench { folder: tempfile::tempdir().unwrap(), daemon: None, printed: Arc::default() }
        }

        fn new() -> Self {
            let mut bench = Bench::without_daemon();
            bench.start_daemon();
            bench
        }

        fn socket(&self) -> PathBuf {
            self.folder.path().join("log")
        }

        fn start_daemon(&mut self) {
            let daemon = UnixDatagram::bind(self.socket()).unwrap();
            daemon.set_nonblocking(true).unwrap();
            self.daemon = Some(daemon);
        }

        fn stop_daemon(&mut self) {
            self.daemon = None;
            std::fs::remove_file(self.socket()).unwrap();
        }

        /// Runs `events` with a log of its own.
        fn log(&mut self, options: Options, pause: Duration, events: impl FnOnce(&mut Self)) {
            let printed = self.printed.clone();
            let printer: Printer = Box::new(move |text| printed.lock().unwrap().push(text.to_owned()));
            let (layer, logging) = layer(Options { printer, ..options }, &self.socket(), pause);
            tracing::subscriber::with_default(Registry::default().with(layer), || events(self));
            drop(logging);
        }

        fn printed(&self) -> Vec<String> {
            std::mem::take(&mut *self.printed.lock().unwrap())
        }

        /// What the daemon got, without the time: `<30>backup[7]: text`.
        fn received(&self) -> Vec<String> {
            let mut buffer = [0; 4096];
            let mut lines = Vec::new();
            while let Ok(length) = self.daemon.as_ref().unwrap().recv(&mut buffer) {
                let line = std::str::from_utf8(&buffer[..length]).unwrap();
                let (priority, rest) = line.split_once('>').unwrap();
                let time = &rest[.."Nov 20 02:00:05 ".len()];
                assert!(time.ends_with(' ') && time.matches(':').count() == 2, "{line}");
                let rest = rest[time.len()..].replace(&format!("[{}]", std::process::id()), "[7]");
                lines.push(format!("{priority}>{rest}"));
            }
            lines
        }
    }

    fn options() -> Options {
        Options { quiet: false, verbose: false, colour: false, syslog: true, printer: Box::new(|_| {}) }
    }

    fn every_level() {
        let span = info_span!("host", host = %"VPN");
        let _entered = span.enter();
        error!("no route");
        warn!("slow");
        info!("connected");
        debug!("ssh -v");
        trace!("never");
    }

    #[test]
    fn stderr_is_as_loud_as_asked_and_syslog_always_gets_the_same() {
        let syslog =
            ["<27>backup[7]: VPN: no route", "<28>backup[7]: VPN: slow", "<30>backup[7]: VPN: connected"];
        let loud = ["error: VPN: no route", "warning: VPN: slow", "VPN: connected", "debug: VPN: ssh -v"];
        for (quiet, verbose, stderr) in [
            (false, false, &loud[..3]),
            (true, false, &loud[..2]),
            (false, true, &loud),
            (true, true, &loud[..2]),
        ] {
            let mut bench = Bench::new();
            bench.log(Options { quiet, verbose, ..options() }, SYSLOG_PAUSE, |_| every_level());
            assert_eq!(bench.printed(), stderr, "quiet: {quiet}, verbose: {verbose}");
            assert_eq!(bench.received(), syslog, "quiet: {quiet}, verbose: {verbose}");
        }
    }

    #[test]
    fn only_warnings_and_errors_have_a_colour() {
        let mut bench = Bench::new();
        bench.log(Options { verbose: true, colour: true, ..options() }, SYSLOG_PAUSE, |_| every_level());
        assert_eq!(
            bench.printed(),
            [
                "\u{1b}[31merror:\u{1b}[0m VPN: no route",
                "\u{1b}[33mwarning:\u{1b}[0m VPN: slow",
                "VPN: connected",
                "debug: VPN: ssh -v",
            ]
        );
    }

    #[test]
    fn every_line_names_its_host_in_syslog() {
        let mut bench = Bench::new();
        bench.log(options(), SYSLOG_PAUSE, |_| {
            info_span!("host", host = "web").in_scope(|| {
                info_span!("other", size = 3).in_scope(|| warn!("hook failed\nline 1\r\n\n  line 2\n"));
            });
            info!("2 hosts");
        });
        assert_eq!(bench.printed(), ["warning: web: hook failed\n  line 1\n    line 2", "2 hosts"]);
        assert_eq!(
            bench.received(),
            [
                "<28>backup[7]: web: hook failed",
                "<28>backup[7]: web: line 1",
                "<28>backup[7]: web:   line 2",
                "<30>backup[7]: 2 hosts",
            ]
        );
    }

    #[test]
    fn fields_follow_the_first_line_and_an_event_may_name_its_host_itself() {
        let mut bench = Bench::new();
        bench.log(options(), SYSLOG_PAUSE, |_| {
            info!(host = %"db", files = 7, path = "/a\nb", "copied\nmore");
            info!(count = 1);
        });
        assert_eq!(bench.printed(), ["db: copied files=7 path=/a\\nb\n  more", "count=1"]);
    }

    #[test]
    fn hostile_text_forges_no_line_and_steers_no_terminal() {
        let mut bench = Bench::new();
        bench.log(options(), SYSLOG_PAUSE, |_| {
            info_span!("host", host = "x\n<0>kernel: forged").in_scope(|| info!("a\u{1b}[2Jb\rc\0d"));
        });
        let line = "x\\n<0>kernel: forged: a\\u{1b}[2Jb\\rc\\u{0}d";
        assert_eq!(bench.printed(), [line]);
        assert_eq!(bench.received(), [format!("<30>backup[7]: {line}")]);
    }

    #[test]
    fn an_event_without_end_is_cut() {
        let mut bench = Bench::new();
        bench.log(options(), SYSLOG_PAUSE, |_| {
            warn!("{}", "x".repeat(10_000_000));
            warn!("{}", "line\n".repeat(1_000_000));
        });
        let printed = bench.printed();
        assert!(printed[0].chars().count() < LONGEST_LINE + 20, "{}", printed[0].len());
        assert!(printed[1].ends_with("line\n  and 999800 more lines"), "{}", printed[1]);
    }

    #[test]
    fn a_long_line_is_cut_for_syslog_alone() {
        let mut bench = Bench::new();
        let long = "é".repeat(2000);
        bench.log(options(), SYSLOG_PAUSE, |_| info!("{long}"));
        assert_eq!(bench.printed(), [long]);
        let received = bench.received();
        assert!(received.len() == 1 && received[0].len() <= 1024, "{received:?}");
        assert!(received[0].ends_with("éé…"), "{received:?}");
    }

    #[test]
    fn what_hosts_have_in_common_is_said_once_on_stderr_and_of_each_in_syslog() {
        let of = |host: &str, age: u32| {
            info_span!("host", host).in_scope(|| {
                warn!("the pool is slow");
                let last_good = format!("{} days ago", 9 - age);
                error!(same = "failed", last_good, "failed; last good copy {last_good}");
            });
        };
        let mut bench = Bench::new();
        bench.log(Options { quiet: true, ..options() }, SYSLOG_PAUSE, |_| {
            ["a", "b", "c"].iter().zip(1..).for_each(|(host, age)| of(host, age));
            warn!("the pool is slow");
        });
        assert_eq!(
            bench.printed(),
            [
                "warning: a: the pool is slow",
                "error: a: failed; last good copy 8 days ago",
                "warning: the pool is slow",
                "error: the same of 2 more hosts (b, c) as of a: failed; the oldest last good copy, of c, is of 6 days ago",
                "warning: the same of 2 more hosts (b, c) as of a: the pool is slow",
            ]
        );
        let received = bench.received();
        assert_eq!(received.len(), 7, "{received:?}");
        assert!(received.contains(&"<27>backup[7]: c: failed; last good copy 6 days ago".to_owned()));
        bench.log(Options { verbose: true, ..options() }, SYSLOG_PAUSE, |_| {
            ["a", "b"].iter().for_each(|host| of(host, 1));
        });
        assert_eq!(bench.printed().len(), 4, "who asks for more gets it");
    }

    #[test]
    fn what_is_of_record_alone_is_not_on_stderr() {
        let mut bench = Bench::new();
        bench.log(options(), SYSLOG_PAUSE, |_| info!(syslog_only = true, "a run begins"));
        assert!(bench.printed().is_empty());
        assert_eq!(bench.received(), ["<30>backup[7]: a run begins"]);
    }

    #[test]
    fn other_crates_are_heard_only_when_they_warn() {
        let mut bench = Bench::new();
        bench.log(Options { verbose: true, ..options() }, SYSLOG_PAUSE, |_| {
            info_span!("host", host = "web").in_scope(|| {
                let span = info_span!(target: "hyper", "host", host = "theirs");
                let _entered = span.enter();
                info!(target: "hyper::client", "a pool");
                warn!(target: "hyper::client", "a broken pool");
                info!(target: "backups", "not ours");
            });
        });
        assert_eq!(bench.printed(), ["warning: web: a broken pool"]);
    }

    #[test]
    fn a_missing_daemon_is_told_once_and_stops_nothing() {
        let mut bench = Bench::without_daemon();
        bench.log(Options { quiet: true, ..options() }, Duration::ZERO, |bench| {
            info!("one");
            info!("two");
            assert!(bench.printed().is_empty());
            bench.start_daemon();
            info!("three");
        });
        let printed = bench.printed();
        assert_eq!(printed.len(), 1, "{printed:?}");
        assert!(printed[0].starts_with("warning: cannot write to syslog at `"), "{printed:?}");
        assert!(printed[0].contains("No such file"), "{printed:?}");
        let texts = ["one", "two", "three"].map(|text| format!("<30>backup[7]: {text}"));
        assert_eq!(bench.received(), texts, "what was said before it came is not lost");
    }

    #[test]
    fn a_daemon_that_starts_anew_misses_nothing() {
        let mut bench = Bench::new();
        bench.log(options(), Duration::ZERO, |bench| {
            info!("before");
            assert_eq!(bench.received(), ["<30>backup[7]: before"]);
            bench.stop_daemon();
            bench.start_daemon();
            info!("right after");
            bench.stop_daemon();
            info!("meanwhile");
            bench.start_daemon();
            info!("after");
        });
        let texts = ["meanwhile", "after"].map(|text| format!("<30>backup[7]: {text}"));
        assert_eq!(bench.received(), texts);
        let warnings = bench.printed().iter().filter(|line| line.starts_with("warning")).count();
        assert_eq!(warnings, 1, "for the time in which there was none");
    }

    #[test]
    fn a_lost_daemon_is_left_alone_for_a_while_and_gets_the_rest_at_the_end() {
        let mut bench = Bench::new();
        bench.log(options(), Duration::from_secs(3600), |bench| {
            info!("before");
            bench.stop_daemon();
            info!("meanwhile");
            bench.start_daemon();
            info!("still too early");
            assert!(bench.received().is_empty());
        });
        assert_eq!(bench.received(), ["<30>backup[7]: meanwhile", "<30>backup[7]: still too early"]);
        assert!(bench.printed().iter().all(|line| !line.starts_with("warning")));
    }

    #[test]
    fn a_daemon_that_reads_nothing_does_not_stop_the_run() {
        let mut bench = Bench::new();
        // Far more than the socket's queue takes; each blocked write has an end.
        bench.log(options(), Duration::from_secs(3600), |_| (0..2000).for_each(|n| info!("line {n}")));
        let printed = bench.printed();
        assert_eq!(
            printed.iter().filter(|line| line.starts_with("warning: cannot write to syslog")).count(),
            1
        );
        assert!(bench.received().starts_with(&["<30>backup[7]: line 0".to_owned()]));
    }
}
