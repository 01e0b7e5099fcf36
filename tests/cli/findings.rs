//! Damage that `backup verify` found, through the real binary: it is not
//! forgotten before that very file is mended.

use crate::support::icinga::{Icinga, USER};
use crate::support::rig::*;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Gives a file other contents of the same length, and its time back.
fn damage(path: &Path) {
    let before = fs::metadata(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(before.modified().unwrap()).unwrap();
}

/// The configuration's Icinga, which hears of these hosts, and its metrics.
fn watched(rig: &mut Rig, hosts: &[&str]) -> Icinga {
    let icinga = Icinga::start(hosts);
    let lines = format!(
        "url = {:?}\nuser = {USER:?}\npassword_file = {:?}\nca_file = {:?}\n",
        icinga.url(),
        icinga.password_file(),
        icinga.ca_file()
    );
    rig.section("icinga", &lines);
    fs::create_dir(rig.join("metrics")).unwrap();
    rig.section("metrics", &format!("textfile = {:?}\n", rig.join("metrics/backup.prom")));
    icinga
}

#[track_caller]
fn has_metric(rig: &Rig, line: &str) {
    let text = fs::read_to_string(rig.join("metrics/backup.prom")).unwrap();
    assert!(text.contains(line), "`{line}` is missing in:\n{text}");
}

/// The exit status that Icinga knows of the host, and what it was told.
fn known(icinga: &Icinga, service: &str) -> (i64, String) {
    let result = icinga.result(service).unwrap();
    (result["exit_status"].as_i64().unwrap(), result["plugin_output"].as_str().unwrap().to_owned())
}

#[track_caller]
fn status(rig: &Rig, host: &str) -> Value {
    let ran = rig.backup(&["status", host, "--json"]);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    answer["hosts"][0].clone()
}

fn register(rig: &Rig, host: &str) -> PathBuf {
    rig.join(format!("state/findings/{host}.json"))
}

/// A file that is linked into every snapshot is damaged in all of them; the
/// next run does not believe its size and time.
#[test]
fn a_damaged_copy_is_critical_until_it_is_copied_anew_and_proven() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    rig.host("Db");
    let icinga = watched(&mut rig, &["Web!BACKUP-b32-1", "Db!BACKUP-b32-1"]);
    rig.section("retention", "daily = 1\nweekly = 1\nmonthly = 1\nyearly = 1\n");
    // Two names of one file: neither may stay as it is.
    fs::hard_link(source.join("etc/fstab"), source.join("srv/fstab")).unwrap();
    rig.backup(&["all"]).exits(0);
    let damaged = rig.newest("web");
    damage(&damaged.join("etc/fstab"));
    rig.backup(&["verify", "web"]).exits(1).says("a good run copies them anew");
    assert_eq!(known(&icinga, "Web!BACKUP-b32-1").0, 2);
    assert!(register(&rig, "web").exists() && !register(&rig, "db").exists());
    has_metric(&rig, "backup_verify_open_findings{server=\"b32-1\",host=\"Web\"} 2");
    // As if the sample had missed the other name.
    let mut open: Value = serde_json::from_slice(&fs::read(register(&rig, "web")).unwrap()).unwrap();
    open["findings"].as_array_mut().unwrap().retain(|finding| finding["path"] == "etc/fstab");
    fs::write(register(&rig, "web"), open.to_string()).unwrap();

    // A host that cannot be reached mends nothing.
    rig.replace("hosts.\"Web\"", &format!("port = {}\n", free_port()));
    rig.backup(&["web"]).exits(1);
    let (state, output) = known(&icinga, "Web!BACKUP-b32-1");
    assert!(state == 2 && output.contains("found wrong is not mended"), "{output}");
    let port = rig.sshd().port;
    rig.replace("hosts.\"Web\"", &format!("port = {port}\n"));

    let time = |snapshot: &Path| snapshot.join("etc").metadata().unwrap().modified().unwrap();
    let ran = rig.backup(&["all"]).exits(1);
    ran.says("1 file that `verify` found damaged was copied anew and compared").says("`etc/fstab`");
    let mended = rig.newest("web");
    assert_ne!(mended, damaged);
    for name in ["etc/fstab", "srv/fstab"] {
        assert_eq!(fs::read(mended.join(name)).unwrap(), b"# nothing\n", "{name}");
        assert_ne!(fs::read(damaged.join(name)).unwrap(), b"# nothing\n", "{name}: no snapshot is changed");
    }
    let inode = |name: &str| mended.join(name).metadata().unwrap().ino();
    assert_eq!(inode("etc/fstab"), inode("srv/fstab"), "still one file");
    assert_eq!(inode("srv/data"), damaged.join("srv/data").metadata().unwrap().ino(), "the rest is shared");
    assert_eq!(time(&mended), source.join("etc").metadata().unwrap().modified().unwrap());
    assert!(!register(&rig, "web").exists(), "proven, and closed");
    let (state, output) = known(&icinga, "Web!BACKUP-b32-1");
    assert!(state == 1 && output.contains("was copied anew"), "{output}");
    has_metric(&rig, "backup_verify_open_findings{server=\"b32-1\",host=\"Web\"} 0");
    assert_eq!(rig.snapshots("web").len(), 2, "nothing goes in the run that mends");
    rig.backup(&["verify", "--all"]).exits(0);
    rig.backup(&["all"]).exits(0);
    assert_eq!(known(&icinga, "Web!BACKUP-b32-1").0, 0);
    assert_eq!(rig.snapshots("web").len(), 1, "and then rotation goes on");
}

