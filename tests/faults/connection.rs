//! Hosts that cannot be reached, fall silent, or are not what a copy needs:
//! each is told apart, nothing is lost, and the other hosts of the run do not
//! notice.

use crate::support::on_directories;
use crate::support::rig::*;
use crate::support::trees::*;
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Child;

// On a pool, `tests/pool/crash.rs` kills connections at every step.
on_directories! {
    a_host_that_dies_while_it_is_copied_has_failed,
    a_host_that_comes_back_is_copied_without_sending_again_what_it_had_sent,
    a_connection_lost_in_a_hook_fails_that_hook_and_the_copy_is_made_over_a_new_one,
    a_frozen_rsync_is_given_up_when_nothing_moves_any_more,
}

fn known(rig: &Rig) -> String {
    fs::read_to_string(rig.join("known_hosts")).unwrap()
}

/// A rig with a healthy host, `Web`, and one that is to have a fault, `Db`,
/// which has a good snapshot already.
struct Pair {
    rig: Rig,
    web: PathBuf,
    db: PathBuf,
    before: Vec<String>,
}

impl Pair {
    fn new() -> Self {
        let mut rig = Rig::new();
        let db = rig.host("Db");
        rig.backup(&["db"]).exits(0);
        let before = rig.snapshots("db");
        assert_eq!(before.len(), 1);
        Pair { web: rig.host("Web"), rig, db, before }
    }

    /// Gives `Db` other settings from now on.
    fn with(mut self, lines: &str) -> Self {
        self.rig.section("hosts.\"Db\"", lines);
        self
    }

    /// Lets an sshd of its own, whose key is known, stand for `Db`.
    fn with_sshd(self, setup: &Setup<'_>) -> (Self, Sshd) {
        let mut sshd = Sshd::start(&self.rig.join("sshd"));
        sshd.start_again_with(setup);
        fs::write(self.rig.join("known_hosts"), known(&self.rig) + &sshd.known_hosts_line()).unwrap();
        (self.with(&format!("port = {}", sshd.port)), sshd)
    }

    /// Runs all hosts, of which `Db` alone must fail.
    #[track_caller]
    fn fails(&self) -> Ran {
        let ran = self.rig.backup(&["all"]);
        self.failed(ran)
    }

    /// What must hold after a run in which `Db` failed.
    #[track_caller]
    fn failed(&self, ran: Ran) -> Ran {
        let ran = ran.exits(1).says("Web: OK: ").says("Db: CRITICAL: ").says("; last good copy 20");
        assert_eq!(differences(&self.web, &self.rig.newest("web")), "");
        assert_eq!(self.rig.snapshots("db"), self.before);
        assert_eq!(self.rig.verdicts("db"), ["good"]);
        assert_eq!(differences(&self.db, &self.rig.newest("db")), "");
        ran
    }
}

#[test]
fn an_unknown_host_key_is_refused_and_nothing_is_copied() {
    let mut rig = Rig::new();
    let web = rig.host("Web");
    let mut stranger = Sshd::start(&rig.join("stranger"));
    rig.host_with("Db", &format!("port = {}", stranger.port));
    let known = fs::read(rig.join("known_hosts")).unwrap();
    rig.backup(&["all"])
        .exits(1)
        .says("Db: CRITICAL: connect failed: the host key of `127.0.0.1` is not known (`backup check --trust-host-keys Db`")
        .says("no good copy known")
        .says("Web: OK: ");
    assert_eq!(fs::read(rig.join("known_hosts")).unwrap(), known);
    assert_eq!(rig.snapshots("db"), [""; 0]);
    assert!(!rig.join("store/db/.incomplete/etc").exists(), "something was copied");
    assert_eq!(differences(&web, &rig.newest("web")), "");
    assert_eq!(stranger.accepted(), 1);
    assert!(!stranger.logs_now("Accepted publickey"), "our key was shown to a stranger");
}

