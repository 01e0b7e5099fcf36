//! What a plausible run looks like, judged from the run before it.
//!
//! The guard stands between an accident on a host (an unmounted disk, a wrong
//! `source`, another machine under an old name) and the belief that all is
//! well. It does so twice: before the transfer with a budget of deletions, and
//! after it with a judgement. A run that it suspects replaces nothing.
//!
//! Invariant: a copy of nothing is never good, whatever the operator accepts.
//! Not known here: rsync, and how its figures are read.

use crate::core::format::text::{counted, counted_as, printable, shortened};
use crate::core::model::snapshot::Facts;

/// What is believed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// How much of the last good copy may be gone, in percent of its files.
    /// 100 and above: all of it.
    pub max_delete_percent: u8,
    /// The operator has said that this once all of it may be gone.
    pub accept_deletions: bool,
}

/// What a transfer left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Files, directories, links and so on that the copy holds.
    pub files: u64,
    /// How many of them are directories.
    pub directories: u64,
    /// The transfer stopped deleting because its budget was spent.
    pub stopped_deleting: bool,
    /// The copied machine's `/etc/machine-id`, where it has one.
    pub machine: Option<String>,
    /// What there is to say of the machine's own name, if that has changed.
    pub renamed: Option<String>,
    /// Files in the copy that are no directories.
    pub regular: u64,
    /// Regular files that were new or changed.
    pub changed: u64,
    /// More may have changed since the last good copy: an earlier try, or a suspect
    /// copy under the same name, has brought some already.
    pub changed_before: bool,
}

/// How an operator waves one run through.
const REMEDY: &str = "run `backup HOST --accept-deletions` once";

impl Guard {
    /// How many files a transfer may delete from a copy of `baseline_files`
    /// files; `None` is no limit.
    pub fn delete_budget(&self, baseline_files: Option<u64>) -> Option<u64> {
        if self.accept_deletions || self.max_delete_percent >= 100 {
            return None;
        }
        baseline_files.map(|files| percent_of(files, self.max_delete_percent))
    }

    /// With fewer files than this a copy after one of `baseline_files` files is
    /// suspect: the share that must be left, rounded up. `None` is no limit.
    pub fn fewest_files(&self, baseline_files: Option<u64>) -> Option<u64> {
        let share = 100_u8.saturating_sub(self.max_delete_percent);
        let fewest = |files: u64| (u128::from(files) * u128::from(share)).div_ceil(100);
        let fewest = baseline_files.map(fewest).and_then(|files| u64::try_from(files).ok())?;
        (!self.accept_deletions && fewest > 0).then_some(fewest)
    }

    /// Why a run is not to be believed, with the figures and what to do about
    /// it; `None` if it is plausible. `last_good` is what the host's newest
    /// good snapshot says of itself, where it has one that says something.
    pub fn judge(&self, last_good: Option<&Facts>, now: &Observed) -> Option<String> {
        if now.files <= now.directories {
            return Some(format!(
                "nothing besides {} was copied; look whether `source` is right, whether its disk is mounted, \
                 and what the excludes leave",
                counted_as(now.directories, "directory", "directories"),
            ));
        }
        if self.accept_deletions {
            return None;
        }
        let doubts: Vec<String> = [
            self.another_machine(last_good, now),
            another_name(now),
            self.budget_spent(last_good, now),
            self.too_few(last_good, now),
        ]
        .into_iter()
        .flatten()
        .collect();
        if doubts.is_empty() { None } else { Some(doubts.join("; ")) }
    }

    fn another_machine(&self, last_good: Option<&Facts>, now: &Observed) -> Option<String> {
        let before = known_machine(last_good?.machine.as_deref())?;
        let after = known_machine(now.machine.as_deref())?;
        // The first characters tell two machines apart, and the whole id is
        // not to be handed round: machine-id(5).
        let shown = |id: &str| shortened(&printable(id), 9);
        (before != after).then(|| {
            format!(
                "this looks like another machine: its machine-id is `{}`, that of the last good copy was `{}`; \
                 if it was reinstalled or renamed on purpose, {REMEDY}",
                shown(after),
                shown(before),
            )
        })
    }

    fn budget_spent(&self, last_good: Option<&Facts>, now: &Observed) -> Option<String> {
        let budget = match self.delete_budget(last_good.and_then(|facts| facts.files)) {
            Some(budget) => format!(
                "{} ({} % of the last good copy)",
                counted(budget, "deletion"),
                self.max_delete_percent
            ),
            None => "the deletions allowed".to_owned(),
        };
        now.stopped_deleting.then(|| {
            format!("more files are gone than can be right: rsync stopped after {budget}; if they are meant to be gone, {REMEDY}")
        })
    }

    fn too_few(&self, last_good: Option<&Facts>, now: &Observed) -> Option<String> {
        let before = last_good?.files?;
        let share = 100_u8.saturating_sub(self.max_delete_percent);
        let fewest = self.fewest_files(Some(before))?;
        (now.files < fewest).then(|| {
            format!(
                "only {} where the last good copy has {before}, less than {share} %; if the others are meant to \
                 be gone, {REMEDY}",
                counted(now.files, "file"),
            )
        })
    }
}

