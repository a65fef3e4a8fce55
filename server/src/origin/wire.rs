//! The two directions of a connection to an origin, TLS or not, and what was read of it but not used yet.
//!
//! They are used apart, so that a response can come while its request is still on its way. A future of theirs that is dropped
//! loses bytes: only a connection that is closed next may be left so. Invariant: TLS's state is borrowed between waits only.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::RawFd;
use std::rc::Rc;

use fantail_engine::protocol::http1::{AnswerBody, Framing};
use monoio::BufResult;
use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;
use rustls::ClientConnection;

use crate::limits::READ_BYTES;

/// See the module.
pub(crate) struct Wire {
    pub(crate) fd: RawFd,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

/// What comes.
pub(crate) struct Reader {
    socket: OwnedReadHalf<TcpStream>,
    tls: Option<Rc<RefCell<ClientConnection>>>,
    /// Bytes that were read and not used: `used..`.
    input: Vec<u8>,
    used: usize,
    /// The same before they are deciphered.
    cipher: Vec<u8>,
    deciphered: usize,
    /// Whether the last answer has no body by rule, so that nothing of it shows that none comes.
    is_bodiless: bool,
}

/// What goes.
pub(crate) struct Writer {
    socket: OwnedWriteHalf<TcpStream>,
    tls: Option<Rc<RefCell<ClientConnection>>>,
}

impl Wire {
    /// The two directions of `socket`, which is `fd`.
    pub(super) fn new(fd: RawFd, socket: TcpStream, tls: Option<ClientConnection>) -> Wire {
        let tls = tls.map(|tls| Rc::new(RefCell::new(tls)));
        let (inbound, outbound) = socket.into_split();
        let reader = Reader {
            socket: inbound,
            tls: tls.clone(),
            input: Vec::new(),
            used: 0,
            cipher: Vec::new(),
            deciphered: 0,
            is_bodiless: false,
        };
        Wire { fd, reader, writer: Writer { socket: outbound, tls } }
    }

    /// Does what TLS wants done before anything is said.
    pub(super) async fn shake_hands(&mut self) -> io::Result<()> {
        let Some(tls) = self.writer.tls.clone() else { return Ok(()) };
        loop {
            self.writer.flush().await?;
            if !tls.borrow().is_handshaking() {
                return Ok(());
            }
            self.reader.decipher(&tls).await?;
        }
    }
}

impl Reader {
    /// Bytes that were read and not used.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.input[self.used..]
    }

    /// So many of them are used.
    pub(crate) fn use_up(&mut self, count: usize) {
        self.used += count;
        if self.used == self.input.len() {
            self.input.clear();
            self.used = 0;
        }
    }

    /// The head of an answer with this body is used, of so many bytes.
    pub(crate) fn use_up_head(&mut self, count: usize, body: AnswerBody) {
        self.is_bodiless = body == AnswerBody::Framed(Framing::Empty);
        self.use_up(count);
    }

    /// Whether the last answer has shown where it ends. One to `HEAD`, 204 and 304 haven't: there are origins that send bodies with
    /// them, which come later.
    pub(super) fn has_seen_the_end(&self) -> bool {
        !self.is_bodiless
    }

    /// Whether nothing is left of what came, deciphered or not.
    pub(super) fn is_used_up(&self) -> bool {
        let is_silent = |tls: &Rc<RefCell<ClientConnection>>| {
            let state = tls.borrow_mut().process_new_packets();
            state.is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed())
        };
        self.unread().is_empty() && self.deciphered == self.cipher.len() && self.tls.as_ref().is_none_or(is_silent)
    }

    /// Takes the whole buffer, if all that it holds is unread; what was in it is used up, and its memory may be given back.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        (self.used == 0).then(|| std::mem::take(&mut self.input))
    }

    /// Memory for what is read next.
    pub(crate) fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.input.capacity() < buffer.capacity() && self.input.is_empty() {
            buffer.clear();
            self.input = buffer;
        }
    }

    /// Reads more, up to `room` bytes at once; zero at the end.
    ///
    /// # Errors
    /// What the system or TLS says.
    pub(crate) async fn fill(&mut self, room: usize) -> io::Result<usize> {
        if self.used > 0 {
            self.input.drain(..self.used);
            self.used = 0;
        }
        match self.tls.clone() {
            None => read_more(&mut self.socket, &mut self.input, room).await,
            Some(tls) => self.fill_deciphered(&tls, room).await,
        }
    }

    async fn fill_deciphered(&mut self, tls: &RefCell<ClientConnection>, room: usize) -> io::Result<usize> {
        let start = self.input.len();
        loop {
            self.input.resize(start + room, 0);
            let read = tls.borrow_mut().reader().read(&mut self.input[start..]);
            self.input.truncate(start + read.as_ref().copied().unwrap_or(0));
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.decipher(tls).await?,
                read => return read,
            }
        }
    }

    /// Gives TLS a piece of what came.
    async fn decipher(&mut self, tls: &RefCell<ClientConnection>) -> io::Result<()> {
        if self.deciphered == self.cipher.len() {
            self.cipher.clear();
            self.deciphered = 0;
            read_more(&mut self.socket, &mut self.cipher, READ_BYTES).await?;
        }
        let mut tls = tls.borrow_mut();
        // Nothing at all is how it is told of the end.
        self.deciphered += tls.read_tls(&mut &self.cipher[self.deciphered..])?;
        let state = tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match tls.is_handshaking() && (self.cipher.is_empty() || state.peer_has_closed()) {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    }
}

/// Appends what the socket has, up to `room` bytes.
async fn read_more(socket: &mut OwnedReadHalf<TcpStream>, input: &mut Vec<u8>, room: usize) -> io::Result<usize> {
    let start = input.len();
    input.reserve(room);
    let end = input.capacity().min(start + room);
    let (result, slice) = socket.read(std::mem::take(input).slice_mut(start..end)).await;
    *input = slice.into_inner();
    result
}

impl Writer {
    /// Writes all of it, and gives it back, with what the system or TLS says.
    pub(crate) async fn write(&mut self, bytes: Vec<u8>) -> BufResult<(), Vec<u8>> {
        match self.tls.clone() {
            None => write_all(&mut self.socket, bytes).await,
            Some(tls) => {
                let result = self.encipher(&tls, &bytes).await;
                (result, bytes)
            }
        }
    }

    async fn encipher(&mut self, tls: &RefCell<ClientConnection>, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            written += tls.borrow_mut().writer().write(&bytes[written..])?;
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes what TLS has to say.
    async fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = self.tls.clone() else { return Ok(()) };
        let mut out = Vec::new();
        while tls.borrow().wants_write() {
            tls.borrow_mut().write_tls(&mut out)?;
        }
        write_all(&mut self.socket, out).await.0
    }

    /// Says that nothing more will be said.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = self.tls.clone() {
            tls.borrow_mut().send_close_notify();
            self.flush().await?;
        }
        self.socket.shutdown().await
    }
}

async fn write_all(socket: &mut OwnedWriteHalf<TcpStream>, mut bytes: Vec<u8>) -> BufResult<(), Vec<u8>> {
    let mut written = 0;
    while written < bytes.len() {
        let (result, slice) = socket.write(bytes.slice(written..)).await;
        bytes = slice.into_inner();
        match result {
            Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), bytes),
            Ok(count) => written += count,
            Err(error) => return (Err(error), bytes),
        }
    }
    (Ok(()), bytes)
}
