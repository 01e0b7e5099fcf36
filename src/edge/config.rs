//! The configuration: TOML in, [`Settings`] out, or every fault at once.
//!
//! [`find`] says which file, [`load`] reads it, [`parse`] is the same for a
//! text. Every option is parsed once, into the type that it is used as; what
//! is not understood is a fault, never ignored. Each [`Fault`] names its line,
//! its key, the value seen and what would be right. No secret is printed, also
//! not one that was written where a file's name belongs.
//!
//! Not known here: whether what the settings name works (a pool, a NetBox, a
//! host); only that files to be read can be.

mod document;
mod environment;
#[cfg(test)]
mod example;
mod fault;
mod files;
mod hosts;
mod options;
mod section;
mod services;
mod values;

pub use environment::{Environment, ICINGA_PASSWORD, NETBOX_TOKEN};
pub use fault::Fault;

use crate::core::format::text::printable;
use crate::core::model::problem::Problem;
use crate::core::model::settings::Settings;
use document::Document;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The environment variable that names the configuration.
const VARIABLE: &str = "BACKUP_CONFIG";
/// Where the configuration is, unless told.
const DEFAULT: &str = "/etc/backup/config.toml";

/// A configuration without faults.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the operator wants.
    pub settings: Settings,
    /// What the operator should know of it: it works, but is unsafe.
    pub warnings: Vec<Problem>,
}

/// Why there is no configuration to work with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no file.
    #[error("{0}")]
    Missing(Problem),
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(Problem),
    /// The file's content will not do.
    #[error("{}", faulty(.path, .faults))]
    Faulty {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it, by line.
        faults: Vec<Fault>,
    },
}

/// What to do where there is no configuration.
const COPY_EXAMPLE: &str = "copy `config.example.toml` there and edit it";

fn missing(path: &Path, by: &str) -> ConfigError {
    let what = format!("there is no configuration file `{}` ({by} names it)", show(path));
    ConfigError::Missing(Problem::critical(what, COPY_EXAMPLE))
}

fn nowhere(path: &Path) -> ConfigError {
    let what = format!(
        "found no configuration: `--config` and `$BACKUP_CONFIG` name none, and there is no `{}`",
        show(path)
    );
    ConfigError::Missing(Problem::critical(what, COPY_EXAMPLE))
}

fn unreadable(path: &Path, why: &str, remedy: &str) -> ConfigError {
    let what = format!("cannot read the configuration `{}`: {why}", show(path));
    ConfigError::Unreadable(Problem::critical(what, remedy))
}

/// The configuration file to read: the one that `--config` names, else the one
/// that `$BACKUP_CONFIG` names, else `/etc/backup/config.toml`. A file that is
/// named but missing is an error, not a reason to look elsewhere: the operator
/// who misspelt it must not start another configuration's run.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, ConfigError> {
    first_of(explicit, std::env::var_os(VARIABLE), Path::new(DEFAULT))
}

fn first_of(
    explicit: Option<&Path>,
    variable: Option<OsString>,
    default: &Path,
) -> Result<PathBuf, ConfigError> {
    let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    let (path, by) = match (explicit, variable) {
        (Some(path), _) => (path.to_owned(), Some("`--config`")),
        (None, Some(path)) => (path, Some("`$BACKUP_CONFIG`")),
        (None, None) => (default.to_owned(), None),
    };
    // Whatever else is wrong with the file is for `load` to say.
    match (path.try_exists(), by) {
        (Ok(false), Some(by)) => Err(missing(&path, by)),
        (Ok(false), None) => Err(nowhere(&path)),
        _ => Ok(path),
    }
}

/// Reads and checks a configuration file.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, ConfigError> {
    let bytes = std::fs::read(path)
        .map_err(|error| unreadable(path, &environment::reason(&error), environment::remedy(&error, "")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let whole = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = whole.iter().filter(|&&byte| byte == b'\n').count() + 1;
        unreadable(path, &format!("line {line} is not UTF-8"), "save the file in that encoding")
    })?;
    parse(&text, environment).map_err(|faults| ConfigError::Faulty { path: path.to_owned(), faults })
}

/// Checks a configuration's text. Faults come by line; those that belong to no
/// line come last. Reads the files that the text names for secrets, keys and
/// certificates, and nothing else.
pub fn parse(text: &str, environment: &Environment) -> Result<Loaded, Vec<Fault>> {
    let (table, errors) = toml::de::DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(Fault::syntax(text, &errors));
    }
    let document = Document::new(text, environment);
    let settings = document.read(table.get_ref(), options::settings);
    match (settings, document.conclude()) {
        (Some(settings), Ok(warnings)) => Ok(Loaded { settings, warnings }),
        (_, Err(faults)) => Err(faults),
        // An option is only left out of the settings together with a fault.
        (None, Ok(_)) => Err(vec![Fault::internal()]),
    }
}

fn faulty(path: &Path, faults: &[Fault]) -> impl fmt::Display {
    let count = match faults.len() {
        1 => "a fault".to_owned(),
        count => format!("{count} faults"),
    };
    let lines: Vec<String> = faults.iter().map(|fault| format!("\n{}{fault}", show(path))).collect();
    format!("the configuration has {count}:{}", lines.concat())
}

fn show(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_goes_before_the_environment_and_that_before_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        let (explicit, variable, default) = (file("explicit"), file("variable"), file("default"));
        let set = || Some(variable.clone().into_os_string());
        assert_eq!(first_of(Some(&explicit), set(), &default).unwrap(), explicit);
        assert_eq!(first_of(None, set(), &default).unwrap(), variable);
        assert_eq!(first_of(None, Some(OsString::new()), &default).unwrap(), default);
        assert_eq!(first_of(None, None, &default).unwrap(), default);
    }

    #[test]
    fn a_file_that_is_named_but_missing_is_not_replaced_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Path::new("/nowhere/config.toml");
        insta::assert_snapshot!(
            first_of(Some(missing), None, folder.path()).unwrap_err(),
            @"there is no configuration file `/nowhere/config.toml` (`--config` names it) (copy `config.example.toml` there and edit it)"
        );
        insta::assert_snapshot!(
            first_of(None, Some(missing.into()), folder.path()).unwrap_err(),
            @"there is no configuration file `/nowhere/config.toml` (`$BACKUP_CONFIG` names it) (copy `config.example.toml` there and edit it)"
        );
        insta::assert_snapshot!(
            first_of(None, None, missing).unwrap_err(),
            @"found no configuration: `--config` and `$BACKUP_CONFIG` name none, and there is no `/nowhere/config.toml` (copy `config.example.toml` there and edit it)"
        );
    }
}
