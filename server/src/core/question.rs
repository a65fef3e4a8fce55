//! What a conversation asks a stream's home, and what it is told once that is durable.

use std::collections::HashSet;

use fantail_engine::document::Body;
use fantail_engine::json::Value;
use fantail_engine::log::filter::Filter;
use fantail_engine::log::manifest::Epochs;
use fantail_engine::mirror::{Moment, State};
use fantail_engine::position::Position;
use fantail_engine::stream::{Operation, Outcome, Refusal};
use fantail_engine::topic::Place;

use super::channels::ChannelAnswer;
use super::following::Following;
use super::links::Linked;
use super::survey::Survey;

/// What a conversation wants of a stream.
pub(crate) enum Question {
    /// Change a document.
    Write(WriteQuestion),
    /// One document.
    Document(Place),
    /// A page of a collection.
    List { place: Place, after: Option<String>, limit: usize },
    /// The map form of what the place names.
    Map(Place),
    /// Events after a position.
    History { place: Place, after: String, limit: usize },
    /// Where a follower of these places begins; all are of one stream.
    Follow { places: Vec<Place>, from: From },
    /// Delete the stream of this name, and all of its log.
    Delete(String),
    /// Keep what an origin has at the place in step with it.
    Mirror(Place, Step),
}

/// What happens to a document or a collection of an origin's.
pub(crate) enum Step {
    /// A write is about to be sent to it.
    Write,
    /// The write that began then was answered; what the document `seen`, of the same stream, is now, if that was told.
    Written { began: Moment, seen: Place, state: Option<State> },
    /// The write that began then has changed nothing here.
    Over(Moment),
    /// It is a document and has changed: somebody must read it.
    Read,
    /// What was read of it in turn; none if it couldn't be.
    HasRead(Option<State>),
    /// It is about to be looked at.
    Look(Purpose),
    /// Documents that were seen by the look that began then.
    Seen(Moment, Vec<(Place, Value)>),
    /// The look that began then is over; if the collection was seen whole, these are all of its documents.
    Looked(Moment, Option<HashSet<Place>>),
    /// What was to be kept of it couldn't be.
    Doubt,
}

/// Why an origin's document or collection is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// It is to be followed, and may not be known yet.
    Follow,
    /// It has changed somehow, which matters if the stream is known.
    Refresh,
}

/// An operation whose idempotency key is still as the client sent it: only the home knows the stream's secret.
pub(crate) struct WriteQuestion {
    pub(crate) operation: Operation,
    pub(crate) key: Option<(String, u128)>,
}

/// Where a follower wants to begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum From {
    /// After this cursor, as the client sent it.
    Cursor(String),
    /// With the next event.
    Now,
    /// With the oldest event.
    Earliest,
    /// With the whole value.
    Snapshot,
}

impl Question {
    /// The stream that it is about.
    pub(crate) fn stream(&self) -> &str {
        match self {
            Question::Write(write) => write.operation.place.stream(),
            Question::Document(place)
            | Question::List { place, .. }
            | Question::Map(place)
            | Question::History { place, .. } => place.stream(),
            Question::Follow { places, .. } => places[0].stream(),
            Question::Delete(stream) => stream,
            Question::Mirror(place, _) => place.stream(),
        }
    }
}

/// What a home says. Whatever was asked, the answer is about durable state.
pub(crate) enum Answer {
    Written(Outcome),
    Document {
        body: Body,
        position: Position,
    },
    /// JSON of a list or a map.
    Json {
        body: Vec<u8>,
        tag: Option<String>,
        position: Option<Position>,
        next: Option<String>,
    },
    /// Where the events begin that were asked for.
    History(Box<Begin>),
    Follow(Box<Following>),
    /// The stream is gone, durably.
    Deleted,
    /// How a core is.
    Survey(Box<Survey>),
    /// What the home of the channels says.
    Channels(ChannelAnswer),
    /// What a next link's home says.
    Link(Linked),
    /// What comes next of a [`Step`].
    Mirror(Mirrored),
    Refused(Refused),
}

/// What comes next after a [`Step`].
pub(crate) enum Mirrored {
    /// It has begun now.
    Began(Moment),
    /// Nothing needs to be done.
    Needless,
    /// The document is to be read by who asked, and [`Step::HasRead`] is to follow.
    Turn,
    /// The stream reflects it as of this position; none if what was read can't be kept.
    Reflected(Option<Position>),
}

/// Where a page of history begins.
pub(crate) struct Begin {
    pub(crate) stream: String,
    /// The number of the log's volume.
    pub(crate) volume: u64,
    pub(crate) filter: Filter,
    /// The event before it.
    pub(crate) sequence: u64,
    /// To tell positions by.
    pub(crate) epochs: Epochs,
    /// Events of the page at most.
    pub(crate) limit: usize,
}

/// Why a question has no answer.
pub(crate) enum Refused {
    /// The operation can't be done.
    Operation(Refusal),
    /// There is no such document.
    NotFound,
    /// There is no such document to follow.
    Missing(Place),
    /// The value is larger than one answer may be.
    MapTooLarge,
    /// There are as many streams as there may be.
    TooManyStreams,
    /// The log can't be read.
    Unreadable(std::io::Error),
    /// The stream's files can't be taken away.
    Undeletable(std::io::Error),
}
