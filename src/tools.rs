//! The programs of this machine that backups need: where they are, which
//! versions, and what is known against those.
//!
//! Not known here: what the programs are used for.

use crate::finding::Finding;
use crate::holes::{self, Hole, Package, Reach, Version, WANTED};
use crate::process::{Program, locate};
use crate::text::{printable, printable_bytes};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a program may take to say its version.
const DEADLINE: Duration = Duration::from_secs(20);
/// More than any changelog, in bytes.
const LONGEST_CHANGELOG: usize = 64 * 1024 * 1024;
/// The oldest rsync that knows `--modify-window=-1`.
const OLDEST_RSYNC: Version = Version(3, 1, 3);

/// What the configuration makes use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The store is a pool.
    pub zfs: bool,
    /// Hosts are reached over ssh.
    pub ssh: bool,
    /// Transfers are compressed.
    pub compress: bool,
}

/// What there is to say of the programs that are needed.
pub async fn inspect(needs: Needs) -> Vec<Finding> {
    let mut findings = rsync(needs).await;
    if needs.ssh {
        findings.push(match version("ssh", &["-V"]).await {
            Ok((path, said)) => Finding::ok("ssh", found(&path, said.split(',').next().unwrap_or_default())),
            Err(why) => Finding::error("ssh", why, "install it (`apt install openssh-client`)"),
        });
        for name in ["ssh-keyscan", "ssh-keygen"] {
            if locate(name).is_none() {
                let text = "is not installed: host keys cannot be shown or taken from here";
                findings.push(Finding::note(name, text, "install it (`apt install openssh-client`)"));
            }
        }
    }
    findings.push(match version("setpriv", &["--version"]).await {
        Ok((path, said)) => Finding::ok("setpriv", found(&path, &said)),
        Err(why) => Finding::warning(
            "setpriv",
            format!("{why}: should a run be killed, the programs that it started go on"),
            "install it (it is a part of util-linux)",
        ),
    });
    if needs.zfs {
        findings.extend(zfs().await);
    }
    findings
}

async fn zfs() -> Vec<Finding> {
    let install = "install it (`apt install zfsutils-linux`), or use `[store.directory]`";
    let mut findings = Vec::new();
    // Its second line is the kernel's part.
    match version("zfs", &["version"]).await {
        Ok((path, said)) => findings.push(Finding::ok("zfs", found(&path, &said))),
        Err(why) => findings.push(Finding::error("zfs", why, install)),
    }
    if let Some(path) = locate("zpool") {
        findings.push(Finding::ok("zpool", format!("is `{}`", path.display())));
    } else {
        findings.push(Finding::error("zpool", "is not installed", install));
    }
    findings
}

