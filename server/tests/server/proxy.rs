//! What passes between a client and an origin: heads, bodies, connections.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::kit::{Client, JSON, Origin, PATIENCE, Random, Server, connect_narrow, request, wait_for};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server before one origin.
fn before(origin: &Origin) -> Server {
    Server::with(&["--origin", &origin.url()])
}

/// A server with this file.
pub(crate) fn with_routes(routes: &str) -> Server {
    let mut server = Server::to_be_started(&[]);
    let path = server.data().with_file_name("fantail.toml");
    std::fs::write(&path, routes).expect("a file");
    server.set_arguments(&["--config", path.to_str().expect("text")]);
    server.start_again();
    server
}

#[test]
fn a_request_passes_and_so_does_its_response() {
    let origin = Origin::answering(
        "HTTP/1.1 418 I'm a teapot\r\nContent-Type: text/tea\r\nDate: then\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
         Content-Length: 3\r\n\r\ntea",
    );
    let server = before(&origin);
    let mut client = server.connect();
    for _ in 0..20 {
        let answer = client.ask("BREW", "/pot%2F1?milk=no&x", &[("X-Cup", "é"), ("Accept", "text/tea")], "now");
        assert_eq!(
            answer.expect(418).head,
            "HTTP/1.1 418 I'm a teapot\r\nContent-Type: text/tea\r\nDate: then\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
             Content-Length: 3"
        );
    }
    let asked = origin.last();
    assert_eq!(asked.line, "BREW /pot%2F1?milk=no&x HTTP/1.1");
    assert_eq!((asked.all("X-Cup"), asked.all("Host")), (vec!["é"], vec!["test"]));
    assert_eq!((asked.all("Content-Length"), asked.body.as_slice()), (vec!["3"], b"now".as_slice()));
    assert_eq!((asked.all("X-Forwarded-For"), asked.all("X-Forwarded-Host")), (vec!["127.0.0.1"], vec!["test"]));
    assert!(!asked.has("Connection"));
    assert_eq!((origin.requests().len(), origin.connections()), (20, 1), "one connection serves one after the other");
}

#[test]
fn routes_part_origins_and_the_store() {
    let (api, other) = (Origin::answering(OK), Origin::answering("HTTP/1.1 204 No Content\r\n\r\n"));
    let server = with_routes(&format!(
        "[[route]]\npath = '/api'\norigin = '{}'\n\
         request-headers = {{ add = {{ X-Edge = 'yes' }}, remove = ['Cookie'] }}\n\
         response-headers = {{ add = {{ X-Via = 'edge' }} }}\n\
         [[route]]\nhost = 'other.test'\norigin = '{}'\n[[route]]\npath = '/api/own'\nembedded = true\n",
        api.url(),
        other.url()
    ));
    let mut client = server.connect();
    let answer = client.ask("GET", "/api/1", &[("Cookie", "a"), ("X-Edge", "no")], "").expect(200);
    assert_eq!((answer.text().as_str(), answer.needs("X-Via")), ("ok", "edge"));
    assert!(!api.last().has("Cookie"));
    assert_eq!(api.last().all("X-Edge"), ["no", "yes"], "what is added is added");
    client.ask("PUT", "/messages/1", &[JSON], "{}").expect(201);
    client.ask("PUT", "/api/own", &[JSON], "{}").expect(201);
    client.send("GET /messages/1 HTTP/1.1\r\nHost: other.test:80\r\n\r\n");
    client.answer("GET").expect(204);
    client.ask("GET", "/messages/1", &[], "").expect(200);
    client.ask("GET", "/apis", &[], "").expect(200);
    assert_eq!((api.requests().len(), other.requests().len()), (1, 1));
}

