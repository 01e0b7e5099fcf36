//! The answer: as text for people, or as JSON.

use super::super::CANNOT_START;
use super::super::output::{Output, wants_colour, width};
use super::Arguments;
use crate::app::check::{CheckReport, HostLooked};
use crate::core::format::table::WIDEST;
use crate::core::format::text::{counted, printable};
use crate::core::model::finding::{CheckFinding, Level, Section, worst};
use serde::Serialize;

/// Where the text of a finding begins, in columns.
const INDENT: usize = 11;

/// `check --json`.
#[derive(Serialize)]
struct Json<'a> {
    /// No error and no warning.
    ready: bool,
    /// How many findings are errors, those of hosts too.
    errors: usize,
    /// How many are warnings.
    warnings: usize,
    /// By what they are about: `configuration`, `tools`, `inventory`,
    /// `icinga`, `store`.
    sections: &'a [Section],
    /// Every host that was looked at, sorted by name.
    hosts: &'a [HostLooked],
}

/// Writes what was found to stdout, and says how it went as an exit code.
pub(super) fn give(report: &CheckReport, arguments: &Arguments) -> anyhow::Result<u8> {
    let tally = report.tally();
    let mut out = Output::new();
    if arguments.format.json {
        out.json(&Json {
            ready: tally.is_ready(),
            errors: tally.errors,
            warnings: tally.warnings,
            sections: &report.sections,
            hosts: &report.hosts,
        })?;
    } else {
        let width = width().map(|width| usize::from(width.min(WIDEST)));
        let least = if arguments.common.quiet { Level::Warning } else { Level::Ok };
        out.write(text_of(report, Layout { width, colour: wants_colour(), least }).as_bytes())?;
    }
    out.end()?;
    Ok(match report.is_broken_off {
        true => CANNOT_START,
        false => u8::from(!tally.is_ready()),
    })
}

/// The same for people.
fn text_of(report: &CheckReport, layout: Layout) -> String {
    let mut text = String::new();
    for section in &report.sections {
        let shown = section.findings.iter().filter(|finding| finding.level >= layout.least);
        let lines: String = shown.map(|finding| layout.finding(finding)).collect();
        if !lines.is_empty() {
            text.push_str(&format!("{}\n{lines}", section.name));
        }
    }
    let hosts: Vec<(&HostLooked, Level)> =
        report.hosts.iter().map(|host| (host, worst(&host.findings))).collect();
    let hosts: Vec<_> = hosts.into_iter().filter(|(_, level)| *level >= layout.least).collect();
    if !hosts.is_empty() {
        text.push_str("hosts\n");
    }
    let longest = hosts.iter().map(|(host, _)| host.name.chars().count()).max().unwrap_or(0);
    for (host, level) in hosts {
        let line = format!("{:longest$}  {}", printable(&host.name), summary(host));
        text.push_str(&layout.line(level, &line));
        let shown = host.findings.iter().filter(|finding| finding.level >= layout.least.max(Level::Note));
        text.extend(shown.map(|finding| layout.below(finding)));
    }
    let tally = report.tally();
    match (tally.is_ready(), report.hosts.len()) {
        (true, _) if layout.least > Level::Ok => {}
        (true, 0) => text.push_str("\nready\n"),
        (true, count) => text.push_str(&format!("\nready: {}\n", counted(count, "host"))),
        (false, _) => text.push_str(&format!("\n{tally}: not ready\n")),
    }
    text
}

/// The rest of a host's line.
fn summary(host: &HostLooked) -> String {
    let mut parts = vec![printable(&host.reached_by)];
    if host.answered {
        parts.push(counted(host.filesystems.len(), "filesystem"));
        parts.push(counted(host.hooks.len(), "hook"));
        parts.extend(host.rsync.as_ref().map(|version| match &host.rsync_package {
            Some(package) => format!("rsync {version} ({})", printable(package)),
            None => format!("rsync {version}"),
        }));
        if host.place == "new" {
            parts.push("no copy yet".to_owned());
        }
    }
    parts.join(", ")
}

