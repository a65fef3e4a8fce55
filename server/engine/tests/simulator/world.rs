//! One seed's world: it takes steps at random, and looks after each whether all is as the model says.

mod crash;

use fantail_engine::document::Scope;
use fantail_engine::event;
use fantail_engine::limits::{BLOCK_BYTES, GROUP_EVENTS_MAX, TAIL_BLOCKS_MAX};
use fantail_engine::log::keys;
use fantail_engine::log::manifest::Durability;
use fantail_engine::log::retention::Retention;
use fantail_engine::log::view::View;
use fantail_engine::position::{Epoch, Position};
use fantail_engine::stream::IdempotencyKey;
use fantail_engine::stream::journal::{Journal, Policy};
use fantail_engine::topic::Place;
use serde_json::Value;

use crate::disk::{Crash, Disk, Faults};
use crate::follower::{Files, Follower, Seat};
use crate::home::{Home, Letter, Waiting};
use crate::model::{Change, Key, Model};
use crate::random::Random;
use crate::writer::{self, COLLECTIONS, Expected};

const STREAM: &str = "s";

/// See the module.
pub(crate) struct World {
    random: Random,
    disk: Disk,
    faults: Faults,
    policy: Policy,
    home: Home,
    model: Model,
    followers: Vec<Follower>,
    views: Vec<Option<View>>,
    files: Vec<Files>,
    now_ms: u64,
    /// Bytes of a document's text at most.
    text_bytes: usize,
    /// Whether bits may flip at rest.
    rots: bool,
    /// Whether the durability changes from start to start.
    is_fickle: bool,
    /// The durability of the next start.
    next_durability: Durability,
    /// How often followers go away, in a thousand.
    departures: u32,
    pub(crate) step: usize,
    /// What the starts found, for whoever looks into a failure; a line each.
    pub(crate) starts: Vec<String>,
    pub(crate) counts: Counts,
}