#[test]
fn a_changed_host_key_is_refused_with_the_remedy() {
    let (pair, mut sshd) = Pair::new().with_sshd(&Setup::default());
    sshd.change_key();
    let (before, file) = (known(&pair.rig), pair.rig.join("known_hosts"));
    pair.fails()
        .says("Db: CRITICAL: connect failed: the host key of `127.0.0.1` is not the one in `")
        .says(&format!("`ssh-keygen -f {} -R '[127.0.0.1]:{}'`", file.display(), sshd.port));
    assert_eq!(known(&pair.rig), before);
}

#[test]
fn a_refused_connection_is_named() {
    let port = free_port();
    Pair::new().with(&format!("port = {port}")).fails().says(&format!(
        "connect failed: `127.0.0.1` refuses connections to port {port} (is sshd running there?)"
    ));
}

#[test]
fn a_name_that_dns_does_not_know_is_named() {
    Pair::new()
        .with("address = \"no-such-host.invalid\"")
        .fails()
        .says("connect failed: no address is known for `no-such-host.invalid` (is it in DNS, or is `domain` missing?)");
}

#[test]
fn a_host_that_refuses_our_key_is_named_with_the_user() {
    let (pair, sshd) = Pair::new().with_sshd(&Setup::default());
    sshd.forget_keys();
    pair.fails()
        .says("connect failed: `root@127.0.0.1` rejected the login")
        .says("(add this server's public key to `root`'s authorized_keys there)");
}

#[test]
fn a_host_that_accepts_and_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut pair = Pair::new().with(&format!("port = {}", silent.local_addr().unwrap().port()));
    pair.rig.section("ssh", "connect_timeout = \"2s\"");
    pair.fails()
        .says("connect failed: `127.0.0.1` did not answer within 2.0s (is it up, and its address right?)");
}

#[test]
fn hosts_that_do_not_answer_take_no_place_among_the_hosts_at_once() {
    let mut rig = Rig::new();
    rig.top = "jobs = 1".to_owned();
    rig.section("ssh", "connect_timeout = \"10m\"");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for name in ["a", "b", "c", "d"] {
        rig.host(name);
        rig.section(&format!("hosts.\"{name}\""), &format!("port = {port}"));
    }
    rig.host("Web");
    let child = rig.start(&["all"]);
    rig.wait_until("the one that answers is done", || !rig.snapshots("web").is_empty());
    // Whoever waits for an answer is told that there is none.
    drop(silent);
    // They fail alike, and that is told once.
    let mut ran = Ran::from(finish(child)).exits(1).says("CRITICAL, 4 hosts: connect failed: ");
    for name in ["a", "b", "c", "d"] {
        ran = ran.says(&format!("\n{name}     failed "));
    }
}

#[test]
fn a_host_that_falls_silent_after_its_greeting_is_given_up() {
    let half = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = half.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut greeted = Vec::new();
        for stream in half.incoming().flatten() {
            (&stream).write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n").unwrap();
            greeted.push(stream);
        }
    });
    let mut pair = Pair::new().with(&format!("port = {port}"));
    pair.rig.section("ssh", "connect_timeout = \"2s\"");
    pair.fails()
        .says("connect failed: `127.0.0.1` accepted the connection and then said nothing (try `ssh -v -p");
}

#[test]
fn a_host_that_freezes_while_we_log_in_is_given_up() {
    let lines =
        "AuthorizedKeysFile none\nAuthorizedKeysCommandUser root\nAuthorizedKeysCommand /usr/bin/sleep 1000";
    let (mut pair, _sshd) = Pair::new().with_sshd(&Setup { lines, ..Setup::default() });
    pair.rig.section("ssh", "connect_timeout = \"2s\"");
    pair.fails()
        .says("connect failed: `127.0.0.1` accepted the connection and then said nothing (try `ssh -v -p");
}

#[test]
fn a_missing_source_is_not_copied_as_an_empty_one() {
    Pair::new()
        .with("source = \"/no/such/place\"")
        .fails()
        .says("probe failed: the source `/no/such/place` is missing there (is `source` right, and its disk mounted?)");
}

