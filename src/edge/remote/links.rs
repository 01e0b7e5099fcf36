//! Whether files of the host have more than one name: those must not be
//! written in place.

use super::words::encoded;
use super::{Asking, Remote, RemoteError, most, random_mark};
use crate::core::filter::SearchRoot;
use crate::sys::process::{After, Exit};
use std::time::Duration;

pub(super) const SCRIPT: &str = include_str!("links.sh");
/// What the script exits with if the host's tools do not do.
const NO_TOOLS: i32 = 123;
/// The exits of a `find` that has seen what there is: 1 is one that met a
/// directory that has just gone, or that it may not read, which rsync may not
/// read either.
const LOOKED_THROUGH: [&[u8]; 2] = [b"0", b"1"];

/// What one look can say, in bytes: the path of a file, and a few words.
const LONGEST_LOOK: usize = 8192;

/// What was found at a path of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Links {
    /// Nothing is there.
    Missing,
    /// This is a symbolic link: the path itself, or a directory on the way to
    /// it.
    Symlink(Vec<u8>),
    /// No file has more than one link.
    Single,
    /// This file has more than one link; there may be others.
    Several(Vec<u8>),
    /// It could not be looked through in time.
    Unknown,
}

impl Remote {
    /// Looks for files with more than one link at and below paths. The answer
    /// is in their order, and names files as the host does. No process stays
    /// there, whenever the future is dropped.
    ///
    /// # Errors
    /// The host cannot be asked, or its `find` or `timeout` do not do.
    pub async fn links(
        &self,
        source: &str,
        looks: &[SearchRoot],
        deadline: Duration,
    ) -> Result<Vec<Links>, RemoteError> {
        let mark = random_mark();
        let limit = each_limit(deadline, looks.len()).as_secs().to_string();
        let mut data = Vec::new();
        for look in looks {
            data.extend_from_slice(if look.stays { b"one " } else { b"all " });
            data.push(b'.');
            data.extend(look.path.iter().flat_map(|byte| encoded(*byte).into_bytes()));
            data.push(b'\n');
        }
        data.push(b'\n');
        let (label, words) = ("the look for hard links", &[source, &limit, &mark]);
        let most = most(looks.len(), LONGEST_LOOK);
        let then = After::StaysOpen;
        let asking = Asking { script: SCRIPT, words, mark: &mark, data, then, label, most, deadline };
        match self.ask(asking).await {
            Err(RemoteError::NoAnswer { exit: Exit::Code(NO_TOOLS), .. }) => Err(RemoteError::NoTools),
            answer => parse(&answer?, &mark, source, looks.len()),
        }
    }
}

/// How long each of so many looks may take, one after the other, so that all
/// have ended a little before they are given up here.
pub fn each_limit(deadline: Duration, looks: usize) -> Duration {
    let all = deadline.saturating_sub(Duration::from_secs(10)).as_secs();
    let looks = u64::try_from(looks).unwrap_or(u64::MAX).max(1);
    Duration::from_secs((all / looks).max(1))
}

