//! Faults of a host's files: too few of them, gone while they are copied, not
//! to be read, of another machine, and with names that want to be more.

use crate::support::on_every_store;
use crate::support::rig::*;
use crate::support::trees::*;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

on_every_store! {
    an_emptied_source_is_suspect_and_replaces_nothing,
    a_source_that_lost_most_of_its_files_is_suspect_until_the_operator_says_so,
    a_source_that_lost_just_half_of_its_files_is_good,
    a_file_that_cannot_be_read_makes_the_copy_partial,
    another_machine_behind_the_same_name_is_suspect_until_the_operator_says_so,
}

/// A rig with a host `Web` that has good copies of yesterday and of a day long
/// ago, with one more of that day, which the next good run removes.
struct Past {
    rig: Rig,
    source: PathBuf,
    yesterday: String,
    superfluous: String,
    before: std::collections::BTreeMap<PathBuf, String>,
}

/// Makes that past; `make` fills the source, and may change it once it has
/// been copied.
fn past(mut rig: Rig, make: impl Fn(&Path)) -> Past {
    let source = rig.near_host("Web", "");
    rig.near_host("Other", "");
    make(&source);
    rig.backup(&["web"]).exits(0);
    let yesterday = date_back(&rig, "web", "1 day ago");
    let superfluous = name_at("10:00 40 days ago");
    made_up(&rig, "web", &superfluous, "good");
    made_up(&rig, "web", &name_at("11:00 40 days ago"), "good");
    let before = listings(&rig, "web");
    Past { rig, source, yesterday, superfluous, before }
}

impl Past {
    /// Fails the test unless all snapshots of the past are there as they
    /// were, yesterday's is the latest, and one of this verdict has come.
    #[track_caller]
    fn assert_nothing_replaced_by(&self, verdict: &str) {
        let rig = &self.rig;
        assert_eq!(rig.verdicts("web"), ["good", "good", "good", verdict]);
        let mut now = listings(rig, "web");
        now.retain(|name, _| self.before.contains_key(name));
        assert_same(&self.before, &now);
        if !in_place(rig) {
            assert_eq!(latest(rig, "web"), self.yesterday);
            assert!(!being_written(rig, "web").exists());
        }
        assert_nothing_left(rig);
    }
}

fn an_emptied_source_is_suspect_and_replaces_nothing(rig: Rig) {
    let past = past(rig, |_| {});
    let rig = &past.rig;
    for entry in fs::read_dir(&past.source).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    for arguments in [&["all"][..], &["web", "--accept-deletions"]] {
        let ran = rig
            .backup(arguments)
            .exits(1)
            .says(
                "Web: CRITICAL: suspect copy: nothing besides 1 directory was copied; look whether `source`",
            )
            .says("; last good copy ");
        past.assert_nothing_replaced_by("suspect");
        if arguments == ["all"] {
            ran.says("Other: OK");
        }
        // The next one is to be told apart by its time.
        destroy(rig, "web", rig.snapshots("web").last().unwrap());
    }
    if in_place(rig) {
        // The accepted run emptied the dataset too; what counts is above, in
        // its snapshots.
        assert_eq!(fs::read_dir(being_written(rig, "web")).unwrap().count(), 0);
    }
    // Once the files are back, the host is well again, and tidied.
    rig.write(past.source.join("etc/hostname"), "Web\n");
    rig.write(past.source.join("srv/data"), "back\n");
    rig.backup(&["web"]).exits(0).says("Web: OK");
    assert_eq!(rig.verdicts("web"), ["good", "good", "good"]);
    assert!(!rig.snapshots("web").contains(&past.superfluous));
    assert_newest_is_latest(rig);
}

/// Fails the test unless people are shown the newest snapshot as the latest
/// copy, where there is such a sign.
#[track_caller]
fn assert_newest_is_latest(rig: &Rig) {
    if !in_place(rig) {
        assert_eq!(rig.snapshot("web", &latest(rig, "web")), rig.newest("web"));
    }
}

