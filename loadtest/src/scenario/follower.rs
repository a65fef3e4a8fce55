//! One follower on goose's side: an event stream through reqwest, its order checked and its patches folded into a value.

use fantail_engine::position::Position;
use fantail_engine::protocol::sse::{Event, Parser};
use reqwest::header::{ACCEPT, HeaderName};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::ask::reason;
use super::context::Context;
use crate::ledger::{Ledger, Rules};
use crate::preset::{Id, Urls};
use crate::swarm::{FRAME_BYTES_MAX, Moment, Write, unix_ns};
use crate::target::with_parameter;

/// A follower of one topic.
pub(crate) struct Follower {
    /// The topic's number.
    topic: usize,
    response: Option<Response>,
    parser: Parser,
    account: Account,
}

/// What it has received, while its parser is at work.
struct Account {
    ledger: Ledger,
    /// What the patches add up to, if they are patches.
    value: Option<Value>,
    /// The last id of the connections before this one; where ids aren't in the field, of all.
    last_id: Option<String>,
    /// Frames of the run.
    frames: u64,
    /// More frames that are missing than when that was last told.
    missing: i64,
    resets: u64,
    latencies_us: Vec<u64>,
}

/// What became of reading on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// The moment came until which it was to read.
    Waited,
    /// Something came.
    Received,
}

impl Follower {
    /// A follower of the topic with this number that hasn't connected.
    pub(crate) fn new(topic: usize, rules: Rules) -> Follower {
        let account = Account {
            ledger: Ledger::new(Some(1), rules),
            value: None,
            last_id: None,
            frames: 0,
            missing: 0,
            resets: 0,
            latencies_us: Vec::new(),
        };
        Follower { topic, response: None, parser: Parser::new(FRAME_BYTES_MAX), account }
    }

    /// Connects, the first time where the value stands that it fetched, else where it was.
    ///
    /// # Errors
    /// Why there is no stream.
    pub(crate) async fn open(&mut self, context: &Context) -> Result<(), String> {
        let asked = timeout(context.patience, self.ask(context)).await;
        asked.unwrap_or_else(|_| Err("follow: no answer in time".to_owned()))
    }

    async fn ask(&mut self, context: &Context) -> Result<(), String> {
        let mut last = self.last_event_id(context);
        if last.is_none() && context.urls.map.is_some() {
            let (value, position) = self.map(context).await?;
            (self.account.value, last) = (Some(value), position);
        }
        self.parser = Parser::new(FRAME_BYTES_MAX);
        let url = Urls::of_topic(&context.urls.follow, &context.topics[self.topic]);
        self.account.last_id = last.clone();
        let request = match (&context.preset.resume, last) {
            (Some(parameter), Some(last)) => context.client.get(with_parameter(&url, parameter, &last)),
            (None, Some(last)) => context.client.get(url).header(HeaderName::from_static("last-event-id"), last),
            (_, None) => context.client.get(url),
        };
        let request = request.header(ACCEPT, "text/event-stream");
        let response = request.send().await.map_err(|error| format!("follow: {}", reason(&error)))?;
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or("").to_owned();
        match response.status() {
            StatusCode::OK if kind.starts_with("text/event-stream") => self.response = Some(response),
            StatusCode::OK => return Err(format!("follow: content-type {kind:?}")),
            status => return Err(format!("follow: status {}", status.as_u16())),
        }
        Ok(())
    }

    /// Leaves without a word.
    pub(crate) fn drop_stream(&mut self) {
        self.response = None;
    }

    /// Reads what comes next, until a moment at most.
    ///
    /// # Errors
    /// Why the stream is of no more use.
    pub(crate) async fn read(&mut self, context: &Context, until: Instant) -> Result<Read, String> {
        let Some(response) = &mut self.response else { return Err("follow: there is no stream".to_owned()) };
        let bytes = match timeout_at(until, response.chunk()).await {
            Err(_) => return Ok(Read::Waited),
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => return Err("follow: the server ended a stream".to_owned()),
            Ok(Err(error)) => return Err(format!("follow: {}", reason(&error))),
        };
        let now_ns = unix_ns();
        let frames = self.account.frames;
        let account = &mut self.account;
        let mut entered = Ok(());
        let parsed = self.parser.feed(&bytes, |event| {
            if entered.is_ok() {
                entered = account.enter(&event, now_ns, context);
            }
        });
        let mut found = context.found.lock().expect("nobody panics with it");
        found.bytes += bytes.len() as u64;
        found.frames += account.frames - frames;
        found.missing += std::mem::take(&mut account.missing);
        found.resets += std::mem::take(&mut account.resets);
        for latency_us in account.latencies_us.drain(..) {
            found.latency.record(latency_us);
            found.lately.record(latency_us);
        }
        drop(found);
        parsed.map_err(|error| format!("follow: {error}"))?;
        entered.map(|()| Read::Received)
    }

