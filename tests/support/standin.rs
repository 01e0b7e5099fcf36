//! A world with the ZFS stand-in in it: `examples/zfs_standin.rs` says how it
//! works.

use backup::edge::store::ZfsStore;
use backup::edge::store::zfs::System;
use backup::sys::process::{Failure, Program};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A machine with a pool `data`, mounted.
pub struct StandIn {
    dir: tempfile::TempDir,
}

impl StandIn {
    pub async fn new() -> Self {
        let standin = StandIn::without_pool();
        standin.zfs(&["create", "data"]).await;
        standin
    }

    /// A machine with ZFS and no pool.
    pub fn without_pool() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // As open as a place for pools is, whatever the umask.
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        for name in ["zfs", "zpool"] {
            symlink(example("zfs_standin"), dir.path().join("bin").join(name)).unwrap();
        }
        StandIn { dir }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Where a dataset is mounted.
    pub fn mountpoint(&self, dataset: &str) -> PathBuf {
        self.root().join("mnt").join(dataset)
    }

    pub fn system(&self) -> System {
        System {
            zfs: self.root().join("bin/zfs"),
            zpool: self.root().join("bin/zpool"),
            mountinfo: self.root().join("mountinfo"),
            kstat: self.root().join("kstat"),
            list_deadline: Duration::from_secs(60),
            change_deadline: Duration::from_secs(60),
        }
    }

    pub fn store(&self) -> ZfsStore {
        ZfsStore::on(self.system(), "data", 0).unwrap()
    }

    /// Does something with `zfs`, which must succeed.
    pub async fn zfs(&self, args: &[&str]) {
        self.try_zfs(args).await.unwrap();
    }

    pub async fn try_zfs(&self, args: &[&str]) -> Result<(), Failure> {
        Program::new(self.root().join("bin/zfs")).args(args).run().await.map(|_| ())
    }

    /// The pool's health from now on.
    pub fn health(&self, health: &str) {
        self.write("health", health);
    }

    /// What the pool says that it has used, and has left, in bytes.
    pub fn space(&self, used: u64, available: u64) {
        self.write("space", &format!("{used} {available}"));
    }

    /// Spoils the next calls; see `Fault` in the stand-in.
    pub fn faults(&self, faults: serde_json::Value) {
        self.write("faults.json", &faults.to_string());
    }

    pub fn write(&self, file: &str, text: &str) {
        let file = self.root().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.root().join("calls")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    pub fn forget_calls(&self) {
        self.write("calls", "");
    }
}

/// The program of an example. `cargo test` builds examples, and
/// `cargo test --test …` does not.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.rs"));
    let built = program.metadata().and_then(|meta| meta.modified());
    let written = source.metadata().and_then(|meta| meta.modified());
    assert!(
        built.is_ok_and(|built| written.is_ok_and(|written| built >= written)),
        "{} is missing or old: run `cargo build --example {name}`",
        program.display()
    );
    program
}
