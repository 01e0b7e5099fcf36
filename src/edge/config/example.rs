//! `config.example.toml` says of every option what is true of it.

use super::document::Document;
use super::{Environment, Loaded, options, parse};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use toml::de::DeTable;

const EXAMPLE: &str = include_str!("../../../config.example.toml");

/// Options without a default, or whose default is to have no value: what the
/// example states is an example. Every other one is stated at its default.
const WITHOUT_DEFAULT: [&str; 19] = [
    "host_defaults.port",
    "hosts.\"vm:12\".name",
    "hosts.vpn.address",
    "icinga.ca_file",
    "icinga.password_file",
    "icinga.url",
    "icinga.user",
    "inventory.netbox.ca_file",
    "inventory.netbox.token_file",
    "inventory.netbox.url",
    "metrics.textfile",
    "retention.daily",
    "retention.monthly",
    "retention.weekly",
    "retention.yearly",
    "ssh.identity_file",
    "ssh.known_hosts_file",
    "store.directory.path",
    "store.zfs.dataset",
];

/// A machine that has every file that the example names.
fn machine() -> (tempfile::TempDir, Environment) {
    let root = tempfile::tempdir().unwrap();
    for path in [
        "etc/backup/icinga.password",
        "etc/backup/icinga-ca.crt",
        "etc/backup/known_hosts",
        "etc/backup/netbox.token",
        "etc/ssl/certs/example-ca.pem",
        "root/.ssh/id_ed25519",
    ] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "secret\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let environment = Environment {
        hostname: "backup-1.example.org".to_owned(),
        secrets: BTreeMap::new(),
        root: root.path().to_owned(),
    };
    (root, environment)
}

/// The example with every option in force.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(option) if !option.is_empty() && !option.starts_with(' ') => format!("{option}\n"),
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(line).collect()
}

/// The same with one of the two stores.
fn with_store(store: &str) -> String {
    let other = if store == "zfs" { "[store.directory]" } else { "[store.zfs]" };
    let mut skipping = false;
    let mut text = String::new();
    for line in uncommented().lines() {
        if line.starts_with('[') {
            skipping = line == other;
        }
        if !skipping {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn settings(text: &str, environment: &Environment) -> Result<String, String> {
    match parse(text, environment) {
        Ok(Loaded { settings, warnings }) => {
            assert_eq!(warnings, []);
            Ok(format!("{settings:#?}"))
        }
        Err(faults) => Err(faults.iter().map(|fault| format!("{fault}\n")).collect()),
    }
}

/// Every option of a text by its full name, with its line's number from 0.
fn options_of(text: &str) -> BTreeMap<String, usize> {
    let mut section = String::new();
    let mut options = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            options.insert(format!("{section}{key}"), number);
        }
    }
    options
}

#[test]
fn the_example_is_a_configuration_as_it_is() {
    let (_root, environment) = machine();
    settings(EXAMPLE, &environment).unwrap();
}

#[test]
fn the_example_is_a_configuration_with_every_option_in_force() {
    let (_root, environment) = machine();
    settings(&with_store("zfs"), &environment).unwrap();
    settings(&with_store("directory"), &environment).unwrap();
    let both = parse(&uncommented(), &environment).unwrap_err();
    assert_eq!(both.len(), 1, "{both:?}");
    assert!(both[0].to_string().contains("has both `zfs` and `directory`"), "{}", both[0]);
}

/// To remove a line changes nothing exactly where it states the default.
#[test]
fn the_example_states_the_real_defaults() {
    let (_root, environment) = machine();
    let mut seen = BTreeSet::new();
    for store in ["zfs", "directory"] {
        let text = with_store(store);
        let all = settings(&text, &environment);
        for (option, number) in options_of(&text) {
            let others = text.lines().enumerate().filter(|(other, _)| *other != number);
            let without: String = others.map(|(_, line)| format!("{line}\n")).collect();
            let same = settings(&without, &environment) == all;
            assert_eq!(
                same,
                !WITHOUT_DEFAULT.contains(&option.as_str()),
                "`{option}` is at its default: {same}"
            );
            seen.insert(option);
        }
    }
    for option in WITHOUT_DEFAULT {
        assert!(seen.contains(option), "the example lacks `{option}`");
    }
}

#[test]
fn the_example_has_every_option_that_there_is() {
    let (_root, environment) = machine();
    let text = uncommented();
    let table = DeTable::parse(&text).unwrap();
    let document = Document::new(&text, &environment);
    document.read(table.get_ref(), options::settings);
    let stated = options_of(&text);
    for known in document.known() {
        // What `[hosts.NAME]` shares with `[host_defaults]` stands there.
        let own = known.strip_prefix("hosts.vpn.").or_else(|| known.strip_prefix("hosts.\"vm:12\"."));
        let shared = own.map(|option| format!("host_defaults.{option}"));
        let is_section = text.contains(&format!("[{known}")) || known == "store" || known == "inventory";
        let is_stated = stated.contains_key(&known)
            || shared.is_some_and(|shared| stated.contains_key(&shared))
            // What any section of a host may have stands in `[hosts.vpn]`.
            || own.is_some_and(|own| stated.contains_key(&format!("hosts.vpn.{own}")));
        assert!(is_section || is_stated, "the example lacks `{known}`");
    }
}
