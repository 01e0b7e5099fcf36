//! What an rsync is: its version, what it was built without, and the package
//! that it came with, read from what `remote/rsync.sh` says.
//!
//! There is no list of vulnerabilities: distributions fix old versions, and such
//! a list is wrong within days (docs/decisions/0029-no-list-of-vulnerabilities.md).

use crate::core::format::text::printable;
use crate::core::model::finding::CheckFinding;
use std::fmt;

/// Asks where it runs.
pub const SCRIPT: &str = include_str!("../../edge/remote/rsync.sh");

/// A version of rsync, without what is behind its three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RsyncVersion(pub u32, pub u32, pub u32);

/// Older ones get their fixes from distributions, if at all.
const UNMAINTAINED_BELOW: RsyncVersion = RsyncVersion(3, 4, 0);
/// What begins the line about the package.
const PACKAGE: &str = "@package";

impl RsyncVersion {
    /// The version in the first line of `rsync --version`:
    /// `rsync  version 3.2.7  protocol version 31`, also `v3.2.7pre1`.
    pub fn of(said: &str) -> Option<Self> {
        let mut words = said.lines().next()?.split_ascii_whitespace();
        if (words.next(), words.next()) != (Some("rsync"), Some("version")) {
            return None;
        }
        let mut numbers = words.next()?.trim_start_matches('v').split('.').map(|part| {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            part[..digits].parse().ok()
        });
        Some(RsyncVersion(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }
}

impl fmt::Display for RsyncVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}.{}", self.0, self.1, self.2))
    }
}

/// Where an rsync came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Package {
    /// The version of the distribution's package.
    Version(String),
    /// The package manager does not know the file.
    None,
    /// There is no package manager that could tell.
    Unknown,
}

/// An rsync, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its version.
    pub version: RsyncVersion,
    /// What it cannot keep: `ACLs`.
    pub lacking: Vec<&'static str>,
    /// Where it came from.
    pub package: Package,
}

impl Build {
    /// What `remote/rsync.sh` said, from the line on that names a version.
    pub fn parse(said: &str) -> Option<Self> {
        let lines: Vec<&str> = said.lines().collect();
        let (begin, version) =
            lines.iter().enumerate().find_map(|(index, line)| Some((index, RsyncVersion::of(line)?)))?;
        let lines = &lines[begin..];
        let package = match lines.iter().rev().find_map(|line| line.strip_prefix(PACKAGE)) {
            None => Package::Unknown,
            Some(version) if version.trim().is_empty() => Package::None,
            Some(version) => Package::Version(version.trim().to_owned()),
        };
        Some(Build { version, lacking: lacking(lines), package })
    }

    /// The version of its package, if it came with one.
    pub fn package_version(&self) -> Option<&str> {
        match &self.package {
            Package::Version(version) => Some(version),
            Package::None | Package::Unknown => None,
        }
    }

    /// What is wrong with it, wherever it runs: only what it says itself.
    pub fn faults(&self, subject: &str) -> Vec<CheckFinding> {
        let mut faults = Vec::new();
        if !self.lacking.is_empty() {
            let text = format!("rsync {} was built without {}", self.version, self.lacking.join(", "));
            faults.push(CheckFinding::error(subject, text, "install your distribution's rsync"));
        }
        if self.version < UNMAINTAINED_BELOW && self.package == Package::None {
            let text = format!(
                "rsync {} is older than {UNMAINTAINED_BELOW} and not from a package, so nobody may be \
                 fixing its security holes",
                self.version
            );
            let remedy =
                format!("replace it with your distribution's rsync, or with {UNMAINTAINED_BELOW} or later");
            faults.push(CheckFinding::warning(subject, text, remedy));
        }
        faults
    }
}

/// Written like `3.2.7, package 3.2.7-1+deb12u5`.
impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.version)?;
        match &self.package {
            Package::Version(version) => write!(f, ", package {}", printable(version)),
            Package::None => f.write_str(", not from a package"),
            Package::Unknown => Ok(()),
        }
    }
}

/// What an rsync cannot keep.
fn lacking(said: &[&str]) -> Vec<&'static str> {
    let abilities: Vec<&str> = said.iter().flat_map(|line| line.split(',')).map(str::trim).collect();
    [("no ACLs", "ACLs"), ("no xattrs", "extended attributes"), ("no hardlinks", "hard links")]
        .into_iter()
        .filter(|(said, _)| abilities.contains(said))
        .map(|(_, what)| what)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "rsync  version 3.2.7  protocol version 31\nCapabilities:\n    64-bit files, hardlinks,\n    \
                          append, ACLs, xattrs, optional secluded-args\n@package 3.2.7-1+deb12u5\n";

    fn faults(said: &str) -> Vec<String> {
        let found = Build::parse(said).unwrap().faults("rsync");
        found.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn versions_are_read_as_rsync_writes_them() {
        for (said, version) in [
            ("rsync  version 3.5.0  protocol version 32\nCopyright", Some(RsyncVersion(3, 5, 0))),
            ("rsync  version v3.2.7pre1  protocol version 31", Some(RsyncVersion(3, 2, 7))),
            ("rsync  version 3.4  protocol version 32", Some(RsyncVersion(3, 4, 0))),
            ("openrsync: protocol version 29, rsync version 2.6.9", None),
            ("Debian version 12.5", None),
            ("", None),
        ] {
            assert_eq!(RsyncVersion::of(said), version, "{said}");
        }
    }

    #[test]
    fn a_distributions_package_is_never_warned_of_however_old_its_version() {
        assert_eq!(Build::parse(DEBIAN).unwrap().to_string(), "3.2.7, package 3.2.7-1+deb12u5");
        for package in ["3.2.7-1", "3.1.3-20.el8_10", "3.2.7-0ubuntu0.22.04.4", "3.0.9"] {
            let said = format!("rsync  version 3.1.3  protocol version 31\n@package {package}\n");
            assert_eq!(faults(&said), [""; 0]);
        }
    }

    #[test]
    fn an_old_rsync_that_nobody_mends_is_warned_of_and_one_of_unknown_origin_is_not() {
        let own = faults("rsync  version 3.3.0  protocol version 31\n@package \n");
        assert!(
            own.len() == 1 && own[0].contains("rsync 3.3.0 is older than 3.4.0 and not from a package"),
            "{own:?}"
        );
        assert_eq!(faults("rsync  version 3.4.0  protocol version 32\n@package\n"), [""; 0]);
        assert_eq!(faults("rsync  version 3.3.0  protocol version 31\n"), [""; 0]);
    }

    #[test]
    fn an_rsync_that_keeps_less_is_told_by_its_own_words() {
        let said = "rsync  version 3.4.1  protocol version 32\nCapabilities:\n    symlinks, hardlinks, no ACLs,\n    no xattrs, iconv\n";
        assert_eq!(faults(said), ["rsync 3.4.1 was built without ACLs, extended attributes"]);
        assert_eq!(Build::parse(DEBIAN).unwrap().lacking, [""; 0]);
    }
}