    /// Once no more writes come: reads what is missing, compares the value with a GET and closes the account.
    ///
    /// # Errors
    /// What wasn't as it should be, beside faults of the order.
    pub(crate) async fn close(&mut self, context: &Context) -> Result<(), String> {
        let counters = context.published.get().map_or(&[][..], |all| context.rules.of_topic(all, self.topic));
        let due = counters.iter().sum();
        let patient = Instant::now() + context.patience;
        let mut outcome = Ok(());
        while outcome.is_ok() && self.account.frames < due && Instant::now() < patient {
            outcome = self.read(context, patient).await.map(|_| ());
        }
        if outcome.is_ok() && self.account.value.is_some() {
            outcome = self.compare(context, patient).await;
        }
        let mut ledger = self.account.ledger.clone();
        ledger.frames = self.account.frames;
        let faults = ledger.close(counters);
        context.found.lock().expect("nobody panics with it").faults.add(faults);
        outcome
    }

    /// Holds what the patches add up to against what the server says.
    async fn compare(&mut self, context: &Context, patient: Instant) -> Result<(), String> {
        let (wanted, _) = self.map(context).await?;
        while self.account.value.as_ref() != Some(&wanted) {
            if self.read(context, patient).await? == Read::Waited {
                return Err("follow: the patches don't add up to what a GET answers".to_owned());
            }
        }
        Ok(())
    }

    /// The value that the patches apply to, and its position.
    async fn map(&self, context: &Context) -> Result<(Value, Option<String>), String> {
        let template = context.urls.map.as_deref().unwrap_or(&context.urls.follow);
        let url = Urls::of_topic(template, &context.topics[self.topic]);
        let failed = |error: reqwest::Error| format!("map: {}", reason(&error));
        let response = context.client.get(url).send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(format!("map: status {}", response.status().as_u16()));
        }
        let position = response.headers().get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let body = response.bytes().await.map_err(failed)?;
        let value = serde_json::from_slice(&body).map_err(|error| format!("map: {error}"))?;
        Ok((value, position))
    }

    /// The last id of this connection, or else of those before.
    fn last_event_id(&self, context: &Context) -> Option<String> {
        let field = match context.preset.id {
            Id::Field => self.parser.last_event_id().map(|id| String::from_utf8_lossy(id).into_owned()),
            Id::Member { .. } => None,
        };
        field.or_else(|| self.account.last_id.clone())
    }
}

impl Account {
    fn enter(&mut self, event: &Event<'_>, now_ns: u64, context: &Context) -> Result<(), String> {
        if let Some(id) = context.preset.id.brought_by(event) {
            self.last_id = Some(id);
            return Ok(());
        }
        let position = match event.id {
            Some(id) if context.preset.positions => {
                let text = String::from_utf8_lossy(id);
                Some(text.parse::<Position>().map_err(|_| format!("follow: an id that is no position: {text}"))?)
            }
            _ => None,
        };
        if context.preset.positions {
            match (event.event, position) {
                (b"position", Some(position)) => {
                    self.ledger.stand(position, context.rules);
                    return Ok(());
                }
                (b"position", None) => return Ok(()),
                (b"reset", _) => {
                    self.resets += 1;
                    self.ledger.reset();
                    return Ok(());
                }
                (_, _) => self.fold(event.data)?,
            }
            if position.is_none() {
                return Ok(());
            }
        }
        // An event of Fantail's is one write; another server's may hold several.
        let mut data = event.data;
        let mut write = context.members.write(data);
        if write.is_none() {
            self.missing += self.ledger.frame(position, None, context.rules);
        }
        while let Some(Write { counter, time, end }) = write {
            let moment = match time {
                Some(time) => Moment::At(time),
                None if context.preset.positions => context.members.moment(data),
                None => Moment::Unknown,
            };
            let mine = self.ledger.moment(moment).filter(|&time| time >= context.since_ns);
            self.missing += self.ledger.frame(position, mine.map(|_| counter), context.rules);
            self.frames += u64::from(mine.is_some());
            self.latencies_us.extend(mine.map(|time| now_ns.saturating_sub(time) / 1_000));
            data = if context.preset.positions { &[] } else { &data[end..] };
            write = context.members.write(data);
        }
        Ok(())
    }

    fn fold(&mut self, data: &[u8]) -> Result<(), String> {
        let Some(value) = &mut self.value else { return Ok(()) };
        let patch: json_patch::Patch =
            serde_json::from_slice(data).map_err(|error| format!("follow: data that are no patch: {error}"))?;
        // A snapshot replaces the root, whatever it was.
        if value.is_null() {
            *value = json!({});
        }
        json_patch::patch(value, &patch).map_err(|error| format!("follow: a patch that doesn't apply: {error}"))
    }
}
