//! The protocols as bytes: parsers that borrow, encoders that append. Nothing here knows of streams or logs.

pub mod accept;
pub mod condition;
pub mod http1;
pub mod problem;
pub mod query;
pub mod sse;
