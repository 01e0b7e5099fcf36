//! rsync's known holes, and what each means for a server that, as root, takes
//! in what hosts send: any of them may have been broken into.
//!
//! The facts are those of rsync's own `NEWS.md` (3.4.0, 3.4.2, 3.4.3, 3.5.0)
//! and of the changelogs of Debian's packages, up to November 2026. A
//! distribution mends old versions: its package's changelog names what it
//! mended, and is believed.

use std::fmt;

/// The version to ask for: the newest that mends anything here.
pub const WANTED: &str = "3.5.2";

/// A version of rsync, without what is behind its three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The version in the first line of `rsync --version`:
    /// `rsync  version 3.2.7  protocol version 31`, also `v3.2.7pre1`.
    pub fn of(said: &str) -> Option<Self> {
        let mut words = said.lines().next()?.split_ascii_whitespace();
        words.find(|word| *word == "version")?;
        let mut numbers = words.next()?.trim_start_matches('v').split('.').map(|part| {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            part[..digits].parse().ok()
        });
        Some(Version(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}.{}", self.0, self.1, self.2))
    }
}

/// When a hole matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Whenever a host is copied.
    Copy,
    /// Whenever a host is copied with `transfer.compress`.
    Compressed,
    /// Whenever a host is copied into a directory store.
    LinkDest,
    /// Only when files are given back to a host.
    Restore,
    /// Not with what is asked of rsync here; it is named, for others will.
    No,
}

/// A known hole.
#[derive(Debug, PartialEq, Eq)]
pub struct Hole {
    /// What people call it.
    pub id: &'static str,
    /// What a hostile host can do with it.
    pub what: &'static str,
    /// When it can.
    pub reach: Reach,
    since: Version,
    fixed: Version,
    /// Debian's packages that mend it in an older version: the end of the
    /// package's version up to its number, and the first number that does.
    debian: &'static [(&'static str, u32)],
}

const ANY: Version = Version(0, 0, 0);

/// Every hole that is known here, worst first.
const HOLES: [Hole; 13] = [
    Hole {
        id: "CVE-2024-12087",
        what: "write files anywhere on this server",
        reach: Reach::Copy,
        since: ANY,
        fixed: Version(3, 4, 0),
        debian: &[("3.2.7-1+deb12u", 1)],
    },
    Hole {
        id: "CVE-2026-41035",
        what: "corrupt rsync's memory here through extended attributes, perhaps to run code",
        reach: Reach::Copy,
        since: Version(3, 0, 1),
        fixed: Version(3, 4, 2),
        debian: &[("3.4.1+ds1-5+deb13u", 2)],
    },
    Hole {
        id: "CVE-2024-12086",
        what: "read any file of this server, byte by byte",
        reach: Reach::Copy,
        since: ANY,
        fixed: Version(3, 4, 0),
        debian: &[("3.2.7-1+deb12u", 1)],
    },
    Hole {
        id: "CVE-2026-43618",
        what: "read rsync's memory here, through `transfer.compress`",
        reach: Reach::Compressed,
        since: ANY,
        fixed: Version(3, 4, 3),
        debian: &[("3.2.7-1+deb12u", 5), ("3.4.1+ds1-5+deb13u", 3)],
    },
    Hole {
        id: "the one of --link-dest (it has no number; mended in 3.5.1)",
        what: "have a file of this server copied into its copy, through a symlink",
        reach: Reach::LinkDest,
        since: ANY,
        fixed: Version(3, 5, 1),
        debian: &[("3.5.0+ds1-0+deb12u", 1)],
    },
    Hole {
        id: "CVE-2026-43620",
        what: "crash rsync here, so that its own copy fails",
        reach: Reach::Copy,
        since: ANY,
        fixed: Version(3, 4, 3),
        debian: &[("3.2.7-1+deb12u", 5), ("3.4.1+ds1-5+deb13u", 3)],
    },
    Hole {
        id: "CVE-2024-12084",
        what: "run code on this server",
        reach: Reach::Restore,
        since: Version(3, 2, 7),
        fixed: Version(3, 4, 0),
        debian: &[("3.2.7-1+deb12u", 1)],
    },
    Hole {
        id: "CVE-2024-12085",
        what: "read rsync's memory here",
        reach: Reach::Restore,
        since: ANY,
        fixed: Version(3, 4, 0),
        debian: &[("3.2.7-1+deb12u", 1)],
    },
    Hole {
        id: "CVE-2025-10158",
        what: "crash rsync here",
        reach: Reach::Restore,
        since: ANY,
        fixed: Version(3, 4, 2),
        debian: &[("3.2.7-1+deb12u", 4), ("3.4.1+ds1-5+deb13u", 1)],
    },
    Hole {
        id: "CVE-2026-119741",
        what: "keep a processor of this server busy",
        reach: Reach::Restore,
        since: ANY,
        fixed: Version(3, 5, 2),
        debian: &[("3.5.0+ds1-0+deb12u", 1)],
    },
    Hole {
        id: "CVE-2024-12088",
        what: "it concerns --safe-links, which is not used",
        reach: Reach::No,
        since: ANY,
        fixed: Version(3, 4, 0),
        debian: &[("3.2.7-1+deb12u", 1)],
    },
    Hole {
        id: "CVE-2024-12747",
        what: "it concerns local users where files are read",
        reach: Reach::No,
        since: ANY,
        fixed: Version(3, 4, 0),
        debian: &[("3.2.7-1+deb12u", 1)],
    },
    Hole {
        id: "CVE-2026-53795 and 32 others that 3.5.0 mends",
        what: "they concern daemons, and local users who can change the store's folders",
        reach: Reach::No,
        since: ANY,
        fixed: Version(3, 5, 0),
        debian: &[],
    },
];

