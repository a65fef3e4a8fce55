//! Accepts connections: one loop per core, on a listener of its own that shares the port.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Instant;

use monoio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use super::converse;
use crate::core::{Core, Stage, Welcome};
use crate::limits::{ACCEPT_PAUSE, DISMISSED_AT_ONCE, STALL_TIME_MAX, TROUBLE_TIME, UNSENT_BYTES};

/// A listener that shares its address with those of the other cores.
///
/// # Errors
/// What the system says, as when the address is in use.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit these.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(STALL_TIME_MAX))?;
    set_unsent_bytes(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(backlog())?;
    Ok(socket.into())
}

/// The longest queue that the system allows: a shorter one makes it send SYN cookies in a storm of reconnects, and then
/// some clients believe in connections that the server never saw.
fn backlog() -> i32 {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    text.trim().parse().unwrap_or(libc::SOMAXCONN)
}

fn set_unsent_bytes(socket: &Socket) -> io::Result<()> {
    let bytes = UNSENT_BYTES;
    // SAFETY: the value lives through the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of::<u32>() as u32,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Begins a conversation with everybody who comes, until the core closes.
pub(crate) async fn accept(core: Rc<Core>, listener: TcpListener) {
    core.accepts(listener.as_raw_fd());
    let (mut failed, mut failed_at, mut is_paused) = (0u64, Instant::now(), false);
    while core.stage.get() == Stage::Open {
        if core.has_too_many_conversations() {
            core.dismiss_one_at_rest();
            if core.conversations.get() >= core.settings().conversations_max + core.settings().turned_away_max {
                monoio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        }
        match listener.accept().await {
            Ok((socket, peer)) => {
                is_paused = false;
                if failed > 0 && failed_at.elapsed() > TROUBLE_TIME {
                    tracing::info!(failed, "connections can be accepted again");
                    failed = 0;
                }
                let is_crowded = core.has_too_many_conversations();
                let is_full = is_crowded || core.has_too_many_connections();
                let welcome = if is_full { Welcome::Full } else { Welcome::Open };
                core.conversation_begun(welcome);
                monoio::spawn(converse(Rc::clone(&core), socket, peer.ip(), welcome));
            }
            // The listener was shut down.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => {
                if failed == 0 {
                    tracing::warn!(%error, "no connection can be accepted; those at rest must go");
                }
                (failed, failed_at) = (failed + 1, Instant::now());
                // Not before the second time: whoever was accepted just now may have a request on the way.
                if is_paused {
                    (0..DISMISSED_AT_ONCE).for_each(|_| core.dismiss_one_at_rest());
                }
                is_paused = true;
                monoio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Begins a conversation with everybody who comes to a listener for few, the admin or the control listener, until the core closes;
/// so many at a time.
pub(crate) async fn accept_few(core: Rc<Core>, listener: TcpListener, welcome: Welcome) {
    core.accepts(listener.as_raw_fd());
    while core.stage.get() == Stage::Open {
        if core.has_too_many_of(welcome) {
            monoio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        }
        match listener.accept().await {
            Ok((socket, peer)) => {
                core.conversation_begun(welcome);
                monoio::spawn(converse(Rc::clone(&core), socket, peer.ip(), welcome));
            }
            // The listener was shut down.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => {
                tracing::debug!(%error, ?welcome, "a listener can accept no connection");
                monoio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
