//! A scripted origin: a function from requests to what it says.

use std::io;
use std::time::Duration;

use crate::kit::{Asked, Origin, Peer};

/// What it says.
pub(super) struct Says {
    status: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    breaks_off: bool,
}

impl Says {
    pub(super) fn ok(body: impl Into<Vec<u8>>) -> Says {
        Says::status("200 OK", body)
    }

    pub(super) fn status(status: &str, body: impl Into<Vec<u8>>) -> Says {
        Says { status: status.to_owned(), fields: Vec::new(), body: body.into(), breaks_off: false }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Says {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// A stream hold of these channels.
    pub(super) fn stream(self, channels: &str) -> Says {
        self.with("Grip-Hold", "stream").with("Grip-Channel", channels)
    }

    pub(super) fn next(self, link: &str) -> Says {
        self.with("Grip-Link", format!("<{link}>; rel=next"))
    }

    /// It says only half of the body, and resets the connection.
    pub(super) fn broken_off(self) -> Says {
        Says { breaks_off: true, ..self }
    }
}

/// An origin that says what the function makes of a target and the rest of the request.
pub(super) fn scripted(script: impl Fn(&str, &Asked) -> Says + Send + Sync + 'static) -> Origin {
    Origin::start(move |peer| {
        while let Some(asked) = peer.asked()? {
            let says = script(target(&asked), &asked);
            if !answer(peer, &asked, &says)? {
                break;
            }
        }
        Ok(())
    })
}

/// Whether another request may follow.
fn answer(peer: &mut Peer, asked: &Asked, says: &Says) -> io::Result<bool> {
    let mut out = format!("HTTP/1.1 {}\r\nContent-Length: {}\r\n", says.status, says.body.len()).into_bytes();
    for (name, value) in &says.fields {
        out.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    out.extend(b"\r\n");
    let bytes = if says.breaks_off { says.body.len() / 2 } else { says.body.len() };
    if !asked.line.starts_with("HEAD ") {
        out.extend_from_slice(&says.body[..bytes]);
    }
    peer.say(out)?;
    if says.breaks_off {
        // What was said has to be there first: the reset would eat it. If it isn't, the test still holds.
        std::thread::sleep(Duration::from_millis(50));
        peer.reset();
    }
    Ok(!says.breaks_off)
}

/// What a request asks for.
pub(super) fn target(asked: &Asked) -> &str {
    asked.line.split(' ').nth(1).expect("a request line has a target")
}
