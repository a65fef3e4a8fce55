//! Writes groups: for each stream one synced write in flight, for all streams of a core on one ring.
//!
//! ```text
//! keys:   write ─┐ only in groups that have keys: they are durable before the group
//! log:           └> write
//! index:  write     holds no truth, so nobody waits for its sync
//! ```
//!
//! With `--durability sync` a write of keys or of the log is done when its bytes are on the medium (`RWF_DSYNC`): a write and an
//! fdatasync in one.
//!
//! A short or failed write severs the chain; nothing is tried again.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use fantail_engine::log::manifest::Durability;
use fantail_engine::stream::Sealed;
use io_uring::{opcode, squeue, types};
use slab::Slab;

use crate::ring::{Refused, Ring};

/// Entries of the ring: a group needs at most three.
const ENTRIES: u32 = 256;
const ENTRIES_OF_A_GROUP: u32 = 3;

/// The open files of a stream's newest segment.
pub struct Files {
    /// Sequence of the segment's first event.
    pub first: u64,
    /// Offset of the segment's first byte in the log.
    pub base: u64,
    /// The segment.
    pub log: File,
    /// Its index.
    pub index: File,
    /// Its idempotency keys.
    pub keys: File,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Bytes of the keys.
    pub keys_bytes: u64,
}

/// A group that the kernel works on: it holds what the entries point to.
struct Job {
    stream: Arc<str>,
    sealed: Sealed,
    index: Vec<u8>,
    outstanding: u8,
    failure: Option<io::Error>,
}

/// What an entry of the ring did; the low bits of its user data.
#[derive(Clone, Copy)]
enum Step {
    Keys = 0,
    Log = 1,
    Index = 2,
}

/// What came of a stream's group.
pub type Written = (Arc<str>, io::Result<()>);

/// What a disk has begun since its start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Groups of all streams.
    pub groups: u64,
    /// Writes that are done when they are on the medium.
    pub syncs: u64,
}

/// A core's writes.
pub struct Disk {
    ring: Ring,
    jobs: Slab<Job>,
    done: Vec<Written>,
    durability: Durability,
    counts: Counts,
}

impl Disk {
    /// A disk whose completions wake `eventfd`.
    ///
    /// # Errors
    /// As [`Ring::open`].
    pub fn new(durability: Durability, eventfd: RawFd) -> Result<Disk, Refused> {
        let ring = Ring::open(ENTRIES, 2 * ENTRIES, eventfd)?;
        Ok(Disk { ring, jobs: Slab::new(), done: Vec::new(), durability, counts: Counts::default() })
    }

    /// Begins to write a group to the end of the stream's files. At most one per stream is in flight.
    pub fn write(&mut self, stream: Arc<str>, files: &mut Files, sealed: Sealed) {
        if !self.ring.has_room(ENTRIES_OF_A_GROUP) {
            self.ring.enter();
        }
        let index = sealed.index_entries(files.base);
        let offset = sealed.appended.start - files.base;
        let entry = self.jobs.vacant_entry();
        let id = entry.key() as u64;
        let job = entry.insert(Job { stream, sealed, index, outstanding: 0, failure: None });
        let (sync, syncs) = match self.durability {
            Durability::Sync => (libc::RWF_DSYNC, 1),
            Durability::Flush | Durability::None => (0, 0),
        };

        let mut chain = Vec::with_capacity(ENTRIES_OF_A_GROUP as usize);
        if !job.sealed.keys.is_empty() {
            let keys = write(&files.keys, &job.sealed.keys, files.keys_bytes, sync, id, Step::Keys);
            chain.push(keys.flags(squeue::Flags::IO_LINK));
            files.keys_bytes += job.sealed.keys.len() as u64;
        }
        chain.push(write(&files.log, job.sealed.appended.bytes(), offset, sync, id, Step::Log));
        self.counts.groups += 1;
        self.counts.syncs += syncs * chain.len() as u64;
        chain.push(write(&files.index, &job.index, files.index_bytes, 0, id, Step::Index));
        files.index_bytes += job.index.len() as u64;
        job.outstanding = chain.len() as u8;
        for entry in &chain {
            // SAFETY: the job holds the bytes until all its completions are there, and the stream keeps its files open
            // while a group of it is in flight.
            unsafe { self.ring.push(entry) };
        }
    }

    /// Submits what was begun, and takes note of what is done.
    pub fn enter(&mut self) {
        // One enter may leave completions behind, and the eventfd isn't rung for them again.
        while self.ring.is_woken() {
            self.ring.enter();
            self.reap();
        }
    }

