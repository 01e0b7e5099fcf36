//! Filter rules as the real rsync reads them: on one machine, and sent to the
//! far side through a stand-in for ssh.

use backup::core::filter::{Apart, Rule, Selection, assemble, parse_lines, select, to_rsync};
use backup::core::model::host::Filesystems;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// How rsync reads its source.
#[derive(Debug, Clone, Copy)]
enum Via {
    /// From this machine.
    Local,
    /// From a far one: the rules go over the wire.
    Wire,
}

const BOTH: [Via; 2] = [Via::Local, Via::Wire];

/// A directory to copy, and places beside it.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    /// A source with these files, made with their directories; a name that
    /// ends with a slash is a directory.
    fn new<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Self {
        let lab = Lab { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(lab.path("src")).unwrap();
        // Ignores its first argument, the host, as ssh would use it.
        std::fs::write(lab.path("ssh"), "shift\nexec sh -c \"$*\"\n").unwrap();
        for name in names {
            let path = lab.path("src").join(OsStr::from_bytes(name.as_ref()));
            if name.as_ref().ends_with(b"/") {
                std::fs::create_dir_all(path).unwrap();
            } else {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "x").unwrap();
            }
        }
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Copies the source by the rules, over what an earlier copy has left
    /// there, and lists the copy; directories end with a slash.
    fn copy(&self, rules: &[Rule], via: Via) -> BTreeSet<Vec<u8>> {
        self.copy_by(&to_rsync(rules), via)
    }

    fn copy_by(&self, rules: &[u8], via: Via) -> BTreeSet<Vec<u8>> {
        let file = self.path("rules");
        std::fs::write(&file, rules).unwrap();
        let filter = format!("--filter=merge {}", file.display());
        self.rsync(&["--from0", &filter], via)
    }

    fn rsync(&self, args: &[&str], via: Via) -> BTreeSet<Vec<u8>> {
        let source = format!("{}/", self.path("src").display());
        let shell = format!("--rsh=sh {}", self.path("ssh").display());
        let far = format!("host:{source}");
        let mut all = vec!["-aH", "--delete", "--delete-excluded"];
        all.extend(args);
        match via {
            Via::Local => all.push(&source),
            Via::Wire => all.extend([shell.as_str(), far.as_str()]),
        }
        let to = self.path("dst");
        run_rsync(&all, &to);
        let mut found = BTreeSet::new();
        walk(&to, b"", &mut found);
        found
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an independent look at rsync, not through this program's own door"
)]
fn run_rsync(args: &[&str], to: &Path) {
    let output = std::process::Command::new("rsync").args(args).arg(to).env("LC_ALL", "C").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rsync {args:?}: {}: {said}", output.status);
    assert_eq!(said, "", "rsync {args:?}");
}

fn walk(dir: &Path, prefix: &[u8], found: &mut BTreeSet<Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let mut name = [prefix, &entry.file_name().into_vec()].concat();
        if entry.file_type().unwrap().is_dir() {
            name.push(b'/');
            walk(&entry.path(), &name, found);
        }
        found.insert(name);
    }
}

fn set<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> BTreeSet<Vec<u8>> {
    names.into_iter().map(|name| name.as_ref().to_vec()).collect()
}

/// Names that rsync, a shell or a line reader could take for something else.
const HOSTILE: [&[u8]; 44] = [
    b" leading",
    b"trailing ",
    b"\ttab\t",
    b"new\nline",
    b"\nleading newline",
    b"trailing newline\n",
    b"cr\rmiddle",
    b"trailing cr\r",
    b"quo'te",
    b"dou\"ble",
    b"$(touch x)",
    b"`id`",
    b"a;b",
    b"a|b",
    b"non\xff\xfeutf8",
    b"\xc3",
    b"!",
    b"!x",
    b"! x",
    b"#",
    b"# x",
    b";",
    b"; x",
    b"-",
    b"-x",
    b"- x",
    b"-- x",
    b"+",
    b"+x",
    b"+ x",
    b"-p x",
    b"-e sh",
    b"--delete",
    b". x",
    b": x",
    b"merge x",
    b"dir-merge,n x",
    b"include x",
    b"clear",
    b"H x",
    b"_x",
    b"_",
    b"back\\slash",
    b"\xf0\x9f\xa6\x80",
];

