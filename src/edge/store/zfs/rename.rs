//! A host's dataset gets another name.

use super::super::{StoreError, shown};
use super::system::explained;
use super::{Datasets, ZfsStore};
use crate::core::model::host::HostName;
use std::path::Path;

impl ZfsStore {
    /// `zfs rename`, with snapshots, holds and whatever lies below. It unmounts
    /// the dataset and mounts it at its new place, if it was mounted; what is in
    /// use it does not rename, and nothing is forced.
    pub(super) async fn rename_dataset(&self, from: &HostName, to: &HostName) -> Result<(), StoreError> {
        let (old, new) = (self.dataset_of(from), self.dataset_of(to));
        let renamed = self.system.change(["rename", &old, &new]).await;
        // It is as it is, whether it can be listed or not.
        let listed = self.datasets().await;
        if let Err(failure) = renamed {
            let refusal = explained(&format!("cannot rename `{old}` to `{new}`"), &self.dataset, &failure);
            let Ok(Datasets { parent, hosts }) = &listed else { return Err(refusal) };
            if hosts.contains_key(from.key()) || !hosts.contains_key(to.key()) {
                let at = &hosts.get(from.key()).unwrap_or(parent).mountpoint;
                let said = String::from_utf8_lossy(failure.stderr());
                return Err(match said.contains("busy") {
                    true => refusal.hint(format!("`fuser -vm {}` shows what uses it", shown(Path::new(at)))),
                    false => refusal,
                });
            }
            // It has its new name, and could not be mounted there: the next run does.
            tracing::warn!("{refusal}; it was renamed nevertheless, and the next run mounts it");
        }
        // Where somebody has set it, it does not follow the name.
        let renamed = listed.as_ref().ok().and_then(|datasets| datasets.hosts.get(to.key()));
        let place = renamed.map(|dataset| dataset.mountpoint.as_str()).unwrap_or_default();
        let own = Path::new(place).file_name().and_then(|name| name.to_str());
        if place.starts_with('/') && own != Some(to.key()) {
            tracing::warn!(
                "`{new}` has its own mount point, `{}`, which did not change (`zfs inherit mountpoint {new}` mounts it \
                 under its name)",
                shown(Path::new(place))
            );
        }
        Ok(())
    }
}
