//! What is passed to `zfs`, and whether a dataset may be used: decisions alone,
//! nothing is run here.

use super::super::StoreError;
use super::parse::Filesystem;
use crate::core::format::text::printable;
use crate::core::model::host::HostName;
use crate::core::model::snapshot::Facts;
use std::path::PathBuf;

/// What a host's new dataset gets, beside its compression: room for ACLs and
/// extended attributes, and nothing in a copy that could be run, opened as a
/// device or stumbled upon. They limit the mount alone: rsync still stores
/// device nodes and setuid bits. `posixacl` is what every ZFS since 0.8 calls
/// `posix`.
const NEW_DATASET: [&str; 7] =
    ["acltype=posixacl", "xattr=sa", "atime=off", "setuid=off", "devices=off", "exec=off", "snapdir=hidden"];

/// The `zfs create` of a new dataset, and others to try if this ZFS does not
/// know the compression. One that the operator chose by name for the parent is
/// inherited: lz4, say, for a slow CPU.
pub(super) fn creations(name: &str, parent: &Filesystem) -> Vec<Vec<String>> {
    let compressions: &[Option<&str>] = match parent.compression.as_str() {
        "off" | "on" => &[Some("zstd"), Some("lz4")],
        _ => &[None],
    };
    let creation = |compression: &Option<&str>| {
        let compression = compression.map(|compression| format!("compression={compression}"));
        let properties = NEW_DATASET.map(str::to_owned).into_iter().chain(compression);
        command("create", properties, name)
    };
    compressions.iter().map(creation).collect()
}

/// A user property of a snapshot: its name and its value.
pub(super) type Property = (String, String);

/// The properties that say a snapshot's facts.
pub(super) fn properties(facts: &Facts) -> Result<Vec<Property>, StoreError> {
    // A value with a line break could pass for lines about another snapshot.
    let fit = |value: &&String| value.len() <= 1024 && !value.chars().any(char::is_control);
    if !fit(&&facts.run) {
        return Err(StoreError::new(format!("`{}` cannot name a run", printable(&facts.run))));
    }
    let number = |fact: Option<u64>| fact.map(|fact| fact.to_string());
    let properties = [
        ("run", Some(facts.run.clone())),
        ("verdict", Some(facts.verdict.to_string())),
        ("files", number(facts.files)),
        ("bytes", number(facts.bytes)),
        ("duration", number(facts.duration)),
        // The host's own word.
        ("machine", facts.machine.as_ref().filter(fit).cloned()),
        ("hostname", facts.hostname.as_ref().filter(fit).cloned()),
        ("left_out", facts.left_out.as_ref().filter(fit).cloned()),
        ("clock_agreed", facts.clock_agreed.then(|| "true".to_owned())),
    ];
    Ok(properties.into_iter().filter_map(|(key, value)| Some((format!("backup:{key}"), value?))).collect())
}

/// The `zfs snapshot` that takes a snapshot together with its properties.
pub(super) fn snapshot(target: &str, properties: &[Property]) -> Vec<String> {
    command("snapshot", properties.iter().map(|(key, value)| format!("{key}={value}")), target)
}

fn command(verb: &str, properties: impl IntoIterator<Item = String>, target: &str) -> Vec<String> {
    let mut args = vec![verb.to_owned()];
    for property in properties {
        args.extend(["-o".to_owned(), property]);
    }
    args.push(target.to_owned());
    args
}

/// What a new dataset will look like.
pub(super) fn child(parent: &Filesystem, host: &HostName) -> Filesystem {
    Filesystem {
        name: format!("{}/{}", parent.name, host.key()),
        canmount: "on".to_owned(),
        mountpoint: format!("{}/{}", parent.mountpoint.trim_end_matches('/'), host.key()),
        ..parent.clone()
    }
}

/// The mount point of a filesystem, if its settings allow to write to it.
pub(super) fn usable(filesystem: &Filesystem) -> Result<PathBuf, StoreError> {
    let name = &filesystem.name;
    let refuse = |why: &str, hint: String| Err(StoreError::new(format!("`{name}` {why}")).hint(hint));
    if let Some(root) = &filesystem.locked {
        return refuse("is encrypted, and its key is not loaded", format!("zfs load-key {root}"));
    }
    if filesystem.readonly {
        return refuse("is read-only", format!("zfs set readonly=off {name}"));
    }
    if !filesystem.mountpoint.starts_with('/') {
        let why = format!("has no mount point of its own (`{}`)", printable(&filesystem.mountpoint));
        return refuse(&why, format!("zfs set mountpoint=/{name} {name}"));
    }
    Ok(PathBuf::from(&filesystem.mountpoint))
}

