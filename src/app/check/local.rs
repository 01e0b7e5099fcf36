//! This machine: the configuration, the files that it names, and the folders
//! that runs write to.

use super::found;
use crate::core::filter;
use crate::core::format::text::printable;
use crate::core::model::finding::CheckFinding;
use crate::core::model::problem::Problem;
use crate::core::model::settings::Settings;
use crate::edge::config::{ConfigError, Fault};
use crate::edge::history::History;
use crate::edge::store::others_may_write;
use crate::sys::clock::Clock;
use rustix::fs::{Access, access};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Everything that is wrong with a configuration that cannot be used.
pub(super) fn faults(error: &ConfigError) -> Vec<CheckFinding> {
    let (path, faults) = match error {
        ConfigError::Faulty { path, faults } => (path, faults),
        ConfigError::Missing(problem) | ConfigError::Unreadable(problem) => {
            return vec![found("configuration", problem.clone(), "see config.example.toml")];
        }
    };
    let file = shown(path);
    let finding = |fault: &Fault| match fault {
        Fault::Syntax { line, column, message } => CheckFinding::error(
            format!("{file}:{line}:{column}"),
            format!("not TOML: {message}"),
            "correct the line",
        ),
        Fault::Option { line, key, seen, want } => {
            let at = line.map(|line| format!(":{line}")).unwrap_or_default();
            CheckFinding::error(format!("{file}{at}"), format!("`{key}` {seen}"), want.clone())
        }
    };
    faults.iter().map(finding).collect()
}

/// What there is to say of a configuration that can be used.
pub(super) fn configuration(
    path: &Path,
    settings: &Settings,
    warnings: &[Problem],
    clock: Clock,
) -> Vec<CheckFinding> {
    let file = shown(path);
    let mut findings =
        vec![CheckFinding::ok(&file, format!("is valid; this server is `{}`", settings.server))];
    if !rustix::process::geteuid().is_root() {
        findings.push(CheckFinding::warning(
            "user",
            "not running as root: owners, devices and some attributes of files cannot be kept, and this check is incomplete",
            "run it as root, as cron does",
        ));
    }
    findings.extend(warnings.iter().map(|warning| found(&file, warning.clone(), "correct it there")));
    // In a folder like /tmp nobody can take another's file away.
    let sticky = |folder: &Path| folder.metadata().is_ok_and(|meta| meta.mode() & 0o1000 != 0);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !sticky(folder));
    for path in std::iter::once(path).chain(folder) {
        findings.extend(others_may_write(path).map(|why| {
            CheckFinding::error(
                shown(path),
                format!("{why}: whoever may change the configuration decides what root does here"),
                format!("chown root {0} && chmod go-w {0}", shown(path)),
            )
        }));
    }
    findings.extend(trusted(settings));
    findings.extend(excludes(settings));
    let now = clock.now().with_timezone(&settings.timezone);
    findings.push(CheckFinding::ok(
        "timezone",
        format!("{}, where it is {}", settings.timezone, now.format("%Y-%m-%d %H:%M")),
    ));
    findings.push(folder_for(
        "state_dir",
        &settings.state_dir,
        "the last good list of hosts and the history",
    ));
    findings.extend(history(&settings.state_dir));
    findings.push(folder_for("runtime_dir", &settings.runtime_dir, "locks and control sockets"));
    findings.extend(settings.metrics_textfile.as_deref().map(textfile));
    if settings.notifiers.is_none() && settings.metrics_textfile.is_none() {
        findings.push(CheckFinding::note(
            "reports",
            "only cron's mail reports a failure, and nothing reports a night without a run",
            "set `[icinga]` or `metrics.textfile`",
        ));
    }
    findings
}

