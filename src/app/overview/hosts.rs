//! Which hosts there are: those of the inventory and those of the store, asked
//! at once.

use crate::app::session::Session;
use crate::core::format::similar::nearest;
use crate::core::format::text::printable;
use crate::core::model::host::{Host, HostName};
use crate::core::model::outcome::Severity;
use crate::core::model::problem::Problem;
use crate::core::model::snapshot::Overview;
use crate::core::policy::health::{AT_ONCE, InventoryState};
use crate::edge::inventory::{self, Departures, Inventory, InventoryError, SelectError, Unknown};
use crate::edge::store::{AnyStore, Store, StoreError};
use anyhow::anyhow;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long the store may take to say what it holds.
const LONGEST_LOOK: Duration = Duration::from_secs(5 * 60);

/// What is said where NetBox's hosts are not known, and the configuration's are.
const OWN_ALONE: &str = "the inventory is not available; shown are the hosts of the configuration and of the \
                         store";

/// What each host has in the store, or why that cannot be read, by its name in
/// lower case.
type Held = BTreeMap<String, Result<Overview, StoreError>>;

/// The hosts that were asked for.
pub(super) struct Found {
    /// Sorted by name.
    pub(super) hosts: Vec<FoundHost>,
    /// Why nobody knows which hosts there should be.
    pub(super) unlisted: Option<String>,
    /// What makes the list of hosts doubtful.
    pub(super) doubts: Vec<Problem>,
}

/// One of them.
pub(super) struct FoundHost {
    /// As the inventory spells it, else as the store does.
    pub(super) name: String,
    pub(super) listing: InventoryState,
    pub(super) copies: Result<Overview, String>,
}

/// Asks the inventory and the store. Without words all hosts are meant.
pub(super) async fn find(session: &Session, words: &[String]) -> anyhow::Result<Found> {
    // A run under way may date its snapshot after this look began.
    let until = session.clock.now() + AT_ONCE;
    let (asked, held) = tokio::join!(
        inventory::look(&session.settings, session.clock.now(), inventory::patience(&session.settings)),
        tokio::time::timeout(LONGEST_LOOK, held(&session.store, words, until))
    );
    let held = held.map_err(|_| {
        anyhow!("the store did not answer within 5 minutes (does its disk or its pool hang?)")
    })??;
    let (listed, unlisted) = match asked {
        Ok(inventory) => {
            let unlisted = inventory.is_partial.then(|| OWN_ALONE.to_owned());
            (inventory, unlisted)
        }
        Err(error) => (Inventory::default(), Some(no_list(&error))),
    };
    let mut doubts: Vec<Problem> = listed.problems().cloned().collect();
    if unlisted.is_some() {
        // That the list is missing is said by itself, and is no list that is old.
        doubts.iter_mut().for_each(|doubt| doubt.severity = Severity::Warning);
    }
    let mut departures = inventory::departures(&session.settings.state_dir).unwrap_or_else(|problem| {
        doubts.push(problem);
        Departures::default()
    });
    if unlisted.is_none() {
        departures.see(&listed, session.clock.now());
    }
    let beside: BTreeSet<&String> = held.keys().chain(departures.left.keys()).collect();
    let everybody = with_store(session, &listed, beside.into_iter());
    let all = ["all".to_owned()];
    let words = if words.is_empty() { &all } else { words };
    let selection = match inventory::select(&everybody, words) {
        Ok(selection) => selection,
        Err(error) => {
            return Err(unknown(&error, &everybody, &session.store.hosts().await.unwrap_or_default()));
        }
    };
    let copies = |key: &str| match held.get(key) {
        None => Ok(Overview::default()),
        Some(held) => held.clone().map_err(|error| error.to_string()),
    };
    let is_listed = |host: &Host| listed.hosts.binary_search_by(|other| other.name.cmp(&host.name)).is_ok();
    let listing = |host: &Host| match &unlisted {
        _ if is_listed(host) => InventoryState::Listed,
        Some(_) => InventoryState::Unknown,
        None => match departures.left.get(host.name.key()) {
            Some(departure) => InventoryState::Left(departure.at),
            None => InventoryState::Gone,
        },
    };
    let hosts = selection.hosts.iter().map(|host| FoundHost {
        name: host.name.spelled().to_owned(),
        listing: listing(host),
        copies: copies(host.name.key()),
    });
    let faults = selection.faults.iter().map(|fault| FoundHost {
        name: fault.name.clone(),
        listing: InventoryState::Unfit(fault.why.to_string()),
        copies: copies(&fault.name.to_lowercase()),
    });
    let mut hosts: Vec<FoundHost> = hosts.chain(faults).collect();
    hosts.sort_by_cached_key(|host| host.name.to_lowercase());
    // Who asks of hosts that the configuration lists gets a whole answer.
    let are_named = words.iter().all(|word| word.parse::<HostName>().is_ok());
    let are_listed = hosts.iter().all(|host| host.listing != InventoryState::Unknown);
    let unlisted = unlisted.filter(|_| !(are_named && are_listed));
    Ok(Found { hosts, unlisted, doubts })
}

/// What the store has of the hosts that may be meant. One that is named is
/// looked at alone: the others would only cost time.
async fn held(store: &AnyStore, words: &[String], now: DateTime<Utc>) -> Result<Held, StoreError> {
    if let [word] = words {
        if let Ok(host) = word.parse::<HostName>() {
            let snapshots = store.snapshots(&host).await?;
            let overview =
                snapshots.map(|snapshots| (host.key().to_owned(), Ok(Overview::of(&snapshots, now))));
            return Ok(overview.into_iter().collect());
        }
    }
    store.overview(now).await
}

fn no_list(error: &InventoryError) -> String {
    format!("the inventory is not available: {error}; shown are the hosts of the store")
}

/// The inventory, and the hosts beside it that the store has something of.
fn with_store<'a>(
    session: &Session,
    listed: &Inventory,
    held: impl Iterator<Item = &'a String>,
) -> Inventory {
    let mut everybody = listed.clone();
    let is_fault = |key: &str| listed.faults.iter().any(|fault| fault.name.to_lowercase() == key);
    let others = held.filter(|key| !is_fault(key)).filter_map(|key| key.parse::<HostName>().ok());
    let others = others
        .filter(|name| listed.hosts.binary_search_by(|host| host.name.cmp(name)).is_err())
        .map(|name| inventory::forced(&session.settings, name));
    everybody.hosts.extend(others);
    everybody
}

/// What was meant by words that mean no host. `held` are the store's.
fn unknown(error: &SelectError, everybody: &Inventory, held: &[String]) -> anyhow::Error {
    let told = error.0.iter().map(|unknown| match unknown {
        Unknown::Name { name, nearest: by_list } => {
            let spelled = everybody.hosts.iter().map(|host| host.name.spelled());
            let lower = name.to_lowercase();
            let near = by_list
                .as_deref()
                .or_else(|| nearest(&lower, held.iter().map(String::as_str).chain(spelled)));
            let near = near.map(|near| format!("; did you mean `{}`?", printable(near))).unwrap_or_default();
            format!("neither the inventory nor the store has a host `{}`{near}", printable(name))
        }
        other => other.to_string(),
    });
    anyhow!("{}", told.collect::<Vec<_>>().join("; "))
}
