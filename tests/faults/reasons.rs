//! The reason that ssh, sudo, rsync or the system gave is shown, with what helps
//! against that, and a try that cannot help is not made.

use crate::support::rig::*;
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A copy of the rig's key that is none that ssh uses.
fn key(rig: &mut Rig, mode: u32, passphrase: &str) -> PathBuf {
    let config = fs::read_to_string(rig.configure()).unwrap();
    let own = config.lines().find_map(|line| line.strip_prefix("identity_file = ")).unwrap();
    let key = rig.join("key");
    fs::copy(own.trim_matches('"'), &key).unwrap();
    if !passphrase.is_empty() {
        must("ssh-keygen", &["-q", "-p", "-P", "", "-N", passphrase, "-f", key.to_str().unwrap()]);
    }
    fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
    rig.section("ssh", &format!("identity_file = {:?}", key.to_str().unwrap()));
    key
}

#[test]
fn a_key_that_others_may_read_is_named_and_not_the_host() {
    let mut rig = Rig::new();
    rig.host("Web");
    let key = key(&mut rig, 0o644, "");
    rig.backup(&["all"])
        .exits(1)
        .says(&format!("connect failed: the private key `{}` is not used by ssh", key.display()))
        .says(&format!("`chmod 600 {}`", key.display()))
        .does_not_say("authorized_keys");
}

#[test]
fn a_key_with_a_passphrase_is_named_and_not_the_host() {
    let mut rig = Rig::new();
    rig.host("Web");
    let key = key(&mut rig, 0o600, "secret");
    rig.backup(&["all"])
        .exits(1)
        .says(&format!("connect failed: the private key `{}` has a passphrase", key.display()))
        .says(&format!("`ssh-keygen -p -f {}`", key.display()))
        .does_not_say("authorized_keys");
}

#[test]
fn sudo_that_wants_a_terminal_is_told_apart_from_one_that_is_missing() {
    let mut rig = Rig::new();
    rig.sudoer("Defaults requiretty\nbackup ALL=(root) NOPASSWD: ALL\n");
    rig.host_with("Web", "user = \"backup\"\nsudo = true\n");
    rig.backup(&["all"])
        .exits(1)
        .says("you must have a tty to run sudo")
        .says("`Defaults:USER !requiretty`")
        .does_not_say("install sudo");
}

/// Makes the host's rsync a program that says this.
fn rsync_that(rig: &mut Rig, says: &str) {
    let bin = rig.join("bin");
    let rsync = rig
        .write(bin.join("rsync"), format!("#!/bin/sh\necho . >>{}\n{says}\n", rig.join("calls").display()));
    fs::set_permissions(rsync, PermissionsExt::from_mode(0o755)).unwrap();
    let lines = format!("SetEnv PATH={}:/usr/bin:/bin", bin.display());
    rig.sshd().start_again_with(&Setup { lines: &lines, ..Setup::default() });
}

#[test]
fn an_rsync_that_is_too_old_is_told_of_once_and_not_tried_again() {
    let mut rig = Rig::new();
    rig.host("Web");
    // As 2.6.9 says it.
    rsync_that(
        &mut rig,
        "echo 'rsync: -slHogDtpAXrSxe.iLsfxCIvu: unknown option' >&2\n\
         echo 'rsync error: syntax or usage error (code 1) at main.c(1231) [server=2.6.9]' >&2\nexit 1",
    );
    rig.backup(&["all"])
        .exits(1)
        .says("transfer failed: the host's rsync is too old for ours: rsync: -slHogDtpAXrSxe.iLsfxCIvu: unknown option")
        .says("install rsync 3.1.0 or later there")
        .does_not_say("trying again");
    assert_eq!(fs::read_to_string(rig.join("calls")).unwrap(), ".\n");
}

#[test]
fn an_rsync_that_cannot_start_gives_its_own_reason() {
    let mut rig = Rig::new();
    rig.host("Web");
    let said = "rsync: error while loading shared libraries: libacl.so.1: cannot open shared object file";
    rsync_that(&mut rig, &format!("echo a complaint >&2; echo '{said}' >&2\nexit 127"));
    rig.backup(&["all"])
        .exits(1)
        .says("transfer failed: rsync failed (exit 1")
        .says(said)
        .does_not_say("trying again");
}

#[test]
fn a_path_that_is_too_long_for_rsync_is_told_of() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    // Longer in all than a path may be, made by going down step by step.
    let name = "d".repeat(250);
    let mut dir = fs::File::open(&source).unwrap();
    for _ in 0..20 {
        mkdirat(&dir, &name, Mode::RWXU).unwrap();
        dir = openat(&dir, &name, OFlags::DIRECTORY, Mode::empty()).unwrap().into();
    }
    rig.backup(&["all"]).exits(1).says("Web: WARNING: partial copy").says("filename overflows max-path");
}

#[test]
fn no_finding_of_check_has_an_exit_code_for_a_remedy() {
    let mut rig = Rig::new();
    rig.host("Web");
    for command in ["exit 1", "exit 255", "echo No entry; exit 3"] {
        let lines = format!("ForceCommand {command}");
        rig.sshd().start_again_with(&Setup { lines: &lines, ..Setup::default() });
        let said = rig.backup(&["check"]).exits(1).stdout;
        assert!(said.contains("(exit ") && !said.contains("→ exit"), "{command}: {said}");
        assert!(said.contains("`echo yes`"), "{command}: {said}");
    }
}

/// Runs the binary as a user that is nobody.
fn as_nobody(rig: &Rig, arguments: &[&str]) -> Ran {
    let config = rig.join("config.toml");
    let program_path = env!("CARGO_BIN_EXE_backup");
    let mut command = program("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", program_path]).args(arguments);
    command.env("BACKUP_CONFIG", config).env("PATH", "/usr/bin:/bin");
    command.output().unwrap().into()
}

#[test]
fn a_plain_user_is_told_to_become_root_and_a_plugin_says_unknown() {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    rig.backup(&["all"]).exits(0);
    fs::set_permissions(rig.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    mode(&rig.configure(), 0o600);
    as_nobody(&rig, &["status"]).exits(2).says("permission denied (root may read it: run this as root, ");
    let said = as_nobody(&rig, &["status", "--nagios"]).exits(3).stdout;
    assert!(said.starts_with("BACKUP UNKNOWN - cannot read the configuration"), "{said}");
    let text = fs::read_to_string(rig.join("config.toml")).unwrap();
    mode(&rig.join("config.toml"), 0o644);
    let said = as_nobody(&rig, &["status", "--nagios"]).exits(3).stdout;
    assert!(said.contains("identity_file") && said.contains("run this as root"), "{said}");
    let others = text.lines().filter(|line| !line.starts_with("identity_file"));
    fs::write(rig.join("config.toml"), others.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    mode(&rig.join("store/web"), 0o700);
    let said = as_nobody(&rig, &["status", "--nagios"]).exits(3).stdout;
    assert!(said.starts_with("BACKUP UNKNOWN - ") && said.contains("run this as root"), "{said}");
    rig.backup(&["status", "--nagios"]).exits(0);
}
