//! What a core tells of itself when the admin listener asks: sums since its start, and how its streams and seats are now.
//!
//! Each core counts for itself, in memory that is its own; who asks all of them adds up. So nothing is shared for the sake of
//! being counted.

use std::rc::Rc;
use std::sync::Arc;

use fantail_engine::position::Position;

use super::channels;
use super::home::Kept;
use super::letter::Letter;
use super::question::Answer;
use super::resident::Resident;
use super::{Asked, Core, Ticket, Welcome, reader};
use crate::audience::{self, Listening, Scrutiny};
use crate::origin::OriginSurvey;
use crate::storage::disk;

/// See the module.
pub(crate) struct Survey {
    pub(crate) talk: Talk,
    /// Conversations under way.
    pub(crate) conversations: usize,
    pub(crate) audience: audience::Counts,
    /// The channels, at their home.
    pub(crate) channels: channels::Counts,
    /// Conversations that wait for items of channels, once for each of these.
    pub(crate) attending: usize,
    pub(crate) kept: Kept,
    pub(crate) disk: disk::Counts,
    /// The streams whose home it is, of those that were written.
    pub(crate) streams: Vec<StreamSurvey>,
    /// Who follows which stream from here.
    pub(crate) listening: Vec<(Arc<str>, Listening)>,
    /// Conversations that follow a stream among several.
    pub(crate) several: Vec<(Arc<str>, usize)>,
    /// How the origins are.
    pub(crate) origins: Vec<OriginSurvey>,
}

/// What a core has talked about since its start.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Talk {
    /// Connections that were accepted, those of the admin listener not included.
    pub(crate) accepted: u64,
    /// Those of them that were only told that the server is full.
    pub(crate) turned_away: u64,
    /// Answers by the first digit of their status, from 1 on.
    pub(crate) answers: [u64; 5],
}

/// A stream at its home.
pub(crate) struct StreamSurvey {
    pub(crate) name: Arc<str>,
    /// That of the newest durable event.
    pub(crate) position: Position,
    /// The oldest cursor that can be served.
    pub(crate) earliest: Position,
    /// When the first event after it was committed, in milliseconds since 1970, if there is one.
    pub(crate) earliest_ms: Option<u64>,
    pub(crate) segments: usize,
    /// Bytes of the events that are retained and may be shown.
    pub(crate) log_bytes: u64,
    /// What the newest checkpoint in place reflects.
    pub(crate) checkpoint: Option<Position>,
    pub(crate) documents: usize,
    /// Bytes of memory that they are accounted for.
    pub(crate) document_bytes: usize,
    /// Why writes are refused, if they are.
    pub(crate) failure: Option<String>,
}

impl StreamSurvey {
    pub(super) fn of(resident: &Resident) -> StreamSurvey {
        let (stream, journal) = (resident.stream(), &resident.journal);
        let oldest = journal.segments().front();
        StreamSurvey {
            name: Arc::clone(&resident.name),
            position: stream.position_at(stream.persisted_sequence()),
            earliest: reader::earliest(resident),
            earliest_ms: oldest.and_then(|oldest| oldest.begun_ms),
            segments: journal.segments().len(),
            log_bytes: oldest.map_or(0, |oldest| journal.published() - oldest.base),
            checkpoint: journal.checkpoint().map(|installed| stream.position_at(installed.sequence)),
            documents: stream.documents().len(),
            document_bytes: stream.documents().bytes(),
            failure: stream.failure().map(str::to_owned),
        }
    }
}

impl Core {
    /// Asks each core for its survey, this one included.
    pub(crate) fn survey_all(self: &Rc<Core>, scrutiny: Scrutiny) -> Vec<Asked> {
        let ask = |core: usize| {
            let ticket = self.tickets.borrow_mut().insert(Ticket::Open(None));
            match core == self.number {
                true => self.answered(ticket, Answer::Survey(Box::new(self.survey(scrutiny)))),
                false => self.cores.boxes[core].post(Letter::Survey { from: self.number, ticket, scrutiny }),
            }
            Asked { core: Rc::clone(self), ticket: Some(ticket) }
        };
        (0..self.cores.count()).map(ask).collect()
    }

    /// How this core is.
    pub(super) fn survey(&self, scrutiny: Scrutiny) -> Survey {
        let (home, audience) = (self.home.borrow(), self.audience.borrow());
        let several = self.several.borrow();
        Survey {
            talk: self.talk.get(),
            conversations: self.conversations.get(),
            audience: audience.counts(),
            channels: self.channels.as_ref().map(|channels| channels.borrow().counts()).unwrap_or_default(),
            attending: self.attendance.borrow().len(),
            kept: home.kept(),
            disk: home.disk_counts(),
            streams: home.survey(),
            listening: audience.census(scrutiny),
            several: several.nudges.iter().map(|(stream, nudges)| (Arc::clone(stream), nudges.len())).collect(),
            origins: self.services.survey(),
        }
    }

    /// Counts an answer of this status.
    pub(crate) fn has_answered(&self, status: u16) {
        let mut talk = self.talk.get();
        if let Some(count) = usize::from(status / 100).checked_sub(1).and_then(|class| talk.answers.get_mut(class)) {
            *count += 1;
        }
        self.talk.set(talk);
    }

    /// Counts a connection that was accepted.
    pub(super) fn has_accepted(&self, welcome: Welcome) {
        let mut talk = self.talk.get();
        match welcome {
            Welcome::Open => talk.accepted += 1,
            Welcome::Full => (talk.accepted, talk.turned_away) = (talk.accepted + 1, talk.turned_away + 1),
            Welcome::Admin | Welcome::Control => {}
        }
        self.talk.set(talk);
    }
}
