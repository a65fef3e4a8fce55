//! The audit of a stream on disk: its files are read, the engine says what is wrong with them.
//!
//! Nothing is changed, and no lock is held: a server may run meanwhile. What is found while one does is looked at again,
//! because files come, grow and go between two looks. Memory: one segment and its index; the documents, if the value is
//! audited, and those of one checkpoint beside them.

use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use fantail_engine::document::{self, Documents};
use fantail_engine::event::Frame;
use fantail_engine::log::audit::{self, Ending, Finding};
use fantail_engine::log::index::Form;
use fantail_engine::log::manifest::{self, Manifest};
use fantail_engine::log::segment::{self, Kind};
use fantail_engine::position::Position;
use fantail_engine::stream::recovery::CheckpointFault;

use super::folder;
use super::listing::{self, Extent, Listing, ListingError};
use super::snapshot::{Snapshot, SnapshotError};
use crate::limits::LOOKS_MAX;

/// What an audit found.
#[derive(Debug)]
pub struct Report {
    /// The stream's folder, by its name in the data folder.
    pub folder: String,
    /// What is there.
    pub extent: Extent,
    /// What is wrong, in the order of the log.
    pub flaws: Vec<Flaw>,
}

/// Something wrong with a file.
#[derive(Debug, thiserror::Error)]
#[error("{file}{wrong}")]
pub struct Flaw {
    /// The file, by its name in the data folder.
    pub file: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// Its bytes.
    #[error(" byte {}: {}", .0.offset, .0.wrong)]
    Bytes(Finding),
    /// It isn't there.
    #[error(": it isn't there")]
    Missing,
    /// The folder has another name than its stream's.
    #[error(": it says that the stream is {0}")]
    Name(String),
    /// It can't be read.
    #[error(": {0}")]
    Unreadable(std::io::Error),
    /// The documents of a checkpoint can't be read.
    #[error(": {0}")]
    Documents(CheckpointFault),
    /// The value of a checkpoint isn't that of its position.
    #[error(": its value isn't what the log makes of the value before")]
    Value,
}

/// Audits the stream in `stream`, a folder in `data`. None if it isn't there any more, or was never finished.
///
/// # Errors
/// The folder can't be listed.
pub fn audit(data: &Path, stream: &Path) -> Result<Option<Report>, ListingError> {
    let ending = || folder::ending(data).map_err(ListingError::io(data));
    let mut looks = 1;
    loop {
        let before = ending()?;
        let report = look(stream, before)?;
        let may_change = before == Ending::Growing || ending()? == Ending::Growing;
        let is_whole = report.as_ref().is_none_or(|report| report.flaws.is_empty());
        if is_whole || !may_change || looks == LOOKS_MAX {
            return Ok(report);
        }
        looks += 1;
    }
}

/// One look at all files.
fn look(stream: &Path, ending: Ending) -> Result<Option<Report>, ListingError> {
    let folder = stream.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let extent = Extent { first: 1, last: Position::ORIGIN, bytes: 0, segments: 0, checkpoints: 0 };
    let report = Report { folder, extent, flaws: Vec::new() };
    let mut look = Look { stream, ending, report };
    let listing = Listing::of(stream)?;
    match listing::manifest(stream) {
        Ok(Some(manifest)) => {
            if manifest::folder(&manifest.name).as_ref() != Some(&look.report.folder) {
                look.flaw("manifest", Wrong::Name(manifest.name.clone()));
            }
            look.log(&manifest, &listing);
        }
        // Its first group was never written, or it is gone.
        Ok(None) if listing.segments.is_empty() => return Ok(None),
        Ok(None) => look.flaw("manifest", Wrong::Missing),
        Err(ListingError::Manifest { error, .. }) => look.flaw("manifest", Wrong::Bytes(error.into())),
        Err(ListingError::Io { error, .. }) => look.flaw("manifest", Wrong::Unreadable(error)),
        Err(error @ (ListingError::NoFolder(_) | ListingError::NoStream { .. } | ListingError::NoManifest(_))) => {
            return Err(error);
        }
    }
    Ok(Some(look.report))
}

struct Look<'a> {
    stream: &'a Path,
    ending: Ending,
    report: Report,
}

