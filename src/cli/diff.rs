//! `backup diff`: what is different between two snapshots.

use super::output::{Array, Closed, Format, Output};
use super::session::{self, Common};
use crate::app::diff::{DiffLine, DiffRequest, SnapshotDiff};
use crate::app::snapshot_view::{self, lossy, shown};
use crate::core::files::diff::{Amount, Aspect, Change, Difference, Totals};
use crate::core::files::entry::{Entry, Kind, Moment};
use crate::core::format::text::{counted_as, human_bytes, printable};
use crate::sys::clock::Clock;
use anyhow::{Context, bail};
use chrono_tz::Tz;
use serde::Serialize;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use tracing::{info, warn};

/// What may be said on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Letters:
  +  added
  -  removed
  M  content changed: a file's size or time of modification, a symlink's target
  m  only metadata changed: mode, owner, ACL or attributes
  T  type changed, for example from a file to a symlink

OLD and NEW are names of snapshots, `latest` for the newest good one, or times such as
yesterday, '2 days ago' or 2026-11-19, for the newest good snapshot at that time.

Examples:
  backup diff vpn yesterday
  backup diff vpn backup-2026-11-19T020004Z /etc
  backup diff vpn '1 week ago' latest /var/lib --json | jq .totals

Exit status: 0 if there is no difference, 1 if there is one or something could not be read,
2 if the comparison could not start or a snapshot was removed meanwhile.")]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    format: Format,
    /// The host.
    #[arg(value_name = "HOST")]
    host: String,
    /// The older snapshot.
    #[arg(value_name = "OLD")]
    old: OsString,
    /// The newer snapshot; by default the newest one.
    #[arg(value_name = "NEW")]
    new: Option<OsString>,
    /// A path from the host's root, beginning with `/`; only what is below it is
    /// compared.
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    /// Compare the content of files of equal size.
    #[arg(long)]
    content: bool,
}

/// What the words after the host mean.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    old: String,
    new: Option<String>,
    /// Below the root.
    path: Vec<u8>,
}

impl Words {
    /// A word that begins with `/` is a path, wherever it stands.
    fn of(arguments: &Arguments) -> anyhow::Result<Self> {
        let Arguments { old, new, path, .. } = arguments;
        let is_path = |word: &&OsString| word.as_bytes().starts_with(b"/");
        let text = |word: &OsString| printable(&word.to_string_lossy());
        if is_path(&old) {
            bail!("`{}` is a path: first give the snapshots to compare, for example `yesterday`", text(old));
        }
        let (new, path) = match (new, path) {
            (Some(word), None) if is_path(&word) => (None, Some(word)),
            (Some(word), Some(path)) if is_path(&word) => {
                bail!("`{}` is a path and must come last, but `{}` follows it", text(word), text(path))
            }
            (new, path) => (new.as_ref(), path.as_ref()),
        };
        Ok(Words {
            old: old.to_string_lossy().into_owned(),
            new: new.map(|word| word.to_string_lossy().into_owned()),
            path: path.map(|path| snapshot_view::below_root(path)).transpose()?.unwrap_or_default(),
        })
    }
}

pub(super) fn execute(arguments: &Arguments, clock: Clock) -> u8 {
    session::look(&arguments.common, async || diff(arguments, clock).await)
}

async fn diff(arguments: &Arguments, clock: Clock) -> anyhow::Result<u8> {
    let words = Words::of(arguments)?;
    let request = DiffRequest {
        config: arguments.common.config(),
        host: &arguments.host,
        old: &words.old,
        new: words.new.as_deref(),
        path: words.path,
        content: arguments.content,
    };
    let question = Question { diff: SnapshotDiff::new(request, clock).await?, json: arguments.format.json };
    let work = move || {
        let mut totals = Totals::default();
        match question.answer(&mut totals) {
            // A reader that has seen enough has seen that something is different.
            Err(error) if error.is::<Closed>() => Ok(u8::from(!totals.is_empty())),
            answered => answered,
        }
    };
    tokio::task::spawn_blocking(work).await.context("the comparison broke off")?
}

/// What is compared, and how it is answered.
struct Question {
    diff: SnapshotDiff,
    json: bool,
}

impl Question {
    /// Compares, tells, and gives the exit code.
    fn answer(self, totals: &mut Totals) -> anyhow::Result<u8> {
        let diff = &self.diff;
        let trees = diff.open()?;
        let mut output = Output::new();
        let compared = if self.json {
            self.begin_json(&mut output)?;
            let mut array = Array::default();
            let compared = diff.compare(&trees, |told| {
                totals.add(&told.difference);
                array.element(&mut output, &DifferenceJson::new(&told))
            })?;
            array.end(&mut output)?;
            output.write(b",\n\"totals\": ")?;
            output.compact(totals)?;
            output.line(&format!(",\n\"unread\": {}}}", compared.unread))?;
            compared
        } else {
            diff.compare(&trees, |told| {
                totals.add(&told.difference);
                output.line(&line(&told, diff.zone))
            })?
        };
        output.end()?;
        info!("`{}` to `{}`: {}", printable(&diff.old.name), printable(&diff.new.name), summary(totals));
        if compared.unread > 0 {
            warn!("{} could not be read: differences there are not shown", compared.unread);
        }
        Ok(u8::from(!totals.is_empty() || compared.unread > 0))
    }

