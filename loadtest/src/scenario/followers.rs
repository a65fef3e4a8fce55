//! Those that follow a topic, check every frame's order, fold every patch and compare the outcome with a GET.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use goose::goose::{GooseUser, TransactionResult};
use tokio::sync::Mutex;

use super::LOOK;
use super::context::{Context, Phase};
use super::follower::Follower;

/// A user's follower, between its transactions.
#[derive(Clone, Default)]
struct Session(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    /// Not connected.
    #[default]
    New,
    /// Follows.
    Following(Box<Follower>),
    /// Failed, or compared.
    Done,
}

/// Follows for a moment.
pub(crate) async fn follow(user: &mut GooseUser, context: Arc<Context>) -> TransactionResult {
    if user.get_session_data::<Session>().is_none() {
        user.set_session_data(Session::default());
    }
    let session = user.get_session_data_unchecked::<Session>().clone();
    let mut state = session.0.lock().await;
    let until = tokio::time::Instant::now() + LOOK;
    let name = "followers: follow";
    *state = match std::mem::take(&mut *state) {
        State::New => {
            let mut follower = Box::new(Follower::new(context.number() % context.topics.len(), context.rules));
            let start = Instant::now();
            let opened = follower.open(&context).await;
            context.opened.fetch_add(1, Ordering::Release);
            record(user, &context, name, start, opened.clone()).await;
            match opened {
                Ok(()) => following(&context, follower),
                Err(_) => done(&context),
            }
        }
        State::Following(mut follower) if context.phase() == Phase::Closing => {
            let start = Instant::now();
            let closed = follower.close(&context).await;
            record(user, &context, "followers: compare", start, closed).await;
            done(&context)
        }
        State::Following(mut follower) => match read(&mut follower, &context, until).await {
            Ok(()) => State::Following(follower),
            Err(why) => {
                context.error(why);
                done(&context)
            }
        },
        State::Done => {
            tokio::time::sleep_until(until).await;
            State::Done
        }
    };
    Ok(())
}

async fn read(follower: &mut Follower, context: &Context, until: tokio::time::Instant) -> Result<(), String> {
    while tokio::time::Instant::now() < until && context.phase() != Phase::Closing {
        follower.read(context, until).await?;
    }
    Ok(())
}

fn following(context: &Context, follower: Box<Follower>) -> State {
    context.found.lock().expect("nobody panics with it").following += 1;
    State::Following(follower)
}

fn done(context: &Context) -> State {
    context.closed.fetch_add(1, Ordering::Release);
    State::Done
}

/// Enters something that isn't one request into goose's metrics.
pub(crate) async fn record(
    user: &mut GooseUser,
    context: &Context,
    name: &str,
    start: Instant,
    outcome: Result<(), String>,
) {
    context.requests.fetch_add(1, Ordering::Relaxed);
    let why = outcome.as_ref().err().map(String::as_str);
    // It fails only when goose has ended.
    let _ = user.record_custom_request_duration("SSE", name, start.elapsed(), why.is_none(), None, why).await;
    if let Err(why) = outcome {
        context.error(why);
    }
}
