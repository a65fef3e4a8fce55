//! Those that read history from its start, page by page, and begin again behind the last one.

use std::sync::Arc;

use goose::goose::{GooseUser, TransactionResult};
use reqwest::Url;
use reqwest::header::LINK;

use super::ask::{Answer, ask};
use super::context::{Context, Pace};

/// What a reader remembers.
#[derive(Clone)]
struct Session {
    pace: Pace,
    next: Option<String>,
}

/// Reads the next page.
pub(crate) async fn page(user: &mut GooseUser, context: Arc<Context>) -> TransactionResult {
    let mut session = match user.get_session_data::<Session>() {
        Some(session) => session.clone(),
        None => Session { pace: Pace::new(context.workload.history.rate), next: None },
    };
    if session.pace.turn(&context).await
        && let Some(start) = &context.urls.history
    {
        let url = session.next.take().unwrap_or_else(|| start.clone());
        let answer = ask(user, &context, "history: page", context.client.get(&url), &[200]).await;
        session.next = answer.and_then(|answer| next(&url, &answer));
    }
    user.set_session_data(session);
    Ok(())
}

/// The page that an answer to `url` links to as the next one.
fn next(url: &str, answer: &Answer) -> Option<String> {
    let links = answer.fields.get(LINK)?.to_str().ok()?;
    let link = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let reference = link.split_once('<')?.1.split_once('>')?.0;
    Url::parse(url).ok()?.join(reference).ok().map(String::from)
}
