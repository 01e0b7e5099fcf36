//! NetBox and Icinga, as findings.

use super::found;
use crate::core::format::text::human_duration;
use crate::core::model::finding::CheckFinding;
use crate::core::model::outcome::Severity;
use crate::core::model::problem::Problem;
use crate::core::model::settings::Settings;
use crate::edge::inventory::{self, Answered, Examined, Inventory};
use crate::edge::notify::icinga::Icinga;
use crate::sys::clock::Clock;
use crate::sys::https;
use std::time::Duration;
use tokio::time::timeout;

/// How long NetBox may take to list its hosts.
const NETBOX_LIMIT: Duration = Duration::from_secs(120);
/// How long Icinga may take for everything that it is asked.
const ICINGA_LIMIT: Duration = Duration::from_secs(120);

/// Where hosts come from: the inventory, if it can be had, and its findings.
pub(super) async fn inventory(settings: &Settings, clock: Clock) -> (Option<Inventory>, Vec<CheckFinding>) {
    let begun = clock.now();
    let examination = inventory::examine(settings, begun, NETBOX_LIMIT).await;
    let took = (clock.now() - begun).to_std().unwrap_or_default();
    let mut findings = Vec::new();
    let source = examination.source.as_ref().map_or("the inventory", |examined| examined.name);
    if let Some(examined) = &examination.source {
        match &examined.answer {
            Ok(answered) => findings.extend(answers(&examined.place, answered, took)),
            Err(problem) => findings.push(found(
                source,
                Problem { severity: Severity::Critical, ..problem.clone() },
                &format!("get {source} to answer, or correct `{}.url`", examined.section),
            )),
        }
    }
    let inventory = match examination.inventory {
        Ok(inventory) => inventory,
        Err(error) => {
            let remedy = format!("get {source} to answer, or name hosts as `[hosts.NAME]`");
            findings.push(match &examination.source {
                // What it said is told already.
                Some(Examined { answer: Err(_), .. }) => {
                    CheckFinding::error("hosts", "no earlier list of its hosts was kept", remedy)
                }
                _ => found("hosts", error.0, &remedy),
            });
            return (None, findings);
        }
    };
    let section = examination.source.as_ref().map_or("inventory", |examined| examined.section);
    findings.extend(stand_in(&inventory, source, section));
    for problem in &inventory.warnings {
        findings.push(found(
            "hosts",
            problem.clone(),
            &format!("look at {source}; every run warns about it"),
        ));
    }
    for fault in &inventory.faults {
        let name = if fault.name.is_empty() { "(no name)" } else { &fault.name };
        findings.push(found(name, fault.why.clone(), &format!("correct it in {source}")));
    }
    findings.extend(inventory.notes.iter().map(|note| {
        CheckFinding::note("hosts", note, format!("remove that section, or tag the host in {source}"))
    }));
    findings.extend(
        inventory
            .renames
            .iter()
            .map(|rename| found(rename.from.spelled(), rename.problem(), "rename its copies")),
    );
    match inventory::departures(&settings.state_dir) {
        Ok(mut departures) => {
            departures.see(&inventory, begun);
            findings.extend(departures.problem().map(|problem| found("hosts", problem, "")));
        }
        Err(problem) => findings.push(found("hosts", problem, "run `backup`, or remove it")),
    }
    findings.push(match inventory.hosts.len() {
        0 => CheckFinding::error(
            "hosts",
            "there is no host that could be backed up",
            format!("tag hosts in {source}, or add `[hosts.NAME]`"),
        ),
        count => CheckFinding::ok("hosts", format!("{count} can be backed up")),
    });
    (Some(inventory), findings)
}

/// The list that stands in for one that the source does not give.
fn stand_in(inventory: &Inventory, source: &str, section: &str) -> Option<CheckFinding> {
    let problem = inventory.stand_in.as_ref()?;
    let Some(at) = inventory.listed_at else {
        let text = "only the hosts of the configuration are backed up";
        return Some(CheckFinding::error("hosts", text, format!("get {source} to answer")));
    };
    let at = at.format("%Y-%m-%d %H:%M UTC");
    Some(match problem.severity {
        Severity::Critical => CheckFinding::error(
            "hosts",
            format!("its list of {at} is used, which is older than `{section}.max_age`"),
            format!("get {source} to answer: new hosts are not backed up"),
        ),
        _ => CheckFinding::note(
            "hosts",
            format!("its list of {at} is used"),
            "nothing is lost as long as it is the right list",
        ),
    })
}

/// What a source of hosts that answers has to tell.
fn answers(place: &str, answered: &Answered, took: Duration) -> Vec<CheckFinding> {
    let mut findings =
        vec![CheckFinding::ok(place, format!("{}, in {}", answered.what, human_duration(took)))];
    let doubts = answered.doubts.iter();
    findings.extend(doubts.map(|(what, remedy)| CheckFinding::note(place, what, *remedy)));
    findings.push(match answered.last {
        Some(last) => CheckFinding::ok(
            place,
            format!(
                "compared with the last good list, of {}: {} new, {} gone",
                last.at.format("%Y-%m-%d %H:%M UTC"),
                last.new,
                last.gone
            ),
        ),
        None => CheckFinding::ok(
            place,
            "no earlier list was kept; the first run keeps one for the nights without NetBox",
        ),
    });
    findings
}

/// The Icinga of the configuration, and these hosts' services there.
pub(super) async fn icinga(settings: &Settings, hosts: Vec<String>) -> Vec<CheckFinding> {
    let Some(configured) = &settings.notifiers.icinga else { return Vec::new() };
    let url = https::shown(&configured.url);
    let icinga = match Icinga::new(configured, &settings.server) {
        Ok(icinga) => icinga,
        Err(error) => {
            let Problem { what, remedy, .. } = error.problem();
            return vec![CheckFinding::error(url, what, remedy)];
        }
    };
    timeout(ICINGA_LIMIT, icinga.examine(hosts)).await.unwrap_or_else(|_| {
        let text = format!("did not answer everything within {}", human_duration(ICINGA_LIMIT));
        vec![CheckFinding::error(url, text, "look at its load, and at the network between")]
    })
}
