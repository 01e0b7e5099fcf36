//! The table that ends a run: every host, those that need a look at the end,
//! where one sees them, and the count of all below.

use crate::core::format::table::{WIDEST, wrapped};
use crate::core::format::text::{counted, human_bytes, human_duration, printable, shortened};
use crate::core::model::outcome::{HostReport, Outcome, Severity};
use crate::core::model::problem::Problem;
use crate::core::model::snapshot::Verdict;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// The least of a name that is shown, in characters, however narrow the terminal.
const SHORTEST_NAME: usize = 8;
/// The blanks between two columns.
const GAP: usize = 2;
/// How far lines are indented that go on with a problem.
const INDENT: u16 = 2;

const HEADER: [&str; COLUMNS] = ["HOST", "RESULT", "FILES", "SIZE", "RECEIVED", "TIME", "SNAPSHOTS"];
const COLUMNS: usize = 7;
/// How many of the columns are words, which stand to the left.
const WORDS: usize = 2;

/// The table of a run that took so long, without a last line break. What is
/// wrong with a host stands below it, what is wrong beside the hosts at the
/// end. `width` is the terminal's, if it is written to one: there names that are
/// too long are cut, and problems go on in further lines. Elsewhere nothing is.
pub fn table(reports: &[HostReport], problems: &[Problem], took: Duration, width: Option<u16>) -> String {
    let groups = Groups::of(reports);
    let mut sorted: Vec<&HostReport> = reports.iter().collect();
    sorted.sort_by_cached_key(|report| (report.severity(), groups.first(report), report.rank()));
    let mut rows: Vec<[String; COLUMNS]> = sorted.iter().map(|report| row(report)).collect();
    let mut widths = widths(&rows);
    if let Some(width) = width {
        let figures: usize = widths[1..].iter().map(|column| GAP + column).sum();
        let longest = usize::from(width.min(WIDEST)).saturating_sub(figures).max(SHORTEST_NAME);
        rows.iter_mut().for_each(|row| row[0] = shortened(&row[0], longest));
        widths[0] = widths[0].min(longest);
    }
    let mut text = String::new();
    if !rows.is_empty() {
        push_line(&mut text, &HEADER.map(str::to_owned), &widths);
    }
    for (index, (row, report)) in rows.iter().zip(&sorted).enumerate() {
        push_line(&mut text, row, &widths);
        let goes_on = sorted.get(index + 1).is_some_and(|next| groups.are_alike(report, next));
        if report.severity() != Severity::Ok && !goes_on {
            let problem = match groups.count(report) {
                1 => format!("  {}: {}", report.severity(), report.summary()),
                count => format!("  {}, {count} hosts: {}", report.severity(), report.problem()),
            };
            for line in wrapped(&problem, INDENT, width) {
                text.push_str(&line);
                text.push('\n');
            }
        }
    }
    text.push_str(&closing(reports, took));
    for problem in problems {
        // Else a table of good hosts would end a run that exits with 1.
        for line in wrapped(&format!("{}: {problem}", problem.severity), INDENT, width) {
            text.push('\n');
            text.push_str(&line);
        }
    }
    text
}

