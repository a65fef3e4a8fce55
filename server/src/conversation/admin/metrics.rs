//! The metrics: what the cores have counted since the start, and how streams, seats and memory are now.
//!
//! Only what is counted anyway, added up when it is asked for. The labels without a fixed set of values are origins, which are those
//! of the configuration, and streams, of which there are at most [`STREAMS_MAX`](fantail_engine::limits::STREAMS_MAX).

use std::collections::BTreeMap;

use fantail_engine::protocol::exposition::{Exposition, Kind};

use super::report::{Followed, followed};
use crate::core::Core;
use crate::core::survey::Survey;
use crate::origin::Counted;

/// The text of all metrics.
pub(super) fn expose(core: &Core, surveys: &[Survey]) -> Vec<u8> {
    let mut out = Exposition::default();
    process(&mut out, core);
    conversations(&mut out, surveys);
    audience(&mut out, surveys);
    log(&mut out, surveys);
    channels(&mut out, surveys);
    origins(&mut out, surveys);
    streams(&mut out, &followed(surveys), core);
    out.finish()
}

fn process(out: &mut Exposition, core: &Core) {
    let mut build = out.metric("fantail_build_info", Kind::Gauge, "Always 1; the label says which version runs.");
    build.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let uptime = core.cores().begun.elapsed().as_secs_f64();
    out.single("fantail_uptime_seconds", Kind::Gauge, "Seconds since the server began.", uptime);
    out.single("fantail_cores", Kind::Gauge, "Threads that serve.", core.cores().count());
    if let Some(bytes) = resident_bytes() {
        out.single("process_resident_memory_bytes", Kind::Gauge, "Resident memory of the process.", bytes);
    }
}

/// Resident memory as the kernel has it; none on a system without /proc.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?;
    Some(kib.parse::<u64>().ok()? * 1024)
}

/// Adds up what each core has counted.
fn sum(surveys: &[Survey], count: fn(&Survey) -> u64) -> u64 {
    surveys.iter().map(count).sum()
}

fn conversations(out: &mut Exposition, surveys: &[Survey]) {
    let mut counter = |name, help, count| out.single(name, Kind::Counter, help, sum(surveys, count));
    counter("fantail_connections_total", "Connections that were accepted.", |survey| survey.talk.accepted);
    let help = "Connections that were only told that the server is full.";
    counter("fantail_connections_turned_away_total", help, |survey| survey.talk.turned_away);
    let now = sum(surveys, |survey| survey.conversations as u64);
    out.single("fantail_conversations", Kind::Gauge, "Connections that talk now; seats aren't among them.", now);
    let help = "Requests that were answered, by the class of the status; those to follow when they were seated.";
    let mut requests = out.metric("fantail_requests_total", Kind::Counter, help);
    for (class, code) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().enumerate().skip(1) {
        let answers = surveys.iter().map(|survey| survey.talk.answers[class]).sum::<u64>();
        requests.sample(&[("code", code)], answers);
    }
}

fn audience(out: &mut Exposition, surveys: &[Survey]) {
    let mut add = |name, kind, help, count| out.single(name, kind, help, sum(surveys, count));
    add("fantail_seats", Kind::Gauge, "Seats that are taken now.", |survey| survey.audience.seated as u64);
    let help = "Those of them whose socket is full.";
    add("fantail_seats_stalled", Kind::Gauge, help, |survey| survey.audience.stalled as u64);
    add("fantail_seatings_total", Kind::Counter, "Seats that were taken.", |survey| survey.audience.seatings);
    let help = "Seats that were left, for whatever reason.";
    add("fantail_departures_total", Kind::Counter, help, |survey| survey.audience.departures);
    let help = "Seats that were closed as retention had passed them.";
    add("fantail_expirations_total", Kind::Counter, help, |survey| survey.audience.expired);
    let help = "Times that a seat's socket was full.";
    add("fantail_stalls_total", Kind::Counter, help, |survey| survey.audience.stalls);
    let help = "Sends to seats; each holds one frame or many.";
    add("fantail_sends_total", Kind::Counter, help, |survey| survey.audience.sends);
    let help = "Bytes of logs and checkpoints that seats were sent.";
    add("fantail_sent_bytes_total", Kind::Counter, help, |survey| survey.audience.sent_bytes);
}

fn log(out: &mut Exposition, surveys: &[Survey]) {
    let mut counter = |name, help, count| out.single(name, Kind::Counter, help, sum(surveys, count));
    counter("fantail_events_total", "Events that were committed.", |survey| survey.kept.events);
    counter("fantail_groups_total", "Groups of events that were written.", |survey| survey.disk.groups);
    let help = "Writes to logs that were done when they were on the medium.";
    counter("fantail_syncs_total", help, |survey| survey.disk.syncs);
    let help = "Times that a log couldn't be written or opened.";
    counter("fantail_log_failures_total", help, |survey| survey.kept.failures);
}

