//! A stream's log: groups of frames in segments, what is in memory of them, and what is on disk.
//!
//! Formats and their recovery are decided here as functions over bytes; files are the server's business. The log knows
//! nothing of JSON: to it, an event is a position, two hashes and bytes.

pub mod audit;
pub mod block;
pub mod checkpoint;
pub mod errand;
pub mod filter;
pub mod folder;
pub mod group;
pub mod index;
pub mod keys;
mod line;
pub mod manifest;
pub mod retention;
pub mod segment;
pub mod tail;
pub mod view;
