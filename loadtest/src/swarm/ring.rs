//! One io_uring with a table of sockets, as safe calls. Here and in its buffers `unsafe` is for what the kernel reads and writes
//! on its own; elsewhere in the harness it is single system calls.
//!
//! A connection is a slot of the ring's file table and costs no process descriptor. What the kernel reads or writes while
//! an operation is under way (addresses, requests, receive buffers) belongs to the ring, so that no caller can free it.
//! `SINGLE_ISSUER | DEFER_TASKRUN`: everything happens in [`Ring::turn`], on the thread that built the ring.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use io_uring::types::{CancelBuilder, DestinationSlot, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use socket2::SockAddr;

use super::buffers::{self, Buffers};
use super::churn::Window;

/// Entries of the submission queue: two hundred handshakes in one enter.
const SUBMISSIONS: u32 = 1_024;

/// Entries of the completion queue. The kernel hands over some 20 completions per enter, more only if many are failed
/// at once; what doesn't fit it keeps.
const COMPLETIONS: u32 = 8_192;

/// What a completion is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Opening the socket.
    Socket,
    /// Connecting it.
    Connect,
    /// Sending the request.
    Send,
    /// The armed receive of what is read.
    Receive,
    /// The armed receive of what is thrown away.
    Discard,
    /// Disarming it.
    Disarm,
    /// Closing the socket.
    Close,
    /// Setting an option of it.
    Option,
}

/// Bytes that a socket with a narrow window receives without being read; the kernel doubles it.
static NARROW: libc::c_int = 16 * 1024;

/// Bytes of a segment of such a socket: Ethernet's. With loopback's of 64 KB the window would often be smaller than a segment,
/// and the kernel would send pieces only when its persist timer fires, five times a second.
static SEGMENT: libc::c_int = 1_448;

/// Closing resets: what isn't sent is discarded, and the peer is told with a RST.
static RESET: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };

/// What becomes of what a socket receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intake {
    /// It is read, from a buffer.
    Read,
    /// The kernel throws it away and says how much it was; the buffer stays as it was.
    Discarded,
}

impl Intake {
    fn kind(self) -> Kind {
        match self {
            Intake::Read => Kind::Receive,
            Intake::Discarded => Kind::Discard,
        }
    }
}

/// Something that has happened on a slot.
#[derive(Debug)]
pub(crate) struct Completion {
    /// What it is of.
    pub(crate) kind: Kind,
    /// Which connection.
    pub(crate) slot: u32,
    /// As the system call would return it, errors negative.
    pub(crate) result: i32,
    /// The buffer that `result` bytes were received with; to be given back with [`Ring::give_back`].
    pub(crate) buffer: Option<u16>,
    /// Whether more completions of this operation will come.
    pub(crate) more: bool,
}

/// The ring. Fields drop in this order: the kernel writes to the buffers only in an enter of the ring.
pub(crate) struct Ring {
    ring: IoUring,
    read: Buffers,
    discarded: Buffers,
    addresses: Vec<SockAddr>,
    /// Per slot: the request that is being sent.
    requests: Vec<Option<Box<[u8]>>>,
}

