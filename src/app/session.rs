//! What most use cases begin with: the configuration, the store, one host's
//! snapshots; and the words of an operator that mean one of them.

use crate::core::filter::{self, Rule};
use crate::core::format::excerpt::Excerpt;
use crate::core::format::similar::nearest;
use crate::core::format::text::printable;
use crate::core::format::time_spec::{self, WhenError};
use crate::core::model::host::HostName;
use crate::core::model::settings::Settings;
use crate::core::model::snapshot::{self, Snapshot, Verdict};
use crate::edge::config;
use crate::edge::history::Findings;
use crate::edge::inventory;
use crate::edge::store::{AnyStore, HostSnapshots, Store, StoreError, Survey};
use crate::sys::clock::Clock;
use crate::sys::logging;
use crate::sys::process;
use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::warn;

/// How long the store may take to say what it holds.
const LONGEST_SURVEY: Duration = Duration::from_secs(15 * 60);

/// How many hosts at once: as the command line says, or else the configuration,
/// and no more than this process may have files for.
pub fn set_jobs(settings: &mut Settings, wanted: Option<NonZeroUsize>) {
    let wanted = wanted.unwrap_or(settings.jobs);
    let limit = process::file_limit();
    settings.jobs = wanted.min(process::most_hosts(limit));
    if settings.jobs < wanted {
        warn!(
            "{} hosts at once instead of {wanted}: this process may have {limit} files open (raise `ulimit -n`, \
             or `LimitNOFILE=` of its systemd unit)",
            settings.jobs
        );
    }
}

/// The configuration in `file`, or where it usually is, its warnings said.
///
/// # Errors
/// There is none, or something is wrong with it.
pub fn settings(file: Option<&Path>) -> anyhow::Result<Settings> {
    let path = config::find(file)?;
    let loaded = config::load(&path, &config::Environment::of_this_machine())?;
    logging::keep_state_in(&loaded.settings.state_dir);
    loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
    Ok(loaded.settings)
}

/// The names of hosts as far as they are known without asking anybody: those of the
/// configuration and of the last good list. Whatever goes wrong, there are none.
pub fn remembered_hosts(config: Option<&Path>) -> Vec<String> {
    let loaded =
        config::find(config).and_then(|path| config::load(&path, &config::Environment::of_this_machine()));
    loaded.map(|loaded| inventory::remembered(&loaded.settings)).unwrap_or_default()
}

/// What the store holds. One that does not answer is every host's failure, and
/// is reported as such, rather than the run's silence.
pub async fn survey(store: &AnyStore) -> Result<Survey, StoreError> {
    tokio::time::timeout(LONGEST_SURVEY, store.survey()).await.unwrap_or_else(|_| {
        Err(StoreError::new("the store did not answer within 15 minutes")
            .hint("does its disk hang, or the network filesystem that it is on?"))
    })
}

/// The rules of the operator's own pattern files, what is odd about them said.
///
/// # Errors
/// One of them cannot be read.
pub fn pattern_files(files: &[PathBuf]) -> anyhow::Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for file in files {
        let bytes = std::fs::read(file)
            .with_context(|| format!("cannot read `{}` (see `excludes.files`)", file.display()))?;
        let (more, warnings) = filter::parse_lines(&bytes, &file.to_string_lossy());
        if !warnings.is_empty() {
            warn!("{}", warnings.lines());
        }
        rules.extend(more);
    }
    Ok(rules)
}

/// What whoever looks at the store has.
pub struct Session {
    /// What the operator wants.
    pub settings: Settings,
    /// Where copies live.
    pub store: AnyStore,
    /// The time.
    pub clock: Clock,
}

/// One host's place in the store.
pub struct Place {
    /// Whose it is.
    pub host: HostName,
    /// The time; what is dated after it has a wrong date.
    pub now: DateTime<Utc>,
    /// Oldest first, foreign ones too.
    pub snapshots: Vec<Snapshot>,
    /// The folder in which people look for a snapshot's files, under its name.
    pub folder: PathBuf,
    /// The folders that copies live in.
    pub roots: Vec<PathBuf>,
}

