//! What is measured on: the machine and the versions of programs, without
//! anything that tells whose machine it is.

use crate::measure::program;
use crate::record::Machine;
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// Describes this machine, as it is when a row begins.
pub fn describe(row: &str, dir: &Path, packages: &Path) -> Machine {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&cpuinfo, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
        .map_or_else(|| "unknown".to_owned(), |kibibytes| format!("{:.1} GiB", kibibytes / 1_048_576.0));
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    let facts = [
        ("processors", format!("{count}, {model}")),
        ("memory", memory),
        ("filesystem", filesystem(dir).unwrap_or_else(|| "unknown".to_owned())),
        ("system", system.trim_matches('"').to_owned()),
        ("kernel", format!("Linux {}", kernel.trim())),
        ("backup", said(env!("CARGO_BIN_EXE_backup"), &["--version"])),
        ("rsync", said("rsync", &["--version"]).split("  ").take(2).collect::<Vec<_>>().join(" ")),
        ("ssh", said("ssh", &["-V"]).split(',').next().unwrap_or_default().to_owned()),
        ("rsnapshot", said("dpkg-query", &["-W", "-f", "${Version}", "rsnapshot"])),
        ("BackupPC", backuppc(packages)),
    ];
    #[expect(clippy::disallowed_methods, reason = "the day of a bench, which no run depends on")]
    let day = chrono::Utc::now().format("%Y-%m-%d").to_string();
    let facts = facts.into_iter().map(|(word, value)| (word.to_owned(), value)).collect();
    Machine { row: row.to_owned(), day, facts, processors: count, load }
}

/// What stands behind a word and a colon.
fn field(text: &str, word: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == word).then(|| value.trim().to_owned())
    })
}

/// The first line that a program says, on either output.
fn said(name: &str, words: &[&str]) -> String {
    let Ok(output) = program(name).args(words).stdin(Stdio::null()).output() else {
        return "not installed".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

/// The version in what the package says of itself.
fn backuppc(packages: &Path) -> String {
    let lib = packages.join("backuppc/usr/share/backuppc/lib/BackupPC/Lib.pm");
    let text = fs::read_to_string(lib).unwrap_or_default();
    let version = text.lines().find_map(|line| line.trim().strip_prefix("Version => '"));
    version.and_then(|rest| rest.split('\'').next()).unwrap_or("not there").to_owned()
}

/// The kind of filesystem that a folder is on: that of the longest mount point
/// above it.
fn filesystem(dir: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.len() > 2 && dir.starts_with(fields[1]))
        .max_by_key(|fields| fields[1].len())
        .map(|fields| fields[2].to_owned())
}
