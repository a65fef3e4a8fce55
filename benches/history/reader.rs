//! The receiving ends, on a thread of their own: the kernel throws away what comes, so that they are never what is waited for.

use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::time::Duration;

use fantail_benches::cpu;
use socket2::SockRef;

use crate::fleet::{poll, poll_of};

/// Bytes that are thrown away by one call: as much as a socket may hold.
const BYTES: usize = 4 * 1024 * 1024;

/// Receives until all connections have ended. Returns how many bytes came, and the CPU time that it took.
pub(crate) fn read(mut sockets: Vec<TcpStream>, core: usize) -> io::Result<(u64, Duration)> {
    cpu::pin(core)?;
    let before = cpu::of_thread();
    let mut bytes = 0;
    // Nothing is ever written to it.
    let mut nowhere = vec![MaybeUninit::uninit(); BYTES];
    while !sockets.is_empty() {
        let mut polled: Vec<libc::pollfd> = sockets.iter().map(|socket| poll_of(socket, libc::POLLIN)).collect();
        poll(&mut polled)?;
        for at in (0..polled.len()).rev().filter(|&at| polled[at].revents != 0) {
            match SockRef::from(&sockets[at]).recv_with_flags(&mut nowhere, libc::MSG_TRUNC | libc::MSG_DONTWAIT) {
                Ok(0) => drop(sockets.swap_remove(at)),
                Ok(length) => bytes += length as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok((bytes, cpu::of_thread().saturating_sub(before)))
}
