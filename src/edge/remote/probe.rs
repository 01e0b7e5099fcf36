//! The one question that a run asks before it touches anything: who are you,
//! what is mounted, what do you exclude, which hooks have you got?

use super::{Remote, RemoteError, random_mark};
use crate::core::files::LONGEST_PATH;
use crate::core::format::excerpt::Excerpt;
use crate::core::format::text::short;
use crate::core::model::host::Host;
use crate::core::model::settings::Settings;
use crate::sys::offload::{NotInTime, offload};
use chrono::{DateTime, Utc};
use std::path::Path;
use std::time::Duration;

pub(super) const SCRIPT: &str = include_str!("probe.sh");
/// A client's exclude file longer than this is no exclude file, in bytes.
const LONGEST_EXCLUDES: usize = 1024 * 1024;

/// How long the host may take to answer.
const DEADLINE: Duration = Duration::from_secs(60);
/// An answer longer than this is no answer, in bytes: each mount of a host that
/// runs thousands of containers takes up to 4 KiB.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;
/// How long it may take to take an answer apart.
const PARSING: Duration = Duration::from_secs(30);
/// A client's exclude file of more lines than this is no exclude file: the host
/// looks at every pattern for every file.
const MOST_EXCLUDES: usize = 20_000;
/// More executables than this are no directory of hooks.
const MOST_HOOKS: usize = 1000;
/// The longest name of a file, in bytes.
const LONGEST_NAME: usize = 255;

/// What the probe looks for.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The directory to copy.
    pub source: &'a str,
    /// The pattern file that the host keeps itself.
    pub exclude_file: &'a str,
    /// Where the host keeps its hooks.
    pub hook_directory: &'a str,
    /// A file with a random name, by which this machine knows itself.
    pub witness: &'a str,
}

impl<'a> Question<'a> {
    /// What a host is asked by these settings.
    pub fn of(host: &'a Host, settings: &'a Settings, witness: &'a Path) -> Self {
        Question {
            source: &host.settings.source,
            exclude_file: &settings.excludes.remote_file,
            hook_directory: &settings.hooks.directory,
            witness: witness.to_str().unwrap_or_default(),
        }
    }

    /// The words of the script that answers, with sections that begin with `mark`.
    pub(super) fn words(&self, mark: &'a str) -> [&'a str; 5] {
        [self.source, self.exclude_file, self.hook_directory, self.witness, mark]
    }
}

/// Whether the source can be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceState {
    /// It is a directory that can be read.
    Ok,
    /// It is something else: missing, no directory, unreadable.
    Unusable(String),
}

/// The hooks of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// Names of those that run, in order.
    pub run: Vec<String>,
    /// Names of executables that are passed over, because a character other
    /// than a letter, a digit, `-` or `_` is in them (shown as `?`).
    pub odd: Excerpt<String>,
}

/// What a host is and has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Whether we are root there.
    pub is_root: bool,
    /// Whether it is this very machine, whatever address it was reached by.
    pub is_this_machine: bool,
    /// Its `/etc/machine-id`.
    pub machine: Option<String>,
    /// What it calls itself.
    pub hostname: Option<String>,
    /// What its clock shows.
    pub time: Option<DateTime<Utc>>,
    /// The state of its source.
    pub source: SourceState,
    /// The source with every symlink on the way resolved, as mounts know it.
    pub real_source: String,
    /// Where its rsync is, if it has one.
    pub rsync: Option<String>,
    /// Its `/proc/self/mountinfo`.
    pub mounts: Vec<u8>,
    /// Its exclude file, empty without one.
    pub excludes: Vec<u8>,
    /// What is wrong with its exclude file, if anything.
    pub excludes_fault: Option<&'static str>,
    /// Its hooks.
    pub hooks: Hooks,
}

/// Run there for a second look; holds no single quote.
pub(super) const MOUNTS: &str = "exec cat /proc/self/mountinfo";

impl Remote {
    /// Asks the host for its mounts alone.
    pub async fn mounts(&self) -> Result<Vec<u8>, RemoteError> {
        let asked = self.script(MOUNTS, &[], "a second look at its mounts".to_owned());
        Ok(asked.deadline(DEADLINE).most_output(LONGEST_ANSWER).run().await?.stdout)
    }

