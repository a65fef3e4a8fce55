//! Streams that mirror origins, at their home: what of an origin's documents is committed, and who reads them.
//!
//! The origin has the truth; the stream has its states in an order that the origin had them in ([`Turns`]). Invariant: whoever
//! waits for a turn gets one, or the answer of a read that began after they asked.

use std::collections::HashSet;

use fantail_engine::json::Value;
use fantail_engine::limits::STREAMS_MAX;
use fantail_engine::mirror::{Moment, State, Turns};
use fantail_engine::position::Position;
use fantail_engine::protocol::condition::Guard;
use fantail_engine::stream::{Change, Operation, Refusal};
use fantail_engine::topic::Place;

use super::home::Home;
use super::letter::Letter;
use super::question::{Answer, Mirrored, Purpose, Refused, Step, WriteQuestion};

/// Who asks: a core and a ticket.
type Asker = (usize, usize);

impl Home {
    /// Takes a step; none means that the answer comes as a letter.
    pub(super) fn mirror(&mut self, asker: Asker, place: &Place, step: Step) -> Option<Answer> {
        let mut turns = self.mirrors.remove(place.stream()).unwrap_or_default();
        let answer = self.step(&mut turns, asker, place, step);
        if !turns.is_blank() {
            self.make_room_for_a_mirror();
            self.mirrors.insert(place.stream().into(), turns);
        }
        answer
    }

    /// Of as many mirrors as there may be streams, and as many again that are only followed, one that rests is forgotten: what it
    /// knew is read again when it is followed.
    fn make_room_for_a_mirror(&mut self) {
        if self.mirrors.len() < 2 * STREAMS_MAX {
            return;
        }
        let idle = self.mirrors.iter().find(|(_, turns)| turns.is_idle()).map(|(name, _)| name.clone());
        if let Some(name) = idle {
            self.mirrors.remove(&name);
        }
    }

    fn step(&mut self, turns: &mut Turns<Asker>, asker: Asker, place: &Place, step: Step) -> Option<Answer> {
        let written = Some(place).filter(|place| !place.is_collection());
        match step {
            Step::Write => Some(Answer::Mirror(Mirrored::Began(turns.begin(written)))),
            Step::Written { began, seen, state } => match (turns.end(began, written, &seen), state) {
                (true, Some(state)) => {
                    let kept = self.keep(turns, &seen, state);
                    self.reflect(asker, place, kept)
                }
                (true, None) | (false, _) => turn(turns, asker, &seen),
            },
            Step::Over(began) => {
                turns.end(began, written, place);
                Some(Answer::Mirror(Mirrored::Needless))
            }
            Step::Read => turn(turns, asker, place),
            Step::HasRead(state) => self.has_read(turns, asker, place, state),
            Step::Look(purpose) => {
                let is_needed = match purpose {
                    Purpose::Follow => !turns.knows(place),
                    Purpose::Refresh => self.streams.contains_key(place.stream()),
                };
                Some(Answer::Mirror(match is_needed {
                    true => Mirrored::Began(turns.begin(None)),
                    false => Mirrored::Needless,
                }))
            }
            Step::Seen(began, documents) => {
                let kept = self.keep_all(turns, began, place, documents);
                self.reflect(asker, place, kept)
            }
            Step::Looked(began, all) => {
                let kept = match all {
                    Some(all) => self.drop_others(turns, began, place, &all),
                    None => Ok(self.position(place)),
                };
                turns.leave(began);
                self.reflect(asker, place, kept)
            }
            Step::Doubt => {
                turns.doubt(place);
                Some(Answer::Mirror(Mirrored::Needless))
            }
        }
    }

