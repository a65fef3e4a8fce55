//! The real binary under real sockets: what `wire.md` promises, bad input, many followers, restarts, crashes, stopping; and the
//! commands on logs.
//!
//! One test binary, so that it links once. Each test has a server and a data folder of its own; they run in parallel and
//! in any order.

mod kit;

mod accept;
mod admin;
mod conditions;
mod config;
mod control;
mod documents;
mod http;
mod json;
mod lists;
mod own;

mod cursors;
mod following;
mod snapshots;
mod streams;
mod topics;

mod mirror;
mod origins;
mod proxy;

mod grip;

mod backups;
mod logs;

mod bad;
mod crash;
mod damage;
mod fanout;
mod faults;
mod limits;
mod recovery;
mod restart;
mod retention;
mod segments;
mod stop;