#[test]
fn a_pattern_of_any_bytes_leaves_out_that_name_and_no_other() {
    let kept = || HOSTILE.iter().map(|name| [name, &b"~"[..]].concat());
    let lab = Lab::new(HOSTILE.iter().map(|name| name.to_vec()).chain(kept()));
    let rules: Vec<Rule> = HOSTILE.iter().map(|name| Rule::exclude(*name).unwrap()).collect();
    for via in BOTH {
        assert_eq!(lab.copy(&rules, via), set(kept()), "{via:?}");
    }
}

#[test]
fn a_pattern_of_any_bytes_lets_in_that_name_and_no_other() {
    let others = HOSTILE.iter().map(|name| [name, &b"~"[..]].concat());
    let lab = Lab::new(HOSTILE.iter().map(|name| name.to_vec()).chain(others));
    let mut rules: Vec<Rule> = HOSTILE.iter().map(|name| Rule::include(*name).unwrap()).collect();
    rules.push(Rule::exclude("*").unwrap());
    for via in BOTH {
        assert_eq!(lab.copy(&rules, via), set(HOSTILE), "{via:?}");
    }
}

/// A tree with a path and all that could be taken for it, copied by one rsync
/// without the path and by another with nothing else, into one copy, in which
/// each deletes on its own ground alone.
#[test]
fn a_path_that_is_copied_apart_is_that_path_of_any_bytes_and_no_other() {
    let further: [&[u8]; 14] = [
        b"x", b"xx", b"ab", b"abc", b"abd", b"[!a]", b"[a-z]", b"]", b"^", b"*", b"?", b"a*", b"\\*", b"\\[",
    ];
    let names: BTreeSet<&[u8]> = HOSTILE.into_iter().chain(further).collect();
    let trees = |top: &[u8]| -> BTreeSet<Vec<u8>> {
        names.iter().flat_map(|name| [[top, name, b"/"].concat(), [top, name, b"/file"].concat()]).collect()
    };
    // Beside one another, and one below another of the same name.
    let files: Vec<Vec<u8>> = trees(b"").into_iter().chain(trees(b"x/")).collect();
    let lab = Lab::new(&files);
    let whole = lab.copy(&[], Via::Local);
    // Each name is apart from most others once, and together with some.
    for group in 0..6 {
        let via = BOTH[group % 2];
        let mine = names.iter().skip(group).step_by(6);
        let apart = Apart::new(mine.flat_map(|name| [[b"/", *name].concat(), [b"/x/", *name].concat()]));
        let is_apart = |path: &[u8]| {
            let absolute = [b"/", path.strip_suffix(b"/").unwrap_or(path)].concat();
            apart.paths().any(|top| absolute == top || absolute.starts_with(&[top, b"/"].concat()))
        };
        // What is in the copy alone must go, by the one rsync or the other.
        let stale: Vec<Vec<u8>> = whole.iter().filter(|path| path.ends_with(b"file")).cloned().collect();
        for path in &stale {
            let path = [path, &b".stale"[..]].concat();
            std::fs::write(lab.path("dst").join(OsStr::from_bytes(&path)), "").unwrap();
        }
        let is_stale = |path: &&Vec<u8>| path.ends_with(b".stale");
        let copy = lab.copy_by(&apart.for_the_others(&[]).unwrap(), via);
        assert!(copy.iter().filter(is_stale).all(|path| is_apart(path)), "group {group}, {via:?}");
        assert_eq!(copy.iter().filter(is_stale).count(), stale.iter().filter(|path| is_apart(path)).count());
        let copy = lab.copy_by(&apart.for_these(&[]).unwrap(), via);
        assert_eq!(copy, whole, "group {group}, {via:?}");
        // And each copies its part and no more into an empty place.
        for (rules, these) in
            [(apart.for_the_others(&[]).unwrap(), false), (apart.for_these(&[]).unwrap(), true)]
        {
            std::fs::remove_dir_all(lab.path("dst")).unwrap();
            let copy = lab.copy_by(&rules, via);
            let way = |path: &[u8]| {
                apart.way().contains(&[b"/", path.strip_suffix(b"/").unwrap_or(path)].concat()[..])
            };
            let expected = whole.iter().filter(|path| is_apart(path) == these || way(path)).cloned();
            assert_eq!(copy, expected.collect(), "group {group}, {via:?}, the paths: {these}");
        }
        lab.copy(&[], Via::Local);
    }
}

