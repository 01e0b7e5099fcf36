//! Use cases: what the program does, whoever asked for it.

pub mod backup;
pub mod fleet;
pub mod turn;
pub mod verify;
