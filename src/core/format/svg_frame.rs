//! What every picture that we draw has around it: its own file, without script,
//! font or link; readable on light and dark ground, as its reader prefers.

/// How wide a picture is, in its own units.
pub const WIDTH: f64 = 860.0;

const LIGHT: &str = "
  .ground { fill: #ffffff; }
  text { fill: #24292f; font: 13px sans-serif; }
  .head { font-size: 17px; font-weight: bold; }
  .title { font-weight: bold; }
  .right { text-anchor: end; }
  .middle { text-anchor: middle; }
  .axis { stroke: #57606a; }
";
const DARK: &str = "
    .ground { fill: #0d1117; }
    text { fill: #e6edf3; }
    .axis { stroke: #8b949e; }
";

/// The styles that a picture has of its own, on light and on dark ground.
#[derive(Debug, Clone, Copy)]
pub struct Styles {
    /// CSS rules.
    pub light: &'static str,
    /// What changes of them.
    pub dark: &'static str,
}

/// A picture of these elements, `height` high, under a title that begins at `left`.
pub fn picture(title: &str, left: f64, height: f64, styles: Styles, elements: &str) -> String {
    let (title, Styles { light, dark }) = (escaped(title), styles);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<title>{title}</title>\n\
         <style>{LIGHT}{light}  @media (prefers-color-scheme: dark) {{{DARK}{dark}  }}\n</style>\n\
         <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"head\" x=\"{left}\" y=\"26\">{title}</text>\n{elements}</svg>\n"
    )
}

/// Text as XML has it; characters that XML cannot have are left out.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => safe.push(c),
        }
    }
    safe
}
