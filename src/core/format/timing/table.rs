//! The timings of many hosts as a table.

use super::{Phase, Span, Step, Sums, longest, shares, total};
use crate::core::format::table::{Column, Table};
use crate::core::format::text::precise_duration;
use std::collections::BTreeSet;
use std::time::Duration;

/// What a host's longest step is marked with.
const MARK: char = '*';
/// What is shorter is shown as `0.00s`.
const SHORTEST: Duration = Duration::from_millis(5);

/// A row a host, in the order in which they are given, and a column for each
/// step that occurred in any: what took longest in a host is marked. Of more
/// hosts than one there are their sums and medians below; a median is that of
/// the hosts in which the step occurred. Where there is no room for `all`
/// steps, those that took no time anywhere are left out.
pub fn table(hosts: &[(&str, Sums)], all: bool) -> Table {
    let occurred = hosts.iter().flat_map(|(_, sums)| sums);
    let shown = occurred.filter(|(_, took)| all || **took >= SHORTEST);
    let steps: BTreeSet<Step> = shown.map(|(step, _)| *step).collect();
    let figures = steps.iter().map(|step| Column::Figures(title(*step)));
    let columns: Vec<Column> =
        [Column::Words("HOST")].into_iter().chain(figures).chain([Column::Figures("TOTAL")]).collect();
    let mut table = Table::new(&columns);
    for (host, sums) in hosts {
        let name = if host.is_empty() { "(no name)" } else { host };
        table.row(row(name, &steps, sums, (!sums.is_empty()).then(|| total(sums))));
    }
    if hosts.len() > 1 {
        let of =
            |step: &Step| hosts.iter().filter_map(|(_, sums)| sums.get(step).copied()).collect::<Vec<_>>();
        let totals = || hosts.iter().filter(|(_, sums)| !sums.is_empty()).map(|(_, sums)| total(sums));
        let sums: Sums = steps.iter().map(|step| (*step, sum(of(step)))).collect();
        table.row(row("(sum)", &steps, &sums, Some(sum(totals()))));
        let medians: Sums = steps.iter().filter_map(|step| Some((*step, median(of(step))?))).collect();
        table.row(row("(median)", &steps, &medians, median(totals().collect())));
    }
    table
}

/// What the table comes down to, in two lines: what the hosts' work was, the
/// most of it first, and what the run itself was at.
pub fn closing(hosts: &[(&str, Sums)], run: &[Span<Phase>]) -> String {
    let mut all = Sums::new();
    for (step, took) in hosts.iter().flat_map(|(_, sums)| sums) {
        let sum = all.entry(*step).or_default();
        *sum = sum.saturating_add(*took);
    }
    let work: Vec<String> = shares(&all).iter().map(|(step, share)| format!("{step} {share}%")).collect();
    let work = if work.is_empty() { "none".to_owned() } else { work.join(", ") };
    let run: Vec<String> =
        run.iter().map(|span| format!("{} {}", span.what, precise_duration(span.took))).collect();
    format!("work of the hosts: {work}\nthe run: {}", run.join(", "))
}

fn row(name: &str, steps: &BTreeSet<Step>, sums: &Sums, total: Option<Duration>) -> Vec<String> {
    let most = longest(sums);
    let cell = |step: &Step| match sums.get(step) {
        None => "-".to_owned(),
        Some(took) if most == Some(*step) => format!("{MARK}{}", precise_duration(*took)),
        Some(took) => precise_duration(*took),
    };
    let total = total.map_or_else(|| "-".to_owned(), precise_duration);
    [name.to_owned()].into_iter().chain(steps.iter().map(cell)).chain([total]).collect()
}

fn title(step: Step) -> &'static str {
    match step {
        Step::Lock => "LOCK",
        Step::Connect => "CONNECT",
        Step::Probe => "PROBE",
        Step::Wait => "WAIT",
        Step::Prepare => "PREPARE",
        Step::Hooks => "HOOKS",
        Step::Transfer => "TRANSFER",
        Step::Snapshot => "SNAPSHOT",
        Step::Rotate => "ROTATE",
        Step::Report => "REPORT",
    }
}

fn sum(times: impl IntoIterator<Item = Duration>) -> Duration {
    times.into_iter().fold(Duration::ZERO, Duration::saturating_add)
}

/// The middle one; of an even number, what lies between the two.
fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    let upper = *times.get(times.len() / 2)?;
    if times.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *times.get(times.len() / 2 - 1)?;
    Some(lower + (upper - lower) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(times: &[(Step, u64)]) -> Sums {
        times.iter().map(|(step, ms)| (*step, Duration::from_millis(*ms))).collect()
    }

    #[test]
    fn what_took_longest_is_marked_and_sums_stand_below() {
        let hosts = [
            (
                "VPN",
                sums(&[(Step::Lock, 0), (Step::Connect, 240), (Step::Transfer, 125_000), (Step::Report, 80)]),
            ),
            ("web.example.org", sums(&[(Step::Lock, 1), (Step::Connect, 20_000)])),
            ("", Sums::new()),
            (
                "db",
                sums(&[
                    (Step::Lock, 0),
                    (Step::Connect, 200),
                    (Step::Wait, 90_000),
                    (Step::Transfer, 7_320_000),
                ]),
            ),
        ];
        insta::assert_snapshot!(table(&hosts, true).render(None), @"
        HOST             CONNECT   WAIT   LOCK  TRANSFER  REPORT  TOTAL
        VPN                0.24s      -  0.00s    *2m05s   0.08s  2m05s
        web.example.org     *20s      -  0.00s         -       -    20s
        (no name)              -      -      -         -       -      -
        db                 0.20s  1m30s  0.00s    *2h02m       -  2h03m
        (sum)                20s  1m30s  0.00s    *2h04m   0.08s  2h05m
        (median)           0.24s  1m30s  0.00s    *1h02m   0.08s  2m05s
        ");
        let narrow = table(&hosts, false).render(None);
        assert!(narrow.starts_with("HOST             CONNECT   WAIT  TRANSFER  REPORT  TOTAL\n"), "{narrow}");
        let ms = Duration::from_millis;
        let run = [
            Span { what: Phase::Inventory, begin: ms(10), took: ms(240) },
            Span { what: Phase::Hosts, begin: ms(250), took: ms(125_000) },
        ];
        assert_eq!(
            closing(&hosts[..2], &run),
            "work of the hosts: transfer 86%, connect 14%\nthe run: inventory 0.24s, hosts 2m05s"
        );
        assert_eq!(closing(&hosts[2..3], &run[..1]), "work of the hosts: none\nthe run: inventory 0.24s");
    }

    #[test]
    fn one_host_needs_no_sums() {
        let text = table(&[("vpn", sums(&[(Step::Probe, 5)]))], true).render(None);
        assert_eq!(text, "HOST   PROBE  TOTAL\nvpn   *0.01s  0.01s\n");
        assert_eq!(table(&[], true).render(None), "HOST  TOTAL\n");
    }

    #[test]
    fn the_middle_is_found() {
        let of = |times: &[u64]| median(times.iter().map(|ms| Duration::from_millis(*ms)).collect());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some(Duration::from_millis(7)));
        assert_eq!(of(&[9, 1]), Some(Duration::from_millis(5)));
        assert_eq!(of(&[9, 1, 2]), Some(Duration::from_millis(2)));
    }
}
