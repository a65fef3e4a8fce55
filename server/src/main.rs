//! The `fantail` command: see [`fantail::cli`] for its arguments and [`fantail::server`] for what it runs.

use std::process::ExitCode;

/// Small blocks, from many threads, that live for very different times.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fantail::cli::run()
}
