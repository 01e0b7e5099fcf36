//! A textfile for Prometheus' node_exporter, written as a whole or not at all.
//!
//! A run of a few hosts keeps what the file says of the others, and a host
//! that failed keeps the time of its last good copy: both are read back from
//! the file, of which only our own samples of this server are believed.
//!
//! The format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//! node_exporter refuses a whole file for one repeated series, so a host has
//! one line a metric, whatever the reports say.

use crate::core::format::text::printable;
use crate::core::model::outcome::{HostReport, Outcome, Severity};
use crate::core::model::problem::Problem;
use crate::core::model::verification::Verification;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const STATE: &str = "backup_host_state";
const OPEN: &str = "backup_verify_open_findings";
const LAST_GOOD: &str = "backup_host_last_good_timestamp_seconds";

/// What is said of each host; all are gauges.
const OF_HOSTS: [(&str, &str); 8] = [
    (STATE, "How the host's last run went: 0 good, 1 someone should look, 2 critical."),
    ("backup_host_last_run_timestamp_seconds", "When the host's last run ended."),
    (LAST_GOOD, "When the host's newest good copy was made."),
    ("backup_host_duration_seconds", "How long the host's last run took."),
    ("backup_host_files", "Files, directories and links in the copy that the last run made."),
    ("backup_host_bytes", "Bytes in the files of the copy that the last run made."),
    ("backup_host_received_bytes", "Bytes that came over the wire in the last run."),
    ("backup_host_snapshots", "Snapshots that the host has."),
];

/// What is said of verifications of hosts; all are gauges.
const OF_VERIFICATIONS: [(&str, &str); 5] = [
    (
        "backup_verify_state",
        "How the host's last verification went: 0 good, 1 someone should look, 2 critical.",
    ),
    ("backup_verify_last_timestamp_seconds", "When the host's last verification ended."),
    ("backup_verify_files", "Files of the host that were compared with its copy."),
    ("backup_verify_bad_files", "How many of them differ with the same time, or cannot be read."),
    (OPEN, "Files that verifications of the host found wrong and that are not mended."),
];

/// What is said of runs; all are gauges.
const OF_RUNS: [(&str, &str); 7] = [
    ("backup_run_last_timestamp_seconds", "When the last run ended, of all hosts or of some."),
    ("backup_run_duration_seconds", "How long that run took."),
    ("backup_run_hosts", "How many hosts it had."),
    ("backup_run_hosts_not_good", "How many of them were not good."),
    ("backup_run_success", "1 if every host was good and every result was reported, else 0."),
    ("backup_run_state", "What was wrong with the run itself: 0 nothing, 1 someone should look, 2 critical."),
    ("backup_run_inventory_timestamp_seconds", "When NetBox gave the list of hosts that the run had."),
];

/// What there is to say of the run itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunFigures {
    /// When it ended.
    pub finished: DateTime<Utc>,
    /// How long it took.
    pub duration: Duration,
    /// Whether it exits with 0.
    pub success: bool,
    /// How bad what was wrong beside the hosts is.
    pub state: Severity,
    /// When NetBox gave the list of its hosts, if it did.
    pub listed: Option<DateTime<Utc>>,
}

/// The textfile could not be written; the old one, if any, is still there.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.problem())]
pub struct MetricsError {
    /// The textfile.
    pub path: PathBuf,
    /// The system's reason.
    pub error: io::Error,
}

impl MetricsError {
    /// What is wrong, and what to do.
    pub fn problem(&self) -> Problem {
        let path = printable(&self.path.to_string_lossy());
        Problem::warning(
            format!("cannot write the metrics to `{path}`: {}", self.error),
            "`metrics.textfile` names a file in a folder that exists and that this user may write",
        )
    }
}

