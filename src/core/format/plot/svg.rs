//! Charts as one SVG picture, which is its own file: no script, no font, no
//! link to anything; readable on light and dark ground, as its reader prefers.

use super::axis::{Axis, shown, times};
use super::{Chart, share};
use crate::core::format::svg_frame::{Styles, WIDTH, escaped, picture};
use crate::core::model::clock;
use chrono_tz::Tz;
use std::fmt::Write as _;

/// Sizes in the picture's own units.
const HEAD: f64 = 40.0;
const CHART: f64 = 280.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;
/// How many values and times are labelled, about.
const TICKS: usize = 5;

const STYLES: Styles = Styles {
    light: "  .grid { stroke: #d8dee4; }
  .line { fill: none; stroke: #0969da; stroke-width: 1.5; }
  .good { fill: #0969da; }
  .bad { fill: #cf222e; }
",
    dark: "    .grid { stroke: #30363d; }
    .line { stroke: #58a6ff; }
    .good { fill: #58a6ff; }
    .bad { fill: #ff7b72; }
",
};

/// The charts below each other, under a title. Those without points are left
/// out.
pub fn svg(title: &str, charts: &[Chart], zone: Tz) -> String {
    let drawn: Vec<&Chart> = charts.iter().filter(|chart| !chart.points.is_empty()).collect();
    let height = drawn.iter().fold(HEAD, |height, _| height + CHART);
    let mut text = String::new();
    let mut top = HEAD;
    for chart in drawn {
        one(&mut text, chart, top, zone);
        top += CHART;
    }
    picture(title, LEFT, height, STYLES, &text)
}

/// One chart, with its upper edge at `top`. Writing to a `String` does not
/// fail.
fn one(text: &mut String, chart: &Chart, top: f64, zone: Tz) {
    let Some(span) = chart.times() else { return };
    let axis = Axis::of(chart, TICKS);
    let (right, upper, lower) = (WIDTH - RIGHT, top + TOP, top + CHART - BOTTOM);
    let x = |share: f64| LEFT + share * (right - LEFT);
    let y = |value: f64| lower - axis.share(value) * (lower - upper);
    let marks = if chart.has_marks() { " (red: not good)" } else { "" };
    let _ = writeln!(
        text,
        "<g>\n<text class=\"title\" x=\"{LEFT}\" y=\"{:.1}\">{}{marks}</text>",
        top + 20.0,
        escaped(&chart.title)
    );
    for (value, label) in &axis.ticks {
        let at = y(*value);
        let _ = writeln!(
            text,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/>\
             <text class=\"right\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    let _ = writeln!(
        text,
        "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{lower:.1}\" x2=\"{right}\" y2=\"{lower:.1}\"/>\
         <line class=\"axis\" x1=\"{LEFT}\" y1=\"{upper:.1}\" x2=\"{LEFT}\" y2=\"{lower:.1}\"/>"
    );
    for (share, label) in times(span, TICKS, zone) {
        let _ = writeln!(
            text,
            "<text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
            x(share).min(right - 24.0),
            lower + 20.0
        );
    }
    let places: Vec<String> = chart
        .points
        .iter()
        .map(|point| format!("{:.1},{:.1}", x(share(point.time, span)), y(point.value)))
        .collect();
    let _ = writeln!(text, "<polyline class=\"line\" points=\"{}\"/>", places.join(" "));
    for point in &chart.points {
        let class = if point.good { "good" } else { "bad" };
        let radius = if point.good { 2.0 } else { 4.0 };
        let _ = writeln!(
            text,
            "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{}: {}</title></circle>",
            x(share(point.time, span)),
            y(point.value),
            clock::local(zone, point.time),
            shown(chart.unit, point.value)
        );
    }
    text.push_str("</g>\n");
}

#[cfg(test)]
mod tests {
    use super::super::{Point, Unit};
    use super::*;
    use chrono::{DateTime, TimeDelta, Utc};

    fn chart(count: u32) -> Chart {
        let first: DateTime<Utc> = "2026-10-20T02:00:00Z".parse().unwrap();
        let points = (0..count).map(|day| Point {
            time: first + TimeDelta::days(day.into()),
            value: f64::from(day) * 1e9,
            good: day != 3,
        });
        Chart { title: "Size <of> \"vpn\" & all".into(), unit: Unit::Bytes, points: points.collect() }
    }

    /// Fails unless every element is closed in order and every attribute and
    /// text is escaped.
    fn assert_well_formed(text: &str) {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>").unwrap();
        while let Some(begin) = rest.find('<') {
            let (data, tag) = rest.split_at(begin);
            assert!(!data.contains('>'), "{data}");
            for (place, _) in data.match_indices('&') {
                assert!(
                    ["&lt;", "&gt;", "&amp;", "&quot;"].iter().any(|known| data[place..].starts_with(known))
                );
            }
            let end = tag.find('>').expect("a tag that does not end");
            let inner = &tag[1..end];
            assert!(!inner.contains('<') && inner.matches('"').count() % 2 == 0, "{inner}");
            if let Some(name) = inner.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !inner.ends_with('/') {
                open.push(inner.split(' ').next().unwrap());
            }
            rest = &tag[end + 1..];
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    }

    #[test]
    fn a_picture_is_well_formed_and_does_nothing() {
        for count in [1, 2, 40, 400] {
            let charts = [chart(count), chart(0), Chart { unit: Unit::Seconds, ..chart(count) }];
            let text = svg("vpn <b>\u{1b}[2J & \"co\"", &charts, Tz::Europe__London);
            assert_well_formed(&text);
            assert!(text.contains("vpn &lt;b&gt;[2J &amp; &quot;co&quot;"), "{text}");
            assert_eq!(text.matches("<polyline").count(), 2, "a chart without points is left out");
            assert_eq!(text.matches("<circle").count(), 2 * count as usize);
            assert!(text.contains("prefers-color-scheme: dark"));
            for active in ["<script", "href", "onload", "foreignObject", "@import", "url("] {
                assert!(!text.contains(active), "{active}");
            }
        }
    }

    #[test]
    fn axes_and_points_say_what_they_are() {
        let text = svg("vpn", &[chart(30)], Tz::Europe__London);
        for part in [">0 B</text>", ">10.0 GiB</text>", ">Oct 20</text>", ">Nov 18</text>", "(red: not good)"]
        {
            assert!(text.contains(part), "`{part}` is missing in {text}");
        }
        assert!(text.contains("<title>2026-10-20 03:00: 0 B</title>"), "{text}");
        assert_eq!(text.matches("class=\"bad\"").count(), 1);
    }
}
