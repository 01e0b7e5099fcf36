//! Completions in real shells, and manual pages that manual programs accept.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use support::rig::*;
use support::terminal::Terminal;

/// A rig with hosts, and the script of a shell.
fn ready(shell: &str) -> (Rig, PathBuf) {
    let mut rig = Rig::without_sshd();
    for name in ["Vpn", "web-1", "web-2"] {
        rig.host(name);
    }
    // As the last good list has it.
    let list = r#"{"version": 1, "saved_at": "2026-11-20T02:00:05Z", "hosts": [{"id": 1, "kind": "machine",
        "name": "mail", "status": "active", "primary_ip": null, "custom_fields": {}}]}"#;
    rig.write("state/inventory.json", list);
    let script = rig.backup(&["completions", shell]).exits(0).stdout;
    let path = rig.write(format!("script.{shell}"), script);
    (rig, path)
}

/// A shell in which `backup` is the binary with the rig's configuration.
fn shell(rig: &Rig, name: &str) -> Command {
    let own = rig.command(&[]);
    let folder = PathBuf::from(own.get_program()).parent().unwrap().to_owned();
    let mut command = program(name);
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", format!("{}:/usr/bin:/bin", folder.display())).env("LC_ALL", "C.UTF-8");
    command.current_dir(rig.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn said(mut command: Command) -> Vec<String> {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_hosts_and_files() {
    let (rig, script) = ready("bash");
    let mut check = shell(&rig, "bash");
    check.arg("-n").arg(&script);
    assert!(said(check).is_empty());
    rig.write("a file.toml", "");
    for (words, expected, reason) in [
        (&["sna"][..], &["snapshots"][..], "a command"),
        (&["verify", "--sa"], &["--sample"], "an option"),
        (&["verify", "we"], &["web-1", "web-2"], "hosts of the configuration"),
        (&["v"], &["verify", "Vpn"], "a command or a host, in any case"),
        (&["run", "-q", "web-1", "al"], &["all"], "all of them"),
        (&["verify", "--config", "a f"], &["a file.toml"], "a file"),
        (&["completions", "ba"], &["bash"], "a word that may stand there"),
        (&["verify", "--sample", ""], &[], "a number, which nobody knows"),
    ] {
        let mut command = shell(&rig, "bash");
        let text = r#"source "$1"; shift; complete -p backup >/dev/null || exit 9
            COMP_WORDS=(backup "$@"); COMP_CWORD=$#
            _backup backup "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}" 2>/dev/null
            for word in "${COMPREPLY[@]}"; do printf '%s\n' "$word"; done"#;
        command.args(["-c", text, "bash"]).arg(&script).args(words);
        assert_eq!(said(command), expected, "{reason}");
    }
}

#[test]
fn bash_writes_the_word_when_tab_is_pressed() {
    let (rig, script) = ready("bash");
    let mut command = shell(&rig, "bash");
    command.args(["--norc", "--noprofile", "-i"]).env("PS1", "ready> ");
    let mut terminal = Terminal::start(&command, 100, 24, true);
    terminal.shows("the prompt", |lines| lines.iter().any(|line| line == "ready>"));
    terminal.types(&format!("source {}\r", script.display()));
    terminal.types("backup verif\t");
    terminal.shows("the whole command", |lines| lines.iter().any(|line| line == "ready> backup verify"));
    terminal.types("--sam\t");
    terminal
        .shows("the whole option", |lines| lines.iter().any(|line| line == "ready> backup verify --sample"));
    terminal.types("9 vp\t");
    terminal
        .shows("the host", |lines| lines.iter().any(|line| line == "ready> backup verify --sample 9 Vpn"));
    terminal.types("\x15exit\r");
    assert_eq!(terminal.ends(), Some(0));
}

#[test]
fn fish_completes_with_what_each_word_is() {
    let (rig, script) = ready("fish");
    let complete = |typed: &str| {
        let mut command = shell(&rig, "fish");
        command.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]).arg(&script).arg(typed);
        said(command)
    };
    assert_eq!(complete("backup snap"), ["snapshots\tList a host's snapshots"]);
    assert_eq!(complete("backup verify web"), ["web-1\thost", "web-2\thost"]);
    assert_eq!(complete("backup verify --al").len(), 1);
    rig.write("elsewhere.toml", "");
    assert_eq!(complete("backup verify --config elsew"), ["elsewhere.toml"]);
}

#[test]
fn zsh_writes_the_word_when_tab_is_pressed() {
    let (rig, script) = ready("zsh");
    let mut check = shell(&rig, "zsh");
    check.arg("-n").arg(&script);
    assert!(said(check).is_empty());
    let mut command = shell(&rig, "zsh");
    command.args(["-f", "-i"]).env("PS1", "ready> ");
    let mut terminal = Terminal::start(&command, 100, 24, true);
    terminal.shows("the prompt", |lines| lines.iter().any(|line| line == "ready>"));
    terminal.types(&format!(
        "autoload -U compinit && compinit -u -D && source {} && echo go''es\r",
        script.display()
    ));
    terminal.shows("the script was read", |lines| lines.iter().any(|line| line == "goes"));
    terminal.types("backup verif\t");
    terminal.shows("the whole command", |lines| lines.iter().any(|line| line == "ready> backup verify"));
    terminal.types("--sam\t");
    terminal
        .shows("the whole option", |lines| lines.iter().any(|line| line == "ready> backup verify --sample"));
    terminal.types("9 vp\t");
    terminal
        .shows("the host", |lines| lines.iter().any(|line| line == "ready> backup verify --sample 9 Vpn"));
    terminal.types("\x15exit\r");
    assert_eq!(terminal.ends(), Some(0));
}

#[test]
fn without_a_configuration_everything_but_hosts_is_completed() {
    let rig = Rig::without_sshd();
    let mut command = rig.command(&["__complete", "--", "verify", ""]);
    command.env("BACKUP_CONFIG", "/nowhere/config.toml");
    let ran: Ran = finish(command.spawn().unwrap()).into();
    let ran = ran.exits(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("all\thost\n", ""));
    let ran = rig.backup(&["__complete", "--", "--acc"]).exits(0);
    assert!(ran.stdout.starts_with("--accept-deletions\tBelieve this run"), "{}", ran.stdout);
    assert_eq!(rig.backup(&["__complete"]).exits(0).stdout, "");
}

#[test]
fn a_broken_last_list_stays_where_it_is() {
    let (rig, _) = ready("bash");
    let list = rig.write("state/inventory.json", "no list");
    let ran = rig.backup(&["__complete", "--", "verify", ""]).exits(0);
    assert_eq!(ran.stdout, "Vpn\thost\nweb-1\thost\nweb-2\thost\nall\thost\n");
    assert_eq!(fs::read(list).unwrap(), b"no list");
}

#[test]
fn manual_pages_are_accepted_without_a_warning() {
    let rig = Rig::without_sshd();
    let folder = rig.join("man8");
    fs::create_dir(&folder).unwrap();
    assert_eq!(rig.backup(&["completions", "man", folder.to_str().unwrap()]).exits(0).stdout, "");
    let mut pages: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    let names: Vec<&str> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    assert!(names.len() > 10 && names[0] == "backup-check.8" && names.contains(&"backup.8"), "{names:?}");
    for page in &pages {
        let groff = |arguments: &[&str]| {
            let mut command = shell(&rig, "groff");
            command.args(["-man", "-Kutf8", "-ww", "-rLL=100n"]).args(arguments).arg(page);
            let output = command.output().unwrap();
            let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
            output.stdout
        };
        groff(&["-Z", "-Tutf8"]);
        let text = String::from_utf8(groff(&["-Tascii", "-P-cbou"])).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"] {
            assert!(text.lines().any(|line| line == section), "{}: {section}:\n{text}", page.display());
        }
        let mut lint = shell(&rig, "mandoc");
        lint.args(["-man", "-T", "lint", "-W", "warning"]).arg(page);
        let output = lint.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // The same sources make the same pages, whenever they are built.
        let faults: Vec<&str> = said.lines().filter(|line| !line.contains("missing date")).collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    let rig = Rig::without_sshd();
    rig.backup(&["completions", "man", "/nowhere"])
        .exits(2)
        .says("cannot write the manual page `/nowhere/backup");
    rig.backup(&["completions", "man"]).exits(2).says("<DIR>");
    rig.backup(&["completions", "bash", "/tmp"]).exits(2).says("a script is printed");
    rig.backup(&["completions", "csh"]).exits(2).says("[possible values: bash, elvish, fish, zsh, man]");
}
