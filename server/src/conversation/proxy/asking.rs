//! An origin is asked: which one, on which connection, how often; and the head of its response is understood.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use fantail_engine::protocol::http1::{
    self, Answer, AnswerBody, AnswerError, BodyError, Connection as Persistence, Framing, ParsedAnswer, Shape, Upgrade,
    Version,
};
use fantail_engine::protocol::problem::Problem;

use super::relay::{Client, Silence, hear};
use super::{Passing, rules};
use crate::conversation::connection::End;
use crate::core::{Core, Stage};
use crate::limits::{ATTEMPTS_MAX, COPIED_BYTES_MAX, INTERIMS_MAX, READ_BYTES};
use crate::origin::{DialError, Link, Origin, Reader, Tried};

/// What came of asking.
pub(in crate::conversation) enum Outcome {
    /// There is a response, whose body is still to be read from the link.
    Heard(Link, Heard),
    /// There is none.
    Refused(Problem),
}

/// A response's head.
pub(in crate::conversation) enum Heard {
    /// It passes to the client.
    Reply(Reply),
    /// It is for the server. It is still in the link, unread.
    Instruction,
}

/// A response on its way to the client.
pub(in crate::conversation) struct Reply {
    /// As the client gets it.
    pub(in crate::conversation) head: Vec<u8>,
    pub(in crate::conversation) status: u16,
    pub(in crate::conversation) body: AnswerBody,
    pub(in crate::conversation) shape: Shape,
    /// What becomes of the client's connection.
    pub(in crate::conversation) then: Persistence,
    /// Whether the origin's connection may serve another request.
    pub(in crate::conversation) keeps: bool,
    /// Whether both sides go on with another protocol.
    pub(in crate::conversation) is_switched: bool,
}

/// Why an exchange breaks off.
#[derive(Debug)]
pub(in crate::conversation) enum Trouble {
    /// The client is gone.
    Client,
    /// The client's body can't be read.
    Body(BodyError),
    /// The origin fails.
    Origin(Failure),
}

/// How an origin fails.
#[derive(Debug, thiserror::Error)]
pub(in crate::conversation) enum Failure {
    #[error("the origin didn't answer in time")]
    Late,
    #[error("the origin has closed the connection")]
    Gone,
    #[error("the connection to the origin has broken: {0}")]
    Broken(io::Error),
    #[error(transparent)]
    Head(#[from] AnswerError),
    #[error("the body of the origin's response can't be read: {0}")]
    Body(BodyError),
    #[error("the origin's response is one to another request")]
    Unasked,
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let new: fn(String) -> Problem = match failure {
            Failure::Late => Problem::gateway_timeout,
            Failure::Gone | Failure::Broken(_) | Failure::Head(_) | Failure::Body(_) | Failure::Unasked => {
                Problem::bad_gateway
            }
        };
        new(failure.to_string())
    }
}

impl From<DialError> for Problem {
    fn from(error: DialError) -> Problem {
        let new: fn(String) -> Problem = match error {
            DialError::Many => Problem::unavailable,
            DialError::Late => Problem::gateway_timeout,
            DialError::Nowhere | DialError::Refused(_) => Problem::bad_gateway,
        };
        new(error.to_string())
    }
}

/// Sends a request that is there whole until an origin answers, or none is left that may be tried.
pub(in crate::conversation) async fn ask(
    core: &Rc<Core>,
    client: &mut impl Client,
    passing: &Passing,
    opening: &mut Vec<u8>,
) -> Result<Outcome, End> {
    let (mut tried, mut again) = (Tried::default(), None);
    let mut problem = None;
    for _ in 0..ATTEMPTS_MAX {
        let Some(origin) = again.take().or_else(|| passing.service.choose(&mut tried)) else { break };
        let mut link = match connect(&origin, passing).await {
            Ok(link) => link,
            Err(error) => {
                problem = Some(error.into());
                continue;
            }
        };
        let progress = Progress::whole();
        let (sent, bytes) = send(&mut link, std::mem::take(opening), passing).await;
        *opening = bytes;
        let heard = match sent {
            Ok(()) => listen(core, client, &mut link.wire().reader, passing, &progress).await,
            Err(failure) => Err(Trouble::Origin(failure)),
        };
        match heard {
            Ok(heard) => {
                origin.has_answered();
                return Ok(Outcome::Heard(link, heard));
            }
            Err(Trouble::Client | Trouble::Body(_)) => return Err(End::Gone),
            Err(Trouble::Origin(failure)) => {
                tracing::debug!(origin = %origin.address(), %failure, "no answer");
                let is_stale = link.has_rested && matches!(failure, Failure::Gone | Failure::Broken(_));
                match is_stale {
                    true => {
                        origin.forget_resting();
                        again = Some(origin);
                    }
                    false => origin.has_failed(),
                }
                problem = Some(failure.into());
                if opening.is_empty() || !passing.is_safe() {
                    break;
                }
            }
        }
    }
    let nobody = || Problem::unavailable("no origin can be asked");
    Ok(Outcome::Refused(problem.unwrap_or_else(nobody)))
}

