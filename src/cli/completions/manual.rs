//! The manual pages, one a command, from the definitions of the command line
//! and the help that they come with.
//!
//! What stands below a command's help (`after_help`) becomes sections of its
//! own: a line such as `Exit status: 0 if …` begins one, indented lines are
//! shown as they are.

use chrono::NaiveDate;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

/// The pages' section: system administration.
const SECTION: &str = "8";

/// An apostrophe that stays one, as the crate begins whatever it renders.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

const FILES: [(&str, &str); 6] = [
    ("/etc/backup/config.toml", "The configuration; config.example.toml explains every option."),
    ("/var/lib/backup/inventory.json", "The last good list of hosts, for when NetBox is away (state_dir)."),
    ("/var/lib/backup/history.db", "What ran, when, and how it went (state_dir)."),
    ("/run/backup/", "Locks of hosts and control sockets of ssh (runtime_dir)."),
    ("/etc/backup-scripts/", "On a host: its hooks, which run before each copy (hooks.directory)."),
    ("/etc/backup-exclude.conf", "On a host: what it does not want to be copied (excludes.remote_file)."),
];

const ENVIRONMENT: [(&str, &str); 5] = [
    ("BACKUP_CONFIG", "The configuration file, unless --config names one."),
    ("BACKUP_NETBOX_TOKEN", "NetBox's token, in the place of inventory.netbox.token_file."),
    ("BACKUP_ICINGA_PASSWORD", "Icinga's password, in the place of icinga.password_file."),
    ("NO_COLOR", "If set to anything, nothing is coloured."),
    ("TERM", "If dumb or missing, no progress is drawn."),
];

const SEE_ALSO: [(&str, &str); 5] =
    [("rsync", "1"), ("ssh", "1"), ("crontab", "5"), ("zfs", "8"), ("zpool", "8")];

/// Every page: its file's name and its text.
/// `date` is that of the pages.
pub(super) fn pages(root: Command, date: NaiveDate) -> Vec<(String, Vec<u8>)> {
    let mut root = root;
    root.build();
    let shown: Vec<&Command> = root.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let mut pages = vec![page(&root, &root, &shown, date)];
    pages.extend(shown.iter().map(|command| page(command, &root, &shown, date)));
    pages
}

fn name_of(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &Command, root: &Command, shown: &[&Command], date: NaiveDate) -> (String, Vec<u8>) {
    let is_root = command.get_name() == root.get_name();
    let name = name_of(command);
    let man = Man::new(command.clone()).section(SECTION);
    let mut text = Vec::new();
    // Writing into memory does not fail.
    let _ = man.render_name_section(&mut text);
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]);
    for (number, line) in usage(command).into_iter().enumerate() {
        if number > 0 {
            synopsis.control("br", []);
        }
        synopsis.text(line);
    }
    let _ = synopsis.to_writer(&mut text);
    let _ = man.render_description_section(&mut text);
    let _ = man.render_options_section(&mut text);
    if is_root {
        let _ = man.render_subcommands_section(&mut text);
    }
    let mut end = Roff::new();
    if let Some(help) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        sections(&mut end, &help.to_string());
    }
    if is_root {
        described(&mut end, "FILES", &FILES);
        described(&mut end, "ENVIRONMENT", &ENVIRONMENT);
    }
    let commands = shown.iter().map(|other| (name_of(other), SECTION)).filter(|(other, _)| *other != name);
    let others = SEE_ALSO.iter().map(|(other, section)| ((*other).to_owned(), *section));
    let see: Vec<(String, &str)> = if is_root {
        commands.chain(others).collect()
    } else {
        [(root.get_name().to_owned(), SECTION)].into_iter().chain(commands).collect()
    };
    see_also(&mut end, &see);
    let _ = end.to_writer(&mut text);
    (format!("{name}.{SECTION}"), titled(&name, root, date, &String::from_utf8_lossy(&text)))
}

/// The page with its title and its one preamble. (Every piece that the crate
/// renders has a preamble, and before possible values it breaks a line twice, of
/// which `mandoc` warns.)
fn titled(name: &str, root: &Command, date: NaiveDate, text: &str) -> Vec<u8> {
    let title = format!(
        ".TH {} {SECTION} {date} \"{} {}\" \"System Administration\"\n",
        name.to_uppercase().replace('-', "\\-"),
        root.get_name(),
        root.get_version().unwrap_or_default()
    );
    let text = text.replace(PREAMBLE, "").replace("\n.br\n\n.br\n", "\n.sp\n");
    [PREAMBLE, &title, &text].concat().into_bytes()
}

/// The lines of a command's usage, the command's own words in bold.
fn usage(command: &Command) -> Vec<Vec<clap_mangen::roff::Inline>> {
    let text = command.clone().render_usage().to_string();
    let lines = text.trim_start_matches("Usage:").lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let own =
                line.split(' ').take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).count();
            let words: Vec<&str> = line.split(' ').collect();
            vec![bold(words[..own].join(" ")), roman(format!(" {}", words[own..].join(" ")))]
        })
        .collect()
}

