//! `backup verify`: hosts compared with their newest good snapshots.

use super::output::{Format, Output, code_of};
use super::progress::Bars;
use super::session::{self, Common};
use super::signals::Signals;
use crate::app::verify::{Scope, Verifications, Verified, VerifyEvent, VerifyRequest, VerifyStep};
use crate::core::format::table::{Column, Table};
use crate::core::format::text::{human_bytes, human_duration, printable};
use crate::core::model::host::HostName;
use crate::core::model::outcome::Severity;
use crate::core::model::verification::{Finding, MOST_FINDINGS, Verification, VerificationState};
use crate::sys::clock::Clock;
use anyhow::bail;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use std::num::NonZeroUsize;
use tracing::{error, info, info_span, warn};

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
    let request = VerifyRequest {
        hosts: &arguments.hosts,
        scope: if arguments.all { Scope::All } else { Scope::Sample(arguments.sample) },
        config: arguments.common.config(),
    };
    let watched = bars.clone();
    let watch = Box::new(move |host: &HostName, event| show(&watched, host, event));
    let verifications = tokio::select! {
        ready = Verifications::prepare(&request, clock, |what| bars.doing(what), watch) => ready?,
        () = signals.next() => bail!("told to stop before the first host was begun"),
    };
    bars.expect(verifications.count());
    let lines = bars.clone();
    signals.stop(
        verifications.cancel(),
        "no further host is begun, those under way end as they are",
        move || lines.clear(),
    );
    let Verified { results, problems } = verifications.execute(say).await;
    bars.clear();
    problems.iter().for_each(|problem| warn!("{problem}"));
    let is_good =
        problems.is_empty() && results.iter().all(|result| result.state() == VerificationState::Good);
    Ok(code_of(u8::from(!is_good), answer(arguments, &results)))
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
