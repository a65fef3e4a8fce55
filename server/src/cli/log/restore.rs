//! `fantail log restore`: a data folder made of a backup.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Data, say, verify};
use crate::storage::listing::{self, count};
use crate::storage::{audit, folder, restore};

/// The arguments as they are typed.
#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// Folder of the backup.
    #[arg(value_name = "DIR")]
    backup: PathBuf,

    #[command(flatten)]
    data: Data,
}

/// Audits the backup, then copies it; prints a line per stream.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { backup, data } = arguments;
    let streams = listing::streams(backup, &[])?;
    anyhow::ensure!(!folder::is_partial(backup), "{} isn't a whole backup", backup.display());
    if let Some(pid) = folder::server(backup)? {
        anyhow::bail!("{} isn't a backup: process {pid} serves it", backup.display());
    }
    let mut flaws = 0;
    let mut reports = Vec::new();
    for stream in streams {
        let Some(report) = audit::audit(backup, &stream)? else { continue };
        flaws += report.flaws.len() as u64;
        if !report.flaws.is_empty() {
            verify::print(&report);
        }
        reports.push((stream, report));
    }
    anyhow::ensure!(flaws == 0, "{} in {}; nothing was restored", count(flaws, "flaw"), backup.display());
    let data = restore::begin(&data.path)?;
    for (stream, report) in reports {
        let position = restore::copy(&stream, report.extent.last, &data)?;
        let (folder, last) = (report.folder, report.extent.last);
        say(&format_args!("{folder}: has all up to {last}, and goes on as {position}"));
    }
    restore::end(&data)?;
    Ok(ExitCode::SUCCESS)
}
