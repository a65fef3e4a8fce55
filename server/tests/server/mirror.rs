//! Origins whose resources can be followed although they know nothing of it.

mod api;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread;

use serde_json::{Value, json};

use self::api::{Api, Gate, Style, whole};
use crate::kit::{Answer, Client, EVENTS, Follower, JSON, Origin, Random, Server, fold, request, split, wait_for};
use crate::proxy::with_routes;

fn before(origin: &Origin) -> Server {
    with_routes(&format!("[[route]]\npath = '/api'\norigin = '{}'\nfollow = 'auto'\n", origin.url()))
}

/// A write that its origin lets wait.
fn gated(server: &Server, method: &str, target: &str, name: &str, body: &str) -> thread::JoinHandle<Answer> {
    let (mut client, method, target) = (server.connect(), method.to_owned(), target.to_owned());
    let (name, body) = (name.to_owned(), body.to_owned());
    thread::spawn(move || client.ask(&method, &target, &[JSON, ("X-Gate", &name)], &body))
}

#[test]
fn each_form_of_answer_becomes_an_event() {
    for style in [Style::Full, Style::Bare, Style::Receipt] {
        let api = Api::new(style);
        let origin = api.start();
        let server = before(&origin);
        let mut follower = server.follow("/api/messages");
        assert_eq!(follower.opening(), "0-0");
        let answer = server.post("/api/messages", r#"{"text":"hi"}"#).expect(201);
        let add = json!([
            {"op": "add", "path": "/messages", "value": {}},
            {"op": "add", "path": "/messages/1", "value": {"id": 1, "text": "hi"}}
        ]);
        assert_eq!(follower.patch(), (answer.position().to_owned(), add));
        match style {
            Style::Full => assert_eq!(answer.json(), json!({"id": 1, "text": "hi"})),
            Style::Bare => assert_eq!(answer.text(), ""),
            Style::Receipt => assert_eq!(answer.json(), json!({"ok": true})),
        }
        let answer = server.ask("PATCH", "/api/messages/1", &[JSON], r#"{"text":"ho"}"#).expect_one_of(&[200, 204]);
        let (id, operations) = follower.patch();
        assert_eq!(id, answer.position());
        let mut value = json!({"messages": {"1": {"id": 1, "text": "hi"}}});
        fold(&mut value, &operations.to_string());
        assert_eq!(value, json!({"messages": {"1": {"id": 1, "text": "ho"}}}));
        let answer = server.put("/api/messages/a%20b", r#"{"text":"new"}"#).expect_one_of(&[200, 204]);
        let add = json!([{"op": "add", "path": "/messages/a b", "value": {"id": "a%20b", "text": "new"}}]);
        // Only what is read is believed to have a name of its own.
        assert_eq!(follower.patch(), (answer.position().to_owned(), add));
        let answer = server.delete("/api/messages/1").expect_one_of(&[200, 204]);
        let remove = json!([{"op": "remove", "path": "/messages/1"}]);
        assert_eq!(follower.patch(), (answer.position().to_owned(), remove));
        let answer = server.put("/api/messages/a%20b", r#"{"text":"new"}"#).expect_one_of(&[200, 204]);
        assert_eq!(answer.position().rsplit('-').next(), Some("4"), "what changes nothing is no event");
        assert_eq!(server.get("/api/messages/1").expect(404).field("Last-Event-ID"), None);
        server.delete("/api/messages/1").expect(404);
        let answer = server.ask("PATCH", "/api/messages/a%20b?x=1", &[JSON], r#"{"text":"last"}"#);
        assert_eq!(follower.patch().0, answer.position());
    }
}

/// Follows from the value on until it is this; returns the sequence of the position that it is reached at.
#[track_caller]
fn shown(server: &Server, target: &str, expected: &Value) -> u64 {
    let mut follower = server.follow(&format!("{target}?from=snapshot"));
    let (mut value, mut position) = follower.snapshot();
    while value != *expected {
        let (id, operations) = follower.patch();
        fold(&mut value, &operations.to_string());
        position = id;
    }
    split(&position).1
}

#[test]
fn the_first_to_follow_gets_what_the_origin_has() {
    let api = Api::new(Style::Full);
    api.put("/api/users/7", json!({"id": "7", "name": "x"}));
    api.put("/api/users/7/messages/1", json!({"id": 1, "text": "hi"}));
    api.put("/api/users/7/messages/2", json!({"id": 2}));
    let origin = api.start();
    let server = before(&origin);
    let messages = json!({"users/7/messages": {"1": {"id": 1, "text": "hi"}, "2": {"id": 2}}});
    assert_eq!(shown(&server, "/api/users/7/messages", &messages), 2);
    assert_eq!(shown(&server, "/api/users/7/messages/", &messages), 2);
    let user = json!({"users": {"7": {"id": "7", "name": "x"}}});
    assert_eq!(shown(&server, "/api/users/7", &user), 3);
    assert_eq!(shown(&server, "/api/users", &user), 3, "a collection is followed without what is below it");
    assert_eq!(shown(&server, "/api/users/7/messages/2", &json!({"users/7/messages": {"2": {"id": 2}}})), 3);
    // Behind the edge's back nothing happens for followers, until something of it passes or the server starts anew.
    api.put("/api/users/8", json!({"id": "8"}));
    assert_eq!(shown(&server, "/api/users", &user), 3);
    let mut follower = server.follow("/api/users");
    follower.opening();
    server.put("/api/users/8", r#"{"name":"y"}"#).expect(200);
    assert_eq!(follower.patch().1[0]["value"], json!({"id": 8, "name": "y"}));
    // EventSource follows by GET; who wants JSON gets it from the origin.
    let mut follower = Follower::by(server.address(), "GET", "/api/users/8", &[EVENTS]);
    follower.opening();
    assert_eq!(server.json("/api/users/8"), json!({"id": 8, "name": "y"}));
    assert!(origin.requests().iter().all(|asked| !asked.line.starts_with("SUBSCRIBE")));
}

#[test]
fn events_survive_a_restart_and_what_changed_meanwhile_is_seen() {
    let api = Api::new(Style::Full);
    let origin = api.start();
    let mut server = before(&origin);
    let mut follower = server.follow("/api/messages");
    follower.opening();
    let first = server.post("/api/messages", "{}").expect(201).position().to_owned();
    server.post("/api/messages", "{}").expect(201);
    server.stop();
    api.lock().documents.remove("/api/messages/2");
    api.put("/api/messages/3", json!({"id": 3}));
    server.start_again();
    let mut resumed = server.resume("/api/messages", &first);
    assert_eq!(resumed.opening(), first);
    let mut value = json!({"messages": {"1": {"id": 1}}});
    for _ in 0..3 {
        fold(&mut value, &resumed.patch().1.to_string());
    }
    assert_eq!(value, json!({"messages": {"1": {"id": 1}, "3": {"id": 3}}}));
    let mut all = server.follow("/api/messages?from=earliest");
    assert_eq!(all.opening().rsplit('-').next(), Some("0"));
    assert_eq!(all.patch().0, first);
    let block = server.resume("/api/messages", "zzzzzz-9").next();
    assert_eq!(block.event, "reset");
}

#[test]
fn of_writes_together_the_last_state_is_the_last_event() {
    for style in [Style::Full, Style::Bare] {
        let api = Api::new(style);
        api.put("/api/m/1", json!({"id": 1, "n": 0}));
        let origin = api.start();
        let server = before(&origin);
        let mut follower = server.follow("/api/m/1");
        follower.opening();
        api.shut("early");
        api.shut("late");
        let early = gated(&server, "PUT", "/api/m/1", "early", r#"{"n":1}"#);
        let late = gated(&server, "PUT", "/api/m/1", "late", r#"{"n":2}"#);
        api.carry_out("early");
        api.carry_out("late");
        // The one that was done last is answered first.
        api.answer("late");
        let late = late.join().expect("an answer").expect_one_of(&[200, 204]).position().to_owned();
        let (id, operations) = follower.patch();
        assert_eq!(id, late);
        let mut value = json!({"m": {"1": {"id": 1, "n": 0}}});
        fold(&mut value, &operations.to_string());
        assert_eq!(value["m"]["1"]["n"], 2);
        api.answer("early");
        let early = early.join().expect("an answer").expect_one_of(&[200, 204]);
        assert_eq!(early.position(), late, "what is so already is no event");
        let next = server.put("/api/m/1", r#"{"n":3}"#).position().to_owned();
        assert_eq!(follower.patch().0, next);
    }
}

#[test]
fn what_was_created_and_changed_meanwhile_is_read() {
    let api = Api::new(Style::Full);
    let origin = api.start();
    let server = before(&origin);
    let mut follower = server.follow("/api/m");
    follower.opening();
    api.shut("create");
    let create = gated(&server, "POST", "/api/m", "create", r#"{"n":1}"#);
    api.carry_out("create");
    server.put("/api/m/1", r#"{"n":2}"#).expect(200);
    api.answer("create");
    assert_eq!(create.join().expect("an answer").expect(201).json()["n"], 1, "the answer is the origin's");
    assert_eq!(follower.patch().1[1]["value"]["n"], 2);
    let next = server.delete("/api/m/1").position().to_owned();
    assert_eq!(follower.patch().0, next);
}

#[test]
fn a_look_at_a_collection_does_not_undo_what_is_written_meanwhile() {
    let api = Api::new(Style::Full);
    api.put("/api/m/1", json!({"id": 1, "n": 1}));
    let origin = {
        let api = api.clone();
        Origin::start(move |peer| {
            while let Some(asked) = peer.asked()? {
                let answer = api.lock().answer(&asked);
                let name = asked.line.starts_with("GET /api/m ").then(|| "look".to_owned());
                api.pass(&name, Gate::Done);
                peer.say(answer)?;
            }
            Ok(())
        })
    };
    api.shut("look");
    let server = before(&origin);
    let address = server.address();
    let follower = thread::spawn(move || Follower::start(address, "/api/m?from=earliest", &[]));
    api.wait("look", Gate::Done);
    server.put("/api/m/1", r#"{"n":2}"#).expect(200);
    server.post("/api/m", r#"{"n":3}"#).expect(201);
    api.answer("look");
    let mut follower = follower.join().expect("it follows");
    follower.opening();
    let last = server.put("/api/m/2", "{}").expect(200).position().to_owned();
    let mut value = json!({"m": {}});
    assert_eq!(follower.fold_until(&mut value, &last), 3, "the look itself brings nothing");
    let one = json!({"id": 1, "n": 3});
    assert_eq!(value, json!({"m": {"1": one, "2": {"id": 2}}}), "the second was given the name of the first");
}

#[test]
fn who_follows_a_document_that_is_being_read_waits_for_that() {
    let api = Api::new(Style::Bare);
    let origin = {
        let api = api.clone();
        Origin::start(move |peer| {
            while let Some(asked) = peer.asked()? {
                let answer = api.lock().answer(&asked);
                // The read after a write says who has written, too.
                let name = asked.all("X-Gate").first().map(|name| (*name).to_owned());
                api.pass(&name.filter(|_| asked.line.starts_with("GET")), Gate::Done);
                peer.say(answer)?;
            }
            Ok(())
        })
    };
    api.shut("read");
    let server = before(&origin);
    let write = gated(&server, "PUT", "/api/m/1", "read", r#"{"n":1}"#);
    api.wait("read", Gate::Done);
    let address = server.address();
    let follower = thread::spawn(move || Follower::start(address, "/api/m/1?from=snapshot", &[]));
    wait_for("the follower's read", || (origin.requests().len() == 3).then_some(()));
    api.answer("read");
    write.join().expect("an answer").expect(204);
    let mut follower = follower.join().expect("it follows");
    assert_eq!(follower.snapshot().0, json!({"m": {"1": {"id": 1, "n": 1}}}));
}

#[test]
fn many_writers_leave_followers_with_what_the_origin_has() {
    for style in [Style::Full, Style::Bare] {
        let mut random = Random::seeded();
        let api = Api::new(style);
        api.lock().late_ms_max = 3;
        api.lock().random = random.next();
        let origin = api.start();
        let server = before(&origin);
        let mut follower = server.follow("/api/m");
        follower.opening();
        let writers = (0..6).map(|writer| {
            let (mut client, mut random) = (server.connect(), random.fork());
            thread::spawn(move || {
                for n in 0..25 {
                    let target = format!("/api/m/{}", random.below(3) + 100);
                    let body = format!(r#"{{"n":"{writer}-{n}"}}"#);
                    match random.below(6) {
                        0 => drop(client.ask("DELETE", &target, &[], "")),
                        1 => drop(client.ask("POST", "/api/m", &[JSON], &body).expect(201)),
                        2 => drop(client.ask("PATCH", &target, &[JSON], &body)),
                        _ => drop(client.ask("PUT", &target, &[JSON], &body).expect_one_of(&[200, 204])),
                    }
                }
            })
        });
        writers.collect::<Vec<_>>().into_iter().for_each(|writer| writer.join().expect("it writes"));
        let last = server.put("/api/m/last", "{}").expect_one_of(&[200, 204]).position().to_owned();
        let mut value = json!({"m": {}});
        follower.fold_until(&mut value, &last);
        let state = api.lock();
        let documents = state
            .documents
            .iter()
            .map(|(path, value)| (path.rsplit('/').next().expect("a name").to_owned(), value.clone()));
        assert_eq!(value, json!({"m": documents.collect::<serde_json::Map<_, _>>()}));
    }
}

#[test]
fn what_cannot_be_an_event_passes_and_is_read_by_the_next_to_follow() {
    let api = Api::new(Style::Full);
    let origin = api.start();
    let server = before(&origin);
    let first = server.put("/api/m/1", r#"{"n":1}"#).expect(200).position().to_owned();
    let page = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    for (method, path) in [("PUT", "/api/m/1"), ("GET", "/api/m/1")] {
        api.lock().instead.insert(format!("{method} {path}"), page("<p>no"));
    }
    let answer = server.put("/api/m/1", r#"{"n":2}"#).expect(200);
    assert_eq!((answer.text().as_str(), answer.field("Last-Event-ID")), ("<p>no", None));
    assert!(server.log().contains("couldn't be kept"), "{}", server.log());
    let problem = server.ask("SUBSCRIBE", "/api/m/1", &[], "").problem(406);
    assert!(problem["detail"].as_str().expect("a detail").contains("isn't JSON"), "{problem}");
    // A body that is larger than a document passes, too.
    let large = "x".repeat(3 << 20);
    api.lock().instead.insert("PUT /api/m/1".to_owned(), page(&large));
    let answer = server.put("/api/m/1", "{}").expect(200);
    assert!(answer.text() == large && answer.field("Last-Event-ID").is_none());
    // What isn't JSON isn't held back until it is whole.
    let endless = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n";
    api.lock().instead.insert("PUT /api/m/1".to_owned(), endless.to_owned());
    let mut client = server.connect();
    client.send(request("PUT", "/api/m/1", &[JSON], b"{}"));
    let mut follower = Follower::on(client.socket);
    assert_eq!(follower.bytes(12), "9\r\ndata: x\n\n");
    drop(follower);
    api.lock().instead.clear();
    api.put("/api/m/1", json!({"id": 1, "n": 3}));
    let mut follower = server.resume("/api/m/1", &first);
    follower.opening();
    let mut value = json!({"m": {"1": {"id": 1, "n": 1}}});
    fold(&mut value, &follower.patch().1.to_string());
    assert_eq!(value["m"]["1"]["n"], 3);
}

#[test]
fn who_may_follow_is_for_the_origin_to_say() {
    let api = Api::new(Style::Full);
    api.put("/api/m/1", json!({"id": 1}));
    let origin = {
        let api = api.clone();
        Origin::start(move |peer| {
            while let Some(asked) = peer.asked()? {
                let may = asked.all("Authorization") == ["Bearer good"] || asked.line.contains("token=good");
                match may {
                    true => peer.say(api.lock().answer(&asked))?,
                    false => peer.say("HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nContent-Length: 2\r\n\r\nno")?,
                }
            }
            Ok(())
        })
    };
    let server = before(&origin);
    let good = ("Authorization", "Bearer good");
    for round in 0..2 {
        let mut client = server.connect();
        let answer = client.ask("SUBSCRIBE", "/api/m/1", &[], "").expect(401);
        assert_eq!((answer.needs("WWW-Authenticate"), answer.text().as_str()), ("Bearer", "no"));
        client.ask("GET", "/api/m/1", &[good], "").expect(200);
        let mut follower = Follower::start(server.address(), "/api/m/1", &[good, ("If-None-Match", "*")]);
        follower.opening();
        server.follow("/api/m/1?token=good&from=snapshot").snapshot();
        let answer = server.ask("PUT", "/api/m/1", &[JSON, good], r#"{"n":1}"#).expect(200);
        server.ask("DELETE", "/api/m/1", &[], "").expect(401);
        assert_eq!(split(answer.position()).1, 2);
        if round == 0 {
            assert_eq!(follower.patch().0, answer.position());
        }
    }
    // No other way leads to it.
    for target in ["/-/events?topic=/api/m", "/%61pi/m"] {
        server.ask("SUBSCRIBE", target, &[], "").problem(404);
    }
    for target in ["/-/events?topic=//api/m", "/%2Fapi%2Fm"] {
        server.ask("SUBSCRIBE", target, &[], "").problem(400);
    }
    for target in ["/-/events?topic=/m", "/m", "/%61pi"] {
        assert_eq!(server.follow(target).opening(), "0-0", "nobody has written there");
    }
    server.ask("SUBSCRIBE", "/api/m/2", &[good], "").expect(404);
}

/// Whoever the origin hides its documents from may take them from nobody else, and a page to log in at lets nobody in.
#[test]
fn what_is_only_hidden_from_a_writer_is_not_gone() {
    let api = Api::new(Style::Full);
    api.put("/api/m/1", json!({"id": 1}));
    let origin = {
        let api = api.clone();
        Origin::start(move |peer| {
            while let Some(asked) = peer.asked()? {
                let may = asked.all("Authorization") == ["Bearer good"];
                match (may, asked.line.split(' ').next()) {
                    (true, _) => peer.say(api.lock().answer(&asked))?,
                    (false, Some("GET")) if asked.has("X-Lost") => peer.say(whole("404 Not Found", &json!({})))?,
                    (false, Some("GET")) => peer.say("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n<log in>")?,
                    (false, _) => peer.say(whole("500 Internal Server Error", &json!({})))?,
                }
            }
            Ok(())
        })
    };
    let server = before(&origin);
    let good = ("Authorization", "Bearer good");
    let mut document = Follower::start(server.address(), "/api/m/1", &[good]);
    let mut collection = Follower::start(server.address(), "/api/m", &[good]);
    document.opening();
    collection.opening();
    server.ask("SUBSCRIBE", "/api/m/1", &[], "").problem(406);
    server.ask("SUBSCRIBE", "/api/m", &[], "").problem(406);
    // It is answered when what it may have done has been looked for, as its client would.
    server.ask("PATCH", "/api/m/1", &[JSON, ("X-Lost", "yes")], "{}").expect(500);
    server.ask("POST", "/api/m", &[JSON, ("X-Lost", "yes")], "{}").expect(500);
    let answer = server.ask("PUT", "/api/m/1", &[JSON, good], r#"{"n":1}"#).expect(200);
    let add = json!([{"op": "add", "path": "/m/1/n", "value": 1}]);
    assert_eq!(document.patch(), (answer.position().to_owned(), add.clone()));
    assert_eq!(collection.patch(), (answer.position().to_owned(), add));
}

#[test]
fn an_origin_with_events_of_its_own_sends_them() {
    let origin = Origin::start(|peer| {
        while let Some(asked) = peer.asked()? {
            assert!(asked.all("Accept")[0].contains("text/event-stream"), "{asked:?}");
            peer.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: x\n\n")?;
        }
        Ok(())
    });
    let server = before(&origin);
    assert_eq!(server.ask("GET", "/api/events", &[EVENTS], "").expect(200).text(), "data: x\n\n");
}

#[test]
fn an_origin_that_is_down_is_one_to_come_back_for() {
    let api = Api::new(Style::Full);
    api.put("/api/m/1", json!({"id": 1, "n": 1}));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let server = with_routes(&format!("[[route]]\npath = '/api'\norigin = 'http://{address}'\nfollow = 'auto'\n"));
    let mut follower = server.follow("/api/m/1");
    let rest = follower.rest();
    assert!(rest.starts_with("retry: ") && !rest.contains("data"), "{rest}");
    server.put("/api/m/1", "{}").problem(502);
    // The same address, once somebody is there.
    let origin = api.start_on(wait_for("the port", || TcpListener::bind(address).ok()));
    let mut follower = server.follow("/api/m/1?from=snapshot");
    assert_eq!(follower.snapshot().0, json!({"m": {"1": {"id": 1, "n": 1}}}));
    drop(origin);
}

#[test]
fn an_origin_that_has_too_many_requests_is_one_to_come_back_for() {
    let api = Api::new(Style::Full);
    api.put("/api/m/1", json!({"id": 1}));
    api.lock().instead.insert("GET /api/m/1".to_owned(), whole("429 Too Many Requests", &json!({})));
    let origin = api.start();
    let server = before(&origin);
    let rest = server.follow("/api/m/1").rest();
    assert!(rest.starts_with("retry: ") && !rest.contains("data"), "{rest}");
    api.lock().instead.clear();
    server.follow("/api/m/1").opening();
}

#[test]
fn a_write_that_breaks_off_or_whose_client_leaves_is_looked_after() {
    let api = Api::new(Style::Full);
    api.put("/api/m/1", json!({"id": 1, "n": 0}));
    let origin = {
        let api = api.clone();
        Origin::start(move |peer| {
            while let Some(asked) = peer.asked()? {
                let name = asked
                    .all("X-Gate")
                    .first()
                    .map(|name| (*name).to_owned())
                    .filter(|_| !asked.line.starts_with("GET"));
                let answer = api.lock().answer(&asked);
                api.pass(&name, Gate::Done);
                if asked.has("X-Break") && !asked.line.starts_with("GET") {
                    return peer.say(&answer[..answer.len() - 2]);
                }
                peer.say(answer)?;
            }
            Ok(())
        })
    };
    let server = before(&origin);
    let mut follower = server.follow("/api/m/1");
    follower.opening();
    let mut broken = server.connect();
    broken.send(request("PUT", "/api/m/1", &[JSON, ("X-Break", "yes")], br#"{"n":1}"#));
    assert!(broken.try_answer("PUT").is_err(), "it isn't made to look whole");
    let mut value = json!({"m": {"1": {"id": 1, "n": 0}}});
    fold(&mut value, &follower.patch().1.to_string());
    assert_eq!(value["m"]["1"]["n"], 1);
    api.shut("left");
    let mut socket = TcpStream::connect(server.address()).expect("the server accepts");
    let bytes = request("PUT", "/api/m/1", &[JSON, ("X-Gate", "left")], br#"{"n":2}"#);
    io::Write::write_all(&mut socket, &bytes).expect("it reads");
    api.wait("left", Gate::Done);
    drop(socket);
    fold(&mut value, &follower.patch().1.to_string());
    assert_eq!(value["m"]["1"]["n"], 2);
    api.answer("left");
    server.check_alive();
}

#[test]
fn what_is_done_to_a_document_below_it_is_seen() {
    let api = Api::new(Style::Bare);
    api.put("/api/orders/7", json!({"id": 7, "state": "open"}));
    let origin = api.start();
    let server = before(&origin);
    let mut follower = server.follow("/api/orders");
    follower.opening();
    api.lock().instead.insert("POST /api/orders/7/cancel".to_owned(), "HTTP/1.1 204 No\r\n\r\n".to_owned());
    api.put("/api/orders/7", json!({"id": 7, "state": "cancelled"}));
    let answer = server.post("/api/orders/7/cancel", "").expect(204);
    assert_eq!(follower.patch().0, answer.position());
    // A document that is gone when it is read is gone.
    api.lock().documents.clear();
    let answer = server.post("/api/orders/7/cancel", "").expect(204);
    assert_eq!(follower.patch(), (answer.position().to_owned(), json!([{"op": "remove", "path": "/orders/7"}])));
    // Whatever a collection is told may change all of it.
    api.put("/api/orders/8", json!({"id": 8}));
    api.lock().instead.insert("DELETE /api/orders".to_owned(), "HTTP/1.1 204 No\r\n\r\n".to_owned());
    let answer = server.delete("/api/orders").expect(204);
    assert_eq!(follower.patch().0, answer.position());
}

#[test]
fn hosts_and_routes_have_streams_of_their_own() {
    let (one, other) = (Api::new(Style::Full), Api::new(Style::Full));
    let (first, second) = (one.start(), other.start());
    let server = with_routes(&format!(
        "[[route]]\nhost = 'one'\norigin = '{}'\nfollow = 'auto'\n[[route]]\nhost = 'other'\npath = '/v/1'\norigin = '{}'\nfollow = 'auto'\n",
        first.url(),
        second.url()
    ));
    let ask = |host: &str, method: &str, path: &str, body: &str| {
        let mut client = Client::connect(server.address());
        let length = body.len();
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"));
        client.answer(method)
    };
    let position = |answer: Answer| answer.position().to_owned();
    one.lock().instead.insert("PUT /v/1".to_owned(), whole("200 OK", &json!({"id": 1})));
    let first = position(ask("one", "PUT", "/v/1", r#"{"x":1}"#).expect(200));
    assert!(first.ends_with("-1"));
    other.lock().instead.insert("PUT /v/1/m/1".to_owned(), whole("200 OK", &json!({"id": 1})));
    let second = position(ask("other", "PUT", "/v/1/m/1", "{}").expect(200));
    assert!(second.ends_with("-1") && first != second);
    assert!(server.data().join("one%2Fv").is_dir() && server.data().join("other%2Fv%2F1%2Fm").is_dir());
    server.put("/v/1", "{}").expect(201);
}
