//! NetBox and Icinga, as findings.

use super::parted;
use crate::core::format::text::{counted, human_duration, printable};
use crate::core::model::finding::CheckFinding;
use crate::core::model::outcome::Severity;
use crate::core::model::problem::Problem;
use crate::core::model::settings::{NetBox, Settings};
use crate::edge::inventory::{self, Answered, Inventory};
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
    if let (Some(netbox), Some(said)) = (&settings.netbox, &examination.netbox) {
        match said {
            Ok(answered) => findings.extend(answers(netbox, *answered, took)),
            Err(problem) => findings.push(found(
                "NetBox",
                Problem { severity: Severity::Critical, ..problem.clone() },
                "get NetBox to answer, or correct `inventory.netbox.url`",
            )),
        }
    }
    let inventory = match examination.inventory {
        Ok(inventory) => inventory,
        // What NetBox said is told already.
        Err(_) if matches!(examination.netbox, Some(Err(_))) => {
            let remedy = "get NetBox to answer, or name hosts as `[hosts.NAME]`";
            findings.push(CheckFinding::error("hosts", "no earlier list of its hosts was kept", remedy));
            return (None, findings);
        }
        Err(error) => {
            findings.push(found("hosts", error.0, "get NetBox to answer, or name hosts as `[hosts.NAME]`"));
            return (None, findings);
        }
    };
    findings.extend(stand_in(&inventory));
    for problem in &inventory.warnings {
        findings.push(found("hosts", problem.clone(), "look at NetBox; every run warns about it"));
    }
    let advised = |text: &str, unless: &str| {
        let (what, remedy) = parted(text);
        (what, remedy.unwrap_or_else(|| unless.to_owned()))
    };
    for fault in &inventory.faults {
        let name = if fault.name.is_empty() { "(no name)" } else { &fault.name };
        let (what, remedy) = advised(&fault.why, "correct it in NetBox");
        findings.push(CheckFinding::error(name, what, remedy));
    }
    findings.extend(
        inventory
            .notes
            .iter()
            .map(|note| CheckFinding::note("hosts", note, "remove that section, or tag the host in NetBox")),
    );
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
            "tag hosts in NetBox, or add `[hosts.NAME]`",
        ),
        count => CheckFinding::ok("hosts", format!("{count} can be backed up")),
    });
    (Some(inventory), findings)
}

/// The list that stands in for one that NetBox does not give.
fn stand_in(inventory: &Inventory) -> Option<CheckFinding> {
    let problem = inventory.stand_in.as_ref()?;
    let Some(at) = inventory.listed_at else {
        let text = "only the hosts of the configuration are backed up";
        return Some(CheckFinding::error("hosts", text, "get NetBox to answer"));
    };
    let at = at.format("%Y-%m-%d %H:%M UTC");
    Some(match problem.severity {
        Severity::Critical => CheckFinding::error(
            "hosts",
            format!("its list of {at} is used, which is older than `inventory.netbox.max_age`"),
            "get NetBox to answer: new hosts are not backed up",
        ),
        _ => CheckFinding::note(
            "hosts",
            format!("its list of {at} is used"),
            "nothing is lost as long as it is the right list",
        ),
    })
}

/// A problem as a finding; `unless` is what to do where it does not say.
fn found(subject: &str, problem: Problem, unless: &str) -> CheckFinding {
    let Problem { severity, what, remedy } = problem;
    let remedy = if remedy.is_empty() { unless.to_owned() } else { remedy };
    match severity {
        Severity::Critical => CheckFinding::error(subject, what, remedy),
        Severity::Warning | Severity::Ok => CheckFinding::warning(subject, what, remedy),
    }
}

/// What a NetBox that answers has to tell.
fn answers(netbox: &NetBox, answered: Answered, took: Duration) -> Vec<CheckFinding> {
    let (url, tag) = (https::shown(&netbox.url), printable(&netbox.tag));
    let statuses = printable(&netbox.statuses.join("`, `"));
    let mut findings = vec![CheckFinding::ok(
        &url,
        format!(
            "accepts the token and lists {} with the tag `{tag}` and a status of `{statuses}`, in {}",
            counted(answered.hosts, "host"),
            human_duration(took)
        ),
    )];
    if !answered.tag_confirmed {
        findings.push(CheckFinding::note(
            &url,
            format!("the tag `{tag}` itself cannot be seen, so whether its name is right is not known"),
            "let the token's user view tags; compare `inventory.netbox.tag` with NetBox",
        ));
    }
    findings.push(match answered.last {
        Some(last) => CheckFinding::ok(
            &url,
            format!(
                "compared with the last good list, of {}: {} new, {} gone",
                last.at.format("%Y-%m-%d %H:%M UTC"),
                last.new,
                last.gone
            ),
        ),
        None => CheckFinding::ok(
            &url,
            "no earlier list was kept; the first run keeps one for the nights without NetBox",
        ),
    });
    findings
}

/// The Icinga of the configuration, and these hosts' services there.
pub(super) async fn icinga(settings: &Settings, hosts: Vec<String>) -> Vec<CheckFinding> {
    let Some(configured) = &settings.icinga else { return Vec::new() };
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
