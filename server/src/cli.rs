//! The command line: which command is meant, and what its end is called in exit codes. One file per command: its arguments as
//! they are typed, resolved once into what runs.

mod log;
mod serve;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::Route;
use crate::config::arguments::Arguments;
use crate::config::sources::{self, SourceError};
use crate::ring::Refused;
use crate::storage::folder::FolderError;
use crate::storage::history::HistoryError;
use crate::storage::listing::ListingError;
use crate::storage::restore::RestoreError;

const ENVIRONMENT: &str = "Environment: each option of the server has a variable, such as FANTAIL_MAX_CONNECTIONS for \
                           --max-connections. FANTAIL_LOG is what to log (error, warn, info, debug, trace; default info); \
                           NO_COLOR turns colours off.";

/// REST resources that can be followed: GET returns a document, SUBSCRIBE its changes as they happen.
#[derive(Parser, Debug)]
#[command(
    name = "fantail",
    version,
    args_conflicts_with_subcommands = true,
    after_help = ENVIRONMENT
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: Arguments,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Runs the server; this is also what happens without a command.
    #[command(after_help = ENVIRONMENT)]
    Serve(Box<Arguments>),
    /// Looks at logs, copies them, mends their indexes.
    #[command(subcommand, after_help = log::EXIT_CODES)]
    Log(log::Command),
}

/// Parses the arguments and runs the command; the server runs until it is asked to stop.
///
/// Exit codes: 0 stopped as asked; 1 something failed; 2 the arguments are wrong; 3 the data folder is in use; 4 the kernel
/// refuses io_uring; 5 a stream or a position that was named isn't there.
#[must_use]
pub fn run() -> ExitCode {
    let (CommandLine { command, serve }, routes) = match parse() {
        Ok(parsed) => parsed,
        Err(SourceError::Arguments(error)) => error.exit(),
        Err(error @ (SourceError::Unreadable { .. } | SourceError::File { .. })) => {
            eprintln!("fantail: {error}");
            return ExitCode::from(2);
        }
    };
    let has_colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let filter = EnvFilter::try_from_env("FANTAIL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(has_colours).init();
    let result = match command.unwrap_or(Command::Serve(Box::new(serve))) {
        Command::Serve(arguments) => {
            arguments.resolve(routes).and_then(|options| serve::run(&options)).map(|()| ExitCode::SUCCESS)
        }
        Command::Log(command) => command.run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("fantail: {error:#}");
        code(&error)
    })
}

/// The command line, with what the environment and a file say besides, and the file's routes.
fn parse() -> Result<(CommandLine, Vec<Route>), SourceError> {
    let given = sources::read(CommandLine::command(), &std::env::args_os().collect::<Vec<_>>())?;
    Ok((CommandLine::from_arg_matches(&given.matches)?, given.routes))
}

/// The exit code of a command that failed.
fn code(error: &anyhow::Error) -> ExitCode {
    let folder = error.downcast_ref::<FolderError>().or(match error.downcast_ref() {
        Some(RestoreError::Folder(error)) => Some(error),
        Some(RestoreError::Occupied(_) | RestoreError::Listing(_) | RestoreError::Epochs { .. }) | None => None,
    });
    let listing = error.downcast_ref::<ListingError>();
    let history = error.downcast_ref::<HistoryError>();
    match (folder, listing, history) {
        (Some(FolderError::InUse { .. }), ..) => ExitCode::from(3),
        (_, Some(ListingError::NoFolder(_) | ListingError::NoStream { .. }), _) => ExitCode::from(5),
        (.., Some(HistoryError::Unservable { .. } | HistoryError::Ahead { .. })) => ExitCode::from(5),
        _ if error.is::<Refused>() => ExitCode::from(4),
        _ => ExitCode::FAILURE,
    }
}
