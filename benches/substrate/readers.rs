//! The receiving ends and the writer, on one thread, so that a broadcast's span is told by one clock.
//!
//! Every byte is compared with the log: what is missing is waited for, anything else is an error. The thread never sleeps: no
//! sender pays for waking it, and what came while it spun it takes at once, which costs it less than the sending.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use fantail_benches::cpu;

use crate::readiness::{Interest, Readiness};

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// How long it spins between two looks: what a span may be too long by.
const SPIN: Duration = Duration::from_micros(50);

/// See the module.
pub(crate) struct Readers {
    /// The receiving ends.
    pub(crate) sockets: Vec<TcpStream>,
    /// Tells the server to publish.
    pub(crate) writer: UnixStream,
    /// All that will be published.
    pub(crate) log: &'static [u8],
    /// Bytes of a payload.
    pub(crate) payload: usize,
}

/// What reading came to.
pub(crate) struct Reading {
    /// Of each broadcast but the first few.
    pub(crate) spans: Vec<Duration>,
    /// CPU time of these broadcasts, but for the readers'.
    pub(crate) server: Duration,
    /// The readers' CPU time in which they didn't spin.
    pub(crate) readers: Duration,
    /// Bytes that were received in all.
    pub(crate) bytes: u64,
}

impl Reading {
    /// The span within which so many percent of the broadcasts were done.
    pub(crate) fn span_ms(&self, percent: usize) -> f64 {
        let mut spans = self.spans.clone();
        spans.sort_unstable();
        spans[(spans.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3
    }
}

impl Readers {
    /// Has every payload published when all sockets have received the one before. The first `warm_up` aren't counted.
    pub(crate) fn read(mut self, warm_up: u32) -> io::Result<Reading> {
        let readiness = Readiness::open()?;
        for (index, socket) in self.sockets.iter().enumerate() {
            readiness.add(socket, index as u64, Interest::Readable)?;
        }
        let mut received = vec![0; self.sockets.len()];
        let mut reading = Reading { spans: Vec::new(), server: Duration::ZERO, readers: Duration::ZERO, bytes: 0 };
        let (mut ready, mut buffer, mut before, mut spun) = (Vec::new(), vec![0; READ_BYTES], None, Duration::ZERO);
        for published in (self.payload..=self.log.len()).step_by(self.payload) {
            let is_counted = published > self.payload * warm_up as usize;
            if is_counted && before.is_none() {
                before = Some((cpu::of_process(), cpu::of_thread()));
                spun = Duration::ZERO;
            }
            let begun = Instant::now();
            self.writer.write_all(&[1])?;
            while reading.bytes < published as u64 * self.sockets.len() as u64 {
                readiness.look(&mut ready)?;
                for &index in &ready {
                    reading.bytes += self.receive(index as usize, &mut received, published, &mut buffer)?;
                }
                spun += spin();
            }
            if is_counted {
                reading.spans.push(begun.elapsed());
            }
        }
        let (process, thread) = before.expect("broadcasts that are counted");
        let (process, thread) = (cpu::of_process() - process, cpu::of_thread() - thread);
        reading.server = process.saturating_sub(thread);
        reading.readers = thread.saturating_sub(spun);
        Ok(reading)
    }

    /// Reads what there is for one socket. Returns how many bytes.
    fn receive(&mut self, index: usize, received: &mut [usize], end: usize, buffer: &mut [u8]) -> io::Result<u64> {
        let count = self.sockets[index].read(buffer)?;
        let from = received[index];
        received[index] += count;
        match self.log[..end].get(from..from + count) {
            _ if count == 0 => Err(ErrorKind::UnexpectedEof.into()),
            Some(expected) if *expected == buffer[..count] => Ok(count as u64),
            Some(_) | None => Err(io::Error::other(format!("socket {index} received something else at byte {from}"))),
        }
    }
}

/// Returns how much of this thread's CPU time it took.
fn spin() -> Duration {
    let (before, begun) = (cpu::of_thread(), Instant::now());
    while begun.elapsed() < SPIN {
        std::hint::spin_loop();
    }
    cpu::of_thread() - before
}