    fn reap(&mut self) {
        for entry in self.ring.completions() {
            let id = (entry.user_data() >> 2) as usize;
            let job = &mut self.jobs[id];
            let expected = match entry.user_data() & 3 {
                step if step == Step::Keys as u64 => job.sealed.keys.len(),
                step if step == Step::Log as u64 => job.sealed.appended.length,
                _ => job.index.len(),
            };
            let result = match usize::try_from(entry.result()) {
                Err(_) => Err(io::Error::from_raw_os_error(-entry.result())),
                Ok(count) if count < expected => {
                    let taken = format!("{count} of {expected} bytes were taken; there may be no space left");
                    Err(io::Error::new(io::ErrorKind::WriteZero, taken))
                }
                Ok(_) => Ok(()),
            };
            if let Err(error) = result {
                // The cause is the first one; the rest of the chain is only cancelled.
                let is_cause = job.failure.as_ref().is_none_or(|known| known.raw_os_error() == Some(libc::ECANCELED));
                if is_cause {
                    job.failure = Some(error);
                }
            }
            job.outstanding -= 1;
            if job.outstanding == 0 {
                let job = self.jobs.remove(id);
                self.done.push((job.stream, job.failure.map_or(Ok(()), Err)));
            }
        }
    }

    /// The groups that are done since this was last asked.
    pub fn take_done(&mut self) -> Vec<Written> {
        std::mem::take(&mut self.done)
    }

    /// Whether there are any.
    #[must_use]
    pub fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    /// What it has begun so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether a group is in flight.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.jobs.is_empty()
    }
}

fn write(file: &File, bytes: &[u8], offset: u64, sync: i32, id: u64, step: Step) -> squeue::Entry {
    let length = u32::try_from(bytes.len()).expect("groups are smaller than 4 GiB");
    opcode::Write::new(types::Fd(file.as_raw_fd()), bytes.as_ptr(), length)
        .offset(offset)
        .rw_flags(sync)
        .build()
        .user_data(id << 2 | step as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fantail_engine::json;
    use fantail_engine::position::Epoch;
    use fantail_engine::protocol::condition::Guard;
    use fantail_engine::stream::{Change, Operation, Origin, Stream};
    use fantail_engine::topic::Place;
    use std::fs::OpenOptions;

    /// A core's eventfd.
    fn eventfd() -> File {
        // SAFETY: a plain system call.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the descriptor is new and ours.
        unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }
    }

    /// Waits until it is rung; false after half a minute.
    fn is_rung(eventfd: &mut File) -> bool {
        let mut poll = libc::pollfd { fd: eventfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry that lives through the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 30_000) };
        ready == 1 && io::Read::read(eventfd, &mut [0; 8]).is_ok()
    }

    /// What a core does, without its tick: it sleeps when nothing is done, until it is rung. Since Linux 6.13 one enter leaves
    /// completions behind if there are many, and doesn't ring for them.
    #[test]
    fn groups_of_many_streams_that_end_together_are_all_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut eventfd = eventfd();
        let mut disk = Disk::new(Durability::Sync, eventfd.as_raw_fd()).expect("a ring");
        let file = |name: String| {
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(folder.path().join(name))
        };
        let mut streams: Vec<(Stream, Files)> = (0..200)
            .map(|number| {
                let mut stream = Stream::new(&format!("s{number}"), Origin::nothing());
                stream.begin(Epoch::from_bits(number));
                let open = |kind| file(format!("{number}.{kind}")).expect("a file");
                let (log, index, keys) = (open("log"), open("index"), open("keys"));
                (stream, Files { first: 1, base: 0, log, index, keys, index_bytes: 0, keys_bytes: 0 })
            })
            .collect();
        for round in 0..10 {
            for (stream, files) in &mut streams {
                let place = Place::parse(&format!("/{}/1", stream.name())).expect("a place");
                let value = json::parse(format!("{{\"n\":{round}}}").into_bytes()).expect("JSON");
                let operation = Operation { place, change: Change::Put(value), guard: Guard::default(), key: None };
                stream.commit(&operation, 1, 1 << 20).expect("an event");
                disk.write(stream.name().into(), files, stream.seal(1).expect("a group"));
            }
            let mut done = 0;
            while done < streams.len() {
                disk.enter();
                let written = disk.take_done();
                assert!(!written.is_empty() || is_rung(&mut eventfd), "round {round}: {done} of {}", streams.len());
                done += written.len();
                assert!(written.iter().all(|(_, result)| result.is_ok()));
            }
            for (stream, _) in &mut streams {
                stream.persisted();
            }
        }
    }
}
