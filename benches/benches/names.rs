//! Positions and topics: what every request and every frame is named by.

// The macros of criterion make public functions without a word about them.
#![allow(missing_docs)]

use std::hint::black_box;
use std::io::Write;

use criterion::{Criterion, criterion_group, criterion_main};
use fantail_engine::position::{Epoch, Position};
use fantail_engine::topic::{Place, hash};

fn positions(criterion: &mut Criterion) {
    let position = Position { epoch: Epoch::from_bits(0x1234_5678), sequence: 1_795_218_566 };
    let text = position.to_string();
    let mut group = criterion.benchmark_group("position");
    let mut out = Vec::with_capacity(64);
    group.bench_function("print", |bencher| {
        bencher.iter(|| {
            out.clear();
            write!(out, "{}", black_box(position)).expect("memory takes every write");
            black_box(out.len())
        });
    });
    group.bench_function("parse", |bencher| bencher.iter(|| black_box(&text).parse::<Position>()));
    group.finish();
}

fn topics(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topic");
    for (name, path) in [
        ("stream", "/messages"),
        ("document", "/messages/0192f3c4-7d1e-7a60-9c55-3f1f6e0c8b7a"),
        ("nested", "/users/7/messages/a%20b%C3%A4"),
    ] {
        group.bench_function(format!("parse/{name}"), |bencher| bencher.iter(|| Place::parse(black_box(path))));
    }
    let path = "messages/0192f3c4-7d1e-7a60-9c55-3f1f6e0c8b7a";
    group.bench_function("hash", |bencher| bencher.iter(|| hash(black_box(path))));
    group.finish();
}

criterion_group!(benches, positions, topics);
criterion_main!(benches);
