//! `--trust-host-keys`: the questions.

use crate::app::check::Stranger;
use crate::sys::logging;
use anyhow::{Context, bail};
use std::io::{IsTerminal, Write};

/// Whom to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    All,
    Nobody,
    /// To be asked of each.
    Each,
}

/// Shows the keys of hosts that are not known, and asks which of them are trusted,
/// in their order; with `yes` all are. An error if nobody can be asked.
pub(super) async fn trusted(strangers: &[Stranger], yes: bool) -> anyhow::Result<Vec<bool>> {
    show(strangers);
    if yes {
        return Ok(vec![true; strangers.len()]);
    }
    if !std::io::stdin().is_terminal() {
        bail!(
            "not a terminal, so no key was added: compare the fingerprints above, then use `backup check \
             --trust-host-keys --yes`"
        );
    }
    let question = match strangers {
        [_] => "\nTrust this host from now on? [y/N] ".to_owned(),
        _ => format!("\nTrust these {} hosts from now on? [y]es, [n]o, or [e]ach: ", strangers.len()),
    };
    let answer = ask(question).await?;
    if answer != Answer::Each || strangers.len() == 1 {
        return Ok(vec![answer == Answer::All; strangers.len()]);
    }
    let mut trusted = Vec::new();
    for stranger in strangers {
        trusted.push(ask(format!("Trust {}? [y/N] ", stranger.title())).await? == Answer::All);
    }
    Ok(trusted)
}

/// Asks on the terminal.
async fn ask(question: String) -> anyhow::Result<Answer> {
    let answer = tokio::task::spawn_blocking(move || {
        let mut stderr = std::io::stderr().lock();
        write!(stderr, "{question}")?;
        stderr.flush()?;
        drop(stderr);
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        Ok::<_, std::io::Error>(line)
    });
    let line = answer.await.context("the question broke off")?.context("cannot read the answer")?;
    Ok(match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Answer::All,
        "e" | "each" => Answer::Each,
        _ => Answer::Nobody,
    })
}

fn show(strangers: &[Stranger]) {
    logging::print("These hosts are not known yet. Compare each fingerprint with the host's own:");
    logging::print("  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\n");
    for stranger in strangers {
        let (title, name) = (stranger.title(), stranger.name());
        let at = if name.eq_ignore_ascii_case(title) { String::new() } else { format!(" ({name})") };
        logging::print(&format!("{title}{at}"));
        for (kind, fingerprint) in stranger.fingerprints() {
            logging::print(&format!("  {kind:<20} {fingerprint}"));
        }
    }
}