/// What a help text is made of.
#[derive(Debug, PartialEq, Eq)]
enum Block<'a> {
    /// Lines that are one paragraph, to be filled.
    Paragraph(Vec<&'a str>),
    /// Indented lines, to be shown as they are.
    Literal(Vec<&'a str>),
}

/// The blocks of a text: an empty line ends one, and so does a change between
/// indented lines and others.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut broken = true;
    for line in text.lines() {
        let literal = line.strip_prefix("  ");
        match (blocks.last_mut(), literal) {
            _ if line.trim().is_empty() => {
                broken = true;
                continue;
            }
            (Some(Block::Paragraph(lines)), None) if !broken => lines.push(line),
            (Some(Block::Literal(lines)), Some(line)) => {
                // An empty line between two indented ones is one of them.
                if broken {
                    lines.push("");
                }
                lines.push(line);
            }
            (_, None) => blocks.push(Block::Paragraph(vec![line])),
            (_, Some(line)) => blocks.push(Block::Literal(vec![line])),
        }
        broken = false;
    }
    blocks
}

/// The sections that a text has; what stands before the first is notes.
fn sections(roff: &mut Roff, text: &str) {
    let mut begun = false;
    for block in blocks(text) {
        let mut lines = match block {
            Block::Paragraph(lines) => lines,
            Block::Literal(lines) => {
                roff.control("RS", ["4"]).control("nf", []);
                lines.into_iter().for_each(|line| _ = roff.text([roman(line)]));
                roff.control("fi", []).control("RE", []);
                continue;
            }
        };
        let title = lines.first().copied().and_then(heading);
        if let Some((title, rest)) = title {
            roff.control("SH", [title.to_uppercase().as_str()]);
            lines[0] = rest;
        } else if begun {
            roff.control("PP", []);
        } else {
            roff.control("SH", ["NOTES"]);
        }
        begun = true;
        let text = lines.iter().copied().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        if !text.is_empty() {
            roff.text([roman(if title.is_some() { capitalized(&text) } else { text })]);
        }
    }
}

/// A section's title and what follows on its line.
fn heading(line: &str) -> Option<(&str, &str)> {
    let (title, rest) = line.split_once(':')?;
    let words = title.split(' ').count();
    let fits = title.starts_with(|c: char| c.is_ascii_uppercase())
        && title.chars().all(|c| c.is_ascii_alphabetic() || c == ' ')
        && words <= 2
        && (rest.is_empty() || rest.starts_with(' '));
    fits.then(|| (title, rest.trim_start()))
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn described(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (name, what) in entries {
        roff.control("TP", []).text([italic(*name)]).text([roman(*what)]);
    }
}

fn see_also(roff: &mut Roff, pages: &[(String, &str)]) {
    roff.control("SH", ["SEE ALSO"]);
    let mut line = Vec::new();
    for (number, (name, section)) in pages.iter().enumerate() {
        line.push(bold(name.as_str()));
        let comma = if number + 1 < pages.len() { ", " } else { "" };
        line.push(roman(format!("({section}){comma}")));
    }
    roff.text(line);
}

#[cfg(test)]
mod tests {
    use super::super::super::Cli;
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_has_a_page_and_points_to_the_others() {
        let pages = pages(Cli::command(), NaiveDate::default());
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["backup.8", "backup-run.8", "backup-verify.8", "backup-completions.8"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("__")), "{names:?}");
        for (name, text) in &pages {
            let text = String::from_utf8(text.clone()).unwrap();
            assert!(text.contains("\n.SH \"SEE ALSO\"\n"), "{name}:\n{text}");
            assert!(!text.contains("EXTRA") && text.matches(PREAMBLE).count() == 1, "{name}");
        }
        let main = String::from_utf8(pages[0].1.clone()).unwrap();
        for section in ["\"EXIT STATUS\"", "FILES", "ENVIRONMENT"] {
            assert!(main.contains(&format!("\n.SH {section}\n")), "{section}:\n{main}");
        }
    }

    #[test]
    fn help_below_the_options_becomes_sections() {
        let mut roff = Roff::new();
        let text = "Some words first,\nand more.\n\nExamples:\n  backup x   the .first\n  .y\n\n  backup z\n\n\
                    Exit status: 0 if good,\n1 if not.\nJSON: a list of {name,\nhost}.\n\n\
                    A sentence with: a colon that is long before it.\nA host is\n  good  if it is";
        sections(&mut roff, text);
        assert_eq!(
            roff.to_roff(),
            ".SH NOTES\nSome words first,\nand more.\n.SH EXAMPLES\n.RS 4\n.nf\nbackup x   the .first\n\\&.y\n\n\
             backup z\n.fi\n.RE\n.SH \"EXIT STATUS\"\n0 if good,\n1 if not.\nJSON: a list of {name,\nhost}.\n.PP\n\
             A sentence with: a colon that is long before it.\nA host is\n.RS 4\n.nf\ngood  if it is\n.fi\n.RE\n"
        );
    }
}
