//! What single values must look like: each reader takes the value as it was
//! written and gives it in the type that it is used as, or `None`. The constant
//! beside a reader says in words what it takes.

use crate::core::filter::LONGEST_APART;
use serde::de::value::Error as NoVariant;
use serde::de::{DeserializeOwned, IntoDeserializer};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use url::{Host, Url};

/// For [`duration`].
pub(super) const DURATION: &str =
    "a length of time such as `\"90s\"`, `\"30m\"` or `\"36h\"`, more than none and at most a year";
/// For [`path`].
pub(super) const PATH: &str = "an absolute path on this machine, beginning with `/`";
/// For [`path_on_host`].
pub(super) const PATH_ON_HOST: &str =
    "an absolute path on the host, beginning with `/`, without `..` and without line breaks";
/// For [`in_place`].
pub(super) const IN_PLACE: &str = "an absolute path on the host, beginning with `/` and not `/` itself, without \
     `..` and line breaks, of at most 1000 bytes; it is no pattern";
/// For [`runtime_dir`].
pub(super) const RUNTIME_DIR: &str = "an absolute path of at most 50 bytes, made of letters, digits, `/`, `.`, \
     `_`, `+` and `-` alone: ssh and rsync take others apart, and a socket's path must be short";
/// For [`pattern`].
pub(super) const PATTERN: &str = "an rsync pattern: not empty, and one line";
/// For [`user`].
pub(super) const USER: &str = "a Unix user's name, such as `\"root\"`";
/// For [`address`].
pub(super) const ADDRESS: &str = "a DNS name or an IP address, without a user, port or path";
/// For [`bandwidth`].
pub(super) const BANDWIDTH: &str = "a rate as rsync's --bwlimit takes it, such as `\"20m\"` for 20 MiB a second \
     (no suffix: KiB; 512 bytes at least), or `\"\"` for no limit";
/// For [`dataset`].
pub(super) const DATASET: &str = "a ZFS dataset such as `\"data\"` or `\"tank/backup\"`: letters, digits, `_`, `-`, \
     `.` and `:`, parts separated by single `/`, a letter first, at most 90 bytes";
/// For [`root_url`].
pub(super) const ROOT_URL: &str = "an http or https address such as `\"https://monitor.example.org/\"`, without user, password, `?` and `#`";
/// For [`line()`].
pub(super) const LINE: &str = "one line of text, and not empty";

const LONGEST_DURATION: u64 = 365 * 24 * 3600;

/// `"90s"`, `"30m"`, `"36h"`. The limit keeps a deadline's sum with a clock
/// from overflowing.
pub(super) fn duration(text: String) -> Option<Duration> {
    let (unit, seconds) = [('s', 1), ('m', 60), ('h', 3600)].into_iter().find(|(u, _)| text.ends_with(*u))?;
    let number = text.strip_suffix(unit)?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    (1..=LONGEST_DURATION).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// An absolute path here.
pub(super) fn path(text: String) -> Option<PathBuf> {
    (text.starts_with('/') && !text.contains(char::is_control)).then(|| PathBuf::from(text))
}

/// An absolute path on a host, without needless slashes and dots: it is
/// compared with mount points there.
pub(super) fn path_on_host(text: String) -> Option<String> {
    if !text.starts_with('/') || text.contains(['\0', '\n', '\r']) {
        return None;
    }
    let mut path = String::new();
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return None;
        }
        path.push('/');
        path.push_str(part);
    }
    Some(if path.is_empty() { "/".to_owned() } else { path })
}

/// A path on a host whose files are written in place.
pub(super) fn in_place(text: String) -> Option<String> {
    path_on_host(text).filter(|path| path.len() <= LONGEST_APART && path != "/")
}

/// Becomes a part of rsync's `-e`, which splits at white space and knows
/// quotes, and of `ssh -S`, which expands `%`, `~` and `$`.
pub(super) fn runtime_dir(text: String) -> Option<PathBuf> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._+-".contains(&b);
    (text.len() <= 50 && text.bytes().all(plain)).then(|| path(text))?
}

/// A file for Prometheus' node exporter, which reads no other names.
pub(super) fn textfile(text: String) -> Option<PathBuf> {
    path(text).filter(|path| path.extension().is_some_and(|extension| extension == "prom"))
}

/// An exclude pattern.
pub(super) fn pattern(text: String) -> Option<String> {
    (!text.is_empty() && !text.contains(['\0', '\n', '\r'])).then_some(text)
}

/// A name that `useradd` might take; nothing that ssh could take for more.
pub(super) fn user(text: String) -> Option<String> {
    let name = text.strip_suffix('$').unwrap_or(&text);
    let first = |b: &u8| b.is_ascii_alphabetic() || *b == b'_';
    let other = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (name.as_bytes().first().is_some_and(first) && name.bytes().all(other)).then_some(text)
}

