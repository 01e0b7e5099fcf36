//! From a command line that is being typed to the words that may stand at the
//! cursor, by the definitions of the command line. Pure.

use clap::{Arg, ArgAction, Command, ValueHint};

/// What may stand at the cursor.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Words that begin as what is typed, each with what it is.
    pub(super) words: Vec<(String, String)>,
    /// Names of hosts.
    pub(super) hosts: bool,
    /// Names of files.
    pub(super) files: bool,
    /// What is typed of the word.
    pub(super) begin: String,
}

/// What may stand in the place of the last of these words, which come after
/// the program's name.
pub(super) fn wanted(mut root: Command, words: &[String]) -> Wanted {
    root.build();
    let Some((last, before)) = words.split_last() else { return Wanted::default() };
    let mut place =
        Place { command: &root, is_root: true, options: false, positionals: 0, ended: false, waits: None };
    before.iter().for_each(|word| place.pass(word));
    place.wanted(last)
}

/// Where the cursor is.
struct Place<'a> {
    command: &'a Command,
    is_root: bool,
    /// Options were given.
    options: bool,
    /// How many words that are no options were given.
    positionals: usize,
    /// `--` was given: no more options.
    ended: bool,
    /// The option whose value comes next.
    waits: Option<&'a Arg>,
}

impl<'a> Place<'a> {
    /// Goes past a word.
    fn pass(&mut self, word: &str) {
        if self.waits.is_some() && word == "=" {
            // bash takes `--option=value` for three words.
            return;
        }
        let optional = |arg: &Arg| arg.get_num_args().is_some_and(|range| range.min_values() == 0);
        match self.waits.take() {
            Some(arg) if !(optional(arg) && word.starts_with('-')) => return,
            _ => {}
        }
        if self.ended {
            self.positionals += 1;
        } else if word == "--" {
            self.ended = true;
        } else if let Some(long) = word.strip_prefix("--") {
            self.options = true;
            if !long.contains('=') {
                self.waits = self.option(|arg| arg.get_long() == Some(long)).filter(|arg| takes_value(arg));
            }
        } else if let Some(shorts) = word.strip_prefix('-').filter(|shorts| !shorts.is_empty()) {
            self.options = true;
            let last = shorts.chars().last();
            self.waits = self.option(|arg| arg.get_short() == last).filter(|arg| takes_value(arg));
        } else if let Some(command) = self.subcommands().find(|command| command.get_name() == word) {
            (self.command, self.is_root) = (command, false);
        } else {
            self.positionals += 1;
        }
    }

    fn wanted(&self, last: &str) -> Wanted {
        if let Some(arg) = self.waits {
            let begin = if last == "=" { "" } else { last };
            return values(arg, begin);
        }
        if let Some((long, begin)) = last.strip_prefix("--").and_then(|long| long.split_once('=')) {
            if !self.ended {
                let arg = self.option(|arg| arg.get_long() == Some(long));
                let mut wanted = arg.map(|arg| values(arg, begin)).unwrap_or_default();
                wanted.words.iter_mut().for_each(|(word, _)| *word = format!("--{long}={word}"));
                // Shells complete the value's file name, if they know it for one.
                wanted.hosts = false;
                return wanted;
            }
        }
        if last.starts_with('-') && !self.ended {
            return Wanted { words: self.options(last), begin: last.to_owned(), ..Wanted::default() };
        }
        let positionals: Vec<&Arg> = self.command.get_positionals().collect();
        let here =
            positionals.get(self.positionals).or_else(|| positionals.last().filter(|arg| takes_many(arg)));
        let mut wanted = here.map(|arg| values(arg, last)).unwrap_or_default();
        wanted.begin = last.to_owned();
        let commands = self.subcommands().filter(|command| !command.is_hide_set());
        let commands = commands.map(|command| (command.get_name().to_owned(), about(command)));
        wanted.words.splice(0..0, commands.filter(|(word, _)| word.starts_with(last)));
        wanted
    }

    /// The commands that may stand here. After an option only `run` may.
    fn subcommands(&self) -> impl Iterator<Item = &'a Command> + use<'a> {
        let (here, any) = (self.is_root && self.positionals == 0 && !self.ended, !self.options);
        self.command.get_subcommands().filter(move |command| here && (any || command.get_name() == "run"))
    }