    /// A document was read in turn: that is so, whatever is under way.
    fn has_read(
        &mut self,
        turns: &mut Turns<Asker>,
        asker: Asker,
        place: &Place,
        state: Option<State>,
    ) -> Option<Answer> {
        let kept = match state {
            Some(state) => self.keep(turns, place, state).map(Some),
            None => {
                turns.doubt(place);
                Ok(None)
            }
        };
        let (others, next) = turns.has_read(place);
        let position = kept.as_ref().ok().copied().flatten();
        for (from, ticket) in others {
            let answer = Answer::Mirror(Mirrored::Reflected(position));
            if let Some(answer) = self.hold((from, ticket), place, answer) {
                self.boxes[from].post(Letter::Answer { ticket, answer });
            }
        }
        if let Some((from, ticket)) = next {
            self.boxes[from].post(Letter::Answer { ticket, answer: Answer::Mirror(Mirrored::Turn) });
        }
        match kept {
            Ok(position) => self.hold(asker, place, Answer::Mirror(Mirrored::Reflected(position))),
            Err(refused) => Some(Answer::Refused(refused)),
        }
    }

    /// Commits a state of a document. Returns the position that reflects it.
    fn keep(&mut self, turns: &mut Turns<Asker>, place: &Place, state: State) -> Result<Position, Refused> {
        let change = match state {
            State::Is(value) => Change::Mirror(value),
            State::Gone => Change::Delete,
        };
        let operation = Operation { place: place.clone(), change, guard: Guard::default(), key: None };
        match self.write(place.stream(), WriteQuestion { operation, key: None }) {
            // What was never there can go.
            Ok(_) | Err(Refused::NotFound | Refused::Operation(Refusal::NotFound)) => {
                turns.has_changed(place);
                Ok(self.position(place))
            }
            Err(refused) => {
                turns.doubt(place);
                Err(refused)
            }
        }
    }

    /// Commits those of the documents whose states count.
    fn keep_all(
        &mut self,
        turns: &mut Turns<Asker>,
        began: Moment,
        place: &Place,
        documents: Vec<(Place, Value)>,
    ) -> Result<Position, Refused> {
        for (place, value) in documents {
            if turns.counts(began, &place) {
                self.keep(turns, &place, State::Is(value))?;
            }
        }
        Ok(self.position(place))
    }

    /// A collection was seen whole: documents that aren't among `all` are gone.
    fn drop_others(
        &mut self,
        turns: &mut Turns<Asker>,
        began: Moment,
        place: &Place,
        all: &HashSet<Place>,
    ) -> Result<Position, Refused> {
        let resident = self.streams.get(place.stream());
        let collection = resident.and_then(|resident| resident.stream().documents().collection(place.collection()));
        let names = collection.into_iter().flat_map(|collection| collection.documents(None)).map(|(id, _)| id);
        let gone = names.filter_map(|id| place.child(id).ok()).filter(|place| !all.contains(place));
        let gone: Vec<Place> = gone.filter(|place| turns.counts(began, place)).collect();
        for place in gone {
            self.keep(turns, &place, State::Gone)?;
        }
        turns.know(place);
        Ok(self.position(place))
    }

    fn position(&self, place: &Place) -> Position {
        self.streams.get(place.stream()).map_or(Position::ORIGIN, |resident| resident.stream().position())
    }

    fn reflect(&mut self, asker: Asker, place: &Place, kept: Result<Position, Refused>) -> Option<Answer> {
        match kept {
            Ok(position) => self.hold(asker, place, Answer::Mirror(Mirrored::Reflected(Some(position)))),
            Err(refused) => Some(Answer::Refused(refused)),
        }
    }

    /// Keeps an answer until what it tells is durable.
    fn hold(&mut self, (from, ticket): Asker, place: &Place, answer: Answer) -> Option<Answer> {
        match self.streams.get_mut(place.stream()) {
            Some(resident) => resident.hold(from, ticket, answer),
            None => Some(answer),
        }
    }
}

/// Whoever needs a document to be read does so, or waits for one who does.
fn turn(turns: &mut Turns<Asker>, asker: Asker, place: &Place) -> Option<Answer> {
    turns.read(place, asker).then_some(Answer::Mirror(Mirrored::Turn))
}
