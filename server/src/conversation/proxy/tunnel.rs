//! Connections that have gone over to another protocol: bytes in both directions, until either side ends, both are silent, or the
//! server stops.

use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::conversation::Next;
use crate::conversation::connection::{Connection, End, Inlet, Outlet};
use crate::core::{Core, Stage};
use crate::limits::{PASSED_BYTES, WATCH_TIME};
use crate::origin::{Link, Reader, Writer};

/// Passes the head that says so, and what follows; the connection is over afterwards.
pub(super) async fn pass(
    core: &Core,
    mut connection: Connection,
    mut link: Link,
    head: Vec<u8>,
    idle: Duration,
) -> Result<(Next, Connection), End> {
    connection.pass(head).await?;
    let (mut inlet, mut outlet) = connection.split();
    let wire = link.wire();
    let heard = Cell::new(Instant::now());
    let mut there = pin!(to_origin(&mut inlet, &mut wire.writer, &heard));
    let mut back = pin!(to_client(&mut wire.reader, &mut outlet, &heard));
    let mut is_half = false;
    loop {
        monoio::select! {
            // What the client has said last may still be answered.
            () = &mut there, if !is_half => is_half = true,
            () = &mut back => return Err(End::Gone),
            () = monoio::time::sleep(WATCH_TIME) => {
                if core.stage.get() != Stage::Open || heard.get().elapsed() >= idle {
                    return Err(End::Gone);
                }
            }
        }
    }
}

async fn to_origin(inlet: &mut Inlet, writer: &mut Writer, heard: &Cell<Instant>) {
    let mut out = Vec::new();
    loop {
        inlet.take(&mut out);
        let (Ok(()), bytes) = writer.write(out).await else { return };
        out = bytes;
        out.clear();
        let Ok(1..) = inlet.read().await else { break };
        heard.set(Instant::now());
    }
    // That the origin is gone shows in the other direction.
    drop(writer.finish().await);
}

async fn to_client(reader: &mut Reader, outlet: &mut Outlet, heard: &Cell<Instant>) {
    loop {
        if let Some(taken) = reader.take() {
            let Ok(bytes) = outlet.pass(taken).await else { return };
            reader.give_back(bytes);
        } else {
            let Ok(_) = outlet.pass(reader.unread().to_vec()).await else { return };
            reader.use_up(reader.unread().len());
        }
        let Ok(1..) = reader.fill(PASSED_BYTES).await else { return };
        heard.set(Instant::now());
    }
}
