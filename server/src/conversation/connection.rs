//! A conversation's socket and what was read of it but not used yet.
//!
//! Every wait has an end, and every operation has completed when a function returns: a time-out cancels it and awaits the
//! cancellation, since the socket may go to the audience next.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use fantail_engine::protocol::http1::{self, BodyError, BodyReader, Framing, Parsed, Request};
use fantail_engine::protocol::problem::Problem;
use monoio::buf::IoBuf;
use monoio::io::{
    AsyncReadRent, AsyncWriteRent, CancelableAsyncReadRent, CancelableAsyncWriteRent, Canceller, OwnedReadHalf,
    OwnedWriteHalf, Splitable,
};
use monoio::net::TcpStream;

use crate::core::{Awaiting, Core, Stage};
use crate::limits::{
    ANSWER_BYTES_PER_SECOND, ANSWER_TIME, IDLE_TIME, LINGER_BYTES_MAX, LINGER_TIME, PASSED_STALL_TIME, READ_BYTES,
    REQUEST_TIME, STALL_TIME_MAX, UNASKED_BYTES_MAX,
};

/// The connection is over and nobody is left to tell.
pub(super) enum End {
    /// The peer closed, reset or stalled it.
    Gone,
}

/// What ended a wait.
pub(super) enum Heard {
    /// What was waited for.
    Signal,
    /// Nothing, for as long as was given.
    Silence,
}

/// See the module.
pub(super) struct Connection {
    socket: TcpStream,
    /// Who is at the other end.
    peer: IpAddr,
    /// Bytes that were read and not used: `used..`.
    input: Vec<u8>,
    used: usize,
    /// What reads go into; lent to the kernel meanwhile.
    chunk: Vec<u8>,
    /// Ends an operation that takes too long; at most one is under way.
    canceller: Canceller,
    /// When the request under way must have arrived.
    deadline: Instant,
    /// How long a write may take besides what its bytes take.
    patience: Duration,
}

impl Connection {
    pub(super) fn new(socket: TcpStream, peer: IpAddr) -> Connection {
        Connection {
            socket,
            peer,
            input: Vec::new(),
            used: 0,
            chunk: Vec::new(),
            canceller: Canceller::new(),
            deadline: Instant::now(),
            patience: ANSWER_TIME,
        }
    }

    /// A connection that the audience had.
    pub(super) fn back(socket: OwnedFd) -> io::Result<Connection> {
        let socket = std::net::TcpStream::from(socket);
        let peer = socket.peer_addr()?.ip();
        Ok(Connection::new(TcpStream::from_std(socket)?, peer))
    }

