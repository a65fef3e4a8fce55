//! The ways: each sends pieces of a file to sockets, without waiting, and says how much of each was taken.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::ptr;

use io_uring::{IoUring, opcode, squeue, types};
use memmap2::{Mmap, MmapOptions};
use socket2::SockRef;

use crate::fleet::{Fleet, Piece};

/// Sends return at once, whatever a socket takes of them.
const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// All of them, in the order of the table.
pub(crate) const WAYS: [Way; 6] = [
    Way::Ring(Pages::Populated, Table::Ring),
    Way::Ring(Pages::Faulting, Table::Ring),
    Way::Ring(Pages::Populated, Table::Process),
    Way::Send,
    Way::Sendfile,
    Way::Pread,
];

/// A way to send.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// From a mapping, all sockets' pieces in one enter of a ring.
    Ring(Pages, Table),
    /// From a populated mapping, a system call each.
    Send,
    /// Without a look at the bytes, a system call each.
    Sendfile,
    /// Through a buffer, two system calls each.
    Pread,
}

/// How a mapping's pages come into memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pages {
    /// Before the first send.
    Populated,
    /// When they are first sent.
    Faulting,
}

/// Whose descriptors the sockets are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Table {
    /// The ring's: direct descriptors.
    Ring,
    /// The process's.
    Process,
}

impl Way {
    /// As the table of figures has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Ring(Pages::Populated, Table::Ring) => "mapped, ring, direct descriptors",
            Way::Ring(Pages::Faulting, Table::Ring) => "the same, pages that fault",
            Way::Ring(Pages::Populated, Table::Process) => "mapped, ring, process descriptors",
            Way::Ring(Pages::Faulting, Table::Process) => "the same, pages that fault, process descriptors",
            Way::Send => "mapped, send",
            Way::Sendfile => "sendfile",
            Way::Pread => "pread and send",
        }
    }

    /// Gets ready to send `file` to the sockets of `fleet`.
    pub(crate) fn open<'a>(self, file: &'a File, fleet: &Fleet) -> io::Result<Sender<'a>> {
        Ok(match self {
            Way::Ring(pages, table) => Sender::Ring(Box::new(RingSender::new(map(file, pages)?, table, fleet)?)),
            Way::Send => Sender::Send(map(file, Pages::Populated)?),
            Way::Sendfile => Sender::Sendfile(file),
            Way::Pread => Sender::Pread(file, Vec::new()),
        })
    }
}

fn map(file: &File, pages: Pages) -> io::Result<Mmap> {
    let mut options = MmapOptions::new();
    match pages {
        Pages::Populated => options.populate(),
        Pages::Faulting => &mut options,
    };
    // SAFETY: nobody writes to the file, which has no name.
    unsafe { options.map(file) }
}

/// A way that is ready.
pub(crate) enum Sender<'a> {
    /// See [`Way::Ring`].
    Ring(Box<RingSender>),
    /// See [`Way::Send`].
    Send(Mmap),
    /// See [`Way::Sendfile`].
    Sendfile(&'a File),
    /// See [`Way::Pread`]; with the buffer.
    Pread(&'a File, Vec<u8>),
}

impl Sender<'_> {
    /// Sends each piece, as far as its socket takes it now.
    pub(crate) fn send(&mut self, fleet: &Fleet, pieces: &mut [Piece]) -> io::Result<()> {
        match self {
            Sender::Ring(ring) => ring.send(fleet, pieces),
            Sender::Send(map) => each(pieces, |piece| {
                let from = piece.offset as usize;
                SockRef::from(&fleet.sockets[piece.socket]).send_with_flags(&map[from..from + piece.length], FLAGS)
            }),
            Sender::Sendfile(file) => {
                each(pieces, |piece| sendfile(fleet.sockets[piece.socket].as_raw_fd(), file.as_raw_fd(), piece))
            }
            Sender::Pread(file, buffer) => each(pieces, |piece| {
                buffer.resize(buffer.len().max(piece.length), 0);
                file.read_exact_at(&mut buffer[..piece.length], piece.offset)?;
                SockRef::from(&fleet.sockets[piece.socket]).send_with_flags(&buffer[..piece.length], FLAGS)
            }),
        }
    }
}

fn each(pieces: &mut [Piece], mut send: impl FnMut(&Piece) -> io::Result<usize>) -> io::Result<()> {
    for piece in pieces {
        piece.sent = match send(piece) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            sent => sent?,
        };
    }
    Ok(())
}

fn sendfile(socket: RawFd, file: RawFd, piece: &Piece) -> io::Result<usize> {
    let mut offset = piece.offset as libc::off_t;
    // SAFETY: both descriptors are open, and the kernel writes to the offset only.
    let sent = unsafe { libc::sendfile(socket, file, &raw mut offset, piece.length) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// A ring as the audience's: sends that succeed say nothing.
pub(crate) struct RingSender {
    ring: IoUring,
    map: Mmap,
    table: Table,
}

impl RingSender {
    fn new(map: Mmap, table: Table, fleet: &Fleet) -> io::Result<RingSender> {
        let entries = fleet.sockets.len().next_power_of_two() as u32;
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(2 * entries)
            .build(entries)?;
        match table {
            Table::Ring => {
                let descriptors: Vec<RawFd> = fleet.sockets.iter().map(AsRawFd::as_raw_fd).collect();
                ring.submitter().register_files(&descriptors)?;
            }
            Table::Process => {}
        }
        Ok(RingSender { ring, map, table })
    }

    fn send(&mut self, fleet: &Fleet, pieces: &mut [Piece]) -> io::Result<()> {
        for (at, piece) in pieces.iter_mut().enumerate() {
            let bytes = &self.map[piece.offset as usize..][..piece.length];
            let (address, length) = (ptr::from_ref(bytes).cast(), piece.length as u32);
            let entry = match self.table {
                Table::Ring => opcode::Send::new(types::Fixed(piece.socket as u32), address, length),
                Table::Process => {
                    opcode::Send::new(types::Fd(fleet.sockets[piece.socket].as_raw_fd()), address, length)
                }
            };
            let entry =
                entry.flags(FLAGS | libc::MSG_WAITALL).build().flags(squeue::Flags::SKIP_SUCCESS).user_data(at as u64);
            piece.sent = piece.length;
            // SAFETY: the mapping outlives the enter below, and MSG_DONTWAIT keeps the kernel from holding on to it afterwards.
            unsafe { self.ring.submission().push(&entry) }.expect("there is an entry for each socket");
        }
        self.ring.submit()?;
        // What completes wasn't sent whole.
        for entry in self.ring.completion() {
            let piece = &mut pieces[entry.user_data() as usize];
            piece.sent = match entry.result() {
                sent if sent >= 0 => sent as usize,
                full if full == -libc::EAGAIN => 0,
                error => return Err(io::Error::from_raw_os_error(-error)),
            };
        }
        Ok(())
    }
}
