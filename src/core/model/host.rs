//! Hosts: their names and their settings.
//!
//! A [`HostName`] is fit to be a part of a path, of a ZFS dataset's name, of an
//! Icinga object's name and of an ssh destination. After it has been parsed,
//! nobody checks a host's name again.

use crate::core::format::text::{printable, shortened};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The longest host name, in bytes. `{dataset}/{host}@{snapshot}` has to fit
/// into ZFS's 255 bytes, and `{host}.lock` into a file name.
pub const LONGEST_NAME: usize = 128;

/// How much of a name that is none is shown, in characters.
const SHOWN: usize = 80;

/// The name of a host, as its inventory spells it. Names compare, sort and
/// hash without case; datasets, folders and locks use [`HostName::key`].
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName {
    spelled: String,
    key: String,
}

/// A name that cannot be a host's, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be a host's name: {why}", shortened(&printable(.name), SHOWN))]
pub struct UnfitName {
    /// The name as it was given.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl HostName {
    /// The name as the inventory spells it; Icinga knows the host by it.
    pub fn spelled(&self) -> &str {
        &self.spelled
    }

    /// The name in lower case, for datasets, folders, locks and comparisons.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl FromStr for HostName {
    type Err = UnfitName;

    fn from_str(name: &str) -> Result<Self, UnfitName> {
        let unfit = |why| Err(UnfitName { name: name.to_owned(), why });
        if name.is_empty() {
            return unfit("it is empty");
        }
        if name.len() > LONGEST_NAME {
            return unfit("it is longer than 128 bytes");
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return unfit("only the letters a to z, digits, `-`, `_` and `.` are allowed");
        }
        if !name.as_bytes()[0].is_ascii_alphanumeric() {
            return unfit("it must begin with a letter or a digit");
        }
        if name.ends_with('.') || name.contains("..") {
            return unfit("a dot must stand between two other characters");
        }
        let key = name.to_ascii_lowercase();
        if key == "all" {
            return unfit("`all` means every host");
        }
        Ok(HostName { spelled: name.to_owned(), key })
    }
}

impl TryFrom<String> for HostName {
    type Error = UnfitName;

    fn try_from(name: String) -> Result<Self, UnfitName> {
        name.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.spelled
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.spelled)
    }
}

impl PartialEq for HostName {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for HostName {}

impl PartialOrd for HostName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HostName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl Hash for HostName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// What a host is in NetBox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// Hardware.
    Device,
    /// A virtual machine.
    VirtualMachine,
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ObjectKind::Device => "device",
            ObjectKind::VirtualMachine => "virtual machine",
        })
    }
}

/// What NetBox knows a host by, whatever it is called: `vm:12`, `device:7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// NetBox's number for it, within its kind.
    pub id: u64,
}

/// A text that names no object of NetBox's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an object of NetBox is `vm:` or `device:` and its number")]
pub struct NoObject;

impl TryFrom<String> for Object {
    type Error = NoObject;

    fn try_from(text: String) -> Result<Self, NoObject> {
        text.parse()
    }
}

impl From<Object> for String {
    fn from(object: Object) -> Self {
        object.to_string()
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ObjectKind::Device => "device",
            ObjectKind::VirtualMachine => "vm",
        };
        write!(f, "{kind}:{}", self.id)
    }
}

impl FromStr for Object {
    type Err = NoObject;

    fn from_str(text: &str) -> Result<Self, NoObject> {
        let (kind, id) = text.split_once(':').ok_or(NoObject)?;
        let kind = match kind {
            "device" => ObjectKind::Device,
            "vm" => ObjectKind::VirtualMachine,
            _ => return Err(NoObject),
        };
        let object = Object { kind, id: id.parse().map_err(|_| NoObject)? };
        // One spelling each: two sections of one object would be one too many.
        Some(object).filter(|object| object.to_string() == text).ok_or(NoObject)
    }
}

/// How a host is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One ssh connection, for everything.
    Ssh,
    /// The host is this machine itself.
    Local,
}

/// What others need to know of a transport: they ask, and match none.
impl Transport {
    /// Whether the host is this machine, so that it needs no address, no key, and
    /// nobody to connect to.
    pub fn is_this_machine(self) -> bool {
        self == Transport::Local
    }

    /// Whether ssh is what it connects with, so that the host has an ssh key that
    /// must be known.
    pub fn is_ssh(self) -> bool {
        self == Transport::Ssh
    }

    /// How a host is reached, in one word, as for ssh on a command line.
    pub fn target(self, user: &str, address: &str, port: Option<u16>) -> String {
        if self.is_this_machine() {
            return "local".to_owned();
        }
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        match address.contains(':') {
            true => format!("{user}@[{address}]{port}"),
            false => format!("{user}@{address}{port}"),
        }
    }
}

/// Which filesystems of a host are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystems {
    /// The source's own, and every local disk's below it.
    Local,
    /// Only the source's own.
    Root,
}