/// Files that decide whom to trust, and may be written to by somebody else.
fn trusted(settings: &Settings) -> Vec<CheckFinding> {
    let open = settings.trusted_files().into_iter().filter_map(|(key, file)| {
        let why = others_may_write(file)?;
        let remedy = format!("chown root {0} && chmod go-w {0}", shown(file));
        Some(CheckFinding::warning(key, format!("`{}` {why}", shown(file)), remedy))
    });
    open.collect()
}

/// The pattern files of this server.
fn excludes(settings: &Settings) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    for file in &settings.excludes.files {
        match std::fs::read(file) {
            Ok(bytes) => {
                let (_, warnings) = filter::parse_lines(&bytes, &file.to_string_lossy());
                findings.extend(warnings.first().iter().map(|warning| {
                    let at = format!("{}:{}", shown(file), warning.line);
                    found(&at, warning.problem.clone(), "correct or remove the line")
                }));
                if warnings.more() > 0 {
                    let text = format!("{} more lines are not patterns", warnings.more());
                    findings.push(CheckFinding::warning(shown(file), text, "correct the ones listed first"));
                }
            }
            Err(error) => findings.push(CheckFinding::error(
                "excludes.files",
                format!("`{}` cannot be read: {error}", shown(file)),
                "correct the path, or write the patterns there",
            )),
        }
    }
    findings
}

/// A folder that runs make if it is missing.
fn folder_for(key: &str, path: &Path, what: &str) -> CheckFinding {
    let name = shown(path);
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    if !existing.is_dir() {
        let text = match existing == path {
            true => format!("`{name}` is not a folder"),
            false => format!("`{}` is not a folder, and `{name}` cannot be made", shown(existing)),
        };
        return CheckFinding::error(key, text, format!("move it away, or correct `{key}`"));
    }
    if let Err(error) = access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        let text = format!("`{}` cannot be written to: {error}", shown(existing));
        return CheckFinding::error(
            key,
            text,
            format!("is this root? correct its mode or its mount, or `{key}`"),
        );
    }
    if existing != path {
        return CheckFinding::ok(key, format!("`{name}` will be created, for {what}"));
    }
    match others_may_write(path) {
        Some(why) => CheckFinding::error(
            key,
            format!("`{name}` {why}, and it holds {what}"),
            format!("chown root {name} && chmod go-w {name}"),
        ),
        None => CheckFinding::ok(key, format!("`{name}` is there, for {what}")),
    }
}

/// What keeps the history from being used, if anything does.
fn history(state_dir: &Path) -> Option<CheckFinding> {
    let history =
        History::read(state_dir).and_then(|history| history.map_or(Ok(0), |h| Ok(h.last_runs()?.len())));
    let Problem { severity, what, remedy } = history.err()?.problem();
    let problem = Problem { severity, what: printable(&what), remedy };
    Some(found("history", problem, "fix that; no backup depends on it"))
}

fn textfile(file: &Path) -> CheckFinding {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let key = "metrics.textfile";
    if !folder.is_dir() {
        let text = format!("the folder `{}` is missing", shown(folder));
        return CheckFinding::error(key, text, "install the node exporter, or correct the path");
    }
    match access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => CheckFinding::ok(key, format!("`{}` can be written", shown(file))),
        Err(error) => CheckFinding::error(
            key,
            format!("the folder `{}` cannot be written to: {error}", shown(folder)),
            "correct its mode or its mount",
        ),
    }
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::finding::Level;

    #[test]
    fn folders_that_runs_write_to_are_there_or_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (path, level, said) in [
            (dir.path().to_owned(), Level::Ok, "is there"),
            (dir.path().join("new/state"), Level::Ok, "will be created"),
            (file.join("state"), Level::Error, "is not a folder"),
        ] {
            let finding = folder_for("state_dir", &path, "things");
            assert!(finding.level == level && finding.text.contains(said), "{finding:?}");
        }
        assert_eq!(textfile(&dir.path().join("x.prom")).level, Level::Ok);
        assert_eq!(textfile(&dir.path().join("none/x.prom")).level, Level::Error);
    }
}
