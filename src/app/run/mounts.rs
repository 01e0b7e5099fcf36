//! What a host's mounts and excludes mean for its copy: before it, and after it
//! once more.

use super::{HostRun, failed};
use crate::core::filter::{self, Excess, LeftOut, Rule, Selection, Warning};
use crate::core::format::excerpt::Excerpt;
use crate::core::format::text::{human_duration, printable};
use crate::core::model::outcome::{Outcome, Stage};
use crate::core::model::snapshot::Snapshot;
use crate::edge::remote::{Probe, Remote};
use crate::edge::rsync::Transfer;
use crate::edge::store::Store;
use crate::sys::offload::{NotInTime, offload};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// How long it may take to judge what a host says of itself: a few thousand
/// times as long as it takes for a host that means well.
const JUDGING: Duration = Duration::from_secs(60);
/// After a copy that took longer than this the mounts are looked at again.
const LONG: Duration = Duration::from_secs(10);

/// The patterns of an exclude file, and its lines that are none.
type Patterns = (Vec<Rule>, Excerpt<Warning>);

impl<S: Store> HostRun<'_, S> {
    /// The filter rules of this host, in rsync's order: the first that matches
    /// decides, and what of its filesystems is copied.
    pub(super) async fn rules(&mut self, probe: &Probe) -> Result<(Vec<Rule>, Selection), Outcome> {
        let (mounts, (client, warnings)) = self.judged(probe).await?;
        let mounts = mounts.map_err(|excess| failed(Stage::Probe, excess))?;
        if mounts.own.is_none() {
            let why =
                "the host's list of mounts does not name the source's filesystem (is `/proc` mounted there?)";
            return Err(failed(Stage::Probe, why));
        }
        if !mounts.warnings.is_empty() {
            let (count, lines) = (mounts.warnings.count(), mounts.warnings.lines());
            let lines = lines.replace('\n', "\n  ");
            let text =
                format!("lines in the host's list of mounts that could not be parsed: {count}\n  {lines}");
            self.afterwards.push(text);
        }
        if !warnings.is_empty() {
            warn!("{}", warnings.lines());
        }
        let left_out = |data: bool| {
            mounts.left_out.iter().filter(move |mount| mount.reason.holds_data() == data).collect()
        };
        let (data, no_data): (Excerpt<&LeftOut>, Excerpt<&LeftOut>) = (left_out(true), left_out(false));
        if !data.is_empty() {
            info!("left out: {data}");
        }
        debug!("left out, and no data: {no_data}");
        debug!("copied as well: {}", mounts.included.iter().collect::<Excerpt<_>>());
        let (mut configured, unfit) = filter::configured(&self.run.configured, &self.host.settings.exclude);
        for (pattern, why) in unfit {
            warn!("the configured exclude `{}` is not used: {why}", printable(pattern));
        }
        if probe.is_this_machine {
            // A copy of the store into the store would grow for ever.
            let source = probe.real_source.as_bytes();
            let roots = self.run.survey.iter().flat_map(|survey| &survey.roots);
            let own = roots.filter_map(|root| filter::emptied(root.as_os_str().as_bytes(), source));
            configured.splice(0..0, own);
        }
        let named = [configured.as_slice(), &client].concat();
        self.tell_what_is_missed(&mounts, &probe.real_source, &named);
        let rules = filter::assemble(&filter::standard(&probe.real_source), &configured, &mounts, &client);
        Ok((rules, mounts))
    }

    /// What the host's own words amount to: its mounts, its exclude file. To find
    /// out must not hold up the other hosts, nor the end of the run.
    async fn judged(&self, probe: &Probe) -> Result<(Result<Selection, Excess>, Patterns), Outcome> {
        let (list, source, excludes) =
            (probe.mounts.clone(), probe.real_source.clone(), probe.excludes.clone());
        let filesystems = self.host.settings.filesystems;
        let file = self.run.settings.excludes.remote_file.clone();
        let judged = offload(JUDGING, move || {
            let mounts = filter::select(&list, &source, filesystems);
            (mounts, filter::parse_lines(&excludes, &file))
        });
        tokio::select! {
            judged = judged => judged.map_err(|NotInTime| {
                let limit = human_duration(JUDGING);
                failed(Stage::Probe, format!("its mounts and excludes could not be processed within {limit}"))
            }),
            () = self.run.cancel.cancelled() => Err(Outcome::Interrupted),
        }
    }

    /// Tells what holds data and is not copied, if it was not told before; which
    /// the host's newest snapshot remembers.
    fn tell_what_is_missed(&mut self, mounts: &Selection, source: &str, rules: &[Rule]) {
        let missed = filter::missed(mounts, source, rules);
        let before = self.run.survey.as_ref().map(|survey| survey.of(&self.host.name)).unwrap_or_default();
        let now = self.run.clock.now();
        let until_now = before.iter().filter(|snapshot| snapshot.time <= now);
        let newest = until_now.filter_map(Snapshot::facts).next_back();
        let told = newest.and_then(|facts| facts.left_out.as_deref());
        let new = missed.new_since(told);
        if !new.is_empty() {
            let text = format!(
                "not copied: {new}\n  what holds data there is in no copy of this host: back it up where it belongs, \
                 or as a host of its own with that `source`, or add it to `exclude` if that is intended; it is not \
                 reported again"
            );
            self.afterwards.push(text);
        }
        self.left_out = missed.remembered(told);
    }

    /// Looks at the mounts once more if much can have happened meanwhile: what
    /// was mounted after the rules were made is left out by none of them.
    pub(super) async fn looked_again(
        &mut self,
        transfer: Transfer,
        remote: &Remote,
        probe: &Probe,
        (before, rules): (&Selection, &[Rule]),
        read: Instant,
    ) -> Result<Transfer, Outcome> {
        if self.hooks.is_empty() && read.elapsed() < LONG {
            return Ok(transfer);
        }
        let asked = tokio::select! {
            asked = remote.mounts() => asked,
            () = self.run.cancel.cancelled() => return Err(Outcome::Interrupted),
        };
        let Ok(mounts) = asked.inspect_err(|error| info!("the mounts could not be looked at again: {error}"))
        else {
            return Ok(transfer);
        };
        let (Ok(after), _) = self.judged(&Probe { mounts, excludes: Vec::new(), ..probe.clone() }).await?
        else {
            return Ok(transfer);
        };
        let filter::Changed { gone, come } = filter::changed(before, &after, &probe.real_source, rules);
        if !come.is_empty() {
            let text = format!(
                "mounted while the host was copied, and perhaps copied as well: {come} (mount it before or \
                 after the run, or add it to `exclude`)"
            );
            self.afterwards.push(text);
        }
        if gone.is_empty() {
            return Ok(transfer);
        }
        Ok(transfer.incomplete(&format!("unmounted while the host was copied: {gone}")))
    }
}
