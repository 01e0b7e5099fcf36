//! Passive check results to Icinga 2's API, one a host and one a run.
//!
//! The service is named (`HOST!SERVICE`), never looked for with a filter: a
//! name cannot become an expression, and the API user needs no permission for
//! filters. Only an answer whose every entry says so counts as delivered.
//!
//! The answers that are told apart here were recorded (`tests/recorded/icinga`)
//! or are in Icinga's `lib/icinga/apiactions.cpp` and
//! `lib/remote/actionshandler.cpp`.

mod examine;

pub use examine::OTHER_NAME;

use super::{Notifier, Undelivered};
use crate::core::format::text::{printable, shortened};
use crate::core::model::event::{FleetEvent, RunReport};
use crate::core::model::outcome::{HostReport, Outcome, Severity};
use crate::core::model::problem::Problem;
use crate::core::model::settings;
use crate::core::model::verification::{Alarm, Verification};
use crate::sys::https::{self, Answer, ClientError};
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use reqwest::Client;
use reqwest::header::ACCEPT;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use url::Url;

/// For one request, from connecting to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before each further try.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// More than any answer to a single result, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;
/// The longest first line of a check's output, in characters.
const LONGEST_SUMMARY: usize = 1000;
/// The longest line below it, in characters.
const LONGEST_DETAIL: usize = 500;
/// The longest output altogether, in bytes.
const LONGEST_OUTPUT: usize = 8 * 1024;
/// How much of what Icinga says is passed on, in characters.
const LONGEST_QUOTE: usize = 200;

/// What Icinga says of an object that is not there, or not for this API user.
const NO_OBJECTS: &str = "No objects found.";

/// What is wrong with a name that Icinga's API cannot take.
const UNFIT_NAME: &str =
    "no host can have such a name in Icinga: it is empty, or has `!` or a control character in it";

/// A result that Icinga did not take. The text does not name the host, so that
/// it is the same for all hosts that fare alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// No client can be made.
    #[error("{0}")]
    Setup(Problem),
    /// There can be no host of this name in Icinga.
    #[error("{UNFIT_NAME}")]
    UnfitName,
    /// It could not be asked, or had trouble of its own; worth another try.
    #[error("{0}")]
    Unavailable(Problem),
    /// It has a result that is newer.
    #[error("{0}")]
    Outdated(Problem),
    /// It said no, or cannot be trusted to be it; another try would not help.
    #[error("{0}")]
    Refused(Problem),
}

impl ReportError {
    /// What is wrong, and what to do.
    pub fn problem(self) -> Problem {
        match self {
            ReportError::UnfitName => Problem::warning(UNFIT_NAME, "rename it in the inventory"),
            ReportError::Setup(problem)
            | ReportError::Unavailable(problem)
            | ReportError::Outdated(problem)
            | ReportError::Refused(problem) => problem,
        }
    }
}

impl From<ClientError> for ReportError {
    fn from(error: ClientError) -> Self {
        ReportError::Setup(Problem::warning(format!("{error} (Icinga)"), "correct `[icinga]`"))
    }
}

/// What every result of a run says alike.
#[derive(Debug, Clone)]
struct Check {
    /// This backup server's name.
    server: String,
    /// The service's name, the same on every host.
    service: String,
    /// The host whose service is that of the run itself.
    run_host: String,
    /// That service's name.
    run_service: String,
    /// How long a result stays fresh.
    ttl: Duration,
}

/// A service in Icinga.
#[derive(Debug, Clone, Copy)]
struct ServiceName<'a> {
    host: &'a str,
    service: &'a str,
    /// Whether it is the run's own.
    is_run: bool,
}

impl Check {
    fn of_host<'a>(&'a self, host: &'a str) -> ServiceName<'a> {
        ServiceName { host, service: &self.service, is_run: false }
    }

    fn of_run(&self) -> ServiceName<'_> {
        ServiceName { host: &self.run_host, service: &self.run_service, is_run: true }
    }
}

/// The service's name in Icinga's API.
impl fmt::Display for ServiceName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}!{}", self.host, self.service)
    }
}

