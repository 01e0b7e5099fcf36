//! What the program knows and decides: pure, with no input or output and no clock.
//!
//! Every decision that can lose data is made here, from values, and tested as such.
//! Nothing in here knows that there are files, programs, servers or a time of day:
//! `tests/source/layers.rs` refuses their paths.

pub mod files;
pub mod filter;
pub mod format;
pub mod model;
pub mod policy;
