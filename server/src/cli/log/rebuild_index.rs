//! `fantail log rebuild-index`: indexes made anew from their segments.

use std::process::ExitCode;

use clap::Args;

use super::{Data, say};
use crate::storage::folder::DataFolder;
use crate::storage::index::{self, Rebuilt};
use crate::storage::listing::{self, count};

/// The arguments as they are typed.
#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    data: Data,

    /// The streams whose indexes to rebuild [default: all].
    #[arg(value_name = "STREAM")]
    streams: Vec<String>,
}

/// Prints a line per index that wasn't right, and per segment that is damaged.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let data = &arguments.data.path;
    let streams = listing::streams(data, &arguments.streams)?;
    let locked = DataFolder::open(data)?;
    let (mut kept, mut damaged) = (0u64, 0u64);
    for stream in streams {
        let folder = stream.file_name().unwrap_or_default();
        let name = folder.display();
        index::rebuild(&locked, folder, |file, rebuilt| match rebuilt {
            Rebuilt::Kept => kept += 1,
            Rebuilt::Written(events) => {
                say(&format_args!("{name}/{file}: rebuilt, {}", count(events as u64, "event")));
            }
            Rebuilt::Damaged(finding) => {
                damaged += 1;
                say(&format_args!("{name}/{file} byte {}: {}", finding.offset, finding.wrong));
            }
        })?;
    }
    match kept {
        0 => {}
        1 => say(&"1 index was right"),
        kept => say(&format_args!("{kept} indexes were right")),
    }
    match damaged {
        0 => Ok(ExitCode::SUCCESS),
        _ => anyhow::bail!("{} not indexed: the log is damaged", count(damaged, "segment")),
    }
}
