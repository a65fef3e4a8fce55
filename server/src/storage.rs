//! Streams on disk: the data folder, its segments and checkpoints, what writes them and what reads them.
//!
//! What the bytes mean is the engine's business (`fantail_engine::log`); here they are moved. A core never waits for a
//! file: groups are written by the core's [`disk::Disk`], a ring, and everything that opens, renames or syncs folders is
//! an errand for the one [`clerk`] thread.

pub mod clerk;
pub mod disk;
pub mod folder;
pub mod pages;
pub mod recovery;
pub mod snapshot;
