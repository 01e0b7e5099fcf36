//! What rsync says on stdout: `--info=progress2` while it works, `--stats`
//! when it is done, both as plain numbers (`LC_ALL=C`, `--no-h`).

use super::lines::Lines;
use crate::core::format::text::printable_bytes;

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of file contents dealt with.
    pub bytes: u64,
    /// Files transferred.
    pub files: u64,
}

/// rsync's figures at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Files, directories, links and so on.
    pub files: u64,
    /// Directories among them.
    pub directories: u64,
    /// Regular files whose contents were transferred.
    pub changed: u64,
    /// Bytes that those hold together.
    pub changed_bytes: u64,
    /// Files deleted from the copy.
    pub deleted: u64,
    /// Bytes in all files.
    pub bytes: u64,
    /// Bytes received over the wire.
    pub received: u64,
}

impl Statistics {
    /// These figures and those of another rsync, together; `shared` directories
    /// were counted by both.
    pub fn and(self, other: Statistics, shared: u64) -> Self {
        Statistics {
            files: (self.files + other.files).saturating_sub(shared),
            directories: (self.directories + other.directories).saturating_sub(shared),
            changed: self.changed + other.changed,
            changed_bytes: self.changed_bytes + other.changed_bytes,
            deleted: self.deleted + other.deleted,
            bytes: self.bytes + other.bytes,
            received: self.received + other.received,
        }
    }

    /// These figures and those of the same rsync once more: the last says what
    /// there is.
    pub(super) fn then(self, again: Statistics) -> Self {
        let (files, directories, bytes) = (again.files, again.directories, again.bytes);
        Statistics { files, directories, bytes, ..self.and(again, 0) }
    }
}

impl std::ops::Add for Progress {
    type Output = Progress;

    fn add(self, other: Progress) -> Progress {
        Progress { bytes: self.bytes + other.bytes, files: self.files + other.files }
    }
}

/// Reads rsync's stdout as it comes.
#[derive(Debug, Default)]
pub(super) struct Reader {
    lines: Lines<LONGEST_LINE>,
    files: Option<u64>,
    complete: bool,
    found: Statistics,
}

/// A line longer than this is none of rsync's, in bytes.
const LONGEST_LINE: usize = 4096;

impl Reader {
    /// Takes more output; the latest progress in it, if any.
    pub(super) fn take(&mut self, mut chunk: &[u8]) -> Option<Progress> {
        let mut latest = None;
        while let Some(line) = self.lines.next(&mut chunk) {
            latest = self.line(&printable_bytes(&line)).or(latest);
        }
        latest
    }

    /// Whether the figures came to their end.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The figures; what was missing, if they are not whole.
    pub(super) fn statistics(&self) -> Result<Statistics, String> {
        match self.files {
            Some(files) if self.complete => Ok(Statistics { files, ..self.found }),
            Some(_) => Err("they break off".to_owned()),
            None => Err("there are none".to_owned()),
        }
    }

    fn line(&mut self, line: &str) -> Option<Progress> {
        if let Some((name, value)) = line.split_once(": ") {
            let number = leading_number(value);
            let figure = match name {
                "Number of files" => {
                    self.files = number;
                    self.found.directories = kind(value, "dir").unwrap_or(0);
                    return None;
                }
                "Number of deleted files" => &mut self.found.deleted,
                "Number of regular files transferred" => &mut self.found.changed,
                "Total transferred file size" => &mut self.found.changed_bytes,
                "Total file size" => &mut self.found.bytes,
                "Total bytes received" => {
                    self.complete = number.is_some();
                    &mut self.found.received
                }
                _ => return None,
            };
            *figure = number.unwrap_or(0);
            return None;
        }
        let mut words = line.split_ascii_whitespace();
        let bytes = words.next()?.parse().ok()?;
        if !words.next()?.ends_with('%') {
            return None;
        }
        let files = line.split_once("(xfr#").and_then(|(_, rest)| leading_number(rest)).unwrap_or(0);
        Some(Progress { bytes, files })
    }
}

/// The number that a text begins with.
fn leading_number(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

/// One kind's count in `14 (reg: 10, dir: 3, link: 1)`.
fn kind(text: &str, kind: &str) -> Option<u64> {
    let inside = text.split_once('(')?.1;
    inside.split(", ").find_map(|part| leading_number(part.strip_prefix(kind)?.strip_prefix(": ")?))
}

/// What rsync 3.5.0 printed.
#[cfg(test)]
pub(super) const SAMPLE: &str = "\r              0   0%    0.00kB/s    0:00:00 (xfr#0, to-chk=0/2)\n\n\
    Number of files: 2014 (reg: 2009, dir: 3, link: 2)\nNumber of created files: 0\n\
    Number of deleted files: 2 (reg: 2)\nNumber of regular files transferred: 7\n\
    Total file size: 1234567 bytes\nTotal transferred file size: 4321 bytes\nLiteral data: 0 bytes\n\
    Matched data: 0 bytes\nFile list size: 0\nFile list generation time: 0.001 seconds\n\
    File list transfer time: 0.000 seconds\nTotal bytes sent: 64\nTotal bytes received: 29\n\n\
    sent 64 bytes  received 29 bytes  186.00 bytes/sec\ntotal size is 1234567  speedup is 0.02\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_however_they_are_cut() {
        for size in [1, 7, 4096] {
            let mut reader = Reader::default();
            SAMPLE.as_bytes().chunks(size).for_each(|chunk| {
                reader.take(chunk);
            });
            let expected = Statistics {
                files: 2014,
                directories: 3,
                changed: 7,
                changed_bytes: 4321,
                deleted: 2,
                bytes: 1_234_567,
                received: 29,
            };
            assert_eq!(reader.statistics().unwrap(), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn progress_is_the_latest() {
        let mut reader = Reader::default();
        let chunk = b"\r         32768   0%    0.00kB/s    0:00:00  \r      20000000  99% 1002.22MB/s    0:00:00 (xfr#4, to-chk=0/3)\r";
        assert_eq!(reader.take(chunk), Some(Progress { bytes: 20_000_000, files: 4 }));
        assert_eq!(reader.take(b"   123"), None);
    }

    #[test]
    fn figures_that_break_off_are_none() {
        let mut reader = Reader::default();
        reader.take(&SAMPLE.as_bytes()[..200]);
        assert!(reader.statistics().is_err());
        assert!(!reader.is_complete());
    }
}
