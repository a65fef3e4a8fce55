//! A report against an earlier one. A figure is worse if it changed for the worse by more than its tolerance, which is stated
//! beside it: the greater of a share and an amount below which a share is noise.

use std::fmt::{self, Write};

use super::Report;
use super::figures::{Better, Figure, Tolerance, Unit};

/// What a figure came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Better by more than the tolerance.
    Better,
    /// Within the tolerance.
    Same,
    /// Worse by more than the tolerance.
    Worse,
    /// It is shown and not judged.
    Unjudged,
    /// The earlier report doesn't have it, or it wouldn't be judged.
    Missing,
}

impl Verdict {
    /// A word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Same => "same",
            Verdict::Worse => "WORSE",
            Verdict::Unjudged => "not judged",
            Verdict::Missing => "not in both",
        }
    }
}

/// A figure of both reports.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    /// See [`Figure`].
    pub(crate) name: String,
    unit: Unit,
    before: Option<f64>,
    now: Option<f64>,
    tolerance: Option<Tolerance>,
    /// What it came to.
    pub(crate) verdict: Verdict,
}

/// All figures of both reports.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    /// In the order of [`Report::figures`]; those that only the earlier one has are last.
    pub(crate) differences: Vec<Difference>,
    /// Why the two may not be comparable.
    pub(crate) notes: Vec<String>,
}

/// Tolerances that were asked for: a figure's name and a share.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Tolerances(Vec<(String, f64)>);

/// What isn't a list of tolerances.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' isn't a tolerance: p99=20%, say, several of them with commas between")]
pub(crate) struct NotATolerance(String);

impl std::str::FromStr for Tolerances {
    type Err = NotATolerance;

    fn from_str(text: &str) -> Result<Tolerances, NotATolerance> {
        if text.trim().is_empty() {
            return Ok(Tolerances::default());
        }
        let one = |part: &str| {
            let (name, share) = part.split_once('=')?;
            let percent: f64 = share.trim().strip_suffix('%')?.trim().parse().ok()?;
            (percent >= 0.0 && percent.is_finite()).then(|| (name.trim().to_owned(), percent / 100.0))
        };
        let parts = text.split(',').map(|part| one(part).ok_or_else(|| NotATolerance(part.trim().to_owned())));
        Ok(Tolerances(parts.collect::<Result<_, _>>()?))
    }
}

impl Tolerances {
    /// The share that was asked for; the floor stays, since noise does.
    fn of(&self, figure: &Figure) -> Option<Tolerance> {
        let asked = self.0.iter().rev().find(|(name, _)| *name == figure.name);
        match (asked, figure.tolerance) {
            (Some(&(_, share)), Some(Tolerance { floor, .. })) => Some(Tolerance { share, floor }),
            (Some(&(_, share)), None) => Some(Tolerance { share, floor: 0.0 }),
            (None, tolerance) => tolerance,
        }
    }
}

impl Comparison {
    /// Compares `now` with `before`.
    pub(crate) fn new(before: &Report, now: &Report, tolerances: &Tolerances) -> Comparison {
        let (earlier, later) = (before.figures(), now.figures());
        let of = |figures: &[Figure], name: &str| figures.iter().find(|figure| figure.name == name).map(|it| it.value);
        let gone = earlier.iter().filter(|figure| of(&later, &figure.name).is_none());
        let differences = later.iter().chain(gone).map(|figure| {
            let values = (of(&earlier, &figure.name), of(&later, &figure.name));
            let tolerance = tolerances.of(figure);
            let verdict = match (values, tolerance) {
                ((Some(before), Some(now)), Some(tolerance)) => judge(before, now, figure.better, tolerance),
                ((Some(_), Some(_)), None) => Verdict::Unjudged,
                // What isn't measured any more can't be held.
                ((Some(_), None), Some(_)) => Verdict::Worse,
                _ => Verdict::Missing,
            };
            let (before, now) = values;
            Difference { name: figure.name.clone(), unit: figure.unit, before, now, tolerance, verdict }
        });
        let known = |name: &str| later.iter().chain(&earlier).any(|figure| figure.name == name);
        let unknown = tolerances.0.iter().filter(|(name, _)| !known(name));
        let unknown = unknown.map(|(name, _)| format!("there is no figure '{name}' to have a tolerance"));
        let differences = differences.collect();
        Comparison { differences, notes: notes(before, now).into_iter().chain(unknown).collect() }
    }

