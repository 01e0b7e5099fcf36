//! Lines that are drawn over one another at the end of a terminal, in one write
//! each time, so that nothing flickers: what is the same stays as it is.

use super::board::Size;
use std::io::Write;

/// Erases to the end of the line.
const ERASE_LINE: &str = "\x1b[K";
/// Erases to the end of the screen.
const ERASE_BELOW: &str = "\x1b[J";

/// What stands on the terminal that stderr is.
#[derive(Debug, Default)]
pub(super) struct Screen {
    drawn: Vec<String>,
    size: Option<Size>,
    ended: bool,
}

impl Screen {
    /// The size to draw in; `None` if nothing is to be drawn, as in the
    /// background of the terminal, where it would go over what somebody types.
    pub(super) fn size(&mut self) -> Option<Size> {
        if self.ended {
            return None;
        }
        let stderr = std::io::stderr();
        // Asked of a terminal that is not ours, the first fails.
        if rustix::termios::tcgetpgrp(&stderr).is_ok_and(|group| group != rustix::process::getpgrp()) {
            self.drawn.clear();
            return None;
        }
        let size = rustix::termios::tcgetwinsize(&stderr).ok();
        let known = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        Some(known.map_or(Size { columns: 80, rows: 24 }, |size| Size {
            columns: usize::from(size.ws_col),
            rows: usize::from(size.ws_row),
        }))
    }

    /// Draws these lines in the place of the former ones.
    pub(super) fn draw(&mut self, lines: &[String], size: Size) {
        if self.drawn != lines || self.size != Some(size) {
            write(&redrawn(&self.drawn, lines, size));
            self.drawn = lines.to_vec();
            self.size = Some(size);
        }
    }

    /// Takes the lines away until they are drawn again.
    pub(super) fn erase(&mut self) {
        if let (Some(size), false) = (self.size(), self.drawn.is_empty()) {
            write(&redrawn(&self.drawn, &[], size));
        }
        self.drawn.clear();
    }

    /// Takes the lines away for good.
    pub(super) fn end(&mut self) {
        self.erase();
        self.ended = true;
    }
}

/// What has to be written so that `lines` stand where `drawn` stood. The cursor
/// stays at the end of the last line.
fn redrawn(drawn: &[String], lines: &[String], size: Size) -> String {
    // A terminal that has become narrower since has broken the lines.
    let broken = |line: &String| line.chars().count().saturating_sub(1) / size.columns.max(1);
    let up = drawn.len().saturating_sub(1) + drawn.iter().map(broken).sum::<usize>();
    let mut text = String::from("\r");
    if up > 0 {
        text.push_str(&format!("\x1b[{}A", up.min(size.rows)));
    }
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            text.push_str("\r\n");
        }
        text.push_str(line);
        text.push_str(ERASE_LINE);
    }
    text.push_str(ERASE_BELOW);
    text
}

/// A terminal that is gone stops nothing.
fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { columns: 10, rows: 5 };

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn lines_are_drawn_over_the_former_ones() {
        assert_eq!(redrawn(&[], &lines(&["a", "b"]), SIZE), "\ra\x1b[K\r\nb\x1b[K\x1b[J");
        assert_eq!(redrawn(&lines(&["a", "b"]), &lines(&["c"]), SIZE), "\r\x1b[1Ac\x1b[K\x1b[J");
        assert_eq!(redrawn(&lines(&["c"]), &[], SIZE), "\r\x1b[J");
    }

    #[test]
    fn lines_that_a_narrower_terminal_broke_are_drawn_over_as_well() {
        let long = lines(&["0123456789", "01234567890", "x"]);
        assert_eq!(redrawn(&long, &[], SIZE), "\r\x1b[3A\x1b[J");
        let many = vec!["x".repeat(100); 3];
        assert_eq!(redrawn(&many, &[], SIZE), "\r\x1b[5A\x1b[J", "not above the screen");
    }
}
