//! Real crashes: the server is killed at random moments under load (SIGKILL), started again, and everything that it had
//! answered is verified: every write, every document, every follower's stream.
//!
//! Writers have documents of their own in streams that they share, so each knows what its documents must be; what the kill
//! kept from being answered is settled after the restart. Then the logs are read, and hold exactly the writes that took
//! effect, each once; and the followers, who resume by the id they saw last, are told exactly what the logs hold.
//!
//! This proves recovery, not durability: a killed process leaves the kernel's page cache intact, so bytes that were written
//! and never synced are still there afterwards. What a loss of power leaves is the business of the engine's simulator
//! (`server/engine/tests/simulator`), whose disk forgets what wasn't synced.
//!
//! The seed decides what is written and when the kills come, not how the threads meet.

mod log;
mod reader;
mod writer;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::log::Log;
use self::reader::{Habit, Reader};
use self::writer::Writer;
use crate::kit::{Random, Server, setting};

/// The streams that are written.
const STREAMS: [&str; 3] = ["orders", "users", "news"];
/// The collections that are written.
const COLLECTIONS: [&str; 5] = ["orders", "orders/7/lines", "users", "users/1/notes", "news"];
/// Threads that write.
const WRITERS: usize = 6;
/// Milliseconds of load before a kill.
const LOAD_MS_MAX: u64 = 300;
/// Milliseconds after which a start is killed, too: some of them while it recovers, some when it has begun to serve.
const START_MS_MAX: u64 = 60;
/// Kills after which the logs are read from their beginning and another data folder is begun, so that starts stay short.
const KILLS_OF_A_FOLDER: usize = 25;
/// Kills after which it is told how things stand.
const KILLS_OF_A_LINE: u64 = 10;

/// Segments and checkpoints so small that rotations, seals and installs are under way at the kills.
const SMALL: [&str; 6] = ["--segment-bytes", "16384", "--checkpoint-bytes", "8192", "--cores", "2"];

#[test]
fn what_was_answered_survives_kills() {
    survive(setting("FANTAIL_KILLS").unwrap_or(10), "sync");
}

/// The kernel has what was answered, so a crash of the process loses nothing; but each opens an epoch.
#[test]
fn what_was_answered_with_flush_survives_kills() {
    survive(5, "flush");
}

fn survive(kills: u64, durability: &'static str) {
    let mut random = Random::seeded();
    let (began, mut total) = (Instant::now(), Tally::default());
    for first in (0..kills).step_by(KILLS_OF_A_FOLDER) {
        let mut trial = Trial::new(durability, &mut random);
        for kill in first + 1..=kills.min(first + KILLS_OF_A_FOLDER as u64) {
            trial.kill_under_load(&mut random);
            trial.verify(&mut random);
            if kill.is_multiple_of(KILLS_OF_A_LINE) {
                let seconds = began.elapsed().as_secs_f64();
                println!("{kill} of {kills} kills after {seconds:.1} s: {}", total.with(&trial.tally()));
            }
        }
        trial.logs.iter().for_each(|log| log.check_from_the_beginning(&trial.server));
        total = total.with(&trial.tally());
    }
    println!("{kills} kills with {durability} in {:.1} s: {total}; nothing was lost", began.elapsed().as_secs_f64());
    assert!(total.answered > 20 * kills, "the writers hardly wrote");
}

/// A server on a data folder, and all that is known of it.
struct Trial {
    server: Server,
    writers: Vec<Writer>,
    readers: Vec<Reader>,
    logs: Vec<Log>,
    kills: u64,
}

impl Trial {
    fn new(durability: &'static str, random: &mut Random) -> Trial {
        let server = Server::with(&[&SMALL[..], &["--durability", durability]].concat());
        let writers = (0..WRITERS).map(|number| Writer::new(number, random.fork())).collect();
        let readers = [
            (Habit::Stays, &["/orders"][..]),
            (Habit::Returns, &["/users"]),
            (Habit::Stays, &["/orders/7/lines"]),
            (Habit::Returns, &["/users/1/notes/0-1"]),
            (Habit::Stays, &["/orders/7/lines", "/orders/1-2"]),
            (Habit::Returns, &["/orders/7/lines", "/users", "/news"]),
            (Habit::Sleeps, &["/news"]),
            (Habit::Sleeps, &["/users/1/notes"]),
        ];
        let readers = readers.map(|(habit, topics)| Reader::new(habit, topics, random.fork())).into();
        Trial { server, writers, readers, logs: STREAMS.map(Log::new).into(), kills: 0 }
    }

