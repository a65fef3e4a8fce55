//! `report`: shows a run that was saved, as if it had just ended, and compares it with an earlier one. Runs end with the same
//! two steps.

use std::fs;
use std::path::Path;

use crate::Failure;
use crate::arguments::ReportArguments;
use crate::report::{Comparison, Ended, Report};

/// Reads, compares, writes and says what came of it.
pub(crate) fn run(typed: &ReportArguments) -> Result<(), Failure> {
    let report = read(&typed.report)?;
    let baseline = match &typed.baseline {
        Some(path) => Some(read(path)?),
        None => None,
    };
    let has_followers = report.delivery.is_some();
    if let Some(why) = baseline.as_ref().and_then(|before| Comparison::refusal(before, has_followers)) {
        return Err(Failure::Usage(format!("--baseline: {why}")));
    }
    let comparison = baseline.as_ref().map(|before| Comparison::new(before, &report, &typed.tolerance));
    let compared = baseline.as_ref().zip(comparison.as_ref());
    if let Some(folder) = &typed.to {
        save(&report, compared, folder)?;
    }
    print!("{}", report.markdown(None));
    if let Some(comparison) = &comparison {
        print!("\n{comparison}");
    }
    let is_missed = report.objectives.iter().any(|objective| !objective.met);
    match is_missed || comparison.is_some_and(|comparison| comparison.is_worse()) {
        _ if report.run.ended == Ended::Broken => Err(Failure::Broken),
        true => Err(Failure::Missed),
        false => Ok(()),
    }
}

fn read(path: &Path) -> Result<Report, Failure> {
    Report::read(path).map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))
}

/// Writes all forms of a report into a folder, which is made if it isn't there, and says where the page is.
pub(crate) fn save(report: &Report, compared: Option<(&Report, &Comparison)>, folder: &Path) -> Result<(), Failure> {
    let failed = |why: std::io::Error| Failure::Usage(format!("{}: {why}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    for (name, text) in report.files(compared) {
        fs::write(folder.join(name), text).map_err(failed)?;
    }
    eprintln!("the report is {}", folder.join("report.html").display());
    Ok(())
}