/// An Icinga to tell.
#[derive(Debug)]
pub struct Icinga {
    client: Client,
    endpoint: Url,
    user: String,
    password: SecretString,
    check: Check,
    /// The tries of one host were all in vain: until something comes through
    /// again, no other host gets more than one.
    down: AtomicBool,
}

impl Icinga {
    /// The Icinga of the configuration; `server` is this backup server's name.
    /// Nothing is asked yet.
    pub fn new(settings: &settings::IcingaSettings, server: &str) -> Result<Self, ReportError> {
        let endpoint = settings.url.join("v1/actions/process-check-result").map_err(|error| {
            let what = format!("`{}` cannot be Icinga's URL: {error}", https::shown(&settings.url));
            ReportError::Setup(Problem::warning(what, "correct `icinga.url`"))
        })?;
        Ok(Icinga {
            client: https::client(&settings.url, settings.ca_file.as_deref(), TIMEOUT)?,
            endpoint,
            user: settings.user.clone(),
            password: settings.password.clone(),
            check: Check {
                server: server.to_owned(),
                service: settings.service.clone(),
                run_host: settings.run_host.clone(),
                run_service: settings.run_service.clone(),
                ttl: settings.ttl,
            },
            down: AtomicBool::new(false),
        })
    }

    /// Tells of one host. Three tries at most, a few seconds apart.
    pub async fn send(&self, report: &HostReport) -> Result<(), ReportError> {
        let result = check_result(report, &self.check)?;
        self.deliver(self.check.of_host(&report.host), &result).await
    }

    /// Tells of a whole run. Three tries at most, a few seconds apart.
    pub async fn send_run(&self, report: &RunReport) -> Result<(), ReportError> {
        self.deliver(self.check.of_run(), &run_result(report, &self.check)).await
    }

    /// Tells that a verification found a copy to be worth less than its verdict says.
    /// Anything else is the business of runs, whose results a verification must not
    /// paint over.
    pub async fn send_alarm(&self, verification: &Verification, alarm: &Alarm) -> Result<(), ReportError> {
        let result = alarm_result(verification, alarm, &self.check)?;
        self.deliver(self.check.of_host(&verification.host), &result).await
    }

    /// [`Icinga::send`] some time after the host was done. A later run may have
    /// told of it meanwhile: then that result stays, and this one is an error
    /// ([`ReportError::Outdated`]), for Icinga's own check may be what is newer.
    pub async fn send_late(&self, report: &HostReport) -> Result<(), ReportError> {
        let mut result = check_result(report, &self.check)?;
        for time in ["execution_start", "execution_end"] {
            result[time] = json!(timestamp(report.finished));
        }
        self.deliver(self.check.of_host(&report.host), &result).await
    }

    /// What [`Notifier::tell`] does.
    async fn tell_of(&self, event: &FleetEvent, late: bool) -> Result<(), ReportError> {
        match event {
            FleetEvent::HostDone(report) if late => self.send_late(report).await,
            FleetEvent::HostDone(report) => self.send(report).await,
            FleetEvent::Verified(verification) => match verification.alarm() {
                Some(alarm) => self.send_alarm(verification, &alarm).await,
                None => Ok(()),
            },
            FleetEvent::RunEnded(report) => self.send_run(report).await,
        }
    }

    async fn deliver(&self, object: ServiceName<'_>, result: &Value) -> Result<(), ReportError> {
        let mut pauses = PAUSES.iter();
        loop {
            let outcome = self.try_once(object, result).await;
            if !matches!(outcome, Err(ReportError::Unavailable(_))) {
                self.down.store(false, Ordering::Relaxed);
                return outcome;
            }
            match pauses.next() {
                Some(pause) if !self.down.load(Ordering::Relaxed) => tokio::time::sleep(*pause).await,
                _ => {
                    self.down.store(true, Ordering::Relaxed);
                    return outcome;
                }
            }
        }
    }

