//! `backup [run] HOST...|all`: from the configuration to the exit code.

mod answer;
mod ending;
mod stopwatch;
mod trace;

use super::history_writer::{self, Ledger};
use super::output::{self, Format, Output, code_of};
use super::plan;
use super::session::{self, Common};
use super::{progress::Bars, signals::Signals};
use crate::app::admission::Turn;
use crate::app::fleet;
use crate::app::run::{self, Run};
use crate::core::filter::{self, Rule};
use crate::core::format::text::printable;
use crate::core::format::timing::{self, Phase, Span, Sums};
use crate::core::model::host::{Host, HostName};
use crate::core::model::outcome::{HostReport, Note, Outcome, Severity, Stage};
use crate::core::model::problem::Problem;
use crate::core::model::settings::Settings;
use crate::core::model::snapshot::{Facts, HoldName, latest_good};
use crate::edge::history::Findings;
use crate::edge::inventory::{self, Rename, SelectError, UnfitHost, Unknown};
use crate::edge::report::{Reporter, icinga, icinga::Icinga};
use crate::edge::store::{AnyStore, Store, StoreError, Survey};
use crate::sys::clock::Clock;
use crate::sys::lock::Runtime;
use answer::Answer;
use anyhow::{Context, anyhow, bail};
use ending::Listed;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use stopwatch::Stopwatch;
use tokio_util::sync::CancellationToken;
use trace::TraceFile;
use tracing::{Instrument, error, info, info_span, warn};

/// How long Icinga gets for what is still to be told when the run ends.
const LAST_REPORTS: Duration = Duration::from_secs(120);
/// The same, when the run was told to stop.
const LAST_REPORTS_STOPPED: Duration = Duration::from_secs(2);

/// How long the store may take to say what it holds.
const LONGEST_SURVEY: Duration = Duration::from_secs(15 * 60);

pub(super) const HELP: &str = "\
Examples:
  backup vpn
      Back up one host now.
  backup 'web*' db1 --keep before-upgrade
      Back up some hosts, and hold their new snapshots until they are released.
  backup all --dry-run
      Show what a run would do, as `backup plan` does.
  backup --quiet all --json | jq -r '.hosts[] | select(.severity != \"OK\") | .name'
      List the hosts that need attention.

JSON, once the run has ended: {run, started, duration_seconds, hosts, problems, exit}; each
of `hosts` is {name, result, severity, summary, notes, snapshot, verdict, started,
duration_seconds, files, bytes, received_bytes, changed, deleted, snapshots, last_good},
`result` is good, partial, suspect, failed, skipped or interrupted; `problems` lists what is
wrong with the run itself.

Exit status: 0 if every host is good and every result was reported, 1 if not, 2 if the run
could not start.";

/// What may be said on the command line of a run.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Hosts of the inventory: a name in any case, a glob such as 'web*', or
    /// `all`.
    #[arg(value_name = "HOST", required = true)]
    pub(super) hosts: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    format: Format,
    /// Show what would be done, without doing it, as `backup plan` does.
    #[arg(
        short = 'n',
        long,
        conflicts_with_all = ["force", "accept_deletions", "keep", "timings", "trace", "jobs"]
    )]
    dry_run: bool,
    /// Number of hosts to back up at once, instead of the configured one.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    jobs: Option<NonZeroUsize>,
    /// Back up these hosts without consulting the inventory.
    #[arg(long)]
    force: bool,
    /// Accept this run as good even if most files are gone or the host looks
    /// like another machine.
    #[arg(long)]
    accept_deletions: bool,
    /// Hold each new snapshot under this name, until `backup release`: no
    /// rotation removes it. Use it before something dangerous.
    #[arg(long, value_name = "NAME")]
    keep: Option<HoldName>,
    /// Print how long each step of each host took; `*` marks the longest.
    #[arg(long)]
    timings: bool,
    /// Write a trace of what was done when to FILE, for chrome://tracing or
    /// Perfetto (ui.perfetto.dev).
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

