//! `docs/migration.md` holds to what it says: its configurations are accepted,
//! it has every setting and every standard exclude, and its links lead somewhere.

use backup::core::filter;
use backup::core::model::host::Filesystems;
use backup::edge::config::{Environment, parse};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const GUIDE: &str = include_str!("../../docs/migration.md");

/// The blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = GUIDE.lines();
    while let Some(line) = lines.next() {
        if line.trim_start() == format!("```{language}") {
            let block: Vec<&str> =
                lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
            found.push(block.join("\n"));
        }
    }
    found
}

#[test]
fn the_configurations_are_accepted_without_a_warning() {
    let root = tempfile::tempdir().unwrap();
    for file in ["etc/backup/netbox.token", "etc/backup/icinga.password", "var/lib/icinga2/certs/ca.crt"] {
        let file = root.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "secret\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }
    let environment = Environment {
        hostname: "backup.example.org".to_owned(),
        secrets: BTreeMap::new(),
        root: root.path().to_owned(),
    };
    let whole = blocks("toml").join("\n");
    let loaded = parse(&whole, &environment).expect("the guide's configuration");
    assert_eq!(loaded.warnings, []);
    let settings = loaded.settings;
    assert_eq!((settings.server.as_str(), settings.timezone), ("b32-1", chrono_tz::Europe::London));
    assert_eq!(settings.host_defaults.filesystems, Filesystems::Root);
    assert_eq!(settings.hosts["backup-b53-1"].options.filesystems, Some(Filesystems::Root));
}

#[test]
fn every_setting_of_the_ancestor_has_its_place() {
    for setting in [
        "TIMEZONE",
        "NETBOX_URL",
        "NETBOX_TOKEN",
        "ROTATION_SCHEDULE",
        "ICINGA_URL",
        "ICINGA_USER",
        "ICINGA_PASS",
        "ICINGA_CA",
        "ICINGA_HOSTNAME",
    ] {
        assert!(GUIDE.contains(&format!("\n| `{setting}` |")), "{setting} has no row");
    }
}

#[test]
fn every_folder_that_is_left_out_is_named_or_its_file_is() {
    // These name so many that the guide points to them.
    let by_file = ["packages", "containers"];
    for name in by_file {
        assert!(GUIDE.contains(&format!("`excludes/{name}`")), "{name}");
    }
    let named = |pattern: &str| {
        // What lies in a folder is named as the folder's.
        let last = pattern.trim_end_matches("/*").trim_end_matches('/');
        GUIDE.contains(last) || GUIDE.contains(last.rsplit('/').next().unwrap_or(last))
    };
    for file in ["system", "caches", "snapshots"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("excludes").join(file);
        let (rules, _) = filter::parse_lines(&fs::read(path).unwrap(), file);
        assert!(!rules.is_empty());
        for rule in rules {
            let pattern = String::from_utf8(rule.pattern().to_vec()).unwrap();
            let index = pattern.contains("locate/");
            assert!(named(&pattern) || (index && GUIDE.contains("the index of `plocate`")), "{pattern}");
        }
    }
}

#[test]
fn the_links_lead_to_files_and_headings() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut links = 0;
    for target in GUIDE.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let path = if file.is_empty() { docs.join("migration.md") } else { docs.join(file) };
        assert!(path.exists(), "{target}");
        if !heading.is_empty() {
            let text = fs::read_to_string(path).unwrap();
            let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| {
                let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                words.replace(|c: char| !c.is_alphanumeric() && c != '-', "")
            });
            assert!(headings.into_iter().any(|found| found == heading), "{target}");
        }
        links += 1;
    }
    assert!(links > 5, "{links}");
}
