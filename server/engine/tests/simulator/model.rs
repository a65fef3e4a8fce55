//! What should be: the events in one list, and the stream's value after each of them, reckoned the plain way.

use std::rc::Rc;

use fantail_engine::limits::KEY_AGE_MS_MAX;
use fantail_engine::position::Position;
use fantail_engine::topic::Place;
use serde_json::{Map, Value, json};

/// One event.
pub(crate) struct Event {
    pub(crate) position: Position,
    pub(crate) data: Vec<u8>,
    pub(crate) place: Place,
    /// The stream's value after it.
    pub(crate) value: Rc<Value>,
    pub(crate) key: Option<Key>,
}

/// An idempotency key, and what its write was answered.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) fingerprint: u128,
    pub(crate) unix_ms: u64,
    pub(crate) status: u16,
    /// Whether a crash may have taken it, and not its event: keys that weren't synced promise nothing.
    pub(crate) is_doubtful: bool,
}

/// See the module.
pub(crate) struct Model {
    /// All events that were committed and not taken back; the first has the sequence 1.
    events: Vec<Event>,
    /// The events after them that a log which failed may have or not.
    doubtful: Vec<Event>,
    /// Positions that somebody was told and that the log has lost.
    lost: Vec<Position>,
    /// The newest event that was shown or answered, as far as it wasn't lost since.
    pub(crate) told: u64,
    /// The newest event that no crash of the machine may take.
    pub(crate) durable: u64,
    /// The newest event that no crash of the process may take.
    pub(crate) flushed: u64,
    empty: Rc<Value>,
}

impl Model {
    pub(crate) fn new() -> Model {
        Model {
            events: Vec::new(),
            doubtful: Vec::new(),
            lost: Vec::new(),
            told: 0,
            durable: 0,
            flushed: 0,
            empty: Rc::new(json!({})),
        }
    }

    /// Sequence of the newest event.
    pub(crate) fn last(&self) -> u64 {
        self.events.len() as u64
    }

    pub(crate) fn event(&self, sequence: u64) -> Option<&Event> {
        self.events.get(sequence.checked_sub(1)? as usize)
    }

    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// The value after the event `sequence`.
    pub(crate) fn value_at(&self, sequence: u64) -> &Rc<Value> {
        self.event(sequence).map_or(&self.empty, |event| &event.value)
    }

    /// The value after the event `sequence`, which a start may have found after others that were taken back.
    pub(crate) fn possible_value_at(&self, sequence: u64) -> &Rc<Value> {
        match sequence.checked_sub(self.last() + 1) {
            Some(at) => &self.doubtful[at as usize].value,
            None => self.value_at(sequence),
        }
    }

    /// The value after all events.
    pub(crate) fn value(&self) -> &Rc<Value> {
        self.value_at(self.last())
    }

    pub(crate) fn document(&self, place: &Place) -> Option<&Value> {
        self.value().get(place.collection())?.get(place.document()?)
    }

    /// Takes note of an event that makes `body` of its document.
    pub(crate) fn commit(&mut self, position: Position, place: Place, body: Change, key: Option<Key>) {
        assert_eq!(position.sequence, self.last() + 1, "sequences have no gap");
        let mut value = (**self.value()).clone();
        match body {
            Change::None => {}
            Change::Set(body) => {
                let collection = value.as_object_mut().expect("a value").entry(place.collection());
                let documents = collection.or_insert_with(|| Value::Object(Map::new()));
                documents[place.document().expect("a document")] = body;
            }
            Change::Remove => {
                let documents = value[place.collection()].as_object_mut().expect("a collection");
                documents.remove(place.document().expect("a document")).expect("a document");
            }
        }
        let value = if value == **self.value() { Rc::clone(self.value()) } else { Rc::new(value) };
        self.events.push(Event { position, data: Vec::new(), place, value, key });
    }

    /// An event is encoded with this data: a patch that makes the value after it of the one before.
    pub(crate) fn encode(&mut self, position: Position, data: &[u8]) {
        let mut value = (**self.value_at(position.sequence - 1)).clone();
        let patch: json_patch::Patch = serde_json::from_slice(data).expect("an event is a JSON Patch");
        json_patch::patch(&mut value, &patch).expect("an event applies");
        let event = &mut self.events[position.sequence as usize - 1];
        assert_eq!(event.position, position, "the position of an event");
        assert_eq!(value, *event.value, "the value that {position} makes");
        event.data = data.to_vec();
    }

    /// The write that a key was used for, if that is remembered.
    pub(crate) fn keyed(&self, name: &str, now_ms: u64) -> Option<(&Event, &Key)> {
        let keyed = self.events.iter().filter_map(|event| Some((event, event.key.as_ref()?)));
        let newest = keyed.rev().find(|(_, key)| key.name == name);
        newest.filter(|(_, key)| now_ms.saturating_sub(key.unix_ms) <= KEY_AGE_MS_MAX)
    }

    /// The stream has failed, or no segment could be opened: what comes after `last` was taken back. Up to `written` it may
    /// come again with the next start.
    pub(crate) fn take_back(&mut self, last: u64, written: u64) {
        let mut rest = self.events.split_off(last as usize);
        rest.truncate(written.saturating_sub(last) as usize);
        if !rest.is_empty() {
            self.doubtful = rest;
        }
    }

    /// The power has failed: of what wasn't synced, the events from `first` on, keys may be lost though the event isn't.
    pub(crate) fn doubt_keys(&mut self, first: u64) {
        for event in self.events.iter_mut().chain(&mut self.doubtful).skip(first as usize - 1) {
            event.key.iter_mut().for_each(|key| key.is_doubtful = true);
        }
    }

    /// The next start has found the events up to `last`.
    pub(crate) fn restart(&mut self, last: u64) {
        self.events.append(&mut self.doubtful);
        let gone = self.events.split_off(last as usize);
        let told = self.told;
        self.lost.extend(gone.iter().map(|event| event.position).filter(|position| position.sequence <= told));
        // What is found is synced before it is served, and is served at once.
        (self.told, self.durable, self.flushed) = (last, last, last);
    }

    /// Events that a start may find at most.
    pub(crate) fn possible(&self) -> u64 {
        self.last() + self.doubtful.len() as u64
    }

    pub(crate) fn lost(&self) -> &[Position] {
        &self.lost
    }
}

/// What an event does to its document.
pub(crate) enum Change {
    None,
    Set(Value),
    Remove,
}

/// The map form of what `places` name of a value.
pub(crate) fn restricted(value: &Value, places: &[Place]) -> Value {
    if places.iter().any(|place| place.document().is_none() && place.collection() == place.stream()) {
        return value.clone();
    }
    let mut form = json!({});
    for place in places {
        let all = value.get(place.collection()).cloned().unwrap_or(json!({}));
        if form.get(place.collection()).is_none() {
            form[place.collection()] = json!({});
        }
        match place.document() {
            None => form[place.collection()] = all,
            Some(id) => {
                if let Some(document) = all.get(id) {
                    form[place.collection()][id] = document.clone();
                }
            }
        }
    }
    form
}
