//! Why the far side could not be read or written: what failed, and what to try.

use crate::core::format::text::gist;
use crate::sys::process::{Exit, Failure, Output};
use std::fmt;

/// Why the far side could not be read or written.
#[derive(Debug)]
pub enum RemoteError {
    /// No connection.
    Connect {
        /// What kind of refusal it is.
        refusal: Refusal,
        /// What ssh said.
        why: String,
        /// What to try.
        hint: Option<String>,
    },
    /// The user may not become root there.
    Sudo {
        /// Why not.
        fault: SudoFault,
        /// What sudo said, or a shell of it.
        said: String,
    },
    /// A program did not do its work.
    Program(Failure),
    /// What was to run there did not, or said nothing that was asked for.
    NoAnswer {
        /// How it ended.
        exit: Exit,
        /// What was said in the answer's place, empty if nothing was.
        said: String,
    },
    /// The host's tools do not do.
    NoTools,
    /// What is no directory of hooks is configured, or was made there, as one: it has
    /// more executables than this.
    TooManyHooks(usize),
    /// The far side's answer makes no sense.
    Nonsense(String),
}

/// What kept a connection from being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No key of the host is known.
    UnknownKey,
    /// The host's key is not the one that is known.
    ChangedKey,
    /// The host does not let us in.
    Login,
    /// Nobody is there.
    Unreachable,
    /// What stands between us and the host does not lead there.
    OnTheWay,
    /// Something else.
    Other,
}

/// Why sudo did not make us root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SudoFault {
    /// There is none.
    Missing,
    /// It wants a password.
    Password,
    /// It wants a terminal (`requiretty`).
    Terminal,
    /// The user may not.
    NotAllowed,
    /// Something else.
    Other,
}

impl RemoteError {
    /// What came in the place of an answer. Of both streams: nologin(8) gives
    /// its reason on stdout.
    pub(super) fn no_answer(output: &Output, with_sudo: bool) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let of_sudo = stderr.lines().find_map(|line| Some((sudo_fault(line)?, line)));
        if let Some((fault, line)) = of_sudo.filter(|_| with_sudo) {
            return RemoteError::Sudo { fault, said: gist(line.as_bytes()) };
        }
        let said = [gist(&output.stderr), gist(&output.stdout)];
        let said: Vec<String> = said.into_iter().filter(|said| !said.is_empty()).collect();
        RemoteError::NoAnswer { exit: output.exit, said: said.join(" / ") }
    }

    /// What failed, and why.
    pub fn what(&self) -> String {
        match self {
            RemoteError::Connect { why, .. } => why.clone(),
            RemoteError::Sudo { said, .. } => format!("sudo does not work there: {said}"),
            RemoteError::Program(failure) => failure.to_string(),
            RemoteError::NoAnswer { exit, said } if said.is_empty() => {
                format!("the host did not run what it was told, and said nothing ({exit})")
            }
            RemoteError::NoAnswer { exit, said } => {
                format!("the host did not answer, but said: {said} ({exit})")
            }
            RemoteError::NoTools => "its `find` or `timeout` does not know what is needed".to_owned(),
            RemoteError::TooManyHooks(most) => {
                format!("there are more than {most} executables in the host's directory of hooks")
            }
            RemoteError::Nonsense(what) => format!("cannot understand the host's answer: {what}"),
        }
    }

    /// What to try.
    pub fn remedy(&self) -> Option<String> {
        let remedy = match self {
            RemoteError::Connect { hint, .. } => return hint.clone(),
            RemoteError::Sudo { fault, .. } => match fault {
                SudoFault::Missing => "install sudo there, or log in as root and set `sudo = false`",
                SudoFault::Password | SudoFault::NotAllowed => {
                    "let the user run everything without a password: `USER ALL=(root) NOPASSWD: ALL` in a file \
                     of `/etc/sudoers.d` there"
                }
                SudoFault::Terminal => {
                    "let sudo do without a terminal: `Defaults:USER !requiretty` in a file of `/etc/sudoers.d` there"
                }
                SudoFault::Other => "`sudo -n true` must work there",
            },
            RemoteError::NoAnswer { .. } => {
                "`ssh` to it with the command `echo yes` must print that: is its login shell a real one, and does \
                 no start-up file, such as `.bashrc`, start another?"
            }
            RemoteError::NoTools => "install findutils and coreutils there",
            RemoteError::TooManyHooks(_) => "remove what is no hook from there",
            RemoteError::Program(_) | RemoteError::Nonsense(_) => return None,
        };
        Some(remedy.to_owned())
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        self.remedy().map_or(Ok(()), |remedy| write!(f, " ({remedy})"))
    }
}

