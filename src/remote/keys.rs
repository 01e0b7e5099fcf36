//! Host keys: which are known, which a host shows, and how one that a person
//! has looked at becomes known.
//!
//! ssh itself says what it would look for and where (`ssh -G`), so that an
//! alias or a port of its own configuration means the same here. A key that is
//! known is never replaced: a changed one may be somebody in between.

use crate::host::Host;
use crate::process::{Failure, Program};
use crate::settings;
use crate::text::{gist, printable};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For what ssh's tools do on this machine alone.
const AT_ONCE: Duration = Duration::from_secs(20);
/// The longest that a host is waited for, however patient the configuration.
const LONGEST_SCAN: Duration = Duration::from_secs(30);
/// More than the keys of any host, in bytes.
const LONGEST_ANSWER: usize = 256 * 1024;

/// Where ssh connects to for a host, and what it knows keys by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    hostname: String,
    port: u16,
    /// The name in files of known hosts: `vpn`, or `[vpn]:2222`.
    pub name: String,
    /// The files of known hosts, root's own first, which may be missing.
    pub files: Vec<PathBuf>,
    /// Another host or a program that stands between.
    pub behind: Option<String>,
}

/// A key that a host shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// As in files of known hosts: `ssh-ed25519`.
    pub kind: String,
    /// The key itself, in base 64.
    blob: String,
    /// As `ssh-keygen -l` writes it: `SHA256:…`.
    pub fingerprint: String,
}

/// Why keys cannot be had or kept: what, why, what to try.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct KeyError {
    /// What was being done, and why it failed.
    pub why: String,
    /// What to try.
    pub remedy: String,
}

fn error(why: impl Into<String>, remedy: impl Into<String>) -> KeyError {
    KeyError { why: why.into(), remedy: remedy.into() }
}

impl Target {
    /// Asks ssh where it would connect to.
    pub async fn of(host: &Host, settings: &settings::Ssh) -> Result<Self, KeyError> {
        let mut ask = Program::new("ssh").arg("-G").args(["-p", &host.settings.port.to_string()]);
        ask = ask.args(["-l", &host.settings.user]);
        if let Some(file) = &settings.known_hosts_file {
            ask = ask.arg("-o").arg(format!("UserKnownHostsFile={}", file.display()));
        }
        let output = ask.arg("--").arg(&host.address).deadline(AT_ONCE).run().await;
        let output = output.map_err(|failure| {
            error(
                format!("ssh's own configuration cannot be read: {failure}"),
                format!("see `ssh -G {}`", host.address),
            )
        })?;
        let mut target = parse(&String::from_utf8_lossy(&output.stdout), &host.address, host.settings.port);
        // ssh splits its option at blanks; what was configured is known.
        if let Some(file) = &settings.known_hosts_file {
            let global = target.files.iter().filter(|file| file.starts_with("/etc/ssh")).cloned();
            target.files = std::iter::once(file.clone()).chain(global).collect();
        }
        Ok(target)
    }

    /// The file that a key is written to.
    pub fn file(&self) -> &Path {
        self.files.first().map_or(Path::new("/root/.ssh/known_hosts"), PathBuf::as_path)
    }

