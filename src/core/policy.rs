//! Decisions: what is kept, what is believed, what is worth telling.

pub mod growth;
pub mod guard;
pub mod namesake;
pub mod retention;
pub mod rotation;
pub mod status;
pub mod trend;
