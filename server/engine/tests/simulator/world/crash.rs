//! Crashes, and the starts after them: what is on the disk is held against what was promised.

use std::io;

use fantail_engine::document::{Documents, Scope};
use fantail_engine::log::folder::Folder;
use fantail_engine::log::manifest::{self, Durability, Manifest};
use fantail_engine::log::segment::{self, Kind};
use fantail_engine::stream::journal::Journal;
use fantail_engine::stream::recovery::{self, Finding, Recovered, RecoveryError, Start};
use serde_json::Value;

use super::{STREAM, World, fresh_epoch, piece_bytes};
use crate::disk::{Crash, Disk, Faults};
use crate::follower::{Files, Follower};
use crate::home::Home;
use crate::random::Random;

/// Starts in a row that may fail for a disk that does.
const STARTS_MAX: usize = 50;

impl World {
    /// What would come of a crash now? The world itself goes on.
    pub(super) fn look_ahead(&mut self) {
        let disk = self.disk.copy();
        disk.set_faults(Faults::default());
        let crash = *self.random.pick(&[Crash::Power, Crash::Power, Crash::Process]);
        disk.crash(crash);
        let mut random = self.random.split();
        if let Some(recovered) = start(&disk, self.policy.durability, self.now_ms, &mut random, &mut |_| {}) {
            let recovered = recovered.expect("a disk that doesn't fail");
            self.check_recovered(crash, Some(&recovered));
        } else {
            self.check_recovered(crash, None);
        }
    }

    /// The server stops as it should, and all that it wrote is promised, whatever the durability.
    pub(super) fn stop(&mut self) {
        self.settle();
        let stream = self.home.journal.stream();
        let is_empty = stream.position().sequence == 0 || stream.failure().is_some();
        if !is_empty && (self.home.close() || self.policy.durability == Durability::Sync) {
            let persisted = self.home.journal.stream().persisted_sequence();
            (self.model.durable, self.model.flushed) = (persisted, persisted);
        }
        self.crash();
    }

