//! One Ctrl-C ends a run in order: what was measured until then is reported.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Starts the harness as a shell does: in a group of processes of its own, to which Ctrl-C is sent.
fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fantail-load"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().expect("the harness starts")
}

/// Presses Ctrl-C once it has said `word`; its exit code, and what it printed.
fn interrupt(mut load: Child, word: &str) -> (Option<i32>, String) {
    let mut said = BufReader::new(load.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.starts_with(word) {
        line.clear();
        assert_ne!(said.read_line(&mut line).expect("text"), 0, "it ended before it said {word}");
    }
    let group = format!("-{}", load.id());
    assert!(Command::new("kill").args(["-s", "INT", "--", &group]).status().expect("kill").success());
    // Whoever doesn't read would stop who writes.
    let mut rest = Vec::new();
    said.read_to_end(&mut rest).expect("text");
    let mut printed = String::new();
    load.stdout.take().expect("a pipe").read_to_string(&mut printed).expect("text");
    (load.wait().expect("it ends").code(), printed)
}

const FOREVER: [&str; 4] = ["--for", "3000", "--patience", "5"];

#[test]
fn a_run_is_reported_up_to_then_and_its_server_sees_it_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = ["--to", folder.path().to_str().expect("a path in UTF-8")];
    let small = ["run", "--connections", "10", "--rate", "40"];
    let (code, printed) = interrupt(start(&[&small[..], &FOREVER, &to].concat()), "measuring");
    assert_eq!(code, Some(130), "{printed}");
    let report = fs::read_to_string(folder.path().join("report.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let delivery = &report["delivery"];
    assert_eq!((&report["run"]["ended"], &report["errors"]), (&"cut_short".into(), &serde_json::json!({})));
    assert!(delivery["frames"] == delivery["frames_due"] && delivery["gaps"] == 0, "{delivery:#}");
}

#[test]
fn a_ramp_reports_the_loads_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = ["--to", folder.path().to_str().expect("a path in UTF-8")];
    let ramp = ["ramp", "--connections", "10", "--from", "20", "--for", "1", "--slo", "errors=0"];
    let (code, printed) = interrupt(start(&[&ramp[..], &to].concat()), "measuring");
    // The first load may have been whole, or not.
    assert_eq!(code, Some(130), "{printed}");
}

#[test]
fn a_swarm_reports_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let url = format!("http://127.0.0.1:{}/m", crate::fixture::start(crate::fixture::Manner::Good).port());
    let swarm = ["swarm", &url, "--connections", "10", "--publish", "40", "--json"];
    let file = [file.to_str().expect("a path in UTF-8")];
    let (code, printed) = interrupt(start(&[&swarm[..], &file, &FOREVER].concat()), "publishing");
    assert_eq!(code, Some(130), "{printed}");
    let report: Value = serde_json::from_str(&fs::read_to_string(file[0]).expect("a report")).expect("JSON");
    assert!(report["clean"] == true && report["frames"] == report["frames_expected"], "{report:#}");
}
