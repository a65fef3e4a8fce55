//! Frames: encoded once per event, read back by recovery, parsed by every client.

// The macros of criterion make public functions without a word about them.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fantail_engine::event::{decode, encode};
use fantail_engine::position::{Epoch, Position};
use fantail_engine::protocol::sse::Parser;

const POSITION: Position = Position { epoch: Epoch::from_bits(0x1234_5678), sequence: 1_795_218_566 };

/// Bytes of data: what the load tests send, a document of some size, and the largest before blocks grow.
const SIZES: [usize; 3] = [160, 4_000, 256_000];

/// A patch of `bytes` bytes.
fn patch(bytes: usize) -> Vec<u8> {
    let (head, tail) = (r#"[{"op":"add","path":"/messages/1","value":{"id":"1","text":""#, r#""}}]"#);
    let text = "x".repeat(bytes - head.len() - tail.len());
    [head, &text, tail].concat().into_bytes()
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for bytes in SIZES {
        let data = patch(bytes);
        let mut frame = Vec::new();
        encode(&mut frame, POSITION, &data);
        group.throughput(Throughput::Bytes(frame.len() as u64));
        let mut out = Vec::with_capacity(frame.len());
        group.bench_function(BenchmarkId::new("encode", bytes), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode(&mut out, black_box(POSITION), black_box(&data));
                black_box(out.len())
            });
        });
        group.bench_function(BenchmarkId::new("decode", bytes), |bencher| {
            bencher.iter(|| decode(black_box(&frame)).map(|frame| frame.length));
        });
        let mut parser = Parser::new(1 << 20);
        group.bench_function(BenchmarkId::new("parse", bytes), |bencher| {
            bencher.iter(|| {
                let mut events = 0;
                parser.feed(black_box(&frame), |_| events += 1).expect("a frame below the bound");
                assert_eq!(events, 1);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
