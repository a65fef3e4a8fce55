//! Bad input: the right answer, nothing changed, and the server goes on. Where the request wasn't read whole, the answer
//! still arrives, and then the connection is closed without a reset.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::kit::{JSON, JSON_PATCH, Server};

/// Sends bytes on a connection of their own; expects a problem of this status and then the end of the connection.
#[track_caller]
fn refused(server: &Server, bytes: impl AsRef<[u8]>, status: u16) {
    let mut client = server.connect();
    client.send_some(&bytes);
    let answer = client.answer("GET");
    assert_eq!(answer.needs("Connection"), "close");
    answer.problem(status);
    client.expect_closed();
}

#[test]
fn bodies_over_a_mebibyte_are_refused_before_they_are_read() {
    let server = Server::start();
    let head = "PUT /messages/1 HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n";
    refused(&server, format!("{head}Content-Length: 1048577\r\n\r\n"), 413);
    // That isn't a number that a length can be.
    refused(&server, format!("{head}Content-Length: 99999999999999999999\r\n\r\n"), 400);
    // All of it is sent, more than sockets hold: the answer arrives nevertheless.
    let body = "x".repeat(3 << 20);
    refused(&server, format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()), 413);
    // Chunks have no length before they come.
    let chunk = format!("40000\r\n{}\r\n", "x".repeat(0x40000));
    refused(&server, format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(8)), 413);
    refused(&server, format!("{head}Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n"), 413);
    server.get("/messages/1").problem(404);
    server.check_alive();
}

