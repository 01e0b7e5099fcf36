//! The hosts: each is connected to and asked, as a run would, and nothing is
//! done there.

use super::{each, found};
use crate::app::admission::Turn;
use crate::core::filter::{self, LeftOut, Missed, MountReason, Rule, SearchRoot, Selection, Warning};
use crate::core::format::excerpt::Excerpt;
use crate::core::format::text::{human_duration, printable, printable_bytes};
use crate::core::model::clock::{self, ClockSkew};
use crate::core::model::finding::{CheckFinding, Level, worst};
use crate::core::model::host::{Host, HostSettings};
use crate::core::model::problem::Problem;
use crate::core::model::rsync_build::{Build, RsyncVersion};
use crate::core::model::settings::Settings;
use crate::edge::remote::keys;
use crate::edge::remote::{Links, Probe, Question, Refusal, Remote, RemoteError, SourceState, by_hand};
use crate::edge::rsync::TransferError;
use crate::edge::store::{AnyStore, Inspection};
use crate::sys::clock::Clock;
use crate::sys::lock::Runtime;
use crate::sys::offload::{NotInTime, offload};
use serde::Serialize;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

/// For what is done over a connection that stands.
const ASK_LIMIT: Duration = Duration::from_secs(120);
/// Clocks that are further apart than this are worth a note.
const APART: i64 = 5 * 60;
/// The oldest rsync that a host does with.
const OLDEST_RSYNC: RsyncVersion = RsyncVersion(3, 1, 0);

/// What there is to say of a host.
#[derive(Debug, Clone, Default, Serialize)]
pub struct HostLooked {
    /// As the inventory spells it.
    pub name: String,
    /// The worst of its findings; `ok` without any.
    pub level: Option<Level>,
    /// `user@address`, with its port if that is configured, or `local`.
    pub reached_by: String,
    /// Whether it was connected to and asked.
    pub answered: bool,
    /// Where the filesystems are mounted that a run copies, the source's own
    /// first.
    pub filesystems: Vec<String>,
    /// What is mounted below the source and not copied.
    pub left_out: Vec<NotCopied>,
    /// The hooks that a run runs, in order.
    pub hooks: Vec<String>,
    /// The version of its rsync.
    pub rsync: Option<String>,
    /// The version of the package that its rsync came with.
    pub rsync_package: Option<String>,
    /// Whether the store has a place for it: `there`, `new` for one that the
    /// first run makes, `unknown`.
    pub place: &'static str,
    /// What is wrong, and what to do.
    pub findings: Vec<CheckFinding>,
}

/// Something mounted that is not copied.
#[derive(Debug, Clone, Serialize)]
pub struct NotCopied {
    /// Where it is mounted.
    pub path: String,
    /// The type of its filesystem.
    #[serde(rename = "type")]
    pub kind: String,
    /// Why it is not copied.
    pub reason: String,
}

impl HostLooked {
    fn of(host: &Host) -> Self {
        let HostSettings { transport, user, port, .. } = &host.settings;
        let reached_by = transport.target(user, &host.address, *port);
        HostLooked { name: host.name.spelled().to_owned(), reached_by, place: "unknown", ..Self::default() }
    }

    /// Of what a host repeats, how much was not told.
    fn find_more(&mut self, more: usize, what: &str) {
        if more > 0 {
            self.find(CheckFinding::warning, format!("{more} more {what}"), "correct the ones listed first");
        }
    }

    fn find(
        &mut self,
        finding: fn(String, String, String) -> CheckFinding,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.findings.push(finding(self.name.clone(), text.into(), remedy.into()));
    }
}

/// What every host is looked at with.
struct Shared {
    settings: Settings,
    runtime: Runtime,
    clock: Clock,
    /// The rules of the operator's own files.
    configured: Vec<Rule>,
}

