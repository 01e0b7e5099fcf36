//! The main job, end to end: real sshd, real rsync, a directory store.

use crate::support::rig::*;

#[test]
fn a_host_is_copied_snapshotted_and_reported() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    let ran = rig.backup(&["all"]).exits(0).says("Web: OK: 6 files").says("1 host: 1 good");
    assert_eq!(ran.stdout, "");
    assert_eq!(differences(&source, &rig.newest("web")), "");
    assert_eq!(rig.verdicts("web"), ["good"]);
    assert_eq!(rig.sshd().accepted(), 1, "one connection a host");
}

#[test]
fn a_second_run_shares_what_did_not_change_and_replaces_the_first_of_the_day() {
    use std::os::unix::fs::MetadataExt;
    let mut rig = Rig::new();
    let source = rig.host("web");
    rig.backup(&["web"]).exits(0);
    let inode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().ino();
    let before = inode(rig.newest("web").join("etc/fstab"));
    rig.write(source.join("etc/hostname"), "another name\n");
    rig.backup(&["WEB"]).exits(0).says("removed backup-");
    assert_eq!(rig.snapshots("web").len(), 1);
    assert_eq!(inode(rig.newest("web").join("etc/fstab")), before);
    assert_eq!(differences(&source, &rig.newest("web")), "");
    assert_eq!(
        rig.join("store/web/latest").canonicalize().unwrap(),
        rig.newest("web").canonicalize().unwrap()
    );
}

#[test]
fn a_copy_of_this_machine_leaves_out_the_store() {
    let mut rig = Rig::without_sshd();
    let source = rig.source("self");
    let store = source.join("srv/backup");
    std::fs::create_dir(&store).unwrap();
    rig.section("store.directory", &format!("path = {:?}", store.to_str().unwrap()));
    rig.host("self");
    for _ in 0..2 {
        rig.backup(&["self"]).exits(0);
    }
    let copy = store.join("self/latest");
    assert!(copy.join("etc/hostname").exists());
    assert_eq!(std::fs::read_dir(copy.join("srv/backup")).unwrap().count(), 0);
}

#[test]
fn make_says_which_rust_is_needed_and_how_to_get_it_before_cargo_fails() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::without_sshd();
    let needed = env!("CARGO_PKG_RUST_VERSION");
    let cargo = |version: &str| {
        let text =
            format!("#!/bin/sh\n[ \"$1\" != --version ] || echo 'cargo {version} (fd9c4297c 2022-07-01)'\n");
        let path = rig.write(format!("cargo-{version}"), text);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let missing = "no-such-cargo".to_owned();
    for (cargo, says) in [
        (missing, Some("Rust is not installed: there is no `no-such-cargo` in the PATH.")),
        (cargo("1.63.0"), Some("cargo-1.63.0 is 1.63.0")),
        (cargo("1.9.0"), Some("cargo-1.9.0 is 1.9.0")),
        (cargo(&format!("{needed}.0")), None),
        (cargo("1.100.0-nightly"), None),
    ] {
        let make = ["--directory", env!("CARGO_MANIFEST_DIR"), "build", &format!("CARGO={cargo}")];
        let output = program("make").args(make).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), says.is_none(), "{cargo}: {said}");
        for part in says.into_iter().flat_map(|says| [says, needed, "rustup.rs", "apt install cargo"]) {
            assert!(said.contains(part), "{cargo}: {said}");
        }
    }
}
