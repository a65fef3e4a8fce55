//! Options from a file, from the environment and from the command line.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::kit::{Ended, Server};

/// A server with this file, which isn't started yet.
fn with_file(text: &str, arguments: &[&str]) -> Server {
    let mut server = Server::to_be_started(&[]);
    let path = server.data().with_file_name("fantail.toml");
    fs::write(&path, text).expect("a file");
    let mut all = vec!["--config", path.to_str().expect("text"), "--admin", "127.0.0.1:0"];
    all.extend_from_slice(arguments);
    server.set_arguments(&all);
    server
}

fn config(server: &Server) -> Value {
    server.admin().ask("GET", "/config", &[], "").expect(200).json()
}

/// What is said of a file that is refused.
#[track_caller]
fn refused(text: &str) -> String {
    let Ended { code, output, errors } = Ended::of(&mut with_file(text, &[]).command());
    assert_eq!((code, output.as_str()), (Some(2), ""), "{errors}");
    errors
}

#[test]
fn flags_are_stronger_than_variables_and_variables_than_the_file() {
    let mut server = with_file("memory = 1\ncores = 1\nretain-age = '36h'\nretain-events = 'off'\n", &["--cores", "2"]);
    server.set_variable("FANTAIL_MEMORY", "3");
    server.set_variable("FANTAIL_CORES", "1");
    server.start_again();
    let config = config(&server);
    assert_eq!((&config["memory_bytes"], &config["cores"]), (&json!(3 << 20), &json!(2)));
    assert_eq!((&config["retain_age_ms"], &config["retain_events"]), (&json!(36 * 3_600_000), &Value::Null));
    assert_eq!(config["durability"], "sync", "what nobody gives is as ever");
}

#[test]
fn variables_do_not_disturb_other_commands() {
    let server = Server::start();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fantail"));
    command.args(["log", "verify", "--data"]).arg(server.data()).env("FANTAIL_MEMORY", "3");
    let ended = Ended::of(&mut command);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
}

