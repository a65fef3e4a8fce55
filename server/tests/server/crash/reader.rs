//! A reader: it follows over all lives of the server, resumes by the id that it saw last, and must miss nothing and see
//! nothing twice.

use serde_json::{Value, json};

use super::log::{Event, Log, about};
use super::{Life, STREAMS, assert_same};
use crate::kit::{Block, Follower, Random, Server, fold, split};

/// What a reader does while there is load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Habit {
    /// It reads what comes.
    Stays,
    /// It leaves every now and then, and resumes.
    Returns,
    /// It reads nothing until the server is dead.
    Sleeps,
}

/// One stream of those that a reader follows.
struct Part {
    stream: &'static str,
    topics: Vec<&'static str>,
    /// Position of the last event that it got, or was told that it has.
    position: String,
    /// Id and data of changes since the last check.
    seen: Vec<(String, String)>,
    /// Events of the log that were there at the last check.
    checked: usize,
}

pub(super) struct Reader {
    habit: Habit,
    target: String,
    /// In the order of their first topics, as the positions in an id.
    parts: Vec<Part>,
    value: Value,
    random: Random,
    follower: Option<Follower>,
    pub(super) delivered: u64,
    pub(super) resumed: u64,
}

impl Reader {
    pub(super) fn new(habit: Habit, topics: &[&'static str], random: Random) -> Reader {
        let target = match topics {
            [topic] => (*topic).to_owned(),
            topics => format!("/-/events?topic={}", topics.join("&topic=")),
        };
        let mut parts: Vec<Part> = Vec::new();
        let mut value = json!({});
        for &topic in topics {
            let names: Vec<_> = topic[1..].split('/').collect();
            if names.len() > 1 {
                value[collection(topic)] = json!({});
            }
            let stream = STREAMS.into_iter().find(|stream| *stream == names[0]).expect("a stream that is written");
            match parts.iter_mut().find(|part| part.stream == stream) {
                Some(part) => part.topics.push(topic),
                None => {
                    let position = "0-0".to_owned();
                    parts.push(Part { stream, topics: vec![topic], position, seen: Vec::new(), checked: 0 });
                }
            }
        }
        Reader { habit, target, parts, value, random, follower: None, delivered: 0, resumed: 0 }
    }

    /// The id that it saw last.
    fn cursor(&self) -> String {
        self.parts.iter().map(|part| part.position.as_str()).collect::<Vec<_>>().join(".")
    }

    /// Reads until the server is killed.
    pub(super) fn read(&mut self, life: &Life) {
        if self.habit == Habit::Sleeps {
            return;
        }
        loop {
            let follower = match self.follower.take() {
                Some(follower) => Some(follower),
                None => life.unless_killed(self.resume(life.address)),
            };
            let Some(mut follower) = follower else { return };
            while self.habit == Habit::Stays || self.random.below(40) > 0 {
                let Some(block) = life.unless_killed(follower.try_next()) else { return };
                self.take(block);
            }
        }
    }

    fn resume(&mut self, address: std::net::SocketAddr) -> std::io::Result<Follower> {
        let cursor = self.cursor();
        let mut follower = Follower::try_by(address, "SUBSCRIBE", &self.target, &[("Last-Event-ID", &cursor)])?;
        let block = follower.try_next()?;
        self.resumed += 1;
        assert_eq!(
            block.event, "position",
            "{} is served what it asked for, from {cursor}: {}",
            self.target, block.raw
        );
        self.take(block);
        for (part, asked) in self.parts.iter().zip(cursor.split('.')) {
            // Further on only if nothing between is of its topics, which is seen when its events are compared.
            assert!(split(&part.position).1 >= split(asked).1, "{} from {cursor}", self.target);
        }
        Ok(follower)
    }

    /// A block of its stream: whatever came whole before the server died counts.
    fn take(&mut self, block: Block) {
        let id = block.id.as_ref().unwrap_or_else(|| panic!("no id: {}", block.raw));
        let positions: Vec<_> = id.split('.').collect();
        assert_eq!(positions.len(), self.parts.len(), "{id}");
        let is_new = self.parts.iter().zip(&positions).any(|(part, position)| part.position != **position);
        for (part, position) in self.parts.iter_mut().zip(positions) {
            // Those of the other streams may move along, past what isn't for this reader.
            assert!(split(position).1 >= split(&part.position).1, "{} after {}", block.raw, part.position);
            part.position = position.to_owned();
        }
        match block.event.as_str() {
            "position" => {}
            "patch" => {
                assert!(is_new, "again: {}", block.raw);
                self.delivered += 1;
                let Some((collection, _)) = about(&block.data) else { return };
                let is_its = |part: &&mut Part| collection.split('/').next() == Some(part.stream);
                let part = self.parts.iter_mut().find(is_its).unwrap_or_else(|| panic!("not asked for: {}", block.raw));
                part.seen.push((part.position.clone(), block.data.clone()));
                fold(&mut self.value, &block.data);
            }
            other => panic!("{other} to {}: {}", self.target, block.raw),
        }
    }

    /// After a restart: reads up to where the logs are, which must be the same events, each once.
    pub(super) fn catch_up(&mut self, server: &Server, logs: &[Log]) {
        if let Some(mut dead) = self.follower.take() {
            while let Ok(block) = dead.try_next() {
                self.take(block);
            }
        }
        let mut follower = self.resume(server.address()).unwrap_or_else(|error| panic!("{error}"));
        let expected: Vec<Vec<&Event>> = self.parts.iter().map(|part| part.due(logs)).collect();
        while self.parts.iter().zip(&expected).any(|(part, expected)| part.seen.len() < expected.len()) {
            self.take(follower.next());
        }
        for (part, expected) in self.parts.iter_mut().zip(expected) {
            for (seen, event) in part.seen.iter().zip(&expected) {
                let data: Value = serde_json::from_str(&seen.1).expect("operations");
                assert_eq!((&seen.0, &data.to_string()), (&event.id, &event.data), "{}", self.target);
            }
            assert_eq!(part.seen.len(), expected.len(), "{} of {}", part.stream, self.target);
            part.seen.clear();
            part.checked = part.log(logs).events.len();
        }
        assert_same(&self.value, &self.map(server), &self.target);
        self.follower = Some(follower);
    }

    /// The value that the server shows.
    fn map(&self, server: &Server) -> Value {
        let mut map = json!({});
        for topic in self.parts.iter().flat_map(|part| &part.topics) {
            let answer = server.get(&format!("{topic}?as=map")).expect_one_of(&[200, 404]);
            let value = match answer.status {
                200 => answer.json(),
                _ => json!({collection(topic): {}}),
            };
            json_patch::merge(&mut map, &value);
        }
        map
    }
}

impl Part {
    fn log<'a>(&self, logs: &'a [Log]) -> &'a Log {
        logs.iter().find(|log| log.stream() == self.stream).expect("each stream has a log")
    }

    /// What it must have seen since the last check. Events that change nothing may be shown to whoever follows the stream.
    fn due<'a>(&self, logs: &'a [Log]) -> Vec<&'a Event> {
        self.log(logs).events[self.checked..].iter().filter(|event| self.concerns(event)).collect()
    }

    fn concerns(&self, event: &Event) -> bool {
        let Some((collection, id)) = &event.about else { return false };
        self.topics.iter().any(|topic| {
            let names = topic[1..].split('/').count();
            let path = &topic[1..];
            match names {
                1 => true,
                _ if names % 2 == 1 => path == collection,
                _ => path == format!("{collection}/{id}"),
            }
        })
    }
}

/// The collection that a topic is, or that its document is in.
fn collection(topic: &str) -> &str {
    let path = &topic[1..];
    match path.split('/').count() % 2 {
        1 => path,
        _ => path.rsplit_once('/').expect("a document has a collection").0,
    }
}