/// Looks at hosts, `jobs` at once; an error if none can be connected to.
pub(super) async fn look(
    hosts: &[Host],
    settings: &Settings,
    inspection: Option<&Inspection>,
    clock: Clock,
) -> Result<Vec<HostLooked>, CheckFinding> {
    let (runtime, _) = Runtime::enter(&settings.runtime_dir).map_err(|error| {
        CheckFinding::error("runtime_dir", error.to_string(), "is this root, and `runtime_dir` right?")
    })?;
    // What is wrong with those files is told beside the hosts.
    let files = settings.excludes.files.iter().filter_map(|file| std::fs::read(file).ok());
    let configured = files.flat_map(|bytes| filter::parse_lines(&bytes, "").0).collect();
    let shared = Rc::new(Shared { settings: settings.clone(), runtime, clock, configured });
    let work = |host: Host, turn: Turn| {
        let shared = shared.clone();
        async move { host_looked(&shared, &host, turn).await }
    };
    let looked = each(hosts, settings, work).await;
    let place = |(host, looked): (Host, Option<HostLooked>)| {
        let mut looked = looked.unwrap_or_else(|| {
            let mut broken = HostLooked::of(&host);
            broken.find(CheckFinding::error, "the check of it broke off", "please report this as a bug");
            broken
        });
        if let Some(inspection) = inspection {
            let found = inspection.places.get(host.name.key());
            looked.place = if found.is_some() { "there" } else { "new" };
            looked.findings.extend(found.into_iter().flatten().map(|finding| CheckFinding {
                text: format!("`{}` {}", finding.subject, finding.text),
                subject: looked.name.clone(),
                ..finding.clone()
            }));
        }
        looked.level = Some(worst(&looked.findings));
        looked
    };
    Ok(looked.into_iter().map(place).collect())
}

/// Connects to one host and asks it.
async fn host_looked(shared: &Shared, host: &Host, turn: Turn) -> HostLooked {
    let mut looked = HostLooked::of(host);
    let settings = &shared.settings;
    let dir = match shared.runtime.connection_dir() {
        Ok(dir) => dir,
        Err(error) => {
            looked.find(CheckFinding::error, error.to_string(), "is this root, and `runtime_dir` right?");
            return looked;
        }
    };
    let question = Question::of(host, settings, shared.runtime.witness());
    turn.connection().await;
    let remote = match connect(host, settings, dir).await {
        Ok(remote) => remote,
        Err(error) => {
            refused(&mut looked, host, settings, error).await;
            return looked;
        }
    };
    turn.come().await;
    let asked = async {
        let probe = remote.probe(question).await?;
        let version = match probe.rsync {
            Some(_) => Some(remote.rsync_version().await),
            None => None,
        };
        Ok::<_, RemoteError>((probe, version))
    };
    match timeout(ASK_LIMIT, asked).await {
        Ok(Ok((probe, version))) => {
            looked.answered = true;
            let words = words(host, shared, &probe).await;
            judged(&mut looked, host, settings, &probe, &words, shared.clock);
            if let Ok(mounts) = &words.mounts {
                in_place(&mut looked, host, settings, &remote, &probe, mounts).await;
            }
            rsync(&mut looked, version);
        }
        Ok(Err(error)) => {
            let unless = format!("log in by hand: `ssh {}@{}`", host.settings.user, host.address);
            looked.find(CheckFinding::error, error.what(), error.remedy().unwrap_or(unless));
        }
        Err(_) => {
            let text =
                format!("it accepted the login and did not answer within {}", human_duration(ASK_LIMIT));
            looked.find(
                CheckFinding::error,
                text,
                "does one of its disks hang? look at its load and its `dmesg`",
            );
        }
    }
    looked
}

/// The connection, whatever ssh itself waits for.
async fn connect(host: &Host, settings: &Settings, dir: PathBuf) -> Result<Remote, RemoteError> {
    let whole = settings.ssh.connect_timeout * 3 + Duration::from_secs(30);
    timeout(whole, Remote::connect(host, &settings.ssh, dir)).await.unwrap_or_else(|_| {
        Err(RemoteError::Connect {
            refusal: Refusal::Other,
            why: format!("`{}` could not be connected to within {}", host.address, human_duration(whole)),
            hint: None,
        })
    })
}

