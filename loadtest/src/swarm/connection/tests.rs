//! A follower is given bytes, cut anywhere, and asked for its verdicts.

use super::*;
use crate::swarm::plan;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
const RULES: Rules = Rules { positions: Law::Gapless, writers: 1 };

fn frame(sequence: u64) -> String {
    let document = format!("{{\"id\":\"{sequence}\",\"n\":{sequence},\"t\":5000}}");
    format!("id: 00000a-{sequence}\nevent: patch\ndata: [{{\"op\":\"add\",\"value\":{document}}}]\n\n")
}

fn stream(sequences: &[u64]) -> String {
    let position = "retry: 2000\nid: 00000a-0\nevent: position\ndata: {}\n\n".to_owned();
    let frames = sequences.iter().map(|&sequence| frame(sequence) + ":c 1-1 0 0\n");
    std::iter::once(position).chain(frames).collect()
}

fn follow(parts: &[&str]) -> (Result<(), String>, Connection, Findings) {
    follow_as("http://127.0.0.1:1/m --publish 1", parts)
}

fn follow_as(typed: &str, parts: &[&str]) -> (Result<(), String>, Connection, Findings) {
    let mut connection = Connection::new(Some(1), RULES, Habit::Checks);
    let plan = plan::typed(typed).expect("a plan");
    let mut findings = Findings::new(&plan, Some(5000));
    connection.dial(None, &Id::Field);
    let result = parts.iter().try_for_each(|part| connection.receive(part.as_bytes(), 2_005_000, &mut findings));
    (result, connection, findings)
}

#[test]
fn a_cut_anywhere_changes_nothing() {
    let whole = HEAD.to_owned() + &stream(&[1, 2, 3]);
    for cut in 0..=whole.len() {
        let (result, connection, findings) = follow(&[&whole[..cut], &whole[cut..]]);
        assert_eq!((result, connection.phase, findings.frames), (Ok(()), Phase::Following, 3), "cut at {cut}");
        assert_eq!(connection.ledger.close(&[3]), Faults::default(), "cut at {cut}");
        assert_eq!((findings.latency.len(), findings.latency.max()), (3, 2_000), "cut at {cut}");
    }
}

#[test]
fn chunks_cut_anywhere_change_nothing() {
    let head = HEAD.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let (one, two) = (stream(&[1, 2]), frame(3));
    // A chunk needn't end where a frame does.
    let whole = head + &chunk(&one[..90]) + &chunk(&one[90..]) + &chunk(&two);
    for cut in 0..=whole.len() {
        let (result, connection, findings) = follow(&[&whole[..cut], &whole[cut..]]);
        assert_eq!((result, connection.phase, findings.frames), (Ok(()), Phase::Following, 3), "cut at {cut}");
        assert_eq!(connection.ledger.close(&[3]), Faults::default(), "cut at {cut}");
    }
    let ended = whole.clone() + "0\r\n\r\n";
    assert_eq!(follow(&[&ended]).0, Err(ENDED.to_owned()));
    let (result, _, findings) = follow(&[&whole, "x\r\n"]);
    assert_eq!((result.is_err(), findings.frames), (true, 3), "no chunk");
}

#[test]
fn of_a_foreign_server_the_counter_alone_is_believed() {
    const FOREIGN: &str = "http://127.0.0.1:1/m --foreign --publish 1";
    let (result, mut connection, _) = follow_as(FOREIGN, &[HEAD]);
    assert_eq!((result, connection.phase), (Ok(()), Phase::Following));
    assert_eq!(connection.dial(None, &Id::Field), None);
    let frame = |id: &str, counter: u64| format!("event: any\nid: {id}\ndata: {{\"n\":{counter},\"t\":5000}}\n\n");
    let parts = [HEAD, ": hi\n\n", &frame("urn:1,7:0", 1), "event: position\ndata: no JSON\n\n", &frame("0", 2)];
    let (result, mut connection, findings) = follow_as(FOREIGN, &parts);
    assert_eq!((result, findings.frames, findings.latency.len()), (Ok(()), 2, 2));
    assert_eq!(connection.dial(None, &Id::Field), Some("0"));
    assert_eq!(connection.dial(None, &Id::Field), Some("0"), "a connection without an id doesn't take it away");
    assert_eq!(connection.ledger.close(&[3]).lost, 1);
    let several = "data: [{\"n\":1,\"t\":5000},{\"n\":2,\"t\":5000},{\"n\":4,\"t\":5000}]\n\n";
    let (result, connection, findings) = follow_as(FOREIGN, &[HEAD, several]);
    assert_eq!((result, findings.frames, findings.latency.len()), (Ok(()), 3, 3));
    assert_eq!(connection.ledger.close(&[4]).lost, 1);
}

