//! Host keys: which are known, which a host shows, and how one that a person
//! has looked at becomes known.
//!
//! ssh itself is asked, for whatever its configuration says of aliases, ports,
//! proxies, hashed names and certificates then means the same here: it connects as
//! for a run, but takes a key that it does not know (`accept-new`) into a file
//! of our own, and logs in nowhere. A key that is known is never replaced: a
//! changed one may be somebody in between.

use super::refusal::{Cause, Said, by_hand};
use crate::core::format::text::{printable, shortened};
use crate::core::model::host::Host;
use crate::core::model::settings;
use crate::sys::process::{Failure, Program};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For what ssh's tools do on this machine alone.
const AT_ONCE: Duration = Duration::from_secs(20);
/// The longest that a host is waited for, however patient the configuration.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// More hosts than anybody has one behind the other.
const MOST_HOPS: usize = 16;
/// More than the line of any key, in bytes.
const LONGEST_FILE: u64 = 256 * 1024;

/// A host whose key ssh looks at: one to back up, or one on the way to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// What ssh is told to connect to: an address, or a `ProxyJump`'s word as a
    /// URI.
    destination: String,
    /// What it is told to go through, if that is not for its configuration to
    /// say.
    through: Option<String>,
    /// The user and perhaps the port, if those are not for its configuration to say.
    login: Option<(String, Option<u16>)>,
    /// The file of known hosts that was configured here.
    file: Option<PathBuf>,
}

/// A key that a host shows and that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its line for a file of known hosts.
    line: String,
    /// The name that it is known by: `vpn`, `[vpn]:2222`, or an alias.
    pub name: String,
    /// As in files of known hosts: `ssh-ed25519`.
    pub kind: String,
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

/// What ssh's configuration says of a destination.
#[derive(Debug, PartialEq, Eq)]
struct Configured {
    /// The files of known hosts, the user's own first, which may be missing.
    files: Vec<PathBuf>,
    /// Hosts to go through, the nearest first.
    deviations: Vec<String>,
    /// A program to go through.
    proxy: Option<String>,
    /// What its key is known by: an alias, `vpn`, `[vpn]:2222`.
    known_as: Option<String>,
    /// Whether it is to look in no file of the user's own (`UserKnownHostsFile none`).
    keeps_none: bool,
}

/// What stands between us and a host in ssh's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bastion {
    /// `ProxyJump`: other hosts, one behind the other.
    Hosts(String),
    /// `ProxyCommand`: a program.
    Program(String),
}

/// What ssh knows a host's key by, if it says so.
pub(super) async fn known_as(host: &Host, settings: &settings::Ssh) -> Option<String> {
    Hop::of(host, settings).configured().await.ok()?.known_as
}

impl Bastion {
    /// What a host is reached through, if it is through anything.
    pub async fn of(host: &Host, settings: &settings::Ssh) -> Option<Self> {
        Hop::of(host, settings).configured().await.ok()?.bastion()
    }

    /// How to try it by hand.
    pub fn trial(&self, host: &Host) -> String {
        match self {
            Bastion::Hosts(hosts) => match hosts.rsplit_once(',') {
                Some((before, last)) => format!("try `ssh -J {} {}`", printable(before), printable(last)),
                None => format!("try `ssh {}`", printable(hosts)),
            },
            Bastion::Program(_) => format!("try `{}`", by_hand(host)),
        }
    }
}

/// For people.
impl fmt::Display for Bastion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bastion::Hosts(hosts) => write!(f, "the bastion `{}`", printable(hosts)),
            Bastion::Program(program) => write!(f, "the proxy `{}`", printable(program)),
        }
    }
}

impl Configured {
    fn bastion(self) -> Option<Bastion> {
        if self.deviations.is_empty() {
            return self.proxy.map(Bastion::Program);
        }
        Some(Bastion::Hosts(self.deviations.join(",")))
    }
}

