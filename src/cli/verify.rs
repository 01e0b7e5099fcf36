//! `backup verify`: hosts compared with their newest good snapshots.

use super::output::{Format, Output, code_of};
use super::progress::Bars;
use super::session::{self, Common};
use super::signals::Signals;
use crate::app::verify::{self, Scope, VerifyEvent, VerifyRun, VerifyStep};
use crate::core::format::table::{Column, Table};
use crate::core::format::text::{human_bytes, human_duration, printable};
use crate::core::model::host::{Host, HostName};
use crate::core::model::outcome::Severity;
use crate::core::model::run_record;
use crate::core::model::verification::{Finding, MOST_FINDINGS, Stop, Verification, VerificationState};
use crate::edge::history::{History, HistoryError, Opened};
use crate::edge::inventory::{self, UnfitHost};
use crate::edge::report::{Reporter, icinga::Icinga, metrics};
use crate::edge::store::AnyStore;
use crate::sys::clock::Clock;
use crate::sys::lock::Runtime;
use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};

/// How long Icinga gets for what is still to be told at the end.
const LAST_REPORTS: Duration = Duration::from_secs(60);

/// How long the history may take to be written.
const LAST_WRITING: Duration = Duration::from_secs(15);

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    backup verify                      compare 200 files of each host\n  \
    backup verify 'web*' --sample 20   compare 20 files of each of these hosts\n  \
    backup verify files --all          compare every file; reads everything on both sides\n  \
    backup verify --quiet              for cron: print only what is wrong\n\n\
    Exit status: 0 if every copy is as it should be, 1 if one is not or could not be compared, \
    2 if the command could not start.\n\n\
    Notes: a file that has the same time as its copy but other contents is `different`: one of the two is \
    damaged, or a program changed the file after the copy and set its time back. Such a host, or one whose \
    snapshot cannot be read, is reported to Icinga as CRITICAL. A good verification is not reported, so that \
    the result of the last run stays.")]
pub(super) struct Arguments {
    /// Hosts of the inventory: a name in any case, a glob such as 'web*', or
    /// `all`, the default.
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,
    /// Number of files of each host to compare, chosen at random; at most 16 GiB
    /// are read.
    #[arg(long, value_name = "N", default_value = "200", value_parser = at_least_one)]
    sample: NonZeroUsize,
    /// Compare every file. This reads everything on both sides and may take
    /// hours.
    #[arg(long, conflicts_with = "sample")]
    all: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

fn at_least_one(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "it must be a whole number of at least 1")
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    let bars = Bars::new(!arguments.common.quiet);
    session::run(&arguments.common, &bars, async || start(arguments, clock, &bars).await)
}

async fn start(arguments: &Arguments, clock: Clock, bars: &Bars) -> anyhow::Result<u8> {
    let mut signals = Signals::listen()?;
    let ready = tokio::select! {
        ready = prepare(arguments, clock, bars) => ready?,
        () = signals.next() => bail!("told to stop before the first host was begun"),
    };
    let run = Rc::new(ready.run);
    bars.expect(ready.hosts.len());
    let lines = bars.clone();
    signals.stop(
        run.cancel.clone(),
        "no further host is begun, those under way end as they are",
        move || lines.clear(),
    );
    let reporter = Reporter::start(ready.icinga);
    let mut results: Vec<Verification> = ready.faults.iter().map(|fault| unfit(fault, clock.now())).collect();
    results.iter().for_each(say);
    all_hosts(&run, ready.hosts, |result| {
        say(&result);
        result.alarm().into_iter().for_each(|alarm| reporter.submit(alarm));
        results.push(result);
    })
    .await;
    bars.clear();
    let mut has_problems = false;
    for problem in reporter.finish(tokio::time::sleep(LAST_REPORTS)).await.problems {
        warn!("{problem}");
        has_problems = true;
    }
    has_problems |= !write_metrics(&run, &results);
    if let Some(problem) = remember(&run, &results).await {
        warn!("{problem}");
        has_problems = true;
    }
    results.sort_by_key(|result| result.host.to_lowercase());
    let code =
        u8::from(has_problems || results.iter().any(|result| result.state() != VerificationState::Good));
    Ok(code_of(code, answer(arguments, &results)))
}