    /// Reads until a whole head is there, and returns what `understand` makes of it and of who has sent it.
    pub(super) async fn read_head<T>(
        &mut self,
        core: &Core,
        understand: impl FnOnce(&Request<'_>, IpAddr) -> T,
    ) -> Result<Result<T, Problem>, End> {
        self.input.drain(..self.used);
        self.used = 0;
        let mut is_begun = !self.input.is_empty();
        self.deadline = Instant::now() + if is_begun { REQUEST_TIME } else { IDLE_TIME };
        loop {
            if is_begun {
                match http1::parse(&self.input) {
                    Ok(Parsed::Complete { request, length }) => {
                        self.used = length;
                        return Ok(Ok(understand(&request, self.peer)));
                    }
                    Ok(Parsed::Partial) => {}
                    Err(error) => return Ok(Err(error.into())),
                }
            }
            if !is_begun && core.stage.get() != Stage::Open {
                return Err(End::Gone);
            }
            let (awaiting, time) = match is_begun {
                true => (Awaiting::Head, REQUEST_TIME),
                false => (Awaiting::Request, IDLE_TIME),
            };
            let wait = core.rests(self.socket.as_raw_fd(), awaiting, self.deadline - time);
            let read = self.read().await;
            core.goes_on(wait);
            match read {
                Ok(0) => return Err(End::Gone),
                Ok(_) if !is_begun => {
                    is_begun = true;
                    self.deadline = Instant::now() + REQUEST_TIME;
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut && is_begun => return Ok(Err(late())),
                Err(_) => return Err(End::Gone),
            }
        }
    }

    /// Appends to `out` what is there of a body.
    pub(super) fn feed(&mut self, reader: &mut BodyReader, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let fed = reader.feed(&self.input[self.used..], out)?;
        self.used += fed.consumed;
        Ok(())
    }

    /// Reads until the body is whole.
    pub(super) async fn read_body(&mut self, reader: &mut BodyReader) -> Result<Result<Vec<u8>, Problem>, End> {
        let mut body = Vec::new();
        loop {
            match reader.feed(&self.input[self.used..], &mut body) {
                Ok(fed) => {
                    self.used += fed.consumed;
                    if fed.done {
                        return Ok(Ok(body));
                    }
                }
                Err(error) => return Ok(Err(error.into())),
            }
            self.input.clear();
            self.used = 0;
            match self.read().await {
                Ok(0) => return Err(End::Gone),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(Err(late())),
                Err(_) => return Err(End::Gone),
            }
        }
    }

    /// Appends to the input what the socket has, until the deadline.
    async fn read(&mut self) -> io::Result<usize> {
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        chunk.reserve(READ_BYTES);
        let mut read = pin!(self.socket.cancelable_read(chunk, self.canceller.handle()));
        let (result, chunk) = monoio::select! {
            done = &mut read => done,
            () = monoio::time::sleep_until(self.deadline.into()) => {
                self.canceller = std::mem::take(&mut self.canceller).cancel();
                let (result, chunk) = read.await;
                (result.or(Err(io::ErrorKind::TimedOut.into())), chunk)
            }
        };
        if let Ok(count) = result {
            self.input.extend_from_slice(&chunk[..count]);
        }
        self.chunk = chunk;
        result
    }

    /// Waits for `signal`, for as long as the peer stays and says nothing of note.
    pub(super) async fn listen(&mut self, signal: impl Future<Output = ()>, patience: Duration) -> Result<Heard, End> {
        if self.unread() > UNASKED_BYTES_MAX {
            return Err(End::Gone);
        }
        let mut signal = pin!(signal);
        let mut silence = pin!(monoio::time::sleep(patience));
        loop {
            let heard = monoio::select! {
                () = &mut signal => Some(Heard::Signal),
                () = &mut silence => Some(Heard::Silence),
                _ = self.socket.readable(false) => None,
            };
            if let Some(heard) = heard {
                return Ok(heard);
            }
            self.deadline = Instant::now() + LINGER_TIME;
            match self.read().await {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Ok(1..) if self.unread() <= UNASKED_BYTES_MAX => {}
                Ok(_) | Err(_) => return Err(End::Gone),
            }
        }
    }

    /// Whether the next request is there whole, so that nobody waits for the peer to read it.
    pub(super) fn has_request(&self) -> bool {
        let rest = &self.input[self.used..];
        match http1::parse(rest) {
            Ok(Parsed::Complete { request, length }) => match request.framing() {
                Framing::Empty => true,
                Framing::Length(bytes) => (rest.len() - length) as u64 >= bytes,
                Framing::Chunked => false,
            },
            Ok(Parsed::Partial) => false,
            // It is refused at once.
            Err(_) => true,
        }
    }

    /// Bytes that were read and not used.
    pub(super) fn unread(&self) -> usize {
        self.input.len() - self.used
    }

    /// From now on the peer is a follower, that may stall for long and has little to say: the memory for that is given back.
    pub(super) fn bear_stalls(&mut self) {
        self.patience = STALL_TIME_MAX;
        self.input.drain(..self.used);
        self.used = 0;
        self.input.shrink_to_fit();
        self.chunk = Vec::new();
    }

    /// Writes all of it.
    pub(super) async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<(), End> {
        let mut bytes = bytes.into();
        let slowest = Duration::from_secs((bytes.len() / ANSWER_BYTES_PER_SECOND) as u64);
        let deadline = Instant::now() + self.patience + slowest;
        while bytes.has_remaining() {
            let mut write = pin!(self.socket.cancelable_write(bytes.clone(), self.canceller.handle()));
            let result = monoio::select! {
                (result, _) = &mut write => result,
                () = monoio::time::sleep_until(deadline.into()) => {
                    self.canceller = std::mem::take(&mut self.canceller).cancel();
                    write.await.0
                }
            };
            match result {
                Ok(0) | Err(_) => return Err(End::Gone),
                Ok(count) => bytes.advance(count),
            }
        }
        Ok(())
    }

    /// Writes all of what passes from an origin and gives the memory back, empty; however slowly the peer takes it, as long as it
    /// takes something.
    pub(super) async fn pass(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, End> {
        pass(&mut self.socket, bytes).await
    }

    /// The descriptor, for a look at what the peer says.
    pub(super) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The two directions apart.
    pub(super) fn split(self) -> (Inlet, Outlet) {
        let fd = self.socket.as_raw_fd();
        let (inbound, outbound) = self.socket.into_split();
        let inlet = Inlet { socket: inbound, peer: self.peer, input: self.input, used: self.used, chunk: self.chunk };
        (inlet, Outlet { socket: outbound, fd })
    }

    /// The two directions of one connection together again.
    pub(super) fn unite(inlet: Inlet, outlet: Outlet) -> Connection {
        let Ok(socket) = inlet.socket.reunite(outlet.socket) else { unreachable!("they are of one socket") };
        let Inlet { peer, input, used, chunk, .. } = inlet;
        Connection { input, used, chunk, ..Connection::new(socket, peer) }
    }

    /// Ends the connection so that the peer can't take what came for all there is. A read may still be under way that nobody awaits.
    pub(super) fn reset(self) {
        // SAFETY: the connection holds the descriptor open for as long as it is borrowed.
        let socket = unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) };
        // Without it, the end only looks as if it were a good one.
        drop(socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)));
    }

    /// Shuts the write side down and reads on for a while: closing with unread input would reset the connection, and the
    /// reset would eat the answer.
    pub(super) async fn close(&mut self) {
        if self.socket.shutdown().await.is_err() {
            return;
        }
        self.deadline = Instant::now() + LINGER_TIME;
        let mut drained = 0;
        while drained < LINGER_BYTES_MAX {
            self.input.clear();
            match self.read().await {
                Ok(0) | Err(_) => return,
                Ok(count) => drained += count,
            }
        }
    }

    /// The socket alone, for the audience.
    pub(super) fn into_socket(self) -> OwnedFd {
        // SAFETY: the runtime gives the descriptor up, and no operation on it is under way.
        unsafe { OwnedFd::from_raw_fd(self.socket.into_raw_fd()) }
    }
}