/// Files besides the six of every rig's host, so that there are a hundred.
fn hundred(source: &Path) {
    for number in 7..=100 {
        fs::write(source.join("srv").join(number.to_string()), number.to_string()).unwrap();
    }
}

fn remove(source: &Path, count: u32) {
    for number in 7..7 + count {
        fs::remove_file(source.join("srv").join(number.to_string())).unwrap();
    }
}

fn a_source_that_lost_most_of_its_files_is_suspect_until_the_operator_says_so(rig: Rig) {
    let past = past(rig, hundred);
    let rig = &past.rig;
    remove(&past.source, 60);
    let few = "only 40 files where the last good copy has 100, less than 50 %";
    // In place, deletions stop at half of a hundred. A fresh tree has none.
    let (why, not_deleted) = match in_place(rig) {
        true => ("more files are gone than can be right: rsync stopped after 50 deletions", 10),
        false => (few, 0),
    };
    rig.backup(&["all"])
        .exits(1)
        .says(&format!("Web: CRITICAL: suspect copy: {why}"))
        .says(few)
        .says("run `backup HOST --accept-deletions` once")
        .says("Other: OK");
    past.assert_nothing_replaced_by("suspect");
    // What is there was copied all the same: it may be all that is left.
    let left = differences(&past.source, &rig.newest("web"));
    assert!(left.lines().all(|line| line.starts_with("*deleting ")), "{left}");
    assert_eq!(left.lines().count(), not_deleted);

    let ran = rig.backup(&["web", "--accept-deletions"]).exits(0).says("Web: OK");
    let verdicts = rig.verdicts("web");
    assert_eq!(verdicts, ["good"; 3], "the suspect one and the superfluous one go:\n{}", ran.stderr);
    assert_newest_is_latest(rig);
    assert_eq!(differences(&past.source, &rig.newest("web")), "");
    // And that is the measure from now on.
    remove_more(&past.source);
    rig.backup(&["web"]).exits(0).says("Web: OK");
}

fn remove_more(source: &Path) {
    for number in 90..=100 {
        fs::remove_file(source.join("srv").join(number.to_string())).unwrap();
    }
}

fn a_source_that_lost_just_half_of_its_files_is_good(rig: Rig) {
    let past = past(rig, hundred);
    remove(&past.source, 50);
    past.rig.backup(&["web"]).exits(0).says("Web: OK: 50 files");
    assert_eq!(past.rig.verdicts("web"), ["good", "good", "good"]);
    assert!(!past.rig.snapshots("web").contains(&past.superfluous));
}

#[test]
fn the_configured_share_may_go() {
    let mut rig = Rig::new();
    rig.section("transfer", "max_delete_percent = 10\n");
    let past = past(rig, hundred);
    remove(&past.source, 11);
    past.rig.backup(&["web"]).exits(1).says("only 89 files where the last good copy has 100, less than 90 %");
    past.assert_nothing_replaced_by("suspect");
}

#[test]
fn a_file_that_vanishes_while_it_is_copied_is_a_note() {
    for (vanishing, told) in
        [(1, "1 file vanished while it was copied"), (3, "3 files vanished while they were copied")]
    {
        let mut rig = Rig::new();
        rig.section("transfer", "bandwidth_limit = \"400k\"\n");
        let source = rig.host("Web");
        rig.host("Other");
        // Files are sent in order: while this one is under way, those behind
        // it are known and not yet read.
        big_file(&source.join("srv/a"), 1);
        for number in 1..=5 {
            rig.write(source.join(format!("srv/z{number}")), "soon gone");
        }
        set_times(&source.join("srv"), 1_000_000_000, 0);
        let child = rig.start(&["all"]);
        let arriving = || {
            let entries = fs::read_dir(rig.join("store/web/.incomplete/srv")).into_iter().flatten();
            entries.flatten().any(|entry| entry.file_name().as_bytes().starts_with(b".a."))
        };
        rig.wait_until("the first file arrives", arriving);
        for number in 1..=vanishing {
            fs::remove_file(source.join(format!("srv/z{number}"))).unwrap();
        }
        let ran = Ran::from(finish(child)).exits(0).says("Other: OK");
        ran.says(&format!("Web: OK: {told}; "));
        assert_eq!(rig.verdicts("web"), ["good"]);
        // The directory's time is the one that it had when it was listed.
        assert_eq!(differences(&source, &rig.newest("web")), ".d..t...... srv/\n");
        assert_nothing_left(&rig);
    }
}

