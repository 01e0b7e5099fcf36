//! A configuration as a whole, while its sections are read: what is known,
//! what nobody took, and what is wrong.

use super::environment::Environment;
use super::fault::Fault;
use super::section::Section;
use crate::core::format::text::{printable, shortened};
use crate::core::model::problem::Problem;
use std::cell::RefCell;
use std::collections::BTreeSet;
use toml::de::DeTable;

/// How much of a name or value is shown, in characters.
pub(super) const SHOWN: usize = 80;

/// A configuration while it is read, and what came to light.
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    pub(super) environment: &'a Environment,
    pub(super) faults: RefCell<Vec<Fault>>,
    pub(super) warnings: RefCell<Vec<Problem>>,
    /// Every option and section that was asked for, by its full name.
    pub(super) known: RefCell<BTreeSet<String>>,
    pub(super) unknown: RefCell<Vec<Unknown>>,
}

/// A key that nobody took. What to say of it is found out when every section
/// was read, since it may belong to another one.
pub(super) struct Unknown {
    pub(super) line: usize,
    pub(super) section: String,
    pub(super) key: String,
    pub(super) siblings: Vec<String>,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str, environment: &'a Environment) -> Self {
        Document {
            text,
            environment,
            faults: RefCell::default(),
            warnings: RefCell::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
        }
    }

    /// Reads the whole document.
    pub(super) fn read<T>(&self, table: &DeTable<'_>, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        Section::top(self, table).finish(read)
    }

    /// The warnings; or the faults, if there are any.
    pub(super) fn conclude(self) -> Result<Vec<Problem>, Vec<Fault>> {
        let known = self.known.into_inner();
        let mut faults = self.faults.into_inner();
        faults.extend(self.unknown.into_inner().iter().map(|unknown| unknown.fault(&known)));
        faults.sort_by_key(Fault::place);
        if faults.is_empty() { Ok(self.warnings.into_inner()) } else { Err(faults) }
    }

    /// Every option and section that was asked for, by its full name.
    #[cfg(test)]
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
    }
}

impl Unknown {
    fn fault(&self, known: &BTreeSet<String>) -> Fault {
        let elsewhere = || known.iter().find(|name| name.rsplit('.').next() == Some(&self.key));
        let want = if let Some(near) = nearest(&self.key, self.siblings.iter().map(String::as_str)) {
            format!("did you mean `{near}`?")
        } else if let Some(name) = elsewhere() {
            match name.contains('.') {
                true => format!("did you mean `{name}`?"),
                false => {
                    format!("did you mean the top-level `{name}`? It must stand before the first section")
                }
            }
        } else {
            let names: Vec<String> = self.siblings.iter().map(|name| format!("`{name}`")).collect();
            format!("known here: {}", names.join(", "))
        };
        let (line, key) = (Some(self.line), join(&self.section, &self.key));
        Fault::Option { line, key, seen: "is unknown".to_owned(), want }
    }
}

/// The name that was probably meant.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let likeness = |other: &str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    known
        .map(|other| (likeness(other), other))
        .filter(|(likeness, _)| *likeness >= 0.85)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, other)| other)
}

/// The full name of what is called `key` in the section `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let key = if bare { key.to_owned() } else { format!("\"{}\"", printable(&shortened(key, SHOWN))) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