    /// Why a run can't be compared with an earlier one at all, if it can't: rate and latency are of frames if there are
    /// followers, and else of requests.
    pub(crate) fn refusal(before: &Report, has_followers: bool) -> Option<&'static str> {
        match (before.delivery.is_some(), has_followers) {
            (true, false) => Some("it had followers and this run has none: rates and latencies are of something else"),
            (false, true) => {
                Some("it had no followers and this run has some: rates and latencies are of something else")
            }
            (true, true) | (false, false) => None,
        }
    }

    /// Whether any figure is worse.
    pub(crate) fn is_worse(&self) -> bool {
        self.differences.iter().any(|difference| difference.verdict == Verdict::Worse)
    }

    /// What it came to, as a sentence.
    pub(crate) fn sentence(&self) -> String {
        let names = |verdict| {
            let of = self.differences.iter().filter(|difference| difference.verdict == verdict);
            let mut names: Vec<&str> = of.map(|difference| difference.name.as_str()).collect();
            let others = names.len().saturating_sub(NAMED_MAX);
            names.truncate(NAMED_MAX);
            match others {
                0 => names.join(", "),
                others => format!("{} and {others} more", names.join(", ")),
            }
        };
        match (names(Verdict::Worse), names(Verdict::Better)) {
            (worse, better) if worse.is_empty() && better.is_empty() => {
                "As the baseline, within the tolerances.".to_owned()
            }
            (worse, better) if worse.is_empty() => format!("No worse than the baseline; better: {better}."),
            (worse, better) if better.is_empty() => format!("Worse than the baseline: {worse}."),
            (worse, better) => format!("Worse than the baseline: {worse}; better: {better}."),
        }
    }
}

/// Figures that the sentence names; all are in the table.
const NAMED_MAX: usize = 6;

/// What the two differ in before anything was measured.
fn notes(before: &Report, now: &Report) -> Vec<String> {
    let (was, is) = (&before.machine, &now.machine);
    let differs = |what: &str, before: &str, now: &str| format!("another {what}: {before} before, {now} now");
    let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "unknown".to_owned());
    let arguments = |report: &Report| report.run.arguments.join(" ");
    let pairs = [
        ("CPU", format!("{} × {}", was.cpus, was.cpu), format!("{} × {}", is.cpus, is.cpu)),
        ("kernel", was.kernel.clone(), is.kernel.clone()),
        ("version of fantail-load", was.generator_version.clone(), is.generator_version.clone()),
        ("server", version(&was.server_version), version(&is.server_version)),
        ("scenario", before.run.scenario.clone(), now.run.scenario.clone()),
        ("command line", arguments(before), arguments(now)),
    ];
    pairs.iter().filter(|(_, was, is)| was != is).map(|(what, was, is)| differs(what, was, is)).collect()
}

fn judge(before: f64, now: f64, better: Better, tolerance: Tolerance) -> Verdict {
    let worse_by = match better {
        Better::Higher => before - now,
        Better::Lower => now - before,
    };
    let allowed = (before.abs() * tolerance.share).max(tolerance.floor);
    match worse_by {
        worse_by if worse_by > allowed => Verdict::Worse,
        worse_by if -worse_by > allowed => Verdict::Better,
        _ => Verdict::Same,
    }
}

impl Difference {
    /// The verdict, before, now, the change in per cent and the tolerance: a table's cells behind the name.
    pub(crate) fn cells(&self) -> [String; 5] {
        let text = |value: Option<f64>| value.map_or("–".to_owned(), |value| self.unit.text(value));
        let change = match (self.before, self.now) {
            (Some(before), Some(now)) if before == now => "0 %".to_owned(),
            (Some(before), Some(now)) if before != 0.0 => {
                let percent = (now - before) / before * 100.0;
                let sign = if percent < 0.0 { '−' } else { '+' };
                format!("{sign}{:.1} %", percent.abs())
            }
            _ => "–".to_owned(),
        };
        let tolerance = self.tolerance.map_or("–".to_owned(), |Tolerance { share, floor }| match (share, floor) {
            (0.0, 0.0) => "none".to_owned(),
            (share, 0.0) => format!("{:.0} %", share * 100.0),
            (share, floor) => format!("{:.0} % or {}", share * 100.0, self.unit.text(floor)),
        });
        [self.verdict.word().to_owned(), text(self.before), text(self.now), change, tolerance]
    }
}

