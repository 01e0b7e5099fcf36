//! Dependencies point downwards only: this test reads the sources and holds
//! every module to its layer, and files to their size.
//!
//! A new module must be given a place in one of the lists below. What a module
//! does with another only in its own tests is its own business.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Who tells the story. Each may use those after it, every edge and the core.
const STORY: &[&str] = &["cli", "fleet", "backup", "verify", "turn"];

/// Each talks to one thing outside, and uses the core and the two doors.
const EDGES: &[&str] = &[
    "config",
    "inventory",
    "lock",
    "remote",
    "transfer",
    "store",
    "tree",
    "report",
    "history",
    "tools",
    "logging",
];

/// The edges that the other edges go through, to programs and to servers. They
/// use the core alone.
const DOORS: &[&str] = &["process", "https", "offload"];

/// Pure: no input or output, no clock. They use each other.
const CORE: &[&str] = &[
    "clock",
    "host",
    "settings",
    "snapshot",
    "entry",
    "excerpt",
    "difference",
    "versions",
    "pattern",
    "retention",
    "rotation",
    "filter",
    "guard",
    "namesake",
    "outcome",
    "past",
    "problem",
    "trend",
    "plot",
    "precision",
    "status",
    "finding",
    "growth",
    "rsync_build",
    "table",
    "text",
    "timing",
    "trace",
    "when",
    "verification",
];

/// The most lines of `main.rs`.
const LONGEST_MAIN: usize = 39;
/// The most lines of any other file, its tests left out.
const LONGEST_FILE: usize = 600;

/// Whether one module may use another; `None` if `from` has no place.
fn may_use(from: &str, to: &str) -> Option<bool> {
    let (core, door, edge) = (CORE.contains(&to), DOORS.contains(&to), EDGES.contains(&to));
    let rank = |name: &str| STORY.iter().position(|known| *known == name);
    Some(if let Some(own) = rank(from) {
        core || door || edge || rank(to).is_some_and(|other| other > own)
    } else if EDGES.contains(&from) {
        core || door
    } else if DOORS.contains(&from) || CORE.contains(&from) {
        core
    } else {
        return None;
    })
}

/// All that is wrong with these files, each given by its path below `src/` and
/// its text.
fn faults(files: &[(String, String)]) -> Vec<String> {
    files.iter().flat_map(|(path, text)| faults_of(path, text)).collect()
}

fn faults_of(path: &str, text: &str) -> Vec<String> {
    let module: Vec<&str> = path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect();
    let mut faults = Vec::new();
    let (length, longest) = match path {
        "main.rs" => (text.lines().count(), LONGEST_MAIN),
        _ => (code_lines(text), LONGEST_FILE),
    };
    if length > longest {
        faults.push(format!("src/{path} has {length} lines of code, more than {longest}: split it"));
    }
    if matches!(path, "main.rs" | "lib.rs") || module.contains(&"tests") {
        return faults;
    }
    let own = module[0];
    let Ok(tokens) = text.parse::<TokenStream>() else {
        faults.push(format!("src/{path} cannot be read as Rust"));
        return faults;
    };
    let mut used = BTreeSet::new();
    modules_used(tokens, module.len(), &mut used);
    used.remove(own);
    if may_use(own, own).is_none() {
        faults.push(format!("src/{path}: `{own}` has no place: give it one in tests/layers.rs"));
        return faults;
    }
    for other in used.iter().filter(|other| may_use(own, other) != Some(true)) {
        faults.push(format!("src/{path}: `{own}` may not use `{other}`"));
    }
    faults
}

/// How many lines stand before a file's tests.
fn code_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests =
        lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests"));
    tests.unwrap_or(lines.len())
}

/// Gathers the names that paths from the crate's root begin with, be they
/// written with `crate` or with as many `super` as the module is deep. Comments
/// are not tokens, and what stands behind `#[cfg(test)]` is passed over.
fn modules_used(tokens: TokenStream, depth: usize, used: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if is_cfg_test(&tokens[at..]) {
            at += end_of_item(&tokens[at..]);
            continue;
        }
        if let Some(steps) = steps_to_root(&tokens[at..], depth) {
            at += steps;
            names_at(&tokens[at..], used);
            continue;
        }
        if let TokenTree::Group(group) = &tokens[at] {
            let inline_module = at >= 2
                && ident(&tokens[at - 2]) == Some("mod".to_owned())
                && ident(&tokens[at - 1]).is_some();
            modules_used(group.stream(), depth + usize::from(inline_module), used);
        }
        at += 1;
    }
}

