//! The one question that a run asks before it touches anything: who are you,
//! what is mounted, what do you exclude, which hooks have you got?

use super::{Remote, RemoteError, random_mark};
use crate::host::Host;
use crate::settings::Settings;
use crate::text::printable_bytes;
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
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
/// A host with more mounts than this is none: they are compared with one
/// another, on the thread that serves all hosts.
const MOST_MOUNTS: usize = 20_000;

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
    pub odd: Vec<String>,
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

impl Remote {
    /// Asks the host, in one round trip.
    pub async fn probe(&self, question: Question<'_>) -> Result<Probe, RemoteError> {
        let mark = random_mark();
        let asked = self.script(SCRIPT, &question.words(&mark), "the probe".to_owned()).deadline(DEADLINE);
        let output = asked.most_output(LONGEST_ANSWER).output().await?;
        if !output.exit.is_success() || !is_answer(&output.stdout, &mark) {
            return Err(RemoteError::no_answer(&output, self.sudo));
        }
        parse(&output.stdout, &mark)
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
        let line = || printable_bytes(body).trim_end_matches("\\n").trim().to_owned();
        match &section[..end] {
            b"user" => probe.is_root = line() == "0",
            b"witness" => probe.is_this_machine = line() == "here",
            b"machine" => probe.machine = Some(line()).filter(|id| is_machine_id(id)),
            b"time" => {
                probe.time = line().parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            }
            b"source" if line() == "ok" => probe.source = SourceState::Ok,
            b"source" => probe.source = SourceState::Unusable(line()),
            b"path" => probe.real_source = real_path(body),
            b"rsync" => probe.rsync = Some(line()).filter(|path| !path.is_empty()),
            b"mounts" if body.iter().filter(|&&b| b == b'\n').count() > MOST_MOUNTS => {
                let why = format!("its list of mounts has more than {MOST_MOUNTS} lines");
                return Err(RemoteError::Nonsense(why));
            }
            b"mounts" => probe.mounts = body.to_vec(),
            b"excludes" if body.len() > LONGEST_EXCLUDES => {
                probe.excludes_fault = Some("it is longer than 1 MiB");
            }
            b"excludes" => probe.excludes = body.to_vec(),
            b"unreadable-excludes" => probe.excludes_fault = Some("it cannot be read"),
            b"hooks" => probe.hooks = hooks(body),
            b"end" => complete = true,
            other => return Err(RemoteError::Nonsense(format!("section `{}`", printable_bytes(other)))),
        }
    }
    if complete { Ok(probe) } else { Err(RemoteError::Nonsense("it breaks off".to_owned())) }
}

fn real_path(body: &[u8]) -> String {
    String::from_utf8_lossy(body.strip_suffix(b"\n").unwrap_or(body)).into_owned()
}

fn hooks(body: &[u8]) -> Hooks {
    let mut hooks = Hooks::default();
    for line in String::from_utf8_lossy(body).lines() {
        match line.split_once(' ') {
            Some(("run", name)) if is_hook_name(name) => hooks.run.push(name.to_owned()),
            Some(("odd", name)) => hooks.odd.push(name.to_owned()),
            _ => {}
        }
    }
    hooks
}

fn is_hook_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
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
        assert!(probe.time.is_some_and(|time| time.timestamp() > 1_700_000_000));
        assert_eq!(probe.source, SourceState::Ok);
        assert_eq!(probe.excludes, patterns);
        assert_eq!(probe.hooks.run, ["10-a", "20-b"]);
        assert_eq!(probe.hooks.odd, ["mysql.sh", "new?line"]);
        assert!(probe.rsync.unwrap().ends_with("/rsync"));
        assert!(String::from_utf8(probe.mounts).unwrap().contains(" / / "));
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
    fn a_list_of_mounts_without_measure_is_no_answer() {
        let answer =
            |mounts| format!("M mounts\n{}\nM end\n", "1 1 9:1 / /m rw - ext4 /dev/sdb rw\n".repeat(mounts));
        assert!(parse(format!("\n{}", answer(MOST_MOUNTS - 1)).as_bytes(), "M").is_ok());
        assert!(parse(format!("\n{}", answer(MOST_MOUNTS + 1)).as_bytes(), "M").is_err());
    }

    #[test]
    fn a_host_cannot_name_a_hook_elsewhere() {
        assert_eq!(hooks(b"run ../../bin/sh\nrun a b\nrun ok\nrun \n").run, ["ok"]);
    }
}