#[test]
fn pipelined_requests_of_both_kinds_are_answered_in_order() {
    let origin = Origin::start(|peer| {
        while let Some(asked) = peer.asked()? {
            let body = asked.line.split(' ').nth(1).expect("a target").to_owned();
            peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))?;
        }
        Ok(())
    });
    let server = with_routes(&format!("[[route]]\npath = '/api'\norigin = '{}'\n", origin.url()));
    let mut client = server.connect();
    let mut bytes = Vec::new();
    for n in 0..30 {
        bytes.extend(request("PUT", &format!("/messages/{n}"), &[JSON], b"{}"));
        bytes.extend(request("POST", &format!("/api/{n}"), &[], b"some body"));
    }
    client.send(bytes);
    for n in 0..30 {
        assert_eq!(client.answer("PUT").expect(201).json()["id"], n.to_string());
        assert_eq!(client.answer("POST").expect(200).text(), format!("/api/{n}"));
    }
    assert_eq!(origin.connections(), 1);
}

/// What a client gets of an origin's answer.
#[track_caller]
fn passed(answer: &'static str, method: &str) -> (String, Vec<u8>) {
    let origin = Origin::start(move |peer| {
        peer.asked()?;
        // In three pieces, so that nothing depends on what comes together.
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        peer.say(&head[..20])?;
        peer.say(format!("{}\r\n\r\n", &head[20..]))?;
        peer.say(body)
    });
    let server = before(&origin);
    let answer = server.connect().ask(method, "/", &[], "");
    (answer.head, answer.body)
}

#[test]
fn bodies_are_framed_anew() {
    for (given, method, fields, body) in [
        ("HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\n\r\nhello", "GET", "\r\nContent-Length: 5", "hello"),
        (
            "HTTP/1.1 200 OK\r\nDate: d\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nT: t\r\n\r\n",
            "GET",
            "\r\nTransfer-Encoding: chunked",
            "hello",
        ),
        ("HTTP/1.1 200 OK\r\nDate: d\r\n\r\nhello", "GET", "\r\nTransfer-Encoding: chunked", "hello"),
        ("HTTP/1.0 200 OK\r\nDate: d\r\nX: y\r\n\r\nhello", "POST", "\r\nX: y\r\nTransfer-Encoding: chunked", "hello"),
        ("HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 0\r\n\r\n", "GET", "\r\nContent-Length: 0", ""),
        ("HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\n\r\n", "HEAD", "\r\nContent-Length: 5", ""),
        ("HTTP/1.1 204 OK\r\nDate: d\r\nContent-Length: 5\r\n\r\n", "DELETE", "", ""),
        ("HTTP/1.1 304 OK\r\nDate: d\r\nContent-Length: 5\r\n\r\n", "GET", "\r\nContent-Length: 5", ""),
    ] {
        let (head, came) = passed(given, method);
        assert_eq!(head, format!("{}\r\nDate: d{fields}", given.split("\r\n").next().unwrap().replace("/1.0", "/1.1")));
        assert_eq!(came, body.as_bytes(), "{given}");
    }
}

#[test]
fn clients_of_http_1_0_get_no_chunks_and_are_told_what_becomes_of_the_connection() {
    let origin = Origin::start(|peer| {
        while let Some(asked) = peer.asked()? {
            assert!(!asked.has("Connection") && asked.line.ends_with("HTTP/1.1"), "{asked:?}");
            let is_chunked = asked.line.contains("/chunks");
            peer.say("HTTP/1.1 102 Processing\r\n\r\n")?;
            match is_chunked {
                true => {
                    peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")?
                }
                false => peer.say(OK)?,
            }
        }
        Ok(())
    });
    let server = before(&origin);
    let mut client = server.connect();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer("GET").expect(200);
    assert_eq!((answer.needs("Connection"), answer.text().as_str()), ("keep-alive", "ok"));
    assert_eq!(origin.last().all("Host"), [origin.address().to_string()]);
    client.send("GET /chunks HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer("GET").expect(200);
    assert_eq!((answer.needs("Connection"), answer.text().as_str()), ("close", "hello"));
    client.expect_closed();
}

#[test]
fn interim_responses_pass() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head()? {
            peer.say("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")?;
            if head.has("Expect") {
                peer.say("HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let body = peer.body(&head)?;
            peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()))?;
            peer.say(body)?;
        }
        Ok(())
    });
    let server = before(&origin);
    let mut client = server.connect();
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\nExpect: 100-continue\r\n\r\n"));
        assert_eq!(client.answer("POST").expect(103).needs("Link"), "</a.css>");
        client.answer("POST").expect(100);
        client.send(if framing.ends_with('5') { "hello" } else { "5\r\nhello\r\n0\r\n\r\n" });
        assert_eq!(client.answer("POST").expect(200).text(), "hello");
    }
    // A client that doesn't wait for it isn't told.
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client.answer("GET").expect(103);
    client.answer("GET").expect(200);
}

