//! `fantail log`: logs on disk, beside a server or without one. One file per command.

mod backup;
mod dump;
mod rebuild_index;
mod restore;
mod verify;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

/// What each command's help ends with.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done, and all is whole; 1 something is damaged or failed; 2 the \
                                     arguments are wrong; 3 the data folder is in use; 5 a stream or a position that \
                                     was named isn't there.";

/// The commands.
#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Checks every byte of the log: groups, indexes, keys, checkpoints. A server may run meanwhile.
    #[command(after_help = EXIT_CODES)]
    Verify(verify::Arguments),
    /// Prints a stream's events to standard output. A server may run meanwhile.
    #[command(after_help = EXIT_CODES)]
    Dump(dump::Arguments),
    /// Makes the indexes anew from the segments. No server may run.
    #[command(after_help = EXIT_CODES)]
    RebuildIndex(rebuild_index::Arguments),
    /// Copies streams into an empty folder, each as it is at one position. A server may run meanwhile.
    #[command(after_help = EXIT_CODES)]
    Backup(backup::Arguments),
    /// Makes a data folder of a backup: cursors stay valid up to its last event.
    #[command(after_help = EXIT_CODES)]
    Restore(restore::Arguments),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// What stood in its way; what it found is in the exit code.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Verify(arguments) => verify::run(&arguments),
            Command::Dump(arguments) => dump::run(&arguments),
            Command::RebuildIndex(arguments) => rebuild_index::run(&arguments),
            Command::Backup(arguments) => backup::run(&arguments),
            Command::Restore(arguments) => restore::run(&arguments),
        }
    }
}

/// Where the logs are.
#[derive(Args, Debug)]
struct Data {
    /// Folder of the data.
    #[arg(long = "data", default_value = "fantail-data", value_name = "FOLDER")]
    path: PathBuf,
}

/// Prints a line to standard output. Whoever reads it may have stopped; the work goes on, and its end is in the exit code.
fn say(line: &impl Display) {
    if let Err(error) = writeln!(io::stdout(), "{line}") {
        tracing::debug!(%error, "nobody reads the standard output");
    }
}
