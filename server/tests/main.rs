//! The real binary under real sockets: what `wire.md` promises, bad input, many followers, restarts, crashes, stopping.
//!
//! One test binary, so that it links once. Each test has a server and a data folder of its own; they run in parallel and
//! in any order.

mod kit;

mod conditions;
mod documents;
mod json;
mod lists;
