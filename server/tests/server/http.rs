//! HTTP itself: framing, persistence, pipelining, methods.

use serde_json::json;

use crate::kit::{JSON, Server, request, reset};

#[test]
fn one_connection_serves_many_requests() {
    let server = Server::start();
    let mut client = server.connect();
    for n in 0..50 {
        client.ask("PUT", &format!("/messages/{n}"), &[JSON], "{}").expect(201);
        client.ask("GET", &format!("/messages/{n}"), &[], "").expect(200);
        client.ask("GET", "/messages/none", &[], "").expect(404);
        client.ask("PUT", "/messages/broken", &[JSON], "{").expect(400);
        client.ask("HEAD", "/messages", &[], "").expect(200);
        client.ask("OPTIONS", "/messages", &[], "").expect(204);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let mut client = server.connect();
    let mut bytes = String::new();
    // Streams of different homes, so that answers could overtake each other.
    for n in 0..100 {
        let body = json!({"n": n}).to_string();
        let length = body.len();
        bytes += &format!(
            "PUT /stream{}/x HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}\
             GET /stream{}/x HTTP/1.1\r\nHost: t\r\n\r\n\
             HEAD /stream{}/x HTTP/1.1\r\nHost: t\r\n\r\n",
            n % 8,
            n % 8,
            n % 8
        );
    }
    let mut writer = client.socket.try_clone().expect("a socket");
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, bytes.as_bytes()));
    for n in 0..100 {
        assert_eq!(client.answer("PUT").json()["n"], n);
        assert_eq!(client.answer("GET").expect(200).json()["n"], n);
        client.answer("HEAD").expect(200);
    }
    sender.join().expect("a thread").expect("all is read");
}

#[test]
fn pipelined_writes_share_groups_and_keep_their_order() {
    let server = Server::with(&["--cores", "1"]);
    server.put("/messages/first", "{}").expect(201);
    let mut follower = server.follow("/messages");
    follower.opening();
    let mut client = server.connect();
    let mut bytes = Vec::new();
    for n in 0..40 {
        bytes.extend(request(
            "PUT",
            &format!("/messages/{}", n / 2),
            &[JSON],
            json!({ "n": n }).to_string().as_bytes(),
        ));
        // One that fails, one that must be seen after what was before it, one to somewhere else.
        match n {
            10 => bytes.extend(request("PUT", "/messages/no", &[JSON, ("If-Match", "\"none\"")], b"{}")),
            20 => bytes.extend(request("GET", "/messages/10", &[], b"")),
            30 => bytes.extend(request("PUT", "/others/1", &[JSON], b"{}")),
            _ => {}
        }
    }
    client.send(&bytes);
    let mut sequences = Vec::new();
    for n in 0..40 {
        let answer = client.answer("PUT").expect(if n % 2 == 0 { 201 } else { 200 });
        assert_eq!(answer.json()["n"], n);
        sequences.push(answer.position().rsplit('-').next().expect("a sequence").parse::<u64>().expect("a number"));
        match n {
            10 => drop(client.answer("PUT").problem(412)),
            20 => assert_eq!(client.answer("GET").expect(200).json()["n"], 20),
            30 => drop(client.answer("PUT").expect(201)),
            _ => {}
        }
    }
    assert_eq!(sequences, (2..42).collect::<Vec<u64>>());
    for sequence in sequences {
        assert!(follower.patch().0.ends_with(&format!("-{sequence}")));
    }
    let log = std::fs::read_to_string(server.data().join("messages/00000000000000000001.sse")).expect("a segment");
    let groups = log.lines().filter(|line| line.starts_with(":c ")).count();
    assert!(groups < 20, "{groups} groups: each write waited for the one before it");
}

/// What could make the answers that wait much larger than the requests, or a repeat come before its first, isn't begun early.
#[test]
fn pipelined_patches_and_keys_wait_for_the_answers_before_them() {
    let server = Server::start();
    let large = json!({ "text": "x".repeat(900_000) }).to_string();
    server.put("/messages/1", &large).expect(201);
    let mut client = server.connect();
    let merge = ("Content-Type", "application/merge-patch+json");
    for n in 0..20 {
        client.send(request("PATCH", "/messages/1", &[merge], json!({ "n": n }).to_string().as_bytes()));
    }
    for n in 0..20 {
        assert_eq!(client.answer("PATCH").expect(200).json()["n"], n);
    }
    let keyed = request("POST", "/messages", &[JSON, ("Idempotency-Key", "k")], b"{}");
    client.send(keyed.repeat(3));
    let locations: Vec<_> = (0..3).map(|_| client.answer("POST").expect(201).needs("Location").to_owned()).collect();
    assert!(locations.iter().all(|location| *location == locations[0]), "{locations:?}");
}