#[test]
fn a_leading_slash_means_the_top_of_the_copy() {
    let lab = Lab::new(["a", "b/a", "c", "b/c"]);
    let rules = [Rule::exclude("/a").unwrap(), Rule::exclude("c").unwrap()];
    for via in BOTH {
        assert_eq!(lab.copy(&rules, via), set(["b/", "b/a"]), "{via:?}");
    }
}

#[test]
fn patterns_that_match_nothing_sensible_do_no_harm() {
    let lab = Lab::new(["a", "b/c"]);
    let longest = vec![b'x'; backup::core::filter::LONGEST_PATTERN];
    let odd: [&[u8]; 9] = [b".", b"/", b"//", b"/.", b"..", b"[", b"x*\\", b"[[:", &longest];
    let rules: Vec<Rule> = odd.iter().map(|pattern| Rule::exclude(*pattern).unwrap()).collect();
    for via in BOTH {
        assert_eq!(lab.copy(&rules, via), set(["a", "b/", "b/c"]), "{via:?}");
    }
}

#[test]
fn a_client_can_leave_out_more_but_never_let_in_what_others_left_out() {
    let mountinfo = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
        2 1 0:9 / /nfs rw - nfs4 server:/x rw\n\
        3 1 0:8 / /run rw - tmpfs tmpfs rw\n\
        4 3 8:2 / /run/disk rw - ext4 /dev/sdb1 rw\n\
        5 3 8:3 / /run/more rw - ext4 /dev/sdc1 rw\n";
    let lab = Lab::new([
        "var/log/journal/x",
        "swap.img",
        "nfs/x",
        "run/x",
        "run/disk/x",
        "run/more/x",
        "secret/x",
        "own/x",
        "own/keep",
    ]);
    let rules_of = |text: &str| parse_lines(text.as_bytes(), "f").0;
    let standard = rules_of("/var/log/journal/\n/swap.img");
    let configured = rules_of("/secret/*");
    let mounts = select(mountinfo, "/", Filesystems::Local).unwrap();
    let client =
        rules_of("/run/disk\n!\n+ /own/keep\n+ *\n/own/*\n+ /nfs/x\n+ /secret/x\n+ /swap.img\n+ ***");
    let expected = set([
        "var/",
        "var/log/",
        "nfs/",
        "run/",
        "run/more/",
        "run/more/x",
        "secret/",
        "own/",
        "own/x",
        "own/keep",
    ]);
    for via in BOTH {
        assert_eq!(lab.copy(&assemble(&standard, &configured, &mounts, &client), via), expected, "{via:?}");
    }
}

#[test]
fn what_was_copied_before_a_rule_was_made_is_removed_from_the_copy() {
    let lab = Lab::new(["nfs/x", "a"]);
    assert_eq!(lab.copy(&[], Via::Wire), set(["nfs/", "nfs/x", "a"]));
    assert_eq!(lab.copy(&[Rule::exclude("/nfs/*").unwrap()], Via::Wire), set(["nfs/", "a"]));
}

