//! History for others to read: documents written over and over, as fast as the server takes them.
//!
//! A collection's documents `d0`, `d1`, … are replaced in turn, in bursts that are pipelined on a few connections. A document
//! belongs to one connection, so that its writes have an order. No write repeats the one before it, neither in its counter
//! `"k"` nor in its filling: each is an event of about the filling's size.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::arguments::FillArguments;
use crate::client::Client;
use crate::target::Target;

/// Bytes that a burst may have, and its answers: both fit into a connection's buffers, so that neither end waits for the other
/// to read.
const BURST_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a write around its filling: head and members.
const REST_BYTES: usize = 200;

/// Writes all events and says how fast that was.
pub(crate) fn run(typed: &FillArguments) -> Result<(), Failure> {
    let target = Target::resolve(&typed.url)?;
    if (typed.burst as usize).saturating_mul(typed.payload + REST_BYTES) > BURST_BYTES_MAX {
        return Err(Failure::Usage(format!("a burst has {BURST_BYTES_MAX} bytes at most: lower --burst or --payload")));
    }
    let start = Instant::now();
    let shares: Vec<Result<(), Failure>> = thread::scope(|scope| {
        let shares = (0..typed.connections).map(|share| {
            let target = &target;
            scope.spawn(move || write(typed, target, share))
        });
        let shares: Vec<_> = shares.collect();
        shares.into_iter().map(|share| share.join().expect("a writer doesn't panic")).collect()
    });
    shares.into_iter().collect::<Result<(), Failure>>()?;
    println!("{}", Filled { events: typed.events, took: start.elapsed() });
    Ok(())
}

/// What it came to.
struct Filled {
    events: u64,
    took: Duration,
}

impl fmt::Display for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        write!(f, "{} events in {seconds:.2} s, {:.0} per second", self.events, self.events as f64 / seconds.max(1e-9))
    }
}

/// One connection's share of the writes: those of every n-th document.
fn write(typed: &FillArguments, target: &Target, share: u64) -> Result<(), Failure> {
    let mut client = Client::new(target);
    let mut writes = (0..typed.events).filter(|write| write % typed.documents % typed.connections == share).peekable();
    let mut refused = Ok(());
    while refused.is_ok() && writes.peek().is_some() {
        for write in writes.by_ref().take(typed.burst as usize) {
            client.queue(&request(typed, target, write));
        }
        client.send(|answer| match answer {
            Ok(200..=299) => {}
            Ok(status) => refused = Err(Failure::Refused(format!("a write was answered with {status}"))),
            Err(error) => refused = Err(Failure::Unreachable(error.to_string())),
        });
    }
    refused
}

/// The write with this number.
fn request(typed: &FillArguments, target: &Target, write: u64) -> String {
    let (document, round) = (write % typed.documents, write / typed.documents);
    let letter = char::from(b'a' + (round % 26) as u8);
    let filling: String = std::iter::repeat_n(letter, typed.payload).collect();
    let body = format!("{{\"k\":{write},\"p\":\"{filling}\"}}");
    let (path, authority, length) = (&target.path, &target.authority, body.len());
    format!(
        "PUT {path}/d{document} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}
