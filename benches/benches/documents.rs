//! A collection of a million documents: what it costs to read, write and clone the maps that share their structure, beside
//! the standard library's ordered map, which a checkpoint would have to copy; and what a start takes to fold it.

// The macros of criterion make public functions without a word about them.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fantail_engine::document::{Body, Documents};
use fantail_engine::log::checkpoint::{self, Checkpoint};
use fantail_engine::position::{Epoch, Position};

const DOCUMENTS: u64 = 1_000_000;

/// Documents of a page.
const PAGE: usize = 100;

/// The allocator of the server: what nodes cost depends on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The ids are scattered like those that clients choose; an odd factor makes each number once.
fn id(number: u64) -> String {
    format!("{:08x}", (number as u32).wrapping_mul(0x9e37_79b1))
}

fn body(id: &str, n: u64) -> Body {
    format!(r#"{{"id":"{id}","n":{n},"text":"some eighty bytes, as a message or a score has them"}}"#)
        .into_bytes()
        .into()
}

/// Numbers below [`DOCUMENTS`] without an order.
fn numbers() -> impl FnMut() -> u64 {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % DOCUMENTS
    }
}

fn maps(criterion: &mut Criterion) {
    let (mut documents, mut standard) = (Documents::default(), BTreeMap::<Box<str>, Body>::new());
    for number in 0..DOCUMENTS {
        let (id, body) = (id(number), body(&id(number), 0));
        let _ = documents.set("messages", &id, Some(Arc::clone(&body)), number);
        standard.insert(id.into(), body);
    }
    let mut next = numbers();
    let mut group = criterion.benchmark_group("documents");
    group.bench_function("get/shared", |bencher| {
        bencher.iter(|| documents.get("messages", &id(next())).map(|body| body.len()));
    });
    group.bench_function("get/standard", |bencher| {
        bencher.iter(|| standard.get(&*id(next())).map(|body| body.len()));
    });
    group.bench_function("page/shared", |bencher| {
        let collection = documents.collection("messages").expect("it was written");
        bencher.iter(|| collection.documents(Some(&id(next()))).take(PAGE).map(|(_, body)| body.len()).sum::<usize>());
    });
    group.bench_function("page/standard", |bencher| {
        bencher.iter(|| {
            let page = standard.range::<str, _>((Bound::Excluded(&*id(next())), Bound::Unbounded)).take(PAGE);
            page.map(|(_, body)| body.len()).sum::<usize>()
        });
    });
    group.bench_function("put/shared", |bencher| {
        bencher.iter(|| {
            let id = id(next());
            let body = body(&id, 1);
            let _ = black_box(documents.set("messages", &id, Some(body), 1));
        });
    });
    group.bench_function("put/standard", |bencher| {
        bencher.iter(|| {
            let id = id(next());
            let body = body(&id, 1);
            black_box(standard.insert(id.into(), body));
        });
    });
    group.sample_size(10);
    group.bench_function("all/shared", |bencher| {
        let collection = documents.collection("messages").expect("it was written");
        bencher.iter(|| collection.documents(None).map(|(_, body)| body.len()).sum::<usize>());
    });
    group.bench_function("all/standard", |bencher| {
        bencher.iter(|| standard.values().map(|body| body.len()).sum::<usize>());
    });
    group.bench_function("clone/shared", |bencher| bencher.iter_with_large_drop(|| documents.clone()));
    group.bench_function("clone/standard", |bencher| bencher.iter_with_large_drop(|| standard.clone()));
    // A thousand writes while the clone is kept, as by a checkpoint that is being written: each copies what it touches.
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("put-beside-a-clone/shared", |bencher| {
        bencher.iter_batched(
            || documents.clone(),
            |mut written| {
                for _ in 0..1_000 {
                    let id = id(next());
                    let body = body(&id, 1);
                    let _ = written.set("messages", &id, Some(body), 1);
                }
                written
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn starts(criterion: &mut Criterion) {
    let mut documents = Documents::default();
    for number in 0..DOCUMENTS {
        let id = id(number);
        let _ = documents.set("messages", &id, Some(body(&id, 0)), number);
    }
    let mut bytes = Vec::new();
    let collections = documents.collections().map(|(path, collection)| {
        (path, collection.changed(), collection.documents(None).map(|(id, body)| (id, &**body)))
    });
    let position = Position { epoch: Epoch::from_bits(7), sequence: DOCUMENTS };
    let Ok(()) = checkpoint::encode(position, collections, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok::<(), std::convert::Infallible>(())
    });
    let mut group = criterion.benchmark_group("checkpoint");
    group.sample_size(10);
    group.throughput(Throughput::Elements(DOCUMENTS));
    group.bench_function("verify", |bencher| bencher.iter(|| Checkpoint::read(black_box(&bytes)).is_ok()));
    group.bench_function("fold", |bencher| {
        let checkpoint = Checkpoint::read(&bytes).expect("it was written whole");
        bencher.iter_with_large_drop(|| {
            let mut folded = Documents::default();
            for data in checkpoint.parts(black_box(&bytes)) {
                folded.fold(data, DOCUMENTS).expect("a part of ours");
            }
            assert_eq!(folded.bytes(), documents.bytes());
            folded
        });
    });
    group.finish();
}

criterion_group!(benches, maps, starts);
criterion_main!(benches);