/// What ssh connects to.
pub(super) fn address(text: String) -> Option<String> {
    (text.parse::<IpAddr>().is_ok() || domain_name(&text)).then_some(text)
}

/// A domain to add to names, or nothing; a leading dot is not a part of it.
pub(super) fn domain(text: String) -> Option<String> {
    let name = text.strip_prefix('.').unwrap_or(&text);
    (text.is_empty() || domain_name(name)).then(|| name.to_owned())
}

fn domain_name(name: &str) -> bool {
    let character = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label = |label: &str| !label.is_empty() && !label.starts_with('-') && label.bytes().all(character);
    name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

/// rsync's `--bwlimit`, as its `parse_size_arg` takes it; `None` inside for no
/// limit.
pub(super) fn bandwidth(text: String) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let digits = number.replacen('.', "", 1);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let suffix = text[number.len()..].to_ascii_lowercase();
    let (unit, base) = match suffix.as_bytes() {
        [] => (b'k', 1024.0_f64),
        [unit] | [unit, b'i', b'b'] => (*unit, 1024.0),
        [unit, b'b'] => (*unit, 1000.0),
        _ => return None,
    };
    let power = b"bkmgtp".iter().position(|known| *known == unit)?;
    let rate = number.parse::<f64>().ok()? * base.powi(i32::try_from(power).ok()?);
    // Zero means no limit to rsync; above it, it takes no less than 512.
    match rate {
        0.0 => Some(None),
        512.0.. => Some(Some(text)),
        _ => None,
    }
}

/// A dataset's name; [`crate::core::model::host::LONGEST_NAME`] and a snapshot's name fit
/// behind it into ZFS's 255 bytes.
pub(super) fn dataset(text: String) -> Option<String> {
    let character = |b: u8| b.is_ascii_alphanumeric() || b"_-.:".contains(&b);
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(character);
    let fits = text.len() <= 90 && text.starts_with(|c: char| c.is_ascii_alphabetic());
    (fits && text.split('/').all(part)).then_some(text)
}

/// The root of a web service, with a trailing slash, so that paths can be
/// joined to it.
pub(super) fn root_url(text: String) -> Option<Url> {
    let mut url = Url::parse(&text).ok()?;
    let plain = url.username().is_empty() && url.password().is_none();
    let bare = url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain || !bare {
        return None;
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Some(url)
}

/// Whether a secret sent to this address can be read on the way.
pub(super) fn in_clear_text(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !loopback
}

/// Any text that fits on a line.
pub(super) fn line(text: String) -> Option<String> {
    (!text.trim().is_empty() && !text.contains(char::is_control)).then_some(text)
}

/// The name of a custom field of NetBox's; the empty one is none.
pub(super) fn custom_field(text: String) -> Option<Option<String>> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.bytes().all(fits).then(|| Some(text).filter(|text| !text.is_empty()))
}

/// A number in a range.
pub(super) fn within<N: PartialOrd>(range: RangeInclusive<N>) -> impl Fn(N) -> Option<N> {
    move |number| range.contains(&number).then_some(number)
}

