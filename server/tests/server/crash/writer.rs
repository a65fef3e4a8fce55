//! A writer: it knows what each of its documents must be, because nobody else writes them.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::{COLLECTIONS, Life};
use crate::kit::{Answer, Client, JSON, JSON_PATCH, MERGE_PATCH, Random, Server, request, split};

/// Documents of a writer in one collection whose names are used over and over.
const SLOTS: u64 = 4;
/// Documents of a writer; with more, it rather deletes.
const DOCUMENTS_MAX: usize = 40;
/// Writes that are sent at once, at most.
const BURST_MAX: usize = 8;
/// Keyed writes that were answered and are repeated after the next restart.
const REPEATED_MAX: usize = 3;

/// A write, and what must come of it.
#[derive(Clone)]
struct Write {
    method: &'static str,
    target: String,
    media: (&'static str, &'static str),
    body: String,
    key: Option<String>,
    /// The entity tag that the document must have.
    guard: Option<String>,
    status: u16,
    /// The document's path; none if the server chooses its name.
    document: Option<String>,
    /// The document afterwards; none if it is gone. Without an `id` if the server chooses its name.
    after: Option<Value>,
    is_change: bool,
}

/// A write that took effect, as the log must tell it.
pub(super) struct Effect {
    /// The document's path.
    pub(super) document: String,
    /// The document afterwards; none if it is gone.
    pub(super) after: Option<Value>,
    /// Whether it changed anything; a keyed write that didn't is an event all the same.
    pub(super) is_change: bool,
    /// The event's position, if the answer told it.
    pub(super) position: Option<String>,
}

impl Effect {
    /// The stream whose event it is.
    pub(super) fn stream(&self) -> &str {
        stream(&self.document)
    }
}

fn stream(path: &str) -> &str {
    path[1..].split('/').next().expect("a split has a first part")
}

/// A document as it was answered.
#[derive(Clone, Debug)]
struct Document {
    value: Value,
    tag: String,
}

pub(super) struct Writer {
    number: usize,
    random: Random,
    /// Operations that it has thought of: each writes something new.
    count: u64,
    documents: BTreeMap<String, Document>,
    /// What was deleted since the documents were last checked.
    gone: Vec<String>,
    /// Asked for and not answered, in order.
    asked: Vec<Write>,
    effects: Vec<Effect>,
    /// The newest keyed writes, and their answers' `Location`.
    keyed: VecDeque<(Write, Option<String>)>,
    /// Per stream, the newest sequence that an answer told.
    reached: BTreeMap<String, u64>,
    pub(super) answered: u64,
    pub(super) settled: u64,
    pub(super) repeated: u64,
}

impl Writer {
    pub(super) fn new(number: usize, random: Random) -> Writer {
        Writer {
            number,
            random,
            count: 0,
            documents: BTreeMap::new(),
            gone: Vec::new(),
            asked: Vec::new(),
            effects: Vec::new(),
            keyed: VecDeque::new(),
            reached: BTreeMap::new(),
            answered: 0,
            settled: 0,
            repeated: 0,
        }
    }

    /// Writes until the server is killed.
    pub(super) fn write(&mut self, life: &Life) {
        let Some(mut client) = life.unless_killed(Client::try_connect(life.address)) else { return };
        loop {
            self.asked = match self.random.below(8) {
                0 => self.burst(),
                _ => vec![self.next()],
            };
            let bytes: Vec<u8> = self.asked.iter().flat_map(Write::bytes).collect();
            if life.unless_killed(client.try_send(bytes)).is_none() {
                return;
            }
            while let Some(write) = self.asked.first() {
                let Some(answer) = life.unless_killed(client.try_answer(write.method)) else { return };
                let write = self.asked.remove(0);
                self.check_reached(&write, &answer);
                self.take_effect(write, &answer, Some(answer.position().to_owned()));
            }
        }
    }

    /// What follows an answered write must have a greater position.
    #[track_caller]
    fn check_reached(&mut self, write: &Write, answer: &Answer) {
        let reached = self.reached.entry(stream(&write.target).to_owned()).or_default();
        let sequence = split(answer.position()).1;
        let is_event = write.is_change || write.key.is_some();
        assert!(sequence >= *reached + u64::from(is_event), "{} after {reached} was answered", answer.head);
        *reached = sequence;
    }

