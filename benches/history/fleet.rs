//! The sockets that are sent to, how far each is, and which of them can take more.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use socket2::SockRef;

/// Bytes that may wait unsent in a socket before it counts as full: as the server sets it.
const UNSENT_BYTES: u32 = 32 * 1024;

/// Bytes of the file that a socket is to be sent next, and how many of them it took.
pub(crate) struct Piece {
    /// Index of the socket.
    pub(crate) socket: usize,
    /// Where in the file.
    pub(crate) offset: u64,
    /// How many.
    pub(crate) length: usize,
    /// How many were taken.
    pub(crate) sent: usize,
}

/// See the module.
pub(crate) struct Fleet {
    /// The sending ends.
    pub(crate) sockets: Vec<TcpStream>,
    cursors: Vec<u64>,
    /// Those that took less than they were given, since when they haven't become writable.
    full: Vec<bool>,
    /// Bytes for each.
    total: u64,
}

impl Fleet {
    /// Connects `count` sockets to as many others, each of which is to be sent `total` bytes.
    pub(crate) fn launch(count: u32, total: u64) -> io::Result<(Fleet, Vec<TcpStream>)> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let (mut sockets, mut readers) = (Vec::new(), Vec::new());
        for _ in 0..count {
            readers.push(TcpStream::connect(address)?);
            let socket = listener.accept()?.0;
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES)?;
            sockets.push(socket);
        }
        let count = sockets.len();
        Ok((Fleet { sockets, cursors: vec![0; count], full: vec![false; count], total }, readers))
    }

    /// Whether all have taken everything.
    pub(crate) fn is_done(&self) -> bool {
        self.cursors.iter().all(|&cursor| cursor == self.total)
    }

    /// One piece of the file, which has `length` bytes, for each socket that can take one; waits until there is one.
    pub(crate) fn pieces(&mut self, length: u64, piece: u64, pieces: &mut Vec<Piece>) -> io::Result<()> {
        pieces.clear();
        while pieces.is_empty() {
            if (0..self.sockets.len()).all(|socket| self.full[socket] || self.cursors[socket] == self.total) {
                self.wait()?;
            }
            for (socket, &cursor) in self.cursors.iter().enumerate() {
                if !self.full[socket] && cursor < self.total {
                    let offset = cursor % length;
                    let length = piece.min(length - offset) as usize;
                    pieces.push(Piece { socket, offset, length, sent: 0 });
                }
            }
        }
        Ok(())
    }

    /// Takes note of what was sent.
    pub(crate) fn advance(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            self.cursors[piece.socket] += piece.sent as u64;
            self.full[piece.socket] = piece.sent < piece.length;
        }
    }

    /// Until one of those that are full is writable.
    fn wait(&mut self) -> io::Result<()> {
        let waiting: Vec<usize> = (0..self.sockets.len()).filter(|&socket| self.full[socket]).collect();
        let mut polled: Vec<libc::pollfd> =
            waiting.iter().map(|&at| poll_of(&self.sockets[at], libc::POLLOUT)).collect();
        poll(&mut polled)?;
        for (&socket, polled) in waiting.iter().zip(&polled) {
            self.full[socket] = polled.revents == 0;
        }
        Ok(())
    }
}

/// What is to be waited for of a socket.
pub(crate) fn poll_of(socket: &TcpStream, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 }
}

/// Waits until something has happened of what is waited for.
pub(crate) fn poll(polled: &mut [libc::pollfd]) -> io::Result<()> {
    // SAFETY: the kernel writes to the entries of the slice only.
    match unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, -1) } {
        count if count >= 0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