#[test]
fn the_standard_rules_leave_the_directories_that_programs_expect() {
    let lab = Lab::new([
        "var/cache/apt/archives/x.deb",
        "var/cache/apt/archives/lock",
        "var/cache/apt/archives/partial/x.deb",
        "var/cache/apt/pkgcache.bin",
        "var/lib/apt/lists/deb.example.org_debian_dists_trixie_InRelease",
        "var/lib/apt/lists/lock",
        "home/me/.cache/x/y",
        "home/me/.config/x",
        "home/me/lost+found/x",
        "lost+found/",
        "proc/1/stat",
        "sys/x",
        "dev/null",
        "srv/proc/x",
        "tmp/x",
        "run/x",
        "swapfile",
        "srv/swapfile",
        "data/.zfs/snapshot/a/b",
        ".snapshots/1/snapshot/x",
        ".snapshots/1/info.xml",
        ".snapshots/daily.0/x",
        "var/lib/docker/overlay2/abc/merged/x",
        "var/lib/docker/overlay2/abc/diff/x",
        "snap/core/1/x",
        "snap/bin/core",
        "var/lib/systemd/coredump/core.x",
    ]);
    let expected = set([
        "var/",
        "var/cache/",
        "var/cache/apt/",
        "var/cache/apt/archives/",
        "var/cache/apt/archives/lock",
        "var/cache/apt/archives/partial/",
        "var/lib/",
        "var/lib/apt/",
        "var/lib/apt/lists/",
        "var/lib/apt/lists/lock",
        "home/",
        "home/me/",
        "home/me/.cache/",
        "home/me/.config/",
        "home/me/.config/x",
        "proc/",
        "sys/",
        "dev/",
        "dev/null",
        "srv/",
        "srv/proc/",
        "srv/proc/x",
        "tmp/",
        "tmp/x",
        "run/",
        "run/x",
        "srv/swapfile",
        "data/",
        ".snapshots/",
        ".snapshots/1/",
        ".snapshots/1/info.xml",
        ".snapshots/daily.0/",
        ".snapshots/daily.0/x",
        "var/lib/docker/",
        "var/lib/docker/overlay2/",
        "var/lib/docker/overlay2/abc/",
        "var/lib/docker/overlay2/abc/merged/",
        "var/lib/docker/overlay2/abc/diff/",
        "var/lib/docker/overlay2/abc/diff/x",
        "snap/",
        "snap/core/",
        "snap/core/1/",
        "snap/bin/",
        "snap/bin/core",
        "var/lib/systemd/",
        "var/lib/systemd/coredump/",
    ]);
    assert_eq!(lab.copy(&backup::core::filter::standard("/"), Via::Local), expected);
}

/// Names among which random patterns find something.
const NAMES: [&str; 22] = [
    "a", "b", "ab", "ba", "a b", " a", "a ", "-", "- a", "+", "+ a", "#", "# a", ";a", "!", "!a", "a/a",
    "a b/b", "b/a/b", "b/-", "#/a", "_a",
];

fn random_lines() -> impl Strategy<Value = Vec<u8>> {
    let piece = proptest::sample::select(vec![
        "a", "b", "a", "b", "*", "**", "?", "[ab]", "/", " ", "- ", "+ ", "#", ";", "\n", "\r\n", "\n", "\r",
        "\\", "_", "-", "+", "!", "\n- ", "\n+ ",
    ]);
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn lines_without_a_warning_mean_what_they_mean_to_rsyncs_exclude_from(file in random_lines()) {
        // The names `a` and `a/a` cannot both be there as files.
        let lab = Lab::new(NAMES.iter().filter(|name| !["a", "a b", "b", "#"].contains(*name)));
        let (rules, warnings) = parse_lines(&file, "f");
        prop_assume!(warnings.is_empty());
        std::fs::write(lab.path("lines"), &file).unwrap();
        let theirs = lab.rsync(&[&format!("--exclude-from={}", lab.path("lines").display())], Via::Local);
        let ours = lab.copy(&rules, Via::Local);
        prop_assert_eq!(ours, theirs);
    }
}

/// What a mount of the random trees is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Disk,
    Network,
    Automount,
    Private,
}

/// Mount points with odd names, some below others.
fn random_mounts() -> impl Strategy<Value = Vec<(Vec<u8>, Kind)>> {
    let part = proptest::sample::select(vec![&b"a"[..], b"b*", b"c\\", b"[d]", b"e f", b"\xff?", b"g\\*"]);
    let path = proptest::collection::vec(part, 1..5)
        .prop_map(|parts| parts.into_iter().flat_map(|part| [b"/", part].concat()).collect::<Vec<u8>>());
    let kind =
        proptest::sample::select(vec![Kind::Disk, Kind::Disk, Kind::Network, Kind::Automount, Kind::Private]);
    proptest::collection::btree_map(path, kind, 0..9).prop_map(|mounts| mounts.into_iter().collect())
}