    /// Verifies an answer, and remembers what it says. `position` is that of the event, if the answer tells it.
    #[track_caller]
    fn take_effect(&mut self, mut write: Write, answer: &Answer, position: Option<String>) {
        let words = || format!("{} {}\n{}\n{}", write.method, write.target, answer.head, answer.text());
        assert_eq!(answer.status, write.status, "{}", words());
        let location = answer.field("Location").map(str::to_owned);
        assert_eq!(location.is_some(), write.status == 201, "{}", words());
        let document = write.document.clone().or(location.clone()).unwrap_or_else(|| panic!("{}", words()));
        assert!(location.as_ref().is_none_or(|location| *location == document), "{}", words());
        if let Some(after) = &mut write.after {
            after["id"] = document.rsplit('/').next().expect("a split has a last part").into();
            assert_eq!(answer.json(), *after, "{}\n{}", answer.head, document);
            let tag = answer.needs("ETag").to_owned();
            self.documents.insert(document.clone(), Document { value: after.clone(), tag });
        } else if self.documents.remove(&document).is_some() {
            self.gone.push(document.clone());
        }
        self.answered += 1;
        let (is_change, after) = (write.is_change, write.after.clone());
        if write.key.is_some() {
            self.keyed.push_back((write, location));
            self.keyed.drain(..self.keyed.len().saturating_sub(REPEATED_MAX));
        } else if !is_change {
            return;
        }
        self.effects.push(Effect { document, after, is_change, position });
    }

    /// After a restart: finds out what became of what wasn't answered.
    pub(super) fn settle(&mut self, server: &Server) {
        let mut client = server.connect();
        let mut is_lost = false;
        for write in std::mem::take(&mut self.asked) {
            self.settled += 1;
            if write.key.is_some() {
                // It is done now, unless it was done before.
                let answer = write.ask(&mut client);
                self.take_effect(write, &answer, None);
            } else if write.is_change {
                let document = write.document.as_ref().expect("a write without a key has a name");
                let answer = client.ask("GET", document, &[], "").expect_one_of(&[200, 404]);
                let found = (answer.status == 200).then(|| answer.json());
                if found == write.after {
                    assert!(!is_lost, "{document} was written, and not what was asked for before it");
                    self.found(&write, &answer);
                } else {
                    let before = self.documents.get(document).map(|document| &document.value);
                    assert_eq!(found.as_ref(), before, "{document} is neither as before nor as {:?}", write.after);
                    is_lost = true;
                }
            }
        }
    }

    /// Repeats keys that were answered: nothing is done again, or the log would tell it.
    pub(super) fn repeat(&mut self, server: &Server) {
        let mut client = server.connect();
        for (write, location) in &self.keyed {
            self.repeated += 1;
            let answer = write.ask(&mut client);
            let told = (answer.status, answer.field("Location"));
            assert_eq!(told, (write.status, location.as_deref()), "{}", answer.head);
            let now = write.document.as_ref().or(location.as_ref()).and_then(|path| self.documents.get(path));
            if let Some(now) = now.filter(|_| answer.status != 204) {
                assert_eq!((answer.json(), answer.needs("ETag")), (now.value.clone(), now.tag.as_str()));
            }
            if write.method != "DELETE" {
                let other = Write { body: format!("{} ", write.body), ..write.clone() };
                let problem = other.ask(&mut client).problem(422);
                assert!(problem["type"].as_str().is_some_and(|kind| kind.ends_with("key-reused")), "{problem}");
            }
        }
    }

    /// A write took effect, though its answer never came.
    fn found(&mut self, write: &Write, answer: &Answer) {
        let document = write.document.clone().expect("a write without a key has a name");
        match &write.after {
            Some(value) => {
                let tag = answer.needs("ETag").to_owned();
                self.documents.insert(document.clone(), Document { value: value.clone(), tag });
            }
            None => drop(self.documents.remove(&document)),
        }
        self.answered += 1;
        self.effects.push(Effect { document, after: write.after.clone(), is_change: true, position: None });
    }

    /// That all documents are as they were answered, and what was deleted is gone.
    pub(super) fn check_documents(&mut self, server: &Server) {
        let mut client = server.connect();
        for (target, document) in &self.documents {
            let answer = client.ask("GET", target, &[], "").expect(200);
            assert_eq!(
                (answer.json(), answer.needs("ETag")),
                (document.value.clone(), document.tag.as_str()),
                "{target}"
            );
            let reached = self.reached.get(stream(target)).copied().unwrap_or_default();
            assert!(split(answer.position()).1 >= reached, "{} after {reached} was answered", answer.head);
        }
        for target in self.gone.drain(..).filter(|target| !self.documents.contains_key(target)) {
            client.ask("GET", &target, &[], "").problem(404);
        }
    }

    /// What took effect since this was last asked, in order.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Writes to documents of one collection, to be sent at once.
    fn burst(&mut self) -> Vec<Write> {
        let collection = self.choose(&COLLECTIONS);
        let count = 2 + self.random.below(BURST_MAX as u64 - 1);
        let first = self.random.below(SLOTS);
        // Other names than the slots', so that a burst finds each document once.
        (0..count).map(|n| self.put(format!("/{collection}/{}-burst-{}", self.number, (first + n) % 16))).collect()
    }

