//! Many followers at once, each of which gets everything that concerns it exactly once and in order; and slow ones.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use fantail_engine::protocol::sse::Parser;
use serde_json::json;

use crate::kit::{Follower, JSON, Server, connect_narrow, split};

const FOLLOWERS: usize = 2_000;
const EVENTS: usize = 200;
const DOCUMENTS: usize = 10;

/// One of many followers: how much of the head has come, and the ids of its events.
struct Listener {
    socket: TcpStream,
    head: Option<Vec<u8>>,
    parser: Parser,
    is_seated: bool,
    seen: Vec<u64>,
}

impl Listener {
    fn start(address: SocketAddr, target: &str) -> Listener {
        let mut socket = TcpStream::connect(address).expect("the server accepts");
        socket
            .write_all(format!("SUBSCRIBE {target} HTTP/1.1\r\nHost: t\r\n\r\n").as_bytes())
            .expect("the server reads");
        socket.set_nonblocking(true).expect("a socket");
        Listener { socket, head: Some(Vec::new()), parser: Parser::new(1 << 20), is_seated: false, seen: Vec::new() }
    }

    fn read(&mut self) {
        let mut chunk = [0; 16 * 1024];
        loop {
            let count = match self.socket.read(&mut chunk) {
                Ok(0) => panic!("the server ended a stream after {} events", self.seen.len()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            };
            let mut bytes = chunk[..count].to_vec();
            if let Some(head) = &mut self.head {
                head.extend(&bytes);
                let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") else { continue };
                assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(head));
                bytes = head[end + 4..].to_vec();
                self.head = None;
            }
            let (seen, is_seated) = (&mut self.seen, &mut self.is_seated);
            let fed = self.parser.feed(&bytes, |event| match event.event {
                b"position" => *is_seated = true,
                b"patch" => {
                    let id = std::str::from_utf8(event.id.expect("an id")).expect("text");
                    seen.push(split(id).1);
                }
                other => panic!("{}", String::from_utf8_lossy(other)),
            });
            fed.expect("blocks are short");
        }
    }
}

/// Reads from whoever has something until `is_done`.
fn poll(listeners: &mut [Listener], what: &str, is_done: impl Fn(&Listener) -> bool) {
    let mut polled: Vec<_> = listeners
        .iter()
        .map(|listener| libc::pollfd { fd: listener.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut left = listeners.iter().filter(|listener| !is_done(listener)).count();
    while left > 0 {
        // SAFETY: the array lives through the call, and its length is given.
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, 1000) };
        assert!(ready >= 0 && Instant::now() < deadline, "{left} followers still wait for {what}");
        for (listener, entry) in listeners.iter_mut().zip(&polled) {
            if entry.revents != 0 {
                let was_done = is_done(listener);
                listener.read();
                left -= usize::from(!was_done && is_done(listener));
            }
        }
    }
}

