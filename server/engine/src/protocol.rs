//! The protocols as bytes: parsers that borrow, encoders that append. Nothing here knows of streams or logs.

pub mod http1;

pub mod accept;
pub mod condition;
pub mod field;
pub mod query;

pub mod exposition;
pub mod problem;
pub mod sse;

#[cfg(test)]
pub(crate) mod fixture;
