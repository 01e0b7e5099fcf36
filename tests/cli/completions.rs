//! Completions in real shells, and manual pages that manual programs accept.

use crate::support::rig::*;
use crate::support::terminal::Terminal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    assert_eq!(complete("backup snap"), ["snapshots\tList the snapshots of a host"]);
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
    assert!(ran.stdout.starts_with("--accept-deletions\tAccept this run"), "{}", ran.stdout);
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

/// The manual pages, in their order.
fn pages(rig: &Rig) -> Vec<PathBuf> {
    let folder = rig.join("man8");
    fs::create_dir(&folder).unwrap();
    assert_eq!(rig.backup(&["completions", "man", folder.to_str().unwrap()]).exits(0).stdout, "");
    let mut pages: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    pages
}

/// What groff makes of a page, which has to be to its liking.
fn groff(rig: &Rig, page: &Path, arguments: &[&str]) -> String {
    let mut command = shell(rig, "groff");
    command.args(["-man", "-Kutf8", "-ww", "-rLL=100n", "-rHY=0"]).args(arguments).arg(page);
    let output = command.output().unwrap();
    let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn manual_pages_are_accepted_without_a_warning() {
    let rig = Rig::without_sshd();
    let pages = pages(&rig);
    let names: Vec<&str> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    assert!(names.len() > 10 && names[0] == "backup-check.8" && names.contains(&"backup.8"), "{names:?}");
    for page in &pages {
        groff(&rig, page, &["-Z", "-Tutf8"]);
        let text = groff(&rig, page, &["-Tascii", "-P-cbou"]);
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"] {
            assert!(text.lines().any(|line| line == section), "{}: {section}:\n{text}", page.display());
        }
        let mut lint = shell(&rig, "mandoc");
        lint.args(["-man", "-T", "lint", "-W", "warning"]).arg(page);
        let output = lint.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.is_empty(), "{said}");
    }
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lines that come after indented ones are a paragraph of their own.
fn unindented_apart(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let ends = |one: &&str, next: &&str| !one.starts_with(' ') || next.starts_with(' ');
    lines.chunk_by(ends).map(|lines| lines.join("\n")).collect()
}

/// A help text's paragraphs are the page's, word for word: none is torn, and
/// but for the first letter of a section none is changed.
#[test]
fn manual_pages_say_what_the_help_says() {
    let rig = Rig::without_sshd();
    for page in pages(&rig) {
        let name = page.file_stem().unwrap().to_str().unwrap().to_owned();
        let command = name.strip_prefix("backup-").unwrap_or_default();
        let words: Vec<&str> = [command, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let help = rig.backup(&words).exits(0).stdout;
        let rendered = groff(&rig, &page, &["-Tascii", "-P-cbou"]);
        let shown: Vec<String> = rendered.split("\n\n").map(on_one_line).collect();
        let (_, below) = help.split_once("Print help").unwrap();
        let mut paragraphs = 0;
        for paragraph in below.split("\n\n").skip(1).flat_map(unindented_apart) {
            let said = on_one_line(&paragraph);
            // A section's title stands on a line of its own there.
            let said = match said.split_once(": ") {
                Some((title, rest)) if !paragraph.starts_with(' ') && title.split(' ').count() <= 2 => rest,
                _ => &said,
            };
            let is_it = |shown: &String| {
                shown.len() >= said.len() && {
                    let (_, end) = shown.split_at(shown.len() - said.len());
                    end[1..] == said[1..] && end[..1].eq_ignore_ascii_case(&said[..1])
                }
            };
            assert!(shown.iter().any(is_it), "{name} lacks the paragraph\n{said}\nin\n{rendered}");
            paragraphs += 1;
        }
        assert!(paragraphs > 0, "{name} has nothing below its options:\n{help}");
    }
}

#[test]
fn manual_pages_have_the_date_of_the_build() {
    let rig = Rig::without_sshd();
    let folder = rig.join("man8");
    fs::create_dir(&folder).unwrap();
    let mut command = rig.command(&["completions", "man", folder.to_str().unwrap()]);
    command.env("SOURCE_DATE_EPOCH", "1763600000");
    let ran: Ran = finish(command.spawn().unwrap()).into();
    ran.exits(0);
    let page = fs::read_to_string(folder.join("backup.8")).unwrap();
    assert!(page.contains("\n.TH BACKUP 8 2025-11-20 \"backup "), "{page}");
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
