//! Server-Sent Events as bytes (HTML standard, section 9.2): what a client reads, what the server writes around frames.
//!
//! Frames themselves, the events of a log, are encoded by [`crate::event`]; here is what goes before and between them.

mod blocks;
mod parser;

pub use blocks::{HEARTBEAT, Reset, head, position, reset, retry};
pub use parser::{BlockTooLong, Event, Parser};