/// Lets those who log in to `Web` be nobody, whatever name they log in by.
fn nobody_logs_in(rig: &mut Rig) {
    rig.section("hosts.\"Web\"", "transport = \"ssh\"\naddress = \"127.0.0.1\"");
    let keys = fs::read_to_string(rig.join("authorized_keys")).unwrap();
    let command = "setpriv --reuid=65534 --regid=65534 --clear-groups sh -c \\\"$SSH_ORIGINAL_COMMAND\\\"";
    rig.write("authorized_keys", format!("command=\"{command}\" {keys}"));
    // Nobody has to get there.
    for folder in [rig.path(), &rig.join("hosts")] {
        set_mode(folder, 0o755);
    }
}

fn a_file_that_cannot_be_read_makes_the_copy_partial(rig: Rig) {
    let mut past = past(rig, |source| {
        fs::write(source.join("srv/secret"), "old").unwrap();
        fs::create_dir(source.join("srv/closed")).unwrap();
        fs::write(source.join("srv/closed/file"), "old").unwrap();
    });
    nobody_logs_in(&mut past.rig);
    let rig = &past.rig;
    fs::write(past.source.join("srv/secret"), "new").unwrap();
    set_mode(&past.source.join("srv/secret"), 0o600);
    fs::write(past.source.join("srv/open"), "for all").unwrap();
    set_mode(&past.source.join("srv/closed"), 0o700);
    rig.backup(&["web"])
        .exits(1)
        .says("Web: WARNING: partial copy: ")
        .says("srv/secret\": Permission denied (13)")
        .says(" (and 1 more error); ")
        .says("`root` is not root there")
        .says("; last good copy ");
    past.assert_nothing_replaced_by("partial");
    let copy = rig.newest("web");
    assert_eq!(fs::read_to_string(copy.join("srv/open")).unwrap(), "for all");
    // In place, what was there stays; a fresh tree never had it.
    for name in ["srv/secret", "srv/closed/file"] {
        let copied = fs::read_to_string(copy.join(name)).ok();
        assert_eq!(copied.as_deref(), in_place(rig).then_some("old"), "{name}");
    }
}

#[test]
fn a_directory_that_cannot_be_read_makes_the_copy_partial() {
    let mut past = past(Rig::new(), |_| {});
    nobody_logs_in(&mut past.rig);
    let rig = &past.rig;
    rig.write(past.source.join("srv/closed/file"), "");
    set_mode(&past.source.join("srv/closed"), 0o700);
    rig.backup(&["web"])
        .exits(1)
        .says("Web: WARNING: partial copy: ")
        .says("srv/closed\" failed: Permission denied (13)");
    past.assert_nothing_replaced_by("partial");
}

#[test]
fn names_that_want_to_be_more_are_only_names_in_messages_too() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    nobody_logs_in(&mut rig);
    fs::create_dir(source.join("closed")).unwrap();
    for name in HOSTILE_NAMES.iter().chain([&&b"x has vanished: y"[..]]) {
        let file = source.join("closed").join(OsStr::from_bytes(name));
        fs::write(&file, "").unwrap();
        set_mode(&file, 0);
    }
    let ran = rig
        .backup(&["all"])
        .exits(1)
        .says("Web: WARNING: partial copy: ")
        .says("(and 20 more errors)")
        .does_not_say("vanished while");
    let odd: Vec<char> = ran.stderr.chars().filter(|c| c.is_control() && *c != '\n').collect();
    assert!(odd.is_empty(), "control characters reach the terminal:\n{}", ran.stderr);
    assert_eq!(rig.verdicts("web"), ["partial"]);
    no_one_was_tricked(&rig);
}