impl Ring {
    /// A ring for `slots` connections to `addresses`, used by this thread only.
    pub(crate) fn new(slots: usize, addresses: &[SocketAddr]) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all().setup_cqsize(COMPLETIONS);
        // Kernels before 6.6 know no ring without the array.
        let ring = builder.clone().setup_no_sqarray().build(SUBMISSIONS).or_else(|_| builder.build(SUBMISSIONS))?;
        ring.submitter().register_files_sparse(slots as u32)?;
        let read = Buffers::new(&ring, buffers::READ)?;
        let discarded = Buffers::new(&ring, buffers::DISCARDED)?;
        let addresses = addresses.iter().map(|&address| address.into()).collect();
        Ok(Ring { ring, read, discarded, addresses, requests: vec![None; slots] })
    }

    /// Opens a socket in `slot`, connects it to the address with this index, sends the request and arms the receive: one
    /// chain, of which every part completes; what comes after a part that fails completes as canceled.
    pub(crate) fn dial(&mut self, slot: u32, address: usize, request: Vec<u8>, window: Window) -> io::Result<()> {
        let mut chain = self.handshake(slot, address, request);
        if window == Window::Narrow {
            // Before the connection is there, since both are negotiated with it.
            chain.insert(1, option(slot, libc::SOL_SOCKET, libc::SO_RCVBUF, &NARROW));
            chain.insert(1, option(slot, libc::IPPROTO_TCP, libc::TCP_MAXSEG, &SEGMENT));
        }
        chain.push(receive(slot, Intake::Read));
        self.link(chain)
    }

    /// The same without a receive, for one who won't wait for the answer. The last completion is that of the send.
    pub(crate) fn knock(&mut self, slot: u32, address: usize, request: Vec<u8>) -> io::Result<()> {
        let chain = self.handshake(slot, address, request);
        self.link(chain)
    }

    fn handshake(&mut self, slot: u32, address: usize, request: Vec<u8>) -> Vec<squeue::Entry> {
        let address = &self.addresses[address % self.addresses.len()];
        let (name, length) = (address.as_ptr().cast(), address.len());
        let domain = i32::from(address.family());
        let request: &[u8] = self.requests[slot as usize].insert(request.into());
        let destination = DestinationSlot::try_from_slot_target(slot).expect("a slot of the table");
        let socket = opcode::Socket::new(domain, libc::SOCK_STREAM, 0).file_index(Some(destination)).build();
        let connect = opcode::Connect::new(Fixed(slot), name, length).build();
        let send = opcode::Send::new(Fixed(slot), request.as_ptr(), request.len() as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        vec![
            socket.user_data(tag(Kind::Socket, slot)),
            connect.user_data(tag(Kind::Connect, slot)),
            send.user_data(tag(Kind::Send, slot)),
        ]
    }

    /// Arms a receive again.
    pub(crate) fn arm(&mut self, slot: u32, intake: Intake) -> io::Result<()> {
        self.push(&[receive(slot, intake)])
    }

    /// Disarms the receive; its last completion says that it is done.
    pub(crate) fn disarm(&mut self, slot: u32, intake: Intake) -> io::Result<()> {
        let receive = CancelBuilder::user_data(tag(intake.kind(), slot));
        self.push(&[opcode::AsyncCancel2::new(receive).build().user_data(tag(Kind::Disarm, slot))])
    }

    /// Closes the socket. The peer learns of it only if no receive is armed.
    pub(crate) fn close(&mut self, slot: u32) -> io::Result<()> {
        self.push(&[opcode::Close::new(Fixed(slot)).build().user_data(tag(Kind::Close, slot))])
    }

    /// Closes the socket with a reset. Needs Linux 6.7.
    pub(crate) fn reset(&mut self, slot: u32) -> io::Result<()> {
        let close = opcode::Close::new(Fixed(slot)).build().user_data(tag(Kind::Close, slot));
        self.link(vec![option(slot, libc::SOL_SOCKET, libc::SO_LINGER, &RESET), close])
    }

    /// Submits what was asked for, waits at most `patience` for something to happen, and appends to `happened`.
    pub(crate) fn turn(&mut self, patience: Duration, happened: &mut Vec<Completion>) -> io::Result<()> {
        let patience = Timespec::from(patience);
        match self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&patience)) {
            Ok(_) => {}
            // Time, a signal, or more completions than the queue holds: they are read below.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {}
            Err(error) => return Err(error),
        }
        for entry in self.ring.completion() {
            let (kind, slot) = untag(entry.user_data());
            if kind == Kind::Send {
                self.requests[slot as usize] = None;
            }
            happened.push(Completion {
                kind,
                slot,
                result: entry.result(),
                buffer: cqueue::buffer_select(entry.flags()),
                more: cqueue::more(entry.flags()),
            });
        }
        Ok(())
    }

    /// The first `length` bytes of the buffer that a receive of what is read has named.
    pub(crate) fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        self.read.bytes(buffer, length)
    }

    /// Lets the kernel use the buffer of a receive anew.
    pub(crate) fn give_back(&mut self, buffer: u16, intake: Intake) {
        match intake {
            Intake::Read => self.read.give_back(buffer),
            Intake::Discarded => self.discarded.give_back(buffer),
        }
    }

    /// Queues a chain: each entry begins when the one before it has succeeded.
    fn link(&mut self, mut chain: Vec<squeue::Entry>) -> io::Result<()> {
        let last = chain.len() - 1;
        for entry in &mut chain[..last] {
            *entry = entry.clone().flags(squeue::Flags::IO_LINK);
        }
        self.push(&chain)
    }

    /// Queues entries that belong together; submits those before them if there is no room.
    fn push(&mut self, entries: &[squeue::Entry]) -> io::Result<()> {
        let mut queue = self.ring.submission();
        if queue.capacity() - queue.len() < entries.len() {
            drop(queue);
            self.ring.submit()?;
            queue = self.ring.submission();
        }
        // SAFETY: addresses are never changed and live as long as the ring; a request lives until its Send completes,
        // which it does even when canceled; a slot is dialled again only after that. Receives write to buffers that
        // outlive the ring; the values of options are static.
        unsafe { queue.push_multiple(entries) }.map_err(|_| io::Error::other("the submission queue stays full"))
    }
}

/// Receives from the socket in `slot` until that is canceled or fails.
fn receive(slot: u32, intake: Intake) -> squeue::Entry {
    let (group, flags) = match intake {
        Intake::Read => (buffers::READ.group, 0),
        Intake::Discarded => (buffers::DISCARDED.group, libc::MSG_TRUNC),
    };
    opcode::RecvMulti::new(Fixed(slot), group).flags(flags).build().user_data(tag(intake.kind(), slot))
}

/// Sets an option of the socket in `slot`; the value lives forever, since the kernel may read it late.
fn option<T>(slot: u32, level: libc::c_int, name: libc::c_int, value: &'static T) -> squeue::Entry {
    let value: *const T = value;
    opcode::SetSockOpt::new(Fixed(slot), level as u32, name as u32, value.cast(), size_of::<T>() as u32)
        .build()
        .user_data(tag(Kind::Option, slot))
}

fn tag(kind: Kind, slot: u32) -> u64 {
    u64::from(slot) << 8 | kind as u64
}

fn untag(tag: u64) -> (Kind, u32) {
    use Kind::{Close, Connect, Disarm, Discard, Option, Receive, Send, Socket};
    ([Socket, Connect, Send, Receive, Discard, Disarm, Close, Option][(tag & 0xff) as usize], (tag >> 8) as u32)
}
