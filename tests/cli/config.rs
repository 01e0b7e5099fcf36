//! Configurations as operators write them, and what they are told.

use backup::core::model::host::{Filesystems, Transport};
use backup::core::model::settings::{AddressFrom, StoreSettings};
use backup::edge::config::{ConfigError, Environment, ICINGA_PASSWORD, Loaded, NETBOX_TOKEN, load, parse};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// A secret that no message may hold.
const SECRET: &str = "hunter2";

/// A machine with a few files under `/etc/backup`.
fn machine() -> (TempDir, Environment) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("etc/backup");
    fs::create_dir_all(&folder).unwrap();
    for (name, content) in [
        ("token", "from-file\n"),
        ("password", "p w\r\n"),
        ("empty", " \n"),
        ("two-lines", "hunter2\nhunter2\n"),
        ("key", "a private key"),
    ] {
        write(&folder.join(name), content, 0o600);
    }
    let (hostname, secrets) = ("b32-1.example.org".to_owned(), BTreeMap::new());
    let environment = Environment { hostname, secrets, root: root.path().to_owned() };
    (root, environment)
}

fn write(path: &Path, content: &str, mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The least that works.
const SMALL: &str = "
[hosts.vpn]
[store.zfs]
dataset = 'data'
[retention]
daily = 7
";

#[test]
fn every_invalid_configuration_is_told_all_that_is_wrong_with_it() {
    let (_root, environment) = machine();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs/invalid");
    let mut snapshots = insta::Settings::clone_current();
    snapshots.set_snapshot_path(&folder);
    snapshots.set_prepend_module_to_snapshot(false);
    snapshots.set_omit_expression(true);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    assert!(files.len() >= 10, "{files:?}");
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let error = load(&path, &environment).unwrap_err();
        let message = error.to_string().replace(&format!("{}/", folder.display()), "");
        assert!(!message.contains(SECRET), "{name} prints a secret:\n{message}");
        snapshots.bind(|| insta::assert_snapshot!(name, message));
    }
}

#[test]
fn the_faults_are_as_many_as_the_file_promises() {
    let (_root, environment) = machine();
    let faults = parse(include_str!("../configs/invalid/ten-faults.toml"), &environment).unwrap_err();
    assert_eq!(faults.len(), 10, "{faults:#?}");
}

#[test]
fn a_file_that_is_no_text_is_refused_with_the_reason() {
    let (root, environment) = machine();
    let refusal = |path: &Path| {
        let error = load(path, &environment).unwrap_err();
        assert!(matches!(error, ConfigError::Unreadable { .. }), "{error:?}");
        error.to_string().replace(root.path().to_str().unwrap(), "")
    };
    let latin = root.path().join("latin.toml");
    fs::write(&latin, b"jobs = 8\n# caf\xe9\n").unwrap();
    insta::assert_snapshot!(
        refusal(&latin),
        @"cannot read the configuration `/latin.toml`: line 2 is not UTF-8 (save the file in that encoding)"
    );
    insta::assert_snapshot!(
        refusal(&root.path().join("etc")),
        @"cannot read the configuration `/etc`: it is a directory"
    );
    insta::assert_snapshot!(
        refusal(&root.path().join("missing")),
        @"cannot read the configuration `/missing`: there is no such file"
    );
}

#[test]
fn what_is_not_said_takes_its_default() {
    let (_root, environment) = machine();
    let Loaded { settings, warnings } = parse(SMALL, &environment).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(settings.server, "b32-1", "the host name up to its first dot");
    assert_eq!(settings.timezone, chrono_tz::UTC);
    assert_eq!(settings.jobs.get(), 8);
    assert_eq!(settings.host_defaults.user, "root");
    assert_eq!(settings.host_defaults.transport, Transport::Ssh);
    assert_eq!(settings.host_defaults.filesystems, Filesystems::Local);
    assert!(settings.hosts["vpn"].listed);
    assert_eq!(settings.transfer.deadline, Duration::from_secs(12 * 3600));
    assert_eq!(settings.store, StoreSettings::Zfs { dataset: "data".into(), min_free_percent: 5 });
    assert!(
        settings.inventory.netbox.is_none()
            && settings.notifiers.icinga.is_none()
            && settings.metrics_textfile.is_none()
    );
}