/// What can begin.
struct Ready {
    run: VerifyRun<AnyStore>,
    hosts: Vec<Host>,
    faults: Vec<UnfitHost>,
    icinga: Option<Icinga>,
}

async fn prepare(arguments: &Arguments, clock: Clock, bars: &Bars) -> anyhow::Result<Ready> {
    let mut settings = crate::app::session::settings(arguments.common.config())?;
    crate::app::session::set_jobs(&mut settings, None);
    let icinga = settings.icinga.as_ref().map(|icinga| Icinga::new(icinga, &settings.server)).transpose()?;
    let (runtime, _) = Runtime::enter(&settings.runtime_dir)
        .context("the runtime directory is not usable (run as root, and check `runtime_dir`)")?;
    bars.doing("reading the inventory");
    let inventory = inventory::look(&settings, clock.now(), None).await?;
    inventory.problems().for_each(|warning| warn!("{warning}"));
    let all = ["all".to_owned()];
    let words = if arguments.hosts.is_empty() { &all[..] } else { &arguments.hosts };
    let selection = inventory::select(&inventory, words)?;
    let hosts = selection.hosts.into_iter().cloned().collect();
    let faults = selection.faults.into_iter().cloned().collect();
    let store = AnyStore::open(&settings.store)?;
    let watched = bars.clone();
    let run = VerifyRun {
        store,
        runtime,
        clock,
        scope: if arguments.all { Scope::All } else { Scope::Sample(arguments.sample) },
        cancel: CancellationToken::new(),
        watch: Box::new(move |host, event| show(&watched, host, event)),
        settings,
    };
    Ok(Ready { run, hosts, faults, icinga })
}

/// Verifies `jobs` hosts at once and gives each one's result to `done`.
async fn all_hosts(run: &Rc<VerifyRun<AnyStore>>, hosts: Vec<Host>, mut done: impl FnMut(Verification)) {
    let mut waiting = hosts.into_iter();
    let mut tasks = JoinSet::new();
    let mut begun: HashMap<Id, (HostName, DateTime<Utc>)> = HashMap::new();
    loop {
        while tasks.len() < run.settings.jobs.get() {
            let Some(host) = waiting.next() else { break };
            let (name, run_of_task) = (host.name.clone(), run.clone());
            let span = info_span!("host", host = %name);
            let work = async move { verify::host(&run_of_task, &host).await }.instrument(span);
            let task = tasks.spawn_local(work);
            begun.insert(task.id(), (name, run.clock.now()));
        }
        match tasks.join_next_with_id().await {
            None => return,
            Some(Ok((id, result))) => {
                begun.remove(&id);
                done(result);
            }
            // One host's panic is that host's failure alone.
            Some(Err(error)) => {
                if let Some((name, started)) = begun.remove(&error.id()) {
                    let why = format!("a fault in this program: {error} (please report it)");
                    let stop = Some(Stop::Failed(why));
                    let finished = run.clock.now();
                    done(Verification { stop, finished, ..Verification::of(&name, started) });
                }
            }
        }
    }
}

/// The result of a host that should be backed up and cannot be.
fn unfit(fault: &UnfitHost, now: DateTime<Utc>) -> Verification {
    Verification {
        host: fault.name.clone(),
        snapshot: None,
        tally: Default::default(),
        findings: Vec::new(),
        open: Default::default(),
        unrecorded: None,
        stop: Some(Stop::Failed(fault.why.clone())),
        started: now,
        finished: now,
    }
}

