//! What rules leave out by its path.

use super::Rule;
use super::mount_rules::{above, parent};
use std::collections::HashMap;

/// The rules that are about one path each, so that what is in a directory can be
/// looked up, however many rules there are.
#[derive(Debug, Default)]
pub(super) struct Named<'a> {
    rules: HashMap<(&'a [u8], Reach), (usize, &'a Rule)>,
    /// The first rule that lets in what no path tells. What a later one leaves out
    /// may be let in by it.
    doubtful: Option<usize>,
}

/// What of a path a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Reach {
    /// The path itself.
    Itself,
    /// What lies in it.
    Content,
    /// All that lies below it.
    Below,
}

impl<'a> Named<'a> {
    /// By these rules, of which the first that matches decides.
    pub(super) fn by(rules: &'a [Rule]) -> Self {
        let mut named = Named::default();
        for (number, rule) in rules.iter().enumerate() {
            let pattern = rule.pattern();
            let both = [Reach::Itself, Reach::Below];
            let (path, reaches) = if let Some(path) = pattern.strip_suffix(b"/***") {
                (path, &both[..])
            } else if let Some(path) = pattern.strip_suffix(b"/**") {
                (path, &both[1..])
            } else if let Some(path) = pattern.strip_suffix(b"/*") {
                (path, &[Reach::Content][..])
            } else {
                (pattern.strip_suffix(b"/").unwrap_or(pattern), &both[..1])
            };
            if path.starts_with(b"/") && !path.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\')) {
                for reach in reaches {
                    named.rules.entry((path, *reach)).or_insert((number, rule));
                }
            } else if rule.is_include() {
                named.doubtful.get_or_insert(number);
            }
        }
        named
    }

    /// Whether nothing in the directory `path`, from the source on, is copied.
    pub(super) fn leave_out(&self, path: &[u8]) -> bool {
        let mut way: Vec<&[u8]> = std::iter::once(path).chain(above(path)).collect();
        way.reverse();
        // What is known of all that lies below.
        let mut deeper = None;
        for place in way {
            let within = parent(place).filter(|within| *within != b"/");
            let rules = [
                self.rules.get(&(place, Reach::Itself)),
                within.and_then(|within| self.rules.get(&(within, Reach::Content))),
                deeper,
            ];
            if self.is_out(rules) {
                return true;
            }
            let below = self.rules.get(&(place, Reach::Below));
            deeper = [deeper, below].into_iter().flatten().min_by_key(|(number, _)| *number);
        }
        self.is_out([self.rules.get(&(path, Reach::Content)), deeper, None])
    }

    fn is_out(&self, rules: [Option<&(usize, &Rule)>; 3]) -> bool {
        let first = rules.into_iter().flatten().min_by_key(|(number, _)| *number);
        first.is_some_and(|(number, rule)| {
            !rule.is_include() && self.doubtful.is_none_or(|doubtful| number < &doubtful)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_known_by_the_first_rule_on_the_way() {
        for (rules, path, is_out, why) in [
            ("- /srv/a", "/srv/a", true, "the directory"),
            ("- /srv/a", "/srv/a/b/c", true, "what lies in it"),
            ("- /srv/a", "/srv/ab", false, "another"),
            ("- /srv/a/*", "/srv/a", true, "all that is in it"),
            ("- /srv/a/*", "/srv/a/b/c", true, "and below"),
            ("- /srv/a/***", "/srv/a/b", true, "it and what is below"),
            ("- /srv/a/**", "/srv/a", true, "what is below"),
            ("+ /run/usb|- /run/*", "/run/usb", false, "let in"),
            ("+ /run/usb|- /run/*", "/run/usb/x", false, "below what is let in"),
            ("+ /run/usb|- /run/*", "/run/other", true, "beside what is let in"),
            ("- /run/*|+ /run/usb", "/run/usb", true, "let in too late"),
            ("+ *.keep|- /srv/a/*", "/srv/a", false, "nobody can tell what is let in"),
            ("- *.tmp|- /srv/a/*", "/srv/a", true, "what else is left out"),
            ("- a", "/srv/a", false, "a name that is anywhere"),
            ("+ /srv/a", "/srv/a", false, "the opposite"),
        ] {
            let rules: Vec<Rule> =
                rules.split('|').map(|rule| Rule::parse(rule.as_bytes()).unwrap()).collect();
            assert_eq!(Named::by(&rules).leave_out(path.as_bytes()), is_out, "{rules:?}, {path}: {why}");
        }
    }
}