/// One of the words that serde knows a type's variants by.
pub(super) fn one_of<T: DeserializeOwned>(word: String) -> Option<T> {
    T::deserialize(IntoDeserializer::<NoVariant>::into_deserializer(word)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(read: impl Fn(String) -> Option<T>, good: &[&str], bad: &[(&str, &str)]) {
        for text in good {
            assert!(read((*text).to_owned()).is_some(), "{text:?} was refused");
        }
        for (text, why) in bad {
            assert!(read((*text).to_owned()).is_none(), "{text:?} was taken: {why}");
        }
    }

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        assert_eq!(duration("90s".into()), Some(Duration::from_secs(90)));
        assert_eq!(duration("30m".into()), Some(Duration::from_secs(1800)));
        assert_eq!(duration("36h".into()), Some(Duration::from_secs(129_600)));
        check(
            duration,
            &["1s", "8760h"],
            &[
                ("0s", "no time at all"),
                ("8761h", "more than a year"),
                ("18446744073709551615h", "overflows"),
                ("", "empty"),
                ("h", "no number"),
                ("90", "no unit"),
                ("7d", "not a unit of the contract"),
                ("1.5h", "a fraction"),
                ("+5m", "a sign"),
                ("5 m", "a space"),
                ("1h30m", "two numbers"),
                ("90S", "upper case"),
            ],
        );
    }

    #[test]
    fn a_path_on_a_host_has_one_spelling() {
        for (text, path, why) in [
            ("/", "/", "the root stays"),
            ("/srv/", "/srv", "a slash at the end"),
            ("//srv///www", "/srv/www", "slashes in a row"),
            ("/./srv/.", "/srv", "dots that say nothing"),
            ("/srv/my files", "/srv/my files", "a space is a character"),
        ] {
            assert_eq!(path_on_host(text.into()).as_deref(), Some(path), "{why}");
        }
        let bad =
            [("", "empty"), ("srv", "relative"), ("/srv/../etc", "leads elsewhere"), ("/a\nb", "two lines")];
        check(path_on_host, &[], &bad);
    }

    #[test]
    fn the_runtime_directory_is_safe_inside_an_ssh_command_line() {
        let (fits, long) = (format!("/{}", "x".repeat(49)), format!("/{}", "x".repeat(50)));
        let bad = [
            ("run/backup", "relative"),
            ("/run/my backup", "rsync splits there"),
            ("/run/'backup'", "rsync knows quotes"),
            ("/run/%h", "ssh expands it"),
            ("/run/$HOME", "ssh expands it"),
            (long.as_str(), "no room for a socket's name"),
        ];
        check(runtime_dir, &["/run/backup", &fits], &bad);
    }

    #[test]
    fn users_and_addresses_cannot_become_options() {
        let bad =
            [("-oProxyCommand=x", "an option"), ("a b", "two words"), ("a@b", "an address"), ("", "empty")];
        check(user, &["root", "backup-agent", "_apt", "host$"], &bad);
        check(user, &[], &[("1user", "a digit first"), ("$", "only the suffix"), ("ä", "not ASCII")]);
        check(address, &["10.0.0.7", "2001:db8::1", "vpn", "vpn.example.org.", "a_b.example.org"], &bad);
        check(
            address,
            &[],
            &[
                ("a..b", "an empty label"),
                ("a/b", "a path"),
                ("host:22", "a port"),
                ("[::1]", "brackets"),
                (".", ""),
            ],
        );
        check(domain, &["", "example.org", ".example.org"], &[("..", "empty labels"), ("a b", "a space")]);
        assert_eq!(domain(".example.org".into()).as_deref(), Some("example.org"));
    }

    #[test]
    fn a_bandwidth_is_what_rsync_takes() {
        check(
            bandwidth,
            &["512b", "1.5m", ".5m", "1.", "20M", "20MB", "20mib", "1T", "1P", "100"],
            &[
                ("511b", "rsync refuses less than 512"),
                ("0.1", "102 bytes"),
                ("1E", "no unit of rsync's"),
                ("20ib", "no unit"),
                ("1,5m", "a comma"),
                (" 1", "a space"),
                ("-5", "a sign"),
                ("1.2.3", "two dots"),
                ("m", "no number"),
                (".", "no number"),
                ("5 --delete", "more than a rate"),
            ],
        );
        assert_eq!(bandwidth(String::new()), Some(None));
        assert_eq!(bandwidth("0".into()), Some(None));
    }

    #[test]
    fn a_dataset_is_no_option_no_snapshot_and_no_mount_point() {
        let (fits, long) = (format!("d{}", "x".repeat(89)), format!("d{}", "x".repeat(90)));
        let bad = [
            ("/data", "a mount point"),
            ("data/", "an empty part"),
            ("data//x", "an empty part"),
            ("data/../x", "not ZFS"),
            ("-r", "an option"),
            ("1data", "a pool begins with a letter"),
            ("data@x", "a snapshot"),
            ("data x", "a space"),
            ("", "empty"),
            (long.as_str(), "no room for a host and a snapshot"),
        ];
        check(dataset, &["data", "tank/backup_1/x-y.z:w", &fits], &bad);
    }

    #[test]
    fn a_service_has_an_address_without_secrets() {
        assert_eq!(root_url("https://n.example.org/netbox".into()).unwrap().path(), "/netbox/");
        let bad = [
            ("n.example.org", "no scheme"),
            ("ftp://n.example.org/", "another scheme"),
            ("https://user:secret@n.example.org/", "a secret"),
            ("https://n.example.org/?x", "a query"),
            ("https://n.example.org/#x", "a fragment"),
            ("https://", "no host"),
        ];
        check(root_url, &["http://127.0.0.1:8000"], &bad);
        for (url, clear, why) in [
            ("https://n.example.org/", false, "encrypted"),
            ("http://n.example.org/", true, "anyone on the way can read"),
            ("http://127.0.0.53:8000/", false, "never leaves the machine"),
            ("http://[::1]/", false, "never leaves the machine"),
            ("http://localhost/", false, "never leaves the machine"),
            ("http://localhost.example.org/", true, "only called so"),
        ] {
            assert_eq!(in_clear_text(&Url::parse(url).unwrap()), clear, "{url}: {why}");
        }
    }

    #[test]
    fn only_prom_files_are_read_by_the_node_exporter() {
        let bad = [("/x/backup.prom.tmp", "not read"), ("backup.prom", "relative"), ("/x/.prom", "no name")];
        check(textfile, &["/x/backup.prom"], &bad);
    }
}