/// One host's result: a line, and its details below.
fn say(result: &Verification) {
    let name = if result.host.is_empty() { "(no name)" } else { &result.host };
    let span = info_span!("host", host = %printable(name));
    let _entered = span.enter();
    let text = [vec![printable(&result.summary())], result.details()].concat().join("\n");
    match result.state().severity() {
        Severity::Ok => info!("verified: {text}"),
        Severity::Warning => warn!("not verified: {text}"),
        Severity::Critical => error!("not verified: {text}"),
    }
}

/// `false` if the textfile that is wanted cannot be written.
fn write_metrics(run: &VerifyRun<AnyStore>, results: &[Verification]) -> bool {
    let Some(path) = &run.settings.metrics_textfile else { return true };
    let written = metrics::write_verifications(path, &run.settings.server, results);
    written.map_err(|error| warn!("{error}")).is_ok()
}

/// Writes the results into the history, away from this thread; what is lost,
/// if anything is.
async fn remember(run: &VerifyRun<AnyStore>, results: &[Verification]) -> Option<String> {
    let ended = results.iter().filter(|result| result.state() != VerificationState::Interrupted);
    let rows: Vec<run_record::VerificationRecord> = ended.map(row).collect();
    let (state_dir, now) = (run.settings.state_dir.clone(), run.clock.now());
    let writing = tokio::task::spawn_blocking(move || -> Result<Vec<String>, HistoryError> {
        let Opened { history, warnings, .. } = History::open(&state_dir, now)?;
        rows.iter().try_for_each(|row| history.record_verification(row))?;
        Ok(warnings)
    });
    let lost = match tokio::time::timeout(LAST_WRITING, writing).await {
        Ok(Ok(Ok(warnings))) => {
            warnings.iter().for_each(|warning| warn!("{warning}"));
            return None;
        }
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its disk does not answer".to_owned(),
    };
    Some(format!("the results are not in the history: {lost}"))
}

/// A result as the history keeps it.
fn row(result: &Verification) -> run_record::VerificationRecord {
    let tally = &result.tally;
    run_record::VerificationRecord {
        host: result.host.to_lowercase(),
        time: result.finished,
        snapshot: result.snapshot.as_ref().map(|(name, _)| name.clone()),
        sampled: tally.sampled,
        identical: tally.identical,
        changed: tally.changed + tally.overlooked,
        different: tally.different,
        unreadable: tally.unreadable + tally.unreadable_there,
        problem: (result.state() != VerificationState::Good).then(|| result.summary()),
    }
}

fn show(bars: &Bars, host: &HostName, event: VerifyEvent) {
    match event {
        VerifyEvent::At(step) => bars.at(
            host,
            match step {
                VerifyStep::Snapshot => "choosing the snapshot",
                VerifyStep::Connect => "connecting",
                VerifyStep::Compare => "comparing",
                VerifyStep::LookAgain => "looking again",
            },
        ),
        VerifyEvent::Checked { files, bytes } => bars.moved(host, files, bytes),
        VerifyEvent::Done => bars.done(host),
    }
}

fn answer(arguments: &Arguments, results: &[Verification]) -> anyhow::Result<()> {
    let mut output = Output::new();
    if arguments.format.json {
        output.json(&Json { hosts: results.iter().map(HostJson::from).collect() })?;
    } else if !arguments.common.quiet {
        output.table(table(results))?;
    }
    output.end()
}

fn table(results: &[Verification]) -> Table {
    use Column::{Figures, Words};
    let mut table = Table::new(&[
        Words("HOST"),
        Words("RESULT"),
        Figures("FILES"),
        Figures("IDENTICAL"),
        Figures("CHANGED"),
        Figures("GONE"),
        Figures("DIFFERENT"),
        Figures("UNREADABLE"),
        Figures("READ"),
        Figures("TIME"),
    ]);
    for result in results {
        let tally = &result.tally;
        let figures = [
            tally.sampled,
            tally.identical,
            tally.changed + tally.overlooked,
            tally.gone,
            tally.different,
            tally.unreadable + tally.unreadable_there,
        ];
        let name = if result.host.is_empty() { "(no name)" } else { &result.host };
        let cells = [name.to_owned(), result.state().word().replace('_', " ")]
            .into_iter()
            .chain(figures.map(|figure| figure.to_string()))
            .chain([human_bytes(tally.bytes), human_duration(result.duration())]);
        table.row(cells);
    }
    table
}

