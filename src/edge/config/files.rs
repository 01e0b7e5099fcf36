//! Files that the configuration names: they must be readable now, not at the
//! first host at night. Secrets come from one or from the environment.

use super::environment::{self, reason};
use super::section::Section;
use super::values::{self, PATH};
use crate::core::format::text::{printable, shell_word};
use crate::core::model::problem::Problem;
use secrecy::{ExposeSecret, SecretString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Takes the path of a file that has to be readable; `remedy` says what to do
/// if it is not.
pub(super) fn file(section: &mut Section<'_>, key: &'static str, remedy: &str) -> Option<PathBuf> {
    let path = section.take(key, PATH, values::path)?;
    match section.environment().open(&path) {
        Ok(_) => Some(path),
        Err(error) => {
            section.refuse(
                key,
                format!("it cannot be read ({}): {}", reason(&error), environment::remedy(&error, remedy)),
            );
            None
        }
    }
}

/// [`file()`] for a list of files.
pub(super) fn files(section: &mut Section<'_>, key: &'static str, remedy: &str) -> Vec<PathBuf> {
    let paths = section.take_list(key, PATH, values::path).unwrap_or_default();
    for path in &paths {
        if let Err(error) = section.environment().open(path) {
            let seen = format!("has the element \"{}\"", printable(&path.to_string_lossy()));
            section.fault(
                key,
                seen,
                format!("it cannot be read ({}): {}", reason(&error), environment::remedy(&error, remedy)),
            );
        }
    }
    paths
}

/// Takes ssh's private key, which ssh itself refuses to use if it is readable
/// for others.
pub(super) fn private_key(section: &mut Section<'_>, key: &'static str) -> Option<PathBuf> {
    let path = file(section, key, "correct the path, or make a key there with `ssh-keygen -t ed25519`")?;
    if let Ok((_, metadata)) = section.environment().open(&path) {
        unsafe_to_keep(&path, &metadata).into_iter().for_each(|warning| section.warn(warning));
    }
    Some(path)
}

/// Takes a secret: from the environment variable, else from the file that
/// `key` names. One of the two must be given.
pub(super) fn secret(
    section: &mut Section<'_>,
    key: &'static str,
    variable: &'static str,
) -> Option<SecretString> {
    let path = section.take_unshown(key, PATH, values::path);
    let both_ways = format!(
        "put the secret into a file that `{}` names, or into the variable `{variable}`",
        section.name(key)
    );
    if let Some(given) = section.environment().secrets.get(variable) {
        let secret = usable(given.expose_secret());
        let complain =
            |why| section.fault(key, format!("is overridden by `{variable}`, which {why}"), both_ways);
        return secret.map_err(complain).ok();
    }
    let Some(path) = path else {
        if !section.has(key) {
            section.fault(key, format!("is missing, and `{variable}` is not set"), both_ways);
        }
        return None;
    };
    let shown = printable(&path.to_string_lossy());
    let (bytes, metadata) = match section.environment().read(&path) {
        Ok(found) => found,
        Err(error) => {
            let seen = format!("is \"{shown}\", which cannot be read ({})", reason(&error));
            section.fault(key, seen, environment::remedy(&error, &both_ways));
            return None;
        }
    };
    unsafe_to_keep(&path, &metadata).into_iter().for_each(|warning| section.warn(warning));
    let secret = usable(&String::from_utf8_lossy(&bytes));
    secret.map_err(|why| section.fault(key, format!("is \"{shown}\", which {why}"), both_ways)).ok()
}

/// A secret without the line break that editors leave; or why it is none.
fn usable(text: &str) -> Result<SecretString, &'static str> {
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.trim().is_empty() {
        Err("is empty")
    } else if secret.contains(['\n', '\r']) {
        Err("has more than one line")
    } else if secret.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        Err("has characters that are no text")
    } else {
        Ok(SecretString::from(secret))
    }
}

/// What is wrong with who may use a file that holds a secret.
fn unsafe_to_keep(path: &Path, metadata: &Metadata) -> Vec<Problem> {
    let ours = rustix::process::geteuid().as_raw();
    let mut warnings = Vec::new();
    if metadata.mode() & 0o077 != 0 {
        warnings.push(too_open(path));
    }
    if metadata.uid() != 0 && metadata.uid() != ours {
        let (shown, word) = (printable(&path.to_string_lossy()), shell_word(&path.to_string_lossy()));
        let what = format!("`{shown}` belongs to the user {}, who can read and change it", metadata.uid());
        warnings.push(Problem::warning(what, format!("give it to root with `chown root {word}`")));
    }
    warnings
}

fn too_open(path: &Path) -> Problem {
    let (shown, word) = (printable(&path.to_string_lossy()), shell_word(&path.to_string_lossy()));
    let what = format!("`{shown}` is open to users other than its owner");
    Problem::warning(what, format!("close it with `chmod 600 {word}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_loses_its_line_break_and_nothing_else() {
        assert_eq!(usable(" a b \r\n").unwrap().expose_secret(), " a b ");
        for text in ["", "\n", "  \n", "one\ntwo\n", "a\tb", "\u{fffd}"] {
            assert!(usable(text).is_err(), "{text:?} was taken for a secret");
        }
    }

    #[test]
    fn the_advised_command_is_one_that_a_shell_reads_right() {
        assert!(too_open(Path::new("/etc/backup/token")).remedy.ends_with("`chmod 600 /etc/backup/token`"));
        assert!(too_open(Path::new("/a b/it's")).remedy.ends_with(r"`chmod 600 '/a b/it'\''s'`"));
    }
}
