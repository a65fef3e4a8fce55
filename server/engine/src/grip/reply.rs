//! A response as the instruction in it, and then an item, want it: status, fields, body.
//!
//! Fields of GRIP and of the origin's connection never pass. Invariant: whatever is written has one way in which its body's end
//! is known, and every field is one line.

use super::instruction::Instruction;
use super::is_grip;
use super::response::ResponseHead;
use crate::protocol::field::{elements, is_text, is_token};
use crate::protocol::http1::{self, Connection, Rules, is_hop_by_hop};

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    status: u16,
    /// Empty if it is the status' own.
    reason: Box<str>,
    fields: Vec<(Box<str>, Box<[u8]>)>,
}

impl Reply {
    /// The response of an origin, with these fields, as its instruction wants it; `rules` are the route's.
    #[must_use]
    pub fn new<'f>(
        status: u16,
        reason: &str,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        instruction: &Instruction,
        rules: Rules<'_>,
    ) -> Reply {
        let mut reply = Reply { status, reason: reason.into(), fields: Vec::new() };
        match &instruction.response {
            Some(response) => {
                (reply.status, reply.reason) = (200, "".into());
                reply.change(&response.head);
            }
            None => {
                let fields: Vec<(&str, &[u8])> =
                    fields.filter_map(|(name, value)| Some((str::from_utf8(name).ok()?, value))).collect();
                // Fields that `Connection` names belong to it, too.
                let values = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Connection"));
                let named: Vec<&[u8]> = values.flat_map(|(_, value)| elements(value)).collect();
                for (name, value) in fields {
                    if !named.iter().any(|other| other.eq_ignore_ascii_case(name.as_bytes())) {
                        reply.push(name, value);
                    }
                }
            }
        }
        reply.fields.retain(|(name, _)| instruction.exposes(name));
        if let Some(status) = &instruction.status {
            (reply.status, reply.reason) = (status.code, status.reason.clone().unwrap_or_default());
        }
        reply.fields.retain(|(name, _)| !rules.remove.iter().any(|own| own.eq_ignore_ascii_case(name)));
        for (name, value) in rules.add {
            reply.push(name, value.as_bytes());
        }
        reply
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The response that an item gives instead: its status, or 200; its fields replace those of the same name.
    #[must_use]
    pub fn answered(mut self, head: &ResponseHead) -> Reply {
        (self.status, self.reason) = (200, "".into());
        self.change(head);
        self
    }

    fn change(&mut self, head: &ResponseHead) {
        if let Some(code) = head.code {
            (self.status, self.reason) = (code, "".into());
        }
        if let Some(reason) = &head.reason {
            self.reason.clone_from(reason);
        }
        self.fields.retain(|(name, _)| !head.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
        for (name, value) in &head.headers {
            self.push(name, value.as_bytes());
        }
    }

    /// Adds a field, unless it is the connection's.
    fn push(&mut self, name: &str, value: &[u8]) {
        let is_line = name.bytes().all(is_token) && value.iter().all(|byte| is_text(*byte));
        if is_line && !is_grip(name) && !is_hop_by_hop(name.as_bytes()) {
            self.fields.push((name.into(), value.into()));
        }
    }

    /// Appends the head of a body that ends with the connection: what is sent is the same for all who are sent it.
    pub fn write_endless(&self, out: &mut Vec<u8>, date: &[u8]) {
        self.write(out, date);
        out.extend_from_slice(b"Connection: close\r\n\r\n");
    }

    /// Appends the head of a body of `length` bytes; of one that has none by its status, what fits it.
    pub fn write_whole(&self, out: &mut Vec<u8>, date: &[u8], length: usize, then: Connection) {
        self.write(out, date);
        if self.has_body() {
            out.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
        match then {
            Connection::Keep => {}
            Connection::KeepTold => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            Connection::Close => out.extend_from_slice(b"Connection: close\r\n"),
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Whether a body may follow.
    #[must_use]
    pub fn has_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }

    fn write(&self, out: &mut Vec<u8>, date: &[u8]) {
        let reason = match &*self.reason {
            "" => http1::reason(self.status),
            reason => reason,
        };
        out.extend_from_slice(format!("HTTP/1.1 {} ", self.status).as_bytes());
        out.extend(reason.bytes().filter(|byte| is_text(*byte)));
        out.extend_from_slice(b"\r\n");
        for (name, value) in &self.fields {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("Date")) {
            out.extend_from_slice(b"Date: ");
            out.extend_from_slice(date);
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grip::ResponseItem;

    const FIELDS: [(&str, &str); 6] = [
        ("Content-Type", "text/plain"),
        ("Grip-Channel", "c"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "5"),
        ("X", "1"),
        ("Keep-Alive", "timeout=5"),
    ];

    fn reply(extra: &[(&str, &str)], body: Option<&str>) -> Reply {
        let fields = FIELDS.iter().chain(extra).map(|(name, value)| (*name, value.as_bytes()));
        let instruction = Instruction::read(200, fields.clone(), body.map(str::as_bytes));
        let instruction = instruction.expect("it is well-formed").expect("it is an instruction");
        let fields = fields.map(|(name, value)| (name.as_bytes(), value));
        Reply::new(200, "Fine", fields, &instruction, Rules::default())
    }

    fn endless(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write_endless(&mut out, b"now");
        String::from_utf8(out).expect("a head is text")
    }

    #[test]
    fn what_is_the_connections_or_grips_stays_behind() {
        let head = "HTTP/1.1 200 Fine\r\nContent-Type: text/plain\r\nX: 1\r\nDate: now\r\nConnection: close\r\n\r\n";
        assert_eq!(endless(&reply(&[("Grip-Hold", "stream")], None)), head);
    }

    #[test]
    fn an_instruction_gives_a_status_and_says_which_fields_pass() {
        let reply =
            reply(&[("Grip-Status", "404 Not There"), ("Grip-Expose-Headers", "x, Date"), ("Date", "then")], None);
        assert_eq!(endless(&reply), "HTTP/1.1 404 Not There\r\nX: 1\r\nDate: then\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn a_response_in_the_body_stands_for_the_one_around_it() {
        let body = r#"{"response":{"code":201,"headers":{"Content-Length":"9","Connection":"x","Y":"2"},"body":"b"}}"#;
        let reply = reply(&[("Content-Type", "application/grip-instruct")], Some(body));
        let mut out = Vec::new();
        reply.write_whole(&mut out, b"now", 1, Connection::Keep);
        let head = "HTTP/1.1 201 Created\r\nY: 2\r\nDate: now\r\nContent-Length: 1\r\n\r\n";
        assert_eq!(String::from_utf8(out).expect("a head is text"), head);
    }

    #[test]
    fn an_item_replaces_fields_by_name() {
        let items =
            r#"{"items":[{"channel":"c","http-response":{"reason":"So","headers":[["x","2"],["Z","3"]],"body":""}}]}"#;
        let items = crate::grip::publication(items.as_bytes().to_vec()).expect("a publication");
        let Some(ResponseItem::Send { head, .. }) = &items[0].response else { panic!("a response") };
        let answered = reply(&[("Grip-Status", "404")], None).answered(head);
        let head =
            "HTTP/1.1 200 So\r\nContent-Type: text/plain\r\nx: 2\r\nZ: 3\r\nDate: now\r\nConnection: close\r\n\r\n";
        assert_eq!(endless(&answered), head);
    }

    #[test]
    fn a_status_without_a_body_gets_no_length() {
        let reply = reply(&[("Grip-Status", "204")], None);
        let mut out = Vec::new();
        reply.write_whole(&mut out, b"now", 0, Connection::KeepTold);
        let text = String::from_utf8(out).expect("a head is text");
        assert!(!reply.has_body() && !text.contains("Content-Length") && text.contains("keep-alive"), "{text}");
    }
}
