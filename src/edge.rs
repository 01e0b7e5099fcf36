//! Each module talks to one thing outside. None knows another: `app` joins them.

pub mod config;
pub mod history;
pub mod inventory;
pub mod remote;
pub mod report;
pub mod rsync;
pub mod store;
pub mod tree;