/// A connection to the origin: one at rest, or else a new one.
pub(super) async fn connect(origin: &Rc<Origin>, passing: &Passing) -> Result<Link, DialError> {
    if let Some(link) = origin.rested() {
        return Ok(link);
    }
    let dialed = origin.dial(passing.service.config.timeouts.connect).await;
    if let Err(error @ (DialError::Late | DialError::Nowhere | DialError::Refused(_))) = &dialed {
        tracing::debug!(origin = %origin.address(), %error, "no connection");
        origin.is_unreachable();
    }
    dialed
}

/// Sends what is there of a request, and gives it back unless the origin took too long to take it.
pub(super) async fn send(link: &mut Link, opening: Vec<u8>, passing: &Passing) -> (Result<(), Failure>, Vec<u8>) {
    link.origin.is_asked();
    let write = link.wire().writer.write(opening);
    match monoio::time::timeout(passing.service.config.timeouts.idle, write).await {
        Ok((result, opening)) => (result.map_err(Failure::Broken), opening),
        Err(_) => (Err(Failure::Late), Vec::new()),
    }
}

/// How far the request has come while its response is awaited.
pub(super) struct Progress {
    /// Since when all of it is sent.
    pub(super) since: Cell<Option<Instant>>,
    /// Whether all of it has come from the client.
    pub(super) is_whole: Cell<bool>,
}

impl Progress {
    pub(super) fn begun() -> Progress {
        Progress { since: Cell::new(None), is_whole: Cell::new(false) }
    }

    fn whole() -> Progress {
        Progress { since: Cell::new(Some(Instant::now())), is_whole: Cell::new(true) }
    }
}

/// Reads until the head of the final response is there; interim ones go to the client.
pub(super) async fn listen(
    core: &Core,
    client: &mut impl Client,
    reader: &mut Reader,
    passing: &Passing,
    progress: &Progress,
) -> Result<Heard, Trouble> {
    let failed = |failure: Failure| Trouble::Origin(failure);
    let mut interims = 0;
    loop {
        let interim = match http1::parse_answer(reader.unread(), passing.method)
            .map_err(|error| failed(error.into()))?
        {
            ParsedAnswer::Complete { answer, .. } if answer.is_instruction => return Ok(Heard::Instruction),
            ParsedAnswer::Complete { answer, length } if is_final(&answer) => {
                let reply = reply(core, &answer, passing, progress, reader.unread().len() - length).map_err(failed)?;
                reader.use_up_head(length, reply.body);
                return Ok(Heard::Reply(reply));
            }
            ParsedAnswer::Complete { answer, length } => {
                let head = interim(core, &answer, passing);
                reader.use_up(length);
                interims += 1;
                if interims > INTERIMS_MAX {
                    return Err(failed(Failure::Unasked));
                }
                Some(head)
            }
            ParsedAnswer::Partial => None,
        };
        match interim {
            Some(head) => drop(client.pass(head).await?),
            None => {
                let patience = passing.service.config.timeouts.response;
                let silence = Silence { since: &progress.since, patience, until_stop_of: None };
                if hear(client, reader, READ_BYTES, silence).await? == 0 {
                    return Err(failed(Failure::Gone));
                }
            }
        }
    }
}

fn is_final(answer: &Answer<'_>) -> bool {
    !matches!(answer.status, 100 | 102..200)
}

/// An interim response as the client gets it: nothing, if it wouldn't know what to do with it.
fn interim(core: &Core, answer: &Answer<'_>, passing: &Passing) -> Vec<u8> {
    let mut head = Vec::new();
    let is_wanted = passing.version == Version::Http11 && (answer.status != 100 || passing.expects_continue);
    if is_wanted {
        let rules = rules(&passing.service.config.response_headers);
        http1::write_answer(&mut head, answer, Shape::Interim, Persistence::Keep, &core.date(), rules);
    }
    head
}

/// The final response as the client gets it; `there` bytes of its body may have come with the head.
fn reply(
    core: &Core,
    answer: &Answer<'_>,
    passing: &Passing,
    progress: &Progress,
    there: usize,
) -> Result<Reply, Failure> {
    let is_switched = answer.status == 101;
    if is_switched && passing.upgrade == Upgrade::None {
        return Err(Failure::Unasked);
    }
    let shape = match (answer.body, passing.version) {
        _ if is_switched => Shape::Switched,
        (AnswerBody::Framed(Framing::Empty), _) => Shape::Bare,
        (AnswerBody::Framed(Framing::Length(bytes)), _) => Shape::Length(bytes),
        (AnswerBody::Framed(Framing::Chunked) | AnswerBody::UntilClose, Version::Http11) => Shape::Chunked,
        (AnswerBody::Framed(Framing::Chunked) | AnswerBody::UntilClose, Version::Http10) => Shape::UntilClose,
    };
    let then = match core.stage.get() {
        // Nobody knows where the next request begins, or how long this answer is.
        _ if !progress.is_whole.get() || shape == Shape::UntilClose => Persistence::Close,
        Stage::Closing | Stage::Ending => Persistence::Close,
        Stage::Open => passing.persistence,
    };
    let mut head = Vec::with_capacity(1024 + there.min(COPIED_BYTES_MAX));
    let rules = rules(&passing.service.config.response_headers);
    http1::write_answer(&mut head, answer, shape, then, &core.date(), rules);
    Ok(Reply { head, status: answer.status, body: answer.body, shape, then, keeps: answer.keep_alive(), is_switched })
}
