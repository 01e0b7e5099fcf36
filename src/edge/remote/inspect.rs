//! A close look at a few files of the host, where rsync's comparison leaves
//! open what is behind a difference.

use super::{Asking, Remote, RemoteError, most, random_mark};
use crate::sys::process::After;
use chrono::{DateTime, Utc};
use std::time::Duration;

pub(super) const SCRIPT: &str = include_str!("inspect.sh");

/// More than is said of one file, in bytes.
const LONGEST_LINE: usize = 64;

/// What a file of the host is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteFile {
    /// No regular file is there any more.
    Gone,
    /// It cannot be read to its end.
    Unreadable,
    /// It is there and can be read.
    File {
        /// When its contents or attributes were last changed (`ctime`), as the
        /// host's clock has it; no program can put that back. `None` if the
        /// host's `stat` does not say.
        changed: Option<DateTime<Utc>>,
    },
}

impl Remote {
    /// When entries of any kind below `source` were last changed, given by their
    /// paths from there; [`RemoteFile::Unreadable`] is none of the answers. They are in
    /// the order of the paths.
    pub async fn changes(
        &self,
        source: &str,
        paths: &[&[u8]],
        deadline: Duration,
    ) -> Result<Vec<RemoteFile>, RemoteError> {
        self.looks(source, paths, deadline, "any").await
    }

    /// Looks at files below `source`, given by their paths from there, and
    /// reads each to its end. The answer is in their order.
    pub async fn look(
        &self,
        source: &str,
        paths: &[&[u8]],
        deadline: Duration,
    ) -> Result<Vec<RemoteFile>, RemoteError> {
        self.looks(source, paths, deadline, "read").await
    }

    async fn looks(
        &self,
        source: &str,
        paths: &[&[u8]],
        deadline: Duration,
        how: &str,
    ) -> Result<Vec<RemoteFile>, RemoteError> {
        let mark = random_mark();
        let mut data = Vec::new();
        for path in paths {
            // Not an option, whatever the file is called.
            data.extend_from_slice(b"./");
            data.extend_from_slice(path);
            data.push(0);
        }
        let (label, words) = ("the look at single files", &[source, how, &mark]);
        let (then, most) = (After::Ends, most(paths.len(), LONGEST_LINE));
        let asking = Asking { script: SCRIPT, words, mark: &mark, data, then, label, most, deadline };
        let answer = self.ask(asking).await?;
        parse(&String::from_utf8_lossy(&answer), &mark, paths.len())
    }
}

/// Takes the answer apart. Text before the first mark is somebody's login
/// message.
fn parse(answer: &str, mark: &str, expected: usize) -> Result<Vec<RemoteFile>, RemoteError> {
    let nonsense = |why: &str| Err(RemoteError::Nonsense(why.to_owned()));
    let mut lines = answer.lines().skip_while(|line| *line != mark).skip(1);
    let mut looks = Vec::new();
    for line in lines.by_ref().take_while(|line| *line != mark) {
        looks.push(match line.split_once(' ').unwrap_or((line, "")) {
            ("gone", _) => RemoteFile::Gone,
            ("unreadable", _) => RemoteFile::Unreadable,
            ("file", seconds) => {
                let changed = seconds.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
                RemoteFile::File { changed }
            }
            _ => return nonsense("a line that says nothing of a file"),
        });
    }
    if looks.len() == expected { Ok(looks) } else { nonsense("it does not speak of every file") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn files_of_any_name_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let name: &[u8] = b"-n \"$(id)\" it's\n\xff";
        use std::os::unix::ffi::OsStrExt;
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), "text").unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let local = Remote::local();
        let source = dir.path().to_str().unwrap();
        let limit = Duration::from_secs(30);
        let looks = local.look(source, &[name, b"folder", b"missing", b"link"], limit).await.unwrap();
        assert!(
            matches!(looks[0], RemoteFile::File { changed: Some(time) } if time.timestamp() > 1_700_000_000),
            "{looks:?}"
        );
        assert_eq!(looks[1..], [RemoteFile::Gone; 3]);
        let looks = local.changes(source, &[name, b"folder", b"missing", b"link"], limit).await.unwrap();
        assert_eq!(looks[2], RemoteFile::Gone);
        for (place, look) in looks.iter().enumerate().filter(|(place, _)| *place != 2) {
            assert!(matches!(look, RemoteFile::File { changed: Some(_) }), "{place}: {look:?}");
        }
    }

    #[test]
    fn an_answer_that_leaves_files_out_is_no_answer() {
        let file = RemoteFile::File { changed: None };
        assert_eq!(parse("motd\n\nM\ngone\nfile\nM\n", "M", 2).unwrap(), [RemoteFile::Gone, file]);
        for answer in ["", "M\n", "M\ngone\nM\n", "M\ngone\n", "M\ngone\nwhat\nM\n"] {
            assert!(parse(answer, "M", 2).is_err(), "{answer:?}");
        }
    }
}
