//! `run`: goose's users and the swarm on one target, measured together, and a report of it. This file is the run's course.

mod load;
mod outcome;
mod timeline;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use goose::metrics::GooseMetrics;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

pub(crate) use load::Load;
use outcome::Measured;
use timeline::Timeline;

use crate::arguments::RunArguments;
use crate::fantail::Fantail;
use crate::live::{Live, Moment};
use crate::report::{Comparison, Ended, Report, Standing};
use crate::scenario::{self, Context, Phase};
use crate::swarm::{self, Plan, Process, Voice};
use crate::{Failure, interrupt, reach, show};

/// How often it is looked whether all are where they are waited for.
const LOOK: Duration = Duration::from_millis(5);

/// How often goose is told that the run is over.
const AGAIN: Duration = Duration::from_millis(500);

/// A run, from arguments to exit code.
pub(crate) fn run(typed: &RunArguments) -> Result<(), Failure> {
    let baseline = read_baseline(typed.baseline.as_deref())?;
    interrupt::listen()?;
    let (server, typed) = serve(typed)?;
    let load = Load::resolve(&typed)?;
    check_baseline(baseline.as_ref(), &load)?;
    let mut report = once(&load)?;
    end_server(server, &mut report);
    report.objectives = typed.slo.as_ref().map(|slos| slos.judge(&report)).unwrap_or_default();
    finish(&report, &typed, baseline.as_ref())
}

/// Starts a server if none is named; its URL and its process are then as if they had been typed.
pub(crate) fn serve(typed: &RunArguments) -> Result<(Option<Fantail>, RunArguments), Failure> {
    if typed.url.is_some() {
        return Ok((None, typed.clone()));
    }
    if typed.target != "fantail" {
        return Err(Failure::Usage(format!("--target {} needs a URL: only a Fantail is started here", typed.target)));
    }
    let server = Fantail::start()?;
    let typed = RunArguments { url: Some(server.url.clone()), pid: Some(server.pid()), ..typed.clone() };
    Ok((Some(server), typed))
}

/// Ends the server that was started, if one was, and notes which one that was.
pub(crate) fn end_server(server: Option<Fantail>, report: &mut Report) {
    if let Some(server) = server {
        report.machine.server_version = Some(server.version.clone());
    }
}

/// The report that is compared with.
pub(crate) fn read_baseline(path: Option<&Path>) -> Result<Option<Report>, Failure> {
    let read =
        |path: &Path| Report::read(path).map_err(|why| Failure::Usage(format!("--baseline {}: {why}", path.display())));
    path.map(read).transpose()
}

/// Refuses to run what can't be compared afterwards.
pub(crate) fn check_baseline(baseline: Option<&Report>, load: &Load) -> Result<(), Failure> {
    let refusal = baseline.and_then(|before| Comparison::refusal(before, load.workload.has_followers()));
    refusal.map_or(Ok(()), |why| Err(Failure::Usage(format!("--baseline: {why}"))))
}

/// Writes the report, prints the two numbers, and says with the exit code what became of the objectives.
pub(crate) fn finish(report: &Report, typed: &RunArguments, baseline: Option<&Report>) -> Result<(), Failure> {
    let comparison = baseline.map(|before| Comparison::new(before, report, &typed.tolerance));
    println!("{}", report.headline());
    for objective in &report.objectives {
        let found = objective.found.as_deref().unwrap_or("nothing to judge");
        println!("{} {}: {found}", if objective.met { "met   " } else { "MISSED" }, objective.stated);
    }
    for (why, count) in &report.errors {
        println!("{count} x {why}");
    }
    if report.generator.standing() == Standing::Saturated {
        println!("warning: {}", report.generator.sentence());
    }
    show::save(report, baseline.zip(comparison.as_ref()), &typed.to)?;
    if let Some(comparison) = &comparison {
        print!("{comparison}");
    }
    match report.run.ended {
        Ended::CutShort => return Err(Failure::Interrupted),
        Ended::Broken => return Err(Failure::Broken),
        Ended::Whole => {}
    }
    let is_missed = report.objectives.iter().any(|objective| !objective.met);
    match is_missed || comparison.is_some_and(|comparison| comparison.is_worse()) {
        true => Err(Failure::Missed),
        // Without objectives nothing at all may be wrong.
        false if report.objectives.is_empty() && !report.is_clean() => Err(Failure::Faults),
        false => Ok(()),
    }
}

