//! The control listener: what publishers are told, and who may be one.

use std::thread;

use serde_json::{Value, json};

use crate::kit::{Answer, Client, Ended, Server, wait_for};

const CONTROL: [&str; 4] = ["--control", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
const AS_JSON: (&str, &str) = ("Accept", "application/json");

fn start(arguments: &[&str]) -> Server {
    Server::with(&[&CONTROL, arguments].concat())
}

fn item(channel: &str, id: Option<&str>, prev_id: Option<&str>) -> Value {
    let mut item = json!({"channel": channel, "formats": {"http-stream": {"content": "hello\n"}}});
    for (name, id) in [("id", id), ("prev-id", prev_id)] {
        if let Some(id) = id {
            item[name] = json!(id);
        }
    }
    item
}

fn publish(client: &mut Client, items: &[Value]) -> Answer {
    client.ask("POST", "/publish", &[], &json!({"items": items}).to_string())
}

/// A sample of the metrics.
fn metric(server: &Server, name: &str) -> u64 {
    let text = server.admin().ask("GET", "/metrics", &[], "").expect(200).text();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.and_then(|line| line.split(' ').nth(1)).expect("a sample").parse().expect("a whole number")
}

#[test]
fn it_answers_as_pushpins_clients_expect() {
    let server = start(&[]);
    let mut client = server.control();
    for target in ["/publish", "/publish/"] {
        let answer = client.ask("POST", target, &[], r#"{"items":[]}"#).expect(200);
        assert_eq!((&*answer.text(), answer.needs("Content-Type")), ("Published\n", "text/plain"));
    }
    let answer = publish(&mut client, &[item("a", None, None)]).expect(200);
    assert_eq!((&*answer.text(), answer.needs("Fantail-Listeners")), ("Published\n", "0"));
    let body = json!({"items": [item("a", None, None)]}).to_string();
    let answer = client.ask("POST", "/publish", &[AS_JSON], &body).expect(200);
    assert_eq!(answer.json(), json!({"message": "Published", "listeners": 0}));
    for target in ["/recover", "/recover/"] {
        assert_eq!(client.ask("POST", target, &[], "").expect(200).text(), "Updated\n");
        assert_eq!(client.ask("POST", target, &[AS_JSON], "").expect(200).json(), json!({"message": "Updated"}));
    }
    assert_eq!(client.ask("GET", "/", &[], "").expect(200).text(), "Fantail API\n");
    assert!(server.log().is_empty() || !server.log().contains("WARN"), "{}", server.log());
}

#[test]
fn it_refuses_with_a_sentence() {
    let server = start(&[]);
    let mut client = server.control();
    for target in ["/publish", "/recover/"] {
        for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
            let answer = client.ask(method, target, &[], "").expect(405);
            assert_eq!(answer.text(), format!("Method not allowed: {method}.\n"));
            assert_eq!(answer.needs("Allow"), "POST");
        }
    }
    assert_eq!(client.ask("POST", "/", &[], "").expect(405).needs("Allow"), "GET, HEAD");
    for target in ["/publish/x", "/messages", "/publish//", "/-/", "*"] {
        let method = if target == "*" { "OPTIONS" } else { "GET" };
        assert_eq!(client.ask(method, target, &[], "").expect(404).text(), "Not Found\n");
    }
    let answer = client.ask("GET", "/", &[("Accept", "text/html")], "").expect(406);
    assert_eq!(answer.text(), "Not Acceptable. Supported formats are text/plain and application/json.\n");
    for (body, sentence) in [
        ("{", "Body is not valid JSON.\n"),
        ("{}", "Invalid format: object does not contain 'items'\n"),
        (r#"{"items":7}"#, "Invalid format: object contains 'items' with wrong type\n"),
        (r#"{"items":[{"formats":{}}]}"#, "Invalid format: publish item object does not contain 'channel'\n"),
        (r#"{"items":[{"channel":"a"}]}"#, "Invalid format: no formats specified\n"),
    ] {
        assert_eq!(client.ask("POST", "/publish", &[], body).expect(400).text(), sentence, "{body}");
    }
    // A publication is taken whole or not at all.
    let body = json!({"items": [item("a", Some("1"), None), {"channel": "a"}]}).to_string();
    client.ask("POST", "/publish", &[], &body).expect(400);
    assert_eq!(metric(&server, "fantail_items_total"), 0);
    // What the server serves isn't here, and what is here isn't there.
    server.ask("POST", "/publish", &[], r#"{"items":[]}"#).expect(201);
    let large = format!(r#"{{"items":[],"x":"{}"}}"#, "x".repeat(1_000_000));
    client.send(crate::kit::request("POST", "/publish", &[], large.as_bytes()));
    client.answer("POST").expect_one_of(&[400, 413]);
}

#[test]
fn ids_put_items_in_order_and_tell_repeats() {
    let server = start(&["--cores", "2"]);
    let mut client = server.control();
    let mut told = |items: &[Value]| {
        let body = json!({"items": items}).to_string();
        client.ask("POST", "/publish", &[AS_JSON], &body).expect(200).json()
    };
    assert_eq!(told(&[item("a", Some("1"), None)]), json!({"message": "Published", "listeners": 0}));
    assert_eq!(
        told(&[item("a", Some("1"), None), item("b", Some("1"), None)]),
        json!({"message": "Published", "listeners": 0, "duplicates": 1})
    );
    assert_eq!(told(&[item("a", Some("3"), Some("2"))]), json!({"message": "Published", "listeners": 0, "waiting": 1}));
    assert_eq!(metric(&server, "fantail_items_waiting"), 1);
    told(&[item("a", Some("2"), Some("1"))]);
    assert_eq!(metric(&server, "fantail_items_waiting"), 0);
    assert_eq!(metric(&server, "fantail_items_total"), 4);
    assert_eq!(metric(&server, "fantail_gaps_total"), 0);
    // One that waits in vain goes after five seconds, as a gap.
    told(&[item("a", Some("9"), Some("8"))]);
    wait_for("the item to go", || (metric(&server, "fantail_items_waiting") == 0).then_some(()));
    assert_eq!(metric(&server, "fantail_gaps_total"), 1);
    assert_eq!(metric(&server, "fantail_items_duplicate_total"), 1);
    assert_eq!(metric(&server, "fantail_channels"), 2);
}

#[test]
fn publishers_may_be_many_and_pipeline() {
    let server = start(&["--cores", "2"]);
    thread::scope(|scope| {
        for publisher in 0..8 {
            let mut client = server.control();
            scope.spawn(move || {
                let mut sent = Vec::new();
                for number in 1..=50 {
                    let (id, prev_id) = (number.to_string(), (number - 1).to_string());
                    let channel = format!("c{publisher}");
                    let items = [item(&channel, Some(&id), (number > 1).then_some(&*prev_id))];
                    let body = json!({"items": items}).to_string();
                    sent.extend(crate::kit::request("POST", "/publish", &[AS_JSON], body.as_bytes()));
                }
                client.send(&sent);
                for _ in 0..50 {
                    // The order of a connection is kept: none waits for the one before it.
                    let told = client.answer("POST").expect(200).json();
                    assert_eq!(told, json!({"message": "Published", "listeners": 0}));
                }
            });
        }
    });
    assert_eq!(metric(&server, "fantail_items_total"), 400);
}

/// `{"iss":"realm","exp":4102444800}`, signed with `changeme`.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJyZWFsbSIsImV4cCI6NDEwMjQ0NDgwMH0.\
                     fYp60P_kXx5ZqqTKzeVDQQ4SxWORXBMXKHDYSIDskSc";
/// The same, of another issuer, expired, signed with another key, and not signed.
const TOKENS: [&str; 4] = [
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJvdGhlciIsImV4cCI6NDEwMjQ0NDgwMH0.\
     K6eDOOO9-jCNTp8ihzauky2s8K8yVw-BdY4XaAMhe7o",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJyZWFsbSIsImV4cCI6MTAwMDAwMDAwMH0.\
     rXknSKmgXM5luEcF1j9TDTNRpgg6bIVSB4Ttq1KF118",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJyZWFsbSIsImV4cCI6NDEwMjQ0NDgwMH0.\
     KInPH4hGHl_gIlgrGKbQF1s4XX-h6-taXDQ63IaQm8I",
    "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJpc3MiOiJyZWFsbSIsImV4cCI6NDEwMjQ0NDgwMH0.",
];

#[test]
fn only_those_who_prove_it_may_publish() {
    let server = start(&[
        "--control-basic",
        "ann:secret",
        "--control-bearer",
        "letmein",
        "--control-key",
        "changeme",
        "--control-iss",
        "realm",
    ]);
    let ask = |target: &str, authorization: &str| {
        let fields = [("Authorization", authorization)];
        let fields = if authorization.is_empty() { &[][..] } else { &fields[..] };
        server.control().ask("POST", target, fields, r#"{"items":[]}"#)
    };
    // ann:secret
    let token = format!("Bearer {TOKEN}");
    for right in ["Basic YW5uOnNlY3JldA==", "basic  YW5uOnNlY3JldA==", "Bearer letmein", &token] {
        assert_eq!(ask("/publish", right).expect(200).text(), "Published\n");
        ask("/recover", right).expect(200);
    }
    let tokens = TOKENS.map(|token| format!("Bearer {token}"));
    // ann:secre, bob:secret, and what isn't base64
    let wrong = [
        "",
        "Basic YW5uOnNlY3Jl",
        "Basic Ym9iOnNlY3JldA==",
        "Basic ann:secret",
        "Basic",
        "Bearer",
        "Bearer ",
        "Bearer letmeinn",
        "Bearer letmei",
        "letmein",
        "Digest letmein",
    ];
    for wrong in wrong.into_iter().chain(tokens.iter().map(String::as_str)) {
        for target in ["/publish", "/recover/"] {
            let answer = ask(target, wrong).expect(401);
            assert_eq!(answer.text(), "Unauthorized\n", "{wrong}");
            let challenges = answer.fields.iter().filter(|(name, _)| name == "WWW-Authenticate");
            let challenges: Vec<&str> = challenges.map(|(_, value)| value.as_str()).collect();
            let error = if wrong.is_empty() { "" } else { ", error=\"invalid_token\"" };
            let bearer = format!("Bearer realm=\"control\"{error}");
            assert_eq!(challenges, ["Basic realm=\"control\", charset=\"UTF-8\"", &bearer], "{wrong}");
        }
    }
    // Nobody learns more: neither which methods there are, nor whether a body is right.
    server.control().ask("GET", "/publish", &[], "").expect(401);
    server.control().ask("POST", "/publish", &[], "{").expect(401);
    server.control().ask("GET", "/", &[], "").expect(200);
    assert_eq!(metric(&server, "fantail_items_total"), 0);
    assert!(!server.log().contains("secret") && !server.log().contains("letmein"), "{}", server.log());
}

#[test]
fn beyond_this_host_nobody_publishes_unasked() {
    let started = |arguments: &[&str]| {
        let mut server = Server::to_be_started(&[]);
        server.set_arguments(&[&["--control", "0.0.0.0:0"], arguments].concat());
        server
    };
    let errors = Ended::of(&mut started(&[]).command()).errors;
    assert!(errors.contains("whoever reaches 0.0.0.0:0 could publish"), "{errors}");
    let mut asks = started(&["--control-bearer", "letmein"]);
    asks.start_again();
    asks.control().ask("POST", "/publish", &[], r#"{"items":[]}"#).expect(401);
    assert!(!asks.log().contains("whoever reaches"), "{}", asks.log());
    let mut open = started(&["--control-anonymous", "anybody"]);
    open.start_again();
    open.control().ask("POST", "/publish", &[], r#"{"items":[]}"#).expect(200);
    assert!(open.log().contains("whoever reaches the control listener may publish"), "{}", open.log());
}

#[test]
fn it_stops_with_the_server() {
    let mut server = start(&[]);
    let mut resting = server.control();
    publish(&mut resting, &[item("a", Some("2"), Some("1"))]).expect(200);
    publish(&mut resting, &[item("a", Some("4"), Some("3"))]).expect(200);
    server.stop();
    resting.expect_closed();
}