/// Writes the textfile for this server's run of these hosts. A run of the
/// whole fleet forgets hosts that it did not have, but for those in `kept`, by
/// their names in lower case; another one, without `kept`, keeps them.
pub fn write(
    path: &Path,
    server: &str,
    reports: &[HostReport],
    run: &RunFigures,
    kept: Option<&BTreeSet<String>>,
) -> Result<(), MetricsError> {
    rewrite(path, server, |old| old.updated(reports, run, kept))
}

/// Writes what verifications of this server's hosts found into the textfile,
/// and keeps all else that is in it.
pub fn write_verifications(path: &Path, server: &str, results: &[Verification]) -> Result<(), MetricsError> {
    rewrite(path, server, |old| old.verified(results))
}

/// Writes how many findings of each host are open into the textfile, by the
/// host's name in lower case, and keeps all else that is in it.
pub fn write_open_findings(
    path: &Path,
    server: &str,
    open: &BTreeMap<String, usize>,
) -> Result<(), MetricsError> {
    rewrite(path, server, |old| old.with_open(open))
}

/// Gives a host another name in the textfile, also where that has been done
/// before. `from` is its name in lower case.
pub fn rename(path: &Path, server: &str, from: &str, to: &str) -> Result<(), MetricsError> {
    if !path.exists() {
        return Ok(());
    }
    rewrite(path, server, |old| old.renamed(from, to))
}

fn rewrite(path: &Path, server: &str, change: impl FnOnce(&Samples) -> Samples) -> Result<(), MetricsError> {
    let failed = |error| MetricsError { path: path.to_owned(), error };
    let server = printable(server);
    let old = match std::fs::read(path) {
        Ok(bytes) => Samples::parse(&String::from_utf8_lossy(&bytes), &server),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Samples::default(),
        Err(error) => return Err(failed(error)),
    };
    replace(path, change(&old).render(&server).as_bytes()).map_err(failed)
}

/// Puts a file in place of another at once. Its name until then does not end
/// in `.prom`, or node_exporter would read it half done.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new().prefix(".backup-metrics-").suffix(".tmp").tempfile_in(folder)?;
    file.write_all(content)?;
    // node_exporter runs as a user of its own.
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// The values of one host or one run, by the metric's name.
type Values = BTreeMap<&'static str, f64>;

/// What the textfile says.
#[derive(Debug, Clone, Default, PartialEq)]
struct Samples {
    /// By the name in lower case: the name as it is spelled, and its values.
    hosts: BTreeMap<String, (String, Values)>,
    /// The same of verifications.
    verifications: BTreeMap<String, (String, Values)>,
    /// By scope, `all` or `some`. A run of one host by hand must not hide
    /// that the nightly run of all has stopped.
    runs: BTreeMap<String, Values>,
}

impl Samples {
    fn updated(&self, reports: &[HostReport], run: &RunFigures, kept: Option<&BTreeSet<String>>) -> Samples {
        let mut new = Samples {
            hosts: self.hosts.clone(),
            verifications: self.verifications.clone(),
            runs: self.runs.clone(),
        };
        let mut hosts: BTreeMap<String, (String, Values)> = BTreeMap::new();
        // A nameless one is counted among the run's hosts alone.
        for report in reports.iter().filter(|report| !report.host.is_empty()) {
            let name = printable(&report.host);
            let key = name.to_lowercase();
            let known = self.hosts.get(&key).and_then(|(_, values)| values.get(LAST_GOOD));
            // Whoever has the host says how that went; until then its last run counts.
            let is_others = matches!(report.outcome, Outcome::Skipped { .. });
            let kept = self.hosts.get(&key).filter(|_| is_others).map(|(_, values)| values.clone());
            let values = kept.unwrap_or_else(|| host_values(report, known.copied()));
            // Two names that fall together are both faults; one line says so.
            if hosts.get(&key).is_none_or(|(_, former)| former.get(STATE) < values.get(STATE)) {
                hosts.insert(key, (name, values));
            }
        }
        if let Some(kept) = kept {
            new.hosts.retain(|key, _| kept.contains(key));
            new.verifications.retain(|key, _| hosts.contains_key(key) || kept.contains(key));
        }
        new.hosts.extend(hosts);
        let scope = if kept.is_some() { "all" } else { "some" };
        new.runs.insert(scope.to_owned(), run_values(reports, run));
        new
    }