    fn begin_json(&self, output: &mut Output) -> anyhow::Result<()> {
        for (key, value) in [
            ("{\"host\"", self.diff.host.spelled()),
            (", \"old\"", &self.diff.old.name),
            (", \"new\"", &self.diff.new.name),
            (", \"path\"", &lossy(&self.diff.path)),
        ] {
            output.write(format!("{key}: ").as_bytes())?;
            output.compact(&value)?;
        }
        output.write(b",\n\"changes\": ")
    }
}

/// A path that is different.
#[derive(Serialize)]
struct DifferenceJson {
    change: Change,
    path: String,
    /// What changed, of what both snapshots have.
    #[serde(skip_serializing_if = "<[Aspect]>::is_empty")]
    what: Vec<Aspect>,
    /// As OLD has it; null if it does not.
    old: Option<SideJson>,
    /// As NEW has it; null if it does not.
    new: Option<SideJson>,
}

/// One copy of it.
#[derive(Serialize)]
struct SideJson {
    kind: Kind,
    /// In bytes; null for what is neither a file nor a symlink.
    size: Option<u64>,
    mtime: Moment,
    /// Octal, four digits.
    mode: String,
    uid: u32,
    gid: u32,
    /// Where a symlink points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl DifferenceJson {
    fn new(told: &DiffLine) -> Self {
        let side = |entry: Option<&Entry>, target: &Option<Vec<u8>>| {
            entry.map(|entry| SideJson {
                kind: entry.kind,
                size: snapshot_view::size(entry),
                mtime: entry.mtime,
                mode: format!("{:04o}", entry.mode),
                uid: entry.uid,
                gid: entry.gid,
                target: target.as_deref().map(|target| String::from_utf8_lossy(target).into_owned()),
            })
        };
        let what = match &told.difference {
            Difference::Changed { aspects, .. } => aspects.clone(),
            _ => Vec::new(),
        };
        let (old, new) = told.difference.sides();
        DifferenceJson {
            change: told.difference.change(),
            path: lossy(&told.path),
            what,
            old: side(old, &told.targets[0]),
            new: side(new, &told.targets[1]),
        }
    }
}

/// A difference as a line of text.
fn line(told: &DiffLine, zone: Tz) -> String {
    let (old, new) = told.difference.sides();
    let kind = new.or(old).map(|entry| entry.kind);
    let target = told.targets[1].as_deref().or(told.targets[0].as_deref());
    let details = match &told.difference {
        Difference::Added(entry) | Difference::Removed(entry) if entry.kind == Kind::File => {
            vec![format!("{} bytes", entry.size)]
        }
        Difference::Added(_) | Difference::Removed(_) => Vec::new(),
        Difference::Changed { old, new, aspects, .. } => details(old, new, aspects, &told.targets, zone),
    };
    let details = if details.is_empty() { String::new() } else { format!("  ({})", details.join(", ")) };
    let target = target.filter(|_| old.is_none() || new.is_none());
    format!("{}  {}{details}", told.difference.change().letter(), shown(&told.path, kind, target))
}

/// What changed, with how it was and is.
fn details(
    old: &Entry,
    new: &Entry,
    aspects: &[Aspect],
    targets: &[Option<Vec<u8>>; 2],
    zone: Tz,
) -> Vec<String> {
    let target = |number: usize| {
        let target: &Option<Vec<u8>> = &targets[number];
        crate::core::format::text::printable_bytes(target.as_deref().unwrap_or_default())
    };
    let mut owners = false;
    let detail = |aspect: &Aspect| {
        Some(match aspect {
            Aspect::Kind => format!("{} → {}", old.kind.word(), new.kind.word()),
            Aspect::Size => format!("{} → {} bytes", old.size, new.size),
            // That its size changed says more.
            Aspect::Mtime if aspects.contains(&Aspect::Size) => return None,
            Aspect::Mtime => format!(
                "modified {} → {}",
                snapshot_view::modified(old.mtime, zone),
                snapshot_view::modified(new.mtime, zone)
            ),
            Aspect::Content => "other bytes".to_owned(),
            Aspect::Target => format!("-> {} → -> {}", target(0), target(1)),
            Aspect::Device => "another device".to_owned(),
            Aspect::Mode => format!("mode {:04o} → {:04o}", old.mode, new.mode),
            Aspect::Owner | Aspect::Group if std::mem::replace(&mut owners, true) => return None,
            Aspect::Owner | Aspect::Group => {
                format!("owner {}:{} → {}:{}", old.uid, old.gid, new.uid, new.gid)
            }
            Aspect::Acl => "ACL".to_owned(),
            Aspect::Xattrs => "attributes".to_owned(),
        })
    };
    aspects.iter().filter_map(detail).collect()
}

/// The totals in a sentence.
fn summary(totals: &Totals) -> String {
    let count = |count: u64, one: &str, many: &str| (count > 0).then(|| counted_as(count, one, many));
    let amount = |word: &str, amount: &Amount| {
        let counts =
            [count(amount.files, "file", "files"), count(amount.directories, "directory", "directories")];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        (!counts.is_empty()).then(|| format!("{word} {}", counts.join(" and ")))
    };
    let with_bytes = |word: &str, some: &Amount| {
        amount(word, some).map(|text| format!("{text} of {}", human_bytes(some.bytes)))
    };
    let parts = [
        with_bytes("added", &totals.added),
        with_bytes("removed", &totals.removed),
        with_bytes("changed", &totals.changed),
        amount("mode, owner or attributes of", &totals.metadata),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "there are no differences".to_owned() } else { parts.join("; ") }
}
