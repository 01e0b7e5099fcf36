//! A stand-in for `zfs(8)` and `zpool(8)`, for tests on machines without ZFS.
//!
//! It answers, in ZFS's own formats and words, what the store asks, on top of
//! a folder, and refuses everything else. Called as `ROOT/bin/zfs` or
//! `ROOT/bin/zpool` (symlinks to this program), it keeps under `ROOT`:
//!
//! | file | what it is |
//! |---|---|
//! | `state.json` | the datasets and snapshots |
//! | `mnt/` | the mount points; a dataset's files are in its folder |
//! | `mountinfo` | the kernel's list of mounts, with the folders' real device |
//! | `health` | the pool's health, if not `ONLINE` |
//! | `capacity` | how full the pool is, in percent, if not 12 |
//! | `status` | what `zpool status` says, if the pool was never scrubbed |
//! | `space` | bytes used and bytes available, in two words |
//! | `faults.json` | a list of [`Fault`]s to happen |
//! | `calls` | every call, one a line |
//!
//! A snapshot is a copy below `.zfs/snapshot/`, where ZFS shows it too. There
//! the folder is a plain one, and rsync with `--delete` would see it.

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Default, Serialize, Deserialize)]
struct State {
    datasets: BTreeMap<String, Dataset>,
}

#[derive(Default, Serialize, Deserialize)]
struct Dataset {
    mounted: bool,
    properties: BTreeMap<String, String>,
    snapshots: Vec<Snapshot>,
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    name: String,
    creation: i64,
    properties: BTreeMap<String, String>,
    holds: BTreeSet<String>,
    clones: BTreeSet<String>,
}

/// Something that goes wrong with the next call whose command line has all the
/// words of `call` in it.
#[derive(Serialize, Deserialize)]
struct Fault {
    call: Vec<String>,
    /// How many calls it still spoils.
    times: u32,
    /// The call does its work first.
    #[serde(default)]
    late: bool,
    /// It never ends.
    #[serde(default)]
    hang: bool,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
    #[serde(default)]
    exit: u8,
}

/// What the call says on stderr, and its exit status.
struct Refusal(u8, String);

type Answer<T = String> = Result<T, Refusal>;

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal(70, format!("zfs_standin: {error}"))
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Refusal(70, format!("zfs_standin: {error}"))
    }
}

fn refuse<T>(what: impl Into<String>) -> Answer<T> {
    Err(Refusal(1, what.into()))
}

fn usage<T>(call: &[&str]) -> Answer<T> {
    Err(Refusal(2, format!("the stand-in does not know `{}`", call.join(" "))))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    match answer(&args) {
        Ok(out) => {
            let written = io::stdout().write_all(out.as_bytes());
            ExitCode::from(u8::from(written.is_err()))
        }
        Err(Refusal(code, what)) => {
            eprintln!("{}", what.trim_end());
            ExitCode::from(code)
        }
    }
}

fn answer(args: &[String]) -> Answer {
    let program = Path::new(&args[0]);
    let (Some(name), Some(root)) = (program.file_name(), program.parent().and_then(Path::parent)) else {
        return usage(&["(call it as ROOT/bin/zfs)"]);
    };
    let mut call = vec![name.to_str().unwrap_or_default()];
    call.extend(args[1..].iter().map(String::as_str));
    let lock = File::create(root.join("lock"))?;
    let locked = || rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from);
    locked()?;
    let mut log = File::options().create(true).append(true).open(root.join("calls"))?;
    writeln!(log, "{}", call.join(" "))?;
    let mut world = World::open(root)?;
    match world.fault(&call)? {
        None => world.serve(&call),
        Some(fault) => {
            if fault.late {
                world.serve(&call)?;
            }
            drop(lock);
            if fault.hang {
                loop {
                    std::thread::park();
                }
            }
            print!("{}", fault.stdout);
            if fault.exit == 0 { Ok(String::new()) } else { Err(Refusal(fault.exit, fault.stderr)) }
        }
    }
}

struct World {
    root: PathBuf,
    state: State,
}

