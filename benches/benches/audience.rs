//! The audience's pass: an event is published, and the seats that it concerns are walked and sent it. Beside it stand the same
//! sends without an audience around them; the difference is the walk.
//!
//! Seats are loopback connections; what they receive is counted between the passes and not measured, but what the kernel does
//! to deliver it is.

// The macros of criterion make public functions without a word about them.
#![allow(missing_docs)]

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fantail::audience::{Audience, Disconnect, Log, Start};
use fantail::storage::pages::{Pager, Volume};
use fantail_benches::bell::Bell;
use fantail_benches::fan::{BATCH, Fan};
use fantail_engine::json::Value;
use fantail_engine::log::filter::Filter;
use fantail_engine::log::view::View;
use fantail_engine::position::Epoch;
use fantail_engine::protocol::condition::Guard;
use fantail_engine::stream::{Change, Operation, Origin, Stream};
use fantail_engine::topic::{Place, Topic, hash};
use serde_json::json;

/// Seats of a hall, of which both ends are in this process.
const SEATS: usize = 1_000;

/// Bytes by which documents may grow: no bound.
const ROOM: usize = 1 << 40;

const STREAM: &str = "messages";

/// Both ends of so many connections.
fn connections() -> (Vec<TcpStream>, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let connect = |_| {
        let reader = TcpStream::connect(address).expect("a connection");
        let socket = listener.accept().expect("a connection").0;
        socket.set_nodelay(true).expect("a socket");
        (socket, reader)
    };
    (0..SEATS).map(connect).unzip()
}

/// Reads so many bytes from each of these.
fn read<'r>(readers: impl IntoIterator<Item = &'r mut TcpStream>, bytes: usize) {
    let mut buffer = vec![0; bytes];
    readers.into_iter().for_each(|reader| reader.read_exact(&mut buffer).expect("what was sent"));
}

/// The home of a stream: documents are written in turn.
struct Home {
    stream: Stream,
    round: u64,
}

impl Home {
    fn new() -> Home {
        let mut stream = Stream::new(STREAM, Origin::nothing());
        stream.begin(Epoch::from_bits(7));
        let mut home = Home { stream, round: 0 };
        // The first event adds the collection, too: all others are alike.
        home.commit(0);
        home
    }

    /// Commits a change of a document. Returns the group, which has this one event.
    fn commit(&mut self, document: usize) -> fantail_engine::stream::Sealed {
        self.round += 1;
        let value: Value = json!({"round": self.round, "text": "some eighty bytes, as a message or a score has them"});
        let place = Place::parse(&format!("/{}", path(document))).expect("a path");
        let operation = Operation { place, change: Change::Put(value), guard: Guard::default(), key: None };
        self.stream.commit(&operation, 0, ROOM).expect("it is taken");
        let sealed = self.stream.seal(0).expect("something was committed");
        self.stream.persisted();
        sealed
    }

    fn view(&self) -> View {
        View {
            published: self.stream.sealed_end(),
            blocks: self.stream.blocks().clone(),
            segments: Default::default(),
            position: self.stream.position(),
        }
    }
}

fn path(document: usize) -> String {
    format!("messages/019ff000-0000-7000-8000-{document:012x}")
}

/// An audience and its followers, all of them live.
struct Hall {
    home: Home,
    audience: Audience,
    readers: Vec<TcpStream>,
    pager: (Pager, Option<JoinHandle<()>>),
    _bell: Bell,
}

impl Hall {
    /// Seats whose filters are made of their numbers.
    fn open(filter: impl Fn(usize) -> Filter) -> Hall {
        let (home, bell) = (Home::new(), Bell::new().expect("an eventfd"));
        // Nothing is read that isn't in the tail.
        let (pager, thread) = Pager::start(|_, _| {}).expect("a thread");
        let mut audience =
            Audience::new(0, SEATS as u32, bell.as_raw_fd(), Disconnect::Instant, pager.clone()).expect("a ring");
        let volume = Volume::new(std::env::temp_dir().into());
        audience.watch(STREAM.into(), home.view(), Arc::clone(&volume));
        let (sockets, readers) = connections();
        for (number, socket) in sockets.into_iter().enumerate() {
            let start = Start { cursor: home.stream.sealed_end(), snapshot: None, unasked: 0 };
            let log = Log { stream: STREAM, volume: volume.number };
            audience.seat(socket.into(), log, filter(number), start).expect("a seat");
        }
        let mut hall = Hall { home, audience, readers, pager: (pager, Some(thread)), _bell: bell };
        hall.pass();
        hall
    }

