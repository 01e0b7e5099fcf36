//! Real ZFS: datasets of the pool that the tests may use, and pools of their
//! own made of files. `scripts/vm` runs the tests that need them.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs `zfs`, which must succeed, and gives what it says.
#[track_caller]
pub fn zfs(arguments: &[&str]) -> String {
    super::rig::must("zfs", arguments)
}

/// Runs `zfs`, which may fail.
pub fn try_zfs(arguments: &[&str]) -> Output {
    super::rig::program("zfs").args(arguments).output().unwrap()
}

/// Fails the test unless this machine is there for nothing but these tests.
#[track_caller]
pub fn must_be_disposable() {
    assert!(
        std::env::var_os("BACKUP_TEST_DISPOSABLE").is_some(),
        "this test sets the machine's clock or cuts its power off: `make vm` has a machine for it"
    );
}

fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A dataset that goes when it is dropped, with all that is below it.
pub struct Dataset {
    /// Its name, as `zfs list` has it.
    pub name: String,
    /// Whether it outlives the test.
    lasting: bool,
}

impl Dataset {
    /// One in the pool that `BACKUP_TEST_POOL` names, mounted.
    #[track_caller]
    pub fn new() -> Self {
        let pool = std::env::var("BACKUP_TEST_POOL")
            .expect("BACKUP_TEST_POOL names no pool: `make vm` has one, in a virtual machine");
        let dataset = Dataset { name: format!("{pool}/{}", name()), lasting: false };
        zfs(&["create", &dataset.name]);
        dataset
    }

    /// One that stays, made if it is not there.
    #[track_caller]
    pub fn lasting(name: &str) -> Self {
        if !try_zfs(&["list", name]).status.success() {
            zfs(&["create", name]);
        }
        Dataset { name: name.to_owned(), lasting: true }
    }

    /// The name of one below it.
    pub fn child(&self, child: &str) -> String {
        format!("{}/{child}", self.name)
    }

    /// Where it is mounted.
    pub fn mountpoint(&self) -> PathBuf {
        mountpoint(&self.name)
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        // What the tests have written is scrubbed at the end, in the machine
        // that goes with it.
        if self.lasting || std::env::var_os("BACKUP_TEST_DISPOSABLE").is_some() {
            return;
        }
        release(&self.name);
        // A panic here would hide why the test failed.
        let _ = try_zfs(&["destroy", "-R", "-f", &self.name]);
    }
}

/// Lets every snapshot below go that somebody holds.
fn release(dataset: &str) {
    let listed = try_zfs(&["list", "-Hp", "-r", "-t", "snapshot", "-o", "name,userrefs", dataset]).stdout;
    for line in String::from_utf8_lossy(&listed).lines() {
        let Some((snapshot, "1" | "2" | "3")) = line.split_once('\t') else { continue };
        let holds = try_zfs(&["holds", "-H", snapshot]).stdout;
        for hold in String::from_utf8_lossy(&holds).lines() {
            let tag = hold.split('\t').nth(1).unwrap_or_default();
            try_zfs(&["release", tag, snapshot]);
        }
    }
}

/// Where a dataset is mounted, as ZFS has it.
#[track_caller]
pub fn mountpoint(dataset: &str) -> PathBuf {
    property(dataset, "mountpoint").into()
}

/// A value of a dataset or a snapshot.
#[track_caller]
pub fn property(dataset: &str, property: &str) -> String {
    zfs(&["get", "-Hp", "-o", "value", property, dataset]).trim().to_owned()
}

/// The names of a dataset's snapshots, without the dataset, in the order of
/// their making; none if there is no such dataset.
pub fn snapshots(dataset: &str) -> Vec<String> {
    let args = ["list", "-Hp", "-d", "1", "-t", "snapshot", "-s", "createtxg", "-o", "name", dataset];
    let listed = try_zfs(&args).stdout;
    let listed = String::from_utf8(listed).unwrap();
    listed.lines().filter_map(|line| Some(line.split_once('@')?.1.to_owned())).collect()
}

