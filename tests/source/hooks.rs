//! The hooks that ship for clients, run as a client runs them.
//!
//! Each runs in a mount namespace of its own with an empty `/var/backups`, so
//! that nothing of this machine is changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

/// Runs a script of sh beside `$hook`, the path of a shipped hook. Programs in
/// `stand_ins` go before the system's.
fn beside(hook: &str, script: &str, stand_ins: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in stand_ins {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    #[expect(clippy::disallowed_methods, reason = "tests start programs themselves")]
    std::process::Command::new("unshare")
        .args(["--mount", "sh", "-euc"])
        .arg(format!("mkdir -p /var/backups; mount -t tmpfs none /var/backups; cd /; {script}"))
        .env("hook", format!("{}/hooks/{hook}", env!("CARGO_MANIFEST_DIR")))
        .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.path().display()))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_hook_has_a_name_that_is_run() {
    let mut hooks = Vec::new();
    for entry in fs::read_dir(format!("{}/hooks", env!("CARGO_MANIFEST_DIR"))).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{name}");
        assert_ne!(entry.metadata().unwrap().permissions().mode() & 0o111, 0, "{name} is not executable");
        hooks.push(name);
    }
    assert!(!hooks.is_empty());
}

#[test]
fn the_package_list_names_what_is_installed_and_is_for_root_alone() {
    let stand_in = (
        "dpkg-query",
        r"printf 'installed rsync\t3.2.7-1\nconfig-files gone\t1\ninstalled adduser\t3.134\n'",
    );
    let output = beside("package-list", "$hook; cat /var/backups/*; stat -c %a /var/backups/*", &[stand_in]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "adduser\t3.134\nrsync\t3.2.7-1\n600\n");
}

#[test]
fn a_package_list_that_fails_says_so_and_leaves_the_old_one() {
    let stand_in = ("dpkg-query", "echo 'installed half'; echo 'the database is locked' >&2; exit 2");
    let script = "echo old >/var/backups/package-list; $hook || echo \"exit $?\"; cat /var/backups/*";
    let output = beside("package-list", script, &[stand_in]);
    assert_eq!(text(&output.stdout), "exit 2\nold\n");
    assert!(text(&output.stderr).contains("the database is locked"));
}
