//! Sockets in a ring's file table, and the passes that send each what it hasn't got yet.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, squeue, types};

use crate::frames::Frames;

/// Entries that one enter runs: as many as the audience sends in one.
const BATCH: usize = 1024;

/// What it came to.
pub(crate) struct Cost {
    /// Frames times sockets.
    pub(crate) deliveries: u64,
    /// Sends: a socket that is behind gets several frames in one.
    pub(crate) sends: u64,
    /// Sends that found a socket full.
    pub(crate) full: u64,
    /// User and system time of this process.
    pub(crate) cpu: Duration,
    /// From the first frame to the last send.
    pub(crate) window: Duration,
}

/// See the module.
pub(crate) struct Fan {
    ring: IoUring,
    /// How far each socket has been sent the log; the index is its slot.
    cursors: Vec<usize>,
}

impl Fan {
    /// A ring with room for this many sockets.
    pub(crate) fn open(connections: u32) -> io::Result<Fan> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(2 * BATCH as u32)
            .build(BATCH as u32)?;
        ring.submitter().register_files_sparse(connections)?;
        Ok(Fan { ring, cursors: Vec::new() })
    }

    /// Takes a socket over; its process descriptor is closed.
    pub(crate) fn install(&mut self, socket: TcpStream) -> io::Result<()> {
        self.ring.submitter().register_files_update(self.cursors.len() as u32, &[socket.as_raw_fd()])?;
        self.cursors.push(0);
        Ok(())
    }

    /// Sockets that it has.
    pub(crate) fn sockets(&self) -> usize {
        self.cursors.len()
    }

    /// Sends every frame, when it is due, to every socket.
    pub(crate) fn send(&mut self, mut frames: Frames) -> io::Result<Cost> {
        let mut log = Vec::new();
        let (start, before) = (Instant::now(), cpu());
        let (mut sends, mut full) = (0, 0);
        loop {
            frames.take_due(&mut log);
            let behind: Vec<usize> = (0..self.cursors.len()).filter(|&slot| self.cursors[slot] < log.len()).collect();
            for batch in behind.chunks(BATCH) {
                frames.take_due(&mut log);
                sends += batch.len() as u64;
                full += self.batch(batch, &log)?;
            }
            if self.cursors.iter().all(|&cursor| cursor == log.len()) {
                // The pace: nothing is due before.
                match frames.next() {
                    Some(pause) => std::thread::sleep(pause),
                    None => break,
                }
            }
        }
        let deliveries = frames.made() * self.cursors.len() as u64;
        Ok(Cost { deliveries, sends, full, cpu: cpu().saturating_sub(before), window: start.elapsed() })
    }

    /// One send to each of these sockets. Returns how many were full.
    fn batch(&mut self, slots: &[usize], log: &[u8]) -> io::Result<u64> {
        let flags = libc::MSG_WAITALL | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        for &slot in slots {
            let bytes = &log[self.cursors[slot]..];
            let entry = opcode::Send::new(types::Fixed(slot as u32), bytes.as_ptr(), bytes.len() as u32)
                .flags(flags)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data((slot as u64) << 32 | bytes.len() as u64);
            self.cursors[slot] = log.len();
            // SAFETY: the log isn't touched before the enter returns, and MSG_DONTWAIT keeps the kernel from holding on to it
            // afterwards.
            unsafe { self.ring.submission().push(&entry) }.expect("a batch fits into the queue");
        }
        self.ring.submit()?;
        let mut full = 0;
        // Success is silent: what completes wasn't sent whole.
        for entry in self.ring.completion() {
            let (slot, length) = ((entry.user_data() >> 32) as usize, entry.user_data() as u32 as usize);
            match entry.result() {
                sent if sent >= 0 || sent == -libc::EAGAIN => self.cursors[slot] -= length - sent.max(0) as usize,
                error => return Err(io::Error::from_raw_os_error(-error)),
            }
            full += 1;
        }
        Ok(full)
    }
}

/// User and system time of this process so far.
fn cpu() -> Duration {
    // SAFETY: all zeros are a valid value, and the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}
