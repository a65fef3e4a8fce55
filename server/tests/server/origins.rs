//! Origins that fail, in all the ways that they do; several of them; other ways to reach one.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::kit::{Client, Origin, PATIENCE, Peer, Server, request, wait_for};
use crate::proxy::with_routes;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn before(origin: &Origin) -> Server {
    Server::with(&["--origin", &origin.url()])
}

/// An address where nobody listens: somebody did a moment ago.
fn nowhere() -> String {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    format!("http://{address}")
}

/// The problem that a client gets, twice on one connection, and its detail.
#[track_caller]
fn refused(server: &Server, status: u16) -> String {
    let mut client = server.connect();
    let mut detail = String::new();
    for _ in 0..2 {
        let problem = client.ask("GET", "/x", &[], "").problem(status);
        detail = problem["detail"].as_str().expect("text").to_owned();
    }
    client.ask("HEAD", "/x", &[], "").expect(status);
    detail
}

#[test]
fn an_origin_that_is_not_there() {
    let server = Server::with(&["--origin", &nowhere()]);
    assert!(refused(&server, 502).contains("can't be connected to"));
    let server = Server::with(&["--origin", "http://nobody.invalid"]);
    assert!(refused(&server, 502).contains("has no address"));
    // A request whose body streams is told, too.
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nsome");
    client.answer("POST").problem(502);
}

#[test]
fn an_origin_that_answers_garbage() {
    for (garbage, said) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "isn't HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "exclude each other"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "to another request"),
        ("HTTP/1.1 200 OK\r\nContent-Len", "has closed the connection"),
        ("", "has closed the connection"),
    ] {
        let origin = Origin::start(move |peer| {
            peer.asked()?;
            peer.say(garbage)
        });
        let detail = refused(&before(&origin), 502);
        assert!(detail.contains(said), "{garbage}: {detail}");
    }
}

#[test]
fn an_origin_that_hints_without_end() {
    let origin = Origin::start(|peer| {
        peer.asked()?;
        loop {
            peer.say("HTTP/1.1 102 Processing\r\n\r\n")?;
        }
    });
    let server = before(&origin);
    let mut client = server.connect();
    client.send(request("GET", "/", &[], b""));
    let statuses: Vec<_> = (0..17).map(|_| client.answer("GET").status).collect();
    assert_eq!((statuses[0], statuses[15], statuses[16]), (102, 102, 502));
}

#[test]
fn an_origin_that_never_answers() {
    let origin = Origin::start(|peer| {
        peer.gone();
        Ok(())
    });
    let server = with_routes(&format!("[[route]]\norigin = '{}'\ntimeouts = {{ response = '200ms' }}\n", origin.url()));
    assert!(refused(&server, 504).contains("in time"));
}

#[test]
fn an_origin_that_pauses_for_too_long() {
    let origin = Origin::start(|peer| {
        peer.asked()?;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
        peer.gone();
        Ok(())
    });
    let server = with_routes(&format!("[[route]]\norigin = '{}'\ntimeouts = {{ idle = '200ms' }}\n", origin.url()));
    let mut client = server.connect();
    client.send(request("GET", "/", &[], b""));
    let error = client.try_answer("GET").expect_err("the body breaks off").to_string();
    assert!(error.contains("in a body"), "{error}");
}

#[test]
fn a_body_that_breaks_off_never_looks_whole() {
    for (head, is_reset) in
        [("Content-Length: 10", false), ("Transfer-Encoding: chunked", false), ("X: until close", true)]
    {
        let origin = Origin::start(move |peer| {
            peer.asked()?;
            peer.say(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"))?;
            peer.say(if head.starts_with("Transfer") { "4\r\nhalf\r\n" } else { "half" })?;
            if is_reset {
                // What is on its way is read first, or the reset would eat it.
                wait_for("it to be read", || {
                    let mut unsent = 0i32;
                    let fd = std::os::fd::AsRawFd::as_raw_fd(peer.socket());
                    // SAFETY: a plain system call that fills an int of ours.
                    unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut unsent) };
                    (unsent == 0).then_some(())
                });
                peer.reset();
            }
            Ok(())
        });
        let server = before(&origin);
        for version in ["1.1", "1.0"] {
            let mut client = server.connect();
            client.send(format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n"));
            let error = client.try_answer("GET").expect_err("the body breaks off");
            let is_begun = ["half", "in a chunk"].iter().any(|said| error.to_string().contains(said));
            assert!(is_begun, "{head}, HTTP/{version}: {error}");
        }
    }
}

