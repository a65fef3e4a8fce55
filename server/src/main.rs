//! The `fantail` command: see [`fantail::cli`] for its arguments and [`fantail::server`] for what it runs.

use std::process::ExitCode;

fn main() -> ExitCode {
    fantail::cli::run()
}