/// Where a program is and the first line that it says of its version; or why
/// that is not known.
async fn version(name: &str, args: &[&str]) -> Result<(PathBuf, String), String> {
    let path = locate(name).ok_or("is not installed")?;
    let output = Program::new(&path).args(args).deadline(DEADLINE).run().await;
    let output = output.map_err(|failure| format!("does not work: {failure}"))?;
    // ssh says its version on stderr.
    let said = [output.stdout, output.stderr].concat();
    let first = said.split(|&b| b == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    Ok((path, printable_bytes(first).trim().to_owned()))
}

fn found(path: &Path, said: &str) -> String {
    format!("is `{}` ({said})", printable(&path.to_string_lossy()))
}

async fn rsync(needs: Needs) -> Vec<Finding> {
    let install = "install it (`apt install rsync`)";
    let Some(path) = locate("rsync") else {
        return vec![Finding::error("rsync", "is not installed", install)];
    };
    let said = match Program::new(&path).arg("--version").deadline(DEADLINE).run().await {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(failure) => return vec![Finding::error("rsync", format!("does not work: {failure}"), install)],
    };
    let Some(version) = Version::of(&said) else {
        let first = said.lines().next().unwrap_or_default();
        let text = format!("`{}` is not rsync as it is known here: {}", path.display(), printable(first));
        return vec![Finding::error("rsync", text, install)];
    };
    let mut findings = Vec::new();
    if version < OLDEST_RSYNC {
        let text = format!("{version} lacks options that are needed (`{}`)", path.display());
        findings.push(Finding::error("rsync", text, format!("install rsync {OLDEST_RSYNC} or later")));
    }
    let lacking = lacking(&said);
    if !lacking.is_empty() {
        findings.push(Finding::error(
            "rsync",
            format!("`{}` was built without {}", path.display(), lacking.join(", ")),
            "install your distribution's package",
        ));
    }
    let package = if holes::of(version, None).is_empty() { None } else { package(&path).await };
    let holes = holes::of(version, package.as_ref());
    findings.extend(leaky(version, &path, package.as_ref(), &holes, needs));
    if findings.is_empty() {
        findings.push(Finding::ok("rsync", found(&path, &version.to_string())));
    }
    findings
}

/// What an rsync cannot keep.
fn lacking(said: &str) -> Vec<&'static str> {
    let abilities: Vec<&str> = said.split([',', '\n']).map(str::trim).collect();
    [("no ACLs", "ACLs"), ("no xattrs", "extended attributes"), ("no hardlinks", "hard links")]
        .into_iter()
        .filter(|(said, _)| abilities.contains(said))
        .map(|(_, what)| what)
        .collect()
}

/// The holes by name, with what each means here.
fn leaky(
    version: Version,
    path: &Path,
    package: Option<&Package>,
    holes: &[&'static Hole],
    needs: Needs,
) -> Vec<Finding> {
    let who = match package {
        Some(package) => format!("{version} (`{}`, package {})", path.display(), printable(&package.version)),
        None => format!("{version} (`{}`)", path.display()),
    };
    let matters = |hole: &Hole| match hole.reach {
        Reach::Copy | Reach::Restore => true,
        Reach::Compressed => needs.compress,
        Reach::LinkDest => !needs.zfs,
        Reach::No => false,
    };
    let (bad, harmless): (Vec<&Hole>, Vec<&Hole>) = holes.iter().partition(|hole| matters(hole));
    let list = |holes: &[&Hole], which: &[Reach]| {
        let listed = holes.iter().filter(|hole| which.contains(&hole.reach));
        listed.map(|hole| format!("{} ({})", hole.what, hole.id)).collect::<Vec<_>>().join("; ")
    };
    let mend = match package {
        Some(Package { changelog: Some(_), .. }) | None => {
            format!(
                "install your distribution's security updates (`apt update && apt install rsync`), or rsync {WANTED} or later"
            )
        }
        Some(_) => format!(
            "is it patched by your distribution? its changelog is not installed: see `apt changelog rsync`; else \
             install its security updates, or rsync {WANTED} or later"
        ),
    };
    let mut findings = Vec::new();
    let copying = list(&bad, &[Reach::Copy, Reach::Compressed, Reach::LinkDest]);
    if !copying.is_empty() {
        let text =
            format!("{who} has known holes; a host that was broken into can, when it is copied, {copying}");
        findings.push(Finding::warning("rsync", text, mend.clone()));
    }
    let restoring = list(&bad, &[Reach::Restore]);
    if !restoring.is_empty() {
        let text =
            format!("{who}: a host that was broken into can, when files are given back to it, {restoring}");
        // Who copies is not harmed, but who restores may be.
        findings.push(match copying.is_empty() {
            true => Finding::note("rsync", text, mend.clone()),
            false => Finding::warning("rsync", text, mend.clone()),
        });
    }
    if !harmless.is_empty() {
        let listed: Vec<String> =
            harmless.iter().map(|hole| format!("{} ({})", hole.id, hole.what)).collect();
        let text = format!("{who} has holes that do no harm here: {}", listed.join("; "));
        findings.push(Finding::note("rsync", text, mend));
    }
    findings
}

/// The package that a program came with, if its package manager knows.
async fn package(path: &Path) -> Option<Package> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = match say("dpkg-query", &["-S".as_ref(), real.as_os_str()]).await {
        Some(said) => said.split(':').next().map(str::to_owned),
        None => None,
    };
    if let Some(name) =
        name.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)))
    {
        let version = say("dpkg-query", &["-W".as_ref(), "-f=${Version}".as_ref(), name.as_ref()]).await?;
        let file = PathBuf::from(format!("/usr/share/doc/{name}/changelog.Debian.gz"));
        let changelog = match file.exists() {
            true => say("gzip", &["-dc".as_ref(), file.as_os_str()]).await,
            false => None,
        };
        return Some(Package { version, changelog });
    }
    let format = "%{VERSION}-%{RELEASE}";
    let version = say("rpm", &["-qf".as_ref(), "--qf".as_ref(), format.as_ref(), real.as_os_str()]).await?;
    let changelog = say("rpm", &["-qf".as_ref(), "--changelog".as_ref(), real.as_os_str()]).await;
    Some(Package { version, changelog })
}