#[test]
fn a_client_that_expects_more_than_it_gets_is_told_at_once() {
    let origin = Origin::start(|peer| {
        peer.head()?;
        peer.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")?;
        peer.gone();
        Ok(())
    });
    let server = before(&origin);
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.answer("POST").expect(413);
    assert_eq!((answer.needs("Connection"), answer.text().as_str()), ("close", "no"));
    // Nobody knows whether it sends its body nevertheless.
    client.send_some(vec![b'x'; 1 << 20]);
    client.expect_closed();
}

/// Bodies of many megabytes, as an upload that is echoed while it comes.
fn check_echo(framing: &str, wire: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) {
    const BYTES: usize = 24 << 20;
    let origin = Origin::start(|peer| {
        let head = peer.head()?.expect("a request");
        peer.say("HTTP/1.1 200 OK\r\n\r\n")?;
        // What comes goes back as it is, the chunks' lines included.
        let mut left =
            head.all("Content-Length").first().map_or(usize::MAX, |length| length.parse().expect("a length"));
        let mut bytes = vec![0; 64 * 1024];
        while left > 0 {
            let count = peer.read(&mut bytes)?;
            peer.say(&bytes[..count])?;
            left -= count;
            if head.has("Transfer-Encoding") && bytes[..count].ends_with(b"0\r\n\r\n") {
                break;
            }
        }
        Ok(())
    });
    let server = before(&origin);
    let mut random = Random::seeded();
    let body: Vec<u8> = (0..BYTES / 8).flat_map(|_| (random.next() | 0x8080_8080_8080_8080).to_le_bytes()).collect();
    let sent = body.clone();
    let mut client = server.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n"));
    let mut socket = client.socket.try_clone().expect("a socket");
    let sender = std::thread::spawn(move || socket.write_all(&wire(&sent)).expect("the server reads"));
    let answer = client.answer("POST").expect(200);
    sender.join().expect("a thread");
    let came = match framing.starts_with("Content") {
        true => answer.body,
        false => unchunked(&answer.body),
    };
    assert!(came == body, "{} bytes came back of {BYTES}", came.len());
}

fn unchunked(mut wire: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = wire.windows(2).position(|window| window == b"\r\n").expect("a line");
        let size = usize::from_str_radix(str::from_utf8(&wire[..end]).expect("text"), 16).expect("a size");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&wire[end + 2..end + 2 + size]);
        wire = &wire[end + 2 + size + 2..];
    }
}

#[test]
fn a_body_larger_than_any_document_streams_both_ways_at_once() {
    check_echo(&format!("Content-Length: {}", 24 << 20), <[u8]>::to_vec);
}

