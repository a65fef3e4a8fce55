//! Gone links: what origins are told when clients have left, each once.
//!
//! Invariant: of clients that leave together, a few at a time are told of, and what can't wait any more is said to be lost.

use std::collections::VecDeque;
use std::rc::Rc;

use fantail_engine::protocol::http1::Method;

use super::Core;
use super::links::LinkError;
use crate::limits::{PARTINGS_AT_ONCE, PARTINGS_MAX};
use crate::origin::call;

/// A client that has left.
pub(crate) struct Parting {
    /// The absolute URI that is posted to.
    pub(crate) uri: Rc<str>,
    /// The number of the route whose origin named it.
    pub(crate) route: usize,
    /// What the client called this server.
    pub(crate) host: Box<str>,
}

/// Those of whom the origins weren't told yet.
#[derive(Default)]
pub(super) struct Partings {
    queue: VecDeque<Parting>,
    under_way: usize,
    lost: u64,
}

impl Core {
    /// Tells an origin that a client has left.
    pub(crate) fn part(self: &Rc<Core>, parting: Parting) {
        let mut partings = self.partings.borrow_mut();
        if partings.queue.len() == PARTINGS_MAX {
            partings.lost += 1;
            if partings.lost.is_power_of_two() {
                tracing::warn!(lost = partings.lost, "more clients leave than origins can be told of");
            }
            return;
        }
        partings.queue.push_back(parting);
        if partings.under_way < PARTINGS_AT_ONCE {
            partings.under_way += 1;
            monoio::spawn(tell(Rc::clone(self)));
        }
    }

    async fn post(&self, parting: &Parting) -> Result<(), LinkError> {
        let route = self.route_of(&parting.uri, parting.route, &parting.host)?;
        let service = self.services.at(route).ok_or_else(|| LinkError::Nowhere(parting.uri.to_string()))?;
        let head = self.own_head("POST", &service.config, &parting.uri, &[]);
        let mut response = call(service, Method::Post, &head).await?;
        // What it says to that means nothing; read, it leaves the connection usable.
        drop(response.whole(0).await?);
        response.finish();
        Ok(())
    }
}

/// Tells origins until nobody is left to tell of.
async fn tell(core: Rc<Core>) {
    loop {
        let parting = core.partings.borrow_mut().queue.pop_front();
        let Some(parting) = parting else { break };
        if let Err(error) = core.post(&parting).await {
            tracing::debug!(%error, uri = &*parting.uri, "an origin can't be told that a client has left");
        }
    }
    core.partings.borrow_mut().under_way -= 1;
}