    async fn try_once(&self, object: ServiceName<'_>, result: &Value) -> Result<(), ReportError> {
        let request = self
            .client
            .post(self.endpoint.clone())
            .header(ACCEPT, "application/json")
            .basic_auth(&self.user, Some(self.password.expose_secret()))
            .json(result);
        match https::ask(request, LONGEST_ANSWER).await {
            Ok(answer) => verdict(&answer, object),
            Err(failure) => {
                let hint = failure.hint.unwrap_or(match self.endpoint.scheme() {
                    "http" => "Icinga 2 itself speaks https alone: is `icinga.url` right?",
                    _ => "is Icinga 2 running there, and may this machine reach it?",
                });
                let what = format!("{} (Icinga at `{}`)", failure.why, https::shown(&self.endpoint));
                let why = Problem::warning(what, hint);
                Err(if failure.transient { ReportError::Unavailable(why) } else { ReportError::Refused(why) })
            }
        }
    }
}

impl Notifier for Icinga {
    fn name(&self) -> &'static str {
        "Icinga"
    }

    /// Whoever has a host tells of it: a result that says only that another run has
    /// it would hide how the host's last run went, or how that very one has gone.
    fn hears(&self, event: &FleetEvent) -> bool {
        match event {
            FleetEvent::HostDone(report) => !matches!(report.outcome, Outcome::Skipped { .. }),
            FleetEvent::Verified(verification) => verification.alarm().is_some(),
            FleetEvent::RunEnded(_) => true,
        }
    }

    fn tell<'a>(&'a self, event: &'a FleetEvent, late: bool) -> BoxFuture<'a, Result<(), Undelivered>> {
        Box::pin(async move {
            self.tell_of(event, late).await.map_err(|error| Undelivered {
                is_transient: matches!(error, ReportError::Unavailable(_)),
                is_hosts_own: matches!(error, ReportError::UnfitName),
                problem: error.problem(),
            })
        })
    }

    /// Where the host's own service is the one that the run's result belongs to.
    fn takes_the_runs_place(&self, host: &str) -> Option<&'static str> {
        let is_same = self.check.run_host == host && self.check.run_service == self.check.service;
        is_same.then_some(OTHER_NAME)
    }
}

/// What is sent for a host.
///
/// Not when its run began and ended: Icinga drops a result that began before
/// the one that it has (`Checkable::ProcessCheckResult`), and up to 2.13 it
/// answers 200 all the same. A run may begin hours before Icinga itself calls
/// its host stale, or before another run finds the host busy and says so; a
/// clock may be wrong. Without the times Icinga dates a result by its arrival,
/// and the newest one counts. How long the run took is in the figures.
fn check_result(report: &HostReport, check: &Check) -> Result<Value, ReportError> {
    service_result(&report.host, check, report.severity(), plugin_output(report), performance_data(report))
}

/// What is sent for a verification that found something.
fn alarm_result(verification: &Verification, alarm: &Alarm, check: &Check) -> Result<Value, ReportError> {
    let output = bounded(Severity::Critical, &alarm.summary, alarm.details.iter().cloned());
    let took = verification.duration();
    let figures = (!took.is_zero()).then(|| duration(took)).into_iter().collect();
    service_result(&verification.host, check, Severity::Critical, output, figures)
}

fn service_result(
    host: &str,
    check: &Check,
    severity: Severity,
    output: String,
    figures: Vec<String>,
) -> Result<Value, ReportError> {
    if host.is_empty() || host.contains(|c: char| c == '!' || c.is_control()) {
        return Err(ReportError::UnfitName);
    }
    Ok(json!({
        "type": "Service",
        "service": check.of_host(host).to_string(),
        "exit_status": severity.state(),
        "plugin_output": output,
        "performance_data": figures,
        "check_source": check.server,
        "ttl": check.ttl.as_secs(),
    }))
}

/// How long it took, as a plugin would print it.
fn duration(took: Duration) -> String {
    format!("duration={}s;;;0", took.as_millis() as f64 / 1000.0)
}

