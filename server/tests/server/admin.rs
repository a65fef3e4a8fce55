//! The admin listener: what it says of the server, and who may listen where.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::kit::{Client, Ended, Follower, JSON, Origin, Server, connect_narrow, request, split, wait_for};

const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

fn start(arguments: &[&str]) -> Server {
    Server::with(&[&ADMIN, arguments].concat())
}

fn get(server: &Server, target: &str) -> Value {
    server.admin().ask("GET", target, &[], "").expect(200).json()
}

/// The samples by name and labels, as they are written, after a look at the form.
fn metrics(server: &Server) -> BTreeMap<String, f64> {
    let answer = server.admin().ask("GET", "/metrics", &[], "").expect(200);
    assert_eq!(answer.needs("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text();
    let mut kinds = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, kind) = described.split_once(' ').expect("a kind");
            assert_eq!(kinds.insert(name.to_owned(), kind.to_owned()), None, "{name} is described once");
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            let name = sample.split('{').next().expect("a name");
            let kind = kinds.get(name).unwrap_or_else(|| panic!("{name} wasn't described"));
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
            let value = value.parse().unwrap_or_else(|_| panic!("no number in {line}"));
            assert_eq!(samples.insert(sample.to_owned(), value), None, "{sample} comes once");
        }
    }
    assert!(text.ends_with('\n') && text.matches("# HELP ").count() == kinds.len());
    samples
}

