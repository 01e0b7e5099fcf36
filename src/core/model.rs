//! The things that the program speaks of: hosts, snapshots, outcomes, settings.

pub mod clock;
pub mod event;
pub mod finding;
pub mod host;
pub mod outcome;
pub mod precision;
pub mod problem;
pub mod rsync_build;
pub mod run_record;
pub mod settings;
pub mod snapshot;
pub mod verification;