/// Why there is no connection. Of a host whose key is not known the key is
/// shown, to be compared.
async fn refused(looked: &mut HostLooked, host: &Host, settings: &Settings, error: RemoteError) {
    let (refusal, why, hint) = match error {
        RemoteError::Connect { refusal, why, hint } => (refusal, why, hint),
        other => (Refusal::Other, other.what(), other.remedy()),
    };
    let unknown = match refusal {
        Refusal::UnknownKey | Refusal::OnTheWay => keys::stranger(host, &settings.ssh).await,
        _ => Ok(None),
    };
    match unknown {
        Ok(Some((hop, keys))) => {
            let key =
                keys.first().map(|key| (key.name.as_str(), key.kind.as_str(), key.fingerprint.as_str()));
            let (name, kind, fingerprint) = key.unwrap_or_default();
            let whose = match hop.is_jump() {
                true => format!("`{name}`, on the way to `{}`,", host.address),
                false => format!("`{}`", host.address),
            };
            let text = format!("the host key of {whose} is not known: it shows {kind} {fingerprint}");
            let remedy = format!(
                "backup check --trust-host-keys {}; compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host",
                host.name
            );
            looked.find(CheckFinding::error, text, remedy);
            return;
        }
        Err(error) if refusal == Refusal::UnknownKey => {
            looked.find(
                CheckFinding::error,
                format!("{why}, nor could it be fetched: {error}"),
                error.remedy,
            );
            return;
        }
        // What stands between us and the host has said why.
        Err(_) | Ok(None) => {}
    }
    let unless = format!("see what `{}` says", by_hand(host));
    looked.find(CheckFinding::error, why, hint.unwrap_or(unless));
}

/// What a host's own words amount to.
struct Words {
    mounts: Result<Selection, Problem>,
    missed: Missed,
    warnings: Excerpt<Warning>,
}

/// Judges a host's mounts and excludes, as a run does, and holds up no other
/// host meanwhile.
async fn words(host: &Host, shared: &Shared, probe: &Probe) -> Words {
    let (list, source, excludes) = (probe.mounts.clone(), probe.real_source.clone(), probe.excludes.clone());
    let filesystems = host.settings.filesystems;
    let file = shared.settings.excludes.remote_file.clone();
    let (mut rules, _) = filter::configured(&shared.configured, &host.settings.exclude);
    let judged = offload(ASK_LIMIT, move || {
        let (own, warnings) = filter::parse_lines(&excludes, &file);
        rules.extend(own);
        let mounts = filter::select(&list, &source, filesystems).map_err(|excess| excess.problem());
        let missed =
            mounts.as_ref().map(|mounts| filter::missed(mounts, &source, &rules)).unwrap_or_default();
        Words { mounts, missed, warnings }
    });
    judged.await.unwrap_or_else(|NotInTime| Words {
        mounts: Err(Problem::critical(
            format!("its mounts and excludes could not be processed within {}", human_duration(ASK_LIMIT)),
            "",
        )),
        missed: Missed::default(),
        warnings: Excerpt::default(),
    })
}

