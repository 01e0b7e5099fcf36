//! What the operator wants, already checked: the configuration as types.
//!
//! Pure data, so that every edge may read its part of it; [`crate::edge::config`]
//! makes it from TOML.

use crate::core::model::host::{HostName, HostOptions, HostSettings, Object};
use chrono_tz::Tz;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This backup server's own short name.
    pub server: String,
    /// Whose days, weeks, months and years the tiers follow.
    pub timezone: Tz,
    /// Hosts at once.
    pub jobs: NonZeroUsize,
    /// Where the last good inventory is kept.
    pub state_dir: PathBuf,
    /// Where locks and ssh control sockets are.
    pub runtime_dir: PathBuf,
    /// Who lists hosts.
    pub inventory: InventorySettings,
    /// What each host starts from.
    pub host_defaults: HostSettings,
    /// What single hosts say of their own, by name in lower case.
    pub hosts: BTreeMap<String, HostOverride>,
    /// How ssh connects.
    pub ssh: Ssh,
    /// The hosts' own hook scripts.
    pub hooks: HookSettings,
    /// How rsync copies.
    pub transfer: TransferSettings,
    /// What is not copied.
    pub excludes: Excludes,
    /// Where copies live.
    pub store: StoreSettings,
    /// How long snapshots are kept.
    pub retention: Retention,
    /// Who is told how runs went.
    pub notifiers: NotifierSettings,
    /// The Prometheus textfile to write, if any.
    pub metrics_textfile: Option<PathBuf>,
}

impl Settings {
    /// Files that decide whom this server trusts, or what it copies, each under its
    /// name in the configuration.
    pub fn trusted_files(&self) -> Vec<(&'static str, &Path)> {
        let netbox = self.inventory.netbox.as_ref().and_then(|netbox| netbox.ca_file.as_deref());
        let icinga = self.notifiers.icinga.as_ref().and_then(|icinga| icinga.ca_file.as_deref());
        let single = [
            ("ssh.known_hosts_file", self.ssh.known_hosts_file.as_deref()),
            ("inventory.netbox.ca_file", netbox),
            ("icinga.ca_file", icinga),
        ];
        let single = single.into_iter().filter_map(|(key, file)| Some((key, file?)));
        single.chain(self.excludes.files.iter().map(|file| ("excludes.files", file.as_path()))).collect()
    }
}

/// `[inventory]`: who lists hosts, beside `[hosts]`.
#[derive(Debug, Clone, Default)]
pub struct InventorySettings {
    /// NetBox, if there is one.
    pub netbox: Option<NetBox>,
}

impl InventorySettings {
    /// Whether nobody lists hosts but the configuration.
    pub fn is_none(&self) -> bool {
        self.netbox.is_none()
    }
}

/// Who is told how runs went, each in a section of its own.
#[derive(Debug, Clone, Default)]
pub struct NotifierSettings {
    /// Icinga, if there is one.
    pub icinga: Option<IcingaSettings>,
}

impl NotifierSettings {
    /// Whether nobody is told.
    pub fn is_none(&self) -> bool {
        self.icinga.is_none()
    }
}

/// `[inventory.netbox]`.
#[derive(Debug, Clone)]
pub struct NetBox {
    /// Its root, with a trailing slash.
    pub url: Url,
    /// The API token as it was pasted.
    pub token: SecretString,
    /// A tag's name or its slug.
    pub tag: String,
    /// The statuses whose hosts are backed up.
    pub statuses: Vec<String>,
    /// Where a host's address comes from.
    pub address: AddressFrom,
    /// Added to the name to get the address; may be empty.
    pub domain: String,
    /// The custom field that gives a host another name than NetBox's, if any.
    pub name_field: Option<String>,
    /// A private CA's certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// For one request, from connecting to the last byte.
    pub timeout: Duration,
    /// Fewer hosts than this share of the last good list are not believed.
    pub max_shrink_percent: u8,
    /// A last good list that is older than this is critical.
    pub max_age: Duration,
}

/// Where NetBox keeps a host's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressFrom {
    /// Its name, with the domain added.
    Name,
    /// Its primary IP address.
    PrimaryIp,
}

/// `[hosts.NAME]`, or `[hosts."vm:12"]` for an object of NetBox's that gets
/// another name: what one host says of its own; `None` takes the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOverride {
    /// The name as the configuration spells it.
    pub name: HostName,
    /// The object of NetBox's that has this name here.
    pub object: Option<Object>,
    /// What ssh connects to.
    pub address: Option<String>,
    /// Whether the host is backed up though NetBox does not name it.
    pub listed: bool,
    /// Its settings.
    pub options: HostOptions,
}

/// `[ssh]`.
#[derive(Debug, Clone)]
pub struct Ssh {
    /// The private key to log in with; else ssh's own choice.
    pub identity_file: Option<PathBuf>,
    /// Replaces root's own known hosts; the system's are read as well.
    pub known_hosts_file: Option<PathBuf>,
    /// For the TCP connection and the key exchange.
    pub connect_timeout: Duration,
    /// So many connections a second, at most.
    pub connections_per_second: NonZeroU32,
}

/// `[hooks]`.
#[derive(Debug, Clone)]
pub struct HookSettings {
    /// Where the hosts keep them.
    pub directory: String,
    /// For one hook.
    pub timeout: Duration,
}

/// `[transfer]`.
#[derive(Debug, Clone)]
pub struct TransferSettings {
    /// rsync's `--compress`.
    pub compress: bool,
    /// rsync's `--bwlimit`.
    pub bandwidth_limit: Option<String>,
    /// No byte moved for so long: give up.
    pub stall_timeout: Duration,
    /// For a whole host.
    pub deadline: Duration,
    /// How often a lost connection is tried again.
    pub retries: u32,
    /// The guard's budget, 1 to 100.
    pub max_delete_percent: u8,
}

/// `[excludes]`.
#[derive(Debug, Clone)]
pub struct Excludes {
    /// Further pattern files on the backup server.
    pub files: Vec<PathBuf>,
    /// The pattern file that a host keeps itself.
    pub remote_file: String,
}

/// `[store.…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSettings {
    /// Hosts become `{dataset}/{host}`.
    Zfs {
        /// The parent dataset, which exists.
        dataset: String,
        /// Less free space than this: nothing is touched. 0 to 99.
        min_free_percent: u8,
    },
    /// Hosts become `{path}/{host}`, snapshots share unchanged files.
    Directory {
        /// The parent directory, which exists.
        path: PathBuf,
        /// Less free space than this: nothing is touched. 0 to 99.
        min_free_percent: u8,
    },
}

/// `[retention]`: how many periods of each tier keep a snapshot. At least one
/// tier is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Days.
    pub daily: Option<NonZeroU32>,
    /// ISO weeks.
    pub weekly: Option<NonZeroU32>,
    /// Months.
    pub monthly: Option<NonZeroU32>,
    /// Years.
    pub yearly: Option<NonZeroU32>,
}

/// `[icinga]`.
#[derive(Debug, Clone)]
pub struct IcingaSettings {
    /// Its API's root, with a trailing slash.
    pub url: Url,
    /// The API user.
    pub user: String,
    /// That user's password.
    pub password: SecretString,
    /// The CA that signed its certificate, PEM.
    pub ca_file: Option<PathBuf>,
    /// The service's name, `{server}` already replaced.
    pub service: String,
    /// The host whose service is that of the run itself.
    pub run_host: String,
    /// That service's name, `{server}` already replaced.
    pub run_service: String,
    /// How long a result stays fresh.
    pub ttl: Duration,
}