    /// Whether any key is known for the host.
    pub async fn is_known(&self) -> Result<bool, KeyError> {
        for file in self.files.iter().filter(|file| file.exists()) {
            // Finds names that are hashed as well.
            let find = Program::new("ssh-keygen").arg("-F").arg(&self.name).arg("-f").arg(file);
            let output = find.deadline(AT_ONCE).output().await.map_err(|failure| unusable(&failure))?;
            let said = String::from_utf8_lossy(&output.stdout);
            // A revoked key is known only for not being trusted.
            if said.lines().any(|line| {
                !line.starts_with('#') && !line.starts_with("@revoked") && !line.trim().is_empty()
            }) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The keys that the host shows, the one that ssh prefers first.
    pub async fn scan(&self, settings: &settings::Ssh) -> Result<Vec<Key>, KeyError> {
        if let Some(behind) = &self.behind {
            return Err(error(
                format!(
                    "it is reached through `{}`, so its keys cannot be fetched from here",
                    printable(behind)
                ),
                format!("log in by hand, once: `ssh -o StrictHostKeyChecking=ask {}`", self.hostname),
            ));
        }
        let patience = settings.connect_timeout.min(LONGEST_SCAN);
        let (seconds, port) = (patience.as_secs().max(1).to_string(), self.port.to_string());
        let scan = Program::new("ssh-keyscan").args(["-T", &seconds, "-p", &port, "--"]).arg(&self.hostname);
        let scan = scan.deadline(patience * 2 + Duration::from_secs(5)).most_output(LONGEST_ANSWER);
        let output = scan.output().await.map_err(|failure| unusable(&failure))?;
        let mut keys = keys(&String::from_utf8_lossy(&output.stdout));
        if keys.is_empty() {
            let said = gist(&output.stderr);
            let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
            return Err(error(
                format!("it shows no host key{said}"),
                format!("is sshd running there? try `ssh-keyscan -p {port} {}`", self.hostname),
            ));
        }
        fingerprint(&mut keys).await?;
        keys.sort_by_key(|key| rank(&key.kind));
        Ok(keys)
    }
}

fn unusable(failure: &Failure) -> KeyError {
    error(failure.to_string(), "install OpenSSH's client (`apt install openssh-client`)")
}

/// Takes the answer of `ssh -G` apart.
fn parse(said: &str, address: &str, port: u16) -> Target {
    let value = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        line.map(str::trim).filter(|value| !value.is_empty() && *value != "none")
    };
    let hostname = value("hostname").unwrap_or(address).to_ascii_lowercase();
    let port = value("port").and_then(|port| port.parse().ok()).unwrap_or(port);
    let name = match value("hostkeyalias") {
        Some(alias) => alias.to_owned(),
        None if port == 22 => hostname.clone(),
        None => format!("[{hostname}]:{port}"),
    };
    let files = ["userknownhostsfile", "globalknownhostsfile"].into_iter().filter_map(value);
    let files =
        files.flat_map(str::split_ascii_whitespace).filter(|file| file.starts_with('/')).map(PathBuf::from);
    let behind = value("proxyjump").or_else(|| value("proxycommand")).map(str::to_owned);
    Target { hostname, port, name, files: files.collect(), behind }
}

/// The keys in the answer of `ssh-keyscan`.
fn keys(said: &str) -> Vec<Key> {
    let base64 = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    let kind = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-@.".contains(&b));
    let key = |line: &str| match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
        [name, a, b] if !name.starts_with('#') && kind(a) && base64(b) => {
            Some(Key { kind: a.to_owned(), blob: b.to_owned(), fingerprint: String::new() })
        }
        _ => None,
    };
    let mut keys: Vec<Key> = said.lines().filter_map(key).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Which key ssh asks for first, as long as none is known.
fn rank(kind: &str) -> usize {
    let order = ["ssh-ed25519", "ecdsa-", "sk-", "ssh-rsa", "rsa-"];
    order.iter().position(|begin| kind.starts_with(begin)).unwrap_or(order.len())
}

/// Has `ssh-keygen` work the fingerprints out, in one go.
async fn fingerprint(keys: &mut [Key]) -> Result<(), KeyError> {
    let lines: String = keys.iter().map(|key| format!("{} {}\n", key.kind, key.blob)).collect();
    let ask =
        Program::new("ssh-keygen").args(["-l", "-E", "sha256", "-f", "-"]).input(lines).deadline(AT_ONCE);
    let output = ask.run().await.map_err(|failure| unusable(&failure))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let fingerprints: Vec<&str> =
        said.lines().filter_map(|line| line.split(' ').find(|word| word.starts_with("SHA256:"))).collect();
    if fingerprints.len() != keys.len() {
        let why = "`ssh-keygen` could not read each of the keys that the host shows";
        return Err(error(why, "look at them by hand, with `ssh-keyscan`"));
    }
    keys.iter_mut().zip(fingerprints).for_each(|(key, said)| key.fingerprint = said.to_owned());
    Ok(())
}

/// Adds keys to a file of known hosts, each under its host's name, those that
/// are not in it yet. The file is replaced as a whole or not at all, and keeps
/// its owner and mode; a missing one is made, with its folder. Says how many
/// were added.
pub fn add(file: &Path, keys: &[(&str, &Key)]) -> Result<usize, KeyError> {
    let failed = |doing: &str, path: &Path, why: io::Error| {
        let remedy = "is this root, and `ssh.known_hosts_file` right?";
        error(format!("cannot {doing} `{}`: {why}", printable(&path.to_string_lossy())), remedy)
    };
    // A symlink stays one.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(Path::new("/"));
    if !folder.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|why| failed("make", folder, why))?;
    }
    let (mut content, meta) = match fs::read(&file) {
        Ok(content) => (content, Some(file.metadata().map_err(|why| failed("look at", &file, why))?)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
        Err(why) => return Err(failed("read", &file, why)),
    };
    if !content.is_empty() && !content.ends_with(b"\n") {
        content.push(b'\n');
    }
    let mut added = 0;
    for (name, key) in keys {
        let line = format!("{name} {} {}", key.kind, key.blob);
        let there = |own: &[u8]| own.trim_ascii() == line.as_bytes();
        if !content.split(|&b| b == b'\n').any(there) {
            content.extend_from_slice(line.as_bytes());
            content.push(b'\n');
            added += 1;
        }
    }
    if added == 0 {
        return Ok(0);
    }
    let write = || -> io::Result<()> {
        let mut new = tempfile::Builder::new().prefix(".known_hosts.").tempfile_in(folder)?;
        new.write_all(&content)?;
        if let Some(meta) = meta {
            chown(new.path(), Some(meta.uid()), Some(meta.gid()))?;
            fs::set_permissions(new.path(), PermissionsExt::from_mode(meta.mode() & 0o7777))?;
        }
        new.as_file().sync_all()?;
        new.persist(&file).map_err(|persisting| persisting.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|why| failed("write", &file, why))?;
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_says_where_it_connects_to_and_what_it_knows_keys_by() {
        let files = "userknownhostsfile /root/.ssh/known_hosts /root/.ssh/known_hosts2\n\
                     globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2\n";
        for (said, hostname, port, name, behind, reason) in [
            (
                "hostname vpn.example.org\nport 22\n",
                "vpn.example.org",
                22,
                "vpn.example.org",
                None,
                "a plain host",
            ),
            ("hostname 10.0.0.7\nport 2222\n", "10.0.0.7", 2222, "[10.0.0.7]:2222", None, "another port"),
            (
                "hostname 10.0.0.7\nport 2222\nhostkeyalias vpn\n",
                "10.0.0.7",
                2222,
                "vpn",
                None,
                "an alias is all",
            ),
            (
                "hostname vpn\nport 22\nproxyjump gate\n",
                "vpn",
                22,
                "vpn",
                Some("gate"),
                "behind another host",
            ),
            (
                "hostname vpn\nport 22\nproxycommand none\nproxyjump none\n",
                "vpn",
                22,
                "vpn",
                None,
                "behind nobody",
            ),
        ] {
            let target = parse(&format!("{said}{files}"), "VPN", 22);
            assert_eq!(
                (target.hostname.as_str(), target.port, target.name.as_str()),
                (hostname, port, name),
                "{reason}"
            );
            assert_eq!(target.behind.as_deref(), behind, "{reason}");
            assert_eq!(target.file(), Path::new("/root/.ssh/known_hosts"));
            assert_eq!(target.files.len(), 4);
        }
    }

    #[test]
    fn what_is_no_key_is_passed_over() {
        let said = "# vpn:22 SSH-2.0-OpenSSH_9.2p1\nvpn ssh-rsa AAAAB3==\nvpn ssh-ed25519 AAAAC3\n\
                    vpn ssh-ed25519 AAAAC3\nvpn ssh-x a\u{1b}b\nvpn\nvpn ssh-rsa A B\n";
        let kinds: Vec<String> = keys(said).into_iter().map(|key| key.kind).collect();
        assert_eq!(kinds, ["ssh-ed25519", "ssh-rsa"]);
    }

    #[test]
    fn keys_are_added_once_and_nothing_else_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ssh/known_hosts");
        let key =
            |blob: &str| Key { kind: "ssh-ed25519".into(), blob: blob.into(), fingerprint: String::new() };
        let (one, other) = (key("AAAA"), key("BBBB"));
        assert_eq!(add(&file, &[("vpn", &one), ("vpn", &one)]).unwrap(), 1);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        fs::write(&file, "# mine\nvpn ssh-ed25519 AAAA").unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(add(&link, &[("vpn", &one), ("[web]:2222", &other)]).unwrap(), 1);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# mine\nvpn ssh-ed25519 AAAA\n[web]:2222 ssh-ed25519 BBBB\n");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        let before = fs::metadata(&file).unwrap().ino();
        assert_eq!(add(&file, &[("vpn", &one)]).unwrap(), 0);
        assert_eq!(fs::metadata(&file).unwrap().ino(), before, "nothing to add, nothing written");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
