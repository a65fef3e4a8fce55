//! Heads of requests: what a verdict on one costs, beside what httparse alone takes to cut it into lines.

// The macros of criterion make public functions without a word about them.
#![allow(missing_docs)]

use std::hint::black_box;
use std::mem::MaybeUninit;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fantail_engine::limits::HEAD_FIELDS_MAX;
use fantail_engine::protocol::http1::{Parsed, parse};
use fantail_engine::topic::Place;

/// What a writer's library sends, what curl sends, and what a browser sends that follows a document behind a proxy.
const HEADS: [(&str, &str); 3] = [
    (
        "post",
        "POST /messages HTTP/1.1\r\nhost: edge.example:8080\r\ncontent-type: application/json\r\ncontent-length: 160\r\n\r\n",
    ),
    ("get", "GET /messages/42 HTTP/1.1\r\nHost: edge.example:8080\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n"),
    (
        "follow",
        "GET /messages/0192f3c4-7d1e-7a60-9c55-3f1f6e0c8b7a HTTP/1.1\r\nHost: edge.example\r\nConnection: keep-alive\r\n\
         sec-ch-ua-platform: \"Linux\"\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) \
         AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\nAccept: text/event-stream\r\n\
         sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\nSec-Fetch-Site: same-origin\r\n\
         Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nReferer: https://edge.example/\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
         Cookie: session=5f2b8c1e9d7a4036b1c2d3e4f5a60718; theme=dark\r\nLast-Event-ID: k3f9q2-1041\r\n\
         X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\r\n",
    ),
];

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    for (name, head) in HEADS {
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(BenchmarkId::new("parse", name), |bencher| {
            bencher.iter(|| match parse(black_box(head.as_bytes())) {
                Ok(Parsed::Complete { length, .. }) => length,
                Ok(Parsed::Partial) | Err(_) => panic!("a whole head"),
            });
        });
        group.bench_function(BenchmarkId::new("httparse", name), |bencher| {
            bencher.iter(|| {
                let mut fields = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
                let mut request = httparse::Request::new(&mut []);
                let parsed = request.parse_with_uninit_headers(black_box(head.as_bytes()), &mut fields);
                parsed.expect("a head").unwrap()
            });
        });
        // What a conversation asks of most heads before it knows what to do.
        group.bench_function(BenchmarkId::new("parse-and-look", name), |bencher| {
            bencher.iter(|| {
                let Ok(Parsed::Complete { request, .. }) = parse(black_box(head.as_bytes())) else {
                    panic!("a whole head")
                };
                let fields = ["accept", "last-event-id", "if-none-match"].map(|name| request.field(name));
                (Place::parse(request.path).is_ok(), request.keep_alive(), fields.map(|field| field.is_some()))
            });
        });
    }
    // All but the last byte: what a head costs that comes in two pieces, besides the verdict on the whole.
    let (_, head) = HEADS[2];
    group.bench_function("partial/follow", |bencher| {
        bencher.iter(|| matches!(parse(black_box(&head.as_bytes()[..head.len() - 1])), Ok(Parsed::Partial)));
    });
    group.finish();
}

criterion_group!(benches, heads);
criterion_main!(benches);