impl Arguments {
    /// Refuses what clap cannot see is wrong.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.force && self.means_all() {
            bail!("`--force` backs up hosts that the inventory lacks, so it needs their names, not `all`");
        }
        Ok(())
    }

    fn means_all(&self) -> bool {
        self.hosts.iter().any(|word| word.eq_ignore_ascii_case("all"))
    }
}

fn at_least_one(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "it must be a whole number of at least 1")
}

/// Runs, and says how it went as an exit code.
pub(super) fn execute(arguments: Arguments, clock: Clock) -> u8 {
    if arguments.dry_run {
        let Arguments { hosts, format, common, .. } = arguments;
        return plan::execute(&plan::Arguments { hosts, format, common }, clock);
    }
    let bars = Bars::new(!arguments.common.quiet);
    session::run(&arguments.common, &bars, async || start(&arguments, clock, bars.clone()).await)
}

/// Everything up to the exit code; an error if nothing could start.
async fn start(arguments: &Arguments, clock: Clock, bars: Bars) -> anyhow::Result<u8> {
    arguments.check()?;
    let trace_file = arguments.trace.as_deref().map(TraceFile::at).transpose()?;
    // Before there is anything that would have to be cleared away.
    let mut signals = Signals::listen()?;
    let mut begun =
        Begun { reporter: Reporter::start(None), listed: Listed::default(), problems: Vec::new() };
    let stopwatch = Stopwatch::new(clock);
    let ready = tokio::select! {
        ready = prepare(arguments, clock, &bars, &stopwatch, &mut begun) => ready,
        () = signals.next() => bail!("told to stop before the first host was begun"),
    };
    let ready = match ready {
        Ok(ready) => ready,
        Err(error) => {
            if arguments.means_all() {
                ending::not_begun(&begun.reporter, &error).await;
            }
            return Err(error);
        }
    };
    let Begun { reporter, listed, mut problems } = begun;
    let run = Rc::new(ready.run);
    let lines = bars.clone();
    signals.stop(
        run.cancel.clone(),
        "no further host is begun, those under way end without a snapshot",
        move || lines.clear(),
    );
    let told = Told { reporter: &reporter, ledger: ready.ledger, renames: &listed.renames };
    let reports = back_up(&run, ready.hosts, ready.faults, told, &stopwatch, &mut problems).await;
    bars.clear();
    let phases = stopwatch.run();
    if let Some(file) = trace_file {
        if let Err(error) = file.write(&crate::core::format::trace::of(&run.id, &phases, &reports)) {
            let problem = Problem::warning(format!("{error:#}"), "");
            warn!("{problem}");
            problems.push(problem);
        }
    }
    let code = ending::close(&run, arguments, &reporter, &listed, &reports, &mut problems).await;
    let told = if arguments.timings { print_timings(&reports, &phases) } else { Ok(()) };
    let code = code_of(code, told);
    let told = if arguments.format.json { print_json(&run, &reports, &problems, code) } else { Ok(()) };
    Ok(code_of(code, told))
}

/// A run that can begin.
struct Ready {
    run: Run<AnyStore>,
    hosts: Vec<Host>,
    faults: Vec<UnfitHost>,
    ledger: Ledger,
}

/// What is known of a run before it can begin, and still if it cannot.
struct Begun {
    reporter: Reporter,
    listed: Listed,
    /// What is wrong beside the hosts.
    problems: Vec<Problem>,
}

/// Who hears of each host as it is done, beside the log.
struct Told<'a> {
    reporter: &'a Reporter,
    ledger: Ledger,
    /// Hosts that are called otherwise than their copies.
    renames: &'a [Rename],
}