fn ident(token: &TokenTree) -> Option<String> {
    match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_cfg_test(tokens: &[TokenTree]) -> bool {
    is_punct(tokens.first(), '#')
        && matches!(tokens.get(1), Some(TokenTree::Group(group)) if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// How many tokens an item takes: up to its braces or its semicolon.
fn end_of_item(tokens: &[TokenTree]) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        other => is_punct(Some(other), ';'),
    };
    tokens.iter().position(ends).map_or(tokens.len(), |last| last + 1)
}

/// How many tokens lead to the crate's root, `::` included, if these do.
fn steps_to_root(tokens: &[TokenTree], depth: usize) -> Option<usize> {
    let step = |at: usize, name: &str| {
        tokens.get(at).and_then(ident).is_some_and(|ident| ident == name)
            && is_punct(tokens.get(at + 1), ':')
            && is_punct(tokens.get(at + 2), ':')
    };
    if step(0, "crate") {
        return Some(3);
    }
    let ups = (0..).take_while(|up| step(up * 3, "super")).count();
    (ups >= depth).then_some(ups * 3)
}

/// The name that comes next, or the first name of each branch in braces.
fn names_at(tokens: &[TokenTree], used: &mut BTreeSet<String>) {
    match tokens.first() {
        Some(TokenTree::Group(group)) => {
            let branches: Vec<TokenTree> = group.stream().into_iter().collect();
            for branch in
                branches.split(|token| is_punct(Some(token), ',')).filter(|branch| !branch.is_empty())
            {
                used.insert(branch[0].to_string());
            }
        }
        Some(name) => {
            used.insert(name.to_string());
        }
        None => {}
    }
}

/// Every Rust file below `src/`, by its path there.
fn sources() -> Vec<(String, String)> {
    sources_below("src")
}

/// Every Rust file below a folder of the checkout, by its path there.
fn sources_below(folder: &str) -> Vec<(String, String)> {
    fn gather(folder: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                gather(&entry.path(), &format!("{prefix}{name}/"), files);
            } else if name.ends_with(".rs") {
                files.push((format!("{prefix}{name}"), fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    let mut files = Vec::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), "", &mut files);
    files.sort();
    files
}

#[test]
fn dependencies_point_downwards_only() {
    let files = sources();
    assert!(files.len() > 20, "the sources were not found");
    let faults = faults(&files);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Whether conditions are chained with a `let`: `if a && let Some(b) = c`.
fn chains_a_let(tokens: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |at: usize, name: &str| tokens.get(at).and_then(ident).is_some_and(|ident| ident == name);
    let is_and = |at: usize| is_punct(tokens.get(at), '&') && is_punct(tokens.get(at + 1), '&');
    (0..tokens.len()).any(|at| match &tokens[at] {
        TokenTree::Group(group) => chains_a_let(group.stream()),
        _ if is(at, "if") || is(at, "while") => {
            let is_body = |token: &TokenTree| {
                matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
                    || is_punct(Some(token), '>')
            };
            let length = tokens[at..].iter().position(is_body).unwrap_or(0);
            let condition = || at + 1..at + length;
            condition().any(|at| is(at, "let")) && condition().any(is_and)
        }
        _ => false,
    })
}

/// Rust 1.85, which Debian 13 has, does not know them; every newer one takes
/// them without a word.
#[test]
fn no_conditions_are_chained_with_a_let() {
    for (text, chained) in [
        ("fn f() { if a && let Some(b) = c {} }", true),
        ("fn f() { while let Some(b) = c && b {} }", true),
        ("fn f() { if let Some(b) = c { if b && d {} } }", false),
        ("fn f() { match a { b if c && d => { let e = f; } } }", false),
        ("fn f() { if let Some(b) = (c && d) {} }", false),
    ] {
        assert_eq!(chains_a_let(text.parse().unwrap()), chained, "{text}");
    }
    let all = ["src", "tests", "examples", "benches"].map(|folder| (folder, sources_below(folder)));
    for (folder, files) in all {
        for (path, text) in files {
            let tokens = text.parse().unwrap_or_else(|error| panic!("{folder}/{path}: {error}"));
            assert!(!chains_a_let(tokens), "{folder}/{path} chains a condition with `let`: nest them");
        }
    }
}

#[test]
fn every_place_is_taken() {
    let modules: BTreeSet<String> = sources()
        .iter()
        .map(|(path, _)| path.trim_end_matches(".rs").split('/').next().unwrap().to_owned())
        .collect();
    for name in [STORY, EDGES, DOORS, CORE].concat() {
        assert!(modules.contains(name), "`{name}` has a place and is no module");
    }
}

fn faults_in(path: &str, text: &str) -> String {
    faults(&[(path.to_owned(), text.to_owned())]).join("\n")
}

#[test]
fn a_wrong_direction_is_found_however_it_is_written() {
    for (path, text, fault) in [
        ("guard.rs", "use crate::process::Program;", "src/guard.rs: `guard` may not use `process`"),
        ("guard.rs", "use super::store::Store;", "src/guard.rs: `guard` may not use `store`"),
        (
            "filter/mounts.rs",
            "use super::super::remote;",
            "src/filter/mounts.rs: `filter` may not use `remote`",
        ),
        ("store/zfs.rs", "fn f() { crate::lock::g() }", "src/store/zfs.rs: `store` may not use `lock`"),
        ("store.rs", "use crate::{host::Host, config};", "src/store.rs: `store` may not use `config`"),
        (
            "report.rs",
            "#[error(\"{}\", crate::remote::f(.0))] struct E;",
            "src/report.rs: `report` may not use `remote`",
        ),
        ("https.rs", "use crate::process::Program;", "src/https.rs: `https` may not use `process`"),
        ("backup.rs", "use crate::fleet;", "src/backup.rs: `backup` may not use `fleet`"),
        ("config.rs", "mod a { use super::super::lock; }", "src/config.rs: `config` may not use `lock`"),
        ("text.rs", "use crate::*;", "src/text.rs: `text` may not use `*`"),
    ] {
        assert_eq!(faults_in(path, text), fault, "{text}");
    }
}

#[test]
fn what_points_downwards_is_let_through() {
    for (path, text) in [
        ("cli/run.rs", "use crate::{backup, config, fleet, text::printable};"),
        ("fleet.rs", "use crate::backup; use crate::store::Store;"),
        ("store/zfs.rs", "use super::Store; use crate::process::Program; use crate::host::Host;"),
        ("store/directory/place.rs", "use super::super::Store;"),
        ("report/icinga.rs", "use crate::https::Client; use super::table;"),
        ("guard.rs", "use crate::snapshot::Facts; pub(crate) fn f() {}"),
        ("guard.rs", "//! See [`crate::store`].\n/// [`crate::config`]\nfn f() { \"crate::lock\"; }"),
        ("guard.rs", "#[cfg(test)]\nmod tests { use crate::store::Store; }\nfn f() {}"),
        ("inventory/tests.rs", "use crate::store::Store;"),
    ] {
        assert_eq!(faults_in(path, text), "", "{text}");
    }
}

#[test]
fn code_behind_the_tests_is_still_looked_at() {
    let text = "#[cfg(test)]\nuse crate::config;\nfn f() { crate::store::g() }";
    assert_eq!(faults_in("guard.rs", text), "src/guard.rs: `guard` may not use `store`");
}

#[test]
fn a_module_without_a_place_is_a_fault() {
    let fault = "src/weather/rain.rs: `weather` has no place: give it one in tests/layers.rs";
    assert_eq!(faults_in("weather/rain.rs", "fn f() {}"), fault);
    assert_eq!(faults_in("guard.rs", "use crate::weather;"), "src/guard.rs: `guard` may not use `weather`");
}

#[test]
fn files_that_grow_too_long_are_faults_and_their_tests_do_not_count() {
    let lines = |count: usize| "// a line\n".repeat(count);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(1000));
    assert_eq!(faults_in("guard.rs", &(lines(600) + &tests)), "");
    assert_eq!(
        faults_in("guard.rs", &(lines(601) + &tests)),
        "src/guard.rs has 601 lines of code, more than 600: split it"
    );
    assert_eq!(faults_in("main.rs", &lines(39)), "");
    assert_ne!(faults_in("main.rs", &lines(40)), "");
}