#[test]
fn a_source_that_is_a_file_is_refused() {
    let pair = Pair::new();
    let file = pair.db.join("etc/fstab");
    let lines = format!("source = {file:?}");
    pair.with(&lines)
        .fails()
        .says(&format!("probe failed: the source `{}` is not a directory", file.display()));
}

/// Everything that is installed, but one program.
fn programs_without(rig: &Rig, name: &str) -> PathBuf {
    let bin = rig.join("bin");
    fs::create_dir(&bin).unwrap();
    for entry in fs::read_dir("/usr/bin").unwrap().flatten().filter(|entry| entry.file_name() != name) {
        symlink(entry.path(), bin.join(entry.file_name())).unwrap();
    }
    bin
}

#[test]
fn a_host_without_rsync_is_told_what_to_install() {
    let pair = Pair::new();
    let lines = format!("SetEnv PATH={}", programs_without(&pair.rig, "rsync").display());
    let (pair, _sshd) = pair.with_sshd(&Setup { lines: &lines, ..Setup::default() });
    pair.fails().says("probe failed: the host has no rsync (install the package rsync there)");
}

#[test]
fn a_shell_that_prints_text_is_named_as_the_cause() {
    let lines = "ForceCommand echo Welcome to this host; eval \"$SSH_ORIGINAL_COMMAND\"";
    let (pair, _sshd) = Pair::new().with_sshd(&Setup { lines, ..Setup::default() });
    pair.fails()
        .says("transfer failed: the host's shell prints text before rsync can speak")
        .says("look into `.bashrc`");
}

#[test]
fn a_banner_before_the_login_does_not_matter() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    let banner = rig.write("banner", "Authorised use only.\n\nM end\n");
    let lines = format!("Banner {}\nPrintMotd yes", banner.display());
    rig.sshd().start_again_with(&Setup { lines: &lines, ..Setup::default() });
    rig.backup(&["all"]).exits(0).says("Web: OK: ").does_not_say("Authorised");
    assert_eq!(differences(&source, &rig.newest("web")), "");
}

#[test]
fn a_server_that_allows_one_session_at_a_time_is_enough() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    rig.hook("10-a", "echo done");
    rig.sshd().start_again_with(&Setup { lines: "MaxSessions 1", ..Setup::default() });
    rig.backup(&["all"]).exits(0).says("Web: hook 10-a: done").says("Web: OK: ");
    let copy = rig.newest("web");
    assert_eq!(differences(&source, &copy), "");
    std::fs::remove_dir_all(source.join("etc")).unwrap();
    rig.backup(&["restore", "web", "/etc", "--to-host", "--yes"]).exits(0);
    assert_eq!(differences(&source.join("etc"), &copy.join("etc")), "");
}

#[test]
fn one_session_at_a_time_is_also_enough_for_a_connection_that_is_made_again() {
    let mut rig = Rig::new();
    let source = rig.host("Web");
    let begun = rig.join("begun");
    rig.hook("slow", &format!("touch {}\nsleep 1000", begun.display()));
    let setup = Setup { lines: "MaxSessions 1", ..Setup::default() };
    rig.sshd().start_again_with(&setup);
    let child = rig.start(&["all"]);
    rig.wait_until("the hook has begun", || begun.exists());
    rig.sshd().start_again_with(&setup);
    Ran::from(finish(child)).exits(1).says("trying again (1 of 2)").does_not_say("trying again (2 of 2)");
    assert_eq!(differences(&source, &rig.newest("web")), "");
}

/// The login is what counts, whatever becomes of the first command: it is not
/// to be taken for a connection that could not be made.
#[test]
fn a_host_that_lets_us_in_and_runs_nothing_is_told_apart() {
    let (pair, _sshd) = Pair::new().with_sshd(&Setup { lines: "ForceCommand exit 255", ..Setup::default() });
    pair.fails().says("probe failed: ").says("255").does_not_say("cannot connect");
}

#[test]
fn a_run_costs_each_host_one_connection_even_with_hooks() {
    let mut rig = Rig::new();
    rig.host("Web");
    for name in ["10-a", "20-b", "30-c"] {
        rig.hook(name, "echo done");
    }
    rig.backup(&["all"]).exits(0).says("Web: hook 10-a: done").says("Web: hook 30-c: done");
    assert_eq!(rig.sshd().accepted(), 1);
    rig.host("Db");
    rig.backup(&["all"]).exits(0);
    assert_eq!(rig.sshd().accepted(), 2);
}