#[test]
fn a_body_that_breaks_off_before_its_request_is_whole_never_looks_whole() {
    let origin = Origin::start(|peer| {
        peer.head()?;
        let mut some = [0; 4];
        while peer.read(&mut some)? == 0 {}
        peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")?;
        peer.socket().shutdown(Shutdown::Write)?;
        peer.gone();
        Ok(())
    });
    let server = before(&origin);
    for version in ["1.1", "1.0"] {
        let mut client = server.connect();
        client.send(format!("POST / HTTP/{version}\r\nHost: h\r\nContent-Length: 100000\r\n\r\nsome"));
        assert!(client.try_answer("POST").is_err(), "HTTP/{version}");
    }
}

#[test]
fn a_client_that_takes_its_time_is_no_fault_of_the_origin() {
    let origin = Origin::answering(OK);
    let server = with_routes(&format!("[[route]]\norigin = '{}'\ntimeouts = {{ response = '50ms' }}\n", origin.url()));
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n");
    for piece in ["so", "me", "th"] {
        std::thread::sleep(Duration::from_millis(150));
        client.send(piece);
    }
    client.answer("POST").expect(200);
    assert_eq!(origin.last().body, b"someth");
}

#[test]
fn an_origin_that_has_a_request_whole_has_its_time_and_no_more() {
    let origin = Origin::start(|peer| {
        peer.gone();
        Ok(())
    });
    let server = with_routes(&format!("[[route]]\norigin = '{}'\ntimeouts = {{ response = '50ms' }}\n", origin.url()));
    let mut client = server.connect();
    client.send(request("POST", "/", &[], &[b'x'; 100_000]));
    let problem = client.answer("POST").problem(504);
    assert!(problem["detail"].as_str().expect("text").contains("in time"), "{problem}");
}