impl World {
    fn open(root: &Path) -> Answer<Self> {
        let state = match fs::read(root.join("state.json")) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(_) => State::default(),
        };
        Ok(World { root: root.to_owned(), state })
    }

    fn fault(&self, call: &[&str]) -> Answer<Option<Fault>> {
        let file = self.root.join("faults.json");
        let Ok(text) = fs::read(&file) else { return Ok(None) };
        let mut faults: Vec<Fault> = serde_json::from_slice(&text)?;
        let line = call.join(" ");
        let hit = faults
            .iter()
            .position(|fault| fault.times > 0 && fault.call.iter().all(|word| line.contains(word.as_str())));
        let Some(hit) = hit else { return Ok(None) };
        faults[hit].times -= 1;
        fs::write(file, serde_json::to_vec(&faults)?)?;
        Ok(Some(faults.swap_remove(hit)))
    }

    fn serve(&mut self, call: &[&str]) -> Answer {
        match call {
            ["zpool", "list", "-Hp", "-o", columns, pool] => self.pool(columns, pool),
            ["zpool", "status", pool] => self.status(pool),
            [
                "zfs",
                "get",
                "-Hp",
                "-t",
                "filesystem",
                "-d",
                "1",
                "-o",
                "name,property,value,source",
                properties,
                dataset,
            ] => self.properties(properties, dataset),
            ["zfs", "list", "-Hp", "-t", "filesystem", "-d", "1", "-o", columns, dataset] => {
                self.list(columns, dataset)
            }
            ["zfs", "list", "-Hp", "-t", "snapshot", "-d", "1", "-o", "name,used", dataset] => {
                self.space(dataset)
            }
            [
                "zfs",
                "get",
                "-Hp",
                "-t",
                "snapshot",
                "-d",
                depth @ ("1" | "2"),
                "-o",
                "name,property,value,source",
                properties,
                dataset,
            ] => self.get(properties, if *depth == "1" { 0 } else { 1 }, dataset),
            ["zfs", "list", "-Hp", "-d", "1", "-t", "snapshot", "-o", "name,userrefs", dataset] => {
                self.references(dataset)
            }
            ["zfs", "holds", "-H", targets @ ..] if !targets.is_empty() => self.holds(targets),
            _ => {
                self.change(call)?;
                self.save()?;
                Ok(String::new())
            }
        }
    }

    fn change(&mut self, call: &[&str]) -> Answer<()> {
        match call {
            ["zfs", "create", options @ .., dataset] => self.create(&options_of(call, options)?, dataset),
            ["zfs", "snapshot", options @ .., target] => self.snapshot(&options_of(call, options)?, target),
            ["zfs", "mount", dataset] => self.mount(dataset),
            ["zfs", "unmount", dataset] => self.unmount(dataset),
            ["zfs", "rename", from, to] => self.rename(from, to),
            ["zfs", "destroy", target] => self.destroy(target),
            ["zfs", "set", setting, target] => self.set(setting, target),
            ["zfs", "hold", tag, target] => self.hold(tag, target),
            ["zfs", "release", "--", tag, target] | ["zfs", "release", tag, target] => {
                self.release(tag, target)
            }
            ["zfs", "clone", target, clone] => {
                self.one(target)?.clones.insert((*clone).to_owned());
                Ok(())
            }
            _ => usage(call),
        }
    }

    /// Of a dataset with nothing below it.
    fn rename(&mut self, from: &str, to: &str) -> Answer<()> {
        if self.state.datasets.contains_key(to) {
            return refuse(format!("cannot rename '{from}': dataset already exists"));
        }
        let was_mounted = self.dataset(from)?.mounted;
        if was_mounted {
            self.unmount(from)?;
            fs::remove_dir(self.mountpoint(from))?;
        }
        let (old, new) = (self.files_of(from), self.files_of(to));
        if old.exists() {
            fs::rename(old, new)?;
        }
        let Some(dataset) = self.state.datasets.remove(from) else { return Ok(()) };
        self.state.datasets.insert(to.to_owned(), dataset);
        if was_mounted { self.mount(to) } else { Ok(()) }
    }

    fn set(&mut self, setting: &str, target: &str) -> Answer<()> {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        if target.contains('@') {
            self.one(target)?.properties.insert(key.to_owned(), value.to_owned());
            return Ok(());
        }
        let moves = key == "mountpoint" && self.dataset(target)?.mounted;
        if moves {
            self.unmount(target)?;
        }
        self.dataset(target)?.properties.insert(key.to_owned(), value.to_owned());
        if moves && value.starts_with('/') { self.mount(target) } else { Ok(()) }
    }

    fn pool(&self, columns: &str, pool: &str) -> Answer {
        if !self.state.datasets.contains_key(pool) {
            return refuse(format!("cannot open '{pool}': no such pool"));
        }
        let health = fs::read_to_string(self.root.join("health")).unwrap_or_else(|_| "ONLINE".to_owned());
        let capacity = fs::read_to_string(self.root.join("capacity")).unwrap_or_else(|_| "12".to_owned());
        let fields = columns.split(',').map(|column| match column {
            "health" => Ok(health.trim().to_owned()),
            "capacity" => Ok(capacity.trim().to_owned()),
            _ => usage(&["zpool list -o", column]),
        });
        Ok(format!("{}\n", fields.collect::<Answer<Vec<String>>>()?.join("\t")))
    }

    fn status(&self, pool: &str) -> Answer {
        self.pool("health", pool)?;
        Ok(fs::read_to_string(self.root.join("status")).unwrap_or_else(|_| {
            format!(
                "  pool: {pool}\n state: ONLINE\nconfig:\n\n\tNAME  STATE  READ WRITE CKSUM\n\t{pool}  ONLINE  0 0 0\n\n\
                 errors: No known data errors\n"
            )
        }))
    }

    /// `zfs get` of datasets, with the defaults of ZFS.
    fn properties(&self, properties: &str, dataset: &str) -> Answer {
        self.open_dataset(dataset)?;
        let mut out = String::new();
        for (name, held) in &self.state.datasets {
            if depth(name, dataset).is_none_or(|depth| depth > 1) {
                continue;
            }
            for property in properties.split(',') {
                let plain = |value: &str| (value.to_owned(), "-".to_owned());
                let (value, source) = match property {
                    "mounted" => plain(if held.mounted { "yes" } else { "no" }),
                    "used" | "available" | "keystatus" | "encryptionroot" => {
                        plain(&self.column(name, property)?)
                    }
                    "referenced" => plain("1000"),
                    "compressratio" => plain("1.00"),
                    "mountpoint" => (self.mountpoint(name), "default".to_owned()),
                    "normalization" | "utf8only" | "casesensitivity" => {
                        let default = match property {
                            "normalization" => "none",
                            "utf8only" => "off",
                            _ => "sensitive",
                        };
                        plain(self.inherited(name, property).map_or(default, |(_, value)| value))
                    }
                    "canmount" | "quota" | "refquota" | "reservation" | "refreservation" => {
                        let default = if property == "canmount" { "on" } else { "0" };
                        match held.properties.get(property) {
                            Some(value) => (value.clone(), "local".to_owned()),
                            None => (default.to_owned(), "default".to_owned()),
                        }
                    }
                    _ => {
                        let default = match property {
                            "acltype" | "readonly" | "compression" | "dedup" => "off",
                            "xattr" | "atime" | "setuid" | "devices" | "exec" => "on",
                            "snapdir" => "hidden",
                            "sync" => "standard",
                            "copies" => "1",
                            _ => return usage(&["zfs get", property]),
                        };
                        match self.inherited(name, property) {
                            Some((from, value)) if from == name => (value.to_owned(), "local".to_owned()),
                            Some((from, value)) => (value.to_owned(), format!("inherited from {from}")),
                            None => (default.to_owned(), "default".to_owned()),
                        }
                    }
                };
                out.push_str(&format!("{name}\t{property}\t{value}\t{source}\n"));
            }
        }
        Ok(out)
    }

    fn list(&self, columns: &str, dataset: &str) -> Answer {
        self.open_dataset(dataset)?;
        let mut out = String::new();
        for name in self.state.datasets.keys().filter(|name| depth(name, dataset).is_some_and(|d| d < 2)) {
            let fields = columns.split(',').map(|column| self.column(name, column));
            out.push_str(&fields.collect::<Answer<Vec<String>>>()?.join("\t"));
            out.push('\n');
        }
        Ok(out)
    }

    fn column(&self, name: &str, column: &str) -> Answer {
        let space = fs::read_to_string(self.root.join("space")).unwrap_or_default();
        let mut space = space.split_whitespace();
        let own = |default: &str| {
            let set = self.state.datasets.get(name).and_then(|dataset| dataset.properties.get(column));
            Ok(set.map_or(default, String::as_str).to_owned())
        };
        match column {
            "name" => Ok(name.to_owned()),
            "canmount" => own("on"),
            "keystatus" => own("-"),
            "encryptionroot" => {
                Ok(self.inherited(name, "keystatus").map_or("-", |(root, _)| root).to_owned())
            }
            "readonly" => Ok(self.inherited(name, column).map_or("off", |(_, value)| value).to_owned()),
            "compression" => Ok(self.inherited(name, column).map_or("off", |(_, value)| value).to_owned()),
            "used" => Ok(space.next().unwrap_or("1000000").to_owned()),
            "available" => Ok(space.nth(1).unwrap_or("9000000").to_owned()),
            "mountpoint" => Ok(self.mountpoint(name)),
            _ => usage(&["zfs list -o", column]),
        }
    }

    /// A property's value, with the dataset that sets it.
    fn inherited<'a>(&'a self, name: &'a str, property: &str) -> Option<(&'a str, &'a str)> {
        let mut at = name;
        loop {
            if let Some(value) = self.state.datasets.get(at).and_then(|set| set.properties.get(property)) {
                return Some((at, value));
            }
            at = at.rsplit_once('/')?.0;
        }
    }

    fn mountpoint(&self, name: &str) -> String {
        match self.inherited(name, "mountpoint") {
            Some((_, value)) if !value.starts_with('/') => value.to_owned(),
            Some((from, value)) => format!("{value}{}", &name[from.len()..]),
            None => self.root.join("mnt").join(name).to_string_lossy().into_owned(),
        }
    }

    fn hold(&mut self, tag: &str, target: &str) -> Answer<()> {
        let what = format!("cannot hold snapshot '{target}'");
        match self.held(&what, target)?.insert(tag.to_owned()) {
            true => Ok(()),
            false => refuse(format!("{what}: tag already exists on this dataset")),
        }
    }

    fn release(&mut self, tag: &str, target: &str) -> Answer<()> {
        let what = format!("cannot release hold from snapshot '{target}'");
        match self.held(&what, target)?.remove(tag) {
            true => Ok(()),
            false => refuse(format!("{what}: no such tag on this dataset")),
        }
    }

    /// The holds of a snapshot, to change them.
    fn held(&mut self, what: &str, target: &str) -> Answer<&mut BTreeSet<String>> {
        let (name, snapshot) = target.split_once('@').unwrap_or((target, ""));
        let found = self.dataset(name)?.snapshots.iter_mut().find(|taken| taken.name == snapshot);
        match found {
            Some(found) => Ok(&mut found.holds),
            None => refuse(format!("{what}: dataset does not exist")),
        }
    }

    /// How many hold each snapshot of a dataset.
    fn references(&self, dataset: &str) -> Answer {
        self.open_dataset(dataset)?;
        let snapshots = self.state.datasets[dataset].snapshots.iter();
        Ok(snapshots
            .map(|snapshot| format!("{dataset}@{}\t{}\n", snapshot.name, snapshot.holds.len()))
            .collect())
    }

    fn holds(&self, targets: &[&str]) -> Answer {
        let mut out = String::new();
        for target in targets {
            let (name, snapshot) = target.split_once('@').unwrap_or((target, ""));
            let dataset = self.state.datasets.get(name);
            let found = dataset.and_then(|held| held.snapshots.iter().find(|taken| taken.name == snapshot));
            let Some(found) = found else {
                return refuse(format!("cannot open '{target}': dataset does not exist"));
            };
            out.extend(found.holds.iter().map(|tag| format!("{target}\t{tag}\tFri Nov 20  2:00 2026\n")));
        }
        Ok(out)
    }

    /// The properties of the snapshots of a dataset and of those so far below.
    fn get(&self, properties: &str, deepest: usize, dataset: &str) -> Answer {
        self.open_dataset(dataset)?;
        let mut out = String::new();
        for (name, held) in &self.state.datasets {
            if depth(name, dataset).is_none_or(|depth| depth > deepest) {
                continue;
            }
            for snapshot in &held.snapshots {
                for property in properties.split(',') {
                    let (value, source) = match property {
                        "creation" => (snapshot.creation.to_string(), "-".to_owned()),
                        "userrefs" => (snapshot.holds.len().to_string(), "-".to_owned()),
                        _ => match (snapshot.properties.get(property), self.inherited(name, property)) {
                            (Some(value), _) => (value.clone(), "local".to_owned()),
                            (None, Some((from, value))) => {
                                (value.to_owned(), format!("inherited from {from}"))
                            }
                            (None, None) => ("-".to_owned(), "-".to_owned()),
                        },
                    };
                    out.push_str(&format!("{name}@{}\t{property}\t{value}\t{source}\n", snapshot.name));
                }
            }
        }
        Ok(out)
    }

    /// A snapshot's copy shares nothing, so all of it is its own.
    fn space(&self, dataset: &str) -> Answer {
        self.open_dataset(dataset)?;
        let view = PathBuf::from(self.mountpoint(dataset)).join(".zfs/snapshot");
        let mut out = String::new();
        for snapshot in self.state.datasets.get(dataset).iter().flat_map(|dataset| &dataset.snapshots) {
            let bytes = bytes_in(&view.join(&snapshot.name)).unwrap_or_default();
            out.push_str(&format!("{dataset}@{}\t{bytes}\n", snapshot.name));
        }
        Ok(out)
    }

    fn create(&mut self, options: &BTreeMap<String, String>, name: &str) -> Answer<()> {
        if self.state.datasets.contains_key(name) {
            return refuse(format!("cannot create '{name}': dataset already exists"));
        }
        if let Some((parent, _)) = name.rsplit_once('/') {
            if !self.state.datasets.contains_key(parent) {
                return refuse(format!("cannot create '{name}': parent does not exist"));
            }
        }
        let known = [
            "acltype",
            "atime",
            "canmount",
            "compression",
            "devices",
            "exec",
            "mountpoint",
            "setuid",
            "snapdir",
            "xattr",
        ];
        if let Some(bad) = options.keys().find(|key| !known.contains(&key.as_str()) && !key.contains(':')) {
            return refuse(format!("cannot create '{name}': invalid property '{bad}'"));
        }
        let dataset = Dataset { properties: options.clone(), ..Dataset::default() };
        let mount = options.get("canmount").is_none_or(|canmount| canmount == "on");
        self.state.datasets.insert(name.to_owned(), dataset);
        if mount && self.mountpoint(name).starts_with('/') { self.mount(name) } else { Ok(()) }
    }

    fn mount(&mut self, name: &str) -> Answer<()> {
        let point = PathBuf::from(self.mountpoint(name));
        let files = self.files_of(name);
        let dataset = self.dataset(name)?;
        if dataset.mounted {
            return refuse(format!("cannot mount '{name}': filesystem already mounted"));
        }
        if dataset.properties.get("canmount").is_some_and(|canmount| canmount == "off") {
            return refuse(format!("cannot mount '{name}': 'canmount' property is set to 'off'"));
        }
        dataset.mounted = true;
        fs::create_dir_all(&point)?;
        if files.exists() {
            fs::remove_dir(&point)?;
            fs::rename(files, point)?;
        }
        Ok(())
    }

    fn unmount(&mut self, name: &str) -> Answer<()> {
        let point = PathBuf::from(self.mountpoint(name));
        let files = self.files_of(name);
        let has_children = self.state.datasets.keys().any(|other| depth(other, name).is_some_and(|d| d > 0));
        let dataset = self.dataset(name)?;
        if !dataset.mounted {
            return refuse(format!("cannot unmount '{name}': not currently mounted"));
        }
        dataset.mounted = false;
        if !has_children {
            fs::create_dir_all(self.root.join("unmounted"))?;
            fs::rename(&point, files)?;
            fs::create_dir(point)?;
        }
        Ok(())
    }

    /// Where the files of a dataset are that is not mounted.
    fn files_of(&self, name: &str) -> PathBuf {
        self.root.join("unmounted").join(name.replace('/', "%"))
    }

    fn snapshot(&mut self, options: &BTreeMap<String, String>, target: &str) -> Answer<()> {
        let Some((name, snapshot)) = target.split_once('@') else {
            return refuse(format!(
                "cannot create snapshot '{target}': missing '@' delimiter in snapshot name"
            ));
        };
        // The call has just been logged, so this is the time.
        let creation = self.root.join("calls").metadata()?.mtime();
        let files = PathBuf::from(self.mountpoint(name));
        let dataset = self.dataset(name)?;
        if dataset.snapshots.iter().any(|taken| taken.name == snapshot) {
            return refuse(format!("cannot create snapshot '{target}': dataset already exists"));
        }
        dataset.snapshots.push(Snapshot {
            name: snapshot.to_owned(),
            creation,
            properties: options.clone(),
            holds: BTreeSet::new(),
            clones: BTreeSet::new(),
        });
        if dataset.mounted {
            copy(&files, &files.join(".zfs/snapshot").join(snapshot))?;
        }
        Ok(())
    }

    fn destroy(&mut self, target: &str) -> Answer<()> {
        let Some((name, names)) = target.split_once('@') else { return usage(&["zfs destroy", target]) };
        if names.contains('%') {
            return usage(&["zfs destroy of a range", target]);
        }
        let view = PathBuf::from(self.mountpoint(name)).join(".zfs/snapshot");
        let dataset = self.dataset(name)?;
        let names: Vec<&str> = names.split(',').collect();
        let doomed = |snapshot: &&Snapshot| names.contains(&snapshot.name.as_str());
        if !dataset.snapshots.iter().any(|snapshot| doomed(&snapshot)) {
            return refuse("could not find any snapshots to destroy; check snapshot names.");
        }
        let mut obstacles = String::new();
        for snapshot in dataset.snapshots.iter().filter(doomed) {
            if let Some(clone) = snapshot.clones.first() {
                return refuse(format!(
                    "cannot destroy '{name}@{}': snapshot has dependent clones\n\
                     use '-R' to destroy the following datasets:\n{clone}",
                    snapshot.name
                ));
            }
            if !snapshot.holds.is_empty() {
                obstacles += &format!("cannot destroy snapshot {name}@{}: dataset is busy\n", snapshot.name);
            }
        }
        if !obstacles.is_empty() {
            return refuse(obstacles);
        }
        dataset.snapshots.retain(|snapshot| !doomed(&snapshot));
        for name in names {
            let _ = fs::remove_dir_all(view.join(name));
        }
        Ok(())
    }

    fn open_dataset(&self, name: &str) -> Answer<()> {
        match self.state.datasets.get(name) {
            Some(_) => Ok(()),
            None => refuse(format!("cannot open '{name}': dataset does not exist")),
        }
    }

    fn dataset(&mut self, name: &str) -> Answer<&mut Dataset> {
        self.open_dataset(name)?;
        self.state.datasets.get_mut(name).ok_or_else(|| Refusal(70, "lost".to_owned()))
    }

    fn one(&mut self, target: &str) -> Answer<&mut Snapshot> {
        let (name, snapshot) = target.split_once('@').unwrap_or((target, ""));
        let found = self.dataset(name)?.snapshots.iter_mut().find(|taken| taken.name == snapshot);
        found.ok_or_else(|| Refusal(1, format!("cannot open '{target}': dataset does not exist")))
    }

    /// Writes the state, and the kernel's view of it.
    fn save(&self) -> Answer<()> {
        replace(&self.root.join("state.json"), &serde_json::to_vec(&self.state)?)?;
        let mut mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n".to_owned();
        for (number, name) in self.state.datasets.keys().enumerate() {
            let point = self.mountpoint(name);
            if !self.state.datasets[name].mounted {
                continue;
            }
            let device = fs::metadata(&point)?.dev();
            let access = self.inherited(name, "readonly").map_or("rw", |(_, value)| match value {
                "on" => "ro",
                _ => "rw",
            });
            mounts += &format!(
                "{} 22 {}:{} / {} {access},noatime shared:{number} - zfs {name} {access},xattr,posixacl\n",
                number + 40,
                rustix::fs::major(device),
                rustix::fs::minor(device),
                point.replace(' ', "\\040"),
            );
        }
        replace(&self.root.join("mountinfo"), mounts.as_bytes())?;
        Ok(())
    }
}

/// `-o key=value -o …`.
fn options_of(call: &[&str], options: &[&str]) -> Answer<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for pair in options.chunks(2) {
        match pair {
            ["-o", setting] if setting.contains('=') => {
                let (key, value) = setting.split_once('=').unwrap_or_default();
                found.insert(key.to_owned(), value.to_owned());
            }
            _ => return usage(call),
        }
    }
    Ok(found)
}

/// How far below `top` a dataset is; `None` if it is elsewhere.
fn depth(name: &str, top: &str) -> Option<usize> {
    let below = name.strip_prefix(top)?;
    (below.is_empty() || below.starts_with('/')).then(|| below.matches('/').count())
}

fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, text)?;
    fs::rename(unfinished, file)
}

/// The bytes that the files below a folder hold.
fn bytes_in(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.path().symlink_metadata()?;
        bytes += if meta.is_dir() { bytes_in(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(source)?, target)?;
        } else if kind.is_dir() {
            if entry.file_name() != ".zfs" {
                copy(&source, &target)?;
            }
        } else if kind.is_file() {
            fs::copy(source, target)?;
        }
    }
    Ok(())
}