/// The names of a difference's cells.
pub(crate) const HEAD: [&str; 6] = ["figure", "verdict", "baseline", "now", "change", "tolerance"];

impl fmt::Display for Comparison {
    /// For a terminal: a column per cell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.differences.iter().map(|difference| {
            let mut row = vec![difference.name.clone()];
            row.extend(difference.cells());
            row
        });
        let mut table = vec![HEAD.map(str::to_owned).to_vec()];
        table.extend(rows);
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        for row in &table {
            let mut line = format!("{:<1$}", row[0], widths[0]);
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                write!(line, "  {cell:>width$}")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        writeln!(f, "{}", self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance { share: 0.10, floor: 500.0 };

    #[test]
    fn worse_is_what_exceeds_both_the_share_and_the_floor() {
        for (before, now, better, verdict) in [
            (10_000.0, 11_000.0, Better::Lower, Verdict::Same),
            (10_000.0, 11_001.0, Better::Lower, Verdict::Worse),
            (10_000.0, 8_999.0, Better::Lower, Verdict::Better),
            (10_000.0, 8_999.0, Better::Higher, Verdict::Worse),
            (10_000.0, 11_001.0, Better::Higher, Verdict::Better),
            (100.0, 600.0, Better::Lower, Verdict::Same),
            (100.0, 601.0, Better::Lower, Verdict::Worse),
            (0.0, 500.0, Better::Lower, Verdict::Same),
        ] {
            assert_eq!(judge(before, now, better, TOLERANCE), verdict, "{before} to {now}, {better:?}");
        }
        let none = Tolerance { share: 0.0, floor: 0.0 };
        assert_eq!(judge(0.0, 1.0, Better::Lower, none), Verdict::Worse);
        assert_eq!(judge(1.0, 1.0, Better::Lower, none), Verdict::Same);
    }

    #[test]
    fn what_is_not_measured_any_more_is_worse() {
        let text = include_str!("../../../fixtures/reports/canonical.json");
        let before: Report = serde_json::from_str(text).expect("a report");
        let mut now = before.clone();
        now.scenarios.remove(0);
        let verdict = |before: &Report, now: &Report, name: &str| {
            let comparison = Comparison::new(before, now, &Tolerances::default());
            let found = comparison.differences.iter().find(|difference| difference.name == name).map(|one| one.verdict);
            (comparison.is_worse(), found)
        };
        let gone = format!("{} p99", before.scenarios[0].name);
        assert_eq!(verdict(&before, &now, &gone), (true, Some(Verdict::Worse)));
        assert_eq!(verdict(&now, &before, &gone), (false, Some(Verdict::Missing)), "what is new is no worse");
        assert!(Comparison::refusal(&before, true).is_none() && Comparison::refusal(&before, false).is_some());
        now.delivery = None;
        assert!(Comparison::refusal(&now, false).is_none() && Comparison::refusal(&now, true).is_some());
    }

    #[test]
    fn tolerances_are_a_list() {
        let figure = |name: &str, tolerance| {
            let name = name.to_owned();
            Figure { name, value: 1.0, unit: Unit::Time, better: Better::Lower, tolerance }
        };
        let asked: Tolerances = "p99 = 20%, create p99=2.5% ,max=50%".parse().expect("tolerances");
        assert_eq!(asked.of(&figure("p99", Some(TOLERANCE))), Some(Tolerance { share: 0.2, floor: 500.0 }));
        assert_eq!(asked.of(&figure("create p99", Some(TOLERANCE))), Some(Tolerance { share: 0.025, floor: 500.0 }));
        assert_eq!(asked.of(&figure("max", None)), Some(Tolerance { share: 0.5, floor: 0.0 }));
        assert_eq!(asked.of(&figure("p50", Some(TOLERANCE))), Some(TOLERANCE));
        assert_eq!("".parse(), Ok(Tolerances::default()));
        for wrong in ["p99", "p99=20", "p99=-1%", "p99=%", "p99=inf%", "p99=1%,", "=1%;"] {
            assert!(wrong.parse::<Tolerances>().is_err(), "{wrong}");
        }
    }
}
