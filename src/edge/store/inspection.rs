//! What there is to say of a store before anybody relies on it. Nothing is
//! changed, made or mounted to find out.

use super::{StoreError, shown};
use crate::core::format::text::{counted, human_bytes};
use crate::core::model::finding::CheckFinding;
use crate::core::policy::growth::{self, FleetGrowth};
use std::collections::BTreeMap;
use std::path::Path;

/// A store that will be full in fewer days than this is a warning.
const SOON: u64 = 30;

/// What a look at a store found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inspection {
    /// Of the store as a whole.
    pub findings: Vec<CheckFinding>,
    /// By host, its name in lower case: every host that has a place in the
    /// store, and what is wrong with that place.
    pub places: BTreeMap<String, Vec<CheckFinding>>,
    /// How much room there is, if that is known.
    pub room: Option<Room>,
}

/// How much room a store has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Room {
    /// Bytes that can still be written.
    pub free: u64,
    /// Bytes, used and free.
    pub total: u64,
    /// The share of it, in percent, that has to stay free.
    pub min_free_percent: u8,
    /// How many bytes of files one byte of the store holds, by compression.
    pub ratio: f64,
}

impl Room {
    /// How long it lasts.
    pub fn outlook(&self, subject: &str, growth: Option<FleetGrowth>) -> CheckFinding {
        let reserve = u128::from(self.total) * u128::from(self.min_free_percent) / 100;
        let usable = self.free.saturating_sub(u64::try_from(reserve).unwrap_or(u64::MAX));
        let room = format!("{} of {} free", human_bytes(self.free), human_bytes(self.total));
        let Some(growth) = growth else {
            let why = "how long it lasts is known once a host has two good copies, a day apart";
            return CheckFinding::skipped(subject, format!("{room}; {why}"));
        };
        let per_day = growth.per_day / self.ratio.max(1.0);
        let Some(days) = growth::days(usable, per_day) else {
            return CheckFinding::ok(
                subject,
                format!("{room}; the hosts' copies are not growing noticeably"),
            );
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded for a person")]
        let daily = human_bytes(per_day as u64);
        let reserve = match self.min_free_percent {
            0 => String::new(),
            percent => format!(" but for the {percent}% of `min_free_percent`"),
        };
        let said = format!(
            "{room}; at the present growth, about {daily} a day over {}, it is full in about {days} \
             days{reserve} (an estimate from the sizes of the last 30 days' copies; what changes in files that \
             are kept in snapshots comes on top)",
            counted(growth.hosts, "host")
        );
        if days < SOON {
            let remedy = "add disks, keep fewer periods in `[retention]`, or exclude what need not be kept";
            CheckFinding::warning(subject, said, remedy)
        } else {
            CheckFinding::ok(subject, said)
        }
    }
}

/// A directory above copies that is not root's alone.
pub(super) fn closing(directory: &Path, why: String) -> CheckFinding {
    let at = shown(directory);
    let remedy = format!("chown root {at} && chmod 700 {at} (a run closes what belongs to root)");
    CheckFinding::warning(at, why, remedy)
}

/// A store's refusal as a finding.
pub(super) fn refused(subject: &str, error: StoreError) -> CheckFinding {
    let remedy =
        error.hint.unwrap_or_else(|| "fix that first: no host can be backed up until then".to_owned());
    CheckFinding::error(subject, error.what, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::finding::Level;

    #[test]
    fn a_store_that_is_soon_full_is_a_warning() {
        const GIB: u64 = 1 << 30;
        let room = Room { free: 100 * GIB, total: 1000 * GIB, min_free_percent: 5, ratio: 2.0 };
        let daily = |gib: f64| Some(FleetGrowth { per_day: gib * GIB as f64, hosts: 2 });
        for (growth, level, said, reason) in [
            (daily(10.0), Level::Warning, "full in about 10 days", "half of it, for it is compressed by two"),
            (daily(1.0), Level::Ok, "full in about 100 days", "a while"),
            (daily(-1.0), Level::Ok, "not growing", "it shrinks"),
            (None, Level::Note, "is known once", "nothing to go by"),
        ] {
            let finding = room.outlook("data", growth);
            assert!(finding.level == level && finding.text.contains(said), "{reason}: {finding:?}");
        }
        let full = Room { free: GIB, ..room };
        assert!(full.outlook("data", daily(1.0)).text.contains("full in about 0 days but for the 5%"));
    }
}
