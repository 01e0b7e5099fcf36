//! Trees of files for tests: with everything in them that a file system can
//! hold, remembered, compared, and put into a store as former snapshots.

use super::pool;
use super::rig::{Rig, must, program};
use rustix::fs::{AtFlags, CWD, FileType, Mode, XattrFlags};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes everything that a copy has to keep, below `root`.
pub fn one_of_each(root: &Path) {
    links(&root.join("links"));
    sparse(&root.join("sparse"));
    acls(&root.join("acls"));
    attributes(&root.join("attributes"));
    specials(&root.join("specials"));
    modes(&root.join("modes"));
    symlinks(&root.join("symlinks"));
    names(&root.join("names"));
    times(&root.join("times"));
    owners(&root.join("owners"));
    fs::create_dir_all(root.join("empty/in empty")).unwrap();
    // The root of a tree has attributes as well.
    chown(root, Some(4242), Some(4343)).unwrap();
    set_mode(root, 0o2751);
    xattr(root, "user.root", b"of the tree");
    set_times(root, 86_400, 0);
}

fn links(dir: &Path) {
    fs::create_dir_all(dir.join("deep/er")).unwrap();
    fs::write(dir.join("a"), "one file\n").unwrap();
    for name in ["b", "deep/er/c", "deep/d"] {
        fs::hard_link(dir.join("a"), dir.join(name)).unwrap();
    }
    symlink("a", dir.join("symlink")).unwrap();
    fs::hard_link(dir.join("symlink"), dir.join("deep/symlink")).unwrap();
    node(&dir.join("fifo"), FileType::Fifo, 0o640, 0, 0);
    fs::hard_link(dir.join("fifo"), dir.join("deep/fifo")).unwrap();
    // Alike in all, and not one file.
    for name in ["twin-1", "twin-2"] {
        fs::write(dir.join(name), "alike\n").unwrap();
        set_times(&dir.join(name), 1_000_000_000, 0);
    }
}

fn sparse(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for (name, at) in [("begins with a hole", 4 << 20), ("ends with a hole", 0), ("has one inside", 1 << 20)]
    {
        let mut file = File::create(dir.join(name)).unwrap();
        if name == "has one inside" {
            file.write_all(b"begin").unwrap();
        }
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(b"data").unwrap();
        if name == "ends with a hole" {
            file.set_len(8 << 20).unwrap();
        }
    }
    File::create(dir.join("is one")).unwrap().set_len(16 << 20).unwrap();
    fs::write(dir.join("is zeros"), vec![0; 100_000]).unwrap();
}

fn acls(dir: &Path) {
    fs::create_dir_all(dir.join("default/below")).unwrap();
    fs::write(dir.join("file"), "").unwrap();
    for name in ["file", "default"] {
        xattr(&dir.join(name), "system.posix_acl_access", &some_acl());
    }
    xattr(&dir.join("default"), "system.posix_acl_default", &some_acl());
}

/// An access control list with a user and a group, as the kernel takes it:
/// tag, permissions and id of each entry.
pub fn some_acl() -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    let nobody = u32::MAX;
    let entries: [(u16, u16, u32); 6] = [
        (0x01, 6, nobody),
        (0x02, 4, 4242),
        (0x04, 4, nobody),
        (0x08, 2, 4343),
        (0x10, 6, nobody),
        (0x20, 0, nobody),
    ];
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// The file capability cap_net_raw, permitted and effective: version 2 of
/// linux/capability.h.
pub const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn attributes(dir: &Path) {
    fs::create_dir_all(dir.join("directory")).unwrap();
    for name in ["file", "program"] {
        fs::write(dir.join(name), name).unwrap();
    }
    symlink("file", dir.join("symlink")).unwrap();
    node(&dir.join("fifo"), FileType::Fifo, 0o600, 0, 0);
    xattr(&dir.join("file"), "user.text", b"a note");
    xattr(&dir.join("file"), "user.empty", b"");
    xattr(&dir.join("file"), "user.binary", b"\0\xff\n=\"");
    xattr(&dir.join("file"), "user.odd name\n", b"x");
    xattr(&dir.join("file"), "user.long", &[b'x'; 2000]);
    xattr(&dir.join("file"), "user.with/a slash", b"x");
    // What another rsync keeps there with `--fake-super`.
    xattr(&dir.join("file"), "user.rsync.%stat", b"100644 0,0 4242:4343");
    xattr(&dir.join("directory"), "user.rsync.%aacl", b"x");
    for name in ["file", "directory", "symlink", "fifo"] {
        xattr(&dir.join(name), "trusted.backup", name.as_bytes());
    }
    chown(dir.join("program"), Some(4242), Some(4242)).unwrap();
    set_mode(&dir.join("program"), 0o755);
    xattr(&dir.join("program"), "security.capability", &CAPABILITY);
}

