use crate::bench_figures::figures::Spread;
use crate::bench_figures::picture::*;

fn bar(label: &str, values: &[f64]) -> Bar {
    let value = Spread::of(values.iter().copied()).unwrap();
    Bar { label: label.into(), value, text: "1 s".into(), ours: label == "backup" }
}

#[test]
fn bars_are_as_long_as_their_medians_and_whiskers_reach_to_the_ends() {
    let bars = vec![bar("backup", &[1.0, 2.0, 4.0]), bar("slow & <odd>", &[4.0])];
    let text = svg("a \"title\"", &[Group { title: "nothing changed".into(), bars }]);
    // 420 units are 4 s.
    assert!(text.contains("class=\"ours\" x=\"190\" y=\"74.0\" width=\"210.0\""), "{text}");
    assert!(text.contains("M295.0 82.0H610.0"), "{text}");
    assert!(text.contains("class=\"theirs\" x=\"190\" y=\"102.0\" width=\"420.0\""), "{text}");
    assert_eq!(text.matches("<path").count(), 1, "one value has no spread");
    assert!(text.contains("slow &amp; &lt;odd&gt;"));
    assert!(text.contains("<title>a &quot;title&quot;</title>"));
}

#[test]
fn nothing_to_draw_is_no_fault() {
    assert!(svg("", &[]).ends_with("</svg>\n"));
    let zero = svg("", &[Group { title: String::new(), bars: vec![bar("backup", &[0.0])] }]);
    assert!(zero.contains("width=\"0.0\"") && !zero.contains("NaN"), "{zero}");
}