    /// Asks the host, in one round trip.
    pub async fn probe(&self, question: Question<'_>) -> Result<Probe, RemoteError> {
        let mark = random_mark();
        let asked = self.script(SCRIPT, &question.words(&mark), "the probe".to_owned()).deadline(DEADLINE);
        let output = asked.most_output(LONGEST_ANSWER).output().await?;
        if !output.exit.is_success() || !is_answer(&output.stdout, &mark) {
            return Err(RemoteError::no_answer(&output, self.sudo));
        }
        let parsed = offload(PARSING, move || parse(&output.stdout, &mark)).await;
        parsed.unwrap_or_else(|NotInTime| Err(RemoteError::Nonsense("it is too long".to_owned())))
    }
}

/// Whether the script has begun to answer.
fn is_answer(said: &[u8], mark: &str) -> bool {
    split(said, format!("\n{mark} ").as_bytes()).nth(1).is_some()
}

/// Takes the probe's answer apart. Text before the first section is somebody's
/// login message.
fn parse(answer: &[u8], mark: &str) -> Result<Probe, RemoteError> {
    let mut probe = Probe {
        is_root: false,
        is_this_machine: false,
        machine: None,
        hostname: None,
        time: None,
        source: SourceState::Unusable("not told".to_owned()),
        real_source: String::new(),
        rsync: None,
        mounts: Vec::new(),
        excludes: Vec::new(),
        excludes_fault: None,
        hooks: Hooks::default(),
    };
    let separator = format!("\n{mark} ").into_bytes();
    let mut complete = false;
    for section in split(answer, &separator).skip(1) {
        let end = section.iter().position(|&b| b == b'\n').unwrap_or(section.len());
        let body = section.get(end + 1..).unwrap_or_default();
        let line = || {
            let first = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
            short(first).trim().to_owned()
        };
        match &section[..end] {
            b"user" => probe.is_root = line() == "0",
            b"witness" => probe.is_this_machine = line() == "here",
            b"machine" => probe.machine = Some(line()).filter(|id| is_machine_id(id)),
            b"hostname" => probe.hostname = Some(line()).filter(|name| !name.is_empty()),
            b"time" => {
                probe.time = line().parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            }
            b"source" if line() == "ok" => probe.source = SourceState::Ok,
            b"source" => probe.source = SourceState::Unusable(line()),
            b"path" if body.len() > LONGEST_PATH => {
                return Err(RemoteError::Nonsense(
                    "the path of the source is longer than any path".to_owned(),
                ));
            }
            b"path" => probe.real_source = real_path(body),
            b"rsync" => probe.rsync = Some(line()).filter(|path| !path.is_empty()),
            b"mounts" => probe.mounts = body.to_vec(),
            b"excludes" if body.len() > LONGEST_EXCLUDES => {
                probe.excludes_fault = Some("it is longer than 1 MiB");
            }
            b"excludes"
                if body.iter().filter(|&&byte| matches!(byte, b'\n' | b'\r')).count() > MOST_EXCLUDES =>
            {
                probe.excludes_fault = Some("it has more than 20,000 lines");
            }
            b"excludes" => probe.excludes = body.to_vec(),
            b"unreadable-excludes" => probe.excludes_fault = Some("it cannot be read"),
            b"hooks" => probe.hooks = hooks(body)?,
            b"end" => complete = true,
            other => return Err(RemoteError::Nonsense(format!("section `{}`", short(other)))),
        }
    }
    if complete { Ok(probe) } else { Err(RemoteError::Nonsense("it breaks off".to_owned())) }
}

fn real_path(body: &[u8]) -> String {
    String::from_utf8_lossy(body.strip_suffix(b"\n").unwrap_or(body)).into_owned()
}

fn hooks(body: &[u8]) -> Result<Hooks, RemoteError> {
    let mut hooks = Hooks::default();
    for line in body.split(|byte| *byte == b'\n') {
        if let Some(name) = line.strip_prefix(b"run ").filter(|name| is_hook_name(name)) {
            hooks.run.push(String::from_utf8_lossy(name).into_owned());
        } else if let Some(name) = line.strip_prefix(b"odd ") {
            hooks.odd.push(|| short(name));
        }
        if hooks.run.len() + hooks.odd.count() > MOST_HOOKS {
            return Err(RemoteError::TooManyHooks(MOST_HOOKS));
        }
    }
    Ok(hooks)
}

fn is_hook_name(name: &[u8]) -> bool {
    let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=LONGEST_NAME).contains(&name.len()) && name.iter().all(fits)
}

