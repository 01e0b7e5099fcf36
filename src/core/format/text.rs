//! Text from elsewhere (hosts, programs, file names, NetBox), made safe to
//! print on a terminal, in a log line and in a monitoring system.

/// The text with every control character written as an escape, so that it
/// stays on one line and cannot steer a terminal.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Whether a character can steer a terminal, or change how others read.
pub fn steers(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

/// Characters that are not seen, but change how what is seen reads: marks of
/// direction, joiners, tags.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{feff}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{e0000}'..='\u{e007f}')
}

/// [`printable`] for bytes that need not be UTF-8.
pub fn printable_bytes(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}

/// A field of `/proc/self/mountinfo` without the kernel's escapes: blank, tab,
/// newline, backslash and `#` are written as a backslash and three octal
/// digits.
pub fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let escape = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if *first == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &after[3..] } else { after };
    }
    bytes
}

/// The text cut to at most `limit` characters, with an ellipsis where
/// something went.
pub fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

/// The longest that one line from elsewhere is told, in characters.
pub const LONGEST_LINE: usize = 500;

/// A line from elsewhere, printable, cut to [`LONGEST_LINE`].
pub fn short(line: &[u8]) -> String {
    // A character takes four bytes at most.
    let enough = line.get(..4 * LONGEST_LINE + 4).unwrap_or(line);
    shortened(&printable(String::from_utf8_lossy(enough).trim_end()), LONGEST_LINE)
}

/// The last `count` lines of a text that are not blank, made printable, each cut
/// as [`short`] does.
pub fn last_lines(bytes: &[u8], count: usize) -> Vec<String> {
    let is_blank = |line: &&[u8]| String::from_utf8_lossy(line).trim().is_empty();
    let ends = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let mut lines: Vec<String> =
        bytes.rsplit(ends).filter(|line| !is_blank(line)).take(count).map(short).collect();
    lines.reverse();
    lines
}

/// What a program said, on one line: what follows from a fault is told after it,
/// so of many lines the first ones, and the last.
pub fn gist(bytes: &[u8]) -> String {
    let lines = last_lines(bytes, usize::MAX);
    match lines.as_slice() {
        [first, second, _, .., last] => format!("{first} / {second} / … / {last}"),
        lines => lines.join(" / "),
    }
}

/// A number of things in a sentence: `1 host`, `3 hosts`.
pub fn counted<N: std::fmt::Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// [`counted`], of things whose plural is another word: `1 directory`, `3 directories`.
pub fn counted_as<N: std::fmt::Display + PartialEq + From<u8>>(count: N, one: &str, many: &str) -> String {
    let what = if count == N::from(1) { one } else { many };
    format!("{count} {what}")
}

/// A number of bytes for a person: `512 B`, `4.0 KiB`, `1.3 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "rounded for a person")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A length of time for a person: `0.4s`, `12s`, `3m05s`, `2h07m`.
pub fn human_duration(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// [`human_duration`], with hundredths of what is below a second: `0.02s`.
pub fn precise_duration(duration: std::time::Duration) -> String {
    let hundredths = duration.saturating_add(std::time::Duration::from_millis(5)).as_millis() / 10;
    if hundredths < 100 { format!("0.{hundredths:02}s") } else { human_duration(duration) }
}

/// A word of a command that people are to type, as a shell reads it.
pub fn shell_word(text: &str) -> String {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._+-".contains(&b));
    printable(&if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn control_characters_cannot_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("evil\u{202e}txt"), "evil\\u{202e}txt");
        assert_eq!(printable("naïve 日本"), "naïve 日本");
    }

    #[test]
    fn the_tail_keeps_the_last_lines_that_say_something() {
        assert_eq!(last_lines(b"one\n\ntwo\r\nthree\n\n", 2), ["two", "three"]);
        assert!(last_lines(b"\n\n", 3).is_empty());
    }

    #[test]
    fn of_many_lines_the_first_and_the_last_are_told() {
        assert_eq!(gist(b"one\n\ntwo\nthree\n"), "one / two / three");
        assert_eq!(gist(b"one\ntwo\nthree\nfour\nfive\n"), "one / two / … / five");
        assert_eq!(gist(b"\n"), "");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        for (line, why) in
            [("x", "one byte"), ("日", "three"), ("\u{1b}", "an escape"), ("\u{1f600}", "four")]
        {
            let long = last_lines(line.repeat(1_000_000).as_bytes(), 1).remove(0);
            assert_eq!((long.chars().count(), long.chars().last()), (LONGEST_LINE, Some('…')), "{why}");
        }
        assert_eq!(short("x".repeat(LONGEST_LINE).as_bytes()).len(), LONGEST_LINE);
    }

    #[test]
    fn people_read_short_figures() {
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(u64::MAX), "16.0 EiB");
        assert_eq!(human_duration(Duration::from_millis(420)), "0.4s");
        assert_eq!(human_duration(Duration::from_secs(185)), "3m05s");
        assert_eq!(human_duration(Duration::from_secs(7620)), "2h07m");
        for (micros, shown) in [
            (4_999, "0.00s"),
            (5_000, "0.01s"),
            (994_999, "0.99s"),
            (995_000, "1.0s"),
            (1_300_000, "1.3s"),
            (125_000_000, "2m05s"),
        ] {
            assert_eq!(precise_duration(Duration::from_micros(micros)), shown);
        }
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("abcd", 4), "abcd");
    }
}
