//! What somebody probably meant who typed a name that is not there.

/// Names that are less alike than this are not offered: one slip in three letters is
/// as far as it goes; 1 is the same name.
pub const ALIKE: f64 = 0.6;

/// The name that is most like a word, if one is like it.
pub fn nearest<T: AsRef<str>>(word: &str, names: impl Iterator<Item = T>) -> Option<T> {
    nearest_by(names, |name| likeness(name, word))
}

/// The same with another measure, from 0 to 1, which is [`likeness`] where it has
/// nothing of its own to say.
pub fn nearest_by<T: AsRef<str>>(
    names: impl Iterator<Item = T>,
    likeness: impl Fn(&str) -> f64,
) -> Option<T> {
    names
        .map(|name| (likeness(name.as_ref()), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// How much alike two names are, from 0 to 1.
pub fn likeness(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_seen_through_and_another_word_is_not() {
        for (word, meant) in
            [("wbe", Some("web")), ("web", Some("web")), ("webb", Some("web")), ("mail", None), ("", None)]
        {
            assert_eq!(nearest(word, ["db", "web"].into_iter()), meant, "{word}");
        }
    }
}
