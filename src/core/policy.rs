//! Decisions: what is kept, what is believed, what is worth telling.

pub mod anomaly;
pub mod growth;
pub mod guard;
pub mod health;
pub mod namesake;
pub mod retention;
pub mod rotation;
