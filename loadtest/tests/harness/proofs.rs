//! That the figures can be believed: one fault in a million frames is found, and a server that is stopped can't hide it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::fixture::{self, Manner};
use serde_json::Value;

fn load(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fantail-load"));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the harness starts")
}

/// Frames of the long stream.
const FRAMES: u64 = 1_000_000;

/// Where in it the fault is.
const FAULTY: u64 = 654_321;

/// A server whose streams have [`FRAMES`] frames, with `faulty` in the place of the one at [`FAULTY`].
fn million(faulty: &'static [u64]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let last = faulty.iter().copied().max().expect("what is in the place");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let counters = (1..FAULTY).chain(faulty.iter().copied()).chain(last + 1..=FRAMES);
            let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_vec();
            for counter in counters {
                bytes.extend_from_slice(format!("data: {{\"n\":{counter}}}\n\n").as_bytes());
            }
            // Who only looks whether somebody answers doesn't read it; who follows does, and then leaves.
            thread::spawn(move || {
                stream.write_all(&bytes).and_then(|()| std::io::copy(&mut stream, &mut std::io::sink()))
            });
        }
    });
    address
}

#[test]
fn one_frame_in_a_million_is_missed() {
    for (faulty, frames, found) in [
        (&[FAULTY][..], FRAMES, [0, 0, 0]),
        (&[FAULTY + 1, FAULTY], FRAMES, [0, 0, 1]),
        (&[FAULTY, FAULTY, FAULTY + 1], FRAMES + 1, [0, 1, 0]),
        (&[FAULTY + 1], FRAMES - 1, [1, 0, 0]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("report.json");
        let url = format!("http://{}/m", million(faulty));
        let count = frames.to_string();
        let file_name = file.to_str().expect("a path in UTF-8");
        let listen = ["swarm", &url, "--foreign", "--connections", "1", "--count", &count, "--json", file_name];
        let output = load(&listen).wait_with_output().expect("it ends");
        let report: Value = serde_json::from_str(&fs::read_to_string(&file).expect("a report")).expect("JSON");
        let faults = ["gaps", "repeats", "disordered"].map(|name| report[name].as_u64().expect(name));
        assert_eq!(faults, found, "{faulty:?} {report:#}");
        assert_eq!(output.status.code(), Some(i32::from(found != [0, 0, 0])), "{report:#}");
    }
}

/// Names the variable that makes [`serve`] a server.
const SERVES: &str = "FANTAIL_LOAD_TEST_SERVES";

/// A server in a process of its own, which the next test stops; by itself it does nothing.
#[test]
fn serve() {
    if std::env::var_os(SERVES).is_some() {
        println!("\nlistens {}", fixture::start(Manner::Good));
        // Until the other test ends it, or itself.
        let _ = std::io::stdin().read_line(&mut String::new());
    }
}

fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &process.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
}

#[test]
fn two_seconds_of_a_stopped_server_are_in_the_figures() {
    let own = std::env::current_exe().expect("a test's binary");
    let mut server = Command::new(own)
        .args(["--exact", "proofs::serve", "--nocapture"])
        .env(SERVES, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let mut lines = BufReader::new(server.stdout.take().expect("its output")).lines();
    let address = lines.find_map(|line| line.ok()?.split_once("listens ").map(|(_, address)| address.to_owned()));
    let port = address.expect("an address").rsplit(':').next().expect("a port").to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let url = format!("http://127.0.0.1:{port}/m");
    let file_name = file.to_str().expect("a path in UTF-8");
    let typed = ["swarm", &url, "--connections", "40", "--publish", "50", "--for", "6", "--json", file_name];
    let mut harness = load(&typed);
    // It says how it goes once a second.
    let mut said = BufReader::new(harness.stderr.take().expect("its errors")).lines();
    assert!(said.any(|line| line.is_ok_and(|line| line.starts_with("publishing"))), "it publishes");
    signal(&server, "-STOP");
    // That is how long it is stopped: what is measured, not what is waited for.
    thread::sleep(Duration::from_secs(2));
    signal(&server, "-CONT");
    said.for_each(drop);
    let status = harness.wait().expect("it ends");
    let _ = server.kill();
    let _ = server.wait();
    let report: Value = serde_json::from_str(&fs::read_to_string(&file).expect("a report")).expect("JSON");
    assert_eq!((status.code(), &report["frames"]), (Some(0), &(40 * 300).into()), "{report:#}");
    for (whose, quantile) in [("latency_us", "p999"), ("latency_us", "max")] {
        let found = report[whose][quantile].as_u64().expect("microseconds");
        assert!(found >= 1_950_000, "the first write that waited did so for nearly all of the time: {report:#}");
    }
    assert!(report["writes"]["latency_us"]["max"].as_u64() >= Some(1_950_000), "so did its writer: {report:#}");
}
