//! The writers. Open loop: each write has an intended time that doesn't depend on how long the writes before it took, and
//! carries that time with it, so that a stall of the server shows in every latency that it caused.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::connection::latencies;
use super::cores;
use super::plan::{Method, Plan, Publishing};
use super::thread::unix_ns;
use crate::Failure;

/// How long an answer is awaited.
const ANSWER: Duration = Duration::from_secs(30);

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What the writers did.
pub(crate) struct Published {
    /// Writes of each topic that were answered with success, since the run began.
    pub(crate) counts: Vec<u64>,
    /// Writes that were refused, failed, or never sent because the server was too slow.
    pub(crate) errors: Vec<String>,
    /// Microseconds from the intended time to the answer.
    pub(crate) latency: Histogram<u64>,
    /// From the first intended time to the last answer.
    pub(crate) took: Duration,
}

impl Published {
    /// Nothing yet, on this many topics.
    pub(crate) fn new(topics: usize) -> Published {
        Published { counts: vec![0; topics], errors: Vec::new(), latency: latencies(), took: Duration::ZERO }
    }
}

/// Creates the documents that are going to be followed, since a document that isn't there can't be.
pub(crate) fn create(plan: &Plan, publishing: &Publishing) -> Result<(), Failure> {
    if publishing.method == Method::Post {
        return Ok(());
    }
    let mut writer = Writer::new(plan, publishing);
    for path in &publishing.paths {
        match writer.write(path, 0, 0) {
            Ok(200..=299) => {}
            Ok(status) => return Err(Failure::Usage(format!("PUT {path} was answered with {status}"))),
            Err(error) => return Err(Failure::Unreachable(format!("PUT {path}: {error}"))),
        }
    }
    Ok(())
}

/// Sends `writes` writes at the plan's rate, continuing the counters in `published`, and adds what came of it.
pub(crate) fn publish(plan: &Plan, publishing: &Publishing, writes: u64, published: &mut Published) {
    let (start, start_ns) = (Instant::now(), unix_ns());
    let lanes: Vec<Lane> = thread::scope(|scope| {
        let counts = &published.counts;
        let lanes = (0..publishing.publishers).map(|number| {
            scope.spawn(move || {
                let _ = cores::pin(&plan.cores);
                cores::wake_precisely();
                Lane::new(plan, publishing, number, counts.clone()).run(writes, start, start_ns)
            })
        });
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().map(|lane| lane.join().expect("a writer doesn't panic")).collect()
    });
    let before = published.counts.clone();
    for lane in lanes {
        for (topic, count) in lane.counts.iter().enumerate() {
            published.counts[topic] += count - before[topic];
        }
        published.errors.extend(lane.errors);
        published.latency.add(lane.latency).expect("the bounds are the same");
    }
    published.took = start.elapsed();
}

/// One writer's share of the writes.
struct Lane<'a> {
    publishing: &'a Publishing,
    number: usize,
    writer: Writer,
    counts: Vec<u64>,
    errors: Vec<String>,
    latency: Histogram<u64>,
    patience: Duration,
}

impl<'a> Lane<'a> {
    fn new(plan: &Plan, publishing: &'a Publishing, number: usize, counts: Vec<u64>) -> Lane<'a> {
        let writer = Writer::new(plan, publishing);
        let patience = plan.patience;
        Lane { publishing, number, writer, counts, errors: Vec::new(), latency: latencies(), patience }
    }

    fn run(mut self, writes: u64, start: Instant, start_ns: u64) -> Lane<'a> {
        let (topics, publishers) = (self.counts.len(), self.publishing.publishers);
        let due = |write: u64| Duration::from_secs_f64(write as f64 / self.publishing.rate);
        let end = due(writes) + self.patience;
        for write in 0..writes {
            let topic = (write % topics as u64) as usize;
            // A topic belongs to one writer, so that its writes have an order; a lone topic to all of them.
            let turn = if topics == 1 { write as usize } else { topic };
            if turn % publishers != self.number {
                continue;
            }
            let due = due(write);
            if let Some(early) = due.checked_sub(start.elapsed()) {
                // Open loop: each write has its moment, whatever became of the one before.
                thread::sleep(early);
            } else if start.elapsed() > end {
                self.errors.push("writes never sent: the server was too slow for the rate".to_owned());
                break;
            }
            let path = &self.publishing.paths[topic];
            match self.writer.write(path, self.counts[topic] + 1, start_ns + due.as_nanos() as u64) {
                Ok(200..=299) => self.counts[topic] += 1,
                Ok(status) => self.errors.push(format!("write: status {status}")),
                Err(error) => {
                    // Whether it was written isn't known, so that the counter can't go on.
                    self.errors.push(format!("write: {error}"));
                    break;
                }
            }
            self.latency.saturating_record(start.elapsed().saturating_sub(due).as_micros() as u64);
        }
        self
    }
}

/// A connection that writes documents, opened when it is first needed.
struct Writer {
    address: SocketAddr,
    authority: String,
    method: &'static str,
    payload: usize,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

impl Writer {
    fn new(plan: &Plan, publishing: &Publishing) -> Writer {
        let method = match publishing.method {
            Method::Post => "POST",
            Method::Put => "PUT",
        };
        let (address, authority) = (plan.target.address, plan.target.authority.clone());
        Writer { address, authority, method, payload: publishing.payload, stream: None, received: Vec::new() }
    }

    /// Writes the document with this counter and intended time, and returns the status.
    fn write(&mut self, path: &str, counter: u64, time_ns: u64) -> io::Result<u16> {
        // The filling changes with each write: replacing the document is then smaller than naming its changes.
        let letter = char::from(b'a' + (counter % 26) as u8);
        let filling: String = std::iter::repeat_n(letter, self.payload).collect();
        let body = format!("{{\"n\":{counter},\"p\":\"{filling}\",\"t\":{time_ns}}}");
        let request = format!(
            "{} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.method,
            self.authority,
            body.len()
        );
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        stream.write_all(request.as_bytes())?;
        let (status, keeps) = self.answer(&mut stream)?;
        self.stream = keeps.then_some(stream);
        Ok(status)
    }

    fn connect(&mut self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, ANSWER)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        self.received.clear();
        Ok(stream)
    }

    /// The status of the next answer, and whether the connection stays.
    fn answer(&mut self, stream: &mut TcpStream) -> io::Result<(u16, bool)> {
        let head = loop {
            if let Some(head) = head(&self.received)? {
                break head;
            }
            if self.received.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("an answer's head without an end"));
            }
            self.fill(stream)?;
        };
        while self.received.len() < head.length + head.body {
            self.fill(stream)?;
        }
        self.received.drain(..head.length + head.body);
        Ok((head.status, head.keeps))
    }

    fn fill(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.received.extend_from_slice(&bytes[..length]);
                Ok(())
            }
        }
    }
}

/// An answer's head, as far as it matters to a writer.
struct Head {
    status: u16,
    length: usize,
    body: usize,
    keeps: bool,
}

fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let field = |name: &str| {
        let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let status = response.code.unwrap_or(0);
    let body = match (status, field("content-length").map(str::parse)) {
        (204 | 304, _) => 0,
        (_, Some(Ok(body))) => body,
        _ => return Err(io::Error::other("an answer without a content-length")),
    };
    let keeps = !field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some(Head { status, length, body, keeps }))
}
