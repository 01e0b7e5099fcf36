//! A server that lets a process have few files open: hosts wait, and none fails.

use crate::support::rig::*;
use std::process::{Command, Stdio};

/// The command, with at most so many files open at once.
fn with_files(command: &Command, most: u32) -> Command {
    let mut limited = program("prlimit");
    limited.arg(format!("--nofile={most}:{most}")).arg("--").arg(command.get_program());
    limited.args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(key, value),
            None => limited.env_remove(key),
        };
    }
    limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    limited
}

#[test]
fn many_hosts_are_copied_and_looked_at_with_few_files() {
    let mut rig = Rig::new();
    rig.top = "jobs = 60".to_owned();
    rig.section("ssh", "connections_per_second = 200");
    for number in 0..60 {
        rig.host(&format!("h{number}"));
    }
    rig.sshd().start_again_with(&Setup { lines: "MaxStartups 200", ..Setup::default() });
    let told = "12 hosts at once instead of 60: this process may have 256 files open";
    for words in ["all", "check"] {
        let command = with_files(&rig.command(&[words]), 256);
        let ran = Ran::from(finish({ command }.spawn().unwrap())).says(told);
        assert!(!ran.stderr.contains("Too many open files"), "{words}: {}", ran.stderr);
        assert!(!ran.stderr.contains("CRITICAL"), "{words}: {}", ran.stderr);
    }
    assert!((0..60).all(|number| rig.snapshots(&format!("h{number}")).len() == 1));
}
