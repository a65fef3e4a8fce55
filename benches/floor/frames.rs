//! The frames that come due one after the other: those that the server makes of the swarm's writes, to the byte count.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fantail_engine::event;
use fantail_engine::log::group;
use fantail_engine::position::{Epoch, Position};

/// Where a follower stands before the first frame.
pub(crate) const BEGINNING: Position = Position { epoch: Epoch::from_bits(0x00f1_0042), sequence: 0 };

/// See the module.
pub(crate) struct Frames {
    rate: f64,
    count: u64,
    payload: usize,
    /// Frames that came due.
    made: u64,
    start: Instant,
    start_ns: u64,
}

impl Frames {
    /// `count` frames, `rate` a second, the first one at once; documents have `payload` bytes of filling.
    pub(crate) fn new(rate: f64, count: u64, payload: usize) -> Frames {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        Frames { rate, count, payload, made: 0, start: Instant::now(), start_ns: since.as_nanos() as u64 }
    }

    /// Appends the frames that are due by now.
    pub(crate) fn take_due(&mut self, log: &mut Vec<u8>) {
        while self.made < self.count && self.start.elapsed() >= self.due() {
            self.push(log);
        }
    }

    /// How long until the next frame is due; none if there are no more.
    pub(crate) fn next(&self) -> Option<Duration> {
        (self.made < self.count).then(|| self.due().saturating_sub(self.start.elapsed()))
    }

    /// Frames that came due.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    fn due(&self) -> Duration {
        Duration::from_secs_f64(self.made as f64 / self.rate)
    }

    fn push(&mut self, log: &mut Vec<u8>) {
        let time_ns = self.start_ns + self.due().as_nanos() as u64;
        self.made += 1;
        let (n, id) = (self.made, format!("019ff000-0000-7000-8000-{:012x}", self.made));
        let filling = "x".repeat(self.payload);
        let document = format!("{{\"id\":\"{id}\",\"n\":{n},\"p\":\"{filling}\",\"t\":{time_ns}}}");
        let patch = format!("[{{\"op\":\"add\",\"path\":\"/messages/{id}\",\"value\":{document}}}]");
        let mut closed = Vec::new();
        event::encode(&mut closed, Position { sequence: n, ..BEGINNING }, patch.as_bytes());
        group::seal(&mut closed, n, n, time_ns / 1_000_000);
        log.extend_from_slice(&closed);
    }
}