impl Session {
    /// Reads the configuration and opens the store, which is not looked at yet.
    pub fn open(config: Option<&Path>, clock: Clock) -> anyhow::Result<Self> {
        let settings = settings(config)?;
        let store = AnyStore::open(&settings.store)?;
        Ok(Session { settings, store, clock })
    }

    /// Since when a host's copies have damage that is not mended. Where nobody
    /// knows, it is said, and counts as found now.
    pub fn damage_found(&self, host: &HostName) -> Option<DateTime<Utc>> {
        match Findings::at(&self.settings.state_dir).of(host.key()) {
            Ok(open) => open.since(),
            Err(error) => {
                warn!("{host}: {error}");
                Some(self.clock.now())
            }
        }
    }

    /// The host of this name that the store has a place for, and its
    /// snapshots. No inventory is asked: a host that has left it is found too.
    pub async fn place(&self, word: &str) -> anyhow::Result<Place> {
        let host: HostName = word.parse()?;
        if let Some(HostSnapshots { snapshots, folder, roots }) = self.store.host(&host).await? {
            return Ok(Place { host, now: self.clock.now(), snapshots, folder, roots });
        }
        let known = self.store.hosts().await?;
        match nearest(host.key(), known.iter().map(String::as_str)) {
            Some(near) => bail!("the store has no copies of `{host}`; did you mean `{near}`?"),
            None => bail!("the store has no copies of `{host}` (`backup status` lists what it holds)"),
        }
    }
}

impl Place {
    /// A place of which only the snapshots matter.
    #[cfg(test)]
    pub fn of(host: HostName, snapshots: Vec<Snapshot>, now: DateTime<Utc>) -> Self {
        Place { host, now, snapshots, folder: PathBuf::new(), roots: Vec::new() }
    }

    /// The snapshot that a word means: its name, `latest` for the newest good
    /// one, or a time.
    pub fn meant(&self, word: &str, session: &Session) -> anyhow::Result<&Snapshot> {
        let refusal = match self.snapshot(word) {
            Ok(snapshot) => return Ok(snapshot),
            Err(refusal) if word == "latest" => return Err(refusal),
            Err(refusal) => refusal,
        };
        let zone = session.settings.timezone;
        match time_spec::parse(word, session.clock.now(), zone) {
            Ok(time) => self.at(time, zone),
            // More likely a name with a slip than a time.
            Err(WhenError::Unknown(_)) => Err(refusal),
            Err(error) => Err(error.into()),
        }
    }

    /// The snapshot of this name; `latest` is the newest good one, and none that
    /// is dated in the future.
    fn snapshot(&self, word: &str) -> anyhow::Result<&Snapshot> {
        if word == "latest" {
            let future = self.of_the_future();
            let latest = snapshot::latest_good(&self.snapshots, self.now);
            if let (Some(_), Some(future)) = (latest, &future) {
                warn!("{future}; not used as the latest (`--snapshot NAME` uses it)");
            }
            return latest.ok_or_else(|| match future {
                Some(future) => {
                    anyhow!("`{}` has no other good snapshot: {future} (check the clock)", self.host)
                }
                None => anyhow!("`{}` has no good snapshot (see `backup snapshots {0}`)", self.host),
            });
        }
        if let Some(snapshot) = self.snapshots.iter().find(|snapshot| snapshot.name == word) {
            return Ok(snapshot);
        }
        let near = nearest(word, self.snapshots.iter().map(|snapshot| snapshot.name.as_str()));
        let advice = match near {
            Some(near) => format!("did you mean `{}`?", printable(near)),
            None => format!("see `backup snapshots {}`", self.host),
        };
        bail!("`{}` has no snapshot `{}`; {advice}", self.host, printable(word))
    }

    /// What there is to say of snapshots that are dated in the future, if there
    /// are any.
    pub fn of_the_future(&self) -> Option<String> {
        let all: Excerpt<String> = snapshot::of_the_future(&self.snapshots, self.now)
            .map(|snapshot| printable(&snapshot.name))
            .collect();
        (!all.is_empty()).then(|| format!("dated in the future, under a clock that was ahead: {all}"))
    }