/// What the probe tells, as a run would take it.
fn judged(
    looked: &mut HostLooked,
    host: &Host,
    settings: &Settings,
    probe: &Probe,
    words: &Words,
    clock: Clock,
) {
    if let SourceState::Unusable(state) = &probe.source {
        let text = format!("the source `{}` is {} there", printable(&host.settings.source), printable(state));
        looked.find(CheckFinding::error, text, "is `source` right, and its disk mounted?");
    } else {
        filesystems(looked, words);
    }
    if probe.rsync.is_none() {
        let error = TransferError::NoRemoteRsync;
        looked.find(CheckFinding::error, error.what(), error.remedy().unwrap_or_default());
    }
    if !probe.is_root {
        let text =
            format!("`{}` is not root there: files that it may not read will be missing", host.settings.user);
        looked.find(CheckFinding::warning, text, "set `sudo = true` for it, or log in as root");
    }
    let file = printable(&settings.excludes.remote_file);
    if let Some(fault) = probe.excludes_fault {
        looked.find(
            CheckFinding::warning,
            format!("its `{file}` is not used: {fault}"),
            "correct it on the host",
        );
    }
    let warnings = &words.warnings;
    for warning in warnings.first() {
        let Problem { severity, what, remedy } = warning.problem.clone();
        let what = format!("{} line {}: {what}", printable(&warning.origin), warning.line);
        let problem = Problem { severity, what, remedy };
        looked.findings.push(found(&looked.name, problem, "correct the line on the host"));
    }
    looked.find_more(warnings.more(), &format!("lines of `{file}` that were ignored"));
    hooks(looked, host, settings, probe);
    clocks(looked, probe, clock);
}

/// What would be copied, and what would not.
fn filesystems(looked: &mut HostLooked, words: &Words) {
    let selection = match &words.mounts {
        Ok(selection) => selection,
        Err(excess) => {
            looked.findings.push(found(&looked.name, excess.clone(), "see `/proc/self/mountinfo` there"));
            return;
        }
    };
    if selection.own.is_none() {
        let text = "its list of mounts does not name the source's filesystem";
        looked.find(CheckFinding::error, text, "is `/proc` mounted there?");
    }
    looked.filesystems = selection.own.iter().chain(&selection.included).map(ToString::to_string).collect();
    let left_out = |mount: &LeftOut| NotCopied {
        path: String::from_utf8_lossy(&mount.filesystem.point).into_owned(),
        kind: String::from_utf8_lossy(&mount.filesystem.fstype).into_owned(),
        reason: mount.reason.to_string(),
    };
    looked.left_out = selection.left_out.iter().map(left_out).collect();
    for warning in selection.warnings.first() {
        looked.find(CheckFinding::warning, warning.to_string(), "see `/proc/self/mountinfo` there");
    }
    looked.find_more(selection.warnings.more(), "lines of `/proc/self/mountinfo` that could not be parsed");
    // What is elsewhere in the copy too, or nobody's data, is not missed.
    let missed: Excerpt<&LeftOut> = words.missed.mounts().collect();
    if !missed.is_empty() {
        let text = format!("not copied: {missed}");
        let remedy = "back them up where they belong, or as a host of their own with that `source`, or add them to \
                      `exclude` if that is intended";
        looked.find(CheckFinding::warning, text, remedy);
    }
}

/// Which paths of `inplace` a run would not write in place. It looks again, and
/// longer; here a path that cannot be looked through at once is passed over.
async fn in_place(
    looked: &mut HostLooked,
    host: &Host,
    settings: &Settings,
    remote: &Remote,
    probe: &Probe,
    mounts: &Selection,
) {
    if host.settings.inplace.is_empty() || !AnyStore::describe(&settings.store).writes_in_place {
        return;
    }
    let wanted = filter::wanted(&host.settings, &probe.real_source, mounts);
    for (path, mount) in wanted.left_out.iter().filter(|(_, mount)| mount.reason == MountReason::Bind) {
        let path = printable(path);
        let text = format!("`{path}` would not be written in place: it lies on {mount}, which is not copied");
        looked.find(CheckFinding::warning, text, "name in `inplace` the path where it is copied");
    }
    for path in &wanted.mixed {
        let text = format!("`{}` would not be written in place: {}", printable(path), filter::MIXED);
        looked.find(CheckFinding::warning, text, "name in `inplace` paths without them");
    }
    if wanted.looks.is_empty() {
        return;
    }
    let looks: Vec<SearchRoot> = wanted.looks.iter().map(|(look, _)| look.clone()).collect();
    let found = match remote.links(&host.settings.source, &looks, ASK_LIMIT).await {
        Ok(found) => found,
        Err(error) => {
            let text = format!("nothing of `inplace` would be written in place: {}", error.what());
            let remedy = error.remedy().unwrap_or_else(|| "look at its load".to_owned());
            looked.find(CheckFinding::warning, text, remedy);
            return;
        }
    };
    for ((_, path), links) in wanted.looks.iter().zip(found) {
        let path = printable(path);
        let (why, remedy) = match links {
            Links::Several(file) => (
                format!("`{}` has more than one hard link", printable_bytes(&file)),
                "`find -samefile` there shows the others; remove them, or take the path out of `inplace`",
            ),
            Links::Symlink(link) => (
                format!("`{}` is a symbolic link", printable_bytes(&link)),
                "name in `inplace` the path that it leads to",
            ),
            Links::Single | Links::Missing | Links::Unknown => continue,
        };
        looked.find(CheckFinding::warning, format!("`{path}` would not be written in place: {why}"), remedy);
    }
}

