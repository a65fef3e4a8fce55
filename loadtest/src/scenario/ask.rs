//! A request and its whole answer, entered into goose's metrics: goose's own requests end with the answer's head.

use std::sync::atomic::Ordering;
use std::time::Instant;

use goose::goose::GooseUser;
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};

use super::context::Context;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its fields.
    pub(crate) fields: HeaderMap,
}

/// Asks, awaits the whole answer and counts it under `name`; nothing if there was none, or its status isn't one of `wanted`.
pub(crate) async fn ask(
    user: &mut GooseUser,
    context: &Context,
    name: &str,
    request: RequestBuilder,
    wanted: &[u16],
) -> Option<Answer> {
    let start = Instant::now();
    let answer = whole(request.timeout(context.patience)).await;
    let took = start.elapsed();
    let (status, why) = match &answer {
        Ok(answer) if wanted.contains(&answer.status.as_u16()) => (Some(answer.status.as_u16()), None),
        Ok(answer) => (Some(answer.status.as_u16()), Some(format!("{name}: status {}", answer.status.as_u16()))),
        Err(error) => (None, Some(format!("{name}: {}", reason(error)))),
    };
    context.requests.fetch_add(1, Ordering::Relaxed);
    // It fails only when goose has ended.
    let _ = user.record_custom_request_duration("HTTP", name, took, why.is_none(), status, why.as_deref()).await;
    match (why, answer) {
        (None, Ok(answer)) => Some(answer),
        (Some(why), _) => {
            context.error(why);
            None
        }
        (None, Err(_)) => None,
    }
}

async fn whole(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, fields) = (response.status(), response.headers().clone());
    // What is in the body isn't looked at, but its end is the answer's.
    response.bytes().await?;
    Ok(Answer { status, fields })
}

/// The last cause of an error: the first ones name the URL, which is different for each document.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() }
}