    fn verified(&self, results: &[Verification]) -> Samples {
        let mut new = self.clone();
        for result in results.iter().filter(|result| !result.host.is_empty()) {
            let name = printable(&result.host);
            new.verifications.insert(name.to_lowercase(), (name, verification_values(result)));
        }
        new
    }

    fn renamed(&self, from: &str, to: &str) -> Samples {
        let mut new = self.clone();
        for list in [&mut new.hosts, &mut new.verifications] {
            if let Some((_, values)) = list.remove(from) {
                list.insert(to.to_lowercase(), (to.to_owned(), values));
            }
        }
        new
    }

    fn with_open(&self, open: &BTreeMap<String, usize>) -> Samples {
        let mut new = self.clone();
        for (_, values) in new.verifications.values_mut() {
            values.insert(OPEN, 0.0);
        }
        for (host, count) in open {
            let spelled = self.hosts.get(host).map_or(host, |(spelled, _)| spelled);
            let entry = new.verifications.entry(host.clone());
            entry.or_insert_with(|| (spelled.clone(), Values::new())).1.insert(OPEN, *count as f64);
        }
        new
    }

    fn render(&self, server: &str) -> String {
        let mut text = String::new();
        for (metric, help) in OF_HOSTS {
            let lines = self.hosts.values().map(|(host, values)| (host.as_str(), values));
            render_metric(&mut text, metric, help, server, "host", lines);
        }
        for (metric, help) in OF_VERIFICATIONS {
            let lines = self.verifications.values().map(|(host, values)| (host.as_str(), values));
            render_metric(&mut text, metric, help, server, "host", lines);
        }
        for (metric, help) in OF_RUNS {
            let lines = self.runs.iter().map(|(scope, values)| (scope.as_str(), values));
            render_metric(&mut text, metric, help, server, "scope", lines);
        }
        text
    }

    /// Reads back what an earlier run wrote; anything else is passed over.
    fn parse(text: &str, server: &str) -> Samples {
        let mut samples = Samples::default();
        for (name, labels, value) in text.lines().filter_map(parse_sample) {
            if labels.get("server").map(String::as_str) != Some(server) || !value.is_finite() {
                continue;
            }
            let known = |metrics: &[(&'static str, &str)]| {
                metrics.iter().map(|(metric, _)| *metric).find(|metric| *metric == name)
            };
            if let (Some(metric), Some(host)) = (known(&OF_HOSTS), labels.get("host")) {
                let entry = samples.hosts.entry(host.to_lowercase());
                entry.or_insert_with(|| (host.clone(), Values::new())).1.insert(metric, value);
            } else if let (Some(metric), Some(host)) = (known(&OF_VERIFICATIONS), labels.get("host")) {
                let entry = samples.verifications.entry(host.to_lowercase());
                entry.or_insert_with(|| (host.clone(), Values::new())).1.insert(metric, value);
            } else if let (Some(metric), Some(scope @ ("all" | "some"))) =
                (known(&OF_RUNS), labels.get("scope").map(String::as_str))
            {
                samples.runs.entry(scope.to_owned()).or_default().insert(metric, value);
            }
        }
        samples
    }
}

fn host_values(report: &HostReport, known_good: Option<f64>) -> Values {
    // An older one that is dated in the future is no good copy's.
    let known_good = known_good.filter(|time| *time <= seconds(report.finished));
    let last_good = report.last_good.map(seconds).or(known_good);
    let of_copy = |figure: fn(&crate::core::model::outcome::Figures) -> u64| {
        report.figures.as_ref().map(|f| figure(f) as f64)
    };
    let values = [
        Some(f64::from(report.severity().state())),
        Some(seconds(report.finished)),
        last_good,
        Some(report.duration().as_millis() as f64 / 1000.0),
        of_copy(|figures| figures.files),
        of_copy(|figures| figures.bytes),
        of_copy(|figures| figures.received),
        report.snapshots.map(|count| count as f64),
    ];
    OF_HOSTS.iter().zip(values).filter_map(|((metric, _), value)| Some((*metric, value?))).collect()
}

fn verification_values(result: &Verification) -> Values {
    let tally = &result.tally;
    let values = [
        f64::from(result.state().severity().state()),
        seconds(result.finished),
        tally.sampled as f64,
        (tally.different + tally.unreadable) as f64,
        result.open.each().len() as f64,
    ];
    OF_VERIFICATIONS.iter().zip(values).map(|((metric, _), value)| (*metric, value)).collect()
}

fn run_values(reports: &[HostReport], run: &RunFigures) -> Values {
    let not_good = reports.iter().filter(|report| report.severity() != Severity::Ok).count();
    let values = [
        Some(seconds(run.finished)),
        Some(run.duration.as_millis() as f64 / 1000.0),
        Some(reports.len() as f64),
        Some(not_good as f64),
        Some(f64::from(u8::from(run.success))),
        Some(f64::from(run.state.state())),
        run.listed.map(seconds),
    ];
    OF_RUNS.iter().zip(values).filter_map(|((metric, _), value)| Some((*metric, value?))).collect()
}

fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp() as f64
}

