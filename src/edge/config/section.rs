//! A section of the configuration, read option by option.
//!
//! Whoever reads a [`Section`] takes each option that it knows; a value that
//! will not do becomes a fault, and reading goes on without it. What nobody
//! took is a fault, too, so that no option can be misspelt without a word.

use super::document::{Document, SHOWN, Unknown, join};
use super::environment::Environment;
use super::fault::{Fault, line_of};
use crate::core::format::text::{printable, shortened};
use crate::core::model::problem::Problem;
use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One table of a configuration; an empty one, if the file has none.
pub(super) struct Section<'a> {
    document: &'a Document<'a>,
    path: String,
    /// Where its name stands in the text, in bytes.
    at: Option<usize>,
    table: Option<&'a DeTable<'a>>,
    asked: Vec<&'a str>,
    /// Any name may stand here, and each was looked at.
    all_taken: bool,
    /// Something else stands where the section should. That is a fault already;
    /// what the section lacks is none.
    broken: bool,
}

impl<'a> Section<'a> {
    /// The section outside all others.
    pub(super) fn top(document: &'a Document<'a>, table: &'a DeTable<'a>) -> Self {
        Section::new(document, String::new(), None, Some(table))
    }

    fn new(
        document: &'a Document<'a>,
        path: String,
        at: Option<usize>,
        table: Option<&'a DeTable<'a>>,
    ) -> Self {
        Section { document, path, at, table, asked: Vec::new(), all_taken: false, broken: false }
    }

    /// Reads the section, then complains of what was not taken.
    pub(super) fn finish<T>(mut self, read: impl FnOnce(&mut Section<'a>) -> T) -> T {
        let result = read(&mut self);
        for (key, _) in self.table.iter().flat_map(|table| table.iter()) {
            if !self.all_taken && !self.asked.contains(&key.get_ref().as_ref()) {
                self.document.unknown.borrow_mut().push(Unknown {
                    line: line_of(self.document.text, key.span().start),
                    section: self.path.clone(),
                    key: key.get_ref().to_string(),
                    siblings: self.asked.iter().map(|&name| name.to_owned()).collect(),
                });
            }
        }
        result
    }

    /// The machine that the configuration is for.
    pub(super) fn environment(&self) -> &'a Environment {
        self.document.environment
    }

    /// An option's full name.
    pub(super) fn name(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.document.known.borrow_mut().insert(join(&self.path, key));
        self.asked.push(key);
        self.table?.get(key)
    }

    /// Whether the file has the option or section.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether the file has the option and it is a list of nothing.
    pub(super) fn has_empty_list(&self, key: &str) -> bool {
        let value = self.table.and_then(|table| table.get(key));
        value.and_then(|value| value.get_ref().as_array()).is_some_and(|list| list.is_empty())
    }

    /// Where an option's name stands; where the section's, if it is missing.
    fn place_of(&self, key: &str) -> Option<usize> {
        let found = self.table.and_then(|table| table.get_key_value(key));
        found.map(|(key, _)| key.span().start).or(self.at)
    }

    /// Takes an option: of type `Raw` in the file, then as `read` makes of it.
    /// `None` if it is missing, or if it is not `want` and is now a fault.
    pub(super) fn take<Raw: DeserializeOwned, T>(
        &mut self,
        key: &'static str,
        want: &str,
        read: impl FnOnce(Raw) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let result = understand(value, read);
        result.map_err(|seen| self.fault(key, format!("is {seen}"), must_be(want))).ok()
    }

