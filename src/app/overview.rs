//! What there is: how hosts are doing, and which snapshots they have. Nothing is
//! locked, changed or asked of a host.

mod hosts;
pub mod snapshots;
pub mod status;
