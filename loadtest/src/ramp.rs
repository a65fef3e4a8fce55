//! `ramp`: the highest load that holds the objectives, looked for with one run per load.

mod knee;

use knee::Search;

use crate::arguments::{Raise, RampArguments};
use crate::report::figures::{number, time};
use crate::report::{Ended, Raises, Ramp, Report, Standing, Step};
use crate::run::{self, Load};
use crate::slo::Slos;
use crate::{Failure, interrupt};

/// What is to be held if nothing is stated.
const SLOS: &str = "p99<50ms,errors=0,gaps=0";

/// Seconds of a step if nothing is said.
const SECONDS: f64 = 5.0;

/// Raises the load until an objective breaks, and reports the highest that held them all.
pub(crate) fn run(typed: &RampArguments) -> Result<(), Failure> {
    if !(typed.factor.is_finite() && typed.factor > 1.0)
        || typed.steps == 0
        || typed.from.is_some_and(|from| from.is_nan() || from < 1.0)
    {
        return Err(Failure::Usage("--factor must be more than 1, --from and --steps 1 at least".to_owned()));
    }
    let slos = typed.run.slo.clone().unwrap_or_else(|| SLOS.parse().expect("they are right, a test reads them"));
    let baseline = run::read_baseline(typed.run.baseline.as_deref())?;
    interrupt::listen()?;
    let (server, mut run) = run::serve(&typed.run)?;
    run.workload.seconds.get_or_insert(SECONDS);
    let load = Load::resolve(&run)?;
    run::check_baseline(baseline.as_ref(), &load)?;
    let from = typed.from.unwrap_or(match typed.raise {
        Raise::Rate => load.workload.publish.rate,
        Raise::Connections => load.workload.swarm.connections.max(1) as f64,
    });
    let raises = match typed.raise {
        Raise::Rate => Raises::Rate,
        Raise::Connections => Raises::Connections,
    };
    let (mut search, mut steps) = (Search::new(from, typed.factor, typed.steps), Vec::new());
    let (mut best, mut last, mut stopped) = (None, None, None);
    while let Some(amount) = search.next() {
        let tried = settled(|| {
            let tried = step(&load, typed.raise, amount, &slos)?;
            println!("{}", said(raises, &tried.1));
            Ok(tried)
        });
        // A load that was cut short says nothing.
        if interrupt::is_asked() {
            break;
        }
        let (report, step) = match tried {
            Ok(tried) => tried,
            Err(failure) if steps.is_empty() => return Err(failure),
            // What is known of the loads before it is still worth a report.
            Err(failure) => {
                let why = ended(amount, raises, &failure);
                eprintln!("{why}");
                stopped = Some(why);
                break;
            }
        };
        search.note(step.held());
        if step.held() {
            best = Some(report);
        } else {
            last = Some(report);
        }
        steps.push(step);
    }
    let mut report = best.or(last).ok_or(Failure::Interrupted)?;
    run::end_server(server, &mut report);
    if interrupt::is_asked() {
        report.run.ended = Ended::CutShort;
    }
    report.ramp = Some(Ramp { raises, steps, knee: search.knee(), p99_bound_us: slos.p99_bound_us(), stopped });
    run::finish(&report, &run, baseline.as_ref())?;
    // The objectives may all be met, and still no load be held: the generator did less than it was to.
    if search.knee().is_some() { Ok(()) } else { Err(Failure::Missed) }
}

/// What `attempt` comes to. One that broke says little alone, be it for a moment in which the host did something else: it is
/// tried once more, and that counts.
fn settled<R>(mut attempt: impl FnMut() -> Result<(R, Step), Failure>) -> Result<(R, Step), Failure> {
    let first = attempt()?;
    if first.1.held() || interrupt::is_asked() {
        return Ok(first);
    }
    // If it can't be tried again, the first one tells why.
    Ok(attempt().unwrap_or(first))
}

/// Why a load couldn't be tried, though others were.
fn ended(amount: f64, raises: Raises, failure: &Failure) -> String {
    let load = format!("{} {}", number(amount), raises.unit());
    match failure {
        Failure::Unreachable(why) => format!("At {load} the target couldn't be reached any more: {why}"),
        Failure::Usage(why) | Failure::Machine(why) => format!("At {load} this host was the limit: {why}"),
        other => format!("At {load}: {other}"),
    }
}

/// One load, and whether it held.
fn step(load: &Load, raise: Raise, amount: f64, slos: &Slos) -> Result<(Report, Step), Failure> {
    let load = match raise {
        Raise::Rate => load.at_rate(amount),
        Raise::Connections => load.with_connections(amount as usize),
    };
    let mut report = run::once(&load)?;
    report.objectives = slos.judge(&report);
    let mut broke: Vec<String> =
        report.objectives.iter().filter(|objective| !objective.met).map(|objective| objective.stated.clone()).collect();
    // What the generator can't do says nothing about the server.
    if report.generator.standing() == Standing::Saturated {
        broke.push("the generator saturated itself".to_owned());
    }
    if report.run.ended == Ended::Broken {
        broke.push("the run broke off".to_owned());
    }
    let latency = report.latency();
    let step = Step { load: amount, per_s: report.per_s(), p50_us: latency.at(0.5), p99_us: latency.at(0.99), broke };
    Ok((report, step))
}

fn said(raises: Raises, step: &Step) -> String {
    format!(
        "{:>9} {}  {:>10} per second  p99 {:>8}  {}",
        number(step.load),
        raises.unit(),
        number(step.per_s),
        time(step.p99_us),
        step.verdict()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(broke: &str) -> Result<(usize, Step), Failure> {
        let broke = Some(broke.to_owned()).filter(|broke| !broke.is_empty()).into_iter().collect();
        Ok((0, Step { load: 1.0, per_s: 1.0, p50_us: 1, p99_us: 1, broke }))
    }

    #[test]
    fn what_broke_is_tried_once_more() {
        let unreachable = || Err(Failure::Unreachable("it is gone".to_owned()));
        for (outcomes, held, left) in [
            (vec![tried("")], true, 0),
            (vec![tried("p99"), tried("")], true, 0),
            (vec![tried("p99"), tried("p99"), tried("")], false, 1),
            (vec![tried("p99"), unreachable(), tried("")], false, 1),
        ] {
            let mut outcomes = outcomes.into_iter();
            let settled = settled(|| outcomes.next().expect("no more than two"));
            assert_eq!((settled.expect("an outcome").1.held(), outcomes.len()), (held, left));
        }
        assert!(settled(unreachable).is_err(), "one that can't be tried is an error");
    }

    #[test]
    fn what_ends_a_ramp_before_its_knee_is_told() {
        let usage = Failure::Usage("2000 connections need --spread 2".to_owned());
        assert_eq!(
            ended(2000.0, Raises::Connections, &usage),
            "At 2,000 followers this host was the limit: 2000 connections need --spread 2"
        );
        let gone = ended(40.0, Raises::Rate, &Failure::Unreachable("nobody".to_owned()));
        assert_eq!(gone, "At 40 writes/s the target couldn't be reached any more: nobody");
    }
}
