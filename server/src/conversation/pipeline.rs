//! Writes of one connection that were begun and not answered yet, in their order.
//!
//! A client that sends requests without awaiting answers (RFC 9112, section 9.3.2) has its writes begun one after the other, as
//! long as they are there whole and go to the same stream: the stream's home keeps their order, and one group makes all of
//! them durable. Anything else waits until they are answered: reads, patches, whose answers may be much larger than they are,
//! and what has an idempotency key, so that a repeat finds the first one done.
//!
//! Invariants: nothing is begun that could wait for the peer; answers that wait are about as large as the requests that were
//! read in one go; and a core is kept from everything else no longer than [`PIPELINE_TIME`] and one write.

use std::rc::Rc;
use std::time::Instant;

use fantail_engine::protocol::http1::Connection as Persistence;

use super::connection::{Connection, End};
use super::rest::Reply;
use crate::core::{Core, Stage};
use crate::limits::{PIPELINE_MAX, PIPELINE_TIME};

/// See the module.
#[derive(Default)]
pub(super) struct Pipeline {
    begun: Vec<Begun>,
    stream: String,
    /// When the first of them was.
    since: Option<Instant>,
}

/// A request whose answer is to come.
struct Begun {
    reply: Reply,
    persistence: Persistence,
    is_head: bool,
}

impl Pipeline {
    /// Whether a request to this stream, if to any, must wait for the answers to those before it.
    pub(super) fn is_ahead_of(&self, stream: Option<&str>) -> bool {
        !self.begun.is_empty() && stream != Some(&self.stream)
    }

    /// Whether nothing further may be begun: there are as many as may be, they took their time, or the next one isn't there yet.
    pub(super) fn is_due(&self, connection: &Connection) -> bool {
        let Some(since) = self.since else { return false };
        self.begun.len() >= PIPELINE_MAX || since.elapsed() >= PIPELINE_TIME || !connection.has_request()
    }

    /// Adds a request that was begun, of a stream if of any.
    pub(super) fn push(&mut self, stream: Option<String>, reply: Reply, persistence: Persistence, is_head: bool) {
        self.since.get_or_insert_with(Instant::now);
        self.stream = stream.unwrap_or_default();
        self.begun.push(Begun { reply, persistence, is_head });
    }

    /// Answers all of them.
    ///
    /// # Errors
    /// The connection is over: the peer is gone, or the last of them, or the server, ends it.
    pub(super) async fn settle(&mut self, core: &Rc<Core>, connection: &mut Connection) -> Result<(), End> {
        self.since = None;
        let (mut out, mut last) = (Vec::new(), Persistence::Keep);
        let mut begun = self.begun.drain(..).peekable();
        while let Some(Begun { reply, persistence, is_head }) = begun.next() {
            let answered = reply.answered(core).await;
            last = match core.stage.get() {
                Stage::Closing | Stage::Ending if begun.peek().is_none() => Persistence::Close,
                Stage::Open | Stage::Closing | Stage::Ending => persistence,
            };
            core.has_answered(answered.status());
            let (head, body) = answered.into_parts(&core.date(), last, is_head);
            out.extend_from_slice(&head);
            if !body.is_empty() {
                connection.write(std::mem::take(&mut out)).await?;
                connection.write(body).await?;
            }
        }
        connection.write(out).await?;
        match last {
            Persistence::Keep | Persistence::KeepTold => Ok(()),
            Persistence::Close => {
                connection.close().await;
                Err(End::Gone)
            }
        }
    }
}
