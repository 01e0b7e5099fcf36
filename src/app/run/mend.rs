//! What verifications found wrong in the host's copy: remembered from run to
//! run, copied anew, and closed when that is proven.
//!
//! A finding is closed only by a good snapshot in which its very file was
//! copied anew and compared, or is no more. Until then the host is CRITICAL and
//! loses no snapshot.

use super::copy::Try;
use super::{Event, HostRun, Step};
use crate::core::format::text::{counted, printable_bytes};
use crate::core::model::outcome::Severity;
use crate::core::model::snapshot::SnapshotName;
use crate::core::model::verification::{Damage, OpenFindings};
use crate::core::policy::rotation::WithheldFor;
use crate::edge::history::Findings;
use crate::edge::rsync::{
    Comparison, Job, Likeness, Limits, Transfer, TransferError, What, Writing, take_out,
};
use crate::edge::store::Store;
use std::collections::BTreeSet;
use tracing::{info, warn};

/// How many files are named one by one.
const NAMED: usize = 20;

/// The host's open findings, and what this run has done about them.
#[derive(Debug, Default)]
pub(super) struct Mending {
    open: OpenFindings,
    /// Those whose files were copied anew, and are as the host's.
    copied: BTreeSet<Vec<u8>>,
    /// Those whose files the copy does not have any more.
    gone: BTreeSet<Vec<u8>>,
}

impl<S: Store> HostRun<'_, S> {
    /// Reads what is open. Where that cannot be read nobody knows what older
    /// snapshots are needed for, and none is removed.
    pub(super) async fn recall(&mut self) {
        let host = self.host.name.key().to_owned();
        let asked = Findings::ask(&self.run.settings.state_dir, move |findings| findings.of(&host));
        match asked.await {
            Ok(open) => self.mending.open = open,
            Err(error) => self.withhold(WithheldFor::Damage, Severity::Critical, error.to_string()),
        }
    }

    /// Copies anew what is known to be damaged in the new copy, without
    /// believing what is there, and compares it.
    pub(super) async fn copy_anew(
        &mut self,
        try_: &Try<'_>,
        copied: Transfer,
    ) -> Result<Transfer, TransferError> {
        (self.mending.copied, self.mending.gone) = Default::default();
        let paths: Vec<Vec<u8>> = self.mending.open.paths().map(<[u8]>::to_vec).collect();
        if paths.is_empty() {
            return Ok(copied);
        }
        info!("{}; they are copied anew", self.mending.open.summary());
        self.at(Step::Transfer);
        let destination = &try_.workspace.destination;
        let out = tokio::select! {
            out = take_out(destination.clone(), paths.clone(), try_.share_lock()?) => out?,
            never = self.stay_connected(try_.remote) => match never {},
            () = tokio::time::sleep_until(self.deadline) => return Err(TransferError::Deadline),
            () = self.run.cancel.cancelled() => return Err(TransferError::Cancelled),
        };
        self.mending.gone = out.other.clone();
        if out.names.is_empty() {
            return Ok(copied);
        }
        let list = self.run.runtime.file_for(&self.host.name, "anew");
        std::fs::write(&list, out.list())
            .map_err(|error| TransferError::NotAnew(format!("cannot write `{}`: {error}", list.display())))?;
        let settings = &self.run.settings.transfer;
        let limits = || Limits {
            stall_timeout: settings.stall_timeout,
            deadline: self.deadline,
            cancel: &self.run.cancel,
        };
        let job = Job { link_dest: Vec::new(), ..self.job(try_, What::Only(list), Writing::Anew)? };
        let anew =
            job.run(limits(), |progress| (self.run.watch)(&self.host.name, Event::Copied(progress))).await?;
        out.put_times_back();
        let comparison = Comparison {
            source: self.host.settings.source.clone(),
            copy: destination.clone(),
            precision: try_.workspace.precision,
            rsh: try_.remote.rsh(),
            rsync_path: try_.remote.rsync_path(),
            contents: true,
        };
        let names: Vec<&[u8]> = out.names.iter().map(Vec::as_slice).collect();
        let compared = comparison.run(&names, limits()).await?;
        for (name, likeness) in
            names.iter().zip(compared.likeness).filter(|(name, _)| paths.iter().any(|p| p == *name))
        {
            match likeness {
                // What has changed since was received whole a moment before.
                Some(Likeness::Alike | Likeness::Changed) => self.mending.copied.insert(name.to_vec()),
                None => self.mending.gone.insert(name.to_vec()),
                Some(Likeness::Different | Likeness::Resized | Likeness::Uncopied) => {
                    warn!("`{}` was copied again and still differs from the host", printable_bytes(name));
                    false
                }
            };
        }
        Ok(copied.with_anew(anew))
    }

    /// Closes what the good snapshot `taken` has mended, and says what is still
    /// open.
    pub(super) async fn close_findings(&mut self, taken: SnapshotName) {
        if self.mending.open.is_empty() {
            return;
        }
        let Mending { open, copied, gone } = std::mem::take(&mut self.mending);
        let settled: BTreeSet<Vec<u8>> = copied.union(&gone).cloned().collect();
        let host = self.host.name.key().to_owned();
        let closing = Findings::ask(&self.run.settings.state_dir, move |findings| {
            findings.change(&host, |open| open.close(&settled, Some(&taken.to_string())))
        });
        match closing.await {
            Ok(left) => self.mending.open = left,
            Err(error) => {
                self.withhold(WithheldFor::Damage, Severity::Critical, error.to_string());
                self.mending.open = open;
                return;
            }
        }
        let of = |paths: &BTreeSet<Vec<u8>>, seen: bool| -> Vec<String> {
            let chosen = open.each().iter().filter(|finding| {
                paths.contains(&finding.path) && (finding.damage == Damage::Overlooked) != seen
            });
            chosen.map(|finding| format!("`{}`", printable_bytes(&finding.path))).collect()
        };
        let damaged = of(&copied, true);
        if !damaged.is_empty() {
            let text = format!(
                "{} that `verify` found damaged {} copied anew and compared\n  {}\n  if it was the host's that is \
                 damaged, older snapshots have the good version: see `backup find {} PATH --hash`; the next run \
                 rotates again",
                counted(damaged.len(), "file"),
                if damaged.len() == 1 { "was" } else { "were" },
                listed(&damaged),
                self.host.name,
            );
            self.withhold(WithheldFor::Damage, Severity::Warning, text);
        }
        for (paths, what) in [
            (of(&copied, false), "whose change runs had not seen: copied anew"),
            (
                [of(&gone, true), of(&gone, false)].concat(),
                "that `verify` found wrong: the copy holds no such file any more",
            ),
        ] {
            if !paths.is_empty() {
                let text = format!("{} {what}\n  {}", counted(paths.len(), "file"), listed(&paths));
                self.note(Severity::Ok, text);
            }
        }
    }

    /// Says once what is still open.
    pub(super) fn tell_open(&mut self) {
        let open = std::mem::take(&mut self.mending.open);
        if open.is_empty() {
            return;
        }
        let paths: Vec<String> = open.paths().map(|path| format!("`{}`", printable_bytes(path))).collect();
        let text = format!("{}\n  {}\n  {}", open.summary(), listed(&paths), open.remedy());
        self.withhold(WithheldFor::Damage, open.severity(), text);
    }
}

fn listed(paths: &[String]) -> String {
    let more = match paths.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", paths[..paths.len().min(NAMED)].join(", "))
}