fn specials(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    node(&dir.join("null"), FileType::CharacterDevice, 0o666, 1, 3);
    node(&dir.join("high"), FileType::CharacterDevice, 0o600, 511, 1_000_000);
    node(&dir.join("disk"), FileType::BlockDevice, 0o660, 7, 200);
    node(&dir.join("fifo"), FileType::Fifo, 0o644, 0, 0);
    node(&dir.join("socket"), FileType::Socket, 0o755, 0, 0);
    lchown(dir.join("disk"), Some(4242), Some(6)).unwrap();
}

fn node(path: &Path, kind: FileType, mode: u32, major: u32, minor: u32) {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(mode), device).unwrap();
    set_mode(path, mode);
}

fn modes(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for (name, mode) in [
        ("setuid", 0o4755),
        ("setgid", 0o2755),
        ("both", 0o6711),
        ("sticky", 0o1644),
        ("nothing", 0),
        ("all", 0o7777),
    ] {
        fs::write(dir.join(name), name).unwrap();
        chown(dir.join(name), Some(4242), Some(4343)).unwrap();
        set_mode(&dir.join(name), mode);
    }
    for (name, mode) in [("d-setgid", 0o2755), ("d-sticky", 0o1777), ("d-nothing", 0), ("d-all", 0o7777)] {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("inside"), name).unwrap();
        set_mode(&dir.join(name), mode);
    }
}

fn symlinks(dir: &Path) {
    fs::create_dir_all(dir.join("directory")).unwrap();
    let long = "x/".repeat(2000);
    for (name, target) in [
        ("loop-1", "loop-2"),
        ("loop-2", "loop-1"),
        ("self", "self"),
        ("up", ".."),
        ("dangling", "no/such/file"),
        ("absolute", "/etc/hostname"),
        ("absolute dangling", "/no/such/file"),
        ("to a directory", "directory"),
        ("with a slash", "directory/"),
        ("out", "../../../../../../etc"),
        ("odd", "-e sh\n$(touch PWNED) \u{1b}[2J"),
        ("long", &long),
    ] {
        symlink(target, dir.join(name)).unwrap();
    }
    lchown(dir.join("dangling"), Some(4242), Some(4343)).unwrap();
    set_times(&dir.join("dangling"), 1_000_000_000, 5);
}

/// Names that a host may have, and those that somebody may give to a file in
/// the hope that a program takes them for something else.
pub fn names(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for byte in (1..=u8::MAX).filter(|byte| *byte != b'/') {
        let name = [b"byte " as &[u8], byte.to_string().as_bytes(), b" ", &[byte]].concat();
        fs::write(dir.join(OsStr::from_bytes(&name)), [byte]).unwrap();
        if byte != b'.' {
            let alone = dir.join(OsStr::from_bytes(&[byte]));
            fs::create_dir(&alone).unwrap();
            fs::write(alone.join(OsStr::from_bytes(&[byte, byte, byte])), "").unwrap();
        }
    }
    for name in HOSTILE_NAMES {
        fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let long = dir.join(OsStr::from_bytes(&[b'd'; 255]));
    fs::create_dir(&long).unwrap();
    for byte in [b'f', b'.', b' ', b'\n', 0xff, b'*'] {
        fs::write(long.join(OsStr::from_bytes(&[byte; 255])), [byte]).unwrap();
    }
}

/// Names that somebody may give to a file in the hope that a program takes
/// them for something else.
pub const HOSTILE_NAMES: [&[u8]; 20] = [
    b"-e sh",
    b"--delete",
    b"--rsync-path=touch PWNED",
    b"$(touch PWNED)",
    b"`touch PWNED`",
    b"; touch PWNED;",
    b"a\nb",
    b"\nrsync: [receiver] write failed: No space left on device (28)",
    b"it's",
    b"\"quoted\"",
    b"\\#012\\",
    b" leading",
    b"trailing ",
    b"tab\tname",
    b"\x1b[2Jcleared",
    b"not \xff\xfe UTF-8",
    b"*?[a-z]{b,c}",
    b"! clear",
    b"...",
    b"~root",
];

fn times(dir: &Path) {
    fs::create_dir_all(dir.join("old directory")).unwrap();
    for (name, seconds, nanoseconds) in [
        ("1902", -2_145_916_800, 0),
        ("before 1970", -1, 1),
        ("1970", 0, 0),
        ("with nanoseconds", 1_600_000_000, 123_456_789),
        ("after 2038", 3_000_000_000, 999_999_999),
        ("2440", 14_831_769_600, 0),
    ] {
        fs::write(dir.join(name), "").unwrap();
        set_times(&dir.join(name), seconds, nanoseconds);
    }
    set_times(&dir.join("old directory"), 1, 2);
}

fn owners(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for (user, group) in [(4242, 0), (0, 4343), (65_533, 65_533), (4_294_967_294, 4_294_967_294)] {
        let file = dir.join(format!("{user}.{group}"));
        fs::write(&file, "").unwrap();
        chown(&file, Some(user), Some(group)).unwrap();
    }
}

/// Sets a file's mode, whatever the umask.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Sets one extended attribute, of a symlink itself.
pub fn xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|error| panic!("{}: {name}: {error}", path.display()));
}

