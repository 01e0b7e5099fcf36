//! What the tests need around the program: stand-ins for the servers that it
//! talks to, and a rig with real sshd and rsync.
#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

pub mod icinga;
pub mod icinga_daemon;
pub mod netbox;
pub mod rig;
pub mod syslog;
pub mod tls;
pub mod trees;