fn secret(source: &Path) {
    fs::write(source.join("etc/shadow"), "secret\n").unwrap();
    fs::set_permissions(source.join("etc/shadow"), PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn sudo_makes_probe_hooks_and_rsync_root_there() {
    let mut rig = Rig::new();
    rig.sudoer("Defaults use_pty\nbackup ALL=(root) NOPASSWD: ALL\n");
    let source = rig.host_with("Web", "user = \"backup\"\nsudo = true\n");
    secret(&source);
    rig.hook("who", "id -un");
    rig.backup(&["all"]).exits(0).says("Web: OK: ").says("hook who: root");
    assert_eq!(differences(&source, &rig.newest("web")), "");
    assert_eq!(rig.sshd().accepted(), 1);
}

#[test]
fn sudo_that_asks_for_a_password_is_explained() {
    let mut rig = Rig::new();
    rig.sudoer("backup ALL=(root) ALL\n");
    rig.host_with("Web", "user = \"backup\"\nsudo = true\n");
    rig.backup(&["all"])
        .exits(1)
        .says("Web: CRITICAL: probe failed: ")
        .says("sudo: a password is required")
        .says("NOPASSWD");
    assert_eq!(rig.snapshots("web"), [""; 0]);
}

#[test]
fn a_host_without_sudo_is_told_apart() {
    let pair = Pair::new();
    let lines = format!("SetEnv PATH={}", programs_without(&pair.rig, "sudo").display());
    let (pair, _sshd) = pair.with_sshd(&Setup { lines: &lines, ..Setup::default() });
    pair.with("sudo = true")
        .fails()
        .says("probe failed: sudo does not work there: ")
        .says("not found (install sudo there");
}

#[test]
fn a_user_who_is_not_root_is_warned_of_and_what_he_may_not_read_makes_the_copy_partial() {
    let mut rig = Rig::new();
    rig.sudoer("");
    let source = rig.host_with("Web", "user = \"backup\"\n");
    secret(&source);
    rig.backup(&["all"])
        .exits(1)
        .says("Web: WARNING: partial copy: some files could not be copied")
        .says("`backup` is not root there: files that it may not read are missing (set `sudo = true`)");
    assert_eq!(rig.verdicts("web"), ["partial"]);
}

/// A pair whose `Db` has a few small files and, last in rsync's order, a big
/// one that takes a while.
fn with_a_long_transfer(mut rig: Rig, megabytes: usize) -> (Pair, PathBuf) {
    let old = rig.host("Db");
    rig.backup(&["db"]).exits(0);
    // Its good copy stays as it is; the new source has all of the old one, for
    // to lose that would be suspect.
    let source = remember(&rig, &old, "hosts/db-new");
    for number in 0..20 {
        rig.write(source.join(format!("etc/{number}")), format!("{number}\n"));
    }
    fs::create_dir(source.join("zz")).unwrap();
    big_file(&source.join("zz/big"), megabytes);
    rig.section("hosts.\"Db\"", &format!("source = {source:?}"));
    // In a virtual machine everything else takes long.
    let limit = if in_place(&rig) { "200k" } else { "1500k" };
    rig.section("transfer", &format!("bandwidth_limit = {limit:?}"));
    let before = rig.snapshots("db");
    (Pair { web: rig.near_host("Web", ""), rig, db: old, before }, source)
}

impl Pair {
    /// Starts a run of `Db` and waits until it copies the big file.
    fn start_db(&self) -> Child {
        let child = self.rig.start(&["db"]);
        self.wait_for_the_big_file();
        child
    }

    fn wait_for_the_big_file(&self) {
        let place = being_written(&self.rig, "db").join("zz");
        self.rig.wait_until("the big file is under way", || {
            let Ok(entries) = fs::read_dir(&place) else { return false };
            entries.flatten().any(|entry| {
                entry.file_name().to_string_lossy().starts_with(".big.")
                    && entry.metadata().is_ok_and(|meta| meta.len() > 0)
            })
        });
    }

    /// Starts a run of all hosts and waits until it copies the big file, and
    /// has done everything else.
    fn start(&self) -> Child {
        let child = self.rig.start(&["all"]);
        self.wait_for_the_big_file();
        // Its own short work must be done, so that it alone is disturbed.
        self.rig.wait_until("the other host is done", || self.rig.snapshots("web").len() == 1);
        child
    }
}

fn a_host_that_dies_while_it_is_copied_has_failed(rig: Rig) {
    let (mut pair, _) = with_a_long_transfer(rig, 4);
    pair.rig.section("transfer", "retries = 0");
    let child = pair.start();
    pair.rig.sshd().stop();
    let ran: Ran = finish(child).into();
    pair.failed(ran).says("Db: CRITICAL: transfer failed: the connection was lost (");
}

fn a_host_that_comes_back_is_copied_without_sending_again_what_it_had_sent(rig: Rig) {
    let (mut pair, source) = with_a_long_transfer(rig, 3);
    pair.rig.section("transfer", "retries = 1");
    let child = pair.start_db();
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    let sent = inode(being_written(&pair.rig, "db").join("etc/7"));
    pair.rig.sshd().start_again();
    let ran: Ran = finish(child).into();
    ran.exits(0).says("Db: the connection was lost (").says("trying again (1 of 1)").says("Db: OK: ");
    assert_eq!(differences(&source, &pair.rig.newest("db")), "");
    assert_eq!(inode(pair.rig.newest("db").join("etc/7")), sent, "a file was sent twice");
    assert_eq!(pair.rig.verdicts("db"), ["good"], "the day's older one is rotated away");
}

#[test]
fn a_host_that_stays_away_fails_after_its_retries() {
    let (mut pair, _) = with_a_long_transfer(Rig::new(), 4);
    pair.rig.section("transfer", "retries = 1");
    let child = pair.start();
    pair.rig.sshd().stop();
    let ran: Ran = finish(child).into();
    pair.failed(ran)
        .says("the connection was lost and could not be restored: `127.0.0.1` refuses connections");
}

fn a_connection_lost_in_a_hook_fails_that_hook_and_the_copy_is_made_over_a_new_one(mut rig: Rig) {
    let source = rig.host("Web");
    let begun = rig.join("begun");
    rig.hook("slow", &format!("touch {}\nsleep 1000", begun.display()));
    let child = rig.start(&["all"]);
    rig.wait_until("the hook has begun", || begun.exists());
    rig.sshd().start_again();
    let ran: Ran = finish(child).into();
    ran.exits(1).says("Web: CRITICAL: hook slow was lost: ").says("trying again (1 of 2)");
    assert_eq!(rig.verdicts("web"), ["good"]);
    assert_eq!(differences(&source, &rig.newest("web")), "");
}

fn a_frozen_rsync_is_given_up_when_nothing_moves_any_more(rig: Rig) {
    let (mut pair, _) = with_a_long_transfer(rig, 4);
    pair.rig.section("transfer", "stall_timeout = \"4s\"");
    let child = pair.start();
    let far: Vec<Process> = pair.rig.sshd().sessions().into_iter().filter(|it| it.runs("rsync")).collect();
    assert_ne!(far.len(), 0);
    far.iter().for_each(|rsync| rsync.signal(Signal::STOP));
    let ran: Ran = finish(child).into();
    pair.failed(ran).says("Db: CRITICAL: transfer failed: nothing moved for 4.0s (`stall_timeout`)");
}

#[test]
fn a_host_past_its_deadline_is_given_up() {
    let (mut pair, _) = with_a_long_transfer(Rig::new(), 20);
    pair.rig.section("transfer", "deadline = \"5s\"");
    let child = pair.start();
    let ran: Ran = finish(child).into();
    pair.failed(ran).says("Db: CRITICAL: transfer failed: it was not done when the host's `deadline` passed");
}
