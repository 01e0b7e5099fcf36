//! The keys of hosts that are not known yet: whoever is asked sees them, and those
//! of the hosts that are trusted are kept.
//!
//! A host behind others is asked when those before it are known: nothing is sent
//! through a stranger.

use super::each;
use crate::app::admission::Turn;
use crate::core::format::text::{counted, printable};
use crate::core::model::finding::named;
use crate::core::model::host::Host;
use crate::core::model::settings::Settings;
use crate::edge::remote::keys::{self, Hop, Key, KeyError};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use tracing::{info, warn};

/// A host, and those on the way to it that were not asked yet, itself the last.
struct Way {
    host: Host,
    hops: VecDeque<Hop>,
}

/// A host that is not known, and the keys that it shows.
#[derive(Debug)]
pub struct Stranger {
    hop: Hop,
    title: String,
    keys: Vec<Key>,
}

impl Stranger {
    /// What people call it.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The name that its keys are to be known by.
    pub fn name(&self) -> &str {
        self.keys.first().map(|key| key.name.as_str()).unwrap_or_default()
    }

    /// Its keys: the kind of each, and its fingerprint.
    pub fn fingerprints(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys.iter().map(|key| (key.kind.as_str(), key.fingerprint.as_str()))
    }
}

/// Asks which of those hosts that are not known are `trusted`, and keeps their
/// keys. An error if nobody can be asked, or a file cannot be written.
pub(super) async fn run(
    hosts: &[Host],
    settings: &Settings,
    trusted: impl AsyncFn(&[Stranger]) -> anyhow::Result<Vec<bool>>,
) -> anyhow::Result<()> {
    let ssh = Rc::new(settings.ssh.clone());
    let mut ways = ways(hosts, settings).await;
    let mut is_anything_new = false;
    loop {
        let fronts: BTreeSet<&Hop> = ways.iter().filter_map(|way| way.hops.front()).collect();
        if fronts.is_empty() {
            break;
        }
        let hops: Vec<Hop> = fronts.into_iter().cloned().collect();
        let ask = |hop: Hop, turn: Turn| {
            let ssh = ssh.clone();
            async move {
                turn.connection().await;
                hop.new_keys(&ssh).await
            }
        };
        let mut strangers = Vec::new();
        for (hop, found) in each(&hops, settings, ask).await {
            match found {
                Some(Ok(keys)) if keys.is_empty() => come_by(&mut ways, &hop),
                Some(Ok(keys)) => strangers.push(Stranger { title: title(&ways, &hop), hop, keys }),
                Some(Err(error)) => {
                    warn!("{}: {error} ({})", title(&ways, &hop), error.remedy);
                    give_up(&mut ways, &hop);
                }
                None => give_up(&mut ways, &hop),
            }
        }
        if strangers.is_empty() {
            continue;
        }
        is_anything_new = true;
        strangers.sort_by_key(|stranger| stranger.title.to_lowercase());
        let mut trusted = trusted(&strangers).await?;
        // Of whom nothing was said is not trusted.
        trusted.resize(strangers.len(), false);
        keep(strangers.iter().zip(&trusted).filter(|(_, trusted)| **trusted).map(|(stranger, _)| stranger))
            .await?;
        for (stranger, trusted) in strangers.iter().zip(trusted) {
            if trusted {
                come_by(&mut ways, &stranger.hop);
            } else {
                give_up(&mut ways, &stranger.hop);
            }
        }
    }
    if !is_anything_new {
        info!("there is no new key to trust");
    }
    Ok(())
}

/// The ways to the hosts that are not this machine itself.
async fn ways(hosts: &[Host], settings: &Settings) -> Vec<Way> {
    let distant: Vec<Host> = hosts.iter().filter(|host| host.settings.transport.is_ssh()).cloned().collect();
    let ssh = Rc::new(settings.ssh.clone());
    let ask = |host: Host, turn: Turn| {
        let ssh = ssh.clone();
        async move {
            turn.connection().await;
            keys::way(&host, &ssh).await
        }
    };
    let mut ways = Vec::new();
    for (host, way) in each(&distant, settings, ask).await {
        match way {
            Some(Ok(hops)) => ways.push(Way { host, hops: hops.into() }),
            Some(Err(error)) => warn!("{}: {error} ({})", host.name, error.remedy),
            None => {}
        }
    }
    ways
}

/// Goes on behind a host that is known.
fn come_by(ways: &mut [Way], hop: &Hop) {
    for way in ways.iter_mut().filter(|way| way.hops.front() == Some(hop)) {
        way.hops.pop_front();
    }
}

/// Leaves out what is behind a host that is not.
fn give_up(ways: &mut Vec<Way>, hop: &Hop) {
    ways.retain(|way| way.hops.front() != Some(hop));
}

/// What people call a host: by its name if it is to be backed up, else by whom
/// it leads to.
fn title(ways: &[Way], hop: &Hop) -> String {
    let these = || ways.iter().filter(|way| way.hops.front() == Some(hop));
    match these().find(|way| way.hops.len() == 1) {
        Some(way) => way.host.name.to_string(),
        None => {
            let behind: Vec<String> = these().map(|way| way.host.name.to_string()).collect();
            format!("{}, on the way to {}", hop.display(), named(&behind))
        }
    }
}

/// Adds their keys to the files of known hosts.
async fn keep(strangers: impl Iterator<Item = &Stranger>) -> anyhow::Result<()> {
    let told = |error: KeyError| anyhow::anyhow!("{error} ({})", error.remedy);
    let mut files: BTreeMap<PathBuf, Vec<Key>> = BTreeMap::new();
    for stranger in strangers {
        let file = stranger.hop.file().await.map_err(told)?;
        files.entry(file).or_default().extend(stranger.keys.iter().cloned());
    }
    if files.is_empty() {
        warn!("no key was added");
    }
    for (file, keys) in files {
        let added = keys::add(&file, &keys).map_err(told)?;
        info!("{} added to `{}`", counted(added, "key"), printable(&file.to_string_lossy()));
    }
    Ok(())
}
