//! A stream's log as a follower of the whole stream is told it: what all others are measured by.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::writer::Effect;
use super::{COLLECTIONS, assert_same};
use crate::kit::{Follower, Random, Server, fold, split};

/// Events, counted from the newest, among which somebody resumes who was away for long.
const AWAY_EVENTS_MAX: u64 = 2000;

pub(super) struct Event {
    pub(super) id: String,
    pub(super) data: String,
    /// See [`about`].
    pub(super) about: Option<(String, String)>,
}

pub(super) struct Log {
    stream: &'static str,
    pub(super) events: Vec<Event>,
    /// The fold of all events.
    value: Value,
}

impl Log {
    pub(super) fn new(stream: &'static str) -> Log {
        Log { stream, events: Vec::new(), value: json!({}) }
    }

    pub(super) fn stream(&self) -> &'static str {
        self.stream
    }

    fn target(&self) -> String {
        format!("/{}", self.stream)
    }

    /// The position of the newest event.
    fn last(&self) -> &str {
        self.events.last().map_or("0-0", |event| &event.id)
    }

    /// Reads what is new, which must be these effects, each once.
    pub(super) fn read_on<'a>(&mut self, server: &Server, effects: impl Iterator<Item = &'a Effect>) {
        let mut expected: BTreeMap<&str, VecDeque<&Effect>> = BTreeMap::new();
        let mut unchanging = Vec::new();
        for effect in effects {
            match effect.is_change {
                true => expected.entry(&effect.document).or_default().push_back(effect),
                false => unchanging.push(effect),
            }
        }
        let map = server.get(&format!("{}?as=map", self.target())).expect(200);
        let mut follower = server.resume(&self.target(), self.last());
        follower.opening();
        let before = self.events.len();
        while (self.events.len() as u64) < split(map.position()).1 {
            let event = self.read(&mut follower);
            if let Some((collection, id)) = &event.about {
                let document = format!("/{collection}/{id}");
                let effect = expected.get_mut(document.as_str()).and_then(VecDeque::pop_front);
                let effect = effect.unwrap_or_else(|| panic!("nobody wrote {} {}", event.id, event.data));
                assert_eq!(self.value[collection].get(id), effect.after.as_ref(), "{} {}", event.id, event.data);
                assert!(effect.position.as_ref().is_none_or(|position| *position == event.id), "{}", event.id);
            }
            self.events.push(event);
        }
        assert!(self.events.is_empty() || self.last() == map.position(), "{} isn't {}", self.last(), map.position());
        if let Some((document, lost)) = expected.into_iter().find(|(_, lost)| !lost.is_empty()) {
            panic!("{} writes of {document} are lost, the first at {:?}", lost.len(), lost[0].position);
        }
        assert_same(&map.json(), &self.value, self.stream);
        let mut found: Vec<_> = self.events[before..].iter().filter(|event| event.about.is_none()).collect();
        assert_eq!(found.len(), unchanging.len(), "keyed writes that change nothing");
        for position in unchanging.iter().filter_map(|effect| effect.position.as_ref()) {
            let at = found.iter().position(|event| event.id == *position);
            found.remove(at.unwrap_or_else(|| panic!("{position} is lost")));
        }
    }

    /// The next event, which must follow the last one.
    fn read(&mut self, follower: &mut Follower) -> Event {
        let (id, operations) = follower.patch();
        assert_eq!(split(&id).1, self.events.len() as u64 + 1, "{operations}");
        let data = operations.to_string();
        fold(&mut self.value, &data);
        Event { about: about(&data), id, data }
    }

    /// Newcomers, to the whole and to its collections, and somebody who was away for long.
    pub(super) fn check_newcomers(&self, server: &Server, random: &mut Random) {
        self.check_newcomer(&self.target(), &self.value, |_| true, server);
        let prefix = format!("{}/", self.stream);
        for collection in COLLECTIONS.into_iter().filter(|path| path.starts_with(&prefix)) {
            let part = json!({collection: self.value.get(collection).unwrap_or(&json!({}))});
            let concerns = |event: &Event| event.about.as_ref().is_some_and(|(path, _)| path == collection);
            self.check_newcomer(&format!("/{collection}"), &part, concerns, server);
        }
        let count = self.events.len() as u64;
        if count > 0 {
            let left = 1 + random.below(count.min(AWAY_EVENTS_MAX));
            self.check_after((count - left) as usize, server);
        }
    }

    /// That whoever starts with a snapshot ends at this value.
    fn check_newcomer(&self, target: &str, expected: &Value, concerns: impl Fn(&Event) -> bool, server: &Server) {
        let mut follower = server.follow(&format!("{target}?from=snapshot"));
        let (mut value, position) = follower.snapshot();
        for event in self.events[split(&position).1 as usize..].iter().filter(|event| concerns(event)) {
            let (mut id, mut operations) = follower.patch();
            // An event that changes nothing may be shown to whoever follows its document.
            while operations == json!([]) && id != event.id {
                (id, operations) = follower.patch();
            }
            assert_eq!((&id, &operations.to_string()), (&event.id, &event.data), "{target}");
            fold(&mut value, &event.data);
        }
        assert_same(&value, expected, target);
    }

    /// That the log tells the same as ever.
    pub(super) fn check_from_the_beginning(&self, server: &Server) {
        let mut follower = server.follow(&format!("{}?from=earliest", self.target()));
        follower.opening();
        self.check(&self.events, &mut follower);
    }

    /// That whoever knows the event with this index, and nothing newer, is told the rest.
    fn check_after(&self, index: usize, server: &Server) {
        let mut follower = server.resume(&self.target(), &self.events[index].id);
        assert_eq!(follower.opening(), self.events[index].id);
        self.check(&self.events[index + 1..], &mut follower);
    }

    fn check(&self, events: &[Event], follower: &mut Follower) {
        for event in events {
            let (id, operations) = follower.patch();
            assert_eq!((&id, &operations.to_string()), (&event.id, &event.data));
        }
    }
}

/// Collection and document that an event is about; none for one that changes nothing.
pub(super) fn about(data: &str) -> Option<(String, String)> {
    let operations: Value = serde_json::from_str(data).expect("operations");
    // A first operation may add the collection.
    let path = operations.as_array()?.last()?["path"].as_str().expect("a path").to_owned();
    let mut names = path[1..].split('/').map(|name| name.replace("~1", "/").replace("~0", "~"));
    Some((names.next().expect("a collection"), names.next().expect("a document")))
}