    /// Does everything that is begun or due.
    pub(super) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "the home doesn't come to rest");
            if !self.home.is_busy() || self.disk.is_off() {
                break;
            }
            self.home.advance(self.now_ms);
            self.note_frames();
            while self.home.call() {}
            self.home.run_opening();
            self.home.run_upkeep(self.now_ms);
            self.home.run_mark();
            self.check();
        }
    }

    /// The process or the machine ends, and the server starts again.
    pub(super) fn crash(&mut self) {
        if self.is_fickle && self.random.chance(300) {
            self.next_durability = *self.random.pick(&[Durability::Sync, Durability::Flush, Durability::None]);
        }
        let crash = *self.random.pick(&[Crash::Power, Crash::Power, Crash::Process]);
        self.restart(crash);
    }

    pub(super) fn restart(&mut self, crash: Crash) {
        self.note();
        self.counts.crashes += 1;
        self.counts.failures += u64::from(self.home.journal.stream().failure().is_some());
        self.disk.crash(crash);
        let mut worst = crash;
        let was = std::mem::replace(&mut self.policy.durability, self.next_durability);
        if self.rots && crash == Crash::Power {
            self.rot();
        }
        for attempt in 0.. {
            assert!(attempt < STARTS_MAX, "the server doesn't start");
            let faults = if attempt < 3 { self.faults } else { Faults::default() };
            self.disk.set_faults(faults);
            if attempt < 3 && self.random.chance(200) {
                self.disk.fail_after(self.random.below(20));
            }
            let mut random = self.random.split();
            let mut cuts = 0;
            let mut tell = |finding: Finding| cuts += u64::from(matches!(finding, Finding::Torn { .. }));
            let started = start(&self.disk, self.policy.durability, self.now_ms, &mut random, &mut tell);
            self.counts.cuts += cuts;
            let started = match started {
                None => self.go_on(worst, was, None),
                Some(Ok(recovered)) => self.go_on(worst, was, Some(recovered)),
                Some(Err(RecoveryError::Io(error))) => Err(error),
                Some(Err(RecoveryError::Gap { expected })) => {
                    panic!("after a crash ({worst:?}), no segment begins with event {expected}")
                }
            };
            match started {
                Ok(()) => break,
                Err(_) if self.disk.is_off() => {
                    // What a crash of the machine did isn't undone by one of the process.
                    let again = *self.random.pick(&[Crash::Power, Crash::Process]);
                    self.disk.crash(again);
                    worst = if again == Crash::Power { Crash::Power } else { worst };
                }
                Err(_) => {}
            }
        }
        self.disk.set_faults(self.faults);
    }

    /// The server has started with what was found.
    fn go_on(&mut self, crash: Crash, was: Durability, recovered: Option<Recovered>) -> io::Result<()> {
        let cores = self.home.boxes.len();
        let durability = self.policy.durability;
        self.check_recovered(crash, recovered.as_ref());
        if crash == Crash::Power && was != Durability::Sync {
            self.model.doubt_keys(self.model.durable + 1);
        }
        let last = recovered.as_ref().map_or(0, |recovered| recovered.found.origin.last);
        self.starts.push(self.describe(crash, was, recovered.as_ref()));
        let (journal, checkpoint) = match recovered {
            Some(recovered) => (Journal::recovered(STREAM, recovered.found, self.policy), recovered.checkpoint),
            None => (Journal::unborn(STREAM, self.policy), None),
        };
        let mut home = Home::new(journal, durability, self.disk.clone(), checkpoint, cores);
        home.open()?;
        self.model.restart(last);
        self.home = home;
        self.followers.iter_mut().for_each(Follower::leave);
        self.views.iter_mut().for_each(|view| *view = None);
        let piece_bytes = piece_bytes(&mut self.random, self.text_bytes);
        self.files.iter_mut().for_each(|files| *files = Files::new(piece_bytes));
        Ok(())
    }

    fn describe(&self, crash: Crash, was: Durability, recovered: Option<&Recovered>) -> String {
        let (step, told, failure) = (self.step, self.model.told, self.home.journal.stream().failure());
        let before = format!("step {step}: {crash:?} in {was:?}, told {told}, failure {failure:?};");
        let Some(Recovered { found, .. }) = recovered else { return format!("{before} nothing is there") };
        let firsts: Vec<u64> = found.segments.iter().map(|segment| segment.first).collect();
        let (last, keys, checkpoint) = (found.origin.last, found.origin.keys.len(), found.checkpoint);
        format!("{before} found events up to {last}, segments {firsts:?}, {checkpoint:?}, {keys} keys")
    }

    /// Bits flip at rest, in the newer of two checkpoints: the one before it, and the log after that, have the same value.
    /// (If everything was quiet when segments were dropped, only the newer one counted, and is left alone.)
    fn rot(&mut self) {
        let names = self.disk.names().expect("a disk that lists");
        let of = |wanted| {
            let parsed = names.iter().filter_map(|name| segment::parse_name(name));
            let mut sequences: Vec<u64> = parsed.filter(|(_, kind)| *kind == wanted).map(|(first, _)| first).collect();
            sequences.sort_unstable();
            sequences
        };
        let (checkpoints, segments) = (of(Kind::Checkpoint), of(Kind::Log));
        if let ([.., before, newest], Some(first)) = (&checkpoints[..], segments.first())
            && *first <= before + 1
            && self.random.chance(500)
        {
            self.disk.flip(&segment::name(*newest, Kind::Checkpoint));
            self.counts.damaged += 1;
        }
    }

    /// What a start makes of the disk after a crash, held against the model.
    fn check_recovered(&self, crash: Crash, recovered: Option<&Recovered>) {
        let last = recovered.map_or(0, |recovered| recovered.found.origin.last);
        let model = &self.model;
        let must = match crash {
            Crash::Power => model.durable,
            Crash::Process => model.flushed,
        };
        assert!(last >= must, "after a crash ({crash:?}) the log ends with {last}, and {must} was promised");
        assert!(last <= model.possible(), "the log ends with {last}, and {} were written", model.possible());
        let Some(recovered) = recovered else { return };
        let origin = &recovered.found.origin;
        assert_eq!(origin.failure, None, "after a crash ({crash:?}) nothing is damaged");
        let value = value(&origin.documents);
        assert_eq!(value, **model.possible_value_at(last), "after a crash ({crash:?}), the value at {last}");
        let epochs = origin.epochs.as_ref().expect("a stream on disk exists");
        for event in model.events().iter().filter(|event| event.position.sequence <= model.told) {
            let judged = epochs.judge(event.position, origin.earliest, last);
            let is_kept = event.position.sequence <= last;
            let is_retained = event.position.sequence + 1 >= origin.earliest;
            assert_eq!(
                judged.is_ok(),
                is_kept && is_retained,
                "after a crash ({crash:?}) the log is {}..={last}, and {} is judged {judged:?}",
                origin.earliest,
                event.position
            );
        }
        for lost in model.lost() {
            assert!(epochs.judge(*lost, origin.earliest, last).is_err(), "{lost} was lost, and is served again");
        }
    }

    /// A bit flips in a segment. Whatever the start makes of that, it is no event that nobody wrote.
    pub(super) fn damage(&mut self) {
        // All is on the medium before.
        self.stop();
        let names = self.disk.names().expect("a disk that lists");
        let is_log = |name: &&String| matches!(segment::parse_name(name), Some((_, Kind::Log)));
        let logs: Vec<&String> = names.iter().filter(is_log).collect();
        if logs.is_empty() {
            return;
        }
        self.disk.crash(Crash::Power);
        self.disk.flip(logs[self.random.below(logs.len())]);
        let mut random = self.random.split();
        let started = start(&self.disk, Durability::Sync, self.now_ms, &mut random, &mut |_| {});
        match started.expect("a stream on disk") {
            Ok(recovered) => {
                let origin = &recovered.found.origin;
                assert!(origin.last <= self.model.last());
                assert_eq!(value(&origin.documents), **self.model.value_at(origin.last), "the value before the damage");
            }
            // While nobody writes, retention trusts the newest checkpoint alone. If what is damaged is the log before its
            // position, no start can begin from the one before.
            Err(RecoveryError::Gap { expected }) if logs.iter().all(|log| begins_after(log, expected)) => {}
            Err(error) => panic!("damage makes a stream refuse writes, and isn't: {error}"),
        }
    }
}

/// Whether a segment begins after this event.
fn begins_after(log: &str, event: u64) -> bool {
    segment::parse_name(log).is_some_and(|(first, _)| first > event)
}

/// Starts from what is on the disk; none if there is no stream.
fn start(
    disk: &Disk,
    durability: Durability,
    now_ms: u64,
    random: &mut Random,
    tell: &mut dyn FnMut(Finding),
) -> Option<Result<Recovered, RecoveryError>> {
    let bytes = disk.read(manifest::FILE).expect("a disk that reads")?;
    let manifest = Manifest::decode(&bytes).expect("a manifest is replaced whole");
    let mut start = Start { durability, now_ms, fresh_epoch: &mut || fresh_epoch(random), tell };
    Some(recovery::recover(disk, manifest, &mut start))
}

fn value(documents: &Documents) -> Value {
    let mut out = Vec::new();
    documents.encode_map(Scope::Stream, usize::MAX, &mut out).expect("no bound");
    serde_json::from_slice(&out).expect("a map is JSON")
}