#[test]
fn its_urls() {
    let server = start(&[]);
    let mut client = server.admin();
    let index = client.ask("GET", "/", &[], "").expect(200);
    for target in ["/metrics", "/streams", "/config", "/health/live", "/health/ready"] {
        assert!(index.text().contains(target));
        let whole = client.ask("GET", target, &[], "").expect(200);
        assert_eq!(whole.needs("Cache-Control"), "no-store");
        let head = client.ask("HEAD", target, &[], "").expect(200);
        assert_eq!(head.needs("Content-Type"), whole.needs("Content-Type"));
        assert_eq!(client.ask("OPTIONS", target, &[], "").expect(204).needs("Allow"), "GET, HEAD, OPTIONS");
        for method in ["POST", "PUT", "PATCH", "DELETE", "BREW"] {
            let answer = client.ask(method, target, &[], "");
            assert_eq!(answer.needs("Allow"), "GET, HEAD, OPTIONS");
            answer.problem(405);
        }
    }
    // What the server serves isn't here, and what is here isn't there.
    server.put("/messages/1", "{}").expect(201);
    for target in ["/messages", "/messages/1", "/-/", "/-/events?topic=/messages", "/streams/", "/streams/a/b", "/x"] {
        client.ask("GET", target, &[("Accept", "text/event-stream")], "").expect_one_of(&[400, 404]);
    }
    client.ask("SUBSCRIBE", "/streams", &[], "").problem(405);
    server.get("/metrics").expect(200).json(); // A stream that nobody has written.
    assert!(!Client::connect(server.address()).ask("GET", "/config", &[], "").text().contains("durability"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    client.answer("GET").problem(400);
}

#[test]
fn streams_as_they_are() {
    let server = start(&["--cores", "2", "--segment-bytes", "4096", "--checkpoint-bytes", "1"]);
    assert_eq!(get(&server, "/streams"), json!({"streams": []}));
    let mut client = server.connect();
    for n in 0..100 {
        client.ask("PUT", &format!("/a/{}", n % 10), &[JSON], &json!({"n": n}).to_string()).expect_one_of(&[200, 201]);
    }
    client.ask("PUT", "/a/1/b/1", &[JSON], "{}").expect(201);
    client.ask("DELETE", "/a/2", &[], "").expect(204);
    let last = client.ask("PUT", "/%22b%22/1", &[JSON], "{}").expect(201).position().to_owned();
    let epoch = split(client.ask("GET", "/a", &[], "").position()).0.to_owned();
    let mut followers: Vec<Follower> =
        ["/a", "/a", "/a/1", "/a/1/b", "/-/events?topic=/a&topic=/%22b%22", "/nobody"].map(|t| server.follow(t)).into();
    followers.iter_mut().for_each(|follower| drop(follower.opening()));

    let all = wait_for("a checkpoint, and all seats", || {
        let all = get(&server, "/streams");
        let a = &all["streams"][1];
        (a["checkpoint"].is_string() && a["listeners"] == 5).then_some(all)
    });
    assert_eq!(all["streams"].as_array().map(Vec::len), Some(2), "what nobody has written isn't there: {all}");
    let [b, a] = [0, 1].map(|at| &all["streams"][at]);
    assert_eq!(
        (&b["name"], &b["position"], &b["listeners"], &b["documents"]),
        (&json!("\"b\""), &json!(last), &json!(1), &json!(1))
    );
    assert_eq!(
        (&a["name"], &a["position"], &a["documents"]),
        (&json!("a"), &json!(format!("{epoch}-102")), &json!(10))
    );
    assert_eq!(
        (&a["earliest"], &a["lag_bytes_max"], &a["stalled"]),
        (&json!(format!("{epoch}-0")), &json!(0), &json!(0))
    );
    assert_eq!(a["failure"], Value::Null);
    let checkpoint = split(a["checkpoint"].as_str().expect("a position"));
    assert!(checkpoint.0 == epoch && (1..=102).contains(&checkpoint.1), "{a}");
    assert!(a["earliest_ms"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000), "{a}");
    assert_eq!(a["segments"].as_u64(), Some(server.segments("a").len() as u64));
    let bytes: u64 = server.segments("a").iter().map(|file| file.metadata().expect("a file").len()).sum();
    assert_eq!(a["log_bytes"].as_u64(), Some(bytes));
    assert!(a["document_bytes"].as_u64().is_some_and(|bytes| bytes > 10 * 100), "{a}");
    assert_eq!(&get(&server, "/streams/a"), a);
    assert_eq!(&get(&server, "/streams/%22b%22"), b);
    for (name, status) in [("nobody", 404), ("c", 404), ("..", 400), ("%2e%2e", 400)] {
        server.admin().ask("GET", &format!("/streams/{name}"), &[], "").problem(status);
    }
    followers.clear();
    wait_for("the seats to be free", || (get(&server, "/streams/a")["listeners"] == 0).then_some(()));
}

#[test]
fn who_stalls_lags() {
    let server = start(&["--cores", "1"]);
    let first = server.put("/a/1", "{}").expect(201);
    let mut client = Client::on(connect_narrow(server.address()));
    client.send(request("SUBSCRIBE", "/a", &[("Last-Event-ID", first.position())], b""));
    wait_for("a seat", || (get(&server, "/streams/a")["listeners"] == 1).then_some(()));
    let body = json!({"t": "x".repeat(1_000_000)}).to_string();
    let mut written = 0;
    let lagging = wait_for("a full socket", || {
        let n = written % 2;
        server.put(&format!("/a/{n}"), &body.replacen('x', &written.to_string(), 1)).expect_one_of(&[200, 201]);
        written += 1;
        let stream = get(&server, "/streams/a");
        (stream["stalled"] == 1).then_some(stream)
    });
    assert!(lagging["lag_bytes_max"].as_u64().is_some_and(|lag| lag > 0), "{lagging}");
    let samples = metrics(&server);
    assert_eq!(samples["fantail_seats_stalled"], 1.0);
    assert!(samples["fantail_stalls_total"] >= 1.0);
    let mut follower = Follower::on(client.socket);
    follower.opening();
    for _ in 0..written {
        follower.patch();
    }
    let last = wait_for("the reader to be there", || {
        let stream = get(&server, "/streams/a");
        (stream["stalled"] == 0 && stream["lag_bytes_max"] == 0).then_some(stream)
    });
    let sent = metrics(&server)["fantail_sent_bytes_total"];
    // The first event was before its cursor.
    let before = last["log_bytes"].as_f64().expect("a number") - sent;
    assert!((50.0..200.0).contains(&before), "all was sent once, but the first event: {before} bytes less");
}

#[test]
fn metrics_tell_of_origins() {
    assert!(!metrics(&start(&[])).keys().any(|name| name.contains("origin")));
    let one = Origin::start(|peer| {
        while let Some(asked) = peer.asked()? {
            if asked.line.starts_with("GET /fail ") {
                return Ok(());
            }
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
        Ok(())
    });
    // It is bound and doesn't listen: nobody else does.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let none = format!("http://{}", socket.local_addr().ok().and_then(|at| at.as_socket()).expect("an address"));
    let server = start(&["--cores", "1", "--origin", &one.url(), "--origin", &none]);
    let mut client = server.connect();
    for _ in 0..4 {
        client.ask("GET", "/", &[], "").expect(200);
    }
    let of = |samples: &BTreeMap<String, f64>, name: &str, origin: &str, rest: &str| {
        samples[&format!("fantail_origin_{name}{{origin=\"{origin}\"{rest}}}")]
    };
    // A connection rests only after its client has the answer.
    let samples = wait_for("a connection at rest", || {
        let samples = metrics(&server);
        (of(&samples, "connections_resting", &one.url(), "") == 1.0).then_some(samples)
    });
    for (name, rest, well, ill) in [
        ("requests_total", "", 4.0, 0.0),
        ("failures_total", ",kind=\"connect\"", 0.0, 1.0),
        ("failures_total", ",kind=\"answer\"", 0.0, 0.0),
        ("failures_total", ",kind=\"health\"", 0.0, 0.0),
        ("connections", "", 1.0, 0.0),
        ("out", "", 0.0, 1.0),
    ] {
        assert_eq!(of(&samples, name, &one.url(), rest), well, "{name}{rest}");
        assert_eq!(of(&samples, name, &none, rest), ill, "{name}{rest}");
    }
    client.ask("POST", "/", &[], "x").expect(200);
    client.ask("GET", "/fail", &[], "").problem(502);
    assert!(of(&metrics(&server), "failures_total", &one.url(), ",kind=\"answer\"") >= 1.0);
}

#[test]
fn metrics_count_what_was_done() {
    let server = start(&["--cores", "2"]);
    let before = metrics(&server);
    assert_eq!((before["fantail_streams"], before["fantail_events_total"], before["fantail_seats"]), (0.0, 0.0, 0.0));
    assert_eq!(before[&format!("fantail_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))], 1.0);
    let mut client = server.connect();
    for n in 0..20 {
        client.ask("PUT", &format!("/a/{n}"), &[JSON], "{}").expect(201);
        client.ask("PUT", &format!("/b%5C%22/{n}"), &[JSON], "{}").expect(201);
    }
    client.ask("PUT", "/a/1", &[JSON], "{}").expect(200); // Changes nothing.
    client.ask("GET", "/a/none", &[], "").expect(404);
    client.ask("DELETE", "/a/0", &[], "").expect(204);
    let mut follower = server.follow("/a?from=earliest");
    follower.opening();
    for _ in 0..21 {
        follower.patch();
    }
    let after = metrics(&server);
    let grown = |name: &str| after[name] - before[name];
    assert_eq!(grown("fantail_events_total"), 41.0);
    assert_eq!((grown("fantail_groups_total"), grown("fantail_syncs_total")), (41.0, 41.0), "one awaited the other");
    assert_eq!(grown("fantail_log_failures_total"), 0.0);
    assert_eq!(grown("fantail_connections_total"), 2.0);
    assert_eq!(grown("fantail_requests_total{code=\"2xx\"}"), 41.0 + 1.0 + 1.0 + 1.0, "with the first scrape");
    assert_eq!(grown("fantail_requests_total{code=\"4xx\"}"), 1.0);
    assert_eq!((grown("fantail_seats"), grown("fantail_seatings_total")), (1.0, 1.0));
    assert!(grown("fantail_sends_total") >= 1.0);
    let log = after["fantail_stream_log_bytes{stream=\"a\"}"];
    assert_eq!(grown("fantail_sent_bytes_total"), log);
    for (name, a, b) in [
        ("sequence", 21.0, 20.0),
        ("earliest_sequence", 0.0, 0.0),
        ("segments", 1.0, 1.0),
        ("documents", 19.0, 20.0),
        ("listeners", 1.0, 0.0),
        ("failed", 0.0, 0.0),
    ] {
        assert_eq!(after[&format!("fantail_stream_{name}{{stream=\"a\"}}")], a, "{name}");
        assert_eq!(after[&format!("fantail_stream_{name}{{stream=\"b\\\\\\\"\"}}")], b, "{name}");
    }
    let times =
        ["a", "b\\\\\\\""].map(|s| after[&format!("fantail_stream_earliest_timestamp_seconds{{stream=\"{s}\"}}")]);
    assert!(times.iter().all(|time| *time > 1_700_000_000.0));
    let documents = ["a", "b\\\\\\\""].map(|s| after[&format!("fantail_stream_document_bytes{{stream=\"{s}\"}}")]);
    assert_eq!(after["fantail_document_bytes"], documents.iter().sum::<f64>());
    assert!(after["fantail_document_bytes_max"] > after["fantail_document_bytes"]);
    assert!(after["process_resident_memory_bytes"] > 1e6 && after["fantail_uptime_seconds"] > 0.0);
    assert_eq!(after["fantail_cores"], 2.0);
    drop(follower);
    wait_for("a departure", || (metrics(&server)["fantail_departures_total"] == 1.0).then_some(()));
}

#[test]
fn a_stream_that_failed_says_why() {
    let mut server = Server::to_be_started(&ADMIN);
    server.set_file_kib_max(Some(64));
    server.start_again();
    server.put("/a/1", "{}").expect(201);
    let body = json!({"t": "x".repeat(100_000)}).to_string();
    server.put("/a/2", &body).problem(503);
    let stream = get(&server, "/streams/a");
    assert!(stream["failure"].as_str().is_some_and(|reason| reason.contains("can't be written")), "{stream}");
    assert_eq!((&stream["documents"], split(stream["position"].as_str().expect("a position")).1), (&json!(1), 1));
    let samples = metrics(&server);
    assert_eq!(samples["fantail_stream_failed{stream=\"a\"}"], 1.0);
    assert_eq!(samples["fantail_log_failures_total"], 1.0);
    assert_eq!(samples["fantail_requests_total{code=\"5xx\"}"], 1.0);
}

#[test]
fn what_is_in_force() {
    let arguments =
        ["--cores", "2", "--durability", "flush", "--memory", "7", "--retain-age", "1h", "--retain-bytes", "off"];
    let server = start(&arguments);
    let config = get(&server, "/config");
    assert_eq!(config["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(config["listen"], server.address().to_string());
    let admin = server.admin().socket.peer_addr().expect("it is connected");
    assert_eq!(config["admin"], admin.to_string());
    assert_eq!(config["data"], server.data().to_string_lossy().into_owned());
    assert_eq!((&config["cores"], &config["durability"]), (&json!(2), &json!("flush")));
    assert_eq!((&config["memory_bytes"], &config["disconnect"]), (&json!(7 << 20), &json!("instant")));
    assert_eq!(
        (&config["retain_age_ms"], &config["retain_bytes"], &config["retain_events"]),
        (&json!(3_600_000), &Value::Null, &Value::Null)
    );
    assert!(config["segment_bytes"].is_u64() && config["max_connections_per_core"].is_u64());
}

#[test]
fn a_stream_is_deleted() {
    let server = start(&[]);
    for n in 0..10 {
        server.put(&format!("/a/{n}"), "{}").expect(201);
    }
    let first = server.get("/a").position().to_owned();
    let mut follower = server.follow("/a");
    follower.opening();
    let mut admin = server.admin();
    let allow = admin.ask("OPTIONS", "/streams/a", &[], "").expect(204);
    assert_eq!(allow.needs("Allow"), "GET, HEAD, DELETE, OPTIONS");
    admin.ask("DELETE", "/streams/none", &[], "").problem(404);
    admin.ask("DELETE", "/streams/a", &[], "").expect(204);
    admin.ask("DELETE", "/streams/a", &[], "").problem(404);
    admin.ask("GET", "/streams/a", &[], "").problem(404);
    assert_eq!(server.json("/a"), json!({"a": []}));
    follower.expect_gone();
    let again = server.put("/a/1", "{}").expect(201);
    assert_eq!(split(again.position()).1, 1);
    assert_ne!(split(again.position()).0, split(&first).0);
    let block = server.resume("/a", &first).next();
    assert_eq!(block.event, "reset", "{}", block.raw);
}

#[test]
fn it_answers_when_the_server_is_full() {
    let server = start(&["--cores", "1", "--max-connections", "1"]);
    let mut follower = server.follow("/a");
    follower.opening();
    wait_for("a seat", || (metrics(&server)["fantail_seats"] == 1.0).then_some(()));
    server.get("/a").problem(503);
    let samples = metrics(&server);
    assert!(samples["fantail_connections_turned_away_total"] >= 1.0);
    // It has few conversations at once; whoever comes later waits for one of them to end.
    let mut clients: Vec<Client> = (0..16).map(|_| server.admin()).collect();
    clients.iter_mut().for_each(|client| drop(client.ask("GET", "/health/live", &[], "").expect(200)));
    let mut late = server.admin();
    late.send(request("GET", "/health/ready", &[], b""));
    clients.pop();
    late.answer("GET").expect(200);
}

#[test]
fn where_it_listens() {
    let server = Server::start();
    let (folder, taken) = (tempfile::tempdir().expect("a folder"), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let address = taken.local_addr().expect("an address").to_string();
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fantail"));
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(folder.path());
        command
    };
    // One that was asked for must be had.
    let refused = Ended::of(command().args(["--admin", &address]));
    assert_eq!(refused.code, Some(1));
    assert!(refused.errors.contains(&format!("{address} can't be listened on for --admin")), "{}", refused.errors);
    // The default needn't. If another program has it, so much the better.
    let held = TcpListener::bind("127.0.0.1:9090");
    let mut child = command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut lines = String::new();
    while !lines.ends_with("\n\n") || lines.matches("\n\n").count() < 2 {
        assert!(output.read_line(&mut lines).expect("text") > 0, "it ended: {lines}");
    }
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    let mut errors = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("text");
    assert!(errors.contains("there is no admin listener") && !lines.contains("admin:"), "{lines}{errors}");
    drop(held);
    server.check_alive();
}
