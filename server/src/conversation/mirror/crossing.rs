//! A write on its way through: what it changes is kept before the client is told that it was done.
//!
//! The answer waits until what it brought about is durable here, so that its `Last-Event-ID` is a position that a client may
//! follow from; but not for long if the document must be read for that. What goes on then goes on without the client.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use fantail_engine::limits::BODY_BYTES_MAX;
use fantail_engine::mirror::{self, Moment, Passed, Write};
use fantail_engine::position::Position;
use fantail_engine::protocol::http1::{self, ParsedAnswer};
use fantail_engine::topic::Place;
use monoio::task::JoinHandle;

use super::reading::Reading;
use crate::conversation::connection::{Connection, End};
use crate::conversation::proxy::asking::{Reply, Trouble};
use crate::conversation::proxy::body::Download;
use crate::conversation::proxy::relay;
use crate::core::Core;
use crate::core::question::{Answer, Mirrored, Question, Step};
use crate::limits::REFLECT_TIME;
use crate::origin::Reader;

/// See the module.
pub(in crate::conversation) struct Crossing {
    write: Rc<Write>,
    reading: Rc<Reading>,
    /// Since when it is under way, until it is known what has come of it.
    began: Cell<Option<Moment>>,
}

impl Crossing {
    pub(super) fn new(write: Write, reading: Reading) -> Crossing {
        Crossing { write: Rc::new(write), reading: Rc::new(reading), began: Cell::new(None) }
    }

    /// It is about to be sent.
    pub(in crate::conversation) async fn begin(&self, core: &Rc<Core>) {
        if let Answer::Mirror(Mirrored::Began(moment)) =
            core.ask(Question::Mirror(self.write.place.clone(), Step::Write)).await
        {
            self.began.set(Some(moment));
        }
    }

    /// It is over; if nobody knows what has come of it, it is looked what has.
    pub(in crate::conversation) fn close(&self, core: &Rc<Core>) {
        if let Some(began) = self.began.take() {
            drop(self.settle(core, began, Some(self.write.unknown())));
        }
    }

    /// Keeps what the answer brings about, and passes it to the client.
    pub(in crate::conversation) async fn pass(
        &self,
        core: &Rc<Core>,
        client: &mut Connection,
        reader: &mut Reader,
        reply: Reply,
        idle: Duration,
    ) -> Result<(), Trouble> {
        let judge = |head: &[u8], content: Option<&[u8]>| match http1::parse_answer(head, self.write.method) {
            Ok(ParsedAnswer::Complete { answer, .. }) => {
                let mount = self.reading.service.mount.as_ref().expect("what crosses is below a mount");
                (mirror::is_json(&answer), mirror::judge(&self.write, mount, &answer, content))
            }
            Ok(ParsedAnswer::Partial) | Err(_) => (false, Some(self.write.unknown())),
        };
        let (is_json, passed) = judge(&reply.head, None);
        if !is_json || passed.is_none() {
            // The body tells nothing, and may be one without an end.
            let head = reflecting(reply.head, self.settled(core, passed).await);
            return relay::pass(core, client, reader, Reply { head, ..reply }, idle).await;
        }
        let (mut body, mut content) = (Download::plain(reply.body), Vec::new());
        let gathered = relay::gather(reader, &mut body, &mut content, BODY_BYTES_MAX, idle).await;
        let (_, passed) = judge(&reply.head, matches!(gathered, Ok(true)).then_some(&*content));
        let mut out = reflecting(reply.head, self.settled(core, passed).await);
        match gathered {
            Ok(true) => {
                body.reshape_whole(reply.shape, &content, &mut out);
                client.pass(out).await.map(drop).map_err(|End::Gone| Trouble::Client)
            }
            Ok(false) => {
                body.reshape(reply.shape, &content, &mut out);
                relay::go_on(core, client, reader, body, out, idle).await
            }
            Err(failure) => {
                body.reshape(reply.shape, &content, &mut out);
                client.pass(out).await.map_err(|End::Gone| Trouble::Client)?;
                Err(Trouble::Origin(failure))
            }
        }
    }

    /// The position that reflects what has come of it, if that is there soon.
    async fn settled(&self, core: &Rc<Core>, passed: Option<Passed>) -> Option<Position> {
        let began = self.began.take()?;
        monoio::time::timeout(REFLECT_TIME, self.settle(core, began, passed)).await.ok().flatten()
    }

    /// Has that done by a task of its own, which the server awaits before it ends; nobody else needs to.
    fn settle(&self, core: &Rc<Core>, began: Moment, passed: Option<Passed>) -> JoinHandle<Option<Position>> {
        let (detained, core) = (core.detain(), Rc::clone(core));
        let (write, reading) = (Rc::clone(&self.write), Rc::clone(&self.reading));
        monoio::spawn(async move {
            let _detained = detained;
            settle(&core, &write, &reading, began, passed).await
        })
    }
}

/// The head of an answer with the position that reflects what it tells, if there is one.
fn reflecting(mut head: Vec<u8>, position: Option<Position>) -> Vec<u8> {
    if let Some(position) = position {
        head.truncate(head.len() - "\r\n".len());
        head.extend_from_slice(format!("Last-Event-ID: {position}\r\n\r\n").as_bytes());
    }
    head
}

/// Keeps what a write has brought about that began then. Returns the position that reflects it.
async fn settle(
    core: &Rc<Core>,
    write: &Write,
    reading: &Reading,
    began: Moment,
    passed: Option<Passed>,
) -> Option<Position> {
    let place = &write.place;
    let ask = |place: &Place, step| core.ask(Question::Mirror(place.clone(), step));
    let Some(Passed { place: seen, path, state, is_done }) = passed else {
        ask(place, Step::Over(began)).await;
        return None;
    };
    if seen.is_collection() {
        ask(place, Step::Over(began)).await;
        return reading.refresh(core, &seen, &path, is_done).await;
    }
    let answer = match seen.stream() == place.stream() {
        true => ask(place, Step::Written { began, seen: seen.clone(), state }).await,
        // It began where nobody knows what is under way here.
        false => {
            ask(place, Step::Over(began)).await;
            ask(&seen, Step::Read).await
        }
    };
    reading.reflect(core, &seen, &path, answer, is_done).await
}
