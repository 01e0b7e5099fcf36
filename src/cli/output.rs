//! stdout: what was asked for, as a table, as text or as JSON.
//!
//! A reader that goes away (`| head`) ends the command quietly: what it wanted
//! it has.

use crate::core::format::table::Table;
use crate::core::format::text;
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::os::fd::AsFd;
use tracing::error;

/// How the answer is to be given.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Format {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// stdout, buffered; flushed by [`Output::end`].
pub(super) struct Output {
    out: BufWriter<StdoutLock<'static>>,
}

/// stdout was closed by whoever read it.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the answer any more")]
pub(super) struct Closed;

impl Output {
    pub(super) fn new() -> Self {
        Output { out: BufWriter::new(io::stdout().lock()) }
    }

    /// Writes bytes as they are.
    pub(super) fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.out.write_all(bytes).map_err(closed)
    }

    /// Writes one line.
    pub(super) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    /// Writes a table, as wide as the terminal lets it be.
    pub(super) fn table(&mut self, table: Table) -> anyhow::Result<()> {
        self.write(table.render(width()).as_bytes())
    }

    /// Writes a value as indented JSON, with a line break after it.
    pub(super) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(value).map_err(|error| closed(error.into()))?;
        self.line(&harmless(json))
    }

    /// Writes a value as JSON on one line, without its line break.
    pub(super) fn compact(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let json = serde_json::to_string(value).map_err(|error| closed(error.into()))?;
        self.write(harmless(json).as_bytes())
    }

    /// Hands on what is still buffered.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.out.flush().map_err(closed)
    }
}

/// The same JSON with every character as an escape that can steer a terminal or
/// change how others read: JSON itself asks for that below U+0020 only, and
/// names of files are strangers'. Outside of strings JSON has none but its line
/// breaks.
fn harmless(json: String) -> String {
    use std::fmt::Write;
    let steers = |c: char| c != '\n' && text::steers(c);
    if !json.contains(steers) {
        return json;
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if steers(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// A JSON array that is written as its elements come, each on a line of its own.
#[derive(Debug, Default)]
pub(super) struct Array {
    begun: bool,
}

impl Array {
    /// Writes one more element.
    pub(super) fn element(&mut self, output: &mut Output, value: &impl Serialize) -> anyhow::Result<()> {
        output.write(if self.begun { b",\n" } else { b"[\n" })?;
        self.begun = true;
        output.compact(value)
    }

    /// Writes its end, without a line break.
    pub(super) fn end(self, output: &mut Output) -> anyhow::Result<()> {
        output.write(if self.begun { b"\n]" } else { b"[]" })
    }
}

fn closed(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Closed.into(),
        _ => anyhow::Error::from(error).context("cannot write the answer to stdout"),
    }
}

/// The exit code of work that is done and whose answer was told, or was not: a
/// reader that went away makes no result a better one, and an answer that could
/// not be written is not the same as work that could not start.
pub(super) fn code_of(code: u8, told: anyhow::Result<()>) -> u8 {
    match told {
        Ok(()) => code,
        Err(error) if error.is::<Closed>() => code,
        Err(error) => {
            error!("{error:#}");
            code.max(1)
        }
    }
}

/// Says why an act that was begun could not be done, and gives its exit code.
pub(super) fn failed(whys: &[String]) -> u8 {
    whys.iter().for_each(|why| error!("{why}"));
    1
}

/// The width of the terminal that stdout is; `None` for anything else.
pub(super) fn width() -> Option<u16> {
    width_of(&io::stdout())
}

/// The width of the terminal that a stream is; `None` for anything else.
pub(super) fn width_of(stream: &(impl IsTerminal + AsFd)) -> Option<u16> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream).ok();
    Some(size.map(|size| size.ws_col).filter(|columns| *columns > 0).unwrap_or(80))
}

/// Whether stdout shows colours: it is a terminal, and nobody said otherwise
/// (<https://no-color.org>).
pub(super) fn wants_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_no_character_that_steers_a_terminal_and_means_the_same() {
        let name = "a\u{1b}[2J\u{7f}\u{9b}31m\u{202e}gpj\u{2066}\u{200f}\u{2028}\u{feff}\u{e0041}\n\"é";
        for json in [serde_json::to_string(&[name]), serde_json::to_string_pretty(&[name])] {
            let safe = harmless(json.unwrap());
            assert!(!safe.contains(|c: char| c != '\n' && text::steers(c)), "{safe:?}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&safe).unwrap(), [name]);
        }
        assert_eq!(harmless("[\"\u{202e}\"]".to_owned()), "[\"\\u202e\"]");
    }
}