fn hooks(looked: &mut HostLooked, host: &Host, settings: &Settings, probe: &Probe) {
    if !host.settings.hooks {
        if !probe.hooks.run.is_empty() {
            let text = format!("its hooks are not run: {}", probe.hooks.run.join(", "));
            looked.find(CheckFinding::note, text, "`hooks = false` says so");
        }
        return;
    }
    looked.hooks.clone_from(&probe.hooks.run);
    let directory = printable(&settings.hooks.directory);
    for name in probe.hooks.odd.first() {
        let text = format!(
            "`{directory}/{}` is not run: only letters, digits, `-` and `_` may be in a hook's name",
            printable(name)
        );
        looked.find(
            CheckFinding::warning,
            text,
            "rename it there, or make it not executable if it is no hook",
        );
    }
    looked.find_more(probe.hooks.odd.more(), &format!("executables in `{directory}` that are not run"));
}

fn clocks(looked: &mut HostLooked, probe: &Probe, clock: Clock) {
    let set = "set the one that is wrong; `date` shows it, and NTP keeps it right";
    let Some(theirs) = probe.time else {
        looked.find(CheckFinding::note, "it did not report its time", "`date +%s` should print it there");
        return;
    };
    let apart = (clock.now() - theirs).num_seconds();
    let how = if apart > 0 { "ahead of" } else { "behind" };
    let by = human_duration(Duration::from_secs(apart.unsigned_abs()));
    if clock::compare(clock.now(), theirs) != ClockSkew::Alike {
        let text =
            format!("this server's clock is {by} {how} the host's: nothing of that host is ever removed");
        looked.find(CheckFinding::warning, text, set);
    } else if apart.abs() > APART {
        looked.find(CheckFinding::note, format!("this server's clock is {by} {how} the host's"), set);
    }
}

fn rsync(looked: &mut HostLooked, said: Option<Result<String, RemoteError>>) {
    match said {
        None => {}
        Some(Ok(said)) => {
            let Some(build) = Build::parse(&said) else {
                let first = printable(said.lines().next().unwrap_or_default());
                let text = format!("its rsync is not supported: {first}");
                looked.find(CheckFinding::warning, text, "install your distribution's rsync there");
                return;
            };
            looked.rsync = Some(build.version.to_string());
            looked.rsync_package = build.package_version().map(str::to_owned);
            if build.version < OLDEST_RSYNC {
                let text = format!("its rsync {} is too old", build.version);
                looked.find(
                    CheckFinding::error,
                    text,
                    format!("install rsync {OLDEST_RSYNC} or later there"),
                );
            }
            looked.findings.extend(build.faults(&looked.name));
            if RsyncVersion::of(&said).is_none() {
                let error = TransferError::NoisyShell;
                looked.find(CheckFinding::error, error.what(), error.remedy().unwrap_or_default());
            }
        }
        Some(Err(error)) => {
            let remedy = error.remedy().unwrap_or_else(|| "run `rsync --version` there".to_owned());
            looked.find(CheckFinding::error, error.what(), remedy);
        }
    }
}