/// Sets a file's times, of a symlink itself.
pub fn set_times(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Everything about a tree, a line a file: contents, mode, owner, times, hard
/// links, device, extended attributes with the access control lists.
pub fn listing(tree: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut first = HashMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(name) = waiting.pop() {
        let path = tree.join(&name);
        if path.symlink_metadata().unwrap().is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| name.join(entry.unwrap().file_name())));
        }
        found.insert(name, String::new());
    }
    for (name, line) in &mut found {
        let path = tree.join(name);
        let meta = path.symlink_metadata().unwrap();
        let linked = first.entry(meta.ino()).or_insert_with(|| name.clone());
        let mut content = DefaultHasher::new();
        if meta.is_file() {
            fs::read(&path).unwrap().hash(&mut content);
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().hash(&mut content);
        }
        *line = format!(
            "mode {:o}, owner {}.{}, time {}.{}, device {}, link to {linked:?}, contents {:x}, attributes {:?}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.rdev(),
            content.finish(),
            xattrs(&path)
        );
    }
    found
}

fn xattrs(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 64 * 1024];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut value = vec![0; 64 * 1024];
    names
        .map(|name| {
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (OsStr::from_bytes(name).to_owned(), value[..length].to_vec())
        })
        .collect()
}

/// Fails the test unless both listings are the same, and shows where not.
#[track_caller]
pub fn assert_same(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) {
    let differs = |name: &&PathBuf| before.get(*name) != after.get(*name);
    let names: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    let different: Vec<_> =
        names.into_iter().filter(differs).map(|name| (name, before.get(name), after.get(name))).collect();
    assert!(different.is_empty(), "{different:#?}");
}

/// How many bytes all files of a tree take on the disk.
pub fn space(tree: &Path) -> u64 {
    let metadata = tree.symlink_metadata().unwrap();
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    own + fs::read_dir(tree).unwrap().map(|entry| space(&entry.unwrap().path())).sum::<u64>()
}

/// A tree's copy outside of the store, made without the product: what the
/// tree was like at that time.
pub fn remember(rig: &Rig, tree: &Path, name: &str) -> PathBuf {
    let copy = rig.join(name);
    must("cp", &["--archive", "--sparse=always", tree.to_str().unwrap(), copy.to_str().unwrap()]);
    copy
}

/// The name of a snapshot that was taken at a time that date(1) understands.
pub fn name_at(time: &str) -> String {
    must("date", &["--utc", "--date", time, "+backup-%Y-%m-%dT%H%M%SZ"]).trim().to_owned()
}

/// Whether a run changes the former copy itself, as on ZFS. In the directory
/// store it fills a fresh tree, beside the former one.
pub fn in_place(rig: &Rig) -> bool {
    rig.dataset.is_some()
}

/// Where a run of the host puts its files until the snapshot.
pub fn being_written(rig: &Rig, host: &str) -> PathBuf {
    match &rig.dataset {
        Some(dataset) => dataset.mountpoint().join(host),
        None => rig.join("store").join(host).join(".incomplete"),
    }
}

/// Gives the newest snapshot of a host another time, say `yesterday`, and its
/// new name.
pub fn date_back(rig: &Rig, host: &str, time: &str) -> String {
    let old = rig.snapshots(host).pop().expect("the host has no snapshot");
    let new = name_at(time);
    rename(rig, host, &old, &new);
    new
}

/// Gives a host's snapshot another name.
pub fn rename(rig: &Rig, host: &str, old: &str, new: &str) {
    if let Some(dataset) = &rig.dataset {
        let [old, new] = [old, new].map(|name| format!("{}@{name}", dataset.child(host)));
        pool::zfs(&["rename", &old, &new]);
        return;
    }
    for end in ["", ".json"] {
        let [from, to] = [old, new].map(|name| rig.snapshot(host, &format!("{name}{end}")));
        fs::rename(from, to).unwrap();
    }
    let latest = rig.join("store").join(host).join("latest");
    if fs::read_link(&latest).is_ok_and(|target| target.ends_with(old)) {
        fs::remove_file(&latest).unwrap();
        symlink(Path::new("snapshots").join(new), latest).unwrap();
    }
}

