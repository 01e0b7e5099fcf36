//! It is meant that hosts left the inventory. Nothing of theirs is removed.

use crate::app::attempt::Attempt;
use crate::app::session::Session;
use crate::core::format::similar::nearest;
use crate::core::model::host::{HostName, Object};
use crate::edge::inventory;
use crate::edge::store::Store;
use anyhow::{anyhow, bail};
use tracing::warn;

/// A host that is retired.
#[derive(Debug)]
pub struct RetiredHost {
    /// What its copies are called.
    pub host: HostName,
    /// How many snapshots of ours it has.
    pub snapshots: usize,
    /// What it is in NetBox, and the other name under which it starts afresh there,
    /// if it was renamed.
    pub afresh: Option<(Object, HostName)>,
}

/// Retires the hosts of these names, or none of them if one is still listed.
///
/// # Errors
/// There is no such host, or nobody knows which hosts are listed.
pub async fn retire(session: &Session, words: &[String]) -> anyhow::Result<Attempt<Vec<RetiredHost>>> {
    let settings = &session.settings;
    let mut names: Vec<HostName> = Vec::new();
    for word in words {
        names.push(word.parse()?);
    }
    names.sort();
    names.dedup();
    let inventory = inventory::look(settings, session.clock.now(), None).await?;
    inventory.problems().for_each(|problem| warn!("{problem}"));
    if inventory.is_partial {
        bail!("cannot tell whether a host is still listed: NetBox does not answer; try again when it does");
    }
    let is_fault =
        |name: &HostName| inventory.faults.iter().any(|fault| fault.name.to_lowercase() == name.key());
    let has = |name: &HostName| inventory.hosts.iter().any(|host| host.name == *name);
    // One that has another name now may begin anew under that.
    let is_listed = |name: &&HostName| (has(name) && inventory.rename_of(name).is_none()) || is_fault(name);
    let listed: Vec<&HostName> = names.iter().filter(is_listed).collect();
    if !listed.is_empty() {
        let still = |name: &HostName| {
            format!("{name} is still in the inventory; remove it there first (its tag, or its section)")
        };
        return Ok(Attempt::Failed(listed.into_iter().map(still).collect()));
    }
    let departures = inventory::departures(&settings.state_dir).unwrap_or_default();
    let mut retired = Vec::new();
    for name in &names {
        let snapshots = session.store.snapshots(name).await?;
        let is_known = departures.left.contains_key(name.key()) || inventory.rename_of(name).is_some();
        if snapshots.is_none() && !is_known {
            let held = session.store.hosts().await?;
            let known = held.iter().map(String::as_str).chain(departures.left.keys().map(String::as_str));
            let near = nearest(name.key(), known).map(|near| format!("; did you mean `{near}`?"));
            return Err(anyhow!("there is no host `{name}`{}", near.unwrap_or_default()));
        }
        let ours = snapshots.unwrap_or_default().iter().filter(|snapshot| snapshot.is_ours()).count();
        let rename = inventory.renames.iter().find(|rename| rename.from == *name);
        let afresh = rename.map(|rename| (rename.object, rename.to.clone()));
        retired.push(RetiredHost { host: name.clone(), snapshots: ours, afresh });
    }
    if let Err(problem) = inventory::retire(&settings.state_dir, &names, session.clock.now()) {
        return Ok(Attempt::failed(problem));
    }
    Ok(Attempt::Done(retired))
}
