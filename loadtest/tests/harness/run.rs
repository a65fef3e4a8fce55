//! Runs of goose's users and the swarm together, small and short: against a server that behaves, servers that don't, and things
//! that are no servers.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::fixture::{self, Manner};
use serde_json::Value;

fn load(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fantail-load"));
    command
        .args(arguments)
        .args(["--to", folder.to_str().expect("a path in UTF-8")])
        .output()
        .expect("the harness starts")
}

/// Half a second of everything that a server of any kind can do.
const SMALL: [&str; 14] = [
    "--for",
    "0.5",
    "--rate",
    "40",
    "--connections",
    "10",
    "--followers",
    "4",
    "--resumers",
    "2",
    "--patience",
    "5",
    "--topics",
    "2",
];

/// What the fixture is, told as a preset with some of it overridden.
const FOREIGN: [&str; 6] =
    ["--target", "nchan", "--content-type", "text/plain", "--body", r#"{topic} says {"n":{n},"t":{t}}"#];

fn run(arguments: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = load(arguments, folder.path());
    let report =
        fs::read_to_string(folder.path().join("report.json")).unwrap_or_else(|_| panic!("no report: {output:?}"));
    ["report.html", "report.md", "report.hgrm"]
        .iter()
        .for_each(|name| assert!(folder.path().join(name).exists(), "{name}"));
    (output, serde_json::from_str(&report).expect("JSON"))
}

#[test]
fn any_server_is_loaded_and_reported() {
    let url = format!("http://{}", fixture::start(Manner::Foreign));
    let objectives = ["--slo", "errors=0,gaps=0,repeats=0,reordered=0,p99<10s", "--arrivals", "poisson", "--seed", "7"];
    let (output, report) = run(&[&["run", &url][..], &FOREIGN, &SMALL, &objectives].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let delivery = &report["delivery"];
    assert_eq!((&delivery["following"], &delivery["frames"]), (&16.into(), &(16 * 10).into()), "{delivery:#}");
    assert_eq!((&delivery["frames_due"], &report["run"]["seed"]), (&(16 * 10).into(), &7.into()));
    assert_eq!(delivery["latency"]["count"], 160);
    let names: Vec<&str> =
        report["scenarios"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["publisher", "followers: compare", "followers: follow", "resumers: resume"], "{report:#}");
    let met = |objective: &Value| objective["met"] == true;
    assert!(report["objectives"].as_array().expect("a list").iter().all(met), "{report:#}");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(printed.lines().next().is_some_and(|line| line.ends_with(" frames delivered per second")), "{printed}");
}

#[test]
fn a_server_of_our_own_is_started_and_ended() {
    let everybody = ["--writers", "1", "--readers", "2", "--history", "1"];
    let (output, report) = run(&[&["run"][..], &SMALL, &everybody].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for kind in ["writers", "readers", "history", "followers: compare"] {
        let of = |one: &&Value| one["name"].as_str().is_some_and(|name| name.starts_with(kind));
        let done: Vec<&Value> = report["scenarios"].as_array().expect("a list").iter().filter(of).collect();
        assert!(!done.is_empty() && done.iter().all(|one| one["failures"] == 0), "{kind}: {report:#}");
    }
    assert_eq!(report["delivery"]["frames"], report["delivery"]["frames_due"]);
    let pid = report["server"]["pid"].as_u64().expect("its process is known");
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it is gone");
}

#[test]
fn all_that_is_written_to_a_lone_document_is_counted() {
    let lone = ["run", "--topics", "1", "--payload", "0", "--for", "1", "--rate", "400", "--connections", "10"];
    let others = ["--writers", "0", "--readers", "0", "--history", "0", "--followers", "4", "--resumers", "2"];
    for more in [&["--publishers", "2"][..], &["--burst", "20"], &["--publishers", "3", "--burst", "20"]] {
        let (output, report) = run(&[&lone[..], &others, more].concat());
        let delivery = &report["delivery"];
        assert_eq!((output.status.code(), &delivery["gaps"]), (Some(0), &0.into()), "{more:?} {delivery:#} {output:?}");
        assert_eq!(delivery["frames"], 16 * 400, "{more:?} {delivery:#}");
    }
}

#[test]
fn goose_s_followers_find_faults() {
    for (manner, what) in [(Manner::Loses, "gaps"), (Manner::Repeats, "repeats"), (Manner::Reorders, "reordered")] {
        let url = format!("http://{}/m", fixture::start(manner));
        let only = ["--target", "generic", "--connections", "0", "--followers", "3", "--resumers", "0"];
        let only = [&["run", &url][..], &only, &["--rate", "40", "--for", "0.5", "--patience", "2"]].concat();
        let (output, report) = run(&only);
        assert_eq!((output.status.code(), &report["delivery"][what]), (Some(1), &3.into()), "{manner:?} {report:#}");
    }
}

#[test]
fn a_run_that_broke_off_is_not_well_whatever_the_objectives() {
    for manner in [Manner::Drops, Manner::Dies] {
        let url = format!("http://{}/m", fixture::start(manner));
        let only = ["--target", "generic", "--connections", "20", "--followers", "3", "--slo", "p99<10s"];
        let only = [&["run", &url][..], &only, &["--rate", "40", "--for", "0.5", "--patience", "1"]].concat();
        let (output, report) = run(&only);
        assert_eq!(
            (output.status.code(), &report["run"]["ended"]),
            (Some(1), &"broken".into()),
            "{manner:?} {report:#}"
        );
        assert_eq!(report["objectives"][0]["met"], true, "{report:#}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("the run broke off"), "{output:?}");
    }
}

#[test]
fn a_ramp_that_this_host_ends_keeps_what_it_found() {
    let url = format!("http://{}", fixture::start(Manner::Foreign));
    let ramp = ["--raise", "connections", "--factor", "1000000", "--from", "10", "--steps", "3", "--slo", "errors=0"];
    let (output, report) = run(&[&["ramp", &url][..], &FOREIGN, &SMALL, &ramp].concat());
    assert_eq!((output.status.code(), &report["ramp"]["knee"]), (Some(0), &10.0.into()), "{report:#} {output:?}");
    let stopped = report["ramp"]["stopped"].as_str().expect("a reason");
    assert!(stopped.starts_with("At 10,000,000 followers this host was the limit: "), "{stopped}");
}

#[test]
fn a_ramp_ends_at_its_knee() {
    let url = format!("http://{}", fixture::start(Manner::Foreign));
    let ramp = ["--from", "20", "--factor", "3", "--steps", "2", "--slo", "errors=0,gaps=0"];
    let (output, report) = run(&[&["ramp", &url][..], &FOREIGN, &SMALL, &ramp].concat());
    let loads: Vec<&Value> =
        report["ramp"]["steps"].as_array().expect("steps").iter().map(|step| &step["load"]).collect();
    assert_eq!((loads.len(), loads[0]), (2, &20.0.into()), "{output:?}");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(printed.lines().next().is_some_and(|line| line.trim_start().starts_with("20 writes/s")), "{printed}");
}

/// Something that accepts, reads a request's head and does something that no server of event streams does.
fn strange(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            thread::spawn(move || {
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|length| length > 2) {
                    line.clear();
                }
                if answer == b"silence" {
                    // Until the other side has had enough.
                    let _ = std::io::copy(&mut stream, &mut std::io::sink());
                }
                let _ = stream.get_mut().write_all(answer);
            });
        }
    });
    address
}