/// A run that cannot mend a file leaves it open, and everything says so.
#[test]
fn what_is_not_mended_stays_critical_everywhere() {
    let mut rig = Rig::new();
    rig.sudoer("");
    let source = rig.host_with("Web", "user = \"backup\"\n");
    let icinga = watched(&mut rig, &["Web!BACKUP-b32-1"]);
    for number in 0..40 {
        rig.write(source.join(format!("many/{number}")), "x");
    }
    rig.backup(&["all"]).exits(1);
    let first = rig.snapshots("web").remove(0);
    damage(&rig.newest("web").join("srv/data"));
    rig.backup(&["verify", "--all"]).exits(1).says("`srv/data`: same size and time, other contents");
    // Nobody may read it there, so that no copy of it can be whole.
    fs::set_permissions(source.join("srv/data"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    for _ in 0..2 {
        rig.backup(&["all"]).exits(1).says("not mended");
        let (state, output) = known(&icinga, "Web!BACKUP-b32-1");
        assert!(state == 2 && output.contains("found wrong is not mended"), "{output}");
        assert!(rig.snapshots("web").contains(&first), "it may hold the only whole version");
    }
    let host = status(&rig, "web");
    assert_eq!((&host["state"], &host["open_findings"]), (&"failed".into(), &1.into()), "{host:#}");
    let line = rig.backup(&["status", "--nagios"]).exits(2).stdout;
    assert!(line.starts_with("BACKUP CRITICAL") && line.contains("not mended"), "{line}");
    has_metric(&rig, "backup_host_state{server=\"b32-1\",host=\"Web\"} 2");
    has_metric(&rig, "backup_verify_open_findings{server=\"b32-1\",host=\"Web\"} 1");
    // A sample that may miss the file always has it, and closes nothing else.
    for _ in 0..3 {
        let ran = rig.backup(&["verify", "--sample", "1", "--json"]).exits(1);
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(answer["hosts"][0]["open"], serde_json::json!(["srv/data"]), "{answer:#}");
    }
    has_metric(&rig, "backup_verify_state{server=\"b32-1\",host=\"Web\"} 2");
    // It may be read again.
    fs::set_permissions(source.join("srv/data"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    rig.backup(&["all"]).exits(1).says("was copied anew and compared");
    assert_eq!(fs::read(rig.newest("web").join("srv/data")).unwrap(), b"some data\n");
    assert!(!register(&rig, "web").exists());
}

/// Also what rotates without a run.
#[test]
fn nothing_that_is_older_than_a_finding_is_removed_before_it_is_mended() {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    rig.section("retention", "daily = 1\nweekly = 1\nmonthly = 1\nyearly = 1\n");
    // With a hook that fails good copies pile up.
    rig.hook("fails", "exit 1\n");
    for _ in 0..2 {
        rig.backup(&["all"]).exits(1);
    }
    let first = rig.snapshots("web").remove(0);
    damage(&rig.newest("web").join("srv/data"));
    rig.backup(&["verify"]).exits(1);
    rig.backup(&["prune", "--force"]).exits(0);
    assert_eq!(rig.snapshots("web").len(), 2);
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&rig.backup(arguments).stdout).unwrap() };
    let why = serde_json::json!(["older than damage that is not mended"]);
    let plan = json(&["plan", "--json"]);
    let kept = plan["keep"].as_array().unwrap().iter().find(|kept| kept["snapshot"] == first.as_str());
    assert_eq!(kept.unwrap()["reasons"], why, "{plan:#}");
    assert_eq!(json(&["snapshots", "web", "--json"])[0]["reasons"], why);
    rig.backup(&["all"]).exits(1).says("was copied anew and compared");
    rig.backup(&["prune", "--force"]).exits(0);
    assert_eq!(rig.snapshots("web").len(), 1, "mended");
}

/// Names of any bytes are files, and never an option, a list or a pattern.
#[test]
fn files_of_any_name_are_mended_and_what_is_gone_or_excluded_is_closed() {
    for mut rig in [Rig::new(), Rig::without_sshd()] {
        let source = rig.host("Web");
        let odd: [&[u8]; 9] = [
            b"two\nlines",
            b"#hash",
            b";semi",
            b"-rf *",
            b"\xff\xfe",
            b"\\#012",
            b"[a-z]*?",
            b" blank ",
            b"100%",
        ];
        for name in odd {
            fs::write(source.join(OsStr::from_bytes(name)), "odd\n").unwrap();
        }
        // What a pattern among them would match.
        for name in ["a", "gone", "excluded", "link", "folder"] {
            rig.write(source.join(name), "text\n");
        }
        rig.backup(&["all"]).exits(0);
        let damaged = rig.newest("web");
        for name in odd.iter().copied().chain([&b"gone"[..], b"excluded", b"link", b"folder"]) {
            damage(&damaged.join(OsStr::from_bytes(name)));
        }
        rig.backup(&["verify", "--all"]).exits(1);
        for name in ["gone", "link", "folder"] {
            fs::remove_file(source.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", source.join("link")).unwrap();
        fs::create_dir(source.join("folder")).unwrap();
        rig.section("host_defaults", "exclude = [\"/excluded\"]\n");
        let ran = rig.backup(&["all"]).exits(1);
        let ran = ran.says("9 files that `verify` found damaged were copied anew and compared");
        ran.says("4 files that `verify` found wrong: the copy holds no such file any more");
        let mended = rig.newest("web");
        for name in odd {
            let path = mended.join(OsStr::from_bytes(name));
            assert_eq!(fs::read(path).unwrap(), b"odd\n", "{}", String::from_utf8_lossy(name));
        }
        let inode = |root: &Path| root.join("a").metadata().unwrap().ino();
        assert_eq!(inode(&mended), inode(&damaged), "of no interest, and shared");
        let times = [&mended, &source].map(|root| root.metadata().unwrap().modified().unwrap());
        assert_eq!(times[0], times[1], "the root has its time");
        assert!(!register(&rig, "web").exists());
        rig.backup(&["verify", "--all"]).exits(0);
        rig.backup(&["all"]).exits(0);
    }
}

#[test]
fn a_finding_is_closed_by_a_verification_that_finds_the_file_whole() {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    rig.backup(&["all"]).exits(0);
    let path = rig.newest("web").join("srv/data");
    let whole = fs::read(&path).unwrap();
    let time = path.metadata().unwrap().modified().unwrap();
    damage(&path);
    rig.backup(&["verify"]).exits(1);
    assert!(register(&rig, "web").exists());
    fs::write(&path, whole).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    rig.backup(&["verify", "--sample", "1"]).exits(0);
    assert!(!register(&rig, "web").exists());
    assert_eq!(status(&rig, "web")["state"], "good");
}

/// What runs would not see by themselves they are told by `verify`.
#[test]
fn a_change_that_runs_do_not_see_is_copied_by_the_next_run() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    rig.backup(&["all"]).exits(0);
    let name = rig.snapshots("web").remove(0);
    // The host changes it a day after the copy.
    let date = chrono::NaiveDateTime::parse_from_str(&name, "backup-%Y-%m-%dT%H%M%SZ").unwrap();
    let moved = (date - chrono::TimeDelta::days(1)).format("backup-%Y-%m-%dT%H%M%SZ").to_string();
    for end in ["", ".json"] {
        let at = |name: &str| rig.join("store/web/snapshots").join(format!("{name}{end}"));
        fs::rename(at(&name), at(&moved)).unwrap();
    }
    damage(&source.join("srv/data"));
    rig.backup(&["verify"]).exits(1).says("changed there on 20");
    assert_eq!(status(&rig, "web")["state"], "warning");
    rig.backup(&["all"]).exits(0).says("whose change runs had not seen: copied anew");
    let copy = rig.newest("web").join("srv/data");
    assert_eq!(fs::read(copy).unwrap(), fs::read(source.join("srv/data")).unwrap());
    rig.backup(&["verify"]).exits(0);
}

#[test]
fn findings_that_cannot_be_read_are_no_findings_that_are_gone() {
    let mut rig = Rig::without_sshd();
    rig.host("Web");
    rig.section("retention", "daily = 1\nweekly = 1\nmonthly = 1\nyearly = 1\n");
    rig.backup(&["all"]).exits(0);
    rig.write("state/findings/web.json", "{");
    rig.backup(&["all"]).exits(1).says("findings/web.json` cannot be read");
    assert_eq!(rig.snapshots("web").len(), 2, "what older ones are needed for is not known");
    rig.backup(&["prune", "--force"]).exits(1).says("nothing was removed: ");
    rig.backup(&["verify"]).exits(1).says("the findings could not be recorded");
    assert_eq!(status(&rig, "web")["state"], "failed");
    rig.backup(&["status", "--nagios"]).exits(2);
    // A history that is lost costs no finding.
    rig.write(
        "state/findings/web.json",
        "{\"findings\": [{\"path\": \"srv/data\", \"damage\": \"different\", \
        \"found\": \"2026-11-20T02:00:05Z\", \"snapshot\": \"backup-2026-11-20T020005Z\"}]}",
    );
    fs::write(rig.join("state/history.db"), "damaged").unwrap();
    rig.backup(&["all"]).exits(1).says("was copied anew and compared");
    rig.backup(&["all"]).exits(0);
}

/// Only a good snapshot closes a finding.
#[test]
fn a_copy_that_is_not_good_closes_nothing() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    for number in 0..40 {
        rig.write(source.join(format!("many/{number}")), "x");
    }
    rig.backup(&["all"]).exits(0);
    damage(&rig.newest("web").join("srv/data"));
    rig.backup(&["verify", "--all"]).exits(1);
    fs::remove_dir_all(source.join("many")).unwrap();
    rig.backup(&["all"]).exits(1).says("not mended");
    assert_eq!(rig.verdicts("web"), ["good", "suspect"]);
    assert!(register(&rig, "web").exists());
    rig.backup(&["all", "--accept-deletions"]).exits(1).says("was copied anew and compared");
    assert!(!register(&rig, "web").exists());
}

#[test]
#[ignore = "needs a pool: `make vm`"]
fn a_damaged_file_of_a_pool_is_copied_anew() {
    let mut rig = Rig::on_zfs();
    let source = rig.near_host("Web", "");
    fs::hard_link(source.join("etc/fstab"), source.join("srv/fstab")).unwrap();
    rig.backup(&["all"]).exits(0);
    // What the pool holds cannot be damaged from here; what runs do not see
    // is the same to them.
    damage(&source.join("etc/fstab"));
    rig.backup(&["verify", "--all"]).exits(1);
    assert!(register(&rig, "web").exists());
    rig.backup(&["all"]);
    for name in ["etc/fstab", "srv/fstab"] {
        let there = fs::read(source.join(name)).unwrap();
        assert_eq!(fs::read(rig.newest("web").join(name)).unwrap(), there, "{name}");
    }
    assert!(!register(&rig, "web").exists());
    rig.backup(&["verify", "--all"]).exits(0);
}