/// The settings that every host has: `[host_defaults]`, and what `[hosts.NAME]`
/// replaces of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// How it is reached.
    pub transport: Transport,
    /// The user to log in as.
    pub user: String,
    /// Its sshd's TCP port; `None` is for ssh's configuration to say.
    pub port: Option<u16>,
    /// Run the probe, the hooks and rsync there through `sudo -n`.
    pub sudo: bool,
    /// The directory to copy, absolute.
    pub source: String,
    /// Which filesystems below the source are copied.
    pub filesystems: Filesystems,
    /// rsync patterns, after the standard ones.
    pub exclude: Vec<String>,
    /// Paths of the host, absolute, whose files are written in place where the
    /// store keeps one copy and snapshots of it. None lies inside another; one
    /// that is not below the source plays no part.
    pub inplace: Vec<String>,
    /// Whether its hooks are run.
    pub hooks: bool,
}

/// What a host is where nobody says otherwise.
impl Default for HostSettings {
    fn default() -> Self {
        HostSettings {
            transport: Transport::Ssh,
            user: "root".to_owned(),
            port: None,
            sudo: false,
            source: "/".to_owned(),
            filesystems: Filesystems::Local,
            exclude: Vec::new(),
            inplace: Vec::new(),
            hooks: true,
        }
    }
}

/// What one place says of a host's settings: `None` leaves it to others. Each is
/// as in [`HostSettings`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostOptions {
    /// See [`HostSettings::transport`].
    pub transport: Option<Transport>,
    /// See [`HostSettings::user`].
    pub user: Option<String>,
    /// See [`HostSettings::port`].
    pub port: Option<u16>,
    /// See [`HostSettings::sudo`].
    pub sudo: Option<bool>,
    /// See [`HostSettings::source`].
    pub source: Option<String>,
    /// See [`HostSettings::filesystems`].
    pub filesystems: Option<Filesystems>,
    /// Replaces the others' patterns.
    pub exclude: Option<Vec<String>>,
    /// Replaces the others' paths; see [`HostSettings::inplace`].
    pub inplace: Option<Vec<String>>,
    /// See [`HostSettings::hooks`].
    pub hooks: Option<bool>,
}

impl HostOptions {
    /// These, and `others` where they say nothing.
    pub fn over(&self, others: &HostSettings) -> HostSettings {
        let HostOptions { transport, user, port, sudo, source, filesystems, exclude, inplace, hooks } =
            self.clone();
        HostSettings {
            transport: transport.unwrap_or(others.transport),
            user: user.unwrap_or_else(|| others.user.clone()),
            port: port.or(others.port),
            sudo: sudo.unwrap_or(others.sudo),
            source: source.unwrap_or_else(|| others.source.clone()),
            filesystems: filesystems.unwrap_or(others.filesystems),
            exclude: exclude.unwrap_or_else(|| others.exclude.clone()),
            inplace: inplace.unwrap_or_else(|| others.inplace.clone()),
            hooks: hooks.unwrap_or(others.hooks),
        }
    }
}

/// One machine to back up, with every setting resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name in the inventory.
    pub name: HostName,
    /// What NetBox knows it by; `None` for a host of the configuration alone.
    pub object: Option<Object>,
    /// What ssh connects to: a name or an IP address, without a user or port.
    pub address: String,
    /// Its settings.
    pub settings: HostSettings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_keep_their_spelling() {
        let upper: HostName = "VPN".parse().unwrap();
        let lower: HostName = "vpn".parse().unwrap();
        assert_eq!(upper, lower);
        assert_eq!(upper.spelled(), "VPN");
        assert_eq!(upper.key(), "vpn");
    }

    #[test]
    fn what_could_become_an_option_a_path_or_a_shell_word_is_no_name() {
        let long = "x".repeat(129);
        for name in [
            "", "-e sh", "-e", ".", "..", "a..b", "a.", ".a", "a/b", "../x", "a b", "a\nb", "a'b", "a\"b",
            "$(id)", "a;b", "a!b", "a@b", "a:b", "ä", "a\0", "all", "ALL", "_x", "a ", &long,
        ] {
            assert!(name.parse::<HostName>().is_err(), "{name:?} was taken for a host's name");
        }
    }

    #[test]
    fn an_object_is_a_kind_and_a_number() {
        for text in ["vm:12", "device:7"] {
            assert_eq!(text.parse::<Object>().unwrap().to_string(), text);
        }
        for text in [
            "vm",
            "vm:",
            "vm:x",
            "vm:+1",
            "vm:-1",
            "vm: 1",
            "vm:01",
            "VM:1",
            "rack:1",
            "12",
            ":1",
            "vm:99999999999999999999",
        ] {
            assert!(text.parse::<Object>().is_err(), "{text:?} was taken for an object");
        }
    }

    #[test]
    fn ordinary_names_are_names() {
        for name in ["vpn", "VPN", "db-1", "web_2", "mail.example.org", "7", "0x"] {
            assert_eq!(name.parse::<HostName>().unwrap().spelled(), name);
        }
    }
}
