//! Responses that are held: answered by the first item that is one, or after their time as they are.
//!
//! If something is missing or new, the request is made again, since only the origin knows the answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fantail_engine::grip::{self, Instruction, Reply, ResponseBody, ResponseItem};
use fantail_engine::limits::{INSTRUCTION_BYTES_MAX, LINK_REPEAT_MS};
use fantail_engine::protocol::http1::Connection as Persistence;
use fantail_engine::protocol::problem::Problem;

use super::super::Next;
use super::super::connection::{Connection, End};
use super::super::proxy::{self, Passing};
use super::session::Asked;
use super::{Begun, Client, Gap, Ids, begin_hold, last_values, while_here, while_open};
use crate::audience::{Item, Mark, Subscription};
use crate::core::Stage;
use crate::core::holding::Awaits;
use crate::core::partings::Parting;

/// What came of a hold.
pub(super) enum Outcome {
    /// The client has its answer.
    Answered(Next, Connection),
    /// The request is to be made again, with these values of `Grip-Last`.
    Again(Connection, Vec<String>),
}

/// How often the request of a hold was made again.
#[derive(Default)]
pub(super) struct Repetition {
    count: u32,
    /// The hold that couldn't begin just now.
    gap: Option<Gap>,
}

/// What ends a wait.
enum Heard {
    /// This is the answer.
    Answer(Reply, Vec<u8>),
    /// The origin knows the answer.
    Again,
    /// Nothing, in all the time that there was.
    Nothing,
}

/// A response that is held, and for what.
struct Wait<'w> {
    client: &'w Client,
    subscription: Rc<Subscription>,
    ids: Ids,
    reply: &'w Reply,
    body: &'w [u8],
}

impl Repetition {
    /// Holds the response until there is an answer, or the request has to be made again.
    pub(super) async fn wait(
        &mut self,
        client: &Client,
        connection: Connection,
        passing: &Passing,
        asked: Asked,
        instruction: Instruction,
        uri: &str,
    ) -> Result<Outcome, End> {
        let parting = instruction.gone.as_ref().and_then(|gone| gone.resolve(uri).ok()).map(|gone| Parting {
            uri: gone.into(),
            route: client.route,
            host: client.host.clone(),
        });
        let waited = self.wait_here(client, connection, passing, asked, &instruction).await;
        if let (Err(End::Gone), Some(parting)) = (&waited, parting) {
            client.core.part(parting);
        }
        waited
    }

    async fn wait_here(
        &mut self,
        client: &Client,
        connection: Connection,
        passing: &Passing,
        asked: Asked,
        instruction: &Instruction,
    ) -> Result<Outcome, End> {
        let Asked { reply, mut response, body } = asked;
        let body = match body {
            Some(body) => Ok(Some(body)),
            None => while_here(&connection, response.whole(INSTRUCTION_BYTES_MAX)).await?,
        };
        response.finish();
        let problem = match body {
            Ok(Some(body)) => {
                let hold = instruction.hold.as_ref().expect("it is a hold");
                let deadline = Instant::now() + hold.timeout;
                let Begun { subscription, ids, place } =
                    begin_hold(&client.core, hold, &instruction.meta, &mut self.gap, None).await;
                let mut wait = Wait { client, subscription, ids, reply: &reply, body: &body };
                let heard = match place {
                    Some((mark, first)) => wait.hear(&connection, mark, &first, deadline).await?,
                    None => Heard::Again,
                };
                return match heard {
                    Heard::Answer(reply, body) => answer(client, connection, passing, &reply, body).await,
                    Heard::Again if passing.is_idempotent() => {
                        self.pause(client, &connection).await?;
                        Ok(Outcome::Again(connection, last_values(&wait.subscription, &wait.ids)))
                    }
                    Heard::Again | Heard::Nothing => answer(client, connection, passing, &reply, body).await,
                };
            }
            Ok(None) => format!("a response that is held has at most {INSTRUCTION_BYTES_MAX} bytes"),
            Err(error) => error.to_string(),
        };
        let refused = proxy::refuse(&client.core, connection, passing, Problem::bad_gateway(problem)).await?;
        Ok(Outcome::Answered(refused.0, refused.1))
    }

    /// An origin that is asked again and again is asked slowly.
    async fn pause(&mut self, client: &Client, connection: &Connection) -> Result<(), End> {
        self.count += 1;
        if self.count > 1 {
            let pause = monoio::time::sleep(Duration::from_millis(LINK_REPEAT_MS));
            while_open(&client.core, connection, pause).await?;
        }
        Ok(())
    }
}

impl Wait<'_> {
    /// Waits for what ends the hold: one of the items that came before `mark`, or one that comes.
    async fn hear(
        &mut self,
        connection: &Connection,
        mark: Mark,
        first: &[Arc<Item>],
        deadline: Instant,
    ) -> Result<Heard, End> {
        let core = Rc::clone(&self.client.core);
        if let Some(heard) = first.iter().find_map(|item| self.look(item)) {
            return Ok(heard);
        }
        let mut attendant = core.attend(&Rc::clone(&self.subscription), Awaits::Response, mark);
        loop {
            let next = async {
                monoio::select! {
                    item = attendant.next() => Some(item),
                    () = monoio::time::sleep_until(deadline.into()) => None,
                }
            };
            match while_open(&core, connection, next).await?.flatten() {
                Some(Some(item)) => {
                    if let Some(heard) = self.look(&item) {
                        return Ok(heard);
                    }
                }
                Some(None) => return Ok(Heard::Again),
                None => return Ok(Heard::Nothing),
            }
        }
    }

    /// What an item means to the hold, if anything; its id is noted.
    fn look(&mut self, item: &Item) -> Option<Heard> {
        let (index, followed) = self.subscription.channel(item.hash)?;
        if followed.tracking.misses(item) {
            return Some(Heard::Again);
        }
        if self.ids[index].is_some() {
            self.ids[index].clone_from(&item.id);
        }
        match item.response()? {
            ResponseItem::Send { head, body, .. } => {
                if !self.subscription.admits_response(item) {
                    return None;
                }
                let body = match body {
                    ResponseBody::Whole(body) => body.clone(),
                    ResponseBody::Patch(patch) => match grip::patched(self.body, patch) {
                        Ok(body) => body,
                        Err(error) => {
                            tracing::debug!(%error, channel = &*item.channel, "an item can't change a held response");
                            return None;
                        }
                    },
                };
                Some(Heard::Answer(self.reply.clone().answered(head), body))
            }
            ResponseItem::Hint => Some(Heard::Again),
            ResponseItem::Close | ResponseItem::Refresh => None,
        }
    }
}

/// Answers; another request may follow.
async fn answer(
    client: &Client,
    mut connection: Connection,
    passing: &Passing,
    reply: &Reply,
    body: Vec<u8>,
) -> Result<Outcome, End> {
    let core = &client.core;
    core.has_answered(reply.status());
    let then = match core.stage.get() {
        Stage::Open => passing.persistence,
        Stage::Closing | Stage::Ending => Persistence::Close,
    };
    let mut out = Vec::with_capacity(1024 + body.len());
    reply.write_whole(&mut out, &core.date(), body.len(), then);
    if reply.has_body() {
        out.extend_from_slice(&body);
    }
    connection.write(out).await?;
    match then {
        Persistence::Keep | Persistence::KeepTold => Ok(Outcome::Answered(Next::Request, connection)),
        Persistence::Close => {
            connection.close().await;
            Ok(Outcome::Answered(Next::Over, connection))
        }
    }
}
