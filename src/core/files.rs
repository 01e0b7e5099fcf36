//! Entries of directories: what they are, whether two are alike, how people name
//! them.

pub mod diff;
pub mod entry;
pub mod path_glob;
pub mod versions;
