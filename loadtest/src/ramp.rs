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
    let from = typed.from.unwrap_or(match typed.raise {
        Raise::Rate => load.workload.publish.rate,
        Raise::Connections => load.workload.swarm.connections.max(1) as f64,
    });
    let raises = match typed.raise {
        Raise::Rate => Raises::Rate,
        Raise::Connections => Raises::Connections,
    };
    let (mut search, mut steps) = (Search::new(from, typed.factor, typed.steps), Vec::new());
    let (mut best, mut last) = (None, None);
    while let Some(amount) = search.next() {
        let tried = step(&load, typed.raise, amount, &slos);
        // A load that was cut short says nothing.
        if interrupt::is_asked() {
            break;
        }
        let (report, step) = match tried {
            // What is known of the loads before it is still worth a report.
            Err(Failure::Unreachable(why)) if !steps.is_empty() => {
                eprintln!("at {amount} the target can't be reached any more: {why}");
                break;
            }
            tried => tried?,
        };
        println!("{}", said(raises, &step));
        search.note(step.broke.is_empty());
        if step.broke.is_empty() {
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
    report.ramp = Some(Ramp { raises, steps, knee: search.knee(), p99_bound_us: slos.p99_bound_us() });
    run::finish(&report, &run, baseline.as_ref())
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
