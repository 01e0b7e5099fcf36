//! Copies are root's alone: they hold what only root may read on their hosts,
//! and setuid programs that nobody may run here. So a directory above every
//! host's copies is closed to all other users of this machine.

use super::{StoreError, shown};
use rustix::fs::{CWD, Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The rights that nobody but the owner may have.
const OTHERS: u32 = 0o077;

/// Closes a directory to all but its owner, and gives the mode that it had if
/// it was open.
///
/// # Errors
/// It is not a directory, belongs to somebody else, or cannot be changed.
pub(super) fn close(dir: &Path) -> Result<Option<u32>, StoreError> {
    let failed = |error: io::Error| {
        StoreError::new(format!("cannot close `{0}` to other users of this server: {error}", shown(dir)))
            .hint(format!("chown root {0} && chmod 700 {0}", shown(dir)))
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = rustix::fs::openat(CWD, dir, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let file = File::from(open);
    let meta = file.metadata().map_err(failed)?;
    if let Some(owner) = stranger(&meta) {
        return Err(StoreError::new(format!(
            "`{}` belongs to the user {owner}, who may read and exchange the copies in it",
            shown(dir)
        ))
        .hint(format!("look through it, then `chown root {0} && chmod 700 {0}`", shown(dir))));
    }
    let mode = meta.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(None);
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & !OTHERS)).map_err(|error| failed(error.into()))?;
    Ok(Some(mode))
}

/// Who else than its owner, root or whoever runs this, may get into a
/// directory, in words that follow its name; `None` if nobody may, or it is not
/// there.
pub(super) fn open_to_others(dir: &Path) -> Option<String> {
    let meta = dir.symlink_metadata().ok()?;
    if let Some(owner) = stranger(&meta) {
        return Some(format!("belongs to the user {owner}, who may read and exchange the copies in it"));
    }
    let mode = meta.mode() & 0o7777;
    (mode & OTHERS != 0)
        .then(|| format!("is open to other users of this server (mode {mode:o}), who may read copies in it"))
}

/// The owner, if that is neither root nor whoever runs this.
fn stranger(meta: &std::fs::Metadata) -> Option<u32> {
    let ours = rustix::process::geteuid().as_raw();
    Some(meta.uid()).filter(|uid| *uid != 0 && *uid != ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    #[test]
    fn a_directory_that_is_open_to_anybody_is_closed_once() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o755, 0o750, 0o711, 0o704, 0o2770, 0o1777] {
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
            assert!(open_to_others(dir.path()).unwrap().contains(&format!("mode {mode:o}")));
            assert_eq!(close(dir.path()).unwrap(), Some(mode));
            assert_eq!(dir.path().metadata().unwrap().mode() & 0o7777, mode & !0o077);
            assert_eq!((close(dir.path()).unwrap(), open_to_others(dir.path())), (None, None));
        }
    }

    #[test]
    fn what_is_somebody_elses_or_no_directory_is_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let (theirs, link) = (dir.path().join("theirs"), dir.path().join("link"));
        std::fs::create_dir(&theirs).unwrap();
        symlink(&theirs, &link).unwrap();
        assert!(close(&link).unwrap_err().to_string().contains("chmod 700"));
        chown(&theirs, Some(4242), None).unwrap();
        assert!(close(&theirs).unwrap_err().to_string().contains("belongs to the user 4242"));
        assert!(open_to_others(&theirs).unwrap().contains("user 4242"));
    }
}