#[test]
fn a_peer_that_goes_while_its_pipelined_writes_are_under_way_harms_nobody() {
    let server = Server::start();
    for round in 0..20 {
        let mut client = server.connect();
        let write = request("POST", &format!("/messages{round}"), &[JSON], b"{}");
        client.send(write.repeat(60));
        reset(client.socket);
    }
    server.put("/messages/1", "{}").expect(201);
    server.check_alive();
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = Server::start();
    let mut client = server.connect();
    let bytes = "\r\nPUT /messages/1 HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\n{\"a\":\r\n2;x=\"y\"\r\n1}\r\n0\r\nTrailer: x\r\n\r\nGET /messages/1 HTTP/1.1\r\nHost: t\r\n\r\n";
    for byte in bytes.as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.answer("PUT").expect(201).json(), json!({"id": "1", "a": 1}));
    assert_eq!(client.answer("GET").expect(200).json(), json!({"id": "1", "a": 1}));
}

#[test]
fn bodies_may_be_chunked() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(
        "POST /messages HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: Chunked\r\n\r\n\
         b\r\n{\"id\":\"1\",\"\r\n5\r\na\":1}\r\n0\r\n\r\n",
    );
    assert_eq!(client.answer("POST").expect(201).json(), json!({"id": "1", "a": 1}));
    client.ask("GET", "/messages/1", &[], "").expect(200);
}

#[test]
fn expect_100_continue() {
    let server = Server::start();
    let mut client = server.connect();
    let head = |length: usize, media: &str| {
        format!(
            "PUT /messages/1 HTTP/1.1\r\nHost: t\r\nContent-Type: {media}\r\nContent-Length: {length}\r\nExpect: 100-Continue\r\n\r\n"
        )
    };
    client.send(head(2, "application/json"));
    assert_eq!(client.answer("PUT").expect(100).head, "HTTP/1.1 100 Continue");
    client.send("{}");
    client.answer("PUT").expect(201);
    // Refused without a 100: the body is never sent.
    client.send(head(2 << 20, "application/json"));
    client.answer("PUT").problem(413);
    client.expect_closed();
    let mut client = server.connect();
    client.send(head(2, "text/plain"));
    client.answer("PUT").problem(415);
    client.expect_closed();
    let mut client = server.connect();
    client.send("PUT /messages/1 HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nExpect: more\r\n\r\n{}");
    client.answer("PUT").problem(417);
}

