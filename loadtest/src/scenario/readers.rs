//! Those that read a topic's document: outright, and if it isn't the one that they have.

use std::sync::Arc;

use goose::goose::{GooseUser, Transaction, TransactionResult};
use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};

use super::ask::ask;
use super::context::{Context, Pace};
use super::step;

/// What a reader remembers.
#[derive(Clone)]
struct Session {
    pace: Pace,
    topic: usize,
    tag: Option<HeaderValue>,
}

/// Under which condition it wants the document.
#[derive(Debug, Clone, Copy)]
enum Condition {
    /// Under none.
    None,
    /// If it isn't the one that it has.
    IfNoneMatch,
}

/// What a reader does, in turn.
pub(crate) fn steps(context: &Arc<Context>) -> Vec<Transaction> {
    vec![step!(context, get), step!(context, get_if_changed)]
}

async fn get(user: &mut GooseUser, context: Arc<Context>) -> TransactionResult {
    read(user, &context, Condition::None).await
}

async fn get_if_changed(user: &mut GooseUser, context: Arc<Context>) -> TransactionResult {
    read(user, &context, Condition::IfNoneMatch).await
}

async fn read(user: &mut GooseUser, context: &Context, condition: Condition) -> TransactionResult {
    let mut session = match user.get_session_data::<Session>() {
        Some(session) => session.clone(),
        None => Session {
            pace: Pace::new(context.workload.readers.rate),
            topic: context.number() % context.topics.len(),
            tag: None,
        },
    };
    if session.pace.turn(context).await
        && let Some(url) = context.urls.document(&context.topics[session.topic])
    {
        let (name, tag) = match condition {
            Condition::None => ("readers: GET", None),
            Condition::IfNoneMatch => ("readers: GET If-None-Match", session.tag.as_ref()),
        };
        let request = context.client.get(url);
        let request = match tag {
            Some(tag) => request.header(IF_NONE_MATCH, tag),
            None => request,
        };
        let answer = ask(user, context, name, request, &[200, 304]).await;
        session.tag = answer.and_then(|answer| answer.fields.get(ETAG).cloned()).or(session.tag);
    }
    user.set_session_data(session);
    Ok(())
}
