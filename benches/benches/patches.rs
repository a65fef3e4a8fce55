//! Patches on documents of three sizes: read, applied, and found again as the difference between two documents.

// The macros of criterion make public functions without a word about them.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fantail_engine::document;
use fantail_engine::json::{self, Value};
use fantail_engine::patch::{self, Patch};
use serde_json::json;

/// Items of a document, some 80 bytes each: a message, a form, a large board.
const ITEMS: [usize; 3] = [1, 50, 2_500];

/// The allocator of the server: values are many small blocks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn text(value: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    json::encode(value, &mut text);
    text
}

fn item(number: usize) -> Value {
    json!({"n": number, "name": format!("item {number}"), "done": false, "tags": ["a", "b"], "note": "some words on it"})
}

fn document(items: usize) -> Value {
    json!({"id": "board", "title": "what is to be done", "items": (0..items).map(item).collect::<Vec<_>>()})
}

/// Three operations, near the end of the document.
fn patch(items: usize) -> Value {
    let last = items - 1;
    json!([
        {"op": "test", "path": format!("/items/{last}/done"), "value": false},
        {"op": "replace", "path": format!("/items/{last}/done"), "value": true},
        {"op": "add", "path": format!("/items/{last}/tags/-"), "value": "c"},
    ])
}

fn patches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("patch");
    let body = text(&patch(50));
    group.bench_function("read", |bencher| {
        bencher.iter_batched(
            || body.clone(),
            |body| Patch::read(json::parse(body).expect("JSON")).expect("a patch").len(),
            BatchSize::SmallInput,
        );
    });
    for items in ITEMS {
        let old = document(items);
        let patch = Patch::read(patch(items)).expect("a patch");
        let mut new = old.clone();
        patch.apply(&mut new).expect("its targets are there");
        let (old_text, new_text) = (text(&old), text(&new));
        let mut inserted = old.clone();
        inserted["items"].as_array_mut().expect("items").insert(0, item(items));
        let inserted_text = text(&inserted);
        let merge = json!({"title": "what is done"});
        let mut out = Vec::new();

        group.throughput(Throughput::Bytes(old_text.len() as u64));
        let size = |name: &str| BenchmarkId::new(name, old_text.len());
        // `apply` takes the document and gives it back changed, so each run gets its own.
        group.bench_function(size("apply"), |bencher| {
            bencher.iter_batched(
                || old.clone(),
                |mut value| {
                    patch.apply(&mut value).expect("its targets are there");
                    value
                },
                BatchSize::LargeInput,
            );
        });
        group.bench_function(size("merge"), |bencher| {
            bencher.iter_batched(
                || old.clone(),
                |mut value| {
                    patch::merge(&mut value, &merge);
                    value
                },
                BatchSize::LargeInput,
            );
        });
        let mut diff = |name: &str, new: &Value, new_text: &[u8]| {
            group.bench_function(size(name), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    patch::update("/boards/board", black_box(&old), black_box(new), new_text, None, &mut out);
                    out.len()
                });
            });
        };
        diff("diff-changed", &new, &new_text);
        diff("diff-inserted", &inserted, &inserted_text);
        // What a commit does around them, each way once.
        group.bench_function(size("open"), |bencher| {
            bencher.iter_with_large_drop(|| document::open(black_box(&old_text)))
        });
        group.bench_function(size("seal"), |bencher| {
            bencher.iter(|| document::reseal(black_box(&new), "board").expect("a document"));
        });
        group.bench_function(size("tag"), |bencher| bencher.iter(|| document::etag(black_box(&new_text))));
    }
    group.finish();
}

criterion_group!(benches, patches);
criterion_main!(benches);
