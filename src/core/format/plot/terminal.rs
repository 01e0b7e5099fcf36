//! A chart of characters: braille dots, eight to a character, or plain ASCII.

use super::axis::{Axis, times};
use super::{Chart, share};
use chrono_tz::Tz;

/// How high a chart is, in lines, without its title and its times.
const LINES: usize = 10;
/// How many values are labelled, about.
const TICKS: usize = 4;
/// The narrowest that values are drawn, in columns.
const NARROWEST: usize = 16;
/// How many columns a label of a time may take, and the gap after it.
const TIME_WIDTH: usize = 18;

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glyphs {
    /// Braille dots and lines.
    Unicode,
    /// ASCII.
    Ascii,
}

impl Glyphs {
    /// What a terminal can show whose environment has this `TERM` and, as the
    /// first that is set of `LC_ALL`, `LC_CTYPE` and `LANG`, this locale.
    pub fn of(term: Option<&str>, locale: Option<&str>) -> Self {
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        let unicode = locale.contains("utf-8") || locale.contains("utf8");
        if unicode && term != Some("dumb") { Glyphs::Unicode } else { Glyphs::Ascii }
    }

    /// Dots of a character, across and down.
    fn dots(self) -> (usize, usize) {
        match self {
            Glyphs::Unicode => (2, 4),
            Glyphs::Ascii => (1, 1),
        }
    }

    /// What stands for a tick, an axis without one, its corner, its foot, and
    /// a point that is not good.
    fn marks(self) -> [char; 5] {
        match self {
            Glyphs::Unicode => ['┤', '│', '└', '─', '×'],
            Glyphs::Ascii => ['+', '|', '+', '-', 'x'],
        }
    }
}

/// The chart in lines of at most so many columns, each with its line break.
/// Without points there is nothing to draw.
pub fn text(chart: &Chart, zone: Tz, width: usize, glyphs: Glyphs) -> String {
    let Some(span) = chart.times() else { return String::new() };
    let axis = Axis::of(chart, TICKS);
    let [tick, side, corner, foot, mark] = glyphs.marks();
    let margin = axis.ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or_default();
    let columns = width.saturating_sub(margin + 2).max(NARROWEST);
    let mut canvas = Canvas::new(columns, glyphs);
    let place = |point: &super::Point| canvas.place(share(point.time, span), axis.share(point.value));
    let places: Vec<(usize, usize)> = chart.points.iter().map(place).collect();
    for pair in places.windows(2) {
        canvas.line(pair[0], pair[1]);
    }
    for (point, place) in chart.points.iter().zip(&places) {
        canvas.point(*place, (!point.good).then_some(mark));
    }
    let mut labels = [""; LINES];
    for (value, label) in &axis.ticks {
        let (_, line) = canvas.cell(canvas.place(0.0, axis.share(*value)));
        labels[line] = label;
    }
    let mut lines = vec![format!("{}{}", chart.title, legend(chart, mark))];
    for (label, drawn) in labels.iter().zip(canvas.lines()) {
        let side = if label.is_empty() { side } else { tick };
        lines.push(format!("{label:>margin$} {side}{drawn}"));
    }
    lines.push(format!("{:margin$} {corner}{}", "", foot.to_string().repeat(columns)));
    lines.push(format!("{:margin$}  {}", "", time_labels(chart, zone, columns)));
    lines.into_iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn legend(chart: &Chart, mark: char) -> String {
    if chart.has_marks() { format!(" ({mark} not good)") } else { String::new() }
}

/// The times below a chart: the first begins at its left, the last ends at its
/// right.
fn time_labels(chart: &Chart, zone: Tz, columns: usize) -> String {
    let Some(span) = chart.times() else { return String::new() };
    let mut line: Vec<char> = vec![' '; columns];
    for (share, label) in times(span, columns / TIME_WIDTH, zone) {
        let label: Vec<char> = label.chars().collect();
        let room = columns.saturating_sub(label.len());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place within a line"
        )]
        let begin = (room as f64 * share).round() as usize;
        for (place, character) in line.iter_mut().skip(begin).zip(label) {
            *place = character;
        }
    }
    line.into_iter().collect()
}