/// What is sent for a run: what is wrong beside its hosts, the worst first.
fn run_result(report: &RunReport, check: &Check) -> Value {
    json!({
        "type": "Service",
        "service": check.of_run().to_string(),
        "exit_status": report.severity().state(),
        "plugin_output": run_output(report),
        "performance_data": [
            duration(report.duration),
            format!("hosts={};;;0", report.hosts),
            format!("hosts_not_good={};;;0", report.not_good),
            format!("problems={};;;0", report.problems.len()),
        ],
        "check_source": check.server,
        "ttl": check.ttl.as_secs(),
    })
}

fn run_output(report: &RunReport) -> String {
    let mut problems: Vec<&Problem> = report.problems.iter().collect();
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    let first = problems.iter().map(|problem| problem.what.as_str()).chain([report.summary.as_str()]);
    let first = first.collect::<Vec<_>>().join("; ");
    let below = problems.iter().map(|problem| format!("{}: {problem}", problem.severity));
    bounded(report.severity(), &first, below)
}

/// Seconds since 1970, to the millisecond.
fn timestamp(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1000.0
}

/// One line that says it, and the details below.
fn plugin_output(report: &HostReport) -> String {
    let said = report.summary();
    let said = if said.is_empty() { report.word() } else { &said };
    bounded(report.severity(), said, report.details().into_iter().map(str::to_owned))
}

/// A line and those below it; bounded, since the output of a hook may be in
/// there.
fn bounded(severity: Severity, first: &str, below: impl Iterator<Item = String>) -> String {
    let first = format!("{severity}: {first}");
    let mut output = shortened(&printable(&first), LONGEST_SUMMARY);
    for line in below {
        let line = shortened(&printable(&line), LONGEST_DETAIL);
        if output.len() + line.len() + 1 > LONGEST_OUTPUT {
            output.push_str("\n…");
            break;
        }
        output.push('\n');
        output.push_str(&line);
    }
    output
}

/// The figures that are known, as a plugin would print them. A host that was
/// never begun took no time: a zero would only spoil the graph.
fn performance_data(report: &HostReport) -> Vec<String> {
    let mut data = Vec::new();
    let begun = !matches!(report.outcome, Outcome::Skipped { .. }) && !report.duration().is_zero();
    if begun {
        data.push(duration(report.duration()));
    }
    if let Some(figures) = report.figures {
        data.push(format!("bytes={}B;;;0", figures.bytes));
        data.push(format!("files={};;;0", figures.files));
        data.push(format!("received={}B;;;0", figures.received));
    }
    if let Some(snapshots) = report.snapshots {
        data.push(format!("snapshots={snapshots};;;0"));
    }
    data
}

/// What Icinga's answers have in common: `results` where it did something,
/// else an error's `status`.
#[derive(Debug, Default, Deserialize)]
struct Body {
    results: Option<Vec<Entry>>,
    status: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    /// Older versions write `200.0`.
    #[serde(default)]
    code: f64,
    #[serde(default)]
    status: String,
}

/// What an answer means, be it of Icinga or of something in between.
fn verdict(answer: &Answer, object: ServiceName<'_>) -> Result<(), ReportError> {
    let parsed = serde_json::from_slice::<Body>(&answer.body);
    let is_json = parsed.is_ok();
    let Body { results, status } = parsed.unwrap_or_default();
    let said = status.as_deref().unwrap_or_default();
    let http = answer.status.as_u16();
    let refused = |what: String, remedy: &str| Err(ReportError::Refused(Problem::warning(what, remedy)));
    match (http, results.as_deref()) {
        (401, _) => refused(
            "Icinga does not accept the user and the password (401)".to_owned(),
            "compare `icinga.user` and the password with its `ApiUser` object",
        ),
        (404 | 500 | 200..=299, Some([])) => Err(no_such_service(http, object)),
        (_, Some([first, rest @ ..])) => entries(http, first, rest, object),
        (403, None) if is_json => refused(
            "Icinga's API user may not do this (403)".to_owned(),
            "give that `ApiUser` the permission `actions/process-check-result`",
        ),
        (404, None) if said == NO_OBJECTS => Err(no_such_service(http, object)),
        (404, None) if is_json => refused(
            format!("Icinga answered 404: {}", quote(said, object)),
            "is `icinga.url` the root of Icinga 2's API, as in `https://icinga.example.org:5665/`?",
        ),
        (500..=599, None) => {
            let said = if is_json { said.to_owned() } else { text_of(answer) };
            let what = format!("Icinga answered {http}: {}", quote(&said, object));
            Err(ReportError::Unavailable(Problem::warning(what, "is Icinga 2 running there?")))
        }
        (_, None) if is_json && status.is_some() => {
            refused(format!("Icinga answered {http}: {}", quote(said, object)), "look into Icinga's log")
        }
        _ => refused(
            format!("something else than Icinga's API answered {http}: {}", quote(&text_of(answer), object)),
            "does `icinga.url` point to Icinga 2's API?",
        ),
    }
}