#[test]
fn so_does_one_in_chunks() {
    check_echo("Transfer-Encoding: chunked", |body| {
        let mut wire = Vec::new();
        for chunk in body.chunks(100_000) {
            wire.extend(format!("{:X};extension\r\n", chunk.len()).into_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
        wire
    });
}

#[test]
fn a_slow_client_slows_the_origin() {
    const BYTES: usize = 200 << 20;
    let said = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&said);
    let origin = Origin::start(move |peer| {
        peer.asked()?;
        peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"))?;
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..BYTES / piece.len() {
            peer.say(&piece)?;
            count.fetch_add(piece.len(), Ordering::SeqCst);
        }
        Ok(())
    });
    let server = before(&origin);
    let mut socket = connect_narrow(server.address());
    socket.write_all(&request("GET", "/", &[], b"")).expect("the server reads");
    // It is said as long as anybody takes it; that it isn't any more shows in that nothing changes.
    let mut before = usize::MAX;
    let held = wait_for("the origin to be held up", || {
        let now = said.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        (std::mem::replace(&mut before, now) == now && now > 0).then_some(now)
    });
    assert!(held < 32 << 20, "{held} bytes are on their way");
    let mut bytes = vec![0; 1 << 20];
    let mut came = 0;
    while came < BYTES {
        let count = socket.read(&mut bytes).expect("it goes on");
        assert!(count > 0, "it ended after {came} bytes");
        came += count;
    }
}

#[test]
fn a_client_that_leaves_takes_its_request_with_it() {
    let (tell, told) = mpsc::channel();
    let origin = Origin::start(move |peer| {
        let asked = peer.asked()?.expect("a request");
        if asked.line.contains("/body") {
            peer.say("HTTP/1.1 200 OK\r\n\r\nsome of it")?;
        }
        peer.gone();
        tell.send(asked.line).expect("the test waits");
        Ok(())
    });
    let server = before(&origin);
    for target in ["/head", "/body"] {
        let mut client = server.connect();
        client.send(request("GET", target, &[], b""));
        wait_for("the request", || origin.requests().pop().filter(|asked| asked.line.contains(target)));
        drop(client);
        assert!(told.recv_timeout(PATIENCE).expect("the origin is left").contains(target));
    }
}

#[test]
fn a_client_that_leaves_in_its_body_takes_its_request_with_it() {
    let (tell, told) = mpsc::channel();
    let origin = Origin::start(move |peer| {
        let head = peer.head()?.expect("a request");
        tell.send(true).expect("the test waits");
        let is_whole = peer.body(&head).is_ok();
        tell.send(is_whole).expect("the test waits");
        Ok(())
    });
    let server = before(&origin);
    let mut client = server.connect();
    client.send("POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nsome");
    assert_eq!(told.recv_timeout(PATIENCE), Ok(true));
    drop(client);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(false));
}

#[test]
fn a_websocket_is_a_tunnel() {
    let origin = Origin::start(|peer| {
        let head = peer.head()?.expect("a request");
        assert_eq!((head.all("Upgrade"), head.all("Connection")), (vec!["websocket"], vec!["Upgrade"]));
        peer.say(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\nfirst",
            head.all("Sec-WebSocket-Key")[0]
        ))?;
        let mut bytes = [0; 1024];
        loop {
            match peer.read(&mut bytes)? {
                // The last word is said after the client has said its own.
                0 => return peer.say("bye"),
                count => peer.say(&bytes[..count])?,
            }
        }
    });
    let server = before(&origin);
    let mut client = server.connect();
    let fields = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "k")];
    let mut bytes = request("GET", "/socket", &fields, b"");
    bytes.extend_from_slice(b" early");
    client.send(bytes);
    let answer = client.answer("GET").expect(101);
    assert_eq!((answer.needs("Upgrade"), answer.needs("Connection")), ("websocket", "Upgrade"));
    assert_eq!(answer.needs("Sec-WebSocket-Accept"), "k");
    client.send(" late");
    client.socket.shutdown(std::net::Shutdown::Write).expect("a socket");
    assert_eq!(client.body_to_end().expect("it ends well"), b"first early latebye");
}