/// The answer as JSON.
#[derive(Serialize)]
struct Json<'a> {
    /// Every host that was asked for, by name.
    hosts: Vec<HostJson<'a>>,
}

/// One host.
#[derive(Serialize)]
struct HostJson<'a> {
    /// As the inventory spells it.
    name: &'a str,
    /// `good`, `different`, `unreadable`, `open`, `unreadable_there`,
    /// `overlooked`, `attributes`, `incomparable`, `failed` or `interrupted`: the worst that holds.
    state: &'static str,
    /// The snapshot that was compared, or null.
    snapshot: Option<&'a str>,
    /// When it was taken.
    snapshot_time: Option<String>,
    /// When the verification began.
    time: String,
    /// How long it took.
    seconds: f64,
    /// Regular files that the snapshot holds.
    files: u64,
    /// Files that were looked at.
    sampled: u64,
    /// The same contents on both sides.
    identical: u64,
    /// Changed on the host since.
    changed: u64,
    /// Changed on the host since, with size and time as they were.
    overlooked: u64,
    /// Not on the host any more.
    gone: u64,
    /// Same time, other contents or another size.
    different: u64,
    /// Cannot be read from the snapshot.
    unreadable: u64,
    /// Cannot be read on the host.
    unreadable_there: u64,
    /// Directories, symlinks and so on that were looked at as well.
    others: u64,
    /// Entries whose owner, mode, attributes and so on are not as on the host.
    attributes: u64,
    /// Left out, because a sample reads a limited number of bytes.
    too_large: u64,
    /// Bytes read from the snapshot.
    bytes_read: u64,
    /// What to say of it, or null for a good one.
    problem: Option<String>,
    /// The first files that are not mended, of this and of earlier
    /// verifications.
    open: Vec<String>,
    /// The first files that something is the matter with.
    findings: Vec<FindingJson>,
}

/// One file.
#[derive(Serialize)]
struct FindingJson {
    /// Below the host's source; what is no UTF-8 is replaced.
    path: String,
    /// `different`, `unreadable`, `unreadable_there`, `overlooked` or
    /// `attributes`.
    matter: &'static str,
    /// The same for a person.
    text: String,
}

impl<'a> From<&'a Verification> for HostJson<'a> {
    fn from(result: &'a Verification) -> Self {
        let (tally, state) = (&result.tally, result.state());
        HostJson {
            name: &result.host,
            state: state.word(),
            snapshot: result.snapshot.as_ref().map(|(name, _)| name.as_str()),
            snapshot_time: result.snapshot.as_ref().map(|(_, time)| rfc3339(*time)),
            time: rfc3339(result.started),
            seconds: result.duration().as_millis() as f64 / 1000.0,
            files: tally.files,
            sampled: tally.sampled,
            identical: tally.identical,
            changed: tally.changed,
            overlooked: tally.overlooked,
            gone: tally.gone,
            different: tally.different,
            unreadable: tally.unreadable,
            unreadable_there: tally.unreadable_there,
            others: tally.others,
            attributes: tally.attributes,
            too_large: tally.too_large,
            bytes_read: tally.bytes,
            problem: (state != VerificationState::Good).then(|| result.summary()),
            open: result.open.paths().take(MOST_FINDINGS).map(lossy).collect(),
            findings: result.findings.iter().take(MOST_FINDINGS).map(FindingJson::from).collect(),
        }
    }
}

impl From<&Finding> for FindingJson {
    fn from(finding: &Finding) -> Self {
        FindingJson { path: lossy(&finding.path), matter: finding.matter.word(), text: finding.to_string() }
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
