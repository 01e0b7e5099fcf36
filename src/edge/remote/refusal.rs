//! Why ssh could not connect, by what it said, and what to try.
//!
//! Only ssh's words tell one refusal from another: it exits with 255 for all of
//! them. They become a [`Cause`] here, and nowhere else.

use super::{Refusal, RemoteError};
use crate::core::format::text::{human_duration, printable, shell_word, shortened};
use crate::core::model::host::Host;
use crate::core::model::settings;
use crate::sys::process::Program;
use std::path::Path;
use std::time::Duration;

/// The longest line of ssh that is shown, in characters.
const LONGEST: usize = 400;
/// How lines begin that ssh says itself; before them, a server's greeting or a
/// proxy's words may come.
const OF_SSH: [&str; 22] = [
    "ssh: ",
    "Load key ",
    "Warning: Identity file ",
    "Unable to negotiate ",
    "Permission denied",
    "Received disconnect from ",
    "Too many authentication failures",
    "Host key verification failed",
    "Bad ",
    "command-line",
    "/", // `/etc/ssh/ssh_config line 3: …`, `/bin/bash: line 1: exec: nc: not found`
    "Timeout, server ",
    "channel 0: open failed",
    "stdio forwarding failed",
    "unix_listener: ",
    "ControlPath ",
    "ControlSocket ",
    "Could not request ",
    "Connection to ",
    "Connection timed out",
    "Connection reset by ",
    "Control socket connect",
];
/// How lines begin that say that the other end went away, whyever.
const FOLLOWS: [&str; 5] = [
    "kex_exchange_identification: ",
    "ssh_exchange_identification: ",
    "Connection closed by ",
    "Disconnected from ",
    "banner exchange: ",
];
/// What ssh calls a host that it reaches through another program.
const THROUGH_A_PROXY: &str = "UNKNOWN port 65535";

/// What kept ssh from connecting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// A host's key is not the one that is known, of the host or of one on the way
    /// to it: where ssh knows it from, if it says so.
    ChangedKey(Option<KnownKey>),
    /// No key is known for this host, as ssh knows it: the host, or one on the
    /// way to it.
    UnknownKey(Option<String>),
    /// The private key cannot be used: what is wrong with it, and what to do.
    Key(KeyFault),
    /// The host does not let us in.
    Denied,
    /// Nobody listens there.
    Refused,
    /// Nobody answers.
    Silent,
    /// There is no such name.
    Unresolved,
    /// Something else.
    Other,
}

/// An entry in a file of known hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownKey {
    /// The file.
    file: String,
    /// The host, as ssh knows it: `vpn`, `[10.0.0.7]:2222`, or another name that the
    /// configuration gives it.
    name: String,
}

impl KnownKey {
    /// The entry that ssh says to be another's.
    fn of(said: &str) -> Option<Self> {
        let rest = said.lines().find_map(|line| line.strip_prefix("Offending ")?.split_once(" key in "))?.1;
        let (file, _) = rest.rsplit_once(':')?;
        let line = said.lines().find_map(|line| line.strip_prefix("Host key for "))?;
        let (name, _) = line.split_once(" has changed and you")?;
        Some(KnownKey { file: file.to_owned(), name: printable(name) })
    }
}

/// What is wrong with a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyFault {
    /// It is not there, or cannot be read.
    Unreadable,
    /// Others may read it.
    Open,
    /// It is no key, or a broken one.
    Broken,
    /// It wants a passphrase.
    Passphrase,
}

/// What ssh said, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) cause: Cause,
    /// The line that says it, safe to print.
    pub(super) line: String,
    /// Whether it was said of the way to the host, not of the host.
    on_the_way: bool,
    /// Whether ssh itself gave no reason: what it was to go through has ended, and
    /// the only words are of that.
    pub(super) is_of_another: bool,
}

impl Said {
    pub(super) fn of(stderr: &[u8]) -> Self {
        let said = String::from_utf8_lossy(stderr);
        let line = reason(&said);
        let shown = printable(line.strip_prefix("ssh: ").unwrap_or(line));
        Said {
            // A shell begins with its own path: `/bin/bash: line 1: exec: nc: not found`.
            is_of_another: cause(&said) == Cause::Other && (rank(line) != 0 || line.starts_with('/')),
            cause: cause(&said),
            line: shortened(&shown, LONGEST),
            on_the_way: said.contains(THROUGH_A_PROXY) || said.contains("stdio forwarding failed"),
        }
    }
}

/// For a program that only reads a file.
const AT_ONCE: Duration = Duration::from_secs(10);

