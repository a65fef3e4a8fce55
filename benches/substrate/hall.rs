//! What a server is given: the sockets that listen, the log, and the connection of the one who writes.
//!
//! Each byte on that connection publishes another payload of the log; its end is the server's.

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::SockRef;

use crate::readers::Readers;

/// Bytes that may wait unsent in a socket before it counts as full: as the server sets it.
const UNSENT_BYTES: u32 = 32 * 1024;

/// See the module.
pub(crate) struct Hall {
    /// The sending ends.
    pub(crate) sockets: Vec<TcpStream>,
    /// The connection of the writer.
    pub(crate) writer: UnixStream,
    /// All that will be published.
    pub(crate) log: &'static [u8],
    /// Bytes of a payload.
    pub(crate) payload: usize,
}

impl Hall {
    /// Connects `count` sockets to as many readers.
    pub(crate) fn open(count: u32, log: &'static [u8], payload: usize) -> io::Result<(Hall, Readers)> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let (mut sockets, mut readers) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let reader = TcpStream::connect(address)?;
            // Readers end first, by a reset: else their ports would wait a minute, and there are more rounds than ports.
            SockRef::from(&reader).set_linger(Some(Duration::ZERO))?;
            reader.set_nonblocking(true)?;
            readers.push(reader);
            let socket = listener.accept()?.0;
            socket.set_nodelay(true)?;
            SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES)?;
            sockets.push(socket);
        }
        let (writer, readers_end) = UnixStream::pair()?;
        Ok((Hall { sockets, writer, log, payload }, Readers { sockets: readers, writer: readers_end, log, payload }))
    }
}

/// Reads how many payloads are to be published now; none at the end.
pub(crate) fn heard(mut writer: &UnixStream) -> io::Result<Option<usize>> {
    let mut bytes = [0; 64];
    loop {
        match writer.read(&mut bytes) {
            Ok(0) => return Ok(None),
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
