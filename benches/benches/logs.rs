//! Logs: events are committed and become a group, a group is written, and a start reads, checks and folds them all.

// The macros of criterion make public functions without a word about them.
#![allow(missing_docs)]

use std::fs;
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fantail::storage::disk::Disk;
use fantail::storage::{clerk, recovery};
use fantail_benches::bell::Bell;
use fantail_engine::document::Documents;
use fantail_engine::event::Frame;
use fantail_engine::json::Value;
use fantail_engine::log::manifest::{self, Durability, Epochs, Manifest, State};
use fantail_engine::log::segment::{self, Kind, Verdict};
use fantail_engine::position::Epoch;
use fantail_engine::protocol::condition::Guard;
use fantail_engine::stream::{Change, Operation, Origin, Sealed, Stream};
use fantail_engine::topic::Place;
use serde_json::json;

/// Documents that are written in turn.
const DOCUMENTS: u64 = 1_000;

/// Events of a log that is recovered: some 13 MB.
const EVENTS: u64 = 100_000;

/// Events of its groups: as many as a busy core gathers while the group before is written.
const GROUP: u64 = 64;

/// Events that are written together.
const GROUPS: [u64; 3] = [1, 16, 256];

/// Bytes by which documents may grow: no bound.
const ROOM: usize = 1 << 40;

const EPOCH: Epoch = Epoch::from_bits(7);

fn stream() -> Stream {
    let mut stream = Stream::new("messages", Origin::nothing());
    stream.begin(EPOCH);
    stream
}

/// Two PUTs of each document: its creation and a change, so that each changes something whichever came before.
fn operations() -> Vec<Operation> {
    let put = |n: u64| {
        let (document, round) = (n % DOCUMENTS, n / DOCUMENTS);
        let value: Value =
            json!({"n": round, "text": "some eighty bytes, as a message or a score has them, and a few more"});
        let place = Place::parse(&format!("/messages/019ff000-0000-7000-8000-{document:012x}")).expect("a path");
        Operation { place, change: Change::Put(value), guard: Guard::default(), key: None }
    };
    (0..2 * DOCUMENTS).map(put).collect()
}

/// Commits `events` of these operations from the one with the number `from` on, as one group.
fn commit(stream: &mut Stream, operations: &[Operation], from: u64, events: u64) -> Sealed {
    for number in from..from + events {
        let operation = &operations[(number % operations.len() as u64) as usize];
        stream.commit(operation, 0, ROOM).expect("it is taken");
    }
    let sealed = stream.seal(0).expect("something was committed");
    stream.persisted();
    sealed
}

/// A log of [`EVENTS`].
fn log(operations: &[Operation]) -> Vec<u8> {
    let (mut stream, mut log) = (stream(), Vec::new());
    for from in (0..EVENTS).step_by(GROUP as usize) {
        let sealed = commit(&mut stream, operations, from, GROUP.min(EVENTS - from));
        log.extend_from_slice(sealed.appended.bytes());
    }
    log
}

fn appends(criterion: &mut Criterion) {
    let operations = operations();
    let mut group = criterion.benchmark_group("log");
    for events in GROUPS {
        group.throughput(Throughput::Elements(events));
        let (mut stream, mut number) = (stream(), 0);
        group.bench_function(BenchmarkId::new("append", events), |bencher| {
            bencher.iter(|| {
                let sealed = commit(&mut stream, &operations, number, events);
                number += events;
                sealed.appended.length
            });
        });
    }
    for events in GROUPS {
        group.throughput(Throughput::Elements(events));
        for (name, durability) in [("write-sync", Durability::Sync), ("write-flush", Durability::Flush)] {
            group.bench_function(BenchmarkId::new(name, events), |bencher| {
                bencher.iter_custom(|rounds| write(&operations, durability, events, rounds));
            });
        }
    }
    group.finish();
}

/// How long it takes to write so many groups, one after the other, as a core does, but for the commits.
fn write(operations: &[Operation], durability: Durability, events: u64, rounds: u64) -> Duration {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut files = clerk::open(folder.path(), 1, 0).expect("files of a segment");
    let bell = Bell::new().expect("an eventfd");
    let mut disk = Disk::new(durability, bell.as_raw_fd()).expect("a ring");
    let (mut stream, name, mut took) = (stream(), Arc::from("messages"), Duration::ZERO);
    for round in 0..rounds {
        let sealed = commit(&mut stream, operations, round * events, events);
        let begun = Instant::now();
        disk.write(Arc::clone(&name), &mut files, sealed);
        disk.enter();
        while disk.is_busy() {
            bell.wait().expect("an eventfd can be read");
            disk.enter();
        }
        took += begun.elapsed();
        assert!(disk.take_done().iter().all(|(_, result)| result.is_ok()), "the disk takes it");
    }
    took
}

fn starts(criterion: &mut Criterion) {
    let log = log(&operations());
    let epochs = Epochs::new(EPOCH);
    let mut group = criterion.benchmark_group("log");
    group.sample_size(10);
    group.throughput(Throughput::Elements(EVENTS));
    let read = |on_event: &mut dyn FnMut(&Frame<'_>)| {
        let recovered = segment::recover(black_box(&log), 1, &epochs, |frame| {
            on_event(frame);
            Some((0, 0))
        });
        assert_eq!((recovered.entries.len() as u64, recovered.verdict), (EVENTS, Verdict::Whole));
    };
    group.bench_function("verify", |bencher| bencher.iter(|| read(&mut |_| {})));
    group.bench_function("fold", |bencher| {
        bencher.iter_with_large_drop(|| {
            let mut documents = Documents::default();
            read(&mut |frame| documents.fold(frame.data, frame.position.sequence).expect("an event of ours"));
            assert_eq!(documents.len() as u64, DOCUMENTS);
            documents
        });
    });
    // All that a start does with a stream that has no checkpoint: the fold, its index, and what it writes once more.
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let folder = data.path().join(manifest::folder("messages").expect("a short name"));
    let manifest = Manifest { name: "messages".into(), epochs: epochs.clone(), secret: [0; 16], state: State::Clean };
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join(manifest::FILE), manifest.encode()).expect("the disk has room");
    fs::write(folder.join(segment::name(1, Kind::Log)), &log).expect("the disk has room");
    group.bench_function("start", |bencher| {
        bencher.iter_with_large_drop(|| {
            let streams = recovery::recover(data.path(), Durability::Sync).expect("it is whole");
            assert_eq!(streams[0].found.origin.last, EVENTS);
            streams
        });
    });
    group.finish();
}

criterion_group!(benches, appends, starts);
criterion_main!(benches);
