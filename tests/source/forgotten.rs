//! No file of `tests/` is forgotten: each belongs to a program and is named by a
//! `mod` there. Cargo builds what it finds and says nothing of a file that nobody
//! names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The files by their path below `tests/`, each with its text.
type Files = BTreeMap<String, String>;

/// What every program may include.
const SHARED: &str = "support/mod.rs";

/// All that is wrong with these files.
fn faults(files: &Files) -> Vec<String> {
    files.keys().filter_map(|path| fault(path, files)).collect()
}

fn fault(path: &str, files: &Files) -> Option<String> {
    let Some((folder, name)) = path.rsplit_once('/') else {
        return Some(format!("tests/{path} is a program of its own: make it a module of one that is there"));
    };
    let is_root = path == SHARED || (name == "main.rs" && !folder.contains('/'));
    if is_root {
        return None;
    }
    let parents = [format!("{folder}/main.rs"), format!("{folder}/mod.rs"), format!("{folder}.rs")];
    let Some(parent) = parents.iter().find(|parent| files.contains_key(*parent)) else {
        return Some(format!("tests/{path} is in a folder of no program"));
    };
    let module = name.trim_end_matches(".rs");
    (!names(&files[parent], module))
        .then(|| format!("tests/{path} is forgotten: tests/{parent} does not name it"))
}

/// Whether a file has a line that names this module.
fn names(text: &str, module: &str) -> bool {
    let line = format!("mod {module};");
    text.lines().any(|own| {
        let own = own.trim();
        own == line || own.strip_prefix("pub ") == Some(&line)
    })
}

#[test]
fn every_file_of_the_tests_is_a_part_of_a_program() {
    let mut files = Files::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), "", &mut files);
    let programs = files.keys().filter(|path| path.ends_with("/main.rs")).count();
    assert!(programs > 1 && files.contains_key(SHARED) && files.len() > 50, "{:#?}", files.keys());
    assert_eq!(faults(&files), [""; 0]);
}

fn gather(folder: &Path, below: &str, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let path = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            gather(&entry.path(), &format!("{path}/"), files);
        } else if path.ends_with(".rs") {
            files.insert(path, fs::read_to_string(entry.path()).unwrap());
        }
    }
}

#[test]
fn a_file_that_no_program_reads_is_told() {
    let good = [
        ("cli/main.rs", "#[path = \"../support/mod.rs\"]\nmod support;\n\nmod check;\n"),
        ("cli/check.rs", "#[path = \"check\"]\nmod parts {\n    mod hosts;\n}\n"),
        ("cli/check/hosts.rs", ""),
        ("support/mod.rs", "pub mod rig;\n"),
        ("support/rig.rs", ""),
    ];
    let of = |more: &[(&str, &str)]| -> Files {
        let all = good.iter().chain(more);
        all.map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    };
    assert_eq!(faults(&of(&[])), [""; 0]);
    for (path, fault) in [
        ("find.rs", "tests/find.rs is a program of its own: make it a module of one that is there"),
        ("cli/find.rs", "tests/cli/find.rs is forgotten: tests/cli/main.rs does not name it"),
        ("cli/che.rs", "tests/cli/che.rs is forgotten: tests/cli/main.rs does not name it"),
        ("cli/check/store.rs", "tests/cli/check/store.rs is forgotten: tests/cli/check.rs does not name it"),
        ("support/tls.rs", "tests/support/tls.rs is forgotten: tests/support/mod.rs does not name it"),
        ("other/find.rs", "tests/other/find.rs is in a folder of no program"),
    ] {
        assert_eq!(faults(&of(&[(path, "")])), [fault]);
    }
    let commented = of(&[("cli/main.rs", "// mod check;\n")]);
    assert_eq!(faults(&commented), ["tests/cli/check.rs is forgotten: tests/cli/main.rs does not name it"]);
}