/// No file of that name has come into being where a command could have made it.
#[track_caller]
fn no_one_was_tricked(rig: &Rig) {
    let here = std::env::current_dir().unwrap();
    for place in [rig.path(), &rig.join("hosts"), Path::new("/"), Path::new("/root"), &here] {
        assert!(!place.join("PWNED").exists(), "{} has been touched", place.display());
    }
}

#[test]
fn names_that_want_to_be_more_are_copied_as_they_are() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    names(&source.join("srv"));
    rig.backup(&["all"]).exits(0);
    assert_same(&listing(&source), &listing(&rig.newest("web")));
    no_one_was_tricked(&rig);
}

/// A run on a machine with this machine-id.
fn as_machine(rig: &Rig, id: &str, arguments: &[&str]) -> Ran {
    let folder = format!("machine-{id}");
    rig.write(Path::new(&folder).join("machine-id"), format!("{id}\n"));
    let script = "mount -t overlay -o \"lowerdir=$0:/etc\" overlay /etc && exec \"$@\"";
    let folder = rig.join(folder);
    let wrapper =
        ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, folder.to_str().unwrap()];
    finish(through(&wrapper, &rig.command(arguments)).spawn().unwrap()).into()
}

fn another_machine_behind_the_same_name_is_suspect_until_the_operator_says_so(mut rig: Rig) {
    let (one, two) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    rig.host_with("Web", "transport = \"local\"");
    if let Some(dataset) = &rig.dataset {
        // Made by the run, it would be mounted in that run's namespace alone.
        crate::support::pool::zfs(&["create", &dataset.child("web")]);
    }
    as_machine(&rig, one, &["all"]).exits(0);
    let yesterday = date_back(&rig, "web", "1 day ago");
    let before = listing(&rig.snapshot("web", &yesterday));

    as_machine(&rig, two, &["all"])
        .exits(1)
        .says("Web: CRITICAL: suspect copy: this looks like another machine")
        .says("run `backup HOST --accept-deletions` once")
        .does_not_say(two);
    assert_eq!(rig.verdicts("web"), ["good", "suspect"]);
    if !in_place(&rig) {
        assert_eq!(latest(&rig, "web"), yesterday);
    }

    // A suspect copy is no measure.
    rig.wait_until("the next second", || !rig.snapshots("web").contains(&name_at("now")));
    as_machine(&rig, one, &["all"]).exits(0).says("Web: OK");
    assert_eq!(rig.verdicts("web"), ["good", "good"]);
    assert_same(&before, &listing(&rig.snapshot("web", &yesterday)));

    date_back(&rig, "web", "20 hours ago");
    as_machine(&rig, two, &["web", "--accept-deletions"]).exits(0).says("Web: OK");
    as_machine(&rig, two, &["web"]).exits(0).says("Web: OK");
    as_machine(&rig, one, &["web"]).exits(1).says("this looks like another machine");
}

#[test]
fn an_ordinary_user_is_told_what_cannot_be_kept_before_anything_is_copied() {
    let mut rig = Rig::without_sshd();
    let source = rig.host("Web");
    fs::write(source.join("srv/open"), "for all").unwrap();
    chown(source.join("srv/open"), Some(4242), Some(4242)).unwrap();
    let key = rig.write("key", "");
    rig.section("ssh", &format!("identity_file = {key:?}\n"));
    for (directory, mode) in [("", 0o755), ("store", 0o700), ("key", 0o600)] {
        set_mode(&rig.join(directory), mode);
        chown(rig.join(directory), Some(65_534), Some(65_534)).unwrap();
    }
    let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let run = || Ran::from(finish(through(&wrapper, &rig.command(&["all"])).spawn().unwrap()));
    let ran = run().says("not running as root: owners, devices").says("Web: ");
    let (told, copied) = (ran.stderr.find("not running as root"), ran.stderr.find("Web: "));
    assert!(told < copied, "{}", ran.stderr);
    assert_eq!(fs::read_to_string(rig.newest("web").join("srv/open")).unwrap(), "for all");
    let first = date_back(&rig, "web", "1 day ago");

    fs::write(source.join("srv/secret"), "").unwrap();
    set_mode(&source.join("srv/secret"), 0o600);
    run().exits(1).says("Web: WARNING: partial copy: ").says("srv/secret\": Permission denied (13)");
    assert_eq!(rig.verdicts("web"), ["good", "partial"]);
    assert_eq!(latest(&rig, "web"), first);
    assert_nothing_left(&rig);
}

