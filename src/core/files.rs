//! Entries of directories: what they are, whether two are alike, how people name
//! them.

pub mod difference;
pub mod entry;
pub mod pattern;
pub mod versions;