/// How text is laid out.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// The terminal's columns; in a pipe nothing is broken.
    width: Option<usize>,
    colour: bool,
    /// What matters less is left out.
    least: Level,
}

impl Layout {
    fn finding(self, finding: &CheckFinding) -> String {
        let said = format!("{}: {}", printable(&finding.subject), printable(&finding.text));
        self.line(finding.level, &said) + &self.remedy(finding)
    }

    /// A finding of a host, below its line.
    fn below(self, finding: &CheckFinding) -> String {
        let said = format!("{}: {}", finding.level, printable(&finding.text));
        self.wrapped(&said, INDENT, INDENT) + &self.remedy(finding)
    }

    fn remedy(self, finding: &CheckFinding) -> String {
        let Some(remedy) = &finding.remedy else { return String::new() };
        self.wrapped(&format!("→ {}", printable(remedy)), INDENT, INDENT + 2)
    }

    /// A line that begins with its level.
    fn line(self, level: Level, said: &str) -> String {
        let begin = format!("  {level:<width$}", width = INDENT - 2);
        let begin = match (self.colour, level) {
            (true, Level::Error) => format!("\u{1b}[31m{begin}\u{1b}[0m"),
            (true, Level::Warning) => format!("\u{1b}[33m{begin}\u{1b}[0m"),
            (true, Level::Ok) => format!("\u{1b}[32m{begin}\u{1b}[0m"),
            _ => begin,
        };
        let text = self.wrapped(said, INDENT, INDENT);
        begin + text.get(INDENT..).unwrap_or_default()
    }

    /// Words, broken where the terminal ends: the first line indented so much,
    /// the others so much.
    fn wrapped(self, said: &str, first: usize, others: usize) -> String {
        let mut text = " ".repeat(first);
        let Some(width) = self.width else { return text + said + "\n" };
        let mut column = first;
        // In the order of `split`, blanks that line columns up stay.
        for (index, word) in said.split(' ').enumerate() {
            let length = word.chars().count();
            if index > 0 && column + 1 + length > width && column > others {
                text.truncate(text.trim_end().len());
                text.push('\n');
                text.push_str(&" ".repeat(others));
                column = others;
            } else if index > 0 {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += length;
        }
        text + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> CheckReport {
        let mut report = CheckReport::default();
        report.section(
            "tools",
            vec![
                CheckFinding::ok("ssh", "is `/usr/bin/ssh`"),
                CheckFinding::error(
                    "rsync",
                    "is not installed \u{1b}[2J",
                    "install it (`apt install rsync`), from wherever your distribution has it in the end",
                ),
            ],
        );
        report.section("icinga", Vec::new());
        report
    }

    #[test]
    fn in_a_pipe_nothing_is_broken_or_coloured() {
        let text = text_of(&report(), Layout { width: None, colour: false, least: Level::Ok });
        assert_eq!(
            text,
            "tools\n  ok       ssh: is `/usr/bin/ssh`\n  error    rsync: is not installed \\u{1b}[2J\n\
             \x20          → install it (`apt install rsync`), from wherever your distribution has it in the end\n\
             \n1 error: not ready\n"
        );
    }

    #[test]
    fn on_a_terminal_no_line_is_wider_than_it() {
        let text = text_of(&report(), Layout { width: Some(40), colour: false, least: Level::Ok });
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains("\n             distribution has it in the"), "{text}");
        let coloured = text_of(&report(), Layout { width: Some(80), colour: true, least: Level::Ok });
        assert!(coloured.contains("\u{1b}[31m  error    \u{1b}[0mrsync"), "{coloured}");
    }

    #[test]
    fn nothing_wrong_is_ready() {
        let mut report = CheckReport::default();
        report.section("tools", vec![CheckFinding::note("x", "odd", "look")]);
        assert!(
            text_of(&report, Layout { width: None, colour: false, least: Level::Ok }).ends_with("\nready\n")
        );
    }
}
