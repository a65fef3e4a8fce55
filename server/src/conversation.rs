//! Connections that talk: one async task each, sequential from the first byte to the last answer or the hand-over.
//!
//! A conversation reads a request, does what it asks, and answers; then the next. A request to follow ends it: once the
//! head and the first block are written, the socket goes to the audience and the task is over.

pub(crate) mod accept;
mod answer;
mod connection;
mod follow;
mod inquiry;
mod own;
mod rest;
mod several;

use std::rc::Rc;

use fantail_engine::protocol::http1::{self, BodyReader, Connection as Persistence, Method};
use fantail_engine::protocol::problem::Problem;
use monoio::net::TcpStream;

use self::answer::Answered;
use self::connection::{Connection, End};
use self::inquiry::Inquiry;
use crate::core::{Core, Stage};
use fantail_engine::limits::BODY_BYTES_MAX;

/// What becomes of the connection after an answer.
enum Next {
    /// Another request may follow.
    Request,
    /// The connection is over, or no longer ours.
    Over,
}

/// How a connection was accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Welcome {
    Open,
    /// Only to be told that the server is full.
    Full,
}

/// Talks until the connection ends or is handed to the audience.
async fn converse(core: Rc<Core>, socket: TcpStream, welcome: Welcome) {
    let mut connection = Connection::new(socket);
    loop {
        match exchange(&core, connection, welcome).await {
            Ok((Next::Request, same)) => connection = same,
            Ok((Next::Over, _)) => break,
            Err(End::Gone) => break,
        }
    }
    core.conversation_ended();
}

/// One request and its answer.
async fn exchange(core: &Rc<Core>, mut connection: Connection, welcome: Welcome) -> Result<(Next, Connection), End> {
    let inquiry = match connection.read_head(core).await? {
        Ok(inquiry) => inquiry,
        Err(problem) => return refuse(core, connection, &problem).await,
    };
    tracing::trace!(method = ?inquiry.method, path = %inquiry.path, "request");
    if welcome == Welcome::Full && !inquiry.wants_events() {
        return refuse(core, connection, &Problem::unavailable("the server has as many connections as it may")).await;
    }
    if inquiry.wants_events() {
        // What a follower sends with its request, nobody reads.
        return follow::follow(core, connection, &inquiry, welcome).await;
    }
    let mut reader = match BodyReader::new(inquiry.framing, BODY_BYTES_MAX) {
        Ok(reader) => reader,
        Err(error) => return refuse(core, connection, &error.into()).await,
    };
    let plan = match rest::plan(&inquiry) {
        Ok(plan) => plan,
        Err(answered) if reader.is_done() => return answer(core, connection, &inquiry, answered).await,
        Err(answered) => return refuse_with(core, connection, &inquiry, answered).await,
    };
    if inquiry.expects_continue {
        connection.write(http1::CONTINUE).await?;
    }
    let body = match connection.read_body(&mut reader).await? {
        Ok(body) => body,
        Err(problem) => return refuse(core, connection, &problem).await,
    };
    let answered = plan.carry_out(core, body).await;
    answer(core, connection, &inquiry, answered).await
}

/// Answers a request that was read whole.
async fn answer(
    core: &Rc<Core>,
    mut connection: Connection,
    inquiry: &Inquiry,
    answered: Answered,
) -> Result<(Next, Connection), End> {
    let persistence = match core.stage.get() {
        Stage::Open => inquiry.persistence,
        Stage::Closing | Stage::Ending => Persistence::Close,
    };
    let (head, body) = answered.into_parts(&core.date(), persistence, inquiry.method == Method::Head);
    connection.write(head).await?;
    connection.write(body).await?;
    match persistence {
        Persistence::Close => {
            connection.close().await;
            Ok((Next::Over, connection))
        }
        Persistence::Keep | Persistence::KeepTold => Ok((Next::Request, connection)),
    }
}

/// Answers a request that wasn't read whole: nobody knows where the next one begins.
async fn refuse(core: &Rc<Core>, connection: Connection, problem: &Problem) -> Result<(Next, Connection), End> {
    hang_up(core, connection, Answered::from(problem.clone()), false).await
}

/// The same, when the head was understood.
async fn refuse_with(
    core: &Rc<Core>,
    connection: Connection,
    inquiry: &Inquiry,
    answered: Answered,
) -> Result<(Next, Connection), End> {
    hang_up(core, connection, answered, inquiry.method == Method::Head).await
}

async fn hang_up(
    core: &Rc<Core>,
    mut connection: Connection,
    answered: Answered,
    is_head: bool,
) -> Result<(Next, Connection), End> {
    let (head, body) = answered.into_parts(&core.date(), Persistence::Close, is_head);
    connection.write(head).await?;
    connection.write(body).await?;
    connection.close().await;
    Ok((Next::Over, connection))
}
