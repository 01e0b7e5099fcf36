//! A script and its words as one line that every login shell takes alike.
//!
//! A login shell is whatever somebody chose: csh cuts a quoted text into
//! commands at its newlines, fish has a syntax of its own, rbash refuses
//! `exec`. So the line is a program's name and words in single quotes, in which
//! there are letters, digits, blanks and a few more that no shell minds;
//! everything else is written as `printf` takes it for `%b`, and the `sh` that
//! the login shell starts puts it together again
//! (docs/decisions/0030-one-line-for-every-login-shell.md).

/// Puts the words up to an empty one together, and runs what they say with the
/// words after it. Holds no single quote, no newline and no `!`.
const DECODER: &str = r#"s=; while [ "$1" ]; do s=$s$1; shift; done; shift; eval "$(printf %b "$s")""#;
/// Decodes a script's words.
const PREAMBLE: &str = include_str!("words.sh");
/// The longest piece of a script in one word, in bytes: csh takes no word of
/// 8 KiB, and older ones none of 1 KiB.
const LONGEST_WORD: usize = 1000;

/// The arguments of `sh` that run a script with these words as `$1`, `$2`, …
pub(super) fn arguments(script: &str, words: &[&str]) -> Vec<String> {
    let mut arguments = vec!["-c".to_owned(), DECODER.to_owned(), "sh".to_owned()];
    let mut piece = String::new();
    for byte in without_comments(PREAMBLE).chain(without_comments(script)).flat_map(|line| {
        let line = line.bytes();
        line.chain([b'\n'])
    }) {
        let encoded = encoded(byte);
        if piece.len() + encoded.len() > LONGEST_WORD {
            arguments.push(std::mem::take(&mut piece));
        }
        piece.push_str(&encoded);
    }
    arguments.extend([piece, String::new()]);
    arguments.extend(words.iter().map(|word| word.bytes().map(encoded).collect()));
    arguments
}

/// The line for a login shell that does so.
pub(super) fn line(script: &str, words: &[&str], sudo: bool) -> String {
    let mut line = if sudo { "sudo -n sh".to_owned() } else { "sh".to_owned() };
    for argument in arguments(script, words) {
        line.push_str(" '");
        line.push_str(&argument);
        line.push('\'');
    }
    line
}

/// A byte as `printf` takes it for `%b`: as it is, if no shell minds it.
pub(super) fn encoded(byte: u8) -> String {
    let plain = byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'/' | b'.' | b'-' | b'_');
    if plain { char::from(byte).to_string() } else { format!("\\0{byte:03o}") }
}

/// The lines of a script that do something, without their indentation.
fn without_comments(script: &str) -> impl Iterator<Item = &str> {
    script.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_of_short_words_of_harmless_characters() {
        let line = line("# why\nif true; then\n    echo \"it's\" !*\nfi\n", &["/a b", "ü\n'"], true);
        let end = r"'' '/a b' '\0303\0274\0012\0047'";
        assert!(line.starts_with("sudo -n sh '-c' 's=; while") && line.ends_with(end), "{line}");
        let payload = line.strip_prefix(&format!("sudo -n sh '-c' '{DECODER}' ")).unwrap();
        assert!(payload.bytes().all(|b| b.is_ascii_alphanumeric() || b" '/.-_\\".contains(&b)), "{payload}");
        assert!(!line.contains("why"), "{line}");
        let long = arguments(&"echo \"$x\"\n".repeat(1000), &[]);
        assert!(long.iter().all(|word| word.len() <= LONGEST_WORD));
        assert!(!DECODER.contains(['\'', '\n', '!']));
    }
}
