//! What people read and write: texts, tables, pictures, times.

pub mod excerpt;
pub mod plot;
pub mod similar;
pub mod summary;
pub mod svg_frame;
pub mod table;
pub mod text;
pub mod time_spec;
pub mod timing;
pub mod trace;