/// machine-id(5): 32 hexadecimal characters.
fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn split<'a>(bytes: &'a [u8], separator: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let here = rest?;
        match here.windows(separator.len()).position(|part| part == separator) {
            Some(at) => {
                rest = Some(&here[at + separator.len()..]);
                Some(&here[..at])
            }
            None => rest.take(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere() -> Question<'static> {
        let nothing = "/no/such";
        Question { source: nothing, exclude_file: nothing, hook_directory: nothing, witness: nothing }
    }

    #[tokio::test]
    async fn this_machine_answers_in_whole() {
        let dir = tempfile::tempdir().unwrap();
        let hooks = dir.path().join("hooks");
        std::fs::create_dir(&hooks).unwrap();
        for (name, mode) in
            [("20-b", 0o755), ("10-a", 0o755), ("30-plain", 0o644), ("mysql.sh", 0o755), ("new\nline", 0o755)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::write(hooks.join(name), "").unwrap();
            std::fs::set_permissions(hooks.join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let excludes = dir.path().join("excludes");
        let patterns = b"\xff weird\0bytes\r\n!\n\n".to_vec();
        std::fs::write(&excludes, &patterns).unwrap();
        let question = Question {
            source: dir.path().to_str().unwrap(),
            exclude_file: excludes.to_str().unwrap(),
            hook_directory: hooks.to_str().unwrap(),
            witness: excludes.to_str().unwrap(),
        };
        let probe = Remote::local().probe(question).await.unwrap();
        assert!(probe.is_this_machine);
        assert_eq!(probe.hostname.unwrap().as_bytes(), rustix::system::uname().nodename().to_bytes());
        assert!(probe.time.is_some_and(|time| time.timestamp() > 1_700_000_000));
        assert_eq!(probe.source, SourceState::Ok);
        assert_eq!(probe.excludes, patterns);
        assert_eq!(probe.hooks.run, ["10-a", "20-b"]);
        assert_eq!(probe.hooks.odd.first(), ["mysql.sh", "new?line"]);
        assert!(probe.rsync.unwrap().ends_with("/rsync"));
        let mounts = String::from_utf8(probe.mounts).unwrap();
        assert!(mounts.lines().any(|line| line.split(' ').nth(4) == Some("/")), "{mounts}");
        assert_eq!(probe.is_root, rustix::process::geteuid().is_root());
    }

    #[tokio::test]
    async fn a_source_behind_a_symlink_is_known_by_its_real_path() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/usr/bin", &link).unwrap();
        let source = link.to_str().unwrap();
        let question = Question { source, ..nowhere() };
        let probe = Remote::local().probe(question).await.unwrap();
        assert_eq!((probe.source, probe.real_source.as_str()), (SourceState::Ok, "/usr/bin"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_said() {
        let probe = Remote::local().probe(nowhere()).await.unwrap();
        assert!(!probe.is_this_machine);
        assert_eq!(probe.source, SourceState::Unusable("missing".to_owned()));
        assert!(probe.excludes.is_empty() && probe.excludes_fault.is_none());
        assert_eq!(probe.hooks, Hooks::default());
    }

    #[test]
    fn an_answer_that_breaks_off_is_no_answer() {
        assert!(parse(b"motd\n\nM user\n0\n\nM source\nok\n", "M").is_err());
        assert!(parse(b"motd\n\nM user\n0\n\nM source\nok\n\nM end\n", "M").is_ok());
    }

    #[test]
    fn what_a_host_repeats_is_counted_or_refused() {
        let answer = |section: &str, line: &str, count: usize| {
            let answer = format!("\nM {section}\n{}\nM end\n", line.repeat(count));
            parse(answer.as_bytes(), "M")
        };
        assert_eq!(answer("hooks", "odd a.b\n", MOST_HOOKS).unwrap().hooks.odd.count(), MOST_HOOKS);
        for line in ["odd a.b\n", "run a\n"] {
            let refused = answer("hooks", line, MOST_HOOKS + 1).unwrap_err();
            assert!(matches!(refused, RemoteError::TooManyHooks(_)), "{refused}");
        }
        let probe = answer("excludes", "a\n", MOST_EXCLUDES + 1).unwrap();
        assert_eq!((probe.excludes.len(), probe.excludes_fault.is_some()), (0, true));
        assert_eq!(answer("excludes", "a\n", MOST_EXCLUDES - 1).unwrap().excludes_fault, None);
        assert!(answer("path", "/a", LONGEST_PATH).is_err());
        let SourceState::Unusable(state) = answer("source", "x", 1_000_000).unwrap().source else { panic!() };
        assert!(state.len() < 1000);
    }

    #[test]
    fn a_host_cannot_name_a_hook_elsewhere() {
        assert_eq!(hooks(b"run ../../bin/sh\nrun a b\nrun ok\nrun \n").unwrap().run, ["ok"]);
    }
}
