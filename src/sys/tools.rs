//! The programs of this machine that backups need: where they are, and which
//! versions.
//!
//! Not known here: what the programs are used for.

use crate::core::format::text::{printable, printable_bytes};
use crate::core::model::finding::CheckFinding;
use crate::core::model::rsync_build::{self, Build, RsyncVersion};
use crate::sys::process::{Program, locate};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a program may take to say its version.
const DEADLINE: Duration = Duration::from_secs(20);
/// The oldest rsync that knows `--modify-window=-1`.
const OLDEST_RSYNC: RsyncVersion = RsyncVersion(3, 1, 3);

/// What the configuration makes use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The store is a pool.
    pub zfs: bool,
    /// Hosts are reached over ssh.
    pub ssh: bool,
}

/// What there is to say of the programs that are needed.
pub async fn inspect(needs: Needs) -> Vec<CheckFinding> {
    let mut findings = rsync().await;
    if needs.ssh {
        findings.push(match version("ssh", &["-V"]).await {
            Ok((path, said)) => {
                CheckFinding::ok("ssh", found(&path, said.split(',').next().unwrap_or_default()))
            }
            Err(why) => CheckFinding::error("ssh", why, "install it (`apt install openssh-client`)"),
        });
        for name in ["ssh-keyscan", "ssh-keygen"] {
            if locate(name).is_none() {
                let text = "is not installed: host keys cannot be shown or taken from here";
                findings.push(CheckFinding::note(name, text, "install it (`apt install openssh-client`)"));
            }
        }
    }
    findings.push(match version("setpriv", &["--version"]).await {
        Ok((path, said)) => CheckFinding::ok("setpriv", found(&path, &said)),
        Err(why) => CheckFinding::warning(
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

async fn zfs() -> Vec<CheckFinding> {
    let install = "install it (`apt install zfsutils-linux`), or use `[store.directory]`";
    let mut findings = Vec::new();
    // Its second line is the kernel's part.
    match version("zfs", &["version"]).await {
        Ok((path, said)) => findings.push(CheckFinding::ok("zfs", found(&path, &said))),
        Err(why) => findings.push(CheckFinding::error("zfs", why, install)),
    }
    if let Some(path) = locate("zpool") {
        findings.push(CheckFinding::ok("zpool", format!("is `{}`", path.display())));
    } else {
        findings.push(CheckFinding::error("zpool", "is not installed", install));
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

async fn rsync() -> Vec<CheckFinding> {
    let install = "install it (`apt install rsync`)";
    let Some(path) = locate("rsync") else {
        return vec![CheckFinding::error("rsync", "is not installed", install)];
    };
    let asked =
        Program::new("sh").args(["-c", rsync_build::SCRIPT, "sh"]).called("rsync --version".to_owned());
    let said = match asked.deadline(DEADLINE).run().await {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(failure) => {
            return vec![CheckFinding::error("rsync", format!("does not work: {failure}"), install)];
        }
    };
    let Some(build) = Build::parse(&said) else {
        let first = said.lines().next().unwrap_or_default();
        let text = format!("`{}` is not a supported rsync: {}", path.display(), printable(first));
        return vec![CheckFinding::error("rsync", text, "install your distribution's rsync")];
    };
    let mut findings = vec![CheckFinding::ok("rsync", found(&path, &build.to_string()))];
    if build.version < OLDEST_RSYNC {
        let text = format!("{} lacks options that are needed (`{}`)", build.version, path.display());
        findings.push(CheckFinding::error("rsync", text, format!("install rsync {OLDEST_RSYNC} or later")));
    }
    findings.extend(build.faults("rsync"));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::finding::Level;

    #[tokio::test]
    async fn the_programs_of_this_machine_are_found() {
        let findings = inspect(Needs { zfs: false, ssh: true }).await;
        let ssh = findings.iter().find(|finding| finding.subject == "ssh").unwrap();
        assert!(ssh.level == Level::Ok && ssh.text.contains("OpenSSH"), "{findings:?}");
        assert!(findings.iter().all(|finding| finding.subject != "zfs"));
    }
}
