//! Which snapshots have which version of a file.
//!
//! Not known here: how what was found is shown. It is given out as it is found, for
//! there may be millions.

pub use crate::edge::tree::{Found, Searched};

use crate::app::session::Session;
use crate::app::snapshot_view::{self, Seen, shown};
use crate::core::files::entry::Kind;
use crate::core::files::path_glob::Pattern;
use crate::core::model::host::HostName;
use crate::edge::tree::{Tree, search};
use crate::sys::clock::Clock;
use anyhow::bail;
use chrono_tz::Tz;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use tracing::warn;

/// What is looked for, and where.
#[derive(Debug)]
pub struct FindRequest<'a> {
    /// The configuration, or where it usually is.
    pub config: Option<&'a Path>,
    /// A host that the store has copies of.
    pub host: &'a str,
    /// A file name or path, with wildcards.
    pub pattern: &'a OsStr,
    /// Whether case is ignored.
    pub ignore_case: bool,
    /// Whether versions are told apart by content.
    pub hash: bool,
    /// The snapshots that are searched; all without any.
    pub snapshots: &'a [String],
}

/// Snapshots that are about to be searched.
#[derive(Debug)]
pub struct SnapshotSearch {
    /// Whose they are.
    pub host: HostName,
    /// Oldest first; versions name them by their place here.
    pub snapshots: Vec<Seen>,
    /// The zone in which times are told.
    pub zone: Tz,
    pattern: Pattern,
    hash: bool,
}

/// The same, opened.
#[derive(Debug)]
pub struct OpenSearch {
    /// What is searched: those of the snapshots that are still there.
    pub search: SnapshotSearch,
    /// Whether some of them were not there any more, which has been said.
    pub lost: bool,
    trees: Vec<Tree>,
}

impl SnapshotSearch {
    /// Finds the snapshots.
    ///
    /// # Errors
    /// The pattern is none, or there is no such host or snapshot.
    pub async fn new(request: &FindRequest<'_>, clock: Clock) -> anyhow::Result<Self> {
        let pattern = Pattern::new(request.pattern.as_bytes(), request.ignore_case)?;
        let session = Session::open(request.config, clock)?;
        let place = session.place(request.host).await?;
        if let Some(future) = place.of_the_future() {
            warn!("{future}; searched as well");
        }
        let wanted = request.snapshots.iter().map(|word| place.meant(word, &session));
        let wanted: Vec<_> = wanted.collect::<anyhow::Result<_>>()?;
        let snapshots = snapshot_view::some(&place)?.iter();
        let snapshots = snapshots
            .filter(|snapshot| wanted.is_empty() || wanted.contains(snapshot))
            .map(|snapshot| Seen::new(&place, snapshot))
            .collect();
        let zone = session.settings.timezone;
        Ok(SnapshotSearch { host: place.host, snapshots, zone, pattern, hash: request.hash })
    }

    /// Opens the snapshots and forgets those that are not there any more.
    ///
    /// # Errors
    /// None of them can be opened.
    pub fn open(mut self) -> anyhow::Result<OpenSearch> {
        let mut trees = Vec::with_capacity(self.snapshots.len());
        let mut refusals = Vec::new();
        self.snapshots.retain(|snapshot| match snapshot.open() {
            Ok(tree) => {
                trees.push(tree);
                true
            }
            Err(refusal) => {
                refusals.push(refusal);
                false
            }
        });
        let lost = !refusals.is_empty();
        let all = trees.is_empty();
        for refusal in refusals {
            if all {
                bail!(refusal);
            }
            warn!("{refusal:#}");
        }
        Ok(OpenSearch { search: self, lost, trees })
    }
}

impl OpenSearch {
    /// Searches, and gives each path that was found with its versions.
    ///
    /// # Errors
    /// Those of `tell`.
    pub fn run(&self, tell: impl FnMut(Found) -> anyhow::Result<()>) -> anyhow::Result<Searched> {
        search(&self.trees, &self.search.pattern, self.search.hash, tell)
    }

    /// Where a snapshot's copy of a path is on this server.
    pub fn browse(&self, snapshot: u32, path: &[u8]) -> String {
        let mut browse = self.trees[snapshot as usize].path().to_owned().into_os_string().into_vec();
        browse.push(b'/');
        browse.extend_from_slice(path);
        String::from_utf8_lossy(&browse).into_owned()
    }

    /// What there is of a path that was not found, if the pattern is one.
    pub fn hint(&self) -> Option<String> {
        let pattern = &self.search.pattern;
        let beginning = pattern.beginning().join(&b'/');
        // The whole path, where the pattern is one.
        let path: Vec<&[u8]> =
            pattern.beginning().iter().map(Vec::as_slice).chain(pattern.only_name()).collect();
        let path = path.join(&b'/');
        let tree = self.trees.last().filter(|_| !path.is_empty())?;
        match snapshot_view::nearest(tree, &path) {
            Some(near) if pattern.only_name().is_some() || !is_directory(tree, &beginning) => {
                Some(format!("of `{}` the newest has {near}", shown(&path, None, None)))
            }
            None if !is_directory(tree, &beginning) => {
                Some(format!("the newest has no directory `{}`", shown(&beginning, None, None)))
            }
            _ => None,
        }
    }
}

fn is_directory(tree: &Tree, path: &[u8]) -> bool {
    matches!(tree.entry(path), Ok(Some(entry)) if entry.kind == Kind::Directory)
}