/// The package that an rsync came with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    /// Its version, as its distribution writes it.
    pub version: String,
    /// Its changelog, if that is there.
    pub changelog: Option<String>,
}

/// The holes of an rsync of this version, from this package, if from one.
pub fn of(version: Version, package: Option<&Package>) -> Vec<&'static Hole> {
    HOLES
        .iter()
        .filter(|hole| hole.is_in(version) && !package.is_some_and(|from| hole.is_mended(from)))
        .collect()
}

impl Hole {
    fn is_in(&self, version: Version) -> bool {
        // The 3.2 line was taken up again with 3.2.8 to have its holes mended.
        let is_lts = (version.0, version.1) == (3, 2) && version.2 >= 8;
        version >= self.since && version < self.fixed && !is_lts
    }

    fn is_mended(&self, package: &Package) -> bool {
        // Of several holes, the first one's number.
        let number = self.id.split(' ').next().filter(|id| id.starts_with("CVE-"));
        let said = number.zip(package.changelog.as_deref()).is_some_and(|(id, log)| names(log, id));
        said || self.debian.iter().any(|(begin, least)| {
            let rest = package.version.strip_prefix(begin);
            let digits = rest.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
            digits.and_then(|digits| digits.parse::<u32>().ok()).is_some_and(|number| number >= *least)
        })
    }
}

/// Whether a text names a hole, and not one whose number only begins like it.
fn names(text: &str, id: &str) -> bool {
    text.match_indices(id).any(|(at, _)| !text[at + id.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(version: Version, package: Option<&Package>) -> Vec<&'static str> {
        of(version, package).iter().filter(|hole| hole.reach != Reach::No).map(|hole| hole.id).collect()
    }

    fn debian(version: &str) -> Package {
        Package { version: version.to_owned(), changelog: None }
    }

    #[test]
    fn versions_are_read_as_rsync_writes_them() {
        for (said, version) in [
            ("rsync  version 3.5.0  protocol version 32\nCopyright", Some(Version(3, 5, 0))),
            ("rsync  version v3.2.7pre1  protocol version 31", Some(Version(3, 2, 7))),
            ("rsync  version 3.4  protocol version 32", Some(Version(3, 4, 0))),
            ("openrsync: protocol version 29, rsync version 2.6.9", None),
            ("", None),
        ] {
            assert_eq!(Version::of(said), version, "{said}");
        }
    }

    #[test]
    fn an_old_rsync_has_the_holes_that_were_found_since() {
        assert_eq!(ids(Version(3, 5, 2), None), [""; 0]);
        assert_eq!(ids(Version(3, 2, 8), None), [""; 0], "the line that is kept up");
        assert!(ids(Version(3, 2, 7), None).contains(&"CVE-2024-12084"));
        let older = ids(Version(3, 2, 3), None);
        assert!(!older.contains(&"CVE-2024-12084"), "it came with 3.2.7");
        assert!(older.contains(&"CVE-2024-12087"));
        let newer = ids(Version(3, 4, 1), None);
        assert!(!newer.contains(&"CVE-2024-12087") && newer.contains(&"CVE-2026-41035"), "{newer:?}");
    }

    #[test]
    fn what_the_distribution_mended_is_no_hole() {
        let first = ids(Version(3, 2, 7), Some(&debian("3.2.7-1+deb12u1")));
        assert!(!first.contains(&"CVE-2024-12087") && first.contains(&"CVE-2026-43618"), "{first:?}");
        let fifth = ids(Version(3, 2, 7), Some(&debian("3.2.7-1+deb12u6")));
        assert!(!fifth.contains(&"CVE-2026-43618") && fifth.contains(&"CVE-2026-41035"), "{fifth:?}");
        let none = ids(Version(3, 2, 7), Some(&debian("3.2.7-1")));
        assert_eq!(none, ids(Version(3, 2, 7), None));
        assert_eq!(ids(Version(3, 5, 0), Some(&debian("3.5.0+ds1-0+deb12u1"))), [""; 0]);
    }

    #[test]
    fn a_changelog_is_believed_where_it_names_the_hole_itself() {
        let package = |changelog: &str| Package {
            version: "3.1.3-20.el8_10".to_owned(),
            changelog: Some(changelog.to_owned()),
        };
        let mended = package("- Resolves: CVE-2024-12087 - path traversal\n- CVE-2024-120869 is another");
        let left = ids(Version(3, 1, 3), Some(&mended));
        assert!(!left.contains(&"CVE-2024-12087") && left.contains(&"CVE-2024-12086"), "{left:?}");
    }
}