impl Said {
    /// Finds out whose key has changed, of which ssh says only the name: `own` is what
    /// it knows the host itself by.
    pub(super) fn of_whom(mut self, own: Option<&str>) -> Self {
        if let (Cause::ChangedKey(Some(entry)), Some(own)) = (&self.cause, own) {
            self.on_the_way = !entry.name.eq_ignore_ascii_case(own);
        }
        self
    }

    /// Looks at the configured key where the host does not let us in: ssh, which
    /// must not ask for a passphrase, passes such a key over without a word.
    pub(super) async fn with_the_key(mut self, settings: &settings::Ssh) -> Self {
        if let (Cause::Denied, Some(key)) = (&self.cause, &settings.identity_file) {
            let read = Program::new("ssh-keygen").args(["-y", "-P", "", "-f"]).arg(key).deadline(AT_ONCE);
            let output = read.output().await;
            if output.is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("passphrase")) {
                self.cause = Cause::Key(KeyFault::Passphrase);
            }
        }
        self
    }
}

fn cause(said: &str) -> Cause {
    let has = |text: &str| said.contains(text);
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        Cause::ChangedKey(KnownKey::of(said))
    } else if has("host key is known for ") || has("Host key verification failed") {
        let name =
            said.split_once("host key is known for ").and_then(|(_, rest)| rest.split_once(" and you"));
        Cause::UnknownKey(name.map(|(name, _)| printable(name)))
    } else if has("Permission denied (") {
        if has("UNPROTECTED PRIVATE KEY FILE") {
            Cause::Key(KeyFault::Open)
        } else if has("Warning: Identity file ") || has(": Permission denied\n") {
            Cause::Key(KeyFault::Unreadable)
        } else if said.lines().any(|line| line.starts_with("Load key ")) {
            Cause::Key(KeyFault::Broken)
        } else {
            Cause::Denied
        }
    } else if has("Connection refused") {
        Cause::Refused
    } else if ["Connection timed out", "Operation timed out", "timed out during banner"]
        .iter()
        .any(|text| has(text))
    {
        Cause::Silent
    } else if has("Could not resolve hostname") {
        Cause::Unresolved
    } else {
        Cause::Other
    }
}

/// The line that gives the reason: the first of ssh's own, else the first of
/// anybody's, else one that says that the other end went away.
fn reason(said: &str) -> &str {
    reason_among(said.lines())
}

/// [`reason`], of these lines alone.
pub(super) fn reason_among<'a>(lines: impl Iterator<Item = &'a str>) -> &'a str {
    let lines = lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('@'));
    let lines = lines.filter(|line| !line.starts_with("** "));
    lines.min_by_key(|line| rank(line)).unwrap_or("ssh gave no reason")
}

/// 0 of a line of ssh's own, 2 of one that only says that the other end went away.
fn rank(line: &str) -> u8 {
    let begins = |with: &[&str]| with.iter().any(|begin| line.starts_with(begin));
    match line {
        _ if begins(&FOLLOWS) => 2,
        // `root@vpn: Permission denied (publickey).`
        _ if line.contains(": Permission denied (") || begins(&OF_SSH) => 0,
        _ => 1,
    }
}

/// The command that does by hand, and aloud, what this program does.
pub fn by_hand(host: &Host) -> String {
    let port = host.settings.port.map(|port| format!(" -p {port}")).unwrap_or_default();
    format!("ssh -v{port} {}@{}", host.settings.user, host.address)
}

