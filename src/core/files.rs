//! Entries of directories: what they are, whether two are alike, how people name
//! them.

/// The longest path that the kernel takes at once, in bytes: `PATH_MAX` without
/// its NUL.
pub const LONGEST_PATH: usize = 4095;

pub mod diff;
pub mod entry;
pub mod path_glob;
pub mod versions;
