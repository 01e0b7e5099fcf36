//! The parts that this program plays for itself, instead of those of an operator.
//!
//! A run starts the program again as rsync's way to a host, and as the keeper that
//! ends what it started if it is killed; none of that is a command that anybody types.

use crate::edge::remote::client;
use crate::sys::process;
use std::env::ArgsOs;

/// Plays the part that these arguments ask for, and says with which code to exit;
/// `None` if they are an operator's.
pub fn play(arguments: impl Fn() -> ArgsOs) -> Option<u8> {
    client::play(arguments()).or_else(|| process::keep(arguments()))
}
