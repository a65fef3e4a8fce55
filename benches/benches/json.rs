//! JSON texts into values: simd-json and serde_json on the texts of `fixtures/`, and Fantail's own reading, which is a scan
//! and then simd-json.
//!
//! simd-json unescapes in place, so it gets a copy each time; the copy is measured with it, since a body is needed afterwards
//! only in part of the requests, and a stored document always.

// The macros of criterion make public functions without a word about them.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fantail_engine::json::{self, Value};

/// The allocator of the server: values are many small blocks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ACCEPTED: &str = include_str!("../../fixtures/json/accepted.txt");
const OPERATIONS: &str = include_str!("../../fixtures/patches/operations.txt");
const UPDATES: &str = include_str!("../../fixtures/patches/updates.txt");
const REPORTS: [&str; 3] = [
    include_str!("../../fixtures/reports/canonical.json"),
    include_str!("../../fixtures/reports/ramp.json"),
    include_str!("../../fixtures/reports/requests.json"),
];

/// What the load tests write.
const MESSAGE: &str = r#"{"id":"019ff000-0000-7000-8000-000000000001","n":1,"p":"some words","t":1795218566123456789}"#;

/// The lines of a fixture that are JSON texts to all three readers: numbers that only ours takes as they are meant are left
/// out.
fn lines(fixture: &str) -> impl Iterator<Item = &str> {
    fixture.lines().filter(|line| {
        let value = serde_json::from_str::<Value>(line).ok();
        value.is_some()
            && value == json::parse(line.as_bytes().to_vec()).ok()
            && value == simd_json::serde::from_slice(&mut line.as_bytes().to_vec()).ok()
    })
}

fn readers(criterion: &mut Criterion) {
    let small = [ACCEPTED, OPERATIONS, UPDATES].into_iter().flat_map(lines).collect::<Vec<_>>();
    assert!(small.len() > 100, "{} texts were found", small.len());
    let corpora = [("message", vec![MESSAGE]), ("small", small), ("reports", REPORTS.to_vec())];
    let mut group = criterion.benchmark_group("json");
    for (name, texts) in corpora {
        group.throughput(Throughput::Bytes(texts.iter().map(|text| text.len() as u64).sum()));
        let mut read = |reader: &str, parse: fn(&str) -> Value| {
            group.bench_function(format!("{reader}/{name}"), |bencher| {
                bencher.iter(|| texts.iter().for_each(|text| drop(black_box(parse(black_box(text))))));
            });
        };
        read("serde", |text| serde_json::from_slice(text.as_bytes()).expect("JSON"));
        read("simd", |text| simd_json::serde::from_slice(&mut text.as_bytes().to_vec()).expect("JSON"));
        read("ours", |text| json::parse(text.as_bytes().to_vec()).expect("JSON"));
    }
    group.finish();
}

criterion_group!(benches, readers);
criterion_main!(benches);