/// The widths that the header and the rows need.
fn widths(rows: &[[String; COLUMNS]]) -> [usize; COLUMNS] {
    let mut widths = HEADER.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

/// Hosts that are not good, by what is wrong with them: of hosts that fared
/// alike it is said once.
struct Groups(BTreeMap<(Severity, String), (String, usize)>);

impl Groups {
    fn of(reports: &[HostReport]) -> Self {
        let mut groups: BTreeMap<(Severity, String), (String, usize)> = BTreeMap::new();
        for report in reports.iter().filter(|report| report.severity() != Severity::Ok) {
            let name = report.host.to_lowercase();
            let (first, count) =
                groups.entry((report.severity(), report.problem())).or_insert_with(|| (name.clone(), 0));
            *count += 1;
            if name < *first {
                *first = name;
            }
        }
        Groups(groups)
    }

    fn group(&self, report: &HostReport) -> Option<&(String, usize)> {
        self.0.get(&(report.severity(), report.problem()))
    }

    /// The name that its group is sorted by; its own where it is good.
    fn first(&self, report: &HostReport) -> String {
        self.group(report).map_or_else(|| report.host.to_lowercase(), |(first, _)| first.clone())
    }

    fn count(&self, report: &HostReport) -> usize {
        self.group(report).map_or(1, |(_, count)| *count)
    }

    fn are_alike(&self, one: &HostReport, other: &HostReport) -> bool {
        one.severity() == other.severity() && self.count(one) > 1 && one.problem() == other.problem()
    }
}

fn row(report: &HostReport) -> [String; COLUMNS] {
    let or_dash = |figure: Option<String>| figure.unwrap_or_else(|| "-".to_owned());
    [
        if report.host.is_empty() { "(no name)".to_owned() } else { printable(&report.host) },
        result(report).to_owned(),
        or_dash(report.figures.map(|figures| figures.files.to_string())),
        or_dash(report.figures.map(|figures| human_bytes(figures.bytes))),
        or_dash(report.figures.map(|figures| human_bytes(figures.received))),
        or_dash(Some(report.duration()).filter(|took| !took.is_zero()).map(human_duration)),
        or_dash(report.snapshots.map(|count| count.to_string())),
    ]
}

/// A good copy with a failed hook is not called good and no more.
fn result(report: &HostReport) -> &'static str {
    if good_but(report) { "good, but" } else { report.word() }
}

fn good_but(report: &HostReport) -> bool {
    report.severity() != Severity::Ok
        && matches!(report.outcome, Outcome::Copied { verdict: Verdict::Good, .. })
}