#[test]
fn what_is_said_counts() {
    let (_root, environment) = machine();
    let text = r#"
        server = "b7"
        timezone = "Europe/London"
        jobs = 2
        [inventory.netbox]
        url = "https://netbox.example.org/nb"
        token_file = "/etc/backup/token"
        address = "primary_ip"
        domain = ".example.org"
        [host_defaults]
        source = "/srv//www/"
        [hosts.VPN]
        address = "10.0.0.7"
        listed = false
        exclude = ["/tmp/*", "*.o"]
        [ssh]
        identity_file = "/etc/backup/key"
        [transfer]
        bandwidth_limit = "1.5m"
        [store.directory]
        path = "/srv/backup"
        min_free_percent = 0
        [retention]
        yearly = 1
        [icinga]
        url = "https://icinga.example.org:5665"
        user = "backup"
        password_file = "/etc/backup/password"
        ttl = "30m"
    "#;
    let Loaded { settings, warnings } = parse(text, &environment).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(settings.timezone, chrono_tz::Europe::London);
    let netbox = settings.inventory.netbox.unwrap();
    assert_eq!(netbox.url.as_str(), "https://netbox.example.org/nb/", "paths can be joined to it");
    assert_eq!(netbox.token.expose_secret(), "from-file");
    assert_eq!(netbox.address, AddressFrom::PrimaryIp);
    assert_eq!(netbox.domain, "example.org", "the dot is added where it is used");
    assert_eq!(settings.host_defaults.source, "/srv/www");
    let vpn = &settings.hosts["vpn"];
    assert_eq!((vpn.name.spelled(), vpn.listed), ("VPN", false));
    assert_eq!(vpn.options.exclude.as_deref().unwrap(), ["/tmp/*", "*.o"]);
    assert_eq!(settings.transfer.bandwidth_limit.as_deref(), Some("1.5m"));
    assert_eq!(settings.store, StoreSettings::Directory { path: "/srv/backup".into(), min_free_percent: 0 });
    assert_eq!((settings.retention.daily, settings.retention.yearly.unwrap().get()), (None, 1));
    let icinga = settings.notifiers.icinga.unwrap();
    assert_eq!(icinga.password.expose_secret(), "p w", "only the line break goes");
    assert_eq!(icinga.service, "BACKUP-b7");
    assert_eq!(icinga.ttl, Duration::from_secs(1800));
}

/// [`SMALL`] with both services, whose secrets are where `netbox` and `icinga`
/// say.
fn with_services(netbox: &str, icinga: &str) -> String {
    format!(
        "[inventory.netbox]\nurl = 'http://netbox.example.org'\n{netbox}\n\
         [icinga]\nurl = 'http://127.0.0.1:5665'\nuser = 'backup'\n{icinga}\n{SMALL}"
    )
}

#[test]
fn a_secret_of_the_environment_goes_before_its_file() {
    let (_root, mut environment) = machine();
    environment.secrets.insert(NETBOX_TOKEN, SecretString::from("from-environment\n"));
    environment.secrets.insert(ICINGA_PASSWORD, SecretString::from("p"));
    // A file that nobody reads need not be there.
    let text = with_services("token_file = '/etc/backup/missing'", "");
    let settings = parse(&text, &environment).unwrap().settings;
    assert_eq!(settings.inventory.netbox.as_ref().unwrap().token.expose_secret(), "from-environment");
    assert_eq!(settings.notifiers.icinga.as_ref().unwrap().password.expose_secret(), "p");
    let shown = format!("{settings:?} {environment:?}");
    assert!(!shown.contains("from-environment"), "{shown}");
}

#[test]
fn an_empty_secret_of_the_environment_is_a_fault_and_not_a_reason_to_read_the_file() {
    let (_root, mut environment) = machine();
    environment.secrets.insert(NETBOX_TOKEN, SecretString::from(""));
    let text = with_services("token_file = '/etc/backup/token'", "password_file = '/etc/backup/password'");
    let faults = parse(&text, &environment).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    insta::assert_snapshot!(
        faults[0],
        @":3: `inventory.netbox.token_file` is overridden by `BACKUP_NETBOX_TOKEN`, which is empty; put the secret into a file that `inventory.netbox.token_file` names, or into the variable `BACKUP_NETBOX_TOKEN`"
    );
}

#[test]
fn what_works_but_is_unsafe_is_a_warning() {
    let (root, environment) = machine();
    write(&root.path().join("etc/backup/token"), "t", 0o640);
    write(&root.path().join("etc/backup/key"), "k", 0o604);
    let netbox = "token_file = '/etc/backup/token'";
    let icinga = "password_file = '/etc/backup/password'\n[ssh]\nidentity_file = '/etc/backup/key'";
    let warnings = parse(&with_services(netbox, icinga), &environment).unwrap().warnings;
    insta::assert_snapshot!(warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), @r"
    `inventory.netbox.url` is `http://netbox.example.org/`: the token travels in clear text (use https)
    `/etc/backup/token` is open to users other than its owner (close it with `chmod 600 /etc/backup/token`)
    `/etc/backup/key` is open to users other than its owner (close it with `chmod 600 /etc/backup/key`)
    ");
}

#[test]
fn a_host_name_that_will_not_do_asks_for_a_server_name() {
    let (_root, mut environment) = machine();
    environment.hostname = "(none)".to_owned();
    let faults = parse(SMALL, &environment).unwrap_err();
    insta::assert_snapshot!(faults[0], @r#": `server` is missing, and this machine's host name will not do: "(none)"; give the server a short name, such as `server = "backup-1"`"#);
    let text = format!("server = 'b1'\n{SMALL}");
    assert_eq!(parse(&text, &environment).unwrap().settings.server, "b1");
}
