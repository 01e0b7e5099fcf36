//! What a configuration takes from the machine that it is read on.

use secrecy::SecretString;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The environment variable that holds NetBox's API token.
pub const NETBOX_TOKEN: &str = "BACKUP_NETBOX_TOKEN";
/// The environment variable that holds the password of Icinga's API user.
pub const ICINGA_PASSWORD: &str = "BACKUP_ICINGA_PASSWORD";

/// The longest file that is read for a secret, in bytes.
const LONGEST_SECRET: u64 = 64 * 1024;

/// The machine that a configuration is read on, as far as it matters to it.
#[derive(Debug, Clone)]
pub struct Environment {
    /// This machine's host name.
    pub hostname: String,
    /// The secrets that environment variables hold, by variable.
    pub secrets: BTreeMap<&'static str, SecretString>,
    /// Where the machine's files are: `/`, or a test's own folder.
    pub root: PathBuf,
}

impl Environment {
    /// The machine that this process runs on.
    pub fn of_this_machine() -> Self {
        let secret = |name: &'static str| {
            // What is not UTF-8 is refused where it is used.
            let value = std::env::var_os(name)?.to_string_lossy().into_owned();
            Some((name, SecretString::from(value)))
        };
        Environment {
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            secrets: [NETBOX_TOKEN, ICINGA_PASSWORD].into_iter().filter_map(secret).collect(),
            root: PathBuf::from("/"),
        }
    }

    /// Opens a file, and says whose it is and who may use it.
    pub(super) fn open(&self, path: &Path) -> io::Result<(File, Metadata)> {
        let path = self.root.join(path.strip_prefix("/").unwrap_or(path));
        // Asked first: to open a FIFO would wait for its writer.
        let metadata = std::fs::metadata(&path)?;
        if metadata.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok((File::open(&path)?, metadata))
    }

    /// A small file's content, and whose it is and who may use it.
    pub(super) fn read(&self, path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
        let (file, metadata) = self.open(path)?;
        let mut content = Vec::new();
        file.take(LONGEST_SECRET + 1).read_to_end(&mut content)?;
        if content.len() as u64 > LONGEST_SECRET {
            return Err(io::Error::other("it is longer than 64 KiB"));
        }
        Ok((content, metadata))
    }
}

/// What helps where a file cannot be read that is root's.
pub(super) const AS_ROOT: &str = "root may read it: run this as root, say with `sudo`";

/// What helps where a file cannot be read: `remedy`, unless root could read it.
pub(super) fn remedy<'a>(error: &io::Error, remedy: &'a str) -> &'a str {
    let is_somebody = !rustix::process::geteuid().is_root();
    if error.kind() == ErrorKind::PermissionDenied && is_somebody { AS_ROOT } else { remedy }
}

/// Why a file cannot be read, in words that fit into a sentence.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}