#[test]
fn hostile_names_of_hosts_are_faults_of_the_configuration() {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    let long = "x".repeat(255);
    let names = [
        "-e sh",
        "-oProxyCommand=touch PWNED",
        "a\nb",
        "it's",
        "\"quoted\"",
        "$(touch PWNED)",
        "`touch PWNED`",
        "trailing ",
        "../../etc",
        "a/b",
        "",
        ".",
        "..",
        "all",
        "ä",
        "\u{202e}olleh",
        &long,
    ];
    for name in names {
        rig.section(&format!("hosts.{}", toml_string(name)), "source = \"/srv\"\n");
    }
    let ran = rig.backup(&["all"]).exits(2);
    for name in names {
        let shown = backup::core::format::text::printable(name);
        assert!(ran.stderr.contains(&shown), "{name:?} is not named:\n{}", ran.stderr);
    }
    assert_eq!(ran.stderr.matches("is no host's name").count(), names.len(), "{}", ran.stderr);
    assert_eq!(fs::read_dir(rig.join("store")).unwrap().count(), 0, "something was begun");
    no_one_was_tricked(&rig);
}

/// A text as TOML writes it.
fn toml_string(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

#[test]
fn hostile_names_of_hosts_on_the_command_line_start_nothing() {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    let long = "x".repeat(255);
    for arguments in [
        &["-e sh"][..],
        &["--", "-e sh"],
        &["--", "-e"],
        &["--force", "--", "-e sh"],
        &["--force", "$(touch PWNED)"],
        &["--force", "a\nb"],
        &["--force", "../../etc"],
        &["--force", "web "],
        &["--force", ""],
        &["--force", &long],
        &["$(touch PWNED)"],
        &["a\nb"],
        &["it's"],
        &["web "],
        &[""],
        &[&long],
        &["web/../other"],
        &["web", "nobody-knows-me"],
    ] {
        let ran = rig.backup(arguments).exits(2);
        assert!(!ran.stderr.trim().is_empty(), "{arguments:?}: nothing is said");
        assert!(!ran.stderr.contains("a\nb"), "{arguments:?}:\n{}", ran.stderr);
        assert_eq!(fs::read_dir(rig.join("store")).unwrap().count(), 0, "{arguments:?} began something");
    }
    let mut command = rig.command(&[]);
    command.arg(OsStr::from_bytes(b"not \xff UTF-8"));
    Ran::from(finish(command.spawn().unwrap())).exits(2);
    no_one_was_tricked(&rig);
    rig.backup(&["--", "WEB"]).exits(0).says("Web: OK");
}

#[test]
fn a_byte_order_mark_in_an_exclude_file_is_no_part_of_its_first_pattern() {
    let mut rig = Rig::new();
    rig.host("vpn");
    let own = rig.write("own", "\u{feff}/srv/data\n");
    rig.section("excludes", &format!("files = [{own:?}]\n"));
    rig.write("backup-exclude.conf", "\u{feff}/etc/fstab\r\n");
    rig.backup(&["all"]).exits(0);
    let copy = rig.newest("vpn");
    assert!(copy.join("etc/hostname").exists());
    assert!(!copy.join("srv/data").exists(), "the operator's");
    assert!(!copy.join("etc/fstab").exists(), "the host's own");
}