/// Everything before the first host. What makes the run doubtful is said, and
/// kept in `begun`.
async fn prepare(
    arguments: &Arguments,
    clock: Clock,
    bars: &Bars,
    stopwatch: &Stopwatch,
    begun: &mut Begun,
) -> anyhow::Result<Ready> {
    stopwatch.at(Phase::Configuration);
    let mut settings = crate::app::session::settings(arguments.common.config())?;
    crate::app::session::set_jobs(&mut settings, arguments.jobs);
    let icinga = settings.icinga.as_ref().map(|icinga| Icinga::new(icinga, &settings.server)).transpose()?;
    begun.reporter = Reporter::start(icinga);
    let configured = pattern_files(&settings.excludes.files)?;
    let (runtime, swept) = Runtime::enter(&settings.runtime_dir)
        .context("the runtime directory is not usable (run as root, and check `runtime_dir`)")?;
    if swept > 0 {
        warn!("cleaned up after {swept} killed run(s)");
    }
    if !rustix::process::geteuid().is_root() {
        warn!(
            "not running as root: owners, devices and some attributes of files cannot be kept in the copies"
        );
    }
    bars.doing("asking for the list of hosts");
    stopwatch.at(Phase::Inventory);
    let Chosen { hosts, faults, names: known } = choose(arguments, &settings, clock, begun).await?;
    if arguments.accept_deletions && hosts.len() > 1 {
        warn!(
            "`--accept-deletions`: all {} hosts are accepted as they are, whatever was deleted",
            hosts.len()
        );
    }
    let store = AnyStore::open(&settings.store)?;
    bars.doing("reading the store");
    stopwatch.at(Phase::Survey);
    let survey = survey(&store).await;
    // Not the run's start: another run may have taken snapshots since.
    let clock_behind = survey.as_ref().ok().and_then(|survey| run::clock_behind(survey, clock.now()));
    if let Some(newest) = &clock_behind {
        let problem = Problem::warning(
            format!(
                "the clock is behind the newest snapshot, {newest}: nothing is removed of that host, nor of any \
                 whose own clock does not agree with this one"
            ),
            format!(
                "correct the clock; if it is right now, it was ahead when that snapshot was taken: {}",
                newest.removal(&store)
            ),
        );
        warn!("{problem}");
        begun.problems.push(problem);
    }
    let hosts = in_order(hosts, clock, survey.as_ref().ok());
    bars.expect(hosts.len());
    let id =
        format!("{}/{}/{}", settings.server, clock.start().format("%Y-%m-%dT%H%M%SZ"), std::process::id());
    let number = crate::core::model::finding::counted(hosts.len() + faults.len(), "host");
    info!(syslog_only = true, "run {id} begins: {number}, {} at once", settings.jobs);
    let names: Vec<HostName> = hosts.iter().map(|host| host.name.clone()).collect();
    let held = survey.as_ref().cloned().unwrap_or_default();
    stopwatch.at(Phase::History);
    let (ledger, past) =
        history_writer::open(settings.state_dir.clone(), clock, id.clone(), held, names).await;
    let (watched, timed) = (bars.clone(), stopwatch.clone());
    let run = Run {
        store,
        survey,
        runtime,
        clock,
        id,
        configured,
        cancel: CancellationToken::new(),
        accept_deletions: arguments.accept_deletions,
        keep: arguments.keep.clone(),
        clock_behind,
        clock_agreed: std::cell::Cell::default(),
        names: known,
        past,
        fresh: run::FRESH,
        watch: Box::new(move |host, event| {
            timed.heard(host, event);
            watched.heard(host, event);
        }),
        settings,
    };
    Ok(Ready { run, hosts, faults, ledger })
}

/// The hosts as a run begins them, one after the other.
pub(super) fn in_order(hosts: Vec<Host>, clock: Clock, survey: Option<&Survey>) -> Vec<Host> {
    fleet::order(hosts, clock.start().date_naive(), |name| {
        let last = survey?.of(name).iter().rev().find_map(|snapshot| snapshot.facts());
        last.and_then(|facts: &Facts| facts.duration)
    })
}

/// What the store holds. One that does not answer is every host's failure, and
/// is reported as such, rather than the run's silence.
pub(super) async fn survey(store: &AnyStore) -> Result<Survey, StoreError> {
    tokio::time::timeout(LONGEST_SURVEY, store.survey()).await.unwrap_or_else(|_| {
        Err(StoreError::new("the store did not answer within 15 minutes")
            .hint("does its disk hang, or the network filesystem that it is on?"))
    })
}

/// Whom a run is about.
struct Chosen {
    /// The hosts to back up.
    hosts: Vec<Host>,
    /// Those that should be and cannot be.
    faults: Vec<UnfitHost>,
    /// What all hosts of the inventory are called, in small letters.
    names: BTreeSet<String>,
}