/// Dots, and characters over them.
struct Canvas {
    glyphs: Glyphs,
    /// In dots.
    width: usize,
    /// In dots.
    height: usize,
    dots: Vec<bool>,
    columns: usize,
    over: Vec<Option<char>>,
}

impl Canvas {
    fn new(columns: usize, glyphs: Glyphs) -> Self {
        let (across, down) = glyphs.dots();
        let (width, height) = (columns * across, LINES * down);
        Canvas {
            glyphs,
            width,
            height,
            dots: vec![false; width * height],
            columns,
            over: vec![None; columns * LINES],
        }
    }

    /// The dot that lies so far to the right and up, each from 0 to 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place on the canvas"
    )]
    fn place(&self, right: f64, up: f64) -> (usize, usize) {
        let along = |share: f64, dots: usize| ((dots - 1) as f64 * share).round() as usize;
        (along(right, self.width), along(1.0 - up, self.height))
    }

    /// The character that a dot is in.
    fn cell(&self, (x, y): (usize, usize)) -> (usize, usize) {
        let (across, down) = self.glyphs.dots();
        (x / across, y / down)
    }

    /// Dots from one to another.
    fn line(&mut self, from: (usize, usize), to: (usize, usize)) {
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
        let between = |from: usize, to: usize, step: usize| match to >= from {
            true => from + ((to - from) * step + steps / 2) / steps,
            false => from - ((from - to) * step + steps / 2) / steps,
        };
        for step in 0..=steps {
            let (x, y) = (between(from.0, to.0, step), between(from.1, to.1, step));
            self.dots[y * self.width + x] = true;
        }
    }

    /// A point, with a mark over it if it has one.
    fn point(&mut self, place: (usize, usize), mark: Option<char>) {
        self.dots[place.1 * self.width + place.0] = true;
        let (column, line) = self.cell(place);
        let over = &mut self.over[line * self.columns + column];
        let plain = (self.glyphs == Glyphs::Ascii && over.is_none()).then_some('*');
        *over = mark.or(plain).or(*over);
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        (0..LINES).map(|line| (0..self.columns).map(|column| self.character(column, line)).collect())
    }

    fn character(&self, column: usize, line: usize) -> char {
        if let Some(over) = self.over[line * self.columns + column] {
            return over;
        }
        let (across, down) = self.glyphs.dots();
        let is_set = |x: usize, y: usize| self.dots[(line * down + y) * self.width + column * across + x];
        if self.glyphs == Glyphs::Ascii {
            return if is_set(0, 0) { '.' } else { ' ' };
        }
        // The order of the dots in Unicode's block of braille patterns.
        const ORDER: [(usize, usize); 8] = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
        let bits =
            (0..8).filter(|bit| is_set(ORDER[*bit].0, ORDER[*bit].1)).fold(0, |bits, bit| bits | 1 << bit);
        match bits {
            0 => ' ',
            bits => char::from_u32(0x2800 + bits).unwrap_or(' '),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Point, Unit};
    use super::*;
    use chrono::{DateTime, TimeDelta, Utc};

    fn chart(values: &[f64], bad: &[usize]) -> Chart {
        let first: DateTime<Utc> = "2026-10-20T02:00:00Z".parse().unwrap();
        let points = values.iter().enumerate().map(|(day, value)| Point {
            time: first + TimeDelta::days(i64::try_from(day).unwrap()),
            value: *value * 1_048_576.0,
            good: !bad.contains(&day),
        });
        Chart { title: "Size of vpn's copies".into(), unit: Unit::Bytes, points: points.collect() }
    }

    #[test]
    fn a_chart_has_labels_a_line_and_marks() {
        let values: Vec<f64> = (0..32).map(|day| f64::from(day % 8) + 1.0).collect();
        insta::assert_snapshot!(text(&chart(&values, &[11, 30]), Tz::UTC, 72, Glyphs::Unicode), @"
        Size of vpn's copies (× not good)
        8.0 MiB ┤             ⡔⡇              ⡔⡇              ⢠⢺              ⢠⠊
                │           ⡠⠊ ⢱            ⡠⠊ ⢸            ⢀⠔⠁⠈⡆           ⢀×⠁
        6.0 MiB ┤         ⢀⠔⠁  ⢸          ⢀⠔⠁  ⠸⡀          ⡠⠊   ⡇          ⡠⠊
                │        ⡠⠃    ⠈⡆        ⡠⠃     ⡇        ⢀⠜     ⢱        ⢀⠜
                │      ⢀⠎       ⡇      ⢀⠎       ⢱       ⡰⠁      ⢸       ⡰⠁
        4.0 MiB ┤    ⢀⠔⠁        ⢣    ⢀⠔×        ⢸     ⡠⠊        ⠘⡄    ⡠⠊
                │   ⡔⠁          ⢸   ⡔⠁           ⡇  ⢠⠊           ⡇  ⢠⠊
        2.0 MiB ┤ ⡠⠊            ⠘⡄⡠⠊             ⢇⢀⠔⠁            ⢣⢀⠔⠁
                │⠔⠁              ⠗⠁              ⠸⠊              ⠸⠊
            0 B ┤
                └───────────────────────────────────────────────────────────────
                 Oct 20                       Nov 04                      Nov 20
        ");
        insta::assert_snapshot!(text(&chart(&values, &[11, 30]), Tz::UTC, 72, Glyphs::Ascii), @"
        Size of vpn's copies (x not good)
        8.0 MiB +             .*              .*              .*              .*
                |           .* .            .* .            .* .            .x
        6.0 MiB +         .*    .         .*    .         .*    .         .*
                |        *      .        *      .        *      .        *
                |       .       .       .       .       .       .       .
        4.0 MiB +     .*        .     .x        .     .*        .     .*
                |   .*           .  .*           .  .*           .  .*
        2.0 MiB + .*             ..*             ..*             ..*
                |*               *               *               *
            0 B +
                +---------------------------------------------------------------
                 Oct 20                       Nov 04                      Nov 20
        ");
    }

    #[test]
    fn no_line_is_wider_than_it_may_be_and_ascii_is_ascii() {
        for values in [
            vec![1.0],
            vec![0.0, 0.0],
            vec![5.0, 5.0, 5.0],
            vec![1.0, 1e12],
            (0..400).map(f64::from).collect(),
        ] {
            for width in [40, 72, 100] {
                for glyphs in [Glyphs::Unicode, Glyphs::Ascii] {
                    let drawn = text(&chart(&values, &[0]), Tz::UTC, width, glyphs);
                    assert_eq!(drawn.lines().count(), LINES + 3, "{drawn}");
                    assert!(drawn.lines().all(|line| line.chars().count() <= width), "{drawn}");
                    assert!(glyphs == Glyphs::Unicode || drawn.is_ascii(), "{drawn}");
                }
            }
        }
        assert_eq!(text(&chart(&[], &[]), Tz::UTC, 72, Glyphs::Unicode), "");
        assert!(!text(&chart(&[1.0, 2.0], &[]), Tz::UTC, 5, Glyphs::Ascii).is_empty());
    }

    #[test]
    fn a_terminal_shows_what_its_locale_and_kind_say() {
        for (term, locale, glyphs) in [
            (Some("xterm"), Some("en_GB.UTF-8"), Glyphs::Unicode),
            (None, Some("C.utf8"), Glyphs::Unicode),
            (Some("dumb"), Some("en_GB.UTF-8"), Glyphs::Ascii),
            (Some("xterm"), Some("C"), Glyphs::Ascii),
            (Some("xterm"), None, Glyphs::Ascii),
        ] {
            assert_eq!(Glyphs::of(term, locale), glyphs, "{term:?} {locale:?}");
        }
    }
}