#[test]
fn a_connection_that_the_origin_has_closed_is_not_used() {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let origin = Origin::start(move |peer| {
        peer.asked()?;
        peer.say(OK)?;
        peer.socket().shutdown(Shutdown::Both)?;
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let server = Server::with(&["--origin", &origin.url(), "--cores", "1"]);
    let mut client = server.connect();
    for n in 1..=5 {
        // POST isn't repeated: it must be sent on a connection that is there.
        client.ask("POST", "/", &[], "x").expect(200);
        wait_for("the origin to close", || (closed.load(Ordering::SeqCst) == n).then_some(()));
        // Longer than a connection is trusted without a look.
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_request_is_repeated_if_it_may_be() {
    // The second request on each connection gets a reset instead of an answer, as if it had crossed the origin's goodbye.
    let origin = Origin::start(|peer| {
        peer.asked()?;
        peer.say(OK)?;
        peer.asked()?;
        peer.reset();
        Ok(())
    });
    let server = Server::with(&["--origin", &origin.url(), "--cores", "1"]);
    let mut client = server.connect();
    client.ask("GET", "/1", &[], "").expect(200);
    client.ask("GET", "/2", &[], "").expect(200);
    client.ask("GET", "/3", &[], "body").expect(200);
    client.ask("PUT", "/4", &[], "body").problem(502);
    client.ask("PUT", "/5", &[], "body").expect(200);
    client.ask("DELETE", "/6", &[], "").problem(502);
    let lines: Vec<_> =
        origin.requests().iter().map(|asked| asked.line.split(' ').nth(1).unwrap().to_owned()).collect();
    // What isn't safe may have been carried out.
    assert_eq!(lines, ["/1", "/2", "/2", "/3", "/3", "/4", "/5", "/6"]);
    assert_eq!(origin.requests()[4].body, b"body", "with its body");
}

#[test]
fn a_body_where_none_may_be_is_no_answer_to_the_next_request() {
    let (tell, told) = mpsc::channel();
    let (said, has_said) = mpsc::channel();
    let told = Mutex::new(told);
    let origin = Origin::start(move |peer| {
        while let Some(asked) = peer.asked()? {
            match asked.line.split(' ').next() {
                Some("HEAD") => peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")?,
                Some("DELETE") => peer.say("HTTP/1.1 204 No Content\r\n\r\n")?,
                _ => {
                    peer.say(OK)?;
                    continue;
                }
            }
            // Once the head has gone its way.
            told.lock().expect("one connection").recv().expect("the test says when");
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")?;
            said.send(()).expect("the test waits");
        }
        Ok(())
    });
    let server = Server::with(&["--origin", &origin.url(), "--cores", "1"]);
    let mut client = server.connect();
    for method in ["HEAD", "DELETE"] {
        client.ask(method, "/", &[], "").expect_one_of(&[200, 204]);
        tell.send(()).expect("the origin waits");
        has_said.recv_timeout(PATIENCE).expect("the origin goes on");
        assert_eq!(client.ask("GET", "/", &[], "").expect(200).text(), "ok", "after {method}");
    }
}

#[test]
fn connections_that_were_refused_leave_room_for_others() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    let server = Server::with(&["--origin", &format!("http://{address}"), "--cores", "1"]);
    let mut client = server.connect();
    // More than may be under way at once.
    for _ in 0..4_100 {
        let problem = client.ask("GET", "/", &[], "").problem(502);
        assert!(problem["detail"].as_str().expect("text").contains("can't be connected to"), "{problem}");
    }
    socket.listen(16).expect("a port of ours");
    let origin = Origin::on(socket.into(), |peer| {
        peer.asked()?;
        peer.say(OK)
    });
    client.ask("GET", "/", &[], "").expect(200);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn another_origin_is_asked_when_one_is_not_there() {
    let (one, two) = (Origin::answering(OK), Origin::answering(OK));
    let server =
        with_routes(&format!("cores = 1\n[[route]]\norigin = ['{}', '{}', '{}']\n", one.url(), nowhere(), two.url()));
    let mut client = server.connect();
    for _ in 0..30 {
        // Nothing was sent to the one that isn't there, so that this may go elsewhere.
        client.ask("POST", "/", &[], "x").expect(200);
    }
    let (one, two) = (one.requests().len(), two.requests().len());
    assert!(one >= 10 && two >= 10 && one + two == 30, "{one} and {two}");
    assert_eq!(server.log().matches("it is out").count(), 1, "{}", server.log());
}

#[test]
fn an_origin_that_fails_is_left_alone_for_a_while() {
    let failing = Origin::start(|peer| {
        peer.asked()?;
        Ok(())
    });
    let well = Origin::answering(OK);
    let server = with_routes(&format!("cores = 1\n[[route]]\norigin = ['{}', '{}']\n", failing.url(), well.url()));
    let mut client = server.connect();
    for _ in 0..30 {
        client.ask("GET", "/", &[], "").expect(200);
    }
    assert_eq!(failing.requests().len(), 3, "three failures, and it is out");
}

#[test]
fn health_is_asked_for() {
    let is_well = Arc::new(AtomicBool::new(false));
    let checks = Arc::new(AtomicUsize::new(0));
    let (well, count) = (Arc::clone(&is_well), Arc::clone(&checks));
    let ill = Origin::start(move |peer| {
        while let Some(asked) = peer.asked()? {
            if asked.line.starts_with("GET /healthz?deep ") {
                count.fetch_add(1, Ordering::SeqCst);
                match well.load(Ordering::SeqCst) {
                    true => peer.say("HTTP/1.1 204 No Content\r\n\r\n")?,
                    false => peer.say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")?,
                }
            } else {
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nill")?;
            }
        }
        Ok(())
    });
    let other = Origin::answering(OK);
    let server = with_routes(&format!(
        "cores = 1\n[[route]]\norigin = ['{}', '{}']\nhealth = {{ path = '/healthz?deep', interval = '30ms' }}\n",
        ill.url(),
        other.url()
    ));
    wait_for("a few checks", || (checks.load(Ordering::SeqCst) > 2).then_some(()));
    let mut client = server.connect();
    for _ in 0..10 {
        assert_eq!(client.ask("GET", "/", &[], "").expect(200).text(), "ok");
    }
    is_well.store(true, Ordering::SeqCst);
    wait_for("it to be asked again", || (client.ask("GET", "/", &[], "").expect(200).text() == "ill").then_some(()));
    wait_for("its word", || server.log().contains("it is well again").then_some(()));
}

#[test]
fn an_origin_that_is_unwell_stays_out_whatever_it_answers() {
    let draining = Origin::start(|peer| {
        while let Some(asked) = peer.asked()? {
            match asked.line.starts_with("GET /healthz ") {
                true => peer.say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")?,
                false => peer.say("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ndraining")?,
            }
        }
        Ok(())
    });
    let other = Origin::start(|peer| {
        while let Some(asked) = peer.asked()? {
            if asked.line.starts_with("GET /fail ") {
                return Ok(());
            }
            peer.say(OK)?;
        }
        Ok(())
    });
    let server = with_routes(&format!(
        "cores = 1\n[[route]]\norigin = ['{}', '{}']\nhealth = {{ path = '/healthz', interval = '1m' }}\n",
        draining.url(),
        other.url()
    ));
    wait_for("its word", || server.log().contains("it is out").then_some(()));
    let mut client = server.connect();
    assert_eq!(client.ask("GET", "/fail", &[], "").expect(200).text(), "draining", "nobody else is left");
    for _ in 0..10 {
        assert_eq!(client.ask("GET", "/", &[], "").expect(200).text(), "ok");
    }
}

#[test]
fn an_origin_on_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("origin.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().expect("the server connects");
        let mut peer = Peer::new(socket, Arc::default());
        while let Ok(Some(asked)) = peer.asked() {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", asked.body.len());
            peer.say(text).and_then(|()| peer.say(&asked.body)).expect("the server reads");
        }
    });
    let server = Server::with(&["--cores", "1", "--origin", &format!("unix:{}", path.display())]);
    let mut client = server.connect();
    for _ in 0..3 {
        let body = "x".repeat(100_000);
        assert_eq!(client.ask("POST", "/", &[], &body).expect(200).text(), body);
    }
}

/// An origin of TLS with the fixtures' certificate: for localhost, until 2126, by an authority whose key was thrown away.
fn start_with_tls() -> (u16, PathBuf) {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tls");
    let chain = vec![CertificateDer::from_pem_file(fixtures.join("origin.pem")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(fixtures.join("origin.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(socket) = socket else { continue };
            let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
            std::thread::spawn(move || {
                let mut peer = Peer::new(StreamOwned::new(session, socket), Arc::default());
                while let Ok(Some(asked)) = peer.asked() {
                    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", asked.body.len());
                    if peer.say(text).and_then(|()| peer.say(&asked.body)).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, fixtures.join("ca.pem"))
}

#[test]
fn an_origin_of_tls() {
    let (port, ca) = start_with_tls();
    let origin = format!("https://localhost:{port}");
    let ca = ca.to_str().expect("text");
    let server = Server::with(&["--cores", "1", "--origin", &origin, "--origin-ca", ca]);
    let mut client = server.connect();
    for bytes in [0, 10, 20_000, 3_000_000] {
        let body = "x".repeat(bytes);
        let answer = client.ask("POST", "/", &[], &body).expect(200);
        assert!(answer.text() == body, "{bytes} bytes");
    }
    // Nobody vouches for it.
    let server = Server::with(&["--origin", &origin]);
    assert!(refused(&server, 502).contains("can't be connected to"), "{}", server.log());
    // Its name is another one.
    let server = Server::with(&["--origin", &format!("https://127.0.0.1:{port}"), "--origin-ca", ca]);
    assert!(refused(&server, 502).contains("can't be connected to"), "{}", server.log());
}

#[test]
fn a_flood_of_requests_finds_its_answers() {
    let origin = Origin::start(|peer| {
        while let Some(asked) = peer.asked()? {
            let body = asked.line.split(' ').nth(1).expect("a target").repeat(200);
            peer.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))?;
        }
        Ok(())
    });
    let server = before(&origin);
    let address = server.address();
    let threads: Vec<_> = (0..20)
        .map(|thread| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for n in 0..100 {
                    let target = format!("/{thread}/{n}");
                    let answer = client.ask("GET", &target, &[], "").expect(200);
                    assert!(answer.text() == target.repeat(200), "{target}");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no answer is another's"));
}