fn channels(out: &mut Exposition, surveys: &[Survey]) {
    let mut add = |name, kind, help, count| out.single(name, kind, help, sum(surveys, count));
    add("fantail_channels", Kind::Gauge, "Channels that are known.", |survey| survey.channels.known as u64);
    let help = "Seats that an origin holds.";
    add("fantail_holds", Kind::Gauge, help, |survey| survey.audience.held as u64);
    let help = "Conversations that wait for items of channels, once for each channel.";
    add("fantail_holds_attending", Kind::Gauge, help, |survey| survey.attending as u64);
    let help = "Items that wait for the ones before them.";
    add("fantail_items_waiting", Kind::Gauge, help, |survey| survey.channels.waiting as u64);
    add("fantail_items_total", Kind::Counter, "Items that were published.", |survey| survey.channels.items);
    let help = "Items that were dropped, as their ids had come before.";
    add("fantail_items_duplicate_total", Kind::Counter, help, |survey| survey.channels.duplicates);
    let help = "Items that didn't follow what their channel had before.";
    add("fantail_gaps_total", Kind::Counter, help, |survey| survey.channels.gaps);
    let help = "Held seats that became conversations again.";
    add("fantail_recalls_total", Kind::Counter, help, |survey| survey.audience.recalls);
}

/// What is known of an origin, for all routes that lead there.
#[derive(Default)]
struct Sums {
    counted: Counted,
    open: usize,
    resting: usize,
    is_out: bool,
}

/// Nothing if there are no origins.
fn origins(out: &mut Exposition, surveys: &[Survey]) {
    let mut all: BTreeMap<String, Sums> = BTreeMap::new();
    for origin in surveys.iter().flat_map(|survey| &survey.origins) {
        let sums = all.entry(origin.address.to_string()).or_default();
        sums.counted.requests += origin.counted.requests;
        sums.counted.unreached += origin.counted.unreached;
        sums.counted.failed += origin.counted.failed;
        sums.counted.unwell += origin.counted.unwell;
        sums.open += origin.open;
        sums.resting += origin.resting;
        sums.is_out |= origin.is_out;
    }
    if all.is_empty() {
        return;
    }
    let help = "Requests that an origin was sent, again or for the first time; not those about its health.";
    let mut requests = out.metric("fantail_origin_requests_total", Kind::Counter, help);
    all.iter().for_each(|(origin, sums)| requests.sample(&[("origin", origin)], sums.counted.requests));
    let help =
        "Times that an origin couldn't be connected to, didn't answer as it should, or was unwell when it was asked.";
    let mut failures = out.metric("fantail_origin_failures_total", Kind::Counter, help);
    for (origin, Sums { counted, .. }) in &all {
        for (kind, count) in [("connect", counted.unreached), ("answer", counted.failed), ("health", counted.unwell)] {
            failures.sample(&[("origin", origin), ("kind", kind)], count);
        }
    }
    let mut each = |name, help, value: fn(&Sums) -> usize| {
        let mut metric = out.metric(name, Kind::Gauge, help);
        all.iter().for_each(|(origin, sums)| metric.sample(&[("origin", origin)], value(sums)));
    };
    each("fantail_origin_connections", "Connections to an origin, at rest or not.", |sums| sums.open);
    each("fantail_origin_connections_resting", "Those of them that are at rest.", |sums| sums.resting);
    let help = "1 if a core asks it only if no other origin is left, as it fails, else 0.";
    each("fantail_origin_out", help, |sums| usize::from(sums.is_out));
}

fn streams(out: &mut Exposition, streams: &[Followed<'_>], core: &Core) {
    out.single("fantail_streams", Kind::Gauge, "Streams that were written.", streams.len());
    let bytes: usize = streams.iter().map(|followed| followed.stream.document_bytes).sum();
    out.single("fantail_document_bytes", Kind::Gauge, "Memory that documents are accounted for.", bytes);
    let help = "Memory that they may take (--memory).";
    out.single("fantail_document_bytes_max", Kind::Gauge, help, core.settings().documents_bytes);

    let mut each = |name: &'static str, help: &str, value: fn(&Followed<'_>) -> Option<f64>| {
        let mut metric = out.metric(name, Kind::Gauge, help);
        for followed in streams {
            if let Some(value) = value(followed) {
                metric.sample(&[("stream", &followed.stream.name)], value);
            }
        }
    };
    each("fantail_stream_sequence", "Sequence of the newest durable event.", |followed| {
        Some(followed.stream.position.sequence as f64)
    });
    each("fantail_stream_earliest_sequence", "Sequence of the oldest cursor that is valid.", |followed| {
        Some(followed.stream.earliest.sequence as f64)
    });
    each("fantail_stream_earliest_timestamp_seconds", "When the first event after that was committed.", |followed| {
        followed.stream.earliest_ms.map(|ms| ms as f64 / 1000.0)
    });
    each("fantail_stream_log_bytes", "Bytes of the events that are retained.", |followed| {
        Some(followed.stream.log_bytes as f64)
    });
    each("fantail_stream_segments", "Segments that they lie in.", |followed| Some(followed.stream.segments as f64));
    each("fantail_stream_checkpoint_sequence", "Sequence that the newest checkpoint reflects.", |followed| {
        followed.stream.checkpoint.map(|position| position.sequence as f64)
    });
    each("fantail_stream_documents", "Documents.", |followed| Some(followed.stream.documents as f64));
    each("fantail_stream_document_bytes", "Memory that they are accounted for.", |followed| {
        Some(followed.stream.document_bytes as f64)
    });
    each("fantail_stream_listeners", "Connections that follow it or a part of it.", |followed| {
        Some(followed.listeners as f64)
    });
    each("fantail_stream_failed", "1 if it refuses writes until the server is started again, else 0.", |followed| {
        Some(f64::from(u8::from(followed.stream.failure.is_some())))
    });
}
