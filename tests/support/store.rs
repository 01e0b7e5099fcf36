//! What tests do with a store that a run does in more steps.

use backup::core::model::host::HostName;
use backup::edge::store::{Removal, Store};
use std::path::PathBuf;

/// Removes snapshots of a host, whose list is read just before.
pub async fn remove(store: &impl Store, host: &HostName, names: &[String]) -> Removal {
    let listed = store.snapshots(host).await.unwrap().unwrap_or_default();
    store.remove(host, &listed, names).await.unwrap()
}

/// Where people look for the files of a host's snapshot.
pub async fn browse(store: &impl Store, host: &HostName, name: &str) -> PathBuf {
    store.host(host).await.unwrap().unwrap().browse(name)
}