/// The facts of a snapshot, as the directory store writes them.
#[track_caller]
pub fn facts(snapshot: &str) -> serde_json::Value {
    let listed = zfs(&["get", "-Hp", "-s", "local", "-o", "property,value", "all", snapshot]);
    let fact = |line: &str| {
        let (property, value) = line.strip_prefix("backup:")?.split_once('\t')?;
        let value = value.parse::<u64>().map_or_else(|_| value.into(), serde_json::Value::from);
        Some((property.to_owned(), value))
    };
    serde_json::Value::Object(listed.lines().filter_map(fact).collect())
}

/// A pool of files in a small filesystem of its own, which goes when it is
/// dropped.
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The filesystem with its files.
    disks: tempfile::TempDir,
}

impl Pool {
    /// One of `disks` mirrored files of `size` megabytes each, in a filesystem
    /// that is full when `room` megabytes of them have been written.
    #[track_caller]
    pub fn new(disks: usize, size: u64, room: u64) -> Self {
        Pool::made_by(disks, size, room, |pool, files| {
            let mount = format!("/{}", pool.name);
            let mut arguments = vec!["create", "-O", "compression=off", "-m", &mount, &pool.name];
            arguments.extend((disks > 1).then_some("mirror"));
            arguments.extend(files.iter().map(String::as_str));
            super::rig::must("zpool", &arguments);
        })
    }

    /// One that is made of such files by `make`.
    pub fn made_by(disks: usize, size: u64, room: u64, make: impl FnOnce(&Pool, &[String])) -> Self {
        let dir = tempfile::Builder::new().prefix("disks").tempdir().unwrap();
        let pool = Pool { name: name(), disks: dir };
        let at = pool.disks.path().to_str().unwrap();
        super::rig::must("mount", &["-t", "tmpfs", "-o", &format!("size={room}m"), "disks", at]);
        let files: Vec<String> = (0..disks).map(|disk| pool.disk(disk)).collect();
        for file in &files {
            std::fs::File::create(file).unwrap().set_len(size << 20).unwrap();
        }
        make(&pool, &files);
        pool
    }

    /// The path of one of its files.
    pub fn disk(&self, number: usize) -> String {
        self.disks.path().join(format!("disk{number}")).to_str().unwrap().to_owned()
    }

    /// Where it is mounted.
    pub fn mountpoint(&self) -> PathBuf {
        Path::new("/").join(&self.name)
    }

    /// Fails the test if a scrub finds anything.
    #[track_caller]
    pub fn scrub(&self) {
        super::rig::must("zpool", &["scrub", "-w", &self.name]);
        let status = super::rig::must("zpool", &["status", &self.name]);
        assert!(status.contains("scrub repaired 0B") && status.contains("with 0 errors"), "{status}");
        assert!(status.contains("errors: No known data errors"), "{status}");
    }

    /// Waits until ZFS has given up writing to it: some time after its files have no
    /// room any more.
    #[track_caller]
    pub fn wait_until_suspended(&self) {
        let state = Path::new("/proc/spl/kstat/zfs").join(&self.name).join("state");
        super::rig::until("the pool is suspended", || {
            std::fs::read_to_string(&state).unwrap().trim() == "SUSPENDED"
        });
    }

    /// Leaves no room in the filesystem below its files.
    #[track_caller]
    pub fn fill(&self) {
        let mut filler = std::fs::File::create(self.disks.path().join("filler")).unwrap();
        while std::io::Write::write_all(&mut filler, &[0; 1 << 16]).is_ok() {}
    }

    /// Gives the filesystem below its files as much room as they may want.
    pub fn grow(&self) {
        let at = self.disks.path().to_str().unwrap();
        super::rig::must("mount", &["-o", "remount,size=1g", at]);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let quietly = |name: &str, arguments: &[&str]| {
            let _ = super::rig::program(name).args(arguments).output();
        };
        let _ = super::rig::program("mount").args(["-o", "remount,size=1g"]).arg(self.disks.path()).output();
        quietly("zpool", &["clear", &self.name]);
        quietly("zpool", &["destroy", "-f", &self.name]);
        quietly("umount", &["-l", self.disks.path().to_str().unwrap_or_default()]);
        let _ = std::fs::remove_dir(self.mountpoint());
    }
}
