//! Requests of the server's own to the origins of a service: next links and gone links.
//!
//! They have no body. One that may be made twice is tried with other origins, and again if a connection at rest turns out to be
//! closed; one that may not goes on a new connection, so that it has failed only if nobody has it.

use std::rc::Rc;
use std::time::Duration;

use fantail_engine::protocol::http1::Method;

use super::response::{Response, ResponseError};
use super::{DialError, Link, Origin, Service, Tried};
use crate::limits::ATTEMPTS_MAX;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No origin may be tried.
    #[error("no origin can be asked")]
    Nobody,
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Response(#[from] ResponseError),
}

/// Makes the request whose head is `head`, by the method `GET` or `POST`, and reads the head of its response.
///
/// # Errors
/// Why the last attempt failed.
pub(crate) async fn call(service: &Service, method: Method, head: &[u8]) -> Result<Response, CallError> {
    let timeouts = service.config.timeouts;
    let (mut tried, mut again, mut failed) = (Tried::default(), None, CallError::Nobody);
    for _ in 0..ATTEMPTS_MAX {
        let Some(origin) = again.take().or_else(|| service.choose(&mut tried)) else { break };
        let link = match connect(&origin, method, timeouts.connect).await {
            Ok(link) => link,
            Err(error) => {
                failed = error.into();
                continue;
            }
        };
        let has_rested = link.has_rested;
        match exchange(link, method, head, timeouts.response, timeouts.idle).await {
            Ok(response) => {
                origin.has_answered();
                return Ok(response);
            }
            Err(error) => {
                tracing::debug!(origin = %origin.address(), %error, "no answer");
                let is_stale = has_rested && matches!(error, ResponseError::Gone | ResponseError::Broken(_));
                failed = error.into();
                match is_stale {
                    true => {
                        origin.forget_resting();
                        again = Some(origin);
                    }
                    false => origin.has_failed(),
                }
                if method != Method::Get {
                    break;
                }
            }
        }
    }
    Err(failed)
}

async fn connect(origin: &Rc<Origin>, method: Method, patience: Duration) -> Result<Link, DialError> {
    if method == Method::Get
        && let Some(link) = origin.rested()
    {
        return Ok(link);
    }
    let dialed = origin.dial(patience).await;
    if let Err(DialError::Late | DialError::Nowhere | DialError::Refused(_)) = &dialed {
        origin.is_unreachable();
    }
    dialed
}

async fn exchange(
    mut link: Link,
    method: Method,
    head: &[u8],
    patience: Duration,
    idle: Duration,
) -> Result<Response, ResponseError> {
    link.origin.is_asked();
    let write = link.wire().writer.write(head.to_vec());
    match monoio::time::timeout(idle, write).await {
        Ok((result, _)) => result?,
        Err(_) => return Err(ResponseError::Late),
    }
    Response::read(link, method, patience, idle).await
}
