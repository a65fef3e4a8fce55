//! The audience under real sockets, on one thread and without a server: a hand-made home writes the log and posts news of
//! it, listeners are loopback connections, and a plain model says which bytes each of them is owed.

mod behind;
mod held;
mod leaving;
mod live;
mod private;
mod stalled;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, unbounded};
use fantail_engine::event;
use fantail_engine::log::block::{Block, Extent};
use fantail_engine::log::index::{self, Entry};
use fantail_engine::log::segment;
use fantail_engine::log::{group, tail::Tail};
use fantail_engine::position::{Epoch, Position};
use fantail_engine::topic::{self, Topic};
use socket2::{SockRef, Socket};

use super::*;
use crate::storage::pages::Paged;

const STREAM: &str = "s";
/// After this long, what a test waits for doesn't come any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Chance from a seed, which is printed so that a failure can be had again: `FANTAIL_SEED=… cargo test`.
struct Chance(u64);

impl Chance {
    fn new() -> Chance {
        let given = std::env::var("FANTAIL_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given
            .unwrap_or_else(|| u64::from(std::process::id()) << 32 | Instant::now().elapsed().as_nanos() as u64 | 1);
        println!("FANTAIL_SEED={seed}");
        Chance(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// What a home tells a core by letter.
enum News {
    Block(Arc<Block>),
    Segment(Span),
    Retained(u64),
    Published(Position, u64),
}

/// A log as its home has it: the tail, the files, and everything that was ever in it.
struct Written {
    volume: Arc<Volume>,
    tail: Tail,
    segments: VecDeque<Span>,
    /// Entries of the segment that is written.
    entries: Vec<Entry>,
    files: Option<(File, File)>,
    sequence: u64,
    bytes: Vec<u8>,
    extents: Vec<Extent>,
    filler: u32,
}

fn at(sequence: u64) -> Position {
    Position { epoch: Epoch::from_bits(7), sequence }
}

/// The filter of some paths: collections or documents.
fn filter(paths: &[&str]) -> Filter {
    Filter::of(paths.iter().map(|path| Topic::Path(topic::hash(path))))
}

impl Written {
    fn new(folder: &Path) -> Written {
        Written {
            volume: Volume::new(folder.into()),
            tail: Tail::new(0),
            segments: VecDeque::new(),
            entries: Vec::new(),
            files: None,
            sequence: 0,
            bytes: Vec::new(),
            extents: Vec::new(),
            filler: 0,
        }
    }

    fn view(&self) -> View {
        View {
            published: self.end(),
            blocks: self.tail.blocks().clone(),
            segments: self.segments.clone(),
            position: at(self.sequence),
        }
    }

    /// Begins the next segment.
    fn rotate(&mut self, news: &mut VecDeque<News>) {
        let (first, base) = (self.sequence + 1, self.bytes.len() as u64);
        if self.segments.back().is_some_and(|segment| segment.first == first) {
            return;
        }
        if let Some((_, index)) = &mut self.files {
            index.write_all(&index::seal(&std::mem::take(&mut self.entries))).expect("the disk has room");
        }
        let open = |kind| {
            let path = self.volume.folder.join(segment::name(first, kind));
            OpenOptions::new().create_new(true).append(true).open(path).expect("a file of a new segment")
        };
        self.files = Some((open(segment::Kind::Log), open(segment::Kind::Index)));
        let segment = Span { first, base, begun_ms: None, ended_ms: 0 };
        self.segments.push_back(segment);
        news.push_back(News::Segment(segment));
    }

    /// One group of events, each of a document (`collection/id`) with so many bytes of data: written, then published.
    fn commit(&mut self, events: &[(&str, usize)], news: &mut VecDeque<News>) {
        if self.files.is_none() {
            self.rotate(news);
        }
        let base = self.bytes.len() as u64;
        let segment = self.segments.back().expect("rotated above").base;
        let (first, mut group, mut extents) = (self.sequence + 1, Vec::new(), Vec::new());
        for (path, size) in events {
            self.sequence += 1;
            let start = group.len();
            let mut data = Vec::new();
            while data.len() < *size {
                self.filler += 1;
                write!(data, "{},", self.filler).expect("memory takes every write");
            }
            event::encode(&mut group, at(self.sequence), &data);
            let (collection, _) = path.rsplit_once('/').expect("a document is in a collection");
            extents.push(Extent {
                start: base + start as u64,
                length: (group.len() - start) as u32,
                collection: topic::hash(collection),
                document: topic::hash(path),
            });
        }
        let open = group.len();
        group::seal(&mut group, first, self.sequence, 1);
        extents.last_mut().expect("a group has events").length += (group.len() - open) as u32;

        let appended = self.tail.append(&group, first, &extents);
        if appended.is_new {
            news.push_back(News::Block(appended.block));
        }
        let (log, index) = self.files.as_mut().expect("rotated above");
        log.write_all(&group).expect("the disk has room");
        for Extent { start, length, collection, document } in &extents {
            let offset = (start - segment) as u32;
            let entry = Entry { offset, length: *length, collection: *collection, document: *document };
            index.write_all(&entry.encode()).expect("the disk has room");
            self.entries.push(entry);
        }
        self.bytes.extend_from_slice(&group);
        self.extents.extend(extents);
        news.push_back(News::Published(at(self.sequence), self.end()));
    }

    fn end(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The model: what a follower gets of the events from the one with this ordinal on, if it began at `cursor`.
    fn owed(&self, filter: &Filter, cursor: u64, ordinal: usize, out: &mut Vec<u8>) {
        for extent in &self.extents[ordinal..] {
            if extent.start >= cursor && filter.passes(extent.collection, extent.document) {
                out.extend_from_slice(&self.bytes[extent.start as usize..extent.end() as usize]);
            }
        }
    }
}

/// A listener's end of a connection.
struct Client {
    socket: TcpStream,
    filter: Filter,
    cursor: u64,
    got: Vec<u8>,
    /// Bytes of `got` that are known to be right.
    right: usize,
    /// What it is owed of so many events.
    owed: (Vec<u8>, usize),
    /// How it ended: cleanly or not.
    ended: Option<Result<(), ErrorKind>>,
}

impl Client {
    /// Reads what is there.
    fn read(&mut self) {
        let mut buffer = [0; 64 * 1024];
        while self.ended.is_none() {
            match self.socket.read(&mut buffer) {
                Ok(0) => self.ended = Some(Ok(())),
                Ok(count) => self.got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => self.ended = Some(Err(error.kind())),
            }
        }
    }

    /// Whether it has all that it is owed; panics at the first byte that is wrong.
    fn is_served(&mut self, log: &Written) -> bool {
        self.read();
        let (owed, ordinal) = &mut self.owed;
        log.owed(&self.filter, self.cursor, std::mem::replace(ordinal, log.extents.len()), owed);
        assert!(self.got.len() <= owed.len(), "{} bytes too many", self.got.len() - owed.len());
        if self.got[self.right..] != owed[self.right..self.got.len()] {
            let wrong = (self.right..).find(|&index| self.got[index] != owed[index]).expect("they differ");
            let around = wrong.saturating_sub(60);
            let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[around..bytes.len().min(wrong + 60)]).into_owned();
            panic!("byte {wrong} of {:?} is wrong:\n{}\ninstead of\n{}", self.filter, text(&self.got), text(owed));
        }
        self.right = self.got.len();
        self.right == owed.len()
    }

    fn says(&mut self, words: &[u8]) -> bool {
        self.read();
        self.got == words
    }
}

/// A core with nothing but an audience.
struct Hall {
    audience: Audience,
    eventfd: OwnedFd,
    log: Written,
    news: VecDeque<News>,
    pager: (Pager, JoinHandle<()>),
    pages: Receiver<Paged>,
    listener: TcpListener,
    /// Whether the turn is due: it said so, or it was given something to do. Otherwise only the eventfd wakes it.
    is_due: bool,
    _folder: tempfile::TempDir,
}

impl Hall {
    fn new(slots: u32) -> Hall {
        let folder = tempfile::tempdir().expect("a folder");
        let mut hall = Hall::unwatched(slots, folder);
        hall.audience.watch(STREAM.into(), hall.log.view(), Arc::clone(&hall.log.volume));
        hall
    }

    fn unwatched(slots: u32, folder: tempfile::TempDir) -> Hall {
        // SAFETY: a plain system call.
        let eventfd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        assert!(eventfd >= 0, "an eventfd");
        // SAFETY: the descriptor is new and ours.
        let eventfd = unsafe { OwnedFd::from_raw_fd(eventfd) };
        let ((delivery, pages), bell) = (unbounded(), File::from(eventfd.try_clone().expect("a descriptor")));
        let deliver = move |_, paged| {
            // The hall may be gone.
            drop(delivery.send(paged));
            (&bell).write_all(&1u64.to_ne_bytes()).expect("a counter");
        };
        let pager = Pager::start(deliver).expect("a thread");
        Hall {
            audience: Audience::new(0, slots, eventfd.as_raw_fd(), Disconnect::Instant, pager.0.clone())
                .expect("a ring"),
            eventfd,
            pager,
            pages,
            log: Written::new(folder.path()),
            news: VecDeque::new(),
            listener: TcpListener::bind("127.0.0.1:0").expect("a port"),
            is_due: false,
            _folder: folder,
        }
    }

    /// A new connection: the client's end, which doesn't block, and ours. `buffer` bounds what the kernel holds for it, at either
    /// end.
    fn connect(&self, buffer: Option<usize>) -> (TcpStream, OwnedFd) {
        let address = self.listener.local_addr().expect("an address");
        let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes).expect("a buffer");
            // Loopback's segments of 64 KiB don't fit a small window: the sender would wait for its timers.
            socket.set_tcp_mss(1_400).expect("a socket");
        }
        socket.connect(&address.into()).expect("a connection");
        let socket = TcpStream::from(socket);
        let (seated, _) = self.listener.accept().expect("a connection");
        if let Some(bytes) = buffer {
            SockRef::from(&seated).set_send_buffer_size(bytes).expect("a buffer");
        }
        socket.set_nonblocking(true).expect("a socket");
        (socket, seated.into())
    }

    /// A seat for a new connection, from `cursor` on.
    fn seat_with(&mut self, filter: Filter, start: Start, buffer: Option<usize>) -> Client {
        let cursor = start.cursor;
        let (socket, seated) = self.connect(buffer);
        let log = Log { stream: STREAM, volume: self.log.volume.number };
        self.audience.seat(seated, log, filter.clone(), start).expect("a seat");
        self.is_due = true;
        Client { socket, filter, cursor, got: Vec::new(), right: 0, owed: (Vec::new(), 0), ended: None }
    }

    fn seat(&mut self, filter: Filter, cursor: u64) -> Client {
        self.seat_with(filter, Start { cursor, snapshot: None, unasked: 0 }, None)
    }

    fn commit(&mut self, events: &[(&str, usize)]) {
        self.log.commit(events, &mut self.news);
    }

    fn rotate(&mut self) {
        self.log.rotate(&mut self.news);
    }

    /// Delivers one letter; false if there is none.
    fn deliver(&mut self) -> bool {
        match self.news.pop_front() {
            None => return false,
            Some(News::Block(block)) => self.audience.add_block(STREAM, block),
            Some(News::Segment(segment)) => self.audience.add_segment(STREAM, segment),
            Some(News::Retained(first)) => self.audience.retain(STREAM, first),
            Some(News::Published(position, end)) => self.audience.publish(STREAM, position, end),
        }
        self.is_due = true;
        true
    }

    fn publish(&mut self, events: &[(&str, usize)]) {
        self.commit(events);
        while self.deliver() {}
    }

    /// One turn, if it is due or the eventfd says so: as the core does it, so that a wakeup that is lost stays lost.
    /// Returns whether there was one.
    fn turn(&mut self) -> bool {
        let mut count = [0u8; 8];
        // SAFETY: eight bytes that live through the call.
        let read = unsafe { libc::read(self.eventfd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        if !self.is_due && read != 8 {
            return false;
        }
        while let Ok(paged) = self.pages.try_recv() {
            assert_eq!(self.audience.add_page(paged), None, "no segment is damaged");
        }
        self.is_due = self.audience.turn(Duration::ZERO);
        true
    }

    /// Turns until nothing is due.
    fn rest(&mut self) {
        let begun = Instant::now();
        while self.turn() {
            assert!(begun.elapsed() < PATIENCE, "the audience doesn't come to rest");
        }
    }

    /// Turns until `is_met`.
    fn until(&mut self, what: &str, mut is_met: impl FnMut(&mut Hall) -> bool) {
        let begun = Instant::now();
        while !is_met(self) {
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
            if !self.turn() {
                std::thread::yield_now();
            }
        }
    }

    /// Turns until all clients have all that they are owed.
    fn serve<'a>(&mut self, clients: impl IntoIterator<Item = &'a mut Client>) {
        let mut waiting: Vec<_> = clients.into_iter().collect();
        self.until("all are served", |hall| {
            waiting.retain_mut(|client| !client.is_served(&hall.log));
            waiting.is_empty()
        });
    }

    /// Retention lets go of all segments before the one at `at` in the list.
    fn retain(&mut self, at: usize) {
        let first = self.log.segments[at].first;
        for dropped in self.log.segments.drain(..at) {
            for kind in [segment::Kind::Log, segment::Kind::Index] {
                std::fs::remove_file(self.log.volume.folder.join(segment::name(dropped.first, kind))).expect("a file");
            }
        }
        self.news.push_back(News::Retained(first));
    }

    fn empty(&mut self) {
        self.until("all seats are free", |hall| hall.audience.seated() == 0);
        for tier in &self.audience.tiers {
            assert!(tier.seats().iter().all(|seat| seat.state == State::Free && seat.armed == 0));
        }
        assert_eq!((self.audience.followers.len(), self.audience.snapshots.len()), (0, 0), "nothing is left behind");
        let counts = self.audience.counts();
        assert_eq!((counts.stalled, counts.seatings), (0, counts.departures), "who came has gone");
        assert!(self.audience.watched.iter().all(|(_, watched)| watched.is_empty()));
    }
}

impl Drop for Hall {
    fn drop(&mut self) {
        self.pager.0.end();
    }
}