    fn option(&self, is: impl Fn(&Arg) -> bool) -> Option<&'a Arg> {
        self.command.get_arguments().find(|arg| !arg.is_positional() && is(arg))
    }

    fn options(&self, begin: &str) -> Vec<(String, String)> {
        let shown = self.command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
        let named = shown.filter_map(|arg| {
            let word =
                arg.get_long().map(|long| format!("--{long}")).or(arg.get_short().map(|c| format!("-{c}")));
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            Some((word?, help))
        });
        named.filter(|(word, _)| word.starts_with(begin)).collect()
    }
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn takes_many(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
        || arg.get_num_args().is_some_and(|range| range.max_values() > 1)
}

/// What may be given as the value of an option or in a place of its own.
fn values(arg: &Arg, begin: &str) -> Wanted {
    let known = arg.get_possible_values();
    let known = known.iter().filter(|value| !value.is_hide_set() && takes_value(arg));
    let words = known
        .map(|value| {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            (value.get_name().to_owned(), help)
        })
        .filter(|(word, _)| word.starts_with(begin))
        .collect();
    let name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let is_path =
        matches!(arg.get_value_hint(), ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath);
    Wanted {
        words,
        hosts: name == "HOST",
        // A PATH is one on a host.
        files: matches!(name, "FILE" | "DIR") || is_path && name != "PATH",
        begin: begin.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Cli;
    use super::*;
    use clap::CommandFactory;

    fn at(words: &[&str]) -> Wanted {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        wanted(Cli::command(), &words)
    }

    fn offered(words: &[&str]) -> Vec<String> {
        at(words).words.into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn commands_are_offered_where_they_may_stand() {
        for (words, expected, reason) in [
            (&["ver"][..], &["verify"][..], "the first word"),
            (&["sta"], &["status"], "likewise"),
            (&["-q", "r"], &["run"], "after an option only this one"),
            (&["vpn", "ver"], &[], "a host came first"),
            (&["--", "ver"], &[], "after this everything is a host"),
            (&["verify", "ver"], &[], "within a command"),
            (&["__com"], &[], "for shells alone"),
            (&["completions", "z"], &["zsh"], "words that a place can have"),
        ] {
            assert_eq!(offered(words), expected, "{reason}");
        }
        assert!(offered(&[""]).len() > 10);
    }

    #[test]
    fn options_are_those_of_the_command() {
        for (words, expected) in [
            (&["verify", "--sa"][..], &["--sample"][..]),
            (&["--accept"], &["--accept-deletions"]),
            (&["verify", "--accept"], &[]),
            (&["verify", "--", "--sa"], &[]),
            (&["verify", "--sample", "5", "--al"], &["--all"]),
            (&["verify", "--sample=5", "--al"], &["--all"]),
        ] {
            assert_eq!(offered(words), expected, "{words:?}");
        }
        let (_, help) = at(&["verify", "--sample"]).words.remove(0);
        assert!(help.starts_with("Number of files"), "{help}");
    }

    #[test]
    fn hosts_and_files_are_offered_where_they_may_stand() {
        for (words, hosts, files, reason) in [
            (&["v"][..], true, false, "the word `run` may be left out"),
            (&["verify", ""], true, false, "a host"),
            (&["verify", "--quiet", "a", ""], true, false, "another host"),
            (&["verify", "--", "x"], true, false, "after `--` too"),
            (&["verify", "--sample", ""], false, false, "a number"),
            (&["verify", "--config", ""], false, true, "a file"),
            (&["verify", "--config", "="], false, true, "as bash takes it apart"),
            (&["verify", "--config", "=", "x"], false, true, "as bash takes it apart"),
            (&["verify", "--config=x"], false, true, "a file"),
            (&["verify", "-"], false, false, "options"),
            (&["completions", "man", ""], false, true, "a folder"),
        ] {
            let wanted = at(words);
            assert_eq!((wanted.hosts, wanted.files), (hosts, files), "{reason}: {words:?}");
        }
        assert_eq!(wanted(Cli::command(), &[]), Wanted::default());
    }
}
