//! What several measurements of one thing come to: medians, spreads, and
//! ratios pair by pair. Pure.
//!
//! Two contenders of one run of a row are a pair: they ran one after the other,
//! so that what else the machine did bears on both. The ratio of two contenders
//! is therefore the median of the ratios of their pairs, not the ratio of
//! their medians.

/// The middle of some measurements, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
    /// Of how many.
    pub count: usize,
}

impl Spread {
    /// Of these values; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&least, &most) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Spread { median, least, most, count: sorted.len() })
    }
}

/// The ratios of two contenders' measurements, each given with its run, in the
/// runs that both have.
pub fn ratios(ours: &[(u32, f64)], theirs: &[(u32, f64)]) -> Option<Spread> {
    Spread::of(ours.iter().filter_map(|(run, mine)| {
        let (_, other) = theirs.iter().find(|(theirs, _)| theirs == run)?;
        (*other > 0.0).then(|| mine / other)
    }))
}

/// Seconds, with as many digits as they deserve.
pub fn seconds(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.3} s"),
        value if value < 100.0 => format!("{value:.2} s"),
        value => format!("{value:.1} s"),
    }
}

/// Bytes, in the megabytes (10^6) that the bars are in.
#[expect(clippy::cast_precision_loss, reason = "shown with one digit behind the point")]
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// A count with its thousands apart.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
