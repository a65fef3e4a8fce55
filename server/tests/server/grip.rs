//! The GRIP edge in front of a scripted origin: holds, next links, items, and origins and clients that misbehave.

mod faults;
mod links;
mod long_polls;
mod origin;
mod own;
mod streams;

use std::io::Read;
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};

use self::origin::target;
use crate::kit::{Answer, Asked, Client, Origin, Server, request, wait_for};

/// A server in front of an origin.
fn edge(origin: &Origin, arguments: &[&str]) -> Server {
    let listeners = ["--origin", &origin.url(), "--control", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    Server::with(&[&listeners, arguments].concat())
}

/// Waits until so many connections are held.
fn wait_held(server: &Server, count: u64) {
    wait_for("connections that are held", || (held(server) == count).then_some(()));
}

/// Connections that are held: as seats, and as conversations that await one channel each.
fn held(server: &Server) -> u64 {
    let text = server.admin().ask("GET", "/metrics", &[], "").expect(200).text();
    let sample = |name: &str| {
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.split(' ').nth(1)).expect("a sample").parse::<u64>().expect("a whole number")
    };
    sample("fantail_holds") + sample("fantail_holds_attending")
}

/// Waits for the request that has this target.
fn wait_asked(origin: &Origin, wanted: &str) -> Asked {
    wait_for(wanted, || origin.requests().into_iter().find(|asked| target(asked) == wanted))
}

/// The targets of all that the origin was asked so far.
fn targets(origin: &Origin) -> Vec<String> {
    origin.requests().iter().map(|asked| target(asked).to_owned()).collect()
}

/// An item; `-` is no id.
fn item(channel: &str, id: &str, prev_id: &str, formats: Value) -> Value {
    let mut item = json!({"channel": channel, "formats": formats});
    for (name, id) in [("id", id), ("prev-id", prev_id)].iter().filter(|(_, id)| *id != "-") {
        item[*name] = json!(id);
    }
    item
}

/// Publishes content for streams.
fn publish(server: &Server, channel: &str, id: &str, prev_id: &str, content: &str) -> u64 {
    publish_item(server, &item(channel, id, prev_id, json!({"http-stream": {"content": content}})))
}

/// Publishes; returns how many it has reached.
fn publish_item(server: &Server, item: &Value) -> u64 {
    let body = json!({"items": [item]}).to_string();
    let answer = server.control().ask("POST", "/publish", &[], &body).expect(200);
    answer.needs("Fantail-Listeners").parse().expect("a number")
}

/// A client whose body has no end.
struct Listener {
    head: Answer,
    socket: TcpStream,
    body: Vec<u8>,
}

impl Listener {
    fn get(server: &Server, target: &str) -> Listener {
        Listener::ask(server, target, &[])
    }

    fn ask(server: &Server, target: &str, fields: &[(&str, &str)]) -> Listener {
        let mut client = server.connect();
        client.send(request("GET", target, fields, b""));
        Listener::on(client)
    }

    fn on(client: Client) -> Listener {
        let mut socket = client.socket;
        let mut input = Vec::new();
        let end = loop {
            if let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            assert!(read(&mut socket, &mut input) > 0, "no head: {:?}", String::from_utf8_lossy(&input));
        };
        let body = input.split_off(end + 4);
        let head = String::from_utf8(input[..end].to_vec()).expect("a head is text");
        let fields = head.split("\r\n").skip(1).map(|line| line.split_once(": ").expect("a field"));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let status = head[9..12].parse().expect("a status");
        Listener { head: Answer { status, head, fields, body: Vec::new() }, socket, body }
    }

    /// Reads until the body begins with all of this, and takes it away.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        while self.body.len() < text.len() {
            let count = read(&mut self.socket, &mut self.body);
            assert!(count > 0, "it ended after {:?} instead of {text:?}", String::from_utf8_lossy(&self.body));
        }
        let rest = self.body.split_off(text.len());
        assert_eq!(String::from_utf8_lossy(&self.body), text);
        self.body = rest;
    }

    /// That the body ends, with nothing more in it.
    #[track_caller]
    fn expect_end(&mut self) {
        let mut rest = std::mem::take(&mut self.body);
        while read(&mut self.socket, &mut rest) > 0 {}
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    fn leave(self) {
        drop(self.socket.shutdown(Shutdown::Both));
    }
}

fn read(socket: &mut TcpStream, out: &mut Vec<u8>) -> usize {
    let mut chunk = [0; 64 * 1024];
    let count = socket.read(&mut chunk).unwrap_or_else(|error| panic!("{error}"));
    out.extend_from_slice(&chunk[..count]);
    count
}
