//! `fantail log verify`: whether every byte is what it should be.

use std::process::ExitCode;

use clap::Args;

use super::{Data, say};
use crate::storage::audit::{self, Report};
use crate::storage::folder;
use crate::storage::listing::{self, count};

/// The arguments as they are typed.
#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    data: Data,

    /// The streams to check [default: all].
    #[arg(value_name = "STREAM")]
    streams: Vec<String>,
}

/// Prints a line per stream, and one per flaw with its file and byte.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let data = &arguments.data.path;
    let streams = listing::streams(data, &arguments.streams)?;
    let mut flaws = u64::from(folder::is_partial(data));
    if flaws > 0 {
        say(&"@partial: a backup or a restore into this folder is under way, or was broken off");
    }
    for stream in streams {
        let Some(report) = audit::audit(data, &stream)? else { continue };
        print(&report);
        flaws += report.flaws.len() as u64;
    }
    match flaws {
        0 => Ok(ExitCode::SUCCESS),
        _ => anyhow::bail!("{} in {}", count(flaws, "flaw"), data.display()),
    }
}

/// Prints what an audit found.
pub(super) fn print(Report { folder, extent, flaws }: &Report) {
    say(&format_args!("{folder}: {extent}"));
    flaws.iter().for_each(say);
}
