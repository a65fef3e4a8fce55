//! What counts as JSON, and which numbers are taken.

use serde_json::json;

use crate::kit::{JSON, JSON_PATCH, Server};

#[test]
fn broken_json_is_400_and_changes_nothing() {
    let server = Server::start();
    let before = server.put("/messages/1", r#"{"a":1}"#).expect(201);
    for body in [
        "",
        " ",
        "{",
        "{}x",
        "{} {}",
        "{}\u{0}",
        r#"{"a":1,}"#,
        r#"{"a":01}"#,
        r#"{"a":+1}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":NaN}"#,
        r#"{"a":Infinity}"#,
        r#"{a:1}"#,
        r#"{'a':1}"#,
        r#"{"a":"\x"}"#,
        "{\"a\":\"\n\"}",
        "{\"a\":\"\u{1}\"}",
        r#"{"a":1,"a":2}"#,
        r#"{"b":{"a":1,"\u0061":1}}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00\ud800"}"#,
        r#"{"\ud800":1}"#,
        "\u{feff}{}",
        "nul",
        "// c\n{}",
    ] {
        server.put("/messages/1", body).problem(400);
        server.post("/messages", body).problem(400);
    }
    for bytes in [&b"{\"a\":\"\xff\"}"[..], b"{\"a\":\"\xed\xa0\x80\"}", b"{\"a\":\"\xc0\x80\"}", b"\xff\xfe{\0}\0"] {
        let mut client = server.connect();
        let length = bytes.len();
        client.send(format!(
            "PUT /messages/1 HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        ));
        client.send(bytes);
        client.answer("PUT").problem(400);
    }
    let after = server.get("/messages/1");
    assert_eq!((after.body.as_slice(), after.position()), (before.body.as_slice(), before.position()));
}

#[test]
fn json_that_is_no_document_is_422() {
    let server = Server::start();
    for body in ["[]", "null", "1", "\"a\"", "true", "[{}]"] {
        server.put("/messages/1", body).problem(422);
        server.post("/messages", body).problem(422);
    }
    server.get("/messages/1").problem(404);
}

#[test]
fn numbers_are_taken_as_they_are_or_refused() {
    let server = Server::start();
    for number in [
        "0",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "0.1",
        "1.5",
        "1e2",
        "1E+2",
        "1.0",
        "100.0",
        "-0.0",
        "1e-7",
        "5e-324",
        "1.7976931348623157e308",
        "0.30000000000000004",
        "0.1000",
    ] {
        let body = format!(r#"{{"n":{number}}}"#);
        let answer = server.put("/messages/1", &body).expect_one_of(&[200, 201]);
        let text = server.get("/messages/1").text();
        let stored = text.split("\"n\":").nth(1).expect("n").trim_end_matches('}');
        let (sent, kept): (f64, f64) = (number.parse().expect("a number"), stored.parse().expect("a number"));
        assert_eq!(sent, kept, "{number} is stored as {stored}");
        if number.parse::<i128>().is_ok() {
            assert_eq!(stored.parse::<i128>(), number.parse::<i128>(), "{number} is stored as {stored}");
        }
        assert_eq!(answer.text(), text);
    }
    let before = server.get("/messages/1").text();
    for (number, pointer) in [
        ("18446744073709551616", "/n"),
        ("-9223372036854775809", "/n"),
        ("1e400", "/n"),
        ("-1e309", "/n"),
        ("0.1000000000000000055511151231257827", "/n"),
        ("9007199254740993.0", "/n"),
        ("3.14159265358979323846", "/n"),
        ("1e-400", "/n"),
    ] {
        let problem = server.put("/messages/1", &format!(r#"{{"n":{number}}}"#)).problem(422);
        assert_eq!(problem["pointer"], pointer, "{number}: {problem}");
    }
    assert_eq!(server.get("/messages/1").text(), before);
    let patch = r#"[{"op":"add","path":"/deep","value":[0,{"x":1e999}]}]"#;
    let problem = server.ask("PATCH", "/messages/1", &[JSON_PATCH], patch).problem(422);
    assert_eq!(problem["pointer"], "/0/value/1/x", "{problem}");
}

#[test]
fn depth_has_a_bound() {
    let server = Server::start();
    // The document itself is the first level.
    let nested = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
    server.put("/messages/1", &nested(128)).expect(201);
    server.put("/messages/2", &nested(129)).expect_one_of(&[400, 422]);
    server.put("/messages/2", &nested(10_000)).expect_one_of(&[400, 422]);
    let objects = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    server.put("/messages/2", &objects).expect_one_of(&[400, 422]);
    server.put("/messages/2", &"[".repeat(10_000)).expect_one_of(&[400, 422]);
    // A patch may not dig deeper than a body could.
    let deeper = r#"[{"op":"add","path":"/b","value":{}},{"op":"move","from":"/a","path":"/b/a"}]"#;
    server.ask("PATCH", "/messages/1", &[JSON_PATCH], deeper).problem(422);
    server.get("/messages/2").problem(404);
    server.check_alive();
}

#[test]
fn text_survives() {
    let server = Server::start();
    let text = "é\u{1F600}\u{2028}\u{0}\u{7f}\"\\/\n\r\t\u{feff}";
    let body = json!({"text": text, "": {"": 1}, "__proto__": 1, "a/b~c": [null, true]});
    server.put("/messages/1", &body.to_string()).expect(201);
    let mut expected = body;
    expected["id"] = "1".into();
    assert_eq!(server.json("/messages/1"), expected);
    let mut follower = server.follow("/messages?from=snapshot");
    let (mut value, position) = follower.snapshot();
    let now = server.get("/messages").position().to_owned();
    if position != now {
        follower.fold_until(&mut value, &now);
    }
    assert_eq!(value["messages"]["1"], expected);
    // Surrogate pairs are one character.
    server.put("/messages/2", r#"{"t":"\ud83d\ude00"}"#).expect(201);
    assert_eq!(server.json("/messages/2")["t"], "\u{1F600}");
}

#[test]
fn patches_have_bounds() {
    let server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    let operation = r#"{"op":"add","path":"/a","value":1}"#;
    let many = |count: usize| format!("[{}]", vec![operation; count].join(","));
    server.ask("PATCH", "/messages/1", &[JSON_PATCH], &many(1_001)).problem(422);
    server.ask("PATCH", "/messages/1", &[JSON_PATCH], &many(1_000)).expect(200);
}

#[test]
fn the_largest_document() {
    let server = Server::start();
    let with = |bytes: usize| format!(r#"{{"id":"1","t":"{}"}}"#, "x".repeat(bytes - r#"{"id":"1","t":""}"#.len()));
    let largest = with(1 << 20);
    let answer = server.put("/messages/1", &largest).expect(201);
    assert_eq!(answer.text(), largest);
    let grow = r#"[{"op":"add","path":"/a","value":1}]"#;
    server.ask("PATCH", "/messages/1", &[JSON_PATCH], grow).problem(422);
    // Over the bound after the first operation, under it after the second.
    let round = r#"[{"op":"copy","from":"/t","path":"/u"},{"op":"remove","path":"/u"}]"#;
    server.ask("PATCH", "/messages/1", &[JSON_PATCH], round).problem(422);
    // The body fits, but not with the id.
    let anonymous = format!(r#"{{"t":"{}"}}"#, "x".repeat((1 << 20) - 8));
    assert_eq!(anonymous.len(), 1 << 20);
    server.put("/messages/2", &anonymous).problem(422);
    server.ask("POST", "/messages", &[JSON], &anonymous).problem(422);
    let mut follower = server.follow("/messages?from=earliest");
    follower.opening();
    let (_, operations) = follower.patch();
    assert_eq!(operations.as_array().expect("operations").last().expect("one")["value"].to_string(), largest);
}
