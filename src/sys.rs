//! This machine: its programs, clock, locks, log, and the way to servers.

pub mod clock;
pub mod https;
pub mod lock;
pub mod logging;
pub mod offload;
pub mod process;
pub mod tools;
