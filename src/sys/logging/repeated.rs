//! What was said before: by other hosts in this run, and on other days.

use crate::core::format::text::printable;
use crate::core::model::finding::named;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;
use tracing::Level;

/// How long what was told is not told again.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What hosts have warned of, by its text.
#[derive(Debug, Default)]
pub(super) struct Repeated(BTreeMap<String, Heard>);

#[derive(Debug)]
struct Heard {
    level: Level,
    /// Who said it; the first of them was heard at once.
    hosts: Vec<String>,
    /// The oldest last good copy of all of them, and whose it is.
    oldest: Option<(String, String)>,
}

impl Repeated {
    /// Whether another host has said this already; it is counted then. What one
    /// host says twice is said twice. `last_good` is the time of its last good copy,
    /// if that belongs to it: it is ordered as its text is, and empty if there is none.
    pub(super) fn hear(&mut self, level: Level, text: String, host: &str, last_good: Option<&str>) -> bool {
        let new = || Heard { level, hosts: Vec::new(), oldest: None };
        let Heard { hosts, oldest, .. } = self.0.entry(text).or_insert_with(new);
        if let Some(time) = last_good {
            if oldest.as_ref().is_none_or(|(before, _)| time < before.as_str()) {
                *oldest = Some((time.to_owned(), host.to_owned()));
            }
        }
        if hosts.iter().any(|known| known == host) {
            return hosts[0] != host;
        }
        hosts.push(host.to_owned());
        hosts.len() > 1
    }

    /// What hosts have said beside the first, a line each.
    pub(super) fn told(self) -> Vec<(Level, String)> {
        let of_many = self.0.into_iter().filter(|(_, heard)| heard.hosts.len() > 1);
        let lines = of_many.map(|(text, Heard { level, mut hosts, oldest })| {
            let first = hosts.remove(0);
            let what = match hosts.len() {
                1 => format!("the same of {} as of {first}", hosts[0]),
                count => format!("the same of {count} more hosts ({}) as of {first}", named(&hosts)),
            };
            let past = match oldest {
                Some((time, host)) if time.is_empty() => format!("; no good copy of {host} known"),
                Some((time, host)) => format!("; the oldest last good copy, of {host}, is of {time}"),
                None => String::new(),
            };
            (level, format!("{what}: {}{past}", printable(text.lines().next().unwrap_or_default())))
        });
        lines.collect()
    }
}

/// Whether a stamp is less than a day old; else it is made anew. The two times
/// that are compared are the disk's. Where there can be no stamp, none is young.
pub(super) fn is_young(stamp: &Path) -> bool {
    let Some(folder) = stamp.parent() else { return false };
    let Ok(fresh) = tempfile::Builder::new().prefix(".stamp.").tempfile_in(folder) else { return false };
    let time = |metadata: io::Result<fs::Metadata>| metadata.and_then(|metadata| metadata.modified()).ok();
    let age = time(fresh.as_file().metadata())
        .zip(time(fs::metadata(stamp)))
        .and_then(|(now, before)| now.duration_since(before).ok());
    if age.is_some_and(|age| age < DAY) {
        return true;
    }
    let _ = fresh.persist(stamp);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_hosts_say_is_told_once_with_their_number() {
        let mut repeated = Repeated::default();
        let mut hear = |text: &str, host: &str| repeated.hear(Level::WARN, text.to_owned(), host, None);
        assert!(!hear("full", "a") && hear("full", "b") && !hear("slow", "b"));
        assert!(!hear("full", "a"), "what one says twice is said twice");
        (0..6).for_each(|n| assert!(hear("full", &format!("c{n}"))));
        assert!(!hear("hook failed\nwhy", "x") && hear("hook failed\nwhy", "y"));
        let told: Vec<String> = repeated.told().into_iter().map(|(_, line)| line).collect();
        assert_eq!(
            told,
            [
                "the same of 7 more hosts (b, c0, c1, c2, c3 and 2 more) as of a: full",
                "the same of y as of x: hook failed",
            ]
        );
    }

    #[test]
    fn of_many_hosts_the_one_without_a_good_copy_for_the_longest_is_named() {
        let mut repeated = Repeated::default();
        let mut hear = |text: &str, host: &str, last_good: &str| {
            repeated.hear(Level::ERROR, text.to_owned(), host, Some(last_good));
        };
        for (host, day) in [("a", "2026-11-20"), ("b", "2026-11-03"), ("c", "2026-11-19")] {
            hear("down", host, day);
            hear("lost", host, if host == "c" { "" } else { day });
        }
        let told: Vec<String> = repeated.told().into_iter().map(|(_, line)| line).collect();
        assert_eq!(
            told,
            [
                "the same of 2 more hosts (b, c) as of a: down; the oldest last good copy, of b, is of 2026-11-03",
                "the same of 2 more hosts (b, c) as of a: lost; no good copy of c known",
            ]
        );
    }

    #[test]
    fn a_stamp_is_young_for_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let stamp = folder.path().join("stamp");
        assert!(!is_young(&stamp) && is_young(&stamp) && is_young(&stamp));
        let before = fs::metadata(&stamp).unwrap().modified().unwrap() - DAY;
        fs::File::open(&stamp).unwrap().set_modified(before).unwrap();
        assert!(!is_young(&stamp), "a day has passed");
        let ahead = fs::metadata(&stamp).unwrap().modified().unwrap() + DAY;
        fs::File::open(&stamp).unwrap().set_modified(ahead).unwrap();
        assert!(!is_young(&stamp), "of a clock that was wrong");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        assert!(!is_young(&folder.path().join("missing/stamp")));
    }
}