impl std::error::Error for RemoteError {}

impl From<Failure> for RemoteError {
    fn from(failure: Failure) -> Self {
        RemoteError::Program(failure)
    }
}

/// What a line says of sudo, in its own words or a shell's.
fn sudo_fault(line: &str) -> Option<SudoFault> {
    let has = |text: &str| line.contains(text);
    let missing = ["sudo: not found", "sudo: command not found", "sudo: inaccessible or not found"];
    let lower = line.to_lowercase();
    if missing.iter().any(|text| lower.contains(text))
        || lower.ends_with("not found: sudo")
        || lower.ends_with("unknown command: sudo")
    {
        Some(SudoFault::Missing)
    } else if has("must have a tty") {
        Some(SudoFault::Terminal)
    } else if has("password is required") || has("authentication is required") || has("no askpass program") {
        Some(SudoFault::Password)
    } else if has("is not in the sudoers file")
        || has("may not run sudo")
        || has("is not allowed to")
        || has("I'm afraid I can't do that")
    {
        Some(SudoFault::NotAllowed)
    } else if line.starts_with("sudo: ") {
        Some(SudoFault::Other)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_sudo_from_working_is_told_apart() {
        use SudoFault::*;
        for (line, fault) in [
            ("sudo: a password is required", Password),
            ("sudo: no tty present and no askpass program specified", Password),
            ("sudo: interactive authentication is required", Password),
            ("sudo: sorry, you must have a tty to run sudo", Terminal),
            ("backup is not in the sudoers file.", NotAllowed),
            ("Sorry, user backup is not allowed to execute '/usr/bin/sh -c s=' as root on vpn.", NotAllowed),
            ("sudo: I'm sorry backup. I'm afraid I can't do that", NotAllowed),
            ("sh: 1: sudo: not found", Missing),
            ("bash: line 1: sudo: command not found", Missing),
            ("zsh:1: command not found: sudo", Missing),
            ("fish: Unknown command: sudo", Missing),
            ("sudo: Command not found.", Missing),
            (
                "sudo: effective uid is not 0, is /usr/bin/sudo on a file system with the 'nosuid' option?",
                Other,
            ),
        ] {
            let output = |stderr: String| Output {
                exit: Exit::Code(1),
                stdout: b"motd\n".to_vec(),
                stderr: stderr.into_bytes(),
            };
            let error = RemoteError::no_answer(&output(format!("a complaint\n{line}\n")), true);
            assert!(
                matches!(&error, RemoteError::Sudo { fault: f, said } if *f == fault && said == line),
                "{error}"
            );
        }
        assert_eq!(sudo_fault("a complaint"), None);
    }

    #[test]
    fn what_is_said_in_the_place_of_an_answer_is_shown() {
        let output = |stdout: &str, stderr: &str| Output {
            exit: Exit::Code(1),
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        let error = RemoteError::no_answer(&output("This account is not available.\n", ""), false);
        assert_eq!(
            error.what(),
            "the host did not answer, but said: This account is not available. (exit 1)"
        );
        let error = RemoteError::no_answer(&output("\n", ""), false);
        assert_eq!(error.what(), "the host did not run what it was told, and said nothing (exit 1)");
        assert!(error.to_string().contains(".bashrc"), "{error}");
    }
}
