//! The harness as a program: what it says of servers that behave and of others, and whether its figures can be believed.

mod fixture;

mod interrupt;
mod limits;
mod proofs;
mod run;
mod swarm;
