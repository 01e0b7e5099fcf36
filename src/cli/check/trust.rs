//! `--trust-host-keys`: the keys of hosts that are not known yet are shown, and
//! kept after a yes.

use super::each;
use crate::finding::counted;
use crate::host::{Host, Transport};
use crate::logging;
use crate::remote::keys::{self, Key, KeyError, Target};
use crate::settings::Settings;
use crate::text::printable;
use crate::turn::Turn;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::rc::Rc;
use tracing::{info, warn};

/// A host that is not known, and the keys that it shows.
struct Stranger {
    host: Host,
    target: Target,
    keys: Vec<Key>,
}

/// Shows the keys of those hosts that are not known, asks once, and keeps them.
/// An error if nobody can be asked, or a file cannot be written.
pub(super) async fn run(hosts: &[Host], settings: &Settings, yes: bool) -> anyhow::Result<()> {
    let strangers = strangers(hosts, settings).await;
    if strangers.is_empty() {
        info!("there is no new key to trust");
        return Ok(());
    }
    show(&strangers);
    if !yes && !ask(&strangers).await? {
        warn!("no key was kept");
        return Ok(());
    }
    let mut files: BTreeMap<PathBuf, Vec<(&str, &Key)>> = BTreeMap::new();
    for stranger in &strangers {
        let keys = stranger.keys.iter().map(|key| (stranger.target.name.as_str(), key));
        files.entry(stranger.target.file().to_owned()).or_default().extend(keys);
    }
    for (file, keys) in files {
        let added = keys::add(&file, &keys).map_err(|error| anyhow::anyhow!("{error} ({})", error.remedy))?;
        info!("{} added to `{}`", counted(added, "key"), printable(&file.to_string_lossy()));
    }
    Ok(())
}

/// The hosts that are not known and show keys. One that shows none is told of,
/// and is found again by the check itself.
async fn strangers(hosts: &[Host], settings: &Settings) -> Vec<Stranger> {
    let distant: Vec<Host> =
        hosts.iter().filter(|host| host.settings.transport == Transport::Ssh).cloned().collect();
    let ssh = Rc::new(settings.ssh.clone());
    let work = |host: Host, turn: Turn| {
        let ssh = ssh.clone();
        async move {
            turn.connection().await;
            let target = Target::of(&host, &ssh).await?;
            if target.is_known().await? {
                return Ok(None);
            }
            let keys = target.scan(&ssh).await?;
            Ok::<_, KeyError>(Some(Stranger { host, target, keys }))
        }
    };
    let mut strangers = Vec::new();
    for (host, found) in each(&distant, settings, work).await {
        match found {
            Some(Ok(Some(stranger))) => strangers.push(stranger),
            Some(Ok(None)) | None => {}
            Some(Err(error)) => warn!("{}: {error} ({})", host.name, error.remedy),
        }
    }
    strangers
}

fn show(strangers: &[Stranger]) {
    logging::print("These hosts are not known. Compare each fingerprint with what the host itself says:");
    logging::print("  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\n");
    for Stranger { host, target, keys } in strangers {
        let at = if target.name == host.name.key() {
            String::new()
        } else {
            format!(" ({})", printable(&target.name))
        };
        logging::print(&format!("{}{at}", host.name));
        for key in keys {
            logging::print(&format!("  {:<20} {}", key.kind, key.fingerprint));
        }
    }
}

/// Asks on the terminal.
async fn ask(strangers: &[Stranger]) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "there is no terminal to ask on, so no key was kept: compare the fingerprints above, then say \
             `backup check --trust-host-keys --yes`"
        );
    }
    let hosts = if strangers.len() == 1 {
        "this host".to_owned()
    } else {
        format!("these {} hosts", strangers.len())
    };
    let answer = tokio::task::spawn_blocking(move || {
        let mut stderr = std::io::stderr().lock();
        write!(stderr, "\nTrust {hosts} from now on? [y/N] ")?;
        stderr.flush()?;
        drop(stderr);
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        Ok::<_, std::io::Error>(line)
    });
    let line = answer.await.context("the question broke off")?.context("cannot read the answer")?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
