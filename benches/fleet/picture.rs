//! Bars with whiskers as one SVG picture: a bar as long as the median, a
//! whisker from the least to the most. Pure.
//!
//! Each group has a scale of its own that begins at zero. The picture is its
//! own file: no script, no font, no link; readable on light and dark ground.

use super::figures::Spread;
use backup::core::format::svg_frame::{Styles, WIDTH, escaped, picture as framed};
use std::fmt::Write as _;

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it is of.
    pub label: String,
    /// How long it is.
    pub value: Spread,
    /// Its value in words.
    pub text: String,
    /// Whether it is the one that this is about.
    pub ours: bool,
}

/// Bars of one scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What they have in common.
    pub title: String,
    /// The bars, from the top.
    pub bars: Vec<Bar>,
}

/// Sizes in the picture's own units.
const HEAD: f64 = 44.0;
const TITLE: f64 = 30.0;
const STEP: f64 = 28.0;
const THICK: f64 = 16.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 250.0;

const STYLES: Styles = Styles {
    light: "  .whisker { stroke: #57606a; }
  .ours { fill: #0969da; }
  .theirs { fill: #afb8c1; }
",
    dark: "    .whisker { stroke: #8b949e; }
    .ours { fill: #58a6ff; }
    .theirs { fill: #484f58; }
",
};

/// The groups below each other, under a title.
pub fn svg(title: &str, groups: &[Group]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a handful of bars")]
    let height =
        groups.iter().fold(HEAD, |height, group| height + TITLE + STEP * group.bars.len() as f64) + 16.0;
    let mut text = String::new();
    let mut top = HEAD;
    for group in groups {
        top = draw(&mut text, group, top);
    }
    framed(title, 16.0, height, STYLES, &text)
}

/// One group with its upper edge at `top`; gives its lower one. Writing to a
/// `String` does not fail.
fn draw(text: &mut String, group: &Group, top: f64) -> f64 {
    let most = group.bars.iter().map(|bar| bar.value.most).fold(0.0, f64::max);
    let x = |value: f64| LEFT + if most > 0.0 { value / most * (WIDTH - LEFT - RIGHT) } else { 0.0 };
    let _ = writeln!(
        text,
        "<text class=\"title\" x=\"16\" y=\"{:.1}\">{}</text>",
        top + 18.0,
        escaped(&group.title)
    );
    let mut upper = top + TITLE;
    let first = upper;
    for bar in &group.bars {
        let middle = upper + THICK / 2.0;
        let class = if bar.ours { "ours" } else { "theirs" };
        let (least, end, most) = (x(bar.value.least), x(bar.value.median), x(bar.value.most));
        let _ = writeln!(
            text,
            "<text class=\"right\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{upper:.1}\" width=\"{:.1}\" height=\"{THICK}\"/>",
            LEFT - 8.0,
            middle + 4.5,
            escaped(&bar.label),
            end - LEFT
        );
        if bar.value.count > 1 {
            let (high, low) = (middle - 4.0, middle + 4.0);
            let _ = writeln!(
                text,
                "<path class=\"whisker\" fill=\"none\" d=\"M{least:.1} {middle:.1}H{most:.1}M{least:.1} {high:.1}\
                 V{low:.1}M{most:.1} {high:.1}V{low:.1}\"/>"
            );
        }
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            most.max(end) + 8.0,
            middle + 4.5,
            escaped(&bar.text)
        );
        upper += STEP;
    }
    let _ = writeln!(
        text,
        "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{:.1}\" x2=\"{LEFT}\" y2=\"{:.1}\"/>",
        first - 4.0,
        upper - STEP + THICK + 4.0
    );
    upper
}