/// The list as the kernel would write it, mounted at `/top` in the order of
/// the paths, so that none hides another.
fn mountinfo_of(mounts: &[(Vec<u8>, Kind)]) -> Vec<u8> {
    let mut text = b"1 0 8:0 / / rw - ext4 /dev/sda rw\n".to_vec();
    for (number, (path, kind)) in (2..).zip(mounts) {
        let above =
            mounts.iter().rposition(|(other, _)| path.starts_with(&[other.as_slice(), b"/"].concat()));
        let parent = above.map_or(1, |at| at + 2);
        let escaped: Vec<u8> = path
            .iter()
            .flat_map(|byte| match byte {
                b' ' => b"\\040".to_vec(),
                b'\\' => b"\\134".to_vec(),
                other => vec![*other],
            })
            .collect();
        let rest = match kind {
            Kind::Disk => "ext4 /dev/sdb rw",
            Kind::Network => "nfs4 server:/x rw",
            Kind::Automount => "autofs systemd-1 rw",
            Kind::Private => "fuse.x x rw,user_id=1000",
        };
        text.extend(format!("{number} {parent} 8:{number} / /top").into_bytes());
        text.extend(escaped);
        text.extend(format!(" rw shared:{number} - {rest}\n").into_bytes());
    }
    text
}

fn below(path: &[u8], base: &[u8]) -> bool {
    path == base || path.starts_with(&[base, b"/"].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn rsync_copies_the_disks_and_the_way_to_them_and_nothing_else(mounts in random_mounts()) {
        // A file and a directory in each directory, and neighbours that a
        // careless pattern would catch.
        let mut directories: BTreeSet<Vec<u8>> = BTreeSet::from([b"".to_vec()]);
        for (path, _) in &mounts {
            let ends = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
            directories.extend(ends.chain([path.len()]).map(|end| path[..end].to_vec()));
        }
        let neighbours: Vec<Vec<u8>> = directories
            .iter()
            .flat_map(|dir| [&b"/bx"[..], b"/d", b"/f", b"/c", b"/ax"].map(|name| [dir, name].concat()))
            .collect();
        directories.extend(neighbours);
        let lab = Lab::new(directories.iter().map(|dir| [&dir[1.min(dir.len())..], b"/file"].concat()).map(|name| {
            if name.starts_with(b"/") { name[1..].to_vec() } else { name }
        }));

        let selection: Selection = select(&mountinfo_of(&mounts), "/top/", Filesystems::Local).unwrap();
        prop_assert!(selection.warnings.is_empty());
        let copied = lab.copy(&selection.rules, Via::Local);

        let kind_of = |dir: &[u8]| {
            let nearest = mounts.iter().filter(|(path, _)| below(dir, path)).max_by_key(|(path, _)| path.len());
            nearest.map_or(Kind::Disk, |(_, kind)| *kind)
        };
        let leads_to_a_disk =
            |dir: &[u8]| mounts.iter().any(|(path, kind)| *kind == Kind::Disk && below(path, dir));
        let mut expected = BTreeSet::new();
        for dir in &directories {
            if kind_of(dir) == Kind::Disk {
                expected.insert([&dir[..], b"/file"].concat()[1..].to_vec());
            }
            let Some(slash) = dir.iter().rposition(|byte| *byte == b'/') else { continue };
            let mounted = mounts.iter().find(|(path, _)| path == dir).map(|(_, kind)| *kind);
            let shut = matches!(mounted, Some(Kind::Automount | Kind::Private));
            if leads_to_a_disk(dir) || kind_of(&dir[..slash]) == Kind::Disk && !shut {
                expected.insert([&dir[1..], b"/"].concat());
            }
        }
        prop_assert_eq!(copied, expected);
    }
}