fn push_line(text: &mut String, cells: &[String; COLUMNS], widths: &[usize; COLUMNS]) {
    let mut line = String::new();
    for (index, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        // Writing to a `String` does not fail.
        let _ = match index {
            0..WORDS => write!(line, "{cell:<width$}{:GAP$}", ""),
            _ => write!(line, "{cell:>width$}{:GAP$}", ""),
        };
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// `42 hosts: 40 good, 1 partial, 1 failed, in 1h02m`.
pub fn closing(reports: &[HostReport], took: Duration) -> String {
    let mut counts: Vec<(&str, usize)> =
        ["good", "good with trouble", "partial", "suspect", "skipped", "interrupted", "failed"]
            .map(|word| (word, 0))
            .into();
    for report in reports {
        let word = if good_but(report) { "good with trouble" } else { report.word() };
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let counts: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let hosts = match reports.len() {
        0 => "no hosts".to_owned(),
        count => format!("{}: {}", counted(count, "host"), counts.join(", ")),
    };
    format!("{hosts}, in {}", human_duration(took))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::format::timing::Timings;
    use crate::core::model::outcome::{Figures, Note, Stage};
    use crate::core::model::snapshot::SnapshotName;
    use chrono::{TimeDelta, TimeZone, Utc};

    fn report(host: &str, outcome: Outcome) -> HostReport {
        let time = Utc.with_ymd_and_hms(2026, 11, 20, 2, 0, 5).unwrap();
        HostReport {
            host: host.into(),
            outcome,
            notes: Vec::new(),
            started: time,
            finished: time,
            figures: None,
            transfers: Vec::new(),
            hooks: Vec::new(),
            timings: Timings::default(),
            snapshots: None,
            last_good: None,
        }
    }

    fn copied(host: &str, verdict: Verdict, why: &str, files: u64, seconds: i64) -> HostReport {
        let snapshot = SnapshotName::at(Utc.with_ymd_and_hms(2026, 11, 20, 2, 0, 5).unwrap());
        let mut report = report(host, Outcome::Copied { verdict, why: why.into(), snapshot });
        report.finished += TimeDelta::seconds(seconds);
        report.figures = Some(Figures {
            files,
            bytes: files * 5000,
            received: files * 7,
            changed: 1,
            changed_bytes: 50,
            deleted: 0,
        });
        report.snapshots = Some(38);
        report
    }

    #[test]
    fn the_hosts_that_need_a_look_stand_at_the_end() {
        let mut hook = copied("db-1", Verdict::Good, "", 412_003, 671);
        hook.notes.push(Note {
            severity: Severity::Critical,
            text: "hook mysql failed (exit 1)\nno such db".into(),
        });
        let reports = [
            report(
                "web2",
                Outcome::Failed {
                    stage: Stage::Connect,
                    why: "cannot reach `web2.example.org` port 22: no route to host; is it switched on?\nssh said".into(),
                },
            ),
            copied("VPN", Verdict::Good, "", 84_123, 12),
            copied("mail.example.org", Verdict::Partial, "3 files could not be read", 91, 4000),
            hook,
            report("", Outcome::Failed { stage: Stage::Inventory, why: "device 7 has no name".into() }),
            copied("build", Verdict::Good, "", 9, 3),
        ];
        insta::assert_snapshot!(table(&reports, &[Problem::warning("NetBox answered 500", "")], Duration::from_secs(3720), Some(80)), @r"
        HOST              RESULT      FILES       SIZE   RECEIVED    TIME  SNAPSHOTS
        build             good            9   43.9 KiB       63 B    3.0s         38
        VPN               good        84123  401.1 MiB  575.1 KiB     12s         38
        mail.example.org  partial        91  444.3 KiB      637 B   1h06m         38
          WARNING: partial copy: 3 files could not be read; 91 files, 444.3 KiB, 637 B
            received in 1h06m; no good copy known
        (no name)         failed          -          -          -       -          -
          CRITICAL: inventory failed: device 7 has no name; no good copy known
        db-1              good, but  412003    1.9 GiB    2.8 MiB  11m11s         38
          CRITICAL: hook mysql failed (exit 1); 412003 files, 1.9 GiB, 2.8 MiB
            received in 11m11s
        web2              failed          -          -          -       -          -
          CRITICAL: connect failed: cannot reach `web2.example.org` port 22: no route
            to host; is it switched on?; no good copy known
        6 hosts: 2 good, 1 good with trouble, 1 partial, 2 failed, in 1h02m
        WARNING: NetBox answered 500
        ");
    }

    #[test]
    fn no_line_is_wider_than_the_table_may_be_and_none_steers_the_terminal() {
        let long = "x".repeat(300);
        let hostile = report(
            &format!("\u{1b}[2J{long}"),
            Outcome::Failed { stage: Stage::Inventory, why: format!("`\u{1b}[31m\n{long}` {long}") },
        );
        let mut wide = copied(&long, Verdict::Suspect, &long, 999_999_999_999, 360_000);
        wide.snapshots = Some(10_000);
        let stopped = report("vpn", Outcome::Interrupted);
        let problems = [Problem::warning(format!("\u{1b}{long}"), "")];
        let reports = [hostile, wide, stopped];
        for width in [80, 100, 300] {
            let text = table(&reports, &problems, Duration::from_secs(360_000), Some(width));
            for line in text.lines() {
                assert!(line.chars().count() <= usize::from(width.min(WIDEST)), "{line}");
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
        let whole = table(&reports, &problems, Duration::from_secs(360_000), None);
        assert_eq!(whole.matches(&long).count(), 4, "in a pipe nothing is cut: {whole}");
        assert_eq!(whole.lines().count(), 9, "{whole}");
    }

    #[test]
    fn of_hosts_that_fared_alike_it_is_said_once_with_their_number() {
        let failed = |host: &str, why: &str| {
            report(host, Outcome::Failed { stage: Stage::Store, why: why.to_owned() })
        };
        let mut known = failed("c", "the pool is full");
        known.last_good = Some(known.started);
        let reports = [
            failed("d", "the pool is full"),
            known,
            failed("b", "no route"),
            failed("a", "the pool is full"),
        ];
        insta::assert_snapshot!(table(&reports, &[], Duration::from_secs(3), None), @r"
        HOST  RESULT  FILES  SIZE  RECEIVED  TIME  SNAPSHOTS
        a     failed      -     -         -     -          -
        c     failed      -     -         -     -          -
        d     failed      -     -         -     -          -
          CRITICAL, 3 hosts: store failed: the pool is full
        b     failed      -     -         -     -          -
          CRITICAL: store failed: no route; no good copy known
        4 hosts: 4 failed, in 3.0s
        ");
    }

    #[test]
    fn one_host_and_none_are_counted_in_words() {
        let one = [copied("vpn", Verdict::Good, "", 1, 1)];
        let last = |reports: &[HostReport]| {
            table(reports, &[], Duration::from_secs(12), None).lines().last().map(str::to_owned)
        };
        assert_eq!(last(&one).as_deref(), Some("1 host: 1 good, in 12s"));
        assert_eq!(table(&[], &[], Duration::from_secs(12), None), "no hosts, in 12s");
    }
}
