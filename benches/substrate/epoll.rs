//! A plain loop of `send(2)` over a list; a socket that is full is registered with epoll, and then sent all that it lacks.

use std::io::{self, ErrorKind, Write};

use crate::hall::{Hall, heard};
use crate::readiness::{Interest, Readiness};

/// Serves until the writer has gone.
pub(crate) fn serve(hall: &Hall) -> io::Result<()> {
    let count = hall.sockets.len();
    hall.sockets.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
    let readiness = Readiness::open()?;
    readiness.add(&hall.writer, count as u64, Interest::Readable)?;
    let (mut published, mut is_full, mut cursors) = (0, vec![false; count], vec![0; count]);
    let mut ready = Vec::new();
    loop {
        readiness.wait(&mut ready)?;
        for index in ready.drain(..).map(|token| token as usize) {
            if index < count {
                is_full[index] = false;
                readiness.remove(&hall.sockets[index])?;
                continue;
            }
            let Some(payloads) = heard(&hall.writer)? else { return Ok(()) };
            published += payloads * hall.payload;
        }
        for (index, mut socket) in hall.sockets.iter().enumerate() {
            if is_full[index] || cursors[index] == published {
                continue;
            }
            // A write of the standard library to a stream is send(2) with MSG_NOSIGNAL.
            match socket.write(&hall.log[cursors[index]..published]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                sent => cursors[index] += sent?,
            }
            if cursors[index] < published {
                is_full[index] = true;
                readiness.add(socket, index as u64, Interest::Writable)?;
            }
        }
    }
}
