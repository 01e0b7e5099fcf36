//! The patterns that are left out of every host, from the files that ship in
//! `excludes/`.

use super::mount_rules::normalised;
use super::{Rule, parse_lines};

/// The shipped files, each by its name.
const FILES: [(&str, &[u8]); 5] = [
    ("excludes/system", include_bytes!("../../../excludes/system")),
    ("excludes/packages", include_bytes!("../../../excludes/packages")),
    ("excludes/containers", include_bytes!("../../../excludes/containers")),
    ("excludes/snapshots", include_bytes!("../../../excludes/snapshots")),
    ("excludes/caches", include_bytes!("../../../excludes/caches")),
];

/// What is left out of every host, for a copy of `source`, an absolute path.
///
/// The files speak of paths from the host's root, but rsync anchors patterns
/// at the directory that it copies. So for another source than `/`, patterns
/// of paths below it lose that part, and others are dropped: a directory
/// `/srv/proc` is no kernel's.
pub fn standard(source: &str) -> Vec<Rule> {
    let rules = FILES.iter().flat_map(|(name, bytes)| parse_lines(bytes, name).0);
    rules.filter_map(|rule| from_source(rule, source)).collect()
}

/// The rule as it reads from `source`, if it has a meaning there.
fn from_source(rule: Rule, source: &str) -> Option<Rule> {
    let source = normalised(source.as_bytes());
    if source == b"/" || !rule.pattern.starts_with(b"/") {
        return Some(rule);
    }
    let mut pattern = rule.pattern[1..].split(|byte| *byte == b'/');
    for directory in source[1..].split(|byte| *byte == b'/') {
        pattern.next().filter(|part| *part == directory || *part == b"*")?;
    }
    let rest: Vec<u8> = pattern.flat_map(|part| [b"/", part].concat()).collect();
    // The source itself, or all of it: whoever names it wants it.
    if matches!(rest.as_slice(), b"" | b"/" | b"/*") {
        return None;
    }
    Rule::new(rule.include, rest).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(source: &str) -> Vec<String> {
        standard(source).iter().map(|rule| String::from_utf8(rule.pattern().to_vec()).unwrap()).collect()
    }

    #[test]
    fn every_line_of_the_shipped_files_is_a_comment_or_a_pattern() {
        for (name, bytes) in FILES {
            let (rules, warnings) = parse_lines(bytes, name);
            assert!(warnings.is_empty(), "{name}");
            assert!(!rules.is_empty(), "{name}");
            assert!(rules.iter().all(|rule| !rule.is_include()), "{name} lets something in");
        }
    }

    #[test]
    fn every_shipped_pattern_has_its_reason_above_it() {
        for (name, bytes) in FILES {
            let text = std::str::from_utf8(bytes).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            for pair in lines.windows(2).filter(|pair| !pair[1].is_empty() && !pair[1].starts_with('#')) {
                assert!(pair[0].starts_with("# "), "{name}: `{}` has no reason", pair[1]);
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_ships() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/excludes");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| format!("excludes/{}", entry.unwrap().file_name().into_string().unwrap()))
            .collect();
        found.sort();
        let mut shipped: Vec<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        shipped.sort();
        assert_eq!(found, shipped);
    }

    #[test]
    fn no_pattern_is_there_twice_or_wider_than_it_can_be_read_from_another_source() {
        let all = patterns("/");
        for (at, pattern) in all.iter().enumerate() {
            assert!(!all[..at].contains(pattern), "{pattern} is there twice");
            let anchored = pattern.starts_with('/');
            let directories = pattern.trim_end_matches('/').split('/').rev().skip(1);
            for directory in directories.filter(|_| anchored) {
                let wild = directory.contains(['*', '?', '[', '\\']);
                assert!(!wild || directory == "*", "`{directory}` in {pattern}");
            }
        }
    }

    #[test]
    fn the_two_patterns_of_the_ancestor_are_there_as_it_wrote_them() {
        let all = patterns("/");
        assert!(all.contains(&"/var/log/journal/".to_owned()));
        assert!(all.contains(&"/swap.img".to_owned()));
    }

    #[test]
    fn patterns_follow_the_source() {
        let everywhere = ["lost+found/", ".zfs/", ".snapshots/*/snapshot/"];
        for (source, expected, why) in [
            ("/srv", vec![], "a directory /srv/proc is no kernel's"),
            ("/var/log/", vec!["/journal/"], "one pattern lies below"),
            ("/var/log/journal", vec![], "who names it wants it"),
            ("/var/log/journal/abc", vec![], "and what lies in it"),
            ("/var/lib/systemd/coredump", vec![], "all of it would be left out"),
            (
                "/home/me",
                vec!["/.local/share/containers/storage/overlay/*/merged/*", "/.cache/*", "/.gvfs"],
                "any home",
            ),
            ("//home/./me/.cache", vec![], "who names it wants it"),
            ("/var/cache/apt", vec!["/archives/*.deb", "/archives/partial/*", "/*.bin"], "a part"),
        ] {
            let mut found = patterns(source);
            found.retain(|pattern| !everywhere.contains(&pattern.as_str()));
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(found, expected, "{source}: {why}");
        }
        assert!(everywhere.iter().all(|pattern| patterns("/srv").contains(&(*pattern).to_owned())));
    }
}
