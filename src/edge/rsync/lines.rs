//! rsync's output in lines, as it comes.
//!
//! rsync tells of a line break or a carriage return in a name as `\#012` or
//! `\#015`, so both end a line.

/// Puts lines together from pieces. Of a line that is longer than rsync's can be,
/// the rest is dropped.
#[derive(Debug)]
pub(super) struct Lines<const LONGEST: usize> {
    line: Vec<u8>,
}

impl<const LONGEST: usize> Default for Lines<LONGEST> {
    fn default() -> Self {
        Lines { line: Vec::new() }
    }
}

impl<const LONGEST: usize> Lines<LONGEST> {
    /// The next line that a piece completes, without its end; the piece is then what
    /// comes after it. `None` if the piece completes no more.
    pub(super) fn next(&mut self, piece: &mut &[u8]) -> Option<Vec<u8>> {
        let end = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let (more, rest) = match end {
            Some(end) => (&piece[..end], &piece[end + 1..]),
            None => (*piece, &[][..]),
        };
        let room = LONGEST.saturating_sub(self.line.len());
        self.line.extend_from_slice(&more[..more.len().min(room)]);
        *piece = rest;
        end.map(|_| self.rest())
    }

    /// What has no end yet.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_and_none_is_too_long() {
        let mut lines = Lines::<5>::default();
        let mut found = Vec::new();
        for mut piece in [&b"on"[..], b"e\ntwo\r\nlo", b"ng", b"est of all\n", b"end"] {
            while let Some(line) = lines.next(&mut piece) {
                found.push(String::from_utf8(line).unwrap());
            }
        }
        assert_eq!(found, ["one", "two", "", "longe"]);
        assert_eq!(lines.rest(), b"end");
    }
}