    /// Any write.
    fn next(&mut self) -> Write {
        let collection = self.choose(&COLLECTIONS);
        let known = match self.documents.len() {
            0 => None,
            count => self.documents.keys().nth(self.random.below(count as u64) as usize).cloned(),
        };
        let is_full = self.documents.len() >= DOCUMENTS_MAX;
        let mut write = match (self.random.below(12), known) {
            (0 | 1, Some(known)) if is_full => self.delete(known),
            (0, _) => self.create(collection),
            (1, _) => self.create_unnamed(collection),
            (2, Some(known)) => self.merge(known),
            (3 | 4, Some(known)) => self.patch(known),
            (5, Some(known)) => self.delete(known),
            (6, Some(known)) => self.put_again(known),
            _ => {
                let slot = self.random.below(SLOTS);
                self.put(format!("/{collection}/{}-{slot}", self.number))
            }
        };
        if self.random.below(3) == 0 {
            write.key = Some(format!("key {}-{}", self.number, self.count));
        }
        if self.random.below(3) == 0 {
            write.guard =
                write.document.as_ref().and_then(|path| self.documents.get(path)).map(|known| known.tag.clone());
        }
        write
    }

    fn choose(&mut self, collections: &[&'static str]) -> &'static str {
        collections[self.random.below(collections.len() as u64) as usize]
    }

    /// A value that nobody else writes, ever.
    fn value(&mut self) -> Value {
        self.count += 1;
        let text = ["x", "é", "\n", "\""][self.random.below(4) as usize].repeat(self.random.below(300) as usize);
        json!({"by": format!("{}-{}", self.number, self.count), "text": text, "marks": []})
    }

    fn put(&mut self, document: String) -> Write {
        let mut value = self.value();
        let status = if self.documents.contains_key(&document) { 200 } else { 201 };
        let body = value.to_string();
        value["id"] = document.rsplit('/').next().expect("a split has a last part").into();
        Write::new("PUT", &document, JSON, body, status, Some(value))
    }

    /// Changes nothing.
    fn put_again(&mut self, document: String) -> Write {
        self.count += 1;
        let value = self.documents[&document].value.clone();
        Write { is_change: false, ..Write::new("PUT", &document, JSON, value.to_string(), 200, Some(value)) }
    }

    fn create(&mut self, collection: &str) -> Write {
        let mut value = self.value();
        value["id"] = format!("{}-new-{}", self.number, self.count).into();
        let document = format!("/{collection}/{}-new-{}", self.number, self.count);
        Write {
            target: format!("/{collection}"),
            ..Write::new("POST", &document, JSON, value.to_string(), 201, Some(value))
        }
    }

    /// The server chooses the name, so only its key finds it again.
    fn create_unnamed(&mut self, collection: &str) -> Write {
        let value = self.value();
        let write = Write::new("POST", &format!("/{collection}"), JSON, value.to_string(), 201, Some(value));
        Write { document: None, key: Some(format!("unnamed {}-{}", self.number, self.count)), ..write }
    }

    fn merge(&mut self, document: String) -> Write {
        let mut patch = self.value();
        if self.random.below(2) == 0 {
            patch["text"] = Value::Null;
        }
        let mut value = self.documents[&document].value.clone();
        json_patch::merge(&mut value, &patch);
        Write::new("PATCH", &document, MERGE_PATCH, patch.to_string(), 200, Some(value))
    }

    fn patch(&mut self, document: String) -> Write {
        let by = self.value()["by"].take();
        let mut value = self.documents[&document].value.clone();
        let marks = match value["marks"].as_array().map_or(0, Vec::len) {
            ..12 => json!({"op": "add", "path": "/marks/-", "value": self.count}),
            12.. => json!({"op": "replace", "path": "/marks", "value": []}),
        };
        let operations = json!([
            {"op": "test", "path": "/by", "value": value["by"]},
            {"op": "replace", "path": "/by", "value": by},
            marks,
        ]);
        crate::kit::fold(&mut value, &operations.to_string());
        Write::new("PATCH", &document, JSON_PATCH, operations.to_string(), 200, Some(value))
    }

    fn delete(&mut self, document: String) -> Write {
        self.count += 1;
        Write::new("DELETE", &document, JSON, String::new(), 204, None)
    }
}

impl Write {
    fn new(
        method: &'static str,
        document: &str,
        media: (&'static str, &'static str),
        body: String,
        status: u16,
        after: Option<Value>,
    ) -> Write {
        Write {
            method,
            target: document.to_owned(),
            media,
            body,
            key: None,
            guard: None,
            status,
            document: Some(document.to_owned()),
            after,
            is_change: true,
        }
    }

    fn fields(&self) -> Vec<(&str, &str)> {
        let key = self.key.iter().map(|key| ("Idempotency-Key", key.as_str()));
        let guard = self.guard.iter().map(|tag| ("If-Match", tag.as_str()));
        key.chain(guard).chain((self.method != "DELETE").then_some(self.media)).collect()
    }

    fn bytes(&self) -> Vec<u8> {
        request(self.method, &self.target, &self.fields(), self.body.as_bytes())
    }

    fn ask(&self, client: &mut Client) -> Answer {
        client.ask(self.method, &self.target, &self.fields(), &self.body)
    }
}
