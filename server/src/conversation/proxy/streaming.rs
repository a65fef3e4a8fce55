//! Requests whose bodies are still on their way: they go on as they come, and the response may come meanwhile.
//!
//! Such a request is tried with one origin and once: what was sent of its body is nowhere any more. If the response ends first, the
//! client's connection ends with it, as nobody knows where the next request would begin.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fantail_engine::protocol::http1::{Connection as Persistence, Method, Shape};
use fantail_engine::protocol::problem::Problem;

use super::asking::{self, Failure, Heard, Progress, Trouble};
use super::body::Upload;
use super::{Passing, finish, relay};
use crate::conversation::connection::{Connection, End, Inlet, Outlet};
use crate::conversation::{Next, hang_up, hold};
use crate::core::Core;
use crate::limits::ATTEMPTS_MAX;
use crate::origin::{Link, Tried, Writer};

/// How far it went.
enum Course {
    /// The request was sent whole, and the head of its response is there.
    Heard(Heard),
    /// The response has passed.
    Passed { then: Persistence, is_reusable: bool },
    /// A part of it has, in this shape.
    Broken(Shape),
    /// Nothing has passed.
    Failed(Trouble),
}

/// Passes a request on whose body isn't whole yet, and its response back. `opening` is its head, of so many bytes, and what is there
/// of its body.
pub(super) async fn pass(
    core: &Rc<Core>,
    connection: Connection,
    mut passing: Passing,
    (opening, head_bytes): (Vec<u8>, usize),
    mut upload: Upload,
) -> Result<(Next, Connection), End> {
    let is_head = passing.method == Method::Head;
    let mut link = match link(&passing).await {
        Ok(link) => link,
        Err(problem) => return hang_up(core, connection, problem.into(), is_head).await,
    };
    let (sent, mut opening) = asking::send(&mut link, opening, &passing).await;
    if let Err(failure) = sent {
        link.origin.has_failed();
        return hang_up(core, connection, Problem::from(failure).into(), is_head).await;
    }
    opening.truncate(head_bytes);
    passing.head = opening;
    let (mut inlet, mut outlet) = connection.split();
    let course = exchange(core, (&mut inlet, &mut outlet), &mut link, &passing, &mut upload).await;
    let mut connection = Connection::unite(inlet, outlet);
    match course {
        Course::Heard(Heard::Reply(reply)) => finish(core, connection, &passing, link, reply).await,
        Course::Heard(Heard::Instruction) => hold::begin(core, connection, passing, link).await,
        Course::Passed { then, is_reusable } => {
            if is_reusable {
                link.rest();
            }
            match then {
                Persistence::Keep | Persistence::KeepTold => return Ok((Next::Request, connection)),
                Persistence::Close => connection.close().await,
            }
            Ok((Next::Over, connection))
        }
        Course::Broken(shape) => {
            if shape == Shape::UntilClose {
                connection.reset();
            }
            Err(End::Gone)
        }
        Course::Failed(Trouble::Client) => Err(End::Gone),
        Course::Failed(Trouble::Body(error)) => hang_up(core, connection, Problem::from(error).into(), is_head).await,
        Course::Failed(Trouble::Origin(failure)) => {
            link.origin.has_failed();
            hang_up(core, connection, Problem::from(failure).into(), is_head).await
        }
    }
}

/// A connection to any origin that lets itself be connected to.
async fn link(passing: &Passing) -> Result<Link, Problem> {
    let (mut tried, mut problem) = (Tried::default(), None);
    for _ in 0..ATTEMPTS_MAX {
        let Some(origin) = passing.service.choose(&mut tried) else { break };
        match asking::connect(&origin, passing).await {
            Ok(link) => return Ok(link),
            Err(error) => problem = Some(error.into()),
        }
    }
    Err(problem.unwrap_or_else(|| Problem::unavailable("no origin can be asked")))
}

/// Sends the body, and hears the response meanwhile.
async fn exchange(
    core: &Core,
    (inlet, outlet): (&mut Inlet, &mut Outlet),
    link: &mut Link,
    passing: &Passing,
    upload: &mut Upload,
) -> Course {
    let idle = passing.service.config.timeouts.idle;
    let progress = Progress::begun();
    let origin = Rc::clone(&link.origin);
    let wire = link.wire();
    let mut send = pin!(send(upload, inlet, &mut wire.writer, &progress, idle));
    let mut is_sending = true;
    let heard = {
        let mut listen = pin!(asking::listen(core, outlet, &mut wire.reader, passing, &progress));
        monoio::select! {
            heard = &mut listen => heard,
            sent = &mut send => {
                is_sending = false;
                match sent {
                    // An origin that takes no more may have said why.
                    Ok(()) | Err(Trouble::Origin(_)) => listen.await,
                    Err(trouble) => Err(trouble),
                }
            }
        }
    };
    if let (true, true, Ok(Heard::Instruction)) = (is_sending, progress.is_whole.get(), &heard) {
        is_sending = false;
        if send.as_mut().await.is_err() {
            return Course::Failed(Trouble::Origin(Failure::Gone));
        }
    }
    let reply = match heard {
        Err(trouble) => return Course::Failed(trouble),
        Ok(heard) if progress.is_whole.get() && !is_sending => {
            origin.has_answered();
            return Course::Heard(heard);
        }
        Ok(Heard::Instruction) => return Course::Failed(Trouble::Origin(Failure::Unasked)),
        Ok(Heard::Reply(reply)) => reply,
    };
    origin.has_answered();
    core.has_answered(reply.status);
    let (then, keeps, shape) = (reply.then, reply.keeps, reply.shape);
    let passed = {
        let mut relay = pin!(relay::pass(core, outlet, &mut wire.reader, reply, idle));
        match is_sending {
            false => relay.await,
            true => monoio::select! {
                passed = &mut relay => passed,
                sent = &mut send => {
                    is_sending = false;
                    match sent {
                        Ok(()) | Err(Trouble::Origin(_)) => relay.await,
                        Err(trouble) => Err(trouble),
                    }
                }
            },
        }
    };
    match passed {
        // What wasn't sent whole makes the origin's connection unusable.
        Ok(()) => Course::Passed { then, is_reusable: keeps && !is_sending && progress.is_whole.get() },
        Err(_) => Course::Broken(shape),
    }
}

/// Sends the rest of the body as it comes.
async fn send(
    upload: &mut Upload,
    inlet: &mut Inlet,
    writer: &mut Writer,
    progress: &Progress,
    idle: Duration,
) -> Result<(), Trouble> {
    let mut out = Vec::new();
    while !upload.is_whole() {
        match monoio::time::timeout(idle, inlet.read()).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return Err(Trouble::Client),
        }
        upload.go_on(inlet, &mut out).map_err(Trouble::Body)?;
        // The answer may overtake the news that the last of it was sent.
        progress.is_whole.set(upload.is_whole());
        let Ok((result, bytes)) = monoio::time::timeout(idle, writer.write(out)).await else {
            return Err(Trouble::Origin(Failure::Late));
        };
        result.map_err(|error| Trouble::Origin(Failure::Broken(error)))?;
        out = bytes;
        out.clear();
    }
    progress.since.set(Some(Instant::now()));
    Ok(())
}
