//! What Fantail decides. Bytes, time and operations come in; bytes and verdicts go out.
//!
//! No socket, file, thread, clock or runtime can be named here; `clippy.toml` beside this crate says so to the
//! compiler. Read the modules in this order.

pub mod document;
pub mod event;
pub mod grip;
pub mod json;
pub mod limits;
pub mod log;
pub mod mirror;
pub mod patch;
pub mod position;
pub mod protocol;
pub mod stream;
pub mod topic;
