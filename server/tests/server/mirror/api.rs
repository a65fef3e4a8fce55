//! A REST API that knows nothing of events, and whose requests a test can hold up.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::{Asked, Origin, PATIENCE, Peer};

/// How an origin answers a write that is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// With the document.
    Full,
    /// With 204, and 201 with a `Location`.
    Bare,
    /// With something that isn't the document.
    Receipt,
}

/// A REST API in memory below `/api`, that knows nothing of events.
#[derive(Clone)]
pub(super) struct Api(Arc<(Mutex<State>, Condvar)>);

pub(super) struct State {
    pub(super) style: Style,
    /// By their path.
    pub(super) documents: BTreeMap<String, Value>,
    /// What is answered at a path instead.
    pub(super) instead: HashMap<String, String>,
    /// How far requests are that say their name in `X-Gate`.
    pub(super) gates: HashMap<String, Gate>,
    pub(super) next: u64,
    /// Milliseconds by which answers come late at most.
    pub(super) late_ms_max: u64,
    pub(super) random: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Gate {
    /// It will wait.
    Shut,
    /// It waits to be carried out.
    Reached,
    /// It is being carried out.
    Passed,
    /// It waits to be answered.
    Done,
    /// Nothing holds it up.
    Open,
}

impl Api {
    pub(super) fn new(style: Style) -> Api {
        let state = State {
            style,
            documents: BTreeMap::new(),
            instead: HashMap::new(),
            gates: HashMap::new(),
            next: 1,
            late_ms_max: 0,
            random: 1,
        };
        Api(Arc::new((Mutex::new(state), Condvar::new())))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn start(&self) -> Origin {
        let api = self.clone();
        Origin::start(move |peer| api.serve(peer))
    }

    pub(super) fn start_on(&self, listener: TcpListener) -> Origin {
        let api = self.clone();
        Origin::on(listener, move |peer| api.serve(peer))
    }

    fn serve(&self, peer: &mut Peer) -> io::Result<()> {
        while let Some(asked) = peer.asked()? {
            let name =
                asked.all("X-Gate").first().map(|name| (*name).to_owned()).filter(|_| !asked.line.starts_with("GET"));
            self.pass(&name, Gate::Reached);
            let (answer, late) = {
                let mut state = self.lock();
                let late = state.lateness();
                (state.answer(&asked), late)
            };
            self.pass(&name, Gate::Done);
            if late > 0 {
                thread::sleep(Duration::from_millis(late));
            }
            peer.say(answer)?;
        }
        Ok(())
    }

    /// A request comes to a gate, and waits until it may go on.
    pub(super) fn pass(&self, name: &Option<String>, gate: Gate) {
        let Some(name) = name else { return };
        let mut state = self.lock();
        let at = state.gates.entry(name.clone()).or_insert(Gate::Open);
        if *at == Gate::Open {
            return;
        }
        *at = gate;
        self.0.1.notify_all();
        let next = if gate == Gate::Reached { Gate::Passed } else { Gate::Open };
        drop(self.0.1.wait_while(state, |state| state.gates[name] < next));
    }

    /// Has a request carried out.
    pub(super) fn carry_out(&self, name: &str) {
        self.wait(name, Gate::Reached);
        self.open(name, Gate::Passed);
        self.wait(name, Gate::Done);
    }

    /// Has a request answered that was carried out.
    pub(super) fn answer(&self, name: &str) {
        self.wait(name, Gate::Done);
        self.open(name, Gate::Open);
    }

    fn open(&self, name: &str, gate: Gate) {
        self.lock().gates.insert(name.to_owned(), gate);
        self.0.1.notify_all();
    }

    pub(super) fn wait(&self, name: &str, gate: Gate) {
        let state = self.0.1.wait_timeout_while(self.lock(), PATIENCE, |state| state.gates[name] < gate);
        assert!(!state.unwrap_or_else(PoisonError::into_inner).1.timed_out(), "{name} didn't come");
    }

    pub(super) fn shut(&self, name: &str) {
        self.lock().gates.insert(name.to_owned(), Gate::Shut);
    }

    pub(super) fn put(&self, path: &str, value: Value) {
        self.lock().documents.insert(path.to_owned(), value);
    }
}

impl State {
    fn lateness(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % (self.late_ms_max + 1)
    }

    pub(super) fn answer(&mut self, asked: &Asked) -> String {
        let mut words = asked.line.split(' ');
        let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
        let path = target.split('?').next().expect("a path").trim_end_matches('/');
        if let Some(answer) = self.instead.get(&format!("{method} {path}")) {
            return answer.clone();
        }
        let body = || serde_json::from_slice::<Value>(&asked.body).unwrap_or(Value::Null);
        let is_collection = path.split('/').count() % 2 == 1;
        match (method, is_collection) {
            ("GET", true) => {
                let members = self.documents.iter().filter(|(name, _)| {
                    name.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')).is_some_and(|id| !id.contains('/'))
                });
                whole("200 OK", &members.map(|(_, value)| value.clone()).collect())
            }
            ("POST", true) => {
                let (id, mut value) = (self.next, body());
                self.next += 1;
                value["id"] = id.into();
                self.documents.insert(format!("{path}/{id}"), value.clone());
                let location =
                    format!("Location: http://test/api/{}/{id}\r\n", path.rsplit('/').next().expect("a name"));
                match self.style {
                    Style::Full => whole("201 Created", &value),
                    Style::Bare => format!("HTTP/1.1 201 Created\r\n{location}Content-Length: 0\r\n\r\n"),
                    Style::Receipt => whole(&format!("201 Created\r\n{location}X: y"), &json!({"ok": true})),
                }
            }
            ("GET", false) => match self.documents.get(path) {
                Some(value) => whole("200 OK", value),
                None => whole("404 Not Found", &json!({})),
            },
            ("PUT" | "PATCH", false) => {
                let mut value = body();
                if method == "PATCH" {
                    let Some(before) = self.documents.get(path) else { return whole("404 Not Found", &json!({})) };
                    let mut after = before.clone();
                    json_patch::merge(&mut after, &value);
                    value = after;
                }
                value["id"] = id_of(path);
                self.documents.insert(path.to_owned(), value.clone());
                self.done(&value)
            }
            ("DELETE", false) => match self.documents.remove(path) {
                Some(value) => self.done(&value),
                None => whole("404 Not Found", &json!({})),
            },
            _ => whole("405 Method Not Allowed", &json!({})),
        }
    }

    fn done(&self, value: &Value) -> String {
        match self.style {
            Style::Full => whole("200 OK", value),
            Style::Bare => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            Style::Receipt => whole("200 OK", &json!({"ok": true})),
        }
    }
}

/// Numbers are numbers.
fn id_of(path: &str) -> Value {
    let id = path.rsplit('/').next().expect("a segment");
    id.parse::<u64>().map_or_else(|_| id.into(), Value::from)
}

pub(super) fn whole(status: &str, value: &Value) -> String {
    let body = value.to_string();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