/// Takes the answer apart. Text before the first mark is somebody's login
/// message.
fn parse(answer: &[u8], mark: &str, source: &str, expected: usize) -> Result<Vec<Links>, RemoteError> {
    let nonsense = |why: &str| Err(RemoteError::Nonsense(why.to_owned()));
    let begin = format!("\n{mark}\n").into_bytes();
    let Some(at) = answer.windows(begin.len()).position(|part| part == begin) else {
        return nonsense("it has no beginning");
    };
    let end = format!("{mark}\n").into_bytes();
    let Some(body) = answer[at + begin.len()..].strip_suffix(&end[..]) else {
        return nonsense("it breaks off");
    };
    let mut words = body.split(|byte| *byte == 0);
    let source = source.trim_end_matches('/').as_bytes();
    let on_host = |path: &[u8]| [source, path.strip_prefix(b".").unwrap_or(path)].concat();
    let mut found = Vec::new();
    while let Some(word) = words.next().filter(|word| !word.is_empty()) {
        found.push(match word {
            b"missing" => Links::Missing,
            b"symlink" => Links::Symlink(on_host(words.next().unwrap_or_default())),
            b"looked" => match words.next().unwrap_or_default() {
                file if file.starts_with(b"./") => {
                    words.next();
                    Links::Several(on_host(file))
                }
                done => match done.strip_prefix(b"done ") {
                    Some(exit) if LOOKED_THROUGH.contains(&exit) => Links::Single,
                    Some(_) => Links::Unknown,
                    None => return nonsense("a look without an end"),
                },
            },
            _ => return nonsense("a word that says nothing of a path"),
        });
    }
    if found.len() == expected { Ok(found) } else { nonsense("it does not speak of every path") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    #[tokio::test]
    async fn a_file_with_a_second_name_is_found_whatever_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &[u8]| dir.path().join(OsStr::from_bytes(name));
        let odd: &[u8] = b"a dir/-n \"$(id)\" it's\n*\xff";
        for folder in ["plain/deep", "a dir", "empty"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(at(b"plain/deep/file"), "").unwrap();
        fs::write(at(b"file"), "").unwrap();
        fs::write(at(odd), "").unwrap();
        fs::hard_link(at(odd), at(b"elsewhere")).unwrap();
        symlink("plain", at(b"link")).unwrap();
        fs::write(at(b"odd\n"), "").unwrap();
        fs::hard_link(at(b"odd\n"), at(b"odd")).unwrap();
        let paths: [&[u8]; 10] = [
            b"/odd\n",
            b"/plain",
            b"/a dir",
            b"/empty",
            b"/file",
            b"/elsewhere",
            b"/gone",
            b"/link",
            b"/link/deep",
            b"/file/below",
        ];
        let looks = paths.map(|path| SearchRoot { path: path.to_vec(), stays: path != b"/a dir" });
        let local = Remote::local();
        let source = dir.path().to_str().unwrap();
        let on_host = |path: &[u8]| [source.as_bytes(), path].concat();
        let found = local.links(source, &looks, Duration::from_secs(30)).await.unwrap();
        assert_eq!(
            found,
            [
                Links::Several(on_host(b"/odd\n")),
                Links::Single,
                Links::Several(on_host(&[b"/", odd].concat())),
                Links::Single,
                Links::Single,
                Links::Several(on_host(b"/elsewhere")),
                Links::Missing,
                Links::Symlink(on_host(b"/link")),
                Links::Symlink(on_host(b"/link")),
                Links::Missing,
            ]
        );
    }

    #[test]
    fn all_looks_together_end_before_they_are_given_up() {
        for (deadline, looks, each) in
            [(600, 1, 590), (600, 2, 295), (600, 7, 84), (5, 1, 1), (600, 10_000, 1)]
        {
            assert_eq!(
                each_limit(Duration::from_secs(deadline), looks),
                Duration::from_secs(each),
                "{looks}"
            );
        }
    }

    #[test]
    fn an_answer_that_leaves_paths_out_is_no_answer() {
        let good = b"motd\n\nM\nlooked\0done 0\0looked\0./a\0done 0\0looked\0done 124\0missing\0M\n";
        let several = Links::Several(b"/srv/a".to_vec());
        assert_eq!(
            parse(good, "M", "/srv/", 4).unwrap(),
            [Links::Single, several, Links::Unknown, Links::Missing]
        );
        for answer in [
            &b""[..],
            b"\nM\nM\n",
            b"\nM\nlooked\0M\n",
            b"\nM\nlooked\0done 0\0",
            b"\nM\nlooked\0what\0M\n",
            b"\nM\nwhat\0M\n",
            b"\nM\nlooked\0done 0\0missing\0M\n",
        ] {
            assert!(parse(answer, "M", "/", 1).is_err(), "{}", String::from_utf8_lossy(answer));
        }
    }
}
