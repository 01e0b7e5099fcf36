//! Hosts whose login shell is not the one that a script is written for, or does
//! something else than it is told.

use crate::support::rig::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What a shell would run if it got the names of files for commands: it leaves
/// a file at home.
const ODD: &str = "it's \"odd\" \\ ! *;cd;touch pwned";

/// A rig with a host whose root has this login shell, and a home with these
/// start-up files.
fn host_with(shell: &Path, start_up: &[(&str, &str)]) -> (Rig, PathBuf) {
    let mut rig = Rig::new();
    let home = rig.join("home");
    fs::create_dir(&home).unwrap();
    for (name, text) in start_up {
        rig.write(home.join(name), text);
    }
    rig.log_in_with(&home, shell);
    let source = rig.host("Web");
    rig.write(source.join("srv").join(ODD).join("file"), "odd\n");
    (rig, source)
}

/// Everything that goes through the login shell works with this one.
fn works_with(shell: &Path) {
    let (rig, source) = host_with(shell, &[]);
    rig.write(source.join("srv/left out"), "");
    rig.write("backup-exclude.conf", "/srv/left*\n");
    rig.hook("10-a", "echo this is a hook");
    rig.backup(&["all"]).exits(0).says("Web: hook 10-a: this is a hook").says("Web: OK: ");
    let copy = rig.newest("web");
    assert!(!copy.join("srv/left out").exists(), "the host's own excludes were not heard of");
    let odd = Path::new("srv").join(ODD);
    assert_eq!(differences(&source.join("etc"), &copy.join("etc")), "");
    assert_eq!(differences(&source.join(&odd), &copy.join(&odd)), "");
    fs::remove_dir_all(source.join("srv")).unwrap();
    rig.backup(&["restore", "web", "/srv", "--to-host", "--yes"]).exits(0);
    assert_eq!(differences(&source.join("srv"), &copy.join("srv")), "");
    let said = rig.backup(&["check", "web"]).stdout;
    assert!(said.contains(", 1 hook, rsync "), "{said}");
    assert!(!rig.join("home/pwned").exists(), "a name was run as a command");
}

macro_rules! works_with {
    ($($name:ident: $shell:literal),* $(,)?) => {
        $(#[test]
        fn $name() {
            works_with(Path::new($shell));
        })*
    };
}

// Where a distribution has two, the stranger one.
works_with! {
    a_host_whose_login_shell_is_sh: "/bin/sh",
    a_host_whose_login_shell_is_bash: "/bin/bash",
    a_host_whose_login_shell_is_dash: "/bin/dash",
    a_host_whose_login_shell_is_ksh: "/bin/ksh93",
    a_host_whose_login_shell_is_mksh: "/bin/mksh",
    a_host_whose_login_shell_is_zsh: "/bin/zsh",
    a_host_whose_login_shell_is_fish: "/usr/bin/fish",
    a_host_whose_login_shell_is_csh: "/bin/bsd-csh",
    a_host_whose_login_shell_is_tcsh: "/bin/tcsh",
    a_host_whose_login_shell_is_rbash: "/bin/rbash",
}

#[test]
fn a_host_whose_login_shell_is_that_of_busybox() {
    let dir = tempfile::tempdir().unwrap();
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    symlink(busybox.unwrap(), dir.path().join("ash")).unwrap();
    works_with(&dir.path().join("ash"));
}

#[test]
fn sudo_becomes_root_from_a_login_shell_of_csh() {
    let mut rig = Rig::new();
    rig.sudoer("Defaults use_pty\nbackup ALL=(root) NOPASSWD: ALL\n");
    let accounts = fs::read_to_string(rig.join("passwd")).unwrap();
    let line = accounts.lines().find(|line| line.starts_with("backup:")).unwrap();
    let with_csh = line.replace(":/bin/sh", ":/bin/bsd-csh");
    // In place: it is what the sessions see.
    fs::write(rig.join("passwd"), accounts.replace(line, &with_csh)).unwrap();
    let source = rig.host_with("Web", "user = \"backup\"\nsudo = true\n");
    rig.hook("who", "id -un");
    rig.backup(&["all"]).exits(0).says("Web: OK: ").says("hook who: root");
    assert_eq!(differences(&source, &rig.newest("web")), "");
}

#[test]
fn a_shell_that_starts_another_one_runs_nothing_of_ours_as_commands() {
    let (mut rig, source) = host_with(Path::new("/bin/bash"), &[]);
    let pwned = rig.join("pwned");
    // What a shell would run that took what the host is asked for commands.
    rig.section("excludes", &format!("remote_file = \"/usr/bin/touch {}\"\n", pwned.display()));
    rig.backup(&["all"]).exits(0);
    rig.write("home/.bashrc", "exec zsh\n");
    let before = rig.snapshots("web");
    rig.backup(&["all"])
        .exits(1)
        .says("Web: CRITICAL: probe failed: the host did not run what it was told, and said nothing (exit 0)")
        .says(".bashrc");
    assert_eq!(rig.snapshots("web"), before);
    fs::remove_dir_all(source.join("srv")).unwrap();
    rig.backup(&["restore", "web", "/srv", "--to-host", "--yes"])
        .exits(2)
        .says("did not run what it was told");
    assert!(!pwned.exists() && !rig.join("home/pwned").exists(), "what is data was run");
}

#[test]
fn what_a_host_says_that_lets_nobody_in_is_shown() {
    let (rig, _) = host_with(Path::new("/usr/sbin/nologin"), &[]);
    rig.backup(&["all"]).exits(1).says(
        "Web: CRITICAL: probe failed: the host did not answer, but said: This account is currently not available.",
    );
}

#[test]
fn a_shell_that_is_false_is_told_of() {
    let (rig, _) = host_with(Path::new("/bin/false"), &[]);
    rig.backup(&["all"])
        .exits(1)
        .says("probe failed: the host did not run what it was told, and said nothing (exit 1)");
}

#[test]
fn a_start_up_file_that_complains_does_no_harm_and_one_that_prints_is_named() {
    let complains = "echo complaint >&2\n";
    let (rig, source) = host_with(Path::new("/bin/bash"), &[(".bashrc", complains)]);
    rig.backup(&["all"]).exits(0).says("Web: OK: ");
    assert_eq!(differences(&source, &rig.newest("web")), "");
    rig.write("home/.bashrc", "echo Welcome; echo; printf 'to this '\n");
    rig.backup(&["all"]).exits(1).says("the host's shell prints text before rsync can speak").says(".bashrc");
    fs::remove_dir_all(source.join("srv")).unwrap();
    rig.write("home/.bashrc", complains);
    rig.backup(&["restore", "web", "/srv", "--to-host", "--yes"]).exits(0);
    assert!(source.join("srv").join(ODD).join("file").exists());
}

#[test]
fn a_program_that_stands_for_the_shell_and_waits_is_given_up() {
    let (rig, _) = host_with(Path::new("/bin/sh"), &[]);
    let shell =
        rig.write("menu", "#!/bin/sh\nprintf 'Choose: '\nread -r choice\necho \"no such choice: $choice\"\n");
    fs::set_permissions(&shell, PermissionsExt::from_mode(0o755)).unwrap();
    let mut rig = rig;
    let home = rig.join("home");
    rig.log_in_with(&home, &shell);
    rig.backup(&["all"]).exits(1).says("the host did not answer, but said: Choose: no such choice: ");
}
