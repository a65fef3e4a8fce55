//! Every frame, when it is due, to every socket of a fan; and what that came to.

use std::io;
use std::time::{Duration, Instant};

use fantail_benches::cpu;
use fantail_benches::fan::{BATCH, Fan};

use crate::frames::Frames;

/// What it came to.
pub(crate) struct Cost {
    /// Frames times sockets.
    pub(crate) deliveries: u64,
    /// Sends: a socket that is behind gets several frames in one.
    pub(crate) sends: u64,
    /// Sends that found a socket full. It is tried again in the next pass: the readers here don't stall.
    pub(crate) full: u64,
    /// User and system time of this process.
    pub(crate) cpu: Duration,
    /// From the first frame to the last send.
    pub(crate) window: Duration,
}

/// Sends until all sockets have been sent all frames.
pub(crate) fn send(fan: &mut Fan, mut frames: Frames) -> io::Result<Cost> {
    let mut log = Vec::new();
    let (start, before) = (Instant::now(), cpu::of_process());
    let (mut sends, mut full) = (0, 0);
    loop {
        frames.take_due(&mut log);
        let cursors = fan.cursors();
        let behind: Vec<usize> = (0..cursors.len()).filter(|&slot| cursors[slot] < log.len()).collect();
        for batch in behind.chunks(BATCH) {
            frames.take_due(&mut log);
            sends += batch.len() as u64;
            fan.send(batch, &log)?;
            full += fan.take_full().len() as u64;
        }
        if fan.cursors().iter().all(|&cursor| cursor == log.len()) {
            // The pace: nothing is due before.
            match frames.next() {
                Some(pause) => std::thread::sleep(pause),
                None => break,
            }
        }
    }
    let deliveries = frames.made() * fan.cursors().len() as u64;
    Ok(Cost { deliveries, sends, full, cpu: cpu::of_process().saturating_sub(before), window: start.elapsed() })
}
