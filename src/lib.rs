//! `backup`: a ZFS-backed pull backup server for fleets of Linux hosts.
//!
//! A folder is a layer, and whoever knows the layer knows what the code may touch.
//! Each may use those below it; `tests/source/layers.rs` holds them to it.
//!
//! | layer | what is in it |
//! |---|---|
//! | [`cli`] | the command line: arguments, questions, printing, exit codes |
//! | [`app`] | use cases: what the program does, whoever asked for it |
//! | [`edge`] | one thing outside each: NetBox, hosts, rsync, stores, Icinga, SQLite |
//! | [`sys`] | this machine: programs, clock, locks, log, the way to servers |
//! | [`core`] | what the program knows and decides: pure, no I/O, no clock |

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "a table of cases is one test"))]

pub mod app;
pub mod cli;
pub mod core;
pub mod edge;
pub mod sys;
