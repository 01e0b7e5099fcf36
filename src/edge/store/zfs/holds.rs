//! Who holds which snapshot: `zfs hold`, `zfs release` and `zfs holds`.
//!
//! Of a hold and a destruction in one moment the kernel lets one fail.

use super::super::{StoreError, no_such_snapshot, not_held};
use super::system::{explained, is_missing};
use super::{MOST_AT_ONCE, ZfsStore, dataset, parse};
use crate::core::model::host::HostName;
use crate::core::model::snapshot::HoldName;
use crate::sys::process::Failure;
use std::collections::BTreeMap;

/// How often the holds are listed again, when snapshots go meanwhile.
const MOST_LISTINGS: usize = 5;

impl ZfsStore {
    /// Holds a snapshot; `false` if it was held under that name already.
    pub(super) async fn place_hold(
        &self,
        host: &HostName,
        snapshot: &str,
        name: &HoldName,
    ) -> Result<bool, StoreError> {
        let target = self.target(host, snapshot)?;
        let placed = match self.system.change(["hold", name.as_str(), &target]).await {
            Ok(_) => true,
            Err(failure) if said(&failure, "tag already exists on this dataset") => false,
            Err(failure) if is_missing(&failure) => return Err(no_such_snapshot(&target)),
            Err(failure) => {
                return Err(explained(&format!("cannot hold `{target}`"), &self.dataset, &failure));
            }
        };
        Ok(placed)
    }

    /// Releases one hold.
    pub(super) async fn lift_hold(
        &self,
        host: &HostName,
        snapshot: &str,
        name: &str,
    ) -> Result<(), StoreError> {
        let target = self.target(host, snapshot)?;
        // Other programs' holds may have any name, one like an option too.
        match self.system.change(["release", "--", name, &target]).await {
            Ok(_) => {}
            Err(failure) if said(&failure, "no such tag on this dataset") => {
                let holds = self.list_holds(host).await?.remove(snapshot).unwrap_or_default();
                return Err(not_held(&target, name, &holds));
            }
            Err(failure) if is_missing(&failure) => return Err(no_such_snapshot(&target)),
            Err(failure) => {
                return Err(explained(&format!("cannot release `{target}`"), &self.dataset, &failure));
            }
        }
        Ok(())
    }

    /// The holds of every snapshot of a host that is held.
    pub(super) async fn list_holds(
        &self,
        host: &HostName,
    ) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        self.check_known_state()?;
        let dataset = self.dataset_of(host);
        let failed = |failure: &Failure| {
            explained(&format!("cannot read the holds in `{dataset}`"), &self.dataset, failure)
        };
        let mut listings = 0;
        loop {
            listings += 1;
            let args = ["list", "-Hp", "-d", "1", "-t", "snapshot", "-o", "name,userrefs", &dataset];
            let text = match self.system.read(&args).await {
                Err(failure) if is_missing(&failure) => return Ok(BTreeMap::new()),
                text => text.map_err(|failure| failed(&failure))?,
            };
            let held = parse::held(&text).map_err(|error| self.unclear("the holds", error))?;
            match self.holds_of(&dataset, &held).await? {
                Ok(holds) => return Ok(holds),
                Err(failure) if listings < MOST_LISTINGS && is_missing(&failure) => {}
                Err(failure) => return Err(failed(&failure)),
            }
        }
    }

    /// The holds of these snapshots of a dataset.
    async fn holds_of(
        &self,
        dataset: &str,
        held: &[&str],
    ) -> Result<Result<BTreeMap<String, Vec<String>>, Failure>, StoreError> {
        let mut holds = BTreeMap::new();
        for held in held.chunks(MOST_AT_ONCE) {
            let text = match self.system.read(&[&["holds", "-H"], held].concat()).await {
                Ok(text) => text,
                Err(failure) => return Ok(Err(failure)),
            };
            holds.extend(parse::holds(&text, dataset).map_err(|error| self.unclear("the holds", error))?);
        }
        Ok(Ok(holds))
    }

    /// A snapshot as `zfs` names it, on a pool that answers.
    fn target(&self, host: &HostName, snapshot: &str) -> Result<String, StoreError> {
        let target = format!("{}@{snapshot}", self.dataset_of(host));
        if !dataset::is_snapshot(snapshot) {
            return Err(no_such_snapshot(&target));
        }
        self.check_known_state().map(|()| target)
    }
}

fn said(failure: &Failure, text: &str) -> bool {
    String::from_utf8_lossy(failure.stderr()).contains(text)
}