/// Puts a made-up snapshot into the store: of one file, or on ZFS of what the
/// host's dataset holds.
pub fn made_up(rig: &Rig, host: &str, name: &str, verdict: &str) {
    if let Some(dataset) = &rig.dataset {
        let (verdict, name) =
            (format!("backup:verdict={verdict}"), format!("{}@{name}", dataset.child(host)));
        pool::zfs(&["snapshot", "-o", "backup:run=made-up", "-o", &verdict, &name]);
        return;
    }
    let facts = format!("{{\"run\":\"made-up\",\"verdict\":\"{verdict}\",\"duration\":1}}\n");
    rig.write(rig.snapshot(host, name).join("file"), name);
    rig.write(rig.snapshot(host, &format!("{name}.json")), facts);
}

/// Destroys a host's snapshot.
pub fn destroy(rig: &Rig, host: &str, name: &str) {
    if let Some(dataset) = &rig.dataset {
        pool::zfs(&["destroy", &format!("{}@{name}", dataset.child(host))]);
        return;
    }
    fs::remove_dir_all(rig.snapshot(host, name)).unwrap();
    fs::remove_file(rig.snapshot(host, &format!("{name}.json"))).unwrap();
}

/// The [`listing`]s of all of a host's snapshots, each below the snapshot's
/// name, where its facts are as well.
pub fn listings(rig: &Rig, host: &str) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for name in rig.snapshots(host) {
        let files = listing(&rig.snapshot(host, &name));
        all.extend(files.into_iter().map(|(file, line)| (Path::new(&name).join("files").join(file), line)));
        all.insert(Path::new(&name).join("facts"), rig.facts(host, &name).to_string());
    }
    all
}

/// Where a host's `latest` points to, which only the directory store has.
pub fn latest(rig: &Rig, host: &str) -> String {
    let target = fs::read_link(rig.join("store").join(host).join("latest")).expect("there is no `latest`");
    assert!(target.starts_with("snapshots") && target.components().count() == 2, "{}", target.display());
    target.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Fails the test if runs that have ended left something in the runtime
/// directory besides locks.
#[track_caller]
pub fn assert_nothing_left(rig: &Rig) {
    let Ok(entries) = fs::read_dir(rig.join("run")) else { return };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
    assert!(left.is_empty(), "left in the runtime directory: {left:?}");
    // An ssh that was told to end may take a moment.
    rig.wait_until("nothing is left behind", || rig.left_behind().is_empty());
}

/// The same command, run through another program such as `faketime`.
pub fn through(wrapper: &[&str], command: &Command) -> Command {
    use std::os::unix::process::CommandExt;
    let mut wrapped = program(wrapper[0]);
    wrapped.args(&wrapper[1..]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(key, value),
            None => wrapped.env_remove(key),
        };
    }
    wrapped
        .process_group(0)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    wrapped
}

/// A filesystem mounted by a test; unmounted when dropped.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// A file system in memory; `options` as of tmpfs(5).
    pub fn tmpfs(at: &Path, options: &str) -> Self {
        Mount::of("tmpfs", at, options)
    }

    /// A file system that needs no disk.
    pub fn of(kind: &str, at: &Path, options: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        must("mount", &["-t", kind, "-o", options, "rig", at.to_str().unwrap()]);
        Mount(at.to_owned())
    }

    /// A filesystem of a disk: a file at `image`, of so many megabytes, that `make`
    /// (a program of the kind of mke2fs and its options) puts it into.
    pub fn disk(image: &Path, megabytes: u64, make: &[&str], at: &Path) -> Self {
        File::create(image).unwrap().set_len(megabytes << 20).unwrap();
        must(make[0], &[&make[1..], &[image.to_str().unwrap()]].concat());
        fs::create_dir_all(at).unwrap();
        must("mount", &["-o", "loop", image.to_str().unwrap(), at.to_str().unwrap()]);
        Mount(at.to_owned())
    }

    /// A directory, shown in a second place.
    pub fn bind(from: &Path, at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        must("mount", &["--bind", from.to_str().unwrap(), at.to_str().unwrap()]);
        Mount(at.to_owned())
    }

    /// A file with a file system in it. None where this machine has no loop
    /// devices, as in some containers.
    pub fn image(image: &Path, at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = format!("loop,{options}");
        let mounted =
            program("mount").args(["-o", &options]).args([image, at]).output().expect("mount is missing");
        if !mounted.status.success() {
            println!("not tried: {}", String::from_utf8_lossy(&mounted.stderr));
            return None;
        }
        Some(Mount(at.to_owned()))
    }

    /// Mounts it anew with other options.
    pub fn remount(&self, options: &str) {
        must("mount", &["-o", &format!("remount,{options}"), self.0.to_str().unwrap()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = program("umount").arg("--lazy").arg(&self.0).status();
        if !std::thread::panicking() {
            assert!(unmounted.unwrap().success(), "{} stays mounted", self.0.display());
        }
    }
}