    /// The snapshot that shows the host as it was at a time: the newest good
    /// one until then, or the newest partial one where none is good. What lies
    /// nearer and is not taken is said. `zone` is the one in which times are
    /// told.
    pub fn at(&self, time: DateTime<Utc>, zone: Tz) -> anyhow::Result<&Snapshot> {
        let (snapshot, doubt) = self.chosen(time, zone)?;
        if let Some(doubt) = doubt {
            warn!("{doubt}");
        }
        Ok(snapshot)
    }

    /// [`Place::at`], with what is to be said of the choice.
    fn chosen(&self, time: DateTime<Utc>, zone: Tz) -> anyhow::Result<(&Snapshot, Option<String>)> {
        let time = time.min(self.now);
        let told = |time: DateTime<Utc>| time.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z");
        let newest = |verdicts: &[Verdict]| {
            let until = self.snapshots.iter().filter(|snapshot| snapshot.time <= time);
            let wanted = until.filter(|s| s.verdict().is_some_and(|verdict| verdicts.contains(&verdict)));
            wanted.max_by_key(|snapshot| snapshot.time)
        };
        if let Some(taken) = newest(&[Verdict::Good]).or_else(|| newest(&[Verdict::Partial])) {
            let nearest = newest(&[Verdict::Good, Verdict::Partial, Verdict::Suspect]);
            let nearer = nearest.filter(|nearest| nearest.time > taken.time);
            let doubt = match (nearer, nearer.and_then(Snapshot::verdict)) {
                (Some(nearer), Some(verdict)) => Some(format!(
                    "`{}` of {} is nearer to that time, but {verdict} (`--snapshot` takes it anyway)",
                    printable(&nearer.name),
                    told(nearer.time)
                )),
                _ if !taken.is_good() => Some(format!(
                    "`{}` has no good snapshot until then; `{}` is partial: some files could not be read",
                    self.host,
                    printable(&taken.name)
                )),
                _ => None,
            };
            return Ok((taken, doubt));
        }
        if let Some(suspect) = newest(&[Verdict::Suspect]) {
            bail!(
                "`{}` has no snapshot of {} or before that is to be believed; \
                 `{}` is suspect (`--snapshot` takes it anyway)",
                self.host,
                told(time),
                printable(&suspect.name)
            );
        }
        let ours = self.snapshots.iter().filter(|snapshot| snapshot.is_ours());
        match ours.min_by_key(|snapshot| snapshot.time) {
            Some(oldest) => bail!(
                "`{}` has no snapshot of {} or before; its oldest is `{}` of {}",
                self.host,
                told(time),
                printable(&oldest.name),
                told(oldest.time)
            ),
            None => bail!("`{}` has no snapshot of ours (see `backup snapshots {0}`)", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::snapshot::{Facts, Origin};

    fn place(names: &[&str]) -> Place {
        let snapshot = |name: &&str| Snapshot {
            name: (*name).to_owned(),
            time: chrono::DateTime::UNIX_EPOCH,
            held: false,
            origin: Origin::Ancestor,
        };
        let snapshots = names.iter().map(snapshot).collect();
        Place::of("VPN".parse().unwrap(), snapshots, DateTime::<Utc>::MAX_UTC)
    }

    #[test]
    fn a_snapshot_is_found_by_its_name() {
        let place = place(&["backup-2026-11-19T020005Z", "backup-2026-11-20T020005Z"]);
        assert_eq!(place.snapshot("backup-2026-11-20T020005Z").unwrap().name, "backup-2026-11-20T020005Z");
        let refusal = place.snapshot("backup-2026-11-20T020006Z").unwrap_err().to_string();
        assert_eq!(
            refusal,
            "`VPN` has no snapshot `backup-2026-11-20T020006Z`; did you mean `backup-2026-11-20T020005Z`?"
        );
        assert!(place.snapshot("x").unwrap_err().to_string().ends_with("see `backup snapshots VPN`"));
    }

    #[test]
    fn what_is_dated_in_the_future_is_never_the_latest() {
        let mut place = history("ggg");
        place.now = place.snapshots[1].time;
        assert_eq!(place.snapshot("latest").unwrap().name, "g2");
        assert_eq!(place.of_the_future().unwrap(), "dated in the future, under a clock that was ahead: g3");
        assert_eq!(place.chosen(place.snapshots[2].time, Tz::UTC).unwrap().0.name, "g2", "nor of any time");
        assert_eq!(place.snapshot("g3").unwrap().name, "g3", "who names it has it");
        place.now = DateTime::UNIX_EPOCH;
        assert_eq!(
            place.snapshot("latest").unwrap_err().to_string(),
            "`VPN` has no other good snapshot: dated in the future, under a clock that was ahead: g1, g2, g3 (check the clock)"
        );
    }

    #[test]
    fn the_latest_is_the_newest_good_one() {
        assert_eq!(place(&["a"]).snapshot("latest").unwrap().name, "a");
        assert_eq!(
            place(&[]).snapshot("latest").unwrap_err().to_string(),
            "`VPN` has no good snapshot (see `backup snapshots VPN`)"
        );
    }

    /// A snapshot a letter, a day after the other from 2026-11-01 02:00 UTC on:
    /// good, partial, suspect, foreign.
    fn history(letters: &str) -> Place {
        let snapshots = letters.chars().zip(0..).map(|(letter, day)| {
            let ours = |verdict| Origin::Run(Facts::new("r".into(), verdict));
            let time: DateTime<Utc> = "2026-11-01T02:00:00Z".parse().unwrap();
            let origin = match letter {
                'g' => ours(Verdict::Good),
                'p' => ours(Verdict::Partial),
                's' => ours(Verdict::Suspect),
                _ => Origin::Foreign,
            };
            let time = time + chrono::TimeDelta::days(day);
            Snapshot { name: format!("{letter}{}", day + 1), time, held: false, origin }
        });
        let now = DateTime::<Utc>::MAX_UTC;
        Place::of("VPN".parse().unwrap(), snapshots.collect(), now)
    }

    #[test]
    fn the_snapshot_of_a_time_is_the_newest_good_one_until_then() {
        for (letters, day, expected, doubt, why) in [
            ("ggg", 3, "g3", None, "the very second counts"),
            ("ggg", 9, "g3", None, "the newest"),
            ("ggg", 2, "g2", None, "not one after it"),
            ("gff", 3, "g1", None, "another's is none"),
            ("gpg", 2, "g1", Some("`p2` of 2026-11-02 02:00:00 UTC is nearer"), "a partial one lies nearer"),
            ("gps", 3, "g1", Some("`s3` of 2026-11-03 02:00:00 UTC is nearer"), "a suspect one lies nearer"),
            ("ppf", 3, "p2", Some("no good snapshot until then"), "better than nothing"),
            ("psg", 2, "p1", Some("`s2`"), "not the suspect one"),
        ] {
            let place = history(letters);
            let time = format!("2026-11-{day:02}T02:00:00Z").parse().unwrap();
            let (taken, said) = place.chosen(time, Tz::UTC).unwrap();
            assert_eq!(taken.name, expected, "{letters}: {why}");
            match doubt {
                Some(doubt) => assert!(said.is_some_and(|said| said.contains(doubt)), "{letters}: {why}"),
                None => assert_eq!(said, None, "{letters}: {why}"),
            }
        }
    }

    #[test]
    fn a_time_without_a_snapshot_is_told_what_there_is() {
        let refusal = |letters: &str| {
            let time = "2026-11-01T02:00:00Z".parse::<DateTime<Utc>>().unwrap();
            history(letters)
                .chosen(time - chrono::TimeDelta::seconds(1), Tz::Europe__London)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refusal("fgg"),
            "`VPN` has no snapshot of 2026-11-01 01:59:59 GMT or before; its oldest is `g2` of 2026-11-02 02:00:00 GMT"
        );
        assert_eq!(refusal("f"), "`VPN` has no snapshot of ours (see `backup snapshots VPN`)");
        let suspect = history("sg").chosen("2026-11-01T03:00:00Z".parse().unwrap(), Tz::UTC).unwrap_err();
        assert!(suspect.to_string().contains("`s1` is suspect (`--snapshot` takes it anyway)"), "{suspect}");
    }
}
