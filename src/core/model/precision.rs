//! To what a filesystem keeps the times of files, and copies compare them.

/// To what times are kept and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// To the nanosecond.
    #[default]
    Nanoseconds,
    /// To the second.
    Seconds,
}

/// What there is to say of a store that keeps no more than seconds.
pub const SECONDS: &str = "keeps times to the second only: a file that changes twice within the second of its \
    copy, and keeps its size, is not copied again";

/// A time as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds since then.
    pub nanoseconds: i64,
}

impl Precision {
    /// How a filesystem keeps times that was given one and gave back another;
    /// `None` if not even to the second.
    pub fn of(given: Time, kept: Time) -> Option<Self> {
        match (given.seconds == kept.seconds, given.nanoseconds == kept.nanoseconds) {
            (true, true) => Some(Precision::Nanoseconds),
            (true, false) => Some(Precision::Seconds),
            (false, _) => None,
        }
    }

    /// Whether two times are the same as far as can be told.
    pub fn is_same(self, one: Time, other: Time) -> bool {
        one.seconds == other.seconds && (self == Precision::Seconds || one.nanoseconds == other.nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_not_compared() {
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        let given = time(1_600_000_000, 123_456_789);
        for (kept, precision, why) in [
            (given, Some(Precision::Nanoseconds), "as it was"),
            (time(1_600_000_000, 0), Some(Precision::Seconds), "128-byte inodes"),
            (time(1_600_000_000, 123_456_700), Some(Precision::Seconds), "a network's filesystem"),
            (time(1_600_000_001, 0), None, "rounded to two seconds"),
        ] {
            assert_eq!(Precision::of(given, kept), precision, "{why}");
        }
        for (precision, other, same) in [
            (Precision::Nanoseconds, given, true),
            (Precision::Nanoseconds, time(1_600_000_000, 0), false),
            (Precision::Seconds, time(1_600_000_000, 0), true),
            (Precision::Seconds, time(1_600_000_001, 123_456_789), false),
        ] {
            assert_eq!(precision.is_same(given, other), same, "{precision:?}, {other:?}");
        }
    }
}
