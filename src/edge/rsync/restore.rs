//! The other way: rsync writes parts of a snapshot to where people want them.
//!
//! Nothing is ever deleted, and what is in the place of a file is replaced only
//! if that is wanted. Every path keeps its place below the destination
//! (`--relative`); directories above it are not touched (`--no-implied-dirs`).
//!
//! On this machine rsync can be confined: it then runs where the kernel lets
//! nobody write but below the destination, whatever becomes a symlink there
//! (docs/decisions/0028-a-restoration-is-confined.md).

use super::arguments::{Arguments, Heeding, Reached, with_slash};
use super::lines::Lines;
use super::{Confinement, Ending, Limits, Progress, Transfer, TransferError, judge, stats, watched};
use crate::core::format::text::printable_bytes;
use crate::core::model::precision::Precision;
use crate::sys::process::{Failure, Program};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A line longer than this is none of rsync's, in bytes.
const LONGEST_LINE: usize = 64 * 1024;
/// How many of the paths that differ are named.
const NAMED: usize = 10;

/// What becomes of files that are there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Existing {
    /// They stay as they are.
    Leave,
    /// They become as in the snapshot.
    Replace,
    /// The same, and what is replaced is kept below a directory of this name at
    /// the top of the destination, each at its path.
    Keep(String),
}

/// What to write, from where, to where.
#[derive(Debug)]
pub struct Restore {
    /// The snapshot's root, absolute.
    pub from: PathBuf,
    /// Paths below it, without a slash at either end.
    pub paths: Vec<Vec<u8>>,
    /// A file of such paths, each with a NUL after it, instead of those.
    pub list: Option<PathBuf>,
    /// Whether what is below the paths is written too. Without it they are
    /// directories, to be made.
    pub whole: bool,
    /// The root that the paths are written below, absolute.
    pub to: PathBuf,
    /// What becomes of files that are there already.
    pub existing: Existing,
    /// rsync's `--rsh`; `None` writes on this machine.
    pub rsh: Option<String>,
    /// rsync's `--rsync-path`.
    pub rsync_path: Option<&'static str>,
    /// Compress on the wire.
    pub compress: bool,
    /// rsync's `--bwlimit`.
    pub bandwidth_limit: Option<String>,
    /// The host's lock, which rsync holds as its standard input.
    pub lock: Option<File>,
    /// Has the kernel let rsync write nowhere but below the root, which is one of
    /// this machine.
    pub confined: Option<Confinement>,
}

/// What rsync would do, and how far the destination is from the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestorePreview {
    /// What is no directory and not there yet.
    pub new: u64,
    /// What is no directory, and is there and differs.
    pub different: u64,
    /// Directories of both kinds.
    pub unlike_directories: u64,
    /// The first of all these, safe to print.
    pub first: Vec<String>,
    /// Bytes in the files that would be written.
    pub bytes: u64,
    /// Bytes in all files.
    pub total_bytes: u64,
    /// Entries in all, directories among them.
    pub entries: u64,
    /// Directories among those.
    pub directories: u64,
    /// What rsync complained of, safe to print.
    pub complaints: Vec<String>,
}

/// What a look compares files by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// By size and time.
    Quick,
    /// By their contents.
    Thorough,
}

impl Restore {
    fn arguments(&self, look: Option<Look>) -> Vec<OsString> {
        let flags = ["-aHAS", "--relative", "--no-implied-dirs", "--stats", "--no-h"];
        let heeding = if self.rsh.is_some() { Heeding::Sender } else { Heeding::Both };
        let mut args = Arguments::new(&flags, heeding);
        args.times(Precision::Nanoseconds);
        if let Some(list) = &self.list {
            args.valued("--files-from=", list);
            args.flags(&["--from0"]);
        }
        match (self.whole, &self.list) {
            (false, _) => args.flags(&["--no-recursive", "--dirs"]),
            // A list of files turns it off.
            (true, Some(_)) => args.flags(&["--recursive"]),
            (true, None) => {}
        }
        match (look, &self.existing) {
            (Some(look), _) => {
                args.flags(&["--dry-run", "--out-format=%i %l %n"]);
                if look == Look::Thorough {
                    args.flags(&["--checksum"]);
                }
            }
            (None, existing) => {
                args.flags(&["--info=progress2"]);
                match existing {
                    Existing::Leave => args.flags(&["--ignore-existing"]),
                    // Size and time may be the same, and the contents not.
                    Existing::Replace => args.flags(&["--checksum"]),
                    Existing::Keep(name) => {
                        args.flags(&["--checksum", "--backup"]);
                        // Relative to the destination, also on a host. A suffix would make
                        // rsync leave out the times of directories.
                        args.valued("--backup-dir=", name);
                    }
                }
            }
        }
        let far = Reached {
            rsh: self.rsh.as_deref(),
            rsync_path: self.rsync_path,
            compress: self.compress,
            bandwidth_limit: self.bandwidth_limit.as_deref(),
        };
        args.between(far, self.sources(), far.contents(self.to.as_os_str()))
    }