#[test]
fn grip_stays_between_the_edge_and_its_origin() {
    let origin = Origin::start(|peer| {
        while let Some(asked) = peer.asked()? {
            let names = asked.fields.iter().map(|(name, _)| name.to_ascii_lowercase());
            // What the edge says of itself.
            assert_eq!(names.filter(|name| name.starts_with("grip-")).collect::<Vec<_>>(), ["grip-feature"]);
            peer.say("HTTP/1.1 200 OK\r\nGrip-Foo: x\r\nContent-Length: 2\r\n\r\nok")?;
        }
        Ok(())
    });
    let server = before(&origin);
    let mut client = server.connect();
    let answer = client.ask("GET", "/", &[("Grip-Sig", "forged"), ("grip-last", "a; last-id=1")], "").expect(200);
    assert_eq!(answer.field("Grip-Foo"), None);
    client.ask("TRACE", "/", &[], "").problem(501);
    server.ask("CONNECT", "/", &[], "").problem(501);
}

#[test]
fn what_a_trusted_proxy_says_of_the_client_is_kept() {
    let origin = Origin::answering(OK);
    let said = [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https"), ("Forwarded", "for=192.0.2.7")];
    before(&origin).ask("GET", "/", &said, "").expect(200);
    let asked = origin.last();
    assert_eq!((asked.all("X-Forwarded-For"), asked.all("X-Forwarded-Proto")), (vec!["127.0.0.1"], vec!["http"]));
    assert_eq!(asked.all("Forwarded"), ["for=127.0.0.1;host=\"test\";proto=http"]);
    let server = Server::with(&["--origin", &origin.url(), "--forwarded", "append"]);
    server.ask("GET", "/", &said, "").expect(200);
    let asked = origin.last();
    assert_eq!(asked.all("X-Forwarded-For"), ["192.0.2.7, 127.0.0.1"]);
    assert_eq!(asked.all("X-Forwarded-Proto"), ["https"]);
    assert_eq!(asked.all("Forwarded"), ["for=192.0.2.7, for=127.0.0.1;host=\"test\";proto=http"]);
}

#[test]
fn a_stop_lets_what_passes_come_to_its_end() {
    let (tell, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let origin = Origin::start(move |peer| {
        peer.asked()?;
        told.lock().expect("one connection").recv().expect("the test says when");
        peer.say(OK)
    });
    let mut server = before(&origin);
    let mut client = server.connect();
    client.send(request("GET", "/", &[], b""));
    wait_for("the request", || origin.requests().pop());
    server.signal(libc::SIGTERM);
    wait_for("the server to close", || Client::try_connect(server.address()).is_err().then_some(()));
    tell.send(()).expect("the origin waits");
    let answer = client.answer("GET").expect(200);
    assert_eq!((answer.text().as_str(), answer.needs("Connection")), ("ok", "close"));
    assert_eq!(server.ended(), Some(0), "{}", server.log());
}

#[test]
fn a_stop_ends_what_has_no_end() {
    let origin = Origin::start(|peer| {
        let asked = peer.asked()?.expect("a request");
        match asked.has("Upgrade") {
            true => {
                peer.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?
            }
            false => peer.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")?,
        }
        peer.gone();
        Ok(())
    });
    let mut server = before(&origin);
    let (mut stream, mut socket) = (server.connect(), server.connect());
    stream.send(request("GET", "/", &[], b""));
    socket.send(request("GET", "/", &[("Connection", "Upgrade"), ("Upgrade", "websocket")], b""));
    socket.answer("GET").expect(101);
    let reader = std::thread::spawn(move || stream.try_answer("GET"));
    wait_for("the requests", || (origin.requests().len() == 2).then_some(()));
    server.signal(libc::SIGTERM);
    assert!(reader.join().expect("a thread").is_err(), "it doesn't look whole");
    assert_eq!(socket.body_to_end().expect("it ends"), b"");
    assert_eq!(server.ended(), Some(0), "{}", server.log());
    assert!(!server.log().contains("error"), "{}", server.log());
}
