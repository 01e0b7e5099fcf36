//! What a part promises to whatever uses it, and what we rely on in others: every
//! store, the inventory, the history and the reports; rsync, ssh, busybox, syslog and
//! a real Icinga.

#![allow(clippy::too_many_lines, reason = "a table of cases is one test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod busybox;
mod copies;
mod directory_store;
mod filter_rsync;
mod history;
mod icinga_daemon;
mod inplace;
mod inventory;
mod mounts;
mod names;
mod report;
mod ssh_client;
mod store_contract;
mod syslog;
mod zfs_store;
