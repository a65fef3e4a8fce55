//! Streams on disk: the data folder, its segments and checkpoints, what writes them and what reads them.
//!
//! What the bytes mean is the engine's business (`fantail_engine::log`); here they are moved. A core never waits for a
//! file: groups are written by the core's [`disk::Disk`], a ring, and everything that opens, renames or syncs folders is
//! an errand for the one [`clerk`] thread. What looks at logs without serving them ([`audit`], [`history`], [`backup`], [`restore`],
//! [`index`]) has a process of its own.

pub mod audit;
pub mod backup;
pub mod clerk;
pub mod disk;
pub mod folder;
pub mod history;
pub mod index;
pub mod listing;
pub mod pages;
pub mod recovery;
pub mod restore;
pub mod snapshot;
