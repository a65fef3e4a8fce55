//! Those that follow, drop the connection without a word, and come back with their last id: nothing may be missing, nothing
//! may come twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use goose::goose::{GooseUser, TransactionResult};
use tokio::sync::Mutex;

use super::LOOK;
use super::context::{Context, Pace, Phase};
use super::follower::Follower;
use super::followers::record;

/// A user's follower, between its transactions.
#[derive(Clone)]
struct Session(Arc<Mutex<(Pace, State)>>);

enum State {
    New,
    Following(Box<Follower>),
    Done,
}

/// Follows until it is time to drop, and resumes.
pub(crate) async fn resume(user: &mut GooseUser, context: Arc<Context>) -> TransactionResult {
    if user.get_session_data::<Session>().is_none() {
        let pace = Pace::new(context.workload.resumers.rate);
        user.set_session_data(Session(Arc::new(Mutex::new((pace, State::New)))));
    }
    let session = user.get_session_data_unchecked::<Session>().clone();
    let (pace, state) = &mut *session.0.lock().await;
    *state = match std::mem::replace(state, State::Done) {
        State::New => {
            let mut follower = Box::new(Follower::new(context.number() % context.topics.len(), context.rules));
            let opened = follower.open(&context).await;
            context.opened.fetch_add(1, Ordering::Release);
            match opened {
                Ok(()) => {
                    context.found.lock().expect("nobody panics with it").following += 1;
                    State::Following(follower)
                }
                Err(why) => failed(&context, why),
            }
        }
        State::Following(mut follower) if context.phase() == Phase::Closing => {
            if let Err(why) = follower.close(&context).await {
                context.error(why);
            }
            context.closed.fetch_add(1, Ordering::Release);
            State::Done
        }
        State::Following(mut follower) => {
            let is_due = tokio::select! {
                is_due = pace.turn(&context) => Ok(is_due),
                why = read(&mut follower, &context) => Err(why),
            };
            match is_due {
                Ok(false) => State::Following(follower),
                Err(why) => failed(&context, why),
                Ok(true) => {
                    follower.drop_stream();
                    let start = Instant::now();
                    let opened = follower.open(&context).await;
                    record(user, &context, "resumers: resume", start, opened.clone()).await;
                    match opened {
                        Ok(()) => State::Following(follower),
                        Err(_) => {
                            context.closed.fetch_add(1, Ordering::Release);
                            State::Done
                        }
                    }
                }
            }
        }
        State::Done => {
            tokio::time::sleep(LOOK).await;
            State::Done
        }
    };
    Ok(())
}

fn failed(context: &Context, why: String) -> State {
    context.error(why);
    context.closed.fetch_add(1, Ordering::Release);
    State::Done
}

/// Reads until it fails.
async fn read(follower: &mut Follower, context: &Context) -> String {
    loop {
        if let Err(why) = follower.read(context, tokio::time::Instant::now() + LOOK).await {
            return why;
        }
    }
}
