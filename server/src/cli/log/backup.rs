//! `fantail log backup`: a copy of streams, each as it is at one position, while a server runs or not.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use fantail_engine::log::audit::Ending;

use super::{Data, say};
use crate::storage::backup::{self, Copied};
use crate::storage::folder;
use crate::storage::listing::{self, count};

/// The arguments as they are typed.
#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// Folder of the backup: it is made, or is empty.
    #[arg(value_name = "DIR")]
    target: PathBuf,

    #[command(flatten)]
    data: Data,

    /// The streams to copy [default: all].
    #[arg(value_name = "STREAM")]
    streams: Vec<String>,
}

/// Prints a line per stream that ends with its position.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let data = &arguments.data.path;
    let streams = listing::streams(data, &arguments.streams)?;
    let target = backup::begin(data, &arguments.target)?;
    let ending = folder::ending(data)?;
    let mut failures = 0;
    for stream in streams {
        match backup::copy(&stream, &target) {
            Ok(Some(copied)) => print(&copied, ending),
            Ok(None) => say(&format_args!("{}: there is no such stream any more", stream.display())),
            Err(error) => {
                eprintln!("fantail: {error}");
                failures += 1;
            }
        }
    }
    if failures > 0 {
        let (streams, target) = (count(failures, "stream"), target.display());
        anyhow::bail!(
            "{streams} couldn't be copied, and {target} isn't a backup; without them it can be: name the others"
        );
    }
    backup::end(&target)?;
    Ok(ExitCode::SUCCESS)
}

fn print(Copied { name, extent, torn_bytes }: &Copied, ending: Ending) {
    match (torn_bytes, ending) {
        // What a server writes at this moment is nothing to speak of.
        (0, Ending::Settled) | (_, Ending::Growing) => say(&format_args!("{name}: {extent}")),
        (bytes, Ending::Settled) => {
            let torn = count(*bytes, "byte");
            say(&format_args!("{name}: {torn} of a group that isn't whole left out; {extent}"));
        }
    }
}