impl Look<'_> {
    fn flaw(&mut self, file: &str, wrong: Wrong) {
        let file = format!("{}/{file}", self.report.folder);
        self.report.flaws.push(Flaw { file, wrong });
    }

    fn find(&mut self, file: &str, finding: Option<Finding>) {
        if let Some(finding) = finding {
            self.flaw(file, Wrong::Bytes(finding));
        }
    }

    /// A file's bytes; that it can't be read is a flaw.
    fn read(&mut self, name: &str) -> Option<Vec<u8>> {
        match listing::read(&self.stream.join(name)) {
            Ok(Some(bytes)) => return Some(bytes),
            Ok(None) => self.flaw(name, Wrong::Missing),
            Err(error) => self.flaw(name, Wrong::Unreadable(error)),
        }
        None
    }

    fn log(&mut self, manifest: &Manifest, listing: &Listing) {
        // Before the log: so the log that is read then reaches as far as they do, even while a server writes both.
        let checkpoints = self.checkpoints(&listing.checkpoints);
        let newest = checkpoints.last().map_or(0, |(_, snapshot)| snapshot.checkpoint.position.sequence);
        let first = listing.segments.first().copied().unwrap_or(1);
        let mut value = Value::new(first, checkpoints.iter().map(|(_, snapshot)| Rc::clone(snapshot)).collect());
        let (mut last, mut expected) = (first - 1, first.min(newest + 1));
        for (at, &first) in listing.segments.iter().enumerate() {
            if first != expected {
                let wrong = audit::Wrong::Gap { expected, found: first };
                self.find(&segment::name(first, Kind::Log), Some(Finding { offset: 0, wrong }));
                value.lose(first - 1);
            }
            let next = listing.segments.get(at + 1);
            let form = next.map_or(Form::Open, |_| Form::Sealed);
            let (reached, is_whole) = self.segment(manifest, first, form, &mut value);
            (last, expected) = (reached, reached + 1);
            if let Some(&next) = next.filter(|_| !is_whole) {
                // What is missing behind the damage was named with it.
                (last, expected) = (next - 1, next);
                value.lose(last);
            }
        }
        let extent = &mut self.report.extent;
        (extent.first, extent.segments) = (first, listing.segments.len());
        extent.last = Position { epoch: manifest.epochs.at(last), sequence: last };
        for (sequence, wrong) in value.wrong {
            self.flaw(&segment::name(sequence, Kind::Checkpoint), wrong);
        }
        for (number, snapshot) in checkpoints {
            let finding = audit::checkpoint(&snapshot.checkpoint, number, &manifest.epochs, last);
            self.find(&segment::name(number, Kind::Checkpoint), finding);
        }
    }

    /// The checkpoints whose bytes are whole, each with the number in its name.
    fn checkpoints(&mut self, numbers: &[u64]) -> Vec<(u64, Rc<Snapshot>)> {
        let mut whole = Vec::new();
        for &number in numbers {
            let name = segment::name(number, Kind::Checkpoint);
            match Snapshot::open(&self.stream.join(&name)) {
                Ok(snapshot) => whole.push((number, Rc::new(snapshot))),
                Err(SnapshotError::Damaged(error)) => self.flaw(&name, Wrong::Bytes(error.into())),
                Err(SnapshotError::Io(error)) => self.flaw(&name, Wrong::Unreadable(error)),
            }
        }
        self.report.extent.checkpoints = whole.len();
        whole
    }

    /// Audits a segment and what belongs to it; returns the sequence of its last event that is whole, and whether all of it is.
    fn segment(&mut self, manifest: &Manifest, first: u64, form: Form, value: &mut Value) -> (u64, bool) {
        let name = |kind| segment::name(first, kind);
        let ending = match form {
            Form::Open => self.ending,
            Form::Sealed => Ending::Settled,
        };
        // Before the segment: then it can't be ahead of it by more than what is in flight.
        let index = self.read(&name(Kind::Index));
        let Some(bytes) = self.read(&name(Kind::Log)) else { return (first - 1, false) };
        let recovered = segment::recover(&bytes, first, &manifest.epochs, |frame| value.event(frame));
        let verdict = match form {
            Form::Open => recovered.verdict,
            Form::Sealed => recovered.verdict.sealed(),
        };
        let last = recovered.last.map_or(first - 1, |last| last.sequence);
        self.report.extent.bytes += recovered.kept_bytes;
        if let Some(damage) = audit::segment(&verdict, ending) {
            self.find(&name(Kind::Log), Some(damage));
            return (last, false);
        }
        let finding = index.and_then(|index| audit::index(&index, first, &recovered.entries, form, ending));
        self.find(&name(Kind::Index), finding);
        match listing::read(&self.stream.join(name(Kind::Keys))) {
            Ok(keys) => {
                let finding = audit::keys(&keys.unwrap_or_default(), first, last, ending);
                self.find(&name(Kind::Keys), finding);
            }
            Err(error) => self.flaw(&name(Kind::Keys), Wrong::Unreadable(error)),
        }
        (last, true)
    }
}

/// The documents as the log makes them, wherever it is known from what: from its beginning, or from a checkpoint.
struct Value {
    documents: Option<Documents>,
    /// Those that aren't reached yet, in order.
    checkpoints: VecDeque<Rc<Snapshot>>,
    /// What is wrong with the values of some, by their sequence.
    wrong: Vec<(u64, Wrong)>,
}

impl Value {
    /// The value before the event `first`.
    fn new(first: u64, checkpoints: VecDeque<Rc<Snapshot>>) -> Value {
        let documents = (first == 1).then(Documents::default);
        let mut value = Value { documents, checkpoints, wrong: Vec::new() };
        value.reach(first - 1);
        value
    }

    /// Folds an event; its hashes, or none if it can't be applied.
    fn event(&mut self, frame: &Frame<'_>) -> Option<(u64, u64)> {
        let sequence = frame.position.sequence;
        if let Some(documents) = &mut self.documents {
            documents.fold(frame.data, sequence).ok()?;
        }
        self.reach(sequence);
        Some(document::touched(frame.data))
    }

    /// All events up to `sequence` were passed: if there is a checkpoint of it, compares, or goes on from it.
    fn reach(&mut self, sequence: u64) {
        let place = |snapshot: &Snapshot| snapshot.checkpoint.position.sequence;
        while self.checkpoints.front().is_some_and(|next| place(next) <= sequence)
            && let Some(snapshot) = self.checkpoints.pop_front()
        {
            let value = match snapshot.documents() {
                Ok(value) => value,
                Err(error) => {
                    self.wrong.push((place(&snapshot), Wrong::Documents(error)));
                    continue;
                }
            };
            match &self.documents {
                // What came between it and this event isn't there.
                _ if place(&snapshot) < sequence => {}
                Some(documents) if !documents.is_value_of(&value) => self.wrong.push((sequence, Wrong::Value)),
                Some(_) => {}
                None => self.documents = Some(value),
            }
        }
    }

    /// Events up to `sequence` are missing or damaged: only a checkpoint of it, or a later one, says what the documents are.
    fn lose(&mut self, sequence: u64) {
        self.documents = None;
        self.reach(sequence);
    }
}