    fn kill_under_load(&mut self, random: &mut Random) {
        let life = Life { address: self.server.address(), is_killed: AtomicBool::new(false) };
        let Trial { server, writers, readers, .. } = self;
        thread::scope(|scope| {
            let life = &life;
            writers.iter_mut().for_each(|writer| drop(scope.spawn(|| writer.write(life))));
            readers.iter_mut().for_each(|reader| drop(scope.spawn(|| reader.read(life))));
            // The kill is to come at a random moment of the load.
            thread::sleep(Duration::from_micros(random.below(LOAD_MS_MAX * 1000)));
            life.is_killed.store(true, Ordering::Release);
            server.kill();
        });
        self.kills += 1;
        while random.below(4) == 0 {
            self.server.start_and_kill(Duration::from_micros(random.below(START_MS_MAX * 1000)));
            self.kills += 1;
        }
        self.server.start_again();
    }

    fn verify(&mut self, random: &mut Random) {
        for writer in &mut self.writers {
            writer.settle(&self.server);
            writer.repeat(&self.server);
            writer.check_documents(&self.server);
        }
        let effects: Vec<_> = self.writers.iter_mut().flat_map(Writer::take_effects).collect();
        for log in &mut self.logs {
            let stream = log.stream();
            log.read_on(&self.server, effects.iter().filter(|effect| effect.stream() == stream));
            log.check_newcomers(&self.server, random);
        }
        for reader in &mut self.readers {
            reader.catch_up(&self.server, &self.logs);
        }
    }

    fn tally(&self) -> Tally {
        let sum = |count: fn(&Writer) -> u64| self.writers.iter().map(count).sum();
        Tally {
            kills: self.kills,
            answered: sum(|writer| writer.answered),
            settled: sum(|writer| writer.settled),
            repeated: sum(|writer| writer.repeated),
            delivered: self.readers.iter().map(|reader| reader.delivered).sum(),
            resumed: self.readers.iter().map(|reader| reader.resumed).sum(),
        }
    }
}

/// A server's life, as writers and readers see it who don't know when it ends.
struct Life {
    address: SocketAddr,
    /// Set just before the kill.
    is_killed: AtomicBool,
}

impl Life {
    /// What came of an exchange with the server; none if the kill ended it, which is all that may.
    #[track_caller]
    fn unless_killed<T>(&self, result: io::Result<T>) -> Option<T> {
        use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let expected = [BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof];
                let is_expected = self.is_killed.load(Ordering::Acquire) && expected.contains(&error.kind());
                assert!(is_expected, "before the kill: {error}");
                None
            }
        }
    }
}

/// That two values are the same; if not, says what differs, as both together would fill many screens.
#[track_caller]
fn assert_same(found: &Value, expected: &Value, what: &str) {
    let differences = || json_patch::diff(expected, found).iter().take(3).map(ToString::to_string).collect::<Vec<_>>();
    assert!(found == expected, "{what} differs from what was expected: {:#?}", differences());
}

/// What was verified.
#[derive(Default)]
struct Tally {
    /// Also those of starts.
    kills: u64,
    /// Writes that were answered, those that were settled included.
    answered: u64,
    /// Of them: writes whose answer a kill cut off.
    settled: u64,
    /// Answers to repeats of a key that was answered before.
    repeated: u64,
    /// Events that readers got.
    delivered: u64,
    /// Connections by which readers resumed.
    resumed: u64,
}

impl Tally {
    fn with(&self, other: &Tally) -> Tally {
        Tally {
            kills: self.kills + other.kills,
            answered: self.answered + other.answered,
            settled: self.settled + other.settled,
            repeated: self.repeated + other.repeated,
            delivered: self.delivered + other.delivered,
            resumed: self.resumed + other.resumed,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { kills, answered, settled, repeated, delivered, resumed } = self;
        write!(
            f,
            "{kills} SIGKILLs, {answered} writes ({settled} of them cut off and settled), {repeated} repeats, \
             {delivered} events to readers over {resumed} resumes"
        )
    }
}
