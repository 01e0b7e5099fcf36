//! A clock that stands before the newest snapshot: how that is noticed, and how it is
//! said.
//!
//! Not known here: what is done about it; see [`crate::core::policy::rotation`].

use crate::core::format::text::printable;
use crate::core::model::host::HostName;
use crate::core::model::snapshot::Snapshot;
use crate::edge::store::{Store, Survey};
use chrono::{DateTime, Utc};
use std::fmt;

/// The newest snapshot of ours in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    host: String,
    name: String,
}

impl fmt::Display for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of {}", printable(&self.name), self.host)
    }
}

impl Newest {
    /// Whose it is, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What it means for all hosts: nothing `is`, or `would be`, removed.
    pub fn consequence(&self, is: &str) -> String {
        format!(
            "the clock is behind the newest snapshot, {self}: nothing {is} removed of that host, nor of any whose \
             own clock does not agree with this one"
        )
    }

    /// What to do about that.
    pub fn remedy(&self, store: &impl Store) -> String {
        let removal = self.removal(store);
        format!("correct the clock; if it is right now, it was ahead when that snapshot was taken: {removal}")
    }

    /// What it means for a host of which nothing was removed because of it.
    pub fn kept_all(&self, store: &impl Store) -> String {
        kept_all(&format!("the newest snapshot, {self}"), &self.removal(store))
    }

    /// What to do with it if it has a wrong date.
    fn removal(&self, store: &impl Store) -> String {
        let host = self.host.parse::<HostName>();
        host.map_or_else(|_| "remove it".to_owned(), |host| removal(store, &host, &self.name))
    }
}

/// What it means for a host of which nothing was removed, because the clock is behind
/// this snapshot of its own.
pub fn kept_all_of(store: &impl Store, host: &HostName, newest: &Snapshot) -> String {
    kept_all(
        &format!("its newest snapshot, `{}`", printable(&newest.name)),
        &removal(store, host, &newest.name),
    )
}

fn kept_all(newest: &str, removal: &str) -> String {
    format!(
        "nothing was removed: the clock is behind {newest} (correct the clock; if it is right, {removal})"
    )
}

/// What to do with a snapshot that has a wrong date.
fn removal(store: &impl Store, host: &HostName, name: &str) -> String {
    format!("remove it with `{}`", store.by_hand(host, name))
}

/// The newest of a host's snapshots that `now` stands before, as of
/// [`clock_behind`].
pub fn newest_to_come(snapshots: &[Snapshot], now: DateTime<Utc>) -> Option<&Snapshot> {
    let newest = snapshots.iter().filter(|snapshot| snapshot.tells_the_time()).max_by_key(|one| one.time)?;
    (newest.time > now).then_some(newest)
}

/// The newest snapshot of ours in the store, if `now` stands before it. One that
/// is suspect is no evidence of the time: its date may be why.
pub fn clock_behind(survey: &Survey, now: DateTime<Utc>) -> Option<Newest> {
    let hosts = survey.hosts.iter();
    let all = hosts.flat_map(|(host, snapshots)| snapshots.iter().map(move |snapshot| (host, snapshot)));
    let ours = all.filter(|(_, snapshot)| snapshot.tells_the_time());
    let (host, newest) = ours.max_by_key(|(_, snapshot)| snapshot.time)?;
    (newest.time > now).then(|| Newest { host: host.clone(), name: newest.name.clone() })
}
