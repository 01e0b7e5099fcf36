//! What other users of this machine can do to a directory that is restored to.

use crate::text::printable;
use crate::transfer::try_confinement;
use anyhow::{Context, bail};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Refuses a directory that others may write to: what is put into it while it
/// is restored to may decide where things go, though never out of it.
pub(super) fn refuse_shared(root: &Path) -> anyhow::Result<()> {
    let shown = printable(&root.to_string_lossy());
    let facts = root.metadata().with_context(|| format!("cannot look at `{shown}`"))?;
    let why = if !is_ours(facts.uid()) {
        "it belongs to another user"
    } else if facts.mode() & 0o022 != 0 {
        "other users may write to it"
    } else {
        return Ok(());
    };
    bail!(
        "cannot restore to `{shown}`: {why}, who could change what is restored or where it goes (restore to a \
         directory of your own in it, or say `--into-shared`)"
    )
}

/// Whether rsync can be confined to a directory. If it cannot, others must not
/// be able to reach it, for they could lead rsync out of it; `gets_mode` says
/// whether its own mode becomes the one of the snapshot's root.
pub(super) async fn confinement(
    root: &Path,
    from: &Path,
    gets_mode: bool,
    into_shared: bool,
) -> anyhow::Result<bool> {
    if root == Path::new("/") {
        // Nothing is outside of it.
        return Ok(false);
    }
    let Err(error) = try_confinement(root, from).await else { return Ok(true) };
    if into_shared || root.ancestors().skip(usize::from(gets_mode)).any(is_closed) {
        return Ok(false);
    }
    let shown = printable(&root.to_string_lossy());
    bail!(
        "cannot restore to `{shown}`: other users can reach it and could lead rsync out of it, and it cannot be \
         confined here: {error} (restore to a directory in one of your own with `chmod 700`, or say `--into-shared`)"
    )
}

/// Whether nobody but root and we get into a directory, or past it.
fn is_closed(directory: &Path) -> bool {
    directory.symlink_metadata().is_ok_and(|facts| is_ours(facts.uid()) && facts.mode() & 0o077 == 0)
}

fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_that_others_may_write_to_is_shared_and_one_below_a_closed_one_is_not_reached() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().join("outer"), dir.path().join("outer/inner"));
        create_dir(&outer).unwrap();
        create_dir(&inner).unwrap();
        for (mode, shared, closed) in
            [(0o700, false, true), (0o755, false, false), (0o775, true, false), (0o1777, true, false)]
        {
            set_permissions(&outer, Permissions::from_mode(mode)).unwrap();
            assert_eq!(refuse_shared(&outer).is_err(), shared, "{mode:o}");
            assert_eq!(is_closed(&outer), closed, "{mode:o}");
            assert_eq!(inner.ancestors().take(2).skip(1).any(is_closed), closed, "{mode:o}");
        }
    }
}
