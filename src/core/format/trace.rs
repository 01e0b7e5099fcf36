//! A run as a trace for `chrome://tracing` and Perfetto.
//!
//! The format is the JSON Object Format of Google's "Trace Event Format":
//! complete events (`ph` is `X`) with times in microseconds since the run's
//! start, and metadata events (`M`) that name lanes. There is one process, the
//! run; its first lane is what the run itself was at, and each host has one of
//! its own, in the order in which hosts were begun. Within a lane events nest or
//! follow each other, and never overlap: the host, its steps in it, and its
//! hooks in the step that ran them. Icinga is told after the host was done.
//!
//! Not known here: where it is written.

use crate::core::format::text::printable;
use crate::core::format::timing::{Phase, Span, Step};
use crate::core::model::outcome::HostReport;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The process that all lanes are of.
const PROCESS: u32 = 1;
/// The lane of the run itself.
const OF_THE_RUN: usize = 1;

/// A trace; its JSON is the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    trace_events: Vec<Event>,
    display_time_unit: &'static str,
    other_data: Value,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Event {
    name: String,
    #[serde(rename = "cat")]
    category: &'static str,
    #[serde(rename = "ph")]
    kind: char,
    /// When it began, in microseconds.
    ts: u64,
    /// How long it took, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<u64>,
    pid: u32,
    tid: usize,
    args: Map<String, Value>,
}

/// The trace of a run: what the run calls itself, what it was at, and what
/// became of its hosts.
pub fn of(run: &str, phases: &[Span<Phase>], reports: &[HostReport]) -> Trace {
    let mut events = vec![named("process_name", OF_THE_RUN, &format!("backup {}", printable(run)))];
    events.extend(lane(OF_THE_RUN, "run"));
    for span in phases {
        events.push(complete(OF_THE_RUN, "phase", span.what.to_string(), span.begin, span.end(), Map::new()));
    }
    let mut begun: Vec<&HostReport> =
        reports.iter().filter(|report| !report.timings.spans().is_empty()).collect();
    begun.sort_by_key(|report| report.timings.spans().first().map(|span| span.begin));
    for (number, report) in begun.into_iter().enumerate() {
        host(&mut events, OF_THE_RUN + 1 + number, report);
    }
    let other_data = json!({ "run": run, "version": env!("CARGO_PKG_VERSION") });
    Trace { trace_events: events, display_time_unit: "ms", other_data }
}

/// The lane of one host.
fn host(events: &mut Vec<Event>, tid: usize, report: &HostReport) {
    let name = if report.host.is_empty() { "(no name)".to_owned() } else { printable(&report.host) };
    events.extend(lane(tid, &name));
    let own = || report.timings.spans().iter().filter(|span| span.what != Step::Report);
    if let (Some(first), Some(last)) = (own().next(), own().next_back()) {
        events.push(complete(tid, "host", name.clone(), first.begin, last.end(), about(&name, report)));
    }
    // What each rsync's end meant is known of as many as there were.
    let mut endings = report.transfers.iter();
    for span in report.timings.spans() {
        let mut args = Map::new();
        args.insert("host".to_owned(), json!(name));
        if span.what == Step::Transfer {
            if let Some(ending) = endings.next() {
                args.insert("ended".to_owned(), json!(printable(ending)));
            }
        }
        events.push(complete(tid, "step", span.what.to_string(), span.begin, span.end(), args));
        if span.what == Step::Hooks {
            hooks(events, tid, span, report);
        }
    }
}

/// The hooks of a host within their step. They run one right after the other,
/// so how long each took says when it began.
fn hooks(events: &mut Vec<Event>, tid: usize, step: &Span<Step>, report: &HostReport) {
    let mut begin = step.begin;
    for hook in &report.hooks {
        let end = begin.saturating_add(hook.took).min(step.end());
        let mut args = Map::new();
        args.insert("ended".to_owned(), json!(printable(&hook.ended)));
        events.push(complete(tid, "hook", printable(&hook.name), begin, end, args));
        begin = end;
    }
}

/// What became of a host.
fn about(name: &str, report: &HostReport) -> Map<String, Value> {
    let mut args = Map::new();
    args.insert("host".to_owned(), json!(name));
    args.insert("outcome".to_owned(), json!(report.word()));
    args.insert("severity".to_owned(), json!(report.severity().to_string()));
    args.insert("summary".to_owned(), json!(printable(&report.summary())));
    if let Some(figures) = report.figures {
        args.insert("files".to_owned(), json!(figures.files));
        args.insert("bytes".to_owned(), json!(figures.bytes));
        args.insert("received".to_owned(), json!(figures.received));
    }
    args
}

/// What names a lane, and keeps lanes in their order.
fn lane(tid: usize, name: &str) -> [Event; 2] {
    let mut order = named("thread_sort_index", tid, name);
    order.args = Map::from_iter([("sort_index".to_owned(), json!(tid))]);
    [named("thread_name", tid, name), order]
}

fn named(what: &str, tid: usize, name: &str) -> Event {
    let args = Map::from_iter([("name".to_owned(), json!(name))]);
    Event { name: what.to_owned(), category: "", kind: 'M', ts: 0, dur: None, pid: PROCESS, tid, args }
}

