//! What Fantail does: the only system calls, the only `unsafe`, around what the engine decides.
//!
//! `ARCHITECTURE.md` beside this crate is the map.

pub mod audience;
pub mod cli;
pub mod config;
pub(crate) mod conversation;
pub mod core;
mod limits;
mod memory;
mod origin;
mod peer;
pub mod ring;
pub mod server;
pub mod storage;