    /// What is sent: the paths, or the root that a list of paths is below.
    fn sources(&self) -> Vec<OsString> {
        let from = self.from.as_os_str().as_bytes();
        if self.list.is_some() {
            return vec![with_slash(&self.from)];
        }
        self.paths.iter().map(|path| OsString::from_vec([from, b"/./", path].concat())).collect()
    }

    fn program(&self, look: Option<Look>) -> Result<Program, TransferError> {
        let program = match self.confined.filter(|_| look.is_none()) {
            Some(confinement) => {
                // A list by its directory: a file has no place of its own there.
                let lists = self.list.as_deref().and_then(Path::parent);
                let reads: Vec<&Path> = [&*self.from].into_iter().chain(lists).collect();
                confinement.rsync(&self.to, &reads)?
            }
            None => Program::new("rsync"),
        };
        let program = program.args(self.arguments(look)).called("rsync");
        Ok(match self.lock.as_ref().map(File::try_clone) {
            Some(Ok(lock)) => program.input_file(lock),
            Some(Err(error)) => {
                return Err(Failure::NotStarted { command: "rsync".to_owned(), error }.into());
            }
            None => program,
        })
    }

    /// Writes, telling `progress` now and then how far it is.
    pub async fn run(
        &self,
        limits: Limits<'_>,
        mut progress: impl FnMut(Progress),
    ) -> Result<Transfer, TransferError> {
        let mut figures = stats::Reader::default();
        let output = watched(self.program(None)?, limits, |chunk| {
            if let Some(now) = figures.take(chunk) {
                progress(now);
            }
        })
        .await?;
        judge(&output, &figures)
    }

    /// Looks what there is to write, by sizes and times.
    pub async fn look_ahead(&self, limits: Limits<'_>) -> Result<RestorePreview, TransferError> {
        self.look(Look::Quick, limits).await
    }

    /// Looks what differs from the snapshot, by contents and all the rest.
    pub async fn look_back(&self, limits: Limits<'_>) -> Result<RestorePreview, TransferError> {
        self.look(Look::Thorough, limits).await
    }

    async fn look(&self, look: Look, limits: Limits<'_>) -> Result<RestorePreview, TransferError> {
        let mut figures = stats::Reader::default();
        let mut itemized = Itemized::default();
        let output = watched(self.program(Some(look))?, limits, |chunk| {
            figures.take(chunk);
            itemized.take(chunk);
        })
        .await?;
        let transfer = judge(&output, &figures)?;
        // What was said beside a look that went well is not of its files.
        let is_whole = transfer.ending == Ending::Complete;
        Ok(RestorePreview {
            entries: transfer.statistics.files,
            directories: transfer.statistics.directories,
            total_bytes: transfer.statistics.bytes,
            complaints: if is_whole { Vec::new() } else { transfer.complaints },
            ..itemized.found
        })
    }
}

/// Reads what rsync itemizes: `>f.st...... 12 etc/fstab`.
#[derive(Debug, Default)]
struct Itemized {
    lines: Lines<LONGEST_LINE>,
    found: RestorePreview,
}

impl Itemized {
    fn take(&mut self, mut chunk: &[u8]) {
        while let Some(line) = self.lines.next(&mut chunk) {
            self.line(&line);
        }
    }

    fn line(&mut self, line: &[u8]) {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (Some(change), Some(length), Some(name)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let Some(length) = std::str::from_utf8(length).ok().and_then(|length| length.parse::<u64>().ok())
        else {
            return;
        };
        let [how, kind, rest @ ..] = change else { return };
        if rest.len() < 9 || !b"<>ch.".contains(how) || !b"fdLDS".contains(kind) {
            return;
        }
        if *kind == b'd' {
            self.found.unlike_directories += 1;
        } else if rest.iter().all(|flag| *flag == b'+') {
            self.found.new += 1;
        } else {
            self.found.different += 1;
        }
        if matches!(how, b'<' | b'>') && *kind == b'f' {
            self.found.bytes += length;
        }
        if self.found.first.len() < NAMED {
            self.found.first.push(format!("/{}", printable_bytes(name).trim_start_matches("./")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rsync_itemizes_is_counted() {
        let mut itemized = Itemized::default();
        itemized.take(
            b"<f+++++++++ 7 etc/new name\n<f.st...... 5 etc/fstab\n.d..t...... 4096 etc/\ncL+++++++++ 3 etc/link -> x\n\
              hf+++++++++ 9 etc/hard\n\nNumber of files: 5 (reg: 3)\nTotal file size: 12 bytes\n",
        );
        let RestorePreview { new, different, unlike_directories, bytes, first, .. } = itemized.found;
        assert_eq!((new, different, unlike_directories, bytes), (3, 1, 1, 12));
        assert_eq!(first[..2], ["/etc/new name", "/etc/fstab"]);
    }
}