/// What becomes of a result by what Icinga says of it, one entry an object.
fn entries(http: u16, first: &Entry, rest: &[Entry], object: ServiceName<'_>) -> Result<(), ReportError> {
    let entries = || std::iter::once(first).chain(rest);
    let problem = |what: String, remedy: &str| Problem::warning(what, remedy);
    if let Some(entry) = entries().find(|entry| !(200.0..300.0).contains(&entry.code)) {
        let said = format!("({}): {}", entry.code, quote(&entry.status, object));
        return Err(if entry.code >= 500.0 {
            let what = format!("Icinga could not take the result {said}");
            ReportError::Unavailable(problem(what, "look into Icinga's log"))
        } else if entry.code == 409.0 {
            ReportError::Outdated(problem(format!("Icinga did not take the result {said}"), ""))
        } else {
            let what = format!("Icinga did not take the result {said}");
            ReportError::Refused(problem(what, "let the service take passive results"))
        });
    }
    if let Some(entry) = entries().find(|entry| entry.status.starts_with("Ignoring")) {
        let what = format!("Icinga dropped the result: {}", quote(&entry.status, object));
        return Err(ReportError::Refused(problem(what, "look at the dependencies of that host")));
    }
    if (200..300).contains(&http) {
        return Ok(());
    }
    let what = format!("Icinga answered {http}: {}", quote(&first.status, object));
    Err(ReportError::Refused(problem(what, "look into Icinga's log")))
}

/// Of a service that the permission's filter leaves out Icinga says the same as
/// of one that is not there; of a missing permission too, up to 2.14.8, 2.15.3
/// and 2.16.1.
fn no_such_service(http: u16, object: ServiceName<'_>) -> ReportError {
    let service = printable(object.service);
    let on = match object.is_run {
        true => format!("the host `{}`", printable(object.host)),
        false => "a host of exactly that name".to_owned(),
    };
    let what = format!("Icinga knows no service `{service}` on {on} ({http})");
    let create = match object.is_run {
        true => {
            "create it there, with passive checks, or name another with `icinga.run_host` and `icinga.run_service`"
        }
        false => "create the service there, with passive checks",
    };
    let remedy = format!(
        "{create}; if it is there, its `ApiUser` lacks the permission `actions/process-check-result`, or has it with a \
         `filter` that leaves this service out"
    );
    ReportError::Refused(Problem::warning(what, remedy))
}

/// What Icinga says, the same text for every host, so that alike failures are
/// one problem.
fn quote(said: &str, object: ServiceName<'_>) -> String {
    let said = match object.is_run {
        true => said.trim().to_owned(),
        false => said.trim().replace(&object.to_string(), &format!("HOST!{}", object.service)),
    };
    shortened(&printable(&said), LONGEST_QUOTE)
}