#[test]
fn the_example_is_understood() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/config/example.toml");
    let mut server = Server::to_be_started(&[]);
    // Its addresses are those of a server in use.
    let path = path.to_str().expect("text");
    server.set_arguments(&["--config", path, "--admin", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
    server.start_again();
    let config = config(&server);
    let hidden = json!("set");
    let control = &config["control"];
    assert_eq!((&control["basic"], &control["bearer"], &control["key"]), (&hidden, &hidden, &hidden));
    assert_eq!((&control["iss"], &config["grip_iss"]), (&json!("realm"), &json!("pushpin")));
    assert_eq!((&config["grip_key"], &config["forwarded"]), (&hidden, &json!("replace")));
    let text = config.to_string();
    for secret in ["changeme", "a password", "a token", "Y2hhbmdlbWU"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let paths: Vec<_> = config["routes"].as_array().expect("routes").iter().map(|route| &route["path"]).collect();
    assert_eq!(paths, ["/", "/messages", "/api"], "the one with a host is first, then the longest");
    let route = &config["routes"][2]["target"]["origins"];
    assert_eq!(route["addresses"], json!(["http://127.0.0.1:3000", "http://127.0.0.1:3001"]));
    assert_eq!(route["timeouts"], json!({"connect": "2s", "response": "30s", "idle": "2m"}));
    assert_eq!(route["health"], json!({"path": "/healthz", "interval": "5s"}));
    assert_eq!(route["follow"], "auto");
    let rules = &config["routes"][0]["target"]["origins"]["request_headers"];
    assert_eq!(rules, &json!({"add": ["x-edge"], "remove": ["x-debug"]}), "no values");
}

#[test]
fn an_unknown_key_is_refused_and_the_meant_one_named() {
    let errors = refused("memory = 1\nlisten-on = '127.0.0.1:0'\n");
    assert!(errors.contains("line 2: there is no key `listen-on`; did you mean `listen`?"), "{errors}");
    let errors = refused("max-conections = 1\n");
    assert!(errors.contains("line 1: there is no key `max-conections`; did you mean `max-connections`?"), "{errors}");
    let errors = refused("[[routes]]\norigin = 'http://x'\n");
    assert!(errors.contains("did you mean `route`?"), "{errors}");
    let errors = refused("memory = 1\n\n[[route]]\npath = '/'\norign = 'http://x'\n");
    assert!(errors.contains("line 5: there is no key `orign`; did you mean `origin`?"), "{errors}");
    let errors = refused("zzz = 1\n");
    assert!(errors.contains("there is no key `zzz`; there are"), "{errors}");
    // The file can't name another one.
    assert!(refused("config = 'x'\n").contains("there is no key `config`"));
}

#[test]
fn a_value_that_cannot_be_is_refused_with_its_line() {
    for (text, said) in [
        ("memory = 1\nlisten = 'nowhere'\n", "line 2: invalid value 'nowhere' for '--listen <ADDRESS>'"),
        ("durability = 'maybe'\n", "[possible values: sync, flush, none]"),
        ("memory = true\n", "line 1: memory: a text or a whole number is wanted"),
        ("memory = [1, 2]\n", "cannot be used multiple times"),
        ("memory = 1\nmemory = 2\n", "line 2: duplicate key"),
        ("memory =\n", "line 1: "),
        ("[[route]]\norigin = 'x'\n", "an origin is http://"),
        ("[[route]]\norigin = 'http://x'\ntimeouts = { conect = '1s' }\n", "did you mean `connect`?"),
    ] {
        let errors = refused(text);
        assert!(errors.contains(said), "{text}: {errors}");
    }
    let mut server = Server::to_be_started(&[]);
    server.set_arguments(&["--config", "/nowhere/fantail.toml"]);
    let ended = Ended::of(&mut server.command());
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("/nowhere/fantail.toml can't be read"), "{}", ended.errors);
}

#[test]
fn an_origin_alone_is_a_route_for_all() {
    let mut server =
        with_file("[[route]]\norigin = 'http://127.0.0.1:1'\n[[route]]\npath = '/x'\nembedded = true\n", &[]);
    server.set_variable("FANTAIL_ORIGIN", "http://127.0.0.1:2");
    server.start_again();
    let routes = &config(&server)["routes"];
    assert_eq!(routes[0]["target"], "embedded");
    assert_eq!(routes[1]["target"]["origins"]["addresses"], json!(["http://127.0.0.1:2"]));
    assert_eq!(routes.as_array().map(Vec::len), Some(2));
}

#[test]
fn who_may_publish_is_checked_at_the_start() {
    let start = |arguments: &[&str]| {
        let mut server = Server::to_be_started(&[]);
        server.set_arguments(&[&["--control", "127.0.0.1:0"], arguments].concat());
        Ended::of(&mut server.command()).errors
    };
    assert!(start(&["--control-basic", "nobody"]).contains("with a colon between"));
    assert!(start(&["--control-key", "base64:?"]).contains("control-key can't be used: what follows base64: isn't"));
    assert!(start(&["--grip-key", ""]).contains("grip-key can't be used: it is empty"));
    assert!(start(&["--control-iss", "x"]).contains("there is no key"));
    // Wherever it is said that others reach the listener.
    let folder = tempfile::tempdir().expect("a folder");
    let (file, data) = (folder.path().join("fantail.toml"), folder.path().join("data"));
    fs::write(&file, "control = '0.0.0.0:0'\n").expect("a file");
    for (name, value) in [("FANTAIL_CONTROL", "0.0.0.0:0".as_ref()), ("FANTAIL_CONFIG", file.as_os_str())] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fantail"));
        command.args(["--listen", "127.0.0.1:0", "--admin", "off", "--data"]).arg(&data).env(name, value);
        let ended = Ended::of(&mut command);
        assert!(ended.errors.contains("whoever reaches 0.0.0.0:0 could publish"), "{name}: {}", ended.errors);
    }
}
