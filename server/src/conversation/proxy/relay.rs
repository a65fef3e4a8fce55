//! A response's body as it passes to the client: one read of the origin, one write to the client, and so on.

use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, Instant};

use super::asking::{Failure, Reply, Trouble};
use super::body::Download;
use crate::conversation::connection::{Connection, End, Outlet};
use crate::core::{Core, Stage};
use crate::limits::{PASSED_BYTES, WATCH_TIME};
use crate::origin::Reader;
use crate::peer::{self, Said};

/// Who the response is for: the whole of a connection, or what goes to it while the request still comes.
pub(in crate::conversation) trait Client {
    /// Writes all of it, and gives the memory back, empty.
    async fn pass(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, Trouble>;
    /// Whether it isn't there any more.
    fn is_gone(&self) -> bool;
}

impl Client for Connection {
    async fn pass(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        Connection::pass(self, bytes).await.map_err(|End::Gone| Trouble::Client)
    }

    fn is_gone(&self) -> bool {
        peer::said(self.descriptor()) == Said::Goodbye
    }
}

impl Client for Outlet {
    async fn pass(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        Outlet::pass(self, bytes).await.map_err(|End::Gone| Trouble::Client)
    }

    fn is_gone(&self) -> bool {
        peer::said(self.descriptor()) == Said::Goodbye
    }
}

/// The server itself, which asks for what nobody waits for on a connection.
pub(in crate::conversation) struct Oneself;

impl Client for Oneself {
    async fn pass(&mut self, mut bytes: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        bytes.clear();
        Ok(bytes)
    }

    fn is_gone(&self) -> bool {
        false
    }
}

/// How long an origin's silence is borne.
pub(super) struct Silence<'a> {
    /// Since when it is one: nothing has come, and all that the origin awaits was said. None while it is the client's turn.
    pub(super) since: &'a Cell<Option<Instant>>,
    pub(super) patience: Duration,
    /// Whose stop ends it; none if what is waited for may still come in time.
    pub(super) until_stop_of: Option<&'a Core>,
}

/// Passes the head that was made and the body, whose beginning may have been read with the head. A body that pauses while the server
/// stops breaks off: it may be one without an end.
pub(in crate::conversation) async fn pass(
    core: &Core,
    client: &mut impl Client,
    reader: &mut Reader,
    reply: Reply,
    idle: Duration,
) -> Result<(), Trouble> {
    let body = Download::new(reply.body, reply.shape);
    go_on(core, client, reader, body, reply.head, idle).await
}

/// Passes what is made and what is left of a body.
pub(in crate::conversation) async fn go_on(
    core: &Core,
    client: &mut impl Client,
    reader: &mut Reader,
    mut body: Download,
    mut out: Vec<u8>,
    idle: Duration,
) -> Result<(), Trouble> {
    loop {
        body.pass(reader, &mut out).map_err(|error| Trouble::Origin(Failure::Body(error)))?;
        out = client.pass(out).await?;
        if body.is_whole() {
            return Ok(());
        }
        loop {
            let since = Cell::new(Some(Instant::now()));
            let silence = Silence { since: &since, patience: idle, until_stop_of: Some(core) };
            if hear(client, reader, PASSED_BYTES, silence).await? == 0 {
                return match body.close(&mut out) {
                    true => client.pass(out).await.map(drop),
                    false => Err(Trouble::Origin(Failure::Gone)),
                };
            }
            let Some(taken) = body.take(reader) else { break };
            reader.give_back(client.pass(taken).await?);
            if body.is_whole() {
                return Ok(());
            }
        }
    }
}

/// Takes a body in instead of passing it on, until it is whole or has `bytes_max` bytes or more. Whether it is whole.
pub(in crate::conversation) async fn gather(
    reader: &mut Reader,
    body: &mut Download,
    content: &mut Vec<u8>,
    bytes_max: usize,
    idle: Duration,
) -> Result<bool, Failure> {
    loop {
        body.pass(reader, content).map_err(Failure::Body)?;
        if body.is_whole() || content.len() >= bytes_max {
            return Ok(body.is_whole());
        }
        match monoio::time::timeout(idle, reader.fill(PASSED_BYTES)).await {
            Ok(Ok(0)) if body.close(content) => return Ok(true),
            Ok(Ok(0)) => return Err(Failure::Gone),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Failure::Broken(error)),
            Err(_) => return Err(Failure::Late),
        }
    }
}

/// Reads more from the origin; zero at its end. From time to time it is looked whether the client is still there.
///
/// # Errors
/// The client is gone, the origin has failed, or its silence isn't borne any longer.
pub(super) async fn hear(
    client: &impl Client,
    reader: &mut Reader,
    room: usize,
    silence: Silence<'_>,
) -> Result<usize, Trouble> {
    let Silence { since, patience, until_stop_of } = silence;
    let mut fill = pin!(reader.fill(room));
    loop {
        let watch = Instant::now() + WATCH_TIME;
        let look = since.get().map_or(watch, |since| watch.min(since + patience));
        monoio::select! {
            read = &mut fill => return read.map_err(|error| Trouble::Origin(Failure::Broken(error))),
            () = monoio::time::sleep_until(look.into()) => {
                if client.is_gone() {
                    return Err(Trouble::Client);
                }
                let is_stopping = until_stop_of.is_some_and(|core| core.stage.get() != Stage::Open);
                if is_stopping || since.get().is_some_and(|since| since.elapsed() >= patience) {
                    return Err(Trouble::Origin(Failure::Late));
                }
            }
        }
    }
}
