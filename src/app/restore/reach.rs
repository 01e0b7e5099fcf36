//! What other users of this machine can do to a directory that is restored to.

use crate::core::format::text::printable;
use crate::edge::rsync::Confinement;
use anyhow::bail;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Refuses a directory that others may write to: what they put into it decides
/// where things go in there, and what becomes of them.
pub(super) fn refuse_shared(root: &Path, facts: &Metadata) -> anyhow::Result<()> {
    let why = if !is_ours(facts) {
        "it belongs to another user"
    } else if facts.mode() & 0o022 != 0 {
        "other users may write to it"
    } else {
        return Ok(());
    };
    bail!(
        "cannot restore to `{}`: {why}, who could change what is restored and where it goes in there (restore \
         to a new directory in it, or use `--into-shared`)",
        printable(&root.to_string_lossy())
    )
}

/// How rsync is confined to a directory. Where it cannot be, others must not be
/// able to reach the directory or to move it, for they could lead rsync out of it;
/// `gets_mode` says whether its own mode becomes that of the snapshot's root.
pub(super) async fn confinement(
    root: &Path,
    facts: &Metadata,
    from: &Path,
    gets_mode: bool,
) -> anyhow::Result<Option<Confinement>> {
    if root == Path::new("/") {
        // Nothing is outside of it.
        return Ok(None);
    }
    match Confinement::tried(root, facts, from).await {
        Ok(confinement) => Ok(Some(confinement)),
        Err(_) if is_out_of_reach(root, gets_mode) => Ok(None),
        Err(error) => bail!(
            "cannot restore to `{}`: other users can reach it and could lead rsync out of it, and rsync cannot \
             be confined to it here: {error} (restore to a new directory in one that only you can enter, such \
             as `/root` or one with `chmod 700`)",
            printable(&root.to_string_lossy())
        ),
    }
}

/// Whether nobody but root and we can get to what is in a directory, and nobody
/// else can put something else into its place: on the way there from `/` is a
/// directory that is closed to others, and all above it is ours to move.
fn is_out_of_reach(root: &Path, gets_mode: bool) -> bool {
    let mut way: Vec<&Path> = root.ancestors().collect();
    way.reverse();
    for step in way {
        let Ok(facts) = step.symlink_metadata() else { return false };
        if !is_ours(&facts) {
            return false;
        }
        if facts.mode() & 0o077 == 0 && !(gets_mode && step == root) {
            return true;
        }
        // In a sticky directory what is ours stays where it is.
        if facts.mode() & 0o022 != 0 && facts.mode() & 0o1000 == 0 {
            return false;
        }
    }
    false
}

fn is_ours(facts: &Metadata) -> bool {
    facts.uid() == 0 || facts.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir_all, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_is_shared_if_others_may_write_to_it() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, shared) in [(0o700, false), (0o755, false), (0o775, true), (0o757, true), (0o1777, true)] {
            set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            let facts = dir.path().metadata().unwrap();
            assert_eq!(refuse_shared(dir.path(), &facts).is_err(), shared, "{mode:o}");
        }
    }

    #[test]
    fn a_directory_is_out_of_reach_below_a_closed_one_that_nobody_else_can_move() {
        let dir = tempfile::tempdir().unwrap();
        // What leads there is not ours to judge.
        set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let (outer, inner) = (dir.path().join("outer"), dir.path().join("outer/inner"));
        create_dir_all(&inner).unwrap();
        for (above, below, gets_mode, expected, why) in [
            (0o755, 0o755, false, false, "open"),
            (0o700, 0o755, true, true, "closed above"),
            (0o755, 0o700, false, true, "closed itself"),
            (0o755, 0o700, true, false, "closed now, and not when it is written to"),
            (0o775, 0o700, false, false, "closed, and others can put another into its place"),
            (0o1777, 0o700, false, true, "closed, and its place is its own"),
            (0o750, 0o755, false, false, "open to a group"),
        ] {
            set_permissions(&outer, Permissions::from_mode(above)).unwrap();
            set_permissions(&inner, Permissions::from_mode(below)).unwrap();
            assert_eq!(is_out_of_reach(&inner, gets_mode), expected, "{why}");
        }
    }
}