impl Hop {
    /// The host itself.
    fn of(host: &Host, settings: &settings::Ssh) -> Self {
        Hop {
            destination: host.address.clone(),
            through: None,
            login: Some((host.settings.user.clone(), host.settings.port)),
            file: settings.known_hosts_file.clone(),
        }
    }

    /// A host of a `ProxyJump`, behind those before it.
    fn jump(word: &str, before: &[String]) -> Self {
        let destination = if word.starts_with("ssh://") { word.to_owned() } else { format!("ssh://{word}") };
        let through = (!before.is_empty()).then(|| before.join(","));
        Hop { destination, through, login: None, file: None }
    }

    /// Whether it only stands on the way to a host.
    pub fn is_jump(&self) -> bool {
        self.login.is_none()
    }

    /// What people call it.
    pub fn display(&self) -> String {
        printable(self.destination.strip_prefix("ssh://").unwrap_or(&self.destination))
    }

    /// The arguments that say where to connect to, after ssh's options.
    fn address(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if let Some(through) = &self.through {
            arguments.extend(["-J".to_owned(), through.clone()]);
        }
        if let Some((user, port)) = &self.login {
            arguments.extend(port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
            arguments.extend(["-l".to_owned(), user.clone()]);
        }
        arguments.extend(["--".to_owned(), self.destination.clone()]);
        arguments
    }

    /// Asks ssh what it would do.
    async fn configured(&self) -> Result<Configured, KeyError> {
        let output = Program::new("ssh").arg("-G").args(self.address()).deadline(AT_ONCE).run().await;
        let output = output.map_err(|failure| {
            error(
                format!("ssh's own configuration cannot be read: {failure}"),
                format!("see `ssh -G {}`", printable(&self.destination)),
            )
        })?;
        let mut configured = parse(&String::from_utf8_lossy(&output.stdout));
        if let Some(file) = &self.file {
            (configured.files, configured.keeps_none) = (vec![file.clone()], false);
        }
        Ok(configured)
    }

    /// The file that its key is written to.
    pub async fn file(&self) -> Result<PathBuf, KeyError> {
        let configured = self.configured().await?;
        if configured.keeps_none {
            let why = format!("ssh keeps no known hosts for `{}`: `UserKnownHostsFile none`", self.display());
            return Err(error(why, ELSEWHERE));
        }
        let first = configured.files.into_iter().next();
        Ok(first.unwrap_or_else(|| PathBuf::from("/root/.ssh/known_hosts")))
    }

    /// The keys that it shows and that are not known; none if its key is known.
    pub async fn new_keys(&self, settings: &settings::Ssh) -> Result<Vec<Key>, KeyError> {
        let own = |why: io::Error| error(format!("cannot make a folder for its key: {why}"), "see `$TMPDIR`");
        let dir = tempfile::Builder::new().prefix("backup-keys-").tempdir().map_err(own)?;
        let scratch = dir.path().join("known_hosts");
        let mut files = known_hosts_file(&scratch);
        for file in self.configured().await?.files {
            files.push(" ");
            files.push(quoted(&file));
        }
        let patience = settings.connect_timeout.min(LONGEST_WAIT);
        let ask = Program::new("ssh")
            // A jump's ssh must not ask at a terminal either.
            .environment("SSH_ASKPASS", "/bin/false")
            .environment("SSH_ASKPASS_REQUIRE", "force")
            .args(["-T", "-x", "-a", "-n", "-o", "ControlMaster=no", "-o", "ControlPath=none"])
            .args([
                "-o",
                "BatchMode=yes",
                "-o",
                "StrictHostKeyChecking=accept-new",
                "-o",
                "HashKnownHosts=no",
            ])
            .args(["-o", "UpdateHostKeys=no", "-o", "CheckHostIP=no", "-o", "LogLevel=INFO"])
            .args([
                "-o",
                "RemoteCommand=none",
                "-o",
                "PermitLocalCommand=no",
                "-o",
                "ClearAllForwardings=yes",
            ])
            // Nothing is shown to whoever it is: no key, no password.
            .args(["-o", "PreferredAuthentications=none", "-o", "PubkeyAuthentication=no"])
            .arg("-o")
            .arg(format!("ConnectTimeout={}", patience.as_secs().max(1)))
            .arg("-o")
            .arg(files)
            .args(self.address())
            .arg("true");
        let asked = ask.called("ssh").deadline(patience * 2 + Duration::from_secs(5)).output().await;
        let output = asked.map_err(|failure| unusable(&failure))?;
        let shown = match File::open(&scratch) {
            Ok(file) => {
                let mut text = String::new();
                io::Read::read_to_string(&mut io::Read::take(file, LONGEST_FILE), &mut text).map_err(own)?;
                text
            }
            Err(_) => String::new(),
        };
        let keys = fingerprinted(keys(&shown)).await?;
        let said = Said::of(&output.stderr);
        let is_known = output.exit.is_success() || matches!(said.cause, Cause::Denied | Cause::ChangedKey(_));
        if !keys.is_empty() || is_known {
            return Ok(keys);
        }
        let words = self.address().join(" ");
        Err(error(
            format!("it shows no host key: {}", said.line),
            format!("try `ssh -v {}`", printable(&words).replace("-- ", "")),
        ))
    }
}

/// The hosts on the way to a host, and the host, in the order in which ssh comes
/// to them. One behind a command of its own (`ProxyCommand`) is alone.
pub async fn way(host: &Host, settings: &settings::Ssh) -> Result<Vec<Hop>, KeyError> {
    let mut way = vec![Hop::of(host, settings)];
    // The first of the way so far may itself be behind others.
    while way.len() < MOST_HOPS {
        let first = &way[0];
        if first.through.is_some() {
            break;
        }
        let deviations = first.configured().await?.deviations;
        if deviations.is_empty() {
            break;
        }
        let hops = (0..deviations.len()).map(|at| Hop::jump(&deviations[at], &deviations[..at]));
        way.splice(0..0, hops.collect::<Vec<_>>());
    }
    Ok(way)
}

/// The first host on the way to a host whose key is not known, and the keys
/// that it shows.
pub async fn stranger(host: &Host, settings: &settings::Ssh) -> Result<Option<(Hop, Vec<Key>)>, KeyError> {
    for hop in way(host, settings).await? {
        let keys = hop.new_keys(settings).await?;
        if !keys.is_empty() {
            return Ok(Some((hop, keys)));
        }
    }
    Ok(None)
}

fn unusable(failure: &Failure) -> KeyError {
    error(failure.to_string(), "install OpenSSH's client (`apt install openssh-client`)")
}

/// ssh's option that names a file of known hosts.
pub(super) fn known_hosts_file(path: &Path) -> OsString {
    let mut option = OsString::from("UserKnownHostsFile=");
    option.push(quoted(path));
    option
}

/// A path as ssh takes it in an option that takes several, and in which `%` begins
/// what ssh fills in.
fn quoted(path: &Path) -> OsString {
    let mut quoted = vec![b'"'];
    for &byte in path.as_os_str().as_bytes() {
        quoted.extend(match byte {
            b'"' | b'\\' => Some(b'\\'),
            b'%' => Some(b'%'),
            _ => None,
        });
        quoted.push(byte);
    }
    quoted.push(b'"');
    OsString::from_vec(quoted)
}

/// Takes the answer of `ssh -G` apart.
fn parse(said: &str) -> Configured {
    let value = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        line.map(str::trim).filter(|value| !value.is_empty() && *value != "none")
    };
    let files = value("userknownhostsfile").unwrap_or_default().split_ascii_whitespace();
    let files = files.filter(|file| file.starts_with('/')).map(PathBuf::from).collect();
    let deviations = value("proxyjump").unwrap_or_default().split(',').filter(|jump| !jump.is_empty());
    let proxy = value("proxycommand").map(str::to_owned);
    let keeps_none = said.lines().any(|line| line.trim_end() == "userknownhostsfile none");
    let at = |name: &str| match value("port") {
        None | Some("22") => name.to_owned(),
        Some(port) => format!("[{name}]:{port}"),
    };
    let known_as = value("hostkeyalias").map(str::to_owned).or_else(|| value("hostname").map(at));
    Configured { files, deviations: deviations.map(str::to_owned).collect(), proxy, known_as, keeps_none }
}