fn complete(
    tid: usize,
    category: &'static str,
    name: String,
    begin: Duration,
    end: Duration,
    args: Map<String, Value>,
) -> Event {
    // Both ends are cut to the microsecond, so that what meets goes on meeting.
    let (ts, end) = (micros(begin), micros(end));
    Event { name, category, kind: 'X', ts, dur: Some(end.saturating_sub(ts)), pid: PROCESS, tid, args }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::format::timing::Timings;
    use crate::core::model::outcome::{Figures, HookResult, Outcome, Severity, Stage};
    use chrono::DateTime;

    fn span<S>(what: S, begin: u64, took: u64) -> Span<S> {
        Span { what, begin: Duration::from_nanos(begin), took: Duration::from_nanos(took) }
    }

    fn report(host: &str, spans: Vec<Span<Step>>) -> HostReport {
        HostReport {
            host: host.to_owned(),
            outcome: Outcome::Failed { stage: Stage::Connect, why: "no route\u{1b}[2J".into() },
            notes: Vec::new(),
            started: DateTime::UNIX_EPOCH,
            finished: DateTime::UNIX_EPOCH,
            figures: None,
            transfers: Vec::new(),
            hooks: Vec::new(),
            timings: Timings::new(spans),
            snapshots: None,
            last_good: None,
        }
    }

    fn hook(name: &str, millis: u64) -> HookResult {
        HookResult {
            name: name.to_owned(),
            severity: Severity::Ok,
            ended: "done".to_owned(),
            took: Duration::from_millis(millis),
        }
    }

    /// Each complete event as `tid name ts dur`.
    fn told(trace: &Trace) -> Vec<String> {
        let complete = trace.trace_events.iter().filter(|event| event.kind == 'X');
        complete
            .map(|event| format!("{} {} {} {}", event.tid, event.name, event.ts, event.dur.unwrap()))
            .collect()
    }

    #[test]
    fn hosts_have_lanes_in_the_order_in_which_they_were_begun() {
        let mut copied = report(
            "VPN",
            vec![
                span(Step::Lock, 1_000_900, 1_200),
                span(Step::Hooks, 1_002_100, 30_000_000),
                span(Step::Transfer, 31_002_100, 999),
                span(Step::Connect, 31_003_099, 2_000),
                span(Step::Transfer, 31_005_099, 5_000),
                span(Step::Report, 32_000_000, 7_000),
            ],
        );
        copied.hooks = vec![hook("dump", 20), hook("sync", 11)];
        copied.transfers = vec!["lost".into(), "everything was copied".into()];
        copied.figures = Some(Figures { files: 6, bytes: 10, ..Figures::default() });
        let reports = [
            report("never begun", Vec::new()),
            report("web", vec![span(Step::Lock, 2_000_000, 0)]),
            copied,
            report("", vec![span(Step::Report, 500_000, 1_000)]),
        ];
        let phases = [span(Phase::Inventory, 0, 400_000), span(Phase::Hosts, 400_000, 40_000_000)];
        let trace = of("b32-1/x/7", &phases, &reports);
        assert_eq!(
            told(&trace),
            [
                "1 inventory 0 400",
                "1 hosts 400 40000",
                "2 report 500 1",
                "3 VPN 1000 30010",
                "3 lock 1000 2",
                "3 hooks 1002 30000",
                "3 dump 1002 20000",
                "3 sync 21002 10000",
                "3 transfer 31002 1",
                "3 connect 31003 2",
                "3 transfer 31005 5",
                "3 report 32000 7",
                "4 web 2000 0",
                "4 lock 2000 0",
            ],
            "what meets goes on meeting, and a hook ends with its step at the latest"
        );
        let json = serde_json::to_value(&trace).unwrap();
        let events = json["traceEvents"].as_array().unwrap();
        let named = |what: &str| -> Vec<(u64, String)> {
            let events = events.iter().filter(|event| event["name"] == what && event["ph"] == "M");
            events
                .map(|event| (event["tid"].as_u64().unwrap(), event["args"]["name"].as_str().unwrap().into()))
                .collect()
        };
        assert_eq!(named("process_name"), [(1, "backup b32-1/x/7".to_owned())]);
        let lanes = [(1, "run"), (2, "(no name)"), (3, "VPN"), (4, "web")];
        assert_eq!(named("thread_name"), lanes.map(|(tid, name)| (tid, name.to_owned())));
        let vpn = events.iter().find(|event| event["cat"] == "host" && event["name"] == "VPN").unwrap();
        assert_eq!(
            (&vpn["args"]["outcome"], &vpn["args"]["files"], &vpn["args"]["bytes"]),
            (&json!("failed"), &json!(6), &json!(10))
        );
        assert!(!vpn["args"]["summary"].as_str().unwrap().contains('\u{1b}'));
        let endings = events.iter().filter(|event| event["name"] == "transfer");
        let endings: Vec<&Value> = endings.map(|event| &event["args"]["ended"]).collect();
        assert_eq!(endings, ["lost", "everything was copied"]);
    }

    #[test]
    fn a_run_without_hosts_is_a_trace_too() {
        let json = serde_json::to_value(of("x", &[], &[])).unwrap();
        assert_eq!(json["traceEvents"].as_array().unwrap().len(), 3);
        assert_eq!(json["displayTimeUnit"], "ms");
    }
}