#[test]
fn http_1_0_and_connection_close() {
    let server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    let mut client = server.connect();
    client.send("GET /messages/1 HTTP/1.0\r\n\r\n");
    let answer = client.answer("GET").expect(200);
    assert_eq!(answer.needs("Connection"), "close");
    assert_eq!(answer.json(), json!({"id": "1"}));
    client.expect_closed();
    let mut client = server.connect();
    for _ in 0..3 {
        client.send("GET /messages/1 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        let answer = client.answer("GET").expect(200);
        assert!(answer.needs("Connection").eq_ignore_ascii_case("keep-alive"));
        assert!(answer.field("Content-Length").is_some());
    }
    let mut client = server.connect();
    client.send("GET /messages/1 HTTP/1.1\r\nHost: t\r\nConnection: x, CLOSE\r\n\r\nGET /messages/2 HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.answer("GET").expect(200).needs("Connection"), "close");
    client.expect_closed();
    let mut client = server.connect();
    client.send("GET / HTTP/2.0\r\nHost: t\r\n\r\n");
    client.answer("GET").problem(505);
    let mut client = server.connect();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.answer("GET").expect_one_of(&[400, 505]);
}

#[test]
fn a_client_that_shuts_its_write_side_is_answered() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("GET /messages HTTP/1.1\r\nHost: t\r\n\r\n");
    client.socket.shutdown(std::net::Shutdown::Write).expect("a socket");
    client.answer("GET").expect(200);
    client.expect_closed();
}

#[test]
fn head_is_get_without_a_body() {
    let server = Server::start();
    server.put("/messages/1", r#"{"a":1}"#).expect(201);
    let mut client = server.connect();
    for target in
        ["/messages", "/messages/1", "/messages?as=map", "/messages/none", "/-/", "/-/health/live", "/messages?limit=x"]
    {
        let get = client.ask("GET", target, &[], "");
        let head = client.ask("HEAD", target, &[], "");
        let fields = |answer: &crate::kit::Answer| {
            let mut fields = answer.fields.clone();
            fields.retain(|(name, _)| name != "Date");
            fields
        };
        assert_eq!((head.status, fields(&head)), (get.status, fields(&get)), "{target}");
    }
}

#[test]
fn methods_and_what_is_allowed() {
    let server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    let mut client = server.connect();
    let list = |answer: &crate::kit::Answer, name: &str| {
        let mut names: Vec<String> = answer.needs(name).split(',').map(|name| name.trim().to_owned()).collect();
        names.sort();
        names
    };
    let collection = ["GET", "HEAD", "OPTIONS", "POST", "SUBSCRIBE"];
    let document = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT", "SUBSCRIBE"];
    let patches = ["application/json-patch+json", "application/merge-patch+json"];
    assert_eq!(list(&client.ask("OPTIONS", "/messages", &[], "").expect(204), "Allow"), collection);
    let options = client.ask("OPTIONS", "/messages/1", &[], "").expect(204);
    assert_eq!(
        (list(&options, "Allow").as_slice(), list(&options, "Accept-Patch").as_slice()),
        (&document.map(str::to_owned)[..], &patches.map(str::to_owned)[..])
    );
    client.ask("OPTIONS", "*", &[], "").expect(204).needs("Allow");
    for method in ["PUT", "PATCH", "DELETE", "TRACE", "get", "BREW"] {
        let answer = client.ask(method, "/messages", &[JSON], "");
        assert_eq!(list(&answer, "Allow"), collection, "{method}");
        answer.problem(405);
    }
    for method in ["POST", "TRACE", "patch"] {
        let answer = client.ask(method, "/messages/1", &[JSON], "");
        assert_eq!(list(&answer, "Allow"), document, "{method}");
        answer.problem(405);
    }
    client.ask("GET", "/messages/1", &[], "").expect(200);
}

#[test]
fn media_types() {
    let server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    for media in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
        "json",
        "application/merge-patch+json",
    ] {
        server.ask("PUT", "/messages/1", &[("Content-Type", media)], r#"{"a":1}"#).problem(415);
        server.ask("POST", "/messages", &[("Content-Type", media)], r#"{"a":1}"#).problem(415);
    }
    for media in ["application/json", "text/plain", "application/json-patch", "text/json-patch+json"] {
        let answer = server.ask("PATCH", "/messages/1", &[("Content-Type", media)], r#"{"a":1}"#);
        let accepted = answer.needs("Accept-Patch").to_owned();
        assert!(accepted.contains("application/json-patch+json") && accepted.contains("application/merge-patch+json"));
        answer.problem(415);
    }
    assert!(!server.ask("PATCH", "/messages/1", &[], "{}").needs("Accept-Patch").is_empty());
    assert_eq!(server.json("/messages"), json!({"messages": [{"id": "1"}]}));
    server.ask("PUT", "/messages/1", &[("Content-Type", "Application/JSON;charset=\"UTF-8\"")], "{}").expect(200);
    server.ask("PATCH", "/messages/1", &[("content-type", "application/merge-patch+json; x=y")], "{}").expect(200);
}

#[test]
fn an_absolute_target_names_the_same() {
    let server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    let mut client = server.connect();
    client.send("GET http://example.org/messages/1 HTTP/1.1\r\nHost: example.org\r\n\r\n");
    client.answer("GET").expect(200);
}

#[test]
fn every_answer_has_a_date_and_reads_vary() {
    let server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    for target in ["/messages", "/messages/1", "/messages?as=map", "/messages?history=0-0", "/-/", "/messages/no"] {
        let answer = server.get(target);
        assert!(httpdate::parse_http_date(answer.needs("Date")).is_ok());
        if answer.status == 200 && target != "/-/" {
            assert_eq!(answer.needs("Vary"), "Accept", "{target}");
        }
    }
}
