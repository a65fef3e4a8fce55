//! The state of streams, and what the server runs with, as JSON for people and programs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use fantail_engine::log::manifest::Durability;
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::audience::Disconnect;
use crate::config::{Control, Credentials, Forwarding, Routes, Secret};
use crate::core::Core;
use crate::core::survey::{StreamSurvey, Survey};

/// A stream, with who follows it on all cores.
pub(super) struct Followed<'s> {
    pub(super) stream: &'s StreamSurvey,
    /// Seats, and conversations that follow it among several streams.
    pub(super) listeners: usize,
    /// Seats whose socket is full.
    pub(super) stalled: usize,
    pub(super) lag_bytes_max: u64,
}

/// All streams that were written, by name.
pub(super) fn followed(surveys: &[Survey]) -> Vec<Followed<'_>> {
    let mut following: FxHashMap<&Arc<str>, (usize, usize, u64)> = FxHashMap::default();
    for survey in surveys {
        for (name, listening) in &survey.listening {
            let (listeners, stalled, lag) = following.entry(name).or_default();
            *listeners += listening.seats;
            *stalled += listening.stalled;
            *lag = (*lag).max(listening.lag_bytes_max);
        }
        for (name, conversations) in &survey.several {
            following.entry(name).or_default().0 += conversations;
        }
    }
    let streams = surveys.iter().flat_map(|survey| &survey.streams);
    let mut all: Vec<_> = streams
        .map(|stream| {
            let (listeners, stalled, lag_bytes_max) = following.get(&stream.name).copied().unwrap_or_default();
            Followed { stream, listeners, stalled, lag_bytes_max }
        })
        .collect();
    all.sort_unstable_by(|one, other| one.stream.name.cmp(&other.stream.name));
    all
}

#[derive(Serialize)]
struct Streams<'s> {
    streams: Vec<Stream<'s>>,
}

#[derive(Serialize)]
struct Stream<'s> {
    name: &'s str,
    position: String,
    earliest: String,
    /// Milliseconds since 1970.
    earliest_ms: Option<u64>,
    segments: usize,
    log_bytes: u64,
    checkpoint: Option<String>,
    documents: usize,
    document_bytes: usize,
    listeners: usize,
    stalled: usize,
    lag_bytes_max: u64,
    failure: Option<&'s str>,
}

impl<'s> Stream<'s> {
    fn of(Followed { stream, listeners, stalled, lag_bytes_max }: Followed<'s>) -> Stream<'s> {
        Stream {
            name: &stream.name,
            position: stream.position.to_string(),
            earliest: stream.earliest.to_string(),
            earliest_ms: stream.earliest_ms,
            segments: stream.segments,
            log_bytes: stream.log_bytes,
            checkpoint: stream.checkpoint.map(|position| position.to_string()),
            documents: stream.documents,
            document_bytes: stream.document_bytes,
            listeners,
            stalled,
            lag_bytes_max,
            failure: stream.failure.as_deref(),
        }
    }
}

/// All streams.
pub(super) fn streams(surveys: &[Survey]) -> Vec<u8> {
    encode(&Streams { streams: followed(surveys).into_iter().map(Stream::of).collect() })
}

/// One stream, if it was written.
pub(super) fn stream(surveys: &[Survey], name: &str) -> Option<Vec<u8>> {
    let found = followed(surveys).into_iter().find(|followed| &*followed.stream.name == name)?;
    Some(encode(&Stream::of(found)))
}

#[derive(Serialize)]
struct Config<'c> {
    version: &'static str,
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    data: &'c str,
    cores: usize,
    durability: &'static str,
    memory_bytes: usize,
    retain_age_ms: Option<u64>,
    retain_bytes: Option<u64>,
    retain_events: Option<u64>,
    segment_bytes: u64,
    checkpoint_bytes: u64,
    disconnect: &'static str,
    routes: &'c Routes,
    origin_ca: Option<&'c Path>,
    forwarded: Forwarding,
    control: Option<ControlConfig<'c>>,
    grip_iss: &'c str,
    grip_key: Option<&'static str>,
    /// These are of each core.
    max_connections_per_core: usize,
    max_conversations_per_core: usize,
    seats_per_tier: u32,
}

#[derive(Serialize)]
struct ControlConfig<'c> {
    listen: SocketAddr,
    basic: Option<&'static str>,
    bearer: Option<&'static str>,
    iss: Option<&'c str>,
    key: Option<&'static str>,
}

impl<'c> ControlConfig<'c> {
    fn of(control: &'c Control) -> ControlConfig<'c> {
        let Credentials { basic, bearer, token } = &control.credentials;
        ControlConfig {
            listen: control.listen,
            basic: basic.as_ref().map(hidden),
            bearer: bearer.as_ref().map(hidden),
            iss: token.as_ref().and_then(|token| token.issuer.as_deref()),
            key: token.as_ref().map(|token| hidden(&token.key)),
        }
    }
}

/// What is shown of a secret: that there is one.
fn hidden(_: &Secret) -> &'static str {
    "set"
}

/// What the server runs with: the options as they were resolved, and what became of them here.
pub(super) fn config(core: &Core) -> Vec<u8> {
    let settings = core.settings();
    let policy = settings.policy;
    encode(&Config {
        version: env!("CARGO_PKG_VERSION"),
        listen: settings.listen,
        admin: settings.admin,
        data: &settings.data.to_string_lossy(),
        cores: core.cores().count(),
        durability: match policy.durability {
            Durability::Sync => "sync",
            Durability::Flush => "flush",
            Durability::None => "none",
        },
        memory_bytes: settings.documents_bytes,
        retain_age_ms: policy.retention.age_ms,
        retain_bytes: policy.retention.bytes,
        retain_events: policy.retention.events,
        segment_bytes: policy.segment_bytes,
        checkpoint_bytes: policy.checkpoint_bytes,
        disconnect: match settings.disconnect {
            Disconnect::Instant => "instant",
            Disconnect::Heartbeat => "heartbeat",
        },
        routes: &settings.routes,
        origin_ca: settings.origin_ca.as_deref(),
        forwarded: settings.forwarding,
        control: settings.control.as_ref().map(ControlConfig::of),
        grip_iss: &settings.grip.issuer,
        grip_key: settings.grip.key.as_ref().map(hidden),
        max_connections_per_core: settings.connections_max,
        max_conversations_per_core: settings.conversations_max,
        seats_per_tier: settings.tier_slots,
    })
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut body = serde_json::to_vec_pretty(value).expect("numbers and strings are JSON");
    body.push(b'\n');
    body
}
