//! What is on the far side in the place of directories that are to be written
//! there.

use super::{Asking, Remote, RemoteError, most, random_mark};
use crate::core::format::text::short;
use crate::sys::process::After;
use std::time::Duration;

pub(super) const SCRIPT: &str = include_str!("target.sh");
/// How long the far side may take for a million directories.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// More than is said of one path, in bytes.
const LONGEST_LINE: usize = 64;

/// What is in the place of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// A directory.
    Directory,
    /// A symlink, wherever it leads.
    Link,
    /// Something else.
    Other,
}

/// What a place is like that is to be written to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// For each path that was asked for, what is there, if anything is.
    pub grounds: Vec<Option<Ground>>,
    /// How much room there is, in bytes, if the far side told.
    pub free: Option<u64>,
}

impl Remote {
    /// Looks what is at these paths below a directory of the far side; a path
    /// after those that lead to it. None may have a newline in it. `None` if
    /// there is no such directory.
    pub async fn target(&self, root: &str, paths: &[Vec<u8>]) -> Result<Option<Target>, RemoteError> {
        let mark = random_mark();
        let mut data = Vec::new();
        for path in paths {
            data.extend_from_slice(path);
            data.push(b'\n');
        }
        let (label, words) = ("the look at what is there already", &[root, &mark]);
        let (then, most) = (After::Ends, most(paths.len(), LONGEST_LINE));
        let deadline = DEADLINE;
        let asking = Asking { script: SCRIPT, words, mark: &mark, data, then, label, most, deadline };
        parse(&self.ask(asking).await?, &mark, paths.len())
    }
}

/// Takes the answer apart. Text before the mark is somebody's login message.
fn parse(answer: &[u8], mark: &str, paths: usize) -> Result<Option<Target>, RemoteError> {
    let answer = String::from_utf8_lossy(answer);
    let nonsense = |what: &str| Err(RemoteError::Nonsense(short(what.as_bytes())));
    let mut lines = answer.lines().skip_while(|line| *line != mark).skip(1);
    let mut target = Target { grounds: vec![None; paths], free: None };
    loop {
        let Some(line) = lines.next() else { return nonsense("it breaks off") };
        if line == mark {
            return Ok(Some(target));
        }
        let (word, number) = line.split_once(' ').unwrap_or((line, ""));
        let ground = match word {
            "unusable" => return Ok(None),
            "free" => {
                target.free = number.parse::<u64>().ok().map(|kilobytes| kilobytes.saturating_mul(1024));
                continue;
            }
            "directory" => Ground::Directory,
            "link" => Ground::Link,
            "other" => Ground::Other,
            _ => return nonsense(line),
        };
        match number.parse::<usize>().ok().and_then(|number| target.grounds.get_mut(number)) {
            Some(place) => *place = Some(ground),
            None => return nonsense(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_taken_apart() {
        let answer = b"welcome!\n\nM\ndirectory 0\nlink 2\nother 3\nfree 12\nM\n";
        let target = parse(answer, "M", 4).unwrap().unwrap();
        assert_eq!(target.free, Some(12 * 1024));
        assert_eq!(target.grounds, [Some(Ground::Directory), None, Some(Ground::Link), Some(Ground::Other)]);
        assert_eq!(parse(b"\nM\nunusable 0\nM\n", "M", 0).unwrap(), None);
        for broken in [&b""[..], b"\nM\nlink 0\n", b"\nM\nlink 1\nM\n", b"\nM\nodd 0\nM\n"] {
            assert!(parse(broken, "M", 1).is_err());
        }
    }
}
