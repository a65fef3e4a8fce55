//! A follower as simple as can be: one blocking socket, every event printed as it comes, and a new connection with the last
//! id when the old one ends, after as long as the server asked for.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use fantail_engine::protocol::http1::BodyReader;
use fantail_engine::protocol::sse::{Event, Parser};

use crate::arguments::FollowArguments;
use crate::reach::{self, REACH, SILENT};
use crate::swarm::FRAME_BYTES_MAX;
use crate::target::Target;
use crate::{Failure, head};

/// How long to wait before a new connection if the server didn't say.
const RETRY: Duration = Duration::from_secs(2);

/// Silence after which a connection that was answered counts as dead: three of the server's heartbeats.
const SILENCE: Duration = Duration::from_secs(60);

/// Follows until enough events came. Only the very first connection must succeed.
pub(crate) fn run(typed: &FollowArguments) -> Result<(), Failure> {
    let mut follower = Follower {
        target: Target::resolve(&typed.url)?,
        last_event_id: typed.last_event_id.clone(),
        retry: RETRY,
        wanted: typed.count.unwrap_or(u64::MAX),
        counted: 0,
        connections: 0,
    };
    while follower.counted < follower.wanted {
        match follower.connect() {
            Ok(()) if follower.counted < follower.wanted => eprintln!("the stream ended"),
            Ok(()) => break,
            Err(Ended::Refused(why)) => return Err(Failure::Unreachable(format!("{}: {why}", typed.url))),
            Err(Ended::Output(error)) => return Err(Failure::Machine(format!("the output: {error}"))),
            Err(Ended::Network(error)) if follower.connections == 0 => {
                return Err(Failure::Unreachable(error.to_string()));
            }
            Err(Ended::Network(error)) => eprintln!("the connection ended: {error}"),
        }
        // As long as the server asks for.
        thread::sleep(follower.retry);
    }
    eprintln!("{} events on {} connections", follower.counted, follower.connections);
    Ok(())
}

/// Why a connection came to nothing more.
enum Ended {
    /// The server doesn't serve this as a stream, and won't if asked again.
    Refused(String),
    /// The connection failed; another may not.
    Network(io::Error),
    /// Nobody reads what is printed.
    Output(io::Error),
}

struct Follower {
    target: Target,
    last_event_id: Option<String>,
    retry: Duration,
    /// Events to end after.
    wanted: u64,
    /// Events with an id that were more than a position.
    counted: u64,
    /// Connections that were answered with a stream.
    connections: u64,
}

impl Follower {
    /// One connection, until it ends or enough events came.
    fn connect(&mut self) -> Result<(), Ended> {
        let mut stream = TcpStream::connect_timeout(&self.target.address, REACH).map_err(Ended::Network)?;
        let request = self.target.subscription(&self.target.path, self.last_event_id.as_deref());
        stream.set_read_timeout(Some(REACH)).and_then(|()| stream.write_all(&request)).map_err(Ended::Network)?;
        let silent = |error: io::Error| match reach::is_silence(&error) {
            true => io::Error::new(io::ErrorKind::TimedOut, format!("{}: {SILENT}", self.target.authority)),
            false => error,
        };
        let mut bytes = vec![0; 64 * 1024];
        let mut answer = Vec::new();
        let head = loop {
            match head::read(&answer).map_err(Ended::Refused)? {
                Some(head) => break head,
                None => match stream.read(&mut bytes).map_err(|error| Ended::Network(silent(error)))? {
                    0 => return Err(Ended::Network(io::ErrorKind::UnexpectedEof.into())),
                    length => answer.extend_from_slice(&bytes[..length]),
                },
            }
        };
        stream.set_read_timeout(Some(SILENCE)).map_err(Ended::Network)?;
        self.connections += 1;
        let (mut parser, mut body) = (Parser::new(FRAME_BYTES_MAX), head.body.reader());
        self.read(&mut parser, body.as_mut(), &answer[head.length..])?;
        while self.counted < self.wanted && !body.as_ref().is_some_and(BodyReader::is_done) {
            match stream.read(&mut bytes).map_err(Ended::Network)? {
                0 => break,
                length => self.read(&mut parser, body.as_mut(), &bytes[..length])?,
            }
        }
        Ok(())
    }

    fn read(&mut self, parser: &mut Parser, body: Option<&mut BodyReader>, bytes: &[u8]) -> Result<(), Ended> {
        let mut stream = Cow::Borrowed(bytes);
        if let Some(body) = body {
            let mut content = Vec::new();
            body.feed(bytes, &mut content).map_err(|error| Ended::Refused(error.to_string()))?;
            stream = Cow::Owned(content);
        }
        let mut output = io::stdout().lock();
        let mut printed = Ok(());
        let read = parser.feed(&stream, |event| {
            if self.counted < self.wanted && printed.is_ok() {
                self.counted += u64::from(event.id.is_some() && !matches!(event.event, b"position" | b"reset"));
                printed = print(&mut output, &event);
            }
        });
        printed.and_then(|()| output.flush()).map_err(Ended::Output)?;
        read.map_err(|error| Ended::Refused(error.to_string()))?;
        self.retry = parser.retry_ms().map_or(self.retry, Duration::from_millis);
        if let Some(id) = parser.last_event_id() {
            self.last_event_id = Some(String::from_utf8_lossy(id).into_owned());
        }
        Ok(())
    }
}

/// One line: id, name, data.
fn print(output: &mut impl Write, event: &Event<'_>) -> io::Result<()> {
    for part in [event.id.unwrap_or(b"-"), b" ", event.event, b" ", event.data, b"\n"] {
        output.write_all(part)?;
    }
    Ok(())
}
