//! Faults: clients that are silent, rude or suddenly gone, tables that are full, descriptors that run out, a kernel that
//! refuses. Whoever behaves doesn't notice, and afterwards nothing is left of it.

mod descriptors;
mod peers;
mod rings;
mod tables;
