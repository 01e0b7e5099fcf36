//! What the tests need around the program: stand-ins for the servers that it
//! talks to, and a rig with real sshd and rsync.

#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

pub mod icinga;
pub mod icinga_daemon;
pub mod netbox;
pub mod pool;
pub mod recorded_pool;
pub mod rig;
pub mod shelf;
pub mod snare;
pub mod standin;
pub mod store;
pub mod syslog;
pub mod terminal;
pub mod tls;
pub mod trees;

/// Makes a test of each function that takes a rig, with a directory for its
/// store.
#[allow(unused_macros, reason = "each test program uses its own part of this")]
macro_rules! on_directories {
    ($($name:ident),* $(,)?) => {
        mod directory {
            $(#[test]
            fn $name() {
                super::$name(crate::support::rig::Rig::new());
            })*
        }
    };
}
#[allow(unused_imports, reason = "each test program uses its own part of this")]
pub(crate) use on_directories;

/// The same, and another test of each with a dataset of a real pool, which
/// `make vm` runs.
#[allow(unused_macros, reason = "each test program uses its own part of this")]
macro_rules! on_every_store {
    ($($name:ident),* $(,)?) => {
        crate::support::on_directories! { $($name),* }

        mod pool {
            $(#[test]
            #[ignore = "needs a pool: `make vm`"]
            fn $name() {
                super::$name(crate::support::rig::Rig::on_zfs());
            })*
        }
    };
}
#[allow(unused_imports, reason = "each test program uses its own part of this")]
pub(crate) use on_every_store;