fn render_metric<'a>(
    text: &mut String,
    metric: &str,
    help: &str,
    server: &str,
    label: &str,
    lines: impl Iterator<Item = (&'a str, &'a Values)>,
) {
    let mut lines = lines.filter_map(|(name, values)| Some((name, values.get(metric)?))).peekable();
    if lines.peek().is_none() {
        return;
    }
    // Writing to a `String` does not fail.
    let _ = writeln!(text, "# HELP {metric} {help}\n# TYPE {metric} gauge");
    for (name, value) in lines {
        let _ = writeln!(
            text,
            "{metric}{{server=\"{}\",{label}=\"{}\"}} {value}",
            escaped(server),
            escaped(name)
        );
    }
}

/// A label's value as it stands between quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

type Sample<'a> = (&'a str, BTreeMap<&'a str, String>, f64);

/// `name{label="value",…} number`; `None` for everything else.
fn parse_sample(line: &str) -> Option<Sample<'_>> {
    let (name, mut rest) = line.split_once('{')?;
    let mut labels = BTreeMap::new();
    loop {
        let (label, after) = rest.split_once("=\"")?;
        let (value, after) = unescaped(after)?;
        labels.insert(label, value);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Some((name, labels, after.strip_prefix("} ")?.trim().parse().ok()?)),
        }
    }
}