/// What an answer says that is not Icinga's; of a page for people only that it
/// is one.
fn text_of(answer: &Answer) -> String {
    match answer.body.trim_ascii() {
        [] => "nothing more".to_owned(),
        _ if answer.is_html() => "an HTML page".to_owned(),
        body => String::from_utf8_lossy(body).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::format::timing::Timings;
    use crate::core::model::outcome::{Figures, Note, Severity, Stage};
    use crate::core::model::snapshot::{SnapshotName, Verdict};
    use chrono::{TimeDelta, TimeZone};

    fn check() -> Check {
        Check {
            server: "b32-1".into(),
            service: "BACKUP-b32-1".into(),
            run_host: "b32-1".into(),
            run_service: "BACKUP-b32-1".into(),
            ttl: Duration::from_secs(36 * 3600),
        }
    }

    fn good() -> HostReport {
        let time = Utc.with_ymd_and_hms(2026, 11, 20, 2, 0, 5).unwrap();
        HostReport {
            host: "VPN".into(),
            outcome: Outcome::Copied {
                verdict: Verdict::Good,
                why: String::new(),
                snapshot: SnapshotName::at(time),
            },
            notes: Vec::new(),
            started: time + TimeDelta::milliseconds(500),
            finished: time + TimeDelta::milliseconds(12_700),
            figures: Some(Figures {
                files: 10,
                bytes: 4096,
                received: 100,
                changed: 1,
                changed_bytes: 50,
                deleted: 0,
            }),
            transfers: Vec::new(),
            hooks: Vec::new(),
            timings: Timings::default(),
            snapshots: Some(7),
            last_good: Some(time),
        }
    }

    #[test]
    fn a_good_host_is_told_with_its_figures_under_the_inventorys_spelling() {
        assert_eq!(
            check_result(&good(), &check()).unwrap(),
            json!({
                "type": "Service",
                "service": "VPN!BACKUP-b32-1",
                "exit_status": 0,
                "plugin_output": "OK: 10 files, 4.0 KiB, 100 B received in 12s",
                "performance_data": [
                    "duration=12.2s;;;0", "bytes=4096B;;;0", "files=10;;;0", "received=100B;;;0", "snapshots=7;;;0",
                ],
                "check_source": "b32-1",
                "ttl": 129_600,
            })
        );
    }

    #[test]
    fn a_run_is_told_with_what_is_wrong_beside_its_hosts_the_worst_first() {
        let problems = vec![
            Problem::warning("cannot write the metrics", "make room"),
            Problem::critical("NetBox is down\u{1b}", "start it"),
        ];
        let report = RunReport {
            problems,
            hosts: 3,
            not_good: 1,
            duration: Duration::from_millis(1500),
            summary: "3 hosts: 2 good, 1 failed, in 1.5s".into(),
        };
        assert_eq!(
            run_result(&report, &check()),
            json!({
                "type": "Service",
                "service": "b32-1!BACKUP-b32-1",
                "exit_status": 2,
                "plugin_output": "CRITICAL: NetBox is down\\u{1b}; cannot write the metrics; 3 hosts: 2 good, 1 failed, in 1.5s\n\
                    CRITICAL: NetBox is down\\u{1b} (start it)\nWARNING: cannot write the metrics (make room)",
                "performance_data": ["duration=1.5s;;;0", "hosts=3;;;0", "hosts_not_good=1;;;0", "problems=2;;;0"],
                "check_source": "b32-1",
                "ttl": 129_600,
            })
        );
        let fine = RunReport { problems: Vec::new(), not_good: 1, ..report };
        assert_eq!(run_result(&fine, &check())["exit_status"], 0, "a host has a service of its own");
    }

    #[test]
    fn what_is_sent_has_the_members_that_a_real_icinga_took() {
        let recorded: Value =
            serde_json::from_str(include_str!("../../../tests/recorded/icinga/accepted-by-name.json"))
                .unwrap();
        let sent = check_result(&good(), &check()).unwrap();
        let kind = |value: &Value| (value.is_string(), value.is_array(), value.is_number());
        for (member, value) in sent.as_object().unwrap() {
            assert_eq!(kind(value), kind(&recorded["request"][member]), "{member}");
        }
        assert!(sent.get("execution_start").is_none(), "Icinga would drop what began before its last check");
    }

    #[test]
    fn a_failure_sends_its_details_and_only_known_figures() {
        let mut report = good();
        report.outcome = Outcome::Failed {
            stage: Stage::Connect,
            why: "no route to host\nssh: \u{1b}[31mconnect\nto\u{85}10.0.0.7".into(),
        };
        (report.figures, report.snapshots, report.last_good) = (None, None, None);
        let sent = check_result(&report, &check()).unwrap();
        assert_eq!(sent["exit_status"], 2);
        assert_eq!(
            sent["plugin_output"],
            "CRITICAL: connect failed: no route to host; no good copy known\nssh: \\u{1b}[31mconnect\nto\\u{85}10.0.0.7"
        );
        assert_eq!(sent["performance_data"], json!(["duration=12.2s;;;0"]));
    }

    #[test]
    fn a_host_that_was_not_begun_has_no_duration() {
        let mut report = good();
        report.figures = None;
        report.outcome = Outcome::Interrupted;
        report.finished = report.started;
        assert_eq!(performance_data(&report), ["snapshots=7;;;0"]);
    }

    #[test]
    fn a_good_copy_of_unknown_size_still_says_something() {
        let mut report = good();
        report.figures = None;
        assert_eq!(plugin_output(&report), "OK: good");
    }

    #[test]
    fn a_hook_that_prints_without_end_does_not_flood_icinga() {
        let mut report = good();
        let text = format!("{}\n{}", "x".repeat(5000), "yé\n".repeat(100_000));
        report.notes.push(Note { severity: Severity::Critical, text });
        let output = plugin_output(&report);
        assert!(output.len() <= LONGEST_OUTPUT + "\n…".len(), "{}", output.len());
        assert_eq!(output.lines().next().unwrap().chars().count(), LONGEST_SUMMARY);
        assert!(output.ends_with("\nyé\n…"), "{:?}", &output[output.len() - 20..]);
    }

    #[test]
    fn a_name_that_cannot_be_an_object_is_not_sent() {
        for host in ["", "a!b", "a\nb", "a\u{7f}", "\0"] {
            let report = HostReport { host: host.into(), ..good() };
            assert_eq!(check_result(&report, &check()), Err(ReportError::UnfitName), "{host:?}");
        }
        // Odd, yet harmless: it is data in a JSON string.
        let report = HostReport { host: "$(id) \"\\\"".into(), ..good() };
        assert_eq!(check_result(&report, &check()).unwrap()["service"], "$(id) \"\\\"!BACKUP-b32-1");
    }

    fn judged(http: u16, body: &str) -> Result<(), ReportError> {
        let media_type = if body.starts_with('<') { "text/html" } else { "application/json" };
        let answer = Answer {
            status: reqwest::StatusCode::from_u16(http).unwrap(),
            media_type: media_type.into(),
            body: body.into(),
        };
        verdict(&answer, check().of_host("vpn"))
    }

    #[test]
    fn the_recorded_answers_mean_what_they_mean() {
        let recorded = [
            (include_str!("../../../tests/recorded/icinga/accepted-by-name.json"), None),
            (
                include_str!("../../../tests/recorded/icinga/bad-password.json"),
                Some("user and the password (401)"),
            ),
            (
                include_str!("../../../tests/recorded/icinga/no-such-service-by-name.json"),
                Some("knows no service `BACKUP-b32-1` on a host of exactly that name (404)"),
            ),
            (
                include_str!("../../../tests/recorded/icinga/no-such-host.json"),
                Some("(500) (create the service"),
            ),
            (
                include_str!("../../../tests/recorded/icinga/missing-exit-status.json"),
                Some("did not take the result (400): Parameter 'exit_status' is required."),
            ),
        ];
        for (text, refusal) in recorded {
            let recorded: Value = serde_json::from_str(text).unwrap();
            let http = u16::try_from(recorded["status"].as_u64().unwrap()).unwrap();
            match (judged(http, &recorded["body"].to_string()), refusal) {
                (Ok(()), None) => {}
                (Err(ReportError::Refused(why)), Some(part)) if why.to_string().contains(part) => {}
                (judged, _) => panic!("{text} was judged {judged:?}"),
            }
        }
    }

    #[test]
    fn an_answer_that_only_looks_like_success_is_none() {
        for (body, part, why) in [
            (r#"{"results":[]}"#, "knows no service", "nothing was done"),
            (
                r#"{"results":[{"code":200,"status":"Ignoring passive check result for unreachable object 'vpn!BACKUP-b32-1'."}]}"#,
                "dropped the result: Ignoring passive check result for unreachable object 'HOST!BACKUP-b32-1'.",
                "dropped, and said with 200",
            ),
            (
                r#"{"results":[{"code":200,"status":"ok"},{"code":403,"status":"Passive checks are disabled for object 'vpn!BACKUP-b32-1'."}]}"#,
                "did not take the result (403): Passive checks are disabled for object 'HOST!BACKUP-b32-1'.",
                "the second entry failed",
            ),
            (r#"{"results":[{"status":"ok"}]}"#, "did not take the result (0)", "no code is no success"),
            ("<html>Welcome</html>", "does `icinga.url` point to Icinga 2's API?", "a login page, say"),
            ("{}", "does `icinga.url` point to Icinga 2's API?", "some other API"),
            ("", "does `icinga.url` point to Icinga 2's API?", "nothing at all"),
        ] {
            match judged(200, body) {
                Err(ReportError::Refused(said)) if said.to_string().contains(part) => {}
                judged => panic!("{why}: {body} was judged {judged:?}"),
            }
        }
        assert_eq!(judged(200, r#"{"results":[{"code":200.0,"status":"ok"}]}"#), Ok(()), "an older version");
    }

    #[test]
    fn a_url_with_a_path_too_many_is_not_taken_for_a_missing_service() {
        let body = r#"{"error":404,"status":"The requested path 'v1/v1/actions/process-check-result' could not be found or the request method is not valid for this path."}"#;
        let said = judged(404, body).unwrap_err().to_string();
        assert!(
            said.contains("The requested path 'v1/v1/actions") && said.contains("`icinga.url`"),
            "{said}"
        );
        assert!(!said.contains("no service"), "{said}");
    }

    #[test]
    fn only_the_servers_own_trouble_is_worth_another_try() {
        for (http, body, again, why) in [
            (503, "<html>\u{1b}[2J</html>", true, "a proxy whose Icinga restarts"),
            (503, r#"{"error":503,"status":"Shutting down."}"#, true, "Icinga says so itself"),
            (
                503,
                r#"{"results":[{"code":503,"status":"inactive"}]}"#,
                true,
                "an object that is being reloaded",
            ),
            (500, "", true, "who knows"),
            (500, r#"{"results":[]}"#, false, "a filter without a match"),
            (
                403,
                r#"{"error":403,"status":"Missing permission: actions/process-check-result"}"#,
                false,
                "2.16.2",
            ),
            (
                409,
                r#"{"results":[{"code":409,"status":"Newer check result already present."}]}"#,
                false,
                "late",
            ),
            (404, r#"{"error":404,"status":"No objects found."}"#, false, "no such service"),
            (404, "<html>no such page</html>", false, "not Icinga"),
        ] {
            let judged = judged(http, body);
            assert_eq!(matches!(judged, Err(ReportError::Unavailable(_))), again, "{why}: {judged:?}");
            let said = judged.unwrap_err().to_string();
            assert!(!said.contains(['\u{1b}', '<']), "{why}: {said:?}");
        }
    }

    #[test]
    fn the_password_is_not_in_the_debug_output() {
        let settings = settings::IcingaSettings {
            url: "http://127.0.0.1:1/".parse().unwrap(),
            user: "backup".into(),
            password: "hunter2".to_owned().into(),
            ca_file: None,
            service: "BACKUP-b32-1".into(),
            run_host: "b32-1".into(),
            run_service: "BACKUP-b32-1".into(),
            ttl: Duration::from_secs(60),
        };
        let icinga = Icinga::new(&settings, "b32-1").unwrap();
        assert!(!format!("{icinga:?}").contains("hunter2"));
    }
}
