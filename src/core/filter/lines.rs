//! Files of patterns, one a line, as rsync's `--exclude-from` reads them, but
//! for its orders, of which none is obeyed.

use super::{NotAPattern, Rule, Warning};
use crate::core::format::excerpt::Excerpt;
use crate::core::model::problem::Problem;

/// Reads a file of patterns: one a line, each as [`Rule::parse`] does. Empty
/// lines and lines that begin with `#` or `;` are comments. A line ends with
/// LF, CR or both, as for rsync; blanks around a pattern are part of it.
/// Whatever else is no pattern is passed over with a warning. `origin` is the
/// file's name, for those.
pub fn parse_lines(bytes: &[u8], origin: &str) -> (Vec<Rule>, Excerpt<Warning>) {
    // Some editors begin a file with a mark that is no part of its text.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut rules = Vec::new();
    let mut warnings = Excerpt::default();
    for (number, line) in numbered(bytes) {
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b";") {
            continue;
        }
        match Rule::parse(line) {
            Ok(rule) => rules.push(rule),
            Err(why) => warnings.push(|| Warning::of_line(origin, number, line, explained(line, why))),
        }
    }
    (rules, warnings)
}

/// The lines with their numbers. A CR in mid-line starts a new pattern, but
/// people and editors count by LF.
fn numbered(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    bytes
        .split(|byte| *byte == b'\n')
        .zip(1..)
        .flat_map(|(line, number)| line.split(|byte| *byte == b'\r').map(move |part| (number, part)))
}

/// A `!` is the one order that people write by mistake.
fn explained(line: &[u8], why: NotAPattern) -> Problem {
    match why {
        NotAPattern::Directive if line.starts_with(b"!") => Problem::warning(
            "rules cannot be cleared, and a pattern is not negated by `!`",
            "`+ PATTERN` lets files in, `- !…` leaves out a name that begins with `!`",
        ),
        other => other.problem(),
    }
}

/// The words of rsync's filter language that take an argument.
const WORDS: [&[u8]; 8] =
    [b"include", b"exclude", b"merge", b"dir-merge", b"hide", b"show", b"protect", b"risk"];