/// The label's value up to its closing quote, and what follows.
fn unescaped(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::format::timing::Timings;
    use crate::core::model::outcome::{Figures, Stage};
    use crate::core::model::snapshot::{SnapshotName, Verdict};
    use chrono::{TimeDelta, TimeZone};

    fn time() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 20, 2, 0, 5).unwrap()
    }

    fn good(host: &str) -> HostReport {
        HostReport {
            host: host.into(),
            outcome: Outcome::Copied {
                verdict: Verdict::Good,
                why: String::new(),
                snapshot: SnapshotName::at(time()),
            },
            notes: Vec::new(),
            started: time(),
            finished: time() + TimeDelta::milliseconds(12_250),
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
            last_good: Some(time()),
        }
    }

    fn failed(host: &str) -> HostReport {
        HostReport {
            outcome: Outcome::Failed { stage: Stage::Connect, why: "no route".into() },
            figures: None,
            transfers: Vec::new(),
            hooks: Vec::new(),
            timings: Timings::default(),
            snapshots: None,
            last_good: None,
            ..good(host)
        }
    }

    fn run() -> RunFigures {
        RunFigures {
            finished: time() + TimeDelta::seconds(60),
            duration: Duration::from_secs(60),
            success: false,
            state: Severity::Critical,
            listed: Some(time()),
        }
    }

    /// The series of a textfile, read as strictly as node_exporter does: every
    /// metric has its HELP and TYPE once and before its samples, its samples
    /// stand together, no series is repeated, names and escapes are legal, no
    /// time is given, and the last line ends.
    fn strict(text: &str) -> BTreeMap<String, f64> {
        assert!(text.ends_with('\n') && !text.contains('\r'));
        let is_name = |name: &str| {
            let mut chars = name.chars();
            chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let (mut series, mut metrics) = (BTreeMap::new(), BTreeSet::new());
        let mut current = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (metric, words) = help.split_once(' ').expect("a metric and its help");
                assert!(is_name(metric) && !words.is_empty() && !words.contains('\\'), "{line}");
                assert_eq!(lines.next(), Some(format!("# TYPE {metric} gauge").as_str()));
                assert!(metrics.insert(metric.to_owned()), "{metric} appears twice");
                current = metric.to_owned();
                continue;
            }
            let rest = line.strip_prefix(current.as_str()).expect("a sample stands below its own HELP");
            let mut rest = rest.strip_prefix('{').expect("labels");
            let mut labels = BTreeSet::new();
            loop {
                let (label, after) = rest.split_once("=\"").expect("label=\"");
                assert!(is_name(label) && labels.insert(label.to_owned()), "{line}");
                let mut end = None;
                let mut chars = after.char_indices();
                while let Some((index, c)) = chars.next() {
                    match c {
                        '"' => {
                            end = Some(index);
                            break;
                        }
                        '\\' => {
                            let escape = chars.next().expect("an escape has a second character").1;
                            assert!(matches!(escape, '\\' | '"' | 'n'), "{line}");
                        }
                        c => assert!(!c.is_control(), "{line:?}"),
                    }
                }
                rest = &after[end.expect("a closing quote") + 1..];
                match rest.strip_prefix(',') {
                    Some(next) => rest = next,
                    None => break,
                }
            }
            let value = rest.strip_prefix("} ").expect("one space and the value");
            assert!(!value.contains(' '), "a time is given: {line}");
            let id = line[..line.len() - value.len() - 1].to_owned();
            assert!(series.insert(id, value.parse().expect("a number")).is_none(), "{line} is repeated");
        }
        series
    }

    fn written(folder: &Path, reports: &[HostReport], whole_fleet: bool) -> BTreeMap<String, f64> {
        let path = folder.join("backup.prom");
        let nobody = BTreeSet::new();
        write(&path, "b32-1", reports, &run(), whole_fleet.then_some(&nobody)).unwrap();
        strict(&std::fs::read_to_string(path).unwrap())
    }

    #[test]
    fn the_textfile_reads_like_this() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup.prom");
        write(&path, "b32-1", &[good("VPN"), failed("web")], &run(), Some(&BTreeSet::new())).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        strict(&text);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"backup_host_state{server="b32-1",host="VPN"} 0"#,
                r#"backup_host_state{server="b32-1",host="web"} 2"#,
                r#"backup_host_last_run_timestamp_seconds{server="b32-1",host="VPN"} 1795140017"#,
                r#"backup_host_last_run_timestamp_seconds{server="b32-1",host="web"} 1795140017"#,
                r#"backup_host_last_good_timestamp_seconds{server="b32-1",host="VPN"} 1795140005"#,
                r#"backup_host_duration_seconds{server="b32-1",host="VPN"} 12.25"#,
                r#"backup_host_duration_seconds{server="b32-1",host="web"} 12.25"#,
                r#"backup_host_files{server="b32-1",host="VPN"} 10"#,
                r#"backup_host_bytes{server="b32-1",host="VPN"} 4096"#,
                r#"backup_host_received_bytes{server="b32-1",host="VPN"} 100"#,
                r#"backup_host_snapshots{server="b32-1",host="VPN"} 7"#,
                r#"backup_run_last_timestamp_seconds{server="b32-1",scope="all"} 1795140065"#,
                r#"backup_run_duration_seconds{server="b32-1",scope="all"} 60"#,
                r#"backup_run_hosts{server="b32-1",scope="all"} 2"#,
                r#"backup_run_hosts_not_good{server="b32-1",scope="all"} 1"#,
                r#"backup_run_success{server="b32-1",scope="all"} 0"#,
                r#"backup_run_state{server="b32-1",scope="all"} 2"#,
                r#"backup_run_inventory_timestamp_seconds{server="b32-1",scope="all"} 1795140005"#,
            ]
        );
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn verifications_and_runs_keep_what_the_other_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup.prom");
        written(folder.path(), &[good("VPN"), good("web")], true);
        let mut result = Verification::of("VPN", time());
        result.tally.sampled = 200;
        result.tally.identical = 199;
        result.tally.files = 1000;
        result.find(b"x".to_vec(), crate::core::model::verification::Matter::Different(None), None);
        let web = Verification::of("web", time());
        write_verifications(&path, "b32-1", &[result, web]).unwrap();
        let of = |series: &BTreeMap<String, f64>, metric: &str, host: &str| {
            series.get(&format!("{metric}{{server=\"b32-1\",host=\"{host}\"}}")).copied()
        };
        let series = strict(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(of(&series, "backup_verify_state", "VPN"), Some(2.0));
        assert_eq!(of(&series, "backup_verify_files", "VPN"), Some(200.0));
        assert_eq!(of(&series, "backup_verify_bad_files", "VPN"), Some(1.0));
        assert_eq!(of(&series, "backup_host_files", "VPN"), Some(10.0));
        let series = written(folder.path(), &[good("web")], false);
        assert_eq!(of(&series, "backup_verify_state", "VPN"), Some(2.0), "a run of another host");
        let series = written(folder.path(), &[good("VPN")], true);
        assert_eq!(of(&series, "backup_verify_state", "VPN"), Some(2.0), "a run of this host");
        assert_eq!(of(&series, "backup_verify_state", "web"), None, "it has left the fleet");
    }

    #[test]
    fn a_run_of_one_host_keeps_the_others_and_a_run_of_all_forgets_them() {
        let folder = tempfile::tempdir().unwrap();
        let state = |host: &str| format!(r#"backup_host_state{{server="b32-1",host="{host}"}}"#);
        let first = written(folder.path(), &[failed("web"), good("VPN")], true);
        assert_eq!(first[&state("web")], 2.0);

        // The inventory spells it otherwise by now: still the same host.
        let second = written(folder.path(), &[failed("vpn")], false);
        assert_eq!(second[&state("web")], 2.0);
        assert_eq!(second[&state("vpn")], 2.0);
        assert!(!second.contains_key(&state("VPN")));
        assert_eq!(second[r#"backup_run_hosts{server="b32-1",scope="all"}"#], 2.0);
        assert_eq!(second[r#"backup_run_hosts{server="b32-1",scope="some"}"#], 1.0);

        let kept = BTreeSet::from(["web".to_owned()]);
        write(&folder.path().join("backup.prom"), "b32-1", &[good("vpn")], &run(), Some(&kept)).unwrap();
        let kept = strict(&std::fs::read_to_string(folder.path().join("backup.prom")).unwrap());
        assert_eq!(kept[&state("web")], 2.0, "it left, and nobody has said that it is meant");

        let third = written(folder.path(), &[good("vpn")], true);
        assert!(!third.contains_key(&state("web")));
    }

    #[test]
    fn a_failed_host_keeps_the_time_of_its_last_good_copy() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = r#"backup_host_last_good_timestamp_seconds{server="b32-1",host="vpn"}"#;
        assert!(!written(folder.path(), &[failed("vpn")], true).contains_key(last_good));
        written(folder.path(), &[good("VPN")], true);
        for whole_fleet in [true, false] {
            let series = written(folder.path(), &[failed("vpn")], whole_fleet);
            assert_eq!(series[last_good], seconds(time()), "whole fleet: {whole_fleet}");
            assert!(!series.contains_key(r#"backup_host_files{server="b32-1",host="vpn"}"#));
        }
    }

    #[test]
    fn no_name_breaks_the_file_or_repeats_a_series() {
        let folder = tempfile::tempdir().unwrap();
        let reports: Vec<HostReport> = [
            "",
            "",
            "a\"b",
            "a\\",
            "a\nb",
            "\u{1b}[2J",
            "-e sh",
            "日本",
            "x{y=\"z\"} 1",
            "Vpn",
            "VPN",
            "a\\nb",
        ]
        .map(failed)
        .into();
        let first = written(folder.path(), &reports, true);
        assert_eq!(first.keys().filter(|series| series.starts_with(STATE)).count(), 8, "{first:#?}");
        assert_eq!(first[r#"backup_run_hosts{server="b32-1",scope="all"}"#], 12.0);
        // What was read back is what was written.
        let second = written(folder.path(), &[], false);
        let of_hosts = |series: BTreeMap<String, f64>| -> Vec<_> {
            series.into_iter().filter(|(id, _)| id.starts_with("backup_host")).collect()
        };
        assert_eq!(of_hosts(second), of_hosts(first));
    }

    #[test]
    fn of_two_hosts_that_fall_together_the_worse_is_told() {
        let folder = tempfile::tempdir().unwrap();
        for reports in [[good("vpn"), failed("VPN")], [failed("VPN"), good("vpn")]] {
            let series = written(folder.path(), &reports, true);
            assert_eq!(series[r#"backup_host_state{server="b32-1",host="VPN"}"#], 2.0);
            assert_eq!(series.keys().filter(|id| id.starts_with(STATE)).count(), 1);
        }
    }

    #[test]
    fn what_others_left_in_the_file_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let ours = r#"backup_host_state{server="b32-1",host="db"} 1"#;
        let junk: &[&[u8]] = &[
            b"\xff\xfe\0 not text",
            b"node_load1 0.5",
            b"backup_host_state{server=\"b32-1\",host=\"cut",
            b"backup_host_state{server=\"b32-1\",host=\"cut\\",
            b"backup_host_state{server=\"b32-1\",host=\"nan\"} NaN",
            b"backup_host_state{server=\"b32-1\",host=\"inf\"} +Inf",
            b"backup_host_state{server=\"b32-1\",host=\"word\"} zero",
            b"backup_host_state{server=\"other\",host=\"theirs\"} 1",
            b"backup_host_state{server=\"b32-1\"} 1",
            b"backup_host_state{}",
            b"backup_host_unheard_of{server=\"b32-1\",host=\"db\"} 1",
            b"backup_run_hosts{server=\"b32-1\",scope=\"moon\"} 1",
            ours.as_bytes(),
        ];
        std::fs::write(folder.path().join("backup.prom"), junk.join(&b'\n')).unwrap();
        let series = written(folder.path(), &[], false);
        let of_hosts: Vec<&String> = series.keys().filter(|id| !id.starts_with("backup_run")).collect();
        assert_eq!(of_hosts, [r#"backup_host_state{server="b32-1",host="db"}"#]);
    }

    #[test]
    fn a_missing_folder_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/backup.prom");
        let said = write(&path, "b32-1", &[], &run(), Some(&BTreeSet::new())).unwrap_err().to_string();
        assert!(
            said.contains("missing/backup.prom`: No such file") && said.contains("`metrics.textfile`"),
            "{said}"
        );
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        // A folder in the file's place cannot be replaced by a file.
        std::fs::create_dir(folder.path().join("backup.prom")).unwrap();
        assert!(
            write(&folder.path().join("backup.prom"), "b32-1", &[], &run(), Some(&BTreeSet::new())).is_err()
        );
        assert!(replace(&folder.path().join("backup.prom"), b"x").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