/// The keys of a file of known hosts that ssh wrote.
fn keys(said: &str) -> Vec<Key> {
    let base64 = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    let kind = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-@.".contains(&b));
    let key = |line: &str| match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
        [name, a, b] if !name.starts_with(['#', '@']) && kind(a) && base64(b) => Some(Key {
            line: format!("{name} {a} {b}"),
            name: shortened(&printable(name), 100),
            kind: a.to_owned(),
            fingerprint: String::new(),
        }),
        _ => None,
    };
    said.lines().filter_map(key).collect()
}

/// Has `ssh-keygen` work the fingerprints out, in one go.
async fn fingerprinted(mut keys: Vec<Key>) -> Result<Vec<Key>, KeyError> {
    if keys.is_empty() {
        return Ok(keys);
    }
    let lines: String = keys.iter().map(|key| format!("{}\n", key.line)).collect();
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
    keys.iter_mut().zip(fingerprints).for_each(|(key, said)| said.clone_into(&mut key.fingerprint));
    Ok(keys)
}

/// What to do where keys cannot be kept in the file that ssh names.
const ELSEWHERE: &str = "name a regular file in `ssh.known_hosts_file`, or in `UserKnownHostsFile` of ssh's \
                         configuration";

/// Adds keys to a file of known hosts, those that are not in it yet. The file is
/// replaced as a whole or not at all, and keeps its owner and mode; a missing one
/// is made, with its folder. What is no regular file, such as `/dev/null`, is left
/// as it is. Says how many were added.
pub fn add(file: &Path, keys: &[Key]) -> Result<usize, KeyError> {
    let failed = |doing: &str, path: &Path, why: io::Error| {
        let remedy = "is this root, and `ssh.known_hosts_file` right?";
        error(format!("cannot {doing} `{}`: {why}", printable(&path.to_string_lossy())), remedy)
    };
    // A symlink stays one, and leads to a file.
    let named = file;
    let file = named.canonicalize().unwrap_or_else(|_| named.to_owned());
    if file.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
        let shown = |path: &Path| printable(&path.to_string_lossy());
        let which = match file == named {
            true => "it".to_owned(),
            false => format!("`{}`", shown(&file)),
        };
        let why = format!("cannot keep keys in `{}`: {which} is not a regular file", shown(named));
        return Err(error(why, ELSEWHERE));
    }
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
    for Key { line, .. } in keys {
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
    fn ssh_says_where_it_keeps_keys_and_what_it_goes_through() {
        let files = "userknownhostsfile /root/.ssh/known_hosts /root/.ssh/known_hosts2\n";
        let hosts = |hosts: &str| Some(Bastion::Hosts(hosts.to_owned()));
        let (two, program) = ("me@gate:2222,ssh://inner", Some(Bastion::Program("nc %h".to_owned())));
        for (said, deviations, bastion, reason) in [
            ("hostname vpn\nport 22\n", &[][..], None, "nothing in between"),
            ("proxyjump gate\n", &["gate"], hosts("gate"), "behind another host"),
            (&format!("proxyjump {two}\n"), &["me@gate:2222", "ssh://inner"], hosts(two), "behind two"),
            ("proxycommand nc %h\n", &[], program, "behind a program"),
            ("proxycommand none\nproxyjump none\n", &[], None, "behind nobody"),
        ] {
            let configured = parse(&format!("{said}{files}"));
            assert_eq!(configured.deviations, deviations, "{reason}");
            assert_eq!(configured.files[0], Path::new("/root/.ssh/known_hosts"));
            assert_eq!(configured.files.len(), 2);
            assert_eq!(configured.bastion(), bastion, "{reason}");
        }
    }

    #[test]
    fn a_jump_behind_another_is_reached_through_it() {
        let deviations = ["me@gate:2222".to_owned(), "inner".to_owned()];
        assert_eq!(Hop::jump(&deviations[0], &[]).address(), ["--", "ssh://me@gate:2222"]);
        let inner = Hop::jump(&deviations[1], &deviations[..1]);
        assert_eq!(inner.address(), ["-J", "me@gate:2222", "--", "ssh://inner"]);
        assert_eq!(inner.display(), "inner");
    }

    #[test]
    fn what_is_no_key_is_passed_over() {
        let said = "# vpn:22 SSH-2.0-OpenSSH_9.2p1\nvpn ssh-rsa AAAAB3==\n[vpn]:2 ssh-ed25519 AAAAC3\n\
                    vpn ssh-x a\u{1b}b\nvpn\n@revoked vpn ssh-rsa A\nvpn ssh-rsa A B\n";
        let found: Vec<(String, String)> = keys(said).into_iter().map(|key| (key.name, key.kind)).collect();
        let found: Vec<_> = found.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
        assert_eq!(found, [("vpn", "ssh-rsa"), ("[vpn]:2", "ssh-ed25519")]);
    }

    #[test]
    fn what_is_no_regular_file_is_not_replaced_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let [folder, pipe, link, lost] = ["folder", "pipe", "link", "lost"].map(|name| dir.path().join(name));
        fs::create_dir(&folder).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        std::os::unix::fs::symlink("nowhere", &lost).unwrap();
        let key = keys("vpn ssh-ed25519 AAAA");
        for (file, why) in [
            (&folder, "it is not a regular file".to_owned()),
            (&pipe, "it is not a regular file".to_owned()),
            (&link, format!("`{}` is not a regular file", pipe.display())),
            (&lost, "it is not a regular file".to_owned()),
        ] {
            let kind = file.symlink_metadata().unwrap().file_type();
            let error = add(file, &key).unwrap_err();
            assert_eq!(error.why, format!("cannot keep keys in `{}`: {why}", file.display()));
            assert_eq!(file.symlink_metadata().unwrap().file_type(), kind);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "nothing was made");
    }

    #[test]
    fn a_path_is_quoted_as_ssh_reads_it() {
        for (path, quoted) in [("/a b", r#""/a b""#), (r#"/a"\b%h"#, r#""/a\"\\b%%h""#)] {
            assert_eq!(
                known_hosts_file(Path::new(path)),
                OsString::from(format!("UserKnownHostsFile={quoted}"))
            );
        }
    }

    #[test]
    fn keys_are_added_once_and_nothing_else_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ssh/known_hosts");
        let key = |line: &str| keys(line).remove(0);
        let (one, other) = (key("vpn ssh-ed25519 AAAA"), key("[web]:2222 ssh-ed25519 BBBB"));
        assert_eq!(add(&file, &[one.clone(), one.clone()]).unwrap(), 1);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        fs::write(&file, "# mine\nvpn ssh-ed25519 AAAA").unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(add(&link, &[one.clone(), other]).unwrap(), 1);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# mine\nvpn ssh-ed25519 AAAA\n[web]:2222 ssh-ed25519 BBBB\n");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        let before = fs::metadata(&file).unwrap().ino();
        assert_eq!(add(&file, &[one]).unwrap(), 0);
        assert_eq!(fs::metadata(&file).unwrap().ino(), before, "nothing to add, nothing written");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
