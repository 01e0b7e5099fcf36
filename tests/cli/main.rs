//! What each command does and says, through the real binary: with a real sshd and
//! rsync, and stand-ins for the servers that it talks to.

#![allow(clippy::too_many_lines, reason = "a table of cases is one test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod command_line;
mod completions;
mod config;
mod diff;
mod find;
mod findings;
mod first_run;
mod holds;
mod plan;
mod progress;
mod prune;
mod restore;
mod snapshots;
mod status;
mod timings;
mod verify;
mod whole_run;
