//! The first few of what somebody else may repeat without end.
//!
//! A host writes its own list of mounts, names of hooks, exclude patterns. Each
//! may hold one thing that is wrong or a million of them. Whoever tells of such
//! things gathers them here first: they are counted, the first few are kept, and
//! all of them are told at once.

use std::fmt;

/// How many are kept.
pub const SHOWN: usize = 10;

/// The first [`SHOWN`] of many things, and how many there were. Written like
/// `a, b, c and 12 more`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt<T> {
    first: Vec<T>,
    count: usize,
}

impl<T> Excerpt<T> {
    /// Counts one more; `make` is only asked for one that is kept.
    pub fn push(&mut self, make: impl FnOnce() -> T) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(make());
        }
    }

    /// The first few.
    pub fn first(&self) -> &[T] {
        &self.first
    }

    /// How many there were in all.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there were beside the first few.
    pub fn more(&self) -> usize {
        self.count - self.first.len()
    }
}

impl<T: fmt::Display> Excerpt<T> {
    /// One a line, and how many more there were.
    pub fn lines(&self) -> String {
        let mut lines: Vec<String> = self.first.iter().map(T::to_string).collect();
        lines.extend(Some(self.more()).filter(|more| *more > 0).map(|more| format!("and {more} more")));
        lines.join("\n")
    }
}

impl<T> Default for Excerpt<T> {
    fn default() -> Self {
        Excerpt { first: Vec::new(), count: 0 }
    }
}

impl<T> FromIterator<T> for Excerpt<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut excerpt = Excerpt::default();
        all.into_iter().for_each(|one| excerpt.push(|| one));
        excerpt
    }
}

impl<T: fmt::Display> fmt::Display for Excerpt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first: Vec<String> = self.first.iter().map(T::to_string).collect();
        f.write_str(&first.join(", "))?;
        match self.more() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_all_told() {
        let few: Excerpt<&str> = ["a", "b"].into_iter().collect();
        assert_eq!((few.to_string().as_str(), few.lines().as_str(), few.count()), ("a, b", "a\nb", 2));
        assert!(Excerpt::<String>::default().is_empty());
    }

    #[test]
    fn a_million_are_counted_and_not_kept() {
        let mut many = Excerpt::default();
        for number in 0..1_000_000 {
            many.push(|| {
                assert!(number < SHOWN, "nobody sees it");
                number
            });
        }
        assert_eq!((many.first().len(), many.count()), (SHOWN, 1_000_000));
        assert_eq!(many.to_string(), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 999990 more");
        assert!(many.lines().ends_with("\n9\nand 999990 more"));
    }
}