    /// [`Section::take`] for an option that must be there.
    pub(super) fn require<Raw: DeserializeOwned, T>(
        &mut self,
        key: &'static str,
        want: &str,
        read: impl FnOnce(Raw) -> Option<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.fault(key, "is missing", must_be(want));
        }
        self.take(key, want, read)
    }

    /// [`Section::take`] for an option next to which people write secrets by
    /// mistake: its value is never shown.
    pub(super) fn take_unshown<T>(
        &mut self,
        key: &'static str,
        want: &str,
        read: impl FnOnce(String) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let result = understand(value, read);
        result.map_err(|_| self.fault(key, "is something else (not shown here)", must_be(want))).ok()
    }

    /// [`Section::take`] for a list, element by element.
    pub(super) fn take_list<T>(
        &mut self,
        key: &'static str,
        want: &str,
        read: impl Fn(String) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.get(key)?;
        let DeValue::Array(elements) = value.get_ref() else {
            let seen = shown(value.get_ref(), true);
            self.fault(key, format!("is {seen}"), format!("it must be a list in `[` and `]`, each {want}"));
            return None;
        };
        let mut list = Vec::new();
        for element in elements {
            match understand(element, &read) {
                Ok(element) => list.push(element),
                Err(seen) => self.push(
                    Some(element.span().start),
                    self.name(key),
                    format!("has the element {seen}"),
                    format!("each must be {want}"),
                ),
            }
        }
        Some(list)
    }

    /// Reads `[key]`; if the file has none, as if it were there and empty.
    pub(super) fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'a>) -> T) -> T {
        let value = self.get(key);
        self.below(key, value).finish(read)
    }

    /// Reads `[key]` if the file has one.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'a>) -> T,
    ) -> Option<T> {
        let value = self.get(key)?;
        Some(self.below(key, Some(value)).finish(read))
    }

    /// Reads every section below this one, whatever it is called.
    pub(super) fn each<T>(&mut self, mut read: impl FnMut(&str, &mut Section<'a>) -> T) -> Vec<T> {
        self.all_taken = true;
        let entries = self.table.into_iter().flat_map(|table| table.iter());
        let sections = entries.map(|(key, value)| {
            let name = key.get_ref().as_ref();
            self.below(name, Some(value)).finish(|section| read(name, section))
        });
        sections.collect()
    }

    fn below(&self, key: &str, value: Option<&'a Spanned<DeValue<'a>>>) -> Section<'a> {
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (None, Some(value)) = (table, value) {
            let seen = shown(value.get_ref(), true);
            let want = format!("it must be a section, `[{}]`", self.name(key));
            self.fault(key, format!("is {seen}"), want);
        }
        let broken = value.is_some() && table.is_none();
        Section { broken, ..Section::new(self.document, self.name(key), self.place_of(key), table) }
    }

    /// Takes every section below this one, unread; whether there is any.
    pub(super) fn take_subsections(&mut self) -> bool {
        let entries = self.table.into_iter().flat_map(|table| table.iter());
        let tables = entries.filter(|(_, value)| value.get_ref().is_table());
        let names: Vec<&str> = tables.map(|(key, _)| key.get_ref().as_ref()).collect();
        self.asked.extend(&names);
        !names.is_empty()
    }

    /// A fault of one option.
    pub(super) fn fault(&self, key: &str, seen: impl Into<String>, want: impl Into<String>) {
        self.push(self.place_of(key), self.name(key), seen.into(), want.into());
    }

    /// A fault of one option whose value is of the right type.
    pub(super) fn refuse(&self, key: &str, want: impl Into<String>) {
        let value = self.table.and_then(|table| table.get(key));
        let seen = value.map_or("missing".to_owned(), |value| shown(value.get_ref(), false));
        self.fault(key, format!("is {seen}"), want);
    }

    /// A fault of the section itself.
    pub(super) fn fault_of_section(&self, seen: impl Into<String>, want: impl Into<String>) {
        self.push(self.at, self.path.clone(), seen.into(), want.into());
    }

    fn push(&self, at: Option<usize>, key: String, seen: String, want: String) {
        if !self.broken {
            let line = at.map(|offset| line_of(self.document.text, offset));
            self.document.faults.borrow_mut().push(Fault::Option { line, key, seen, want });
        }
    }

    /// Something that works, but is unsafe.
    pub(super) fn warn(&self, warning: Problem) {
        self.document.warnings.borrow_mut().push(warning);
    }
}

fn must_be(want: &str) -> String {
    format!("it must be {want}")
}

/// The value as `read` makes of it; else the value in words.
fn understand<Raw: DeserializeOwned, T>(
    value: &Spanned<DeValue<'_>>,
    read: impl FnOnce(Raw) -> Option<T>,
) -> Result<T, String> {
    let raw = Raw::deserialize(value.clone().into_deserializer());
    let raw = raw.map_err(|_| shown(value.get_ref(), true))?;
    read(raw).ok_or_else(|| shown(value.get_ref(), false))
}

/// A value in words. `wrong_type` says that it is not even of the right type.
fn shown(value: &DeValue<'_>, wrong_type: bool) -> String {
    match value {
        DeValue::String(text) if may_hold_a_secret(text) => {
            "an address that may hold a password (not shown here)".to_owned()
        }
        DeValue::String(text) => {
            let kind = if wrong_type { "the string " } else { "" };
            format!("{kind}\"{}\"", printable(&shortened(text, SHOWN)))
        }
        DeValue::Integer(number) => shortened(&number.to_string(), SHOWN),
        DeValue::Float(number) => shortened(&number.to_string(), SHOWN),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

/// Whether a text looks like `https://user:password@host` or `https://…?token=…`.
fn may_hold_a_secret(text: &str) -> bool {
    let user = text.rfind('@').is_some_and(|at| text[..at].contains(':'));
    user || (text.contains("://") && text.contains(['@', '?', '#']))
}
