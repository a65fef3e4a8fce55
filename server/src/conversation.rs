//! Connections that talk: one async task each, sequential from the first byte to the last answer or the hand-over.
//!
//! A conversation reads a request, does what it asks, and answers; then the next. Writes that came together are begun together
//! and answered together. A request that a route gives to an origin passes through. A request to follow ends it: once the head and the first block are written, the socket goes to the
//! audience and the task is over.

pub(crate) mod accept;
mod admin;
mod answer;
mod connection;
pub(crate) mod control;
mod follow;
mod history;
pub(crate) mod hold;
mod inquiry;
mod mirror;
mod own;
mod pipeline;
mod proxy;
mod rest;
mod several;

use std::net::IpAddr;
use std::rc::Rc;

use fantail_engine::protocol::http1::{self, BodyReader, Connection as Persistence, Method};
use fantail_engine::protocol::problem::Problem;
use monoio::net::TcpStream;

use self::answer::Answered;
use self::connection::{Connection, End};
use self::inquiry::Inquiry;
use self::pipeline::Pipeline;
use self::proxy::Passing;
use self::rest::Plan;
use crate::core::{Core, Welcome};
use fantail_engine::limits::BODY_BYTES_MAX;

/// What becomes of the connection after an answer.
enum Next {
    /// Another request may follow.
    Request,
    /// The connection is over, or no longer ours.
    Over,
}

/// A request whose head was read.
enum Request {
    /// The store's, or the server's own.
    Own(Inquiry),
    /// An origin's.
    Passing(Passing),
    /// Nobody's.
    Refused(Problem),
}

impl Request {
    fn understand(core: &Core, welcome: Welcome, request: &http1::Request<'_>, peer: IpAddr) -> Request {
        let service = match welcome {
            Welcome::Admin | Welcome::Control => None,
            Welcome::Open | Welcome::Full => proxy::service(core, request),
        };
        let understood = match service {
            Some(service) => Passing::read(core, service, request, peer).map(Request::Passing),
            None => Inquiry::read(request, welcome).map(Request::Own),
        };
        understood.unwrap_or_else(Request::Refused)
    }
}

/// Talks until the connection ends or is handed to the audience.
async fn converse(core: Rc<Core>, socket: TcpStream, peer: IpAddr, welcome: Welcome) {
    let mut connection = Connection::new(socket, peer);
    let mut pipeline = Pipeline::default();
    loop {
        match exchange(&core, connection, welcome, &mut pipeline).await {
            Ok((Next::Request, same)) => connection = same,
            Ok((Next::Over, _)) => break,
            Err(End::Gone) => break,
        }
    }
    core.conversation_ended(welcome);
}

/// One request; its answer comes at once, or together with those of the requests that are there already.
async fn exchange(
    core: &Rc<Core>,
    mut connection: Connection,
    welcome: Welcome,
    pipeline: &mut Pipeline,
) -> Result<(Next, Connection), End> {
    if pipeline.is_due(&connection) {
        pipeline.settle(core, &mut connection).await?;
    }
    let read = connection.read_head(core, |request, peer| Request::understand(core, welcome, request, peer)).await?;
    let inquiry = match read {
        Ok(Request::Passing(passing)) => {
            pipeline.settle(core, &mut connection).await?;
            return proxy::pass(core, connection, passing, welcome).await;
        }
        Ok(Request::Own(inquiry)) => Ok(inquiry),
        Ok(Request::Refused(problem)) | Err(problem) => Err(problem),
    };
    let plan = inquiry.as_ref().ok().and_then(|inquiry| match welcome {
        Welcome::Admin => Some(admin::plan(inquiry)),
        Welcome::Control => Some(control::plan(core, inquiry)),
        Welcome::Open | Welcome::Full => (!inquiry.wants_events()).then(|| rest::plan(inquiry)),
    });
    let stream = plan.as_ref().and_then(|plan| plan.as_ref().ok()?.pipelined_stream()).map(str::to_owned);
    if pipeline.is_ahead_of(stream.as_deref()) {
        pipeline.settle(core, &mut connection).await?;
    }
    let inquiry = match inquiry {
        Ok(inquiry) => inquiry,
        Err(problem) => return refuse(core, connection, &problem).await,
    };
    tracing::trace!(method = ?inquiry.method, path = %inquiry.path, "request");
    if welcome == Welcome::Full && !inquiry.wants_events() {
        return refuse(core, connection, &Problem::unavailable("the server has as many connections as it may")).await;
    }
    let Some(plan) = plan else { return follow::follow(core, connection, &inquiry, welcome).await };
    let mut reader = match BodyReader::new(inquiry.framing, BODY_BYTES_MAX) {
        Ok(reader) => reader,
        Err(error) => return refuse(core, connection, &error.into()).await,
    };
    let is_head = inquiry.method == Method::Head;
    let plan = match plan {
        Ok(plan) => plan,
        Err(answered) if reader.is_done() => Plan::Answer(answered),
        Err(answered) => return hang_up(core, connection, answered, is_head).await,
    };
    if inquiry.expects_continue {
        pipeline.settle(core, &mut connection).await?;
        connection.write(http1::CONTINUE).await?;
    }
    let body = match connection.read_body(&mut reader).await? {
        Ok(body) => body,
        Err(problem) => return refuse(core, connection, &problem).await,
    };
    let is_last = inquiry.persistence == Persistence::Close;
    let is_alone = stream.is_none();
    pipeline.push(stream, plan.begin(core, body), inquiry.persistence, is_head);
    if is_last || is_alone {
        pipeline.settle(core, &mut connection).await?;
    }
    Ok((Next::Request, connection))
}

/// Answers a request that wasn't read whole: nobody knows where the next one begins.
async fn refuse(core: &Rc<Core>, connection: Connection, problem: &Problem) -> Result<(Next, Connection), End> {
    hang_up(core, connection, Answered::from(problem.clone()), false).await
}

async fn hang_up(
    core: &Rc<Core>,
    mut connection: Connection,
    answered: Answered,
    is_head: bool,
) -> Result<(Next, Connection), End> {
    core.has_answered(answered.status());
    let (head, body) = answered.into_parts(&core.date(), Persistence::Close, is_head);
    connection.write(head).await?;
    connection.write(body).await?;
    connection.close().await;
    Ok((Next::Over, connection))
}