/// Whether a line is an order in rsync's filter language: `!`, `clear`, a word
/// or a letter with its modifiers and an argument. `--exclude-from` obeys only
/// the lone `!` of them and takes the rest for odd file names; who writes such
/// a line means the order all the same. Only a space ends the order's name
/// here, though rsync's own filters allow `_` too: `._*` and `show_all` are
/// names that people do exclude.
pub(super) fn is_directive(line: &[u8]) -> bool {
    if line.starts_with(b"!") || line == b"clear" || line == b":C" {
        return true;
    }
    let Some(end) = line.iter().position(|byte| *byte == b' ') else { return false };
    let name = &line[..end];
    if WORDS.iter().any(|word| name.strip_prefix(*word).is_some_and(|rest| matches!(rest, [] | [b',', ..]))) {
        return true;
    }
    let Some((letter, modifiers)) = name.split_first() else { return false };
    let allowed: &[u8] = match letter {
        b'.' | b':' => b"-+/Cenprswx",
        b'H' | b'S' | b'P' | b'R' => b"/!px",
        // Without a modifier it is a plain exclude or include.
        b'-' | b'+' => b"/!Cprsx",
        _ => return false,
    };
    let modifiers = modifiers.strip_prefix(b",").unwrap_or(modifiers);
    modifiers.iter().all(|modifier| allowed.contains(modifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(patterns: &[&[u8]]) -> Vec<Rule> {
        patterns.iter().map(|pattern| Rule::exclude(*pattern).unwrap()).collect()
    }

    #[test]
    fn lines_are_patterns_comments_or_nothing() {
        let file = b"# why\n; why not\n\n/a\n- /b/\n*.o \n\t x\n- # hash\n-foo\n-\n+\n";
        let (rules, warnings) = parse_lines(file, "f");
        assert_eq!(rules, excludes(&[b"/a", b"/b/", b"*.o ", b"\t x", b"# hash", b"-foo", b"-", b"+"]));
        assert!(warnings.is_empty());
        let (rules, _) = parse_lines(b"+ /keep\n+ + two", "f");
        assert_eq!(rules, [Rule::include("/keep").unwrap(), Rule::include("+ two").unwrap()]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_pattern() {
        for (file, expected) in [
            (&b"\xef\xbb\xbf/a\n/b\n"[..], excludes(&[b"/a", b"/b"])),
            (b"\xef\xbb\xbf# why\r\n/b\r\n", excludes(&[b"/b"])),
            (b"\xef\xbb\xbf", vec![]),
            (b"/a\n\xef\xbb\xbf/b\n", excludes(&[b"/a", b"\xef\xbb\xbf/b"])),
        ] {
            assert_eq!(parse_lines(file, "f"), (expected, Excerpt::default()), "{file:?}");
        }
    }

    #[test]
    fn lines_end_as_they_do_anywhere() {
        let expected = excludes(&[b"a", b"b", b"c"]);
        for (file, why) in [
            (&b"a\nb\nc"[..], "no newline at the end"),
            (b"a\nb\nc\n", "Unix"),
            (b"a\r\nb\r\nc\r\n", "Windows"),
            (b"a\rb\rc\r", "a Macintosh of long ago; rsync reads it so too"),
            (b"a\r\r\n\n\rb\nc", "a mixture"),
        ] {
            assert_eq!(parse_lines(file, "f"), (expected.clone(), Excerpt::default()), "{why}");
        }
    }

    #[test]
    fn what_is_not_a_pattern_never_becomes_one() {
        for (line, why) in [
            (&b"!"[..], "forgets all rules"),
            (b"! ", "nearly so"),
            (b"!foo", "git's way to let in"),
            (b"! foo", "the same with a blank"),
            (b"clear", "forgets all rules, in words"),
            (b". /etc/shadow", "reads a file"),
            (b".,w /etc/shadow", "reads a file, with modifiers"),
            (b": .rules", "reads a file in every directory"),
            (b":- .gitignore", "the same, with a modifier"),
            (b":C", "the same for .cvsignore"),
            (b"merge /etc/shadow", "reads a file"),
            (b"merge,- /etc/shadow", "reads a file"),
            (b"dir-merge .rules", "reads files"),
            (b"include foo", "a rule in words"),
            (b"exclude foo", "a rule in words"),
            (b"exclude,p foo", "a rule in words"),
            (b"hide foo", "a rule for one side"),
            (b"show foo", "a rule for one side"),
            (b"protect foo", "a rule for one side"),
            (b"risk foo", "a rule for one side"),
            (b"H foo", "a rule for one side"),
            (b"S,p foo", "a rule for one side"),
            (b"P foo", "a rule for one side"),
            (b"R foo", "a rule for one side"),
            (b"-p foo", "a modifier that `--exclude-from` does not know"),
            (b"+! foo", "a modifier that `--exclude-from` does not know"),
            (b"-,x user.*", "a rule for extended attributes"),
            (b"- ", "no pattern: rsync would refuse all rules"),
            (b"+ ", "no pattern: rsync would refuse all rules"),
            (b"a\0b", "NUL ends rsync's texts"),
            (b"- a\0- b", "two rules, to rsync"),
        ] {
            let (rules, warnings) = parse_lines(line, "/etc/x");
            assert_eq!(rules, [], "{why}");
            assert_eq!(warnings.count(), 1, "{why}");
        }
        let long = vec![b'x'; LONG];
        assert_eq!(parse_lines(&long[1..], "f").0.len(), 1);
        assert_eq!(parse_lines(&long, "f").0.len(), 0);
    }

    const LONG: usize = super::super::LONGEST_PATTERN + 1;

    #[test]
    fn names_that_resemble_orders_are_patterns() {
        for name in [
            "include",
            "exclude/",
            "merge",
            "show",
            "merge_requests",
            "show_all",
            "hide-and-seek",
            "risky business",
            "._*",
            ".cache",
            ".config backup",
            "Program Files",
            "H",
            "P",
            "Raw photos",
            "-_x",
            "--help me",
            "/clear",
            "clear view",
            ":",
            ".",
            "Some name",
            "included files",
        ] {
            let (rules, warnings) = parse_lines(name.as_bytes(), "f");
            assert_eq!((rules, warnings), (excludes(&[name.as_bytes()]), Excerpt::default()), "{name}");
        }
    }

    #[test]
    fn a_warning_names_the_file_and_the_line_and_cannot_steer_a_terminal() {
        let (_, warnings) = parse_lines(b"# c\r\n\n/ok\n!\n. \x1b[2J\xff", "/etc/x");
        let texts: Vec<String> = warnings.first().iter().map(Warning::to_string).collect();
        assert_eq!(
            texts,
            [
                "/etc/x line 4: `!` was passed over: rules cannot be cleared, and a pattern is not negated by `!` \
                 (`+ PATTERN` lets files in, `- !…` leaves out a name that begins with `!`)",
                "/etc/x line 5: `. \\u{1b}[2J\u{fffd}` was passed over: this is a rule of rsync's filter language, \
                 and only patterns are taken here (write `- ` before a pattern that looks like one)",
            ]
        );
    }

    #[test]
    fn a_file_full_of_rubbish_does_not_fill_the_log() {
        let (rules, warnings) = parse_lines(&b"!\n".repeat(1000), "f");
        assert_eq!(rules, []);
        assert!(warnings.lines().ends_with("\nand 990 more"), "{}", warnings.lines());
    }
}