/// Whether `zfs destroy` takes this for one snapshot: no list (`,`), no range
/// (`%`), no other dataset (`@`, `/`).
pub(super) fn is_snapshot(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.: ".contains(&b))
}

/// Whether `zfs` takes this for a dataset, and never for an option.
pub(super) fn is_dataset(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.split('/').all(|part| is_snapshot(part) && !matches!(part, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::snapshot::Verdict;

    fn parent() -> Filesystem {
        Filesystem {
            name: "data".to_owned(),
            canmount: "on".to_owned(),
            readonly: false,
            locked: None,
            compression: "off".to_owned(),
            used: 10,
            available: 90,
            mountpoint: "/data".to_owned(),
        }
    }

    #[test]
    fn no_name_becomes_a_list_a_range_an_option_or_another_dataset() {
        for name in ["", "a,b", "a%b", "%", "a@b", "a/b", "é", "a\tb", "a\nb"] {
            assert!(!is_snapshot(name), "{name:?}");
        }
        for name in ["backup-2026-11-20T020005Z", "before upgrade", "a.b:c_d"] {
            assert!(is_snapshot(name), "{name:?}");
        }
        for name in ["", "-r", "/data", "data/", "data//x", "data/..", "data@x", "9data", "data/a%b"] {
            assert!(!is_dataset(name), "{name:?}");
        }
        for name in ["data", "tank/backup-1", "a/b/c.d"] {
            assert!(is_dataset(name), "{name:?}");
        }
    }

    #[test]
    fn a_value_with_a_line_break_never_reaches_a_property() {
        let mut facts = Facts {
            run: "r1".to_owned(),
            verdict: Verdict::Good,
            files: Some(3),
            bytes: None,
            duration: Some(0),
            machine: Some("x\tlocal\ndata/mail@y\tbackup:verdict\tgood".to_owned()),
            hostname: None,
            left_out: None,
            clock_agreed: false,
        };
        assert_eq!(
            snapshot("data/vpn@x", &properties(&facts).unwrap()).join(" "),
            "snapshot -o backup:run=r1 -o backup:verdict=good -o backup:files=3 -o backup:duration=0 data/vpn@x"
        );
        facts.machine = Some("0123456789abcdef".to_owned());
        let machine = ("backup:machine".to_owned(), "0123456789abcdef".to_owned());
        assert!(properties(&facts).unwrap().contains(&machine));
        facts.run = "r\n".to_owned();
        assert!(properties(&facts).is_err());
    }

    #[test]
    fn a_compression_chosen_by_name_is_inherited() {
        for (compression, tries) in [
            ("off", &[Some("compression=zstd"), Some("compression=lz4")][..]),
            ("on", &[Some("compression=zstd"), Some("compression=lz4")]),
            ("lz4", &[None]),
            ("zstd-9", &[None]),
        ] {
            let parent = Filesystem { compression: compression.to_owned(), ..parent() };
            let creations = creations("data/vpn", &parent);
            let set: Vec<_> = creations
                .iter()
                .map(|args| args.iter().map(String::as_str).find(|arg| arg.starts_with("compression=")))
                .collect();
            assert_eq!(set, tries, "{compression}");
        }
    }

    #[test]
    fn a_dataset_that_cannot_be_written_is_refused_with_what_mends_it() {
        let base = parent();
        assert_eq!(usable(&base).unwrap(), PathBuf::from("/data"));
        for (filesystem, hint) in [
            (Filesystem { locked: Some("tank".to_owned()), ..base.clone() }, "zfs load-key tank"),
            (Filesystem { readonly: true, ..base.clone() }, "zfs set readonly=off data"),
            (Filesystem { mountpoint: "none".to_owned(), ..base.clone() }, "zfs set mountpoint=/data data"),
            (Filesystem { mountpoint: "legacy".to_owned(), ..base }, "zfs set mountpoint=/data data"),
        ] {
            assert_eq!(usable(&filesystem).unwrap_err().hint.as_deref(), Some(hint));
        }
    }

    #[test]
    fn a_new_dataset_is_mounted_below_its_parent() {
        let vpn = "VPN".parse().unwrap();
        assert_eq!(child(&parent(), &vpn).mountpoint, "/data/vpn");
        let top = Filesystem { mountpoint: "/".to_owned(), ..parent() };
        assert_eq!(child(&top, &vpn).mountpoint, "/vpn");
    }
}