/// What ssh said of a host, and what to do about it.
pub(super) fn explain(host: &Host, settings: &settings::Ssh, said: Said) -> RemoteError {
    let (address, user, name) = (&host.address, &host.settings.user, &host.name);
    let key = settings.identity_file.as_deref().map(|path| printable(&path.to_string_lossy()));
    let key = key.unwrap_or_else(|| "root's key".to_owned());
    let (refusal, why, hint) = match said.cause {
        Cause::Other | Cause::Refused | Cause::Silent | Cause::Unresolved | Cause::Denied
            if said.on_the_way =>
        {
            (
                Refusal::OnTheWay,
                format!("`{address}` cannot be reached through its proxy: {}", said.line),
                format!(
                    "its `ProxyJump` or `ProxyCommand` is in ssh's configuration; try `{}`",
                    by_hand(host)
                ),
            )
        }
        Cause::ChangedKey(entry) => changed(host, settings, entry, said.on_the_way),
        Cause::UnknownKey(known_as) => {
            let whose = known_as.filter(|_| said.on_the_way);
            let why = match whose {
                Some(jump) => format!("the host key of `{jump}`, on the way to `{address}`, is not known"),
                None => format!("the host key of `{address}` is not known"),
            };
            let hint =
                format!("`backup check --trust-host-keys {name}` shows it and asks whether to trust it");
            (Refusal::UnknownKey, why, hint)
        }
        Cause::Key(fault) => {
            let (what, hint) = unusable(fault, &key);
            let said =
                if fault == KeyFault::Passphrase { String::new() } else { format!(" ({})", said.line) };
            (Refusal::Login, format!("the private key `{key}` {what}{said}"), hint)
        }
        Cause::Denied => (
            Refusal::Login,
            format!("`{user}@{address}` rejected the login: {}", said.line),
            format!("add this server's public key to `{user}`'s authorized_keys there"),
        ),
        Cause::Refused => (
            Refusal::Unreachable,
            match host.settings.port {
                Some(port) => format!("`{address}` refuses connections to port {port}"),
                None => format!("`{address}` refuses connections"),
            },
            "is sshd running there?".to_owned(),
        ),
        Cause::Silent => (
            Refusal::Unreachable,
            format!("`{address}` did not answer within {}", human_duration(settings.connect_timeout)),
            "is it up, and its address right?".to_owned(),
        ),
        Cause::Unresolved => (
            Refusal::Unreachable,
            format!("no address is known for `{address}`"),
            "is it in DNS, or is `domain` missing?".to_owned(),
        ),
        Cause::Other => (
            Refusal::Other,
            format!("cannot connect to `{address}`: {}", said.line),
            format!("try `{}`", by_hand(host)),
        ),
    };
    RemoteError::Connect { refusal, why, hint: Some(hint) }
}

/// Of a host, or of one on the way to it, whose key is not the one that is known.
fn changed(
    host: &Host,
    settings: &settings::Ssh,
    entry: Option<KnownKey>,
    on_the_way: bool,
) -> (Refusal, String, String) {
    let address = &host.address;
    let KnownKey { file, name } = entry.unwrap_or_else(|| {
        let file = settings.known_hosts_file.as_deref().unwrap_or(Path::new("/root/.ssh/known_hosts"));
        let name = match host.settings.port {
            None | Some(22) => address.clone(),
            Some(port) => format!("[{address}]:{port}"),
        };
        KnownKey { file: file.display().to_string(), name }
    });
    let whose = match on_the_way {
        true => format!("`{name}`, on the way to `{address}`,"),
        false => format!("`{address}`"),
    };
    (
        Refusal::ChangedKey,
        format!("the host key of {whose} is not the one in `{}`", printable(&file)),
        format!(
            "this may be an attack; if the host was reinstalled, remove the old key with \
             `ssh-keygen -f {} -R '{name}'` and add the new one",
            shell_word(&file)
        ),
    )
}