/// 2,000 followers of the targets in turn get 200 events, written on several connections at once.
fn fan_out(targets: &[&str]) {
    let server = Server::start();
    let mut client = server.connect();
    for document in 0..DOCUMENTS {
        client.ask("PUT", &format!("/messages/{document}"), &[JSON], "{}").expect(201);
        client.ask("PUT", &format!("/messages/1/notes/{document}"), &[JSON], "{}").expect(201);
    }
    let mut listeners: Vec<_> =
        (0..FOLLOWERS).map(|index| Listener::start(server.address(), targets[index % targets.len()])).collect();
    poll(&mut listeners, "their first block", |listener| listener.is_seated);
    let mut written: Vec<(u64, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.connect();
                    let write = |n: usize| {
                        let document = (n * 7) % DOCUMENTS;
                        let target = match n % 2 {
                            0 => format!("/messages/{document}"),
                            _ => format!("/messages/1/notes/{document}"),
                        };
                        let body = json!({"n": n}).to_string();
                        let answer = client.ask("PUT", &target, &[JSON], &body).expect(200);
                        (split(answer.position()).1, target)
                    };
                    (thread * EVENTS / 4..(thread + 1) * EVENTS / 4).map(write).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a writer")).collect()
    });
    written.sort();
    let concerns = |topic: &str, target: &str| match topic {
        "/messages" => true,
        _ if topic.split('/').count().is_multiple_of(2) => {
            target.rsplit_once('/').is_some_and(|(collection, _)| collection == topic)
        }
        _ => target == topic,
    };
    let wanted: HashMap<&str, Vec<u64>> = targets
        .iter()
        .map(|&topic| (topic, written.iter().filter(|(_, at)| concerns(topic, at)).map(|(n, _)| *n).collect()))
        .collect();
    let counts: Vec<usize> = (0..FOLLOWERS).map(|index| wanted[targets[index % targets.len()]].len()).collect();
    for (index, count) in counts.iter().enumerate() {
        assert!(*count > 0, "{} of nothing", targets[index % targets.len()]);
    }
    let by_socket: HashMap<i32, usize> =
        listeners.iter().zip(counts).map(|(listener, count)| (listener.socket.as_raw_fd(), count)).collect();
    poll(&mut listeners, "their last event", |listener| listener.seen.len() >= by_socket[&listener.socket.as_raw_fd()]);
    // A repeat would come after the last: let one more event pass that all of them get.
    for (index, listener) in listeners.iter().enumerate() {
        assert_eq!(listener.seen, wanted[targets[index % targets.len()]], "{}", targets[index % targets.len()]);
    }
    for target in targets {
        let target = if *target == "/messages" { "/messages/0" } else { *target };
        let target = if target.split('/').count() % 2 == 0 { format!("{target}/0") } else { target.to_owned() };
        client.ask("PUT", &target, &[JSON], &json!({"end": target}).to_string()).expect(200);
    }
    let before: HashMap<i32, usize> =
        listeners.iter().map(|listener| (listener.socket.as_raw_fd(), listener.seen.len())).collect();
    poll(&mut listeners, "one more", |listener| listener.seen.len() > before[&listener.socket.as_raw_fd()]);
    let last_written = written.last().expect("events").0;
    for listener in &listeners {
        let at = before[&listener.socket.as_raw_fd()];
        assert!(listener.seen[at] > last_written, "an old event came again");
    }
}

#[test]
fn two_thousand_followers_of_a_stream() {
    fan_out(&["/messages"]);
}

#[test]
fn two_thousand_followers_of_collections_and_documents() {
    fan_out(&[
        "/messages/1/notes",
        "/messages/0",
        "/messages/4",
        "/messages/1/notes/3",
        "/messages/1/notes/9",
        "/messages",
    ]);
}

/// Followers that don't read while several MiB are written, then get every byte: the same as is on disk.
fn stall(topic: &str) {
    let server = Server::with(&["--segment-bytes", "1048576"]);
    server.put("/messages/1", "{}").expect(201);
    let mut stalled: Vec<_> = (0..3)
        .map(|_| {
            let mut socket = connect_narrow(server.address());
            socket
                .write_all(format!("SUBSCRIBE {topic} HTTP/1.1\r\nHost: t\r\n\r\n").as_bytes())
                .expect("the server reads");
            let mut follower = Follower::on(socket);
            follower.opening();
            follower
        })
        .collect();
    let mut quick = server.follow(topic);
    quick.opening();
    let text = "x".repeat(20_000);
    let mut positions = Vec::new();
    let mut client = server.connect();
    for n in 0..400 {
        let body = json!({"n": n, "t": text}).to_string();
        let target = format!("/messages/{}", [1, 1, 2][n % 3]);
        // Something else each time, so that all of it is sent.
        let body = body.replace("xxxx", &format!("{:04}", n));
        let answer = client.ask("PUT", &target, &[JSON], &body).expect_one_of(&[200, 201]);
        if topic == "/messages" || target == topic {
            positions.push(answer.position().to_owned());
            assert_eq!(quick.patch().0, positions[positions.len() - 1], "a slow one holds up nobody");
        }
    }
    let mut raw = String::new();
    for (index, follower) in stalled.iter_mut().enumerate() {
        let mut mine = String::new();
        for position in &positions {
            let block = follower.next();
            assert_eq!(block.id.as_ref(), Some(position));
            mine += &block.raw;
        }
        match index {
            0 => raw = mine,
            _ => assert!(raw == mine, "all get the same bytes"),
        }
    }
    assert!(raw.len() > 4 << 20, "{} bytes", raw.len());
    if topic == "/messages" {
        let disk: String =
            server.segments("messages").iter().map(|file| std::fs::read_to_string(file).expect("a segment")).collect();
        assert!(disk.contains(&raw), "the bytes on the socket are those on disk");
    }
    let last = client.ask("PUT", "/messages/1", &[JSON], "{}").expect(200);
    for follower in &mut stalled {
        assert_eq!(follower.patch().0, last.position(), "and live again");
    }
}

