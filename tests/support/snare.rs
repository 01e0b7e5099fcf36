//! Stops a run at an exact step, so that a test can do something to it there:
//! programs in a folder of the rig's that stand before the real ones in `PATH`, or
//! before what the host's sshd runs.

use super::rig::{Rig, Setup, until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};

/// When the run stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The program has not started yet.
    Before,
    /// The program has ended, and its caller does not know yet.
    After,
}

/// The programs that the product starts, each watched.
pub struct Snare {
    dir: PathBuf,
}

/// The watched program that stands for a session on the host; the master opens
/// sessions for a run that starts no program for them here.
const SESSION: &str = "session";

/// `$0` is the program's name, and the folder has `set`: when to stop, how many
/// fitting calls to let pass, and the pattern of a call.
const WATCHED: &str = r#"#!/bin/sh
dir=${0%/*}/.. name=${0##*/}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
printf '%s\n' "$name $1 $2" >>"$dir/calls"
[ "$name" != session ] || { name=sh; set -- -c "$SSH_ORIGINAL_COMMAND"; }
reach() {
    mv "$dir/set" "$dir/reached"
    until [ -e "$dir/go" ]; do sleep 0.02; done
}
if [ -e "$dir/set" ]; then
    { read -r when; read -r skip; read -r pattern; } <"$dir/set"
    case "${0##*/} $*" in
    $pattern)
        if [ "$skip" -gt 0 ]; then
            printf '%s\n%s\n%s\n' "$when" $((skip - 1)) "$pattern" >"$dir/set"
        elif [ "$when" = Before ]; then
            reach
        else
            "$name" "$@"
            status=$?
            reach
            exit $status
        fi
        ;;
    esac
fi
exec "$name" "$@"
"#;

impl Snare {
    /// Watches what the rig's runs start from now on.
    pub fn new(rig: &Rig) -> Self {
        let dir = rig.join("snare");
        for name in ["zfs", "zpool", "rsync", "ssh", SESSION] {
            let path = rig.write(dir.join("bin").join(name), WATCHED);
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        Snare { dir }
    }

    /// Watches the sessions on the rig's host as well: calls of `session`.
    pub fn watch_sessions(&self, rig: &mut Rig) {
        let lines = format!("ForceCommand exec {}", self.dir.join("bin").join(SESSION).display());
        rig.sshd().start_again_with(&Setup { lines: &lines, ..Setup::default() });
    }

    /// The binary with the watched programs.
    pub fn command(&self, rig: &Rig, arguments: &[&str]) -> Command {
        let mut command = rig.command(arguments);
        command.env("PATH", format!("{}:/usr/bin:/bin", self.dir.join("bin").display()));
        command
    }

    /// Every call of a watched program so far: its name and what it was to do.
    pub fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// Starts a run that stops at a call like `pattern` of sh, the first after
    /// `skip` such calls, and waits until it is there.
    #[track_caller]
    pub fn start(&self, rig: &Rig, arguments: &[&str], when: When, skip: usize, pattern: &str) -> Child {
        let _ = fs::remove_file(self.dir.join("go"));
        let _ = fs::remove_file(self.dir.join("reached"));
        fs::write(self.dir.join("set"), format!("{when:?}\n{skip}\n{pattern}\n")).unwrap();
        let mut child = self.command(rig, arguments).spawn().unwrap();
        until(&format!("{when:?} {pattern}"), || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the run has ended before it came to {when:?} {pattern}");
            self.dir.join("reached").exists()
        });
        child
    }

    /// Lets the run go on.
    pub fn go(&self) {
        fs::write(self.dir.join("go"), "").unwrap();
    }
}
