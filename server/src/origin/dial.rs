//! New connections to origins: the address, the socket, TLS.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use monoio::net::TcpStream;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use socket2::{Domain, SockAddr, Socket, Type};

use super::Origin;
use super::wire::Wire;
use crate::config::{Authority, OriginAddress};
use crate::limits::UNIX_DIAL_PAUSE;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// As many as may be are there.
    #[error("as many requests as may be are under way to the origin")]
    Many,
    /// It took too long.
    #[error("the origin can't be connected to in time")]
    Late,
    /// Its name has no address.
    #[error("the origin's name has no address")]
    Nowhere,
    /// What the system or TLS says.
    #[error("the origin can't be connected to: {0}")]
    Refused(#[from] io::Error),
}

/// Connects, at the first of its addresses that lets it. Of `patience`, each of them gets a part.
pub(super) async fn dial(origin: &Origin, patience: Duration) -> Result<Wire, DialError> {
    let socket = match &origin.address {
        OriginAddress::Http(_) | OriginAddress::Https(_) => {
            let addresses = Arc::clone(&origin.addresses.borrow());
            connect(&addresses, &origin.reached, patience).await?
        }
        OriginAddress::Unix(path) => connect_unix(path).await?,
    };
    let tls = match (&origin.address, &origin.trust) {
        (OriginAddress::Https(Authority { host, .. }), Some(trust)) => {
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            Some(ClientConnection::new(Arc::clone(trust), name).map_err(io::Error::other)?)
        }
        (OriginAddress::Https(_), None) => unreachable!("a server with an origin of https has certificates to trust"),
        (OriginAddress::Http(_) | OriginAddress::Unix(_), _) => None,
    };
    let mut wire = Wire::new(socket.as_raw_fd(), socket, tls);
    wire.shake_hands().await?;
    Ok(wire)
}

/// Begins with the address that was `reached` last.
async fn connect(
    addresses: &[SocketAddr],
    reached: &Cell<Option<SocketAddr>>,
    patience: Duration,
) -> Result<TcpStream, DialError> {
    let first = addresses.iter().position(|address| reached.get() == Some(*address)).unwrap_or(0);
    let (others, addresses) = addresses.split_at(first);
    let each = patience / u32::try_from(addresses.len() + others.len()).unwrap_or(u32::MAX).max(1);
    let mut failed = DialError::Nowhere;
    for address in addresses.iter().chain(others) {
        match monoio::time::timeout(each, TcpStream::connect_addr(*address)).await {
            Ok(Ok(socket)) => {
                socket.set_nodelay(true)?;
                reached.set(Some(*address));
                return Ok(socket);
            }
            Ok(Err(error)) => failed = DialError::Refused(error),
            Err(_) => failed = DialError::Late,
        }
    }
    Err(failed)
}

/// On a Unix socket a connection is there at once, unless as many wait there as may: that is tried again for as long as the caller's
/// patience lasts, as nothing tells when there is room.
async fn connect_unix(path: &Path) -> io::Result<TcpStream> {
    let (socket, address) = (Socket::new(Domain::UNIX, Type::STREAM, None)?, SockAddr::unix(path)?);
    socket.set_nonblocking(true)?;
    loop {
        match socket.connect(&address) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => monoio::time::sleep(UNIX_DIAL_PAUSE).await,
            connected => break connected?,
        }
    }
    // The ring would hand out "would block" instead of waiting.
    socket.set_nonblocking(false)?;
    // The runtime reads and writes any stream socket alike.
    TcpStream::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use monoio::{IoUringDriver, RuntimeBuilder};

    use super::*;

    fn run<T>(dialog: impl Future<Output = T>) -> T {
        RuntimeBuilder::<IoUringDriver>::new().enable_timer().build().expect("a runtime").block_on(dialog)
    }

    /// A listener of TCP that has as many connections waiting as it may, so that it doesn't answer; and what waits.
    fn silent() -> (Socket, SocketAddr, Vec<Socket>) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        listener.listen(0).expect("a listener");
        let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        let waiting = (0..3).map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("a socket");
            drop(socket.connect(&address.into()));
            socket
        });
        let waiting = waiting.collect();
        (listener, address, waiting)
    }

    #[test]
    fn an_address_that_is_silent_leaves_time_for_the_others() {
        let (_listener, silent, _waiting) = silent();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let reached = Cell::new(None);
        run(async {
            let (patience, both) = (Duration::from_secs(1), [silent, address]);
            let connect = |addresses| connect(addresses, &reached, patience);
            monoio::time::timeout(patience, connect(&both)).await.expect("in time").expect("a connection");
            assert_eq!(reached.get(), Some(address));
            // It is the first from now on.
            monoio::time::timeout(patience / 4, connect(&both)).await.expect("at once").expect("a connection");
            assert!(matches!(connect(&both[..1]).await, Err(DialError::Late)));
            assert!(matches!(connect(&[]).await, Err(DialError::Nowhere)));
        });
    }

    #[test]
    fn a_unix_socket_that_is_full_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("origin.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        // It listens already, and gets another bound.
        socket2::SockRef::from(&listener).listen(0).expect("a listener");
        run(async {
            let first = connect_unix(&path).await.expect("there is room for one");
            let second = monoio::time::timeout(UNIX_DIAL_PAUSE / 2, connect_unix(&path)).await;
            assert!(second.is_err(), "it waits");
            listener.accept().expect("the first");
            monoio::time::timeout(Duration::from_secs(10), connect_unix(&path))
                .await
                .expect("room")
                .expect("a connection");
            drop(first);
        });
        std::fs::remove_file(&path).expect("a socket");
        assert!(run(connect_unix(&path)).is_err(), "nobody is there");
    }
}
