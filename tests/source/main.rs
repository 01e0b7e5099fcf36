//! What holds of the files in this tree: the code and its layers, the tests, the
//! documents, the hooks that ship, and the calculations of the bench.

#![allow(clippy::too_many_lines, reason = "a table of cases is one test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bench_figures;
mod forgotten;
mod hooks;
mod layers;
mod migration_guide;