/// What is wrong with our private key, and what helps.
fn unusable(fault: KeyFault, key: &str) -> (&'static str, String) {
    match fault {
        KeyFault::Unreadable => (
            "cannot be read",
            "correct `ssh.identity_file`, or make a key there with `ssh-keygen -t ed25519`".to_owned(),
        ),
        KeyFault::Open => {
            ("is not used by ssh, since others may read it", format!("close it with `chmod 600 {key}`"))
        }
        KeyFault::Broken => (
            "is no private key that ssh can read",
            format!("see what `ssh-keygen -y -f {key}` says of it; a public key ends with `.pub`"),
        ),
        KeyFault::Passphrase => (
            "has a passphrase, and at night there is nobody to type it",
            format!("remove it with `ssh-keygen -p -f {key}`, or use another key"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: &str = "root@127.0.0.1: Permission denied (publickey,keyboard-interactive).\n";
    const UNPROTECTED: &str = "\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Permissions 0644 for '/k' are too open.
It is required that your private key files are NOT accessible by others.
This private key will be ignored.
Load key \"/k\": bad permissions
";

    /// What OpenSSH 9.2 said, word for word.
    #[test]
    fn words_of_what_ssh_goes_through_are_told_from_its_own() {
        for (said, expected) in [
            ("the tunnel is closed\n", true),
            ("", true),
            ("/bin/bash: line 1: exec: nc: not found\n", true),
            ("kex_exchange_identification: Connection closed by remote host\n", true),
            ("banner\nUnable to negotiate with 10.0.0.1 port 22: no matching host key type found.\n", false),
            ("the tunnel is closed\nssh: connect to host vpn port 22: Connection refused\n", false),
        ] {
            assert_eq!(Said::of(said.as_bytes()).is_of_another, expected, "{said}");
        }
    }

    #[test]
    fn what_ssh_says_is_told_apart_and_its_reason_is_shown() {
        let unknown = |name: &str| Cause::UnknownKey(Some(name.to_owned()));
        let gone = "kex_exchange_identification: Connection closed by remote host\n\
                    Connection closed by UNKNOWN port 65535\n";
        for (said, cause, line, on_the_way) in [
            (DENIED.to_owned(), Cause::Denied, DENIED.trim(), false),
            (format!("Authorised use only.\n\n{DENIED}"), Cause::Denied, DENIED.trim(), false),
            (
                format!("Warning: Identity file /k not accessible: No such file or directory.\n{DENIED}"),
                Cause::Key(KeyFault::Unreadable),
                "Warning: Identity file /k not accessible: No such file or directory.",
                false,
            ),
            (
                format!("{UNPROTECTED}{DENIED}"),
                Cause::Key(KeyFault::Open),
                "Load key \"/k\": bad permissions",
                false,
            ),
            (
                format!("Load key \"/k\": error in libcrypto\n{DENIED}"),
                Cause::Key(KeyFault::Broken),
                "Load key \"/k\": error in libcrypto",
                false,
            ),
            (
                "Unable to negotiate with 127.0.0.1 port 22: no matching cipher found. Their offer: a,b\n".to_owned(),
                Cause::Other,
                "Unable to negotiate with 127.0.0.1 port 22: no matching cipher found. Their offer: a,b",
                false,
            ),
            (
                format!("ssh: connect to host gate port 1: Connection refused\n{gone}"),
                Cause::Refused,
                "connect to host gate port 1: Connection refused",
                true,
            ),
            (
                format!("/bin/bash: line 1: exec: nc: not found\n{gone}"),
                Cause::Other,
                "/bin/bash: line 1: exec: nc: not found",
                true,
            ),
            (
                format!(
                    "No ED25519 host key is known for [gate]:2222 and you have requested strict checking.\n\
                     Host key verification failed.\n{gone}"
                ),
                unknown("[gate]:2222"),
                "Host key verification failed.",
                true,
            ),
            (
                "No ED25519 host key is known for vpn and you have requested strict checking.\n\
                 Host key verification failed.\n"
                    .to_owned(),
                unknown("vpn"),
                "Host key verification failed.",
                false,
            ),
            (
                "Connection timed out during banner exchange\nConnection to 240.0.0.1 port 22 timed out\n".to_owned(),
                Cause::Silent,
                "Connection timed out during banner exchange",
                false,
            ),
            (
                "ssh: Could not resolve hostname nosuch.invalid: Name or service not known\n".to_owned(),
                Cause::Unresolved,
                "Could not resolve hostname nosuch.invalid: Name or service not known",
                false,
            ),
            (
                "/etc/ssh/ssh_config: line 3: Bad configuration option: nosuch\n\
                 /etc/ssh/ssh_config: terminating, 1 bad configuration options\n"
                    .to_owned(),
                Cause::Other,
                "/etc/ssh/ssh_config: line 3: Bad configuration option: nosuch",
                false,
            ),
            (
                "kex_exchange_identification: read: Connection reset by peer\nConnection reset by 10.0.0.7 port 22\n"
                    .to_owned(),
                Cause::Other,
                "Connection reset by 10.0.0.7 port 22",
                false,
            ),
            (
                "ssh: connect to host 10.0.0.7 port 22: No route to host\n".to_owned(),
                Cause::Other,
                "connect to host 10.0.0.7 port 22: No route to host",
                false,
            ),
            (
                format!(
                    "@@@@@@@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@@@@@@@@@@@@\n\
                     IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\n\
                     Add correct host key in /k h:2 to get rid of this message.\n\
                     Offending ED25519 key in /k h:2:7\n  remove with:\n  ssh-keygen -f \"/k h:2\" -R \"[gate]:2222\"\n\
                     Host key for [gate]:2222 has changed and you have requested strict checking.\n\
                     Host key verification failed.\n{gone}"
                ),
                Cause::ChangedKey(Some(KnownKey { file: "/k h:2".to_owned(), name: "[gate]:2222".to_owned() })),
                "Host key verification failed.",
                true,
            ),
            (String::new(), Cause::Other, "ssh gave no reason", false),
        ] {
            let line = line.to_owned();
            let found = Said::of(said.as_bytes());
            assert_eq!((found.cause, found.line, found.on_the_way), (cause, line, on_the_way), "{said}");
        }
    }
}