#[test]
fn what_is_no_event_stream_is_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    // Whoever writes before it follows meets silence first. They wait for it while the others are tried.
    let silence = format!("http://{}/m/one", strange(b"silence"));
    let silent = [&["run", &silence][..], &["follow", &silence], &["swarm", &silence, "--publish", "1"]];
    let silent: Vec<_> = silent
        .into_iter()
        .map(|arguments| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_fantail-load"));
            command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
            (arguments, command.spawn().expect("the harness starts"))
        })
        .collect();
    for (answer, says) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"[..], "it answers HTML"),
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "--token"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "nothing can be followed here"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            "it answers application/json",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n",
            "ends the event stream at once",
        ),
        (b"", "closes without an answer"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "try https://"),
        (b"silence", "sends nothing"),
    ] {
        let url = format!("http://{}/e", strange(answer));
        let output = load(&["run", &url, "--target", "generic"], folder.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{says}: {output:?}");
        assert!(said.lines().count() == 1 && said.contains(says), "{says}: {said}");
    }
    for (arguments, child) in silent {
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {output:?}");
        assert!(said.lines().count() == 1 && said.contains("sends nothing"), "{arguments:?}: {said}");
    }
}

#[test]
fn the_exit_code_tells_what_was_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let nobody = format!("http://{nobody}/e");
    let scenario = folder.path().join("odd.toml");
    fs::write(&scenario, "seconds = 1\nsecs = 2\n").expect("a file");
    let scenario = scenario.to_str().expect("a path in UTF-8");
    let mut no_store = Command::new(env!("CARGO_BIN_EXE_fantail-load"));
    let output = no_store.arg("run").env("TMPDIR", folder.path().join("none")).output().expect("the harness starts");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    for (arguments, code, says) in [
        (&["run", &nobody, "--target", "generic"][..], 3, "nobody answers"),
        (&["run", &nobody, "--target", "apache"], 2, "durable-streams"),
        (&["run", &nobody, "--slo", "p99<fast"], 2, "such as 50ms"),
        (&["run", &nobody, "--scenario", scenario], 2, "unknown field `secs`"),
        (&["run", &nobody, "--scenario", "none.toml"], 2, "none.toml"),
        (&["run", &nobody, "--header", "nonsense"], 2, "NAME:VALUE"),
        (&["run", &nobody, "--baseline", "none.json"], 2, "none.json"),
        (&["run", &nobody, "--target", "nchan", "--writers", "3"], 2, "--documents-url"),
        (&["run", "https://127.0.0.1/e", "--connections", "9"], 2, "plain http only"),
        (&["ramp", &nobody, "--factor", "1"], 2, "--factor"),
    ] {
        let output = load(arguments, folder.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}
