//! What a run came to: goose's metrics, the swarm's findings and the seconds between, put together as a report.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{SystemTime, UNIX_EPOCH};

use goose::metrics::{GooseMetrics, GooseRequestMetricAggregate};

use super::Load;
use super::timeline::Seconds;
use crate::reach::Reached;
use crate::report::{
    Clock, Delivery, Ended, Hosts, Latency, Machine, Report, Run, SCHEMA, Scenario, Server, TimedFrom,
};
use crate::scenario::{Context, Found, SECOND};
use crate::swarm;
use crate::target::Target;

/// The parts.
pub(crate) struct Measured {
    /// What the swarm found, and what was published.
    pub(crate) swarm: swarm::Report,
    /// What goose counted.
    pub(crate) goose: GooseMetrics,
    /// The seconds.
    pub(crate) timeline: Seconds,
    /// What the server said of itself.
    pub(crate) reached: Reached,
    /// What all that is random came from.
    pub(crate) seed: Option<u64>,
    /// Whether it lasted as long as it was to, and with those that were to be there.
    pub(crate) ended: Ended,
}

/// The report.
pub(crate) fn report(load: &Load, context: &Context, measured: Measured) -> Report {
    let Measured { swarm, goose, timeline, reached, seed, ended } = measured;
    let window = swarm.window.as_secs_f64().max(1e-9);
    let hosts = match Target::resolve(&load.first_topic()) {
        // An address can be bound on the host alone whose it is.
        Ok(target) if UdpSocket::bind((target.address.ip(), 0)).is_err() => Hosts::Two,
        Ok(_) | Err(_) => Hosts::One,
    };
    let mut errors = swarm.errors.clone();
    let found = context.found.lock().expect("nobody panics with it");
    found.errors.iter().for_each(|(why, count)| *errors.entry(why.clone()).or_default() += count);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let server = swarm.readings.map(|reading| reading.server);
    Report {
        schema: SCHEMA,
        run: Run {
            scenario: load.name.clone(),
            target: load.urls.base.clone(),
            preset: load.target.clone(),
            arguments: arguments(),
            seed,
            started_unix_s: now_s.saturating_sub(window as u64),
            measured_s: window,
            ended,
            hosts,
            clock: Clock::One,
        },
        machine: Machine::read(reached.server),
        scenarios: scenarios(&swarm, &goose, window),
        delivery: delivery(load, context, &found, &swarm, window),
        server: load.pid.zip(server[1].zip(server[2])).map(|(pid, (from, to))| Server {
            pid,
            cpu_s: to.cpu.saturating_sub(from.cpu).as_secs_f64(),
            resident_before_bytes: server[0].map_or(0, |process| process.resident),
            resident_following_bytes: from.resident,
            resident_max_bytes: timeline.server_resident_max.max(to.resident),
            descriptors: to.descriptors,
        }),
        generator: swarm.generator(
            load.workload.publish.publishers as u64,
            timeline.own_resident_max.max(swarm.readings[2].own.resident),
        ),
        timeline: timeline.seconds,
        objectives: Vec::new(),
        ramp: None,
        errors,
    }
}

/// The command line, without what is secret.
fn arguments() -> Vec<String> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    for at in 0..arguments.len() {
        let is_secret = |option: &str| ["--token", "--header"].contains(&option);
        match arguments[at].split_once('=') {
            Some((option, _)) if is_secret(option) => arguments[at] = format!("{option}=…"),
            _ if at > 0 && is_secret(&arguments[at - 1]) => arguments[at] = "…".to_owned(),
            _ => {}
        }
    }
    arguments
}

/// What was asked and answered: the open loop's writes, and what goose's users did.
fn scenarios(swarm: &swarm::Report, goose: &GooseMetrics, window: f64) -> Vec<Scenario> {
    let failures = |errors: &BTreeMap<String, u64>| -> u64 {
        errors.iter().filter(|(why, _)| why.starts_with("write")).map(|(_, count)| count).sum()
    };
    let writes = swarm.writes.iter().map(|writes| Scenario {
        name: "publisher".to_owned(),
        timed_from: TimedFrom::Intended,
        requests: writes.latency.len(),
        failures: failures(&swarm.errors),
        requests_per_s: writes.latency.len() as f64 / window,
        latency: writes.latency.clone().into(),
    });
    // The swarm's seconds are among goose's metrics, for goose to see all of a run. In a table of requests they'd be a row of
    // requests that nobody made: the report has the seconds as its timeline, and what they are of as the delivery's histogram.
    let mut users: Vec<&GooseRequestMetricAggregate> =
        goose.requests.values().filter(|request| request.path != SECOND).collect();
    users.sort_by(|one, two| one.path.cmp(&two.path));
    let users = users.into_iter().map(|request| Scenario {
        name: request.path.clone(),
        timed_from: TimedFrom::Sent,
        requests: (request.success_count + request.fail_count) as u64,
        failures: request.fail_count as u64,
        requests_per_s: (request.success_count + request.fail_count) as f64 / window,
        latency: latency(request),
    });
    writes.chain(users).collect()
}

/// goose's buckets, each a 64th of a power of two wide at most.
fn latency(request: &GooseRequestMetricAggregate) -> Latency {
    let mut latency = Latency::new();
    for (&floor_us, &count) in request.raw_data.times_us.iter() {
        let value_us = floor_us.clamp(request.raw_data.minimum_time_us, request.raw_data.maximum_time_us);
        latency.record_n(value_us, count as u64);
    }
    latency
}

/// What followers received, the swarm's and goose's together.
fn delivery(load: &Load, context: &Context, found: &Found, swarm: &swarm::Report, window: f64) -> Option<Delivery> {
    let followers = context.following() as u64;
    if !load.workload.has_followers() {
        return None;
    }
    let per_topic = |published: &Vec<u64>| -> u64 {
        let topic = |number: usize| context.rules.of_topic(published, number % context.topics.len());
        // Numbers of followers were drawn in any order, but all of them were drawn.
        (0..context.following()).map(|number| topic(number).iter().sum::<u64>()).sum()
    };
    let goose_due = if followers > 0 { context.published.get().map(per_topic) } else { Some(0) };
    let mut latency: Latency = swarm.latency.clone().into();
    latency.add(&found.latency);
    let frames = swarm.frames + found.frames;
    Some(Delivery {
        followers: swarm.connections + followers,
        following: swarm.following + found.following,
        connecting_s: swarm.connecting.as_secs_f64(),
        frames_due: swarm.expected.zip(goose_due).map(|(swarm, goose)| swarm + goose),
        frames,
        frames_per_s: frames as f64 / window,
        bytes: swarm.bytes + found.bytes,
        gaps: swarm.faults.lost + found.faults.lost,
        repeats: swarm.faults.repeated + found.faults.repeated,
        reordered: swarm.faults.disordered + found.faults.disordered,
        resets: swarm.resets + found.resets,
        latency,
    })
}
