//! Origins that are asked whether they are well: a GET on a connection of its own, every so often, by each core.
//!
//! A status below 400 brings an origin back that was out; anything else, or nothing in time, puts it out until it is well.

use std::rc::Rc;
use std::time::{Duration, Instant};

use fantail_engine::protocol::http1::{Method, ParsedAnswer, parse_answer};

use super::{Link, Origin, Service};
use crate::config::Health;
use crate::limits::READ_BYTES;

/// Asks the origins of a service for ever, if that is wanted.
pub(crate) async fn check(service: Rc<Service>) {
    let Some(health) = &service.config.health else { return };
    let timeouts = service.config.timeouts;
    loop {
        let begun = Instant::now();
        for origin in &service.origins {
            let patience = timeouts.connect + timeouts.response.min(health.interval);
            let is_well = monoio::time::timeout(patience, ask(origin, health, timeouts.connect)).await;
            match is_well.unwrap_or(false) {
                true => {
                    if origin.out_until.take().is_some() {
                        tracing::info!(origin = %origin.address, "it is well again");
                    }
                }
                // Until it is asked again, even if that takes as long as it may.
                false => origin.is_out(2 * (health.interval + patience * service.origins.len() as u32)),
            }
        }
        monoio::time::sleep(health.interval.saturating_sub(begun.elapsed()).max(Duration::from_millis(1))).await;
    }
}

async fn ask(origin: &Rc<Origin>, health: &Health, patience: Duration) -> bool {
    let Ok(mut link) = origin.dial(patience).await else { return false };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Fantail\r\nConnection: close\r\n\r\n",
        health.path, origin.host
    );
    if link.wire().writer.write(request.into_bytes()).await.0.is_err() {
        return false;
    }
    status(&mut link).await.is_some_and(|status| status < 400)
}

async fn status(link: &mut Link) -> Option<u16> {
    let reader = &mut link.wire().reader;
    loop {
        match parse_answer(reader.unread(), Method::Get) {
            Ok(ParsedAnswer::Complete { answer, length }) if matches!(answer.status, 100..200) => reader.use_up(length),
            Ok(ParsedAnswer::Complete { answer, .. }) => return Some(answer.status),
            Ok(ParsedAnswer::Partial) => {
                if reader.fill(READ_BYTES).await.ok()? == 0 {
                    return None;
                }
            }
            Err(_) => return None,
        }
    }
}
