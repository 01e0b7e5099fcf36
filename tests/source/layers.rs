//! A folder of `src/` is a layer, and whoever knows the layer knows what the code
//! may touch: this test reads the sources and holds them to it, and files to their
//! size.
//!
//! It has no list of modules: a new file has its place by its folder. What a module
//! does with another only in its own tests is its own business.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Each may use itself and those after it, but for [`ASKS`].
const LAYERS: [&str; 5] = ["cli", "app", "edge", "sys", "core"];
/// The layer that asks the one below it, and nobody outside: it does not name [`APART`].
const ASKS: &str = "cli";
/// The layer whose modules each talk to one thing outside, and know none of the
/// others: whoever needs two of them stands above.
const APART: &str = "edge";
/// The layer without input, output and time, and what it therefore does not name.
const PURE: &str = "core";
const IMPURE: [&str; 11] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
    "rustix",
    "reqwest",
];

/// The most lines of `main.rs`.
const LONGEST_MAIN: usize = 39;
/// The most lines of any other file, its tests left out.
const LONGEST_FILE: usize = 600;

/// A path from the crate's root, or from another crate.
type Names = Vec<String>;

/// Why a module may not use a path of the crate; `None` if it may.
fn refusal(from: &[&str], to: &[String]) -> Option<String> {
    let rank = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    let (own, other) = (from[0], to[0].as_str());
    let Some(other_rank) = rank(other) else {
        return Some(format!("may not use `{other}`, which is no layer"));
    };
    if rank(own)? > other_rank {
        return Some(format!("may not use `{other}`, which stands above `{own}`"));
    }
    if own == ASKS && other == APART {
        return Some(format!("may not use `{}`: `{ASKS}` asks `app` for it", to.join("::")));
    }
    let another = own == APART && other == APART && to.get(1).map(String::as_str) != from.get(1).copied();
    another.then(|| format!("may not use `{}`: no module of `{APART}` knows another", to.join("::")))
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
    if !LAYERS.contains(&module[0]) {
        faults.push(format!("src/{path} is in no layer: {} are", LAYERS.join(", ")));
        return faults;
    }
    let Ok(tokens) = text.parse::<TokenStream>() else {
        faults.push(format!("src/{path} cannot be read as Rust"));
        return faults;
    };
    let mut used = Used::default();
    let place: Names = module.iter().map(|name| (*name).to_owned()).collect();
    paths_used(tokens, &place, &mut used);
    let refused: BTreeSet<String> = used.own.iter().filter_map(|to| refusal(&module, to)).collect();
    faults.extend(refused.iter().map(|why| format!("src/{path} {why}")));
    if module[0] == PURE {
        let is_impure = |name: &&String| {
            IMPURE.iter().any(|bad| {
                name.strip_prefix(bad).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            })
        };
        let impure = used.others.iter().filter(is_impure);
        faults.extend(impure.map(|name| format!("src/{path} may not use `{name}`: `{PURE}` is pure")));
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

/// What a file uses.
#[derive(Default)]
struct Used {
    /// Paths from the crate's root, to the second name.
    own: BTreeSet<Names>,
    /// Paths from other crates, to the third name.
    others: BTreeSet<String>,
}

/// Gathers the paths that a module at `place` names. Comments are not tokens, and
/// what stands behind `#[cfg(test)]` is passed over.
fn paths_used(tokens: TokenStream, place: &[String], used: &mut Used) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if is_cfg_test(&tokens[at..]) {
            at += end_of_item(&tokens[at..]);
            continue;
        }
        if let Some((steps, base)) = base_of(&tokens[at..], place) {
            at += steps;
            let mut found = Vec::new();
            names_at(&tokens[at..], base, 2, &mut found);
            used.own.extend(found.into_iter().filter(|names| !names.is_empty()));
            continue;
        }
        // `::std` begins one.
        let follows_a_path = at > 2
            && is_punct(tokens.get(at - 1), ':')
            && (ident(&tokens[at - 3]).is_some() || is_punct(tokens.get(at - 3), '>'));
        let is_method = at > 0 && is_punct(tokens.get(at - 1), '.');
        if ident(&tokens[at]).is_some() && is_punct(tokens.get(at + 1), ':') && !(follows_a_path || is_method)
        {
            let mut found = Vec::new();
            names_at(&tokens[at..], Vec::new(), 3, &mut found);
            used.others.extend(found.iter().map(|names| names.join("::")));
        }
        if let TokenTree::Group(group) = &tokens[at] {
            let mut inner = place.to_vec();
            if at >= 2 && ident(&tokens[at - 2]).as_deref() == Some("mod") {
                inner.extend(ident(&tokens[at - 1]));
            }
            paths_used(group.stream(), &inner, used);
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

/// Where a path with `crate` or `super` begins, counted from the crate's root, and
/// how many tokens say so, `::` included.
fn base_of(tokens: &[TokenTree], place: &[String]) -> Option<(usize, Names)> {
    let step = |at: usize, name: &str| {
        tokens.get(at).and_then(ident).is_some_and(|ident| ident == name)
            && is_punct(tokens.get(at + 1), ':')
            && is_punct(tokens.get(at + 2), ':')
    };
    if step(0, "crate") {
        return Some((3, Vec::new()));
    }
    let ups = (0..).take_while(|up| step(up * 3, "super")).count();
    (ups > 0).then(|| (ups * 3, place[..place.len().saturating_sub(ups)].to_vec()))
}

/// The paths that go on from `base` here, one for each branch in braces, cut off
/// after so many names.
fn names_at(tokens: &[TokenTree], mut base: Names, most: usize, found: &mut Vec<Names>) {
    if base.len() >= most {
        base.truncate(most);
        found.push(base);
        return;
    }
    match tokens.first() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let branches: Vec<TokenTree> = group.stream().into_iter().collect();
            for branch in
                branches.split(|token| is_punct(Some(token), ',')).filter(|branch| !branch.is_empty())
            {
                names_at(branch, base.clone(), most, found);
            }
        }
        Some(name @ (TokenTree::Ident(_) | TokenTree::Punct(_))) => {
            if name.to_string() != "self" {
                base.push(name.to_string());
            }
            match is_punct(tokens.get(1), ':') && is_punct(tokens.get(2), ':') {
                true => names_at(&tokens[3..], base, most, found),
                false => found.push(base),
            }
        }
        _ => found.push(base),
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

/// The public types that a file declares.
fn public_types(tokens: TokenStream, found: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            public_types(group.stream(), found);
        }
        let word = |at: usize| tokens.get(at).and_then(ident).unwrap_or_default();
        if word(at) == "pub" && ["struct", "enum", "trait", "type"].contains(&word(at + 1).as_str()) {
            found.push(word(at + 2));
        }
    }
}

/// Whoever reads `State` in a message of the compiler need not ask which.
#[test]
fn every_public_type_has_a_name_of_its_own() {
    let mut found = Vec::new();
    public_types(
        "pub struct A; mod m { pub enum B {} struct C; pub(crate) type D = A; }".parse().unwrap(),
        &mut found,
    );
    assert_eq!(found, ["A", "B"]);
    let mut at = std::collections::BTreeMap::<String, Vec<String>>::new();
    for (path, text) in sources() {
        let mut found = Vec::new();
        public_types(text.parse().unwrap(), &mut found);
        found.into_iter().for_each(|name| at.entry(name).or_default().push(path.clone()));
    }
    assert!(at.len() > 100, "the types were not found");
    at.retain(|_, paths| paths.len() > 1);
    assert!(at.is_empty(), "declared more than once: {at:#?}");
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
fn every_layer_has_modules() {
    let files = sources();
    for layer in LAYERS {
        let count = files.iter().filter(|(path, _)| path.starts_with(&format!("{layer}/"))).count();
        assert!(count > 1, "`{layer}` has no modules");
    }
}

fn faults_in(path: &str, text: &str) -> String {
    faults(&[(path.to_owned(), text.to_owned())]).join("\n")
}

#[test]
fn a_wrong_direction_is_found_however_it_is_written() {
    let above = |other: &str, own: &str| format!("may not use `{other}`, which stands above `{own}`");
    let apart = |other: &str| format!("may not use `{other}`: no module of `edge` knows another");
    for (path, text, fault) in [
        ("core/policy/guard.rs", "use crate::sys::process::Program;", above("sys", "core")),
        ("core/policy/guard.rs", "use super::super::super::edge::store;", above("edge", "core")),
        ("sys/https.rs", "use crate::edge::store::Store;", above("edge", "sys")),
        ("edge/store/zfs.rs", "fn f() { crate::app::run::g() }", above("app", "edge")),
        ("app/fleet.rs", "use crate::{core::model::host::Host, cli};", above("cli", "app")),
        ("edge/store/zfs.rs", "use crate::edge::remote::Remote;", apart("edge::remote")),
        ("edge/store/zfs.rs", "use crate::edge::{remote::Remote, store::Store};", apart("edge::remote")),
        ("edge/store/zfs.rs", "use super::super::remote;", apart("edge::remote")),
        ("edge/store.rs", "use super::remote;", apart("edge::remote")),
        ("edge/config.rs", "mod a { use super::super::tree; }", apart("edge::tree")),
        ("edge/report.rs", "#[error(\"{}\", crate::edge::remote::f(.0))] struct E;", apart("edge::remote")),
        ("edge/report.rs", "use crate::edge::*;", apart("edge::*")),
        ("core/format/text.rs", "use crate::*;", "may not use `*`, which is no layer".to_owned()),
        ("core/format/text.rs", "use crate::weather;", "may not use `weather`, which is no layer".to_owned()),
    ] {
        assert_eq!(faults_in(path, text), format!("src/{path} {fault}"), "{text}");
    }
}

#[test]
fn what_points_downwards_is_let_through() {
    for (path, text) in [
        ("cli/run.rs", "use crate::{app, core::format::text::printable};"),
        ("app/fleet.rs", "use crate::app::run; use crate::edge::store::Store; use crate::edge::remote;"),
        ("edge/store/zfs.rs", "use super::Store; use crate::sys::process::Program; use crate::core::model;"),
        ("edge/store/directory/place.rs", "use super::super::Store;"),
        ("edge/report/icinga.rs", "use crate::sys::https::Client; use super::table;"),
        ("sys/https.rs", "use crate::sys::process; use super::logging;"),
        ("core/policy/guard.rs", "use crate::core::model::snapshot::Facts; pub(crate) fn f() {}"),
        (
            "core/policy/guard.rs",
            "//! See [`crate::edge::store`].\n/// [`crate::cli`]\nfn f() { \"crate::sys\"; }",
        ),
        ("core/policy/guard.rs", "#[cfg(test)]\nmod tests { use crate::edge::store::Store; }\nfn f() {}"),
        ("edge/inventory/tests.rs", "use crate::edge::store::Store;"),
    ] {
        assert_eq!(faults_in(path, text), "", "{text}");
    }
}

#[test]
fn the_core_names_nothing_that_acts_or_waits() {
    for (text, name) in [
        ("use std::fs;", "std::fs"),
        ("use std::fs::File;", "std::fs::File"),
        ("use std::{fmt, fs::File};", "std::fs::File"),
        ("fn f() { std::process::exit(1) }", "std::process::exit"),
        ("use std::time::{Duration, Instant};", "std::time::Instant"),
        ("fn f() { let x = ::std::time::SystemTime::now(); }", "std::time::SystemTime"),
        ("use tokio::time::sleep;", "tokio::time::sleep"),
        ("fn f(file: rustix::fd::OwnedFd) {}", "rustix::fd::OwnedFd"),
    ] {
        let fault = format!("src/core/a.rs may not use `{name}`: `core` is pure");
        assert_eq!(faults_in("core/a.rs", text), fault, "{text}");
        assert_eq!(faults_in("sys/a.rs", text), "", "{text}");
    }
    let harmless = "use std::time::Duration; use std::fmt; fn f() { fs::read(); a.tokio::<b>(); }";
    assert_eq!(faults_in("core/a.rs", harmless), "");
}

#[test]
fn code_behind_the_tests_is_still_looked_at() {
    let text = "#[cfg(test)]\nuse crate::cli;\nfn f() { crate::edge::store::g() }";
    assert_eq!(
        faults_in("core/guard.rs", text),
        "src/core/guard.rs may not use `edge`, which stands above `core`"
    );
}

#[test]
fn a_file_outside_the_layers_is_a_fault() {
    let fault = "src/weather/rain.rs is in no layer: cli, app, edge, sys, core are";
    assert_eq!(faults_in("weather/rain.rs", "fn f() {}"), fault);
}

#[test]
fn files_that_grow_too_long_are_faults_and_their_tests_do_not_count() {
    let lines = |count: usize| "// a line\n".repeat(count);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(1000));
    assert_eq!(faults_in("core/guard.rs", &(lines(600) + &tests)), "");
    assert_eq!(
        faults_in("core/guard.rs", &(lines(601) + &tests)),
        "src/core/guard.rs has 601 lines of code, more than 600: split it"
    );
    assert_eq!(faults_in("main.rs", &lines(39)), "");
    assert_ne!(faults_in("main.rs", &lines(40)), "");
}
