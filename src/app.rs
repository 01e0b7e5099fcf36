//! Use cases: what the program does, whoever asked for it.

pub mod admission;
pub mod attempt;
pub mod check;
pub mod clock;
pub mod diff;
pub mod find;
pub mod fleet;
pub mod fleet_run;
pub mod hold;
pub mod overview;
pub mod plan;
pub mod prune;
pub mod rename;
pub mod restore;
pub mod retire;
pub mod roles;
pub mod run;
pub mod session;
pub mod snapshot_view;
pub mod verify;
