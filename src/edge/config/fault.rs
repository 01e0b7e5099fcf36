//! What can be wrong with a configuration, and how it is said.

use crate::core::format::text::printable;
use std::fmt;

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The text is not TOML.
    Syntax {
        /// Where, counted from 1.
        line: usize,
        /// Where in the line, in characters, counted from 1.
        column: usize,
        /// TOML's own words.
        message: String,
    },
    /// An option or section is not as it should be.
    Option {
        /// Where it stands, counted from 1; for a missing option, where its
        /// section begins. `None` if the section is missing too.
        line: Option<usize>,
        /// Its full name: `hosts.vpn.port`.
        key: String,
        /// What was found: `is 70000`, `is missing`.
        seen: String,
        /// What would be right: `it must be a TCP port, 1 to 65535`.
        want: String,
    },
}

impl Fault {
    /// What `toml` has to say about a text, the first of each line: what
    /// follows on it mostly follows from it. Its own way to show an error would
    /// print the line, and with it perhaps a secret.
    pub(super) fn syntax(text: &str, errors: &[toml::de::Error]) -> Vec<Self> {
        let mut places: Vec<(usize, usize, String)> = errors
            .iter()
            .map(|error| {
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
                (line_of(text, before.len()), column, printable(error.message()))
            })
            .collect();
        places.sort();
        places.dedup_by_key(|(line, _, _)| *line);
        let fault = |(line, column, message)| Fault::Syntax { line, column, message };
        places.into_iter().map(fault).collect()
    }

    /// An option that was left out without a word: a fault of this program.
    pub(super) fn internal() -> Self {
        Fault::Option {
            line: None,
            key: "settings".to_owned(),
            seen: "are incomplete, without a fault".to_owned(),
            want: "please report this as a bug".to_owned(),
        }
    }

    /// Where faults are sorted to: by line, those without one last.
    pub(super) fn place(&self) -> usize {
        match self {
            Fault::Syntax { line, .. } => *line,
            Fault::Option { line, .. } => line.unwrap_or(usize::MAX),
        }
    }
}

/// Written to follow a file's name: `:12: …`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Syntax { line, column, message } => write!(f, ":{line}:{column}: not TOML: {message}"),
            Fault::Option { line, key, seen, want } => {
                if let Some(line) = line {
                    write!(f, ":{line}")?;
                }
                write!(f, ": `{key}` {seen}; {want}")
            }
        }
    }
}

/// The line of a text that a byte stands in, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}
