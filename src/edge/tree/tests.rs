use super::*;
use crate::core::files::diff::Change;
use crate::core::files::path_glob::Pattern;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// A folder of trees, each made of paths: a directory if it ends with `/`, a
/// symlink if it says where to, else a file with its content after `=`.
fn trees(all: &[&[&str]]) -> (TempDir, Vec<Tree>) {
    let dir = tempfile::tempdir().unwrap();
    let trees = all.iter().enumerate().map(|(number, paths)| {
        let root = dir.path().join(number.to_string());
        fs::create_dir(&root).unwrap();
        for path in *paths {
            make(&root, path);
        }
        Tree::open(&root).unwrap()
    });
    let trees = trees.collect();
    (dir, trees)
}

fn make(root: &Path, path: &str) {
    let (name, content) = path.split_once('=').unwrap_or((path, ""));
    let (name, target) = name.split_once("->").map_or((name, None), |(name, target)| (name, Some(target)));
    let place = root.join(name);
    if name.ends_with('/') {
        fs::create_dir_all(place).unwrap();
        return;
    }
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    match target {
        Some(target) => symlink(target, place).unwrap(),
        None => {
            fs::write(&place, content).unwrap();
            // Files that are made in one moment differ in that.
            let file = fs::File::options().write(true).open(&place).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    }
}

/// A chain of directories of this depth, with a file at its end; longer than
/// any path that the kernel takes.
fn chain(root: &Path, depth: usize) {
    let mut at = rustix::fs::openat(CWD, root, READ | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, "deep", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "deep", READ | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    drop(rustix::fs::openat(&at, "end", flags, Mode::RUSR).unwrap());
}

fn found(trees: &[Tree], pattern: &str) -> (Vec<String>, Searched) {
    let pattern = Pattern::new(pattern.as_bytes(), false).unwrap();
    let mut paths = Vec::new();
    let searched = search(trees, &pattern, false, |found| {
        let spans = found.versions.iter().map(|v| format!("{}-{}", v.first, v.last));
        let spans: Vec<String> = spans.collect();
        paths.push(format!("{} {}", String::from_utf8_lossy(&found.path), spans.join(" ")));
        Ok::<(), ()>(())
    });
    (paths, searched.unwrap())
}

fn different(trees: Vec<Tree>, path: &str, bytes: bool) -> Result<Vec<String>, Gone> {
    let trees: [Tree; 2] = trees.try_into().unwrap();
    let mut lines = Vec::new();
    compare(&trees, path.as_bytes(), bytes, |told| {
        lines.push(format!("{} {}", told.difference.change().letter(), String::from_utf8_lossy(&told.path)));
        Ok::<(), Gone>(())
    })?;
    Ok(lines)
}

#[test]
fn a_directory_is_listed_by_name_with_kinds_and_inodes() {
    let (dir, trees) = trees(&[&["b/", "a=text", "l->a"]]);
    let odd = OsStr::from_bytes(b"\xff\n");
    fs::write(dir.path().join("0").join(odd), "").unwrap();
    let root = trees[0].directory(b"").unwrap();
    let mut listing = Listing::default();
    root.list(&mut listing, |name, _| name != b"skipped").unwrap();
    listing.sort();
    let listed: Vec<(&[u8], Option<Kind>)> =
        listing.names().iter().map(|listed| (listing.name(listed).to_bytes(), listed.kind)).collect();
    let expected: [(&[u8], _); 4] = [
        (b"a", Some(Kind::File)),
        (b"b", Some(Kind::Directory)),
        (b"l", Some(Kind::Symlink)),
        (b"\xff\n", Some(Kind::File)),
    ];
    assert_eq!(listed, expected);
    assert_eq!(root.entry(c"a").unwrap().inode, listing.names()[0].inode);
    assert_eq!(root.target(c"l").unwrap(), b"a");
    root.list(&mut listing, |name, _| name == b"a").unwrap();
    assert_eq!(listing.names().len(), 1, "nothing is left of the one before");
}

#[test]
fn no_symlink_is_followed_below_a_root() {
    let (dir, trees) = trees(&[&["real/file", "link->real", "up->.."]]);
    for goes_paths in [true, false] {
        trees[0].goes_paths.set(goes_paths);
        assert!(trees[0].directory(b"real").is_ok());
        for path in ["link", "up", "up/0", "real/file"] {
            let refusal = trees[0].directory(path.as_bytes()).unwrap_err();
            assert!(is_absent(refusal), "{path}: {refusal}");
        }
        assert_eq!(trees[0].entry(b"link/file").unwrap(), None);
        assert_eq!(trees[0].entry(b"link").unwrap().unwrap().kind, Kind::Symlink);
    }
    let root = trees[0].directory(b"").unwrap();
    assert_eq!(root.file(c"link").unwrap_err(), Errno::LOOP);
    symlink(dir.path().join("0"), dir.path().join("link")).unwrap();
    assert!(Tree::open(&dir.path().join("link")).is_err());
}

#[test]
fn what_exists_of_a_path_is_found() {
    let (_dir, trees) = trees(&[&["etc/ssh/config", "link->etc"]]);
    for (path, near, kind) in [
        ("etc/ssh/config", "etc/ssh/config", Kind::File),
        ("etc/ssh/config/x", "etc/ssh/config", Kind::File),
        ("etc/sshd/x/y", "etc", Kind::Directory),
        ("link/ssh", "link", Kind::Symlink),
        ("x", "", Kind::Directory),
    ] {
        assert_eq!(trees[0].nearest(path.as_bytes()), (near.as_bytes().to_vec(), Some(kind)), "{path}");
    }
}

#[test]
fn long_paths_are_gone_in_steps_of_whole_components() {
    for (path, longest, step, rest) in [
        ("a/b", 10, "a/b", ""),
        ("a/b", 3, "a/b", ""),
        ("a/b", 2, "a", "b"),
        ("aa/bb/cc", 5, "aa/bb", "cc"),
        ("aa/bb/cc", 4, "aa", "bb/cc"),
        ("aaaa/b", 2, "aaaa", "b"),
        ("a/b", 0, "a", "b"),
        ("a", 0, "a", ""),
    ] {
        assert_eq!(
            split(path.as_bytes(), longest),
            (step.as_bytes(), rest.as_bytes()),
            "{path} by {longest}"
        );
    }
}

#[test]
fn trees_deeper_than_any_path_are_read_to_their_ends() {
    let (dir, trees) = trees(&[&[], &[]]);
    for tree in ["0", "1"] {
        chain(&dir.path().join(tree), 5000);
    }
    let (paths, searched) = found(&trees, "end");
    assert_eq!((paths.len(), searched.entries, searched.unread), (1, 10_002, 0));
    let long = format!("{}end", "deep/".repeat(5000));
    assert_eq!(trees[0].entry(long.as_bytes()).unwrap().unwrap().kind, Kind::File);
    trees[1].goes_paths.set(false);
    assert_eq!(trees[1].entry(long.as_bytes()).unwrap().unwrap().kind, Kind::File);
    let below = trees[0].directory(&long.as_bytes()[..4999 * 5]).unwrap();
    let end = below.directory(b"deep").unwrap();
    rustix::fs::unlinkat(&end, c"end", AtFlags::empty()).unwrap();
    assert_eq!(different(trees, "", false).unwrap(), [format!("+ {long}")]);
}

#[test]
fn a_walk_comes_back_from_below_to_the_right_places() {
    // Names of one depth, trees that have some of them alone, and files among them.
    let (_dir, trees) = trees(&[
        &["a/a/x", "a/b/x", "b/a/x", "c/x", "c/d/e/f/x", "x"],
        &["a/a/x", "b/a/x", "b/b/x", "d/x", "c/d/e/x"],
        &["a/b/x/", "b->a", "c/d=file"],
    ]);
    let (paths, searched) = found(&trees, "x");
    assert_eq!(
        paths,
        [
            "x 0-0",
            "a/a/x 0-1",
            "a/b/x 2-2 0-0",
            "b/a/x 0-1",
            "b/b/x 1-1",
            "c/x 0-0",
            "c/d/e/x 1-1",
            "c/d/e/f/x 0-0",
            "d/x 1-1",
        ]
    );
    assert_eq!((searched.paths, searched.versions, searched.unread), (9, 10, 0));
    let (paths, _) = found(&trees, "/c/d/");
    assert_eq!(paths, ["c/d 0-1"], "a file of that name is none");
    let (paths, searched) = found(&trees, "/c/d/e/x");
    assert_eq!((paths, searched.entries), (vec!["c/d/e/x 1-1".to_owned()], 2), "nothing was listed");
    assert_eq!(found(&trees, "/").0, [" 0-2"]);
    assert_eq!(found(&trees, "/nowhere/*").0, [""; 0]);
}

#[test]
fn all_differences_are_found_wherever_they_lie() {
    let (dir, trees) = trees(&[
        &["a/same=1", "a/gone", "b/x", "d/e/f", "kind/below", "l->a", "m=12"],
        &["a/same=1", "a/came", "c/x", "d/e/g", "kind=now a file", "l->b", "m=123"],
    ]);
    assert_eq!(
        different(trees, "", false).unwrap(),
        [
            "- b",
            "+ c",
            "T kind",
            "M l",
            "M m",
            "+ a/came",
            "- a/gone",
            "- b/x",
            "+ c/x",
            "- d/e/f",
            "+ d/e/g",
            "- kind/below",
        ]
    );
    let again = || ["0", "1"].map(|tree| Tree::open(&dir.path().join(tree)).unwrap()).into();
    assert_eq!(different(again(), "a", false).unwrap(), ["+ a/came", "- a/gone"]);
    assert_eq!(different(again(), "m", false).unwrap(), ["M m"]);
    assert_eq!(different(again(), "b", false).unwrap(), ["- b", "- b/x"]);
    assert_eq!(different(again(), "a/same", true).unwrap(), [""; 0]);
}

#[test]
fn bytes_are_compared_where_that_is_asked_for() {
    for (old, new, bytes, expected, reason) in [
        ("f=one", "f=two", false, &[][..], "one size and time"),
        ("f=one", "f=two", true, &["M f"], "other bytes"),
        ("f=one", "f=one", true, &[], "the same bytes"),
    ] {
        let (_dir, trees) = trees(&[&[old], &[new]]);
        assert_eq!(different(trees, "", bytes).unwrap(), expected, "{reason}");
    }
}

#[test]
fn a_tree_that_is_removed_meanwhile_has_not_lost_its_files() {
    let paths: Vec<String> = (0..10).flat_map(|d| (0..10).map(move |f| format!("{d}/{f}"))).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let more: Vec<&str> = paths.iter().copied().chain(["0/more"]).collect();
    for (tree, name) in ["0", "1"].into_iter().enumerate() {
        let (dir, trees) = trees(&[&paths, &more]);
        let trees: [Tree; 2] = trees.try_into().unwrap();
        let mut told = 0;
        let result = compare(&trees, b"", false, |_| {
            told += 1;
            // As the store does it: away by its root, and then file by file.
            let removing = dir.path().join("removing");
            fs::rename(dir.path().join(name), &removing).unwrap();
            fs::remove_dir_all(removing).unwrap();
            Ok::<(), Gone>(())
        });
        assert_eq!((result, told), (Err(Gone(tree)), 1));
    }
}

#[test]
fn a_search_goes_on_without_a_tree_that_is_removed_meanwhile() {
    let (dir, trees) = trees(&[&["a/x", "b/x", "x"], &["a/x", "b/x", "x"]]);
    let pattern = Pattern::new(b"x", false).unwrap();
    let mut paths = Vec::new();
    let searched = search(&trees, &pattern, false, |found| {
        let _ = fs::remove_dir_all(dir.path().join("0"));
        paths.push((found.path, found.versions[0].last));
        Ok::<(), ()>(())
    });
    let paths: BTreeSet<_> =
        paths.into_iter().map(|(path, last)| (String::from_utf8(path).unwrap(), last)).collect();
    assert_eq!(paths.len(), 3);
    assert!(paths.iter().all(|(_, last)| *last == 1));
    let searched = searched.unwrap();
    assert_eq!((searched.gone, searched.unread), (vec![0], 0));
}

#[test]
fn attributes_and_access_control_lists_are_compared() {
    let (dir, trees) = trees(&[&["f", "d/", "l->f"], &["f", "d/", "l->f"]]);
    let set = |path: &str, name: &str, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(dir.path().join(path), name, value, flags).unwrap();
    };
    set("0/f", "user.same", b"1");
    set("1/f", "user.same", b"1");
    set("1/f", "user.big", &[7; 3000]);
    set("0/d", "user.one", b"1");
    set("1/d", "user.one", b"2");
    let trees: [Tree; 2] = trees.try_into().unwrap();
    let mut told = Vec::new();
    compare(&trees, b"", false, |one| {
        assert_eq!(one.difference.change(), Change::Metadata);
        told.push(one.path);
        Ok::<(), Gone>(())
    })
    .unwrap();
    assert_eq!(told, [b"d", b"f"]);
    assert!(content::is_acl(b"system.posix_acl_access") && !content::is_acl(b"user.acl"));
}

#[test]
fn a_huge_directory_is_listed_a_part_at_a_time() {
    let names: Vec<String> = (0..25).map(|number| format!("{:02}", number * 7 % 25)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (_dir, trees) = trees(&[&names]);
    let root = trees[0].directory(b"").unwrap();
    let mut listing = Listing::of_most(4);
    let mut parts = Vec::new();
    loop {
        root.list(&mut listing, |_, _| true).unwrap();
        listing.sort();
        let part = listing.names().iter().map(|listed| listing.name(listed).to_str().unwrap().to_owned());
        parts.push(part.collect::<Vec<_>>());
        if !listing.go_on() {
            break;
        }
    }
    let expected: Vec<String> = (0..25).map(|number| format!("{number:02}")).collect();
    assert_eq!(parts.concat(), expected);
    assert!(parts.len() >= 4 && parts.iter().all(|part| part.len() < 8), "{parts:?}");
    listing.begin();
    listing.stop_at(b"02");
    root.list(&mut listing, |name, _| name != b"01").unwrap();
    assert_eq!(listing.names().len(), 2, "of another listing's part");
}

#[test]
fn nothing_of_a_huge_directory_is_lost_or_told_twice() {
    // Numbers of files, which each tree has a share of.
    let name = |number: u32| format!("{:03}", number * 31 % 101);
    let has = |tree: u32, number: &u32| tree == 3 || number % (tree + 2) != 0;
    let names = |tree| (0..101).filter(|number| has(tree, number)).map(name).collect::<Vec<_>>();
    let all: Vec<Vec<String>> = (0..4).map(names).collect();
    let all: Vec<Vec<&str>> = all.iter().map(|names| names.iter().map(String::as_str).collect()).collect();
    let slices: Vec<&[&str]> = all.iter().map(Vec::as_slice).collect();
    let (dir, trees) = trees(&slices);
    let pattern = Pattern::new(b"*", false).unwrap();
    let mut told = Vec::new();
    let searched = search(&trees, &pattern, false, |found| {
        told.push((String::from_utf8(found.path).unwrap(), found.versions[0].count));
        Ok::<(), ()>(())
    });
    let count = |number: u32| (0..4).filter(|tree| has(*tree, &number)).count() as u32;
    let mut expected: Vec<(String, u32)> = (0..101).map(|number| (name(number), count(number))).collect();
    expected.sort();
    assert_eq!(told, expected);
    assert_eq!(searched.unwrap().entries as usize, all.iter().map(Vec::len).sum::<usize>());

    let mut expected: Vec<String> = (0..101)
        .filter_map(|number| match (has(0, &number), has(1, &number)) {
            (true, false) => Some(format!("- {}", name(number))),
            (false, true) => Some(format!("+ {}", name(number))),
            _ => None,
        })
        .collect();
    expected.sort_by_key(|line| line[2..].to_owned());
    let two = ["0", "1"].map(|tree| Tree::open(&dir.path().join(tree)).unwrap());
    assert_eq!(different(two.into(), "", false).unwrap(), expected);
}