/// What a program says, if it is there and ends well.
async fn say(name: &str, args: &[&std::ffi::OsStr]) -> Option<String> {
    locate(name)?;
    let program = Program::new(name).args(args).deadline(DEADLINE).most_output(LONGEST_CHANGELOG);
    let said = program.run().await.ok()?.stdout;
    Some(String::from_utf8_lossy(&said).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    const NEEDS: Needs = Needs { zfs: true, ssh: true, compress: true };

    fn found_in(version: Version, package: Option<&Package>, needs: Needs) -> Vec<Finding> {
        leaky(version, Path::new("/usr/bin/rsync"), package, &holes::of(version, package), needs)
    }

    #[test]
    fn an_rsync_with_known_holes_is_named_with_what_they_mean() {
        let findings = found_in(Version(3, 2, 7), None, NEEDS);
        let levels: Vec<Level> = findings.iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Warning, Level::Warning, Level::Note]);
        for id in ["CVE-2024-12086", "CVE-2024-12087", "CVE-2026-41035", "CVE-2026-43618", "CVE-2026-43620"] {
            assert!(findings[0].text.contains(id), "{id}");
        }
        assert!(findings[1].text.contains("CVE-2024-12084") && findings[2].text.contains("CVE-2024-12088"));
        let plain = found_in(Version(3, 2, 7), None, Needs { compress: false, ..NEEDS });
        assert!(!plain[0].text.contains("CVE-2026-43618") && plain[2].text.contains("CVE-2026-43618"));
        assert!(found_in(Version(3, 5, 2), None, NEEDS).is_empty());
    }

    #[test]
    fn a_distribution_that_keeps_its_changelog_elsewhere_is_asked_about() {
        let package = Package { version: "3.2.7-0ubuntu0.22.04.4".to_owned(), changelog: None };
        let remedy = found_in(Version(3, 2, 7), Some(&package), NEEDS)[0].remedy.clone().unwrap();
        assert!(remedy.starts_with("is it patched by your distribution?"), "{remedy}");
    }

    #[test]
    fn an_rsync_that_keeps_less_is_told_by_its_own_words() {
        let said =
            "rsync  version 3.4.1\nCapabilities:\n    symlinks, hardlinks, no ACLs,\n    no xattrs, iconv\n";
        assert_eq!(lacking(said), ["ACLs", "extended attributes"]);
        assert!(lacking("    append, ACLs, ACL-at, xattrs, optional secluded-args").is_empty());
    }

    #[tokio::test]
    async fn the_programs_of_this_machine_are_found() {
        let findings = inspect(Needs { zfs: false, ..NEEDS }).await;
        let ssh = findings.iter().find(|finding| finding.subject == "ssh").unwrap();
        assert!(ssh.level == Level::Ok && ssh.text.contains("OpenSSH"), "{findings:?}");
        assert!(findings.iter().all(|finding| finding.subject != "zfs"));
    }
}
