//! The raw ring: one send per socket and pass, in batches; a socket that is full is polled, and then sent all that it lacks.

use std::io;

use fantail_benches::fan::{BATCH, Fan};

use crate::hall::{Hall, heard};

/// Serves until the writer has gone.
pub(crate) fn serve(hall: Hall) -> io::Result<()> {
    let count = hall.sockets.len();
    let mut fan = Fan::open(count as u32 + 1)?;
    for socket in hall.sockets {
        fan.install(&socket)?;
    }
    let writer = fan.install(&hall.writer)?;
    fan.poll(writer, libc::POLLIN)?;
    let (mut published, mut is_full) = (0, vec![false; count]);
    loop {
        fan.wait()?;
        for slot in fan.take_ready() {
            if slot < count {
                is_full[slot] = false;
                continue;
            }
            let Some(payloads) = heard(&hall.writer)? else { return Ok(()) };
            published += payloads * hall.payload;
            fan.poll(writer, libc::POLLIN)?;
        }
        let cursors = fan.cursors();
        let behind: Vec<usize> = (0..count).filter(|&slot| !is_full[slot] && cursors[slot] < published).collect();
        for batch in behind.chunks(BATCH) {
            fan.send(batch, &hall.log[..published])?;
            for slot in fan.take_full() {
                is_full[slot] = true;
                fan.poll(slot, libc::POLLOUT)?;
            }
        }
    }
}