/// Finds out whom a run is about.
async fn choose(
    arguments: &Arguments,
    settings: &Settings,
    clock: Clock,
    begun: &mut Begun,
) -> anyhow::Result<Chosen> {
    if arguments.force {
        let names: Result<Vec<HostName>, _> = arguments.hosts.iter().map(|name| name.parse()).collect();
        let mut names = names?;
        names.sort();
        names.dedup();
        let hosts = names.into_iter().map(|name| inventory::forced(settings, name)).collect();
        return Ok(Chosen { hosts, faults: Vec::new(), names: BTreeSet::new() });
    }
    let inventory = inventory::load(settings, clock.start()).await?;
    // Said before a name is looked for: an old list may be why it is not there.
    inventory.problems().for_each(|problem| warn!("{problem}"));
    begun.problems.extend(inventory.problems().cloned());
    let (departures, unkept) = inventory::follow(&settings.state_dir, &inventory, clock.start());
    let left = departures.problem().filter(|_| arguments.means_all());
    for problem in unkept.into_iter().chain(left) {
        warn!("{problem}");
        begun.problems.push(problem);
    }
    let (at, renames) = (inventory.listed_at, inventory.renames.clone());
    begun.listed = Listed { at, left: departures.left.into_keys().collect(), renames };
    inventory.notes.iter().for_each(|note| warn!("{note}"));
    let selection =
        inventory::select(&inventory, &arguments.hosts).map_err(|error| unknown(error, &arguments.hosts))?;
    let hosts = selection.hosts.into_iter().cloned().collect();
    let faults = selection.faults.into_iter().cloned().collect();
    let names = inventory.hosts.iter().map(|host| host.name.key().to_owned()).collect();
    Ok(Chosen { hosts, faults, names })
}

/// Why a word selects nothing. The first one may be a command with a slip, for
/// which a run without the inventory is no remedy.
fn unknown(error: SelectError, words: &[String]) -> anyhow::Error {
    let first =
        |unknown: &&Unknown| matches!(unknown, Unknown::Name { name, .. } if words.first() == Some(name));
    let commands = error.0.iter().find(first).zip(words.first()).map(|(_, word)| super::commands_like(word));
    match (commands.unwrap_or_default().as_slice(), words.first()) {
        ([], _) | (_, None) => anyhow!("{error} (`--force` backs a host up without the inventory)"),
        (commands, Some(word)) => {
            let commands: Vec<String> =
                commands.iter().map(|command| format!("`backup {command}`")).collect();
            anyhow!(
                "there is no command `{0}`; did you mean {1}? ({error})",
                printable(word),
                commands.join(" or ")
            )
        }
    }
}

/// The rules of the operator's own pattern files.
pub(super) fn pattern_files(files: &[PathBuf]) -> anyhow::Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for file in files {
        let bytes = std::fs::read(file)
            .with_context(|| format!("cannot read `{}` (see `excludes.files`)", file.display()))?;
        let (more, warnings) = filter::parse_lines(&bytes, &file.to_string_lossy());
        if !warnings.is_empty() {
            warn!("{}", warnings.lines());
        }
        rules.extend(more);
    }
    Ok(rules)
}