/// What comes from the peer, while something else goes to it. A future of it that is dropped loses bytes.
pub(super) struct Inlet {
    socket: OwnedReadHalf<TcpStream>,
    peer: IpAddr,
    input: Vec<u8>,
    used: usize,
    chunk: Vec<u8>,
}

impl Inlet {
    /// Appends to `out` what is there of a body.
    pub(super) fn feed(&mut self, reader: &mut BodyReader, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let fed = reader.feed(&self.input[self.used..], out)?;
        self.used += fed.consumed;
        Ok(())
    }

    /// Appends to `out` all that is there.
    pub(super) fn take(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.input[self.used..]);
        self.used = self.input.len();
    }

    /// Reads more; zero at the end.
    pub(super) async fn read(&mut self) -> io::Result<usize> {
        self.input.drain(..self.used);
        self.used = 0;
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        chunk.reserve(READ_BYTES);
        let (result, chunk) = self.socket.read(chunk).await;
        self.input.extend_from_slice(&chunk[..*result.as_ref().unwrap_or(&0)]);
        self.chunk = chunk;
        result
    }
}

/// What goes to the peer, while something else comes from it.
pub(super) struct Outlet {
    socket: OwnedWriteHalf<TcpStream>,
    fd: RawFd,
}

impl Outlet {
    /// See [`Connection::pass`].
    pub(super) async fn pass(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, End> {
        pass(&mut self.socket, bytes).await
    }

    /// See [`Connection::descriptor`].
    pub(super) fn descriptor(&self) -> RawFd {
        self.fd
    }
}

async fn pass(socket: &mut impl AsyncWriteRent, mut bytes: Vec<u8>) -> Result<Vec<u8>, End> {
    let mut written = 0;
    while written < bytes.len() {
        let write = socket.write(bytes.slice(written..));
        let Ok((result, slice)) = monoio::time::timeout(PASSED_STALL_TIME, write).await else { return Err(End::Gone) };
        bytes = slice.into_inner();
        match result {
            Ok(0) | Err(_) => return Err(End::Gone),
            Ok(count) => written += count,
        }
    }
    bytes.clear();
    Ok(bytes)
}

fn late() -> Problem {
    Problem::timeout(format!("the request wasn't whole after {} s", REQUEST_TIME.as_secs()))
}