    /// Quanta until nothing is left to do.
    fn pass(&mut self) {
        while self.audience.turn(Duration::ZERO) {}
    }

    /// How long it takes to publish so many events and to send each to the seats that it concerns, those with these numbers
    /// at the time; the commits and the reading aren't counted.
    fn measure(
        &mut self,
        rounds: u64,
        document: impl Fn(u64) -> usize,
        concerned: impl Fn(usize) -> [usize; 2],
    ) -> Duration {
        let mut took = Duration::ZERO;
        for round in 0..rounds {
            let document = document(round);
            let sealed = self.home.commit(document);
            if sealed.appended.is_new {
                self.audience.add_block(STREAM, Arc::clone(&sealed.appended.block));
            }
            let begun = Instant::now();
            self.audience.publish(STREAM, self.home.stream.position(), self.home.stream.sealed_end());
            self.pass();
            took += begun.elapsed();
            let [from, to] = concerned(document);
            read(&mut self.readers[from..to], sealed.appended.length);
        }
        assert_eq!(self.audience.counts().stalls, 0, "a socket that is full is another story");
        took
    }
}

impl Drop for Hall {
    fn drop(&mut self) {
        self.pager.0.end();
        let thread = self.pager.1.take().expect("a hall is closed once");
        thread.join().expect("the pager ends when it is asked to");
    }
}

fn passes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("audience");
    group.sample_size(20);
    group.throughput(Throughput::Elements(SEATS as u64));
    let everyone = |_| [0, SEATS];
    let numbered = |round| round as usize % SEATS;

    let mut hall = Hall::open(|_| Filter::Whole);
    group.bench_function("pass/whole", |bencher| bencher.iter_custom(|rounds| hall.measure(rounds, |_| 0, everyone)));
    drop(hall);

    // A topic that all follow, together with one that each has alone: as many kinds of followers as seats.
    let collection = Topic::Path(hash(STREAM));
    let mut hall = Hall::open(|number| Filter::of([collection, Topic::Path(hash(&format!("own/{number}")))]));
    group.bench_function("pass/several", |bencher| bencher.iter_custom(|rounds| hall.measure(rounds, |_| 0, everyone)));
    drop(hall);

    let mut bare = Bare::open();
    group.bench_function("ring", |bencher| bencher.iter_custom(|rounds| bare.measure(rounds)));
    drop(bare);

    // An event that concerns one of them.
    let mut hall = Hall::open(|number| Filter::of([Topic::Path(hash(&path(number)))]));
    group.throughput(Throughput::Elements(1));
    group.bench_function("pass/document", |bencher| {
        bencher.iter_custom(|rounds| hall.measure(rounds, numbered, |document| [document, document + 1]));
    });
    group.finish();
}

/// As many sockets in a ring's table, with nothing around them.
struct Bare {
    home: Home,
    fan: Fan,
    slots: Vec<usize>,
    log: Vec<u8>,
    readers: Vec<TcpStream>,
}

impl Bare {
    fn open() -> Bare {
        let (sockets, readers) = connections();
        let mut fan = Fan::open(SEATS as u32).expect("a ring");
        let slots = sockets.iter().map(|socket| fan.install(socket).expect("a slot")).collect();
        Bare { home: Home::new(), fan, slots, log: Vec::new(), readers }
    }

    /// How long the same sends take.
    fn measure(&mut self, rounds: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..rounds {
            let sealed = self.home.commit(0);
            self.log.extend_from_slice(sealed.appended.bytes());
            let begun = Instant::now();
            for batch in self.slots.chunks(BATCH) {
                self.fan.send(batch, &self.log).expect("the readers are there");
            }
            took += begun.elapsed();
            assert!(self.fan.take_full().is_empty(), "a socket that is full is another story");
            read(&mut self.readers, sealed.appended.length);
        }
        took
    }
}

criterion_group!(benches, passes);
criterion_main!(benches);
