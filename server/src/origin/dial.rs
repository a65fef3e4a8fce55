//! New connections to origins: the address, the socket, TLS.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use monoio::net::TcpStream;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use socket2::{Domain, SockAddr, Socket, Type};

use super::Origin;
use super::wire::Wire;
use crate::config::{Authority, OriginAddress};

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

/// Connects, at the first of its addresses that lets it.
pub(super) async fn dial(origin: &Origin) -> Result<Wire, DialError> {
    let socket = match &origin.address {
        OriginAddress::Http(_) | OriginAddress::Https(_) => {
            let addresses = Arc::clone(&origin.addresses.borrow());
            connect(&addresses).await?
        }
        OriginAddress::Unix(path) => connect_unix(path)?,
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

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
    let mut failed = DialError::Nowhere;
    for address in addresses {
        match TcpStream::connect_addr(*address).await {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => failed = DialError::Refused(error),
        }
    }
    Err(failed)
}

/// On a Unix socket a connection is there at once, or not at all; so it isn't waited for.
fn connect_unix(path: &Path) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    // The ring would hand out "would block" instead of waiting.
    socket.set_nonblocking(false)?;
    // The runtime reads and writes any stream socket alike.
    TcpStream::from_std(socket.into())
}
