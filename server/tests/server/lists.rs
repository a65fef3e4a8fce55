//! Collections in pages, the map form, history.

use serde_json::{Value, json};

use crate::kit::{Server, fold, split};

fn ids(list: &Value) -> Vec<String> {
    let documents = list["messages"].as_array().expect("a list");
    documents.iter().map(|document| document["id"].as_str().expect("an id").to_owned()).collect()
}

/// The target of a `Link` to the next page.
fn next(link: Option<&str>) -> Option<String> {
    let (target, rest) = link?.strip_prefix('<')?.split_once('>')?;
    assert_eq!(rest, r#"; rel="next""#);
    Some(target.to_owned())
}

#[test]
fn lists_come_in_pages_by_the_bytes_of_the_id() {
    let server = Server::start();
    let mut expected: Vec<String> = (0..250).map(|n| format!("{n}")).collect();
    expected.extend(["Z", "a", "é", "\u{10000}", "\u{e000}", "a b", "a&b=c"].map(str::to_owned));
    let mut client = server.connect();
    for id in &expected {
        client.ask("POST", "/messages", &[], &json!({"id": id}).to_string()).expect(201);
    }
    expected.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    let first = server.get("/messages").expect(200);
    assert_eq!(ids(&first.json()), expected[..100]);
    assert_eq!(first.field("Last-Event-ID"), None, "a page of several doesn't carry it");
    let (mut target, mut seen) = (Some("/messages?limit=40".to_owned()), Vec::new());
    while let Some(page) = target {
        let answer = server.get(&page).expect(200);
        let found = ids(&answer.json());
        assert!(found.len() <= 40);
        seen.extend(found);
        target = next(answer.field("Link"));
    }
    assert_eq!(seen, expected);
    let whole = server.get("/messages?limit=1000").expect(200);
    assert_eq!((ids(&whole.json()), next(whole.field("Link"))), (expected.clone(), None));
    assert_eq!(split(whole.position()).1, expected.len() as u64);
    let exact = server.get(&format!("/messages?limit={}", expected.len())).expect(200);
    assert_eq!(next(exact.field("Link")), None, "nothing is after it");
    // The id after which a page begins need not exist.
    let page = server.get("/messages?after=1000&limit=3").expect(200);
    let from = expected.iter().position(|id| id.as_str() > "1000").expect("some");
    assert_eq!(ids(&page.json()), expected[from..from + 3]);
    assert_eq!(ids(&server.json("/messages?after=%F0%90%80%80")), Vec::<String>::new());
    assert_eq!(ids(&server.json("/messages?after=a%26b%3Dc&limit=1")), ["é"]);
    assert_eq!(ids(&server.json("/messages?after=&limit=1")), expected[..1]);
    for limit in ["0", "1001", "-1", "x", "", "1.5", "99999999999999999999"] {
        server.get(&format!("/messages?limit={limit}")).problem(400);
    }
}

#[test]
fn the_map_form() {
    let server = Server::start();
    server.put("/users/7", r#"{"n":1}"#).expect(201);
    server.put("/users/7/messages/5", "{}").expect(201);
    let answer = server.get("/users?as=map").expect(200);
    assert_eq!(answer.json(), json!({"users": {"7": {"id": "7", "n": 1}}, "users/7/messages": {"5": {"id": "5"}}}));
    assert_eq!((split(answer.position()).1, answer.needs("Vary")), (2, "Accept"));
    assert_eq!(server.json("/users/7?as=map"), json!({"users": {"7": {"id": "7", "n": 1}}}));
    server.get("/users/8?as=map").problem(404);
    server.get("/users?as=list").problem(400);
}

#[test]
fn a_map_over_8_mib_is_422() {
    let server = Server::start();
    let mut client = server.connect();
    let body = json!({"t": "x".repeat(1_000_000)}).to_string();
    for n in 0..9 {
        client.ask("PUT", &format!("/messages/{n}"), &[], &body).expect(201);
    }
    let problem = server.get("/messages?as=map").problem(422);
    assert!(problem["type"].as_str().unwrap().ends_with("map-too-large"), "{problem}");
    server.get("/messages/1?as=map").expect(200);
    let page = server.get("/messages").expect(200);
    assert!(next(page.field("Link")).is_some(), "a page ends early");
    let mut follower = server.follow("/messages?from=snapshot");
    let (mut value, position) = follower.snapshot();
    let last = server.put("/messages/end", "{}").expect(201).position().to_owned();
    assert_ne!(position, last);
    follower.fold_until(&mut value, &last);
    assert_eq!(value["messages"].as_object().map(|map| map.len()), Some(10));
}

#[test]
fn history_in_pages() {
    let server = Server::start();
    let mut client = server.connect();
    let mut positions = Vec::new();
    for n in 0..250 {
        let answer = client.ask("PUT", &format!("/messages/{}", n % 10), &[], &json!({"n": n}).to_string());
        positions.push(answer.expect_one_of(&[200, 201]).position().to_owned());
    }
    let (epoch, _) = split(&positions[0]);
    let (mut value, mut seen) = (json!({}), Vec::new());
    let mut target = Some(format!("/messages?history={epoch}-0&limit=40"));
    let mut pages = 0;
    while let Some(page) = target {
        let answer = server.get(&page).expect(200);
        let events = answer.json()["events"].as_array().expect("events").clone();
        assert!(events.len() <= 40);
        for event in events {
            seen.push(event["id"].as_str().expect("an id").to_owned());
            fold(&mut value, &event["patch"].to_string());
        }
        target = next(answer.field("Link"));
        pages += 1;
    }
    assert_eq!((seen, pages), (positions.clone(), 7));
    assert_eq!(value, server.json("/messages?as=map"));
    let default = server.json(&format!("/messages?history={}", positions[9]));
    assert_eq!(default["events"].as_array().map(Vec::len), Some(100));
    assert_eq!(default["events"][0]["id"], positions[10].as_str());
    assert_eq!(server.json(&format!("/messages?history={}", positions[249])), json!({"events": []}));
    assert_eq!(server.json("/messages?history=0-0&limit=1")["events"][0]["id"], positions[0].as_str());
}

#[test]
fn history_of_one_document() {
    let server = Server::start();
    let mut client = server.connect();
    let mut wanted = Vec::new();
    for n in 0..300 {
        let answer = client.ask("PUT", &format!("/messages/{}", n % 7), &[], &json!({"n": n}).to_string());
        if n % 7 == 3 {
            wanted.push(answer.position().to_owned());
        }
    }
    let (mut target, mut seen) = (Some("/messages/3?history=0-0&limit=10".to_owned()), Vec::new());
    while let Some(page) = target {
        let answer = server.get(&page).expect(200);
        let events = answer.json()["events"].as_array().expect("events").clone();
        seen.extend(events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()));
        target = next(answer.field("Link"));
    }
    assert_eq!(seen, wanted);
}
