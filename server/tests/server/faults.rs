//! Faults: clients that are silent, rude or suddenly gone, tables that are full, descriptors that run out, a kernel that
//! refuses, disks that are full or fail, clocks that jump. Whoever behaves doesn't notice, and afterwards nothing is left of
//! it.

mod clock;
mod descriptors;
mod disk;
mod peers;
mod rings;
mod tables;