/// A machine that was renamed keeps its files; one that has another's place brings
/// its own.
fn another_name(now: &Observed) -> Option<String> {
    let what = now.renamed.as_ref()?;
    let files = if now.changed > now.regular / 2 {
        format!("{} of {} files are new or changed", now.changed, now.regular)
    } else if now.changed_before {
        "it is not known how many files have changed since".to_owned()
    } else {
        return None;
    };
    Some(format!("this looks like another machine: {what}, and {files}; if both are meant, {REMEDY}"))
}

/// `percent` of `files`, rounded down.
fn percent_of(files: u64, percent: u8) -> u64 {
    let share = u128::from(files) * u128::from(percent) / 100;
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// A machine's id, unless it says that there is none yet (machine-id(5)).
fn known_machine(id: Option<&str>) -> Option<&str> {
    id.map(str::trim).filter(|id| !id.is_empty() && *id != "uninitialized")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::snapshot::Verdict;

    const STRICT: Guard = Guard { max_delete_percent: 50, accept_deletions: false };
    const ACCEPTING: Guard = Guard { accept_deletions: true, ..STRICT };

    fn percent(max_delete_percent: u8) -> Guard {
        Guard { max_delete_percent, ..STRICT }
    }

    fn facts(files: Option<u64>, machine: Option<&str>) -> Facts {
        Facts {
            run: "r".into(),
            verdict: Verdict::Good,
            files,
            bytes: None,
            duration: None,
            machine: machine.map(str::to_owned),
            hostname: None,
            left_out: None,
            clock_agreed: false,
        }
    }

    fn copied(files: u64, directories: u64) -> Observed {
        Observed { files, directories, ..Observed::default() }
    }

    #[test]
    fn the_budget_is_a_share_of_the_last_good_copy_rounded_down() {
        for (guard, baseline, budget, why) in [
            (STRICT, Some(1000), Some(500), "half"),
            (STRICT, Some(1001), Some(500), "rounded down"),
            (STRICT, Some(1), Some(0), "half of one file is none"),
            (STRICT, Some(0), Some(0), "nothing to delete"),
            (STRICT, None, None, "nothing to compare with"),
            (percent(1), Some(99), Some(0), "below one hundred, one percent is none"),
            (percent(1), Some(100), Some(1), "one of a hundred"),
            (percent(99), Some(u64::MAX), Some(18_262_276_632_972_456_098), "no overflow"),
            (percent(100), Some(1000), None, "all may go"),
            (percent(255), Some(1000), None, "more than all is all"),
            (ACCEPTING, Some(1000), None, "the operator said so"),
        ] {
            assert_eq!(guard.delete_budget(baseline), budget, "{why}");
        }
    }

    #[test]
    fn a_copy_without_files_is_never_good() {
        for guard in [STRICT, ACCEPTING, percent(100)] {
            for (now, empty, why) in [
                (copied(0, 0), true, "nothing at all"),
                (copied(1, 1), true, "only the source's own directory"),
                (copied(7, 7), true, "only directories, as of an empty mount point"),
                (copied(3, 9), true, "figures that cannot be"),
                (copied(8, 7), false, "one file"),
            ] {
                assert_eq!(guard.judge(None, &now).is_some(), empty, "{why}, {guard:?}");
            }
        }
        assert_eq!(
            ACCEPTING.judge(None, &copied(1, 1)).unwrap(),
            "nothing besides 1 directory was copied; look whether `source` is right, whether its disk is \
             mounted, and what the excludes leave"
        );
    }

    #[test]
    fn a_count_below_the_share_that_must_stay_is_suspect() {
        for (guard, before, now, suspect, why) in [
            (STRICT, Some(1000), 500, false, "just the half that must stay"),
            (STRICT, Some(1000), 499, true, "one fewer"),
            (STRICT, Some(1001), 501, false, "more than half"),
            (STRICT, Some(1001), 500, true, "half of an odd count, rounded nowhere"),
            (STRICT, Some(1000), 1_000_000, false, "growth is no fault"),
            (STRICT, None, 1, false, "the ancestor's snapshots have no count"),
            (STRICT, Some(0), 1, false, "the first files"),
            (percent(1), Some(100), 99, false, "one of a hundred may go"),
            (percent(1), Some(100), 98, true, "two may not"),
            (percent(100), Some(u64::MAX), 1, false, "all may go"),
            (percent(255), Some(u64::MAX), 1, false, "more than all is all"),
            (percent(1), Some(u64::MAX), u64::MAX - 1, false, "no overflow, plausible"),
            (percent(1), Some(u64::MAX), u64::MAX / 2, true, "no overflow, suspect"),
            (ACCEPTING, Some(1000), 1, false, "the operator said so"),
        ] {
            let verdict = guard.judge(Some(&facts(before, None)), &copied(now, 0));
            assert_eq!(verdict.is_some(), suspect, "{why}: {verdict:?}");
        }
        assert_eq!(
            STRICT.judge(Some(&facts(Some(1000), None)), &copied(400, 20)).unwrap(),
            "only 400 files where the last good copy has 1000, less than 50 %; if the others are meant to be \
             gone, run `backup HOST --accept-deletions` once"
        );
    }

    #[test]
    fn a_transfer_that_spent_its_budget_is_suspect() {
        let stopped = Observed { stopped_deleting: true, ..copied(900, 20) };
        assert_eq!(
            STRICT.judge(Some(&facts(Some(1000), None)), &stopped).unwrap(),
            "more files are gone than can be right: rsync stopped after 500 deletions (50 % of the last good \
             copy); if they are meant to be gone, run `backup HOST --accept-deletions` once"
        );
        let without_figures = STRICT.judge(None, &stopped).unwrap();
        assert!(without_figures.contains("rsync stopped after the deletions allowed"), "{without_figures}");
        assert_eq!(ACCEPTING.judge(Some(&facts(Some(1000), None)), &stopped), None);
    }

    #[test]
    fn a_name_that_changed_is_suspect_if_the_files_did_or_nobody_knows() {
        for (renamed, changed, changed_before, suspect) in [
            (true, 50, false, false),
            (true, 51, false, true),
            (true, 0, true, true),
            (false, 100, true, false),
        ] {
            let renamed = renamed.then(|| "its name is another".to_owned());
            let now = Observed { renamed, regular: 100, changed, changed_before, ..copied(120, 20) };
            assert_eq!(STRICT.judge(Some(&facts(Some(120), None)), &now).is_some(), suspect, "{now:?}");
            assert_eq!(ACCEPTING.judge(Some(&facts(Some(120), None)), &now), None, "{now:?}");
        }
    }

    #[test]
    fn another_machine_under_the_same_name_is_suspect() {
        let (one, two) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
        for (before, now, suspect, why) in [
            (Some(one), Some(two), true, "two ids"),
            (Some(one), Some(one), false, "one id"),
            (Some(one), Some("0123456789abcdef0123456789abcdef\n"), false, "one id, read with its newline"),
            (None, Some(two), false, "the last good copy has none"),
            (Some(one), None, false, "the machine has none"),
            (Some(one), Some(""), false, "an image before its first boot"),
            (Some(one), Some("uninitialized"), false, "an image in its first boot"),
        ] {
            let now = Observed { machine: now.map(str::to_owned), ..copied(10, 1) };
            let verdict = STRICT.judge(Some(&facts(Some(10), before)), &now);
            assert_eq!(verdict.is_some(), suspect, "{why}: {verdict:?}");
            assert_eq!(ACCEPTING.judge(Some(&facts(Some(10), before)), &now), None, "{why}");
        }
        let now = Observed { machine: Some(two.to_owned()), ..copied(10, 1) };
        assert_eq!(
            STRICT.judge(Some(&facts(None, Some(one))), &now).unwrap(),
            "this looks like another machine: its machine-id is `fedcba98…`, that of the last good copy was \
             `01234567…`; if it was reinstalled or renamed on purpose, run `backup HOST --accept-deletions` once"
        );
    }

    #[test]
    fn another_name_and_most_files_changed_are_suspect_together() {
        for (renamed, changed, suspect, why) in [
            (true, 60, true, "both"),
            (true, 50, false, "half of the files"),
            (true, 3, false, "renamed, as people do"),
            (false, 100, false, "an upgrade"),
        ] {
            let renamed =
                renamed.then(|| "its host name is `b`, in the last good copy it was `a`".to_owned());
            let now = Observed { renamed, regular: 100, changed, ..copied(120, 20) };
            assert_eq!(STRICT.judge(Some(&facts(Some(120), None)), &now).is_some(), suspect, "{why}");
            assert_eq!(ACCEPTING.judge(Some(&facts(Some(120), None)), &now), None, "{why}");
        }
    }

    #[test]
    fn the_fewest_files_are_the_share_that_must_be_left_rounded_up() {
        for (percent, before, expected, why) in [
            (50, Some(10), Some(5), "half of an even number"),
            (50, Some(11), Some(6), "5 of 11 are less than half"),
            (1, Some(100), Some(99), "almost all"),
            (100, Some(100), None, "all may go"),
            (50, Some(0), None, "nothing was there"),
            (50, None, None, "nobody knows"),
            (1, Some(u64::MAX), Some(18_262_276_632_972_456_099), "no overflow"),
        ] {
            let guard = Guard { max_delete_percent: percent, accept_deletions: false };
            assert_eq!(guard.fewest_files(before), expected, "{why}");
        }
        assert_eq!(ACCEPTING.fewest_files(Some(10)), None);
    }

    #[test]
    fn every_doubt_is_told() {
        let now = Observed { stopped_deleting: true, machine: Some("b".into()), ..copied(3, 1) };
        let why = STRICT.judge(Some(&facts(Some(1000), Some("a"))), &now).unwrap();
        for part in ["another machine", "500 deletions", "only 3 files"] {
            assert!(why.contains(part), "{part} is missing: {why}");
        }
    }

    #[test]
    fn a_first_run_with_files_is_plausible() {
        assert_eq!(STRICT.judge(None, &copied(2, 1)), None);
    }
}
