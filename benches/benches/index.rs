//! The index of a segment: a topic's events found by the postings of a sealed one, and by the scan of an open one.

// The macros of criterion make public functions without a word about them.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fantail_engine::log::index::{Entry, Index, Next, seal};
use fantail_engine::topic::{Topic, hash};

/// Events of a segment of 64 MiB whose frames have some 250 bytes.
const EVENTS: u32 = 262_144;

/// Events among which a topic has one: a quarter of the stream, one document of a thousand, one that was written four times.
const RARITIES: [u32; 3] = [4, 1_024, 65_536];

/// Entries that a scan looks at between two breaths of the server's.
const SCAN_EVENTS_MAX: u32 = 16 * 1024;

/// A segment's entries, in which one document of `rarity` is written in turn.
fn entries(rarity: u32) -> Vec<Entry> {
    let collection = hash("messages");
    let documents: Vec<u64> = (0..rarity).map(|number| hash(&format!("messages/d{number}"))).collect();
    let entry = |ordinal: u32| Entry {
        offset: ordinal * 250,
        length: 250,
        collection,
        document: documents[(ordinal % rarity) as usize],
    };
    (0..EVENTS).map(entry).collect()
}

/// Walks all events of a topic; how many there were.
fn walk(index: &Index<'_>, topic: Topic) -> u32 {
    let (mut from, mut found) = (0, 0);
    loop {
        match index.next(topic, from, SCAN_EVENTS_MAX) {
            Next::Found(ordinal) => (from, found) = (ordinal + 1, found + 1),
            Next::Further(ordinal) => from = ordinal,
            Next::End => return found,
        }
    }
}

fn walks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index/walk");
    for rarity in RARITIES {
        let entries = entries(rarity);
        let open: Vec<u8> = entries.iter().flat_map(Entry::encode).collect();
        let sealed = [open.clone(), seal(&entries)].concat();
        let topic = Topic::Path(hash("messages/d1"));
        group.throughput(Throughput::Elements(u64::from(EVENTS / rarity)));
        for (name, bytes) in [("sealed", &sealed), ("open", &open)] {
            let index = Index::open(bytes).expect("an index");
            assert_eq!(walk(&index, topic), EVENTS / rarity);
            group.bench_function(BenchmarkId::new(name, format!("one of {rarity}")), |bencher| {
                bencher.iter(|| walk(black_box(&index), black_box(topic)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, walks);
criterion_main!(benches);
