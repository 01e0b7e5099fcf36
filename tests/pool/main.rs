//! What only ZFS has. The tests on a real pool are ignored here: `make vm` runs them,
//! and those that `on_every_store!` makes in the other programs. What is left reads
//! recorded answers of a pool, with no other tests beside it that take time.

#![allow(clippy::too_many_lines, reason = "a table of cases is one test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod ancestor;
mod changes;
mod clock;
mod crash;
mod inplace;
mod power;
mod rename;
mod run;
mod store;
mod survey;
