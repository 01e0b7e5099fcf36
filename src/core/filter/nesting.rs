//! Which of many paths lies in which.
//!
//! A path can have two thousand directories above it, and a list can have many
//! thousand such paths. So nothing here looks at each directory above each path:
//! in the order in which every path comes right before all that lies in it, one
//! pass finds for each what it lies in.

use super::mount_rules::inside;
use std::cmp::Ordering;

/// Absolute paths without needless slashes, each once, in order.
#[derive(Debug, Default)]
pub(super) struct Nesting<'a> {
    paths: Vec<&'a [u8]>,
    above: Vec<Option<usize>>,
}

impl<'a> Nesting<'a> {
    /// Of these paths, in whatever order and however often.
    pub fn new(paths: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut paths: Vec<&[u8]> = paths.into_iter().collect();
        paths.sort_unstable_by(|a, b| in_order(a, b));
        paths.dedup();
        let mut above: Vec<Option<usize>> = Vec::with_capacity(paths.len());
        for (place, path) in paths.iter().enumerate() {
            let mut candidate = place.checked_sub(1);
            while let Some(at) = candidate.filter(|at| inside(path, paths[*at]).is_none()) {
                candidate = above[at];
            }
            above.push(candidate);
        }
        Nesting { paths, above }
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// The path at a place.
    pub fn path(&self, place: usize) -> &'a [u8] {
        self.paths[place]
    }

    /// The place of a path.
    pub fn find(&self, path: &[u8]) -> Option<usize> {
        self.paths.binary_search_by(|other| in_order(other, path)).ok()
    }

    /// The place of the nearest path that the one at a place lies in. It is
    /// before that place.
    pub fn above(&self, place: usize) -> Option<usize> {
        self.above[place]
    }

    /// A place and all that it lies in, outwards.
    pub fn outwards(&self, place: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(place), |place| self.above(*place))
    }

    /// The place of the nearest path that is this one or holds it.
    pub fn nearest(&self, path: &[u8]) -> Option<usize> {
        let before = match self.paths.binary_search_by(|other| in_order(other, path)) {
            Ok(place) => return Some(place),
            Err(place) => place.checked_sub(1)?,
        };
        self.outwards(before).find(|place| inside(path, self.paths[*place]).is_some())
    }

    /// Whether one of the paths lies in this one.
    pub fn any_inside(&self, path: &[u8]) -> bool {
        let next = self.paths.partition_point(|other| in_order(other, path) != Ordering::Greater);
        self.paths.get(next).is_some_and(|other| inside(other, path).is_some())
    }
}

/// The order in which every path comes right before all that lies in it: `/a`,
/// `/a/b`, `/a-b`.
fn in_order(a: &[u8], b: &[u8]) -> Ordering {
    // A block at a time: paths of thousands of bytes may differ in their last.
    const BLOCK: usize = 64;
    let blocks = a.chunks(BLOCK).zip(b.chunks(BLOCK)).take_while(|(a, b)| a == b).count() * BLOCK;
    let blocks = blocks.min(a.len()).min(b.len());
    let alike = blocks + a[blocks..].iter().zip(&b[blocks..]).take_while(|(a, b)| a == b).count();
    let rank = |path: &[u8]| path.get(alike).map(|byte| (*byte != b'/', *byte));
    rank(a).cmp(&rank(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nesting<'a>(paths: &[&'a str]) -> Nesting<'a> {
        Nesting::new(paths.iter().map(|path| path.as_bytes()))
    }

    #[test]
    fn each_path_knows_what_it_lies_in() {
        let paths = nesting(&["/a-b", "/a/b/c", "/", "/a", "/ab/c", "/a/b", "/a", "/a/b!"]);
        let above = |path: &str| {
            let place = paths.find(path.as_bytes()).unwrap();
            paths.above(place).map(|place| String::from_utf8_lossy(paths.path(place)).into_owned())
        };
        assert_eq!(paths.len(), 7);
        for (path, expected) in [
            ("/", None),
            ("/a", Some("/")),
            ("/a-b", Some("/")),
            ("/ab/c", Some("/")),
            ("/a/b", Some("/a")),
            ("/a/b!", Some("/a")),
            ("/a/b/c", Some("/a/b")),
        ] {
            assert_eq!(above(path).as_deref(), expected, "{path}");
        }
    }

    proptest! {
        /// As looking at every pair of paths finds it.
        #[test]
        fn one_pass_finds_what_a_look_at_every_pair_would(
            paths in proptest::collection::vec("(/[ab-]{1,2}|/x{62}){1,4}", 0..20),
            asked in "(/[ab-]{1,2}|/x{62}){1,4}",
        ) {
            let nesting = nesting(&paths.iter().map(String::as_str).collect::<Vec<_>>());
            let holding = |path: &[u8]| {
                let all = paths.iter().map(String::as_bytes);
                all.filter(|other| inside(path, other).is_some()).max_by_key(|other| other.len())
            };
            for place in 0..nesting.len() {
                let above = nesting.above(place).map(|place| nesting.path(place));
                prop_assert_eq!(above, holding(nesting.path(place)));
            }
            let asked = asked.as_bytes();
            let itself = paths.iter().map(String::as_bytes).find(|path| *path == asked);
            let nearest = nesting.nearest(asked).map(|place| nesting.path(place));
            prop_assert_eq!(nearest, itself.or_else(|| holding(asked)));
            let any = paths.iter().any(|path| inside(path.as_bytes(), asked).is_some());
            prop_assert_eq!(nesting.any_inside(asked), any);
        }
    }
}
