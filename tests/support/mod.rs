//! What the tests need around the program: stand-ins for the servers that it
//! talks to.

pub mod icinga;
pub mod tls;
pub mod netbox;
