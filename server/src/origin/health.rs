//! Origins that are asked whether they are well: a GET on a connection of its own, every so often, by each core.
//!
//! A status below 400 brings an origin back that was out; anything else, or nothing in time, puts it out until it is well, whatever
//! it answers meanwhile.

use std::rc::Rc;
use std::time::{Duration, Instant};

use fantail_engine::protocol::http1::Method;

use super::{DialError, Origin, Response, Service};
use crate::config::{Health, Timeouts};

/// Asks the origins of a service for ever, if that is wanted.
pub(crate) async fn check(service: Rc<Service>) {
    let Some(health) = &service.config.health else { return };
    let timeouts = service.config.timeouts;
    loop {
        let begun = Instant::now();
        for origin in &service.origins {
            let patience = timeouts.connect + timeouts.response.min(health.interval);
            let is_well = monoio::time::timeout(patience, ask(origin, health, timeouts)).await;
            match is_well.unwrap_or(Some(false)) {
                Some(true) => {
                    origin.is_unwell.set(false);
                    if origin.out_until.take().is_some() {
                        tracing::info!(origin = %origin.address, "it is well again");
                    }
                }
                // Until it is asked again, even if that takes as long as it may.
                Some(false) => {
                    origin.is_unwell.set(true);
                    origin.count(|counted| &mut counted.unwell);
                    origin.is_out(2 * (health.interval + patience * service.origins.len() as u32));
                }
                None => {}
            }
        }
        monoio::time::sleep(health.interval.saturating_sub(begun.elapsed()).max(Duration::from_millis(1))).await;
    }
}

/// Whether it is well; none if it can't be asked, as it has as many requests as it may.
async fn ask(origin: &Rc<Origin>, health: &Health, timeouts: Timeouts) -> Option<bool> {
    let mut link = match origin.dial(timeouts.connect).await {
        Ok(link) => link,
        Err(DialError::Many) => return None,
        Err(DialError::Late | DialError::Nowhere | DialError::Refused(_)) => return Some(false),
    };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Fantail\r\nConnection: close\r\n\r\n",
        health.path, origin.host
    );
    if link.wire().writer.write(request.into_bytes()).await.0.is_err() {
        return Some(false);
    }
    let response = Response::read(link, Method::Get, timeouts.response, timeouts.idle).await;
    Some(response.is_ok_and(|response| response.answer().status < 400))
}
