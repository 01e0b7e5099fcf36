//! What a host's own name tells of it.
//!
//! An inventory can mix two hosts up: they swap addresses, or a clone takes
//! another's. Where both are of one image, machine id and host key tell nothing.
//! But each is called something, and a former copy remembers what.
//!
//! Not known here: how a host is asked.

use crate::core::format::text::{printable, shortened};
use std::collections::BTreeSet;

/// The longest name that is shown, in characters.
const LONGEST: usize = 64;

/// What a host's own name says, compared with that of its last good copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// It is the same, or one of the two is not known.
    Same,
    /// It is another: what to say of that.
    Changed(String),
    /// It is what another host is called: what to say of that.
    AnotherHosts(String),
}

/// Compares what a host calls itself with what it did `before`. `own` is what the
/// inventory calls it, `others` are the names of all other hosts.
pub fn compare(before: Option<&str>, now: Option<&str>, own: &str, others: &BTreeSet<&str>) -> Name {
    let (Some(before), Some(now)) = (before.map(short), now.map(short)) else { return Name::Same };
    if before == now || is_nobodys(&before) || is_nobodys(&now) {
        return Name::Same;
    }
    let shown = |name: &str| shortened(&printable(name), LONGEST);
    let changed =
        format!("its host name is `{}`, in the last good copy it was `{}`", shown(&now), shown(&before));
    if short(own) != now && others.iter().any(|other| short(other) == now) {
        return Name::AnotherHosts(format!("{changed}, and another host has that name"));
    }
    Name::Changed(changed)
}

/// Whether two names are one machine's.
pub fn is_same(one: &str, other: &str) -> bool {
    short(one) == short(other)
}

/// The host's name without its domain, which people add and take away.
fn short(name: &str) -> String {
    name.split('.').next().unwrap_or_default().to_lowercase()
}

/// Names that machines have before they have one.
fn is_nobodys(name: &str) -> bool {
    matches!(name, "" | "localhost" | "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_another_hosts() {
        let others = BTreeSet::from(["mail", "db.example.org", "vpn.b.org"]);
        let kind = |before, now| match compare(before, now, "vpn.a.org", &others) {
            Name::Same => "same",
            Name::Changed(_) => "changed",
            Name::AnotherHosts(_) => "another host's",
        };
        for (before, now, expected, why) in [
            (Some("web"), Some("web"), "same", "as ever"),
            (Some("web"), Some("WEB.example.org"), "same", "with its domain"),
            (Some("web"), None, "same", "it does not say"),
            (None, Some("mail"), "same", "nobody knows what it was"),
            (Some("web"), Some("localhost"), "same", "its name was lost"),
            (Some("web"), Some("www"), "changed", "renamed"),
            (Some("debian"), Some("vpn"), "changed", "its own, which another has in another domain"),
            (Some("web"), Some("mail"), "another host's", "swapped"),
            (Some("web"), Some("Mail.example.org"), "another host's", "swapped, in full"),
            (Some("web"), Some("db"), "another host's", "the inventory has the domain"),
        ] {
            assert_eq!(kind(before, now), expected, "{why}");
        }
    }
}
