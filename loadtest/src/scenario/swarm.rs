//! The swarm among goose's users: one user that enters each of the swarm's seconds into goose's metrics.

use std::sync::Arc;
use std::time::Duration;

use goose::goose::{GooseUser, TransactionResult};
use tokio::time::timeout;

use super::LOOK;
use super::context::Context;

/// What goose's metrics call it.
pub(crate) const SECOND: &str = "swarm: p99 of a second";

/// A second of the swarm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Of what came in it, in microseconds; nothing if nothing came.
    pub(crate) p99_us: Option<u64>,
    /// Followers and writes that failed in it.
    pub(crate) errors: u64,
}

/// What the user was told last.
#[derive(Clone)]
struct Session(tokio::sync::watch::Receiver<Told>);

/// Waits for the next second, and enters it.
pub(crate) async fn second(user: &mut GooseUser, context: Arc<Context>) -> TransactionResult {
    if user.get_session_data::<Session>().is_none() {
        user.set_session_data(Session(context.told.subscribe()));
    }
    let mut told = user.get_session_data_unchecked::<Session>().0.clone();
    let is_new = timeout(LOOK, told.changed()).await.is_ok_and(|changed| changed.is_ok());
    let Told { p99_us, errors } = *told.borrow_and_update();
    user.set_session_data(Session(told));
    // A second in which nothing came is one too, if something failed in it.
    if is_new && (p99_us.is_some() || errors > 0) {
        let p99 = Duration::from_micros(p99_us.unwrap_or(0)).as_millis() as u64;
        user.record_custom_request("SSE", SECOND, p99, errors == 0, None, Some("followers or writes failed")).await?;
    }
    Ok(())
}
