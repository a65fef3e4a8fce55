//! The harness against a server that behaves, and against servers that don't: it must say so, and in numbers.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};

use crate::fixture::{self, Manner};
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
fn any_server_of_event_streams_can_be_followed() {
    let address = fixture::start(Manner::Foreign);
    let publish_to = format!("http://{address}/pub/{{topic}}");
    let written = ["--publish-to", &publish_to, "--content-type", "text/plain"];
    let body = ["--body", r#"{topic} says {"n":{n},"t":{t}}"#, "--burst", "8", "--publishers", "2"];
    let more = [&["--foreign", "--topics", "4", "--reconnect", "12"], &PUBLISH[..], &written, &body].concat();
    let (code, report) = swarm(address, "/sub/{topic}", &more);
    assert_eq!((code, faults(&report)), (Some(0), [0; 4]), "{report:#}");
    assert_eq!((&report["frames"], &report["reconnected"]["missed"]), (&(FOLLOWERS / 4 * 20).into(), &12.into()));
    let url = format!("http://{address}/sub/t0");
    let output = load(&["follow", &url, "--last-event-id", "urn:x:0", "--count", "8"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.lines().filter(|line| line.contains(" said t0 says ")).count(), 8, "{text}");
    // Without a topic in the body it refuses, which is what the template was for.
    let (code, report) = swarm(address, "/sub/t0", &[&["--foreign"], &PUBLISH[..], &written].concat());
    assert_eq!((code, &report["errors_by_reason"]["write: status 400"]), (Some(1), &20.into()), "{report:#}");
}

#[test]
fn of_a_foreign_server_the_counter_shows_faults() {
    let foreign = [&PUBLISH[..], &["--foreign"]].concat();
    for (manner, found) in [
        (Manner::Loses, [FOLLOWERS, 0, 0, 0]),
        (Manner::Repeats, [0, FOLLOWERS, 0, 0]),
        (Manner::Reorders, [0, 0, FOLLOWERS, 0]),
    ] {
        let (code, report) = swarm(fixture::start(manner), "/m", &foreign);
        assert_eq!((code, faults(&report)), (Some(1), found), "{manner:?} {report:#}");
    }
}

#[test]
fn a_burst_is_meant_for_one_moment() {
    let address = fixture::start(Manner::Good);
    let (code, report) = swarm(address, "/m", &[&PUBLISH[..], &["--burst", "5"]].concat());
    assert_eq!((code, faults(&report)), (Some(0), [0; 4]), "{report:#}");
    let url = format!("http://{address}/m");
    let output = load(&["follow", &url, "--last-event-id", "00000a-0", "--count", "20"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let times: Vec<u64> = text
        .lines()
        .filter_map(|line| line.split_once("\"t\":")?.1.trim_end_matches(['}', ']']).parse().ok())
        .collect();
    let bursts: Vec<&[u64]> = times.chunk_by(|one, two| one == two).collect();
    assert_eq!(bursts.iter().map(|burst| burst.len()).collect::<Vec<_>>(), [5; 4], "{text}");
    assert_eq!(times[19] - times[0], 75_000_000, "fifteen writes at 200 per second");
}

#[test]
fn a_lone_document_may_have_several_writers() {
    let writers = [&PUBLISH[..], &["--publishers", "2", "--reconnect", "12"]].concat();
    for (manner, code, found) in [
        (Manner::Good, 0, [0; 4]),
        (Manner::Loses, 1, [FOLLOWERS, 0, 0, 0]),
        (Manner::Repeats, 1, [0, FOLLOWERS, 0, 0]),
    ] {
        let (ended, report) = swarm(fixture::start(manner), "/m/one", &writers);
        assert_eq!((ended, faults(&report)), (Some(code), found), "{manner:?} {report:#}");
        assert_eq!((&report["writes"]["count"], &report["reconnected"]["missed"]), (&20.into(), &12.into()));
    }
}

#[test]
fn writes_that_wait_for_answers_are_told() {
    let url = format!("http://{}/m", fixture::start(Manner::Good));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let more = ["--connections", "2", "--publish", "1000000", "--for", "0.002"];
    let to = ["--json", file.to_str().expect("a path in UTF-8")];
    let output = load(&[&["swarm", &url][..], &more, &to].concat());
    let report: Value = serde_json::from_str(&fs::read_to_string(&file).expect("a report")).expect("JSON");
    assert_eq!((output.status.code(), &report["writes"]["count"]), (Some(0), &2_000.into()), "{report:#}");
    assert!(report["writes"]["waited"].as_u64() > Some(1_900), "one connection does a few of a million: {report:#}");
    assert!(report["busiest_thread_cpus"].as_f64() > Some(0.0), "{report:#}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("waited for the answer before theirs"), "{output:?}");
}

/// Two hundred writes, while each follower does something else ten times.
const CHURN: [&str; 10] = ["--publish", "200", "--for", "1", "--patience", "2", "--churn", "0.1", "--seed", "17"];

#[test]
fn followers_come_and_go_and_have_everything() {
    let (code, report) = swarm(fixture::start(Manner::Good), "/m", &CHURN);
    assert_eq!((code, faults(&report)), (Some(0), [0; 4]), "{report:#}");
    assert_eq!((&report["frames"], &report["churn"]["seed"]), (&(FOLLOWERS * 200).into(), &17.into()));
    for what in ["closes", "resets", "stalls", "abandoned", "resumes"] {
        assert!(report["churn"][what].as_u64() > Some(0), "{what} in {report:#}");
    }
    let publish_to = ["--foreign", "--content-type", "text/plain", "--body", r#"t0 "n":{n},"t":{t}"#, "--publish-to"];
    let address = fixture::start(Manner::Foreign);
    let url = format!("http://{address}/pub/t0");
    let (code, report) = swarm(address, "/sub/t0", &[&CHURN[..], &publish_to, &[&url]].concat());
    assert_eq!((code, faults(&report)), (Some(0), [0; 4]), "{report:#}");
}

#[test]
fn what_is_lost_on_a_return_is_found() {
    let (code, report) = swarm(fixture::start(Manner::Forgets), "/m", &CHURN);
    let [lost, repeated, disordered, errors] = faults(&report);
    assert_eq!((code, repeated, disordered, errors), (Some(1), 0, 0, 0), "{report:#}");
    assert!(lost > FOLLOWERS, "{report:#}");
}

#[test]
fn who_is_turned_away_tries_again() {
    let (code, report) = swarm(fixture::start(Manner::Full), "/m", &CHURN);
    assert_eq!((code, faults(&report)), (Some(0), [0; 4]), "{report:#}");
    assert!(report["churn"]["turned_away"].as_u64() > Some(FOLLOWERS), "{report:#}");
}

/// For half a second, a GET every 5 ms.
const PROBE: [&str; 6] = ["--probe", "200", "--for", "0.5", "--patience", "2"];

fn probed(report: &Value) -> (u64, u64, u64) {
    let probe = &report["probe"];
    let [kept, fresh] = ["latency_us", "fresh_latency_us"].map(|name| probe[name]["count"].as_u64().expect(name));
    assert_eq!(probe["count"], kept + fresh, "{report:#}");
    (kept, fresh, probe["errors"].as_u64().expect("a number"))
}

#[test]
fn others_are_served_meanwhile() {
    let address = fixture::start(Manner::Good);
    let foreign = fixture::start(Manner::Foreign);
    let elsewhere = ["--foreign", "--probe-url", &format!("http://{foreign}/health")];
    for (path, more) in
        [("/m", &["--publish", "200"][..]), ("/m", &[]), ("/m/1?from=now", &[]), ("/m/none", &[]), ("/m", &elsewhere)]
    {
        let (code, report) = swarm(address, path, &[&PROBE, more].concat());
        assert_eq!((code, faults(&report)), (Some(0), [0; 4]), "{path} {more:?} {report:#}");
        let (kept, fresh, errors) = probed(&report);
        // All that were meant for the time, and more if this machine is late; the last write is meant for 5 ms before its end.
        assert!(kept >= 79 && fresh >= 19 && errors == 0, "{path} {more:?} {report:#}");
        assert!((kept / 4).abs_diff(fresh) <= 2, "one of five is on a fresh connection: {report:#}");
    }
}

#[test]
fn what_waits_behind_a_late_answer_is_late() {
    let (code, report) = swarm(fixture::start(Manner::Hesitates), "/m", &PROBE);
    assert_eq!((code, probed(&report).2), (Some(0), 0), "{report:#}");
    let latency = |of: &str, quantile: &str| report["probe"][of][quantile].as_u64().expect("microseconds");
    let hesitation = fixture::HESITATION.as_micros() as u64;
    assert!(latency("latency_us", "max") >= hesitation, "{report:#}");
    assert!(
        latency("latency_us", "p50") >= hesitation / 20,
        "three fifths of all were meant for that time: {report:#}"
    );
    assert!(latency("fresh_latency_us", "p50") < hesitation / 2, "these don't wait behind it: {report:#}");
}

#[test]
fn failed_probes_are_errors() {
    let (code, report) = swarm(fixture::start(Manner::Refuses), "/m", &PROBE);
    let (kept, fresh, errors) = probed(&report);
    assert_eq!((code, errors), (Some(1), kept + fresh), "{report:#}");
    assert_eq!(report["errors_by_reason"]["GET: status 503"], errors, "{report:#}");
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
fn those_that_discard_count_bytes_while_others_check() {
    let address = fixture::start(Manner::Good);
    fixture::fill(address, 9);
    let from_start = ["--last-event-id", "00000a-0", "--patience", "2", "--count", "9", "--discard", "0.75"];
    let (code, report) = swarm(address, "/m", &[&from_start[..], &["--bytes", "700"]].concat());
    assert_eq!((code, faults(&report)), (Some(0), [0; 4]), "{report:#}");
    let bytes = report["bytes"].as_u64().expect("bytes");
    assert!(bytes > FOLLOWERS * 700 && report["window_bytes"].as_u64() <= Some(bytes), "{report:#}");
    assert!(report["frames"].as_u64() <= Some(FOLLOWERS / 4 * 9), "{report:#}");
    let (code, report) = swarm(address, "/m", &[&from_start[..], &["--bytes", "1000000"]].concat());
    assert_eq!((code, faults(&report)), (Some(1), [0, 0, 0, FOLLOWERS]), "{report:#}");
    // What they don't look at may be a mess, but the others see it.
    let address = fixture::start(Manner::Loses);
    let (code, report) = swarm(address, "/m", &["--discard", "1", "--for", "0.2"]);
    assert_eq!((code, faults(&report)), (Some(0), [0; 4]), "{report:#}");
}

#[test]
fn what_is_filled_can_be_followed_from_its_start() {
    let address = fixture::start(Manner::Good);
    let url = format!("http://{address}/m");
    let output = load(&["fill", &url, "--events", "100", "--documents", "7", "--burst", "3", "--payload", "5"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("100 events in "), "{output:?}");
    let output = load(&["follow", &url, "--last-event-id", "00000a-0", "--count", "100"]);
    let text = String::from_utf8(output.stdout).expect("text");
    // No write repeats the one before it of the same document.
    for document in 0..7 {
        let path = format!("\"path\":\"/m/d{document}\"");
        let writes: Vec<&str> = text.lines().filter(|line| line.contains(&path)).collect();
        assert!((14..=15).contains(&writes.len()), "{text}");
        let letters: Vec<&str> = writes.iter().filter_map(|line| line.split("\"p\":").nth(1)).collect();
        assert!(letters.len() == writes.len() && letters.windows(2).all(|two| two[0] != two[1]), "{text}");
    }
    let url = format!("http://{}/m", fixture::start(Manner::Refuses));
    assert_eq!(load(&["fill", &url, "--events", "10"]).status.code(), Some(1));
    assert_eq!(load(&["fill", &url, "--burst", "1000", "--payload", "2000"]).status.code(), Some(2));
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
    // One that takes no more writes, and one that answers with a page.
    let refuses = fixture::start(Manner::Refuses);
    fixture::fill(refuses, 5);
    let (put, page) = (format!("http://{refuses}/m/one"), format!("http://{}/page", fixture::page()));
    for (arguments, code) in [
        (&["swarm", &nobody][..], 3),
        (&["follow", &nobody], 3),
        (&["fill", &nobody], 3),
        (&["swarm", &nobody, "--connections", "many"], 2),
        (&["swarm", &nobody, "--stall", "7"], 2),
        (&["swarm", "ftp://x/"], 2),
        (&["swarm", &put, "--connections", "1", "--publish", "1"], 3),
        (&["follow", &page], 3),
        (&["--help"], 0),
    ] {
        assert_eq!(load(arguments).status.code(), Some(code), "{arguments:?}");
    }
}
