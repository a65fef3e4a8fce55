//! The harness against a server that behaves, and against servers that don't: it must say so, and in numbers.

mod fixture;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};

use fixture::Manner;
use serde_json::Value;

const FOLLOWERS: u64 = 40;

fn load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fantail-load")).args(arguments).output().expect("the harness starts")
}

/// Runs a swarm of [`FOLLOWERS`] and returns its exit code and its report.
fn swarm(address: SocketAddr, path: &str, more: &[&str]) -> (Option<i32>, Value) {
    let url = format!("http://127.0.0.1:{}{path}", address.port());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let (connections, file) = (FOLLOWERS.to_string(), file.to_str().expect("a path in UTF-8"));
    let fixed = ["swarm", &url, "--connections", &connections, "--threads", "2", "--json", file];
    let output = load(&[&fixed, more].concat());
    let report = fs::read_to_string(file).unwrap_or_else(|_| panic!("no report: {output:?}"));
    (output.status.code(), serde_json::from_str(&report).expect("JSON"))
}

/// Twenty writes.
const PUBLISH: [&str; 6] = ["--publish", "200", "--for", "0.1", "--patience", "2"];

fn faults(report: &Value) -> [u64; 4] {
    ["gaps", "repeats", "disordered", "errors"].map(|name| report[name].as_u64().expect(name))
}

#[test]
fn a_server_that_behaves_passes() {
    let (code, report) = swarm(fixture::start(Manner::Good), "/m", &[&PUBLISH[..], &["--spread", "3"]].concat());
    assert_eq!((code, faults(&report)), (Some(0), [0; 4]), "{report:#}");
    assert_eq!(
        (&report["frames"], &report["latency_us"]["count"]),
        (&(FOLLOWERS * 20).into(), &(FOLLOWERS * 20).into())
    );
    assert_eq!((&report["following"], &report["writes"]["count"]), (&FOLLOWERS.into(), &20.into()));
}

#[test]
fn a_lost_frame_is_found() {
    let (code, report) = swarm(fixture::start(Manner::Loses), "/m", &PUBLISH);
    assert_eq!((code, faults(&report)), (Some(1), [FOLLOWERS, 0, 0, 0]), "{report:#}");
}

#[test]
fn a_repeated_frame_is_found() {
    let (code, report) = swarm(fixture::start(Manner::Repeats), "/m", &PUBLISH);
    assert_eq!((code, faults(&report)), (Some(1), [0, FOLLOWERS, 0, 0]), "{report:#}");
}

#[test]
fn a_reordered_frame_is_found() {
    let (code, report) = swarm(fixture::start(Manner::Reorders), "/m", &PUBLISH);
    assert_eq!((code, faults(&report)), (Some(1), [0, 0, FOLLOWERS, 0]), "{report:#}");
}

#[test]
fn faults_on_documents_are_found_by_the_counter() {
    let topics = [&PUBLISH[..], &["--topics", "4"]].concat();
    let (code, report) = swarm(fixture::start(Manner::Good), "/load", &topics);
    assert_eq!((code, faults(&report)), (Some(0), [0; 4]), "{report:#}");
    assert_eq!(report["frames"], FOLLOWERS / 4 * 20);
    // The first four writes create the documents, so that the fifth is the first that is followed.
    let (code, report) = swarm(fixture::start(Manner::Loses), "/load", &topics);
    assert_eq!((code, faults(&report)), (Some(1), [FOLLOWERS / 4, 0, 0, 0]), "{report:#}");
    let (code, report) = swarm(fixture::start(Manner::Repeats), "/load", &topics);
    assert_eq!((code, faults(&report)), (Some(1), [0, FOLLOWERS / 4, 0, 0]), "{report:#}");
}

#[test]
fn those_that_stall_or_leave_catch_up() {
    let more = ["--stall", "0.25", "--reconnect", "7", "--payload", "3000"];
    let (code, report) = swarm(fixture::start(Manner::Good), "/m", &[&PUBLISH[..], &more].concat());
    assert_eq!((code, faults(&report)), (Some(0), [0; 4]), "{report:#}");
    assert_eq!(
        (&report["frames"], &report["latency_us"]["count"]),
        (&600.into(), &600.into()),
        "without those that stall"
    );
    assert_eq!((&report["stalled"]["followers"], &report["reconnected"]["missed"]), (&10.into(), &7.into()));
    assert!(report["stalled"]["caught_up_s"].is_f64() && report["reconnected"]["caught_up_s"].is_f64());
}

#[test]
fn a_listener_needs_no_publisher() {
    let address = fixture::start(Manner::Good);
    fixture::fill(address, 9);
    let from_start = ["--last-event-id", "00000a-0", "--patience", "2"];
    let (code, report) = swarm(address, "/m", &[&from_start[..], &["--count", "9"]].concat());
    assert_eq!((code, faults(&report)), (Some(0), [0; 4]), "{report:#}");
    let (code, report) = swarm(address, "/m", &[&from_start[..], &["--count", "10"]].concat());
    assert_eq!((code, faults(&report)), (Some(1), [0, 0, 0, FOLLOWERS]), "{report:#}");
}

#[test]
fn refused_writes_and_ended_streams_are_errors() {
    let (code, report) = swarm(fixture::start(Manner::Refuses), "/m", &PUBLISH);
    assert_eq!((code, faults(&report)), (Some(1), [0, 0, 0, 15]), "{report:#}");
    assert_eq!(report["errors_by_reason"]["write: status 503"], 15);
    let (code, report) = swarm(fixture::start(Manner::Cuts), "/m", &["--for", "0.1", "--patience", "2"]);
    assert_eq!((code, faults(&report)), (Some(1), [0, 0, 0, FOLLOWERS]), "{report:#}");
    assert_eq!(report["errors_by_reason"]["the server ended a stream"], FOLLOWERS);
}

#[test]
fn a_follower_resumes_where_it_was_cut() {
    let address = fixture::start(Manner::Cuts);
    fixture::fill(address, 6);
    let url = format!("http://127.0.0.1:{}/m", address.port());
    let output = load(&["follow", &url, "--last-event-id", "00000a-0", "--count", "5"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let ids: Vec<&str> = text.lines().filter_map(|line| line.split_once(" patch ").map(|(id, _)| id)).collect();
    assert_eq!(ids, ["00000a-1", "00000a-2", "00000a-3", "00000a-4", "00000a-5"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("5 events on 3 connections"), "{text}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_exit_code_tells_usage_from_an_absent_server() {
    let address = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let nobody = format!("http://{address}/m");
    for (arguments, code) in [
        (&["swarm", &nobody][..], 3),
        (&["follow", &nobody], 3),
        (&["swarm", &nobody, "--connections", "many"], 2),
        (&["swarm", &nobody, "--stall", "7"], 2),
        (&["swarm", "ftp://x/"], 2),
        (&["--help"], 0),
    ] {
        assert_eq!(load(arguments).status.code(), Some(code), "{arguments:?}");
    }
}