#[test]
fn heads_have_bounds() {
    let server = Server::start();
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    refused(&server, format!("GET /messages HTTP/1.1\r\nHost: t\r\n{}\r\n", fields(100)), 431);
    refused(&server, format!("GET /messages HTTP/1.1\r\nHost: t\r\n{}\r\n", fields(5_000)), 431);
    refused(&server, format!("GET /messages HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "y".repeat(16 * 1024)), 431);
    refused(&server, format!("GET /messages HTTP/1.1\r\nHost: t\r\nX: {}", "y".repeat(1 << 20)), 431);
    refused(&server, format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "a".repeat(9_000)), 414);
    let mut client = server.connect();
    client.send(format!("GET /messages HTTP/1.1\r\nHost: t\r\n{}\r\n", fields(99)));
    client.answer("GET").expect(200);
    client.send(format!("GET /messages HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "y".repeat(15 * 1024)));
    client.answer("GET").expect(200);
    server.check_alive();
}

#[test]
fn http_that_can_be_read_in_two_ways_is_refused() {
    let server = Server::start();
    let before = server.put("/messages/1", "{}").expect(201).position().to_owned();
    let put = "PUT /messages/1 HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n";
    for rest in [
        "Content-Length: 7\r\nContent-Length: 2\r\n\r\n{\"a\":1}",
        "Content-Length: 7, 2\r\n\r\n{\"a\":1}",
        "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
        "Content-Length : 7\r\n\r\n{\"a\":1}",
        "Content-Length: +7\r\n\r\n{\"a\":1}",
        "Content-Length: -7\r\n\r\n{\"a\":1}",
        "Content-Length: 0x7\r\n\r\n{\"a\":1}",
        "Content-Length:\r\n\r\n",
        "Content-Length: 7\r\nX: a\r\n b\r\n\r\n{\"a\":1}",
        " X: a\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
        "X: a\rb\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
        "X: a\nContent-Length: 7\r\n\r\n{\"a\":1}",
        "X: a\0\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
        "Host: other\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
        "no colon\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
        "Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n7\n{\"a\":1}\n0\n\n",
        "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}xx0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-7\r\n{\"a\":1}\r\n0\r\n\r\n",
    ] {
        let mut client = server.connect();
        client.send(format!("{put}{rest}"));
        let answer = client.answer("PUT").expect_one_of(&[400, 501]);
        assert_eq!(answer.needs("Connection"), "close", "{rest:?}");
        assert_eq!(answer.needs("Content-Type"), "application/problem+json");
        client.expect_closed();
    }
    for bytes in [
        "GET /messages HTTP/1.1\r\n\r\n",
        "GET messages HTTP/1.1\r\nHost: t\r\n\r\n",
        "GET /messages#x HTTP/1.1\r\nHost: t\r\n\r\n",
        "GET  /messages HTTP/1.1\r\nHost: t\r\n\r\n",
        "GET /messages\r\nHost: t\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: t\r\n\r\n",
        "G<T /messages HTTP/1.1\r\nHost: t\r\n\r\n",
        "\r\n\r\n\r\n\r\n\r\nGET /messages HTTP/1.1\r\nHost: t\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
        "GET /m\u{e9} HTTP/1.1\r\nHost: t\r\n\r\n",
    ] {
        refused(&server, bytes, 400);
    }
    assert_eq!(server.get("/messages/1").position(), before);
    server.check_alive();
}

#[test]
fn what_follows_a_refused_request_is_not_read_as_one() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(
        "PUT /messages/1 HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\nContent-Length: 60\r\n\r\n\
         DELETE /messages/2 HTTP/1.1\r\nHost: t\r\n\r\nPUT /messages/3 HTTP/1.1\r\nHost: t\r\n\r\n",
    );
    client.answer("PUT").problem(415);
    client.expect_closed();
    assert_eq!(server.json("/messages"), json!({"messages": []}));
}

#[test]
fn a_request_that_is_not_whole_in_10_s_is_408() {
    let server = Server::start();
    let began = Instant::now();
    let mut head = server.connect();
    head.send("GET /messages HTTP/1.1\r\nHo");
    let mut body = server.connect();
    body.send(
        "PUT /messages/1 HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"a\":",
    );
    let mut drip = server.connect();
    drip.socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
    drip.send("GET /messages HTTP/1.1\r\n");
    while began.elapsed() < Duration::from_secs(8) {
        drip.send("X: y\r\n");
        // Slow on purpose: a field now and then earns no more time.
        std::thread::sleep(Duration::from_millis(500));
    }
    drip.socket.set_read_timeout(Some(crate::kit::PATIENCE)).expect("a socket");
    for client in [&mut head, &mut body, &mut drip] {
        let answer = client.answer("GET");
        let waited = began.elapsed().as_secs_f64();
        assert!((9.5..14.0).contains(&waited), "after {waited} s");
        assert_eq!(answer.needs("Connection"), "close");
        answer.problem(408);
        client.expect_closed();
    }
    server.get("/messages/1").problem(404);
}

#[test]
fn a_body_that_ends_early_changes_nothing() {
    let server = Server::start();
    for rest in ["Content-Length: 10\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"] {
        let mut client = server.connect();
        client.send(format!("PUT /messages/1 HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n{rest}"));
        client.socket.shutdown(std::net::Shutdown::Write).expect("a socket");
        client.socket.set_read_timeout(Some(crate::kit::PATIENCE)).expect("a socket");
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut client.socket, &mut answer).expect("a clean end");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    server.get("/messages/1").problem(404);
    server.check_alive();
}

#[test]
fn a_patch_that_doubles_thirty_times_is_422_quickly() {
    let server = Server::start();
    let before = server.put("/messages/1", r#"{"a":"xxxxxxxxxxxxxxxx"}"#).expect(201);
    let mut operations = vec![json!({"op": "add", "path": "/b", "value": ["0123456789"]})];
    for _ in 0..30 {
        operations.push(json!({"op": "copy", "from": "/b", "path": "/b/-"}));
    }
    let began = Instant::now();
    server.ask("PATCH", "/messages/1", &[JSON_PATCH], &json!(operations).to_string()).problem(422);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // Much work that leaves nothing behind is bounded too.
    let large = format!(r#"{{"t":{:?}}}"#, "x".repeat(400_000));
    server.put("/messages/2", &large).expect(201);
    let mut operations = Vec::new();
    for _ in 0..450 {
        operations.push(json!({"op": "copy", "from": "/t", "path": "/u"}));
        operations.push(json!({"op": "remove", "path": "/u"}));
    }
    let began = Instant::now();
    server.ask("PATCH", "/messages/2", &[JSON_PATCH], &json!(operations).to_string()).problem(422);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let after = server.get("/messages/1").expect(200);
    assert_eq!(after.body, before.body);
    assert_eq!(
        server.ask("DELETE", "/messages/1", &[], "").expect(204).position().split_once('-').expect("a position").1,
        "3"
    );
}

#[test]
fn followers_requests_may_be_bad_too() {
    let server = Server::start();
    refused(&server, "SUBSCRIBE /messages HTTP/1.1\r\nHost: t\r\nX : y\r\n\r\n", 400);
    server.ask("SUBSCRIBE", "/messages/..", &[], "").problem(400);
    // A body of a follower is unasked input at most.
    let mut client = server.connect();
    client.send("SUBSCRIBE /messages HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello");
    let mut follower = crate::kit::Follower::on(client.socket);
    follower.opening();
    server.put("/messages/1", "{}").expect(201);
    follower.patch();
}

#[test]
fn many_connections_that_say_nothing_keep_nobody_out() {
    let server = Server::start();
    let idle: Vec<_> = (0..300).map(|_| server.connect()).collect();
    server.check_alive();
    drop(idle);
    let mut torn: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for (index, client) in torn.iter_mut().enumerate() {
        client.send(&b"PUT /messages/1 HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{"[..index % 59]);
    }
    drop(torn);
    server.check_alive();
    server.ask("PUT", "/messages/1", &[JSON], "{}").expect(201);
}
