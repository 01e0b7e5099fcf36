//! What becomes of a run, and of the copies, when something goes wrong: a host, its
//! connection, its files and hooks, the store, NetBox, Icinga, the clock, or the run
//! itself, which is told to stop or killed.

#![allow(clippy::too_many_lines, reason = "a table of cases is one test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod bastions;
mod clock;
mod connection;
mod file_limit;
mod files;
mod flood;
mod hooks;
mod icinga;
mod login_shells;
mod namesakes;
mod netbox;
mod reasons;
mod recovery;
mod stop;
mod store;
mod store_safety;
mod stuck_store;
mod trust;