/// What has come about.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    pub(crate) refusals: u64,
    pub(crate) seen: u64,
    pub(crate) resets: u64,
    pub(crate) crashes: u64,
    pub(crate) cuts: u64,
    pub(crate) failures: u64,
    pub(crate) dropped: u64,
    pub(crate) damaged: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.events += other.events;
        self.refusals += other.refusals;
        self.seen += other.seen;
        self.resets += other.resets;
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.failures += other.failures;
        self.dropped += other.dropped;
        self.damaged += other.damaged;
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let durability = *random.pick(&[Durability::Sync, Durability::Sync, Durability::Flush, Durability::None]);
        let is_large = random.chance(60);
        let text_bytes = if is_large { 120_000 } else { *random.pick(&[4, 30, 200]) };
        let unit = text_bytes as u64 + 100;
        let some = |random: &mut Random, values: &[u64]| random.chance(500).then(|| *random.pick(values));
        let retention = Retention {
            age_ms: some(&mut random, &[5_000, 200_000]),
            bytes: some(&mut random, &[3 * unit, 30 * unit]),
            events: some(&mut random, &[3, 40]),
        };
        let policy = Policy {
            durability,
            segment_bytes: *random.pick(&[1, 8, 40, 1_000]) * unit,
            checkpoint_bytes: *random.pick(&[1, 10, 50, 1_000_000]) * unit,
            retention,
        };
        let faults = match random.below(4) {
            0 => Faults { writes: 2, syncs: 2 },
            1 => Faults { writes: 0, syncs: 6 },
            _ => Faults::default(),
        };
        let disk = Disk::new(random.split(), faults);
        let cores = 1 + random.below(3);
        let followers = (0..2 + random.below(8)).map(|number| {
            let places = (0..1 + random.below(3)).map(|_| place(&mut random)).collect();
            Follower::new(number, random.below(cores), places)
        });
        let followers = followers.collect();
        World {
            home: Home::new(Journal::unborn(STREAM, policy), durability, disk.clone(), None, cores),
            followers,
            views: (0..cores).map(|_| None).collect(),
            files: (0..cores).map(|_| Files::new(piece_bytes(&mut random, text_bytes))).collect(),
            rots: random.chance(600),
            is_fickle: random.chance(150),
            next_durability: durability,
            departures: *random.pick(&[5, 30, 200]),
            random,
            disk,
            faults,
            policy,
            model: Model::new(),
            now_ms: 1_795_218_566_123,
            text_bytes,
            step: 0,
            starts: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Takes so many steps, and then lets everything come to rest.
    pub(crate) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step += 1;
            self.take_step();
            self.check();
        }
        self.rest();
    }

    fn take_step(&mut self) {
        match self.random.below(100) {
            0..26 => self.write(),
            26..44 => {
                self.home.advance(self.now_ms);
                self.note_frames();
            }
            44..60 => drop(self.home.call()),
            60..64 if self.random.chance(30) => self.home.put_off(),
            60..64 => self.home.run_opening(),
            64..68 => self.home.run_upkeep(self.now_ms),
            68 => self.home.run_mark(),
            69..80 => self.deliver(),
            80..94 => self.follow(),
            94 | 95 => self.pass_time(),
            96 | 97 => self.look_ahead(),
            98 => match self.random.below(40) {
                0..3 => self.crash(),
                3 => self.stop(),
                _ => {}
            },
            _ => {
                if self.random.chance(150) {
                    self.disk.fail_after(self.random.below(12));
                }
            }
        }
        if self.disk.is_off() {
            self.crash();
        }
    }

    fn write(&mut self) {
        let is_first = !self.home.journal.stream().exists();
        let persisted = self.home.journal.stream().persisted_sequence();
        let mut wish = writer::wish(&mut self.random, &self.model, persisted, self.now_ms, self.text_bytes);
        if is_first {
            if matches!(wish.expected, Expected::Refused) {
                return;
            }
            let epoch = fresh_epoch(&mut self.random);
            self.home.journal.begin(epoch, [7; 16]);
        }
        wish.operation.key = wish.key.map(|(name, fingerprint)| IdempotencyKey {
            hash: keys::hash(self.home.journal.secret(), name.as_bytes()),
            fingerprint,
        });
        let has_failed = self.home.journal.stream().failure().is_some();
        let before = self.home.journal.stream().position();
        let outcome = self.home.journal.commit(&wish.operation, self.now_ms, usize::MAX >> 1);
        let after = self.home.journal.stream().position();
        let grown = after.sequence - before.sequence;
        match (outcome, wish.expected) {
            (Err(_), _) if has_failed => self.counts.refusals += 1,
            (Err(_), Expected::Refused) => {
                assert_eq!(grown, 0, "what is refused is no event");
                self.counts.refusals += 1;
            }
            (Ok(outcome), Expected::Event(change, status)) => {
                assert_eq!((outcome.status, grown), (status, 1), "the answer to a write that changes something");
                let key = wish.key.map(|(name, fingerprint)| Key {
                    name,
                    fingerprint,
                    unix_ms: self.now_ms,
                    status,
                    is_doubtful: false,
                });
                self.commit(after, outcome.place, change, key);
                self.home.hold(Waiting::Writer);
            }
            (Ok(outcome), Expected::Same(status) | Expected::Repeated(status)) => {
                assert_eq!((outcome.status, grown), (status, 0), "the answer to a write that changes nothing");
            }
            (Ok(_), Expected::Refused) => panic!("a write was taken that must be refused"),
            (Err(refusal), Expected::Event(..) | Expected::Same(_) | Expected::Repeated(_)) => {
                panic!(
                    "a write to {:?} with key {:?} was refused: {refusal}; {:?}",
                    wish.operation.place,
                    wish.key,
                    wish.key.and_then(|k| self.model.keyed(k.0, self.now_ms)).map(|(e, k)| (e.position, k.unix_ms))
                );
            }
        }
    }

    /// Takes note of the event that was committed.
    fn commit(&mut self, position: Position, place: Place, change: Change, key: Option<Key>) {
        let mut value = Vec::new();
        let documents = self.home.journal.stream().documents();
        documents.encode_map(Scope::Stream, usize::MAX, &mut value).expect("no bound");
        self.model.commit(position, place, change, key);
        let value: Value = serde_json::from_slice(&value).expect("a map is JSON");
        assert_eq!(value, **self.model.value(), "the value after {position}");
        self.counts.events += 1;
    }

    /// The events of a group that was sealed just now are what the model says.
    fn note_frames(&mut self) {
        let mut rest = &std::mem::take(&mut self.home.sealed)[..];
        while let Some(frame) = event::decode(rest) {
            self.model.encode(frame.position, frame.data);
            rest = &rest[frame.length..];
        }
    }

    fn deliver(&mut self) {
        let core = self.random.below(self.home.boxes.len());
        for _ in 0..=self.random.below(3) {
            let Some(letter) = self.home.boxes[core].pop_front() else { return };
            let view = &mut self.views[core];
            match (letter, view) {
                (Letter::Watch(watched), view) => *view = Some(watched),
                (Letter::Block(block), Some(view)) => view.blocks.push(block),
                (Letter::Segment(segment), Some(view)) => view.add_segment(segment),
                (Letter::Retained(first), Some(view)) => {
                    view.retain(first);
                }
                (Letter::Published(position, end), Some(view)) => {
                    assert!(end >= view.published, "what is shown doesn't shrink");
                    (view.position, view.published) = (position, end);
                }
                (Letter::Begin(number, beginning), _) => self.followers[number].begin(*beginning),
                (Letter::Refuse(number, question), _) => self.followers[number].refuse(question),
                (Letter::Block(_) | Letter::Segment(_) | Letter::Retained(_) | Letter::Published(..), None) => {
                    panic!("a core is told of a stream that it doesn't watch")
                }
            }
        }
    }

    fn follow(&mut self) {
        let number = self.random.below(self.followers.len());
        let follower = &mut self.followers[number];
        let core = follower.core;
        match follower.seat {
            Seat::Away => {
                if self.random.chance(500) {
                    return;
                }
                let Some(beginning) = follower.ask(&self.home, &self.model, &mut self.random) else { return };
                self.home.listen(core);
                self.home.hold(Waiting::Follower(core, number, Box::new(beginning)));
            }
            Seat::Asked(_) | Seat::Seated { .. } if self.random.chance(self.departures) => follower.leave(),
            Seat::Asked(_) => {}
            Seat::Seated { .. } => {
                let Some(view) = &self.views[core] else { return };
                let files = &mut self.files[core];
                if let Err(segment) = follower.read(view, files, &self.disk, &self.model, &mut self.random) {
                    assert!(self.rots, "segment {segment} is damaged, and nothing rots here");
                    self.home.give_up(segment);
                }
            }
        }
    }

    fn pass_time(&mut self) {
        self.now_ms += match self.random.below(20) {
            0 => 9 * 3_600_000,
            1..5 => 60_000,
            _ => 700,
        };
    }

    /// Takes note of what was promised by now.
    fn note(&mut self) {
        let stream = self.home.journal.stream();
        let persisted = stream.persisted_sequence();
        self.model.told = self.model.told.max(persisted);
        match self.policy.durability {
            Durability::Sync => {
                self.model.durable = self.model.durable.max(persisted);
                self.model.flushed = self.model.flushed.max(persisted);
            }
            Durability::Flush => self.model.flushed = self.model.flushed.max(persisted),
            Durability::None => {}
        }
        if self.model.last() > stream.position().sequence {
            self.model.take_back(stream.position().sequence, self.home.written);
        }
    }

    /// What holds after every step.
    fn check(&mut self) {
        self.note();
        let journal = &self.home.journal;
        let stream = journal.stream();
        assert_eq!(stream.position().sequence, self.model.last(), "the newest event");
        assert!(
            stream.persisted_sequence() <= stream.position().sequence && journal.published() <= stream.sealed_end()
        );
        for view in self.views.iter().flatten() {
            assert!(view.published <= journal.published(), "a core shows what isn't published");
            check_memory(view, self.home.largest);
        }
        if let Some(last) = self.model.event(self.model.last()) {
            assert_eq!(stream.position(), last.position, "the newest position");
        }
    }

    /// Nothing fails any more, everything is done, and all have everything.
    fn rest(&mut self) {
        (self.faults, self.departures) = (Faults::default(), 0);
        self.disk.set_faults(self.faults);
        if self.home.journal.stream().failure().is_some() {
            self.restart(Crash::Process);
        }
        self.step += 1;
        self.settle();
        if self.disk.is_off() {
            self.restart(Crash::Power);
            self.settle();
        }
        for _ in 0..200_000 {
            let is_current = |follower: &Follower| !follower.is_away() && follower.is_current(&self.model);
            if self.followers.iter().all(is_current) {
                break;
            }
            self.deliver();
            self.follow();
        }
        for follower in &self.followers {
            assert!(follower.is_current(&self.model), "follower {} doesn't get what there is", follower.number);
            self.counts.seen += follower.seen;
            self.counts.resets += follower.resets;
        }
        self.counts.dropped = self.home.journal.stream().earliest() - 1;
        self.restart(Crash::Process);
        self.settle();
        self.damage();
    }
}

/// Any place that can be followed.
fn place(random: &mut Random) -> Place {
    let collection = Place::parse(COLLECTIONS[random.below(COLLECTIONS.len())]).expect("a path");
    match random.below(3) {
        0 => collection,
        1 => collection.child("1").expect("a name"),
        _ => collection.child("2").expect("a name"),
    }
}

/// How much of a segment a core has in one piece.
fn piece_bytes(random: &mut Random, text_bytes: usize) -> usize {
    text_bytes / 4 + 1 + random.below(5_000)
}

fn fresh_epoch(random: &mut Random) -> Epoch {
    Epoch::from_bits(random.next() as u32)
}

/// What a core holds of a log is bounded, however long that is.
fn check_memory(view: &View, group_bytes: usize) {
    let Some(start) = view.blocks.start() else { return };
    let count = view.blocks.extents(start, u64::MAX).map_or(0, Iterator::count);
    assert!(count <= TAIL_BLOCKS_MAX * GROUP_EVENTS_MAX, "{count} events in memory");
    let held = view.published.saturating_sub(start) as usize;
    assert!(held <= TAIL_BLOCKS_MAX * group_bytes.max(BLOCK_BYTES), "{held} bytes in memory");
}