/// One measured run.
pub(crate) fn once(load: &Load) -> Result<Report, Failure> {
    let plan = Arc::new(Plan::resolve(&load.swarm)?);
    let runtime =
        Builder::new_multi_thread().enable_all().build().map_err(|error| Failure::Machine(error.to_string()))?;
    let client = load.client()?;
    runtime.block_on(load.create(&client))?;
    let reached = runtime.block_on(reach::follow(&client, &load.first_topic()))?;
    swarm::warnings(&plan).iter().for_each(|warning| eprintln!("warning: {warning}"));
    swarm::prepare(&plan)?;
    let pid = load.pid.map(|pid| pid.to_string());
    if let Some(pid) = &pid {
        Process::read(pid).map_err(|error| Failure::Usage(format!("--pid {pid}: {error}")))?;
    }
    let seed = plan.is_random().then_some(plan.seed);
    let mut swarm = swarm::Run::start(plan, pid.into_iter().collect(), Voice::Silent)?;
    let context = Arc::new(load.context(client));
    let attack = {
        let context = Arc::clone(&context);
        runtime.spawn(async move { scenario::attack(&context).await })
    };
    let live = Live::start();
    let started = Instant::now();
    let opened = swarm.connect().and_then(|()| open(&context, &live, started));
    let measured = opened.map(|()| {
        let timeline = Timeline::start(load, &context, swarm.progress(), live);
        context.phase.send_replace(Phase::Measuring);
        swarm.measure();
        let absent = context.closed.load(Ordering::Acquire) * 100 > context.following();
        let ended = match interrupt::is_asked() {
            true => Ended::CutShort,
            false if absent || swarm.broke() => Ended::Broken,
            false => Ended::Whole,
        };
        let timeline = timeline.end();
        let _ = context.published.set(swarm.published());
        context.phase.send_replace(Phase::Closing);
        close(&context);
        (timeline, ended)
    });
    let goose = end(&runtime, attack);
    let swarm = swarm.end()?;
    let (timeline, ended) = measured?;
    Ok(outcome::report(load, &context, Measured { swarm, goose: goose?, timeline, reached, seed, ended }))
}

/// Until goose's followers follow, or have failed.
fn open(context: &Context, live: &Live, started: Instant) -> Result<(), Failure> {
    let mut changed = (0, Instant::now());
    loop {
        let opened = context.opened.load(Ordering::Acquire);
        if interrupt::is_asked() {
            return Err(Failure::Interrupted);
        }
        if opened >= context.following() {
            return Ok(());
        }
        if opened != changed.0 {
            changed = (opened, Instant::now());
        }
        if changed.1.elapsed() > context.patience {
            let why = format!("{opened} of {} followers are answered; then nothing more came", context.following());
            return Err(Failure::Unreachable(why));
        }
        let (doing, elapsed_s) = ("connecting".to_owned(), started.elapsed().as_secs_f64());
        live.tell(Moment { doing, elapsed_s, followers: opened as u64, ..Moment::default() });
        thread::sleep(LOOK);
    }
}

/// Until goose's followers have compared what they have; each has its own patience, and all of them end.
fn close(context: &Context) {
    let patient = Instant::now() + context.patience * 2;
    while context.closed.load(Ordering::Acquire) < context.following() && Instant::now() < patient {
        thread::sleep(LOOK);
    }
    let late = context.following() - context.closed.load(Ordering::Acquire);
    if late > 0 {
        context.error(format!("{late} followers didn't compare in time"));
    }
}

/// Ends goose. It takes note of the killswitch a second later at most, but forgets one that is thrown before it begins: hence
/// again and again.
fn end(
    runtime: &Runtime,
    mut attack: tokio::task::JoinHandle<Result<GooseMetrics, goose::GooseError>>,
) -> Result<GooseMetrics, Failure> {
    let ended = runtime.block_on(async {
        loop {
            goose::trigger_killswitch("the run is over");
            if let Ok(ended) = timeout(AGAIN, &mut attack).await {
                break ended;
            }
        }
    });
    match ended {
        Ok(Ok(metrics)) => Ok(metrics),
        Ok(Err(error)) => Err(Failure::Machine(format!("goose: {error}"))),
        Err(error) => Err(Failure::Machine(format!("goose: {error}"))),
    }
}