#[test]
fn a_stalled_follower_of_a_stream_gets_every_byte() {
    stall("/messages");
}

#[test]
fn a_stalled_follower_of_a_document_gets_every_byte() {
    stall("/messages/1");
}

#[test]
fn a_follower_that_stalls_in_a_snapshot_ends_at_the_map() {
    let server = Server::with(&["--checkpoint-bytes", "1", "--segment-bytes", "262144"]);
    let mut client = server.connect();
    let write = |client: &mut crate::kit::Client, round: usize| {
        for n in 0..80 {
            let body = json!({"n": n, "round": round, "t": "x".repeat(50_000)}).to_string();
            client.ask("PUT", &format!("/messages/{n}"), &[JSON], &body).expect_one_of(&[200, 201]);
        }
    };
    write(&mut client, 0);
    crate::kit::wait_for("a checkpoint", || (!server.files("messages", ".snapshot.sse").is_empty()).then_some(()));
    for target in ["/messages", "/messages/1/notes"] {
        server.put("/messages/1/notes/1", "{}").expect_one_of(&[200, 201]);
        let mut socket = connect_narrow(server.address());
        let request = format!("SUBSCRIBE {target}?from=snapshot HTTP/1.1\r\nHost: t\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("the server reads");
        let mut follower = Follower::on(socket);
        // More checkpoints come while it reads the one that it began with.
        write(&mut client, 1);
        client.ask("PUT", "/messages/1/notes/1", &[JSON], &json!({"end": target}).to_string()).expect(200);
        let (mut value, _) = follower.snapshot();
        let map = server.get(&format!("{target}?as=map")).expect(200);
        while value != map.json() {
            let (_, operations) = follower.patch();
            crate::kit::fold(&mut value, &operations.to_string());
        }
        let end = client.ask("PUT", "/messages/1/notes/1", &[JSON], "{}").expect(200);
        assert_eq!(follower.patch().0, end.position(), "and live");
    }
}

#[test]
fn followers_come_and_go_while_events_flow() {
    let server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    let mut random = crate::kit::Random::seeded();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.connect();
            for n in 0.. {
                if is_over.load(std::sync::atomic::Ordering::Acquire) {
                    break;
                }
                let body = json!({"n": n}).to_string();
                client.ask("PUT", &format!("/messages/{}", n % 3), &[JSON], &body).expect_one_of(&[200, 201]);
            }
        });
        let mut cursor = server.get("/messages").position().to_owned();
        for _ in 0..200 {
            let mut follower = server.resume("/messages", &cursor);
            assert_eq!(follower.opening(), cursor);
            for _ in 0..random.below(8) {
                let (id, _) = follower.patch();
                assert_eq!(split(&id).1, split(&cursor).1 + 1, "no gap, no repeat");
                cursor = id;
            }
        }
        is_over.store(true, std::sync::atomic::Ordering::Release);
    });
    server.check_alive();
}