/// Backs the hosts up, and reports each of them, also those that cannot be.
async fn back_up(
    run: &Rc<Run<AnyStore>>,
    hosts: Vec<Host>,
    faults: Vec<UnfitHost>,
    told: Told<'_>,
    stopwatch: &Stopwatch,
    problems: &mut Vec<Problem>,
) -> Vec<HostReport> {
    let Told { reporter, mut ledger, renames } = told;
    let mut reports: Vec<HostReport> = Vec::with_capacity(hosts.len() + faults.len());
    stopwatch.at(Phase::Hosts);
    let mut done = |report: HostReport| {
        let timings = stopwatch.host(&report.host);
        let mut report = with_history(HostReport { timings, ..report }, run);
        report.notes.extend(reporter.is_of_run(&report.host).then(|| Note {
            severity: Severity::Warning,
            text: format!("the run itself is not reported to Icinga: {}", icinga::OTHER_NAME),
        }));
        let rename = renames.iter().find(|rename| rename.from.spelled() == report.host);
        report.notes.extend(
            rename.map(|rename| Note { severity: Severity::Warning, text: rename.problem().to_string() }),
        );
        say(&report);
        reporter.submit(report.clone());
        ledger.record(report.clone());
        reports.push(report);
    };
    for fault in faults {
        let now = run.clock.now();
        let outcome = Outcome::Failed { stage: Stage::Inventory, why: fault.why };
        done(HostReport::bare(fault.name, outcome, now, now));
    }
    let work = |host: Host, turn: Turn| {
        let run = run.clone();
        let span = info_span!("host", host = %host.name);
        async move { run::host(&run, &host, turn).await }.instrument(span)
    };
    fleet::run(hosts, fleet::pace(&run.settings), run.clock, &run.cancel, work, &mut done).await;
    stopwatch.at(Phase::LastReports);
    let delivered = reporter.finish(ending::long_enough(&run.cancel)).await;
    for (report, tries) in reports.iter_mut().zip(delivered.tries) {
        tries.into_iter().for_each(|tried| report.timings.add(stopwatch.told(tried)));
    }
    let unwritten = ledger.finish(&reports).await.into_iter().map(|what| Problem::warning(what, ""));
    for problem in delivered.problems.into_iter().chain(unwritten) {
        warn!("{problem}");
        problems.push(problem);
    }
    reports
}

/// The report with what the store knows of the host's past, where its story
/// could not tell: it was never begun, or broke off.
fn with_history(mut report: HostReport, run: &Run<AnyStore>) -> HostReport {
    if report.snapshots.is_none() {
        if let (Ok(name), Ok(survey)) = (report.host.parse::<HostName>(), &run.survey) {
            let past = survey.of(&name);
            report.snapshots = Some(past.iter().filter(|snapshot| snapshot.is_ours()).count());
            report.last_good = latest_good(past, run.clock.now()).map(|snapshot| snapshot.time);
        }
    }
    report
}

/// One host's result: a line, and its details below.
fn say(report: &HostReport) {
    let name = if report.host.is_empty() { "(no name)" } else { &report.host };
    let span = info_span!("host", host = %printable(name));
    let _entered = span.enter();
    let severity = report.severity();
    let summary = printable(&report.summary());
    let text = [vec![summary.as_str()], report.details()].concat().join("\n");
    // Of hosts that fared alike people are told once.
    let same =
        format!("{severity}: {}", [vec![report.problem().as_str()], report.details()].concat().join("\n"));
    let last_good = report.past_good();
    match severity {
        Severity::Ok => info!("{severity}: {text}"),
        Severity::Warning => warn!(same, last_good, "{severity}: {text}"),
        Severity::Critical => error!(same, last_good, "{severity}: {text}"),
    }
}

/// How long the run took until now.
fn took(run: &Run<AnyStore>) -> Duration {
    (run.clock.now() - run.clock.start()).to_std().unwrap_or_default()
}

fn print_json(
    run: &Run<AnyStore>,
    reports: &[HostReport],
    problems: &[Problem],
    code: u8,
) -> anyhow::Result<()> {
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let mut out = Output::new();
    out.json(&Answer::new(&run.id, (run.clock.start(), took(run)), reports, &problems, code))?;
    out.end()
}

/// How many findings of verifications are open, of each host that has any. Those
/// that cannot be read are one at least.
fn open_findings(settings: &Settings) -> BTreeMap<String, usize> {
    let all = Findings::at(&settings.state_dir).all().unwrap_or_default();
    all.into_iter().map(|(host, open)| (host, open.map_or(1, |open| open.each().len().max(1)))).collect()
}

/// Prints where the time went, whatever else is said.
fn print_timings(reports: &[HostReport], phases: &[Span<Phase>]) -> anyhow::Result<()> {
    let hosts: Vec<(&str, Sums)> =
        reports.iter().map(|report| (report.host.as_str(), report.timings.sums())).collect();
    let mut out = Output::new();
    out.table(timing::table(&hosts, output::width().is_none()))?;
    out.line(&timing::closing(&hosts, phases))?;
    out.end()
}
