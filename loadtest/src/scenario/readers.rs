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

/// What a reader does, in turn.
pub(crate) fn steps(context: &Arc<Context>) -> Vec<Transaction> {
    vec![step!(context, get), step!(context, get_if_changed)]
}

async fn get(user: &mut GooseUser, context: Arc<Context>) -> TransactionResult {
    read(user, &context, "readers: GET", false).await
}

async fn get_if_changed(user: &mut GooseUser, context: Arc<Context>) -> TransactionResult {
    read(user, &context, "readers: GET If-None-Match", true).await
}

async fn read(user: &mut GooseUser, context: &Context, name: &str, has_condition: bool) -> TransactionResult {
    let mut session = match user.get_session_data::<Session>() {
        Some(session) => session.clone(),
        None => Session {
            pace: Pace::new(context.workload.readers.rate),
            topic: context.number() % context.topics.len(),
            tag: None,
        },
    };
    if session.pace.turn(context).await {
        if let Some(url) = context.urls.document(&context.topics[session.topic]) {
            let mut request = context.client.get(url);
            if let Some(tag) = session.tag.as_ref().filter(|_| has_condition) {
                request = request.header(IF_NONE_MATCH, tag);
            }
            let answer = ask(user, context, name, request, &[200, 304]).await;
            session.tag = answer.and_then(|answer| answer.fields.get(ETAG).cloned()).or(session.tag);
        }
    }
    user.set_session_data(session);
    Ok(())
}
