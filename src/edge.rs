//! Each module talks to one thing outside. None knows another: `app` joins them.

pub mod config;
pub mod history;
pub mod inventory;
pub mod metrics;
pub mod notify;
pub mod remote;
pub mod rsync;
pub mod store;
pub mod tree;