#[test]
fn ids_may_come_in_events_of_their_own() {
    let typed = "http://127.0.0.1:1/m --foreign --publish 1 --id control.next --resume offset";
    let plan = plan::typed(typed).expect("a plan");
    let control = |next: &str| format!("event: control\ndata: {{\"next\":\"{next}\"}}\n\n");
    let frame = "id: 9\nevent: data\ndata: {\"n\":1,\"t\":5000}\n\n";
    let (result, mut connection, findings) = follow_as(typed, &[HEAD, frame, &control("0_7")]);
    assert_eq!((result, findings.frames), (Ok(()), 1));
    let last = connection.dial(None, &plan.id);
    assert_eq!(last, Some("0_7"));
    let request = String::from_utf8(plan.subscription(0, last)).expect("text");
    assert!(request.starts_with("GET /m?offset=0_7 ") && !request.contains("Last-Event-ID"), "{request}");
}

#[test]
fn faulty_streams_are_found_out() {
    for (sequences, faults) in [
        (&[1, 3, 4][..], Faults { lost: 1, ..Faults::default() }),
        (&[1, 2, 2, 3, 4], Faults { repeated: 1, ..Faults::default() }),
        (&[1, 3, 2, 4], Faults { disordered: 1, ..Faults::default() }),
        (&[1, 2, 3], Faults { lost: 1, ..Faults::default() }),
    ] {
        let (result, connection, _) = follow(&[HEAD, &stream(sequences)]);
        assert_eq!((result, connection.ledger.close(&[4])), (Ok(()), faults), "{sequences:?}");
    }
}

#[test]
fn a_wrong_answer_is_an_error() {
    assert_eq!(follow(&["HTTP/1.1 404 Not Found\r\n\r\n"]).0, Err("status 404".to_owned()));
    assert_eq!(follow(&[HEAD, "id: 7\ndata: {}\n\n"]).0, Err("an id that is no position: 7".to_owned()));
}

#[test]
fn one_that_discards_looks_at_the_head_only() {
    let plan = plan::typed("http://127.0.0.1:1/m --discard 1 --bytes 11").expect("a plan");
    let (mut connection, mut findings) = (Connection::new(None, RULES, Habit::Discards), Findings::new(&plan, None));
    connection.dial(None, &Id::Field);
    let (one, two) = HEAD.split_at(9);
    for (bytes, intake) in [(one, Intake::Read), (two, Intake::Discarded), ("id: no", Intake::Discarded)] {
        assert_eq!(connection.receive(bytes.as_bytes(), 0, &mut findings), Ok(()));
        assert_eq!((connection.intake(), findings.sated), (intake, 0));
    }
    connection.discard(5, &mut findings);
    connection.discard(5, &mut findings);
    assert_eq!((findings.sated, findings.frames, findings.bytes), (1, 0, HEAD.len() as u64 + 16));
    connection.dial(None, &Id::Field);
    let refused = connection.receive(b"HTTP/1.1 404 Not Found\r\n\r\n", 0, &mut findings);
    assert_eq!(refused, Err("status 404".to_owned()));
}

#[test]
fn a_snapshot_and_a_reset_are_no_frames() {
    let snapshot = "event: patch\ndata: [{\"value\":{\"n\":9,\"t\":9000}}]\n\n";
    let (_, connection, findings) = follow(&[HEAD, "event: reset\ndata: {}\n\n", snapshot]);
    assert_eq!((connection.phase, findings.frames, findings.resets), (Phase::Opening, 0, 1));
    let (_, connection, findings) = follow(&[HEAD, snapshot, &stream(&[1])]);
    assert_eq!((connection.phase, findings.frames), (Phase::Following, 1));
}

#[test]
fn frames_from_before_the_run_only_keep_their_position() {
    let old = stream(&[1, 2]).replace("\"t\":5000", "\"t\":4999");
    let (_, connection, findings) = follow(&[HEAD, &old, &frame(3).replace("\"n\":3", "\"n\":1")]);
    assert_eq!((findings.frames, connection.ledger.close(&[1])), (1, Faults::default()));
}
